/* Brokers: how they come and go. */
#include "namesrv/routes.h"

#include <errno.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "namesrv/tables.h"

#define PIECE 512                        /* topics that are applied under one hold of the lock */

int routes_open(struct routes **out)
{
    struct routes *r = calloc(1, sizeof(*r));
    pthread_rwlockattr_t attr;

    if (!r)
        return -ENOMEM;
    pthread_mutex_init(&r->turn, NULL);
    pthread_rwlockattr_init(&attr);
    /* Else clients that ask without a pause would keep brokers from registering. */
    pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&r->lock, &attr);
    pthread_rwlockattr_destroy(&attr);
    *out = r;
    return 0;
}

static void member_free(struct member *m)
{
    if (m)
        free(m->filters);
    free(m);
}

static void brokers_free(struct brokers *b)
{
    while (b->members) {
        struct member *m = b->members;
        b->members = m->next;
        member_free(m);
    }
    free(b->name);
    free(b->cluster);
    free(b->zone);
    free(b);
}

void routes_close(struct routes *r)
{
    struct brokers *b, *next;

    if (!r)
        return;
    routed_free_all(r);
    HASH_ITER(hh, r->brokers, b, next) {
        HASH_DEL(r->brokers, b);
        brokers_free(b);
    }
    pthread_rwlock_destroy(&r->lock);
    pthread_mutex_destroy(&r->turn);
    free(r);
}

struct brokers *brokers_find(struct routes *r, struct str name)
{
    struct brokers *b;

    HASH_FIND(hh, r->brokers, name.p, (unsigned)name.n, b);
    return b;
}

/* By address. */
static struct member *brokers_member(struct brokers *b, struct str cluster, struct str addr)
{
    for (struct member *m = b->members; m; m = m->next)
        if (str_is(addr, m->addr) && str_is(cluster, m->cluster))
            return m;
    return NULL;
}

/* ---- who must hear of a new smallest id ---- */

void min_change_free(struct min_change *list)
{
    while (list) {
        struct min_change *c = list;
        list = c->next;
        for (size_t i = 0; i < c->n_to; i++)
            free(c->to[i]);
        free(c->to);
        free(c->min_addr);
        free(c->offline_addr);
        free(c->ha_addr);
        free(c->broker_name);
        free(c);
    }
}

/* To all members when one went offline; to all but the new smallest when it is the one that came. */
static void min_changed(const struct brokers *b, const char *offline, const char *ha, struct min_change **list)
{
    struct min_change *c = calloc(1, sizeof(*c));
    size_t n = 0;

    if (!c)
        return;
    for (const struct member *m = b->members; m; m = m->next)
        n++;
    c->next = *list;
    *list = c;
    c->min_id = b->members->id;
    c->min_addr = strdup(b->members->addr);
    c->broker_name = strdup(b->name);
    c->offline_addr = offline ? strdup(offline) : NULL;
    c->ha_addr = ha ? strdup(ha) : NULL;
    c->to = calloc(n, sizeof(*c->to));
    for (const struct member *m = b->members; m && c->to; m = m->next)
        if ((offline || n == 1 || m != b->members) && (c->to[c->n_to] = strdup(m->addr)))
            c->n_to++;
}

/* ---- registration ---- */

static bool name_ok(struct str s)
{
    return s.n && s.n <= NAMESRV_NAME_MAX && !memchr(s.p, 0, s.n);
}

static bool newcomer_ok(const struct newcomer *h)
{
    return name_ok(h->who.cluster) && name_ok(h->who.name) && name_ok(h->who.addr) &&
           (!h->ha_addr.n || name_ok(h->ha_addr)) && (!h->zone.n || name_ok(h->zone));
}

static char *place(char **at, struct str s)
{
    char *z = *at;

    if (s.n)
        memcpy(z, s.p, s.n);
    z[s.n] = 0;
    *at += s.n + 1;
    return z;
}

