/* The verbs of governance over a whole broker: what they change, what they
 * refuse, that a refused one changes nothing (a save that fails included), that
 * all of it is on disk, audited, and there again after a restart.
 * (R-TOP-03, R-TOP-04, R-TOP-05, R-TOP-08, R-OFF-08, R-OFF-13, R-GOV-01 to R-GOV-04, R-GOV-06, R-GOV-07) */
#include "tests/unit/tap.h"

#include "tests/unit/peer.h"
#include "tests/unit/broker_help.h"

#include <pthread.h>

#include "broker/offset_reset.h"
#include "broker/offsets.h"
#include "broker/topics_auto.h"
#include "broker/verbs.h"
#include "common/file.h"
#include "common/log.h"

#define S(z) str_of(z)

static const struct caller wire = {.from = "192.0.2.7:5000"};
static struct fault f;
static struct ask a;
static struct command r;

/* ---- looking at the disk ---- */

static char *text_of(const char *name)
{
    static char *text;
    char path[200];
    struct buf b = {0};

    free(text);
    snprintf(path, sizeof(path), "%s/%s", house_dir, name);
    if (file_read(path, 1 << 24, &b))
        buf_puts(&b, "");
    buf_putc(&b, 0);
    text = b.p;
    return text;
}

static bool on_disk(const char *file, const char *what) { return strstr(text_of(file), what) != NULL; }

/* While a directory stands where the new file would be written, no save of it succeeds. */
static void break_saves(const char *file, bool broken)
{
    char path[200];

    snprintf(path, sizeof(path), "%s/config/%s.tmp", house_dir, file);
    if (broken ? mkdir(path, 0700) : rmdir(path)) {
        perror("# breaking saves");
        exit(2);
    }
}

/* ---- events ---- */

static char events[4096];
static pthread_mutex_t events_lock = PTHREAD_MUTEX_INITIALIZER;

static void on_event(void *ctx, enum broker_event kind, enum event_what what, struct str name,
                     struct str sub)
{
    static const char *const kinds[] = {"topic", "group", "producer", "group_binding", "producer_binding",
                                        "config"};
    static const char signs[] = "+~-";
    size_t n;

    pthread_mutex_lock(&events_lock);
    n = strlen(events);
    if (n < sizeof(events) - 600)
        snprintf(events + n, sizeof(events) - n, "%c%s:%.*s%s%.*s ", signs[what], kinds[kind],
                 STR_ARG(name), sub.n ? "/" : "", STR_ARG(sub));
    pthread_mutex_unlock(&events_lock);
}

static const char *take_events(void)
{
    static char taken[4096];

    pthread_mutex_lock(&events_lock);
    strcpy(taken, events);
    events[0] = 0;
    pthread_mutex_unlock(&events_lock);
    return taken;
}

/* ---- topics ---- */

static struct topic_info topic(const char *name)
{
    struct topic_info t;

    if (broker_topic_get(house, S(name), &t))
        memset(&t, 0, sizeof(t));
    return t;
}

static void test_topic_create(void)
{
    struct topic_change ch = TOPIC_CHANGE_NONE;

    take_events();
    ch.owner = "alice";
    ch.read_queues = 3;
    ch.write_queues = 2;
    ch.attributes = "+message.type=FIFO";
    is_int(broker_topic_create(house, &tester, S("A"), &ch, &f), 0, "a topic is made");
    ok(topic("A").read_queues == 3 && topic("A").write_queues == 2 && topic("A").perm == 6 &&
       !topic("A").system, "as it was asked for");
    is_text(topic("A").owner, "alice", "with its owner");
    is_text(topic("A").type, "FIFO", "and its type");
    ok(topic("A").created > 0 && topic("A").last_time == 0 && topic("A").id > 0, "times and id");
    ok(on_disk("config/topics.json", "\"mqfs.owner\":\"alice\"") &&
       on_disk("config/topics.json", "\"A\":{"), "it is on disk");
    ok(on_disk("audit.log",
               "\"user\":\"tester\",\"from\":\"test\",\"what\":\"topic.create\",\"path\":\"/A\""),
               "and in the audit file");
    is_text(take_events(), "+topic:A ", "the listener hears of it");
    is_int(broker_topic_create(house, &tester, S("A"), &ch, &f), -EEXIST, "not twice: %s", f.text);
    is_int(broker_topic_create(house, &tester, S("P"), &(struct topic_change)TOPIC_CHANGE_NONE, &f), 0,
           "without any wish");
    is_int(topic("P").read_queues, 8, "it has defaultTopicQueueNums queues");
    take_events();
}

