/* store/snapshot.h: what a snapshot holds, while sends go on, and that nothing that happens to the store
 * afterwards reaches it. */
#include "tests/unit/store_help.h"
#include "tests/unit/tap.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>

#include "common/clock.h"
#include "store/checkpoint.h"
#include "store/snapshot.h"
#include "store/store_impl.h"

#define QUEUES 4
#define SENT_EACH 3000               /* by a sender, from one snapshot's start to the next: a slow disk must not fill up */

static const char *path_in(const struct store_conf *c, const char *name)
{
    static char paths[64][300];
    static int i;
    char *p = paths[i++ % 64];

    snprintf(p, 300, "%s/%s", c->root, name);
    return p;
}

static struct store_queue *queue_no(struct store *s, int i) { return store_queue(s, str_of("TopicA"), i); }

/* Messages [from, to) over the queues: number i is of queue i % QUEUES, and its number there is i / QUEUES. */
static void fill(struct store *s, int64_t from, int64_t to)
{
    for (int64_t i = from; i < to; i++) {
        struct store_put put;
        if (test_append(s, queue_no(s, (int)(i % QUEUES)), i / QUEUES, &put))
            exit(2);
    }
}

static int64_t count_all(struct store *s, int64_t *bad)
{
    int64_t n = 0;

    *bad = 0;
    for (int i = 0; i < QUEUES; i++) {
        int64_t b;
        n += test_read_all(s, queue_no(s, i), 0, &b);
        *bad += b;
    }
    return n;
}

/* Opens the directory as a store and reads all of it. */
static int64_t count_in(const struct store_conf *c, const char *dir, int64_t *bad)
{
    struct store_conf conf = *c;
    struct store *s;
    int64_t n;

    conf.root = dir;
    conf.commit_log = conf.commit_log_read_only = NULL;
    s = test_open(&conf);
    n = count_all(s, bad);
    test_close(s);
    return n;
}

static int64_t inode_of(const char *path)
{
    struct stat st;

    return stat(path, &st) < 0 ? -1 : (int64_t)st.st_ino;
}

static bool exists(const char *path) { return access(path, F_OK) == 0; }

static struct snapshot_point take(struct store *s, const char *dir, int64_t copy_max)
{
    struct snapshot_point at = {0};
    struct fault f = {0};

    ok(store_snapshot(s, dir, copy_max, &at, &f) == 0, "a snapshot is taken %s", f.text);
    return at;
}

static void put_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0640);

    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text) || close(fd) < 0)
        exit(2);
}

static bool file_is(const char *path, const char *text)
{
    char got[64] = {0};
    int fd = open(path, O_RDONLY);
    bool is = fd >= 0 && read(fd, got, sizeof got - 1) >= 0 && strcmp(got, text) == 0;

    if (fd >= 0)
        close(fd);
    return is;
}

