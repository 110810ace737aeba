#!/usr/bin/perl
# Power that goes some time after a kill -9. The start in between finds in memory what the killed broker wrote, and all of
# it is right; but what it says is on the disk must be there: after the cut each message is in its queue, has its unit in
# the queue's extension, and is found by its keys (R-STORE-26).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Mqfs;
use Power;
use Test::More;
use Time::HiRes qw(time);

Power::possible();
my $rounds = $ENV{MQ_SOAK} ? 60 : 4;
my $seed = $ENV{SEED} || int time;
diag("seed $seed");
srand $seed;
my $QUEUES = 4;
# Recovery reads the log again from the file that began so long before what the checkpoint vouches for. A queue whose
# messages are all older is not compared with the log: it has what is on the disk.
my $TRUSTED_S = 3;

my $power = Power->new;
my $m = Mqfs->start({mount => 0, namesrv => 0}, storePathRootDir => "$power->{disk}/store", flushDiskType => 'SYNC_FLUSH',
    autoCreateTopicEnable => 'true', mappedFileSizeCommitLog => 65536, mappedFileSizeConsumeQueue => 200,
    enableConsumeQueueExt => 'true', mappedFileSizeConsumeQueueExt => 204, maxHashSlotNum => 100, maxIndexNum => 200);
my ($lost, @queue_of) = 0;

sub send_to {
    my $w = wire($m->{port});
    for my $q (@_) {
        my $n = @queue_of;
        my $r = send_message($w, 'TopicA', $q, "<$n>" . 'x' x 4000, KEYS => "key$n", TAGS => 'a');
        $r->{code} == 0 or die "send: $r->{code} $r->{remark}\n";
        push @queue_of, $q;
    }
}

# The numbers in a queue, in its order.
sub queued {
    my ($w, $q) = @_;
    my @got;
    while ((my $r = pull_messages($w, 'CID_ONS-HTTP-PROXY', 'TopicA', $q, scalar @got))->{code} == 0) {
        push @got, $r->{body} =~ /<(\d+)>/g;
    }
    return "@got";
}

sub check {
    my $w = wire($m->{port});
    my @wrong;
    for my $q (0 .. $QUEUES - 1) {
        my ($has, $want) = (queued($w, $q), join ' ', grep { $queue_of[$_] == $q } 0 .. $#queue_of);
        push @wrong, "queue $q has $has, not $want" if $has ne $want;
    }
    eval { Mqfs::await('the index', 30, sub { query_messages($w, 'TopicA', "key$#queue_of") =~ /^<\d+>x+$/ }); 1 }
        or push @wrong, 'the last message is not in the index';
    my @missing = grep { query_messages($w, 'TopicA', "key$_") !~ /^<$_>x+$/ } 0 .. $#queue_of;
    push @wrong, "not in the index: @missing" if @missing;
    return @wrong;
}

send_to(0 .. $QUEUES - 1);
ok($m->stop, 'the queues are on the disk, with little in them');
$m->_spawn;
for my $round (1 .. $rounds) {
    my $last = $round % $QUEUES;
    send_to((map { $_ % $QUEUES } 1 .. 40), ($last) x 40);
    my $then = time;
    Mqfs::await('what was sent to be old', 60, sub { time > $then + $TRUSTED_S + 0.1 });
    send_to($last);
    $m->kill9;
    $m->_spawn;
    $lost += ($round == 1 ? $power->forget : $power->cut)[1];
    $m->kill9;
    $power->back;
    $m->_spawn;
    my @wrong = check();
    $m->stop or push @wrong, 'no clean stop';
    my ($bad, $said) = sh('"$@" 2>&1', Mqfs::build() . '/mqfsck', "$power->{disk}/store");
    push @wrong, $said if $bad;
    $m->_spawn if !@wrong;
    ok(!@wrong, "round $round: a kill, a start, a power cut: all " . @queue_of . ' messages are there') and next;
    diag(map { "$_\n" } @wrong);
    diag(slurp($m->{log}));
    last;
}
cmp_ok($lost, '>', 0, "$lost changes were lost with the power");
ok($m->stop, 'a clean stop');
done_testing;
