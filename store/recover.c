/* Finding the log's end and making the queues agree with it, before anything runs.
 *
 * After a clean stop the checkpoint names the end; when nothing but zeros follows
 * it, and as many queues are there as then, nothing else is read. Else the log is read record by record, from the file
 * that the checkpoint allows, to the first one that is not whole; each record's
 * unit is compared with its queue and written where it is missing or differs. Only
 * the queues that these records name are opened. A queue that misses units from
 * before that file is emptied and filled again from the log's first file. Source of the rules: Apache CommitLog.recoverNormally,
 * recoverAbnormally, ConsumeQueue.recover and truncateDirtyLogicFiles (5.5.0). */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/bus_guard.h"
#include "common/clock.h"
#include "common/codes.h"
#include "common/log.h"
#include "store/queue_count.h"
#include "store/read_ahead.h"
#include "store/store_impl.h"

#define PROGRESS_MS 2000
#define RECENT 64                    /* queues that are found without the table */
#define TOPIC_MAX 255                /* of a queue's name: it is a directory's */

/* Log and queues are read under a guard, which leaves whatever runs when a page cannot be had. So no lock is held while
 * a mapped page is touched, and references stand in here. */
struct scan {
    struct store *s;
    int64_t from, end;           /* where it began; past the last whole record */
    int64_t last_time;           /* store time of the last record; at first what the checkpoint says */
    int64_t seen_time;           /* the same of what was read; 0: nothing */
    int64_t known_before;        /* records stored before this time are in their queues: not looked up there */
    bool only_rebuild;           /* second pass: only queues that are to be filled again */
    bool found_rebuild;          /* first pass: there are such queues */
    bool batch_queues;           /* some topics' queues are of the other kind */
    int64_t records, units_written, units_corrected;
    int64_t told_at;
    struct mapped_file *file;    /* being read */
    int64_t at;                  /* from where in it */
    struct read_ahead ahead;     /* of it */
    struct unit_cursor unit;     /* a reference under way */
    struct mapped_file *record;  /* the same */
    char why[BUS_WHY_SIZE];      /* which page could not be had; "": none */
    struct store_queue *recent[RECENT];
    char topic[TOPIC_MAX];       /* of the record being read: the table of queues takes a lock to look for it */
};

/* ---- one record and its unit ---- */

static int append_unit(struct scan *c, struct store_queue *q, const struct store_entry *e, const struct message *m)
{
    struct store_entry unit = *e;
    struct fault f;
    int rc = queue_make_room(&c->s->env, q, 1, &f);

    if (rc) {
        log_error("rebuild consume queue: %s", f.text);
        return rc;
    }
    if (!unit_is_blank(e))
        unit.tags_code = queue_code(&c->s->env, q, e->tags_code, m->store_timestamp);
    if ((rc = queue_write(&c->s->env, q, queue_max(q), &unit)))
        return rc;
    queue_advance(q, 1, m->store_timestamp);
    c->units_written++;
    return 0;
}

/* 1: *out is the unit; 0: its file is gone; else -errno. */
static int unit_of(struct scan *c, struct store_queue *q, int64_t offset, struct store_entry *out)
{
    int rc;

    c->unit.file = q->tail ? mapped_file_ref(q->tail) : NULL;     /* mostly the right file */
    rc = queue_unit(&c->s->env, q, &c->unit, offset, out);
    if (rc == 0)
        q->tail = c->unit.file;          /* so is the next one's */
    unit_cursor_end(&c->unit);
    return rc == 0 ? 1 : rc == -ENOENT ? 0 : rc;
}

/* Is the unit one of that queue, at that offset, by the record it names? 1, 0 or -errno. */
static int record_is(struct scan *c, const struct store_entry *e, const struct store_queue *q, int64_t queue_offset)
{
    int rc = commit_log_find(&c->s->log, e->physical_offset, e->size, &c->record);
    struct message m;

    if (rc)
        return rc == -ENOENT ? 0 : rc;
    rc = message_record_get(c->record->map + (e->physical_offset - c->record->base), e->size, false, &m) == 0 &&
         m.size == e->size && m.physical_offset == e->physical_offset && m.queue_offset == queue_offset &&
         m.queue_id == q->id && str_eq(m.topic, queue_topic(q));
    mapped_file_unref(c->record);
    c->record = NULL;
    return rc;
}

