/* The broker: one governed RocketMQ broker over one store.
 *
 * This door has three parts: its life (open, run, stop), the verbs of
 * governance, and what can be seen. The wire's admin requests, the tree and the
 * programs all call the verbs here; none has logic of its own.
 *
 * Threads: everything here may be called from any thread but a network loop
 * (verbs wait until the change is on disk). What comes back is copied out; no
 * lock is held after a call returns. Verbs return 0 or -errno and fill f. */
#ifndef BROKER_BROKER_H
#define BROKER_BROKER_H

#include <sys/types.h>
#include "broker/config.h"
#include "common/fault.h"
#include "common/names.h"
#include "store/store.h"

struct broker;

/* ---- life ---- */

/* Opens store and tables, binds the ports; takes over *conf (filled by broker_config_load). conf_path may be
 * NULL: then live changes of keys are kept in STORE/config/broker.properties. 0 or -errno with f. */
int broker_open(struct broker_config *conf, const char *conf_path, struct broker **out, struct fault *f);
int broker_run(struct broker *b, struct fault *f);      /* serves, registers with the name servers; returns */
void broker_close(struct broker *b);                    /* unregisters, answers what is under way, flushes, frees */
int broker_port(const struct broker *b);                /* main port in use */

/* ---- who asks ---- */
struct caller {
    char user[64];       /* name of the Unix user, or "" for the wire */
    char from[64];       /* "fuse:pid 123", "192.0.2.7:5000", "broker" */
};

/* ---- topics ---- */
#define OWNER_MAX 64

struct topic_info {
    uint32_t id;                     /* stable while the topic exists; a directory cookie */
    char name[TOPIC_NAME_MAX_LONG + 1];
    int32_t read_queues, write_queues;
    int32_t perm;                    /* 4 read, 2 write, 1 inherit */
    int32_t sys_flag;
    bool order;
    bool multi_tag;                  /* topicFilterType MULTI_TAG */
    bool system;
    char owner[OWNER_MAX];           /* maintainer; "" when nobody */
    char type[16];                   /* attribute message.type: NORMAL, FIFO, ... ("" when not set: NORMAL) */
    int64_t last_time;               /* store time of its last message, ms; 0: none */
    int64_t created;                 /* ms; 0 when not known (made before this process started) */
};

int broker_topic_get(struct broker *b, struct str topic, struct topic_info *out);      /* 0 or -ENOENT */
/* The topic with the smallest id > after (start with 0), or -ENOENT at the end. System topics included. */
int broker_topic_next(struct broker *b, uint32_t after, struct topic_info *out);

/* Appends the topic's attributes (owner and type among them) as lines KEY=VALUE, ascending by key. 0, -ENOENT, -ENOMEM. */
int broker_topic_attributes(struct broker *b, struct str topic, struct buf *out);

/* What to make or change; a field of -1 (or NULL) leaves what is there, or the default for a new topic. */
struct topic_change {
    int32_t read_queues, write_queues, perm, sys_flag, order, multi_tag;
    const char *owner;
    const char *attributes;          /* Apache's text "+k=v,-k"; NULL: none */
};
#define TOPIC_CHANGE_NONE {-1, -1, -1, -1, -1, -1, NULL, NULL}

int broker_topic_create(struct broker *b, const struct caller *c, struct str topic, const struct topic_change *ch,
                        struct fault *f);      /* -EEXIST when it is there */
int broker_topic_update(struct broker *b, const struct caller *c, struct str topic, const struct topic_change *ch,
                        struct fault *f);      /* -ENOENT when it is not */
int broker_topic_put(struct broker *b, const struct caller *c, struct str topic, const struct topic_change *ch,
                     struct fault *f);         /* creates or updates, as UPDATE_AND_CREATE_TOPIC */
/* Deletes it with its messages, offsets and bindings. The wire (caller without a user) always may, as Apache's
 * deleteTopic. The tree's rmdir gets -EBUSY while online groups subscribe it or any group is bound to it; and while it
 * holds messages, unless its perm is 0: so that messages go only after a second act, echo 0 > perm. */
