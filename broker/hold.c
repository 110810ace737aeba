#include "broker/hold.h"

#include <errno.h>
#include <stdlib.h>
#include <uthash.h>
#include <utlist.h>

#include "broker/meta.h"
#include "common/clock.h"

#define SHARDS 16
#define WHEEL_SLOTS 256
#define WHEEL_MS 100
#define PASS_EVERY 50               /* sweeps between looks at everything that is held */
#define SCAN_MAX 64                 /* queue entries tested for one pull on one arrival; past it it looks itself */
#define KEY_MAX (TOPIC_NAME_MAX_LONG + 4)

struct held {
    struct held *next, *prev;       /* of its queue, oldest first; next also in a list of those to wake */
    struct held *due_next, *due_prev;   /* of its slot in the wheel */
    struct held_queue *of;
    struct request *r;
    void (*again)(struct request *r);
    struct str group;               /* in r */
    int64_t offset;
    int64_t seen;                   /* entries below it do not pass the filter */
    int64_t deadline;               /* mono_ms */
    bool all;
    int n_codes;
    int32_t codes[];
};

/* Who waits at a queue. The store's queue points here; it stays until its topic is gone. */
struct held_queue {
    UT_hash_handle hh;
    struct shard *shard;
    atomic_int n;                   /* read without the lock by appending threads */
    struct held *first;
    unsigned topic_n;
    char key[];                     /* topic, queue id */
};

struct shard {
    pthread_mutex_t lock;           /* guards all below and what hangs on it; nothing else is taken under it but the
                                     * store's own locks */
    struct held_queue *queues;      /* hash by key */
    struct held *wheel[WHEEL_SLOTS];    /* by deadline / WHEEL_MS; later rounds of the wheel wait in the same slot */
    bool closed;
};

struct hold {
    struct broker *b;
    atomic_int_fast64_t count;
    int64_t swept;                  /* the last slot number swept; hold_sweep's own */
    int64_t sweeps;
    struct shard shards[SHARDS];
};

/* ---- keys ---- */

struct key {
    char p[KEY_MAX];
    unsigned topic_n, n;
};

static bool key_make(struct key *k, struct str topic, int32_t queue_id)
{
    if (topic.n > TOPIC_NAME_MAX_LONG)
        return false;
    memcpy(k->p, topic.p, topic.n);
    memcpy(k->p + topic.n, &queue_id, sizeof(queue_id));
    k->topic_n = (unsigned)topic.n;
    k->n = k->topic_n + (unsigned)sizeof(queue_id);
    return true;
}

static struct shard *key_shard(struct hold *h, const struct key *k)
{
    uint32_t hash = 2166136261u;

    for (unsigned i = 0; i < k->n; i++)
        hash = (hash ^ (unsigned char)k->p[i]) * 16777619u;
    return &h->shards[(hash ^ hash >> 16) % SHARDS];
}

/* ---- in and out; under the shard's lock ---- */

static struct held_queue *queue_of(struct shard *s, const struct key *k)
{
    struct held_queue *hq;

    HASH_FIND(hh, s->queues, k->p, k->n, hq);
    if (hq)
        return hq;
    hq = calloc(1, sizeof(*hq) + k->n);
    if (!hq)
        return NULL;
    hq->shard = s;
    hq->topic_n = k->topic_n;
    memcpy(hq->key, k->p, k->n);
    HASH_ADD_KEYPTR(hh, s->queues, hq->key, k->n, hq);
    return hq;
}

static struct held **slot_of(struct shard *s, int64_t deadline)
{
    return &s->wheel[deadline / WHEEL_MS % WHEEL_SLOTS];
}

static void link_in(struct held_queue *hq, struct held *e)
{
    struct held **slot = slot_of(hq->shard, e->deadline);

    e->of = hq;
    DL_APPEND(hq->first, e);
    DL_APPEND2(*slot, e, due_prev, due_next);
    atomic_fetch_add(&hq->n, 1);
}

/* Moves e to the end of a list of those to wake, which stands apart from all others. */
static void take_out(struct held *e, struct held **wake)
{
    struct held_queue *hq = e->of;
    struct held **slot = slot_of(hq->shard, e->deadline);

    DL_DELETE(hq->first, e);
    DL_DELETE2(*slot, e, due_prev, due_next);
    atomic_fetch_sub(&hq->n, 1);
    DL_APPEND(*wake, e);
}

/* ---- waking; without any lock ---- */

static void wake_all(struct hold *h, struct held *wake)
{
    struct held *e, *next;

    DL_FOREACH_SAFE(wake, e, next) {
        atomic_fetch_sub(&h->count, 1);
        request_to_loop(e->r, e->again);
        free(e);
    }
}

