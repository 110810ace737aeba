/* Expiry of log and queue files: by age and hour, by disk usage, by hand; never the last file, never out of the
 * middle; what is being read stays. Time is the files' modification times, the disk a function of the test's.
 * (R-EXP-01 to R-EXP-12, R-STORE-30, X-12) */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <time.h>

#include "tests/unit/store_help.h"
#include "tests/unit/tap.h"

#include "common/clock.h"
#include "common/codes.h"
#include "store/store_impl.h"

#define HOUR INT64_C(3600000)

static int unlink_error;

int unlink(const char *path)
{
    static int (*_Atomic real)(const char *);       /* any thread comes by */

    if (!real)
        real = (int (*)(const char *))dlsym(RTLD_NEXT, "unlink");
    if (unlink_error) {
        errno = unlink_error;
        return -1;
    }
    return real(path);
}

static struct store_retention rules;
static char this_hour[8], other_hour[8];
static double usage;

static void ask_rules(void *ctx, struct store_retention *out) { *out = rules; }
static double fake_usage(const char *dir) { return usage; }

static void default_rules(void)
{
    time_t now = time(NULL);
    struct tm t;

    localtime_r(&now, &t);
    snprintf(this_hour, sizeof this_hour, "%02d", t.tm_hour);
    snprintf(other_hour, sizeof other_hour, "%02d", (t.tm_hour + 12) % 24);
    rules = (struct store_retention){.delete_when = other_hour, .file_reserved_time = 72,
        .clean_resource_interval = 3600000, .disk_max_used_space_ratio = 75, .disk_space_clean_forcibly_ratio = 85,
        .disk_space_warning_level_ratio = 90, .clean_file_forcibly_enable = true, .delete_file_batch_max = 10};
    usage = 0.2;
}

static int64_t now(void) { return wall_ms(); }

static struct store *open_with(struct store_conf *conf)
{
    struct store *s;

    conf->retention = ask_rules;
    s = test_open(conf);
    s->retention.disk_used = fake_usage;
    return s;
}

/* Until the log has n files. */
static void fill(struct store *s, struct store_queue *q, int n)
{
    struct store_put put;

    while (file_list_count(&s->log.files) < n)
        if (test_append(s, q, store_queue_max(s, q), &put))
            exit(2);
}

/* Makes log file number i (of those that are left) so many hours old. */
static void age(struct store *s, int i, int64_t hours)
{
    char path[4096];
    struct timespec t[2];

    mapped_file_path(s->log.dir, file_list_base(&s->log.files, i), path, sizeof path);
    t[0].tv_sec = t[1].tv_sec = (now() - hours * HOUR) / 1000;
    t[0].tv_nsec = t[1].tv_nsec = 0;
    if (utimensat(AT_FDCWD, path, t, 0) < 0)
        exit(2);
}

static void age_all(struct store *s, int64_t hours)
{
    for (int i = 0; i < file_list_count(&s->log.files); i++)
        age(s, i, hours);
}

static void check_reads(struct store *s, struct store_queue *q, const char *when)
{
    int64_t bad, good = test_read_all(s, q, 0, &bad);

    ok(bad == 0 && good == store_queue_max(s, q) - store_queue_min(s, q) && good > 0,
       "%s: what is left, %" PRId64 " messages from %" PRId64 " on, reads right", when, good, store_queue_min(s, q));
}

static int64_t told_min;
static int told_n;

static void told(void *ctx, int64_t log_min)
{
    told_min = log_min;
    told_n++;
}

