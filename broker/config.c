/* The rows of the broker's configuration, and what follows from other keys. */
#include "broker/config.h"

#include <errno.h>
#include <ifaddrs.h>
#include <arpa/inet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/codes.h"
#include "common/log.h"

#define FIELD(f) offsetof(struct broker_config, f)
#define INT(name, field, def, min, max, live, help) {name, CONF_INT, FIELD(field), def, min, max, NULL, live, help}
#define LONG(name, field, def, min, max, live, help) {name, CONF_LONG, FIELD(field), def, min, max, NULL, live, help}
#define BOOL(name, field, def, live, help) {name, CONF_BOOL, FIELD(field), def, 0, 0, NULL, live, help}
#define TEXT(name, field, def, live, help) {name, CONF_TEXT, FIELD(field), def, 0, 0, NULL, live, help}
#define ENUM(name, field, def, words, live, help) {name, CONF_ENUM, FIELD(field), def, 0, 0, words, live, help}

#define MS_MAX INT32_MAX
#define LIVE true
#define AT_START false

/* Names and defaults are those of Apache's BrokerConfig, MessageStoreConfig and NettyServerConfig (5.5.0), but for:
 * autoCreateTopicEnable and autoCreateSubscriptionGroup are off (mkdir or an admin request is the way in), and the
 * keys whose help starts with "ours:". A key is LIVE only where the code asks broker_conf() each time. */
