/* What the store finds at its next start: after a clean stop, after kill -9, with torn, missing or
 * foreign files. Rows: R-STORE-16, -20, -21, -22, -27, -29, -37. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "common/be.h"
#include "common/file.h"
#include "common/log.h"
#include "tests/unit/store_help.h"
#include "tests/unit/tap.h"

#define QUEUES 3

static struct store_queue *queue_no(struct store *s, int i)
{
    return store_queue(s, i == 2 ? str_of("TopicB") : str_of("TopicA"), i % 2);
}

/* Appends n messages to each queue; number = queue offset. */
static void fill(struct store *s, int n)
{
    for (int i = 0; i < n; i++)
        for (int k = 0; k < QUEUES; k++) {
            struct store_queue *q = queue_no(s, k);
            struct store_put put;
            if (test_append(s, q, store_queue_max(s, q), &put))
                exit(2);
        }
}

static bool all_right(struct store *s, int64_t n)
{
    bool right = true;

    for (int k = 0; k < QUEUES; k++) {
        struct store_queue *q = queue_no(s, k);
        int64_t bad, good = test_read_all(s, q, 0, &bad);
        if (bad || good != n || store_queue_max(s, q) != n) {
            printf("# queue %d: %" PRId64 " good, %" PRId64 " bad, %" PRId64 " to %" PRId64 "\n", k, good, bad,
                   store_queue_min(s, q), store_queue_max(s, q));
            right = false;
        }
    }
    return right;
}

static void path_in(const struct store_conf *conf, const char *name, char out[256])
{
    snprintf(out, 256, "%s/%s", conf->root, name);
}

static bool exists(const struct store_conf *conf, const char *name)
{
    char path[256];

    path_in(conf, name, path);
    return access(path, F_OK) == 0;
}

static void test_clean_restart(void)
{
    struct store_conf conf = test_conf();
    struct store *s = test_open(&conf);

    ok(exists(&conf, "abort") && exists(&conf, "lock"), "abort and lock are there while it runs");
    fill(s, 300);
    ok(all_right(s, 300), "300 messages in each of 3 queues");
    test_close(s);
    ok(!exists(&conf, "abort") && exists(&conf, "checkpoint"), "a clean stop leaves no abort, but a checkpoint");
    s = test_open(&conf);
    ok(all_right(s, 300), "all of them after a restart");
    fill(s, 50);
    ok(all_right(s, 350), "and 50 more");
    test_close(s);
    s = test_open(&conf);
    ok(all_right(s, 350), "once more");
    test_close(s);
    test_clean(&conf);
}

/* Fills a store in a child, which is killed. */
static void killed_after(const struct store_conf *conf, int n)
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        fill(test_open(conf), n);
        kill(getpid(), SIGKILL);
    }
    waitpid(pid, &status, 0);
    if (!WIFSIGNALED(status)) {
        printf("Bail out! the child did not die of the signal\n");
        exit(2);
    }
}

static void test_killed(void)
{
    struct store_conf conf = test_conf();
    struct store *s;

    killed_after(&conf, 300);
    ok(exists(&conf, "abort"), "a killed store leaves abort");
    s = test_open(&conf);
    ok(all_right(s, 300), "nothing is lost by kill -9");
    fill(s, 100);
    test_close(s);
    killed_after(&conf, 100);
    s = test_open(&conf);
    ok(all_right(s, 500), "nor by a second one");
    test_close(s);
    test_clean(&conf);
}

/* ---- a store's files in memory, to be damaged and put back many times ---- */

struct image {
    struct file {
        char path[200];
        char *p;
        size_t n;
    } files[64];
    int n;
};

static struct image *reading;

static int read_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    struct file *f = &reading->files[reading->n];
    int fd;

    (void)ftw;
    if (flag != FTW_F)
        return 0;
    snprintf(f->path, sizeof f->path, "%s", path);
    f->n = (size_t)st->st_size;
    f->p = malloc(f->n + 1);
    fd = open(path, O_RDONLY);
    if (fd < 0 || read(fd, f->p, f->n) != (ssize_t)f->n)
        exit(2);
    close(fd);
    reading->n++;
    return 0;
}

