/* Appending: everything that can be worked out before is, then one short lock in
 * which a record gets its offsets, is written to the mapped log and gets its unit. */
#include "store/store_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/be.h"
#include "common/bus_guard.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/codes.h"

#define RECORD_OVERHEAD_MAX 65536    /* a record may be this much longer than the largest body */
#define RETRY_MS 1000
#define FEW 8                        /* messages that are prepared without an allocation */

struct prepared {
    struct message record;
    size_t size;
    int64_t tags_code;
    int64_t delay;                   /* SCHEDULE_TOPIC_XXXX: ms until delivery, else -1 */
};

static int refuse_size(struct fault *f, const char *what, size_t n, size_t most)
{
    return fault_set(f, RC_MESSAGE_ILLEGAL, EMSGSIZE, "the message's %s is %zu bytes, more than %zu", what, n, most);
}

static int prepare(const struct store *s, const struct store_queue *q, const struct message *m, int64_t tags_code,
                   struct prepared *out, struct fault *f)
{
    size_t most = (size_t)s->conf.max_message_size;

    if (m->body.n > most)
        return refuse_size(f, "body", m->body.n, most);
    if (m->properties.n > PROPERTIES_MAX)
        return refuse_size(f, "property text", m->properties.n, PROPERTIES_MAX);
    out->record = *m;
    out->record.topic = queue_topic(q);
    out->record.queue_id = q->id;
    out->record.body_crc = message_body_crc(m->body);
    out->size = message_record_size(&out->record);
    out->tags_code = tags_code;
    out->delay = q->is_schedule ? schedule_delay(&s->conf, m->properties) : -1;
    return out->size > most + RECORD_OVERHEAD_MAX ? refuse_size(f, "record", out->size, most + RECORD_OVERHEAD_MAX) : 0;
}

void mark_dirty(struct store *s, struct store_queue *q)
{
    if (q->is_dirty)
        return;
    q->is_dirty = true;
    q->dirty_next = s->dirty;
    s->dirty = q;
}

/* ---- writes on and off ---- */

static void writes_off(struct store *s, const struct fault *why)
{
    if (why->err == ENOMEM || why->err == EMFILE || why->err == ENFILE)
        return;                          /* this message's trouble, not the disk's */
    if (s->writes == WRITES_ON)
        log_error("store: writes are off: %s", why->text);
    s->writes = WRITES_OFF;
    s->writes_fault = *why;
    s->writes_retry_at = mono_ms() + RETRY_MS;
}

/* Append lock held. */
static void set_failed(struct store *s, int err, const char *what)
{
    if (s->writes != WRITES_FAILED) {
        fault_errno(&s->writes_fault, -err, "%s", what);
        log_error("store: writes are off until a restart: %s", s->writes_fault.text);
    }
    s->writes = WRITES_FAILED;
}

void writes_failed(struct store *s, int err, const char *what)
{
    pthread_mutex_lock(&s->append_lock);
    set_failed(s, err, what);
    pthread_mutex_unlock(&s->append_lock);
}

static int check_writes(struct store *s, struct fault *f)
{
    int32_t full = atomic_load_explicit(&s->disk_full, memory_order_relaxed);

    if (full)
        return fault_set(f, RC_SERVICE_NOT_AVAILABLE, ENOSPC, "writes are off: the disk is more than %d%% full "
                         "(diskSpaceWarningLevelRatio)", full);
    if (s->writes == WRITES_ON || (s->writes == WRITES_OFF && mono_ms() >= s->writes_retry_at))
        return 0;
    return fault_set(f, RC_SERVICE_NOT_AVAILABLE, s->writes_fault.err, "writes are off: %.300s", s->writes_fault.text);
}

/* ---- room in the queue ---- */

/* Append lock held. */
static int check_queue(struct store *s, const struct store_queue *q, struct fault *f)
{
    int rc = check_writes(s, f);

    if (!rc && atomic_load_explicit(&q->dead, memory_order_relaxed))
        rc = fault_set(f, RC_TOPIC_NOT_EXIST, ENOENT, "topic %s was deleted", q->topic);
    return rc;
}

