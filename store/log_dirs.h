/* The directories of the commit log: storePathCommitLog names one or several,
 * separated by ',', readOnlyCommitLogStorePaths those of them, or more, that get
 * no new file. File number n (offset / size) goes to directory n modulo their
 * count, in the order of their names, as Apache's MultiPathMappedFileQueue (5.5.0)
 * places it; where it lies is found by looking, so moved files are fine. */
#ifndef STORE_LOG_DIRS_H
#define STORE_LOG_DIRS_H

#include "common/buf.h"
#include "store/mapped_file.h"

#define LOG_DIRS_MAX 64

struct log_dirs {
    int n;
    struct file_home home[LOG_DIRS_MAX];     /* by name; dir is malloc'd */
    _Atomic bool full[LOG_DIRS_MAX];         /* above diskSpaceCleanForciblyRatio: passed over while there are others */
};

/* Parses both lists (either may be NULL or empty) and makes the directories. 0, or -errno with f filled. */
int log_dirs_open(struct log_dirs *d, const char *paths, const char *read_only, struct fault *f);
void log_dirs_free(struct log_dirs *d);
/* The k-th choice (from 0) for a new file number `index`; NULL when there are no more. */
const struct file_home *log_dirs_choose(const struct log_dirs *d, int64_t index, int k);

#endif
