/* Clients: the members of a group, those of a topic, all. */
#include "fs/row.h"

#include <errno.h>
#include <stdio.h>
#include "fs/escape.h"

/* A client chose its id itself: not every one is a file's name (fs/escape.h). Ids of 255 bytes may have a cut one. */
static uint64_t client_mark(struct str id)
{
    uint64_t h = UINT64_C(0xCBF29CE484222325);

    for (size_t i = 0; i < id.n; i++)
        h = (h ^ (unsigned char)id.p[i]) * UINT64_C(0x100000001B3);
    return h;
}

static int client_found(struct at *a)
{
    a->mtime_ms = a->client.last_heartbeat;
    return 0;
}

static int client_load_cut(struct at *a, struct str name)
{
    a->client.number = 0;
    while (broker_client_next(a->b, &a->clients, a->client.number, &a->client) == 0)
        if (name_is_of(name, str_of(a->client.id), client_mark(str_of(a->client.id))))
            return client_found(a);
    return -ENOENT;
}

static int client_load(struct at *a, struct str name)
{
    struct buf id = {0};
    uint64_t mark;
    int rc;

    if (name_is_cut(name, &mark))
        return client_load_cut(a, name);
    rc = name_unescape(name, &id);
    if (!rc)
        rc = broker_client_get(a->b, &a->clients, buf_str(&id), &a->client);
    buf_free(&id);
    return rc ? rc : client_found(a);
}

static int client_next(struct at *a, uint64_t after, uint64_t *cookie)
{
    int rc = broker_client_next(a->b, &a->clients, after, &a->client);

    if (rc)
        return rc;
    *cookie = a->client.number;
    name_escape(str_of(a->client.id), client_mark(str_of(a->client.id)), a->name);
    return client_found(a);
}

/* What a client said of itself: none of it may break a line. */
static void put_plain(struct buf *out, struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        buf_putc(out, (unsigned char)s.p[i] < ' ' ? '?' : s.p[i]);
}

static void client_line(struct buf *out, const char *name, const char *value)
{
    if (!value || !value[0])
        return;
    buf_printf(out, "%-14s ", name);
    put_plain(out, str_of(value));
    buf_putc(out, '\n');
}

static void subscription_line(void *arg, struct str topic, struct str type, struct str expression)
{
    struct str words[] = {topic, type, expression};

    buf_printf(arg, "%-14s", "subscription");
    for (size_t i = 0; i < 3; i++) {
        buf_putc(arg, ' ');
        put_plain(arg, words[i]);
    }
    buf_putc(arg, '\n');
}

struct holding {
    struct buf *out;
    const char *id;
};

static void holding_line(void *arg, const struct lag_info *r)
{
    struct holding *h = arg;

    if (r->holder && strcmp(r->holder, h->id) == 0)
        buf_printf(h->out, "%-14s %s %d\n", "queue", r->topic, (int)r->queue);
}

static void put_client(struct buf *out, const struct client_info *c)
{
    client_line(out, "address", c->address);
    client_line(out, "language", c->language);
    buf_printf(out, "%-14s %d\n", "version", (int)c->version);
    buf_printf(out, "%-14s ", "connected");
    buf_time(out, c->connected);
    buf_printf(out, "\n%-14s ", "last_heartbeat");
    buf_time(out, c->last_heartbeat);
    buf_putc(out, '\n');
}

static int member_text(struct at *a, struct buf *out)
{
    const struct client_info *c = &a->client;
    struct holding h = {out, c->id};

    put_client(out, c);
    client_line(out, "consume_type", c->consume_type);
    client_line(out, "model", c->message_model);
    client_line(out, "from_where", c->consume_from_where);
    if (a->kind != CONSUMER_GROUP)
        return 0;
    broker_subscriptions(a->b, a->clients.group, subscription_line, out);
    return broker_group_lag(a->b, a->clients.group, holding_line, &h);
}

static void group_line(void *arg, enum group_kind kind, struct str group)
{
    buf_printf(arg, "%-14s ", kind == CONSUMER_GROUP ? "consumer" : "producer");
    put_plain(arg, group);
    buf_putc(arg, '\n');
}

static int client_text(struct at *a, struct buf *out)
{
    put_client(out, &a->client);
    broker_client_groups(a->b, &a->clients, str_of(a->client.id), group_line, out);
    return 0;
}

#define CLIENT(text_fn, help) \
    {.name = "{client}", .kind = ROW_FILE, .mode = 0444, .flags = ROW_FLEETING | ROW_VOLATILE, .load = client_load, \
     .next = client_next, .text = text_fn, .read_help = help}

const struct row members_rows[] = {
    CLIENT(member_text, "one member: address, language, version, times, model, subscriptions, queues it holds; a line each"),
    {0},
};

const struct row clients_rows[] = {
    CLIENT(client_text, "a client: address, language, version, times, and the groups that it is here for; a line each"),
    {0},
};

/* ---- the directories ---- */

static int scope_load(struct at *a, struct str group, struct str topic)
{
    a->clients = (struct client_scope){a->kind, group, topic};
    a->mtime_ms = 0;
    return 0;
}

int members_load(struct at *a, struct str name) { return scope_load(a, str_of(a->group.name), str_of("")); }
int topic_clients_load(struct at *a, struct str name) { return scope_load(a, str_of(""), str_of(a->topic.name)); }
int all_clients_load(struct at *a, struct str name) { return scope_load(a, str_of(""), str_of("")); }