/* One step, if n messages need it: 1, and there may be more to do; 0: there is room; -errno. grow_lock held. */
static int grow_step(struct store *s, struct store_queue *q, int n, struct fault *f)
{
    struct queue_growth g;
    struct fault why = {.rc = RC_SERVICE_NOT_AVAILABLE};
    bool lacks;
    int rc;

    pthread_mutex_lock(&s->append_lock);
    rc = check_queue(s, q, f);
    lacks = queue_lacks(q, n, &g);
    pthread_mutex_unlock(&s->append_lock);
    if (rc || !lacks)
        return rc;
    rc = queue_grow(&s->env, q, &g, &why);
    pthread_mutex_lock(&s->append_lock);
    queue_grown(q, &g);
    if (rc) {
        why.rc = RC_SERVICE_NOT_AVAILABLE;
        writes_off(s, &why);
    }
    pthread_mutex_unlock(&s->append_lock);
    if (rc && f)
        *f = why;
    return rc ? rc : 1;
}

/* Before the append lock is taken: one queue's new file does not make the appends of all others wait. */
static int grow(struct store *s, struct store_queue *q, int n, struct fault *f)
{
    int rc = 1;

    pthread_mutex_lock(&s->env.grow_lock);
    while (rc == 1)
        rc = grow_step(s, q, n, f);
    pthread_mutex_unlock(&s->env.grow_lock);
    return rc;
}

/* ---- the append ---- */

/* Log space and queue units for all of them, or nothing. 1: the queue must grow first. */
static int make_room(struct store *s, struct store_queue *q, size_t bytes, int n, int64_t *at, char **p, struct fault *f)
{
    struct fault why;
    int rc;

    why.err = why.text[0] = 0;           /* not all its 400 bytes: this runs for each message */
    if ((rc = check_queue(s, q, f)))
        return rc;
    if ((rc = queue_room(&s->env, q, n, &why)) == 1)
        return 1;
    if (!rc)
        rc = commit_log_room(&s->log, bytes, at, p, &why);
    if (rc && rc != -EMSGSIZE) {
        why.rc = RC_SERVICE_NOT_AVAILABLE;
        writes_off(s, &why);
    }
    if (rc && f)
        *f = why;
    return rc;
}

static void write_one(struct prepared *m, char *p, int64_t at, int64_t queue_offset, int64_t now, struct store_put *out)
{
    m->record.physical_offset = at;
    m->record.queue_offset = is_indexed(m->record.sys_flag) ? queue_offset : 0;
    m->record.store_timestamp = now;
    message_record_put(p, &m->record, true);
    *out = (struct store_put){.physical_offset = at,
                              .queue_offset = m->record.queue_offset,
                              .store_timestamp = now,
                              .end = at + (int64_t)m->size,
                              .size = (uint32_t)m->size};
}

struct append {
    struct store *s;
    struct store_queue *q;
    struct prepared *m;
    int n;
    size_t bytes;
    struct store_put *out;
    struct fault *f;
    int64_t at, now;                 /* log offset; store time, ms */
    char *p;
    int records, units;              /* how many of each were written whole */
};

/* Records and units, all behind the ends of log and queue: nobody reads them yet. Under a guard. */
static int write_all(void *arg)
{
    struct append *a = arg;
    int64_t at = a->at, queue_offset = queue_max(a->q);
    char *p = a->p;
    int rc = 0;

    for (int i = 0; i < a->n; i++) {
        write_one(&a->m[i], p, at, queue_offset, a->now, &a->out[i]);
        queue_offset += is_indexed(a->m[i].record.sys_flag);
        p += a->m[i].size;
        at += (int64_t)a->m[i].size;
        a->records++;
    }
    for (int i = 0; !rc && i < a->n; i++) {
        int64_t tags = a->m[i].delay >= 0 ? a->now + a->m[i].delay : a->m[i].tags_code;
        struct store_entry e = {a->out[i].physical_offset, a->out[i].size, tags};
        if (!is_indexed(a->m[i].record.sys_flag))
            continue;
        e.tags_code = queue_code(&a->s->env, a->q, tags, a->now);
        if (!(rc = queue_write(&a->s->env, a->q, queue_max(a->q) + a->units, &e)))
            a->units++;
    }
    return rc;
}

static int clear_unit(const struct append *a, int i)
{
    static const struct store_entry none;

    return queue_write(&a->s->env, a->q, queue_max(a->q) + i, &none);
}

/* What was written whole must not be found by a later start. */
static int take_back(void *arg)
{
    struct append *a = arg;
    char *p = a->p;
    int rc = 0;

    for (int i = 0; i < a->records; p += a->m[i++].size)
        be64_put(p, 0);              /* neither size nor magic */
    while (!rc && a->units)
        rc = clear_unit(a, --a->units);
    return rc;
}

static int clear_torn_unit(void *arg)
{
    const struct append *a = arg;

    return clear_unit(a, a->units);
}