int broker_topic_delete(struct broker *b, const struct caller *c, struct str topic, struct fault *f);

/* One queue of a topic. min and max are queue offsets, max the next to be written. -ENOENT outside the topic's queues;
 * -EIO and others: the disk does not give it. */
struct queue_info {
    int64_t min, max;
    int64_t last_time;               /* store time of the last message, ms, 0 none */
};
int broker_queue_get(struct broker *b, struct str topic, int32_t queue, struct queue_info *out);
/* The message at a queue offset: its decoded fields point into *hold, a copy, to be given back with store_release.
 * -ENOENT; -EIO and others: the disk does not give it. */
int broker_message_get(struct broker *b, struct str topic, int32_t queue, int64_t offset, struct message *out,
                       struct store_result **hold);
/* Its numbers, and the lengths of its texts, without the texts (NULL): no body is read for them. */
int broker_message_look(struct broker *b, struct str topic, int32_t queue, int64_t offset, struct message *out);
/* A message as one JSON line: keys, tags, ids, properties, hosts, times and body (as text when it is UTF-8, else
 * base64 under bodyBase64). */
void broker_message_json(const struct message *m, struct buf *out);
/* Appends a body that its producer packed with zlib as it was before. false, and nothing appended: not so packed, or broken. */
bool broker_message_unpack(const struct message *m, struct buf *out);

/* A key that is looked for: its text, or, when `is` is not NULL, its broker_key_hash and who says yes to it (taking no
 * lock and no memory). */
struct key_sought {
    struct str text;
    int32_t hash;
    bool (*is)(void *arg, struct str key);
    void *arg;
};
int32_t broker_key_hash(struct str topic, struct str key);       /* the index's, never negative; -ENOMEM */
/* The newest messages, at most max, before a commit log offset (0: any), that have the word in KEYS or are of that
 * unique id: each(arg, m), newest first, until it says false; m is valid during the call. -ENOENT: there are none. May
 * wait for the indexer and the disk. */
int broker_messages_by_key(struct broker *b, struct str topic, const struct key_sought *key, int64_t before, int32_t max,
                           bool (*each)(void *arg, const struct message *m), void *arg);
/* The keys (words of KEYS) of the topic's newest messages, each once, newest first, until each() says false; time is the
 * store time of the newest message with it. Only keys that the index has too, and only of the newest KEYS_LOOKED_MAX
 * messages. 0 (also when there are none), -ENOENT: no such topic; -ENOMEM. May wait for the indexer and the disk. */
#define KEYS_LOOKED_MAX 20000
int broker_keys(struct broker *b, struct str topic, bool (*each)(void *arg, struct str key, int64_t time), void *arg);
/* The message of that offset id or unique id, as broker_message_get gives it. -ENOENT. */
int broker_message_by_id(struct broker *b, struct str id, struct message *out, struct store_result **hold);
/* Queue offset of the first message stored at or after the time, written as for broker_offset_reset. -EINVAL: not a
 * time; -ENOENT: there is none. */
int broker_offset_at_time(struct broker *b, struct str topic, int32_t queue, struct str time, int64_t *out);

/* ---- groups ----
 * Consumer groups and producer groups share name, owner and bindings. */
enum group_kind { CONSUMER_GROUP, PRODUCER_GROUP };

struct group_info {
    uint32_t id;
    char name[GROUP_NAME_MAX_LONG + 1];
    char owner[OWNER_MAX];
    bool system;
    /* consumer groups only, as in subscriptionGroup.json: */
    bool consume_enable, consume_from_min_enable, consume_broadcast_enable, consume_orderly, notify_ids_changed;
    int32_t retry_queues, retry_max, consume_timeout_minute;
    int64_t broker_id, which_broker_when_slow;
    int32_t sys_flag;
};
int broker_group_get(struct broker *b, enum group_kind kind, struct str group, struct group_info *out);
int broker_group_next(struct broker *b, enum group_kind kind, uint32_t after, struct group_info *out);