static int copy_filters(struct member *m, const struct registration *body)
{
    size_t texts = 0;
    char *at;

    if (!body->n_filters)
        return 0;
    for (size_t i = 0; i < body->n_filters; i++)
        texts += body->filters[i].n + 1;
    m->filters = malloc(body->n_filters * sizeof(*m->filters) + texts);
    if (!m->filters)
        return -ENOMEM;
    at = (char *)(m->filters + body->n_filters);
    for (size_t i = 0; i < body->n_filters; i++) {
        m->filters[i].p = place(&at, body->filters[i]);
        m->filters[i].n = body->filters[i].n;
    }
    m->n_filters = body->n_filters;
    return 0;
}

static struct member *member_make(const struct newcomer *h, const struct registration *body)
{
    const struct broker_id *who = &h->who;
    struct member *m = calloc(1, sizeof(*m) + who->addr.n + who->cluster.n + h->ha_addr.n + 3);
    char *at = (char *)(m + 1);

    if (!m)
        return NULL;
    m->id = who->id;
    m->addr = place(&at, who->addr);
    m->cluster = place(&at, who->cluster);
    m->ha_addr = place(&at, h->ha_addr);
    m->conn = h->conn;
    m->timeout_ms = h->timeout_ms;
    m->heard_ms = mono_ms();
    m->version.state = -1;                       /* unlike any: its topics are not here yet */
    if (copy_filters(m, body)) {
        member_free(m);
        return NULL;
    }
    return m;
}

static struct brokers *brokers_make(struct routes *r, const struct broker_id *who)
{
    struct brokers *b = calloc(1, sizeof(*b));

    if (!b)
        return NULL;
    b->name = str_dup(who->name);
    b->cluster = str_dup(who->cluster);
    if (b->name && b->cluster)
        HASH_ADD_KEYPTR(hh, r->brokers, b->name, (unsigned)who->name.n, b);
    if (brokers_find(r, who->name))
        return b;
    brokers_free(b);
    return NULL;
}

static struct member *member_by_id(const struct brokers *b, int64_t id)
{
    for (struct member *m = b->members; m; m = m->next)
        if (m->id == id)
            return m;
    return NULL;
}

/* What one registration finds and does, between its steps. */
struct arrival {
    const struct newcomer *h;
    struct registration *body;
    const struct namesrv_config *conf;
    struct brokers *b;
    struct member *m;
    bool first, changed, min_changed;
    bool apply;                          /* its topics count: it is the master, or stands in for it */
    bool read_only;                      /* stands in */
    uint32_t seen;
};

static int may_come(const struct arrival *a)
{
    const struct member *same = a->b ? member_by_id(a->b, a->h->who.id) : NULL;

    if (!same && a->body->n_topics == 1)
        return -EAGAIN;
    if (same && !str_is(a->h->who.addr, same->addr) && str_is(a->h->who.cluster, same->cluster) &&
        same->version.state > a->body->version.state)
        return -ESTALE;
    return 0;
}

/* Puts m in place of the member with its id and of the one with its address. */
static void seat(struct brokers *b, struct member *m)
{
    struct member **at = &b->members;

    while (*at) {
        struct member *old = *at;
        if (old->id == m->id || strcmp(old->addr, m->addr) == 0) {
            *at = old->next;
            member_free(old);
        } else {
            at = &old->next;
        }
    }
    for (at = &b->members; *at && (*at)->id < m->id;)
        at = &(*at)->next;
    m->next = *at;
    *at = m;
}

