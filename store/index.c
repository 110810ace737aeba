#include "store/index.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/bus_guard.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "common/codes.h"
#include "common/thread.h"
#include "store/store_impl.h"

#define NAME_DIGITS 17
#define BATCH 1024                   /* messages between two looks at who waits */
#define LINGER_MS 100                /* an indexer that caught up looks again so often ... */
#define LINGER_TIMES 5               /* ... so many times, before it sleeps until it is woken */
#define RETRY_MS 1000
#define PROGRESS_MS 2000
#define PROGRESS_BYTES (INT64_C(64) << 20)
#define CATCH_UP_MS 5000             /* of a stop */

static void deadline_of(struct timespec *t, int64_t ms)
{
    *t = (struct timespec){ms / 1000, ms % 1000 * 1000000};
}

/* ---- files ---- */

static int add_file(struct index *x, struct index_file *file)
{
    int rc = 0;

    pthread_mutex_lock(&x->lock);
    if (x->n == x->cap) {
        int cap = x->cap ? x->cap * 2 : 8;
        struct index_file **files = realloc(x->files, (size_t)cap * sizeof *files);
        if (files) {
            x->files = files;
            x->cap = cap;
        } else {
            rc = -ENOMEM;
        }
    }
    if (!rc)
        x->files[x->n++] = x->last = file;
    pthread_mutex_unlock(&x->lock);
    return rc;
}

struct index_file *index_get(struct index *x, int i)
{
    struct index_file *file;

    pthread_mutex_lock(&x->lock);
    file = i >= 0 && i < x->n ? index_file_ref(x->files[x->n - 1 - i]) : NULL;
    pthread_mutex_unlock(&x->lock);
    return file;
}

/* The oldest file, when it is not the only one, with a reference. */
static struct index_file *oldest_of_several(struct index *x)
{
    struct index_file *file;

    pthread_mutex_lock(&x->lock);
    file = x->n > 1 ? index_file_ref(x->files[0]) : NULL;
    pthread_mutex_unlock(&x->lock);
    return file;
}

/* Takes the file off the list, where it is the oldest, and away. */
static void remove_oldest(struct index *x, struct index_file *file)
{
    int rc = 0;
    bool mine;

    pthread_mutex_lock(&x->lock);
    if ((mine = x->n > 1 && x->files[0] == file))
        memmove(x->files, x->files + 1, (size_t)--x->n * sizeof *x->files);
    pthread_mutex_unlock(&x->lock);
    if (mine && (rc = index_file_unlink(x->dir, file->name)))
        log_error("remove index file %s/%017" PRId64 ": %s", x->dir, file->name, strerror(-rc));
    if (mine)
        index_file_unref(file);
}

void index_expire(struct index *x, int64_t min)
{
    struct index_file *file;
    bool gone = true;

    while (gone && (file = oldest_of_several(x))) {
        struct index_file_info info;
        gone = index_file_info(file, &info) == 0 && info.end_offset < min;
        if (gone)
            remove_oldest(x, file);
        index_file_unref(file);
    }
}

int64_t index_behind(struct store *s)
{
    int64_t at = atomic_load_explicit(&s->index.place, memory_order_acquire), max = commit_log_max(&s->log);

    return s->index.on && max > at ? max - at : 0;
}

int store_index_file(struct store *s, int i, struct store_index_file *out)
{
    struct index *x = &s->index;
    struct index_file_info info;
    struct index_file *file;
    int rc;

    pthread_mutex_lock(&x->lock);
    file = i >= 0 && i < x->n ? index_file_ref(x->files[i]) : NULL;
    pthread_mutex_unlock(&x->lock);
    if (!file)
        return -ENOENT;
    rc = index_file_info(file, &info);
    *out = (struct store_index_file){.first_time = info.begin_time, .last_time = info.end_time,
                                     .first_offset = info.begin_offset, .last_offset = info.end_offset,
                                     .slots = file->layout.slots, .slots_used = info.slots_used,
                                     .entries = file->layout.entries - 1, .entries_used = info.next - 1};
    snprintf(out->name, sizeof out->name, "%0*" PRId64, NAME_DIGITS, file->name);
    index_file_unref(file);
    return rc;
}

