#include "broker/saver.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/codes.h"
#include "common/file.h"
#include "common/log.h"
#include "common/thread.h"

struct saving {
    struct saved_file file;
    char path[4200];
    int64_t saved;               /* generation that is on disk */
    uint64_t asked;              /* number of the attempt that somebody waits for */
    uint64_t begun, done;        /* attempts */
    int error;                   /* of the last attempt, -errno */
    int64_t due;                 /* mono ms of its next periodic look; for periodic files */
};

struct saver {
    pthread_mutex_t lock;        /* guards all below, but for file and path; no other lock is taken under it */
    pthread_cond_t work, done;
    pthread_t thread;
    void *ctx;
    size_t n;
    struct saving *all;
    bool stop;
};

/* One attempt; the lock is held at entry and exit, not in between. */
static void attempt(struct saver *s, struct saving *g)
{
    struct buf text = {0};
    int64_t generation;
    int rc;

    g->begun++;
    pthread_mutex_unlock(&s->lock);
    generation = g->file.changes(s->ctx);        /* before the text: what it holds is at least this */
    g->file.encode(s->ctx, &text);
    rc = buf_failed(&text) ? -ENOMEM : file_replace(g->path, buf_str(&text));
    buf_free(&text);
    if (rc)
        log_error("cannot write %s: %s", g->path, strerror(-rc));
    pthread_mutex_lock(&s->lock);
    if (!rc)
        g->saved = generation;
    g->error = rc;
    g->done++;
    g->due = mono_ms() + g->file.period_ms;
    pthread_cond_broadcast(&s->done);
}

static bool is_due(struct saver *s, struct saving *g, int64_t now)
{
    if (g->asked > g->begun)
        return true;
    if (!g->file.period_ms || now < g->due)
        return false;
    g->due = now + g->file.period_ms;
    pthread_mutex_unlock(&s->lock);      /* changes() takes the table's lock */
    bool changed = g->file.changes(s->ctx) != g->saved;
    pthread_mutex_lock(&s->lock);
    return changed;
}

static int64_t next_due(const struct saver *s)
{
    int64_t next = INT64_MAX;

    for (size_t i = 0; i < s->n; i++)
        if (s->all[i].file.period_ms && s->all[i].due < next)
            next = s->all[i].due;
    return next;
}

static void wait_work(struct saver *s)
{
    int64_t due = next_due(s);

    if (due == INT64_MAX) {
        pthread_cond_wait(&s->work, &s->lock);
        return;
    }
    struct timespec t = {due / 1000, due % 1000 * 1000000};
    pthread_cond_timedwait(&s->work, &s->lock, &t);
}

static void *run(void *arg)
{
    struct saver *s = arg;

    pthread_mutex_lock(&s->lock);
    while (!s->stop) {
        bool any = false;
        for (size_t i = 0; i < s->n; i++)
            if (is_due(s, &s->all[i], mono_ms())) {
                attempt(s, &s->all[i]);
                any = true;
            }
        if (!any && !s->stop)
            wait_work(s);
    }
    for (size_t i = 0; i < s->n; i++) {
        pthread_mutex_unlock(&s->lock);
        bool changed = s->all[i].file.changes(s->ctx) != s->all[i].saved;
        pthread_mutex_lock(&s->lock);
        if (changed || s->all[i].asked > s->all[i].begun)
            attempt(s, &s->all[i]);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

int saver_open(const char *config_dir, const struct saved_file *files, size_t n, void *ctx,
               struct saver **out, struct fault *f)
{
    struct saver *s = calloc(1, sizeof(*s));
    int rc;

    if (!s || !(s->all = calloc(n, sizeof(*s->all)))) {
        free(s);
        return fault_errno(f, ENOMEM, "starting the saver");
    }
    s->ctx = ctx;
    s->n = n;
    for (size_t i = 0; i < n; i++) {
        struct saving *g = &s->all[i];
        g->file = files[i];
        g->saved = files[i].changes(ctx);        /* what was loaded */
        g->due = mono_ms() + files[i].period_ms;
        if ((size_t)snprintf(g->path, sizeof(g->path), "%s/%s", config_dir,
                             files[i].name) >= sizeof(g->path)) {
            free(s->all);
            free(s);
            return fault_errno(f, ENAMETOOLONG, "%s", config_dir);
        }
    }
    pthread_mutex_init(&s->lock, NULL);
    cond_init(&s->work);
    pthread_cond_init(&s->done, NULL);
    rc = thread_start(&s->thread, "saver", run, s);
    if (rc) {
        pthread_mutex_destroy(&s->lock);
        pthread_cond_destroy(&s->work);
        pthread_cond_destroy(&s->done);
        free(s->all);
        free(s);
        return fault_errno(f, -rc, "starting the saver");
    }
    *out = s;
    return 0;
}

static struct saving *find(struct saver *s, const char *name)
{
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->all[i].file.name, name) == 0)
            return &s->all[i];
    return NULL;
}

int saver_save(struct saver *s, const char *name, struct fault *f)
{
    struct saving *g = find(s, name);
    int64_t want;
    uint64_t ticket;
    int rc = 0;

    if (!g)
        return fault_set(f, RC_SYSTEM_ERROR, ENOENT, "no table is kept in %s", name);
    want = g->file.changes(s->ctx);
    pthread_mutex_lock(&s->lock);
    if (g->saved < want) {
        ticket = g->begun + 1;           /* an attempt that begins after now sees the change */
        if (g->asked < ticket)
            g->asked = ticket;
        pthread_cond_signal(&s->work);
        while (g->saved < want && g->done < ticket)
            pthread_cond_wait(&s->done, &s->lock);
        if (g->saved < want)
            rc = g->error;
    }
    pthread_mutex_unlock(&s->lock);
    return rc ? fault_errno(f, -rc, "nothing was changed: cannot write %s", g->path) : 0;
}

void saver_soon(struct saver *s, const char *name)
{
    struct saving *g = find(s, name);

    if (!g)
        return;
    pthread_mutex_lock(&s->lock);
    if (g->asked <= g->begun)
        g->asked = g->begun + 1;
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
}

int saver_close(struct saver *s)
{
    int rc = 0;

    pthread_mutex_lock(&s->lock);
    s->stop = true;
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    for (size_t i = 0; i < s->n && !rc; i++)
        rc = s->all[i].error;
    pthread_cond_destroy(&s->work);
    pthread_cond_destroy(&s->done);
    pthread_mutex_destroy(&s->lock);
    free(s->all);
    free(s);
    return rc;
}
