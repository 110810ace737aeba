/* The root's rows, and what all rows share. */
#include "fs/row.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "common/codes.h"

/* Names at the root that no topic can have; some are for parts to come. */
static const char *const reserved[] = {"groups", "producers", "index", "broker", "cluster", "snapshots"};
#define ALIAS "topic:"

static bool is_reserved(struct str name)
{
    for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++)
        if (str_is(name, reserved[i]))
            return true;
    return false;
}

bool tree_topic_name(struct str topic, char out[TREE_NAME_MAX + 1])
{
    int n = snprintf(out, TREE_NAME_MAX + 1, "%s%.*s", is_reserved(topic) ? ALIAS : "", STR_ARG(topic));

    return n > 0 && n <= TREE_NAME_MAX;
}

/* The topic that a name at the root means; an empty slice when none can. */
static struct str topic_of_name(struct str name)
{
    struct str rest;

    if (!str_starts(name, ALIAS))
        return is_reserved(name) ? str_n("", 0) : name;
    rest = str_n(name.p + strlen(ALIAS), name.n - strlen(ALIAS));
    return is_reserved(rest) ? rest : str_n("", 0);
}

/* ---- parameters ---- */

int at_name(struct at *a, struct str name)
{
    if (!name.n || name.n > TREE_NAME_MAX || memchr(name.p, '/', name.n) || memchr(name.p, 0, name.n) ||
        str_is(name, ".") || str_is(name, ".."))
        return -ENOENT;
    memmove(a->name, name.p, name.n);
    a->name[name.n] = 0;
    return 0;
}

int at_topic(struct at *a, struct str topic)
{
    int rc = topic.n && topic.n <= TOPIC_NAME_MAX_LONG ? broker_topic_get(a->b, topic, &a->topic) : -ENOENT;

    if (rc)
        return rc;
    a->owner = a->topic.owner;
    a->mtime_ms = a->topic.last_time ? a->topic.last_time : a->topic.created;
    return 0;
}

int at_queue_number(struct str name, int32_t *out)
{
    int64_t v = 0;

    if (!name.n || name.n > 10 || (name.p[0] == '0' && name.n > 1))
        return -ENOENT;
    for (size_t i = 0; i < name.n; i++) {
        if (name.p[i] < '0' || name.p[i] > '9')
            return -ENOENT;
        v = v * 10 + (name.p[i] - '0');
    }
    if (v > INT32_MAX)
        return -ENOENT;
    *out = (int32_t)v;
    return 0;
}

/* ---- topics at the root ---- */

/* System topics stand in broker/system, retry and dead-letter topics with their groups. */
static bool is_listed(const struct topic_info *t)
{
    return !t->system && !topic_is_retry(str_of(t->name)) && !topic_is_dlq(str_of(t->name));
}

static int root_topic_load(struct at *a, struct str name) { return at_topic(a, topic_of_name(name)); }

static int root_topic_next(struct at *a, uint64_t after, uint64_t *cookie)
{
    int rc;

    while ((rc = broker_topic_next(a->b, (uint32_t)after, &a->topic)) == 0) {
        after = a->topic.id;
        *cookie = after;
        if (!is_listed(&a->topic) || !tree_topic_name(str_of(a->topic.name), a->name) || at_name(a, str_of(a->name)))
            continue;
        a->owner = a->topic.owner;
        a->mtime_ms = a->topic.last_time ? a->topic.last_time : a->topic.created;
        return 0;
    }
    return rc;
}

static int root_topic_make(struct at *a, struct str name, struct fault *f)
{
    struct topic_change ch = TOPIC_CHANGE_NONE;
    const struct caller *c = at_caller(a);
    struct str topic = topic_of_name(name);

    if (!topic.n && is_reserved(name))
        return fault_set(f, RC_INVALID_PARAMETER, EPERM, "%.*s is a name of the tree's own: a topic so called is " ALIAS "%.*s",
                         STR_ARG(name), STR_ARG(name));
    ch.owner = c->user;
    return broker_topic_create(a->b, c, topic.n ? topic : name, &ch, f);
}

static int root_topic_remove(struct at *a, struct fault *f)
{
    return broker_topic_delete(a->b, at_caller(a), str_of(a->topic.name), f);
}

static int root_topic_chown(struct at *a, const char *owner, struct fault *f)
{
    struct topic_change ch = TOPIC_CHANGE_NONE;

    ch.owner = owner;
    return broker_topic_update(a->b, at_caller(a), str_of(a->topic.name), &ch, f);
}

