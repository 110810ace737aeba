/* check_store: the batch consume queues, one unit a batch, of topics with queue.type=BatchCQ. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "common/file.h"
#include "store/check_priv.h"
#include "store/foreign.h"

#define READ_UNITS 256

struct walk {
    struct check *c;
    struct str topic;
    int32_t id;
    const char *path;
    int64_t at;                          /* place of the unit in its file */
    int64_t last, next;                  /* log offset of the unit before; its base and messages; -1: none */
    bool over;                           /* a unit that was not written */
};

static void check_named(struct walk *w, const char *p)
{
    int64_t offset = fixed_get(&batch_unit, p, BATCH_OFFSET), base = fixed_get(&batch_unit, p, BATCH_BASE);
    int64_t size = fixed_get(&batch_unit, p, BATCH_SIZE), code = fixed_get(&batch_unit, p, BATCH_TAGS);
    int64_t time = fixed_get(&batch_unit, p, BATCH_TIME);
    struct check *c = w->c;
    struct message m;

    if (check_record(c, offset, &m))
        check_find(c, w->path, w->at, "a batch unit names log offset %" PRId64 ", where no record is", offset);
    else if (m.size != size)
        check_find(c, w->path, w->at, "a batch unit says %" PRId64 " bytes, the record at %" PRId64 " has %" PRIu32, size,
                   offset, m.size);
    else if (!str_eq(m.topic, w->topic) || m.queue_id != w->id || m.queue_offset != base)
        check_find(c, w->path, w->at, "a batch unit of number %" PRId64 " names the record at %" PRId64
                   ", which is number %" PRId64 " of %.*s/%" PRId32, base, offset, m.queue_offset,
                   (int)(m.topic.n < 128 ? m.topic.n : 128), m.topic.p, m.queue_id);
    else if (m.store_timestamp != time || message_tags_code(m.properties) != code)
        check_find(c, w->path, w->at, "a batch unit has the tag code %" PRId64 " and store time %" PRId64
                   ", its record's are %" PRId64 " and %" PRId64, code, time, message_tags_code(m.properties),
                   m.store_timestamp);
}

static void check_unit(struct walk *w, const char *p)
{
    int64_t offset = fixed_get(&batch_unit, p, BATCH_OFFSET), size = fixed_get(&batch_unit, p, BATCH_SIZE);
    int64_t base = fixed_get(&batch_unit, p, BATCH_BASE), count = fixed_get(&batch_unit, p, BATCH_COUNT);
    struct check *c = w->c;

    if (offset == 0 && size == 0 && count == 0) {
        w->over = true;
        return;
    }
    c->r->units++;
    if (w->over)
        check_find(c, w->path, w->at, "a batch unit behind some that were not written");
    w->over = false;
    if (offset < 0 || size <= 0 || base < 0 || count <= 0)
        check_find(c, w->path, w->at, "no batch unit: offset %" PRId64 ", size %" PRId64 ", base %" PRId64 ", messages %"
                   PRId64, offset, size, base, count);
    else if (offset <= w->last || (w->next >= 0 && base != w->next))
        check_find(c, w->path, w->at, "a batch unit with log offset %" PRId64 " and base %" PRId64
                   " does not go on behind %" PRId64 " and %" PRId64, offset, base, w->last, w->next);
    else if (size > c->r->log_end || offset > c->r->log_end - size)
        check_find(c, w->path, w->at, "a batch unit names log offset %" PRId64 ", and the log ends at %" PRId64, offset,
                   c->r->log_end);
    else {
        w->last = offset;
        w->next = base + count;
        if (offset >= c->r->log_min)
            check_named(w, p);
    }
}

static int walk_file(struct walk *w, const struct check_file *x)
{
    char raw[READ_UNITS * 46];
    int fd = open(x->path, O_RDONLY | O_CLOEXEC), rc = 0;
    int64_t step = READ_UNITS * (int64_t)batch_unit.size;

    if (fd < 0)
        return -errno;
    w->path = x->path;
    for (int64_t from = 0; !rc && from < x->size; from += step) {
        int64_t n = x->size - from < step ? x->size - from : step;
        rc = file_read_at(fd, raw, (size_t)n, from);
        for (int64_t i = 0; !rc && i + batch_unit.size <= n; i += batch_unit.size) {
            w->at = from + i;
            check_unit(w, raw + i);
        }
    }
    close(fd);
    return rc;
}

int check_batch_queue(struct check *c, const char *dir, struct str topic, int32_t id)
{
    struct walk w = {.c = c, .topic = topic, .id = id, .last = -1, .next = -1};
    struct check_queue *q = check_queue_get(c, topic, id, false);
    struct check_files l = {0};
    int64_t findings = c->r->findings;
    int rc = check_list(&l, dir);

    check_chain(c, &l);
    check_progress(c, "queues", ++c->r->queues, 0);
    for (int i = 0; !rc && i < l.n; i++)
        rc = walk_file(&w, &l.v[i]);
    if (!rc && q) {
        q->seen = true;
        if (q->last > w.last)
            check_find(c, w.path ? w.path : dir, 0, "batch units are missing: the log has records up to %" PRId64
                       ", the last unit names %" PRId64, q->last, w.last);
    }
    check_files_free(&l);
    if (c->r->findings > findings)
        check_bad(c, CHECK_BATCH_QUEUE, dir);
    return rc;
}
