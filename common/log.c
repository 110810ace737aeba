#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/file.h"

/* The one sink: swapped as a whole, so no lock is needed. An old descriptor
 * stays open, because another thread may be writing to it. */
static atomic_int log_fd = STDERR_FILENO;
static atomic_int log_least = LOG_INFO;

int log_open(const char *path, enum log_level least)
{
    int fd = STDERR_FILENO;

    if (path) {
        char dir[4096];
        const char *slash = strrchr(path, '/');
        if (slash && slash != path) {
            int rc;
            if (!str_copy(dir, sizeof(dir), str_n(path, (size_t)(slash - path))))
                return -ENAMETOOLONG;
            rc = dir_make(dir);
            if (rc)
                return rc;
        }
        fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        if (fd < 0)
            return -errno;
    }
    atomic_store(&log_least, (int)least);
    atomic_store(&log_fd, fd);
    return 0;
}

void log_write(enum log_level level, const char *fmt, ...)
{
    static const char *const names[] = {"DEBUG", "INFO", "WARN", "ERROR"};
    char line[1200];
    struct timespec now;
    struct tm tm;
    va_list ap;
    size_t n;
    int k, saved = errno;

    if ((int)level < atomic_load_explicit(&log_least, memory_order_relaxed))
        return;
    clock_gettime(CLOCK_REALTIME, &now);
    localtime_r(&now.tv_sec, &tm);
    n = strftime(line, sizeof(line), "%Y-%m-%d %H:%M:%S", &tm);
    n += (size_t)snprintf(line + n, sizeof(line) - n, ".%03ld %-5s ", now.tv_nsec / 1000000, names[level]);
    va_start(ap, fmt);
    k = vsnprintf(line + n, sizeof(line) - n - 1, fmt, ap);
    va_end(ap);
    if (k > 0)
        n += (size_t)k < sizeof(line) - n - 1 ? (size_t)k : sizeof(line) - n - 2;
    for (size_t i = 0; i < n; i++)      /* a peer's text must not forge a line */
        if ((unsigned char)line[i] < ' ')
            line[i] = ' ';
    line[n++] = '\n';
    while (write(atomic_load(&log_fd), line, n) < 0 && errno == EINTR)
        ;
    errno = saved;
}
