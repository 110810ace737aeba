/* The commit log: all messages of all queues, one after the other, in files that
 * a blank record closes. Appends are serialized by the store's append lock; reads
 * need no lock. */
#ifndef STORE_COMMIT_LOG_H
#define STORE_COMMIT_LOG_H

#include <stdbool.h>
#include "common/message.h"
#include "store/file_list.h"
#include "store/log_dirs.h"

#define LOG_GAPS 16                  /* as many are remembered; those before lie far back by their messages, too */

struct commit_log {
    struct log_dirs dirs;
    const char *dir;                 /* the first of them: what messages name */
    int64_t file_size;
    struct file_list files;
    _Atomic int64_t max;             /* end of the last complete record; written under the append lock */
    _Atomic int64_t last_time;       /* store time of that record, ms; 0: none yet */
    struct mapped_file *tail;        /* file being written, owned by files; append lock */
    struct log_gap {
        _Atomic int64_t n, end;      /* bytes left out when a file was closed early, and where they end */
    } gaps[LOG_GAPS];                /* the latest; written under the append lock */
    unsigned n_gaps;                 /* append lock */

    /* The next file, made ahead of its use by a thread of its own. */
    pthread_t thread;
    bool thread_runs;
    pthread_mutex_t spare_lock;      /* guards what follows; taken under the append lock when a file is full; a leaf */
    pthread_cond_t spare_change;
    struct mapped_file *spare;       /* made and not yet used */
    int64_t spare_base;              /* what is to be made; -1: nothing */
    bool spare_busy, stop;
    struct fault spare_fault;        /* why the last try failed; err 0: it did not */
    int64_t spare_retry_at;          /* mono ms before which no new try is made */
    int64_t ready, ready_wanted;     /* pages are ready up to here (of the file being written), and shall be */
    int64_t asked_end, asked_at;     /* the log's end and the time (mono ms) when they were last asked for */
    bool hurry;                      /* the log grew fast until then */
    bool synced;                     /* each few messages are: pages are made ready for that */
    int64_t warm_at;                 /* else: when the end comes here, more pages are asked for; append lock */
};

/* Loads the directories' files (made when missing; lists as log_dirs_open has them). The end is unknown until
 * commit_log_set_end. */
int commit_log_open(struct commit_log *l, const char *paths, const char *read_only, int64_t file_size, struct fault *f);
/* Recovery found the end: what lies behind is made zero or deleted, and appends go on there. 0 or -errno. */
int commit_log_set_end(struct commit_log *l, int64_t end, int64_t last_time, struct fault *f);
/* The thread; makes the first file ahead. synced: commit_log_make_ready will be called. */
int commit_log_start(struct commit_log *l, bool synced, struct fault *f);
void commit_log_stop(struct commit_log *l);                       /* ends it and removes the unused file */
void commit_log_free(struct commit_log *l);

/* Room for n bytes at *at (append lock held). Closes the file with a blank and takes the next one when
 * they do not fit. 0; -EMSGSIZE: more than a file holds; -ENOSPC and others with f filled. */
int commit_log_room(struct commit_log *l, size_t n, int64_t *at, char **p, struct fault *f);
/* The record written at that place is complete: readers may see it (append lock held). */
void commit_log_advance(struct commit_log *l, int64_t end, int64_t store_time);

/* Ahead of commit_log_seal: asks for the next file to be made (append lock held), */
void commit_log_want_next(struct commit_log *l);
/* and waits for it (no lock held): 0 or -errno with f. */
int commit_log_wait_next(struct commit_log *l, struct fault *f);
/* Closes the file being written, although it is not full, and goes on in the next one (append lock held). 0; -EAGAIN:
 * the next one is not there. */
int commit_log_seal(struct commit_log *l, struct fault *f);
/* Gives back the disk space behind the records of a file closed so. */
void commit_log_trim(struct commit_log *l, int64_t base, int64_t end);
/* Bytes of messages between an offset and the end. */
int64_t commit_log_distance(struct commit_log *l, int64_t offset);

static inline int64_t commit_log_max(struct commit_log *l) { return atomic_load_explicit(&l->max, memory_order_acquire); }
int64_t commit_log_min(struct commit_log *l);
/* The file that holds [offset, offset+n) of what is complete, with a reference, in *out (NULL when it fails). 0;
 * -ENOENT: none does; another -errno: it cannot be mapped (logged). */
int commit_log_find(struct commit_log *l, int64_t offset, int64_t n, struct mapped_file **out);
/* Store time of the record at offset; -ENOENT when no record can start there, another -errno when the disk does not
 * give it (logged). Reads the log: may wait for the disk. */
int64_t commit_log_time_at(struct commit_log *l, int64_t offset, int64_t size);
/* Has the thread make the pages behind `end` warm before appends come to them, and, in a log that is synced after each
 * few messages, ready (see mapped_file.h). Does not wait. */
void commit_log_make_ready(struct commit_log *l, int64_t end);
/* Puts [from, to) on disk. 0 or -errno (-ESTALE: somebody removed a file of it). Any thread. */
int commit_log_sync(struct commit_log *l, int64_t from, int64_t to);

#endif
