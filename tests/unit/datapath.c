/* Messages on their way through a whole broker: send, batch, pull, view, send back. R-PROD-01, R-PROD-02, R-CONS-03,
 * R-CONS-04, R-TOP-05, R-TOP-07, R-TOP-17, R-RETRY-01, R-RETRY-05, R-BATCH-01, R-GOV-10, R-GOV-11, R-GOV-14. */
#include "tests/unit/tap.h"

#include "tests/unit/peer.h"
#include "tests/unit/broker_help.h"

#include "broker/hold.h"

#define P(name, value) name "\1" value "\2"

static struct ask a;
static struct command r;

/* ---- send ---- */

static struct str prop_of(const struct message *m, const char *name) { return prop_get(m->properties, name); }

static void first_message(const char *topic, int32_t queue, int64_t offset, struct message *m)
{
    ask_pull(&a, "g1", topic, queue, offset);
    if (answer_to(&a, &r) != RC_SUCCESS || !message_at(r.body, 0, m)) {
        printf("Bail out! no message at %s/%d/%lld: %d %s\n", topic, queue, (long long)offset, r.code, remark(&r));
        exit(2);
    }
}

static void test_send(void)
{
    struct host host;
    struct message m, again;
    int64_t at;
    char id[64], unique[64];

    ask_send(&a, "T", 1, "hello", P("KEYS", "k") P("UNIQ_KEY", "0A") P("TAGS", "A") P("POP_CK", "x") P("CLUSTER", "y")
             "broken\2" P("empty", "") "own\1value");
    is_int(answer_to(&a, &r), RC_SUCCESS, "a send is accepted");
    is_int(field_i64(&r, "queueId"), 1, "queueId is the queue's");
    is_int(field_i64(&r, "queueOffset"), 0, "queueOffset is the first");
    ok(str_is(command_ext(&r, "transactionId"), "0A"), "transactionId is the UNIQ_KEY");
    ok(str_is(command_ext(&r, "MSG_REGION"), "DefaultRegion") && str_is(command_ext(&r, "TRACE_ON"), "true"),
       "region and trace switch are told");
    str_copy(id, sizeof(id), command_ext(&r, "msgId"));
    ok(offset_id_parse(str_of(id), &host, &at) == 0 && host.port == broker_port(house), "msgId is an offset id: %s", id);

    first_message("T", 1, 0, &m);
    ok(str_is(m.body, "hello") && str_is(m.topic, "T") && m.queue_id == 1 && m.queue_offset == 0, "a pull finds it");
    ok(str_is(prop_of(&m, "KEYS"), "k") && str_is(prop_of(&m, "UNIQ_KEY"), "0A") && str_is(prop_of(&m, "own"), "value"),
       "with the producer's properties");
    ok(str_is(prop_of(&m, "MSG_REGION"), "DefaultRegion") && str_is(prop_of(&m, "TRACE_ON"), "true") &&
       str_is(prop_of(&m, "CLUSTER"), "DefaultCluster"), "and what Apache's broker adds");
    ok(!prop_of(&m, "POP_CK").p, "without the reserved one");
    ok(m.born_host.port && m.store_host.port == broker_port(house), "hosts of both sides are kept");
    is_int(m.physical_offset, at, "the id names its place in the log");

    ask_begin(&a, 33);
    ask_i64(&a, "offset", at);
    is_int(answer_to(&a, &r), RC_SUCCESS, "the message is found by its id");
    ok(message_at(r.body, 0, &again) && str_is(again.body, "hello") && again.size == r.body.n, "as one record");
    ask_i64(&a, "offset", at + 1);
    is_int(answer_to(&a, &r), RC_SYSTEM_ERROR, "a place within it is no message");
    ask_i64(&a, "offset", INT64_MAX);
    is_int(answer_to(&a, &r), RC_SYSTEM_ERROR, "nor is one past the end");
    ask_i64(&a, "offset", -1);
    is_int(answer_to(&a, &r), RC_SYSTEM_ERROR, "nor is a negative one");

    ask_send(&a, "T", 1, "no key", NULL);
    is_int(answer_to(&a, &r), RC_SUCCESS, "a send without properties");
    str_copy(unique, sizeof(unique), command_ext(&r, "transactionId"));
    is_int(strlen(unique), 32, "gets a unique id: %s", unique);
    first_message("T", 1, 1, &m);
    ok(str_is(prop_of(&m, "UNIQ_KEY"), unique), "which is stored");
}

static void test_send_v1(void)
{
    struct ask v1;
    static const char *const pairs[][2] = {
        {"a", "producerGroup"}, {"b", "topic"}, {"c", "defaultTopic"}, {"d", "defaultTopicQueueNums"}, {"e", "queueId"},
        {"f", "sysFlag"}, {"g", "bornTimestamp"}, {"h", "flag"}, {"i", "properties"},
    };

    ask_send(&a, "T", 2, "v1", P("TAGS", "A"));
    ask_begin(&v1, 10);
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
        ask_set(&v1, pairs[i][1], command_ext(&a.c, pairs[i][0]));
    v1.c.body = str_of("v1");
    is_int(answer_to(&v1, &r), RC_SUCCESS, "SEND_MESSAGE with the long names");
    is_int(queue_end("T", 2), 1, "is stored");
    v1.c.serialize = SERIALIZE_ROCKETMQ;
    v1.c.opaque++;
    is_int(answer_to(&v1, &r), RC_SUCCESS, "with a binary header too");
    ok(r.serialize == SERIALIZE_ROCKETMQ && field_i64(&r, "queueOffset") == 1, "and is answered in kind");
}

