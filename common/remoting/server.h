/* The remoting server: sockets, frames, turns, replies. It knows nothing of
 * topics. libuv loops, one thread each, own the connections.
 *
 * A turn of a connection: read what the socket has, split frames, hand each to
 * the operation's handler, then write everything that was answered in one
 * write. Handlers answer now, later, from another thread, or never (one-way).
 *
 * Threads: a conn belongs to one loop. conn_hold/conn_drop and everything whose
 * comment says "any thread" may be called from anywhere; the rest only from the
 * conn's own loop. Handlers of rows with OP_WORKER run on a worker thread,
 * because they may wait for a disk; all others run on the loop and must not. */
#ifndef COMMON_REMOTING_SERVER_H
#define COMMON_REMOTING_SERVER_H

#include <netinet/in.h>
#include <sys/uio.h>
#include "common/remoting/command.h"

struct server;
struct conn;
struct request;

enum {
    OP_WORKER = 1,        /* may wait for a disk: runs on a worker thread */
    OP_MAIN_PORT = 2,     /* only on the first port (Apache does not serve PULL and POP on the fast port) */
    OP_ADMIN = 4,         /* changes governance or configuration: for rights checks to come */
};

/* One request code. Tables of these are the protocol: name, counters, rights
 * and documentation come from the row. */
struct op {
    int code;
    const char *name;                     /* Apache's name of the code */
    void (*handle)(struct request *r);
    unsigned flags;
    const char *help;                     /* one line for docs/protocol.md */
};

struct op_count {                         /* read with relaxed atomics, any thread */
    uint64_t requests, refused;           /* refused: answered with another code than SUCCESS and the pull codes */
};

/* 0 or NULL takes the default, but for ports and idle_seconds (0: no idle timeout). The texts are copied. */
struct server_conf {
    const char *bind;                     /* "0.0.0.0" */
    int ports[2];                         /* main, and the fast one or -1; 0: any free port */
    int loops;                            /* 0: one per core but one, and at least one */
    int workers;                          /* worker threads */
    int worker_queue;                     /* requests that may wait for them; past it SYSTEM_BUSY */
    size_t frame_max;                     /* FRAME_MAX */
    int conns_max;                        /* further connections are closed at once */
    int idle_seconds;                     /* no read and no write for so long: closed (Apache: 120);
                                           * so is a frame that takes twice as long to come */
    size_t out_max;                       /* bytes waiting in one connection's output before reading from it pauses */
    size_t kept_max;                      /* bytes that all kept requests may take; past it SYSTEM_BUSY (256 MiB) */
    int backlog;
    const char *name;                     /* for the log: "broker", "namesrv" */
};

struct server_ops {
    const struct op *ops;                 /* ascending by code */
    size_t n_ops;
    /* A connection ended (closed, idle, broken). On its loop, once, also at server_stop. May be NULL. */
    void (*closed)(void *ctx, struct conn *c);
    void *ctx;                            /* request_ctx(r) */
};

/* Binds and listens; nothing is served before server_run. 0 or -errno with f. */
int server_open(const struct server_conf *conf, const struct server_ops *ops, struct server **out,
                struct fault *f);
int server_run(struct server *s);         /* starts loops and workers, returns. 0 or -errno */
/* Stops accepting and reading, waits up to the given time for kept requests to be answered and output to be
 * written, closes all, joins threads. Requests that no worker has begun by then get SYSTEM_BUSY; functions of
 * server_work are run. Sends to its conns are swallowed from then on; posted functions run on the poster's
 * thread. Not from a loop or worker. */
void server_stop(struct server *s, int wait_ms);
/* Stops when that was not done. All kept requests must be freed by now, and no thread may be inside a call. */
void server_free(struct server *s);
int server_port(const struct server *s, int i);             /* the port in use, for ports of 0 */
void server_counts(const struct server *s, size_t op_index, struct op_count *out);   /* any thread */
int server_conns(const struct server *s);                   /* any thread */

/* Runs fn(arg) on a thread for what may take its time, such as reading from the disk what a consumer that is far behind
 * asks for: these threads are not those that requests wait for, and get the processor and the disk after all others.
 * fn should take no lock that a loop may want. Not before `due` (mono us; 0: at once), but when the server stops. Any
 * thread. false when the queue is full: fn was not taken. */
bool server_work(struct server *s, int64_t due, void (*fn)(void *arg), void *arg);

