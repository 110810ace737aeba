/* Putting things on disk: a thread that syncs the commit log (at an interval, and
 * at once when somebody waits: one sync serves all that wait), one that syncs
 * consume queues and writes the checkpoint, and one for those who waited too long,
 * because the first two may hang in the disk. */
#ifndef STORE_FLUSH_H
#define STORE_FLUSH_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include "common/fault.h"
#include "store/checkpoint.h"

struct store;
struct waiter;

struct flusher {
    pthread_mutex_t lock;            /* guards waiters, idle, stop, timer_idle; a leaf; callbacks run without it */
    pthread_cond_t wake;             /* the log thread: somebody waits, or stop */
    pthread_cond_t wake_slow;        /* the queue thread: stop */
    pthread_cond_t wake_timer;       /* the timer thread: a first waiter when it sleeps without an end, or stop */
    struct waiter *waiters, *idle;
    bool stop, timer_idle;
    pthread_mutex_t sync_lock;       /* one sync of the log at a time; held over the disk; leaves under it */
    _Atomic int sync_error;          /* of the log; sticky; written under sync_lock */
    _Atomic int64_t flushed;         /* the log is on disk up to here */
    _Atomic int64_t flushed_time;    /* store time of the last message there, ms */
    _Atomic int64_t syncs;           /* of the log that had something to sync; written under sync_lock */
    int64_t last_thorough, last_queue_thorough;      /* mono ms; each its thread's */
    struct checkpoint written;       /* what its file says; the queue thread's */
    pthread_t threads[3];
    int n_threads;
};

int flush_init(struct store *s);
int flush_start(struct store *s, struct fault *f);
/* Ends the threads; those who wait are answered after one last sync. */
void flush_stop(struct store *s);
void flush_free(struct store *s);
/* Syncs the log up to its present end. 0 or -errno; a failure turns writes off for good. Any thread. */
int flush_log(struct store *s);
/* Syncs the queues with enough dirty pages, or all when thorough, which also moves the checkpoint's
 * queue fields. 0 or -errno; a failure turns writes off for good, but a lack of descriptors, with which the next call tries
 * again. The queue thread, or none running. */
int flush_queues(struct store *s, bool thorough);

#endif
