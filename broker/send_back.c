/* CONSUMER_SEND_MSG_BACK: a message that could not be consumed is stored again,
 * for its group's retry topic after a delay, or for its dead-letter topic.
 * Source: Apache AbstractSendMessageProcessor.consumerSendMsgBack (5.5.0). */
#include <errno.h>

#include "broker/datapath.h"
#include "broker/put.h"
#include "common/log.h"

#define MAX_RECONSUME_NONE INT32_MIN
#define FIRST_RETRY_LEVEL 3          /* the delay level of the first retry; each further one is a level higher */

struct back_header {
    struct str group, origin_topic;
    int64_t offset;
    int32_t delay_level, max_reconsume_times;
    bool unit_mode;
};

static const struct field fields[] = {
    {"offset", FIELD_I64, offsetof(struct back_header, offset), true, NULL},
    {"group", FIELD_STR, offsetof(struct back_header, group), true, NULL},
    {"delayLevel", FIELD_I32, offsetof(struct back_header, delay_level), true, NULL},
    {"originTopic", FIELD_STR, offsetof(struct back_header, origin_topic), false, NULL},
    {"unitMode", FIELD_BOOL, offsetof(struct back_header, unit_mode), false, NULL},
    {"maxReconsumeTimes", FIELD_I32, offsetof(struct back_header, max_reconsume_times), false, "-2147483648"},
};

/* What the group's settings say, copied out. */
struct back {
    struct broker *b;
    struct back_header h;
    int32_t retry_queues, retry_max;
    struct missing_topic to;         /* the retry or dead-letter topic */
};

/* Under meta_read: 0, or -errno with f. */
static int read_group(struct back *k, struct fault *f)
{
    const struct broker_config *conf = broker_conf(k->b);
    struct group *g = meta_group(k->b->meta, CONSUMER_GROUP, k->h.group);

    if (!g)
        return fault_set(f, RC_SUBSCRIPTION_GROUP_NOT_EXIST, ENOENT,
                         "there is no consumer group %.*s", STR_ARG(k->h.group));
    if (!(conf->broker_permission & 2))
        return fault_set(f, RC_NO_PERMISSION, EACCES, "brokerPermission=%d: the broker %s takes no messages",
                         conf->broker_permission, conf->broker_name);
    k->retry_queues = g->info.retry_queues;
    k->retry_max = k->h.max_reconsume_times == MAX_RECONSUME_NONE ? g->info.retry_max : k->h.max_reconsume_times;
    return 0;
}

static bool find_topic(struct back *k, int32_t *queues, bool *writable)
{
    struct topic *t;

    meta_read(k->b->meta);
    t = meta_topic(k->b->meta, str_of(k->to.name));
    *queues = t ? t->info.write_queues : 0;
    *writable = t && (t->info.perm & 2);
    meta_done(k->b->meta);
    return t != NULL;
}

/* Makes the topic k->to when it is missing, and sees that it may be written. *queues: how many it has. */
static int ready_topic(struct back *k, const char *from, int32_t *queues, struct fault *f)
{
    bool writable;
    int rc;

    if (!find_topic(k, queues, &writable)) {
        if ((rc = put_make_topic(k->b, &k->to, from, f)))
            return rc;
        find_topic(k, queues, &writable);
    }
    if (!writable || *queues <= 0)
        return fault_set(f, RC_NO_PERMISSION, EACCES, "topic %s takes no messages", k->to.name);
    return 0;
}

static const char *const replaced[] = {"WAIT", "DELAY", NULL};

/* The properties that m is stored with again. level: DELAY; 0 for the dead. */
static int back_properties(const struct message *m, int32_t level, struct buf *out, struct fault *f)
{
    char id[64];

    prop_copy_without(out, m->properties, replaced);
    if (!prop_get(m->properties, "RETRY_TOPIC").n)
        prop_put(out, "RETRY_TOPIC", m->topic);
    if (!prop_get(m->properties, "ORIGIN_MESSAGE_ID").n) {
        offset_id_text(&m->store_host, m->physical_offset, id);
        prop_put(out, "ORIGIN_MESSAGE_ID", str_of(id));
    }
    prop_put(out, "WAIT", str_of("false"));
    prop_put_i64(out, "DELAY", level);
    if (buf_failed(out))
        return fault_set(f, RC_SYSTEM_BUSY, ENOMEM, "no memory to send the message back");
    if (out->n > PROPERTIES_MAX)
        return fault_set(f, RC_MESSAGE_ILLEGAL, EMSGSIZE,
                         "the message's properties, with those of a retry, have more than %d bytes",
                         PROPERTIES_MAX);
    return 0;
}

