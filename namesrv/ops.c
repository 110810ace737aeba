/* The name server's request codes. Source: Apache DefaultRequestProcessor,
 * ClientRequestProcessor, ZoneRouteRPCHook (5.5.0). */
#include "namesrv/state.h"

#include <errno.h>
#include <zlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "namesrv/keeper.h"
#include "namesrv/kv.h"
#include "namesrv/routes.h"

/* Answers with body, which is freed. */
static void reply_buf(struct request *r, struct buf *body)
{
    if (buf_failed(body))
        reply(r, RC_SYSTEM_ERROR, "out of memory");
    else
        reply_body(r, buf_str(body));
    buf_free(body);
}

/* ---- brokers ---- */

struct broker_header {
    struct str cluster, name, addr;
    int64_t id;
};

static const struct field broker_fields[] = {
    {"clusterName", FIELD_STR, offsetof(struct broker_header, cluster), true, NULL},
    {"brokerName", FIELD_STR, offsetof(struct broker_header, name), true, NULL},
    {"brokerAddr", FIELD_STR, offsetof(struct broker_header, addr), true, NULL},
    {"brokerId", FIELD_I64, offsetof(struct broker_header, id), false, "0"},     /* 904 may leave it out */
};

/* false: refused and answered. */
static bool who_asks(struct request *r, struct broker_id *who)
{
    struct broker_header h;

    if (!REQUEST_FIELDS(r, broker_fields, &h))
        return false;
    *who = (struct broker_id){h.cluster, h.name, h.addr, h.id};
    return true;
}

struct register_header {
    struct broker_header broker;
    struct str ha_addr, zone, acting;
    int64_t timeout_ms;
    bool compressed;
    int32_t crc;
};

static const struct field register_fields[] = {
    {"brokerName", FIELD_STR, offsetof(struct register_header, broker.name), true, NULL},
    {"brokerAddr", FIELD_STR, offsetof(struct register_header, broker.addr), true, NULL},
    {"clusterName", FIELD_STR, offsetof(struct register_header, broker.cluster), true, NULL},
    {"haServerAddr", FIELD_STR, offsetof(struct register_header, ha_addr), true, NULL},
    {"brokerId", FIELD_I64, offsetof(struct register_header, broker.id), true, NULL},
    {"heartbeatTimeoutMillis", FIELD_I64, offsetof(struct register_header, timeout_ms), false, "120000"},
    {"enableActingMaster", FIELD_STR, offsetof(struct register_header, acting), false, NULL},
    {"compressed", FIELD_BOOL, offsetof(struct register_header, compressed), false, "false"},
    {"bodyCrc32", FIELD_I32, offsetof(struct register_header, crc), false, "0"},
    {"__ZONE_NAME", FIELD_STR, offsetof(struct register_header, zone), false, NULL},
};

static bool crc_ok(struct str body, int32_t want)
{
    return !want || (int32_t)(crc32_z(0, (const unsigned char *)body.p, body.n) & 0x7FFFFFFF) == want;
}

static void answer_registered(struct request *r, const struct registered *done)
{
    struct namesrv *ns = namesrv_of(r);
    struct buf body = {0};
    struct command out;

    reply_start(r, &out, RC_SUCCESS);
    if (done->has_master) {
        command_add(&out, "haServerAddr", str_of(done->master_ha));
        command_add(&out, "masterAddr", str_of(done->master_addr));
    }
    if (namesrv_conf(ns)->return_order_topic_config_to_broker &&
        kv_space_json(ns->kv, str_of(KV_ORDER_TOPICS), &body) == 0 && !buf_failed(&body))
        out.body = buf_str(&body);
    reply_send(r, &out);
    buf_free(&body);
}

