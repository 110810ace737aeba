/* A start reads none of the queues' directories: queues that nobody named yet are there all the same, for whoever
 * reads, lists, deletes or cleans them, and for recovery. (R-STORE-38) */
#include <pthread.h>
#include <unistd.h>

#include "common/be.h"
#include "common/clock.h"
#include "store/snapshot.h"
#include "store/store_impl.h"
#include "tests/unit/store_help.h"
#include "tests/unit/tap.h"

#define TOPICS 20
#define QUEUES 3
#define EACH 4                       /* messages a queue; number = queue offset */

static struct str name_of(int t, char out[32])
{
    return str_n(out, (size_t)snprintf(out, 32, "at-rest-%d", t));
}

static struct store_queue *find(struct store *s, int t, int id)
{
    char name[32];

    return store_queue_find(s, name_of(t, name), id);
}

static void make_store(const struct store_conf *conf)
{
    struct store *s = test_open(conf);
    struct store_put put;
    char name[32];
    int wrong = 0;

    for (int i = 0; i < EACH; i++)
        for (int t = 0; t < TOPICS; t++)
            for (int id = 0; id < QUEUES; id++)
                wrong += test_append(s, store_queue(s, name_of(t, name), id), i, &put) != 0;
    if (wrong) {
        printf("Bail out! %d appends failed\n", wrong);
        exit(2);
    }
    test_close(s);
}

static char *path_in(const struct store_conf *conf, const char *name)
{
    static char path[512];

    snprintf(path, sizeof path, "%s/%s", conf->root, name);
    return path;
}

/* As a crash leaves it. */
static void set_abort(const struct store_conf *conf)
{
    FILE *f = fopen(path_in(conf, "abort"), "w");

    if (!f || fclose(f))
        exit(2);
}

static void remove_in(const struct store_conf *conf, const char *name)
{
    nftw(path_in(conf, name), test_unlink, 16, FTW_DEPTH | FTW_PHYS);
}

static void set_checkpoint(const struct store_conf *conf, int64_t time, int64_t place)
{
    const int64_t v[6] = {time, time, 0, 0, 0, place};
    char raw[48];
    FILE *f = fopen(path_in(conf, "checkpoint"), "r+");

    for (int i = 0; i < 6; i++)
        be64_put(raw + 8 * i, (uint64_t)v[i]);
    if (!f || fwrite(raw, sizeof raw, 1, f) != 1 || fclose(f))
        exit(2);
}

struct seen {
    int n, of[TOPICS][QUEUES], other;
};

static void note(void *arg, struct store_queue *q)
{
    struct str topic = queue_topic(q);
    int32_t id = q->id;
    struct seen *seen = arg;
    int32_t t = -1;

    seen->n++;
    if (topic.n > 8 && memcmp(topic.p, "at-rest-", 8) == 0 && !str_i32(str_n(topic.p + 8, topic.n - 8), &t) && t < TOPICS &&
        id < QUEUES)
        seen->of[t][id]++;
    else
        seen->other++;
}

/* Every queue of the topics from `first` on, once, and no other. */
static bool sees_each_once(struct store *s, int first)
{
    struct seen seen = {0};
    bool right = queue_table_each(&s->queues, &s->env, note, &seen) == 0 && !seen.other && seen.n == (TOPICS - first) * QUEUES;

    for (int t = first; t < TOPICS; t++)
        for (int id = 0; id < QUEUES; id++)
            right &= seen.of[t][id] == 1;
    return right;
}

static int64_t wrong_messages(struct store *s)
{
    int64_t wrong = 0;

    for (int t = 0; t < TOPICS; t++)
        for (int id = 0; id < QUEUES; id++) {
            struct store_queue *q = find(s, t, id);
            int64_t bad = 0;
            wrong += !q || test_read_all(s, q, 0, &bad) != EACH || bad;
        }
    return wrong;
}

static void test_reads(const struct store_conf *conf)
{
    struct store *s = test_open(conf);

    ok(s->queues.n <= QUEUES && !s->queues.complete, "a start takes up one topic at most");
    ok(!find(s, 3, QUEUES) && !find(s, TOPICS, 0) && !store_queue_find(s, str_of(".."), 0) &&
       !store_queue_find(s, str_of("a/b"), 0), "what is not there is not found");
    is_int(wrong_messages(s), 0, "all messages of queues that nobody named are read");
    ok(!s->queues.complete && sees_each_once(s, 0) && s->queues.complete, "asked for all queues, it has each once");
    ok(!find(s, 3, QUEUES) && find(s, TOPICS - 1, 0), "and finds the same ones");
    test_close(s);
    s = test_open(conf);
    for (int id = 0; id < QUEUES; id++) {
        char name[32];
        store_queue(s, name_of(7, name), id);
    }
    ok(sees_each_once(s, 0), "those named before are not there twice");
    test_close(s);
}

