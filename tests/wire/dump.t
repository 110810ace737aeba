#!/usr/bin/perl
# mqadmin dump: every file of a store as text, one record a line, from a running broker's files, a stopped one's and
# copies elsewhere; files of Apache's that ours does not write; torn, damaged and foreign files.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Mqfs;
use File::Temp qw(tempdir);
use POSIX qw(mkfifo);
use Test::More;

my $admin = Mqfs::build() . '/mqadmin';
my $m = Mqfs->start({mount => 0}, autoCreateTopicEnable => 'true', maxHashSlotNum => 700, maxIndexNum => 3001);
my $store = "$m->{dir}/store";
my $w = wire($m->{port});
my $odd = "line\nand\ttab \\ \x01 \xff end";
send_message($w, 'TopicA', $_ % 2, "m$_" . 'x' x 3000, KEYS => "k$_ all", TAGS => 't' . $_ % 3) for 0 .. 499;
is(send_message($w, 'TopicB', 0, $odd, KEYS => 'a;b', colour => 'gr=n')->{code}, 0, 'a message of odd bytes');
send_message($w, 'TopicB', 0, 'late', DELAY => 18);

sub dump_of { return sh('"$@" 2>&1', $admin, 'dump', @_) }
# the records as hashes, by column
sub lines_of {
    my ($rc, $text) = dump_of('-q', @_);
    is($rc, 0, "dump -q @_") or diag $text;
    return map { +{map { /^(\w+)=(.*)$/s ? ($1, $2) : ($_, 1) } split /\t/} } split /\n/, $text;
}

my @log = sort glob "$store/commitlog/*";
my $queue = "$store/consumequeue/TopicA/1/" . '0' x 20;

# ---- a running broker's ----

{
    my @r = lines_of(@log[0, 1]);
    cmp_ok(scalar @r, '>', 490, 'a running broker\'s log is read');
    my ($next, $wrong) = (0, 0);
    for my $r (@r) {
        $wrong++ if $r->{offset} != $r->{physical_offset} || $r->{crc} ne 'ok' || ($r->{offset} != $next && $r->{offset} != 1048576);
        $next = $r->{offset} + $r->{size};
    }
    is($wrong, 0, '... record after record, each at its place with its CRC right');
    is("@{$r[3]}{qw(topic queue queue_offset body_size flags)}", 'TopicA 1 1 3002 -', '... with what was sent');
    like($r[3]{properties}, qr/^KEYS=k3 all;TAGS=t0;/, '... and its properties');
    like($r[3]{stored}, qr/^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}$/, '... its time');
    like($r[3]{born_host}, qr/^127\.0\.0\.1:\d+$/, '... its hosts');
    is($r[3]{body}, undef, '... without its body');

    my ($odd_one) = grep { $_->{topic} eq 'TopicB' } lines_of('--body', @log);
    is($odd_one->{body}, 'line\nand\ttab \\\\ \x01 \xff end', '--body: any bytes in one word');
    like($odd_one->{properties}, qr/^KEYS=a\\x3bb;colour=gr=n;/, '... and properties that hold what separates them');
}
{
    my ($rc, $text) = dump_of("$store/lock", "$store/abort");
    is($rc, 0, 'lock and abort');
    like($text, qr/^\Q$store\E\/lock:\ttext=lock\theld=yes$/m, '... the lock is held');
    like($text, qr/^\Q$store\E\/abort:\t\d+$/m, '... by that process, and each line begins with its file');
}
# while it is written to
{
    my $pid = fork // die;
    if (!$pid) {
        my $cw = wire($m->{port});
        eval { send_message($cw, 'TopicC', 0, 'y' x (1 + $_ * 37 % 3000)) for 1 .. 4000 };
        POSIX::_exit(0);
    }
    my ($bad, $rounds, $last) = (0, 0, 0);
    while (waitpid($pid, POSIX::WNOHANG()) == 0) {
        my ($rc, $text) = dump_of(sort glob "$store/commitlog/*");
        $bad++, diag("status $rc, $1") if $rc || $text =~ /^(.*(?:WRONG|no record|does not fit|add up).*)/m;
        my $n = () = $text =~ /\ttopic=TopicC\t/g;
        $bad++, diag("$n, and $last before") if $n < $last;
        $last = $n;
        $rounds++;
    }
    is($bad, 0, "$rounds times while messages are sent: whole records only");
    cmp_ok($rounds, '>', 1, '... more than once');
}
await('the index', 20, sub {
    my $r = $w->call(12, {topic => 'TopicA', key => 'k499', maxNum => 8, beginTimestamp => 0, endTimestamp => 9e12});
    $r->{code} == 0 && $r->{body} });
