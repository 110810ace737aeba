/* The broker's configuration: RocketMQ's key names (BrokerConfig, MessageStoreConfig,
 * NettyServerConfig of 5.5.0) and a few of our own. Rows in config.c. */
#ifndef BROKER_CONFIG_H
#define BROKER_CONFIG_H

#include "common/conf.h"

enum { FLUSH_ASYNC, FLUSH_SYNC };
enum { ROLE_ASYNC_MASTER, ROLE_SYNC_MASTER, ROLE_SLAVE };

/* A field is named as its key, in snake_case. Only keys that have an effect have a row: what is not there is
 * ignored in a file (as Apache ignores unknown keys) and logged once, and is not shown in the tree. */
struct broker_config {
    char *broker_name, *broker_cluster_name;
    int64_t broker_id;
    char *broker_ip1, *namesrv_addr, *bind_address, *region_id;
    int32_t listen_port;             /* the fast port is listenPort - 2 */
    int32_t broker_permission;
    int32_t broker_role, flush_disk_type;
    /* network */
    int32_t server_selector_threads;             /* network loops; 0: one per core but one */
    int32_t server_channel_max_idle_time_seconds, server_socket_backlog, admin_broker_thread_pool_nums, admin_broker_thread_pool_queue_capacity;
    int32_t server_max_connections;              /* ours */
    int32_t server_max_frame_bytes;              /* ours: JVM property com.rocketmq.remoting.frameMaxLength */
    int64_t server_max_output_bytes;             /* ours: bytes waiting for one slow reader */
    /* registration */
    int32_t register_name_server_period, register_broker_timeout_mills;
    bool force_register, compressed_register;
    /* topics, groups, governance */
    bool auto_create_topic_enable, auto_create_subscription_group, cluster_topic_enable, broker_topic_enable, trace_topic_enable;
    char *msg_trace_topic_name;
    int32_t default_topic_queue_nums;
    bool enforce_bindings;                       /* ours */
    bool clear_retry_topic_when_delete_topic;
    bool validate_system_topic_when_update_topic, enable_mixed_message_type;
    bool enable_split_metadata;                  /* codes 21 and 201 answer in parts of splitMetadataSize */
    int32_t split_metadata_size;
    bool trace_on;
    char *config_black_list;                     /* keys that code 25 may not change, separated by ';' */
    char *admin_group;                           /* ours: Unix group that may edit everything in the tree */
    /* send */
    int32_t max_message_size;
    bool reject_transaction_message;
    int64_t start_accept_send_request_time_stamp;
    /* pull */
    bool long_polling_enable, notify_consumer_ids_changed_enable, reject_pull_consumer_enable, lite_pull_message_enable, slave_read_enable;
    int32_t short_polling_time_mills;
    int32_t max_transfer_bytes_on_message_in_memory, max_transfer_count_on_message_in_memory;
    int32_t max_transfer_bytes_on_message_in_disk, max_transfer_count_on_message_in_disk;
    int32_t max_filter_message_size, access_message_in_memory_max_ratio;
    int64_t cold_read_rate;                      /* ours; bytes a second, 0: by the processors, -1: no limit */
    int32_t max_held_pulls;                      /* ours */
    bool use_server_side_reset_offset;
    bool enable_property_filter;                 /* no row: there is no SQL filter yet, so it stays false */
    int32_t flush_consumer_offset_interval, channel_expired_timeout;
    /* retry and delay */
    char *message_delay_level;
    int32_t flush_delay_offset_interval;
    /* store */
    char *store_path_root_dir, *store_path_commit_log;
    char *snapshot_path;                         /* ours */
    int64_t mapped_file_size_commit_log, mapped_file_size_consume_queue, mapped_file_size_consume_queue_ext;
    bool enable_consume_queue_ext;
    int32_t flush_interval_commit_log, flush_commit_log_least_pages, flush_commit_log_thorough_interval;
    int32_t flush_interval_consume_queue, flush_consume_queue_least_pages, flush_consume_queue_thorough_interval;
    int32_t sync_flush_timeout;
    bool check_crc_on_recover;
    char *read_only_commit_log_store_paths;
    int32_t max_mapped_queue_files;              /* ours */
    /* retention */
    char *delete_when;
    int32_t file_reserved_time, clean_resource_interval;
    int32_t disk_max_used_space_ratio, disk_space_clean_forcibly_ratio, disk_space_warning_level_ratio;
    bool clean_file_forcibly_enable;
    int32_t delete_file_batch_max, delete_commit_log_files_interval, delete_consume_queue_files_interval;
    /* index */
    bool message_index_enable;
    int32_t max_hash_slot_num, max_index_num, max_msgs_num_batch, default_query_max_num;
};

extern const struct conf_table broker_config_rows;

/* Defaults, then the file (NULL: none), then what follows from other keys and the environment where a key is empty
 * (brokerRole master: brokerId 0, brokerIP1 from the first usable address, brokerName from the host name,
 * storePathRootDir $HOME/store, namesrvAddr from NAMESRV_ADDR). Keys of Apache's that have no effect here are
 * logged once each. *conf must be zeroed. 0 or -errno with f; broker_config_free in both cases. */
int broker_config_load(struct broker_config *conf, const char *path, struct fault *f);
/* Sets one key before broker_open, for command lines (-n ADDR). */
int broker_config_override(struct broker_config *conf, const char *key, const char *value, struct fault *f);
/* What keys mean together, and texts with a form of their own. 0, or -EINVAL with f. */
int broker_config_check(const struct broker_config *conf, struct fault *f);
void broker_config_free(struct broker_config *conf);
/* Parses messageDelayLevel ("1s 5s 10m 2h 1d") into ms[1..]; the count or -EINVAL. */
int delay_levels_parse(struct str text, int64_t *ms, int max);

#endif
