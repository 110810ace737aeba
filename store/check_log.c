/* check_store: the commit log. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/be.h"
#include "store/check_priv.h"
#include "store/consume_queue.h"
#include "store/log_walk.h"

#define GIVE_BACK_BYTES (16 << 20)       /* gone past: the memory of a file's mapping is given back */
#define GIVE_BACK_RECORDS 2048           /* looked up: the kernel brings in 64 KiB with each */

/* ---- which queues the log names ---- */

static uint32_t hash_of(struct str topic, int32_t id)
{
    return (uint32_t)str_java_hash(topic) * 31u + (uint32_t)id * 2654435761u;
}

static int grow(struct check *c)
{
    uint32_t n = c->n_buckets ? c->n_buckets * 2 : 1024;
    struct check_queue **more = calloc(n, sizeof *more);

    if (!more)
        return -ENOMEM;
    for (uint32_t i = 0; i < c->n_buckets; i++)
        for (struct check_queue *q = c->table[i], *next; q; q = next) {
            next = q->next;
            q->next = more[q->hash & (n - 1)];
            more[q->hash & (n - 1)] = q;
        }
    free(c->table);
    c->table = more;
    c->n_buckets = n;
    return 0;
}

struct check_queue *check_queue_get(struct check *c, struct str topic, int32_t id, bool make)
{
    uint32_t h = hash_of(topic, id);
    struct check_queue *q = c->n_buckets ? c->table[h & (c->n_buckets - 1)] : NULL;

    while (q && (q->hash != h || q->id != id || !str_eq(topic, str_n(q->topic, q->topic_n))))
        q = q->next;
    if (q || !make)
        return q;
    if ((c->n_in_table >= c->n_buckets && grow(c)) || !(q = calloc(1, sizeof *q + topic.n)))
        return NULL;
    q->hash = h;
    q->id = id;
    q->topic_n = (uint16_t)topic.n;
    memcpy(q->topic, topic.p, topic.n);
    q->next = c->table[h & (c->n_buckets - 1)];
    c->table[h & (c->n_buckets - 1)] = q;
    c->n_in_table++;
    return q;
}

/* ---- looking at the log's bytes ---- */

static void unmap(struct check *c)
{
    if (c->map)
        munmap(c->map, c->map_n);
    if (c->map_fd >= 0)
        close(c->map_fd);
    c->map = NULL;
    c->map_fd = c->mapped = -1;
}

static int map_file(struct check *c, int i)
{
    void *p;
    int rc;

    if (c->mapped == i)
        return 0;
    unmap(c);
    if ((c->map_fd = open(c->log.v[i].path, O_RDONLY | O_CLOEXEC)) < 0)
        return -errno;
    c->map_n = (size_t)c->log.v[i].size;
    p = c->map_n ? mmap(NULL, c->map_n, PROT_READ, MAP_SHARED, c->map_fd, 0) : NULL;
    if (p == MAP_FAILED) {
        rc = -errno;
        unmap(c);
        return rc;
    }
    c->map = p;
    c->mapped = i;
    c->map_used = 0;
    return 0;
}

void check_log_end(struct check *c)
{
    unmap(c);
    for (uint32_t i = 0; i < c->n_buckets; i++)
        for (struct check_queue *q = c->table[i], *next; q; q = next) {
            next = q->next;
            check_sure_end(q);
            free(q);
        }
    free(c->table);
    c->table = NULL;
    c->n_buckets = 0;
}

