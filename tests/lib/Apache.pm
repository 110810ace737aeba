# Apache's broker 5.5.0 for tests, in a directory of the caller's: the store is DIR/store. What was started and
# not ended is killed at the end. Needs tests/clients/setup: apache_is_here.
#
#     my $pid = apache_start($dir, $ns, $port, KEY => VALUE...);    # waits until it answers; its output: $dir/apache.log
#     apache_end($pid, 'TERM');
package Apache;
use strict;
use warnings;
use Cwd qw(abs_path);
use Exporter qw(import);
use Mqfs;
use POSIX qw(WNOHANG);
use Test::More;

our @EXPORT = qw(apache_is_here apache_start apache_end);

my $START = Mqfs::root() . '/tests/clients/apache-broker';
my $owner = $$;
my %running;

sub apache_is_here { return -d (($ENV{BUILD} || Mqfs::root() . '/build') . '/clients/jars-5.5.0') }

sub apache_start {
    my ($dir, $ns, $port, %conf) = @_;
    my $log = "$dir/apache.log";
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        open STDIN,  '<',  '/dev/null';
        open STDOUT, '>>', $log or POSIX::_exit(127);
        open STDERR, '>&', \*STDOUT;
        exec $START, $dir, $ns, $port, map { "$_=$conf{$_}" } sort keys %conf or POSIX::_exit(127);
    }
    $running{$pid} = 1;
    my $up = eval { await("Apache's broker", 90, sub {
        waitpid($pid, WNOHANG) == $pid and delete $running{$pid}, die "it ended\n";
        my $r = eval { rpc($port, 30, {topic => 'SELF_TEST_TOPIC', queueId => 0}) } or return 0;
        $r->{code} == 0;
    }) };
    $up or BAIL_OUT("Apache's broker does not start: $@" . slurp($log));
    return $pid;
}

sub apache_end {
    my ($pid, $signal) = @_;
    kill $signal => $pid;
    eval { await('its end', 60, sub { waitpid($pid, WNOHANG) == $pid }); 1 } or do { kill KILL => $pid; waitpid $pid, 0 };
    delete $running{$pid};
}

END {
    if ($$ == $owner) {
        local ($?, $@, $!);
        kill(KILL => $_), waitpid($_, 0) for keys %running;
    }
}

1;
