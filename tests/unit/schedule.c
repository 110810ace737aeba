/* Delay levels: R-DLY-01, R-DLY-03, R-DLY-04, R-DLY-05, R-DLY-06, R-RETRY-02. */
#include "tests/unit/tap.h"

#include <sys/wait.h>

#include "tests/unit/peer.h"
#include "tests/unit/broker_help.h"

#include "broker/schedule.h"
#include "common/file.h"

#define P(name, value) name "\1" value "\2"
#define SCHEDULE "SCHEDULE_TOPIC_XXXX"

static const char *const keys[] = {"messageDelayLevel", "1s 2s 3s 1d", NULL};
static struct ask a;
static struct command r;

static int send_one(const char *topic, int32_t queue, const char *body, const char *properties)
{
    ask_send(&a, topic, queue, body, properties);
    return answer_to(&a, &r);
}

static bool read_one(const char *topic, int32_t queue, int64_t offset, struct message *m)
{
    ask_pull(&a, "g1", topic, queue, offset);
    return answer_to(&a, &r) == RC_SUCCESS && message_at(r.body, 0, m);
}

/* Message n of T/0 when it is there: its body; NULL. */
static const char *arrived(int64_t n)
{
    static char body[64];
    struct message m;

    wait_until(queue_end("T", 0) > n);
    return read_one("T", 0, n, &m) && str_copy(body, sizeof(body), m.body) ? body : NULL;
}

static void test_delay(void)
{
    struct message m;
    int64_t start = wall_ms(), sent, n = queue_end(SCHEDULE, 0);

    is_int(send_one("T", 3, "one second", P("DELAY", "1") P("TAGS", "A") P("REAL_TOPIC", "lie") P("TIMER_DELAY_SEC", "9")),
           RC_SUCCESS, "a delayed send is accepted: %s", remark(&r));
    sent = wall_ms();
    is_int(field_i64(&r, "queueId"), 3, "and answered with the queue it is for");
    is_int(queue_end("T", 3), 0, "it is not there yet");
    is_int(queue_end(SCHEDULE, 0), n + 1, "it waits in the schedule topic, in its level's queue (R-DLY-03)");
    ok(read_one(SCHEDULE, 0, n, &m) && str_is(prop_get(m.properties, "REAL_TOPIC"), "T") &&
       str_is(prop_get(m.properties, "REAL_QID"), "3") && !prop_get(m.properties, "TIMER_DELAY_SEC").p,
       "and knows where it belongs");
    wait_until(queue_end("T", 3) > 0);
    ok(wall_ms() - start >= 1000 && wall_ms() - start < 5000, "it arrives after its delay (%d ms)", (int)(wall_ms() - start));
    ok(read_one("T", 3, 0, &m) && str_is(m.body, "one second") && m.queue_id == 3, "in its queue");
    ok(m.store_timestamp - start >= 1000 && m.born_timestamp <= sent, "stored now, born then");
    ask_text(&a, "subscription", "A");
    is_int(answer_to(&a, &r), RC_SUCCESS, "with its tag");
    is_int(send_one("T", 3, "never", P("DELAY", "-3")), RC_SUCCESS, "a negative level");
    is_int(queue_end("T", 3), 2, "is no delay");
}

/* A long delay sent first does not hold up a short one. */
static void test_levels(void)
{
    send_one("T", 0, "two", P("DELAY", "2"));
    send_one("T", 0, "one", P("DELAY", "1"));
    is_text(arrived(0), "one", "the shortest delay first (R-DLY-04)");
    is_text(arrived(1), "two", "then the longer one");
    is_int(send_one("T", 0, "a day", P("DELAY", "77")), RC_SUCCESS, "a level past the last");
    is_int(queue_end(SCHEDULE, 3), 1, "is the last");
}

static void test_lost_topic(void)
{
    struct fault f;
    struct caller admin = {.from = "mqadmin"};
    int64_t n = queue_end("T", 0);

    make_topic("G", 1);
    send_one("G", 0, "for nobody", P("DELAY", "1"));
    send_one("T", 0, "behind it", P("DELAY", "1"));
    is_int(broker_topic_delete(house, &admin, str_of("G"), &f), 0, "a topic goes while a message for it waits");
    is_text(arrived(n), "behind it", "the one behind it is delivered all the same");
}

static void take_level_1(void *arg, const char *name, const char *value)
{
    if (strcmp(name, "scheduleMessageOffset_1") == 0)
        snprintf(arg, 64, "%s", value);
}