static void image_take(struct image *im, const struct store_conf *conf)
{
    im->n = 0;
    reading = im;
    nftw(conf->root, read_one, 16, FTW_PHYS);
}

static void image_free(struct image *im)
{
    for (int i = 0; i < im->n; i++)
        free(im->files[i].p);
}

static void write_file(const char *path, const char *p, size_t n)
{
    char dir[256];
    int fd;

    snprintf(dir, sizeof dir, "%s", path);
    *strrchr(dir, '/') = 0;
    dir_make(dir);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd < 0 || write(fd, p, n) != (ssize_t)n) {
        perror(path);
        exit(2);
    }
    close(fd);
}

static void image_put(const struct image *im, const struct store_conf *conf)
{
    test_clean(conf);
    for (int i = 0; i < im->n; i++)
        write_file(im->files[i].path, im->files[i].p, im->files[i].n);
}

static struct file *image_file(struct image *im, const char *part)
{
    for (int i = 0; i < im->n; i++)
        if (strstr(im->files[i].path, part))
            return &im->files[i];
    printf("Bail out! no file %s\n", part);
    exit(2);
}

/* Small files, so that an image is small: 8 KiB of log, 20 units a queue file. */
static struct store_conf small_conf(void)
{
    struct store_conf conf = test_conf();

    conf.commit_log_file_size = 8192;
    conf.consume_queue_file_size = 400;
    conf.flush_interval_ms = conf.flush_queue_interval_ms = 60000;
    return conf;
}

static const struct store_limits one = {.max_messages = 1, .max_bytes = 1 << 20, .max_messages_cold = 1,
                                        .max_bytes_cold = 1 << 20};

/* Whole and right messages of a queue, gotten one by one; *wrong says what must never be. */
static int64_t count_whole(struct store *s, struct store_queue *q, const char **wrong)
{
    int64_t at = store_queue_min(s, q), max = store_queue_max(s, q), whole = 0;

    while (at < max && !*wrong) {
        struct store_result *r = test_get(s, q, at, &one);
        struct message m;
        if (r->next_begin <= at)
            *wrong = "a get that does not go on";
        else if (r->n_messages && message_record_get(r->iov[0].iov_base, r->iov[0].iov_len, false, &m))
            *wrong = "something that is no record";
        else if (r->n_messages && message_record_get(r->iov[0].iov_base, r->iov[0].iov_len, true, &m) == 0 &&
                 test_body_is(&m, m.flag))
            whole++;
        at = r->next_begin;
        store_release(r);
    }
    return whole;
}

/* Opens what was damaged and counts whole messages in all queues. Whatever happened, the store opens, gives
 * nothing but records, takes new ones behind the old, and closes cleanly. -1: not so. */
static int64_t survivors(const struct store_conf *conf, const char *what, size_t at)
{
    struct store *s;
    struct fault f = {0};
    int64_t sum = 0;
    const char *wrong = NULL;

    if (store_open(conf, &s, &f)) {
        printf("# %s at %zu: %s\n", what, at, f.text);
        return -1;
    }
    for (int k = 0; k < QUEUES; k++) {
        struct store_queue *q = queue_no(s, k);
        int64_t max = store_queue_max(s, q);
        struct store_put put;
        sum += count_whole(s, q, &wrong);
        if (test_append(s, q, max, &put) || put.queue_offset != max)
            wrong = "no append";
    }
    if (store_close(s))
        wrong = "no clean close";
    if (wrong)
        printf("# %s at %zu: %s\n", what, at, wrong);
    return wrong ? -1 : sum;
}

enum { KILLED, CLOSED };
static const char *const ends[] = {"killed", "closed"};

static void make_image(struct image *im, const struct store_conf *conf, int how, int n)
{
    struct store *s;

    if (how == KILLED) {
        killed_after(conf, n);
    } else {
        s = test_open(conf);
        fill(s, n);
        test_close(s);
    }
    image_take(im, conf);
}

/* Every byte takes a minute: make soak. Here every 17th, beginning anywhere (STORE_EVERY_BYTE: all). */
static size_t stride = 17, begin;

