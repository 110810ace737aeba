/* A small store in a directory of its own, for the store's unit tests. Messages are
 * numbered; body and properties follow from the number, so each can be checked. */
#ifndef TESTS_UNIT_STORE_HELP_H
#define TESTS_UNIT_STORE_HELP_H

#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "store/store.h"

static const struct store_limits test_limits = {
    .max_messages = 32, .max_bytes = 262144, .max_messages_cold = 8, .max_bytes_cold = 65536,
};

/* Where stores are made; NULL: /tmp. */
__attribute__((unused)) static const char *test_tmp;

/* A place that costs no syncs, for what is not about the disk: /dev/shm where it has 1 GiB of room (containers often
 * have 64 MiB); else NULL. */
__attribute__((unused)) static const char *test_memory(void)
{
    struct statvfs v;

    return access("/dev/shm", W_OK) == 0 && statvfs("/dev/shm", &v) == 0 && v.f_bavail >= (1u << 30) / v.f_frsize ? "/dev/shm" : NULL;
}

/* Files of 64 KiB and 200 units, so that a few hundred messages need several. */
__attribute__((unused)) static struct store_conf test_conf(void)
{
    static char dirs[64][64];
    static int n;
    struct store_conf conf = {
        .commit_log_file_size = 65536, .consume_queue_file_size = 4000, .max_message_size = 60000,
        .check_crc_on_recover = true, .hot_bytes = 1 << 30,
        .delay_ms = {0, 1000, 5000, 10000}, .n_delay = 3,
        .queue_ext = getenv("MQ_TEST_EXT") != NULL, .queue_ext_file_size = 2004,
    };
    char *dir = dirs[n++ % 64];

    snprintf(dir, 64, "%s/mqfs-store-XXXXXX", test_tmp ? test_tmp : "/tmp");
    if (!mkdtemp(dir)) {
        perror("mkdtemp");
        exit(2);
    }
    conf.root = dir;
    return conf;
}

__attribute__((unused)) static struct store *test_open(const struct store_conf *conf)
{
    struct store *s;
    struct fault f = {0};

    if (store_open(conf, &s, &f)) {
        printf("Bail out! store_open %s: %s\n", conf->root, f.text);
        exit(2);
    }
    return s;
}

__attribute__((unused)) static void test_close(struct store *s)
{
    int rc = store_close(s);

    if (rc) {
        printf("Bail out! store_close: %d\n", rc);
        exit(2);
    }
}

static int test_unlink(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

__attribute__((unused)) static void test_clean(const struct store_conf *conf)
{
    nftw(conf->root, test_unlink, 16, FTW_DEPTH | FTW_PHYS);
}

/* Body and properties of message number i; 20 to about 420 bytes. */
static size_t test_body(int64_t i, char out[512])
{
    size_t n = (size_t)snprintf(out, 512, "message %" PRId64 " ", i), want = 20 + (size_t)((uint64_t)i * 37 % 400);

    while (n < want) {
        out[n] = (char)('a' + ((uint64_t)i + n) % 26);
        n++;
    }
    return n;
}

__attribute__((unused)) static bool test_body_is(const struct message *m, int64_t i)
{
    char want[512];
    size_t n = test_body(i, want);

    return m->body.n == n && memcmp(m->body.p, want, n) == 0;
}

__attribute__((unused)) static struct message test_message(int64_t i, char body[512], char props[128])
{
    struct message m = {.flag = (int32_t)i, .born_timestamp = 1700000000000 + i, .reconsume_times = 0};

    m.born_host = (struct host){.ip = {192, 0, 2, 7}, .port = 5000};
    m.store_host = (struct host){.ip = {127, 0, 0, 1}, .port = 10911};
    m.body = str_n(body, test_body(i, body));
    m.properties = str_n(props, (size_t)snprintf(props, 128, "TAGS\001Tag%d\002KEYS\001key-%" PRId64 "\002",
                                                 (int)(i % 3), i));
    return m;
}

__attribute__((unused)) static int test_append(struct store *s, struct store_queue *q, int64_t i, struct store_put *put)
{
    char body[512], props[128];
    struct message m = test_message(i, body, props);
    struct fault f = {0};
    int rc = store_append(s, q, &m, message_tags_code(m.properties), put, &f);

    if (rc)
        printf("# append: %s\n", f.text);
    return rc;
}

/* As who serves a client reads: what is far is touched, and gotten once more when it is not right. */
__attribute__((unused)) static struct store_result *test_get(struct store *s, struct store_queue *q, int64_t at,
                                                             const struct store_limits *limits)
{
    struct store_result *r = store_get(s, q, at, limits, NULL);
    struct store_limits again = *limits;

    if (!r || !r->far || store_bring(s, r, false) == 0)
        return r;
    store_release(r);
    again.touched = true;
    return store_get(s, q, at, &again, NULL);
}

/* Reads the queue from min to max, one pull after the other, and checks each record against its number
 * (number = queue offset + shift). How many were right; *bad: how many were not. */
__attribute__((unused)) static int64_t test_read_all(struct store *s, struct store_queue *q, int64_t shift, int64_t *bad)
{
    int64_t at = store_queue_min(s, q), good = 0;

    *bad = 0;
    while (at < store_queue_max(s, q)) {
        struct store_result *r = test_get(s, q, at, &test_limits);
        int64_t expect = at;
        if (!r || r->next_begin <= at) {
            store_release(r);
            *bad += 1000000;
            break;
        }
        for (int i = 0; i < r->n_iov; i++) {
            const char *p = r->iov[i].iov_base, *end = p + r->iov[i].iov_len;
            struct message m;
            while (p < end && message_record_get(p, (size_t)(end - p), true, &m) == 0) {
                if (m.queue_offset == expect && test_body_is(&m, expect + shift) && m.flag == expect + shift)
                    good++;
                else
                    ++*bad;
                expect++;
                p += m.size;
            }
            *bad += p != end;
        }
        *bad += r->next_begin - expect;
        at = r->next_begin;
        store_release(r);
    }
    return good;
}

#endif
