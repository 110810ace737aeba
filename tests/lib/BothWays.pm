# One store, two brokers: Apache 5.5.0 writes, ours goes on with its directory, Apache goes on with ours. What tests of
# that share: the mixed messages, what is known of them, and the way there and back.
#
#     both_ways('TERM', 'clean stops', 4000, KEY => VALUE...);    # further lines of both broker.conf; DIR in them is the directory
#
# Needs tests/clients/setup: apache_is_here.
package BothWays;
use strict;
use warnings;
use utf8;
use Apache;
use Compress::Zlib ();
use Digest::MD5 qw(md5);
use Encode qw(encode_utf8);
use Exporter qw(import);
use JSON::PP;
use Mqfs;
use Test::More;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(both_ways);

my $QUEUES = 4;

# What both must agree on.
my %LAYOUT = (mappedFileSizeCommitLog => 4194304, mappedFileSizeConsumeQueue => 60000, maxHashSlotNum => 10000,
    maxIndexNum => 40000, messageDelayLevel => '1s 5s 20s', flushConsumerOffsetInterval => 200,
    flushDelayOffsetInterval => 200);
# Apache refuses a send that waited longer for a thread, 200 ms by default: a busy machine is none of this test's.
my %PATIENT = (waitTimeMillsInSendQueue => 60000);

# ---- messages: what number n is ----

my @KINDS = (
    sub { {} },
    sub { {TAGS => "tag$_[0]"} },
    sub { {KEYS => "k$_[0] other$_[0]", UNIQ_KEY => sprintf('7F0000010001AAAABBBB%012X', $_[0])} },
    sub { {TAGS => 'a', KEYS => "k$_[0]", where => 'Zürich 東京', number => $_[0]} },
    sub { {packed => 1, TAGS => 'z'} },
    sub { {batch => 5} },
    sub { {length => 9000} },
    sub { {DELAY => 1, TAGS => 'late'} },
    sub { {length => 1} },
    sub { {flag => 77, BUYER_ID => 'b' x 200} },
    sub { {TAGS => 'negative hash: polygenelubricants'} },
);

sub message {
    my ($n) = @_;
    my $kind = $KINDS[$n % @KINDS]->($n);
    my %m = map { $_ => delete $kind->{$_} } qw(packed batch length flag);
    my $length = $m{length} // 20 + ($n * 7919) % 700;
    $m{plain} = "$n:" . substr(join('', map { chr(33 + ($n + $_ * 31) % 90) } 0 .. 96) x ($length / 97 + 1), 0, $length);
    $m{body} = $m{packed} ? Compress::Zlib::compress($m{plain}) : $m{plain};
    $m{properties} = {map { $_ => encode_utf8($kind->{$_}) } keys %$kind};
    return \%m;
}

my $json = JSON::PP->new->utf8->canonical;
sub property_text { my $p = shift; join '', map { "$_\x01$p->{$_}\x02" } sort keys %$p }

sub send_frame {
    my ($wire, $n, $queue) = @_;
    my $m = message($n);
    my ($code, $body) = (310, $m->{body});
    my $text = property_text($m->{properties});
    if ($m->{batch}) {
        $code = 320;
        $body = join '', map {
            my $one = "$n.$_:" . $m->{plain};
            my $p = "KEYS\x01b$n.$_\x02";
            pack('NNNNN', 22 + length($one) + length $p, 0, 0, 5, length $one) . $one . pack('n', length $p) . $p
        } 1 .. $m->{batch};
        $text = '';
    }
    utf8::decode($text);
    return $wire->frame($code, {a => 'both-ways', b => 'Mixed', c => 'TBW102', d => 4, e => $queue,
        f => $m->{packed} ? 1 : 0, g => int(time * 1000), h => $m->{flag} // 0, i => $text, j => 0, k => 'false',
        l => 0, m => $m->{batch} ? 'true' : 'false'}, $body);
}

# ---- one store and what is known of it ----

my $next = 1;

