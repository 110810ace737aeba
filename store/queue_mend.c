/* Units that are torn in the middle of a queue (a page that power loss took, a
 * flipped bit): the records they stood for lie in the log between those of the
 * units around them. */
#include "store/unit_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

#include "common/bus_guard.h"
#include "common/file.h"
#include "common/log.h"

/* What was written is on disk. Going to another file does it too: the checkpoint will vouch for these units, so no
 * later recovery looks at them again. */
static int reader_sync(struct unit_reader *r)
{
    if (r->fd < 0 || !r->dirty)
        return 0;
    r->dirty = false;
    return fdatasync(r->fd) < 0 ? -errno : 0;
}

int reader_open(struct unit_reader *r, int64_t base)
{
    char path[4096];
    int rc;

    if (r->fd >= 0 && r->base == base)
        return 0;
    rc = reader_sync(r);
    reader_close(r);
    if (rc || (rc = mapped_file_path(r->dir, base, path, sizeof path)))
        return rc;
    r->fd = open(path, O_RDWR | O_CLOEXEC);
    if (r->fd < 0 && errno == EROFS)     /* then nothing is mended */
        r->fd = open(path, O_RDONLY | O_CLOEXEC);
    r->base = base;
    return r->fd < 0 ? -errno : 0;
}

void reader_close(struct unit_reader *r)
{
    if (r->fd >= 0)
        close(r->fd);
    r->fd = -1;
    r->dirty = false;
}

int reader_unit(struct unit_reader *r, int64_t offset, struct store_entry *e)
{
    int64_t at = offset * UNIT_SIZE;
    unsigned char raw[UNIT_SIZE];
    int rc = reader_open(r, at - at % r->file_size);

    if (!rc && !(rc = file_read_at(r->fd, raw, sizeof raw, at - r->base)))
        unit_get(raw, e);
    return rc;
}

static int write_unit(struct unit_reader *r, int64_t offset, const struct store_entry *e)
{
    int64_t at = offset * UNIT_SIZE;
    unsigned char raw[UNIT_SIZE];
    ssize_t n;
    int rc = reader_open(r, at - at % r->file_size);

    if (rc)
        return rc;
    unit_put(raw, e);
    r->dirty = true;
    n = pwrite(r->fd, raw, sizeof raw, at - r->base);
    return n == (ssize_t)sizeof raw ? 0 : n >= 0 ? -EIO : errno == EBADF ? -EROFS : -errno;
}

struct mend {
    const struct queue_env *env;
    struct store_queue *q;
    struct unit_reader *r;
    int64_t from, to;                    /* the units that are missing */
    int64_t found;
};

static int take(struct mend *c, const struct message *m)
{
    struct store_entry e = {m->physical_offset, m->size, queue_tags_code(c->env, c->q, m)};

    if (m->queue_id != c->q->id || m->queue_offset < c->from || m->queue_offset >= c->to ||
        !str_eq(m->topic, queue_topic(c->q)) || !is_indexed(m->sys_flag))
        return 0;
    c->found++;
    return write_unit(c->r, m->queue_offset, &e);
}

struct log_part {
    struct mend *c;
    int (*take)(struct mend *c, const struct message *m);
    const struct mapped_file *file;
    int64_t at, end;
};

/* Looks at the records of one log file in [at, end). 0, or -errno of a write; stops at what is no record. */
static int take_from_file(void *arg)
{
    struct log_part *p = arg;
    const struct mapped_file *file = p->file;
    int64_t at = p->at;
    int rc = 0;

    while (!rc && at < p->end && at - file->base < file->size) {
        struct message m;
        if (message_record_get(file->map + (at - file->base), (size_t)(file->size - (at - file->base)), false, &m) ||
            m.physical_offset != at)
            break;
        rc = p->take(p->c, &m);
        at += m.size;
    }
    return rc;
}

/* Has each record of the log in [at, end) taken; a file that is gone ends it. 0 or -errno: what a disk does not give is not
 * taken for missing. */
