/* The broker's configuration: every row's default, files good and bad, what
 * follows from other keys, delay levels. (R-CFG) */
#include "broker/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/codes.h"
#include "tests/unit/tap.h"

static char path[] = "/tmp/mqfs-config-XXXXXX";

static void write_file(const char *text)
{
    FILE *f = fopen(path, "w");

    if (!f || fputs(text, f) < 0 || fclose(f)) {
        perror("# config file");
        exit(2);
    }
}

static int load(struct broker_config *c, const char *text, struct fault *f)
{
    memset(c, 0, sizeof(*c));
    memset(f, 0, sizeof(*f));
    if (text)
        write_file(text);
    return broker_config_load(c, text ? path : NULL, f);
}

static char *value_of(const struct broker_config *c, const char *key)
{
    static char text[4096];
    const struct conf_row *row = conf_find(&broker_config_rows, str_of(key));
    struct buf b = {0};

    text[0] = 0;
    if (row)
        conf_get(row, c, &b);
    str_copy(text, sizeof(text), buf_str(&b));
    buf_free(&b);
    return row ? text : NULL;
}

/* What Apache's 5.5.0 has, and where ours differs on purpose. */
static void test_defaults(void)
{
    static const char *const wants[][2] = {
        {"brokerClusterName", "DefaultCluster"}, {"listenPort", "10911"}, {"brokerPermission", "6"},
            {"flushDiskType", "ASYNC_FLUSH"},
        {"brokerRole", "ASYNC_MASTER"}, {"defaultTopicQueueNums", "8"}, {"maxMessageSize", "4194304"},
        {"mappedFileSizeCommitLog", "1073741824"}, {"mappedFileSizeConsumeQueue", "6000000"},
        {"registerNameServerPeriod", "30000"},
        {"maxTransferCountOnMessageInMemory", "32"}, {"maxTransferBytesOnMessageInMemory", "262144"},
        {"flushConsumerOffsetInterval", "5000"}, {"channelExpiredTimeout", "120000"},
        {"syncFlushTimeout", "5000"},
        {"serverChannelMaxIdleTimeSeconds", "120"}, {"useServerSideResetOffset", "true"},
        {"longPollingEnable", "true"},
        {"messageDelayLevel", "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h"},
        {"autoCreateTopicEnable", "false"}, {"autoCreateSubscriptionGroup", "false"},
        {"enforceBindings", "false"},
    };
    struct broker_config c;
    struct fault f;
    int bad = 0;

    setenv("HOME", "/home/somebody", 1);
    unsetenv("NAMESRV_ADDR");
    is_int(load(&c, NULL, &f), 0, "defaults alone load");
    for (size_t i = 0; i < sizeof(wants) / sizeof(wants[0]); i++)
        is_text(value_of(&c, wants[i][0]), wants[i][1], "default of %s", wants[i][0]);
    is_text(c.store_path_root_dir, "/home/somebody/store", "storePathRootDir follows HOME");
    ok(c.broker_name[0] != 0, "brokerName follows the host");
    ok(c.broker_ip1[0] != 0, "brokerIP1 is some address: %s", c.broker_ip1);
    broker_config_free(&c);

    setenv("NAMESRV_ADDR", "ns1:9876;ns2:9876", 1);
    load(&c, NULL, &f);
    is_text(c.namesrv_addr, "ns1:9876;ns2:9876", "namesrvAddr follows NAMESRV_ADDR");
    broker_config_free(&c);
    load(&c, "namesrvAddr=other:1\n", &f);
    is_text(c.namesrv_addr, "other:1", "unless the file has it");
    broker_config_free(&c);
    unsetenv("NAMESRV_ADDR");

    for (size_t i = 0; i < broker_config_rows.n; i++) {
        const struct conf_row *r = &broker_config_rows.rows[i];
        struct broker_config one = {0};

        bad += !r->help || !r->help[0] || conf_find(&broker_config_rows, str_of(r->name)) != r;
        bad += conf_set(r, &one, str_of(r->def), NULL) != 0;
        broker_config_free(&one);
    }
    is_int(bad, 0, "every row has a name of its own, a help, and takes its own default");
}

