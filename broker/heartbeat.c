/* Clients come and go: HEART_BEAT, UNREGISTER_CLIENT, CHECK_CLIENT_CONFIG. */
#include <errno.h>

#include "broker/clients_priv.h"
#include "broker/meta.h"
#include "broker/topics_auto.h"
#include "common/json.h"
#include "common/log.h"

#define HEARTBEAT_ARENA_MAX ((size_t)32 << 20)

static bool client_id_ok(struct str id) { return id.n && id.n <= CLIENT_ID_MAX && !memchr(id.p, 0, id.n); }

/* What a consumer group needs before its members can join. */
enum need { NEED_NOTHING, NEED_DISK, NEED_SKIP };

static enum need group_needs(struct broker *b, struct str group)
{
    char topic[sizeof(RETRY_PREFIX) + GROUP_NAME_MAX_LONG];
    enum need need = NEED_NOTHING;

    if (group_name_check(group, NULL) ||
        group.n > GROUP_NAME_MAX_LONG - (sizeof(RETRY_PREFIX) - 1))
        return NEED_SKIP;
    memcpy(topic, RETRY_PREFIX, sizeof(RETRY_PREFIX) - 1);
    memcpy(topic + sizeof(RETRY_PREFIX) - 1, group.p, group.n);
    meta_read(b->meta);
    if (!meta_group(b->meta, CONSUMER_GROUP, group))
        need = broker_conf(b)->auto_create_subscription_group ? NEED_DISK : NEED_SKIP;
    else if (!meta_topic(b->meta, str_n(topic, sizeof(RETRY_PREFIX) - 1 + group.n)))
        need = NEED_DISK;
    meta_done(b->meta);
    return need;
}

/* Makes group and retry topic; on a worker. */
static int group_prepare(struct broker *b, struct str group)
{
    struct caller us = {.from = "heartbeat"};
    struct group_change ch = GROUP_CHANGE_NONE;
    struct fault f = {0};
    int rc = 0;

    if (broker_conf(b)->auto_create_subscription_group) {
        rc = broker_group_create(b, &us, CONSUMER_GROUP, group, &ch, &f);
        if (rc == -EEXIST)
            rc = 0;
    }
    if (!rc)
        rc = broker_retry_topic_make(b, group, &f);
    if (rc)
        log_warn("heartbeat of group %.*s: %s", STR_ARG(group), f.text);
    return rc;
}

static void consumer_data_decode(const struct json *d, int64_t fingerprint, bool without_sub, struct consumer_data *out)
{
    const struct json *subs = json_member(d, "subscriptionDataSet");

    out->group = json_str(d, "groupName");
    out->consume_type = clients_word(CONSUME_TYPES, json_str(d, "consumeType"));
    out->message_model = clients_word(MESSAGE_MODELS, json_str(d, "messageModel"));
    out->consume_from_where = clients_word(CONSUME_FROM_WHERES, json_str(d, "consumeFromWhere"));
    out->subscriptions = !without_sub && subs && subs->type == JSON_ARRAY ? subs : NULL;
    out->fingerprint = fingerprint;
}

static bool fingerprint_differs(struct clients *cl, struct str group, int64_t fingerprint)
{
    struct client_group *g;
    bool differs;

    pthread_mutex_lock(&cl->lock);
    g = clients_group(cl, CONSUMER_GROUP, group);
    differs = !g || g->fingerprint != fingerprint;
    pthread_mutex_unlock(&cl->lock);
    return differs;
}

/* One member of consumerDataSet. Groups that nobody made are passed over, as Apache does: their pulls are refused. */
static int consumer_joins(struct request *r, struct str id, const struct consumer_data *cd, bool *sub_change)
{
    struct broker *b = broker_of(r);
    bool changed = false;
    int rc;

    if (broker_conf(b)->reject_pull_consumer_enable && str_is(str_of(cd->consume_type), "CONSUME_ACTIVELY"))
        return 0;
    switch (group_needs(b, cd->group)) {
    case NEED_SKIP:
        return 0;
    case NEED_DISK:
        if (group_prepare(b, cd->group))
            return 0;
        break;
    case NEED_NOTHING:
        break;
    }
    if (cd->fingerprint && fingerprint_differs(b->clients, cd->group, cd->fingerprint))
        *sub_change = true;
    rc = clients_join(b->clients, CONSUMER_GROUP, cd->group, request_conn(r), id, request_cmd(r), cd, &changed);
    if (changed)
        log_info("client %.*s at %s joined group %.*s, or its subscriptions changed", STR_ARG(id),
                 conn_peer(request_conn(r)), STR_ARG(cd->group));
    if (changed)
        clients_notify_group(b, cd->group);
    return rc == -ENOTCONN ? 0 : rc;
}

