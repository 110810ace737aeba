/* Threads: the loop's thread owns links, sockets and asks. Other threads only
 * put new asks on a list and wake it. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

#include "common/log.h"
#include "common/remoting/client.h"
#include "common/remoting/rebase.h"
#include "common/thread.h"

#define TICK_MS 50                  /* resolution of timeouts, while something waits */
#define READ_STEP 65536

struct ask {
    struct ask *next;               /* in client.fresh, then in its link */
    char *addr;
    int32_t opaque;
    int timeout_ms;
    int64_t deadline;               /* uv_now */
    struct buf bytes;               /* its frame, until sent */
    void (*cb)(void *arg, const struct command *reply, const char *why);
    void *arg;
    struct call *call;              /* of client_call, instead of cb */
};

/* One address. Without a socket it is down; the next ask brings it up. */
struct link {
    struct link *next;
    struct client *c;
    char *addr;
    char host[256], port[8];
    struct ask *asks;               /* not ended: waiting for the connection, or for an answer */
    bool resolving;
    bool up;                        /* sock is connected */
    int64_t connect_by;             /* uv_now; while resolving or connecting */
    struct sock *sock;
    uv_getaddrinfo_t resolve;
};

struct sock {
    uv_tcp_t tcp;
    uv_connect_t connect;
    struct link *link;              /* NULL once given up */
    struct buf in;
};

struct sending {
    uv_write_t req;
    struct buf bytes;
};

struct client {
    uv_loop_t uv;
    uv_async_t wake;
    uv_timer_t tick;
    pthread_t thread;
    pthread_mutex_t lock;           /* guards fresh and closing; nothing else is taken under it */
    struct ask *fresh;              /* newest first */
    bool closing;
    struct link *links;
    unsigned n_asks;
    atomic_int opaques;
};

/* client_call's waiting thread. */
struct call {
    pthread_mutex_t lock;           /* guards the rest; nothing else is taken under it */
    pthread_cond_t over;
    bool done;
    int err;
    char why[300];
    struct command *reply;
    struct buf *frame;
};

/* ---- the end of an ask ---- */

static void call_end(struct call *w, const struct command *reply, struct str frame, int err, const char *why)
{
    pthread_mutex_lock(&w->lock);
    if (reply) {
        buf_put_str(w->frame, frame);
        if (buf_failed(w->frame)) {
            err = ENOMEM;
            why = "no memory for the answer";
        } else {
            command_rebase(w->reply, reply, frame.p, frame.n, w->frame->p);
        }
    }
    w->err = err;
    snprintf(w->why, sizeof(w->why), "%s", why ? why : "");
    w->done = true;
    pthread_cond_signal(&w->over);
    pthread_mutex_unlock(&w->lock);
}

/* a is in no list any more. With reply, frame is where its texts lie; without, err and why say what failed. */
static void ask_end(struct ask *a, const struct command *reply, struct str frame, int err, const char *why)
{
    if (a->call)
        call_end(a->call, reply, frame, err, why);
    else if (a->cb)
        a->cb(a->arg, reply, why);
    buf_free(&a->bytes);
    free(a->addr);
    free(a);
}