static void test_random_queue(void)
{
    int64_t before[4], after = 0;
    int used = 0;

    for (int i = 0; i < 4; i++)
        before[i] = queue_end("R", i);
    for (int i = 0; i < 64; i++) {
        ask_send(&a, "R", -1, "any", NULL);
        if (answer_to(&a, &r) != RC_SUCCESS || field_i64(&r, "queueId") < 0 || field_i64(&r, "queueId") > 3)
            break;
    }
    for (int i = 0; i < 4; i++) {
        after += queue_end("R", i) - before[i];
        used += queue_end("R", i) > before[i];
    }
    ok(after == 64 && used > 1, "a negative queue id is any queue (%d of 4 used)", used);
}

/* One wrong thing in an otherwise good send. */
static const struct {
    const char *what, *field, *value;
    size_t n;                        /* 0: of the text */
    int code;
} bad_sends[] = {
    {"an unknown topic", "b", "nowhere", 0, RC_TOPIC_NOT_EXIST},
    {"a topic with a slash", "b", "a/b", 0, RC_INVALID_PARAMETER},
    {"a topic with a NUL", "b", "T\0T", 3, RC_INVALID_PARAMETER},
    {"an empty topic", "b", "", 0, RC_INVALID_PARAMETER},
    {"two dots", "b", "..", 0, RC_INVALID_PARAMETER},
    {"the schedule topic", "b", "SCHEDULE_TOPIC_XXXX", 0, RC_NO_PERMISSION},
    {"the transactions' topic", "b", "RMQ_SYS_TRANS_HALF_TOPIC", 0, RC_NO_PERMISSION},
    {"a retry topic without a group", "b", "%RETRY%nobody", 0, RC_SUBSCRIPTION_GROUP_NOT_EXIST},
    {"a queue past the last", "e", "4", 0, RC_INVALID_PARAMETER},
    {"a huge queue", "e", "2147483647", 0, RC_INVALID_PARAMETER},
    {"a queue beyond 32 bits", "e", "4294967296", 0, RC_INVALID_PARAMETER},
    {"a queue that is no number", "e", "one", 0, RC_INVALID_PARAMETER},
    {"no queue at all", "e", NULL, 0, RC_INVALID_PARAMETER},
    {"no topic at all", "b", NULL, 0, RC_INVALID_PARAMETER},
    {"a birth time that is no number", "g", "", 0, RC_INVALID_PARAMETER},
    {"a delay level that is no number", "i", P("DELAY", "x"), 0, RC_MESSAGE_ILLEGAL},
    {"a delay level beyond 32 bits", "i", P("DELAY", "99999999999"), 0, RC_MESSAGE_ILLEGAL},
    {"a transaction", "i", P("TRAN_MSG", "true"), 0, RC_MESSAGE_ILLEGAL},
    {"a prepared message", "f", "4", 0, RC_MESSAGE_ILLEGAL},
    {"a rollback", "f", "12", 0, RC_MESSAGE_ILLEGAL},
    {"a batch inside", "f", "128", 0, RC_MESSAGE_ILLEGAL},
    {"a count of a batch inside", "i", P("INNER_NUM", "3"), 0, RC_MESSAGE_ILLEGAL},
    {"a delivery time to come", "i", P("TIMER_DELIVER_MS", "99999999999999"), 0, RC_MESSAGE_ILLEGAL},
    {"a delivery in seconds", "i", P("TIMER_DELAY_SEC", "5"), 0, RC_MESSAGE_ILLEGAL},
    {"a delivery in milliseconds", "i", P("TIMER_DELAY_MS", "5000"), 0, RC_MESSAGE_ILLEGAL},
    {"a delivery time past all time", "i", P("TIMER_DELAY_SEC", "9223372036854775807"), 0, RC_MESSAGE_ILLEGAL},
    {"a delivery time that is no number", "i", P("TIMER_DELIVER_MS", "soon"), 0, RC_MESSAGE_ILLEGAL},
    {"a batch flag on one message", "m", "true", 0, RC_MESSAGE_ILLEGAL},
};

static int64_t stored(void)
{
    struct store_stats s;

    store_stats(broker_store(house), &s);
    return s.appended_messages;
}

