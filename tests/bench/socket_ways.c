/* Ways from the page cache to a socket: what one answer of a pull costs the thread that writes it.
 *
 *     socket_ways FILE [SECONDS]      FILE is made, 64 MiB; SECONDS (0.3) for each way in each of three rounds
 *
 * An answer is a header of 200 bytes and N records of the file, each RECORD bytes, which lie one behind the other (one
 * extent) or with as much of other queues' records between (N extents). The peer, a thread, throws away what comes.
 * Times are the writing thread's processor time, the least of the rounds. A Markdown table on standard output. */
#include <poll.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <netinet/in.h>
#include "tests/bench/net.h"

#define FILE_SIZE (64 << 20)
#define HEADER 200
#define MOST 256                     /* records in an answer */
#define ROUNDS 3

struct source {
    int file, sock;
    const char *map;
    char *buffer;
};

struct answer {
    size_t n, record, stride;        /* bytes from one record to the next: == record when they touch */
    size_t at;                       /* of the first record in the file */
};

static char header[HEADER];

/* ---- the ways ---- */

static void wait_for(int sock, short events)
{
    struct pollfd p = {.fd = sock, .events = events};

    if (poll(&p, 1, 5000) <= 0)
        die("the peer does not read");
}

/* All of iov, however the socket takes it. */
static void put_iov(int sock, struct iovec *iov, int n, int flags)
{
    while (n) {
        struct msghdr m = {.msg_iov = iov, .msg_iovlen = (size_t)n};
        ssize_t k = sendmsg(sock, &m, flags | MSG_NOSIGNAL);
        if (k < 0 && (errno == EAGAIN || errno == ENOBUFS)) {
            wait_for(sock, errno == EAGAIN ? POLLOUT : 0);
            continue;
        }
        if (k < 0)
            die("sending: %s", strerror(errno));
        for (; n && (size_t)k >= iov->iov_len; iov++, n--)
            k -= (ssize_t)iov->iov_len;
        if (n) {
            iov->iov_base = (char *)iov->iov_base + k;
            iov->iov_len -= (size_t)k;
        }
    }
}

/* The records as extents of the mapping, behind the header; touching ones are one. */
static int extents(const struct source *s, const struct answer *a, struct iovec *iov)
{
    int n = 0;

    iov[n++] = (struct iovec){header, HEADER};
    if (a->stride == a->record) {
        iov[n++] = (struct iovec){(char *)(uintptr_t)s->map + a->at, a->n * a->record};
        return n;
    }
    for (size_t i = 0; i < a->n; i++)
        iov[n++] = (struct iovec){(char *)(uintptr_t)s->map + a->at + i * a->stride, a->record};
    return n;
}

static void by_writev(struct source *s, const struct answer *a)
{
    struct iovec iov[MOST + 1];

    put_iov(s->sock, iov, extents(s, a, iov), 0);
}

static void by_memcpy(struct source *s, const struct answer *a)
{
    struct iovec from[MOST + 1], iov;
    int n = extents(s, a, from);
    size_t at = 0;

    for (int i = 0; i < n; i++) {
        memcpy(s->buffer + at, from[i].iov_base, from[i].iov_len);
        at += from[i].iov_len;
    }
    iov = (struct iovec){s->buffer, at};
    put_iov(s->sock, &iov, 1, 0);
}

static void by_pread(struct source *s, const struct answer *a)
{
    size_t step = a->stride == a->record ? a->n * a->record : a->record, at = HEADER;
    struct iovec iov;

    memcpy(s->buffer, header, HEADER);
    for (size_t i = 0; i * step < a->n * a->record; i++, at += step)
        if (pread(s->file, s->buffer + at, step, (off_t)(a->at + i * a->stride)) != (ssize_t)step)
            die("reading: %s", strerror(errno));
    iov = (struct iovec){s->buffer, at};
    put_iov(s->sock, &iov, 1, 0);
}

static void by_sendfile(struct source *s, const struct answer *a)
{
    size_t step = a->stride == a->record ? a->n * a->record : a->record;
    struct iovec iov = {header, HEADER};

    put_iov(s->sock, &iov, 1, MSG_MORE);
    for (size_t i = 0; i * step < a->n * a->record; i++) {
        off_t at = (off_t)(a->at + i * a->stride);
        for (size_t left = step; left;) {
            ssize_t k = sendfile(s->sock, s->file, &at, left);
            if (k < 0 && errno == EAGAIN)
                wait_for(s->sock, POLLOUT);
            else if (k <= 0)
                die("sendfile: %s", strerror(errno));
            else
                left -= (size_t)k;
        }
    }
}

/* What the kernel is done with; the pages must stay until then, so who uses this has to ask. */
static void take_notices(int sock)
{
    char control[256];
    struct msghdr m;

    do
        m = (struct msghdr){.msg_control = control, .msg_controllen = sizeof(control)};
    while (recvmsg(sock, &m, MSG_ERRQUEUE) >= 0);
}

