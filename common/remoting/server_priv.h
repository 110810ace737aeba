/* What the files of the remoting server share; nobody else includes this.
 *
 *   server.c   opens, runs, stops; accepts connections and deals them out
 *   loop.c     a loop thread: its tasks from other threads, its sweep timer
 *   conn.c     a connection's life: reading, splitting frames, closing
 *   out.c      a connection's output: encoding, one write a turn, back pressure
 *   ask.c      requests of ours to the peer
 *   request.c  requests of the peer: dispatch and replies
 *   workers.c  threads for what may wait for a disk
 *
 * From socket to handler: on_read (conn.c) -> conn_feed -> request_serve
 * (request.c) -> the op's handler -> reply -> conn_send (out.c); then conn_flush. */
#ifndef COMMON_REMOTING_SERVER_PRIV_H
#define COMMON_REMOTING_SERVER_PRIV_H

#include <pthread.h>
#include <stdatomic.h>
#include <uv.h>

#include "common/remoting/server.h"

#define IN_SIZE 262144              /* a loop's read buffer: the most that one read takes */
#define IN_TAIL_COPIED 4096         /* a longer piece of a frame is read on in the conn's own buffer */
#define OUT_KEPT 65536              /* an output buffer larger than this is not kept for reuse */
#define OUT_SPARES 64               /* output buffers that a loop keeps */
#define OUT_WINDOW 256              /* pieces handed to one writev */
#define ASK_BUCKETS 64
#define OP_DIRECT 1024              /* codes below it are found by index, others by bisection */
#define ASK_TICK_MS 100             /* resolution of conn_ask's timeouts */
#define SWEEP_MS 1000               /* longest distance of two sweeps for idle connections */

/* Something for a loop to run: from other threads, or from itself for later. */
struct task {
    struct task *next;
    void (*run)(struct task *t);
};

struct op_counter {
    _Atomic uint64_t requests, refused;
};

struct done {                       /* called once its bytes are no longer needed */
    void (*fn)(void *arg);
    void *arg;
};

struct piece {
    const char *p;                  /* NULL: own bytes, at `at` in out.bytes (which moves as it grows) */
    size_t at, n;
};

/* Output of a connection between two writes. A connection has one that is being
 * filled and at most one that the socket did not take at once; idle ones have none. */
struct out {
    struct out *next;               /* among the loop's spares */
    struct buf bytes;
    struct piece *pieces;
    unsigned n_pieces, cap_pieces;
    struct done *dones;
    unsigned n_dones, cap_dones;
    size_t left;                    /* bytes the socket has not taken yet */
    unsigned at_piece;              /* the first of them: piece and byte in it */
    size_t at_byte;
    size_t window;                  /* bytes of the uv_write under way */
    uv_write_t req;
};

struct ask {
    struct task task;               /* on its way to the loop */
    struct ask *next;               /* in the loop's bucket */
    struct conn *c;
    int32_t opaque;
    int timeout_ms;
    int64_t deadline;               /* uv_now of the loop */
    void (*cb)(void *arg, const struct command *reply);
    void *arg;
};

struct loop {
    struct server *s;
    int index;
    bool threaded;                  /* thread is to be joined */
    pthread_t thread;
    uv_loop_t uv;
    uv_poll_t wake;                 /* the reading end below */
    int wake_fds[2];                /* a pipe: a byte in it wakes the loop */
    uv_prepare_t before_poll;
    uv_timer_t sweep;
    _Atomic(struct task *) tasks;   /* newest first; TASKS_CLOSED once the loop has ended */
    char *in;                       /* IN_SIZE bytes */
    struct conn *conns;
    struct conn *dirty;             /* have output to write before the next poll */
    struct out *spares;
    unsigned n_spares;
    struct ask *asks[ASK_BUCKETS];  /* by opaque */
    unsigned n_asks;
    uint64_t sweep_every;           /* ms, as the timer is set */
    bool deaf;                      /* the server stops: nothing is read any more */
    bool finishing;                 /* closes connections as their output is written */
    int finish_ms;
    int64_t finish_by;              /* uv_now; then closes them anyway */
    struct task quiet, finish;
    struct op_counter *counts;      /* one per op, written by this loop only */
    atomic_int n_conns;             /* dealt to this loop and not closed yet */
};

struct conn {
    uv_tcp_t tcp;
    struct loop *loop;
    struct conn *next, *prev;       /* loop->conns */
    struct conn *next_dirty, *prev_dirty;
    atomic_int refs;
    atomic_bool open;
    _Atomic(void *) data;
    _Atomic uint8_t serialize;      /* of the peer's newest request */
    uint64_t id;
    int port_index;
    bool shut;                      /* uv_close was called */
    bool dirty, in_turn, paused;
    struct buf tail;                /* a frame's beginning (while paused: any input) */
    bool reading_tail;              /* the read under way goes to tail, not to loop->in */
    int64_t tail_since;             /* uv_now when tail's frame began */
    int64_t active;                 /* uv_now of the last byte in or out */
    struct out *filling, *writing;
    unsigned n_asks;
    struct sockaddr_storage addr;
    char peer[64];
};

