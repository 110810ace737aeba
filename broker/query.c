/* Finding messages: by key and unique id (QUERY_MESSAGE and the tree), by either
 * id, by time. Source: Apache QueryMessageProcessor.queryMessage (5.5.0). */
#include "broker/datapath.h"

#include <errno.h>
#include <stdlib.h>

#include "broker/offset_reset.h"

#define WAIT_MS 1000                         /* for the indexer, when it is behind */
#define REPLY_BYTES ((16 << 20) - 65536)     /* Java clients refuse frames above 16 MiB */

/* ---- the wire ---- */

struct query_header {
    struct str topic, key, index_type;
    int32_t max_num;
    int64_t begin, end;
};

static const struct field fields[] = {
    {"topic", FIELD_STR, offsetof(struct query_header, topic), true, NULL},
    {"key", FIELD_STR, offsetof(struct query_header, key), true, NULL},
    {"maxNum", FIELD_I32, offsetof(struct query_header, max_num), true, NULL},
    {"beginTimestamp", FIELD_I64, offsetof(struct query_header, begin), true, NULL},
    {"endTimestamp", FIELD_I64, offsetof(struct query_header, end), true, NULL},
    {"indexType", FIELD_STR, offsetof(struct query_header, index_type), false, ""},
};

static int32_t smaller(int32_t a, int32_t b) { return a < b ? a : b; }

/* On a worker: the indexer may be behind, and index and records may have to come from the disk. */
void op_query_message(struct request *r)
{
    const struct broker_config *conf = broker_conf(broker_of(r));
    struct store_index_end end;
    struct store_result *res;
    struct query_header h;
    struct command out;
    char time[21], offset[21];
    int rc;

    if (!REQUEST_FIELDS(r, fields, &h))
        return;
    if (str_is(command_ext(request_cmd(r), "_UNIQUE_KEY_QUERY"), "true"))
        h.max_num = conf->default_query_max_num;
    rc = store_query(broker_of(r)->store,
                    &(struct store_query){.topic = h.topic, .key = h.key, .tag = str_is(h.index_type, "T"),
                                          .begin = h.begin, .end = h.end, .max_bytes = REPLY_BYTES,
                                          .max_messages = smaller(h.max_num, conf->max_msgs_num_batch),
                                          .wait_ms = WAIT_MS},
                    &end, &res);
    if (rc) {
        reply(r, RC_SYSTEM_ERROR, rc == -ENOMEM ? "no memory for the query" :
              "the disk did not give what the query has to look at; the broker's log says more");
        return;
    }
    reply_start(r, &out, res->n_messages ? RC_SUCCESS : RC_QUERY_NOT_FOUND);
    command_add_i64(&out, "indexLastUpdateTimestamp", end.time, time);
    command_add_i64(&out, "indexLastUpdatePhyoffset", end.offset, offset);
    if (!res->n_messages) {
        store_release(res);
        out.remark = str_of("no message of the topic has that key in that time");
        reply_send(r, &out);
        return;
    }
    if (store_touch(res)) {
        store_release(res);
        reply(r, RC_SYSTEM_ERROR, "the disk did not give the messages found; the broker's log says more");
        return;
    }
    reply_extents(r, &out, res->iov, res->n_iov, store_release, res);
}

/* ---- what the tree asks ---- */

/* Records of a result, in its order, into m[n_messages]. How many there were. */
static int split(const struct store_result *res, struct message *m)
{
    int n = 0;

    for (int i = 0; i < res->n_iov; i++) {
        const char *p = res->iov[i].iov_base, *end = p + res->iov[i].iov_len;
        while (n < res->n_messages && p < end && message_record_get(p, (size_t)(end - p), false, &m[n]) == 0)
            p += m[n++].size;
    }
    return n;
}

