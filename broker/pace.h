/* How fast consumers that are far behind may catch up. While messages are sent, what
 * a group reads of messages that are far from the log's end, or of an earlier run,
 * leaves at no more than a rate: sends and those who keep up share processors and
 * disk with it. When nobody sends, there is no limit.
 *
 * Lock-free; any thread but pace_tick's. */
#ifndef BROKER_PACE_H
#define BROKER_PACE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct broker;
struct store_result;

struct pace {
    _Atomic bool busy;               /* messages are being sent */
    _Atomic int64_t rate;            /* bytes a second for a group; 0: no limit */
    int64_t log_end, quiet;          /* the ticker's: as it saw it last, and for how many ticks */
};

/* Of a consumer group, in memory only. */
struct group_pace {
    _Atomic int64_t due;             /* mono us: when what it got so far is paid for */
};

/* When the answer with this result may leave: mono us; 0: at once. */
int64_t pace_due(struct pace *p, struct group_pace *g, const struct store_result *r);
/* Are messages being sent? */
static inline bool pace_is_busy(const struct pace *p) { return atomic_load_explicit(&p->busy, memory_order_relaxed); }
void pace_start(struct broker *b);              /* before the ticker */
/* Looks at what is being sent; the broker's ticker, every 100 ms. */
void pace_tick(struct broker *b);

#endif
