/* Reading and mending the units of a queue through a descriptor, for looking at a
 * queue without mapping it. */
#ifndef STORE_UNIT_READER_H
#define STORE_UNIT_READER_H

#include "store/consume_queue.h"

struct unit_reader {
    const char *dir;
    int64_t file_size, base;             /* of the open file */
    int fd;                              /* -1: none */
    bool dirty;                          /* that file has units that were written here and not synced yet */
};

/* Opens the file at base, if it is not the open one. 0 or -errno. */
int reader_open(struct unit_reader *r, int64_t base);
void reader_close(struct unit_reader *r);
int reader_unit(struct unit_reader *r, int64_t offset, struct store_entry *e);
/* The first offset in [lo, hi) whose unit `holds` does not accept; units that it accepts come first. -errno below 0. */
int64_t reader_first_not(struct unit_reader *r, int64_t lo, int64_t hi,
                         bool (*holds)(const struct store_entry *e, int64_t arg), int64_t arg);
#define READER_UNITS_MAX 512
/* The last units of [first, end), which is not empty: as many as one file has and fit. How many, or -errno. */
int reader_units_before(struct unit_reader *r, int64_t first, int64_t end, struct store_entry out[READER_UNITS_MAX]);
/* The first unit in [first, max) whose record the log still has; max when none; -errno below 0. */
int64_t queue_find_min(struct unit_reader *r, int64_t first, int64_t max, int64_t log_min);
/* Makes the units in [from, last] that were not written, and stand between written ones, again from the
 * log's records between those of their neighbours. What the log does not have becomes a filler. 0 or -errno. */
int queue_mend(const struct queue_env *env, struct store_queue *q, struct unit_reader *r, int64_t first, int64_t from,
               int64_t last);
/* Looks in the log, behind the record of the last unit, for those that units [from, to) are missing of, and writes
 * their units. The next unit to be written, or -errno. */
int64_t queue_catch_up(const struct queue_env *env, struct store_queue *q, struct unit_reader *r, int64_t first,
                       int64_t from, int64_t to);

#endif
