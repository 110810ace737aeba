#!/usr/bin/perl
# mqfsck of a store that Apache 5.5.0 wrote: clean, with consume queue extensions, a batch consume queue, timer files
# and odd numbers of index slots; planted damage of every kind is found; and after --repair Apache starts on it and
# reads everything again. (R-STORE-37.) Needs tests/clients/setup.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Apache;
use File::Temp qw(tempdir);
use Mqfs;
use Test::More;

apache_is_here() or plan skip_all => 'run tests/clients/setup first';

my %CONF = (mappedFileSizeCommitLog => 1048576, mappedFileSizeConsumeQueue => 60000, maxHashSlotNum => 700, maxIndexNum => 3001,
    enableConsumeQueueExt => 'true', mappedFileSizeConsumeQueueExt => 5000, mapperFileSizeBatchConsumeQueue => 46000,
    messageDelayLevel => '1s 1h');
my $MESSAGES = 1500;
my $BATCHES = 30;
my $fsck = Mqfs::build() . '/mqfsck';
my $dir = tempdir('mqfs-fsck-XXXXXX', TMPDIR => 1, CLEANUP => 1);
my $store = "$dir/store";
my ($ns, $port) = free_ports(2);

sub fsck { return sh('"$@" 2>&1', $fsck, @_) }
sub body { my ($n) = @_; return "m$n" . chr(97 + $n % 26) x (800 + $n % 100) }

# ---- Apache writes ----

my %TOPIC = (defaultTopic => 'TBW102', readQueueNums => 4, writeQueueNums => 4, perm => 6, topicFilterType => 'SINGLE_TAG',
    topicSysFlag => 0, order => 'false');
my $apache = apache_start($dir, $ns, $port, %CONF);
my $w = wire($port);
is($w->call(17, {%TOPIC, topic => 'TopicA'})->{code}, 0, 'a topic');
is($w->call(17, {%TOPIC, topic => 'TopicB', attributes => '+queue.type=BatchCQ'})->{code}, 0, 'one with batch consume queues');
is($w->call(200, {}, '{"groupName":"g1","retryMaxTimes":16}')->{code}, 0, 'a group');
my @refused;
for my $n (1 .. $MESSAGES) {
    my $r = send_message($w, 'TopicA', $n % 4, body($n), KEYS => "k$n all", TAGS => 't' . $n % 5, UNIQ_KEY => sprintf '7F0000010001AAAABBBB%012X', $n);
    push @refused, "$n: $r->{remark}" if $r->{code};
}
for my $n (1 .. 20) {
    my @late = map { send_message($w, 'TopicA', $n % 4, "late$n", @$_) } [DELAY => 2], [TIMER_DELAY_SEC => 3600];
    push @refused, map { $_->{remark} } grep { $_->{code} } @late;
}
for my $n (1 .. $BATCHES) {
    my $body = join '', map {
        my ($one, $p) = ("b$n.$_", "KEYS\x01b$n.$_\x02");
        pack('NNNNN', 22 + length($one) + length $p, 0, 0, 5, length $one) . $one . pack('n', length $p) . $p
    } 1 .. 3;
    my $r = $w->call(310, {a => 'pg', b => 'TopicB', c => 'TBW102', d => 4, e => $n % 2, f => 0xC0, g => int(time * 1000), h => 0,
        i => "INNER_NUM\x013\x02", j => 0, k => 'false', l => 0, m => 'false'}, $body);
    push @refused, "batch $n: $r->{remark}" if $r->{code};
}
is("@refused[0 .. ($#refused > 3 ? 3 : $#refused)]", '', 'all is sent');
is($w->call(15, {consumerGroup => 'g1', topic => 'TopicA', queueId => 1, commitOffset => 77})->{code}, 0, 'an offset is committed');
await('the timer log', 60, sub { -e "$store/timerlog/" . '0' x 20 && slurp("$store/timerlog/" . '0' x 20) =~ /^\0\0\0\x34/ });
apache_end($apache, 'TERM');
ok(!-e "$store/abort", 'Apache has stopped cleanly');

