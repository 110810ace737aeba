/* Administrators' requests over a socket: what mqadmin, slaves and clients ask,
 * in the bodies they parse, and wrong values for each field.
 * (R-TOP-03, R-TOP-09, R-TOP-14, R-OFF-05, R-OFF-08, R-OFF-09, R-GOV-15) */
#include "tests/unit/tap.h"

#include "tests/unit/peer.h"
#include "tests/unit/broker_help.h"

#include "broker/offsets.h"
#include "broker/stats.h"
#include "common/json.h"
#include "common/log.h"

#define S(z) str_of(z)

static struct ask a;
static struct command r;
static struct arena arena;

/* Sends what a holds; the body's JSON, NULL when it has none. */
static const struct json *json_of(const struct command *c)
{
    struct json *j;

    arena_free(&arena);
    arena_init(&arena, 8 << 20);
    return c->body.n && json_parse(&arena, c->body, &j) == 0 ? j : NULL;
}

static int ask_code(int code)
{
    ask_begin(&a, code);
    return code;
}

/* name, value, ..., NULL */
static int ask_all(int code, const char *const *fields, const char *body)
{
    ask_code(code);
    for (; *fields; fields += 2)
        ask_text(&a, fields[0], fields[1]);
    if (body)
        a.c.body = S(body);
    return answer_to(&a, &r);
}
#define ASK(code, body, ...) ask_all(code, (const char *const[]){__VA_ARGS__, NULL}, body)
#define ASK0(code, body) ask_all(code, (const char *const[]){NULL}, body)

/* ---- topics ---- */

static int put_topic(const char *name, const char *queues, const char *perm, const char *attributes)
{
    return ASK(17, NULL, "topic", name, "defaultTopic", "TBW102", "readQueueNums", queues, "writeQueueNums",
               queues, "perm", perm,
               "topicFilterType", "SINGLE_TAG", "topicSysFlag", "0", "order", "false", "attributes",
               attributes, "force", "false");
}

