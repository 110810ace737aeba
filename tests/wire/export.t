#!/usr/bin/perl
# mqadmin snapshot, export, import: a running broker as one file, back by import or
# by plain tar, to exactly that point; and what may be wrong with such a file.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Mqfs;
use File::Temp qw(tempdir);
use Fcntl qw(O_RDWR O_NOCTTY);
use IO::Select;
use IO::Socket::INET;
use Test::More;
use Time::HiRes qw(sleep);

my $admin = Mqfs::build() . '/mqadmin';
my $m = Mqfs->start({mount => 0}, autoCreateTopicEnable => 'true', autoCreateSubscriptionGroup => 'true');
my @b = ('-b', "127.0.0.1:$m->{port}");
my $w = wire($m->{port});
my $dir = tempdir('mqfs-test-XXXXXX', TMPDIR => 1, CLEANUP => 1);
send_message($w, 'TopicA', $_ % 4, "m$_" . 'x' x 700, KEYS => "k$_") for 0 .. 2499;
is($w->call(200, {}, '{"groupName":"g1"}')->{code}, 0, 'a group');
is($w->call(15, {consumerGroup => 'g1', topic => 'TopicA', queueId => 1, commitOffset => 77})->{code}, 0, '... with an offset');

sub admin { my ($status, $text) = sh('"$@" 2>&1', $admin, @_); return ($status, $text) }

# A terminal of one's own (Linux): its master, and its name.
sub terminal {
    sysopen my $master, '/dev/ptmx', O_RDWR | O_NOCTTY or return;
    my ($locked, $number) = map { pack 'i', 0 } 1 .. 2;
    ioctl($master, 0x40045431, $locked) && ioctl($master, 0x80045430, $number) or return;     # TIOCSPTLCK, TIOCGPTN
    return ($master, '/dev/pts/' . unpack 'i', $number);
}

# What came to the terminal: all of it, once the last of its writers is gone.
sub shown {
    my ($master, $text) = (shift, '');
    1 while IO::Select->new($master)->can_read(10) && sysread $master, $text, 4096, length $text;
    return $text =~ s/\r\n/\n/gr;
}

# The entries of a pax tar: [{name, type, pax => {records}}]
sub tar_entries {
    my ($tar, $at, %pax, @got) = (slurp(shift), 0);
    while (substr($tar, $at, 512) =~ /[^\0]/) {
        my ($name, $size, $type, $magic) = unpack 'Z100 x24 a12 x20 a1 x100 a6', substr $tar, $at, 512;
        ($size) = map { oct } $size =~ /([0-7]+)/;
        push @got, {name => $name, type => $type, magic => $magic, pax => {%pax}} if $type ne 'x';
        %pax = ();
        for (my $text = $type eq 'x' ? substr $tar, $at + 512, $size : ''; $text =~ s/^(\d+) //;) {
            my ($key, $value) = substr($text, 0, $1 - 1 - length $1, '') =~ /^([^=]+)=(.*)\n\z/s or die "no pax record at $at\n";
            $pax{$key} = $value;
        }
        $at += 512 + int(($size + 511) / 512) * 512;
    }
    return @got;
}

# n messages of each queue of TopicA, all as sent, and the group's offset
sub check_copy {
    my ($what, $store, $n, $offset) = @_;
    my $c = Mqfs->start({mount => 0, namesrv => 0}, storePathRootDir => $store);
    unlike(slurp($c->{log}), qr/did not end cleanly|recovery:/, "$what: opens like one that was stopped cleanly");
    my $cw = wire($c->{port});
    my $good = 0;
    for my $q (0 .. 3) {
        my $max = $cw->call(30, {topic => 'TopicA', queueId => $q})->{ext}{offset};
        is($max, $n, "... $n messages in queue $q");
        for (my $at = 0; $at < $max;) {
            my $r = pull_messages($cw, 'CID_ONS-HTTP-PROXY', 'TopicA', $q, $at);
            last if $r->{code};
            for ($r->{body} =~ /(m\d+)x{700}/g) {
                $good++ if $_ eq 'm' . ($at * 4 + $q);
                $at++;
            }
        }
    }
    is($good, 4 * $n, '... each as it was sent');
    is($cw->call(14, {consumerGroup => 'g1', topic => 'TopicA', queueId => 1})->{ext}{offset}, $offset, '... and the offset');
    my $by_key = eval { await('the index', 20, sub {
        my $r = $cw->call(12, {topic => 'TopicA', key => 'k5', maxNum => 8, beginTimestamp => 0, endTimestamp => 9e12});
        $r->{code} == 0 && $r->{body} }) } // '';
    like($by_key, qr/m5x{700}/, '... found by key');
    is(send_message($cw, 'TopicA', 0, 'more')->{code}, 0, '... and it goes on');
    ok($c->stop, '... and stops');
}

