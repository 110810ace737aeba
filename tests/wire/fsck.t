#!/usr/bin/perl
# mqfsck: a store that a broker wrote is clean; a byte flipped or cut in each kind of
# file is found, in its place; repaired, all is there again.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Mqfs;
use File::Temp qw(tempdir);
use Test::More;

my $fsck = Mqfs::build() . '/mqfsck';
my $m = Mqfs->start({mount => 0}, autoCreateTopicEnable => 'true', autoCreateSubscriptionGroup => 'true',
    maxHashSlotNum => 1000, maxIndexNum => 4000);
my $store = "$m->{dir}/store";
my $w = wire($m->{port});
send_message($w, 'TopicA', $_ % 4, "m$_" . 'x' x 1500, KEYS => "k$_ all", TAGS => 't' . $_ % 3) for 0 .. 1499;
send_message($w, 'TopicB', 0, "delayed $_", DELAY => 18) for 0 .. 9;
is($w->call(200, {}, '{"groupName":"g1"}')->{code}, 0, 'a group');
is($w->call(15, {consumerGroup => 'g1', topic => 'TopicA', queueId => 1, commitOffset => 77})->{code}, 0, '... with an offset');
await('the index', 20, sub {
    my $r = $w->call(12, {topic => 'TopicA', key => 'k1499', maxNum => 8, beginTimestamp => 0, endTimestamp => 9e12});
    $r->{code} == 0 && $r->{body} });

sub fsck { return sh('"$@" 2>&1', $fsck, @_) }
my ($status, $text) = fsck($store);
is($status, 2, 'a running broker keeps it out');
like($text, qr/^mqfsck: \Q$store\E\/lock is held/, '... with a sentence');
($status, $text) = fsck("$m->{dir}/none");
is($status, 2, 'a directory that is not there');
is((fsck())[0], 2, 'no directory named');
is((fsck('--index-slots', 'x', $store))[0], 2, 'no number');

ok($m->stop, 'the broker stops');
($status, $text) = fsck($store);
is($status, 0, 'what it wrote is clean') or diag $text;
like($text, qr/: 15\d\d records in 3 log files, 15\d\d units of \d+ queues, [1-9]\d* entries of [1-9]\d* index files, [1-9]\d* config files: 0 findings$/,
    '... and everything was looked at');
is((fsck('-q', $store))[1], '', '-q says nothing then');
is((fsck('--commit-log', "$store/commitlog", '--index-slots', 1000, $store))[0], 0, 'the same with directories and slots said');

# ---- one damage each ----

my $copies = tempdir('mqfs-test-XXXXXX', TMPDIR => 1, CLEANUP => 1);
my $n = 0;
# damage NAME, FILE under the store, code on \$text of it, the finding's offset and text, other findings allowed
sub damage {
    my ($what, $file, $code, $offset, $like) = @_;
    my $dir = "$copies/" . ++$n;
    is(system('cp', '-a', '--sparse=always', $store, $dir), 0, "$what: a copy");
    my $path = "$dir/$file";
    my $bytes = slurp($path);
    $code->(\$bytes) if $code;
    $code ? spew($path, $bytes) : unlink $path;
    my @before = map { [(stat)[7, 9]] } glob "$dir/*/* $dir/*/*/*/*";
    my ($rc, $said) = fsck($dir);
    is($rc, 1, '... is found') or diag $said;
    like($said, qr/^\Q$path\E: offset $offset: $like/m, '... in its place');
    is_deeply([map { [(stat)[7, 9]] } glob "$dir/*/* $dir/*/*/*/*"], \@before, '... and nothing was changed');
    system('rm', '-rf', '--', $dir);
}
sub flip { my ($at) = @_; return sub { substr(${$_[0]}, $at, 1) ^= "\x55" } }
sub cut { my ($at) = @_; return sub { substr(${$_[0]}, $at) = '' } }
sub set { my ($at, $with) = @_; return sub { substr(${$_[0]}, $at, length $with) = $with } }