static void test_topics(void)
{
    static const struct { const char *name, *queues, *perm, *attributes; int code; } bad[] = {
        {"a/b", "4", "6", "", RC_INVALID_PARAMETER}, {"", "4", "6", "", RC_INVALID_PARAMETER},
            {"SELF_TEST_TOPIC", "4", "6", "", RC_INVALID_PARAMETER},
        {"T2", "0", "6", "", RC_INVALID_PARAMETER}, {"T2", "-1", "6", "", RC_INVALID_PARAMETER},
        {"T2", "x", "6", "", RC_INVALID_PARAMETER},
        {"T2", "2147483648", "6", "", RC_INVALID_PARAMETER},
        {"T2", "2147483647", "6", "", RC_INVALID_PARAMETER},
        {"T2", "4", "9", "", RC_INVALID_PARAMETER}, {"T2", "4", "-1", "", RC_INVALID_PARAMETER},
        {"T2", "4", "6", "+message.type=MIXED", RC_INVALID_PARAMETER},
        {"T2", "4", "6", "junk", RC_INVALID_PARAMETER},
    };
    const struct json *j, *t;

    is_int(put_topic("T1", "4", "6", "+message.type=FIFO"), 0, "17 makes a topic");
    is_int(ASK(351, NULL, "topic", "T1"), 0, "351 shows it");
    j = json_of(&r);
    ok(str_is(json_str(j, "topicName"), "T1") && json_int(j, "readQueueNums", 0) == 4 &&
       json_int(j, "writeQueueNums", 0) == 4 &&
       json_int(j, "perm", 0) == 6 && str_is(json_str(j, "topicFilterType"), "SINGLE_TAG") &&
       !json_bool(j, "order", true) &&
       str_is(json_str(json_member(j, "attributes"), "message.type"), "FIFO"), "as TopicConfig");
    is_int(ASK(351, NULL, "topic", "none"), RC_TOPIC_NOT_EXIST, "351 of none: %s", remark(&r));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        is_int(put_topic(bad[i].name, bad[i].queues, bad[i].perm, bad[i].attributes), bad[i].code,
               "17 refuses: %s", remark(&r));
    is_int(ASK(351, NULL, "topic", "T2"), RC_TOPIC_NOT_EXIST, "and makes nothing");
    is_int(ASK(17, NULL, "topic", "T2"), RC_INVALID_PARAMETER, "17 without the rest: %s", remark(&r));

    is_int(ASK0(18,
                "{\"topicConfigList\":[{\"topicName\":\"L1\",\"readQueueNums\":2,\"writeQueueNums\":2,\"perm\":6,\"attributes\":{\"+message.type\":\"DELAY\"}},"
                    "{\"topicName\":\"L2\"}]}"), 0, "18 makes several: %s", remark(&r));
    ok(ASK(351, NULL, "topic", "L1") == 0 && str_is(json_str(json_member(json_of(&r), "attributes"),
                                                             "message.type"), "DELAY") &&
       ASK(351, NULL, "topic", "L2") == 0 && json_int(json_of(&r), "readQueueNums", 0) == 16,
       "each with what it says");
    is_int(ASK0(18, "{\"topicConfigList\":[{\"topicName\":\"L3\"},{\"topicName\":\"a/b\"}]}"),
           RC_INVALID_PARAMETER, "one bad name spoils all: %s", remark(&r));
    is_int(ASK(351, NULL, "topic", "L3"), RC_TOPIC_NOT_EXIST, "nothing is made");
    is_int(ASK0(18, "{\"topicConfigList\":[{\"topicName\":\"L3\"},{\"topicName\":\"L3\"}]}"),
           RC_INVALID_PARAMETER, "nor with a name twice");
    is_int(ASK0(18, "{\"topicConfigList\":5}"), RC_INVALID_PARAMETER, "18 without a list");
    is_int(ASK0(18, "{\"topicConfigList\":[5]}"), RC_INVALID_PARAMETER, "18 with no topics in it");
    is_int(ASK0(18, "{"), RC_INVALID_PARAMETER, "18 with half a body");
    is_int(ASK0(18, NULL), RC_INVALID_PARAMETER, "18 without a body");

    is_int(ASK0(21, NULL), 0, "21 lists all topics");
    j = json_of(&r);
    t = json_member(j, "topicConfigTable");
    ok(json_member(t, "T1") && json_member(t, "SELF_TEST_TOPIC") &&
       json_int(json_member(j, "dataVersion"), "counter", 0) > 0, "the system's too, with their version");
    is_int(ASK(305, NULL, "x", "y"), 0, "305 lists the system's");
    ok(r.body.n && memmem(r.body.p, r.body.n, "\"SCHEDULE_TOPIC_XXXX\"", 21) &&
       !memmem(r.body.p, r.body.n, "\"T1\"", 4), "and no others");

    is_int(ASK(215, NULL, "topic", "L2"), 0, "215 deletes");
    is_int(ASK(351, NULL, "topic", "L2"), RC_TOPIC_NOT_EXIST, "it is gone");
    is_int(ASK(215, NULL, "topic", "L2"), 0, "215 of what is not there: nothing left to do");
    is_int(ASK(215, NULL, "topic", "SELF_TEST_TOPIC"), RC_INVALID_PARAMETER, "215 of the system's: %s",
           remark(&r));
    is_int(ASK0(215, NULL), RC_INVALID_PARAMETER, "215 of nothing");
}

