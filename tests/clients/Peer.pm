# What the tests of real clients share: a broker of one's own under test, an
# mqadmin that stays, and the running of drivers that print TAP.
package Peer;
use strict;
use warnings;
use Cwd qw(abs_path);
use Exporter qw(import);
use File::Basename qw(dirname);
use File::Path qw(remove_tree);
use File::Temp qw(tempdir);
use IO::Socket::INET;
use IPC::Open2;
use POSIX qw(WNOHANG);
use Test::More;
use Time::HiRes qw(sleep time);

our @EXPORT = qw($PEER $CLIENTS start_peer mqadmin prepare run_driver stay java await);

our $PEER = $ENV{MQ_PEER} || 'mqfs';
my $HERE = dirname(abs_path(__FILE__));
my $BUILD = abs_path($ENV{BUILD} || "$HERE/../../build")
    or BAIL_OUT('there is no build directory');
our $CLIENTS = "$BUILD/clients";
# short-lived JVMs: start quickly, stay small
my @JVM = (qw(-Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto),
    "-Drmq.logback.configurationFile=$HERE/java/logback.xml");

my $owner = $$;
my %running;    # pid => name; only these are ever signalled
my $dir;

# await WHAT, SECONDS, CODE: polls until the code returns something true
sub await {
    my ($what, $seconds, $code) = @_;
    my $end = time + $seconds;
    while (1) {
        my $got = $code->();
        return $got if $got;
        die "waited $seconds s in vain for $what\n" if time > $end;
        sleep 0.05;
    }
}

sub spawn {
    my ($name, $log, @command) = @_;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        open STDIN,  '<',   '/dev/null';
        open STDOUT, '>>',  $log or POSIX::_exit(127);
        open STDERR, '>&',  \*STDOUT;
        exec { $command[0] } @command or POSIX::_exit(127);
    }
    $running{$pid} = $name;
    return $pid;
}

# A pid is forgotten once it is reaped: the system may give it to another.
sub gone {
    my $pid = shift;
    return 1 if !$running{$pid};
    return 0 if waitpid($pid, WNOHANG) != $pid;
    delete $running{$pid};
    return 1;
}

sub stop {
    my $pid = shift;
    return if gone($pid);
    # Apache's broker takes 16 s to end, and its store is thrown away
    kill +($running{$pid} eq 'apache-broker' ? 'KILL' : 'TERM') => $pid;
    eval { await('the end of it', 15, sub { gone($pid) }); 1 } and return;
    diag("$running{$pid} did not end on SIGTERM");
    kill KILL => $pid;
    waitpid $pid, 0;
    delete $running{$pid};
}

sub cleanup {
    return if $$ != ($owner || 0);
    local ($?, $@, $!);
    stop($_) for reverse sort { $a <=> $b } keys %running;
    return if !$dir;
    if ($ENV{KEEP}) { diag("kept $dir") }
    else            { remove_tree($dir) }
}
END { cleanup() }
$SIG{$_} = sub { exit 1 } for qw(INT TERM HUP);
$SIG{PIPE} = 'IGNORE';

sub free {
    my $s = IO::Socket::INET->new(LocalAddr => '0.0.0.0', LocalPort => shift,
        Proto => 'tcp', Listen => 1) or return 0;
    close $s;
    return 1;
}

# Below the range from which the system gives ports to outgoing connections.
# Apache's broker takes the ports from -2 to +1 around its own.
sub free_ports {
    for (1 .. 200) {
        my $p = 12000 + 10 * int rand 2000;
        return ($p, $p + 4) if 4 == grep { free($p + $_) } 0, 2, 4, 5;
    }
    die "no free ports\n";
}

