/* Held pulls: a pull that found nothing waits here by its queue until a message
 * arrives, its time is up, or its group's rights change. Then it is run once
 * more on its connection's loop, where everything is checked again, and answers
 * whatever comes of it.
 *
 * Sharded locks, each a leaf that guards the lists of its queues. */
#ifndef BROKER_HOLD_H
#define BROKER_HOLD_H

#include "broker/filter.h"
#include "broker/state.h"

#define HOLD_MS_MAX 300000          /* the longest a pull is held, whatever it asked for */

int hold_open(struct broker *b, struct hold **out);      /* listens to the store's arrivals; 0 or -ENOMEM */
/* Runs again all that are held and holds no more: before server_stop. */
void hold_answer_all(struct hold *h);
void hold_close(struct hold *h);                 /* after server_stop */

struct held_pull {
    struct str group, topic;         /* group must lie in the kept request */
    int32_t queue_id;
    int64_t offset;                  /* wakes for a message at this queue offset or later */
    int64_t timeout_ms;
    const struct tag_filter *filter; /* copied */
    /* Runs on the connection's loop; owns the request then. */
    void (*again)(struct request *r);
};
/* Holds a kept request, which it owns from then on. Under meta_read (which keeps q). A message that came since
 * the caller looked wakes it at once. 0, or -EBUSY (maxHeldPulls are held, or the broker stops) or -ENOMEM: then
 * the request is still the caller's. */
int hold_pull(struct hold *h, struct request *kept, struct store_queue *q, const struct held_pull *p);

/* Tries again everything held for a group on a topic (topic empty: on all): a binding went, an offset was reset. */
void hold_wake_group(struct hold *h, struct str group, struct str topic);
void hold_wake_topic(struct hold *h, struct str topic);      /* deleted, or its permission changed */
int64_t hold_count(struct hold *h);
/* Called about every 100 ms by the broker's timer: tries again what is due, lets go what lost its connection. */
void hold_sweep(struct hold *h);

#endif
