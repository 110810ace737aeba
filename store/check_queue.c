/* check_store: the consume queues. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/file.h"
#include "store/check_priv.h"
#include "store/consume_queue.h"
#include "store/queue_ext.h"

#define READ_UNITS 512

struct walk {
    struct check *c;
    struct str topic;
    int32_t id;
    const char *path;                    /* of the file being read */
    int64_t base;                        /* number of its first unit */
    int64_t unit;                        /* being looked at */
    int64_t hole;                        /* first of the units that were not written; -1: none */
    int64_t end, last;                   /* behind the last written unit; its record's log offset, -1: none */
    int64_t sure_from, sure_to;          /* check_sure has compared these */
    struct check_ext ext;
};

static int64_t place(const struct walk *w, int64_t unit) { return (unit - w->base) * UNIT_SIZE; }

/* Is that what the record's tags or time of delivery give? */
static bool code_fits(const struct walk *w, int64_t code, const struct message *m)
{
    if (code == message_tags_code(m->properties))
        return true;
    return str_is(w->topic, "SCHEDULE_TOPIC_XXXX") && prop_get(m->properties, "DELAY").n && code >= m->store_timestamp;
}

/* The tag code, or the one that the extension has at the address that stands in its place. */
static void check_code(struct walk *w, const struct store_entry *e, const struct message *m)
{
    int64_t at = place(w, w->unit), code = e->tags_code, time = m->store_timestamp;

    if (ext_is_address(code) && check_ext_get(&w->ext, e->tags_code, &code, &time))
        check_find(w->c, w->path, at, "unit %" PRId64 " names offset %" PRId64 " of the queue's extension, where no unit is",
                   w->unit, ext_offset(e->tags_code));
    else if (!code_fits(w, code, m))
        check_find(w->c, w->path, at, "unit %" PRId64 " has the tag code %" PRId64 ", its record's is %" PRId64, w->unit,
                   code, message_tags_code(m->properties));
    else if (time != m->store_timestamp)
        check_find(w->c, w->path, at, "unit %" PRId64 " has the store time %" PRId64 " in the queue's extension, its "
                   "record's is %" PRId64, w->unit, time, m->store_timestamp);
}

/* The unit names a record: is it the right one? */
static void check_named(struct walk *w, const struct store_entry *e)
{
    struct check *c = w->c;
    int64_t at = place(w, w->unit);
    struct message m;

    if (check_record(c, e->physical_offset, &m)) {
        check_find(c, w->path, at, "unit %" PRId64 " names log offset %" PRId64 ", where no record is", w->unit,
                   e->physical_offset);
        return;
    }
    if (m.size != e->size)
        check_find(c, w->path, at, "unit %" PRId64 " says %" PRIu32 " bytes, the record at %" PRId64 " has %" PRIu32,
                   w->unit, e->size, e->physical_offset, m.size);
    if (str_starts(w->topic, "%LMQ%"))   /* a light queue: its records are other topics' */
        return;
    if (!str_eq(m.topic, w->topic) || m.queue_id != w->id || m.queue_offset != w->unit)
        check_find(c, w->path, at, "unit %" PRId64 " names the record at %" PRId64 ", which is number %" PRId64
                   " of %.*s/%" PRId32, w->unit, e->physical_offset, m.queue_offset,
                   (int)(m.topic.n < 128 ? m.topic.n : 128), m.topic.p, m.queue_id);
    else
        check_code(w, e, &m);
}

static void check_unit(struct walk *w, const struct store_entry *e)
{
    struct check *c = w->c;

    if (e->physical_offset == 0 && e->size == 0 && e->tags_code == 0) {
        w->hole = w->hole < 0 ? w->unit : w->hole;
        return;
    }
    if (w->hole >= 0)
        check_find(c, w->path, place(w, w->hole > w->base ? w->hole : w->base),
                   "units %" PRId64 " to %" PRId64 " were not written, and others follow", w->hole, w->unit - 1);
    w->hole = -1;
    w->end = w->unit + 1;
    c->r->units++;
    if (unit_is_blank(e))
        return;
    if (!unit_written(e))
        check_find(c, w->path, place(w, w->unit), "unit %" PRId64 " is none: offset %" PRId64 ", size %" PRId32, w->unit,
                   e->physical_offset, (int32_t)e->size);
    else if (e->physical_offset <= w->last)
        check_find(c, w->path, place(w, w->unit), "unit %" PRId64 " names log offset %" PRId64
                   ", not behind %" PRId64 " of the one before it", w->unit, e->physical_offset, w->last);
    else if (e->size > c->r->log_end || e->physical_offset > c->r->log_end - e->size)
        check_find(c, w->path, place(w, w->unit), "unit %" PRId64 " names log offset %" PRId64
                   ", and the log ends at %" PRId64, w->unit, e->physical_offset, c->r->log_end);
    else {
        w->last = e->physical_offset;
        if (e->physical_offset >= c->r->log_min && (w->unit < w->sure_from || w->unit >= w->sure_to))
            check_named(w, e);
    }
}

static int walk_file(struct walk *w, const struct check_file *x)
{
    unsigned char raw[READ_UNITS * UNIT_SIZE];
    int fd = open(x->path, O_RDONLY | O_CLOEXEC), rc = 0;
    int64_t units = x->size / UNIT_SIZE;

    if (fd < 0)
        return -errno;
    w->path = x->path;
    w->base = x->base / UNIT_SIZE;
    for (int64_t at = 0; !rc && at < units; at += READ_UNITS) {
        int64_t n = units - at < READ_UNITS ? units - at : READ_UNITS;
        rc = file_read_at(fd, raw, (size_t)n * UNIT_SIZE, at * UNIT_SIZE);
        for (int64_t i = 0; !rc && i < n; i++) {
            struct store_entry e;
            unit_get(raw + i * UNIT_SIZE, &e);
            w->unit = w->base + at + i;
            check_unit(w, &e);
        }
    }
    close(fd);
    return rc;
}

