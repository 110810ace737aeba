/* The remoting server against a peer: frames good and bad, replies now, later
 * and from other threads. R-NET-01, R-NET-02, R-NET-03, R-NET-05, R-NET-08. */
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "common/log.h"
#include "common/remoting/server.h"
#include "tests/unit/peer.h"
#include "tests/unit/tap.h"

enum { ECHO = 100, LATER, WORKER, MAIN_ONLY, SILENT, GATE, TO_LOOP, TO_WORKER, TWICE, HANG_UP, FORGOTTEN, FAR = 200050 };

static atomic_int n_closed, gate_open;

/* ---- handlers ---- */

static void do_echo(struct request *r)
{
    struct command out;

    reply_start(r, &out, RC_SUCCESS);
    out.body = request_cmd(r)->body;
    for (unsigned i = 0; i < request_cmd(r)->n_ext; i++)
        out.ext[out.n_ext++] = request_cmd(r)->ext[i];
    reply_send(r, &out);
}

static void *answer_later(void *arg)
{
    struct request *r = arg;

    usleep(2000);
    if (request_on_loop(r))
        reply(r, RC_SYSTEM_ERROR, "on a loop");
    else
        do_echo(r);
    request_free(r);
    return NULL;
}

static void start_thread(void *(*fn)(void *), void *arg)
{
    pthread_t t;

    if (pthread_create(&t, NULL, fn, arg))
        abort();
    pthread_detach(t);
}

static void do_later(struct request *r)
{
    start_thread(answer_later, request_keep(r));
}

static void do_worker(struct request *r)
{
    if (request_on_loop(r))
        reply(r, RC_SYSTEM_ERROR, "on a loop");
    else
        do_echo(r);
}

static void do_silent(struct request *r)
{
}

static void do_gate(struct request *r)
{
    wait_until(gate_open);
    reply(r, RC_SUCCESS, NULL);
}

static void on_loop_again(struct request *r)
{
    if (request_on_loop(r))
        do_echo(r);
    else
        reply(r, RC_SYSTEM_ERROR, "not on the loop");
    request_free(r);
}

static void *push_to_loop(void *arg)
{
    request_to_loop(arg, on_loop_again);
    return NULL;
}

static void do_to_loop(struct request *r)
{
    start_thread(push_to_loop, request_keep(r));
}

static void do_to_worker(struct request *r)
{
    request_to_worker(r, do_worker);
}

static void do_twice(struct request *r)
{
    reply(r, RC_SUCCESS, NULL);
    reply(r, RC_SYSTEM_ERROR, "again");
}

static void do_hang_up(struct request *r)
{
    reply(r, RC_SUCCESS, "bye");
    conn_close(request_conn(r));
}

/* Kept on the worker, given back without an answer. */
static void do_forgotten(struct request *r)
{
    request_free(request_keep(r));
}

static void do_far(struct request *r)
{
    reply(r, RC_NO_PERMISSION, "asked by %s", conn_peer(request_conn(r)));
}

static const struct op ops[] = {
    {ECHO, "ECHO", do_echo, 0, ""},
    {LATER, "LATER", do_later, 0, ""},
    {WORKER, "WORKER", do_worker, OP_WORKER, ""},
    {MAIN_ONLY, "MAIN_ONLY", do_echo, OP_MAIN_PORT, ""},
    {SILENT, "SILENT", do_silent, 0, ""},
    {GATE, "GATE", do_gate, OP_WORKER, ""},
    {TO_LOOP, "TO_LOOP", do_to_loop, 0, ""},
    {TO_WORKER, "TO_WORKER", do_to_worker, 0, ""},
    {TWICE, "TWICE", do_twice, 0, ""},
    {HANG_UP, "HANG_UP", do_hang_up, 0, ""},
    {FORGOTTEN, "FORGOTTEN", do_forgotten, OP_WORKER, ""},
    {FAR, "FAR", do_far, 0, ""},
};
#define N_OPS (sizeof(ops) / sizeof(ops[0]))

static void on_closed(void *ctx, struct conn *c)
{
    n_closed++;
}

