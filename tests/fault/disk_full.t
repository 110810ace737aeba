#!/usr/bin/perl
# A disk that fills up under load, and one that becomes read-only: writes are turned away with Apache's code, reads,
# offsets and the mount go on, and writing resumes by itself (R-STORE-26; alibaba/rocketmq issue 331: writes stayed
# off after the disk had room again). As root or, where user namespaces are allowed, as any user.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Disk;
use File::Temp qw(tempdir);
use Mqfs;
use Test::More;
use Time::HiRes qw(time);

Disk::alone();
my $owner = $$;
my $disk = tempdir('mqfs-full-XXXXXX', TMPDIR => 1);
my $m;
END {
    if ($$ == $owner && $disk) {
        local ($?, $@, $!);
        $m->stop if $m;
        system "umount -l '$disk/store/commitlog' 2>/dev/null";
        system "umount -l '$disk' 2>/dev/null";
        rmdir $disk;
    }
}
system('mount', '-t', 'tmpfs', '-o', 'size=48m', 'mqfs-test', $disk) == 0 or plan skip_all => 'no tmpfs can be mounted here';
# What others have there, and will delete.
system("fallocate -l 16m '$disk/others$_'") == 0 or BAIL_OUT('fallocate') for 1, 2;

my $tree = Disk::can_mount_tree() ? 1 : 0;
note('without the tree: /dev/fuse cannot be opened by this user') if !$tree;
$m = Mqfs->start({mount => $tree}, storePathRootDir => "$disk/store", autoCreateSubscriptionGroup => 'true',
    flushConsumerOffsetInterval => 100, maxHashSlotNum => 1000, maxIndexNum => 20000,
    # retention must not make room here, nor turn writes away earlier: that has tests of its own
    cleanFileForciblyEnable => 'false', cleanResourceInterval => 600_000);
my $d = Disk->new($m);

for my $round (1 .. 2) {
    my $r = $d->send_until_refused;
    is($r->{code}, 14, "round $round, full disk: refused with SERVICE_NOT_AVAILABLE") or diag($r->{remark});
    like($r->{remark}, qr/No space left|disk/i, 'the remark says why');
    ok(@{$d->{acked}} > 100, 'after ' . @{$d->{acked}} . ' messages');
    my $wire = wire($m->{port});
    my %codes;
    my $until = time + 2;
    while (time < $until) { $codes{$d->send($wire)->{code}}++ }
    is(join(' ', sort keys %codes), '14', 'under load for 2 s more: each is refused, none is half taken');
    $d->reads("round $round, full disk");
    $d->goes_on("round $round, full disk");
    # the same broker keeps its topics: a change that cannot be written is refused, and is not there
    my $fits = $d->put_topic("Late$round")->{code} == 0;
    is($d->has_topic("Late$round") ? 1 : 0, $fits ? 1 : 0, $fits ? 'a topic still fits' : 'a refused topic is not there');
    unlink "$disk/others$round" or BAIL_OUT("unlink: $!");
    $d->resumes("round $round, room again (alibaba/rocketmq 331)");
    $d->reads("round $round, room again");
}

$m->stop;
ok(!-e "$disk/store/abort", 'a clean stop of a disk that was full');
$m->again;
$d->reads('after a restart');

# The kernel makes no file system read-only while somebody has files of it mapped for writing (but for one that fails:
# below). Its no must not harm.
ok(system("mount -o remount,ro '$disk' 2>/dev/null") != 0, 'the kernel refuses remount,ro under a running broker');
is($d->send_some(3), 3, 'which goes on writing');
# So the log's directory is covered by itself, read-only: what is mapped lives on, new files meet EROFS.
my $log_dir = "$disk/store/commitlog";
SKIP: {
    system('mount', '--bind', $log_dir, $log_dir) == 0 && system('mount', '-o', 'remount,bind,ro', $log_dir) == 0
        or skip 'no bind mounts here', 1;
    my $r = $d->send_until_refused;
    is($r->{code}, 14, 'read-only disk: refused') or diag($r->{remark});
    like($r->{remark}, qr/Read-only file system/, 'the remark says why');
    $d->reads('read-only disk');
    $d->goes_on('read-only disk');
    system('umount', $log_dir) == 0 or BAIL_OUT('umount');
    $d->resumes('writable again');
    $d->reads('writable again');
}

$m->kill9;
$m->again;
$d->reads('after kill -9');
ok($m->stop, 'a clean stop');

# ---- a file system that has made itself read-only, as ext4 does when its device fails ----
SKIP: {
    Disk::is_real_root() or skip 'only root can use a loop device', 1;
    my $image = "$disk/image";
    system("rm -rf --one-file-system '$disk/store'; truncate -s 24M '$image' && mkdir '$disk/ext4' && mkfs.ext4 -q '$image' && "
        . "mount -o loop,errors=remount-ro '$image' '$disk/ext4'") == 0 or skip 'no ext4 on a loop device here', 1;
    $m = Mqfs->start({mount => $tree}, storePathRootDir => "$disk/ext4/store", autoCreateSubscriptionGroup => 'true',
        flushDiskType => 'SYNC_FLUSH', syncFlushTimeout => 2000, maxHashSlotNum => 1000, maxIndexNum => 20000);
    $d = Disk->new($m);
    is($d->send_some(600), 600, 'ext4: 600 messages in three files of the log, each confirmed by the disk');
    ok($m->stop, 'ext4: a clean stop');
    $m->again;                           # so that nobody has read them since the start
    is(system("mount -o remount,abort '$disk/ext4'"), 0, 'ext4: its journal is aborted');
    like(slurp('/proc/self/mountinfo'), qr/\Q$disk\E\/ext4 .*(\bro\b|emergency_ro)/, 'it is read-only');
    $d->reads('ext4, read-only, not touched since the start');
    my $r = $d->send_until_refused;
    is($r->{code}, 14, 'ext4, read-only: refused with SERVICE_NOT_AVAILABLE');
    like($r->{remark}, qr/Read-only file system|could not be had|Input\/output error/, 'the remark says why') or diag($r->{remark});
    isnt($d->put_topic('Late')->{code}, 0, 'a topic that cannot be written is refused');
    ok(!$d->has_topic('Late'), 'and is not there');
    $d->reads('ext4, read-only');
    $d->goes_on('ext4, read-only');
    is($d->send_until_refused->{code}, 14, 'it stays so: such a file system has to be mounted again');
    $m->kill9;
    system "umount -l '$m->{mnt}' 2>/dev/null";
    is(system("umount '$disk/ext4' && mount -o loop,errors=remount-ro '$image' '$disk/ext4'"), 0, 'ext4: mounted again');
    $m->again;
    $d->reads('ext4, mounted again');
    $d->resumes('ext4, mounted again');
    ok($m->stop, 'ext4: a clean stop');
    system "umount '$disk/ext4'";
}
done_testing();
