/* The name server: which broker serves which queues of which topic, told by the
 * brokers themselves and kept in memory only, and a small persistent key-value
 * store beside it. Several name servers know nothing of each other: every broker
 * registers with each. Source: Apache namesrv (5.5.0); request codes in ops.c.
 *
 * Changes come by the wire only; what is here looks. All of it may be called from
 * any thread; what comes back is copied out, no lock is held after a call returns. */
#ifndef NAMESRV_NAMESRV_H
#define NAMESRV_NAMESRV_H

#include "common/conf.h"
#include "common/fault.h"

/* A field is named as its key (NamesrvConfig and NettyServerConfig), in
 * snake_case. Only keys that have an effect have a row. */
struct namesrv_config {
    int32_t listen_port;                         /* 0: any free port */
    char *bind_address;
    int32_t server_selector_threads;             /* network loops; 0: one per core but one */
    int32_t server_channel_max_idle_time_seconds, server_socket_backlog;
    int32_t server_max_connections;              /* ours */
    int32_t server_max_frame_bytes;              /* ours: JVM property com.rocketmq.remoting.frameMaxLength */
    int64_t server_max_output_bytes;             /* ours: bytes waiting for one slow reader */
    int32_t default_thread_pool_nums, default_thread_pool_queue_capacity;
    char *kv_config_path, *config_store_path, *config_black_list;
    int64_t scan_not_active_broker_interval;     /* ms */
    int32_t un_register_broker_queue_capacity;
    bool order_message_enable, return_order_topic_config_to_broker, support_acting_master;
    bool enable_all_topic_list, enable_topic_list, delete_topic_with_broker_registration;
    bool notify_min_broker_id_changed, need_wait_for_service;
    int32_t wait_seconds_for_service;
    int32_t max_topics;                          /* ours: topics that may be registered */
};

extern const struct conf_table namesrv_config_rows;

/* Defaults, then the file (NULL: none), which then is also where live changes are
 * kept, as with Apache. *conf must be zeroed. 0 or -errno with f; namesrv_config_free in both cases. */
int namesrv_config_load(struct namesrv_config *conf, const char *path, struct fault *f);
/* Sets one key before namesrv_open, for command lines and tests. */
int namesrv_config_override(struct namesrv_config *conf, const char *key, const char *value, struct fault *f);
void namesrv_config_free(struct namesrv_config *conf);

/* ---- life ---- */
struct namesrv;

/* Reads kvConfig.json and binds the port. Takes over *conf, also when it fails. 0 or -errno with f. */
int namesrv_open(struct namesrv_config *conf, struct namesrv **out, struct fault *f);
int namesrv_run(struct namesrv *ns, struct fault *f);        /* serves; returns */
void namesrv_close(struct namesrv *ns);                      /* NULL is allowed */
int namesrv_port(const struct namesrv *ns);

/* ---- brokers, as they registered ---- */
#define NAMESRV_NAME_MAX 255                     /* bytes of a cluster's, broker's or zone's name, and of an address */
#define NAMESRV_TOPIC_MAX 1024                   /* bytes of a topic's name here */

/* One broker process: a member of the set that shares a broker name. */
struct namesrv_broker {
    char cluster[NAMESRV_NAME_MAX + 1], name[NAMESRV_NAME_MAX + 1], zone[NAMESRV_NAME_MAX + 1];
    int64_t broker_id;                           /* 0: master */
    char address[NAMESRV_NAME_MAX + 1], ha_address[NAMESRV_NAME_MAX + 1];
    bool acting_master;                          /* enableActingMaster of its last registration */
    int64_t last_heard_ms;                       /* so long ago */
    int64_t timeout_ms;                          /* silent for so long: dropped */
};
/* The n-th member of all broker names, from 0, or -ENOENT; sorted by cluster, name and id. */
int namesrv_broker_at(struct namesrv *ns, uint32_t n, struct namesrv_broker *out);

/* ---- topics, as brokers registered them ---- */
struct namesrv_queue {
    char broker[NAMESRV_NAME_MAX + 1];
    int32_t read_queues, write_queues, perm, sys_flag;
};
size_t namesrv_topic_count(struct namesrv *ns);
/* What the n-th broker name serves of a topic, from 0, or -ENOENT. */
int namesrv_topic_at(struct namesrv *ns, struct str topic, uint32_t n, struct namesrv_queue *out);

#endif
