#include "broker/clients_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "broker/meta.h"
#include "common/clock.h"
#include "common/json.h"
#include "common/log.h"

#define REQUEST_NOTIFY_CONSUMER_IDS_CHANGED 40
#define MEMBERS_PER_NOTICE 4096      /* members told at once; more than any group should have */

/* ---- words ---- */

struct word_list {
    const char *words;
    const char *names[6];
};
static const struct word_list word_lists[] = {
    {CONSUME_TYPES, {"CONSUME_PASSIVELY", "CONSUME_ACTIVELY", "CONSUME_POP"}},
    {MESSAGE_MODELS, {"CLUSTERING", "BROADCASTING", "LITE_SELECTIVE"}},
    {CONSUME_FROM_WHERES,
     {"CONSUME_FROM_LAST_OFFSET", "CONSUME_FROM_FIRST_OFFSET", "CONSUME_FROM_TIMESTAMP",
      "CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST", "CONSUME_FROM_MIN_OFFSET", "CONSUME_FROM_MAX_OFFSET"}},
};

const char *clients_word(const char *words, struct str name)
{
    const struct word_list *l = word_lists;

    while (strcmp(l->words, words) != 0)
        l++;
    for (size_t i = 0; i < sizeof(l->names) / sizeof(l->names[0]) && l->names[i]; i++)
        if (str_is(name, l->names[i]))
            return l->names[i];
    return l->names[0];
}

/* ---- the tables; all static functions here want the lock ---- */

struct client_group *clients_group(struct clients *cl, enum group_kind kind, struct str name)
{
    struct client_group *g = NULL;

    if (name.n)
        HASH_FIND(hh, cl->groups[kind], name.p, name.n, g);
    return g;
}

static struct client_group *group_make(struct clients *cl, enum group_kind kind, struct str name)
{
    struct client_group *g = clients_group(cl, kind, name);

    if (g)
        return g;
    g = calloc(1, sizeof(*g));
    if (!g || !(g->name = str_dup(name))) {
        free(g);
        return NULL;
    }
    g->kind = kind;
    g->consume_type = clients_word(CONSUME_TYPES, str_of(""));
    g->message_model = clients_word(MESSAGE_MODELS, str_of(""));
    g->consume_from_where = clients_word(CONSUME_FROM_WHERES, str_of(""));
    HASH_ADD_KEYPTR(hh, cl->groups[kind], g->name, name.n, g);
    return g;
}

static void subscription_free(struct client_group *g, struct client_subscription *s)
{
    HASH_DEL(g->subscriptions, s);
    free(s->topic);
    free(s->type);
    free(s->expression);
    free(s);
}

static void group_free_if_empty(struct clients *cl, struct client_group *g)
{
    struct client_subscription *s, *next;

    if (g->members)
        return;
    HASH_ITER(hh, g->subscriptions, s, next)
        subscription_free(g, s);
    HASH_DEL(cl->groups[g->kind], g);
    free(g->name);
    free(g);
}

static void conn_unlink(struct member *m)
{
    struct member *first = conn_data(m->conn), **at = &first;

    while (*at && *at != m)
        at = &(*at)->conn_next;
    if (*at)
        *at = m->conn_next;
    conn_set_data(m->conn, first);
}

static void member_free(struct clients *cl, struct member *m)
{
    struct client_group *g = m->group;

    conn_unlink(m);
    HASH_DEL(g->members, m);
    conn_drop(m->conn);
    free(m->id);
    free(m);
    group_free_if_empty(cl, g);
}

static struct member *member_find(struct client_group *g, struct str id)
{
    struct member *m = NULL;

    if (g && id.n)
        HASH_FIND(hh, g->members, id.p, id.n, m);
    return m;
}

static void member_attach(struct member *m, struct conn *conn)
{
    m->conn = conn_hold(conn);
    m->conn_next = conn_data(conn);
    conn_set_data(conn, m);
}

static struct member *member_make(struct clients *cl, struct client_group *g, struct str id, struct conn *conn)
{
    struct member *m = calloc(1, sizeof(*m));

    if (!m || !(m->id = str_dup(id))) {
        free(m);
        return NULL;
    }
    m->group = g;
    m->number = ++cl->n_joined;
    m->connected = wall_ms();
    member_attach(m, conn);
    HASH_ADD_KEYPTR(hh, g->members, m->id, id.n, m);
    return m;
}

