/* check_store on stores made here: clean ones of several shapes, no store, and garbage at random places of every kind
 * of file, which must give findings or none and never more. */
#include "tests/unit/tap.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <time.h>

#include "common/file.h"
#include "store/check.h"
#include "store/index_file.h"
#include "tests/unit/store_help.h"

#define ROUNDS 150

struct seen {
    int64_t findings, notes;
    char first[600];
};

static void on_finding(void *ctx, const char *path, int64_t offset, const char *what)
{
    struct seen *s = ctx;

    if (!s->findings++)
        snprintf(s->first, sizeof s->first, "%s %" PRId64 " %s", strrchr(path, '/') + 1, offset, what);
}

static void on_note(void *ctx, const char *what)
{
    (void)what;
    ((struct seen *)ctx)->notes++;
}

static int look(const char *root, struct seen *seen, struct check_result *r)
{
    struct check_options o = {.root = root, .finding = on_finding, .note = on_note, .ctx = seen};
    struct fault f = {0};
    int rc;

    *seen = (struct seen){0};
    rc = check_store(&o, r, &f);
    check_result_free(r);
    if (rc)
        printf("# %s\n", f.text);
    return rc;
}

static struct store_conf filled_with(int messages, int32_t slots, int32_t entries)
{
    struct store_conf conf = test_conf();
    struct store *s;
    struct store_put put;
    char path[200];

    conf.index_enable = true;
    conf.index_slots = slots;
    conf.index_entries = entries;
    s = test_open(&conf);
    for (int i = 0; i < messages; i++)
        if (test_append(s, store_queue(s, str_of(i % 3 ? "TopicA" : "TopicB"), i % 2), i, &put))
            exit(2);
    test_close(s);
    snprintf(path, sizeof path, "%s/config", conf.root);
    dir_make(path);
    snprintf(path, sizeof path, "%s/config/topics.json", conf.root);
    file_replace(path, str_of("{\"a\":{}}"));
    return conf;
}

static struct store_conf filled(int messages) { return filled_with(messages, 100, 400); }

static void test_clean_stores(void)
{
    static const int sizes[] = {0, 1, 7, 1200};
    struct check_result r;
    struct seen seen;

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct store_conf conf = filled(sizes[i]);
        is_int(look(conf.root, &seen, &r), 0, "a store of %d messages", sizes[i]);
        is_int(seen.findings, 0, "... is clean");
        if (seen.findings)
            printf("# %s\n", seen.first);
        is_int(r.records, sizes[i], "... with that many records");
        is_int(r.units, sizes[i], "... and units");
        is_int(r.configs, 2, "... and the config with its copy");
        ok(!r.not_clean, "... stopped cleanly");
        test_clean(&conf);
    }
}

static void test_held(void)
{
    struct store_conf conf = filled(3);
    struct store *s = test_open(&conf);
    struct check_result r;
    struct seen seen;

    is_int(look(conf.root, &seen, &r), -EBUSY, "an open store is not looked at");
    test_close(s);
    is_int(look(conf.root, &seen, &r), 0, "... and when it is closed it is");
    is_int(look("/nonexistent/store", &seen, &r), -ENOENT, "no store");
    test_clean(&conf);
}

static void spoil(const char *path, uint64_t at, uint64_t random)
{
    char garbage[8];
    int fd = open(path, O_RDWR);
    int64_t size = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);

    memcpy(garbage, &random, sizeof garbage);
    if (size < 9 || (random & 15 ? pwrite(fd, garbage, 1 + random % 8, (off_t)(at % (uint64_t)(size - 8))) <= 0
                                 : ftruncate(fd, (off_t)(at % (uint64_t)size)) < 0))
        printf("# %s was not spoilt\n", path);
    close(fd);
}

/* Files of a store by a walk of it, so that the newest index file's name need not be known. */
static char files[64][256];
static int n_files;

static int add_file(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)ftw;
    if (flag == FTW_F && st->st_size > 16 && n_files < 64)
        snprintf(files[n_files++], sizeof files[0], "%s", path);
    return 0;
}

