/* The tables as Apache's JSON bodies: members sorted by name, ids as bare
 * numbers unless standard JSON is asked. Source of the shapes: TopicRouteData,
 * BrokerData, QueueData, ClusterInfo, TopicList, BrokerMemberGroup (5.5.0). */
#include <errno.h>
#include <stdlib.h>
#include <strings.h>

#include "common/json.h"
#include "namesrv/tables.h"

#define SYNC_MEMBER_PREFIX "rmq_sys_SYNC_BROKER_MEMBER_"
#define FLAG_UNIT 1
#define FLAG_UNIT_SUB 2

static void write_addrs(struct json_writer *w, const struct brokers *b, bool acting)
{
    jw_kobject(w, "brokerAddrs");
    for (const struct member *m = b->members; m; m = m->next) {
        jw_key_int(w, acting && m == b->members ? 0 : m->id);
        jw_text(w, m->addr);
    }
    jw_object_end(w);
}

static void write_broker(struct json_writer *w, const struct brokers *b, bool acting)
{
    jw_object(w);
    write_addrs(w, b, acting);
    jw_ktext(w, "brokerName", b->name);
    jw_ktext(w, "cluster", b->cluster);
    jw_kbool(w, "enableActingMaster", b->acting);
    if (b->zone)
        jw_ktext(w, "zoneName", b->zone);
    jw_object_end(w);
}

/* Whether the smallest slave is shown as master: it stands in when the topic is not writable there. */
static bool acts(const struct route_wish *w, const struct queues *q)
{
    return w->acting_master && q->broker->acting && !brokers_have_master(q->broker) && !(q->perm & PERM_WRITE) &&
           !str_starts(w->topic, SYNC_MEMBER_PREFIX);
}

/* Zone mode keeps brokers of the zone, and those without a master: their slaves serve everybody. */
static bool in_zone(const struct route_wish *w, const struct queues *q)
{
    const char *zone = q->broker->zone;

    if (!w->zone.n || (!brokers_have_master(q->broker) && !acts(w, q)))
        return true;
    return zone && strlen(zone) == w->zone.n && strncasecmp(zone, w->zone.p, w->zone.n) == 0;
}

static void write_filters(struct json_writer *w, const struct route_wish *wish, const struct routed *t)
{
    jw_kobject(w, "filterServerTable");
    for (uint32_t i = 0; i < t->n; i++) {
        if (!in_zone(wish, &t->queues[i]))
            continue;
        for (const struct member *m = t->queues[i].broker->members; m; m = m->next) {
            if (!m->n_filters)
                continue;
            jw_key_str(w, str_of(m->addr));
            jw_array(w);
            for (size_t k = 0; k < m->n_filters; k++)
                jw_str(w, m->filters[k]);
            jw_array_end(w);
        }
    }
    jw_object_end(w);
}

static void write_queues(struct json_writer *w, const struct route_wish *wish, const struct routed *t)
{
    jw_karray(w, "queueDatas");
    for (uint32_t i = 0; i < t->n; i++) {
        const struct queues *q = &t->queues[i];
        if (!in_zone(wish, q))
            continue;
        jw_object(w);
        jw_ktext(w, "brokerName", q->broker->name);
        jw_kint(w, "perm", q->perm);
        jw_kint(w, "readQueueNums", q->read);
        jw_kint(w, "topicSysFlag", q->sys_flag);
        jw_kint(w, "writeQueueNums", q->write);
        jw_object_end(w);
    }
    jw_array_end(w);
}

static void write_mappings(struct json_writer *w, const struct routed *t)
{
    jw_kobject(w, "topicQueueMappingByBroker");
    for (const struct mapping *m = t->mappings; m; m = m->next) {
        struct arena a;
        struct json *v;
        arena_init(&a, 0);
        if (json_parse(&a, str_of(m->json), &v) == 0) {
            jw_key_str(w, str_of(m->broker));
            jw_value(w, v);
        }
        arena_free(&a);
    }
    jw_object_end(w);
}

static void write_route(struct json_writer *w, const struct route_wish *wish, const struct routed *t)
{
    jw_object(w);
    jw_karray(w, "brokerDatas");
    for (uint32_t i = 0; i < t->n; i++)
        if (in_zone(wish, &t->queues[i]))
            write_broker(w, t->queues[i].broker, acts(wish, &t->queues[i]));
    jw_array_end(w);
    write_filters(w, wish, t);
    if (wish->order.p)
        jw_kstr(w, "orderTopicConf", wish->order);
    write_queues(w, wish, t);
    if (t->mappings)
        write_mappings(w, t);
    jw_object_end(w);
}

int routes_json_route(struct routes *r, const struct route_wish *wish, struct buf *out)
{
    struct json_writer w;
    struct routed *t;

    jw_init(&w, out, false);
    w.quote_int_keys = wish->standard;
    routes_read(r);
    t = routed_find(r, wish->topic);
    if (t)
        write_route(&w, wish, t);
    routes_done(r);
    return t ? 0 : -ENOENT;
}

/* ---- clusters ---- */

