#include "store/commit_log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/be.h"
#include "common/bus_guard.h"
#include "common/clock.h"
#include "common/codes.h"
#include "common/file.h"
#include "common/log.h"
#include "common/thread.h"

#define RETRY_MS 1000                /* between tries to make a file on a full disk */
#define READY_STEP ((int64_t)4 << 20)
#define READY_AHEAD (2 * READY_STEP)
#define HURRY ((int64_t)64 << 10)        /* bytes a millisecond: from there on throughput counts */
#define WARM_FROM ((int64_t)1 << 20)     /* who appends less than that in a run brings its own pages */

int commit_log_open(struct commit_log *l, const char *paths, const char *read_only, int64_t file_size, struct fault *f)
{
    int rc;

    if ((rc = log_dirs_open(&l->dirs, paths, read_only, f))) {
        log_dirs_free(&l->dirs);
        return rc;
    }
    l->dir = l->dirs.home[0].dir;
    l->file_size = file_size;
    l->spare_base = -1;
    file_list_init(&l->files, file_size, &l->dirs.home[0]);
    pthread_mutex_init(&l->spare_lock, NULL);
    pthread_cond_init(&l->spare_change, NULL);
    for (int i = 0; !rc && i < l->dirs.n; i++) {
        l->files.home = &l->dirs.home[i];
        rc = file_list_load(&l->files, l->dirs.home[i].dir, f);
    }
    return rc;
}

void commit_log_free(struct commit_log *l)
{
    if (!l->dir)
        return;
    file_list_free(&l->files);
    pthread_mutex_destroy(&l->spare_lock);
    pthread_cond_destroy(&l->spare_change);
    log_dirs_free(&l->dirs);
    l->dir = NULL;
}

int64_t commit_log_min(struct commit_log *l)
{
    int64_t first, end;

    file_list_range(&l->files, &first, &end);
    return first;
}

/* ---- recovery's word on the end ---- */

static int clear_tail(struct commit_log *l, struct mapped_file *m, int64_t end)
{
    int rc = mapped_file_is_zero_from(m, l->dir, end - m->base);

    if (rc != 0)
        return rc < 0 ? rc : 0;
    log_warn("commit log file %s/%020" PRId64 ": what lies behind its last whole record, at %" PRId64
             ", is dropped", l->dir, m->base, end - m->base);
    return mapped_file_zero_from(m, l->dir, end - m->base);
}

/* Apache's files, and those of an archive, are full of holes: without room for them an append would meet a page that
 * cannot be had, where it should be told that the disk is full. */
static void reserve_tail(struct commit_log *l, int64_t end)
{
    int rc = mapped_file_reserve(l->tail, l->dir, end - l->tail->base, l->tail->base + l->file_size - end);

    if (!rc)
        return;
    log_warn("commit log file %s/%020" PRId64 " has no disk space behind %" PRId64 " yet: %s",
             mapped_file_dir(l->tail, l->dir), l->tail->base, end - l->tail->base, strerror(-rc));
    commit_log_trim(l, l->tail->base, end);      /* half of it is of no use here, and elsewhere it may be */
}

int commit_log_set_end(struct commit_log *l, int64_t end, int64_t last_time, struct fault *f)
{
    int64_t first, last;
    int rc = 0, n;

    file_list_range(&l->files, &first, &last);
    atomic_store(&l->max, end);
    atomic_store(&l->last_time, last_time);
    if ((rc = file_list_find(&l->files, l->dir, end, &l->tail)) && rc != -ENOENT)
        return fault_errno(f, -rc, "map the commit log's last file, at %" PRId64, end);
    rc = 0;
    if (l->tail) {
        mapped_file_unref(l->tail);          /* the list's reference is enough: the last file is never taken from it */
        if (!(rc = mapped_file_to_write(l->tail, l->dir)))
            rc = clear_tail(l, l->tail, end);
    }
    if (rc)
        return fault_errno(f, -rc, "clear the commit log behind %" PRId64, end);
    if (l->tail)
        reserve_tail(l, end);
    /* Files made ahead and never used, or behind a broken record; those must not come back with a power loss. */
    n = file_list_count(&l->files);
    rc = file_list_cut(&l->files, l->dir, l->tail ? l->tail->base + 1 : end);
    for (int i = 0; !rc && n > file_list_count(&l->files) && i < l->dirs.n; i++)
        rc = l->dirs.home[i].read_only ? 0 : dir_sync(l->dirs.home[i].dir);
    return rc ? fault_errno(f, -rc, "remove commit log files behind %" PRId64, end) : 0;
}

