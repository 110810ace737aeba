#!/usr/bin/perl
# As apache_both_ways.t, with a store laid out otherwise: consume queue extensions (in small files), a commit log in two
# directories, and Apache's pool of buffers ahead of the page cache (R-STORE-01, -20, -21, -37).
# Needs tests/clients/setup. MQ_SOAK=1: 100,000 messages of each writer; BOTH_WAYS=n: n of them.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Apache;
use BothWays;
use Test::More;

apache_is_here() or plan skip_all => 'run tests/clients/setup first';
my $messages = $ENV{BOTH_WAYS} || ($ENV{MQ_SOAK} ? 100_000 : 1_500);
my %layout = (enableConsumeQueueExt => 'true', mappedFileSizeConsumeQueueExt => 4099, transientStorePoolEnable => 'true',
    storePathCommitLog => 'DIR/log-a,DIR/log-b', mappedFileSizeCommitLog => 1048576);

both_ways('TERM', 'clean stops', $messages, %layout);
both_ways('KILL', 'kill -9', $messages / 2, %layout);
done_testing();
