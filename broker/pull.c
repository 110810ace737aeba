/* PULL_MESSAGE and LITE_PULL_MESSAGE: messages of a queue from an offset on. A
 * pull that finds nothing may be held (hold.h) and then runs once more.
 * Source: Apache PullMessageProcessor, DefaultPullMessageResultHandler (5.5.0). */
#include <errno.h>
#include <stdlib.h>

#include "broker/clients.h"
#include "broker/datapath.h"
#include "broker/hold.h"
#include "broker/offsets.h"
#include "broker/put.h"
#include "broker/stats.h"
#include "common/clock.h"
#include "common/log.h"

enum { PULL_COMMIT = 1, PULL_SUSPEND = 2, PULL_SUBSCRIPTION = 4 };      /* sysFlag; Apache PullSysFlag */

/* Who forbids it, told with NO_PERMISSION; Apache ForbiddenType */
enum { FORBIDDEN_BROKER = 1, FORBIDDEN_GROUP, FORBIDDEN_TOPIC, FORBIDDEN_BROADCAST, FORBIDDEN_SUBSCRIPTION };

#define CODE_LITE_PULL 361
#define QUEUE_ENTRY_SIZE 20
#define PULL_BYTES_MIN 100           /* maxMsgBytes below it counts as it */

struct pull_header {
    struct str group, topic, subscription, expression_type;
    int32_t queue_id, max_messages, sys_flag, max_bytes;
    int64_t offset, commit_offset, suspend_ms, sub_version;
};

#define PULL_FIELD(name, type, member, required) {name, type, offsetof(struct pull_header, member), required, NULL}
static const struct field fields[] = {
    PULL_FIELD("consumerGroup", FIELD_STR, group, true),
    PULL_FIELD("topic", FIELD_STR, topic, true),
    PULL_FIELD("queueId", FIELD_I32, queue_id, true),
    PULL_FIELD("queueOffset", FIELD_I64, offset, true),
    PULL_FIELD("maxMsgNums", FIELD_I32, max_messages, true),
    PULL_FIELD("sysFlag", FIELD_I32, sys_flag, true),
    PULL_FIELD("commitOffset", FIELD_I64, commit_offset, true),
    PULL_FIELD("suspendTimeoutMillis", FIELD_I64, suspend_ms, true),
    PULL_FIELD("subscription", FIELD_STR, subscription, false),
    PULL_FIELD("subVersion", FIELD_I64, sub_version, true),
    PULL_FIELD("expressionType", FIELD_STR, expression_type, false),
    PULL_FIELD("maxMsgBytes", FIELD_I32, max_bytes, false),
};

/* How often a pull came by already. */
enum {
    FIRST = 1,                       /* not woken: it may be held, and it commits */
    LOOKED = 2,                      /* its queue was brought into memory, or that was tried */
    TOUCHED = 4,                     /* so were its messages, and one of them is not what it should be */
};

/* One pull on its way. */
struct pull {
    struct request *r;
    struct broker *b;
    const struct broker_config *conf;
    int pass;                        /* FIRST ... */
    struct pull_header h;
    /* under meta_read: */
    struct topic *t;
    struct group *g;
    struct store_queue *q;
    struct tag_filter filter;
    bool named;                      /* group and topic exist, so that their names may be logged */
    int forbidden;                   /* with NO_PERMISSION */
    /* for the answer: */
    int code;
    const char *status;
    int64_t next_begin, min, max, suggest;
    int32_t topic_sys_flag, group_sys_flag;
    struct store_result *found;      /* what a SUCCESS carries; released by the reply */
    int64_t due;                     /* when that may leave: mono us; 0: at once */
};

/* ---- the checks, in Apache's order; each 0 or -errno with f, under meta_read ---- */

static int forbid(struct pull *p, int who, struct fault *f)
{
    p->forbidden = who;
    f->rc = RC_NO_PERMISSION;
    return -EACCES;
}

