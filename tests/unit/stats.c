/* What went into topics and out of them: counters, windows, what is forgotten, bounds. Time is the test's. */
#include "broker/stats.h"

#include <errno.h>

#include "broker/meta.h"
#include "broker/state.h"
#include "tests/unit/tap.h"

static struct broker b;
static struct stats_data d;
static int64_t now = 1000000;

static struct topic *add_topic(const char *name)
{
    struct topic *t = topic_new(str_of(name));

    if (!t || meta_add_topic(b.meta, t)) {
        printf("Bail out! no memory\n");
        exit(2);
    }
    return t;
}

static int get(const char *name, const char *key)
{
    struct fault f = {0};

    memset(&d, 0, sizeof(d));
    return stats_get(&b, str_of(name), str_of(key), &d, &f);
}

static void sample(int times)
{
    while (times-- > 0) {
        stats_sample(&b, now);
        now += STATS_PERIOD_MS;
    }
}

static bool near(double got, double want) { return got - want < 1e-9 && want - got < 1e-9; }

static void test_topic(void)
{
    struct topic *t = add_topic("ta");

    sample(1);
    is_int(get("TOPIC_PUT_NUMS", "ta"), -ENOENT, "a topic that nothing was put into has none");
    flow_count(&t->puts, 1, 100);
    flow_count(&t->puts, 9, 900);
    is_int(get("TOPIC_PUT_NUMS", "ta"), -ENOENT, "before the first sample neither");
    sample(1);
    is_int(get("TOPIC_PUT_NUMS", "ta"), 0, "then it has");
    is_int(d.minute.sum, 10, "... ten messages");
    ok(near(d.minute.per_second, 1) && near(d.minute.per_call, 5), "... in ten seconds and two calls");
    ok(d.hour.sum == 10 && near(d.hour.per_second, 10.0 / 600), "... in the hour's first ten minutes");
    ok(d.day.sum == 10 && near(d.day.per_second, 10.0 / 3600), "... in the day's first hour");
    is_int(get("TOPIC_PUT_SIZE", "ta"), 0, "its bytes");
    ok(d.minute.sum == 1000 && near(d.minute.per_second, 100) && near(d.minute.per_call, 500), "... are told likewise");
    flow_count(&add_topic("tc")->puts, 1, 1);
    sample(1);
    flow_count(&meta_topic(b.meta, str_of("tc"))->puts, 37, 1);
    sample(1);
    ok(!get("TOPIC_PUT_NUMS", "tc") && d.minute.sum == 38 && d.hour.sum == 38 && d.day.sum == 38,
       "hour and day reach up to the newest sample, not to their own last one");
    sample(3);
    ok(!get("TOPIC_PUT_NUMS", "ta") && d.minute.sum == 10 && near(d.minute.per_second, 10.0 / 60), "a minute later they are still in it");
    sample(1);
    ok(!get("TOPIC_PUT_NUMS", "ta") && d.minute.sum == 0 && near(d.minute.per_call, 0), "... then not any more");
    ok(d.hour.sum == 10 && d.day.sum == 10, "... but in the hour and in the day");
    flow_count(&t->puts, 1, 1);
    sample(60);
    ok(!get("TOPIC_PUT_NUMS", "ta") && d.minute.sum == 0 && d.hour.sum == 11, "the hour has a sample each ten minutes");
    sample(360 * 2);
    ok(!get("TOPIC_PUT_NUMS", "ta") && d.hour.sum == 0 && d.day.sum == 11, "... and the day one each hour");
    sample(360 * 21);
    ok(!get("TOPIC_PUT_NUMS", "ta") && d.day.sum == 11, "... and the day has 24 of them");
    sample(360 * 2);
    is_int(get("TOPIC_PUT_NUMS", "ta"), -ENOENT, "after a day without anything it is forgotten");
    flow_count(&t->puts, 1, 7);
    sample(1);
    ok(!get("TOPIC_PUT_SIZE", "ta") && d.minute.sum == 7 && d.day.sum == 7, "... and begins anew");
}

static void test_group(void)
{
    struct topic *t = add_topic("tb");

    stats_got(&b, str_of("tb"), str_of("g1"), 32, 3200);
    stats_got(&b, str_of("tb"), str_of("g1"), 8, 800);
    stats_got(&b, str_of("tb"), str_of("g2"), 1, 10);
    is_int(get("GROUP_GET_NUMS", "tb@g1"), -ENOENT, "no sample yet");
    sample(1);
    ok(!get("GROUP_GET_NUMS", "tb@g1") && d.minute.sum == 40 && near(d.minute.per_call, 20), "a group's messages");
    ok(!get("GROUP_GET_SIZE", "tb@g1") && d.day.sum == 4000, "... and bytes");
    ok(!get("GROUP_GET_NUMS", "tb@g2") && d.minute.sum == 1, "another group's");
    is_int(get("GROUP_GET_NUMS", "tb@g3"), -ENOENT, "a group that got nothing");
    is_int(get("GROUP_GET_NUMS", "tb"), -ENOENT, "a key without a group");
    is_int(get("GROUP_GET_NUMS", ""), -ENOENT, "no key");
    is_int(get("TOPIC_PUT_NUMS", "tb@g1"), -ENOENT, "a group's key for a topic");
    is_int(get("BROKER_PUT_NUMS", "DefaultCluster"), -ENOENT, "a name that is not kept");
    meta_remove_topic(b.meta, t);
    topic_free(t);
    sample(1);
    is_int(get("GROUP_GET_NUMS", "tb@g1"), -ENOENT, "with the topic its groups' go");
}

static void test_bounds(void)
{
    char name[300], long_name[300];
    int topics = 0, pairs = 0;

    memset(long_name, 'x', sizeof(long_name));
    stats_got(&b, str_n(long_name, 256), str_of("g"), 1, 1);
    stats_got(&b, str_of("ta"), str_n(long_name, 256), 1, 1);
    stats_got(&b, str_of(""), str_of("g"), 1, 1);
    for (int i = 0; i < STATS_MAX + 50; i++) {
        snprintf(name, sizeof(name), "t%d", i);
        flow_count(&add_topic(name)->puts, 1, 1);
        stats_got(&b, str_of(name), str_of("g"), 1, 1);
    }
    sample(2);
    for (int i = 0; i < STATS_MAX + 50; i++) {
        snprintf(name, sizeof(name), "t%d", i);
        topics += !get("TOPIC_PUT_NUMS", name);
        snprintf(name, sizeof(name), "t%d@g", i);
        pairs += !get("GROUP_GET_NUMS", name);
    }
    is_int(topics, STATS_MAX - 1, "of topics only so many are followed, one before these");
    is_int(pairs, STATS_MAX, "... and of pairs");
}

int main(void)
{
    if (meta_open(NULL, &b.meta) || stats_open(&b.stats)) {
        printf("Bail out! no memory\n");
        return 2;
    }
    test_topic();
    test_group();
    test_bounds();
    stats_close(b.stats);
    meta_close(b.meta);
    return tap_done();
}
