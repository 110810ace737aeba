#!/usr/bin/perl
# Apache 5.5.0 on a restored snapshot, and on a store whose log files were closed early for snapshots: every message up
# to the point there exactly once, nothing behind it, offsets and keys with them; and it goes on, as ours does after it.
# The log lies in two directories. Needs tests/clients/setup.
use strict;
use warnings;
use Cwd qw(abs_path);
use File::Temp qw(tempdir);
use FindBin;
use lib "$FindBin::Bin/../lib";
use Mqfs;
use POSIX qw(WNOHANG);
use Test::More;

my $APACHE = abs_path("$FindBin::Bin/../clients/apache-broker");
-d (($ENV{BUILD} || Mqfs::root() . '/build') . '/clients/jars-5.5.0') or plan skip_all => 'run tests/clients/setup first';

my $QUEUES = 4;
my %LAYOUT = (mappedFileSizeCommitLog => 16777216, mappedFileSizeConsumeQueue => 6000, maxHashSlotNum => 500, maxIndexNum => 2000);
my $admin = Mqfs::build() . '/mqadmin';
my $owner = $$;
my (%apaches, @dirs);

sub apache_start {
    my ($dir, %more) = @_;
    my ($ns, $port) = free_ports(2);
    my %conf = (%LAYOUT, %more);
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        open STDIN,  '<',  '/dev/null';
        open STDOUT, '>>', "$dir/apache.log" or POSIX::_exit(127);
        open STDERR, '>&', \*STDOUT;
        exec $APACHE, $dir, $ns, $port, map { "$_=$conf{$_}" } sort keys %conf or POSIX::_exit(127);
    }
    $apaches{$pid} = 1;
    my $up = eval { await("Apache's broker", 120, sub {
        waitpid($pid, WNOHANG) == $pid and delete $apaches{$pid}, die "it ended\n";
        my $r = eval { rpc($port, 30, {topic => 'TopicA', queueId => 0}) } or return 0;
        $r->{code} == 0;
    }) };
    $up or BAIL_OUT("Apache's broker does not start: $@" . slurp("$dir/apache.log"));
    return ($pid, $port);
}

sub apache_end {
    my ($pid) = @_;
    kill TERM => $pid;
    eval { await('its end', 60, sub { waitpid($pid, WNOHANG) == $pid }); 1 } or do { kill KILL => $pid; waitpid $pid, 0 };
    delete $apaches{$pid};
}

END {
    if ($$ == $owner) {
        local ($?, $@, $!);
        kill(KILL => $_), waitpid($_, 0) for keys %apaches;
        system 'rm', '-rf', '--one-file-system', '--', @dirs if @dirs && !$ENV{MQ_KEEP};
    }
}

# Message n goes to queue n % QUEUES, as number n / QUEUES there.
sub send_range {
    my ($port, $from, $to) = @_;
    my $w = wire($port);
    for my $n ($from .. $to - 1) {
        my $r = send_message($w, 'TopicA', $n % $QUEUES, "<m$n>" . 'x' x (1500 + $n % 700), KEYS => "k$n", TAGS => 'a');
        $r->{code} == 0 or die "send $n: $r->{code} $r->{remark}\n";
        $r->{ext}{queueOffset} == int($n / $QUEUES) or die "message $n got offset $r->{ext}{queueOffset}\n";
    }
}