static struct server *start(void)
{
    struct server_conf conf = {.bind = "127.0.0.1", .ports = {0, 0}, .loops = 2, .workers = 1, .worker_queue = 2,
                               .name = "test"};
    struct server_ops o = {.ops = ops, .n_ops = N_OPS, .closed = on_closed};
    struct server *s;
    struct fault f = {0};

    if (server_open(&conf, &o, &s, &f) || server_run(s)) {
        printf("Bail out! %s\n", f.text);
        exit(2);
    }
    return s;
}

/* ---- tests ---- */

static void test_echo(struct server *s)
{
    struct peer p = peer_open(server_port(s, 0));
    struct command c = peer_cmd(ECHO, -7), r;

    c.body = str_of("hello");
    command_add(&c, "topic", str_of("T\"opic\n"));
    ok(peer_send(&p, &c) && peer_recv(&p, &r) == PEER_FRAME, "a JSON request is answered");
    is_int(r.code, RC_SUCCESS, "with SUCCESS");
    is_int(r.opaque, -7, "and the request's opaque");
    is_int(r.flag, FLAG_RESPONSE, "and the response flag");
    is_int(r.version, VERSION_V5_5_0, "and our version");
    is_int(r.serialize, SERIALIZE_JSON, "in JSON");
    ok(str_is(r.body, "hello") && str_is(command_ext(&r, "topic"), "T\"opic\n"), "body and field come back");

    c.serialize = SERIALIZE_ROCKETMQ;
    ok(peer_send(&p, &c) && peer_recv(&p, &r) == PEER_FRAME && r.serialize == SERIALIZE_ROCKETMQ
       && str_is(r.body, "hello"), "a binary request is answered in binary");
    is_int(peer_ask(&p, FAR, 5, (struct str){0}, &r), PEER_FRAME, "a code far from the others is found");
    ok(r.code == RC_NO_PERMISSION && str_starts(r.remark, "asked by 127.0.0.1:"), "with its peer");
    peer_close(&p);
}

static void test_defaults(struct server *s)
{
    struct peer p = peer_open(server_port(s, 0)), fast = peer_open(server_port(s, 1));
    struct command r;

    peer_ask(&p, 31337, 1, (struct str){0}, &r);
    ok(r.code == RC_REQUEST_CODE_NOT_SUPPORTED && str_is(r.remark, " request type 31337 not supported"),
       "an unknown code is told that it is not supported");
    peer_ask(&p, -5, 2, (struct str){0}, &r);
    is_int(r.code, RC_REQUEST_CODE_NOT_SUPPORTED, "so is a negative one");
    peer_ask(&p, MAIN_ONLY, 3, (struct str){0}, &r);
    is_int(r.code, RC_SUCCESS, "a main port code is served on the main port");
    peer_ask(&fast, MAIN_ONLY, 3, (struct str){0}, &r);
    is_int(r.code, RC_REQUEST_CODE_NOT_SUPPORTED, "and not on the fast port");
    peer_ask(&fast, ECHO, 3, (struct str){0}, &r);
    is_int(r.code, RC_SUCCESS, "which serves the others");
    peer_ask(&p, SILENT, 4, (struct str){0}, &r);
    ok(r.code == RC_SYSTEM_ERROR && str_is(r.remark, "not set any response code"),
       "a handler that does not answer is answered for");
    peer_ask(&p, FORGOTTEN, 5, (struct str){0}, &r);
    ok(r.opaque == 5 && r.code == RC_SYSTEM_ERROR, "so is a kept request that is given back unanswered");
    peer_ask(&p, TWICE, 6, (struct str){0}, &r);
    is_int(r.code, RC_SUCCESS, "the first answer counts");
    peer_ask(&p, ECHO, 7, (struct str){0}, &r);
    is_int(r.opaque, 7, "the second is not sent");
    peer_close(&p);
    peer_close(&fast);
}

