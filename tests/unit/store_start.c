/* What a start makes of a store as it lies there: files with holes, queues of another kind, damage, a long log.
 * Rows: R-STORE-20, R-STORE-21, R-STORE-26, R-STORE-29. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdatomic.h>
#include <time.h>

#include "common/file.h"
#include "common/log.h"
#include "store/queue_count.h"
#include "tests/unit/store_help.h"
#include "tests/unit/tap.h"

static _Atomic int64_t leap_s;           /* the clock goes on by that much each time it is looked at */
static _Atomic int64_t leapt_s;
static _Atomic int reserve_error;

int clock_gettime(clockid_t id, struct timespec *t)
{
    static int (*_Atomic real)(clockid_t, struct timespec *);        /* any thread comes by */
    int rc;

    if (!real)
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    rc = real(id, t);
    t->tv_sec += atomic_fetch_add(&leapt_s, leap_s) + leap_s;
    return rc;
}

int fallocate(int fd, int mode, off_t at, off_t n)
{
    static int (*_Atomic real)(int, int, off_t, off_t);

    if (!real)
        real = (int (*)(int, int, off_t, off_t))dlsym(RTLD_NEXT, "fallocate64");
    if (reserve_error) {
        errno = reserve_error;
        return -1;
    }
    return real(fd, mode, at, n);
}

static char *path_in(const struct store_conf *conf, const char *name)
{
    static char path[300];

    snprintf(path, sizeof path, "%s/%s", conf->root, name);
    return path;
}

static bool exists(const struct store_conf *conf, const char *name) { return access(path_in(conf, name), F_OK) == 0; }

