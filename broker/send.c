/* SEND_MESSAGE and SEND_MESSAGE_V2: one message into one queue. The hot path:
 * nothing is allocated on it.
 * Source: Apache SendMessageProcessor, AbstractSendMessageProcessor (5.5.0). */
#include "broker/send.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "broker/datapath.h"
#include "broker/order_locks.h"
#include "broker/schedule.h"
#include "broker/send_props.h"
#include "common/clock.h"

/* ---- the header, in its two spellings ---- */

/* name, letter, type, member, required, default */
#define SEND_FIELDS(X) \
    X("producerGroup", "a", FIELD_STR, producer_group, true, NULL) \
    X("topic", "b", FIELD_STR, topic, true, NULL) \
    X("defaultTopic", "c", FIELD_STR, default_topic, true, NULL) \
    X("defaultTopicQueueNums", "d", FIELD_I32, default_queues, true, NULL) \
    X("queueId", "e", FIELD_I32, queue_id, true, NULL) \
    X("sysFlag", "f", FIELD_I32, sys_flag, true, NULL) \
    X("bornTimestamp", "g", FIELD_I64, born_timestamp, true, NULL) \
    X("flag", "h", FIELD_I32, flag, true, NULL) \
    X("properties", "i", FIELD_STR, properties, false, NULL) \
    X("reconsumeTimes", "j", FIELD_I32, reconsume_times, false, NULL) \
    X("unitMode", "k", FIELD_BOOL, unit_mode, false, NULL) \
    X("maxReconsumeTimes", "l", FIELD_I32, max_reconsume_times, false, "-2147483648") \
    X("batch", "m", FIELD_BOOL, batch, false, NULL)

#define ROW(name, type, member, required, def) {name, type, offsetof(struct send_header, member), required, def},
#define ROW_V1(name, letter, type, member, required, def) ROW(name, type, member, required, def)
#define ROW_V2(name, letter, type, member, required, def) ROW(letter, type, member, required, def)
static const struct field fields_v1[] = {SEND_FIELDS(ROW_V1)};
static const struct field fields_v2[] = {SEND_FIELDS(ROW_V2)};

/* ---- checks before the message is looked at ---- */

/* A number that differs from call to call, for the choice of a queue. */
static uint32_t any_number(void)
{
    static _Thread_local uint64_t state;

    if (!state)
        state = (uint64_t)wall_ms() ^ (uintptr_t)&state;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33);
}

/* The topic is not there: -ENXIO when it may be made on the way, else why not. */
static int admit_missing(struct send *s, struct fault *f)
{
    const struct send_header *h = &s->h;
    struct missing_topic *m = &s->missing;
    struct str group = topic_group_of(h->topic);
    int rc;

    if ((rc = topic_name_check(h->topic, f)))
        return rc;
    if (topic_is_unsendable(h->topic))
        return fault_set(f, RC_NO_PERMISSION, EACCES, "topic %.*s is the broker's own: nobody may send to it",
                         STR_ARG(h->topic));
    if (topic_is_retry(h->topic)) {
        const struct group *g = meta_group(s->b->meta, CONSUMER_GROUP, group);

        if (!g)
            return fault_set(f, RC_SUBSCRIPTION_GROUP_NOT_EXIST, ENOENT,
                             "there is no consumer group %.*s", STR_ARG(group));
        missing_derived(m, "", h->topic, g->info.retry_queues > 0 ? g->info.retry_queues : 1);
        m->sys_flag = h->unit_mode ? 2 : 0;         /* TopicSysFlag: a unit's subscription */
        return -ENXIO;
    }
    if (!s->conf->auto_create_topic_enable || topic_is_dlq(h->topic))
        return fault_set(f, RC_TOPIC_NOT_EXIST, ENOENT,
                         "there is no topic %.*s: make it with mkdir or mqadmin updateTopic (autoCreateTopicEnable=%s)",
                         STR_ARG(h->topic), s->conf->auto_create_topic_enable ? "true" : "false");
    if ((rc = meta_bound(s->b->meta, s->conf, PRODUCER_GROUP, h->producer_group, h->topic, f)))
        return rc;
    m->kind = MISSING_PLAIN;
    m->queues = h->default_queues;
    m->sys_flag = h->unit_mode ? 1 : 0;             /* TopicSysFlag: a unit */
    if (!str_copy(m->name, sizeof(m->name), h->topic) ||
        !str_copy(m->template, sizeof(m->template), h->default_topic))
        return fault_set(f, RC_INVALID_PARAMETER, EINVAL,
                         "defaultTopic is longer than %d bytes", TOPIC_NAME_MAX_LONG);
    return -ENXIO;
}

