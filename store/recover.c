/* Finding the log's end and making the queues agree with it, before anything runs.
 *
 * After a clean stop the checkpoint names the end; when nothing but zeros follows
 * it, nothing else is read. Else the log is read record by record, from the file
 * that the checkpoint allows, to the first one that is not whole; each record's
 * unit is compared with its queue and written where it is missing or differs. A
 * queue that misses units from before that file is emptied and filled again from
 * the log's first file. Source of the rules: Apache CommitLog.recoverNormally,
 * recoverAbnormally, ConsumeQueue.recover and truncateDirtyLogicFiles (5.5.0). */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#include "common/clock.h"
#include "common/log.h"
#include "store/store_impl.h"

#define PROGRESS_MS 2000

struct scan {
    struct store *s;
    int64_t from, end;           /* where it began; past the last whole record */
    int64_t last_time;           /* store time of the last record; at first what the checkpoint says */
    int64_t seen_time;           /* the same of what was read; 0: nothing */
    bool only_rebuild;           /* second pass: only queues that are to be filled again */
    bool found_rebuild;          /* first pass: there are such queues */
    int64_t records, units_written, units_corrected;
    int64_t told_at;
};

/* ---- one record and its unit ---- */

static int append_unit(struct scan *c, struct store_queue *q, const struct store_entry *e, const struct message *m)
{
    struct fault f;
    int rc = queue_make_room(&c->s->env, q, 1, &f);

    if (rc) {
        log_error("rebuild consume queue: %s", f.text);
        return rc;
    }
    queue_put(&c->s->env, q, e, m->store_timestamp);
    mark_dirty(c->s, q);
    c->units_written++;
    return 0;
}

static int unit_of(struct scan *c, struct store_queue *q, int64_t offset, struct store_entry *out)
{
    struct unit_cursor at = {q->tail ? mapped_file_ref(q->tail) : NULL};     /* mostly the right file */
    int rc = queue_unit(&c->s->env, q, &at, offset, out);

    unit_cursor_end(&at);
    return rc;
}

static bool record_is(struct store *s, const struct store_entry *e, const struct store_queue *q, int64_t queue_offset)
{
    struct mapped_file *file = commit_log_get(&s->log, e->physical_offset, e->size);
    struct message m;
    bool is;

    if (!file)
        return false;
    is = message_record_get(file->map + (e->physical_offset - file->base), e->size, false, &m) == 0 &&
         m.size == e->size && m.physical_offset == e->physical_offset && m.queue_offset == queue_offset &&
         m.queue_id == q->id && str_eq(m.topic, queue_topic(q));
    mapped_file_unref(file);
    return is;
}

/* The queue's newest unit is of this record or a later one. */
static bool queue_is_past(struct scan *c, struct store_queue *q, int64_t physical_offset)
{
    struct store_entry last;

    return queue_max(q) > queue_min(q) && unit_of(c, q, queue_max(q) - 1, &last) == 0 &&
           last.physical_offset >= physical_offset;
}

/* A queue that is past this record has another unit in its place. When that one names a right record, this
 * one is of an earlier life of the topic (deleted and made again), or its own number is damaged. */
static void correct_unit(struct scan *c, struct store_queue *q, const struct store_entry *e, const struct message *m)
{
    struct store_entry has;

    if (unit_of(c, q, m->queue_offset, &has) == 0 && record_is(c->s, &has, q, m->queue_offset))
        return;
    queue_overwrite(&c->s->env, q, m->queue_offset, e);
    mark_dirty(c->s, q);
    c->units_corrected++;
}

/* Each message takes room in the log, so a number cannot be ahead of the queue by more than fit in between. */
static bool is_plausible(struct scan *c, struct store_queue *q, const struct message *m)
{
    struct store_entry last = {0};

    if (queue_max(q) > queue_min(q) && (unit_of(c, q, queue_max(q) - 1, &last) || unit_is_blank(&last)))
        last.physical_offset = 0;
    return m->queue_offset - queue_max(q) <= (m->physical_offset - last.physical_offset) / MESSAGE_MIN_SIZE;
}

static int ignore(const struct store_queue *q, const struct message *m)
{
    log_warn("record at %" PRId64 " says it is number %" PRId64 " of %s/%" PRId32 ", which cannot be: left out",
             m->physical_offset, m->queue_offset, q->topic, q->id);
    return 0;
}

