/* The tables behind clients.h, shared by clients*.c only. */
#ifndef BROKER_CLIENTS_PRIV_H
#define BROKER_CLIENTS_PRIV_H

#include <pthread.h>
#include <uthash.h>
#include "broker/clients.h"

/* Java enum names that heartbeats carry; the first of each is what an unknown name becomes. */
#define CONSUME_TYPES "CONSUME_PASSIVELY|CONSUME_ACTIVELY|CONSUME_POP"
#define MESSAGE_MODELS "CLUSTERING|BROADCASTING|LITE_SELECTIVE"
#define CONSUME_FROM_WHERES \
    "CONSUME_FROM_LAST_OFFSET|CONSUME_FROM_FIRST_OFFSET|CONSUME_FROM_TIMESTAMP|" \
    "CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST|CONSUME_FROM_MIN_OFFSET|CONSUME_FROM_MAX_OFFSET"
enum { CONSUME_PASSIVELY, CONSUME_ACTIVELY, CONSUME_POP };
enum { MODEL_CLUSTERING, MODEL_BROADCASTING };

#define CLIENT_ID_MAX 255
#define CONN_GROUPS_MAX 4096         /* that one connection is in; far more than any client is */

struct member {
    UT_hash_handle hh;               /* in its group, by client id */
    struct member *conn_next;        /* other memberships of its connection */
    struct client_group *group;
    struct conn *conn;               /* held */
    char *id;
    uint64_t number;                 /* smaller than those of all that joined a group later */
    int language, version;
    int64_t connected;               /* wall ms */
    int64_t last_heartbeat;          /* wall ms */
};

struct client_subscription {
    UT_hash_handle hh;               /* by topic */
    char *topic, *type, *expression;
    int64_t version;
    uint64_t listed;                 /* the group's beat that named it last */
};

struct client_group {
    UT_hash_handle hh;               /* by name */
    char *name;
    enum group_kind kind;
    struct member *members;          /* hash, in the order of joining */
    /* consumer groups: */
    const char *consume_type, *message_model, *consume_from_where;
    struct client_subscription *subscriptions;   /* hash */
    int64_t fingerprint;             /* of the last heartbeat with one; 0 none */
    uint64_t beats;                  /* lists of subscriptions taken in so far */
};

struct clients {
    pthread_mutex_t lock;            /* guards all below. Under it: no other broker lock, no sends, no disk */
    struct client_group *groups[2];  /* hash, by enum group_kind */
    uint64_t n_joined;               /* members ever: the newest one's number */
};

struct client_group *clients_group(struct clients *cl, enum group_kind kind, struct str name);

/* One consumer group of a heartbeat, decoded; texts live in the request's arena. */
struct consumer_data {
    struct str group;
    const char *consume_type, *message_model, *consume_from_where;
    const struct json *subscriptions;            /* array of SubscriptionData; NULL: heartbeat without them */
    int64_t fingerprint;
};

/* Adds or refreshes a member; *changed: members or subscriptions differ from before, so the others want to know.
 * 0, -ENOMEM, or -ENOTCONN when the connection ended meanwhile. */
int clients_join(struct clients *cl, enum group_kind kind, struct str group, struct conn *conn, struct str id,
                 const struct command *cmd, const struct consumer_data *cd, bool *changed);
/* true when it was a member. */
bool clients_leave(struct clients *cl, enum group_kind kind, struct str group, struct str id, const struct conn *conn);

/* The canonical text of an enum name from the wire. */
const char *clients_word(const char *words, struct str name);

#endif
