/* What the broker's files share: the parts of a struct broker, each with its own
 * header, door and lock. Private to broker/.
 *
 * Lock order, outermost first: meta -> offsets -> clients -> hold shards. The
 * store's locks are inside all of them. No lock here is held while waiting for
 * a disk or a peer. */
#ifndef BROKER_STATE_H
#define BROKER_STATE_H

#include <stdatomic.h>
#include "broker/broker.h"
#include "broker/pace.h"
#include "common/remoting/client.h"
#include "common/remoting/server.h"

struct meta;        /* topics, groups, producer groups, bindings: meta.h */
struct saver;       /* writes the tables to config/NAME.json: saver.h */
struct offsets;     /* committed offsets: offsets.h */
struct clients;     /* who is connected: clients.h */
struct hold;        /* held pulls: hold.h */
struct order_locks; /* LOCK_BATCH_MQ: order_locks.h */
struct schedule;    /* delay levels: schedule.h */
struct registrar;   /* registration with name servers: registrar.h */
struct audit;       /* audit.h */
struct ticker;      /* the sweeps' thread: ticker.h */
struct runtime;     /* rates: runtime.h */
struct stats;       /* rates of topics and groups: stats.h */

typedef void broker_event_fn(void *ctx, enum broker_event kind, enum event_what what, struct str name, struct str sub);

struct broker {
    /* The configuration now: replaced as a whole by a live change; older ones are kept until close, so a
     * reader needs no lock. Use broker_conf(). */
    _Atomic(const struct broker_config *) conf;
    struct meta *meta;
    struct saver *saver;
    struct offsets *offsets;
    struct clients *clients;
    struct hold *hold;
    struct order_locks *order_locks;
    struct schedule *schedule;
    struct registrar *registrar;
    struct audit *audit;
    struct ticker *ticker;
    struct runtime *runtime;
    struct stats *stats;
    struct pace pace;
    struct store *store;
    struct server *server;
    struct client *out;              /* outgoing requests */
    struct host store_host;          /* brokerIP1:listenPort, what records carry */
    int64_t started;                 /* ms */
    struct config_history *history;  /* config_live.c: old configurations, the file to persist to */
    _Atomic(broker_event_fn *) on_event;
    void *event_ctx;
};

static inline const struct broker_config *broker_conf(struct broker *b)
{
    return atomic_load_explicit(&b->conf, memory_order_acquire);
}

static inline struct broker *broker_of(struct request *r) { return request_ctx(r); }

/* Tells the listener; no lock may be held. */
void broker_event(struct broker *b, enum broker_event kind, enum event_what what, struct str name, struct str sub);

/* The table of request codes: ops.c. */
extern const struct op broker_ops[];
extern const size_t broker_n_ops;

#endif
