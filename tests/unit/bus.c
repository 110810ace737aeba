/* Mapped pages that the disk does not give: a file that is cut under a running store raises the same SIGBUS as a disk
 * that fails. Nobody dies of it; writes go off, and what can be read is. (R-STORE-26, R-STORE-28) */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "tests/unit/store_help.h"
#include "tests/unit/tap.h"

#include "common/bus_guard.h"
#include "common/codes.h"
#include "store/store_impl.h"

static char *beyond;                 /* a mapped page behind its file's end */

static const char *why(void)
{
    static char text[BUS_WHY_SIZE];

    return bus_why(text, sizeof text);
}

static int touch(void *arg) { return *(volatile char *)arg; }
static int nested(void *arg) { return bus_guarded(touch, arg) == -EIO && bus_guarded(touch, arg) == -EIO ? 7 : 8; }

static void *in_thread(void *arg)
{
    for (int i = 0; i < 1000; i++)
        if (bus_guarded(touch, beyond) != -EIO)
            return NULL;
    return arg;
}

static void test_guard(void)
{
    char path[] = "/tmp/mqfs-bus-XXXXXX", byte = 5;
    int fd = mkstemp(path), status;
    pthread_t t[4];
    void *good;
    pid_t pid;

    unlink(path);
    beyond = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    is_int(bus_guard_install(), 0, "installed");
    is_int(bus_guard_install(), 0, "twice does nothing");
    is_int(bus_guarded(touch, &byte), 5, "what is there is read");
    is_int(bus_guarded(touch, beyond), -EIO, "a page that is not: EIO");
    is_int(bus_guarded(touch, beyond), -EIO, "again");
    is_int(bus_guarded(nested, beyond), 7, "guards in guards");
    bus_guarded(touch, beyond + 0xa00);
    ok(strstr(why(), "a page of /tmp/mqfs-bus-") && strstr(why(), " at 2560 could not be had"), "it says which: %s", why());
    is_int(bus_guarded(touch, &byte), 5, "a guard that is not needed");
    is_text(why(), strerror(EIO), "has no such thing to say");
    for (int i = 0; i < 4; i++)
        pthread_create(&t[i], NULL, in_thread, &byte);
    for (int i = 0; i < 4; i++) {
        pthread_join(t[i], &good);
        ok(good != NULL, "thread %d", i);
    }
    fflush(stdout);
    if ((pid = fork()) == 0) {
        close(2);
        touch(beyond);
        _exit(0);
    }
    waitpid(pid, &status, 0);
    ok(!WIFEXITED(status) || WEXITSTATUS(status) != 0, "without a guard the process ends");
    munmap(beyond, 4096);
    close(fd);
}

static void cut(const struct store_conf *conf, const char *file, off_t size)
{
    char path[600];

    snprintf(path, sizeof path, "%s/%s", conf->root, file);
    if (truncate(path, size))
        exit(2);
}