static int check_broker(struct pull *p, struct fault *f)
{
    if (p->conf->broker_permission & 4)
        return 0;
    fault_set(f, 0, EACCES, "brokerPermission=%d: the broker %s gives no messages", p->conf->broker_permission,
              p->conf->broker_name);
    return forbid(p, FORBIDDEN_BROKER, f);
}

static int check_lite(struct pull *p, struct fault *f)
{
    if (request_cmd(p->r)->code != CODE_LITE_PULL || p->conf->lite_pull_message_enable)
        return 0;
    fault_set(f, 0, EACCES,
              "litePullMessageEnable=false: the broker %s serves no lite pull", p->conf->broker_name);
    return forbid(p, FORBIDDEN_BROKER, f);
}

static int check_group(struct pull *p, struct fault *f)
{
    p->g = meta_group(p->b->meta, CONSUMER_GROUP, p->h.group);
    if (!p->g)
        return fault_set(f, RC_SUBSCRIPTION_GROUP_NOT_EXIST, ENOENT,
                         "there is no consumer group %.*s: make it with mkdir or mqadmin updateSubGroup",
                         STR_ARG(p->h.group));
    if (p->g->info.consume_enable)
        return 0;
    fault_set(f, 0, EACCES,
              "consumption of the group %s is switched off (consumeEnable=false)", p->g->info.name);
    return forbid(p, FORBIDDEN_GROUP, f);
}

static int check_topic(struct pull *p, struct fault *f)
{
    p->t = meta_topic(p->b->meta, p->h.topic);
    if (!p->t)
        return fault_set(f, RC_TOPIC_NOT_EXIST, ENOENT,
                         "there is no topic %.*s: make it with mkdir or mqadmin updateTopic",
                         STR_ARG(p->h.topic));
    p->named = true;
    if (p->t->batch_queues)          /* no code that moves the group's offset: it counts for Apache's broker */
        return fault_set(f, RC_SYSTEM_ERROR, ENOTSUP, "topic %s has batch consume queues (queue.type=BatchCQ), which are "
                         "not served yet", p->t->info.name);
    if (p->t->info.perm & 4)
        return 0;
    fault_set(f, 0, EACCES, "topic %s may not be read (perm=%d)", p->t->info.name, p->t->info.perm);
    return forbid(p, FORBIDDEN_TOPIC, f);
}

static int check_binding(struct pull *p, struct fault *f)
{
    int rc = meta_bound(p->b->meta, p->conf, CONSUMER_GROUP, p->h.group, p->h.topic, f);

    if (rc == -EACCES)
        p->forbidden = FORBIDDEN_SUBSCRIPTION;
    return rc;
}

static int check_queue(struct pull *p, struct fault *f)
{
    const struct topic_info *t = &p->t->info;

    p->q = p->h.queue_id < t->read_queues ? topic_queue(p->t, p->h.queue_id) : NULL;
    if (!p->q)
        return fault_set(f, RC_INVALID_PARAMETER, EINVAL,
                         "topic %s has %d queues to read, so no queue %d", t->name,
                         t->read_queues, p->h.queue_id);
    if (p->h.max_messages < 1)
        p->h.max_messages = 1;       /* as Apache; rocketmq-client-go's Poll asks for 0 */
    return 0;
}

static int check_sql(struct pull *p, struct str type, struct fault *f)
{
    const char *why = p->conf->enable_property_filter ? "are not served yet" :
                                                        "are switched off (enablePropertyFilter=false)";

    return fault_set(f, RC_SYSTEM_ERROR, ENOTSUP,
                     "filters of the type %.*s %s", (int)(type.n < 40 ? type.n : 40), type.p, why);
}

/* The subscription that the pull brought along. */
static int own_subscription(struct pull *p, struct fault *f)
{
    if (!expression_is_tag(p->h.expression_type)) {
        if (!p->h.subscription.n)
            return fault_set(f, RC_SUBSCRIPTION_PARSE_FAILED, EINVAL, "the filter expression is empty");
        return check_sql(p, p->h.expression_type, f);
    }
    return tag_filter_parse(&p->filter, p->h.subscription, f);
}