static void test_restart(void)
{
    char shown[64] = "", want[64];
    int64_t n = queue_end("T", 0), offset, max, none;
    char path[200];
    struct buf file = {0};

    send_one("T", 0, "across a restart", P("DELAY", "1"));
    house_close();
    snprintf(path, sizeof(path), "%s/config/delayOffset.json", house_dir);
    ok(file_read(path, 65536, &file) == 0 && strstr(file.p, "\"offsetTable\"") && strstr(file.p, "\"dataVersion\""),
       "progress is in delayOffset.json");
    buf_free(&file);
    house_open(keys);
    is_text(arrived(n), "across a restart", "a message waits through a restart (R-DLY-05)");
    usleep(300000);
    is_int(queue_end("T", 0), n + 1, "and nothing is delivered twice");
    ok(schedule_progress(house->schedule, 1, &offset, &max) && offset == max && max > 0, "its level has come to its end");
    ok(!schedule_progress(house->schedule, 0, &none, &none) && !schedule_progress(house->schedule, 5, &none, &none),
       "levels that are none have no progress");
    broker_runtime(house, take_level_1, shown);
    snprintf(want, sizeof(want), "%lld,%lld", (long long)offset, (long long)max);
    is_text(shown, want, "the runtime values say so");
}

/* The times are made shorter: what would wait a day waits no longer than its level may. */
static void test_correction(void)
{
    static const char *const shorter[] = {"messageDelayLevel", "1s 2s 3s 1s", NULL};
    int64_t n = queue_end("T", 0);

    house_close();
    house_open(shorter);
    is_text(arrived(n), "a day", "a time that no message of the level can have is over at once");
}

/* A process that is gone without a word, with messages under way. */
static int crash(void)
{
    pid_t pid = fork();
    int status = 0;

    if (pid == 0) {
        house_open(keys);
        make_topic("T", 4);
        make_group(CONSUMER_GROUP, "g1");
        for (int i = 0; i < 3; i++)
            if (send_one("T", 1, "survivor", P("DELAY", "1")))
                _exit(1);
        _exit(0);
    }
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_crash(void)
{
    house_open(keys);
    wait_until(queue_end("T", 1) >= 3);
    is_int(queue_end("T", 1), 3, "after a crash what waited is delivered");
}

static void test_table(void)
{
    static const char good[] = "{\"dataVersion\":{\"counter\":7,\"stateVersion\":0,\"timestamp\":5},"
                               "\"offsetTable\":{1:10,2:0,\"3\":4}}";
    static const char *const odd[] = {
        "{}", "{\"offsetTable\":{}}", "{\"offsetTable\":null}", "{\"offsetTable\":{0:1,65:2,-1:3,1:-5,99999999999:1}}",
        "{\"offsetTable\":{1:\"x\"}}",
    };
    struct schedule *s;
    struct fault f;
    struct buf out = {0};
    int refused = 0;

    schedule_open(house, &s, &f);
    for (size_t n = 0; n < sizeof(good) - 1; n++)
        refused += schedule_decode(s, str_n(good, n)) == -EBADMSG;
    is_int(refused, sizeof(good) - 1, "cut anywhere delayOffset.json is refused");
    is_int(schedule_changes(s), 0, "and nothing changed");
    schedule_encode(s, &out, false);
    ok(buf_str(&out).n && !memmem(out.p, out.n, ":10", 3), "nothing was taken of it");
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
        is_int(schedule_decode(s, str_of(odd[i])), 0, "odd, but no reason to stop: %s", odd[i]);
    is_int(schedule_decode(s, str_of("[1]")), -EBADMSG, "an array is no table");
    is_int(schedule_decode(s, str_of("{\"offsetTable\":[]}")), -EBADMSG, "nor has one");
    is_int(schedule_decode(s, str_n(good, sizeof(good) - 1)), 0, "Apache's file is read");
    buf_reset(&out);
    schedule_encode(s, &out, false);
    buf_putc(&out, 0);
    is_text(out.p, "{\"dataVersion\":{\"counter\":7,\"stateVersion\":0,\"timestamp\":5},\"offsetTable\":{1:10,2:0,3:4}}",
            "and written as Apache writes it");
    is_int(schedule_level(s, str_of("3")), 3, "a level");
    is_int(schedule_level(s, str_of("2147483647")), 4, "a huge level is the last");
    is_int(schedule_level(s, (struct str){0}), 0, "no level");
    is_int(schedule_level(s, str_of("4x")), -EINVAL, "no number");
    buf_free(&out);
    schedule_free(s);
}

int main(void)
{
    strcpy(house_dir, "/tmp/mqfs-broker-XXXXXX");
    if (!mkdtemp(house_dir))
        return 2;
    atexit(house_remove);
    is_int(crash(), 0, "three delayed messages are sent to a broker that dies");
    test_crash();
    test_delay();
    test_levels();
    test_lost_topic();
    test_restart();
    test_correction();
    test_table();
    house_close();
    return tap_done();
}
