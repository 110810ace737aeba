#!/usr/bin/perl
# Apache's mqadmin 5.5.0 as a second opinion on what the broker says of itself.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Peer;
use Test::More;

my $peer = start_peer();
my ($broker, $cluster) = ($peer->{addr}, 'DefaultCluster');
(my $port = $broker) =~ s/.*://;

# says LINE, WORDS...: waits until the command's output matches, as what the
# broker takes reaches the name server and the tables a moment later
sub says {
    my ($title, $like, @words) = @_;
    my $out;
    eval { await($title, 20, sub { $out = mqadmin($peer, @words); $out =~ $like }) };
    like($out, $like, $title);
    return $out;
}

says('clusterList', qr/^$cluster\s+broker-a\s+0\s+127\.0\.0\.1:$port\s+V5_/m,
    'clusterList');
# timer, PCWait(ms), hours, disk, active: none of it unknown
says('clusterList has all its columns', qr/^$cluster\s+broker-a\s.*\)\s+0-0\(\S+ \S+ \S+\)\s+\d+\s+\S+\s+[01]\.\d{4}\s+true$/m, 'clusterList');
unlike(mqadmin($peer, 'clusterList'), qr/null/, 'clusterList: no null');
says('brokerStatus', qr/^brokerVersionDesc\s*: V5_/m, 'brokerStatus', '-b', $broker);

says('updateTopic on a broker', qr/create topic to \Q$broker\E success/,
    'updateTopic', '-b', $broker, '-t', 'ta', '-r', 3, '-w', 2);
says('updateTopic on a cluster', qr/create topic to \Q$broker\E success/,
    'updateTopic', '-c', $cluster, '-t', 'tb');
my $list = says('topicList', qr/^ta$/m, 'topicList');
like($list, qr/^tb$/m, 'topicList has both');
my $route = says('topicRoute', qr/"brokerName":\s*"broker-a"/, 'topicRoute', '-t', 'ta');
like($route, qr/"readQueueNums":\s*3/, 'topicRoute: read queues');
like($route, qr/"writeQueueNums":\s*2/, 'topicRoute: write queues');
like($route, qr/"perm":\s*6/, 'topicRoute: permission');
like($route, qr/"127\.0\.0\.1:$port"/, 'topicRoute: address');
says('updateTopic changes', qr/readQueueNums=4/,
    'updateTopic', '-b', $broker, '-t', 'ta', '-r', 4, '-w', 4);
says('topicRoute after a change', qr/"writeQueueNums":\s*4/, 'topicRoute', '-t', 'ta');
says('topicClusterList', qr/^$cluster$/m, 'topicClusterList', '-t', 'ta');
says('updateTopic refuses a bad name', qr/exception|illegal|fail/i,
    'updateTopic', '-b', $broker, '-t', 'not/a/name');

# a message in queue 1 (this command works once in a JVM), and what is said of it
like(mqadmin($peer, 'sendMessage', '-t', 'ta', '-p', 'body', '-k', 'key1 key2',
    '-c', 'TagX', '-b', 'broker-a', '-i', 1), qr/SEND_OK/, 'sendMessage');
my $status = says('topicStatus', qr/^broker-a\s+1\s+0\s+1\s+\d{4}-/m,
    'topicStatus', '-t', 'ta');
like($status, qr/^broker-a\s+0\s+0\s+0\s/m, 'topicStatus of an empty queue');
is(scalar(() = $status =~ /^broker-a/mg), 4, 'topicStatus: 4 queues');
my $message = says('queryMsgByOffset', qr/^Queue Offset:\s+0$/m, 'queryMsgByOffset',
    '-t', 'ta', '-b', 'broker-a', '-i', 1, '-o', 0);
