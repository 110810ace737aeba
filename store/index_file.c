#include "store/index_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/be.h"
#include "common/buf.h"
#include "common/bus_guard.h"
#include "common/log.h"
#include "store/mapped_file.h"

#define RESERVE_ENTRIES 65536        /* disk space is taken for that many at a time: 1.25 MiB */

enum { AT_BEGIN_TIME = 0, AT_END_TIME = 8, AT_BEGIN_OFFSET = 16, AT_END_OFFSET = 24, AT_SLOTS_USED = 32, AT_NEXT = 36 };

int32_t index_hash(struct str topic, const char *kind, struct str key)
{
    int32_t h = str_java_hash_on(str_java_hash_on(str_java_hash(topic), str_of(kind)), key);

    return h == INT32_MIN ? 0 : h < 0 ? -h : h;
}

/* ---- words that the indexer writes while others read ---- */

static int64_t get64(const struct index_file *x, size_t at)
{
    return (int64_t)be64toh(__atomic_load_n((const uint64_t *)(const void *)(x->map + at), __ATOMIC_RELAXED));
}

static void set64(struct index_file *x, size_t at, int64_t v)
{
    __atomic_store_n((uint64_t *)(void *)(x->map + at), htobe64((uint64_t)v), __ATOMIC_RELAXED);
}

static int32_t get32(const struct index_file *x, size_t at)
{
    return (int32_t)be32toh(__atomic_load_n((const uint32_t *)(const void *)(x->map + at), __ATOMIC_ACQUIRE));
}

static void set32(struct index_file *x, size_t at, int32_t v)
{
    __atomic_store_n((uint32_t *)(void *)(x->map + at), htobe32((uint32_t)v), __ATOMIC_RELEASE);
}

static size_t slot_at(const struct index_file *x, int32_t hash)
{
    return INDEX_HEADER + (size_t)(hash % x->layout.slots) * INDEX_SLOT;
}

struct index_entry index_file_entry(const struct index_file *x, int32_t n)
{
    const char *p = x->map + index_entry_at(x->layout, n);

    return (struct index_entry){(int32_t)be32_get(p), (int64_t)be64_get(p + 4), (int32_t)be32_get(p + 12),
                                (int32_t)be32_get(p + 16)};
}

/* Number of the newest entry in that slot, 0 when it is empty or says what cannot be. */
static int32_t newest(const struct index_file *x, int32_t hash)
{
    int32_t n = get32(x, slot_at(x, hash));

    return n > 0 && n < x->layout.entries ? n : 0;
}

/* ---- life ---- */

static int path_of(const char *dir, int64_t name, char out[4096])
{
    int n = snprintf(out, 4096, "%s/%017" PRId64, dir, name);

    return n < 0 || n >= 4096 ? -ENAMETOOLONG : 0;
}

static struct index_file *file_new(int64_t name, struct index_layout layout)
{
    struct index_file *x = calloc(1, sizeof *x);

    if (!x)
        return NULL;
    atomic_init(&x->refs, 1);
    x->name = name;
    x->layout = layout;
    x->fd = -1;
    return x;
}

struct index_file *index_file_ref(struct index_file *x)
{
    atomic_fetch_add_explicit(&x->refs, 1, memory_order_relaxed);
    return x;
}

