/* The broker's life: its parts are opened in the order of the house, from the
 * ground up, and closed in reverse. */
#include "broker/broker.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "broker/audit.h"
#include "broker/clients.h"
#include "broker/config_live.h"
#include "broker/hold.h"
#include "broker/meta.h"
#include "broker/offsets.h"
#include "broker/order_locks.h"
#include "broker/registrar.h"
#include "broker/retention.h"
#include "broker/runtime.h"
#include "broker/saver.h"
#include "broker/schedule.h"
#include "broker/state.h"
#include "broker/stats.h"
#include "broker/ticker.h"
#include "broker/topics_auto.h"
#include "common/clock.h"
#include "common/codes.h"
#include "common/file.h"
#include "common/log.h"

#define STOP_WAIT_MS 3000            /* for replies under way when the broker stops */

/* ---- what the saver keeps on disk ---- */
static void encode_topics(void *b, struct buf *out) { meta_encode_topics(((struct broker *)b)->meta, out); }
static void encode_groups(void *b, struct buf *out) { meta_encode_groups(((struct broker *)b)->meta, out); }
static void encode_producers(void *b, struct buf *out) { meta_encode_producers(((struct broker *)b)->meta, out); }
static void encode_offsets(void *b, struct buf *out) { offsets_encode(((struct broker *)b)->offsets, out, true); }
static void encode_delay(void *b, struct buf *out) { schedule_encode(((struct broker *)b)->schedule, out, true); }

static int64_t changes_of(struct meta *m, const int64_t *counter)
{
    int64_t v;
    meta_read(m);
    v = *counter;
    meta_done(m);
    return v;
}

static int64_t topic_changes(void *b) { struct meta *m = ((struct broker *)b)->meta; return changes_of(m, &m->topic_changes); }
static int64_t group_changes(void *b) { struct meta *m = ((struct broker *)b)->meta; return changes_of(m, &m->group_changes); }
static int64_t producer_changes(void *b) { struct meta *m = ((struct broker *)b)->meta; return changes_of(m, &m->producer_changes); }
static int64_t offset_changes(void *b) { return offsets_changes(((struct broker *)b)->offsets); }
static int64_t delay_changes(void *b) { return schedule_changes(((struct broker *)b)->schedule); }

static int decode_topics(void *b, struct str text) { return meta_decode_topics(((struct broker *)b)->meta, text); }
static int decode_groups(void *b, struct str text) { return meta_decode_groups(((struct broker *)b)->meta, text); }
static int decode_producers(void *b, struct str text) { return meta_decode_producers(((struct broker *)b)->meta, text); }
static int decode_offsets(void *b, struct str text) { return offsets_decode(((struct broker *)b)->offsets, text); }
static int decode_delay(void *b, struct str text) { return schedule_decode(((struct broker *)b)->schedule, text); }

enum { FILE_TOPICS, FILE_GROUPS, FILE_PRODUCERS, FILE_OFFSETS, FILE_DELAY, N_FILES };

#define TABLE_MAX ((size_t)1 << 30)  /* bytes a table's file may have */

static const struct table_file {
    struct saved_file saved;
    int (*decode)(void *b, struct str text);
} table_files[N_FILES] = {
    [FILE_TOPICS] = {{"topics.json", encode_topics, topic_changes, 0}, decode_topics},
    [FILE_GROUPS] = {{"subscriptionGroup.json", encode_groups, group_changes, 0}, decode_groups},
    [FILE_PRODUCERS] = {{"producerGroup.json", encode_producers, producer_changes, 0}, decode_producers},
    [FILE_OFFSETS] = {{"consumerOffset.json", encode_offsets, offset_changes, 5000}, decode_offsets},
    [FILE_DELAY] = {{"delayOffset.json", encode_delay, delay_changes, 10000}, decode_delay},
};

