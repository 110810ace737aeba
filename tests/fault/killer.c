/* Kills a broker, or cuts its power, again and again while messages are sent and settings are changed, and checks
 * after each start that everything acknowledged is there, whole, in order (R-STORE-21, -22, -26, -27, -30).
 *
 *     killer [--rounds N] [--seed S] [--cut] [--async] [--expect-loss] [--full EVERY]
 *
 * --cut: power loss (powerfs) in place of kill -9, with SYNC_FLUSH unless --async. --expect-loss: passes only when
 * messages were lost: shows that the checker can see it. --full: all messages are read every so many rounds, in the
 * others those of the last rounds.
 *
 * Every message has a number, from which its bytes follow. Its offset must be past all that were acknowledged, or
 * seen, in its queue when it was sent: that is the order a producer can count on (what is under way at the same time
 * has none, with Apache's broker neither). What was sent but not acknowledged may be there or not; once it was seen
 * it must stay. */
#include "tests/unit/tap.h"
#include "tests/unit/peer.h"
#include "tests/fault/rig.h"

#include <getopt.h>

#include "common/be.h"
#include "common/message.h"

#define QUEUES 4
#define IN_FLIGHT 64                 /* requests; opaque % IN_FLIGHT is their place */
#define BATCH 3
#define BODY_MAX 50000
#define UNKNOWN (-1)

enum { TOPIC, GROUP, KEY, KINDS };

static struct options {
    int rounds, full;
    unsigned seed;
    bool cut, async, expect_loss;
} opt = {.rounds = 10, .full = 20};

/* What is known of a queue. */
static struct queue {
    int64_t *number;                 /* by offset: of the message that is there; UNKNOWN */
    int64_t n, cap;
    int64_t old, older;              /* n one and two rounds ago */
    int64_t committed, seen_committed;
} queues[QUEUES];

static struct pending {
    int opaque;                      /* 0: free */
    int kind;                        /* of a change of settings, else -1 */
    int queue, n;
    int64_t first;
} pending[IN_FLIGHT];

/* A value that only grows: acknowledged so far, and asked for. */
static struct setting { int64_t acked, sent; } settings[KINDS];

static int64_t *floors, floors_cap;  /* by number: the smallest offset it may get */
static int64_t next_number = 1, acked_messages, changes_acked;
static struct { long lost, wrong, disorder, settings, ahead, refused; } bad;
static int opaque;
static bool crashing;                /* from here on a refusal is right: the disk is gone */

/* ---- messages ---- */

static size_t body_of(int64_t number, char out[BODY_MAX])
{
    uint64_t h = (uint64_t)number * UINT64_C(0x9E3779B97F4A7C15);
    size_t n = (size_t)snprintf(out, 64, "message %" PRId64 " ", number);
    size_t want = h >> 32 & 127 ? 20 + (h >> 40) % 1200 : 20000 + (h >> 40) % 20000;

    for (; n < want; n++)
        out[n] = (char)('a' + (h >> (n % 7 * 8) ^ n) % 26);
    return n;
}

static int64_t number_of(const struct message *m)
{
    static char want[BODY_MAX];
    long long number;

    if (m->body.n < 10 || sscanf(m->body.p, "message %lld ", &number) != 1)
        return UNKNOWN;
    return body_of(number, want) == m->body.n && memcmp(want, m->body.p, m->body.n) == 0 ? number : UNKNOWN;
}

static void set_floor(int64_t number, int64_t floor)
{
    while (number >= floors_cap) {
        floors_cap = floors_cap ? floors_cap * 2 : 65536;
        if (!(floors = realloc(floors, (size_t)floors_cap * sizeof *floors)))
            rig_bail("memory");
    }
    floors[number] = floor;
}

static void know(struct queue *q, int64_t offset, int64_t number)
{
    if (offset < 0 || offset > INT32_MAX)
        rig_bail("an offset of %" PRId64, offset);
    while (offset >= q->cap) {
        q->cap = q->cap ? q->cap * 2 : 1024;
        if (!(q->number = realloc(q->number, (size_t)q->cap * sizeof *q->number)))
            rig_bail("memory");
    }
    while (q->n <= offset)
        q->number[q->n++] = UNKNOWN;
    if (q->number[offset] != UNKNOWN && q->number[offset] != number && bad.wrong++ < 3)
        printf("# queue %d: %" PRId64 " has message %" PRId64 ", not %" PRId64 "\n", (int)(q - queues), offset, number,
               q->number[offset]);
    q->number[offset] = number;
}