static void test_log(void)
{
    struct store_conf conf = test_conf();
    struct store *s;
    struct store_queue *q, *other;
    struct store_result *r;
    struct store_put put, first;
    struct store_stats st;
    struct store_entry e;
    struct fault f = {0};
    char body[512], props[128];
    struct message m = test_message(0, body, props);

    s = test_open(&conf);
    q = store_queue(s, str_of("t"), 0);
    other = store_queue(s, str_of("t"), 1);
    test_append(s, q, 0, &first);
    for (int64_t i = 1; s->log.tail == NULL || s->log.tail->base == 0; i++)
        test_append(s, q, i, &put);          /* the first file is full */
    test_append(s, other, 0, &put);
    cut(&conf, "commitlog/00000000000000065536", 0);
    is_int(store_append(s, q, &m, 0, &put, &f), -EIO, "the file being written is cut: EIO");
    is_int(f.rc, RC_SERVICE_NOT_AVAILABLE, "with SERVICE_NOT_AVAILABLE");
    ok(strstr(f.text, "writes are off") != NULL, "saying: %s", f.text);
    store_stats(s, &st);
    ok(!st.writable && *st.why_not, "the state says so");
    ok(store_append(s, other, &m, 0, &put, &f) < 0 && f.rc == RC_SERVICE_NOT_AVAILABLE, "it stays so");
    r = store_get(s, q, 0, &test_limits, NULL);
    ok(r && r->status == STORE_FOUND && r->n_messages == 32, "the other file's messages are read");
    store_release(r);
    is_int(store_read(s, first.physical_offset, first.size, &r), 0, "and by their place");
    store_release(r);
    r = store_get(s, other, 0, &test_limits, NULL);
    ok(r && r->status == STORE_READ_FAILED && r->next_begin == 0 && r->n_iov == 0, "those of the cut file are not: no offset follows from it");
    store_release(r);
    is_int(store_entry(s, other, 0, &e), 0, "their place is known");
    is_int(store_read(s, e.physical_offset, e.size, &r), -EIO, "but not what was there");
    ok(r == NULL, "nothing is given");
    is_int(store_time_at(s, other, 0), -EIO, "nor is their time");
    is_int(store_load(s, e.physical_offset, 0, &m, &r), -EIO, "nor a copy of them");
    ok(r == NULL, "nothing is given");
    is_int(store_look(s, e.physical_offset, 0, &m), -EIO, "nor their numbers");
    is_int((int)store_offset_at_time(s, other, 1, false), -EIO, "and no search by time ends there");
    is_int((int)store_offset_at_time(s, q, 1, false), 0, "as one does where the messages are");
    store_close(s);
    s = test_open(&conf);
    q = store_queue(s, str_of("t"), 0);
    ok(store_queue_max(s, q) > 32 && test_append(s, q, store_queue_max(s, q), &put) == 0,
       "the next start goes on with what there is");
    test_close(s);
    test_clean(&conf);
}

/* Who has a result already: the file is cut behind him. */
static void test_result(void)
{
    struct store_conf conf = test_conf();
    struct store *s = test_open(&conf);
    struct store_queue *q = store_queue(s, str_of("t"), 0);
    struct store_result *r, *copy;
    struct message m;
    struct store_put put;

    for (int64_t i = 0; i < 30; i++)
        test_append(s, q, i, &put);
    r = store_get(s, q, 0, &test_limits, NULL);
    is_int(store_touch(r), 0, "messages that are there are brought in");
    is_int(store_load(s, put.physical_offset, put.size, &m, &copy), 0, "a copy");
    cut(&conf, "commitlog/00000000000000000000", 0);
    is_int(store_touch(r), -EIO, "of a file that was cut since: EIO");
    is_int(store_own(r), -EIO, "no copy can be made");
    ok(r->n_messages == 30, "the result is as it was");
    ok(test_body_is(&m, 29) && str_is(m.topic, "t"), "a copy made before lives on");
    store_release(r);
    store_release(copy);
    store_close(s);
    test_clean(&conf);
}

static bool is_accepted(struct store *s, struct store_queue *q, const struct message *m, struct store_put *put)
{
    for (int k = 0; k < 2000; k++, usleep(5000))
        if (store_append(s, q, m, 0, put, NULL) == 0)
            return true;
    return false;
}

/* A queue's page fails after the log's record was written: nothing of either is left, and when the page is there again
 * writing goes on by itself. A batch, so that more than one record has to be taken back. */
