#include "broker/offsets.h"

#include <errno.h>
#include <stdlib.h>

#include "broker/offsets_priv.h"
#include "common/clock.h"

int offsets_open(struct offsets **out)
{
    struct offsets *o = calloc(1, sizeof(*o));

    if (!o)
        return -ENOMEM;
    pthread_rwlock_init(&o->lock, NULL);
    *out = o;
    return 0;
}

static void read_lock(struct offsets *o) { pthread_rwlock_rdlock(&o->lock); }
static void write_lock(struct offsets *o) { pthread_rwlock_wrlock(&o->lock); }
static void unlock(struct offsets *o) { pthread_rwlock_unlock(&o->lock); }

static void changed(struct offsets *o)
{
    if ((atomic_fetch_add_explicit(&o->changes, 1, memory_order_relaxed) + 1) % VERSION_STEP)
        return;
    atomic_fetch_add(&o->version_counter, 1);
    atomic_store(&o->version_timestamp, wall_ms());
    atomic_store(&o->version_state, 0);
}

/* ---- the tables ---- */

static void free_topic(struct group_offsets *g, struct topic_offsets *t)
{
    HASH_DEL(g->topics, t);
    free(t->topic);
    free(t->at);
    free(t);
}

static void free_group(struct offsets *o, struct group_offsets *g)
{
    struct topic_offsets *t, *next;

    HASH_ITER(hh, g->topics, t, next)
        free_topic(g, t);
    HASH_DEL(o->groups, g);
    free(g->group);
    free(g);
}

static void free_reset(struct offsets *o, struct reset *r)
{
    HASH_DEL(o->resets, r);
    free(r);
    atomic_fetch_sub(&o->n_resets, 1);
}

void offsets_clear(struct offsets *o)
{
    struct group_offsets *g, *next;
    struct reset *r, *next_reset;

    HASH_ITER(hh, o->groups, g, next)
        free_group(o, g);
    HASH_ITER(hh, o->resets, r, next_reset)
        free_reset(o, r);
}

void offsets_close(struct offsets *o)
{
    offsets_clear(o);
    pthread_rwlock_destroy(&o->lock);
    free(o);
}

static struct group_offsets *find_group(struct offsets *o, struct str group)
{
    struct group_offsets *g = NULL;
    HASH_FIND(hh, o->groups, group.p, group.n, g);
    return g;
}

static struct topic_offsets *find_topic(struct offsets *o, struct str group, struct str topic)
{
    struct group_offsets *g = find_group(o, group);
    struct topic_offsets *t = NULL;

    if (g)
        HASH_FIND(hh, g->topics, topic.p, topic.n, t);
    return t;
}

static struct group_offsets *make_group(struct offsets *o, struct str group)
{
    struct group_offsets *g = calloc(1, sizeof(*g));

    if (!g || !(g->group = str_dup(group))) {
        free(g);
        return NULL;
    }
    HASH_ADD_KEYPTR(hh, o->groups, g->group, group.n, g);
    return g;
}

static struct topic_offsets *make_topic(struct group_offsets *g, struct str topic)
{
    struct topic_offsets *t = calloc(1, sizeof(*t));

    if (!t || !(t->topic = str_dup(topic))) {
        free(t);
        return NULL;
    }
    HASH_ADD_KEYPTR(hh, g->topics, t->topic, topic.n, t);
    return t;
}

/* Room for queues up to `queue`; what was committed meanwhile cannot get lost, since the write lock is held. */
static bool grow_topic(struct topic_offsets *t, int32_t queue)
{
    int32_t n = queue + 1;
    _Atomic int64_t *bigger = malloc((size_t)n * sizeof(*bigger));

    if (!bigger)
        return false;
    for (int32_t i = 0; i < n; i++)
        atomic_init(&bigger[i], i < t->n ? atomic_load(&t->at[i]) : -1);
    free(t->at);
    t->at = bigger;
    t->n = n;
    return true;
}

_Atomic int64_t *offsets_slot(struct offsets *o, struct str group, struct str topic, int32_t queue)
{
    struct group_offsets *g;
    struct topic_offsets *t = find_topic(o, group, topic);

    if (queue < 0 || queue > OFFSET_QUEUE_MAX)
        return NULL;
    if (!t) {
        g = find_group(o, group);
        if (!g)
            g = make_group(o, group);
        if (!g || !(t = make_topic(g, topic)))
            return NULL;
    }
    return queue < t->n || grow_topic(t, queue) ? &t->at[queue] : NULL;
}

