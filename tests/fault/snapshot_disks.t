#!/usr/bin/perl
# Snapshots on file systems that clone files (xfs, btrfs: the log file being written is cloned) and that do not (ext4,
# tmpfs: it is closed, and linked): the same messages in both, and nothing of what comes later. Each on a loop device
# of its own, in a mount namespace that goes away with the test.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use File::Temp qw(tempdir);
use Mqfs;
use Test::More;

$> == 0 or plan skip_all => 'mounting needs root';
if (!$ENV{MQ_OWN_MOUNTS}) {
    sh('unshare -m true') eq '' or plan skip_all => 'no mount namespaces here';
    $ENV{MQ_OWN_MOUNTS} = 1;
    exec 'unshare', '-m', '--propagation', 'private', $^X, $0 or die "unshare: $!";
}

my %MAKE = (xfs => 'mkfs.xfs -q -m reflink=1 "$1"', btrfs => 'mkfs.btrfs -q "$1"', ext4 => 'mkfs.ext4 -q "$1"');
my $top = tempdir('mqfs-disks-XXXXXX', TMPDIR => 1);
my $owner = $$;
my @mounted;

END {
    if ($owner && $$ == $owner && $top) {
        local ($?, $@, $!);
        $_->stop for grep defined, our $m;
        system 'umount', '-l', $_ for @mounted;
        system 'rm', '-rf', '--one-file-system', '--', $top if !grep { (split)[1] =~ /^\Q$top\E/ } split /\n/, slurp('/proc/mounts');
    }
}

# Why it is not possible here, or ''.
sub mount_new {
    my ($type, $at) = @_;
    mkdir $at or die "$at: $!";
    my $image = "$top/$type.img";
    my ($status, $text) = sh('export PATH="$PATH:/usr/sbin:/sbin"; ' . ($type eq 'tmpfs' ? 'mount -t tmpfs none "$2"' :
        "truncate -s 400M \"\$1\" && $MAKE{$type} && mount -o loop \"\$1\" \"\$2\"") . ' 2>&1', $image, $at);
    return "no $type here: $text" if $status;
    push @mounted, $at;
    return '';
}

my @conf = (autoCreateTopicEnable => 'true', mappedFileSizeCommitLog => 16777216, mappedFileSizeConsumeQueue => 60000,
    messageIndexEnable => 'false');

sub send_range {
    my ($port, $from, $to) = @_;
    my $w = wire($port);
    for my $n ($from .. $to - 1) {
        my $r = send_message($w, 'TopicA', $n % 2, "<$n>" . 'x' x 4000);
        $r->{code} == 0 or die "send: $r->{code} $r->{remark}\n";
    }
}

# How many are there, in order and whole, as a broker on a copy gives them.
sub messages_in {
    my $snapshot = shift;
    my $there = tempdir('mqfs-disks-XXXXXX', TMPDIR => 1, CLEANUP => 1);
    my $why = sh('mkdir $2/store && tar cS -C $1 . | tar x -C $2/store', $snapshot, $there);
    return $why if $why ne '';
    my $c = Mqfs->start({mount => 0, namesrv => 0, dir => $there}, @conf);
    my ($w, $n) = (wire($c->{port}), 0);
    for my $q (0 .. 1) {
        for (my $at = 0;;) {
            my $r = pull_messages($w, 'CID_ONS-HTTP-PROXY', 'TopicA', $q, $at);
            last if $r->{code};
            my @got = $r->{body} =~ /<(\d+)>x{4000}/g or last;
            for (@got) { $n++ if $_ == 2 * $at++ + $q }
        }
    }
    $c->stop;
    return $n;
}

for my $type (qw(xfs btrfs ext4 tmpfs)) {
    SKIP: {
        my $why = mount_new($type, "$top/$type");
        skip $why =~ s/\n.*//sr, 7 if $why;
        our $m = Mqfs->start({mount => 0, namesrv => 0}, @conf, storePathRootDir => "$top/$type/store");
        my $clones = $type eq 'xfs' || $type eq 'btrfs';
        send_range($m->{port}, 0, 1500);                  # 6 MB: more than is copied
        is(rpc($m->{port}, 30001, {name => 's1'})->{code}, 0, "$type: a snapshot");
        my ($line) = slurp($m->{log}) =~ /(snapshot s1: .*)/;
        my ($bytes) = $line =~ /copied with (\d+) bytes/;
        if ($clones) {
            unlike($line, qr/goes on in a new file/, '... the log file is cloned, and goes on');
            is($bytes, 0, '... nothing is copied byte by byte');
        } else {
            like($line, qr/goes on in a new file/, '... the log file is closed');
            is((stat "$top/$type/store/snapshots/s1/commitlog/" . '0' x 20)[3], 2, '... and linked');
        }
        send_range($m->{port}, 1500, 1600);
        is(rpc($m->{port}, 30001, {name => 's2'})->{code}, 0, '... another one');
        send_range($m->{port}, 1600, 1700);
        is(messages_in("$top/$type/store/snapshots/s1"), 1500, '... the first has what was there');
        is(messages_in("$top/$type/store/snapshots/s2"), 1600, '... the second too');
        ok($m->stop, '... and it stops');
        system 'umount', pop @mounted;
        undef $m;
    }
}
done_testing;