static const struct conf_row rows[] = {
    /* identity */
    TEXT("brokerName", broker_name, "", AT_START, "name of this broker; the host name when empty"),
    TEXT("brokerClusterName", broker_cluster_name, "DefaultCluster", AT_START, "name of the cluster"),
    LONG("brokerId", broker_id, "0", 0, INT64_MAX, AT_START, "0 for a master"),
    ENUM("brokerRole", broker_role, "ASYNC_MASTER", "ASYNC_MASTER|SYNC_MASTER|SLAVE", AT_START,
         "only ASYNC_MASTER until replication is there"),
    TEXT("brokerIP1", broker_ip1, "", AT_START,
         "address told to clients; the first usable one of this host when empty"),
    TEXT("namesrvAddr", namesrv_addr, "", LIVE,
         "name servers, host:port separated by ';'; NAMESRV_ADDR when empty"),
    TEXT("regionId", region_id, "DefaultRegion", LIVE, "told to producers with each send (MSG_REGION)"),
    INT("brokerPermission", broker_permission, "6", 0, 7, LIVE,
        "4 read, 2 write; taken from every topic's route"),
    TEXT("adminGroup", admin_group, "", LIVE,
         "ours: Unix group whose members may edit everything in the tree"),
    /* network */
    TEXT("bindAddress", bind_address, "0.0.0.0", AT_START, "address to listen on"),
    INT("listenPort", listen_port, "10911", 0, 65535, AT_START,
        "main port; the fast port is this minus 2; 0: any free port"),
    INT("serverSelectorThreads", server_selector_threads, "0", 0, 256, AT_START,
        "network threads; 0: one per core but one, at least one (Apache: 3)"),
    INT("serverChannelMaxIdleTimeSeconds", server_channel_max_idle_time_seconds, "120", 0, MS_MAX / 1000,
        AT_START, "seconds after which a silent connection is closed; 0: never"),
    INT("serverSocketBacklog", server_socket_backlog, "1024", 1, 65535, AT_START,
        "connections that may wait to be accepted"),
    INT("adminBrokerThreadPoolNums", admin_broker_thread_pool_nums, "16", 1, 1024, AT_START,
        "threads for requests that may wait for the disk"),
    INT("adminBrokerThreadPoolQueueCapacity", admin_broker_thread_pool_queue_capacity, "10000", 1, 1000000,
        AT_START, "requests that may wait for those threads"),
    INT("serverMaxConnections", server_max_connections, "10000", 1, 1000000, AT_START,
        "ours: connections at a time"),
    INT("serverMaxFrameBytes", server_max_frame_bytes, "16777216", 1024, 1 << 30, AT_START,
        "ours: largest request in bytes (Apache: JVM property com.rocketmq.remoting.frameMaxLength)"),
    LONG("serverMaxOutputBytes", server_max_output_bytes, "16777216", 65536, INT64_C(1) << 40, AT_START,
         "ours: bytes that may wait for one slow reader before its requests wait too"),
    /* registration */
    INT("registerNameServerPeriod", register_name_server_period, "30000", 10000, 60000, LIVE,
        "ms between registrations with the name servers"),
    INT("registerBrokerTimeoutMills", register_broker_timeout_mills, "24000", 1, MS_MAX, LIVE,
        "ms a name server has for its answer"),
    BOOL("forceRegister", force_register, "true", LIVE, "register each period even when nothing changed"),
    BOOL("compressedRegister", compressed_register, "false", LIVE, "compress the registration"),
    /* topics, groups, governance */
    BOOL("autoCreateTopicEnable", auto_create_topic_enable, "false", LIVE,
         "a send to an unknown topic makes it (Apache: true)"),
    BOOL("autoCreateSubscriptionGroup", auto_create_subscription_group, "false", LIVE,
         "an unknown consumer group is made when it comes (Apache: true)"),
    BOOL("enforceBindings", enforce_bindings, "false", LIVE,
         "ours: a group may consume, or send to, only the topics it is bound to, and gets only the tags of its binding"),
    BOOL("clusterTopicEnable", cluster_topic_enable, "true", AT_START,
         "the topic named as the cluster may be read and written"),
    BOOL("brokerTopicEnable", broker_topic_enable, "true", AT_START,
         "the topic named as the broker may be read and written"),
    BOOL("traceTopicEnable", trace_topic_enable, "false", AT_START, "make the trace topic"),
    TEXT("msgTraceTopicName", msg_trace_topic_name, "RMQ_SYS_TRACE_TOPIC", AT_START,
         "name of the trace topic"),
    INT("defaultTopicQueueNums", default_topic_queue_nums, "8", 1, 16384, LIVE,
        "queues of a new topic when nobody says how many"),
    BOOL("clearRetryTopicWhenDeleteTopic", clear_retry_topic_when_delete_topic, "true", LIVE,
         "deleting a topic deletes the POP retry topics of its groups too"),
    BOOL("validateSystemTopicWhenUpdateTopic", validate_system_topic_when_update_topic, "true", LIVE,
         "refuse changes to system topics"),
    BOOL("enableMixedMessageType", enable_mixed_message_type, "false", LIVE, "allow message.type=MIXED"),
    BOOL("enableSplitMetadata", enable_split_metadata, "true", LIVE,
         "answer topic and group lists in parts to those who ask so"),
    INT("splitMetadataSize", split_metadata_size, "2000", 1, 1000000, LIVE, "topics or groups in one part"),
    BOOL("traceOn", trace_on, "true", LIVE, "tell producers that tracing is on"),
    TEXT("configBlackList", config_black_list, "configBlackList;brokerConfigPath", AT_START,
         "keys that UPDATE_BROKER_CONFIG may not change"),
    /* send */
    INT("maxMessageSize", max_message_size, "4194304", 1, 64 << 20, AT_START,
        "largest message body in bytes"),
    BOOL("rejectTransactionMessage", reject_transaction_message, "false", LIVE,
         "refuse transactional sends"),
    LONG("startAcceptSendRequestTimeStamp", start_accept_send_request_time_stamp, "0", 0, INT64_MAX, LIVE,
         "ms since 1970 before which sends are refused"),
    /* pull */
    BOOL("longPollingEnable", long_polling_enable, "true", LIVE, "hold a pull that finds nothing"),
    INT("shortPollingTimeMills", short_polling_time_mills, "1000", 1, MS_MAX, LIVE,
        "ms to hold it when longPollingEnable is false"),
    BOOL("notifyConsumerIdsChangedEnable", notify_consumer_ids_changed_enable, "true", LIVE,
         "tell a group's members when one comes or goes"),
    BOOL("rejectPullConsumerEnable", reject_pull_consumer_enable, "false", LIVE,
         "refuse consumers that pull actively"),
    BOOL("litePullMessageEnable", lite_pull_message_enable, "true", LIVE, "serve LITE_PULL_MESSAGE"),
    BOOL("slaveReadEnable", slave_read_enable, "false", LIVE, "send slow consumers to a slave"),
    INT("maxTransferBytesOnMessageInMemory", max_transfer_bytes_on_message_in_memory, "262144", 1,
        128 << 20, LIVE, "bytes of one pull from memory"),
    INT("maxTransferCountOnMessageInMemory", max_transfer_count_on_message_in_memory, "32", 1, 100000, LIVE,
        "messages of one pull from memory"),
    INT("maxTransferBytesOnMessageInDisk", max_transfer_bytes_on_message_in_disk, "65536", 1, 128 << 20,
        LIVE, "bytes of one pull from the disk"),
    INT("maxTransferCountOnMessageInDisk", max_transfer_count_on_message_in_disk, "8", 1, 100000, LIVE,
        "messages of one pull from the disk"),
    INT("maxFilterMessageSize", max_filter_message_size, "16000", 20, 1 << 30, LIVE,
        "bytes of a consume queue that one filtered pull looks at"),
    INT("accessMessageInMemoryMaxRatio", access_message_in_memory_max_ratio, "40", 0, 100, AT_START,
        "percent of memory; messages further from the log's end count as on disk"),
    LONG("coldReadRate", cold_read_rate, "0", -1, INT64_C(1) << 40, LIVE,
         "ours: bytes a second that a group gets of old messages (of before the start, or on disk by "
         "accessMessageInMemoryMaxRatio) while others are sent, but at least twice what is sent; 0: 24 MiB for each "
         "processor, -1: no limit"),
    INT("maxHeldPulls", max_held_pulls, "100000", 1, 10000000, LIVE, "ours: pulls held at a time"),
    BOOL("useServerSideResetOffset", use_server_side_reset_offset, "true", LIVE,
         "an offset reset is given with the next pull instead of by a request to each client"),
    INT("flushConsumerOffsetInterval", flush_consumer_offset_interval, "5000", 10, MS_MAX, AT_START,
        "ms between writes of consumerOffset.json"),
    INT("channelExpiredTimeout", channel_expired_timeout, "120000", 1000, MS_MAX, LIVE,
        "ms without a heartbeat after which a client is gone"),
    /* delay */
    TEXT("messageDelayLevel", message_delay_level,
         "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h", AT_START,
         "delay of each level, from 1 on"),
    INT("flushDelayOffsetInterval", flush_delay_offset_interval, "10000", 10, MS_MAX, AT_START,
        "ms between writes of delayOffset.json"),
    /* store */
    TEXT("storePathRootDir", store_path_root_dir, "", AT_START,
         "the store's directory; $HOME/store when empty"),
    TEXT("storePathCommitLog", store_path_commit_log, "", AT_START,
         "directories of the commit log, separated by ','; storePathRootDir/commitlog when empty"),
    TEXT("readOnlyCommitLogStorePaths", read_only_commit_log_store_paths, "", AT_START,
         "directories with commit log files that get no new ones, separated by ','"),
    INT("maxMappedQueueFiles", max_mapped_queue_files, "0", 0, 1 << 24, AT_START,
        "ours: consume queue files mapped at a time; 0: a quarter of vm.max_map_count"),
    TEXT("snapshotPath", snapshot_path, "", AT_START,
         "ours: where snapshots are kept; storePathRootDir/snapshots when empty. On another file system they are full copies"),
    LONG("mappedFileSizeCommitLog", mapped_file_size_commit_log, "1073741824", 4096, INT32_MAX, AT_START,
         "bytes of a commit log file"),
    LONG("mappedFileSizeConsumeQueue", mapped_file_size_consume_queue, "6000000", 20, INT32_MAX, AT_START,
         "bytes of a consume queue file, rounded up to a multiple of 20"),
    BOOL("enableConsumeQueueExt", enable_consume_queue_ext, "false", AT_START,
         "keeps each message's tag code and store time in consumequeue_ext too; what is there is read either way"),
    LONG("mappedFileSizeConsumeQueueExt", mapped_file_size_consume_queue_ext, "50331648", 24, INT32_MAX, AT_START,
         "bytes of such a file"),
    ENUM("flushDiskType", flush_disk_type, "ASYNC_FLUSH", "ASYNC_FLUSH|SYNC_FLUSH", AT_START,
         "SYNC_FLUSH: a send is acknowledged when it is on disk"),
    INT("flushIntervalCommitLog", flush_interval_commit_log, "500", 1, MS_MAX, AT_START,
        "ms between flushes of the commit log"),
    INT("flushCommitLogLeastPages", flush_commit_log_least_pages, "4", 0, 1 << 20, AT_START,
        "pages that must have changed for such a flush"),
    INT("flushCommitLogThoroughInterval", flush_commit_log_thorough_interval, "10000", 1, MS_MAX, AT_START,
        "ms after which a flush is made whatever changed"),
    INT("flushIntervalConsumeQueue", flush_interval_consume_queue, "1000", 1, MS_MAX, AT_START,
        "ms between flushes of the consume queues"),
    INT("flushConsumeQueueLeastPages", flush_consume_queue_least_pages, "2", 0, 1 << 20, AT_START,
        "pages of a queue that must have changed for such a flush"),
    INT("flushConsumeQueueThoroughInterval", flush_consume_queue_thorough_interval, "60000", 1, MS_MAX, AT_START,
        "ms after which all queues are flushed whatever changed, and the checkpoint says so"),
    INT("syncFlushTimeout", sync_flush_timeout, "5000", 1, MS_MAX, LIVE,
        "ms a send waits for the disk before it is answered FLUSH_DISK_TIMEOUT"),
    BOOL("checkCRCOnRecover", check_crc_on_recover, "true", AT_START, "check message bodies after a crash"),
    /* retention */
    TEXT("deleteWhen", delete_when, "04", LIVE,
         "hours of the day, 00 to 23, separated by ';', in which expired files are deleted"),
    INT("fileReservedTime", file_reserved_time, "72", 0, 1000000, LIVE,
        "hours after its last write that a commit log file expires"),
    INT("cleanResourceInterval", clean_resource_interval, "10000", 10, MS_MAX, LIVE,
        "ms between looks at the disk and the files' age"),
    INT("diskMaxUsedSpaceRatio", disk_max_used_space_ratio, "75", 0, 100, LIVE,
        "percent of the disk, 10 to 95; above it expired files go at any hour"),
    INT("diskSpaceCleanForciblyRatio", disk_space_clean_forcibly_ratio, "85", 0, 100, LIVE,
        "percent, 30 to 85; above it the oldest files go, expired or not"),
    INT("diskSpaceWarningLevelRatio", disk_space_warning_level_ratio, "90", 0, 100, LIVE,
        "percent, 35 to 90; above it writes are refused"),
    BOOL("cleanFileForciblyEnable", clean_file_forcibly_enable, "true", LIVE,
         "delete files that are not expired when the disk is nearly full"),
    INT("deleteFileBatchMax", delete_file_batch_max, "10", 1, 1000000, LIVE, "commit log files deleted at a time"),
    INT("deleteCommitLogFilesInterval", delete_commit_log_files_interval, "100", 0, MS_MAX, LIVE,
        "ms between the deletions of two commit log files"),
    INT("deleteConsumeQueueFilesInterval", delete_consume_queue_files_interval, "100", 0, MS_MAX, LIVE,
        "ms between the deletions of two consume queue files"),
    /* index */
    BOOL("messageIndexEnable", message_index_enable, "true", AT_START,
         "index messages by key, unique id and tag; what is there is found without it too"),
    INT("maxHashSlotNum", max_hash_slot_num, "5000000", 1, 500000000, AT_START,
        "slots of an index file, 4 bytes each; index files of another size are made again from the log"),
    INT("maxIndexNum", max_index_num, "20000000", 2, 100000000, AT_START,
        "entries of an index file, 20 bytes each, of which the first is not used"),
    INT("maxMsgsNumBatch", max_msgs_num_batch, "64", 1, 100000, LIVE, "messages of one query by key"),
    INT("defaultQueryMaxNum", default_query_max_num, "32", 1, 100000, LIVE,
        "messages of one query by unique id"),
};