static void ask_fail(struct ask *a, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void ask_fail(struct ask *a, int err, const char *fmt, ...)
{
    char why[300];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(why, sizeof(why), fmt, ap);
    va_end(ap);
    ask_end(a, NULL, (struct str){0}, err, why);
}

static struct ask *take(struct link *l, struct ask **at)
{
    struct ask *a = *at;

    *at = a->next;
    l->c->n_asks--;
    return a;
}

/* ---- links and sockets ---- */

static void on_sock_closed(uv_handle_t *h)
{
    struct sock *s = h->data;

    buf_free(&s->in);
    free(s);
}

static void drop_sock(struct link *l)
{
    if (!l->sock)
        return;
    l->sock->link = NULL;
    uv_close((uv_handle_t *)&l->sock->tcp, on_sock_closed);
    l->sock = NULL;
    l->up = false;
}

/* The connection failed or ended: so did all that waited for it. */
static void link_down(struct link *l, int err, const char *what)
{
    struct ask *list = l->asks;

    drop_sock(l);
    l->asks = NULL;             /* callbacks may ask again at once */
    for (struct ask *a = list; a; a = a->next)
        l->c->n_asks--;
    while (list) {
        struct ask *a = list;
        list = a->next;
        ask_fail(a, err, "%s: %s", l->addr, what);
    }
}

static void on_sent(uv_write_t *req, int status)
{
    struct sending *m = (struct sending *)req;      /* a failed write shows as a failed read too */

    buf_free(&m->bytes);
    free(m);
}

static int write_frame(struct link *l, struct buf *bytes)
{
    struct sending *m = malloc(sizeof(*m));
    uv_buf_t b;
    int rc;

    if (!m)
        return -ENOMEM;
    m->bytes = *bytes;
    *bytes = (struct buf){0};
    b = uv_buf_init(m->bytes.p, (unsigned)m->bytes.n);
    rc = uv_write(&m->req, (uv_stream_t *)&l->sock->tcp, &b, 1, on_sent);
    if (rc)
        on_sent(&m->req, rc);
    return rc;
}

/* Sends what waits for the connection; one-way asks end with that. */
static void send_waiting(struct link *l)
{
    for (struct ask **at = &l->asks; *at && l->up;) {
        struct ask *a = *at;
        int rc = a->bytes.n ? write_frame(l, &a->bytes) : 0;

        if (rc) {
            ask_fail(take(l, at), -rc, "%s: %s", l->addr, uv_strerror(rc));
        } else if (!a->cb && !a->call) {
            ask_end(take(l, at), NULL, (struct str){0}, 0, NULL);
        } else {
            at = &a->next;
        }
    }
}

/* ---- reading ---- */

/* The peer asks us something: nothing is served here. */
static void refuse(struct link *l, const struct command *in)
{
    struct command out;
    struct buf b = {0};
    char text[64];

    if (in->flag & FLAG_ONEWAY)
        return;
    snprintf(text, sizeof(text), " request type %d not supported", in->code);
    out.code = RC_REQUEST_CODE_NOT_SUPPORTED;
    out.opaque = in->opaque;
    out.flag = FLAG_RESPONSE;
    out.version = VERSION_V5_5_0;
    out.language = LANG_OTHER;
    out.serialize = in->serialize;
    out.remark = str_of(text);
    out.n_ext = 0;
    out.body = (struct str){0};
    if (command_encode(&b, &out, 0))
        write_frame(l, &b);
    buf_free(&b);
}

static void answered(struct link *l, const struct command *reply, struct str frame)
{
    for (struct ask **at = &l->asks; *at; at = &(*at)->next)
        if ((*at)->opaque == reply->opaque) {
            ask_end(take(l, at), reply, frame, 0, NULL);
            return;
        }
    log_debug("%s answered opaque %d, which nobody waits for", l->addr, reply->opaque);
}

/* Hands out the complete frames of the socket's input. 0 or -EBADMSG. */
static int take_frames(struct sock *s)
{
    size_t used = 0;

    while (s->link) {
        int64_t len = frame_length(s->in.p + used, s->in.n - used, FRAME_MAX);
        struct command cmd;

        if (len < 0)
            return -EBADMSG;
        if (len == 0 || (uint64_t)len > s->in.n - used)
            break;
        if (command_decode(s->in.p + used, (size_t)len, &cmd))
            return -EBADMSG;
        if (cmd.flag & FLAG_RESPONSE)
            answered(s->link, &cmd, str_n(s->in.p + used, (size_t)len));
        else
            refuse(s->link, &cmd);
        used += (size_t)len;
    }
    if (used == s->in.n) {
        buf_free(&s->in);
    } else if (used) {
        memmove(s->in.p, s->in.p + used, s->in.n - used);
        s->in.n -= used;
    }
    return 0;
}

static void on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *out)
{
    struct sock *s = h->data;
    char *p = buf_room(&s->in, READ_STEP);

    *out = uv_buf_init(p, p ? READ_STEP : 0);
}

