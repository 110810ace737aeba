/* What the snapshot files share: snapshot.c sets the point and puts things on disk,
 * snapshot_parts.c knows what stands in a store's directory, snapshot_remove.c
 * takes snapshots away. */
#ifndef STORE_SNAPSHOT_PRIV_H
#define STORE_SNAPSHOT_PRIV_H

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>

#include "store/snapshot.h"
#include "store/store_impl.h"

#define DEPTH_MAX 16                 /* directories below each other */
#define PART_PREFIX ".part-"         /* a snapshot being made */
#define GONE_PREFIX ".gone-"         /* one being removed */

struct snap_job {
    struct store *s;
    int root, to;                    /* the store's directory and the snapshot's */
    struct snap_place {
        dev_t dev;
        ino_t ino;
    } left_out[LOG_DIRS_MAX + 1];    /* where snapshots are kept, and the commit log's directories */
    int n_left_out;
    struct snapshot_point at;
    const char *doing;               /* what failed, for the sentence */
    char part[4096];                 /* the directory as long as it is being made */
    int64_t copy_max;
    int64_t tail_base;               /* of the log file being written at the point; -1: none */
};

/* What of config must not be newer than the queues: copied before the point. 0 or -errno. */
int snapshot_take_offsets(struct snap_job *j);
/* All the rest, but the checkpoint: after the point. Who links has store_hold_files. 0 or -errno. */
int snapshot_take_files(struct snap_job *j);

static inline bool is_dots(const char *name) { return strcmp(name, ".") == 0 || strcmp(name, "..") == 0; }

static inline int open_dir(int at, const char *name) { return openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC); }

/* PARENT/PREFIXNAME of PARENT/NAME. 0 or -ENAMETOOLONG. */
int snapshot_hidden_name(const char *dir, const char *prefix, char *out, size_t cap);

#endif