static void test_topic_refusals(void)
{
    static const struct { const char *name; struct topic_change ch; int err; } bad[] = {
        {"a/b", TOPIC_CHANGE_NONE, EINVAL}, {"", TOPIC_CHANGE_NONE, EINVAL},
            {"..", TOPIC_CHANGE_NONE, EINVAL}, {"a b", TOPIC_CHANGE_NONE, EINVAL},
        {"\xc3\xa9", TOPIC_CHANGE_NONE, EINVAL},
        {"TBW102", TOPIC_CHANGE_NONE, EPERM}, {"SCHEDULE_TOPIC_XXXX", TOPIC_CHANGE_NONE, EPERM},
        {"b", TOPIC_CHANGE_NONE, EPERM},
        {"rmq_sys_x", TOPIC_CHANGE_NONE, EPERM},
        {"N", {0, -1, -1, -1, -1, -1, NULL, NULL}, EINVAL},
        {"N", {-1, 16385, -1, -1, -1, -1, NULL, NULL}, EINVAL},
        {"N", {-2, -1, -1, -1, -1, -1, NULL, NULL}, EINVAL},
        {"N", {INT32_MAX, -1, -1, -1, -1, -1, NULL, NULL}, EINVAL},
        {"N", {-1, -1, 8, -1, -1, -1, NULL, NULL}, EINVAL},
        {"N", {-1, -1, -3, -1, -1, -1, NULL, NULL}, EINVAL},
        {"N", {-1, -1, -1, -1, -1, -1, "a b", NULL}, EINVAL},
        {"N", {-1, -1, -1, -1, -1, -1, NULL, "+message.type=LITE"}, EINVAL},
        {"N", {-1, -1, -1, -1, -1, -1, NULL, "-message.type"}, EINVAL},
    };
    char longest[300];
    size_t n = broker_topic_count(house);

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int rc;

        memset(&f, 0, sizeof(f));
        rc = broker_topic_put(house, &tester, S(bad[i].name), &bad[i].ch, &f);
        ok(rc == -bad[i].err && f.err == bad[i].err && f.rc == RC_INVALID_PARAMETER && f.text[0],
           "\"%s\" is refused: %s", bad[i].name, f.text);
    }
    memset(longest, 'x', sizeof(longest));
    is_int(broker_topic_put(house, &tester, str_n(longest, 128), &bad[0].ch, &f), -EINVAL,
           "a name of 128 bytes");
    is_int(broker_topic_put(house, &tester, str_n("a\0b", 3), &bad[0].ch, &f), -EINVAL,
           "a name with a NUL");
    is_int(broker_topic_update(house, &tester, S("none"), &bad[0].ch, &f), -ENOENT,
           "a change of nothing: %s", f.text);
    is_int(f.rc, RC_TOPIC_NOT_EXIST, "is TOPIC_NOT_EXIST on the wire");
    is_int(broker_topic_count(house), n, "no topic came by that");
    is_text(take_events(), "", "and nobody heard of it");
}

static void test_topic_update(void)
{
    struct topic_change ch = TOPIC_CHANGE_NONE;
    struct queue_info q;
    uint32_t id = topic("A").id;
    int64_t gen;

    ch.perm = 4;
    ch.owner = "bob";
    is_int(broker_topic_update(house, &tester, S("A"), &ch, &f), 0, "a change of two values");
    ok(topic("A").perm == 4 && topic("A").read_queues == 3 && topic("A").id == id,
       "changes them and no others");
    is_text(topic("A").type, "FIFO", "attributes stay");
    ok(on_disk("audit.log", "\"what\":\"topic.change\",\"path\":\"/A/perm\",\"old\":\"6\",\"new\":\"4\"") &&
       on_disk("audit.log", "\"path\":\"/A/owner\",\"old\":\"alice\",\"new\":\"bob\""),
       "the audit file has a line for each, old and new");
    is_text(take_events(), "~topic:A ", "the listener hears of one change");
    meta_read(house->meta);
    gen = meta_topic(house->meta, S("A"))->generation;
    meta_done(house->meta);
    is_int(broker_topic_update(house, &tester, S("A"), &ch, &f), 0, "the same again");
    meta_read(house->meta);
    is_int(meta_topic(house->meta, S("A"))->generation, gen, "is no change");
    meta_done(house->meta);
    is_text(take_events(), "", "and no event");
    ch = (struct topic_change)TOPIC_CHANGE_NONE;
    ch.read_queues = ch.write_queues = 5;
    ch.perm = 6;
    is_int(broker_topic_put(house, &tester, S("A"), &ch, &f), 0, "more queues");
    is_int(broker_queue_get(house, S("A"), 4, &q), 0, "are there at once");
    is_int(broker_queue_get(house, S("A"), 5, &q), -ENOENT, "and no more than they");
    ch.read_queues = ch.write_queues = 1;
    is_int(broker_topic_put(house, &tester, S("A"), &ch, &f), 0, "fewer queues");
    is_int(broker_queue_get(house, S("A"), 1, &q), -ENOENT, "are fewer");
    is_int(broker_queue_get(house, S("A"), -1, &q), -ENOENT, "there is no queue -1");
    ch.read_queues = 5;
    broker_topic_put(house, &tester, S("A"), &ch, &f);
    take_events();
}

static void test_topic_save_fails(void)
{
    struct topic_change ch = TOPIC_CHANGE_NONE;
    struct topic_info before = topic("A"), after;
    size_t n = broker_topic_count(house);

    break_saves("topics.json", true);
    ch.perm = 2;
    ch.read_queues = 9;
    ch.owner = "eve";
    ok(broker_topic_update(house, &tester, S("A"), &ch, &f) < 0,
       "a change that cannot be saved is refused: %s", f.text);
    after = topic("A");
    ok(memcmp(&before, &after, sizeof(before)) == 0, "and changes nothing");
    ok(broker_topic_create(house, &tester, S("Lost"), &ch, &f) < 0 &&
       broker_topic_get(house, S("Lost"), &after), "no topic is made");
    ok(broker_topic_delete(house, &wire, S("A"), &f) < 0 && topic("A").id == before.id, "none is deleted");
    is_int(broker_topic_count(house), n, "the table is as it was");
    is_text(take_events(), "", "nobody heard of anything");
    break_saves("topics.json", false);
    is_int(broker_topic_update(house, &tester, S("A"), &(struct topic_change){-1, -1, 7, -1, -1, -1, NULL, NULL}, &f), 0, "afterwards changes succeed");
    broker_topic_update(house, &tester, S("A"), &(struct topic_change){-1, -1, 6, -1, -1, -1, NULL, NULL},
                        &f);
    ok(!on_disk("config/topics.json", "Lost") && !on_disk("config/topics.json", "eve"),
       "and nothing of the refused ones is on disk");
    take_events();
}

