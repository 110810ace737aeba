/* The store while it runs: append, get, read, time search, group commit, deletion,
 * limits. Rows: R-STORE-10, -13, -14, -18..-20 (of what exists here),
 * -21, -22, -25, -26, -31, -37; R-CONS-04, -05, -06.
 * What happens at the next start is in store_recover.c; with many threads, in store_threads.c; with disks that
 * fail, in store_faults.c. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/be.h"
#include "store/store_impl.h"
#include "tests/unit/store_help.h"
#include "tests/unit/tap.h"

static void test_append_and_get(void)
{
    struct store_conf conf = test_conf();
    struct store *s = test_open(&conf);
    struct store_queue *q = store_queue(s, str_of("TopicA"), 0);
    struct store_put put;
    struct store_result *r;
    struct message got;

    r = store_get(s, q, 0, &test_limits, NULL);
    is_int(r->status, STORE_NO_MESSAGE_IN_QUEUE, "an empty queue says so");
    store_release(r);
    r = store_get(s, NULL, 5, &test_limits, NULL);
    ok(r->status == STORE_NO_MATCHED_LOGIC_QUEUE && r->next_begin == 0, "no queue");
    store_release(r);
    for (int i = 0; i < 100; i++)
        if (test_append(s, q, i, &put) || put.queue_offset != i)
            break;
    is_int(put.queue_offset, 99, "100 messages get 100 offsets");
    is_int(store_queue_max(s, q), 100, "max");
    is_int(store_queue_min(s, q), 0, "min");
    r = store_get(s, q, 10, &test_limits, NULL);
    ok(r->status == STORE_FOUND && r->n_messages == 32 && r->next_begin == 42, "32 of them from 10 on");
    is_int(r->n_iov, 1, "neighbours in the log are one extent");
    is_int(message_record_get(r->iov[0].iov_base, r->iov[0].iov_len, true, &got), 0, "the first is a whole record");
    ok(got.queue_offset == 10 && test_body_is(&got, 10), "it is number 10");
    is_int(r->last_store_timestamp, store_time_at(s, q, 41), "time of the last one given");
    store_release(r);
    struct { int64_t at; enum store_status status; int64_t next; } outside[] = {
        {-1, STORE_OFFSET_TOO_SMALL, 0}, {100, STORE_OFFSET_OVERFLOW_ONE, 100}, {101, STORE_OFFSET_OVERFLOW_BADLY, 100},
        {INT64_MAX, STORE_OFFSET_OVERFLOW_BADLY, 100}, {INT64_MIN, STORE_OFFSET_TOO_SMALL, 0},
    };
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) {
        r = store_get(s, q, outside[i].at, &test_limits, NULL);
        ok(r->status == outside[i].status && r->next_begin == outside[i].next, "get at %" PRId64, outside[i].at);
        store_release(r);
    }
    test_close(s);
    test_clean(&conf);
}

static void test_formats(void)
{
    struct store_conf conf = test_conf();
    struct store *s = test_open(&conf);
    struct store_queue *q = store_queue(s, str_of("TopicA"), 7);
    struct store_put put[2];
    char path[256];
    unsigned char unit[40];
    struct message m;
    struct buf log = {0};
    struct stat st;
    int fd;

    test_append(s, q, 0, &put[0]);
    test_append(s, q, 1, &put[1]);
    is_int(put[1].physical_offset, put[0].end, "one record after the other");
    snprintf(path, sizeof path, "%s/consumequeue/TopicA/7/00000000000000000000", conf.root);
    fd = open(path, O_RDONLY);
    ok(fd >= 0 && read(fd, unit, 40) == 40 && fstat(fd, &st) == 0, "the queue's file is there");
    close(fd);
    is_int(st.st_size, 4000, "of its full size");
    is_int(be64_get(unit + 20), put[1].physical_offset, "second unit: offset");
    is_int(be32_get(unit + 28), put[1].size, "size");
    is_int(be64_get(unit + 32), str_java_hash(str_of("Tag1")), "tag code");
    snprintf(path, sizeof path, "%s/commitlog/00000000000000000000", conf.root);
    buf_room(&log, 65536);
    fd = open(path, O_RDONLY);
    ok(fd >= 0 && read(fd, log.p, 65536) == 65536, "the log's file is there, of its full size");
    close(fd);
    ok(message_record_get(log.p + put[1].physical_offset, put[1].size, true, &m) == 0 && test_body_is(&m, 1) &&
       m.physical_offset == put[1].physical_offset && m.queue_offset == 1 && m.queue_id == 7 &&
       str_is(m.topic, "TopicA") && m.store_timestamp == put[1].store_timestamp, "its record");
    buf_free(&log);
    for (int i = 2; i < 400; i++)
        test_append(s, q, i, &put[0]);
    snprintf(path, sizeof path, "%s/commitlog/00000000000000065536", conf.root);
    is_int(access(path, F_OK), 0, "the second log file has the first one's size as its name");
    snprintf(path, sizeof path, "%s/consumequeue/TopicA/7/00000000000000004000", conf.root);
    is_int(access(path, F_OK), 0, "and the second queue file");
    test_close(s);
    test_clean(&conf);
}

/* A file is closed by a blank that says how much is left, as long as 8 bytes are. */
static void test_blank_at_end(void)
{
    struct store_conf conf = test_conf();
    struct store *s;
    struct store_queue *q;
    struct store_put put;
    char path[256], *body = calloc(1, 60000), raw[8];
    struct message m = {.body = str_n(body, 0)};
    size_t fixed;
    int fd, wrong = 0;

    conf.commit_log_file_size = 8192;
    s = test_open(&conf);
    q = store_queue(s, str_of("T"), 0);
    m.topic = str_of("T");
    fixed = message_record_size(&m);
    for (size_t rest = 0; rest < 24; rest++) {
        /* Two records that leave `rest` bytes of a file. */
        for (int half = 0; half < 2; half++) {
            struct fault f;
            m.body.n = 4096 - fixed - (half ? rest : 0);
            if (store_append(s, q, &m, 0, &put, &f))
                wrong++;
        }
        int64_t base = put.end - put.end % 8192;
        if (rest < 8) {
            /* A blank would not fit behind it: the second record is in a file of its own. */
            wrong += put.physical_offset % 8192 != 0;
            m.body.n = 8192 - fixed - 8;
            wrong += store_append(s, q, &m, 0, &put, NULL);
            continue;
        }
        wrong += put.physical_offset % 8192 != 4096;
        m.body.n = 8192 - fixed - 8;                 /* the next one fills a file as far as it may */
        wrong += store_append(s, q, &m, 0, &put, NULL);
        snprintf(path, sizeof path, "%s/commitlog/%020" PRId64, conf.root, base);
        fd = open(path, O_RDONLY);
        wrong += pread(fd, raw, 8, (off_t)(8192 - rest)) != 8 || be32_get(raw) != rest || be32_get(raw + 4) != BLANK_MAGIC;
        close(fd);
    }
    is_int(wrong, 0, "files end as they must, whatever is left");
    m.body.n = 8192 - fixed - 7;
    is_int(store_append(s, q, &m, 0, &put, NULL), -EMSGSIZE, "one byte more than a file holds");
    int64_t n = store_queue_max(s, q);
    test_close(s);
    s = test_open(&conf);
    is_int(store_queue_max(s, store_queue(s, str_of("T"), 0)), n, "all there after a restart");
    test_close(s);
    test_clean(&conf);
    free(body);
}

