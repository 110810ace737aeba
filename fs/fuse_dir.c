/* The directory to be mounted on. */
#include "fs/fuse_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>
#include "common/file.h"
#include "common/log.h"
#include "common/remoting/codes.h"

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

static int check_empty(const char *dir, struct fault *f)
{
    DIR *d = opendir(dir);
    const struct dirent *e;
    int extra = 0;

    if (!d)
        return fault_errno(f, errno, "mount: %s", dir);
    while ((e = readdir(d)) != NULL && !extra)
        extra = strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    closedir(d);
    return extra ? fault_set(f, RC_SYSTEM_ERROR, ENOTEMPTY, "mount: %s is not empty: give an empty directory", dir) : 0;
}

int fuse_dir_prepare(const char *dir, struct fault *f)
{
    struct stat st;
    int rc = 0;

    for (int i = 0; i < STALE_MAX && stat(dir, &st) < 0; i++) {
        rc = errno == ENOTCONN ? unmount_stale(dir) : errno == ENOENT ? dir_make(dir) : -errno;
        if (rc)
            return fault_errno(f, -rc, "mount: %s", dir);
    }
    if (stat(dir, &st) < 0)
        return fault_errno(f, errno, "mount: %s", dir);
    if (!S_ISDIR(st.st_mode))
        return fault_errno(f, ENOTDIR, "mount: %s", dir);
    return check_empty(dir, f);
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
