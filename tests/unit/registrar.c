/* A broker's registration against real name servers: R-NS-05 .. R-NS-08, R-NS-13, R-NS-15. */
#include <errno.h>
#include <ftw.h>
#include <unistd.h>

#include "broker/meta.h"
#include "broker/registrar.h"
#include "common/clock.h"
#include "namesrv/namesrv.h"
#include "tests/unit/tap.h"

#define WAIT_MS 10000

#define wait_until(cond) do { \
        int64_t until_ = mono_ms() + WAIT_MS; \
        while (!(cond) && mono_ms() < until_) \
            usleep(1000); \
    } while (0)

/* What the registrar needs of a broker. */
struct fixture {
    char dir[64];
    struct namesrv *ns[2];
    char addr[2][32];
    struct broker b;
    struct broker_config conf;
};

static void die(const struct fault *f)
{
    printf("Bail out! %s\n", f->text);
    exit(1);
}

static struct namesrv *start_namesrv(const char *dir, const char *port)
{
    struct namesrv_config conf = {0};
    struct namesrv *ns = NULL;
    struct fault f = {0};
    char kv[128];

    snprintf(kv, sizeof(kv), "%s/kvConfig.json", dir);
    if (namesrv_config_load(&conf, NULL, &f) || namesrv_config_override(&conf, "listenPort", port, &f) ||
        namesrv_config_override(&conf, "bindAddress", "127.0.0.1", &f) ||
        namesrv_config_override(&conf, "kvConfigPath", kv, &f) || namesrv_open(&conf, &ns, &f) || namesrv_run(ns, &f))
        die(&f);
    return ns;
}

static int add_topic(struct fixture *fx, const char *name)
{
    struct topic *t = topic_new(str_of(name));

    t->info.read_queues = 8;
    t->info.write_queues = 4;
    meta_write(fx->b.meta);
    int rc = meta_add_topic(fx->b.meta, t);
    if (!rc)
        meta_topics_changed(fx->b.meta, t);
    meta_done(fx->b.meta);
    return rc;
}

static void remove_topic(struct fixture *fx, const char *name)
{
    struct topic *t;

    meta_write(fx->b.meta);
    t = meta_topic(fx->b.meta, str_of(name));
    meta_remove_topic(fx->b.meta, t);
    meta_topics_changed(fx->b.meta, NULL);
    meta_done(fx->b.meta);
    topic_free(t);
}

static void open_broker(struct fixture *fx, const char *namesrv)
{
    static const struct server_ops no_ops;
    struct server_conf sc = {.bind = "127.0.0.1", .ports = {0, -1}, .loops = 1, .workers = 1, .worker_queue = 10,
                             .frame_max = FRAME_MAX, .conns_max = 100, .idle_seconds = 60, .out_max = 1 << 20, .backlog = 8, .name = "test"};
    struct fault f = {0};

    if (broker_config_load(&fx->conf, NULL, &f) || broker_config_override(&fx->conf, "brokerName", "bk1", &f) ||
        broker_config_override(&fx->conf, "brokerClusterName", "c1", &f) ||
        broker_config_override(&fx->conf, "brokerIP1", "10.0.0.1", &f) ||
        broker_config_override(&fx->conf, "namesrvAddr", namesrv, &f) || meta_open(NULL, &fx->b.meta) ||
        server_open(&sc, &no_ops, &fx->b.server, &f) || client_open(&fx->b.out, &f))
        die(&f);
    atomic_store(&fx->b.conf, &fx->conf);
    if (registrar_open(&fx->b, &fx->b.registrar, &f))
        die(&f);
    add_topic(fx, "sys");
    add_topic(fx, "orders");
}

static void fixture_open(struct fixture *fx, const char *more)
{
    char all[256];

    *fx = (struct fixture){.dir = "/tmp/registrar-XXXXXX"};
    if (!mkdtemp(fx->dir))
        exit(1);
    for (int i = 0; i < 2; i++) {
        fx->ns[i] = start_namesrv(fx->dir, "0");
        snprintf(fx->addr[i], sizeof(fx->addr[i]), "127.0.0.1:%d", namesrv_port(fx->ns[i]));
    }
    snprintf(all, sizeof(all), "%s%s;%s", more, fx->addr[0], fx->addr[1]);
    open_broker(fx, all);
}

static int unlink_one(const char *path, const struct stat *st, int type, struct FTW *ftw) { return remove(path); }

