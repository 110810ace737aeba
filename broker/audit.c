#include "broker/audit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/json.h"
#include "common/log.h"

struct audit {
    pthread_mutex_t lock;        /* one line at a time, so that a torn one can be cut off; a leaf */
    int fd;
    char *path;
};

/* A line that a crash tore stays the last bytes of the file: end it, so that the next one is a line of its own. */
static int end_torn_line(int fd)
{
    char last;
    off_t size = lseek(fd, 0, SEEK_END);

    if (size < 0)
        return -errno;
    if (size == 0 || (pread(fd, &last, 1, size - 1) == 1 && last == '\n'))
        return 0;
    return write(fd, "\n", 1) == 1 ? 0 : -errno;
}

int audit_open(const char *path, struct audit **out, struct fault *f)
{
    struct audit *a = calloc(1, sizeof(*a));
    int rc = 0;

    if (!a || !(a->path = str_dup(str_of(path)))) {
        free(a);
        return fault_errno(f, ENOMEM, "opening %s", path);
    }
    a->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    if (a->fd < 0)
        rc = -errno;
    if (!rc)
        rc = end_torn_line(a->fd);
    if (!rc)
        rc = dir_sync_of(path);
    if (rc) {
        if (a->fd >= 0)
            close(a->fd);
        free(a->path);
        free(a);
        return fault_errno(f, -rc, "opening the audit file %s", path);
    }
    pthread_mutex_init(&a->lock, NULL);
    *out = a;
    return 0;
}

void audit_close(struct audit *a)
{
    close(a->fd);
    pthread_mutex_destroy(&a->lock);
    free(a->path);
    free(a);
}

const char *audit_path(const struct audit *a) { return a->path; }

static void time_text(int64_t ms, char out[32])
{
    time_t s = (time_t)(ms / 1000);
    struct tm tm;
    size_t n;

    gmtime_r(&s, &tm);
    n = strftime(out, 32, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out + n, 32 - n, ".%03dZ", (int)(ms % 1000));
}

void audit_add(struct buf *lines, const struct caller *c, const char *what, const char *path,
               const char *old, const char *now)
{
    struct json_writer w;
    char time[32];

    time_text(wall_ms(), time);
    jw_init(&w, lines, false);
    jw_object(&w);
    jw_ktext(&w, "time", time);
    jw_ktext(&w, "user", c->user);
    jw_ktext(&w, "from", c->from);
    jw_ktext(&w, "what", what);
    jw_ktext(&w, "path", path);
    if (old)
        jw_ktext(&w, "old", old);
    if (now)
        jw_ktext(&w, "new", now);
    jw_object_end(&w);
    buf_putc(lines, '\n');
}

/* The whole line and its sync, or nothing of it. */
static int append(struct audit *a, struct str line)
{
    off_t before = lseek(a->fd, 0, SEEK_END);
    ssize_t n;
    int rc = 0;

    if (before < 0)
        return -errno;
    n = write(a->fd, line.p, line.n);
    if (n < 0)
        return -errno;
    if ((size_t)n != line.n)
        rc = -ENOSPC;
    else if (fdatasync(a->fd) < 0)
        rc = -errno;
    if (rc && ftruncate(a->fd, before) < 0)
        log_error("%s: a torn line could not be cut off: %s", a->path, strerror(errno));
    return rc;
}

int audit_put(struct audit *a, const struct buf *lines, struct fault *f)
{
    int rc;

    if (buf_failed(lines))
        return fault_errno(f, ENOMEM, "the change stands but is not in the audit file");
    if (!lines->n)
        return 0;
    pthread_mutex_lock(&a->lock);
    rc = append(a, buf_str(lines));
    pthread_mutex_unlock(&a->lock);
    if (rc)
        log_error("not in %s: %.*s", a->path, (int)(lines->n > 2000 ? 2000 : lines->n - 1), lines->p);
    return rc ? fault_errno(f, -rc, "the change stands but is not in the audit file %s", a->path) : 0;
}

int audit_write(struct audit *a, const struct caller *c, const char *what, const char *path,
                const char *old, const char *now, struct fault *f)
{
    struct buf line = {0};
    int rc;

    audit_add(&line, c, what, path, old, now);
    rc = audit_put(a, &line, f);
    buf_free(&line);
    return rc;
}
