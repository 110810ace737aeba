/* Held pulls, over a store and requests that this program plays itself: R-CONS-05 (long polling), R-GOV-11 (rights are
 * looked at again), R-FILT-01. */
#include "broker/hold.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "broker/meta.h"
#include "common/clock.h"
#include "tests/unit/tap.h"

/* ---- the house around it, played ---- */

struct store_queue {
    _Atomic(void *) data;
    _Atomic int64_t max;
    int64_t codes[64];               /* tag code of each entry, by offset % 64 */
    int looked;                      /* entries read */
};

struct conn {
    bool open;
};

struct request {
    struct conn *conn;
    int n;
    _Atomic int woken;
    int answered, freed;
};

static void (*arrival)(void *ctx, struct store_queue *q, int64_t max);
static void *arrival_ctx;
static bool topic_there = true;
static int woken_order[64], n_woken;
static bool record_order;

void store_on_arrival(struct store *s, void (*fn)(void *ctx, struct store_queue *q, int64_t max), void *ctx)
{
    arrival = fn;
    arrival_ctx = ctx;
}

void store_queue_set_data(struct store_queue *q, void *data) { atomic_store(&q->data, data); }
void *store_queue_data(const struct store_queue *q) { return atomic_load(&q->data); }
int64_t store_queue_max(struct store *s, struct store_queue *q) { return atomic_load(&q->max); }

int store_entry(struct store *s, struct store_queue *q, int64_t offset, struct store_entry *out)
{
    q->looked++;
    *out = (struct store_entry){.tags_code = q->codes[offset % 64]};
    return 0;
}

struct topic *meta_topic(struct meta *m, struct str name)
{
    static struct topic t;

    return topic_there ? &t : NULL;
}

void request_to_loop(struct request *kept, void (*fn)(struct request *r))
{
    if (record_order && n_woken < 64)
        woken_order[n_woken++] = kept->n;
    fn(kept);
}

struct conn *request_conn(const struct request *r) { return r->conn; }
bool conn_open(const struct conn *c) { return c->open; }
void request_free(struct request *kept) { kept->freed++; }
void reply(struct request *r, int code, const char *fmt, ...) { r->answered++; }

static void again(struct request *r) { atomic_fetch_add(&r->woken, 1); }

/* ---- the tests ---- */

static struct broker_config conf = {.max_held_pulls = 1000};
static struct meta meta = {.lock = PTHREAD_RWLOCK_INITIALIZER};
static struct broker broker = {.conf = &conf, .meta = &meta};
static struct hold *h;
static struct conn line = {true};

static void arrive(struct store_queue *q, int64_t code)
{
    int64_t at = atomic_load(&q->max);

    q->codes[at % 64] = code;
    atomic_store(&q->max, at + 1);
    arrival(arrival_ctx, q, at + 1);
}

static int hold_for(struct request *r, struct store_queue *q, const char *group, const char *topic, const char *tags,
                    int64_t ms)
{
    struct tag_filter filter;
    struct held_pull p = {.group = str_of(group), .topic = str_of(topic), .offset = atomic_load(&q->max),
                          .timeout_ms = ms, .filter = &filter, .again = again};

    tag_filter_parse(&filter, str_of(tags), NULL);
    if (!r->conn)
        r->conn = &line;
    return hold_pull(h, r, q, &p);
}

static void open_hold(void)
{
    if (hold_open(&broker, &h)) {
        printf("Bail out! no memory\n");
        exit(2);
    }
}

static void test_arrival(void)
{
    struct store_queue q = {0}, other = {0};
    struct request a = {0}, b = {0}, c = {0};

    open_hold();
    arrive(&q, 1);
    is_int(hold_count(h), 0, "an arrival where nobody waits is nothing");
    is_int(hold_for(&a, &q, "g", "T", "*", 10000), 0, "a pull is held");
    is_int(hold_for(&b, &other, "g", "U", "*", 10000), 0, "one of another queue too");
    is_int(hold_count(h), 2, "both are counted");
    arrive(&q, 1);
    ok(a.woken == 1 && b.woken == 0, "an arrival wakes those of its queue");
    arrive(&q, 1);
    is_int(a.woken, 1, "and only once");
    arrive(&other, 1);
    ok(b.woken == 1 && hold_count(h) == 0, "the other queue's wakes the other");

    /* The message came after the look and before the pull was held. */
    struct tag_filter all = {.all = true};
    struct held_pull p = {.group = str_of("g"), .topic = str_of("T"), .offset = atomic_load(&q.max) - 1, .timeout_ms = 10000,
                          .filter = &all, .again = again};
    c.conn = &line;
    is_int(hold_pull(h, &c, &q, &p), 0, "a pull whose message is there by now");
    ok(c.woken == 1 && hold_count(h) == 0, "is woken at once");
    hold_close(h);
}

