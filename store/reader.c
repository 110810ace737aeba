/* Reading messages: queue units to extents of the mapped log. Statuses and next
 * offsets are those of Apache's DefaultMessageStore.getMessage on a master. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#include "common/be.h"
#include "common/bus_guard.h"
#include "common/log.h"
#include "store/result.h"
#include "store/store_impl.h"

#define PAGE ((size_t)4096)
#define WINDOW 64                    /* pages */
#define SCAN_DEFAULT 800             /* units: Apache's maxFilterMessageSize of 16000 bytes */
#define BYTES_MAX (128 * 1024 * 1024)

/* ---- one record ---- */

/* The log file that holds [offset, offset+n), kept in *file from one record to the next. 0; -ENOENT: there is none (any
 * more); another -errno: it cannot be mapped. */
static int find_record(struct store *s, struct mapped_file **file, int64_t offset, uint32_t size)
{
    int64_t max = commit_log_max(&s->log), n = size;

    if (n < MESSAGE_MIN_SIZE || n > INT32_MAX || offset < 0 || offset > max || n > max - offset)
        return -ENOENT;
    if (*file && offset >= (*file)->base && offset - (*file)->base <= (*file)->size - n)
        return 0;
    mapped_file_unref(*file);
    return commit_log_find(&s->log, offset, n, file);
}

bool store_far(struct store *s, int64_t physical_offset)
{
    return commit_log_distance(&s->log, physical_offset) > s->conf.hot_bytes;
}

static int64_t record_time(const char *p)
{
    return (int64_t)be64_get(p + RECORD_AT_STORE_TIMESTAMP(be32_get(p + RECORD_AT_SYS_FLAG) & SYSFLAG_BORNHOST_V6));
}

/* ---- store_get ---- */

struct get {
    struct store *s;
    struct store_queue *q;
    int64_t offset;
    const struct store_limits *limits;
    const struct store_filter *filter;
    struct result *r;
    struct mapped_file *file;        /* of the last record */
    struct unit_cursor units, ext;
    int64_t skip_before;             /* units naming offsets before it are passed over: their file is gone */
    const char *last;                /* the last record given */
    bool first_cold;
    int64_t held_from, held_end;     /* this part of the log is in a buffer of cold_read */
    uintptr_t window;                /* the page from where on it was asked which are in memory */
    unsigned char resident[WINDOW];  /* as mincore says it */
};

/* Records of a queue lie near each other: one question to the kernel serves many of them. */
static bool page_is_resident(struct get *g, uintptr_t page)
{
    size_t left = (uintptr_t)g->file->map + (size_t)g->file->size - page;

    if (page - g->window >= WINDOW * PAGE) {
        g->window = page;
        if (mincore((void *)page, left < WINDOW * PAGE ? left : WINDOW * PAGE, g->resident) < 0)
            memset(g->resident, 1, WINDOW);      /* not known: then it is as good as there */
    }
    return g->resident[(page - g->window) / PAGE] & 1;
}

static bool is_resident(struct get *g, const char *p, size_t n)
{
    for (uintptr_t page = (uintptr_t)p & ~(uintptr_t)(PAGE - 1); page < (uintptr_t)p + n; page += PAGE)
        if (!page_is_resident(g, page))
            return false;
    return true;
}

/* Does it have to come from the disk? Asked of what is far. */
static bool is_cold(struct get *g, const char *p, int64_t at, size_t n)
{
    if (at >= g->held_from && at < g->held_end)
        return false;
    return !cold_read_has(&g->s->cold, g->file->base, at, &g->held_from, &g->held_end) && !is_resident(g, p, n);
}

static bool is_full(const struct get *g, uint32_t size)
{
    const struct store_result *r = &g->r->pub;
    int64_t most_bytes = g->first_cold ? g->limits->max_bytes_cold : g->limits->max_bytes;
    int32_t most = g->first_cold ? g->limits->max_messages_cold : g->limits->max_messages;

    if (r->n_messages == 0)
        return false;
    if (most_bytes > BYTES_MAX)
        most_bytes = BYTES_MAX;
    return r->n_messages >= most || r->bytes + size > most_bytes;
}

static void miss(struct get *g, enum store_status why)
{
    if (g->r->pub.n_messages == 0)
        g->r->pub.status = why;
}