/* The subscription of the group's heartbeats. */
static int heartbeat_subscription(struct pull *p, struct fault *f)
{
    struct subscription sub;

    clients_subscription(p->b->clients, p->h.group, p->h.topic, &sub);
    if (!sub.group_online)
        return fault_set(f, RC_SUBSCRIPTION_NOT_EXIST, ENOENT, "no client of the group %.*s is connected",
                         STR_ARG(p->h.group));
    if (sub.broadcasting && !p->g->info.consume_broadcast_enable) {
        fault_set(f, 0, EACCES,
                  "the group %s may not consume by broadcast (consumeBroadcastEnable=false)", p->g->info.name);
        return forbid(p, FORBIDDEN_BROADCAST, f);
    }
    if (!sub.found)
        return fault_set(f, RC_SUBSCRIPTION_NOT_EXIST, ENOENT,
                         "the group %.*s does not subscribe the topic %.*s",
                         STR_ARG(p->h.group), STR_ARG(p->h.topic));
    if (sub.version < p->h.sub_version)
        return fault_set(f, RC_SUBSCRIPTION_NOT_LATEST, ESTALE,
                         "the pull knows a newer subscription of the group %.*s than the broker",
                         STR_ARG(p->h.group));
    if (sub.sql)
        return check_sql(p, str_of("SQL92"), f);
    return tag_filter_parse(&p->filter, str_of(sub.expression), f);
}

static int check_subscription(struct pull *p, struct fault *f)
{
    return p->h.sys_flag & PULL_SUBSCRIPTION ? own_subscription(p, f) : heartbeat_subscription(p, f);
}

/* The group gets no more than its binding lets through, whatever it subscribes. */
static int check_binding_filter(struct pull *p, struct fault *f)
{
    struct binding *bound = p->conf->enforce_bindings ? group_binding(p->g, p->h.topic) : NULL;
    struct tag_filter by;
    int rc;

    if (!bound || strcmp(bound->info.filter, "*") == 0)
        return 0;
    if (bound->sql) {
        fault_set(f, 0, EACCES, "group %s is bound to topic %s by a SQL filter, which is not served yet: write tags to "
                  "/groups/%s/bindings/%s", p->g->info.name, p->t->info.name, p->g->info.name, p->t->info.name);
        return forbid(p, FORBIDDEN_SUBSCRIPTION, f);
    }
    if ((rc = tag_filter_parse(&by, str_of(bound->info.filter), f)))
        return rc;
    tag_filter_narrow(&p->filter, &by);
    return 0;
}

static int check_pull_consumer(struct pull *p, struct fault *f)
{
    if (!p->conf->reject_pull_consumer_enable || group_is_system(p->h.group) ||
        clients_consumer_online(p->b->clients, p->h.group))
        return 0;
    return fault_set(f, RC_SUBSCRIPTION_NOT_EXIST, ENOENT,
                     "rejectPullConsumerEnable=true: the group %.*s has no push consumer connected",
                     STR_ARG(p->h.group));
}

static int32_t least(int32_t a, int32_t b) { return a < b ? a : b; }
static int32_t most(int32_t a, int32_t b) { return a > b ? a : b; }

/* How many of the queue's entries one answer may look at. */
static int32_t scan_of(const struct pull *p)
{
    return p->filter.all ? p->h.max_messages : most(p->conf->max_filter_message_size / QUEUE_ENTRY_SIZE, p->h.max_messages);
}

/* -EINPROGRESS: the queue's own files must be read first, which is not a loop's business. */
static int check_near(struct pull *p, struct fault *f)
{
    return p->pass & LOOKED || store_queue_near(p->q, p->h.offset, scan_of(p)) ? 0 : -EINPROGRESS;
}

static int (*const checks[])(struct pull *p, struct fault *f) = {
    check_broker,  check_lite,  check_group,        check_topic,
    check_binding, check_queue, check_subscription, check_binding_filter,
    check_pull_consumer, check_near,
};