static void test_topics_together(void)
{
    struct topic_put puts[3] = {
        {S("L1"), TOPIC_CHANGE_NONE, false, false}, {S("L2"), TOPIC_CHANGE_NONE, false, false},
            {S("L3"), TOPIC_CHANGE_NONE, false, false},
    };
    size_t created;

    puts[2].change.perm = 99;
    ok(topics_put(house, &tester, puts, 3, PUT_BOTH, &created, &f) == -EINVAL && !topic("L1").id,
       "of several topics with one bad, none is made");
    puts[2] = puts[0];
    ok(topics_put(house, &tester, puts, 3, PUT_BOTH, &created, &f) == -EINVAL && !topic("L1").id,
       "nor with one that stands there twice: %s", f.text);
    puts[2].name = S("A");
    is_int(topics_put(house, &tester, puts, 3, PUT_BOTH, &created, &f), 0, "two new and one that is there");
    ok(created == 2 && topic("L1").id && topic("L2").id, "two are made");
    is_int(topics_put(house, &tester, puts, 0, PUT_BOTH, &created, &f), 0, "none at all");
    broker_topic_delete(house, &wire, S("L1"), &f);
    broker_topic_delete(house, &wire, S("L2"), &f);
    take_events();
}

static int send_one(const char *name, int32_t queue, const char *body)
{
    ask_send(&a, name, queue, body, "KEYS\1k1\2TAGS\1red\2UNIQ_KEY\1" "0A0B\2");
    return answer_to(&a, &r);
}

static void test_topic_delete(void)
{
    struct topic_change ch = TOPIC_CHANGE_NONE;
    struct binding_info bind;

    broker_topic_create(house, &tester, S("D"), &ch, &f);
    make_group(CONSUMER_GROUP, "dg");
    make_group(PRODUCER_GROUP, "dp");
    broker_bind(house, &tester, CONSUMER_GROUP, S("dg"), S("D"), S(""), &f);
    is_int(broker_topic_delete(house, &tester, S("D"), &f), -EBUSY,
           "rmdir of a topic that a group is bound to: %s", f.text);
    broker_unbind(house, &tester, CONSUMER_GROUP, S("dg"), S("D"), &f);
    broker_bind(house, &tester, PRODUCER_GROUP, S("dp"), S("D"), S("*"), &f);
    is_int(broker_topic_delete(house, &tester, S("D"), &f), -EBUSY, "or a producer group: %s", f.text);
    broker_unbind(house, &tester, PRODUCER_GROUP, S("dp"), S("D"), &f);
    is_int(send_one("D", 0, "x"), 0, "with a message");
    is_int(broker_topic_delete(house, &tester, S("D"), &f), -EBUSY, "rmdir says how to go on: %s", f.text);
    ch.perm = 0;
    broker_topic_update(house, &tester, S("D"), &ch, &f);
    is_int(broker_topic_delete(house, &tester, S("D"), &f), 0, "and after that it goes");
    is_int(topic("D").id, 0, "the topic is gone");
    ok(!on_disk("config/topics.json", "\"D\":"), "on disk, too");
    is_int(broker_topic_delete(house, &tester, S("D"), &f), -ENOENT, "once");
    ch.perm = 6;
    broker_topic_create(house, &tester, S("D"), &ch, &f);
    is_int(queue_end("D", 0), 0, "made again it is empty");
    send_one("D", 0, "x");
    broker_bind(house, &tester, CONSUMER_GROUP, S("dg"), S("D"), S("red"), &f);
    broker_bind(house, &tester, PRODUCER_GROUP, S("dp"), S("D"), S("*"), &f);
    offsets_commit(house->offsets, S("dg"), S("D"), 0, 1);
    take_events();
    is_int(broker_topic_delete(house, &wire, S("D"), &f), 0,
           "the wire deletes it always, as Apache's broker does");
    is_int(broker_binding_get(house, CONSUMER_GROUP, S("dg"), S("D"), &bind), -ENOENT,
           "its bindings go with it");
    is_int(broker_binding_get(house, PRODUCER_GROUP, S("dp"), S("D"), &bind), -ENOENT, "of producers, too");
    is_int(offsets_get(house->offsets, S("dg"), S("D"), 0), -1, "and its offsets");
    ok(!on_disk("config/consumerOffset.json", "D@dg") && !on_disk("config/subscriptionGroup.json",
                                                                  "\"topic\":\"D\""), "on disk, too");
    is_text(take_events(), "-group_binding:dg/D -producer_binding:dp/D -topic:D ",
            "the listener hears of all");
    is_int(broker_topic_delete(house, &wire, S("SELF_TEST_TOPIC"), &f), -EPERM, "a system topic stays: %s",
           f.text);
    is_int(broker_topic_delete(house, &wire, S("b"), &f), -EPERM, "the broker's own, too");
    broker_group_delete(house, &tester, CONSUMER_GROUP, S("dg"), true, &f);
    broker_group_delete(house, &tester, PRODUCER_GROUP, S("dp"), true, &f);
    take_events();
}

/* ---- topics that come by themselves ---- */

