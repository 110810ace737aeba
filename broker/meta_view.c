/* The door's looks at topics, queues, groups and bindings: everything is copied
 * out under one short read lock. */
#include "broker/meta.h"

#include <errno.h>

#include "broker/state.h"

static void show_topic(struct broker *b, const struct topic *t, struct topic_info *out)
{
    *out = t->info;
    out->last_time = topic_last_time(b->store, t);
}

int broker_topic_get(struct broker *b, struct str topic, struct topic_info *out)
{
    struct topic *t;

    meta_read(b->meta);
    t = meta_topic(b->meta, topic);
    if (t)
        show_topic(b, t, out);
    meta_done(b->meta);
    return t ? 0 : -ENOENT;
}

int broker_topic_next(struct broker *b, uint32_t after, struct topic_info *out)
{
    struct meta *m = b->meta;
    struct topic *t = NULL;

    meta_read(m);
    for (uint32_t id = after < UINT32_MAX ? after + 1 : after; id < m->n_ids && !t; id++)
        t = m->topic_by_id[id];
    if (t)
        show_topic(b, t, out);
    meta_done(m);
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

size_t broker_topic_count(struct broker *b)
{
    size_t n;

    meta_read(b->meta);
    n = HASH_COUNT(b->meta->topics);
    meta_done(b->meta);
    return n;
}

int broker_queue_get(struct broker *b, struct str topic, int32_t queue, struct queue_info *out)
{
    struct topic *t;
    int rc = -ENOENT;

    meta_read(b->meta);
    t = meta_topic(b->meta, topic);
    if (t && queue >= 0 && queue < t->n_queues && (queue < t->info.read_queues ||
                                                   queue < t->info.write_queues)) {
        struct store_queue *q = t->queues[queue];
        rc = store_queue_load(b->store, q);
        out->min = store_queue_min(b->store, q);
        out->max = store_queue_max(b->store, q);
        out->last_time = store_queue_last_time(b->store, q);
    }
    meta_done(b->meta);
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
