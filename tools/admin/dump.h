/* mqadmin dump: files of a store as text, one record a line. */
#ifndef TOOLS_ADMIN_DUMP_H
#define TOOLS_ADMIN_DUMP_H

#include <stdbool.h>
#include <stdint.h>

struct dump_options {
    char *const *files;
    int n_files;
    int64_t from;                    /* number of the first record wanted: what its first column says */
    int64_t count;                   /* at most so many lines of records, of all files together; below 0: all */
    int32_t index_slots;             /* maxHashSlotNum; 0: what an index file shows */
    bool body;                       /* messages with their bodies */
    bool quiet;                      /* records only, no lines that begin with # */
};

/* Prints to standard output. The files are only read, and may be those of a running broker. 0, or 1: a file could not
 * be read, is none of a store, or is damaged so that nothing of it can be shown; standard error has the sentence. */
int dump_files(const struct dump_options *o);

#endif