/* ---- resets ---- */

struct reset_key {
    size_t n;
    char p[2 * (TOPIC_NAME_MAX_LONG + 1) + sizeof(int32_t)];
};

static bool reset_key(struct reset_key *k, struct str group, struct str topic, int32_t queue)
{
    if (group.n > TOPIC_NAME_MAX_LONG || topic.n > TOPIC_NAME_MAX_LONG)
        return false;
    memset(k->p, 0, sizeof(k->p));
    memcpy(k->p, group.p, group.n);
    memcpy(k->p + group.n + 1, topic.p, topic.n);
    memcpy(k->p + group.n + 1 + topic.n + 1, &queue, sizeof(queue));
    k->n = group.n + topic.n + 2 + sizeof(queue);
    return true;
}

static struct reset *find_reset(struct offsets *o, struct str group, struct str topic, int32_t queue)
{
    struct reset_key k;
    struct reset *r = NULL;

    if (atomic_load(&o->n_resets) && reset_key(&k, group, topic, queue))
        HASH_FIND(hh, o->resets, k.p, k.n, r);
    return r;
}

static int mark_reset(struct offsets *o, struct str group, struct str topic, int32_t queue, int64_t offset)
{
    struct reset *r = find_reset(o, group, topic, queue);
    struct reset_key k;

    if (!r) {
        if (!reset_key(&k, group, topic, queue))
            return -EINVAL;
        r = calloc(1, sizeof(*r) + k.n);
        if (!r)
            return -ENOMEM;
        memcpy(r->key, k.p, k.n);
        r->key_size = k.n;
        HASH_ADD_KEYPTR(hh, o->resets, r->key, r->key_size, r);
        atomic_fetch_add(&o->n_resets, 1);
    }
    r->offset = offset;
    return 0;
}

int64_t offsets_reset_waiting(struct offsets *o, struct str group, struct str topic, int32_t queue,
                              bool take)
{
    struct reset *r;
    int64_t offset = -1;

    if (!atomic_load(&o->n_resets))
        return -1;
    write_lock(o);
    r = find_reset(o, group, topic, queue);
    if (r) {
        offset = r->offset;
        if (take)
            free_reset(o, r);
    }
    unlock(o);
    return offset;
}

static void drop_resets(struct offsets *o, struct str group, struct str topic)
{
    struct reset *r, *next;

    HASH_ITER(hh, o->resets, r, next) {
        struct str g = str_of(r->key), t = str_of(r->key + g.n + 1);
        if ((!group.n || str_eq(g, group)) && (!topic.n || str_eq(t, topic)))
            free_reset(o, r);
    }
}

/* ---- the door ---- */

int64_t offsets_get(struct offsets *o, struct str group, struct str topic, int32_t queue)
{
    struct topic_offsets *t;
    int64_t v = -1;

    read_lock(o);
    t = find_topic(o, group, topic);
    if (t && queue >= 0 && queue < t->n)
        v = atomic_load_explicit(&t->at[queue], memory_order_relaxed);
    unlock(o);
    return v;
}

/* The usual commit: the queue has its place, no reset waits, the read lock is enough. */
static bool commit_known(struct offsets *o, struct str group, struct str topic, int32_t queue,
                         int64_t offset)
{
    struct topic_offsets *t;
    bool done = false;

    read_lock(o);
    t = find_topic(o, group, topic);
    if (t && queue < t->n && !atomic_load(&o->n_resets)) {
        atomic_store_explicit(&t->at[queue], offset, memory_order_relaxed);
        done = true;
    }
    unlock(o);
    return done;
}

int offsets_commit(struct offsets *o, struct str group, struct str topic, int32_t queue, int64_t offset)
{
    _Atomic int64_t *slot;

    if (queue < 0 || queue > OFFSET_QUEUE_MAX || offset < 0)
        return -EINVAL;
    if (!commit_known(o, group, topic, queue, offset)) {
        write_lock(o);
        if (find_reset(o, group, topic, queue)) {
            unlock(o);
            return 0;
        }
        slot = offsets_slot(o, group, topic, queue);
        if (slot)
            atomic_store(slot, offset);
        unlock(o);
        if (!slot)
            return -ENOMEM;
    }
    changed(o);
    return 0;
}