my ($status, $text) = fsck($store);
is($status, 0, 'what Apache wrote is clean') or diag $text;
my ($records, $units, $entries) = $text =~ /: (\d+) records in [2-9] log files, (\d+) units of \d+ queues, (\d+) entries of [2-9] index files/;
cmp_ok($records, '>=', $MESSAGES + 40 + $BATCHES, '... every record was looked at');
is($units, $records, '... every unit');
cmp_ok($entries, '>=', 4 * $MESSAGES, '... every index entry');
is((fsck('-c', "$dir/broker.conf"))[0], 0, '... and with its own broker.conf, the same');
ok(-d "$store/consumequeue_ext/TopicA/0" && -d "$store/batchconsumequeue/TopicB/0" && -s "$store/timerwheel", 'extensions, batch queues and a timer are among it');

# ---- damage ----

my $copies = tempdir('mqfs-fsck-XXXXXX', TMPDIR => 1, CLEANUP => 1);
sub flip { my ($at) = @_; return sub { substr(${$_[0]}, $at, 1) ^= "\x55" } }
sub cut { my ($at) = @_; return sub { substr(${$_[0]}, $at) = '' } }
sub set { my ($at, $with) = @_; return sub { substr(${$_[0]}, $at, length $with) = $with } }
sub damage {
    my ($what, $file, $code, $like) = @_;
    my $path = "$store/$file";
    my $bytes = slurp($path);
    my $spoilt = $bytes;
    $code->(\$spoilt);
    spew($path, $spoilt);
    my ($rc, $said) = fsck($store);
    is($rc, 1, "$what is found") or diag $said;
    like($said, qr/^\Q$path\E: offset \d+: $like/m, '... where it is');
    spew($path, $bytes);
}
my $zeros = '0' x 20;
my $log = "commitlog/$zeros";
my $first = slurp("$store/$log");
my $r0 = unpack 'N', $first;
my $queue = "consumequeue/TopicA/1/$zeros";
my ($index) = map { "index/$_" } sort map { m{([^/]+)$} } glob "$store/index/*";
my $ext = "consumequeue_ext/TopicA/1/$zeros";
my $batch = "batchconsumequeue/TopicB/1/$zeros";
my $table = 40 + 4 * 700;
damage('a body', $log, flip($r0 + 200), "the body's CRC is");
damage('a magic', $log, flip($r0 + 5), 'no record: magic');
damage('a size', $log, flip($r0 + 3), 'the sizes of the record|a record of \d+ bytes does not fit');
damage('its own offset', $log, flip($r0 + 35), 'the record says it is at log offset');
damage('a log file cut', $log, cut(70000), 'the file is cut: 70000 bytes');
damage("a unit's log offset", $queue, flip(47), 'unit 2 names');
damage("a unit's size", $queue, flip(51), 'unit 2 says \d+ bytes');
damage("a unit's address", $queue, flip(59), 'unit 2 ');
damage('a unit lost', $queue, set(40, "\0" x 20), 'units 2 to 2 were not written');
damage('an extension unit', $ext, flip(21), 'no unit of an extension');
damage('a batch unit', $batch, flip(46 + 35), 'a batch unit with log offset');
damage("an entry's hash", $index, set($table + 20, pack 'N', 12345), 'entry 1 has a hash that is of no key');
damage("an entry's offset", $index, flip($table + 40 + 11), 'entry 2 names log offset \d+, where no record is');
damage("an entry's chain", $index, set($table + 2000 + 16, pack 'N', 4000), 'an entry names entry 4000');
damage("an index header's count", $index, flip(36), 'the header says the next entry is');
damage('an index file cut', $index, cut(5001), '5001 bytes are no whole index file');
damage('a checkpoint ahead', 'checkpoint', set(40, pack 'Q>', 1 << 50), 'logicsPhysicalOffset 1125899906842624 is ahead');
damage('a config file', 'config/topics.json', cut(50), 'no JSON object: 50 bytes');
damage('a timer unit', "timerlog/$zeros", flip(55), 'no timer unit: ');
damage('a timer wheel', 'timerwheel', cut(100), '100 bytes are no whole wheel');
is((fsck('-q', $store))[0], 0, 'the store itself is still clean');

