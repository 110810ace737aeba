/* Going through one mapped commit log file from its first byte on, whatever is in it: records, the blank
 * or the zeros that end it, and damage, behind which it goes on with the next whole record.
 * Changes nothing; knows no store. The file may be growing meanwhile: what is written just then is the end,
 * or damage with nothing behind it. */
#ifndef STORE_LOG_WALK_H
#define STORE_LOG_WALK_H

#include "common/message.h"

struct log_walk {
    const char *map;                 /* the file's n bytes */
    size_t n;
    int fd;                          /* the same file, for finding its holes */
    int64_t base;                    /* log offset of its first byte */
    /* A record at that place of the file; its CRC is not looked at. Not 0: the walk ends with it. */
    int (*record)(void *ctx, int64_t at, const struct message *m);
    /* No record is there, in words, and where the next whole one is; next -1: there is none. Not 0: as above. */
    int (*damage)(void *ctx, int64_t at, int64_t next, const char *what);
    void *ctx;
};

/* From that place on. *end: the place behind the last record, or n behind a blank. 0; -errno: the file could not be
 * read; or what a callback gave. Touches the mapping: bus_guarded when the disk may fail. */
int log_walk(const struct log_walk *w, int64_t from, int64_t *end);

#endif