int offsets_reset(struct offsets *o, struct str group, struct str topic, int32_t queue, int64_t offset)
{
    _Atomic int64_t *slot;
    int rc;

    if (queue < 0 || queue > OFFSET_QUEUE_MAX || offset < 0)
        return -EINVAL;
    write_lock(o);
    slot = offsets_slot(o, group, topic, queue);
    rc = slot ? mark_reset(o, group, topic, queue, offset) : -ENOMEM;
    if (!rc)
        atomic_store(slot, offset);
    unlock(o);
    if (!rc)
        changed(o);
    return rc;
}

int offsets_put(struct offsets *o, struct str group, struct str topic, int32_t queue, int64_t offset)
{
    _Atomic int64_t *slot = NULL;
    struct topic_offsets *t;
    struct reset *r;

    if (queue < 0 || queue > OFFSET_QUEUE_MAX || offset < -1)
        return -EINVAL;
    write_lock(o);
    r = find_reset(o, group, topic, queue);
    if (r)
        free_reset(o, r);
    t = find_topic(o, group, topic);
    if (offset >= 0 || (t && queue < t->n))
        slot = offsets_slot(o, group, topic, queue);
    if (slot)
        atomic_store(slot, offset);
    unlock(o);
    if (slot)
        changed(o);
    return slot || offset < 0 ? 0 : -ENOMEM;
}

void offsets_drop_group(struct offsets *o, struct str group)
{
    struct group_offsets *g;

    write_lock(o);
    g = find_group(o, group);
    if (g)
        free_group(o, g);
    drop_resets(o, group, (struct str){0});
    unlock(o);
    changed(o);
}

void offsets_drop_topic(struct offsets *o, struct str topic)
{
    struct group_offsets *g, *next;
    struct topic_offsets *t;

    write_lock(o);
    HASH_ITER(hh, o->groups, g, next) {
        HASH_FIND(hh, g->topics, topic.p, topic.n, t);
        if (t)
            free_topic(g, t);
        if (!g->topics)
            free_group(o, g);
    }
    drop_resets(o, (struct str){0}, topic);
    unlock(o);
    changed(o);
}

int offsets_topic_at(struct offsets *o, struct str group, uint32_t n, char out[TOPIC_NAME_MAX_LONG + 1])
{
    struct group_offsets *g;
    struct topic_offsets *t;
    int rc = -ENOENT;

    read_lock(o);
    g = find_group(o, group);
    for (t = g ? g->topics : NULL; t && n; t = t->hh.next)
        n--;
    if (t && str_copy(out, TOPIC_NAME_MAX_LONG + 1, str_of(t->topic)))
        rc = 0;
    unlock(o);
    return rc;
}

void offsets_each_group(struct offsets *o, struct str topic, void (*each)(void *arg, struct str group),
                        void *arg)
{
    struct topic_offsets *t;

    read_lock(o);
    for (struct group_offsets *g = o->groups; g; g = g->hh.next) {
        HASH_FIND(hh, g->topics, topic.p, topic.n, t);
        if (t)
            each(arg, str_of(g->group));
    }
    unlock(o);
}

static int copy_topic(struct offsets *o, struct topic_offsets *from, struct str to)
{
    for (int32_t i = from->n - 1; i >= 0; i--) {     /* the highest first: one allocation */
        _Atomic int64_t *slot = offsets_slot(o, to, str_of(from->topic), i);
        if (!slot)
            return -ENOMEM;
        atomic_store(slot, atomic_load(&from->at[i]));
    }
    return 0;
}

int offsets_copy_group(struct offsets *o, struct str from, struct str to, struct str topic)
{
    struct group_offsets *g;
    int rc = 0;

    if (str_eq(from, to))
        return 0;
    write_lock(o);
    g = find_group(o, from);
    for (struct topic_offsets *t = g ? g->topics : NULL; t && !rc; t = t->hh.next)
        if (!topic.n || str_is(topic, t->topic))
            rc = copy_topic(o, t, to);
    unlock(o);
    changed(o);
    return rc;
}

int64_t offsets_changes(struct offsets *o) { return atomic_load(&o->changes); }
