/* All queues by topic and number. A queue's struct stays until the table is freed,
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
    struct store_queue *retired;
};

int queue_table_init(struct queue_table *t);
void queue_table_free(struct queue_table *t);
/* Takes up the names of all queues under env->root; opens none of their files. 0, or -errno with f filled. */
int queue_table_load(struct queue_table *t, const struct queue_env *env, struct fault *f);
struct store_queue *queue_table_find(struct queue_table *t, struct str topic, int32_t id);
/* Finds or makes. NULL without memory or when the topic cannot be a directory's name. */
struct store_queue *queue_table_get(struct queue_table *t, const struct queue_env *env, struct str topic, int32_t id);
/* Calls each(arg, q) for every queue, under the table's lock (shared). */
void queue_table_each(struct queue_table *t, void (*each)(void *arg, struct store_queue *q), void *arg);
/* All queues of this moment, malloc'd; they stay until the table is freed. 0 or -ENOMEM. */
int queue_table_list(struct queue_table *t, struct store_queue ***all, size_t *n);
/* Takes one queue out and removes its files; before(arg, q) is called first. 0 or -errno; -ENOENT. */
int queue_table_remove_one(struct queue_table *t, const struct queue_env *env, struct store_queue *q,
                           void (*before)(void *arg, struct store_queue *q), void *arg);
/* Takes the topic's queues out and removes its directory. before(arg, q) is called for each first. 0 or -errno. */
int queue_table_remove(struct queue_table *t, const struct queue_env *env, struct str topic,
                       void (*before)(void *arg, struct store_queue *q), void *arg);

#endif