/* A slave's way through a long list. */
static void test_pages(void)
{
    char version[200], seq[12];
    const struct json *j;
    size_t seen = 0, rounds = 0;
    int64_t total = -1;
    struct buf names = {0};

    version[0] = 0;
    for (; rounds < 50 && (total < 0 || (int64_t)seen < total); rounds++) {
        size_t here = 0;

        snprintf(seq, sizeof(seq), "%zu", seen);
        if (ASK(21, NULL, "topicSeq", seq, "maxTopicNum", "3", "dataVersion", version) != 0)
            break;
        total = field_i64(&r, "totalTopicNum");
        j = json_of(&r);
        json_each(t, json_member(j, "topicConfigTable")) {
            here++;
            buf_putc(&names, '/');
            buf_put_str(&names, json_as_str(t->key));
        }
        if (!here || here > 3)
            break;
        seen += here;
        j = json_member(j, "dataVersion");
        snprintf(version, sizeof(version), "{\"counter\":%lld,\"stateVersion\":%lld,\"timestamp\":%lld}",
                 (long long)json_int(j, "counter", 0),
                 (long long)json_int(j, "stateVersion", 0), (long long)json_int(j, "timestamp", 0));
    }
    buf_putc(&names, 0);
    is_int(seen, total, "all topics in pages of three");
    ok(strstr(names.p, "/BenchmarkTest") < strstr(names.p, "/T1"), "in the order of their names");
    ASK(21, NULL, "topicSeq", "3", "maxTopicNum", "3", "dataVersion", "{\"counter\":1}");
    ok(memmem(r.body.p, r.body.n, "BenchmarkTest", 13) != NULL, "with another version it begins anew");
    is_int(ASK(21, NULL, "topicSeq", "x"), RC_INVALID_PARAMETER, "a page that is none: %s", remark(&r));
    is_int(ASK(21, NULL, "topicSeq", "-2147483648", "maxTopicNum", "-1"), 0,
           "negative numbers are an empty page");
    is_int(ASK(201, NULL, "groupSeq", "0", "maxGroupNum", "2"), 0, "groups in pages");
    j = json_of(&r);
    seen = 0;
    json_each(g, json_member(j, "subscriptionGroupTable"))
        seen += g->type == JSON_OBJECT;
    ok(seen == 2 && field_i64(&r, "totalGroupNum") >= 8, "of two, out of all");
    buf_free(&names);
}

/* ---- groups ---- */

static void test_groups(void)
{
    const struct json *j;

    is_int(ASK0(200, "{\"groupName\":\"g1\",\"retryMaxTimes\":3,\"consumeBroadcastEnable\":false}"), 0,
           "200 makes a group");
    is_int(ASK(352, NULL, "group", "g1"), 0, "352 shows it");
    j = json_of(&r);
    ok(json_int(j, "retryMaxTimes", 0) == 3 && !json_bool(j, "consumeBroadcastEnable", true) &&
       json_bool(j, "consumeEnable", false) && json_int(j, "whichBrokerWhenConsumeSlowly", 0) == 1 &&
       str_is(json_str(json_member(j, "groupRetryPolicy"), "type"), "CUSTOMIZED"),
       "as SubscriptionGroupConfig");
    is_int(ASK(352, NULL, "group", "none"), RC_SUBSCRIPTION_GROUP_NOT_EXIST, "352 of none: %s", remark(&r));
    is_int(ASK0(200, "{\"groupName\":\"a b\"}"), RC_INVALID_PARAMETER, "200 with a bad name: %s",
           remark(&r));
    is_int(ASK0(200, "{\"groupName\":\"g9\",\"retryMaxTimes\":-4}"), RC_INVALID_PARAMETER,
           "or a bad number: %s", remark(&r));
    is_int(ASK0(200, "[]"), RC_INVALID_PARAMETER, "or no object");
    is_int(ASK0(200, NULL), RC_INVALID_PARAMETER, "or no body");
    is_int(ASK0(225, "{\"groupConfigList\":[{\"groupName\":\"g2\"},{\"groupName\":\"g3\"}]}"), 0,
           "225 makes several");
    is_int(ASK0(225, "{\"groupConfigList\":[{\"groupName\":\"g4\"},{\"groupName\":\"g4\"}]}"),
           RC_INVALID_PARAMETER, "not one twice: %s", remark(&r));
    is_int(ASK0(225, "{\"groupConfigList\":[{\"groupName\":\"g4\"},7]}"), RC_INVALID_PARAMETER,
           "nor a number");
    is_int(ASK0(225, "{}"), RC_INVALID_PARAMETER, "nor none");
    is_int(ASK(352, NULL, "group", "g4"), RC_SUBSCRIPTION_GROUP_NOT_EXIST, "and then makes none");
    is_int(ASK0(201, NULL), 0, "201 lists all groups");
    j = json_of(&r);
    ok(json_member(json_member(j, "subscriptionGroupTable"), "g2") &&
       json_member(json_member(j, "subscriptionGroupTable"), "TOOLS_CONSUMER") &&
       json_member(j, "forbiddenTable") && json_member(j, "dataVersion"), "as SubscriptionGroupWrapper");
    is_int(ASK(207, NULL, "groupName", "g3"), 0, "207 deletes");
    is_int(ASK(207, NULL, "groupName", "g3"), 0, "207 of what is not there: nothing left to do");
    is_int(ASK(352, NULL, "group", "g3"), RC_SUBSCRIPTION_GROUP_NOT_EXIST, "it is gone");
    offsets_commit(house->offsets, S("g3"), S("T1"), 0, 1);
    is_int(ASK(207, NULL, "groupName", "g3", "cleanOffset", "true"), 0, "offsets that a group left behind");
    is_int(offsets_get(house->offsets, S("g3"), S("T1"), 0), -1, "go with cleanOffset");
}

