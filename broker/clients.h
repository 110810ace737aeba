/* Who is connected: producers and consumers by group, from heartbeats; and what
 * each group subscribes. Its own lock. Notifications to members are sent
 * without holding it. */
#ifndef BROKER_CLIENTS_H
#define BROKER_CLIENTS_H

#include "broker/state.h"

int clients_open(struct broker *b, struct clients **out);
void clients_close(struct clients *cl);

/* A connection ended: its clients leave their groups, members that stay are told. */
void clients_conn_closed(struct broker *b, struct conn *c);
/* Removes clients without a heartbeat for channelExpiredTimeout. Called every 10 s. */
void clients_sweep(struct broker *b);

/* What a pull needs to know of its group's subscription to a topic, copied out. */
struct subscription {
    bool found;                      /* the group is online and subscribes the topic */
    bool group_online;
    bool broadcasting;
    int64_t version;                 /* subVersion */
    bool sql;
    char expression[4096];           /* subString; "*" for all; longer ones are not found */
};
void clients_subscription(struct clients *cl, struct str group, struct str topic, struct subscription *out);

bool clients_consumer_online(struct clients *cl, struct str group);
bool clients_producer_online(struct clients *cl, struct str group);
/* One member by client id, held; NULL. */
struct conn *clients_member(struct clients *cl, enum group_kind kind, struct str group, struct str client_id);
/* Tells all members of a consumer group that its membership changed (NOTIFY_CONSUMER_IDS_CHANGED). */
void clients_notify_group(struct broker *b, struct str group);
/* Topics the online members of the group subscribe; under no lock of the caller's that clients may need. */
void clients_each_subscription(struct clients *cl, struct str group,
                               void (*each)(void *arg, struct str topic, struct str type, struct str expression), void *arg);
/* Online consumer groups that subscribe the topic. */
void clients_each_group_of(struct clients *cl, struct str topic, void (*each)(void *arg, struct str group), void *arg);

/* Handlers (rows of ops.c) */
void op_heartbeat(struct request *r);                       /* 34 */
void op_unregister_client(struct request *r);               /* 35 */
void op_check_client_config(struct request *r);             /* 46 */
void op_get_consumer_list_by_group(struct request *r);      /* 38 */
void op_get_consumer_connection_list(struct request *r);    /* 203 */
void op_get_producer_connection_list(struct request *r);    /* 204 */
void op_get_all_producer_info(struct request *r);           /* 328 */
void op_get_consumer_running_info(struct request *r);       /* 307: asked of the client */
void op_consume_message_directly(struct request *r);        /* 309: asked of the client */
void op_query_topics_by_consumer(struct request *r);        /* 343 */
void op_query_subscription_by_consumer(struct request *r);  /* 345 */
void op_query_topic_consume_by_who(struct request *r);      /* 300 */

#endif
