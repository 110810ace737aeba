/* Random wrong values in every field of the requests that carry messages: each is answered, the connection and the
 * broker live on, and what is stored can be read. MQ_SEED repeats a run. */
#include "tests/unit/tap.h"

#include "tests/unit/peer.h"
#include "tests/unit/broker_help.h"

#define ROUNDS 4000

static uint64_t state;
static struct ask a;
static struct command r;

static uint32_t any(uint32_t n)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33) % n;
}

/* No sysFlag with bit 2 (wait) is among them, else a pull could be held for minutes. */
static const char *const values[] = {
    "", "0", "1", "3", "4", "5", "-1", "-2147483648", "2147483647", "2147483648", "4294967296", "-9223372036854775808",
    "9223372036854775807", "9223372036854775808", " 1", "1 ", "+1", "1e3", "0x10", "true", "null", "{}", "[", "\"", "\\",
    "T", "%RETRY%g1", "%DLQ%g1", "%RETRY%", "SCHEDULE_TOPIC_XXXX", "TBW102", "g1", "*", "||", "A||B", "a\1b\2", "\1\2",
    "DELAY\1" "1\2", "DELAY\1" "-1\2", "TRAN_MSG\1true\2", "TIMER_DELAY_MS\1" "0\2", "WAIT\1false\2", "UNIQ_KEY\1\2",
    "../../etc", "a/b", "\xff\xfe", "\xc3\xa4",
};

static char noise[300];

static struct str any_value(bool flag)
{
    const char *v;

    if (any(12) == 0) {
        size_t n = any(sizeof(noise));
        for (size_t i = 0; i < n; i++)
            noise[i] = (char)any(256);
        return str_n(noise, flag ? 0 : n);
    }
    v = values[any(sizeof(values) / sizeof(values[0]))];
    return flag && (strchr(v, '2') || strchr(v, '3') || strcmp(v, "-1") == 0 || strchr(v, '7') || strchr(v, '6')) ? str_of("1") :
                                                                                                                   str_of(v);
}

static char body[400];

static struct str any_body(void)
{
    size_t n = any(sizeof(body));

    for (size_t i = 0; i < n; i++)
        body[i] = (char)(any(3) ? 0 : any(256));
    return str_n(body, n);
}

/* A good request of any kind. */
static void any_request(void)
{
    static const int sends[] = {310, 310, 320}, others[] = {33, 36};

    if (any(2)) {
        ask_send(&a, "T", (int32_t)any(2), "body", "TAGS\1A\2");
        a.c.code = sends[any(3)];
        if (any(2))
            a.c.body = any_body();
    } else if (any(3)) {
        ask_pull(&a, "g1", "T", (int32_t)any(2), any(20));
        a.c.code = any(2) ? 11 : 361;
    } else {
        ask_begin(&a, others[any(2)]);
        ask_i64(&a, "offset", any(3000));
        ask_text(&a, "group", "g1");
        ask_i64(&a, "delayLevel", (int64_t)any(5) - 1);
    }
}

static void spoil(void)
{
    for (uint32_t n = any(3); n > 0; n--) {
        struct ext *e = &a.c.ext[any(a.c.n_ext)];

        e->v = any(6) ? any_value(str_is(e->k, "sysFlag")) : (struct str){0};
    }
    a.c.serialize = any(2) ? SERIALIZE_JSON : SERIALIZE_ROCKETMQ;
}

/* Every record of a queue, read by pulls. */
static int64_t read_all(const char *topic, int32_t queue)
{
    int64_t n = 0, at = 0;

    for (;;) {
        ask_pull(&a, "g1", topic, queue, at);
        if (answer_to(&a, &r) != RC_SUCCESS)
            return n;
        n += message_count(r.body);
        at = field_i64(&r, "nextBeginOffset");
    }
}

int main(void)
{
    static const char *const keys[] = {"messageDelayLevel", "1d 1d 1d 1d", "autoCreateSubscriptionGroup", "true", NULL};
    const char *seed = getenv("MQ_SEED");
    int answered = 0, good = 0;

    state = seed ? strtoull(seed, NULL, 10) : (uint64_t)wall_ms();
    printf("# MQ_SEED=%llu\n", (unsigned long long)state);
    house_open(keys);
    make_topic("T", 2);
    make_group(CONSUMER_GROUP, "g1");
    for (int i = 0; i < ROUNDS; i++) {
        int code;

        any_request();
        spoil();
        code = answer_to(&a, &r);
        if (code < 0) {
            printf("# round %d: request %d was not answered\n", i, a.c.code);
            break;
        }
        answered++;
        good += code == RC_SUCCESS;
    }
    is_int(answered, ROUNDS, "each of %d spoilt requests is answered (%d of them with success)", ROUNDS, good);
    for (int q = 0; q < 2; q++)
        is_int(read_all("T", q), queue_end("T", q), "queue %d reads to its end, %lld messages", q, (long long)queue_end("T", q));
    house_close();
    house_open(keys);
    for (int q = 0; q < 2; q++)
        is_int(read_all("T", q), queue_end("T", q), "and after a restart");
    house_close();
    return tap_done();
}
