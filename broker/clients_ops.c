/* Requests that ask who is connected, and those that are passed on to a client. */
#include <errno.h>
#include <stdlib.h>

#include "broker/admin.h"
#include "broker/clients_priv.h"
#include "broker/meta.h"
#include "broker/offsets.h"
#include "common/json.h"

#define RELAY_TIMEOUT_MS 10000       /* AdminBrokerProcessor.callConsumer */

struct group_header {
    struct str group, topic;
};

static const struct field consumer_group_fields[] = {
    {"consumerGroup", FIELD_STR, offsetof(struct group_header, group), true, NULL},
};
static const struct field producer_group_fields[] = {
    {"producerGroup", FIELD_STR, offsetof(struct group_header, group), true, NULL},
};
static const struct field group_topic_fields[] = {
    {"group", FIELD_STR, offsetof(struct group_header, group), true, NULL},
    {"topic", FIELD_STR, offsetof(struct group_header, topic), false, NULL},
};
static const struct field topic_fields[] = {
    {"topic", FIELD_STR, offsetof(struct group_header, topic), true, NULL},
};

/* ---- of one group that is online ---- */

/* What is asked of it, and what is answered when it is not. */
struct online {
    enum group_kind kind;
    const struct field *group_field;
    void (*write)(struct json_writer *w, struct client_group *g);       /* under the clients' lock */
    int rc;
    const char *before, *after;          /* the remark around the group's name */
};

static void answer_online(struct request *r, const struct online *o)
{
    struct clients *cl = broker_of(r)->clients;
    struct group_header h;
    struct client_group *g;
    struct json_writer w;
    struct buf body = {0};

    if (!request_fields(r, o->group_field, 1, &h, sizeof(h)))
        return;
    pthread_mutex_lock(&cl->lock);
    g = clients_group(cl, o->kind, h.group);
    if (g) {
        jw_init(&w, &body, false);
        jw_object(&w);
        o->write(&w, g);
        jw_object_end(&w);
    }
    pthread_mutex_unlock(&cl->lock);
    if (g)
        admin_reply_json(r, &body);
    else
        reply(r, o->rc, "%s%.*s%s", o->before, STR_ARG(h.group), o->after);
}

static void write_client_ids(struct json_writer *w, struct client_group *g)
{
    struct member *m, *next;

    jw_karray(w, "consumerIdList");
    HASH_ITER(hh, g->members, m, next)
        jw_text(w, m->id);
    jw_array_end(w);
}

void op_get_consumer_list_by_group(struct request *r)
{
    answer_online(r, &(struct online){CONSUMER_GROUP, consumer_group_fields, write_client_ids, RC_SYSTEM_ERROR,
                                      "no consumer of group ", " is online"});
}

static void jw_connection(struct json_writer *w, const struct member *m)
{
    jw_object(w);
    jw_ktext(w, "clientAddr", conn_peer(m->conn));
    jw_ktext(w, "clientId", m->id);
    jw_ktext(w, "language", language_name(m->language));
    jw_kint(w, "version", m->version);
    jw_object_end(w);
}

static void jw_connections(struct json_writer *w, struct client_group *g)
{
    struct member *m, *next;

    jw_karray(w, "connectionSet");
    HASH_ITER(hh, g->members, m, next)
        jw_connection(w, m);
    jw_array_end(w);
}

/* The tags of "A || B" as Apache's SubscriptionData carries them: names, or their hash codes. */
static void jw_tags(struct json_writer *w, const char *key, const char *expression, bool codes)
{
    jw_karray(w, key);
    while (expression && strcmp(expression, "*") != 0 && *expression) {
        const char *bar = strstr(expression, "||");
        struct str tag = str_trim(str_n(expression, bar ? (size_t)(bar - expression) : strlen(expression)));
        if (tag.n && codes)
            jw_int(w, str_java_hash(tag));
        else if (tag.n)
            jw_str(w, tag);
        expression = bar ? bar + 2 : NULL;
    }
    jw_array_end(w);
}

static void jw_subscription(struct json_writer *w, const struct client_subscription *s)
{
    const char *tags = strcmp(s->type, "TAG") == 0 ? s->expression : NULL;

    jw_object(w);
    jw_kbool(w, "classFilterMode", false);
    jw_tags(w, "codeSet", tags, true);
    jw_ktext(w, "expressionType", s->type);
    jw_ktext(w, "subString", s->expression);
    jw_kint(w, "subVersion", s->version);
    jw_tags(w, "tagsSet", tags, false);
    jw_ktext(w, "topic", s->topic);
    jw_object_end(w);
}

