/* The tables of topics and groups: Apache's files in and out, what we do not know
 * in them, files broken at every byte, attributes, ids, and who may do what.
 * (R-TOP-02, R-TOP-12, R-GOV-01, R-GOV-02, R-GOV-03, R-GOV-10, R-GOV-12) */
#include "broker/meta.h"

#include <errno.h>
#include <time.h>

#include "broker/attributes.h"
#include "common/codes.h"
#include "common/log.h"
#include "tests/unit/tap.h"

#define S(z) str_of(z)

static struct meta *m;

static void fresh(void)
{
    meta_close(m);
    if (meta_open(NULL, &m))
        exit(2);
}

static char *encoded(void (*encode)(struct meta *m, struct buf *out))
{
    struct buf b = {0};

    encode(m, &b);
    return buf_take(&b);
}

/* ---- files ---- */

/* As Apache 5.5.0 writes them, with an owner and with members of a broker to come. */
static const char topics[] =
    "{\n\t\"dataVersion\":{\n\t\t\"counter\":12,\n\t\t\"stateVersion\":1,\n\t\t\"timestamp\":1700000000000\n\t},\n"
    "\t\"topicConfigTable\":{\n"
    "\t\t\"TopicA\":{\n\t\t\t\"attributes\":{\n\t\t\t\t\"message.type\":\"FIFO\",\n\t\t\t\t\"mqfs.owner\":\"alice\"\n\t\t\t},\n"
    "\t\t\t\"order\":true,\n\t\t\t\"perm\":4,\n\t\t\t\"placement\":{\n\t\t\t\t\"racks\":[\n\t\t\t\t\t1,\n\t\t\t\t\t2\n\t\t\t\t]\n\t\t\t},\n"
    "\t\t\t\"readQueueNums\":3,\n\t\t\t\"topicFilterType\":\"MULTI_TAG\",\n\t\t\t\"topicName\":\"TopicA\",\n"
    "\t\t\t\"topicSysFlag\":1,\n\t\t\t\"writeQueueNums\":2,\n\t\t\t\"zone\":\"z1\"\n\t\t},\n"
    "\t\t\"%RETRY%g1\":{\n\t\t\t\"attributes\":{},\n\t\t\t\"order\":false,\n\t\t\t\"perm\":6,\n\t\t\t\"readQueueNums\":1,\n"
    "\t\t\t\"topicFilterType\":\"SINGLE_TAG\",\n\t\t\t\"topicName\":\"%RETRY%g1\",\n\t\t\t\"topicSysFlag\":0,\n\t\t\t\"writeQueueNums\":1\n\t\t}\n"
    "\t}\n}";

