/* The outgoing client against servers that answer, are slow, lie, go away or
 * are not there. R-NET-02, R-NET-03, R-NET-07. */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>

#include "common/log.h"
#include "common/remoting/client.h"
#include "common/remoting/server.h"
#include "tests/unit/peer.h"
#include "tests/unit/tap.h"

enum { ECHO = 100, NEVER, HANG_UP, BACK };

static _Atomic(struct request *) held;
static atomic_int back_code;

static void do_echo(struct request *r)
{
    struct command out;

    reply_start(r, &out, RC_SUCCESS);
    out.body = request_cmd(r)->body;
    out.remark = str_of("echo");
    for (unsigned i = 0; i < request_cmd(r)->n_ext; i++)
        out.ext[out.n_ext++] = request_cmd(r)->ext[i];
    reply_send(r, &out);
}

static void do_never(struct request *r)
{
    struct request *old = atomic_exchange(&held, request_keep(r));
    if (old)
        request_free(old);
}

static void do_hang_up(struct request *r)
{
    if (!request_oneway(r))
        conn_close(request_conn(r));
    else
        atomic_store(&back_code, -1);
    reply(r, RC_SUCCESS, NULL);
}

static void on_back(void *arg, const struct command *answer)
{
    atomic_store(&back_code, answer ? answer->code : -2);
}

/* Asks the client back before it answers it. */
static void do_back(struct request *r)
{
    struct command c = {.code = 40};

    conn_ask(request_conn(r), &c, 5000, on_back, NULL);
    reply(r, RC_SUCCESS, NULL);
}

static const struct op ops[] = {
    {ECHO, "ECHO", do_echo, 0, ""},
    {NEVER, "NEVER", do_never, 0, ""},
    {HANG_UP, "HANG_UP", do_hang_up, 0, ""},
    {BACK, "BACK", do_back, 0, ""},
};

static struct server *start(int port)
{
    struct server_conf conf = {.bind = "127.0.0.1", .ports = {port, -1}, .loops = 1, .name = "test"};
    struct server_ops o = {.ops = ops, .n_ops = sizeof(ops) / sizeof(ops[0])};
    struct server *s;
    struct fault f = {0};

    if (server_open(&conf, &o, &s, &f) || server_run(s)) {
        printf("Bail out! %s\n", f.text);
        exit(2);
    }
    return s;
}

static void stop(struct server *s)
{
    struct request *r = atomic_exchange(&held, NULL);
    if (r)
        request_free(r);
    server_free(s);
}

/* A listening socket of our own, for servers that misbehave. */
static int listener(int *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) || listen(fd, 8)
        || getsockname(fd, (struct sockaddr *)&a, &n))
        exit(2);
    *port = ntohs(a.sin_port);
    return fd;
}

static struct command cmd;      /* too large to clear for each */

static struct command *fresh(int code)
{
    cmd = peer_cmd(code, 0);
    return &cmd;
}

static const char *addr_of(int port)
{
    static char addr[32];

    snprintf(addr, sizeof(addr), "127.0.0.1:%d", port);
    return addr;
}

/* ---- answers ---- */

static void test_call(struct client *c, struct server *s)
{
    struct command *q = fresh(ECHO), reply;
    struct buf frame;
    struct fault f = {0};
    char *big = malloc(3000000);

    memset(big, 'y', 3000000);
    q->body = str_n(big, 3000000);
    command_add(q, "name", str_of("value"));
    is_int(client_call(c, addr_of(server_port(s, 0)), q, 5000, &reply, &frame, &f), 0, "a call is answered");
    ok(reply.code == RC_SUCCESS && str_eq(reply.body, q->body) && str_is(command_ext(&reply, "name"), "value")
       && str_is(reply.remark, "echo"), "with body, fields and remark, which the caller keeps");
    buf_free(&frame);
    free(big);
}

static atomic_int n_answers, n_nulls;

static void on_answer(void *arg, const struct command *reply, const char *why)
{
    if (reply && reply->body.n == 4 && memcmp(reply->body.p, &arg, 4) == 0)
        n_answers++;
    else if (!reply && why && *why)
        n_nulls++;
}

