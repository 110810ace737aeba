#include "store/flush.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "common/thread.h"
#include "store/store_impl.h"

#define PAGE 4096
#define IN_VAIN_MS 10
#define TOGETHER 64                  /* more dirty queues than this are synced with one syncfs */

struct waiter {
    struct waiter *next;
    int64_t end;
    int64_t deadline;                /* mono ms */
    void (*cb)(void *arg, bool ok);
    void *arg;
};

/* ---- waiting ---- */

/* Waits on c until woken or the time (mono ms). */
static void wait_until(struct flusher *fl, pthread_cond_t *c, int64_t ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};

    pthread_cond_timedwait(c, &fl->lock, &t);
}

static struct waiter *waiter_take(struct flusher *fl)
{
    struct waiter *w = fl->idle;

    if (w)
        fl->idle = w->next;
    else
        w = malloc(sizeof *w);
    return w;
}

bool store_when_flushed(struct store *s, int64_t end, int timeout_ms, void (*cb)(void *arg, bool ok), void *arg)
{
    struct flusher *fl = &s->flush;
    struct waiter *w = NULL;
    bool done;

    if (atomic_load_explicit(&fl->flushed, memory_order_acquire) >= end) {
        cb(arg, true);
        return true;
    }
    pthread_mutex_lock(&fl->lock);
    done = atomic_load_explicit(&fl->flushed, memory_order_acquire) >= end;
    if (!done && !fl->stop && (w = waiter_take(fl))) {
        *w = (struct waiter){fl->waiters, end, mono_ms() + timeout_ms, cb, arg};
        fl->waiters = w;
        pthread_cond_signal(&fl->wake);
        if (fl->timer_idle)
            pthread_cond_signal(&fl->wake_timer);
    }
    pthread_mutex_unlock(&fl->lock);
    if (w)
        return false;
    cb(arg, done);
    return true;
}

/* Takes out the waiters that `mine` names, tells them, and keeps their structs for later ones. Lock held,
 * and given back meanwhile. */
static void answer(struct flusher *fl, bool (*mine)(const struct waiter *w, int64_t at), int64_t at, bool ok)
{
    struct waiter **p = &fl->waiters, *told = NULL, *last = NULL;

    while (*p) {
        struct waiter *w = *p;
        if (!mine(w, at)) {
            p = &w->next;
            continue;
        }
        *p = w->next;
        w->next = told;
        told = w;
        if (!last)
            last = w;
    }
    if (!told)
        return;
    pthread_mutex_unlock(&fl->lock);
    for (struct waiter *w = told; w; w = w->next)
        w->cb(w->arg, ok);
    pthread_mutex_lock(&fl->lock);
    last->next = fl->idle;
    fl->idle = told;
}

static bool is_flushed(const struct waiter *w, int64_t flushed) { return w->end <= flushed; }
static bool is_late(const struct waiter *w, int64_t now) { return w->deadline <= now; }
static bool is_any(const struct waiter *w, int64_t unused) { (void)w; (void)unused; return true; }

/* ---- the log ---- */

int flush_log(struct store *s)
{
    struct flusher *fl = &s->flush;
    int64_t from, to, time;
    int rc;

    pthread_mutex_lock(&fl->sync_lock);
    /* Once a sync failed, a second one may succeed without having written what the first one lost. */
    rc = atomic_load(&fl->sync_error);
    from = atomic_load(&fl->flushed);
    /* The time first: it is then that of a message before `to`. */
    time = atomic_load_explicit(&s->log.last_time, memory_order_acquire);
    to = commit_log_max(&s->log);
    if (!rc && to > from && !(rc = commit_log_sync(&s->log, from, to))) {
        count_locked(&fl->syncs, 1);
        atomic_store(&fl->flushed_time, time);
        atomic_store_explicit(&fl->flushed, to, memory_order_release);
    }
    atomic_store(&fl->sync_error, rc);
    pthread_mutex_unlock(&fl->sync_lock);
    if (s->conf.sync_flush && to > from)
        commit_log_make_ready(&s->log, to);
    if (rc)
        writes_failed(s, rc, rc == -ESTALE ? "a commit log file was removed under the broker" : "sync the commit log");
    return rc;
}

static bool log_is_due(struct store *s)
{
    struct flusher *fl = &s->flush;
    int64_t now = mono_ms(), dirty = commit_log_max(&s->log) - atomic_load(&fl->flushed);
    bool thorough = now - fl->last_thorough >= s->conf.flush_thorough_ms;

    if (thorough)
        fl->last_thorough = now;
    return dirty > 0 && (thorough || dirty >= (int64_t)s->conf.flush_least_pages * PAGE);
}