my @log = map { sprintf 'commitlog/%020d', $_ * 1048576 } 0 .. 2;
my $first = slurp("$store/$log[0]");
my $r0 = unpack 'N', $first;                                    # size of the first record
my $r1 = unpack 'N', substr $first, $r0, 4;
damage('a body', $log[0], flip($r0 + 200), $r0, "the body's CRC is");
damage('a magic', $log[0], flip($r0 + 4), $r0, "no record: magic 8f\\w+; the next record is $r1 bytes on");
damage('a size', $log[0], set($r0, pack 'N', $r1 + 1), $r0, 'the sizes of the record');
damage('a huge size', $log[0], set($r0, "\x7f\xff\xff\xff"), $r0, 'a record of 2147483647 bytes does not fit');
damage("a record's own offset", $log[0], flip($r0 + 35), $r0, 'the record says it is at log offset');
my $blank = index $first, "\xCB\xD4\x31\x94";
damage("a blank's size", $log[0], flip($blank - 1), $blank - 4, 'the blank that closes the file says');
damage('no blank', $log[0], sub { substr(${$_[0]}, $blank - 4) = "\0" x (1048576 - $blank + 4) }, $blank - 4,
    'the records end here, without a blank, and go on in the next file');
damage('a log file cut', $log[2], cut(5000), 5000, 'the file is cut: 5000 bytes, others have 1048576');
{
    my $dir = "$copies/lost";
    system('cp', '-a', '--sparse=always', $store, $dir);
    unlink "$dir/$log[1]";
    my ($rc, $said) = fsck($dir);
    is($rc, 1, 'a log file lost');
    like($said, qr/^\Q$dir\E\/$log[2]: offset 0: files are missing before it/m, '... is found by the next one');
    like($said, qr/^note: \d+ more findings in that file/m, '... and what follows of it is counted, not listed');
    cmp_ok(scalar(() = $said =~ /\n/g), '<', 150, '... so that the list ends');
    system('rm', '-rf', '--', $dir);
}

my $queue = 'consumequeue/TopicA/1/' . '0' x 20;
damage("a unit's log offset", $queue, flip(47), 40, 'unit 2 names');
damage("a unit's size", $queue, flip(51), 40, 'unit 2 says \d+ bytes, the record at \d+ has \d+');
damage("a unit's tag code", $queue, flip(59), 40, 'unit 2 has the tag code');
damage('a unit lost', $queue, set(40, "\0" x 20), 40, 'units 2 to 2 were not written, and others follow');
damage('units of another queue', $queue, set(0, substr slurp("$store/consumequeue/TopicA/2/" . '0' x 20), 0, 7500), 0,
    'unit 0 names the record at \d+, which is number 0 of TopicA/2');
damage('the last units', $queue, set(7400, "\0" x 100), 7400, 'units 370 to 374 are missing: the log has records of them');
damage('a unit past the end', $queue, set(7500, pack 'Q>NQ>', 1 << 40, 300, 0), 7500, 'unit 375 names log offset 1099511627776, and the log ends at');
damage('a delayed one', 'consumequeue/SCHEDULE_TOPIC_XXXX/17/' . '0' x 20, set(12, pack 'Q>', 1), 0, 'unit 0 has the tag code 1');

my ($index) = glob "$store/index/*";
my $name = 'index/' . ($index =~ m{([^/]+)$})[0];
my $entries = 40 + 4 * 1000;
damage("an entry's hash", $name, set($entries + 20, pack 'N', 12345), $entries + 20, 'entry 1 has a hash that is of no key');
damage("an entry's log offset", $name, flip($entries + 40 + 11), $entries + 40, 'entry 2 names log offset \d+, where no record is');
damage("an entry's chain", $name, set($entries + 2000 + 16, pack 'N', 4000), $entries + 2000, 'an entry names entry 4000, and only 99 can be');
my $bytes = slurp($index);
my ($slot) = grep { unpack 'N', substr $bytes, 40 + 4 * $_, 4 } 0 .. 999;
damage('a slot', $name, set(40 + 4 * $slot, "\0\0\0\0"), 32, 'the header says \d+ slots are used, and \d+ are');
damage('a slot that leads nowhere', $name, set(40 + 4 * $slot, "\x7f\0\0\0"), 40 + 4 * $slot, 'a slot names entry 2130706432');
damage("a header's count", $name, flip(36), 36, 'the header says the next entry is');
damage("a header's end", $name, flip(25), 16, 'the header says log offsets');
damage('an index file cut', $name, cut(5001), 5001, '5001 bytes are no whole index file');