const struct conf_table broker_config_rows = {rows, sizeof(rows) / sizeof(rows[0])};

/* ---- what follows from other keys ---- */

static int set_text(char **field, const char *value, struct fault *f)
{
    char *z = str_dup(str_of(value));

    if (!z)
        return fault_errno(f, ENOMEM, "reading the configuration");
    free(*field);
    *field = z;
    return 0;
}

/* The first IPv4 address that other hosts can reach: up, not loopback, not link-local. */
static void first_address(char out[INET_ADDRSTRLEN])
{
    struct ifaddrs *all, *i;

    snprintf(out, INET_ADDRSTRLEN, "127.0.0.1");
    if (getifaddrs(&all) < 0)
        return;
    for (i = all; i; i = i->ifa_next) {
        struct sockaddr_in sin;
        uint32_t ip;

        if (!i->ifa_addr || i->ifa_addr->sa_family != AF_INET || !(i->ifa_flags & IFF_UP) ||
            (i->ifa_flags & IFF_LOOPBACK))
            continue;
        memcpy(&sin, i->ifa_addr, sizeof(sin));
        ip = ntohl(sin.sin_addr.s_addr);
        if (ip >> 24 == 127 || ip >> 16 == 0xA9FE || !ip)
            continue;
        inet_ntop(AF_INET, &sin.sin_addr, out, INET_ADDRSTRLEN);
        break;
    }
    freeifaddrs(all);
}