static void *log_main(void *arg)
{
    struct store *s = arg;
    struct flusher *fl = &s->flush;
    bool stop, in_vain = false;

    pthread_mutex_lock(&fl->lock);
    do {
        bool wanted;
        int rc = 0;
        /* Who waits for what was not even appended (yet) must not make this thread spin. */
        if ((!fl->waiters || in_vain) && !fl->stop)
            wait_until(fl, &fl->wake, mono_ms() + (in_vain ? IN_VAIN_MS : s->conf.flush_interval_ms));
        wanted = fl->waiters;
        stop = fl->stop;
        pthread_mutex_unlock(&fl->lock);
        if (wanted || stop || log_is_due(s))
            rc = flush_log(s);
        pthread_mutex_lock(&fl->lock);
        answer(fl, is_flushed, atomic_load(&fl->flushed), true);
        if (rc || stop)
            answer(fl, is_any, 0, false);
        in_vain = fl->waiters && commit_log_max(&s->log) == atomic_load(&fl->flushed);
    } while (!stop);
    pthread_mutex_unlock(&fl->lock);
    return NULL;
}

static int64_t next_deadline(const struct flusher *fl)
{
    int64_t at = INT64_MAX;

    for (const struct waiter *w = fl->waiters; w; w = w->next)
        at = w->deadline < at ? w->deadline : at;
    return at;
}

static void *timer_main(void *arg)
{
    struct store *s = arg;
    struct flusher *fl = &s->flush;

    pthread_mutex_lock(&fl->lock);
    while (!fl->stop) {
        int64_t at = next_deadline(fl), now = mono_ms();
        fl->timer_idle = at == INT64_MAX;
        if (fl->timer_idle)
            pthread_cond_wait(&fl->wake_timer, &fl->lock);
        else if (at > now)
            /* Those who come later mostly wait longer; one that does not is told at most 100 ms late. */
            wait_until(fl, &fl->wake_timer, at - now > 100 ? now + 100 : at);
        answer(fl, is_late, mono_ms(), false);
    }
    pthread_mutex_unlock(&fl->lock);
    return NULL;
}

/* ---- queues and checkpoint ---- */

struct queue_work {
    int64_t from, to;
    bool new_files;
};

static struct queue_work work_of(struct store *s, struct store_queue *q)
{
    struct queue_work work;

    pthread_mutex_lock(&s->append_lock);
    work = (struct queue_work){q->flushed, queue_max(q), q->new_files};
    q->new_files = false;            /* a file that is made from now on is not in the directory that will be synced */
    pthread_mutex_unlock(&s->append_lock);
    return work;
}

/* The queue was synced (or not): off the list, or on the next one when it has more. Gives its successor. */
static struct store_queue *done_with(struct store *s, struct store_queue *q, const struct queue_work *work, bool synced)
{
    struct store_queue *next;

    pthread_mutex_lock(&s->append_lock);
    next = q->dirty_next;
    q->is_dirty = false;
    if (synced && q->flushed == work->from)
        q->flushed = work->to;
    q->new_files |= work->new_files && !synced;
    if (!atomic_load(&q->dead) && (q->flushed < queue_max(q) || q->new_files))
        mark_dirty(s, q);
    pthread_mutex_unlock(&s->append_lock);
    return next;
}

static int sync_each(struct store *s, struct store_queue *q, bool thorough)
{
    int rc = 0;

    while (q) {
        struct queue_work work = work_of(s, q);
        queue_maps_trim(&s->maps, &s->append_lock);
        int64_t dirty = (work.to - work.from) * UNIT_SIZE;
        bool due = thorough || dirty >= (int64_t)s->conf.flush_queue_least_pages * PAGE, synced = false;
        if (due && !rc && !atomic_load(&q->dead)) {
            rc = queue_sync(&s->env, q, work.from, work.to, work.new_files);
            if (rc == -ENOENT && atomic_load(&q->dead))
                rc = 0;
            synced = !rc;
        }
        q = done_with(s, q, &work, synced);
    }
    return rc;
}

/* Thousands of files, each with a wait of its own for the disk, take longer than the file system as a whole, which the
 * descriptor is of. */
static int sync_together(struct store *s, struct store_queue *q, struct queue_work *work, int fd)
{
    int rc;
    size_t i = 0;

    for (struct store_queue *p = q; p; p = p->dirty_next)
        work[i++] = work_of(s, p);
    rc = syncfs(fd) < 0 ? -errno : 0;
    for (i = 0; q; i++)
        q = done_with(s, q, &work[i], !rc);
    return rc;
}

/* All are on their way to the disk before the first is waited for. */
static void begin_each(struct store *s, struct store_queue *q)
{
    for (; q; q = q->dirty_next) {
        queue_maps_trim(&s->maps, &s->append_lock);
        queue_sync_begin(&s->env, q, q->flushed, queue_max(q));
    }
}

/* q: a list that was taken off s->dirty. Its links stay as they are until done_with: is_dirty is still set. */
static int sync_dirty(struct store *s, struct store_queue *q, bool thorough)
{
    struct queue_work *work = NULL;
    size_t n = 0;
    int rc, fd = -1;

    for (const struct store_queue *p = q; p; p = p->dirty_next)
        n++;
    if (thorough && n > TOGETHER)
        fd = open(s->queue_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0 && fs_syncs_as_one(fd))
        work = malloc(n * sizeof *work);
    if (thorough && n <= TOGETHER)
        begin_each(s, q);
    rc = work ? sync_together(s, q, work, fd) : sync_each(s, q, thorough);
    free(work);
    if (fd >= 0)
        close(fd);
    return rc;
}

