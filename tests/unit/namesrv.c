/* The name server over real sockets: R-NS-01 .. R-NS-04, R-NS-07 .. R-NS-14, R-NS-20. */
#include <errno.h>
#include <ftw.h>
#include <pthread.h>
#include <unistd.h>
#include <zlib.h>

#include "common/file.h"
#include "common/remoting/server.h"
#include "namesrv/namesrv.h"
#include "tests/unit/peer.h"
#include "tests/unit/tap.h"

struct fixture {
    char dir[64], kv[128], conf[128];
    struct namesrv *ns;
    struct peer peer;
    struct command reply;
};

static void fixture_start(struct fixture *fx)
{
    struct namesrv_config conf = {0};
    struct fault f = {0};

    if (namesrv_config_load(&conf, NULL, &f) || namesrv_config_override(&conf, "listenPort", "0", &f) ||
        namesrv_config_override(&conf, "bindAddress", "127.0.0.1", &f) ||
        namesrv_config_override(&conf, "kvConfigPath", fx->kv, &f) ||
        namesrv_config_override(&conf, "configStorePath", fx->conf, &f) ||
        namesrv_config_override(&conf, "scanNotActiveBrokerInterval", "20", &f) ||
        namesrv_open(&conf, &fx->ns, &f) || namesrv_run(fx->ns, &f)) {
        printf("Bail out! %s\n", f.text);
        exit(1);
    }
    fx->peer = peer_open(namesrv_port(fx->ns));
}

static void fixture_open(struct fixture *fx)
{
    *fx = (struct fixture){.dir = "/tmp/namesrv-XXXXXX"};
    if (!mkdtemp(fx->dir))
        exit(1);
    snprintf(fx->kv, sizeof(fx->kv), "%s/deep/er/kvConfig.json", fx->dir);
    snprintf(fx->conf, sizeof(fx->conf), "%s/namesrv.properties", fx->dir);
    fixture_start(fx);
}

static void fixture_stop(struct fixture *fx)
{
    peer_close(&fx->peer);
    namesrv_close(fx->ns);
}

static int unlink_one(const char *path, const struct stat *st, int type, struct FTW *ftw) { return remove(path); }