/* ---- subscriptions ---- */

static bool text_set(char **at, struct str v)
{
    char *z;

    if (*at && str_is(v, *at))
        return true;
    z = str_dup(v);
    if (!z)
        return false;
    free(*at);
    *at = z;
    return true;
}

/* One SubscriptionData into the table. 1: new topic, 0: known, -ENOMEM. Older versions change nothing. */
static int subscription_put(struct client_group *g, const struct json *d)
{
    struct str topic = json_str(d, "topic"), type = json_str(d, "expressionType");
    struct client_subscription *s = NULL;
    int64_t version = json_int(d, "subVersion", 0);
    bool is_new = false;

    if (!topic.n || topic.n > TOPIC_NAME_MAX_LONG)
        return 0;
    HASH_FIND(hh, g->subscriptions, topic.p, topic.n, s);
    if (s)
        s->listed = g->beats;
    if (s && version < s->version)
        return 0;
    if (!s) {
        s = calloc(1, sizeof(*s));
        if (!s || !(s->topic = str_dup(topic))) {
            free(s);
            return -ENOMEM;
        }
        HASH_ADD_KEYPTR(hh, g->subscriptions, s->topic, topic.n, s);
        is_new = true;
    }
    s->version = version;
    s->listed = g->beats;
    if (!text_set(&s->type, type.n ? type : str_of("TAG")) || !text_set(&s->expression, json_str(d, "subString"))) {
        subscription_free(g, s);
        return -ENOMEM;
    }
    return is_new;
}

/* 1: topics came or went; 0; -ENOMEM */
static int subscriptions_set(struct client_group *g, const struct json *list)
{
    struct client_subscription *s, *next;
    int changed = 0;

    g->beats++;
    json_each(d, list) {
        int rc = subscription_put(g, d);
        if (rc < 0)
            return rc;
        changed |= rc;
    }
    HASH_ITER(hh, g->subscriptions, s, next) {
        if (s->listed != g->beats) {
            log_info("group %s no longer subscribes topic %s", g->name, s->topic);
            subscription_free(g, s);
            changed = 1;
        }
    }
    return changed;
}

/* ---- joining and leaving ---- */

/* Does a connection have as many members as it may? */
static bool is_full(const struct conn *conn)
{
    int n = 0;

    for (const struct member *m = conn_data(conn); m && n < CONN_GROUPS_MAX; m = m->conn_next)
        n++;
    return n == CONN_GROUPS_MAX;
}

static int join_locked(struct clients *cl, enum group_kind kind, struct str group, struct conn *conn, struct str id,
                       const struct command *cmd, const struct consumer_data *cd, bool *changed)
{
    struct client_group *g = group_make(cl, kind, group);
    struct member *m = member_find(g, id);
    int rc = 0;

    if (!g)
        return -ENOMEM;
    if ((!m || m->conn != conn) && is_full(conn)) {
        group_free_if_empty(cl, g);
        return -E2BIG;
    }
    if (m && m->conn != conn) {      /* the client came back on another connection */
        conn_unlink(m);
        conn_drop(m->conn);
        member_attach(m, conn);
        *changed = true;
    } else if (!m) {
        m = member_make(cl, g, id, conn);
        if (!m) {
            group_free_if_empty(cl, g);
            return -ENOMEM;
        }
        *changed = true;
    }
    m->language = cmd->language;
    m->version = cmd->version;
    m->last_heartbeat = wall_ms();
    if (cd) {
        g->consume_type = cd->consume_type;
        g->message_model = cd->message_model;
        g->consume_from_where = cd->consume_from_where;
        g->fingerprint = cd->fingerprint;
        if (cd->subscriptions)
            rc = subscriptions_set(g, cd->subscriptions);
        if (rc > 0)
            *changed = true;
    }
    if (!conn_open(conn)) {          /* its closed() may have run before this: nobody else would remove the member */
        member_free(cl, m);
        return -ENOTCONN;
    }
    return rc < 0 ? rc : 0;
}

