/* A store's directory (a snapshot, or a store that is stopped) as one tar file, and
 * back. The file is a plain pax tar that any tar extracts: paths are relative to
 * the store's root, parts of files that were never written are left out (GNU's
 * sparse format 1.0), zstd is around it. "checkpoint" comes last, so that what
 * was cut in the middle does not look like a store that was stopped cleanly. */
#ifndef STORE_EXPORT_H
#define STORE_EXPORT_H

#include <stdbool.h>
#include <stdint.h>
#include "common/fault.h"

/* done of total bytes; any return but 0 ends the work with -ECANCELED. */
typedef int export_progress(void *arg, int64_t done, int64_t total);

struct export_options {
    int level;                       /* of zstd, 1 to 19; 0: not compressed */
    int threads;                     /* that compress; 0: one per core */
    export_progress *progress;       /* NULL: nobody asks */
    void *arg;
};

struct export_result {
    int64_t files, bytes;            /* bytes of data, without holes */
};

/* Writes dir to the descriptor. "lock" and "snapshots" of its root are left out. 0, or -errno with f. */
int export_dir(const char *dir, int fd, const struct export_options *o, struct export_result *out, struct fault *f);
/* Extracts into dir, which must be empty or missing, and puts all on disk. Entries that are neither files nor
 * directories, or would lie outside of dir, end it. total of progress is the archive's length, 0 when not known.
 * 0; -ENOTEMPTY; -EBADMSG: no archive, a broken one, or none of a store; other -errno. With f. What was
 * extracted before a failure is removed. */
int import_dir(int fd, const char *dir, const struct export_options *o, struct export_result *out, struct fault *f);
/* Whether a running broker holds the store's lock. */
bool store_dir_in_use(const char *dir);

#endif