static int derive_texts(struct broker_config *c, struct fault *f)
{
    char text[4096];
    const char *env;
    int rc = 0;

    if (!c->broker_name[0]) {
        if (gethostname(text, sizeof(text)) < 0 || !text[0])
            snprintf(text, sizeof(text), "DEFAULT_BROKER");     /* as Apache */
        text[sizeof(text) - 1] = 0;
        rc = set_text(&c->broker_name, text, f);
    }
    if (!rc && !c->broker_ip1[0]) {
        first_address(text);
        rc = set_text(&c->broker_ip1, text, f);
    }
    if (!rc && !c->namesrv_addr[0] && (env = getenv("NAMESRV_ADDR")))
        rc = set_text(&c->namesrv_addr, env, f);
    if (!rc && !c->store_path_root_dir[0]) {
        env = getenv("HOME");
        if ((size_t)snprintf(text, sizeof(text), "%s/store", env && env[0] ? env : "/root") >= sizeof(text))
            return fault_errno(f, ENAMETOOLONG, "$HOME/store");
        rc = set_text(&c->store_path_root_dir, text, f);
    }
    return rc;
}

/* deleteWhen: hours of the day, separated by ';'. */
static bool are_hours(struct str list)
{
    while (list.n) {
        const char *semi = memchr(list.p, ';', list.n);
        struct str word = str_n(list.p, semi ? (size_t)(semi - list.p) : list.n);
        int32_t hour;

        if (str_i32(str_trim(word), &hour) || hour < 0 || hour > 23)
            return false;
        list = str_n(list.p + word.n + (semi != NULL), list.n - word.n - (semi != NULL));
    }
    return true;
}

