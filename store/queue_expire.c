/* Queues follow the log: what its deleted files held is before their min, and files
 * that hold nothing else go. */
#include <errno.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "store/store_impl.h"
#include "store/unit_reader.h"

/* Whether every unit of the first file is of a record before log_min, and the queue goes on behind it. 1, 0 or -errno. */
static int first_is_expired(struct store_queue *q, struct unit_reader *r, int64_t log_min, int64_t *end)
{
    int64_t base = file_list_base(&q->files, 0);
    struct store_entry last;
    int rc;

    *end = base + r->file_size;
    if (base < 0 || file_list_count(&q->files) < 2 || *end / UNIT_SIZE > queue_max(q))
        return 0;
    if ((rc = reader_unit(r, *end / UNIT_SIZE - 1, &last)))
        return rc;
    return unit_is_blank(&last) || last.physical_offset < log_min;
}

/* 1: the first file of l, which is one of the queue's two lists, is deleted. */
static int shift(struct store *s, struct store_queue *q, struct file_list *l, const char *dir, int64_t end)
{
    struct mapped_file *gone = NULL;
    int rc;

    store_hold_files(s);
    rc = file_list_shift(l, dir, end, &gone);
    store_let_files(s);
    if (!gone)
        return rc;
    pthread_mutex_lock(&s->append_lock);     /* the tails have no reference of their own */
    if (q->tail == gone)
        q->tail = NULL;
    if (q->ext)
        queue_ext_leave(q->ext);
    pthread_mutex_unlock(&s->append_lock);
    mapped_file_unref(gone);
    return rc;
}

static int delete_files(struct store *s, struct store_queue *q, struct unit_reader *r, int64_t log_min, int32_t pause_ms,
                        int *files)
{
    int64_t end;
    int rc;

    while ((rc = first_is_expired(q, r, log_min, &end)) == 1) {
        reader_close(r);
        if ((rc = shift(s, q, &q->files, r->dir, end)) <= 0)
            return rc;
        ++*files;
        if (pause_ms > 0 && retention_pause(s, pause_ms))
            return 0;
    }
    return rc;
}

static int move_min(struct store_queue *q, struct unit_reader *r, int64_t log_min)
{
    int64_t first = file_list_base(&q->files, 0) / UNIT_SIZE, min = queue_min(q);

    if (first < 0 || queue_max(q) == 0)
        return 0;
    first = queue_find_min(r, first > min ? first : min, queue_max(q), log_min);
    if (first < 0)
        return (int)first;
    while (min < first && !atomic_compare_exchange_weak(&q->min, &min, first))
        ;
    return 0;
}

/* Files of the extension before the unit that the queue's first unit names; of an empty queue, its last one. */
static int delete_ext_files(struct store *s, struct store_queue *q, struct unit_reader *r, int *files)
{
    int64_t min = queue_min(q), max = queue_max(q), first = file_list_base(&q->files, 0);
    struct store_entry e;
    char dir[4096];
    int rc;

    min = min == max ? max - 1 : min;
    if (!q->ext || first < 0 || min < first / UNIT_SIZE || file_list_count(queue_ext_files(q->ext)) < 2)
        return 0;
    if ((rc = reader_unit(r, min, &e)) || !ext_is_address(e.tags_code) ||
        (rc = queue_ext_dir(&s->env, q, dir, sizeof dir)))
        return rc;
    while ((rc = shift(s, q, queue_ext_files(q->ext), dir, ext_offset(e.tags_code))) == 1)
        ++*files;
    return rc;
}

/* A queue at rest whose directory has at most one file has none to give, and finds its min when it is loaded. */
static bool has_more_files(const char *dir)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    int n = 0;

    if (!d)
        return false;
    while (n < 2 && (e = readdir(d)))
        n += e->d_name[0] >= '0' && e->d_name[0] <= '9';
    closedir(d);
    return n > 1;
}

