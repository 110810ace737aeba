#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

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

static void *worker_main(void *arg)
{
    struct workers *w = arg;

    pthread_mutex_lock(&w->lock);
    for (;;) {
        struct work next;

        while (!w->n && !w->closed)
            pthread_cond_wait(&w->more, &w->lock);
        if (!w->n)
            break;
        next = w->ring[w->head];
        w->head = (w->head + 1) % w->cap;
        w->n--;
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
    pthread_cond_init(&w->more, NULL);
    w->ring = calloc(w->cap, sizeof(w->ring[0]));
    w->threads = calloc((size_t)threads, sizeof(w->threads[0]));
    return w->ring && w->threads ? 0 : -ENOMEM;
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

bool workers_push(struct workers *w, void (*fn)(void *arg), void *arg)
{
    bool room;

    pthread_mutex_lock(&w->lock);
    room = !w->closed && w->n < w->cap;
    if (room) {
        w->ring[(w->head + w->n) % w->cap] = (struct work){fn, arg};
        w->n++;
        pthread_cond_signal(&w->more);
    }
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
    if (w->n_started == 0 && w->n)      /* never run: what was queued is done here */
        worker_main(w);
    w->n_started = 0;
}

void workers_free(struct workers *w)
{
    if (!w->ring && !w->threads)
        return;
    free(w->ring);
    free(w->threads);
    pthread_cond_destroy(&w->more);
    pthread_mutex_destroy(&w->lock);
}
