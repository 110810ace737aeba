/* A consistent copy of a running store, as a directory of files on which a broker
 * can be started: what is complete is a hard link, what still grows is copied up
 * to the point of the snapshot. It opens as one that was stopped cleanly there.
 *
 * Ways to get hurt:
 * - Linked files are the store's own. The store never writes to a file that is
 *   complete, and neither does our broker when it is started on a snapshot; but
 *   an editor, a repair or an Apache broker working in the snapshot's directory
 *   would change the store too. Copy it out, then work on the copy.
 * - A link keeps the disk space of what the store has long expired. */
#ifndef STORE_SNAPSHOT_H
#define STORE_SNAPSHOT_H

#include "store/store.h"

/* The most that is copied of the commit log file being written. When there is more, and the file system cannot clone
 * a file (FICLONE), the store closes that file with a blank record and goes on in the next, so that nothing of it
 * has to be copied; what the closed file does not hold gets its disk space back. */
#define SNAPSHOT_COPY_MAX (INT64_C(4) << 20)

#define SNAPSHOT_STEPS 4             /* the offsets copied; the point set and files linked or copied; checkpoint; disk */

struct snapshot_point {
    int64_t log_end;                 /* commit log offset: it holds what was stored before */
    int64_t last_time;               /* store time of the last message in it, ms */
    int64_t linked, copied;          /* files */
    int64_t copied_bytes;
    int64_t locked_us;               /* how long appends waited */
    int64_t step_us[SNAPSHOT_STEPS]; /* how long each step took */
    bool sealed;                     /* the commit log file was closed for it */
};

/* Makes dir, which must not exist and whose parent must; nothing of that name is there before it is whole and on
 * disk. The parent may lie in the store's root: it is left out. config/consumerOffset.json and delayOffset.json are
 * copied before the point and everything else after it, so that no offset is ahead of its queue. Retention deletes
 * nothing while links are made (store_hold_files). copy_max 0:
 * SNAPSHOT_COPY_MAX. 0, or -errno with f (-EEXIST). Any thread that may wait for a disk; one at a time for a parent. */
int store_snapshot(struct store *s, const char *dir, int64_t copy_max, struct snapshot_point *out, struct fault *f);

/* Puts a directory with all that is in it on disk. 0 or -errno. */
int snapshot_sync(int dir);
/* Removes a directory with all that is in it. 0 or the first -errno; -ENOENT. */
int snapshot_remove(const char *dir);
/* Removes what a crash left of snapshots being made or removed below parent. */
void snapshot_sweep(const char *parent);

#endif