static void write_consumer_connection(struct json_writer *w, struct client_group *g)
{
    struct client_subscription *s, *next;

    jw_connections(w, g);
    jw_ktext(w, "consumeFromWhere", g->consume_from_where);
    jw_ktext(w, "consumeType", g->consume_type);
    jw_ktext(w, "messageModel", g->message_model);
    jw_kobject(w, "subscriptionTable");
    HASH_ITER(hh, g->subscriptions, s, next) {
        jw_key(w, s->topic);
        jw_subscription(w, s);
    }
    jw_object_end(w);
}

void op_get_consumer_connection_list(struct request *r)
{
    answer_online(r, &(struct online){CONSUMER_GROUP, consumer_group_fields, write_consumer_connection,
                                      RC_CONSUMER_NOT_ONLINE, "the consumer group[", "] not online"});
}

void op_get_producer_connection_list(struct request *r)
{
    answer_online(r, &(struct online){PRODUCER_GROUP, producer_group_fields, jw_connections, RC_SYSTEM_ERROR,
                                      "the producer group[", "] is not online"});
}

/* ---- of all ---- */

void op_get_all_producer_info(struct request *r)
{
    struct clients *cl = broker_of(r)->clients;
    struct client_group *g, *next_g;
    struct member *m, *next;
    struct json_writer w;
    struct buf body = {0};

    jw_init(&w, &body, false);
    jw_object(&w);
    jw_kobject(&w, "data");
    pthread_mutex_lock(&cl->lock);
    HASH_ITER(hh, cl->groups[PRODUCER_GROUP], g, next_g) {
        jw_karray(&w, g->name);
        HASH_ITER(hh, g->members, m, next) {
            jw_object(&w);
            jw_ktext(&w, "clientId", m->id);
            jw_ktext(&w, "language", language_name(m->language));
            jw_kint(&w, "lastUpdateTimestamp", m->last_heartbeat);
            jw_ktext(&w, "remoteIP", conn_peer(m->conn));
            jw_kint(&w, "version", m->version);
            jw_object_end(&w);
        }
        jw_array_end(&w);
    }
    pthread_mutex_unlock(&cl->lock);
    jw_object_end(&w);
    jw_object_end(&w);
    admin_reply_json(r, &body);
}

/* ---- topics and groups ---- */

void op_query_subscription_by_consumer(struct request *r)
{
    struct clients *cl = broker_of(r)->clients;
    struct group_header h;
    struct client_group *g;
    struct client_subscription *s = NULL;
    struct json_writer w;
    struct buf body = {0};

    if (!REQUEST_FIELDS(r, group_topic_fields, &h))
        return;
    jw_init(&w, &body, false);
    jw_object(&w);
    jw_kstr(&w, "group", h.group);
    pthread_mutex_lock(&cl->lock);
    g = clients_group(cl, CONSUMER_GROUP, h.group);
    if (g && h.topic.n)
        HASH_FIND(hh, g->subscriptions, h.topic.p, h.topic.n, s);
    if (s) {
        jw_key(&w, "subscriptionData");
        jw_subscription(&w, s);
    }
    pthread_mutex_unlock(&cl->lock);
    jw_kstr(&w, "topic", h.topic);
    jw_object_end(&w);
    admin_reply_json(r, &body);
}

void op_query_topics_by_consumer(struct request *r)
{
    struct group_header h;
    struct json_writer w;
    struct buf body = {0};
    char topic[TOPIC_NAME_MAX_LONG + 1];

    if (!REQUEST_FIELDS(r, group_topic_fields, &h))
        return;
    jw_init(&w, &body, false);
    jw_object(&w);
    jw_karray(&w, "topicList");
    for (uint32_t i = 0; offsets_topic_at(broker_of(r)->offsets, h.group, i, topic) == 0; i++)
        jw_text(&w, topic);
    jw_array_end(&w);
    jw_object_end(&w);
    admin_reply_json(r, &body);
}

/* Names seen so far, so that a group which is online and has offsets is listed once. */
struct name_set {
    struct arena a;
    struct json_writer *w;
    struct seen {
        struct seen *next;
        struct str name;
    } *first;
};

static void name_add(void *arg, struct str name)
{
    struct name_set *set = arg;
    struct seen *s;
    char *copy;

    for (s = set->first; s; s = s->next)
        if (str_eq(s->name, name))
            return;
    s = arena_get(&set->a, sizeof(*s));
    copy = arena_dup(&set->a, name.p, name.n);
    if (!s || !copy) {
        set->w->out->failed = true;
        return;
    }
    *s = (struct seen){set->first, str_n(copy, name.n)};
    set->first = s;
    jw_str(set->w, s->name);
}

