# What the tests of real clients share: a broker of one's own under test, an
# mqadmin that stays, and the running of drivers that print TAP.
package Peer;
use strict;
use warnings;
use Cwd qw(abs_path);
use Exporter qw(import);
use File::Basename qw(dirname);
use lib dirname(abs_path(__FILE__)) . '/../lib';
use Apache;
use IPC::Open2;
use Mqfs;
use Running;
use Test::More;

our @EXPORT = qw($PEER $CLIENTS start_peer mqadmin prepare run_driver java run_java stay await);

our $PEER = $ENV{MQ_PEER} || 'mqfs';
our $CLIENTS = Mqfs::clients();
my $HERE = dirname(abs_path(__FILE__));
# short-lived JVMs: start quickly, stay small
my @JVM = (qw(-Xmx256m -XX:+UseSerialGC -XX:-UsePerfData -XX:TieredStopAtLevel=1 -Xshare:auto),
    "-Drmq.logback.configurationFile=$HERE/java/logback.xml");

# Does the name server list the broker? Apache's registers only 10 s after its
# start, or when its permission is set.
sub registered {
    my ($nsport, $port) = @_;
    return eval {
        rpc($port, 25, {}, 'brokerPermission=6') if $PEER eq 'apache';
        rpc($nsport, 106)->{body} =~ /"DefaultCluster":\["broker-a"\]/;
    };
}

sub start_apache {
    my %conf = @_;
    my ($ns, $port) = free_ports(2);
    my $dir = apache_dir();
    my $pid = apache_start($dir, $ns, $port, %conf);
    await('a registered broker', 60, sub { registered($ns, $port) });
    return {ns => "127.0.0.1:$ns", addr => "127.0.0.1:$port", dir => $dir, log => "$dir/apache.log", pid => $pid};
}

sub start_mqfs {
    my %conf = @_;
    my $m = Mqfs->start({mount => delete $conf{MOUNT} // 0}, mappedFileSizeCommitLog => 16777216,
        mappedFileSizeConsumeQueue => 6000000, %conf);
    await('a registered broker', 60, sub { registered($m->{ns}, $m->{port}) });
    return {ns => "127.0.0.1:$m->{ns}", addr => "127.0.0.1:$m->{port}", dir => $m->{dir}, log => $m->{log},
        mnt => $m->{mnt}, pid => $m->{pid}};
}

# start_peer KEY => VALUE...: name server and broker with these lines in
# broker.conf; with MOUNT => 1 also mqfs's tree. Returns ns, addr, dir, log and mnt.
sub start_peer {
    my %start = (apache => \&start_apache, mqfs => \&start_mqfs);
    -d "$CLIENTS/classes-5.5.0" or BAIL_OUT('run tests/clients/setup first');
    $start{$PEER} or BAIL_OUT("MQ_PEER is apache or mqfs, not $PEER");
    my $peer = eval { $start{$PEER}->(autoCreateTopicEnable => 'false', autoCreateSubscriptionGroup => 'false', @_) };
    return $peer // BAIL_OUT("$PEER does not start: $@");
}

my ($to_admin, $from_admin);

# mqadmin PEER, WORDS...: what Apache's command prints. One JVM serves them all.
sub mqadmin {
    my ($peer, @words) = @_;
    if (!$to_admin) {
        my $pid = open2($from_admin, $to_admin, 'java', @JVM,
            "-Duser.home=$peer->{dir}/admin", "-Djava.io.tmpdir=$peer->{dir}",
            "-Drocketmq.home.dir=$peer->{dir}/admin",
            '-cp', "$CLIENTS/classes-5.5.0:$CLIENTS/jars-5.5.0/*",
            'AdminShell', $peer->{ns});
        mine($pid);
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
            rpc($nsport, 105, {topic => "$prefix-$s"})->{body} =~ /queueDatas/;
        });
    }
}

# java PEER, VERSION, PROPERTY...: the words that start the Java driver
sub java {
    my ($peer, $version, @properties) = @_;
    return ('java', @JVM, "-Duser.home=$peer->{dir}/java", "-Djava.io.tmpdir=$peer->{dir}",
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
    mine($pid);
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
    if ($whole) { await('its end', 20, sub { ended($pid) }) }
    else        { finish($pid) }
    close $out;
    fail("$title: no word about $_") for sort keys %missing;
}

# run_java VERSION, PREFIX: the scenarios of one version of the Java client, with both forms of the header
sub run_java {
    my ($version, $prefix) = @_;
    my $peer = start_peer();
    run_driver($version, $peer, $prefix, [java($peer, $version)], qw(tags broadcast
        orderly retry resume delay ways large find pull lite missing),
        # transactions are refused by mqfs so far: docs/protocol.md
        $PEER eq 'apache' ? 'transaction' : ());
    run_driver("$version binary header", $peer, "${prefix}b",
        [java($peer, $version, '-Drocketmq.serialize.type=ROCKETMQ')], qw(tags retry ways pull));
}

# stay TITLE, PEER, PREFIX, COMMAND: starts a driver whose consumer stays until
# the returned function is called
sub stay {
    my ($title, $peer, $prefix, $command) = @_;
    prepare($peer, $prefix, 'stay');
    my $pid = open2(my $out, my $in, @$command, $peer->{ns}, $prefix, 'stay');
    mine($pid);
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
        await('its end', 20, sub { ended($pid) });
    };
}

1;