static void test_limits_of_messages(void)
{
    struct store_conf conf = test_conf();
    struct store *s = test_open(&conf);
    struct store_queue *q = store_queue(s, str_of("TopicA"), 0);
    struct store_put put;
    struct fault f = {0};
    char *big = calloc(1, 70000);
    struct message m = {.body = str_n(big, 60001), .topic = str_of("TopicA")};
    struct store_stats st;

    is_int(store_append(s, q, &m, 0, &put, &f), -EMSGSIZE, "a body of one byte too many");
    ok(strstr(f.text, "60001") && strstr(f.text, "60000"), "the sentence has both numbers: %s", f.text);
    m.body.n = 10;
    m.properties = str_n(big, PROPERTIES_MAX + 1);
    is_int(store_append(s, q, &m, 0, &put, &f), -EMSGSIZE, "properties of one byte too many");
    m.properties.n = PROPERTIES_MAX;
    is_int(store_append(s, q, &m, 0, &put, &f), 0, "as many as may be");
    store_stats(s, &st);
    ok(st.writable && st.log_max == put.end && st.appended_messages == 1, "too large a message does not stop writes");
    static const char bad[][5] = {"", "a/b", ".", "..", "/etc"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ok(!store_queue(s, str_of(bad[i]), 0), "no queue named \"%s\"", bad[i]);
    ok(!store_queue(s, str_n("a\0b", 3), 0) && !store_queue(s, str_n(big, 300), 0), "nor with a NUL, nor too long");
    ok(!store_queue(s, str_of("TopicA"), -1), "nor with a negative number");
    ok(!store_queue_find(s, str_of("TopicB"), 0), "finding makes none");
    test_close(s);
    test_clean(&conf);
    free(big);
}

static void test_batch(void)
{
    struct store_conf conf = test_conf();
    struct store *s = test_open(&conf);
    struct store_queue *q = store_queue(s, str_of("TopicA"), 0);
    enum { N = 150 };
    static char body[N][512], props[N][128];
    struct message m[N];
    int64_t tags[N] = {0}, bad, before;
    struct store_put put[N];
    int wrong = 0;

    for (int round = 0; round < 5; round++) {
        int n = round == 4 ? 3 : N;
        for (int i = 0; i < n; i++)
            m[i] = test_message(round * N + i, body[i], props[i]);
        is_int(store_append_batch(s, q, m, tags, n, put, NULL), 0, "batch of %d", n);
        for (int i = 0; i < n; i++)
            wrong += put[i].queue_offset != round * N + i || (i && put[i].physical_offset != put[i - 1].end) ||
                     put[i].physical_offset / 65536 != put[0].physical_offset / 65536;
    }
    is_int(wrong, 0, "consecutive in queue and log, each batch in one file");
    is_int(test_read_all(s, q, 0, &bad), 4 * N + 3, "all can be read");
    is_int(bad, 0, "and are right");
    before = store_queue_max(s, q);
    m[1].properties = str_n(body[0], PROPERTIES_MAX + 1);
    is_int(store_append_batch(s, q, m, tags, 3, put, NULL), -EMSGSIZE, "one bad message");
    is_int(store_queue_max(s, q), before, "refuses all");
    for (int i = 0; i < N; i++)
        m[i] = (struct message){.body = str_n((char *)body, 1000)};
    is_int(store_append_batch(s, q, m, tags, N, put, NULL), -EMSGSIZE, "more than a file holds");
    is_int(store_append_batch(s, q, m, tags, 0, put, NULL), 0, "none");
    test_close(s);
    test_clean(&conf);
}

static bool tag_is(void *arg, int64_t code) { return code == *(int64_t *)arg; }
static bool record_is_odd(void *arg, const char *record, uint32_t size)
{
    struct message m;
    (void)arg;
    return message_record_get(record, size, true, &m) == 0 && m.queue_offset % 2 == 1;
}

static void test_filters_and_limits(void)
{
    struct store_conf conf = test_conf();
    struct store *s = test_open(&conf);
    struct store_queue *q = store_queue(s, str_of("TopicA"), 0);
    struct store_put put;
    int64_t tag = str_java_hash(str_of("Tag2")), none = 12345;
    struct store_filter f = {.by_tags_code = tag_is, .arg = &tag};
    struct store_limits l = test_limits;
    struct store_result *r;

    for (int i = 0; i < 1000; i++)
        test_append(s, q, i, &put);
    r = store_get(s, q, 0, &l, &f);
    ok(r->status == STORE_FOUND && r->n_messages == 32 && r->next_begin == 96, "every third message by its tag");
    store_release(r);
    f.by_record = record_is_odd;
    r = store_get(s, q, 0, &l, &f);
    ok(r->n_messages == 32 && r->next_begin == 192, "and of these the odd ones, by the record");
    store_release(r);
    f = (struct store_filter){.by_tags_code = tag_is, .arg = &none};
    r = store_get(s, q, 100, &l, &f);
    ok(r->status == STORE_NO_MATCHED_MESSAGE && r->next_begin == 900 && r->n_messages == 0,
       "nothing matches: 800 units were looked at");
    store_release(r);
    l.max_scan = 50;
    r = store_get(s, q, 100, &l, &f);
    is_int(r->next_begin, 150, "or as many as asked for");
    store_release(r);
    l = test_limits;
    l.max_bytes = 1;
    r = store_get(s, q, 5, &l, NULL);
    ok(r->n_messages == 1 && r->next_begin == 6, "one message comes whatever the limit");
    store_release(r);
    l.max_bytes = 3000;
    r = store_get(s, q, 5, &l, NULL);
    ok(r->bytes <= 3000 && r->n_messages > 1 && r->next_begin == 5 + r->n_messages, "3000 bytes at most");
    store_release(r);
    l = test_limits;
    l.max_messages = l.max_scan = 1000;
    l.max_bytes = 1 << 30;
    r = store_get(s, q, 0, &l, NULL);
    ok(r->n_messages == 1000 && r->n_iov > 1, "over several files: several extents");
    store_release(r);
    test_close(s);
    test_clean(&conf);
}

static void test_time_search(void)
{
    struct store_conf conf = test_conf();
    struct store *s = test_open(&conf);
    struct store_queue *q = store_queue(s, str_of("TopicA"), 0);
    struct store_put put;
    int64_t times[450], wrong = 0;
    int n = 0;

    is_int(store_offset_at_time(s, q, 0, false), 0, "an empty queue");
    for (; n < 450; n++) {
        if (n % 50 == 0)
            usleep(3000);
        test_append(s, q, n, &put);
        times[n] = put.store_timestamp;
    }
    for (int i = 0; i < n; i++) {
        int first = i, last = i;
        while (first > 0 && times[first - 1] == times[i])
            first--;
        while (last < n - 1 && times[last + 1] == times[i])
            last++;
        wrong += store_offset_at_time(s, q, times[i], false) != first;
        wrong += store_offset_at_time(s, q, times[i], true) != last;
        wrong += store_time_at(s, q, i) != times[i];
    }
    is_int(wrong, 0, "each message's time: first and last of its millisecond");
    for (int i = 1; i < n; i++)
        if (times[i] > times[i - 1] + 1) {
            wrong += store_offset_at_time(s, q, times[i] - 1, false) != i;
            wrong += store_offset_at_time(s, q, times[i] - 1, true) != i - 1;
        }
    is_int(wrong, 0, "times between two: the one after, the one before");
    is_int(store_offset_at_time(s, q, 0, false), 0, "before all, lower");
    is_int(store_offset_at_time(s, q, 0, true), 0, "before all, upper");
    is_int(store_offset_at_time(s, q, INT64_MAX, false), n, "after all, lower: max");
    is_int(store_offset_at_time(s, q, INT64_MAX, true), n - 1, "after all, upper: the last");
    ok(store_time_at(s, q, n) == -1 && store_time_at(s, q, -1) == -1, "no message, no time");
    test_close(s);
    test_clean(&conf);
}

static void test_read(void)
{
    struct store_conf conf = test_conf();
    struct store *s = test_open(&conf);
    struct store_queue *q = store_queue(s, str_of("TopicA"), 0);
    struct store_put put[3];
    struct store_result *r;
    struct store_entry e;
    int found = 0;

    for (int i = 0; i < 3; i++)
        test_append(s, q, i, &put[i]);
    is_int(store_read(s, put[1].physical_offset, 0, &r), 0, "read by offset alone");
    ok(r->n_iov == 1 && r->iov[0].iov_len == put[1].size && r->n_messages == 1, "the whole record");
    store_touch(r);
    store_release(r);
    is_int(store_read(s, put[1].physical_offset, put[1].size, &r), 0, "and by its size");
    store_release(r);
    is_int(store_read(s, put[1].physical_offset, put[1].size + 1, &r), -ENOENT, "not by another");
    static const int64_t no[] = {-1, INT64_MIN, INT64_MAX, 65536, 1000000};
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        is_int(store_read(s, no[i], 0, &r), -ENOENT, "no record at %" PRId64, no[i]);
    for (int64_t at = 0; at <= put[2].end; at++)
        if (store_read(s, at, 0, &r) == 0) {
            store_release(r);
            found++;
        }
    is_int(found, 3, "of all offsets three begin a record");
    is_int(store_read(s, put[0].physical_offset, UINT32_MAX, &r), -ENOENT, "a size that lies");
    ok(store_entry(s, q, 2, &e) == 0 && e.physical_offset == put[2].physical_offset && e.size == put[2].size, "entry");
    ok(store_entry(s, q, 3, &e) == -ENOENT && store_entry(s, q, -1, &e) == -ENOENT, "none outside");
    test_close(s);
    test_clean(&conf);
}

/* Deliver times instead of tags; the topic's levels clamp. */
static void test_schedule_topic(void)
{
    struct store_conf conf = test_conf();
    struct store *s = test_open(&conf);
    struct store_queue *q = store_queue(s, str_of("SCHEDULE_TOPIC_XXXX"), 1);
    static const struct { const char *props; int64_t delay; } rows[] = {
        {"DELAY\0012\002", 5000}, {"DELAY\00199\002", 10000}, {"DELAY\0011\002TAGS\001x\002", 1000},
    };
    struct store_put put;
    struct store_entry e;

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct message m = {.body = str_of("later"), .properties = str_of(rows[i].props)};
        store_append(s, q, &m, 77, &put, NULL);
        store_entry(s, q, (int64_t)i, &e);
        is_int(e.tags_code - put.store_timestamp, rows[i].delay, "deliver time of %zu", i);
    }
    struct message m = {.body = str_of("no level"), .properties = str_of("TAGS\001x\002")};
    store_append(s, q, &m, 77, &put, NULL);
    store_entry(s, q, 3, &e);
    is_int(e.tags_code, 77, "without a level the caller's code");
    ok(store_delay_ms(s, 2) == 5000 && store_delay_ms(s, 9) == 10000 && store_delay_levels(s) == 3, "levels");
    m = (struct message){.body = str_of("half"), .sys_flag = SYSFLAG_TRANS_PREPARED};
    is_int(store_append(s, q, &m, 0, &put, NULL), 0, "a prepared message");
    is_int(store_queue_max(s, q), 4, "gets no unit");
    test_close(s);
    test_clean(&conf);
}

