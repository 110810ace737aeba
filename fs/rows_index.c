/* Messages by key, by id and by time: links to where they stand. */
#include "fs/tree_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "fs/escape.h"

#define UP "../"

/* The link's target: up to the root, then down to the message. */
static int message_link(struct at *a, struct buf *out)
{
    char topic[TREE_NAME_MAX + 1];

    if (!tree_topic_name(str_of(a->topic.name), topic))
        return -ENAMETOOLONG;
    for (int i = 1; i < a->depth; i++)
        buf_puts(out, UP);
    buf_printf(out, "%s/%" PRId32 "/messages/%020" PRId64, topic, a->queue, a->offset);
    return 0;
}

/* Prepared messages have a record and keys, but no place in a queue: nothing to link to. */
static bool stands_in_queue(struct at *a, const struct message *m)
{
    struct message there;

    return broker_message_look(a->b, m->topic, m->queue_id, m->queue_offset, &there) == 0 &&
           there.physical_offset == m->physical_offset;
}

static void take_place(struct at *a, const struct message *m)
{
    a->queue = m->queue_id;
    a->offset = m->queue_offset;
    a->mtime_ms = m->store_timestamp;
}

/* ---- by key ---- */

static int topic_load(struct at *a, struct str name) { return at_topic(a, name); }

static int topic_next(struct at *a, uint64_t after, uint64_t *cookie)
{
    int rc;

    while ((rc = broker_topic_next(a->b, (uint32_t)after, &a->topic)) == 0) {
        *cookie = after = a->topic.id;
        if (!a->topic.system && at_name(a, str_of(a->topic.name)) == 0)
            return at_topic(a, str_of(a->name));
    }
    return rc;
}

static bool take_first(void *arg, const struct message *m)
{
    struct message *out = arg;

    *out = *m;
    return false;
}

/* The key that a->word names; when that is cut, it tells the key's hash and how it begins. */
struct named_key {
    struct buf text;
    struct key_sought sought;
};

static bool is_called(void *arg, struct str key)
{
    struct str name = str_of(((const struct at *)arg)->word);
    uint64_t mark;

    return name_is_cut(name, &mark) && key_sum(key) == (uint32_t)mark && name_is_of(name, key, mark);
}

static int named_key(struct at *a, struct named_key *out)
{
    uint64_t mark;
    int rc;

    *out = (struct named_key){0};
    if (name_is_cut(str_of(a->word), &mark)) {
        out->sought = (struct key_sought){.hash = (int32_t)(mark >> 32), .is = is_called, .arg = a};
        return out->sought.hash < 0 ? -ENOENT : 0;
    }
    rc = name_unescape(str_of(a->word), &out->text);
    out->sought.text = buf_str(&out->text);
    return rc;
}

/* The newest messages with the key that a->word names. */
static int by_key(struct at *a, int64_t before, bool (*each)(void *arg, const struct message *m), void *arg)
{
    struct named_key k;
    int rc = named_key(a, &k);

    if (!rc)
        rc = broker_messages_by_key(a->b, str_of(a->topic.name), &k.sought, before, 1, each, arg);
    buf_free(&k.text);
    return rc;
}

static bool has_key(struct at *a, const struct message *m)
{
    struct named_key k;
    bool has = named_key(a, &k) == 0 &&
               (k.sought.is ? message_any_key(m, k.sought.is, k.sought.arg) : message_has_key(m, k.sought.text));

    buf_free(&k.text);
    return has;
}

static int key_load(struct at *a, struct str name)
{
    struct message m;
    int rc = str_copy(a->word, sizeof a->word, name) ? by_key(a, 0, take_first, &m) : -ENOENT;

    if (!rc)
        a->mtime_ms = m.store_timestamp;
    return rc;
}

static int key_next(struct at *a, uint64_t after, uint64_t *cookie)
{
    int rc = key_list_next(a->t->key_lists, a->b, str_of(a->topic.name), after, cookie, a->name, &a->mtime_ms);

    if (!rc)
        str_copy(a->word, sizeof a->word, str_of(a->name));
    return rc;
}

/* QUEUE-OFFSET, the offset with 20 digits as in messages/. */
static int place_parse(struct str name, int32_t *queue, int64_t *offset)
{
    const char *dash = memchr(name.p, '-', name.n);
    struct str digits;

    if (!dash || at_queue_number(str_n(name.p, (size_t)(dash - name.p)), queue))
        return -ENOENT;
    digits = str_n(dash + 1, name.n - (size_t)(dash + 1 - name.p));
    if (digits.n != 20)
        return -ENOENT;
    for (size_t i = 0; i < digits.n; i++)
        if (digits.p[i] < '0' || digits.p[i] > '9')
            return -ENOENT;
    return str_i64(digits, offset) ? -ENOENT : 0;
}

static int key_message_load(struct at *a, struct str name)
{
    struct store_result *hold;
    struct message m;
    int rc = place_parse(name, &a->queue, &a->offset);

    if (rc || (rc = broker_message_get(a->b, str_of(a->topic.name), a->queue, a->offset, &m, &hold)))
        return rc;
    if (has_key(a, &m))
        a->mtime_ms = m.store_timestamp;
    else
        rc = -ENOENT;
    store_release(hold);
    return rc;
}

struct next_message {
    struct at *a;
    int64_t physical_offset;     /* of the last one seen */
    bool found;
};