static void test_filter(void)
{
    struct store_queue q = {0};
    struct request a = {0}, b = {0};
    int32_t x = str_java_hash(str_of("X")), y = str_java_hash(str_of("Y"));

    open_hold();
    hold_for(&a, &q, "g", "T", "X || Z", 10000);
    for (int i = 0; i < 5; i++)
        arrive(&q, y);
    is_int(a.woken, 0, "messages of other tags do not wake");
    is_int(q.looked, 5, "each was looked at once");
    arrive(&q, x);
    is_int(a.woken, 1, "one of its tags does");
    hold_for(&b, &q, "g", "T", "X", 10000);
    for (int i = 0; i < 10; i++)
        q.codes[(atomic_load(&q.max) + i) % 64] = i == 7 ? x : y;
    atomic_fetch_add(&q.max, 10);
    arrival(arrival_ctx, &q, atomic_load(&q.max));
    is_int(b.woken, 1, "a batch wakes when any of it has the tag");
    hold_close(h);
}

static void test_time(void)
{
    struct store_queue q = {0};
    struct request soon = {0}, late = {0}, never = {0};
    int64_t start = mono_ms();

    open_hold();
    hold_for(&soon, &q, "g", "T", "*", 200);
    hold_for(&late, &q, "g", "T", "*", 60000);
    hold_for(&never, &q, "g", "T", "*", -5);
    hold_sweep(h);
    is_int(never.woken, 1, "without time to wait it is due at the next sweep");
    ok(soon.woken == 0 && late.woken == 0, "the others are not");
    while (!soon.woken && mono_ms() < start + 10000) {
        usleep(10000);
        hold_sweep(h);
    }
    ok(soon.woken == 1 && mono_ms() - start >= 200, "what is due is tried again, not before its time");
    ok(mono_ms() - start < 2000, "and soon after it");
    is_int(late.woken, 0, "what has time stays");
    hold_close(h);
    ok(late.answered == 1 && late.freed == 1, "the end answers and frees what is left");
}

static void test_bounds(void)
{
    struct store_queue q = {0};
    struct request r[4] = {0};
    char name[300];

    conf.max_held_pulls = 3;
    open_hold();
    for (int i = 0; i < 3; i++)
        hold_for(&r[i], &q, "g", "T", "*", 10000);
    is_int(hold_for(&r[3], &q, "g", "T", "*", 10000), -EBUSY, "one more than maxHeldPulls is refused");
    is_int(hold_count(h), 3, "and not counted");
    arrive(&q, 0);
    is_int(hold_for(&r[3], &q, "g", "T", "*", 10000), 0, "there is place again");
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = 0;
    ok(hold_for(&r[0], &q, "g", name, "*", 10000) < 0, "a topic name of 299 bytes is refused");
    is_int(hold_count(h), 1, "and not counted either");
    hold_answer_all(h);
    is_int(r[3].woken, 1, "at the end all are tried again");
    is_int(hold_for(&r[0], &q, "g", "T", "*", 10000), -EBUSY, "and none is held any more");
    hold_close(h);
    conf.max_held_pulls = 1000;
}

static void test_wake(void)
{
    struct store_queue q = {0}, u = {0};
    struct request r[6] = {0};

    open_hold();
    hold_for(&r[0], &q, "g1", "T", "*", 10000);
    hold_for(&r[1], &u, "g1", "U", "*", 10000);
    hold_for(&r[2], &q, "g2", "T", "*", 10000);
    hold_wake_group(h, str_of("g1"), str_of("T"));
    ok(r[0].woken == 1 && r[1].woken == 0 && r[2].woken == 0, "a group's pulls of one topic are woken");
    hold_wake_group(h, str_of("g1"), str_of(""));
    ok(r[1].woken == 1 && r[2].woken == 0, "a group's pulls of all topics");
    hold_for(&r[3], &u, "g1", "U", "*", 10000);
    hold_wake_topic(h, str_of("T"));
    ok(r[2].woken == 1 && r[3].woken == 0, "a topic's pulls of all groups");
    hold_wake_group(h, str_of("g"), str_of(""));
    is_int(r[3].woken, 0, "the beginning of a name is not the name");
    hold_close(h);
}