static void test_auto_topics(void)
{
    is_int(send_one("Nobody", 0, "x"), RC_TOPIC_NOT_EXIST, "no topic appears by sending: %s", remark(&r));
    is_int(topic("TBW102").id, 0, "there is no template");
    set_key("autoCreateTopicEnable", "true");
    ok(topic("TBW102").perm == 7 && topic("TBW102").write_queues == 8, "autoCreateTopicEnable makes it");
    is_int(send_one("Auto", 0, "x"), 0, "then a send makes its topic");
    ok(topic("Auto").write_queues == 4 && topic("Auto").read_queues == 4 && topic("Auto").perm == 6,
       "with the client's 4 queues and no inherit bit");
    is_int(broker_topic_auto_create(house, &wire, S("Auto2"), S("TBW102"), 100, 0, &f), 0,
           "a client that asks for 100");
    is_int(topic("Auto2").write_queues, 8, "gets the template's 8");
    is_int(broker_topic_auto_create(house, &wire, S("Auto2"), S("TBW102"), 1, 0, &f), 0, "again");
    is_int(topic("Auto2").write_queues, 8, "nothing changes");
    is_int(broker_topic_auto_create(house, &wire, S("Auto3"), S("A"), 4, 0, &f), -ENOENT,
           "a template without the inherit bit");
    is_int(broker_topic_auto_create(house, &wire, S("Auto3"), S("none"), 4, 0, &f), -ENOENT, "or none: %s",
           f.text);
    is_int(broker_topic_auto_create(house, &wire, S("Auto3"), S("TBW102"), 0, 0, &f), -EINVAL,
           "or no queues: %s", f.text);
    is_int(broker_topic_auto_create(house, &wire, S("a/b"), S("TBW102"), 4, 0, &f), -EINVAL, "or no name");
    set_key("autoCreateTopicEnable", "false");
    is_int(broker_topic_auto_create(house, &wire, S("Auto3"), S("TBW102"), 4, 0, &f), -ENOENT,
           "switched off it ends");
    is_int(broker_topic_auto_create(house, &wire, S("Auto3"), S("DefaultCluster"), 4, 0, &f), 0,
           "the cluster's own topic is a template still, as in Apache's");
    broker_topic_delete(house, &wire, S("Auto"), &f);
    broker_topic_delete(house, &wire, S("Auto2"), &f);
    broker_topic_delete(house, &wire, S("Auto3"), &f);

    make_group(CONSUMER_GROUP, "rg");
    is_int(broker_retry_topic_make(house, S("rg"), &f), 0, "a group's retry topic");
    ok(topic("%RETRY%rg").read_queues == 1 && topic("%RETRY%rg").perm == 6, "has retryQueueNums queues");
    is_int(broker_retry_topic_make(house, S("nobody"), &f), -ENOENT, "a group that is not there has none");
    is_int(f.rc, RC_SUBSCRIPTION_GROUP_NOT_EXIST, "and the wire hears why");
    take_events();
}

/* ---- groups ---- */

static struct group_info group(enum group_kind kind, const char *name)
{
    struct group_info g;

    if (broker_group_get(house, kind, S(name), &g))
        memset(&g, 0, sizeof(g));
    return g;
}

static void test_groups(void)
{
    struct group_change ch = GROUP_CHANGE_NONE;
    struct group_info before, after;

    take_events();
    ch.owner = "alice";
    ch.retry_max = 3;
    is_int(broker_group_create(house, &tester, CONSUMER_GROUP, S("g1"), &ch, &f), 0, "a group is made");
    ok(group(CONSUMER_GROUP, "g1").retry_max == 3 && group(CONSUMER_GROUP, "g1").consume_enable,
       "as asked for, else with Apache's defaults");
    is_text(group(CONSUMER_GROUP, "g1").owner, "alice", "and its owner");
    ok(on_disk("config/subscriptionGroup.json", "\"g1\":{") &&
       on_disk("audit.log", "\"what\":\"group.create\",\"path\":\"/groups/g1\""),
       "on disk and in the audit file");
    is_text(take_events(), "+group:g1 ", "the listener hears of it");
    is_int(broker_group_create(house, &tester, CONSUMER_GROUP, S("g1"), &ch, &f), -EEXIST, "not twice: %s",
           f.text);
    is_int(broker_group_create(house, &tester, PRODUCER_GROUP, S("g1"), &ch, &f), 0,
           "a producer group may have the same name");
    ok(on_disk("config/producerGroup.json", "\"g1\":{"), "and stands in a file of its own");
    take_events();
    ch = (struct group_change)GROUP_CHANGE_NONE;
    ch.consume_enable = 0;
    ch.retry_queues = 2;
    is_int(broker_group_update(house, &tester, CONSUMER_GROUP, S("g1"), &ch, &f), 0, "a change");
    ok(!group(CONSUMER_GROUP, "g1").consume_enable && group(CONSUMER_GROUP, "g1").retry_queues == 2 &&
       group(CONSUMER_GROUP, "g1").retry_max == 3, "changes what it says");
    ok(on_disk("audit.log", "\"path\":\"/groups/g1/enabled\",\"old\":\"1\",\"new\":\"0\""),
       "audited, old and new");
    is_text(take_events(), "~group:g1 ", "and heard");
    is_int(broker_group_update(house, &tester, CONSUMER_GROUP, S("g1"), &ch, &f), 0, "the same again");
    is_text(take_events(), "", "is no change");
    ch.retry_max = -7;
    is_int(broker_group_update(house, &tester, CONSUMER_GROUP, S("g1"), &ch, &f), -EINVAL,
           "a bad number: %s", f.text);
    ch.retry_max = -1;
    ch.consume_enable = 2;
    is_int(broker_group_update(house, &tester, CONSUMER_GROUP, S("g1"), &ch, &f), -EINVAL, "a bad switch");
    is_int(broker_group_update(house, &tester, CONSUMER_GROUP, S("none"), &ch, &f), -ENOENT,
           "a group that is not there: %s", f.text);
    is_int(broker_group_create(house, &tester, CONSUMER_GROUP, S("a/b"), &ch, &f), -EINVAL, "a bad name");

    before = group(CONSUMER_GROUP, "g1");
    break_saves("subscriptionGroup.json", true);
    ch.consume_enable = 1;
    ok(broker_group_update(house, &tester, CONSUMER_GROUP, S("g1"), &ch, &f) < 0,
       "a change that cannot be saved is refused: %s", f.text);
    after = group(CONSUMER_GROUP, "g1");
    ok(memcmp(&before, &after, sizeof(before)) == 0, "and changes nothing");
    ok(broker_group_create(house, &tester, CONSUMER_GROUP, S("lost"), &ch, &f) < 0 &&
       !group(CONSUMER_GROUP, "lost").id, "none is made");
    ok(broker_group_delete(house, &tester, CONSUMER_GROUP, S("g1"), true, &f) < 0 &&
       group(CONSUMER_GROUP, "g1").id == before.id, "none is deleted");
    ok(broker_bind(house, &tester, CONSUMER_GROUP, S("g1"), S("A"), S("*"), &f) < 0, "none is bound: %s",
       f.text);
    break_saves("subscriptionGroup.json", false);
    ch.consume_enable = 1;
    is_int(broker_group_update(house, &tester, CONSUMER_GROUP, S("g1"), &ch, &f), 0,
           "afterwards changes succeed");
    take_events();
}