/* Under the lock: the broker is among the brokers afterwards. */
static int arrive(struct routes *r, struct arrival *a, char *zone)
{
    const struct broker_id *who = &a->h->who;
    struct member *before;
    int rc;

    a->b = brokers_find(r, who->name);
    rc = may_come(a);
    if (rc)
        return rc;
    if (!a->b && !(a->b = brokers_make(r, who)))
        return -ENOMEM;
    before = brokers_member(a->b, who->cluster, who->addr);
    a->changed = !before || memcmp(&before->version, &a->body->version, sizeof(before->version)) != 0;
    if (before && !a->body->has_filters) {               /* none given: the earlier ones stay */
        a->m->filters = before->filters;
        a->m->n_filters = before->n_filters;
        before->filters = NULL;
    }
    if (before)
        a->m->version = before->version;
    a->first = !member_by_id(a->b, who->id);
    a->min_changed = a->b->members && who->id < a->b->members->id;
    seat(a->b, a->m);
    a->m->serial = ++r->serial;
    a->seen = (uint32_t)r->serial ? (uint32_t)r->serial : 1;
    free(a->b->zone);
    a->b->zone = zone;
    a->b->acting = a->h->acting;
    a->read_only = who->id != 0 && a->h->acting;
    a->apply = who->id == 0 || (a->h->acting_given && a->b->members == a->m);
    return 0;
}

/* Some topics, under the lock. */
static int apply_piece(struct routes *r, struct arrival *a, size_t from, size_t to)
{
    int rc = 0;

    for (size_t i = from; i < to && !rc; i++) {
        struct topic_row row = a->body->topics[i];
        struct routed *t = a->first || a->changed ? NULL : routed_find(r, row.name);
        struct queues *q = t ? routed_queues(t, a->b) : NULL;
        if (q) {
            q->seen = a->seen;
            continue;
        }
        if (a->read_only)
            row.perm &= ~PERM_WRITE;
        rc = routed_put(r, row.name, a->b, &row, a->seen, a->conf->max_topics);
    }
    return rc;
}

static int apply_mappings(struct routes *r, struct arrival *a)
{
    int rc = 0;

    for (size_t i = 0; i < a->body->n_mappings && !rc && (a->first || a->changed); i++) {
        struct routed *t = routed_find(r, a->body->mappings[i].topic);
        rc = t ? routed_map(t, &a->body->mappings[i]) : 0;
    }
    return rc;
}

static int apply_topics(struct routes *r, struct arrival *a)
{
    size_t n = a->body->n_topics;
    int rc = 0;

    for (size_t i = 0; i < n && !rc; i += PIECE) {
        routes_write(r);
        rc = apply_piece(r, a, i, i + PIECE < n ? i + PIECE : n);
        routes_done(r);
    }
    routes_write(r);
    if (!rc && a->conf->delete_topic_with_broker_registration && !a->body->n_mappings)
        routed_drop_unseen(r, a->b, a->seen);
    if (!rc)
        rc = apply_mappings(r, a);
    routes_done(r);
    return rc;
}

/* Under the lock: what the broker is told. */
static void tell(const struct arrival *a, struct registered *out)
{
    const struct member *master = member_by_id(a->b, 0);

    if (a->h->who.id != 0 && master && str_is(a->h->who.cluster, master->cluster)) {
        out->has_master = true;
        str_copy(out->master_addr, sizeof(out->master_addr), str_of(master->addr));
        str_copy(out->master_ha, sizeof(out->master_ha), str_of(master->ha_addr));
    }
    if (a->min_changed && a->conf->notify_min_broker_id_changed)
        min_changed(a->b, NULL, a->m->ha_addr, &out->changes);
}

static int register_in_turn(struct routes *r, struct arrival *a, struct registered *out)
{
    char *zone = a->h->zone.n ? str_dup(a->h->zone) : NULL;
    int rc;

    if (a->h->zone.n && !zone)
        return -ENOMEM;
    routes_write(r);
    rc = arrive(r, a, zone);
    routes_done(r);
    if (rc) {
        free(zone);
        return rc;
    }
    if (a->apply)
        rc = apply_topics(r, a);
    routes_write(r);
    if (!rc)
        a->m->version = a->body->version;
    tell(a, out);
    routes_done(r);
    if (a->first)
        log_info("namesrv: broker %s id %lld at %s of cluster %s registered with %zu topics", a->b->name,
                 (long long)a->m->id, a->m->addr, a->m->cluster, a->body->n_topics);
    return rc;
}

