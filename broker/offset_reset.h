/* Resetting a group's offsets: what the tree's verb and the wire's request 222
 * share. verbs_offset.c */
#ifndef BROKER_OFFSET_RESET_H
#define BROKER_OFFSET_RESET_H

#include "broker/state.h"

enum reset_to { RESET_OFFSET, RESET_MIN, RESET_MAX, RESET_TIME };

struct reset_target {
    enum reset_to to;
    int64_t value;                   /* an offset, or ms since 1970 */
    bool force;                      /* a time may also lead forward (isForce; only without useServerSideResetOffset) */
};

struct reset_queue {
    int32_t queue;
    int64_t offset, old;             /* old: -1 none */
};

/* The text of broker_offset_reset. 0 or -EINVAL. */
int reset_target_parse(struct str spec, struct reset_target *out, struct fault *f);

/* Resets one queue (or all read queues with -1), all or none, and answers what became of them: *out is malloc'd, *n
 * long. With useServerSideResetOffset the next pull is answered with the new offset, and a held one at once; else every
 * member is sent RESET_CONSUMER_CLIENT_OFFSET, and without members the committed offset is set. The committed offsets
 * are on disk when it returns. */
int offset_reset(struct broker *b, const struct caller *c, struct str group, struct str topic, int32_t queue,
                 const struct reset_target *to, struct reset_queue **out, int *n, struct fault *f);

/* Copies a group's committed offsets in a topic (empty: in all) to another group; on disk when it returns. 0 or -errno:
 * when the save failed the copy stands in memory, and f says so. */
int offset_clone(struct broker *b, const struct caller *c, struct str from, struct str to, struct str topic, struct fault *f);

/* Apache's ResetOffsetBody, whose keys are MessageQueue objects, or ResetOffsetBodyForC, a list for C++ clients. */
void reset_body(struct buf *out, const char *broker, struct str topic, const struct reset_queue *queues, int n, bool list);

#endif
