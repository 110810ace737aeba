/* The verbs on topics over a whole broker: what they change, what they refuse,
 * that a refused one changes nothing (a save that fails included), that all of
 * it is on disk, audited, and there again after a restart.
 * (R-TOP-03, R-TOP-04, R-TOP-05, R-TOP-08, R-GOV-01, R-GOV-06) */
#include "tests/unit/verbs_help.h"

#include "broker/offsets.h"
#include "broker/topics_auto.h"

static int topic_count(void)
{
    struct topic_info t = {0};
    int n = 0;

    while (broker_topic_next(house, t.id, &t) == 0)
        n++;
    return n;
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
    int n = topic_count();

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
    is_int(topic_count(), n, "no topic came by that");
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
    int n = topic_count();

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
    is_int(topic_count(), n, "the table is as it was");
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
    house_close();
    house_open(NULL);
    ok(topic("A").read_queues == 5 && strcmp(topic("A").owner, "bob") == 0 && strcmp(topic("A").type, "FIFO") == 0,
       "after a restart topics are as they were");
    ok(topic("b").system && topic("DefaultCluster").system && topic("SELF_TEST_TOPIC").system,
       "the system's are the system's");
}

int main(void)
{
    verbs_open(0);
    test_topic_create();
    test_topic_refusals();
    test_topic_update();
    test_topic_save_fails();
    test_topics_together();
    test_topic_delete();
    test_auto_topics();
    test_threads();
    test_restart();
    house_close();
    return tap_done();
}
