/* The broker itself: configuration, runtime values, audit, last_error. */
#include "fs/tree_priv.h"

#include <errno.h>

/* ---- configuration ---- */

#define LIVE 0664
#define FIXED 0444

static int key_load(struct at *a, struct str name)
{
    a->key = conf_find(broker_config_table(), name);
    if (!a->key)
        return -ENOENT;
    a->mode = a->key->live ? LIVE : FIXED;
    return 0;
}

static int key_next(struct at *a, uint64_t after, uint64_t *cookie)
{
    const struct conf_table *t = broker_config_table();

    if (after >= t->n)
        return -ENOENT;
    *cookie = after + 1;
    a->key = &t->rows[after];
    a->mode = a->key->live ? LIVE : FIXED;
    return at_name(a, str_of(a->key->name));
}

static int key_text(struct at *a, struct buf *out)
{
    broker_config_get(a->b, a->key, out);
    return 0;
}

static int key_set(struct at *a, struct str value, struct fault *f)
{
    return broker_config_set(a->b, at_caller(a), str_of(a->key->name), value, f);
}

static const struct row config_rows[] = {
    {.name = "{key}", .kind = ROW_FILE, .mode = FIXED, .load = key_load, .next = key_next, .text = key_text, .set = key_set,
     .read_help = "a configuration key; mode 0664 when it can change while running", .write_help = "sets and keeps it"},
    {0},
};

/* ---- runtime values ---- */

struct wanted {
    struct at *a;
    struct str name;         /* this one, or */
    uint64_t number;         /* when the name is empty: the n-th from 0 */
    uint64_t seen;
    bool found;
};

static void pick(void *arg, const char *name, const char *value)
{
    struct wanted *w = arg;

    if (w->found || !(w->name.n ? str_is(w->name, name) : w->seen++ == w->number))
        return;
    w->found = w->name.n || at_name(w->a, str_of(name)) == 0;
    if (!str_copy(w->a->value, sizeof w->a->value, str_of(value)))
        str_copy(w->a->value, sizeof w->a->value, str_n(value, sizeof w->a->value - 1));
}

static int stat_load(struct at *a, struct str name)
{
    struct wanted w = {.a = a, .name = name};

    broker_runtime(a->b, pick, &w);
    return w.found ? 0 : -ENOENT;
}

static int stat_next(struct at *a, uint64_t after, uint64_t *cookie)
{
    struct wanted w = {.a = a, .number = after};

    broker_runtime(a->b, pick, &w);
    *cookie = after + 1;
    return w.found ? 0 : -ENOENT;
}

static int stat_text(struct at *a, struct buf *out)
{
    buf_puts(out, a->value);
    return 0;
}

static const struct row stats_rows[] = {
    {.name = "{name}", .kind = ROW_FILE, .mode = 0444, .flags = ROW_VOLATILE, .load = stat_load, .next = stat_next,
     .text = stat_text, .read_help = "a runtime value, by RocketMQ's name for it"},
    {0},
};

static void status_row(void *arg, const char *name, const char *value)
{
    table_put(arg, str_of(name));
    table_put(arg, str_of(value));
}

static int status_text(struct at *a, struct buf *out)
{
    static const char *const heads[] = {"NAME", "VALUE"};
    struct table t;

    table_start(&t, 2, heads);
    broker_runtime(a->b, status_row, &t);
    return table_end(&t, out);
}

/* ---- system topics ---- */

static int system_topic_load(struct at *a, struct str name)
{
    int rc = at_topic(a, name);

    return rc ? rc : a->topic.system ? 0 : -ENOENT;
}

/* Retry and dead-letter topics stand with their groups. */
static int system_topic_next(struct at *a, uint64_t after, uint64_t *cookie)
{
    int rc;

    while ((rc = broker_topic_next(a->b, (uint32_t)after, &a->topic)) == 0) {
        struct str name = str_of(a->topic.name);

        after = a->topic.id;
        *cookie = after;
        if (!a->topic.system || topic_is_retry(name) || topic_is_dlq(name) || at_name(a, name))
            continue;
        a->owner = a->topic.owner;
        a->mtime_ms = a->topic.last_time ? a->topic.last_time : a->topic.created;
        return 0;
    }
    return rc;
}

static const struct row system_rows[] = {
    {.name = "{topic}", .kind = ROW_DIR, .mode = 0755, .rows = topic_rows, .load = system_topic_load, .next = system_topic_next,
     .read_help = "a topic of the system's, with a topic's files"},
    {0},
};

/* ---- name servers ---- */

static void name_server_row(void *arg, const char *addr, int64_t last_ok_ms, const char *error)
{
    table_put(arg, str_of(addr));
    table_time(arg, last_ok_ms);
    table_put(arg, str_of(error ? error : ""));
}

static int name_servers_text(struct at *a, struct buf *out)
{
    static const char *const heads[] = {"ADDRESS", "LAST_REGISTERED", "ERROR"};
    struct table t;

    table_start(&t, 3, heads);
    broker_name_servers(a->b, name_server_row, &t);
    return table_end(&t, out);
}

/* ---- audit and last_error ---- */

static const char *audit_file(struct at *a) { return broker_audit_path(a->b); }

static int last_error_text(struct at *a, struct buf *out)
{
    last_errors_get(a->t->errors, a->who->uid, out);
    return 0;
}

const struct row broker_rows[] = {
    {.name = "config", .kind = ROW_DIR, .mode = 0775, .rows = config_rows, .read_help = "the configuration"},
    {.name = "stats", .kind = ROW_DIR, .mode = 0755, .rows = stats_rows, .read_help = "runtime values, one a file"},
    {.name = "status", .kind = ROW_FILE, .mode = 0444, .flags = ROW_VOLATILE, .text = status_text,
     .read_help = "all runtime values in one table"},
    {.name = "clients", .kind = ROW_DIR, .mode = 0755, .rows = clients_rows, .load = all_clients_load,
     .read_help = "all clients that are connected"},
    {.name = "name_servers", .kind = ROW_FILE, .mode = 0444, .flags = ROW_VOLATILE, .text = name_servers_text,
     .read_help = "table: each name server, when the broker last registered there, what is wrong with it now"},
    {.name = "system", .kind = ROW_DIR, .mode = 0755, .rows = system_rows, .read_help = "the system's own topics"},
    {.name = "audit", .kind = ROW_FILE, .mode = 0440, .flags = ROW_VOLATILE | ROW_RAW, .path = audit_file,
     .read_help = "each change of governance or configuration, one JSON line; for root and adminGroup"},
    {.name = "last_error", .kind = ROW_FILE, .mode = 0444, .flags = ROW_VOLATILE, .text = last_error_text,
     .read_help = "why your last refused change was refused"},
    {0},
};