void op_query_topic_consume_by_who(struct request *r)
{
    struct broker *b = broker_of(r);
    struct group_header h;
    struct json_writer w;
    struct buf body = {0};
    struct name_set set = {.w = &w};

    if (!REQUEST_FIELDS(r, topic_fields, &h))
        return;
    arena_init(&set.a, (size_t)16 << 20);
    jw_init(&w, &body, false);
    jw_object(&w);
    jw_karray(&w, "groupList");
    clients_each_group_of(b->clients, h.topic, name_add, &set);
    offsets_each_group(b->offsets, h.topic, name_add, &set);
    jw_array_end(&w);
    jw_object_end(&w);
    arena_free(&set.a);
    admin_reply_json(r, &body);
}

/* ---- questions passed on to a client ---- */

static void relay_done(void *arg, const struct command *answer)
{
    struct request *r = arg;
    struct command out;

    if (!answer) {
        reply(r, RC_CONSUME_MSG_TIMEOUT, "the consumer did not answer within %d ms", RELAY_TIMEOUT_MS);
    } else {
        reply_start(r, &out, answer->code);
        out.remark = answer->remark;
        out.body = answer->body;
        reply_send(r, &out);
    }
    request_free(r);
}

/* Asks member `client` of the group the same question, with body added when given. */
static void relay(struct request *r, struct str group, struct str client, struct command *ask)
{
    struct conn *to = clients_member(broker_of(r)->clients, CONSUMER_GROUP, group, client);
    struct request *kept;

    if (!to) {
        reply(r, RC_SYSTEM_ERROR, "The Consumer <%.*s> <%.*s> not online", STR_ARG(group), STR_ARG(client));
        return;
    }
    kept = request_keep(r);
    if (kept)
        conn_ask(to, ask, RELAY_TIMEOUT_MS, relay_done, kept);
    conn_drop(to);
}

struct relay_header {
    struct str group, client, msg_id;
};
static const struct field relay_fields[] = {
    {"consumerGroup", FIELD_STR, offsetof(struct relay_header, group), true, NULL},
    {"clientId", FIELD_STR, offsetof(struct relay_header, client), true, NULL},
    {"msgId", FIELD_STR, offsetof(struct relay_header, msg_id), false, NULL},
};

static void ask_like(const struct command *from, struct command *to)
{
    *to = *from;
    to->flag = 0;
    to->version = VERSION_V5_5_0;
    to->language = LANG_OTHER;
    to->remark = str_n(NULL, 0);
}

void op_get_consumer_running_info(struct request *r)
{
    struct relay_header h;
    struct command ask;

    if (!REQUEST_FIELDS(r, relay_fields, &h))
        return;
    ask_like(request_cmd(r), &ask);
    relay(r, h.group, h.client, &ask);
}

void op_consume_message_directly(struct request *r)
{
    struct broker *b = broker_of(r);
    struct relay_header h;
    struct store_result *message = NULL;
    struct message m;
    struct host host;
    struct command ask;
    struct fault f;
    int64_t at;
    int rc;

    if (!REQUEST_FIELDS(r, relay_fields, &h))
        return;
    rc = offset_id_parse(h.msg_id, &host, &at) ? -ENOENT : store_load(b->store, at, 0, &m, &message);
    if (rc == -ENOENT)
        reply(r, RC_SYSTEM_ERROR, "no message with the offset id %.*s is in this broker's log", STR_ARG(h.msg_id));
    else if (rc)
        reply(r, RC_SYSTEM_ERROR, "the message of the offset id %.*s cannot be read: %s", STR_ARG(h.msg_id), strerror(-rc));
    if (rc)
        return;
    meta_read(b->meta);
    rc = meta_bound(b->meta, broker_conf(b), CONSUMER_GROUP, h.group, m.topic, &f);
    meta_done(b->meta);
    if (rc) {
        reply_fault(r, &f);
        store_release(message);
        return;
    }
    ask_like(request_cmd(r), &ask);
    command_add(&ask, "brokerName", str_of(broker_conf(b)->broker_name));
    ask.body = str_n(message->iov[0].iov_base, message->iov[0].iov_len);
    relay(r, h.group, h.client, &ask);       /* conn_ask copies the body */
    store_release(message);
}
