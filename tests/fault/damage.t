#!/bin/sh
# Damaged files under a whole broker: some bytes of each, with MQ_SOAK every byte of the last 4 KiB (150,000 starts, 20
# minutes in memory, hours on a disk), there with every byte of the store's own test too.
every=151
if test -n "${MQ_SOAK:-}"; then
	every=1
	# what a disk does is not what is tested here
	test -n "${TMPDIR:-}" || test ! -w /dev/shm || export TMPDIR=/dev/shm
	STORE_EVERY_BYTE=1 "${MQ_BUILD:-build}/tests/unit/store_recover" >&2 || { echo "Bail out! store_recover"; exit 1; }
fi
exec "${MQ_BUILD:-build}/tests/fault/damage" $every
