#!/bin/sh
# The mount beside its floor (tests/bench/fuse_floor.c), in one run:
#   cat   open, read, read, close of TopicA/0/offset, us each; and cat(1) as a process
#   ls -l of a directory with 100,000 topics, s: nothing in the kernel's cache, then cached
# Each line: what, floor, mount, ratio, limit. Exit status 1 when a limit is passed.
#     tests/bench/fs_bench.sh [TOPICS]
set -eu
cd "$(dirname "$0")/../.."
B=${MQ_BUILD:-build}
topics=${1:-100000}
dir=$(mktemp -d)
pids=
finish() {
    for p in $pids; do kill "$p" 2>/dev/null || :; done
    wait 2>/dev/null || :
    umount -l "$dir/floor" 2>/dev/null || :
    umount -l "$dir/mq" 2>/dev/null || :
    rm -rf --one-file-system "$dir"
}
trap finish EXIT
trap 'exit 1' INT TERM HUP

mkdir -p "$dir/floor" "$dir/store/config"
perl -e '
    my ($n) = @ARGV;
    print qq({"dataVersion":{"counter":1,"stateVersion":0,"timestamp":1700000000000},"topicConfigTable":{);
    for my $i (0 .. $n) {
        my $name = $i < $n ? sprintf "topic-%06d", $i : "TopicA";
        print $i ? "," : "", qq("$name":{"attributes":{},"order":false,"perm":6,"readQueueNums":1,"topicFilterType":"SINGLE_TAG","topicName":"$name","topicSysFlag":0,"writeQueueNums":1});
    }
    print "}}";' "$topics" > "$dir/store/config/topics.json"
port=$(perl -MIO::Socket::INET -e 'for (1..500) { my $p = 12000 + 10 * int rand 2000;
    next if grep { !IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => $_, Listen => 1) } $p, $p - 2; print $p; exit } exit 1')
cat > "$dir/broker.conf" <<END
brokerIP1=127.0.0.1
bindAddress=127.0.0.1
listenPort=$port
storePathRootDir=$dir/store
mappedFileSizeCommitLog=16777216
END
"$B/tests/bench/fuse_floor" "$dir/floor" "$topics" & pids="$pids $!"
"$B/mqbroker" -c "$dir/broker.conf" --mount "$dir/mq" > "$dir/log" 2>&1 & pids="$pids $!"

perl - "$dir" <<'END'
use strict;
use warnings;
use Fcntl;
use List::Util qw(min);
use Time::HiRes qw(time sleep);
my $dir = shift;
my ($floor, $mq) = ("$dir/floor", "$dir/mq");
my $end = time + 120;
until (-e "$floor/offset" && -e "$mq/TopicA/0/offset") { die "no mounts\n" if time > $end; sleep 0.05 }

my $bad = 0;
sub line {
    my ($what, $unit, $f, $m, $limit) = @_;
    my $ratio = $m / $f;
    $bad ||= $limit && $ratio > $limit;
    printf "%-24s floor %8.2f %s  mount %8.2f %s  ratio %.2f%s\n", $what, $f, $unit, $m, $unit, $ratio,
        $limit ? " (limit $limit)" : '';
}
sub seconds { my $code = shift; my $t = time; $code->(); return time - $t }
# side by side, in turn, the best round of each
sub compare {
    my ($rounds, $code) = @_;
    my (@f, @m);
    for (1 .. $rounds) {
        push @f, seconds(sub { $code->('f') });
        push @m, seconds(sub { $code->('m') });
    }
    return (\@f, \@m);
}
my %offset = (f => "$floor/offset", m => "$mq/TopicA/0/offset");
my ($f, $m) = compare(7, sub {
    my $path = $offset{+shift};
    for (1 .. 2000) {
        sysopen my $h, $path, O_RDONLY or die "$path: $!";
        sysread $h, my $text, 131072;
        sysread $h, $text, 131072;
        close $h;
    }
});
line('offset: open read read', 'us', min(@$f) / 2000 * 1e6, min(@$m) / 2000 * 1e6, 1.3);
($f, $m) = compare(5, sub { my $path = $offset{+shift}; for (1 .. 100) { system "cat $path >$dir/out" and die } });
line('cat offset', 'us', min(@$f) / 100 * 1e6, min(@$m) / 100 * 1e6, 1.3);

my %list = (f => "$floor/big", m => $mq);
($f, $m) = compare(4, sub { my $path = $list{+shift}; system "ls -l $path >$dir/out" and die; });
line('ls -l, nothing cached', 's', $f->[0], $m->[0], 3);
line('ls -l, cached', 's', min(@$f[1 .. 3]), min(@$m[1 .. 3]), 3);
exit $bad;
END
