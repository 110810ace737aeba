/* A connection's output. What is answered during a turn is encoded, one command
 * after the other, into one buffer; bodies that lie elsewhere are noted as
 * pieces between, but where copying them is cheaper. The turn ends with one write of all that. What the socket does
 * not take waits in its out while the next one is filled. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/bus_guard.h"
#include "common/log.h"
#include "common/remoting/server_priv.h"

#define GATHER_FROM 4               /* extents */
#define GATHER_MEAN 2048            /* bytes of one */

void out_free(struct out *o)
{
    buf_free(&o->bytes);
    free(o->pieces);
    free(o->dones);
    free(o);
}

/* Nobody needs its bytes any more. */
static void out_release(struct loop *l, struct out *o)
{
    for (unsigned i = 0; i < o->n_dones; i++)
        o->dones[i].fn(o->dones[i].arg);
    if (l->n_spares >= OUT_SPARES) {
        out_free(o);
        return;
    }
    if (o->bytes.cap > OUT_KEPT)
        buf_free(&o->bytes);
    buf_reset(&o->bytes);
    o->n_dones = o->n_pieces = o->at_piece = 0;
    o->left = o->at_byte = 0;
    o->next = l->spares;
    l->spares = o;
    l->n_spares++;
}

static struct out *out_of(struct conn *c)
{
    struct loop *l = c->loop;

    if (c->filling)
        return c->filling;
    if (l->spares) {
        c->filling = l->spares;
        l->spares = c->filling->next;
        l->n_spares--;
    } else {
        c->filling = calloc(1, sizeof(*c->filling));
    }
    return c->filling;
}

/* The array with room for n more elements; NULL (and the array as it was) without memory. */
static void *grown(void *array, unsigned used, unsigned *cap, unsigned n, size_t size)
{
    unsigned want = *cap ? *cap : 8;
    void *p;

    if (n <= *cap - used)
        return array;
    while (want - used < n) {
        if (want > UINT32_MAX / 4)
            return NULL;
        want *= 2;
    }
    p = realloc(array, want * size);
    if (p)
        *cap = want;
    return p;
}

static void add_own(struct out *o, size_t at, size_t n)
{
    struct piece *last = o->n_pieces ? &o->pieces[o->n_pieces - 1] : NULL;

    if (last && !last->p && last->at + last->n == at)
        last->n += n;
    else
        o->pieces[o->n_pieces++] = (struct piece){.at = at, .n = n};
    o->left += n;
}

static void mark_dirty(struct conn *c)
{
    struct loop *l = c->loop;

    if (c->dirty || c->in_turn)
        return;                         /* the turn's end flushes */
    c->dirty = true;
    c->prev_dirty = NULL;
    c->next_dirty = l->dirty;
    if (l->dirty)
        l->dirty->prev_dirty = c;
    l->dirty = c;
}

static void unmark_dirty(struct conn *c)
{
    if (!c->dirty)
        return;
    c->dirty = false;
    if (c->prev_dirty)
        c->prev_dirty->next_dirty = c->next_dirty;
    else
        c->loop->dirty = c->next_dirty;
    if (c->next_dirty)
        c->next_dirty->prev_dirty = c->prev_dirty;
}

size_t conn_waiting(const struct conn *c)
{
    return (c->filling ? c->filling->left : 0) + (c->writing ? c->writing->left : 0);
}

/* ---- writing ---- */

static void out_push(struct conn *c, struct out *o);

/* The next pieces that the socket has not taken, at most OUT_WINDOW. */
static unsigned window(struct out *o, uv_buf_t *bufs)
{
    unsigned n = 0;
    size_t skip = o->at_byte;

    o->window = 0;
    for (unsigned i = o->at_piece; i < o->n_pieces && n < OUT_WINDOW; i++) {
        const struct piece *e = &o->pieces[i];
        const char *p = (e->p ? e->p : o->bytes.p + e->at) + skip;

        bufs[n].base = (char *)(uintptr_t)p;    /* uv_buf_t has no const; it is only read */
        bufs[n].len = e->n - skip;
        o->window += bufs[n++].len;
        skip = 0;
    }
    return n;
}

static void advance(struct out *o, size_t n)
{
    o->left -= n;
    while (n) {
        size_t here = o->pieces[o->at_piece].n - o->at_byte;
        if (n < here) {
            o->at_byte += n;
            return;
        }
        n -= here;
        o->at_piece++;
        o->at_byte = 0;
    }
}