/* ---- making files ahead ---- */

static int make_file_in(struct commit_log *l, const struct file_home *home, int64_t base, struct mapped_file **out,
                        struct fault *f)
{
    struct mapped_file *m = mapped_file_new(base, l->file_size, home);
    int rc;

    if (!m)
        return fault_errno(f, ENOMEM, "make a commit log file");
    if (!(rc = mapped_file_create(m, l->dir, l->file_size, f))) {
        if (!(rc = dir_sync(home->dir))) {
            *out = m;
            return 0;
        }
        fault_errno(f, -rc, "sync directory %s", home->dir);
        mapped_file_unlink(m, l->dir);
    }
    mapped_file_unref(m);
    return rc;
}

/* In the directory whose turn it is; when that one fails, in the next. */
static int make_file(struct commit_log *l, int64_t base, struct mapped_file **out, struct fault *f)
{
    const struct file_home *home;
    int rc = -ENOSPC;

    for (int k = 0; rc && (home = log_dirs_choose(&l->dirs, base / l->file_size, k)); k++)
        rc = make_file_in(l, home, base, out, f);
    return rc;
}

static void make_spare(struct commit_log *l)
{
    int64_t base = l->spare_base;
    struct mapped_file *m = NULL;
    struct fault f = {0};
    int rc;

    l->spare_busy = true;
    pthread_mutex_unlock(&l->spare_lock);
    rc = make_file(l, base, &m, &f);
    pthread_mutex_lock(&l->spare_lock);
    l->spare_busy = false;
    l->spare_base = -1;
    l->spare = m;
    l->spare_fault = f;
    if (rc) {
        if (!l->spare_retry_at)
            log_error("next commit log file: %s", f.text);
        l->spare_retry_at = mono_ms() + RETRY_MS;
    } else {
        l->spare_fault.err = 0;
        l->spare_retry_at = 0;
    }
    pthread_cond_broadcast(&l->spare_change);
}

/* ---- pages ahead of the end ---- */

/* The file that will hold `at`, with a reference; NULL when it is not there yet. spare_lock held. */
static struct mapped_file *file_ahead(struct commit_log *l, int64_t at)
{
    struct mapped_file *m;

    if (file_list_find(&l->files, l->dir, at, &m) && l->spare && l->spare->base == at)
        m = mapped_file_ref(l->spare);
    return m;
}

/* One step; spare_lock held, and given back meanwhile. */
static void make_ready(struct commit_log *l)
{
    int64_t max = commit_log_max(l), from = l->ready > max ? l->ready : max, to;
    struct mapped_file *m = file_ahead(l, from);
    bool hurry = l->hurry;

    if (!m) {                            /* the next file: asked for again with the next sync */
        l->ready_wanted = l->ready;
        return;
    }
    to = m->base + m->size - from < READY_STEP ? m->base + m->size : from + READY_STEP;
    pthread_mutex_unlock(&l->spare_lock);
    if (l->synced)
        mapped_file_ready(m, from - m->base, to - m->base);
    else
        mapped_file_warm(m, from - m->base, to - m->base, !hurry);
    mapped_file_unref(m);
    pthread_mutex_lock(&l->spare_lock);
    l->ready = to;
}

