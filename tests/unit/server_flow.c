/* The remoting server over time: output that waits, asks, limits, idle
 * connections, dealing out, and the stop. R-NET-02, R-NET-03. */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "common/bus_guard.h"
#include "common/log.h"
#include "common/remoting/server_priv.h"
#include "tests/unit/peer.h"
#include "tests/unit/tap.h"

#undef ECHO                          /* termios.h has one */
enum { ECHO = 100, EXTENTS, EXTENTS_LATER, ASK, LOOP, HOLD, SLOW, SMALL = 110, CUT };

#define PATTERN 1048576
#define PIECES 300                  /* of PATTERN, unequal: more than one writev takes */

static char pattern[PATTERN];
static atomic_int n_extents, n_done, n_closed, n_asked, n_null, n_posted;
static _Atomic(struct conn *) held;

static void do_echo(struct request *r)
{
    reply_body(r, request_cmd(r)->body);
}

static void on_done(void *arg)
{
    n_done++;
}

static void reply_pattern(struct request *r)
{
    struct iovec iov[PIECES];
    struct command out;
    size_t at = 0;

    for (int i = 0; i < PIECES; i++) {
        size_t n = i == PIECES - 1 ? PATTERN - at : i == 7 ? 0 : (size_t)i * 11 + 1;
        iov[i] = (struct iovec){pattern + at, n};
        at += n;
    }
    n_extents++;
    reply_start(r, &out, RC_SUCCESS);
    reply_extents(r, &out, iov, PIECES, on_done, NULL);
}

#define SMALL_PIECES 20
#define SMALL_SIZE 100

static char *cut_map;                /* of a file that has become shorter */

static void reply_small(struct request *r)
{
    const char *from = request_cmd(r)->code == CUT ? cut_map : pattern;
    struct iovec iov[SMALL_PIECES];
    struct command out;

    for (int i = 0; i < SMALL_PIECES; i++)
        iov[i] = (struct iovec){(char *)(uintptr_t)from + i * SMALL_SIZE, i == 3 ? 0 : SMALL_SIZE};
    reply_start(r, &out, RC_SUCCESS);
    reply_extents(r, &out, iov, SMALL_PIECES, on_done, NULL);
}

static void *extents_later(void *arg)
{
    reply_pattern(arg);
    request_free(arg);
    return NULL;
}

static void do_extents_later(struct request *r)
{
    pthread_t t;

    if (pthread_create(&t, NULL, extents_later, request_keep(r)))
        abort();
    pthread_detach(t);
}

static void on_answer(void *arg, const struct command *answer)
{
    struct request *r = arg;

    if (!request_on_loop(r))
        abort();
    if (answer) {
        n_asked++;
        reply(r, answer->code, "%.*s", STR_ARG(answer->body));
    } else {
        n_null++;
        reply(r, RC_SYSTEM_ERROR, "no answer");
    }
    request_free(r);
}

static void do_ask(struct request *r)
{
    struct command c = peer_cmd(40, 0);

    c.body = str_of("are you there?");
    conn_ask(request_conn(r), &c, 300, on_answer, request_keep(r));
}

static void *ask_elsewhere(void *arg)
{
    struct command c = {.code = 41};

    conn_ask(request_conn(arg), &c, 300, on_answer, arg);
    return NULL;
}

static void do_loop(struct request *r)
{
    reply(r, RC_SUCCESS, "%d", request_conn(r)->loop->index);
}

static void do_hold(struct request *r)
{
    struct conn *old = atomic_exchange(&held, conn_hold(request_conn(r)));

    if (old)
        conn_drop(old);
    reply(r, RC_SUCCESS, NULL);
}

static void do_slow(struct request *r)
{
    usleep(20000);
    reply(r, RC_SUCCESS, NULL);
}

static void do_ask_elsewhere(struct request *r)
{
    pthread_t t;

    if (pthread_create(&t, NULL, ask_elsewhere, request_keep(r)))
        abort();
    pthread_detach(t);
}