/* ---- connections ---- */
struct conn *conn_hold(struct conn *c);                     /* any thread */
void conn_drop(struct conn *c);                             /* any thread */
bool conn_open(const struct conn *c);                       /* any thread; may be stale the moment it returns */
uint64_t conn_id(const struct conn *c);                     /* never reused in this process */
const char *conn_peer(const struct conn *c);                /* "192.0.2.7:5000"; any thread */
const struct sockaddr_storage *conn_peer_addr(const struct conn *c);
void conn_set_data(struct conn *c, void *data);             /* the ctx's own word */
void *conn_data(const struct conn *c);
/* Any thread. What was sent before is written as far as the socket takes it at once. ops.closed is
 * never called from within; it comes from the loop a little later. */
void conn_close(struct conn *c);

/* Sends a command (request or reply) to the peer; any thread. On the conn's own
 * loop it is appended to the turn's output; elsewhere it is encoded at once and
 * handed over. A closed conn swallows it. */
void conn_send(struct conn *c, const struct command *cmd);

/* The same, followed by extents that are written from where they are (the mapped
 * log) and never copied. done(arg) is called exactly once, when they are no longer
 * needed, also when the conn is closed; on any thread, perhaps before this returns. */
void conn_send_extents(struct conn *c, const struct command *cmd, const struct iovec *iov, int n,
                       void (*done)(void *arg), void *arg);

/* Asks the peer (the broker asks clients: codes 40, 220, 307, ...). cb(arg, reply)
 * is called exactly once, on the conn's loop: with the answer, or with NULL after
 * timeout_ms (to 100 ms) or when the conn ends; without memory at once, here. cmd's code, ext fields, remark
 * and body are the caller's; the rest is set here. cb NULL: one-way. Any thread. */
void conn_ask(struct conn *c, struct command *cmd, int timeout_ms,
              void (*cb)(void *arg, const struct command *reply), void *arg);

/* ---- requests ----
 * A request is valid during its handler. To answer later, keep it: the kept one
 * has its own copy of everything and must be given back with request_free after
 * its reply. Every request gets exactly one reply, except one-way ones, for which
 * the reply functions do nothing. A handler that returns without a reply and
 * without keeping has a defect: the server answers SYSTEM_ERROR
 * "not set any response code" for it, as Apache does. */
void *request_ctx(const struct request *r);
const struct command *request_cmd(const struct request *r);
struct conn *request_conn(const struct request *r);
bool request_oneway(const struct request *r);
bool request_on_loop(const struct request *r);              /* false: on a worker */
struct request *request_keep(struct request *r);            /* NULL past kept_max or without memory: SYSTEM_BUSY was answered */
/* One that was never answered gets the SYSTEM_ERROR of above. A worker's handler frees only what it kept. */
void request_free(struct request *kept);
/* Runs fn(r) with the same request on a worker thread, for rare ways of a fast
 * operation that must wait for a disk (a send that creates its topic). Full: SYSTEM_BUSY was answered.
 * A kept r is given away with it: freed after fn unless fn keeps it again. */
void request_to_worker(struct request *r, void (*fn)(struct request *r));
/* Runs a kept request's fn on its connection's loop, never at once; any thread. fn must answer and free it,
 * or keep holding it. Also when the conn has closed meanwhile. The way in which a held pull is tried again. */
void request_to_loop(struct request *kept, void (*fn)(struct request *r));
/* A word of the handler's own on a kept request; NULL at first. The server neither reads nor frees it. */
void request_set_data(struct request *kept, void *data);
void *request_data(const struct request *kept);

/* Fills *hdr from the request's ext fields as fields_decode does. false: they were refused and that was answered;
 * the handler then just returns. */
bool request_fields(struct request *r, const struct field *rows, size_t n, void *hdr, size_t size);
#define REQUEST_FIELDS(r, rows, hdr) request_fields(r, rows, sizeof(rows) / sizeof((rows)[0]), hdr, sizeof(*(hdr)))

void reply(struct request *r, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));  /* fmt NULL: no remark */
void reply_fault(struct request *r, const struct fault *f);         /* its rc (or SYSTEM_ERROR) and sentence */
void reply_body(struct request *r, struct str body);                /* SUCCESS with a body */
/* For replies with ext fields: build starts from reply_start (opaque, flag, serialization, version are set). */
void reply_start(const struct request *r, struct command *out, int code);
void reply_send(struct request *r, const struct command *out);
void reply_extents(struct request *r, const struct command *out, const struct iovec *iov, int n,
                   void (*done)(void *arg), void *arg);

#endif
