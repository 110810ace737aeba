/* What the parts of check_store share. */
#ifndef STORE_CHECK_PRIV_H
#define STORE_CHECK_PRIV_H

#include "common/message.h"
#include "store/check.h"
#include "store/index_file.h"
#include "store/mapped_file.h"

struct check_file {
    int64_t base, size;                  /* size: as it is on disk */
    char *path;
};

struct check_files {                     /* by base */
    struct check_file *v;
    int n;
    int64_t file_size;                   /* of the longest: what all should have */
};

struct check_queue {                     /* what the log says of a queue */
    struct check_queue *next;
    uint32_t hash;
    int32_t id;
    int64_t end, last;                   /* behind its last record's queue offset; that record's log offset */
    int64_t last_time;                   /* its store time */
    int64_t records;
    bool seen;                           /* the queue has a directory */
    int64_t sure_from, sure_to;          /* units that were compared with their records when the log was walked */
    struct check_ahead *ahead;           /* units read for that; NULL: none yet, or too many queues */
    uint16_t topic_n;
    char topic[];
};

struct check {
    const struct check_options *o;
    struct check_result *r;
    struct check_files log;
    int mapped;                          /* which log file; -1: none */
    char *map;
    size_t map_n;
    int map_fd;
    int64_t map_used;                    /* bytes gone past, or records looked up, since its memory was given back */
    int64_t last_time;                   /* newest store time in the log */
    int64_t index_size;                  /* of an index file whose layout showed, and */
    struct index_layout index_layout;    /* which it is */
    struct check_queue **table;
    uint32_t n_buckets, n_in_table;
    int n_ahead;                         /* queues with units read ahead */
    char told_path[4096];                /* of the last finding */
    int64_t told;
    bool failed;                         /* no memory for a list */
};

/* Tells and counts a finding. */
void check_find(struct check *c, const char *path, int64_t offset, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void check_bad(struct check *c, enum check_kind kind, const char *path);
void check_progress(struct check *c, const char *part, int64_t done, int64_t total);
/* The files of 20 digits in dir, added to what is there. 0 (missing: none) or -errno. */
int check_list(struct check_files *l, const char *dir);
/* Sorts, finds the size, and tells files that are cut or missing. */
void check_chain(struct check *c, struct check_files *l);
void check_files_free(struct check_files *l);
/* Is all from `at` to the file's end zero? Holes are skipped. 1, 0 or -errno. */
int check_is_zero(int fd, int64_t at, int64_t size);

/* The store's lock: *fd is to be closed when not -1. 0, -EBUSY, or other -errno; f filled. */
int check_lock(const char *root, int *fd, struct fault *f);
/* Is that file one JSON object? 1, 0 or -errno; *n: its length, *nul: place of its first zero byte (0: none). */
int check_is_json(const char *path, size_t *n, int64_t *nul);

/* The record at a log offset: 0; -ENOENT: no file has it; -EBADMSG: it is none. Texts are valid until the next call. */
int check_record(struct check *c, int64_t offset, struct message *m);
struct check_queue *check_queue_get(struct check *c, struct str topic, int32_t id, bool make);

/* Compares the record's unit with it, if it goes on where the last one was: reading the log once, record by record,
 * is cheaper than looking records up for each queue. */
void check_sure(struct check *c, struct check_queue *q, const struct message *m);
void check_sure_end(struct check_queue *q);
/* Queues without a directory, of topics that the topic table has; behind all others. 0 or -errno. */
int check_lost(struct check *c);
int check_batch_queue(struct check *c, const char *dir, struct str topic, int32_t id);

/* A queue's extension: its units are looked over with the opening, and found by address then. */
struct check_ext {
    struct check_files files;
    int open, fd;                        /* number of the open file; -1: none */
    char dir[4096];
};
int check_ext_open(struct check_ext *x, struct check *c, struct str topic, int32_t id);   /* 0 or -errno */
void check_ext_close(struct check_ext *x);
/* 0; -ENOENT: no unit is there. */
int check_ext_get(struct check_ext *x, int64_t address, int64_t *tags_code, int64_t *store_time);

/* The parts: 0 or -errno. */
int check_timer(struct check *c, struct fault *f);
int check_log(struct check *c, struct fault *f);
void check_log_end(struct check *c);
int check_queues(struct check *c, struct fault *f);
int check_index(struct check *c, struct fault *f);

#endif