static void test_order(void)
{
    struct store_queue q = {0};
    struct request r[5] = {0};
    bool in_order = true;

    open_hold();
    record_order = true;
    for (int i = 0; i < 5; i++) {
        r[i].n = i;
        hold_for(&r[i], &q, "g", "T", "*", 10000);
    }
    arrive(&q, 0);
    record_order = false;
    for (int i = 0; i < 5; i++)
        in_order &= woken_order[i] == i;
    ok(n_woken == 5 && in_order, "who came first is woken first");
    hold_close(h);
}

static void test_gone(void)
{
    struct store_queue q = {0}, fresh = {0};
    struct conn dead = {false};
    struct request a = {.conn = &dead}, b = {0}, c = {0};

    open_hold();
    hold_for(&a, &q, "g", "T", "*", 10000);
    hold_for(&b, &q, "g", "T", "*", 10000);
    for (int i = 0; i < 100; i++)
        hold_sweep(h);
    ok(a.answered == 1 && a.freed == 1 && a.woken == 0, "without a connection it is let go");
    ok(b.freed == 0 && hold_count(h) == 1, "the one beside it stays");

    hold_wake_topic(h, str_of("T"));
    topic_there = false;             /* deleted; its queue is freed by the store */
    for (int i = 0; i < 100; i++)
        hold_sweep(h);
    topic_there = true;              /* and made again */
    hold_for(&c, &fresh, "g", "T", "*", 10000);
    arrive(&fresh, 0);
    is_int(c.woken, 1, "a topic that was deleted and made again wakes its pulls");
    hold_close(h);
}

/* A topic that is made again before its old queue was forgotten. */
static void test_made_again(void)
{
    struct store_queue q = {0}, fresh = {0};
    struct request a = {0}, b = {0};

    open_hold();
    hold_for(&a, &q, "g", "T", "*", 10000);
    hold_wake_topic(h, str_of("T"));
    hold_for(&b, &fresh, "g", "T", "*", 10000);
    arrive(&fresh, 0);
    is_int(b.woken, 1, "a new queue of the same name is listened to");
    hold_close(h);
}

/* ---- a message and a pull at the same moment ---- */

#define ROUNDS 20000

static struct store_queue race_q;
static _Atomic int round_begun, round_over;

/* One message each round, at the moment the main thread holds a pull. */
static void *appender(void *arg)
{
    for (int i = 1; i <= ROUNDS; i++) {
        while (atomic_load(&round_begun) < i)
            ;
        arrive(&race_q, 0);
        atomic_store(&round_over, i);
    }
    return NULL;
}

static void test_race(void)
{
    pthread_t t;
    int woken = 0;

    open_hold();
    pthread_create(&t, NULL, appender, NULL);
    for (int i = 1; i <= ROUNDS; i++) {
        struct request r = {.conn = &line};
        struct tag_filter all = {.all = true};
        struct held_pull p = {.group = str_of("g"), .topic = str_of("T"), .offset = i - 1, .timeout_ms = 60000,
                              .filter = &all, .again = again};

        atomic_store(&round_begun, i);
        for (volatile int spin = i % 64; spin > 0; spin--)
            ;
        hold_pull(h, &r, &race_q, &p);
        while (atomic_load(&round_over) < i)
            ;
        woken += atomic_load(&r.woken) == 1;
        if (woken != i)
            break;
    }
    atomic_store(&round_begun, ROUNDS);
    pthread_join(t, NULL);
    is_int(woken, ROUNDS, "a message at the very moment a pull is held wakes it, once");
    is_int(hold_count(h), 0, "none is left");
    hold_close(h);
}

int main(void)
{
    test_arrival();
    test_filter();
    test_time();
    test_bounds();
    test_wake();
    test_order();
    test_gone();
    test_made_again();
    test_race();
    return tap_done();
}