# Sends $count requests, 64 under way. Notes in $known->{at}{queue}{offset} = number (or number.part); the delayed in late.
sub send_mixed {
    my ($known, $port, $count) = @_;
    my $wire = wire($port);
    my (%asked, $refused);
    my $end = $next + $count;
    while ($next < $end || %asked) {
        my $frames = '';
        while ($next < $end && keys %asked < 64) {
            my $queue = $next % $QUEUES;
            $frames .= send_frame($wire, $next, $queue);
            $asked{$wire->{opaque}} = [$next++, $queue];
        }
        $wire->raw($frames) if length $frames;
        my $r = $wire->receive(30);
        my $what = delete $asked{$r->{opaque}} or next;
        my ($n, $queue) = @$what;
        if ($r->{code} != 0) { diag("send $n: $r->{code} $r->{remark}") if !$refused++; next }
        my $m = message($n);
        if    ($m->{properties}{DELAY}) { $known->{late}{$n} = $queue }
        elsif ($m->{batch}) { $known->{at}{$queue}{$r->{ext}{queueOffset} + $_ - 1} = "$n.$_" for 1 .. $m->{batch} }
        else                { $known->{at}{$queue}{$r->{ext}{queueOffset}} = $n }
    }
    return $refused // 0;
}

# A record's parts.
sub record {
    my ($bytes) = @_;
    my ($size, $magic, $crc, $queue, $flag, $hi, $lo) = unpack 'N7', $bytes;
    my $sys = unpack 'N', substr $bytes, 36, 4;
    my $at = 40 + 8 + ($sys & 0x10 ? 20 : 8) + 8 + ($sys & 0x20 ? 20 : 8) + 4 + 8;
    my $n = unpack 'N', substr $bytes, $at, 4;
    my $body = substr $bytes, $at += 4, $n;
    $at += $n;
    my $topic = $magic == 0xDAA320AB ? unpack('n/a*', substr $bytes, $at) : unpack('C/a*', substr $bytes, $at);
    $at += length($topic) + ($magic == 0xDAA320AB ? 2 : 1);
    my $text = unpack 'n/a*', substr $bytes, $at;
    return {queue => $queue, flag => $flag, offset => $hi * 2 ** 32 + $lo, sys => $sys, body => $body, topic => $topic,
        properties => {map { split /\x01/, $_, 2 } split /\x02/, $text}};
}

sub records {
    my ($port, $topic, $queue, $each) = @_;
    my $wire = wire($port);
    my $at = $wire->call(31, {topic => $topic, queueId => $queue})->{ext}{offset};
    while (1) {
        my $r = pull_messages($wire, 'g1', $topic, $queue, $at);
        last if $r->{code} != 0;
        for (my $p = 0; $p < length $r->{body};) {
            my $size = unpack 'N', substr $r->{body}, $p, 4;
            $each->($at++, substr $r->{body}, $p, $size);
            $p += $size;
        }
        $at == $r->{ext}{nextBeginOffset} or return "next offset $r->{ext}{nextBeginOffset} after $at";
    }
    my $max = $wire->call(30, {topic => $topic, queueId => $queue})->{ext}{offset};
    return $max == $at ? '' : "read to $at of $max";
}

