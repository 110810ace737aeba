/* The index: which messages have a key, a unique id or a tag. A thread of its own
 * (the indexer) reads the log behind the appends and adds what it finds to the
 * newest index file; its place is where it goes on after a restart, so an index
 * that is missing or behind is filled again by the same thread, while the store
 * works. Appends only wake it when it sleeps.
 *
 * Indexed are, as Apache's IndexService (5.5.0) does it, all messages but rolled
 * back ones: "TOPIC#UNIQ_KEY", "TOPIC#KEY" for each word of KEYS, "TOPIC#T#TAGS".
 * What may be wrong is dropped and made again from the log: after a crash every
 * file newer than the checkpoint; else a file of another size or with an impossible
 * header, or ahead of the log; and all after such a one. (Without messageIndexEnable
 * files of another layout are left alone.) */
#ifndef STORE_INDEX_H
#define STORE_INDEX_H

#include <pthread.h>
#include "common/buf.h"
#include "store/index_file.h"
#include "store/store.h"

struct index {
    bool on;                             /* messageIndexEnable: else files are only read */
    char *dir;
    struct index_layout layout;
    pthread_mutex_t lock;                /* guards files, n, cap, waiting, stop, and both conditions; a leaf */
    struct index_file **files;           /* by name, oldest first; a reference each */
    int n, cap;
    pthread_cond_t wake;                 /* the indexer's: work, a waiting query, stop */
    pthread_cond_t passed;               /* its place moved on while somebody waits */
    int waiting;
    bool stop;
    _Atomic bool idle;                   /* the indexer sleeps until an append wakes it */
    _Atomic int64_t place;               /* what the log has before it is indexed */
    _Atomic int64_t safe_time;           /* indexMsgTimestamp: end time of the last full file, on disk */
    bool in_doubt;                       /* the indexer's: a full file could not be synced, so safe_time stays before it */
    struct index_file *last;             /* the indexer's: the newest of files, which is never removed */
    struct index_file *held;             /* the indexer's: a reference under way, should a page not be had meanwhile */
    int64_t again;                       /* the indexer's: messages up to there may have entries already */
    bool told;                           /* the indexer's: that there is no room */
    pthread_t thread;
    bool runs;
};

/* Reads the directory after recovery found the log's end. 0 or -errno with f. */
int index_open(struct store *s, bool after_crash, struct fault *f);
int index_start(struct store *s, struct fault *f);
/* Ends the thread, which first catches up with the log (within a few seconds), and puts the newest file on disk.
 * Appends must have ended. 0 or -errno. */
int index_stop(struct store *s);
void index_free(struct index *x);

void index_wake(struct index *x);
/* An append is readable. Any thread, no lock needed. */
static inline void index_appended(struct index *x)
{
    /* Either the indexer sees the log's new end before it sleeps, or this sees that it sleeps. */
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&x->idle, memory_order_relaxed))
        index_wake(x);
}

/* Waits until everything before log offset `to` is indexed, at most that long. */
bool index_wait(struct index *x, int64_t to, int timeout_ms);
/* Bytes of the log that are yet to be indexed. */
int64_t index_behind(struct store *s);
/* File number i from the newest (0) on, with a reference; NULL: there is none. Any thread. */
struct index_file *index_get(struct index *x, int i);
/* Removes the files whose last message lies before log offset `min`, but never the newest (Apache's rule). Any thread. */
void index_expire(struct index *x, int64_t min);

#endif