static int each_record(struct mend *c, int64_t at, int64_t end,
                       int (*take_one)(struct mend *c, const struct message *m))
{
    struct commit_log *l = c->env->log;
    char why[BUS_WHY_SIZE];
    int rc = 0;

    while (!rc && at < end && c->from < c->to) {
        struct log_part p = {c, take_one, NULL, at, end};
        struct mapped_file *file;
        if ((rc = file_list_find(&l->files, l->dir, at, &file)))
            return rc == -ENOENT ? 0 : rc;
        p.file = file;
        if ((rc = bus_guarded(take_from_file, &p)) == -EIO)
            log_error("consume queue %s, made again from the log: %s", c->r->dir, bus_why(why, sizeof why));
        at = file->base + file->size;
        mapped_file_unref(file);
    }
    return rc;
}

/* What the log does not have. Last, so that a run that failed in between is looked at again. */
static int fill_missing(struct mend *c)
{
    static const struct store_entry blank = {.size = UNIT_BLANK_SIZE};
    int rc = 0;

    for (int64_t k = c->from; !rc && k < c->to; k++) {
        struct store_entry e;
        rc = reader_unit(c->r, k, &e);
        if (!rc && !unit_written(&e))
            rc = write_unit(c->r, k, &blank);
    }
    return rc;
}

/* The log from one neighbour's record to the other's. */
static int mend_run(struct mend *c, int64_t at, int64_t end)
{
    int rc = each_record(c, at, end, take);

    if (rc || (rc = fill_missing(c)))
        return rc;
    log_warn("consume queue %s: units %" PRId64 " to %" PRId64 " were torn; %" PRId64 " of them made again from the log",
             c->r->dir, c->from, c->to - 1, c->found);
    return 0;
}

/* Where the record behind the unit before `offset` begins; the log's start when there is none. */
static int after_neighbour(struct mend *c, int64_t first, int64_t offset, int64_t *at)
{
    struct store_entry e = {.size = UNIT_BLANK_SIZE};
    int rc = offset > first ? reader_unit(c->r, offset - 1, &e) : 0;

    *at = unit_is_blank(&e) ? commit_log_min(c->env->log) : e.physical_offset + e.size;
    return rc;
}

int queue_mend(const struct queue_env *env, struct store_queue *q, struct unit_reader *r, int64_t first, int64_t from,
               int64_t last)
{
    struct mend c = {.env = env, .q = q, .r = r, .from = -1};
    int rc = 0;

    for (int64_t k = from; !rc && k <= last; k++) {
        struct store_entry e;
        int64_t at;
        if ((rc = reader_unit(r, k, &e)))
            break;
        if (!unit_written(&e)) {
            c.from = c.from < 0 ? k : c.from;
            continue;
        }
        if (c.from < 0)
            continue;
        c.to = k;
        c.found = 0;
        if (!(rc = after_neighbour(&c, first, c.from, &at)))
            rc = mend_run(&c, at, e.physical_offset);
        c.from = -1;
    }
    return rc ? rc : reader_sync(r);
}

/* The one that the queue goes on with. */
static int take_next(struct mend *c, const struct message *m)
{
    int rc = m->queue_offset == c->from && c->from < c->to ? take(c, m) : 0;

    if (!rc && c->found) {
        c->found = 0;
        c->from++;
    }
    return rc;
}

int64_t queue_catch_up(const struct queue_env *env, struct store_queue *q, struct unit_reader *r, int64_t first,
                       int64_t from, int64_t to)
{
    struct mend c = {.env = env, .q = q, .r = r, .from = from, .to = to};
    int64_t at;
    int rc = after_neighbour(&c, first, from, &at);

    if (!rc)
        rc = each_record(&c, at, commit_log_max(env->log), take_next);
    if (!rc)
        rc = reader_sync(r);
    log_warn("consume queue %s: a file was cut; %" PRId64 " units made again from the log", r->dir, c.from - from);
    return rc ? rc : c.from;
}