static int query(struct broker *b, struct str topic, const struct key_sought *key, int64_t before, int32_t max,
                 int wait_ms, struct store_result **out)
{
    struct store_query q = {.topic = topic, .key = key->text, .is_key = key->is, .is_key_arg = key->arg,
                            .key_hash = key->hash, .begin = 0, .end = INT64_MAX, .before = before,
                            .max_messages = max, .max_bytes = INT64_MAX, .wait_ms = wait_ms};

    return store_query(b->store, &q, NULL, out);
}

int32_t broker_key_hash(struct str topic, struct str key) { return store_key_hash(topic, key); }

int broker_messages_by_key(struct broker *b, struct str topic, const struct key_sought *key, int64_t before, int32_t max,
                           bool (*each)(void *arg, const struct message *m), void *arg)
{
    struct store_result *res;
    struct message *m;
    int rc = query(b, topic, key, before, max, WAIT_MS, &res), n;

    if (rc)
        return rc;
    if (!res->n_messages || (rc = store_own(res))) {
        store_release(res);
        return rc ? rc : -ENOENT;
    }
    if ((m = malloc((size_t)res->n_messages * sizeof(*m)))) {
        n = split(res, m);
        while (n > 0 && each(arg, &m[n - 1]))
            n--;
    } else {
        rc = -ENOMEM;
    }
    free(m);
    store_release(res);
    return rc;
}

static bool host_is(const struct host *a, const struct host *b)
{
    return a->v6 == b->v6 && a->port == b->port && memcmp(a->ip, b->ip, a->v6 ? 16 : 4) == 0;
}

/* An offset id names the broker that stored the message, and where. */
static int by_offset_id(struct broker *b, struct str id, struct message *out, struct store_result **hold)
{
    struct host host;
    int64_t offset;
    int rc = offset_id_parse(id, &host, &offset) ? -ENOENT : store_load(b->store, offset, 0, out, hold);

    if (rc)
        return rc;
    if (host_is(&out->store_host, &host))
        return 0;
    store_release(*hold);
    *hold = NULL;
    return -ENOENT;
}

/* A unique id does not say in which topic to look, and the index is by topic: one look for each. */
static int by_unique_id(struct broker *b, struct str id, struct message *out, struct store_result **hold)
{
    const struct key_sought key = {.text = id};
    struct topic_info *t = malloc(sizeof(*t));
    int wait_ms = WAIT_MS, rc = t ? -ENOENT : -ENOMEM;

    for (uint32_t after = 0; rc == -ENOENT && broker_topic_next(b, after, t) == 0; after = t->id) {
        int failed = query(b, str_of(t->name), &key, 0, 1, wait_ms, hold);
        wait_ms = 0;
        if (!failed && (failed = store_own(*hold))) {
            store_release(*hold);
            *hold = NULL;
        }
        if (failed) {
            rc = failed;
        } else if (split(*hold, out) == 1 && str_eq(prop_get(out->properties, "UNIQ_KEY"), id)) {
            rc = 0;
        } else {
            store_release(*hold);
            *hold = NULL;
        }
    }
    free(t);
    return rc;
}

int broker_message_by_id(struct broker *b, struct str id, struct message *out, struct store_result **hold)
{
    int rc;

    *hold = NULL;
    rc = by_offset_id(b, id, out, hold);
    return rc == -ENOENT ? by_unique_id(b, id, out, hold) : rc;
}

int broker_offset_at_time(struct broker *b, struct str topic, int32_t queue, struct str time, int64_t *out)
{
    struct store_queue *q = store_queue_find(b->store, topic, queue);
    struct reset_target at;
    int64_t min;

    if (reset_target_parse(time, &at, NULL) || at.to != RESET_TIME)
        return -EINVAL;
    if (!q)
        return -ENOENT;
    min = store_queue_min(b->store, q);
    if ((*out = store_offset_at_time(b->store, q, at.value, false)) < 0)
        return (int)*out;
    if (*out < min)      /* Apache's answer to a time before the first message is its file's start */
        *out = min;
    return *out < store_queue_max(b->store, q) ? 0 : -ENOENT;
}