static int load_tables(struct broker *b, const char *dir, struct fault *f)
{
    for (int i = 0; i < N_FILES; i++) {
        char path[4200];
        int rc;

        snprintf(path, sizeof(path), "%s/%s", dir, table_files[i].saved.name);
        rc = file_load_or_bak(path, TABLE_MAX, table_files[i].decode, b, f);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int open_saver(struct broker *b, const char *dir, struct fault *f)
{
    const struct broker_config *conf = broker_conf(b);
    struct saved_file files[N_FILES];

    for (int i = 0; i < N_FILES; i++)
        files[i] = table_files[i].saved;
    files[FILE_OFFSETS].period_ms = conf->flush_consumer_offset_interval;
    files[FILE_DELAY].period_ms = conf->flush_delay_offset_interval;
    return saver_open(dir, files, N_FILES, b, &b->saver, f);
}

/* ---- opening, from the ground up ---- */

static int64_t hot_bytes(const struct broker_config *conf)
{
    int64_t memory = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
    return memory / 100 * conf->access_message_in_memory_max_ratio;
}

/* The key's 0 is the store's "none". */
static int32_t least_pages(int32_t n) { return n ? n : -1; }

static int open_store(struct broker *b, struct fault *f)
{
    const struct broker_config *conf = broker_conf(b);
    struct store_conf sc = {
        .root = conf->store_path_root_dir,
        .commit_log = conf->store_path_commit_log,
        .commit_log_file_size = conf->mapped_file_size_commit_log,
        .consume_queue_file_size = conf->mapped_file_size_consume_queue,
        .queue_ext = conf->enable_consume_queue_ext,
        .queue_ext_file_size = conf->mapped_file_size_consume_queue_ext,
        .max_message_size = conf->max_message_size,
        .sync_flush = conf->flush_disk_type == FLUSH_SYNC,
        .flush_interval_ms = conf->flush_interval_commit_log,
        .flush_least_pages = least_pages(conf->flush_commit_log_least_pages),
        .flush_thorough_ms = conf->flush_commit_log_thorough_interval,
        .flush_queue_interval_ms = conf->flush_interval_consume_queue,
        .flush_queue_least_pages = least_pages(conf->flush_consume_queue_least_pages),
        .flush_queue_thorough_ms = conf->flush_consume_queue_thorough_interval,
        .check_crc_on_recover = conf->check_crc_on_recover,
        .index_enable = conf->message_index_enable,
        .index_slots = conf->max_hash_slot_num,
        .index_entries = conf->max_index_num,
        .hot_bytes = hot_bytes(conf),
        .commit_log_read_only = conf->read_only_commit_log_store_paths,
        .max_queue_maps = conf->max_mapped_queue_files,
        .retention = broker_retention,
        .retention_ctx = b,
    };

    sc.n_delay = delay_levels_parse(str_of(conf->message_delay_level), sc.delay_ms, STORE_DELAY_LEVELS_MAX);
    if (sc.n_delay < 0)
        return fault_set(f, RC_INVALID_PARAMETER, EINVAL,
                         "messageDelayLevel \"%s\": write levels as 1s 5s 10m 2h, at most %d", conf->message_delay_level,
                         STORE_DELAY_LEVELS_MAX);
    return store_open(&sc, &b->store, f);
}

static int open_parts(struct broker *b, struct fault *f)
{
    char dir[4096], audit_file[4096];
    const char *root = broker_conf(b)->store_path_root_dir;
    int rc;

    snprintf(dir, sizeof(dir), "%s/config", root);
    snprintf(audit_file, sizeof(audit_file), "%s/audit.log", root);
    if ((rc = dir_make_durable(dir)))
        return fault_errno(f, -rc, "making %s", dir);
    if ((rc = audit_open(audit_file, &b->audit, f)))
        return rc;
    if ((rc = meta_open(b->store, &b->meta)) || (rc = offsets_open(&b->offsets)) || (rc = clients_open(b, &b->clients)) ||
        (rc = hold_open(b, &b->hold)) || (rc = order_locks_open(&b->order_locks)) || (rc = runtime_open(&b->runtime)) ||
        (rc = stats_open(&b->stats)))
        return fault_errno(f, -rc, "making the broker's tables");
    if ((rc = schedule_open(b, &b->schedule, f)) || (rc = load_tables(b, dir, f)) || (rc = open_saver(b, dir, f)))
        return rc;
    if ((rc = client_open(&b->out, f)) || (rc = registrar_open(b, &b->registrar, f)))
        return rc;
    return broker_make_system_topics(b, f);
}

static void on_closed(void *ctx, struct conn *c) { clients_conn_closed(ctx, c); }

static int open_server(struct broker *b, struct fault *f)
{
    const struct broker_config *conf = broker_conf(b);
    struct server_conf sc = {
        .bind = conf->bind_address,
        .ports = {conf->listen_port, conf->listen_port > 2 ? conf->listen_port - 2 : conf->listen_port ? -1 : 0},
        .loops = conf->server_selector_threads,
        .workers = conf->admin_broker_thread_pool_nums,
        .worker_queue = conf->admin_broker_thread_pool_queue_capacity,
        .frame_max = (size_t)conf->server_max_frame_bytes,
        .conns_max = conf->server_max_connections,
        .idle_seconds = conf->server_channel_max_idle_time_seconds,
        .out_max = (size_t)conf->server_max_output_bytes,
        .backlog = conf->server_socket_backlog,
        .name = "broker",
    };
    struct server_ops ops = {broker_ops, broker_n_ops, on_closed, b};

    return server_open(&sc, &ops, &b->server, f);
}

/* What records carry as their store host: brokerIP1 and the main port. */
static int find_store_host(struct broker *b, struct fault *f)
{
    const char *ip = broker_conf(b)->broker_ip1;

    b->store_host.port = server_port(b->server, 0);
    if (inet_pton(AF_INET, ip, b->store_host.ip) == 1)
        return 0;
    b->store_host.v6 = true;
    if (inet_pton(AF_INET6, ip, b->store_host.ip) == 1)
        return 0;
    return fault_set(f, RC_INVALID_PARAMETER, EINVAL, "brokerIP1=%s is not an IP address", ip);
}

int broker_open(struct broker_config *conf, const char *conf_path, struct broker **out, struct fault *f)
{
    struct broker *b = calloc(1, sizeof(*b));
    int rc;

    if (!b) {
        broker_config_free(conf);
        return fault_errno(f, ENOMEM, "starting the broker");
    }
    b->started = wall_ms();
    if ((rc = config_live_open(b, conf, conf_path, f)) || (rc = open_store(b, f)) || (rc = open_parts(b, f)) ||
        (rc = open_server(b, f)) || (rc = find_store_host(b, f))) {
        broker_close(b);
        return rc;
    }
    *out = b;
    return 0;
}

/* ---- running ---- */

static void tick(void *ctx, int64_t n)      /* every 100 ms */
{
    struct broker *b = ctx;

    hold_sweep(b->hold);
    pace_tick(b);
    if (n % 10 == 0)
        runtime_sample(b);
    if (n % 100 == 0) {
        clients_sweep(b);
        order_locks_sweep(b->order_locks);
        stats_sample(b, mono_ms());
    }
}

int broker_run(struct broker *b, struct fault *f)
{
    int rc = server_run(b->server);

    if (rc)
        return fault_errno(f, -rc, "starting the network threads");
    pace_start(b);
    if ((rc = schedule_run(b->schedule)) || (rc = registrar_run(b->registrar)) || (rc = ticker_start(tick, b, &b->ticker)))
        return fault_errno(f, -rc, "starting the broker's threads");
    log_info("broker %s of cluster %s serves on port %d, store %s", broker_conf(b)->broker_name,
             broker_conf(b)->broker_cluster_name, broker_port(b), store_root(b->store));
    return 0;
}

void broker_close(struct broker *b)
{
    if (!b)
        return;
    if (b->ticker)
        ticker_stop(b->ticker);
    if (b->registrar)
        registrar_stop(b->registrar);
    if (b->schedule)
        schedule_close(b->schedule);
    if (b->hold)
        hold_answer_all(b->hold);
    if (b->server)
        server_stop(b->server, STOP_WAIT_MS);
    if (b->saver)
        saver_close(b->saver);      /* before what it encodes */
    if (b->out)
        client_close(b->out);
    if (b->hold)
        hold_close(b->hold);
    if (b->server)
        server_free(b->server);
    registrar_close(b->registrar);  /* requests on their way may have called it until now */
    if (b->schedule)
        schedule_free(b->schedule);
    if (b->runtime)
        runtime_close(b->runtime);
    if (b->stats)
        stats_close(b->stats);
    if (b->order_locks)
        order_locks_close(b->order_locks);
    if (b->clients)
        clients_close(b->clients);
    if (b->offsets)
        offsets_close(b->offsets);
    if (b->meta)
        meta_close(b->meta);
    if (b->store)
        store_close(b->store);
    if (b->audit)
        audit_close(b->audit);
    config_live_close(b);
    free(b);
}

int broker_port(const struct broker *b) { return server_port(b->server, 0); }

struct store *broker_store(struct broker *b) { return b->store; }

void broker_name_servers(struct broker *b, void (*each)(void *arg, const char *addr, int64_t last_ok_ms, const char *error),
                         void *arg)
{
    registrar_each(b->registrar, each, arg);
}

const char *broker_audit_path(struct broker *b) { return audit_path(b->audit); }

/* ---- events ---- */

void broker_on_event(struct broker *b,
                     void (*fn)(void *ctx, enum broker_event kind, enum event_what what, struct str name, struct str sub),
                     void *ctx)
{
    b->event_ctx = ctx;
    atomic_store_explicit(&b->on_event, fn, memory_order_release);
}

void broker_event(struct broker *b, enum broker_event kind, enum event_what what, struct str name, struct str sub)
{
    broker_event_fn *fn = atomic_load_explicit(&b->on_event, memory_order_acquire);
    if (fn)
        fn(b->event_ctx, kind, what, name, sub);
}
