/* Pulls of messages that are not in memory: a worker brings them, the answer suggests a slave (R-STORE-33), and limits
 * are those of the disk. Where the system keeps the pages anyway, there is nothing to see and the test says so. */
#include "tests/unit/tap.h"

#include <fcntl.h>
#include <sys/mman.h>

#include "broker/state.h"
#include "store/store_impl.h"
#include "tests/unit/pages.h"
#include "tests/unit/peer.h"
#include "tests/unit/broker_help.h"

#define MESSAGES 240                /* of 60 KB: more files of 1 MiB than a start looks at */
#define BODY 60000

static const char *const keys[] = {
    "accessMessageInMemoryMaxRatio", "0", "slaveReadEnable", "true", "maxTransferCountOnMessageInDisk", "3",
    "maxTransferBytesOnMessageInDisk", "1000000", "maxTransferBytesOnMessageInMemory", "1000000", NULL,
};
static struct ask a;
static struct command r;

static bool right_bodies(struct str body, int n, char first)
{
    struct message m;

    for (int i = 0; i < n; i++)
        if (!message_at(body, i, &m) || m.body.n != BODY || m.body.p[0] != first + i || m.body.p[BODY - 1] != first + i)
            return false;
    return !message_at(body, n, &m);
}

static bool send_one(const char *body)
{
    ask_send(&a, "T", 0, body, "");
    return answer_to(&a, &r) == RC_SUCCESS;
}

/* While others send, old messages are read past the page cache (where the file system can). */
static void test_busy(void)
{
    struct store *s;
    bool used;
    int good = 0, n = 0;

    pages_forget(house_dir, "commitlog/*");
    house_open(keys);
    s = broker_store(house);
    wait_until(send_one("x") && pace_is_busy(&house->pace));
    for (int at = 0; at < MESSAGES; at += n) {
        struct message m;
        send_one("x");
        ask_pull(&a, "g1", "T", 0, at);
        n = answer_to(&a, &r) == RC_SUCCESS ? message_count(r.body) : 0;
        for (int i = 0; i < n; i++)
            good += message_at(r.body, i, &m) &&
                    (at + i >= MESSAGES || (m.body.n == BODY && m.body.p[0] == 'A' + (at + i) % 26 && m.body.p[BODY - 1] == m.body.p[0]));
        if (!n)
            break;
        good -= at + n > MESSAGES ? at + n - MESSAGES : 0;
    }
    is_int(good, MESSAGES, "while others send, all of them are given");
    pthread_mutex_lock(&s->cold.lock);
    used = s->cold.parts[0].bytes;
    pthread_mutex_unlock(&s->cold.lock);
    ok(used == pages_passable(house_dir), "past the page cache, where the file system can");
    house_close();
}

/* The record whose body is all `of`, in the log's first file, gets another magic number. */
static void damage(char of)
{
    char path[128], *p;
    struct message m;
    size_t at = 0, size = 1 << 20;
    int fd;

    snprintf(path, sizeof(path), "%s/commitlog/%020d", house_dir, 0);
    fd = open(path, O_RDWR | O_CLOEXEC);
    p = fd < 0 ? MAP_FAILED : mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        exit(2);
    while (message_record_get(p + at, size - at, true, &m) == 0 && m.body.p[0] != of)
        at += m.size;
    p[at + RECORD_AT_MAGIC] ^= 1;
    munmap(p, size);
    close(fd);
}

/* After a clean stop nobody reads the log again: the pull itself finds it. */
static void test_damaged(void)
{
    struct message m;

    damage('C');
    house_open(keys);
    for (int i = 0; i < 2; i++) {    /* brought by a worker, which loads the queue, and by the background */
        ask_pull(&a, "g1", "T", 0, 0);
        ask_text(&a, "maxMsgNums", "5");
        is_int(answer_to(&a, &r), RC_SUCCESS, "messages of which one is damaged");
        ok(message_at(r.body, 0, &m) && m.body.p[0] == 'A' && message_at(r.body, 2, &m) && m.body.p[0] == 'D',
           "the others are given");
        is_int(field_i64(&r, "nextBeginOffset"), message_count(r.body) + 1, "and it goes on behind them");
    }
    house_close();
}

int main(void)
{
    static char body[BODY + 1];
    int sent = 0;

    house_open(keys);
    make_topic("T", 1);
    make_group(CONSUMER_GROUP, "g1");
    for (int i = 0; i < MESSAGES; i++) {
        memset(body, 'A' + i % 26, BODY);
        sent += send_one(body);
    }
    is_int(sent, MESSAGES, "%d MiB are sent", MESSAGES * BODY >> 20);
    ask_pull(&a, "g1", "T", 0, 0);
    ask_text(&a, "maxMsgNums", "5");
    is_int(answer_to(&a, &r), RC_SUCCESS, "a pull from memory");
    ok(field_i64(&r, "suggestWhichBrokerId") == 0 && right_bodies(r.body, 5, 'A'), "has what it asked for, from here");
    house_close();
    pages_forget(house_dir, "commitlog/*");
    house_open(keys);
    ask_pull(&a, "g1", "T", 0, MESSAGES);        /* the queue is loaded now, and its first entries are not in memory */
    answer_to(&a, &r);
    ask_pull(&a, "g1", "T", 0, 0);
    ask_text(&a, "maxMsgNums", "5");
    is_int(answer_to(&a, &r), RC_SUCCESS, "a pull from the disk");
    if (field_i64(&r, "suggestWhichBrokerId") == 1) {
        ok(right_bodies(r.body, 3, 'A'), "has no more than may come from the disk at a time, and all of it");
        is_int(field_i64(&r, "nextBeginOffset"), 3, "and goes on behind it");
        is_int(answer_to(&a, &r), RC_SUCCESS, "once more");
        is_int(field_i64(&r, "suggestWhichBrokerId"), 0, "it is in memory now");
    } else {
        ok(right_bodies(r.body, 5, 'A'), "# SKIP this system did not forget the pages");
    }
    house_close();
    test_busy();
    test_damaged();
    return tap_done();
}
