/* What users of the reference have been hit by, each as a test named after its report that shows we are not:
 * apache/rocketmq issues 405, 467, 678, 1434, 7355, 9705, 10108. (alibaba/rocketmq 331 is in disk_full.t.)
 * Each makes the state that the report describes on a store of 600 messages in one queue, kills or closes it, opens it
 * again, and wants every message that the log holds at its place, and the next one behind the last. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include "common/be.h"
#include "common/file.h"
#include "tests/unit/store_help.h"
#include "tests/unit/tap.h"

#define MESSAGES 600
#define UNIT 20
#define PER_FILE 200                 /* units in a queue file: store_help.h */

static struct store_queue *queue_of(struct store *s) { return store_queue(s, str_of("TopicA"), 0); }

static void fill(const struct store_conf *conf, bool killed)
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        struct store *s = test_open(conf);
        struct store_put put;
        for (int i = 0; i < MESSAGES; i++)
            if (test_append(s, queue_of(s), i, &put))
                _exit(3);
        if (killed)
            kill(getpid(), SIGKILL);
        test_close(s);
        _exit(0);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid || WIFSIGNALED(status) != killed || (!killed && status)) {
        printf("Bail out! no store\n");
        exit(2);
    }
}

/* base below 0: name is the file itself, else its directory. */
static int open_in(const struct store_conf *conf, const char *name, int64_t base)
{
    char path[300];
    int fd;

    if (base < 0)
        snprintf(path, sizeof path, "%s/%s", conf->root, name);
    else
        snprintf(path, sizeof path, "%s/%s/%020" PRId64, conf->root, name, base);
    fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        printf("Bail out! %s: %m\n", path);
        exit(2);
    }
    return fd;
}

static void remove_in(const struct store_conf *conf, const char *dir, int64_t base)
{
    char path[300];

    snprintf(path, sizeof path, "%s/%s/%020" PRId64, conf->root, dir, base);
    if (unlink(path)) {
        printf("Bail out! %s: %m\n", path);
        exit(2);
    }
}

static void unit_io(const struct store_conf *conf, int64_t n, char unit[UNIT], bool write_it)
{
    int fd = open_in(conf, "consumequeue/TopicA/0", n / PER_FILE * PER_FILE * UNIT);
    off_t at = n % PER_FILE * UNIT;
    ssize_t k = write_it ? pwrite(fd, unit, UNIT, at) : pread(fd, unit, UNIT, at);

    close(fd);
    if (k != UNIT) {
        printf("Bail out! unit %" PRId64 "\n", n);
        exit(2);
    }
}

/* Units [from, to) were never dispatched. */
static void zero_units(const struct store_conf *conf, int64_t from, int64_t to)
{
    char zeros[UNIT] = {0};

    for (int64_t n = from; n < to; n++)
        unit_io(conf, n, zeros, true);
}

static int64_t place_of(const struct store_conf *conf, int64_t n)
{
    char unit[UNIT];

    unit_io(conf, n, unit, false);
    return (int64_t)be64_get(unit);
}

/* The number of the first message in the last log file. */
static int64_t first_of_last_file(const struct store_conf *conf)
{
    int64_t last = place_of(conf, MESSAGES - 1) / conf->commit_log_file_size, n = MESSAGES - 1;

    while (n > 0 && place_of(conf, n - 1) / conf->commit_log_file_size == last)
        n--;
    return n;
}

static void set_checkpoint(const struct store_conf *conf, int64_t time, int64_t place)
{
    int fd = open_in(conf, "checkpoint", -1);
    char words[48];

    for (int i = 0; i < 6; i++)
        be64_put(words + 8 * i, (uint64_t)(i < 3 ? time : place));
    if (pwrite(fd, words, sizeof words, 0) != sizeof words)
        exit(2);
    close(fd);
}

/* Messages [first, end) are there and right, nothing else is; the next gets number end, and so after one more start. */
static void all_there(const struct store_conf *conf, int64_t first, int64_t end, const char *what)
{
    struct store *s = test_open(conf);
    int64_t bad, good = test_read_all(s, queue_of(s), 0, &bad);
    struct store_put put = {0};

    ok(good == end - first && bad == 0 && store_queue_min(s, queue_of(s)) == first && store_queue_max(s, queue_of(s)) == end,
       "%s: %" PRId64 " messages from %" PRId64 " on (%" PRId64 " bad)", what, good, store_queue_min(s, queue_of(s)), bad);
    ok(test_append(s, queue_of(s), end, &put) == 0 && put.queue_offset == end, "%s: the next is number %" PRId64, what, end);
    test_close(s);
    s = test_open(conf);
    good = test_read_all(s, queue_of(s), 0, &bad);
    ok(good == end + 1 - first && bad == 0, "%s: and after one more start", what);
    test_close(s);
    test_clean(conf);
}