struct group_change {                /* -1 / NULL: leave */
    int32_t consume_enable, consume_from_min_enable, consume_broadcast_enable, consume_orderly, notify_ids_changed;
    int32_t retry_queues, retry_max, consume_timeout_minute;
    const char *owner;
};
#define GROUP_CHANGE_NONE {-1, -1, -1, -1, -1, -1, -1, -1, NULL}

int broker_group_create(struct broker *b, const struct caller *c, enum group_kind kind, struct str group,
                        const struct group_change *ch, struct fault *f);
int broker_group_update(struct broker *b, const struct caller *c, enum group_kind kind, struct str group,
                        const struct group_change *ch, struct fault *f);
/* The tree gets -EBUSY while clients of the group are connected, and its %RETRY% topic and an empty %DLQ% topic go with
 * the group; the wire always may, and mqadmin deletes those topics itself. clean_offsets: forget its committed offsets too. */
int broker_group_delete(struct broker *b, const struct caller *c, enum group_kind kind, struct str group,
                        bool clean_offsets, struct fault *f);

/* ---- bindings: which group may consume, or send to, which topic ---- */
struct binding_info {
    uint32_t id;                     /* stable within the group; a directory cookie */
    char topic[TOPIC_NAME_MAX_LONG + 1];
    char filter[1024];               /* "*", "TagA || TagB", "sql: a > 3" */
    int64_t version;                 /* ms of the change */
};
int broker_binding_get(struct broker *b, enum group_kind kind, struct str group, struct str topic, struct binding_info *out);
int broker_binding_next(struct broker *b, enum group_kind kind, struct str group, uint32_t after, struct binding_info *out);
/* Binds, or changes the filter; an empty or blank filter binds to "*". With enforceBindings a consumer group gets no
 * message that the filter leaves out, whatever it subscribes; a producer group's filter is "*". -ENOENT: no such group, or no such topic. */
int broker_bind(struct broker *b, const struct caller *c, enum group_kind kind, struct str group, struct str topic,
                struct str filter, struct fault *f);
int broker_unbind(struct broker *b, const struct caller *c, enum group_kind kind, struct str group, struct str topic,
                  struct fault *f);

/* ---- offsets ---- */
/* The committed offset; -ENOENT when the group never committed one there. */
int broker_offset_get(struct broker *b, struct str group, struct str topic, int32_t queue, int64_t *out);
/* Topics in which the group has committed offsets: the n-th (from 0), or -ENOENT. Order is stable while nothing is added. */
int broker_offset_topic(struct broker *b, struct str group, uint32_t n, char topic[TOPIC_NAME_MAX_LONG + 1]);
/* Resets: spec is a number, "min", "max", or a time ("2026-11-20T10:00", "2026-11-20 10:00:00", epoch ms with a leading '@').
 * queue -1: all. Online members are told (the next pull is answered with the new offset). -EINVAL, -ERANGE, -ENOENT. */
int broker_offset_reset(struct broker *b, const struct caller *c, struct str group, struct str topic, int32_t queue,
                        struct str spec, struct fault *f);

/* Lag of a group, one call per row: topic, queue, max, committed (-1 none), lag, holder. Retry topic included. Rows are
 * topics bound, subscribed or with committed offsets, sorted by name. lag counts the messages from the committed offset
 * (or, without one, from the first) that are still there. holder is the client with the queue's lock: only orderly
 * consumers take one, which queue another client reads is known to the clients alone; "" then. -ENOENT: no such group. */
struct lag_info {
    const char *topic;
    int32_t queue;
    int64_t max, committed, lag;
    const char *holder;
};
int broker_group_lag(struct broker *b, struct str group, void (*each)(void *arg, const struct lag_info *row), void *arg);