static void test_copied(void)
{
    struct store_conf c = test_conf();
    struct store *s = test_open(&c);
    const char *dir = path_in(&c, "snapshots/a");
    struct snapshot_point at, again;
    struct store_stats stats;
    struct fault f = {0};
    struct checkpoint k;
    int64_t bad;

    mkdir(path_in(&c, "snapshots"), 0755);
    mkdir(path_in(&c, "config"), 0755);
    put_file(path_in(&c, "config/topics.json"), "{}");
    put_file(path_in(&c, "config/consumerOffset.json"), "{1}");
    put_file(path_in(&c, "audit.log"), "line\n");
    fill(s, 0, 2000);
    store_stats(s, &stats);
    at = take(s, dir, 0);
    is_int(at.log_end, stats.log_max, "... up to the log's end");
    ok(!at.sealed && at.linked > 5 && at.copied >= QUEUES + 4, "... with %d links and %d copies", (int)at.linked, (int)at.copied);
    ok(store_snapshot(s, dir, 0, &again, &f) == -EEXIST && f.text[0], "a name is taken once: %s", f.text);
    is_int(inode_of(path_in(&c, "snapshots/a/commitlog/00000000000000000000")),
           inode_of(path_in(&c, "commitlog/00000000000000000000")), "a full log file is a link");
    ok(!exists(path_in(&c, "snapshots/a/abort")) && !exists(path_in(&c, "snapshots/a/lock")), "no abort, no lock");
    ok(!exists(path_in(&c, "snapshots/a/snapshots")), "snapshots hold no snapshots");
    ok(file_is(path_in(&c, "snapshots/a/config/topics.json"), "{}") && file_is(path_in(&c, "snapshots/a/audit.log"), "line\n") &&
           file_is(path_in(&c, "snapshots/a/config/consumerOffset.json"), "{1}"), "config and other files are there");
    ok(checkpoint_read(path_in(&c, "snapshots/a/checkpoint"), &k, &f) == 0 && k.queue_offset == at.log_end &&
           k.log_time == at.last_time, "the checkpoint says the point");
    fill(s, 2000, 4000);
    is_int(count_in(&c, dir, &bad), 2000, "started on the snapshot: the messages before it, and those only");
    is_int(bad, 0, "... each as it was");
    is_int(count_all(s, &bad), 4000, "the store has all");
    is_int(snapshot_remove(dir), 0, "removed");
    ok(!exists(dir) && snapshot_remove(dir) == -ENOENT, "... and gone");
    is_int(count_all(s, &bad), 4000, "... which the store does not feel");
    is_int(bad, 0, "... at all");
    test_close(s);
    test_clean(&c);
}

/* Too much to copy: the log file is closed. */
static void test_sealed(void)
{
    struct store_conf c = test_conf();
    struct store *s;
    struct snapshot_point at, second;
    struct stat st;
    int64_t bad;

    c.commit_log_file_size = 1 << 20;
    s = test_open(&c);
    mkdir(path_in(&c, "snapshots"), 0755);
    fill(s, 0, 600);
    at = take(s, path_in(&c, "snapshots/a"), 65536);
    ok(at.sealed && at.log_end == 1 << 20, "much of a log file: it is closed, and the point is the next one's start");
    is_int(inode_of(path_in(&c, "snapshots/a/commitlog/00000000000000000000")),
           inode_of(path_in(&c, "commitlog/00000000000000000000")), "... and linked");
    ok(stat(path_in(&c, "commitlog/00000000000000000000"), &st) == 0 && st.st_size == 1 << 20 && st.st_blocks * 512 < 400000,
       "... its unused space is given back (%d KiB are left)", (int)(st.st_blocks / 2));
    ok(!store_far(s, 0) , "what lies before the gap is not far because of it");
    fill(s, 600, 610);
    second = take(s, path_in(&c, "snapshots/b"), 65536);
    ok(!second.sealed, "little of it is copied");
    fill(s, 610, 1200);
    is_int(count_in(&c, path_in(&c, "snapshots/a"), &bad), 600, "the first has 600");
    is_int(bad, 0, "... as they were");
    is_int(count_in(&c, path_in(&c, "snapshots/b"), &bad), 610, "the second has 610");
    is_int(count_all(s, &bad), 1200, "the store has all");
    test_close(s);
    s = test_open(&c);
    is_int(count_all(s, &bad), 1200, "... also after a restart");
    test_close(s);
    put_file(path_in(&c, "abort"), "1");
    s = test_open(&c);
    is_int(count_all(s, &bad), 1200, "... and after a crash");
    is_int(bad, 0, "... each right");
    test_close(s);
    is_int(count_in(&c, path_in(&c, "snapshots/a"), &bad), 600, "the snapshots stay as they are");
    test_clean(&c);
}

