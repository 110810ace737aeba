# Apache's broker 5.5.0 for tests, in a directory of the caller's: the store is DIR/store. What was started and
# not ended is killed at the end. Needs tests/clients/setup: apache_is_here.
#
#     my $dir = apache_dir();                                       # goes away with the test
#     my $pid = apache_start($dir, $ns, $port, KEY => VALUE...);    # waits until it answers; its output: $dir/apache.log
#     apache_end($pid, 'TERM');
package Apache;
use strict;
use warnings;
use Exporter qw(import);
use File::Temp qw(tempdir);
use Mqfs;
use Running;
use Test::More;

our @EXPORT = qw(apache_is_here apache_jars apache_dir apache_start apache_end);

sub apache_jars { return Mqfs::clients() . '/jars-5.5.0' }
sub apache_is_here { return -d apache_jars() }

sub apache_dir {
    my $dir = tempdir('mqfs-apache-XXXXXX', TMPDIR => 1);
    at_end(sub { system 'rm', '-rf', '--one-file-system', '--', $dir if !$ENV{MQ_KEEP} });
    return $dir;
}

sub apache_start {
    my ($dir, $ns, $port, %conf) = @_;
    my $log = "$dir/apache.log";
    my $pid = launch($log, Mqfs::root() . '/tests/clients/apache-broker', $dir, $ns, $port,
        map { "$_=$conf{$_}" } sort keys %conf);
    at_end(sub { finish($pid, 'KILL') });        # it takes 16 s to end by itself, and its store goes anyway
    my $up = eval { await("Apache's broker", 90, sub {
        ended($pid) and die "it ended\n";
        my $r = eval { rpc($port, 30, {topic => 'SELF_TEST_TOPIC', queueId => 0}) } or return 0;
        $r->{code} == 0;
    }) };
    $up or BAIL_OUT("Apache's broker does not start: $@" . slurp($log));
    return $pid;
}

sub apache_end { my ($pid, $signal) = @_; finish($pid, $signal // 'TERM', 60) }

1;
