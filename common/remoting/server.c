#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/remoting/server_priv.h"
#include "common/thread.h"

#define BACKGROUND_THREADS 4
#define ACCEPTS_A_ROUND 64          /* so that a storm of connections does not starve loop 0's own */

/* ---- listening ---- */

static int bound_port(int fd)
{
    struct sockaddr_storage sa;
    socklen_t n = sizeof(sa);

    if (getsockname(fd, (struct sockaddr *)&sa, &n))
        return -errno;
    return ntohs(sa.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&sa)->sin6_port
                                          : ((struct sockaddr_in *)&sa)->sin_port);
}

/* A socket that listens at one resolved address, or -errno. */
static int listen_at(const struct addrinfo *ai, int backlog)
{
    int on = 1, off = 0, err;
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (ai->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    if (bind(fd, ai->ai_addr, ai->ai_addrlen) == 0 && listen(fd, backlog) == 0)
        return fd;
    err = errno;
    close(fd);
    return -err;
}

static int listener_open(struct listener *l, const struct server_conf *conf, int port, struct fault *f)
{
    struct addrinfo hints = {.ai_flags = AI_PASSIVE, .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *ai;
    char service[16];
    int rc;

    snprintf(service, sizeof(service), "%d", port);
    rc = getaddrinfo(conf->bind, service, &hints, &ai);
    if (rc)
        return fault_set(f, RC_SYSTEM_ERROR, EADDRNOTAVAIL, "address %s to listen at: %s", conf->bind, gai_strerror(rc));
    rc = listen_at(ai, conf->backlog);
    freeaddrinfo(ai);
    if (rc >= 0) {
        l->fd = rc;
        rc = l->port = bound_port(l->fd);
    }
    if (rc < 0)
        return fault_errno(f, -rc, "listening at %s:%d", conf->bind, port);
    return 0;
}

/* ---- accepting: loop 0 accepts and deals out ---- */

struct arrival {
    struct task task;
    struct loop *l;
    int fd, port_index;
    struct sockaddr_storage addr;
};

static void run_arrival(struct task *t)
{
    struct arrival *a = (struct arrival *)t;

    conn_new(a->l, a->fd, a->port_index, &a->addr);
    free(a);
}

/* The loop with the fewest connections; equals take turns. */
static struct loop *next_loop(struct server *s)
{
    struct loop *best = NULL;

    for (int i = 0; i < s->n_loops; i++) {
        struct loop *l = &s->loops[(s->next_loop + (unsigned)i) % (unsigned)s->n_loops];
        if (!best || atomic_load(&l->n_conns) < atomic_load(&best->n_conns))
            best = l;
    }
    s->next_loop = (unsigned)best->index + 1;
    return best;
}

static void deal_out(struct listener *li, int fd, const struct sockaddr_storage *addr)
{
    struct server *s = li->s;
    struct loop *l = next_loop(s);
    struct arrival *a;

    if (server_conns(s) >= s->conf.conns_max) {
        int64_t now = mono_ms();
        if (now - s->full_logged >= 1000) {
            s->full_logged = now;
            log_warn("%s: all %d connections are in use, more are closed at once", s->conf.name, s->conf.conns_max);
        }
        close(fd);
        return;
    }
    atomic_fetch_add(&l->n_conns, 1);
    if (l->index == 0) {
        conn_new(l, fd, li->index, addr);
        return;
    }
    a = malloc(sizeof(*a));
    if (!a) {
        atomic_fetch_sub(&l->n_conns, 1);
        close(fd);
        return;
    }
    *a = (struct arrival){.task.run = run_arrival, .l = l, .fd = fd, .port_index = li->index, .addr = *addr};
    loop_push(l, &a->task);
}

static void on_acceptable(uv_poll_t *h, int status, int events)
{
    struct listener *li = h->data;

    for (int i = 0; i < ACCEPTS_A_ROUND; i++) {
        struct sockaddr_storage addr = {0};
        socklen_t n = sizeof(addr);
        int fd = accept4(li->fd, (struct sockaddr *)&addr, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0) {
            deal_out(li, fd, &addr);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
            /* The waiting peer keeps the socket readable: without a rest this would spin. */
            log_error("%s: accepting: %s; trying again soon", li->s->conf.name, strerror(errno));
            uv_poll_stop(&li->poll);
            li->resting = true;
        } else if (errno == EINTR || errno == ECONNABORTED) {
            continue;
        }
        return;
    }
}

void server_rest_over(struct server *s)
{
    for (int i = 0; i < 2; i++) {
        struct listener *li = &s->listeners[i];
        if (li->resting && !uv_is_closing((uv_handle_t *)&li->poll)) {
            li->resting = false;
            uv_poll_start(&li->poll, UV_READABLE, on_acceptable);
        }
    }
}

static void on_listener_closed(uv_handle_t *h)
{
    struct listener *li = h->data;

    close(li->fd);
    li->fd = -1;
}

void server_stop_listening(struct server *s)
{
    for (int i = 0; i < 2; i++)
        if (s->listeners[i].polled)
            uv_close((uv_handle_t *)&s->listeners[i].poll, on_listener_closed);
}

/* ---- open, run, stop ---- */

static void conf_fill(struct server_conf *c)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    if (!c->bind)
        c->bind = "0.0.0.0";
    if (c->loops <= 0)
        c->loops = cores > 1 ? (int)cores - 1 : 1;      /* the kernel's network, the disk's and the mount's threads have one */
    if (c->workers <= 0)
        c->workers = 2;
    if (c->worker_queue <= 0)
        c->worker_queue = 10000;
    if (!c->frame_max || c->frame_max > INT32_MAX)
        c->frame_max = FRAME_MAX;
    if (c->conns_max <= 0)
        c->conns_max = 65535;
    if (!c->out_max)
        c->out_max = 4 * 1024 * 1024;
    if (!c->kept_max)
        c->kept_max = 256 * 1024 * 1024;
    if (c->backlog <= 0)
        c->backlog = 1024;
}

/* The parts that server_free takes down again, whichever were made. */
static int open_parts(struct server *s, struct fault *f)
{
    int rc = ops_index(s);

    if (rc == -EINVAL)
        return fault_set(f, RC_SYSTEM_ERROR, EINVAL, "the operations of %s are not in ascending order", s->conf.name);
    s->counts = calloc(s->ops.n_ops + 1, sizeof(*s->counts));
    s->loops = calloc((size_t)s->conf.loops, sizeof(*s->loops));
    if (rc || !s->counts || !s->loops)
        return fault_errno(f, ENOMEM, "opening the server");
    if ((rc = workers_open(&s->workers, s->conf.workers, s->conf.worker_queue, false)) != 0 ||
        (rc = workers_open(&s->background, BACKGROUND_THREADS, s->conf.worker_queue, true)) != 0)
        return fault_errno(f, -rc, "opening worker threads");
    for (; s->n_loops < s->conf.loops; s->n_loops++)
        if ((rc = loop_open(&s->loops[s->n_loops], s, s->n_loops)) != 0)
            return fault_errno(f, -rc, "opening a network loop");
    for (int i = 0; i < 2; i++) {
        struct listener *li = &s->listeners[i];
        if (s->conf.ports[i] < 0)
            continue;
        if ((rc = listener_open(li, &s->conf, s->conf.ports[i], f)) != 0)
            return rc;
        if ((rc = uv_poll_init(&s->loops[0].uv, &li->poll, li->fd)) != 0)
            return fault_errno(f, -rc, "polling port %d", li->port);
        li->poll.data = li;
        li->polled = true;
    }
    return 0;
}

int server_open(const struct server_conf *conf, const struct server_ops *ops, struct server **out,
                struct fault *f)
{
    struct server *s = calloc(1, sizeof(*s));
    int rc;

    if (!s)
        return fault_errno(f, ENOMEM, "opening the server");
    s->conf = *conf;
    conf_fill(&s->conf);
    s->ops = *ops;
    for (int i = 0; i < 2; i++)
        s->listeners[i] = (struct listener){.s = s, .fd = -1, .index = i};
    pthread_mutex_init(&s->pending_lock, NULL);
    cond_init(&s->pending_less);
    s->conf.name = strdup(conf->name ? conf->name : "server");
    rc = s->conf.name ? open_parts(s, f) : fault_errno(f, ENOMEM, "opening the server");
    if (rc) {
        server_free(s);
        return rc;
    }
    *out = s;
    return 0;
}

int server_run(struct server *s)
{
    int rc = workers_start(&s->workers);

    rc = rc ? rc : workers_start(&s->background);
    for (int i = 0; i < 2 && !rc; i++)
        if (s->listeners[i].polled)
            rc = uv_poll_start(&s->listeners[i].poll, UV_READABLE, on_acceptable);
    for (int i = 0; i < s->n_loops && !rc; i++)
        rc = loop_start(&s->loops[i]);
    return rc;
}

/* Waits until no kept request is left, at most until the deadline. */
static void wait_pending(struct server *s, int64_t deadline)
{
    struct timespec until = {.tv_sec = deadline / 1000, .tv_nsec = deadline % 1000 * 1000000};

    pthread_mutex_lock(&s->pending_lock);
    while (s->pending > 0)
        if (pthread_cond_timedwait(&s->pending_less, &s->pending_lock, &until) == ETIMEDOUT)
            break;
    pthread_mutex_unlock(&s->pending_lock);
}

void server_stop(struct server *s, int wait_ms)
{
    int64_t deadline = mono_ms() + wait_ms, left;

    if (s->stopped)
        return;
    s->stopped = true;
    for (int i = 0; i < s->n_loops; i++)
        loop_quiet(&s->loops[i]);
    wait_pending(s, deadline);
    atomic_store(&s->hurry, true);
    workers_close(&s->workers);
    workers_close(&s->background);
    left = deadline - mono_ms();
    for (int i = 0; i < s->n_loops; i++)
        loop_finish(&s->loops[i], left > 0 ? (int)left : 0);
    for (int i = 0; i < s->n_loops; i++)
        loop_join(&s->loops[i]);
}

void server_free(struct server *s)
{
    if (!s)
        return;
    server_stop(s, 0);
    for (int i = 0; i < s->n_loops; i++)
        loop_free(&s->loops[i]);
    for (int i = 0; i < 2; i++)
        if (s->listeners[i].fd >= 0)
            close(s->listeners[i].fd);
    workers_free(&s->workers);
    workers_free(&s->background);
    pthread_cond_destroy(&s->pending_less);
    pthread_mutex_destroy(&s->pending_lock);
    free(s->loops);
    free(s->counts);
    free(s->direct);
    free((char *)(uintptr_t)s->conf.name);
    free(s);
}

/* ---- what others ask ---- */

int server_port(const struct server *s, int i)
{
    return s->listeners[i].port;
}

int server_conns(const struct server *s)
{
    int n = 0;

    for (int i = 0; i < s->n_loops; i++)
        n += atomic_load_explicit(&s->loops[i].n_conns, memory_order_relaxed);
    return n;
}

void server_counts(const struct server *s, size_t op_index, struct op_count *out)
{
    *out = (struct op_count){
        .requests = atomic_load_explicit(&s->counts[op_index].requests, memory_order_relaxed),
        .refused = atomic_load_explicit(&s->counts[op_index].refused, memory_order_relaxed),
    };
    for (int i = 0; i < s->n_loops; i++) {
        out->requests += atomic_load_explicit(&s->loops[i].counts[op_index].requests, memory_order_relaxed);
        out->refused += atomic_load_explicit(&s->loops[i].counts[op_index].refused, memory_order_relaxed);
    }
}

bool server_work(struct server *s, int64_t due, void (*fn)(void *arg), void *arg)
{
    return workers_push(&s->background, due, fn, arg);
}
