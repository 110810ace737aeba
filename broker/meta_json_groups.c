/* subscriptionGroup.json and producerGroup.json. Bindings stand where Apache
 * keeps a group's subscriptionDataSet (SimpleSubscriptionData), which it stores
 * and never enforces.
 * Source of the forms: Apache SubscriptionGroupManager, SubscriptionGroupConfig (5.5.0). */
#include "broker/meta.h"

#include <errno.h>
#include <stdlib.h>

#include "broker/json_members.h"
#include "broker/meta_json.h"
#include "common/log.h"

static void write_group_attributes(struct json_writer *w, const void *obj, const struct json *other)
{
    attributes_json(w, ((const struct group *)obj)->attributes);
}

/* Apache writes its default policy too, so that is what a group without one gets. */
static void write_retry_policy(struct json_writer *w, const void *obj, const struct json *other)
{
    const struct json *kept = json_member(other, "groupRetryPolicy");

    jw_key(w, "groupRetryPolicy");
    if (kept) {
        jw_value(w, kept);
        return;
    }
    jw_object(w);
    jw_ktext(w, "type", "CUSTOMIZED");
    jw_object_end(w);
}

static void write_bindings(struct json_writer *w, const void *obj, const struct json *other)
{
    const struct group *g = obj;

    if (!g->bindings)
        return;         /* Apache's null set is not written */
    jw_karray(w, "subscriptionDataSet");
    for (const struct binding *b = g->bindings; b; b = b->hh.next) {
        jw_object(w);
        jw_ktext(w, "expression", b->sql ? b->info.filter + strlen("sql: ") : b->info.filter);
        jw_ktext(w, "expressionType", b->sql ? "SQL92" : "TAG");
        jw_ktext(w, "topic", b->info.topic);
        jw_kint(w, "version", b->info.version);
        jw_object_end(w);
    }
    jw_array_end(w);
}

#define AT(f) offsetof(struct group, f)
static const struct member consumer_rows[] = {
    {"attributes", MEMBER_OWN, 0, 0, 0, write_group_attributes, false},
    {"brokerId", MEMBER_I64, AT(info.broker_id), 0, INT64_MAX, NULL, false},
    {"consumeBroadcastEnable", MEMBER_BOOL, AT(info.consume_broadcast_enable), 0, 0, NULL, false},
    {"consumeEnable", MEMBER_BOOL, AT(info.consume_enable), 0, 0, NULL, false},
    {"consumeFromMinEnable", MEMBER_BOOL, AT(info.consume_from_min_enable), 0, 0, NULL, false},
    {"consumeMessageOrderly", MEMBER_BOOL, AT(info.consume_orderly), 0, 0, NULL, false},
    {"consumeTimeoutMinute", MEMBER_I32, AT(info.consume_timeout_minute), INT32_MIN, INT32_MAX, NULL,
     false},
    {"groupName", MEMBER_TEXT, AT(info.name), 0, 0, NULL, false},
    {"groupRetryPolicy", MEMBER_OWN, 0, 0, 0, write_retry_policy, true},
    {"groupSysFlag", MEMBER_I32, AT(info.sys_flag), INT32_MIN, INT32_MAX, NULL, false},
    {"notifyConsumerIdsChangedEnable", MEMBER_BOOL, AT(info.notify_ids_changed), 0, 0, NULL, false},
    {"retryMaxTimes", MEMBER_I32, AT(info.retry_max), INT32_MIN, INT32_MAX, NULL, false},
    {"retryQueueNums", MEMBER_I32, AT(info.retry_queues), 0, QUEUES_MAX, NULL, false},
    {"subscriptionDataSet", MEMBER_OWN, 0, 0, 0, write_bindings, false},
    {"whichBrokerWhenConsumeSlowly", MEMBER_I64, AT(info.which_broker_when_slow), 0, INT64_MAX, NULL,
     false},
};
static const struct member producer_rows[] = {
    {"attributes", MEMBER_OWN, 0, 0, 0, write_group_attributes, false},
    {"groupName", MEMBER_TEXT, AT(info.name), 0, 0, NULL, false},
    {"subscriptionDataSet", MEMBER_OWN, 0, 0, 0, write_bindings, false},
};

/* The two files by enum group_kind. */
static const struct group_file {
    const char *name, *table;
    const struct member *rows;
    size_t n_rows;
} files[] = {
    [CONSUMER_GROUP] = {"subscriptionGroup.json", "subscriptionGroupTable", consumer_rows,
                        sizeof(consumer_rows) / sizeof(consumer_rows[0])},
    [PRODUCER_GROUP] = {"producerGroup.json", "producerGroupTable", producer_rows,
                        sizeof(producer_rows) / sizeof(producer_rows[0])},
};

static struct data_version *version_of(struct meta *m, enum group_kind kind)
{
    return kind == CONSUMER_GROUP ? &m->group_version : &m->producer_version;
}

void group_json(struct json_writer *w, const struct group *g)
{
    members_write(w, files[g->kind].rows, files[g->kind].n_rows, g, g->other_json);
}

/* ---- writing a file ---- */

void forbidden_json(struct json_writer *w, const char *text)
{
    struct json *j = NULL;
    struct arena a;

    arena_init(&a, 0);
    jw_key(w, "forbiddenTable");
    if (text && json_parse(&a, str_of(text), &j))
        w->out->failed = true;      /* it was valid when it was kept: memory ran out */
    if (j) {
        jw_value(w, j);
    } else {
        jw_object(w);
        jw_object_end(w);
    }
    arena_free(&a);
}

