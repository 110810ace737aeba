# The processes of a test, and ports for them: started with their output in a
# file, waited for by condition, ended and reaped whatever becomes of the test.
package Running;
use strict;
use warnings;
use Exporter qw(import);
use IO::Socket::INET;
use POSIX qw(WNOHANG);
use Test::More;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(await free_ports launch mine ended status_of finish at_end);

my $owner = $$;
my (%running, %status);     # by pid; only these are ever signalled
my @at_end;

# await WHAT, SECONDS, CODE: polls until the code returns something true; dies
# when it never does.
sub await {
    my ($what, $seconds, $code) = @_;
    my $end = time + $seconds;
    while (1) {
        my $got = $code->();
        return $got if $got;
        die "waited $seconds s in vain for $what\n" if time > $end;
        sleep 0.02;
    }
}

sub _free {
    my $port = shift;
    return IO::Socket::INET->new(LocalAddr => '0.0.0.0', LocalPort => $port, Listen => 1, ReuseAddr => 1);
}

# N free ports. A broker's fast port is the one 2 below its own, and Apache's takes those up to 1 above it, too: they
# are free as well. Below the range from which the system gives ports to outgoing connections.
sub free_ports {
    my $n = shift || 1;
    my @got;
    for (1 .. 1000) {
        my $p = 12000 + 10 * int rand 2000;
        next if grep { $_ == $p } @got;
        next if grep { !_free($p + $_) } -2 .. 1;
        push @got, $p;
        return @got if @got == $n;
    }
    BAIL_OUT('no free ports');
}

# launch LOG, COMMAND...: starts it with its output appended to LOG. Its pid.
sub launch {
    my ($log, @command) = @_;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        open STDIN,  '<',  '/dev/null';
        open STDOUT, '>>', $log or POSIX::_exit(127);
        open STDERR, '>&', \*STDOUT;
        exec { $command[0] } @command or POSIX::_exit(127);
    }
    return mine($pid);
}

# Takes a process that was started otherwise into care. Its pid.
sub mine { my $pid = shift; $running{$pid} = 1; return $pid }

# Whether it has ended. A pid is forgotten once it is reaped: the system may give it to another.
sub ended {
    my $pid = shift;
    return 1 if !$running{$pid};
    return 0 if waitpid($pid, WNOHANG) != $pid;
    $status{$pid} = $?;
    delete $running{$pid};
    return 1;
}

# The wait status of one that has ended.
sub status_of { return $status{$_[0]} }

# finish PID, [SIGNAL, SECONDS]: signals it (TERM), waits (20 s), then kills. Its wait status; undef when it had to be
# killed.
sub finish {
    my ($pid, $signal, $seconds) = @_;
    return status_of($pid) if ended($pid);
    kill $signal // 'TERM', $pid;
    return status_of($pid) if eval { await('its end', $seconds // 20, sub { ended($pid) }) };
    kill KILL => $pid;
    waitpid $pid, 0;
    delete $running{$pid};
    return undef;
}

# at_end CODE: runs when the test ends, before what still runs is ended; the last given first. In this process only.
sub at_end { unshift @at_end, shift }

END {
    if ($$ == ($owner || 0)) {
        local ($?, $@, $!);
        $_->() for @at_end;
        finish($_) for sort { $b <=> $a } keys %running;
    }
}
$SIG{$_} = sub { exit 1 } for qw(INT TERM HUP);
$SIG{PIPE} = 'IGNORE';

1;
