/* Brings a commit log file into memory a little ahead of who reads its records from
 * front to back, on a thread of its own: while one waits for the disk, the other works.
 * The pages are mapped too, so the reader takes no page faults. The thread may also
 * compare the records' CRCs, which is half of what there is to do. */
#ifndef STORE_READ_AHEAD_H
#define STORE_READ_AHEAD_H

#include <pthread.h>
#include <stdatomic.h>
#include "store/mapped_file.h"

#define READ_AHEAD_STEP ((int64_t)1 << 20)

struct read_ahead {
    const struct mapped_file *file;
    int64_t told;                /* the reader's: the thread knows that it came so far */
    pthread_t thread;
    pthread_mutex_t lock;        /* guards at and stop; a leaf, not held over a read */
    pthread_cond_t moved;
    int64_t at;
    bool stop, runs;
    bool check_crc;              /* the thread's */
    int64_t brought;             /* the same: from where on the rest is to be brought */
    _Atomic int64_t whole;       /* records before this place have the CRC they say */
};

/* The file is read from the record at `at` on. check_crc: the thread compares CRCs too. Without a thread, or for a few
 * pages, nothing happens. The file must stay mapped until read_ahead_stop, which must follow. */
void read_ahead_start(struct read_ahead *r, const struct mapped_file *file, int64_t at, bool check_crc);
void read_ahead_stop(struct read_ahead *r);

void read_ahead_tell(struct read_ahead *r, int64_t at);
/* The reader is at `at`. */
static inline void read_ahead_at(struct read_ahead *r, int64_t at)
{
    if (at - r->told >= READ_AHEAD_STEP)
        read_ahead_tell(r, at);
}
/* Was the CRC of the record at `at` compared, and right? */
static inline bool read_ahead_is_whole(const struct read_ahead *r, int64_t at)
{
    return at < atomic_load_explicit(&r->whole, memory_order_acquire);
}

#endif
