/* The consume queue's extension files (enableConsumeQueueExt): byte for byte as Apache's ConsumeQueueExt writes them,
 * read whoever wrote them and whether the key is set or not, followed through kills, torn and foreign files, rebuilds,
 * expiry, deletion and snapshots. Rows: R-STORE-01, -16, -20, -21, -37. */
#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>

#include "common/be.h"
#include "common/clock.h"
#include "common/file.h"
#include "store/queue_ext.h"
#include "store/snapshot.h"
#include "store/store_impl.h"
#include "tests/unit/store_help.h"
#include "tests/unit/tap.h"

#define PER_FILE 10
#define EXT_SIZE (PER_FILE * EXT_UNIT_MIN + EXT_BLANK + 3)
#define QUEUE_FILE "consumequeue/TopicA/0/00000000000000000000"
#define EXT_DIR "consumequeue_ext/TopicA/0"

static struct store_conf ext_conf(void)
{
    struct store_conf conf = test_conf();

    conf.queue_ext = true;
    conf.queue_ext_file_size = EXT_SIZE;
    return conf;
}

static struct store_queue *queue(struct store *s) { return store_queue(s, str_of("TopicA"), 0); }

static void fill(struct store *s, int n)
{
    struct store_put put;

    while (n-- > 0)
        if (test_append(s, queue(s), store_queue_max(s, queue(s)), &put))
            exit(2);
}

/* The process goes on as after kill -9. */
static void fill_and_die(const struct store_conf *conf, int n)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        fill(test_open(conf), n);
        _exit(0);
    }
    if (waitpid(pid, &status, 0) != pid || status)
        exit(2);
}

static const char *path_in(const struct store_conf *conf, const char *name)
{
    static char paths[16][300];
    static int i;
    char *p = paths[i++ % 16];

    snprintf(p, 300, "%s/%s", conf->root, name);
    return p;
}

static const char *ext_path(const struct store_conf *conf, int file)
{
    char name[100];

    snprintf(name, sizeof name, "%s/%020d", EXT_DIR, file * EXT_SIZE);
    return path_in(conf, name);
}

static bool exists(const char *path) { return access(path, F_OK) == 0; }

static void read_at(const char *path, int64_t at, void *out, size_t n)
{
    int fd = open(path, O_RDONLY);

    memset(out, 0xEE, n);
    if (fd < 0 || file_read_at(fd, out, n, at))
        printf("# cannot read %s at %" PRId64 "\n", path, at);
    close(fd);
}

static void write_at(const char *path, int64_t at, const void *p, size_t n)
{
    int fd = open(path, O_RDWR | O_CREAT, 0644);

    if (fd < 0 || pwrite(fd, p, n, at) != (ssize_t)n) {
        printf("Bail out! write %s\n", path);
        exit(2);
    }
    close(fd);
}

static void clean_dir(const struct store_conf *conf, const char *name)
{
    if (snapshot_remove(path_in(conf, name)))
        exit(2);
}

/* ---- what a filter sees ---- */

struct wanted {
    int64_t code;
    int n;                               /* entries it was asked for */
};

static bool is_wanted(void *arg, int64_t code)
{
    struct wanted *w = arg;

    w->n++;
    return code == w->code;
}

static int64_t code_of(int64_t i)
{
    char body[512], props[128];
    struct message m = test_message(i, body, props);

    return message_tags_code(m.properties);
}

/* How many messages with the tag of number 1 a filter lets through, and whether each of those in [0, n) is. */
static int filtered(struct store *s, int64_t n, bool *right)
{
    struct wanted w = {.code = code_of(1)};
    struct store_filter f = {.by_tags_code = is_wanted, .arg = &w};
    int64_t at = store_queue_min(s, queue(s)), seen = at;
    int found = 0;

    *right = true;
    while (at < store_queue_max(s, queue(s))) {
        struct store_result *r = store_get(s, queue(s), at, &test_limits, &f);
        if (!r || r->next_begin <= at) {
            store_release(r);
            *right = false;
            break;
        }
        for (int i = 0; i < r->n_iov; i++) {
            const char *p = r->iov[i].iov_base, *end = p + r->iov[i].iov_len;
            struct message m;
            while (p < end && message_record_get(p, (size_t)(end - p), true, &m) == 0) {
                for (; seen < m.queue_offset; seen++)
                    *right = *right && code_of(seen) != w.code;
                *right = *right && code_of(seen++) == w.code;
                found++;
                p += m.size;
            }
        }
        at = r->next_begin;
        store_release(r);
    }
    for (; seen < n; seen++)
        *right = *right && code_of(seen) != w.code;
    return found;
}