damage('a checkpoint ahead', 'checkpoint', set(40, pack 'Q>', 1 << 50), 40, 'logicsPhysicalOffset 1125899906842624 is ahead of the log');
damage('a time ahead', 'checkpoint', set(0, pack 'Q>', 1 << 50), 0, 'physicMsgTimestamp 1125899906842624 is ahead of the log');
damage('a checkpoint cut', 'checkpoint', cut(47), 47, 'the file is cut: 47 bytes');

damage('a config cut', 'config/topics.json', cut(50), 0, 'no JSON object: 50 bytes');
damage('a config emptied', 'config/topics.json', cut(0), 0, 'the file is empty');
damage('zeros in a config', 'config/topics.json', set(20, "\0" x 5), 20, 'no JSON object');
damage('a config lost', 'config/topics.json', undef, 0, 'the file is missing, and its .bak is there') if -e "$store/config/topics.json.bak";

# ---- what only Apache's broker writes, made here as its classes write it ----

{
    my $plain = slurp("$store/$queue");
    my @units = map { [unpack 'q>Nq>', substr $plain, 20 * $_, 20] } 0 .. 374;
    my %time = map { my $r = slurp("$store/$log[$_]"); ($_ => $r) } 0 .. 2;
    my $time_of = sub { my ($offset) = @_; unpack 'Q>', substr $time{int($offset / 1048576)}, $offset % 1048576 + 56, 8 };
    my $zeros = '0' x 20;
    my $made = sub { my ($path, $bytes) = @_; system 'mkdir', '-p', '--', ("$store/$path" =~ m{^(.*)/})[0]; spew("$store/$path", $bytes) };

    # every second message has its tag code in the extension
    my ($ext, $named, $i) = ('', '', 0);
    for (@units) {
        my ($offset, $size, $tags) = @$_;
        if ($i++ % 2) { $named .= pack 'q>Nq>', $offset, $size, $tags }
        else {
            $named .= pack 'q>Nq>', $offset, $size, -9223372036854775808 + length $ext;
            $ext .= pack('nq>Q>na*', 23, $tags, $time_of->($offset), 3, 'bit');
        }
    }
    $made->("consumequeue_ext/TopicA/1/$zeros", $ext . "\xff\xff" . "\0" x 200);
    spew("$store/$queue", $named . substr $plain, length $named);
    is((fsck($store))[0], 0, 'a queue with an extension is clean') or diag((fsck($store))[1]);
    my $x = "consumequeue_ext/TopicA/1/$zeros";
    for (['a tag code in the extension', 9, 'unit 0 has the tag code'], ['a time there', 17, 'unit 0 has the store time'],
        ['a size there', 1, 'unit 0 names offset 0 of the queue\'s extension, where no unit is']) {
        my ($what, $at, $like) = @$_;
        my $bytes = slurp("$store/$x");
        spew("$store/$x", do { my $b = $bytes; substr($b, $at, 1) ^= "\x05"; $b });
        my ($rc, $said) = fsck($store);
        is($rc, 1, "$what is found");
        like($said, qr/^\Q$store\/$queue\E: offset 0: $like/m, '... by the unit that names it');
        spew("$store/$x", $bytes);
    }
    damage('a unit of the extension', $x, set(23, "\0\x05"), 23, 'no unit of an extension');
    damage('an address that leads nowhere', $queue, set(12, pack 'q>', -9223372036854775808 + (1 << 30)), 0,
        'unit 0 names offset 1073741824 of the queue\'s extension, where no unit is');
    {
        my $dir = "$copies/ext";
        system('cp', '-a', '--sparse=always', $store, $dir);
        spew("$dir/$x", substr($ext, 0, 100));
        my ($rc, $said) = fsck('--repair', $dir);
        like($said, qr/^repaired: \Q$dir\E\/$_: removed/m, "repair of an extension: $_") for 'consumequeue/TopicA/1', 'consumequeue_ext/TopicA/1';
        system('rm', '-rf', '--', $dir);
    }
    spew("$store/$queue", $plain);
    system('rm', '-rf', '--', "$store/consumequeue_ext");

    # one queue as a batch consume queue
    my $other = slurp("$store/consumequeue/TopicA/2/$zeros");
    my $n = 0;
    my $batch = join '', map { my ($o, $s, $t) = @$_; pack 'q>Nq>Q>Q>nNN', $o, $s, $t, $time_of->($o), $n++, 1, 0xffffffff, 0 }
        map { [unpack 'q>Nq>', substr $other, 20 * $_, 20] } 0 .. 374;
    system('mv', "$store/consumequeue/TopicA/2", "$copies/aside");
    my $y = "batchconsumequeue/TopicA/2/$zeros";
    $made->($y, $batch . "\0" x 460);
    is((fsck($store))[0], 0, 'a batch consume queue is clean') or diag((fsck($store))[1]);
    damage("a batch unit's offset", $y, flip(46 + 7), 46, 'a batch unit names log offset \d+, where no record is');
    damage("a batch unit's size", $y, flip(46 + 11), 46, 'a batch unit says \d+ bytes, the record');
    damage("a batch unit's tag code", $y, flip(46 + 19), 46, 'a batch unit has the tag code');
    damage("a batch unit's time", $y, flip(46 + 27), 46, 'a batch unit has the tag code \S+ and store time');
    damage("a batch unit's base", $y, flip(46 + 35), 46, 'a batch unit with log offset \d+ and base \d+ does not go on behind \d+ and 1$');
    damage("a batch unit's count", $y, set(46 + 36, "\0\0"), 46, 'no batch unit: ');
    damage('a batch unit lost', $y, set(46, "\0" x 46), 92, 'a batch unit behind some that were not written');
    damage('batch units missing', $y, set(46 * 370, "\0" x 230), 0, 'batch units are missing');
    {
        my $dir = "$copies/batch";
        system('cp', '-a', '--sparse=always', $store, $dir);
        spew("$dir/$y", substr($batch, 0, 460));
        like((fsck('--repair', $dir))[1], qr/^left: \Q$dir\E\/batchconsumequeue\/TopicA\/2: /m, 'a batch consume queue is left by the repair');
        is(-s "$dir/$y", 460, '... as it is');
        like((fsck('--repair', '--force', $dir))[1], qr/^repaired: \Q$dir\E\/batchconsumequeue\/TopicA\/2: removed: Apache/m, '... and goes with --force');
        ok(!-e "$dir/$y" && -e "$dir/abort", '... and Apache\'s broker is made to read its log');
        system('rm', '-rf', '--', $dir);
    }
    system('rm', '-rf', '--', "$store/batchconsumequeue");
    system('mv', "$copies/aside", "$store/consumequeue/TopicA/2");

    # the timer
    my $unit = sub { pack('Nq>NQ>NQ>Nl>Q>', 52, $_[0], 1, 1_700_000_000_000, 5000, 0, 300, -7, 0) };
    $made->("timerlog/$zeros", $unit->(-1) . $unit->(0) . pack('NQ>N', 96, 0, 0xCBD43194) . "\0" x 80);
    $made->('timerwheel', "\0" x 64 . pack('Q>q>q>NN', 1_700_000_000, 0, 52, 2, 0) . "\0" x 32);
    $made->('config/timercheck', pack('Q>7', 1_700_000_000_000, 104, 7, 8, 1, 1_700_000_000_000, 2) . "\0" x 4040);
    is((fsck($store))[0], 0, 'a timer is clean') or diag((fsck($store))[1]);
    damage("a timer unit's size", "timerlog/$zeros", flip(55), 52, 'no timer unit: ');
    damage("a timer unit's magic", "timerlog/$zeros", flip(52 + 15), 52, 'no timer unit: 52 bytes, magic 00000054');
    damage("a timer unit's chain", "timerlog/$zeros", set(56, pack 'q>', 60), 52, 'a timer unit names the one before it at 60, and is itself at 52');
    damage("the timer log's blank", "timerlog/$zeros", flip(104 + 3), 104, 'no timer unit: ');
    damage('a timer wheel cut', 'timerwheel', cut(100), 100, '100 bytes are no whole wheel');
    damage("a slot's unit", 'timerwheel', set(64 + 16, pack 'q>', 500), 64, 'a slot names the timer unit at 500, and the timer log ends at 104');
    damage('a slot', 'timerwheel', set(64 + 8, pack 'q>', -5), 64, 'no slot: ');
    damage("the timer's checkpoint ahead", 'config/timercheck', set(8, pack 'Q>', 105), 8, 'lastTimerLogFlushPos 105 is ahead of the timer log, which ends at 104');
    damage("the timer's checkpoint cut", 'config/timercheck', cut(55), 55, 'the file is cut: 55 bytes');
    {
        my $dir = "$copies/timer";
        system('cp', '-a', '--sparse=always', $store, $dir);
        spew("$dir/timerwheel", 'x' x 100);
        like((fsck('--repair', '--force', $dir))[1], qr/^left: \Q$dir\E\/timerwheel: files of the timer are never touched/m, 'the timer is never repaired');
        is(slurp("$dir/timerwheel"), 'x' x 100, '... and is as it was');
        system('rm', '-rf', '--', $dir);
    }
    system('rm', '-rf', '--', "$store/timerlog", "$store/timerwheel", "$store/config/timercheck");
}