/* ---- requests ---- */

static struct pending *pend(int kind)
{
    struct pending *p;

    for (;;) {
        p = &pending[++opaque % IN_FLIGHT];
        if (!p->opaque)
            break;
    }
    *p = (struct pending){.opaque = opaque, .kind = kind};
    return p;
}

static bool send_messages(struct peer *line, bool batch)
{
    static char body[BODY_MAX + 64];
    struct pending *p = pend(-1);
    struct command c = peer_cmd(batch ? 320 : 310, p->opaque);
    struct buf all = {0};
    char queue[4];
    bool sent;

    p->queue = (int)(random() % QUEUES);
    p->n = batch ? BATCH : 1;
    p->first = next_number;
    snprintf(queue, sizeof queue, "%d", p->queue);
    const char *const fields[][2] = {{"a", "p1"}, {"b", "TopicA"}, {"c", "TBW102"}, {"d", "4"}, {"e", queue}, {"f", "0"},
                                     {"g", "1700000000000"}, {"h", "0"}, {"i", "TAGS\001a\002"}, {"j", "0"}, {"k", "false"},
                                     {"m", batch ? "true" : "false"}};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        command_add(&c, fields[i][0], str_of(fields[i][1]));
    for (int i = 0; i < p->n; i++) {
        size_t n = body_of(next_number, body);
        char head[20], tail[2] = {0};
        set_floor(next_number++, queues[p->queue].n + i);
        be32_put(head, (uint32_t)(n + 22));
        be32_put(head + 4, 0);
        be32_put(head + 8, 0);
        be32_put(head + 12, 0);
        be32_put(head + 16, (uint32_t)n);
        if (batch)
            buf_put(&all, head, sizeof head);
        buf_put(&all, body, n);
        if (batch)
            buf_put(&all, tail, sizeof tail);
    }
    c.body = buf_str(&all);
    sent = peer_send(line, &c);
    buf_free(&all);
    return sent;
}

static void name_of(char out[40], int64_t v) { snprintf(out, 40, "Made-%" PRId64, v); }

static bool send_change(struct peer *line, int kind)
{
    struct setting *s = &settings[kind];
    struct pending *p = pend(kind);
    static const int codes[KINDS] = {17, 200, 25};
    struct command c = peer_cmd(codes[kind], p->opaque);
    char text[100], topic[40];

    p->first = ++s->sent;
    name_of(topic, s->sent);
    if (kind == TOPIC) {
        const char *const fields[][2] = {{"topic", topic}, {"defaultTopic", "TBW102"}, {"readQueueNums", "1"},
                                         {"writeQueueNums", "1"}, {"perm", "6"}, {"topicFilterType", "SINGLE_TAG"},
                                         {"topicSysFlag", "0"}, {"order", "false"}};
        for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
            command_add(&c, fields[i][0], str_of(fields[i][1]));
    } else {
        snprintf(text, sizeof text, kind == GROUP ? "{\"groupName\":\"g1\",\"retryMaxTimes\":%" PRId64 "}" :
                                                    "maxHeldPulls=%" PRId64, s->sent);
        c.body = str_of(text);
    }
    return peer_send(line, &c);
}

/* Its answer, when it is one. */
static void answered(const struct command *c)
{
    struct pending *p = &pending[c->opaque % IN_FLIGHT];
    int64_t offset;

    if (!(c->flag & FLAG_RESPONSE) || p->opaque != c->opaque)
        return;
    p->opaque = 0;
    if (c->code != 0) {
        if (!crashing && !bad.refused++)
            printf("# refused with %d: %.*s\n", c->code, (int)c->remark.n, c->remark.p);
        return;
    }
    if (p->kind >= 0) {
        settings[p->kind].acked = p->first;
        changes_acked++;
        return;
    }
    if (str_i64(command_ext(c, "queueOffset"), &offset))
        rig_bail("an answer without queueOffset");
    for (int i = 0; i < p->n; i++)
        know(&queues[p->queue], offset + i, p->first + i);
    acked_messages += p->n;
}

static int in_flight(int kind)
{
    int n = 0;

    for (int i = 0; i < IN_FLIGHT; i++)
        n += pending[i].opaque && (kind < 0 || pending[i].kind == kind);
    return n;
}