/* Is there something for e among the entries up to max? Remembers what it has seen of them. */
static bool has_news(struct store *store, struct store_queue *q, struct held *e, int64_t max)
{
    struct store_entry entry;

    if (max <= e->offset)
        return false;
    if (e->all || max - e->seen > SCAN_MAX)
        return true;
    for (; e->seen < max; e->seen++)
        if (store_entry(store, q, e->seen, &entry) || tag_codes_hold(e->codes, e->n_codes, entry.tags_code))
            return true;            /* an entry that cannot be read is the pull's business */
    return false;
}

static void arrived(struct hold *h, struct held_queue *hq, struct store_queue *q, int64_t max)
{
    struct held *wake = NULL, *e, *next;

    pthread_mutex_lock(&hq->shard->lock);
    DL_FOREACH_SAFE(hq->first, e, next)
        if (has_news(h->b->store, q, e, max))
            take_out(e, &wake);
    pthread_mutex_unlock(&hq->shard->lock);
    wake_all(h, wake);
}

/* The store's listener, for every append. The appending thread holds meta_read, so hq is not freed meanwhile. */
static void on_arrival(void *ctx, struct store_queue *q, int64_t max)
{
    struct held_queue *hq;

    /* Pairs with the fence in hold_pull: either this sees the pull, or the pull sees the message. */
    atomic_thread_fence(memory_order_seq_cst);
    hq = store_queue_data(q);
    if (hq && atomic_load_explicit(&hq->n, memory_order_relaxed))
        arrived(ctx, hq, q, max);
}

/* ---- the door ---- */

int hold_open(struct broker *b, struct hold **out)
{
    struct hold *h = calloc(1, sizeof(*h));

    if (!h)
        return -ENOMEM;
    h->b = b;
    h->swept = mono_ms() / WHEEL_MS;
    for (int i = 0; i < SHARDS; i++)
        pthread_mutex_init(&h->shards[i].lock, NULL);
    store_on_arrival(b->store, on_arrival, h);
    *out = h;
    return 0;
}

static struct held *held_new(struct request *kept, const struct held_pull *p)
{
    int n = p->filter->all ? 0 : p->filter->n;
    struct held *e = malloc(sizeof(*e) + (size_t)n * sizeof(e->codes[0]));
    int64_t wait = p->timeout_ms < 0 ? 0 : p->timeout_ms;

    if (!e)
        return NULL;
    e->r = kept;
    e->again = p->again;
    e->group = p->group;
    e->offset = e->seen = p->offset;
    e->deadline = mono_ms() + (wait < HOLD_MS_MAX ? wait : HOLD_MS_MAX);
    e->all = p->filter->all;
    e->n_codes = n;
    if (n)
        memcpy(e->codes, p->filter->codes, (size_t)n * sizeof(e->codes[0]));
    return e;
}