static const char groups[] =
    "{\n\t\"dataVersion\":{\n\t\t\"counter\":2,\n\t\t\"stateVersion\":0,\n\t\t\"timestamp\":1700000000001\n\t},\n"
    "\t\"forbiddenTable\":{\n\t\t\"g1\":{\n\t\t\t\"TopicB\":1\n\t\t}\n\t},\n"
    "\t\"subscriptionGroupTable\":{\n"
    "\t\t\"g1\":{\n\t\t\t\"attributes\":{\n\t\t\t\t\"mqfs.owner\":\"bob\",\n\t\t\t\t\"priority.factor\":\"50\"\n\t\t\t},\n\t\t\t\"brokerId\":0,\n"
    "\t\t\t\"consumeBroadcastEnable\":false,\n\t\t\t\"consumeEnable\":true,\n\t\t\t\"consumeFromMinEnable\":false,\n"
    "\t\t\t\"consumeMessageOrderly\":true,\n\t\t\t\"consumeTimeoutMinute\":20,\n\t\t\t\"groupName\":\"g1\",\n"
    "\t\t\t\"groupRetryPolicy\":{\n\t\t\t\t\"exponentialRetryPolicy\":{\n\t\t\t\t\t\"initial\":1000\n\t\t\t\t},\n\t\t\t\t\"type\":\"EXPONENTIAL\"\n\t\t\t},\n"
    "\t\t\t\"groupSysFlag\":3,\n\t\t\t\"notifyConsumerIdsChangedEnable\":false,\n\t\t\t\"retryMaxTimes\":5,\n\t\t\t\"retryQueueNums\":2,\n"
    "\t\t\t\"shadow\":true,\n"
    "\t\t\t\"subscriptionDataSet\":[\n\t\t\t\t{\n\t\t\t\t\t\"expression\":\"*\",\n\t\t\t\t\t\"expressionType\":\"TAG\",\n\t\t\t\t\t\"topic\":\"TopicA\",\n\t\t\t\t\t\"version\":7\n\t\t\t\t},\n"
    "\t\t\t\t{\n\t\t\t\t\t\"expression\":\"a > 3\",\n\t\t\t\t\t\"expressionType\":\"SQL92\",\n\t\t\t\t\t\"topic\":\"TopicB\",\n\t\t\t\t\t\"version\":8\n\t\t\t\t}\n\t\t\t],\n"
    "\t\t\t\"whichBrokerWhenConsumeSlowly\":1\n\t\t},\n"
    "\t\t\"g2\":{\n\t\t\t\"attributes\":{},\n\t\t\t\"brokerId\":0,\n\t\t\t\"consumeBroadcastEnable\":true,\n\t\t\t\"consumeEnable\":true,\n"
    "\t\t\t\"consumeFromMinEnable\":true,\n\t\t\t\"consumeMessageOrderly\":false,\n\t\t\t\"consumeTimeoutMinute\":15,\n\t\t\t\"groupName\":\"g2\",\n"
    "\t\t\t\"groupRetryPolicy\":{\n\t\t\t\t\"type\":\"CUSTOMIZED\"\n\t\t\t},\n\t\t\t\"groupSysFlag\":0,\n\t\t\t\"notifyConsumerIdsChangedEnable\":true,\n"
    "\t\t\t\"retryMaxTimes\":16,\n\t\t\t\"retryQueueNums\":1,\n\t\t\t\"whichBrokerWhenConsumeSlowly\":1\n\t\t}\n"
    "\t}\n}";

static const char producers[] =
    "{\n\t\"dataVersion\":{\n\t\t\"counter\":1,\n\t\t\"stateVersion\":0,\n\t\t\"timestamp\":5\n\t},\n"
    "\t\"producerGroupTable\":{\n\t\t\"p1\":{\n\t\t\t\"attributes\":{\n\t\t\t\t\"mqfs.owner\":\"carol\"\n\t\t\t},\n\t\t\t\"groupName\":\"p1\",\n"
    "\t\t\t\"subscriptionDataSet\":[\n\t\t\t\t{\n\t\t\t\t\t\"expression\":\"*\",\n\t\t\t\t\t\"expressionType\":\"TAG\",\n\t\t\t\t\t\"topic\":\"TopicA\",\n\t\t\t\t\t\"version\":9\n\t\t\t\t}\n\t\t\t]\n\t\t}\n\t}\n}";

static const struct table {
    const char *name, *text;
    int (*decode)(struct meta *m, struct str text);
    void (*encode)(struct meta *m, struct buf *out);
    const char *member;
} tables[] = {
    {"topics.json", topics, meta_decode_topics, meta_encode_topics, "topicConfigTable"},
    {"subscriptionGroup.json", groups, meta_decode_groups, meta_encode_groups, "subscriptionGroupTable"},
    {"producerGroup.json", producers, meta_decode_producers, meta_encode_producers, "producerGroupTable"},
};
#define N_TABLES (sizeof(tables) / sizeof(tables[0]))

static void test_round_trip(void)
{
    for (size_t i = 0; i < N_TABLES; i++) {
        char *text;

        fresh();
        is_int(tables[i].decode(m, S(tables[i].text)), 0, "%s is read", tables[i].name);
        text = encoded(tables[i].encode);
        is_text(text, tables[i].text,
                "and written it is the same, byte for byte, unknown members included");
        free(text);
    }
}