static bool look_at(void *arg, const struct message *m)
{
    struct next_message *n = arg;

    n->physical_offset = m->physical_offset;
    if ((n->found = stands_in_queue(n->a, m)))
        take_place(n->a, m);
    return false;
}

/* Newest first; the cookie is the message's commit log offset, one up, so that a listing goes on from it alone. */
static int key_message_next(struct at *a, uint64_t after, uint64_t *cookie)
{
    struct next_message n = {.a = a, .physical_offset = (int64_t)after - 1};
    int rc;

    do {
        if (after && n.physical_offset <= 0)
            return -ENOENT;
        rc = by_key(a, after ? n.physical_offset : 0, look_at, &n);
        after = (uint64_t)n.physical_offset + 1;
    } while (!rc && !n.found);
    if (rc)
        return rc;
    *cookie = after;
    snprintf(a->name, sizeof a->name, "%" PRId32 "-%020" PRId64, a->queue, a->offset);
    return 0;
}

static const struct row key_rows[] = {
    {.name = "{message}", .kind = ROW_LINK, .mode = 0777, .flags = ROW_FLEETING, .load = key_message_load,
     .next = key_message_next, .text = message_link,
     .read_help = "a message with that key, as `QUEUE-OFFSET`: a link to it; newest first, its time is the store time"},
    {0},
};

static const struct row keys_rows[] = {
    {.name = "{key}", .kind = ROW_DIR, .mode = 0550, .flags = ROW_FLEETING, .rows = key_rows, .load = key_load,
     .next = key_next,
     .read_help = "the messages with that key: a word of their KEYS, or their unique id. Listed are 1,000 words of KEYS, those of "
                  "the newest messages (of at most 20,000); the others can be looked up"},
    {0},
};

static const struct row key_topics_rows[] = {
    {.name = "{topic}", .kind = ROW_DIR, .mode = 0550, .rows = keys_rows, .load = topic_load, .next = topic_next,
     .read_help = "keys of a topic; for owner and adminGroup"},
    {0},
};

/* ---- by id ---- */

static int id_load(struct at *a, struct str name)
{
    struct store_result *hold;
    struct message m;
    int rc = broker_message_by_id(a->b, name, &m, &hold);

    if (rc)
        return rc;
    rc = stands_in_queue(a, &m) ? at_topic(a, m.topic) : -ENOENT;
    if (!rc)
        take_place(a, &m);
    store_release(hold);
    return rc;
}

static const struct row id_rows[] = {
    {.name = "{id}", .kind = ROW_LINK, .mode = 0777, .flags = ROW_FLEETING | ROW_UNLISTED, .load = id_load, .text = message_link,
     .read_help = "the message of that offset id or unique id: a link to it; not listed"},
    {0},
};

/* ---- the files ---- */

static int files_text(struct at *a, struct buf *out)
{
    static const char *const heads[] = {"FILE", "FIRST_TIME", "LAST_TIME", "FIRST_OFFSET", "LAST_OFFSET", "SLOTS_USED",
                                        "ENTRIES_USED", "ENTRIES"};
    struct store_index_file x;
    struct table t;
    int rc = 0;

    table_start(&t, 8, heads);
    for (int i = 0; (rc = store_index_file(broker_store(a->b), i, &x)) == 0; i++) {
        table_put(&t, str_of(x.name));
        table_time(&t, x.first_time);
        table_time(&t, x.last_time);
        table_int(&t, x.first_offset);
        table_int(&t, x.last_offset);
        table_int(&t, x.slots_used);
        table_int(&t, x.entries_used);
        table_int(&t, x.entries);
    }
    if (rc != -ENOENT) {
        table_end(&t, out);
        return rc;
    }
    return table_end(&t, out);
}

const struct row index_rows[] = {
    {.name = "key", .kind = ROW_DIR, .mode = 0755, .rows = key_topics_rows, .read_help = "messages by key"},
    {.name = "id", .kind = ROW_DIR, .mode = 0755, .rows = id_rows, .read_help = "messages by id"},
    {.name = "files", .kind = ROW_FILE, .mode = 0444, .flags = ROW_VOLATILE, .text = files_text,
     .read_help = "table of the index files: store times and commit log offsets of the first and last message, slots "
                  "and entries used"},
    {0},
};

/* ---- by time ---- */

static int time_load(struct at *a, struct str name)
{
    int rc = broker_offset_at_time(a->b, str_of(a->topic.name), a->queue, name, &a->offset);

    if (!rc)
        a->mtime_ms = store_time_at(broker_store(a->b), store_queue_find(broker_store(a->b), str_of(a->topic.name), a->queue),
                                    a->offset);
    return rc == -EINVAL ? -ENOENT : rc;
}

static int time_text(struct at *a, struct buf *out)
{
    buf_printf(out, UP "messages/%020" PRId64, a->offset);
    return 0;
}

const struct row at_rows[] = {
    {.name = "{time}", .kind = ROW_LINK, .mode = 0777, .flags = ROW_FLEETING | ROW_UNLISTED, .load = time_load, .text = time_text,
     .read_help = "the first message stored at or after that time (`2026-11-20T10:00`, `2026-11-20 10:00:00`, or `@` and "
                  "ms since 1970): a link to it; not listed"},
    {0},
};