int broker_config_check(const struct broker_config *c, struct fault *f)
{
    int64_t ms[65];

    if (c->broker_role != ROLE_ASYNC_MASTER)
        return fault_set(f, RC_INVALID_PARAMETER, EINVAL,
                         "brokerRole=%s needs replication, which is not there yet: use ASYNC_MASTER",
                         c->broker_role == ROLE_SLAVE ? "SLAVE" : "SYNC_MASTER");
    if (delay_levels_parse(str_of(c->message_delay_level), ms, 64) < 1)
        return fault_set(f, RC_INVALID_PARAMETER, EINVAL,
                         "messageDelayLevel wants levels like \"1s 5m 2h 1d\", not \"%.100s\"",
                         c->message_delay_level);
    if (!are_hours(str_of(c->delete_when)))
        return fault_set(f, RC_INVALID_PARAMETER, EINVAL, "deleteWhen wants hours from 0 to 23 like \"04;16\", not \"%.100s\"",
                         c->delete_when);
    return 0;
}

/* Keys of Apache's that are accepted, with the reason that they change nothing here. */
static const struct { const char *key, *why; } without_effect[] = {
    {"transientStorePoolEnable", "records are written where they stay; there is no buffer ahead of the page cache to switch on"},
    {"transientStorePoolSize", "there is no such pool"},
    {"commitIntervalCommitLog", "there is no such pool"},
    {"commitCommitLogLeastPages", "there is no such pool"},
    {"commitCommitLogThoroughInterval", "there is no such pool"},
    {"flushCommitLogTimed", "the log is flushed each flushIntervalCommitLog, and at once when somebody waits for it"},
    {"bitMapLengthConsumeQueueExt", "no bit maps of filters are made; those in consumequeue_ext stay as they are"},
    {"destroyMapedFileIntervalForcibly", "a deleted file stays readable for those who are reading it, and nobody waits for them"},
    {"redeleteHangedFileInterval", "a deletion that failed is tried again in the next round"},
};

