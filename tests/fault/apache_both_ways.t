#!/usr/bin/perl
# One store, two brokers: Apache 5.5.0 writes, ours goes on with its directory, Apache goes on with ours; after clean
# stops, and after kill -9 of each. Every message is there once, byte for byte the record that its writer had stored;
# topics, groups, committed offsets and delayed messages under way come along (R-STORE-01, -20, -21, -37).
# Needs tests/clients/setup. MQ_SOAK=1: 100,000 messages of each writer; BOTH_WAYS=n: n of them.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Apache;
use BothWays;
use Test::More;

apache_is_here() or plan skip_all => 'run tests/clients/setup first';
my $messages = $ENV{BOTH_WAYS} || ($ENV{MQ_SOAK} ? 100_000 : 3_000);

both_ways('TERM', 'clean stops', $messages);
both_ways('KILL', 'kill -9', $messages / 2);
done_testing();
