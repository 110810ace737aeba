/* Threads of ours take no signals: SIGTERM and its kin belong to main, and a
 * write to a peer that has gone is an errno, not SIGPIPE. Faults stay as they are: a
 * SIGBUS that is blocked ends the process, and no guard (common/bus_guard.h) helps.
 * Each has a name, so that `top -H` tells what is busy. */
#ifndef COMMON_THREAD_H
#define COMMON_THREAD_H

#include <pthread.h>
#include <signal.h>
#include <time.h>

/* name: at most 15 bytes. attr NULL: as pthread_create has it. 0 or -errno. */
static inline int thread_start_with(pthread_t *t, const char *name, const pthread_attr_t *attr, void *(*fn)(void *arg),
                                    void *arg)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    sigset_t mask, old;
    int rc;

    sigfillset(&mask);
    for (unsigned i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
        sigdelset(&mask, faults[i]);
    pthread_sigmask(SIG_SETMASK, &mask, &old);
    rc = pthread_create(t, attr, fn, arg);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (!rc)
        pthread_setname_np(*t, name);
    return -rc;
}

static inline int thread_start(pthread_t *t, const char *name, void *(*fn)(void *arg), void *arg)
{
    return thread_start_with(t, name, NULL, fn, arg);
}

/* A condition whose timed waits go by CLOCK_MONOTONIC, as mono_ms does: no jump of the clock wakes or holds them. */
static inline void cond_init(pthread_cond_t *c)
{
    pthread_condattr_t attr;

    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(c, &attr);
    pthread_condattr_destroy(&attr);
}

#endif