static void test_oneway(struct server *s)
{
    static const int codes[] = {ECHO, LATER, WORKER, SILENT, TO_LOOP, TO_WORKER, FORGOTTEN, 31337};
    struct peer p = peer_open(server_port(s, 0));
    struct command r;
    bool good = true;

    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        struct command c = peer_cmd(codes[i], 1);
        c.flag = FLAG_ONEWAY;
        good &= peer_send(&p, &c);
    }
    usleep(50000);      /* for answers of other threads, if there were any */
    good &= peer_ask(&p, ECHO, 2, (struct str){0}, &r) == PEER_FRAME && r.opaque == 2;
    ok(good, "one-way requests get no answer, whoever handles them");
    good = peer_recv_in(&p, &r, 50) == PEER_TIMEOUT;
    ok(good, "nor one later");

    struct command c = peer_cmd(0, 4711);
    c.flag = FLAG_RESPONSE;
    peer_send(&p, &c);
    ok(peer_ask(&p, ECHO, 3, (struct str){0}, &r) == PEER_FRAME && r.opaque == 3,
       "an answer that nobody waits for is dropped, and the connection lives");
    peer_close(&p);
}

static void test_elsewhere(struct server *s)
{
    static const int codes[] = {LATER, WORKER, TO_LOOP, TO_WORKER};
    struct peer p = peer_open(server_port(s, 0));
    char big[3000];

    memset(big, 'x', sizeof(big));
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        struct command c = peer_cmd(codes[i], 9), r;
        c.body = str_n(big, sizeof(big));
        command_add(&c, "k", str_of("v\\w"));
        ok(peer_send(&p, &c) && peer_recv(&p, &r) == PEER_FRAME && r.code == RC_SUCCESS && str_eq(r.body, c.body)
           && str_is(command_ext(&r, "k"), "v\\w"), "code %d is answered with its own texts", codes[i]);
    }
    peer_close(&p);
}

static void test_overload(struct server *s)
{
    struct peer p = peer_open(server_port(s, 0));
    int busy = 0, served = 0;

    gate_open = 0;
    for (int i = 0; i < 10; i++) {
        struct command c = peer_cmd(GATE, i);
        peer_send(&p, &c);
    }
    struct command r;
    for (int i = 0; i < 7; i++)         /* 1 runs, 2 wait: the others at once; more if the worker is slow */
        busy += peer_recv(&p, &r) == PEER_FRAME && r.code == RC_SYSTEM_BUSY && str_starts(r.remark, "[OVERLOAD]");
    is_int(busy, 7, "what the workers' queue cannot hold is refused as SYSTEM_BUSY");
    gate_open = 1;
    for (int i = 0; i < 3; i++) {
        if (peer_recv(&p, &r) != PEER_FRAME)
            break;
        served += r.code == RC_SUCCESS;
        busy += r.code == RC_SYSTEM_BUSY;
    }
    ok(served >= 2 && served + busy == 10, "the others are answered when the worker goes on");
    peer_close(&p);
}

static void test_pipeline(struct server *s)
{
    struct peer p = peer_open(server_port(s, 0));
    struct buf b = {0};
    bool good = true;

    for (int i = 0; i < 1000; i++) {
        struct command c = peer_cmd(ECHO, i);
        char body[128];
        memset(body, 'a' + i % 26, sizeof(body));
        c.body = str_n(body, sizeof(body));
        command_encode(&b, &c, 0);
    }
    good = peer_bytes(&p, b.p, b.n);
    for (int i = 0; i < 1000 && good; i++) {
        struct command r;
        good = peer_recv(&p, &r) == PEER_FRAME && r.opaque == i && r.body.n == 128 && r.body.p[0] == 'a' + i % 26;
    }
    ok(good, "1,000 requests in one write are answered in order");
    buf_free(&b);
    peer_close(&p);
}