/* ---- reading ---- */

/* What the store's answer is on the wire; Apache's PullMessageProcessor.composeResponseHeader. */
static const struct {
    int code, code_at_zero;          /* the second when offset 0 was asked for */
    const char *name;                /* Apache's GetMessageStatus */
} statuses[] = {
    [STORE_FOUND] = {RC_SUCCESS, RC_SUCCESS, "FOUND"},
    [STORE_NO_MATCHED_MESSAGE] = {RC_PULL_RETRY_IMMEDIATELY, RC_PULL_RETRY_IMMEDIATELY, "NO_MATCHED_MESSAGE"},
    [STORE_NO_MESSAGE_IN_QUEUE] = {RC_PULL_OFFSET_MOVED, RC_PULL_NOT_FOUND, "NO_MESSAGE_IN_QUEUE"},
    [STORE_NO_MATCHED_LOGIC_QUEUE] = {RC_PULL_OFFSET_MOVED, RC_PULL_NOT_FOUND, "NO_MATCHED_LOGIC_QUEUE"},
    [STORE_OFFSET_TOO_SMALL] = {RC_PULL_OFFSET_MOVED, RC_PULL_OFFSET_MOVED, "OFFSET_TOO_SMALL"},
    [STORE_OFFSET_OVERFLOW_ONE] = {RC_PULL_NOT_FOUND, RC_PULL_NOT_FOUND, "OFFSET_OVERFLOW_ONE"},
    [STORE_OFFSET_OVERFLOW_BADLY] = {RC_PULL_OFFSET_MOVED, RC_PULL_OFFSET_MOVED, "OFFSET_OVERFLOW_BADLY"},
    [STORE_MESSAGE_WAS_REMOVING] = {RC_PULL_RETRY_IMMEDIATELY, RC_PULL_RETRY_IMMEDIATELY, "MESSAGE_WAS_REMOVING"},
    [STORE_OFFSET_FOUND_NULL] = {RC_PULL_NOT_FOUND, RC_PULL_NOT_FOUND, "OFFSET_FOUND_NULL"},
};

static struct store_limits limits_of(const struct pull *p)
{
    const struct broker_config *c = p->conf;
    int32_t bytes = p->h.max_bytes <= 0 ? INT32_MAX : most(p->h.max_bytes, PULL_BYTES_MIN);

    return (struct store_limits){
        .max_messages = least(p->h.max_messages, c->max_transfer_count_on_message_in_memory),
        .max_bytes = least(bytes, c->max_transfer_bytes_on_message_in_memory),
        .max_messages_cold = least(p->h.max_messages, c->max_transfer_count_on_message_in_disk),
        .max_bytes_cold = least(bytes, c->max_transfer_bytes_on_message_in_disk),
        .max_scan = scan_of(p),
        .touched = p->pass & TOUCHED,
    };
}

/* Which broker to ask next: a slave when this one had to go to the disk and may say so. */
static int64_t suggested(const struct pull *p, bool cold)
{
    if (!p->conf->slave_read_enable)
        return 0;
    return cold ? p->g->info.which_broker_when_slow : p->g->info.broker_id;
}

/* The client's own rule for such an answer is to ask again a little later, for the same offset. */
#define DISK_FAILED "the disk did not give the messages of topic %.*s, queue %d, from %lld on; the broker's log says more"

