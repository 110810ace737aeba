#!/usr/bin/perl
# A disk that fills up under load, and one that becomes read-only: writes are turned away with Apache's code, reads,
# offsets and the mount go on, and writing resumes by itself (R-STORE-26; alibaba/rocketmq issue 331: writes stayed
# off after the disk had room again).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use File::Temp qw(tempdir);
use Mqfs;
use POSIX ();
use Test::More;
use Time::HiRes qw(sleep time);

$> == 0 or plan skip_all => 'only root can mount a small tmpfs';
my $owner = $$;
my $disk = tempdir('mqfs-full-XXXXXX', TMPDIR => 1);
system('mount', '-t', 'tmpfs', '-o', 'size=16m', 'mqfs-test', $disk) == 0 or plan skip_all => 'no tmpfs can be mounted here';
my $m;
END {
    if ($$ == $owner) {
        local ($?, $@, $!);
        $m->stop if $m;
        system "umount -l '$disk/store/commitlog' 2>/dev/null";
        system 'umount', '-l', $disk;
        rmdir $disk;
    }
}

$m = Mqfs->start({}, storePathRootDir => "$disk/store", autoCreateSubscriptionGroup => 'true',
    flushConsumerOffsetInterval => 100, maxHashSlotNum => 1000, maxIndexNum => 20000,
    # retention must not make room here, nor turn writes away earlier: that has tests of its own
    cleanFileForciblyEnable => 'false', cleanResourceInterval => 600_000);
is(put_topic('TopicA')->{code}, 0, 'a topic');
is(rpc($m->{port}, 200, {}, '{"groupName":"g1"}')->{code}, 0, 'a group');

sub put_topic {
    return rpc($m->{port}, 17, {topic => shift, defaultTopic => 'TBW102', readQueueNums => 2, writeQueueNums => 2, perm => 6,
        topicFilterType => 'SINGLE_TAG', topicSysFlag => 0, order => 'false'});
}

my ($n, @acked) = (0);
sub try_send {
    my ($wire) = @_;
    my $body = "message $n " . 'x' x 4000;
    my $r = send_message($wire, 'TopicA', 0, $body);
    $n++;
    $acked[$r->{ext}{queueOffset}] = $body if $r->{code} == 0;
    return $r;
}

sub send_until_refused {
    my $wire = wire($m->{port});
    for (1 .. 6000) {
        my $r = try_send($wire);
        return $r if $r->{code} != 0;
    }
    return {code => 'never refused'};
}

sub check_reads {
    my ($what) = @_;
    my $wire = wire($m->{port});
    my ($at, $wrong) = (0, 0);
    while (1) {
        my $r = pull_messages($wire, 'g1', 'TopicA', 0, $at);
        last if $r->{code} != 0;
        for (my $p = 0; $p < length $r->{body}; $at++) {
            my ($size) = unpack 'N', substr $r->{body}, $p, 4;
            my ($length) = unpack 'N', substr $r->{body}, $p + 84, 4;
            $wrong++ if substr($r->{body}, $p + 88, $length) ne ($acked[$at] // '');
            $p += $size;
        }
    }
    is("$at read, $wrong wrong", scalar(@acked) . ' read, 0 wrong', "$what: every acknowledged message is read");
    is(slurp("$m->{mnt}/TopicA/0/offset"), @acked . "\n", "$what: the mount tells where the queue ends");
    my $i = int rand @acked;
    is(slurp(sprintf '%s/TopicA/0/messages/%020d', $m->{mnt}, $i), $acked[$i], "$what: and shows message $i");
    is($wire->call(15, {consumerGroup => 'g1', topic => 'TopicA', queueId => 0, commitOffset => $at})->{code}, 0,
        "$what: a consumer commits");
    is($wire->call(14, {consumerGroup => 'g1', topic => 'TopicA', queueId => 0})->{ext}{offset}, $at, "$what: and reads it back");
}

# Writes are on again within some seconds, with nobody's help.
sub check_resumes {
    my ($what) = @_;
    my $wire = wire($m->{port});
    my $began = time;
    my $sent = eval { await('an accepted message', 30, sub { try_send($wire)->{code} == 0 }) };
    ok($sent, sprintf "%s: writing resumes by itself, after %.1f s", $what, time - $began) or diag(slurp($m->{log}));
}

for my $round (1 .. 2) {
    # another program takes what is left but for some messages, so that the log's next file has no room
    my $r = send_until_refused();
    is($r->{code}, 14, "round $round, full disk: refused with SERVICE_NOT_AVAILABLE") or diag($r->{remark});
    like($r->{remark}, qr/No space left|disk/i, 'the remark says why');
    ok(@acked > 100, 'after ' . @acked . ' messages');
    my $wire = wire($m->{port});
    my %codes;
    my $until = time + 2;
    while (time < $until) { $codes{try_send($wire)->{code}}++ }
    is(join(' ', sort keys %codes), '14', 'under load for 2 s more: each is refused, none is half taken');
    check_reads("round $round, full disk");
    # the same broker keeps its topics: a change that cannot be written is refused, and is not there
    $r = put_topic("Late$round");
    if ($r->{code} != 0) { isnt(rpc($m->{port}, 351, {topic => "Late$round"})->{code}, 0, 'a refused topic is not there') }
    else                 { is(rpc($m->{port}, 351, {topic => "Late$round"})->{code}, 0, 'a topic still fits') }
    system('mount', '-o', 'remount,size=' . (16 + 16 * $round) . 'm', $disk) == 0 or BAIL_OUT('remount');
    check_resumes("round $round, room again (alibaba/rocketmq 331)");
    check_reads("round $round, room again");
}

$m->stop;
ok(!-e "$disk/store/abort", 'a clean stop of a disk that was full');
$m->again;
check_reads('after a restart');
# Linux makes no file system read-only while somebody has files of it mapped for writing, but for one that fails. So
# the log's directory is covered by itself, read-only: what is mapped lives on, new files meet EROFS.
my $log_dir = "$disk/store/commitlog";
SKIP: {
    system('mount', '--bind', $log_dir, $log_dir) == 0 && system('mount', '-o', 'remount,bind,ro', $log_dir) == 0
        or skip 'no bind mounts here', 1;
    my $r = send_until_refused();
    is($r->{code}, 14, 'read-only disk: refused') or diag($r->{remark});
    like($r->{remark}, qr/Read-only file system/, 'the remark says why');
    check_reads('read-only disk');
    system('umount', $log_dir) == 0 or BAIL_OUT('umount');
    check_resumes('writable again');
    check_reads('writable again');
}

$m->kill9;
$m->again;
check_reads('after kill -9');
ok($m->stop, 'a clean stop');
done_testing();
