#include "namesrv/keeper.h"

#include <errno.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/remoting/client.h"
#include "common/thread.h"

#define TELL_TIMEOUT_MS 300              /* as Apache's one-way call has */
#define NOTIFY_MIN_BROKER_ID_CHANGE 905

struct keeper {
    struct namesrv *ns;
    struct client *out;                  /* made when something is to be told */
    pthread_t thread;
    bool running;
    pthread_mutex_t lock;                /* guards what follows; a leaf */
    pthread_cond_t wake;
    bool stop;
    struct departure *first, **last;
    int32_t n;
    struct min_change *news;
};

int keeper_open(struct namesrv *ns, struct keeper **out)
{
    struct keeper *k = calloc(1, sizeof(*k));

    if (!k)
        return -ENOMEM;
    k->ns = ns;
    k->last = &k->first;
    pthread_mutex_init(&k->lock, NULL);
    cond_init(&k->wake);
    *out = k;
    return 0;
}

static void departures_free(struct departure *list)
{
    while (list) {
        struct departure *next = list->next;
        departure_free(list);
        list = next;
    }
}

bool keeper_depart(struct keeper *k, struct departure *d)
{
    bool taken;

    pthread_mutex_lock(&k->lock);
    taken = k->n < namesrv_conf(k->ns)->un_register_broker_queue_capacity;
    if (taken) {
        d->next = NULL;
        *k->last = d;
        k->last = &d->next;
        k->n++;
        pthread_cond_signal(&k->wake);
    }
    pthread_mutex_unlock(&k->lock);
    if (!taken)
        departure_free(d);
    return taken;
}

void keeper_tell(struct keeper *k, struct min_change *list)
{
    struct min_change **at;

    if (!list)
        return;
    pthread_mutex_lock(&k->lock);
    for (at = &k->news; *at;)
        at = &(*at)->next;
    *at = list;
    pthread_cond_signal(&k->wake);
    pthread_mutex_unlock(&k->lock);
}

static void tell_one(struct keeper *k, const struct min_change *c, const char *addr)
{
    struct command cmd = {.code = NOTIFY_MIN_BROKER_ID_CHANGE};
    char id[21];

    command_add_i64(&cmd, "minBrokerId", c->min_id, id);
    command_add(&cmd, "brokerName", str_of(c->broker_name));
    command_add(&cmd, "minBrokerAddr", str_of(c->min_addr));
    command_add(&cmd, "offlineBrokerAddr", str_of(c->offline_addr));
    command_add(&cmd, "haBrokerAddr", str_of(c->ha_addr));
    client_ask(k->out, addr, &cmd, TELL_TIMEOUT_MS, NULL, NULL);
}

static void tell(struct keeper *k, struct min_change *list)
{
    struct fault f = {0};

    if (!namesrv_conf(k->ns)->notify_min_broker_id_changed)
        return;
    if (!k->out && client_open(&k->out, &f)) {
        log_warn("namesrv: brokers cannot be told of their new smallest id: %s", f.text);
        return;
    }
    for (const struct min_change *c = list; c; c = c->next)
        for (size_t i = 0; i < c->n_to; i++)
            tell_one(k, c, c->to[i]);
}

static void depart(struct keeper *k, struct departure *list)
{
    struct min_change *changes = NULL;

    if (!list)
        return;
    routes_depart(k->ns->routes, list, &changes);
    departures_free(list);
    tell(k, changes);
    min_change_free(changes);
}

/* Waits for work until the deadline; true at the end. */
static bool wait_for_work(struct keeper *k, int64_t until_ms, struct departure **list, struct min_change **news)
{
    struct timespec t = {until_ms / 1000, until_ms % 1000 * 1000000};
    bool stop;

    pthread_mutex_lock(&k->lock);
    while (!k->stop && !k->first && !k->news && pthread_cond_timedwait(&k->wake, &k->lock, &t) == 0)
        ;
    *list = k->first;
    k->first = NULL;
    k->last = &k->first;
    k->n = 0;
    *news = k->news;
    k->news = NULL;
    stop = k->stop;
    pthread_mutex_unlock(&k->lock);
    return stop;
}

static void *keep(void *arg)
{
    struct keeper *k = arg;
    struct departure *list;
    struct min_change *news;
    int64_t scanned = mono_ms();
    bool stop;

    do {
        stop = wait_for_work(k, scanned + namesrv_conf(k->ns)->scan_not_active_broker_interval, &list, &news);
        depart(k, list);
        if (news)
            tell(k, news);
        min_change_free(news);
        if (mono_ms() - scanned >= namesrv_conf(k->ns)->scan_not_active_broker_interval) {
            scanned = mono_ms();
            depart(k, routes_silent(k->ns->routes, scanned));
        }
    } while (!stop);
    return NULL;
}

int keeper_run(struct keeper *k)
{
    int rc = thread_start(&k->thread, "route-expiry", keep, k);

    k->running = rc == 0;
    return rc;
}

void keeper_close(struct keeper *k)
{
    if (!k)
        return;
    pthread_mutex_lock(&k->lock);
    k->stop = true;
    pthread_cond_signal(&k->wake);
    pthread_mutex_unlock(&k->lock);
    if (k->running)
        pthread_join(k->thread, NULL);
    if (k->out)
        client_close(k->out);
    departures_free(k->first);
    min_change_free(k->news);
    pthread_cond_destroy(&k->wake);
    pthread_mutex_destroy(&k->lock);
    free(k);
}
