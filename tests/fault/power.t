#!/bin/sh
# Power loss during sends with SYNC_FLUSH: 10 times, with MQ_SOAK 200 times. tests/fault/power_forgets.t shows that the
# same cuts do lose what is not synced.
rounds=10
test -z "${MQ_SOAK:-}" || rounds=200
exec "${MQ_BUILD:-build}/tests/fault/killer" --cut --rounds $rounds