static int expire(struct store *s, struct store_queue *q, int64_t log_min, int32_t pause_ms, int *files)
{
    char dir[4096];
    struct unit_reader r = {.dir = dir, .file_size = s->env.file_size, .fd = -1};
    int rc = queue_dir(&s->env, q, dir, sizeof dir);

    if (rc || atomic_load(&q->dead))
        return rc;
    if (!atomic_load_explicit(&q->loaded, memory_order_acquire) &&
        (!has_more_files(dir) || (rc = queue_load_slow(&s->env, q))))
        return rc;
    if (!(rc = delete_files(s, q, &r, log_min, pause_ms, files)))
        rc = move_min(q, &r, log_min);
    if (!rc)
        rc = delete_ext_files(s, q, &r, files);
    reader_close(&r);
    return atomic_load(&q->dead) ? 0 : rc;       /* its files went meanwhile */
}

static int expire_all(struct store *s, struct store_queue **all, size_t n, int32_t pause_ms, int *files)
{
    int64_t log_min = commit_log_min(&s->log);
    int first_rc = 0;

    for (size_t i = 0; i < n && !retention_stopping(s); i++) {
        int rc = expire(s, all[i], log_min, pause_ms, files);
        if (rc && !first_rc) {
            log_error("retention: consume queue %s/%d: %s", all[i]->topic, (int)all[i]->id, strerror(-rc));
            first_rc = rc;
        }
    }
    return first_rc;
}

int queues_expire(struct store *s, int32_t pause_ms, int *files)
{
    struct store_queue **all;
    size_t n;
    int rc = queue_table_list(&s->queues, &s->env, &all, &n);

    if (rc)
        return rc;
    pthread_mutex_lock(&s->retention.queue_files);
    rc = expire_all(s, all, n, pause_ms, files);
    pthread_mutex_unlock(&s->retention.queue_files);
    free(all);
    return rc;
}

/* ---- verbs ---- */

static bool is_empty(struct store *s, struct store_queue *q)
{
    return !atomic_load(&q->dead) && queue_load(&s->env, q) == 0 && queue_min(q) == queue_max(q);
}

int store_expire_queues(struct store *s, int *files)
{
    *files = 0;
    return queues_expire(s, 0, files);
}

/* ---- what nobody has ---- */

struct cleaning {
    bool (*keep_queue)(void *arg, struct str topic, int32_t queue_id);
    bool (*keep_topic)(void *arg, struct str topic);
    void *arg;
    int (*clean)(struct store *s, struct store_queue *q, const struct cleaning *c);      /* 1: removed; 0: kept; -errno */
};

/* Has every queue cleaned; goes on after a failure. 0 or the first -errno. */
static int clean_all(struct store *s, const struct cleaning *c, int *removed)
{
    struct store_queue **all;
    size_t n;
    int rc;

    *removed = 0;
    if ((rc = queue_table_list(&s->queues, &s->env, &all, &n)))
        return rc;
    pthread_mutex_lock(&s->retention.queue_files);
    for (size_t i = 0; i < n; i++) {
        int done = c->clean(s, all[i], c);
        *removed += done == 1;
        if (done < 0 && !rc)
            rc = done;
    }
    pthread_mutex_unlock(&s->retention.queue_files);
    free(all);
    return rc;
}

static int clean_queue(struct store *s, struct store_queue *q, const struct cleaning *c)
{
    int rc;

    if (c->keep_queue(c->arg, queue_topic(q), q->id) || !is_empty(s, q))
        return 0;
    rc = store_delete_queue(s, q);
    return rc ? rc : 1;
}

static int clean_topic(struct store *s, struct store_queue *q, const struct cleaning *c)
{
    int rc;

    if (atomic_load(&q->dead) || c->keep_topic(c->arg, queue_topic(q)))
        return 0;
    rc = store_delete_topic(s, queue_topic(q));
    return rc ? rc : 1;
}

int store_clean_queues(struct store *s, bool (*keep)(void *arg, struct str topic, int32_t queue_id), void *arg,
                       int *queues)
{
    return clean_all(s, &(struct cleaning){.keep_queue = keep, .arg = arg, .clean = clean_queue}, queues);
}

int store_clean_unused(struct store *s, bool (*keep)(void *arg, struct str topic), void *arg, int *topics)
{
    return clean_all(s, &(struct cleaning){.keep_topic = keep, .arg = arg, .clean = clean_topic}, topics);
}
