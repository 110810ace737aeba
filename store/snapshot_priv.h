/* What snapshot.c and snapshot_remove.c share. */
#ifndef STORE_SNAPSHOT_PRIV_H
#define STORE_SNAPSHOT_PRIV_H

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define DEPTH_MAX 16                 /* directories below each other */
#define PART_PREFIX ".part-"         /* a snapshot being made */
#define GONE_PREFIX ".gone-"         /* one being removed */

static inline bool is_dots(const char *name) { return strcmp(name, ".") == 0 || strcmp(name, "..") == 0; }

static inline int open_dir(int at, const char *name) { return openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC); }

/* PARENT/PREFIXNAME of PARENT/NAME. 0 or -ENAMETOOLONG. */
int snapshot_hidden_name(const char *dir, const char *prefix, char *out, size_t cap);

#endif
