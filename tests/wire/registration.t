#!/usr/bin/perl
# A broker and two name servers as programs: topics are in both name servers' routes when their maker
# has his answer, go when they are deleted, and with the broker (R-NS-05, R-NS-06, R-NS-07, R-NS-09, R-NS-20).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Mqfs;
use Running;
use Test::More;

my ($port2) = free_ports(1);
my $ns2 = start_namesrv($port2);

my ($ns1) = free_ports(1);
my $m = Mqfs->start({mount => 0, namesrv => 0, args => ['-n', "127.0.0.1:1;127.0.0.1:$ns1;127.0.0.1:$port2"]},
    namesrvAddr => '127.0.0.1:2');      # -n comes before it
await('a registration', 20, sub { route($port2, 'SELF_TEST_TOPIC') });
pass('a broker registers with the living one of three name servers');
like(route($port2, 'SELF_TEST_TOPIC'), qr/"127\.0\.0\.1:$m->{port}"/, 'its address is in the routes');

my $ns = start_namesrv($ns1);
await('a registration', 20, sub { route($ns1, 'SELF_TEST_TOPIC') });
pass('and with another one when it comes up');

my $header = {topic => 'TopicA', defaultTopic => 'TBW102', readQueueNums => 3, writeQueueNums => 2, perm => 6,
    topicFilterType => 'SINGLE_TAG', topicSysFlag => 0, order => 'false'};
is(rpc($m->{port}, 17, $header)->{code}, 0, 'a topic is made');
for my $at ($ns1, $port2) {
    like(route($at, 'TopicA') // '', qr/"perm":6,"readQueueNums":3,"topicSysFlag":0,"writeQueueNums":2/,
        'and has its route at the name server when that is answered');
}

is(rpc($ns1, 100, {namespace => 'ORDER_TOPIC_CONFIG', key => 'TopicA', value => 'broker-a:2'})->{code}, 0,
    'a name server says that the topic is ordered');
is(rpc($m->{port}, 25, {}, "brokerPermission=4\n")->{code}, 0, 'the broker takes its write permission away');
await('the permission', 10, sub { (route($ns1, 'TopicA') // '') =~ /"perm":4/ && (route($port2, 'TopicA') // '') =~ /"perm":4/ });
pass('and no route has it any more');
await('the order', 10, sub { rpc($m->{port}, 21, {})->{body} =~ /"order":true[^{}]*"topicName":"TopicA"/ });
pass('and what the name server said of order is kept');

is(rpc($m->{port}, 215, {topic => 'TopicA'})->{code}, 0, 'the topic is deleted');
await('its end', 10, sub { !route($ns1, 'TopicA') && !route($port2, 'TopicA') });
pass('and gone at both name servers');

ok($m->stop, 'the broker stops cleanly');
await('its end', 5, sub { !route($ns1, 'SELF_TEST_TOPIC') && !route($port2, 'SELF_TEST_TOPIC') });
pass('and with it all its routes');
$m->again;
await('a registration', 20, sub { route($ns1, 'SELF_TEST_TOPIC') && route($port2, 'SELF_TEST_TOPIC') });
$m->kill9;
await('its end', 5, sub { !route($ns1, 'SELF_TEST_TOPIC') && !route($port2, 'SELF_TEST_TOPIC') });
pass('a killed one leaves none either');

is(finish($ns), 0, 'a name server ends on SIGTERM with status 0');
is(finish($ns2), 0, 'and so does the other');
done_testing;

# The route's JSON, undef when there is none.
sub route {
    my ($at, $topic) = @_;
    my $r = rpc($at, 105, {topic => $topic});
    die "code $r->{code}: $r->{remark}\n" if $r->{code} != 0 && $r->{code} != 17;
    return $r->{code} ? undef : $r->{body};
}

sub start_namesrv {
    my $port = shift;
    my $dir = File::Temp::tempdir('mqfs-test-XXXXXX', TMPDIR => 1, CLEANUP => 1);
    spew("$dir/namesrv.conf", "listenPort=$port\nbindAddress=127.0.0.1\nkvConfigPath=$dir/kvConfig.json\n");
    my $pid = launch("$dir/log", Mqfs::build() . '/mqnamesrv', '-c', "$dir/namesrv.conf");
    await('the name server', 10, sub { eval { rpc($port, 106, {}) } });
    return $pid;
}
