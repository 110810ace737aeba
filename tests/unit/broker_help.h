/* A broker in this process, in a directory of its own, and questions to it over
 * a socket. Include in one .c file only, after peer.h and tap.h. */
#ifndef TESTS_UNIT_BROKER_HELP_H
#define TESTS_UNIT_BROKER_HELP_H

#include <ftw.h>
#include <sys/stat.h>

#include "broker/broker.h"
#include "broker/state.h"
#include "common/message.h"

static struct broker *house;
static char house_dir[64];
static struct peer line;            /* a connection to it */
static struct caller tester = {.user = "tester", .from = "test"};

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *w) { return remove(path); }

static void house_remove(void) { nftw(house_dir, remove_one, 16, FTW_DEPTH | FTW_PHYS); }

static void house_bail(const char *what, const struct fault *f)
{
    printf("Bail out! %s: %s\n", what, f->text);
    exit(2);
}

/* Opens the broker on house_dir (made when empty) with these keys: "name", "value", ..., NULL. */
static void house_open(const char *const *keys)
{
    static struct broker_config conf;
    struct fault f = {0};

    if (!house_dir[0]) {
        strcpy(house_dir, "/tmp/mqfs-broker-XXXXXX");
        if (!mkdtemp(house_dir)) {
            perror("mkdtemp");
            exit(2);
        }
        atexit(house_remove);
    }
    memset(&conf, 0, sizeof(conf));
    if (broker_config_load(&conf, NULL, &f) || broker_config_override(&conf, "storePathRootDir", house_dir, &f) ||
        broker_config_override(&conf, "brokerName", "b", &f) || broker_config_override(&conf, "brokerIP1", "127.0.0.1", &f) ||
        broker_config_override(&conf, "bindAddress", "127.0.0.1", &f) || broker_config_override(&conf, "listenPort", "0", &f) ||
        broker_config_override(&conf, "serverSelectorThreads", "2", &f) ||
        broker_config_override(&conf, "mappedFileSizeCommitLog", "1048576", &f) ||
        broker_config_override(&conf, "mappedFileSizeConsumeQueue", "60000", &f))
        house_bail("configuration", &f);
    for (; keys && *keys; keys += 2)
        if (broker_config_override(&conf, keys[0], keys[1], &f))
            house_bail(keys[0], &f);
    if (broker_open(&conf, NULL, &house, &f) || broker_run(house, &f))
        house_bail("broker", &f);
    line = peer_open(broker_port(house));
}

static void house_close(void)
{
    peer_close(&line);
    broker_close(house);
    house = NULL;
}

__attribute__((unused)) static void set_key(const char *key, const char *value)
{
    struct fault f = {0};

    if (broker_config_set(house, &tester, str_of(key), str_of(value), &f))
        house_bail(key, &f);
}

__attribute__((unused)) static void make_topic(const char *name, int queues)
{
    struct topic_change ch = TOPIC_CHANGE_NONE;
    struct fault f = {0};

    ch.read_queues = ch.write_queues = queues;
    if (broker_topic_create(house, &tester, str_of(name), &ch, &f))
        house_bail(name, &f);
}

__attribute__((unused)) static void make_group(enum group_kind kind, const char *name)
{
    struct group_change ch = GROUP_CHANGE_NONE;
    struct fault f = {0};

    if (broker_group_create(house, &tester, kind, str_of(name), &ch, &f))
        house_bail(name, &f);
}

/* A request being built. Texts are not copied. */
struct ask {
    struct command c;
    char digits[COMMAND_EXT_MAX][21];
    unsigned n_digits;
};

static void ask_begin(struct ask *a, int code)
{
    static int opaque;

    a->c = peer_cmd(code, ++opaque);
    a->n_digits = 0;
}

/* Sets a field; value p NULL: takes it away. */
static void ask_set(struct ask *a, const char *name, struct str value)
{
    for (unsigned i = 0; i < a->c.n_ext; i++) {
        if (str_is(a->c.ext[i].k, name)) {
            a->c.ext[i].v = value;
            return;
        }
    }
    command_add(&a->c, name, value);
}

static void ask_text(struct ask *a, const char *name, const char *value) { ask_set(a, name, str_of(value)); }

static void ask_i64(struct ask *a, const char *name, int64_t v)
{
    char *d = a->digits[a->n_digits++ % COMMAND_EXT_MAX];

    ask_set(a, name, str_n(d, fmt_i64(d, v)));
}

/* Sends it on a connection and waits for the answer; its texts live until the next. The code, -1 without an answer. */
static int answer_on(struct peer *p, struct ask *a, struct command *out)
{
    if (!peer_send(p, &a->c))
        return -1;
    do {
        if (peer_recv(p, out) != PEER_FRAME)
            return -1;
    } while (!(out->flag & FLAG_RESPONSE) || out->opaque != a->c.opaque);      /* the broker asks too */
    return out->code;
}

__attribute__((unused)) static int answer_to(struct ask *a, struct command *out) { return answer_on(&line, a, out); }

__attribute__((unused)) static int64_t field_i64(const struct command *c, const char *name)
{
    int64_t v = -12345;

    str_i64(command_ext(c, name), &v);
    return v;
}

__attribute__((unused)) static const char *remark(const struct command *c)
{
    static char text[300];

    str_copy(text, sizeof(text), str_n(c->remark.p, c->remark.n < 299 ? c->remark.n : 299));
    return text;
}

/* A SEND_MESSAGE_V2 with all that a Java client sends. */
__attribute__((unused)) static void ask_send(struct ask *a, const char *topic, int32_t queue, const char *body, const char *properties)
{
    ask_begin(a, 310);
    ask_text(a, "a", "p1");
    ask_text(a, "b", topic);
    ask_text(a, "c", "TBW102");
    ask_text(a, "d", "4");
    ask_i64(a, "e", queue);
    ask_text(a, "f", "0");
    ask_i64(a, "g", wall_ms());
    ask_text(a, "h", "0");
    ask_text(a, "i", properties);
    ask_text(a, "j", "0");
    ask_text(a, "k", "false");
    ask_text(a, "m", "false");
    a->c.body = str_of(body);
}

/* A PULL_MESSAGE that brings its subscription along and does not wait. */
__attribute__((unused)) static void ask_pull(struct ask *a, const char *group, const char *topic, int32_t queue, int64_t offset)
{
    ask_begin(a, 11);
    ask_text(a, "consumerGroup", group);
    ask_text(a, "topic", topic);
    ask_i64(a, "queueId", queue);
    ask_i64(a, "queueOffset", offset);
    ask_text(a, "maxMsgNums", "32");
    ask_text(a, "sysFlag", "4");
    ask_text(a, "commitOffset", "0");
    ask_text(a, "suspendTimeoutMillis", "15000");
    ask_text(a, "subscription", "*");
    ask_text(a, "subVersion", "1");
    ask_text(a, "expressionType", "TAG");
}

/* The n-th message of a pull's body; false when there are fewer. */
__attribute__((unused)) static bool message_at(struct str body, int n, struct message *m)
{
    for (size_t pos = 0; pos < body.n; pos += m->size) {
        if (message_record_get(body.p + pos, body.n - pos, true, m))
            return false;
        if (n-- == 0)
            return true;
    }
    return false;
}

__attribute__((unused)) static int message_count(struct str body)
{
    struct message m;
    int n = 0;

    while (message_at(body, n, &m))
        n++;
    return n;
}

__attribute__((unused)) static int64_t queue_end(const char *topic, int32_t queue)
{
    struct queue_info q;

    return broker_queue_get(house, str_of(topic), queue, &q) ? -1 : q.max;
}

#endif