/* A page that the disk does not give: as if nothing had been written, and tried again like a full disk. */
static int not_written(struct append *a, int rc)
{
    struct store *s = a->s;
    struct fault why;
    char text[BUS_WHY_SIZE];

    fault_set(&why, RC_SERVICE_NOT_AVAILABLE, -rc, "write to the log or a queue: %s",
              rc == -EIO ? bus_why(text, sizeof text) : strerror(-rc));
    bus_guarded(clear_torn_unit, a);     /* what is torn begins with its offset, and is no unit: not needed to succeed */
    if (bus_guarded(take_back, a))
        set_failed(s, rc, "write to the mapped log or a queue");
    else
        writes_off(s, &why);
    return fault_set(a->f, RC_SERVICE_NOT_AVAILABLE, why.err, "writes are off: %.370s", why.text);
}

/* Append lock held. */
static int append_locked(struct append *a)
{
    struct store *s = a->s;
    int rc = make_room(s, a->q, a->bytes, a->n, &a->at, &a->p, a->f);

    if (rc)
        return rc;
    a->now = wall_ms();
    if ((rc = bus_guarded(write_all, a)))
        return not_written(a, rc);
    /* The log first: who sees a unit must find its record complete. */
    commit_log_advance(&s->log, a->at + (int64_t)a->bytes, a->now);
    if (a->units)
        queue_advance(a->q, a->units, a->now);
    mark_dirty(s, a->q);
    count_locked(&s->appended_messages, a->n);
    count_locked(&s->appended_bytes, (int64_t)a->bytes);
    if (s->writes == WRITES_OFF)
        log_info("store: writes are on again");
    s->writes = WRITES_ON;
    return 0;
}

static int append_prepared(struct store *s, struct store_queue *q, struct prepared *m, int n, size_t bytes,
                           struct store_put *out, struct fault *f)
{
    struct append a = {.s = s, .q = q, .m = m, .n = n, .bytes = bytes, .out = out, .f = f};
    int64_t max;
    int rc;

    if ((rc = queue_load(&s->env, q)))
        return fault_errno(f, -rc, "read consume queue %s/%" PRId32, q->topic, q->id);
    queue_maps_trim(&s->maps, &s->append_lock);
    do {
        if (!store_queue_ready(q, n) && (rc = grow(s, q, n, f)))
            break;
        pthread_mutex_lock(&s->append_lock);
        rc = append_locked(&a);
        max = queue_max(q);
        pthread_mutex_unlock(&s->append_lock);
    } while (rc == 1);                   /* other appends took the room meanwhile */
    if (rc) {
        count(&s->append_refused, n);
        return rc;
    }
    index_appended(&s->index);
    if (s->on_arrival)
        s->on_arrival(s->arrival_ctx, q, max);
    return 0;
}

bool store_queue_ready(struct store_queue *q, int n)
{
    return atomic_load_explicit(&q->loaded, memory_order_acquire) &&
           (queue_max(q) + n) * UNIT_SIZE <= atomic_load_explicit(&q->reserved, memory_order_relaxed) &&
           (!q->ext || queue_ext_ready(q->ext, n));
}

int store_append(struct store *s, struct store_queue *q, const struct message *m, int64_t tags_code,
                 struct store_put *out, struct fault *f)
{
    struct prepared one;
    int rc = prepare(s, q, m, tags_code, &one, f);

    return rc ? rc : append_prepared(s, q, &one, 1, one.size, out, f);
}

int store_append_batch(struct store *s, struct store_queue *q, const struct message *m, const int64_t *tags_codes,
                       int n, struct store_put *out, struct fault *f)
{
    struct prepared few[FEW], *all = few;
    size_t bytes = 0, most = (size_t)s->conf.commit_log_file_size;
    int rc = 0;

    if (n <= 0)
        return n == 0 ? 0 : -EINVAL;
    if (n > FEW && !(all = malloc((size_t)n * sizeof *all)))
        return fault_errno(f, ENOMEM, "prepare %d messages", n);
    for (int i = 0; !rc && i < n; i++) {
        rc = prepare(s, q, &m[i], tags_codes[i], &all[i], f);
        if (!rc && all[i].size > most - bytes)
            rc = refuse_size(f, "batch", bytes + all[i].size, most);
        if (!rc)
            bytes += all[i].size;
    }
    if (!rc)
        rc = append_prepared(s, q, all, n, bytes, out, f);
    if (all != few)
        free(all);
    return rc;
}
