#!/usr/bin/perl
# The Java client 4.9.8, with both forms of the header.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Peer;
use Test::More;

run_java('4.9.8', 'j49');
done_testing;
