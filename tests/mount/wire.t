#!/usr/bin/perl
# What is changed over the wire shows in the tree at once, whatever the kernel
# has cached; offsets, lag and clients of a group that is at work.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Mqfs;
use JSON::PP;
use Errno qw(ENOENT);
use Test::More;

my $m = Mqfs->start(autoCreateTopicEnable => 'false');
my $mq = $m->{mnt};
my $wire = wire($m->{port});

sub put_topic {
    my ($topic, %p) = @_;
    return $wire->call(17, {topic => $topic, defaultTopic => 'TBW102', readQueueNums => 4, writeQueueNums => 4, perm => 6,
        topicFilterType => 'SINGLE_TAG', topicSysFlag => 0, order => 'false', attributes => '', force => 'false', %p})->{code};
}

# soon WHAT, WANT, CODE: the kernel is told by another thread, so a moment is allowed; a minute of caching is not
sub soon {
    my ($what, $want, $code) = @_;
    my $got;
    eval { await($what, 3, sub { $got = $code->(); defined $got && $got eq $want }) };
    is($got, $want, $what);
}

# ---- topics ----
is(put_topic('TopicA'), 0, 'a topic made over the wire');
is(sh('ls $1', $mq), "TopicA\nbroker\ngroups\nindex\nproducers\nsnapshots\n", '... is listed');
is(sh('ls -l $1/TopicA >/dev/null; cat $1/TopicA/perm; ls -d $1/TopicA/[0-9] | wc -l', $mq), "6\n4\n", '... its values are seen and cached');
is(put_topic('TopicA', perm => 4, readQueueNums => 12, writeQueueNums => 2), 0, 'changed over the wire');
soon('... the value', "4\n", sub { slurp("$mq/TopicA/perm") });
soon('... its size', 3, sub { -s "$mq/TopicA/read_queues" });
soon('... the queues', "12\n", sub { sh('ls -d $1/TopicA/[0-9]* | wc -l', $mq) });
is(put_topic('TopicA', perm => 6, readQueueNums => 2), 0, 'fewer queues');
soon('... are gone by name', '', sub { -e "$mq/TopicA/5" ? 'there' : '' });
ok(-e "$mq/TopicA/1", '... the others stay');
is($wire->call(215, {topic => 'TopicA'})->{code}, 0, 'deleted over the wire');
soon('... gone', '', sub { -e "$mq/TopicA" ? 'there' : '' });
is(sh('ls $1', $mq), "broker\ngroups\nindex\nproducers\nsnapshots\n", '... and not listed');
is(sh('mkdir $1/TopicA && cat $1/TopicA/0/offset', $mq), "0\n", '... and made again by mkdir, at once');

is(put_topic('groups'), 0, 'a topic called like a name of the tree');
is(sh('ls $1; cat $1/topic:groups/perm', $mq), "TopicA\nbroker\ngroups\nindex\nproducers\nsnapshots\ntopic:groups\n6\n", '... is topic:groups');
is(put_topic('groups', perm => 4), 0, '... changed over the wire');
soon('... shows there', "4\n", sub { slurp("$mq/topic:groups/perm") });
is($wire->call(215, {topic => 'groups'})->{code}, 0, '... deleted');
soon('... gone', '', sub { -e "$mq/topic:groups" ? 'there' : '' });

soon('the name server that the broker registers with, and when it last did', "ok", sub {
    slurp("$mq/broker/name_servers") =~ /^ADDRESS +LAST_REGISTERED +ERROR *\n127\.0\.0\.1:$m->{ns} +20\d\d-\S+ +-\n\z/ ? 'ok' : '' });

# ---- a group at work ----
is(sh('mkdir $1/groups/g1 && echo > $1/groups/g1/bindings/TopicA', $mq), '', 'a group');
send_message($wire, 'TopicA', $_ % 2, "m$_") for 0 .. 19;
is(sh('ls $1/groups/g1/offsets', $mq), '', 'no offsets yet');
is(slurp("$mq/groups/g1/offsets/TopicA/0"), "-1\n", '... -1 by name');
is($wire->call(15, {consumerGroup => 'g1', topic => 'TopicA', queueId => 0, commitOffset => 4})->{code}, 0, 'an offset committed');
is(sh('cat $1/groups/g1/offsets/TopicA/0; ls $1/groups/g1/offsets $1/groups/g1/offsets/TopicA | head -3', $mq),
    "4\n$mq/groups/g1/offsets:\nTopicA\n\n", '... shows');
like(slurp("$mq/groups/g1/lag"), qr/^TOPIC +QUEUE +MAX +COMMITTED +LAG +HOLDER\n(?:.*\n)*TopicA +0 +10 +4 +6 +-\n/, 'lag');
my ($row) = grep { $_->{topic} eq 'TopicA' && $_->{queue} == 0 } @{decode_json(slurp("$mq/groups/g1/lag.json"))};
is_deeply([@$row{qw(max committed lag)}], [10, 4, 6], 'lag.json');