void index_file_unref(struct index_file *x)
{
    if (!x || atomic_fetch_sub_explicit(&x->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (x->map)
        munmap(x->map, (size_t)index_file_size(x->layout));
    if (x->fd >= 0)
        close(x->fd);
    free(x);
}

static int map(struct index_file *x)
{
    size_t n = (size_t)index_file_size(x->layout);
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED, x->fd, 0);

    if (p == MAP_FAILED)
        return -errno;
    madvise(p, n, MADV_RANDOM);      /* a hash table: what lies beside a slot is of no use */
    x->map = p;
    return 0;
}

static int open_checked(struct index_file *x, const char *path, struct fault *f)
{
    struct index_file_info info;
    struct stat st;
    int rc;

    x->fd = open(path, O_RDWR | O_CLOEXEC);
    if (x->fd < 0 || fstat(x->fd, &st) < 0)
        return fault_errno(f, errno, "open %s", path);
    if (!S_ISREG(st.st_mode) || st.st_size != index_file_size(x->layout))
        return fault_errno(f, EINVAL, "%s has %" PRId64 " bytes, not the %" PRId64 " of maxHashSlotNum and maxIndexNum",
                           path, (int64_t)st.st_size, index_file_size(x->layout));
    if ((rc = map(x)))
        return fault_errno(f, -rc, "map %s", path);
    if (index_file_info(x, &info))
        return fault_errno(f, EIO, "read the header of %s", path);
    if (info.next > x->layout.entries || info.slots_used < 0 || info.slots_used > x->layout.slots || info.end_offset < info.begin_offset || info.begin_offset < 0)
        return fault_errno(f, EINVAL, "%s has a header that cannot be", path);
    return 0;
}

int index_file_open(const char *dir, int64_t name, struct index_layout layout, struct index_file **out, struct fault *f)
{
    struct index_file *x = file_new(name, layout);
    char path[4096];
    int rc = x ? path_of(dir, name, path) : -ENOMEM;

    *out = NULL;
    rc = rc ? fault_errno(f, -rc, "open an index file") : open_checked(x, path, f);
    if (rc)
        index_file_unref(x);
    else
        *out = x;
    return rc;
}

struct first_write {
    struct index_file *x;
    const struct index_file *before;
};

static int write_header(void *arg)
{
    const struct first_write *w = arg;

    for (size_t at = 0; w->before && at < AT_SLOTS_USED; at += 16) {   /* first and last: the last of before */
        set64(w->x, at, get64(w->before, at + 8));
        set64(w->x, at + 8, get64(w->before, at + 8));
    }
    set32(w->x, AT_NEXT, 1);
    return 0;
}

int index_file_create(const char *dir, int64_t name, struct index_layout layout, const struct index_file *before,
                      struct index_file **out, struct fault *f)
{
    struct index_file *x = file_new(name, layout);
    char path[4096];
    int rc = x ? path_of(dir, name, path) : -ENOMEM;

    *out = NULL;
    if (!rc && (x->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644)) < 0)
        rc = -errno;
    if (rc) {
        index_file_unref(x);
        return fault_errno(f, -rc, "make an index file in %s", dir);
    }
    /* Slots are used at random, so all of them get their space now; entries get it as they come. */
    if (ftruncate(x->fd, index_file_size(layout)) < 0)
        rc = -errno;
    else if (!(rc = file_reserve(x->fd, 0, INDEX_HEADER + (int64_t)layout.slots * INDEX_SLOT)))
        rc = map(x);
    if (!rc)
        rc = bus_guarded(write_header, &(struct first_write){x, before});
    if (rc) {
        unlink(path);
        index_file_unref(x);
        return fault_errno(f, -rc, "make %s", path);
    }
    *out = x;
    return 0;
}

int index_file_unlink(const char *dir, int64_t name)
{
    char path[4096];
    int rc = path_of(dir, name, path);

    return rc ? rc : unlink(path) < 0 ? -errno : 0;
}

static struct index_file_info info_of(const struct index_file *x)
{
    int32_t next = get32(x, AT_NEXT);

    return (struct index_file_info){get64(x, AT_BEGIN_TIME), get64(x, AT_END_TIME), get64(x, AT_BEGIN_OFFSET),
                                    get64(x, AT_END_OFFSET), get32(x, AT_SLOTS_USED), next > 0 ? next : 1};
}

struct reading {
    const struct index_file *x;
    struct index_file_info info;
};

static int read_info(void *arg)
{
    struct reading *r = arg;

    r->info = info_of(r->x);
    return 0;
}

int index_file_info(const struct index_file *x, struct index_file_info *out)
{
    struct reading r = {.x = x};
    char why[BUS_WHY_SIZE];
    int rc = bus_guarded(read_info, &r);

    if (rc)
        log_error("index file %017" PRId64 ": %s", x->name, bus_why(why, sizeof why));
    *out = rc ? (struct index_file_info){0} : r.info;
    return rc;
}

bool index_file_is_full(const struct index_file *x) { return get32(x, AT_NEXT) >= x->layout.entries; }