static bool send_something(struct peer *line, int limits[KINDS])
{
    long r = random() % 1000;

    for (int kind = 0; r < 60 && kind < KINDS; kind++)
        if (r % KINDS == kind && limits[kind] > 0 && !in_flight(kind)) {
            limits[kind]--;
            return send_change(line, kind);
        }
    return send_messages(line, r % 11 == 0);
}

/* Consumed up to what was last acknowledged; written by the broker when it likes. */
static void commit(struct peer *line, int queue)
{
    struct queue *q = &queues[queue];
    struct command c = peer_cmd(15, 1 << 30);
    char at[21], id[21];

    if (q->n == 0)
        return;
    q->committed = q->n;
    command_add(&c, "consumerGroup", str_of("g1"));
    command_add(&c, "topic", str_of("TopicA"));
    command_add_i64(&c, "queueId", queue, id);
    command_add_i64(&c, "commitOffset", q->committed, at);
    peer_send(line, &c);
}

/* Sends until it is time to crash, crashes, and takes the answers that were already under way. */
static void load_and_crash(void)
{
    struct peer line = peer_open(rig.port);
    int64_t until = mono_ms() + 1 + (opt.cut ? 20 + random() % 250 : random() % 60);
    int limits[KINDS] = {2, 20, 20};
    struct command c;
    bool alive = true;

    memset(pending, 0, sizeof pending);
    crashing = false;
    while (alive && mono_ms() < until) {
        while (alive && in_flight(-1) < IN_FLIGHT - 1 && random() % 50)
            alive = send_something(&line, limits);
        if (random() % 40 == 0)
            commit(&line, (int)(random() % QUEUES));
        while (alive && peer_recv_in(&line, &c, 0) == PEER_FRAME)
            answered(&c);
    }
    if (!alive)
        rig_bail("the broker hung up before its time");
    crashing = true;
    rig_crash((unsigned)random());
    while (peer_recv_in(&line, &c, 0) == PEER_FRAME)
        answered(&c);
    peer_close(&line);
}

/* ---- after the start ---- */

static void ask(struct peer *line, struct command *c, struct command *out)
{
    if (!peer_send(line, c))
        rig_bail("no connection");
    do {
        if (peer_recv_in(line, out, RIG_WAIT_MS) != PEER_FRAME)
            rig_bail("no answer to %d", c->code);
    } while (!(out->flag & FLAG_RESPONSE) || out->opaque != c->opaque);
}

static struct command about(int code, int queue)
{
    static char id[21];
    struct command c = peer_cmd(code, ++opaque);

    command_add(&c, "consumerGroup", str_of("g1"));
    command_add(&c, "topic", str_of("TopicA"));
    command_add_i64(&c, "queueId", queue, id);
    return c;
}

static int64_t ask_offset(struct peer *line, int code, int queue)
{
    struct command c = about(code, queue), out;
    int64_t v = UNKNOWN;

    ask(line, &c, &out);
    if (out.code == 0)
        str_i64(command_ext(&out, "offset"), &v);
    return v;
}

/* Offsets that are passed over: what power loss tore before it was acknowledged. */
static void check_hole(struct queue *q, int64_t from, int64_t to)
{
    for (int64_t i = from; i < to && i < q->n; i++)
        if (q->number[i] != UNKNOWN && bad.lost++ < 3)
            printf("# queue %d: %" PRId64 " is passed over, but had message %" PRId64 "\n", (int)(q - queues), i, q->number[i]);
}

/* The messages of one pull, which begin at offset at or later. Where the next may begin. */
static int64_t check_pulled(struct queue *q, struct str body, int64_t at)
{
    struct message m;

    for (size_t pos = 0; pos < body.n; pos += m.size) {
        int64_t number;
        if (message_record_get(body.p + pos, body.n - pos, true, &m) || m.queue_offset < at) {
            bad.wrong++;
            return at;
        }
        check_hole(q, at, m.queue_offset);
        at = m.queue_offset;
        number = number_of(&m);
        if (number <= 0 || number >= next_number)
            bad.wrong++;
        else if (at < floors[number] && bad.disorder++ < 3)
            printf("# queue %d: %" PRId64 " has message %" PRId64 ", which was sent when there were %" PRId64 "\n",
                   (int)(q - queues), at, number, floors[number]);
        know(q, at++, number);
    }
    return at;
}

