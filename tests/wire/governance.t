#!/usr/bin/perl
# Governance on the wire: who is not bound is refused, at once and while it waits;
# all of it is on disk in RocketMQ's own files, and audited
# (R-GOV-06, R-GOV-07, R-GOV-10, R-GOV-11, R-GOV-12, R-GOV-14, R-TOP-07).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use JSON::PP;
use Mqfs;
use Test::More;

my $m = Mqfs->start({}, enforceBindings => 'true');
my $w = wire($m->{port});
my $mnt = $m->{mnt};

my $r = send_message($w, 'TopicA', 0, 'x', producerGroup => 'p1');
is($r->{code}, 17, 'no topic appears by sending');
like($r->{remark}, qr/mkdir/, 'the refusal says how one is made');
mkdir "$mnt/TopicA" or die "mkdir: $!";
mkdir "$mnt/producers/p1" or die "mkdir: $!";

$r = send_message($w, 'TopicA', 0, 'x', producerGroup => 'p1');
is($r->{code}, 16, 'a producer group that is not bound is refused');
like($r->{remark}, qr{/producers/p1/bindings/TopicA}, 'with the file that would allow it');
is(put_new("$mnt/producers/p1/bindings/TopicA", "\n"), 0, 'echo > binds it');
is(send_message($w, 'TopicA', 0, 'hello', producerGroup => 'p1')->{code}, 0, 'and it may send');
is(send_message($w, 'TopicA', 0, 'x', producerGroup => 'p2')->{code}, 16, 'another may not');

sub put_new { my ($path, $text) = @_; open my $f, '>', $path or return $! + 0; syswrite $f, $text; close $f or return $! + 0; 0 }
sub pull { my ($wire, $group, %o) = @_; return $wire->call(11, pull_header($group, %o)) }
sub pull_header {
    my ($group, %o) = @_;
    return {consumerGroup => $group, topic => 'TopicA', queueId => 0, queueOffset => $o{at} || 0, maxMsgNums => 32,
        sysFlag => $o{wait} ? 6 : 4, commitOffset => 0, suspendTimeoutMillis => $o{wait} || 0, subscription => '*', subVersion => 0,
        expressionType => 'TAG', %{$o{more} || {}}};
}

is(pull($w, 'g1')->{code}, 26, 'a group that nobody made does not exist');
mkdir "$mnt/groups/g1" or die "mkdir: $!";
$r = pull($w, 'g1');
is($r->{code}, 16, 'a group that is not bound is refused');
like($r->{remark}, qr{/groups/g1/bindings/TopicA}, 'with the file that would allow it');
is(put_new("$mnt/groups/g1/bindings/TopicA", "\n"), 0, 'bound by an empty write');
is(slurp("$mnt/groups/g1/bindings/TopicA"), "*\n", 'to everything');
is(pull($w, 'g1')->{code}, 0, 'and it may pull');

# its own retry topic needs no binding
is($w->call(34, {}, encode_json({clientID => 'c1', producerDataSet => [], consumerDataSet => [{groupName => 'g1',
    consumeType => 'CONSUME_PASSIVELY', messageModel => 'CLUSTERING', consumeFromWhere => 'CONSUME_FROM_LAST_OFFSET',
    subscriptionDataSet => []}]}))->{code}, 0, 'a member');
is(pull($w, 'g1', more => {topic => '%RETRY%g1'})->{code} != 16, 1, 'the group may pull its retry topic');
mkdir "$mnt/groups/g2";
is(pull($w, 'g2', more => {topic => '%RETRY%g1'})->{code}, 16, 'another group may not');

# a held pull is answered when its binding goes
my $held = wire($m->{port});
$held->raw($held->frame(11, pull_header('g1', at => 1, wait => 15000)));
await('the pull to be held', 5, sub { decode_json($w->call(28, {})->{body})->{table}{'mqfs.heldPulls'} == 1 });
unlink "$mnt/groups/g1/bindings/TopicA" or die "unlink: $!";
$r = $held->receive(5);
is($r->{code}, 16, 'a held pull is refused when its binding goes');
is(pull($w, 'g1')->{code}, 16, 'so are those after it');

# and woken when a message comes
put_new("$mnt/groups/g1/bindings/TopicA", "\n");
$held->raw($held->frame(11, pull_header('g1', at => 1, wait => 15000)));
await('the pull to be held', 5, sub { decode_json($w->call(28, {})->{body})->{table}{'mqfs.heldPulls'} == 1 });
send_message($w, 'TopicA', 0, 'news', producerGroup => 'p1');
$r = $held->receive(5);
is($r->{code}, 0, 'a held pull is answered when a message comes');
like($r->{body}, qr/news/, 'with it');

# on disk, in RocketMQ's own files
my $groups = decode_json(slurp("$m->{dir}/store/config/subscriptionGroup.json"));
is_deeply([map { "$_->{topic} $_->{expressionType} $_->{expression}" } @{$groups->{subscriptionGroupTable}{g1}{subscriptionDataSet}}],
    ['TopicA TAG *'], 'the binding is in subscriptionGroup.json');
my $topics = decode_json(slurp("$m->{dir}/store/config/topics.json"));
ok($topics->{topicConfigTable}{TopicA}, 'the topic is in topics.json');
my $owner = (getpwuid $>)[0];
is((grep { /owner/ } values %{{map { $_ => "$_=$topics->{topicConfigTable}{TopicA}{attributes}{$_}" } keys %{$topics->{topicConfigTable}{TopicA}{attributes}}}})[0],
    "mqfs.owner=$owner", 'with its owner');
