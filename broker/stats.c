#include "broker/stats.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <uthash.h>

#include "broker/meta.h"
#include "broker/state.h"
#include "common/codes.h"

#define KEY_MAX (TOPIC_NAME_MAX_LONG + 1 + GROUP_NAME_MAX_LONG)

enum window { MINUTE, HOUR, DAY, WINDOWS };

static const struct {
    int every;                       /* stats_sample calls from one sample to the next */
    int kept, first;                 /* samples, and where they begin */
} windows[WINDOWS] = {[MINUTE] = {1, 7, 0}, [HOUR] = {60, 7, 7}, [DAY] = {360, 25, 14}};
#define SAMPLES (7 + 7 + 25)

struct sample {
    int64_t at;                      /* mono ms */
    int64_t times, messages, bytes;
};

struct stats_samples {
    int64_t calls;                   /* of stats_sample since the first */
    int n[WINDOWS];
    struct sample all[SAMPLES];      /* each window's oldest first */
};

struct pair {
    UT_hash_handle hh;
    struct flow flow;
    size_t topic;                    /* bytes of the key that are the topic */
    char key[];                      /* TOPIC@GROUP */
};

struct stats {
    pthread_mutex_t lock;            /* guards all below and every flow's samples; a leaf */
    struct pair *pairs;
    int topics;                      /* flows of topics that have samples */
};

int stats_open(struct stats **out)
{
    struct stats *s = calloc(1, sizeof(*s));

    if (!s)
        return -ENOMEM;
    pthread_mutex_init(&s->lock, NULL);
    *out = s;
    return 0;
}

static void pair_end(struct stats *s, struct pair *p)
{
    HASH_DELETE(hh, s->pairs, p);
    flow_end(&p->flow);
    free(p);
}

