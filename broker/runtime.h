/* Rates and runtime values: what GET_BROKER_RUNTIME_INFO and the tree show.
 * Sampled once a second by the ticker; its lock is a leaf.
 * Names: Apache StoreStatsService, DefaultMessageStore, AdminBrokerProcessor (5.5.0). */
#ifndef BROKER_RUNTIME_H
#define BROKER_RUNTIME_H

#include "broker/state.h"

int runtime_open(struct runtime **out);
void runtime_close(struct runtime *rt);
void runtime_sample(struct broker *b);          /* once a second */

#endif
