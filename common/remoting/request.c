#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/log.h"
#include "common/remoting/rebase.h"
#include "common/remoting/server_priv.h"

/* ---- finding the operation ---- */

int ops_index(struct server *s)
{
    const struct server_ops *ops = &s->ops;

    s->direct = malloc(OP_DIRECT * sizeof(s->direct[0]));
    if (!s->direct)
        return -ENOMEM;
    for (int i = 0; i < OP_DIRECT; i++)
        s->direct[i] = -1;
    for (size_t i = 0; i < ops->n_ops; i++) {
        int code = ops->ops[i].code;
        if (i > INT16_MAX || (i && code <= ops->ops[i - 1].code))
            return -EINVAL;
        if (code >= 0 && code < OP_DIRECT)
            s->direct[code] = (int16_t)i;
    }
    return 0;
}

static const struct op *op_find(const struct server *s, int code)
{
    size_t lo = 0, hi = s->ops.n_ops;

    if (code >= 0 && code < OP_DIRECT)
        return s->direct[code] < 0 ? NULL : &s->ops.ops[s->direct[code]];
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (s->ops.ops[mid].code < code)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < s->ops.n_ops && s->ops.ops[lo].code == code ? &s->ops.ops[lo] : NULL;
}

/* ---- counting ---- */

/* A loop counts for itself, so that counting costs no shared cache line. */
static void count(struct request *r, bool refused)
{
    struct loop *l = loop_here && loop_here->s == r->s ? loop_here : NULL;
    struct op_counter *n = (l ? l->counts : r->s->counts) + (r->op - r->s->ops.ops);
    _Atomic uint64_t *one = refused ? &n->refused : &n->requests;

    if (l)
        atomic_store_explicit(one, atomic_load_explicit(one, memory_order_relaxed) + 1, memory_order_relaxed);
    else
        atomic_fetch_add_explicit(one, 1, memory_order_relaxed);
}

static bool is_refusal(int code)
{
    return code != RC_SUCCESS && (code < RC_PULL_NOT_FOUND || code > RC_PULL_OFFSET_MOVED);
}

/* ---- what handlers ask ---- */

void *request_ctx(const struct request *r) { return r->s->ops.ctx; }
const struct command *request_cmd(const struct request *r) { return &r->cmd; }
struct conn *request_conn(const struct request *r) { return r->c; }
bool request_oneway(const struct request *r) { return r->oneway; }
bool request_on_loop(const struct request *r) { return loop_here == r->c->loop; }
void request_set_data(struct request *kept, void *data) { kept->data = data; }
void *request_data(const struct request *kept) { return kept->data; }

/* ---- replies ---- */

void reply_start(const struct request *r, struct command *out, int code)
{
    out->code = code;
    out->opaque = r->cmd.opaque;
    out->flag = FLAG_RESPONSE;
    out->version = VERSION_V5_5_0;
    out->language = LANG_OTHER;
    out->serialize = r->cmd.serialize;
    out->remark = (struct str){0};
    out->n_ext = 0;
    out->body = (struct str){0};
}

void reply_extents(struct request *r, const struct command *out, const struct iovec *iov, int n,
                   void (*done)(void *arg), void *arg)
{
    if (r->replied || r->passed) {
        log_error("a second answer to request %d of %s was dropped: a defect of its handler",
                  r->cmd.code, r->c->peer);
    } else {
        r->replied = true;
        if (r->op && is_refusal(out->code))
            count(r, true);
        if (!r->oneway) {
            conn_send_extents(r->c, out, iov, n, done, arg);
            return;
        }
    }
    if (done)
        done(arg);
}

void reply_send(struct request *r, const struct command *out)
{
    reply_extents(r, out, NULL, 0, NULL, NULL);
}

static void reply_remark(struct request *r, int code, struct str remark)
{
    struct command out;

    reply_start(r, &out, code);
    out.remark = remark;
    reply_send(r, &out);
}

void reply(struct request *r, int code, const char *fmt, ...)
{
    char text[1024];
    struct str remark = {0};

    if (fmt) {
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(text, sizeof(text), fmt, ap);
        va_end(ap);
        remark = str_of(text);
    }
    reply_remark(r, code, remark);
}

void reply_fault(struct request *r, const struct fault *f)
{
    reply_remark(r, f->rc ? f->rc : RC_SYSTEM_ERROR, str_of(f->text));
}

void reply_body(struct request *r, struct str body)
{
    struct command out;

    reply_start(r, &out, RC_SUCCESS);
    out.body = body;
    reply_send(r, &out);
}

bool request_fields(struct request *r, const struct field *rows, size_t n, void *hdr, size_t size)
{
    struct fault f = {0};

    if (fields_decode(rows, n, request_cmd(r), hdr, size, &f) == 0)
        return true;
    reply_fault(r, &f);
    return false;
}

/* ---- keeping ---- */

