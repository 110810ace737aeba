#include "broker/ticker.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "common/thread.h"

struct ticker {
    pthread_t thread;
    pthread_mutex_t lock;           /* guards stop; a leaf */
    pthread_cond_t wake;
    bool stop;
    void (*fn)(void *ctx, int64_t n);
    void *ctx;
};

static void *run(void *arg)
{
    struct ticker *t = arg;
    struct timespec due;

    clock_gettime(CLOCK_MONOTONIC, &due);
    pthread_mutex_lock(&t->lock);
    for (int64_t n = 1; !t->stop; n++) {
        due.tv_nsec += TICK_MS * 1000000L;
        if (due.tv_nsec >= 1000000000L) {
            due.tv_nsec -= 1000000000L;
            due.tv_sec++;
        }
        while (!t->stop && pthread_cond_timedwait(&t->wake, &t->lock, &due) != ETIMEDOUT)
            ;
        if (t->stop)
            break;
        pthread_mutex_unlock(&t->lock);
        t->fn(t->ctx, n);
        clock_gettime(CLOCK_MONOTONIC, &due);
        pthread_mutex_lock(&t->lock);
    }
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

int ticker_start(void (*fn)(void *ctx, int64_t n), void *ctx, struct ticker **out)
{
    struct ticker *t = calloc(1, sizeof(*t));
    int rc;

    if (!t)
        return -ENOMEM;
    t->fn = fn;
    t->ctx = ctx;
    pthread_mutex_init(&t->lock, NULL);
    cond_init(&t->wake);
    rc = thread_start(&t->thread, "ticker", run, t);
    if (rc) {
        free(t);
        return rc;
    }
    *out = t;
    return 0;
}

void ticker_stop(struct ticker *t)
{
    pthread_mutex_lock(&t->lock);
    t->stop = true;
    pthread_cond_signal(&t->wake);
    pthread_mutex_unlock(&t->lock);
    pthread_join(t->thread, NULL);
    pthread_cond_destroy(&t->wake);
    pthread_mutex_destroy(&t->lock);
    free(t);
}