static void test_bad_sends(void)
{
    int64_t before = stored();
    char *big = calloc(1, 5000000);

    for (size_t i = 0; i < sizeof(bad_sends) / sizeof(bad_sends[0]); i++) {
        const char *v = bad_sends[i].value;
        ask_send(&a, "T", 0, "x", "");
        ask_set(&a, bad_sends[i].field, bad_sends[i].n ? str_n(v, bad_sends[i].n) : str_of(v));
        is_int(answer_to(&a, &r), bad_sends[i].code, "%s: %s", bad_sends[i].what, remark(&r));
    }
    ask_send(&a, "T", 0, "", "");
    is_int(answer_to(&a, &r), RC_MESSAGE_ILLEGAL, "no body: %s", remark(&r));
    memset(big, 'x', 5000000);
    ask_send(&a, "T", 0, "", "");
    a.c.body = str_n(big, 4194305);
    is_int(answer_to(&a, &r), RC_MESSAGE_ILLEGAL, "a body past maxMessageSize: %s", remark(&r));
    memcpy(big, "name\1", 5);
    for (int n = 32750; n <= 32850; n += 100) {      /* the first only with what the broker adds */
        ask_send(&a, "T", 0, "x", "");
        ask_set(&a, "i", str_n(big, (size_t)n));
        is_int(answer_to(&a, &r), RC_MESSAGE_ILLEGAL, "%d bytes of properties: %s", n, remark(&r));
    }
    memset(big, 'x', 300);
    ask_send(&a, "T", 0, "x", "");
    ask_set(&a, "b", str_n(big, 128));
    is_int(answer_to(&a, &r), RC_INVALID_PARAMETER, "a topic of 128 bytes");
    ask_set(&a, "b", str_n(big, 300));
    is_int(answer_to(&a, &r), RC_INVALID_PARAMETER, "a topic of 300 bytes");
    is_int(stored(), before, "nothing of all that was stored");
    ask_send(&a, "T", 0, "x", P("TIMER_DELIVER_MS", "1000"));
    is_int(answer_to(&a, &r), RC_SUCCESS, "a delivery time that is over is delivered at once");
    is_int(stored(), before + 1, "and stored");
    free(big);
}

static void test_one_way(void)
{
    int64_t before = queue_end("T", 3);

    ask_send(&a, "T", 3, "one way", NULL);
    a.c.flag = FLAG_ONEWAY;
    peer_send(&line, &a.c);
    wait_until(queue_end("T", 3) > before);
    is_int(queue_end("T", 3), before + 1, "a one-way send is stored");
    ask_send(&a, "T", 3, "after", NULL);
    is_int(answer_to(&a, &r), RC_SUCCESS, "and not answered: the next answer is the next send's");
}

static void test_auto_create(void)
{
    struct topic_info t;

    ask_send(&a, "auto1", 0, "x", NULL);
    is_int(answer_to(&a, &r), RC_TOPIC_NOT_EXIST, "no topic comes of a send: %s", remark(&r));
    set_key("autoCreateTopicEnable", "true");
    is_int(answer_to(&a, &r), RC_SUCCESS, "with autoCreateTopicEnable it does: %s", remark(&r));
    ok(broker_topic_get(house, str_of("auto1"), &t) == 0 && t.write_queues == 4, "with the queues the producer asked for");
    is_int(queue_end("auto1", 0), 1, "and the message is in it");
    ask_send(&a, "bad/name", 0, "x", NULL);
    is_int(answer_to(&a, &r), RC_INVALID_PARAMETER, "a bad name is refused then as well");
    ask_send(&a, "auto2", 0, "x", NULL);
    ask_text(&a, "c", "nowhere");
    is_int(answer_to(&a, &r), RC_TOPIC_NOT_EXIST, "an unknown template makes nothing: %s", remark(&r));
    set_key("autoCreateTopicEnable", "false");
}

/* ---- batch ---- */

static void batch_item(struct buf *b, int flag, const char *body, const char *properties)
{
    size_t n = strlen(body), k = strlen(properties);

    buf_be32(b, (uint32_t)(22 + n + k));
    buf_be32(b, 0);
    buf_be32(b, 0);
    buf_be32(b, (uint32_t)flag);
    buf_be32(b, (uint32_t)n);
    buf_put(b, body, n);
    buf_be16(b, (uint16_t)k);
    buf_put(b, properties, k);
}

static void ask_batch(const char *topic, struct str body)
{
    ask_send(&a, topic, 0, "", P("UNIQ_KEY", "1,2,3"));
    a.c.code = 320;
    ask_text(&a, "m", "true");
    a.c.body = body;
}

