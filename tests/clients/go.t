#!/usr/bin/perl
# The Go client.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Peer;
use Test::More;

my $peer = start_peer();
# the client keeps the offsets of broadcasting below HOME
$ENV{HOME} = $peer->{dir};
run_driver('go', $peer, 'go', ["$CLIENTS/go-client"],
    qw(tags broadcast orderly retry resume ways large pull missing));
done_testing;