static int take_record(struct get *g, char *p, uint32_t size, bool far, bool cold)
{
    struct store_result *r = &g->r->pub;
    int rc;

    if ((rc = result_extend(g->r, g->file, p, size)))
        return rc;
    if (r->n_messages == 0)
        g->first_cold = cold;
    r->cold |= cold;
    r->far |= far;
    r->n_messages++;
    r->bytes += size;
    r->status = STORE_FOUND;
    g->last = p;
    g->skip_before = INT64_MIN;
    return 0;
}

/* An address that leads nowhere lets the message through, as in Apache: clients look at tags too. */
static bool tags_wanted(struct get *g, int64_t code)
{
    struct ext_unit u;

    if (ext_is_address(code)) {
        if (queue_ext_unit(&g->s->env, g->q, &g->ext, code, &u))
            return true;
        code = u.tags_code;
    }
    return g->filter->by_tags_code(g->filter->arg, code);
}

/* Decides on one unit. 0 or -errno. */
static int look_at(struct get *g, const struct store_entry *e)
{
    const struct store_filter *want = g->filter;
    bool distant, far;
    char *p;
    int rc;

    if (unit_is_blank(e)) {
        miss(g, STORE_MESSAGE_WAS_REMOVING);
        return 0;
    }
    if (e->physical_offset < g->skip_before)
        return 0;
    if (want && want->by_tags_code && !tags_wanted(g, e->tags_code)) {
        miss(g, STORE_NO_MATCHED_MESSAGE);
        return 0;
    }
    if ((rc = find_record(g->s, &g->file, e->physical_offset, e->size))) {
        if (rc != -ENOENT)
            return rc;
        miss(g, STORE_MESSAGE_WAS_REMOVING);
        /* Retention took the file: what else was in it is gone too. A damaged unit skips nothing but itself. */
        if (e->physical_offset >= 0 && e->physical_offset < commit_log_min(&g->s->log))
            g->skip_before = e->physical_offset - e->physical_offset % g->s->log.file_size + g->s->log.file_size;
        return 0;
    }
    p = g->file->map + (e->physical_offset - g->file->base);
    /* mincore calls a page resident while it is still being read ahead: what is far is left to who may wait. */
    distant = store_far(g->s, e->physical_offset);
    /* What was written in this run is there; what was before, on a machine that was started anew, perhaps not. */
    far = (distant || e->physical_offset < g->s->run_from) && !g->limits->touched;
    if (!far && !record_looks_right(p, e->physical_offset, e->size)) {
        miss(g, STORE_MESSAGE_WAS_REMOVING);
        return 0;
    }
    if (want && want->by_record && !want->by_record(want->arg, p, e->size)) {
        miss(g, STORE_NO_MATCHED_MESSAGE);
        return 0;
    }
    return take_record(g, p, e->size, far, distant && far && is_cold(g, p, e->physical_offset, e->size));
}

static int scan_queue(struct get *g, struct store_queue *q, int64_t offset)
{
    struct store_result *r = &g->r->pub;
    int64_t scan = g->limits->max_scan > 0 ? g->limits->max_scan : SCAN_DEFAULT, end;
    int rc = 0;

    if (scan < g->limits->max_messages)
        scan = g->limits->max_messages;
    end = r->max - offset < scan ? r->max : offset + scan;
    r->status = STORE_NO_MATCHED_MESSAGE;
    while (!rc && r->next_begin < end) {
        struct store_entry e;
        if ((rc = queue_unit(&g->s->env, q, &g->units, r->next_begin, &e))) {
            if (rc != -ENOENT)
                return rc;
            rc = 0;
            if (r->n_messages == 0) {
                int64_t per = g->s->env.file_size / UNIT_SIZE;
                r->status = STORE_OFFSET_FOUND_NULL;
                r->next_begin += per - r->next_begin % per;
            }
            break;
        }
        if (is_full(g, e.size))
            break;
        r->next_begin++;
        rc = look_at(g, &e);
    }
    return rc;
}

