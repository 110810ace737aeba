#include "store/cold_read.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/bus_guard.h"
#include "common/clock.h"

#define ALIGN 4096                   /* of O_DIRECT's buffers: no disk has larger blocks */
#define REST_MS 60000

void cold_read_init(struct cold_read *c)
{
    *c = (struct cold_read){0};
    pthread_mutex_init(&c->lock, NULL);
}

static void give_back(struct cold_read *c)
{
    for (int i = 0; i < COLD_PARTS; i++) {
        free(c->parts[i].bytes);
        c->parts[i].bytes = NULL;
        c->parts[i].n = c->parts[i].turn = 0;
    }
}

void cold_read_free(struct cold_read *c)
{
    give_back(c);
    pthread_mutex_destroy(&c->lock);
}

void cold_read_rest(struct cold_read *c, int64_t now_ms)
{
    pthread_mutex_lock(&c->lock);
    if (c->used_at && now_ms - c->used_at >= REST_MS) {
        give_back(c);
        c->used_at = 0;
    }
    pthread_mutex_unlock(&c->lock);
}

bool cold_read_has(const struct cold_read *c, int64_t base, int64_t at, int64_t *from, int64_t *end)
{
    int64_t begin = at - (at - base) % (int64_t)COLD_PART;

    for (const struct cold_part *p = c->parts; p < c->parts + COLD_PARTS; p++)
        if (atomic_load_explicit(&p->at, memory_order_relaxed) == begin &&
            at - begin < atomic_load_explicit(&p->n, memory_order_relaxed)) {
            *from = begin;
            *end = begin + atomic_load_explicit(&p->n, memory_order_relaxed);
            return true;
        }
    return false;
}

/* The part that begins at `at`, or the one that was not used for the longest time. */
static struct cold_part *find_part(struct cold_read *c, int64_t at)
{
    struct cold_part *oldest = c->parts;

    for (struct cold_part *p = c->parts; p < c->parts + COLD_PARTS; p++) {
        if (p->n && p->at == at)
            return p;
        if (p->turn < oldest->turn)
            oldest = p;
    }
    return oldest;
}

struct cached {
    char *from, *to;
    size_t n;
};

static int copy_cached(void *arg)
{
    struct cached *c = arg;

    memcpy(c->to, c->from, c->n);
    return 0;
}

/* From the page cache, in a mapping of its own: touched in the file's, the pages would have the kernel read ahead, and what
 * it brought would be found here the next time, and so on. How many bytes, or -errno. */
static ssize_t read_cached(int fd, int64_t in_file, char *to, size_t n)
{
    struct cached c = {mmap(NULL, n, PROT_READ, MAP_SHARED, fd, in_file), to, n};
    int rc;

    if (c.from == MAP_FAILED)
        return -errno;
    madvise(c.from, n, MADV_RANDOM);
    rc = bus_guarded(copy_cached, &c);
    munmap(c.from, n);
    return rc ? rc : (ssize_t)n;
}

static ssize_t read_direct(int fd, int64_t in_file, char *to)
{
    ssize_t n;

    do
        n = pread(fd, to, COLD_PART, in_file);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

static int read_part(struct cold_part *p, const struct mapped_file *file, const char *dir, int64_t at,
                     int64_t end)
{
    int64_t in_file = at - file->base, left = file->size - in_file;
    size_t most = left < (int64_t)COLD_PART ? (size_t)left : COLD_PART;
    ssize_t n;
    int fd;

    p->n = 0;
    if (!p->bytes && !(p->bytes = aligned_alloc(ALIGN, COLD_PART)))
        return -ENOMEM;
    /* Open no longer than that: retention may delete the file, an administrator unmount its file system. */
    if ((fd = mapped_file_open_direct(file, dir)) < 0)
        return fd;
    n = mapped_is_resident(file->map + in_file, most) ? read_cached(fd, in_file, p->bytes, most) :
                                                        read_direct(fd, in_file, p->bytes);
    close(fd);
    if (n < 0)
        return (int)n;
    p->at = at;
    p->n = n < end - at ? n : end - at;
    return 0;
}

/* As much of [at, at+n) as lies in one part: how much, or -errno. */
static ssize_t copy_piece(struct cold_read *c, const struct mapped_file *file, const char *dir, int64_t at, char *to, size_t n,
                          int64_t end)
{
    int64_t in_part = (at - file->base) % (int64_t)COLD_PART, begin = at - in_part;
    struct cold_part *p = find_part(c, begin);
    int rc;

    if (n > COLD_PART - (size_t)in_part)
        n = COLD_PART - (size_t)in_part;
    /* Read before the log's end came by: it has more now. */
    if ((p->at != begin || p->n < in_part + (int64_t)n) && (rc = read_part(p, file, dir, begin, end)))
        return rc;
    p->turn = ++c->turn;
    if (p->n < in_part + (int64_t)n)
        return -ENODATA;
    memcpy(to, p->bytes + in_part, n);
    return (ssize_t)n;
}

int cold_read_copy(struct cold_read *c, const struct mapped_file *file, const char *dir, int64_t at, char *to, size_t n,
                   int64_t end)
{
    ssize_t done = 0;

    pthread_mutex_lock(&c->lock);
    for (; n && done >= 0; at += done, to += done, n -= (size_t)done)
        if ((done = copy_piece(c, file, dir, at, to, n, end)) < 0)
            break;
    c->used_at = mono_ms();
    pthread_mutex_unlock(&c->lock);
    return done < 0 ? (int)done : 0;
}
