/* Topics, consumer groups, producer groups and their bindings, in memory.
 *
 * One read-write lock guards all of it. Handlers take it for reading around their
 * checks (meta_read ... meta_done); the pointers they get are good until
 * meta_done and no longer. Nothing may be waited for under it. Changes are made
 * by the verbs (verbs_*.c) under meta_write, then saved by saver.h. */
#ifndef BROKER_META_H
#define BROKER_META_H

#include <pthread.h>
#include <stdatomic.h>
#include <uthash.h>
#include "broker/broker.h"
#include "common/json.h"

struct attribute {
    struct attribute *next;
    char *key, *value;
};

struct topic {
    UT_hash_handle hh;               /* by name */
    struct topic_info info;          /* last_time is not kept here: see topic_last_time */
    struct attribute *attributes;    /* Apache's, ours ("mqfs.owner") among them */
    /* Handles of its queues [0..max(read, write)), made when the topic is. */
    struct store_queue **queues;
    int32_t n_queues;
    atomic_int_fast64_t put_messages, put_bytes;      /* since start */
};

struct binding {
    UT_hash_handle hh;               /* by topic name */
    struct binding_info info;
    bool sql;                        /* filter is SQL92, info.filter starts with "sql: " */
};

struct group {
    UT_hash_handle hh;
    struct group_info info;
    struct attribute *attributes;
    struct binding *bindings;        /* hash */
    uint32_t next_binding_id;
    /* Members of its JSON that we do not use, kept so that a rewrite loses nothing (groupRetryPolicy ...). */
    char *other_json;
};

struct data_version {                /* Apache's DataVersion */
    int64_t state_version, timestamp, counter;
};

struct meta {
    pthread_rwlock_t lock;           /* guards everything below; taken before any other broker lock */
    struct topic *topics;            /* hash */
    struct topic **topic_by_id;      /* [id], NULL where deleted; ids start at 1 */
    uint32_t n_ids;
    struct group *groups[2];         /* by enum group_kind; hash */
    struct group **group_by_id[2];
    uint32_t n_group_ids[2];
    struct data_version topic_version, group_version, producer_version;
    char *forbidden_json;            /* subscriptionGroup.json's forbiddenTable, kept as it was */
    int64_t topic_changes, group_changes, producer_changes;      /* generations, for the saver */
};

int meta_open(struct store *store, struct meta **out);
void meta_close(struct meta *m);

static inline void meta_read(struct meta *m) { pthread_rwlock_rdlock(&m->lock); }
static inline void meta_write(struct meta *m) { pthread_rwlock_wrlock(&m->lock); }
static inline void meta_done(struct meta *m) { pthread_rwlock_unlock(&m->lock); }

/* Under meta_read or meta_write: */
struct topic *meta_topic(struct meta *m, struct str name);
struct group *meta_group(struct meta *m, enum group_kind kind, struct str name);
struct binding *group_binding(struct group *g, struct str topic);
int64_t topic_last_time(struct store *s, const struct topic *t);

/* May this group consume the topic (or send to it)? Always for its own retry and dead-letter topics, for system
 * groups and system topics, and while enforceBindings is off. Else needs the binding; when it lacks it, -EACCES with a
 * sentence in f that names the file to make. Under meta_read. */
int meta_bound(struct meta *m, const struct broker_config *conf, enum group_kind kind, struct str group, struct str topic,
               struct fault *f);

#endif
