/* Who serves what: brokers and topics, as brokers told. In memory only.
 *
 * Locks: `turn` lets one registration or departure at a time change who the
 * brokers are; `lock` guards the tables and is held only for short pieces (a
 * registration of 100,000 topics takes it once per few hundred), so a query on
 * a network loop never waits long. turn is taken before lock. Private to namesrv/. */
#ifndef NAMESRV_ROUTES_H
#define NAMESRV_ROUTES_H

#include "namesrv/namesrv.h"
#include "namesrv/registration.h"

struct routes;

int routes_open(struct routes **out);
void routes_close(struct routes *r);

/* ---- what brokers say ---- */

struct broker_id {                       /* the header fields that say who speaks */
    struct str cluster, name, addr;
    int64_t id;
};

struct newcomer {                        /* a registration's header */
    struct broker_id who;
    struct str ha_addr, zone;
    int64_t timeout_ms;
    bool acting;                         /* enableActingMaster */
    bool acting_given;                   /* the field was there: a broker of 5.x */
    uint64_t conn;                       /* conn_id of its connection */
};

/* Members of a broker name that must hear that their smallest id changed (905). */
struct min_change {
    struct min_change *next;
    int64_t min_id;
    char *min_addr, *offline_addr, *ha_addr, *broker_name;      /* offline and ha may be NULL */
    char **to;
    size_t n_to;
};
void min_change_free(struct min_change *list);

struct registered {
    bool has_master;                     /* of a slave, whose master is known: */
    char master_addr[NAMESRV_NAME_MAX + 1], master_ha[NAMESRV_NAME_MAX + 1];
    struct min_change *changes;          /* the caller frees them */
};

/* 0; or -EAGAIN: one topic only and the broker is not registered yet (Apache: refused); -ESTALE: another
 * address holds this id with a newer state, nothing was changed (Apache: answered as done); -ENOSPC: too
 * many topics; -EINVAL: a name that is empty or too long; -ENOMEM. Not from a network loop. */
int routes_register(struct routes *r, const struct namesrv_config *conf, const struct newcomer *h,
                    struct registration *body, struct registered *out);

/* A broker that goes: by request, by its connection's end, or by silence. Only a registration that was there when
 * the departure was noted is taken away, so a broker that comes back at once stays. */
struct departure {
    struct departure *next;
    uint64_t serial;                     /* registrations after this one stay */
    char *cluster, *name, *addr;         /* all NULL: the members of the connection */
    uint64_t conn;
};
struct departure *departure_of(struct routes *r, const struct broker_id *who);     /* NULL without memory */
struct departure *departure_of_conn(struct routes *r, uint64_t conn);
void departure_free(struct departure *d);
bool routes_has_conn(struct routes *r, uint64_t conn);
/* Takes them all away in one pass over the topics. *changes gets what is to be told. Not from a network loop. */
void routes_depart(struct routes *r, const struct departure *list, struct min_change **changes);
/* A departure for each broker that was silent for longer than it promised; NULL: none. */
struct departure *routes_silent(struct routes *r, int64_t now_ms);

void routes_touch(struct routes *r, const struct broker_id *who);
bool routes_version(struct routes *r, const struct broker_id *who, struct version *out);   /* false: not registered */

/* ---- topics ---- */

/* Sets what brokers serve of one topic (217). A row with no queues and no permission takes the broker's share away.
 * -ENOENT: a broker that is not registered, nothing was changed then; -ENOSPC, -ENOMEM. */
int routes_topic_put(struct routes *r, const struct namesrv_config *conf, struct str topic,
                     const struct topic_row *rows, size_t n);
void routes_topic_delete(struct routes *r, struct str topic, struct str cluster);     /* cluster empty: all of it */
int routes_write_perm(struct routes *r, struct str broker_name, bool writable);
size_t routes_topic_count(struct routes *r);
int routes_topic_at(struct routes *r, struct str topic, uint32_t n, struct namesrv_queue *out);
int routes_broker_at(struct routes *r, uint32_t n, struct namesrv_broker *out);

/* ---- answers, as Apache's JSON: route_json.c ---- */

struct route_wish {
    struct str topic;
    bool standard;                       /* standard JSON */
    bool acting_master;                  /* supportActingMaster */
    struct str zone;                     /* only this zone's brokers; empty: all */
    struct str order;                    /* orderTopicConf; p NULL: none */
};
int routes_json_route(struct routes *r, const struct route_wish *w, struct buf *out);      /* 0 or -ENOENT */
void routes_json_clusters(struct routes *r, struct buf *out);
void routes_json_member_group(struct routes *r, struct str cluster, struct str name, struct buf *out);
void routes_json_system_topics(struct routes *r, struct buf *out);

enum topic_list { TOPICS_ALL, TOPICS_OF_CLUSTER, TOPICS_UNIT, TOPICS_UNIT_SUB, TOPICS_UNIT_SUB_NO_UNIT };
void routes_json_topics(struct routes *r, enum topic_list which, struct str cluster, struct buf *out);

#endif
