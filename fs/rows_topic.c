/* Topics, their queues and their messages. */
#include "fs/row.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "common/codes.h"

static int change(struct at *a, const struct topic_change *ch, struct fault *f)
{
    return broker_topic_update(a->b, at_caller(a), str_of(a->topic.name), ch, f);
}

/* ---- settings ---- */

static int read_queues_text(struct at *a, struct buf *out)
{
    buf_i64(out, a->topic.read_queues);
    return 0;
}

static int read_queues_set(struct at *a, struct str value, struct fault *f)
{
    struct topic_change ch = TOPIC_CHANGE_NONE;
    int rc = value_number(value, &ch.read_queues, f);

    return rc ? rc : change(a, &ch, f);
}

static int write_queues_text(struct at *a, struct buf *out)
{
    buf_i64(out, a->topic.write_queues);
    return 0;
}

static int write_queues_set(struct at *a, struct str value, struct fault *f)
{
    struct topic_change ch = TOPIC_CHANGE_NONE;
    int rc = value_number(value, &ch.write_queues, f);

    return rc ? rc : change(a, &ch, f);
}

static int perm_text(struct at *a, struct buf *out)
{
    buf_i64(out, a->topic.perm);
    return 0;
}

static int perm_set(struct at *a, struct str value, struct fault *f)
{
    struct topic_change ch = TOPIC_CHANGE_NONE;
    int rc = value_number(value, &ch.perm, f);

    return rc ? rc : change(a, &ch, f);
}

static int order_text(struct at *a, struct buf *out)
{
    put_yes(out, a->topic.order);
    return 0;
}

static int order_set(struct at *a, struct str value, struct fault *f)
{
    struct topic_change ch = TOPIC_CHANGE_NONE;
    int rc = value_truth(value, &ch.order, f);

    return rc ? rc : change(a, &ch, f);
}

static int filter_text(struct at *a, struct buf *out)
{
    buf_puts(out, a->topic.multi_tag ? "MULTI_TAG" : "SINGLE_TAG");
    return 0;
}

static int filter_set(struct at *a, struct str value, struct fault *f)
{
    struct topic_change ch = TOPIC_CHANGE_NONE;

    if (!str_is(value, "MULTI_TAG") && !str_is(value, "SINGLE_TAG"))
        return fault_set(f, RC_INVALID_PARAMETER, EINVAL, "the filter is SINGLE_TAG or MULTI_TAG");
    ch.multi_tag = str_is(value, "MULTI_TAG");
    return change(a, &ch, f);
}

static int type_text(struct at *a, struct buf *out)
{
    buf_puts(out, a->topic.type[0] ? a->topic.type : "NORMAL");
    return 0;
}

static int type_set(struct at *a, struct str value, struct fault *f)
{
    struct topic_change ch = TOPIC_CHANGE_NONE;
    char text[64];

    for (size_t i = 0; i < value.n; i++)
        if ((value.p[i] < 'A' || value.p[i] > 'Z') && value.p[i] != '_')
            value.n = 0;
    if (!value.n || value.n > 15)
        return fault_set(f, RC_INVALID_PARAMETER, EINVAL, "a message type is a word like NORMAL, FIFO, DELAY, TRANSACTION");
    snprintf(text, sizeof text, "+message.type=%.*s", STR_ARG(value));
    ch.attributes = text;
    return change(a, &ch, f);
}

/* ---- attributes ----
 * Written are either changes, "+key=value" and "-key", or all of them as they are read, so that the file can be edited
 * and copied; one a line, or separated by commas as Apache's tools do it. */

#define OWNER_KEY "mqfs.owner"

static int attributes_text(struct at *a, struct buf *out)
{
    return broker_topic_attributes(a->b, str_of(a->topic.name), out);
}

/* The next one, cut off *text; empty at the end. */
static struct str next_item(struct str *text)
{
    struct str item = {0};

    while (text->n && !item.n) {
        size_t n = 0;

        while (n < text->n && text->p[n] != '\n' && text->p[n] != ',')
            n++;
        item = str_trim(str_n(text->p, n));
        n += n < text->n;
        *text = str_n(text->p + n, text->n - n);
    }
    return item;
}

static struct str key_of(struct str item)
{
    const char *eq = item.n ? memchr(item.p, '=', item.n) : NULL;

    return eq ? str_n(item.p, (size_t)(eq - item.p)) : item;
}

