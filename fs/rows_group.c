/* Consumer groups and producer groups. */
#include "fs/row.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include "common/codes.h"
#include "common/json.h"

static struct str group_name(const struct at *a) { return str_of(a->group.name); }

/* ---- the groups ---- */

static int group_load(struct at *a, enum group_kind kind, struct str name)
{
    int rc = name.n <= GROUP_NAME_MAX_LONG ? broker_group_get(a->b, kind, name, &a->group) : -ENOENT;

    if (rc)
        return rc;
    a->kind = kind;
    a->owner = a->group.owner;
    return 0;
}

static int consumer_group_load(struct at *a, struct str name) { return group_load(a, CONSUMER_GROUP, name); }
static int producer_group_load(struct at *a, struct str name) { return group_load(a, PRODUCER_GROUP, name); }

static int group_next(struct at *a, enum group_kind kind, uint64_t after, uint64_t *cookie)
{
    int rc;

    a->kind = kind;
    while ((rc = broker_group_next(a->b, kind, (uint32_t)after, &a->group)) == 0) {
        after = a->group.id;
        *cookie = after;
        a->owner = a->group.owner;
        if (!a->group.system && at_name(a, group_name(a)) == 0)
            return 0;
    }
    return rc;
}

static int consumer_group_next(struct at *a, uint64_t after, uint64_t *cookie)
{
    return group_next(a, CONSUMER_GROUP, after, cookie);
}

static int producer_group_next(struct at *a, uint64_t after, uint64_t *cookie)
{
    return group_next(a, PRODUCER_GROUP, after, cookie);
}

static int group_make(struct at *a, enum group_kind kind, struct str name, struct fault *f)
{
    struct group_change ch = GROUP_CHANGE_NONE;
    const struct caller *c = at_caller(a);

    ch.owner = c->user;
    return broker_group_create(a->b, c, kind, name, &ch, f);
}

static int consumer_group_make(struct at *a, struct str name, struct fault *f) { return group_make(a, CONSUMER_GROUP, name, f); }
static int producer_group_make(struct at *a, struct str name, struct fault *f) { return group_make(a, PRODUCER_GROUP, name, f); }

static int group_remove(struct at *a, struct fault *f)
{
    return broker_group_delete(a->b, at_caller(a), a->kind, group_name(a), true, f);
}

static int change(struct at *a, const struct group_change *ch, struct fault *f)
{
    return broker_group_update(a->b, at_caller(a), a->kind, group_name(a), ch, f);
}

static int group_chown(struct at *a, const char *owner, struct fault *f)
{
    struct group_change ch = GROUP_CHANGE_NONE;

    ch.owner = owner;
    return change(a, &ch, f);
}

/* ---- settings: one function each way for all, told apart by the field's place ---- */

static int show_truth(struct buf *out, bool yes)
{
    put_yes(out, yes);
    return 0;
}

static int show_number(struct buf *out, int64_t v)
{
    buf_i64(out, v);
    return 0;
}

static int set_field(struct at *a, struct str value, bool is_truth, size_t field, struct fault *f)
{
    struct group_change ch = GROUP_CHANGE_NONE;
    int32_t v;
    int rc = is_truth ? value_truth(value, &v, f) : value_number(value, &v, f);

    if (rc)
        return rc;
    memcpy((char *)&ch + field, &v, sizeof v);
    return change(a, &ch, f);
}

#define SETTING(name, show, is_truth, member, field) \
    static int name##_text(struct at *a, struct buf *out) { return show(out, a->group.member); } \
    static int name##_set(struct at *a, struct str value, struct fault *f) \
    { \
        return set_field(a, value, is_truth, offsetof(struct group_change, field), f); \
    }

SETTING(enabled, show_truth, true, consume_enable, consume_enable)
SETTING(from_min, show_truth, true, consume_from_min_enable, consume_from_min_enable)
SETTING(broadcast, show_truth, true, consume_broadcast_enable, consume_broadcast_enable)
SETTING(order, show_truth, true, consume_orderly, consume_orderly)
SETTING(notify, show_truth, true, notify_ids_changed, notify_ids_changed)
SETTING(retry_max, show_number, false, retry_max, retry_max)
SETTING(retry_queues, show_number, false, retry_queues, retry_queues)
SETTING(timeout, show_number, false, consume_timeout_minute, consume_timeout_minute)

/* ---- bindings ---- */

static int binding_load(struct at *a, struct str name)
{
    int rc = broker_binding_get(a->b, a->kind, group_name(a), name, &a->binding);

    if (!rc)
        a->mtime_ms = a->binding.version;
    return rc;
}

static int binding_next(struct at *a, uint64_t after, uint64_t *cookie)
{
    int rc;

    while ((rc = broker_binding_next(a->b, a->kind, group_name(a), (uint32_t)after, &a->binding)) == 0) {
        after = a->binding.id;
        *cookie = after;
        a->mtime_ms = a->binding.version;
        if (at_name(a, str_of(a->binding.topic)) == 0)
            return 0;
    }
    return rc;
}

