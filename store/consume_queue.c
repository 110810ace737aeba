/* Writing, reading and syncing a queue that is loaded; queue_load.c does the rest. */
#include "store/queue_maps.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/be.h"
#include "common/bus_guard.h"
#include "common/file.h"
#include "common/log.h"
#include "common/names.h"

struct store_queue *queue_new(const struct queue_env *env, struct str topic, int32_t id, uint32_t hash)
{
    struct store_queue *q = calloc(1, sizeof *q + topic.n + 1);

    if (!q)
        return NULL;
    q->hash = hash;
    q->id = id;
    q->topic_n = (uint16_t)topic.n;
    memcpy(q->topic, topic.p, topic.n);
    q->is_schedule = str_is(topic, TOPIC_SCHEDULE);
    file_list_init(&q->files, env->file_size, &env->home);
    return q;
}

void queue_free(struct store_queue *q)
{
    file_list_free(&q->files);
    queue_ext_close(q);
    free(q);
}

bool queue_can_be_named(struct str topic)
{
    return topic.n > 0 && topic.n <= NAME_MAX && !memchr(topic.p, '/', topic.n) && !memchr(topic.p, 0, topic.n) &&
           !str_is(topic, ".") && !str_is(topic, "..");
}

int queue_dir_of(const struct queue_env *env, struct str topic, int32_t id, char *out, size_t cap)
{
    int n = snprintf(out, cap, "%s/%.*s/%" PRId32, env->root, STR_ARG(topic), id);

    if (!queue_can_be_named(topic))
        return -EINVAL;
    return n < 0 || (size_t)n >= cap ? -ENAMETOOLONG : 0;
}

int queue_dir(const struct queue_env *env, const struct store_queue *q, char *out, size_t cap)
{
    return queue_dir_of(env, queue_topic(q), q->id, out, cap);
}

/* The file that holds a byte offset, with a reference. 0 or -errno as file_list_find has it. */
static int queue_file(const struct queue_env *env, struct store_queue *q, const char *dir, int64_t at,
                      struct mapped_file **out)
{
    int rc = file_list_find(&q->files, dir, at, out);

    if (!rc)
        queue_maps_add(env->maps, q);
    return rc;
}

/* ---- room ---- */

bool queue_lacks(struct store_queue *q, int n, struct queue_growth *g)
{
    *g = (struct queue_growth){.of.from = q->reserved};
    if ((queue_max(q) + n) * UNIT_SIZE > g->of.from)
        return true;
    g->ext = true;
    return q->ext && queue_ext_lacks(q->ext, n, &g->of);
}

int queue_grow(const struct queue_env *env, struct store_queue *q, struct queue_growth *g, struct fault *f)
{
    char dir[4096];
    int rc = g->ext ? queue_ext_dir(env, q, dir, sizeof dir) : queue_dir(env, q, dir, sizeof dir);

    if (rc)
        return fault_errno(f, -rc, "name of consume queue %s/%" PRId32, q->topic, q->id);
    rc = file_list_grow(g->ext ? queue_ext_files(q->ext) : &q->files, dir, &g->of, f);
    if (g->of.file)
        queue_maps_add(env->maps, q);
    return rc;
}

void queue_grown(struct store_queue *q, struct queue_growth *g)
{
    if (g->ext) {
        queue_ext_grown(q->ext, &g->of);
    } else {
        if (q->reserved == g->of.from && g->of.to > g->of.from)
            q->reserved = g->of.to;
        q->new_files |= g->of.made;
    }
    mapped_file_unref(g->of.file);       /* the list has it; the last file is never taken away */
    g->of.file = NULL;
}

/* Maps the files of [from, end), which are there: they may have been unmapped since they were grown. */
static int map_tail(const struct queue_env *env, struct store_queue *q, int64_t from, int64_t end, struct fault *f)
{
    char dir[4096];
    int rc = queue_dir(env, q, dir, sizeof dir);

    if (rc)
        return fault_errno(f, -rc, "name of consume queue %s/%" PRId32, q->topic, q->id);
    for (int64_t at = from; at < end; at += env->file_size - at % env->file_size) {
        struct mapped_file *m;
        if ((rc = queue_file(env, q, dir, at, &m)))
            return fault_errno(f, -rc, "map a file of consume queue %s", dir);
        rc = mapped_file_to_write(m, dir);
        if (!rc && at == from)
            q->tail = m;
        mapped_file_unref(m);            /* it stays mapped: that is taken away under the append lock only */
        if (rc)
            return fault_errno(f, -rc, "write to a file of consume queue %s", dir);
    }
    return 0;
}

int queue_room(const struct queue_env *env, struct store_queue *q, int n, struct fault *f)
{
    int64_t at = atomic_load_explicit(&q->max, memory_order_relaxed) * UNIT_SIZE, end = at + n * (int64_t)UNIT_SIZE;
    struct queue_growth g;

    if (end > q->reserved || (q->ext && queue_lacks(q, n, &g)))
        return 1;
    if (q->tail && q->tail->writable && at >= q->tail->base && end - q->tail->base <= q->tail->size)
        return 0;
    return map_tail(env, q, at, end, f);
}

