/* One index file: a hash table on disk from key texts to commit log offsets,
 * Apache's layout byte for byte. Source: Apache IndexFile, IndexHeader (5.5.0).
 *
 *   header, 40 bytes: first and last store time, first and last log offset (int64
 *                     each), slots in use, number of the next entry (int32; from 1)
 *   slots, 4 each:    number of the newest entry whose hash falls there; 0: none
 *   entries, 20 each: hash int32, log offset int64, seconds after the file's first
 *                     store time int32, number of the slot's entry before it int32
 *
 * One thread writes (the indexer); any thread reads meanwhile: an entry is complete
 * before its slot names it, and is never changed. */
#ifndef STORE_INDEX_FILE_H
#define STORE_INDEX_FILE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/buf.h"
#include "common/fault.h"

#define INDEX_HEADER 40
#define INDEX_SLOT 4
#define INDEX_ENTRY 20

struct index_layout {
    int32_t slots, entries;          /* maxHashSlotNum, maxIndexNum */
};

struct index_file {
    _Atomic int refs;
    int64_t name;                    /* 17 digits: the local time it was made, yyyyMMddHHmmssSSS */
    struct index_layout layout;
    char *map;
    int fd;                          /* for giving it disk space */
    int32_t reserved;                /* entries below this number have it; the indexer's */
};

struct index_file_info {
    int64_t begin_time, end_time;    /* store times, ms; 0: empty */
    int64_t begin_offset, end_offset;
    int32_t slots_used, next;        /* number of the next entry: entries used + 1 */
};

static inline int64_t index_file_size(struct index_layout l)
{
    return INDEX_HEADER + (int64_t)l.slots * INDEX_SLOT + (int64_t)l.entries * INDEX_ENTRY;
}

/* Place of entry n in the file. */
static inline int64_t index_entry_at(struct index_layout l, int32_t n)
{
    return INDEX_HEADER + (int64_t)l.slots * INDEX_SLOT + (int64_t)n * INDEX_ENTRY;
}

struct index_entry {
    int32_t hash;
    int64_t offset;                  /* in the log */
    int32_t seconds;                 /* behind the file's first store time */
    int32_t before;                  /* number of the slot's entry before it; 0: none */
};
/* What stands at the place of entry n, 0 <= n < entries. */
struct index_entry index_file_entry(const struct index_file *x, int32_t n);

/* The layout of a file of which only its bytes are known: the one with that many slots when slots is not 0, else the
 * one in which slots and entries agree, a quarter as many slots as entries first (any, when there are no entries).
 * 1; 0: they agree in none, *out is a guess; -EINVAL: no file of `size` bytes can be laid out so. Reads the mapping. */
int index_layout_find(const char *map, int64_t size, int32_t slots, struct index_layout *out);

/* Hash of topic, kind and key, one behind the other, as files keep it: never negative. kind: INDEX_KEY or INDEX_TAG. */
int32_t index_hash(struct str topic, const char *kind, struct str key);
#define INDEX_KEY "#"
#define INDEX_TAG "#T#"

/* Maps the file. 0; -EINVAL: not a file of this layout; other -errno; f filled. */
int index_file_open(const char *dir, int64_t name, struct index_layout layout, struct index_file **out, struct fault *f);
/* Makes it, empty; times and offsets go on from `before`, the file that is full (NULL: none). Nothing is left
 * when it fails: -ENOSPC and others, f filled. */
int index_file_create(const char *dir, int64_t name, struct index_layout layout, const struct index_file *before,
                      struct index_file **out, struct fault *f);
struct index_file *index_file_ref(struct index_file *x);
void index_file_unref(struct index_file *x);         /* NULL is allowed */
int index_file_unlink(const char *dir, int64_t name);

/* Guarded: 0, or -EIO (logged, *out all 0) when the disk does not give the header. What follows is to be called under a
 * bus_guard, but for index_file_sync. */
int index_file_info(const struct index_file *x, struct index_file_info *out);
bool index_file_is_full(const struct index_file *x);
/* Adds an entry; the file must not be full. 0 or -errno: no disk space; then nothing was added. */
int index_file_put(struct index_file *x, int32_t hash, int64_t offset, int64_t store_time);
/* Has it an entry of that hash for that log offset, which must be its last or a later one? */
bool index_file_has(const struct index_file *x, int32_t hash, int64_t offset);
int index_file_sync(const struct index_file *x);     /* 0 or -errno */

/* Could it hold entries of store times begin to end (ms, both included)? */
bool index_file_in_time(const struct index_file *x, int64_t begin, int64_t end);
/* Calls each(arg, offset) for the entries of that hash, newest first, until it says false; those that are surely
 * outside begin..end are left out (files keep seconds, so the record has the last word). *steps: entries that may
 * still be looked at. False when each said so or the steps ran out. */
bool index_file_select(const struct index_file *x, int32_t hash, int64_t begin, int64_t end, int64_t *steps,
                       bool (*each)(void *arg, int64_t offset), void *arg);

#endif
