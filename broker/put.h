/* The last step of every message that this broker stores: which queue, and what
 * the store's refusals mean on the wire. Shared by the send handlers, send-back
 * and the schedule; private to them. */
#ifndef BROKER_PUT_H
#define BROKER_PUT_H

#include "broker/meta.h"
#include "broker/state.h"

/* Appends n messages (one: n = 1) of m[0].topic to queue m[0].queue_id of t and counts them. Under meta_read. 0 or
 * -errno with the wire's code in f. */
int put_append(struct broker *b, struct topic *t, const struct message *m, const int64_t *tags_codes, int n,
               struct store_put *out, struct fault *f);

/* Whether the topic's queues are of the kind that put_append fills; asked before a message is put aside for it. 0, or
 * -EINVAL with f. */
int put_check_queues(const struct topic *t, struct fault *f);

/* As broker_put_internal, for a message whose delay is over: its DELAY property is only a memory. */
int put_due(struct broker *b, const struct message *m, struct store_put *out, struct fault *f);

/* The handle of a topic's queue; NULL when it has none of that number. Under meta_read. */
static inline struct store_queue *topic_queue(const struct topic *t, int32_t queue_id)
{
    return queue_id >= 0 && queue_id < t->n_queues ? t->queues[queue_id] : NULL;
}

/* A topic that a message needs and that is not there. */
enum missing_kind { MISSING_PLAIN, MISSING_DERIVED };
struct missing_topic {
    char name[TOPIC_NAME_MAX_LONG + 1];
    enum missing_kind kind;          /* PLAIN: from its template; DERIVED: %RETRY% or %DLQ%, with `queues` queues */
    char template[TOPIC_NAME_MAX_LONG + 1];
    int32_t queues, sys_flag;
};
/* Makes it and waits until it is on disk: not from a network loop, under no lock. 0 also when somebody else just
 * made it. */
int put_make_topic(struct broker *b, const struct missing_topic *m, const char *from, struct fault *f);
/* Fills m for the retry or dead-letter topic `prefix group`; false when the name would be too long. */
bool missing_derived(struct missing_topic *m, const char *prefix, struct str group, int32_t queues);

#endif