/* ---- offsets ---- */

static int query(const char *group, const char *topic, const char *queue, const char *zero)
{
    return ASK(14, NULL, "consumerGroup", group, "topic", topic, "queueId", queue, "setZeroIfNotFound",
               zero);
}

static int update(const char *group, const char *topic, const char *queue, const char *offset)
{
    return ASK(15, NULL, "consumerGroup", group, "topic", topic, "queueId", queue, "commitOffset", offset);
}

static void send_some(const char *topic, int n)
{
    while (n--) {
        ask_send(&a, topic, 0, "body", "TAGS\1red\2");
        if (answer_to(&a, &r))
            printf("# send: %s\n", remark(&r));
    }
}

static void test_offsets(void)
{
    char ms[24];
    struct queue_info q;

    send_some("T1", 5);
    is_int(query("g1", "T1", "0", "true"), 0, "14 of a new group, its first message near");
    is_int(field_i64(&r, "offset"), 0, "begins at 0");
    is_int(query("g1", "T1", "0", "false"), RC_QUERY_NOT_FOUND, "but not when the client does not want it");
    is_int(query("g1", "T1", "1", "true"), RC_QUERY_NOT_FOUND,
           "nor in a queue without messages: Apache's checks message 0");
    is_int(query("g1", "none", "0", "true"), RC_QUERY_NOT_FOUND, "nor without the topic");
    is_int(update("g1", "T1", "0", "3"), 0, "15 commits");
    ok(query("g1", "T1", "0", "true") == 0 && field_i64(&r, "offset") == 3, "14 tells");
    is_int(update("none", "T1", "0", "3"), RC_SUBSCRIPTION_GROUP_NOT_EXIST, "15 of no group");
    is_int(update("g1", "none", "0", "3"), RC_TOPIC_NOT_EXIST, "of no topic");
    is_int(update("g1", "T1", "4", "3"), RC_INVALID_PARAMETER, "of no queue: %s", remark(&r));
    is_int(update("g1", "T1", "-1", "3"), RC_INVALID_PARAMETER, "of queue -1");
    is_int(update("g1", "T1", "2147483647", "3"), RC_INVALID_PARAMETER, "of a huge queue");
    is_int(update("g1", "T1", "0", "-3"), RC_INVALID_PARAMETER, "of a negative offset: %s", remark(&r));
    is_int(update("g1", "T1", "0", "x"), RC_INVALID_PARAMETER, "of none");
    ok(query("g1", "T1", "0", "true") == 0 && field_i64(&r, "offset") == 3, "and nothing changed by those");
    ok(ASK(30, NULL, "topic", "T1", "queueId", "0") == 0 && field_i64(&r, "offset") == 5, "30: the end");
    ok(ASK(31, NULL, "topic", "T1", "queueId", "0") == 0 && field_i64(&r, "offset") == 0,
       "31: the beginning");
    is_int(ASK(30, NULL, "topic", "T1", "queueId", "99"), RC_INVALID_PARAMETER, "30 of no queue: %s",
           remark(&r));
    is_int(ASK(31, NULL, "topic", "none", "queueId", "0"), RC_TOPIC_NOT_EXIST, "31 of no topic");
    broker_queue_get(house, S("T1"), 0, &q);
    ok(ASK(32, NULL, "topic", "T1", "queueId", "0") == 0 && field_i64(&r, "timestamp") > 0 &&
       field_i64(&r, "timestamp") <= q.last_time, "32: the first one's time");
    ok(ASK(29, NULL, "topic", "T1", "queueId", "0", "timestamp", "1") == 0 && field_i64(&r, "offset") == 0,
       "29: long ago");
    snprintf(ms, sizeof(ms), "%lld", (long long)(q.last_time + 1000));
    ok(ASK(29, NULL, "topic", "T1", "queueId", "0", "timestamp", ms) == 0 && field_i64(&r, "offset") == 5,
       "29: after the last, the end");
    ok(ASK(29, NULL, "topic", "T1", "queueId", "0", "timestamp", ms, "boundaryType", "upper") == 0 &&
       field_i64(&r, "offset") == 4, "or upper: the last");
    is_int(ASK0(43, NULL), 0, "43 is consumerOffset.json");
    ok(r.body.n && memmem(r.body.p, r.body.n, "\"T1@g1\":{0:3}", 13) != NULL, "with its unquoted numbers");
    is_int(ASK0(45, NULL), 0, "45 is delayOffset.json");
    ok(r.body.n && memmem(r.body.p, r.body.n, "\"offsetTable\":{", 15) != NULL, "of the levels");
}

