/* Requests about consumer groups: each decodes, calls a verb, encodes. */
#include "broker/admin.h"

#include <errno.h>
#include <stdlib.h>

#include "broker/clients.h"
#include "broker/meta_json.h"
#include "broker/offsets.h"
#include "broker/verbs.h"
#include "common/json.h"

#define GROUP_BODY_MAX ((size_t)256 << 20)

struct group_header {
    struct str group, topic, topics;
    bool clean_offset;
    int32_t first, max;
};

#define FIELD(key, kind, member, must, value) {key, kind, offsetof(struct group_header, member), must, value}

static const struct field delete_fields[] = {
    FIELD("groupName", FIELD_STR, group, true, NULL), FIELD("cleanOffset", FIELD_BOOL, clean_offset, false, "false"),
};
static const struct field get_fields[] = {FIELD("group", FIELD_STR, group, true, NULL)};
static const struct field all_fields[] = {
    FIELD("groupSeq", FIELD_I32, first, false, "0"), FIELD("maxGroupNum", FIELD_I32, max, false, "2147483647"),
};
static const struct field stats_fields[] = {
    FIELD("consumerGroup", FIELD_STR, group, true, NULL), FIELD("topic", FIELD_STR, topic, false, NULL),
    FIELD("topicList", FIELD_STR, topics, false, NULL),
};

#define DECODE(rows, r, h) decode(rows, sizeof(rows) / sizeof((rows)[0]), r, h)

static bool decode(const struct field *rows, size_t n, struct request *r, struct group_header *h)
{
    struct fault f;

    if (fields_decode(rows, n, request_cmd(r), h, sizeof(*h), &f) == 0)
        return true;
    reply_fault(r, &f);
    return false;
}

/* ---- making, changing, deleting: 200, 225, 207 ---- */

static int put_groups(struct request *r, const struct json *const *configs, size_t n, struct fault *f)
{
    struct caller who;

    admin_caller(r, &who);
    return groups_put_json(broker_of(r), &who, configs, n, f);
}

/* Parses the body and lets act() judge it. */
static void with_body(struct request *r, int (*act)(struct request *r, struct arena *a, const struct json *root, struct fault *f))
{
    struct arena a;
    struct json *root;
    struct fault f;
    int rc;

    arena_init(&a, GROUP_BODY_MAX);
    if (json_parse(&a, request_cmd(r)->body, &root) || root->type != JSON_OBJECT)
        rc = fault_set(&f, RC_INVALID_PARAMETER, EBADMSG, "the body is not the JSON object that this request wants");
    else
        rc = act(r, &a, root, &f);
    if (rc)
        reply_fault(r, &f);
    else
        reply(r, RC_SUCCESS, NULL);
    arena_free(&a);
}

static int put_one(struct request *r, struct arena *a, const struct json *root, struct fault *f)
{
    (void)a;
    return put_groups(r, &root, 1, f);
}

static int put_list(struct request *r, struct arena *a, const struct json *root, struct fault *f)
{
    const struct json *list = json_member(root, "groupConfigList"), **configs;
    size_t n = 0, i = 0;

    json_each(j, list)
        n++;
    if (!n)
        return fault_set(f, RC_INVALID_PARAMETER, EINVAL, "the body has no groupConfigList");
    configs = arena_get(a, n * sizeof(const struct json *));
    if (!configs)
        return fault_errno(f, ENOMEM, "reading %zu groups", n);
    json_each(j, list)
        configs[i++] = j;
    return put_groups(r, configs, n, f);
}

void op_update_and_create_group(struct request *r) { with_body(r, put_one); }
void op_update_and_create_group_list(struct request *r) { with_body(r, put_list); }

void op_delete_group(struct request *r)
{
    struct group_header h;
    struct caller who;
    struct fault f;

    if (!DECODE(delete_fields, r, &h))
        return;
    admin_caller(r, &who);
    if (broker_group_delete(broker_of(r), &who, CONSUMER_GROUP, h.group, h.clean_offset, &f) && f.err != ENOENT)
        reply_fault(r, &f);
    else
        reply(r, RC_SUCCESS, NULL);      /* as Apache: deleting what is not there has nothing left to do */
}

/* ---- asking: 201, 352 ---- */

