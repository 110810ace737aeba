/* The configuration: its rows, the file, and changes while running. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/codes.h"
#include "common/file.h"
#include "common/log.h"
#include "namesrv/state.h"

#define AT(field) offsetof(struct namesrv_config, field)
#define LIVE true
#define FIXED false

static const struct conf_row rows[] = {
    {"listenPort", CONF_INT, AT(listen_port), "9876", 0, 65535, NULL, FIXED, "port; 0 takes any free one"},
    {"bindAddress", CONF_TEXT, AT(bind_address), "0.0.0.0", 0, 0, NULL, FIXED, "address to listen on"},
    {"serverSelectorThreads", CONF_INT, AT(server_selector_threads), "0", 0, 256, NULL, FIXED,
     "network loops; 0 makes one per core but one, at least one"},
    {"serverChannelMaxIdleTimeSeconds", CONF_INT, AT(server_channel_max_idle_time_seconds), "120", 1, 86400, NULL, FIXED,
     "seconds without a byte after which a connection is closed"},
    {"serverSocketBacklog", CONF_INT, AT(server_socket_backlog), "1024", 1, 65535, NULL, FIXED,
     "connections that may wait to be accepted"},
    {"serverMaxConnections", CONF_INT, AT(server_max_connections), "100000", 1, 10000000, NULL, FIXED,
     "connections at a time; further ones are closed"},
    {"serverMaxFrameBytes", CONF_INT, AT(server_max_frame_bytes), "16777216", 1024, INT32_MAX, NULL, FIXED,
     "largest frame that is read"},
    {"serverMaxOutputBytes", CONF_LONG, AT(server_max_output_bytes), "67108864", 65536, INT64_MAX, NULL, FIXED,
     "bytes waiting for one slow reader before it is read no further"},
    {"defaultThreadPoolNums", CONF_INT, AT(default_thread_pool_nums), "4", 1, 256, NULL, FIXED,
     "threads for registrations, topic lists and what writes files"},
    {"defaultThreadPoolQueueCapacity", CONF_INT, AT(default_thread_pool_queue_capacity), "10000", 1, 1000000, NULL, FIXED,
     "requests that may wait for those threads"},
    {"kvConfigPath", CONF_TEXT, AT(kv_config_path), "", 0, 0, NULL, FIXED,
     "file of the kv store; empty: $HOME/namesrv/kvConfig.json"},
    {"configStorePath", CONF_TEXT, AT(config_store_path), "", 0, 0, NULL, FIXED,
     "file that keeps changed keys; empty: the file of -c, else $HOME/namesrv/namesrv.properties"},
    {"configBlackList", CONF_TEXT, AT(config_black_list), "configBlackList;configStorePath;kvConfigPath", 0, 0, NULL, FIXED,
     "keys that requests may not change, divided by semicolons"},
    {"scanNotActiveBrokerInterval", CONF_LONG, AT(scan_not_active_broker_interval), "5000", 10, 3600000, NULL, LIVE,
     "ms between two looks for brokers that fell silent"},
    {"unRegisterBrokerQueueCapacity", CONF_INT, AT(un_register_broker_queue_capacity), "3000", 1, 1000000, NULL, LIVE,
     "departures that may wait for the next pass"},
    {"orderMessageEnable", CONF_BOOL, AT(order_message_enable), "false", 0, 0, NULL, LIVE,
     "routes carry the topic's orderTopicConf of the kv store"},
    {"returnOrderTopicConfigToBroker", CONF_BOOL, AT(return_order_topic_config_to_broker), "true", 0, 0, NULL, LIVE,
     "registrations are answered with ORDER_TOPIC_CONFIG of the kv store"},
    {"supportActingMaster", CONF_BOOL, AT(support_acting_master), "false", 0, 0, NULL, LIVE,
     "routes show the smallest slave as master where none is and the broker allows it"},
    {"enableAllTopicList", CONF_BOOL, AT(enable_all_topic_list), "true", 0, 0, NULL, LIVE, "the list of all topics is answered"},
    {"enableTopicList", CONF_BOOL, AT(enable_topic_list), "true", 0, 0, NULL, LIVE, "the other lists of topics are answered"},
    {"deleteTopicWithBrokerRegistration", CONF_BOOL, AT(delete_topic_with_broker_registration), "false", 0, 0, NULL, LIVE,
     "a registration takes away what it does not name; brokers must then not register single topics with 103"},
    {"notifyMinBrokerIdChanged", CONF_BOOL, AT(notify_min_broker_id_changed), "false", 0, 0, NULL, LIVE,
     "brokers are told when the smallest id of their name changes"},
    {"needWaitForService", CONF_BOOL, AT(need_wait_for_service), "false", 0, 0, NULL, LIVE,
     "no routes are answered for some time after the start"},
    {"waitSecondsForService", CONF_INT, AT(wait_seconds_for_service), "45", 0, 86400, NULL, LIVE, "that time, in seconds"},
    {"maxTopics", CONF_INT, AT(max_topics), "2000000", 1, INT32_MAX, NULL, LIVE, "topics that may be registered"},
};

const struct conf_table namesrv_config_rows = {rows, sizeof(rows) / sizeof(rows[0])};

/* Keys that never change by request, beside configBlackList. */
static const char *const never[] = {"configBlackList", "configStorePath", "kvConfigPath", "rocketmqHome"};