like($message, qr/^Topic:\s+ta$/m, 'queryMsgByOffset: topic');
like($message, qr/^Tags:\s+\[TagX\]$/m, 'queryMsgByOffset: tag');
like($message, qr/^Keys:\s+\[key1 key2\]$/m, 'queryMsgByOffset: keys');
my ($id) = $message =~ /^OffsetID:\s+([0-9A-F]{32})$/m;
# 32 digits, or more where the client's host has an IPv6 address
my ($unique) = $message =~ /UNIQ_KEY=([0-9A-F]{32,})/;
ok($id && $unique, 'queryMsgByOffset: both ids') or ($id, $unique) = ('0' x 32) x 2;
says('queryMsgByKey', qr/^$unique\s+1\s+0\s/m, 'queryMsgByKey', '-t', 'ta', '-k', 'key2');
says('queryMsgById', qr/^Keys:\s+\[key1 key2\]$/m, 'queryMsgById', '-t', 'ta', '-i', $id);
says('queryMsgByUniqueKey', qr/^Queue Offset:\s+0$/m, 'queryMsgByUniqueKey',
    '-t', 'ta', '-i', $unique);

# groups and offsets
says('updateSubGroup', qr/create subscription group to \Q$broker\E success/,
    'updateSubGroup', '-b', $broker, '-g', 'ga', '-r', 5, '-q', 2);
my $group = says('getConsumerConfig', qr/^retryMaxTimes\s+=\s+5$/m,
    'getConsumerConfig', '-g', 'ga');
like($group, qr/^retryQueueNums\s+=\s+2$/m, 'getConsumerConfig: retry queues');

# a group that is there
my $prefix = 'adm';
my $leave = stay('5.5.0', $peer, $prefix, [java($peer, '5.5.0')]);
my $there = says('consumerConnection', qr/^\S+\@stay1\s+127\.0\.0\.1:\d+\s+JAVA\s+V5_5_0/m,
    'consumerConnection', '-g', "$prefix-stay-g");
like($there, qr/^$prefix-stay\s+TagA \|\| TagB\s*$/m,
    'consumerConnection: subscription');
like($there, qr/^MessageModel: CLUSTERING$/m, 'consumerConnection: model');
says('consumerProgress of all', qr/^$prefix-stay-g\s+1\s+V5_5_0\s+PUSH\s+CLUSTERING/m,
    'consumerProgress');
$leave->();
says('consumerConnection of a group that has left', qr/CODE: 206/,
    'consumerConnection', '-g', "$prefix-stay-g");

# a group that has consumed and left
run_driver('5.5.0', $peer, $prefix, [java($peer, '5.5.0')], 'lite');
# sampled every ten seconds: 48 messages were put; some of them were got twice
says('statsAll', qr/^$prefix-lite\s+$prefix-lite-g\s+4\s+\d+\.\d\d\s+\d+\.\d\d\s+48\s+\d+$/m, 'statsAll', '-t', "$prefix-lite");
like(mqadmin($peer, 'statsAll', '-t', 'ta'), qr/^ta\s+0\s+0\.\d\d\s+1\s+NO_CONSUMER$/m, 'statsAll of a topic without consumers');
my $progress = says('consumerProgress', qr/^Consume Diff Total: 4$/m,
    'consumerProgress', '-g', "$prefix-lite-g");
like($progress, qr/^$prefix-lite\s+broker-a\s+$_\s+12\s+11\s+1\s/m,
    "consumerProgress: queue $_") for 0 .. 3;
says('resetOffsetByTime', qr/^broker-a\s+3\s+12\s*$/m, 'resetOffsetByTime',
    '-g', "$prefix-lite-g", '-t', "$prefix-lite", '-s', 'now');
says('consumerProgress after a reset', qr/^Consume Diff Total: 0$/m,
    'consumerProgress', '-g', "$prefix-lite-g");

says('deleteSubGroup', qr/delete subscription group \[ga\].*success/,
    'deleteSubGroup', '-c', $cluster, '-g', 'ga');
unlike(mqadmin($peer, 'getConsumerConfig', '-g', 'ga'), qr/retryMaxTimes/,
    'the group is gone');
says('deleteTopic', qr/delete topic \[ta\] from cluster \[$cluster\] success/,
    'deleteTopic', '-c', $cluster, '-t', 'ta');
says('topicRoute of a deleted topic', qr/CODE: 17/, 'topicRoute', '-t', 'ta');
unlike(mqadmin($peer, 'topicList'), qr/^ta$/m, 'the topic is gone');

says('updateBrokerConfig', qr/update broker config success/, 'updateBrokerConfig',
    '-b', $broker, '-k', 'fileReservedTime', '-v', 71);
says('getBrokerConfig', qr/^fileReservedTime\s+=\s+71$/m, 'getBrokerConfig', '-b', $broker);
done_testing;
