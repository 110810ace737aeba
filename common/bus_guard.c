#include "common/bus_guard.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

/* A handler has nothing but the thread to find the place by. */
static _Thread_local sigjmp_buf *volatile place;

static void on_bus(int sig, siginfo_t *info, void *context)
{
    static const char text[] = "SIGBUS: a mapped file could not be read or written: its disk failed, or it was cut\n";

    (void)info;
    (void)context;
    if (place)
        siglongjmp(*place, 1);
    if (write(STDERR_FILENO, text, sizeof text - 1) < 0)
        _exit(128 + sig);
    signal(sig, SIG_DFL);                /* the instruction is tried again, and ends the process */
}

int bus_guard_install(void)
{
    /* It leaves by a jump, which does not bring the signal mask back: so it must not be changed. */
    struct sigaction action = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO | SA_NODEFER};
    static atomic_flag done = ATOMIC_FLAG_INIT;

    if (atomic_flag_test_and_set(&done))
        return 0;
    sigemptyset(&action.sa_mask);
    return sigaction(SIGBUS, &action, NULL) < 0 ? -errno : 0;
}

int bus_guarded(int (*fn)(void *arg), void *arg)
{
    sigjmp_buf here;
    sigjmp_buf *volatile outer = place;
    volatile int rc = -EIO;

    if (sigsetjmp(here, 0) == 0) {
        place = &here;
        rc = fn(arg);
    }
    place = outer;
    return rc;
}
