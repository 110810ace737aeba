#!/usr/bin/perl
# A store of Apache 5.5.0 with a topic whose queues are of the other kind (queue.type=BatchCQ), which ours does not serve:
# ours starts on it, after a clean stop and after kill -9, serves its other topics, refuses that one with a sentence and
# leaves its files as they are; and Apache goes on with it (R-STORE-01, -20, -21). Needs tests/clients/setup.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Apache;
use Mqfs;
use Test::More;

apache_is_here() or plan skip_all => 'run tests/clients/setup first';

my %LAYOUT = (mappedFileSizeCommitLog => 1048576, mappedFileSizeConsumeQueue => 60000, maxHashSlotNum => 700, maxIndexNum => 3001,
    mapperFileSizeBatchConsumeQueue => 46000);
my %TOPIC = (defaultTopic => 'TBW102', readQueueNums => 2, writeQueueNums => 2, perm => 6, topicFilterType => 'SINGLE_TAG',
    topicSysFlag => 0, order => 'false');
my $dir = apache_dir();
my $store = "$dir/store";
my ($ns, $port) = free_ports(2);
my $BATCHES = 20;

# A batch of three that stays one record, in queue 1 of TopicB.
sub send_inner_batch {
    my ($w, $n) = @_;
    my $body = join '', map {
        my ($one, $p) = ("b$n.$_", "KEYS\x01b$n.$_\x02");
        pack('NNNNN', 22 + length($one) + length $p, 0, 0, 5, length $one) . $one . pack('n', length $p) . $p
    } 1 .. 3;
    return $w->call(310, {a => 'pg', b => 'TopicB', c => 'TBW102', d => 4, e => 1, f => 0xC0, g => int(time * 1000), h => 0,
        i => "INNER_NUM\x013\x02", j => 0, k => 'false', l => 0, m => 'false'}, $body);
}

sub batch_end { return shift->call(30, {topic => 'TopicB', queueId => 1})->{ext}{offset} }
sub batch_files { return join ' ', map { "$_=" . slurp($_) } sort glob "$store/batchconsumequeue/TopicB/*/*" }

my $apache = apache_start($dir, $ns, $port, %LAYOUT);
my $w = wire($port);
is($w->call(17, {%TOPIC, topic => 'TopicA'})->{code}, 0, 'a topic');
is($w->call(17, {%TOPIC, topic => 'TopicB', attributes => '+queue.type=BatchCQ'})->{code}, 0, 'one with batch consume queues');
is($w->call(200, {}, '{"groupName":"g1","retryMaxTimes":16}')->{code}, 0, 'a group');
my ($sent, $batches) = (0, 0);
for my $round ('TERM', 'KILL') {
    for (1 .. $BATCHES) {
        send_message($w, 'TopicA', 1, 'm' . $sent)->{code} == 0 and $sent++;
        send_inner_batch($w, $batches)->{code} == 0 and $batches++;
    }
    ok(eval { await('the batches', 30, sub { batch_end($w) == 3 * $batches }) }, "$round: Apache has $batches batches of three");
    apache_end($apache, $round);
    my $before = batch_files();

    my $m = Mqfs->start({mount => 0, dir => $dir}, %LAYOUT, storePathRootDir => $store, autoCreateSubscriptionGroup => 'true');
    $w = wire($m->{port});
    is($w->call(30, {topic => 'TopicA', queueId => 1})->{ext}{offset}, $sent, "$round: ours has the other topic's $sent messages");
    my $r = send_inner_batch($w, 99);
    isnt($r->{code}, 0, "$round: ... and takes no batch");
    $r = send_message($w, 'TopicB', 0, 'single');
    ok($r->{code} == 13 && $r->{remark} =~ /queue\.type=BatchCQ/, "$round: ... nor a message for that topic") or diag("$r->{code} $r->{remark}");
    $r = pull_messages($w, 'g1', 'TopicB', 1, 3);
    ok($r->{code} == 1 && $r->{remark} =~ /queue\.type=BatchCQ/ && !defined $r->{ext}{nextBeginOffset},
        "$round: ... and gives none, and no offset either") or diag("$r->{code} $r->{remark}");
    is(send_message($w, 'TopicA', 1, 'm' . $sent)->{code}, 0, "$round: ... but takes others");
    $sent++;
    $round eq 'KILL' ? $m->kill9 : ok($m->stop, "$round: ours stops");
    ok(!-e "$store/consumequeue/TopicB", "$round: it made no simple consume queue of it");
    ok(batch_files() eq $before, "$round: ... and left the batch consume queue as it was");

    $apache = apache_start($dir, $ns, $port, %LAYOUT);
    $w = wire($port);
    is(batch_end($w), 3 * $batches, "$round: Apache starts on it, and has the batches");
    is($w->call(30, {topic => 'TopicA', queueId => 1})->{ext}{offset}, $sent, "$round: ... and the messages, ours with them");
    send_inner_batch($w, $batches)->{code} == 0 and $batches++;
    ok(eval { await('one more', 30, sub { batch_end($w) == 3 * $batches }) }, "$round: ... and takes more");
}
apache_end($apache, 'KILL');
done_testing;
