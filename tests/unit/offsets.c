/* Committed offsets: commit, query, resets, and consumerOffset.json in Apache's
 * form, broken at every byte. (R-OFF-01, R-OFF-02, R-OFF-04, R-OFF-08, R-OFF-09) */
#include "broker/offsets.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>

#include "common/log.h"
#include "tests/unit/tap.h"

#define S(z) str_of(z)

static struct offsets *o;

static void fresh(void)
{
    if (o)
        offsets_close(o);
    if (offsets_open(&o))
        exit(2);
}

static void test_commit(void)
{
    int64_t before;

    fresh();
    is_int(offsets_get(o, S("g"), S("T"), 0), -1, "never committed");
    before = offsets_changes(o);
    is_int(offsets_commit(o, S("g"), S("T"), 2, 5), 0, "a first commit, of queue 2");
    ok(offsets_changes(o) > before, "is a change to be saved");
    is_int(offsets_get(o, S("g"), S("T"), 2), 5, "is what a query gives");
    is_int(offsets_get(o, S("g"), S("T"), 0), -1, "queue 0 has none by that");
    is_int(offsets_get(o, S("g"), S("T"), 3), -1, "nor queue 3");
    is_int(offsets_get(o, S("g2"), S("T"), 2), -1, "nor another group");
    is_int(offsets_get(o, S("g"), S("T2"), 2), -1, "nor another topic");
    offsets_commit(o, S("g"), S("T"), 0, 7);
    offsets_commit(o, S("g"), S("T"), 2, 3);
    is_int(offsets_get(o, S("g"), S("T"), 2), 3, "a lower commit overwrites, as Apache's does");
    is_int(offsets_get(o, S("g"), S("T"), 0), 7, "and touches no other queue");
    is_int(offsets_commit(o, S("g"), S("T"), 0, INT64_MAX), 0, "the highest offset there is");
    is_int(offsets_get(o, S("g"), S("T"), 0), INT64_MAX, "is kept");
    is_int(offsets_commit(o, S("g"), S("T"), -1, 1), -EINVAL, "queue -1");
    is_int(offsets_commit(o, S("g"), S("T"), 65536, 1), -EINVAL, "queue 65536");
    is_int(offsets_commit(o, S("g"), S("T"), INT32_MAX, 1), -EINVAL, "a huge queue takes no memory");
    is_int(offsets_commit(o, S("g"), S("T"), 1, -1), -EINVAL, "a negative offset");
    is_int(offsets_get(o, S("g"), S("T"), 1), -1, "is not kept");
    is_int(offsets_get(o, S("g"), S("T"), INT32_MIN), -1, "a query of a queue that cannot be");
}

static void test_resets(void)
{
    fresh();
    offsets_commit(o, S("g"), S("T"), 0, 100);
    is_int(offsets_reset_waiting(o, S("g"), S("T"), 0, true), -1, "no reset waits");
    is_int(offsets_reset(o, S("g"), S("T"), 0, 10), 0, "a reset");
    is_int(offsets_get(o, S("g"), S("T"), 0), 10, "is the committed offset at once");
    is_int(offsets_commit(o, S("g"), S("T"), 0, 120), 0, "a commit of a client that does not know yet");
    is_int(offsets_get(o, S("g"), S("T"), 0), 10, "does not undo it");
    is_int(offsets_commit(o, S("g"), S("T"), 1, 44), 0, "other queues are committed meanwhile");
    is_int(offsets_get(o, S("g"), S("T"), 1), 44, "as ever");
    is_int(offsets_reset_waiting(o, S("g"), S("T"), 0, false), 10, "the reset can be looked at");
    is_int(offsets_reset_waiting(o, S("g"), S("T"), 0, true), 10, "and taken by the pull that answers it");
    is_int(offsets_reset_waiting(o, S("g"), S("T"), 0, true), -1, "once");
    offsets_commit(o, S("g"), S("T"), 0, 11);
    is_int(offsets_get(o, S("g"), S("T"), 0), 11, "then commits count again");
    offsets_reset(o, S("g"), S("T"), 0, 1);
    offsets_reset(o, S("g"), S("T"), 0, 2);
    is_int(offsets_reset_waiting(o, S("g"), S("T"), 0, true), 2, "of two resets the last counts");
    is_int(offsets_reset(o, S("g"), S("T"), -1, 2), -EINVAL, "a reset of no queue");
    is_int(offsets_reset(o, S("g"), S("T"), 0, -2), -EINVAL, "a reset to nowhere");
    offsets_reset(o, S("g"), S("T"), 0, 3);
    is_int(offsets_put(o, S("g"), S("T"), 0, -1), 0, "putting back that there was none");
    is_int(offsets_get(o, S("g"), S("T"), 0), -1, "forgets the offset");
    is_int(offsets_reset_waiting(o, S("g"), S("T"), 0, false), -1, "and the reset");
    is_int(offsets_put(o, S("g"), S("T9"), 0, -1), 0, "also where there was nothing");
}

