#!/usr/bin/perl
# The life of a mount: killed runs, unmounting from outside, directories that
# cannot be mounted on, a system without /dev/fuse.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Mqfs;
use Errno qw(ENOTCONN);
use POSIX ();
use Test::More;

sub mounts { my $dir = shift; return grep { (split)[1] eq $dir } split /^/, slurp('/proc/mounts') }

my $m = Mqfs->start(autoCreateTopicEnable => 'false');
my $mq = $m->{mnt};
is(scalar(mounts($mq)), 1, 'mounted once');
is(sh('mkdir $1/TopicA $1/groups/g1 && echo > $1/groups/g1/bindings/TopicA', $mq), '', 'a topic, a group, a binding');
send_message($m->{port}, 'TopicA', 0, "m$_") for 1 .. 3;

my @unnamed = grep { slurp($_) eq "mqbroker\n" } glob "/proc/$m->{pid}/task/*/comm";
is(scalar(@unnamed), 1, 'every thread but the first has a name of its own, for top -H');

# ---- kill -9, and a start on what it left ----
for my $round (1 .. 2) {
    $m->kill9;
    ok(!opendir(my $d, $mq) && $! == ENOTCONN, 'killed: the mount is stale');
    $m->again;
    is(scalar(mounts($mq)), 1, '... the next start cleans it up and mounts once');
    is(sh('cat $1/TopicA/0/offset $1/groups/g1/bindings/TopicA', $mq), "3\n*\n", '... and everything is there');
}

# ---- stopped while somebody is in it ----
chdir "$mq/TopicA" or die $!;
open my $held, '<', "$mq/TopicA/perm" or die $!;
ok($m->stop, 'a stop with a file open and a working directory in it is clean');
ok(!defined(sysread $held, my $x, 10), '... the open file answers an error');
close $held;
chdir '/';
is(scalar(mounts($mq)), 0, '... and it is unmounted');
$m->again;

# ---- its terminal goes away ----
is(Running::finish(delete $m->{pid}, 'HUP'), 0, 'SIGHUP is a clean stop');
is(scalar(mounts($mq)), 0, '... unmounted');
$m->again;

# ---- unmounted from outside ----
SKIP: {
    skip 'umount needs root', 3 if $>;
    is(sh('umount $1', $mq), '', 'umount from outside');
    is(send_message($m->{port}, 'TopicA', 0, 'm4')->{code}, 0, '... the broker goes on');
    ok($m->stop, '... and stops cleanly');
    $m->again;
    is(slurp("$mq/TopicA/0/offset"), "4\n", '... and mounts again');
}
ok($m->stop, 'a clean stop');

# ---- a directory that is in use ----
spew("$mq/file", 'mine');
$m->{o}{mount} = 0;         # to wait for the broker only
push @{$m->{o}{args}}, '--mount', $mq;
$m->again;
like(slurp($m->{log}), qr/\Q$mq\E.* not empty/, 'a directory with something in it is not mounted on');
is(slurp("$mq/file"), 'mine', '... and what is in it stays');
is(send_message($m->{port}, 'TopicA', 0, 'm5')->{code}, 0, '... the broker runs without');
$m->stop;
unlink "$mq/file";

# ---- no /dev/fuse ----
SKIP: {
    skip 'hiding /dev/fuse needs root', 3 if $>;
    my ($status) = sh('unshare -m true');
    skip 'hiding /dev/fuse needs unshare', 3 if $status;
    my $dir = $m->{dir};
    my $log = "$dir/no-fuse.log";
    my $pid = fork // die $!;
    if (!$pid) {
        open STDOUT, '>', $log;
        open STDERR, '>&', \*STDOUT;
        exec 'unshare', '-m', 'sh', '-c', 'mount -t tmpfs none /dev && exec "$@"', 'sh',
            Mqfs::build() . '/mqbroker', '--with-namesrv', '-c', $m->{config}, '--mount', $mq
            or POSIX::_exit(127);
    }
    my $up = eval { await('the broker', 20, sub { eval { rpc($m->{port}, 28, {}) } }) };
    ok($up, 'without /dev/fuse the broker runs');
    like(slurp($log), qr{/dev/fuse}, '... and says what is missing');
    kill TERM => $pid;
    waitpid $pid, 0;
    is($?, 0, '... and stops cleanly');
}
done_testing();