/* The time now as file names have it, but past all others: names are what orders the files. */
static int64_t name_now(const struct index *x)
{
    int64_t ms = wall_ms(), name, last = x->last ? x->last->name : 0;
    time_t t = (time_t)(ms / 1000);
    struct tm tm;

    localtime_r(&t, &tm);
    name = (((tm.tm_year + INT64_C(1900)) * 100 + tm.tm_mon + 1) * 100 + tm.tm_mday) * 1000000 +
           (tm.tm_hour * 100 + tm.tm_min) * 100 + tm.tm_sec;
    name = name * 1000 + ms % 1000;
    return name > last ? name : last + 1;
}

/* The newest file, with a successor made when it is full. NULL with *rc: there can be none now. The indexer. */
static struct index_file *file_to_fill(struct index *x, int *rc, struct fault *f)
{
    struct index_file *last = x->last, *next;
    struct index_file_info info;

    if (last && !index_file_is_full(last))
        return last;
    if (last) {
        if ((*rc = index_file_info(last, &info)) || (*rc = index_file_sync(last)))
            log_error("sync index file %s/%017" PRId64 ": %s", x->dir, last->name, strerror(-*rc));
        x->in_doubt |= *rc != 0;
        if (!x->in_doubt && info.end_time > atomic_load(&x->safe_time))
            atomic_store(&x->safe_time, info.end_time);
    }
    if ((*rc = dir_make_durable(x->dir))) {
        fault_errno(f, -*rc, "make directory %s", x->dir);
        return NULL;
    }
    if ((*rc = index_file_create(x->dir, name_now(x), x->layout, last, &next, f)))
        return NULL;
    if ((*rc = dir_sync(x->dir)) || (*rc = add_file(x, next))) {
        fault_errno(f, -*rc, "make an index file in %s", x->dir);
        index_file_unlink(x->dir, next->name);
        index_file_unref(next);
        return NULL;
    }
    return next;
}

/* ---- one message ---- */

static void drop_held(struct index *x)
{
    index_file_unref(x->held);
    x->held = NULL;
}

/* Only the last two files can have entries of the message at which the last run ended. */
static bool has_already(struct index *x, int32_t hash, int64_t offset)
{
    bool has = false;

    for (int i = 0; !has && i < 2; i++) {
        x->held = index_get(x, i);
        has = x->held && index_file_has(x->held, hash, offset);
        drop_held(x);
    }
    return has;
}

static int put(struct index *x, const struct message *m, const char *kind, struct str key, struct fault *f)
{
    struct index_file *file;
    int32_t hash;
    int rc;

    hash = index_hash(m->topic, kind, key);
    if (m->physical_offset <= x->again && has_already(x, hash, m->physical_offset))
        return 0;
    if (!(file = file_to_fill(x, &rc, f)))
        return rc;
    rc = index_file_put(file, hash, m->physical_offset, m->store_timestamp);
    return rc ? fault_errno(f, -rc, "add to index file %s/%017" PRId64, x->dir, file->name) : 0;
}

/* Every version of Apache's indexes these. */
static bool is_surely_indexed(const struct message *m)
{
    return (m->sys_flag & SYSFLAG_TRANS_MASK) != SYSFLAG_TRANS_ROLLBACK && prop_get(m->properties, "UNIQ_KEY").n;
}

/* All three in one walk: this is done for each message. The last of a name counts, as in prop_get. */
static void find_properties(struct str properties, struct str *unique, struct str *keys, struct str *tags)
{
    struct str name, value;
    size_t pos = 0;

    *unique = *keys = *tags = str_n(NULL, 0);
    while (prop_next(properties, &pos, &name, &value)) {
        if (name.n == 8 && memcmp(name.p, "UNIQ_KEY", 8) == 0)
            *unique = value;
        else if (name.n == 4 && memcmp(name.p, "KEYS", 4) == 0)
            *keys = value;
        else if (name.n == 4 && memcmp(name.p, "TAGS", 4) == 0)
            *tags = value;
    }
}

