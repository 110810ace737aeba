/* Messages by key: the index names records, the records say whether they really
 * have the key. Source: Apache DefaultMessageStore.queryMessage and
 * IndexService.queryOffset (5.5.0), which leave that check to their clients. */
#include <errno.h>
#include <stdlib.h>

#include "common/bus_guard.h"
#include "common/log.h"
#include "store/result.h"
#include "store/store_impl.h"

#define STEPS_MAX INT64_C(20000000)  /* entries that one query looks at: a whole chain of a file of Apache's size */
#define READS_MAX 100000             /* records that one query reads and finds to be others' */
#define MESSAGES_MAX 100000

struct found {
    struct mapped_file *file;        /* a reference */
    char *p;
    uint32_t size;
};

struct query {
    struct store *s;
    const struct store_query *want;
    struct found *found;             /* newest first */
    int32_t n;
    int64_t last;                    /* log offset of the last one found; only what lies before it counts */
    int64_t bytes, reads_left;
    int32_t hash;
    int failed;                      /* -errno: a file of the log could not be mapped */
    struct store_index_end end;
    /* References under way, given back when a page cannot be had and the work is left in its midst. */
    struct index_file *index_file;
    struct mapped_file *record_file;
};

static bool is_wanted(const struct store_query *want, const struct message *m)
{
    if (!str_eq(m->topic, want->topic) || m->store_timestamp < want->begin || m->store_timestamp > want->end)
        return false;
    if (want->is_key)
        return message_any_key(m, want->is_key, want->is_key_arg);
    return want->tag ? str_eq(prop_get(m->properties, "TAGS"), want->key) : message_has_key(m, want->key);
}

static void drop_record(struct query *q)
{
    mapped_file_unref(q->record_file);
    q->record_file = NULL;
}

/* The record at offset, in q->record_file; NULL: none is there (any more). */
static char *record_at(struct query *q, int64_t offset, struct message *m)
{
    int rc = commit_log_find(&q->s->log, offset, MESSAGE_MIN_SIZE, &q->record_file);
    const struct mapped_file *file = q->record_file;
    int64_t left, behind;
    char *p;

    if (rc && rc != -ENOENT)
        q->failed = rc;
    if (rc)
        return NULL;
    p = file->map + (offset - file->base);
    left = file->base + file->size - offset;
    behind = commit_log_max(&q->s->log) - offset;
    return message_record_get(p, (size_t)(left < behind ? left : behind), false, m) || m->physical_offset != offset ? NULL : p;
}

static bool take(void *arg, int64_t offset)
{
    struct query *q = arg;
    struct message m;
    char *p;

    /* Newest first: the same again is another key of the same message, or the same word twice. */
    if (offset >= q->last)
        return true;
    p = record_at(q, offset, &m);
    if (!p || !is_wanted(q->want, &m)) {
        drop_record(q);
        return !q->failed && q->reads_left-- > 0;
    }
    if (q->n && m.size > q->want->max_bytes - q->bytes) {
        drop_record(q);
        return false;
    }
    q->found[q->n++] = (struct found){q->record_file, p, m.size};
    q->record_file = NULL;
    q->bytes += m.size;
    q->last = offset;
    return q->n < q->want->max_messages;
}

int32_t store_key_hash(struct str topic, struct str key) { return index_hash(topic, INDEX_KEY, key); }

static void drop_index_file(struct query *q)
{
    index_file_unref(q->index_file);
    q->index_file = NULL;
}

static int look(void *arg)
{
    struct query *q = arg;
    const struct store_query *want = q->want;
    int64_t steps = STEPS_MAX;
    bool more = true;

    for (int i = 0; more && (q->index_file = index_get(&q->s->index, i)); i++) {
        const struct index_file *file = q->index_file;
        struct index_file_info info;
        if (index_file_info(file, &info))
            return -EIO;
        if (index_file_in_time(file, want->begin, want->end))
            more = index_file_select(file, q->hash, want->begin, want->end, &steps, take, q);
        if (info.begin_time < want->begin)
            more = false;
        drop_index_file(q);
    }
    if (steps < 0 || q->reads_left < 0)
        log_warn("query of %.*s by key %.*s was given up: its hash has too many entries", STR_ARG(want->topic),
                 STR_ARG(want->key));
    return q->failed;
}

