#!/usr/bin/perl
# A start reads no queue: what a broker that was just started is asked first about queues nobody has touched yet, it
# answers from the disk. Each question is the first one to a broker of its own. (R-STORE-38)
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Mqfs;
use Errno qw(EBUSY);
use JSON::PP;
use Test::More;

my $m = Mqfs->start(autoCreateTopicEnable => 'false', autoCreateSubscriptionGroup => 'false', cleanResourceInterval => 50,
    deleteCommitLogFilesInterval => 0, deleteConsumeQueueFilesInterval => 0);
my ($mq, $port, $store) = ($m->{mnt}, $m->{port}, "$m->{dir}/store");
my $admin = Mqfs::build() . '/mqadmin';

is(sh('cd $1 && mkdir TopicA TopicB shrunk groups/g1 && for t in TopicA TopicB shrunk; do
    echo 4 > $t/read_queues; echo 4 > $t/write_queues; echo > groups/g1/bindings/$t; done', $mq), '', 'three topics, a group');
my $wire = wire($port);
for my $topic (qw(TopicA TopicB shrunk)) {
    send_message($wire, $topic, $_ % 4, "$topic $_") for 0 .. 39;
}
$wire->call(15, {consumerGroup => 'g1', topic => 'TopicA', queueId => 3, commitOffset => 4});
is(sh('echo 2 > $1/shrunk/read_queues; echo 2 > $1/shrunk/write_queues', $mq), '', 'one has half of its queues now');

# first WHAT, CODE: the code runs on a broker that nobody has asked anything
sub first {
    my ($what, $code) = @_;
    $m->again;
    note $what;
    $code->();
}
sub offset { my ($code, $topic, $queue) = @_; return rpc($port, $code, {topic => $topic, queueId => $queue})->{ext}{offset} }

first 'pull' => sub {
    my $r = pull_messages($port, 'g1', 'TopicA', 3, 7);
    is($r->{code}, 0, 'a pull finds messages');
    like($r->{body}, qr/TopicA 31.*TopicA 35.*TopicA 39/s, '... the ones of the queue');
};
first 'offsets' => sub { is(offset(30, 'TopicA', 2), 10, 'GET_MAX_OFFSET') };
first 'offsets' => sub { is(offset(31, 'TopicA', 2), 0, 'GET_MIN_OFFSET') };
first 'times' => sub {
    is(rpc($port, 29, {topic => 'TopicA', queueId => 1, timestamp => 0})->{ext}{offset}, 0, 'SEARCH_OFFSET_BY_TIMESTAMP');
};
first 'send' => sub { is(send_message($port, 'TopicB', 1, 'TopicB 40')->{ext}{queueOffset}, 10, 'a message goes behind those that are there') };
first 'ls' => sub {
    is(sh('ls $1', "$mq/TopicA"), join('', map { "$_\n" } 0 .. 3, qw(attributes clients filter groups order perm read_queues status type write_queues)),
        'ls of the topic has its queues');
};
first 'tree' => sub { is(sh('cat $1/TopicA/3/offset $1/TopicA/3/min_offset', $mq), "10\n0\n", 'offset and min_offset') };
first 'tree' => sub { is(sh('ls $1/TopicA/3/messages | tail -1', $mq), sprintf("%020d\n", 9), 'messages') };
first 'tree' => sub { like(sh('cat $1/TopicA/status', $mq), qr/^0 +0 +10 .*\n1 +0 +10 .*\n2 +0 +10 .*\n3 +0 +10 /m, 'status') };
first 'tree' => sub { cmp_ok(abs((stat "$mq/TopicA")[9] - time), '<', 120, 'the topic\'s time is its last message\'s') };
first 'lag' => sub { like(sh('cat $1/groups/g1/lag', $mq), qr/^TopicA +3 +10 +4 +6 /m, 'lag') };
first 'topicStatus' => sub {
    my $r = rpc($port, 202, {topic => 'TopicA'});
    my @max = $r->{body} =~ /"maxOffset":(\d+)/g;
    is("@max", '10 10 10 10', 'GET_TOPIC_STATS_INFO');
};
first 'consumerProgress' => sub {
    my $r = rpc($port, 208, {consumerGroup => 'g1', topic => 'TopicA'});
    is(join(' ', $r->{body} =~ /"brokerOffset":(\d+)/g), '10 10 10 10', 'GET_CONSUME_STATS');
};
first 'rmdir' => sub {
    is(sh('rm $1/groups/g1/bindings/TopicA', $mq), '', 'the topic is unbound');
    ok(!rmdir("$mq/TopicA") && $! == EBUSY, '... holds messages: rmdir is refused');
    is(sh('echo > $1/groups/g1/bindings/TopicA', $mq), '', '... and bound again');
};
first 'export' => sub {
    like(sh('$1 export $2/A.jsonl --topics TopicA -b 127.0.0.1:$3 2>&1', $admin, $m->{dir}, $port), qr/^40 messages$/m, 'mqadmin export has all messages');
};
first 'snapshot' => sub {
    is(sh('mkdir $1/snapshots/s && cd $2/snapshots/s/consumequeue && find . -type f | wc -l', $mq, $store), "12\n",
        'a snapshot has every queue of every topic');
    is(sh('cmp $1/consumequeue/shrunk/3/* $1/snapshots/s/consumequeue/shrunk/3/*', $store), '', '... as they are, to the byte');
    is(sh('rmdir $1/snapshots/s', $mq), '', '... and goes');
};

# ---- queues that the topic no longer has ----
first 'shrunk' => sub { is(sh('ls -d $1/shrunk/[0-9] | wc -l', $mq), "2\n", 'a topic that has half of its queues shows those') };
first 'shrunk' => sub { is(offset(30, 'shrunk', 3), 10, 'GET_MAX_OFFSET of one it had') };
first 'shrunk' => sub { is(rpc($port, 306, {})->{code}, 0, 'CLEAN_EXPIRED_CONSUMEQUEUE'); ok(-e "$store/consumequeue/shrunk/3", '... keeps it: it has messages') };
first 'shrunk' => sub {
    is(sh('rm $1/groups/g1/bindings/shrunk', $mq), '', 'unbound');
    ok(!rmdir("$mq/shrunk") && $! == EBUSY, '... rmdir is refused for the messages');
};
first 'grown' => sub {
    is(sh('echo 4 > $1/shrunk/read_queues; cat $1/shrunk/3/offset', $mq), "10\n", 'with its queues back it has the messages');
};

# ---- what is nobody's, and what goes ----
sh('cp -a $1/consumequeue/TopicB $1/consumequeue/nobody', $store);
first 'cleanUnusedTopic' => sub {
    is(rpc($port, 316, {})->{code}, 0, 'CLEAN_UNUSED_TOPIC');
    is(sh('ls $1/consumequeue', $store), "TopicA\nTopicB\nshrunk\n", '... removes the topic that nobody has, and keeps the others');
};
first 'deleteTopic' => sub {
    is(rpc($port, 215, {topic => 'TopicB'})->{code}, 0, 'DELETE_TOPIC_IN_BROKER');
    ok(!-e "$store/consumequeue/TopicB", '... its files are gone');
};
is(sh('mkdir $1/TopicB && cat $1/TopicB/1/offset', $mq), "0\n", '... made again it is empty');
ok($m->stop, 'a clean stop');
done_testing();
