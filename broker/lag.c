/* How far a group is behind, by topic and queue. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/clients.h"
#include "broker/meta.h"
#include "broker/offsets.h"
#include "broker/order_locks.h"
#include "broker/state.h"

/* Topics of the group, each once. A name is its own key. */
struct name {
    UT_hash_handle hh;
    char text[];
};

struct names {
    struct name *all;
    bool failed;
};

static void add_name(struct names *names, struct str topic)
{
    struct name *n = NULL;

    HASH_FIND(hh, names->all, topic.p, topic.n, n);
    if (n)
        return;
    n = calloc(1, sizeof(*n) + topic.n + 1);
    if (!n) {
        names->failed = true;
        return;
    }
    memcpy(n->text, topic.p, topic.n);
    HASH_ADD_KEYPTR(hh, names->all, n->text, topic.n, n);
}

static void free_names(struct names *names)
{
    struct name *n, *next;

    HASH_ITER(hh, names->all, n, next) {
        HASH_DEL(names->all, n);
        free(n);
    }
}

static void add_subscribed(void *arg, struct str topic, struct str type,
                           struct str expression) { add_name(arg, topic); }

static int by_text(const struct name *a, const struct name *b) { return strcmp(a->text, b->text); }

/* Bound, subscribed, committed, and its retry topic. */
static int collect(struct broker *b, struct str group, struct names *names)
{
    char topic[TOPIC_NAME_MAX_LONG + 1];
    struct group *g;

    meta_read(b->meta);
    g = meta_group(b->meta, CONSUMER_GROUP, group);
    for (struct binding *bind = g ? g->bindings : NULL; bind; bind = bind->hh.next)
        add_name(names, str_of(bind->info.topic));
    meta_done(b->meta);
    clients_each_subscription(b->clients, group, add_subscribed, names);
    for (uint32_t n = 0; offsets_topic_at(b->offsets, group, n, topic) == 0; n++)
        add_name(names, str_of(topic));
    if ((size_t)snprintf(topic, sizeof(topic), "%s%.*s", RETRY_PREFIX, STR_ARG(group)) < sizeof(topic))
        add_name(names, str_of(topic));
    HASH_SORT(names->all, by_text);
    return names->failed ? -ENOMEM : g ? 0 : -ENOENT;
}

/* One queue. 0; -ENOENT: the topic has no such queue (any more); or -errno of the disk. */
static int lag_of(struct broker *b, struct str group, const char *topic, int32_t queue,
                  struct lag_info *row)
{
    struct store_queue *q = NULL;
    struct topic *t;
    int64_t min, from;
    int rc;

    meta_read(b->meta);
    t = meta_topic(b->meta, str_of(topic));
    if (t && queue < t->info.read_queues && queue < t->n_queues)
        q = t->queues[queue];
    meta_done(b->meta);
    if (!q)
        return -ENOENT;
    rc = store_queue_load(b->store, q);
    min = store_queue_min(b->store, q);
    row->max = store_queue_max(b->store, q);
    row->topic = topic;
    row->queue = queue;
    row->committed = offsets_get(b->offsets, group, str_of(topic), queue);
    from = row->committed < min ? min : row->committed;     /* what is deleted cannot be caught up with */
    row->lag = row->max > from ? row->max - from : 0;
    return rc;
}

int broker_group_lag(struct broker *b, struct str group, void (*each)(void *arg,
                                                                      const struct lag_info *row),
                                                                      void *arg)
{
    struct names names = {0};
    int rc = collect(b, group, &names);

    for (struct name *n = rc ? NULL : names.all; n; n = n->hh.next) {
        struct lag_info row;

        int err = 0;
        for (int32_t queue = 0; !rc && (err = lag_of(b, group, n->text, queue, &row)) == 0; queue++) {
            char holder[256];
            row.holder = order_lock_holder(b->order_locks, group, str_of(n->text), queue,
                                           holder) ? holder : "";
            each(arg, &row);
        }
        if (err != -ENOENT && !rc)
            rc = err;
    }
    free_names(&names);
    return rc;
}
