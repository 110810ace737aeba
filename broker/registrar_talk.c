#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "broker/registrar_body.h"
#include "broker/registrar_priv.h"
#include "common/clock.h"
#include "common/log.h"

enum {
    REGISTER_BROKER = 103, UNREGISTER_BROKER = 104, GET_ROUTEINFO_BY_TOPIC = 105, DELETE_TOPIC_IN_NAMESRV = 216,
    REGISTER_TOPIC_IN_NAMESRV = 217, QUERY_DATA_VERSION = 322,
};

#define FULL_MAX (FRAME_MAX - 65536)         /* what a frame holds beside its header */
#define SINGLE_TIMEOUT_MS 3000

/* ---- what answers mean; under the lock ---- */

static void told(struct target *t) { t->noted++; }

static void failed(struct target *t, const char *why, size_t n)
{
    if (!t->error[0])
        log_warn("name server %s: %.*s", t->addr, (int)n, why);
    str_copy(t->error, sizeof(t->error), str_n(why, n < sizeof(t->error) ? n : sizeof(t->error) - 1));
    if (!t->error[0])
        str_copy(t->error, sizeof(t->error), str_of("it refused without a reason"));
    t->registered = false;
    t->backoff_ms = t->backoff_ms ? t->backoff_ms * 2 : RETRY_MIN_MS;
    if (t->backoff_ms > RETRY_MAX_MS)
        t->backoff_ms = RETRY_MAX_MS;
    t->retry_ms = mono_ms() + t->backoff_ms;
}

static void worked(struct target *t)
{
    if (t->error[0])
        log_info("name server %s works again", t->addr);
    t->error[0] = 0;
    t->backoff_ms = 0;
}

static int64_t period(struct registrar *r)
{
    int64_t ms = broker_conf(r->b)->register_name_server_period;
    return ms < 10000 ? 10000 : ms > 60000 ? 60000 : ms;
}

static void on_full(struct registrar *r, struct target *t, const struct command *reply)
{
    if (!t->registered)
        log_info("registered with name server %s", t->addr);
    worked(t);
    t->registered = true;
    t->covered = t->full_covers;
    t->last_ok_ms = wall_ms();
    t->due_ms = mono_ms() + period(r);
    if (reply->body.n && !t->order_topics)
        t->order_topics = str_dup(reply->body);
}

static void on_version(struct registrar *r, struct target *t, const struct command *reply)
{
    worked(t);
    if (!str_is(command_ext(reply, "changed"), "false")) {
        t->full_due = true;
        return;
    }
    t->last_ok_ms = wall_ms();
    t->due_ms = mono_ms() + period(r);
}

/* Whether the route in a 105's answer names no broker but ours. */
static bool only_ours(struct registrar *r, struct str route)
{
    const char *name = broker_conf(r->b)->broker_name;
    const struct json *queues;
    struct json *root;
    struct arena a;
    bool ours = true;

    arena_init(&a, (size_t)16 << 20);
    if (json_parse(&a, route, &root))
        ours = false;
    else if ((queues = json_member(root, "queueDatas")))
        json_each(q, queues)
            ours &= str_is(json_str(q, "brokerName"), name);
    arena_free(&a);
    return ours;
}

static void on_told(struct target *t)
{
    worked(t);
    if (t->tells_nothing)
        t->talk = TALK_CHECK;        /* the thread goes on with it */
    else
        told(t);
}

static void on_success(struct registrar *r, struct target *t, enum talk talk, const struct command *reply)
{
    switch (talk) {
    case TALK_FULL:
        on_full(r, t, reply);
        break;
    case TALK_VERSION:
        on_version(r, t, reply);
        break;
    case TALK_SINGLE:
    case TALK_INCREMENT:
        on_told(t);
        break;
    case TALK_CHECK:
        if (only_ours(r, reply->body))
            t->talk = TALK_PURGE;
        else
            told(t);
        break;
    case TALK_PURGE:
        told(t);
        break;
    case TALK_GOODBYE:
    case TALK_NONE:
        break;
    }
}