static void remove_in(const struct store_conf *conf, const char *name)
{
    nftw(path_in(conf, name), test_unlink, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- disk space ---- */

static int64_t blocks_of(const struct store_conf *conf, const char *name)
{
    struct stat st = {0};

    return stat(path_in(conf, name), &st) ? -1 : (int64_t)st.st_blocks * 512;
}

static void punch(const struct store_conf *conf, const char *name, int64_t from, int64_t to)
{
    int fd = open(path_in(conf, name), O_RDWR);

    if (fd < 0 || fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, from, to - from)) {
        printf("Bail out! %s: %s\n", name, strerror(errno));
        exit(2);
    }
    close(fd);
}

/* Apache's files get their blocks as they are written; what is written to ours has its room before. */
static void test_holes(void)
{
    static const char first[] = "commitlog/00000000000000000000";
    struct store_conf conf = test_conf();
    struct store *s = test_open(&conf);
    struct store_queue *q = store_queue(s, str_of("TopicA"), 0);
    struct store_put put = {0};
    int64_t bad;

    for (int i = 0; i < 10; i++)
        test_append(s, q, i, &put);
    test_close(s);
    punch(&conf, first, 8192, conf.commit_log_file_size);
    ok(put.end < 8192 && blocks_of(&conf, first) < conf.commit_log_file_size, "a log file without blocks behind its messages");
    reserve_error = ENOSPC;
    s = test_open(&conf);
    ok(test_read_all(s, store_queue(s, str_of("TopicA"), 0), 0, &bad) == 10 && bad == 0,
       "on a full disk the store opens all the same");
    reserve_error = 0;
    test_close(s);
    s = test_open(&conf);
    ok(blocks_of(&conf, first) >= conf.commit_log_file_size, "else it gets them with the start");
    q = store_queue(s, str_of("TopicA"), 0);
    ok(test_append(s, q, 10, &put) == 0 && test_read_all(s, q, 0, &bad) == 11 && bad == 0, "before the next message");
    test_close(s);
    test_clean(&conf);
}

/* ---- queues of another kind ---- */

static void touch(const struct store_conf *conf, const char *name)
{
    int fd = open(path_in(conf, name), O_WRONLY | O_CREAT, 0644);

    if (fd < 0)
        exit(2);
    close(fd);
}

/* Apache's broker does not start when a topic with batchconsumequeue/TOPIC has files in consumequeue/TOPIC too. */
static void test_batch_queues(void)
{
    struct store_conf conf = test_conf();
    struct message m = {.body = str_of("three in one"), .sys_flag = SYSFLAG_INNER_BATCH};
    struct store *s = test_open(&conf);
    struct store_put put;
    int64_t bad;

    for (int i = 0; i < 100; i++) {
        test_append(s, store_queue(s, str_of("Simple"), 0), i, &put);
        test_append(s, store_queue(s, str_of("Batch"), 0), i, &put);
        store_append(s, store_queue(s, str_of("Inner"), 0), &m, 0, &put, NULL);
    }
    test_close(s);
    for (int crash = 0; crash < 2; crash++) {
        remove_in(&conf, "consumequeue");
        remove_in(&conf, "checkpoint");
        dir_make(path_in(&conf, "batchconsumequeue/Batch/0"));
        if (crash)
            touch(&conf, "abort");
        s = test_open(&conf);
        ok(test_read_all(s, store_queue(s, str_of("Simple"), 0), 0, &bad) == 100 && bad == 0, "%s: queues are made again",
           crash ? "after a crash" : "after a stop");
        test_append(s, store_queue(s, str_of("Simple"), 1), 0, &put);
        test_close(s);
        ok(exists(&conf, "consumequeue/Simple/0") && !exists(&conf, "consumequeue/Batch"), "but not one that is a batch consume queue");
        ok(!exists(&conf, "consumequeue/Inner"), "nor one of which the log has batches only");
    }
    test_clean(&conf);
}

/* ---- how many queues there are ---- */

static void make_topics(const struct store_conf *conf, int from, int to)
{
    char name[64];

    for (int i = from; i < to; i++) {
        snprintf(name, sizeof name, "consumequeue/empty-%d", i);
        if (mkdir(path_in(conf, name), 0755))
            exit(2);
    }
}

/* What a stop counts is bounded: a start has to count it again. */
static void test_count(void)
{
    struct store_conf conf = test_conf();
    struct queue_count c = {0};
    struct store *s = test_open(&conf);
    struct store_put put = {0};

    for (int i = 0; i < 7; i++)
        test_append(s, store_queue(s, str_of("TopicA"), i), 0, &put);
    test_close(s);
    ok(queue_count_get(path_in(&conf, "checkpoint"), &c) && c.log_end == put.end && c.topics == 1 && c.queues == 7,
       "a stop counts topics and queues");
    make_topics(&conf, 0, 1000);
    test_close(test_open(&conf));
    ok(queue_count_get(path_in(&conf, "checkpoint"), &c) && c.log_end == put.end && c.topics == 1001 && c.queues == -1,
       "of more than 1,000 topics no queues");
    make_topics(&conf, 1000, 10000);
    test_close(test_open(&conf));
    ok(queue_count_get(path_in(&conf, "checkpoint"), &c) && c.log_end == -1, "with more than 10,000 nothing is noted");
    remove_in(&conf, "consumequeue/empty-1");
    s = test_open(&conf);
    ok(store_queue_max(s, store_queue(s, str_of("TopicA"), 3)) == 1, "and the start goes on without");
    test_close(s);
    test_clean(&conf);
}

/* ---- damage in two places ---- */

static void spoil(const struct store_conf *conf, int64_t log_offset)
{
    char name[64];
    int fd;

    snprintf(name, sizeof name, "commitlog/%020" PRId64, log_offset - log_offset % conf->commit_log_file_size);
    fd = open(path_in(conf, name), O_RDWR);
    if (fd < 0 || pwrite(fd, "spoilt", 6, log_offset % conf->commit_log_file_size) != 6)
        exit(2);
    close(fd);
}

/* How many of n messages are there and right, asked for one by one. */
static int64_t right_of(struct store *s, struct store_queue *q, int64_t n)
{
    static const struct store_limits one = {.max_messages = 1, .max_bytes = 1, .max_messages_cold = 1, .max_bytes_cold = 1, .max_scan = 1};
    int64_t good = 0;

    for (int64_t i = 0; i < n; i++) {
        struct store_result *r = test_get(s, q, i, &one);
        struct message m;
        good += r->n_messages == 1 && message_record_get(r->iov[0].iov_base, r->iov[0].iov_len, true, &m) == 0 &&
                m.queue_offset == i && test_body_is(&m, i);
        store_release(r);
    }
    return good;
}

/* The last record of a log file and the first of the next one: the log does not end between them. */
static void test_two_damages(bool crash)
{
    struct store_conf conf = test_conf();
    struct store *s = test_open(&conf);
    int64_t size = conf.commit_log_file_size, last = 0, first = 0, good, n = 0;
    struct store_put put = {0};

    for (; put.end < 4 * size; n++) {
        test_append(s, store_queue(s, str_of("TopicA"), 0), n, &put);
        last = put.physical_offset < size ? put.physical_offset : last;
        first = first ? first : put.physical_offset >= size ? put.physical_offset : 0;
    }
    test_close(s);
    spoil(&conf, last);
    spoil(&conf, first);
    remove_in(&conf, "checkpoint");
    if (crash)
        touch(&conf, "abort");
    s = test_open(&conf);
    good = right_of(s, store_queue(s, str_of("TopicA"), 0), n);
    ok(first == size && good == n - 2, "%s: the last record of a file and the first of the next are damaged: %d of %d "
       "messages are there", crash ? "after a crash" : "after a stop", (int)good, (int)n);
    ok(test_append(s, store_queue(s, str_of("TopicA"), 0), n, &put) == 0 && put.queue_offset == n, "the next one follows the last");
    test_close(s);
    test_clean(&conf);
}

/* ---- progress ---- */

static int lines_with(const char *path, const char *text)
{
    struct buf b = {0};
    int n = 0;

    for (const char *p = file_read(path, 1 << 20, &b) == 0 ? b.p : NULL; p && (p = strstr(p, text)); p++)
        n++;
    buf_free(&b);
    return n;
}

/* 6,000 messages, and every look at the clock takes three seconds: recovery says how far it is. */
static void test_progress(void)
{
    struct store_conf conf = test_conf();
    struct store *s = test_open(&conf);
    struct store_put put;
    char log[320];

    for (int i = 0; i < 6000; i++)
        test_append(s, store_queue(s, str_of("TopicA"), 0), i, &put);
    test_close(s);
    remove_in(&conf, "checkpoint");
    snprintf(log, sizeof log, "%s", path_in(&conf, "log"));
    log_open(log, LOG_INFO);
    leap_s = 3;
    s = test_open(&conf);
    leap_s = 0;
    log_open("/dev/null", LOG_ERROR);
    is_int(lines_with(log, "recovery: at commit log offset"), 5, "a line of progress each 1,024 messages, when that takes so long");
    is_int(lines_with(log, "recovery: read 6000 messages"), 1, "and one in the end");
    test_close(s);
    test_clean(&conf);
}

int main(void)
{
    test_holes();
    test_batch_queues();
    test_count();
    test_two_damages(true);
    test_two_damages(false);
    test_progress();
    return tap_done();
}