static void test_taken_back(void)
{
    struct store_conf conf = test_conf();
    struct store *s = test_open(&conf);
    struct store_queue *q = store_queue(s, str_of("t"), 0), *other = store_queue(s, str_of("t"), 1);
    char body[3][512], props[3][128];
    struct message m[3];
    struct store_put put[3], after;
    struct store_stats st;
    struct fault f = {0};
    int64_t end, tags[3] = {0};

    for (int i = 0; i < 3; i++)
        m[i] = test_message(i, body[i], props[i]);
    test_append(s, other, 0, &after);
    test_append(s, q, 0, &after);
    end = after.end;
    cut(&conf, "consumequeue/t/0/00000000000000000000", 0);
    is_int(store_append_batch(s, q, m, tags, 3, put, &f), -EIO, "a batch whose queue cannot be written");
    ok(f.rc == RC_SERVICE_NOT_AVAILABLE && strstr(f.text, "consumequeue/t/0/00000000000000000000 at 20 could not be had"),
       "saying: %s", f.text);
    store_stats(s, &st);
    ok(st.log_max == end && !st.writable, "is nowhere; writes are off");
    cut(&conf, "consumequeue/t/0/00000000000000000000", 4000);
    ok(is_accepted(s, q, &m[0], &after), "when the disk works again, so do writes");
    is_int(after.physical_offset, end, "in the same place");
    is_int(after.queue_offset, 1, "with the next number");
    store_stats(s, &st);
    ok(st.writable, "the state says so");
    /* As after a crash: the log is read from its start, and nothing of what was taken back is found. */
    end = after.end;
    cut(&conf, "consumequeue/t/1/00000000000000000000", 0);
    m[0].body = str_of("the shorter the better");
    is_int(store_append(s, other, &m[0], 0, &after, &f), -EIO, "once more, with another queue");
    store_close(s);
    ok(truncate((snprintf(body[0], 512, "%s/checkpoint", conf.root), body[0]), 0) == 0, "no checkpoint");
    s = test_open(&conf);
    store_stats(s, &st);
    is_int(st.log_max, end, "the next start finds no message that was refused");
    q = store_queue(s, str_of("t"), 0);
    is_int(store_queue_max(s, q), 2, "nor its number");
    ok(test_append(s, q, 2, &after) == 0 && after.physical_offset == end, "and goes on");
    test_close(s);
    test_clean(&conf);
}

/* The blank that closes a file of the log cannot be written. */
static void test_roll(void)
{
    struct store_conf conf = test_conf();
    struct store *s = test_open(&conf);
    struct store_queue *q = store_queue(s, str_of("t"), 0);
    char *big = calloc(1, 60000), props[128] = "";
    struct message m = {.body = str_n(big, 40000), .properties = str_of(props), .born_host.port = 1, .store_host.port = 1};
    struct store_put put;
    struct fault f = {0};

    is_int(store_append(s, q, &m, 0, &put, &f), 0, "most of a file");
    cut(&conf, "commitlog/00000000000000000000", 4096);
    is_int(store_append(s, q, &m, 0, &put, &f), -EIO, "the file cannot be closed");
    ok(f.rc == RC_SERVICE_NOT_AVAILABLE && strstr(f.text, "close a commit log file"), "saying: %s", f.text);
    cut(&conf, "commitlog/00000000000000000000", 65536);
    ok(is_accepted(s, q, &m, &put), "until its page is there again");
    is_int(put.physical_offset, 65536, "in the next file");
    free(big);
    store_close(s);
    test_clean(&conf);
}