/* A broker that goes on in a snapshot's directory writes to none of the linked files. */
static void test_branch(void)
{
    struct store_conf c = test_conf(), b;
    struct store *s;
    int64_t bad;

    for (int sealed = 0; sealed < 2; sealed++) {
        char name[32];
        s = test_open(&c);
        mkdir(path_in(&c, "snapshots"), 0755);
        snprintf(name, sizeof name, "snapshots/%d", sealed);
        if (!sealed)
            fill(s, 0, 1000);
        take(s, path_in(&c, name), sealed ? 1 : 0);
        test_close(s);
        b = c;
        b.root = path_in(&c, name);
        s = test_open(&b);
        fill(s, 1000, 3000);
        is_int(count_all(s, &bad), 3000, "a broker goes on from the snapshot");
        test_close(s);
        s = test_open(&c);
        is_int(count_all(s, &bad), 1000, "... and the store is as it was");
        is_int(bad, 0, "... byte by byte");
        test_close(s);
    }
    test_clean(&c);
}

/* ---- while sends go on ---- */

struct sender {
    struct store *s;
    int queue;
    _Atomic int64_t sent;            /* acknowledged */
    _Atomic int64_t most;            /* so far */
    atomic_bool stop;
};

static void *send_on(void *arg)
{
    struct sender *w = arg;

    while (!atomic_load(&w->stop)) {
        struct store_put put;
        if (atomic_load(&w->sent) >= atomic_load(&w->most)) {
            usleep(200);
            continue;
        }
        if (test_append(w->s, queue_no(w->s, w->queue), atomic_load(&w->sent), &put))
            exit(2);
        atomic_fetch_add(&w->sent, 1);
    }
    return NULL;
}

/* In each queue of the snapshot: all that was acknowledged before, a row without a gap, nothing that was not begun. */
static void check_cut(const struct store_conf *c, const char *dir, const int64_t before[QUEUES], const int64_t after[QUEUES])
{
    struct store_conf conf = *c;
    struct store *s;

    conf.root = dir;
    s = test_open(&conf);
    for (int i = 0; i < QUEUES; i++) {
        int64_t bad, n = test_read_all(s, queue_no(s, i), 0, &bad);
        ok(bad == 0 && n >= before[i] && n <= after[i] + 1, "queue %d: %d messages, at least %d, at most %d, %d bad", i, (int)n,
           (int)before[i], (int)after[i] + 1, (int)bad);
    }
    test_close(s);
}

static void test_while_sending(void)
{
    struct store_conf c = test_conf();
    struct store *s;
    struct sender w[QUEUES] = {0};
    pthread_t t[QUEUES];
    int64_t before[8][QUEUES], after[8][QUEUES];
    int sealed = 0;

    c.commit_log_file_size = 8 << 20;
    s = test_open(&c);
    mkdir(path_in(&c, "snapshots"), 0755);
    for (int i = 0; i < QUEUES; i++) {
        w[i].s = s;
        w[i].queue = i;
        if (pthread_create(&t[i], NULL, send_on, &w[i]))
            exit(2);
    }
    for (int n = 0; n < 8; n++) {
        char name[32];
        snprintf(name, sizeof name, "snapshots/%d", n);
        for (int i = 0; i < QUEUES; i++)
            atomic_store(&w[i].most, (n + 1) * SENT_EACH);
        while (atomic_load(&w[0].sent) < n * SENT_EACH + 200)
            usleep(100);
        for (int i = 0; i < QUEUES; i++)
            before[n][i] = atomic_load(&w[i].sent);
        sealed += take(s, path_in(&c, name), n % 2 ? 1 : 0).sealed;
        for (int i = 0; i < QUEUES; i++)
            after[n][i] = atomic_load(&w[i].sent);
    }
    ok(sealed >= 1, "%d of them closed a log file", sealed);
    for (int i = 0; i < QUEUES; i++) {
        atomic_store(&w[i].stop, true);
        pthread_join(t[i], NULL);
    }
    for (int n = 0; n < 8; n++) {
        char name[32];
        snprintf(name, sizeof name, "snapshots/%d", n);
        check_cut(&c, path_in(&c, name), before[n], after[n]);
    }
    test_close(s);
    test_clean(&c);
}

