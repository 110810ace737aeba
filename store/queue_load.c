/* What a queue's files hold, found out when the queue is first used: read with
 * pread, so that a store of many queues is not mapped by looking at it. */
#include "store/consume_queue.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/be.h"
#include "common/log.h"

#define SCAN_UNITS 3200              /* 64,000 bytes a read */
#define CRASH_SCAN_FILES 3           /* as far back as Apache looks after a crash */

struct unit_reader {
    const char *dir;
    int64_t file_size, base;
    int fd;
};

static int reader_open(struct unit_reader *r, int64_t base)
{
    char path[4096];
    int rc;

    if (r->fd >= 0 && r->base == base)
        return 0;
    if (r->fd >= 0)
        close(r->fd);
    r->fd = -1;
    if ((rc = mapped_file_path(r->dir, base, path, sizeof path)))
        return rc;
    r->fd = open(path, O_RDONLY | O_CLOEXEC);
    r->base = base;
    return r->fd < 0 ? -errno : 0;
}

static int read_all(int fd, void *p, size_t n, int64_t at)
{
    size_t have = 0;

    while (have < n) {
        ssize_t got = pread(fd, (char *)p + have, n - have, at + (int64_t)have);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? -errno : -EIO;
        have += (size_t)got;
    }
    return 0;
}

static int reader_unit(struct unit_reader *r, int64_t offset, struct store_entry *e)
{
    int64_t at = offset * UNIT_SIZE;
    unsigned char raw[UNIT_SIZE];
    int rc = reader_open(r, at - at % r->file_size);

    if (rc || (rc = read_all(r->fd, raw, sizeof raw, at - r->base)))
        return rc;
    e->physical_offset = (int64_t)be64_get(raw);
    e->size = be32_get(raw + 8);
    e->tags_code = (int64_t)be64_get(raw + 12);
    return 0;
}

static bool unit_written(int64_t physical_offset, int32_t size)
{
    return physical_offset >= 0 && size > 0;
}

/* The first offset in [lo, hi) whose unit `holds` does not accept; units that it accepts come first.
 * -errno below 0. */