# request PORT, CODE, FIELDS, BODY: one remoting request, and the answer's bytes
sub request {
    my ($port, $code, $fields, $body) = @_;
    my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port", Timeout => 2)
        or return '';
    my $head = qq({"code":$code,"extFields":{$fields},"flag":0,"language":"OTHER",)
        . '"opaque":1,"serializeTypeCurrentRPC":"JSON","version":513}';
    my $answer = '';
    eval {
        local $SIG{ALRM} = sub { die "late\n" };
        alarm 5;
        print {$s} pack('NN', 4 + length($head . $body), length $head), $head, $body;
        $s->flush;
        while (length $answer < 4 || length $answer < 4 + unpack 'N', $answer) {
            sysread $s, $answer, 65536, length $answer or last;
        }
    };
    alarm 0;
    return $answer;
}

# Does the name server list the broker? Apache's registers only 10 s after its
# start, or when its permission is set.
sub registered {
    my ($nsport, $port) = @_;
    if ($PEER eq 'apache') {
        request($port, 25, '', 'brokerPermission=6') or return 0;
    }
    return request($nsport, 106, '', '') =~ /"DefaultCluster":\["broker-a"\]/;
}

# start_peer KEY => VALUE...: name server and broker with these lines in
# broker.conf. Returns ns, addr, dir and log.
sub start_peer {
    my %conf = (autoCreateTopicEnable => 'false',
        autoCreateSubscriptionGroup => 'false', @_);
    -d "$CLIENTS/classes-5.5.0" or BAIL_OUT('run tests/clients/setup first');
    $dir = tempdir('mqclients-XXXXXX', TMPDIR => 1);
    my ($nsport, $port) = free_ports();
    my $log = "$dir/peer.log";
    my $pid;
    if ($PEER eq 'apache') {
        $pid = spawn('apache-broker', $log, "$HERE/apache-broker", "$dir/peer",
            $nsport, $port, map { "$_=$conf{$_}" } sort keys %conf);
    } elsif ($PEER eq 'mqfs') {
        -x "$BUILD/mqbroker" or BAIL_OUT("there is no $BUILD/mqbroker");
        %conf = (brokerClusterName => 'DefaultCluster', brokerName => 'broker-a',
            brokerId => 0, brokerIP1 => '127.0.0.1', listenPort => $port,
            bindAddress => '127.0.0.1', namesrvAddr => "127.0.0.1:$nsport",
            storePathRootDir => "$dir/store", mappedFileSizeCommitLog => 16777216,
            %conf);
        open my $f, '>', "$dir/broker.conf" or die $!;
        print {$f} "$_=$conf{$_}\n" for sort keys %conf;
        close $f or die $!;
        $pid = spawn('mqbroker', $log, "$BUILD/mqbroker", '--with-namesrv',
            '-c', "$dir/broker.conf");
    } else {
        BAIL_OUT("MQ_PEER is apache or mqfs, not $PEER");
    }
    my $up = eval { await('a registered broker', 60, sub {
        die "the server ended\n" if gone($pid);
        registered($nsport, $port);
    }) };
    if (!$up) {
        diag($@);
        if (open my $f, '<', $log) { diag(<$f>) }
        BAIL_OUT("$PEER does not start");
    }
    return { ns => "127.0.0.1:$nsport", addr => "127.0.0.1:$port",
        dir => $dir, log => $log, pid => $pid };
}

my ($to_admin, $from_admin);

# mqadmin PEER, WORDS...: what Apache's command prints. One JVM serves them all.
sub mqadmin {
    my ($peer, @words) = @_;
    if (!$to_admin) {
        my $pid = open2($from_admin, $to_admin, 'java', @JVM,
            "-Duser.home=$peer->{dir}/admin", "-Drocketmq.home.dir=$peer->{dir}/admin",
            '-cp', "$CLIENTS/classes-5.5.0:$CLIENTS/jars-5.5.0/*",
            'AdminShell', $peer->{ns});
        $running{$pid} = 'mqadmin';
        binmode $_, ':encoding(UTF-8)' for $to_admin, $from_admin;
    }
    my $text = '';
    local $SIG{ALRM} = sub { die "mqadmin @words: no answer in 60 s\n" };
    alarm 60;
    print {$to_admin} join("\t", @words), "\n";
    $to_admin->flush;
    while (1) {
        my $line = <$from_admin> // die "mqadmin ended at: @words\n$text";
        last if $line eq "--end-of-answer--\n";
        $text .= $line;
    }
    alarm 0;
    # The commands that show a message leave its body in a fixed place.
    for my $file ($text =~ m{^Message Body Path:\s+(/\S+)}mg) {
        unlink $file;
        for (my $d = dirname($file); $d ne '/' && rmdir $d; $d = dirname($d)) { }
    }
    return $text;
}

my %prepared;

# prepare PEER, PREFIX, SCENARIO...: the topic and group of each scenario, once
sub prepare {
    my ($peer, $prefix, @scenarios) = @_;
    @scenarios = grep { !$prepared{"$prefix-$_"}++ } @scenarios or return;
    my $out = mqadmin($peer, 'prepare', $peer->{addr}, $prefix, @scenarios);
    $out =~ /^success/ or die "prepare: $out";
    # Apache's broker answers before its name server knows; a client that asks
    # too early asks again only after 20 s or more.
    my ($nsport) = $peer->{ns} =~ /(\d+)$/;
    for my $s (@scenarios) {
        await("a route of $prefix-$s", 30, sub {
            request($nsport, 105, qq("topic":"$prefix-$s"), '') =~ /queueDatas/;
        });
    }
}

# java PEER, VERSION, PROPERTY...: the words that start the Java driver
sub java {
    my ($peer, $version, @properties) = @_;
    return ('java', @JVM, "-Duser.home=$peer->{dir}/java",
        "-Drocketmq.client.logRoot=$peer->{dir}/java/logs", @properties,
        '-cp', "$CLIENTS/classes-$version:$CLIENTS/jars-$version/*", 'Clients');
}

# run_driver TITLE, PEER, PREFIX, COMMAND, SCENARIO...: runs a driver, passes
# its results on, and fails for each scenario that it said nothing about
sub run_driver {
    my ($title, $peer, $prefix, $command, @scenarios) = @_;
    prepare($peer, $prefix, @scenarios);
    my @words = (@$command, $peer->{ns}, $prefix, @scenarios);
    my $pid = open my $out, '-|', 'sh', '-c', 'exec "$@" 2>&1', 'sh', @words;
    $running{$pid} = $title;
    my %missing = map { $_ => 1 } @scenarios;
    my $failed;
    my $whole = eval {
        local $SIG{ALRM} = sub { die "late\n" };
        alarm 100 * @scenarios + 30;
        while (my $line = <$out>) {
            chomp $line;
            if ($line =~ /^(not )?ok - (\S+)(.*)/) {
                $failed = $1;
                delete $missing{$2};
                ok(!$1, "$title: $2$3");
            } elsif ($failed) {
                diag($line);
            } else {
                note($line);
            }
        }
        1;
    };
    alarm 0;
    stop($pid) if !$whole;
    close $out;
    delete $running{$pid};
    fail("$title: no word about $_") for sort keys %missing;
}

# stay TITLE, PEER, PREFIX, COMMAND: starts a driver whose consumer stays until
# the returned function is called
sub stay {
    my ($title, $peer, $prefix, $command) = @_;
    prepare($peer, $prefix, 'stay');
    my $pid = open2(my $out, my $in, @$command, $peer->{ns}, $prefix, 'stay');
    $running{$pid} = $title;
    local $SIG{ALRM} = sub { die "$title: the consumer does not come up\n" };
    alarm 60;
    while (1) {
        my $line = <$out> // die "$title: the consumer ended\n";
        last if $line =~ /^# staying/;
    }
    alarm 0;
    return sub {
        close $in;
        local $SIG{ALRM} = sub { die "$title: the consumer does not leave\n" };
        alarm 60;
        like(join('', <$out>), qr/^ok - stay/m, "$title: stay");
        alarm 0;
        waitpid $pid, 0;
        delete $running{$pid};
    };
}

1;