static void test_batch(void)
{
    struct buf b = {0};
    struct message m;
    char ids[200];
    int refused = 0;

    batch_item(&b, 7, "one", P("UNIQ_KEY", "1") P("TAGS", "A"));
    batch_item(&b, 0, "two", P("UNIQ_KEY", "2") P("TAGS", "B"));
    batch_item(&b, 0, "three", "");
    for (size_t cut = 0; cut < b.n; cut++) {
        ask_batch("B", str_n(b.p, cut));
        /* Cut between two messages it is a shorter batch. */
        refused += answer_to(&a, &r) == RC_MESSAGE_ILLEGAL;
    }
    is_int(refused, (int)b.n - 2, "cut anywhere within a message a batch is refused");
    is_int(queue_end("B", 0), 1 + 2, "and nothing of it is stored");

    ask_batch("B", buf_str(&b));
    is_int(answer_to(&a, &r), RC_SUCCESS, "a batch is accepted: %s", remark(&r));
    is_int(field_i64(&r, "queueOffset"), 3, "queueOffset is its first message's");
    ok(str_is(command_ext(&r, "transactionId"), "1,2,3"), "transactionId is the batch's UNIQ_KEY");
    str_copy(ids, sizeof(ids), command_ext(&r, "msgId"));
    ok(strlen(ids) == 3 * 32 + 2 && ids[32] == ',' && ids[65] == ',', "msgId lists three ids: %s", ids);
    is_int(queue_end("B", 0), 6, "three records are in the queue");
    first_message("B", 0, 3, &m);
    is_int(message_count(r.body), 3, "one after the other");
    ok(str_is(m.body, "one") && m.flag == 7 && str_is(m.properties, P("UNIQ_KEY", "1") P("TAGS", "A")),
       "each with its own flag and its properties as they came");
    ask_pull(&a, "g1", "B", 0, 3);
    ask_text(&a, "subscription", "B");
    ok(answer_to(&a, &r) == RC_SUCCESS && message_count(r.body) == 1 && message_at(r.body, 0, &m) && str_is(m.body, "two"),
       "each has its own tag");

    ask_batch("%RETRY%g1", buf_str(&b));
    is_int(answer_to(&a, &r), RC_MESSAGE_ILLEGAL, "a retry topic takes no batch: %s", remark(&r));
    ask_batch("B", buf_str(&b));
    ask_text(&a, "i", P("DELAY", "2"));
    is_int(answer_to(&a, &r), RC_MESSAGE_ILLEGAL, "a batch cannot be delayed: %s", remark(&r));
    is_int(queue_end("B", 0), 6, "nothing was stored for these");
    buf_free(&b);
}

static void test_long_batch(void)
{
    struct buf b = {0};
    int64_t before = queue_end("B", 1);

    for (int i = 0; i < 5000; i++)
        batch_item(&b, 0, "x", "");
    ask_batch("B", buf_str(&b));
    ask_i64(&a, "e", 1);
    is_int(answer_to(&a, &r), RC_SUCCESS, "a batch of 5,000 messages: %s", remark(&r));
    is_int(command_ext(&r, "msgId").n, 5000 * 33 - 1, "has 5,000 ids");
    is_int(queue_end("B", 1) - before, 5000, "and as many records");
    buf_free(&b);
}

/* ---- pull ---- */

static const struct {
    const char *what, *field, *value;
    size_t n;
    int code;
} bad_pulls[] = {
    {"an unknown group", "consumerGroup", "nobody", 0, RC_SUBSCRIPTION_GROUP_NOT_EXIST},
    {"an unknown topic", "topic", "nowhere", 0, RC_TOPIC_NOT_EXIST},
    {"a topic with a NUL", "topic", "T\0", 2, RC_TOPIC_NOT_EXIST},
    {"a negative queue", "queueId", "-1", 0, RC_INVALID_PARAMETER},
    {"a queue past the last", "queueId", "4", 0, RC_INVALID_PARAMETER},
    {"a huge queue", "queueId", "2147483647", 0, RC_INVALID_PARAMETER},
    {"an offset that is no number", "queueOffset", "x", 0, RC_INVALID_PARAMETER},
    {"an offset beyond 64 bits", "queueOffset", "9223372036854775808", 0, RC_INVALID_PARAMETER},
    {"a filter of bars", "subscription", "||", 0, RC_SUBSCRIPTION_PARSE_FAILED},
    {"a SQL filter", "expressionType", "SQL92", 0, RC_SYSTEM_ERROR},
    {"a subscription nobody sent", "sysFlag", "0", 0, RC_SUBSCRIPTION_NOT_EXIST},
    {"a negative offset", "queueOffset", "-1", 0, RC_PULL_OFFSET_MOVED},
    {"an offset past the end", "queueOffset", "9223372036854775807", 0, RC_PULL_OFFSET_MOVED},
};