#define EACH 40                      /* messages a queue in an image: three log files, two or three queue files */

/* Flips one byte of a file at a time. At most `may_lose` messages may be gone each time. */
static void flip_file(struct image *im, const struct store_conf *conf, const char *part, size_t from, size_t to,
                      int may_lose, const char *how)
{
    struct file *f = image_file(im, part);
    int too_many = 0, worst = 0;

    for (size_t at = from + begin; at < to && at < f->n; at += stride) {
        unsigned char mask = at % 3 == 0 ? 0xFF : at % 3 == 1 ? 0x80 : 0x01;
        int64_t left;
        image_put(im, conf);
        f->p[at] ^= (char)mask;
        write_file(f->path, f->p, f->n);
        f->p[at] ^= (char)mask;
        left = survivors(conf, part, at);
        if (left < QUEUES * EACH - may_lose && too_many++ < 5)
            printf("# flip at %zu of %s: %" PRId64 " left\n", at, part, left);
        if (QUEUES * EACH - left > worst)
            worst = (int)(QUEUES * EACH - left);
    }
    is_int(too_many, 0, "%s store, bytes of %s flipped: at most %d lost (worst: %d)", how, part, may_lose, worst);
}

/* Cuts a file at every length. Messages whose bytes lie before the cut (one in `unit` bytes) must be there. */
static void cut_file(struct image *im, const struct store_conf *conf, const char *part, size_t step, int may_lose,
                     const char *how)
{
    struct file *f = image_file(im, part);
    int too_many = 0;

    for (size_t n = begin; n < f->n; n += step) {
        int64_t left;
        image_put(im, conf);
        write_file(f->path, f->p, n);
        left = survivors(conf, part, n);
        if (left < QUEUES * EACH - may_lose && too_many++ < 5)
            printf("# %s cut to %zu: %" PRId64 " left\n", part, n, left);
    }
    is_int(too_many, 0, "%s store, %s cut at every %zu bytes: at most %d lost", how, part, step, may_lose);
}

static int messages_in_last_file(struct image *im, const char *part)
{
    struct file *f = image_file(im, part);
    struct message m;
    size_t at = 0;
    int n = 0;

    while (at < f->n && message_record_get(f->p + at, f->n - at, true, &m) == 0) {
        n++;
        at += m.size;
    }
    return n;
}

static void test_damage(int how)
{
    static const char last_log[] = "commitlog/00000000000000032768";
    struct store_conf conf = small_conf();
    struct image im;
    int in_last;

    make_image(&im, &conf, how, EACH);
    image_put(&im, &conf);
    is_int(survivors(&conf, "nothing", 0), QUEUES * EACH, "%s store, undamaged", ends[how]);
    in_last = messages_in_last_file(&im, last_log);
    ok(in_last > 2, "the last log file has %d messages", in_last);
    flip_file(&im, &conf, last_log, 0, 8192, 1, ends[how]);
    flip_file(&im, &conf, "commitlog/00000000000000008192", 0, 2000, 1, ends[how]);
    flip_file(&im, &conf, "TopicA/0/00000000000000000400", 0, 400, how == KILLED ? 0 : 1, ends[how]);
    flip_file(&im, &conf, "checkpoint", 0, 64, 0, ends[how]);
    cut_file(&im, &conf, last_log, 13 * stride, in_last, ends[how]);
    cut_file(&im, &conf, "TopicA/1/00000000000000000400", stride, 0, ends[how]);
    cut_file(&im, &conf, "checkpoint", stride, 0, ends[how]);
    image_free(&im);
    test_clean(&conf);
}

/* ---- missing files ---- */

static void remove_in(const struct store_conf *conf, const char *name)
{
    char path[256];

    path_in(conf, name, path);
    if (nftw(path, test_unlink, 16, FTW_DEPTH | FTW_PHYS))
        printf("# remove %s: %s\n", path, strerror(errno));
}

static bool opens_with_all(const struct store_conf *conf, int64_t n)
{
    struct store *s = test_open(conf);
    bool right = all_right(s, n);

    fill(s, 1);
    right &= all_right(s, n + 1);
    test_close(s);
    return right;
}

