#include "store/queue_count.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/be.h"
#include "common/file.h"
#include "common/log.h"

#define AT 64                            /* Apache's fields end at 48 */
#define SIZE 32
#define MAGIC UINT64_C(0x6d7166732d716331)   /* "mqfs-qc1" */
/* Topics: of more, the queues are not counted, and of more than that, nothing is: on a cold disk it would take seconds. */
#define LOOK_INTO 1000
#define COUNT 10000

static bool is_dir(DIR *d, const struct dirent *e)
{
    struct stat st;

    if (e->d_name[0] == '.')
        return false;
    if (e->d_type != DT_UNKNOWN)
        return e->d_type == DT_DIR;
    return fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

/* The directories in one; takes over fd. Their number, more than COUNT when there are more, or -errno. */
static int64_t dirs_in(int fd)
{
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *e;
    int64_t n = 0;

    if (!d) {
        n = -errno;
        if (fd >= 0)
            close(fd);
        return n;
    }
    while (n <= COUNT && (errno = 0, e = readdir(d)))
        n += is_dir(d, e);
    n = n <= COUNT && errno ? -errno : n;
    closedir(d);
    return n;
}

static int64_t queues_in(DIR *d)
{
    struct dirent *e;
    int64_t all = 0;

    while ((errno = 0, e = readdir(d))) {
        int64_t n = is_dir(d, e) ? dirs_in(openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) : 0;
        if (n < 0)
            return n;
        all += n;
    }
    return errno ? -errno : all;
}

static int look(const char *queue_dir, struct queue_count *out)
{
    DIR *d;

    out->queues = -1;
    if ((out->topics = dirs_in(open(queue_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC))) < 0)
        return (int)out->topics;
    if (out->topics > LOOK_INTO)
        return 0;
    if (!(d = opendir(queue_dir)))
        return -errno;
    out->queues = queues_in(d);
    closedir(d);
    return out->queues < 0 ? (int)out->queues : 0;
}

int queue_count_note(const char *checkpoint, const char *queue_dir, int64_t log_end)
{
    char raw[SIZE];
    struct queue_count c;
    int fd, rc = look(queue_dir, &c);
    ssize_t n;

    if (rc)
        return rc;
    be64_put(raw, MAGIC);
    be64_put(raw + 8, c.topics > COUNT ? UINT64_MAX : (uint64_t)log_end);      /* -1: for no log */
    be64_put(raw + 16, (uint64_t)c.topics);
    be64_put(raw + 24, (uint64_t)c.queues);
    if ((fd = open(checkpoint, O_WRONLY | O_CLOEXEC)) < 0)
        return -errno;
    n = pwrite(fd, raw, sizeof raw, AT);
    rc = n == SIZE ? fdatasync(fd) < 0 ? -errno : 0 : n < 0 ? -errno : -EIO;
    close(fd);
    return rc;
}

bool queue_count_get(const char *checkpoint, struct queue_count *out)
{
    char raw[SIZE];
    int fd = open(checkpoint, O_RDONLY | O_CLOEXEC), rc = fd < 0 ? -errno : file_read_at(fd, raw, SIZE, AT);

    if (fd >= 0)
        close(fd);
    if (rc || be64_get(raw) != MAGIC)
        return false;
    *out = (struct queue_count){(int64_t)be64_get(raw + 8), (int64_t)be64_get(raw + 16), (int64_t)be64_get(raw + 24)};
    return true;
}

bool queue_count_fell(const char *checkpoint, const char *queue_dir, int64_t log_end)
{
    struct queue_count was, now;

    if (!queue_count_get(checkpoint, &was) || was.log_end != log_end || look(queue_dir, &now))
        return false;
    if (now.topics >= was.topics && (was.queues < 0 || now.queues < 0 || now.queues >= was.queues))
        return false;
    log_warn("%s: there were %" PRId64 " topics with %" PRId64 " queues at the last stop, and are %" PRId64 " with %" PRId64
             ": all of the log is read for those that are missing", queue_dir, was.topics, was.queues, now.topics, now.queues);
    return true;
}
