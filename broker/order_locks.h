/* Queue locks of orderly consumers (LOCK_BATCH_MQ): group x queue -> client, for
 * 60 s after its last renewal. Its own lock, a leaf.
 * Source: Apache RebalanceLockManager (5.5.0). */
#ifndef BROKER_ORDER_LOCKS_H
#define BROKER_ORDER_LOCKS_H

#include "broker/state.h"

#define ORDER_LOCK_MS 60000

int order_locks_open(struct order_locks **out);
void order_locks_close(struct order_locks *l);
/* The client that holds the queue now; false: nobody. */
bool order_lock_holder(struct order_locks *l, struct str group, struct str topic, int32_t queue, char out[256]);
bool order_lock_any(struct order_locks *l, struct str group);       /* an unexpired lock of the group */
void order_locks_sweep(struct order_locks *l);                      /* forgets expired ones */

void op_lock_batch_mq(struct request *r);      /* 41 */
void op_unlock_batch_mq(struct request *r);    /* 42 */

#endif
