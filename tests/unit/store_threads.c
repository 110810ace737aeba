/* Many threads on one store: appending, reading, waiting for syncs, deleting topics, asking for
 * times and state. Also the program to run under the thread sanitizer. */
#include <pthread.h>
#include <stdatomic.h>

#include "store/store_impl.h"
#include "tests/unit/store_help.h"
#include "tests/unit/tap.h"

static void each_counts(void *arg, struct store_queue *q)
{
    (void)q;
    ++*(int64_t *)arg;
}

#define WRITERS 3
#define READERS 3
#define PER_WRITER 2000

struct crowd {
    struct store *s;
    _Atomic int writing, wrong;
    _Atomic int64_t synced;
};

static void count_synced(void *arg, bool good)
{
    struct crowd *c = arg;

    if (good)
        c->synced++;
}

static void *writer(void *arg)
{
    struct crowd *c = arg;
    char body[512], props[128];

    for (int i = 0; i < PER_WRITER; i++) {
        struct store_queue *q = store_queue(c->s, str_of("Crowd"), i % 5);
        struct message m = test_message(i, body, props);
        struct store_put put;
        if (store_append(c->s, q, &m, i, &put, NULL))
            c->wrong++;
        else if (i % 10 == 0)
            store_when_flushed(c->s, put.end, 60000, count_synced, c);
    }
    c->writing--;
    return NULL;
}

/* Follows a queue: offsets without a gap, whole records, in the order of the log. */
static void *reader(void *arg)
{
    struct crowd *c = arg;
    struct store_queue *q = store_queue(c->s, str_of("Crowd"), 1);
    int64_t at = 0, last = -1;
    bool more;

    do {
        struct store_result *r;
        more = c->writing > 0;
        r = store_get(c->s, q, at, &test_limits, NULL);
        for (int i = 0; r->status == STORE_FOUND && i < r->n_iov; i++) {
            const char *p = r->iov[i].iov_base, *end = p + r->iov[i].iov_len;
            struct message m;
            for (; p < end; p += m.size) {
                if (message_record_get(p, (size_t)(end - p), true, &m) || m.queue_offset != at++ ||
                    m.physical_offset <= last) {
                    c->wrong++;
                    break;
                }
                last = m.physical_offset;
            }
        }
        c->wrong += at != r->next_begin;
        store_release(r);
    } while (more || at < store_queue_max(c->s, q));
    return NULL;
}

/* Makes and deletes topics, asks for state and times. */
static void *meddler(void *arg)
{
    struct crowd *c = arg;
    struct store_queue *q = store_queue(c->s, str_of("Crowd"), 2);

    for (int i = 0; c->writing > 0; i++) {
        struct store_put put;
        struct store_stats st;
        int64_t n = 0;
        test_append(c->s, store_queue(c->s, str_of("Short"), i % 2), i, &put);
        store_stats(c->s, &st);
        c->wrong += !st.writable || st.flushed > st.log_max;
        queue_table_each(&c->s->queues, &c->s->env, each_counts, &n);
        c->wrong += store_offset_at_time(c->s, q, put.store_timestamp, true) > store_queue_max(c->s, q);
        c->wrong += store_delete_topic(c->s, str_of("Short")) != 0;
    }
    return NULL;
}

static void test_crowd(void)
{
    struct store_conf conf = test_conf();
    struct crowd c = {.s = NULL, .writing = WRITERS};
    static void *(*const mains[])(void *) = {writer, reader, meddler};
    static const int how_many[] = {WRITERS, READERS, 1};
    pthread_t threads[WRITERS + READERS + 1];
    int n = 0;
    int64_t sum = 0;

    conf.commit_log_file_size = 1 << 20;
    conf.flush_interval_ms = conf.flush_queue_interval_ms = 5;
    conf.flush_queue_thorough_ms = 20;
    c.s = test_open(&conf);
    for (int k = 0; k < 3; k++)
        for (int i = 0; i < how_many[k]; i++)
            pthread_create(&threads[n++], NULL, mains[k], &c);
    for (int i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 5; i++)
        sum += store_queue_max(c.s, store_queue(c.s, str_of("Crowd"), i));
    is_int(sum, WRITERS * PER_WRITER, "many threads: every append has its offset");
    is_int(c.wrong, 0, "readers saw whole records in order, and nothing failed");
    test_close(c.s);
    is_int(c.synced, WRITERS * PER_WRITER / 10, "every one who waited was told");
    c.s = test_open(&conf);
    for (int i = 0; i < 5; i++)
        sum -= store_queue_max(c.s, store_queue(c.s, str_of("Crowd"), i));
    is_int(sum, 0, "all there after a restart");
    test_close(c.s);
    test_clean(&conf);
}

int main(void)
{
    test_crowd();
    return tap_done();
}