static void encode(struct meta *m, enum group_kind kind, struct buf *out)
{
    struct json_writer w;

    jw_init(&w, out, true);
    meta_read(m);
    jw_object(&w);
    jw_key(&w, "dataVersion");
    data_version_json(&w, version_of(m, kind));
    if (kind == CONSUMER_GROUP)
        forbidden_json(&w, m->forbidden_json);
    jw_kobject(&w, files[kind].table);
    for (struct group *g = m->groups[kind]; g; g = g->hh.next) {
        jw_key(&w, g->info.name);
        group_json(&w, g);
    }
    jw_object_end(&w);
    jw_object_end(&w);
    meta_done(m);
}

void meta_encode_groups(struct meta *m, struct buf *out) { encode(m, CONSUMER_GROUP, out); }
void meta_encode_producers(struct meta *m, struct buf *out) { encode(m, PRODUCER_GROUP, out); }

/* ---- reading ---- */

static int read_binding(struct group *g, const struct json *j)
{
    struct str topic = json_str(j, "topic"), expression = json_str(j, "expression");
    bool sql = str_is(json_str(j, "expressionType"), "SQL92");
    struct buf filter = {0};
    struct fault f;
    int rc = 0;

    if (topic_name_check(topic, &f) || group_binding(g, topic)) {
        log_error("group %s: a subscription without a legal topic of its own is left out", g->info.name);
        return 0;
    }
    buf_puts(&filter, sql ? "sql: " : "");
    buf_put_str(&filter, expression.n ? expression : str_of("*"));
    if (buf_failed(&filter))
        rc = -ENOMEM;
    else if (filter.n >= sizeof(((struct binding *)0)->info.filter) || memchr(filter.p, 0, filter.n))
        log_error("group %s: the subscription to %.*s is left out: its expression is too long",
                  g->info.name, STR_ARG(topic));
    else if (!group_add_binding(g, topic, buf_str(&filter), json_int(j, "version", 0)))
        rc = -ENOMEM;
    buf_free(&filter);
    return rc;
}

int group_read_bindings(struct group *g, const struct json *j)
{
    const struct json *set = json_member(j, "subscriptionDataSet");

    json_each(it, set && set->type == JSON_ARRAY ? set : NULL) {
        int rc = it->type == JSON_OBJECT ? read_binding(g, it) : 0;
        if (rc)
            return rc;
    }
    return 0;
}

int group_read(struct group *g, const struct json *j)
{
    members_read(files[g->kind].rows, files[g->kind].n_rows, g, j);
    free(g->other_json);
    return members_other(files[g->kind].rows, files[g->kind].n_rows, j, &g->other_json);
}

static int read_group(struct meta *m, enum group_kind kind, struct str name, const struct json *j)
{
    struct group *g = group_new(kind, name);
    int rc;

    if (!g)
        return -ENOMEM;
    if ((rc = group_read(g, j)) || (rc = attributes_read(j, &g->attributes)) ||
        (rc = group_read_bindings(g, j)) || (rc = meta_add_group(m, g))) {
        group_free(g);
        return rc;
    }
    group_read_attributes(g);
    return 0;
}

static void clear(struct meta *m, enum group_kind kind)
{
    struct group *g, *next;

    HASH_ITER(hh, m->groups[kind], g, next) {
        meta_remove_group(m, g);
        group_free(g);
    }
}

static int read_table(struct meta *m, enum group_kind kind, const struct json *table)
{
    json_each(it, table) {
        struct str name = json_as_str(it->key);
        struct fault f;
        int rc = 0;

        if (it->type != JSON_OBJECT)
            rc = -EBADMSG;
        else if (group_name_check(name, &f))
            log_error("%s: group \"%.*s\" is left out: %s", files[kind].name,
                      name.n > 100 ? 100 : (int)name.n, name.p, f.text);
        else if (!meta_group(m, kind, name))
            rc = read_group(m, kind, name, it);
        if (rc)
            return rc;
    }
    return 0;
}

static int keep_forbidden(struct meta *m, const struct json *j)
{
    struct buf text = {0};
    struct json_writer w;

    free(m->forbidden_json);
    m->forbidden_json = NULL;
    if (!j || j->type != JSON_OBJECT || !j->child)
        return 0;
    jw_init(&w, &text, false);
    jw_value(&w, j);
    m->forbidden_json = buf_take(&text);
    buf_free(&text);
    return m->forbidden_json ? 0 : -ENOMEM;
}

static int decode(struct meta *m, enum group_kind kind, struct str text)
{
    const struct json *table, *top;
    struct arena a;
    int rc;

    arena_init(&a, 0);
    clear(m, kind);
    rc = table_parse(&a, text, files[kind].table, &table, &top);
    if (!rc) {
        data_version_read(json_member(top, "dataVersion"), version_of(m, kind));
        rc = read_table(m, kind, table);
    }
    if (!rc && kind == CONSUMER_GROUP)
        rc = keep_forbidden(m, json_member(top, "forbiddenTable"));
    arena_free(&a);
    return rc;
}

int meta_decode_groups(struct meta *m, struct str text) { return decode(m, CONSUMER_GROUP, text); }
int meta_decode_producers(struct meta *m, struct str text) { return decode(m, PRODUCER_GROUP, text); }
