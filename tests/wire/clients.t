#!/usr/bin/perl
# Heartbeats, member lists and notices, queue locks (R-NET-14, R-REB-01, R-REB-02, R-ORD-02).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use JSON::PP;
use Mqfs;
use Test::More;

my $m = Mqfs->start({mount => 0}, autoCreateSubscriptionGroup => 'true', autoCreateTopicEnable => 'true');
my $json = JSON::PP->new->canonical;

sub subscription {
    my ($topic, $expression, $version) = @_;
    return {topic => $topic, subString => $expression, expressionType => 'TAG', subVersion => $version || 1,
        classFilterMode => JSON::PP::false, tagsSet => [], codeSet => []};
}

sub heartbeat {
    my ($wire, $id, %o) = @_;
    my @consumers = map {
        {groupName => $_, consumeType => 'CONSUME_PASSIVELY', messageModel => $o{model} || 'CLUSTERING',
            consumeFromWhere => 'CONSUME_FROM_LAST_OFFSET', unitMode => JSON::PP::false,
            subscriptionDataSet => $o{subs} || [subscription('TopicA', '*')]}
    } @{$o{consumers} || []};
    return $wire->call(34, {}, $json->encode({clientID => $id, consumerDataSet => \@consumers,
        producerDataSet => [map { {groupName => $_} } @{$o{producers} || []}], %{$o{more} || {}}}));
}

sub members {
    my ($wire, $group) = @_;
    my $r = $wire->call(38, {consumerGroup => $group});
    return $r->{code} if $r->{code};
    return join ' ', sort @{decode_json($r->{body})->{consumerIdList}};
}

sub noticed {
    my ($wire, $group) = @_;
    eval { await('a notice', 5, sub {
        push @{$wire->{asked}}, $wire->receive(1) if !@{$wire->{asked} || []};
        grep { $_->{code} == 40 && $_->{ext}{consumerGroup} eq $group } @{$wire->{asked}};
    }) };
}

my ($a, $b) = map { wire($m->{port}) } 1 .. 2;
is(members($a, 'g1'), 1, 'a group without members is code 1');

my $r = heartbeat($a, 'client-a', consumers => ['g1'], producers => ['p1']);
is($r->{code}, 0, 'a heartbeat is answered');
is($r->{ext}{IS_SUPPORT_HEART_BEAT_V2}, 'true', 'and says that the short form is served');
is(members($b, 'g1'), 'client-a', 'the client is a member');
is($b->call(351, {topic => '%RETRY%g1'})->{code}, 0, "the group's retry topic was made (R-RETRY-01)");

$a->{asked} = [];
heartbeat($b, 'client-b', consumers => ['g1']);
is(members($a, 'g1'), 'client-a client-b', 'two members');
ok(noticed($a, 'g1'), 'the first member is told of the second');

$r = $a->call(203, {consumerGroup => 'g1'});
my $c = decode_json($r->{body});
is(scalar @{$c->{connectionSet}}, 2, 'consumer connections: both');
is($c->{consumeType} . ' ' . $c->{messageModel}, 'CONSUME_PASSIVELY CLUSTERING', 'with type and model');
is($c->{subscriptionTable}{TopicA}{subString}, '*', 'and the subscription');
is($a->call(203, {consumerGroup => 'nobody'})->{code}, 206, 'a group without members is not online');
$r = $a->call(204, {producerGroup => 'p1'});
is(decode_json($r->{body})->{connectionSet}[0]{clientId}, 'client-a', 'producer connections');
$r = $a->call(328, {});
is(decode_json($r->{body})->{data}{p1}[0]{clientId}, 'client-a', 'all producers');

$a->{asked} = [];
heartbeat($b, 'client-b', consumers => ['g1'], subs => [subscription('TopicA', 'x || y', 2), subscription('TopicB', '*')]);
ok(noticed($a, 'g1'), 'a changed set of topics is told');
$c = decode_json($a->call(345, {group => 'g1', topic => 'TopicA'})->{body});
is_deeply([sort @{$c->{subscriptionData}{tagsSet}}], ['x', 'y'], 'tags of the newer subscription');
heartbeat($b, 'client-b', consumers => ['g1'], subs => [subscription('TopicA', 'old', 1), subscription('TopicB', '*')]);
$c = decode_json($a->call(345, {group => 'g1', topic => 'TopicA'})->{body});
is($c->{subscriptionData}{subString}, 'x || y', 'an older subscription changes nothing');

$a->{asked} = [];
$b->call(35, {clientID => 'client-b', consumerGroup => 'g1'});
is(members($a, 'g1'), 'client-a', 'unregistered at once');
ok(noticed($a, 'g1'), 'and told');

heartbeat($b, 'client-b', consumers => ['g1']);
close $b->{s};
eval { await('the member to leave', 5, sub { members($a, 'g1') eq 'client-a' }) };
is(members($a, 'g1'), 'client-a', 'a closed connection leaves its groups at once');

