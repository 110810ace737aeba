#!/bin/sh
# The power cuts are real: with ASYNC_FLUSH they lose acknowledged messages, and only then.
exec "${MQ_BUILD:-build}/tests/fault/killer" --cut --async --rounds 20 --expect-loss