static bool is_signed(struct str item) { return item.n && (item.p[0] == '+' || item.p[0] == '-'); }

/* Its item of that key, or an empty one. */
static struct str item_of(struct str text, struct str key)
{
    struct str item;

    while ((item = next_item(&text)).n && !str_eq(key_of(item), key))
        ;
    return item;
}

/* As chown(2): who has the topic may not give it away. */
static int owner_check(struct at *a, struct str item, struct fault *f)
{
    struct str key = is_signed(item) ? str_n(item.p + 1, item.n - 1) : item, value;
    bool same;

    if (!str_is(key_of(key), OWNER_KEY) || a->who->uid == 0)
        return 0;
    value = str_n(key.p + key_of(key).n, key.n - key_of(key).n);
    same = value.n && item.p[0] != '-' && str_is(str_n(value.p + 1, value.n - 1), a->topic.owner);
    return same ? 0 : fault_set(f, RC_NO_PERMISSION, EPERM, "only root hands a topic over: with chown of its directory, or here");
}

/* Apache's text of what changes. */
static int attributes_change_text(struct at *a, struct str value, struct buf *out, struct fault *f)
{
    struct str rest = value, item = next_item(&rest), old;
    bool changes = is_signed(item);
    struct buf now = {0};
    int rc = item.n ? attributes_text(a, &now) :
                      fault_set(f, RC_INVALID_PARAMETER, EINVAL,
                                "write +key=value to set and -key to take away, or all attributes as key=value lines");

    for (; !rc && item.n; item = next_item(&rest)) {
        if (is_signed(item) != changes || (!changes && key_of(item).n == item.n))
            rc = fault_set(f, RC_INVALID_PARAMETER, EINVAL,
                           "\"%.*s\" does not fit: write either +key=value and -key, or all attributes as key=value lines",
                           item.n > 100 ? 100 : (int)item.n, item.p);
        else
            rc = owner_check(a, item, f);
        if (!changes && str_eq(item_of(buf_str(&now), key_of(item)), item))
            continue;
        buf_puts(out, out->n ? "," : "");
        buf_puts(out, changes ? "" : "+");
        buf_put_str(out, item);
    }
    for (rest = buf_str(&now); !rc && !changes && (old = next_item(&rest)).n;)
        if (!item_of(value, key_of(old)).n && !str_is(key_of(old), OWNER_KEY))
            buf_printf(out, "%s-%.*s", out->n ? "," : "", STR_ARG(key_of(old)));
    buf_putc(out, 0);
    buf_free(&now);
    return rc ? rc : buf_failed(out) ? -ENOMEM : 0;
}

static int attributes_set(struct at *a, struct str value, struct fault *f)
{
    struct topic_change ch = TOPIC_CHANGE_NONE;
    struct buf text = {0};
    int rc = attributes_change_text(a, value, &text, f);

    ch.attributes = text.p;
    if (!rc)
        rc = change(a, &ch, f);
    buf_free(&text);
    return rc;
}

static int status_text(struct at *a, struct buf *out)
{
    static const char *const heads[] = {"QUEUE", "MIN", "MAX", "LAST_TIME"};
    struct queue_info q;
    struct table t;

    table_start(&t, 4, heads);
    for (int32_t i = 0; broker_queue_get(a->b, str_of(a->topic.name), i, &q) == 0; i++) {
        table_int(&t, i);
        table_int(&t, q.min);
        table_int(&t, q.max);
        table_time(&t, q.last_time);
    }
    return table_end(&t, out);
}

/* ---- who consumes it ---- */

/* Bound to the topic, or with an offset committed in it. */
static bool consumes(struct at *a, struct str group)
{
    struct str topic = str_of(a->topic.name);
    int64_t offset;

    if (broker_binding_get(a->b, CONSUMER_GROUP, group, topic, &a->binding) == 0)
        return true;
    for (int32_t i = 0; i < a->topic.read_queues; i++)
        if (broker_offset_get(a->b, group, topic, i, &offset) == 0)
            return true;
    return false;
}

static int consumer_load(struct at *a, struct str name)
{
    int rc = broker_group_get(a->b, CONSUMER_GROUP, name, &a->group);

    if (rc)
        return rc;
    return consumes(a, name) ? at_name(a, name) : -ENOENT;
}

