/* Requests about consumer groups: each decodes, calls a verb, encodes. */
#include "broker/admin.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/admin_page.h"
#include "broker/clients.h"
#include "broker/meta_json.h"
#include "broker/offsets.h"
#include "broker/verbs.h"
#include "common/json.h"

#define BODY_ARENA_MAX ((size_t)256 << 20)
#define STATS_TOPICS_MAX 100000      /* topics that one GET_CONSUME_STATS may name */

/* ---- making and changing: 200, 225 ---- */

static int put_configs(struct request *r, struct arena *a, const struct json *first,
                       const struct json *list, struct fault *f)
{
    const struct json **configs;
    struct caller who;
    size_t n = first ? 1 : 0;

    json_each(j, list) {
        if (j->type != JSON_OBJECT)
            return fault_set(f, RC_INVALID_PARAMETER, EINVAL,
                             "groupConfigList wants SubscriptionGroupConfig objects");
        n++;
    }
    if (!n)
        return fault_set(f, RC_INVALID_PARAMETER, EINVAL, "the body has no groupConfigList");
    configs = arena_get(a, n * sizeof(*configs));
    if (!configs)
        return fault_errno(f, ENOMEM, "reading %zu groups", n);
    n = 0;
    if (first)
        configs[n++] = first;
    json_each(j, list)
        configs[n++] = j;
    admin_caller(r, &who);
    return groups_put_json(broker_of(r), &who, configs, n, f);
}

static void put_request(struct request *r, bool is_list)
{
    struct arena a;
    struct json *root;
    struct fault f;
    int rc;

    arena_init(&a, BODY_ARENA_MAX);
    rc = json_parse(&a, request_cmd(r)->body, &root);
    if (rc || root->type != JSON_OBJECT)
        rc = fault_set(&f, RC_INVALID_PARAMETER, EBADMSG, "the body is no %s object",
                       is_list ? "SubscriptionGroupList" : "SubscriptionGroupConfig");
    else
        rc = put_configs(r, &a, is_list ? NULL : root, is_list ? json_member(root, "groupConfigList") : NULL, &f);
    if (rc)
        reply_fault(r, &f);
    else
        reply(r, RC_SUCCESS, NULL);
    arena_free(&a);
}

void op_update_and_create_group(struct request *r) { put_request(r, false); }
void op_update_and_create_group_list(struct request *r) { put_request(r, true); }

/* ---- deleting: 207 ---- */

struct delete_header {
    struct str group;
    bool clean_offset;
};
static const struct field delete_fields[] = {
    {"groupName", FIELD_STR, offsetof(struct delete_header, group), true, NULL},
    {"cleanOffset", FIELD_BOOL, offsetof(struct delete_header, clean_offset), false, "false"},
};

/* A group that was deleted without its offsets, or never made, may still have some. */
static int forget_offsets(struct broker *b, const struct caller *c, struct str group, struct fault *f)
{
    char topic[TOPIC_NAME_MAX_LONG + 1], path[GROUP_NAME_MAX_LONG + 32];
    int rc;

    if (group_name_check(group, NULL) || offsets_topic_at(b->offsets, group, 0, topic))
        return 0;
    offsets_drop_group(b->offsets, group);
    if ((rc = saver_save(b->saver, OFFSETS_FILE, f)))
        return rc;
    snprintf(path, sizeof(path), "/groups/%.*s/offsets", STR_ARG(group));
    return audit_write(b->audit, c, "offset.forget", path, NULL, NULL, f);
}

void op_delete_group(struct request *r)
{
    struct delete_header h;
    struct caller who;
    struct fault f;
    int rc = FIELDS_DECODE(delete_fields, request_cmd(r), &h, &f);

    admin_caller(r, &who);
    if (!rc)
        rc = broker_group_delete(broker_of(r), &who, CONSUMER_GROUP, h.group, h.clean_offset, &f);
    if (rc == -ENOENT)      /* as Apache: nothing is left to do, but for the offsets it may have left behind */
        rc = h.clean_offset ? forget_offsets(broker_of(r), &who, h.group, &f) : 0;
    if (rc)
        reply_fault(r, &f);
    else
        reply(r, RC_SUCCESS, NULL);
}

/* ---- asking: 201, 352 ---- */

static const struct data_version *groups_version(const struct meta *m) { return &m->group_version; }
static size_t groups_count(const struct meta *m) { return HASH_COUNT(m->groups[CONSUMER_GROUP]); }

static void groups_list(const struct meta *m, struct named *out)
{
    for (struct group *g = m->groups[CONSUMER_GROUP]; g; g = g->hh.next)
        *out++ = (struct named){g->info.name, g};
}

/* The forbidden table is small and goes with every page. */
static void groups_before(struct json_writer *w, const struct meta *m) { forbidden_json(w, m->forbidden_json); }

static void groups_item(struct json_writer *w, const void *group) { group_json(w, group); }

void op_get_all_group_config(struct request *r)
{
    static const struct paged groups = {        /* SubscriptionGroupWrapper */
        .from = "groupSeq", .most = "maxGroupNum", .total = "totalGroupNum", .table = "subscriptionGroupTable",
        .version = groups_version, .count = groups_count, .list = groups_list,
        .before = groups_before, .item = groups_item,
    };

    admin_reply_page(r, &groups);
}