static void test_group_delete(void)
{
    struct group_info g;

    make_group(CONSUMER_GROUP, "gone");
    make_topic("%RETRY%gone", 1);
    make_topic("%DLQ%gone", 1);
    offsets_commit(house->offsets, S("gone"), S("A"), 0, 0);
    is_int(broker_group_delete(house, &tester, CONSUMER_GROUP, S("gone"), true, &f), 0, "rmdir of a group");
    is_int(broker_group_get(house, CONSUMER_GROUP, S("gone"), &g), -ENOENT, "it is gone");
    ok(!topic("%RETRY%gone").id && !topic("%DLQ%gone").id, "its own topics go with it");
    is_int(offsets_get(house->offsets, S("gone"), S("A"), 0), -1, "and its offsets");
    make_group(CONSUMER_GROUP, "gone");
    make_topic("%DLQ%gone", 1);
    send_one("%DLQ%gone", 0, "dead");
    is_int(queue_end("%DLQ%gone", 0), 1, "a dead letter");
    is_int(broker_group_delete(house, &tester, CONSUMER_GROUP, S("gone"), false, &f), 0,
           "rmdir of its group");
    ok(topic("%DLQ%gone").id > 0, "leaves it where it is");
    is_int(broker_group_delete(house, &tester, CONSUMER_GROUP, S("gone"), false, &f), -ENOENT,
           "a group goes once: %s", f.text);
    is_int(broker_group_delete(house, &tester, CONSUMER_GROUP, S("TOOLS_CONSUMER"), false, &f), -EPERM,
           "the system's stay: %s", f.text);
    take_events();
}

static struct json *parsed(struct arena *arena, const char *text)
{
    struct json *j;

    arena_init(arena, 1 << 20);
    if (json_parse(arena, S(text), &j))
        exit(2);
    return j;
}

static int put_json(const char *text)
{
    struct arena arena;
    const struct json *one = parsed(&arena, text);
    int rc;

    memset(&f, 0, sizeof(f));
    rc = groups_put_json(house, &wire, &one, 1, &f);
    arena_free(&arena);
    return rc;
}

static void test_groups_by_json(void)
{
    struct binding_info bind;

    is_int(put_json("{\"groupName\":\"j1\",\"retryMaxTimes\":4,\"groupRetryPolicy\":{\"type\":\"EXPONENTIAL\"},\"consumeMessageOrderly\":true}"), 0,
           "a group of mqadmin's");
    ok(group(CONSUMER_GROUP, "j1").retry_max == 4 && group(CONSUMER_GROUP, "j1").consume_orderly,
       "is made");
    ok(on_disk("config/subscriptionGroup.json", "EXPONENTIAL"), "what we do not use is kept");
    broker_bind(house, &tester, CONSUMER_GROUP, S("j1"), S("A"), S("red"), &f);
    broker_group_update(house, &tester, CONSUMER_GROUP, S("j1"),
                        &(struct group_change){-1, -1, -1, -1, -1, -1, -1, -1, "olga"}, &f);
    is_int(put_json("{\"groupName\":\"j1\",\"retryMaxTimes\":5}"), 0,
           "a change that does not speak of bindings");
    ok(broker_binding_get(house, CONSUMER_GROUP, S("j1"), S("A"), &bind) == 0 &&
       strcmp(bind.filter, "red") == 0, "leaves them");
    is_text(group(CONSUMER_GROUP, "j1").owner, "olga", "and the owner");
    ok(!group(CONSUMER_GROUP, "j1").consume_orderly,
       "what it lacks gets its default, as Apache's objects have it");
    take_events();
    is_int(put_json("{\"groupName\":\"j1\",\"subscriptionDataSet\":[{\"topic\":\"P\",\"expression\":\"*\",\"expressionType\":\"TAG\"}],"
                    "\"attributes\":{\"+mqfs.owner\":\"pia\"}}"), 0, "one that speaks of them");
    ok(broker_binding_get(house, CONSUMER_GROUP, S("j1"), S("A"), &bind) == -ENOENT &&
       broker_binding_get(house, CONSUMER_GROUP, S("j1"), S("P"), &bind) == 0, "sets them");
    is_text(group(CONSUMER_GROUP, "j1").owner, "pia", "an attribute sets the owner");
    is_text(take_events(), "~group:j1 +group_binding:j1/P -group_binding:j1/A ",
            "the listener hears of each");
    put_json("{\"groupName\":\"j1\",\"groupRetryPolicy\":{\"type\":\"EXPONENTIAL\"},\"groupSysFlag\":2}");
    ok(on_disk("audit.log", "\"path\":\"/groups/j1/sys_flag\",\"old\":\"0\",\"new\":\"2\"") &&
       on_disk("audit.log", "\"path\":\"/groups/j1/other\""),
       "what only Apache's objects carry is audited, too");
    is_int(put_json("{\"groupName\":\"a/b\"}"), -EINVAL, "a bad name");
    is_int(put_json("{}"), -EINVAL, "no name");
    is_int(put_json("{\"groupName\":\"j2\",\"attributes\":{\"+priority.factor\":\"5\"}}"), -EINVAL,
           "an attribute of what is not here: %s", f.text);
    is_int(group(CONSUMER_GROUP, "j2").id, 0, "makes no group");
    broker_group_delete(house, &wire, CONSUMER_GROUP, S("j1"), true, &f);
    take_events();
}

/* ---- bindings ---- */

