/* Requests of ours to a peer and their answers. Only the conn's loop touches
 * the table, so it needs no lock. */
#include <stdlib.h>

#include "common/log.h"
#include "common/remoting/server_priv.h"

static struct ask **bucket(struct loop *l, int32_t opaque)
{
    return &l->asks[(uint32_t)opaque % ASK_BUCKETS];
}

static void ask_end(struct ask *a, const struct command *reply)
{
    a->cb(a->arg, reply);
    conn_drop(a->c);
    free(a);
}

static void ask_note(struct ask *a)
{
    struct loop *l = a->c->loop;
    struct ask **b = bucket(l, a->opaque);

    a->deadline = (int64_t)uv_now(&l->uv) + a->timeout_ms;
    a->next = *b;
    *b = a;
    a->c->n_asks++;
    if (l->n_asks++ == 0)
        loop_sweep_soon(l);
}

/* Takes the one at *at out of the table. */
static struct ask *ask_take(struct loop *l, struct ask **at)
{
    struct ask *a = *at;

    *at = a->next;
    a->c->n_asks--;
    l->n_asks--;
    return a;
}

static void run_ask(struct task *t)
{
    struct ask *a = (struct ask *)t;

    if (a->c->shut)
        ask_end(a, NULL);
    else
        ask_note(a);
}

void conn_ask(struct conn *c, struct command *cmd, int timeout_ms,
              void (*cb)(void *arg, const struct command *reply), void *arg)
{
    struct ask *a;

    cmd->opaque = atomic_fetch_add(&c->loop->s->opaques, 1) + 1;
    cmd->flag = cb ? 0 : FLAG_ONEWAY;
    cmd->version = VERSION_V5_5_0;
    cmd->language = LANG_OTHER;
    cmd->serialize = atomic_load_explicit(&c->serialize, memory_order_relaxed);
    if (!cb) {
        conn_send(c, cmd);
        return;
    }
    a = malloc(sizeof(*a));
    if (!a) {
        log_error("%s: no memory to ask it", c->peer);
        cb(arg, NULL);
        return;
    }
    *a = (struct ask){.task.run = run_ask, .c = conn_hold(c), .opaque = cmd->opaque,
                      .timeout_ms = timeout_ms, .cb = cb, .arg = arg};
    /* Noted before it is sent, on either way, so that the answer finds it. */
    if (loop_here == c->loop && !c->shut)
        ask_note(a);
    else
        loop_push(c->loop, &a->task);
    conn_send(c, cmd);
}

bool ask_answered(struct conn *c, const struct command *reply)
{
    for (struct ask **at = bucket(c->loop, reply->opaque); *at; at = &(*at)->next)
        if ((*at)->opaque == reply->opaque && (*at)->c == c) {
            ask_end(ask_take(c->loop, at), reply);
            return true;
        }
    return false;
}

/* Ends those of conn c (NULL: of any) whose time is over at now. They are taken
 * out first, because their callbacks may ask again. */
static void end_some(struct loop *l, const struct conn *c, int64_t now)
{
    struct ask *over = NULL;

    for (int i = 0; i < ASK_BUCKETS; i++)
        for (struct ask **at = &l->asks[i]; *at;) {
            if ((c && (*at)->c != c) || (*at)->deadline > now) {
                at = &(*at)->next;
                continue;
            }
            struct ask *a = ask_take(l, at);
            a->next = over;
            over = a;
        }
    while (over) {
        struct ask *a = over;
        over = a->next;
        ask_end(a, NULL);
    }
}

void ask_sweep(struct loop *l, int64_t now)
{
    end_some(l, NULL, now);
}

void ask_conn_ended(struct conn *c)
{
    if (c->n_asks)
        end_some(c->loop, c, INT64_MAX);
}