static void test_age(void)
{
    struct store_conf conf = test_conf();
    struct store *s;
    struct store_queue *q;
    struct store_result *old, *r;
    struct store_stats st;
    struct message m;
    int64_t base;
    int files;

    default_rules();
    s = open_with(&conf);
    store_on_expired(s, told, NULL);
    q = store_queue(s, str_of("t"), 0);
    fill(s, q, 9);
    rules.delete_when = this_hour;
    is_int(retention_round(s, now()), 0, "nothing is old enough: nothing goes");
    age(s, 0, 73);
    age(s, 1, 73);
    age(s, 2, 71);
    age(s, 3, 100);
    rules.delete_when = other_hour;
    is_int(retention_round(s, now()), 0, "another hour: nothing goes");
    is_int(told_n, 0, "and nobody is told");
    old = store_get(s, q, 0, &test_limits, NULL);
    rules.delete_when = this_hour;
    is_int(retention_round(s, now()), 2, "the hour: the two oldest go, the next is too young, those behind it stay");
    base = file_list_base(&s->log.files, 0);
    is_int(base, 2 * conf.commit_log_file_size, "the log begins with the third file");
    store_stats(s, &st);
    is_int(st.log_min, base, "the state says so");
    ok(told_n == 1 && told_min == base, "those who asked were told");
    ok(message_record_get(old->iov[0].iov_base, old->iov[0].iov_len, true, &m) == 0 && test_body_is(&m, 0),
       "a reader of the first file still reads it");
    is_int(s->retention.n_gone, 1, "the other file was let go, the one being read was not");
    store_release(old);
    retention_round(s, now());
    is_int(s->retention.n_gone, 0, "now it is");
    ok(store_queue_min(s, q) > 0, "the queue's min moved to %" PRId64, store_queue_min(s, q));
    r = store_get(s, q, 0, &test_limits, NULL);
    ok(r->status == STORE_OFFSET_TOO_SMALL && r->next_begin == store_queue_min(s, q) && r->min == r->next_begin,
       "an expired offset is too small, and the answer says where to go on");
    store_release(r);
    r = store_get(s, q, store_queue_min(s, q), &test_limits, NULL);
    is_int(r->status, STORE_FOUND, "min is there");
    store_release(r);
    check_reads(s, q, "after expiry");
    files = file_list_count(&q->files);
    is_int(file_list_base(&q->files, 0) / conf.consume_queue_file_size * 200 <= store_queue_min(s, q), 1,
           "the queue's first file still holds its min");
    age_all(s, 1000);
    is_int(retention_round(s, now()), 6, "all are old: all go but the last one");
    ok(file_list_count(&q->files) < files, "queue files went too: %d of %d are left", file_list_count(&q->files), files);
    check_reads(s, q, "with one file left");
    age_all(s, 1000);
    is_int(retention_round(s, now()), 0, "the last file never goes");
    test_close(s);
    s = open_with(&conf);
    q = store_queue(s, str_of("t"), 0);
    check_reads(s, q, "after a restart");
    fill(s, q, 3);
    check_reads(s, q, "and more");
    test_close(s);
    test_clean(&conf);
}

/* A queue whose last message went: no message, its number goes on. */
static void test_idle_queue(void)
{
    struct store_conf conf = test_conf();
    struct store *s;
    struct store_queue *idle, *busy;
    struct store_put put;
    struct store_result *r;
    char path[4096];

    default_rules();
    s = open_with(&conf);
    idle = store_queue(s, str_of("idle"), 0);
    for (int64_t i = 0; i < 450; i++)        /* three queue files */
        test_append(s, idle, i, &put);
    busy = store_queue(s, str_of("busy"), 0);
    fill(s, busy, 8);
    test_close(s);
    s = open_with(&conf);                    /* both at rest */
    busy = store_queue(s, str_of("busy"), 0);
    rules.delete_when = this_hour;
    age_all(s, 100);
    is_int(retention_round(s, now()), 7, "a store at rest: seven files go");
    snprintf(path, sizeof path, "%s/consumequeue/idle/0/%020d", conf.root, 0);
    is_int(access(path, F_OK), -1, "a queue at rest lost its files, too");
    snprintf(path, sizeof path, "%s/consumequeue/idle/0/%020d", conf.root, 8000);
    is_int(access(path, F_OK), 0, "but the last");
    idle = store_queue(s, str_of("idle"), 0);
    ok(store_queue_min(s, idle) == 450 && store_queue_max(s, idle) == 450, "it is empty, and its numbers go on");
    r = store_get(s, idle, 100, &test_limits, NULL);
    ok(r->status == STORE_OFFSET_TOO_SMALL && r->next_begin == 450, "who was in it is sent to its end");
    store_release(r);
    is_int(test_append(s, idle, 450, &put), 0, "it takes messages");
    is_int(put.queue_offset, 450, "with the next number");
    is_int(test_append(s, busy, store_queue_max(s, busy), &put), 0, "so does the other");
    test_close(s);
    test_clean(&conf);
}

static void test_crash(void)
{
    struct store_conf conf = test_conf();
    struct store *s;
    struct store_queue *q;
    char path[4096];
    int64_t min, max;
    int fd;

    default_rules();
    s = open_with(&conf);
    q = store_queue(s, str_of("t"), 0);
    fill(s, q, 8);
    rules.delete_when = this_hour;
    age_all(s, 100);
    rules.delete_file_batch_max = 5;
    is_int(retention_round(s, now()), 5, "five at a time");
    min = store_queue_min(s, q);
    max = store_queue_max(s, q);
    test_close(s);
    snprintf(path, sizeof path, "%s/abort", conf.root);
    fd = open(path, O_CREAT | O_WRONLY, 0644);
    close(fd);
    s = open_with(&conf);
    q = store_queue(s, str_of("t"), 0);
    ok(store_queue_min(s, q) == min && store_queue_max(s, q) == max, "a crash after expiry: the queue is as it was");
    check_reads(s, q, "after it");
    test_close(s);
    /* The checkpoint and all queues gone as well. */
    snprintf(path, sizeof path, "rm -rf %s/consumequeue %s/checkpoint", conf.root, conf.root);
    ok(system(path) == 0, "queues and checkpoint are removed");
    fd = open((snprintf(path, sizeof path, "%s/abort", conf.root), path), O_CREAT | O_WRONLY, 0644);
    close(fd);
    s = open_with(&conf);
    q = store_queue(s, str_of("t"), 0);
    ok(store_queue_min(s, q) == min && store_queue_max(s, q) == max, "built again from a log without its first files");
    check_reads(s, q, "built again");
    test_close(s);
    test_clean(&conf);
}