static int choose_queue(struct send *s, struct fault *f)
{
    const struct topic_info *t = &s->t->info;
    int32_t queues = t->write_queues > t->read_queues ? t->write_queues : t->read_queues;

    s->queue_id = s->h.queue_id;
    if (s->queue_id >= queues)
        return fault_set(f, RC_INVALID_PARAMETER, EINVAL,
                         "topic %s has %d queues, so no queue %d", t->name, queues,
                         s->queue_id);
    if (s->queue_id >= 0)
        return 0;
    if (t->write_queues <= 0)
        return fault_set(f, RC_INVALID_PARAMETER, EINVAL, "topic %s has no queue to write to", t->name);
    s->queue_id = (int32_t)(any_number() % (uint32_t)t->write_queues);
    return 0;
}

int send_admit(struct send *s, struct fault *f)
{
    const struct broker_config *conf = s->conf;
    int rc;

    if (conf->start_accept_send_request_time_stamp > 0 && wall_ms() < conf->start_accept_send_request_time_stamp)
        return fault_set(f, RC_SYSTEM_ERROR, EAGAIN, "this broker takes no message before %lld (ms since 1970)",
                         (long long)conf->start_accept_send_request_time_stamp);
    s->t = meta_topic(s->b->meta, s->h.topic);
    /* Only ordered topics: producers of others see the permission in the route. Apache does the same. */
    if (!(conf->broker_permission & 2) && s->t && s->t->info.order)
        return fault_set(f, RC_NO_PERMISSION, EACCES, "brokerPermission=%d: the broker %s takes no messages",
                         conf->broker_permission, conf->broker_name);
    if (!s->t)
        return admit_missing(s, f);
    if (s->t->info.system && topic_is_unsendable(s->h.topic))
        return fault_set(f, RC_NO_PERMISSION, EACCES, "topic %.*s is the broker's own: nobody may send to it",
                         STR_ARG(s->h.topic));
    if ((rc = meta_bound(s->b->meta, conf, PRODUCER_GROUP, s->h.producer_group, s->h.topic, f)))
        return rc;
    return choose_queue(s, f);
}

/* ---- retry topics: too many tries end in the dead-letter topic ---- */

static int32_t most_tries(const struct send *s, const struct group *g)
{
    /* Clients from 3.4.9 on say it themselves; older ones cannot be asked to. */
    return s->h.max_reconsume_times == MAX_RECONSUME_NONE ? g->info.retry_max : s->h.max_reconsume_times;
}

/* Sends to %RETRY% topics are counted; the one too many goes to %DLQ%: *dead. 0, -ENXIO or -errno as send_admit. */
static int admit_retry(struct send *s, bool *dead, struct fault *f)
{
    struct str group = topic_group_of(s->h.topic);
    struct group *g = meta_group(s->b->meta, CONSUMER_GROUP, group);

    if (!g)
        return fault_set(f, RC_SUBSCRIPTION_GROUP_NOT_EXIST, ENOENT,
                         "there is no consumer group %.*s", STR_ARG(group));
    /* A group with queue locks is orderly: its message was tried often enough before it came here. */
    *dead = s->h.reconsume_times > most_tries(s, g) || order_lock_any(s->b->order_locks, group);
    if (!*dead)
        return 0;
    if (!missing_derived(&s->missing, DLQ_PREFIX, group, 1))
        return fault_set(f, RC_SYSTEM_ERROR, ENAMETOOLONG,
                         "the name of the dead-letter topic would be too long");
    s->t = meta_topic(s->b->meta, str_of(s->missing.name));
    s->queue_id = 0;
    return s->t ? 0 : -ENXIO;
}