static int in_home(char **at, const char *name)
{
    const char *home = getenv("HOME");

    if (**at)
        return 0;
    free(*at);
    if (asprintf(at, "%s/namesrv/%s", home && *home ? home : ".", name) < 0)
        *at = NULL;
    return *at ? 0 : -ENOMEM;
}

static void on_unknown(void *arg, struct str key, struct str value)
{
    (void)arg;
    (void)value;
    log_info("namesrv: the key %.*s has no effect here", STR_ARG(key));
}

int namesrv_config_load(struct namesrv_config *conf, const char *path, struct fault *f)
{
    int rc = conf_defaults(&namesrv_config_rows, conf);

    if (rc)
        return fault_errno(f, ENOMEM, "reading the configuration");
    if (path) {
        rc = conf_read_file(&namesrv_config_rows, conf, path, on_unknown, NULL, f);
        if (rc)
            return rc;
        rc = namesrv_config_override(conf, "configStorePath", path, f);
        if (rc)
            return rc;
    }
    if (in_home(&conf->kv_config_path, "kvConfig.json") || in_home(&conf->config_store_path, "namesrv.properties"))
        return fault_errno(f, ENOMEM, "reading the configuration");
    return 0;
}

int namesrv_config_override(struct namesrv_config *conf, const char *key, const char *value, struct fault *f)
{
    const struct conf_row *row = conf_find(&namesrv_config_rows, str_of(key));

    if (!row)
        return fault_set(f, RC_INVALID_PARAMETER, EINVAL, "no configuration key is named %s", key);
    return conf_set(row, conf, str_of(value), f);
}

void namesrv_config_free(struct namesrv_config *conf)
{
    conf_free(&namesrv_config_rows, conf);
}

/* ---- changes while running ---- */

struct kept {
    struct kept *older;
    struct namesrv_config conf;
};

struct settings {
    _Atomic(struct kept *) now;
    pthread_mutex_t changing;            /* one change at a time; held while the file is written; guards nothing else */
};

int settings_open(struct namesrv_config *first, struct settings **out)
{
    struct settings *s = calloc(1, sizeof(*s));
    struct kept *k = calloc(1, sizeof(*k));

    if (!s || !k) {
        free(s);
        free(k);
        return -ENOMEM;
    }
    k->conf = *first;
    *first = (struct namesrv_config){0};
    atomic_store(&s->now, k);
    pthread_mutex_init(&s->changing, NULL);
    *out = s;
    return 0;
}

static void kept_free(struct kept *k)
{
    while (k) {
        struct kept *older = k->older;
        namesrv_config_free(&k->conf);
        free(k);
        k = older;
    }
}

