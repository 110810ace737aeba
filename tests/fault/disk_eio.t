#!/usr/bin/perl
# A disk that answers EIO, to reads, to writes, to syncs: a file system that fails on command (tests/fault/powerfs.c). The
# broker lives; what it cannot do is refused with a sentence, the rest goes on; and once the disk works again so does what
# may. A start on such a disk says what it cannot read (R-STORE-26, R-STORE-28).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Disk;
use File::Temp qw(tempdir);
use IPC::Open2;
use Mqfs;
use Test::More;
use Time::HiRes qw(time);

Disk::alone();
my $owner = $$;
my $disk = tempdir('mqfs-eio-XXXXXX', TMPDIR => 1);
my ($m, $powerfs, $from, $to);

sub power {
    my ($line, $want) = @_;
    print {$to} "$line\n";
    my $answer = <$from> // return 0;
    chomp $answer;
    die "powerfs said \"$answer\" to \"$line\"\n" if $answer !~ /^$want/;
    return 1;
}

END {
    if ($$ == $owner) {
        local ($?, $@, $!);
        eval { power('fail none', 'fail') } if $to;
        $m->stop if $m;
        close $to if $to;                # that ends it
        waitpid $powerfs, 0 if $powerfs;
        system "umount -l '$disk' 2>/dev/null";
        rmdir $disk;
    }
}

Disk::can_mount_tree() or plan skip_all => '/dev/fuse cannot be opened by this user: no file system that fails on command';
-x Mqfs::build() . '/tests/fault/powerfs' or plan skip_all => 'there is no powerfs: make fault-programs';
$powerfs = open2($from, $to, Mqfs::build() . '/tests/fault/powerfs', $disk);
$to->autoflush(1);
power('mount', 'mounted') or plan skip_all => 'no FUSE file system can be mounted here: neither as root nor as this user';

$m = Mqfs->start({}, storePathRootDir => "$disk/store", autoCreateSubscriptionGroup => 'true', flushDiskType => 'SYNC_FLUSH',
    syncFlushTimeout => 2000, flushConsumerOffsetInterval => 100, maxHashSlotNum => 1000, maxIndexNum => 20000);
my $d = Disk->new($m);

sub forget_pages {
    system "sync -f '$disk' 2>/dev/null";
    power('drop', 'dropped');
}

sub cat_errno {
    my ($path) = @_;
    open my $f, '<:raw', $path or return $!{EIO} ? 'EIO' : "$!";
    my $n = sysread $f, my $text, 65536;
    return defined $n ? "$n bytes" : $!{EIO} ? 'EIO' : "$!";
}

my $wire = wire($m->{port});
is($d->send_some(600), 600, '600 messages, in three files of the log');
await('the index', 10, sub { $d->has_key('key599')->{code} == 0 });

# ---- the log cannot be read ----
my $disk_says = qr/disk did not give|cannot be read|Input\/output error|could not be had/;
power('fail read commitlog', 'fail');
forget_pages();
my $r = pull_messages($wire, 'g1', 'TopicA', 0, 100);
# What is near the log's end goes from the page cache to the socket: there the connection can only be closed.
ok(($r->{code} == 1 && $r->{remark} =~ $disk_says), 'a pull: SYSTEM_ERROR, and why') or diag("$r->{code} $r->{remark}");
$wire = wire($m->{port});
$r = $wire->call(29, {topic => 'TopicA', queueId => 0, timestamp => int(time * 1000 - 1)});
ok($r->{code} == 1 && $r->{remark} =~ $disk_says, 'a search by time: the same') or diag("$r->{code} $r->{remark}");
$r = $wire->call(33, {offset => 0});
ok($r->{code} == 1 && $r->{remark} =~ $disk_says, 'a message by its place: the same') or diag("$r->{code} $r->{remark}");
$r = $d->has_key('key5');
ok($r->{code} == 1 && $r->{remark} =~ $disk_says, 'a query by key: the same') or diag("$r->{code} $r->{remark}");
is(cat_errno(sprintf '%s/TopicA/0/messages/%020d', $m->{mnt}, 5), 'EIO', 'a message in the tree: EIO');
is(cat_errno(sprintf '%s/TopicA/0/messages/%020d.json', $m->{mnt}, 5), 'EIO', 'and as JSON');
is(slurp("$m->{mnt}/TopicA/0/offset"), "600\n", 'the queue\'s end is known');
$r = $d->send($wire);
ok($r->{code} == 14 && $r->{remark} =~ /page of .*commitlog.* could not be had/, 'a send: SERVICE_NOT_AVAILABLE, naming the file')
    or diag("$r->{code} $r->{remark}");
