/* What of a queue's files is in memory, and bringing it there: for those who may not wait for the disk. */
#include <errno.h>
#include <inttypes.h>

#include "common/bus_guard.h"
#include "common/clock.h"
#include "common/log.h"
#include "store/queue_maps.h"
#include "store/store_impl.h"

#define BRING_UNITS 8192             /* 160 KiB of them: what the next pulls will ask for */
#define SEEN_UNITS 4096              /* 20 pages of them: asked about at a time */
#define PAGE 4096
#define TAIL_UNITS 204               /* a page of them: written or looked at just now */

/* The part of units [from, end) that lies in one file. */
struct piece {
    struct mapped_file *file;        /* a reference */
    char *p;
    size_t n;
};

static void take_piece(struct piece *x, int64_t from, int64_t end)
{
    int64_t in_file = from * UNIT_SIZE - x->file->base, n = (end - from) * UNIT_SIZE;

    x->p = x->file->map + in_file;
    x->n = (size_t)(n < x->file->size - in_file ? n : x->file->size - in_file);
}

static bool is_near(struct store_queue *q, int64_t from, int64_t end)
{
    bool near = true;

    while (near && from < end) {
        struct piece x = {file_list_peek(&q->files, from * UNIT_SIZE), NULL, 0};
        if (!x.file)
            return false;
        take_piece(&x, from, end);
        near = mapped_is_resident(x.p, x.n);
        from += (int64_t)x.n / UNIT_SIZE;
        mapped_file_unref(x.file);
    }
    return near;
}

/* ---- what was seen a moment ago: a question to the kernel costs as much as to read three messages ---- */

static int64_t page_of(int64_t offset) { return offset * UNIT_SIZE / PAGE; }

/* page << 24 | pages << 16 | the second, low bits */
static bool was_seen(struct store_queue *q, int64_t from, int64_t end, int64_t second)
{
    uint64_t seen = atomic_load_explicit(&q->seen, memory_order_relaxed);
    int64_t page = (int64_t)(seen >> 24), pages = seen >> 16 & 0xff;

    return (seen & 0xffff) == (uint64_t)(second & 0xffff) && page_of(from) >= page && page_of(end - 1) < page + pages;
}

static bool look(struct store_queue *q, int64_t from, int64_t end, int64_t max, int64_t second)
{
    int64_t ahead = from + SEEN_UNITS < max ? from + SEEN_UNITS : max;

    if (ahead <= end || !is_near(q, from, ahead))
        return is_near(q, from, end);
    atomic_store_explicit(&q->seen, (uint64_t)page_of(from) << 24 | (uint64_t)(page_of(ahead - 1) - page_of(from) + 1) << 16 |
                          (uint64_t)(second & 0xffff), memory_order_relaxed);
    return true;
}

bool store_queue_near(struct store_queue *q, int64_t offset, int n)
{
    int64_t min, max, end, second;

    if (!atomic_load_explicit(&q->loaded, memory_order_acquire))
        return false;
    min = queue_min(q);
    max = queue_max(q);
    if (offset < min || offset >= max || max - offset <= TAIL_UNITS)
        return true;
    if (q->ext)
        return false;
    end = max - offset < n ? max : offset + n;
    second = mono_ms() / 1000;
    return was_seen(q, offset, end, second) || look(q, offset, end, max, second);
}

int store_queue_bring(struct store *s, struct store_queue *q, int64_t offset)
{
    int64_t end, max;
    int rc = queue_load(&s->env, q);

    max = queue_max(q);
    if (rc || offset < queue_min(q) || offset >= max)
        return rc;
    end = max - offset < BRING_UNITS ? max : offset + BRING_UNITS;
    queue_maps_trim(&s->maps, &s->append_lock);
    while (offset < end) {
        struct piece x = {NULL, NULL, 0};
        char why[BUS_WHY_SIZE];
        if ((rc = queue_file_at(&s->env, q, offset, &x.file)))
            return rc == -ENOENT ? 0 : rc;           /* retention came by */
        take_piece(&x, offset, end);
        if ((rc = mapped_touch(x.p, x.n)))
            log_error("read consume queue %s/%" PRId32 " at %" PRId64 ": %s", q->topic, q->id, offset,
                      bus_why(why, sizeof why));
        mapped_file_unref(x.file);
        if (rc)
            return rc;
        offset += (int64_t)x.n / UNIT_SIZE;
    }
    return 0;
}
