#include "store/file_copy.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define CHUNK 65536

/* [at, at+n) of one descriptor to the same place of the other. */
static int copy_part(int in, int out, int64_t at, int64_t n)
{
    off_t from = at, to = at;
    int64_t end = at + n;

    while (from < end) {
        ssize_t done = copy_file_range(in, &from, out, &to, (size_t)(end - from), 0);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return -errno;
        if (done == 0)               /* the file got shorter */
            return 0;
    }
    return 0;
}

/* What copy_part does, where the file systems cannot do it between them. */
static int copy_by_hand(int in, int out, int64_t at, int64_t n)
{
    char chunk[CHUNK];

    while (n > 0) {
        ssize_t got = pread(in, chunk, n < CHUNK ? (size_t)n : CHUNK, at), put;
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? -errno : 0;
        if ((put = pwrite(out, chunk, (size_t)got, at)) < 0)
            return -errno;
        if (put == 0)
            return -EIO;
        at += put;
        n -= put;
    }
    return 0;
}

/* The next part from `at` on, below n, that has data: false when there is none. */
static bool next_data(int in, int64_t at, int64_t n, int64_t *data, int64_t *end)
{
    int64_t hole;

    *data = lseek(in, at, SEEK_DATA);
    if (*data < 0 && errno == ENXIO)
        return false;
    hole = *data < 0 ? -1 : lseek(in, *data, SEEK_HOLE);
    if (hole < 0) {                  /* it cannot be told: all is data */
        *data = at;
        hole = n;
    }
    *end = hole < n ? hole : n;
    return *data < n;
}

int file_copy(int in, int out, int64_t n, int64_t size, int64_t *copied)
{
    int64_t at = 0, data;
    int rc = 0;

    if (ioctl(out, FICLONE, in) == 0)
        return ftruncate(out, n) < 0 || ftruncate(out, size) < 0 ? -errno : 0;
    while (!rc && at < n && next_data(in, at, n, &data, &at)) {
        rc = copy_part(in, out, data, at - data);
        if (rc == -EXDEV || rc == -EINVAL || rc == -ENOSYS || rc == -EOPNOTSUPP)
            rc = copy_by_hand(in, out, data, at - data);
        *copied += at - data;
    }
    if (rc || ftruncate(out, size) < 0)
        return rc ? rc : -errno;
    sync_file_range(out, 0, 0, SYNC_FILE_RANGE_WRITE);
    return 0;
}
