/* The name server's life, and its door's small functions. */
#include "namesrv/namesrv.h"

#include <errno.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "namesrv/keeper.h"
#include "namesrv/kv.h"
#include "namesrv/routes.h"

#define STOP_WAIT_MS 1000                /* for replies that are under way */

/* A connection ended: what registered through it goes. On a network loop. */
static void on_closed(void *ctx, struct conn *c)
{
    struct namesrv *ns = ctx;
    struct departure *d;

    if (!routes_has_conn(ns->routes, conn_id(c)))
        return;
    d = departure_of_conn(ns->routes, conn_id(c));
    if (!d || !keeper_depart(ns->keeper, d))
        log_warn("namesrv: %s left unnoticed; the next scan will find it silent", conn_peer(c));
}

static int open_server(struct namesrv *ns, struct fault *f)
{
    const struct namesrv_config *conf = namesrv_conf(ns);
    struct server_conf sc = {
        .bind = conf->bind_address,
        .ports = {conf->listen_port, -1},
        .loops = conf->server_selector_threads,
        .workers = conf->default_thread_pool_nums,
        .worker_queue = conf->default_thread_pool_queue_capacity,
        .frame_max = (size_t)conf->server_max_frame_bytes,
        .conns_max = conf->server_max_connections,
        .idle_seconds = conf->server_channel_max_idle_time_seconds,
        .out_max = (size_t)conf->server_max_output_bytes,
        .backlog = conf->server_socket_backlog,
        .name = "namesrv",
    };
    struct server_ops ops = {.ops = namesrv_ops, .n_ops = namesrv_n_ops, .closed = on_closed, .ctx = ns};

    return server_open(&sc, &ops, &ns->server, f);
}

static int open_parts(struct namesrv *ns, struct fault *f)
{
    int rc = kv_open(namesrv_conf(ns)->kv_config_path, &ns->kv, f);

    if (rc)
        return rc;
    if (routes_open(&ns->routes) || keeper_open(ns, &ns->keeper))
        return fault_errno(f, ENOMEM, "starting the name server");
    return open_server(ns, f);
}

int namesrv_open(struct namesrv_config *conf, struct namesrv **out, struct fault *f)
{
    struct namesrv *ns = calloc(1, sizeof(*ns));
    int rc;

    if (!ns || settings_open(conf, &ns->settings)) {
        free(ns);
        namesrv_config_free(conf);
        return fault_errno(f, ENOMEM, "starting the name server");
    }
    ns->started = mono_ms();
    rc = open_parts(ns, f);
    if (rc) {
        namesrv_close(ns);
        return rc;
    }
    *out = ns;
    return 0;
}

int namesrv_run(struct namesrv *ns, struct fault *f)
{
    int rc = keeper_run(ns->keeper);

    if (!rc)
        rc = server_run(ns->server);
    if (rc)
        return fault_errno(f, -rc, "starting the name server's threads");
    log_info("namesrv: serving on %s port %d", namesrv_conf(ns)->bind_address, namesrv_port(ns));
    return 0;
}

void namesrv_close(struct namesrv *ns)
{
    if (!ns)
        return;
    if (ns->server)
        server_stop(ns->server, STOP_WAIT_MS);
    keeper_close(ns->keeper);
    if (ns->server)
        server_free(ns->server);
    routes_close(ns->routes);
    kv_close(ns->kv);
    settings_close(ns->settings);
    free(ns);
}

int namesrv_port(const struct namesrv *ns) { return server_port(ns->server, 0); }

int namesrv_broker_at(struct namesrv *ns, uint32_t n, struct namesrv_broker *out)
{
    return routes_broker_at(ns->routes, n, out);
}

size_t namesrv_topic_count(struct namesrv *ns) { return routes_topic_count(ns->routes); }

int namesrv_topic_at(struct namesrv *ns, struct str topic, uint32_t n, struct namesrv_queue *out)
{
    return routes_topic_at(ns->routes, topic, n, out);
}