/* ---- a log in several directories ---- */

static struct store_conf many_dirs(char list[900], char old[300])
{
    struct store_conf c = test_conf();

    snprintf(list, 900, "%s/disk1,%s/disk2,%s/disk3", c.root, c.root, c.root);
    snprintf(old, 300, "%s/old", c.root);
    c.commit_log = list;
    c.commit_log_read_only = old;
    c.commit_log_file_size = 1 << 20;
    return c;
}

/* The first file moves to the directory that is only read. */
static void move_first(const struct store_conf *c)
{
    char from[400], to[400];

    mkdir(c->commit_log_read_only, 0755);
    snprintf(to, sizeof to, "%s/%020d", c->commit_log_read_only, 0);
    for (int i = 1; i <= 3; i++) {
        snprintf(from, sizeof from, "%s/disk%d/%020d", c->root, i, 0);
        if (rename(from, to) == 0)
            return;
    }
    exit(2);
}

static void test_many_dirs(void)
{
    char list[900], old[300];
    struct store_conf c = many_dirs(list, old), wrong;
    struct snapshot_point at;
    struct fault f = {0};
    struct stat st;
    struct store *s;
    int64_t bad;

    s = test_open(&c);
    fill(s, 0, 9000);
    test_close(s);
    move_first(&c);
    s = test_open(&c);
    mkdir(path_in(&c, "snapshots"), 0755);
    at = take(s, path_in(&c, "snapshots/a"), 1);
    ok(at.sealed && at.log_end % (1 << 20) == 0 && at.linked >= 3, "closed, with %d links", (int)at.linked);
    for (int i = 0; i < at.log_end >> 20; i++) {
        char name[64];
        snprintf(name, sizeof name, "snapshots/a/commitlog/%020d", i << 20);
        ok(stat(path_in(&c, name), &st) == 0 && st.st_nlink == 2, "log file %d of %d is a link", i, (int)(at.log_end >> 20));
    }
    ok(st.st_blocks * 512 < 1 << 20, "... the closed one without its unused space, whichever directory it is in");
    ok(!exists(path_in(&c, "snapshots/a/disk1")) && !exists(path_in(&c, "snapshots/a/old")), "... brought together in one");
    fill(s, 9000, 9500);
    take(s, path_in(&c, "snapshots/b"), 0);
    fill(s, 9500, 9600);
    is_int(count_all(s, &bad), 9600, "the store has all");
    test_close(s);
    is_int(count_in(&c, path_in(&c, "snapshots/a"), &bad), 9000, "the first snapshot opens with a log in one directory");
    is_int(bad, 0, "... each message as it was");
    wrong = c;
    wrong.root = path_in(&c, "snapshots/b");
    snprintf(list, sizeof list, "%s/new1,%s/new2", c.root, c.root);
    wrong.commit_log_read_only = NULL;
    ok(store_open(&wrong, &s, &f) == -EINVAL && strstr(f.text, "storePathCommitLog"), "with directories that have no log it does "
       "not start: %s", f.text);
    snprintf(list, sizeof list, "%s/new1,%s/snapshots/b/commitlog", c.root, c.root);
    s = test_open(&wrong);
    is_int(count_all(s, &bad), 9500, "with the snapshot's among several it does, nothing was dropped");
    fill(s, 9500, 15000);
    is_int(count_all(s, &bad), 15000, "... and goes on in all of them");
    is_int(bad, 0, "... right");
    test_close(s);
    test_clean(&c);
}

/* ---- retention meanwhile ---- */

static void conf_expire(void *ctx, struct store_retention *out)
{
    (void)ctx;
    *out = (struct store_retention){.delete_when = "", .clean_resource_interval = 3600000, .disk_max_used_space_ratio = 95,
                                    .disk_space_clean_forcibly_ratio = 85, .disk_space_warning_level_ratio = 90,
                                    .delete_file_batch_max = 1000};
}