static void check_pause(struct conn *c)
{
    if (!c->paused && !c->shut && conn_waiting(c) > c->loop->s->conf.out_max) {
        c->paused = true;
        conn_stop_reading(c);
    }
}

static void on_written(uv_write_t *req, int status)
{
    struct conn *c = req->data;
    struct loop *l = c->loop;
    struct out *o = c->writing;

    c->writing = NULL;
    if (status < 0 || c->shut) {
        out_release(l, o);
        if (!c->shut)
            conn_shut(c, NULL);
        return;
    }
    c->active = (int64_t)uv_now(&l->uv);
    advance(o, o->window);
    out_push(c, o);
    conn_flush(c);
    if (c->shut)
        return;
    if (l->finishing && !conn_waiting(c))
        conn_shut(c, NULL);
    else if (c->paused && conn_waiting(c) <= l->s->conf.out_max / 2)
        conn_resume(c);
}

/* Writes o as far as the socket takes it; the rest goes on in on_written. */
static void out_push(struct conn *c, struct out *o)
{
    uv_stream_t *stream = (uv_stream_t *)&c->tcp;
    uv_buf_t bufs[OUT_WINDOW];
    unsigned n;
    int rc;

    while (o->left) {
        n = window(o, bufs);
        rc = uv_try_write(stream, bufs, n);
        if (rc > 0)
            advance(o, (size_t)rc);
        if (rc > 0 && (size_t)rc == o->window)
            continue;
        if (rc < 0 && rc != UV_EAGAIN)
            break;
        n = window(o, bufs);
        o->req.data = c;
        c->writing = o;
        if (uv_write(&o->req, stream, bufs, n, on_written) == 0)
            return;
        c->writing = NULL;
        break;
    }
    if (!o->left)
        c->active = (int64_t)uv_now(&c->loop->uv);
    bool failed = o->left > 0;
    out_release(c->loop, o);
    if (failed)
        conn_shut(c, NULL);     /* the peer is gone: reading would say so too */
}

void conn_flush(struct conn *c)
{
    struct out *o = c->filling;

    unmark_dirty(c);
    if (!o || uv_is_closing((uv_handle_t *)&c->tcp))
        return;
    if (!c->writing) {
        c->filling = NULL;
        out_push(c, o);
    }
    check_pause(c);
}

void out_drop(struct conn *c)
{
    struct out *o = c->filling;

    unmark_dirty(c);
    c->filling = NULL;
    if (o)
        out_release(c->loop, o);
}

/* ---- sending ---- */

/* The bytes that a peer which does not read may make us hold. Beyond it is closed. */
static bool overfull(const struct conn *c)
{
    const struct server_conf *conf = &c->loop->s->conf;
    size_t own = (c->filling ? c->filling->bytes.n : 0) + (c->writing ? c->writing->bytes.n : 0);

    return own > 4 * conf->out_max + conf->frame_max;
}

/* A command's bytes on their way from another thread. */
struct send {
    struct task task;
    struct conn *c;
    struct buf bytes;
    void (*done)(void *arg);
    void *arg;
    int n_iov;
    struct iovec iov[];
};

static size_t iov_bytes(const struct iovec *iov, int n)
{
    size_t sum = 0;

    for (int i = 0; i < n; i++)
        sum += iov[i].iov_len;
    return sum;
}

/* Room for a command with n extents, before anything of it is noted. */
static struct out *out_room(struct conn *c, int n)
{
    struct out *o = out_of(c);
    void *p;

    if (!o)
        return NULL;
    p = grown(o->pieces, o->n_pieces, &o->cap_pieces, (unsigned)n + 1, sizeof(o->pieces[0]));
    if (!p)
        return NULL;
    o->pieces = p;
    p = grown(o->dones, o->n_dones, &o->cap_dones, 1, sizeof(o->dones[0]));
    if (!p)
        return NULL;
    o->dones = p;
    return o;
}

/* On the loop, the conn not shut: notes the extents behind the bytes that were put at `at`. */
static void out_added(struct conn *c, struct out *o, size_t at, const struct iovec *iov, int n,
                      void (*done)(void *arg), void *arg)
{
    add_own(o, at, o->bytes.n - at);
    for (int i = 0; i < n; i++) {
        if (!iov[i].iov_len)
            continue;
        o->pieces[o->n_pieces++] = (struct piece){.p = iov[i].iov_base, .n = iov[i].iov_len};
        o->left += iov[i].iov_len;
    }
    if (done)
        o->dones[o->n_dones++] = (struct done){done, arg};
    mark_dirty(c);
    if (overfull(c)) {
        conn_flush(c);
        if (overfull(c))
            conn_shut(c, "it does not read what it is sent");
    }
}

