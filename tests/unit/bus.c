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
#include "common/remoting/codes.h"
#include "store/store_impl.h"

static char *beyond;                 /* a mapped page behind its file's end */

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
    store_close(s);
    s = test_open(&conf);
    q = store_queue(s, str_of("t"), 0);
    ok(store_queue_max(s, q) > 32 && test_append(s, q, store_queue_max(s, q), &put) == 0,
       "the next start goes on with what there is");
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
    return tap_done();
}