struct group_header {
    struct str group, topic, topic_list;
};
static const struct field group_fields[] = {
    {"group", FIELD_STR, offsetof(struct group_header, group), true, NULL},
};

void op_get_group_config(struct request *r)
{
    struct meta *m = broker_of(r)->meta;
    struct group_header h;
    struct json_writer w;
    struct buf body = {0};
    struct group *g;

    if (!REQUEST_FIELDS(r, group_fields, &h))
        return;
    jw_init(&w, &body, false);
    meta_read(m);
    g = meta_group(m, CONSUMER_GROUP, h.group);
    if (g)
        group_json(&w, g);
    meta_done(m);
    if (g) {
        admin_reply_json(r, &body);
        return;
    }
    buf_free(&body);
    reply(r, RC_SUBSCRIPTION_GROUP_NOT_EXIST,
          "there is no group %.*s: make it with mkdir or updateSubGroup", STR_ARG(h.group));
}

/* ---- progress: 208 ---- */

static const struct field stats_fields[] = {
    {"consumerGroup", FIELD_STR, offsetof(struct group_header, group), true, NULL},
    {"topic", FIELD_STR, offsetof(struct group_header, topic), false, NULL},
    {"topicList", FIELD_STR, offsetof(struct group_header, topic_list), false, NULL},
};

/* One row of the offset table; reads the log for the time of the last consumed message. false: no such queue. */
static bool put_queue_stats(struct json_writer *w, struct broker *b, struct str group, struct str topic,
                            int32_t id)
{
    struct store_queue *q = NULL;
    int64_t committed, max, time = 0;
    struct topic *t;

    meta_read(b->meta);
    t = meta_topic(b->meta, topic);
    if (t && id < t->info.read_queues && id < t->n_queues)
        q = t->queues[id];
    meta_done(b->meta);
    if (!q)     /* from here on it may be deleted; the handle then answers as an empty queue */
        return false;
    max = store_queue_max(b->store, q);
    committed = offsets_get(b->offsets, group, topic, id);
    if (committed < 0)
        committed = 0;
    if (committed > 0)
        time = store_time_at(b->store, q, committed - 1);
    jw_key_object(w);
    admin_queue_json(w, b, topic, id);
    jw_key_object_end(w);
    jw_object(w);
    jw_kint(w, "brokerOffset", max);
    jw_kint(w, "consumerOffset", committed);
    jw_kint(w, "lastTimestamp", time > 0 ? time : 0);
    jw_kint(w, "pullOffset", committed);        /* what is pulled and not yet committed only the client knows */
    jw_object_end(w);
    return true;
}

static void put_topic_stats(struct json_writer *w, struct broker *b, struct str group, struct str topic)
{
    for (int32_t id = 0; put_queue_stats(w, b, group, topic, id); id++)
        ;
}

static void count_subscription(void *arg, struct str topic, struct str type, struct str expression) { ++*(int *)arg; }

/* Apache passes over a topic that a group which is online does not subscribe. */
static bool is_left_out(struct broker *b, struct str group, struct str topic)
{
    struct subscription sub;
    int n = 0;

    clients_each_subscription(b->clients, group, count_subscription, &n);
    if (!n)
        return false;
    clients_subscription(b->clients, group, topic, &sub);
    return !sub.found;
}

/* topicList "A;B;" as it is; else the topic, or all in which the group has offsets. */
static void put_all_stats(struct json_writer *w, struct broker *b, const struct group_header *h)
{
    struct str list = h->topic_list;
    char topic[TOPIC_NAME_MAX_LONG + 1];

    for (uint32_t n = 0; list.n && n < STATS_TOPICS_MAX; n++) {
        const char *end = memchr(list.p, ';', list.n);
        struct str one = str_n(list.p, end ? (size_t)(end - list.p) : list.n);

        if (one.n)
            put_topic_stats(w, b, h->group, one);
        list = str_n(list.p + one.n + (end != NULL), list.n - one.n - (end != NULL));
    }
    if (h->topic_list.n)
        return;
    if (h->topic.n) {
        if (!is_left_out(b, h->group, h->topic))
            put_topic_stats(w, b, h->group, h->topic);
        return;
    }
    for (uint32_t n = 0; offsets_topic_at(b->offsets, h->group, n, topic) == 0; n++)
        if (!is_left_out(b, h->group, str_of(topic)))
            put_topic_stats(w, b, h->group, str_of(topic));
}

/* ConsumeStats. Apache's consumeTps is left out: rates are not kept by group, and its readers take 0 for what is absent. */
void op_get_consume_stats(struct request *r)
{
    struct group_header h;
    struct json_writer w;
    struct buf body = {0};

    if (!REQUEST_FIELDS(r, stats_fields, &h))
        return;
    jw_init(&w, &body, false);
    jw_object(&w);
    jw_kobject(&w, "offsetTable");
    put_all_stats(&w, broker_of(r), &h);
    jw_object_end(&w);
    jw_object_end(&w);
    admin_reply_json(r, &body);
}