$d->goes_on('the log cannot be read');
power('fail none', 'fail');
$d->resumes('the log can be read again');
$d->reads('the log can be read again');

# ---- a queue cannot be read ----
power('fail read 0', 'fail');
forget_pages();
$r = pull_messages($wire, 'g1', 'TopicA', 0, 100);
ok($r->{code} == 1 && $r->{remark} =~ $disk_says, 'a queue that cannot be read: a pull says so') or diag("$r->{code} $r->{remark}");
$r = $d->send($wire);
ok($r->{code} == 14 && $r->{remark} =~ /page of .*consumequeue.* could not be had/, 'so does a send') or diag("$r->{code} $r->{remark}");
$d->goes_on('a queue cannot be read');
power('fail none', 'fail');
$d->resumes('the queue can be read again');
$d->reads('the queue can be read again');

# ---- the index cannot be read ----
power('fail read index', 'fail');
forget_pages();
$r = $d->has_key('key5');
ok($r->{code} == 1 && $r->{remark} =~ $disk_says, 'an index that cannot be read: a query says so') or diag("$r->{code} $r->{remark}");
is(cat_errno("$m->{mnt}/index/files"), 'EIO', 'so does the tree');
is($d->send_some(5), 5, 'sends go on');
$d->goes_on('the index cannot be read');
power('fail none', 'fail');
my $key = 'key' . ($d->{n} - 1);
ok(eval { await('the index', 10, sub { $d->has_key($key)->{code} == 0 }) }, 'the indexer goes on by itself');

# ---- nothing can be written, nothing can be synced: what the disk holds is then unknown, so writes stay off ----
for my $what ('write', 'sync') {
    power("fail $what", 'fail');
    my $refused = $d->send_until_refused;
    ok($refused->{code} == 14 && $refused->{remark} =~ /writes are off/, "$what: refused with SERVICE_NOT_AVAILABLE");
    like($refused->{remark}, qr/Input\/output error/, "$what: the remark says why");
    $r = $d->put_topic("Late-$what");
    isnt($r->{code}, 0, "$what: a topic that cannot be written is refused") or diag($r->{code});
    ok(!$d->has_topic("Late-$what"), "$what: and is not there");
    $d->reads("$what fails");
    $d->goes_on("$what fails");
    power('fail none', 'fail');
    is($d->send($wire)->{code}, 14, "$what: writes stay off, though the disk works again");
    is($d->put_topic("Late-$what")->{code}, 0, "$what: topics can be made again");
    $m->kill9;
    $m->again;
    $wire = wire($m->{port});
    $d->reads("after a restart");
    $d->resumes('after a restart');
}

# ---- a start on a disk that cannot be read ----
for my $where (['commitlog', 'the log'], ['0', 'a queue']) {
    $m->kill9;
    power("fail read $where->[0]", 'fail');
    forget_pages();
    my $before = -s $m->{log};
    $m->{o}{wait} = 0;
    $m->again;
    eval { await('its end', 20, sub { $m->ended }) };
    $m->{o}{wait} = 1;
    my $said = substr slurp($m->{log}), $before;
    ok($m->ended && ($m->{status} & 127) == 0 && $m->{status} != 0, "$where->[1] cannot be read at start: it ends, with a status")
        or diag($m->{status} // 'it runs', $said);
    like($said, $disk_says, "$where->[1]: and says why") or diag($said);
    power('fail none', 'fail');
    $m->again;
    $d->reads("$where->[1] can be read again");
}
$m->kill9;
power('fail read index', 'fail');
forget_pages();
$m->again;
$d->reads('the index cannot be read at start: it starts');
power('fail none', 'fail');
ok(eval { await('the index', 20, sub { $d->has_key($key)->{code} == 0 }) }, 'and makes it again');
ok($m->stop, 'a clean stop');
done_testing();
