/* Whole files, written so that a crash leaves either the old or the new one. */
#ifndef COMMON_FILE_H
#define COMMON_FILE_H

#include "common/buf.h"
#include "common/fault.h"

/* Makes DIR and its parents (0755). 0 or -errno. */
int dir_make(const char *dir);
/* The same, and the names that it made are on disk. */
int dir_make_durable(const char *dir);
/* fsync of a directory, so that a new or renamed name in it survives power loss. */
int dir_sync(const char *dir);
/* fsync of the directory that holds PATH. */
int dir_sync_of(const char *path);
/* Whether syncfs puts all of the file system on disk: FUSE does not pass it on. */
bool fs_syncs_as_one(int fd);

/* Writes data to PATH: new file, fsync, old one kept as PATH.bak (Apache's
 * ConfigManager keeps the same copy), rename, fsync of the directory. PATH
 * itself is never missing in between, but on file systems without hard links,
 * where PATH.bak stands for it. The first PATH gets a .bak of the same content.
 * 0 or -errno, and then PATH is unchanged. */
int file_replace(const char *path, struct str data);

/* Reads all of PATH, at most LIMIT bytes (-EFBIG past it). The bytes are followed
 * by a NUL that is not counted. 0 or -errno; *out is then empty. */
int file_read(const char *path, size_t limit, struct buf *out);

/* All n bytes at a place of an open file. 0 or -errno; -EIO when the file ends before. */
int file_read_at(int fd, void *p, size_t n, int64_t at);

/* Reads PATH and lets parse(arg, text) judge it; when PATH is missing, empty or
 * refused, does the same with PATH.bak. 0: one was accepted; 1: neither exists;
 * -EBADMSG: what exists was refused (f says which file and that both failed).
 * A fall back to .bak is logged, and the refused PATH is renamed to PATH.broken,
 * so that it does not become the .bak. */
int file_load_or_bak(const char *path, size_t limit, int (*parse)(void *arg, struct str text),
                     void *arg, struct fault *f);

#endif
