#include "store/mapped_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/bus_guard.h"
#include "common/log.h"

#define PATH_SIZE 4096
#define ZERO_CHUNK 65536
#define FORGET_MIN ((int64_t)64 << 20)   /* what is less is read as soon as let go */
#define PAGE ((int64_t)4096)
#define WARM_BITE ((size_t)128 << 10)     /* some 0.1 ms */

int mapped_file_path(const char *dir, int64_t base, char *out, size_t cap)
{
    int n = snprintf(out, cap, "%s/%020" PRId64, dir, base);

    return n < 0 || (size_t)n >= cap ? -ENAMETOOLONG : 0;
}

struct mapped_file *mapped_file_new(int64_t base, int64_t size, const struct file_home *home)
{
    struct mapped_file *m = calloc(1, sizeof *m);

    if (!m)
        return NULL;
    atomic_init(&m->refs, 1);
    m->base = base;
    m->size = size;
    m->home = home;
    return m;
}

struct mapped_file *mapped_file_ref(struct mapped_file *m)
{
    atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
    return m;
}

void mapped_file_unmap(struct mapped_file *m)
{
    if (!m->map)
        return;
    munmap(m->map, (size_t)m->size);
    m->map = NULL;
    if (m->home && m->home->maps)
        atomic_fetch_sub_explicit(m->home->maps, 1, memory_order_relaxed);
}

void mapped_file_unref(struct mapped_file *m)
{
    if (!m || atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) != 1)
        return;
    mapped_file_unmap(m);
    free(m);
}

static int open_at(const struct mapped_file *m, const char *dir, int flags)
{
    char path[PATH_SIZE];
    int rc = mapped_file_path(mapped_file_dir(m, dir), m->base, path, sizeof path), fd;

    if (rc)
        return rc;
    fd = open(path, flags | O_CLOEXEC, 0644);
    return fd < 0 ? -errno : fd;
}

int mapped_file_open_direct(const struct mapped_file *m, const char *dir) { return open_at(m, dir, O_RDONLY | O_DIRECT); }

/* Over `at`, when it is not NULL: in place of what is mapped there, at once for whoever reads it. */
static int map_at(struct mapped_file *m, int fd, char *at, bool writable)
{
    void *p = mmap(at, (size_t)m->size, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED | (at ? MAP_FIXED : 0), fd, 0);

    if (p == MAP_FAILED)
        return -errno;
    if (m->home && !m->home->read_ahead)
        madvise(p, (size_t)m->size, MADV_RANDOM);
    m->map = p;
    m->writable = writable;
    return 0;
}

static int map_fd(struct mapped_file *m, int fd, bool writable)
{
    int rc = map_at(m, fd, NULL, writable);

    if (rc)
        return rc;
    if (m->home && m->home->maps)
        atomic_fetch_add_explicit(m->home->maps, 1, memory_order_relaxed);
    return 0;
}

int mapped_file_map(struct mapped_file *m, const char *dir, struct fault *f)
{
    struct stat st;
    int fd = open_at(m, dir, O_RDWR), rc;
    bool writable = fd != -EROFS;

    if (!writable)                   /* a disk that failed, and was made read-only: what is there can be read all the same */
        fd = open_at(m, dir, O_RDONLY);
    dir = mapped_file_dir(m, dir);
    if (fd < 0)
        return fault_errno(f, -fd, "open %s/%020" PRId64, dir, m->base);
    if (fstat(fd, &st) < 0)
        rc = fault_errno(f, errno, "stat %s/%020" PRId64, dir, m->base);
    else if (st.st_size != m->size)
        rc = fault_errno(f, EIO, "%s/%020" PRId64 " has %" PRId64 " bytes, not the configured %" PRId64,
                         dir, m->base, (int64_t)st.st_size, m->size);
    else if ((rc = map_fd(m, fd, writable)))
        rc = fault_errno(f, -rc, "map %s/%020" PRId64, dir, m->base);
    close(fd);
    return rc;
}

int mapped_file_to_write(struct mapped_file *m, const char *dir)
{
    struct stat st;
    int fd, rc;

    if (m->writable)
        return 0;
    if ((fd = open_at(m, dir, O_RDWR)) < 0)
        return fd;
    rc = fstat(fd, &st) < 0 ? -errno : st.st_size != m->size ? -EIO : map_at(m, fd, m->map, true);
    close(fd);
    return rc;
}

static int write_zeros(int fd, int64_t from, int64_t n)
{
    static const char zeros[ZERO_CHUNK];

    while (n > 0) {
        ssize_t done = pwrite(fd, zeros, (size_t)(n < ZERO_CHUNK ? n : ZERO_CHUNK), from);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return done < 0 ? -errno : -EIO;
        from += done;
        n -= done;
    }
    return 0;
}

/* Where the file system cannot promise space, zeros are written over what was never written: slower,
 * but a full disk is noticed here too. Bytes that hold data are left alone. */