const struct row tree_rows[] = {
    {.name = "groups", .kind = ROW_DIR, .mode = 0775, .rows = groups_rows, .read_help = "consumer groups"},
    {.name = "producers", .kind = ROW_DIR, .mode = 0775, .rows = producers_rows, .read_help = "producer groups"},
    {.name = "index", .kind = ROW_DIR, .mode = 0755, .rows = index_rows, .read_help = "messages by key and by id"},
    {.name = "broker", .kind = ROW_DIR, .mode = 0755, .rows = broker_rows, .read_help = "the broker itself"},
    {.name = "snapshots", .kind = ROW_DIR, .mode = 0775, .rows = snapshots_rows, .read_help = "consistent copies of the store"},
    {.name = "{topic}", .kind = ROW_DIR, .mode = 0775, .rows = topic_rows, .load = root_topic_load, .next = root_topic_next,
     .make = root_topic_make, .remove = root_topic_remove, .chown = root_topic_chown,
     .read_help = "a topic; its owner is its maintainer, its time that of its last message. System topics are not listed. "
                  "A topic called like a name of the tree's own is `topic:NAME`",
     .write_help = "`mkdir` makes it, `rmdir` removes it, `chown` hands it over"},
    {0},
};

/* ---- values ---- */

int value_number(struct str value, int32_t *out, struct fault *f)
{
    int rc = str_i32(value, out);

    if (rc == 0 && *out >= 0)
        return 0;
    if (rc == -EINVAL)
        return fault_set(f, RC_INVALID_PARAMETER, EINVAL, "'%.*s' is not a number", STR_ARG(value));
    return fault_set(f, RC_INVALID_PARAMETER, ERANGE, "%.*s is out of range", STR_ARG(value));
}

int value_truth(struct str value, int32_t *out, struct fault *f)
{
    bool yes;

    if (str_bool(value, &yes))
        return fault_set(f, RC_INVALID_PARAMETER, EINVAL, "'%.*s' is neither true nor false", STR_ARG(value));
    *out = yes;
    return 0;
}

/* ---- text ---- */

void put_yes(struct buf *out, bool yes) { buf_puts(out, yes ? "true" : "false"); }

void table_start(struct table *t, int columns, const char *const *heads)
{
    memset(t, 0, sizeof *t);
    t->columns = columns;
    for (int i = 0; i < columns; i++)
        table_put(t, str_of(heads[i]));
}

void table_put(struct table *t, struct str cell)
{
    size_t *width = &t->width[t->n++ % t->columns];

    cell = str_trim(cell);
    if (!cell.n)
        cell = str_of("-");
    for (size_t i = 0; i < cell.n; i++)
        buf_putc(&t->cells, (unsigned char)cell.p[i] < ' ' ? '?' : cell.p[i]);
    buf_putc(&t->cells, 0);
    if (cell.n > *width)
        *width = cell.n;
}

void table_int(struct table *t, int64_t v)
{
    char digits[21];

    table_put(t, str_n(digits, fmt_i64(digits, v)));
}

void table_time(struct table *t, int64_t ms)
{
    struct buf b = {0};

    buf_time(&b, ms);
    table_put(t, buf_str(&b));
    buf_free(&b);
}

int table_end(struct table *t, struct buf *out)
{
    bool failed = buf_failed(&t->cells);
    const char *cell = t->cells.p;

    for (int i = 0; i < t->n && !failed; i++) {
        bool last = (i + 1) % t->columns == 0;

        if (last)
            buf_printf(out, "%s\n", cell);
        else
            buf_printf(out, "%-*s  ", (int)t->width[i % t->columns], cell);
        cell += strlen(cell) + 1;
    }
    buf_free(&t->cells);
    return failed || buf_failed(out) ? -ENOMEM : 0;
}

/* ---- docs/tree.md ---- */

#define DOC_DEPTH 8

static bool is_shown(const struct row *const *path, int depth, const struct row *rows)
{
    for (int i = 0; i < depth; i++)
        if (path[i]->rows == rows)
            return true;
    return false;
}

/* A bar would end the cell. */
static void doc_text(struct buf *out, const char *text)
{
    for (; text && *text; text++) {
        if (*text == '|')
            buf_putc(out, '\\');
        buf_putc(out, *text);
    }
}

static void doc_rows(struct buf *out, const struct row *rows, const char *above, const struct row **path, int depth)
{
    for (const struct row *r = rows; r->name; r++) {
        char place[512];

        snprintf(place, sizeof place, "%s/%s", above, r->name);
        buf_printf(out, "| `%s%s` | %04o | ", place, r->kind == ROW_DIR ? "/" : r->kind == ROW_LINK ? "@" : "", (unsigned)r->mode);
        doc_text(out, r->read_help);
        buf_puts(out, " | ");
        doc_text(out, r->write_help);
        buf_puts(out, " |\n");
        if (!r->rows || depth >= DOC_DEPTH || is_shown(path, depth, r->rows) || (rows != tree_rows && r->rows == topic_rows))
            continue;
        path[depth] = r;
        doc_rows(out, r->rows, place, path, depth + 1);
    }
}

void tree_print_doc(struct buf *out)
{
    const struct row *path[DOC_DEPTH + 1];

    buf_puts(out, "| path | mode | read | write, make, remove |\n|---|---|---|---|\n");
    doc_rows(out, tree_rows, "", path, 0);
}