static const struct op ops[] = {
    {ECHO, "ECHO", do_echo, 0, ""},
    {EXTENTS, "EXTENTS", reply_pattern, 0, ""},
    {EXTENTS_LATER, "EXTENTS_LATER", do_extents_later, 0, ""},
    {ASK, "ASK", do_ask, 0, ""},
    {LOOP, "LOOP", do_loop, 0, ""},
    {HOLD, "HOLD", do_hold, 0, ""},
    {SLOW, "SLOW", do_slow, OP_WORKER, ""},
    {107, "ASK_ELSEWHERE", do_ask_elsewhere, 0, ""},
    {SMALL, "SMALL", reply_small, 0, ""},
    {CUT, "CUT", reply_small, 0, ""},
};
#define N_OPS (sizeof(ops) / sizeof(ops[0]))

static void on_closed(void *ctx, struct conn *c)
{
    n_closed++;
}

static struct server *start(struct server_conf conf)
{
    struct server_ops o = {.ops = ops, .n_ops = N_OPS, .closed = on_closed};
    struct server *s;
    struct fault f = {0};

    conf.bind = "127.0.0.1";
    conf.name = "test";
    conf.ports[1] = -1;
    n_closed = n_done = 0;
    if (server_open(&conf, &o, &s, &f) || server_run(s)) {
        printf("Bail out! %s\n", f.text);
        exit(2);
    }
    return s;
}

/* ---- output ---- */

static void test_extents(struct server *s, int code)
{
    struct peer p = peer_open(server_port(s, 0));
    bool good = true;
    int n;

    n_done = 0;
    for (int i = 0; i < 10; i++) {
        struct command c = peer_cmd(code, i);
        peer_send(&p, &c);
    }
    usleep(20000);      /* lets the socket fill up */
    for (n = 0; n < 10 && good; n++) {
        struct command r;
        good = peer_recv(&p, &r) == PEER_FRAME && str_eq(r.body, str_n(pattern, PATTERN));
        good &= code != EXTENTS || r.opaque == n;
    }
    ok(good && n == 10, "code %d: 10 MiB in %d pieces come whole through a full socket", code, PIECES);
    wait_until(n_done == 10);
    usleep(10000);
    is_int(n_done, 10, "and each is given back once");

    n_done = n_extents = 0;
    for (int i = 0; i < 10; i++) {
        struct command c = peer_cmd(code, i);
        peer_send(&p, &c);
    }
    struct command r;
    peer_recv(&p, &r);  /* the server is amid writing */
    peer_close(&p);
    wait_until(server_conns(s) == 0);
    usleep(30000);      /* other threads that still answer */
    ok(n_done > 0 && n_done == n_extents, "a peer that goes away: the %d answered are given back", n_extents);
}

/* Many small extents, which are copied. */
static void test_small(struct server *s)
{
    struct peer p = peer_open(server_port(s, 0));
    struct command c = peer_cmd(SMALL, 1), r;
    char want[SMALL_PIECES * SMALL_SIZE];
    FILE *f = tmpfile();

    memcpy(want, pattern, 3 * SMALL_SIZE);
    memcpy(want + 3 * SMALL_SIZE, pattern + 4 * SMALL_SIZE, (SMALL_PIECES - 4) * SMALL_SIZE);
    n_done = 0;
    for (int i = 0; i < 3; i++)
        peer_send(&p, &c);
    for (int i = 0; i < 3; i++)
        ok(peer_recv(&p, &r) == PEER_FRAME && str_eq(r.body, str_n(want, sizeof(want) - SMALL_SIZE)),
           "%d small extents come as one body", SMALL_PIECES);
    is_int(n_done, 3, "and are given back");

    if (!f || ftruncate(fileno(f), 4096))
        abort();
    cut_map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fileno(f), 0);
    if (cut_map == MAP_FAILED || ftruncate(fileno(f), 0))
        abort();
    c = peer_cmd(CUT, 2);
    peer_send(&p, &c);
    ok(peer_recv(&p, &r) != PEER_FRAME, "a page that cannot be had ends the connection, not the process");
    wait_until(n_done == 4);
    is_int(n_done, 4, "and its extents are given back");
    peer_close(&p);
    munmap(cut_map, 4096);
    fclose(f);
}

