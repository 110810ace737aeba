#!/usr/bin/perl
# tools/run: name server, broker and mount in one process; Ctrl-C unmounts and
# stops; a second start finds everything; without /dev/fuse it runs all the same
# (R-DEP-01, R-DEP-08).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use File::Temp qw(tempdir);
use Mqfs;
use POSIX ();
use Test::More;

chdir Mqfs::root();
my $dir = tempdir('mqfs-test-XXXXXX', TMPDIR => 1, CLEANUP => 1);
my ($ns, $port) = free_ports(2);
my $mnt = "$dir/mq";
spew("$dir/broker.conf", "brokerName=broker-a\nbrokerIP1=127.0.0.1\nbindAddress=127.0.0.1\nlistenPort=$port\nnamesrvAddr=127.0.0.1:$ns\n"
    . "storePathRootDir=$dir/store\nmappedFileSizeCommitLog=1048576\nautoCreateTopicEnable=false\nenforceBindings=true\n");

# Starts it in a process group of its own, as a terminal does.
sub run_it {
    my ($out, %env) = @_;
    unlink $out;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        setpgrp;
        my $relative = delete $env{RELATIVE};
        %ENV = (%ENV, VAR => $relative ? '.' : $dir, %env);
        chdir $dir if $relative;
        open STDIN,  '<', '/dev/null';
        open STDOUT, '>', $out;
        open STDERR, '>&', \*STDOUT;
        exec Mqfs::root() . '/tools/run', $relative ? 'mq' : $mnt or POSIX::_exit(127);
    }
    eval { await('tools/run', 120, sub { (slurp($out) // '') =~ /Ctrl-C stops/ or waitpid($pid, POSIX::WNOHANG()) == $pid and die "it ended\n" }) }
        or diag(slurp($out), slurp("$dir/broker.log") // '');
    return $pid;
}
sub mounted { grep { (split)[1] eq $mnt } split /\n/, slurp('/proc/mounts') }

my $pid = run_it("$dir/out1");
like(slurp("$dir/out1"), qr/Five things to try.*mkdir.*bindings.*offset/s, 'it prints five things to try');
like(slurp("$dir/out1"), qr/name server 127\.0\.0\.1:$ns, broker 127\.0\.0\.1:$port/, 'and the addresses');
my @lines = grep { /^  \S/ } split /\n/, slurp("$dir/out1") =~ s/.*Five things//sr;
is(scalar @lines, 5, 'five');
for my $line (@lines) {
    my ($status, $out) = sh($line);
    is($status, 0, $line) or diag($out);
}
is(slurp("$mnt/TopicA/0/offset"), "0\n", 'the topic is there');
is(rpc($ns, 105, {topic => 'TopicA'})->{code}, 0, 'and the name server knows it');
kill INT => -$pid;                                  # what Ctrl-C does
is(waitpid($pid, 0), $pid, 'Ctrl-C ends it');
is($?, 0, 'cleanly');
ok(!mounted(), 'unmounted');
ok(!-e "$dir/store/abort", 'the store was closed');

$pid = run_it("$dir/out2", RELATIVE => 1);
is(slurp("$mnt/groups/g1/bindings/TopicA"), "*\n", 'a second start finds everything, by paths from where it is called');
like(slurp("$dir/out2"), qr{Five things to try.*ls \Q$mnt\E\n}s, 'and prints five things to try again');
kill TERM => $pid;
waitpid $pid, 0;
is($?, 0, 'SIGTERM is a clean stop');
ok(!mounted(), 'unmounted');

$pid = run_it("$dir/out3", FUSE_DEVICE => "$dir/nothing");
like(slurp("$dir/out3"), qr/no \/dev\/fuse/, 'without /dev/fuse it says so');
is(rpc($port, 30, {topic => 'TopicA', queueId => 0})->{code}, 0, 'and the broker runs');
ok(!mounted(), 'without a mount');
kill TERM => $pid;
waitpid $pid, 0;
is($?, 0, 'and stops cleanly');

# a broker that cannot start: it says why and ends
{
    my $conf = slurp("$dir/broker.conf");
    spew("$dir/broker.conf", $conf =~ s/listenPort=.*/listenPort=many/r);
    my ($status, $said) = sh('VAR=$1 tools/run $2', $dir, $mnt);
    isnt($status, 0, 'a broker that cannot start ends it');
    like($said, qr/listenPort wants a whole number/, 'with the reason');
    unlike($said, qr/The broker runs/, 'and no word of success');
    spew("$dir/broker.conf", $conf);
}

# who may not install packages is told what to type
my ($status, $said) = sh('setpriv --reuid=65534 --regid=65534 --clear-groups sh -c \'command() { [ "$2" != sudo ] && type "$2"; }
    . tools/packages.sh; install_needs sh:dash /no/such/header.h:libsomething-dev no-such-command:somepackage\'');
is($status, 1, 'packages are missing and this user may not install them: it ends');
like($said, qr/^  su -c 'apt-get update && apt-get install -y --no-install-recommends libsomething-dev somepackage'$/m,
    'with the exact command to type');
# every need is there once its package is: else each start would install it again
($status, $said) = sh('. tools/packages.sh; for need in $build_needs $test_needs; do
        dpkg -s "${need#*:}" >/dev/null 2>&1 && ! have "${need%%:*}" && echo "${need#*:} has no ${need%%:*}"; done');
is($said, '', 'what a package is installed for is in it');
done_testing();
