/* What the tree sees of clients: copies, one at a time. */
#include <errno.h>

#include "broker/clients_priv.h"

static void view(const struct member *m, struct client_info *out)
{
    const struct client_group *g = m->group;

    *out = (struct client_info){.language = language_name(m->language), .version = m->version, .connected = m->connected,
                                .last_heartbeat = m->last_heartbeat};
    str_copy(out->id, sizeof(out->id), str_of(m->id));
    str_copy(out->address, sizeof(out->address), str_of(conn_peer(m->conn)));
    if (g->kind == CONSUMER_GROUP) {
        out->consume_type = g->consume_type;
        out->message_model = g->message_model;
        out->consume_from_where = g->consume_from_where;
    }
}

int broker_client_at(struct broker *b, enum group_kind kind, struct str group, uint32_t n, struct client_info *out)
{
    struct clients *cl = b->clients;
    struct client_group *g;
    struct member *m, *next;
    int rc = -ENOENT;

    pthread_mutex_lock(&cl->lock);
    g = clients_group(cl, kind, group);
    if (g)
        HASH_ITER(hh, g->members, m, next)
            if (n-- == 0) {
                view(m, out);
                rc = 0;
                break;
            }
    pthread_mutex_unlock(&cl->lock);
    return rc;
}

int broker_client_get(struct broker *b, enum group_kind kind, struct str group, struct str id, struct client_info *out)
{
    struct clients *cl = b->clients;
    struct client_group *g;
    struct member *m = NULL;

    pthread_mutex_lock(&cl->lock);
    g = clients_group(cl, kind, group);
    if (g && id.n)
        HASH_FIND(hh, g->members, id.p, id.n, m);
    if (m)
        view(m, out);
    pthread_mutex_unlock(&cl->lock);
    return m ? 0 : -ENOENT;
}

void broker_subscriptions(struct broker *b, struct str group,
                          void (*each)(void *arg, struct str topic, struct str expression_type, struct str expression), void *arg)
{
    clients_each_subscription(b->clients, group, each, arg);
}
