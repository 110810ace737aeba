/* The verbs on groups and bindings over a whole broker: what they change, what
 * they refuse, that a refused one changes nothing (a save that fails included),
 * that all of it is on disk, audited, and there again after a restart.
 * (R-GOV-02 to R-GOV-04) */
#include "tests/unit/verbs_help.h"

#include "broker/offsets.h"
#include "common/json.h"

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

/* ---- again ---- */

static void test_restart(void)
{
    struct group_change ch = GROUP_CHANGE_NONE;
    struct binding_info bind;

    ch.owner = "zoe";
    broker_group_update(house, &tester, PRODUCER_GROUP, S("g1"), &ch, &f);
    house_close();
    house_open(NULL);
    ok(group(CONSUMER_GROUP, "g1").retry_max == 3 && strcmp(group(CONSUMER_GROUP, "g1").owner, "alice") == 0,
       "after a restart groups are as they were");
    is_text(group(PRODUCER_GROUP, "g1").owner, "zoe", "producer groups");
    ok(broker_binding_get(house, CONSUMER_GROUP, S("g1"), S("A"), &bind) == 0 &&
       broker_binding_get(house, PRODUCER_GROUP, S("g1"), S("A"), &bind) == 0, "and bindings, too");
}

int main(void)
{
    verbs_open(5);
    make_topic("P", 1);
    test_groups();
    test_group_delete();
    test_groups_by_json();
    test_bindings();
    test_restart();
    house_close();
    return tap_done();
}