static void test_files(void)
{
    int long_bad = 0;
    static const struct { const char *text, *says; } bad[] = {
        {"listenPort=many\n", "line 1"}, {"\n\nlistenPort=70000\n", "line 3"},
            {"listenPort=-1\n", "listenPort"},
        {"flushDiskType=SOMETIMES\n", "ASYNC_FLUSH"}, {"autoCreateTopicEnable=perhaps\n", "true or false"},
        {"brokerRole=SLAVE\n", "replication"}, {"brokerRole=SYNC_MASTER\n", "replication"},
        {"messageDelayLevel=1x\n", "messageDelayLevel"},
        {"messageDelayLevel=\n", "messageDelayLevel"}, {"defaultTopicQueueNums=99999999999999999999\n",
                                                        "defaultTopicQueueNums"},
        {"this is no setting\n", "line 1"},
        {"listenPort=many\nbrokerName=b\n", "line 1: listenPort wants a whole number"},
    };
    struct broker_config c;
    struct fault f;

    is_int(load(&c,
                "# a comment\nbrokerName = broker-a \nlistenPort=12345\nbrokerId=7\nenableLmq=true\nstorePathRootDir=/data/mq\n", &f), 0,
           "an ordinary broker.conf, a key without effect included");
    is_text(c.broker_name, "broker-a", "blanks around do not count");
    is_int(c.listen_port, 12345, "a number");
    is_int(c.broker_id, 0, "a master has the id 0 whatever is written");
    broker_config_free(&c);
    is_int(load(&c, "brokerName=broker-a\n  listenPort=12345\n\tregionId = r\n! another comment\n \n", &f), 0,
           "blanks before a key, as Java's properties allow them: %s", f.text);
    ok(c.listen_port == 12345 && strcmp(c.broker_name, "broker-a") == 0 && strcmp(c.region_id, "r") == 0, "are no part of the line before");
    broker_config_free(&c);
    for (size_t n = 190; n < 60000; n = n < 210 ? n + 1 : n * 3) {
        char *line = malloc(n + 64), *value = line + sprintf(line, "regionId=");
        int rc;

        memset(value, 'x', n);
        strcpy(value + n, "\nlistenPort=12345\n");
        rc = load(&c, line, &f);
        value[n] = 0;
        if (rc || strcmp(c.region_id, value) || c.listen_port != 12345)
            long_bad++;
        broker_config_free(&c);
        free(line);
    }
    is_int(long_bad, 0, "a line may be as long as a value: %s", f.text);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int rc = load(&c, bad[i].text, &f);

        ok(rc < 0 && f.err == -rc && strstr(f.text, bad[i].says), "refused, and why: %s", f.text);
        broker_config_free(&c);
    }
    memset(&c, 0, sizeof(c));
    ok(broker_config_load(&c, "/nonexistent/broker.conf", &f) == -ENOENT &&
       strstr(f.text, "/nonexistent/broker.conf"), "a missing file is named: %s", f.text);
    broker_config_free(&c);
}

static void test_override(void)
{
    struct broker_config c;
    struct fault f;

    load(&c, NULL, &f);
    is_int(broker_config_override(&c, "namesrvAddr", "h:1", &f), 0, "a key from the command line");
    is_text(c.namesrv_addr, "h:1", "is set");
    is_int(broker_config_override(&c, "noSuchKey", "1", &f), -EINVAL, "an unknown key is refused");
    is_int(broker_config_override(&c, "listenPort", "x", &f), -EINVAL, "and so is a bad value");
    is_int(c.listen_port, 10911, "which changes nothing");
    broker_config_free(&c);
}

static void test_delay_levels(void)
{
    static const struct { const char *text; int n; int64_t last; } good[] = {
        {"1s", 1, 1000}, {"1s 5m 2h 1d", 4, 86400000}, {"  10s   20s  ", 2, 20000}, {"", 0, -1},
            {"0s", 1, 0},
    };
    static const char *const bad[] = {"1", "s", "1x", "1 s", "-1s", "+1s", "1s,2s", "1s 5m 1w",
                                      "99999999999999999999s", "9223372036854775807d", "1s1", "1\ts"};
    int64_t ms[9];

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        ms[0] = ms[good[i].n] = -1;
        is_int(delay_levels_parse(str_of(good[i].text), ms, 8), good[i].n, "levels of \"%s\"",
               good[i].text);
        is_int(ms[good[i].n], good[i].last, "the last one in ms");
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        is_int(delay_levels_parse(str_of(bad[i]), ms, 8), -EINVAL, "no levels: \"%s\"", bad[i]);
    is_int(delay_levels_parse(str_of("1s 1s 1s 1s 1s 1s 1s 1s 1s"), ms, 8), -EINVAL,
           "more than there is room for");
}

int main(void)
{
    int fd = mkstemp(path);

    if (fd < 0) {
        perror("# mkstemp");
        return 2;
    }
    close(fd);
    test_defaults();
    test_files();
    test_override();
    test_delay_levels();
    unlink(path);
    return tap_done();
}