static int start_queue(struct scan *c, struct store_queue *q, const struct store_entry *e, const struct message *m)
{
    struct fault f;
    int rc = m->queue_offset > 0 ? queue_start_at(&c->s->env, q, m->queue_offset, &f) : 0;

    if (rc)
        log_error("rebuild consume queue: %s", f.text);
    return rc ? rc : append_unit(c, q, e, m);
}

/* All units of the queue are of records before this one, which is number 0: the topic was deleted and made
 * again in between. What the queue holds is of its earlier life. */
static int restart_queue(struct scan *c, struct store_queue *q, const struct store_entry *e, const struct message *m)
{
    int rc;

    log_info("consume queue %s/%" PRId32 " begins again at commit log offset %" PRId64, q->topic, q->id,
             e->physical_offset);
    if ((rc = queue_cut(&c->s->env, q, 0)))
        return rc;
    atomic_store(&q->min, 0);
    return start_queue(c, q, e, m);
}

/* Units are missing between the queue's end and this record. */
static int fill_gap(struct scan *c, struct store_queue *q, const struct store_entry *e, const struct message *m)
{
    static const struct store_entry blank = {.size = UNIT_BLANK_SIZE};
    int rc;

    if (!c->only_rebuild && c->from > commit_log_min(&c->s->log)) {
        q->rebuild = c->found_rebuild = true;
        return 0;
    }
    if (queue_max(q) == 0)
        return start_queue(c, q, e, m);
    log_warn("consume queue %s/%" PRId32 ": the log has no messages for offsets %" PRId64 " to %" PRId64
             ": they are gone", q->topic, q->id, queue_max(q), m->queue_offset - 1);
    while (queue_max(q) < m->queue_offset)
        if ((rc = append_unit(c, q, &blank, m)))
            return rc;
    return append_unit(c, q, e, m);
}

/* The queue begins behind this record, although the log still has it: a power loss took the name of the first file,
 * and kept that of the next. */
static bool is_before_start(const struct store_queue *q, int64_t at)
{
    return at < queue_min(q) && queue_max(q) > queue_min(q);
}

static int dispatch_to(struct scan *c, struct store_queue *q, const struct message *m)
{
    struct store_entry e = {m->physical_offset, m->size, queue_tags_code(&c->s->env, q, m)}, has;
    int64_t at = m->queue_offset;
    bool in_range = at >= queue_min(q) && at < queue_max(q);

    if (in_range && unit_of(c, q, at, &has) == 0 && has.physical_offset == e.physical_offset && has.size == e.size &&
        has.tags_code == e.tags_code)
        return 0;
    if (queue_is_past(c, q, e.physical_offset)) {
        if (is_before_start(q, at) && !c->only_rebuild)
            q->rebuild = c->found_rebuild = true;
        else if (in_range)
            correct_unit(c, q, &e, m);
        return 0;
    }
    if (at == queue_max(q))
        return append_unit(c, q, &e, m);
    if (at == 0)
        return restart_queue(c, q, &e, m);
    return at > queue_max(q) && is_plausible(c, q, m) ? fill_gap(c, q, &e, m) : ignore(q, m);
}

/* Drops units at the queue's end whose records are not there: the log is what counts. */
static int trim(struct scan *c, struct store_queue *q)
{
    int64_t max = queue_max(q);
    struct store_entry last;

    while (max > queue_min(q) && (unit_of(c, q, max - 1, &last) || !record_is(c->s, &last, q, max - 1)))
        max--;
    q->checked = true;
    if (max == queue_max(q))
        return 0;
    log_warn("consume queue %s/%" PRId32 ": units %" PRId64 " to %" PRId64 " name no record: dropped", q->topic, q->id,
             max, queue_max(q) - 1);
    return queue_cut(&c->s->env, q, max);
}

static int dispatch(struct scan *c, const struct message *m)
{
    struct store *s = c->s;
    struct store_queue *q;
    int rc;

    if (!is_indexed(m->sys_flag) || m->queue_offset < 0)
        return 0;
    if (!(q = queue_table_get(&s->queues, &s->env, m->topic, m->queue_id))) {
        log_warn("record at %" PRId64 " names no possible queue: %.*s/%" PRId32, m->physical_offset,
                 STR_ARG(m->topic), m->queue_id);
        return 0;
    }
    if ((rc = queue_load(&s->env, q)))
        return rc;
    if (q->rebuild != c->only_rebuild)
        return 0;
    queue_maps_trim(&s->maps, &s->append_lock);
    if (!q->checked && (rc = trim(c, q)))
        return rc;
    return dispatch_to(c, q, m);
}

