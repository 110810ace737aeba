/* Topics, consumer groups, producer groups and their bindings, in memory.
 *
 * One read-write lock guards all of it. Handlers take it for reading around their
 * checks (meta_read ... meta_done); the pointers they get are good until
 * meta_done and no longer. Nothing may be waited for under it, and a thread that
 * has it for reading must not take it again (writers go first, so that would be a
 * deadlock): the functions of broker.h take it, so none of them under it.
 * Changes are made by the verbs (verbs_*.c) under meta_write, then saved by saver.h. */
#ifndef BROKER_META_H
#define BROKER_META_H

#include <pthread.h>
#include <stdatomic.h>
#include <uthash.h>
#include "broker/broker.h"
#include "broker/pace.h"
#include "broker/stats.h"
#include "common/json.h"

#define OWNER_ATTRIBUTE "mqfs.owner"
#define TYPE_ATTRIBUTE "message.type"
#define QUEUES_MAX 16384             /* queues a topic may be given; Apache has no limit */

struct attribute {
    struct attribute *next;          /* ascending by key */
    char *key, *value;
};

struct topic {
    UT_hash_handle hh;               /* by name */
    struct topic_info info;          /* last_time is not kept here: the queues know it */
    struct attribute *attributes;    /* Apache's, ours ("mqfs.owner") among them */
    bool batch_queues;               /* queue.type=BatchCQ: its queues are of a kind that only Apache's broker knows */
    int64_t generation;              /* topic_changes when it was made or last changed */
    /* Handles of its queues [0..max(read, write)), made when the topic is; never fewer than before. */
    struct store_queue **queues;
    int32_t n_queues;
    char *other_json;                /* members of its JSON that we do not use, as an object; NULL: none */
    struct flow puts;                /* what was put into it since start */
};

struct binding {
    UT_hash_handle hh;               /* by topic name */
    struct binding_info info;
    bool sql;                        /* filter is SQL92, info.filter starts with "sql: " */
};

struct group {
    UT_hash_handle hh;
    struct group_info info;
    enum group_kind kind;
    struct attribute *attributes;
    struct binding *bindings;        /* hash, in the order of their ids */
    uint32_t next_binding_id;
    struct group_pace pace;
    /* Members of its JSON that we do not use, kept so that a rewrite loses nothing (groupRetryPolicy ...). */
    char *other_json;
};

struct data_version {                /* Apache's DataVersion */
    int64_t state_version, timestamp, counter;
};

struct meta {
    /* Governance changes happen one at a time: a verb holds this from its checks until its change is on disk or
     * undone. Outermost of all locks; taken by verbs only, on threads that may wait. */
    pthread_mutex_t change;
    pthread_rwlock_t lock;           /* guards everything below; taken before any other broker lock */
    struct topic *topics;            /* hash */
    struct topic **topic_by_id;      /* [id], NULL where deleted; ids start at 1 */
    uint32_t n_ids;                  /* ids given so far, 0 (nobody's) included */
    struct group *groups[2];         /* by enum group_kind; hash */
    struct group **group_by_id[2];
    uint32_t n_group_ids[2];
    struct data_version topic_version, group_version, producer_version;
    char *forbidden_json;            /* subscriptionGroup.json's forbiddenTable, kept as it was; NULL: empty */
    int64_t topic_changes, group_changes, producer_changes;      /* generations, for the saver */
    struct store *store;
};

/* store may be NULL in tests: topics then have no queue handles. 0 or -ENOMEM. */
int meta_open(struct store *store, struct meta **out);
void meta_close(struct meta *m);     /* NULL is allowed */

static inline void meta_read(struct meta *m) { pthread_rwlock_rdlock(&m->lock); }
static inline void meta_write(struct meta *m) { pthread_rwlock_wrlock(&m->lock); }
static inline void meta_done(struct meta *m) { pthread_rwlock_unlock(&m->lock); }

/* Under meta_read or meta_write: */
struct topic *meta_topic(struct meta *m, struct str name);
struct group *meta_group(struct meta *m, enum group_kind kind, struct str name);
struct binding *group_binding(struct group *g, struct str topic);
const char *attribute_get(const struct attribute *list, const char *key);       /* NULL when absent */

