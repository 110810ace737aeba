#!/usr/bin/perl
# One index, two brokers: Apache 5.5.0 finds by key, unique id and tag what ours indexed, and the other way round;
# and what both make of the same log is the same, byte for byte (R-STORE-17, R-STORE-18, R-STORE-19, R-QRY-04).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Apache;
use Mqfs;
use Test::More;

apache_is_here() or plan skip_all => 'run tests/clients/setup first';

my %LAYOUT = (mappedFileSizeCommitLog => 4194304, mappedFileSizeConsumeQueue => 60000, maxHashSlotNum => 500,
    maxIndexNum => 2000);
sub query { my ($wire, $key, %more) = @_; return query_messages($wire, 'TopicA', $key, %more) }

sub send_some {
    my ($wire, $from, $to) = @_;
    for my $n ($from .. $to) {
        my $r = send_message($wire, 'TopicA', $n % 4, "m$n", KEYS => "k$n pair" . int($n / 2), TAGS => 'T' . $n % 300,
            UNIQ_KEY => sprintf '7F0000010001AAAABBBB%012X', $n);
        $r->{code} == 0 or die "send: $r->{code} $r->{remark}";
    }
}

sub finds {
    my ($who, $wire, $last) = @_;
    my @wrong;
    await("$who\'s index", 30, sub { query($wire, "k$last") eq "m$last" });
    for my $n (1 .. $last) {
        my $pair = join ' ', map { "m$_" } grep { $_ >= 1 && $_ <= $last } ($n & ~1, $n | 1);
        query($wire, "k$n") eq "m$n" && query($wire, 'pair' . int($n / 2)) eq $pair or push @wrong, $n;
    }
    is("@wrong[0 .. ($#wrong > 9 ? 9 : $#wrong)]", '', "$who finds messages 1 to $last by their keys");
    is(query($wire, sprintf('7F0000010001AAAABBBB%012X', $last), _UNIQUE_KEY_QUERY => 'true'), "m$last", '... by unique id');
    my $tagged = join ' ', map { "m$_" } grep { $_ % 300 == 7 } 1 .. $last;
    is(query($wire, 'T7', indexType => 'T'), $tagged, '... by tag');
    is(query($wire, 'nothing'), 'code 22', '... and not what is not there');
}

my $m = Mqfs->start({mount => 0}, autoCreateTopicEnable => 'false', %LAYOUT);
my $wire = wire($m->{port});
is($wire->call(17, {topic => 'TopicA', defaultTopic => 'TBW102', readQueueNums => 4, writeQueueNums => 4, perm => 6,
    topicFilterType => 'SINGLE_TAG', topicSysFlag => 0, order => 'false'})->{code}, 0, 'a topic');
send_some($wire, 1, 900);                        # 3,600 entries: two files
finds('ours', $wire, 900);
ok($m->stop, 'ours stopped');
my @ours = map { slurp($_) } sort glob "$m->{dir}/store/index/*";

# The same log, indexed by Apache: after a crash with all else gone it reads it from the start.
my $copy = apache_dir();
system 'sh', '-c', 'cp -a --sparse=always "$1/store" "$2/store" && cd "$2/store" && rm -rf index consumequeue checkpoint && echo 1 > abort',
    'sh', $m->{dir}, $copy;
my ($ns, $port) = free_ports(2);
my $apache = apache_start($copy, $ns, $port, %LAYOUT);
finds('Apache on our log', wire($port), 900);
apache_end($apache);
my @theirs = map { slurp($_) } sort glob "$copy/store/index/*";
is(scalar @ours, 2, 'two files');
is(scalar @theirs, scalar @ours, 'as many of Apache');
ok($ours[$_] eq $theirs[$_], 'file ' . ($_ + 1) . ' is the same, byte for byte') for 0 .. $#ours;

# Our store, read and written by Apache, then by ours again.
my $beside = apache_dir();                       # for its configuration
symlink "$m->{dir}/store", "$beside/store" or die $!;
$apache = apache_start($beside, $ns, $port, %LAYOUT);
finds('Apache in our index', wire($port), 900);
send_some(wire($port), 901, 1300);
finds('Apache in its own and ours', wire($port), 1300);
apache_end($apache);
my @before = glob "$m->{dir}/store/index/*";
$m->again;
finds('ours in both', wire($m->{port}), 1300);
is_deeply([glob "$m->{dir}/store/index/*"], \@before, '... from Apache\'s files as they were');
send_some(wire($m->{port}), 1301, 1400);
finds('ours, gone on', wire($m->{port}), 1400);
ok($m->stop, 'ours stopped');
done_testing;