# the short heartbeat
my $v2 = wire($m->{port});
$r = heartbeat($v2, 'v2', consumers => ['g2'], more => {heartbeatFingerprint => 7, withoutSub => JSON::PP::true});
is($r->{ext}{IS_SUB_CHANGE}, 'true', 'a fingerprint that the broker does not know asks for the full form');
$r = heartbeat($v2, 'v2', consumers => ['g2'], more => {heartbeatFingerprint => 7});
$r = heartbeat($v2, 'v2', consumers => ['g2'], more => {heartbeatFingerprint => 7, withoutSub => JSON::PP::true});
is($r->{ext}{IS_SUB_CHANGE}, 'false', 'a known one does not');
$c = decode_json($v2->call(203, {consumerGroup => 'g2'})->{body});
is($c->{subscriptionTable}{TopicA}{subString}, '*', 'and keeps the subscription');

# bad heartbeats
for my $body ('', '{', '[]', '{"clientID":""}', '{"clientID":"' . 'x' x 300 . '"}', '[' x 10000, "\x00\xff") {
    $r = $a->call(34, {}, $body);
    is($r->{code}, 1, 'a bad heartbeat is refused: ' . substr(unpack('H*', $body), 0, 16));
}
my $many = join ',', map { qq({"topic":"T$_"}) } 1 .. 90000;
$r = $a->call(34, {}, qq({"clientID":"many","producerDataSet":[],"consumerDataSet":[{"groupName":"g9","subscriptionDataSet":[$many]}]}));
is($r->{code}, 0, '90,000 subscriptions are taken in the time of one answer');
$r = $a->call(34, {}, '{"clientID":"many","producerDataSet":[],"consumerDataSet":[{"groupName":"g9","subscriptionDataSet":[{"topic":"T7"}]}]}');
is(join(' ', keys %{decode_json($a->call(203, {consumerGroup => 'g9'})->{body})->{subscriptionTable}}), 'T7', '... and all but one given up');
my $crowd = wire($m->{port});
my $producers = sub { join ',', map { qq({"groupName":"p$_"}) } 1 .. $_[0] };
$r = $crowd->call(34, {}, '{"clientID":"crowd","consumerDataSet":[],"producerDataSet":[' . $producers->(5000) . ']}');
is($r->{code}, 1, 'a connection may not be in any number of groups');
like($r->{remark}, qr/4096 groups at most/, '... and is told how many');
$r = $crowd->call(34, {}, '{"clientID":"crowd","consumerDataSet":[],"producerDataSet":[' . $producers->(4000) . ']}');
is($r->{code}, 0, 'those it is in already it may say again');
undef $crowd;
heartbeat($a, 'client-a', consumers => ['no/slash']);
is(members($a, 'no/slash'), 1, 'a group with an impossible name is not made');

# queue locks
sub lock_queues {
    my ($wire, $code, $id, @queues) = @_;
    my $r = $wire->call($code, {}, $json->encode({consumerGroup => 'g1', clientId => $id,
        mqSet => [map { {topic => 'TopicA', brokerName => 'broker-a', queueId => $_} } @queues]}));
    return $r->{code} if $r->{code} || $code == 42;
    return join ' ', sort map { $_->{queueId} } @{decode_json($r->{body})->{lockOKMQSet}};
}
is(lock_queues($a, 41, 'x', 0, 1), '0 1', 'x locks two queues');
is(lock_queues($v2, 41, 'y', 1, 2), '2', 'y gets only the free one');
is(lock_queues($a, 41, 'x', 0, 1), '0 1', 'x renews');
is(lock_queues($v2, 42, 'y', 1), 0, 'y cannot give back what is not its own');
is(lock_queues($v2, 41, 'y', 1), '', 'so it still has no queue 1');
lock_queues($a, 42, 'x', 1);
is(lock_queues($v2, 41, 'y', 1), '1', 'given back, it is free');
is(lock_queues($a, 41, 'x', -1, 2 ** 40), '', 'impossible queue ids are never locked');
is($a->call(41, {}, '{"mqSet":')->{code}, 1, 'a broken body is refused');

# passed on to a client
my $asker = wire($m->{port});
is($asker->call(307, {consumerGroup => 'g1', clientId => 'gone', jstackEnable => 'false'})->{code}, 1, 'nobody to ask');
$asker->raw($asker->frame(307, {consumerGroup => 'g1', clientId => 'client-a', jstackEnable => 'false'}));
my $asked;
await('the question', 5, sub { ($asked) = grep { $_->{code} == 307 } @{$a->{asked}}; $asked or (push(@{$a->{asked}}, $a->receive(5)), 0) });
$a->{opaque} = $asked->{opaque} - 1;
$a->raw($a->frame(0, {}, '{"properties":{}}', 1));
is($asker->receive(5)->{body}, '{"properties":{}}', "the client's answer comes back to who asked");

# order: a client that never answers nor heartbeats must not block the stop
ok($m->stop, 'a clean stop with clients connected');
done_testing();