my @audit = grep { /bindings/ } split /\n/, slurp("$m->{dir}/store/audit.log");
ok(@audit >= 3, 'each change of a binding is a line of the audit file');
my $line = decode_json($audit[-1]);
is($line->{user}, $owner, 'with the user') or diag($audit[-1]);
is(slurp("$mnt/broker/audit"), slurp("$m->{dir}/store/audit.log"), 'and the tree shows the same');

# after a restart
$m->again;
$w = wire($m->{port});
is(pull($w, 'g1')->{code}, 0, 'a second start knows the binding');
is(send_message($w, 'TopicA', 0, 'x', producerGroup => 'p1')->{code}, 0, 'of the producers too');
is(send_message($w, 'TopicA', 0, 'x', producerGroup => 'p2')->{code}, 16, 'and refuses the others');

# as an mqadmin user sees it
is(rpc($m->{port}, 200, {}, '{"groupName":"g3","subscriptionDataSet":[{"topic":"TopicA","expressionType":"TAG","expression":"a || b"}]}')->{code},
    0, 'a group made over the wire with a binding');
is(slurp("$mnt/groups/g3/bindings/TopicA"), "a || b\n", 'shows it in the tree');

# and its filter is a filter: what it leaves out the group does not get, whatever it subscribes
my $at = rpc($m->{port}, 30, {topic => 'TopicA', queueId => 0})->{ext}{offset};
send_message($w, 'TopicA', 0, "of $_", producerGroup => 'p1', TAGS => $_) for qw(a c b);
sub got { return join ' ', (shift)->{body} =~ /of (\w)/g }
$r = pull($w, 'g3', at => $at);
is("$r->{code} " . got($r), '0 a b', 'a group that subscribes all gets what its binding lets through');
is($r->{ext}{nextBeginOffset}, $at + 3, 'and goes on after the rest');
$r = pull($w, 'g3', at => $at, more => {subscription => 'a || c'});
is("$r->{code} " . got($r), '0 a', 'one that subscribes some gets what both let through');
is(pull($w, 'g3', at => $at, more => {subscription => 'c'})->{code}, 20, 'or nothing');
$held = wire($m->{port});
$held->raw($held->frame(11, pull_header('g3', at => $at + 3, wait => 15000)));
await('the pull to be held', 5, sub { decode_json($w->call(28, {})->{body})->{table}{'mqfs.heldPulls'} == 1 });
send_message($w, 'TopicA', 0, 'of c', producerGroup => 'p1', TAGS => 'c');
send_message($w, 'TopicA', 0, 'of b', producerGroup => 'p1', TAGS => 'b');
$r = $held->receive(5);
is("$r->{code} " . got($r), '0 b', 'a held pull waits for it, too');
is(put_new("$mnt/groups/g3/bindings/TopicA", "c\n"), 0, 'another filter');
is(got(pull($w, 'g3', at => $at)), 'c c', 'counts from the next pull on');
is(put_new("$mnt/groups/g3/bindings/TopicA", "\n"), 0, 'an empty write is *');
is(got(pull($w, 'g3', at => $at)), 'a c b c b', 'and lets all through');
is(rpc($m->{port}, 200, {}, '{"groupName":"g4","subscriptionDataSet":[{"topic":"TopicA","expressionType":"SQL92","expression":"x > 1"}]}')->{code},
    0, 'a binding by SQL, as an Apache store may bring it');
$r = pull($w, 'g4', at => $at);
is($r->{code}, 16, 'is no binding to everything');
like($r->{remark}, qr{SQL.*/groups/g4/bindings/TopicA}, 'and the refusal says what to write');

# no other way leads to messages of a topic that the group is not bound to
$r = send_message($w, 'TopicA', 0, 'secret', producerGroup => 'p1');
my $log_offset = hex substr $r->{ext}{msgId}, 16;
$r = $w->call(36, {group => 'g2', offset => $log_offset, delayLevel => 1});
is($r->{code}, 16, 'a group cannot send itself what it may not consume');
like($r->{remark}, qr{/groups/g2/bindings/TopicA}, 'with the file that would allow it');
is($w->call(351, {topic => '%RETRY%g2'})->{code}, 17, 'and nothing came to its retry topic');
is($w->call(36, {group => 'g1', offset => $log_offset, delayLevel => 1})->{code}, 0, 'one that is bound sends it back');
send_message($w, 'TopicA', 0, 'later', producerGroup => 'p1', DELAY => 18);
is(pull($w, 'g2', more => {topic => 'SCHEDULE_TOPIC_XXXX', queueId => 17})->{code}, 16, 'nor read what waits for its delay');
is($w->call(34, {}, encode_json({clientID => 'c2', producerDataSet => [], consumerDataSet => [{groupName => 'g2',
    consumeType => 'CONSUME_PASSIVELY', messageModel => 'CLUSTERING', consumeFromWhere => 'CONSUME_FROM_LAST_OFFSET',
    subscriptionDataSet => []}]}))->{code}, 0, 'a member of that group');
is(rpc($m->{port}, 309, {consumerGroup => 'g2', clientId => 'c2', msgId => uc sprintf('7F000001%08X%016X', $m->{port}, $log_offset)})->{code},
    16, 'nor be handed it directly');
is($w->call(25, {}, "enforceBindings=false\n")->{code}, 0, 'enforcement switched off while running');
is(pull($w, 'g2')->{code}, 0, 'lets every group pull');
is(put_new("$mnt/groups/g3/bindings/TopicA", "c\n"), 0, 'a filter is kept');
is(got(pull($w, 'g3', at => $at)), 'a c b c b', 'and asks nothing of anybody');
ok($m->stop, 'a clean stop');
done_testing();