static void test_bindings(void)
{
    static const struct { const char *filter, *kept; } good[] = {
        {"", "*"}, {" \n", "*"}, {"*", "*"}, {"red", "red"}, {"red||blue", "red || blue"},
            {"  red  ||  blue  \n", "red || blue"},
    };
    static const char *const bad[] = {"red||", "||", "a|b", "red || * ", "a\tb\001", "sql: a > 3",
                                      "line\nline"};
    struct binding_info bind;
    char longest[1100];

    take_events();
    is_int(broker_bind(house, &tester, CONSUMER_GROUP, S("g1"), S("A"), S(""), &f), 0,
           "a group is bound by an empty write");
    is_text(take_events(), "+group_binding:g1/A ", "the listener hears of it");
    is_int(broker_binding_next(house, CONSUMER_GROUP, S("g1"), 0, &bind), 0, "it can be listed");
    ok(strcmp(bind.topic, "A") == 0 && strcmp(bind.filter, "*") == 0 && bind.version > 0, "and is to *");
    is_int(broker_binding_next(house, CONSUMER_GROUP, S("g1"), bind.id, &bind), -ENOENT,
           "there is no second");
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        is_int(broker_bind(house, &tester, CONSUMER_GROUP, S("g1"), S("A"), S(good[i].filter), &f), 0,
               "a filter that means %s", good[i].kept);
        broker_binding_get(house, CONSUMER_GROUP, S("g1"), S("A"), &bind);
        is_text(bind.filter, good[i].kept, "is kept as");
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ok(broker_bind(house, &tester, CONSUMER_GROUP, S("g1"), S("A"), S(bad[i]), &f) == -EINVAL &&
           f.text[0], "a bad filter: %s", f.text);
    memset(longest, 'x', sizeof(longest));
    is_int(broker_bind(house, &tester, CONSUMER_GROUP, S("g1"), S("A"), str_n(longest, 1024), &f), -EINVAL,
           "one too long: %s", f.text);
    is_int(broker_bind(house, &tester, CONSUMER_GROUP, S("g1"), S("A"), str_n(longest, 1023), &f), 0,
           "the longest");
    broker_bind(house, &tester, CONSUMER_GROUP, S("g1"), S("A"), S("red || blue"), &f);
    ok(on_disk("config/subscriptionGroup.json", "\"expression\":\"red || blue\"") &&
       on_disk("audit.log", "\"what\":\"group.bind\",\"path\":\"/groups/g1/bindings/A\""),
       "it is on disk and in the audit file");
    is_int(broker_bind(house, &tester, CONSUMER_GROUP, S("none"), S("A"), S("*"), &f), -ENOENT,
           "no such group: %s", f.text);
    is_int(broker_bind(house, &tester, CONSUMER_GROUP, S("g1"), S("none"), S("*"), &f), -ENOENT,
           "no such topic: %s", f.text);
    is_int(broker_bind(house, &tester, PRODUCER_GROUP, S("g1"), S("A"), S("red"), &f), -EINVAL,
           "a producer has no filter: %s", f.text);
    is_int(broker_bind(house, &tester, PRODUCER_GROUP, S("g1"), S("A"), S("\n"), &f), 0, "but a binding");
    take_events();

    break_saves("subscriptionGroup.json", true);
    ok(broker_bind(house, &tester, CONSUMER_GROUP, S("g1"), S("A"), S("green"), &f) < 0,
       "a filter that cannot be saved is refused");
    ok(broker_unbind(house, &tester, CONSUMER_GROUP, S("g1"), S("A"), &f) < 0, "so is an unbinding");
    ok(broker_binding_get(house, CONSUMER_GROUP, S("g1"), S("A"), &bind) == 0 &&
       strcmp(bind.filter, "red || blue") == 0, "the binding is as it was");
    break_saves("subscriptionGroup.json", false);
    is_text(take_events(), "", "and nobody heard of it");
    is_int(broker_unbind(house, &tester, CONSUMER_GROUP, S("g1"), S("A"), &f), 0, "rm unbinds");
    is_int(broker_unbind(house, &tester, CONSUMER_GROUP, S("g1"), S("A"), &f), -ENOENT, "once: %s", f.text);
    is_text(take_events(), "-group_binding:g1/A ", "the listener hears of it");
    broker_bind(house, &tester, CONSUMER_GROUP, S("g1"), S("A"), S("*"), &f);
    take_events();
}

/* ---- offsets ---- */

static int reset(const char *spec, int32_t queue) { return broker_offset_reset(house, &tester, S("g1"), S("A"), queue, S(spec), &f); }

static int64_t committed(int32_t queue)
{
    int64_t v;
    return broker_offset_get(house, S("g1"), S("A"), queue, &v) ? -1 : v;
}

