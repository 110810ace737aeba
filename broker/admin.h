/* Handlers of administrators' requests: each decodes, calls a verb of broker.h,
 * and encodes. */
#ifndef BROKER_ADMIN_H
#define BROKER_ADMIN_H

#include "broker/state.h"

/* Who asks: the peer's address; the wire names no user yet. */
void admin_caller(struct request *r, struct caller *who);
/* SUCCESS with the body, which is freed; SYSTEM_BUSY when memory ran out while it was written. */
void admin_reply_json(struct request *r, struct buf *body);

/* A MessageQueue of this broker. */
struct json_writer;
void admin_queue_json(struct json_writer *w, struct broker *b, struct str topic, int32_t queue);

/* admin_topics.c */
void op_update_and_create_topic(struct request *r);              /* 17 */
void op_update_and_create_topic_list(struct request *r);         /* 18 */
void op_get_all_topic_config(struct request *r);                 /* 21 */
void op_delete_topic(struct request *r);                         /* 215 */
void op_get_topic_config(struct request *r);                     /* 351 */
void op_get_topic_stats_info(struct request *r);                 /* 202 */
void op_get_system_topic_list(struct request *r);                /* 305 */
/* admin_groups.c */
void op_update_and_create_group(struct request *r);              /* 200 */
void op_update_and_create_group_list(struct request *r);         /* 225 */
void op_get_all_group_config(struct request *r);                 /* 201 */
void op_delete_group(struct request *r);                         /* 207 */
void op_get_group_config(struct request *r);                     /* 352 */
void op_get_consume_stats(struct request *r);                    /* 208 */
/* admin_offsets.c */
void op_query_consumer_offset(struct request *r);                /* 14 */
void op_update_consumer_offset(struct request *r);               /* 15 */
void op_search_offset_by_timestamp(struct request *r);           /* 29 */
void op_get_max_offset(struct request *r);                       /* 30 */
void op_get_min_offset(struct request *r);                       /* 31 */
void op_get_earliest_msg_storetime(struct request *r);           /* 32 */
void op_get_all_consumer_offset(struct request *r);              /* 43 */
void op_get_all_delay_offset(struct request *r);                 /* 45 */
void op_reset_offset(struct request *r);                         /* 222 */
void op_clone_group_offset(struct request *r);                   /* 314 */
void op_query_consume_time_span(struct request *r);              /* 303 */
void op_query_correction_offset(struct request *r);              /* 308 */
/* retention.c */
void op_clean_expired_consumequeue(struct request *r);           /* 306 */
void op_clean_unused_topic(struct request *r);                   /* 316 */
void op_delete_expired_commitlog(struct request *r);             /* 329 */
/* admin_broker.c */
void op_update_broker_config(struct request *r);                 /* 25 */
void op_get_broker_config(struct request *r);                    /* 26 */
void op_get_broker_runtime_info(struct request *r);              /* 28 */
void op_view_broker_stats_data(struct request *r);               /* 315 */
/* admin_snapshot.c: requests of our own */
void op_create_snapshot(struct request *r);                      /* 30001 */
void op_delete_snapshot(struct request *r);                      /* 30002 */
void op_list_snapshots(struct request *r);                       /* 30003 */

#endif