static void test_disk(void)
{
    struct store_conf conf = test_conf();
    struct store *s;
    struct store_queue *q;
    struct store_put put;
    struct store_stats st;
    struct fault f = {0};
    char body[512], props[128];
    struct message m = test_message(0, body, props);

    default_rules();
    s = open_with(&conf);
    q = store_queue(s, str_of("t"), 0);
    fill(s, q, 12);
    age(s, 0, 73);
    usage = 0.75;
    is_int(retention_round(s, now()), 0, "75%% of the disk: not above it");
    usage = 0.76;
    is_int(retention_round(s, now()), 1, "76%%: what is expired goes at any hour, and only that");
    rules.disk_max_used_space_ratio = 1;
    usage = 0.09;
    age(s, 0, 73);
    is_int(retention_round(s, now()), 0, "diskMaxUsedSpaceRatio below 10 counts as 10");
    usage = 0.86;
    rules.clean_file_forcibly_enable = false;
    age(s, 0, 0);
    is_int(retention_round(s, now()), 0, "86%%, but cleanFileForciblyEnable is off: nothing that is not expired goes");
    rules.clean_file_forcibly_enable = true;
    rules.delete_file_batch_max = 2;
    is_int(retention_round(s, now()), 2, "on: the oldest go, a batch at a time");
    rules.disk_space_clean_forcibly_ratio = 99;
    is_int(retention_round(s, now()), 2, "diskSpaceCleanForciblyRatio above 85 counts as 85");
    store_stats(s, &st);
    ok(st.writable && st.expired_files == 5, "writes are still on, five files are gone");
    check_reads(s, q, "after forced expiry");

    usage = 0.91;
    rules.disk_space_warning_level_ratio = 99;
    rules.clean_file_forcibly_enable = false;
    retention_round(s, now());
    is_int(store_append(s, q, &m, 0, &put, &f), -ENOSPC, "91%%: writes are refused; a level above 90 counts as 90");
    is_int(f.rc, RC_SERVICE_NOT_AVAILABLE, "with SERVICE_NOT_AVAILABLE");
    ok(strstr(f.text, "90%") != NULL, "saying why: %s", f.text);
    store_stats(s, &st);
    ok(!st.writable && strstr(st.why_not, "90%"), "the state says so too");
    check_reads(s, q, "meanwhile");
    usage = 0.90;
    retention_round(s, now());
    is_int(test_append(s, q, store_queue_max(s, q), &put), 0, "90%%: writes are on again by themselves");
    store_stats(s, &st);
    ok(st.writable && !*st.why_not, "the state says so");
    usage = -1;
    age(s, 0, 73);
    is_int(retention_round(s, now()), 1, "unknown usage: what is expired goes");
    is_int(test_append(s, q, store_queue_max(s, q), &put), 0, "and writes stay on");
    ok(disk_used(conf.root) > 0 && disk_used(conf.root) <= 1, "the real disk: %.2f", disk_used(conf.root));
    ok(disk_used("/nowhere/at/all") < 0, "none: not known");
    test_close(s);
    test_clean(&conf);
}

static void test_by_hand(void)
{
    struct store_conf conf = test_conf();
    struct store *s;
    struct store_queue *q;
    int rounds = 0;

    default_rules();
    s = open_with(&conf);
    q = store_queue(s, str_of("t"), 0);
    fill(s, q, 25);
    age_all(s, 100);
    rules.delete_file_batch_max = 1;
    is_int(retention_round(s, now()), 0, "the wrong hour");
    store_expire_now(s);
    while (rounds < 100 && retention_round(s, now()) == 1)
        rounds++;
    is_int(rounds, 20, "by hand: twenty rounds");
    is_int(retention_round(s, now()), 0, "and no more");

    rules.delete_when = "garbage;;99; 4x";
    is_int(retention_round(s, now()), 0, "hours that are none are no hour");
    rules.delete_when = "";
    is_int(retention_round(s, now()), 0, "nor is no hour");
    rules.delete_when = this_hour;
    unlink_error = EIO;
    is_int(retention_round(s, now()), 0, "a deletion that fails deletes nothing");
    unlink_error = 0;
    is_int(file_list_count(&s->log.files), 5, "and forgets nothing");
    check_reads(s, q, "after it");
    is_int(retention_round(s, now()), 1, "the next round tries again");
    age(s, 0, -1000);
    is_int(retention_round(s, now()), 0, "a clock that jumped back: a file from the future stays, and all behind it");
    check_reads(s, q, "in the end");
    test_close(s);
    test_clean(&conf);
}