/* The object-keyed tables of Apache's admin bodies: the value for a queue of T1. */
static const struct json *queue_row(const struct json *table, int64_t queue)
{
    json_each(it, table)
        if (it->key && it->key->type == JSON_OBJECT && json_int(it->key, "queueId", -1) == queue &&
            str_is(json_str(it->key, "brokerName"), "b") && str_is(json_str(it->key, "topic"), "T1"))
            return it;
    return NULL;
}

static void test_progress(void)
{
    const struct json *row;

    is_int(ASK(202, NULL, "topic", "T1"), 0, "202 shows a topic's queues");
    row = queue_row(json_member(json_of(&r), "offsetTable"), 0);
    ok(row && json_int(row, "maxOffset", -1) == 5 && json_int(row, "minOffset", -1) == 0 &&
       json_int(row, "lastUpdateTimestamp", 0) > 0, "under MessageQueue objects");
    is_int(ASK(202, NULL, "topic", "none"), RC_TOPIC_NOT_EXIST, "202 of none");
    is_int(ASK(208, NULL, "consumerGroup", "g1"), 0, "208 shows a group's progress");
    row = queue_row(json_member(json_of(&r), "offsetTable"), 0);
    ok(row && json_int(row, "brokerOffset", -1) == 5 && json_int(row, "consumerOffset", -1) == 3 &&
       json_int(row, "pullOffset", -1) == 3 &&
       json_int(row, "lastTimestamp", 0) > 0, "against the queue's end, with the last one's time");
    is_int(ASK(208, NULL, "consumerGroup", "g1", "topic", "none"), 0, "208 of a topic that is not there");
    ok(!json_first(json_member(json_of(&r), "offsetTable")), "has no rows");
    ok(ASK(208, NULL, "consumerGroup", "g2", "topicList", "none;T1;") == 0 &&
       queue_row(json_member(json_of(&r), "offsetTable"), 3), "topicList names them");
    is_int(ASK(303, NULL, "topic", "T1", "group", "g1"), 0, "303 shows it as times");
    is_int(ASK(308, NULL, "topic", "T1", "compareGroup", "g1"), 0, "308 compares");
    is_int(ASK(314, NULL, "srcGroup", "g1", "destGroup", "g2", "topic", "T1", "offline", "true"), 0,
           "314 copies offsets");
    is_int(offsets_get(house->offsets, S("g2"), S("T1"), 0), 3, "to the other group");
    is_int(ASK(314, NULL, "srcGroup", "g1", "destGroup", "g2", "topic", "none", "offline", "true"), 0,
           "314 of a topic without offsets copies none");
    is_int(ASK(314, NULL, "srcGroup", "g1", "destGroup", "a b", "offline", "true"), RC_INVALID_PARAMETER,
           "not to a name that is none");
}

static int reset(const char *queue, const char *offset, const char *timestamp)
{
    return ASK(222, NULL, "group", "g1", "topic", "T1", "queueId", queue, "offset", offset, "timestamp",
               timestamp, "isForce", "true");
}