static void fixture_close(struct fixture *fx)
{
    registrar_stop(fx->b.registrar);
    client_close(fx->b.out);
    registrar_close(fx->b.registrar);
    server_free(fx->b.server);
    meta_close(fx->b.meta);
    broker_config_free(&fx->conf);
    for (int i = 0; i < 2; i++)
        namesrv_close(fx->ns[i]);
    nftw(fx->dir, unlink_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* The permission of bk1's share of a topic at a name server; -1: none. */
static int perm_at(struct namesrv *ns, const char *topic, const char *broker)
{
    struct namesrv_queue q;

    for (uint32_t i = 0; namesrv_topic_at(ns, str_of(topic), i, &q) == 0; i++)
        if (strcmp(q.broker, broker) == 0)
            return q.perm;
    return -1;
}

static bool both_have(struct fixture *fx, const char *topic, int perm)
{
    return perm_at(fx->ns[0], topic, "bk1") == perm && perm_at(fx->ns[1], topic, "bk1") == perm;
}

struct seen {
    int good, bad;
};

static void on_target(void *arg, const char *addr, int64_t last_ok_ms, const char *error)
{
    struct seen *s = arg;

    s->good += last_ok_ms > 0 && !error;
    s->bad += error != NULL;
}

static struct seen targets(struct fixture *fx)
{
    struct seen s = {0, 0};
    registrar_each(fx->b.registrar, on_target, &s);
    return s;
}

static void test_life(void)
{
    struct fixture fx;
    struct namesrv_broker info;
    int64_t start;

    fixture_open(&fx, "127.0.0.1:1;");           /* nobody listens there */
    is_int(registrar_run(fx.b.registrar), 0, "the registrar starts");
    wait_until(both_have(&fx, "orders", 6) && targets(&fx).good == 2 && targets(&fx).bad == 1);
    ok(both_have(&fx, "orders", 6), "R-NS-06: both living name servers have the topics, although one is dead");
    is_int(targets(&fx).bad, 1, "which is known");
    is_int(targets(&fx).good, 2, "as is the success of the others");
    ok(namesrv_broker_at(fx.ns[0], 0, &info) == 0 && strcmp(info.name, "bk1") == 0 && strcmp(info.cluster, "c1") == 0 && info.broker_id == 0, "the name server knows the broker");
    ok(strncmp(info.address, "10.0.0.1:", 9) == 0 && atoi(info.ha_address + 9) == atoi(info.address + 9) + 1, "its address %s and the replication port's %s", info.address, info.ha_address);
    is_int(info.timeout_ms, 120000, "R-NS-08: with Apache's time limit");

    add_topic(&fx, "fresh");
    registrar_note(fx.b.registrar, str_of("fresh"));
    start = mono_ms();
    registrar_sync(fx.b.registrar, WAIT_MS);
    ok(both_have(&fx, "fresh", 6), "after a sync both name servers have a new topic");
    ok(mono_ms() - start < 1000, "and the dead one was not waited for");
    remove_topic(&fx, "fresh");
    registrar_note(fx.b.registrar, str_of("fresh"));
    wait_until(both_have(&fx, "fresh", -1));
    ok(both_have(&fx, "fresh", -1), "a deleted topic goes from both");
    is_int(namesrv_topic_count(fx.ns[0]), 2, "the others stay");

    fx.conf.broker_permission = 4;
    meta_write(fx.b.meta);
    meta_topics_changed(fx.b.meta, NULL);
    meta_done(fx.b.meta);
    registrar_kick(fx.b.registrar);
    registrar_sync(fx.b.registrar, WAIT_MS);
    ok(both_have(&fx, "orders", 4), "the broker's permission masks its topics'");
    registrar_stop(fx.b.registrar);
    wait_until(namesrv_topic_count(fx.ns[0]) + namesrv_topic_count(fx.ns[1]) == 0);
    is_int(namesrv_topic_count(fx.ns[0]) + namesrv_topic_count(fx.ns[1]), 0, "its goodbye takes everything away");
    registrar_note(fx.b.registrar, str_of("orders"));
    registrar_sync(fx.b.registrar, 10);
    is_int(namesrv_topic_count(fx.ns[0]), 0, "after which nothing is sent");
    fixture_close(&fx);
}

/* Registers another broker with two topics. */
static int other_broker(struct fixture *fx, int i)
{
    struct command cmd = {.code = 103}, reply;
    struct buf frame = {0};
    struct fault f;
    int rc;

    cmd.body = str_of("{\"topicConfigSerializeWrapper\":{\"topicConfigTable\":{\"orders\":{\"topicName\":\"orders\"},\"x\":{\"topicName\":\"x\"}}}}");
    command_add(&cmd, "brokerName", str_of("bk2"));
    command_add(&cmd, "brokerAddr", str_of("10.0.0.2:10911"));
    command_add(&cmd, "clusterName", str_of("c1"));
    command_add(&cmd, "haServerAddr", str_of("10.0.0.2:10912"));
    command_add(&cmd, "brokerId", str_of("0"));
    rc = client_call(fx->b.out, fx->addr[i], &cmd, WAIT_MS, &reply, &frame, &f);
    if (!rc)
        rc = reply.code;
    buf_free(&frame);
    return rc;
}

static void unregister_bk1(struct fixture *fx, int i)
{
    struct command cmd = {.code = 104}, reply;
    struct namesrv_broker info;
    struct buf frame = {0};
    struct fault f;

    namesrv_broker_at(fx->ns[i], 0, &info);
    command_add(&cmd, "brokerName", str_of("bk1"));
    command_add(&cmd, "brokerAddr", str_of(info.address));
    command_add(&cmd, "clusterName", str_of("c1"));
    command_add(&cmd, "brokerId", str_of("0"));
    client_call(fx->b.out, fx->addr[i], &cmd, WAIT_MS, &reply, &frame, &f);
    buf_free(&frame);
}

static void test_others_share(void)
{
    struct fixture fx;

    fixture_open(&fx, "");
    registrar_run(fx.b.registrar);
    wait_until(both_have(&fx, "orders", 6));
    is_int(other_broker(&fx, 0), 0, "another broker has the same topic");
    remove_topic(&fx, "orders");
    registrar_note(fx.b.registrar, str_of("orders"));
    registrar_sync(fx.b.registrar, WAIT_MS);
    ok(both_have(&fx, "orders", -1), "deleted here, it goes from our share");
    is_int(perm_at(fx.ns[0], "orders", "bk2"), 6, "and not from the other broker's");

    unregister_bk1(&fx, 1);
    wait_until(namesrv_topic_count(fx.ns[1]) == 0);
    is_int(namesrv_topic_count(fx.ns[1]), 0, "a name server forgot us");
    add_topic(&fx, "late");
    registrar_note(fx.b.registrar, str_of("late"));
    registrar_sync(fx.b.registrar, WAIT_MS);
    ok(both_have(&fx, "late", 6) && perm_at(fx.ns[1], "sys", "bk1") == 6, "with the next topic it gets everything anew, within the sync");
    fixture_close(&fx);
}

/* A name server that comes back on its port, and one that is named later. */
static void test_targets_change(void)
{
    struct fixture fx;
    char port[16];

    fixture_open(&fx, "");
    snprintf(port, sizeof(port), "%d", namesrv_port(fx.ns[1]));
    namesrv_close(fx.ns[1]);
    registrar_run(fx.b.registrar);
    wait_until(perm_at(fx.ns[0], "orders", "bk1") == 6 && targets(&fx).bad == 1);
    is_int(targets(&fx).bad, 1, "one name server is down");
    fx.ns[1] = start_namesrv(fx.dir, port);
    wait_until(both_have(&fx, "orders", 6));
    ok(both_have(&fx, "orders", 6), "R-NS-15: it comes back and gets everything, long before the period ends");
    registrar_set_namesrv(fx.b.registrar, str_of(fx.addr[0]));
    wait_until(targets(&fx).good == 1);
    is_int(targets(&fx).good, 1, "a name server is no longer wanted");
    registrar_set_namesrv(fx.b.registrar, str_of(" "));
    registrar_sync(fx.b.registrar, WAIT_MS);
    is_int(targets(&fx).good + targets(&fx).bad, 0, "none is; nothing is waited for");
    fixture_close(&fx);
}

/* Thousands of changes, one behind the other, each at a moment of its own in the thread's round: none waits until the
 * next period. */
static void test_each_is_heard(void)
{
    struct fixture fx;
    int64_t start, slowest = 0;

    fixture_open(&fx, "");
    registrar_run(fx.b.registrar);
    wait_until(both_have(&fx, "orders", 6) && targets(&fx).good == 2);
    for (int i = 0; i < 5000 && slowest < 2000; i++) {
        start = mono_ms();
        registrar_note(fx.b.registrar, str_of("orders"));
        registrar_sync(fx.b.registrar, WAIT_MS);
        if (mono_ms() - start > slowest)
            slowest = mono_ms() - start;
    }
    ok(slowest < 2000, "each of 5,000 changes is told at once (the slowest took %lld ms)", (long long)slowest);
    fixture_close(&fx);
}

static void test_large(bool compressed, int n)
{
    struct fixture fx;
    struct namesrv_queue q;
    char name[40];
    int64_t start;

    fixture_open(&fx, "");
    fx.conf.compressed_register = compressed;
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof(name), "a_topic_of_some_length_%d", i);
        add_topic(&fx, name);
    }
    start = mono_ms();
    registrar_run(fx.b.registrar);
    wait_until(namesrv_topic_count(fx.ns[0]) == (size_t)n + 2 && namesrv_topic_count(fx.ns[1]) == (size_t)n + 2);
    is_int(namesrv_topic_count(fx.ns[1]), n + 2, "%d topics reach both name servers%s", n, compressed ? ", compressed" : "");
    printf("# in %lld ms\n", (long long)(mono_ms() - start));
    ok(namesrv_topic_at(fx.ns[0], str_of(name), 0, &q) == 0 && q.read_queues == 8 && q.write_queues == 4, "with their queues");
    wait_until(targets(&fx).good == 2);
    add_topic(&fx, "fresh");
    registrar_note(fx.b.registrar, str_of("fresh"));
    start = mono_ms();
    registrar_sync(fx.b.registrar, WAIT_MS);
    ok(both_have(&fx, "fresh", 6), "one more topic");
    ok(mono_ms() - start < 200, "does not cost a full registration (%lld ms)", (long long)(mono_ms() - start));
    fixture_close(&fx);
}