# ---- what it is told, and how far it is ----

{
    my $conf = "$copies/broker.conf";
    spew($conf, "storePathRootDir=$store\nmaxHashSlotNum=1000\nmaxIndexNum=4000\nunknownKey=1\n");
    ($status, $text) = fsck('-c', $conf);
    is($status, 0, '-c: the store is the one of broker.conf') or diag $text;
    like($text, qr/^\Q$store\E: 15\d\d records/m, '... all of it');
    spew($conf, "storePathRootDir=/nonexistent\nstorePathCommitLog=$store/commitlog\nmaxHashSlotNum=7\nmaxIndexNum=9\n");
    is((fsck('-c', $conf, $store))[0], 0, '... what is said besides it counts, and slots of other files do not');
    is((fsck('-c', "$copies/none", $store))[0], 2, '... a file that is not there');
    my ($rc, $said) = fsck('--progress', $store);
    is($rc, 0, '--progress');
    like($said, qr/^queues: \d+, \d+\.\d s$/m, '... says how far it is');
    unlike((fsck($store))[1], qr/^queues: /m, '... which else only a terminal hears');
}

is((fsck('-q', $store))[0], 0, 'the store itself is still clean');

# ---- repair ----

# all that was sent, from the store in place of the broker's own
sub all_is_there {
    my ($what, $lost) = @_;
    ok(eval { $m->again; 1 }, "$what: the broker starts");
    my $cw = wire($m->{port});
    my $good = 0;
    for my $q (0 .. 3) {
        is($cw->call(30, {topic => 'TopicA', queueId => $q})->{ext}{offset}, 375, "... 375 messages in queue $q");
        for (my ($at, $empty) = (0, 0); $at < 375 && $empty < 5;) {
            my $r = pull_messages($cw, 'CID_ONS-HTTP-PROXY', 'TopicA', $q, $at);
            $good += () = $r->{body} =~ /m\d+x{1500}/g if $r->{code} == 0;
            $empty = $r->{ext}{nextBeginOffset} > $at ? 0 : $empty + 1;
            $at = $r->{ext}{nextBeginOffset};
        }
    }
    is($good, 1500 - $lost, '... all bodies but ' . $lost);
    is($cw->call(14, {consumerGroup => 'g1', topic => 'TopicA', queueId => 1})->{ext}{offset}, 77, '... the group and its offset');
    ok(eval { await('the index', 20, sub {
        my $r = $cw->call(12, {topic => 'TopicA', key => 'k1499', maxNum => 8, beginTimestamp => 0, endTimestamp => 9e12});
        $r->{code} == 0 && $r->{body} =~ /m1499x/ }) }, '... found by key');
    ok($m->stop, '... and stops');
}