/* Everything is there, filters by tag give exactly what has the tag, and entries say the tag code. */
static void check_all(struct store *s, int64_t n, const char *when)
{
    int64_t bad, good = test_read_all(s, queue(s), 0, &bad), codes = 0;
    bool right;

    filtered(s, n, &right);
    for (int64_t i = store_queue_min(s, queue(s)); i < store_queue_max(s, queue(s)); i++) {
        struct store_entry e;
        codes += store_entry(s, queue(s), i, &e) == 0 && e.tags_code == code_of(i);
    }
    ok(good == n && !bad, "%s: %" PRId64 " messages read right", when, good);
    ok(right, "%s: a filter by tag gives those with the tag", when);
    is_int(codes, n, "%s: entries have the tag codes", when);
}

/* What stands in the place of unit i's tag code. */
static int64_t code_in_queue(const struct store_conf *conf, int64_t i)
{
    unsigned char raw[UNIT_SIZE];
    struct store_entry e;
    char name[100];

    snprintf(name, sizeof name, "consumequeue/TopicA/0/%020" PRId64, i * UNIT_SIZE / 4000 * 4000);
    read_at(path_in(conf, name), i * UNIT_SIZE % 4000, raw, sizeof raw);
    unit_get(raw, &e);
    return e.tags_code;
}

/* How many of the n units hold addresses that lead to a unit of the right code. */
static int count_named(const struct store_conf *conf, int n)
{
    int named = 0;

    for (int i = 0; i < n; i++) {
        int64_t code = code_in_queue(conf, i), at = ext_offset(code);
        unsigned char raw[EXT_UNIT_MIN];
        struct ext_unit u;
        if (!ext_is_address(code))
            continue;
        read_at(ext_path(conf, (int)(at / EXT_SIZE)), at % EXT_SIZE, raw, sizeof raw);
        named += ext_unit_get(raw, sizeof raw, &u) == 0 && u.tags_code == code_of(i);
    }
    return named;
}

/* ---- tests ---- */

static void test_unit(void)
{
    unsigned char raw[64] = {0};
    struct ext_unit u = {0};
    int wrong = 0;

    is_int(ext_address(0), INT64_MIN, "the first address");
    ok(ext_is_address(INT64_C(-2147483649)) && !ext_is_address(INT32_MIN) && !ext_is_address(INT64_MAX),
       "addresses end below the smallest tag code");
    is_int(ext_offset(ext_address(INT64_C(0x123456789abc))), INT64_C(0x123456789abc), "there and back");
    ext_unit_put(raw, -5, 1700000000001);
    ok(ext_unit_get(raw, 64, &u) == 0 && u.size == 20 && u.tags_code == -5 && u.store_time == 1700000000001, "a unit");
    for (size_t n = 0; n < 20; n++)
        wrong += ext_unit_get(raw, n, &u) == 0;
    is_int(wrong, 0, "with fewer bytes it is none");
    for (int size = INT16_MIN; size <= INT16_MAX; size++) {
        be16_put(raw, (uint16_t)size);
        be16_put(raw + 18, (uint16_t)(size - 20));
        wrong += (ext_unit_get(raw, 64, &u) == 0) != (size >= 20 && size <= 64);
        be16_put(raw + 18, (uint16_t)(size - 19));
        wrong += ext_unit_get(raw, 64, &u) == 0;
    }
    is_int(wrong, 0, "lengths that lie, all 65,536");
}