static void refuse_registration(struct request *r, int rc)
{
    static const struct { int rc; const char *why; } rows[] = {
        {-EAGAIN, "register broker failed"},         /* Apache's words */
        {-EINVAL, "a name or address is empty, too long or has a NUL byte"},
        {-ENOSPC, "the name server holds maxTopics topics, no more fit"},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (rows[i].rc == rc) {
            reply(r, RC_SYSTEM_ERROR, "%s", rows[i].why);
            return;
        }
    reply(r, RC_SYSTEM_ERROR, "out of memory");
}

static void take_in(struct request *r, const struct newcomer *who, struct registration *body)
{
    struct namesrv *ns = namesrv_of(r);
    struct registered done;
    int rc = routes_register(ns->routes, namesrv_conf(ns), who, body, &done);

    if (rc == -ESTALE)
        log_warn("namesrv: %.*s is held by a broker with a newer state; %.*s is ignored", STR_ARG(who->who.name),
                 STR_ARG(who->who.addr));
    if (rc && rc != -ESTALE)
        refuse_registration(r, rc);
    else
        answer_registered(r, &done);
    keeper_tell(ns->keeper, done.changes);
    /* The connection may have ended while the body was read: then its end was seen before there was a broker. */
    if (!rc && !conn_open(request_conn(r))) {
        struct departure *d = departure_of_conn(ns->routes, who->conn);
        if (d)
            keeper_depart(ns->keeper, d);
    }
}

static void op_register_broker(struct request *r)
{
    const struct command *cmd = request_cmd(r);
    struct registration body;
    struct register_header h;
    struct newcomer who;
    struct fault f = {0};

    if (!REQUEST_FIELDS(r, register_fields, &h))
        return;
    if (!crc_ok(cmd->body, h.crc)) {
        reply(r, RC_SYSTEM_ERROR, "crc32 not match");
        return;
    }
    who = (struct newcomer){{h.broker.cluster, h.broker.name, h.broker.addr, h.broker.id}, h.ha_addr, h.zone,
                            h.timeout_ms, str_is(h.acting, "true"), h.acting.p != NULL, conn_id(request_conn(r))};
    if (registration_decode(cmd->body, h.compressed, cmd->version, &body, &f))
        reply_fault(r, &f);
    else
        take_in(r, &who, &body);
    registration_free(&body);
}

static void op_unregister_broker(struct request *r)
{
    struct namesrv *ns = namesrv_of(r);
    struct departure *d;
    struct broker_id who;

    if (!who_asks(r, &who))
        return;
    d = departure_of(ns->routes, &who);
    if (d && keeper_depart(ns->keeper, d))
        reply(r, RC_SUCCESS, NULL);
    else
        reply(r, RC_SYSTEM_ERROR, "too many brokers are leaving at once");
}

static void op_query_data_version(struct request *r)
{
    struct namesrv *ns = namesrv_of(r);
    struct version theirs = {0}, ours;
    struct str body = request_cmd(r)->body;
    struct buf text = {0};
    struct broker_id who;
    struct command out;
    bool known;

    if (!who_asks(r, &who))
        return;
    if (body.n && version_decode(body, &theirs)) {
        reply(r, RC_SYSTEM_ERROR, "the body is not a DataVersion");
        return;
    }
    known = routes_version(ns->routes, &who, &ours);
    routes_touch(ns->routes, &who);
    reply_start(r, &out, RC_SUCCESS);
    if (known) {
        version_encode(&ours, &text);
        out.body = buf_str(&text);
    }
    command_add(&out, "changed", str_of(known && body.n && !memcmp(&theirs, &ours, sizeof(ours)) ? "false" : "true"));
    reply_send(r, &out);
    buf_free(&text);
}

static void op_broker_heartbeat(struct request *r)
{
    struct broker_id who;

    if (!who_asks(r, &who))
        return;
    routes_touch(namesrv_of(r)->routes, &who);
    reply(r, RC_SUCCESS, NULL);
}

struct name_header {
    struct str name, other;
};

static const struct field group_fields[] = {
    {"clusterName", FIELD_STR, offsetof(struct name_header, other), true, NULL},
    {"brokerName", FIELD_STR, offsetof(struct name_header, name), true, NULL},
};

static void op_get_broker_member_group(struct request *r)
{
    struct buf body = {0};
    struct name_header h;

    if (!REQUEST_FIELDS(r, group_fields, &h))
        return;
    routes_json_member_group(namesrv_of(r)->routes, h.other, h.name, &body);
    reply_buf(r, &body);
}

static void op_get_broker_cluster_info(struct request *r)
{
    struct buf body = {0};

    routes_json_clusters(namesrv_of(r)->routes, &body);
    reply_buf(r, &body);
}

static const struct field broker_name_field[] = {
    {"brokerName", FIELD_STR, offsetof(struct name_header, name), true, NULL},
};

static void change_write_perm(struct request *r, bool writable, const char *count_field)
{
    struct name_header h;
    struct command out;
    char digits[21];
    int n;

    if (!REQUEST_FIELDS(r, broker_name_field, &h))
        return;
    n = routes_write_perm(namesrv_of(r)->routes, h.name, writable);
    log_info("namesrv: %s takes the write permission of %d topics of %.*s: %s", conn_peer(request_conn(r)), n,
             STR_ARG(h.name), writable ? "given" : "taken away");
    reply_start(r, &out, RC_SUCCESS);
    command_add_i64(&out, count_field, n, digits);
    reply_send(r, &out);
}

static void op_wipe_write_perm(struct request *r) { change_write_perm(r, false, "wipeTopicCount"); }
static void op_add_write_perm(struct request *r) { change_write_perm(r, true, "addTopicCount"); }

/* ---- routes and topics ---- */

struct route_header {
    struct str topic, zone;
    bool standard, zone_mode;
};

static const struct field route_fields[] = {
    {"topic", FIELD_STR, offsetof(struct route_header, topic), true, NULL},
    {"acceptStandardJsonOnly", FIELD_BOOL, offsetof(struct route_header, standard), false, "false"},
    {"__ZONE_MODE", FIELD_BOOL, offsetof(struct route_header, zone_mode), false, "false"},
    {"__ZONE_NAME", FIELD_STR, offsetof(struct route_header, zone), false, NULL},
};

static bool warming_up(const struct namesrv *ns, const struct namesrv_config *conf)
{
    return conf->need_wait_for_service && mono_ms() - ns->started < (int64_t)conf->wait_seconds_for_service * 1000;
}

static void answer_route(struct request *r, const struct route_header *h)
{
    struct namesrv *ns = namesrv_of(r);
    const struct namesrv_config *conf = namesrv_conf(ns);
    bool zoned = h->zone_mode && str_trim(h->zone).n;
    struct buf body = {0}, order = {0};
    struct route_wish wish = {
        .topic = h->topic,
        .standard = !zoned && (h->standard || request_cmd(r)->version >= VERSION_V4_9_4),
        .acting_master = conf->support_acting_master,
        .zone = zoned ? h->zone : str_n(NULL, 0),
    };

    if (conf->order_message_enable && kv_get(ns->kv, str_of(KV_ORDER_TOPICS), h->topic, &order) == 0)
        wish.order = order.p ? buf_str(&order) : str_of("");
    if (routes_json_route(ns->routes, &wish, &body) == 0)
        reply_buf(r, &body);
    else
        reply(r, RC_TOPIC_NOT_EXIST, "No topic route info in name server for the topic: %.*s",
              h->topic.n > NAMESRV_TOPIC_MAX ? NAMESRV_TOPIC_MAX : (int)h->topic.n, h->topic.p);
    buf_free(&order);
}

static void op_get_route(struct request *r)
{
    struct namesrv *ns = namesrv_of(r);
    struct route_header h;

    if (!REQUEST_FIELDS(r, route_fields, &h))
        return;
    if (warming_up(ns, namesrv_conf(ns)))
        reply(r, RC_SYSTEM_ERROR, "name server not ready");
    else
        answer_route(r, &h);
}

static void answer_topics(struct request *r, enum topic_list which, struct str cluster)
{
    struct namesrv *ns = namesrv_of(r);
    const struct namesrv_config *conf = namesrv_conf(ns);
    struct buf body = {0};

    if (which == TOPICS_ALL ? !conf->enable_all_topic_list : !conf->enable_topic_list) {
        reply(r, RC_SYSTEM_ERROR, "disable");
        return;
    }
    routes_json_topics(ns->routes, which, cluster, &body);
    reply_buf(r, &body);
}

static void op_all_topics(struct request *r) { answer_topics(r, TOPICS_ALL, str_n(NULL, 0)); }
static void op_unit_topics(struct request *r) { answer_topics(r, TOPICS_UNIT, str_n(NULL, 0)); }
static void op_unit_sub_topics(struct request *r) { answer_topics(r, TOPICS_UNIT_SUB, str_n(NULL, 0)); }
static void op_unit_sub_ununit_topics(struct request *r) { answer_topics(r, TOPICS_UNIT_SUB_NO_UNIT, str_n(NULL, 0)); }

static const struct field cluster_field[] = {
    {"cluster", FIELD_STR, offsetof(struct name_header, name), true, NULL},
};

static void op_topics_by_cluster(struct request *r)
{
    struct name_header h;

    if (REQUEST_FIELDS(r, cluster_field, &h))
        answer_topics(r, TOPICS_OF_CLUSTER, h.name);
}

static void op_system_topics(struct request *r)
{
    struct buf body = {0};

    routes_json_system_topics(namesrv_of(r)->routes, &body);
    reply_buf(r, &body);
}

static const struct field topic_fields[] = {
    {"topic", FIELD_STR, offsetof(struct name_header, name), true, NULL},
    {"clusterName", FIELD_STR, offsetof(struct name_header, other), false, NULL},
};

static void op_delete_topic(struct request *r)
{
    struct name_header h;

    if (!REQUEST_FIELDS(r, topic_fields, &h))
        return;
    routes_topic_delete(namesrv_of(r)->routes, h.name, h.other);
    log_info("namesrv: %s deletes the topic %.*s%s%.*s", conn_peer(request_conn(r)), STR_ARG(h.name),
             h.other.n ? " of cluster " : "", STR_ARG(h.other));
    reply(r, RC_SUCCESS, NULL);
}

/* Unlike Apache's, which says SUCCESS and does nothing, a topic of an unknown broker is refused: the broker then knows
 * that it must register first. */
static void op_register_topic(struct request *r)
{
    struct namesrv *ns = namesrv_of(r);
    struct registration body = {0};
    struct name_header h;
    int rc;

    if (!REQUEST_FIELDS(r, topic_fields, &h))
        return;
    rc = request_cmd(r)->body.n ? route_body_decode(request_cmd(r)->body, &body) : 0;
    if (!rc && body.n_topics)
        rc = routes_topic_put(ns->routes, namesrv_conf(ns), h.name, body.topics, body.n_topics);
    if (!rc)
        reply(r, RC_SUCCESS, NULL);
    else if (rc == -EBADMSG)
        reply(r, RC_SYSTEM_ERROR, "the body is not a TopicRouteData");
    else if (rc == -ENOENT)
        reply(r, RC_SYSTEM_ERROR, "the topic names a broker that is not registered here");
    else
        refuse_registration(r, rc);
    registration_free(&body);
}

/* ---- key-value store ---- */

struct kv_header {
    struct str space, key, value;
};

/* The first row for 219, two for get and delete, three for put. */
static const struct field kv_fields[] = {
    {"namespace", FIELD_STR, offsetof(struct kv_header, space), true, NULL},
    {"key", FIELD_STR, offsetof(struct kv_header, key), true, NULL},
    {"value", FIELD_STR, offsetof(struct kv_header, value), true, NULL},
};

static void op_put_kv(struct request *r)
{
    struct kv_header h;
    struct fault f = {0};

    if (!request_fields(r, kv_fields, 3, &h, sizeof(h)))
        return;
    if (kv_put(namesrv_of(r)->kv, h.space, h.key, h.value, &f))
        reply_fault(r, &f);
    else
        reply(r, RC_SUCCESS, NULL);
}

static void op_get_kv(struct request *r)
{
    struct buf value = {0};
    struct command out;
    struct kv_header h;

    if (!request_fields(r, kv_fields, 2, &h, sizeof(h)))
        return;
    if (kv_get(namesrv_of(r)->kv, h.space, h.key, &value)) {
        reply(r, RC_QUERY_NOT_FOUND, "No config item, Namespace: %.*s Key: %.*s", STR_ARG(h.space), STR_ARG(h.key));
        return;
    }
    reply_start(r, &out, RC_SUCCESS);
    command_add(&out, "value", value.p ? buf_str(&value) : str_of(""));
    reply_send(r, &out);
    buf_free(&value);
}

static void op_delete_kv(struct request *r)
{
    struct kv_header h;
    struct fault f = {0};
    int rc;

    if (!request_fields(r, kv_fields, 2, &h, sizeof(h)))
        return;
    rc = kv_delete(namesrv_of(r)->kv, h.space, h.key, &f);
    if (rc && rc != -ENOENT)             /* what is not there is deleted, as Apache says */
        reply_fault(r, &f);
    else
        reply(r, RC_SUCCESS, NULL);
}

static void op_kv_list(struct request *r)
{
    struct buf body = {0};
    struct kv_header h;

    if (!request_fields(r, kv_fields, 1, &h, sizeof(h)))
        return;
    if (kv_space_json(namesrv_of(r)->kv, h.space, &body) == 0)
        reply_buf(r, &body);
    else
        reply(r, RC_QUERY_NOT_FOUND, "No config item, Namespace: %.*s", STR_ARG(h.space));
}

/* ---- configuration ---- */

static void op_update_config(struct request *r)
{
    struct fault f = {0};

    if (settings_change(namesrv_of(r)->settings, request_cmd(r)->body, &f))
        reply_fault(r, &f);
    else
        reply(r, RC_SUCCESS, NULL);
}

static void op_get_config(struct request *r)
{
    struct buf body = {0};

    conf_print(&namesrv_config_rows, namesrv_conf(namesrv_of(r)), &body);
    reply_buf(r, &body);
}

const struct op namesrv_ops[] = {
    {100, "PUT_KV_CONFIG", op_put_kv, OP_WORKER | OP_ADMIN, "set a key of the kv store"},
    {101, "GET_KV_CONFIG", op_get_kv, 0, "the value of a key of the kv store"},
    {102, "DELETE_KV_CONFIG", op_delete_kv, OP_WORKER | OP_ADMIN, "delete a key of the kv store"},
    {103, "REGISTER_BROKER", op_register_broker, OP_WORKER, "a broker tells its address and all its topics"},
    {104, "UNREGISTER_BROKER", op_unregister_broker, 0, "a broker says goodbye"},
    {105, "GET_ROUTEINFO_BY_TOPIC", op_get_route, 0, "which brokers serve a topic, with addresses and queues"},
    {106, "GET_BROKER_CLUSTER_INFO", op_get_broker_cluster_info, 0, "all clusters and brokers"},
    {205, "WIPE_WRITE_PERM_OF_BROKER", op_wipe_write_perm, OP_WORKER | OP_ADMIN, "take the write permission of a broker's topics away"},
    {206, "GET_ALL_TOPIC_LIST_FROM_NAMESERVER", op_all_topics, OP_WORKER, "the names of all topics"},
    {216, "DELETE_TOPIC_IN_NAMESRV", op_delete_topic, OP_ADMIN, "forget a topic, everywhere or of one cluster"},
    {217, "REGISTER_TOPIC_IN_NAMESRV", op_register_topic, 0, "a broker tells what it serves of one topic"},
    {219, "GET_KVLIST_BY_NAMESPACE", op_kv_list, 0, "all keys and values of a kv namespace"},
    {224, "GET_TOPICS_BY_CLUSTER", op_topics_by_cluster, OP_WORKER, "the names of the topics of a cluster"},
    {304, "GET_SYSTEM_TOPIC_LIST_FROM_NS", op_system_topics, 0, "the names of clusters and brokers, and a broker's address"},
    {311, "GET_UNIT_TOPIC_LIST", op_unit_topics, OP_WORKER, "the names of topics with the unit flag"},
    {312, "GET_HAS_UNIT_SUB_TOPIC_LIST", op_unit_sub_topics, OP_WORKER, "the names of topics with the unit subscription flag"},
    {313, "GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST", op_unit_sub_ununit_topics, OP_WORKER, "those without the unit flag"},
    {318, "UPDATE_NAMESRV_CONFIG", op_update_config, OP_WORKER | OP_ADMIN, "change configuration keys"},
    {319, "GET_NAMESRV_CONFIG", op_get_config, 0, "all configuration keys"},
    {322, "QUERY_DATA_VERSION", op_query_data_version, 0, "whether a broker's topics differ from what it registered"},
    {327, "ADD_WRITE_PERM_OF_BROKER", op_add_write_perm, OP_WORKER | OP_ADMIN, "give the write permission of a broker's topics"},
    {901, "GET_BROKER_MEMBER_GROUP", op_get_broker_member_group, 0, "the ids and addresses of a broker name"},
    {904, "BROKER_HEARTBEAT", op_broker_heartbeat, 0, "a broker is alive"},
};
const size_t namesrv_n_ops = sizeof(namesrv_ops) / sizeof(namesrv_ops[0]);
