/* Takes brokers away: those that said goodbye, whose connection ended, or that
 * fell silent. One thread; departures wait in a bounded queue and are done in
 * batches, because each pass looks at every topic. Private to namesrv/. */
#ifndef NAMESRV_KEEPER_H
#define NAMESRV_KEEPER_H

#include "namesrv/routes.h"
#include "namesrv/state.h"

int keeper_open(struct namesrv *ns, struct keeper **out);
int keeper_run(struct keeper *k);
void keeper_close(struct keeper *k);                 /* does what waits, stops the thread */

/* Queues a departure and owns it from then on. false: the queue is full, d was freed. Any thread. */
bool keeper_depart(struct keeper *k, struct departure *d);
/* Queues notifications and owns them. Any thread. */
void keeper_tell(struct keeper *k, struct min_change *list);

#endif