void commit_log_make_ready(struct commit_log *l, int64_t end)
{
    pthread_mutex_lock(&l->spare_lock);
    if (l->ready < end + READY_AHEAD - READY_STEP && l->ready_wanted <= l->ready) {
        int64_t now = mono_ms();
        l->hurry = end - l->asked_end > HURRY * (now - l->asked_at);
        l->asked_end = end;
        l->asked_at = now;
        l->ready_wanted = end + READY_AHEAD;
        pthread_cond_broadcast(&l->spare_change);
    }
    pthread_mutex_unlock(&l->spare_lock);
}

static void *spare_main(void *arg)
{
    struct commit_log *l = arg;

    pthread_mutex_lock(&l->spare_lock);
    while (!l->stop) {
        if (l->spare_base >= 0)
            make_spare(l);
        else if (l->ready < l->ready_wanted)
            make_ready(l);
        else
            pthread_cond_wait(&l->spare_change, &l->spare_lock);
    }
    pthread_mutex_unlock(&l->spare_lock);
    return NULL;
}

/* Asks the thread for the file at base, unless it is there, asked for, or failed a moment ago. */
static void want_spare(struct commit_log *l, int64_t base)
{
    if (l->spare || l->spare_base >= 0 || mono_ms() < l->spare_retry_at)
        return;
    l->spare_base = base;
    pthread_cond_broadcast(&l->spare_change);
}

static int64_t next_base(const struct commit_log *l)
{
    int64_t max = atomic_load(&l->max);

    return l->tail ? l->tail->base + l->file_size : max - max % l->file_size;
}

int commit_log_start(struct commit_log *l, bool synced, struct fault *f)
{
    int rc;

    l->synced = synced;
    l->warm_at = synced ? INT64_MAX : atomic_load(&l->max) + WARM_FROM;
    pthread_mutex_lock(&l->spare_lock);
    l->stop = false;
    if (!l->tail)
        want_spare(l, next_base(l));
    pthread_mutex_unlock(&l->spare_lock);
    rc = thread_start(&l->thread, "log-spare", spare_main, l);
    if (rc)
        return fault_errno(f, -rc, "start the allocation thread");
    l->thread_runs = true;
    return 0;
}

void commit_log_stop(struct commit_log *l)
{
    if (!l->thread_runs)
        return;
    pthread_mutex_lock(&l->spare_lock);
    l->stop = true;
    pthread_cond_broadcast(&l->spare_change);
    pthread_mutex_unlock(&l->spare_lock);
    pthread_join(l->thread, NULL);
    l->thread_runs = false;
    if (l->spare)
        mapped_file_unlink(l->spare, l->dir);
    mapped_file_unref(l->spare);
    l->spare = NULL;
}

/* ---- appending ---- */

/* Waits for the next file. On a full disk each call says so until a try, one a second, succeeds. */
static struct mapped_file *take_spare(struct commit_log *l, struct fault *f)
{
    struct mapped_file *m;

    pthread_mutex_lock(&l->spare_lock);
    want_spare(l, next_base(l));
    while (!l->spare && (l->spare_base >= 0 || l->spare_busy))
        pthread_cond_wait(&l->spare_change, &l->spare_lock);
    m = l->spare;
    l->spare = NULL;
    if (!m && f)
        *f = l->spare_fault;
    pthread_mutex_unlock(&l->spare_lock);
    return m;
}

static int close_with_blank(void *arg)
{
    struct commit_log *l = arg;
    int64_t max = atomic_load_explicit(&l->max, memory_order_relaxed);
    int64_t left = l->tail->base + l->file_size - max;

    if (left >= RECORD_BLANK_MIN) {
        char *p = l->tail->map + (max - l->tail->base);
        be32_put(p, (uint32_t)left);
        be32_put(p + 4, BLANK_MAGIC);
    }
    return 0;
}

static void give_spare_back(struct commit_log *l, struct mapped_file *m)
{
    pthread_mutex_lock(&l->spare_lock);
    l->spare = m;
    pthread_mutex_unlock(&l->spare_lock);
}