static void on_refusal(struct target *t, enum talk talk, const struct command *reply)
{
    if (talk == TALK_SINGLE && reply->code == RC_REQUEST_CODE_NOT_SUPPORTED) {
        t->knows_singles = false;
        t->talk = TALK_INCREMENT;
    } else if (talk == TALK_CHECK && reply->code == RC_TOPIC_NOT_EXIST) {
        told(t);
    } else if (talk == TALK_CHECK || talk == TALK_PURGE) {
        log_warn("name server %s keeps the name of the deleted topic %s: %.*s", t->addr, t->topic, STR_ARG(reply->remark));
        told(t);
    } else if ((talk == TALK_SINGLE || talk == TALK_INCREMENT) && t->tells_nothing) {
        log_warn("name server %s keeps the deleted topic %s: %.*s", t->addr, t->topic, STR_ARG(reply->remark));
        told(t);
    } else if (talk == TALK_SINGLE || talk == TALK_INCREMENT) {
        t->registered = false;           /* it forgot us: everything anew, at once */
    } else {
        failed(t, reply->remark.p ? reply->remark.p : "", reply->remark.n);
    }
}

/* On the client's thread. */
static void on_answer(void *arg, const struct command *reply, const char *why)
{
    struct target *t = arg;
    struct registrar *r = t->r;
    enum talk talk;

    pthread_mutex_lock(&r->lock);
    talk = t->talk;
    t->talk = TALK_NONE;
    t->failing = !reply;
    if (!reply)
        failed(t, why, strlen(why));
    else if (reply->code == RC_SUCCESS)
        on_success(r, t, talk, reply);
    else
        on_refusal(t, talk, reply);
    t->sent = false;
    registrar_wake(r);
    pthread_cond_broadcast(&r->answered);
    pthread_mutex_unlock(&r->lock);
}

/* ---- requests ---- */

/* Texts that a request points to until it is sent. */
struct request_texts {
    char id[21], crc[21];
};

static void add_zone(const struct registrar *r, struct command *cmd)
{
    command_add(cmd, "__ZONE_NAME", str_of(r->zone));            /* without text it is left out */
    command_add(cmd, "__ZONE_MODE", str_of(r->zone_mode));
}

static void add_who(const struct registrar *r, struct command *cmd, struct request_texts *x)
{
    const struct broker_config *conf = broker_conf(r->b);

    command_add(cmd, "brokerName", str_of(conf->broker_name));
    command_add(cmd, "brokerAddr", str_of(r->addr));
    command_add(cmd, "clusterName", str_of(conf->broker_cluster_name));
    command_add_i64(cmd, "brokerId", conf->broker_id, x->id);
}

static void add_registration(const struct registrar *r, struct command *cmd, struct str body, bool compressed,
                             struct request_texts *x)
{
    add_who(r, cmd, x);
    command_add(cmd, "haServerAddr", str_of(r->ha_addr));
    command_add(cmd, "enableActingMaster", str_of("false"));
    command_add(cmd, "compressed", str_of(compressed ? "true" : "false"));
    command_add_i64(cmd, "bodyCrc32", (int64_t)(crc32_z(0, (const unsigned char *)body.p, body.n) & 0x7FFFFFFF), x->crc);
    cmd->body = body;
}

static int make_full(struct registrar *r, struct shared_body *full)
{
    const struct broker_config *conf = broker_conf(r->b);
    int rc = 0;

    if (full->made)
        return 0;
    full->compressed = conf->compressed_register;
    if (!full->compressed) {
        rc = body_full(r->b->meta, conf->broker_permission, &full->bytes);
        full->compressed = !rc && full->bytes.n > FULL_MAX;
    }
    if (!rc && full->compressed) {
        buf_free(&full->bytes);
        rc = body_full_compressed(r->b->meta, conf->broker_permission, &full->bytes);
    }
    if (!rc && full->bytes.n > FULL_MAX)
        rc = -EMSGSIZE;
    full->made = rc == 0;
    return rc;
}

/* The name server has the topic as it is. */
static void pass_over(struct target *t)
{
    struct registrar *r = t->r;

    pthread_mutex_lock(&r->lock);
    told(t);
    t->talk = TALK_NONE;
    t->sent = false;
    pthread_cond_broadcast(&r->answered);
    pthread_mutex_unlock(&r->lock);
}

static void refuse_ourselves(struct target *t, int rc)
{
    struct registrar *r = t->r;
    const char *why = rc == -EMSGSIZE ? "all topics together do not fit a frame, even compressed" : "no memory to register";

    pthread_mutex_lock(&r->lock);
    t->talk = TALK_NONE;
    t->sent = false;
    failed(t, why, strlen(why));
    pthread_cond_broadcast(&r->answered);
    pthread_mutex_unlock(&r->lock);
}