/* conn_send_extents to a connection that is closed already. */
static void test_closed_send(struct server *s)
{
    struct peer p = peer_open(server_port(s, 0));
    struct command r, c = peer_cmd(40, 1);
    struct iovec iov = {pattern, 100};
    int closed = n_closed;

    peer_ask(&p, HOLD, 1, (struct str){0}, &r);
    conn_send_extents(held, &c, &iov, 1, on_done, NULL);
    ok(peer_recv(&p, &r) == PEER_FRAME && r.code == 40 && r.body.n == 100, "a command from another thread arrives");
    ok(conn_open(held) && strcmp(conn_peer(held), "?") != 0, "the connection is open");
    peer_close(&p);
    wait_until(!conn_open(held) && n_closed > closed);
    n_done = 0;
    conn_send_extents(held, &c, &iov, 1, on_done, NULL);
    conn_close(held);
    is_int(n_done, 1, "a closed connection swallows and gives back at once");
    n_null = 0;
    conn_drop(atomic_exchange(&held, NULL));
}

/* A peer that sends and does not read: the server must stop reading, and go on later. */
static void test_pause(void)
{
    struct server *s = start((struct server_conf){.loops = 1, .out_max = 100000});
    struct peer p = peer_open(server_port(s, 0));
    struct buf b = {0};
    size_t at = 0, frames = 4000, got = 0;
    int small = 65536, quiet = 0;
    bool good = true;

    setsockopt(p.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    for (size_t i = 0; i < frames; i++) {
        struct command c = peer_cmd(ECHO, (int)i);
        c.body = str_n(pattern + i, 10000);
        command_encode(&b, &c, 0);
    }
    while (at < b.n && quiet < 100) {
        ssize_t k = send(p.fd, b.p + at, b.n - at, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (k > 0) {
            at += (size_t)k;
            quiet = 0;
        } else {
            usleep(2000);
            quiet++;
        }
    }
    ok(at < b.n, "a peer that does not read cannot send for ever (stopped at %zu of %zu MB)", at / 1000000, b.n / 1000000);
    fcntl(p.fd, F_SETFL, O_NONBLOCK);
    while (got < frames && good) {
        struct command r;
        ssize_t k = at < b.n ? send(p.fd, b.p + at, b.n - at, MSG_NOSIGNAL) : 0;
        if (k > 0)
            at += (size_t)k;
        int rc = peer_recv_in(&p, &r, at < b.n ? 1 : PEER_WAIT_MS);
        if (rc == PEER_TIMEOUT && at < b.n)
            continue;
        good = rc == PEER_FRAME && r.opaque == (int)got && str_eq(r.body, str_n(pattern + got, 10000));
        got++;
    }
    ok(good && got == frames, "once it reads, all is answered in order");
    buf_free(&b);
    peer_close(&p);
    server_free(s);
}

/* Commands pushed at a peer that never reads end its connection. */
static void test_overfull(void)
{
    struct server *s = start((struct server_conf){.loops = 1, .out_max = 100000, .frame_max = 100000});
    struct peer p = peer_open(server_port(s, 0));
    struct command r, c = peer_cmd(40, 1);
    int n = 0;

    peer_ask(&p, HOLD, 1, (struct str){0}, &r);
    c.body = str_n(pattern, PATTERN);
    for (; conn_open(held) && n < 1000; n++) {
        conn_send(held, &c);
        usleep(1000);
    }
    ok(n < 1000, "what nobody reads is not kept without bound (closed after %d MiB)", n);
    conn_drop(atomic_exchange(&held, NULL));
    peer_close(&p);
    server_free(s);
}

/* ---- asks ---- */

static void test_ask(struct server *s, int code)
{
    struct peer p = peer_open(server_port(s, 0));
    struct command c = peer_cmd(code, 7), r, a;
    int64_t t0;

    n_asked = n_null = 0;
    peer_send(&p, &c);
    ok(peer_recv(&p, &r) == PEER_FRAME && !(r.flag & FLAG_RESPONSE) && (r.code == 40 || r.code == 41),
       "code %d: the server asks its peer", code);
    a = peer_cmd(RC_NO_PERMISSION, r.opaque + 1000);
    a.flag = FLAG_RESPONSE;
    peer_send(&p, &a);      /* nobody waits for this one */
    a.opaque = r.opaque;
    a.body = str_of("yes");
    peer_send(&p, &a);
    ok(peer_recv(&p, &r) == PEER_FRAME && r.code == RC_NO_PERMISSION && str_is(r.remark, "yes"), "and gets its answer");

    t0 = mono_ms();
    peer_send(&p, &c);
    peer_recv(&p, &r);
    a.opaque = r.opaque;
    ok(peer_recv(&p, &r) == PEER_FRAME && r.code == RC_SYSTEM_ERROR, "no answer: told so after its time");
    ok(mono_ms() - t0 >= 290 && mono_ms() - t0 < 2000, "which is 300 ms");
    peer_send(&p, &a);      /* too late */
    is_int(peer_ask(&p, ECHO, 1, (struct str){0}, &r), PEER_FRAME, "a late answer is dropped");

    peer_send(&p, &c);
    peer_recv(&p, &r);
    peer_close(&p);
    wait_until(n_null == 2);
    is_int(n_null, 2, "a peer that goes away: told so");
    is_int(n_asked, 1, "each once");
}

/* ---- limits ---- */

static void test_idle(void)
{
    struct server *s = start((struct server_conf){.loops = 2, .idle_seconds = 1});
    struct peer idle = peer_open(server_port(s, 0)), busy = peer_open(server_port(s, 0)),
                part = peer_open(server_port(s, 0)), slow = peer_open(server_port(s, 0));
    struct command r, c = peer_cmd(ECHO, 1);
    struct buf b = {0};
    int64_t t0 = mono_ms();
    size_t sent = 0;
    bool good = true;

    command_encode(&b, &c, 0);
    peer_bytes(&part, b.p, 20);
    while (mono_ms() - t0 < 1500) {
        good &= peer_ask(&busy, ECHO, 1, (struct str){0}, &r) == PEER_FRAME;
        good &= peer_bytes(&slow, b.p + sent++, 1);
        usleep(200000);
    }
    ok(good, "a busy connection outlives the idle time");
    is_int(peer_recv_in(&idle, &r, 1000), PEER_END, "an idle one is closed");
    is_int(peer_recv_in(&part, &r, 1000), PEER_END, "so is one that stopped amid a frame");
    while (sent < b.n && mono_ms() - t0 < PEER_WAIT_MS && peer_recv_in(&slow, &r, 0) == PEER_TIMEOUT) {
        peer_bytes(&slow, b.p + sent++, 1);
        usleep(100000);
    }
    ok(sent < b.n && mono_ms() - t0 >= 1900, "and one whose frame takes twice as long");
    buf_free(&b);
    peer_close(&idle), peer_close(&busy), peer_close(&part), peer_close(&slow);
    server_free(s);
}

static void test_limit(void)
{
    struct server *s = start((struct server_conf){.loops = 2, .conns_max = 3});
    struct peer p[3], q;
    struct command r;
    bool good = true;

    for (int i = 0; i < 3; i++) {
        p[i] = peer_open(server_port(s, 0));
        good &= peer_ask(&p[i], ECHO, i, (struct str){0}, &r) == PEER_FRAME;
    }
    ok(good, "connections up to the limit are served");
    q = peer_open(server_port(s, 0));
    is_int(peer_ask(&q, ECHO, 1, (struct str){0}, &r), PEER_END, "one more is closed at once");
    peer_close(&q);
    peer_close(&p[1]);
    wait_until(server_conns(s) == 2);
    q = peer_open(server_port(s, 0));
    is_int(peer_ask(&q, ECHO, 1, (struct str){0}, &r), PEER_FRAME, "when one has gone another is served");
    peer_close(&q), peer_close(&p[0]), peer_close(&p[2]);
    server_free(s);
}

/* No descriptor is left for a peer that has connected: it is served when there is one again. */
static void test_descriptors(void)
{
    struct server *s = start((struct server_conf){.loops = 1});
    struct peer p = {.fd = -1}, first = peer_open(server_port(s, 0));
    struct rlimit old, tight;
    struct command r;
    int next;

    peer_ask(&first, ECHO, 1, (struct str){0}, &r);
    next = dup(0);              /* the lowest free one: the peer's socket will be it */
    close(next);
    getrlimit(RLIMIT_NOFILE, &old);
    tight = old;
    tight.rlim_cur = (rlim_t)next + 1;
    setrlimit(RLIMIT_NOFILE, &tight);
    p = peer_open(server_port(s, 0));
    struct command c = peer_cmd(ECHO, 2);
    peer_send(&p, &c);
    is_int(peer_recv_in(&p, &r, 200), PEER_TIMEOUT, "without a descriptor a peer waits");
    is_int(peer_ask(&first, ECHO, 3, (struct str){0}, &r), PEER_FRAME, "the others are served meanwhile");
    setrlimit(RLIMIT_NOFILE, &old);
    ok(peer_recv(&p, &r) == PEER_FRAME && r.opaque == 2, "and so is it, when there is one");
    peer_close(&p), peer_close(&first);
    server_free(s);
}

/* Kept requests may take only so much memory altogether. */
static void test_kept_max(void)
{
    struct server *s = start((struct server_conf){.loops = 1, .workers = 1, .kept_max = 100000});
    struct peer p = peer_open(server_port(s, 0));
    int busy = 0, served = 0;
    struct command r;

    for (int i = 0; i < 5; i++) {
        struct command c = peer_cmd(SLOW, i);
        c.body = str_n(pattern, 40000);
        peer_send(&p, &c);
    }
    while (served + busy < 5 && peer_recv(&p, &r) == PEER_FRAME)
        *(r.code == RC_SYSTEM_BUSY ? &busy : &served) += 1;
    ok(busy >= 1 && served >= 2, "requests that would take more are refused (%d of 5)", busy);
    peer_ask(&p, SLOW, 6, str_n(pattern, 40000), &r);
    is_int(r.code, RC_SUCCESS, "and served when others were answered");
    peer_close(&p);
    server_free(s);
}

static void test_dealing(void)
{
    struct server *s = start((struct server_conf){.loops = 2});
    struct peer p[4];
    struct command r;
    int on[2] = {0, 0};

    for (int i = 0; i < 4; i++)
        p[i] = peer_open(server_port(s, 0));
    for (int i = 0; i < 4; i++)
        if (peer_ask(&p[i], LOOP, i, (struct str){0}, &r) == PEER_FRAME)
            on[r.remark.p[0] == '1']++;
    ok(on[0] == 2 && on[1] == 2, "4 connections on 2 loops come out 2 and 2");
    for (int i = 0; i < 4; i++)
        peer_close(&p[i]);
    server_free(s);
}

static void test_refused_start(void)
{
    static const struct op wrong[] = {{5, "B", do_echo, 0, ""}, {4, "A", do_echo, 0, ""}};
    struct server *s = start((struct server_conf){.loops = 1}), *t;
    struct server_conf conf = {.bind = "127.0.0.1", .ports = {server_port(s, 0), -1}, .loops = 1, .name = "second"};
    struct server_ops o = {.ops = ops, .n_ops = N_OPS};
    struct fault f = {0};

    is_int(server_open(&conf, &o, &t, &f), -EADDRINUSE, "a port in use is an error");
    ok(strstr(f.text, "127.0.0.1:") != NULL, "that names it: %s", f.text);
    conf.ports[0] = 0;
    conf.bind = "no.such.address.invalid";
    ok(server_open(&conf, &o, &t, &f) < 0, "so is an address that is none: %s", f.text);
    conf.bind = "127.0.0.1";
    o.ops = wrong;
    o.n_ops = 2;
    is_int(server_open(&conf, &o, &t, &f), -EINVAL, "so are operations out of order");
    server_free(s);

    o.ops = ops;
    o.n_ops = N_OPS;
    is_int(server_open(&conf, &o, &t, &f), 0, "a server that is opened");
    server_free(t);
    ok(true, "and never run can be freed");
}

/* ---- other threads and the stop ---- */

static void on_post(void *arg)
{
    n_posted++;
}

static _Atomic int nice_there = -100;

static void on_background(void *arg)
{
    nice_there = getpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid));
}

