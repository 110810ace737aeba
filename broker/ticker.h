/* One thread that calls a function every 100 ms: the broker's sweeps. */
#ifndef BROKER_TICKER_H
#define BROKER_TICKER_H

#include <stdint.h>

#define TICK_MS 100

struct ticker;

/* fn(ctx, n) with n = 1, 2, ...; a late tick is not made up for. 0 or -errno. */
int ticker_start(void (*fn)(void *ctx, int64_t n), void *ctx, struct ticker **out);
void ticker_stop(struct ticker *t);         /* waits for a call under way; frees */

#endif
