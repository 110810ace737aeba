#!/usr/bin/perl
# /mq/index and QUEUE/at: messages by key, by id, by time, as links; a topic's newest keys (R-QRY-01 to R-QRY-04).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Mqfs;
use POSIX qw(strftime);
use Test::More;
use Time::HiRes qw(sleep time);

my $m = Mqfs->start({}, autoCreateTopicEnable => 'false', maxHashSlotNum => 100, maxIndexNum => 1000);
my $mq = $m->{mnt};
is(sh('mkdir $1/TopicA $1/TopicB $1/topic:index', $mq), '', 'topics, one of them called index');
my $w = wire($m->{port});
my $a = send_message($w, 'TopicA', 1, 'first', KEYS => 'order-1 customer-7', UNIQ_KEY => '7F000001000012345678ABCDEF010203');
send_message($w, 'TopicA', 2, 'second', KEYS => 'order-2 customer-7');
send_message($w, 'TopicA', 1, 'third', KEYS => 'customer-7');
send_message($w, 'TopicB', 0, 'other', KEYS => 'order-1');
send_message($w, 'index', 0, 'in index', KEYS => 'k');

# by key
is(sh('ls $1/index', $mq), "files\nid\nkey\n", 'the index');
is(sh('ls $1/index/key', $mq), "TopicA\nTopicB\nindex\n", 'its topics');
is(sh('ls -U $1/index/key/TopicA', $mq), "customer-7\norder-2\norder-1\n", 'the keys of a topic, newest first, each once');
is(sh('ls -U $1/index/key/TopicB', $mq), "order-1\n", '... of that topic only');
is(sh('ls $1/index/key/TopicA/order-1', $mq), "1-00000000000000000000\n", 'one message with that key');
is(sh('cat $1/index/key/TopicA/order-1/*', $mq), 'first', '... a link to it');
is(readlink("$mq/index/key/TopicA/order-1/1-00000000000000000000"), '../../../../TopicA/1/messages/00000000000000000000',
    '... as it stands');
is(sh('ls -U $1/index/key/TopicA/customer-7', $mq),
    "1-00000000000000000001\n2-00000000000000000000\n1-00000000000000000000\n", 'three messages, newest first');
is(sh('cd $1/index/key/TopicA/customer-7 && cat $(ls -U)', $mq), 'thirdsecondfirst', '... with their bodies');
is(sh('cat $1/index/key/TopicB/order-1/*', $mq), 'other', 'the other topic has its own');
is(sh('cat $1/index/key/index/k/*', $mq), 'in index', 'the topic called index too');
is(sh('cat $1/index/key/TopicA/7F000001000012345678ABCDEF010203/*', $mq), 'first', 'a unique id is a key');
ok(!-e "$mq/index/key/TopicA/order-9", 'a key that nobody has is not there');
ok(!-e "$mq/index/key/TopicX/order-1", 'nor a topic that is not');
ok(!-l "$mq/index/key/TopicA/order-1/$_", "nor $_")
    for qw(2-00000000000000000000 1-00000000000000000001 1-0 1- -1 x 1-99999999999999999999);
send_message($w, 'TopicA', 3, 'fourth', KEYS => 'customer-7');
is(sh('ls -U $1/index/key/TopicA/customer-7 | head -1', $mq), "3-00000000000000000000\n", 'a new message shows at once');
send_message($w, 'TopicA', 0, "m$_", KEYS => 'bulk') for 1 .. 600;
is(sh('ls -U $1/index/key/TopicA/bulk | wc -l', $mq), "600\n", 'hundreds of messages with one key');
is(sh('ls $1/index/key/TopicA/bulk | sort -u | wc -l', $mq), "600\n", '... each once');

# by id
is(sh('cat $1/index/id/7F000001000012345678ABCDEF010203', $mq), 'first', 'by unique id');
is(readlink("$mq/index/id/7F000001000012345678ABCDEF010203"), '../../TopicA/1/messages/00000000000000000000', '... a link');
my $id = $a->{ext}{msgId};
like($id, qr/^[0-9A-F]{32}$/, 'the send told the offset id');
is(sh('cat $1/index/id/$2', $mq, $id), 'first', 'by offset id');
my ($other) = $id =~ s/^7F000001/7F000002/r;
ok(!-l "$mq/index/id/$other", 'an id of another broker is not there');
ok(!-l "$mq/index/id/$_", "nor $_") for 'x', 'F' x 32, '0' x 32, substr($id, 0, 31), $id . '0';

# the files
like(sh('cat $1/index/files', $mq), qr/^FILE +FIRST_TIME +LAST_TIME +FIRST_OFFSET +LAST_OFFSET +SLOTS_USED +ENTRIES_USED +ENTRIES\n\d{17} .* 999\n/,
    'the index files');

