# A broker of one's own for tests: started in a directory under /tmp, on free
# ports, waited for by condition, stopped and cleaned up whatever happens. And a
# remoting client (JSON headers) that is small enough to send bad things.
#
#     use lib 'tests/lib'; use Mqfs;
#     my $m = Mqfs->start(autoCreateTopicEnable => 'false');   # with mount
#     my $m = Mqfs->start({mount => 0});                       # without
#     $m->{mnt} $m->{dir} $m->{port} $m->{ns} $m->{log}
#     $m->stop; $m->kill9; $m->again;                          # the same store, a second start
#     my $r = rpc($m->{port}, 310, \%ext, $body);              # {code remark ext body}
#     my $r = send_message($m->{port}, 'TopicA', 0, 'body', TAGS => 'a');
#
# MQ_BUILD is the build directory (default BUILD, or build), MQ_KEEP=1 keeps the files.
package Mqfs;
use strict;
use warnings;
use Cwd qw(abs_path);
use Exporter qw(import);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use IO::Socket::INET;
use POSIX ();
use Running qw(await free_ports launch status_of finish at_end);
use Test::More;
use Time::HiRes qw(time);

our @EXPORT = qw(await rpc wire send_message pull_messages query_messages sh as slurp spew put free_ports);

my $ROOT = abs_path(dirname(__FILE__) . '/../..');
my $BUILD = abs_path($ENV{MQ_BUILD} || $ENV{BUILD} || "$ROOT/build") // "$ROOT/build";

sub build { $BUILD }
sub root { $ROOT }

