/* What the tree sees of clients: copies, one at a time. */
#include <errno.h>

#include "broker/clients_priv.h"
#include "broker/meta.h"

static void view(const struct member *m, struct client_info *out)
{
    const struct client_group *g = m->group;

    *out = (struct client_info){.number = m->number, .language = language_name(m->language), .version = m->version,
                                .connected = m->connected, .last_heartbeat = m->last_heartbeat};
    str_copy(out->id, sizeof(out->id), str_of(m->id));
    str_copy(out->address, sizeof(out->address), str_of(conn_peer(m->conn)));
    if (g->kind == CONSUMER_GROUP) {
        out->consume_type = g->consume_type;
        out->message_model = g->message_model;
        out->consume_from_where = g->consume_from_where;
    }
}

/* ---- scopes ---- */

static void scope_lock(struct broker *b, const struct client_scope *in)
{
    if (in->topic.n)                 /* bindings are asked for */
        meta_read(b->meta);
    pthread_mutex_lock(&b->clients->lock);
}

static void scope_done(struct broker *b, const struct client_scope *in)
{
    pthread_mutex_unlock(&b->clients->lock);
    if (in->topic.n)
        meta_done(b->meta);
}

static bool group_of_topic(struct broker *b, const struct client_group *g, struct str topic)
{
    struct client_subscription *s;
    struct group *bound;

    if (g->kind == PRODUCER_GROUP) {
        bound = meta_group(b->meta, PRODUCER_GROUP, str_of(g->name));
        return bound && group_binding(bound, topic);
    }
    HASH_FIND(hh, g->subscriptions, topic.p, topic.n, s);
    return s;
}

/* The first group in the scope (after NULL), or the next one; NULL at the end. Under scope_lock. */
static struct client_group *scope_group(struct broker *b, const struct client_scope *in, const struct client_group *after)
{
    struct clients *cl = b->clients;
    struct client_group *g;

    if (in->group.n)
        return after ? NULL : clients_group(cl, in->kind, in->group);
    g = after ? after->hh.next : cl->groups[CONSUMER_GROUP];
    for (enum group_kind kind = after ? after->kind : CONSUMER_GROUP;;) {
        for (; g; g = g->hh.next)
            if (!in->topic.n || group_of_topic(b, g, in->topic))
                return g;
        if (kind == PRODUCER_GROUP)
            return NULL;
        kind = PRODUCER_GROUP;
        g = cl->groups[kind];
    }
}

/* The client's membership with the smallest number; NULL. Under scope_lock. */
static struct member *first_of(struct broker *b, const struct client_scope *in, struct str id)
{
    struct member *m, *first = NULL;

    for (struct client_group *g = NULL; id.n && (g = scope_group(b, in, g)) != NULL;) {
        HASH_FIND(hh, g->members, id.p, id.n, m);
        if (m && (!first || m->number < first->number))
            first = m;
    }
    return first;
}

static struct member *member_after(struct broker *b, const struct client_scope *in, uint64_t after)
{
    struct member *best = NULL, *m;

    for (struct client_group *g = NULL; (g = scope_group(b, in, g)) != NULL;) {
        for (m = g->members; m && m->number <= after; m = m->hh.next)
            ;                        /* they stand in the order of joining */
        if (m && (!best || m->number < best->number))
            best = m;
    }
    return best;
}

/* ---- the door's ---- */

int broker_client_next(struct broker *b, const struct client_scope *in, uint64_t after, struct client_info *out)
{
    struct member *m;

    scope_lock(b, in);
    while ((m = member_after(b, in, after)) != NULL && first_of(b, in, str_of(m->id)) != m)
        after = m->number;
    if (m)
        view(m, out);
    scope_done(b, in);
    return m ? 0 : -ENOENT;
}

int broker_client_get(struct broker *b, const struct client_scope *in, struct str id, struct client_info *out)
{
    struct member *m;

    scope_lock(b, in);
    m = first_of(b, in, id);
    if (m)
        view(m, out);
    scope_done(b, in);
    return m ? 0 : -ENOENT;
}

void broker_client_groups(struct broker *b, const struct client_scope *in, struct str id,
                          void (*each)(void *arg, enum group_kind kind, struct str group), void *arg)
{
    struct member *m;

    scope_lock(b, in);
    for (struct client_group *g = NULL; id.n && (g = scope_group(b, in, g)) != NULL;) {
        HASH_FIND(hh, g->members, id.p, id.n, m);
        if (m)
            each(arg, g->kind, str_of(g->name));
    }
    scope_done(b, in);
}

void broker_subscriptions(struct broker *b, struct str group,
                          void (*each)(void *arg, struct str topic, struct str expression_type, struct str expression), void *arg)
{
    clients_each_subscription(b->clients, group, each, arg);
}