/* Not mapped when it is cut: then it is mapping it that fails. Nothing is taken for expired because of that. */
static void test_unmapped(void)
{
    struct store_conf conf = test_conf();
    struct store *s = test_open(&conf);
    struct store_queue *q = store_queue(s, str_of("t"), 0);
    struct store_result *r;
    struct store_entry e;
    struct store_put put, last;
    struct fault f;
    char body[512], props[128];
    struct message m = test_message(0, body, props);

    for (int64_t i = 0; i < 250; i++)
        test_append(s, q, i, &put);
    test_close(s);
    s = test_open(&conf);
    q = store_queue(s, str_of("t"), 0);
    is_int(store_queue_load(s, q), 0, "a queue of two files is loaded");
    cut(&conf, "consumequeue/t/0/00000000000000000000", 100);
    r = store_get(s, q, 0, &test_limits, NULL);
    ok(r && r->status == STORE_READ_FAILED && r->next_begin == 0, "one was cut: a read fails, and goes nowhere");
    store_release(r);
    is_int(store_entry(s, q, 0, &e), -EIO, "an entry is not given");
    r = store_get(s, q, 200, &test_limits, NULL);
    ok(r && r->status == STORE_FOUND, "the other one is read");
    store_release(r);
    is_int(store_append(s, q, &m, 0, &last, &f), 0, "and written");
    cut(&conf, "consumequeue/t/0/00000000000000000000", 4000);
    cut(&conf, "commitlog/00000000000000000000", 100);
    is_int(store_read(s, 0, 0, &r), -EIO, "a log file was cut: a message of it is not given");
    r = store_get(s, q, 2, &test_limits, NULL);
    ok(r && r->status == STORE_READ_FAILED && r->next_begin == 2, "nor are several, and none is skipped");
    store_release(r);
    store_close(s);
    test_clean(&conf);
}

static void test_index(void)
{
    struct store_conf conf = test_conf();
    struct store_index_file x;
    struct store_result *r;
    struct store_queue *q;
    struct store_put put;
    struct store *s;
    struct store_query by_key = {.topic = str_of("t"), .key = str_of("key-3"), .end = INT64_MAX, .max_messages = 9,
                                 .max_bytes = 1 << 20, .wait_ms = 10000};
    char command[600];

    conf.index_enable = true;
    conf.index_slots = 50;
    conf.index_entries = 30;
    s = test_open(&conf);
    q = store_queue(s, str_of("t"), 0);
    for (int64_t i = 0; i < 20; i++)
        test_append(s, q, i, &put);
    ok(store_query(s, &by_key, NULL, &r) == 0 && r->n_messages == 1, "a message by its key");
    store_release(r);
    is_int(store_index_file(s, 0, &x), 0, "the index has a file");
    snprintf(command, sizeof command, "truncate -s 0 %s/index/*", conf.root);
    ok(system(command) == 0, "all of them are cut");
    is_int(store_index_file(s, 0, &x), -EIO, "its header is not given");
    by_key.wait_ms = 10;
    is_int(store_query(s, &by_key, NULL, &r), -EIO, "nor a message by its key");
    is_int(test_append(s, q, 20, &put), 0, "sends go on");
    store_close(s);
    s = test_open(&conf);
    by_key.wait_ms = 10000;
    ok(store_query(s, &by_key, NULL, &r) == 0 && r->n_messages == 1, "the next start makes it again");
    store_release(r);
    test_close(s);
    test_clean(&conf);
}

static void test_queue(void)
{
    struct store_conf conf = test_conf();
    struct store *s = test_open(&conf);
    struct store_queue *q = store_queue(s, str_of("t"), 0);
    struct store_result *r;
    struct store_entry e;
    struct store_put put;
    struct fault f = {0};
    char body[512], props[128];
    struct message m = test_message(0, body, props);

    test_append(s, q, 0, &put);
    cut(&conf, "consumequeue/t/0/00000000000000000000", 0);
    is_int(store_entry(s, q, 0, &e), -EIO, "a queue file is cut: its units are not read");
    r = store_get(s, q, 0, &test_limits, NULL);
    ok(r && r->status == STORE_READ_FAILED, "nor what they name");
    store_release(r);
    is_int(store_append(s, q, &m, 0, &put, &f), -EIO, "nor written");
    store_close(s);
    s = test_open(&conf);
    q = store_queue(s, str_of("t"), 0);
    r = store_get(s, q, 0, &test_limits, NULL);
    ok(r && r->status == STORE_FOUND, "the next start makes it again from the log");
    store_release(r);
    test_close(s);
    test_clean(&conf);
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    test_guard();
    test_log();
    test_queue();
    test_result();
    test_taken_back();
    test_roll();
    test_unmapped();
    test_index();
    return tap_done();
}