/* Half a reply would desynchronise the stream, so no memory ends the connection. */
static void no_memory(struct conn *c, void (*done)(void *arg), void *arg)
{
    if (done)
        done(arg);
    conn_shut(c, "no memory for its output");
}

struct gathering {
    char *to;
    const struct iovec *iov;
    int n;
};

static int copy_all(void *arg)
{
    struct gathering *g = arg;
    char *to = g->to;

    for (int i = 0; i < g->n; i++) {
        memcpy(to, g->iov[i].iov_base, g->iov[i].iov_len);
        to += g->iov[i].iov_len;
    }
    return 0;
}

/* Many small extents cost the kernel more than a copy of them (tests/bench/socket_ways). false: they stay where they are,
 * for the socket to read; it also says so when a page of theirs cannot be had. */
static bool gather(struct out *o, const struct iovec *iov, int n)
{
    size_t bytes = iov_bytes(iov, n);
    struct gathering g = {NULL, iov, n};

    if (n < GATHER_FROM || bytes > (size_t)n * GATHER_MEAN || bytes > OUT_KEPT || o->bytes.n > OUT_KEPT - bytes)
        return false;
    g.to = buf_room(&o->bytes, bytes);
    if (!g.to)
        o->bytes.failed = false;
    if (!g.to || bus_guarded(copy_all, &g))
        return false;
    o->bytes.n += bytes;
    return true;
}

static void send_here(struct conn *c, const struct command *cmd, const struct iovec *iov, int n,
                      void (*done)(void *arg), void *arg)
{
    struct out *o;
    size_t at;

    if (c->shut) {
        if (done)
            done(arg);
        return;
    }
    o = out_room(c, n);
    if (!o) {
        no_memory(c, done, arg);
        return;
    }
    at = o->bytes.n;
    if (!command_encode(&o->bytes, cmd, iov_bytes(iov, n))) {
        o->bytes.n = at;
        o->bytes.failed = false;
        no_memory(c, done, arg);
        return;
    }
    if (gather(o, iov, n)) {
        if (done)
            done(arg);
        out_added(c, o, at, NULL, 0, NULL, NULL);
        return;
    }
    out_added(c, o, at, iov, n, done, arg);
}

static void run_send(struct task *t)
{
    struct send *m = (struct send *)t;
    struct conn *c = m->c;
    struct out *o = c->shut ? NULL : out_room(c, m->n_iov);
    size_t at = o ? o->bytes.n : 0;

    if (o)
        buf_put_str(&o->bytes, buf_str(&m->bytes));
    if (!o || buf_failed(&o->bytes)) {
        if (o)
            o->bytes.failed = false;
        if (m->done)
            m->done(m->arg);
        if (!c->shut)
            conn_shut(c, "no memory for its output");
    } else {
        out_added(c, o, at, m->iov, m->n_iov, m->done, m->arg);
    }
    buf_free(&m->bytes);
    conn_drop(c);
    free(m);
}

static void send_there(struct conn *c, const struct command *cmd, const struct iovec *iov, int n,
                       void (*done)(void *arg), void *arg)
{
    struct send *m = conn_open(c) ? calloc(1, sizeof(*m) + (size_t)n * sizeof(m->iov[0])) : NULL;

    if (!m || !command_encode(&m->bytes, cmd, iov_bytes(iov, n))) {
        if (done)
            done(arg);
        if (m)
            buf_free(&m->bytes);
        free(m);
        if (conn_open(c)) {
            log_error("%s: no memory for its output", c->peer);
            conn_close(c);
        }
        return;
    }
    m->task.run = run_send;
    m->c = conn_hold(c);
    m->done = done;
    m->arg = arg;
    m->n_iov = n;
    if (n)
        memcpy(m->iov, iov, (size_t)n * sizeof(iov[0]));
    loop_push(c->loop, &m->task);
}

void conn_send_extents(struct conn *c, const struct command *cmd, const struct iovec *iov, int n,
                       void (*done)(void *arg), void *arg)
{
    if (loop_here == c->loop)
        send_here(c, cmd, iov, n, done, arg);
    else
        send_there(c, cmd, iov, n, done, arg);
}

void conn_send(struct conn *c, const struct command *cmd)
{
    conn_send_extents(c, cmd, NULL, 0, NULL, NULL);
}
