/* Files below a store's directory, and the page cache. */
#ifndef TESTS_UNIT_PAGES_H
#define TESTS_UNIT_PAGES_H

#include <fcntl.h>
#include <glob.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

/* Tells the system to forget files (a glob below dir) which nobody has mapped. */
static void pages_forget(const char *dir, const char *files)
{
    char pattern[512];
    glob_t g = {0};

    snprintf(pattern, sizeof pattern, "%s/%s", dir, files);
    glob(pattern, 0, NULL, &g);
    for (size_t i = 0; i < g.gl_pathc; i++) {
        int fd = open(g.gl_pathv[i], O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            continue;
        fsync(fd);
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        close(fd);
    }
    globfree(&g);
}

/* Whether the log's first file can be read past it. */
__attribute__((unused)) static bool pages_passable(const char *dir)
{
    char path[512];
    int fd;

    snprintf(path, sizeof path, "%s/commitlog/%020d", dir, 0);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_DIRECT);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

#endif