static void by_zerocopy(struct source *s, const struct answer *a)
{
    struct iovec iov[MOST + 1];

    put_iov(s->sock, iov, extents(s, a, iov), MSG_ZEROCOPY);
    take_notices(s->sock);
}

static const struct way {
    const char *name;
    void (*put)(struct source *s, const struct answer *a);
} ways[] = {
    {"writev from the mapping (what the broker does)", by_writev},
    {"memcpy from the mapping, write", by_memcpy},
    {"pread, write", by_pread},
    {"sendfile", by_sendfile},
    {"writev with MSG_ZEROCOPY", by_zerocopy},
};

/* ---- the peer ---- */

static void *peer_main(void *arg)
{
    int fd = *(int *)arg;
    size_t room = 1 << 20;
    char *p = malloc(room);

    while (p && recv(fd, p, room, MSG_TRUNC) > 0)
        ;
    free(p);
    return NULL;
}

/* A TCP connection with itself, both ends without Nagle. */
static void connect_both(int *mine, int *its)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(sa);
    char text[40];
    int on = 1, l = socket(AF_INET, SOCK_STREAM, 0);

    if (l < 0 || bind(l, (struct sockaddr *)&sa, n) || listen(l, 1) || getsockname(l, (struct sockaddr *)&sa, &n))
        die("listening: %s", strerror(errno));
    snprintf(text, sizeof(text), "127.0.0.1:%d", ntohs(sa.sin_port));
    *mine = dial(text);
    if ((*its = accept(l, NULL, NULL)) < 0 || setsockopt(*mine, SOL_SOCKET, SO_ZEROCOPY, &on, sizeof(on)))
        die("connecting: %s", strerror(errno));
    close(l);
}

/* ---- measuring ---- */

static int64_t thread_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Microseconds of an answer. */
static double time_of(struct source *s, const struct way *w, struct answer a, double seconds)
{
    int64_t began = now_ns(), until = began + (int64_t)(seconds * 1e9), cpu = thread_ns();
    size_t span = a.n * a.stride;
    long n = 0;

    for (; now_ns() < until; n++) {
        w->put(s, &a);
        a.at = a.at + 2 * span > FILE_SIZE ? 0 : a.at + span;
    }
    return (double)(thread_ns() - cpu) / 1000 / (double)n;
}

static void open_source(struct source *s, const char *path)
{
    s->file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    s->buffer = malloc(HEADER + (1 << 20));
    if (s->file < 0 || ftruncate(s->file, FILE_SIZE) || !s->buffer)
        die("%s: %s", path, strerror(errno));
    s->map = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, s->file, 0);
    if (s->map == MAP_FAILED)
        die("%s: %s", path, strerror(errno));
    memset((char *)(uintptr_t)s->map, 'x', FILE_SIZE);
}

int main(int argc, char **argv)
{
    static const struct { const char *name; size_t n, record, stride; } rows[] = {
        {"32 records of 330 bytes (bodies of 128), one extent", 32, 330, 330},
        {"the same, 32 extents", 32, 330, 660},
        {"32 records of 1,240 bytes (bodies of 1 KiB), one extent", 32, 1240, 1240},
        {"the same, 32 extents", 32, 1240, 2480},
        {"256 KiB: 211 records of 1,240 bytes, one extent", 211, 1240, 1240},
        {"the same, 211 extents", 211, 1240, 2480},
    };
    double seconds = argc > 2 ? atof(argv[2]) : 0.3, best[sizeof(rows) / sizeof(rows[0])][sizeof(ways) / sizeof(ways[0])];
    size_t n_rows = sizeof(rows) / sizeof(rows[0]), n_ways = sizeof(ways) / sizeof(ways[0]);
    struct source s;
    pthread_t peer;
    int its;

    if (argc < 2 || seconds <= 0)
        die("socket_ways FILE [SECONDS]");
    open_source(&s, argv[1]);
    connect_both(&s.sock, &its);
    if (pthread_create(&peer, NULL, peer_main, &its))
        die("no thread");
    for (int round = 0; round < ROUNDS; round++)
        for (size_t i = 0; i < n_rows; i++)
            for (size_t k = 0; k < n_ways; k++) {
                double us = time_of(&s, &ways[k], (struct answer){rows[i].n, rows[i].record, rows[i].stride, 0}, seconds);
                best[i][k] = !round || us < best[i][k] ? us : best[i][k];
            }
    printf("| us of the writing thread an answer |");
    for (size_t k = 0; k < n_ways; k++)
        printf(" %s |", ways[k].name);
    printf("\n|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < n_rows; i++) {
        printf("| %s |", rows[i].name);
        for (size_t k = 0; k < n_ways; k++)
            printf(" %.1f |", best[i][k]);
        putchar('\n');
    }
    shutdown(s.sock, SHUT_RDWR);
    pthread_join(peer, NULL);
    unlink(argv[1]);
    return 0;
}
