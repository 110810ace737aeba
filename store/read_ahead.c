#include "store/read_ahead.h"

#include <errno.h>
#include <sys/mman.h>

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

static void *main_loop(void *arg)
{
    struct read_ahead *r = arg;
    int64_t end = r->file->base + r->file->size;

    for (int64_t at = r->from; at < end && wait_for_reader(r, at); at += READ_AHEAD_STEP)
        if (bring(r->file, at, end - at < READ_AHEAD_STEP ? end - at : READ_AHEAD_STEP))
            break;
    return NULL;
}

void read_ahead_start(struct read_ahead *r, const struct mapped_file *file, int64_t at)
{
    *r = (struct read_ahead){.file = file, .told = at, .at = at, .from = at - (at - file->base) % PAGE};
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