static void test_pull_answers(void)
{
    for (size_t i = 0; i < sizeof(bad_pulls) / sizeof(bad_pulls[0]); i++) {
        const char *v = bad_pulls[i].value;
        ask_pull(&a, "g1", "P", 0, 0);
        ask_set(&a, bad_pulls[i].field, bad_pulls[i].n ? str_n(v, bad_pulls[i].n) : str_of(v));
        is_int(answer_to(&a, &r), bad_pulls[i].code, "%s: %s", bad_pulls[i].what, remark(&r));
    }
    is_int(field_i64(&r, "nextBeginOffset"), 3, "an offset past the end is sent to the end");
    ask_pull(&a, "g1", "P", 0, 0);
    is_int(answer_to(&a, &r), RC_SUCCESS, "a good one finds");
    is_int(message_count(r.body), 3, "what is there");
    ok(field_i64(&r, "nextBeginOffset") == 3 && field_i64(&r, "minOffset") == 0 && field_i64(&r, "maxOffset") == 3 &&
       field_i64(&r, "suggestWhichBrokerId") == 0 && field_i64(&r, "topicSysFlag") == 0 && field_i64(&r, "groupSysFlag") == 0,
       "and tells where to go on");
    ask_text(&a, "maxMsgNums", "2");
    ok(answer_to(&a, &r) == RC_SUCCESS && message_count(r.body) == 2 && field_i64(&r, "nextBeginOffset") == 2,
       "no more than it asked for");
    ask_text(&a, "maxMsgNums", "0");
    ok(answer_to(&a, &r) == RC_SUCCESS && message_count(r.body) == 1, "0 messages are one: a Go client polls so");
    ask_text(&a, "maxMsgNums", "-2147483648");
    ok(answer_to(&a, &r) == RC_SUCCESS && message_count(r.body) == 1, "and so is a negative number");
    ask_text(&a, "maxMsgNums", "2147483647");
    ok(answer_to(&a, &r) == RC_SUCCESS && message_count(r.body) == 3, "a huge number asks for what is there");
    ask_text(&a, "maxMsgBytes", "1");
    ok(answer_to(&a, &r) == RC_SUCCESS && message_count(r.body) == 1, "at least one, whatever its size");
    ask_pull(&a, "g1", "P", 0, 3);
    is_int(answer_to(&a, &r), RC_PULL_NOT_FOUND, "at the end there is nothing yet");
    is_int(field_i64(&r, "nextBeginOffset"), 3, "and it stays there");
    ask_pull(&a, "g1", "P", 1, 0);
    is_int(answer_to(&a, &r), RC_PULL_NOT_FOUND, "nor in an empty queue");
    ask_pull(&a, "g1", "P", 1, 5);
    is_int(answer_to(&a, &r), RC_PULL_OFFSET_MOVED, "where any other offset");
    is_int(field_i64(&r, "nextBeginOffset"), 0, "is sent to the beginning");
    ask_pull(&a, "g1", "P", 0, 0);
    ask_text(&a, "subscription", "nothing has this");
    is_int(answer_to(&a, &r), RC_PULL_RETRY_IMMEDIATELY, "what no message matches goes on at once");
    is_int(field_i64(&r, "nextBeginOffset"), 3, "after what was looked at (R-FILT-09)");
}

static void test_forbidden(void)
{
    struct topic_change tc = TOPIC_CHANGE_NONE;
    struct group_change gc = GROUP_CHANGE_NONE;
    struct fault f;

    set_key("brokerPermission", "2");
    ask_pull(&a, "g1", "P", 0, 0);
    is_int(answer_to(&a, &r), RC_NO_PERMISSION, "a broker that may not be read: %s", remark(&r));
    is_int(field_i64(&r, "forbiddenType"), 1, "says so");
    set_key("brokerPermission", "6");
    gc.consume_enable = 0;
    broker_group_update(house, &tester, CONSUMER_GROUP, str_of("g1"), &gc, &f);
    is_int(answer_to(&a, &r), RC_NO_PERMISSION, "a group that is switched off: %s", remark(&r));
    is_int(field_i64(&r, "forbiddenType"), 2, "says so");
    gc.consume_enable = 1;
    broker_group_update(house, &tester, CONSUMER_GROUP, str_of("g1"), &gc, &f);
    tc.perm = 2;
    broker_topic_update(house, &tester, str_of("P"), &tc, &f);
    is_int(answer_to(&a, &r), RC_NO_PERMISSION, "a topic that may not be read: %s", remark(&r));
    is_int(field_i64(&r, "forbiddenType"), 3, "says so");
    tc.perm = 6;
    broker_topic_update(house, &tester, str_of("P"), &tc, &f);
    is_int(answer_to(&a, &r), RC_SUCCESS, "and all is well again");
    set_key("litePullMessageEnable", "false");
    a.c.code = 361;
    is_int(answer_to(&a, &r), RC_NO_PERMISSION, "lite pull that is switched off: %s", remark(&r));
    set_key("litePullMessageEnable", "true");
    is_int(answer_to(&a, &r), RC_SUCCESS, "and on");
}

static void test_commit(void)
{
    int64_t offset = -1;

    ask_pull(&a, "g1", "P", 0, 1);
    ask_text(&a, "sysFlag", "5");
    ask_text(&a, "commitOffset", "2");
    is_int(answer_to(&a, &r), RC_SUCCESS, "a pull with the commit flag");
    ok(broker_offset_get(house, str_of("g1"), str_of("P"), 0, &offset) == 0 && offset == 2, "commits its offset");
    ask_text(&a, "commitOffset", "-7");
    answer_to(&a, &r);
    ok(broker_offset_get(house, str_of("g1"), str_of("P"), 0, &offset) == 0 && offset == 2, "but not a negative one");
    ask_text(&a, "sysFlag", "4");
    ask_text(&a, "commitOffset", "1");
    answer_to(&a, &r);
    ok(broker_offset_get(house, str_of("g1"), str_of("P"), 0, &offset) == 0 && offset == 2, "and without the flag none");
}