# Exactly messages 0 to n-1, each once, in its place and whole.
sub check_all {
    my ($port, $n, $what) = @_;
    my $w = wire($port);
    my ($right, $other) = (0, 0);
    for my $queue (0 .. $QUEUES - 1) {
        my $at = 0;
        my $max = $w->call(30, {topic => 'TopicA', queueId => $queue})->{ext}{offset};
        while ($at < $max) {
            my $r = pull_messages($w, 'g1', 'TopicA', $queue, $at);
            last if $r->{code};
            for (my $p = 0; $p < length $r->{body}; $at++) {
                my ($size) = unpack 'N', substr $r->{body}, $p, 4;
                my $record = substr $r->{body}, $p, $size;
                my $i = $at * $QUEUES + $queue;
                my ($number, $tail) = $record =~ /<m(\d+)>(x+)/;
                $i < $n && ($number // -1) == $i && length $tail == 1500 + $i % 700 ? $right++ : $other++;
                $p += $size;
            }
        }
    }
    is("$right $other", "$n 0", "$what: each of $n messages once, in its place, and no other");
}

sub commit { my ($port, $offset) = @_; return rpc($port, 15, {consumerGroup => 'g1', topic => 'TopicA', queueId => 1, commitOffset => $offset})->{code} }
sub committed { return rpc(shift, 14, {consumerGroup => 'g1', topic => 'TopicA', queueId => 1})->{ext}{offset} }

sub found {
    my ($port, $key) = @_;
    return eval { await("key $key", 60, sub {
        my $r = rpc($port, 12, {topic => 'TopicA', key => $key, maxNum => 8, beginTimestamp => 0, endTimestamp => '9223372036854775807'});
        $r->{code} == 0 && $r->{body} =~ /<m(\d+)>/ && "m$1" }) } // 'none';
}

my $dir = tempdir('mqfs-snapshot-XXXXXX', TMPDIR => 1);
push @dirs, $dir;
my @log = (storePathCommitLog => "$dir/disk1,$dir/disk2");
my $m = Mqfs->start({mount => 0, dir => $dir}, %LAYOUT, @log, autoCreateSubscriptionGroup => 'true',
    autoCreateTopicEnable => 'false');
is(rpc($m->{port}, 17, {topic => 'TopicA', defaultTopic => 'TBW102', readQueueNums => $QUEUES, writeQueueNums => $QUEUES,
    perm => 6, topicFilterType => 'SINGLE_TAG', topicSysFlag => 0, order => 'false'})->{code}, 0, 'a topic');
is(rpc($m->{port}, 200, {}, '{"groupName":"g1"}')->{code}, 0, 'a group');

send_range($m->{port}, 0, 3200);
is(commit($m->{port}, 77), 0, 'an offset');
my ($status, $text) = sh('"$1" snapshot create s1 -b 127.0.0.1:$2 2>&1', $admin, $m->{port});
is($status, 0, 'a snapshot') or diag($text);
like(slurp($m->{log}), qr/snapshot s1: .*goes on in a new file/, '... which closed the log file');
is(commit($m->{port}, 99), 0, 'the offset moves on');
send_range($m->{port}, 3200, 3300);
is((sh('"$1" snapshot create s2 -b 127.0.0.1:$2 2>&1', $admin, $m->{port}))[0], 0, 'a second one, of little');
unlike(slurp($m->{log}), qr/snapshot s2: .*goes on in a new file/, '... which closed nothing');
send_range($m->{port}, 3300, 3500);

# ---- the snapshots, extracted from a tar into empty directories ----
my %want = (s1 => [3200, 77], s2 => [3300, 99]);
for my $name (sort keys %want) {
    my ($n, $offset) = @{$want{$name}};
    my $there = tempdir('mqfs-snapshot-XXXXXX', TMPDIR => 1);
    push @dirs, $there;
    is(sh('mkdir $2/store && tar cS -C $1 . | tar x -C $2/store', "$dir/store/snapshots/$name", $there), '', "$name: tar c | tar x");
    my ($pid, $port) = apache_start($there);
    check_all($port, $n, "$name: Apache");
    is(committed($port), $offset, "$name: ... the offset of then");
    is(found($port, 'k5'), 'm5', "$name: ... found by key");
    send_range($port, $n, $n + 40);
    check_all($port, $n + 40, "$name: Apache goes on");
    apache_end($pid);
    my $c = Mqfs->start({mount => 0, dir => $there}, %LAYOUT);
    check_all($c->{port}, $n + 40, "$name: ours after it");
    ok($c->stop, "$name: ... and it stops");
}

# ---- the store itself, with its closed log file, in two directories ----
check_all($m->{port}, 3500, 'the store, untouched by all that');
ok($m->stop, 'it stops');
my ($pid, $port) = apache_start($dir, @log);
check_all($port, 3500, 'Apache on the store with a closed log file');
is(committed($port), 99, '... the offset');
is(found($port, 'k3499'), 'm3499', '... the last message is found by key');
send_range($port, 3500, 3540);
apache_end($pid);
$m = Mqfs->start({mount => 0, dir => $dir}, %LAYOUT, @log);
check_all($m->{port}, 3540, 'ours after Apache');
done_testing;
