/* What many small queues cost: memory at rest, the start, maps and descriptors.
 *
 *     store_queues DIR TOPICS QUEUES     makes a store in DIR (which must not exist) with one message in each queue,
 *                                        closes it, opens it again, and asks each queue for its ends
 *
 * The result is one line of key=value. Drop the page cache in between by hand for a start from a cold disk: with DIR
 * existing, only the second half is done. */
#include <dirent.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "store/store.h"

static struct store *open_store(const char *dir)
{
    struct store_conf conf = {.root = dir, .commit_log_file_size = 1 << 30, .consume_queue_file_size = 6000000,
                              .check_crc_on_recover = true, .hot_bytes = (int64_t)1 << 33};
    struct store *s;
    struct fault f = {0};

    if (store_open(&conf, &s, &f)) {
        fprintf(stderr, "%s\n", f.text);
        exit(2);
    }
    return s;
}

/* Anonymous memory: mapped store files do not count. */
static long resident_kib(void)
{
    FILE *f = fopen("/proc/self/status", "r");
    char line[256];
    long kib = 0;

    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "RssAnon: %ld", &kib) == 1)
            break;
    if (f)
        fclose(f);
    return kib;
}

static int descriptors(void)
{
    DIR *d = opendir("/proc/self/fd");
    int n = -3;                      /* ".", "..", and this one */

    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n;
}

static struct store_queue *queue(struct store *s, int topic, int id)
{
    char name[64];

    snprintf(name, sizeof name, "orders-of-department-%06d", topic);
    return store_queue(s, str_of(name), id);
}

static int64_t each_queue(struct store *s, int topics, int queues, int64_t (*fn)(struct store *s, struct store_queue *q))
{
    int64_t sum = 0;

    for (int t = 0; t < topics; t++)
        for (int i = 0; i < queues; i++)
            sum += fn(s, queue(s, t, i));
    return sum;
}

static int64_t append(struct store *s, struct store_queue *q)
{
    char body[64];
    struct message m = {.born_timestamp = wall_ms()};
    struct store_put put;
    struct fault f = {0};

    memset(body, 'x', sizeof body);
    m.body = str_n(body, sizeof body);
    if (store_append(s, q, &m, 0, &put, &f)) {
        fprintf(stderr, "%s\n", f.text);
        exit(2);
    }
    return 1;
}

static int64_t ends(struct store *s, struct store_queue *q) { return store_queue_max(s, q) - store_queue_min(s, q); }

static void make(const char *dir, int topics, int queues)
{
    int64_t at = mono_ms();
    struct store *s = open_store(dir);
    struct store_stats st;

    each_queue(s, topics, queues, append);
    store_stats(s, &st);
    printf("made_ms=%lld maps=%lld fds=%d ", (long long)(mono_ms() - at), (long long)st.queue_maps, descriptors());
    at = mono_ms();
    store_close(s);
    printf("close_ms=%lld\n", (long long)(mono_ms() - at));
    fflush(stdout);
}

int main(int argc, char **argv)
{
    int topics = argc > 2 ? atoi(argv[2]) : 0, queues = argc > 3 ? atoi(argv[3]) : 0;
    long rest, loaded, before;
    int64_t at, open_ms, named_ms, messages;
    struct store *s;

    if (argc != 4 || topics < 1 || queues < 1) {
        fprintf(stderr, "usage: store_queues DIR TOPICS QUEUES\n");
        return 2;
    }
    if (access(argv[1], F_OK) != 0) {
        make(argv[1], topics, queues);
        malloc_trim(0);
    }
    before = resident_kib();
    at = mono_ms();
    s = open_store(argv[1]);
    open_ms = mono_ms() - at;
    for (int t = 0; t < topics; t++)     /* as the broker names the queues of the topics it knows */
        for (int i = 0; i < queues; i++)
            queue(s, t, i);
    named_ms = mono_ms() - at;
    rest = resident_kib();
    at = mono_ms();
    messages = each_queue(s, topics, queues, ends);
    loaded = resident_kib();
    printf("queues=%d open_ms=%lld named_ms=%lld rest_bytes_a_queue=%ld all_ends_ms=%lld loaded_bytes_a_queue=%ld messages=%lld fds=%d\n",
           topics * queues, (long long)open_ms, (long long)named_ms, (rest - before) * 1024 / (topics * queues), (long long)(mono_ms() - at),
           (loaded - before) * 1024 / (topics * queues), (long long)messages, descriptors());
    store_close(s);
    return messages == (int64_t)topics * queues ? 0 : 1;
}
