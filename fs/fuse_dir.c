/* The directory to be mounted on. */
#include "fs/fuse_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>
#include "common/codes.h"
#include "common/file.h"
#include "common/log.h"

#define STALE_MAX 16         /* mounts of killed runs on top of each other */

extern char **environ;

/* With the help of the set-uid program, for users who may not unmount themselves. */
static int unmount_by_helper(const char *dir)
{
    char *argv[] = {(char[]){"fusermount3"}, (char[]){"-u"}, (char[]){"-z"}, (char[]){"--"}, (char *)(uintptr_t)dir, NULL};
    pid_t pid;
    int status, rc = posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ);

    if (rc)
        return -rc;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return -errno;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EPERM;
}

static int unmount_stale(const char *dir)
{
    log_info("mount: %s has the stale mount of a killed run: unmounting it", dir);
    if (umount2(dir, MNT_DETACH) == 0)
        return 0;
    return errno == EPERM ? unmount_by_helper(dir) : -errno;
}

/* Opening tells a stale mount; stat(2) may be answered from what the kernel remembers of it. */
static int open_or_mend(const char *dir, DIR **out)
{
    int rc = 0;

    for (int i = 0; i < STALE_MAX && !rc; i++) {
        *out = opendir(dir);
        if (*out)
            return 0;
        rc = errno == ENOTCONN || errno == ECONNABORTED ? unmount_stale(dir) : errno == ENOENT ? dir_make(dir) : -errno;
    }
    return rc ? rc : -ENOTCONN;
}

int fuse_dir_prepare(const char *dir, struct fault *f)
{
    const struct dirent *e;
    bool empty = true;
    DIR *d;
    int rc = open_or_mend(dir, &d);

    if (rc)
        return fault_errno(f, -rc, "mount: %s", dir);
    while ((e = readdir(d)) != NULL && empty)
        empty = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
    closedir(d);
    return empty ? 0 : fault_set(f, RC_SYSTEM_ERROR, ENOTEMPTY, "mount: %s is not empty: give an empty directory", dir);
}

bool fuse_others_allowed(void)
{
    struct buf text = {0};
    bool yes = geteuid() == 0;

    if (!yes && file_read("/etc/fuse.conf", 65536, &text) == 0)
        for (size_t i = 0, n; i < text.n && !yes; i += n + 1) {
            const char *end = memchr(text.p + i, '\n', text.n - i);

            n = end ? (size_t)(end - (text.p + i)) : text.n - i;
            yes = str_is(str_trim(str_n(text.p + i, n)), "user_allow_other");
        }
    buf_free(&text);
    return yes;
}