/* ---- walking the log ---- */

static void progress(struct scan *c, int64_t at)
{
    int64_t now = mono_ms(), first, end;

    if (now - c->told_at < PROGRESS_MS)
        return;
    c->told_at = now;
    file_list_range(&c->s->log.files, &first, &end);
    log_info("recovery: at commit log offset %" PRId64 " of at most %" PRId64 ", %" PRId64 " messages read", at, end,
             c->records);
}

/* Reads the records of one file from offset at. 1: the file is over, go on with the next; 0: the log ends at c->end. */
static int scan_file(struct scan *c, struct mapped_file *file, int64_t at)
{
    bool check_crc = c->s->conf.check_crc_on_recover;

    for (;;) {
        struct message m;
        int64_t left = file->base + file->size - at;
        int rc = message_record_get(file->map + (at - file->base), (size_t)left, check_crc, &m);
        c->end = at;
        if (left == 0 || rc == 1)
            return 1;
        if (rc || m.physical_offset != at) {
            if ((at = resync(c->s, file, at, c->seen_time)) < 0)
                return 0;
            continue;
        }
        if ((rc = dispatch(c, &m)))
            return rc;
        c->records++;
        c->last_time = c->seen_time = m.store_timestamp;
        at += m.size;
        if ((c->records & 1023) == 0)
            progress(c, at);
    }
}

/* From a record's place (or the log's end) on. 0 or -errno; c->end is set. */
static int scan_log(struct scan *c, int64_t from)
{
    struct commit_log *l = &c->s->log;
    int64_t at = from;
    int rc = 1;

    c->from = c->end = from;
    c->told_at = mono_ms();
    while (rc == 1) {
        int64_t base = file_list_next(&l->files, at);
        struct mapped_file *file = base < 0 ? NULL : file_list_get(&l->files, l->dir, base > at ? base : at);
        if (!file)
            break;
        if (base > at) {
            log_error("commit log %s: files are missing from offset %" PRId64 " to %" PRId64 ": their messages are gone",
                      l->dir, at, base);
            at = base;
        }
        madvise(file->map, (size_t)file->size, MADV_SEQUENTIAL);
        rc = scan_file(c, file, at);
        madvise(file->map, (size_t)file->size, MADV_NORMAL);
        at = file->base + file->size;
        mapped_file_unref(file);
    }
    return rc < 0 ? rc : 0;
}

/* ---- where to begin ---- */

/* First record of the file that holds offset, when it is one. */
static bool first_record(struct commit_log *l, int64_t offset, struct message *m)
{
    struct mapped_file *file = file_list_get(&l->files, l->dir, offset);
    bool is;

    if (!file)
        return false;
    is = message_record_get(file->map, (size_t)file->size, false, m) == 0 && m->physical_offset == file->base;
    mapped_file_unref(file);
    return is;
}

/* After a crash: the newest file that began before everything the checkpoint vouches for. */
static int64_t start_after_crash(struct store *s, int64_t first, int64_t end)
{
    const struct checkpoint *k = &s->checkpoint;
    int64_t time = (k->log_time < k->queue_time ? k->log_time : k->queue_time) - 3000;

    for (int64_t base = end - s->log.file_size; base > first; base -= s->log.file_size) {
        struct message m;
        if (first_record(&s->log, base, &m) && m.store_timestamp > 0 && m.store_timestamp <= time &&
            (k->queue_offset == 0 || base <= k->queue_offset))
            return base;
    }
    return first;
}

/* After a clean stop: the checkpoint's place, when it is surely the log's end. */
static bool is_clean_end(struct store *s, int64_t at, int64_t first, int64_t end)
{
    struct mapped_file *file;
    bool is;

    if (at < first || at > end || (at == first && first > 0))
        return false;
    if (at == end)
        return true;
    if (!(file = file_list_get(&s->log.files, s->log.dir, at)))
        return false;
    is = mapped_file_is_zero_from(file, s->log.dir, at - file->base) == 1;
    mapped_file_unref(file);
    return is;
}

struct newest {
    struct store *s;
    int64_t offset;              /* of the newest record that a queue names */
};

static void look_newest(void *arg, struct store_queue *q)
{
    struct newest *n = arg;
    struct unit_cursor c = {0};
    struct store_entry e;

    if (queue_load(&n->s->env, q) || queue_max(q) == queue_min(q))
        return;
    queue_maps_trim(&n->s->maps, &n->s->append_lock);
    if (queue_unit(&n->s->env, q, &c, queue_max(q) - 1, &e) == 0 && !unit_is_blank(&e) && e.physical_offset > n->offset)
        n->offset = e.physical_offset;
    unit_cursor_end(&c);
}