static void test_format(void)
{
    struct store_conf conf = ext_conf();
    struct store *s = test_open(&conf);
    unsigned char have[EXT_SIZE], want[EXT_SIZE] = {0};
    struct store_put puts[12];
    struct stat st;

    for (int i = 0; i < 12; i++)
        if (test_append(s, queue(s), i, &puts[i]))
            exit(2);
    for (int i = 0; i < PER_FILE; i++) {
        unsigned char *p = want + i * 20;
        be16_put(p, 20);
        be64_put(p + 2, (uint64_t)code_of(i));
        be64_put(p + 10, (uint64_t)puts[i].store_timestamp);
        be16_put(p + 18, 0);
    }
    be16_put(want + PER_FILE * 20, 0xFFFF);
    read_at(ext_path(&conf, 0), 0, have, sizeof have);
    ok(memcmp(have, want, sizeof have) == 0, "a full file: units of 20 bytes, -1 behind the last, zeros");
    memset(want, 0, sizeof want);
    for (int i = 0; i < 2; i++) {
        be16_put(want + i * 20, 20);
        be64_put(want + i * 20 + 2, (uint64_t)code_of(PER_FILE + i));
        be64_put(want + i * 20 + 10, (uint64_t)puts[PER_FILE + i].store_timestamp);
    }
    read_at(ext_path(&conf, 1), 0, have, sizeof have);
    ok(memcmp(have, want, sizeof have) == 0, "the next file is named by its offset and holds the others");
    ok(stat(ext_path(&conf, 1), &st) == 0 && st.st_size == EXT_SIZE, "... and has its full length");
    is_int(code_in_queue(&conf, 3), INT64_MIN + 60, "the queue's unit holds the offset - 2^63");
    is_int(code_in_queue(&conf, PER_FILE), INT64_MIN + EXT_SIZE, "... in the second file too");
    check_all(s, 12, "while it runs");
    test_close(s);
    s = test_open(&conf);
    check_all(s, 12, "after a restart");
    fill(s, 700);
    check_all(s, 712, "with many files");
    is_int(count_named(&conf, 712), 712, "every unit has one in the extension");
    test_close(s);
    conf.queue_ext = false;
    s = test_open(&conf);
    check_all(s, 712, "with the key off");
    fill(s, 5);
    check_all(s, 717, "... and more messages");
    is_int(code_in_queue(&conf, 714), code_of(714), "... which hold their tag codes themselves");
    test_close(s);
    conf.queue_ext = true;
    s = test_open(&conf);
    fill(s, 5);
    is_int(code_in_queue(&conf, 717), INT64_MIN + 71 * EXT_SIZE + 40, "the key on again: goes on behind the last unit that is named");
    check_all(s, 722, "with both kinds");
    test_close(s);
    test_clean(&conf);
}

static void test_key_off(void)
{
    struct store_conf conf = test_conf();
    struct store *s;

    conf.queue_ext = false;
    s = test_open(&conf);
    fill(s, 20);
    ok(!exists(path_in(&conf, "consumequeue_ext")), "without the key there is no such directory");
    ok(!queue(s)->ext, "... and nothing in memory");
    test_close(s);
    conf.queue_ext = true;
    conf.queue_ext_file_size = 23;
    struct fault f = {0};
    ok(store_open(&conf, &s, &f) == -EINVAL && strstr(f.text, "mappedFileSizeConsumeQueueExt"), "files without room for a unit: %s", f.text);
    conf.queue_ext_file_size = 24;
    s = test_open(&conf);
    fill(s, 5);
    check_all(s, 25, "files of one unit, on a queue that had none");
    test_close(s);
    test_clean(&conf);
}

/* Units with bit maps, as Apache writes them with enableCalcFilterBitMap. */
static void test_bit_maps(void)
{
    struct store_conf conf = ext_conf();
    struct store *s;
    unsigned char unit[28] = {0}, have[28], address[8];
    int64_t at = 0;

    conf.queue_ext = false;
    s = test_open(&conf);
    fill(s, 9);
    test_close(s);
    for (int i = 0; i < 9; i++) {
        at = i / 7 * EXT_SIZE + i % 7 * 28;
        be16_put(unit, 28);
        be64_put(unit + 2, (uint64_t)code_of(i));
        be64_put(unit + 10, 1700000000000u);
        be16_put(unit + 18, 8);
        memset(unit + 20, 0xA0 + i, 8);
        dir_make(path_in(&conf, EXT_DIR));
        write_at(ext_path(&conf, i / 7), at % EXT_SIZE, unit, sizeof unit);
        be64_put(address, (uint64_t)ext_address(at));
        write_at(path_in(&conf, QUEUE_FILE), i * UNIT_SIZE + 12, address, 8);
    }
    write_at(ext_path(&conf, 0), 196, "\xFF\xFF", 2);
    for (int i = 0; i < 2; i++)
        if (truncate(ext_path(&conf, i), EXT_SIZE))
            exit(2);
    s = test_open(&conf);
    check_all(s, 9, "units with bit maps, key off");
    test_close(s);
    conf.queue_ext = true;
    s = test_open(&conf);
    check_all(s, 9, "units with bit maps");
    fill(s, 30);
    check_all(s, 39, "... and others behind them");
    is_int(code_in_queue(&conf, 9), INT64_MIN + EXT_SIZE + 56, "the first one stands right behind");
    test_close(s);
    for (int i = 0; i < 9; i++) {
        unit[1] = 28;
        be64_put(unit + 2, (uint64_t)code_of(i));
        memset(unit + 20, 0xA0 + i, 8);
        read_at(ext_path(&conf, i / 7), i % 7 * 28, have, sizeof have);
        if (memcmp(unit, have, sizeof have))
            break;
        at = i;
    }
    is_int(at, 8, "the bit maps are as they were");
    test_clean(&conf);
}

