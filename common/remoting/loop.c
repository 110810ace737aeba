#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/remoting/server_priv.h"
#include "common/thread.h"

__thread struct loop *loop_here;

/* In a loop's task list: the loop has ended and takes no more. */
static struct task tasks_closed;

/* Runs all tasks in the order in which they came. */
static void run_tasks(struct loop *l)
{
    struct task *newest = atomic_load(&l->tasks) ? atomic_exchange(&l->tasks, NULL) : NULL;
    struct task *first = NULL;

    while (newest) {
        struct task *t = newest;
        newest = t->next;
        t->next = first;
        first = t;
    }
    while (first) {
        struct task *t = first;
        first = t->next;        /* run may free or push it again */
        t->run(t);
    }
}

/* A pipe, not uv_async: the write wakes the loop's thread on the processor that is awake, where an eventfd may have to
 * wake an idle one first. A push from one loop to another arrives 30 to 40 us sooner so (load rtt, 2 cores). A full
 * pipe needs no byte: the loop has not read those that are in it. */
static void wake(struct loop *l)
{
    while (write(l->wake_fds[1], "", 1) < 0 && errno == EINTR)
        ;
}

void loop_push(struct loop *l, struct task *t)
{
    struct task *head = atomic_load(&l->tasks);

    do {
        if (head == &tasks_closed) {
            t->run(t);
            return;
        }
        t->next = head;
    } while (!atomic_compare_exchange_weak(&l->tasks, &head, t));
    if (!head && loop_here != l)        /* not the first: the wake-up is under way; here: before_poll sees it */
        wake(l);
}

static void flush_dirty(struct loop *l)
{
    while (l->dirty)
        conn_flush(l->dirty);
}

static void on_wake(uv_poll_t *h, int status, int events)
{
    struct loop *l = h->data;
    char bytes[64];

    (void)status;
    (void)events;
    while (read(l->wake_fds[0], bytes, sizeof(bytes)) == (ssize_t)sizeof(bytes))
        ;
    run_tasks(l);
}

/* The end of each round of the loop: whatever a callback of this thread left to do. */
static void on_before_poll(uv_prepare_t *h)
{
    struct loop *l = h->data;

    run_tasks(l);
    flush_dirty(l);
    /* What ran may have pushed tasks: they wait for the next round, and it comes at once. */
    if (atomic_load(&l->tasks))
        wake(l);
}

static void on_sweep(uv_timer_t *h);

static uint64_t sweep_distance(const struct loop *l)
{
    uint64_t every = SWEEP_MS;
    uint64_t idle = (uint64_t)l->s->conf.idle_seconds * 1000 / 4;

    if (l->s->conf.idle_seconds > 0 && idle < every)
        every = idle;
    if ((l->n_asks || l->finishing) && every > ASK_TICK_MS)
        every = ASK_TICK_MS;
    return every;
}

static void set_sweep(struct loop *l)
{
    uint64_t every = sweep_distance(l);

    if (every == l->sweep_every || uv_is_closing((uv_handle_t *)&l->sweep))
        return;
    l->sweep_every = every;
    uv_timer_start(&l->sweep, on_sweep, every, every);
}

void loop_sweep_soon(struct loop *l)
{
    set_sweep(l);
}

static void on_sweep(uv_timer_t *h)
{
    struct loop *l = h->data;
    int64_t now = (int64_t)uv_now(&l->uv);
    int64_t idle_ms = (int64_t)l->s->conf.idle_seconds * 1000;

    if (l->n_asks)
        ask_sweep(l, now);
    for (struct conn *c = l->conns, *next; c; c = next) {
        next = c->next;
        if (l->finishing && now >= l->finish_by)
            conn_shut(c, "its output could not be written before the end");
        else if (idle_ms > 0)
            conn_sweep(c, now, idle_ms);
    }
    if (l->index == 0)
        server_rest_over(l->s);
    set_sweep(l);
}

