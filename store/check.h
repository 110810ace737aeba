/* Looking over a store directory that no broker uses, without changing it: every
 * record of the commit log, every unit of the consume queues and their extensions,
 * every entry of the index files, the checkpoint, the files of config/, and of the
 * timer's files the structure. What is found is told in
 * order; what can be made again is listed for check_repair. Knows no broker.
 * The formats: commit_log.h, consume_queue.h, index_file.h, checkpoint.h. */
#ifndef STORE_CHECK_H
#define STORE_CHECK_H

#include <stdbool.h>
#include <stdint.h>
#include "common/fault.h"

#define CHECK_LINES_PER_FILE 20          /* findings told of one file; what is more is counted */

struct check_options {
    const char *root;                    /* storePathRootDir */
    const char *commit_log;              /* storePathCommitLog, several separated by ','; NULL: root/commitlog */
    int32_t index_slots;                 /* maxHashSlotNum; 0: what the files show */
    int32_t index_entries;               /* maxIndexNum, with which index_slots counts for files of that size only; 0: all */
    /* Something is wrong at a byte of that file. */
    void (*finding)(void *ctx, const char *path, int64_t offset, const char *what);
    /* Worth knowing, and nothing wrong. */
    void (*note)(void *ctx, const char *what);
    /* How far it is; often; NULL: nobody asks. total 0: not known. */
    void (*progress)(void *ctx, const char *part, int64_t done, int64_t total);
    void *ctx;
};

enum check_kind {
    CHECK_LOG, CHECK_QUEUE, CHECK_INDEX, CHECK_CHECKPOINT, CHECK_CONFIG,
    CHECK_QUEUE_ALONE,                   /* a queue of which the log has no record, or that the log does not name */
    CHECK_BATCH_QUEUE, CHECK_TIMER,      /* of Apache's broker only */
    CHECK_KINDS
};

struct check_bad {
    enum check_kind kind;
    char *path;                          /* a queue's directory, else a file */
};

struct check_result {
    int64_t log_files, records, queues, units, index_files, entries, configs;
    int64_t findings;
    int64_t log_min, log_end;            /* commit log offsets of what is there */
    bool not_clean;                      /* "abort" is there: the last run did not end by itself */
    struct check_bad *bad;               /* each once; check_result_free */
    int n_bad;
};

/* Takes the store's lock while it looks. 0 whatever was found; -EBUSY: a broker uses it; -ENOENT: no store; other
 * -errno: it could not look; f filled. *out is to be freed in each case. Mapped files: run it under bus_guarded when a
 * failing disk is to be an error. */
int check_store(const struct check_options *o, struct check_result *out, struct fault *f);
void check_result_free(struct check_result *r);

struct repair_options {
    const char *root;
    bool force;                          /* what cannot be made again may go, too */
    /* What was done, or why not (left: it stays as it is). */
    void (*done)(void *ctx, const char *path, bool left, const char *what);
    void *ctx;
};

/* Acts on what check_store listed. Queues and index files are removed and the broker made to read its whole log when
 * it starts, so that it makes them again; a config file is made again from its .bak, and a .bak from its file. The log
 * is never written; while it is damaged, what needs the broker to recover is left too, because that would overwrite
 * the damage: unless force. 0 or -errno with f: what was told is done. -EBUSY as check_store. */
int check_repair(const struct check_result *r, const struct repair_options *o, struct fault *f);

#endif
