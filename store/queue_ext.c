#include "store/queue_ext.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/be.h"
#include "common/bus_guard.h"
#include "common/file.h"
#include "common/log.h"
#include "store/queue_maps.h"
#include "store/unit_reader.h"

struct queue_ext {
    struct file_list files;
    bool writes;                         /* constant: units are added */
    bool broken;                         /* constant: the files cannot be used */
    _Atomic bool new_files;              /* directories to be synced */
    struct mapped_file *tail;            /* where the last unit went, owned by files; append lock */
    _Atomic int64_t end;                 /* where the next unit goes; written under the append lock, as: */
    _Atomic int64_t reserved;            /* bytes with disk space up to here */
    int64_t flushed;                     /* on disk up to here; the flusher, and who cuts */
};

/* ---- a unit ---- */

int ext_unit_get(const void *p, size_t n, struct ext_unit *u)
{
    int16_t size = n < 2 ? 0 : (int16_t)be16_get(p);

    if (size <= 0)
        return -ENOENT;
    if (size < EXT_UNIT_MIN || (size_t)size > n || (int16_t)be16_get((const char *)p + 18) != size - EXT_UNIT_MIN)
        return -EBADMSG;
    u->size = size;
    u->tags_code = (int64_t)be64_get((const char *)p + 2);
    u->store_time = (int64_t)be64_get((const char *)p + 10);
    return 0;
}

void ext_unit_put(void *p, int64_t tags_code, int64_t store_time)
{
    char *at = p;

    be16_put(at, EXT_UNIT_MIN);
    be64_put(at + 2, (uint64_t)tags_code);
    be64_put(at + 10, (uint64_t)store_time);
    be16_put(at + 18, 0);
}

/* ---- where things are ---- */

int queue_ext_dir(const struct queue_env *env, const struct store_queue *q, char *out, size_t cap)
{
    int n = env->ext_root ? snprintf(out, cap, "%s/%s/%" PRId32, env->ext_root, q->topic, q->id) : 0;

    return n == 0 ? -ENOENT : n < 0 || (size_t)n >= cap ? -ENAMETOOLONG : 0;
}

struct file_list *queue_ext_files(struct queue_ext *x) { return &x->files; }

/* The file that holds a byte offset, with a reference. 0 or -errno as file_list_find has it. */
static int ext_file(const struct queue_env *env, struct store_queue *q, int64_t at, struct mapped_file **out)
{
    char dir[4096];
    int rc = queue_ext_dir(env, q, dir, sizeof dir);

    *out = NULL;
    if (!rc && !(rc = file_list_find(&q->ext->files, dir, at, out)))
        queue_maps_add(env->maps, q);
    return rc;
}

int queue_ext_unit(const struct queue_env *env, struct store_queue *q, struct unit_cursor *c, int64_t address,
                   struct ext_unit *u)
{
    int64_t at = ext_offset(address);
    int rc;

    if (!q->ext || q->ext->broken)
        return -ENOENT;
    if (!c->file || at < c->file->base || at - c->file->base >= c->file->size) {
        unit_cursor_end(c);
        if ((rc = ext_file(env, q, at, &c->file)))
            return rc;
    }
    bus_noted();
    rc = ext_unit_get(c->file->map + (at - c->file->base), (size_t)(c->file->size - (at - c->file->base)), u);
    bus_noted();
    return rc ? -ENOENT : 0;
}

struct one_unit {
    const struct queue_env *env;
    struct store_queue *q;
    int64_t address;
    struct ext_unit *out;
    struct unit_cursor c;
};

static int read_unit(void *arg)
{
    struct one_unit *o = arg;

    return queue_ext_unit(o->env, o->q, &o->c, o->address, o->out);
}

int queue_ext_unit_at(const struct queue_env *env, struct store_queue *q, int64_t address, struct ext_unit *u)
{
    struct one_unit o = {env, q, address, u, {0}};
    char why[BUS_WHY_SIZE];
    int rc = bus_guarded(read_unit, &o);

    if (rc == -EIO)
        log_error("extension of consume queue %s/%" PRId32 ": %s", q->topic, q->id, bus_why(why, sizeof why));
    unit_cursor_end(&o.c);
    return rc;
}

/* ---- where the next unit goes ---- */

/* Drops everything from `end` on, and a file's rest reads as never written. */
static int cut(struct queue_ext *x, const char *dir, int64_t end)
{
    int64_t size = x->files.file_size, base = end - end % size, first, last;
    struct mapped_file probe = {.base = base, .size = size};
    int rc = file_list_cut(&x->files, dir, end > base ? base + 1 : base);

    x->tail = NULL;
    atomic_store(&x->end, end);
    atomic_store(&x->reserved, end);
    if (x->flushed > end)
        x->flushed = end;
    file_list_range(&x->files, &first, &last);
    if (rc || last <= end)
        return rc;
    if ((rc = mapped_file_is_zero_from(&probe, dir, end - base)))
        return rc < 0 ? rc : 0;
    log_info("consume queue extension %s: the queue names nothing from %" PRId64 " on: dropped", dir, end);
    return mapped_file_zero_from(&probe, dir, end - base);
}

