/* What a broker says of its topics to a name server: the bodies of 103 and 217.
 * Source: Apache RegisterBrokerBody, TopicConfig, TopicRouteData (5.5.0). */
#ifndef BROKER_REGISTRAR_BODY_H
#define BROKER_REGISTRAR_BODY_H

#include "broker/meta.h"

/* All topics. The table is read in pieces, so topics that change meanwhile may be in either state. 0 or -ENOMEM. */
int body_full(struct meta *m, int permission, struct buf *out);
int body_full_compressed(struct meta *m, int permission, struct buf *out);
/* One topic; when it does not exist, as one with no queues and no permission. *exists says which. */
int body_increment(struct meta *m, int permission, struct str topic, bool *exists, struct buf *out);
int body_single(struct meta *m, int permission, const char *broker_name, struct str topic, bool *exists, struct buf *out);
/* The topics' DataVersion as JSON, for 322. */
int body_version(struct meta *m, struct buf *out);

#endif
