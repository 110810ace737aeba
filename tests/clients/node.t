#!/usr/bin/perl
# The Node client.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Peer;
use Test::More;

# This client lets the broker choose a retry's delay, which is level 3 at
# first: ten seconds by default, too long for a test.
my $peer = start_peer(messageDelayLevel => '1s 5s 1s 1s 1s 1s');
$ENV{HOME} = $peer->{dir};
run_driver('node', $peer, 'node', ['node', "$CLIENTS/node/client.js"],
    qw(tags broadcast orderly retry resume large missing));
done_testing;