void stats_close(struct stats *s)
{
    struct pair *p, *next;

    HASH_ITER(hh, s->pairs, p, next)
        pair_end(s, p);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

void flow_end(struct flow *f)
{
    free(f->samples);
    f->samples = NULL;
}

/* ---- counting ---- */

/* TOPIC@GROUP; its length, 0 when it is too long. */
static size_t pair_key(struct str topic, struct str group, char out[KEY_MAX])
{
    if (!topic.n || !group.n || topic.n > TOPIC_NAME_MAX_LONG || group.n > GROUP_NAME_MAX_LONG)
        return 0;
    memcpy(out, topic.p, topic.n);
    out[topic.n] = '@';
    memcpy(out + topic.n + 1, group.p, group.n);
    return topic.n + 1 + group.n;
}

static struct pair *pair_new(struct stats *s, const char *key, size_t n, size_t topic)
{
    struct pair *p = HASH_COUNT(s->pairs) < STATS_MAX ? calloc(1, sizeof(*p) + n) : NULL;

    if (!p)
        return NULL;
    memcpy(p->key, key, n);
    p->topic = topic;
    HASH_ADD_KEYPTR(hh, s->pairs, p->key, n, p);
    return p;
}

void stats_got(struct broker *b, struct str topic, struct str group, int messages, int64_t bytes)
{
    struct stats *s = b->stats;
    char key[KEY_MAX];
    size_t n = pair_key(topic, group, key);
    struct pair *p;

    pthread_mutex_lock(&s->lock);
    HASH_FIND(hh, s->pairs, key, n, p);
    if (!p && n)
        p = pair_new(s, key, n, topic.n);
    if (p)
        flow_count(&p->flow, messages, bytes);
    pthread_mutex_unlock(&s->lock);
}

/* ---- samples ---- */

static struct sample flow_now(struct flow *f, int64_t at)
{
    struct sample now = {at, atomic_load(&f->times), 0, atomic_load(&f->bytes)};

    now.messages = now.times + atomic_load(&f->more);
    return now;
}

static void window_add(struct stats_samples *s, enum window w, const struct sample *now)
{
    struct sample *list = &s->all[windows[w].first];

    if (!s->n[w])                    /* what was counted before the first was counted in the time until it */
        list[s->n[w]++] = (struct sample){.at = now->at - (int64_t)windows[w].every * STATS_PERIOD_MS};
    if (s->n[w] == windows[w].kept)
        memmove(list, list + 1, (size_t)--s->n[w] * sizeof(*list));
    list[s->n[w]++] = *now;
}

/* Nothing for a whole day. */
static bool is_idle(const struct stats_samples *s)
{
    const struct sample *day = &s->all[windows[DAY].first];

    return s->n[DAY] == windows[DAY].kept && day[0].times == day[windows[DAY].kept - 1].times;
}

/* s->lock held. */
static void flow_sample(struct flow *f, int64_t at)
{
    struct sample now = flow_now(f, at);

    for (int w = 0; w < WINDOWS; w++)
        if (f->samples->calls % windows[w].every == 0)
            window_add(f->samples, w, &now);
    f->samples->calls++;
}

/* s->lock held. Nothing is left of what was counted so far. */
static void flow_forget(struct flow *f)
{
    struct sample now = flow_now(f, 0);

    atomic_fetch_sub(&f->times, now.times);
    atomic_fetch_sub(&f->more, now.messages - now.times);
    atomic_fetch_sub(&f->bytes, now.bytes);
    flow_end(f);
}

/* Under meta_read. Whether the topic is one of those followed. */
static bool sample_topic(struct stats *s, struct flow *f, int64_t at)
{
    bool followed;

    if (!f->samples && !atomic_load_explicit(&f->times, memory_order_relaxed))
        return false;
    pthread_mutex_lock(&s->lock);
    if (!f->samples && s->topics < STATS_MAX && (f->samples = calloc(1, sizeof(*f->samples))))
        s->topics++;
    if (f->samples)
        flow_sample(f, at);
    if (f->samples && is_idle(f->samples))
        flow_forget(f);
    followed = f->samples;
    pthread_mutex_unlock(&s->lock);
    return followed;
}

/* Under meta_read and s->lock. */
static void sample_pair(struct broker *b, struct pair *p, int64_t at)
{
    struct flow *f = &p->flow;

    if (!f->samples)
        f->samples = calloc(1, sizeof(*f->samples));
    if (f->samples)
        flow_sample(f, at);
    if (!meta_topic(b->meta, str_n(p->key, p->topic)) || (f->samples && is_idle(f->samples)))
        pair_end(b->stats, p);
}

void stats_sample(struct broker *b, int64_t now_ms)
{
    struct stats *s = b->stats;
    struct pair *p, *next;
    int followed = 0;

    meta_read(b->meta);
    for (struct topic *t = b->meta->topics; t; t = t->hh.next)
        followed += sample_topic(s, &t->puts, now_ms);
    pthread_mutex_lock(&s->lock);
    s->topics = followed;            /* without those that were deleted */
    HASH_ITER(hh, s->pairs, p, next)
        sample_pair(b, p, now_ms);
    pthread_mutex_unlock(&s->lock);
    meta_done(b->meta);
}

/* ---- answers ---- */

static const struct {
    const char *name;
    bool pair, bytes;
} items[] = {
    {"TOPIC_PUT_NUMS", false, false},
    {"TOPIC_PUT_SIZE", false, true},
    {"GROUP_GET_NUMS", true, false},
    {"GROUP_GET_SIZE", true, true},
};
#define N_ITEMS (sizeof(items) / sizeof(items[0]))

/* Up to the newest sample of all: the hour's own last one may be ten minutes old, the day's an hour. */
static struct stats_window window_of(const struct stats_samples *s, enum window w, bool bytes)
{
    const struct sample *first = &s->all[windows[w].first], *last = &s->all[windows[MINUTE].first + s->n[MINUTE] - 1];
    int64_t sum = bytes ? last->bytes - first->bytes : last->messages - first->messages;
    int64_t times = last->times - first->times, ms = last->at - first->at;

    return (struct stats_window){sum, ms > 0 ? (double)sum * 1000 / (double)ms : 0, times > 0 ? (double)sum / (double)times : 0};
}

/* Under meta_read and s->lock. */
static const struct flow *find(struct broker *b, struct str key, bool pair)
{
    struct topic *t;
    struct pair *p;

    if (!pair)
        return (t = meta_topic(b->meta, key)) ? &t->puts : NULL;
    HASH_FIND(hh, b->stats->pairs, key.p, key.n, p);
    return p ? &p->flow : NULL;
}

int stats_get(struct broker *b, struct str name, struct str key, struct stats_data *out, struct fault *f)
{
    const struct flow *flow = NULL;
    size_t i = 0;
    bool found;

    while (i < N_ITEMS && !str_is(name, items[i].name))
        i++;
    if (i == N_ITEMS)
        return fault_set(f, RC_SYSTEM_ERROR, ENOENT, "no statistics are kept by the name %.*s",
                         name.n > 60 ? 60 : (int)name.n, name.p);
    meta_read(b->meta);
    pthread_mutex_lock(&b->stats->lock);
    flow = find(b, key, items[i].pair);
    if ((found = flow && flow->samples))
        *out = (struct stats_data){window_of(flow->samples, MINUTE, items[i].bytes), window_of(flow->samples, HOUR, items[i].bytes),
                                   window_of(flow->samples, DAY, items[i].bytes)};
    pthread_mutex_unlock(&b->stats->lock);
    meta_done(b->meta);
    return found ? 0 : fault_set(f, RC_SYSTEM_ERROR, ENOENT, "%s of %.*s: nothing was counted in the last day", items[i].name,
                                 key.n > 200 ? 200 : (int)key.n, key.p);
}
