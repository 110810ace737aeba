/* What a queue's files hold, found out when the queue is first used: read with
 * pread, so that a store of many queues is not mapped by looking at it. */
#include "store/unit_reader.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/bus_guard.h"
#include "common/file.h"
#include "common/log.h"
#include "common/message.h"

#define CRASH_SCAN_FILES 3           /* as far back as Apache looks after a crash */

/* ---- which units are there ---- */

static bool unit_is_past(const struct store_entry *e, int64_t log_end)
{
    return !unit_is_blank(e) && (e->physical_offset > log_end || e->size > log_end - e->physical_offset);
}

int64_t reader_first_not(struct unit_reader *r, int64_t lo, int64_t hi,
                         bool (*holds)(const struct store_entry *e, int64_t arg), int64_t arg)
{
    while (lo < hi) {
        int64_t mid = lo + (hi - lo) / 2;
        struct store_entry e;
        int rc = reader_unit(r, mid, &e);
        if (rc)
            return rc;
        if (holds(&e, arg))
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static bool is_written(const struct store_entry *e, int64_t unused)
{
    (void)unused;
    return unit_written(e);
}

static bool is_expired(const struct store_entry *e, int64_t log_min)
{
    return unit_is_blank(e) || e->physical_offset < log_min;
}

/* Reads units [at, at+n), which lie in one file. */
static int read_units(struct unit_reader *r, int64_t at, int n, struct store_entry out[READER_UNITS_MAX])
{
    unsigned char raw[READER_UNITS_MAX * UNIT_SIZE];
    int64_t byte = at * UNIT_SIZE, in_file = byte % r->file_size;
    int rc = reader_open(r, byte - in_file);

    if (rc || (rc = file_read_at(r->fd, raw, (size_t)n * UNIT_SIZE, in_file)))
        return rc;
    for (int i = 0; i < n; i++)
        unit_get(raw + i * UNIT_SIZE, &out[i]);
    return 0;
}

/* How many units from `at` on can be read at once, when `most` are wanted. */
static int units_in_file(const struct unit_reader *r, int64_t at, int64_t most)
{
    int64_t left = (r->file_size - at * UNIT_SIZE % r->file_size) / UNIT_SIZE;

    left = left < most ? left : most;
    return (int)(left < READER_UNITS_MAX ? left : READER_UNITS_MAX);
}

/* First unit in [from, end) that was not written, looked at one by one: after a crash single pages may be
 * missing in the middle. */
static int64_t scan_units(struct unit_reader *r, int64_t from, int64_t end)
{
    struct store_entry units[READER_UNITS_MAX];

    for (int64_t at = from; at < end;) {
        int n = units_in_file(r, at, end - at), rc = read_units(r, at, n, units);
        if (rc)
            return rc;
        for (int i = 0; i < n; i++)
            if (!unit_written(&units[i]))
                return at + i;
        at += n;
    }
    return end;
}

int reader_units_before(struct unit_reader *r, int64_t first, int64_t end, struct store_entry out[READER_UNITS_MAX])
{
    int64_t per = r->file_size / UNIT_SIZE, file = (end - 1) / per * per;
    int64_t at = end - READER_UNITS_MAX < first ? first : end - READER_UNITS_MAX;
    int rc;

    at = at < file ? file : at;
    rc = read_units(r, at, (int)(end - at), out);
    return rc ? rc : (int)(end - at);
}

/* The last unit in [from, end) that was written, or from - 1. 0 or -errno. */
static int last_written(struct unit_reader *r, int64_t from, int64_t end, int64_t *last)
{
    struct store_entry units[READER_UNITS_MAX];

    for (*last = from - 1; end > from;) {
        int n = reader_units_before(r, from, end, units);
        if (n < 0)
            return n;
        end -= n;
        while (--n >= 0)
            if (unit_written(&units[n])) {
                *last = end + n;
                return 0;
            }
    }
    return 0;
}

/* Whether the files hold nothing but zeros from unit `at` on. 1, 0 or -errno. */
static int is_zero_behind(const struct unit_reader *r, int64_t at, int64_t end)
{
    int rc = 1;

    for (int64_t byte = at * UNIT_SIZE; rc == 1 && byte < end * UNIT_SIZE; byte += r->file_size - byte % r->file_size) {
        struct mapped_file probe = {.base = byte - byte % r->file_size, .size = r->file_size};
        rc = mapped_file_is_zero_from(&probe, r->dir, byte - probe.base);
    }
    return rc;
}

/* Queue offsets of the first and past the last unit that the files have place for. Where a file is
 * missing in the middle, only those behind it count. */
static void units_range(struct file_list *l, const char *dir, int64_t *first, int64_t *end, int64_t *last_file)
{
    int n = file_list_count(l);

    *first = *last_file = *end = 0;
    for (int i = 0; i < n; i++) {
        int64_t base = file_list_base(l, i);
        if (i > 0 && base != *end * UNIT_SIZE)
            log_error("consume queue %s: files are missing before %020" PRId64 ": the queue starts there", dir, base);
        if (i == 0 || base != *end * UNIT_SIZE)
            *first = base / UNIT_SIZE;
        *last_file = base / UNIT_SIZE;
        *end = (base + l->file_size) / UNIT_SIZE;
    }
}

/* Where to look for torn units after a crash: CRASH_SCAN_FILES back, and on until a file begins with a unit, so that
 * new files whose units did not come to the disk do not hide that the older ones' did not either. */
static int64_t crash_scan_start(struct unit_reader *r, int64_t first, int64_t last_file)
{
    int64_t per = r->file_size / UNIT_SIZE, from = last_file - (CRASH_SCAN_FILES - 1) * per;

    while (from > first) {
        struct store_entry e;
        int rc = reader_unit(r, from, &e);
        if (rc)
            return rc;
        if (unit_written(&e))
            return from;
        from -= per;
    }
    return first;
}

/* Past the last unit: the first one that was not written, unless written ones follow. Those in between
 * that are torn are made again. */
static int64_t find_end(const struct queue_env *env, struct store_queue *q, struct unit_reader *r, int64_t *first)
{
    int64_t end, last_file, from, max, last;
    int rc;

    units_range(&q->files, r->dir, first, &end, &last_file);
    if (end == *first)
        return *first;
    if ((from = env->after_crash ? crash_scan_start(r, *first, last_file) : last_file) < 0)
        return from;
    max = env->after_crash ? scan_units(r, from, end) : reader_first_not(r, from, end, is_written, 0);
    if (max < 0)
        return max;
    rc = is_zero_behind(r, max, end);
    if (rc == 0 && !(rc = last_written(r, max, end, &last)) && last >= max) {
        rc = queue_mend(env, q, r, *first, max, last);
        max = last + 1;
    }
    if (rc < 0)
        return rc;
    /* The last unit may itself be cut. */
    return q->files.was_cut ? queue_catch_up(env, q, r, *first, max > *first ? max - 1 : max, end) : max;
}

/* Without the units at the end that point past the log's end. */
static int64_t without_past(const struct queue_env *env, struct unit_reader *r, int64_t first, int64_t max)
{
    while (max > first) {
        struct store_entry e;
        int rc = reader_unit(r, max - 1, &e);
        if (rc)
            return rc;
        if (!unit_is_past(&e, env->log_end))
            break;
        max--;
    }
    return max;
}

/* ---- units whose messages a crash took, when the log went on over their places ---- */

struct record_at {
    const char *p;
    size_t n;
    struct str topic;                    /* of the queue that asks */
    struct message m;
    char name[256];                      /* m.topic's, when it is another's */
    bool is_ours;
    int rc;
};

static int parse(void *arg)
{
    struct record_at *w = arg;
    struct message *m = &w->m;

    if ((w->rc = message_record_get(w->p, w->n, false, m)))
        return 0;
    w->is_ours = str_eq(m->topic, w->topic);
    if (w->is_ours)
        m->topic = w->topic;             /* and no longer in the mapping, which may go */
    else if (m->topic.n > sizeof w->name)
        w->rc = -EBADMSG;
    else
        m->topic.p = memcpy(w->name, m->topic.p, m->topic.n);
    return 0;
}

/* Whether the queue that a record itself names has a unit of it. */
static bool is_unit_elsewhere(const struct queue_env *env, const struct message *m, const struct store_entry *e)
{
    char dir[4096];
    struct unit_reader r = {.dir = dir, .file_size = env->file_size, .fd = -1};
    struct store_entry has;
    bool is = m->queue_offset >= 0 && !queue_dir_of(env, m->topic, m->queue_id, dir, sizeof dir) &&
              !reader_unit(&r, m->queue_offset, &has) && has.physical_offset == e->physical_offset;

    reader_close(&r);
    return is;
}

enum record_of { OURS, ANOTHERS, NOBODYS };

/* Whose record a unit leads to. A damaged one is nobody's: it keeps its queue offset, and is passed over when read. What
 * the log has no more is taken as ours. */
static enum record_of record_of(const struct queue_env *env, const struct store_queue *q, int64_t offset,
                                const struct store_entry *e)
{
    struct record_at w = {.n = e->size, .topic = queue_topic(q)};
    struct mapped_file *file;
    bool unread;

    if (unit_is_blank(e) || commit_log_find(env->log, e->physical_offset, e->size, &file))
        return OURS;
    w.p = file->map + (e->physical_offset - file->base);
    unread = bus_guarded(parse, &w) || w.rc;
    mapped_file_unref(file);
    if (unread || w.m.physical_offset != e->physical_offset)
        return NOBODYS;
    if (w.is_ours && w.m.queue_id == q->id && w.m.queue_offset == offset)
        return OURS;
    return is_unit_elsewhere(env, &w.m, e) ? ANOTHERS : NOBODYS;
}

/* Without the units at the end that lead to other queues' messages: their own were lost in a crash, this queue was not
 * looked at in the run after it, and the log has grown over their places since. */
static int64_t without_lost(const struct queue_env *env, const struct store_queue *q, struct unit_reader *r,
                            int64_t first, int64_t max)
{
    bool lost = false;
    int64_t at = max;

    if (str_starts(queue_topic(q), "%LMQ%"))        /* a light queue: its records are other topics' */
        return max;
    for (; at > first; at--) {
        struct store_entry e;
        enum record_of whose;
        int rc = reader_unit(r, at - 1, &e);
        if (rc)
            return rc;
        if ((whose = record_of(env, q, at - 1, &e)) == OURS)
            break;
        lost |= whose == ANOTHERS;
    }
    return lost ? at : max;
}

/* What lies behind max must read as never written. */
static int clear_behind(const struct queue_env *env, struct store_queue *q, const char *dir, int64_t max)
{
    int64_t first, end, at = max * UNIT_SIZE;
    struct mapped_file probe = {.base = at - at % env->file_size, .size = env->file_size};   /* not mapped by looking */
    int rc;

    file_list_range(&q->files, &first, &end);
    if (end <= at)
        return 0;
    rc = at < first ? 0 : mapped_file_is_zero_from(&probe, dir, at - probe.base);
    if (rc < 0)
        return rc;
    if (rc == 1 && end - max * UNIT_SIZE <= env->file_size)
        return 0;
    log_warn("consume queue %s: units from offset %" PRId64 " on are torn, or the commit log lost their messages: dropped",
             dir, max);
    return queue_cut(env, q, max);
}

/* The first unit whose record the log still has. Mostly that is the very first one: only else is it searched. */
int64_t queue_find_min(struct unit_reader *r, int64_t first, int64_t max, int64_t log_min)
{
    struct store_entry e;
    int rc = first < max ? reader_unit(r, first, &e) : 0;

    if (rc || first == max)
        return rc ? rc : max;
    return is_expired(&e, log_min) ? reader_first_not(r, first, max, is_expired, log_min) : first;
}

static int64_t last_unit_time(const struct queue_env *env, struct unit_reader *r, int64_t max)
{
    struct store_entry e;
    int64_t time;

    if (max == 0 || reader_unit(r, max - 1, &e) || unit_is_blank(&e))
        return 0;
    time = commit_log_time_at(env->log, e.physical_offset, e.size);
    return time < 0 ? 0 : time;
}

/* Finds min, max and last time, and repairs the end, which lies at max or before it. q->flushed must be at most what is
 * on disk. */
static int look_before(struct queue_env *env, struct store_queue *q, struct unit_reader *r, int64_t first, int64_t max)
{
    int64_t min;
    int rc;

    if (max >= 0)
        max = without_past(env, r, first, max);
    if (max >= 0)
        max = without_lost(env, q, r, first, max);
    if (max < 0)
        return (int)max;
    atomic_store(&q->min, first);
    atomic_store(&q->max, max);
    if (q->flushed > max)
        q->flushed = max;
    q->reserved = max * UNIT_SIZE;
    if ((rc = clear_behind(env, q, r->dir, max)))
        return rc;
    if ((min = queue_find_min(r, first, max, commit_log_min(env->log))) < 0)
        return (int)min;
    atomic_store(&q->min, min);
    atomic_store(&q->last_time, last_unit_time(env, r, max));
    return 0;
}

static int look(struct queue_env *env, struct store_queue *q, struct unit_reader *r)
{
    int64_t first, max = find_end(env, q, r, &first);

    return look_before(env, q, r, first, max);
}

/* The queue was loaded, and its end moved on in memory since. */
static int look_again(struct queue_env *env, struct store_queue *q, struct unit_reader *r)
{
    int64_t first, end, last_file, max = queue_max(q);

    if (q->files.was_cut)
        return look(env, q, r);
    units_range(&q->files, r->dir, &first, &end, &last_file);
    return look_before(env, q, r, first, max < first ? first : max < end ? max : end);
}

static int look_in(struct queue_env *env, struct store_queue *q, const char *dir,
                   int (*looks)(struct queue_env *env, struct store_queue *q, struct unit_reader *r))
{
    struct unit_reader r = {.dir = dir, .file_size = env->file_size, .fd = -1};
    int rc = looks(env, q, &r);

    reader_close(&r);
    if (rc)
        log_error("consume queue %s: %s", dir, strerror(-rc));
    return rc;
}

/* ---- files that are missing in the middle ---- */

static int make_zero_files(struct queue_env *env, const char *dir, int64_t base, int64_t end, struct fault *f)
{
    int rc = 0;

    for (; !rc && base < end; base += env->file_size) {
        struct mapped_file *m = mapped_file_new(base, env->file_size, &env->home);
        rc = m ? mapped_file_create(m, dir, env->file_size, f) : fault_errno(f, ENOMEM, "make a consume queue file");
        mapped_file_unref(m);
    }
    return rc;
}

/* A power loss may take the name of a file whose successor's name was kept. Such files are made again, empty:
 * what stood in them is in the log. Only as many as the log can have messages for: a name may also be nonsense.
 * Where the first of them begins (a queue offset), -1 when there was none, or below that -errno - 1. */
static int64_t fill_holes(struct queue_env *env, struct store_queue *q, const char *dir, struct fault *f)
{
    int64_t room = (commit_log_max(env->log) - commit_log_min(env->log)) / MESSAGE_MIN_SIZE, first = -1;

    for (int i = 1; i < file_list_count(&q->files); i++) {
        int64_t base = file_list_base(&q->files, i), want = file_list_base(&q->files, i - 1) + env->file_size;
        int rc;
        if (base == want || (base - want) / UNIT_SIZE > room)
            continue;
        log_warn("consume queue %s: files from %020" PRId64 " to before %020" PRId64 " are missing: made again from the log",
                 dir, want, base);
        if ((rc = make_zero_files(env, dir, want, base, f)) || (rc = dir_sync(dir)))
            return rc - 1;
        first = first < 0 ? want / UNIT_SIZE : first;
    }
    return first;
}

/* The units of those files, when there are any behind them; else the search for the queue's end sees it. */
static int mend_holes(const struct queue_env *env, struct store_queue *q, const char *dir, int64_t from)
{
    struct unit_reader r = {.dir = dir, .file_size = env->file_size, .fd = -1};
    int64_t first, end, last_file, last;
    int rc;

    units_range(&q->files, dir, &first, &end, &last_file);
    rc = last_written(&r, from, end, &last);
    if (!rc && last >= from)
        rc = queue_mend(env, q, &r, first, from, last);
    reader_close(&r);
    return rc;
}

static int load_files(struct queue_env *env, struct store_queue *q, const char *dir)
{
    struct fault f = {0};
    int64_t hole = -1;
    int rc = file_list_load(&q->files, dir, &f);

    if (!rc && (hole = fill_holes(env, q, dir, &f)) < -1)
        rc = (int)hole + 1;
    if (!rc && hole >= 0) {
        bool was_cut = q->files.was_cut;
        file_list_free(&q->files);
        file_list_init(&q->files, env->file_size, &env->home);
        rc = file_list_load(&q->files, dir, &f);
        q->files.was_cut |= was_cut;
        rc = rc ? rc : mend_holes(env, q, dir, hole);
    }
    if (rc)
        log_error("consume queue %s: %s", dir, f.text[0] ? f.text : strerror(-rc));
    return rc;
}

/* no_files: that is known already. */
static int load(struct queue_env *env, struct store_queue *q, bool no_files)
{
    char dir[4096];
    int rc = queue_dir(env, q, dir, sizeof dir);

    if (!rc && !no_files)
        rc = load_files(env, q, dir);
    q->flushed = INT64_MAX;
    if (!rc && !(rc = look_in(env, q, dir, look)) && !(rc = queue_ext_open(env, q)))
        return 0;
    file_list_free(&q->files);           /* the next call tries again, from the start */
    file_list_init(&q->files, env->file_size, &env->home);
    return rc;
}

/* load_lock held. */
static int load_once(struct queue_env *env, struct store_queue *q, bool no_files)
{
    int rc = 0;

    if (!atomic_load_explicit(&q->loaded, memory_order_relaxed) && !(rc = load(env, q, no_files)))
        atomic_store_explicit(&q->loaded, true, memory_order_release);
    return rc;
}

int queue_load_slow(struct queue_env *env, struct store_queue *q)
{
    int rc;

    pthread_mutex_lock(&env->load_lock);
    rc = load_once(env, q, false);
    pthread_mutex_unlock(&env->load_lock);
    return rc;
}

void queue_load_unused(struct queue_env *env, struct store_queue *const q[], int n)
{
    char dir[4096];
    int len = snprintf(dir, sizeof dir, "%s/%s", env->root, q[0]->topic);

    /* A queue's directory is made by its own first unit, so not before it is loaded: nothing can come between. */
    pthread_mutex_lock(&env->load_lock);
    if (len > 0 && (size_t)len < sizeof dir && access(dir, F_OK) < 0 && errno == ENOENT)
        for (int i = 0; i < n; i++)
            load_once(env, q[i], true);
    pthread_mutex_unlock(&env->load_lock);
}

int queue_settle(struct queue_env *env, struct store_queue *q)
{
    char dir[4096];
    int rc = queue_dir(env, q, dir, sizeof dir);

    if (!rc && !(rc = look_in(env, q, dir, look_again)))
        rc = queue_ext_settle(env, q);
    return rc;
}