static void *expire_all(void *arg)
{
    struct store *s = arg;

    store_expire_now(s);
    retention_round(s, wall_ms() + 1000);
    return NULL;
}

/* Whatever retention deletes while a snapshot is made, its log has no gap and reads right from its first message on. */
static void test_retention(void)
{
    struct store_conf c = test_conf();
    struct store *s;
    pthread_t t;
    int64_t before, gaps = 0, wrong = 0;

    c.retention = conf_expire;
    s = test_open(&c);
    mkdir(path_in(&c, "snapshots"), 0755);
    for (int round = 0; round < 12; round++) {
        char name[64];
        struct store_conf conf = c;
        struct store *copy;
        int64_t bad, next = -1;
        before = store_queue_max(s, queue_no(s, 0)) * QUEUES;
        fill(s, before, before + 4000);
        snprintf(name, sizeof name, "snapshots/%d", round);
        if (pthread_create(&t, NULL, expire_all, s))
            exit(2);
        take(s, path_in(&c, name), round % 2 ? 1 : 0);
        pthread_join(t, NULL);
        conf.root = path_in(&c, name);
        conf.retention = NULL;
        copy = test_open(&conf);
        for (int i = 0; i < file_list_count(&copy->log.files); i++) {
            int64_t base = file_list_base(&copy->log.files, i);
            gaps += next >= 0 && base != next;
            next = base + c.commit_log_file_size;
        }
        for (int i = 0; i < QUEUES; i++) {
            test_read_all(copy, queue_no(copy, i), 0, &bad);
            wrong += bad + (store_queue_max(copy, queue_no(copy, i)) != before / QUEUES + 1000);
        }
        test_close(copy);
        snapshot_remove(path_in(&c, name));
    }
    is_int(gaps, 0, "retention beside 12 snapshots: no log has a gap");
    is_int(wrong, 0, "... and each queue reads right up to its end");
    ok(commit_log_min(&s->log) > 0, "... while it did delete files");
    test_close(s);
    test_clean(&c);
}

/* ---- what may be in the way ---- */

static void test_crash(void)
{
    struct store_conf c = test_conf();
    struct store *s = test_open(&c);
    struct snapshot_point at;
    struct fault f = {0};

    ok(store_snapshot(s, path_in(&c, "nowhere/a"), 0, &at, &f) == -ENOENT && f.text[0], "no such parent: %s", f.text);
    mkdir(path_in(&c, "snapshots"), 0755);
    mkdir(path_in(&c, "snapshots/.part-a"), 0755);
    mkdir(path_in(&c, "snapshots/.part-a/commitlog"), 0755);
    put_file(path_in(&c, "snapshots/.part-a/commitlog/x"), "x");
    mkdir(path_in(&c, "snapshots/.gone-b"), 0755);
    mkdir(path_in(&c, "snapshots/c"), 0755);
    ok(store_snapshot(s, path_in(&c, "snapshots/a"), 0, &at, &f) == -EEXIST, "what a crash left is in the way of its name");
    snapshot_sweep(path_in(&c, "snapshots"));
    ok(!exists(path_in(&c, "snapshots/.part-a")) && !exists(path_in(&c, "snapshots/.gone-b")), "... until it is swept away");
    ok(exists(path_in(&c, "snapshots/c")), "... and only it");
    take(s, path_in(&c, "snapshots/a"), 0);
    ok(symlink("/etc/passwd", path_in(&c, "link")) == 0, "a link is in the store");
    mkfifo(path_in(&c, "fifo"), 0644);
    take(s, path_in(&c, "snapshots/b"), 0);
    ok(!exists(path_in(&c, "snapshots/b/link")) && !exists(path_in(&c, "snapshots/b/fifo")), "links and pipes are left out");
    test_close(s);
    test_clean(&c);
}

int main(void)
{
    test_copied();
    test_sealed();
    test_branch();
    test_many_dirs();
    test_retention();
    test_while_sending();
    test_crash();
    return tap_done();
}