/* Behind the unit at `at`: that one is kept, readable or not, because the queue names it. */
static int behind(const struct queue_ext *x, const char *dir, int64_t at, int64_t *end)
{
    int64_t size = x->files.file_size, base = at - at % size;
    struct unit_reader r = {.dir = dir, .file_size = size, .fd = -1};
    struct ext_unit u = {.size = EXT_UNIT_MIN};
    unsigned char raw[EXT_UNIT_MIN] = {0};
    int64_t left = size - (at - base);
    int rc = left < EXT_UNIT_MIN ? 0 : reader_open(&r, base);

    if (!rc && left >= EXT_UNIT_MIN && !(rc = file_read_at(r.fd, raw, sizeof raw, at - base))) {
        u.size = (int16_t)be16_get(raw);
        u.size = u.size < EXT_UNIT_MIN ? EXT_UNIT_MIN : u.size;
    }
    reader_close(&r);
    *end = u.size > left - EXT_BLANK ? base + size : at + u.size;
    return rc;
}

/* The furthest offset that the last units with addresses name; -1: there are none. Not just the very last one's: if that
 * is damaged, what its neighbours name must not be written over. */
static int last_named(const struct queue_env *env, struct store_queue *q, int64_t *at)
{
    int64_t first = file_list_base(&q->files, 0) / UNIT_SIZE, from, end, unit = queue_max(q);
    char dir[4096];
    struct unit_reader r = {.dir = dir, .file_size = env->file_size, .fd = -1};
    int rc = queue_dir(env, q, dir, sizeof dir);

    *at = -1;
    file_list_range(&q->ext->files, &from, &end);
    while (!rc && *at < 0 && unit > first) {
        struct store_entry units[READER_UNITS_MAX];
        int n = reader_units_before(&r, first, unit, units);
        if (n < 0)
            rc = n;
        for (int i = 0; i < n; i++) {
            int64_t named = ext_offset(units[i].tags_code);
            if (unit_written(&units[i]) && ext_is_address(units[i].tags_code) && named >= from && named < end && named > *at)
                *at = named;
        }
        unit -= n;
    }
    reader_close(&r);
    return rc;
}

static int find_end(const struct queue_env *env, struct store_queue *q, const char *dir, int64_t *end)
{
    int64_t at, first;
    int rc = last_named(env, q, &at);

    if (!rc && at >= 0)
        return behind(q->ext, dir, at, end);
    /* The queue names none of them, so nobody can say where they end: a new file behind them. */
    file_list_range(&q->ext->files, &first, end);
    return rc;
}

int queue_ext_settle(const struct queue_env *env, struct store_queue *q)
{
    struct queue_ext *x = q->ext;
    int64_t first, end;
    char dir[4096];
    int rc;

    if (!x || x->broken)
        return 0;
    if ((rc = queue_ext_dir(env, q, dir, sizeof dir)))
        return rc;
    file_list_range(&q->files, &first, &end);
    if (queue_max(q) * UNIT_SIZE <= first)
        return cut(x, dir, 0);
    if (!x->writes)
        return 0;
    rc = find_end(env, q, dir, &end);
    return rc ? rc : cut(x, dir, end);
}

/* ---- life ---- */

static void free_ext(struct queue_ext *x)
{
    file_list_free(&x->files);
    free(x);
}

static int load(const struct queue_env *env, struct queue_ext *x, const char *dir)
{
    struct fault f = {0};
    int64_t first, end;
    int rc = file_list_load(&x->files, dir, &f);

    file_list_range(&x->files, &first, &end);
    x->broken = rc == -EINVAL || end > INT64_MAX - UINT32_MAX - x->files.file_size;
    if (x->broken)
        log_error("consume queue extension %s cannot be used: %s", dir, rc ? f.text : "its files end where no address reaches");
    else if (rc)
        log_error("consume queue extension %s: %s", dir, f.text);
    x->writes = env->ext_write && !x->broken;
    return x->broken ? 0 : rc;
}

int queue_ext_open(const struct queue_env *env, struct store_queue *q)
{
    struct queue_ext *x;
    char dir[4096];
    int rc;

    if (!env->ext_root)
        return 0;
    if ((rc = queue_ext_dir(env, q, dir, sizeof dir)))
        return rc;
    if (!(x = calloc(1, sizeof *x)))
        return -ENOMEM;
    file_list_init(&x->files, env->ext_file_size, &env->home);
    x->flushed = INT64_MAX;
    if ((rc = load(env, x, dir)) || (!x->writes && file_list_count(&x->files) == 0)) {
        free_ext(x);
        return rc;
    }
    q->ext = x;
    if ((rc = queue_ext_settle(env, q)))
        queue_ext_close(q);
    return rc;
}

void queue_ext_close(struct store_queue *q)
{
    if (q->ext)
        free_ext(q->ext);
    q->ext = NULL;
}

/* ---- writing ---- */

