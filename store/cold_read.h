/* Reads messages of long ago past the page cache, into a few buffers that are used
 * again and again. What is read once takes no page from what is in use, and no new
 * page is asked of the system for each 4 KiB: while others send, that is most of
 * what a consumer far behind costs them (docs/performance.md).
 *
 * The log is read in parts of 256 KiB: messages of a topic's other queues, which the
 * next pulls ask for, come along. */
#ifndef STORE_COLD_READ_H
#define STORE_COLD_READ_H

#include <pthread.h>
#include <stdatomic.h>

#include "store/mapped_file.h"

#define COLD_PARTS 64                /* 16 MiB in all: some groups that read in different places */
#define COLD_PART ((size_t)256 << 10)

struct cold_read {
    pthread_mutex_t lock;            /* guards all of it; held while the disk is read; a leaf */
    struct cold_part {
        _Atomic int64_t at;          /* its place in the log; written under the lock, read by anybody */
        _Atomic int64_t n;           /* how many of its bytes are the log's; 0: it holds nothing; the same */
        int64_t turn;                /* when it was last used */
        char *bytes;                 /* NULL until it is first needed */
    } parts[COLD_PARTS];
    int64_t turn;
    int64_t used_at;                 /* mono ms; 0: there are no buffers */
};

void cold_read_init(struct cold_read *c);
void cold_read_free(struct cold_read *c);
/* Copies n bytes at a place of the log, which are in that file (dir: of files whose home names none), to `to`. end: the
 * log's end: what is behind it is being written. 0; -ENODATA: they are not all before the end, or the file has fewer;
 * -ENOMEM; another -errno: the file cannot be read so, which a file system need not be able to (-EINVAL). Waits for the
 * disk. Any thread. */
int cold_read_copy(struct cold_read *c, const struct mapped_file *file, const char *dir, int64_t at, char *to, size_t n,
                   int64_t end);
/* Whether the byte at a place of the log, in a file that begins at `base`, is in a buffer just now; then *from and *end
 * tell from where to where its neighbours are. No lock, no wait. */
bool cold_read_has(const struct cold_read *c, int64_t base, int64_t at, int64_t *from, int64_t *end);
/* Gives the buffers back when nobody has used them for a minute. Now and then. */
void cold_read_rest(struct cold_read *c, int64_t now_ms);

#endif