int loop_open(struct loop *l, struct server *s, int index)
{
    int rc;

    l->s = s;
    l->index = index;
    l->in = malloc(IN_SIZE);
    l->counts = calloc(s->ops.n_ops + 1, sizeof(*l->counts));
    if (!l->in || !l->counts) {
        rc = -ENOMEM;
        goto no_memory;
    }
    if ((rc = uv_loop_init(&l->uv)) != 0)
        goto no_memory;
    if (pipe2(l->wake_fds, O_NONBLOCK | O_CLOEXEC) < 0) {
        rc = -errno;
        goto no_pipe;
    }
    if ((rc = uv_poll_init(&l->uv, &l->wake, l->wake_fds[0])) != 0)
        goto no_poll;
    uv_poll_start(&l->wake, UV_READABLE, on_wake);
    uv_prepare_init(&l->uv, &l->before_poll);       /* these cannot fail */
    uv_timer_init(&l->uv, &l->sweep);
    l->wake.data = l->before_poll.data = l->sweep.data = l;
    uv_prepare_start(&l->before_poll, on_before_poll);
    set_sweep(l);
    return 0;

no_poll:
    close(l->wake_fds[0]);
    close(l->wake_fds[1]);
no_pipe:
    uv_loop_close(&l->uv);
no_memory:
    free(l->in);
    free(l->counts);
    l->in = NULL;
    l->counts = NULL;
    return rc;
}

/* Runs until loop_finish's work is done, then closes the task list; tasks that
 * slipped in before that are run here, still on the loop's thread. */
static void *loop_main(void *arg)
{
    struct loop *l = arg;
    struct task *none = NULL;

    loop_here = l;
    uv_run(&l->uv, UV_RUN_DEFAULT);
    while (!atomic_compare_exchange_strong(&l->tasks, &none, &tasks_closed)) {
        run_tasks(l);
        none = NULL;
    }
    loop_here = NULL;
    return NULL;
}

int loop_start(struct loop *l)
{
    int rc = thread_start(&l->thread, "network", loop_main, l);

    l->threaded = rc == 0;
    return rc;
}

void loop_check_finished(struct loop *l)
{
    if (!l->finishing || l->conns || uv_is_closing((uv_handle_t *)&l->wake))
        return;
    uv_close((uv_handle_t *)&l->wake, NULL);
    uv_close((uv_handle_t *)&l->before_poll, NULL);
    uv_close((uv_handle_t *)&l->sweep, NULL);
}

static void run_quiet(struct task *t)
{
    struct loop *l = (struct loop *)((char *)t - offsetof(struct loop, quiet));

    l->deaf = true;
    if (l->index == 0)
        server_stop_listening(l->s);
    for (struct conn *c = l->conns; c; c = c->next)
        conn_stop_reading(c);
}

void loop_quiet(struct loop *l)
{
    l->quiet.run = run_quiet;
    loop_push(l, &l->quiet);
}

static void run_finish(struct task *t)
{
    struct loop *l = (struct loop *)((char *)t - offsetof(struct loop, finish));

    l->finishing = true;
    l->finish_by = (int64_t)uv_now(&l->uv) + l->finish_ms;
    set_sweep(l);
    for (struct conn *c = l->conns, *next; c; c = next) {
        next = c->next;
        conn_flush(c);
        if (!conn_waiting(c))
            conn_shut(c, NULL);
    }
    loop_check_finished(l);
}

void loop_finish(struct loop *l, int wait_ms)
{
    l->finish_ms = wait_ms;
    l->finish.run = run_finish;
    loop_push(l, &l->finish);
}

void loop_join(struct loop *l)
{
    if (l->threaded)
        pthread_join(l->thread, NULL);
    else
        loop_main(l);
}

void loop_free(struct loop *l)
{
    if (!l->in)
        return;
    uv_loop_close(&l->uv);
    close(l->wake_fds[0]);          /* not before: who pushed the last task may still be about to write */
    close(l->wake_fds[1]);
    while (l->spares) {
        struct out *o = l->spares;
        l->spares = o->next;
        out_free(o);
    }
    free(l->in);
    free(l->counts);
}
