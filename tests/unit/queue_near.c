/* What of a queue's own files is in memory: who may not wait for the disk asks first, and has it brought by somebody
 * else. Where the system keeps pages that it is told to forget, there is nothing to see and the test says so. */
#include "store/store_impl.h"
#include "tests/unit/pages.h"
#include "tests/unit/store_help.h"
#include "tests/unit/tap.h"

#define N 40000                      /* messages: 800 KB of entries, */
#define PER 20000                    /* in two files */
#define FEW 32

static struct store_queue *queue(struct store *s) { return store_queue(s, str_of("TopicA"), 0); }

static struct store *open_cold(const struct store_conf *conf)
{
    pages_forget(conf->root, "consumequeue/TopicA/0/*");
    pages_forget(conf->root, "commitlog/*");
    return test_open(conf);
}

/* Whether one page can be had out of memory here at all. */
static bool forgets(struct store *s)
{
    struct mapped_file *file;
    bool can = false;

    if (!queue_file_at(&s->env, queue(s), N / 4, &file)) {
        can = !mapped_is_resident(file->map + N / 4 * UNIT_SIZE, 1);
        mapped_file_unref(file);
    }
    return can;
}

static void test_disk(const struct store_conf *conf)
{
    struct store *s = open_cold(conf);
    struct store_queue *q = queue(s);

    ok(!store_queue_near(q, N - 1, FEW), "of a queue that was not loaded nothing is near");
    is_int(store_queue_load(s, q), 0, "it is loaded");
    ok(store_queue_near(q, N - 1, FEW), "then its tail is,");
    ok(store_queue_near(q, N, FEW) && store_queue_near(q, N + 7, FEW) && store_queue_near(q, -1, FEW),
       "and so is what it does not have");
    ok(!store_queue_near(q, 0, FEW), "the beginning is not: its file is not even open");
    is_int(store_queue_bring(s, q, 0), 0, "it is brought");
    ok(store_queue_near(q, 0, FEW), "and near,");
    ok(store_queue_near(q, 4000, FEW), "and so is what will be asked for next");
    if (forgets(s))
        ok(!store_queue_near(q, N / 4, FEW), "what lies further on in that file is not");
    else
        ok(true, "# SKIP this file system does not forget");
    ok(!store_queue_near(q, PER - 1, 2), "over the file's end is not");
    is_int(store_queue_bring(s, q, PER - 1), 0, "it is brought");
    ok(store_queue_near(q, PER - 1, 2) && store_queue_near(q, PER + 4000, FEW), "from both files");
    is_int(store_queue_bring(s, q, N), 0, "there is nothing to bring at the end,");
    is_int(store_queue_bring(s, q, -5), 0, "or before the beginning");
    test_close(s);
}

static bool is_far(struct store *s, int64_t offset)
{
    struct store_result *r = store_get(s, queue(s), offset, &test_limits, NULL);
    bool far = r->far;

    if (r->status != STORE_FOUND || store_touch(r))
        printf("# no message at %lld\n", (long long)offset);
    store_release(r);
    return far;
}

/* After a restart, perhaps of the machine, messages that are near by their distance need not be in memory; and what the
 * kernel reads ahead is called resident before it is there. */
static void test_messages(const struct store_conf *conf)
{
    struct store *s = test_open(conf);
    struct store_put put;

    ok(is_far(s, N / 2), "messages of an earlier run are to be touched by who may wait");
    is_int(test_append(s, queue(s), N, &put), 0, "a message more");
    ok(!is_far(s, N), "what was written in this run is near");
    test_close(s);
}

int main(void)
{
    struct store_conf conf = test_conf();
    struct store_put put;
    struct store *s;
    int wrong = 0;

    conf.consume_queue_file_size = PER * UNIT_SIZE;
    s = test_open(&conf);
    for (int i = 0; i < N; i++)
        wrong += test_append(s, queue(s), i, &put) != 0;
    is_int(wrong, 0, "%d messages in two files of the queue", N);
    ok(store_queue_near(queue(s), 0, FEW) && store_queue_near(queue(s), PER - 1, 2), "what was written is all near");
    test_close(s);
    test_disk(&conf);
    test_messages(&conf);
    test_clean(&conf);
    return tap_done();
}