static int32_t retry_level(int32_t times)
{
    return times < INT32_MAX - FIRST_RETRY_LEVEL ? FIRST_RETRY_LEVEL + times : INT32_MAX;
}

/* Stores m again, for the topic and delay that its tries so far ask for. */
static int put_back(struct back *k, const char *from, struct message *m, struct buf *properties,
                    struct store_put *put, struct fault *f)
{
    bool dead = k->h.delay_level < 0 || m->reconsume_times >= k->retry_max;
    int32_t level = dead ? 0 : k->h.delay_level, queues;
    int rc;

    if (!dead && level == 0)
        level = retry_level(m->reconsume_times);
    if (!missing_derived(&k->to, dead ? DLQ_PREFIX : RETRY_PREFIX, k->h.group, dead ? 1 : k->retry_queues))
        return fault_set(f, RC_SYSTEM_ERROR, ENAMETOOLONG,
                         "the name of the topic to send back to would be too long");
    k->to.sys_flag = k->h.unit_mode && !dead ? 2 : 0;        /* TopicSysFlag: a unit's subscription */
    if ((rc = ready_topic(k, from, &queues, f)) || (rc = back_properties(m, level, properties, f)))
        return rc;
    m->topic = str_of(k->to.name);
    m->queue_id = (int32_t)((uint64_t)m->physical_offset / 64 % (uint32_t)queues);    /* any; records are longer */
    m->properties = buf_str(properties);
    m->store_host = k->b->store_host;
    m->prepared_transaction_offset = 0;
    m->reconsume_times = m->reconsume_times < INT32_MAX ? m->reconsume_times + 1 : INT32_MAX;
    rc = broker_put_internal(k->b, m, put, f);
    if (!rc && dead)
        log_warn("message at %lld of group %.*s, tried %d times, is dead: to %s", (long long)k->h.offset,
                 STR_ARG(k->h.group), m->reconsume_times, k->to.name);
    return rc;
}

static int send_back(struct back *k, const char *from, struct store_put *put, struct fault *f)
{
    struct store_result *res;
    struct message m;
    struct buf properties = {0};
    int rc = k->h.offset < 0 ? -ENOENT : store_load(k->b->store, k->h.offset, 0, &m, &res);

    if (rc == -ENOENT)
        return fault_set(f, RC_SYSTEM_ERROR, ENOENT, "no message starts at the commit log offset %lld",
                         (long long)k->h.offset);
    if (rc)
        return fault_errno(f, -rc, "read the message at the commit log offset %lld", (long long)k->h.offset);
    /* Any offset may be named: what the group may not consume does not come to it by way of its retry topic. */
    meta_read(k->b->meta);
    rc = meta_bound(k->b->meta, broker_conf(k->b), CONSUMER_GROUP, k->h.group, m.topic, f);
    meta_done(k->b->meta);
    if (!rc)
        rc = put_back(k, from, &m, &properties, put, f);
    buf_free(&properties);
    store_release(res);
    return rc;
}

static void on_flushed(void *arg, bool ok)
{
    struct request *kept = arg;

    reply(kept, ok ? RC_SUCCESS : RC_FLUSH_DISK_TIMEOUT, ok ? NULL : "%s",
          "the message is stored, but the disk did not confirm it in time");
    request_free(kept);
}

/* The consumer forgets the message after this answer: with SYNC_FLUSH it waits for the disk. */
static void answer(struct request *r, const struct broker_config *conf, struct store *store, int64_t end)
{
    struct request *kept;

    if (conf->flush_disk_type != FLUSH_SYNC)
        reply(r, RC_SUCCESS, NULL);
    else if ((kept = request_keep(r)))
        store_when_flushed(store, end, conf->sync_flush_timeout, on_flushed, kept);
}

/* On a worker: it may make topics, and the message may be cold. */
void op_consumer_send_msg_back(struct request *r)
{
    struct back k = {.b = broker_of(r)};
    struct store_put put;
    struct fault f;
    int rc;

    if (!REQUEST_FIELDS(r, fields, &k.h))
        return;
    meta_read(k.b->meta);
    rc = read_group(&k, &f);
    meta_done(k.b->meta);
    if (!rc && k.retry_queues <= 0) {
        reply(r, RC_SUCCESS, "the group has no retry queues: the message is not kept");    /* as Apache */
        return;
    }
    if (!rc)
        rc = send_back(&k, conn_peer(request_conn(r)), &put, &f);
    if (rc)
        reply_fault(r, &f);
    else
        answer(r, broker_conf(k.b), k.b->store, put.end);
}