static void test_many_queues(void)
{
    enum { MANY = 300 };
    struct store_conf conf = test_conf();
    struct store *s = test_open(&conf);
    struct store_put put;
    int64_t n = 0;

    for (int i = 0; i < MANY * 3; i++)
        test_append(s, store_queue(s, str_of("Many"), i % MANY), i, &put);
    test_close(s);
    s = test_open(&conf);
    for (int i = 0; i < MANY; i++)
        n += store_queue_max(s, store_queue_find(s, str_of("Many"), i));
    is_int(n, MANY * 3, "%d queues, closed and opened", MANY);
    test_close(s);
    test_clean(&conf);
}

struct wait_for {
    pthread_mutex_t lock;
    pthread_cond_t change;
    int yes, no;
};

static void told(void *arg, bool good)
{
    struct wait_for *w = arg;

    pthread_mutex_lock(&w->lock);
    if (good)
        w->yes++;
    else
        w->no++;
    pthread_cond_signal(&w->change);
    pthread_mutex_unlock(&w->lock);
}

static void wait_all(struct wait_for *w, int n)
{
    pthread_mutex_lock(&w->lock);
    while (w->yes + w->no < n)
        pthread_cond_wait(&w->change, &w->lock);
    pthread_mutex_unlock(&w->lock);
}

