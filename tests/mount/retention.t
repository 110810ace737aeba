#!/usr/bin/perl
# Expired messages as clients and the tree see them; a disk that fills and empties.
# (R-EXP-01, R-EXP-02, R-EXP-03, R-EXP-05, R-EXP-10, R-EXP-11)
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Mqfs;
use File::Temp qw(tempdir);
use Test::More;

my $hour = (localtime)[2];
my $never = sprintf '%02d', ($hour + 12) % 24;
my $m = Mqfs->start(cleanResourceInterval => 50, deleteWhen => $never, deleteCommitLogFilesInterval => 0,
    deleteConsumeQueueFilesInterval => 0);
my ($mq, $port) = ($m->{mnt}, $m->{port});
is(sh('mkdir $1/T $1/groups/g && echo 2 > $1/T/read_queues; echo > $1/groups/g/bindings/T', $mq), '', 'a topic and a group');
my $wire = Mqfs::wire($port);
my $body = 'x' x 10000;
send_message($wire, 'T', 0, $body) for 1 .. 600;
my @log = sort glob "$m->{dir}/store/commitlog/*";
cmp_ok(scalar @log, '>=', 6, 'the log has several files');
sub old { my $t = time - 100 * 3600; utime $t, $t, @_ }
old(@log[0, 1]);
select undef, undef, undef, 0.3;
ok(-e $log[0], 'not the hour: old files stay');
is(slurp("$mq/T/0/min_offset"), "0\n", '... and the tree says so');

# ---- by hand: 329 ----
is(rpc($port, 329, {})->{code}, 0, 'DELETE_EXPIRED_COMMITLOG');
await('the two old files to go', 20, sub { !-e $log[0] && !-e $log[1] });
ok(-e $log[2], '... and only those');
my $min;
await('the smallest offset to move', 20, sub { $min = slurp("$mq/T/0/min_offset"); chomp $min; $min > 0 });
is(rpc($port, 31, {topic => 'T', queueId => 0})->{ext}{offset}, $min, 'GET_MIN_OFFSET says what the tree says');
my $r = pull_messages($wire, 'g', 'T', 0, 0);
is($r->{code}, 21, 'a pull of an expired offset: PULL_OFFSET_MOVED');
is("$r->{ext}{nextBeginOffset} $r->{ext}{minOffset}", "$min $min", '... to the new minimum');
$r = pull_messages($wire, 'g', 'T', 0, $min);
is($r->{code}, 0, 'a pull from there finds messages');
like(slurp($m->{log}), qr/deleted commit log file \S*commitlog\/0{20}, number 1 of this round.*disk usage: [\d.]+%/,
    'the log says what was deleted, where, and how full the disk is');

# ---- the hour, set while running ----
isnt((sh('echo 1:00 > $1/broker/config/deleteWhen', $mq))[0], 0, 'an hour that is none is refused');
like(slurp("$mq/broker/last_error"), qr/deleteWhen wants hours from 0 to 23/, '... saying what is wanted');
old(@log);
is(sh('printf "%02d" $2 > $1/broker/config/deleteWhen', $mq, $hour), '', 'deleteWhen is now');
await('the old files to go', 20, sub { !grep { -e } @log[0 .. $#log - 2] });     # the last ones are written to, and made ahead
is(send_message($wire, 'T', 0, $body)->{code}, 0, 'sends go on');

# ---- 306 and 316 ----
send_message($wire, 'T', 1, 'here');
is(sh('mkdir -p $1/consumequeue/nobody/0 $1/consumequeue/T/9', "$m->{dir}/store"), '', 'queues that nobody has');
$m->again;
is(rpc($port, 306, {})->{code}, 0, 'CLEAN_EXPIRED_CONSUMEQUEUE');
ok(!-e "$m->{dir}/store/consumequeue/T/9" && !-e "$m->{dir}/store/consumequeue/nobody/0", '... removes empty queues');
ok(-e "$m->{dir}/store/consumequeue/T/1" && -e "$m->{dir}/store/consumequeue/T/0", '... but not those in use');
is(sh('mkdir -p $1/consumequeue/nobody/0', "$m->{dir}/store"), '', 'a topic that nobody has');
$m->again;
is(rpc($port, 316, {})->{code}, 0, 'CLEAN_UNUSED_TOPIC');
ok(!-e "$m->{dir}/store/consumequeue/nobody", '... removes it');
is(pull_messages($port, 'g', 'T', 1, 0)->{code}, 0, '... and nothing else');
ok($m->stop, 'a clean stop');

# ---- a disk that fills ----
SKIP: {
    my $small = tempdir('mqfs-test-XXXXXX', TMPDIR => 1, CLEANUP => 1);
    skip 'a small file system needs root', 8 if $> || system("mount -t tmpfs -o size=40m mqfs-test $small 2>/dev/null");
    my $f = Mqfs->start({mount => 0}, cleanResourceInterval => 50, storePathCommitLog => "$small/log",
        cleanFileForciblyEnable => 'false', autoCreateTopicEnable => 'true', autoCreateSubscriptionGroup => 'true');
    send_message($f->{port}, 'T', 0, "m$_") for 1 .. 3;
    sh('head -c 36m /dev/zero > $1/ballast', $small);
    my $answer;
    await('writes to be refused', 20, sub { $answer = send_message($f->{port}, 'T', 0, 'no'); $answer->{code} != 0 });
    is($answer->{code}, 14, 'a disk over 90%: SERVICE_NOT_AVAILABLE');
    like($answer->{remark}, qr/disk is more than 90% full/, '... saying why');
    is(pull_messages($f->{port}, 'g2', 'T', 0, 0)->{code}, 0, '... pulls go on') or diag explain pull_messages($f->{port}, 'g2', 'T', 0, 0);
    is(rpc($f->{port}, 30, {topic => 'T', queueId => 0})->{ext}{offset} >= 3, 1, '... offsets too');
    unlink "$small/ballast";
    await('writes to come back', 20, sub { send_message($f->{port}, 'T', 0, 'yes')->{code} == 0 });
    pass('room again: sends go on by themselves');
    like(slurp($f->{log}), qr/writes are off: disk usage.*writes are on again, disk usage/s, '... and the log says both');
    ok($f->stop, '... a clean stop');
    is(system("umount $small"), 0, '... nothing is left');
}
done_testing;