/* Where the file's disk space must reach before n more units can be written from `at` on. */
static int64_t end_after(const struct queue_ext *x, int64_t at, int n)
{
    int64_t size = x->files.file_size, per = (size - EXT_BLANK) / EXT_UNIT_MIN, in = at % size;
    int64_t fit = (size - EXT_BLANK - in) / EXT_UNIT_MIN;

    if (in <= size - EXT_BLANK && n <= fit)
        return at + n * (int64_t)EXT_UNIT_MIN + EXT_BLANK;
    n -= fit > 0 ? (int)fit : 0;
    return at - in + size * (1 + (n - 1) / per) + ((n - 1) % per + 1) * EXT_UNIT_MIN + EXT_BLANK;
}

bool queue_ext_lacks(const struct queue_ext *x, int n, struct file_growth *growth)
{
    growth->from = atomic_load_explicit(&x->reserved, memory_order_relaxed);
    return !queue_ext_ready(x, n);
}

bool queue_ext_ready(const struct queue_ext *x, int n)
{
    return !x->writes || end_after(x, atomic_load_explicit(&x->end, memory_order_relaxed), n) <=
                             atomic_load_explicit(&x->reserved, memory_order_relaxed);
}

void queue_ext_grown(struct queue_ext *x, const struct file_growth *growth)
{
    if (x->reserved == growth->from && growth->to > growth->from)
        x->reserved = growth->to;
    if (growth->made)
        x->new_files = true;
}

static char *place(const struct queue_env *env, struct store_queue *q, int64_t at)
{
    struct queue_ext *x = q->ext;
    char dir[4096];

    if (!x->tail || at < x->tail->base || at - x->tail->base >= x->tail->size) {
        if (ext_file(env, q, at, &x->tail))
            return NULL;
        mapped_file_unref(x->tail);      /* the list keeps it: the last file is never taken away */
    }
    if (!x->tail->writable && (queue_ext_dir(env, q, dir, sizeof dir) || mapped_file_to_write(x->tail, dir)))
        return NULL;
    return x->tail->map + (at - x->tail->base);
}

int64_t queue_ext_put(const struct queue_env *env, struct store_queue *q, int64_t tags_code, int64_t store_time)
{
    struct queue_ext *x = q->ext;
    int64_t at = x->end, size = x->files.file_size, left = size - at % size;
    char *p;

    if (!x->writes)
        return tags_code;
    if (EXT_UNIT_MIN > left - EXT_BLANK) {
        if (!(p = place(env, q, at)))
            return tags_code;
        be16_put(p, UINT16_MAX);
        at += left;
    }
    if (!(p = place(env, q, at)))
        return tags_code;
    ext_unit_put(p, tags_code, store_time);
    atomic_store_explicit(&x->end, at + EXT_UNIT_MIN, memory_order_release);
    return ext_address(at);
}

void queue_ext_leave(struct queue_ext *x) { x->tail = NULL; }

int queue_ext_unmap(struct queue_ext *x)
{
    x->tail = NULL;
    return file_list_unmap(&x->files);
}

/* ---- syncing ---- */

void queue_ext_doubt(struct store_queue *q, int64_t address)
{
    struct queue_ext *x = q->ext;

    if (!x || x->flushed <= ext_offset(address))
        return;
    x->flushed = ext_offset(address);
    x->new_files = true;
}

static int sync_directories(const struct queue_env *env, const struct store_queue *q, const char *dir)
{
    char topic[4096];
    int n = snprintf(topic, sizeof topic, "%s/%s", env->ext_root, q->topic), rc;

    if (n < 0 || (size_t)n >= sizeof topic)
        return -ENAMETOOLONG;
    if ((rc = dir_sync(dir)) || (rc = dir_sync(topic)))
        return rc;
    return dir_sync(env->ext_root);
}

static int sync_files(const struct queue_env *env, struct store_queue *q, int64_t from, int64_t end)
{
    struct file_list *l = &q->ext->files;
    int rc = 0;

    for (int64_t at = from; !rc && at < end; at += l->file_size - at % l->file_size) {
        struct mapped_file *m;
        if ((rc = ext_file(env, q, at, &m))) {
            rc = rc == -ENOENT ? 0 : rc;     /* retention took it, or a cut */
            continue;
        }
        rc = mapped_file_sync(m, at - m->base, (end - m->base < m->size ? end - m->base : m->size));
        mapped_file_unref(m);
    }
    return rc;
}

int queue_ext_sync(const struct queue_env *env, struct store_queue *q)
{
    struct queue_ext *x = q->ext;
    int64_t end = atomic_load_explicit(&x->end, memory_order_acquire);
    char dir[4096];
    int rc = 0;

    if (!x->writes || (rc = queue_ext_dir(env, q, dir, sizeof dir)))
        return rc;
    if ((rc = sync_files(env, q, x->flushed < end ? x->flushed : end, end)))
        return rc;
    if (atomic_exchange(&x->new_files, false) && !atomic_load(&q->dead) && (rc = sync_directories(env, q, dir))) {
        atomic_store(&x->new_files, true);
        return rc;
    }
    x->flushed = end;
    return 0;
}