/* ---- held pulls ---- */

static struct peer waiter;

/* A pull at the queue's end that may be held, on its own connection; waits until it is. */
static void hold_one(const char *group, const char *topic, const char *tags, const char *ms)
{
    int64_t before = hold_count(house->hold);
    struct ask w;

    ask_pull(&w, group, topic, 0, queue_end(topic, 0));
    ask_text(&w, "sysFlag", "6");
    ask_text(&w, "subscription", tags);
    ask_text(&w, "suspendTimeoutMillis", ms);
    peer_send(&waiter, &w.c);
    wait_until(hold_count(house->hold) > before);
    is_int(hold_count(house->hold), before + 1, "a pull of %s at the end of %s is held", group, topic);
}

static int held_answer(void) { return peer_recv(&waiter, &r) == PEER_FRAME ? r.code : -1; }

static int send_one(const char *topic, const char *body, const char *properties)
{
    ask_send(&a, topic, 0, body, properties);
    return answer_to(&a, &r);
}

static void test_held(void)
{
    struct message m;
    int64_t start;

    waiter = peer_open(broker_port(house));
    hold_one("g1", "P", "*", "20000");
    is_int(send_one("P", "news", NULL), RC_SUCCESS, "a message comes");
    ok(held_answer() == RC_SUCCESS && message_at(r.body, 0, &m) && str_is(m.body, "news"), "and the held pull has it");
    is_int(hold_count(house->hold), 0, "nothing is held any more");

    hold_one("g1", "P", "X", "20000");
    send_one("P", "other", P("TAGS", "Y"));
    is_int(hold_count(house->hold), 1, "a message with another tag leaves it waiting");
    send_one("P", "wanted", P("TAGS", "X"));
    ok(held_answer() == RC_SUCCESS && message_count(r.body) == 1 && message_at(r.body, 0, &m) && str_is(m.body, "wanted"),
       "one with its tag does not");

    start = mono_ms();
    hold_one("g1", "P", "*", "300");
    is_int(held_answer(), RC_PULL_NOT_FOUND, "when its time is over it is answered");
    ok(mono_ms() - start >= 300 && mono_ms() - start < 5000, "not before");
    is_int(field_i64(&r, "nextBeginOffset"), queue_end("P", 0), "with the offset to go on");
    hold_one("g1", "P", "X", "300");
    send_one("P", "other", P("TAGS", "Y"));
    is_int(held_answer(), RC_PULL_RETRY_IMMEDIATELY, "over what did not match");
    is_int(field_i64(&r, "nextBeginOffset"), queue_end("P", 0), "it goes on after it");

    set_key("longPollingEnable", "false");
    set_key("shortPollingTimeMills", "100");
    start = mono_ms();
    hold_one("g1", "P", "*", "20000");
    is_int(held_answer(), RC_PULL_NOT_FOUND, "without long polling");
    ok(mono_ms() - start < 5000, "it is answered after shortPollingTimeMills");
    set_key("longPollingEnable", "true");
}

static void test_rights_of_held(void)
{
    struct topic_change tc = TOPIC_CHANGE_NONE;
    struct fault f = {0};

    hold_one("g1", "P", "*", "20000");
    tc.perm = 2;
    broker_topic_update(house, &tester, str_of("P"), &tc, &f);
    is_int(held_answer(), RC_NO_PERMISSION, "a held pull is refused when its topic may not be read any more: %s", remark(&r));
    tc.perm = 6;
    broker_topic_update(house, &tester, str_of("P"), &tc, &f);

    set_key("enforceBindings", "true");
    ask_pull(&a, "g2", "P", 0, 0);
    is_int(answer_to(&a, &r), RC_NO_PERMISSION, "without a binding a pull is refused: %s", remark(&r));
    is_int(field_i64(&r, "forbiddenType"), 5, "as a forbidden subscription");
    is_int(send_one("P", "x", NULL), RC_NO_PERMISSION, "and so is a send: %s", remark(&r));
    is_int(broker_bind(house, &tester, CONSUMER_GROUP, str_of("g2"), str_of("P"), str_of("*"), &f), 0, "once bound");
    is_int(answer_to(&a, &r), RC_NO_PERMISSION, "(the send is not)");
    ask_pull(&a, "g2", "P", 0, 0);
    is_int(answer_to(&a, &r), RC_SUCCESS, "the pull is served");
    hold_one("g2", "P", "*", "20000");
    is_int(broker_unbind(house, &tester, CONSUMER_GROUP, str_of("g2"), str_of("P"), &f), 0, "unbound while it is held");
    is_int(held_answer(), RC_NO_PERMISSION, "it is refused at once: %s", remark(&r));
    make_group(PRODUCER_GROUP, "p1");
    is_int(broker_bind(house, &tester, PRODUCER_GROUP, str_of("p1"), str_of("P"), str_of("*"), &f), 0, "a producer is bound");
    is_int(send_one("P", "x", NULL), RC_SUCCESS, "and may send");
    set_key("enforceBindings", "false");
}

