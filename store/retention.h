/* Retention: log files expire by age at an hour, by age when the disk fills, and
 * whatever their age when it is nearly full; always from the oldest, never the
 * last one. Queues, and who else asked, follow. Source of the rules: Apache
 * DefaultMessageStore.CleanCommitLogService, MappedFileQueue.deleteExpiredFileByTime
 * (5.5.0). A file that is being read stays readable: it loses its name, and its
 * space comes back when the last reader is done; so nothing here waits for
 * readers, and there is nothing to force (destroyMapedFileIntervalForcibly). */
#ifndef STORE_RETENTION_H
#define STORE_RETENTION_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include "store/mapped_file.h"

#define EXPIRED_HOOKS_MAX 8

struct store;
struct store_queue;

struct expired_hook {
    void (*fn)(void *ctx, int64_t log_min);
    void *ctx;
};

struct retention {
    pthread_t thread;
    bool runs;
    pthread_mutex_t lock;            /* guards stop; a leaf */
    pthread_cond_t wake;             /* stop */
    bool stop;
    pthread_mutex_t files;           /* held while a file of log or queues is deleted: store_hold_files; the lists'
                                      * locks are taken under it */
    pthread_mutex_t queue_files;     /* one walk over the queues at a time; outermost */
    _Atomic int manual;              /* rounds that delete at any hour */
    _Atomic int64_t expired_files;
    double (*disk_used)(const char *dir);    /* 0..1; below 0: not known. Tests put their own here */
    int64_t queues_done;             /* log_min that the queues were told of; 0 at start: files that a crash left are found then */
    struct mapped_file **gone;       /* deleted, perhaps still read: the last reference is given back by this thread, */
    int n_gone, cap_gone;            /* because the file system takes a while to free a gigabyte */
    struct expired_hook hooks[EXPIRED_HOOKS_MAX];
    int n_hooks;
};

void retention_init(struct store *s);
int retention_start(struct store *s, struct fault *f);       /* when the store's conf asks for it */
void retention_stop(struct store *s);
void retention_free(struct store *s);
/* One round at this time (ms since 1970). How many log files were deleted. Retention's thread, or none running. */
int retention_round(struct store *s, int64_t now);
/* Used part of the file system of dir as Apache counts it (root's reserve left out), in whole percent, rounded up;
 * -1 when not known. */
double disk_used(const char *dir);
/* The same of the log's directories: of several, the emptiest. */
double disk_used_by_log(struct store *s);
/* Lets the queues follow the log (queue_expire.c). 0 or the first -errno. */
int queues_expire(struct store *s, int32_t pause_ms, int *files);
bool retention_stopping(struct store *s);
/* Removes one queue (store.c). 0 or -errno. */
int store_delete_queue(struct store *s, struct store_queue *q);
/* Waits so long, or until stopped: true. */
bool retention_pause(struct store *s, int32_t ms);

#endif
