/* The queue offset for a time, as Apache's ConsumeQueue.binarySearchInQueueByTime
 * and MappedFileQueue.getConsumeQueueMappedFileByTime answer it:
 *
 *   lower: the first message stored at or after the time; none: max; the first
 *          message is later: the first offset of its queue file, which may lie
 *          before min
 *   upper: the last message stored at or before the time; none: 0 */
#include <errno.h>
#include <inttypes.h>

#include "common/bus_guard.h"
#include "common/log.h"
#include "store/store_impl.h"

struct search {
    struct store *s;
    struct store_queue *q;
    int64_t min, max, time;
    bool upper;
    struct unit_cursor units;
    int64_t found;
};

/* Store time of the message at offset; -1 when its record is gone. 0 or -errno. */
static int time_of(struct search *c, int64_t offset, int64_t *out)
{
    struct store_entry e;
    int rc = queue_unit(&c->s->env, c->q, &c->units, offset, &e);

    *out = -1;
    if (!rc && !unit_is_blank(&e) && (*out = commit_log_time_at(&c->s->log, e.physical_offset, e.size)) < 0) {
        rc = (int)*out;
        *out = -1;
    }
    return rc == -ENOENT ? 0 : rc;
}

/* First offset in [min, max) whose message is stored at or after the time (after it, for upper); max when none. A
 * record that is gone counts as earlier than all: only old ones are. 0 or -errno. */
static int first_from(struct search *c, int64_t *out)
{
    int64_t lo = c->min, hi = c->max, at;

    while (lo < hi) {
        int64_t mid = lo + (hi - lo) / 2;
        int rc = time_of(c, mid, &at);
        if (rc)
            return rc;
        if (at < c->time || (c->upper && at == c->time))
            lo = mid + 1;
        else
            hi = mid;
    }
    *out = lo;
    return 0;
}

static int search(void *arg)
{
    struct search *c = arg;
    int64_t per = c->s->env.file_size / UNIT_SIZE, at, time;
    int rc = first_from(c, &at);

    if (rc)
        return rc;
    if (c->upper) {
        c->found = at == c->min ? 0 : at - 1;
        return 0;
    }
    c->found = at;
    /* Apache looks in one file, and answers with the file's start when all that it holds is later. Only the
     * queue's first message can be the first of such a file without being its first unit. */
    if (at == c->min && at < c->max && !(rc = time_of(c, at, &time)) && time > c->time)
        c->found = at - at % per;
    return rc;
}

int64_t store_offset_at_time(struct store *s, struct store_queue *q, int64_t timestamp_ms, bool is_upper)
{
    struct search c = {.s = s, .q = q, .time = timestamp_ms, .upper = is_upper};
    char why[BUS_WHY_SIZE];
    int rc = queue_load(&s->env, q);

    if (rc)
        return rc;
    queue_maps_trim(&s->maps, &s->append_lock);
    c.min = queue_min(q);
    c.max = queue_max(q);
    if (c.min == c.max)
        return 0;
    if ((rc = bus_guarded(search, &c)))
        log_error("offset at a time in queue %s/%" PRId32 ": %s", q->topic, q->id,
                  rc == -EIO ? bus_why(why, sizeof why) : "the log or the queue cannot be read");
    unit_cursor_end(&c.units);
    return rc ? rc : c.found;
}