# Is this message number $n, as it was sent?
sub is_sent {
    my ($r, $n) = @_;
    my ($number, $part) = split /\./, $n;
    my $m = message($number);
    my %want = $part ? (KEYS => "b$n") : %{$m->{properties}};
    delete $want{DELAY};
    my $body = $part ? "$n:$m->{plain}" : $m->{packed} ? Compress::Zlib::uncompress($r->{body}) : $r->{body};
    return 0 if $body ne ($part ? "$n:$m->{plain}" : $m->{plain});
    return 0 if ($r->{sys} & 1) != ($m->{packed} ? 1 : 0);
    return 0 if $r->{flag} != ($part ? 5 : $m->{flag} // 0);
    $want{$_} eq ($r->{properties}{$_} // '') or return 0 for keys %want;
    return $r->{topic} eq 'Mixed';
}

# Reads everything: acknowledged messages at their places, each once; records that were read before unchanged.
sub check_all {
    my ($known, $port, $what) = @_;
    my ($wrong, $changed, $twice, @why) = (0, 0, 0);
    my (%late, $n);
    for my $queue (0 .. $QUEUES - 1) {
        my $why = records($port, 'Mixed', $queue, sub {
            my ($offset, $bytes) = @_;
            $n++;
            my $sum = $known->{sum}{$queue}{$offset} //= md5($bytes);
            $changed++ if $sum ne md5($bytes);
            my $r = record($bytes);
            my $number = $known->{at}{$queue}{$offset};
            if (!defined $number) {
                ($number) = $r->{body} =~ /^(\d+):/;
                $twice++ if !defined $number || $late{$number}++ || ($known->{late}{$number} // -1) != $queue;
            }
            $wrong++ if $r->{offset} != $offset || $r->{queue} != $queue || !defined $number || !is_sent($r, $number);
            $known->{seen}{$queue} = $offset + 1;
        });
        push @why, "queue $queue: $why" if $why;
        my $max = $known->{seen}{$queue} // 0;
        push @why, map { "$queue/$_ is gone" } grep { $_ >= $max } keys %{$known->{at}{$queue}};
    }
    push @why, "$wrong are not what was sent", if $wrong;
    push @why, "$changed records changed" if $changed;
    push @why, "$twice delayed messages came twice" if $twice;
    push @why, (keys(%{$known->{late}}) - keys %late) . ' delayed messages are missing' if keys %late != keys %{$known->{late}};
    ok(!@why, "$what: all $n messages") or diag(map { "$_\n" } @why[0 .. ($#why > 9 ? 9 : $#why)]);
}

# All delayed messages of the short level have come to their queues.
sub await_late {
    my ($known, $port) = @_;
    my $total = keys(%{$known->{late}}) + map { keys %{$known->{at}{$_}} } keys %{$known->{at}};
    $total = keys %{$known->{late}};
    $total += keys %{$known->{at}{$_}} for keys %{$known->{at}};
    my $wire = wire($port);
    my $have;
    eval { await('the delayed messages', 40, sub {
        $have = 0;
        $have += $wire->call(30, {topic => 'Mixed', queueId => $_})->{ext}{offset} for 0 .. $QUEUES - 1;
        $have >= $total or sleep(0.2), 0;
    }); 1 } or diag("$@: have $have of $total");
}

my %TOPIC = (defaultTopic => 'TBW102', readQueueNums => $QUEUES, writeQueueNums => $QUEUES, perm => 6,
    topicFilterType => 'SINGLE_TAG', topicSysFlag => 0, order => 'false');

# Settings made on one broker; they are found again on the other.
sub make_settings {
    my ($port, $who) = @_;
    my $wire = wire($port);
    my @r = ($wire->call(17, {%TOPIC, topic => 'Mixed'}),
        $wire->call(17, {%TOPIC, topic => "Made-by-$who", readQueueNums => 7, perm => 4}),
        $wire->call(200, {}, qq({"groupName":"g1","retryMaxTimes":16})),
        $wire->call(200, {}, qq({"groupName":"g-$who","retryMaxTimes":3,"consumeBroadcastEnable":false})));
    is(join(' ', map { $_->{code} } @r), '0 0 0 0', "$who: topics and groups are made") or diag(map { $_->{remark} // '' } @r);
}

sub check_settings {
    my ($port, $what, @whos) = @_;
    my $wire = wire($port);
    for my $who (@whos) {
        my $topic = decode_json($wire->call(351, {topic => "Made-by-$who"})->{body} || '{}');
        my $group = decode_json($wire->call(352, {group => "g-$who"})->{body} || '{}');
        is(join(' ', map { $_ // 'none' } @{$topic}{qw(readQueueNums perm)}, $group->{retryMaxTimes}), '7 4 3',
            "$what: the topic and the group that $who made");
    }
}

sub commit_offsets {
    my ($port, $add) = @_;
    $add += 0;
    my $wire = wire($port);
    $wire->call(15, {consumerGroup => 'g1', topic => 'Mixed', queueId => $_, commitOffset => $add + $_}) for 0 .. $QUEUES - 1;
}

sub offsets {
    my ($port) = @_;
    my $wire = wire($port);
    return join ' ', map { $wire->call(14, {consumerGroup => 'g1', topic => 'Mixed', queueId => $_})->{ext}{offset} // 'none' }
        0 .. $QUEUES - 1;
}

# One message of the long level, which the other broker will deliver.
sub send_under_way {
    my ($known, $port) = @_;
    my $n = $next++;
    $n = $next++ while $n % @KINDS != 7;
    my $m = message($n);
    my $r = send_message($port, 'Mixed', 1, $m->{plain}, %{$m->{properties}}, DELAY => 3, producerGroup => 'both-ways');
    is($r->{code}, 0, 'a message is under way that is due only later');
    $known->{late}{$n} = 1;
}

# The offsets are on disk: Apache begins to write them 10 s after its start.
sub await_written {
    my ($dir) = @_;
    my $since = time;
    my $text;
    eval { await('the offsets on disk', 30, sub {
        my $delay = (stat "$dir/store/config/delayOffset.json")[9] // 0;
        $text = slurp("$dir/store/config/consumerOffset.json") // '';
        $delay > $since && $text =~ /\b3:103\b/;
    }); 1 } or diag("$@$text");
}

# Apache's Java client on our broker: a push consumer from the first message on gets each once.
sub java_consumer {
    my ($dir, $ns, $want) = @_;
    my ($status, $out) = sh('exec timeout 120 java -Xmx256m -XX:+UseSerialGC -XX:-UsePerfData -XX:TieredStopAtLevel=1 '
        . '"-Duser.home=$3" -Djava.io.tmpdir="$3" -Drocketmq.client.logRoot="$3" -cp "$1/*" "$2" 127.0.0.1:"$4" Mixed java-group "$5"',
        apache_jars(), Mqfs::root() . '/tests/fault/Drain.java', $dir, $ns, $want);
    like($out, qr/^got $want, distinct $want$/m, "the Java consumer gets each of $want once") or diag($out);
}

# ---- filters by tag, and topics of more than 127 bytes ----

# A pull with a filter gives exactly the messages with that tag: the queue entries lead to the right tag codes.
sub check_tag {
    my ($known, $port, $what) = @_;
    my ($want, $got, $wrong) = (0, 0, 0);
    my $wire = wire($port);
    for my $queue (0 .. $QUEUES - 1) {
        my %tagged = map { $_ => 1 } grep { $known->{at}{$queue}{$_} !~ /\./ &&
            (message($known->{at}{$queue}{$_})->{properties}{TAGS} // '') eq 'a' } keys %{$known->{at}{$queue}};
        my $at = $wire->call(31, {topic => 'Mixed', queueId => $queue})->{ext}{offset};
        $want += grep { $_ >= $at } keys %tagged;
        while (1) {
            my $r = $wire->call(11, {consumerGroup => 'g1', topic => 'Mixed', queueId => $queue, queueOffset => $at,
                maxMsgNums => 32, sysFlag => 4, commitOffset => 0, suspendTimeoutMillis => 0, subscription => 'a',
                subVersion => 0, expressionType => 'TAG'});
            last if ($r->{code} != 0 && $r->{code} != 20) || $r->{ext}{nextBeginOffset} <= $at;
            $at = $r->{ext}{nextBeginOffset};
            next if $r->{code} != 0;
            for (my $p = 0; $p < length $r->{body};) {
                my $size = unpack 'N', substr $r->{body}, $p, 4;
                $tagged{record(substr $r->{body}, $p, $size)->{offset}} ? $got++ : $wrong++;
                $p += $size;
            }
        }
    }
    ok($want > 0 && $got == $want && !$wrong, "$what: a filter by tag gives the $want with it, and no other")
        or diag("$got of $want, $wrong others");
}

# Only a retry topic may have so long a name; its records are of the second version. Its group is longer than Apache
# lets one be made now (120), but those of older versions go on.
my $LONG_GROUP = 'long-' . 'g' x 135;
my $LONG = "%RETRY%$LONG_GROUP";

sub make_long_group {
    my ($dir) = @_;
    system('mkdir', '-p', "$dir/store/config") == 0 or die "mkdir: $?\n";
    spew("$dir/store/config/subscriptionGroup.json", $json->encode({dataVersion => {counter => 1, stateVersion => 0,
        timestamp => 1}, subscriptionGroupTable => {$LONG_GROUP => {groupName => $LONG_GROUP, retryMaxTimes => 16}}}));
}

sub send_long {
    my ($known, $port, $count) = @_;
    my $wire = wire($port);
    my $refused;
    for (1 .. $count) {
        my $n = $next++;
        my $r = send_message($wire, $LONG, 0, "long $n", KEYS => "l$n", producerGroup => 'both-ways');
        $r->{code} == 0 ? $known->{long}{$r->{ext}{queueOffset}} = $n : $refused++ || diag("$r->{code} $r->{remark}");
    }
    return $refused // 0;
}

sub check_long {
    my ($known, $port, $what) = @_;
    my ($n, $wrong) = (0, 0);
    my ($last) = sort { $b <=> $a } keys %{$known->{long}};
    # Apache's own thread puts messages into their queue some time after it acknowledged them.
    eval { await('the last long one', 30, sub { (rpc($port, 30, {topic => $LONG, queueId => 0})->{ext}{offset} // 0) > $last }) };
    my $why = records($port, $LONG, 0, sub {
        my ($offset, $bytes) = @_;
        my $r = record($bytes);
        my $number = $known->{long}{$offset} // 'none';
        $n++;
        $wrong++ if $r->{topic} ne $LONG || $r->{body} ne "long $number" || $r->{properties}{KEYS} ne "l$number"
            || unpack('N', substr $bytes, 4, 4) != 0xDAA320AB;
    });
    ok(!$why && !$wrong && $n == keys %{$known->{long}}, "$what: $n messages of a topic of " . length($LONG) . ' bytes')
        or diag("$why; $wrong wrong of $n, sent were " . keys %{$known->{long}});
}

# ---- there and back ----

# Whether the topic's queues have extension files with something in them.
sub has_ext {
    my ($dir) = @_;
    my $first = slurp("$dir/store/consumequeue_ext/Mixed/0/" . '0' x 20) // '';
    return length $first && unpack('n', $first) == 20 ? 1 : 0;
}

sub both_ways {
    my ($signal, $how, $n, %more) = @_;
    my $dir = apache_dir();
    my ($ns, $port) = free_ports(2);
    my (%known, $began);
    s/DIR/$dir/g for values %more;
    my %conf = (%LAYOUT, %more);
    my $ext = ($more{enableConsumeQueueExt} // '') eq 'true' ? 1 : 0;
    my @logs = split /,/, $more{storePathCommitLog} // '';

    make_long_group($dir);
    my $pid = apache_start($dir, $ns, $port, %conf, %PATIENT);
    make_settings($port, 'apache');
    is(send_mixed(\%known, $port, $n), 0, "$how: Apache takes $n requests");
    await_late(\%known, $port);
    is(send_long(\%known, $port, 20), 0, "$how: Apache takes a topic with a long name");
    check_all(\%known, $port, "$how: Apache by itself");
    check_tag(\%known, $port, "$how: Apache by itself");
    check_long(\%known, $port, "$how: Apache by itself");
    commit_offsets($port, 100);
    send_under_way(\%known, $port);
    await_written($dir);
    apache_end($pid, $signal);
    ok(($signal eq "KILL" ? 1 : 0) == (-e "$dir/store/abort" ? 1 : 0), "$how: Apache's abort file tells how it ended");

    my $m = Mqfs->start({mount => 0, dir => $dir}, %conf, storePathRootDir => "$dir/store",
        autoCreateSubscriptionGroup => 'true');
    await_late(\%known, $m->{port});
    check_all(\%known, $m->{port}, "$how: ours on Apache's store");
    check_tag(\%known, $m->{port}, "$how: ours on Apache's store");
    check_long(\%known, $m->{port}, "$how: ours on Apache's store");
    is(has_ext($dir), $ext, "$how: queues have " . ($ext ? 'extensions' : 'no extension'));
    check_settings($m->{port}, "$how: ours", 'apache');
    is(offsets($m->{port}), '100 101 102 103', "$how: ours knows the committed offsets");
    my $total = 0;
    $total += $_ for values %{$known{seen}};
    java_consumer($dir, $m->{ns}, $total);
    make_settings($m->{port}, 'mqfs');
    is(send_mixed(\%known, $m->{port}, $n), 0, "$how: ours takes $n requests more");
    is(send_long(\%known, $m->{port}, 20), 0, "$how: ours takes the topic with the long name");
    if ($ext && $signal eq 'TERM') {         # what has extensions is read without the key, and gets plain entries then
        ok($m->stop, "$how: ours stops");
        $m = Mqfs->start({mount => 0, dir => $dir}, %conf, storePathRootDir => "$dir/store",
            autoCreateSubscriptionGroup => 'true', enableConsumeQueueExt => 'false');
        is(send_mixed(\%known, $m->{port}, 100), 0, "$how: ours takes more with the key off");
        check_tag(\%known, $m->{port}, "$how: ours with the key off");
    }
    await_late(\%known, $m->{port});
    commit_offsets($m->{port}, 200);
    send_under_way(\%known, $m->{port});
    sleep 1;
    $signal eq 'KILL' ? $m->kill9 : ok($m->stop, "$how: ours stops cleanly");

    $pid = apache_start($dir, $ns, $port, %conf, %PATIENT);
    await_late(\%known, $port);
    check_all(\%known, $port, "$how: Apache on our store");
    check_tag(\%known, $port, "$how: Apache on our store");
    check_long(\%known, $port, "$how: Apache on our store");
    check_settings($port, "$how: Apache", 'apache', 'mqfs');
    is(offsets($port), '200 201 202 203', "$how: Apache knows the offsets that ours had");
    is(send_mixed(\%known, $port, 200), 0, "$how: Apache takes more");
    await_late(\%known, $port);
    check_all(\%known, $port, "$how: Apache after that");
    check_tag(\%known, $port, "$how: Apache after that");
    is(scalar(grep { my @files = glob "$_/" . '?' x 20; @files } @logs), @logs, "$how: files are in each of " . @logs . ' directories') if @logs;
    apache_end($pid, 'KILL');
}

1;