/* What a listing of all topics asks of each. */
static void test_last_time(const struct store_conf *conf)
{
    struct store *s = test_open(conf);
    struct store_queue *used[QUEUES], *unused[QUEUES];
    struct store_put put;
    int64_t latest = 0;
    char name[32];

    for (int id = 0; id < QUEUES; id++) {
        used[id] = store_queue(s, name_of(5, name), id);
        unused[id] = store_queue(s, str_of("unused"), id);
    }
    is_int(store_topic_last_time(s, unused, QUEUES), 0, "a topic that has no directory has no last message");
    ok(store_queue_loaded(unused[0]) && store_queue_loaded(unused[QUEUES - 1]), "and that is known of all its queues");
    is_int(test_append(s, unused[1], 0, &put), 0, "one of them gets a message");
    is_int(store_topic_last_time(s, unused, QUEUES), put.store_timestamp, "which is the topic's last then");
    for (int id = 0; id < QUEUES; id++) {
        int64_t time = store_time_at(s, used[id], EACH - 1);
        latest = time > latest ? time : latest;
    }
    test_close(s);
    s = test_open(conf);
    for (int id = 0; id < QUEUES; id++) {
        used[id] = store_queue(s, name_of(5, name), id);
        unused[id] = store_queue(s, str_of("unused"), id);
    }
    ok(latest > 0, "a topic that has messages");
    is_int(store_topic_last_time(s, used, QUEUES), latest, "has the time of the latest");
    is_int(store_topic_last_time(s, unused, QUEUES), put.store_timestamp, "and so has one of which one queue was used");
    is_int(store_queue_max(s, unused[0]), 0, "while the others are empty");
    test_close(s);
}

static bool keep_late(void *arg, struct str topic)
{
    int32_t t = -1;

    (void)arg;
    return str_i32(str_n(topic.p + 8, topic.n - 8), &t) == 0 && t > 3;
}

static bool keep_none(void *arg, struct str topic, int32_t id)
{
    (void)arg;
    (void)topic;
    (void)id;
    return false;
}

static void test_deletes(const struct store_conf *conf)
{
    struct store *s = test_open(conf);
    struct store_put put = {0};
    int n = -1;

    ok(store_delete_topic(s, str_of("at-rest-0")) == 0 && access(path_in(conf, "consumequeue/at-rest-0"), F_OK) < 0,
       "a topic is deleted that nobody named");
    ok(!find(s, 0, 0) && sees_each_once(s, 1), "and is gone");
    ok(test_append(s, store_queue(s, str_of("at-rest-0"), 0), 0, &put) == 0 && put.queue_offset == 0,
       "its name begins again at 0");
    ok(store_delete_topic(s, str_of("at-rest-0")) == 0, "and is deleted again");
    test_close(s);
    s = test_open(conf);
    ok(store_clean_unused(s, keep_late, NULL, &n) == 0 && n == 3, "the unused of all topics go");
    ok(access(path_in(conf, "consumequeue/at-rest-3"), F_OK) < 0 && sees_each_once(s, 4), "and only those");
    test_close(s);
    s = test_open(conf);
    ok(store_clean_queues(s, keep_none, NULL, &n) == 0 && n == 0 && sees_each_once(s, 4),
       "of queues that have messages none is cleaned");
    ok(store_expire_queues(s, &n) == 0 && n == 0 && sees_each_once(s, 4), "and nothing expires");
    test_close(s);
}

static void test_recovery(const struct store_conf *conf)
{
    struct store *s;

    set_abort(conf);
    s = test_open(conf);
    ok(wrong_messages(s) == 0 && sees_each_once(s, 0), "after a crash all queues are there");
    test_close(s);
    remove_in(conf, "consumequeue/at-rest-5");
    remove_in(conf, "consumequeue/at-rest-6/1");
    set_abort(conf);
    s = test_open(conf);
    ok(wrong_messages(s) == 0 && sees_each_once(s, 0), "and those whose files are gone are filled again");
    test_close(s);
    remove_in(conf, "consumequeue");
    s = test_open(conf);
    ok(wrong_messages(s) == 0 && sees_each_once(s, 0), "without any queue, all are");
    test_close(s);
}

/* Apache's checkpoints before 5.5.0 name a time and no place, or leave our old place: the end is found, and queues older
 * than the time are not even opened. */
static void opens_nothing(const struct store_conf *conf, int64_t place, const char *what)
{
    struct store_put put;
    struct store_queue *q;
    struct store *s;

    set_checkpoint(conf, wall_ms() + 10000, place);
    s = test_open(conf);
    q = find(s, 9, 1);
    ok(!q->loaded && s->queues.n <= 2 * QUEUES, "%s: no queue is opened", what);
    ok(wrong_messages(s) == 0, "all messages are there");
    ok(test_append(s, q, EACH, &put) == 0 && put.queue_offset == EACH, "the next one follows");
    test_close(s);
    s = test_open(conf);
    ok(store_queue_max(s, find(s, 9, 1)) == EACH + 1, "and is there after a restart");
    test_close(s);
}

static void test_no_place(const struct store_conf *conf) { opens_nothing(conf, 0, "a time, no place"); }

static void test_old_place(const struct store_conf *conf)
{
    struct store *s = test_open(conf);
    struct store_entry middle = {0};

    store_entry(s, find(s, 9, 1), 2, &middle);
    test_close(s);
    opens_nothing(conf, middle.physical_offset, "an old place");
}

