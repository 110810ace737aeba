#!/usr/bin/perl
# /mq/snapshots: mkdir takes one, tar reads it, rmdir drops it; a broker started on
# the copy has what was there, and nothing of what came after.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Mqfs;
use Errno qw(EEXIST EINVAL ENOENT EROFS EPERM);
use File::Temp qw(tempdir);
use Test::More;
use Time::HiRes qw(time);

my $m = Mqfs->start(autoCreateTopicEnable => 'false');
my $mq = $m->{mnt};
is(sh('mkdir $1/TopicA $1/groups/g1 && echo > $1/groups/g1/bindings/TopicA', $mq), '', 'a topic, a group, a binding');
my $w = wire($m->{port});
send_message($w, 'TopicA', $_ % 4, "m$_" . 'x' x 700) for 1 .. 2500;      # some 2 MiB: three log files
$w->call(15, {consumerGroup => 'g1', topic => 'TopicA', queueId => 1, commitOffset => 77});

is(sh('ls $1/snapshots', $mq), '', 'no snapshots');
is(sh('mkdir $1/snapshots/s1', $mq), '', 'mkdir takes one');
send_message($w, 'TopicA', 0, 'later') for 1 .. 100;
is(sh('ls $1/snapshots', $mq), "s1\n", '... it is listed');
cmp_ok(abs((stat "$mq/snapshots/s1")[9] - time), '<', 30, '... with its time');
like(sh('ls $1/snapshots/s1', $mq), qr/^audit.log\ncheckpoint\ncommitlog\nconfig\nconsumequeue\n/, '... as a store\'s directory');
is(sh('cd $1/snapshots/s1 && find . -name abort -o -name lock -o -name snapshots', $mq), '', '... of one that was stopped cleanly');
is(sh('diff -r $1/snapshots/s1 $2/store/snapshots/s1', $mq, $m->{dir}), '', '... the very files');

my $there = tempdir('mqfs-test-XXXXXX', TMPDIR => 1, CLEANUP => 1);
is(sh('mkdir $2/store && tar c -C $1/snapshots/s1 . | tar x -C $2/store', $mq, $there), '', 'tar c | tar x');
my $copy = Mqfs->start({mount => 1, dir => $there}, autoCreateTopicEnable => 'false');
is(sh('cat $1/TopicA/[0-3]/offset', $copy->{mnt}), "625\n" x 4, 'a broker on the copy has the messages before');
is(slurp("$copy->{mnt}/groups/g1/offsets/TopicA/1"), "77\n", '... and the offset');
is(slurp("$copy->{mnt}/groups/g1/bindings/TopicA"), "*\n", '... and the binding');
my $r = pull_messages($copy->{port}, 'g1', 'TopicA', 3, 600);
like($r->{body}, qr/m2403x+/, '... and gives the messages');
unlike(slurp($copy->{log}), qr/did not end cleanly|recover/, '... and opened like one that was stopped cleanly');
is(send_message($copy->{port}, 'TopicA', 0, 'on the copy')->{code}, 0, '... and goes on');
ok($copy->stop, '... and stops');
is(slurp("$mq/TopicA/0/offset"), "725\n", 'the broker itself has all');
is(sh('diff -r $1/snapshots/s1 $2/store/snapshots/s1', $mq, $m->{dir}), '', 'the snapshot is as it was');

# ---- names, and what is refused ----
ok(!mkdir("$mq/snapshots/s1") && $! == EEXIST, 'a name is taken once');
for my $bad ('.hidden', '-x', 'a b', "n\x{c3}\x{a9}", 'x' x 65) {
    ok(!mkdir("$mq/snapshots/$bad") && $! == EINVAL, "refused: '$bad'");
}
like(slurp("$mq/broker/last_error"), qr/a snapshot's name/, '... with a sentence');
isnt(put("$mq/snapshots/s1/checkpoint", 'x'), 0, 'files cannot be written');
ok(!unlink("$mq/snapshots/s1/checkpoint"), '... nor removed');
ok(!rmdir("$mq/snapshots/none") && $! == ENOENT, 'rmdir of none');
like(sh('mkdir $1/snapshots/s2 && ls $1/snapshots', $mq), qr/^s1\ns2\n$/, 'a second one');
SKIP: {
    skip 'needs root', 2 if $>;
    my ($status, $text) = as('nobody', 'nogroup', 'ls $1/snapshots/s1', $mq);
    isnt($status, 0, 'messages in it are for the owner and the admin group');
    ($status, $text) = as('nobody', 'nogroup', 'mkdir $1/snapshots/s3', $mq);
    isnt($status, 0, '... who alone take one');
}
is(sh('rmdir $1/snapshots/s1 && ls $1/snapshots && ls -A $2/store/snapshots', $mq, $m->{dir}), "s2\ns2\n", 'rmdir drops it');
is(slurp("$mq/TopicA/0/offset"), "725\n", '... not the store');
like(slurp("$mq/broker/audit"), qr{"what":"snapshot.create","path":"/snapshots/s1".*"what":"snapshot.delete","path":"/snapshots/s1"}s,
    'both are in the audit file');

# ---- while sends go on ----
my $pid = fork // die $!;
if (!$pid) {
    my $own = wire($m->{port});
    send_message($own, 'TopicA', 2, "n$_" . 'y' x 500) for 1 .. 1_000_000;
    POSIX::_exit(0);
}
my $before = 0 + slurp("$mq/TopicA/2/offset");
await('sends', 20, sub { slurp("$mq/TopicA/2/offset") > $before + 200 });
my $worst = 0;
for my $i (1 .. 5) {
    my $low = 0 + slurp("$mq/TopicA/2/offset");
    my $began = time;
    mkdir "$mq/snapshots/live$i" or die $!;
    my $took = time - $began;
    $worst = $took if $took > $worst;
    my $high = 0 + slurp("$mq/TopicA/2/offset");
    push @{$m->{cuts}}, [$low, $high];
}
kill KILL => $pid;
waitpid $pid, 0;
diag(sprintf 'slowest mkdir of a snapshot under sends: %.0f ms', $worst * 1000);
for my $i (1, 5) {
    my ($low, $high) = @{$m->{cuts}[$i - 1]};
    is(sh('rm -rf $2/store && cp -a $1/snapshots/live' . $i . ' $2/store', $mq, $there), '', 'cp -a');
    my $c = Mqfs->start({mount => 1, dir => $there}, autoCreateTopicEnable => 'false');
    my $n = 0 + slurp("$c->{mnt}/TopicA/2/offset");
    ok($n >= $low && $n <= $high, "the copy has $n messages: all of $low before, at most the $high after");
    $r = pull_messages($c->{port}, 'g1', 'TopicA', 2, $n - 1);
    like($r->{body}, qr/n\d+y{500}/, '... and the last one is whole');
    $c->stop;
}
ok($m->stop, 'a clean stop');
done_testing;
