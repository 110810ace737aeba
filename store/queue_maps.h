/* Which queues have files mapped, so that their number stays bounded (the kernel
 * allows a process 65,530 maps by default, and each touched one costs a page of
 * its tables): when there are too many, queues not used since the last look lose
 * theirs. A file of a queue that is used again is mapped again. */
#ifndef STORE_QUEUE_MAPS_H
#define STORE_QUEUE_MAPS_H

#include "store/consume_queue.h"

struct queue_maps {
    pthread_mutex_t lock;            /* guards ring, n, cap, hand and the queues' in_ring; a leaf */
    struct store_queue **ring;
    int n, cap, hand;
    int64_t max;                     /* files */
    _Atomic int64_t count;           /* files mapped now */
};

void queue_maps_init(struct queue_maps *m, int64_t max);
void queue_maps_free(struct queue_maps *m);
/* A file of q was mapped. Any thread, any lock. Without memory it is never unmapped: logged. */
void queue_maps_add(struct queue_maps *m, struct store_queue *q);
/* Unmaps until there are fewer than the limit, or nothing is left to unmap. Takes the append lock, so: not with it held,
 * nor with a leaf. Called by whoever is about to map at most a few files; what readers hold stays. */
void queue_maps_trim_slow(struct queue_maps *m, pthread_mutex_t *append_lock);
static inline void queue_maps_trim(struct queue_maps *m, pthread_mutex_t *append_lock)
{
    if (atomic_load_explicit(&m->count, memory_order_relaxed) >= m->max)
        queue_maps_trim_slow(m, append_lock);
}

#endif
