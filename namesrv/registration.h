/* The body of a broker's registration (103), in all its forms:
 *  - RegisterBrokerBody as JSON
 *  - the same compressed: zlib over length-prefixed parts (V5_0_0 and later end
 *    with the static topics' mappings)
 *  - TopicConfigSerializeWrapper as JSON, from brokers before V3_0_11
 *  - none: an empty registration
 * Source: Apache RegisterBrokerBody, TopicConfig (5.5.0).
 *
 * Bytes in, struct out; nothing of a network or a table. Private to namesrv/. */
#ifndef NAMESRV_REGISTRATION_H
#define NAMESRV_REGISTRATION_H

#include "common/arena.h"
#include "common/fault.h"

struct version {                     /* Apache's DataVersion */
    int64_t state, timestamp, counter;
};

struct topic_row {
    struct str name;
    int32_t read_queues, write_queues, perm, sys_flag;
};

struct mapping_row {                 /* TopicQueueMappingInfo of a static topic */
    struct str topic, broker;
    struct str json;                 /* the whole, as Apache would write it */
};

struct registration {
    struct version version;
    struct topic_row *topics;
    size_t n_topics;
    struct mapping_row *mappings;
    size_t n_mappings;
    bool has_filters;                /* filterServerList was there (and may be empty) */
    struct str *filters;
    size_t n_filters;
    struct arena arena;              /* owns all of it but texts that lie in the body */
};

/* body must outlive out. 0 or -errno with a sentence in f; registration_free in both cases. */
int registration_decode(struct str body, bool compressed, int broker_version, struct registration *out, struct fault *f);
void registration_free(struct registration *r);

/* DataVersion's JSON, as bodies of 322 have it. 0 or -EBADMSG. */
int version_decode(struct str json, struct version *out);
void version_encode(const struct version *v, struct buf *out);

/* A TopicRouteData body (217): of its queueDatas one of out->topics each, whose name is the broker's. json must outlive
 * out. 0, -EBADMSG or -ENOMEM; registration_free in all cases. */
int route_body_decode(struct str json, struct registration *out);

#endif