/* ---- the message itself ---- */

void send_message_of(const struct send *s, struct message *m)
{
    const struct send_header *h = &s->h;

    memset(m, 0, sizeof(*m));
    m->topic = str_of(s->t->info.name);
    m->queue_id = s->queue_id;
    m->flag = h->flag;
    m->sys_flag = h->sys_flag | (s->t->info.multi_tag ? SYSFLAG_MULTI_TAGS : 0);
    m->born_timestamp = h->born_timestamp;
    m->born_host = host_of(conn_peer_addr(request_conn(s->r)));
    m->store_host = s->b->store_host;
    m->reconsume_times = h->reconsume_times;
}

static int check_transaction(const struct send *s, const struct send_props *p, int level, struct fault *f)
{
    int32_t type = s->h.sys_flag & SYSFLAG_TRANS_MASK;
    bool asked = p->tran_msg.n == 4 && strncasecmp(p->tran_msg.p, "true", 4) == 0 &&
                 !(s->h.reconsume_times > 0 && level > 0);

    if (!asked && type != SYSFLAG_TRANS_PREPARED && type != SYSFLAG_TRANS_ROLLBACK)
        return 0;
    if (s->conf->reject_transaction_message)
        return fault_set(f, RC_NO_PERMISSION, EACCES,
                         "rejectTransactionMessage=true: the broker %s takes no transactions",
                         s->conf->broker_name);
    /* Clients try NO_PERMISSION again on another broker, this code they report at once. */
    return fault_set(f, RC_MESSAGE_ILLEGAL, ENOTSUP, "transactional messages are not served yet");
}

/* Timer properties: only a time that is over already can be served. */
static int check_timer(const struct send_props *p, int level, struct fault *f)
{
    int64_t now, due, add = 0, unit = 1;
    struct str text = p->timer_deliver_ms;

    if (level > 0 || p->timer_out_ms.n || !(p->timer_deliver_ms.n || p->timer_delay_ms.n || p->timer_delay_sec.n))
        return 0;
    now = wall_ms();
    if (p->timer_delay_sec.n)
        text = p->timer_delay_sec, add = now, unit = 1000;
    else if (p->timer_delay_ms.n)
        text = p->timer_delay_ms, add = now;
    if (str_i64(text, &due) || __builtin_mul_overflow(due, unit, &due) || __builtin_add_overflow(due, add, &due))
        return fault_set(f, RC_MESSAGE_ILLEGAL, EINVAL,
                         "the delivery time \"%.*s\" is not a number of its unit",
                         (int)(text.n < 40 ? text.n : 40), text.p);
    if (due > now)
        return fault_set(f, RC_MESSAGE_ILLEGAL, ENOTSUP,
                         "messages with a delivery time are not served yet; delay levels (DELAY) are");
    if (p->timer_del_uniqkey.n)
        return fault_set(f, RC_MESSAGE_ILLEGAL, EINVAL,
                         "the delivery time of the message to be cancelled is over");
    return 0;
}

static bool wants_key(const struct topic *t)
{
    const char *policy = t->attributes ? attribute_get(t->attributes, "cleanup.policy") : NULL;

    return policy && strcmp(policy, "COMPACTION") == 0;
}

