/* Which broker names serve which topic. */
#include <errno.h>
#include <stdlib.h>

#include "common/json.h"
#include "namesrv/tables.h"

struct routed *routed_find(struct routes *r, struct str name)
{
    struct routed *t;

    HASH_FIND(hh, r->topics, name.p, (unsigned)name.n, t);
    return t;
}

struct queues *routed_queues(struct routed *t, const struct brokers *b)
{
    for (uint32_t i = 0; i < t->n; i++)
        if (t->queues[i].broker == b)
            return &t->queues[i];
    return NULL;
}

static void mapping_drop(struct routed *t, const char *broker)
{
    for (struct mapping **at = &t->mappings; *at;) {
        struct mapping *m = *at;
        if (!broker || strcmp(m->broker, broker) == 0) {
            *at = m->next;
            free(m);
        } else {
            at = &m->next;
        }
    }
}

static void routed_delete(struct routes *r, struct routed *t)
{
    HASH_DEL(r->topics, t);
    mapping_drop(t, NULL);
    free(t->queues);
    free(t);
}

static struct routed *routed_make(struct routes *r, struct str name, int32_t max_topics)
{
    struct routed *t, *there;

    if (HASH_COUNT(r->topics) >= (unsigned)max_topics) {
        errno = ENOSPC;
        return NULL;
    }
    t = calloc(1, sizeof(*t) + name.n + 1);
    if (!t)
        return NULL;
    memcpy(t->name, name.p, name.n);
    HASH_ADD_KEYPTR(hh, r->topics, t->name, (unsigned)name.n, t);
    HASH_FIND(hh, r->topics, name.p, (unsigned)name.n, there);
    if (there)
        return t;
    free(t);
    errno = ENOMEM;
    return NULL;
}

int routed_put(struct routes *r, struct str topic, struct brokers *b, const struct topic_row *row, uint32_t seen, int32_t max_topics)
{
    struct routed *t = routed_find(r, topic);
    struct queues *q = t ? routed_queues(t, b) : NULL;

    if (!t && !(t = routed_make(r, topic, max_topics)))
        return errno == ENOSPC ? -ENOSPC : -ENOMEM;
    if (!q) {
        q = reallocarray(t->queues, t->n + 1, sizeof(*q));
        if (!q) {
            if (!t->n)
                routed_delete(r, t);
            return -ENOMEM;
        }
        t->queues = q;
        q += t->n++;
    }
    *q = (struct queues){b, row->read_queues, row->write_queues, row->perm, row->sys_flag, seen};
    return 0;
}

/* Takes a share away, and the topic with its last one. */
static void routed_drop(struct routes *r, struct routed *t, const struct brokers *b)
{
    struct queues *q = routed_queues(t, b);

    if (!q)
        return;
    mapping_drop(t, b->name);
    *q = t->queues[--t->n];
    if (!t->n)
        routed_delete(r, t);
}

int routed_map(struct routed *t, const struct mapping_row *row)
{
    struct mapping *m = malloc(sizeof(*m) + row->broker.n + row->json.n + 2);

    if (!m)
        return -ENOMEM;
    m->broker = (char *)(m + 1);
    m->json = m->broker + row->broker.n + 1;
    memcpy(m->broker, row->broker.p, row->broker.n);
    m->broker[row->broker.n] = 0;
    memcpy(m->json, row->json.p, row->json.n);
    m->json[row->json.n] = 0;
    mapping_drop(t, m->broker);
    m->next = t->mappings;
    t->mappings = m;
    return 0;
}

void routed_drop_unseen(struct routes *r, const struct brokers *b, uint32_t seen)
{
    struct routed *t, *next;

    HASH_ITER(hh, r->topics, t, next) {
        struct queues *q = routed_queues(t, b);
        if (q && q->seen != seen)
            routed_drop(r, t, b);
    }
}

/* Shares of one topic after departures; false when none is left. */
static bool keep_shares(struct routed *t)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < t->n; i++) {
        struct queues *q = &t->queues[i];
        if (q->broker->gone) {
            mapping_drop(t, q->broker->name);
            continue;
        }
        if (q->broker->reduced && q->broker->acting && !brokers_have_master(q->broker))
            q->perm &= ~PERM_WRITE;
        t->queues[kept++] = *q;
    }
    t->n = kept;
    return kept != 0;
}

void routed_after_departures(struct routes *r)
{
    struct routed *t, *next;

    HASH_ITER(hh, r->topics, t, next) {
        if (!keep_shares(t))
            routed_delete(r, t);
    }
}

void routed_free_all(struct routes *r)
{
    struct routed *t, *next;

    HASH_ITER(hh, r->topics, t, next)
        routed_delete(r, t);
}

/* ---- routes.h ---- */

int routes_topic_put(struct routes *r, const struct namesrv_config *conf, struct str topic,
                     const struct topic_row *rows, size_t n)
{
    int rc = 0;

    if (!topic.n || topic.n > NAMESRV_TOPIC_MAX)
        return -EINVAL;
    routes_write(r);
    for (size_t i = 0; i < n && !rc; i++)
        if (!brokers_find(r, rows[i].name))
            rc = -ENOENT;
    for (size_t i = 0; i < n && !rc; i++) {
        struct brokers *b = brokers_find(r, rows[i].name);
        struct routed *t = routed_find(r, topic);
        if (rows[i].read_queues || rows[i].write_queues || rows[i].perm)
            rc = routed_put(r, topic, b, &rows[i], 0, conf->max_topics);
        else if (t)
            routed_drop(r, t, b);
    }
    routes_done(r);
    return rc;
}

static bool serves_cluster(const struct brokers *b, struct str cluster)
{
    for (const struct member *m = b->members; m; m = m->next)
        if (str_is(cluster, m->cluster))
            return true;
    return false;
}

void routes_topic_delete(struct routes *r, struct str topic, struct str cluster)
{
    struct routed *t;

    routes_write(r);
    t = routed_find(r, topic);
    if (t && !cluster.n) {
        routed_delete(r, t);
    } else if (t) {
        for (uint32_t i = t->n; i-- > 0;) {
            bool last = t->n == 1;
            if (!serves_cluster(t->queues[i].broker, cluster))
                continue;
            routed_drop(r, t, t->queues[i].broker);
            if (last)
                break;
        }
    }
    routes_done(r);
}

int routes_write_perm(struct routes *r, struct str broker_name, bool writable)
{
    struct brokers *b;
    struct routed *t, *next;
    int n = 0;

    routes_write(r);
    b = brokers_find(r, broker_name);
    HASH_ITER(hh, r->topics, t, next) {
        struct queues *q = b ? routed_queues(t, b) : NULL;
        if (!q)
            continue;
        q->perm = writable ? 4 | PERM_WRITE : q->perm & ~PERM_WRITE;
        n++;
    }
    routes_done(r);
    return n;
}

size_t routes_topic_count(struct routes *r)
{
    size_t n;

    routes_read(r);
    n = HASH_COUNT(r->topics);
    routes_done(r);
    return n;
}

int routes_topic_at(struct routes *r, struct str topic, uint32_t n, struct namesrv_queue *out)
{
    struct routed *t;
    int rc = -ENOENT;

    routes_read(r);
    t = routed_find(r, topic);
    if (t && n < t->n) {
        const struct queues *q = &t->queues[n];
        *out = (struct namesrv_queue){.read_queues = q->read, .write_queues = q->write,
                                      .perm = q->perm, .sys_flag = q->sys_flag};
        str_copy(out->broker, sizeof(out->broker), str_of(q->broker->name));
        rc = 0;
    }
    routes_done(r);
    return rc;
}