int queue_make_room(const struct queue_env *env, struct store_queue *q, int n, struct fault *f)
{
    int rc;

    while ((rc = queue_room(env, q, n, f)) == 1) {
        struct queue_growth g;
        queue_lacks(q, n, &g);
        rc = queue_grow(env, q, &g, f);
        queue_grown(q, &g);
        if (rc)
            return rc;
    }
    return rc;
}

/* ---- units ---- */

/* The file of a queue offset becomes the tail, unless it is one before it. 0 or -errno. */
static int find_tail(const struct queue_env *env, struct store_queue *q, int64_t at, struct mapped_file **out)
{
    char dir[4096];
    int rc = queue_dir(env, q, dir, sizeof dir);

    if (rc || (rc = queue_file(env, q, dir, at, out)))
        return rc;
    rc = mapped_file_to_write(*out, dir);
    mapped_file_unref(*out);
    if (!rc && (!q->tail || at >= q->tail->base))
        q->tail = *out;
    return rc;
}

/* Where the unit at a queue offset stands in a file that queue_room made. 0 or -errno. */
static int unit_place(const struct queue_env *env, struct store_queue *q, int64_t offset, char **out)
{
    int64_t at = offset * UNIT_SIZE;
    struct mapped_file *m = q->tail;
    int rc;

    if (!m || !m->writable || at < m->base || at - m->base >= m->size)
        if ((rc = find_tail(env, q, at, &m)))
            return rc;
    *out = m->map + (at - m->base);
    return 0;
}

void unit_put(void *p, const struct store_entry *e)
{
    be64_put(p, (uint64_t)e->physical_offset);
    be32_put((char *)p + 8, e->size);
    be64_put((char *)p + 12, (uint64_t)e->tags_code);
}

void unit_get(const void *p, struct store_entry *e)
{
    e->physical_offset = (int64_t)be64_get(p);
    e->size = be32_get((const char *)p + 8);
    e->tags_code = (int64_t)be64_get((const char *)p + 12);
}

int64_t schedule_delay(const struct store_conf *conf, struct str properties)
{
    struct str text = prop_get(properties, "DELAY");
    int32_t level;

    if (!text.p || str_i32(text, &level))
        return -1;
    if (level > conf->n_delay)
        level = conf->n_delay;
    return level > 0 ? conf->delay_ms[level] : -1;
}

int64_t queue_tags_code(const struct queue_env *env, const struct store_queue *q, const struct message *m)
{
    int64_t delay = q->is_schedule ? schedule_delay(env->conf, m->properties) : -1;

    return delay >= 0 ? m->store_timestamp + delay : message_tags_code(m->properties);
}

int queue_write(const struct queue_env *env, struct store_queue *q, int64_t offset, const struct store_entry *e)
{
    char *p;
    int rc = unit_place(env, q, offset, &p);

    if (!rc)
        unit_put(p, e);
    return rc;
}

void queue_advance(struct store_queue *q, int n, int64_t store_time)
{
    atomic_store_explicit(&q->last_time, store_time, memory_order_relaxed);
    atomic_store_explicit(&q->max, atomic_load_explicit(&q->max, memory_order_relaxed) + n, memory_order_release);
}

int queue_overwrite(const struct queue_env *env, struct store_queue *q, int64_t offset, const struct store_entry *e)
{
    if (q->flushed > offset)
        q->flushed = offset;
    return queue_write(env, q, offset, e);
}

int queue_start_at(const struct queue_env *env, struct store_queue *q, int64_t offset, struct fault *f)
{
    static const struct store_entry blank = {.size = UNIT_BLANK_SIZE};
    int64_t first = offset - offset % (env->file_size / UNIT_SIZE);
    int rc;

    q->reserved = first * UNIT_SIZE;
    q->tail = NULL;
    atomic_store(&q->max, offset);
    if ((rc = queue_make_room(env, q, 1, f))) {
        atomic_store(&q->max, 0);
        return rc;
    }
    for (int64_t i = first; i < offset; i++)
        if ((rc = queue_write(env, q, i, &blank)))
            return fault_errno(f, -rc, "fill consume queue %s/%" PRId32, q->topic, q->id);
    atomic_store(&q->min, offset);
    q->flushed = first;
    return 0;
}

int queue_cut(const struct queue_env *env, struct store_queue *q, int64_t offset)
{
    int64_t at = offset * UNIT_SIZE, base = at - at % env->file_size;
    int rc, files = file_list_count(&q->files);
    struct mapped_file *m;
    char dir[4096];

    if ((rc = queue_dir(env, q, dir, sizeof dir)) || (rc = file_list_cut(&q->files, dir, at > base ? base + 1 : base)))
        return rc;
    q->new_files |= file_list_count(&q->files) < files;
    q->tail = NULL;
    q->reserved = at;
    atomic_store(&q->max, offset);
    if (queue_min(q) > offset)
        atomic_store(&q->min, offset);
    if (q->flushed > offset)
        q->flushed = offset;
    if (!(rc = queue_file(env, q, dir, at, &m))) {
        rc = mapped_file_zero_from(m, dir, at - m->base);
        mapped_file_unref(m);
        if (q->flushed == offset)        /* with the unit before them, which is in that file, the zeros are synced too */
            q->flushed = offset - 1;
    }
    return rc && rc != -ENOENT ? rc : queue_ext_settle(env, q);
}