static int reserve_by_writing(int fd, int64_t from, int64_t n)
{
    static _Atomic bool told;
    int64_t end = from + n;

    if (!atomic_exchange(&told, true))
        log_warn("the file system cannot reserve space (fallocate): store files are filled with zeros instead");
    while (from < end) {
        int64_t hole = lseek(fd, from, SEEK_HOLE), data;
        int rc;
        if (hole < 0 || hole >= end)
            return 0;
        data = lseek(fd, hole, SEEK_DATA);
        if (data < 0 || data > end)
            data = end;
        if ((rc = write_zeros(fd, hole, data - hole)))
            return rc;
        from = data;
    }
    return 0;
}

int file_reserve(int fd, int64_t from, int64_t n)
{
    int rc;

    if (n == 0)
        return 0;
    do
        rc = fallocate(fd, 0, from, n) < 0 ? -errno : 0;
    while (rc == -EINTR);
    return rc == -EOPNOTSUPP || rc == -ENOSYS ? reserve_by_writing(fd, from, n) : rc;
}

int mapped_file_create(struct mapped_file *m, const char *dir, int64_t reserve, struct fault *f)
{
    int fd = open_at(m, dir, O_RDWR | O_CREAT | O_EXCL), rc;

    dir = mapped_file_dir(m, dir);
    if (fd < 0)
        return fault_errno(f, -fd, "make %s/%020" PRId64, dir, m->base);
    if (ftruncate(fd, m->size) < 0)
        rc = -errno;
    else if (!(rc = file_reserve(fd, 0, reserve)))
        rc = map_fd(m, fd, true);
    close(fd);
    if (!rc)
        return 0;
    mapped_file_unlink(m, dir);
    return fault_errno(f, -rc, "make %s/%020" PRId64 " of %" PRId64 " bytes", dir, m->base, m->size);
}

int mapped_file_reserve(const struct mapped_file *m, const char *dir, int64_t from, int64_t n)
{
    int fd = open_at(m, dir, O_RDWR), rc;

    if (fd < 0)
        return fd;
    rc = file_reserve(fd, from, n);
    close(fd);
    return rc;
}

int mapped_file_sync(const struct mapped_file *m, int64_t from, int64_t to)
{
    from &= ~(PAGE - 1);
    if (from >= to)
        return 0;
    /* msync of a range is fdatasync of that range, and needs no descriptor. */
    return msync(m->map + from, (size_t)(to - from), MS_SYNC) < 0 ? -errno : 0;
}

void mapped_file_sync_begin(const struct mapped_file *m, const char *dir, int64_t from, int64_t to)
{
    int fd = from < to ? open_at(m, dir, O_RDWR) : -1;

    /* Unlike a sync it takes no word of a failure, which the mapping's is to be told. */
    if (fd >= 0) {
        sync_file_range(fd, from, to - from, SYNC_FILE_RANGE_WRITE);
        close(fd);
    }
}

#ifdef MADV_POPULATE_WRITE
/* Through a file description of its own. The kernel tells each of them once that writing back failed: told here, through
 * the mapping's own, it would be kept from the sync that somebody's acknowledgement waits for. */
static void sync_apart(const struct mapped_file *m, int64_t from, size_t n)
{
    int fd = open_at(m, NULL, O_RDWR);
    void *p = fd < 0 ? MAP_FAILED : mmap(NULL, n, PROT_READ, MAP_SHARED, fd, from);

    if (p != MAP_FAILED) {
        msync(p, n, MS_SYNC);
        munmap(p, n);
    }
    if (fd >= 0)
        close(fd);
}
#endif

bool mapped_file_warm(const struct mapped_file *m, int64_t from, int64_t to, bool by_page)
{
    bool all = false;
#ifdef MADV_POPULATE_WRITE
    size_t done = 0;
    from &= ~(PAGE - 1);
    char *p = m->map + from;
    size_t n = (size_t)(to - from);

    /* Nothing here can fail in a way that an append or a sync would not meet itself, and tell. */
    if (by_page)
        madvise(p, n, MADV_RANDOM);
    for (all = true; all && done < n; done += WARM_BITE) {
        all = madvise(p + done, n - done < WARM_BITE ? n - done : WARM_BITE, MADV_POPULATE_WRITE) == 0;
        sched_yield();               /* a network loop may wait for this processor */
    }
    if (by_page && (!m->home || m->home->read_ahead))
        madvise(p, n, MADV_NORMAL);
#endif
    return all;
}

void mapped_file_ready(const struct mapped_file *m, int64_t from, int64_t to)
{
#ifdef MADV_POPULATE_WRITE
    from &= ~(PAGE - 1);
    if (m->home && m->home->dir && mapped_file_warm(m, from, to, true))
        sync_apart(m, from, (size_t)(to - from));
#endif
}

