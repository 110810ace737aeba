#include "store/read_ahead.h"

#include <errno.h>
#include <sys/mman.h>

#include "common/bus_guard.h"
#include "common/message.h"
#include "common/thread.h"

#define AHEAD (16 * READ_AHEAD_STEP)
#define PAGE ((int64_t)4096)

/* Waits until `from` is less than AHEAD before the reader. False: it has stopped. */
static bool wait_for_reader(struct read_ahead *r, int64_t from)
{
    bool stop;

    pthread_mutex_lock(&r->lock);
    while (!r->stop && from - r->at >= AHEAD)
        pthread_cond_wait(&r->moved, &r->lock);
    stop = r->stop;
    pthread_mutex_unlock(&r->lock);
    return !stop;
}

/* A page that cannot be had is the reader's to find out: here it is only an errno, which ends the thread. */
static int bring(const struct mapped_file *file, int64_t from, int64_t n)
{
    char *p = file->map + (from - file->base);

    if (madvise(p, (size_t)n, MADV_POPULATE_READ) == 0)
        return 0;
    /* Before Linux 5.14: at least from the disk. */
    return errno == EINVAL && madvise(p, (size_t)n, MADV_WILLNEED) == 0 ? 0 : -errno;
}

/* The records that begin in what was brought. What is no whole record ends it: the reader will say what it is. */
static int check_brought(void *arg)
{
    struct read_ahead *r = arg;
    int64_t at = atomic_load_explicit(&r->whole, memory_order_relaxed), end = r->file->base + r->file->size;

    while (at < r->brought) {
        struct message m;
        if (message_record_get(r->file->map + (at - r->file->base), (size_t)(end - at), true, &m) ||
            m.physical_offset != at)
            return -EBADMSG;
        at += m.size;
        atomic_store_explicit(&r->whole, at, memory_order_release);
    }
    return 0;
}

static void *main_loop(void *arg)
{
    struct read_ahead *r = arg;
    int64_t end = r->file->base + r->file->size;

    while (r->brought < end && wait_for_reader(r, r->brought)) {
        int64_t n = end - r->brought < READ_AHEAD_STEP ? end - r->brought : READ_AHEAD_STEP;
        if (bring(r->file, r->brought, n))
            break;
        r->brought += n;
        r->check_crc = r->check_crc && bus_guarded(check_brought, r) == 0;
    }
    return NULL;
}

void read_ahead_start(struct read_ahead *r, const struct mapped_file *file, int64_t at, bool check_crc)
{
    *r = (struct read_ahead){.file = file, .told = at, .at = at, .brought = at - (at - file->base) % PAGE,
                             .check_crc = check_crc, .whole = at};
    if (file->base + file->size - at < READ_AHEAD_STEP)
        return;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->moved, NULL);
    r->runs = thread_start(&r->thread, "read-ahead", main_loop, r) == 0;
    if (!r->runs) {
        pthread_cond_destroy(&r->moved);
        pthread_mutex_destroy(&r->lock);
    }
}

void read_ahead_tell(struct read_ahead *r, int64_t at)
{
    r->told = at;
    if (!r->runs)
        return;
    pthread_mutex_lock(&r->lock);
    r->at = at;
    pthread_cond_signal(&r->moved);
    pthread_mutex_unlock(&r->lock);
}

void read_ahead_stop(struct read_ahead *r)
{
    if (!r->runs)
        return;
    pthread_mutex_lock(&r->lock);
    r->stop = true;
    pthread_cond_signal(&r->moved);
    pthread_mutex_unlock(&r->lock);
    pthread_join(r->thread, NULL);
    pthread_cond_destroy(&r->moved);
    pthread_mutex_destroy(&r->lock);
    r->runs = false;
}
