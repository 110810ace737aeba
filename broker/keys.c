/* The newest keys of a topic. An index entry has only a hash, and tells nothing of its topic; so the topic's queues
 * are gone through from their ends back, merged by commit log offset, and the records asked for their keys. The cost
 * is the topic's own, however many other messages the index has. */
#include <errno.h>
#include <stdlib.h>

#include "broker/meta.h"
#include "broker/state.h"

#define WAIT_MS 1000                 /* for the indexer, when it is behind */

/* The newest message of a queue that was not looked at yet. */
struct head {
    struct store_queue *q;
    int64_t at;                      /* its queue offset */
    struct store_entry e;
};

struct seen {
    UT_hash_handle hh;
    char key[];
};

struct walk {
    struct store *s;
    struct head *heads;              /* a heap: the newest first */
    int n;
    int left;                        /* messages that may still be looked at */
    struct seen *seen;
    bool (*each)(void *arg, struct str key, int64_t time);
    void *arg;
};

/* ---- the heads ---- */

static void sift_down(struct walk *w, int i)
{
    for (int child; (child = 2 * i + 1) < w->n; i = child) {
        struct head h = w->heads[i];

        if (child + 1 < w->n && w->heads[child + 1].e.physical_offset > w->heads[child].e.physical_offset)
            child++;
        if (w->heads[child].e.physical_offset <= h.e.physical_offset)
            return;
        w->heads[i] = w->heads[child];
        w->heads[child] = h;
    }
}

/* Goes to the newest entry at or before h->at that names a message. False: there is none. */
static bool head_settle(struct walk *w, struct head *h)
{
    int64_t min = store_queue_min(w->s, h->q);

    for (; h->at >= min && w->left > 0; h->at--, w->left--)
        if (store_entry(w->s, h->q, h->at, &h->e) == 0)
            return true;
    return false;
}

static void next(struct walk *w)
{
    w->heads[0].at--;
    if (!head_settle(w, &w->heads[0]))
        w->heads[0] = w->heads[--w->n];
    sift_down(w, 0);
}

static int heads_take(struct walk *w, struct broker *b, struct str topic)
{
    struct topic *t;
    int rc = -ENOENT, n = 0;

    meta_read(b->meta);
    t = meta_topic(b->meta, topic);
    if (t) {
        n = t->n_queues;
        w->heads = calloc((size_t)n + 1, sizeof(*w->heads));
        rc = w->heads ? 0 : -ENOMEM;
    }
    for (int i = 0; !rc && i < n; i++)
        w->heads[i].q = t->queues[i];        /* handles outlive the lock */
    meta_done(b->meta);
    for (int i = 0; !rc && i < n; i++) {
        struct head h = w->heads[i];

        h.at = store_queue_max(w->s, h.q) - 1;
        if (head_settle(w, &h))
            w->heads[w->n++] = h;
    }
    for (int i = w->n / 2; i-- > 0;)
        sift_down(w, i);
    return rc;
}

/* ---- the keys ---- */

/* 1: go on; 0: that is enough; -errno. */
static int show(struct walk *w, struct str key, int64_t time)
{
    struct seen *x;

    HASH_FIND(hh, w->seen, key.p, key.n, x);
    if (!key.n || x)
        return 1;
    if (!(x = malloc(sizeof(*x) + key.n)))
        return -ENOMEM;
    memcpy(x->key, key.p, key.n);
    HASH_ADD_KEYPTR(hh, w->seen, x->key, key.n, x);
    return w->each(w->arg, key, time);
}

/* The same for all keys of one message. */
static int show_keys(struct walk *w, const struct store_entry *e)
{
    struct store_result *r;
    struct message m;
    struct str keys;
    int rc = store_load(w->s, e->physical_offset, e->size, &m, &r);

    if (rc)
        return rc == -ENOENT ? 1 : rc;       /* expired meanwhile, or damaged: it has no key that can be told */
    rc = 1;
    keys = prop_get(m.properties, "KEYS");
    while (keys.n && rc > 0)
        rc = show(w, message_next_key(&keys), m.store_timestamp);
    store_release(r);
    return rc;
}

int broker_keys(struct broker *b, struct str topic, bool (*each)(void *arg, struct str key, int64_t time), void *arg)
{
    struct walk w = {.s = b->store, .left = KEYS_LOOKED_MAX, .each = each, .arg = arg};
    struct seen *x, *following;
    int64_t begin, end;
    int rc = store_index_range(b->store, WAIT_MS, &begin, &end), more = 1;

    if (!rc)
        rc = heads_take(&w, b, topic);
    while (!rc && more > 0 && w.n && w.heads[0].e.physical_offset >= begin && w.left-- > 0) {
        if (w.heads[0].e.physical_offset < end)
            more = show_keys(&w, &w.heads[0].e);
        next(&w);
    }
    HASH_ITER(hh, w.seen, x, following) {
        HASH_DELETE(hh, w.seen, x);
        free(x);
    }
    free(w.heads);
    return rc ? rc : more < 0 ? more : 0;
}