static void fixture_close(struct fixture *fx)
{
    fixture_stop(fx);
    nftw(fx->dir, unlink_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* Sends a request with ext fields as name, value, ..., NULL; the reply's code. */
static int ask_as(struct fixture *fx, struct peer *from, int version, int code, struct str body, va_list ap)
{
    struct command cmd = peer_cmd(code, 7);
    const char *k;

    cmd.version = (int16_t)version;
    cmd.body = body;
    while ((k = va_arg(ap, const char *)))
        command_add(&cmd, k, str_of(va_arg(ap, const char *)));
    return peer_send(from, &cmd) && peer_recv(from, &fx->reply) == PEER_FRAME && fx->reply.opaque == 7 ? fx->reply.code : -1;
}

static int ask(struct fixture *fx, int code, struct str body, ...)
{
    va_list ap;
    int rc;

    va_start(ap, body);
    rc = ask_as(fx, &fx->peer, VERSION_V5_5_0, code, body, ap);
    va_end(ap);
    return rc;
}

static int ask_from(struct fixture *fx, struct peer *from, int version, int code, struct str body, ...)
{
    va_list ap;
    int rc;

    va_start(ap, body);
    rc = ask_as(fx, from, version, code, body, ap);
    va_end(ap);
    return rc;
}

/* The last reply's body, as a C text. */
static const char *body_of(struct fixture *fx)
{
    static char text[8192];

    str_copy(text, sizeof(text), fx->reply.body);
    return text;
}

static const char *ext_of(struct fixture *fx, const char *name)
{
    static char text[512];

    return str_copy(text, sizeof(text), command_ext(&fx->reply, name)) && command_ext(&fx->reply, name).p ? text : "(none)";
}

static const struct str none = {NULL, 0};

/* A RegisterBrokerBody with topics "t0".."t(n-1)" and one named by the caller. */
static void make_body(struct buf *b, int n, const char *topic, int counter)
{
    buf_reset(b);
    buf_printf(b, "{\"filterServerList\":[],\"topicConfigSerializeWrapper\":{\"dataVersion\":{\"counter\":%d,"
               "\"stateVersion\":0,\"timestamp\":1700000000000},\"mappingDataVersion\":{\"counter\":0,\"stateVersion\":0,"
               "\"timestamp\":1},\"topicConfigTable\":{", counter);
    for (int i = 0; i < n; i++)
        buf_printf(b, "\"t%d\":{\"attributes\":{},\"order\":false,\"perm\":6,\"readQueueNums\":4,\"topicFilterType\":"
                   "\"SINGLE_TAG\",\"topicName\":\"t%d\",\"topicSysFlag\":0,\"writeQueueNums\":3},", i, i);
    buf_printf(b, "\"%s\":{\"attributes\":{\"a\":\"}\\\"{\"},\"perm\":6,\"readQueueNums\":8,\"topicName\":\"%s\",\"topicSysFlag\":1,"
               "\"writeQueueNums\":7}},\"topicQueueMappingDetailMap\":{},\"topicQueueMappingInfoMap\":{}}}", topic, topic);
}

struct who {
    const char *cluster, *name, *addr, *id, *timeout, *acting;
};

static int register_as(struct fixture *fx, struct peer *from, const struct who *w, struct str body, const char *crc)
{
    return ask_from(fx, from, VERSION_V5_5_0, 103, body, "brokerName", w->name, "brokerAddr", w->addr, "clusterName",
                    w->cluster, "haServerAddr", "10.0.0.9:10912", "brokerId", w->id, "bodyCrc32", crc ? crc : "0",
                    "heartbeatTimeoutMillis", w->timeout ? w->timeout : "120000",
                    w->acting ? "enableActingMaster" : "x", w->acting ? w->acting : "x", NULL);
}

static int register_broker(struct fixture *fx, const struct who *w, struct str body)
{
    return register_as(fx, &fx->peer, w, body, NULL);
}

static int route_code(struct fixture *fx, const char *topic) { return ask(fx, 105, none, "topic", topic, NULL); }

/* Until the topic's route is answered with this code. */
static bool becomes(struct fixture *fx, const char *topic, int code)
{
    int64_t until = mono_ms() + PEER_WAIT_MS;

    while (mono_ms() < until) {
        if (route_code(fx, topic) == code)
            return true;
        usleep(2000);
    }
    return false;
}

static const struct who master = {"c1", "bk1", "10.0.0.1:10911", "0", NULL, NULL};
static const struct who slave = {"c1", "bk1", "10.0.0.2:10911", "1", NULL, NULL};

static void test_register_and_route(void)
{
    struct fixture fx;
    struct buf body = {0};
    char crc[16];

    fixture_open(&fx);
    make_body(&body, 1, "orders", 5);
    is_int(route_code(&fx, "orders"), RC_TOPIC_NOT_EXIST, "R-NS-12: an unknown topic is an error");
    is_int(register_as(&fx, &fx.peer, &master, buf_str(&body), "12345"), RC_SYSTEM_ERROR, "a wrong crc is refused");
    is_int(route_code(&fx, "orders"), RC_TOPIC_NOT_EXIST, "and changes nothing");
    snprintf(crc, sizeof(crc), "%lu", crc32_z(0, (unsigned char *)body.p, body.n) & 0x7FFFFFFF);
    is_int(register_as(&fx, &fx.peer, &master, buf_str(&body), crc), RC_SUCCESS, "R-NS-07: a registration");
    is_text(ext_of(&fx, "masterAddr"), "(none)", "a master hears of no master");
    is_int(route_code(&fx, "orders"), RC_SUCCESS, "R-NS-10: its topic has a route");
    is_text(body_of(&fx), "{\"brokerDatas\":[{\"brokerAddrs\":{\"0\":\"10.0.0.1:10911\"},\"brokerName\":\"bk1\",\"cluster\":\"c1\","
            "\"enableActingMaster\":false}],\"filterServerTable\":{},\"queueDatas\":[{\"brokerName\":\"bk1\",\"perm\":6,"
            "\"readQueueNums\":8,\"topicSysFlag\":1,\"writeQueueNums\":7}]}", "in standard JSON for a client from 4.9.4 on");
    ask_from(&fx, &fx.peer, 393, 105, none, "topic", "orders", NULL);
    ok(strstr(body_of(&fx), "{0:\"10.0.0.1:10911\"}") != NULL, "with bare numbers as keys for an older one");
    ask_from(&fx, &fx.peer, 393, 105, none, "topic", "orders", "acceptStandardJsonOnly", "true", NULL);
    ok(strstr(body_of(&fx), "{\"0\":\"10.0.0.1:10911\"}") != NULL, "unless it asks for standard JSON");
    is_int(register_broker(&fx, &slave, buf_str(&body)), RC_SUCCESS, "R-NS-13: a slave registers");
    is_text(ext_of(&fx, "masterAddr"), "10.0.0.1:10911", "and is told its master");
    is_text(ext_of(&fx, "haServerAddr"), "10.0.0.9:10912", "and where to replicate from");
    route_code(&fx, "orders");
    ok(strstr(body_of(&fx), "{\"0\":\"10.0.0.1:10911\",\"1\":\"10.0.0.2:10911\"}") != NULL, "and is in the route");
    is_int(ask(&fx, 106, none, NULL), RC_SUCCESS, "cluster info");
    is_text(body_of(&fx), "{\"brokerAddrTable\":{\"bk1\":{\"brokerAddrs\":{0:\"10.0.0.1:10911\",1:\"10.0.0.2:10911\"},\"brokerName\":\"bk1\","
            "\"cluster\":\"c1\",\"enableActingMaster\":false}},\"clusterAddrTable\":{\"c1\":[\"bk1\"]}}", "has all brokers");
    is_int(ask(&fx, 901, none, "clusterName", "c1", "brokerName", "bk1", NULL), RC_SUCCESS, "member group");
    is_text(body_of(&fx), "{\"brokerMemberGroup\":{\"brokerAddrs\":{0:\"10.0.0.1:10911\",1:\"10.0.0.2:10911\"},\"brokerName\":\"bk1\","
            "\"cluster\":\"c1\"}}", "has ids and addresses");
    ask(&fx, 901, none, "clusterName", "c1", "brokerName", "nobody", NULL);
    is_text(body_of(&fx), "{\"brokerMemberGroup\":{\"brokerAddrs\":{},\"brokerName\":\"nobody\",\"cluster\":\"c1\"}}", "an unknown name is empty");
    is_int(ask(&fx, 104, none, "clusterName", "c1", "brokerName", "bk1", "brokerAddr", "10.0.0.1:10911", "brokerId", "0", NULL), RC_SUCCESS, "a master's goodbye");
    ask(&fx, 104, none, "clusterName", "c1", "brokerName", "bk1", "brokerAddr", "10.0.0.2:10911", "brokerId", "1", NULL);
    ok(becomes(&fx, "orders", RC_TOPIC_NOT_EXIST), "after the goodbye of all, the topic is gone");
    ask(&fx, 106, none, NULL);
    is_text(body_of(&fx), "{\"brokerAddrTable\":{},\"clusterAddrTable\":{}}", "and the cluster too");
    buf_free(&body);
    fixture_close(&fx);
}

static void test_partial_and_conflict(void)
{
    struct fixture fx;
    struct buf body = {0};
    struct str newer = str_of("{\"topicConfigSerializeWrapper\":{\"dataVersion\":{\"counter\":1,\"stateVersion\":9,\"timestamp\":1},"
                              "\"topicConfigTable\":{\"a\":{\"topicName\":\"a\"},\"b\":{\"topicName\":\"b\"}}}}");
    struct who usurper = master;

    fixture_open(&fx);
    make_body(&body, 0, "one", 1);
    is_int(register_broker(&fx, &master, buf_str(&body)), RC_SYSTEM_ERROR, "one topic before the first registration is refused");
    ask(&fx, 106, none, NULL);
    is_text(body_of(&fx), "{\"brokerAddrTable\":{},\"clusterAddrTable\":{}}", "and leaves no trace");
    is_int(register_broker(&fx, &master, newer), RC_SUCCESS, "a registration of state version 9");
    is_int(route_code(&fx, "a"), RC_SUCCESS, "has its topics");
    ok(strstr(body_of(&fx), "\"perm\":6,\"readQueueNums\":16,\"topicSysFlag\":0,\"writeQueueNums\":16") != NULL, "with Apache's defaults for what it left out");
    make_body(&body, 0, "one", 2);
    is_int(register_broker(&fx, &master, buf_str(&body)), RC_SUCCESS, "one topic afterwards is an increment");
    is_int(route_code(&fx, "a"), RC_SUCCESS, "that takes nothing away");
    register_broker(&fx, &master, newer);
    usurper.addr = "10.0.0.7:10911";
    make_body(&body, 1, "other", 2);
    is_int(register_broker(&fx, &usurper, buf_str(&body)), RC_SUCCESS, "another address with the same id and an older state is answered");
    is_int(route_code(&fx, "other"), RC_TOPIC_NOT_EXIST, "but ignored");
    buf_free(&body);
    fixture_close(&fx);
}

/* Compressed form: the parts, each with its length. */
static void put_part(struct buf *b, const char *text)
{
    buf_be32(b, (uint32_t)strlen(text));
    buf_puts(b, text);
}

static void make_compressed(struct buf *out)
{
    struct buf plain = {0};
    uLongf n;

    put_part(&plain, "{\"counter\":3,\"stateVersion\":0,\"timestamp\":1}");
    buf_be32(&plain, 2);
    put_part(&plain, "za 8 6 4 SINGLE_TAG {\"+k\":\"a b\"}");
    put_part(&plain, "zb 2 2 6 MULTI_TAG");
    put_part(&plain, "[\"10.0.0.1:7000\"]");
    buf_be32(&plain, 1);
    put_part(&plain, "{\"topic\":\"zb\",\"bname\":\"bk1\",\"totalQueues\":1,\"epoch\":7,\"currIdMap\":{0:5}}");
    n = compressBound(plain.n);
    buf_reset(out);
    compress2((unsigned char *)buf_room(out, n), &n, (unsigned char *)plain.p, plain.n, 9);
    out->n = n;
    buf_free(&plain);
}

static int register_compressed(struct fixture *fx, struct str body)
{
    return ask(fx, 103, body, "brokerName", "bk1", "brokerAddr", "10.0.0.1:10911", "clusterName", "c1", "haServerAddr", "",
               "brokerId", "0", "compressed", "true", NULL);
}

static void test_compressed(void)
{
    struct fixture fx;
    struct buf body = {0};
    int refused = 0;

    fixture_open(&fx);
    make_compressed(&body);
    for (size_t n = 1; n < body.n; n++)
        refused += register_compressed(&fx, str_n(body.p, n)) == RC_SYSTEM_ERROR;
    is_int(refused, (int)body.n - 1, "a compressed body cut at any byte is refused");
    is_int(register_compressed(&fx, buf_str(&body)), RC_SUCCESS, "the whole is taken");
    ask_from(&fx, &fx.peer, 393, 105, none, "topic", "za", NULL);
    is_text(body_of(&fx), "{\"brokerDatas\":[{\"brokerAddrs\":{0:\"10.0.0.1:10911\"},\"brokerName\":\"bk1\",\"cluster\":\"c1\","
            "\"enableActingMaster\":false}],\"filterServerTable\":{\"10.0.0.1:10911\":[\"10.0.0.1:7000\"]},\"queueDatas\":[{\"brokerName\":\"bk1\","
            "\"perm\":4,\"readQueueNums\":8,\"topicSysFlag\":0,\"writeQueueNums\":6}]}", "topic and filter server of a compressed body");
    ask_from(&fx, &fx.peer, 393, 105, none, "topic", "zb", NULL);
    ok(strstr(body_of(&fx), ",\"topicQueueMappingByBroker\":{\"bk1\":{\"bname\":\"bk1\",\"currIdMap\":{0:5},\"dirty\":false,\"epoch\":7,"
              "\"scope\":\"__global__\",\"topic\":\"zb\",\"totalQueues\":1}}}") != NULL, "a static topic's mapping is in its route");
    ask(&fx, 105, none, "topic", "zb", NULL);
    ok(strstr(body_of(&fx), "\"currIdMap\":{\"0\":5}") != NULL, "with quoted keys in standard JSON");
    buf_free(&body);
    fixture_close(&fx);
}

static void test_bad_bodies(void)
{
    struct fixture fx;
    struct buf body = {0};
    unsigned seed = (unsigned)mono_ms();
    int refused = 0, answered = 0;

    fixture_open(&fx);
    make_body(&body, 2, "orders", 5);
    for (size_t n = 1; n < body.n; n++)
        refused += register_broker(&fx, &master, str_n(body.p, n)) == RC_SYSTEM_ERROR;
    is_int(refused, (int)body.n - 1, "a body cut at any byte is refused");
    is_int(namesrv_topic_count(fx.ns), 0, "and registers nothing");
    printf("# seed %u\n", seed);
    srand(seed);
    for (int i = 0; i < 500; i++) {
        make_body(&body, 2, "orders", 5);
        for (int k = rand() % 4; k >= 0; k--)
            body.p[(size_t)rand() % body.n] = (char)rand();
        answered += register_broker(&fx, &master, buf_str(&body)) >= 0;
    }
    is_int(answered, 500, "each of 500 bodies with flipped bytes is answered");
    make_compressed(&body);
    answered = 0;
    for (int i = 0; i < 500; i++) {
        body.p[(size_t)rand() % body.n] = (char)rand();
        answered += register_compressed(&fx, buf_str(&body)) >= 0;
    }
    is_int(answered, 500, "and of 500 compressed ones");
    is_int(register_broker(&fx, &(struct who){"c1", "", "a:1", "0", NULL, NULL}, none), RC_SYSTEM_ERROR, "an empty broker name is refused");
    is_int(ask(&fx, 103, none, "brokerName", "b", NULL), RC_INVALID_PARAMETER, "a missing header field is named");
    ok(fx.reply.remark.n && memmem(fx.reply.remark.p, fx.reply.remark.n, "brokerAddr", 10), "in the remark");
    is_int(ask(&fx, 4711, none, NULL), RC_REQUEST_CODE_NOT_SUPPORTED, "an unknown request code is answered so");
    buf_free(&body);
    fixture_close(&fx);
}

static void test_departures(void)
{
    struct fixture fx;
    struct buf body = {0};
    struct peer other;
    struct who quick = {"c1", "bk2", "10.0.0.3:10911", "0", "1000", NULL};

    fixture_open(&fx);
    make_body(&body, 1, "orders", 5);
    other = peer_open(namesrv_port(fx.ns));
    is_int(register_as(&fx, &other, &master, buf_str(&body), NULL), RC_SUCCESS, "a broker on its own connection");
    is_int(route_code(&fx, "orders"), RC_SUCCESS, "has a route");
    peer_close(&other);
    ok(becomes(&fx, "orders", RC_TOPIC_NOT_EXIST), "R-NS-09: its connection ends, and so does the route");
    is_int(register_broker(&fx, &quick, buf_str(&body)), RC_SUCCESS, "a broker that promises to be heard every second");
    for (int64_t until = mono_ms() + 1300; mono_ms() < until; usleep(10000))
        ask(&fx, 904, none, "clusterName", "c1", "brokerName", "bk2", "brokerAddr", "10.0.0.3:10911", "brokerId", "0", NULL);
    is_int(route_code(&fx, "orders"), RC_SUCCESS, "stays as long as it sends heartbeats");
    for (int64_t until = mono_ms() + 1300; mono_ms() < until; usleep(10000))
        ask(&fx, 322, str_of("{\"counter\":5,\"stateVersion\":0,\"timestamp\":1700000000000}"), "clusterName", "c1",
            "brokerName", "bk2", "brokerAddr", "10.0.0.3:10911", "brokerId", "0", NULL);
    is_text(ext_of(&fx, "changed"), "false", "a question for its data version: unchanged");
    is_text(body_of(&fx), "{\"counter\":5,\"stateVersion\":0,\"timestamp\":1700000000000}", "with the version that is known");
    is_int(route_code(&fx, "orders"), RC_SUCCESS, "which is a sign of life too");
    ok(becomes(&fx, "orders", RC_TOPIC_NOT_EXIST), "R-NS-08: silent, it is dropped");
    ask(&fx, 322, none, "clusterName", "c1", "brokerName", "bk2", "brokerAddr", "10.0.0.3:10911", "brokerId", "0", NULL);
    is_text(ext_of(&fx, "changed"), "true", "an unknown broker must register");
    buf_free(&body);
    fixture_close(&fx);
}

static void test_topics(void)
{
    struct fixture fx;
    struct buf body = {0};
    struct who second = {"c2", "bk2", "10.0.0.4:10911", "0", NULL, NULL};

    fixture_open(&fx);
    make_body(&body, 1, "orders", 5);
    register_broker(&fx, &master, buf_str(&body));
    register_broker(&fx, &second, buf_str(&body));
    is_int(ask(&fx, 205, none, "brokerName", "bk1", NULL), RC_SUCCESS, "R-NS-14: a broker's write permission is wiped");
    is_text(ext_of(&fx, "wipeTopicCount"), "2", "on all its topics");
    route_code(&fx, "orders");
    ok(strstr(body_of(&fx), "\"bk1\",\"perm\":4") && strstr(body_of(&fx), "\"bk2\",\"perm\":6"), "and only on its own");
    register_broker(&fx, &master, buf_str(&body));
    route_code(&fx, "orders");
    ok(strstr(body_of(&fx), "\"bk1\",\"perm\":4") != NULL, "the same registration again does not give it back");
    ask(&fx, 327, none, "brokerName", "bk1", NULL);
    is_text(ext_of(&fx, "addTopicCount"), "2", "it is given back by request");
    is_int(ask(&fx, 217, str_of("{\"queueDatas\":[{\"brokerName\":\"bk1\",\"perm\":6,\"readQueueNums\":2,\"writeQueueNums\":2}]}"), "topic", "single", NULL), RC_SUCCESS, "a single topic");
    is_int(route_code(&fx, "single"), RC_SUCCESS, "has a route at once");
    is_int(ask(&fx, 217, str_of("{\"queueDatas\":[{\"brokerName\":\"nobody\"}]}"), "topic", "single2", NULL), RC_SYSTEM_ERROR, "not of a broker that is unknown");
    is_int(ask(&fx, 217, str_of("{\"queueDatas\":[{\"brokerName\":\"bk1\",\"perm\":0,\"readQueueNums\":0,\"writeQueueNums\":0}]}"), "topic", "orders", NULL), RC_SUCCESS, "nothing served any more");
    route_code(&fx, "orders");
    ok(!strstr(body_of(&fx), "bk1") && strstr(body_of(&fx), "bk2"), "takes one broker's share away and leaves the other's");
    ask(&fx, 206, none, NULL);
    ok(strstr(body_of(&fx), "\"single\"") && strstr(body_of(&fx), "\"orders\"") && strstr(body_of(&fx), "\"t0\""), "all topics are listed");
    ask(&fx, 224, none, "cluster", "c2", NULL);
    ok(!strstr(body_of(&fx), "\"single\"") && strstr(body_of(&fx), "\"orders\""), "those of a cluster");
    ask(&fx, 224, none, "cluster", "c9", NULL);
    is_text(body_of(&fx), "{\"topicList\":[]}", "none of an unknown one");
    ask(&fx, 311, none, NULL);
    is_text(body_of(&fx), "{\"topicList\":[\"orders\"]}", "those with the unit flag");
    ask(&fx, 312, none, NULL);
    is_text(body_of(&fx), "{\"topicList\":[]}", "none with the unit subscription flag");
    ask(&fx, 304, none, NULL);
    ok(strstr(body_of(&fx), "\"brokerAddr\":\"10.0.0.1:10911\"") && strstr(body_of(&fx), "[\"c1\",\"c2\",\"bk1\",\"bk2\"]"), "clusters and brokers are system topics");
    ask(&fx, 216, none, "topic", "t0", "clusterName", "c1", NULL);
    route_code(&fx, "t0");
    ok(!strstr(body_of(&fx), "bk1") && strstr(body_of(&fx), "bk2"), "a topic is deleted of one cluster");
    ask(&fx, 216, none, "topic", "t0", NULL);
    is_int(route_code(&fx, "t0"), RC_TOPIC_NOT_EXIST, "and everywhere");
    ask(&fx, 318, str_of("deleteTopicWithBrokerRegistration=true\n"), NULL);
    register_broker(&fx, &second, str_of("{\"topicConfigSerializeWrapper\":{\"topicConfigTable\":{\"n1\":{\"topicName\":\"n1\"},\"n2\":{\"topicName\":\"n2\"}}}}"));
    is_int(route_code(&fx, "orders"), RC_TOPIC_NOT_EXIST, "deleteTopicWithBrokerRegistration: what is not named is taken away");
    is_int(route_code(&fx, "single"), RC_SUCCESS, "of that broker only");
    buf_free(&body);
    fixture_close(&fx);
}

static void test_acting_master_and_zone(void)
{
    struct fixture fx;
    struct buf body = {0};
    struct who lone = {"c1", "bk1", "10.0.0.2:10911", "2", NULL, "true"};
    struct who lord = {"c1", "bk1", "10.0.0.1:10911", "0", NULL, "true"};

    fixture_open(&fx);
    make_body(&body, 1, "orders", 5);
    ask(&fx, 318, str_of("supportActingMaster=true"), NULL);
    register_broker(&fx, &lord, buf_str(&body));
    register_broker(&fx, &lone, buf_str(&body));
    ask(&fx, 104, none, "clusterName", "c1", "brokerName", "bk1", "brokerAddr", lord.addr, "brokerId", "0", NULL);
    for (int64_t until = mono_ms() + PEER_WAIT_MS; mono_ms() < until; usleep(2000)) {
        route_code(&fx, "orders");
        if (!strstr(body_of(&fx), lord.addr))
            break;
    }
    ok(strstr(body_of(&fx), "{\"0\":\"10.0.0.2:10911\"}") && strstr(body_of(&fx), "\"perm\":4"), "the slave is shown as master, read-only");
    ask(&fx, 318, str_of("supportActingMaster=false"), NULL);
    route_code(&fx, "orders");
    ok(strstr(body_of(&fx), "{\"2\":\"10.0.0.2:10911\"}") != NULL, "not without supportActingMaster");
    is_int(ask(&fx, 103, buf_str(&body), "brokerName", "bk3", "brokerAddr", "10.0.0.5:10911", "clusterName", "c1", "haServerAddr", "",
               "brokerId", "0", "__ZONE_NAME", "north", NULL), RC_SUCCESS, "a broker of a zone");
    ask(&fx, 105, none, "topic", "orders", "__ZONE_MODE", "true", "__ZONE_NAME", "NORTH", NULL);
    ok(strstr(body_of(&fx), "\"zoneName\":\"north\"") && strstr(body_of(&fx), "{0:\"10.0.0.5:10911\"}"), "is in its zone's route, in bare numbers");
    ask(&fx, 105, none, "topic", "orders", "__ZONE_MODE", "true", "__ZONE_NAME", "south", NULL);
    ok(!strstr(body_of(&fx), "bk3") && strstr(body_of(&fx), "bk1"), "not in another's, which has the one without a master");
    buf_free(&body);
    fixture_close(&fx);
}

/* ---- a broker that hears of its group's smallest id (905) ---- */

struct hearing {
    pthread_mutex_t lock;
    char min_id[16], offline[64];
    int n;
};

static void op_hear(struct request *r)
{
    struct hearing *h = request_ctx(r);

    pthread_mutex_lock(&h->lock);
    str_copy(h->min_id, sizeof(h->min_id), command_ext(request_cmd(r), "minBrokerId"));
    str_copy(h->offline, sizeof(h->offline), command_ext(request_cmd(r), "offlineBrokerAddr"));
    h->n++;
    pthread_mutex_unlock(&h->lock);
}

static int heard(struct hearing *h)
{
    int n;

    pthread_mutex_lock(&h->lock);
    n = h->n;
    pthread_mutex_unlock(&h->lock);
    return n;
}

static void test_min_id(void)
{
    static const struct op ops[] = {{905, "NOTIFY_MIN_BROKER_ID_CHANGE", op_hear, 0, ""}};
    struct hearing h = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct server_ops so = {.ops = ops, .n_ops = 1, .ctx = &h};
    struct server_conf sc = {.bind = "127.0.0.1", .ports = {0, -1}, .loops = 1, .workers = 1, .worker_queue = 10,
                             .frame_max = FRAME_MAX, .conns_max = 10, .idle_seconds = 60, .out_max = 1 << 20, .backlog = 8, .name = "test"};
    struct who lord = {"c1", "bk1", "10.0.0.1:10911", "0", NULL, "true"}, heir = {"c1", "bk1", NULL, "1", NULL, "true"};
    struct fixture fx;
    struct buf body = {0};
    struct server *s;
    struct fault f;
    char addr[64];

    fixture_open(&fx);
    make_body(&body, 1, "orders", 5);
    if (server_open(&sc, &so, &s, &f) || server_run(s))
        exit(1);
    snprintf(addr, sizeof(addr), "127.0.0.1:%d", server_port(s, 0));
    heir.addr = addr;
    ask(&fx, 318, str_of("notifyMinBrokerIdChanged=true"), NULL);
    register_broker(&fx, &heir, buf_str(&body));
    register_broker(&fx, &lord, buf_str(&body));
    wait_until(heard(&h) == 1);
    is_text(h.min_id, "0", "a slave hears that a master came");
    ask(&fx, 104, none, "clusterName", "c1", "brokerName", "bk1", "brokerAddr", lord.addr, "brokerId", "0", NULL);
    wait_until(heard(&h) == 2);
    is_text(h.min_id, "1", "and, when it left, that its own id is the smallest");
    is_text(h.offline, "10.0.0.1:10911", "and who left");
    server_stop(s, 100);
    server_free(s);
    buf_free(&body);
    fixture_close(&fx);
}

static void test_kv(void)
{
    struct fixture fx;
    struct buf text = {0}, big = {0};

    fixture_open(&fx);
    is_int(ask(&fx, 101, none, "namespace", "NS", "key", "k", NULL), RC_QUERY_NOT_FOUND, "R-NS-20: a key that is not there");
    is_int(ask(&fx, 100, none, "namespace", "NS", "key", "k", "value", "v \"1\"", NULL), RC_SUCCESS, "is put");
    ask(&fx, 101, none, "namespace", "NS", "key", "k", NULL);
    is_text(ext_of(&fx, "value"), "v \"1\"", "and read");
    ok(file_read(fx.kv, 1000, &text) == 0, "the file is there when the answer is");
    is_text(text.p, "{\"configTable\":{\"NS\":{\"k\":\"v \\\"1\\\"\"}}}", "as Apache writes it");
    ask(&fx, 100, none, "namespace", "ORDER_TOPIC_CONFIG", "key", "orders", "value", "bk1:4", NULL);
    ask(&fx, 219, none, "namespace", "ORDER_TOPIC_CONFIG", NULL);
    is_text(body_of(&fx), "{\"table\":{\"orders\":\"bk1:4\"}}", "a namespace is listed");
    is_int(ask(&fx, 219, none, "namespace", "none", NULL), RC_QUERY_NOT_FOUND, "not one that is not there");
    register_broker(&fx, &master, str_of("{\"topicConfigSerializeWrapper\":{\"topicConfigTable\":{\"orders\":{\"topicName\":\"orders\"},\"n2\":{\"topicName\":\"n2\"}}}}"));
    is_text(body_of(&fx), "{\"table\":{\"orders\":\"bk1:4\"}}", "a registration is answered with the order topics");
    ask(&fx, 318, str_of("orderMessageEnable=true\n"), NULL);
    route_code(&fx, "orders");
    ok(strstr(body_of(&fx), "\"orderTopicConf\":\"bk1:4\",\"queueDatas\"") != NULL, "and a route has them when orderMessageEnable");
    is_int(ask(&fx, 100, none, "namespace", "NS", "key", "", "value", "v", NULL), RC_SYSTEM_ERROR, "an empty key is refused");
    for (int i = 0; i < 70000; i++)
        buf_putc(&big, 'x');
    buf_putc(&big, 0);
    is_int(ask(&fx, 100, none, "namespace", "NS", "key", "big", "value", big.p, NULL), RC_SYSTEM_ERROR, "a value of 70,000 bytes is refused");
    fixture_stop(&fx);
    fixture_start(&fx);
    ask(&fx, 101, none, "namespace", "NS", "key", "k", NULL);
    is_text(ext_of(&fx, "value"), "v \"1\"", "values outlive the process");
    is_int(ask(&fx, 102, none, "namespace", "NS", "key", "k", NULL), RC_SUCCESS, "a key is deleted");
    is_int(ask(&fx, 101, none, "namespace", "NS", "key", "k", NULL), RC_QUERY_NOT_FOUND, "and gone");
    ask(&fx, 219, none, "namespace", "NS", NULL);
    is_text(body_of(&fx), "{\"table\":{}}", "its namespace stays");
    fixture_stop(&fx);
    fixture_start(&fx);
    ask(&fx, 219, none, "namespace", "NS", NULL);
    is_text(body_of(&fx), "{\"table\":{}}", "over a restart too");
    buf_free(&text);
    buf_free(&big);
    fixture_close(&fx);
}

/* A file that cannot be written must not be answered as done. */
static void test_kv_write_fails(void)
{
    struct fixture fx;
    char blocked[200];

    fixture_open(&fx);
    ask(&fx, 100, none, "namespace", "NS", "key", "k", "value", "1", NULL);
    snprintf(blocked, sizeof(blocked), "%s/deep/er", fx.dir);
    nftw(blocked, unlink_one, 8, FTW_DEPTH | FTW_PHYS);
    ok(file_replace(blocked, str_of("in the way")) == 0, "a file stands where the directory was");
    is_int(ask(&fx, 100, none, "namespace", "NS", "key", "k", "value", "2", NULL), RC_SYSTEM_ERROR, "what cannot be written is refused");
    ask(&fx, 101, none, "namespace", "NS", "key", "k", NULL);
    is_text(ext_of(&fx, "value"), "1", "and the old value stays");
    fixture_close(&fx);
}

static void test_config(void)
{
    struct fixture fx;
    struct namesrv_config again = {0};
    struct buf body = {0};
    struct fault f = {0};

    fixture_open(&fx);
    is_int(ask(&fx, 318, str_of("enableTopicList=false\nwaitSecondsForService=7\n"), NULL), RC_SUCCESS, "keys change while running");
    is_int(ask(&fx, 311, none, NULL), RC_SYSTEM_ERROR, "and have their effect");
    is_int(ask(&fx, 318, str_of("enableTopicList=true\nkvConfigPath=/x\n"), NULL), RC_NO_PERMISSION, "not those in the black list");
    is_int(ask(&fx, 311, none, NULL), RC_SYSTEM_ERROR, "nor the others of that request");
    is_int(ask(&fx, 318, str_of("listenPort=1\n"), NULL), RC_NO_PERMISSION, "nor fixed ones");
    is_int(ask(&fx, 318, str_of("enableTopicLits=true\n"), NULL), RC_INVALID_PARAMETER, "nor unknown ones");
    is_int(ask(&fx, 318, str_of("waitSecondsForService=soon\n"), NULL), RC_INVALID_PARAMETER, "nor to a bad value");
    is_int(ask(&fx, 318, none, NULL), RC_INVALID_PARAMETER, "nor to nothing");
    ask(&fx, 319, none, NULL);
    ok(strstr(body_of(&fx), "\nwaitSecondsForService=7\n") && strstr(body_of(&fx), "\nenableTopicList=false\n"), "all are shown");
    ok(namesrv_config_load(&again, fx.conf, &f) == 0 && again.wait_seconds_for_service == 7, "and kept in configStorePath: %s", f.text);
    namesrv_config_free(&again);
    ask(&fx, 318, str_of("needWaitForService=true\nenableAllTopicList=false"), NULL);
    is_int(route_code(&fx, "x"), RC_SYSTEM_ERROR, "needWaitForService: no route just after the start");
    is_int(ask(&fx, 206, none, NULL), RC_SYSTEM_ERROR, "enableAllTopicList=false: no list");
    ask(&fx, 318, str_of("maxTopics=2"), NULL);
    make_body(&body, 3, "orders", 1);
    is_int(register_broker(&fx, &master, buf_str(&body)), RC_SYSTEM_ERROR, "maxTopics: more are refused");
    is_int(namesrv_topic_count(fx.ns), 2, "and not kept");
    ask(&fx, 318, str_of("maxTopics=4"), NULL);
    is_int(register_broker(&fx, &master, buf_str(&body)), RC_SUCCESS, "the same registration, when there is room,");
    is_int(namesrv_topic_count(fx.ns), 4, "brings the others");
    buf_free(&body);
    fixture_close(&fx);
}

/* 100,000 topics in one body of some 14 MB. */
static void test_scale(void)
{
    struct fixture fx;
    struct buf body = {0};
    struct namesrv_queue q;
    struct namesrv_broker b;
    int64_t start;

    fixture_open(&fx);
    make_body(&body, 100000, "orders", 5);
    start = mono_ms();
    is_int(register_broker(&fx, &master, buf_str(&body)), RC_SUCCESS, "a registration of 100,001 topics, %zu bytes", body.n);
    printf("# took %lld ms\n", (long long)(mono_ms() - start));
    is_int(namesrv_topic_count(fx.ns), 100001, "all are there");
    ok(namesrv_topic_at(fx.ns, str_of("t99999"), 0, &q) == 0 && q.write_queues == 3, "with their queues");
    start = mono_ms();
    is_int(register_broker(&fx, &master, buf_str(&body)), RC_SUCCESS, "the same again, as every 30 seconds");
    printf("# took %lld ms\n", (long long)(mono_ms() - start));
    start = mono_ms();
    for (int i = 0; i < 1000; i++)
        route_code(&fx, "t77777");
    printf("# 1000 routes took %lld ms\n", (long long)(mono_ms() - start));
    ok(namesrv_broker_at(fx.ns, 0, &b) == 0 && strcmp(b.name, "bk1") == 0 && b.broker_id == 0, "the tree sees the broker");
    is_int(namesrv_broker_at(fx.ns, 1, &b), -ENOENT, "and no other");
    is_int(ask(&fx, 206, none, NULL), RC_SUCCESS, "all names are listed");
    ok(fx.reply.body.n > 800000, "all 100,001 of them");
    ask(&fx, 104, none, "clusterName", "c1", "brokerName", "bk1", "brokerAddr", "10.0.0.1:10911", "brokerId", "0", NULL);
    ok(becomes(&fx, "orders", RC_TOPIC_NOT_EXIST), "and go with their broker");
    buf_free(&body);
    fixture_close(&fx);
}

int main(void)
{
    test_register_and_route();
    test_partial_and_conflict();
    test_compressed();
    test_bad_bodies();
    test_departures();
    test_topics();
    test_acting_master_and_zone();
    test_min_id();
    test_kv();
    test_kv_write_fails();
    test_config();
    test_scale();
    return tap_done();
}