/* SubscriptionGroupWrapper. A slave asks in pages (groupSeq, maxGroupNum), mqadmin for all. */
void op_get_all_group_config(struct request *r)
{
    struct meta *m = broker_of(r)->meta;
    struct group_header h;
    struct json_writer w;
    struct buf body = {0};
    struct command out;
    struct group *g, *next;
    char digits[21];
    int32_t i = 0;
    size_t total;

    if (!DECODE(all_fields, r, &h))
        return;
    jw_init(&w, &body, false);
    jw_object(&w);
    jw_key(&w, "dataVersion");
    meta_read(m);
    data_version_json(&w, &m->group_version);
    forbidden_json(&w, m->forbidden_json);
    jw_key(&w, "subscriptionGroupTable");
    jw_object(&w);
    HASH_ITER(hh, m->groups[CONSUMER_GROUP], g, next) {
        if (i++ < h.first || i - h.first > h.max)
            continue;
        jw_key(&w, g->info.name);
        group_json(&w, g);
    }
    total = HASH_COUNT(m->groups[CONSUMER_GROUP]);
    meta_done(m);
    jw_object_end(&w);
    jw_object_end(&w);
    if (buf_failed(&body)) {
        reply(r, RC_SYSTEM_BUSY, "no memory for the answer: try again");
    } else {
        reply_start(r, &out, RC_SUCCESS);
        command_add_i64(&out, "totalGroupNum", (int64_t)total, digits);
        out.body = buf_str(&body);
        reply_send(r, &out);
    }
    buf_free(&body);
}

void op_get_group_config(struct request *r)
{
    struct meta *m = broker_of(r)->meta;
    struct group_header h;
    struct json_writer w;
    struct buf body = {0};
    struct group *g;

    if (!DECODE(get_fields, r, &h))
        return;
    jw_init(&w, &body, false);
    meta_read(m);
    g = meta_group(m, CONSUMER_GROUP, h.group);
    if (g)
        group_json(&w, g);
    meta_done(m);
    if (g) {
        admin_reply_json(r, &body);
    } else {
        buf_free(&body);
        reply(r, RC_SUBSCRIPTION_GROUP_NOT_EXIST, "group %.*s does not exist", STR_ARG(h.group));
    }
}

/* ---- progress: 208 ---- */

struct stats {
    struct broker *b;
    struct json_writer w;
    const struct group_header *h;
};

/* "t1;t2" holds the topic; an empty list holds all. */
static bool wanted(const struct group_header *h, struct str topic)
{
    struct str list = h->topics;

    if (h->topic.n)
        return str_eq(h->topic, topic);
    if (!list.n)
        return true;
    while (list.n) {
        const char *semi = memchr(list.p, ';', list.n);
        size_t n = semi ? (size_t)(semi - list.p) : list.n;
        if (str_eq(str_n(list.p, n), topic))
            return true;
        list.p += n + (semi != NULL);
        list.n -= n + (semi != NULL);
    }
    return false;
}

/* Store time of the last message the group consumed there; 0 when it consumed none. */
static int64_t last_consumed(struct broker *b, const struct lag_info *row)
{
    struct store_queue *q = NULL;
    struct topic *t;

    if (row->committed < 1)
        return 0;
    meta_read(b->meta);
    t = meta_topic(b->meta, str_of(row->topic));
    if (t && row->queue >= 0 && row->queue < t->n_queues)
        q = t->queues[row->queue];
    meta_done(b->meta);
    int64_t at = q ? store_time_at(b->store, q, row->committed - 1) : -1;
    return at > 0 ? at : 0;
}

static void put_row(void *arg, const struct lag_info *row)
{
    struct stats *s = arg;
    struct json_writer *w = &s->w;
    int64_t committed = row->committed < 0 ? 0 : row->committed;

    if (!wanted(s->h, str_of(row->topic)))
        return;
    jw_key_object(w);
    jw_object(w);
    jw_ktext(w, "brokerName", broker_conf(s->b)->broker_name);
    jw_kint(w, "queueId", row->queue);
    jw_ktext(w, "topic", row->topic);
    jw_object_end(w);
    jw_key_object_end(w);
    jw_object(w);
    jw_kint(w, "brokerOffset", row->max);
    jw_kint(w, "consumerOffset", committed);
    jw_kint(w, "lastTimestamp", last_consumed(s->b, row));
    jw_kint(w, "pullOffset", committed);
    jw_object_end(w);
}

/* ConsumeStats. Apache's consumeTps is left out: rates are not kept by group. */
void op_get_consume_stats(struct request *r)
{
    struct group_header h;
    struct buf body = {0};
    struct stats s = {.b = broker_of(r), .h = &h};

    if (!DECODE(stats_fields, r, &h))
        return;
    jw_init(&s.w, &body, false);
    jw_object(&s.w);
    jw_key(&s.w, "offsetTable");
    jw_object(&s.w);
    broker_group_lag(s.b, h.group, put_row, &s);     /* a group that nobody knows has no rows */
    jw_object_end(&s.w);
    jw_object_end(&s.w);
    admin_reply_json(r, &body);
}