static void test_group_commit(void)
{
    struct store_conf conf = test_conf();
    struct wait_for w = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0};
    struct store *s;
    struct store_queue *q;
    struct store_put put;
    struct store_stats st;

    conf.flush_interval_ms = conf.flush_queue_interval_ms = 60000;      /* only those who wait make it sync */
    s = test_open(&conf);
    q = store_queue(s, str_of("TopicA"), 0);
    for (int i = 0; i < 500; i++) {
        test_append(s, q, i, &put);
        store_when_flushed(s, put.end, 10000, told, &w);
    }
    wait_all(&w, 500);
    is_int(w.yes, 500, "500 who waited were told");
    store_stats(s, &st);
    is_int(st.flushed, put.end, "all is on disk");
    ok(store_when_flushed(s, put.end, 10000, told, &w), "what is on disk already is told at once");
    is_int(w.yes, 501, "by the call itself");
    ok(!store_when_flushed(s, put.end + 1, 30, told, &w), "what never comes");
    wait_all(&w, 502);
    is_int(w.no, 1, "is told to be late");
    ok(!store_when_flushed(s, put.end + 1, 3600000, told, &w), "who still waits at the end");
    test_close(s);
    is_int(w.no, 2, "is told too");
    test_clean(&conf);
}

static int arrivals;
static int64_t arrived;
static void arrival(void *ctx, struct store_queue *q, int64_t max)
{
    arrivals++;
    arrived = max;
    ok(store_queue_data(q) == ctx && store_queue_max(*(struct store **)ctx, q) == max, "arrival: readable up to %" PRId64, max);
}

