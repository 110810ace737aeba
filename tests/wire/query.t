#!/usr/bin/perl
# QUERY_MESSAGE on the wire: by key, unique id and tag, time range, numbers, after restarts and kill -9
# (R-QRY-02, R-QRY-03, R-QRY-04, R-QRY-06, R-STORE-19).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Mqfs;
use Test::More;

my %conf = (autoCreateTopicEnable => 'false', maxHashSlotNum => 100, maxIndexNum => 1000, maxMsgsNumBatch => 5,
    defaultQueryMaxNum => 3);
my $m = Mqfs->start({mount => 0}, %conf);
my $w = wire($m->{port});
my %topic = (defaultTopic => 'TBW102', readQueueNums => 4, writeQueueNums => 4, perm => 6, topicFilterType => 'SINGLE_TAG',
    topicSysFlag => 0, order => 'false');
is($w->call(17, {%topic, topic => $_})->{code}, 0, "topic $_") for qw(TopicA TopicB %DLQ%g1);

sub query { my ($topic, $key, %more) = @_; return query_messages($w, $topic, $key, %more) }

my $first = send_message($w, 'TopicA', 0, 'a1', KEYS => 'order-1 customer-7', TAGS => 'new', UNIQ_KEY => 'U1');
is(query('TopicA', 'order-1'), 'a1', 'what was just sent is found by its key');
is(query('TopicA', 'customer-7'), 'a1', '... by its other key');
is(query('TopicA', 'U1', _UNIQUE_KEY_QUERY => 'true'), 'a1', '... by its unique id');
is(query('TopicA', 'new', indexType => 'T'), 'a1', '... by its tag, when asked so');
is(query('TopicA', 'new'), 'code 22', '... and not else');
is(query('TopicB', 'order-1'), 'code 22', 'not in another topic');
is(query('Nowhere', 'order-1'), 'code 22', 'nor in one that is not there');
send_message($w, '%DLQ%g1', 0, 'dead', KEYS => 'order-1');
is(query('%DLQ%g1', 'order-1'), 'dead', 'dead-letter topics are as any');

my @key = (KEYS => 'many', TAGS => 'x', UNIQ_KEY => 'same');
send_message($w, 'TopicB', $_ % 4, "b$_", @key) for 1 .. 10;
is(query('TopicB', 'many', maxNum => 2), 'b9 b10', 'the newest two, in the order they were stored');
is(query('TopicB', 'many'), 'b6 b7 b8 b9 b10', 'never more than maxMsgsNumBatch');
is(query('TopicB', 'same', _UNIQUE_KEY_QUERY => 'true', maxNum => 1), 'b8 b9 b10', 'defaultQueryMaxNum for unique ids');
is(query('TopicB', 'many', maxNum => $_), 'code 22', "none when $_ are wanted") for 0, -1;
my $r = $w->call(12, {topic => 'TopicB', key => 'many', maxNum => 1, beginTimestamp => 0, endTimestamp => '9223372036854775807'});
my ($time) = unpack 'q>', substr $r->{body}, 56, 8;
my ($offset) = unpack 'q>', substr $r->{body}, 28, 8;
is($r->{ext}{indexLastUpdateTimestamp}, $time, 'the reply tells the time of the last message in the index');
is($r->{ext}{indexLastUpdatePhyoffset}, $offset, '... and its commit log offset');
is(query('TopicB', 'many', beginTimestamp => $time + 1), 'code 22', 'nothing stored later');
is(query('TopicA', 'order-1', endTimestamp => 1000), 'code 22', 'nothing stored in 1970');
is(query('TopicB', 'many', maxNum => 1, beginTimestamp => $time, endTimestamp => $time), 'b10', 'both bounds count');
is($w->call(12, {topic => 'TopicB', maxNum => 1, beginTimestamp => 0, endTimestamp => 1})->{code}, 29, 'a request without a key is refused');
is($w->call(12, {topic => 'TopicB', key => 'k', maxNum => 'x', beginTimestamp => 0, endTimestamp => 1})->{code}, 29,
    '... and one with a number that is none');
is(query('TopicA', 'k' x 30000), 'code 22', 'a long key');
is(query('TopicA', "\xC3\xA9\x01"), 'code 22', 'a strange key');

# Several files, then other lives.
for my $i (1 .. 800) {
    send_message($w, 'TopicA', 0, "c$i", KEYS => "c$i", UNIQ_KEY => "UC$i");
}
sub all_there {
    my $what = shift;
    my @wrong = grep { query('TopicA', "c$_") ne "c$_" } 1 .. 800;
    is("@wrong[0 .. ($#wrong > 4 ? 4 : $#wrong)]", '', $what) or diag(slurp($m->{log}));
}
all_there('800 keys over several files');
my @values = map { $w->call(28, {})->{body} } 1 .. 2;
my @requests = map { /"mqfs\.requests":"(\d+)"/ } @values;
is($requests[1], $requests[0] + 1, 'runtime values: one more request each time');
ok($m->stop, 'stopped');
my @files = sort glob "$m->{dir}/store/index/*";
is(scalar @files, 2, 'two files of 999 entries');
is((stat $files[0])[7], 40 + 4 * 100 + 20 * 1000, 'of the size of their layout');
$m->again;
$w = wire($m->{port});
all_there('... after a restart');
$m->kill9;
$m->again;
$w = wire($m->{port});
Mqfs::await('the index to be made again', 10, sub { query('TopicA', 'c800') eq 'c800' });
all_there('... after kill -9');
is(query('TopicA', 'order-1'), 'a1', '... with the first message');
ok($m->stop, 'stopped');
for my $all (0, 1) {
    my @there = sort glob "$m->{dir}/store/index/*";
    unlink $all ? @there : $there[0];
    $m->again;
    $w = wire($m->{port});
    Mqfs::await('the index to be made from the log', 10, sub { query('TopicA', 'c800') eq 'c800' });
    all_there('... and with ' . ($all ? 'all of' : 'the first file of') . ' the index gone');
    ok($m->stop, 'stopped');
}
done_testing;
