/* More queues than may be mapped: their number stays bounded, while several threads append and read. Queues at rest
 * cost little. (R-STORE-38) */
#include <malloc.h>
#include <pthread.h>

#include "tests/unit/store_help.h"
#include "tests/unit/tap.h"

#include "store/store_impl.h"

#define QUEUES 300
#define MAPS 16
#define EACH 450                     /* messages a queue: three files */

static int count_maps(const char *what)
{
    FILE *f = fopen("/proc/self/maps", "r");
    char line[8192];
    int n = 0;

    while (f && fgets(line, sizeof line, f))
        n += strstr(line, what) != NULL;
    if (f)
        fclose(f);
    return n;
}

static struct store_queue *queue(struct store *s, int i) { return store_queue(s, str_of("t"), i); }

struct work {
    struct store *s;
    int first, step;
    int64_t most, wrong;
};

static void note(struct work *w)
{
    struct store_stats st;

    store_stats(w->s, &st);
    w->most = st.queue_maps > w->most ? st.queue_maps : w->most;
}

static void *append_all(void *arg)
{
    struct work *w = arg;
    struct store_put put;

    for (int64_t n = 0; n < EACH; n++) {
        for (int i = w->first; i < QUEUES; i += w->step)
            w->wrong += test_append(w->s, queue(w->s, i), n, &put) != 0 || put.queue_offset != n;
        if (n % 16 == 0)
            note(w);
    }
    return NULL;
}

static void *read_some(void *arg)
{
    struct work *w = arg;
    int64_t bad;

    for (int round = 0; round < 3; round++) {
        for (int i = w->first; i < QUEUES; i += w->step) {
            test_read_all(w->s, queue(w->s, i), 0, &bad);
            w->wrong += bad;
            if (i % 16 == 0)
                note(w);
        }
    }
    return NULL;
}

static void test_bound(void)
{
    struct store_conf conf = test_conf();
    struct store *s;
    struct work w[4];
    pthread_t t[4];
    int64_t most = 0, wrong = 0, bad = 0, all = 0;

    conf.max_queue_maps = MAPS;
    conf.flush_queue_interval_ms = 20;       /* syncing maps files, too */
    s = test_open(&conf);
    for (int i = 0; i < 4; i++) {
        w[i] = (struct work){s, i % 2, 2, 0, 0};
        pthread_create(&t[i], NULL, i < 2 ? append_all : read_some, &w[i]);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(t[i], NULL);
        most = w[i].most > most ? w[i].most : most;
        wrong += w[i].wrong;
    }
    is_int(wrong, 0, "two threads append to %d queues while two read", QUEUES);
    ok(most <= MAPS + 24 && most > 0, "at most %" PRId64 " files were mapped at a time, %d allowed and a few on their way",
       most, MAPS);
    ok(count_maps("/consumequeue/") <= MAPS + 24, "the kernel says so: %d", count_maps("/consumequeue/"));
    for (int i = 0; i < QUEUES; i++) {
        int64_t one;
        all += test_read_all(s, queue(s, i), 0, &one);
        bad += one;
    }
    ok(all == QUEUES * EACH && bad == 0, "all %" PRId64 " messages read right", all);
    test_close(s);

    s = test_open(&conf);
    for (int i = 0; i < QUEUES; i++)
        wrong += store_queue_max(s, queue(s, i)) != EACH || store_queue_min(s, queue(s, i)) != 0;
    is_int(wrong, 0, "after a restart the queues are as they were");
    is_int(count_maps("/consumequeue/"), 0, "asking for min and max maps nothing");
    test_close(s);
    test_clean(&conf);
}

/* Recovery goes through all queues, too. */
static void test_recovery(void)
{
    struct store_conf conf = test_conf();
    struct store *s;
    struct work w = {.step = 1};
    char path[600];
    int64_t all = 0, bad = 0;
    FILE *f;

    conf.max_queue_maps = MAPS;
    s = w.s = test_open(&conf);
    for (int64_t n = 0; n < 3; n++)
        for (int i = 0; i < QUEUES; i++) {
            struct store_put put;
            w.wrong += test_append(s, queue(s, i), n, &put) != 0;
        }
    test_close(s);
    snprintf(path, sizeof path, "rm -rf %s/consumequeue", conf.root);
    ok(system(path) == 0, "the queues are removed");
    snprintf(path, sizeof path, "%s/abort", conf.root);
    if ((f = fopen(path, "w")))
        fclose(f);
    s = test_open(&conf);
    ok(count_maps("/consumequeue/") <= MAPS + 4, "recovery leaves %d mapped", count_maps("/consumequeue/"));
    for (int i = 0; i < QUEUES; i++) {
        int64_t one;
        all += test_read_all(s, queue(s, i), 0, &one);
        bad += one;
    }
    ok(all == QUEUES * 3 && bad == 0, "and all is there");
    test_close(s);
    test_clean(&conf);
}

static void test_rest(void)
{
    struct store_conf conf = test_conf();
    struct store *s = test_open(&conf);
    char topic[64];
    int n = 20000;
    struct mallinfo2 before = mallinfo2(), after;

    for (int i = 0; i < n; i++) {
        snprintf(topic, sizeof topic, "orders-of-department-%06d", i / 8);
        if (!store_queue(s, str_of(topic), i % 8))
            exit(2);
    }
    after = mallinfo2();
    /* Under a sanitizer's allocator the numbers are not known. */
    if (after.uordblks > before.uordblks)
        ok((after.uordblks - before.uordblks) / (size_t)n <= 400, "a queue at rest takes %zu bytes",
           (after.uordblks - before.uordblks) / (size_t)n);
    else
        ok(sizeof(struct store_queue) <= 300, "a queue's struct is %zu bytes", sizeof(struct store_queue));
    test_close(s);
    test_clean(&conf);
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    test_tmp = test_memory();
    test_bound();
    test_recovery();
    test_rest();
    return tap_done();
}