int queue_file_at(const struct queue_env *env, struct store_queue *q, int64_t offset, struct mapped_file **out)
{
    char dir[4096];
    int rc = queue_dir(env, q, dir, sizeof dir);

    *out = NULL;
    return rc ? rc : queue_file(env, q, dir, offset * UNIT_SIZE, out);
}

int queue_unit(const struct queue_env *env, struct store_queue *q, struct unit_cursor *c, int64_t offset,
               struct store_entry *out)
{
    int64_t at = offset * UNIT_SIZE;

    if (!c->file || at < c->file->base || at - c->file->base >= c->file->size) {
        int rc;
        unit_cursor_end(c);
        if ((rc = queue_file_at(env, q, offset, &c->file)))
            return rc;
    }
    bus_noted();
    unit_get(c->file->map + (at - c->file->base), out);
    bus_noted();
    return 0;
}

void unit_cursor_end(struct unit_cursor *c)
{
    mapped_file_unref(c->file);
    c->file = NULL;
}

struct one_unit {
    const struct queue_env *env;
    struct store_queue *q;
    int64_t offset;
    struct store_entry *out;
    struct unit_cursor c;
};

static int read_unit(void *arg)
{
    struct one_unit *o = arg;

    return queue_unit(o->env, o->q, &o->c, o->offset, o->out);
}

int queue_unit_at(const struct queue_env *env, struct store_queue *q, int64_t offset, struct store_entry *out)
{
    struct one_unit o = {env, q, offset, out, {0}};
    char why[BUS_WHY_SIZE];
    int rc = bus_guarded(read_unit, &o);

    if (rc == -EIO)
        log_error("unit %" PRId64 " of consume queue %s/%" PRId32 ": %s", offset, q->topic, q->id, bus_why(why, sizeof why));
    unit_cursor_end(&o.c);
    return rc;
}

/* ---- syncing ---- */

static int sync_directories(const struct queue_env *env, const struct store_queue *q)
{
    char dir[4096], topic[4096];
    int rc = queue_dir(env, q, dir, sizeof dir), n = snprintf(topic, sizeof topic, "%s/%s", env->root, q->topic);

    if (rc || n < 0 || (size_t)n >= sizeof topic)
        return rc ? rc : -ENAMETOOLONG;
    if ((rc = dir_sync(dir)) || (rc = dir_sync(topic)))
        return rc;
    return dir_sync(env->root);
}

/* Of the files that hold units [from, to); 0 or what `act` or the finding of a file said first. */
static int each_file(const struct queue_env *env, struct store_queue *q, int64_t from, int64_t to,
                     int (*act)(const struct mapped_file *m, const char *dir, int64_t from, int64_t to))
{
    int64_t at = from * UNIT_SIZE, end = to * UNIT_SIZE;
    char dir[4096];
    int rc = queue_dir(env, q, dir, sizeof dir);

    while (!rc && at < end) {
        struct mapped_file *m;
        int64_t file_end;
        if ((rc = queue_file(env, q, dir, at, &m)) == -ENOENT && at < file_list_base(&q->files, 0)) {
            at += env->file_size - at % env->file_size;      /* retention took the file before it was synced */
            rc = 0;
            continue;
        }
        if (rc)
            return atomic_load(&q->dead) ? 0 : rc;
        file_end = m->base + m->size;
        rc = act(m, dir, at - m->base, (end < file_end ? end : file_end) - m->base);
        mapped_file_unref(m);
        at = file_end;
    }
    return rc;
}

static int begin_file(const struct mapped_file *m, const char *dir, int64_t from, int64_t to)
{
    mapped_file_sync_begin(m, dir, from, to);
    return 0;
}

static int sync_file(const struct mapped_file *m, const char *dir, int64_t from, int64_t to)
{
    (void)dir;
    return mapped_file_sync(m, from, to);
}

void queue_sync_begin(const struct queue_env *env, struct store_queue *q, int64_t from, int64_t to)
{
    if (!q->ext && !atomic_load(&q->dead))             /* else the extension comes first */
        each_file(env, q, from, to, begin_file);
}

int queue_sync(const struct queue_env *env, struct store_queue *q, int64_t from, int64_t to, bool new_files)
{
    int rc = q->ext ? queue_ext_sync(env, q) : 0;      /* first: no unit on disk names one that is not */

    if (!rc)
        rc = each_file(env, q, from, to, sync_file);
    return rc || !new_files || atomic_load(&q->dead) ? rc : sync_directories(env, q);
}