static void test_topic_values(void)
{
    struct topic *t;

    fresh();
    meta_decode_topics(m, S(topics));
    t = meta_topic(m, S("TopicA"));
    if (!ok(t != NULL, "TopicA is there"))
        return;
    is_int(t->info.read_queues, 3, "read queues");
    is_int(t->info.write_queues, 2, "write queues");
    is_int(t->info.perm, 4, "permission");
    is_int(t->info.sys_flag, 1, "flags");
    ok(t->info.order && t->info.multi_tag && !t->info.system, "order, filter type, no system topic");
    is_text(t->info.owner, "alice", "the owner is an attribute");
    is_text(t->info.type, "FIFO", "so is the message type");
    ok(meta_topic(m, S("%RETRY%g1")) != NULL, "a retry topic is a topic");
    ok(!meta_topic(m, S("Topic")) && !meta_topic(m, S("")), "others are not there");
    is_int(m->topic_version.counter, 12, "the version goes on where Apache's was");
}

static void test_group_values(void)
{
    struct binding *b;
    struct group *g;

    fresh();
    meta_decode_groups(m, S(groups));
    g = meta_group(m, CONSUMER_GROUP, S("g1"));
    if (!ok(g != NULL, "g1 is there"))
        return;
    ok(g->info.consume_enable && !g->info.consume_from_min_enable && !g->info.consume_broadcast_enable &&
       g->info.consume_orderly &&
           !g->info.notify_ids_changed, "its switches");
    is_int(g->info.retry_max, 5, "retryMaxTimes");
    is_int(g->info.retry_queues, 2, "retryQueueNums");
    is_int(g->info.consume_timeout_minute, 20, "consumeTimeoutMinute");
    is_text(g->info.owner, "bob", "the owner is an attribute");
    b = group_binding(g, S("TopicA"));
    ok(b && strcmp(b->info.filter, "*") == 0 && !b->sql && b->info.version == 7,
       "a subscription is a binding");
    b = group_binding(g, S("TopicB"));
    ok(b && strcmp(b->info.filter, "sql: a > 3") == 0 && b->sql, "one with SQL says so");
    ok(!group_binding(g, S("TopicC")), "there is no third");
    ok(!meta_group(m, PRODUCER_GROUP, S("g1")), "a consumer group is no producer group");
    g = meta_group(m, CONSUMER_GROUP, S("g2"));
    ok(g && !g->bindings && g->info.retry_max == 16, "a group without bindings has Apache's defaults");
}

static void test_defaults_of_absent_members(void)
{
    struct topic *t;
    struct group *g;

    fresh();
    is_int(meta_decode_topics(m,
                              S("{\"topicConfigTable\":{\"A\":{},\"B\":{\"perm\":99,\"readQueueNums\":-5,\"writeQueueNums\":9999999,\"order\":\"true\"}}}")),
           0, "a topic of nothing");
    t = meta_topic(m, S("A"));
    ok(t && t->info.read_queues == 16 && t->info.write_queues == 16 && t->info.perm == 6,
       "has Apache's defaults");
    t = meta_topic(m, S("B"));
    ok(t && t->info.perm <= 15 && t->info.read_queues >= 0 && t->info.write_queues <= 65536 &&
       t->info.order, "numbers that cannot be are brought within bounds");
    is_int(meta_decode_groups(m,
                              S("{\"subscriptionGroupTable\":{\"g\":{\"subscriptionDataSet\":[5,{},{\"topic\":\"a/b\"},{\"topic\":\"T\"}]}}}")), 0,
           "a group with odd subscriptions");
    g = meta_group(m, CONSUMER_GROUP, S("g"));
    ok(g && HASH_COUNT(g->bindings) == 1 && group_binding(g, S("T")) &&
       strcmp(group_binding(g, S("T"))->info.filter, "*") == 0, "keeps the one that is a subscription");
    is_int(meta_decode_topics(m,
                              S("{\"topicConfigTable\":{\"a/b\":{},\"../x\":{},\"\":{},\"ok\":{},\"a+b\":{},\"%RETRY%g+T\":{}}}")), 0, "topics with illegal names");
    is_int(HASH_COUNT(m->topics), 2, "are left out");
    ok(meta_topic(m, S("%RETRY%g+T")) != NULL, "but not the retry topics of Apache's POP");
}