int index_file_sync(const struct index_file *x)
{
    return msync(x->map, (size_t)index_file_size(x->layout), MS_SYNC) < 0 ? -errno : 0;
}

/* ---- writing ---- */

/* Disk space for the entry, so that a full disk is an errno here and not a SIGBUS. Files that Apache made are
 * full of holes: the slots are given theirs with the first entry. */
static int reserve(struct index_file *x, int32_t n)
{
    int32_t left = x->layout.entries - n, want = left < RESERVE_ENTRIES ? left : RESERVE_ENTRIES;
    int rc = x->reserved ? 0 : file_reserve(x->fd, 0, INDEX_HEADER + (int64_t)x->layout.slots * INDEX_SLOT);

    if (!rc)
        rc = file_reserve(x->fd, index_entry_at(x->layout, n), (int64_t)want * INDEX_ENTRY);
    if (!rc)
        x->reserved = n + want;
    return rc;
}

static int32_t seconds_since(int64_t begin, int64_t time)
{
    int64_t s = (time - begin) / 1000;

    return begin <= 0 || s < 0 ? 0 : s > INT32_MAX ? INT32_MAX : (int32_t)s;
}

int index_file_put(struct index_file *x, int32_t hash, int64_t offset, int64_t store_time)
{
    struct index_file_info info;
    int32_t before = newest(x, hash);
    char *p;
    int rc;

    info = info_of(x);
    if (info.next >= x->layout.entries)
        return -ENOSPC;
    if (info.next >= x->reserved && (rc = reserve(x, info.next)))
        return rc;
    if (before >= info.next)         /* the last run broke off in the midst of this: the entry was not counted */
        before = 0;
    p = x->map + index_entry_at(x->layout, info.next);
    be32_put(p, (uint32_t)hash);
    be64_put(p + 4, (uint64_t)offset);
    be32_put(p + 12, (uint32_t)seconds_since(info.begin_time, store_time));
    be32_put(p + 16, (uint32_t)before);
    set32(x, slot_at(x, hash), info.next);
    if (info.next == 1) {
        set64(x, AT_BEGIN_OFFSET, offset);
        set64(x, AT_BEGIN_TIME, store_time);
    }
    if (!before)
        set32(x, AT_SLOTS_USED, info.slots_used + 1);
    set32(x, AT_NEXT, info.next + 1);
    set64(x, AT_END_OFFSET, offset);
    set64(x, AT_END_TIME, store_time);
    return 0;
}

/* ---- reading ---- */

bool index_file_has(const struct index_file *x, int32_t hash, int64_t offset)
{
    int32_t n = newest(x, hash);

    if (n >= get32(x, AT_NEXT))
        return false;
    while (n) {
        struct index_entry e = index_file_entry(x, n);
        if (e.hash == hash && e.offset == offset)
            return true;
        if (e.offset < offset || e.before <= 0 || e.before >= n)
            return false;
        n = e.before;
    }
    return false;
}

bool index_file_in_time(const struct index_file *x, int64_t begin, int64_t end)
{
    return get64(x, AT_BEGIN_TIME) <= end && get64(x, AT_END_TIME) >= begin;
}

/* Numbers only fall along a chain, so that a damaged one ends too. */
bool index_file_select(const struct index_file *x, int32_t hash, int64_t begin, int64_t end, int64_t *steps,
                       bool (*each)(void *arg, int64_t offset), void *arg)
{
    int64_t begin_time = get64(x, AT_BEGIN_TIME);
    int32_t n = newest(x, hash);

    while (n) {
        struct index_entry e = index_file_entry(x, n);
        /* The first entry's seconds are counted from the file before; its time is the file's. */
        int64_t from = n == 1 ? begin_time : begin_time + e.seconds * INT64_C(1000), to = from + 999;
        if ((*steps)-- <= 0)
            return false;
        /* No seconds: it may be earlier, when the clock was set back. */
        if (e.hash == hash && to >= begin && (from <= end || e.seconds == 0) && !each(arg, e.offset))
            return false;
        if (e.seconds < 0 || e.before <= 0 || e.before >= n || to < begin)
            return true;
        n = e.before;
    }
    return true;
}
