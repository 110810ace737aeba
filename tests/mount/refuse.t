#!/usr/bin/perl
# Bad input through the tree: each has its errno, a sentence in last_error, and
# changes nothing.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Mqfs;
use Errno qw(:POSIX);
use Fcntl;
use Test::More;

my $m = Mqfs->start(autoCreateTopicEnable => 'false', autoCreateSubscriptionGroup => 'false');
my $mq = $m->{mnt};
my $last = "$mq/broker/last_error";

sh('mkdir $1/TopicA $1/groups/g1 $1/producers/p1; echo > $1/groups/g1/bindings/TopicA', $mq);
send_message($m->{port}, 'TopicA', 0, "m$_") for 1 .. 5;
is(slurp("$mq/TopicA/0/offset"), "5\n", 'five messages');
await('the indexer, which follows behind', 10, sub { slurp("$mq/index/files") =~ /\s5\s+\d+\n\z/ });

# All that could change, as text.
sub state_now {
    return sh('cd $1 && find . -path ./broker -prune -o -path "*/messages" -prune -o -printf "%p %y %m %U %G %s\n" | sort;
        find . -path ./broker -prune -o -path "*/messages" -prune -o -type f -print0 | sort -z | xargs -0 cat;
        cat broker/config/*', $mq);
}
my $before = state_now();
like($before, qr{groups/g1/bindings/TopicA}, 'the state is seen');

sub errno_name { my $n = shift; return (grep { $!{$_} } keys %!)[0] if local $! = $n; return 'no error' }

# refused WHAT, ERRNO, SENTENCE, CODE: the code returns the errno it got. No sentence: the kernel asks us only whether
# the name is there.
sub refused {
    my ($what, $errno, $sentence, $code) = @_;
    my $got = $code->();
    is(errno_name($got), errno_name($errno), "$what: " . errno_name($errno));
    like(slurp($last), $sentence, '... and a sentence') if $sentence;
    my $after = state_now();
    ok($after eq $before, '... and nothing changed') or do {
        spew("$m->{dir}/before", $before);
        spew("$m->{dir}/after", $after);
        diag(sh('diff $1/before $1/after', $m->{dir}));
        $before = $after;
    };
}

sub write_to { my ($path, $text) = @_; return sub { put("$mq/$path", $text) } }
sub made { my $name = shift; return sub { mkdir("$mq/$name") ? 0 : $! + 0 } }
sub created {
    my ($name, $text) = @_;
    return sub {
        sysopen(my $f, "$mq/$name", O_WRONLY | O_CREAT | O_TRUNC) or return $! + 0;
        return defined syswrite($f, $text // "\n") ? 0 : $! + 0;
    };
}

# ---- values ----
refused('read_queues: a word', EINVAL, qr{^/TopicA/read_queues: .*not a number}, write_to('TopicA/read_queues', "many\n"));
refused('read_queues: empty', EINVAL, qr{/TopicA/read_queues: .*not a number}, write_to('TopicA/read_queues', "\n"));
refused('read_queues: two numbers', EINVAL, qr{/TopicA/read_queues: }, write_to('TopicA/read_queues', "4 5\n"));
refused('read_queues: two lines', EINVAL, qr{one line}, write_to('TopicA/read_queues', "4\n5\n"));
refused('read_queues: a NUL', EINVAL, qr{one line}, write_to('TopicA/read_queues', "4\0"));
refused('read_queues: negative', ERANGE, qr{out of range}, write_to('TopicA/read_queues', "-1\n"));
refused('read_queues: huge', ERANGE, qr{out of range}, write_to('TopicA/read_queues', "99999999999\n"));
refused('read_queues: past 64 bits', ERANGE, qr{out of range}, write_to('TopicA/read_queues', "9" x 40));
{
    my $got = put("$mq/TopicA/write_queues", "2000000000\n");
    ok($got == EINVAL || $got == ERANGE, 'write_queues: two thousand million are refused');
    ok(state_now() eq $before, '... and nothing changed');
}
refused('perm: 9', EINVAL, qr{/TopicA/perm: }, write_to('TopicA/perm', "9\n"));
refused('order: maybe', EINVAL, qr{neither true nor false}, write_to('TopicA/order', "maybe\n"));
refused('filter: another word', EINVAL, qr{SINGLE_TAG}, write_to('TopicA/filter', "NO_TAG\n"));
refused('type: no such', EINVAL, qr{/TopicA/type: }, write_to('TopicA/type', "PURPLE\n"));
refused('type: a second attribute', EINVAL, qr{/TopicA/type: }, write_to('TopicA/type', "FIFO,-cleanup.policy\n"));
refused('attributes: empty', EINVAL, qr{/TopicA/attributes: write \+key=value}, write_to('TopicA/attributes', "\n"));
refused('attributes: both ways at once', EINVAL, qr{"order=1" does not fit}, write_to('TopicA/attributes', "+message.type=FIFO\norder=1\n"));
refused('attributes: neither way', EINVAL, qr{"FIFO" does not fit}, write_to('TopicA/attributes', "FIFO\n"));
refused('attributes: an unknown key', EINVAL, qr{there is no attribute "colour"}, write_to('TopicA/attributes', "+colour=red\n"));
refused('attributes: an unknown one among all', EINVAL, qr{there is no attribute "colour"}, write_to('TopicA/attributes', "message.type=FIFO\ncolour=red\n"));
refused('attributes: what cannot change', EINVAL, qr{cleanup.policy cannot change}, write_to('TopicA/attributes', "+cleanup.policy=DELETE\n"));
refused('attributes: a bad value', EINVAL, qr{message.type takes one of}, write_to('TopicA/attributes', "+message.type=PURPLE\n"));
refused('attributes: what is not here', EINVAL, qr{no priority and lite topics yet}, write_to('TopicA/attributes', "+message.type=LITE\n"));
refused('attributes: twice', EINVAL, qr{twice}, write_to('TopicA/attributes', "+message.type=FIFO,+message.type=DELAY\n"));
refused('attributes: to take away what is not set', EINVAL, qr{is not set}, write_to('TopicA/attributes', "-message.type\n"));
refused('attributes: no value', EINVAL, qr{write \+key=value to set}, write_to('TopicA/attributes', "+message.type\n"));
refused('attributes: no key', EINVAL, qr{there is no attribute ""}, write_to('TopicA/attributes', "+=FIFO\n"));
refused('attributes: an impossible owner', EINVAL, qr{no user's name}, write_to('TopicA/attributes', "+mqfs.owner=a b\n")) if $> == 0;
refused('attributes: a NUL', EINVAL, qr{byte 0x00}, write_to('TopicA/attributes', "+message.type=FIFO\0\n"));
refused('attributes of a system topic', EPERM, qr{belongs to the system}, write_to('broker/system/SELF_TEST_TOPIC/attributes', "+message.type=FIFO\n"));
refused('retry_max: a word', EINVAL, qr{not a number}, write_to('groups/g1/retry_max', "often\n"));
refused('enabled: a number', EINVAL, qr{neither true nor false}, write_to('groups/g1/enabled', "17\n"));
refused('a value of 64 KiB and one', EFBIG, qr{at most 65536}, write_to('TopicA/perm', '6' x 65537));
refused('a value of 200 KiB', EFBIG, qr{at most 65536}, write_to('TopicA/perm', '6' x 204800));
refused('a value in two writes', EINVAL, qr{in one write}, sub {
    sysopen(my $f, "$mq/TopicA/perm", O_WRONLY | O_TRUNC) or return $! + 0;
    syswrite $f, "6";
    return defined syswrite($f, "\n") ? 0 : $! + 0;
});
refused('truncation to 5 bytes', EINVAL, qr{by writing it}, sub { truncate("$mq/TopicA/perm", 5) ? 0 : $! + 0 });

# ---- offsets ----
my $offsets = 'groups/g1/offsets/TopicA';
refused('an offset that is no number', EINVAL, qr{$offsets/0: }, write_to("$offsets/0", "yesterday\n"));
refused('an empty offset', EINVAL, qr{$offsets/0: }, write_to("$offsets/0", "\n"));
{
    for my $v (-2, 6, '9223372036854775807', '9' x 30) {
        my $got = put("$mq/$offsets/0", "$v\n");
        ok($got == EINVAL || $got == ERANGE, "offset $v is refused") or diag(errno_name($got));
        ok(state_now() eq $before, '... and nothing changed') or $before = state_now();
    }
}
refused('the offset of a queue that is not there', ENOENT, undef, write_to("$offsets/99", "0\n"));
refused('the offset in a topic that is not there', ENOENT, undef, write_to('groups/g1/offsets/Nowhere/0', "0\n"));
refused('the offset of a group that is not there', ENOENT, undef, write_to('groups/nobody/offsets/TopicA/0', "0\n"));

# ---- bindings ----
refused('a binding to no topic', ENOENT, qr{/groups/g1/bindings/Nowhere: .*Nowhere}, created('groups/g1/bindings/Nowhere'));
refused('a directory among bindings', EPERM, qr{no directory}, made('groups/g1/bindings/TopicB'));
refused('a binding of no group', ENOENT, undef, created('groups/nobody/bindings/TopicA'));
sh('mkdir $1/TopicB', $mq);
ok(state_now() ne $before, 'what does change is seen');
$before = state_now();
refused('a new binding with a broken filter', EINVAL, qr{/groups/g1/bindings/TopicB: }, created('groups/g1/bindings/TopicB', "sql: a >>> 3 (\n"));
refused('a binding with a control character', EINVAL, qr{one line}, write_to('groups/g1/bindings/TopicA', "Tag\001\n"));
refused('a filter of 60 KiB', EINVAL, qr{/groups/g1/bindings/TopicA: }, write_to('groups/g1/bindings/TopicA', 'T' x 61440));

# ---- names ----
refused('a topic that is there', EEXIST, undef, made('TopicA'));
refused('a reserved name', EPERM, qr{topic:cluster}, made('cluster'));
refused("a topic's name with a blank", EINVAL, qr{/a b: }, made('a b'));
refused("a topic's name of other letters", EINVAL, qr{[^:]: .*name}, made("t\xc3\xb6pic"));
refused("a topic's name with control characters", EINVAL, qr{^/a\?\?b: [^\n]*\n$}, made("a\n\001b"));
refused("a topic's name of 200 bytes", EINVAL, qr{^/t{200}: .*127}, made('t' x 200));
refused("a topic's name of 255 bytes", EINVAL, qr{^/t{255}: .*127}, made('t' x 255));
refused('a name of 256 bytes', ENAMETOOLONG, undef, made('t' x 256));
refused('a name of 1,000 bytes', ENAMETOOLONG, undef, made('t' x 1000));
refused("a group's name with a dollar", EINVAL, qr{^/groups/a\$b: .*name}, made('groups/a$b'));
refused('a directory in a topic', EPERM, qr{no directory}, made('TopicA/9'));
refused('a file in a topic', EPERM, qr{no file}, created('TopicA/note'));
refused('a file at the root', EPERM, qr{no file}, created('note'));
refused('a directory in broker', EPERM, qr{no directory}, made('broker/x'));

# ---- removing, renaming, linking ----
refused('rm of a value', EPERM, qr{cannot be removed}, sub { unlink("$mq/TopicA/perm") ? 0 : $! + 0 });
refused('rmdir of a queue', EPERM, qr{cannot be removed}, sub { rmdir("$mq/TopicA/0") ? 0 : $! + 0 });
refused('rmdir of groups', EPERM, qr{cannot be removed}, sub { rmdir("$mq/groups") ? 0 : $! + 0 });
refused('rmdir of nothing', ENOENT, undef, sub { rmdir("$mq/Nowhere") ? 0 : $! + 0 });
refused('rm of a message', EPERM, qr{cannot be removed}, sub { unlink("$mq/TopicA/0/messages/" . '0' x 20) ? 0 : $! + 0 });
refused('renaming a topic', EPERM, qr{/TopicA: .*cannot be changed}, sub { rename("$mq/TopicA", "$mq/TopicC") ? 0 : $! + 0 });
refused('a symbolic link', EPERM, qr{links are made}, sub { symlink('x', "$mq/link") ? 0 : $! + 0 });
refused('a hard link', EPERM, qr{one name}, sub { link("$mq/TopicA/perm", "$mq/TopicA/perm2") ? 0 : $! + 0 });

# ---- configuration ----
refused('a key that cannot change while running', EPERM, qr{/broker/config/listenPort: }, write_to('broker/config/listenPort', "1\n"));
refused('a key set to no number', EINVAL, qr{/broker/config/maxHeldPulls: }, write_to('broker/config/maxHeldPulls', "big\n"));
refused('a read-only file', EPERM, qr{only be read}, write_to('TopicA/0/offset', "7\n"));

# ---- looking ----
for my $name ('Nowhere', 'TopicA/4000000000', 'TopicA/-1', 'TopicA/00', 'TopicA/+0', 'TopicA/0/messages/' . '9' x 20, 'topic:TopicA', 'groups/nobody',
              'TopicA/0/messages/' . '0' x 19 . '9', 'TopicA/0/messages/.json', 'cluster', 'index/none', 'broker/config/nokey', 'broker/stats/nostat', 'topic:') {
    ok(!-e "$mq/$name" && $! == ENOENT, "there is no $name");
}
ok(!-e "$mq/" . 't' x 300 && $! == ENAMETOOLONG, 'a long name is too long');
is(slurp("$mq/TopicA/0/offset"), "5\n", 'the mount lives on');
ok(!$m->ended, 'and so does the broker');
ok($m->stop, 'a clean stop');
done_testing();