/* ---- a name server of before 5.1: it knows 103, and no 217 ---- */

struct old_ns {
    pthread_mutex_t lock;
    int fulls, increments, deletes;
    char last[512];                              /* start of the last increment's body */
};

static void old_register(struct request *r)
{
    struct old_ns *o = request_ctx(r);
    struct str body = request_cmd(r)->body;
    size_t topics = 0;

    for (size_t i = 0; i + 11 < body.n; i++)
        topics += memcmp(body.p + i, "\"topicName\"", 11) == 0;
    pthread_mutex_lock(&o->lock);
    if (topics == 1) {
        o->increments++;
        str_copy(o->last, sizeof(o->last), str_n(body.p, body.n < 511 ? body.n : 511));
    } else {
        o->fulls++;
    }
    pthread_mutex_unlock(&o->lock);
    reply(r, RC_SUCCESS, NULL);
}

static void old_route(struct request *r)
{
    reply_body(r, str_of("{\"brokerDatas\":[],\"queueDatas\":[{\"brokerName\":\"bk1\",\"perm\":0}]}"));
}

static void old_delete(struct request *r)
{
    struct old_ns *o = request_ctx(r);

    pthread_mutex_lock(&o->lock);
    o->deletes++;
    pthread_mutex_unlock(&o->lock);
    reply(r, RC_SUCCESS, NULL);
}