static int64_t first_not(struct unit_reader *r, int64_t lo, int64_t hi,
                         bool (*holds)(const struct store_entry *e, int64_t arg), int64_t arg)
{
    while (lo < hi) {
        int64_t mid = lo + (hi - lo) / 2;
        struct store_entry e;
        int rc = reader_unit(r, mid, &e);
        if (rc)
            return rc;
        if (holds(&e, arg))
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static bool is_written(const struct store_entry *e, int64_t unused)
{
    (void)unused;
    return unit_written(e->physical_offset, (int32_t)e->size);
}

static bool is_before(const struct store_entry *e, int64_t log_end)
{
    return unit_is_blank(e) || (e->physical_offset <= log_end && e->size <= log_end - e->physical_offset);
}

static bool is_expired(const struct store_entry *e, int64_t log_min)
{
    return unit_is_blank(e) || e->physical_offset < log_min;
}

/* After a crash single pages may be missing in the middle: the units are looked at one by one. */
static int64_t scan_units(struct unit_reader *r, int64_t from, int64_t end)
{
    unsigned char *chunk = malloc(SCAN_UNITS * UNIT_SIZE);
    int64_t at = from;
    int rc = chunk ? 0 : -ENOMEM;

    while (!rc && at < end) {
        int64_t in_file = at * UNIT_SIZE % r->file_size, n = (r->file_size - in_file) / UNIT_SIZE, i;
        if (n > SCAN_UNITS)
            n = SCAN_UNITS;
        if (n > end - at)
            n = end - at;
        if ((rc = reader_open(r, at * UNIT_SIZE - in_file)) ||
            (rc = read_all(r->fd, chunk, (size_t)n * UNIT_SIZE, in_file)))
            break;
        for (i = 0; i < n; i++) {
            const unsigned char *u = chunk + i * UNIT_SIZE;
            if (!unit_written((int64_t)be64_get(u), (int32_t)be32_get(u + 8)))
                break;
        }
        at += i;
        if (i < n)
            break;
    }
    free(chunk);
    return rc ? rc : at;
}

/* Queue offsets of the first and past the last unit that the files have place for. Where a file is
 * missing in the middle, only those behind it count. */
static void units_range(struct file_list *l, const char *dir, int64_t *first, int64_t *end, int64_t *last_file)
{
    int n = file_list_count(l);

    *first = *last_file = *end = 0;
    for (int i = 0; i < n; i++) {
        int64_t base = file_list_base(l, i);
        if (i > 0 && base != *end * UNIT_SIZE)
            log_error("consume queue %s: files are missing before %020" PRId64 ": the queue starts there", dir, base);
        if (i == 0 || base != *end * UNIT_SIZE)
            *first = base / UNIT_SIZE;
        *last_file = base / UNIT_SIZE;
        *end = (base + l->file_size) / UNIT_SIZE;
    }
}

static int64_t find_max(const struct queue_env *env, struct store_queue *q, struct unit_reader *r, int64_t *first)
{
    int64_t end, last_file, from, max, per = r->file_size / UNIT_SIZE;

    units_range(&q->files, r->dir, first, &end, &last_file);
    if (end == *first)
        return *first;
    from = last_file;
    if (env->after_crash)
        from = last_file - (CRASH_SCAN_FILES - 1) * per < *first ? *first : last_file - (CRASH_SCAN_FILES - 1) * per;
    max = env->after_crash ? scan_units(r, from, end) : first_not(r, from, end, is_written, 0);
    if (max < 0)
        return max;
    return first_not(r, *first, max, is_before, env->log_end);
}

/* What lies behind max must read as never written. */
static int clear_behind(const struct queue_env *env, struct store_queue *q, const char *dir, int64_t max)
{
    struct mapped_file *m = file_list_get(&q->files, dir, max * UNIT_SIZE);
    int64_t first, end;
    int rc;

    file_list_range(&q->files, &first, &end);
    if (!m && end <= max * UNIT_SIZE)
        return 0;
    rc = m ? mapped_file_is_zero_from(m, dir, max * UNIT_SIZE - m->base) : 0;
    mapped_file_unref(m);
    if (rc < 0)
        return rc;
    if (rc == 1 && end - max * UNIT_SIZE <= env->file_size)
        return 0;
    log_warn("consume queue %s: units from offset %" PRId64 " on are torn or point past the commit log's end: dropped",
             dir, max);
    return queue_cut(env, q, max);
}

static int64_t last_unit_time(const struct queue_env *env, struct unit_reader *r, int64_t max)
{
    struct store_entry e;
    int64_t time;

    if (max == 0 || reader_unit(r, max - 1, &e) || unit_is_blank(&e))
        return 0;
    time = commit_log_time_at(env->log, e.physical_offset, e.size);
    return time < 0 ? 0 : time;
}

/* Finds min, max and last time, and repairs the end. q->flushed must be at most what is on disk. */
static int look(struct queue_env *env, struct store_queue *q, struct unit_reader *r)
{
    int64_t first, max = find_max(env, q, r, &first), min;
    int rc;

    if (max < 0)
        return (int)max;
    atomic_store(&q->min, first);
    atomic_store(&q->max, max);
    if (q->flushed > max)
        q->flushed = max;
    q->reserved = max * UNIT_SIZE;
    if ((rc = clear_behind(env, q, r->dir, max)))
        return rc;
    min = first_not(r, first, max, is_expired, commit_log_min(env->log));
    if (min < 0)
        return (int)min;
    atomic_store(&q->min, min);
    atomic_store(&q->last_time, last_unit_time(env, r, max));
    return 0;
}

static int look_in(struct queue_env *env, struct store_queue *q, const char *dir)
{
    struct unit_reader r = {.dir = dir, .file_size = env->file_size, .fd = -1};
    int rc = look(env, q, &r);

    if (r.fd >= 0)
        close(r.fd);
    if (rc)
        log_error("consume queue %s: %s", dir, strerror(-rc));
    return rc;
}

static int load(struct queue_env *env, struct store_queue *q)
{
    char dir[4096];
    struct fault f = {0};
    int rc = queue_dir(env, q, dir, sizeof dir);

    if (!rc && (rc = file_list_load(&q->files, dir, &f)))
        log_error("consume queue: %s", f.text);
    q->flushed = INT64_MAX;
    if (!rc && !(rc = look_in(env, q, dir)))
        return 0;
    file_list_free(&q->files);           /* the next call tries again, from the start */
    file_list_init(&q->files, env->file_size);
    return rc;
}

int queue_load_slow(struct queue_env *env, struct store_queue *q)
{
    int rc = 0;

    pthread_mutex_lock(&env->load_lock);
    if (!atomic_load_explicit(&q->loaded, memory_order_relaxed) && !(rc = load(env, q)))
        atomic_store_explicit(&q->loaded, true, memory_order_release);
    pthread_mutex_unlock(&env->load_lock);
    return rc;
}

int queue_settle(struct queue_env *env, struct store_queue *q)
{
    char dir[4096];
    int rc = queue_dir(env, q, dir, sizeof dir);

    return rc ? rc : look_in(env, q, dir);
}

void queue_correct_min(struct queue_env *env, struct store_queue *q, int64_t log_min)
{
    char dir[4096];
    struct unit_reader r = {.dir = dir, .file_size = env->file_size, .fd = -1};
    int64_t first, end, min;

    if (queue_dir(env, q, dir, sizeof dir))
        return;
    file_list_range(&q->files, &first, &end);
    min = first_not(&r, first / UNIT_SIZE, queue_max(q), is_expired, log_min);
    if (min >= 0)
        atomic_store_explicit(&q->min, min, memory_order_release);
    if (r.fd >= 0)
        close(r.fd);
}