static void test_reset(void)
{
    struct fault f = {0};
    int64_t offset = -1;

    hold_one("g1", "P", "*", "20000");
    is_int(broker_offset_reset(house, &tester, str_of("g1"), str_of("P"), 0, str_of("1"), &f), 0, "a reset while it is held");
    is_int(held_answer(), RC_PULL_OFFSET_MOVED, "the held pull is sent: %s", remark(&r));
    is_int(field_i64(&r, "nextBeginOffset"), 1, "there");
    ok(broker_offset_get(house, str_of("g1"), str_of("P"), 0, &offset) == 0 && offset == 1, "and that is the committed offset");
    ask_pull(&a, "g1", "P", 0, 1);
    is_int(answer_to(&a, &r), RC_SUCCESS, "the next pull reads on from there");
}

static void test_lost_topic(void)
{
    struct fault f = {0};
    struct caller admin = {.from = "mqadmin"};      /* the tree would ask for an empty topic */

    make_topic("D", 1);
    send_one("D", "x", NULL);
    hold_one("g1", "D", "*", "20000");
    is_int(broker_topic_delete(house, &admin, str_of("D"), &f), 0, "the topic of a held pull is deleted");
    is_int(held_answer(), RC_TOPIC_NOT_EXIST, "it is told: %s", remark(&r));
    make_topic("D", 1);
    hold_one("g1", "D", "*", "20000");
    send_one("D", "again", NULL);
    is_int(held_answer(), RC_SUCCESS, "made again it wakes pulls again");
}

static void test_new_group(void)
{
    struct group_info g;

    ask_pull(&a, "fresh", "P", 0, 0);
    is_int(answer_to(&a, &r), RC_SUBSCRIPTION_GROUP_NOT_EXIST, "no group comes of a pull: %s", remark(&r));
    set_key("autoCreateSubscriptionGroup", "true");
    is_int(answer_to(&a, &r), RC_SUCCESS, "with autoCreateSubscriptionGroup it does");
    is_int(broker_group_get(house, CONSUMER_GROUP, str_of("fresh"), &g), 0, "and stays");
    ask_text(&a, "consumerGroup", "bad/name");
    is_int(answer_to(&a, &r), RC_SUBSCRIPTION_GROUP_NOT_EXIST, "but not with a bad name: %s", remark(&r));
    set_key("autoCreateSubscriptionGroup", "false");
}

/* ---- send back ---- */

static void ask_back(const char *group, int64_t offset, const char *level)
{
    ask_begin(&a, 36);
    ask_i64(&a, "offset", offset);
    ask_text(&a, "group", group);
    ask_text(&a, "delayLevel", level);
    ask_text(&a, "originMsgId", "x");
    ask_text(&a, "originTopic", "P");
    ask_text(&a, "maxReconsumeTimes", "2");
}

/* Brings the message at a log offset back and waits for it in the retry topic. */
static void retry_once(int64_t at, int64_t nth, struct message *m)
{
    ask_back("g1", at, "1");
    is_int(answer_to(&a, &r), RC_SUCCESS, "sent back: %s", remark(&r));
    wait_until(queue_end("%RETRY%g1", 0) > nth);
    first_message("%RETRY%g1", 0, nth, m);
}

static void test_send_back(void)
{
    struct message m;
    char id[64];
    int64_t at, schedule = queue_end("SCHEDULE_TOPIC_XXXX", 2);

    send_one("P", "try me", P("TAGS", "A") P("UNIQ_KEY", "0F") P("DELAY", "0"));
    str_copy(id, sizeof(id), command_ext(&r, "msgId"));
    offset_id_parse(str_of(id), &(struct host){0}, &at);

    ask_back("nobody", at, "0");
    is_int(answer_to(&a, &r), RC_SUBSCRIPTION_GROUP_NOT_EXIST, "a group that is not there: %s", remark(&r));
    ask_back("g1", at + 1, "0");
    is_int(answer_to(&a, &r), RC_SYSTEM_ERROR, "a place where no message is: %s", remark(&r));
    ask_back("g1", INT64_MIN, "0");
    is_int(answer_to(&a, &r), RC_SYSTEM_ERROR, "a negative one");
    ask_back("g1", at, "0");
    is_int(answer_to(&a, &r), RC_SUCCESS, "level 0 is accepted: %s", remark(&r));
    is_int(queue_end("SCHEDULE_TOPIC_XXXX", 2), schedule + 1, "and is level 3 for the first retry");

    retry_once(at, 0, &m);
    ok(str_is(m.body, "try me") && m.reconsume_times == 1, "it comes back in the retry topic, tried once");
    ok(str_is(prop_of(&m, "RETRY_TOPIC"), "P") && str_is(prop_of(&m, "ORIGIN_MESSAGE_ID"), id) &&
       str_is(prop_of(&m, "UNIQ_KEY"), "0F") && str_is(prop_of(&m, "TAGS"), "A"), "knows where it came from");
    ok(str_is(prop_of(&m, "DELAY"), "1") && str_is(prop_of(&m, "REAL_TOPIC"), "%RETRY%g1") && str_is(prop_of(&m, "WAIT"), "false"),
       "and its delay");
    retry_once(m.physical_offset, 1, &m);
    ok(m.reconsume_times == 2 && str_is(prop_of(&m, "RETRY_TOPIC"), "P") && str_is(prop_of(&m, "ORIGIN_MESSAGE_ID"), id),
       "the second time it is still the same message");
    ask_back("g1", m.physical_offset, "1");
    is_int(answer_to(&a, &r), RC_SUCCESS, "one try too many: %s", remark(&r));
    first_message("%DLQ%g1", 0, 0, &m);
    ok(str_is(m.body, "try me") && m.reconsume_times == 3 && str_is(prop_of(&m, "RETRY_TOPIC"), "P"), "is dead");
    ask_back("g1", at, "-1");
    is_int(answer_to(&a, &r), RC_SUCCESS, "a negative level: %s", remark(&r));
    is_int(queue_end("%DLQ%g1", 0), 2, "is dead at once");
}

