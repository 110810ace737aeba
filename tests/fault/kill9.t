#!/bin/sh
# kill -9 during sends: 20 times, with MQ_SOAK 1000 times.
rounds=20
test -z "${MQ_SOAK:-}" || rounds=1000
exec "${MQ_BUILD:-build}/tests/fault/killer" --rounds $rounds --full 50