static int hold_in(struct hold *h, struct held *e, struct store_queue *q, const struct held_pull *p)
{
    struct key k;
    struct shard *s;
    struct held_queue *hq;
    int rc = -ENOMEM;

    if (!key_make(&k, p->topic, p->queue_id))
        return -EBUSY;
    s = key_shard(h, &k);
    pthread_mutex_lock(&s->lock);
    if (s->closed) {
        rc = -EBUSY;
    } else if ((hq = queue_of(s, &k))) {
        link_in(hq, e);
        if (store_queue_data(q) != hq)
            store_queue_set_data(q, hq);
        rc = 0;
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

int hold_pull(struct hold *h, struct request *kept, struct store_queue *q, const struct held_pull *p)
{
    int64_t most = broker_conf(h->b)->max_held_pulls, max;
    struct held *e;
    int rc;

    if (atomic_fetch_add(&h->count, 1) >= most) {
        atomic_fetch_sub(&h->count, 1);
        return -EBUSY;
    }
    e = held_new(kept, p);
    rc = e ? hold_in(h, e, q, p) : -ENOMEM;
    if (rc) {
        free(e);
        atomic_fetch_sub(&h->count, 1);
        return rc;
    }
    atomic_thread_fence(memory_order_seq_cst);      /* see on_arrival */
    max = store_queue_max(h->b->store, q);
    if (max > p->offset)
        arrived(h, store_queue_data(q), q, max);
    return 0;
}

/* Wakes what chosen(e, arg) picks, in all queues. */
static void wake_chosen(struct hold *h, bool (*chosen)(const struct held *e, const void *arg), const void *arg)
{
    for (int i = 0; i < SHARDS; i++) {
        struct shard *s = &h->shards[i];
        struct held *wake = NULL, *e, *next;
        struct held_queue *hq, *next_queue;

        pthread_mutex_lock(&s->lock);
        HASH_ITER(hh, s->queues, hq, next_queue)
            DL_FOREACH_SAFE(hq->first, e, next)
                if (chosen(e, arg))
                    take_out(e, &wake);
        pthread_mutex_unlock(&s->lock);
        wake_all(h, wake);
    }
}

struct group_topic {
    struct str group, topic;
};

static struct str topic_of(const struct held_queue *hq) { return str_n(hq->key, hq->topic_n); }

static bool of_group(const struct held *e, const void *arg)
{
    const struct group_topic *g = arg;

    return str_eq(e->group, g->group) && (!g->topic.n || str_eq(topic_of(e->of), g->topic));
}

static bool of_topic(const struct held *e, const void *arg)
{
    return str_eq(topic_of(e->of), *(const struct str *)arg);
}

static bool any(const struct held *e, const void *arg) { return true; }

void hold_wake_group(struct hold *h, struct str group, struct str topic)
{
    struct group_topic g = {group, topic};

    wake_chosen(h, of_group, &g);
}

void hold_wake_topic(struct hold *h, struct str topic) { wake_chosen(h, of_topic, &topic); }

int64_t hold_count(struct hold *h) { return atomic_load(&h->count); }

/* ---- time ---- */

/* Wakes what is due in the slots after `from` up to `to`. */
static void sweep_shard(struct hold *h, struct shard *s, int64_t from, int64_t to, int64_t now)
{
    struct held *wake = NULL, *e, *next;

    pthread_mutex_lock(&s->lock);
    for (int64_t slot = from + 1; slot <= to; slot++)
        for (e = s->wheel[slot % WHEEL_SLOTS]; e; e = next) {
            next = e->due_next;
            if (e->deadline <= now)
                take_out(e, &wake);
        }
    pthread_mutex_unlock(&s->lock);
    wake_all(h, wake);
}

/* Nobody is there to be answered any more. */
static void let_go(struct hold *h, struct held *gone)
{
    struct held *e, *next;

    DL_FOREACH_SAFE(gone, e, next) {
        atomic_fetch_sub(&h->count, 1);
        reply(e->r, RC_PULL_NOT_FOUND, "the connection was closed");
        request_free(e->r);
        free(e);
    }
}

/* Lets go pulls without a connection, and forgets queues whose topic is gone. */
static void pass_shard(struct hold *h, struct shard *s)
{
    struct held *gone = NULL, *e, *next;
    struct held_queue *hq, *next_queue;

    meta_read(h->b->meta);
    pthread_mutex_lock(&s->lock);
    HASH_ITER(hh, s->queues, hq, next_queue) {
        DL_FOREACH_SAFE(hq->first, e, next)
            if (!conn_open(request_conn(e->r)))
                take_out(e, &gone);
        /* The topic is gone, so its last append is over: nobody has hq in hand. */
        if (!hq->first && !meta_topic(h->b->meta, topic_of(hq))) {
            HASH_DEL(s->queues, hq);
            free(hq);
        }
    }
    pthread_mutex_unlock(&s->lock);
    meta_done(h->b->meta);
    let_go(h, gone);
}

void hold_sweep(struct hold *h)
{
    int64_t now = mono_ms(), to = now / WHEEL_MS, from = h->swept;

    /* The slot of this very moment is not over: what is due later in it is found next time. */
    if (to - from > WHEEL_SLOTS)
        from = to - WHEEL_SLOTS;
    for (int i = 0; i < SHARDS; i++)
        sweep_shard(h, &h->shards[i], from - 1, to, now);
    h->swept = to;
    if (++h->sweeps % PASS_EVERY == 0)
        for (int i = 0; i < SHARDS; i++)
            pass_shard(h, &h->shards[i]);
}

/* ---- the end ---- */

void hold_answer_all(struct hold *h)
{
    for (int i = 0; i < SHARDS; i++) {
        pthread_mutex_lock(&h->shards[i].lock);
        h->shards[i].closed = true;
        pthread_mutex_unlock(&h->shards[i].lock);
    }
    wake_chosen(h, any, NULL);
}

static void close_shard(struct hold *h, struct shard *s)
{
    struct held *gone = NULL, *e, *next;
    struct held_queue *hq, *next_queue;

    HASH_ITER(hh, s->queues, hq, next_queue) {
        DL_FOREACH_SAFE(hq->first, e, next)
            take_out(e, &gone);
        HASH_DEL(s->queues, hq);
        free(hq);
    }
    let_go(h, gone);
    pthread_mutex_destroy(&s->lock);
}

void hold_close(struct hold *h)
{
    for (int i = 0; i < SHARDS; i++)
        close_shard(h, &h->shards[i]);
    free(h);
}