/* May this group consume the topic (or send to it)? Always while enforceBindings is off, for its own retry and
 * dead-letter topics and for system topics, but those in which other topics' messages wait; consumers of system groups always (mqadmin reads as TOOLS_CONSUMER), and
 * any producer group may send to retry topics (a client that cannot send back does so as CLIENT_INNER_PRODUCER) and
 * to the trace topic. Else needs the binding; when it lacks it, -EACCES with NO_PERMISSION and a sentence in f that
 * names the file to make. Under meta_read. */
int meta_bound(struct meta *m, const struct broker_config *conf, enum group_kind kind, struct str group, struct str topic,
               struct fault *f);

/* ---- for the verbs and the files ---- */

/* topic_name_check for names that files of Apache's bring: the '+' of its POP retry topics (%RETRY%GROUP+TOPIC) is
 * legal there, too. */
int topic_name_check_stored(struct str name, struct fault *f);

/* A new topic or group that is in no table yet, with Apache's defaults (a topic: 16 queues, perm 6); NULL without memory. */
struct topic *topic_new(struct str name);
void topic_free(struct topic *t);
struct group *group_new(enum group_kind kind, struct str name);
void group_free(struct group *g);
/* Makes the handles of queues [0..max(read, write)); for a topic that others can see, only under meta_write. 0 or -ENOMEM. */
int topic_make_queues(struct meta *m, struct topic *t);
/* Into and out of the table, under meta_write. A topic that has an id keeps it (undo of a delete). 0 or -ENOMEM. */
int meta_add_topic(struct meta *m, struct topic *t);
void meta_remove_topic(struct meta *m, struct topic *t);
int meta_add_group(struct meta *m, struct group *g);
void meta_remove_group(struct meta *m, struct group *g);
/* Marks a change for the saver and bumps the DataVersion; under meta_write. The topic (may be NULL) gets the generation. */
void meta_topics_changed(struct meta *m, struct topic *t);
void meta_groups_changed(struct meta *m, enum group_kind kind);
void data_version_bump(struct data_version *v);

/* Sets (value NULL: removes) an attribute. 0 or -ENOMEM. */
int attribute_set(struct attribute **list, struct str key, const char *value);
int attributes_copy(const struct attribute *from, struct attribute **to);
void attributes_free(struct attribute **list);
/* Copies what topic_info and group_info show of the attributes (owner and type), and what the broker asks often. */
void topic_read_attributes(struct topic *t);
void group_read_attributes(struct group *g);

/* ---- JSON, meta_json.c and meta_json_groups.c: STORE/config's files and the same objects on the wire ---- */

/* topics.json as Apache writes it; decode replaces the table (start of the broker only): 0, -EBADMSG or -ENOMEM. Encode takes the lock. */
void meta_encode_topics(struct meta *m, struct buf *out);
int meta_decode_topics(struct meta *m, struct str text);
/* subscriptionGroup.json, the same. A group's subscriptionDataSet are its bindings. */
void meta_encode_groups(struct meta *m, struct buf *out);
int meta_decode_groups(struct meta *m, struct str text);
/* producerGroup.json: ours, of the same kind: {"dataVersion":..,"producerGroupTable":{"p1":{"attributes":{..},
 * "groupName":"p1","subscriptionDataSet":[{topic, expressionType, expression, version}]}}} */
void meta_encode_producers(struct meta *m, struct buf *out);
int meta_decode_producers(struct meta *m, struct str text);

/* One object each: Apache's TopicConfig, SubscriptionGroupConfig, DataVersion. Under meta_read. */
void topic_json(struct json_writer *w, const struct topic *t);
void group_json(struct json_writer *w, const struct group *g);
void data_version_json(struct json_writer *w, const struct data_version *v);
void data_version_read(const struct json *j, struct data_version *v);
/* Puts a binding into a group that nobody else sees or that is write-locked; filter in the tree's form. NULL without memory. */
struct binding *group_add_binding(struct group *g, struct str topic, struct str filter, int64_t version);

#endif