# ---- resets ----
my $offset = "$mq/groups/g1/offsets/TopicA/0";
for (['7', 7], ['min', 0], ['max', 10], ['0', 0], ['10', 10]) {
    my ($spec, $want) = @$_;
    is(put($offset, "$spec\n"), 0, "echo $spec > offsets/TopicA/0");
    is(slurp($offset), "$want\n", "... $want");
    is($wire->call(14, {consumerGroup => 'g1', topic => 'TopicA', queueId => 0})->{ext}{offset}, $want, '... on the wire too');
}
is(put($offset, "2001-01-01T00:00:00\n"), 0, 'a time before all messages');
is(slurp($offset), "0\n", '... is the first');
is(put($offset, "2999-01-01 00:00\n"), 0, 'a time after all');
is(slurp($offset), "10\n", '... is the end');

# ---- clients ----
my $beat = encode_json({clientID => '10.0.0.9@a/b', consumerDataSet => [{groupName => 'g1', consumeType => 'CONSUME_PASSIVELY',
    messageModel => 'CLUSTERING', consumeFromWhere => 'CONSUME_FROM_LAST_OFFSET', unitMode => JSON::PP::false,
    subscriptionDataSet => [{topic => 'TopicA', subString => 'TagA', subVersion => 1, tagsSet => ['TagA'], codeSet => [2598919],
        classFilterMode => JSON::PP::false, expressionType => 'TAG'}]}],
    producerDataSet => [{groupName => 'p1'}]});
is($wire->call(34, {}, $beat)->{code}, 0, 'a client comes');
is(sh('ls $1/groups/g1/clients', $mq), "10.0.0.9\@a%2Fb\n", '... is listed, its slash as %2F');
my $client = slurp("$mq/groups/g1/clients/10.0.0.9\@a%2Fb");
like($client, qr/^address +127\.0\.0\.1:\d+$/m, '... its address');
like($client, qr/^subscription +TopicA TAG TagA$/m, '... its subscription');
like($client, qr/^model +CLUSTERING$/m, '... its model');
is(sh('ls $1/TopicA/clients $1/broker/clients', $mq),
    "$mq/TopicA/clients:\n10.0.0.9\@a%2Fb\n\n$mq/broker/clients:\n10.0.0.9\@a%2Fb\n", '... once at its topic and at the broker');
like(slurp("$mq/broker/clients/10.0.0.9\@a%2Fb"), qr/^consumer +g1\nproducer +p1\n\z/m, '... with both its groups');
like(slurp("$mq/TopicA/clients/10.0.0.9\@a%2Fb"), qr/^last_heartbeat +\S+\nconsumer +g1\n\z/m, '... at the topic the one that subscribes it');
is(sh('mkdir $1/producers/p1 && echo > $1/producers/p1/bindings/TopicA && mkdir $1/TopicB && ls $1/TopicB/clients', $mq), '',
    'its producer group is bound to the topic; the other topic has no clients');
like(slurp("$mq/TopicA/clients/10.0.0.9\@a%2Fb"), qr/^consumer +g1\nproducer +p1\n\z/m, '... and shows there');
is(sh('echo > $1/producers/p1/bindings/TopicB && ls $1/TopicB/clients', $mq), "10.0.0.9\@a%2Fb\n", '... bound to the other, too');
like(slurp("$mq/TopicB/clients/10.0.0.9\@a%2Fb"), qr/^last_heartbeat +\S+\nproducer +p1\n\z/m, '... as a producer');
is($wire->call(36, {offset => 0, group => 'g1', delayLevel => 0, originTopic => 'TopicA', originMsgId => '', unitMode => 'false',
    maxReconsumeTimes => 16})->{code}, 0, 'it sends a message back');
ok(-d "$mq/groups/g1/retry/0/messages", '... its retry topic stands in groups/g1/retry');
ok(-d "$mq/%RETRY%g1/0", '... can be looked up at the root');
unlike(sh('ls $1', $mq), qr/RETRY/, '... and is not listed there');
ok(!rmdir("$mq/groups/g1") && $!{EBUSY}, 'a group with a client is busy');
like(slurp("$mq/broker/last_error"), qr{^/groups/g1: .+}, '... says last_error');
undef $wire;
soon('... gone with its connection', '', sub { sh('ls $1/groups/g1/clients $1/TopicB/clients $1/broker/clients | grep @', $mq) });
ok(rmdir "$mq/groups/g1", '... and then the group can be removed');
ok($m->stop, 'a clean stop');
done_testing();