static void test_post(struct server *s)
{
    int nice_here = getpriority(PRIO_PROCESS, 0);

    n_posted = 0;
    for (int i = 0; i < 1000; i++)
        while (!server_work(s, 0, on_post, NULL))
            usleep(100);
    wait_until(n_posted == 1000);
    is_int(n_posted, 1000, "functions for background threads run");
    server_work(s, 0, on_background, NULL);
    wait_until(nice_there != -100);
    ok(nice_there > nice_here || nice_here == 19, "which come after others: nice %d, not %d", nice_there, nice_here);
}

/* Which came when; each entry is written once. */
static _Atomic int order[4], n_ordered;

static void on_due(void *arg)
{
    order[atomic_fetch_add(&n_ordered, 1)] = *(int *)arg;
}

static void test_due(struct server *s)
{
    static int what[4] = {0, 1, 2, 3};
    int64_t began = mono_us(), took;

    n_ordered = 0;
    server_work(s, began + 120000, on_due, &what[0]);
    server_work(s, began + 40000, on_due, &what[1]);
    server_work(s, began + 80000, on_due, &what[2]);
    server_work(s, 0, on_due, &what[3]);
    wait_until(n_ordered == 4);
    took = mono_us() - began;
    ok(order[0] == 3 && order[1] == 1 && order[2] == 2 && order[3] == 0, "what is to be done later comes when it is due");
    ok(took >= 120000, "and not before (%lld us)", (long long)took);
}