int routes_register(struct routes *r, const struct namesrv_config *conf, const struct newcomer *h,
                    struct registration *body, struct registered *out)
{
    struct arrival a = {.h = h, .body = body, .conf = conf};
    int rc;

    *out = (struct registered){0};
    if (!newcomer_ok(h))
        return -EINVAL;
    a.m = member_make(h, body);
    if (!a.m)
        return -ENOMEM;
    pthread_mutex_lock(&r->turn);
    rc = register_in_turn(r, &a, out);
    pthread_mutex_unlock(&r->turn);
    if (rc == -EAGAIN || rc == -ESTALE || (rc == -ENOMEM && !a.seen))
        member_free(a.m);                        /* it took no seat */
    return rc;
}

/* ---- departures ---- */

static struct departure *departure_new(struct routes *r)
{
    struct departure *d = calloc(1, sizeof(*d));

    if (d) {
        routes_read(r);
        d->serial = r->serial;
        routes_done(r);
    }
    return d;
}

struct departure *departure_of(struct routes *r, const struct broker_id *who)
{
    struct departure *d = departure_new(r);

    if (!d)
        return NULL;
    d->cluster = str_dup(who->cluster);
    d->name = str_dup(who->name);
    d->addr = str_dup(who->addr);
    if (d->cluster && d->name && d->addr)
        return d;
    departure_free(d);
    return NULL;
}

struct departure *departure_of_conn(struct routes *r, uint64_t conn)
{
    struct departure *d = departure_new(r);

    if (d)
        d->conn = conn;
    return d;
}

void departure_free(struct departure *d)
{
    if (!d)
        return;
    free(d->cluster);
    free(d->name);
    free(d->addr);
    free(d);
}

bool routes_has_conn(struct routes *r, uint64_t conn)
{
    bool found = false;

    routes_read(r);
    for (const struct brokers *b = r->brokers; b && !found; b = b->hh.next)
        for (const struct member *m = b->members; m && !found; m = m->next)
            found = m->conn == conn;
    routes_done(r);
    return found;
}

static bool departs(const struct departure *d, const struct member *m)
{
    if (m->serial > d->serial)
        return false;
    return d->name ? strcmp(m->addr, d->addr) == 0 : m->conn == d->conn;
}

static void brokers_depart(struct brokers *b, const struct departure *d, struct min_change **changes)
{
    for (struct member **at = &b->members; *at;) {
        struct member *m = *at;
        bool smallest = m == b->members;
        if (!departs(d, m)) {
            at = &m->next;
            continue;
        }
        *at = m->next;
        log_info("namesrv: broker %s id %lld at %s is gone", b->name, (long long)m->id, m->addr);
        b->gone = !b->members;
        b->reduced = true;
        if (b->members && smallest && b->acting)
            min_changed(b, m->addr, NULL, changes);
        member_free(m);
    }
}

void routes_depart(struct routes *r, const struct departure *list, struct min_change **changes)
{
    struct brokers *b, *next;
    bool topics = false;

    *changes = NULL;
    pthread_mutex_lock(&r->turn);
    routes_write(r);
    for (const struct departure *d = list; d; d = d->next) {
        HASH_ITER(hh, r->brokers, b, next) {
            if (!d->name || strcmp(d->name, b->name) == 0)
                brokers_depart(b, d, changes);
        }
    }
    for (b = r->brokers; b; b = b->hh.next)
        topics |= b->gone || (b->reduced && b->acting && !brokers_have_master(b));
    if (topics)
        routed_after_departures(r);
    HASH_ITER(hh, r->brokers, b, next) {
        b->reduced = false;
        if (b->gone) {
            HASH_DEL(r->brokers, b);
            brokers_free(b);
        }
    }
    routes_done(r);
    pthread_mutex_unlock(&r->turn);
}