static int roll(struct commit_log *l, struct fault *f)
{
    struct mapped_file *m = take_spare(l, f);
    char why[BUS_WHY_SIZE];

    if (!m)
        return f && f->err ? -f->err : -ENOSPC;
    /* What is not used is not read: the blank may be there before the file that it leads to. */
    if (l->tail && bus_guarded(close_with_blank, l)) {
        fault_set(f, RC_SYSTEM_ERROR, EIO, "close a commit log file: %s", bus_why(why, sizeof why));
        give_spare_back(l, m);
        return -EIO;
    }
    if (file_list_add(&l->files, m)) {
        give_spare_back(l, m);
        return fault_errno(f, ENOMEM, "add a commit log file");
    }
    l->tail = m;
    atomic_store_explicit(&l->max, m->base, memory_order_release);
    return 0;
}

/* ---- closing a file early ---- */

void commit_log_want_next(struct commit_log *l)
{
    pthread_mutex_lock(&l->spare_lock);
    want_spare(l, next_base(l));
    pthread_mutex_unlock(&l->spare_lock);
}

int commit_log_wait_next(struct commit_log *l, struct fault *f)
{
    int rc = 0;

    pthread_mutex_lock(&l->spare_lock);
    while (!l->spare && (l->spare_base >= 0 || l->spare_busy))
        pthread_cond_wait(&l->spare_change, &l->spare_lock);
    if (!l->spare) {
        rc = l->spare_fault.err ? -l->spare_fault.err : -ENOSPC;
        if (f)
            *f = l->spare_fault;
    }
    pthread_mutex_unlock(&l->spare_lock);
    return rc;
}

int commit_log_seal(struct commit_log *l, struct fault *f)
{
    int64_t max = atomic_load_explicit(&l->max, memory_order_relaxed);
    struct log_gap *gap;
    bool ready;
    int rc;

    pthread_mutex_lock(&l->spare_lock);
    ready = l->spare != NULL;
    pthread_mutex_unlock(&l->spare_lock);
    if (!ready || !l->tail)
        return -EAGAIN;
    if ((rc = roll(l, f)))
        return rc;
    gap = &l->gaps[l->n_gaps++ % LOG_GAPS];
    atomic_store(&gap->n, l->tail->base - max);
    atomic_store(&gap->end, l->tail->base);
    return 0;
}

void commit_log_trim(struct commit_log *l, int64_t base, int64_t end)
{
    int64_t page = 4096, from = (end - base + RECORD_BLANK_MIN + page - 1) / page * page;
    char path[4096];
    int fd = -1;

    for (int i = 0; fd < 0 && from < l->file_size && i < l->dirs.n; i++)
        if (mapped_file_path(l->dirs.home[i].dir, base, path, sizeof path) == 0)
            fd = open(path, O_RDWR | O_CLOEXEC);
    /* Where it cannot be given back, a file takes the room that it would have taken anyway. */
    if (fd >= 0 && fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, from, l->file_size - from) < 0)
        log_info("%s: the space behind its last record stays taken: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
}

int64_t commit_log_distance(struct commit_log *l, int64_t offset)
{
    int64_t d = commit_log_max(l) - offset;

    for (int i = 0; i < LOG_GAPS; i++)
        if (offset < atomic_load_explicit(&l->gaps[i].end, memory_order_relaxed))
            d -= atomic_load_explicit(&l->gaps[i].n, memory_order_relaxed);
    return d;
}

int commit_log_room(struct commit_log *l, size_t n, int64_t *at, char **p, struct fault *f)
{
    int64_t max = atomic_load_explicit(&l->max, memory_order_relaxed);
    int rc;

    if ((int64_t)n > l->file_size - RECORD_BLANK_MIN)
        return fault_set(f, RC_MESSAGE_ILLEGAL, EMSGSIZE, "%zu bytes do not fit a commit log file of %" PRId64,
                         n, l->file_size);
    /* A blank must always fit behind the record, as Apache keeps it. */
    if (!l->tail || (int64_t)n > l->file_size - RECORD_BLANK_MIN - (max - l->tail->base)) {
        if ((rc = roll(l, f)))
            return rc;
        max = l->tail->base;
    }
    *at = max;
    *p = l->tail->map + (max - l->tail->base);
    return 0;
}