static int binding_text(struct at *a, struct buf *out)
{
    buf_puts(out, a->binding.filter);
    return 0;
}

static int binding_set(struct at *a, struct str value, struct fault *f)
{
    return broker_bind(a->b, at_caller(a), a->kind, group_name(a), str_of(a->binding.topic), value, f);
}

static int binding_make(struct at *a, struct str name, struct fault *f)
{
    return broker_bind(a->b, at_caller(a), a->kind, group_name(a), name, str_of("*"), f);
}

static int binding_remove(struct at *a, struct fault *f)
{
    return broker_unbind(a->b, at_caller(a), a->kind, group_name(a), str_of(a->binding.topic), f);
}

static const struct row bindings_rows[] = {
    {.name = "{topic}", .kind = ROW_FILE, .mode = 0664, .load = binding_load, .next = binding_next, .text = binding_text,
     .set = binding_set, .make = binding_make, .remove = binding_remove,
     .read_help = "the filter: `*`, `TagA || TagB`. With `enforceBindings` the group gets no message of another tag, whatever "
                  "it subscribes",
     .write_help = "making the file binds to `*` (so do `touch` and `echo >`), a text sets the filter, `rm` unbinds"},
    {0},
};

static const struct row producer_bindings_rows[] = {
    {.name = "{topic}", .kind = ROW_FILE, .mode = 0664, .load = binding_load, .next = binding_next, .text = binding_text,
     .set = binding_set, .make = binding_make, .remove = binding_remove, .read_help = "`*`: the group may send to the topic",
     .write_help = "making the file binds (`touch`, `echo >`), `rm` unbinds; there are no filters for sending"},
    {0},
};

/* ---- committed offsets ---- */

/* Its files are the group's: the owner stays. */
static int offset_topic(struct at *a, struct str topic)
{
    const char *owner = a->owner;
    int rc = at_topic(a, topic);

    a->owner = owner;
    a->mtime_ms = 0;
    return rc;
}

static int offset_topic_next(struct at *a, uint64_t after, uint64_t *cookie)
{
    char topic[TOPIC_NAME_MAX_LONG + 1];

    for (; after < UINT32_MAX && broker_offset_topic(a->b, group_name(a), (uint32_t)after, topic) == 0; after++) {
        if (at_name(a, str_of(topic)) || offset_topic(a, str_of(topic)))
            continue;
        *cookie = after + 1;
        return 0;
    }
    return -ENOENT;
}

static int offset_load(struct at *a, struct str name)
{
    int rc = at_queue_number(name, &a->queue);

    return rc ? rc : broker_queue_get(a->b, str_of(a->topic.name), a->queue, &a->q);
}

static int offset_next(struct at *a, uint64_t after, uint64_t *cookie)
{
    char digits[21];

    if (after > INT32_MAX)
        return -ENOENT;
    *cookie = after + 1;
    at_name(a, str_n(digits, fmt_i64(digits, (int64_t)after)));
    return offset_load(a, str_of(a->name));
}

static int offset_text(struct at *a, struct buf *out)
{
    int64_t offset;

    if (broker_offset_get(a->b, group_name(a), str_of(a->topic.name), a->queue, &offset))
        offset = -1;
    buf_i64(out, offset);
    return 0;
}

static int offset_set(struct at *a, struct str value, struct fault *f)
{
    return broker_offset_reset(a->b, at_caller(a), group_name(a), str_of(a->topic.name), a->queue, value, f);
}

static const struct row offset_rows[] = {
    {.name = "{queue}", .kind = ROW_FILE, .mode = 0664, .flags = ROW_VOLATILE, .load = offset_load, .next = offset_next,
     .text = offset_text, .set = offset_set,
     .read_help = "the group's committed offset in that queue, -1 when there is none",
     .write_help = "a number, `min`, `max`, or a time resets it; members that are online are told"},
    {0},
};

static const struct row offsets_rows[] = {
    {.name = "{topic}", .kind = ROW_DIR, .mode = 0775, .rows = offset_rows, .load = offset_topic, .next = offset_topic_next,
     .read_help = "a topic in which the group has committed offsets; others can be looked up"},
    {0},
};

/* ---- lag ---- */

static void lag_row(void *arg, const struct lag_info *r)
{
    struct table *t = arg;

    table_put(t, str_of(r->topic));
    table_int(t, r->queue);
    table_int(t, r->max);
    table_int(t, r->committed);
    table_int(t, r->lag);
    table_put(t, str_of(r->holder ? r->holder : ""));
}

static int lag_text(struct at *a, struct buf *out)
{
    static const char *const heads[] = {"TOPIC", "QUEUE", "MAX", "COMMITTED", "LAG", "HOLDER"};
    struct table t;
    int rc;

    table_start(&t, 6, heads);
    rc = broker_group_lag(a->b, group_name(a), lag_row, &t);
    if (!rc)
        return table_end(&t, out);
    buf_free(&t.cells);
    return rc;
}