static void log_unknown(void *arg, struct str key, struct str value)
{
    (void)arg;
    (void)value;
    for (size_t i = 0; i < sizeof(without_effect) / sizeof(without_effect[0]); i++) {
        if (!str_is(key, without_effect[i].key))
            continue;
        log_info("configuration: key %.*s has no effect here: %s", STR_ARG(key), without_effect[i].why);
        return;
    }
    log_info("configuration: key %.*s has no effect here", STR_ARG(key));
}

int broker_config_load(struct broker_config *conf, const char *path, struct fault *f)
{
    int rc = conf_defaults(&broker_config_rows, conf);

    if (rc)
        return fault_errno(f, -rc, "reading the configuration");
    if (path && (rc = conf_read_file(&broker_config_rows, conf, path, log_unknown, NULL, f)))
        return rc;
    if ((rc = derive_texts(conf, f)))
        return rc;
    conf->broker_id = 0;        /* every role that the check lets through is a master */
    return broker_config_check(conf, f);
}

int broker_config_override(struct broker_config *conf, const char *key, const char *value, struct fault *f)
{
    const struct conf_row *row = conf_find(&broker_config_rows, str_of(key));

    if (!row)
        return fault_set(f, RC_INVALID_PARAMETER, EINVAL, "there is no configuration key %.100s", key);
    return conf_set(row, conf, str_of(value), f);
}

void broker_config_free(struct broker_config *conf) { conf_free(&broker_config_rows, conf); }

/* ---- delay levels ---- */

static int64_t unit_ms(char unit)
{
    static const struct { char unit; int64_t ms; } units[] = {{'s', 1000}, {'m', 60000}, {'h', 3600000},
                                                              {'d', 86400000}};

    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
        if (units[i].unit == unit)
            return units[i].ms;
    return 0;
}

static bool all_digits(struct str s)
{
    size_t i = 0;

    while (i < s.n && s.p[i] >= '0' && s.p[i] <= '9')
        i++;
    return s.n && i == s.n;
}

int delay_levels_parse(struct str text, int64_t *ms, int max)
{
    int n = 0;

    for (text = str_trim(text); text.n; text = str_trim(text)) {
        const char *blank = memchr(text.p, ' ', text.n);
        struct str word = str_n(text.p, blank ? (size_t)(blank - text.p) : text.n);
        int64_t unit = unit_ms(word.p[word.n - 1]), v;

        if (n >= max || !unit || !all_digits(str_n(word.p, word.n - 1)) ||
            str_i64(str_n(word.p, word.n - 1), &v) || v > INT64_MAX / 4 / unit)
            return -EINVAL;
        ms[++n] = v * unit;
        text.p += word.n;
        text.n -= word.n;
    }
    return n;
}