# by time
sleep 1.1;
my $between = time;
sleep 1.1;
send_message($w, 'TopicA', 1, 'late');
my $ms = int($between * 1000);
is(readlink("$mq/TopicA/1/at/\@$ms"), '../messages/00000000000000000002', 'the first message after a time in ms');
is(sh('cat "$1/TopicA/1/at/$2"', $mq, strftime('%Y-%m-%dT%H:%M:%S', localtime $between + 1)), 'late', '... in words');
is(sh('cat "$1/TopicA/1/at/$2"', $mq, '2020-01-01'), 'first', 'long ago: the first one');
ok(!-l "$mq/TopicA/1/at/2100-01-01", 'none in the time to come');
ok(!-l "$mq/TopicA/7/at/2100-01-01", 'none in an empty queue');
ok(!-l "$mq/TopicA/1/at/$_", "$_ is no time") for 'noon', '5', 'min';
is(sh('ls $1/TopicA/1/at', $mq), '', 'times are not listed');

# keys that no file can be called: found under a name that stands for them and no other
my %strange = ('a/b' => 'a%2Fb', '..' => '%2E.', 'a%2Fb' => 'a%252Fb', "tab\there" => 'tab%09here', '50%' => '50%', '/' x 10 => '%2F' x 10);
is(sh('mkdir $1/TopicS', $mq), '', 'a topic for strange keys');
send_message($w, 'TopicS', 0, "with $_", KEYS => $_) for sort keys %strange;
is_deeply([sort split /\n/, sh('ls $1/index/key/TopicS', $mq)], [sort values %strange], 'strange keys are listed by their names');
is(sh('cat $1/index/key/TopicS/$2/*', $mq, $strange{$_}), "with $_", "... and found by them: $strange{$_}") for sort keys %strange;
ok(!-e "$mq/index/key/TopicS/$_", "nothing is called $_") for '50%25', 'a%2fb', '%2E%2E', '%2E';
my @long = map { 'k' x 300 . $_ } 1 .. 3;
send_message($w, 'TopicS', 1, "long $_", KEYS => "short-$_ " . $long[$_ - 1]) for 1 .. 3;
send_message($w, 'TopicS', 2, 'long 2 again', KEYS => $long[1]);
my @cut = grep { /^k{237}%~[0-9A-F]{16}$/ } split /\n/, sh('ls -U $1/index/key/TopicS', $mq);
is(scalar @cut, 3, 'keys of 301 bytes that begin alike have three names of 255');
is(sh('cd $1/index/key/TopicS && cat $2/*', $mq, $cut[0]), 'long 2long 2 again', '... each finds its own messages');
is(sh('cd $1/index/key/TopicS && cat $2/*', $mq, $cut[1]), 'long 3', '... and the next');
is(sh('cd $1/index/key/TopicS && cat $2/*', $mq, $cut[2]), 'long 1', '... and the last');
ok(!-e "$mq/index/key/TopicS/" . substr($cut[0], 0, 254) . (substr($cut[0], 254) eq '0' ? '1' : '0'), 'another mark is not there');

# the newest 1,000
is(sh('mkdir $1/TopicK', $mq), '', 'a topic for many keys');
send_message($w, 'TopicK', $_ % 4, "m$_", KEYS => "n$_ all") for 1 .. 1200;
send_message($w, 'TopicB', 0, "b$_", KEYS => "b$_") for 1 .. 30;
send_message($w, 'TopicK', 0, 'no keys') for 1 .. 30;
my @keys = split /\n/, sh('ls -U $1/index/key/TopicK', $mq);
is(scalar @keys, 1000, '1,000 keys are listed');
is_deeply(\@keys, ['n1200', 'all', map { "n$_" } reverse 202 .. 1199], '... the newest, over all queues, newest first');
is(sh('cat $1/index/key/TopicK/n1/*', $mq), 'm1', '... an older one can be looked up');
is((stat "$mq/index/key/TopicK/n777")[9], (stat "$mq/index/key/TopicK/n777/1-00000000000000000194")[9],
    '... its time is that of its newest message');
is(sh('ls -l $1/index/key/TopicK | grep -c ^d', $mq), "1000\n", '... with attributes, too');
opendir my $dir, "$mq/index/key/TopicK" or die $!;
my @part = map { scalar readdir $dir } 1 .. 50;
send_message($w, 'TopicK', 0, 'late', KEYS => "late n$_") for 1 .. 60;
push @part, grep { defined } readdir $dir;
is_deeply([sort grep { !/^\./ } @part], [sort @keys], 'what comes during a listing does not disturb it');
closedir $dir;
is((split /\n/, sh('ls -U $1/index/key/TopicK', $mq))[0], 'late', '... and is in the next');

is(sh('find $1/index -maxdepth 2 | wc -l', $mq), "9\n", 'a walk');
is(sh('find $1/index/key/TopicS | wc -l', $mq), 1 + 2 * (6 + 3 + 3) + 1 . "\n", '... ends, and is whole');
is(sh('rmdir $1/index/key/TopicA 2>&1; mkdir $1/index/key/X 2>&1; echo x 2>&1 > $1/index/files; ls $1/index/key', $mq) =~ s/.*(denied|permitted|Invalid argument|Not supported).*\n//gr,
    "TopicA\nTopicB\nTopicK\nTopicS\nindex\n", 'nothing is made or removed here');
ok($m->stop, 'stopped');
done_testing;