static void apache_405(void)
{
    struct store_conf conf = test_conf();

    fill(&conf, true);
    zero_units(&conf, 560, MESSAGES);
    all_there(&conf, 0, MESSAGES, "405: power off with 40 messages in the log that were not in the queue yet");
}

static void apache_467(void)
{
    struct store_conf conf = test_conf();
    int64_t at;
    int fd;

    fill(&conf, true);
    at = place_of(&conf, MESSAGES - 1);
    fd = open_in(&conf, "commitlog", at / conf.commit_log_file_size * conf.commit_log_file_size);
    if (pwrite(fd, "torn", 4, at % conf.commit_log_file_size + 30) != 4)
        exit(2);
    close(fd);
    zero_units(&conf, MESSAGES - 2, MESSAGES - 1);
    all_there(&conf, 0, MESSAGES - 1, "467: an unclean stop, the last record damaged, one unit missing before it");
}

static void apache_678(void)
{
    struct store_conf conf = test_conf();

    fill(&conf, true);
    set_checkpoint(&conf, INT64_C(4000000000000), place_of(&conf, MESSAGES - 1));
    zero_units(&conf, 450, MESSAGES);
    all_there(&conf, 0, MESSAGES, "678: a checkpoint that is ahead of the queue's file");
}

static void apache_1434(void)
{
    struct store_conf conf = test_conf();
    int64_t n;

    fill(&conf, true);
    n = first_of_last_file(&conf);
    zero_units(&conf, n - 5, MESSAGES);
    all_there(&conf, 0, MESSAGES, "1434: the missing units are of the last log file and of the one before it");
}

static void apache_7355(void)
{
    struct store_conf conf = test_conf();
    char junk[UNIT];

    fill(&conf, true);
    memset(junk, 0x5A, sizeof junk);
    for (int64_t n = 590; n < MESSAGES; n++)
        unit_io(&conf, n, junk, true);
    zero_units(&conf, 585, 588);
    all_there(&conf, 0, MESSAGES, "7355: the host went down, the queue ends with holes and nonsense");
}

static void apache_10108(bool killed)
{
    struct store_conf conf = test_conf();
    int64_t first = 0, size = conf.commit_log_file_size;

    fill(&conf, killed);
    remove_in(&conf, "commitlog", 0);
    remove_in(&conf, "commitlog", size);
    while (place_of(&conf, first) < 2 * size)
        first++;
    /* and the queue's own first file, whose units are all of expired messages or of none */
    if (first >= PER_FILE)
        remove_in(&conf, "consumequeue/TopicA/0", 0);
    all_there(&conf, first, MESSAGES, killed ? "10108: old log files are gone, after a kill" :
                                               "10108: old log files are gone, after a clean stop");
}

/* Every log file but the last is gone, and all of the queue's units are older. */
static void apache_10108_all_expired(void)
{
    struct store_conf conf = test_conf();
    struct store *s;
    struct store_put put;
    int64_t size = conf.commit_log_file_size, n = 0;

    fill(&conf, false);
    s = test_open(&conf);
    do
        if (test_append(s, store_queue(s, str_of("TopicB"), 0), n++, &put))
            exit(2);
    while (put.physical_offset / size < 6);
    test_close(s);
    for (int64_t base = 0; base < 6 * size; base += size)
        remove_in(&conf, "commitlog", base);
    all_there(&conf, MESSAGES, MESSAGES, "10108: a queue whose messages have all expired");
}

static int whole(void *arg, struct str text)
{
    (void)arg;
    return text.n > 2 && text.p[0] == '{' && text.p[text.n - 1] == '}' ? 0 : -EBADMSG;
}

static void tear(const char *path)
{
    if (truncate(path, 3))
        exit(2);
}

/* A torn file, a start from its .bak, the first write, and that one is torn too: the .bak must not have become the
 * torn file. */
static void apache_9705(void)
{
    struct store_conf conf = test_conf();
    struct fault f = {0};
    char path[200];

    snprintf(path, sizeof path, "%s/topics.json", conf.root);
    is_int(file_replace(path, str_of("{\"first\":1}")), 0, "9705: written");
    tear(path);
    is_int(file_load_or_bak(path, 1000, whole, NULL, &f), 0, "9705: torn at its first version: the start goes on");
    is_int(file_replace(path, str_of("{\"second\":1}")), 0, "9705: written again");
    tear(path);
    is_int(file_load_or_bak(path, 1000, whole, NULL, &f), 0, "9705: torn again: the start goes on");
    test_clean(&conf);
}

int main(void)
{
    apache_405();
    apache_467();
    apache_678();
    apache_1434();
    apache_7355();
    apache_10108(true);
    apache_10108(false);
    apache_10108_all_expired();
    apache_9705();
    return tap_done();
}