/* The body of what is told of t->topic; tells_nothing goes with it. */
static int make_told(struct registrar *r, struct target *t, struct buf *body)
{
    const struct broker_config *conf = broker_conf(r->b);
    struct str topic = str_of(t->topic);
    bool exists;
    int rc = t->talk == TALK_SINGLE ? body_single(r->b->meta, conf->broker_permission, conf->broker_name, topic, &exists, body)
                                    : body_increment(r->b->meta, conf->broker_permission, topic, &exists, body);

    t->tells_nothing = !rc && !exists;
    return rc ? rc : exists && t->only_if_gone ? -EALREADY : 0;
}

static int build(struct registrar *r, struct target *t, struct shared_body *full, struct command *cmd, struct buf *body,
                 struct request_texts *x)
{
    int rc = 0;

    switch (t->talk) {
    case TALK_FULL:
        rc = make_full(r, full);
        cmd->code = REGISTER_BROKER;
        add_registration(r, cmd, buf_str(&full->bytes), full->compressed, x);
        break;
    case TALK_INCREMENT:
        rc = make_told(r, t, body);
        cmd->code = REGISTER_BROKER;
        add_registration(r, cmd, buf_str(body), false, x);
        break;
    case TALK_SINGLE:
        rc = make_told(r, t, body);
        cmd->code = REGISTER_TOPIC_IN_NAMESRV;
        cmd->body = buf_str(body);
        command_add(cmd, "topic", str_of(t->topic));
        break;
    case TALK_VERSION:
        rc = body_version(r->b->meta, body);
        cmd->code = QUERY_DATA_VERSION;
        cmd->body = buf_str(body);
        add_who(r, cmd, x);
        break;
    case TALK_CHECK:
    case TALK_PURGE:
        cmd->code = t->talk == TALK_CHECK ? GET_ROUTEINFO_BY_TOPIC : DELETE_TOPIC_IN_NAMESRV;
        command_add(cmd, "topic", str_of(t->topic));
        break;
    case TALK_GOODBYE:
    case TALK_NONE:
        cmd->code = UNREGISTER_BROKER;
        add_who(r, cmd, x);
        break;
    }
    return rc;
}

void talk_start(struct registrar *r, struct target *t, struct shared_body *full)
{
    bool large = t->talk == TALK_FULL || t->talk == TALK_INCREMENT;
    int timeout = large ? broker_conf(r->b)->register_broker_timeout_mills : t->talk == TALK_GOODBYE ? GOODBYE_MS : SINGLE_TIMEOUT_MS;
    struct command cmd = {0};
    struct request_texts x;
    struct buf body = {0};
    int rc = build(r, t, full, &cmd, &body, &x);

    if (rc == -EALREADY) {
        pass_over(t);
    } else if (rc) {
        refuse_ourselves(t, rc);
    } else {
        if (large)
            add_zone(r, &cmd);
        client_ask(r->b->out, t->addr, &cmd, timeout, on_answer, t);
    }
    buf_free(&body);
}

/* ---- order topics ---- */

static bool must_order(struct registrar *r, struct str topic)
{
    const struct topic *t;
    bool must;

    meta_read(r->b->meta);
    t = meta_topic(r->b->meta, topic);
    must = t && !t->info.order;
    meta_done(r->b->meta);
    return must;
}

void talk_order_topics(struct registrar *r, const char *kv_table)
{
    static const struct caller caller = {"", "name server"};
    struct topic_change ch = TOPIC_CHANGE_NONE;
    struct json *root;
    struct arena a;

    ch.order = 1;
    arena_init(&a, (size_t)64 << 20);
    if (json_parse(&a, str_of(kv_table), &root) == 0) {
        const struct json *table = json_member(root, "table");
        json_each(item, table) {
            struct str topic = json_as_str(item->key);
            struct fault f = {0};
            if (must_order(r, topic) && broker_topic_update(r->b, &caller, topic, &ch, &f))
                log_warn("the name server says that topic %.*s is ordered: %s", STR_ARG(topic), f.text);
        }
    }
    arena_free(&a);
}