/* Books one more kept request; false when there is no room for it. */
static bool pending_add(struct server *s, size_t bytes)
{
    bool room;

    pthread_mutex_lock(&s->pending_lock);
    room = s->pending_bytes < s->conf.kept_max && bytes <= s->conf.kept_max - s->pending_bytes;
    if (room) {
        s->pending++;
        s->pending_bytes += bytes;
    }
    pthread_mutex_unlock(&s->pending_lock);
    return room;
}

static void pending_less(struct server *s, size_t bytes)
{
    pthread_mutex_lock(&s->pending_lock);
    s->pending_bytes -= bytes;
    if (--s->pending == 0)
        pthread_cond_broadcast(&s->pending_less);
    pthread_mutex_unlock(&s->pending_lock);
}

struct request *request_keep(struct request *r)
{
    struct request *k;

    if (r->kept) {
        if (r->taken) {
            *r->taken = true;
            r->taken = NULL;
        }
        return r;
    }
    if (!pending_add(r->s, sizeof(*k) + r->frame_len)) {
        reply(r, RC_SYSTEM_BUSY, "requests under way take all the memory that they may: try again");
        return NULL;
    }
    k = malloc(sizeof(*k) + r->frame_len);
    if (!k) {
        pending_less(r->s, sizeof(*k) + r->frame_len);
        reply(r, RC_SYSTEM_BUSY, "no memory to keep the request");
        return NULL;
    }
    memcpy(k->frame_copy, r->frame, r->frame_len);
    k->task = (struct task){0};
    k->s = r->s;
    k->c = conn_hold(r->c);
    k->op = r->op;
    k->fn = NULL;
    k->data = NULL;
    k->taken = NULL;
    k->kept = true;
    k->passed = false;
    k->oneway = r->oneway;
    k->replied = r->replied;
    k->frame = k->frame_copy;
    k->frame_len = r->frame_len;
    command_rebase(&k->cmd, &r->cmd, r->frame, r->frame_len, k->frame_copy);
    r->passed = true;
    return k;
}

static void answer_forgotten(struct request *r)
{
    if (!r->replied && !r->passed)
        reply(r, RC_SYSTEM_ERROR, "not set any response code");
}

void request_free(struct request *k)
{
    struct server *s = k->s;
    size_t bytes = sizeof(*k) + k->frame_len;

    if (k->taken)
        *k->taken = true;       /* given back by the worker's handler itself */
    answer_forgotten(k);
    conn_drop(k->c);
    free(k);
    pending_less(s, bytes);
}

static void run_on_worker(void *arg)
{
    struct request *r = arg;
    bool taken = false;

    r->taken = &taken;
    if (atomic_load_explicit(&r->s->hurry, memory_order_relaxed))
        reply(r, RC_SYSTEM_BUSY, "the server is stopping");
    else
        r->fn(r);
    if (!taken)                 /* else r belongs to whoever kept it, and may be gone */
        request_free(r);
}

void request_to_worker(struct request *r, void (*fn)(struct request *r))
{
    struct request *k;

    if (r->taken) {             /* on a worker already */
        fn(r);
        return;
    }
    k = request_keep(r);
    if (!k)
        return;
    k->fn = fn;
    if (!workers_push(&k->s->workers, 0, run_on_worker, k)) {
        reply(k, RC_SYSTEM_BUSY, "[OVERLOAD]%d requests are waiting for worker threads already",
              k->s->conf.worker_queue);
        request_free(k);
    }
}

static void run_on_loop(struct task *t)
{
    struct request *r = (struct request *)t;

    r->fn(r);
}

void request_to_loop(struct request *kept, void (*fn)(struct request *r))
{
    kept->fn = fn;
    kept->task.run = run_on_loop;
    loop_push(kept->c->loop, &kept->task);
}

/* ---- the way in ---- */

int request_serve(struct conn *c, char *frame, size_t len)
{
    struct request r;           /* not zeroed: its command is large */

    if (command_decode(frame, len, &r.cmd))
        return -EBADMSG;
    if (r.cmd.flag & FLAG_RESPONSE) {
        if (!ask_answered(c, &r.cmd))
            log_debug("%s: %s answered opaque %d, which nobody waits for", c->loop->s->conf.name,
                      c->peer, r.cmd.opaque);
        return 0;
    }
    atomic_store_explicit(&c->serialize, r.cmd.serialize, memory_order_relaxed);
    r.s = c->loop->s;
    r.c = c;
    r.op = op_find(r.s, r.cmd.code);
    r.taken = NULL;
    r.kept = r.passed = r.replied = false;
    r.oneway = r.cmd.flag & FLAG_ONEWAY;
    r.frame = frame;
    r.frame_len = len;
    if (r.op && (r.op->flags & OP_MAIN_PORT) && c->port_index != 0)
        r.op = NULL;
    if (!r.op) {
        reply(&r, RC_REQUEST_CODE_NOT_SUPPORTED, " request type %d not supported", r.cmd.code);
        return 0;
    }
    count(&r, false);
    if (r.op->flags & OP_WORKER)
        request_to_worker(&r, r.op->handle);
    else
        r.op->handle(&r);
    answer_forgotten(&r);
    return 0;
}