static int read_queue(struct pull *p, struct fault *f)
{
    struct store_limits limits = limits_of(p);
    struct store_filter by_tag = {.by_tags_code = tag_filter_wants, .arg = &p->filter};
    struct store_result *res = store_get(p->b->store, p->q, p->h.offset, &limits, p->filter.all ? NULL : &by_tag);

    if (!res)
        return fault_set(f, RC_SYSTEM_BUSY, ENOMEM, "no memory to read the queue");
    if (res->status == STORE_READ_FAILED) {
        store_release(res);
        return fault_set(f, RC_SYSTEM_ERROR, EIO, DISK_FAILED, STR_ARG(p->h.topic), p->h.queue_id,
                         (long long)p->h.offset);
    }
    p->code = p->h.offset ? statuses[res->status].code : statuses[res->status].code_at_zero;
    p->status = statuses[res->status].name;
    p->next_begin = res->next_begin;
    p->min = res->min;
    p->max = res->max;
    p->suggest = suggested(p, res->cold);
    if (res->status == STORE_FOUND) {
        p->found = res;
        p->due = pace_due(&p->b->pace, &p->g->pace, res);
        stats_got(p->b, p->h.topic, p->h.group, res->n_messages, res->bytes);
    } else {
        store_release(res);
    }
    return 0;
}

/* A reset waits for this consumer: the answer sends it there. */
static bool take_reset(struct pull *p)
{
    int64_t to = offsets_reset_waiting(p->b->offsets, p->h.group, p->h.topic, p->h.queue_id, true);

    if (to < 0)
        return false;
    p->code = RC_PULL_OFFSET_MOVED;
    p->status = "OFFSET_RESET";
    p->next_begin = to;
    p->min = store_queue_min(p->b->store, p->q);
    p->max = store_queue_max(p->b->store, p->q);
    p->suggest = suggested(p, false);
    return true;
}

/* Only once for each pull, and never to nowhere. */
static void commit(struct pull *p)
{
    if (!(p->pass & FIRST) || !(p->h.sys_flag & PULL_COMMIT) || p->h.commit_offset < 0)
        return;
    if (offsets_commit(p->b->offsets, p->h.group, p->h.topic, p->h.queue_id, p->h.commit_offset))
        log_warn("no memory for the offset of group %.*s in %.*s", STR_ARG(p->h.group), STR_ARG(p->h.topic));
}

/* ---- answering ---- */

static void answer_refused(struct pull *p, const struct fault *f)
{
    struct command out;
    char who[21];

    reply_start(p->r, &out, f->rc ? f->rc : RC_SYSTEM_ERROR);
    out.remark = str_of(f->text);
    if (p->forbidden)
        command_add_i64(&out, "forbiddenType", p->forbidden, who);
    reply_send(p->r, &out);
}

static void answer(struct pull *p)
{
    struct command out;
    struct store_result *res = p->found;
    char n[6][21];

    reply_start(p->r, &out, p->code);
    out.remark = str_of(p->status);
    command_add_i64(&out, "suggestWhichBrokerId", p->suggest, n[0]);
    command_add_i64(&out, "nextBeginOffset", p->next_begin, n[1]);
    command_add_i64(&out, "minOffset", p->min, n[2]);
    command_add_i64(&out, "maxOffset", p->max, n[3]);
    command_add_i64(&out, "topicSysFlag", p->topic_sys_flag, n[4]);
    command_add_i64(&out, "groupSysFlag", p->group_sys_flag, n[5]);
    if (res)
        reply_extents(p->r, &out, res->iov, res->n_iov, store_release, res);
    else
        reply_send(p->r, &out);
}

/* A pull whose queue or messages have to be brought from the disk, or may not leave yet. */
struct distant_pull {
    struct pull p;                   /* its texts are gone, but not its request's */
    int rc;                          /* of bring, for messages */
};

static bool pull_run(struct request *r, int pass);
static void pull_kept(struct request *r, int pass);

/* As store_bring. While others send, what is kept in memory is better kept for what they send. */
static int bring(struct pull *p) { return store_bring(p->b->store, p->found, pace_is_busy(&p->b->pace)); }

/* rc: of bring. p's texts may be gone, but not its request's. true: the request has another keeper now. */
static bool answer_brought(struct pull *p, int rc)
{
    if (rc == 0) {
        answer(p);
        return false;
    }
    store_release(p->found);
    if (rc == -EBADMSG)
        return pull_run(p->r, LOOKED | TOUCHED);
    reply(p->r, RC_SYSTEM_ERROR, DISK_FAILED, STR_ARG(command_ext(request_cmd(p->r), "topic")), p->h.queue_id,
          (long long)p->h.offset);
    return false;
}