# Where tests/clients/setup has put the real clients.
sub clients { return (abs_path($ENV{BUILD} || "$ROOT/build") // "$ROOT/build") . '/clients' }

# start [\%options], KEY => VALUE...: a broker with these lines in broker.conf.
# options: mount (default 1), namesrv (1), args => [more words], dir => reuse this directory,
# wait (1): until it serves. Dies with the log when it does not start.
sub start {
    my $class = shift;
    my %o = (mount => 1, namesrv => 1, args => [], wait => 1, ref $_[0] ? %{+shift} : ());
    my ($ns, $port) = free_ports(2);
    my $dir = $o{dir} || tempdir('mqfs-test-XXXXXX', TMPDIR => 1);
    chmod 0755, $dir;
    my %conf = (brokerClusterName => 'DefaultCluster', brokerName => 'broker-a', brokerId => 0,
        brokerIP1 => '127.0.0.1', bindAddress => '127.0.0.1', listenPort => $port,
        namesrvAddr => "127.0.0.1:$ns", storePathRootDir => "$dir/store",
        mappedFileSizeCommitLog => 1048576, mappedFileSizeConsumeQueue => 60000, @_);
    my $self = bless {o => \%o, conf => \%conf, dir => $dir, mnt => "$dir/mq", port => $conf{listenPort},
        ns => $ns, log => "$dir/broker.log", config => "$dir/broker.conf"}, $class;
    at_end(sub { $self->_clean });
    spew($self->{config}, join '', map { "$_=$conf{$_}\n" } sort keys %conf);
    $self->_spawn;
    return $self;
}

sub _spawn {
    my $self = shift;
    my @words = ("$BUILD/mqbroker", $self->{o}{namesrv} ? '--with-namesrv' : (), '-c', $self->{config},
        $self->{o}{mount} ? ('--mount', $self->{mnt}) : (), @{$self->{o}{args}});
    -x $words[0] or BAIL_OUT("there is no $words[0]: run make");
    $self->{pid} = launch($self->{log}, @words);
    return if !$self->{o}{wait};
    eval { await('the broker', 30, sub { $self->ready }); 1 } and return;
    my $why = $@;
    diag($why, slurp($self->{log}));
    $self->stop;
    die "mqbroker does not start: $why";
}

sub ready {
    my $self = shift;
    die "it ended\n" if $self->ended;
    my $r = eval { rpc($self->{port}, 28, {}) } or return 0;      # GET_BROKER_RUNTIME_INFO
    return 1 if !$self->{o}{mount};
    opendir my $d, "$self->{mnt}/groups" or return 0;     # stat might be answered from a stale mount's cache
    return 1;
}

# True when the process is gone; $m->{status} is then its wait status.
sub ended {
    my $self = shift;
    return 1 if !$self->{pid};
    Running::ended($self->{pid}) or return 0;
    $self->{status} = status_of(delete $self->{pid});
    return 1;
}

# SIGTERM, and waits. True when it ended by itself with status 0.
sub stop {
    my $self = shift;
    local ($?, $@, $!);
    return 1 if $self->ended;
    $self->{status} = finish(delete $self->{pid});
    return $self->{status} == 0 if defined $self->{status};
    diag("the broker did not end on SIGTERM\n", slurp($self->{log}));
    return 0;
}

sub kill9 {
    my $self = shift;
    $self->{status} = finish(delete $self->{pid}, 'KILL') if $self->{pid};
}

# The same broker again, on the same store and ports, after stop or kill9.
sub again { my $self = shift; $self->stop; $self->_spawn }

sub _clean {
    my $self = shift;
    $self->stop;
    # lstat-like: a stale mount answers ENOTCONN, a live one of ours must not be walked into
    for (1 .. 4) {
        my $mounted = grep { (split)[1] eq $self->{mnt} } _lines('/proc/mounts');
        last if !$mounted;
        system('umount', '-l', $self->{mnt}) == 0 or last;
    }
    return if $ENV{MQ_KEEP};
    return if grep { (split)[1] eq $self->{mnt} } _lines('/proc/mounts');
    system('rm', '-rf', '--one-file-system', '--', $self->{dir});
}

sub _lines { open my $f, '<', shift or return; return <$f> }

# ---- files ----

sub slurp {
    my $path = shift;
    open my $f, '<:raw', $path or return undef;
    local $/;
    my $text = <$f>;
    return $text // '';
}

sub spew {
    my ($path, $text) = @_;
    open my $f, '>:raw', $path or die "$path: $!";
    print {$f} $text;
    close $f or die "$path: $!";
}

# put PATH, TEXT: one open(O_TRUNC), one write, one close, as echo does it. 0, or the errno.
sub put {
    my ($path, $text) = @_;
    sysopen(my $f, $path, POSIX::O_WRONLY | POSIX::O_TRUNC) or return $! + 0;
    my $n = syswrite $f, $text;
    return $! + 0 if !defined $n;
    close $f or return $! + 0;
    return 0;
}

# What a child prints that runs CODE, and its status before it: (status, text), or the text
sub _output_of {
    my ($code) = @_;
    my $pid = open my $out, '-|';
    defined $pid or die "fork: $!";
    if (!$pid) {
        open STDERR, '>&', \*STDOUT;
        $ENV{LC_ALL} = 'C';
        $code->();
        POSIX::_exit(127);
    }
    local $/;
    my $text = <$out> // '';
    local ($!, $@);
    close $out;
    return ($? >> 8, $text) if wantarray;
    return $text;
}

# sh COMMAND, ARGS...: (status, all it printed). The command is text for sh -c, the arguments its $1 $2...
sub sh {
    my ($command, @args) = @_;
    return _output_of(sub { exec 'sh', '-c', $command, 'sh', @args });
}

# as USER, GROUP, COMMAND, ARGS...: the same as another user, in that group only; for tests that run as root
sub as {
    my ($user, $group, $command, @args) = @_;
    my $uid = getpwnam $user;
    my $gid = getgrnam $group;
    defined $uid && defined $gid or die "no user $user or no group $group\n";
    return _output_of(sub {
        $) = "$gid $gid";
        POSIX::setgid($gid);
        POSIX::setuid($uid);
        $< == $uid && $> == $uid or POSIX::_exit(126);
        exec 'sh', '-c', $command, 'sh', @args;
    });
}

# ---- the wire ----

# wire PORT: a connection; ->call(code, \%ext, body) ->oneway(...) ->raw(bytes) ->receive(seconds)
sub wire { return Mqfs::Wire->new(@_) }

# rpc PORT, CODE, \%ext, BODY: one request on a connection of its own; its answer, or dies
sub rpc {
    my ($port, @request) = @_;
    return Mqfs::Wire->new($port)->call(@request);
}

sub properties {
    my %p = @_;
    return join '', map { "$_\x01$p{$_}\x02" } sort keys %p;
}

# send_message PORT or wire, TOPIC, QUEUE, BODY, PROPERTY => VALUE...: SEND_MESSAGE_V2. Not properties, though given
# like them: producerGroup, sysFlag
sub send_message {
    my ($to, $topic, $queue, $body, %properties) = @_;
    my $group = delete $properties{producerGroup} // 'mqfs-test-producer';
    my $flags = delete $properties{sysFlag} // 0;
    $to = Mqfs::Wire->new($to) if !ref $to;
    return $to->call(310, {a => $group, b => $topic, c => 'TBW102', d => 4, e => $queue, f => $flags,
        g => int(time * 1000), h => 0, i => properties(%properties), j => 0, k => 'false', l => 0, m => 'false'}, $body);
}

# pull_messages PORT or wire, GROUP, TOPIC, QUEUE, OFFSET: PULL_MESSAGE that does not wait
sub pull_messages {
    my ($to, $group, $topic, $queue, $offset) = @_;
    $to = Mqfs::Wire->new($to) if !ref $to;
    return $to->call(11, {consumerGroup => $group, topic => $topic, queueId => $queue, queueOffset => $offset,
        maxMsgNums => 32, sysFlag => 4, commitOffset => 0, suspendTimeoutMillis => 0, subscription => '*',
        subVersion => 0, expressionType => 'TAG'});
}

# query_messages PORT or wire, TOPIC, KEY, FIELD => VALUE...: QUERY_MESSAGE over all times; the bodies that are found,
# in the reply's order, or "code N"
sub query_messages {
    my ($to, $topic, $key, %more) = @_;
    $to = Mqfs::Wire->new($to) if !ref $to;
    my $r = $to->call(12, {topic => $topic, key => $key, maxNum => 64, beginTimestamp => 0,
        endTimestamp => '9223372036854775807', %more});
    return "code $r->{code}" if $r->{code};
    my ($p, @got) = 0;
    while ($p < length $r->{body}) {
        my ($size) = unpack 'N', substr $r->{body}, $p, 4;
        my ($n) = unpack 'N', substr $r->{body}, $p + 84, 4;
        push @got, substr $r->{body}, $p + 88, $n;
        $p += $size;
    }
    return "@got";
}

package Mqfs::Wire;
use strict;
use warnings;
use IO::Select;
use JSON::PP;
use Time::HiRes qw(time);

my $json = JSON::PP->new->utf8->canonical->allow_nonref;

sub new {
    my ($class, $port) = @_;
    my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port, Timeout => 5)
        or die "connect to port $port: $@\n";
    binmode $s;
    return bless {s => $s, opaque => 0, in => ''}, $class;
}

