#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/remoting/server_priv.h"
#include "common/thread.h"

#define BACKGROUND_NICE 10              /* more than the others have */
#define BACKGROUND_IO (2 << 13 | 7)     /* best effort, the last of it: <linux/ioprio.h>, which is not everywhere */

/* Of this thread; what the system does not grant, it does without. Not the idle classes: a loop that waits for a lock
 * which such a thread holds would wait for ever on a busy machine. */
static void come_last(void)
{
    id_t self = (id_t)syscall(SYS_gettid);

    setpriority(PRIO_PROCESS, self, getpriority(PRIO_PROCESS, self) + BACKGROUND_NICE);
    syscall(SYS_ioprio_set, 1 /* IOPRIO_WHO_PROCESS */, 0, BACKGROUND_IO);
}

/* ---- what is to be done later ---- */

static void later_put(struct workers *w, struct later e)
{
    unsigned i = w->n_later++;

    for (; i && w->later[(i - 1) / 2].due > e.due; i = (i - 1) / 2)
        w->later[i] = w->later[(i - 1) / 2];
    w->later[i] = e;
}

static struct work later_take(struct workers *w)
{
    struct work first = w->later[0].work;
    struct later last = w->later[--w->n_later];
    unsigned i = 0, child;

    while ((child = 2 * i + 1) < w->n_later) {
        child += child + 1 < w->n_later && w->later[child + 1].due < w->later[child].due;
        if (last.due <= w->later[child].due)
            break;
        w->later[i] = w->later[child];
        i = child;
    }
    w->later[i] = last;
    return first;
}

/* Until something is pushed, or the first of what is to be done later is due. */
static void wait_for_work(struct workers *w)
{
    struct timespec t;

    if (!w->n_later) {
        pthread_cond_wait(&w->more, &w->lock);
        return;
    }
    t.tv_sec = w->later[0].due / 1000000;
    t.tv_nsec = w->later[0].due % 1000000 * 1000;
    pthread_cond_timedwait(&w->more, &w->lock, &t);
}

/* Lock held, and given back while it waits. False: closed, and nothing is left. */
static bool take(struct workers *w, struct work *out)
{
    for (;;) {
        if (w->n_later && (w->closed || w->later[0].due <= mono_us())) {
            *out = later_take(w);
            if (w->n_later)              /* somebody else waits for the next one's time */
                pthread_cond_signal(&w->more);
            return true;
        }
        if (w->n) {
            *out = w->ring[w->head];
            w->head = (w->head + 1) % w->cap;
            w->n--;
            return true;
        }
        if (w->closed)
            return false;
        wait_for_work(w);
    }
}

/* ---- threads ---- */

static void *worker_main(void *arg)
{
    struct workers *w = arg;
    struct work next;

    pthread_mutex_lock(&w->lock);
    while (take(w, &next)) {
        pthread_mutex_unlock(&w->lock);
        next.fn(next.arg);
        pthread_mutex_lock(&w->lock);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static void *background_main(void *arg)
{
    come_last();
    return worker_main(arg);
}

int workers_open(struct workers *w, int threads, int queue, bool background)
{
    *w = (struct workers){.cap = (unsigned)queue, .n_threads = threads, .background = background};

    pthread_mutex_init(&w->lock, NULL);
    cond_init(&w->more);
    w->ring = calloc(w->cap, sizeof(w->ring[0]));
    w->later = background ? calloc(w->cap, sizeof(w->later[0])) : NULL;
    w->threads = calloc((size_t)threads, sizeof(w->threads[0]));
    return w->ring && w->threads && (w->later || !background) ? 0 : -ENOMEM;
}

int workers_start(struct workers *w)
{
    while (w->n_started < w->n_threads) {
        int rc = w->background ? thread_start(&w->threads[w->n_started], "background", background_main, w)
                               : thread_start(&w->threads[w->n_started], "worker", worker_main, w);
        if (rc)
            return rc;
        w->n_started++;
    }
    return 0;
}

bool workers_push(struct workers *w, int64_t due, void (*fn)(void *arg), void *arg)
{
    struct work work = {fn, arg};
    bool room, soonest = true;

    pthread_mutex_lock(&w->lock);
    room = !w->closed && w->n + w->n_later < w->cap;
    if (room && due) {
        later_put(w, (struct later){due, work});
        soonest = w->later[0].work.arg == arg;
    } else if (room) {
        w->ring[(w->head + w->n) % w->cap] = work;
        w->n++;
    }
    if (room && soonest)
        pthread_cond_signal(&w->more);
    pthread_mutex_unlock(&w->lock);
    return room;
}

void workers_close(struct workers *w)
{
    if (!w->ring)
        return;
    pthread_mutex_lock(&w->lock);
    w->closed = true;
    pthread_cond_broadcast(&w->more);
    pthread_mutex_unlock(&w->lock);
    for (int i = 0; i < w->n_started; i++)
        pthread_join(w->threads[i], NULL);
    if (w->n_started == 0)              /* never run: what was queued is done here */
        worker_main(w);
    w->n_started = 0;
}

void workers_free(struct workers *w)
{
    if (!w->ring && !w->threads)
        return;
    free(w->ring);
    free(w->later);
    free(w->threads);
    pthread_cond_destroy(&w->more);
    pthread_mutex_destroy(&w->lock);
}
