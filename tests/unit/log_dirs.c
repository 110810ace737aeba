/* A commit log in several directories, as storePathCommitLog of Apache's MultiPathMappedFileQueue has it.
 * (R-STORE-02, R-STORE-06, R-EXP-01) */
#include <errno.h>
#include <fcntl.h>

#include "tests/unit/store_help.h"
#include "tests/unit/tap.h"

#include "common/clock.h"
#include "store/store_impl.h"

static char a[256], b[256], c[256], all[800];

static struct store_conf three_dirs(void)
{
    struct store_conf conf = test_conf();

    snprintf(a, sizeof a, "%s/disk1/log", conf.root);
    snprintf(b, sizeof b, "%s/disk2/log", conf.root);
    snprintf(c, sizeof c, "%s/disk3/log", conf.root);
    snprintf(all, sizeof all, " %s,%s , %s,", c, a, b);
    conf.commit_log = all;
    return conf;
}

static void fill(struct store *s, struct store_queue *q, int n)
{
    struct store_put put;

    while (file_list_count(&s->log.files) < n)
        if (test_append(s, q, store_queue_max(s, q), &put))
            exit(2);
}

static bool is_in(const char *dir, int n)
{
    char path[600];

    snprintf(path, sizeof path, "%s/%020d", dir, n * 65536);
    return access(path, F_OK) == 0;
}

static void check_reads(struct store *s, const char *when)
{
    int64_t bad, good = test_read_all(s, store_queue(s, str_of("t"), 0), 0, &bad);

    ok(bad == 0 && good > 0, "%s: all %" PRId64 " messages read right", when, good);
}

static int try_open(const struct store_conf *conf, struct fault *f)
{
    struct store *s;
    int rc = store_open(conf, &s, f);

    if (!rc)
        store_close(s);
    return rc;
}

static void test_placing(void)
{
    struct store_conf conf = three_dirs();
    struct store *s = test_open(&conf);
    struct store_queue *q = store_queue(s, str_of("t"), 0);
    char from[1000], to[600];
    struct fault f = {0};

    fill(s, q, 7);
    ok(is_in(a, 0) && is_in(b, 1) && is_in(c, 2) && is_in(a, 3) && is_in(b, 4) && is_in(c, 5) && is_in(a, 6),
       "files go to the directories in turn, by name");
    ok(!is_in(b, 0) && !is_in(c, 0) && !is_in(a, 1), "each to one");
    check_reads(s, "three directories");
    test_close(s);
    s = test_open(&conf);
    check_reads(s, "after a restart");
    test_close(s);

    snprintf(from, sizeof from, "%s/%020d", b, 65536);
    snprintf(to, sizeof to, "%s/%020d", c, 65536);
    ok(rename(from, to) == 0, "a file is moved to another directory");
    s = test_open(&conf);
    check_reads(s, "it is found there");
    test_close(s);
    snprintf(from, sizeof from, "cp %s %s", to, b);
    ok(system(from) == 0, "a file is in two directories");
    is_int(try_open(&conf, &f), -EEXIST, "the store does not start");
    ok(strstr(f.text, "another directory") != NULL, "saying: %s", f.text);
    snprintf(from, sizeof from, "%s/%020d", b, 65536);
    unlink(from);

    snprintf(from, sizeof from, "%s/abort", conf.root);
    close(open(from, O_CREAT | O_WRONLY, 0644));
    s = test_open(&conf);
    check_reads(s, "recovery goes through the directories");
    test_close(s);
    test_clean(&conf);
}

static double usage_of_a;
static double usage(const char *dir) { return strcmp(dir, a) == 0 ? usage_of_a : 0.1; }
static struct store_retention rules = {.delete_when = "", .file_reserved_time = 72, .clean_resource_interval = 3600000,
    .disk_max_used_space_ratio = 75, .disk_space_clean_forcibly_ratio = 85, .disk_space_warning_level_ratio = 90,
    .clean_file_forcibly_enable = true, .delete_file_batch_max = 10};
static void ask_rules(void *ctx, struct store_retention *out) { *out = rules; }

static void test_full(void)
{
    struct store_conf conf = three_dirs();
    struct store_queue *q;
    struct store_put put;
    struct store_stats st;
    struct store *s;

    conf.retention = ask_rules;
    s = test_open(&conf);
    s->retention.disk_used = usage;
    q = store_queue(s, str_of("t"), 0);
    test_append(s, q, 0, &put);
    usage_of_a = 0.95;
    is_int(retention_round(s, wall_ms()), 0, "one full disk of three: nothing is deleted");
    store_stats(s, &st);
    ok(st.writable && st.disk_used_ratio == 0.1, "writes stay on; what counts is the emptiest");
    fill(s, q, 8);
    for (int n = 3; n < 7; n++)
        ok(!is_in(a, n) && is_in(n % 2 ? c : b, n), "file %d is not on the full disk", n);
    check_reads(s, "with a full disk");
    usage_of_a = 0.1;
    retention_round(s, wall_ms());
    fill(s, q, 14);
    ok(is_in(a, 12), "when there is room again, files are made there");
    test_close(s);
    test_clean(&conf);
}

static void test_read_only(void)
{
    struct store_conf conf = three_dirs();
    struct store *s = test_open(&conf);
    struct store_queue *q = store_queue(s, str_of("t"), 0);
    struct fault f = {0};

    fill(s, q, 4);
    test_close(s);
    conf.commit_log_read_only = a;
    s = test_open(&conf);
    check_reads(s, "a read-only directory's files are there");
    fill(s, store_queue(s, str_of("t"), 0), 9);
    ok(!is_in(a, 6) && !is_in(a, 4) && !is_in(a, 5) && !is_in(a, 7) && (is_in(b, 6) || is_in(c, 6)),
       "no new file in it");
    test_close(s);
    conf.commit_log_read_only = all;
    is_int(try_open(&conf, &f), -EINVAL, "nowhere to write: no start");
    ok(f.text[0] != 0, "saying: %s", f.text);
    test_clean(&conf);
}

/* A directory in which no file can be made: the next one takes it. */
static void test_broken(void)
{
    struct store_conf conf = three_dirs();
    struct store *s = test_open(&conf);
    struct store_queue *q = store_queue(s, str_of("t"), 0);
    char path[700];

    fill(s, q, 1);
    snprintf(path, sizeof path, "%s/%020d", b, 4 * 65536);     /* in the way: the fifth file cannot be made there */
    if (mkdir(path, 0755))
        exit(2);
    fill(s, q, 7);
    ok(is_in(c, 4), "the next directory takes the file that one cannot");
    check_reads(s, "with a broken directory");
    test_close(s);
    rmdir(path);
    test_clean(&conf);
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    test_placing();
    test_full();
    test_read_only();
    test_broken();
    return tap_done();
}
