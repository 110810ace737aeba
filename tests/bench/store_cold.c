/* Does a reader of what is long out of memory make appends wait?
 *
 *     store_cold DIR TOPIC QUEUES SECONDS ROUNDS
 *
 * DIR is a store with messages in TOPIC, whose pages the page cache does not have. In turns alone and beside a thread
 * that reads TOPIC from its start on: 20,000 appends of 1 KiB a second, 20 at each millisecond. Times are those of
 * store_append, in microseconds. One line of key=value a turn. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "store/store.h"

#define A_TICK 20
#define TICK_NS 1000000

static struct store *s;
static const char *topic;
static int queues;
static _Atomic bool stop;
static _Atomic int64_t read_bytes, cold_results;
static int64_t place[64];                /* where the reader is in each queue */

static int64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* As a worker of the broker does it: the limits of the disk, what is cold is touched. */
static void *reader(void *arg)
{
    static const struct store_limits limits = {.max_messages = 32, .max_bytes = 262144, .max_messages_cold = 8,
                                               .max_bytes_cold = 65536};

    (void)arg;
    for (int i = 0; !stop; i = (i + 1) % queues) {
        struct store_result *r = store_get(s, store_queue(s, str_of(topic), i), place[i], &limits, NULL);
        if (!r)
            break;
        if (r->far)
            store_touch(r);
        cold_results += r->cold;
        read_bytes += r->bytes;
        place[i] = r->next_begin;
        store_release(r);
    }
    return NULL;
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static size_t append_for(double seconds, int64_t *times)
{
    struct store_queue *q = store_queue(s, str_of("Hot"), 0);
    char body[1024];
    struct message m = {.born_timestamp = 1};
    size_t n = 0;
    int64_t due = now_ns(), end = due + (int64_t)(seconds * 1e9);

    memset(body, 'x', sizeof body);
    m.body = str_n(body, sizeof body);
    for (; due < end; due += TICK_NS) {
        struct timespec t = {due / 1000000000, due % 1000000000};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
        for (int i = 0; i < A_TICK; i++) {
            struct store_put put;
            struct fault f = {0};
            int64_t from = now_ns();
            if (store_append(s, q, &m, 0, &put, &f)) {
                fprintf(stderr, "%s\n", f.text);
                exit(1);
            }
            times[n++] = now_ns() - from;
        }
    }
    return n;
}

static void turn(const char *what, double seconds, int64_t *times)
{
    size_t n = append_for(seconds, times);

    qsort(times, n, sizeof *times, by_value);
    printf("%s appends=%zu p50_us=%.1f p99_us=%.1f p999_us=%.1f max_us=%.1f read_mib=%lld cold_results=%lld\n", what, n,
           (double)times[n / 2] / 1000, (double)times[n * 99 / 100] / 1000, (double)times[n * 999 / 1000] / 1000,
           (double)times[n - 1] / 1000, (long long)(read_bytes >> 20), (long long)cold_results);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    struct store_conf conf = {.root = argc > 1 ? argv[1] : NULL, .hot_bytes = (int64_t)256 << 20};
    double seconds = argc > 4 ? atof(argv[4]) : 0;
    int64_t *times = malloc(((size_t)(seconds * 1000) + 2) * A_TICK * sizeof *times);
    struct fault f = {0};

    queues = argc > 3 ? atoi(argv[3]) : 0;
    if (argc != 6 || queues < 1 || queues > 64 || seconds <= 0 || !times || store_open(&conf, &s, &f)) {
        fprintf(stderr, "store_cold DIR TOPIC QUEUES SECONDS ROUNDS %s\n", f.text);
        return 2;
    }
    topic = argv[2];
    append_for(1, times);
    for (int i = 0; i < atoi(argv[5]); i++) {
        pthread_t t;
        turn("alone", seconds, times);
        stop = false;
        read_bytes = cold_results = 0;
        if (pthread_create(&t, NULL, reader, NULL))
            return 2;
        turn("beside_cold_reads", seconds, times);
        stop = true;
        pthread_join(t, NULL);
    }
    free(times);
    return store_close(s) ? 1 : 0;
}
