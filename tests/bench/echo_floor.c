/* The floor: what reading and answering SEND_MESSAGE_V2 frames costs when nothing
 * is done with them. One thread, epoll; of a frame only the length and "opaque"
 * are looked at; the answer is constant but for the opaque.
 *
 *     echo_floor [PORT]        prints the port in use and its pid */
#include "tests/bench/net.h"

#define READ_MAX 262144

static const char answer_head[] =
    "{\"code\":0,\"extFields\":{\"queueId\":\"0\",\"TRACE_ON\":\"true\",\"MSG_REGION\":\"DefaultRegion\","
    "\"msgId\":\"7F00000100002A9F0000000000000000\",\"queueOffset\":\"0\"},\"flag\":1,\"language\":\"JAVA\","
    "\"opaque\":";
static const char answer_tail[] = ",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":513}";

struct peer {
    int fd;
    struct bytes tail;          /* a frame's beginning */
    struct bytes out;           /* what the socket did not take */
};

static void add_answer(struct bytes *out, const char *frame, size_t len)
{
    static const char key[] = "\"opaque\":";
    const char *o = memmem(frame, len, key, sizeof(key) - 1), *end;
    size_t digits, n;
    char *p;

    if (!o)
        die("a frame without an opaque");
    o += sizeof(key) - 1;
    for (end = o; *end == '-' || (*end >= '0' && *end <= '9'); end++)
        continue;
    digits = (size_t)(end - o);
    n = sizeof(answer_head) - 1 + digits + sizeof(answer_tail) - 1;
    p = bytes_room(out, n + 8);
    put32(p, (uint32_t)n + 4);
    put32(p + 4, (uint32_t)n);
    p += 8;
    memcpy(p, answer_head, sizeof(answer_head) - 1);
    p += sizeof(answer_head) - 1;
    memcpy(p, o, digits);
    memcpy(p + digits, answer_tail, sizeof(answer_tail) - 1);
    out->n += n + 8;
}

static void flush(int ep, struct peer *c)
{
    ssize_t k = c->out.n ? send(c->fd, c->out.p, c->out.n, MSG_NOSIGNAL) : 0;
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};

    if (k > 0)
        bytes_take(&c->out, (size_t)k);
    if (c->out.n || k < 0) {
        e.events |= EPOLLOUT;
        epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e);
    }
}

static void drop(struct peer *c)
{
    close(c->fd);
    free(c->tail.p);
    free(c->out.p);
    free(c);
}

/* One read, all its frames, one write. false: the peer is gone. */
static bool serve(int ep, struct peer *c)
{
    static char in[READ_MAX];
    size_t n = c->tail.n, used = 0;
    ssize_t k;

    if (n)
        memcpy(in, c->tail.p, n);
    k = read(c->fd, in + n, sizeof(in) - n);
    if (k <= 0)
        return k < 0 && errno == EAGAIN;
    n += (size_t)k;
    while (n - used >= 4) {
        size_t len = (size_t)get32(in + used) + 4;
        if (len > READ_MAX / 2)
            die("a frame of %zu bytes", len);
        if (n - used < len)
            break;
        add_answer(&c->out, in + used, len);
        used += len;
    }
    c->tail.n = 0;
    if (used < n)
        bytes_put(&c->tail, in + used, n - used);
    flush(ep, c);
    return true;
}

static int listen_on(int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(a);
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) || listen(fd, 128)
        || getsockname(fd, (struct sockaddr *)&a, &n))
        die("listening: %s", strerror(errno));
    printf("port=%d pid=%d\n", ntohs(a.sin_port), (int)getpid());
    fflush(stdout);
    return fd;
}

static void welcome(int ep, int lfd)
{
    int on = 1, fd = accept4(lfd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    struct peer *c = fd < 0 ? NULL : calloc(1, sizeof(*c));
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};

    if (!c)
        return;
    c->fd = fd;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
}

int main(int argc, char **argv)
{
    int ep = epoll_create1(EPOLL_CLOEXEC), lfd = listen_on(argc > 1 ? atoi(argv[1]) : 0);
    struct epoll_event e = {.events = EPOLLIN}, events[64];

    epoll_ctl(ep, EPOLL_CTL_ADD, lfd, &e);
    for (;;) {
        int n = epoll_wait(ep, events, 64, -1);
        for (int i = 0; i < n; i++) {
            struct peer *c = events[i].data.ptr;
            if (!c) {
                welcome(ep, lfd);
                continue;
            }
            if (events[i].events & EPOLLOUT) {
                struct epoll_event in = {.events = EPOLLIN, .data.ptr = c};
                epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &in);
                flush(ep, c);
            }
            if ((events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) && !serve(ep, c))
                drop(c);
        }
    }
}