static int put_message(struct index *x, const struct message *m, struct fault *f)
{
    struct str unique, keys, tags;
    int rc = 0;

    if ((m->sys_flag & SYSFLAG_TRANS_MASK) == SYSFLAG_TRANS_ROLLBACK)
        return 0;
    find_properties(m->properties, &unique, &keys, &tags);
    if (unique.n)
        rc = put(x, m, INDEX_KEY, unique, f);
    while (!rc && keys.n) {
        struct str key = message_next_key(&keys);
        if (key.n)
            rc = put(x, m, INDEX_KEY, key, f);
    }
    if (!rc && tags.n)
        rc = put(x, m, INDEX_TAG, tags, f);
    return rc;
}

/* ---- following the log ---- */

/* Behind what is not a record: the next one, or the next file. Only bytes that changed since recovery looked at
 * them, or that it did not have to look at, come here. */
static int64_t skip_damage(struct mapped_file *file, int64_t at, int64_t max)
{
    int64_t end = file->base + file->size, next = record_after(file, at, max < end ? max : end, 0);

    if (next < 0)
        next = max < end ? max : end;
    log_error("commit log: no record at offset %" PRId64 ": %" PRId64 " bytes are not indexed", at, next - at);
    return next;
}

struct batch {
    struct index *x;
    struct mapped_file *file;
    int64_t at, max;                 /* from where, and the log's end; at moves on */
    struct fault *f;
};

/* At most BATCH messages, within one file. 0 or an error's -errno, at the message it stands at. */
static int index_batch(void *arg)
{
    struct batch *b = arg;
    struct mapped_file *file = b->file;
    int64_t at = b->at, max = b->max;
    int rc = 0;

    for (int n = 0; !rc && n < BATCH && at < max && at < file->base + file->size; n++) {
        struct message m;
        int64_t left = file->base + file->size - at;
        int is = message_record_get(file->map + (at - file->base), (size_t)(left < max - at ? left : max - at), false, &m);
        if (is == 1)
            at = file->base + file->size;
        else if (is || m.physical_offset != at)
            at = skip_damage(file, at, max);
        else if (!(rc = put_message(b->x, &m, b->f)))
            at += m.size;
    }
    b->at = at;
    return rc;
}

/* One step towards the log's end. 1: there is more; 0: it is reached; -errno: no room. */
static int step(struct store *s, struct fault *f)
{
    struct commit_log *l = &s->log;
    int64_t at = atomic_load_explicit(&s->index.place, memory_order_relaxed), max = commit_log_max(l), first;
    struct mapped_file *file;
    char why[BUS_WHY_SIZE];
    struct batch b;
    int rc;

    if (at >= max)
        return 0;
    first = file_list_next(&l->files, at);       /* files may be missing: expired, or taken away */
    if (first > at)
        at = first;
    if (first < 0 || at >= max) {
        atomic_store_explicit(&s->index.place, max, memory_order_release);
        return 0;
    }
    if ((rc = file_list_find(&l->files, l->dir, at, &file)))
        return fault_errno(f, -rc, "map the commit log at %" PRId64, at);
    b = (struct batch){&s->index, file, at, max, f};
    f->err = 0;
    rc = bus_guarded(index_batch, &b);
    drop_held(&s->index);
    mapped_file_unref(file);
    if (rc) {                        /* tried again, from the message that failed, or from the start of these */
        s->index.again = max;
        if (!f->err)
            fault_set(f, RC_SYSTEM_ERROR, -rc, "index: %s", rc == -EIO ? bus_why(why, sizeof why) : strerror(-rc));
    }
    atomic_store_explicit(&s->index.place, b.at, memory_order_release);
    return rc ? rc : b.at < max;
}