static void test_reset(void)
{
    const struct json *row;

    is_int(reset("0", "1", "-1"), 0, "222 resets a queue");
    row = queue_row(json_member(json_of(&r), "offsetTable"), 0);
    ok(row && json_as_int(row, -1) == 1, "and answers with ResetOffsetBody");
    is_int(offsets_get(house->offsets, S("g1"), S("T1"), 0), 1, "it is committed");
    ask_pull(&a, "g1", "T1", 0, 3);
    is_int(answer_to(&a, &r), RC_PULL_OFFSET_MOVED, "the next pull is told");
    is_int(field_i64(&r, "nextBeginOffset"), 1, "where to go on");
    ask_pull(&a, "g1", "T1", 0, 1);
    is_int(answer_to(&a, &r), 0, "and then goes on");
    is_int(reset("-1", "-1", "-1"), 0, "222 resets all queues to the end");
    ok(offsets_get(house->offsets, S("g1"), S("T1"), 0) == 5 &&
       offsets_get(house->offsets, S("g1"), S("T1"), 3) == 0, "each to its own");
    is_int(reset("-1", "-1", "1"), 0, "or to a time");
    is_int(offsets_get(house->offsets, S("g1"), S("T1"), 0), 0, "long ago");
    is_int(reset("0", "99", "-1"), RC_SYSTEM_ERROR, "past the end: %s", remark(&r));
    is_int(reset("77", "0", "-1"), RC_INVALID_PARAMETER, "of no queue: %s", remark(&r));
    is_int(ASK(222, NULL, "group", "none", "topic", "T1", "timestamp", "-1", "isForce", "true"),
           RC_SUBSCRIPTION_GROUP_NOT_EXIST, "of no group");
    is_int(ASK(222, NULL, "group", "g1", "topic", "none", "timestamp", "-1", "isForce", "true"),
           RC_TOPIC_NOT_EXIST, "of no topic");
    is_int(offsets_get(house->offsets, S("g1"), S("T1"), 0), 0, "nothing changed by those");
    set_key("useServerSideResetOffset", "false");
    is_int(reset("0", "1", "-1"), RC_CONSUMER_NOT_ONLINE, "without clients to tell: %s", remark(&r));
    set_key("useServerSideResetOffset", "true");
}

/* ---- the broker ---- */

static bool body_has(const char *text) { return r.body.n &&
                                        memmem(r.body.p, r.body.n, text, strlen(text)) != NULL; }

static void test_broker(void)
{
    is_int(ASK0(26, NULL), 0, "26 prints the configuration");
    ok(body_has("\nbrokerName=b\n") || (r.body.n > 13 && memcmp(r.body.p, "brokerName=b\n", 13) == 0),
       "as properties");
    ok(str_starts(command_ext(&r, "version"), "{\"counter\":"), "with its version");
    is_int(ASK0(25, "shortPollingTimeMills=777\n#x\nmaxHeldPulls=5000\n"), 0, "25 changes keys");
    ok(broker_conf(house)->short_polling_time_mills == 777 && broker_conf(house)->max_held_pulls == 5000,
       "both");
    is_int(ASK0(25, "shortPollingTimeMills=778\nnoSuchKey=1\n"), RC_INVALID_PARAMETER, "all or none: %s",
           remark(&r));
    is_int(broker_conf(house)->short_polling_time_mills, 777, "here none");
    is_int(ASK0(25, "listenPort=1\n"), RC_NO_PERMISSION, "not one that is read at start: %s", remark(&r));
    is_int(ASK0(25, "brokerConfigPath=/etc/passwd\n"), RC_NO_PERMISSION, "nor one of the black list: %s",
           remark(&r));
    is_int(ASK0(25, "shortPollingTimeMills=soon\n"), RC_INVALID_PARAMETER, "nor a bad value: %s",
           remark(&r));
    is_int(ASK0(25, NULL), RC_INVALID_PARAMETER, "nor nothing");
    is_int(ASK0(28, NULL), 0, "28 shows runtime values");
    ok(body_has("\"brokerVersionDesc\":\"V5_5_0\"") && body_has("\"putTps\":\"") &&
       body_has("\"brokerActive\":\"true\"") && body_has("\"bootTimestamp\":\""), "as KVTable");
    ok(body_has("\"pageCacheLockTimeMills\":\""), "with what clusterList calls PCWait");
}

