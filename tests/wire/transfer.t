#!/usr/bin/perl
# Chosen topics and groups out of one broker and into a running one of another
# cluster: messages with all they had, offsets where the same message now is,
# owners and bindings; a dry run first, which changes nothing.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Mqfs;
use File::Temp qw(tempdir);
use Test::More;

my $admin = Mqfs::build() . '/mqadmin';
my $dir = tempdir('mqfs-test-XXXXXX', TMPDIR => 1, CLEANUP => 1);
my $m = Mqfs->start({mount => 0}, autoCreateTopicEnable => 'false');
my $there = Mqfs->start({mount => 0}, autoCreateTopicEnable => 'false', brokerClusterName => 'Other', brokerName => 'broker-x');
my ($w, $v) = (wire($m->{port}), wire($there->{port}));
my (@from, @to) = ();
@from = ('-b', "127.0.0.1:$m->{port}");
@to = ('-b', "127.0.0.1:$there->{port}");

sub admin { my ($status, $text) = sh('"$@" 2>&1', $admin, @_); return ($status, $text) }
sub make_topic {
    my ($wire, $name, $queues, %more) = @_;
    return $wire->call(17, {topic => $name, readQueueNums => $queues, writeQueueNums => $queues, perm => 6,
        topicFilterType => 'SINGLE_TAG', defaultTopic => 'TBW102', topicSysFlag => 0, order => 'false', %more})->{code};
}
sub max_of { my ($wire, $topic, $queue) = @_; return $wire->call(30, {topic => $topic, queueId => $queue})->{ext}{offset} }

is(make_topic($w, 'TopicA', 3, attributes => '+mqfs.owner=root'), 0, 'a topic with an owner');
is(make_topic($w, 'TopicB', 1), 0, 'another one');
is($w->call(200, {}, '{"groupName":"g1","retryMaxTimes":7,"subscriptionDataSet":[{"topic":"TopicA","expression":"Tag1",'
    . '"expressionType":"TAG","version":1}]}')->{code}, 0, 'a group with a binding');
my $seed = $ENV{SEED} || time;
diag("seed $seed");
srand $seed;
my @bodies = map { pack('C*', map { int rand 256 } 1 .. 1 + int rand 2000) } 1 .. 150;
send_message($w, 'TopicA', $_ % 3, $bodies[$_], TAGS => "Tag$_", KEYS => "key-$_", own => "\x{e9}-$_") for 0 .. 149;
send_message($w, 'TopicB', 0, 'b' x 10) for 1 .. 5;
is($w->call(15, {consumerGroup => 'g1', topic => 'TopicA', queueId => 1, commitOffset => 20})->{code}, 0, 'an offset');
is($w->call(15, {consumerGroup => 'g1', topic => 'TopicA', queueId => 2, commitOffset => 50})->{code}, 0, '... at the end of a queue');

my $file = "$dir/topics.json";
my ($status, $text) = admin('export', $file, '--topics', 'TopicA,TopicB', '--groups', 'g1', @from);
is("$status $text", "0 155 messages\n", 'export');
is((admin('export', $file, '--topics', 'TopicA', @from))[0], 1, '... never over a file');
like((admin('export', "$dir/x", '--topics', 'None', @from))[1], qr/TOPIC_NOT_EXIST/, '... of topics that are there');
ok(!-e "$dir/x", '... and nothing is left of it');

# ---- dry run ----
($status, $text) = admin('import', $file, '--dry-run', '-q', @to);
my $said = $text;
is($status, 0, 'dry run');
like($text, qr/^topic TopicA: made, 3 queues$/m, '... says what would be made');
like($text, qr{^queue TopicA/1: 50 messages sent, the first is number 0$}m, '... sent');
like($text, qr{^group g1 in TopicA/1: offset 20, was 20$}m, '... set');
is($v->call(351, {topic => 'TopicA'})->{code}, 17, '... and does nothing of it');