/* What Apache's store hooks refuse, and what is not served. */
static int check_message(const struct send *s, const struct send_props *p, int level, struct fault *f)
{
    struct str body = request_cmd(s->r)->body;
    int rc;

    if (!body.n)
        return fault_set(f, RC_MESSAGE_ILLEGAL, EINVAL, "the message has no body");
    if (body.n > (size_t)s->conf->max_message_size)
        return fault_set(f, RC_MESSAGE_ILLEGAL, EMSGSIZE,
                         "the message body has %zu bytes, maxMessageSize=%d", body.n,
                         s->conf->max_message_size);
    if ((rc = put_check_queues(s->t, f)))
        return rc;
    if (wants_key(s->t) && !str_trim(p->keys).n)
        return fault_set(f, RC_MESSAGE_ILLEGAL, EINVAL,
                         "topic %s keeps the newest message of each key: the message needs KEYS",
                         s->t->info.name);
    if (p->inner_num.n || (s->h.sys_flag & SYSFLAG_INNER_BATCH))
        return fault_set(f, RC_MESSAGE_ILLEGAL, EINVAL,
                         "the message says it is a batch inside, which topic %s does not take",
                         s->t->info.name);
    if ((rc = check_transaction(s, p, level, f)))
        return rc;
    return check_timer(p, level, f);
}

struct one {                         /* texts of one send and its answer; on the stack of its handler */
    struct send_props props;
    char id[64], uniq[40];
};

/* DELAY's level: 0 none, or -errno with f. */
static int level_of(const struct send *s, const struct send_props *p, struct fault *f)
{
    int level = p->delay.n ? schedule_level(s->b->schedule, p->delay) : 0;

    if (level < 0)
        return fault_set(f, RC_MESSAGE_ILLEGAL, EINVAL, "the property DELAY is not the number of a level: %.*s",
                         (int)(p->delay.n < 40 ? p->delay.n : 40), p->delay.p);
    return level;
}

bool send_needs_worker(const struct send *s, int n)
{
    struct store_queue *q = request_on_loop(s->r) ? topic_queue(s->t, s->queue_id) : NULL;

    return q && !store_queue_ready(q, n);
}

/* Under meta_read, topic and queue are chosen. -EINPROGRESS: the queue's file must grow first, which is a worker's business. */
static int append_one(struct send *s, struct one *o, bool dead, struct fault *f)
{
    struct send_props *p = &o->props;
    struct message m;
    struct store_put put;
    int64_t tags_code;
    int rc, level;

    if ((rc = send_props_read(p, s->h.properties, dead, f)) || (rc = level = dead ? 0 : level_of(s, p, f)) < 0 ||
        (rc = check_message(s, p, level, f)))
        return rc;
    s->uniq_key = p->uniq_key;
    if (!s->uniq_key.n) {
        unique_id_text(&s->b->store_host, o->uniq);
        s->uniq_key = str_of(o->uniq);
    }
    if ((rc = send_props_finish(p, s->conf, s->uniq_key, dead, f)))
        return rc;
    send_message_of(s, &m);
    m.body = request_cmd(s->r)->body;
    m.properties = str_n(p->text, p->n);
    tags_code = p->tags.n ? str_java_hash(p->tags) : 0;
    if (!level && send_needs_worker(s, 1))
        return -EINPROGRESS;
    rc = level > 0 ? schedule_append(s->b->schedule, &m, level, &put, f) :
                     put_append(s->b, s->t, &m, &tags_code, 1, &put, f);
    if (rc)
        return rc;
    offset_id_text(&s->b->store_host, put.physical_offset, o->id);
    s->msg_id = str_of(o->id);
    s->queue_offset = put.queue_offset;
    s->end = put.end;
    s->wait = send_waits(p->wait);
    return 0;
}

/* 0, or -ENXIO or -errno as send_admit. */
static int send_one(struct send *s, struct one *o, struct fault *f)
{
    bool dead = false;
    int rc;

    meta_read(s->b->meta);
    rc = send_admit(s, f);
    if (!rc && topic_is_retry(s->h.topic))
        rc = admit_retry(s, &dead, f);
    if (!rc)
        rc = append_one(s, o, dead, f);
    meta_done(s->b->meta);
    return rc;
}

/* ---- the answer ---- */

bool send_waits(struct str wait) { return !wait.n || (wait.n == 4 && strncasecmp(wait.p, "true", 4) == 0); }