static void check_queue(struct peer *line, int queue, bool full)
{
    struct queue *q = &queues[queue];
    int64_t at = full ? 0 : q->older, max = ask_offset(line, 30, queue), known = q->n;

    q->older = q->old < max ? q->old : max;
    q->old = max < q->n ? max : q->n;
    for (int64_t i = max; i < known; i++)
        bad.lost += q->number[i] != UNKNOWN;
    if (q->n > max)
        q->n = max;
    while (at < max) {
        struct command c = about(11, queue), out;
        char offset[21];
        int64_t next, seen;
        command_add_i64(&c, "queueOffset", at, offset);
        static const char *const fields[][2] = {{"maxMsgNums", "32"}, {"sysFlag", "4"}, {"commitOffset", "0"},
                                                {"suspendTimeoutMillis", "0"}, {"subscription", "*"}, {"subVersion", "0"},
                                                {"expressionType", "TAG"}};
        for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
            command_add(&c, fields[i][0], str_of(fields[i][1]));
        ask(line, &c, &out);
        next = seen = out.code ? at : check_pulled(q, out.body, at);
        /* PULL_RETRY_IMMEDIATELY, PULL_NOT_FOUND and PULL_OFFSET_MOVED say where to go on behind a hole */
        if (str_i64(command_ext(&out, "nextBeginOffset"), &next) == 0 && next > seen)
            check_hole(q, seen, next);
        if (next <= at) {
            printf("# queue %d: nothing at %" PRId64 " of %" PRId64 ": %d %.*s\n", queue, at, max, out.code,
                   (int)out.remark.n, out.remark.p);
            bad.lost++;
            return;
        }
        at = next;
    }
}

static void check_committed(struct peer *line, int queue)
{
    struct queue *q = &queues[queue];
    int64_t v = ask_offset(line, 14, queue);

    if (v == UNKNOWN)
        v = 0;
    /* not ahead of the log, not ahead of what was asked, not behind what an earlier start had found */
    if (v > q->n || v > q->committed || (v < q->seen_committed && !opt.expect_loss)) {
        printf("# queue %d: committed %" PRId64 ", had seen %" PRId64 ", asked for %" PRId64 ", log to %" PRId64 "\n", queue,
               v, q->seen_committed, q->committed, q->n);
        bad.ahead++;
    }
    q->seen_committed = v;
}

static int64_t number_behind(struct str text, const char *name)
{
    char *p = text.p ? memmem(text.p, text.n, name, strlen(name)) : NULL;

    return p ? strtoll(p + strlen(name), NULL, 10) : 0;
}

static bool topic_exists(struct peer *line, int64_t v)
{
    struct command c = peer_cmd(351, ++opaque), out;
    char name[40];

    name_of(name, v);
    command_add(&c, "topic", str_of(name));
    ask(line, &c, &out);
    return out.code == 0;
}

static int64_t newest_topic(struct peer *line, bool full)
{
    int64_t v = settings[TOPIC].sent;

    while (v > settings[TOPIC].acked && !topic_exists(line, v))
        v--;
    for (int64_t i = v; i > (full || v < 5 ? 0 : v - 5); i--)
        if (!topic_exists(line, i))
            return i - 1;
    return v;
}

static void check_settings(struct peer *line, bool full)
{
    struct command out, group = peer_cmd(352, ++opaque), key = peer_cmd(26, ++opaque);
    int64_t found[KINDS];

    found[TOPIC] = newest_topic(line, full);
    command_add(&group, "group", str_of("g1"));
    ask(line, &group, &out);
    found[GROUP] = number_behind(out.body, "\"retryMaxTimes\":");
    ask(line, &key, &out);
    found[KEY] = number_behind(out.body, "maxHeldPulls=");
    for (int i = 0; i < KINDS; i++) {
        struct setting *s = &settings[i];
        if (found[i] < s->acked || found[i] > s->sent) {
            printf("# setting %d: %" PRId64 ", acknowledged %" PRId64 ", asked for %" PRId64 "\n", i, found[i], s->acked, s->sent);
            bad.settings++;
        }
        s->acked = s->sent = found[i];
    }
}

static void check(bool full)
{
    struct peer line = peer_open(rig.port);

    check_settings(&line, full);
    for (int i = 0; i < QUEUES; i++) {
        check_queue(&line, i, full);
        check_committed(&line, i);
    }
    peer_close(&line);
}

/* ---- the whole ---- */