/* ---- clients ---- */
struct client_info {
    uint64_t number;                 /* stable while it is in the group; a directory cookie */
    char id[256];
    char address[64];
    const char *language;
    int32_t version;
    int64_t connected;               /* ms */
    int64_t last_heartbeat;          /* ms */
    const char *consume_type;        /* CONSUME_PASSIVELY, ...; NULL for producers */
    const char *message_model;
    const char *consume_from_where;
};
/* Whose clients are meant: a group's; or, when that is empty, a topic's: the members of the consumer groups that subscribe
 * it and of the producer groups that are bound to it (no producer says where it will send); both empty: the broker's. */
struct client_scope {
    enum group_kind kind;
    struct str group, topic;
};
/* The client with the smallest number > after (start with 0), -ENOENT at the end. One that is in several groups is shown
 * once, as a member of the first it joined. */
int broker_client_next(struct broker *b, const struct client_scope *in, uint64_t after, struct client_info *out);
int broker_client_get(struct broker *b, const struct client_scope *in, struct str id, struct client_info *out);
/* The groups in that scope that the client is a member of, one call each, under a lock. */
void broker_client_groups(struct broker *b, const struct client_scope *in, struct str id,
                          void (*each)(void *arg, enum group_kind kind, struct str group), void *arg);
/* Subscriptions of a consumer group, one call each. */
void broker_subscriptions(struct broker *b, struct str group,
                          void (*each)(void *arg, struct str topic, struct str expression_type, struct str expression), void *arg);

/* ---- configuration ---- */
const struct conf_table *broker_config_table(void);
void broker_config_get(struct broker *b, const struct conf_row *row, struct buf *out);
/* Checks, sets, persists. -EPERM when the key cannot change while running. */
int broker_config_set(struct broker *b, const struct caller *c, struct str key, struct str value, struct fault *f);

/* ---- snapshots: consistent copies of the store's directory, see store/snapshot.h ---- */
#define SNAPSHOT_NAME_MAX 64

struct snapshot_info {
    char name[SNAPSHOT_NAME_MAX + 1];
    int64_t time;                    /* when it was taken, ms */
    int64_t log_end;                 /* commit log offset: it holds what was stored before; 0: not known */
};
int broker_snapshot_get(struct broker *b, struct str name, struct snapshot_info *out);     /* 0 or -ENOENT */
int broker_snapshot_at(struct broker *b, uint32_t n, struct snapshot_info *out);           /* the n-th by name from 0, or -ENOENT */
/* Where its files are. 0; -ENOENT for what cannot be a snapshot's name; -ENAMETOOLONG. */
int broker_snapshot_path(struct broker *b, struct str name, char *out, size_t cap);
/* -EINVAL (the name), -EEXIST; -ENOENT. */
int broker_snapshot_create(struct broker *b, const struct caller *c, struct str name, struct fault *f);
int broker_snapshot_delete(struct broker *b, const struct caller *c, struct str name, struct fault *f);

/* ---- state ---- */
struct store *broker_store(struct broker *b);
/* Runtime values as RocketMQ's GET_BROKER_RUNTIME_INFO names them: one call each, sorted by name. */
void broker_runtime(struct broker *b, void (*each)(void *arg, const char *name, const char *value), void *arg);
/* Each name server: its address, when a registration there last succeeded (wall ms, 0: never), and what is wrong now
 * (NULL: nothing). Under a lock. */
void broker_name_servers(struct broker *b, void (*each)(void *arg, const char *addr, int64_t last_ok_ms, const char *error),
                         void *arg);
/* Path of the audit file. */
const char *broker_audit_path(struct broker *b);

/* ---- change events, for caches above ----
 * fn is called after each change, on the thread that made it, with no lock held; it must not call verbs.
 * name is the topic's, group's or key's; sub the bound topic for bindings, else empty. One listener. */
enum broker_event { EVENT_TOPIC, EVENT_GROUP, EVENT_PRODUCER, EVENT_GROUP_BINDING, EVENT_PRODUCER_BINDING, EVENT_CONFIG };
enum event_what { EVENT_CREATED, EVENT_CHANGED, EVENT_DELETED };
void broker_on_event(struct broker *b,
                     void (*fn)(void *ctx, enum broker_event kind, enum event_what what, struct str name, struct str sub),
                     void *ctx);

#endif