struct pump {
    pthread_t thread;
    int port;
    long answered;
};

/* Sends and reads until the server ends the connection. */
static void *pump(void *arg)
{
    static const int codes[] = {ECHO, EXTENTS, SLOW, EXTENTS_LATER};
    struct pump *m = arg;
    struct peer p = peer_open(m->port);
    struct command r;
    int n = 0;

    for (;;) {
        struct buf b = {0};
        struct command *c = calloc(1, sizeof(*c));
        c->code = codes[n++ % 4];
        command_encode(&b, c, 0);
        free(c);
        bool sent = peer_bytes(&p, b.p, b.n);
        buf_free(&b);
        if (!sent || (n % 4 == 0 && peer_recv(&p, &r) != PEER_FRAME))
            break;
        m->answered += n % 4 == 0;
    }
    peer_close(&p);
    return NULL;
}

static void test_stop(void)
{
    struct server *s = start((struct server_conf){.loops = 2, .workers = 2, .out_max = 1000000});
    struct pump pumps[6];
    int64_t t0;
    long answered = 0;

    for (int i = 0; i < 6; i++) {
        pumps[i] = (struct pump){.port = server_port(s, 0)};
        pthread_create(&pumps[i].thread, NULL, pump, &pumps[i]);
    }
    usleep(200000);
    n_posted = 0;
    server_work(s, mono_us() + INT64_C(3600000000), on_post, NULL);
    t0 = mono_ms();
    server_stop(s, 1000);
    ok(mono_ms() - t0 < 2500, "a stop amid traffic ends (%d ms)", (int)(mono_ms() - t0));
    for (int i = 0; i < 6; i++) {
        pthread_join(pumps[i].thread, NULL);
        answered += pumps[i].answered;
    }
    ok(answered > 6, "its peers were served until then (%ld answers)", answered);
    is_int(n_posted, 1, "what was to be done in an hour is done at the stop");
    is_int(server_conns(s), 0, "no connection is left");
    is_int(n_closed, 6, "closed was called for each");
    ok(!server_work(s, 0, on_post, NULL), "work is refused");
    usleep(50000);              /* threads of EXTENTS_LATER */
    server_free(s);
}