/* Out of the queue's range: what to say, and where to go on. */
static bool is_outside(struct store_result *r, int64_t offset)
{
    if (r->max == 0) {
        r->status = STORE_NO_MESSAGE_IN_QUEUE;
        r->next_begin = 0;
    } else if (offset < r->min) {
        r->status = STORE_OFFSET_TOO_SMALL;
        r->next_begin = r->min;
    } else if (offset == r->max) {
        r->status = STORE_OFFSET_OVERFLOW_ONE;
    } else if (offset > r->max) {
        r->status = STORE_OFFSET_OVERFLOW_BADLY;
        r->next_begin = r->max;
    } else {
        return false;
    }
    return true;
}

static int get(struct get *g)
{
    struct store_result *r = &g->r->pub;
    struct store_queue *q = g->q;
    int64_t offset = g->offset;
    int rc;

    if (!q) {
        r->status = STORE_NO_MATCHED_LOGIC_QUEUE;
        r->next_begin = 0;
        return 0;
    }
    if ((rc = queue_load(&g->s->env, q)))
        return rc;
    queue_maps_trim(&g->s->maps, &g->s->append_lock);
    r->min = queue_min(q);
    r->max = queue_max(q);
    r->next_begin = offset;
    if (is_outside(r, offset))
        return 0;
    rc = scan_queue(g, q, offset);
    if (g->last && !r->far)
        r->last_store_timestamp = record_time(g->last);
    return rc;
}

static int get_guarded(void *arg) { return get(arg); }

/* What was found before stays: the failure is met again at the next call, which begins there. */
static void give_failure(struct get *g, int rc)
{
    struct store_result *r = &g->r->pub;
    char why[BUS_WHY_SIZE];

    log_error("read from queue %s/%" PRId32 " at %" PRId64 ": %s", g->q->topic, g->q->id, g->offset,
              rc == -EIO ? bus_why(why, sizeof why) : strerror(-rc));
    r->status = STORE_READ_FAILED;
    r->next_begin = g->offset;
    r->n_messages = r->n_iov = 0;
    r->bytes = 0;
}

struct store_result *store_get(struct store *s, struct store_queue *q, int64_t offset,
                               const struct store_limits *limits, const struct store_filter *filter)
{
    struct get g = {.s = s, .q = q, .offset = offset, .limits = limits, .filter = filter, .r = result_new(),
                    .skip_before = INT64_MIN};
    int rc;

    if (!g.r)
        return NULL;
    rc = bus_guarded(get_guarded, &g);
    mapped_file_unref(g.file);
    unit_cursor_end(&g.units);
    unit_cursor_end(&g.ext);
    if (rc == -ENOMEM) {
        store_release(g.r);
        return NULL;
    }
    if (rc)
        give_failure(&g, rc);
    if (g.r->pub.status == STORE_FOUND) {
        count(&s->get_found, 1);
        count(&s->got_messages, g.r->pub.n_messages);
        count(&s->got_bytes, g.r->pub.bytes);
    } else {
        count(&s->get_missed, 1);
    }
    return &g.r->pub;
}

/* ---- single reads ---- */

struct one_record {
    struct mapped_file *file;        /* a reference, once it was found */
    char *p;
    size_t left;
    struct message m;
};

static int parse_record(void *arg)
{
    struct one_record *o = arg;

    return message_record_get(o->p, o->left, false, &o->m) ? -ENOENT : 0;
}

static int find_one(struct store *s, int64_t physical_offset, uint32_t size, struct one_record *one)
{
    int64_t in_file, left = commit_log_max(&s->log) - physical_offset;
    int rc = find_record(s, &one->file, physical_offset, size ? size : MESSAGE_MIN_SIZE);

    if (rc)
        return rc;
    in_file = physical_offset - one->file->base;
    if (left > one->file->size - in_file)
        left = one->file->size - in_file;
    one->p = one->file->map + in_file;
    one->left = (size_t)left;
    if ((rc = bus_guarded(parse_record, one)))
        return rc == -EIO ? result_eio("read a message") : rc;
    return one->m.physical_offset != physical_offset || (size && one->m.size != size) ? -ENOENT : 0;
}