static bool needs_disk(struct broker *b, const struct json *consumers)
{
    json_each(d, consumers)
        if (group_needs(b, json_str(d, "groupName")) == NEED_DISK)
            return true;
    return false;
}

static int heartbeat_join(struct request *r, const struct json *root, struct str id, bool *sub_change)
{
    struct broker *b = broker_of(r);
    int64_t fingerprint = json_int(root, "heartbeatFingerprint", 0);
    bool without_sub = fingerprint && json_bool(root, "withoutSub", false), ignored = false;
    int rc;

    json_each(d, json_member(root, "consumerDataSet")) {
        struct consumer_data cd;
        consumer_data_decode(d, fingerprint, without_sub, &cd);
        if ((rc = consumer_joins(r, id, &cd, sub_change)))
            return rc;
    }
    json_each(d, json_member(root, "producerDataSet")) {
        struct str group = json_str(d, "groupName");
        if (group_name_check(group, NULL))
            continue;
        rc = clients_join(b->clients, PRODUCER_GROUP, group, request_conn(r), id, request_cmd(r), NULL, &ignored);
        if (rc && rc != -ENOTCONN)
            return rc;
    }
    return 0;
}

static void heartbeat_reply(struct request *r, bool sub_change)
{
    struct command out;

    reply_start(r, &out, RC_SUCCESS);
    command_add(&out, "IS_SUPPORT_HEART_BEAT_V2", str_of("true"));
    command_add(&out, "IS_SUB_CHANGE", str_of(sub_change ? "true" : "false"));
    reply_send(r, &out);
}

void op_heartbeat(struct request *r)
{
    struct broker *b = broker_of(r);
    struct arena a;
    struct json *root;
    struct str id;
    bool sub_change = false;
    int rc;

    arena_init(&a, HEARTBEAT_ARENA_MAX);
    rc = json_parse(&a, request_cmd(r)->body, &root);
    id = rc ? str_n(NULL, 0) : json_str(root, "clientID");
    if (rc || !client_id_ok(id)) {
        reply(r, RC_SYSTEM_ERROR, "the heartbeat's body is not HeartbeatData with a clientID of 1 to %d bytes", CLIENT_ID_MAX);
    } else if (request_on_loop(r) && needs_disk(b, json_member(root, "consumerDataSet"))) {
        request_to_worker(r, op_heartbeat);
    } else {
        if (!json_int(root, "heartbeatFingerprint", 0))
            sub_change = true;       /* Apache says so to every heartbeat of the first form */
        rc = heartbeat_join(r, root, id, &sub_change);
        if (rc == -E2BIG)
            reply(r, RC_SYSTEM_ERROR, "a connection may be in %d groups at most: use more connections", CONN_GROUPS_MAX);
        else if (rc)
            reply(r, RC_SYSTEM_BUSY, "no memory for the clients of this heartbeat: try again");
        else
            heartbeat_reply(r, sub_change);
    }
    arena_free(&a);
}

struct unregister_header {
    struct str client_id, producer_group, consumer_group;
};

static const struct field unregister_fields[] = {
    {"clientID", FIELD_STR, offsetof(struct unregister_header, client_id), true, NULL},
    {"producerGroup", FIELD_STR, offsetof(struct unregister_header, producer_group), false, NULL},
    {"consumerGroup", FIELD_STR, offsetof(struct unregister_header, consumer_group), false, NULL},
};

void op_unregister_client(struct request *r)
{
    struct broker *b = broker_of(r);
    struct unregister_header h;

    if (!REQUEST_FIELDS(r, unregister_fields, &h))
        return;
    if (h.producer_group.n)
        clients_leave(b->clients, PRODUCER_GROUP, h.producer_group, h.client_id, request_conn(r));
    if (h.consumer_group.n && clients_leave(b->clients, CONSUMER_GROUP, h.consumer_group, h.client_id, request_conn(r)))
        clients_notify_group(b, h.consumer_group);
    reply(r, RC_SUCCESS, NULL);
}

/* A consumer asks at its start whether its filter can be served. */
void op_check_client_config(struct request *r)
{
    struct arena a;
    struct json *root;
    struct str type;

    arena_init(&a, HEARTBEAT_ARENA_MAX);
    if (json_parse(&a, request_cmd(r)->body, &root)) {
        reply(r, RC_SYSTEM_ERROR, "the body is not CheckClientRequestBody");
    } else {
        type = json_str(json_member(root, "subscriptionData"), "expressionType");
        if (!type.n || str_is(type, "TAG"))
            reply(r, RC_SUCCESS, NULL);
        else
            reply(r, RC_SYSTEM_ERROR, "this broker does not support consumers that filter by %.*s; filter by tags",
                  STR_ARG(type));
    }
    arena_free(&a);
}
