#include "common/program.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>

static sigset_t stop_signals(void)
{
    struct sigaction hangup;
    sigset_t s;

    sigemptyset(&s);
    sigaddset(&s, SIGTERM);
    sigaddset(&s, SIGINT);
    /* A terminal that goes away stops the program, but not under nohup. */
    if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN)
        sigaddset(&s, SIGHUP);
    return s;
}

void program_start(void)
{
    sigset_t s = stop_signals();
    struct rlimit files;

    signal(SIGPIPE, SIG_IGN);
    pthread_sigmask(SIG_BLOCK, &s, NULL);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

int program_wait(void)
{
    sigset_t s = stop_signals();
    int got = SIGTERM;
    sigwait(&s, &got);
    return got;
}
