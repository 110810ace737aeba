/* The tables behind offsets.h, shared by offsets.c and offsets_json.c only. */
#ifndef BROKER_OFFSETS_PRIV_H
#define BROKER_OFFSETS_PRIV_H

#include <pthread.h>
#include <stdatomic.h>
#include <uthash.h>
#include "broker/offsets.h"

#define OFFSET_QUEUE_MAX 65535       /* highest queue number that offsets are kept for */
#define VERSION_STEP 500             /* commits to one step of the DataVersion: Apache's consumerOffsetUpdateVersionStep */

/* A group's offsets in one topic. at[] is replaced under the write lock; its elements also change under the read lock. */
struct topic_offsets {
    UT_hash_handle hh;               /* in its group, by topic, oldest first */
    char *topic;
    _Atomic int64_t *at;             /* by queue; -1: never committed */
    int32_t n;
};

struct group_offsets {
    UT_hash_handle hh;               /* by group */
    char *group;
    struct topic_offsets *topics;    /* hash */
};

struct reset {
    UT_hash_handle hh;               /* by key */
    int64_t offset;
    size_t key_size;
    char key[];                      /* group NUL topic NUL queue:4 */
};

struct offsets {
    pthread_rwlock_t lock;           /* guards the tables; a leaf */
    struct group_offsets *groups;
    struct reset *resets;
    atomic_int n_resets;             /* so that the usual case, none, needs no lock */
    atomic_int_fast64_t changes;
    atomic_int_fast64_t version_counter, version_timestamp, version_state;
};

/* Under the write lock: the slot of a queue, made when missing; NULL without memory or past OFFSET_QUEUE_MAX. */
_Atomic int64_t *offsets_slot(struct offsets *o, struct str group, struct str topic, int32_t queue);
void offsets_clear(struct offsets *o);           /* under the write lock */

#endif