static void messages_brought(struct request *r)
{
    struct distant_pull *d = request_data(r);

    if (!answer_brought(&d->p, d->rc))
        request_free(r);
    free(d);
}

static void bring_messages(void *arg)
{
    struct distant_pull *d = arg;

    d->rc = bring(&d->p);
    request_to_loop(d->p.r, messages_brought);
}

/* Hands the pull to a thread that comes after all others, when it is due. true: the request has another keeper now. */
static bool hand_over(struct pull *p, void (*work)(void *distant_pull))
{
    struct distant_pull *later = malloc(sizeof(*later));
    struct request *kept = later ? request_keep(p->r) : NULL;

    if (kept) {
        *later = (struct distant_pull){.p = *p};
        later->p.r = kept;
        request_set_data(kept, later);
        if (server_work(p->b->server, p->due, work, later))
            return true;
        reply(kept, RC_SYSTEM_BUSY, "too many requests wait for the disk already");
        request_free(kept);
    } else if (!later) {
        reply(p->r, RC_SYSTEM_BUSY, "no memory to read from the disk");
    }
    store_release(p->found);
    free(later);
    return kept != NULL;
}

/* ---- holding ---- */

/* Woken: everything is checked again, and it answers whatever comes of it. */
static void pull_again(struct request *r) { pull_kept(r, LOOKED); }

static int64_t hold_ms(const struct pull *p)
{
    if (!(p->pass & FIRST) || p->code != RC_PULL_NOT_FOUND || !(p->h.sys_flag & PULL_SUSPEND) || request_oneway(p->r))
        return 0;
    if (!p->conf->long_polling_enable && p->h.suspend_ms > 0)
        return p->conf->short_polling_time_mills;
    return p->h.suspend_ms;
}

/* Under meta_read. The request has another keeper then, or was answered: p must not be touched but for t and g. */
static void hold(struct pull *p, int64_t ms)
{
    struct request *kept = request_keep(p->r);
    struct held_pull what = {
        .topic = p->h.topic, .queue_id = p->h.queue_id, .offset = p->h.offset, .timeout_ms = ms, .filter = &p->filter,
        .again = pull_again,
    };
    struct str group, topic;
    int rc;

    if (!kept)
        return;                      /* SYSTEM_BUSY was answered */
    what.group = command_ext(request_cmd(kept), "consumerGroup");
    rc = hold_pull(p->b->hold, kept, p->q, &what);
    if (rc) {
        reply(kept, RC_SYSTEM_BUSY,
              "the broker holds as many pulls as it may (maxHeldPulls=%d)", p->conf->max_held_pulls);
        request_free(kept);
        return;
    }
    /* A reset that came between the look at it and now has not woken this pull. */
    group = str_of(p->g->info.name);
    topic = str_of(p->t->info.name);
    if (offsets_reset_waiting(p->b->offsets, group, topic, p->h.queue_id, false) >= 0)
        hold_wake_group(p->b->hold, group, topic);
}

/* ---- the handler ---- */

/* Under meta_read: checks, reads, perhaps holds. 0 with *held, -EINPROGRESS (check_near), or another -errno with f. */
static int pull_locked(struct pull *p, bool *held, struct fault *f)
{
    int rc = 0;
    int64_t ms;

    for (size_t i = 0; !rc && i < sizeof(checks) / sizeof(checks[0]); i++)
        rc = checks[i](p, f);
    if (!rc && !take_reset(p))
        rc = read_queue(p, f);
    if (rc)
        return rc;
    commit(p);
    p->topic_sys_flag = p->t->info.sys_flag;
    p->group_sys_flag = p->g->info.sys_flag;
    ms = hold_ms(p);
    *held = ms > 0;
    if (*held)
        hold(p, ms);
    return 0;
}

