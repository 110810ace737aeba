/* The door's looks at topics, queues, groups and bindings: everything is copied
 * out under one short read lock. */
#include "broker/meta.h"

#include <errno.h>
#include <stdlib.h>

#include "broker/state.h"

/* What a queue's files hold may have to be looked up on the disk: that is done with its handle, without the lock. */
struct handles {
    struct store_queue **q;
    int32_t n;
};

static void show_topic(const struct topic *t, struct topic_info *out, struct handles *h)
{
    *out = t->info;
    h->q = t->n_queues ? malloc((size_t)t->n_queues * sizeof(*h->q)) : NULL;
    h->n = h->q ? t->n_queues : 0;
    if (h->q)
        memcpy(h->q, t->queues, (size_t)h->n * sizeof(*h->q));
}

static void show_last_time(struct broker *b, struct topic_info *out, struct handles *h)
{
    if (h->n)
        out->last_time = store_topic_last_time(b->store, h->q, h->n);
    free(h->q);
}

int broker_topic_get(struct broker *b, struct str topic, struct topic_info *out)
{
    struct handles h = {0};
    struct topic *t;

    meta_read(b->meta);
    t = meta_topic(b->meta, topic);
    if (t)
        show_topic(t, out, &h);
    meta_done(b->meta);
    show_last_time(b, out, &h);
    return t ? 0 : -ENOENT;
}

int broker_topic_next(struct broker *b, uint32_t after, struct topic_info *out)
{
    struct meta *m = b->meta;
    struct handles h = {0};
    struct topic *t = NULL;

    meta_read(m);
    for (uint32_t id = after < UINT32_MAX ? after + 1 : after; id < m->n_ids && !t; id++)
        t = m->topic_by_id[id];
    if (t)
        show_topic(t, out, &h);
    meta_done(m);
    show_last_time(b, out, &h);
    return t ? 0 : -ENOENT;
}

int broker_topic_attributes(struct broker *b, struct str topic, struct buf *out)
{
    struct topic *t;

    meta_read(b->meta);
    t = meta_topic(b->meta, topic);
    for (const struct attribute *a = t ? t->attributes : NULL; a; a = a->next)
        buf_printf(out, "%s=%s\n", a->key, a->value);
    meta_done(b->meta);
    return !t ? -ENOENT : buf_failed(out) ? -ENOMEM : 0;
}

int broker_queue_get(struct broker *b, struct str topic, int32_t queue, struct queue_info *out)
{
    struct store_queue *q = NULL;
    struct topic *t;
    int rc;

    meta_read(b->meta);
    t = meta_topic(b->meta, topic);
    if (t && queue >= 0 && queue < t->n_queues && (queue < t->info.read_queues || queue < t->info.write_queues))
        q = t->queues[queue];
    meta_done(b->meta);
    if (!q)
        return -ENOENT;
    rc = store_queue_load(b->store, q);
    *out = (struct queue_info){store_queue_min(b->store, q), store_queue_max(b->store, q),
                               store_queue_last_time(b->store, q)};
    return rc;
}

int broker_group_get(struct broker *b, enum group_kind kind, struct str group, struct group_info *out)
{
    struct group *g;

    meta_read(b->meta);
    g = meta_group(b->meta, kind, group);
    if (g)
        *out = g->info;
    meta_done(b->meta);
    return g ? 0 : -ENOENT;
}

int broker_group_next(struct broker *b, enum group_kind kind, uint32_t after, struct group_info *out)
{
    struct meta *m = b->meta;
    struct group *g = NULL;

    meta_read(m);
    for (uint32_t id = after < UINT32_MAX ? after + 1 : after; id < m->n_group_ids[kind] && !g; id++)
        g = m->group_by_id[kind][id];
    if (g)
        *out = g->info;
    meta_done(m);
    return g ? 0 : -ENOENT;
}

/* The smallest id past `after`: undone unbinds put bindings back at the hash's end, so its order is not the ids'. */
static struct binding *next_binding(struct group *g, uint32_t after)
{
    struct binding *best = NULL;

    for (struct binding *bind = g->bindings; bind; bind = bind->hh.next)
        if (bind->info.id > after && (!best || bind->info.id < best->info.id))
            best = bind;
    return best;
}

/* The binding to a topic, or, without one (NULL), the next past an id. */
static int show_binding(struct broker *b, enum group_kind kind, struct str group, const struct str *topic,
                        uint32_t after, struct binding_info *out)
{
    struct binding *bind = NULL;
    struct group *g;

    meta_read(b->meta);
    g = meta_group(b->meta, kind, group);
    if (g)
        bind = topic ? group_binding(g, *topic) : next_binding(g, after);
    if (bind)
        *out = bind->info;
    meta_done(b->meta);
    return bind ? 0 : -ENOENT;
}

int broker_binding_get(struct broker *b, enum group_kind kind, struct str group, struct str topic,
                       struct binding_info *out)
{
    return show_binding(b, kind, group, &topic, 0, out);
}

int broker_binding_next(struct broker *b, enum group_kind kind, struct str group, uint32_t after,
                        struct binding_info *out)
{
    return show_binding(b, kind, group, NULL, after, out);
}
