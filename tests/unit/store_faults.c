/* Disks that fail: no room, no fallocate, read-only, a sync that fails or hangs; no descriptors. The calls are
 * replaced by this program's own, which do what the test says. Rows: R-STORE-26, R-STORE-28. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "common/clock.h"
#include "store/store_impl.h"
#include "tests/unit/store_help.h"
#include "tests/unit/tap.h"

static _Atomic int sync_error, sync_calls, reserve_error;
static _Atomic int open_error;                               /* of every open */
static _Atomic bool read_only;                               /* the disk: opens to write fail */
static _Atomic bool index_sync_fails;                        /* those of the thread that writes the index */
static pthread_mutex_t hang = PTHREAD_MUTEX_INITIALIZER;     /* who holds it makes syncs hang */
static pthread_mutex_t slow = PTHREAD_MUTEX_INITIALIZER;     /* and reservations of threads that are to wait for it */
static _Thread_local bool is_slow;
static _Atomic int slow_calls;

static int (*real_msync)(void *, size_t, int);
static int (*real_fallocate)(int, int, off_t, off_t);
static int (*real_open)(const char *, int, ...);

__attribute__((constructor)) static void find_real(void)
{
    real_msync = (int (*)(void *, size_t, int))dlsym(RTLD_NEXT, "msync");
    real_fallocate = (int (*)(int, int, off_t, off_t))dlsym(RTLD_NEXT, "fallocate64");
    real_open = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open64");
}

static bool is_indexer(void)
{
    char name[16] = "";

    prctl(PR_GET_NAME, name);
    return strcmp(name, "index") == 0;
}

int msync(void *p, size_t n, int flags)
{
    sync_calls++;
    if (index_sync_fails && is_indexer()) {
        errno = EIO;
        return -1;
    }
    pthread_mutex_lock(&hang);
    pthread_mutex_unlock(&hang);
    if (sync_error) {
        errno = sync_error;
        return -1;
    }
    return real_msync(p, n, flags);
}

int fallocate(int fd, int mode, off_t at, off_t n)
{
    if (is_slow) {
        slow_calls++;
        pthread_mutex_lock(&slow);
        pthread_mutex_unlock(&slow);
    }
    if (reserve_error) {
        errno = reserve_error;
        return -1;
    }
    return real_fallocate(fd, mode, at, n);
}

int open(const char *path, int flags, ...)
{
    bool writes = (flags & O_ACCMODE) != O_RDONLY || flags & O_CREAT;
    mode_t mode;
    va_list ap;

    va_start(ap, flags);
    mode = flags & O_CREAT ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    if (open_error || (read_only && writes)) {
        errno = open_error ? open_error : EROFS;
        return -1;
    }
    return real_open(path, flags, mode);
}

struct told {
    pthread_mutex_t lock;
    pthread_cond_t change;
    int yes, no;
};

static void told(void *arg, bool good)
{
    struct told *t = arg;

    pthread_mutex_lock(&t->lock);
    if (good)
        t->yes++;
    else
        t->no++;
    pthread_cond_signal(&t->change);
    pthread_mutex_unlock(&t->lock);
}

static void wait_told(struct told *t, int n)
{
    pthread_mutex_lock(&t->lock);
    while (t->yes + t->no < n)
        pthread_cond_wait(&t->change, &t->lock);
    pthread_mutex_unlock(&t->lock);
}

#define TOLD {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0}

