/* Messages of long ago, read past the page cache: the same bytes as the mapping has, and nothing of them stays. Where the
 * system keeps pages that it is told to forget, or knows no O_DIRECT, there is less to see and the test says so. */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/clock.h"
#include "store/store_impl.h"
#include "tests/unit/pages.h"
#include "tests/unit/store_help.h"
#include "tests/unit/tap.h"

#define QUEUES 4
#define N 8000                       /* messages: some three files of 1 MiB, each of four parts */
#define RARE 50                      /* each so many there is one of another topic */

static const struct store_limits limits = {
    .max_messages = 32, .max_bytes = 262144, .max_messages_cold = 32, .max_bytes_cold = 262144,
};
static int64_t next;                 /* message */

static struct store_queue *queue(struct store *s, int64_t i) { return store_queue(s, str_of("TopicA"), (int32_t)(i % QUEUES)); }
static struct store_queue *rare(struct store *s) { return store_queue(s, str_of("Rare"), 0); }

static int append(struct store *s, int64_t n)
{
    struct store_put put;
    int failed = 0;

    for (int64_t end = next + n; next < end; next++) {
        failed += test_append(s, queue(s, next), next, &put) != 0;
        if (next % RARE == 0)
            failed += test_append(s, rare(s), next, &put) != 0;
    }
    return failed;
}

/* How many messages of a result are not those that begin with `first`, each `step` further. */
static int wrong(const struct store_result *r, int64_t first, int64_t step)
{
    int64_t i = first;
    int bad = 0, n = 0;

    for (int k = 0; k < r->n_iov; k++) {
        const char *p = r->iov[k].iov_base, *end = p + r->iov[k].iov_len;
        struct message m;
        for (; p < end && message_record_get(p, (size_t)(end - p), true, &m) == 0; p += m.size, i += step, n++)
            bad += !test_body_is(&m, i);
    }
    return bad + abs(n - r->n_messages);
}

struct seen {
    int apart, mapped;               /* results: in memory of their own, and not */
    int cold, failed;
    int64_t wrong, messages;
};

static void read_from(struct store *s, struct store_queue *q, int64_t first, int64_t step, int64_t from, struct seen *seen)
{
    int64_t max = store_queue_load(s, q) ? 0 : store_queue_max(s, q);

    for (int64_t at = from; at < max;) {
        struct store_result *r = store_get(s, q, at, &limits, NULL);
        const char *before = r->n_iov ? r->iov[0].iov_base : NULL;
        seen->cold += r->cold;
        if (!r->n_messages || store_bring(s, r, true)) {
            seen->failed++;
            store_release(r);
            return;
        }
        if (r->iov[0].iov_base == before)
            seen->mapped++;
        else
            seen->apart++;
        seen->wrong += wrong(r, first + at * step, step);
        seen->messages += r->n_messages;
        at = r->next_begin;
        store_release(r);
    }
}

/* All queues, from the same offset on. */
static struct seen read_all(struct store *s, int64_t from)
{
    struct seen seen = {0};

    for (int i = 0; i < QUEUES; i++)
        read_from(s, queue(s, i), i, QUEUES, from, &seen);
    return seen;
}

static bool is_right(const struct seen *seen, int64_t messages)
{
    return seen->messages == messages && !seen->wrong && !seen->failed;
}

/* A whole file of the log lies in memory, or none of it does; -1: some. */
static int resident(struct store *s)
{
    struct mapped_file *file;
    int n = 0, all = 0;

    if (commit_log_find(&s->log, 0, 100, &file))
        return -1;
    for (int64_t at = 0; at < file->size; at += 4096, all++)
        n += mapped_is_resident(file->map + at, 1);
    mapped_file_unref(file);
    return n == all ? 1 : n == 0 ? 0 : -1;
}

static void test_apart(const struct store_conf *conf, bool direct)
{
    struct store *s;
    struct seen seen = {0};
    bool forgets;

    pages_forget(conf->root, "commitlog/*");
    s = test_open(conf);
    forgets = resident(s) == 0;
    seen = read_all(s, 0);
    ok(is_right(&seen, N), "all messages of %d queues are right", QUEUES);
    if (direct) {
        ok(seen.apart > 0 && seen.mapped == 0, "each answer stands in memory of its own");
    } else {
        ok(seen.apart == 0, "# SKIP this file system knows no O_DIRECT");
    }
    ok(!direct || !forgets || resident(s) == 0, "%s", direct && forgets ? "nothing of them stays in the page cache" :
       "# SKIP this system keeps what it is told to forget");
    seen = (struct seen){0};
    read_from(s, rare(s), 0, RARE, 0, &seen);
    ok(is_right(&seen, N / RARE) && seen.apart == 0, "messages that lie far apart are left to the mapping");
    test_close(s);
}

