# What the tests of full and failing disks share: messages that are remembered once they are acknowledged, and what must
# hold of a broker while its disk fails.
#
#     use Disk;
#     Disk::alone('tmpfs');                # mounts of its own, as root or as a user; or skips the test
#     my $d = Disk->new($m);               # on a Mqfs broker: makes TopicA (one queue is used) and g1
#     my $r = $d->send($wire);             # {code remark ...}; a body of 4,000 bytes, with the key "keyN"
#     $d->reads('what'); $d->goes_on('what'); $d->resumes('what');        # tests
package Disk;
use strict;
use warnings;
use Mqfs;
use Test::More;
use Time::HiRes qw(time);

# Starts the test again where its mounts are its own and go with it: with the right to mount, even if the user has none.
sub alone {
    return if $ENV{MQFS_TEST_ALONE};
    my @how = $> == 0 ? ('-m') : ('-Urm');
    system("unshare @how true 2>/dev/null") == 0
        or plan skip_all => $> == 0 ? 'no mounts of its own (unshare -m) are allowed here, though this is root'
                                    : 'not root, and no user namespaces (unshare -Urm) are allowed here: nothing can be mounted';
    $ENV{MQFS_TEST_ALONE} = $> == 0 ? 'root' : 'user';
    exec 'unshare', @how, $^X, $0, @ARGV or die "unshare: $!";
}

# Whether this is root for the kernel too, which loop devices want.
sub is_real_root { return $> == 0 && ($ENV{MQFS_TEST_ALONE} // 'root') eq 'root' }
sub can_mount_tree { return -r '/dev/fuse' && -w '/dev/fuse' && sysopen(my $f, '/dev/fuse', 2) }

sub new {
    my ($class, $m) = @_;
    my $self = bless {m => $m, n => 0, acked => []}, $class;
    is($self->put_topic('TopicA')->{code}, 0, 'a topic');
    is(rpc($m->{port}, 200, {}, '{"groupName":"g1"}')->{code}, 0, 'a group');
    return $self;
}

sub put_topic {
    my ($self, $name) = @_;
    return rpc($self->{m}{port}, 17, {topic => $name, defaultTopic => 'TBW102', readQueueNums => 2, writeQueueNums => 2,
        perm => 6, topicFilterType => 'SINGLE_TAG', topicSysFlag => 0, order => 'false'});
}

sub has_topic {
    my ($self, $name) = @_;
    return rpc($self->{m}{port}, 351, {topic => $name})->{code} == 0;
}

sub send {
    my ($self, $wire) = @_;
    my $body = "message $self->{n} " . 'x' x 4000;
    my $r = send_message($wire, 'TopicA', 0, $body, KEYS => "key$self->{n}");
    $self->{n}++;
    $self->{acked}[$r->{ext}{queueOffset}] = $body if $r->{code} == 0;
    return $r;
}

# How many of so many are taken.
sub send_some {
    my ($self, $n) = @_;
    my $wire = wire($self->{m}{port});
    return scalar grep { $self->send($wire)->{code} == 0 } 1 .. $n;
}

# The answer that refuses with SERVICE_NOT_AVAILABLE, within so many messages or 30 s; before it FLUSH_DISK_TIMEOUT may come.
sub send_until_refused {
    my ($self, $most) = @_;
    my $wire = wire($self->{m}{port});
    my $end = time + 30;
    my $r = {code => 'never refused'};
    for (1 .. $most // 6000) {
        $r = $self->send($wire);
        last if $r->{code} == 14 || time > $end;
    }
    return $r;
}

sub has_key {
    my ($self, $key) = @_;
    return rpc($self->{m}{port}, 12, {topic => 'TopicA', key => $key, maxNum => 1, beginTimestamp => 0, endTimestamp => 4e12});
}

# Every acknowledged message is there, in its place, and right; what was not acknowledged may be between them.
sub reads {
    my ($self, $what) = @_;
    my $wire = wire($self->{m}{port});
    my $acked = $self->{acked};
    my ($at, $wrong, $why) = (0, 0, '');
    while ($at < @$acked) {
        my $r = pull_messages($wire, 'g1', 'TopicA', 0, $at);
        if ($r->{code} != 0) { $why = "pull at $at: $r->{code} $r->{remark}"; last }
        for (my $p = 0; $p < length $r->{body}; $at++) {
            my ($size) = unpack 'N', substr $r->{body}, $p, 4;
            my $is = unpack 'N', substr $r->{body}, $p + 24, 4;
            # One that was not acknowledged may be lost again when the system forgets what it could not write.
            $wrong += defined $acked->[$at++] while $at < $is;
            my ($length) = unpack 'N', substr $r->{body}, $p + 84, 4;
            $wrong++ if defined $acked->[$at] && substr($r->{body}, $p + 88, $length) ne $acked->[$at];
            $p += $size;
        }
    }
    ok($at >= @$acked && $wrong == 0, "$what: all " . @$acked . " acknowledged messages are read, $wrong wrong")
        or diag("$at read; $why");
    return if !$self->{m}{o}{mount};
    my $i = int rand @$acked;
    $i++ while !defined $acked->[$i];
    is(slurp(sprintf '%s/TopicA/0/messages/%020d', $self->{m}{mnt}, $i), $acked->[$i], "$what: the mount shows message $i");
}

# What needs no disk.
sub goes_on {
    my ($self, $what) = @_;
    my $wire = wire($self->{m}{port});
    my $at = ++$self->{committed};
    is($wire->call(15, {consumerGroup => 'g1', topic => 'TopicA', queueId => 0, commitOffset => $at})->{code}, 0,
        "$what: a consumer commits");
    is($wire->call(14, {consumerGroup => 'g1', topic => 'TopicA', queueId => 0})->{ext}{offset}, $at, "$what: and reads it back");
    ok(!$self->{m}->ended, "$what: the broker lives");
    is(slurp("$self->{m}{mnt}/TopicA/perm"), "6\n", "$what: the mount goes on") if $self->{m}{o}{mount};
}

# Writes are on again within some seconds, with nobody's help.
sub resumes {
    my ($self, $what) = @_;
    my $wire = wire($self->{m}{port});
    my $began = time;
    my $sent = eval { await('an accepted message', 30, sub { $self->send($wire)->{code} == 0 }) };
    ok($sent, sprintf "%s: writing resumes by itself, after %.1f s", $what, time - $began) or diag(slurp($self->{m}{log}));
}

1;