static int consumer_next(struct at *a, uint64_t after, uint64_t *cookie)
{
    int rc;

    while ((rc = broker_group_next(a->b, CONSUMER_GROUP, (uint32_t)after, &a->group)) == 0) {
        after = a->group.id;
        *cookie = after;
        if (consumes(a, str_of(a->group.name)) && at_name(a, str_of(a->group.name)) == 0)
            return 0;
    }
    return rc;
}

static int consumer_text(struct at *a, struct buf *out)
{
    for (int i = 1; i < a->depth; i++)
        buf_puts(out, "../");
    buf_puts(out, "groups/");
    buf_puts(out, a->group.name);
    return 0;
}

static const struct row topic_groups_rows[] = {
    {.name = "{group}", .kind = ROW_LINK, .mode = 0777, .flags = ROW_FLEETING, .load = consumer_load, .next = consumer_next,
     .text = consumer_text, .read_help = "a group that is bound to the topic or has consumed from it: a link to it"},
    {0},
};

/* ---- queues ---- */

static int queue_load(struct at *a, struct str name)
{
    int rc = at_queue_number(name, &a->queue);

    if (!rc)
        rc = broker_queue_get(a->b, str_of(a->topic.name), a->queue, &a->q);
    if (!rc)
        a->mtime_ms = a->q.last_time ? a->q.last_time : a->topic.created;
    return rc;
}

static int queue_next(struct at *a, uint64_t after, uint64_t *cookie)
{
    char digits[21];

    if (after > INT32_MAX)
        return -ENOENT;
    *cookie = after + 1;
    at_name(a, str_n(digits, fmt_i64(digits, (int64_t)after)));
    return queue_load(a, str_of(a->name));
}

static int offset_text(struct at *a, struct buf *out)
{
    buf_i64(out, a->q.max);
    return 0;
}

static int min_offset_text(struct at *a, struct buf *out)
{
    buf_i64(out, a->q.min);
    return 0;
}

static int last_time_text(struct at *a, struct buf *out)
{
    buf_time(out, a->q.last_time);
    return 0;
}

/* ---- messages ---- */

#define OFFSET_DIGITS 20
#define JSON_SUFFIX ".json"

static int message_load(struct at *a, struct str name)
{
    uint64_t v = 0;

    if (name.n != OFFSET_DIGITS)
        return -ENOENT;
    for (size_t i = 0; i < name.n; i++) {
        if (name.p[i] < '0' || name.p[i] > '9' || v > (UINT64_MAX - 9) / 10)
            return -ENOENT;
        v = v * 10 + (uint64_t)(name.p[i] - '0');
    }
    if (v > INT64_MAX || (int64_t)v < a->q.min || (int64_t)v >= a->q.max)
        return -ENOENT;
    a->offset = (int64_t)v;
    return 0;
}

static int message_json_load(struct at *a, struct str name)
{
    size_t n = strlen(JSON_SUFFIX);

    if (name.n < n || memcmp(name.p + name.n - n, JSON_SUFFIX, n) != 0)
        return -ENOENT;
    return message_load(a, str_n(name.p, name.n - n));
}

/* The cookie is the offset behind the message: a listing of millions goes on from it alone. */
static int message_next(struct at *a, uint64_t after, uint64_t *cookie)
{
    int64_t offset = (int64_t)after < a->q.min ? a->q.min : (int64_t)after;

    if (offset >= a->q.max)
        return -ENOENT;
    a->offset = offset;
    *cookie = (uint64_t)offset + 1;
    snprintf(a->name, sizeof a->name, "%0*lld", OFFSET_DIGITS, (long long)offset);
    return 0;
}

static int message_get(struct at *a)
{
    int rc;

    if (a->hold)
        return 0;
    rc = broker_message_get(a->b, str_of(a->topic.name), a->queue, a->offset, &a->m, &a->hold);
    if (!rc)
        a->mtime_ms = a->m.store_timestamp;
    return rc;
}


static int message_text(struct at *a, struct buf *out)
{
    int rc = message_get(a);

    if (!rc && !broker_message_unpack(&a->m, out))
        buf_put_str(out, a->m.body);
    return rc;
}