static void count_group(void *arg, struct str group)
{
    struct buf *b = arg;
    buf_put_str(b, group);
    buf_putc(b, ' ');
}

static void test_drop_and_copy(void)
{
    char topic[TOPIC_NAME_MAX_LONG + 1];
    struct buf groups = {0};

    fresh();
    offsets_commit(o, S("g1"), S("A"), 0, 1);
    offsets_commit(o, S("g1"), S("B"), 1, 2);
    offsets_commit(o, S("g2"), S("A"), 0, 3);
    is_int(offsets_topic_at(o, S("g1"), 0, topic), 0, "g1's first topic");
    is_text(topic, "A", "is A");
    offsets_topic_at(o, S("g1"), 1, topic);
    is_text(topic, "B", "its second is B");
    is_int(offsets_topic_at(o, S("g1"), 2, topic), -ENOENT, "and that is all");
    is_int(offsets_topic_at(o, S("nobody"), 0, topic), -ENOENT, "nobody has none");
    offsets_each_group(o, S("A"), count_group, &groups);
    buf_putc(&groups, 0);
    is_text(groups.p, "g1 g2 ", "groups with offsets in A");
    buf_free(&groups);

    is_int(offsets_copy_group(o, S("g1"), S("g3"), S("B")), 0, "copying one topic");
    is_int(offsets_get(o, S("g3"), S("B"), 1), 2, "copies it");
    is_int(offsets_get(o, S("g3"), S("B"), 0), -1, "with its gaps");
    is_int(offsets_get(o, S("g3"), S("A"), 0), -1, "and nothing else");
    is_int(offsets_copy_group(o, S("g1"), S("g3"), S("")), 0, "copying all");
    is_int(offsets_get(o, S("g3"), S("A"), 0), 1, "copies all");
    is_int(offsets_copy_group(o, S("g1"), S("g1"), S("")), 0, "onto itself");
    is_int(offsets_copy_group(o, S("nobody"), S("g1"), S("")), 0, "from nobody");

    offsets_reset(o, S("g1"), S("A"), 0, 0);
    offsets_reset(o, S("g2"), S("A"), 0, 0);
    offsets_drop_group(o, S("g1"));
    is_int(offsets_get(o, S("g1"), S("A"), 0), -1, "a dropped group has no offsets");
    is_int(offsets_reset_waiting(o, S("g1"), S("A"), 0, false), -1, "nor resets");
    is_int(offsets_reset_waiting(o, S("g2"), S("A"), 0, false), 0, "others have");
    offsets_drop_topic(o, S("A"));
    is_int(offsets_get(o, S("g2"), S("A"), 0), -1, "a dropped topic has no offsets");
    is_int(offsets_reset_waiting(o, S("g2"), S("A"), 0, false), -1, "nor resets");
    is_int(offsets_get(o, S("g3"), S("B"), 1), 2, "other topics have");
    offsets_drop_group(o, S("nobody"));
    offsets_drop_topic(o, S("nothing"));
}

/* As an Apache broker of 5.5.0 writes it. */
static const char apache[] =
    "{\n\t\"dataVersion\":{\n\t\t\"counter\":3,\n\t\t\"stateVersion\":0,\n\t\t\"timestamp\":1700000000000\n\t},\n"
    "\t\"groupTopicMap\":{\n\t\t\"g1\":[\n\t\t\t\"%RETRY%g1\",\n\t\t\t\"TopicA\"\n\t\t]\n\t},\n"
    "\t\"offsetTable\":{\n\t\t\"%RETRY%g1@g1\":{0:0},\n\t\t\"TopicA@g1\":{0:120,1:98,3:9223372036854775807}\n\t}\n}";

static char *encoded(bool pretty)
{
    struct buf b = {0};

    offsets_encode(o, &b, pretty);
    return buf_take(&b);
}

