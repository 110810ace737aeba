#include "broker/registrar.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/registrar_priv.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/thread.h"

int registrar_open(struct broker *b, struct registrar **out, struct fault *f)
{
    struct registrar *r = calloc(1, sizeof(*r));

    if (!r)
        return fault_errno(f, ENOMEM, "starting the registration");
    r->b = b;
    r->notes_end = &r->notes;
    r->zone = getenv("ROCKETMQ_ZONE") ? strdup(getenv("ROCKETMQ_ZONE")) : NULL;
    r->zone_mode = getenv("ROCKETMQ_ZONE_MODE") ? strdup(getenv("ROCKETMQ_ZONE_MODE")) : NULL;
    pthread_mutex_init(&r->lock, NULL);
    cond_init(&r->wake);
    cond_init(&r->answered);
    *out = r;
    return 0;
}

static void target_free(struct target *t)
{
    free(t->addr);
    free(t->order_topics);
    free(t);
}

static void notes_drop(struct registrar *r)
{
    struct note *n = r->notes;

    r->notes = n->next;
    if (!r->notes)
        r->notes_end = &r->notes;
    r->first_note++;
    free(n);
}

void registrar_close(struct registrar *r)
{
    if (!r)
        return;
    registrar_stop(r);
    while (r->targets) {
        struct target *t = r->targets;
        r->targets = t->next;
        target_free(t);
    }
    while (r->notes)
        notes_drop(r);
    pthread_cond_destroy(&r->answered);
    pthread_cond_destroy(&r->wake);
    pthread_mutex_destroy(&r->lock);
    free(r->zone);
    free(r->zone_mode);
    free(r);
}

/* ---- notes ---- */

static const struct note *note_at(const struct registrar *r, uint64_t n)
{
    const struct note *at = r->notes;

    for (uint64_t i = r->first_note; at && i < n; i++)
        at = at->next;
    return at;
}

/* Forgets what all have heard. A name server that is too far behind gets everything anew instead. */
static void notes_trim(struct registrar *r)
{
    uint64_t least = r->next_note;

    for (struct target *t = r->targets; t; t = t->next)
        if (t->noted < least)
            least = t->noted;
    if (r->next_note - least > NOTES_MAX)
        least = r->next_note - NOTES_MAX;
    while (r->notes && r->first_note < least)
        notes_drop(r);
    for (struct target *t = r->targets; t; t = t->next)
        if (t->noted < least && !t->sent) {
            t->noted = least;
            t->full_due = true;
        }
}

void registrar_note(struct registrar *r, struct str topic)
{
    struct note *n = malloc(sizeof(*n) + topic.n + 1);

    pthread_mutex_lock(&r->lock);
    if (n && topic.n <= TOPIC_NAME_MAX_LONG) {
        memcpy(n->name, topic.p, topic.n);
        n->name[topic.n] = 0;
        n->next = NULL;
        *r->notes_end = n;
        r->notes_end = &n->next;
        r->next_note++;
        n = NULL;
    } else {
        for (struct target *t = r->targets; t; t = t->next)
            t->full_due = true;
    }
    registrar_wake(r);
    pthread_mutex_unlock(&r->lock);
    free(n);
}

void registrar_kick(struct registrar *r)
{
    pthread_mutex_lock(&r->lock);
    for (struct target *t = r->targets; t; t = t->next) {
        t->full_due = true;
        t->retry_ms = 0;
    }
    registrar_wake(r);
    pthread_mutex_unlock(&r->lock);
}

/* Whether somebody who answers has not heard of all notes before `notes`, or has a full registration to come. */
static bool waits_for(const struct registrar *r, uint64_t notes)
{
    for (const struct target *t = r->targets; t; t = t->next)
        if (!t->failing && !t->error[0] && !t->removed &&
            (!t->registered || t->full_due || t->noted < notes || (t->sent && t->talk == TALK_FULL)))
            return true;
    return false;
}

void registrar_sync(struct registrar *r, int timeout_ms)
{
    int64_t until = mono_ms() + timeout_ms;
    struct timespec deadline = {until / 1000, until % 1000 * 1000000};
    uint64_t notes;

    pthread_mutex_lock(&r->lock);
    notes = r->next_note;
    while (r->running && !r->stop && waits_for(r, notes) &&
           pthread_cond_timedwait(&r->answered, &r->lock, &deadline) == 0)
        ;
    pthread_mutex_unlock(&r->lock);
}