static void on_read(uv_stream_t *h, ssize_t n, const uv_buf_t *b)
{
    struct sock *s = h->data;

    if (n == 0 || !s->link)
        return;
    if (n < 0) {
        link_down(s->link, ECONNRESET, n == UV_EOF ? "the connection was closed" : uv_strerror((int)n));
        return;
    }
    s->in.n += (size_t)n;
    if (take_frames(s) && s->link) {
        log_warn("%s sent a broken frame", s->link->addr);
        link_down(s->link, ECONNRESET, "sent a broken frame");
    }
}

/* ---- connecting ---- */

static void on_connected(uv_connect_t *req, int status)
{
    struct sock *s = req->data;
    struct link *l = s->link;

    if (!l)
        return;
    if (!status)
        status = uv_read_start((uv_stream_t *)&s->tcp, on_alloc, on_read);
    if (status) {
        char what[128];
        snprintf(what, sizeof(what), "connecting: %s", uv_strerror(status));
        link_down(l, -status, what);
        return;
    }
    uv_tcp_nodelay(&s->tcp, 1);
    l->up = true;
    send_waiting(l);
}

static int connect_to(struct link *l, const struct sockaddr *sa)
{
    struct sock *s = calloc(1, sizeof(*s));
    int rc;

    if (!s)
        return -ENOMEM;
    if ((rc = uv_tcp_init(&l->c->uv, &s->tcp)) != 0) {
        free(s);
        return rc;
    }
    s->tcp.data = s->connect.data = s;
    s->link = l;
    l->sock = s;
    rc = uv_tcp_connect(&s->connect, &s->tcp, sa, on_connected);
    if (rc)
        drop_sock(l);
    return rc;
}

static void on_resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *ai)
{
    struct link *l = req->data;

    l->resolving = false;
    if (!status && l->asks)         /* else they all timed out meanwhile */
        status = connect_to(l, ai->ai_addr);
    uv_freeaddrinfo(ai);
    if (status) {
        char what[128];
        snprintf(what, sizeof(what), "resolving its name or connecting: %s", uv_strerror(status));
        link_down(l, EHOSTUNREACH, what);
    }
}

static void link_up(struct link *l)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    int rc;

    l->connect_by = (int64_t)uv_now(&l->c->uv) + CLIENT_CONNECT_MS;
    l->resolve.data = l;
    rc = uv_getaddrinfo(&l->c->uv, &l->resolve, on_resolved, l->host, l->port, &hints);
    if (rc)
        link_down(l, EHOSTUNREACH, uv_strerror(rc));
    else
        l->resolving = true;
}

/* Splits "host:port" or "[v6]:port". 0 or -EINVAL. */
static int split_addr(const char *addr, char host[256], char port[8])
{
    const char *colon = strrchr(addr, ':');
    struct str h;
    int32_t n;

    if (!colon)
        return -EINVAL;
    h = str_n(addr, (size_t)(colon - addr));
    if (h.n >= 2 && h.p[0] == '[' && h.p[h.n - 1] == ']')
        h = str_n(h.p + 1, h.n - 2);
    if (!h.n || !str_copy(host, 256, h))
        return -EINVAL;
    if (str_i32(str_of(colon + 1), &n) || n < 1 || n > 65535)
        return -EINVAL;
    snprintf(port, 8, "%d", (int)n);
    return 0;
}

static struct link *link_of(struct client *c, const char *addr, int *err)
{
    struct link *l;

    for (l = c->links; l; l = l->next)
        if (strcmp(l->addr, addr) == 0)
            return l;
    l = calloc(1, sizeof(*l));
    *err = ENOMEM;
    if (!l || !(l->addr = strdup(addr)))
        goto failed;
    *err = EINVAL;
    if (split_addr(addr, l->host, l->port))
        goto failed;
    l->c = c;
    l->next = c->links;
    c->links = l;
    return l;

failed:
    if (l)
        free(l->addr);
    free(l);
    return NULL;
}