static int look_at_end(struct query *q)
{
    struct index_file_info info = {0};
    int rc = 0;

    if ((q->index_file = index_get(&q->s->index, 0)))
        rc = index_file_info(q->index_file, &info);
    drop_index_file(q);
    q->end = (struct store_index_end){info.end_time, info.end_offset};
    return rc;
}

static int give(struct query *q, struct store_result **out)
{
    int rc = result_add(out, NULL, NULL, 0);

    for (int32_t i = q->n - 1; i >= 0; i--) {
        if (!rc)
            rc = result_add(out, q->found[i].file, q->found[i].p, q->found[i].size);
        mapped_file_unref(q->found[i].file);
    }
    if (rc) {
        store_release(*out);
        *out = NULL;
        return rc;
    }
    (*out)->status = q->n ? STORE_FOUND : STORE_NO_MATCHED_MESSAGE;
    (*out)->cold = q->n && store_far(q->s, q->last);
    return 0;
}

int store_query(struct store *s, const struct store_query *want, struct store_index_end *end, struct store_result **out)
{
    struct query q = {.s = s, .want = want, .last = want->before > 0 ? want->before : INT64_MAX, .reads_left = READS_MAX};
    struct store_query bounded = *want;
    int32_t max = want->max_messages;
    char why[BUS_WHY_SIZE];
    int rc, failed = 0;

    *out = NULL;
    index_wait(&s->index, commit_log_max(&s->log), want->wait_ms);
    if (max > MESSAGES_MAX)
        max = MESSAGES_MAX;
    q.hash = want->is_key ? want->key_hash : index_hash(want->topic, want->tag ? INDEX_TAG : INDEX_KEY, want->key);
    if (max > 0 && !(q.found = malloc((size_t)max * sizeof *q.found)))
        return -ENOMEM;
    if (max > 0) {
        bounded.max_messages = max;
        q.want = &bounded;
        failed = bus_guarded(look, &q);
    }
    if (failed)
        log_error("query of %.*s by key %.*s: %s", STR_ARG(want->topic), STR_ARG(want->key), bus_why(why, sizeof why));
    else
        failed = look_at_end(&q);
    drop_record(&q);
    drop_index_file(&q);
    if (end)
        *end = q.end;
    rc = give(&q, out);
    free(q.found);
    if (failed && !rc) {
        store_release(*out);
        *out = NULL;
    }
    return rc ? rc : failed;
}

/* ---- how far the index goes ---- */

struct range {
    struct index *x;
    struct index_file *file;         /* a reference under way */
    int64_t begin, end;
};

static void drop_range_file(struct range *r)
{
    index_file_unref(r->file);
    r->file = NULL;
}

static int read_range(struct range *r)
{
    struct index_file_info info;
    int rc = 0;

    for (int i = 0; (r->file = index_get(r->x, i)); i++) {
        if ((rc = index_file_info(r->file, &info)))
            break;
        if (i == 0 && info.next > 1 && info.end_offset >= r->end)
            r->end = info.end_offset + 1;
        r->begin = info.begin_offset;
        drop_range_file(r);
    }
    drop_range_file(r);
    return rc;
}

int store_index_range(struct store *s, int wait_ms, int64_t *begin, int64_t *end)
{
    struct range r = {.x = &s->index};
    int rc;

    index_wait(&s->index, commit_log_max(&s->log), wait_ms);
    r.end = s->index.on ? atomic_load_explicit(&s->index.place, memory_order_acquire) : 0;
    rc = read_range(&r);
    *begin = r.begin;
    *end = r.end;
    return rc;
}
