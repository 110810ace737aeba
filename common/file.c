#include "common/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "common/codes.h"
#include "common/log.h"


int dir_sync(const char *dir)
{
    int rc = 0, fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (fsync(fd) < 0)
        rc = -errno;
    close(fd);
    return rc;
}

int dir_sync_of(const char *path)
{
    char dir[4096];
    const char *slash = strrchr(path, '/');

    if (!slash)
        return dir_sync(".");
    if (slash == path)
        return dir_sync("/");
    if (!str_copy(dir, sizeof(dir), str_n(path, (size_t)(slash - path))))
        return -ENAMETOOLONG;
    return dir_sync(dir);
}

bool fs_syncs_as_one(int fd)
{
    struct statfs s;

    return fstatfs(fd, &s) == 0 && s.f_type != FUSE_SUPER_MAGIC;
}

static int make_dirs(const char *dir, bool durable)
{
    char path[4096];

    if (!str_copy(path, sizeof(path), str_of(dir)) || !path[0])
        return path[0] ? -EINVAL : -ENAMETOOLONG;
    for (char *s = path + 1;; s++) {
        char was = *s;
        if (was != '/' && was != 0)
            continue;
        *s = 0;
        if (mkdir(path, 0755) == 0) {
            int rc = durable ? dir_sync_of(path) : 0;
            if (rc)
                return rc;
        } else if (errno != EEXIST) {
            struct stat st;
            int err = errno;     /* a parent that may not be written but is there is fine */
            if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode))
                return -err;
        }
        *s = was;
        if (!was)
            return 0;
    }
}

int dir_make(const char *dir) { return make_dirs(dir, false); }
int dir_make_durable(const char *dir) { return make_dirs(dir, true); }

static int write_all(int fd, struct str data)
{
    while (data.n) {
        ssize_t k = write(fd, data.p, data.n);
        if (k < 0) {
            if (errno == EINTR)
                continue;
            return -errno;
        }
        data.p += k;
        data.n -= (size_t)k;
    }
    return 0;
}

static int write_synced(const char *path, struct str data)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644), rc;

    if (fd < 0)
        return -errno;
    rc = write_all(fd, data);
    if (!rc && fsync(fd) < 0)
        rc = -errno;
    if (close(fd) < 0 && !rc)
        rc = -errno;
    return rc;
}

/* The old file becomes .bak by a second name, so that PATH exists at every moment; where the file system has no second
 * names it is renamed, as Apache does it, so that one of the two exists. */
static int keep_old(const char *path, const char *bak)
{
    if (unlink(bak) < 0 && errno != ENOENT)
        return -errno;
    if (link(path, bak) == 0 || errno == ENOENT)
        return 0;
    if (errno != EPERM && errno != EOPNOTSUPP && errno != ENOSYS && errno != EMLINK)
        return -errno;
    return rename(path, bak) < 0 ? -errno : 0;
}

int file_replace(const char *path, struct str data)
{
    char tmp[4096], bak[4096];
    bool first;
    int rc;

    if ((size_t)snprintf(tmp, sizeof(tmp), "%s.tmp", path) >= sizeof(tmp) ||
        (size_t)snprintf(bak, sizeof(bak), "%s.bak", path) >= sizeof(bak))
        return -ENAMETOOLONG;
    first = access(path, F_OK) < 0 && errno == ENOENT;
    rc = write_synced(tmp, data);
    if (!rc && !first)
        rc = keep_old(path, bak);
    if (!rc && rename(tmp, path) < 0)
        rc = -errno;
    if (rc) {
        unlink(tmp);
        if (!first && access(path, F_OK) < 0 && rename(bak, path) < 0)
            log_error("%s is %s now: %s", path, bak, strerror(errno));
        return rc;
    }
    rc = dir_sync_of(path);
    /* The very first: its copy is a file of its own, for a disk that later flips a byte. PATH is safe already. */
    if (!rc && first && access(bak, F_OK) < 0 && (write_synced(bak, data) || dir_sync_of(path)))
        unlink(bak);
    return rc;
}

int file_read(const char *path, size_t limit, struct buf *out)
{
    int rc = 0, fd = open(path, O_RDONLY | O_CLOEXEC);

    buf_reset(out);
    if (fd < 0)
        return -errno;
    for (;;) {
        char *to = buf_room(out, 65536);
        ssize_t k;
        if (!to) {
            rc = -ENOMEM;
            break;
        }
        k = read(fd, to, 65535);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            rc = -errno;
        if (k <= 0)
            break;
        out->n += (size_t)k;
        if (out->n > limit) {
            rc = -EFBIG;
            break;
        }
    }
    close(fd);
    if (rc) {
        out->n = 0;
        return rc;
    }
    out->p[out->n] = 0;
    return 0;
}

int file_read_at(int fd, void *p, size_t n, int64_t at)
{
    size_t have = 0;

    while (have < n) {
        ssize_t got = pread(fd, (char *)p + have, n - have, at + (int64_t)have);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? -errno : -EIO;
        have += (size_t)got;
    }
    return 0;
}

/* The next file_replace must not make a broken file the copy (apache/rocketmq issue 9705). */
static void keep_copy(const char *path, const char *bak)
{
    char broken[4096];

    log_warn("%s is missing or broken: its copy %s was taken", path, bak);
    if ((size_t)snprintf(broken, sizeof(broken), "%s.broken", path) < sizeof(broken) && rename(path, broken) == 0)
        log_warn("%s was renamed to %s", path, broken);
}

int file_load_or_bak(const char *path, size_t limit, int (*parse)(void *arg, struct str text),
                     void *arg, struct fault *f)
{
    char bak[4096];
    const char *const names[] = {path, bak};
    bool refused = false;

    if ((size_t)snprintf(bak, sizeof(bak), "%s.bak", path) >= sizeof(bak))
        return fault_errno(f, ENAMETOOLONG, "%s", path);
    for (int i = 0; i < 2; i++) {
        struct buf text = {0};
        int rc = file_read(names[i], limit, &text);

        if (rc == -ENOENT) {
            buf_free(&text);
            continue;
        }
        if (!rc && text.n)
            rc = parse(arg, buf_str(&text));
        else if (!rc)
            rc = -EBADMSG;
        buf_free(&text);
        if (!rc) {
            if (i)
                keep_copy(path, bak);
            return 0;
        }
        refused = true;
        log_error("cannot use %s: %s", names[i], strerror(-rc));
    }
    if (!refused)
        return 1;
    return fault_set(f, RC_SYSTEM_ERROR, EBADMSG,
                     "%s and its .bak cannot be read as what they should be; restore one of them from a backup, "
                     "or move both away to start with an empty table", path);
}
