/* check_store: queue units compared with their records in the log's order, while the log is walked. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "store/check_priv.h"
#include "store/consume_queue.h"

#define AHEAD_UNITS 64
#define AHEAD_QUEUES 32768               /* 44 MB; the units of more queues are looked up one by one later */

struct check_ahead {
    int64_t file_size;                   /* of the queue's files */
    int64_t first;                       /* number of the first unit read */
    int n;
    char raw[AHEAD_UNITS * UNIT_SIZE];
};

void check_sure_end(struct check_queue *q)
{
    free(q->ahead);
    q->ahead = NULL;
}

static int dir_of(const struct check *c, const struct check_queue *q, char out[4096])
{
    return snprintf(out, 4096, "%s/consumequeue/%.*s/%" PRId32, c->o->root, q->topic_n, q->topic, q->id) < 4096 ? 0
         : -ENAMETOOLONG;
}

static struct check_ahead *ahead_new(struct check *c, const struct check_queue *q)
{
    struct check_files l = {0};
    struct check_ahead *a = NULL;
    char dir[4096];

    if (c->n_ahead >= AHEAD_QUEUES || dir_of(c, q, dir))
        return NULL;
    if (check_list(&l, dir) == 0 && l.n && l.v[0].size >= UNIT_SIZE && l.v[0].size % UNIT_SIZE == 0 &&
        (a = calloc(1, sizeof *a))) {
        a->file_size = l.v[0].size;
        c->n_ahead++;
    }
    check_files_free(&l);
    return a;
}

/* Units from that one on, as far as its file goes. */
static void read_ahead(const struct check *c, const struct check_queue *q, int64_t unit)
{
    struct check_ahead *a = q->ahead;
    int64_t at, base;
    char path[4096 + 32], dir[4096];
    ssize_t got;
    int fd;

    a->first = unit;
    a->n = 0;
    if (unit > INT64_MAX / UNIT_SIZE || dir_of(c, q, dir))
        return;
    at = unit * UNIT_SIZE;
    base = at - at % a->file_size;
    snprintf(path, sizeof path, "%s/%020" PRId64, dir, base);
    if ((fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
        return;
    got = pread(fd, a->raw, sizeof a->raw, at - base);
    close(fd);
    a->n = got > 0 ? (int)(got / UNIT_SIZE) : 0;
}

static bool unit_says(const struct check *c, const struct check_queue *q, const struct message *m)
{
    struct check_ahead *a = q->ahead;
    struct store_entry e;

    if (m->queue_offset < a->first || m->queue_offset - a->first >= a->n)
        read_ahead(c, q, m->queue_offset);
    if (!a->n)
        return false;
    unit_get(a->raw + (m->queue_offset - a->first) * UNIT_SIZE, &e);
    return e.physical_offset == m->physical_offset && e.size == m->size &&
           e.tags_code == message_tags_code(m->properties);
}

void check_sure(struct check *c, struct check_queue *q, const struct message *m)
{
    bool begins = q->sure_from == q->sure_to;

    if (!begins && m->queue_offset != q->sure_to)
        return;
    if (!q->ahead && (!begins || q->records > 1 || !(q->ahead = ahead_new(c, q))))
        return;
    if (!unit_says(c, q, m))
        return;
    if (begins)
        q->sure_from = m->queue_offset;
    q->sure_to = m->queue_offset + 1;
}
