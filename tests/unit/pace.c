/* Consumers far behind: what they read while others send leaves at a rate (R-STORE-33 for what is cold;
 * the rate is ours), and nobody else waits for it. */
#include "tests/unit/tap.h"

#include "broker/pace.h"
#include "store/store.h"
#include "tests/unit/peer.h"
#include "tests/unit/broker_help.h"

#define RATE 1000000                 /* bytes a second */
#define BODY 30000
#define MESSAGES 20                  /* of that body: 0.6 s at the rate */

static struct ask a;
static struct command r;

static bool about(int64_t due, int64_t from_now_us)
{
    int64_t off = due - mono_us() - from_now_us;

    if (off < -20000 || off > 20000)
        printf("# due in %lld us, not %lld\n", (long long)(due - mono_us()), (long long)from_now_us);
    return off >= -20000 && off <= 20000;
}

static void test_due(void)
{
    static const struct store_result fresh = {.bytes = 100000}, old = {.bytes = 100000, .far = true},
                                     huge = {.bytes = 100000000, .far = true};
    struct pace p = {.rate = RATE};
    struct group_pace g = {0}, other = {0};

    ok(pace_due(&p, &g, &fresh) == 0 && pace_due(&p, &g, &fresh) == 0, "what is new waits for nothing");
    ok(pace_due(&p, &g, &old) == 0, "the first of what is old leaves at once");
    ok(about(pace_due(&p, &g, &old), 100000), "the second when the first's time is over");
    ok(about(pace_due(&p, &g, &old), 200000), "the third behind both");
    is_int(pace_due(&p, &g, &fresh), 0, "what is new still waits for nothing");
    is_int(pace_due(&p, &other, &old), 0, "nor does another group wait");
    pace_due(&p, &g, &huge);
    ok(about(pace_due(&p, &g, &old), 5000000), "nothing waits longer than a client does");
    p.rate = 0;
    is_int(pace_due(&p, &g, &old), 0, "without a rate nothing waits");
}

static int send_one(const char *body)
{
    ask_send(&a, "T", 0, body, "");
    return answer_to(&a, &r);
}

static int64_t rate_now(void) { return atomic_load(&house->pace.rate); }

static void test_rate(const char *body)
{
    int64_t by_processors = sysconf(_SC_NPROCESSORS_ONLN) * (INT64_C(24) << 20);

    wait_until(rate_now() == 0);
    is_int(rate_now(), 0, "nobody sends: no limit");
    wait_until(send_one("x") == RC_SUCCESS && rate_now() == RATE);
    is_int(rate_now(), RATE, "somebody sends: coldReadRate");
    wait_until(send_one(body) == RC_SUCCESS && rate_now() > RATE);
    ok(rate_now() > RATE, "much is sent: more than that, %lld", (long long)rate_now());
    set_key("coldReadRate", "0");
    wait_until(send_one("x") == RC_SUCCESS && rate_now() == by_processors);
    is_int(rate_now(), by_processors, "coldReadRate=0: by the processors");
    set_key("coldReadRate", "-1");
    wait_until(send_one("x") == RC_SUCCESS && rate_now() == 0);
    is_int(rate_now(), 0, "coldReadRate=-1: no limit");
    set_key("coldReadRate", "1000000");
}

/* One message at a time, each behind a send: how many came. *us: how long it took. */
static int read_all(const char *group, int64_t from, int64_t *us)
{
    int64_t began = mono_us();
    int good = 0;

    for (int i = 0; i < MESSAGES; i++) {
        send_one("x");
        ask_pull(&a, group, "T", 0, from + i);
        ask_text(&a, "maxMsgNums", "1");
        good += answer_to(&a, &r) == RC_SUCCESS && message_count(r.body) == 1;
    }
    *us = mono_us() - began;
    return good;
}

int main(void)
{
    static const char *const keys[] = {"coldReadRate", "1000000", NULL};
    static char body[BODY + 1];
    int64_t slow, quick;

    test_due();
    memset(body, 'b', BODY);
    house_open(keys);
    make_topic("T", 1);
    make_group(CONSUMER_GROUP, "behind");
    make_group(CONSUMER_GROUP, "keeps-up");
    for (int i = 0; i < MESSAGES; i++)
        send_one(body);
    house_close();
    house_open(keys);                /* now they are of an earlier run */
    wait_until(send_one("x") == RC_SUCCESS && rate_now() == RATE);
    is_int(read_all("behind", 0, &slow), MESSAGES, "a group gets the messages of an earlier run");
    is_int(read_all("keeps-up", MESSAGES + 1, &quick), MESSAGES, "another one those that were just sent");
    ok(slow > (MESSAGES - 2) * BODY && quick < slow / 2, "the first at the rate (%lld ms), the second not (%lld ms)",
       (long long)slow / 1000, (long long)quick / 1000);
    test_rate(body);
    house_close();
    return tap_done();
}