/* A full disk, as an unprivileged process can have it: files may not grow past a limit. */
static void test_no_room(void)
{
    struct store_conf conf = test_conf();
    struct store *s;
    struct store_queue *q;
    struct store_put put;
    struct store_stats st;
    struct fault f = {0};
    struct rlimit old, small;
    struct message m = {.body = str_of("x")};
    int64_t n, bad;
    char body[512], props[128];
    int rc = 0;

    conf.commit_log_file_size = 1 << 20;
    s = test_open(&conf);
    q = store_queue(s, str_of("TopicA"), 0);
    for (int i = 0; i < 10; i++)
        test_append(s, q, i, &put);
    getrlimit(RLIMIT_FSIZE, &old);
    small = (struct rlimit){.rlim_cur = 100000, .rlim_max = old.rlim_max};
    setrlimit(RLIMIT_FSIZE, &small);
    for (n = 10; n < 100000 && !rc; n++) {
        m = test_message(n, body, props);
        rc = store_append(s, q, &m, 0, &put, &f);
    }
    n--;
    ok(rc < 0 && rc != -EMSGSIZE, "no room for the next file: refused, %s", f.text);
    store_stats(s, &st);
    ok(!st.writable && st.why_not[0] && st.append_refused > 0, "the state says so: %s", st.why_not);
    is_int(store_append(s, q, &m, 0, &put, &f) < 0, 1, "and so does the next append");
    is_int(test_read_all(s, q, 0, &bad), n, "all that was taken can be read");
    is_int(bad, 0, "and is right");
    setrlimit(RLIMIT_FSIZE, &old);
    for (int i = 0; i < 100 && (rc = store_append(s, q, &m, 0, &put, &f)); i++)
        usleep(50000);
    is_int(rc, 0, "with room again, writes are on again by themselves");
    is_int(put.queue_offset, n, "with the next offset");
    store_stats(s, &st);
    ok(st.writable && !st.why_not[0], "and the state says so");
    test_close(s);
    test_clean(&conf);
}

/* Queue files have no room either, and the log file has: the message must not be in the log then. */
static void test_no_room_for_queue(void)
{
    struct store_conf conf = test_conf();
    struct store *s = test_open(&conf);
    struct store_queue *q = store_queue(s, str_of("TopicA"), 0);
    struct store_put put;
    struct store_stats before, after;
    int64_t bad;
    int rc = 1;

    test_append(s, q, 0, &put);
    store_stats(s, &before);
    reserve_error = ENOSPC;
    ok(test_append(s, store_queue(s, str_of("TopicB"), 0), 0, &put) == -ENOSPC, "no room for a new queue's file");
    store_stats(s, &after);
    is_int(after.log_max, before.log_max, "nothing was written to the log");
    reserve_error = 0;
    for (int i = 0; i < 100 && (rc = test_append(s, store_queue(s, str_of("TopicB"), 0), 0, &put)); i++)
        usleep(50000);
    ok(rc == 0 && put.queue_offset == 0, "with room again it is message 0");
    is_int(test_read_all(s, q, 0, &bad) + bad, 1, "the other queue is as it was");
    test_close(s);
    test_clean(&conf);
}

/* A file system without fallocate: the files are filled with zeros, so they take their room all the same. */
static void test_no_fallocate(void)
{
    struct store_conf conf = test_conf();
    struct store *s;
    struct store_queue *q;
    struct store_put put;
    struct stat st;
    char path[256];
    int64_t bad;

    reserve_error = EOPNOTSUPP;
    s = test_open(&conf);
    q = store_queue(s, str_of("TopicA"), 0);
    for (int i = 0; i < 500; i++)
        test_append(s, q, i, &put);
    ok(test_read_all(s, q, 0, &bad) == 500 && bad == 0, "a store without fallocate");
    snprintf(path, sizeof path, "%s/commitlog/00000000000000000000", conf.root);
    ok(stat(path, &st) == 0 && st.st_blocks * 512 >= 65536, "its log files have all their blocks");
    test_close(s);
    s = test_open(&conf);
    q = store_queue(s, str_of("TopicA"), 0);
    ok(test_read_all(s, q, 0, &bad) == 500 && bad == 0, "after a restart too");
    test_close(s);
    reserve_error = 0;
    test_clean(&conf);
}