/* The distinct clusters of all members, sorted; *n of them, to be freed (the texts live as long as the lock). */
static const char **clusters_of(struct routes *r, size_t *n)
{
    const char **list = NULL;

    *n = 0;
    for (const struct brokers *b = r->brokers; b; b = b->hh.next)
        for (const struct member *m = b->members; m; m = m->next) {
            const char **more;
            size_t at = 0;
            while (at < *n && strcmp(list[at], m->cluster) < 0)
                at++;
            if (at < *n && strcmp(list[at], m->cluster) == 0)
                continue;
            more = reallocarray(list, *n + 1, sizeof(*list));
            if (!more)
                return list;
            list = more;
            memmove(list + at + 1, list + at, (*n - at) * sizeof(*list));
            list[at] = m->cluster;
            ++*n;
        }
    return list;
}

static bool in_cluster(const struct brokers *b, struct str cluster)
{
    for (const struct member *m = b->members; m; m = m->next)
        if (str_is(cluster, m->cluster))
            return true;
    return false;
}

static void write_names(struct json_writer *w, struct routes *r, const char *cluster)
{
    for (const struct brokers *b = r->brokers; b; b = b->hh.next)
        if (in_cluster(b, str_of(cluster)))
            jw_text(w, b->name);
}

void routes_json_clusters(struct routes *r, struct buf *out)
{
    struct json_writer w;
    const char **clusters;
    size_t n;

    jw_init(&w, out, false);
    routes_read(r);
    clusters = clusters_of(r, &n);
    jw_object(&w);
    jw_kobject(&w, "brokerAddrTable");
    for (const struct brokers *b = r->brokers; b; b = b->hh.next) {
        jw_key_str(&w, str_of(b->name));
        write_broker(&w, b, false);
    }
    jw_object_end(&w);
    jw_kobject(&w, "clusterAddrTable");
    for (size_t i = 0; i < n; i++) {
        jw_key_str(&w, str_of(clusters[i]));
        jw_array(&w);
        write_names(&w, r, clusters[i]);
        jw_array_end(&w);
    }
    jw_object_end(&w);
    jw_object_end(&w);
    routes_done(r);
    free(clusters);
}

void routes_json_member_group(struct routes *r, struct str cluster, struct str name, struct buf *out)
{
    struct json_writer w;
    struct brokers *b;

    jw_init(&w, out, false);
    jw_object(&w);
    jw_kobject(&w, "brokerMemberGroup");
    routes_read(r);
    b = brokers_find(r, name);
    if (b) {
        write_addrs(&w, b, false);
    } else {
        jw_kobject(&w, "brokerAddrs");
        jw_object_end(&w);
    }
    routes_done(r);
    jw_kstr(&w, "brokerName", name);
    jw_kstr(&w, "cluster", cluster);
    jw_object_end(&w);
    jw_object_end(&w);
}

/* ---- lists of topics ---- */

/* Clusters and broker names are topics too, and the address of some broker helps to ask on. */
void routes_json_system_topics(struct routes *r, struct buf *out)
{
    struct json_writer w;
    const char **clusters;
    size_t n;

    jw_init(&w, out, false);
    routes_read(r);
    clusters = clusters_of(r, &n);
    jw_object(&w);
    if (r->brokers && r->brokers->members)
        jw_ktext(&w, "brokerAddr", r->brokers->members->addr);
    jw_karray(&w, "topicList");
    for (size_t i = 0; i < n; i++)
        jw_text(&w, clusters[i]);
    for (const struct brokers *b = r->brokers; b; b = b->hh.next) {
        bool is_cluster = false;
        for (size_t i = 0; i < n; i++)
            is_cluster |= strcmp(clusters[i], b->name) == 0;
        if (!is_cluster)                         /* the list is a set */
            jw_text(&w, b->name);
    }
    jw_array_end(&w);
    jw_object_end(&w);
    routes_done(r);
    free(clusters);
}

static bool listed(const struct routed *t, enum topic_list which, struct str cluster)
{
    int32_t flag = t->queues[0].sys_flag;        /* Apache looks at one broker's flags */

    switch (which) {
    case TOPICS_ALL:
        return true;
    case TOPICS_OF_CLUSTER:
        for (uint32_t i = 0; i < t->n; i++)
            if (in_cluster(t->queues[i].broker, cluster))
                return true;
        return false;
    case TOPICS_UNIT:
        return flag & FLAG_UNIT;
    case TOPICS_UNIT_SUB:
        return flag & FLAG_UNIT_SUB;
    case TOPICS_UNIT_SUB_NO_UNIT:
        return (flag & (FLAG_UNIT | FLAG_UNIT_SUB)) == FLAG_UNIT_SUB;
    }
    return false;
}

void routes_json_topics(struct routes *r, enum topic_list which, struct str cluster, struct buf *out)
{
    struct json_writer w;

    jw_init(&w, out, false);
    jw_object(&w);
    jw_karray(&w, "topicList");
    routes_read(r);
    for (const struct routed *t = r->topics; t; t = t->hh.next)
        if (listed(t, which, cluster))
            jw_str(&w, str_n(t->name, t->hh.keylen));
    routes_done(r);
    jw_array_end(&w);
    jw_object_end(&w);
}