static void tell_progress(struct store *s, int64_t *told_at)
{
    int64_t now = mono_ms(), at = atomic_load(&s->index.place), max = commit_log_max(&s->log);

    if (now - *told_at < PROGRESS_MS)
        return;
    *told_at = now;
    if (max - at > PROGRESS_BYTES)
        log_info("index: at commit log offset %" PRId64 " of %" PRId64, at, max);
}

/* Until the end is reached, there is no room, or the time is over. */
static void follow(struct store *s, int64_t until)
{
    struct index *x = &s->index;
    int64_t told_at = mono_ms();
    struct fault f = {0};
    int rc;

    do {
        rc = step(s, &f);
        pthread_mutex_lock(&x->lock);
        if (x->waiting)
            pthread_cond_broadcast(&x->passed);
        if (x->stop && until == INT64_MAX)
            until = mono_ms() + CATCH_UP_MS;
        pthread_mutex_unlock(&x->lock);
        tell_progress(s, &told_at);
    } while (rc > 0 && mono_ms() < until);
    if (rc < 0 && !x->told)
        log_error("index: %s: tried again each second", f.text);
    if (rc == 0 && x->told)
        log_info("index: goes on");
    x->told = rc < 0;
}

/* Lock held. Waits for work: for a while with a look at the log every few ms, so that sends neither have to wake this
 * thread each time nor have it run beside them message by message; then until an append wakes it. */
static void rest(struct store *s, int *lingered)
{
    struct index *x = &s->index;
    bool behind = atomic_load(&x->place) < commit_log_max(&s->log);
    struct timespec t;

    if (behind)
        *lingered = 0;
    if (x->waiting && behind && !x->told)
        return;
    if (x->told || *lingered < LINGER_TIMES) {
        ++*lingered;
        deadline_of(&t, mono_ms() + (x->told ? RETRY_MS : LINGER_MS));
        pthread_cond_timedwait(&x->wake, &x->lock, &t);
        return;
    }
    atomic_store(&x->idle, true);
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load(&x->place) >= commit_log_max(&s->log) && !x->stop && !x->waiting)
        pthread_cond_wait(&x->wake, &x->lock);
    atomic_store(&x->idle, false);
    *lingered = 0;
}

static void *index_main(void *arg)
{
    struct store *s = arg;
    struct index *x = &s->index;
    int lingered = 0;
    bool stop;

    do {
        follow(s, INT64_MAX);
        pthread_mutex_lock(&x->lock);
        if (!x->stop)
            rest(s, &lingered);
        stop = x->stop;
        pthread_mutex_unlock(&x->lock);
    } while (!stop);
    follow(s, mono_ms() + CATCH_UP_MS);
    return NULL;
}

void index_wake(struct index *x)
{
    pthread_mutex_lock(&x->lock);
    pthread_cond_signal(&x->wake);
    pthread_mutex_unlock(&x->lock);
}

bool index_wait(struct index *x, int64_t to, int timeout_ms)
{
    struct timespec t;
    bool passed;
    int rc = 0;

    if (!x->on || atomic_load_explicit(&x->place, memory_order_acquire) >= to)
        return x->on;
    deadline_of(&t, mono_ms() + timeout_ms);
    pthread_mutex_lock(&x->lock);
    x->waiting++;
    pthread_cond_signal(&x->wake);
    while (!(passed = atomic_load_explicit(&x->place, memory_order_acquire) >= to) && !x->stop && rc != ETIMEDOUT)
        rc = pthread_cond_timedwait(&x->passed, &x->lock, &t);
    x->waiting--;
    pthread_mutex_unlock(&x->lock);
    return passed;
}

/* ---- opening ---- */

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

static bool name_of(const char *text, int64_t *out)
{
    *out = 0;
    if (strlen(text) != NAME_DIGITS || strspn(text, "0123456789") != NAME_DIGITS)
        return false;
    for (; *text; text++)
        *out = *out * 10 + (*text - '0');
    return true;
}

