#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/log.h"
#include "common/remoting/server_priv.h"

/* ---- what others may ask of a connection ---- */

struct conn *conn_hold(struct conn *c)
{
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

void conn_drop(struct conn *c)
{
    if (atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) == 1)
        free(c);
}

bool conn_open(const struct conn *c) { return atomic_load(&c->open); }
uint64_t conn_id(const struct conn *c) { return c->id; }
const char *conn_peer(const struct conn *c) { return c->peer; }
const struct sockaddr_storage *conn_peer_addr(const struct conn *c) { return &c->addr; }
void conn_set_data(struct conn *c, void *data) { atomic_store(&c->data, data); }
void *conn_data(const struct conn *c) { return atomic_load(&c->data); }

struct close_task {
    struct task task;
    struct conn *c;
};

static void run_close(struct task *t)
{
    struct conn *c = ((struct close_task *)t)->c;

    conn_shut(c, NULL);
    conn_drop(c);
    free(t);
}

void conn_close(struct conn *c)
{
    struct close_task *t;

    if (loop_here == c->loop) {
        conn_shut(c, NULL);
        return;
    }
    if (!conn_open(c))
        return;
    t = malloc(sizeof(*t));
    if (!t) {
        log_error("%s: no memory to close it", c->peer);
        return;
    }
    *t = (struct close_task){.task.run = run_close, .c = conn_hold(c)};
    loop_push(c->loop, &t->task);
}

/* ---- its end ---- */

static void on_closed(uv_handle_t *h)
{
    struct conn *c = h->data;
    struct loop *l = c->loop;

    if (c->prev)
        c->prev->next = c->next;
    else
        l->conns = c->next;
    if (c->next)
        c->next->prev = c->prev;
    atomic_fetch_sub(&l->n_conns, 1);

    out_drop(c);
    buf_free(&c->tail);
    ask_conn_ended(c);
    if (l->s->ops.closed)
        l->s->ops.closed(l->s->ops.ctx, c);
    conn_drop(c);
    loop_check_finished(l);
}

void conn_shut(struct conn *c, const char *why)
{
    if (c->shut)
        return;
    c->shut = true;
    if (why)
        log_warn("%s: closing the connection of %s: %s", c->loop->s->conf.name, c->peer, why);
    conn_flush(c);              /* what was answered before, if the socket takes it at once */
    atomic_store(&c->open, false);
    uv_close((uv_handle_t *)&c->tcp, on_closed);
}

/* ---- reading ---- */

/* Hands the complete frames of p[n] to their operations; the number of bytes
 * spent. Stops early when the connection is shut or its output is full. */
static size_t feed(struct conn *c, char *p, size_t n)
{
    const struct server_conf *conf = &c->loop->s->conf;
    size_t used = 0;

    while (!c->shut && !c->paused) {
        int64_t len = frame_length(p + used, n - used, conf->frame_max);

        if (len < 0) {
            conn_shut(c, "a frame length that is too small or too large");
            break;
        }
        if (len == 0 || (uint64_t)len > n - used)
            break;
        if (request_serve(c, p + used, (size_t)len)) {
            conn_shut(c, "a frame whose header does not add up");
            break;
        }
        used += (size_t)len;
        if (conn_waiting(c) > conf->out_max)
            conn_flush(c);      /* pauses when the socket does not take it */
    }
    return used;
}

/* The turn: all frames at p, then one write. */
static size_t turn(struct conn *c, char *p, size_t n)
{
    size_t used;

    c->in_turn = true;
    used = feed(c, p, n);
    c->in_turn = false;
    if (!c->shut)
        conn_flush(c);
    return used;
}

/* Keeps p[n], the input that no complete frame has used. */
static void keep_tail(struct conn *c, const char *p, size_t n)
{
    if (c->shut || n == 0) {
        buf_free(&c->tail);
        return;
    }
    buf_reset(&c->tail);
    buf_put(&c->tail, p, n);
    if (buf_failed(&c->tail))
        conn_shut(c, "no memory for its input");
}

static void on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *out)
{
    struct conn *c = h->data;
    size_t n = c->tail.n;
    int64_t len;

    c->reading_tail = n > IN_TAIL_COPIED;
    if (!c->reading_tail) {
        if (n)
            memcpy(c->loop->in, c->tail.p, n);
        *out = uv_buf_init(c->loop->in + n, (unsigned)(IN_SIZE - n));
        return;
    }
    /* A large frame: to its end and no further, in steps that grow with what really came. */
    len = frame_length(c->tail.p, n, c->loop->s->conf.frame_max);
    if (len > 0 && (uint64_t)len > n && buf_room(&c->tail, 1)) {
        size_t room = c->tail.cap - n;
        *out = uv_buf_init(c->tail.p + n, (unsigned)((size_t)len - n < room ? (size_t)len - n : room));
    } else {
        *out = uv_buf_init(NULL, 0);    /* on_read gets UV_ENOBUFS */
    }
}