static void test_old_time(const struct store_conf *conf)
{
    struct store_queue *q;
    struct store *s;

    set_checkpoint(conf, wall_ms() - 3600000, 0);
    remove_in(conf, "consumequeue/at-rest-2");
    s = test_open(conf);
    q = find(s, 2, 2);
    ok(q && store_queue_max(s, q) == EACH, "what is younger than the checkpoint's time is compared, and filled again");
    test_close(s);
}

/* Writes a unit behind the last of at-rest-T/ID, as a crash leaves one whose record the log lost. */
static void add_unit(const struct store_conf *conf, int t, int id, int behind, const struct store_entry *e)
{
    char name[64], raw[UNIT_SIZE];
    FILE *f;

    snprintf(name, sizeof name, "consumequeue/at-rest-%d/%d/00000000000000000000", t, id);
    be64_put(raw, (uint64_t)e->physical_offset);
    be32_put(raw + 8, e->size);
    be64_put(raw + 12, 0);
    f = fopen(path_in(conf, name), "r+");
    if (!f || fseek(f, (EACH + behind) * UNIT_SIZE, SEEK_SET) || fwrite(raw, sizeof raw, 1, f) != 1 || fclose(f))
        exit(2);
}

static void test_lost(const struct store_conf *conf)
{
    struct store *s = test_open(conf);
    struct store_entry others = {0}, between;
    struct store_put put;
    int64_t bad = 0;

    store_entry(s, find(s, 9, 1), 2, &others);
    test_close(s);
    between = others;
    between.physical_offset += 8;
    add_unit(conf, 3, 1, 0, &between);
    add_unit(conf, 3, 1, 1, &others);
    add_unit(conf, 3, 1, 2, &between);
    add_unit(conf, 4, 1, 0, &between);
    s = test_open(conf);
    ok(store_queue_max(s, find(s, 3, 1)) == EACH && test_read_all(s, find(s, 3, 1), 0, &bad) == EACH && !bad,
       "a queue that a crash left with units of messages that were lost does not give another queue's message");
    ok(test_append(s, find(s, 3, 1), EACH, &put) == 0 && put.queue_offset == EACH, "the next one has the first lost one's offset");
    is_int(store_queue_max(s, find(s, 4, 1)), EACH + 1, "what leads to nothing keeps its offset: a damaged record is no lost one");
    test_close(s);
}

static void test_log_gone(const struct store_conf *conf)
{
    struct store *s;
    int64_t messages = 0;

    remove_in(conf, "commitlog");
    s = test_open(conf);
    for (int t = 0; t < TOPICS; t++)
        for (int id = 0; id < QUEUES; id++)
            messages += store_queue_max(s, find(s, t, id));
    is_int(messages, 0, "without a commit log all queues are empty, named or not");
    test_close(s);
}

static void test_snapshot(const struct store_conf *conf)
{
    struct store *s = test_open(conf);
    struct store_conf copy = *conf;
    struct snapshot_point at;
    struct fault f = {0};
    char dir[512];

    mkdir(path_in(conf, "copies"), 0755);
    snprintf(dir, sizeof dir, "%s/copies/one", conf->root);
    ok(store_snapshot(s, dir, 0, &at, &f) == 0, "a snapshot right after the start %s", f.text);
    test_close(s);
    copy.root = dir;
    s = test_open(&copy);
    ok(wrong_messages(s) == 0 && sees_each_once(s, 0), "has all queues");
    test_close(s);
}

/* The walk beside deletions: what was deleted does not come back. */
struct race {
    struct store *s;
    _Atomic bool stop;
};

static void *delete_some(void *arg)
{
    struct race *r = arg;
    char name[32];

    for (int t = 0; t < TOPICS / 2; t++)
        if (store_delete_topic(r->s, name_of(t, name)))
            return r;
    return NULL;
}

static void *find_all(void *arg)
{
    struct race *r = arg;

    while (!r->stop)
        for (int t = 0; t < TOPICS; t++)
            find(r->s, t, 0);
    return NULL;
}

static void test_race(const struct store_conf *conf)
{
    struct race r = {test_open(conf), false};
    struct seen seen = {0};
    pthread_t threads[2];
    void *failed;

    pthread_create(&threads[0], NULL, delete_some, &r);
    pthread_create(&threads[1], NULL, find_all, &r);
    queue_table_each(&r.s->queues, &r.s->env, note, &seen);
    pthread_join(threads[0], &failed);
    r.stop = true;
    pthread_join(threads[1], NULL);
    ok(!failed && sees_each_once(r.s, TOPICS / 2), "topics deleted during the walk do not come back");
    test_close(r.s);
}

int main(void)
{
    static void (*const tests[])(const struct store_conf *conf) = {
        test_reads, test_last_time, test_deletes, test_recovery, test_no_place, test_old_place,
        test_old_time, test_lost, test_log_gone, test_snapshot, test_race,
    };

    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
        struct store_conf conf = test_conf();
        conf.consume_queue_file_size = 400;
        make_store(&conf);
        tests[i](&conf);
        test_clean(&conf);
    }
    return tap_done();
}
