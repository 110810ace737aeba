/* How long a start takes, beside the mere reading of the commit log.
 *
 *     store_recover make DIR MIB      a store of so many MiB of 1 KiB messages in 8 queues, stopped cleanly
 *     store_recover CASE DIR [cold]   ms=... bytes=... on one line; cold: the store's pages are dropped before. CASE:
 *         cat      reads the log's bytes, as cat does, and does nothing with them
 *         clean    opens the store as it was left: a clean stop
 *         crash    opens it as after a crash without a checkpoint: all of the log is read and compared with the queues
 *         rebuild  the same, and all queues are gone
 *
 * Each leaves the store as it found it. */
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "store/store.h"

#define QUEUES 8
#define AT_ONCE (128 * 1024)             /* as cat reads */

static const char *root;

static void die(const char *what)
{
    perror(what);
    exit(2);
}

static const char *path_of(const char *name)
{
    static char path[4096];

    snprintf(path, sizeof path, "%s/%s", root, name);
    return path;
}

static struct store *open_store(int64_t *ms)
{
    struct store_conf conf = {.root = root, .check_crc_on_recover = true, .hot_bytes = (int64_t)1 << 40};
    int64_t began = mono_ms();
    struct fault f = {0};
    struct store *s;

    if (store_open(&conf, &s, &f)) {
        fprintf(stderr, "%s\n", f.text);
        exit(2);
    }
    if (ms)
        *ms = mono_ms() - began;
    return s;
}

static void make(int64_t mib)
{
    struct store *s = open_store(NULL);
    char body[1024], props[96];
    struct message m = {.body = {body, sizeof body}};
    struct store_put put = {0};
    struct fault f = {0};

    for (size_t i = 0; i < sizeof body; i++)
        body[i] = (char)('a' + i % 26);
    for (int64_t i = 0; put.end < mib << 20; i++) {
        m.properties = str_n(props, (size_t)snprintf(props, sizeof props, "UNIQ_KEY\001%032lld\002TAGS\001t\002", (long long)i));
        m.born_timestamp = wall_ms();
        if (store_append(s, store_queue(s, str_of("RecoverTopic"), (int32_t)(i % QUEUES)), &m, 116, &put, &f)) {
            fprintf(stderr, "%s\n", f.text);
            exit(2);
        }
    }
    if (store_close(s))
        exit(2);
}

static int drop_pages(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    int fd = flag == FTW_F ? open(path, O_RDONLY) : -1;

    (void)st;
    (void)ftw;
    if (fd < 0)
        return 0;
    if (fdatasync(fd) || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED))
        die(path);
    return close(fd);
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

/* Reads one file of the log, of which `left` bytes are messages. */
static int64_t read_file(const char *path, int64_t left)
{
    static char chunk[AT_ONCE];
    int fd = open(path, O_RDONLY);
    int64_t sum = 0;
    ssize_t n = 0;

    if (fd < 0)
        die(path);
    while (left > 0 && (n = read(fd, chunk, left < AT_ONCE ? (size_t)left : AT_ONCE)) > 0) {
        sum += n;
        left -= n;
    }
    if (n < 0)
        die(path);
    close(fd);
    return sum;
}

static int64_t log_end(void)
{
    struct store *s = open_store(NULL);
    struct store_stats st;

    store_stats(s, &st);
    store_close(s);
    return st.log_max;
}

static void crash(void)
{
    int fd = open(path_of("abort"), O_WRONLY | O_CREAT, 0644);

    if (fd < 0 || close(fd) || (truncate(path_of("checkpoint"), 0) && access(path_of("checkpoint"), F_OK) == 0))
        die("pretend a crash");
}

static int64_t run(const char *what, bool cold, int64_t bytes)
{
    int64_t ms, began;
    struct store *s;

    if (strcmp(what, "crash") == 0 || strcmp(what, "rebuild") == 0)
        crash();
    if (strcmp(what, "rebuild") == 0 && nftw(path_of("consumequeue"), remove_one, 16, FTW_DEPTH | FTW_PHYS))
        die("remove the queues");
    sync();
    if (cold && nftw(root, drop_pages, 16, FTW_PHYS))
        die("drop the pages");
    if (strcmp(what, "cat") != 0) {
        s = open_store(&ms);
        return store_close(s) ? -1 : ms;
    }
    began = mono_ms();
    for (int64_t at = 0, n; at < bytes; at += n) {
        char name[64];
        snprintf(name, sizeof name, "commitlog/%020lld", (long long)at);
        if ((n = read_file(path_of(name), bytes - at)) <= 0)
            die(name);
    }
    return mono_ms() - began;
}

int main(int argc, char **argv)
{
    static const char *const cases[] = {"cat", "clean", "crash", "rebuild"};
    int64_t bytes, ms;

    root = argc > 2 ? argv[2] : NULL;
    if (argc == 4 && strcmp(argv[1], "make") == 0) {
        make(atoll(argv[3]));
        return 0;
    }
    for (size_t i = 0; argc > 2 && i < sizeof cases / sizeof *cases; i++) {
        if (strcmp(argv[1], cases[i]) != 0)
            continue;
        bytes = log_end();
        ms = run(cases[i], argc > 3 && strcmp(argv[3], "cold") == 0, bytes);
        printf("%s ms=%lld bytes=%lld\n", cases[i], (long long)ms, (long long)bytes);
        return ms < 0;
    }
    fprintf(stderr, "usage: store_recover make DIR MIB | cat|clean|crash|rebuild DIR [cold]\n");
    return 2;
}
