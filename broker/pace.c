#include "broker/pace.h"

#include <unistd.h>

#include "broker/state.h"
#include "broker/ticker.h"
#include "common/clock.h"
#include "store/store.h"

#define RATE_OF_PROCESSOR (INT64_C(24) << 20)    /* docs/performance.md, "A consumer far behind" */
#define QUIET_TICKS 2
#define BURST_US 2000                /* what was not used of the rate may be made good for */
#define WAIT_US_MAX 5000000          /* clients wait longer than that for an answer */

static int64_t within(int64_t v, int64_t least, int64_t most) { return v < least ? least : v > most ? most : v; }

int64_t pace_due(struct pace *p, struct group_pace *g, const struct store_result *r)
{
    int64_t rate = atomic_load_explicit(&p->rate, memory_order_relaxed), due, start, now;

    if (!r->far || !rate)
        return 0;
    now = mono_us();
    due = atomic_load_explicit(&g->due, memory_order_relaxed);
    do
        start = within(due, now - BURST_US, now + WAIT_US_MAX);
    while (!atomic_compare_exchange_weak(&g->due, &due, start + r->bytes * 1000000 / rate));
    return start <= now ? 0 : start;
}

/* A group that gets no more than comes in would never catch up: so at least twice that. */
static int64_t rate_now(const struct broker_config *conf, int64_t sent)
{
    int64_t rate = conf->cold_read_rate;

    if (!rate) {
        long processors = sysconf(_SC_NPROCESSORS_ONLN);
        rate = RATE_OF_PROCESSOR * (processors > 0 ? processors : 1);
    }
    return rate < 0 ? 0 : rate < 2 * sent ? 2 * sent : rate;
}

void pace_start(struct broker *b) { b->pace = (struct pace){.log_end = store_log_end(b->store), .quiet = QUIET_TICKS}; }

void pace_tick(struct broker *b)
{
    struct pace *p = &b->pace;
    int64_t end = store_log_end(b->store), sent = (end - p->log_end) * (1000 / TICK_MS);
    bool busy;

    p->quiet = sent ? 0 : p->quiet + 1;
    p->log_end = end;
    busy = p->quiet < QUIET_TICKS;
    atomic_store_explicit(&p->busy, busy, memory_order_relaxed);
    atomic_store_explicit(&p->rate, busy ? rate_now(broker_conf(b), sent) : 0, memory_order_relaxed);
}