/* After a failed sync nobody knows what the disk holds: nothing more is promised, reads go on. */
static void test_sync_fails(void)
{
    struct store_conf conf = test_conf();
    struct told t = TOLD;
    struct store *s;
    struct store_queue *q;
    struct store_put put;
    struct store_stats st;
    struct fault f = {0};
    struct message m = {.body = str_of("x")};
    int64_t bad;
    char path[256];

    conf.flush_interval_ms = conf.flush_queue_interval_ms = 60000;
    s = test_open(&conf);
    q = store_queue(s, str_of("TopicA"), 0);
    for (int i = 0; i < 10; i++)
        test_append(s, q, i, &put);
    sync_error = EIO;
    store_when_flushed(s, put.end, 10000, told, &t);
    wait_told(&t, 1);
    is_int(t.no, 1, "a sync that fails is told");
    sync_error = 0;
    store_when_flushed(s, put.end, 10000, told, &t);
    wait_told(&t, 2);
    is_int(t.no, 2, "a later one that would succeed proves nothing");
    ok(store_append(s, q, &m, 0, &put, &f) == -EIO, "writes are off: %s", f.text);
    store_stats(s, &st);
    ok(!st.writable && strstr(st.why_not, "sync"), "the state says so: %s", st.why_not);
    ok(test_read_all(s, q, 0, &bad) == 10 && bad == 0, "reads go on");
    ok(store_close(s) < 0, "the close says it was not clean");
    snprintf(path, sizeof path, "%s/abort", conf.root);
    is_int(access(path, F_OK), 0, "and leaves abort for the next start");
    s = test_open(&conf);
    q = store_queue(s, str_of("TopicA"), 0);
    ok(test_read_all(s, q, 0, &bad) == 10 && bad == 0 && test_append(s, q, 10, &put) == 0, "which writes again");
    test_close(s);
    test_clean(&conf);
}

/* A disk that hangs: who waits is told in time, and appends and reads go on. */
static void test_sync_hangs(void)
{
    struct store_conf conf = test_conf();
    struct told t = TOLD;
    struct store *s;
    struct store_queue *q;
    struct store_put put;
    int64_t bad;
    int before;

    conf.flush_interval_ms = conf.flush_queue_interval_ms = 60000;
    s = test_open(&conf);
    q = store_queue(s, str_of("TopicA"), 0);
    test_append(s, q, 0, &put);
    before = sync_calls;
    pthread_mutex_lock(&hang);
    store_when_flushed(s, put.end, 50, told, &t);
    wait_told(&t, 1);
    ok(t.no == 1 && sync_calls > before, "the sync hangs: who waited 50 ms is told");
    for (int i = 1; i < 10; i++)
        test_append(s, q, i, &put);
    ok(test_read_all(s, q, 0, &bad) == 10 && bad == 0, "appends and reads go on meanwhile");
    store_when_flushed(s, put.end, 60000, told, &t);
    pthread_mutex_unlock(&hang);
    wait_told(&t, 2);
    is_int(t.yes, 1, "who waits longer is told when it is done");
    test_close(s);
    test_clean(&conf);
}

struct slow_append {
    struct store *s;
    struct store_queue *q;
    struct store_put put;
    int n, rc;
};

static void *append_slowly(void *arg)
{
    struct slow_append *a = arg;

    is_slow = true;
    for (int i = 0; !a->rc && i < a->n; i++)
        a->rc = test_append(a->s, a->q, i, &a->put);
    return NULL;
}

static void *delete_topic(void *arg)
{
    struct slow_append *a = arg;

    a->rc = store_delete_topic(a->s, str_of("Slow"));
    return NULL;
}

static void wait_slow_call(int n)
{
    while (slow_calls < n)
        usleep(1000);
}

