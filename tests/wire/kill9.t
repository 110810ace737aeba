#!/usr/bin/perl
# What was acknowledged is there after a clean restart and after kill -9
# (R-STORE-21, R-STORE-22, R-STORE-27, R-STORE-16).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Mqfs;
use Test::More;

my $m = Mqfs->start({mount => 0}, autoCreateSubscriptionGroup => 'true', flushConsumerOffsetInterval => 100);
my %topic = (defaultTopic => 'TBW102', readQueueNums => 4, writeQueueNums => 4, perm => 6, topicFilterType => 'SINGLE_TAG',
    topicSysFlag => 0, order => 'false');
is(rpc($m->{port}, 17, {%topic, topic => 'TopicA'})->{code}, 0, 'a topic');

my (%acked, $sent);     # queue -> offset -> body
sub send_some {
    my ($wire, $n) = @_;
    for (1 .. $n) {
        my $q = $sent++ % 4;
        my $body = "message $sent " . 'x' x rand 600;
        my $r = send_message($wire, 'TopicA', $q, $body, TAGS => 't' . $sent % 3, KEYS => "k$sent");
        $r->{code} == 0 or die "send: $r->{code} $r->{remark}";
        $acked{$q}{$r->{ext}{queueOffset}} = $body;
    }
}

# All bodies of a queue, by offset.
sub read_queue {
    my ($wire, $q) = @_;
    my ($at, %got) = 0;
    while (1) {
        my $r = pull_messages($wire, 'g1', 'TopicA', $q, $at);
        last if $r->{code} != 0;
        my $p = 0;
        while ($p < length $r->{body}) {
            my ($size) = unpack 'N', substr $r->{body}, $p, 4;
            my ($hi, $lo) = unpack 'NN', substr $r->{body}, $p + 20, 8;
            my ($length) = unpack 'N', substr $r->{body}, $p + 84, 4;
            $got{$hi * 2 ** 32 + $lo} = substr $r->{body}, $p + 88, $length;
            $p += $size;
        }
        $at = $r->{ext}{nextBeginOffset};
    }
    return \%got;
}

sub all_there {
    my ($what) = @_;
    my $wire = wire($m->{port});
    my $wrong = 0;
    for my $q (0 .. 3) {
        my $got = read_queue($wire, $q);
        my $max = $wire->call(30, {topic => 'TopicA', queueId => $q})->{ext}{offset};
        $wrong += $max != keys %$got;
        $wrong += ($got->{$_} // '') ne $acked{$q}{$_} for keys %{$acked{$q}};
    }
    is($wrong, 0, "$what: every acknowledged message is there, and nothing else is counted") or diag(slurp($m->{log}));
}

send_some(wire($m->{port}), 200);
my $commit = wire($m->{port});
is($commit->call(200, {}, '{"groupName":"g1"}')->{code}, 0, 'a group');
is($commit->call(15, {consumerGroup => 'g1', topic => 'TopicA', queueId => 1, commitOffset => 17})->{code}, 0, 'a commit');
all_there('before');
$m->again;
all_there('after a clean restart');
is(rpc($m->{port}, 14, {consumerGroup => 'g1', topic => 'TopicA', queueId => 1})->{ext}{offset}, 17, 'and the committed offset');

for my $round (1 .. 4) {
    my $pid = fork;
    if (!$pid) {        # goes on sending until the broker dies; its acknowledgements do not count
        my $wire = eval { wire($m->{port}) } or POSIX::_exit(0);
        eval { $wire->raw($wire->frame(310, {a => 'pg', b => 'TopicA', c => 'TBW102', d => 4, e => 3, f => 0, g => 0, h => 0}, 'y' x 3000)) for 1 .. 100000 };
        POSIX::_exit(0);
    }
    send_some(wire($m->{port}), 150 + int rand 300);
    $m->kill9;
    waitpid $pid, 0;
    $m->again;
    my $wire = wire($m->{port});
    # the other sender's messages are whole or not there: take them as they are
    my $got = read_queue($wire, 3);
    my $bad = grep { !exists $acked{3}{$_} && $got->{$_} ne 'y' x 3000 } keys %$got;
    is($bad, 0, "round $round: messages that were under way are whole or not there");
    $acked{3}{$_} //= $got->{$_} for keys %$got;
    all_there("round $round of kill -9");
}

# queues that are lost are made again from the log
$m->stop;
system 'rm', '-rf', "$m->{dir}/store/consumequeue";
$m->again;
all_there('consume queues lost');

my $second = Mqfs->start({mount => 0, wait => 0}, storePathRootDir => "$m->{dir}/store");
await('the second broker to give up', 10, sub { $second->ended });
isnt($second->{status}, 0, 'a second broker on the same store refuses to start');
like(slurp($second->{log}), qr/\Q$m->{dir}\E\/store/, 'and says which store');
all_there('with the first');
ok($m->stop, 'a clean stop');
ok(!-e "$m->{dir}/store/abort", 'leaves no abort file');
done_testing();