void settings_close(struct settings *s)
{
    if (!s)
        return;
    kept_free(atomic_load(&s->now));
    pthread_mutex_destroy(&s->changing);
    free(s);
}

static const struct namesrv_config *settings_now(struct settings *s)
{
    return &atomic_load_explicit(&s->now, memory_order_acquire)->conf;
}

const struct namesrv_config *namesrv_conf(struct namesrv *ns) { return settings_now(ns->settings); }

static int copy(struct namesrv_config *to, const struct namesrv_config *from)
{
    struct buf text = {0};
    int rc = conf_defaults(&namesrv_config_rows, to);

    for (size_t i = 0; i < namesrv_config_rows.n && !rc; i++) {
        buf_reset(&text);
        conf_get(&rows[i], from, &text);
        rc = buf_failed(&text) ? -ENOMEM : conf_set(&rows[i], to, buf_str(&text), NULL);
    }
    buf_free(&text);
    return rc;
}

static bool in_list(const char *list, struct str key)
{
    while (*list) {
        size_t n = strcspn(list, ";");
        if (str_eq(str_trim(str_n(list, n)), key))
            return true;
        list += n + (list[n] == ';');
    }
    return false;
}

struct change {
    struct namesrv_config *next;
    struct fault *fault;
    unsigned n;
};

static int on_change(void *arg, struct str key, struct str value)
{
    struct change *c = arg;
    const struct conf_row *row = conf_find(&namesrv_config_rows, key);
    bool black = in_list(c->next->config_black_list, key);

    for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
        black |= str_is(key, never[i]);
    if (black)
        return fault_set(c->fault, RC_NO_PERMISSION, EPERM, "Can not update config in black list: %.*s.", STR_ARG(key));
    if (!row)
        return fault_set(c->fault, RC_INVALID_PARAMETER, EINVAL, "no configuration key is named %.*s", STR_ARG(key));
    if (!row->live)
        return fault_set(c->fault, RC_NO_PERMISSION, EPERM,
                         "%s cannot change while running: set it in the configuration file and start again", row->name);
    c->n++;
    return conf_set(row, c->next, value, c->fault);
}

static int persist(const struct namesrv_config *conf, struct fault *f)
{
    struct buf text = {0};
    const char *path = conf->config_store_path, *slash = strrchr(path, '/');
    char *dir = slash && slash > path ? str_dup(str_n(path, (size_t)(slash - path))) : NULL;
    int rc = dir ? dir_make(dir) : 0;

    free(dir);
    conf_print(&namesrv_config_rows, conf, &text);
    if (!rc)
        rc = buf_failed(&text) ? -ENOMEM : file_replace(path, buf_str(&text));
    buf_free(&text);
    return rc ? fault_errno(f, -rc, "writing %s", path) : 0;
}

static int change_in_turn(struct settings *s, struct kept *k, struct str properties, struct fault *f)
{
    struct change c = {.next = &k->conf, .fault = f};
    int rc = copy(&k->conf, settings_now(s));

    if (rc)
        return fault_errno(f, -rc, "changing the configuration");
    rc = conf_each(properties, on_change, &c);
    if (!rc && !c.n)
        return fault_set(f, RC_INVALID_PARAMETER, EINVAL, "the request names no key=value");
    if (!rc)
        rc = persist(&k->conf, f);
    if (rc)
        return rc;
    k->older = atomic_load(&s->now);
    atomic_store_explicit(&s->now, k, memory_order_release);
    return 0;
}

int settings_change(struct settings *s, struct str properties, struct fault *f)
{
    struct kept *k = calloc(1, sizeof(*k));
    int rc;

    if (!k)
        return fault_errno(f, ENOMEM, "changing the configuration");
    pthread_mutex_lock(&s->changing);
    rc = change_in_turn(s, k, properties, f);
    pthread_mutex_unlock(&s->changing);
    if (rc)
        kept_free(k);
    return rc;
}