static int message_size(struct at *a, int64_t *out)
{
    struct buf text = {0};
    struct message m;
    int rc = broker_message_look(a->b, str_of(a->topic.name), a->queue, a->offset, &m);

    if (rc)
        return rc;
    a->mtime_ms = m.store_timestamp;
    *out = (int64_t)m.body.n;
    if (m.sys_flag & SYSFLAG_COMPRESSED) {
        rc = message_text(a, &text);
        *out = (int64_t)text.n;
        buf_free(&text);
    }
    return rc;
}

static int message_json_text(struct at *a, struct buf *out)
{
    int rc = message_get(a);

    if (!rc)
        broker_message_json(&a->m, out);
    return rc;
}

static const struct row messages_rows[] = {
    {.name = "{offset}", .kind = ROW_FILE, .mode = 0440, .flags = ROW_RAW, .load = message_load, .next = message_next,
     .text = message_text, .size = message_size,
     .read_help = "the body of the message at that queue offset (20 digits), to its last byte; its time is the store time"},
    {.name = "{offset}.json", .kind = ROW_FILE, .mode = 0440, .flags = ROW_UNLISTED, .load = message_json_load,
     .text = message_json_text,
     .read_help = "the same message as one JSON line, with keys, tags, ids, properties, hosts and times; not listed"},
    {0},
};

static const struct row queue_rows[] = {
    {.name = "offset", .kind = ROW_FILE, .mode = 0444, .flags = ROW_VOLATILE, .text = offset_text,
     .read_help = "the next offset to be written"},
    {.name = "min_offset", .kind = ROW_FILE, .mode = 0444, .flags = ROW_VOLATILE, .text = min_offset_text,
     .read_help = "the first offset that is still there"},
    {.name = "last_time", .kind = ROW_FILE, .mode = 0444, .flags = ROW_VOLATILE, .text = last_time_text,
     .read_help = "store time of the last message"},
    {.name = "messages", .kind = ROW_DIR, .mode = 0550, .rows = messages_rows, .read_help = "the messages; for owner and adminGroup"},
    {.name = "at", .kind = ROW_DIR, .mode = 0755, .rows = at_rows, .read_help = "messages by time"},
    {0},
};

const struct row topic_rows[] = {
    {.name = "read_queues", .kind = ROW_FILE, .mode = 0664, .text = read_queues_text, .set = read_queues_set,
     .read_help = "queues that consumers read", .write_help = "sets it"},
    {.name = "write_queues", .kind = ROW_FILE, .mode = 0664, .text = write_queues_text, .set = write_queues_set,
     .read_help = "queues that producers write", .write_help = "sets it"},
    {.name = "perm", .kind = ROW_FILE, .mode = 0664, .text = perm_text, .set = perm_set,
     .read_help = "4 read, 2 write, 6 both", .write_help = "sets it"},
    {.name = "type", .kind = ROW_FILE, .mode = 0664, .text = type_text, .set = type_set,
     .read_help = "message type: NORMAL, FIFO, ...", .write_help = "sets it"},
    {.name = "order", .kind = ROW_FILE, .mode = 0664, .text = order_text, .set = order_set,
     .read_help = "true when the topic is kept in order across brokers", .write_help = "sets it"},
    {.name = "filter", .kind = ROW_FILE, .mode = 0664, .text = filter_text, .set = filter_set,
     .read_help = "SINGLE_TAG or MULTI_TAG", .write_help = "sets it"},
    {.name = "attributes", .kind = ROW_FILE, .mode = 0664, .flags = ROW_RAW | ROW_LINES, .text = attributes_text, .set = attributes_set,
     .read_help = "RocketMQ's topic attributes, `key=value` a line, `message.type` and the owner (`mqfs.owner`) among them",
     .write_help = "`+key=value` sets one, `-key` takes one away; or all of them as they are read"},
    {.name = "status", .kind = ROW_FILE, .mode = 0444, .flags = ROW_VOLATILE, .text = status_text,
     .read_help = "table of the queues: min, max, time of the last message"},
    {.name = "groups", .kind = ROW_DIR, .mode = 0755, .rows = topic_groups_rows, .read_help = "who consumes it"},
    {.name = "clients", .kind = ROW_DIR, .mode = 0755, .rows = clients_rows, .load = topic_clients_load,
     .read_help = "who is connected for it: members of the consumer groups that subscribe it and of the producer groups that "
                  "are bound to it"},
    {.name = "{queue}", .kind = ROW_DIR, .mode = 0755, .rows = queue_rows, .load = queue_load, .next = queue_next,
     .read_help = "a queue, by its number"},
    {0},
};
