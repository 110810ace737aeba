/* One mapped file of the store: a commit log or consume queue file. Named by the
 * offset of its first byte, 20 digits, as Apache names it. Counted: the mapping
 * stays until the last holder gives it back, even when the file is deleted. */
#ifndef STORE_MAPPED_FILE_H
#define STORE_MAPPED_FILE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/fault.h"

/* What many files have in common. Constant while any of them exists. */
struct file_home {
    const char *dir;         /* where they are; NULL: the callers say */
    bool read_ahead;         /* else the kernel brings in only the page that is touched: the first write to a sparse
                              * file would else fill megabytes with zeros */
    bool read_only;          /* no new files here */
    _Atomic int64_t *maps;   /* how many of them are mapped; NULL: nobody counts */
};

struct mapped_file {
    _Atomic int refs;
    int64_t base;            /* offset of the first byte */
    int64_t size;
    const struct file_home *home;    /* NULL: none */
    char *map;               /* NULL until mapped_file_map; changed under the list's lock, constant while somebody
                              * but the list holds a reference */
    bool writable;           /* map may be written to; the writer's, once it is mapped */
};

/* The directory: its home's, or else this one. */
static inline const char *mapped_file_dir(const struct mapped_file *m, const char *dir)
{
    return m->home && m->home->dir ? m->home->dir : dir;
}
/* DIR/name; -ENAMETOOLONG when it does not fit. */
int mapped_file_path(const char *dir, int64_t base, char *out, size_t cap);

/* In all that follows, dir counts only for files whose home names none. */
/* A handle with one reference and no mapping yet. NULL without memory. */
struct mapped_file *mapped_file_new(int64_t base, int64_t size, const struct file_home *home);
struct mapped_file *mapped_file_ref(struct mapped_file *m);
void mapped_file_unref(struct mapped_file *m);       /* NULL is allowed */

/* Maps an existing file of exactly m->size bytes; where the file system is read-only, for reading only. 0, or -errno with
 * f filled (-EIO: another length). No descriptor stays open. */
int mapped_file_map(struct mapped_file *m, const char *dir, struct fault *f);
/* Who writes to the mapping asks first: makes it writable where it is, readers notice nothing. 0, or -errno (-EROFS: the
 * file system is still read-only). One thread at a time. */
int mapped_file_to_write(struct mapped_file *m, const char *dir);
/* A descriptor that reads past the page cache; -errno, -EINVAL where the file system has no such thing. */
int mapped_file_open_direct(const struct mapped_file *m, const char *dir);
/* Takes the mapping away; nobody may be using it. */
void mapped_file_unmap(struct mapped_file *m);
/* Makes the file with its full length, of which the first `reserve` bytes have disk space (so that a full
 * disk is an errno here and never a SIGBUS later), and maps it. 0, or -errno with f filled; then no file is left. */
int mapped_file_create(struct mapped_file *m, const char *dir, int64_t reserve, struct fault *f);
/* Gives disk space to [from, from+n) of the file; what is there stays. 0 or -errno. */
int mapped_file_reserve(const struct mapped_file *m, const char *dir, int64_t from, int64_t n);
/* Whether n mapped bytes are all in memory. A system call, and no wait. */
bool mapped_is_resident(const char *p, size_t n);
/* Brings n mapped bytes into memory. 0; -EIO: a page cannot be had, and bus_why says which. */
int mapped_touch(char *p, size_t n);
/* Puts [from, to) (relative to the file) on disk: data, and the metadata needed to read it. 0 or -errno. */
int mapped_file_sync(const struct mapped_file *m, int64_t from, int64_t to);
/* Begins it, and does not wait: of several files, all are on their way before the first is waited for. */
void mapped_file_sync_begin(const struct mapped_file *m, const char *dir, int64_t from, int64_t to);
/* Brings [from, to) into memory for writing, so that who writes there takes no page faults; what is there stays. false:
 * some pages could not be had.
 * by_page: a page at a time. Else the kernel may bring a new part of a file in as one folio of megabytes: cheap, but it is
 * made zero in one go, in which nothing else runs on that processor (20 ms were seen where a host has to find the memory),
 * and each sync writes all of it. */
bool mapped_file_warm(const struct mapped_file *m, int64_t from, int64_t to, bool by_page);
/* The same by page, and then writes it to the disk: the first sync of space that was reserved and never written has the file system's own
 * records to write too. Does nothing to a file whose home names no directory. */
void mapped_file_ready(const struct mapped_file *m, int64_t from, int64_t to);
/* 1 when every byte from `from` on is zero, 0 when not, or -errno. Skips holes, so it is quick on sparse files. */
int mapped_file_is_zero_from(const struct mapped_file *m, const char *dir, int64_t from);
/* Where the last part of the file that is not a hole ends; the file's size when that is not known. */
int64_t mapped_file_data_end(const struct mapped_file *m, const char *dir);
/* Makes every byte from `from` on zero, keeping the disk space. 0 or -errno. */
int mapped_file_zero_from(const struct mapped_file *m, const char *dir, int64_t from);
int mapped_file_unlink(const struct mapped_file *m, const char *dir);
/* Gives disk space to [from, from+n) of an open file (zeros are written into its holes where the file system cannot
 * promise space); what is there stays. 0 or -errno. */
int file_reserve(int fd, int64_t from, int64_t n);

#endif