static void test_arrival(void)
{
    struct store_conf conf = test_conf();
    struct store *s = test_open(&conf);
    struct store_queue *q = store_queue(s, str_of("TopicA"), 0);
    struct store_put put;

    store_on_arrival(s, arrival, &s);
    store_queue_set_data(q, &s);
    test_append(s, q, 0, &put);
    test_append(s, q, 1, &put);
    ok(arrivals == 2 && arrived == 2, "told of each append");
    test_close(s);
    test_clean(&conf);
}

static void each_counts(void *arg, struct store_queue *q)
{
    (void)q;
    ++*(int64_t *)arg;
}

static void test_delete_topic(void)
{
    struct store_conf conf = test_conf();
    struct store *s = test_open(&conf);
    struct store_queue *q = store_queue(s, str_of("TopicA"), 0), *other = store_queue(s, str_of("TopicB"), 0);
    struct store_put put;
    struct store_result *r;
    struct message m;
    char path[256];
    int64_t n = 0;

    for (int i = 0; i < 250; i++) {
        test_append(s, q, i, &put);
        test_append(s, other, i, &put);
    }
    r = store_get(s, q, 0, &test_limits, NULL);
    is_int(store_delete_topic(s, str_of("TopicA")), 0, "delete a topic");
    ok(message_record_get(r->iov[0].iov_base, r->iov[0].iov_len, true, &m) == 0 && test_body_is(&m, 0),
       "what was read before stays readable");
    store_release(r);
    snprintf(path, sizeof path, "%s/consumequeue/TopicA", conf.root);
    is_int(access(path, F_OK), -1, "its directory is gone");
    ok(!store_queue_find(s, str_of("TopicA"), 0), "and its queue");
    is_int(store_append(s, q, &m, 0, &put, NULL), -ENOENT, "the old handle takes nothing");
    r = store_get(s, q, 0, &test_limits, NULL);
    ok(r->n_messages == 0, "and gives nothing");
    store_release(r);
    queue_table_each(&s->queues, &s->env, each_counts, &n);
    is_int(n, 1, "the other topic is there");
    q = store_queue(s, str_of("TopicA"), 0);
    is_int(store_queue_max(s, q), 0, "made again it begins with 0");
    test_append(s, q, 0, &put);
    is_int(put.queue_offset, 0, "so does its first message");
    is_int(store_delete_topic(s, str_of("Nothing")), 0, "a topic without queues can be deleted");
    is_int(store_delete_topic(s, str_of("..")), -EINVAL, "\"..\" cannot");
    test_close(s);
    s = test_open(&conf);
    is_int(store_queue_max(s, store_queue(s, str_of("TopicA"), 0)), 1, "it stays so after a restart");
    test_close(s);
    test_clean(&conf);
}