static void test_stats(void)
{
    make_topic("Counted", 1);
    is_int(ASK(315, NULL, "statsName", "TOPIC_PUT_NUMS", "statsKey", "Counted"), RC_SYSTEM_ERROR, "315 of a topic without messages: %s",
           remark(&r));
    is_int(ASK(315, NULL, "statsName", "NO_NUMS", "statsKey", "Counted"), RC_SYSTEM_ERROR, "... of no such name: %s", remark(&r));
    is_int(ASK(315, NULL, "statsName", "TOPIC_PUT_NUMS"), RC_INVALID_PARAMETER, "... without a key: %s", remark(&r));
    for (int i = 0; i < 3; i++) {
        ask_send(&a, "Counted", 0, "body", "");
        is_int(answer_to(&a, &r), 0, "a message");
    }
    ask_pull(&a, "g1", "Counted", 0, 0);
    is_int(answer_to(&a, &r), 0, "pulled");
    stats_sample(house, mono_ms());
    is_int(ASK(315, NULL, "statsName", "TOPIC_PUT_NUMS", "statsKey", "Counted"), 0, "315 shows what was put");
    ok(body_has("{\"statsDay\":{\"avgpt\":1.0,\"sum\":3,\"tps\":") && body_has("\"statsMinute\":{\"avgpt\":1.0,\"sum\":3,\"tps\":0."),
       "... as BrokerStatsData");
    is_int(ASK(315, NULL, "statsName", "GROUP_GET_NUMS", "statsKey", "Counted@g1"), 0, "... and what a group got");
    ok(body_has("\"statsMinute\":{\"avgpt\":3.0,\"sum\":3,\"tps\":0."), "... in one pull");
}

/* ---- wrong values ---- */

static const char *random_text(unsigned *seed, char out[64])
{
    static const char *const odd[] = {"", "-1", "2147483648", "9223372036854775808", "../x", "%RETRY%",
                                      "a b", "true", "{}", "\xff\xfe", "T1", "g1", "0"};
    int n = (int)((unsigned)rand_r(seed) % 40);

    if (rand_r(seed) % 2)
        return odd[(size_t)rand_r(seed) % (sizeof(odd) / sizeof(odd[0]))];
    for (int i = 0; i < n; i++)
        out[i] = (char)(1 + rand_r(seed) % 255);
    out[n] = 0;
    return out;
}

static void test_garbage(void)
{
    static const int codes[] = {14, 15, 17, 18, 21, 25, 26, 28, 29, 30, 31, 32, 43, 45, 200, 201, 202, 207,
                                208, 215, 222, 225, 303, 305, 308, 314, 315, 351, 352};
    static const char *const names[] = {"topic", "group", "consumerGroup", "groupName", "queueId", "offset",
                                        "commitOffset", "timestamp", "readQueueNums",
                                        "writeQueueNums", "perm", "attributes", "topicFilterType",
                                        "srcGroup", "destGroup", "topicSeq", "maxTopicNum",
                                        "dataVersion", "topicList", "compareGroup", "filterGroups",
                                        "isForce", "order", "statsName", "statsKey"};
    static const char *const bodies[] = {"", "{", "[]", "5", "{\"groupName\":5}",
                                         "{\"topicConfigList\":{}}", "{\"groupConfigList\":[[]]}",
                                         "a=b\n=\n==", "\xff",
                                         "{\"groupName\":\"x y\",\"attributes\":[1],\"subscriptionDataSet\":[[],{}]}"};
    unsigned seed = (unsigned)time(NULL);
    int unanswered = 0;

    printf("# seed %u\n", seed);
    for (int i = 0; i < 3000; i++) {
        char texts[6][64];

        ask_code(codes[(size_t)rand_r(&seed) % (sizeof(codes) / sizeof(codes[0]))]);
        for (int k = 0; k < 6; k++)
            ask_text(&a, names[(size_t)rand_r(&seed) % (sizeof(names) / sizeof(names[0]))],
                     random_text(&seed, texts[k]));
        a.c.body = S(bodies[(size_t)rand_r(&seed) % (sizeof(bodies) / sizeof(bodies[0]))]);
        if (answer_to(&a, &r) < 0) {
            unanswered++;
            peer_close(&line);
            line = peer_open(broker_port(house));
        }
    }
    is_int(unanswered, 0, "3000 requests with random values are all answered");
    is_int(ASK(351, NULL, "topic", "BenchmarkTest"), 0, "and the broker serves on");
}

int main(void)
{
    log_open("/dev/null", LOG_ERROR);
    house_open(NULL);
    test_topics();
    test_groups();
    test_pages();
    test_offsets();
    test_progress();
    test_reset();
    test_broker();
    test_stats();
    test_garbage();
    house_close();
    arena_free(&arena);
    return tap_done();
}
