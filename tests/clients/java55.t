#!/usr/bin/perl
# The Java client 5.5.0, with both forms of the header.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Peer;
use Test::More;

run_java('5.5.0', 'j55');
done_testing;
