/* Taking snapshots away, also those that a crash left unfinished. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "common/file.h"
#include "common/log.h"
#include "store/snapshot.h"
#include "store/snapshot_priv.h"

int snapshot_hidden_name(const char *dir, const char *prefix, char *out, size_t cap)
{
    const char *slash = strrchr(dir, '/'), *name = slash ? slash + 1 : dir;
    int n = snprintf(out, cap, "%.*s%s%s", (int)(name - dir), dir, prefix, name);

    return n < 0 || (size_t)n >= cap ? -ENAMETOOLONG : 0;
}

/* 0 and *fd: the entry is a directory; 1: it is something else, or gone. */
static int enter(int from, const struct dirent *e, int *fd)
{
    if (e->d_type != DT_DIR && e->d_type != DT_UNKNOWN)
        return 1;
    *fd = open_dir(from, e->d_name);
    if (*fd >= 0)
        return 0;
    return errno == ENOENT || errno == ENOTDIR || errno == ELOOP ? 1 : -errno;
}

static int remove_tree(int at, const char *name, int depth)
{
    struct dirent *e;
    int fd = open_dir(at, name), rc = 0;
    DIR *d = fd < 0 ? NULL : fdopendir(fd);

    if (!d) {
        if (fd >= 0)
            close(fd);
        return fd < 0 && (errno == ENOTDIR || errno == ELOOP) && unlinkat(at, name, 0) == 0 ? 0 : -errno;
    }
    while ((e = readdir(d))) {
        int sub, err = 0;
        if (is_dots(e->d_name))
            continue;
        if (depth < DEPTH_MAX && enter(fd, e, &sub) == 0) {
            close(sub);
            err = remove_tree(fd, e->d_name, depth + 1);
        } else if (unlinkat(fd, e->d_name, 0) < 0) {
            err = -errno;
        }
        rc = rc ? rc : err;
    }
    closedir(d);
    return unlinkat(at, name, AT_REMOVEDIR) < 0 && !rc ? -errno : rc;
}

int snapshot_remove(const char *dir)
{
    char gone[4096];
    int rc = snapshot_hidden_name(dir, GONE_PREFIX, gone, sizeof gone);

    if (rc)
        return rc;
    if (rename(dir, gone) < 0)           /* so that half of it is never taken for a snapshot */
        return -errno;
    if ((rc = dir_sync_of(dir)))         /* on disk before anything of it goes */
        return rc;
    rc = remove_tree(AT_FDCWD, gone, 0);
    return rc ? rc : dir_sync_of(dir);
}

void snapshot_sweep(const char *parent)
{
    DIR *d = opendir(parent);
    struct dirent *e;
    int rc;

    while (d && (e = readdir(d))) {
        if (strncmp(e->d_name, PART_PREFIX, strlen(PART_PREFIX)) && strncmp(e->d_name, GONE_PREFIX, strlen(GONE_PREFIX)))
            continue;
        log_info("%s/%s: left by a crash, removed", parent, e->d_name);
        if ((rc = remove_tree(dirfd(d), e->d_name, 0)))
            log_warn("%s/%s: %s", parent, e->d_name, strerror(-rc));
    }
    if (d)
        closedir(d);
}