static void test_offset_resets(void)
{
    static const char *const bad[] = {"", "x", "1 2", "@", "@-5", "@x", "2026-13-45T99:00",
                                      "2026-11-20T10:00Z", "minimum", "1e3", "0x10"};
    char spec[40];
    struct queue_info q;

    for (int i = 0; i < 5; i++)
        send_one("A", 0, "m");
    broker_queue_get(house, S("A"), 0, &q);
    is_int(q.max, 5, "five messages");
    is_int(reset("3", 0), 0, "to a number");
    is_int(committed(0), 3, "is there");
    is_int(offsets_reset_waiting(house->offsets, S("g1"), S("A"), 0, false), 3,
           "and waits for the next pull");
    ok(on_disk("config/consumerOffset.json", "\"A@g1\":{0:3}") ||
       on_disk("config/consumerOffset.json", "0:3"), "on disk when it returns");
    ok(on_disk("audit.log", "\"what\":\"offset.reset\",\"path\":\"/groups/g1/offsets/A/0\",\"new\":\"3\""),
       "and in the audit file");
    is_int(reset("max\n", 0), 0, "to max");
    is_int(committed(0), 5, "is the end");
    is_int(reset("min", -1), 0, "all queues to min");
    ok(committed(0) == 0 && committed(4) == 0, "are at their beginnings");
    is_int(reset("2020-01-01T00:00", 0), 0, "to a time before everything");
    is_int(committed(0), 0, "is the beginning");
    snprintf(spec, sizeof(spec), "@%" PRId64, wall_ms() + 100000);
    is_int(reset(spec, 0), 0, "to one after everything");
    is_int(committed(0), 5, "is the end");
    snprintf(spec, sizeof(spec), "@%" PRId64, q.last_time);
    is_int(reset(spec, 0), 0, "to the last message's time");
    ok(committed(0) < 5 && committed(0) >= 0, "is a message of that time");
    reset("2", 0);
    is_int(reset("6", 0), -ERANGE, "past the end: %s", f.text);
    is_int(reset("-1", 0), -ERANGE, "before the beginning: %s", f.text);
    is_int(reset("4", -1), -ERANGE, "all queues to what one of them has not: %s", f.text);
    is_int(reset("1", 5), -ENOENT, "a queue that is not there: %s", f.text);
    is_int(reset("1", -2), -EINVAL, "or cannot be");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        is_int(reset(bad[i], 0), -EINVAL, "refused: %s", f.text);
    is_int(broker_offset_reset(house, &tester, S("nobody"), S("A"), 0, S("1"), &f), -ENOENT,
           "no such group: %s", f.text);
    is_int(broker_offset_reset(house, &tester, S("g1"), S("nothing"), 0, S("1"), &f), -ENOENT,
           "no such topic: %s", f.text);
    break_saves("consumerOffset.json", true);
    ok(reset("1", 0) < 0, "one that cannot be saved is refused: %s", f.text);
    break_saves("consumerOffset.json", false);
    is_int(committed(0), 2, "none of them changed anything");
    set_key("useServerSideResetOffset", "false");
    is_int(reset("4", 0), 0, "with clients that are told by a request");
    is_int(offsets_reset_waiting(house->offsets, S("g1"), S("A"), 0, false), -1, "no pull is waited for");
    is_int(committed(0), 4, "the offset is set");
    set_key("useServerSideResetOffset", "true");
}

static void test_offset_copies(void)
{
    is_int(broker_offset_reset(house, &tester, S("g1"), S("A"), 0, S("3"), &f), 0, "an offset");
    is_int(offset_clone(house, &tester, S("g1"), S("copy"), S("A"), &f), 0, "copied to another group");
    is_int(offsets_get(house->offsets, S("copy"), S("A"), 0), 3, "is there");
    ok(on_disk("config/consumerOffset.json", "\"A@copy\"") &&
       on_disk("audit.log", "\"what\":\"offset.copy\",\"path\":\"/groups/copy/offsets/A\""),
       "on disk and in the audit file");
    is_int(offset_clone(house, &tester, S("g1"), S("a/b"), S(""), &f), -EINVAL,
           "not to a name that is none: %s", f.text);
    break_saves("consumerOffset.json", true);
    ok(offset_clone(house, &tester, S("g1"), S("copy2"), S(""), &f) < 0,
       "one that cannot be saved says so: %s", f.text);
    break_saves("consumerOffset.json", false);
    offsets_drop_group(house->offsets, S("copy"));
    offsets_drop_group(house->offsets, S("copy2"));
}

struct lags {
    int rows;
    int64_t lag;
    char topics[400];
};

static void add_lag(void *arg, const struct lag_info *row)
{
    struct lags *l = arg;

    l->rows++;
    l->lag += row->lag;
    if (row->queue == 0)
        strncat(l->topics, row->topic, 50), strcat(l->topics, " ");
}

static void test_lag(void)
{
    struct lags l = {0};

    reset("2", 0);
    is_int(broker_group_lag(house, S("g1"), add_lag, &l), 0, "a group's lag");
    ok(l.rows >= 5 && l.lag == 3, "three messages are not consumed, of %d queues", l.rows);
    ok(strstr(l.topics, "A ") != NULL, "of the topics it is bound to");
    is_int(broker_group_lag(house, S("nobody"), add_lag, &l), -ENOENT, "nobody has none");
}

static void test_messages(void)
{
    struct store_result *hold = NULL;
    struct message m;
    struct buf b = {0};
    struct json *j;
    struct arena arena;

    is_int(broker_message_get(house, S("A"), 0, 0, &m, &hold), 0, "a message by its place");
    ok(str_is(m.body, "m") && str_is(m.topic, "A") && m.queue_offset == 0, "is that message");
    broker_message_json(&m, &b);
    arena_init(&arena, 1 << 20);
    is_int(json_parse(&arena, buf_str(&b), &j), 0, "as JSON it is JSON");
    ok(str_is(json_str(j, "body"), "m") && str_is(json_str(j, "keys"), "k1") &&
       str_is(json_str(j, "tags"), "red") &&
       str_is(json_str(j, "id"), "0A0B") && json_int(j, "offset", -1) == 0 &&
       json_str(j, "offsetId").n == 32 &&
       json_int(j, "storeTime", 0) > 0 && str_is(json_str(json_member(j, "properties"), "KEYS"), "k1"),
       "with body, keys, tags, ids, times, properties");
    ok(b.n && b.p[b.n - 1] == '\n' && !memchr(b.p, '\n', b.n - 1), "in one line");
    buf_reset(&b);
    m.body = str_n("\xff\xfe\0a", 4);
    broker_message_json(&m, &b);
    ok(json_parse(&arena, buf_str(&b), &j) == 0 && str_is(json_str(j, "bodyBase64"), "//4AYQ==") &&
       !json_str(j, "body").p, "a body that is no text is base64");
    store_release(hold);
    arena_free(&arena);
    buf_free(&b);
    is_int(broker_message_get(house, S("A"), 0, 5, &m, &hold), -ENOENT, "none is past the end");
    is_int(broker_message_get(house, S("A"), 0, -1, &m, &hold), -ENOENT, "none before the beginning");
    is_int(broker_message_get(house, S("A"), 99, 0, &m, &hold), -ENOENT,
           "none in a queue that is not there");
    is_int(broker_message_get(house, S("nothing"), 0, 0, &m, &hold), -ENOENT,
           "none in a topic that is not there");
}

/* ---- configuration ---- */