static void test_missing(void)
{
    static const struct { int how; const char *name, *also; } rows[] = {
        {KILLED, "consumequeue", NULL},
        {CLOSED, "consumequeue", NULL},
        {KILLED, "consumequeue/TopicA", NULL},
        {CLOSED, "consumequeue/TopicA", NULL},
        {CLOSED, "consumequeue/TopicA/1", NULL},
        {CLOSED, "consumequeue/TopicA/0", "consumequeue/TopicA/1"},
        {KILLED, "consumequeue/TopicA/1", "checkpoint"},
        {KILLED, "consumequeue/TopicB/0/00000000000000000400", NULL},
        {KILLED, "consumequeue/TopicA/0/00000000000000000000", NULL},
        {KILLED, "consumequeue/TopicA/0/00000000000000000000", "consumequeue/TopicA/0/00000000000000000400"},
        {KILLED, "checkpoint", NULL},
        {CLOSED, "checkpoint", NULL},
        {CLOSED, "checkpoint", "consumequeue/TopicA/0/00000000000000000400"},
        {CLOSED, "lock", NULL},
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct store_conf conf = small_conf();
        struct image im;
        make_image(&im, &conf, rows[i].how, EACH);
        remove_in(&conf, rows[i].name);
        if (rows[i].also)
            remove_in(&conf, rows[i].also);
        ok(opens_with_all(&conf, EACH), "%s store without %s%s%s: all messages are there", ends[rows[i].how], rows[i].name,
           rows[i].also ? " and " : "", rows[i].also ? rows[i].also : "");
        image_free(&im);
        test_clean(&conf);
    }
}

/* A checkpoint that claims more than the queues hold (apache/rocketmq issue 678). */
static void test_checkpoint_ahead(void)
{
    struct store_conf conf = small_conf();
    struct image im;
    struct file *f;

    make_image(&im, &conf, KILLED, EACH);
    f = image_file(&im, "/checkpoint");
    for (int i = 0; i < 6; i++)
        be64_put(f->p + 8 * i, i < 3 ? UINT64_C(4000000000000) : 40000);
    f = image_file(&im, "TopicA/1/00000000000000000400");
    memset(f->p, 0, f->n);
    f = image_file(&im, "TopicB/0/00000000000000000400");
    memset(f->p + 60, 0, 40);            /* two units in the middle */
    image_put(&im, &conf);
    ok(opens_with_all(&conf, EACH), "a checkpoint ahead of the queues: nothing is missing");
    image_free(&im);
    test_clean(&conf);
}

/* Retention took the first log files; queues begin where the log does. */
static void test_expired(int how)
{
    struct store_conf conf = small_conf();
    struct image im;
    struct store *s;
    struct store_queue *q;
    struct store_result *r;
    struct store_stats st;
    int64_t bad, good, min;

    make_image(&im, &conf, how, EACH);
    remove_in(&conf, "commitlog/00000000000000000000");
    if (how == KILLED)
        remove_in(&conf, "consumequeue");
    s = test_open(&conf);
    store_stats(s, &st);
    is_int(st.log_min, 8192, "%s: the log begins with its second file", ends[how]);
    q = queue_no(s, 0);
    min = store_queue_min(s, q);
    good = test_read_all(s, q, 0, &bad);
    ok(min > 0 && bad == 0 && good == EACH - min && store_queue_max(s, q) == EACH,
       "%s: the queue begins at %" PRId64 ", and all from there on is right", ends[how], min);
    r = store_get(s, q, 0, &test_limits, NULL);
    ok(r->status == STORE_OFFSET_TOO_SMALL && r->next_begin == min, "%s: below it: too small", ends[how]);
    store_release(r);
    is_int(store_offset_at_time(s, q, 0, false), 0, "%s: a time before all gives the file's start, as Apache does", ends[how]);
    ok(st.earliest_store_timestamp > 0 && st.earliest_store_timestamp <= st.last_store_timestamp, "times of the log");
    test_close(s);
    image_free(&im);
    test_clean(&conf);
}

