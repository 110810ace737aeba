#!/usr/bin/perl
# What a client sees of enforceBindings: a refusal until its group is bound to
# the topic, and then all as ever.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Peer;
use Test::More;

plan skip_all => 'Apache keeps bindings but does not enforce them' if $PEER ne 'mqfs';

my $peer = start_peer(enforceBindings => 'true', MOUNT => 1);

# Runs scenarios whose groups are bound by files, as an administrator does it.
sub run_bound {
    my ($title, $prefix, $command, @scenarios) = @_;
    prepare($peer, $prefix, @scenarios);
    for my $topic (map { "$prefix-$_" } @scenarios) {
        mkdir "$peer->{mnt}/producers/$topic-p" or die "mkdir: $!";
        for my $group ("groups/$topic-g", "producers/$topic-p") {
            open my $f, '>', "$peer->{mnt}/$group/bindings/$topic" or die "$group: $!";
            syswrite $f, "\n";
        }
    }
    run_driver($title, $peer, $prefix, $command, @scenarios);
}

for my $version ('4.9.8', '5.5.0') {
    (my $prefix = "gov$version") =~ tr/.//d;
    my @java = java($peer, $version);
    run_driver("$version unbound", $peer, $prefix, [@java], 'unbound');
    prepare($peer, $prefix, 'bound');
    like(mqadmin($peer, 'bind', $peer->{addr}, "$prefix-bound-g", "$prefix-bound", '*'),
        qr/^success/, "$version: the group is bound");
    run_driver("$version bound", $peer, $prefix, [@java], 'bound');
    # once bound all is as ever, retry and dead-letter topics too
    run_bound("$version bound by files", $prefix, [@java], qw(tags broadcast orderly retry lite));
}
$ENV{HOME} = $peer->{dir};
run_bound('go bound by files', 'govgo', ["$CLIENTS/go-client"], qw(tags orderly retry));
done_testing;