static void ask_some(struct client *c, const char *addr, int code, int n, int ms)
{
    n_answers = n_nulls = 0;
    for (int i = 0; i < n; i++) {
        struct command *q = fresh(code);
        void *arg = (void *)(intptr_t)(i + 1);
        q->body = str_n((const char *)&arg, 4);
        client_ask(c, addr, q, ms, on_answer, arg);
    }
    wait_until(n_answers + n_nulls >= n);
}

static void test_many(struct client *c, struct server *s)
{
    ask_some(c, addr_of(server_port(s, 0)), ECHO, 500, 5000);
    is_int(n_answers, 500, "500 asks at once find each its own answer");
    is_int(server_conns(s), 1, "over one connection");
}

static void test_oneway(struct client *c, struct server *s)
{
    atomic_store(&back_code, 0);
    client_ask(c, addr_of(server_port(s, 0)), fresh(HANG_UP), 5000, NULL, NULL);
    wait_until(back_code == -1);
    is_int(back_code, -1, "without a callback it is one-way");
}

static void test_back(struct client *c, struct server *s)
{
    struct command reply;
    struct buf frame;
    struct fault f;

    atomic_store(&back_code, 0);
    is_int(client_call(c, addr_of(server_port(s, 0)), fresh(BACK), 5000, &reply, &frame, &f), 0,
           "a server that asks back is served on");
    buf_free(&frame);
    wait_until(back_code != 0);
    is_int(back_code, RC_REQUEST_CODE_NOT_SUPPORTED, "and told that we serve nothing");
}

/* ---- failures ---- */

static int call_err(struct client *c, const char *addr, int code, int ms, struct fault *f)
{
    static struct command reply;
    struct buf frame;
    int rc = client_call(c, addr, fresh(code), ms, &reply, &frame, f);

    if (!rc)
        buf_free(&frame);
    return -rc;
}

static void test_failures(struct client *c, struct server *s)
{
    static const char *const bad[] = {"", ":", "nohost", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", ":9876",
                                      "127.0.0.1:98x", "[]:1"};
    struct fault f = {0};
    int port, fd = listener(&port);
    int64_t t0;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        is_int(call_err(c, bad[i], ECHO, 1000, &f), EINVAL, "\"%s\" is no address", bad[i]);
    char long_host[600];
    memset(long_host, 'h', sizeof(long_host));
    memcpy(long_host + sizeof(long_host) - 4, ":80", 4);
    is_int(call_err(c, long_host, ECHO, 1000, &f), EINVAL, "nor is a host of 596 characters");

    close(fd);
    is_int(call_err(c, addr_of(port), ECHO, 1000, &f), ECONNREFUSED, "nobody listens: refused");
    ok(strstr(f.text, addr_of(port)) != NULL, "and the sentence names the address");
    int err = call_err(c, "no-such-host.invalid:9876", ECHO, 5000, &f);
    ok(err == EHOSTUNREACH || err == ETIMEDOUT, "a name that does not resolve");    /* the latter without any DNS */

    t0 = mono_ms();
    is_int(call_err(c, addr_of(server_port(s, 0)), NEVER, 200, &f), ETIMEDOUT, "no answer: timed out");
    ok(mono_ms() - t0 >= 190, "not before its time");
    is_int(call_err(c, addr_of(server_port(s, 0)), HANG_UP, 5000, &f), ECONNRESET, "the server hangs up");
    is_int(call_err(c, addr_of(server_port(s, 0)), ECHO, 5000, &f), 0, "the next call connects again");
    ask_some(c, addr_of(port), ECHO, 20, 1000);
    is_int(n_nulls, 20, "each of 20 asks is told why it failed");
}

struct liar {
    int fd;
    const char *bytes;
    size_t n;
};

static void *lie(void *arg)
{
    struct liar *l = arg;
    int fd = accept(l->fd, NULL, NULL);
    char sink[4096];

    if (fd >= 0 && recv(fd, sink, sizeof(sink), 0) > 0) {
        send(fd, l->bytes, l->n, MSG_NOSIGNAL);
        shutdown(fd, SHUT_WR);
        while (recv(fd, sink, sizeof(sink), 0) > 0)
            continue;
    }
    close(fd);
    return NULL;
}