static void test_garbage(void)
{
    unsigned seed = getenv("SEED") ? (unsigned)atoi(getenv("SEED")) : (unsigned)time(NULL);
    struct store_conf conf = filled(500);
    int found = 0, odd = 0;

    printf("# SEED=%u\n", seed);
    srandom(seed);
    n_files = 0;
    nftw(conf.root, add_file, 16, FTW_PHYS);
    ok(n_files > 8, "files to spoil: %d", n_files);
    for (int i = 0; i < ROUNDS; i++) {
        struct check_result r;
        struct seen seen;
        spoil(files[random() % n_files], (uint64_t)random() % (i % 2 ? 2048 : 65536), (uint64_t)random() << 31 ^ (uint64_t)random());
        odd += look(conf.root, &seen, &r) != 0;
        found += seen.findings > 0;
    }
    is_int(odd, 0, "garbage in %d places, one after the other: always looked to the end", ROUNDS);
    ok(found > ROUNDS / 2, "... and found: in %d rounds", found);
    test_clean(&conf);
}

static void test_places(void)
{
    struct store_conf conf = filled(20);
    struct check_result r;
    struct seen seen;
    char path[200];
    int fd;

    snprintf(path, sizeof path, "%s/commitlog/%020d", conf.root, 0);
    fd = open(path, O_RDWR);
    for (int64_t at = 0; at < 36; at++) {
        unsigned char was, now;
        if (at >= 16 && at < 20)
            continue;                    /* the flag: nothing covers it */
        if (pread(fd, &was, 1, at) != 1 || (now = was ^ 0x15, pwrite(fd, &now, 1, at)) != 1)
            break;
        look(conf.root, &seen, &r);
        ok(seen.findings > 0, "byte %" PRId64 " of a record's head flipped is found: %s", at, seen.first);
        if (pwrite(fd, &was, 1, at) != 1)
            break;
    }
    close(fd);
    is_int(look(conf.root, &seen, &r), 0, "all put back");
    is_int(seen.findings, 0, "... is clean again");
    test_clean(&conf);
}

static int64_t flip_in_index(const char *root, const char *name, int64_t at)
{
    char path[300];
    unsigned char b;
    int fd;

    snprintf(path, sizeof path, "%s/index/%s", root, name);
    fd = open(path, O_RDWR);
    if (fd < 0 || pread(fd, &b, 1, at) != 1 || (b ^= 0x55, pwrite(fd, &b, 1, at)) != 1)
        at = -1;
    if (fd >= 0)
        close(fd);
    return at;
}

/* Slots and entries of any ratio are seen in the files, and by the others in one that does not show them. */
static void test_layouts(void)
{
    static const struct index_layout layouts[] = {{700, 3001}, {13, 40}, {400, 100}, {1000, 301}, {2, 500}, {999, 20000}};
    struct check_result r;
    struct seen seen;

    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
        struct index_layout l = layouts[i];
        struct store_conf conf = filled_with(300, l.slots, l.entries);
        struct dirent **names;
        char path[200];
        int n;
        is_int(look(conf.root, &seen, &r), 0, "index files of %" PRId32 " slots, %" PRId32 " entries", l.slots, l.entries);
        is_int(seen.findings, 0, "... are clean");
        if (seen.findings)
            printf("# %s\n", seen.first);
        ok(r.entries > 0, "... with %" PRId64 " entries", r.entries);
        snprintf(path, sizeof path, "%s/index", conf.root);
        n = scandir(path, &names, NULL, alphasort);
        for (int k = 0; k < n; k++) {
            if (names[k]->d_name[0] != '.') {
                flip_in_index(conf.root, names[k]->d_name, index_entry_at(l, 1));
                look(conf.root, &seen, &r);
                ok(seen.findings > 0 && strstr(seen.first, "entry"), "... a hash flipped is found: %s", seen.first);
                flip_in_index(conf.root, names[k]->d_name, index_entry_at(l, 1));
                flip_in_index(conf.root, names[k]->d_name, 36);
                look(conf.root, &seen, &r);
                ok(seen.findings > 0 && strstr(seen.first, "the next entry is"), "... and a count: %s", seen.first);
                flip_in_index(conf.root, names[k]->d_name, 36);
            }
            free(names[k]);
        }
        free(names);
        test_clean(&conf);
    }
}

int main(void)
{
    test_layouts();
    test_clean_stores();
    test_held();
    test_places();
    test_garbage();
    return tap_done();
}