static void test_stop_waits(void)
{
    struct server *s = start((struct server_conf){.loops = 2, .workers = 1});
    struct peer p = peer_open(server_port(s, 0));
    struct command r;
    int n = 0;

    for (int i = 0; i < 10; i++) {
        struct command c = peer_cmd(SLOW, i);
        peer_send(&p, &c);
    }
    peer_ask(&p, ECHO, 99, (struct str){0}, &r);        /* all were read; the echo may come first */
    n += r.opaque != 99;
    server_stop(s, 5000);
    while (peer_recv(&p, &r) == PEER_FRAME)
        n += r.opaque != 99;
    is_int(n, 10, "what a worker had still to do is answered before the stop");
    peer_close(&p);
    server_free(s);
}

int main(void)
{
    log_open("/dev/null", LOG_DEBUG);
    bus_guard_install();
    for (size_t i = 0; i < PATTERN; i++)
        pattern[i] = (char)(i * 7 + i / 251);

    struct server *s = start((struct server_conf){.loops = 2, .workers = 1});
    test_small(s);
    test_extents(s, EXTENTS);
    test_extents(s, EXTENTS_LATER);
    test_closed_send(s);
    test_ask(s, ASK);
    test_ask(s, 107);
    test_post(s);
    test_due(s);
    server_free(s);
    test_pause();
    test_overfull();
    test_idle();
    test_limit();
    test_descriptors();
    test_kept_max();
    test_dealing();
    test_refused_start();
    test_stop();
    test_stop_waits();
    return tap_done();
}
