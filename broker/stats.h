/* How much goes into each topic, and out of it to each group: counters, and their samples over a minute, an hour and
 * a day, for VIEW_BROKER_STATS_DATA. What nothing went through has no samples; of topics, and of pairs of topic and
 * group, at most STATS_MAX each are followed. Windows and names: Apache StatsItem, Stats (5.5.0). Its lock is a leaf. */
#ifndef BROKER_STATS_H
#define BROKER_STATS_H

#include <stdatomic.h>
#include "common/buf.h"
#include "common/fault.h"

#define STATS_MAX 10000
#define STATS_PERIOD_MS 10000        /* from one call of stats_sample to the next */

struct broker;
struct stats;
struct stats_samples;

/* A counter in the struct that it counts for. Counting takes no lock. */
struct flow {
    _Atomic int64_t times, more, bytes;      /* calls; messages beyond one a call; bytes */
    struct stats_samples *samples;           /* under the stats' lock; NULL: none were taken */
};
void flow_end(struct flow *f);               /* frees the samples; nobody else may know of f any more */

static inline void flow_count(struct flow *f, int messages, int64_t bytes)
{
    atomic_fetch_add_explicit(&f->times, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&f->bytes, bytes, memory_order_relaxed);
    if (messages > 1)
        atomic_fetch_add_explicit(&f->more, messages - 1, memory_order_relaxed);
}

struct stats_window {
    int64_t sum;
    double per_second, per_call;
};
struct stats_data {
    struct stats_window minute, hour, day;
};

int stats_open(struct stats **out);                  /* 0 or -ENOMEM */
void stats_close(struct stats *s);
/* A group was given messages of a topic. Any thread. */
void stats_got(struct broker *b, struct str topic, struct str group, int messages, int64_t bytes);
/* Takes samples of all, as of mono_ms now_ms; every STATS_PERIOD_MS, under no lock. */
void stats_sample(struct broker *b, int64_t now_ms);
/* The item of a name (TOPIC_PUT_NUMS ...) and key (TOPIC, or TOPIC@GROUP). 0, or -ENOENT with f. Under no lock. */
int stats_get(struct broker *b, struct str name, struct str key, struct stats_data *out, struct fault *f);

#endif