struct departure *routes_silent(struct routes *r, int64_t now_ms)
{
    struct departure *list = NULL;

    routes_read(r);
    for (const struct brokers *b = r->brokers; b; b = b->hh.next)
        for (const struct member *m = b->members; m; m = m->next) {
            struct departure *d;
            if (now_ms - m->heard_ms <= m->timeout_ms || !(d = calloc(1, sizeof(*d))))
                continue;
            d->serial = m->serial;
            d->cluster = strdup(m->cluster);
            d->name = strdup(b->name);
            d->addr = strdup(m->addr);
            if (!d->cluster || !d->name || !d->addr) {       /* the next scan finds it again */
                departure_free(d);
                continue;
            }
            log_warn("namesrv: broker %s at %s was silent for more than %lld ms", b->name, m->addr,
                     (long long)m->timeout_ms);
            d->next = list;
            list = d;
        }
    routes_done(r);
    return list;
}

/* ---- small questions ---- */

/* Under the lock; NULL: it is not registered. */
static struct member *find_member(struct routes *r, const struct broker_id *who)
{
    struct brokers *b = brokers_find(r, who->name);

    return b ? brokers_member(b, who->cluster, who->addr) : NULL;
}

void routes_touch(struct routes *r, const struct broker_id *who)
{
    struct member *m;

    routes_write(r);
    m = find_member(r, who);
    if (m)
        m->heard_ms = mono_ms();
    routes_done(r);
}

bool routes_version(struct routes *r, const struct broker_id *who, struct version *out)
{
    struct member *m;

    routes_read(r);
    m = find_member(r, who);
    if (m)
        *out = m->version;
    routes_done(r);
    return m != NULL;
}

struct seat {
    const struct brokers *b;
    const struct member *m;
};

static int by_place(const void *x, const void *y)
{
    const struct seat *a = x, *b = y;
    int c = strcmp(a->m->cluster, b->m->cluster);

    if (!c)
        c = strcmp(a->b->name, b->b->name);
    return c ? c : (a->m->id > b->m->id) - (a->m->id < b->m->id);
}

static void describe(const struct seat *s, struct namesrv_broker *out)
{
    *out = (struct namesrv_broker){.broker_id = s->m->id, .acting_master = s->b->acting,
                                   .last_heard_ms = mono_ms() - s->m->heard_ms, .timeout_ms = s->m->timeout_ms};
    str_copy(out->cluster, sizeof(out->cluster), str_of(s->m->cluster));
    str_copy(out->name, sizeof(out->name), str_of(s->b->name));
    str_copy(out->zone, sizeof(out->zone), str_of(s->b->zone));
    str_copy(out->address, sizeof(out->address), str_of(s->m->addr));
    str_copy(out->ha_address, sizeof(out->ha_address), str_of(s->m->ha_addr));
}

int routes_broker_at(struct routes *r, uint32_t n, struct namesrv_broker *out)
{
    struct seat *seats = NULL;
    size_t count = 0;
    int rc = -ENOENT;

    routes_read(r);
    for (const struct brokers *b = r->brokers; b; b = b->hh.next)
        for (const struct member *m = b->members; m; m = m->next)
            count++;
    if (n < count && !(seats = calloc(count, sizeof(*seats))))
        rc = -ENOMEM;
    if (seats) {
        size_t i = 0;
        for (const struct brokers *b = r->brokers; b; b = b->hh.next)
            for (const struct member *m = b->members; m; m = m->next)
                seats[i++] = (struct seat){b, m};
        qsort(seats, count, sizeof(*seats), by_place);
        describe(&seats[n], out);
        rc = 0;
    }
    routes_done(r);
    free(seats);
    return rc;
}
