/* What the bench programs share: sockets, growing buffers, the CPU time of
 * another process. Include in one .c file only. */
#ifndef TESTS_BENCH_NET_H
#define TESTS_BENCH_NET_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

__attribute__((noreturn, format(printf, 1, 2)))
static inline void die(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    exit(1);
}

static inline int64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* CPU time that all threads of a process have used, ns; -1 when it cannot be read. */
static inline int64_t cpu_ns(int pid)
{
    char path[300];
    struct dirent *e;
    int64_t sum = 0;
    DIR *d;

    snprintf(path, sizeof(path), "/proc/%d/task", pid);
    if (!(d = opendir(path)))
        return -1;
    while ((e = readdir(d))) {
        long long ns;
        FILE *f;
        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat", pid, e->d_name);
        if (!(f = fopen(path, "r")))
            continue;           /* it has ended */
        if (fscanf(f, "%lld", &ns) == 1)
            sum += ns;
        fclose(f);
    }
    closedir(d);
    return sum;
}

/* A non-blocking connection to "host:port", without Nagle. */
static inline int dial(const char *addr)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *ai;
    const char *colon = strrchr(addr, ':');
    char host[256];
    int fd, on = 1, rc;

    if (!colon || (size_t)(colon - addr) >= sizeof(host))
        die("%s is not host:port", addr);
    snprintf(host, sizeof(host), "%.*s", (int)(colon - addr), addr);
    if ((rc = getaddrinfo(host, colon + 1, &hints, &ai)) != 0)
        die("%s: %s", addr, gai_strerror(rc));
    fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, ai->ai_addr, ai->ai_addrlen))
        die("connecting to %s: %s", addr, strerror(errno));
    freeaddrinfo(ai);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

struct bytes {
    char *p;
    size_t n, cap;
};

static inline char *bytes_room(struct bytes *b, size_t n)
{
    if (b->cap - b->n < n) {
        b->cap = (b->n + n) * 2;
        b->p = realloc(b->p, b->cap);
        if (!b->p)
            die("no memory");
    }
    return b->p + b->n;
}

static inline void bytes_put(struct bytes *b, const void *p, size_t n)
{
    memcpy(bytes_room(b, n), p, n);
    b->n += n;
}

static inline void bytes_take(struct bytes *b, size_t n)
{
    b->n -= n;
    if (b->n)
        memmove(b->p, b->p + n, b->n);
}

static inline uint32_t get32(const char *p)
{
    uint32_t v;

    memcpy(&v, p, 4);
    return __builtin_bswap32(v);
}

static inline void put32(char *p, uint32_t v)
{
    v = __builtin_bswap32(v);
    memcpy(p, &v, 4);
}

#endif