/* ---- queues that nobody has ---- */

static bool keep_first(void *arg, struct str topic, int32_t id) { return id == 0; }
static bool keep_b(void *arg, struct str topic) { return str_is(topic, "b"); }

static void test_cleaning(void)
{
    struct store_conf conf = test_conf();
    struct store *s;
    struct store_put put;
    int n, files;

    default_rules();
    s = open_with(&conf);
    for (int i = 0; i < 3; i++) {
        test_append(s, store_queue(s, str_of("a"), i), 0, &put);
        test_append(s, store_queue(s, str_of("b"), i), 0, &put);
    }
    fill(s, store_queue(s, str_of("live"), 1), 4);
    is_int(store_clean_queues(s, keep_first, NULL, &n), 0, "all messages are there");
    is_int(n, 0, "no queue goes");
    rules.delete_when = this_hour;
    age_all(s, 100);
    is_int(retention_round(s, now()), 3, "three files expire");
    is_int(store_expire_queues(s, &files), 0, "queue files follow");
    is_int(store_clean_queues(s, keep_first, NULL, &n), 0, "cleaning");
    is_int(n, 4, "the empty queues that are not kept go");
    ok(store_queue_find(s, str_of("a"), 0) && !store_queue_find(s, str_of("a"), 1) && !store_queue_find(s, str_of("b"), 2) &&
       store_queue_find(s, str_of("live"), 1), "and only those");
    is_int(store_clean_unused(s, keep_b, NULL, &n), 0, "unknown topics");
    is_int(n, 2, "two of them");
    ok(!store_queue_find(s, str_of("a"), 0) && !store_queue_find(s, str_of("live"), 1) && store_queue_find(s, str_of("b"), 0),
       "are gone, the known one is there");
    is_int(test_append(s, store_queue(s, str_of("a"), 1), 0, &put), 0, "such a queue may come again");
    is_int(put.queue_offset, 0, "from 0 on");
    test_close(s);
    s = open_with(&conf);
    ok(!store_queue_find(s, str_of("a"), 0) && store_queue_find(s, str_of("a"), 1) && !store_queue_find(s, str_of("live"), 1),
       "a restart finds the same");
    test_close(s);
    test_clean(&conf);
}

/* ---- the thread ---- */

/* A full disk right after a start, when no queue has been named yet. */
static void test_at_rest(void)
{
    struct store_conf conf = test_conf();
    struct store_queue *q, *small;
    struct store_put put;
    struct store *s;
    char first[4200];

    default_rules();
    s = open_with(&conf);
    test_append(s, store_queue(s, str_of("small"), 0), 0, &put);
    fill(s, store_queue(s, str_of("t"), 3), 12);
    test_close(s);
    s = open_with(&conf);
    snprintf(first, sizeof first, "%s/consumequeue/t/3/%020d", conf.root, 0);
    usage = 0.86;
    rules.delete_file_batch_max = 9;
    ok(!s->queues.complete && access(first, F_OK) == 0, "the queue has its first file");
    is_int(retention_round(s, now()), 9, "86%% of the disk: files of the log go");
    ok(access(first, F_OK) < 0, "and those of a queue that nobody named");
    small = store_queue_find(s, str_of("small"), 0);
    ok(small && store_queue_min(s, small) == 1 && store_queue_max(s, small) == 1, "one whose only message expired is empty");
    q = store_queue_find(s, str_of("t"), 3);
    ok(q && store_queue_min(s, q) > 0, "the other begins later");
    check_reads(s, q, "at rest");
    test_close(s);
    test_clean(&conf);
}

static void test_thread(void)
{
    struct store_conf conf = test_conf();
    struct store *s;
    struct store_queue *q;
    int64_t until = mono_ms() + 20000;

    default_rules();
    rules.clean_resource_interval = 10;
    rules.delete_when = this_hour;
    s = open_with(&conf);
    q = store_queue(s, str_of("t"), 0);
    fill(s, q, 6);
    age_all(s, 100);
    while (file_list_count(&s->log.files) > 1 && mono_ms() < until)
        usleep(5000);
    is_int(file_list_count(&s->log.files), 1, "the thread does its rounds");
    rules.clean_resource_interval = 3600000;
    test_close(s);
    ok(mono_ms() < until + 20000, "and ends at once when the store is closed");
    test_clean(&conf);
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    test_age();
    test_idle_queue();
    test_crash();
    test_disk();
    test_by_hand();
    test_cleaning();
    test_at_rest();
    test_thread();
    return tap_done();
}