static int set(const char *key, const char *value) { return broker_config_set(house, &tester, S(key), S(value), &f); }

static void test_config(void)
{
    const struct broker_config *old = broker_conf(house);
    char path[200];
    FILE *file;

    take_events();
    is_int(set("shortPollingTimeMills", "1234"), 0, "a key that can change while running");
    ok(broker_conf(house)->short_polling_time_mills == 1234 && old->short_polling_time_mills == 1000,
       "has changed, and who had the old configuration in hand still has it");
    is_text(broker_conf(house)->broker_name, old->broker_name, "all else is as it was");
    ok(on_disk("config/broker.properties", "shortPollingTimeMills=1234\n"), "it is on disk");
    ok(on_disk("audit.log",
               "\"what\":\"config.set\",\"path\":\"/broker/config/shortPollingTimeMills\",\"old\":\"1000\",\"new\":\"1234\""), "and in the audit file");
    is_text(take_events(), "~config:shortPollingTimeMills ", "the listener hears of it");
    ok(set("listenPort", "1") == -EPERM && f.rc == RC_NO_PERMISSION, "one that cannot: %s", f.text);
    is_int(set("noSuchKey", "1"), -EINVAL, "one that is not there: %s", f.text);
    is_int(set("shortPollingTimeMills", "soon"), -EINVAL, "a bad value: %s", f.text);
    is_int(set("brokerPermission", "8"), -ERANGE, "a value out of range: %s", f.text);
    is_int(set("regionId", "a\nlistenPort=1"), -EINVAL, "a value of two lines: %s", f.text);
    is_int(set("regionId", "a ;b"), -EINVAL, "one that the file would not give back");
    break_saves("broker.properties", true);
    ok(set("shortPollingTimeMills", "77") < 0 && broker_conf(house)->short_polling_time_mills == 1234,
       "one that cannot be saved is refused: %s", f.text);
    break_saves("broker.properties", false);
    is_text(take_events(), "", "nobody heard of those");

    snprintf(path, sizeof(path), "%s/config/broker.properties", house_dir);
    file = fopen(path, "w");
    if (!file || fputs("# ours\nshortPollingTimeMills = 1234\n\nother=1\nregionId=x", file) < 0 ||
        fclose(file))
        exit(2);
    is_int(set("shortPollingTimeMills", "4321"), 0, "in a file that somebody wrote");
    is_text(text_of("config/broker.properties"),
            "# ours\nshortPollingTimeMills=4321\n\nother=1\nregionId=x\n", "only its line changes");
    set("regionId", "here");
    set("brokerPermission", "6");
    take_events();
}

/* ---- many at once ---- */

static void *make_many(void *arg)
{
    int base = *(int *)arg;
    struct topic_change ch = TOPIC_CHANGE_NONE;
    struct fault why;

    ch.read_queues = ch.write_queues = 1;
    for (int i = 0; i < 10; i++) {
        char name[20];
        snprintf(name, sizeof(name), "M%d", base * 10 + i);
        if (broker_topic_create(house, &tester, S(name), &ch, &why))
            return arg;
        if (i % 2 && broker_topic_delete(house, &wire, S(name), &why))
            return arg;
    }
    return NULL;
}

static void test_threads(void)
{
    pthread_t t[4];
    int base[4], failed = 0, there = 0;
    struct topic_info info;

    for (int i = 0; i < 4; i++) {
        base[i] = i;
        pthread_create(&t[i], NULL, make_many, &base[i]);
    }
    for (int k = 0; k < 200; k++)
        for (uint32_t id = 0; broker_topic_next(house, id, &info) == 0; id = info.id)
            there += info.id <= id;
    is_int(there, 0, "listing meanwhile goes on in the order of ids");
    for (int i = 0; i < 4; i++) {
        void *result;
        pthread_join(t[i], &result);
        failed += result != NULL;
    }
    is_int(failed, 0, "four threads make and delete topics");
    for (int i = 0; i < 40; i++) {
        char name[20];
        snprintf(name, sizeof(name), "M%d", i);
        there += topic(name).id > 0;
    }
    is_int(there, 20, "and what they left is there");
}

/* ---- again ---- */

static void test_restart(void)
{
    struct binding_info bind;
    struct group_change ch = GROUP_CHANGE_NONE;

    ch.owner = "zoe";
    broker_group_update(house, &tester, PRODUCER_GROUP, S("g1"), &ch, &f);
    house_close();
    house_open(NULL);
    ok(topic("A").read_queues == 5 && strcmp(topic("A").owner, "bob") == 0 &&
       strcmp(topic("A").type, "FIFO") == 0, "after a restart topics are as they were");
    ok(topic("b").system && topic("DefaultCluster").system && topic("SELF_TEST_TOPIC").system,
       "the system's are the system's");
    ok(broker_binding_get(house, CONSUMER_GROUP, S("g1"), S("A"), &bind) == 0 &&
       broker_binding_get(house, PRODUCER_GROUP, S("g1"), S("A"), &bind) == 0, "bindings, too");
    is_text(group(PRODUCER_GROUP, "g1").owner, "zoe", "owners of producer groups");
    is_int(committed(0), 2, "and offsets");
    is_int(broker_conf(house)->short_polling_time_mills, 4321, "a changed key");
    is_text(broker_conf(house)->region_id, "here", "a changed text");
    is_int(queue_end("A", 0), 5, "and the messages");
}

int main(void)
{
    log_open("/dev/null", LOG_ERROR);
    house_open(NULL);
    broker_on_event(house, on_event, NULL);
    test_topic_create();
    test_topic_refusals();
    test_topic_update();
    test_topic_save_fails();
    test_topics_together();
    test_topic_delete();
    test_auto_topics();
    test_groups();
    test_group_delete();
    test_groups_by_json();
    test_bindings();
    test_offset_resets();
    test_offset_copies();
    test_lag();
    test_messages();
    test_config();
    test_threads();
    test_restart();
    house_close();
    return tap_done();
}