static void test_broken_files(void)
{
    static const char *const bad[] = {"", "[]", "7", "null", "{", "{}}", "{\"%s\":5}", "{\"%s\":[]}",
                                      "{\"%s\":{\"x\":5}}", "{\"%s\":{\"x\":[]}}"};
    unsigned seed = (unsigned)time(NULL);

    for (size_t i = 0; i < N_TABLES; i++) {
        size_t n = strlen(tables[i].text), accepted = 0;
        char *text = strdup(tables[i].text);
        struct buf b = {0};

        for (size_t k = 0; k < sizeof(bad) / sizeof(bad[0]); k++) {
            const char *hole = strstr(bad[k], "%s");

            buf_reset(&b);
            buf_put(&b, bad[k], hole ? (size_t)(hole - bad[k]) : strlen(bad[k]));
            if (hole) {
                buf_puts(&b, tables[i].member);
                buf_puts(&b, hole + 2);
            }
            is_int(tables[i].decode(m, buf_str(&b)), -EBADMSG, "%s: refused: %.*s", tables[i].name,
                   STR_ARG(buf_str(&b)));
        }
        for (size_t k = 0; k < n; k++)
            accepted += tables[i].decode(m, str_n(text, k)) == 0;
        is_int(accepted, 0, "%s: cut off at any byte it is refused", tables[i].name);
        printf("# seed %u\n", seed);
        for (int k = 0; k < 3000; k++) {
            memcpy(text, tables[i].text, n);
            for (int flips = 0; flips < 3; flips++)
                text[(size_t)rand_r(&seed) % n] = (char)rand_r(&seed);
            if (tables[i].decode(m, str_n(text, n)) == 0)
                free(encoded(tables[i].encode));
        }
        is_int(tables[i].decode(m, S(tables[i].text)), 0,
               "%s: after 3000 with flipped bytes the good one is read", tables[i].name);
        buf_free(&b);
        free(text);
    }
}

/* ---- ids ---- */

static struct topic *add_topic(const char *name)
{
    struct topic *t = topic_new(S(name));

    if (!t || meta_add_topic(m, t))
        exit(2);
    return t;
}

static void test_ids(void)
{
    struct topic *a, *b, *c;

    fresh();
    a = add_topic("A");
    b = add_topic("B");
    c = add_topic("C");
    ok(a->info.id == 1 && b->info.id == 2 && c->info.id == 3, "topics are numbered from 1");
    meta_remove_topic(m, b);
    ok(!meta_topic(m, S("B")) && !m->topic_by_id[2], "a removed topic is in neither table");
    meta_add_topic(m, b);
    ok(meta_topic(m, S("B")) == b && b->info.id == 2 && m->topic_by_id[2] == b,
       "put back it has its old id");
    meta_remove_topic(m, b);
    topic_free(b);
    is_int(add_topic("D")->info.id, 4, "ids are not given again");
    for (int i = 0; i < 1000; i++) {
        char name[16];
        snprintf(name, sizeof(name), "T%d", i);
        add_topic(name);
    }
    ok(m->topic_by_id[1] == a && m->topic_by_id[1004] == meta_topic(m, S("T999")),
       "a thousand topics later all are at their ids");
    meta_topics_changed(m, a);
    ok(a->generation == m->topic_changes && m->topic_version.counter == 1 && m->topic_version.timestamp > 0,
       "a change stamps the topic and moves the version");
}

/* ---- attributes ---- */

static int change(struct attribute **list, enum attribute_of of, bool create, const char *text,
                  struct fault *f)
{
    struct broker_config conf = {0};

    memset(f, 0, sizeof(*f));
    return attributes_change(list, of, create, S(text), &conf, f);
}