# ---- for real, beside messages that are there ----
is(make_topic($v, 'TopicB', 2), 0, 'one of the topics is there already');
send_message($v, 'TopicB', 0, 'own') for 1 .. 3;
($status, $text) = admin('import', $file, '-q', @to);
is($status, 0, 'import');
like($text, qr/^topic TopicB: is there, kept as it is, 2 queues$/m, '... keeps what is there');
like($text, qr{^queue TopicB/0: 5 messages sent, the first is number 3$}m, '... behind its messages');
is(max_of($v, 'TopicB', 0), 8, '... which are 8 now');
my $config = $v->call(351, {topic => 'TopicA'})->{body};
like($config, qr/"writeQueueNums":3/, 'the topic has its queues');
like($config, qr/"mqfs.owner":"root"/, '... and its owner');
$config = $v->call(352, {group => 'g1'})->{body};
like($config, qr/"retryMaxTimes":7/, 'the group has its settings');
like($config, qr/"expression":"Tag1"/, '... and its binding');
my $same = 0;
for my $q (0 .. 2) {
    my ($old, $new, @old, @new) = ('', '');
    for (my $at = 0; $at < 50; $at += 32) {
        $old .= pull_messages($w, 'TOOLS_CONSUMER', 'TopicA', $q, $at)->{body};
        $new .= pull_messages($v, 'TOOLS_CONSUMER', 'TopicA', $q, $at)->{body};
    }
    for my $i (grep { $_ % 3 == $q } 0 .. 149) {
        $same++ if index($new, $bodies[$i]) >= 0 && $new =~ /KEYS\x01key-$i\x02/ && $new =~ /TAGS\x01Tag$i\x02/
            && $new =~ /own\x01\x{c3}\x{a9}-$i\x02/;
    }
    my @ids = $old =~ /UNIQ_KEY\x01(\w+)\x02/g;
    is_deeply([$new =~ /UNIQ_KEY\x01(\w+)\x02/g], \@ids, "queue $q: " . @ids . ' unique ids in their order');
}
is($same, 150, 'every body, key, tag and property');
is($v->call(14, {consumerGroup => 'g1', topic => 'TopicA', queueId => 1})->{ext}{offset}, 20, 'the offset');
is($v->call(14, {consumerGroup => 'g1', topic => 'TopicA', queueId => 2})->{ext}{offset}, 50, '... the one at the end');

# ---- once more: everything is there, the messages come behind, the offsets point at the new ones ----
($status, $text) = admin('import', $file, '-q', '--dry-run', @to);
my $dry = $text;
$dry =~ s/^nothing of this.*\n//m;
($status, $text) = admin('import', $file, '-q', @to);
is($text, $dry, 'a dry run says what the run then does');
is($v->call(14, {consumerGroup => 'g1', topic => 'TopicA', queueId => 1})->{ext}{offset}, 70, 'the offset is that of the same message');

# ---- from the middle of a queue: numbers differ on both sides ----
is(make_topic($v, 'TopicC', 1), 0, 'a third topic');
send_message($v, 'TopicC', 0, "c$_") for 0 .. 9;
is($v->call(15, {consumerGroup => 'g1', topic => 'TopicC', queueId => 0, commitOffset => 4})->{code}, 0, '... with an offset');
is((admin('export', "$dir/c", '-q', '--topics', 'TopicC', '--groups', 'g1', @to))[0], 0, 'export there');
is(make_topic($w, 'TopicC', 1), 0, 'here it exists');
send_message($w, 'TopicC', 0, 'own') for 1 .. 2;
is((admin('import', "$dir/c", '-q', @from))[0], 0, 'import here');
is($w->call(14, {consumerGroup => 'g1', topic => 'TopicC', queueId => 0})->{ext}{offset}, 6, 'the offset moved with its message');
like(pull_messages($w, 'TOOLS_CONSUMER', 'TopicC', 0, 6)->{body}, qr/c4/, '... which it is');

# ---- what may be wrong ----
is(make_topic($w, 'TopicD', 4), 0, 'a topic of four queues');
send_message($w, 'TopicD', 3, 'd');
($status, $text) = admin("export", "$dir/d", "-q", "--topics", "TopicD", @from);
is("$status$text", "0", "... exported");
is(make_topic($v, 'TopicD', 2), 0, '... is there with two');
like((admin('import', "$dir/d", @to))[1], qr/2 queues there: none of number 3/, '... which ends it');
my $whole = slurp($file);
my $before = join ' ', map { max_of($v, 'TopicA', $_) } 0 .. 2;
my @lines = split /^/, $whole;
for my $bad (['', 'ends too early'], [join('', @lines[0 .. $#lines - 1]), 'ends too early'], [substr($whole, 0, length($whole) / 2), 'no JSON'],
    [join('', @lines[1 .. $#lines]), 'no export of topics'], [$whole . $lines[5], 'follows the end'],
    [join('', @lines[0 .. 9], @lines[11 .. $#lines]), 'as many messages'], ["{}\n", "none of an export's lines"],
    [join('', @lines[0 .. 5], $lines[5], @lines[6 .. $#lines]), 'not in order|broken|twice|as many'], ["\0\0\n", 'no JSON']) {
    spew("$dir/bad", $bad->[0]);
    ($status, $text) = admin('import', "$dir/bad", '-q', @to);
    is($status, 1, 'refused');
    like($text, qr/$bad->[1]/, "... $bad->[1]");
}
is(join(' ', map { max_of($v, 'TopicA', $_) } 0 .. 2), $before, 'and nothing was sent of any');
like((admin('import', $file, '-b', '127.0.0.1:1'))[1], qr/refused/, 'no broker');
done_testing;