static void test_kill(void)
{
    struct store_conf conf = ext_conf();
    unsigned char stale[EXT_UNIT_MIN], zeros[EXT_UNIT_MIN] = {0};
    struct store *s;

    fill_and_die(&conf, 25);
    ext_unit_put(stale, 4711, 1);            /* was written, its queue unit was not */
    write_at(ext_path(&conf, 2), 5 * 20, stale, sizeof stale);
    s = test_open(&conf);
    check_all(s, 25, "after a kill");
    is_int(count_named(&conf, 25), 25, "all units have theirs");
    read_at(ext_path(&conf, 2), 5 * 20, stale, sizeof stale);
    ok(memcmp(stale, zeros, sizeof zeros) == 0, "one that no queue unit names is dropped");
    fill(s, 1);
    is_int(code_in_queue(&conf, 25), INT64_MIN + 2 * EXT_SIZE + 100, "... and its place is used again");
    test_close(s);
    for (int n = 26, round = 0; round < 6; round++, n += 7) {
        fill_and_die(&conf, 7);
        s = test_open(&conf);
        if (count_named(&conf, n + 7) != n + 7 || store_queue_max(s, queue(s)) != n + 7)
            ok(false, "round %d: %d messages have all their units", round, n + 7);
        test_close(s);
    }
    s = test_open(&conf);
    check_all(s, 26 + 42, "after more kills");
    test_close(s);
    test_clean(&conf);
}

/* The extension lost its end (power loss). */
static void test_torn(void)
{
    int wrong = 0;

    for (int at = 0; at <= 5 * 20; at += 7) {
        struct store_conf conf = ext_conf();
        struct store *s;
        bool right;
        fill_and_die(&conf, 15);
        if (truncate(ext_path(&conf, 1), at))
            exit(2);
        s = test_open(&conf);
        fill(s, 10);
        filtered(s, 25, &right);
        if (!right || store_queue_max(s, queue(s)) != 25)
            printf("# cut at %d: wrong\n", at), wrong++;
        test_close(s);
        s = test_open(&conf);
        filtered(s, 25, &right);
        wrong += !right;
        test_close(s);
        test_clean(&conf);
    }
    is_int(wrong, 0, "cut at a byte and then a crash: tag codes are made good from the log");
}

static void test_lost(void)
{
    struct store_conf conf = ext_conf();
    struct store *s = test_open(&conf);
    struct wanted w = {.code = 1};
    struct store_filter f = {.by_tags_code = is_wanted, .arg = &w};
    struct store_result *r;
    struct store_entry e;

    fill(s, 35);
    test_close(s);
    clean_dir(&conf, "consumequeue_ext");
    s = test_open(&conf);
    r = store_get(s, queue(s), 0, &test_limits, &f);
    ok(r->status == STORE_FOUND && r->n_messages == 32 && w.n == 0, "all lost, clean stop: filters let through what they cannot judge");
    store_release(r);
    ok(store_entry(s, queue(s), 7, &e) == 0 && e.tags_code == code_of(7), "an entry takes the tag code from the record");
    fill(s, 3);
    r = store_get(s, queue(s), 35, &test_limits, &f);
    ok(r->status == STORE_NO_MATCHED_MESSAGE && w.n == 3, "new messages have theirs");
    store_release(r);
    test_close(s);

    clean_dir(&conf, "consumequeue_ext");
    write_at(path_in(&conf, "abort"), 0, "1", 1);
    s = test_open(&conf);
    check_all(s, 38, "all lost, and a crash");
    fill(s, 12);
    check_all(s, 50, "... and more messages");
    test_close(s);

    clean_dir(&conf, "consumequeue");
    write_at(path_in(&conf, "abort"), 0, "1", 1);
    s = test_open(&conf);
    check_all(s, 50, "the queue is lost");
    is_int(count_named(&conf, 50), 50, "... every unit is made again");
    ok(exists(ext_path(&conf, 4)) && !exists(ext_path(&conf, 5)), "... once, from the start");
    test_close(s);
    test_clean(&conf);
}

