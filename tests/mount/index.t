#!/usr/bin/perl
# /mq/index and QUEUE/at: messages by key, by id, by time, as links (R-QRY-01 to R-QRY-04).
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
is(sh('ls $1/index/key/TopicA', $mq), '', 'keys are not listed');
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

is(sh('find $1/index | wc -l', $mq), "7\n", 'a walk ends');
is(sh('rmdir $1/index/key/TopicA 2>&1; mkdir $1/index/key/X 2>&1; echo x 2>&1 > $1/index/files; ls $1/index/key', $mq) =~ s/.*(denied|permitted|Invalid argument|Not supported).*\n//gr,
    "TopicA\nTopicB\nindex\n", 'nothing is made or removed here');
ok($m->stop, 'stopped');
done_testing;