/* A client that cannot send back sends to the retry topic itself. */
static void test_send_to_retry(void)
{
    int64_t before = queue_end("%RETRY%g1", 0);
    struct message m;

    ask_send(&a, "%RETRY%g1", 0, "by hand", P("DELAY", "1") P("RETRY_TOPIC", "P"));
    ask_text(&a, "j", "1");
    ask_text(&a, "l", "2");
    is_int(answer_to(&a, &r), RC_SUCCESS, "a send to the retry topic: %s", remark(&r));
    wait_until(queue_end("%RETRY%g1", 0) > before);
    is_int(queue_end("%RETRY%g1", 0), before + 1, "arrives after its delay");
    ask_text(&a, "j", "3");
    is_int(answer_to(&a, &r), RC_SUCCESS, "tried more than allowed: %s", remark(&r));
    first_message("%DLQ%g1", 0, 2, &m);
    ok(str_is(m.body, "by hand") && str_is(prop_of(&m, "DELAY"), "-1"), "it is dead");
    ask_send(&a, "%RETRY%g2", 0, "first", P("RETRY_TOPIC", "P"));
    is_int(answer_to(&a, &r), RC_SUCCESS, "a group's missing retry topic is made: %s", remark(&r));
    is_int(queue_end("%RETRY%g2", 0), 1, "and has the message");
}

/* ---- the disk ---- */

static void test_sync_flush(void)
{
    static const char *const keys[] = {"flushDiskType", "SYNC_FLUSH", "messageDelayLevel", "1s 2s 3s 1d", NULL};
    struct store_stats s;
    struct command last;
    int64_t last_offset = 0, at;
    char id[64];

    house_close();
    house_open(keys);
    is_int(send_one("T", "safe", NULL), RC_SUCCESS, "with SYNC_FLUSH a send is answered: %s", remark(&r));
    store_stats(broker_store(house), &s);
    str_copy(id, sizeof(id), command_ext(&r, "msgId"));
    ok(offset_id_parse(str_of(id), &(struct host){0}, &at) == 0 && s.flushed > at, "when it is on disk");
    is_int(send_one("T", "unsafe", P("WAIT", "false")), RC_SUCCESS, "with WAIT=false it need not be");
    for (int i = 0; i < 100; i++) {
        ask_send(&a, "T", 0, "many", NULL);
        peer_send(&line, &a.c);
    }
    for (int i = 0; i < 100 && peer_recv(&line, &last) == PEER_FRAME && last.code == RC_SUCCESS; i++)
        last_offset = field_i64(&last, "queueOffset");
    is_int(last_offset, queue_end("T", 0) - 1, "100 at once are all answered");
}

static void test_end(void)
{
    hold_one("g1", "P", "*", "20000");
    peer_close(&line);
    broker_close(house);
    is_int(held_answer(), RC_PULL_NOT_FOUND, "when the broker stops, what it holds is answered");
    peer_close(&waiter);
}

int main(void)
{
    static const char *const keys[] = {"messageDelayLevel", "1s 2s 3s 1d", NULL};

    house_open(keys);
    make_topic("T", 4);
    make_topic("R", 4);
    make_topic("B", 4);
    make_topic("P", 4);
    make_group(CONSUMER_GROUP, "g1");
    make_group(CONSUMER_GROUP, "g2");
    test_send();
    test_send_v1();
    test_random_queue();
    test_bad_sends();
    test_one_way();
    test_auto_create();
    test_batch();
    test_long_batch();
    send_one("P", "one", NULL);
    send_one("P", "two", NULL);
    send_one("P", "three", NULL);
    test_pull_answers();
    test_forbidden();
    test_commit();
    test_held();
    test_rights_of_held();
    test_reset();
    test_lost_topic();
    test_new_group();
    peer_close(&waiter);
    test_send_back();
    test_send_to_retry();
    test_sync_flush();
    waiter = peer_open(broker_port(house));
    test_end();
    return tap_done();
}
