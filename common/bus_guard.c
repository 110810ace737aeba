#include "common/bus_guard.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A handler has nothing but the thread to find the place by. */
static _Thread_local sigjmp_buf *volatile place;
static _Thread_local volatile uintptr_t touched;     /* what could not be had, since a guard began; 0: nothing */

static void on_bus(int sig, siginfo_t *info, void *context)
{
    static const char text[] = "SIGBUS: a mapped file could not be read or written: its disk failed, or it was cut\n";

    (void)context;
    if (place) {
        touched = (uintptr_t)info->si_addr;
        siglongjmp(*place, 1);
    }
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

    touched = 0;
    if (sigsetjmp(here, 0) == 0) {
        place = &here;
        rc = fn(arg);
    }
    place = outer;
    return rc;
}

/* One line of /proc/self/maps: the file there when it is the one. */
static bool is_mapped_there(const char *line, uintptr_t at, char *out, size_t cap)
{
    uintptr_t from, to, offset;
    int path = 0;

    if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %*s %" SCNxPTR " %*s %*s %n", &from, &to, &offset, &path) != 3 || !path ||
        at < from || at >= to)
        return false;
    snprintf(out, cap, "a page of %.*s at %" PRIuPTR " could not be had: its disk failed, or it was cut",
             (int)strcspn(line + path, "\n"), line + path, at - from + offset);
    return true;
}

const char *bus_why(char *out, size_t cap)
{
    uintptr_t at = touched;
    char *line = NULL;
    size_t room = 0;
    FILE *maps;

    snprintf(out, cap, at ? "a page of a mapped file could not be had" : "%s", strerror(EIO));
    if (!at || !(maps = fopen("/proc/self/maps", "re")))
        return out;
    while (getline(&line, &room, maps) > 0 && !is_mapped_there(line, at, out, cap))
        ;
    free(line);
    fclose(maps);
    return out;
}