/* What the log has behind the queue's last unit. */
static void check_missing(struct walk *w, const char *dir)
{
    struct check_queue *q = check_queue_get(w->c, w->topic, w->id, false);

    if (!q)
        return;
    q->seen = true;
    if (q->last > w->last && q->end > w->end)
        check_find(w->c, w->path ? w->path : dir, w->path ? place(w, w->end) : 0,
                   "units %" PRId64 " to %" PRId64 " are missing: the log has records of them", w->end, q->end - 1);
}

/* The log has its last message, so that its numbers go on where they were. */
static bool can_be_made_again(struct walk *w)
{
    return check_queue_get(w->c, w->topic, w->id, false) && !str_starts(w->topic, "%LMQ%");
}

static int walk_files(struct walk *w, const char *dir)
{
    struct check *c = w->c;
    struct check_files l = {0};
    int rc = check_list(&l, dir);

    check_chain(c, &l);
    check_progress(c, "queues", ++c->r->queues, 0);
    for (int i = 0; !rc && i < l.n; i++) {
        if (l.v[i].base % UNIT_SIZE)
            check_find(c, l.v[i].path, 0, "its name is no multiple of %d", UNIT_SIZE);
        rc = walk_file(w, &l.v[i]);
    }
    if (!rc)
        check_missing(w, dir);
    check_files_free(&l);
    return rc;
}

static int check_queue(struct check *c, const char *dir, struct str topic, int32_t id)
{
    const struct check_queue *q = check_queue_get(c, topic, id, false);
    struct walk w = {.c = c, .topic = topic, .id = id, .hole = -1, .last = -1, .sure_from = q ? q->sure_from : 0,
                     .sure_to = q ? q->sure_to : 0};
    int64_t findings = c->r->findings;
    int rc = check_ext_open(&w.ext, c, topic, id);

    if (!rc)
        rc = walk_files(&w, dir);
    if (c->r->findings > findings) {
        enum check_kind kind = can_be_made_again(&w) ? CHECK_QUEUE : CHECK_QUEUE_ALONE;
        check_bad(c, kind, dir);
        if (w.ext.files.n)               /* it would get all its units again, behind those that are there */
            check_bad(c, kind, w.ext.dir);
    }
    check_ext_close(&w.ext);
    return rc;
}

/* ---- all of them ---- */

struct each {
    struct check *c;
    struct str topic;
    int (*queue)(struct check *c, const char *dir, struct str topic, int32_t id);
};

static int each_name(const char *dir, struct each *e, int (*one)(struct each *e, const char *path, const char *name))
{
    DIR *d = opendir(dir);
    struct dirent *x;
    int rc = 0;

    if (!d)
        return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
    while (!rc && (x = readdir(d))) {
        char path[4096];
        if (strcmp(x->d_name, ".") == 0 || strcmp(x->d_name, "..") == 0)
            continue;
        rc = (size_t)snprintf(path, sizeof path, "%s/%s", dir, x->d_name) >= sizeof path ? -ENAMETOOLONG
           : one(e, path, x->d_name);
    }
    closedir(d);
    return rc;
}

static int on_id(struct each *e, const char *path, const char *name)
{
    int32_t id;

    return str_i32(str_of(name), &id) ? 0 : e->queue(e->c, path, e->topic, id);
}

static int on_topic(struct each *e, const char *path, const char *name)
{
    e->topic = str_of(name);
    return each_name(path, e, on_id);
}

static int each_queue(struct check *c, const char *name,
                      int (*queue)(struct check *c, const char *dir, struct str topic, int32_t id), struct fault *f)
{
    struct each e = {.c = c, .queue = queue};
    char dir[4096];
    int rc = (size_t)snprintf(dir, sizeof dir, "%s/%s", c->o->root, name) >= sizeof dir ? -ENAMETOOLONG
           : each_name(dir, &e, on_topic);

    return rc ? fault_errno(f, -rc, "check %.300s", dir) : 0;
}

/* A queue without a directory, of a topic that nobody has (any more), or had again only after its records. */
static void note_absent(struct check *c)
{
    int64_t queues = 0, records = 0;
    const struct check_queue *one = NULL;
    char text[400];

    for (uint32_t i = 0; i < c->n_buckets; i++)
        for (const struct check_queue *q = c->table[i]; q; q = q->next)
            if (!q->seen) {
                one = q;
                queues++;
                records += q->records;
            }
    if (!one)
        return;
    snprintf(text, sizeof text, "%" PRId64 " records of %" PRId64 " queues that have no files, %.*s/%" PRId32
             " for one: of deleted topics", records, queues,
             one->topic_n < 128 ? one->topic_n : 128, one->topic, one->id);
    c->o->note(c->o->ctx, text);
}

int check_queues(struct check *c, struct fault *f)
{
    int rc = each_queue(c, "consumequeue", check_queue, f);

    if (!rc)
        rc = each_queue(c, "batchconsumequeue", check_batch_queue, f);
    if (!rc && (rc = check_lost(c)))
        fault_errno(f, -rc, "look for lost queues in %.300s", c->o->root);
    if (!rc)
        note_absent(c);
    return rc;
}
