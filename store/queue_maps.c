#include "store/queue_maps.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"

#define KERNEL_DEFAULT 65530
#define MAX_FALLBACK 1024

/* The limit that follows from vm.max_map_count. */
static int64_t most_maps(void)
{
    FILE *f = fopen("/proc/sys/vm/max_map_count", "re");
    long long n = KERNEL_DEFAULT;

    if (f) {
        if (fscanf(f, "%lld", &n) != 1)
            n = KERNEL_DEFAULT;
        fclose(f);
    }
    return n / 4 < MAX_FALLBACK ? MAX_FALLBACK : n / 4;
}

void queue_maps_init(struct queue_maps *m, int64_t max)
{
    pthread_mutex_init(&m->lock, NULL);
    m->max = max > 0 ? max : most_maps();
}

void queue_maps_free(struct queue_maps *m)
{
    free(m->ring);
    m->ring = NULL;
    pthread_mutex_destroy(&m->lock);
}

static bool room_for_one(struct queue_maps *m)
{
    int cap = m->cap ? m->cap * 2 : 256;
    struct store_queue **ring;

    if (m->n < m->cap)
        return true;
    if (!(ring = realloc(m->ring, (size_t)cap * sizeof *ring)))
        return false;
    m->ring = ring;
    m->cap = cap;
    return true;
}

void queue_maps_add(struct queue_maps *m, struct store_queue *q)
{
    if (atomic_load_explicit(&q->in_ring, memory_order_relaxed))
        return;
    pthread_mutex_lock(&m->lock);
    if (!atomic_load(&q->in_ring)) {
        if (room_for_one(m)) {
            m->ring[m->n++] = q;
            atomic_store(&q->in_ring, true);
        } else {
            log_warn("no memory to note that files of queue %s/%d are mapped: they stay so", q->topic, (int)q->id);
        }
    }
    pthread_mutex_unlock(&m->lock);
}

/* Takes a queue that was not used since the hand last passed it out of the ring; NULL when it is empty. */
static struct store_queue *take_idle(struct queue_maps *m)
{
    struct store_queue *q = NULL;

    pthread_mutex_lock(&m->lock);
    while (m->n) {
        if (m->hand >= m->n)
            m->hand = 0;
        q = m->ring[m->hand];
        if (!atomic_exchange_explicit(&q->used, false, memory_order_relaxed))
            break;
        m->hand++;                       /* ends: the second time round it finds one */
        q = NULL;
    }
    if (q) {
        m->ring[m->hand] = m->ring[--m->n];
        /* Before the files are unmapped: who maps one later puts the queue back. */
        atomic_store(&q->in_ring, false);
    }
    pthread_mutex_unlock(&m->lock);
    return q;
}

void queue_maps_trim_slow(struct queue_maps *m, pthread_mutex_t *append_lock)
{
    int tries = 64;                      /* that many may be held; they are looked at again by the next one */

    while (tries-- > 0 && atomic_load(&m->count) >= m->max) {
        struct store_queue *q = take_idle(m);
        int left;
        if (!q)
            return;
        /* The tail is used under the append lock without a reference of its own. */
        pthread_mutex_lock(append_lock);
        q->tail = NULL;
        left = file_list_unmap(&q->files) + (q->ext ? queue_ext_unmap(q->ext) : 0);
        pthread_mutex_unlock(append_lock);
        if (left) {                      /* somebody reads or syncs it: the hand passes it by */
            atomic_store_explicit(&q->used, true, memory_order_relaxed);
            queue_maps_add(m, q);
        }
    }
}
