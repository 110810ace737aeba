#!/usr/bin/perl
# Power cuts of a broker with more queues than are synced one by one (those of most file systems are synced with one
# syncfs, which a file system in user space, as powerfs is one, does not get): right after a clean stop, after a snapshot of
# it, and after an import; what was stopped, taken or imported is there (R-STORE-26).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Mqfs;
use Power;
use Test::More;

Power::possible();
my $QUEUES = 600;                        # with a file each
my $power = Power->new;
my $disk = $power->{disk};
my $admin = Mqfs::build() . '/mqadmin';
my @conf = (storePathRootDir => "$disk/store", flushDiskType => 'SYNC_FLUSH', mappedFileSizeCommitLog => 1048576,
    mappedFileSizeConsumeQueue => 200, messageIndexEnable => 'false');
my $m = Mqfs->start({mount => 0, namesrv => 0}, @conf);

sub cut {
    my $lost = ($power->forget)[1];
    $power->back;
    return $lost;
}

my @sent = (0) x $QUEUES;                # to each queue

# Queues that do not have just what was sent to them.
sub wrong {
    my $w = wire($m->{port});
    my @wrong;
    for my $q (0 .. $QUEUES - 1) {
        my $r = pull_messages($w, 'CID_ONS-HTTP-PROXY', 'TopicA', $q, 0);
        my $got = $r->{code} == 0 ? join ' ', $r->{body} =~ /<(\d+\.\d+)>/g : "code $r->{code}";
        push @wrong, "queue $q: $got" if $got ne join ' ', map { "$q.$_" } 0 .. $sent[$q] - 1;
    }
    return join "\n", @wrong > 5 ? (@wrong[0 .. 4], scalar(@wrong) . ' queues') : @wrong;
}

sub send_round {
    my $n = shift;
    my $w = wire($m->{port});
    my @refused = grep { send_message($w, 'TopicA', $_, "<$_." . $sent[$_]++ . '>')->{code} } 0 .. $n - 1;
    is("@refused", '', "$n queues get a message each");
}

is(rpc($m->{port}, 17, {topic => 'TopicA', defaultTopic => 'TBW102', readQueueNums => $QUEUES, writeQueueNums => $QUEUES,
    perm => 6, topicFilterType => 'SINGLE_TAG', topicSysFlag => 0, order => 'false'})->{code}, 0, "a topic of $QUEUES queues");
send_round($_), ok($m->stop, 'a clean stop'), $m->_spawn for 1 .. 2;
for my $what ('most queues new', 'all queues old') {
    send_round($QUEUES);
    ok($m->stop, "$what: a clean stop");
    cut();
    $m->_spawn;
    is(wrong(), '', '... and a power cut right after it: all are there');
}

is(rpc($m->{port}, 30001, {name => 's'})->{code}, 0, 'a snapshot');
$m->kill9;
cut();
is((sh('"$@" 2>&1', $admin, qw(export -q --store), "$disk/store/snapshots/s", "$disk/s.tar"))[0], 0, 'after a power cut it is exported');
is((sh('"$@" 2>&1', $admin, qw(import -q), "$disk/s.tar", "$disk/there"))[0], 0, 'and imported');
cut();
$m = Mqfs->start({mount => 0, namesrv => 0}, @conf, storePathRootDir => "$disk/there");
is(wrong(), '', 'after one more a broker starts on that, and all are there');
unlike(slurp($m->{log}), qr/did not end cleanly|recovery/, '... and were when it was imported');
ok($m->stop, 'a clean stop');
done_testing;