my @before = map { join ' ', $_, (stat)[7, 9] } sort glob "$store/* $store/*/* $store/*/*/*/*";
ok($m->stop, 'the broker stops');
is((lines_of("$store/lock"))[0]{held}, 'no', 'the lock is given back');
@before = map { join ' ', $_, (stat)[7, 9] } sort glob "$store/* $store/*/* $store/*/*/*/*";

# ---- a stopped one's ----

@log = sort glob "$store/commitlog/*";
my @all = lines_of(@log);
is(scalar(grep { $_->{topic} eq 'TopicA' } @all), 500, 'the whole log');
my @units = lines_of($queue);
is(scalar @units, 250, 'a queue\'s units');
my %at = map { $_->{offset} => "$_->{topic} $_->{queue} $_->{queue_offset} $_->{size}" } @all;
is(scalar(grep { ($at{$_->{offset}} // '') ne "TopicA 1 $_->{unit} $_->{size}" } @units), 0, '... each names its record');
is((lines_of("$store/consumequeue/SCHEDULE_TOPIC_XXXX/17/" . '0' x 20))[0]{tags} > 1e12, 1, '... a delayed one its time');

is(join(' ', map { $_->{unit} } lines_of('--from', 17, '--count', 3, $queue)), '17 18 19', '--from, --count: units');
is(join(' ', map { $_->{offset} } lines_of('--from', $all[400]{offset}, '--count', 2, @log)), "$all[400]{offset} $all[401]{offset}",
    '... records, over several files');
is(join(' ', map { $_->{offset} } lines_of('--from', $all[400]{offset} + 1, '--count', 1, @log)), $all[401]{offset}, '... from the next one on');
is(scalar(lines_of('--from', 1 << 50, @log)), 0, '... past the end: nothing');

my ($index) = glob "$store/index/*";
my ($header, @entries) = lines_of($index);
is("@{$header}{qw(header slots entries)}", '1 700 3001', 'an index file: how many slots there are is seen, and not four times as many entries');
is($header->{next}, @entries + 1, '... all its entries');
is(scalar(grep { !$at{$_->{offset}} } @entries), 0, '... each names a record');
is(scalar(grep { $_->{slot} != $_->{hash} % 700 || $_->{before} >= $_->{entry} } @entries), 0, '... in its slot, before it an earlier one');
is(join(' ', map { $_->{entry} // 'header' } lines_of('--from', 5, '--count', 3, $index)), 'header 5 6', '... from one on');

like((lines_of("$store/checkpoint"))[0]{physicMsgTimestamp}, qr/^20\d\d-/, 'the checkpoint');
like((dump_of("$store/checkpoint"))[1], qr/^# ours: at the stop the log ended at [1-9]\d*, and there were [1-9]\d* topics with [1-9]\d* queues/m,
    '... and the queues that were counted');
my ($rc, $text) = dump_of("$store/config/topics.json");
like($text, qr/^# configuration, \d+ bytes\n\{\n\t"dataVersion":\{\n/, 'a config file, pretty');
like((dump_of("$store/audit.log"))[1], qr/^# audit, .*\n\{.*"what":"topic.create".*\}\n/, 'the audit');

# ---- elsewhere, under other names ----

my $dir = tempdir('mqfs-dump-XXXXXX', TMPDIR => 1, CLEANUP => 1);
for (['commit log', $log[1], 1], ['consume queue', $queue], ['index file', $index], ['configuration', "$store/config/topics.json"]) {
    my ($kind, $file, $more) = @$_;
    system 'cp', '--sparse=always', $file, "$dir/copy";
    my @said = map { (split /\n/, (dump_of($_))[1], 2)[1] } $file, "$dir/copy";
    like((dump_of("$dir/copy"))[1], qr/^# $kind, by its content, /, "a $kind is known by its bytes");
    is($said[1], $said[0], '... and says the same');
}

# ---- Apache's only: made here as its classes write them ----

sub made { my ($path, $bytes) = @_; system 'mkdir', '-p', '--', ($path =~ m{^(.*)/})[0]; spew($path, $bytes); return $path }
my $zeros = '0' x 20;
my $t = 1_700_000_000_000;
my $batch = made("$dir/s/batchconsumequeue/T/3/00000000000000000046", pack('Q>NQ>Q>Q>nNN', 111, 200, 77, $t, 9, 5, 0xffffffff, 0) . "\0" x 460);
my ($b) = lines_of($batch);
is("@{$b}{qw(unit offset size tags base messages compacted)}", '1 111 200 77 9 5 -1', 'a batch consume queue');
my $unit = sub { pack('Nq>NQ>NQ>Nl>Q>', 52, $_[0], 1, $t, 5000, $_[1], 300, -7, 0) };
my $timer = made("$dir/s/timerlog/$zeros", $unit->(-1, 1000) . $unit->(0, 1300) . pack('NQ>N', 80, 0, 0xCBD43194) . "\0" x 64);
is(join(' ', map { "$_->{offset}:$_->{before}:$_->{log_offset}:$_->{topic_hash}" } lines_of($timer)), '0:-1:1000:-7 52:0:1300:-7', 'a timer log');
like((dump_of($timer))[1], qr/^# the units end at offset 104: the file is closed$/m, '... up to its blank');
my $wheel = made("$dir/s/timerwheel", "\0" x 64 . pack('Q>q>q>NN', 1_700_000_000, 0, 52, 2, 0) . "\0" x 32);
is(join(' ', map { "$_->{slot}:$_->{time}:$_->{first}:$_->{last}:$_->{messages}" } lines_of($wheel)), '2:1700000000:0:52:2', 'a timer wheel: used slots');
my $check = made("$dir/s/config/timercheck", pack('Q>7', $t, 104, 7, 8, 1, $t, 2) . "\0" x 4040);
is(join(' ', @{(lines_of($check))[0]}{qw(lastTimerLogFlushPos lastTimerQueueOffset masterTimerQueueOffset counter)}), '104 7 8 2', 'a timer checkpoint');
my $ext = made("$dir/s/consumequeue_ext/T/3/$zeros", pack('nq>Q>n', 20, 55, $t, 0) . pack('nq>Q>na3', 23, -3, $t, 3, "\x01\x80\xff") . "\xff\xff" . "\0" x 40);
is(join(' ', map { "$_->{offset}:$_->{tags}:$_->{bits}" } lines_of($ext)), '0:55:- 20:-3:0180ff', 'a consume queue extension');
like((dump_of($ext))[1], qr/: the file is closed$/m, '... up to its end');
my $named = made("$dir/s/consumequeue/T/3/$zeros", pack('Q>NQ>', 0, 0x7fffffff, 0) . pack('Q>Nq>', 500, 200, -9223372036854775808 + 20) . "\0" x 20 . pack('Q>NQ>', 900, 200, 5));
is((dump_of($named))[1], "# consume queue, 80 bytes\nunit=0\toffset=0\tsize=2147483647\ttags=0\tfiller\n"
    . "unit=1\toffset=500\tsize=200\textension=20\n# 2 to 2 were not written\nunit=3\toffset=900\tsize=200\ttags=5\n",
    'a queue with a filler, an address of the extension, and a hole');
like((dump_of(made("$dir/s/rocksdbstore/000004.log", 'x')))[1], qr/ is a RocksDB file, which is not read here$/m, 'RocksDB: a sentence');
is((dump_of(made("$dir/s/brokerIdentity", 'DefaultCluster#broker-a#0')))[1], "# broker's identity, 25 bytes\nDefaultCluster#broker-a#0\n", 'a broker\'s identity');

# ---- torn, damaged, none at all ----

my $first = slurp($log[0]);
my ($at, $after) = map { $all[$_]{offset} } 200, 201;
sub spoilt { my ($bytes) = @_; return made("$dir/t/commitlog/$zeros", $bytes) }
($rc, $text) = dump_of(spoilt(substr($first, 0, $at + 100) . "\0" x (1048576 - $at - 100)));
is($rc, 0, 'a torn tail');
is(scalar(() = $text =~ /^offset=/mg), 200, '... ends the records');
like($text, qr/^# offset $at: .*no record follows in this file$/m, '... with a remark');
($rc, $text) = dump_of(spoilt(substr($first, 0, $at) . substr($first, 5000, 4000) . "\0" x (1048576 - $at - 4000)));
is(scalar(() = $text =~ /^offset=/mg), 200, 'old records behind the end are not taken for new ones');
substr(my $flipped = $first, $at + 150, 1) ^= "\x40";
my @spoilt = lines_of(spoilt($flipped));
is("$spoilt[199]{crc} $spoilt[200]{crc} $spoilt[201]{crc}", 'ok WRONG ok', 'a flipped body is told');
substr($flipped, $at + 4, 1) ^= "\x40";
($rc, $text) = dump_of(spoilt($flipped));
like($text, qr/^# offset $at: no record: magic \w+; the next record is \d+ bytes on\noffset=$after\t/m, 'behind damage it goes on with the next record');

for (["$dir/none", qr/No such file/], [$dir, qr/is no file/], [made("$dir/noise", 'just some text'), qr/neither its path nor its bytes/],
    [made("$dir/empty", ''), qr/neither its path nor its bytes/], [made("$dir/s/config/topics.json", '{"a":'), qr/5 bytes, and no JSON/],
    [made("$dir/s/config/timercheck", 'x' x 20), qr/is cut: 20 bytes/], [made("$dir/s/index/20260101000000000", "\0" x 30), qr/no whole index file/]) {
    ($rc, $text) = dump_of($_->[0]);
    is($rc, 1, "status 1: $_->[0]");
    like($text, qr/^mqadmin: .*$_->[1]/m, '... with a sentence');
}
mkfifo("$dir/fifo", 0600) or die $!;
like((dump_of("$dir/fifo"))[1], qr/is no file/, 'a FIFO does not keep it');
($rc, $text) = dump_of("$dir/none", $queue);
is($rc, 1, 'one of two missing');
like($text, qr/\tunit=249\t|:\tunit=249\t/, '... the other is shown');
is((dump_of())[0], 1, 'no file');
is((dump_of('--from', 'x', $queue))[0], 1, 'no number');
is((dump_of('--count', '0', $queue))[0], 1, 'none at all');
is((dump_of(made("$dir/t/commitlog/$zeros", '')))[0], 0, 'an empty log file is one');

# cut and garbled anywhere: never more than a sentence
my $seed = $ENV{SEED} // time;
diag "SEED=$seed" if $ENV{SEED};
note "SEED=$seed";
srand $seed;
my @kinds = ([$log[0], 'commitlog/' . $zeros], [$queue, "consumequeue/T/1/$zeros"], [$index, 'index/20260101000000000'], [$batch, "batchconsumequeue/T/1/$zeros"],
    [$timer, "timerlog/$zeros"], [$wheel, 'timerwheel'], [$ext, "consumequeue_ext/T/1/$zeros"], ["$store/config/topics.json", 'config/topics.json'],
    ["$store/checkpoint", 'checkpoint'], [$queue, 'unknown'], [$log[0], 'other'], [$index, 'third']);
my $died = 0;
for my $round (0 .. 119) {
    my ($from, $to) = @{$kinds[$round % @kinds]};
    my $bytes = substr slurp($from), 0, 65536;
    $round % 3 ? substr($bytes, rand(length $bytes), 4) = pack 'N', rand 2 ** 32 : (substr($bytes, rand length $bytes) = '');
    ($rc, $text) = dump_of('--body', made("$dir/g/$to", $bytes));
    $died++, diag "round $round, $to: $rc $text" if $rc != 0 && !($rc == 1 && $text =~ /^mqadmin: /m);
}
is($died, 0, 'cut and garbled files of all kinds');
is_deeply([map { join ' ', $_, (stat)[7, 9] } sort glob "$store/* $store/*/* $store/*/*/*/*"], \@before, 'nothing of the store was changed');
done_testing;