static int give_one(struct store *s, const struct one_record *one, struct store_result **out)
{
    struct result *r = result_new();

    if (!r)
        return -ENOMEM;
    result_extend(r, one->file, one->p, one->m.size);     /* one file, one extent: there is place for both */
    r->pub.status = STORE_FOUND;
    r->pub.n_messages = 1;
    r->pub.bytes = one->m.size;
    r->pub.last_store_timestamp = one->m.store_timestamp;
    r->pub.far = store_far(s, one->m.physical_offset);
    r->pub.cold = r->pub.far && !mapped_is_resident(one->p, one->m.size);
    *out = &r->pub;
    return 0;
}

int store_read(struct store *s, int64_t physical_offset, uint32_t size, struct store_result **out)
{
    struct one_record one = {0};
    int rc = find_one(s, physical_offset, size, &one);

    *out = NULL;
    if (!rc)
        rc = give_one(s, &one, out);
    mapped_file_unref(one.file);
    return rc;
}

int store_load(struct store *s, int64_t physical_offset, uint32_t size, struct message *m, struct store_result **out)
{
    int rc = store_read(s, physical_offset, size, out);

    if (!rc && !(rc = store_own(*out)) && message_record_get((*out)->iov[0].iov_base, (*out)->iov[0].iov_len, false, m))
        rc = -EIO;                   /* it was a record a moment ago */
    if (rc) {
        store_release(*out);
        *out = NULL;
    }
    return rc;
}

int store_look(struct store *s, int64_t physical_offset, uint32_t size, struct message *m)
{
    struct one_record one = {0};
    int rc = find_one(s, physical_offset, size, &one);

    mapped_file_unref(one.file);
    *m = one.m;
    m->topic.p = m->properties.p = m->body.p = NULL;
    return rc;
}

/* What an address stands for; when it leads nowhere, what the record says. */
static int resolve(struct store *s, struct store_queue *q, struct store_entry *e)
{
    struct store_result *record;
    struct ext_unit u;
    struct message m;
    int rc = queue_ext_unit_at(&s->env, q, e->tags_code, &u);

    if (rc == 0)
        e->tags_code = u.tags_code;
    if (rc != -ENOENT)
        return rc;
    if ((rc = store_load(s, e->physical_offset, e->size, &m, &record)))
        return rc == -ENOENT ? 0 : rc;   /* it expired: nobody can want it */
    e->tags_code = queue_tags_code(&s->env, q, &m);
    store_release(record);
    return 0;
}

int store_entry(struct store *s, struct store_queue *q, int64_t offset, struct store_entry *out)
{
    int rc = queue_load(&s->env, q);

    if (rc)
        return rc;
    if (offset < queue_min(q) || offset >= queue_max(q))
        return -ENOENT;
    queue_maps_trim(&s->maps, &s->append_lock);
    rc = queue_unit_at(&s->env, q, offset, out);
    if (!rc && ext_is_address(out->tags_code))
        rc = resolve(s, q, out);
    return rc ? rc : unit_is_blank(out) ? -ENOENT : 0;
}

int store_queue_load(struct store *s, struct store_queue *q) { return queue_load(&s->env, q); }

bool store_queue_loaded(const struct store_queue *q)
{
    return atomic_load_explicit(&q->loaded, memory_order_acquire);
}

int64_t store_queue_min(struct store *s, struct store_queue *q)
{
    return queue_load(&s->env, q) ? 0 : queue_min(q);
}

int64_t store_queue_max(struct store *s, struct store_queue *q)
{
    return queue_load(&s->env, q) ? 0 : queue_max(q);
}

int64_t store_queue_last_time(struct store *s, struct store_queue *q)
{
    return queue_load(&s->env, q) ? 0 : atomic_load_explicit(&q->last_time, memory_order_relaxed);
}

int64_t store_topic_last_time(struct store *s, struct store_queue *const q[], int n)
{
    int64_t last = 0;

    if (n > 1 && !store_queue_loaded(q[0]))
        queue_load_unused(&s->env, q, n);
    for (int i = 0; i < n; i++) {
        int64_t time = store_queue_last_time(s, q[i]);
        last = time > last ? time : last;
    }
    return last;
}

int64_t store_time_at(struct store *s, struct store_queue *q, int64_t offset)
{
    struct store_entry e;

    int rc = store_entry(s, q, offset, &e);

    int64_t time = rc ? rc : commit_log_time_at(&s->log, e.physical_offset, e.size);

    return time == -ENOENT ? -1 : time;
}