static void test_attributes(void)
{
    static const struct { const char *text; bool create; } bad[] = {
        {"message.type=FIFO", true}, {"+message.type", true}, {"-message.type=FIFO", false},
            {"+message.type=SOMETHING", true},
        {"+message.type=MIXED", true}, {"+message.type=LITE", true}, {"+message.type=PRIORITY", false},
        {"+queue.type=BatchCQ", true},
        {"+cleanup.policy=COMPACTION", true}, {"+cleanup.policy=DELETE", false}, {"+reserve.time=5", true},
        {"+lite.topic.expiration=3", true}, {"+no.such=1", true}, {"-message.type", true},
        {"-message.type", false},
        {"+message.type=FIFO,+message.type=NORMAL", true}, {"+mqfs.owner=a b", true},
        {"+mqfs.owner=a/b", true}, {",", true}, {"+", true},
        {"-", false}, {"+=", true}, {"x", false}, {"+message.type=FIFO,,+mqfs.owner=a", true},
        {"+mqfs.owner=0123456789012345678901234567890123456789012345678901234567890123456789", true},
    };
    struct attribute *list = NULL;
    struct fault f;

    is_int(change(&list, ATTRIBUTES_OF_TOPIC, true,
                  "+message.type=FIFO, +mqfs.owner=alice,+cleanup.policy=DELETE,+queue.type=SimpleCQ", &f),
                  0,
           "attributes of a new topic");
    is_text(attribute_get(list, "message.type"), "FIFO", "are set");
    is_text(attribute_get(list, "mqfs.owner"), "alice", "the owner among them");
    ok(strcmp(list->key, "cleanup.policy") == 0 && strcmp(list->next->key, "message.type") == 0,
       "and kept in the order of their names");
    is_int(change(&list, ATTRIBUTES_OF_TOPIC, false, "+message.type=DELAY,-mqfs.owner,+queue.type=SimpleCQ",
                  &f), 0, "a change");
    is_text(attribute_get(list, "message.type"), "DELAY", "changes");
    ok(!attribute_get(list, "mqfs.owner"), "and takes away");
    is_int(change(&list, ATTRIBUTES_OF_TOPIC, false, "-queue.type", &f), -EINVAL,
           "what is not changeable stays: %s", f.text);
    is_int(change(&list, ATTRIBUTES_OF_TOPIC, false, "", &f), 0, "no change at all");
    is_int(change(&list, ATTRIBUTES_OF_TOPIC, false, "+message.type=FIFO,", &f), 0,
           "a comma at the end, as Java's split has it");
    attributes_free(&list);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int rc = change(&list, ATTRIBUTES_OF_TOPIC, bad[i].create, bad[i].text, &f);

        ok(rc == -EINVAL && f.rc == RC_INVALID_PARAMETER && f.text[0], "refused \"%s\": %s", bad[i].text,
           f.text);
        attributes_free(&list);
    }
    is_int(change(&list, ATTRIBUTES_OF_GROUP, true, "+mqfs.owner=bob", &f), 0, "an owner of a group");
    is_int(change(&list, ATTRIBUTES_OF_GROUP, false, "+priority.factor=50", &f), -EINVAL, "no POP yet: %s",
           f.text);
    is_int(change(&list, ATTRIBUTES_OF_GROUP, false, "+message.type=FIFO", &f), -EINVAL,
           "a group has no message type");
    is_int(owner_change(&list, "dave", &f), 0, "another owner");
    is_text(attribute_get(list, OWNER_ATTRIBUTE), "dave", "is set");
    is_int(owner_change(&list, "", &f), 0, "nobody");
    ok(!list, "is no attribute");
}

/* ---- rights ---- */

