/* What the send handlers share: the request header in both spellings, the checks
 * before a message is accepted, the reply. Private to send*.c. */
#ifndef BROKER_SEND_H
#define BROKER_SEND_H

#include "broker/put.h"

#define MAX_RECONSUME_NONE INT32_MIN    /* maxReconsumeTimes was absent */

/* Apache SendMessageRequestHeader and SendMessageRequestHeaderV2. */
struct send_header {
    struct str producer_group, topic, default_topic, properties;
    int32_t default_queues, queue_id, sys_flag, flag, reconsume_times, max_reconsume_times;
    int64_t born_timestamp;
    bool unit_mode, batch;
};

/* A send on its way through the checks. */
struct send {
    struct request *r;
    struct broker *b;
    const struct broker_config *conf;
    struct send_header h;
    struct topic *t;                 /* under meta_read only */
    /* The reply: */
    int32_t queue_id;
    int64_t queue_offset;
    int64_t end;                     /* log offset after it */
    struct str msg_id, uniq_key;     /* uniq_key may be absent */
    bool wait;                       /* the producer waits for the disk, where the broker syncs */
    struct missing_topic missing;    /* after -ENXIO; until then not even zeroed, as it is large */
};

/* Everything about broker, topic and producer that comes before the message itself, in Apache's order. Sets t and
 * queue_id. Under meta_read. 0; -ENXIO: s->missing has to be made first; else -errno with f. */
int send_admit(struct send *s, struct fault *f);
/* Says of a message without its texts what the header says. */
void send_message_of(const struct send *s, struct message *m);
/* Replies success now, or when the disk has the message. */
void send_answer(struct send *s);
/* Does a WAIT property let the producer wait? Absent: yes. */
bool send_waits(struct str wait);
/* On a network loop, and n more messages would have the queue's file made or grown: the request goes to a worker then
 * (-EINPROGRESS). Under meta_read, topic and queue are chosen. */
bool send_needs_worker(const struct send *s, int n);

/* send_batch.c: a send whose body holds many messages. ids is filled with their offset ids and must live until the
 * answer. As send_one in send.c. */
int send_batch(struct send *s, struct buf *ids, struct fault *f);

#endif
