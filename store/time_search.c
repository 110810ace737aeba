/* The queue offset for a time, as Apache's ConsumeQueue.binarySearchInQueueByTime
 * and MappedFileQueue.getConsumeQueueMappedFileByTime answer it:
 *
 *   lower: the first message stored at or after the time; none: max; the first
 *          message is later: the first offset of its queue file, which may lie
 *          before min
 *   upper: the last message stored at or before the time; none: 0 */
#include "store/store_impl.h"

struct search {
    struct store *s;
    struct store_queue *q;
    struct unit_cursor units;
};

/* Store time of the message at offset; -1 when its record cannot be read. */
static int64_t time_of(struct search *c, int64_t offset)
{
    struct store_entry e;

    if (queue_unit(&c->s->env, c->q, &c->units, offset, &e) || unit_is_blank(&e))
        return -1;
    return commit_log_time_at(&c->s->log, e.physical_offset, e.size);
}

/* First offset in [lo, hi) whose message is stored at or after t (after t, when past); hi when none. A record
 * that is gone counts as earlier than all: only old ones are. */
static int64_t first_from(struct search *c, int64_t lo, int64_t hi, int64_t t, bool past)
{
    while (lo < hi) {
        int64_t mid = lo + (hi - lo) / 2, at = time_of(c, mid);
        if (at < t || (past && at == t))
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static int64_t lower(struct search *c, int64_t min, int64_t max, int64_t t)
{
    int64_t per = c->s->env.file_size / UNIT_SIZE, at = first_from(c, min, max, t, false);
    int64_t file = at - at % per;

    /* Apache looks in one file, and answers with the file's start when all that it holds is later. Only the
     * queue's first message can be the first of such a file without being its first unit. */
    if (at == min && at < max && time_of(c, at) > t)
        return file;
    return at;
}

static int64_t upper(struct search *c, int64_t min, int64_t max, int64_t t)
{
    int64_t at = first_from(c, min, max, t, true);

    return at == min ? 0 : at - 1;
}

int64_t store_offset_at_time(struct store *s, struct store_queue *q, int64_t timestamp_ms, bool is_upper)
{
    struct search c = {s, q, {0}};
    int64_t min, max, at;

    if (queue_load(&s->env, q))
        return 0;
    queue_maps_trim(&s->maps, &s->append_lock);
    min = queue_min(q);
    max = queue_max(q);
    if (min == max)
        return 0;
    at = is_upper ? upper(&c, min, max, timestamp_ms) : lower(&c, min, max, timestamp_ms);
    unit_cursor_end(&c.units);
    return at;
}