int clients_join(struct clients *cl, enum group_kind kind, struct str group, struct conn *conn, struct str id,
                 const struct command *cmd, const struct consumer_data *cd, bool *changed)
{
    int rc;

    pthread_mutex_lock(&cl->lock);
    rc = join_locked(cl, kind, group, conn, id, cmd, cd, changed);
    pthread_mutex_unlock(&cl->lock);
    return rc;
}

bool clients_leave(struct clients *cl, enum group_kind kind, struct str group, struct str id, const struct conn *conn)
{
    struct member *m;
    bool was;

    pthread_mutex_lock(&cl->lock);
    m = member_find(clients_group(cl, kind, group), id);
    was = m && m->conn == conn;
    if (was)
        member_free(cl, m);
    pthread_mutex_unlock(&cl->lock);
    return was;
}

/* Names of consumer groups that lost a member, collected under the lock, told without it. */
struct lost {
    char **names;
    size_t n;
};

static void lost_add(struct lost *l, const struct client_group *g)
{
    char **more;

    if (g->kind != CONSUMER_GROUP)
        return;
    more = realloc(l->names, (l->n + 1) * sizeof(*more));
    if (!more)
        return;                      /* the others find out at their next rebalance, 20 s */
    l->names = more;
    if ((l->names[l->n] = str_dup(str_of(g->name))))
        l->n++;
}

static void lost_tell(struct broker *b, struct lost *l)
{
    for (size_t i = 0; i < l->n; i++) {
        clients_notify_group(b, str_of(l->names[i]));
        free(l->names[i]);
    }
    free(l->names);
}

void clients_conn_closed(struct broker *b, struct conn *c)
{
    struct clients *cl = b->clients;
    struct lost lost = {0};
    struct member *m;

    pthread_mutex_lock(&cl->lock);
    while ((m = conn_data(c))) {
        log_info("client %s at %s left group %s: its connection ended", m->id, conn_peer(c), m->group->name);
        lost_add(&lost, m->group);
        member_free(cl, m);
    }
    pthread_mutex_unlock(&cl->lock);
    lost_tell(b, &lost);
}

void clients_sweep(struct broker *b)
{
    struct clients *cl = b->clients;
    int64_t oldest = wall_ms() - broker_conf(b)->channel_expired_timeout;
    struct client_group *g, *next_g;
    struct member *m, *next_m;
    struct lost lost = {0};

    pthread_mutex_lock(&cl->lock);
    for (int kind = 0; kind < 2; kind++)
        HASH_ITER(hh, cl->groups[kind], g, next_g)
            HASH_ITER(hh, g->members, m, next_m) {       /* g goes with its last member: not touched after that */
                if (m->last_heartbeat >= oldest)
                    continue;
                log_warn("client %s of group %s sent no heartbeat for %d ms and was removed", m->id, g->name,
                         broker_conf(b)->channel_expired_timeout);
                lost_add(&lost, g);
                member_free(cl, m);
            }
    pthread_mutex_unlock(&cl->lock);
    lost_tell(b, &lost);
}

/* ---- telling members ---- */

static bool wants_notice(struct broker *b, struct str group)
{
    struct group *g;
    bool yes = broker_conf(b)->notify_consumer_ids_changed_enable;

    meta_read(b->meta);
    g = meta_group(b->meta, CONSUMER_GROUP, group);
    if (g && !g->info.notify_ids_changed)
        yes = false;
    meta_done(b->meta);
    return yes;
}

static bool is_broadcast(struct clients *cl, struct str group)
{
    struct client_group *g;
    bool yes;

    pthread_mutex_lock(&cl->lock);
    g = clients_group(cl, CONSUMER_GROUP, group);
    yes = g && strcmp(g->message_model, "BROADCASTING") == 0;
    pthread_mutex_unlock(&cl->lock);
    return yes;
}

/* Every member's connection, held: to be dropped by the caller. How many were put in out (at most max). */
static int members(struct clients *cl, struct str group, struct conn **out, int max)
{
    struct client_group *g;
    struct member *m, *next;
    int n = 0;

    pthread_mutex_lock(&cl->lock);
    g = clients_group(cl, CONSUMER_GROUP, group);
    if (g)
        HASH_ITER(hh, g->members, m, next)
            if (n < max)
                out[n++] = conn_hold(m->conn);
    pthread_mutex_unlock(&cl->lock);
    return n;
}