static void test_json(void)
{
    char *text, *again;

    fresh();
    is_int(offsets_decode(o, S(apache)), 0, "Apache's file is read");
    is_int(offsets_get(o, S("g1"), S("TopicA"), 1), 98, "an offset");
    is_int(offsets_get(o, S("g1"), S("TopicA"), 2), -1, "a gap");
    is_int(offsets_get(o, S("g1"), S("TopicA"), 3), INT64_MAX, "a long");
    is_int(offsets_get(o, S("g1"), S("%RETRY%g1"), 0), 0, "a zero");
    text = encoded(false);
    is_text(text,
            "{\"dataVersion\":{\"counter\":3,\"stateVersion\":0,\"timestamp\":1700000000000},"
            "\"groupTopicMap\":{\"g1\":[\"%RETRY%g1\",\"TopicA\"]},"
            "\"offsetTable\":{\"%RETRY%g1@g1\":{0:0},\"TopicA@g1\":{0:120,1:98,3:9223372036854775807}}}",
            "and written with unquoted queue numbers");
    free(text);
    text = encoded(true);
    ok(strstr(text, "\n\t\"offsetTable\":{\n") != NULL, "the file is indented with tabs");
    is_int(offsets_decode(o, S(text)), 0, "what was written is read");
    again = encoded(true);
    is_text(again, text, "and written again it is the same");
    free(text);
    free(again);
    for (int i = 0; i < 500; i++)
        offsets_commit(o, S("g1"), S("TopicA"), 0, i);
    text = encoded(false);
    ok(strstr(text, "\"counter\":4,") != NULL, "500 commits are one step of the version, as Apache counts");
    free(text);
    is_int(offsets_decode(o,
                          S("{\"offsetTable\":{\"A@g\":{\"0\":5,\"x\":6,-1:7,70000:8,1:-3,2:\"9\"},\"noat\":{0:1},\"A@b/d\":{0:1}}}")), 0,
           "strange members are passed over");
    is_int(offsets_get(o, S("g"), S("A"), 0), 5, "a quoted queue number is one");
    is_int(offsets_get(o, S("g"), S("A"), 2), 9, "a quoted offset, too");
    is_int(offsets_get(o, S("g"), S("A"), 1), -1, "a negative offset is none");
    is_int(offsets_get(o, S("g1"), S("TopicA"), 0), -1, "what was there before is gone");
    is_int(offsets_decode(o, S("{}")), 0, "an empty object is an empty table");
}

static void test_broken_json(void)
{
    static const char *const bad[] = {"", "[]", "5", "null", "\"x\"", "{\"offsetTable\":5}",
                                      "{\"offsetTable\":[]}", "{\"offsetTable\":{\"A@g\":5}}", "{"};
    unsigned seed = (unsigned)time(NULL);
    size_t n = strlen(apache), accepted = 0;
    char text[sizeof(apache)];

    fresh();
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        is_int(offsets_decode(o, S(bad[i])), -EBADMSG, "refused: %s", bad[i]);
    for (size_t i = 0; i < n; i++)
        accepted += offsets_decode(o, str_n(apache, i)) == 0;
    is_int(accepted, 0, "cut off at any of its %zu bytes the file is refused", n);
    printf("# seed %u\n", seed);
    for (int i = 0; i < 20000; i++) {
        memcpy(text, apache, n);
        for (int k = 0; k < 3; k++)
            text[(size_t)rand_r(&seed) % n] = (char)rand_r(&seed);
        (void)offsets_decode(o, str_n(text, n));
    }
    is_int(offsets_decode(o, S(apache)), 0, "after 20000 files with flipped bytes the good one is read");
}

#define ROUNDS 20000

static void *commit_many(void *arg)
{
    int32_t queue = *(int32_t *)arg;

    for (int64_t i = 1; i <= ROUNDS; i++) {
        offsets_commit(o, S("g"), S("T"), queue, i);
        if (i % 64 == 0)
            offsets_commit(o, S("g"), S("T"), (int32_t)(i % 512) + 16, i);      /* makes the array move */
    }
    return NULL;
}

static void test_threads(void)
{
    int32_t queues[] = {0, 1, 2, 3};
    pthread_t t[4];
    int wrong = 0;

    fresh();
    for (int i = 0; i < 4; i++)
        pthread_create(&t[i], NULL, commit_many, &queues[i]);
    for (int i = 0; i < 200; i++)
        free(encoded(false));
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    for (int i = 0; i < 4; i++)
        wrong += offsets_get(o, S("g"), S("T"), queues[i]) != ROUNDS;
    is_int(wrong, 0, "no commit of four threads is lost while the table grows and is written");
}

int main(void)
{
    log_open("/dev/null", LOG_ERROR);
    test_commit();
    test_resets();
    test_drop_and_copy();
    test_json();
    test_broken_json();
    test_threads();
    offsets_close(o);
    return tap_done();
}
