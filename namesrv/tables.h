/* The tables behind routes.h, for the files that work on them. */
#ifndef NAMESRV_TABLES_H
#define NAMESRV_TABLES_H

#include <pthread.h>
#include <stdatomic.h>

/* A table that cannot grow is no reason to die: the insert is undone and seen by a lookup. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>
#include "namesrv/routes.h"

struct member {                          /* one broker process */
    struct member *next;                 /* by rising id */
    int64_t id;
    char *addr, *cluster, *ha_addr;      /* one allocation with the struct */
    uint64_t conn, serial;               /* connection and number of its last registration */
    int64_t heard_ms, timeout_ms;        /* mono_ms */
    struct version version;
    struct str *filters;                 /* one allocation with their texts, or NULL */
    size_t n_filters;
};

struct brokers {                         /* what shares a broker name */
    UT_hash_handle hh;
    char *name, *cluster, *zone;         /* cluster of its first member; zone may be NULL */
    bool acting;
    struct member *members;              /* at least one, while in the table and turn is not held */
    /* during one routes_depart: */
    bool gone, reduced;
};

struct queues {                          /* one broker name's share of a topic */
    struct brokers *broker;
    int32_t read, write, perm, sys_flag;
    uint32_t seen;                       /* number of the registration that named it last */
};

struct mapping {                         /* TopicQueueMappingInfo of a static topic */
    struct mapping *next;
    char *broker, *json;                 /* one allocation */
};

struct routed {                          /* a topic */
    UT_hash_handle hh;
    struct queues *queues;
    uint32_t n;
    struct mapping *mappings;
    char name[];                         /* NUL-terminated; hh.keylen bytes */
};

struct routes {
    pthread_mutex_t turn;                /* one change of who the brokers are; taken before lock */
    pthread_rwlock_t lock;               /* guards the rest; nothing is waited for under it, and it is not taken twice */
    struct brokers *brokers;             /* hash by name */
    struct routed *topics;               /* hash by name */
    uint64_t serial;                     /* registrations so far */
};

static inline void routes_read(struct routes *r) { pthread_rwlock_rdlock(&r->lock); }
static inline void routes_write(struct routes *r) { pthread_rwlock_wrlock(&r->lock); }
static inline void routes_done(struct routes *r) { pthread_rwlock_unlock(&r->lock); }

#define PERM_WRITE 2

/* Under the lock: */
struct brokers *brokers_find(struct routes *r, struct str name);
static inline bool brokers_have_master(const struct brokers *b) { return b->members && b->members->id == 0; }

/* topics.c, under the lock for writing: */
struct routed *routed_find(struct routes *r, struct str name);
struct queues *routed_queues(struct routed *t, const struct brokers *b);
/* Makes or updates a broker's share. 0, -ENOSPC or -ENOMEM. */
int routed_put(struct routes *r, struct str topic, struct brokers *b, const struct topic_row *row, uint32_t seen, int32_t max_topics);
int routed_map(struct routed *t, const struct mapping_row *row);
/* Shares of b that the registration `seen` did not name. */
void routed_drop_unseen(struct routes *r, const struct brokers *b, uint32_t seen);
/* What departures leave to do: shares of brokers that are gone; write bits of acting masters' ones. */
void routed_after_departures(struct routes *r);
void routed_free_all(struct routes *r);

#endif
