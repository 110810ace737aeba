/* The verbs on offsets over a whole broker: resets, copies, a group's lag, and
 * the messages they point at; on disk, audited, and there again after a restart.
 * (R-OFF-08, R-OFF-13) */
#include "tests/unit/verbs_help.h"

#include "broker/offset_reset.h"
#include "broker/offsets.h"
#include "common/json.h"

static int reset(const char *spec, int32_t queue) { return broker_offset_reset(house, &tester, S("g1"), S("A"), queue, S(spec), &f); }

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

/* ---- lag ---- */

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

/* ---- messages ---- */

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

static void test_restart(void)
{
    house_close();
    house_open(NULL);
    is_int(committed(0), 2, "after a restart offsets are as they were");
    is_int(queue_end("A", 0), 5, "and the messages are there");
}

int main(void)
{
    verbs_open(5);
    make_group(CONSUMER_GROUP, "g1");
    broker_bind(house, &tester, CONSUMER_GROUP, S("g1"), S("A"), S("*"), &f);
    test_offset_resets();
    test_offset_copies();
    test_lag();
    test_messages();
    test_restart();
    house_close();
    return tap_done();
}
