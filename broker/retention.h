/* The broker's part of retention; the store's is store/retention.h. */
#ifndef BROKER_RETENTION_H
#define BROKER_RETENTION_H

#include "store/store.h"

/* ctx: the struct broker. What the configuration says now; for store_conf.retention. */
void broker_retention(void *ctx, struct store_retention *out);

#endif