/* ---- the loop ---- */

static void on_tick(uv_timer_t *h);

static void ask_start(struct client *c, struct ask *a)
{
    int err;
    struct link *l = link_of(c, a->addr, &err);
    struct ask **end;

    if (!l) {
        ask_fail(a, err, "%s: %s", a->addr, err == EINVAL ? "is not host:port" : strerror(err));
        return;
    }
    a->deadline = (int64_t)uv_now(&c->uv) + a->timeout_ms;
    a->next = NULL;
    for (end = &l->asks; *end; end = &(*end)->next)
        continue;
    *end = a;
    if (c->n_asks++ == 0)
        uv_timer_start(&c->tick, on_tick, TICK_MS, TICK_MS);
    if (l->up)
        send_waiting(l);
    else if (!l->sock && !l->resolving)
        link_up(l);
}

/* Ends what has waited too long on one link. */
static void link_tick(struct link *l, int64_t now)
{
    struct ask *over = NULL;

    for (struct ask **at = &l->asks; *at;) {
        if ((*at)->deadline > now) {
            at = &(*at)->next;
            continue;
        }
        struct ask *a = take(l, at);
        a->next = over;
        over = a;
    }
    while (over) {
        struct ask *a = over;
        over = a->next;
        ask_fail(a, ETIMEDOUT, "%s: %s in %d ms", l->addr, a->bytes.n ? "no connection" : "no answer", a->timeout_ms);
    }
    if (l->sock && !l->up && now >= l->connect_by)
        link_down(l, ETIMEDOUT, "connecting took too long");
}

static void on_tick(uv_timer_t *h)
{
    struct client *c = h->data;

    for (struct link *l = c->links; l; l = l->next)     /* none is freed before the end */
        link_tick(l, (int64_t)uv_now(&c->uv));
    if (!c->n_asks)
        uv_timer_stop(&c->tick);
}

static void shut_all(struct client *c)
{
    for (struct link *l = c->links; l; l = l->next) {
        link_down(l, ECANCELED, "the client was closed");
        if (l->resolving)
            uv_cancel((uv_req_t *)&l->resolve);
    }
    if (!uv_is_closing((uv_handle_t *)&c->wake)) {
        uv_close((uv_handle_t *)&c->wake, NULL);
        uv_close((uv_handle_t *)&c->tick, NULL);
    }
}

static void on_wake(uv_async_t *h)
{
    struct client *c = h->data;
    struct ask *fresh, *list = NULL;
    bool closing;

    pthread_mutex_lock(&c->lock);
    fresh = c->fresh;
    c->fresh = NULL;
    closing = c->closing;
    pthread_mutex_unlock(&c->lock);
    while (fresh) {             /* oldest first */
        struct ask *a = fresh;
        fresh = a->next;
        a->next = list;
        list = a;
    }
    while (list) {
        struct ask *a = list;
        list = a->next;
        if (closing)
            ask_fail(a, ECANCELED, "%s: the client was closed", a->addr);
        else
            ask_start(c, a);
    }
    if (closing)
        shut_all(c);
}

static void *client_main(void *arg)
{
    struct client *c = arg;

    uv_run(&c->uv, UV_RUN_DEFAULT);
    return NULL;
}

/* ---- the door ---- */

int client_open(struct client **out, struct fault *f)
{
    struct client *c = calloc(1, sizeof(*c));
    int rc;

    if (!c)
        return fault_errno(f, ENOMEM, "opening the client");
    if ((rc = uv_loop_init(&c->uv)) != 0) {
        free(c);
        return fault_errno(f, -rc, "opening the client's loop");
    }
    pthread_mutex_init(&c->lock, NULL);
    uv_timer_init(&c->uv, &c->tick);
    c->wake.data = c->tick.data = c;
    rc = uv_async_init(&c->uv, &c->wake, on_wake);
    if (!rc)
        rc = thread_start(&c->thread, "client", client_main, c);
    if (!rc) {
        *out = c;
        return 0;
    }
    if (c->wake.type == UV_ASYNC)
        uv_close((uv_handle_t *)&c->wake, NULL);
    uv_close((uv_handle_t *)&c->tick, NULL);
    uv_run(&c->uv, UV_RUN_DEFAULT);
    uv_loop_close(&c->uv);
    pthread_mutex_destroy(&c->lock);
    free(c);
    return fault_errno(f, -rc, "starting the client's thread");
}