static void lag_json_row(void *arg, const struct lag_info *r)
{
    struct json_writer *w = arg;

    jw_object(w);
    jw_kint(w, "committed", r->committed);
    jw_ktext(w, "holder", r->holder ? r->holder : "");
    jw_kint(w, "lag", r->lag);
    jw_kint(w, "max", r->max);
    jw_kint(w, "queue", r->queue);
    jw_ktext(w, "topic", r->topic);
    jw_object_end(w);
}

static int lag_json_text(struct at *a, struct buf *out)
{
    struct json_writer w;
    int rc;

    jw_init(&w, out, false);
    jw_array(&w);
    rc = broker_group_lag(a->b, group_name(a), lag_json_row, &w);
    jw_array_end(&w);
    return rc;
}

/* ---- retry and dead letters ---- */

static int group_topic(struct at *a, const char *prefix)
{
    char topic[TOPIC_NAME_MAX_LONG + 1];
    int n = snprintf(topic, sizeof topic, "%s%s", prefix, a->group.name);
    const char *owner = a->owner;
    int rc = n > 0 && (size_t)n < sizeof topic ? at_topic(a, str_n(topic, (size_t)n)) : -ENOENT;

    a->owner = owner;
    return rc;
}

static int retry_load(struct at *a, struct str name) { return group_topic(a, RETRY_PREFIX); }
static int dlq_load(struct at *a, struct str name) { return group_topic(a, DLQ_PREFIX); }

#define VALUE(row_name, fn, help) \
    {.name = row_name, .kind = ROW_FILE, .mode = 0664, .text = fn##_text, .set = fn##_set, .read_help = help, .write_help = "sets it"}

static const struct row group_rows[] = {
    {.name = "bindings", .kind = ROW_DIR, .mode = 0775, .rows = bindings_rows, .read_help = "what the group may consume"},
    {.name = "offsets", .kind = ROW_DIR, .mode = 0755, .rows = offsets_rows, .read_help = "how far it has got"},
    {.name = "clients", .kind = ROW_DIR, .mode = 0755, .rows = members_rows, .load = members_load, .read_help = "its members"},
    {.name = "lag", .kind = ROW_FILE, .mode = 0444, .flags = ROW_VOLATILE, .text = lag_text,
     .read_help = "table: topic, queue, max, committed, lag, holder"},
    {.name = "lag.json", .kind = ROW_FILE, .mode = 0444, .flags = ROW_VOLATILE, .text = lag_json_text,
     .read_help = "the same for programs"},
    {.name = "retry", .kind = ROW_DIR, .mode = 0755, .flags = ROW_FLEETING, .rows = topic_rows, .load = retry_load,
     .read_help = "the group's retry topic, with a topic's files; there once it was used"},
    {.name = "dlq", .kind = ROW_DIR, .mode = 0755, .flags = ROW_FLEETING, .rows = topic_rows, .load = dlq_load,
     .read_help = "its dead-letter topic, likewise"},
    VALUE("enabled", enabled, "false: the group may not consume"),
    VALUE("retry_max", retry_max, "retries before a message goes to the dlq"),
    VALUE("retry_queues", retry_queues, "queues of its retry topic"),
    VALUE("consume_from_min", from_min, "RocketMQ's consumeFromMinEnable: kept for its tools, brokers do nothing with it"),
    VALUE("broadcast", broadcast, "true: may consume in broadcast"),
    VALUE("order", order, "RocketMQ's consumeMessageOrderly: kept for its tools, clients say themselves whether they consume in order"),
    VALUE("notify", notify, "true: members are told when others come and go"),
    VALUE("consume_timeout", timeout, "RocketMQ's consumeTimeoutMinute: kept for its tools, brokers do nothing with it"),
    {0},
};

static const struct row producer_rows[] = {
    {.name = "bindings", .kind = ROW_DIR, .mode = 0775, .rows = producer_bindings_rows, .read_help = "where the group may send"},
    {.name = "clients", .kind = ROW_DIR, .mode = 0755, .rows = members_rows, .load = members_load, .read_help = "its members"},
    {0},
};

const struct row groups_rows[] = {
    {.name = "{group}", .kind = ROW_DIR, .mode = 0775, .rows = group_rows, .load = consumer_group_load,
     .next = consumer_group_next, .make = consumer_group_make, .remove = group_remove, .chown = group_chown,
     .read_help = "a consumer group; its owner is its maintainer",
     .write_help = "`mkdir` makes it, `rmdir` removes it when no member is connected, `chown` hands it over"},
    {0},
};

const struct row producers_rows[] = {
    {.name = "{group}", .kind = ROW_DIR, .mode = 0775, .rows = producer_rows, .load = producer_group_load,
     .next = producer_group_next, .make = producer_group_make, .remove = group_remove, .chown = group_chown,
     .read_help = "a producer group; its owner is its maintainer", .write_help = "as for consumer groups"},
    {0},
};