/* ---- name servers ---- */

static struct target *target_find(struct registrar *r, struct str addr)
{
    for (struct target *t = r->targets; t; t = t->next)
        if (str_is(addr, t->addr))
            return t;
    return NULL;
}

static void target_add(struct registrar *r, struct str addr)
{
    struct target *t = target_find(r, addr);

    if (t) {
        t->removed = false;
        return;
    }
    t = calloc(1, sizeof(*t));
    if (!t || !(t->addr = str_dup(addr))) {
        free(t);
        log_error("no memory for name server %.*s", STR_ARG(addr));
        return;
    }
    t->r = r;
    t->knows_singles = true;
    t->noted = r->next_note;
    t->next = r->targets;
    r->targets = t;
}

/* Under the lock. */
static void set_targets(struct registrar *r, struct str addresses)
{
    for (struct target *t = r->targets; t; t = t->next)
        t->removed = true;
    while (addresses.n) {
        const char *end = memchr(addresses.p, ';', addresses.n);
        size_t n = end ? (size_t)(end - addresses.p) : addresses.n;
        struct str addr = str_trim(str_n(addresses.p, n));
        if (addr.n)
            target_add(r, addr);
        addresses = str_n(addresses.p + n + (end != NULL), addresses.n - n - (end != NULL));
    }
}

/* Takes those away that are no longer wanted and have nothing under way. Under the lock. */
static void drop_removed(struct registrar *r)
{
    for (struct target **at = &r->targets; *at;) {
        struct target *t = *at;
        if (t->removed && !t->sent) {
            *at = t->next;
            target_free(t);
        } else {
            at = &t->next;
        }
    }
}

void registrar_set_namesrv(struct registrar *r, struct str addresses)
{
    pthread_mutex_lock(&r->lock);
    set_targets(r, addresses);
    registrar_wake(r);
    pthread_mutex_unlock(&r->lock);
}

void registrar_each(struct registrar *r, void (*each)(void *arg, const char *addr, int64_t last_ok_ms, const char *error), void *arg)
{
    pthread_mutex_lock(&r->lock);
    for (const struct target *t = r->targets; t; t = t->next)
        if (!t->removed)
            each(arg, t->addr, t->last_ok_ms, t->error[0] ? t->error : NULL);
    pthread_mutex_unlock(&r->lock);
}

/* ---- the thread ---- */

/* The first topic that t must still hear of into t->topic; false: none. */
static bool next_topic(struct registrar *r, struct target *t)
{
    const struct note *n = t->noted < r->next_note ? note_at(r, t->noted) : NULL;

    if (!n)
        return false;
    t->only_if_gone = t->noted < t->covered;
    return str_copy(t->topic, sizeof(t->topic), str_of(n->name));
}

/* What t should do now; TALK_NONE: nothing. Under the lock. */
static enum talk next_talk(struct registrar *r, struct target *t, int64_t now)
{
    bool due = now >= t->due_ms;

    if (t->sent || t->removed || now < t->retry_ms)
        return TALK_NONE;
    if (t->talk != TALK_NONE && t->registered)       /* the next step with the same topic */
        return t->talk;
    if (!t->registered || t->full_due || r->next_note - t->noted > SINGLES_MAX + (t->covered > t->noted ? t->covered - t->noted : 0))
        return TALK_FULL;
    if (due)
        return broker_conf(r->b)->force_register ? TALK_FULL : TALK_VERSION;
    if (next_topic(r, t))
        return t->knows_singles ? TALK_SINGLE : TALK_INCREMENT;
    return TALK_NONE;
}

/* Chooses for each name server and starts what is to be done; whether anything was. */
static bool start_all(struct registrar *r)
{
    struct shared_body full = {0};
    int64_t now = mono_ms();
    bool any = false;

    pthread_mutex_lock(&r->lock);
    r->woken = false;
    drop_removed(r);
    notes_trim(r);
    for (struct target *t = r->stop ? NULL : r->targets; t; t = t->next) {
        enum talk talk = next_talk(r, t, now);
        if (talk == TALK_NONE)
            continue;
        t->talk = talk;
        t->sent = any = true;
        if (t->talk == TALK_FULL) {
            t->full_due = false;
            t->full_covers = r->next_note;
        }
        pthread_mutex_unlock(&r->lock);
        talk_start(r, t, &full);             /* only this thread takes targets away */
        pthread_mutex_lock(&r->lock);
    }
    pthread_mutex_unlock(&r->lock);
    buf_free(&full.bytes);
    return any;
}