static void test_lock(void)
{
    struct store_conf conf = test_conf();
    struct store *s = test_open(&conf), *second;
    struct fault f = {0};
    int status;
    pid_t pid;

    is_int(store_open(&conf, &second, &f), -EBUSY, "a second open in this process");
    ok(strstr(f.text, "lock"), "%s", f.text);
    pid = fork();
    if (pid == 0) {
        /* As Apache asks for it: a record lock on byte 0. */
        struct flock range = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
        char path[256];
        snprintf(path, sizeof path, "%s/lock", conf.root);
        int fd = open(path, O_RDWR);
        _exit(fd >= 0 && fcntl(fd, F_SETLK, &range) < 0 && (errno == EAGAIN || errno == EACCES) ? 0 : 1);
    }
    waitpid(pid, &status, 0);
    is_int(status, 0, "another process does not get Apache's lock");
    test_close(s);
    s = test_open(&conf);
    test_close(s);
    ok(true, "after the close it is free");
    test_clean(&conf);
}

/* What is not in memory is said to be cold, and touching it brings it there. */
static void test_cold(void)
{
    struct store_conf conf = test_conf();
    struct store *s = test_open(&conf);
    struct store_put put;
    struct store_result *r;
    char path[256];
    int fd;

    for (int i = 0; i < 600; i++)
        test_append(s, store_queue(s, str_of("TopicA"), 0), i, &put);
    test_close(s);
    conf.hot_bytes = 4096;
    s = test_open(&conf);
    snprintf(path, sizeof path, "%s/commitlog/00000000000000000000", conf.root);
    fd = open(path, O_RDONLY);
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    close(fd);
    r = store_get(s, store_queue(s, str_of("TopicA"), 0), 0, &test_limits, NULL);
    if (r->cold) {
        ok(r->n_messages == 8, "cold: fewer messages at once");
        store_touch(r);
        store_release(r);
        r = store_get(s, store_queue(s, str_of("TopicA"), 0), 0, &test_limits, NULL);
        ok(!r->cold && r->n_messages == 32, "touched: in memory");
    } else {
        ok(true, "# SKIP this file system keeps its pages");
    }
    store_release(r);
    r = store_get(s, store_queue(s, str_of("TopicA"), 0), 590, &test_limits, NULL);
    ok(!r->cold && r->n_messages == 10, "near the end nothing is cold");
    store_release(r);
    test_close(s);
    test_clean(&conf);
}

int main(void)
{
    test_append_and_get();
    test_formats();
    test_blank_at_end();
    test_limits_of_messages();
    test_batch();
    test_filters_and_limits();
    test_time_search();
    test_read();
    test_schedule_topic();
    test_many_queues();
    test_group_commit();
    test_arrival();
    test_delete_topic();
    test_lock();
    test_cold();
    return tap_done();
}