void clients_notify_group(struct broker *b, struct str group)
{
    struct conn **to;
    int n;

    if (!wants_notice(b, group) || is_broadcast(b->clients, group))
        return;
    to = malloc(MEMBERS_PER_NOTICE * sizeof(*to));
    if (!to)
        return;
    n = members(b->clients, group, to, MEMBERS_PER_NOTICE);
    for (int i = 0; i < n; i++) {
        struct command cmd = {.code = REQUEST_NOTIFY_CONSUMER_IDS_CHANGED, .version = VERSION_V5_5_0,
                              .language = LANG_OTHER, .flag = FLAG_ONEWAY};
        command_add(&cmd, "consumerGroup", group);
        conn_ask(to[i], &cmd, 0, NULL, NULL);
        conn_drop(to[i]);
    }
    free(to);
}

/* ---- questions ---- */

struct conn *clients_member(struct clients *cl, enum group_kind kind, struct str group, struct str client_id)
{
    struct member *m;
    struct conn *c;

    pthread_mutex_lock(&cl->lock);
    m = member_find(clients_group(cl, kind, group), client_id);
    c = m ? conn_hold(m->conn) : NULL;
    pthread_mutex_unlock(&cl->lock);
    return c;
}

static bool online(struct clients *cl, enum group_kind kind, struct str group)
{
    bool yes;
    pthread_mutex_lock(&cl->lock);
    yes = clients_group(cl, kind, group) != NULL;
    pthread_mutex_unlock(&cl->lock);
    return yes;
}

bool clients_consumer_online(struct clients *cl, struct str group) { return online(cl, CONSUMER_GROUP, group); }
bool clients_producer_online(struct clients *cl, struct str group) { return online(cl, PRODUCER_GROUP, group); }

void clients_subscription(struct clients *cl, struct str group, struct str topic, struct subscription *out)
{
    struct client_group *g;
    struct client_subscription *s = NULL;

    out->found = out->group_online = out->broadcasting = out->sql = false;
    out->version = 0;
    out->expression[0] = 0;
    pthread_mutex_lock(&cl->lock);
    g = clients_group(cl, CONSUMER_GROUP, group);
    if (g) {
        out->group_online = true;
        out->broadcasting = strcmp(g->message_model, "BROADCASTING") == 0;
        if (topic.n)
            HASH_FIND(hh, g->subscriptions, topic.p, topic.n, s);
    }
    if (s) {
        out->found = str_copy(out->expression, sizeof(out->expression), str_of(s->expression));
        out->version = s->version;
        out->sql = strcmp(s->type, "SQL92") == 0;
    }
    pthread_mutex_unlock(&cl->lock);
}

void clients_each_subscription(struct clients *cl, struct str group,
                               void (*each)(void *arg, struct str topic, struct str type, struct str expression), void *arg)
{
    struct client_group *g;
    struct client_subscription *s, *next;

    pthread_mutex_lock(&cl->lock);
    g = clients_group(cl, CONSUMER_GROUP, group);
    if (g)
        HASH_ITER(hh, g->subscriptions, s, next)
            each(arg, str_of(s->topic), str_of(s->type), str_of(s->expression));
    pthread_mutex_unlock(&cl->lock);
}

void clients_each_group_of(struct clients *cl, struct str topic, void (*each)(void *arg, struct str group), void *arg)
{
    struct client_group *g, *next;
    struct client_subscription *s;

    pthread_mutex_lock(&cl->lock);
    HASH_ITER(hh, cl->groups[CONSUMER_GROUP], g, next) {
        HASH_FIND(hh, g->subscriptions, topic.p, topic.n, s);
        if (s)
            each(arg, str_of(g->name));
    }
    pthread_mutex_unlock(&cl->lock);
}

/* ---- life ---- */

int clients_open(struct broker *b, struct clients **out)
{
    struct clients *cl = calloc(1, sizeof(*cl));

    (void)b;
    if (!cl)
        return -ENOMEM;
    pthread_mutex_init(&cl->lock, NULL);
    *out = cl;
    return 0;
}

void clients_close(struct clients *cl)
{
    for (int kind = 0; kind < 2; kind++)
        while (cl->groups[kind])
            member_free(cl, cl->groups[kind]->members);      /* a group lives while it has a member */
    pthread_mutex_destroy(&cl->lock);
    free(cl);
}
