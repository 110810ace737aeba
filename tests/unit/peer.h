/* A blocking peer for tests of the network: sends frames and raw bytes, waits
 * for frames or for the end of the connection. Include in one .c file only. */
#ifndef TESTS_UNIT_PEER_H
#define TESTS_UNIT_PEER_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/remoting/command.h"

#define PEER_WAIT_MS 10000          /* a test that waits so long has failed */

struct peer {
    int fd;
    char *in;                       /* FRAME_MAX bytes */
    size_t at, n, used;             /* of it: where the next frame begins, filled, the frame that was given out */
};

enum { PEER_FRAME = 1, PEER_END = 0, PEER_TIMEOUT = -1 };

static inline struct peer peer_open(int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct peer p = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), .in = malloc(FRAME_MAX)};
    int on = 1;

    if (p.fd < 0 || !p.in || connect(p.fd, (struct sockaddr *)&a, sizeof(a))) {
        perror("# connect");
        exit(2);
    }
    setsockopt(p.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return p;
}

static inline void peer_close(struct peer *p)
{
    close(p->fd);
    free(p->in);
    *p = (struct peer){.fd = -1};
}

/* false when the other side has closed. */
static inline bool peer_bytes(struct peer *p, const void *b, size_t n)
{
    const char *at = b;

    while (n) {
        ssize_t k = send(p->fd, at, n, MSG_NOSIGNAL);
        if (k < 0)
            return false;
        at += k;
        n -= (size_t)k;
    }
    return true;
}

static inline bool peer_send(struct peer *p, const struct command *cmd)
{
    struct buf b = {0};
    bool sent = command_encode(&b, cmd, 0) && peer_bytes(p, b.p, b.n);

    buf_free(&b);
    return sent;
}

/* The next frame, whose texts live until the next call; or the end; or neither in time. */
static inline int peer_recv_in(struct peer *p, struct command *cmd, int ms)
{
    int64_t until = mono_ms() + ms;

    p->at += p->used;
    p->used = 0;
    for (;;) {
        int64_t len = frame_length(p->in + p->at, p->n - p->at, FRAME_MAX), left = until - mono_ms();
        struct pollfd w = {.fd = p->fd, .events = POLLIN};
        ssize_t k;

        if (len < 0) {
            printf("# the server sent a bad frame length\n");
            exit(2);
        }
        if (len && (uint64_t)len <= p->n - p->at) {
            p->used = (size_t)len;
            if (command_decode(p->in + p->at, p->used, cmd)) {
                printf("# the server sent a frame that does not decode\n");
                exit(2);
            }
            return PEER_FRAME;
        }
        if (left < 0 || poll(&w, 1, (int)left) == 0)
            return PEER_TIMEOUT;
        if (p->at == p->n || p->n == FRAME_MAX) {    /* a frame never has to wait for room */
            memmove(p->in, p->in + p->at, p->n - p->at);
            p->n -= p->at;
            p->at = 0;
        }
        k = recv(p->fd, p->in + p->n, FRAME_MAX - p->n, 0);
        if (k <= 0)
            return PEER_END;
        p->n += (size_t)k;
    }
}

static inline int peer_recv(struct peer *p, struct command *cmd) { return peer_recv_in(p, cmd, PEER_WAIT_MS); }

static inline struct command peer_cmd(int code, int opaque)
{
    static struct command c;        /* too large to clear for each */

    c.code = code;
    c.opaque = opaque;
    c.flag = 0;
    c.version = VERSION_V4_9_4;
    c.language = LANG_JAVA;
    c.serialize = SERIALIZE_JSON;
    c.remark = c.body = (struct str){0};
    c.n_ext = 0;
    return c;
}

/* Sends a request with a body and waits for its reply. */
static inline int peer_ask(struct peer *p, int code, int opaque, struct str body, struct command *out)
{
    struct command c = peer_cmd(code, opaque);

    c.body = body;
    if (!peer_send(p, &c))
        return PEER_END;
    return peer_recv(p, out);
}

/* Waits until cond() holds: for what happens on other threads. */
#define wait_until(cond) do { \
        int64_t until_ = mono_ms() + PEER_WAIT_MS; \
        while (!(cond) && mono_ms() < until_) \
            usleep(1000); \
    } while (0)

#endif
