#!/usr/bin/perl
# The README's two minutes: every command there, typed into a broker that is configured as tools/run does it, prints
# what stands there; but for times, and process numbers.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Mqfs;
use Test::More;

plan skip_all => 'the tour is root\'s' if $>;
my ($tour) = slurp(Mqfs::root() . '/README.md') =~ /^## Two minutes\n(.*?)^## /ms or BAIL_OUT('no tour in the README');
my $m = Mqfs->start(autoCreateTopicEnable => 'false', autoCreateSubscriptionGroup => 'false', enforceBindings => 'true');

# What differs from run to run, and the shell's way to name a command that is not typed by hand.
sub settled {
    my $text = shift;
    $text =~ s{\b[A-Z][a-z]{2} [ 123]\d \d\d:\d\d\b}{TIME}g;
    $text =~ s{"time":"[^"]*"}{"time":"TIME"};
    $text =~ s{fuse:pid \d+}{fuse:pid N};
    $text =~ s{^bash: line \d+: }{bash: }m;
    $text =~ s{\Q$m->{mnt}\E}{/mq}g;
    return $text;
}

# Types one command; its output as the README should have it. alice is somebody who is on every machine.
sub typed {
    my $command = shift;
    $command =~ s{/mq/}{$m->{mnt}/}g;
    $command =~ s{\balice\b}{daemon}g;
    my ($status, $out) = sh('exec bash -c "$1"', $command);
    return settled($out =~ s{\bdaemon\b}{alice}gr);
}

sub compare {
    my ($command, $want) = @_;
    is(typed($command) =~ s/\n\z//r, settled($want) =~ s/\n\z//r, $command =~ s/\s+#.*//r);     # a body may end without one
}

# A refusal of the client's is asked for, the messages that the tour speaks of are sent.
sub between {
    my $text = shift;
    if ($text =~ /^CODE: (\d+)  DESC: (.*)$/m) {
        my $r = send_message($m->{port}, 'TopicA', 0, 'order 1', producerGroup => 'p1');
        is("$r->{code} $r->{remark}", "$1 $2", 'what a client of p1 prints');
    }
    if ($text =~ /three messages to queue 0/) {
        is(send_message($m->{port}, 'TopicA', 0, "order $_", producerGroup => 'p1')->{code}, 0, "message $_") for 1 .. 3;
    }
}

my ($command, $want, $n) = ('', '', 0);
sub flush_command { compare($command, $want) if $command; ($command, $want) = ('', '') }
for my $line (split /^/, $tour) {
    if ($line =~ /^\$ (.*)/) {
        flush_command();
        $command = $1;
        $n++;
    } elsif ($line =~ /^```/) {
        flush_command();
    } elsif ($command) {
        $want .= $line;
    } else {
        between($line);
    }
}
cmp_ok($n, '>', 12, "$n commands");
ok($m->stop, 'a clean stop');
done_testing();
