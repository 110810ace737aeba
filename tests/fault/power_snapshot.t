#!/usr/bin/perl
# Power cuts while snapshots are made and removed, on a file system that forgets what was not synced (powerfs): the
# broker starts again on its store, each snapshot whose making was answered is there and whole, one that was under way
# is there whole or not at all, and so is one whose removal was under way; what is left of half ones is swept away.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use File::Temp qw(tempdir);
use Mqfs;
use Power;
use Test::More;
use Time::HiRes qw(sleep time);

Power::possible();
my $rounds = $ENV{MQ_SOAK} ? 100 : 10;
my $seed = $ENV{SEED} || time;
diag("seed $seed");
srand $seed;
my ($CREATE, $DELETE) = (30001, 30002);

my $power = Power->new;
my $disk = $power->{disk};
my @conf = (storePathRootDir => "$disk/store", flushDiskType => 'SYNC_FLUSH', autoCreateTopicEnable => 'true',
    mappedFileSizeCommitLog => 65536, mappedFileSizeConsumeQueue => 600, messageIndexEnable => 'false');
my $m = Mqfs->start({mount => 0, namesrv => 0}, @conf);

# What a snapshot's directory holds, found by starting a broker on a copy of it: the number of messages.
sub messages_in {
    my $name = shift;
    my $there = tempdir('mqfs-fault-XXXXXX', TMPDIR => 1, CLEANUP => 1);
    my $why = sh('mkdir $2/store && cp -a $1/. $2/store/', "$disk/store/snapshots/$name", $there);
    return "not copied: $why" if $why ne '';
    my $c = eval { Mqfs->start({mount => 0, namesrv => 0, dir => $there}, @conf, storePathRootDir => "$there/store") }
        or return "no broker starts on it: $@";
    my ($w, $n, $wrong) = (wire($c->{port}), 0, 0);
    for my $q (0 .. 1) {
        my $max = $w->call(30, {topic => 'TopicA', queueId => $q})->{ext}{offset};
        for (my $at = 0; $at < $max;) {
            my $r = pull_messages($w, 'CID_ONS-HTTP-PROXY', 'TopicA', $q, $at);
            last if $r->{code};
            my @got = $r->{body} =~ /<(\d+)>/g or last;
            for (@got) { $wrong++ if $_ != 2 * $at++ + $q; $n++ }
        }
        $wrong += 1000 if $n < $max;
    }
    my $recovered = slurp($c->{log}) =~ /did not end cleanly/ ? ', not stopped cleanly' : '';
    $c->stop;
    return $n . ($wrong ? ", $wrong wrong" : '') . $recovered;
}

my ($sent, %whole, %gone, @why) = (0);
my ($under_way, $came, $removing, $went) = (0, 0, 0, 0);

sub send_some {
    my $w = wire($m->{port});
    for (1 .. shift) {
        my $r = send_message($w, 'TopicA', $sent % 2, "<$sent>" . 'x' x 300);
        $r->{code} == 0 or die "send: $r->{code} $r->{remark}\n";
        $sent++;
    }
}

for my $round (1 .. $rounds) {
    send_some(150);
    my $r = rpc($m->{port}, $CREATE, {name => "a$round"});
    push @why, "round $round: $r->{remark}" if $r->{code};
    $whole{"a$round"} = $sent;
    send_some(50);
    # one that is asked for, and not waited for
    my $w = wire($m->{port});
    my $remove = $round % 3 == 0 ? "a$round" : undef;
    $w->raw($remove ? $w->frame($DELETE, {name => $remove}) : $w->frame($CREATE, {name => "b$round"}));
    sleep rand() ** 2 * 0.04;
    $power->cut;
    $m->kill9;
    $power->back;
    eval { $m->_spawn; 1 } or do { push @why, "round $round: the broker does not start: $@"; last };
    opendir my $d, "$disk/store/snapshots" or push(@why, "round $round: the snapshots' directory is gone"), last;
    my %there = map { $_ => 1 } grep { !/^\./ } readdir $d;
    my $before = $sent;
    if ($remove) {
        $removing++;
        if ($there{$remove}) { $went++ } else { delete $whole{$remove} }
    } else {
        $under_way++;
        if ($there{"b$round"}) { $came++; $whole{"b$round"} = $before }
    }
    push @why, map { "round $round: snapshot $_ is gone" } grep { !$there{$_} } sort keys %whole;
    push @why, map { "round $round: snapshot $_ should not be there" } grep { !exists $whole{$_} } sort keys %there;
    # all of this round, and one of an earlier one
    for my $name (grep { $there{$_} } "a$round", "b$round", (sort keys %whole)[0]) {
        my $n = messages_in($name);
        push @why, "round $round: snapshot $name: $n messages, not $whole{$name}" if $n ne $whole{$name};
    }
    # few are kept: a test's file system is in memory
    for my $old (grep { !/^[ab]$round$/ } sort keys %whole) {
        $r = rpc($m->{port}, $DELETE, {name => $old});
        push @why, "round $round: $old is not removed: $r->{remark}" if $r->{code};
        delete $whole{$old};
    }
    last if @why;
}
ok(!@why, "$rounds cuts: $sent messages; $came of $under_way snapshots under way came, $went of $removing being removed stayed")
    or diag(map { "$_\n" } @why) or diag(slurp($m->{log}));
is(rpc($m->{port}, $CREATE, {name => 'last'})->{code}, 0, 'a last one');
is(join(' ', grep { /^\.(?:part|gone)-/ } split /\n/, sh('ls -A $1', "$disk/store/snapshots")), '', 'nothing is left of half ones');
is(messages_in('last'), $sent, '... and it has all');

# ---- an export that was made is there, whole, and under its name ----
my $admin = Mqfs::build() . '/mqadmin';
is((sh('"$@" 2>&1', $admin, qw(export -q --topics TopicA -b), "127.0.0.1:$m->{port}", "$disk/lines"))[0], 0, 'an export of a topic');
ok($m->stop, 'a clean stop');
is((sh('"$@" 2>&1', $admin, qw(export -q --store), "$disk/store", "$disk/archive"))[0], 0, 'an export of the store');
$power->forget;
$power->back;
like(sh('tail -n 1 "$1"', "$disk/lines"), qr/^\{"end":\{"messages":$sent\}\}$/, 'after a power cut the one is there');
like(sh('tar t --zstd -f "$1" | tail -n 1', "$disk/archive"), qr/^checkpoint$/, '... and so is the other');
done_testing;