/* Anything in the extension's files or in the units' addresses: nothing is lost that the log has. */
static void test_garbage(void)
{
    unsigned seed = (unsigned)getpid();
    int wrong = 0;

    printf("# seed %u\n", seed);
    for (int round = 0; round < 16; round++) {
        struct store_conf conf = ext_conf();
        struct store *s = test_open(&conf);
        int64_t bad;
        bool right;
        fill(s, 35);
        test_close(s);
        for (int i = 0; i < 30; i++) {
            unsigned char byte[8];
            bool in_queue = i % 3 == 0;
            for (int k = 0; k < 8; k++)
                byte[k] = (unsigned char)(rand_r(&seed) >> 7);
            byte[0] |= (unsigned char)(in_queue ? 0x80 : 0);
            if (in_queue && i % 2)
                byte[0] = 0x80, byte[1] = byte[2] = byte[3] = byte[4] = byte[5] = 0;
            write_at(in_queue ? path_in(&conf, QUEUE_FILE) : ext_path(&conf, rand_r(&seed) % 4),
                     in_queue ? rand_r(&seed) % 35 * UNIT_SIZE + 12 : rand_r(&seed) % (EXT_SIZE - 8), byte, in_queue ? 8 : 1 + i % 8);
        }
        if (round % 2)
            write_at(path_in(&conf, "abort"), 0, "1", 1);
        conf.queue_ext = round % 4 < 2;
        s = test_open(&conf);
        fill(s, 15);
        if (test_read_all(s, queue(s), 0, &bad) != 50 || bad)
            printf("# round %d: %" PRId64 " bad\n", round, bad), wrong++;
        filtered(s, 50, &right);
        if (round % 2 && !right)
            printf("# round %d: tags are wrong after a crash\n", round), wrong++;
        for (int64_t i = 0; i < 50; i++) {
            struct store_entry e;
            wrong += store_entry(s, queue(s), i, &e) != 0;
        }
        test_close(s);
        test_clean(&conf);
    }
    is_int(wrong, 0, "garbage in units and addresses: every message is read; after a crash every tag is right");
}

static void test_foreign_size(void)
{
    struct store_conf conf = ext_conf();
    unsigned char before[EXT_SIZE], after[EXT_SIZE];
    struct store *s = test_open(&conf);
    int64_t bad;

    fill(s, 25);
    test_close(s);
    read_at(ext_path(&conf, 1), 0, before, sizeof before);
    conf.queue_ext_file_size = EXT_SIZE - 20;
    s = test_open(&conf);
    fill(s, 5);
    is_int(test_read_all(s, queue(s), 0, &bad), 30, "files of another size than configured: messages come and go");
    is_int(code_in_queue(&conf, 27), code_of(27), "... units hold tag codes");
    read_at(ext_path(&conf, 1), 0, after, sizeof after);
    ok(memcmp(before, after, sizeof before) == 0, "... and the files are left alone");
    test_close(s);
    conf.queue_ext_file_size = EXT_SIZE;
    s = test_open(&conf);
    check_all(s, 30, "with the right size again");
    test_close(s);
    test_clean(&conf);
}

static void ask_rules(void *ctx, struct store_retention *out) { *out = *(struct store_retention *)ctx; }