static void read_into_tail(struct conn *c, size_t n)
{
    c->tail.n += n;
    if (frame_length(c->tail.p, c->tail.n, c->loop->s->conf.frame_max) > (int64_t)c->tail.n)
        return;
    struct buf frame = c->tail;
    c->tail = (struct buf){0};
    size_t used = turn(c, frame.p, frame.n);
    if (used < frame.n)
        keep_tail(c, frame.p + used, frame.n - used);
    buf_free(&frame);
}

static void on_read(uv_stream_t *h, ssize_t n, const uv_buf_t *b)
{
    struct conn *c = h->data;
    struct loop *l = c->loop;
    bool begun = c->tail.n > 0;
    size_t have, used;

    if (n == 0 || c->shut)
        return;
    if (n < 0) {
        conn_shut(c, n == UV_EOF || n == UV_ECONNRESET ? NULL : uv_strerror((int)n));
        return;
    }
    c->active = (int64_t)uv_now(&l->uv);
    if (c->reading_tail) {
        read_into_tail(c, (size_t)n);
        return;
    }
    have = c->tail.n + (size_t)n;
    used = turn(c, l->in, have);
    if (used || !begun)
        c->tail_since = c->active;
    if (used < have || begun)
        keep_tail(c, l->in + used, have - used);
}

void conn_stop_reading(struct conn *c)
{
    if (!c->shut)
        uv_read_stop((uv_stream_t *)&c->tcp);
}

void conn_resume(struct conn *c)
{
    c->paused = false;
    if (c->tail.n && !c->loop->deaf) {
        struct buf in = c->tail;
        size_t used;

        c->tail = (struct buf){0};
        c->tail_since = (int64_t)uv_now(&c->loop->uv);
        used = turn(c, in.p, in.n);
        keep_tail(c, in.p + used, in.n - used);
        buf_free(&in);
    }
    if (!c->shut && !c->paused && !c->loop->deaf)
        uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read);
}

void conn_sweep(struct conn *c, int64_t now, int64_t idle_ms)
{
    if (c->shut)
        return;
    if (now - c->active >= idle_ms) {
        log_info("%s: %s was idle for %lld s", c->loop->s->conf.name, c->peer,
                 (long long)(now - c->active) / 1000);
        conn_shut(c, NULL);
    } else if (c->tail.n && !c->paused && now - c->tail_since >= 2 * idle_ms) {
        conn_shut(c, "a frame did not come to its end in twice the idle time");
    }
}

/* ---- its beginning ---- */

static void peer_text(const struct sockaddr_storage *sa, char *out, size_t cap)
{
    char ip[INET6_ADDRSTRLEN] = "?";

    if (sa->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)sa;
        inet_ntop(AF_INET, &in->sin_addr, ip, sizeof(ip));
        snprintf(out, cap, "%s:%u", ip, ntohs(in->sin_port));
    } else if (sa->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)sa;
        if (IN6_IS_ADDR_V4MAPPED(&in->sin6_addr)) {
            inet_ntop(AF_INET, &in->sin6_addr.s6_addr[12], ip, sizeof(ip));
            snprintf(out, cap, "%s:%u", ip, ntohs(in->sin6_port));
        } else {
            inet_ntop(AF_INET6, &in->sin6_addr, ip, sizeof(ip));
            snprintf(out, cap, "[%s]:%u", ip, ntohs(in->sin6_port));
        }
    } else {
        snprintf(out, cap, "?");
    }
}

static struct conn *conn_make(struct loop *l, int port_index, const struct sockaddr_storage *addr)
{
    struct conn *c = calloc(1, sizeof(*c));

    if (!c)
        return NULL;
    c->loop = l;
    c->id = atomic_fetch_add(&l->s->conn_ids, 1) + 1;
    c->port_index = port_index;
    c->addr = *addr;
    c->active = (int64_t)uv_now(&l->uv);
    atomic_store(&c->refs, 1);
    atomic_store(&c->open, true);
    peer_text(addr, c->peer, sizeof(c->peer));
    if (uv_tcp_init(&l->uv, &c->tcp)) {
        free(c);
        return NULL;
    }
    c->tcp.data = c;
    c->next = l->conns;
    if (l->conns)
        l->conns->prev = c;
    l->conns = c;
    return c;
}

void conn_new(struct loop *l, int fd, int port_index, const struct sockaddr_storage *addr)
{
    struct conn *c = l->deaf ? NULL : conn_make(l, port_index, addr);
    int rc;

    if (!c) {
        atomic_fetch_sub(&l->n_conns, 1);
        close(fd);
        return;
    }
    if ((rc = uv_tcp_open(&c->tcp, fd)) != 0) {
        close(fd);
        conn_shut(c, uv_strerror(rc));
        return;
    }
    uv_tcp_nodelay(&c->tcp, 1);
    if ((rc = uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read)) != 0)
        conn_shut(c, uv_strerror(rc));
}