void client_close(struct client *c)
{
    if (!c)
        return;
    pthread_mutex_lock(&c->lock);
    c->closing = true;
    pthread_mutex_unlock(&c->lock);
    uv_async_send(&c->wake);
    pthread_join(c->thread, NULL);
    uv_loop_close(&c->uv);
    while (c->links) {
        struct link *l = c->links;
        c->links = l->next;
        free(l->addr);
        free(l);
    }
    pthread_mutex_destroy(&c->lock);
    free(c);
}

static struct ask *ask_make(struct client *c, const char *addr, struct command *cmd, int timeout_ms, bool oneway)
{
    struct ask *a = calloc(1, sizeof(*a));

    if (!a)
        return NULL;
    cmd->opaque = a->opaque = atomic_fetch_add(&c->opaques, 1) + 1;
    cmd->flag = oneway ? FLAG_ONEWAY : 0;
    cmd->version = VERSION_V5_5_0;
    cmd->language = LANG_OTHER;
    a->timeout_ms = timeout_ms;
    a->addr = strdup(addr);
    if (a->addr && command_encode(&a->bytes, cmd, 0))
        return a;
    buf_free(&a->bytes);
    free(a->addr);
    free(a);
    return NULL;
}

/* Gives a to the thread; false once closing, and then a is the caller's still. */
static bool ask_push(struct client *c, struct ask *a)
{
    bool taken;

    pthread_mutex_lock(&c->lock);
    taken = !c->closing;
    if (taken) {
        a->next = c->fresh;
        c->fresh = a;
    }
    pthread_mutex_unlock(&c->lock);
    if (taken)
        uv_async_send(&c->wake);
    return taken;
}

void client_ask(struct client *c, const char *addr, struct command *cmd, int timeout_ms,
                void (*cb)(void *arg, const struct command *reply, const char *why), void *arg)
{
    struct ask *a = ask_make(c, addr, cmd, timeout_ms, !cb);

    if (!a) {
        if (cb)
            cb(arg, NULL, "no memory to ask");
        return;
    }
    a->cb = cb;
    a->arg = arg;
    if (!ask_push(c, a))
        ask_fail(a, ECANCELED, "%s: the client was closed", a->addr);
}

int client_call(struct client *c, const char *addr, struct command *cmd, int timeout_ms,
                struct command *reply, struct buf *frame, struct fault *f)
{
    struct call w = {.reply = reply, .frame = frame};
    struct ask *a;

    if (pthread_equal(pthread_self(), c->thread))
        return fault_set(f, RC_SYSTEM_ERROR, EDEADLK, "a call to %s from the client's own thread", addr);
    *frame = (struct buf){0};
    a = ask_make(c, addr, cmd, timeout_ms, false);
    if (!a)
        return fault_errno(f, ENOMEM, "calling %s", addr);
    pthread_mutex_init(&w.lock, NULL);
    pthread_cond_init(&w.over, NULL);
    a->call = &w;
    if (!ask_push(c, a))
        ask_fail(a, ECANCELED, "%s: the client was closed", addr);
    pthread_mutex_lock(&w.lock);
    while (!w.done)
        pthread_cond_wait(&w.over, &w.lock);
    pthread_mutex_unlock(&w.lock);
    pthread_cond_destroy(&w.over);
    pthread_mutex_destroy(&w.lock);
    if (w.err) {
        buf_free(frame);
        return fault_set(f, RC_SYSTEM_ERROR, w.err, "%s", w.why);
    }
    return 0;
}
