#!/usr/bin/perl
# Bad input on the broker's port: each gets a code, or its connection is closed;
# the broker lives, and nothing is changed.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use IO::Select;
use Mqfs;
use Test::More;

my $seed = $ENV{MQ_SEED} || time;
srand $seed;
diag("MQ_SEED=$seed");
my $m = Mqfs->start({mount => 0}, autoCreateSubscriptionGroup => 'true');
my $w = wire($m->{port});
my %topic = (defaultTopic => 'TBW102', readQueueNums => 2, writeQueueNums => 2, perm => 6, topicFilterType => 'SINGLE_TAG',
    topicSysFlag => 0, order => 'false');
is($w->call(17, {%topic, topic => 'TopicA'})->{code}, 0, 'a topic');
is(send_message($w, 'TopicA', 0, "body $_")->{code}, 0, "message $_") for 1 .. 3;

sub alive { my $r = eval { rpc($m->{port}, 30, {topic => 'TopicA', queueId => 0}) }; $r && $r->{ext}{offset} }
sub closed {
    my ($wire) = @_;
    return eval { !defined $wire->receive(5) };
}

# ---- frames ----
my $good = $w->frame(30, {topic => 'TopicA', queueId => 0});
for my $case (
    ['length 0', pack 'N', 0], ['length 3', pack('N', 3) . 'abc'], ['length 2^31', pack 'N', 0x80000000],
    ['length over 16 MiB', pack 'N', 17 << 20], ['garbage', join '', map { chr rand 256 } 1 .. 1000],
    ['a header longer than its frame', pack('NN', 20, 100) . 'x' x 16],
    ['unknown serialization', pack('NN', 20, 9 << 24 | 2) . '{}' . 'x' x 14],
    ['a header that is no JSON', pack('NN', 14, 10) . '{"code":1,'],
    ['a header nested 10,000 deep', pack('NN', 10006, 10002) . '{"' . '[' x 10000],
    ['a binary header whose text lengths lie', pack('NN', 4 + 21, 1 << 24 | 21) . pack('nCnNNN', 30, 0, 1, 1, 0, 0x7fffffff) . "\0" x 4],
) {
    my $bad = wire($m->{port});
    eval { $bad->raw($case->[1]) };
    ok(closed($bad), "closed: $case->[0]");
}
for my $cut (1 .. length($good) - 1) {
    my $bad = wire($m->{port});
    $bad->raw(substr $good, 0, $cut);
    close $bad->{s};
}
is(alive(), 3, 'frames cut at every byte: the broker lives');
my $slow = wire($m->{port});
$slow->raw($_) for split //, $slow->frame(30, {topic => 'TopicA', queueId => 0});
is($slow->receive(5)->{ext}{offset}, 3, 'a frame that comes byte by byte is served');

# ---- requests ----
my $r = $w->call(9999, {});
is($r->{code}, 3, 'an unknown code is REQUEST_CODE_NOT_SUPPORTED');
like($r->{remark}, qr/9999/, 'and named');
is(rpc($m->{port} - 2, 11, {})->{code}, 3, 'PULL_MESSAGE is not served on the fast port');
is(rpc($m->{port} - 2, 30, {topic => 'TopicA', queueId => 0})->{ext}{offset}, 3, 'others are');
$w->oneway(9999, {});
$w->oneway(30, {topic => 'TopicA', queueId => 0});
is($w->call(30, {topic => 'TopicA', queueId => 0})->{code}, 0, 'one-way requests are not answered');

sub code_of { my ($code, %ext) = @_; return $w->call($code, \%ext)->{code} }
my @names = ('', '..', 'a/b', "a\x00b", 'x' x 256, 'a b', "\xc3\xa4");
for my $n (@names) {
    my $shown = length $n > 20 ? 'x' x 3 . '...' : unpack 'H*', $n;
    is(code_of(17, %topic, topic => $n), 29, "no topic of that name can be made: $shown");
    isnt($w->call(310, {a => 'pg', b => $n, c => 'TBW102', d => 4, e => 0, f => 0, g => 0, h => 0}, 'x')->{code}, 0, "none sent to: $shown");
    isnt(code_of(11, consumerGroup => 'g', topic => $n, queueId => 0, queueOffset => 0, maxMsgNums => 1, sysFlag => 4,
        commitOffset => 0, suspendTimeoutMillis => 0, subscription => '*', subVersion => 0), 0, "none pulled from: $shown");
    isnt($w->call(200, {}, qq({"groupName":"@{[$n =~ s/\0/\\u0000/gr]}"}))->{code}, 0, "no group of that name: $shown");
}
for my $q (-2147483648, -7, 2, 2147483647, '99999999999', 'x') {
    my %h = (topic => 'TopicA', queueId => $q);
    isnt(code_of(30, %h), 0, "max offset of queue $q is refused") if $q ne '-7';
    isnt(code_of(11, consumerGroup => 'g', %h, queueOffset => 0, maxMsgNums => 1, sysFlag => 4, commitOffset => 0,
        suspendTimeoutMillis => 0, subscription => '*', subVersion => 0), 0, "a pull from queue $q is refused");
    isnt(code_of(15, consumerGroup => 'g', %h, commitOffset => 1), 0, "a commit to queue $q is refused");
    isnt(send_message($w, 'TopicA', $q, 'x')->{code}, 0, "a send to queue $q is refused") if $q !~ /^-/;
}
is(code_of(30, topic => 'TopicA', queueId => 0), 0, 'and the queue is as it was');
for my $o (-1, -9223372036854775808, 4, 9223372036854775807) {
    my $r = pull_messages($w, 'g', 'TopicA', 0, $o);
    is($r->{code}, 21, "a pull at $o is told where to go on");
    ok($r->{ext}{nextBeginOffset} == ($o < 0 ? 0 : 3), "offset $r->{ext}{nextBeginOffset}");
}
for my $n (0, -1, -2147483648, 2147483647) {
    my $r = $w->call(11, {consumerGroup => 'g', topic => 'TopicA', queueId => 0, queueOffset => 0, maxMsgNums => $n, sysFlag => 4,
        commitOffset => 0, suspendTimeoutMillis => 0, subscription => '*', subVersion => 0, expressionType => 'TAG'});
    ok(defined $r->{code}, "maxMsgNums $n is answered ($r->{code})");
}
is($w->call(310, {a => 'pg', b => 'TopicA', c => 'TBW102', d => 4, e => 0, f => 0, g => 0, h => 0}, 'x' x (4194304 + 1))->{code}, 13,
    'a body over maxMessageSize is MESSAGE_ILLEGAL');
