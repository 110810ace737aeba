#!/usr/bin/perl
# What a client sees of enforceBindings: a refusal until its group is bound to
# the topic, and again when the binding is taken away.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Peer;
use Test::More;

plan skip_all => 'Apache keeps bindings but does not enforce them' if $PEER ne 'mqfs';

my $peer = start_peer(enforceBindings => 'true');
for my $version ('4.9.8', '5.5.0') {
    (my $prefix = "gov$version") =~ tr/.//d;
    my @java = java($peer, $version);
    run_driver("$version unbound", $peer, $prefix, [@java], 'unbound');
    prepare($peer, $prefix, 'bound');
    like(mqadmin($peer, 'bind', $peer->{addr}, "$prefix-bound-g", "$prefix-bound", '*'),
        qr/^success/, "$version: the group is bound");
    run_driver("$version bound", $peer, $prefix, [@java], 'bound');
}
done_testing;