static void test_bound(void)
{
    static char trace[] = "MyTrace";
    static const struct { enum group_kind kind; const char *group, *topic; bool may; } cases[] = {
        {CONSUMER_GROUP, "g1", "TopicA", true},
        {CONSUMER_GROUP, "g1", "TopicB", true},
        {CONSUMER_GROUP, "g1", "TopicC", false},
        {CONSUMER_GROUP, "g2", "TopicA", false},
        {CONSUMER_GROUP, "unknown", "TopicA", false},
        {CONSUMER_GROUP, "p1", "TopicA", false},
        {CONSUMER_GROUP, "", "TopicA", false},
        {CONSUMER_GROUP, "g1", "%RETRY%g1", true},
        {CONSUMER_GROUP, "g1", "%DLQ%g1", true},
        {CONSUMER_GROUP, "g1", "%RETRY%g2", false},
        {CONSUMER_GROUP, "g1", "%RETRY%g1x", false},
        {CONSUMER_GROUP, "TOOLS_CONSUMER", "TopicA", true},
        {CONSUMER_GROUP, "g2", "SELF_TEST_TOPIC", true},
        {CONSUMER_GROUP, "g2", "SCHEDULE_TOPIC_XXXX", false},
        {CONSUMER_GROUP, "g2", "RMQ_SYS_TRANS_HALF_TOPIC", false},
        {CONSUMER_GROUP, "g2", "rmq_sys_wheel_timer", false},
        {CONSUMER_GROUP, "g2", "rmq_sys_other", true},
        {CONSUMER_GROUP, "TOOLS_CONSUMER", "SCHEDULE_TOPIC_XXXX", true},
        {PRODUCER_GROUP, "p1", "TopicA", true},
        {PRODUCER_GROUP, "p1", "TopicB", false},
        {PRODUCER_GROUP, "g1", "TopicA", false},
        {PRODUCER_GROUP, "unknown", "TopicA", false},
        {PRODUCER_GROUP, "CLIENT_INNER_PRODUCER", "TopicA", false},
        {PRODUCER_GROUP, "CLIENT_INNER_PRODUCER", "%RETRY%g1", true},
        {PRODUCER_GROUP, "CLIENT_INNER_PRODUCER", "%DLQ%g1", false},
        {PRODUCER_GROUP, "DEFAULT_PRODUCER", "TopicA", false},
        {PRODUCER_GROUP, "unknown", "MyTrace", true},
        {PRODUCER_GROUP, "unknown", "RMQ_SYS_TRACE_TOPIC", true},
    };
    struct broker_config conf = {.enforce_bindings = true, .msg_trace_topic_name = trace};
    struct fault f = {0};

    fresh();
    meta_decode_topics(m, S(topics));
    meta_decode_groups(m, S(groups));
    meta_decode_producers(m, S(producers));
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int rc = meta_bound(m, &conf, cases[i].kind, S(cases[i].group), S(cases[i].topic), &f);

        ok(rc == (cases[i].may ? 0 : -EACCES) && (cases[i].may || f.rc == RC_NO_PERMISSION), "%s %s %s %s",
           cases[i].kind == CONSUMER_GROUP ? "group" : "producer group", cases[i].group,
           cases[i].may ? "may use" : "may not use", cases[i].topic);
    }
    meta_bound(m, &conf, CONSUMER_GROUP, S("g2"), S("TopicA"), &f);
    is_text(f.text,
            "group g2 is not bound to topic TopicA: make /groups/g2/bindings/TopicA (or ask the topic's owner alice)",
            "the sentence says which file to make and whom to ask");
    meta_bound(m, &conf, PRODUCER_GROUP, S("p9"), S("TopicC"), &f);
    is_text(f.text,
            "producer group p9 is not bound to topic TopicC: make /producers/p9 and then /producers/p9/bindings/TopicC", "also for a group to be made");
    conf.enforce_bindings = false;
    is_int(meta_bound(m, &conf, CONSUMER_GROUP, S("unknown"), S("TopicC"), &f), 0,
           "without enforceBindings all may");
}

int main(void)
{
    log_open("/dev/null", LOG_ERROR);
    test_round_trip();
    test_topic_values();
    test_group_values();
    test_defaults_of_absent_members();
    test_broken_files();
    test_ids();
    test_attributes();
    test_bound();
    meta_close(m);
    return tap_done();
}
