/* The saver over a table of its own: what it waits for, how many writes many
 * changes take, a disk that refuses, what is written at the end. (R-TOP-03, R-OFF-03) */
#include "broker/saver.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "tests/unit/tap.h"

struct table {
    atomic_int_fast64_t value;       /* is its own generation */
    atomic_int encodes;
};

static char dir[] = "/tmp/mqfs-saver-XXXXXX";
static struct table t;
static struct saver *s;
static struct fault f;

static void encode(void *ctx, struct buf *out)
{
    struct table *table = ctx;

    atomic_fetch_add(&table->encodes, 1);
    buf_i64(out, atomic_load(&table->value));
}

static int64_t changes(void *ctx) { return atomic_load(&((struct table *)ctx)->value); }

static void open_saver(int32_t period)
{
    struct saved_file files[] = {{"asked.json", encode, changes, 0},
                                 {"periodic.json", encode, changes, period}};

    if (saver_open(dir, files, 2, &t, &s, &f)) {
        printf("Bail out! %s\n", f.text);
        exit(2);
    }
}

static const char *path_of(const char *name)
{
    static _Thread_local char path[100];     /* test_shared reads with several threads */

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

/* What the file holds; -1: there is none. */
static int64_t in_file(const char *name)
{
    struct buf b = {0};
    int64_t v = -1;

    if (file_read(path_of(name), 100, &b) == 0)
        str_i64(buf_str(&b), &v);
    buf_free(&b);
    return v;
}

static bool becomes(const char *name, int64_t value)
{
    for (int64_t end = mono_ms() + 10000; mono_ms() < end; usleep(2000))
        if (in_file(name) == value)
            return true;
    return false;
}

static void test_save(void)
{
    atomic_store(&t.value, 5);
    open_saver(0);
    is_int(saver_save(s, "asked.json", &f), 0, "nothing has changed since it was loaded");
    is_int(in_file("asked.json"), -1, "so nothing is written");
    atomic_store(&t.value, 6);
    is_int(saver_save(s, "asked.json", &f), 0, "a change is saved");
    is_int(in_file("asked.json"), 6, "before the call returns");
    is_int(in_file("periodic.json"), -1, "the other file is not asked for");
    is_int(saver_save(s, "nothing.json", &f), -ENOENT, "a file that is none: %s", f.text);
}

static void test_refusal(void)
{
    if (mkdir(path_of("asked.json.tmp"), 0700))
        exit(2);
    atomic_store(&t.value, 7);
    ok(saver_save(s, "asked.json", &f) < 0 && f.err && strstr(f.text, "asked.json"),
       "a save that fails says so: %s", f.text);
    is_int(in_file("asked.json"), 6, "the file is as it was");
    ok(saver_save(s, "asked.json", &f) < 0, "and the next is tried, and fails, too");
    rmdir(path_of("asked.json.tmp"));
    is_int(saver_save(s, "asked.json", &f), 0, "then one succeeds");
    is_int(in_file("asked.json"), 7, "with all that had changed");
    is_int(in_file("asked.json.bak"), 6, "the old one is kept beside it");
}

#define THREADS 8
#define ROUNDS 25

static void *change_many(void *arg)
{
    struct fault why;

    for (int i = 0; i < ROUNDS; i++) {
        int64_t mine = atomic_fetch_add(&t.value, 1) + 1;
        if (saver_save(s, "asked.json", &why) || in_file("asked.json") < mine)
            return arg;
    }
    return NULL;
}

static void test_shared(void)
{
    pthread_t all[THREADS];
    int failed = 0, before = atomic_load(&t.encodes);

    for (int i = 0; i < THREADS; i++)
        pthread_create(&all[i], NULL, change_many, &t);
    for (int i = 0; i < THREADS; i++) {
        void *result;
        pthread_join(all[i], &result);
        failed += result != NULL;
    }
    is_int(failed, 0, "each of %d changes is on disk when its save returns", THREADS * ROUNDS);
    ok(atomic_load(&t.encodes) - before <= THREADS * ROUNDS, "with %d writes",
       atomic_load(&t.encodes) - before);
}

static void test_soon_and_close(void)
{
    atomic_store(&t.value, 1000);
    saver_soon(s, "asked.json");
    ok(becomes("asked.json", 1000), "what is asked for without waiting comes soon");
    saver_soon(s, "nothing.json");
    atomic_store(&t.value, 1001);
    is_int(saver_close(s), 0, "the end");
    ok(in_file("asked.json") == 1001 && in_file("periodic.json") == 1001, "writes what had changed");
    open_saver(20);
    atomic_store(&t.value, 1002);
    ok(becomes("periodic.json", 1002), "a periodic file is written without anybody asking");
    is_int(in_file("asked.json"), 1001, "the other is not");
    if (mkdir(path_of("periodic.json.tmp"), 0700))
        exit(2);
    atomic_store(&t.value, 1003);
    usleep(60000);
    rmdir(path_of("periodic.json.tmp"));
    ok(becomes("periodic.json", 1003), "and again when the disk took it not at once");
    saver_close(s);
}

int main(void)
{
    static const char *const names[] = {"asked.json", "asked.json.bak", "periodic.json",
                                        "periodic.json.bak"};

    log_open("/dev/null", LOG_ERROR);
    if (!mkdtemp(dir)) {
        perror("# mkdtemp");
        return 2;
    }
    test_save();
    test_refusal();
    test_shared();
    test_soon_and_close();
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        unlink(path_of(names[i]));
    rmdir(dir);
    return tap_done();
}