is(send_message($w, 'TopicA', 0, 'x', KEYS => 'k' x 32768)->{code}, 13, 'properties over 32767 bytes are MESSAGE_ILLEGAL');
is($w->call(320, {a => 'pg', b => 'TopicA', c => 'TBW102', d => 4, e => 0, f => 0, g => 0, h => 0, 'm' => 'true'}, "\x7f\xff\xff\xff junk")->{code} != 0, 1,
    'a broken batch is refused');
is(code_of(36, offset => -5, group => 'g', delayLevel => 0) != 0, 1, 'a send back of no message is refused');
is(code_of(36, offset => 3, group => 'g', delayLevel => 0) != 0, 1, 'also from the middle of a record');
is(code_of(33, offset => 7) != 0, 1, 'a view from the middle of a record is refused');
isnt(code_of(310), 0, 'a send without its fields is refused');
for my $body ('', '{', '[' x 10000, '{"groupName":', "\xff\xfe") {
    isnt($w->call(200, {}, $body)->{code}, 0, 'a broken group is refused');
}

# ---- random requests: any code, any fields ----
for my $i (1 .. 400) {
    my @codes = (10, 11, 14, 15, 17, 21, 25, 26, 28 .. 36, 38, 41, 42, 46, 200 .. 208, 222, 300, 303, 305, 307 .. 310, 314, 320, 343, 345, 351, 352);
    my %ext = map { $_ => (int rand 2 ? int(rand 2 ** 40) - 2 ** 39 : join '', map { chr 32 + rand 90 } 1 .. rand 20) }
        grep { rand() < 0.7 } qw(topic group consumerGroup producerGroup queueId queueOffset maxMsgNums sysFlag commitOffset
        suspendTimeoutMillis subscription subVersion a b c d e f g h i j k l m timestamp offset clientID perm readQueueNums);
    $ext{topic} = 'TopicA' if rand() < 0.3;
    delete $ext{suspendTimeoutMillis} if rand() < 0.9;
    my $code = $codes[rand @codes];
    my $ok = eval { $w->raw($w->frame($code, \%ext, join '', map { chr rand 256 } 1 .. rand 40)); 1 };
    ok($ok, "request $i") or last if !$ok;
}
is(eval { $w->call(30, {topic => 'TopicA', queueId => 0})->{code} }, 0, 'all of them were read');
is(alive(), 3, 'after random requests the queue is as it was') or diag(slurp($m->{log}));
ok(!$m->ended, 'and the broker lives');
ok($m->stop, 'a clean stop');

# ---- limits, by their keys ----
my $s = Mqfs->start({mount => 0}, serverMaxConnections => 4, serverMaxFrameBytes => 5000, serverChannelMaxIdleTimeSeconds => 3);
sub answered { my $r = eval { (shift)->call(30, {topic => 'SELF_TEST_TOPIC', queueId => 0}) }; return $r ? $r->{code} : 'none' }
my @all;
for (1 .. 4) {      # those that asked whether it is up may not have left yet
    await('room', 5, sub { my $one = wire($s->{port}); answered($one) eq '0' && push @all, $one });
}
is(join(' ', map { answered($_) } @all), '0 0 0 0', 'serverMaxConnections=4: four connections are served');
ok(closed(wire($s->{port} - 2)), '... a fifth is closed, on the fast port too');
close $all[3]{s};
ok(await('its end', 5, sub { answered(wire($s->{port})) eq '0' }), '... and served when one has left');
$all[0]->raw(pack('NN', 5000, 4990) . 'x' x 4992);
ok(closed($all[0]), 'serverMaxFrameBytes=5000: a longer frame ends its connection');
ok(eval { !defined $all[1]->receive(15) }, 'serverChannelMaxIdleTimeSeconds=3: a silent connection is closed');
ok($s->stop, 'a clean stop');
done_testing();