/* A file is gone in the middle: its messages are lost, all others are there (R-STORE-29). */
static void test_hole(int how)
{
    struct store_conf conf = small_conf();
    struct image im;
    int lost;
    int64_t left;

    make_image(&im, &conf, how, EACH);
    lost = messages_in_last_file(&im, "commitlog/00000000000000016384");
    remove_in(&conf, "commitlog/00000000000000016384");
    left = survivors(&conf, "hole", 0);
    is_int(left, QUEUES * EACH - lost, "%s, a log file missing in the middle: only its messages are lost", ends[how]);
    image_free(&im);
    test_clean(&conf);
}

#define LONG_EACH 6000               /* 3 MiB in all: the read-ahead's thread runs from 1 MiB on */

/* Flips a byte of the body of the first record past `at`, which has a body. Whose log it is no process has open. */
static void flip_body_past(const struct store_conf *conf, const char *part, int64_t at)
{
    struct message m = {0};
    char path[256], *p;
    int64_t here = 0;
    int fd;

    path_in(conf, part, path);
    fd = open(path, O_RDWR);
    p = mmap(NULL, (size_t)conf->commit_log_file_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd < 0 || p == MAP_FAILED)
        exit(2);
    while (message_record_get(p + here, (size_t)(conf->commit_log_file_size - here), false, &m) == 0 &&
           (here < at || m.body.n == 0))
        here += m.size;
    ok(here >= at && here < at + 65536, "a record begins at %" PRId64, here);
    p[m.body.p - p] ^= 1;
    munmap(p, (size_t)conf->commit_log_file_size);
    close(fd);
}

/* Records that are given, and whose bodies are not what their CRCs say. */
static int64_t given_damaged(const struct store_conf *conf)
{
    struct store *s = test_open(conf);
    int64_t n = 0;

    for (int k = 0; k < QUEUES; k++) {
        struct store_queue *q = queue_no(s, k);
        for (int64_t at = store_queue_min(s, q); at < store_queue_max(s, q); at++) {
            struct store_result *r = test_get(s, q, at, &one);
            struct message m;
            n += r->n_messages && message_record_get(r->iov[0].iov_base, r->iov[0].iov_len, true, &m) != 0;
            store_release(r);
        }
    }
    test_close(s);
    return n;
}

/* In a log of more than a few pages another thread compares the CRCs; and the reader goes on by itself behind damage. */
static void test_long_log(void)
{
    struct store_conf conf = test_conf();

    conf.commit_log_file_size = 8 << 20;
    killed_after(&conf, LONG_EACH);
    flip_body_past(&conf, "commitlog/00000000000000000000", 1 << 20);
    flip_body_past(&conf, "commitlog/00000000000000000000", 2 << 20);
    is_int(survivors(&conf, "long log", 0), QUEUES * LONG_EACH - 2, "a long log with two damaged bodies: only they are lost");
    is_int(given_damaged(&conf), 0, "and they were found by their CRCs: nobody gets them");
    test_clean(&conf);
}

/* A topic that was deleted and made again: a crash does not bring its first life back. */
static void test_second_life(void)
{
    struct store_conf conf = small_conf();
    struct store *s;
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        struct store_put put;
        s = test_open(&conf);
        fill(s, 20);
        store_delete_topic(s, str_of("TopicA"));
        for (int i = 0; i < 5; i++)
            test_append(s, queue_no(s, 0), i, &put);
        kill(getpid(), SIGKILL);
    }
    waitpid(pid, &status, 0);
    s = test_open(&conf);
    is_int(store_queue_max(s, queue_no(s, 0)), 5, "deleted, made again, killed: the second life's 5 messages");
    int64_t bad;
    is_int(test_read_all(s, queue_no(s, 0), 0, &bad), 5, "are right");
    is_int(store_queue_max(s, queue_no(s, 2)), 20, "the other topic is whole");
    test_close(s);
    test_clean(&conf);
}