static void test_expiry(void)
{
    struct store_conf conf = ext_conf();
    struct store_retention rules = {.delete_when = "04", .clean_resource_interval = 3600000, .file_reserved_time = 1,
        .disk_max_used_space_ratio = 99, .disk_space_clean_forcibly_ratio = 99, .disk_space_warning_level_ratio = 100,
        .delete_file_batch_max = 100};
    struct store *s;
    int64_t min;
    int files;

    conf.retention = ask_rules;
    conf.retention_ctx = &rules;
    s = test_open(&conf);
    fill(s, 1000);
    for (int i = 0; i < 3; i++) {
        char path[4096];
        mapped_file_path(s->log.dir, file_list_base(&s->log.files, i), path, sizeof path);
        utimensat(AT_FDCWD, path, (struct timespec[]){{.tv_sec = 1}, {.tv_sec = 1}}, 0);
    }
    store_expire_now(s);
    is_int(retention_round(s, wall_ms()), 3, "old files expire");
    ok(store_expire_queues(s, &files) == 0, "... and the queue with them");
    min = store_queue_min(s, queue(s));
    ok(min > 300, "the queue begins at %" PRId64, min);
    ok(!exists(ext_path(&conf, 0)) && !exists(ext_path(&conf, (int)min / PER_FILE - 1)), "the extension's files before it are gone");
    ok(exists(ext_path(&conf, (int)min / PER_FILE)), "the one with its first unit is there");
    bool right;
    filtered(s, 1000, &right);
    ok(right, "filters see the rest");
    fill(s, 10);
    test_close(s);
    s = test_open(&conf);
    filtered(s, 1010, &right);
    ok(right && store_queue_min(s, queue(s)) == min, "... also after a restart");

    struct store_queue *other = store_queue(s, str_of("TopicB"), 3);
    struct store_put put;
    if (test_append(s, other, 0, &put))
        exit(2);
    ok(store_delete_topic(s, str_of("TopicA")) == 0 && !exists(path_in(&conf, "consumequeue_ext/TopicA")), "a topic's goes with the topic");
    ok(exists(path_in(&conf, "consumequeue_ext/TopicB/3/00000000000000000000")), "... another's stays");
    test_close(s);
    test_clean(&conf);
}

static void test_maps(void)
{
    struct store_conf conf = ext_conf();
    struct store *s;
    int right = 0, good = 0;

    conf.max_queue_maps = 20;
    s = test_open(&conf);
    for (int round = 0; round < 15; round++)
        for (int i = 0; i < 40; i++) {
            struct store_put put;
            if (test_append(s, store_queue(s, str_of("TopicA"), i), round, &put))
                exit(2);
        }
    for (int i = 0; i < 40; i++) {
        int64_t bad;
        struct store_entry e;
        good += (int)test_read_all(s, store_queue(s, str_of("TopicA"), i), 0, &bad);
        right += store_entry(s, store_queue(s, str_of("TopicA"), i), 11, &e) == 0 && e.tags_code == code_of(11);
    }
    struct store_stats st;
    store_stats(s, &st);
    ok(st.queue_maps <= 20 + 8, "40 queues with their extensions have %" PRId64 " files mapped", st.queue_maps);
    ok(good == 600 && right == 40, "all of them read right: %d, %d", good, right);
    test_close(s);
    test_clean(&conf);
}

static void test_snapshot(void)
{
    struct store_conf conf = ext_conf(), copy;
    struct store *s = test_open(&conf);
    struct snapshot_point p;
    struct fault f = {0};
    char dir[300];

    snprintf(dir, sizeof dir, "%s/snapshots/s", conf.root);
    dir_make(path_in(&conf, "snapshots"));
    fill(s, 45);
    ok(store_snapshot(s, dir, 0, &p, &f) == 0, "a snapshot: %s", f.text);
    fill(s, 30);
    copy = conf;
    copy.root = dir;
    copy.commit_log = NULL;
    struct store *c = test_open(&copy);
    check_all(c, 45, "the snapshot");
    is_int(count_named(&copy, 45), 45, "... has the extension");
    fill(c, 5);
    check_all(c, 50, "... and goes on by itself");
    test_close(c);
    check_all(s, 75, "the store itself");
    test_close(s);
    test_clean(&conf);
}

/* The store's other tests once more, with extensions. MQ_SOAK: those that take longer too. */
static void test_others(const char *self)
{
    static const char *const names[] = {"store_threads", "retention", "bus", "store_faults", "store_recover", "queue_maps"};
    const char *slash = strrchr(self, '/');

    setenv("MQ_TEST_EXT", "1", 1);       /* test_conf sees it */
    for (size_t i = 0; i < (getenv("MQ_SOAK") ? 6 : 3); i++) {
        char path[2048], command[2100];
        snprintf(path, sizeof path, "%.*s%s", slash ? (int)(slash + 1 - self) : 0, self, names[i]);
        snprintf(command, sizeof command, "'%s' >/dev/null", path);
        if (access(path, X_OK) == 0)
            is_int(system(command), 0, "%s passes with extensions too", names[i]);
        else
            printf("# %s is not built: left out\n", names[i]);
    }
}

int main(int argc, char **argv)
{
    test_tmp = test_memory();
    test_unit();
    test_format();
    test_key_off();
    test_bit_maps();
    test_kill();
    test_torn();
    test_lost();
    test_garbage();
    test_foreign_size();
    test_expiry();
    test_maps();
    test_snapshot();
    test_others(argv[0]);
    return tap_done();
}
