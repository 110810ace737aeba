/* Committed offsets: group x topic x queue, and the resets that wait for their
 * consumer. consumerOffset.json in Apache's form. Its own lock (a leaf but for
 * nothing): calls may be made under meta_read. */
#ifndef BROKER_OFFSETS_H
#define BROKER_OFFSETS_H

#include "broker/broker.h"
#include "common/json.h"

struct offsets;

int offsets_open(struct offsets **out);
void offsets_close(struct offsets *o);

/* -1: never committed. */
int64_t offsets_get(struct offsets *o, struct str group, struct str topic, int32_t queue);
/* Overwrites, lower values too (Apache logs and does so). While a reset of that queue waits for its consumer the
 * commit is ignored. 0, -ENOMEM, or -EINVAL (a negative offset, a queue outside 0..65535). */
int offsets_commit(struct offsets *o, struct str group, struct str topic, int32_t queue, int64_t offset);
/* A server-side reset (useServerSideResetOffset): sets the committed offset and leaves a mark; the next pull of that
 * queue is answered PULL_OFFSET_MOVED with it, which takes the mark away. */
int offsets_reset(struct offsets *o, struct str group, struct str topic, int32_t queue, int64_t offset);
/* Sets the committed offset (-1: forgets it) and takes a waiting reset away: for undoing, and for resets that clients
 * are told of by a request. */
int offsets_put(struct offsets *o, struct str group, struct str topic, int32_t queue, int64_t offset);
/* The waiting reset, or -1; take: and remove it. Cheap when no reset waits anywhere. */
int64_t offsets_reset_waiting(struct offsets *o, struct str group, struct str topic, int32_t queue, bool take);

void offsets_drop_group(struct offsets *o, struct str group);
void offsets_drop_topic(struct offsets *o, struct str topic);
/* Topics in which the group has offsets: the n-th, or -ENOENT. */
int offsets_topic_at(struct offsets *o, struct str group, uint32_t n, char out[TOPIC_NAME_MAX_LONG + 1]);
/* Groups that have offsets in a topic; each must not call back into offsets. */
void offsets_each_group(struct offsets *o, struct str topic, void (*each)(void *arg, struct str group), void *arg);
int offsets_copy_group(struct offsets *o, struct str from, struct str to, struct str topic);   /* topic empty: all */

int64_t offsets_changes(struct offsets *o);                 /* grows with each change: for the saver */
void offsets_encode(struct offsets *o, struct buf *out, bool pretty);
int offsets_decode(struct offsets *o, struct str text);     /* 0 or -EBADMSG */

#endif
