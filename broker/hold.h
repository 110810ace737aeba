/* Held pulls: a pull that found nothing waits here by its queue until a message
 * arrives, its time is up, or its group's rights change. Sharded locks, each a
 * leaf that guards the lists of its queues. */
#ifndef BROKER_HOLD_H
#define BROKER_HOLD_H

#include "broker/state.h"

int hold_open(struct broker *b, struct hold **out);
void hold_answer_all(struct hold *h);            /* the broker stops: all that are held are answered, none is taken any more */
void hold_close(struct hold *h);                 /* after the server has stopped */
/* Tries again everything held for a group on a topic (topic empty: on all topics): a binding went, an offset was reset. */
void hold_wake_group(struct hold *h, struct str group, struct str topic);
void hold_wake_topic(struct hold *h, struct str topic);      /* deleted, or its permission changed */
int64_t hold_count(struct hold *h);
/* Called about every 100 ms by the broker's timer: answers what is due. */
void hold_sweep(struct hold *h);

#endif