# ---- repair ----

sub spoil { my ($file, $code) = @_; my $b = slurp("$store/$file"); $code->(\$b); spew("$store/$file", $b) }
my $log_before = join '', map { slurp($_) } sort glob "$store/commitlog/*";
spoil($queue, flip(47));
spoil("consumequeue/TopicA/3/$zeros", cut(1000));
spoil("consumequeue_ext/TopicA/2/$zeros", flip(21));
spoil($index, flip($table + 20));
spoil('checkpoint', set(40, pack 'Q>', 1 << 50));
spew("$store/config/topics.json.bak", slurp("$store/config/topics.json"));
spoil('config/topics.json', cut(50));
($status, $text) = fsck('--repair', $store);
is($status, 1, 'many damages');
like($text, qr/^repaired: \Q$store\E\/$_/m, "... $_ is repaired")
    for 'consumequeue/TopicA/1', 'consumequeue/TopicA/3', 'consumequeue/TopicA/2', 'consumequeue_ext/TopicA/2', $index, 'checkpoint', 'config/topics.json';
unlike($text, qr/^left/m, '... nothing is left');
is((join '', map { slurp($_) } sort glob "$store/commitlog/*") eq $log_before, 1, '... and the log is as it was');
($status, $text) = fsck($store);
is($status, 0, '... then nothing is wrong') or diag $text;
like($text, qr/^note: the last run did not end cleanly/m, '... and the broker will recover');

$apache = apache_start($dir, $ns, $port, %CONF);
$w = wire($port);
my ($good, %seen) = (0);
for my $q (0 .. 3) {
    my $max = $w->call(30, {topic => 'TopicA', queueId => $q})->{ext}{offset};
    for (my $at = 0; $at < $max;) {
        my $r = pull_messages($w, 'g1', 'TopicA', $q, $at);
        last if $r->{code};
        $seen{$1}++, $good += $1 <= $MESSAGES && index($r->{body}, body($1)) >= 0 while $r->{body} =~ /m(\d+)[a-z]{800}/g;
        last if $r->{ext}{nextBeginOffset} <= $at;
        $at = $r->{ext}{nextBeginOffset};
    }
}
is(scalar keys %seen, $MESSAGES, 'Apache starts on it and has every message');
is($good, $MESSAGES, '... as it was sent, once');
is($w->call(14, {consumerGroup => 'g1', topic => 'TopicA', queueId => 1})->{ext}{offset}, 77, '... and the offset');
is($w->call(30, {topic => 'TopicB', queueId => 1})->{ext}{offset}, 3 * $BATCHES / 2, '... and the batches');
ok(eval { await('the index', 60, sub {
    my $r = $w->call(12, {topic => 'TopicA', key => 'k1', maxNum => 8, beginTimestamp => 0, endTimestamp => '9223372036854775807'});
    $r->{code} == 0 && $r->{body} =~ /m1b{800}/ }) }, '... found by key');
is(send_message($w, 'TopicA', 0, 'after', TAGS => 'x')->{code}, 0, '... and takes more');
apache_end($apache, 'TERM');
($status, $text) = fsck($store);
is($status, 0, 'what it left is clean') or diag $text;
like($text, qr/: (\d+) records/, '... all of it');

# ---- what cannot be made again ----

spoil($log, flip($r0 + 200));
spoil($batch, flip(46 + 35));
spoil("timerlog/$zeros", flip(55));
($status, $text) = fsck('--repair', $store);
like($text, qr/^left: \Q$store\E\/$_: /m, "$_ is left") for $log, 'batchconsumequeue/TopicB/1', 'timerlog';
ok(!-e "$store/abort", '... and no broker is told to recover, which would cut the log at the damage');
done_testing;