/* When the next timed thing is due. Under the lock. */
static int64_t next_time(const struct registrar *r)
{
    int64_t at = mono_ms() + 60000;

    for (const struct target *t = r->targets; t; t = t->next) {
        int64_t its = !t->registered ? t->retry_ms : t->due_ms > t->retry_ms ? t->due_ms : t->retry_ms;
        if (!t->sent && its < at)
            at = its;
    }
    return at;
}

static char *take_order_topics(struct registrar *r)
{
    char *json = NULL;

    pthread_mutex_lock(&r->lock);
    for (struct target *t = r->targets; t && !json; t = t->next) {
        json = t->order_topics;
        t->order_topics = NULL;
    }
    pthread_mutex_unlock(&r->lock);
    return json;
}

static void *register_all(void *arg)
{
    struct registrar *r = arg;
    bool stop;

    do {
        bool any = start_all(r);
        char *order = take_order_topics(r);
        if (order)
            talk_order_topics(r, order);
        free(order);
        pthread_mutex_lock(&r->lock);
        if (!any && !order && !r->stop && !r->woken) {
            int64_t at = next_time(r);
            struct timespec deadline = {at / 1000, at % 1000 * 1000000};
            pthread_cond_timedwait(&r->wake, &r->lock, &deadline);
        }
        stop = r->stop;
        pthread_mutex_unlock(&r->lock);
    } while (!stop);
    return NULL;
}

/* brokerIP1 with the port in use; the replication port is the next one. */
static void find_address(struct registrar *r)
{
    const char *ip = broker_conf(r->b)->broker_ip1;
    bool v6 = strchr(ip, ':') != NULL;
    int port = server_port(r->b->server, 0);

    snprintf(r->addr, sizeof(r->addr), v6 ? "[%.100s]:%d" : "%.100s:%d", ip, port);
    snprintf(r->ha_addr, sizeof(r->ha_addr), v6 ? "[%.100s]:%d" : "%.100s:%d", ip, port + 1);
}

int registrar_run(struct registrar *r)
{
    int rc;

    find_address(r);
    pthread_mutex_lock(&r->lock);
    set_targets(r, str_of(broker_conf(r->b)->namesrv_addr));
    r->running = true;
    pthread_mutex_unlock(&r->lock);
    rc = thread_start(&r->thread, "registrar", register_all, r);
    if (rc)
        r->running = false;
    return rc;
}

/* ---- the end ---- */

static bool any_under_way(const struct registrar *r)
{
    for (const struct target *t = r->targets; t; t = t->next)
        if (t->sent)
            return true;
    return false;
}

static void wait_idle(struct registrar *r, int64_t until)
{
    struct timespec deadline = {until / 1000, until % 1000 * 1000000};

    while (any_under_way(r) && pthread_cond_timedwait(&r->answered, &r->lock, &deadline) == 0)
        ;
}

void registrar_stop(struct registrar *r)
{
    int64_t until = mono_ms() + GOODBYE_MS;

    pthread_mutex_lock(&r->lock);
    if (!r->running) {
        pthread_mutex_unlock(&r->lock);
        return;
    }
    r->stop = true;
    registrar_wake(r);
    pthread_cond_broadcast(&r->answered);
    pthread_mutex_unlock(&r->lock);
    pthread_join(r->thread, NULL);
    pthread_mutex_lock(&r->lock);
    r->running = false;
    wait_idle(r, until - GOODBYE_MS / 2);
    for (struct target *t = r->targets; t; t = t->next) {
        if (t->sent || !t->registered)
            continue;                        /* it does not answer, or never knew us */
        t->talk = TALK_GOODBYE;
        t->sent = true;
        pthread_mutex_unlock(&r->lock);
        talk_start(r, t, NULL);
        pthread_mutex_lock(&r->lock);
    }
    wait_idle(r, until);
    pthread_mutex_unlock(&r->lock);
}