/* Making a queue's file takes the disk long: appends to other queues do not wait for it. */
static void test_slow_file(void)
{
    struct store_conf conf = test_conf();
    struct store *s = test_open(&conf);
    struct store_queue *ready = store_queue(s, str_of("Ready"), 0);
    struct slow_append first = {.s = s, .q = store_queue(s, str_of("Slow"), 0), .n = 1}, second = first, gone = first;
    pthread_t threads[3];
    struct store_put put;
    char path[256];
    int64_t bad;
    int wrong = test_append(s, ready, 0, &put);

    slow_calls = 0;
    pthread_mutex_lock(&slow);
    pthread_create(&threads[0], NULL, append_slowly, &first);
    wait_slow_call(1);
    pthread_create(&threads[1], NULL, append_slowly, &second);
    alarm(30);                           /* the appends below would wait for ever */
    for (int i = 1; i < 100; i++)
        wrong += test_append(s, ready, i, &put) != 0;
    alarm(0);
    ok(wrong == 0 && test_read_all(s, ready, 0, &bad) == 100 && bad == 0,
       "while a queue's first file is being made, another queue takes 99 messages");
    is_int(store_queue_max(s, first.q), 0, "the file is still not there");
    pthread_mutex_unlock(&slow);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    ok(!first.rc && !second.rc && first.put.queue_offset + second.put.queue_offset == 1,
       "then both messages that waited for it get their places");

    pthread_mutex_lock(&slow);
    slow_calls = 0;
    gone.n = 500;                        /* grows twice more, into other files */
    pthread_create(&threads[0], NULL, append_slowly, &gone);
    wait_slow_call(1);
    pthread_create(&threads[1], NULL, delete_topic, &second);
    pthread_mutex_unlock(&slow);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    snprintf(path, sizeof path, "%s/consumequeue/Slow", conf.root);
    ok(second.rc == 0 && access(path, F_OK) < 0 && (gone.rc == 0 || gone.rc == -ENOENT),
       "a topic deleted while its queue grows leaves no file behind");
    test_close(s);
    test_clean(&conf);
}

/* Index files of 20 entries, the first of which stays empty: four of 19 messages are full in the end, and the checkpoint
 * vouches for them up to a time. That one's message, when the second could be synced or could not. */
static int64_t vouched_for(bool second_fails)
{
    struct store_conf conf = test_conf();
    struct store *s;
    struct store_queue *q;
    struct store_put put;
    int64_t begin, end, n = 0;

    conf.index_enable = true;
    conf.index_slots = 10;
    conf.index_entries = 20;
    s = test_open(&conf);
    q = store_queue(s, str_of("TopicA"), 0);
    for (int i = 0; i < 80; i++) {
        index_sync_fails = second_fails && i >= 25 && i < 45;
        test_append(s, q, i, &put);
        store_index_range(s, 5000, &begin, &end);
        for (int64_t now = wall_ms(); i % 19 == 18 && wall_ms() == now;) {}      /* each file ends at a time of its own */
    }
    while (n < 80 && store_time_at(s, q, n) <= atomic_load(&s->index.safe_time))
        n++;
    test_close(s);
    test_clean(&conf);
    return n - 1;
}

static void test_index_sync_fails(void)
{
    is_int(vouched_for(false), 4 * 19 - 1, "the checkpoint vouches for full index files");
    is_int(vouched_for(true), 19 - 1, "and for none behind one that could not be synced");
}

/* A disk that failed and was made read-only under a running store: what nobody had asked for since the start can be read
 * all the same. */
static void test_read_only(void)
{
    struct store_conf conf = test_conf();
    struct store *s = test_open(&conf);
    struct store_queue *q = store_queue(s, str_of("TopicA"), 0);
    struct store_put put = {0};
    struct store_stats st;
    int64_t bad;
    int rc = 1;

    for (int i = 0; i < 550; i++)
        test_append(s, q, i, &put);
    test_close(s);
    s = test_open(&conf);
    q = store_queue(s, str_of("TopicA"), 0);
    read_only = true;
    ok(put.physical_offset > 2 * conf.commit_log_file_size && test_read_all(s, q, 0, &bad) == 550 && bad == 0,
       "a disk becomes read-only: a queue at rest is read, and its messages in three log files");
    ok(test_append(s, q, 550, &put) == -EROFS, "what is sent is refused");
    store_stats(s, &st);
    ok(!st.writable && strstr(st.why_not, "Read-only"), "the state says so: %s", st.why_not);
    ok(test_read_all(s, q, 0, &bad) == 550 && bad == 0, "reads go on");
    read_only = false;
    for (int i = 0; i < 100 && (rc = test_append(s, q, 550, &put)); i++)
        usleep(50000);
    ok(rc == 0 && put.queue_offset == 550, "writable again, writes are on again by themselves");
    ok(test_read_all(s, q, 0, &bad) == 551 && bad == 0, "and what was read before is read again");
    test_close(s);
    s = test_open(&conf);
    ok(test_read_all(s, store_queue(s, str_of("TopicA"), 0), 0, &bad) == 551 && bad == 0, "all of it after a restart");
    test_close(s);
    test_clean(&conf);
}

