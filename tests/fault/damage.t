#!/bin/sh
# Damaged files under a whole broker: some bytes of each, with MQ_SOAK every byte of the last 4 KiB (40 minutes), there
# with every byte of the store's own test too.
every=151
if test -n "${MQ_SOAK:-}"; then
	every=1
	STORE_EVERY_BYTE=1 "${MQ_BUILD:-build}/tests/unit/store_recover" >&2 || { echo "Bail out! store_recover"; exit 1; }
fi
exec "${MQ_BUILD:-build}/tests/fault/damage" $every