# The bytes of a request frame.
sub frame {
    my ($self, $code, $ext, $body, $flag) = @_;
    $body //= '';
    my $head = $json->encode({code => 0 + $code, flag => $flag || 0, language => 'OTHER', opaque => ++$self->{opaque},
        serializeTypeCurrentRPC => 'JSON', version => 495,
        extFields => {map { $_ => "$ext->{$_}" } keys %{$ext || {}}}});
    return pack('NN', 4 + length($head) + length $body, length $head) . $head . $body;
}

sub raw {
    my ($self, $bytes) = @_;
    my $at = 0;
    while ($at < length $bytes) {
        my $n = syswrite $self->{s}, $bytes, length($bytes) - $at, $at;
        defined $n or die "write: $!\n";
        $at += $n;
    }
}

# The next frame: {code flag opaque remark ext body}, undef at the end of the stream; dies after SECONDS.
sub receive {
    my ($self, $seconds) = @_;
    my $end = time + ($seconds // 10);
    while (length $self->{in} < 4 || length $self->{in} < 4 + unpack 'N', $self->{in}) {
        my $left = $end - time;
        die "no answer in time\n" if $left <= 0 || !IO::Select->new($self->{s})->can_read($left);
        my $n = sysread $self->{s}, $self->{in}, 65536, length $self->{in};
        return undef if !$n;
    }
    my $frame = substr $self->{in}, 0, 4 + unpack('N', $self->{in}), '';
    my (undef, $head_length) = unpack 'NN', $frame;
    my $head = $json->decode(substr $frame, 8, $head_length & 0xffffff);
    return {code => $head->{code}, flag => $head->{flag}, opaque => $head->{opaque}, remark => $head->{remark},
        ext => $head->{extFields} || {}, body => substr($frame, 8 + ($head_length & 0xffffff))};
}

# A request and its answer; requests of the broker that come between are kept in {asked}.
sub call {
    my ($self, $code, $ext, $body) = @_;
    $self->raw($self->frame($code, $ext, $body));
    my $opaque = $self->{opaque};
    while (my $r = $self->receive) {
        return $r if $r->{flag} & 1 && $r->{opaque} == $opaque;
        push @{$self->{asked}}, $r;
    }
    die "the connection was closed\n";
}

sub oneway {
    my ($self, $code, $ext, $body) = @_;
    $self->raw($self->frame($code, $ext, $body, 2));
}

1;