/* Connections may have taken all descriptors: a queue that cannot be synced now is synced later, and nothing was lost. */
static void test_no_descriptors(void)
{
    struct store_conf conf = test_conf();
    struct store *s;
    struct store_queue *q;
    struct store_put put;

    conf.flush_interval_ms = conf.flush_queue_interval_ms = 60000;
    s = test_open(&conf);
    q = store_queue(s, str_of("TopicA"), 0);
    test_append(s, q, 0, &put);
    open_error = EMFILE;
    is_int(flush_queues(s, true), -EMFILE, "without a descriptor a new queue cannot be synced");
    ok(test_append(s, q, 1, &put) == 0, "which turns no writes off");
    is_int(q->flushed, 0, "it is not taken for synced");
    open_error = 0;
    is_int(flush_queues(s, true), 0, "with one it is synced");
    is_int(q->flushed, 2, "all of it");
    test_close(s);
    test_clean(&conf);
}

/* flushCommitLogLeastPages and flushConsumeQueueLeastPages 0: whatever changed is flushed at the interval. */
static void test_least_pages(void)
{
    struct store_conf conf = test_conf();
    struct store *s;
    struct store_queue *q;
    struct store_put put;
    struct store_stats st = {0};
    int64_t flushed = 0;

    conf.flush_interval_ms = conf.flush_queue_interval_ms = 5;
    conf.flush_thorough_ms = conf.flush_queue_thorough_ms = 3600000;
    conf.flush_least_pages = conf.flush_queue_least_pages = -1;
    s = test_open(&conf);
    q = store_queue(s, str_of("TopicA"), 0);
    test_append(s, q, 0, &put);
    for (int i = 0; i < 2000 && (st.flushed < put.end || flushed < 1); i++) {
        usleep(5000);
        store_stats(s, &st);
        pthread_mutex_lock(&s->append_lock);
        flushed = q->flushed;
        pthread_mutex_unlock(&s->append_lock);
    }
    is_int(st.flushed, put.end, "one small message is flushed at the interval, when no page has to be full");
    is_int(flushed, 1, "so is its queue");
    test_close(s);
    test_clean(&conf);
}

/* Somebody deletes the file that is being written: what is in it will be gone, so nobody is told that it is kept. */
static void test_log_removed(void)
{
    struct store_conf conf = test_conf();
    struct told t = TOLD;
    struct store *s;
    struct store_queue *q;
    struct store_put put;
    struct store_stats st;
    struct fault f = {0};
    struct message m = {.body = str_of("x")};
    char path[256];
    int64_t bad;

    conf.flush_interval_ms = conf.flush_queue_interval_ms = 60000;
    s = test_open(&conf);
    q = store_queue(s, str_of("TopicA"), 0);
    test_append(s, q, 0, &put);
    store_when_flushed(s, put.end, 10000, told, &t);
    wait_told(&t, 1);
    is_int(t.yes, 1, "a message is kept");
    snprintf(path, sizeof path, "%s/commitlog/00000000000000000000", conf.root);
    is_int(unlink(path), 0, "the log file is deleted under the store");
    test_append(s, q, 1, &put);
    store_when_flushed(s, put.end, 10000, told, &t);
    wait_told(&t, 2);
    is_int(t.no, 1, "the next one is told not to be");
    ok(store_append(s, q, &m, 0, &put, &f) == -ESTALE && strstr(f.text, "removed"), "writes are off: %s", f.text);
    store_stats(s, &st);
    ok(!st.writable && strstr(st.why_not, "removed"), "the state says so");
    ok(test_read_all(s, q, 0, &bad) == 2 && bad == 0, "reads go on");
    ok(store_close(s) < 0, "the close says that it was not clean");
    test_clean(&conf);
}

int main(void)
{
    signal(SIGXFSZ, SIG_IGN);
    test_no_room();
    test_no_room_for_queue();
    test_slow_file();
    test_no_fallocate();
    test_sync_fails();
    test_sync_hangs();
    test_index_sync_fails();
    test_read_only();
    test_log_removed();
    test_no_descriptors();
    test_least_pages();
    return tap_done();
}