/* Without a descriptor nothing was even begun, so nothing was lost. */
static bool could_not_try(int rc) { return rc == -EMFILE || rc == -ENFILE; }

int flush_queues(struct store *s, bool thorough)
{
    struct store_queue *q;
    int64_t end, time;
    int rc;

    pthread_mutex_lock(&s->append_lock);
    q = s->dirty;
    s->dirty = NULL;
    end = commit_log_max(&s->log);
    time = atomic_load(&s->log.last_time);
    pthread_mutex_unlock(&s->append_lock);
    if ((rc = sync_dirty(s, q, thorough))) {
        if (could_not_try(rc))
            log_warn("consume queues are not synced: %s: tried again with the next flush", strerror(-rc));
        else
            writes_failed(s, rc, "sync a consume queue");
        return rc;
    }
    /* The checkpoint may name a place only when the log before it is on disk too. */
    if (!thorough || (rc = flush_log(s)))
        return rc;
    s->checkpoint.queue_offset = end;
    s->checkpoint.queue_time = time;
    return 0;
}

static void checkpoint_if_changed(struct store *s)
{
    struct checkpoint *written = &s->flush.written;
    int rc;

    s->checkpoint.log_time = atomic_load(&s->flush.flushed_time);
    s->checkpoint.index_time = atomic_load(&s->index.safe_time);
    if (memcmp(&s->checkpoint, written, sizeof *written) == 0)
        return;
    if ((rc = checkpoint_write(s->checkpoint_path, &s->checkpoint)))
        log_error("write %s: %s", s->checkpoint_path, strerror(-rc));
    else
        *written = s->checkpoint;
}

static void *queue_main(void *arg)
{
    struct store *s = arg;
    struct flusher *fl = &s->flush;
    bool stop;

    do {
        bool thorough;
        pthread_mutex_lock(&fl->lock);
        if (!fl->stop)
            wait_until(fl, &fl->wake_slow, mono_ms() + s->conf.flush_queue_interval_ms);
        stop = fl->stop;
        pthread_mutex_unlock(&fl->lock);
        thorough = mono_ms() - fl->last_queue_thorough >= s->conf.flush_queue_thorough_ms;
        if (thorough)
            fl->last_queue_thorough = mono_ms();
        if (!stop && flush_queues(s, thorough) == 0)
            checkpoint_if_changed(s);
    } while (!stop);
    return NULL;
}

/* ---- life ---- */

int flush_init(struct store *s)
{
    struct flusher *fl = &s->flush;
    pthread_condattr_t attr;
    int rc = pthread_condattr_init(&attr);

    if (rc)
        return -rc;
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&fl->lock, NULL);
    pthread_mutex_init(&fl->sync_lock, NULL);
    pthread_cond_init(&fl->wake, &attr);
    pthread_cond_init(&fl->wake_slow, &attr);
    pthread_cond_init(&fl->wake_timer, &attr);
    pthread_condattr_destroy(&attr);
    return 0;
}

int flush_start(struct store *s, struct fault *f)
{
    static const struct {
        const char *name;
        void *(*main)(void *arg);
    } mains[] = {{"flush-log", log_main}, {"flush-queues", queue_main}, {"flush-timer", timer_main}};
    struct flusher *fl = &s->flush;

    fl->last_thorough = fl->last_queue_thorough = mono_ms();
    fl->written = s->checkpoint;
    for (size_t i = 0; i < sizeof mains / sizeof *mains; i++) {
        int rc = thread_start(&fl->threads[i], mains[i].name, mains[i].main, s);
        if (rc) {
            flush_stop(s);
            return fault_errno(f, -rc, "start a flush thread");
        }
        fl->n_threads++;
    }
    return 0;
}

void flush_stop(struct store *s)
{
    struct flusher *fl = &s->flush;

    pthread_mutex_lock(&fl->lock);
    fl->stop = true;
    pthread_cond_broadcast(&fl->wake);
    pthread_cond_broadcast(&fl->wake_slow);
    pthread_cond_broadcast(&fl->wake_timer);
    pthread_mutex_unlock(&fl->lock);
    for (int i = 0; i < fl->n_threads; i++)
        pthread_join(fl->threads[i], NULL);
    fl->n_threads = 0;
}

void flush_free(struct store *s)
{
    struct flusher *fl = &s->flush;

    while (fl->idle) {
        struct waiter *w = fl->idle;
        fl->idle = w->next;
        free(w);
    }
    pthread_mutex_destroy(&fl->lock);
    pthread_mutex_destroy(&fl->sync_lock);
    pthread_cond_destroy(&fl->wake);
    pthread_cond_destroy(&fl->wake_slow);
    pthread_cond_destroy(&fl->wake_timer);
}