/* After a clean stop whose checkpoint does not say enough (Apache 4.x leaves no place): as Apache, the
 * file of the newest record that any queue names, or one before it that begins with a record. */
static int64_t start_by_queues(struct store *s, int64_t first)
{
    struct newest n = {s, -1};
    struct message m;
    int64_t base;

    queue_table_each(&s->queues, look_newest, &n);
    base = n.offset < 0 ? first : n.offset - n.offset % s->log.file_size;
    while (base > first && !first_record(&s->log, base, &m))
        base -= s->log.file_size;
    return base < first ? first : base;
}

/* ---- the whole ---- */

static void settle(void *arg, struct store_queue *q)
{
    struct store *s = arg;

    if (atomic_load(&q->loaded) && queue_settle(&s->env, q))
        log_error("consume queue %s/%" PRId32 " could not be read after recovery", q->topic, q->id);
}

static void empty_for_rebuild(void *arg, struct store_queue *q)
{
    struct store *s = arg;

    if (!q->rebuild)
        return;
    log_warn("consume queue %s/%" PRId32 " misses units from before the recovered part: filled again from the log",
             q->topic, q->id);
    queue_cut(&s->env, q, 0);
    atomic_store(&q->min, 0);
}

static void rebuild_done(void *arg, struct store_queue *q)
{
    (void)arg;
    q->rebuild = false;
}

static int rebuild(struct store *s, int64_t first, struct scan *c)
{
    struct scan again = {.s = s, .only_rebuild = true};
    int rc;

    queue_table_each(&s->queues, empty_for_rebuild, s);
    rc = scan_log(&again, first);
    queue_table_each(&s->queues, rebuild_done, NULL);
    c->units_written += again.units_written;
    return rc;
}

static void drop_queue(void *arg, struct store_queue *q)
{
    struct store *s = arg;

    if (queue_load(&s->env, q) == 0 && queue_max(q) > 0)
        log_warn("consume queue %s/%" PRId32 ": the commit log is gone, so its units are dropped", q->topic, q->id);
    queue_cut(&s->env, q, 0);
    atomic_store(&q->min, 0);
}

static int finish(struct store *s, struct scan *c, struct fault *f)
{
    int rc = commit_log_set_end(&s->log, c->end, c->last_time, f);

    if (rc)
        return rc;
    s->env.log_end = c->end;
    queue_table_each(&s->queues, settle, s);
    s->env.after_crash = false;
    atomic_store(&s->flush.flushed, c->from);
    if ((rc = flush_queues(s, true)))
        return fault_errno(f, -rc, "sync what was recovered");
    return 0;
}

static int read_log(struct store *s, struct scan *c, int64_t from, int64_t first, struct fault *f)
{
    int64_t began = mono_ms();
    int rc = scan_log(c, from);

    if (!rc && c->found_rebuild)
        rc = rebuild(s, first, c);
    if (rc)
        return fault_errno(f, -rc, "recover the store in %s", s->root);
    log_info("recovery: read %" PRId64 " messages from commit log offset %" PRId64 " to %" PRId64 " in %" PRId64
             " ms; %" PRId64 " queue units added, %" PRId64 " corrected",
             c->records, from, c->end, mono_ms() - began, c->units_written, c->units_corrected);
    return 0;
}

int recover(struct store *s, bool after_crash, struct fault *f)
{
    struct scan c = {.s = s, .last_time = s->checkpoint.log_time};
    int64_t first, end, at = s->checkpoint.queue_offset;
    int rc;

    file_list_range(&s->log.files, &first, &end);
    atomic_store(&s->log.max, end);          /* while reading, all of it may be looked at */
    s->env.log_end = INT64_MAX;
    s->env.after_crash = after_crash;
    if (end == 0) {
        queue_table_each(&s->queues, drop_queue, s);
        return finish(s, &c, f);
    }
    if (!after_crash && s->queues.n > 0 && is_clean_end(s, at, first, end)) {
        c.from = c.end = at;
        return finish(s, &c, f);
    }
    at = after_crash ? start_after_crash(s, first, end) : start_by_queues(s, first);
    if (s->queues.n == 0)
        at = first;
    if ((rc = read_log(s, &c, at, first, f)))
        return rc;
    return finish(s, &c, f);
}