static int lied_to(struct client *c, const char *bytes, size_t n, struct fault *f)
{
    int port;
    struct liar l = {.bytes = bytes, .n = n};
    pthread_t t;
    int err;

    l.fd = listener(&port);
    pthread_create(&t, NULL, lie, &l);
    err = call_err(c, addr_of(port), ECHO, 5000, f);
    pthread_join(t, NULL);
    close(l.fd);
    return err;
}

static void test_lies(struct client *c)
{
    struct command a = peer_cmd(RC_SUCCESS, -99);
    struct buf b = {0};
    struct fault f;
    bool good = true;

    is_int(lied_to(c, "HTTP/1.1 400 Bad Request", 24, &f), ECONNRESET, "an answer that is no frame");
    ok(strstr(f.text, "broken frame") != NULL, "is named so");
    is_int(lied_to(c, "\0\0\0\x08\0\0\0\xFF{}{}", 12, &f), ECONNRESET, "a header that lies about its length");
    a.flag = FLAG_RESPONSE;
    command_encode(&b, &a, 0);
    is_int(lied_to(c, b.p, b.n, &f), ECONNRESET, "an answer to something else is not taken");
    for (size_t cut = 1; cut < b.n; cut += 7)
        good &= lied_to(c, b.p, cut, &f) == ECONNRESET;
    ok(good, "answers that are cut off fail");
    buf_free(&b);
}

/* A listener whose queue is full: the connection never comes about. */
static void test_no_connection(struct client *c)
{
    struct fault f;
    int port, fd = listener(&port), full[64];
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    a.sin_port = htons((uint16_t)port);
    listen(fd, 0);
    for (size_t i = 0; i < 64; i++) {
        full[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        connect(full[i], (struct sockaddr *)&a, sizeof(a));
    }
    is_int(call_err(c, addr_of(port), ECHO, 300, &f), ETIMEDOUT, "a connection that does not come about: timed out");
    ok(strstr(f.text, "no connection") != NULL, "and said so");
    for (size_t i = 0; i < 64; i++)
        close(full[i]);
    close(fd);
}

static struct client *own_client;
static atomic_int own_err;

static void call_inside(void *arg, const struct command *reply, const char *why)
{
    struct fault f;

    own_err = call_err(own_client, arg, ECHO, 1000, &f);
}

static void test_own_thread(struct client *c, struct server *s)
{
    static char addr[32];

    snprintf(addr, sizeof(addr), "%s", addr_of(server_port(s, 0)));
    own_client = c;
    own_err = 0;
    client_ask(c, addr, fresh(ECHO), 5000, call_inside, addr);
    wait_until(own_err != 0);
    is_int(own_err, EDEADLK, "a waiting call from a callback is refused");
}

static void test_close(struct server *s)
{
    struct client *c;
    struct fault f;

    if (client_open(&c, &f))
        exit(2);
    n_nulls = n_answers = 0;
    for (int i = 0; i < 10; i++)
        client_ask(c, addr_of(server_port(s, 0)), fresh(NEVER), 60000, on_answer, NULL);
    client_close(c);
    is_int(n_nulls, 10, "client_close ends what waits, each once");
}

int main(void)
{
    struct client *c;
    struct fault f = {0};
    struct server *s;

    log_open("/dev/null", LOG_DEBUG);
    s = start(0);
    if (client_open(&c, &f)) {
        printf("Bail out! %s\n", f.text);
        return 2;
    }
    test_call(c, s);
    test_many(c, s);
    test_oneway(c, s);
    test_back(c, s);
    test_failures(c, s);
    test_lies(c);
    test_no_connection(c);
    test_own_thread(c, s);
    test_close(s);

    int port = server_port(s, 0);
    stop(s);
    ok(call_err(c, addr_of(port), ECHO, 2000, &f) != 0, "a server that stopped does not answer");
    s = start(port);
    is_int(call_err(c, addr_of(port), ECHO, 2000, &f), 0, "one that started again does");
    client_close(c);
    stop(s);
    return tap_done();
}
