#!/usr/bin/perl
# The tree read with ordinary tools: what is listed, what a value is, that sizes
# and times are true, that copies and archives are whole.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Mqfs;
use Compress::Zlib ();
use POSIX qw(O_RDONLY O_WRONLY);
use Test::More;
use Time::HiRes ();

my $m = Mqfs->start(autoCreateTopicEnable => 'false');
my $mq = $m->{mnt};

is(sh('ls $1', $mq), "broker\ngroups\nindex\nproducers\nsnapshots\n", 'an empty broker: five directories');
is(sh('mkdir $1/TopicA', $mq), '', 'mkdir makes a topic');
is(sh('ls $1', $mq), "TopicA\nbroker\ngroups\nindex\nproducers\nsnapshots\n", 'it is listed');
is(sh('cat $1/TopicA/0/offset', $mq), "0\n", 'cat TopicA/0/offset: nothing written yet');
my ($queues) = slurp("$mq/TopicA/read_queues") =~ /^(\d+)\n$/;
ok($queues, 'read_queues is a number and a newline');
is(sh('ls -d $1/TopicA/[0-9]* | wc -l', $mq), "$queues\n", 'as many queue directories as read_queues says');

# ---- messages ----
my @bodies = ('first', 'x', "line\nline\n", join('', map { chr } 0 .. 255) x 64, 'last');
for my $i (0 .. $#bodies) {
    my $r = send_message($m->{port}, 'TopicA', 0, $bodies[$i], TAGS => 'tag', KEYS => "k$i");
    is($r->{code}, 0, "message $i is sent") or diag($r->{remark});
}
is(sh('cat $1/TopicA/0/offset $1/TopicA/0/min_offset', $mq), "5\n0\n", 'offset and min_offset');
is(sh('ls $1/TopicA/0/messages', $mq), join('', map { sprintf "%020d\n", $_ } 0 .. 4), 'messages/ lists 20-digit names');
for my $i (0 .. $#bodies) {
    my $path = sprintf '%s/TopicA/0/messages/%020d', $mq, $i;
    is(slurp($path), $bodies[$i], "the body of message $i, to its last byte");
    is(-s $path, length $bodies[$i], "... and st_size says so");
}
my $first = sprintf '%s/TopicA/0/messages/%020d', $mq, 0;
my $json = slurp("$first.json");
like($json, qr/^\{.*"k0".*\}\n$/s, 'NAME.json: one JSON line with the keys');
is(length $json, -s "$first.json", '... its size is true');
unlike(sh('ls $1/TopicA/0/messages', $mq), qr/json/, '... and it is not listed');
my $mtime = (stat $first)[9];
cmp_ok(abs(time - $mtime), '<', 120, 'mtime of a message is its store time');
is((stat sprintf '%s/TopicA/0/messages/%020d', $mq, 4)[9], (stat "$mq/TopicA/0/offset")[9], "a queue's time is that of its last message");
is(sprintf('%o', (stat $first)[2] & 07777), '440', 'messages are 0440');
ok(!-e sprintf('%s/TopicA/0/messages/%020d', $mq, 5), 'no message past the end');
ok(!-e "$mq/TopicA/0/messages/0", 'an offset without its zeros is no name');
is(slurp("$mq/TopicA/status") =~ tr/\n//, 1 + $queues, 'status: a head and a line for each queue');
like(slurp("$mq/TopicA/status"), qr/^QUEUE +MIN +MAX +LAST_TIME\n0 +0 +5 +\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\n1 +0 +0 +-\n/, '... aligned');

# a body that the client compressed is shown as the client was given it
my $plain = "compress me\n" x 1000;
is(send_message($m->{port}, 'TopicA', 2, Compress::Zlib::compress($plain), sysFlag => 1)->{code}, 0, 'a compressed message');
my $packed = sprintf '%s/TopicA/2/messages/%020d', $mq, 0;
ok(slurp($packed) eq $plain, '... is shown plain');
is(-s $packed, length $plain, '... with its size');
is(send_message($m->{port}, 'TopicA', 2, 'not zlib', sysFlag => 1)->{code}, 0, 'one that says so and is not');
is(slurp(sprintf '%s/TopicA/2/messages/%020d', $mq, 1), 'not zlib', '... is shown as it is');

# ---- sizes ----
my $wrong = 0;
for my $path (split /\n/, sh('find $1 -path "*/broker/s*" -prune -o -type f -print', $mq)) {
    my $size = -s $path // -1;
    my $text = slurp($path) // '';
    next if $size == length $text;
    diag("$path: st_size $size, read gave " . length $text);
    $wrong++;
}
is($wrong, 0, 'st_size of every file is what a read gives');

# A topic's and a queue's time follows its messages within a second: tar and cp would see it change.
sub mtime { return (Time::HiRes::stat("$mq/" . shift))[9] }
await('times to settle', 5, sub { mtime('TopicA') == mtime('TopicA/2/offset') && mtime('TopicA/2') == mtime('TopicA/2/offset') });
pass("a topic's and a queue's time become those of the last message");

# ---- tools ----
is(sh('mkdir $1/copy && cp -a $2/TopicA $1/copy && diff -r $2/TopicA $1/copy/TopicA', $m->{dir}, $mq), '', 'cp -a and diff -r of a topic');
is(sh('tar -C $2 -cf $1/x.tar TopicA groups producers && mkdir $1/x && tar -C $1/x -xf $1/x.tar && diff -r $2/TopicA $1/x/TopicA', $m->{dir}, $mq), '', 'tar c, tar x');
my ($status, $out) = sh('find $1 -type f -size +0 | wc -l; find $1 | sort | uniq -d', $mq);
like($out, qr/^\d+\n$/, 'a recursive walk ends and shows nothing twice');
is(sh('find $1 -name offset -newermt "-2 minutes" -path "*/0/*"', "$mq/TopicA"), "$mq/TopicA/0/offset\n", 'find -newermt finds the queue that moved');
is(sh('cd $1 && ls -i TopicA | sort > $2/i1; ls -i TopicA | sort > $2/i2; cmp $2/i1 $2/i2', $mq, $m->{dir}), '', 'inode numbers stay');
is(sh('grep -rlx first $1/TopicA', $mq), "$first\n", 'grep -r');
is(sh('ls -a $1/TopicA/0', $mq), ".\n..\nat\nlast_time\nmessages\nmin_offset\noffset\n", 'ls -a has the dots');
is(sh('wc -c < $1/TopicA/perm', $mq), "2\n", 'wc');

# a handle is a snapshot: what was open does not move
sysopen(my $f, "$mq/TopicA/0/offset", O_RDONLY) or die $!;
send_message($m->{port}, 'TopicA', 0, 'one more');
sysread $f, my $seen, 100;
is($seen, "5\n", 'an open file is a snapshot');
close $f;
is(slurp("$mq/TopicA/0/offset"), "6\n", '... and the next open shows what is now');

# ---- many messages: the listing goes on from a cookie ----
my $wire = wire($m->{port});
send_message($wire, 'TopicA', 1, "m$_") for 1 .. 1500;
is(sh('ls $1/TopicA/1/messages | wc -l', $mq), "1500\n", '1,500 messages listed');
is(sh('ls -f $1/TopicA/1/messages | sort -u | wc -l', $mq), "1502\n", '... each once');
is(slurp(sprintf '%s/TopicA/1/messages/%020d', $mq, 1499), 'm1500', '... and the last is right');

# ---- broker/ ----
is(slurp("$mq/broker/config/listenPort"), "$m->{port}\n", 'a configuration key');
is(sprintf('%o', (stat "$mq/broker/config/listenPort")[2] & 0777), '444', '... that cannot change while running is 0444');
like(slurp("$mq/broker/status"), qr/^NAME +VALUE\n.*bootTimestamp /s, 'broker/status: runtime values');
like(slurp("$mq/broker/stats/bootTimestamp"), qr/^\d+\n$/, 'broker/stats/NAME: one of them');
like(slurp("$mq/broker/audit"), qr/TopicA/, 'broker/audit tells of the topic that was made');
is(length slurp("$mq/broker/audit"), -s "$mq/broker/audit", '... its size is true');
like(sh('ls $1/broker/system', $mq), qr/^SELF_TEST_TOPIC$/m, 'system topics stand in broker/system');
ok(-d "$mq/SELF_TEST_TOPIC", '... and can be looked up at the root');

# reading is all that most files allow, root or not
for my $file ('TopicA/0/offset', 'TopicA/status', 'broker/audit', 'broker/last_error') {
    ok(!sysopen(my $w, "$mq/$file", O_WRONLY), "$file cannot be opened for writing");
}
ok($m->stop, 'a clean stop');
ok(!-d "$mq/groups", '... unmounts');
done_testing();