static void test_foreign_files(void)
{
    struct store_conf conf = small_conf();
    static const char *const more[] = {"index/20261121074500123", "timerwheel", "commitlog/readme", "consumequeue/x",
                                       "consumequeue/TopicA/notes", "consumequeue_ext/TopicA/0/00000000000000000000",
                                       "config/topics.json", "commitlog/00000000000000000000.bak"};
    char path[256];
    struct store *s;
    struct fault f = {0};

    s = test_open(&conf);
    fill(s, 30);
    test_close(s);
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
        path_in(&conf, more[i], path);
        write_file(path, "anything", 8);
    }
    ok(opens_with_all(&conf, 30), "files that the store does not know do not disturb it");
    for (size_t i = 0; i < sizeof more / sizeof *more; i++)
        ok(exists(&conf, more[i]), "%s is left alone", more[i]);
    path_in(&conf, "commitlog/00000000000000000000", path);
    ok(truncate(path, 8193) == 0 && store_open(&conf, &s, &f) == -EINVAL && strstr(f.text, "8193"),
       "a file that is too long is refused: %s", f.text);
    test_clean(&conf);
}

/* ---- kill -9 at any moment ---- */

/* The child says on a pipe what was acknowledged, after it was. */
static void send_until_killed(const struct store_conf *conf, int fd)
{
    struct store *s = test_open(conf);

    for (int64_t i = 0;; i++) {
        int k = (int)(i % QUEUES);
        struct store_queue *q = queue_no(s, k);
        struct store_put put;
        int64_t ack[2] = {k, 0};
        if (test_append(s, q, store_queue_max(s, q), &put))
            _exit(3);
        ack[1] = put.queue_offset;
        if (write(fd, ack, sizeof ack) != sizeof ack)
            _exit(4);
    }
}

static void test_kills(int rounds)
{
    struct store_conf conf = small_conf();
    int64_t acked[QUEUES] = {-1, -1, -1};
    unsigned seed = (unsigned)getpid();
    int wrong = 0;

    conf.commit_log_file_size = 65536;
    conf.flush_interval_ms = conf.flush_queue_interval_ms = conf.flush_queue_thorough_ms = 1;
    printf("# seed %u\n", seed);
    srand(seed);
    for (int round = 0; round < rounds; round++) {
        int fds[2], status;
        int64_t ack[2], bad;
        pid_t pid;
        struct store *s;
        if (pipe(fds) || (pid = fork()) < 0)
            exit(2);
        if (pid == 0) {
            close(fds[0]);
            send_until_killed(&conf, fds[1]);
        }
        close(fds[1]);
        for (int n = rand() % 400; n >= 0 && read(fds[0], ack, sizeof ack) == sizeof ack; n--)
            acked[ack[0]] = ack[1];
        kill(pid, SIGKILL);
        while (read(fds[0], ack, sizeof ack) == sizeof ack)
            acked[ack[0]] = ack[1];
        waitpid(pid, &status, 0);
        close(fds[0]);
        wrong += !WIFSIGNALED(status);
        if (round % 3 == 0)              /* killed twice in a row */
            continue;
        s = test_open(&conf);
        for (int k = 0; k < QUEUES; k++) {
            struct store_queue *q = queue_no(s, k);
            wrong += store_queue_max(s, q) <= acked[k] || test_read_all(s, q, 0, &bad) != store_queue_max(s, q) || bad;
        }
        test_close(s);
    }
    is_int(wrong, 0, "%d kills at any moment: nothing acknowledged is lost, nothing is wrong", rounds);
    test_clean(&conf);
}

int main(void)
{
    test_clean_restart();
    test_killed();
    test_tmp = test_memory();        /* thousands of starts */
    log_open("/dev/null", LOG_ERROR);
    stride = getenv("STORE_EVERY_BYTE") ? 1 : stride;
    begin = (size_t)getpid() % stride;
    printf("# begins with byte %zu\n", begin);
    test_missing();
    test_checkpoint_ahead();
    test_expired(KILLED);
    test_expired(CLOSED);
    test_hole(KILLED);
    test_hole(CLOSED);
    test_long_log();
    test_second_life();
    test_foreign_files();
    test_kills(20);
    test_damage(KILLED);
    test_damage(CLOSED);
    return tap_done();
}