struct request {
    struct task task;               /* on its way to the loop */
    struct server *s;
    struct conn *c;
    const struct op *op;            /* NULL: unknown code */
    void (*fn)(struct request *r);  /* what the worker or the loop is to run */
    void *data;                     /* of a kept one: its keeper's */
    bool *taken;                    /* on a worker: set when the handler keeps it */
    bool kept;                      /* it is a copy of its own, holds its conn */
    bool passed;                    /* it was kept: the copy answers */
    bool oneway, replied;
    const char *frame;              /* what cmd's texts point into */
    size_t frame_len;
    struct command cmd;
    char frame_copy[];              /* of a kept one */
};

struct work {
    void (*fn)(void *arg);
    void *arg;
};

struct later {
    int64_t due;                    /* mono us */
    struct work work;
};

struct workers {
    pthread_mutex_t lock;           /* guards all below; nothing else is taken under it */
    pthread_cond_t more;
    struct work *ring;
    unsigned head, n, cap;
    struct later *later;            /* a heap, the earliest first; NULL: there never is any */
    unsigned n_later;
    bool closed;                    /* takes no more; what is left is done at once, then threads end */
    bool background;                /* constant: its threads come after all others */
    pthread_t *threads;
    int n_threads, n_started;
};

struct listener {
    struct server *s;
    int fd, port, index;
    uv_poll_t poll;
    bool polled;                    /* poll was initialised */
    bool resting;                   /* out of descriptors: not polled until the next sweep */
};

struct server {
    struct server_conf conf;        /* name is owned; bind is not kept */
    struct server_ops ops;
    int16_t *direct;                /* op index by code below OP_DIRECT; -1: none */
    struct op_counter *counts;      /* of threads that are no loop */
    struct listener listeners[2];
    struct loop *loops;
    int n_loops;
    unsigned next_loop;             /* loop 0's: who gets the next connection among equals */
    int64_t full_logged;            /* loop 0's: when "too many connections" was logged */
    struct workers workers;         /* for requests */
    struct workers background;      /* for server_work */
    _Atomic uint64_t conn_ids;
    atomic_int opaques;
    bool stopped;
    atomic_bool hurry;              /* the stop's time is over: workers refuse what they have not begun */
    pthread_mutex_t pending_lock;   /* guards pending and its bytes; nothing else is taken under it */
    pthread_cond_t pending_less;
    long pending;                   /* kept requests that were not freed yet */
    size_t pending_bytes;           /* their size */
};

/* The loop whose thread this is; NULL on others. */
extern __thread struct loop *loop_here;

/* loop.c */
int loop_open(struct loop *l, struct server *s, int index);     /* 0 or -errno; then loop_free does nothing */
int loop_start(struct loop *l);
/* The end in three steps, each once, from the stopping thread: */
void loop_quiet(struct loop *l);                /* no new connection and no reading */
void loop_finish(struct loop *l, int wait_ms);  /* write what waits, close all, end */
void loop_join(struct loop *l);                 /* waits for the end; runs to it here if never started */
void loop_free(struct loop *l);
/* Has t->run(t) called on the loop; on this thread, at once, when the loop has ended. Any thread. */
void loop_push(struct loop *l, struct task *t);
void loop_sweep_soon(struct loop *l);           /* an ask was added: sweep in ASK_TICK_MS steps */
void loop_check_finished(struct loop *l);

/* server.c */
void server_rest_over(struct server *s);        /* loop 0's sweep: poll listeners again */
void server_stop_listening(struct server *s);   /* on loop 0 */

/* conn.c */
/* Takes over fd (also when it fails: closed then). On the loop's thread. */
void conn_new(struct loop *l, int fd, int port_index, const struct sockaddr_storage *addr);
void conn_shut(struct conn *c, const char *why);        /* on its loop; why NULL: not logged */
void conn_resume(struct conn *c);               /* reading goes on after a pause */
void conn_stop_reading(struct conn *c);
void conn_sweep(struct conn *c, int64_t now, int64_t idle_ms);

/* out.c */
void conn_flush(struct conn *c);                /* writes what the conn's output holds */
size_t conn_waiting(const struct conn *c);      /* bytes of output not taken by the socket */
void out_drop(struct conn *c);                  /* at close: gives back what was never written */
void out_free(struct out *o);

/* ask.c */
bool ask_answered(struct conn *c, const struct command *reply);     /* false: nobody asked */
void ask_sweep(struct loop *l, int64_t now);    /* those whose time is over */
void ask_conn_ended(struct conn *c);

/* request.c */
/* Decodes one frame and has it handled. 0, or -EBADMSG: it is broken, nothing was done. */
int request_serve(struct conn *c, char *frame, size_t len);
int ops_index(struct server *s);                /* 0, -ENOMEM, or -EINVAL: not ascending */

/* workers.c */
int workers_open(struct workers *w, int threads, int queue, bool background);
int workers_start(struct workers *w);
void workers_close(struct workers *w);          /* runs what is queued, joins; may be called twice */
void workers_free(struct workers *w);
/* due: mono us, 0 for at once; of background workers only. False: too much waits already. */
bool workers_push(struct workers *w, int64_t due, void (*fn)(void *arg), void *arg);

#endif