/* The names in the directory, sorted, malloc'd. Their number or -errno. */
static int list_names(const char *path, int64_t **out)
{
    DIR *dir = opendir(path);
    int64_t *names = NULL, name;
    int n = 0, cap = 0, rc = 0;
    struct dirent *e;

    *out = NULL;
    if (!dir)
        return errno == ENOENT ? 0 : -errno;
    while (!rc && (errno = 0, e = readdir(dir))) {
        int64_t *more;
        if (!name_of(e->d_name, &name)) {
            if (e->d_name[0] != '.')
                log_warn("index %s: %s is not an index file: left alone", path, e->d_name);
            continue;
        }
        if (n == cap) {
            cap = cap ? cap * 2 : 16;
            if (!(more = realloc(names, (size_t)cap * sizeof *names))) {
                rc = -ENOMEM;
                break;
            }
            names = more;
        }
        names[n++] = name;
    }
    if (!rc && errno)
        rc = -errno;
    closedir(dir);
    if (n)
        qsort(names, (size_t)n, sizeof *names, by_value);
    *out = names;
    return rc ? rc : n;
}

/* Is the first message from `from` on (behind the one there, when past) in none of the files, because one is missing
 * before that which begins at `begin`? */
struct missing {
    struct store *s;
    int64_t from, begin;
    bool past;
    struct mapped_file *file;            /* a reference under way */
};

static int look_for_missing(void *arg)
{
    struct missing *w = arg;
    struct message m;

    for (int i = 0; w->from < w->begin; i++) {
        const struct mapped_file *file;
        mapped_file_unref(w->file);
        if (commit_log_find(&w->s->log, w->from, MESSAGE_MIN_SIZE, &w->file))
            return 0;
        file = w->file;
        if (message_record_get(file->map + (w->from - file->base), (size_t)(file->base + file->size - w->from), false, &m))
            return 0;
        if (i == w->past)
            return m.physical_offset == w->from && is_surely_indexed(&m);
        w->from += m.size;
    }
    return 0;
}

static bool is_missing(struct missing *w)
{
    char why[BUS_WHY_SIZE];
    int is = bus_guarded(look_for_missing, w);

    if (is < 0)
        log_error("index: whether a file is missing before one cannot be known: %s", bus_why(why, sizeof why));
    mapped_file_unref(w->file);
    return is == 1;
}

/* Why the file cannot be kept; NULL: it can. */
static const char *unfit(struct store *s, const struct index_file *file, bool after_crash)
{
    const struct index_file *before = s->index.last;
    struct index_file_info info, gone_by = {0};

    if (index_file_info(file, &info) || (before && index_file_info(before, &gone_by)))
        return "the disk does not give its header";
    if (s->index.on && info.next > 1 &&
        is_missing(&(struct missing){s, before ? gone_by.end_offset : commit_log_min(&s->log), info.begin_offset,
                                     before != NULL, NULL}))
        return "the one before it is missing";
    if (after_crash && (info.end_time > s->checkpoint.index_time || info.next < file->layout.entries))
        return "it was in use when the last run broke off";
    if (info.next > 1 && info.end_offset >= commit_log_max(&s->log))
        return "it names messages behind the log's end";
    return NULL;
}

/* The first file that cannot be kept takes those behind it along: the indexer goes on where the last kept one ends. */
static int load_file(struct store *s, int64_t name, bool after_crash, bool *drop, struct fault *f)
{
    struct index *x = &s->index;
    struct index_file *file = NULL;
    const char *why = NULL;
    int rc;

    if (!*drop) {
        rc = index_file_open(x->dir, name, x->layout, &file, f);
        if (rc && rc != -EINVAL && rc != -EIO)
            return rc;
        if (rc && !x->on) {              /* nobody would make it again */
            log_warn("index: %s: left alone, and not looked into", f->text);
            return 0;
        }
        why = rc ? f->text : unfit(s, file, after_crash);
        if (!why) {
            if ((rc = add_file(x, file)))
                index_file_unref(file);
            return rc ? fault_errno(f, -rc, "open the index") : 0;
        }
        log_warn("index file %s/%017" PRId64 " and what comes after it are made again from the log: %s", x->dir, name, why);
        index_file_unref(file);
        *drop = true;
    }
    rc = index_file_unlink(x->dir, name);
    return rc ? fault_errno(f, -rc, "remove %s/%017" PRId64, x->dir, name) : 0;
}