/* Is the unit at offset there, and right? 1, 0 or -errno. */
static int unit_is_right(struct scan *c, struct store_queue *q, int64_t offset)
{
    struct store_entry has;
    int rc = unit_of(c, q, offset, &has);

    return rc == 1 ? record_is(c, &has, q, offset) : rc;
}

/* Where the record of the queue's newest unit is; -1: there is none. 0 or -errno. */
static int newest_record(struct scan *c, struct store_queue *q, int64_t *out)
{
    struct store_entry last;
    int rc = queue_max(q) > queue_min(q) ? unit_of(c, q, queue_max(q) - 1, &last) : 0;

    *out = rc == 1 ? last.physical_offset : -1;
    return rc < 0 ? rc : 0;
}

/* A queue that is past this record has another unit in its place. When that one names a right record, this
 * one is of an earlier life of the topic (deleted and made again), or its own number is damaged. */
static int correct_unit(struct scan *c, struct store_queue *q, const struct store_entry *e, const struct message *m)
{
    int rc = unit_is_right(c, q, m->queue_offset);

    if (rc)
        return rc < 0 ? rc : 0;
    if ((rc = queue_overwrite(&c->s->env, q, m->queue_offset, e)))
        return rc;
    c->units_corrected++;
    return 0;
}

/* Each message takes room in the log, so a number cannot be ahead of the queue by more than fit in between. */
static bool is_plausible(const struct store_queue *q, int64_t newest, const struct message *m)
{
    return m->queue_offset - queue_max(q) <= (m->physical_offset - (newest < 0 ? 0 : newest)) / MESSAGE_MIN_SIZE;
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

/* Is that the unit of this message? An address must lead to the extension's unit of this message; else the tag code
 * itself takes its place, which is right for ever. 1, 0 or -errno. */
static int is_unit_of(struct scan *c, struct store_queue *q, const struct store_entry *has, const struct store_entry *e,
                      const struct message *m)
{
    struct ext_unit u;
    int rc;

    if (has->physical_offset != e->physical_offset || has->size != e->size)
        return 0;
    if (!ext_is_address(has->tags_code))
        return has->tags_code == e->tags_code;
    rc = queue_ext_unit(&c->s->env, q, &c->unit, has->tags_code, &u);
    unit_cursor_end(&c->unit);
    queue_ext_doubt(q, has->tags_code);
    if (rc == 0 && u.store_time == m->store_timestamp && (q->is_schedule || u.tags_code == e->tags_code))
        return 1;
    if (rc && rc != -ENOENT)
        return rc;
    c->units_corrected++;
    rc = queue_overwrite(&c->s->env, q, m->queue_offset, e);
    return rc ? rc : 1;
}

static int dispatch_to(struct scan *c, struct store_queue *q, const struct message *m)
{
    struct store_entry e = {m->physical_offset, m->size, queue_tags_code(&c->s->env, q, m)}, has;
    int64_t at = m->queue_offset, newest;
    bool in_range = at >= queue_min(q) && at < queue_max(q);
    int rc = in_range ? unit_of(c, q, at, &has) : 0;

    if (rc == 1)
        rc = is_unit_of(c, q, &has, &e, m);
    if (rc)
        return rc < 0 ? rc : 0;
    if ((rc = newest_record(c, q, &newest)))
        return rc;
    if (newest >= e.physical_offset) {   /* the queue's newest unit is of this record or a later one */
        if (is_before_start(q, at) && !c->only_rebuild)
            q->rebuild = c->found_rebuild = true;
        else if (in_range)
            return correct_unit(c, q, &e, m);
        return 0;
    }
    if (at == queue_max(q))
        return append_unit(c, q, &e, m);
    if (at == 0)
        return restart_queue(c, q, &e, m);
    return at > queue_max(q) && is_plausible(q, newest, m) ? fill_gap(c, q, &e, m) : ignore(q, m);
}

/* What a killed run wrote is in memory, and right, and perhaps not on the disk. So the units of all records that are
 * read here are synced before the checkpoint vouches for them, and (trim) the names of their files. */
static void doubt_from(struct store_queue *q, int64_t offset)
{
    if (offset < queue_min(q))
        offset = queue_min(q);
    if (q->flushed > offset)
        q->flushed = offset;
}

/* Drops units at the queue's end whose records are not there: the log is what counts. */
static int trim(struct scan *c, struct store_queue *q)
{
    int64_t max = queue_max(q);
    int rc = 0;

    while (max > queue_min(q) && (rc = unit_is_right(c, q, max - 1)) == 0)
        max--;
    if (rc < 0)
        return rc;
    q->checked = true;
    q->new_files |= file_list_count(&q->files) > 0;
    if (max == queue_max(q))
        return 0;
    log_warn("consume queue %s/%" PRId32 ": units %" PRId64 " to %" PRId64 " name no record: dropped", q->topic, q->id,
             max, queue_max(q) - 1);
    return queue_cut(&c->s->env, q, max);
}

/* NULL without memory, or when it is no possible queue. */
static struct store_queue *queue_of(struct scan *c, struct message *m)
{
    struct store_queue **q = &c->recent[(uint32_t)m->queue_id % RECENT];

    if (*q && (*q)->id == m->queue_id && str_eq(queue_topic(*q), m->topic))
        return *q;
    if (m->topic.n > sizeof c->topic)
        return NULL;
    memcpy(c->topic, m->topic.p, m->topic.n);
    m->topic.p = c->topic;
    return *q = queue_table_get(&c->s->queues, &c->s->env, m->topic, m->queue_id);
}

static bool has_batch_queues(const struct store *s, struct str topic)
{
    char dir[4096];

    return (size_t)snprintf(dir, sizeof dir, "%s/batchconsumequeue/%.*s", s->root, STR_ARG(topic)) < sizeof dir &&
           access(dir, F_OK) == 0;
}

/* Topics with queue.type=BatchCQ have queues of another kind, which only Apache's broker fills. With units of ours beside
 * them it would not start any more. Source: ConsumeQueueStore.queueTypeShouldBe. */
static bool is_of_batch_queue(const struct scan *c, const struct message *m)
{
    return m->sys_flag & SYSFLAG_INNER_BATCH || (c->batch_queues && has_batch_queues(c->s, m->topic));
}

static int dispatch(struct scan *c, struct message *m)
{
    struct store *s = c->s;
    struct store_queue *q;
    int rc;

    if (!is_indexed(m->sys_flag) || m->queue_offset < 0 || is_of_batch_queue(c, m))
        return 0;
    q = queue_of(c, m);
    if (!q) {
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
    doubt_from(q, m->queue_offset);
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

/* Reading a record waits for memory twice: for its head, and for what stands behind its body. So the next one's are asked
 * for before this one is worked on; where its body ends is guessed from this one. */
static void ask_for_next(const char *p, const struct message *m)
{
    const char *next = p + m->size, *tail = next + (m->topic.p - p);

    __builtin_prefetch(next);
    __builtin_prefetch(next + 64);
    __builtin_prefetch(tail);
    __builtin_prefetch(tail + 64);
}

/* Reads the records of one file. 1: the file is over, go on with the next; 0: the log ends at c->end; or -errno. */
static int read_records(void *arg)
{
    struct scan *c = arg;
    struct mapped_file *file = c->file;
    int64_t at = c->at;
    bool check_crc = c->s->conf.check_crc_on_recover;

    for (;;) {
        struct message m;
        int64_t left = file->base + file->size - at;
        int rc;
        read_ahead_at(&c->ahead, at);
        rc = message_record_get(file->map + (at - file->base), (size_t)left,
                                check_crc && !read_ahead_is_whole(&c->ahead, at), &m);
        c->end = at;
        if (left == 0 || rc == 1)
            return 1;
        if (rc || m.physical_offset != at) {
            if ((at = resync(c->s, file, at, c->seen_time)) < 0)
                return at == -ENOENT ? 0 : (int)at;
            continue;
        }
        ask_for_next(file->map + (at - file->base), &m);
        if (m.store_timestamp >= c->known_before && (rc = dispatch(c, &m)))
            return rc;
        c->records++;
        c->last_time = c->seen_time = m.store_timestamp;
        at += m.size;
        if ((c->records & 1023) == 0)
            progress(c, at);
    }
}

static int scan_file(struct scan *c)
{
    int rc;

    madvise(c->file->map, (size_t)c->file->size, MADV_SEQUENTIAL);
    read_ahead_start(&c->ahead, c->file, c->at, c->s->conf.check_crc_on_recover);
    if ((rc = bus_guarded(read_records, c)) == -EIO)
        bus_why(c->why, sizeof c->why);
    read_ahead_stop(&c->ahead);
    unit_cursor_end(&c->unit);
    mapped_file_unref(c->record);
    c->record = NULL;
    madvise(c->file->map, (size_t)c->file->size, MADV_NORMAL);
    return rc;
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
        int err = base < 0 ? -ENOENT : file_list_find(&l->files, l->dir, base > at ? base : at, &c->file);
        if (err)
            return err == -ENOENT ? 0 : err;
        if (base > at) {
            log_error("commit log %s: files are missing from offset %" PRId64 " to %" PRId64 ": their messages are gone",
                      l->dir, at, base);
            at = base;
        }
        c->at = at;
        rc = scan_file(c);
        at = c->file->base + c->file->size;
        mapped_file_unref(c->file);
    }
    return rc < 0 ? rc : 0;
}

/* ---- where to begin ---- */

struct record_look {
    const struct mapped_file *file;
    int64_t at;
    int64_t time;                /* its store time */
};

static int look_at_record(void *arg)
{
    struct record_look *r = arg;
    int64_t in_file = r->at - r->file->base;
    struct message m;
    bool is = message_record_get(r->file->map + in_file, (size_t)(r->file->size - in_file), false, &m) == 0 &&
              m.physical_offset == r->at;

    r->time = m.store_timestamp;
    return is;
}

/* Does a record begin there? 1 and its time, 0, or -errno. */
static int record_at(struct scan *c, int64_t at, int64_t *time)
{
    struct commit_log *l = &c->s->log;
    struct record_look r = {.at = at};
    struct mapped_file *file;
    int rc = file_list_find(&l->files, l->dir, at, &file);

    if (rc)
        return rc == -ENOENT ? 0 : rc;
    r.file = file;
    if ((rc = bus_guarded(look_at_record, &r)) == -EIO)
        bus_why(c->why, sizeof c->why);
    mapped_file_unref(file);
    *time = r.time;
    return rc;
}

/* What was stored before this time is surely in log and queues on the disk. */
static int64_t vouched_time(const struct checkpoint *k)
{
    return (k->log_time < k->queue_time ? k->log_time : k->queue_time) - 3000;
}

/* The newest file, at or before `most`, that began before everything the checkpoint vouches for. Or -errno. */
static int64_t start_by_time(struct scan *c, int64_t first, int64_t end, int64_t most)
{
    struct store *s = c->s;
    int64_t time = vouched_time(&s->checkpoint);

    for (int64_t base = end - s->log.file_size; base > first; base -= s->log.file_size) {
        int64_t began = 0;
        int rc = base <= most ? record_at(c, base, &began) : 0;
        if (rc < 0)
            return rc;
        if (rc && began > 0 && began <= time)
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
    if (file_list_find(&s->log.files, s->log.dir, at, &file))
        return false;
    is = mapped_file_is_zero_from(file, s->log.dir, at - file->base) == 1;
    mapped_file_unref(file);
    return is;
}

/* After a clean stop whose checkpoint does not name the end (Apache's before 5.5.0 name none, and leave ours as it was):
 * only the end is looked for. The queues are compared with what is younger than the checkpoint vouches for; to look
 * at all of them would take minutes where there are a million. Or -errno. */
static int64_t start_after_stop(struct scan *c, int64_t first, int64_t end)
{
    int64_t at = c->s->checkpoint.queue_offset, base = start_by_time(c, first, end, end), time;
    int rc = base >= 0 && at > base ? record_at(c, at, &time) : 0;

    c->known_before = vouched_time(&c->s->checkpoint);
    return rc < 0 ? rc : rc ? at : base;
}

/* ---- the whole ---- */

struct settling {
    struct store *s;
    struct fault *f;
    int rc;                      /* the first failure */
};

static void settle(void *arg, struct store_queue *q)
{
    struct settling *w = arg;
    int rc = atomic_load(&q->loaded) ? queue_settle(&w->s->env, q) : 0;

    if (rc && !w->rc)
        w->rc = fault_errno(w->f, -rc, "read consume queue %s/%" PRId32 " after recovery (without its directory it is "
                            "made again from the log)", q->topic, q->id);
    if (q->flushed < queue_max(q) || q->new_files)
        mark_dirty(w->s, q);
}

struct emptying {
    struct store *s;
    int rc;                      /* the first failure */
};

static void empty_queue(struct emptying *w, struct store_queue *q)
{
    int rc = queue_cut(&w->s->env, q, 0);

    if (rc)
        log_error("empty consume queue %s/%" PRId32 ": %s", q->topic, q->id, strerror(-rc));
    if (!w->rc)
        w->rc = rc;
    atomic_store(&q->min, 0);
}

static void empty_for_rebuild(void *arg, struct store_queue *q)
{
    if (!q->rebuild)
        return;
    log_warn("consume queue %s/%" PRId32 " misses units from before the recovered part: filled again from the log",
             q->topic, q->id);
    empty_queue(arg, q);
}

static void rebuild_done(void *arg, struct store_queue *q)
{
    (void)arg;
    q->rebuild = false;
}

static int rebuild(struct store *s, int64_t first, struct scan *c)
{
    struct scan again = {.s = s, .only_rebuild = true, .batch_queues = c->batch_queues};
    struct emptying emptying = {.s = s};
    int rc;

    queue_table_known(&s->queues, empty_for_rebuild, &emptying);
    rc = emptying.rc ? emptying.rc : scan_log(&again, first);
    queue_table_known(&s->queues, rebuild_done, NULL);
    c->units_written += again.units_written;
    memcpy(c->why, again.why, sizeof c->why);
    return rc;
}

static void drop_queue(void *arg, struct store_queue *q)
{
    struct emptying *w = arg;
    int rc = queue_load(&w->s->env, q);

    if (rc && !w->rc)
        w->rc = rc;
    if (rc)
        return;
    if (queue_max(q) > 0)
        log_warn("consume queue %s/%" PRId32 ": the commit log is gone, so its units are dropped", q->topic, q->id);
    empty_queue(w, q);
}

static int finish(struct store *s, struct scan *c, struct fault *f)
{
    struct settling settling = {.s = s, .f = f};
    int rc = commit_log_set_end(&s->log, c->end, c->last_time, f);

    if (rc)
        return rc;
    s->env.log_end = c->end;
    queue_table_known(&s->queues, settle, &settling);
    if (settling.rc)
        return settling.rc;
    s->env.after_crash = false;
    atomic_store(&s->flush.flushed, c->from);
    if ((rc = flush_queues(s, true)))
        return fault_errno(f, -rc, "sync what was recovered");
    return 0;
}

static int cannot_read(const struct scan *c, int rc, struct fault *f)
{
    if (!c->why[0])
        return fault_errno(f, -rc, "recover the store in %s", c->s->root);
    return fault_set(f, RC_SYSTEM_ERROR, -rc, "recover the store in %s: %s", c->s->root, c->why);
}

static int read_log(struct store *s, struct scan *c, int64_t from, int64_t first, struct fault *f)
{
    int64_t began = mono_ms();
    int rc = scan_log(c, from);

    if (!rc && c->found_rebuild)
        rc = rebuild(s, first, c);
    if (rc)
        return cannot_read(c, rc, f);
    log_info("recovery: read %" PRId64 " messages from commit log offset %" PRId64 " to %" PRId64 " in %" PRId64
             " ms; %" PRId64 " queue units added, %" PRId64 " corrected",
             c->records, from, c->end, mono_ms() - began, c->units_written, c->units_corrected);
    return 0;
}

int recover(struct store *s, bool after_crash, struct fault *f)
{
    struct scan c = {.s = s, .last_time = s->checkpoint.log_time, .batch_queues = has_batch_queues(s, str_of(""))};
    struct emptying emptying = {.s = s};
    int64_t first, end, at = s->checkpoint.queue_offset;
    int rc = queue_table_any(&s->queues, &s->env);
    bool any = rc > 0;

    if (rc < 0)
        return fault_errno(f, -rc, "read the consume queues in %s", s->queue_dir);
    file_list_range(&s->log.files, &first, &end);
    atomic_store(&s->log.max, end);          /* while reading, all of it may be looked at */
    s->env.log_end = INT64_MAX;
    s->env.after_crash = after_crash;
    if (end == 0) {
        rc = queue_table_each(&s->queues, &s->env, drop_queue, &emptying);
        rc = rc ? rc : emptying.rc;
        return rc ? fault_errno(f, -rc, "empty the consume queues in %s", s->queue_dir) : finish(s, &c, f);
    }
    if (!after_crash && any && is_clean_end(s, at, first, end)) {
        c.from = c.end = at;
        if (!queue_count_fell(s->checkpoint_path, s->queue_dir, at))
            return finish(s, &c, f);
        any = false;
    }
    if (any)
        at = after_crash ? start_by_time(&c, first, end, at > 0 ? at : end) : start_after_stop(&c, first, end);
    else
        at = first;
    if (at < 0)
        return cannot_read(&c, (int)at, f);
    if ((rc = read_log(s, &c, at, first, f)))
        return rc;
    return finish(s, &c, f);
}
