#include "store/checkpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "common/be.h"
#include "common/file.h"

const struct checkpoint_field checkpoint_fields[CHECKPOINT_FIELDS] = {
    {"physicMsgTimestamp", true},   {"logicsMsgTimestamp", true}, {"indexMsgTimestamp", true},
    {"masterFlushedOffset", false}, {"confirmPhyOffset", false},  {"logicsPhysicalOffset", false},
};

int checkpoint_read(const char *path, struct checkpoint *out, struct fault *f)
{
    struct buf b = {0};
    int64_t v[CHECKPOINT_FIELDS] = {0};
    int rc = file_read(path, 1 << 20, &b);

    if (rc && rc != -ENOENT)
        return fault_errno(f, -rc, "read %s", path);
    for (size_t i = 0; i < CHECKPOINT_FIELDS && b.n >= (i + 1) * 8; i++)
        v[i] = (int64_t)be64_get(b.p + i * 8);
    buf_free(&b);
    *out = (struct checkpoint){v[0], v[1], v[2], v[3], v[4], v[5]};
    return 0;
}

static int write_fd(int fd, const char *data, size_t n)
{
    ssize_t done;

    if (ftruncate(fd, CHECKPOINT_FILE_SIZE) < 0)
        return -errno;
    do
        done = pwrite(fd, data, n, 0);
    while (done < 0 && errno == EINTR);
    if (done != (ssize_t)n)
        return done < 0 ? -errno : -EIO;
    return fdatasync(fd) < 0 ? -errno : 0;
}

int checkpoint_write(const char *path, const struct checkpoint *c)
{
    const int64_t v[CHECKPOINT_FIELDS] = {c->log_time,       c->queue_time,     c->index_time,
                                          c->master_flushed, c->confirm_offset, c->queue_offset};
    char data[CHECKPOINT_FIELDS * 8];
    int fd = open(path, O_WRONLY | O_CLOEXEC), rc;
    bool fresh = fd < 0 && errno == ENOENT;

    if (fresh)
        fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return -errno;
    for (size_t i = 0; i < CHECKPOINT_FIELDS; i++)
        be64_put(data + i * 8, (uint64_t)v[i]);
    rc = write_fd(fd, data, sizeof data);
    if (close(fd) < 0 && !rc)
        rc = -errno;
    return !rc && fresh ? dir_sync_of(path) : rc;
}