/* What is in memory is not read from the disk: seen by what the file has on it. */
static void test_cached(const struct store_conf *conf)
{
    struct store *s = test_open(conf);
    struct seen seen;

    for (int i = 0; i < QUEUES; i++)
        for (int64_t at = 0; at < N / QUEUES; at += 32)
            store_release(test_get(s, queue(s, i), at, &limits));
    ok(resident(s) == 1, "all of a file is in the page cache");
    seen = read_all(s, 0);
    ok(is_right(&seen, N), "it is right from there, too");
    cold_read_rest(&s->cold, mono_ms() + 59000);
    ok(!seen.apart || s->cold.parts[0].bytes, "a minute long the buffers stay");
    cold_read_rest(&s->cold, mono_ms() + 61000);
    ok(!s->cold.parts[0].bytes, "then they are given back");
    seen = read_all(s, N / QUEUES - 64);
    ok(is_right(&seen, 64 * QUEUES), "and made again when they are needed");
    test_close(s);
}

/* Parts that were read when the log ended in them are read again when it has more there. */
static void test_growing(struct store_conf conf, bool direct)
{
    struct seen seen;
    struct store *s;

    conf.hot_bytes = 0;
    s = test_open(&conf);
    for (int64_t had = next / QUEUES; had < (N + 400) / QUEUES; had = next / QUEUES) {
        is_int(append(s, 100), 0, "messages come in");
        seen = read_all(s, had - 3);
        ok(is_right(&seen, 103 + 3 * (QUEUES - 1)) && (!direct || !seen.mapped), "and are right, with those before");
    }
    test_close(s);
    pages_forget(conf.root, "commitlog/*");
    s = test_open(&conf);
    seen = (struct seen){0};
    read_from(s, queue(s, 0), 0, QUEUES, 0, &seen);
    ok(is_right(&seen, next / QUEUES), "one queue of them");
    if (seen.apart && resident(s) == 0)
        ok(seen.cold > 0 && seen.cold < seen.apart / 2, "cold is what no buffer has: %d of %d answers", seen.cold, seen.apart);
    else
        ok(true, "# SKIP this system did not forget the pages");
    test_close(s);
}

/* A byte of the record at the beginning of the log, in its file. */
static void flip(const struct store_conf *conf, int64_t at)
{
    char path[512], c;
    int fd;

    snprintf(path, sizeof path, "%s/commitlog/%020d", conf->root, 0);
    fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 || pread(fd, &c, 1, at) != 1 || (c ^= 1, pwrite(fd, &c, 1, at)) != 1)
        exit(2);
    close(fd);
}

static void test_failing(const struct store_conf *conf)
{
    struct store_result *r;
    struct seen seen;
    struct store *s;
    const char *before;
    char path[512];

    flip(conf, RECORD_AT_MAGIC);
    pages_forget(conf->root, "commitlog/*");
    s = test_open(conf);
    store_queue_load(s, queue(s, 0));
    r = store_get(s, queue(s, 0), 0, &limits, NULL);
    is_int(store_bring(s, r, true), -EBADMSG, "a record that is none is noticed");
    store_release(r);
    flip(conf, RECORD_AT_MAGIC);
    cold_read_rest(&s->cold, mono_ms() + 61000);
    snprintf(path, sizeof path, "%s/commitlog/%020d", conf->root, 0);
    r = store_get(s, queue(s, 0), 0, &limits, NULL);
    unlink(path);
    before = r->iov[0].iov_base;
    ok(store_bring(s, r, true) == 0 && !wrong(r, 0, QUEUES) && r->iov[0].iov_base == before, "a file that was taken away meanwhile is read in the mapping");
    store_release(r);
    seen = (struct seen){0};
    read_from(s, queue(s, 1), 1, QUEUES, N / QUEUES - 32, &seen);
    ok(is_right(&seen, 32 + next / QUEUES - N / QUEUES), "the others as before");
    test_close(s);
}

int main(void)
{
    struct store_conf conf = test_conf();
    struct store *s;
    bool direct;

    conf.commit_log_file_size = 1 << 20;
    conf.consume_queue_file_size = 200000;
    s = test_open(&conf);
    is_int(append(s, N), 0, "%d messages", N);
    test_close(s);
    direct = pages_passable(conf.root);
    test_apart(&conf, direct);
    test_cached(&conf);
    test_growing(conf, direct);
    test_failing(&conf);
    test_clean(&conf);
    return tap_done();
}
