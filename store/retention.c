#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/thread.h"
#include "store/store_impl.h"

#define MANUAL_ROUNDS 20
#define HOUR_MS INT64_C(3600000)

/* ---- the disk ---- */

double disk_used(const char *dir)
{
    struct statvfs v;
    uint64_t used, whole;

    if (statvfs(dir, &v) < 0 || v.f_blocks == 0)
        return -1;
    used = (uint64_t)(v.f_blocks - v.f_bfree);
    whole = used + v.f_bavail;
    return whole ? (double)((used * 100 + whole - 1) / whole) / 100 : -1;
}

double disk_used_by_log(struct store *s)
{
    struct log_dirs *d = &s->log.dirs;
    double least = 100;

    for (int i = 0; i < d->n; i++) {
        double used = s->retention.disk_used(d->home[i].dir);
        least = used < least ? used : least;
    }
    return least;
}

static double clamped(int32_t percent, int32_t low, int32_t high)
{
    return (double)(percent < low ? low : percent > high ? high : percent) / 100;
}

struct levels {
    double used_max, forcibly, warning;
};

/* Apache's bounds: of the setter, and of the getters. */
static struct levels levels_of(const struct store_retention *c)
{
    return (struct levels){clamped(c->disk_max_used_space_ratio, 10, 95), clamped(c->disk_space_clean_forcibly_ratio, 30, 85),
                           clamped(c->disk_space_warning_level_ratio, 35, 90)};
}

static void mark_full_dirs(struct store *s, double forcibly)
{
    struct log_dirs *d = &s->log.dirs;

    for (int i = 0; i < d->n; i++)
        atomic_store(&d->full[i], s->retention.disk_used(d->home[i].dir) > forcibly);
}

static void mark_disk(struct store *s, bool full, double used, double warning)
{
    bool was = atomic_exchange(&s->disk_full, full ? (int32_t)(warning * 100 + 0.5) : 0) != 0;

    if (full && !was)
        log_error("store %s: writes are off: disk usage: %.2f%%, more than %.0f%%", s->root, used * 100, warning * 100);
    else if (!full && was)
        log_info("store %s: writes are on again, disk usage: %.2f%%", s->root, used * 100);
}

struct need {
    bool space, forcibly;
    double used;
};

static struct need look_at_disks(struct store *s, const struct store_retention *c)
{
    struct levels at = levels_of(c);
    double log = disk_used_by_log(s), queues = s->retention.disk_used(s->queue_dir), used = queues > log ? queues : log;

    mark_full_dirs(s, at.forcibly);
    mark_disk(s, used > at.warning, used, at.warning);
    return (struct need){used > at.used_max || log < 0 || queues < 0, used > at.forcibly, used};
}

/* ---- log files ---- */

static bool is_hour(const char *list, int64_t now)
{
    time_t t = (time_t)(now / 1000);
    struct tm local;

    if (!localtime_r(&t, &local))
        return false;
    for (; list && *list; list += *list == ';') {
        char *end;
        long hour = strtol(list, &end, 10);
        if (end != list && hour == local.tm_hour)
            return true;
        list = end + strcspn(end, ";");
    }
    return false;
}