/* The log file that holds an offset, -1: none. */
static int file_of(const struct check *c, int64_t offset)
{
    int lo = 0, hi = c->log.n;

    while (lo < hi) {
        int mid = lo + (hi - lo) / 2;
        if (c->log.v[mid].base <= offset)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo && offset - c->log.v[lo - 1].base < c->log.v[lo - 1].size ? lo - 1 : -1;
}

int check_record(struct check *c, int64_t offset, struct message *m)
{
    int i = file_of(c, offset), rc;
    int64_t at;

    if (i < 0)
        return -ENOENT;
    if ((rc = map_file(c, i)))
        return rc;
    if (++c->map_used >= GIVE_BACK_RECORDS) {
        madvise(c->map, c->map_n, MADV_DONTNEED);
        c->map_used = 0;
    }
    at = offset - c->log.v[i].base;
    return message_record_get(c->map + at, c->map_n - (size_t)at, false, m) || m->physical_offset != offset ? -EBADMSG : 0;
}

/* ---- walking ---- */

struct walked {
    struct check *c;
    const struct check_file *x;
};

/* What lies behind is not needed again soon: a log of any size is read in the same memory. */
static void pass(struct check *c, const struct check_file *x, int64_t at)
{
    if (at - c->map_used < GIVE_BACK_BYTES)
        return;
    madvise(c->map, c->map_n, MADV_DONTNEED);
    c->map_used = at;
    check_progress(c, "commit log", x->base + at - c->log.v[0].base,
                   c->log.v[c->log.n - 1].base + c->log.v[c->log.n - 1].size - c->log.v[0].base);
}

static int on_damage(void *ctx, int64_t at, int64_t next, const char *what)
{
    struct walked *w = ctx;

    (void)next;
    check_find(w->c, w->x->path, at, "%s", what);
    check_bad(w->c, CHECK_LOG, w->x->path);
    return 0;
}

static int on_record(void *ctx, int64_t at, const struct message *m)
{
    struct walked *w = ctx;
    struct check *c = w->c;
    struct check_queue *q;

    c->r->records++;
    pass(c, w->x, at);
    if (m->store_timestamp > c->last_time)
        c->last_time = m->store_timestamp;
    if (m->body.n && message_body_crc(m->body) != m->body_crc) {
        check_find(c, w->x->path, at, "the body's CRC is %08" PRIx32 ", and the record says %08" PRIx32
                   " (topic %.*s, queue %" PRId32 ", number %" PRId64 ")", message_body_crc(m->body), m->body_crc,
                   STR_ARG(m->topic), m->queue_id, m->queue_offset);
        check_bad(c, CHECK_LOG, w->x->path);
    }
    if (!is_indexed(m->sys_flag) || m->queue_offset < 0)
        return 0;
    if (!(q = check_queue_get(c, m->topic, m->queue_id, true)))
        return -ENOMEM;
    q->end = m->queue_offset + 1;
    q->last = m->physical_offset;
    q->last_time = m->store_timestamp;
    q->records++;
    check_sure(c, q, m);
    return 0;
}

/* *end: where the log would end, if this is its last file with records. */
static int walk_file(struct check *c, const struct check_file *x, int64_t *end)
{
    struct walked w = {c, x};
    const struct log_walk walk = {.map = c->map, .n = c->map_n, .fd = c->map_fd, .base = x->base, .record = on_record,
                                  .damage = on_damage, .ctx = &w};
    int rc = c->map_n ? log_walk(&walk, 0, end) : 0;

    *end += x->base;
    return rc;
}

int check_log(struct check *c, struct fault *f)
{
    struct check_result *r = c->r;
    int64_t findings = r->findings, end = 0, open_end = -1;
    int rc = 0, open_file = -1;

    check_chain(c, &c->log);
    if (r->findings > findings)
        check_bad(c, CHECK_LOG, c->log.v[0].path);
    r->log_min = r->log_end = c->log.n ? c->log.v[0].base : 0;
    for (int i = 0; !rc && i < c->log.n; i++) {
        const struct check_file *x = &c->log.v[i];
        int64_t before = r->records;
        if ((rc = map_file(c, i)))
            return fault_errno(f, -rc, "open %.300s", x->path);
        if (c->map)
            madvise(c->map, c->map_n, MADV_SEQUENTIAL);
        r->log_files++;
        if ((rc = walk_file(c, x, &end)))
            return fault_errno(f, -rc, "check %.300s", x->path);
        if (r->records == before && end == x->base)
            continue;                    /* made ahead, not used yet */
        if (open_file >= 0) {
            check_find(c, c->log.v[open_file].path, open_end - c->log.v[open_file].base,
                       "the records end here, without a blank, and go on in the next file");
            check_bad(c, CHECK_LOG, c->log.v[open_file].path);
        }
        open_file = end < x->base + x->size ? i : -1;
        open_end = r->log_end = end;
    }
    return 0;
}