static const struct op old_ops[] = {
    {103, "REGISTER_BROKER", old_register, 0, ""},
    {105, "GET_ROUTEINFO_BY_TOPIC", old_route, 0, ""},
    {216, "DELETE_TOPIC_IN_NAMESRV", old_delete, 0, ""},
};

static void test_old_name_server(void)
{
    struct old_ns o = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct server_conf sc = {.bind = "127.0.0.1", .ports = {0, -1}, .loops = 1, .workers = 1, .worker_queue = 10,
                             .frame_max = FRAME_MAX, .conns_max = 100, .idle_seconds = 60, .out_max = 1 << 20, .backlog = 8, .name = "old"};
    struct server_ops ops = {.ops = old_ops, .n_ops = 3, .ctx = &o};
    struct server *s;
    struct fixture fx;
    struct fault f;
    char addr[64];

    fixture_open(&fx, "");
    if (server_open(&sc, &ops, &s, &f) || server_run(s))
        die(&f);
    snprintf(addr, sizeof(addr), "127.0.0.1:%d", server_port(s, 0));
    free(fx.conf.namesrv_addr);
    fx.conf.namesrv_addr = strdup(addr);
    registrar_run(fx.b.registrar);
    wait_until(targets(&fx).good == 1);
    is_int(o.fulls, 1, "an old name server gets a full registration");
    add_topic(&fx, "fresh");
    registrar_note(fx.b.registrar, str_of("fresh"));
    registrar_sync(fx.b.registrar, WAIT_MS);
    is_int(o.increments, 1, "and a new topic with a registration of it alone");
    ok(strstr(o.last, "\"topicName\":\"fresh\"") != NULL, "which has the topic");
    remove_topic(&fx, "fresh");
    registrar_note(fx.b.registrar, str_of("fresh"));
    registrar_sync(fx.b.registrar, WAIT_MS);
    ok(o.increments == 2 && strstr(o.last, "{\"perm\":0,\"readQueueNums\":0,\"topicName\":\"fresh\",\"writeQueueNums\":0}"), "a deleted one loses queues and permission");
    is_int(o.deletes, 1, "and its name, when the route names no other broker");
    is_int(o.fulls, 1, "all without another full registration");
    fixture_close(&fx);
    server_stop(s, 100);
    server_free(s);
}

int main(void)
{
    test_life();
    test_others_share();
    test_targets_change();
    test_old_name_server();
    test_each_is_heard();
    test_large(true, 1000);
    test_large(false, 1000);
    test_large(false, 100000);           /* its JSON is larger than a frame */
    return tap_done();
}