bool mapped_is_resident(const char *p, size_t n)
{
    uintptr_t at = (uintptr_t)p & ~(uintptr_t)(PAGE - 1), end = (uintptr_t)p + n;
    unsigned char pages[256];

    while (at < end) {
        size_t want = end - at > sizeof pages * PAGE ? sizeof pages * PAGE : end - at;
        size_t k = (want + PAGE - 1) / PAGE;
        if (mincore((void *)at, want, pages) < 0)
            return true;             /* not known: then it is as good as there */
        for (size_t i = 0; i < k; i++)
            if (!(pages[i] & 1))
                return false;
        at += k * PAGE;
    }
    return true;
}

static int touch(void *arg)
{
    const struct iovec *v = arg;
    char *p = v->iov_base, *end = p + v->iov_len, *at = (char *)((uintptr_t)p & ~(uintptr_t)(PAGE - 1));

#ifdef MADV_POPULATE_READ
    madvise(at, (size_t)(end - at), MADV_POPULATE_READ);     /* if not, the pages themselves say what is the matter */
#endif
    /* Mapped is not touched: a virtual machine's host may give it the page only now. */
    for (; at < end; at += PAGE)
        (void)*(volatile char *)(at < p ? p : at);
    return 0;
}

int mapped_touch(char *p, size_t n) { return bus_guarded(touch, &(struct iovec){p, n}); }

static int is_zero_range(int fd, int64_t from, int64_t end)
{
    static const char zeros[ZERO_CHUNK];
    char *chunk = malloc(ZERO_CHUNK);
    int rc = chunk ? 1 : -ENOMEM;

    while (rc == 1 && from < end) {
        int64_t left = end - from;
        ssize_t n = pread(fd, chunk, (size_t)(left < ZERO_CHUNK ? left : ZERO_CHUNK), from);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            rc = n < 0 ? -errno : -EIO;
        else if (memcmp(chunk, zeros, (size_t)n) != 0)
            rc = 0;
        from += n;
    }
    free(chunk);
    return rc;
}

#define EXTENTS_MAX 64

/* Parts of [from, end) that are not holes, at most EXTENTS_MAX, the last one reaching to the end when there are
 * more. All are found before any is read: reading ahead turns the holes behind into what looks like data. */
static int find_extents(int fd, int64_t from, int64_t end, int64_t extents[EXTENTS_MAX][2])
{
    int n = 0;

    while (from < end && n < EXTENTS_MAX) {
        int64_t data = lseek(fd, from, SEEK_DATA), hole;
        if (data < 0 || data >= end)     /* ENXIO: only a hole is left */
            break;
        hole = lseek(fd, data, SEEK_HOLE);
        if (hole < 0 || hole > end || n == EXTENTS_MAX - 1)
            hole = end;
        extents[n][0] = data;
        extents[n++][1] = from = hole;
    }
    return n;
}

int mapped_file_is_zero_from(const struct mapped_file *m, const char *dir, int64_t from)
{
    int64_t extents[EXTENTS_MAX][2];
    int fd = open_at(m, dir, O_RDONLY), rc = 1, n;

    if (fd < 0)
        return fd;
    /* Pages of reserved space that somebody read or was about to write look like data, a file full of them after some
     * starts: those that nobody wrote to are let go. And none are brought for what is read here. */
    if (m->size - from >= FORGET_MIN)
        posix_fadvise(fd, from, m->size - from, POSIX_FADV_DONTNEED);
    posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
    n = find_extents(fd, from, m->size, extents);
    for (int i = 0; rc == 1 && i < n; i++)
        rc = is_zero_range(fd, extents[i][0], extents[i][1]);
    close(fd);
    return rc;
}

int64_t mapped_file_data_end(const struct mapped_file *m, const char *dir)
{
    int64_t extents[EXTENTS_MAX][2];
    int fd = open_at(m, dir, O_RDONLY), n;

    if (fd < 0)
        return m->size;
    n = find_extents(fd, 0, m->size, extents);
    close(fd);
    return n ? extents[n - 1][1] : 0;
}

int mapped_file_zero_from(const struct mapped_file *m, const char *dir, int64_t from)
{
    int64_t n = m->size - from;
    int fd, rc;

    if (n <= 0)
        return 0;
    if ((fd = open_at(m, dir, O_RDWR)) < 0)
        return fd;
    rc = fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, from, n) < 0 ? -errno : 0;
    if (rc) {
        rc = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, from, n) < 0 ? -errno : 0;
        rc = rc ? write_zeros(fd, from, n) : file_reserve(fd, from, n);
    }
    close(fd);
    return rc;
}

int mapped_file_unlink(const struct mapped_file *m, const char *dir)
{
    char path[PATH_SIZE];
    int rc = mapped_file_path(mapped_file_dir(m, dir), m->base, path, sizeof path);

    if (rc)
        return rc;
    return unlink(path) < 0 ? -errno : 0;
}