system('cp', '-a', '--sparse=always', $store, "$copies/good");
sub spoil { my ($file, $code) = @_; my $b = slurp("$store/$file"); $code->(\$b); spew("$store/$file", $b) }
spoil($queue, flip(47));
spoil('consumequeue/TopicA/3/' . '0' x 20, cut(1000));
spoil($name, flip($entries + 20));
spoil('checkpoint', set(40, pack 'Q>', 1 << 50));
spew("$store/config/topics.json.bak", slurp("$store/config/topics.json"));
spoil('config/topics.json', cut(50));
($status, $text) = fsck('--force', $store);
is($status, 2, '--force is nothing without --repair');
($status, $text) = fsck('--repair', $store);
is($status, 1, 'many damages');
like($text, qr/^repaired: \Q$store\E\/$_/m, "... $_ is repaired") for 'consumequeue/TopicA/1', 'consumequeue/TopicA/3', $name, 'checkpoint', 'config/topics.json';
unlike($text, qr/^left/m, '... nothing is left');
is(length slurp("$store/config/topics.json.broken"), 50, '... what the config file was is kept');
($status, $text) = fsck($store);
is($status, 0, '... and then nothing is wrong') or diag $text;
all_is_there('after the repair', 0);
($status, $text) = fsck($store);
is($status, 0, '... and the broker left it clean') or diag $text;