static int load_files(struct store *s, bool after_crash, struct fault *f)
{
    bool drop = false;
    int64_t *names;
    int n = list_names(s->index.dir, &names), rc = n < 0 ? fault_errno(f, -n, "read %s", s->index.dir) : 0;

    for (int i = 0; !rc && i < n; i++)
        rc = load_file(s, names[i], after_crash, &drop, f);
    free(names);
    /* They must not come back with a power loss after a clean stop, which nobody would look behind. */
    if (!rc && drop && (rc = dir_sync(s->index.dir)))
        rc = fault_errno(f, -rc, "sync directory %s", s->index.dir);
    return rc;
}

int index_open(struct store *s, bool after_crash, struct fault *f)
{
    struct index *x = &s->index;
    struct index_file_info info = {0};
    int64_t min = commit_log_min(&s->log);
    int rc;

    if (asprintf(&x->dir, "%s/index", s->root) < 0) {
        x->dir = NULL;
        return fault_errno(f, ENOMEM, "open the index");
    }
    pthread_mutex_init(&x->lock, NULL);
    cond_init(&x->wake);
    cond_init(&x->passed);
    x->on = s->conf.index_enable;
    x->layout = (struct index_layout){s->conf.index_slots, s->conf.index_entries};
    if ((rc = load_files(s, after_crash, f)))
        return rc;
    index_expire(x, min);
    if (x->last && index_file_info(x->last, &info))
        return fault_errno(f, EIO, "read the header of index file %017" PRId64, x->last->name);
    x->again = info.end_offset;
    atomic_store(&x->place, info.end_offset > min ? info.end_offset : min);
    atomic_store(&x->safe_time, s->checkpoint.index_time);
    return 0;
}

static void follow_retention(void *ctx, int64_t log_min)
{
    struct store *s = ctx;

    index_expire(&s->index, log_min);
}

int index_start(struct store *s, struct fault *f)
{
    struct index *x = &s->index;
    int rc;

    if ((rc = store_on_expired(s, follow_retention, s)))
        return fault_errno(f, -rc, "follow the log's retention");
    if (!x->on)
        return 0;
    if ((rc = thread_start(&x->thread, "index", index_main, s)))
        return fault_errno(f, -rc, "start the indexer");
    x->runs = true;
    return 0;
}

int index_stop(struct store *s)
{
    struct index *x = &s->index;
    int64_t left;
    int rc;

    if (!x->runs)
        return 0;
    pthread_mutex_lock(&x->lock);
    x->stop = true;
    pthread_cond_broadcast(&x->wake);
    pthread_cond_broadcast(&x->passed);
    pthread_mutex_unlock(&x->lock);
    pthread_join(x->thread, NULL);
    x->runs = false;
    if ((left = commit_log_max(&s->log) - atomic_load(&x->place)) > 0)
        log_warn("index: %" PRId64 " bytes of the log are not indexed yet: the next start goes on with them", left);
    if (x->last && (rc = index_file_sync(x->last))) {
        log_error("sync index file %s/%017" PRId64 ": %s", x->dir, x->last->name, strerror(-rc));
        return rc;
    }
    return 0;
}

void index_free(struct index *x)
{
    if (!x->dir)
        return;
    for (int i = 0; i < x->n; i++)
        index_file_unref(x->files[i]);
    free(x->files);
    pthread_mutex_destroy(&x->lock);
    pthread_cond_destroy(&x->wake);
    pthread_cond_destroy(&x->passed);
    free(x->dir);
    x->dir = NULL;
}
