/* The store's own struct, for the files of this room only. */
#ifndef STORE_IMPL_H
#define STORE_IMPL_H

#include "store/checkpoint.h"
#include "store/cold_read.h"
#include "store/commit_log.h"
#include "store/consume_queue.h"
#include "store/flush.h"
#include "store/index.h"
#include "store/queue_maps.h"
#include "store/queue_table.h"
#include "store/retention.h"
#include "store/store.h"

enum writes {
    WRITES_ON,
    WRITES_OFF,          /* no room, read-only, ...: tried again once a second */
    WRITES_FAILED,       /* a sync failed: what the disk holds is unknown, so nothing more is promised */
};

struct store {
    struct store_conf conf;
    char *root, *log_paths, *queue_dir, *ext_dir, *checkpoint_path, *abort_path;
    int lock_fd;
    int64_t boot_time;
    struct commit_log log;
    int64_t run_from;                /* the log's end when this run began */
    struct queue_env env;
    struct queue_table queues;
    struct queue_maps maps;
    struct retention retention;
    struct flusher flush;
    struct index index;
    struct cold_read cold;
    struct checkpoint checkpoint;    /* the queue thread's once it runs */

    /* The append lock guards the log's and all queues' ends, the dirty list, and the words on writes. Under it:
     * leaves (the lists' locks, the log's spare_lock), nothing that waits for a disk but a roll to a file
     * that was not made in time. */
    pthread_mutex_t append_lock;
    struct store_queue *dirty;
    enum writes writes;
    struct fault writes_fault;
    int64_t writes_retry_at;         /* mono ms */
    _Atomic int32_t disk_full;       /* not 0: the disk is fuller than this many percent, and writes are refused; retention */
    _Atomic int64_t appended_messages, appended_bytes;   /* written under the lock, read by anybody */

    void (*on_arrival)(void *ctx, struct store_queue *q, int64_t max);
    void *arrival_ctx;

    _Atomic int64_t append_refused, got_messages, got_bytes, get_found, get_missed;
};

/* Of one that is written under a lock only: no other thread's write can come between. */
static inline void count_locked(_Atomic int64_t *c, int64_t n)
{
    atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n, memory_order_relaxed);
}
static inline void count(_Atomic int64_t *c, int64_t n) { atomic_fetch_add_explicit(c, n, memory_order_relaxed); }

/* Loads, repairs and re-indexes what the last run left (recover.c). Before any thread runs. */
int recover(struct store *s, bool after_crash, struct fault *f);
/* Recovery found no record at `at`: where the log goes on behind the damage (a whole record, stored at or after
 * not_before, or the file's end), the bytes between made into a record of their own; -ENOENT: it ends there; another
 * -errno: that cannot be known. */
int64_t resync(struct store *s, struct mapped_file *file, int64_t at, int64_t not_before);
/* The first whole record in (at, end) of the file, stored at or after not_before; -1: none (resync.c). */
int64_t record_after(const struct mapped_file *file, int64_t at, int64_t end, int64_t not_before);
/* Turns writes off for good: a sync failed (append.c). */
void writes_failed(struct store *s, int err, const char *what);
/* Puts q on the list of queues to be synced; append lock held (append.c). */
void mark_dirty(struct store *s, struct store_queue *q);

#endif