static void answer(struct send *s, int code, const char *remark)
{
    struct command out;
    char queue_id[21], queue_offset[21];

    reply_start(s->r, &out, code);
    out.remark = str_of(remark);
    command_add(&out, "msgId", s->msg_id);
    command_add_i64(&out, "queueId", s->queue_id, queue_id);
    command_add_i64(&out, "queueOffset", s->queue_offset, queue_offset);
    command_add(&out, "transactionId", s->uniq_key);
    command_add(&out, "MSG_REGION", str_of(s->conf->region_id));
    command_add(&out, "TRACE_ON", str_of(s->conf->trace_on ? "true" : "false"));
    reply_send(s->r, &out);
}

/* A send that waits for the disk; its texts follow it. */
struct flush_wait {
    struct send s;
    bool ok;
    char texts[];
};

static void answer_flushed(struct request *r)
{
    struct flush_wait *w = request_data(r);

    answer(&w->s, w->ok ? RC_SUCCESS : RC_FLUSH_DISK_TIMEOUT,
           w->ok ? NULL : "the message is stored, but the disk did not confirm it in time");
    request_free(r);
    free(w);
}

/* The loop answers: the thread that syncs has the next group to put on disk. */
static void on_flushed(void *arg, bool ok)
{
    struct flush_wait *w = arg;

    w->ok = ok;
    request_to_loop(w->s.r, answer_flushed);
}

static struct flush_wait *flush_wait_new(const struct send *s)
{
    struct flush_wait *w = malloc(sizeof(*w) + s->msg_id.n + s->uniq_key.n);

    if (!w)
        return NULL;
    w->s = *s;
    w->s.msg_id.p = w->texts;
    memcpy(w->texts, s->msg_id.p, s->msg_id.n);
    if (s->uniq_key.n) {
        w->s.uniq_key.p = w->texts + s->msg_id.n;
        memcpy(w->texts + s->msg_id.n, s->uniq_key.p, s->uniq_key.n);
    }
    return w;
}

void send_answer(struct send *s)
{
    struct flush_wait *w;

    if (s->conf->flush_disk_type != FLUSH_SYNC || !s->wait) {
        answer(s, RC_SUCCESS, NULL);
        return;
    }
    w = flush_wait_new(s);
    if (!w) {
        answer(s, RC_FLUSH_DISK_TIMEOUT, "the message is stored, but there is no memory to wait for the disk");
        return;
    }
    w->s.r = request_keep(s->r);
    if (!w->s.r) {                   /* it has answered */
        free(w);
        return;
    }
    request_set_data(w->s.r, w);
    store_when_flushed(s->b->store, s->end, s->conf->sync_flush_timeout, on_flushed, w);
}

/* ---- the handlers ---- */

static int send_decode(struct send *s, struct fault *f)
{
    const struct command *cmd = request_cmd(s->r);

    return cmd->code == 10 ? FIELDS_DECODE(fields_v1, cmd, &s->h, f) : FIELDS_DECODE(fields_v2, cmd, &s->h, f);
}

#define TRIES 3     /* a topic that was made can be gone again before the message comes to it */

/* Also the worker's way, when a topic or a queue's file has to be made first. */
static void send_serve(struct request *r)
{
    struct send s;
    struct one one;
    struct buf ids = {0};
    struct fault f;
    int rc;

    memset(&s, 0, offsetof(struct send, missing));
    s.r = r;
    s.b = broker_of(r);
    s.conf = broker_conf(s.b);
    rc = send_decode(&s, &f);
    for (int i = 0; !rc; i++) {
        rc = s.h.batch ? send_batch(&s, &ids, &f) : send_one(&s, &one, &f);
        if (rc != -ENXIO && rc != -EINPROGRESS)
            break;
        if (request_on_loop(r)) {
            request_to_worker(r, send_serve);
            return;
        }
        rc = i < TRIES ? put_make_topic(s.b, &s.missing, conn_peer(request_conn(r)), &f) :
                         fault_set(&f, RC_TOPIC_NOT_EXIST, ENOENT, "topic %s is being removed", s.missing.name);
    }
    if (rc)
        reply_fault(r, &f);
    else
        send_answer(&s);
    buf_free(&ids);
}

void op_send_message(struct request *r) { send_serve(r); }
void op_send_message_v2(struct request *r) { send_serve(r); }