static void first_settings(void)
{
    struct peer line = peer_open(rig.port);
    struct command out, c = peer_cmd(17, 1);
    static const char *const fields[][2] = {{"topic", "TopicA"}, {"defaultTopic", "TBW102"}, {"readQueueNums", "4"},
                                            {"writeQueueNums", "4"}, {"perm", "6"}, {"topicFilterType", "SINGLE_TAG"},
                                            {"topicSysFlag", "0"}, {"order", "false"}};

    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        command_add(&c, fields[i][0], str_of(fields[i][1]));
    ask(&line, &c, &out);
    if (out.code)
        rig_bail("no topic: %.*s", (int)out.remark.n, out.remark.p);
    for (int kind = 0; kind < KINDS; kind++) {
        struct command answer;
        send_change(&line, kind);
        if (peer_recv(&line, &answer) != PEER_FRAME)
            rig_bail("no answer");
        answered(&answer);
    }
    peer_close(&line);
}

static void parse(int argc, char **argv)
{
    static const struct option longs[] = {
        {"rounds", required_argument, NULL, 'r'}, {"seed", required_argument, NULL, 's'}, {"cut", no_argument, NULL, 'c'},
        {"async", no_argument, NULL, 'a'}, {"expect-loss", no_argument, NULL, 'x'}, {"full", required_argument, NULL, 'f'},
        {NULL, 0, NULL, 0}};
    int k;

    opt.seed = (unsigned)(wall_ms() ^ getpid());
    while ((k = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        switch (k) {
        case 'r': opt.rounds = atoi(optarg); break;
        case 's': opt.seed = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'c': opt.cut = true; break;
        case 'a': opt.async = true; break;
        case 'x': opt.expect_loss = true; break;
        case 'f': opt.full = atoi(optarg); break;
        default: exit(2);
        }
    }
}

static void report(int rounds, long unconfirmed, long forgotten)
{
    const char *what = opt.cut ? "power cuts" : "kills";

    printf("# seed %u: %" PRId64 " messages and %" PRId64 " changes of settings were acknowledged\n", opt.seed,
           acked_messages, changes_acked);
    ok(acked_messages > rounds && changes_acked > KINDS, "%d %s: there was something to lose", rounds, what);
    if (opt.cut)
        ok(forgotten > 0, "the disk forgot %ld of %ld changes that it had not confirmed", forgotten, unconfirmed);
    if (opt.expect_loss) {
        ok(bad.lost > 0, "without waiting for the disk %ld acknowledged messages were lost: the checker sees it", bad.lost);
        is_int(bad.wrong + bad.disorder, 0, "what is left is whole and in order all the same");
        return;
    }
    is_int(bad.refused, 0, "nothing was refused");
    is_int(bad.lost, 0, "no acknowledged message was lost");
    is_int(bad.wrong, 0, "none is corrupted, or another at its place");
    is_int(bad.disorder, 0, "the order within each queue is kept");
    is_int(bad.settings, 0, "every acknowledged change of a topic, group or key is there");
    is_int(bad.ahead, 0, "committed offsets are not ahead of the log, and do not go back behind what was written");
}

int main(int argc, char **argv)
{
    long unconfirmed = 0, forgotten = 0;
    char conf[500];

    parse(argc, argv);
    srandom(opt.seed);
    snprintf(conf, sizeof conf, "flushDiskType=%s\nmappedFileSizeCommitLog=1048576\nmappedFileSizeConsumeQueue=20000\n"
             "flushConsumerOffsetInterval=20\nserverSelectorThreads=2\nmaxHashSlotNum=1000\nmaxIndexNum=20000\n",
             opt.async || !opt.cut ? "ASYNC_FLUSH" : "SYNC_FLUSH");
    rig_open(opt.cut, conf);
    rig_start_broker();
    first_settings();
    for (int i = 1; i <= opt.rounds; i++) {
        load_and_crash();
        unconfirmed += rig.unconfirmed;
        forgotten += rig.lost;
        rig_start_broker();
        check(i == opt.rounds || i % opt.full == 0);
        if (bad.lost + bad.wrong + bad.disorder + bad.settings + bad.ahead && !opt.expect_loss) {
            printf("# in round %d of seed %u\n", i, opt.seed);
            report(i, unconfirmed, forgotten);
            break;
        }
        if (opt.expect_loss && bad.lost)
            opt.rounds = i;
    }
    if (!tap_run)
        report(opt.rounds, unconfirmed, forgotten);
    rig_close();
    return tap_done();
}