void commit_log_advance(struct commit_log *l, int64_t end, int64_t store_time)
{
    int64_t half = l->tail->base + l->file_size / 2;
    bool passed_half = atomic_load_explicit(&l->max, memory_order_relaxed) < half && end >= half;

    atomic_store_explicit(&l->last_time, store_time, memory_order_relaxed);
    atomic_store_explicit(&l->max, end, memory_order_release);
    if (passed_half) {
        pthread_mutex_lock(&l->spare_lock);
        want_spare(l, next_base(l));
        pthread_mutex_unlock(&l->spare_lock);
    }
    if (end >= l->warm_at) {
        commit_log_make_ready(l, end);
        l->warm_at = end + READY_STEP / 4;
    }
}

/* ---- reading and syncing ---- */

int commit_log_find(struct commit_log *l, int64_t offset, int64_t n, struct mapped_file **out)
{
    int64_t max = commit_log_max(l);
    int rc;

    *out = NULL;
    if (offset < 0 || n < 0 || offset > max || n > max - offset)
        return -ENOENT;
    if ((rc = file_list_find(&l->files, l->dir, offset, out)))
        return rc;
    if (n <= (*out)->base + (*out)->size - offset)
        return 0;
    mapped_file_unref(*out);
    *out = NULL;
    return -ENOENT;
}

struct time_of {
    const char *record;
    int64_t time;
};

static int read_time(void *arg)
{
    struct time_of *t = arg;
    bool v6 = be32_get(t->record + RECORD_AT_SYS_FLAG) & SYSFLAG_BORNHOST_V6;

    t->time = (int64_t)be64_get(t->record + RECORD_AT_STORE_TIMESTAMP(v6));
    return 0;
}

int64_t commit_log_time_at(struct commit_log *l, int64_t offset, int64_t size)
{
    struct time_of t = {.time = -1};
    char why[BUS_WHY_SIZE];
    struct mapped_file *m;
    int rc = size < MESSAGE_MIN_SIZE ? -ENOENT : commit_log_find(l, offset, size, &m);

    if (rc)
        return rc;
    t.record = m->map + (offset - m->base);
    if ((rc = bus_guarded(read_time, &t)))
        log_error("store time of the record at commit log offset %" PRId64 ": %s", offset, bus_why(why, sizeof why));
    mapped_file_unref(m);
    return rc ? rc : t.time < 0 ? -ENOENT : t.time;
}

static bool is_in(const char *dir, const struct mapped_file *m)
{
    char path[4096];

    return mapped_file_path(dir, m->base, path, sizeof path) || access(path, F_OK) == 0 || errno != ENOENT;
}

/* Whether the file has no name any more (nor was moved to another of the directories), and the list still has it: then it
 * was not retention who took it. */
static bool was_removed(struct commit_log *l, const struct mapped_file *m)
{
    struct mapped_file *again;
    bool listed;

    if (is_in(mapped_file_dir(m, l->dir), m))
        return false;
    for (int i = 0; i < l->dirs.n; i++)
        if (is_in(l->dirs.home[i].dir, m))
            return false;
    listed = file_list_find(&l->files, l->dir, m->base, &again) == 0;
    if (listed)
        mapped_file_unref(again);
    return listed;
}

int commit_log_sync(struct commit_log *l, int64_t from, int64_t to)
{
    while (from < to) {
        struct mapped_file *m;
        int64_t end;
        int rc = file_list_find(&l->files, l->dir, from, &m);
        if (rc == -ENOENT) {         /* a hole that retention or an operator made: nothing to sync in it */
            from += l->file_size - from % l->file_size;
            continue;
        }
        if (rc)
            return rc;
        end = m->base + m->size;
        rc = mapped_file_sync(m, from - m->base, (to < end ? to : end) - m->base);
        if (!rc && was_removed(l, m))        /* its messages would be gone with the next start */
            rc = -ESTALE;
        mapped_file_unref(m);
        if (rc)
            return rc;
        from = end;
    }
    return 0;
}