/* Whether the log's first file was last written so long ago. One that is gone under our feet is as good as expired. */
static bool is_expired(struct store *s, int64_t base, const struct store_retention *c, int64_t now)
{
    struct mapped_file *m;
    char path[4096];
    struct stat st;
    bool expired = false;
    int rc = file_list_find(&s->log.files, s->log.dir, base, &m);

    if (rc)
        return rc == -ENOENT;
    if (mapped_file_path(mapped_file_dir(m, s->log.dir), base, path, sizeof path) == 0) {
        if (stat(path, &st) == 0)
            expired = now - ((int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000) >=
                c->file_reserved_time * HOUR_MS;
        else
            expired = errno == ENOENT;
    }
    mapped_file_unref(m);
    return expired;
}

static void keep_gone(struct retention *r, struct mapped_file *m)
{
    if (r->n_gone == r->cap_gone) {
        int cap = r->cap_gone ? r->cap_gone * 2 : 16;
        struct mapped_file **gone = realloc(r->gone, (size_t)cap * sizeof *gone);
        if (!gone) {
            mapped_file_unref(m);        /* then its last reader frees it */
            return;
        }
        r->gone = gone;
        r->cap_gone = cap;
    }
    r->gone[r->n_gone++] = m;
}

static void release_gone(struct store *s)
{
    struct retention *r = &s->retention;
    int kept = 0;

    if (!r->n_gone)
        return;
    /* An append that was rolling to a new file may still have had the one before in its hands. */
    pthread_mutex_lock(&s->append_lock);
    pthread_mutex_unlock(&s->append_lock);
    for (int i = 0; i < r->n_gone; i++) {
        if (atomic_load(&r->gone[i]->refs) == 1)
            mapped_file_unref(r->gone[i]);
        else
            r->gone[kept++] = r->gone[i];
    }
    r->n_gone = kept;
}

/* The log's first file: 1, 0 when it is the last one, or -errno. */
static int delete_first(struct store *s, int64_t base, struct mapped_file **gone)
{
    int rc;

    store_hold_files(s);
    rc = file_list_shift(&s->log.files, s->log.dir, base + s->log.file_size, gone);
    store_let_files(s);
    return rc;
}

static int expire_log(struct store *s, const struct store_retention *c, bool forcibly, int64_t now)
{
    struct retention *r = &s->retention;
    struct mapped_file *gone;
    int n = 0, rc;

    while (n < c->delete_file_batch_max && file_list_count(&s->log.files) > 1) {
        int64_t base = file_list_base(&s->log.files, 0);
        bool expired = is_expired(s, base, c, now);
        const char *dir;
        if ((!expired && !forcibly) || (n && retention_pause(s, c->delete_commit_log_files_interval)))
            break;
        if ((rc = delete_first(s, base, &gone)) <= 0) {
            if (rc)
                log_error("retention: delete commit log file %020" PRId64 ": %s: tried again in the next round", base,
                          strerror(-rc));
            break;
        }
        dir = mapped_file_dir(gone, s->log.dir);
        log_info("retention: deleted commit log file %s/%020" PRId64 ", number %d of this round, %s; disk usage: %.2f%%",
                 dir, base, n + 1, expired ? "expired" : "not expired, but the disk is nearly full",
                 r->disk_used(dir) * 100);
        keep_gone(r, gone);
        atomic_fetch_add(&r->expired_files, 1);
        n++;
    }
    return n;
}

/* ---- rounds ---- */

static bool take_manual(struct retention *r)
{
    int left = atomic_load(&r->manual);

    while (left > 0 && !atomic_compare_exchange_weak(&r->manual, &left, left - 1))
        ;
    return left > 0;
}

/* What points into the log follows it. */
static void tell_others(struct store *s, const struct store_retention *c)
{
    struct retention *r = &s->retention;
    int64_t log_min = commit_log_min(&s->log);
    int files = 0;

    if (log_min <= r->queues_done)
        return;
    if (queues_expire(s, c->delete_consume_queue_files_interval, &files) == 0)
        r->queues_done = log_min;
    if (files)
        log_info("retention: deleted %d consume queue files below %s; disk usage: %.2f%%", files, s->queue_dir,
                 r->disk_used(s->queue_dir) * 100);
    for (int i = 0; i < r->n_hooks; i++)
        r->hooks[i].fn(r->hooks[i].ctx, log_min);
}

int retention_round(struct store *s, int64_t now)
{
    struct retention *r = &s->retention;
    struct store_retention c = {0};
    struct need need;
    bool manual;
    int n = 0;

    s->conf.retention(s->conf.retention_ctx, &c);
    need = look_at_disks(s, &c);
    manual = take_manual(r);
    if (manual || need.space || need.forcibly || is_hour(c.delete_when, now))
        n = expire_log(s, &c, need.forcibly && c.clean_file_forcibly_enable, now);
    if (n == 0 && need.forcibly)
        log_warn("retention: no commit log file can be deleted; disk usage: %.2f%%", need.used * 100);
    if (need.forcibly)
        c.delete_consume_queue_files_interval = 0;
    tell_others(s, &c);
    release_gone(s);
    cold_read_rest(&s->cold, mono_ms());
    return n;
}

bool retention_pause(struct store *s, int32_t ms)
{
    struct retention *r = &s->retention;
    int64_t until = mono_ms() + ms;
    struct timespec t = {until / 1000, until % 1000 * 1000000};
    bool stop;

    pthread_mutex_lock(&r->lock);
    while (!r->stop && mono_ms() < until)
        pthread_cond_timedwait(&r->wake, &r->lock, &t);
    stop = r->stop;
    pthread_mutex_unlock(&r->lock);
    return stop;
}

bool retention_stopping(struct store *s)
{
    bool stop;

    pthread_mutex_lock(&s->retention.lock);
    stop = s->retention.stop;
    pthread_mutex_unlock(&s->retention.lock);
    return stop;
}

static void *retention_main(void *arg)
{
    struct store *s = arg;
    struct store_retention c = {0};

    do {
        s->conf.retention(s->conf.retention_ctx, &c);
        if (retention_pause(s, c.clean_resource_interval > 0 ? c.clean_resource_interval : 10000))
            break;
        retention_round(s, wall_ms());
    } while (true);
    return NULL;
}

/* ---- life ---- */

void retention_init(struct store *s)
{
    struct retention *r = &s->retention;

    cond_init(&r->wake);
    pthread_mutex_init(&r->lock, NULL);
    pthread_mutex_init(&r->files, NULL);
    pthread_mutex_init(&r->queue_files, NULL);
    r->disk_used = disk_used;
}

int retention_start(struct store *s, struct fault *f)
{
    int rc;

    if (!s->conf.retention)
        return 0;
    if ((rc = thread_start(&s->retention.thread, "retention", retention_main, s)))
        return fault_errno(f, -rc, "start the retention thread");
    s->retention.runs = true;
    return 0;
}

void retention_stop(struct store *s)
{
    struct retention *r = &s->retention;

    if (!r->runs)
        return;
    pthread_mutex_lock(&r->lock);
    r->stop = true;
    pthread_cond_broadcast(&r->wake);
    pthread_mutex_unlock(&r->lock);
    pthread_join(r->thread, NULL);
    r->runs = false;
}

void retention_free(struct store *s)
{
    struct retention *r = &s->retention;

    for (int i = 0; i < r->n_gone; i++)
        mapped_file_unref(r->gone[i]);
    free(r->gone);
    pthread_mutex_destroy(&r->lock);
    pthread_mutex_destroy(&r->files);
    pthread_mutex_destroy(&r->queue_files);
    pthread_cond_destroy(&r->wake);
}

/* ---- the store's own verbs ---- */

void store_expire_now(struct store *s)
{
    atomic_store(&s->retention.manual, MANUAL_ROUNDS);
    log_info("retention: the next %d rounds delete what is expired at any hour", MANUAL_ROUNDS);
}


int store_on_expired(struct store *s, void (*fn)(void *ctx, int64_t log_min), void *ctx)
{
    struct retention *r = &s->retention;

    if (r->n_hooks == EXPIRED_HOOKS_MAX)
        return -ENOSPC;
    r->hooks[r->n_hooks++] = (struct expired_hook){fn, ctx};
    return 0;
}

void store_hold_files(struct store *s) { pthread_mutex_lock(&s->retention.files); }
void store_let_files(struct store *s) { pthread_mutex_unlock(&s->retention.files); }