static void test_big(struct server *s)
{
    static const size_t sizes[] = {4000, 5000, 262000, 262144, 300000, 4194304, FRAME_MAX - 300};
    struct peer p = peer_open(server_port(s, 0));
    char *body = malloc(FRAME_MAX);

    for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
        struct command r;
        bool good = true;
        for (size_t i = 0; i < sizes[k]; i++)
            body[i] = (char)(i * 31 + k);
        struct command c = peer_cmd(ECHO, (int)k), next = peer_cmd(ECHO, 1000);
        struct buf b = {0};
        c.body = str_n(body, sizes[k]);
        command_encode(&b, &c, 0);
        command_encode(&b, &next, 0);
        good = peer_bytes(&p, b.p, b.n) && peer_recv(&p, &r) == PEER_FRAME && str_eq(r.body, c.body)
               && peer_recv(&p, &r) == PEER_FRAME && r.opaque == 1000;
        ok(good, "a body of %zu bytes comes back, and so does the request behind it", sizes[k]);
        buf_free(&b);
    }
    free(body);
    peer_close(&p);
}

static void test_slow(struct server *s)
{
    struct peer p = peer_open(server_port(s, 0));
    struct command c = peer_cmd(ECHO, 12), r;
    struct buf b = {0};
    bool good = true;

    c.body = str_of("byte by byte");
    command_encode(&b, &c, 0);
    for (int round = 0; round < 2; round++)
        for (size_t i = 0; i < b.n; i++)
            good &= peer_bytes(&p, b.p + i, 1);
    for (int round = 0; round < 2; round++)
        good &= peer_recv(&p, &r) == PEER_FRAME && str_is(r.body, "byte by byte");
    ok(good, "frames that come byte by byte are answered");

    for (size_t cut = 1; cut < b.n && good; cut++) {
        good &= peer_bytes(&p, b.p, cut);
        usleep(300);
        good &= peer_bytes(&p, b.p + cut, b.n - cut) && peer_recv(&p, &r) == PEER_FRAME && r.opaque == 12;
    }
    ok(good, "a frame cut at any byte is put together");

    good = true;
    for (size_t cut = 0; cut < b.n && good; cut++) {
        struct peer q = peer_open(server_port(s, 0));
        good &= peer_bytes(&q, b.p, cut);
        shutdown(q.fd, SHUT_WR);
        good &= peer_recv(&q, &r) == PEER_END;
        peer_close(&q);
    }
    ok(good, "a peer that goes away amid a frame, at any byte, gets no answer");
    good = peer_ask(&p, ECHO, 13, (struct str){0}, &r) == PEER_FRAME;
    ok(good, "and the others live on");
    buf_free(&b);
    peer_close(&p);
}

/* Sends bytes to a fresh connection; whether the server ends it without an answer. */
static bool is_refused(struct server *s, const void *bytes, size_t n)
{
    struct peer p = peer_open(server_port(s, 0));
    struct command r;
    bool refused;

    peer_bytes(&p, bytes, n);
    refused = peer_recv(&p, &r) == PEER_END;
    peer_close(&p);
    return refused;
}