# a queue that somebody removed, and one that is of an earlier topic of that name
system('rm', '-rf', '--', "$store/consumequeue/TopicA/2");
($status, $text) = fsck($store);
is($status, 1, 'a queue without its directory is found');
like($text, qr/^\Q$store\E\/consumequeue\/TopicA\/2: offset 0: the queue is missing: the log has 375 records of it, the last is number 374$/m,
    '... with what the log has of it');
($status, $text) = fsck('--repair', $store);
like($text, qr/^repaired: \Q$store\E\/consumequeue\/TopicA\/2: the broker makes it again/m, '... it can be made again');
all_is_there('after that', 0);
is((fsck($store))[0], 0, '... and is there');
ok(eval { $m->again; 1 }, 'the broker starts');
$w = wire($m->{port});
send_message($w, 'TopicC', $_ % 2, "m$_") for 0 .. 3;
is($w->call(215, {topic => 'TopicC'})->{code}, 0, 'a topic is deleted');
is(send_message($w, 'TopicC', 0, 'again')->{code}, 0, '... and made again');
ok($m->stop, '... and has one message');
($status, $text) = fsck($store);
is($status, 0, 'the queue that had messages then is none that is missing') or diag $text;
like($text, qr/^note: 2 records of 1 queues that have no files, TopicC\/1 for one: of deleted topics$/m, '... which is noted');
spew("$store/audit.log", '');
like((fsck($store))[1], qr/consumequeue\/TopicC\/1: offset 0: the queue is missing/, '... as it is where nobody knows');
spoil('config/topics.json', sub { ${$_[0]} =~ s/"TopicC"/"TopicX"/g });
is((fsck($store))[0], 0, '... but of a topic that is not in the table');

# what cannot be made again
spoil($log[0], flip($r0 + 200));
spoil('consumequeue/TopicA/1/' . '0' x 20, flip(47));
spoil('config/topics.json', cut(50));
spoil('config/topics.json.bak', cut(0));
my $before = slurp("$store/$log[0]");
($status, $text) = fsck('--repair', $store);
is($status, 1, 'a damaged log, a config file without a good .bak');
like($text, qr/^left: \Q$store\E\/$_: /m, "... $_ is left") for $log[0], 'consumequeue/TopicA/1', 'config/topics.json', 'config/topics.json.bak';
ok(slurp("$store/$log[0]") eq $before, '... as it was');
ok(-e "$store/config/topics.json" && -e "$store/$queue" && -e "$store/checkpoint" && !-e "$store/abort", '... nothing is gone');
($status, $text) = fsck('--repair', '--force', $store);
like($text, qr/^repaired: \Q$store\E\/$_: /m, "with --force $_ goes") for $log[0], 'consumequeue/TopicA/1', 'config/topics.json', 'config/topics.json.bak';
ok(slurp("$store/$log[0]") eq $before, '... but the log is the broker\'s');
ok(!-e "$store/config/topics.json", '... the config file is gone');
spew("$store/config/topics.json", slurp("$copies/good/config/topics.json"));
all_is_there('after the force', 1);
ok(eval { $m->again; 1 }, 'and the broker starts on it');
$m->kill9;
($status, $text) = fsck($store);
like($text, qr/^note: the last run did not end cleanly/m, 'after a kill: that is said');
done_testing;