# ---- snapshots over the wire ----
my ($status, $text) = admin('snapshot', 'create', 's1', @b);
is($status, 0, 'snapshot create');
like($text, qr{^s1\t\d{4}-\S+\t\d+\t\Q$m->{dir}\E/store/snapshots/s1$}, '... says where it is');
($status, $text) = admin('snapshot', 'create', 's1', @b);
is($status, 1, '... a name is taken once');
like($text, qr/is there already/, '... with a sentence');
like((admin('snapshot', 'create', '../x', @b))[1], qr/a snapshot's name/, 'a name that is none');
like((admin('snapshot', 'list', @b))[1], qr/^s1\t[^\n]+\n$/, 'snapshot list');
like((admin('snapshot', 'list', '-b', '127.0.0.1:1'))[1], qr/refused/, 'no broker');
isnt((admin('snapshot', 'delete', 'none', @b))[0], 0, 'delete of none');

# ---- export ----
send_message($w, 'TopicA', $_, 'y' x 700) for 0 .. 3;                 # behind s1
is((admin('export', "$dir/s1.tar.zst", '--snapshot', 's1', @b))[0], 0, 'export of a snapshot');
is((admin('export', "$dir/s1.tar", '--snapshot', 's1', '--level', 0, @b))[0], 0, '... as a plain tar');
cmp_ok(-s "$dir/s1.tar", '<', 2_500_000 + 16 * 65536, '... without what was never written: ' . (-s "$dir/s1.tar") . ' bytes');
cmp_ok(-s "$dir/s1.tar.zst", '<', (-s "$dir/s1.tar") / 5, '... compressed: ' . (-s "$dir/s1.tar.zst"));
my @entries = tar_entries("$dir/s1.tar");
is(join(' ', grep { $_ ne "ustar\0" } map { $_->{magic} } @entries), '', '... each entry of it is a POSIX one');
my ($log) = grep { ($_->{pax}{'GNU.sparse.name'} // '') =~ m{^commitlog/\d{20}$} } @entries;
is(join(' ', map { $log->{pax}{"GNU.sparse.$_"} // 'none' } qw(major minor realsize)), '1 0 1048576',
    '... whose pax header says that it is sparse, and how long it really is');
like((admin('export', "$dir/s1.tar", @b))[1], qr/is there already/, '... a file is never written over');
($status, $text) = admin('import', "$dir/s1.tar.zst", "$dir/imported");
is($status, 0, 'import');
is(sh('diff -r $1/store/snapshots/s1 $2/imported', $m->{dir}, $dir), '', '... gives the very files');
cmp_ok((split ' ', sh('du -sk $1/imported', $dir))[0], '<', 4500, '... which are sparse again');
is(sh('mkdir $1/tarred && tar x --zstd -f $1/s1.tar.zst -C $1/tarred', $dir), '', 'plain tar x --zstd');
is(sh('diff -r $1/store/snapshots/s1 $2/tarred', $m->{dir}, $dir), '', '... gives them too');
is(sh('mkdir $1/plain && tar x -f $1/s1.tar -C $1/plain && diff -r $1/plain $1/tarred', $dir), '', '... as does the plain one');
like(sh('tar t -f $1/s1.tar | tail -1', $dir), qr/^checkpoint$/, 'the checkpoint is the last entry');
check_copy('imported', "$dir/imported", 625, 77);
check_copy('extracted by tar', "$dir/tarred", 625, 77);

is((admin('snapshot', 'delete', 's1', @b))[0], 0, 'snapshot delete');
is(sh('"$@" export - --level 3 -q -b 127.0.0.1:' . $m->{port} . ' | "$@" import - ' . "$dir/piped -q", $admin), '', 'through a pipe');
is((admin('snapshot', 'list', @b))[1], '', '... the snapshot it took is dropped');
is(sh('cat $1/piped/config/consumerOffset.json | tr -d "\n\t " | grep -c \'"TopicA@g1":{1:77}\'', $dir), "1\n", '... offsets are in it');
($status, $text) = admin('export', "$dir/x.tar", '--store', "$m->{dir}/store");
is($status, 1, 'files of a running store are not exported as they lie');
is($text, "mqadmin: a broker runs on $m->{dir}/store: leave --store away, and it gives a snapshot\n", '... says why, and what to do');
is(sh('ls $1 | grep ^x', $dir), '', '... and leaves no file');
$m->stop;
is((admin('export', "$dir/x.tar", '--store', "$m->{dir}/store"))[0], 0, '... of a stopped one they are');
is((admin('import', "$dir/x.tar", "$dir/x"))[0], 0, '... and imported');
is(sh('diff -r -x lock $1/store $2/x', $m->{dir}, $dir), "Only in $m->{dir}/store: snapshots\n", '... all but lock and snapshots');

# ---- the line that says how far it is: on a terminal only, five times a second ----
SKIP: {
    my ($master, $tty) = terminal() or skip 'no terminals here', 7;
    my $line = qr/\d+\.\d\d GiB  \d+ MiB\/s /;
    # Nobody reads the archive for a while, so that it is not over too soon.
    open my $tar, '-|', 'sh', '-c', 'exec 2>"$0"; exec "$@"', $tty, $admin, 'export', '-', '--level', 0,
        '--store', "$m->{dir}/store" or die $!;
    IO::Select->new($tar)->can_read(30);
    sleep 0.3;
    1 while sysread $tar, my $part, 65536;
    ok(close $tar, 'export with a terminal');
    $text = shown($master);
    my @percent = $text =~ /\r *(\d+)%  $line/g;
    cmp_ok(scalar @percent, '>=', 1, '... shows how far it is');
    is("@percent", join(' ', grep { $_ <= 100 } sort { $a <=> $b } @percent), '... and does not go back: ' . "@percent");
    like($text, qr/\r\e\[K-: \d+ files, \d+ bytes in \d+\.\d s\n\z/, '... clears it, and says what was done');
    ($master, $tty) = terminal();
    open my $in, '|-', 'sh', '-c', 'exec 2>"$0"; exec "$@"', $tty, $admin, 'import', '-', "$dir/slowly" or die $!;
    my $whole = slurp("$dir/s1.tar");
    print {$in} substr $whole, 0, 700_000, '';
    $in->flush;
    sleep 0.3;
    print {$in} $whole;
    ok(close $in, 'import with a terminal');
    like(shown($master), qr/^(?:\r$line)+\r\e\[K\Q$dir\E\/slowly: \d+ files, \d+ bytes in/, '... shows it too, with no part of an unknown whole');
    unlike((admin('export', "$dir/y.tar", '--store', "$m->{dir}/store"))[1], qr/\r/, 'without a terminal there is no such line');
}

# ---- what may be wrong with a file ----
($status, $text) = admin('import', "$dir/s1.tar", "$dir/x");
is($status, 1, 'not into a directory that is not empty');
like($text, qr/not empty/, '... with a sentence');
my $whole = slurp("$dir/s1.tar.zst");
for my $cut (0, 1, 100, int(length($whole) / 2), length($whole) - 1) {
    spew("$dir/cut", substr $whole, 0, $cut);
    ($status, $text) = admin('import', "$dir/cut", "$dir/cut.d");
    is($status, 1, "cut after $cut bytes: refused: " . ($text =~ s/\n.*//sr));
    is(sh('ls -A $1/cut.d', $dir), '', '... and nothing is left');
}
for my $bad (['../out', 'outside'], ['/tmp/mqfs-out', 'outside'], ['a/../../out', 'outside']) {
    my ($name, $why) = @$bad;
    spew("$dir/f", 'x');
    sh('cd $1 && tar cPf bad.tar --transform "s|^f\$|$2|" f', $dir, $name);
    like((admin('import', "$dir/bad.tar", "$dir/bad.d"))[1], qr/$why/, "an entry $name is refused");
}
ok(!-e "$dir/out" && !-e '/tmp/mqfs-out', '... and not written');
sh('cd $1 && ln -s /etc/passwd commitlog && tar cf link.tar commitlog', $dir);
like((admin('import', "$dir/link.tar", "$dir/bad.d"))[1], qr/neither a file nor a directory/, 'a link is refused');
sh('cd $1 && echo x > y && tar cf other.tar y', $dir);
like((admin('import', "$dir/other.tar", "$dir/bad.d"))[1], qr/no export of a store/, 'a tar of something else is refused');
my $seed = $ENV{SEED} || time;
diag("seed $seed");
srand $seed;
my $fine = 0;
for my $i (1 .. 20) {
    my $text = $i % 2 ? slurp("$dir/s1.tar") : $whole;
    substr($text, int rand length $text, 1) = chr int rand 256 for 1 .. 10;
    spew("$dir/flipped", $text);
    my ($s) = admin('import', "$dir/flipped", "$dir/flipped.d");
    $fine++ if $s == 0 || $s == 1;
    sh('rm -rf $1/flipped.d', $dir);
}
is($fine, 20, 'flipped bytes: imported or refused, never a crash');

# ---- who may ----
SKIP: {
    my ($other) = grep { !/^127\./ } split ' ', sh('hostname -I 2>/dev/null');
    skip 'this host has no address but loopback', 2 if !$other || $other =~ /:/;
    my $open = Mqfs->start({mount => 0, namesrv => 0}, bindAddress => '0.0.0.0');
    like((admin('snapshot', 'create', 'far', '-b', "$other:$open->{port}"))[1], qr/host only/, 'not from another address');
    is((admin('snapshot', 'list', '-b', "127.0.0.1:$open->{port}"))[1], '', '... and nothing was made');
}
like((admin('what'))[1], qr/^usage/, 'an unknown command');
is((admin('--help'))[0], 0, '--help');
done_testing;