static void test_lies(struct server *s)
{
    static const struct { const char *what; unsigned char bytes[12]; } rows[] = {
        {"a frame of 0 bytes", {0, 0, 0, 0, 0, 0, 0, 0}},
        {"a frame of 3 bytes", {0, 0, 0, 3, 0, 0, 0, 0}},
        {"a negative frame length", {0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0}},
        {"the smallest integer", {0x80, 0, 0, 0, 0, 0, 0, 0}},
        {"a frame past the limit", {0x01, 0, 0, 0, 0, 0, 0, 0}},
        {"the largest integer", {0x7F, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0}},
        {"an HTTP request", "GET / HTTP/1"},
        {"a TLS hello", {0x16, 0x03, 0x01, 0x02, 0, 1, 0, 1, 0xFC, 3, 3, 0}},
        {"a header longer than its frame", {0, 0, 0, 8, 0, 0, 0, 200, '{', '}', ' ', ' '}},
        {"a header of 16 MiB", {0, 0, 0, 8, 0, 0xFF, 0xFF, 0xFF, '{', '}', ' ', ' '}},
        {"an unknown serialization", {0, 0, 0, 8, 7, 0, 0, 2, '{', '}', ' ', ' '}},
        {"a header that is no JSON", {0, 0, 0, 8, 0, 0, 0, 4, '{', '{', '{', '{'}},
        {"a binary header that is too short", {0, 0, 0, 8, 1, 0, 0, 4, 0, 1, 2, 3}},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        ok(is_refused(s, rows[i].bytes, sizeof(rows[i].bytes)), "%s ends the connection", rows[i].what);
}

static void test_deep(struct server *s)
{
    static const char *const opens[] = {"[", "{\"a\":", "{\"extFields\":"};

    for (size_t k = 0; k < sizeof(opens) / sizeof(opens[0]); k++) {
        struct buf b = {0};
        buf_be32(&b, 0);
        buf_be32(&b, 0);
        buf_puts(&b, "{\"code\":100,\"x\":");
        for (int i = 0; i < 10000; i++)
            buf_puts(&b, opens[k]);
        b.p[3] = (char)(b.n - 4), b.p[2] = (char)((b.n - 4) >> 8), b.p[1] = (char)((b.n - 4) >> 16);
        b.p[7] = (char)(b.n - 8), b.p[6] = (char)((b.n - 8) >> 8), b.p[5] = (char)((b.n - 8) >> 16);
        ok(is_refused(s, b.p, b.n), "a header of 10,000 times %s ends the connection", opens[k]);
        buf_free(&b);
    }
}

static void test_garbage(struct server *s)
{
    unsigned seed = (unsigned)time(NULL);
    struct command r;
    int alive = 0;

    printf("# seed %u\n", seed);
    srand(seed);
    for (int round = 0; round < 200; round++) {
        struct peer p = peer_open(server_port(s, round % 2));
        struct command c = peer_cmd(ECHO, 1);
        struct buf b = {0};
        command_add(&c, "topic", str_of("TopicTest"));
        c.serialize = round % 4 < 2 ? SERIALIZE_JSON : SERIALIZE_ROCKETMQ;
        c.body = str_of("body");
        command_encode(&b, &c, 0);
        for (int flips = 1 + rand() % 4; flips; flips--)
            b.p[round % 8 == 0 ? (size_t)rand() % b.n : 4 + (size_t)rand() % (b.n - 4)] = (char)rand();
        peer_bytes(&p, b.p, b.n);
        shutdown(p.fd, SHUT_WR);
        while (peer_recv(&p, &r) == PEER_FRAME)
            continue;
        buf_free(&b);
        peer_close(&p);
    }
    struct peer p = peer_open(server_port(s, 0));
    alive = peer_ask(&p, ECHO, 1, (struct str){0}, &r) == PEER_FRAME;
    ok(alive, "200 connections with flipped bytes leave the server as it was");
    peer_close(&p);
}

static void test_close(struct server *s)
{
    struct peer p = peer_open(server_port(s, 0));
    struct command r;

    ok(peer_ask(&p, HANG_UP, 1, (struct str){0}, &r) == PEER_FRAME && str_is(r.remark, "bye"),
       "what was answered before conn_close is written");
    is_int(peer_recv(&p, &r), PEER_END, "then the connection ends");
    peer_close(&p);
}

static void test_counts(struct server *s)
{
    struct op_count echo, silent, far;

    server_counts(s, 0, &echo);
    server_counts(s, 4, &silent);
    server_counts(s, N_OPS - 1, &far);
    ok(echo.requests > 1000 && echo.refused == 0, "requests are counted by operation");
    is_int(silent.requests, 2, "each once");
    is_int(silent.refused, 2, "an answer for a silent handler is a refusal");
    ok(far.requests == 1 && far.refused == 1, "so is NO_PERMISSION");
}

int main(void)
{
    log_open("/dev/null", LOG_DEBUG);
    struct server *s = start();

    test_echo(s);
    test_defaults(s);
    test_oneway(s);
    test_elsewhere(s);
    test_overload(s);
    test_pipeline(s);
    test_big(s);
    test_slow(s);
    test_lies(s);
    test_deep(s);
    test_counts(s);
    test_garbage(s);
    test_close(s);
    wait_until(server_conns(s) == 0);
    is_int(server_conns(s), 0, "all connections are gone");
    int before = n_closed;
    ok(before > 200, "closed was called for them");
    server_free(s);
    is_int(n_closed, before, "and only once each");
    return tap_done();
}