static void note_refused(const struct pull *p, const struct fault *f)
{
    static _Atomic int64_t last;     /* at most one line a second */
    int64_t now = mono_ms(), before = last;

    if (f->rc == RC_NO_PERMISSION && p->named && now - before >= 1000 &&
        atomic_compare_exchange_strong(&last, &before, now))
        log_warn("pull of group %.*s from topic %.*s by %s refused: %s", STR_ARG(p->h.group), STR_ARG(p->h.topic),
                 conn_peer(request_conn(p->r)), f->text);
}

/* The group is missing and may be made by using it: on a worker, then once more. */
static void make_group(struct request *r)
{
    struct broker *b = broker_of(r);
    struct str group = command_ext(request_cmd(r), "consumerGroup");
    struct group_change ch = GROUP_CHANGE_NONE;
    struct caller c = {""};
    struct fault f;
    int rc;

    str_copy(c.from, sizeof(c.from), str_of(conn_peer(request_conn(r))));
    rc = broker_group_create(b, &c, CONSUMER_GROUP, group, &ch, &f);
    if (rc && rc != -EEXIST)
        reply(r, RC_SUBSCRIPTION_GROUP_NOT_EXIST, "the consumer group %.*s cannot be made: %s",
              (int)(group.n < 100 ? group.n : 100), group.p, f.text);
    else
        pull_run(r, FIRST);
}

static int pull_once(struct pull *p, bool *held, struct fault *f)
{
    int rc;

    meta_read(p->b->meta);
    rc = pull_locked(p, held, f);
    meta_done(p->b->meta);
    return rc;
}

static void pull_near(struct request *r)
{
    free(request_data(r));
    pull_kept(r, FIRST | LOOKED);
}

static void bring_queue(void *arg)
{
    struct distant_pull *d = arg;

    store_queue_bring(d->p.b->store, d->p.q, d->p.h.offset);     /* reading it says what was wrong */
    request_to_loop(d->p.r, pull_near);
}

static void pull_on_worker(struct request *r) { pull_run(r, FIRST); }

/* true: the request has another keeper now. */
static bool pull_run(struct request *r, int pass)
{
    struct pull p;                   /* not zeroed as a whole: its filter is large */
    struct fault f;
    bool held = false;
    int rc;

    p.r = r;
    p.b = broker_of(r);
    p.conf = broker_conf(p.b);
    p.pass = pass;
    p.named = false;
    p.forbidden = 0;
    p.found = NULL;
    p.due = 0;
    rc = FIELDS_DECODE(fields, request_cmd(r), &p.h, &f);
    if (!rc)
        rc = pull_once(&p, &held, &f);
    if (rc == -EINPROGRESS && request_on_loop(r)) {
        if (store_queue_loaded(p.q))
            return hand_over(&p, bring_queue);
        request_to_worker(r, pull_on_worker);    /* once in a queue's life: not after all others */
        return true;
    }
    if (rc == -EINPROGRESS) {
        store_queue_bring(p.b->store, p.q, p.h.offset);
        p.pass |= LOOKED;
        rc = pull_once(&p, &held, &f);
    }
    if (held)
        return true;
    if (rc && f.rc == RC_SUBSCRIPTION_GROUP_NOT_EXIST && pass & FIRST && request_on_loop(r) &&
        p.conf->auto_create_subscription_group) {
        request_to_worker(r, make_group);
        return true;
    }
    if (rc) {
        note_refused(&p, &f);
        answer_refused(&p, &f);
        return false;
    }
    if (!p.found || !p.found->far) {
        answer(&p);
        return false;
    }
    if (request_on_loop(r))
        return hand_over(&p, bring_messages);
    return answer_brought(&p, bring(&p));     /* a worker may wait for the disk itself */
}

static void pull_kept(struct request *r, int pass)
{
    if (!pull_run(r, pass))
        request_free(r);
}

void op_pull_message(struct request *r) { pull_run(r, FIRST); }
