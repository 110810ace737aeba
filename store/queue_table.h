/* All queues by topic and number. The start reads none of the directories under
 * consumequeue (a hundred thousand of them, cold, take seconds): a queue gets
 * its struct when it is first named, and the rest when all are asked for. A queue's struct stays until the table is freed,
 * even after its topic was deleted, because another thread may be reading with it:
 * memory grows with deletions (some 200 bytes a queue), not with messages. */
#ifndef STORE_QUEUE_TABLE_H
#define STORE_QUEUE_TABLE_H

#include "store/consume_queue.h"

struct queue_table {
    pthread_rwlock_t lock;           /* guards buckets, n, retired; held while queue files of a deleted topic are
                                      * removed, so that a new queue of that name finds none; takes the append lock
                                      * and leaves under it */
    struct store_queue **buckets;
    size_t n, n_buckets;             /* n_buckets is a power of two */
    pthread_mutex_t walk_lock;       /* one walk through the topics' directories at a time; held while they are read; lock
                                      * is taken under it, for each topic */
    _Atomic bool complete;           /* the walk is done: what is not here is not on disk */
    struct store_queue *retired;
};

int queue_table_init(struct queue_table *t);
void queue_table_free(struct queue_table *t);
/* Takes up the names of all queues under env->root, unless that was done; opens none of their files. 0 or -errno (logged). */
int queue_table_complete(struct queue_table *t, const struct queue_env *env);
/* Whether there is any queue, in memory or on disk: 1, 0 or -errno. */
int queue_table_any(struct queue_table *t, const struct queue_env *env);
/* NULL when it is neither here nor on disk: until the walk is done, asks the disk for what is not here. */
struct store_queue *queue_table_find(struct queue_table *t, const struct queue_env *env, struct str topic, int32_t id);
/* Finds or makes. NULL without memory or when the topic cannot be a directory's name. */
struct store_queue *queue_table_get(struct queue_table *t, const struct queue_env *env, struct str topic, int32_t id);
/* Calls each(arg, q) for every queue that was named so far, under the table's lock (shared). */
void queue_table_known(struct queue_table *t, void (*each)(void *arg, struct store_queue *q), void *arg);
/* The same for every queue. 0, or -errno when the disk's names could not all be read: then for those it has. */
int queue_table_each(struct queue_table *t, const struct queue_env *env,
                     void (*each)(void *arg, struct store_queue *q), void *arg);
/* All queues of this moment, malloc'd; they stay until the table is freed. 0 or -errno. */
int queue_table_list(struct queue_table *t, const struct queue_env *env, struct store_queue ***all, size_t *n);
/* Those of one topic; the others' names are not read for that. */
int queue_table_list_topic(struct queue_table *t, const struct queue_env *env, struct str topic, struct store_queue ***all,
                           size_t *n);
/* Takes one queue out and removes its files; before(arg, q) is called first. 0 or -errno; -ENOENT. */
int queue_table_remove_one(struct queue_table *t, const struct queue_env *env, struct store_queue *q,
                           void (*before)(void *arg, struct store_queue *q), void *arg);
/* Takes the topic's queues out and removes its directory. before(arg, q) is called for each first. 0 or -errno. */
int queue_table_remove(struct queue_table *t, const struct queue_env *env, struct str topic,
                       void (*before)(void *arg, struct store_queue *q), void *arg);

#endif
