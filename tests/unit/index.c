/* Index files and queries by key: R-STORE-17 (directory, names), R-STORE-18 (bytes), R-STORE-19 (look-up), R-QRY-02
 * (time range, number), R-QRY-04 (every key and the unique id). */
#include "tests/unit/tap.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>

#include "common/be.h"
#include "common/file.h"
#include "store/store_impl.h"
#include "tests/unit/store_help.h"

#define HEAD 40

static struct store_conf index_conf(int slots, int entries)
{
    struct store_conf conf = test_conf();

    conf.index_enable = true;
    conf.index_slots = slots;
    conf.index_entries = entries;
    return conf;
}

/* A message with this property text ("NAME=VALUE;..."). */
static int64_t add_flagged(struct store *s, const char *topic, const char *props, int32_t sys_flag)
{
    struct message m = {.sys_flag = sys_flag, .body = str_of("b"), .born_host.port = 1, .store_host.port = 1};
    char text[512];
    struct store_put put;
    struct fault f = {0};
    size_t n = strlen(props);

    for (size_t i = 0; i <= n; i++)
        text[i] = props[i] == '=' ? 1 : props[i] == ';' ? 2 : props[i];
    m.properties = str_n(text, n);
    if (store_append(s, store_queue(s, str_of(topic), 0), &m, 0, &put, &f)) {
        printf("Bail out! append: %s\n", f.text);
        exit(2);
    }
    return put.physical_offset;
}

static int64_t add(struct store *s, const char *topic, const char *props) { return add_flagged(s, topic, props, 0); }

/* Offsets found, oldest first, as "12 345". */
static const char *find_in(struct store *s, const char *topic, const char *key, bool tag, int max, int64_t begin, int64_t end)
{
    static char text[4][8192];
    static int next;
    char *out = text[next++ % 4];
    struct store_query q = {.topic = str_of(topic), .key = str_of(key), .tag = tag, .begin = begin, .end = end,
                            .max_messages = max, .max_bytes = 1 << 20, .wait_ms = 10000};
    struct store_result *r;
    size_t n = 0;

    out[0] = 0;
    if (store_query(s, &q, NULL, &r))
        return "error";
    for (int i = 0; i < r->n_iov; i++) {
        const char *p = r->iov[i].iov_base, *stop = p + r->iov[i].iov_len;
        struct message m;
        while (p < stop && message_record_get(p, (size_t)(stop - p), true, &m) == 0 && n < 8000) {
            n += (size_t)snprintf(out + n, 8192 - n, "%s%" PRId64, n ? " " : "", m.physical_offset);
            p += m.size;
        }
    }
    store_release(r);
    return out;
}

static const char *find(struct store *s, const char *topic, const char *key)
{
    return find_in(s, topic, key, false, 64, 0, INT64_MAX);
}

static const char *text_of(const int64_t *v, int n)
{
    static char text[4][8192];
    static int next;
    char *out = text[next++ % 4];
    size_t at = 0;

    out[0] = 0;
    for (int i = 0; i < n; i++)
        at += (size_t)snprintf(out + at, 8192 - at, "%s%" PRId64, i ? " " : "", v[i]);
    return out;
}

/* The index files' names, sorted. */
static int names(const struct store_conf *conf, char out[64][600])
{
    char dir[256];
    struct dirent **list;
    int n, k = 0;

    snprintf(dir, sizeof dir, "%s/index", conf->root);
    n = scandir(dir, &list, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        if (list[i]->d_name[0] != '.' && k < 64)
            snprintf(out[k++], 600, "%s/%s", dir, list[i]->d_name);
        free(list[i]);
    }
    if (n >= 0)
        free(list);
    return k;
}

static void patch(const char *path, off_t at, const void *p, size_t n)
{
    int fd = open(path, O_WRONLY);

    if (fd < 0 || pwrite(fd, p, n, at) != (ssize_t)n) {
        printf("Bail out! patch %s\n", path);
        exit(2);
    }
    close(fd);
}

static void crash_mark(const struct store_conf *conf)
{
    char path[256];
    int fd;

    snprintf(path, sizeof path, "%s/abort", conf->root);
    fd = open(path, O_WRONLY | O_CREAT, 0644);
    close(fd);
}

/* ---- the bytes: written once more here, plainly ---- */

struct image {
    char *p;
    int slots, entries, next, used;
    int64_t begin_time;
};

static int32_t java_hash(const char *z)
{
    uint32_t h = 0;
    int32_t v;

    while (*z)
        h = h * 31 + (unsigned char)*z++;
    v = (int32_t)h;
    return v == INT32_MIN ? 0 : v < 0 ? -v : v;
}

static void image_put(struct image *m, const char *key, int64_t offset, int64_t time)
{
    int32_t h = java_hash(key);
    char *slot = m->p + HEAD + h % m->slots * 4, *e = m->p + HEAD + m->slots * 4 + m->next * 20;
    int64_t diff = m->begin_time ? (time - m->begin_time) / 1000 : 0;

    be32_put(e, (uint32_t)h);
    be64_put(e + 4, (uint64_t)offset);
    be32_put(e + 12, (uint32_t)diff);
    memcpy(e + 16, slot, 4);
    m->used += be32_get(slot) == 0;
    be32_put(slot, (uint32_t)m->next);
    if (m->next++ == 1) {
        m->begin_time = time;
        be64_put(m->p, (uint64_t)time);
        be64_put(m->p + 16, (uint64_t)offset);
    }
    be64_put(m->p + 8, (uint64_t)time);
    be64_put(m->p + 24, (uint64_t)offset);
    be32_put(m->p + 32, (uint32_t)m->used);
    be32_put(m->p + 36, (uint32_t)m->next);
}

static int64_t time_of(struct store *s, int64_t offset)
{
    struct store_result *r;
    int64_t t;

    if (store_read(s, offset, 0, &r))
        return -1;
    t = r->last_store_timestamp;
    store_release(r);
    return t;
}

static void test_bytes(void)
{
    struct store_conf conf = index_conf(7, 20);
    struct store *s = test_open(&conf);
    struct image m = {.slots = 7, .entries = 20, .next = 1};
    size_t size = HEAD + 7 * 4 + 20 * 20;
    int64_t at[6], t[6];
    char path[64][600];
    struct buf got = {0};

    m.p = calloc(1, size);
    at[0] = add(s, "ta", "UNIQ_KEY=U1;KEYS=k1 k2;TAGS=TagA");
    at[1] = add(s, "ta", "KEYS= k1  k3 ");
    at[2] = add(s, "tb", "TAGS=TagB || x;UNIQ_KEY=U3");
    at[3] = add(s, "tb", "WAIT=true");
    at[4] = add_flagged(s, "ta", "UNIQ_KEY=P", SYSFLAG_TRANS_PREPARED);
    at[5] = add_flagged(s, "ta", "UNIQ_KEY=R", SYSFLAG_TRANS_ROLLBACK);
    for (int i = 0; i < 6; i++)
        t[i] = time_of(s, at[i]);
    test_close(s);
    image_put(&m, "ta#U1", at[0], t[0]);
    image_put(&m, "ta#k1", at[0], t[0]);
    image_put(&m, "ta#k2", at[0], t[0]);
    image_put(&m, "ta#T#TagA", at[0], t[0]);
    image_put(&m, "ta#k1", at[1], t[1]);
    image_put(&m, "ta#k3", at[1], t[1]);
    image_put(&m, "tb#U3", at[2], t[2]);
    image_put(&m, "tb#T#TagB || x", at[2], t[2]);
    image_put(&m, "ta#P", at[4], t[4]);
    ok(names(&conf, path) == 1, "one index file");
    ok(strlen(strrchr(path[0], '/') + 1) == 17 && strspn(strrchr(path[0], '/') + 1, "0123456789") == 17,
       "named by 17 digits");
    ok(file_read(path[0], 1 << 20, &got) == 0 && got.n == size, "of exactly the size of header, slots and entries");
    ok(got.n == size && memcmp(got.p, m.p, size) == 0, "its bytes are Apache's, unique id, keys, tag, in that order");
    ok(index_hash(str_of("polygenelubricants"), "", (struct str){0}) == 0, "a hash of the smallest int counts as 0");
    ok(index_hash(str_of("k"), "", str_of("\xC3\xA9")) == 'k' * 31 + 0xE9, "hashes are of UTF-16, as Java's");
    buf_free(&got);
    free(m.p);
    test_clean(&conf);
}

/* Texts of every length up to 40, with a letter of two bytes at every place and at none. */
static void test_hash(void)
{
    int wrong = 0;

    for (int n = 0; n < 40; n++)
        for (int at = -1; at < n - 1; at++) {
            uint32_t h = 0;
            char text[40];
            for (int i = 0; i < n; i++)
                text[i] = (char)('a' + (i * 7 + n) % 26);
            if (at >= 0)
                memcpy(text + at, "\xC3\xA9", 2);
            for (int i = 0; i < n; i += i == at ? 2 : 1)
                h = h * 31 + (i == at ? 0xE9 : (unsigned char)text[i]);
            wrong += str_java_hash(str_n(text, (size_t)n)) != (int32_t)h;
        }
    ok(wrong == 0, "hashes of texts of all lengths (%d wrong)", wrong);
}

static void test_find(void)
{
    struct store_conf conf = index_conf(1, 1000);        /* one slot: everything collides */
    struct store *s = test_open(&conf);
    int64_t a = add(s, "ta", "UNIQ_KEY=U1;KEYS=k1 k2 k1;TAGS=x"), b = add(s, "tb", "KEYS=k1");
    int64_t c = add(s, "ta", "KEYS=k1;TAGS=x"), end = time_of(s, c);

    is_text(find(s, "ta", "k1"), text_of((int64_t[]){a, c}, 2), "by key: both, oldest first, each once");
    is_text(find(s, "tb", "k1"), text_of(&b, 1), "the other topic's is its own");
    is_text(find(s, "ta", "U1"), text_of(&a, 1), "by unique id");
    is_text(find(s, "ta", "k"), "", "a key that nobody has");
    is_text(find(s, "ta", "k1 k2"), "", "nor is the whole text one");
    is_text(find(s, "ta", ""), "", "nor nothing");
    is_text(find(s, "ta", "T#x"), "", "a tag is not found as a key, although its hash is the same");
    is_text(find_in(s, "ta", "x", true, 64, 0, INT64_MAX), text_of((int64_t[]){a, c}, 2), "but as a tag");
    is_text(find_in(s, "ta", "k1", false, 1, 0, INT64_MAX), text_of(&c, 1), "the newest when one is wanted");
    is_text(find_in(s, "ta", "k1", false, 0, 0, INT64_MAX), "", "none when none is");
    is_text(find_in(s, "ta", "k1", false, -5, 0, INT64_MAX), "", "nor a number below");
    is_text(find_in(s, "ta", "k1", false, 9, end + 1, INT64_MAX), "", "none stored later");
    is_text(find_in(s, "ta", "k1", false, 9, 0, time_of(s, a) - 1), "", "none stored before");
    is_text(find_in(s, "ta", "k1", false, 9, end, end), find_in(s, "ta", "k1", false, 9, end, INT64_MAX),
       "a range of one millisecond is exact");
    test_close(s);
    test_clean(&conf);
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), k = strlen(end);

    return n >= k && strcmp(text + n - k, end) == 0;
}

static void test_roll(void)
{
    struct store_conf conf = index_conf(5, 12);
    struct store *s = test_open(&conf);
    struct store_index_file last = {0}, info;
    int64_t at[60], safe;
    char key[64];
    int files = 0, rolled = 1;

    for (int i = 0; i < 60; i++) {
        snprintf(key, sizeof key, "UNIQ_KEY=U%d;KEYS=all k%d", i, i % 4);
        at[i] = add(s, "ta", key);
    }
    is_text(find(s, "ta", "all"), text_of(at, 60), "found over many files");
    is_text(find_in(s, "ta", "all", false, 7, 0, INT64_MAX), text_of(at + 53, 7), "the newest first");
    for (; store_index_file(s, files, &info) == 0; files++) {
        rolled &= files == 0 || (strcmp(info.name, last.name) > 0 && info.first_offset >= last.last_offset);
        last = info;
    }
    ok(files == 17, "180 entries in files of 11");
    ok(rolled, "named in their order, each going on where the one before ended");
    ok(last.last_offset == at[59] && last.entries == 11 && last.entries_used == 4, "the last one's numbers");
    safe = atomic_load(&s->index.safe_time);
    ok(safe > 0 && safe <= last.first_time, "the checkpoint is to name the last full file's end");
    test_close(s);
    s = test_open(&conf);
    ok(s->checkpoint.index_time == safe, "and did");
    is_text(find(s, "ta", "all"), text_of(at, 60), "found after a restart, each once");
    index_expire(&s->index, at[30]);
    ok(store_index_file(s, 0, &info) == 0 && info.last_offset >= at[30] && info.first_offset <= at[30],
       "files whose last message is gone go");
    ok(ends_with(find(s, "ta", "all"), text_of(at + 30, 30)), "what the others name is found");
    index_expire(&s->index, INT64_MAX);
    ok(store_index_file(s, 0, &info) == 0 && store_index_file(s, 1, &info) == -ENOENT, "but never the last file");
    test_close(s);
    test_clean(&conf);
}

/* A run ended between two entries of one message: its other ones are added, and only they. */
static void test_go_on(void)
{
    struct store_conf conf = index_conf(5, 100);
    struct store *s = test_open(&conf);
    struct store_index_file info;
    int64_t a = add(s, "ta", "UNIQ_KEY=U1;KEYS=k1 k2");
    char path[64][600], next[4];

    test_close(s);
    names(&conf, path);
    be32_put(next, 3);
    patch(path[0], 36, next, 4);
    s = test_open(&conf);
    is_text(find(s, "ta", "k2"), text_of(&a, 1), "found");
    ok(store_index_file(s, 0, &info) == 0 && info.entries_used == 3, "three entries again");
    a = add(s, "ta", "KEYS=k9");
    is_text(find(s, "ta", "k9"), text_of(&a, 1), "and so is what comes after");
    test_close(s);
    conf.index_enable = false;
    s = test_open(&conf);
    is_text(find(s, "ta", "k9"), text_of(&a, 1), "found without messageIndexEnable too");
    a = add(s, "ta", "KEYS=late");
    is_text(find(s, "ta", "late"), "", "but nothing is added");
    test_close(s);
    conf.index_enable = true;
    s = test_open(&conf);
    is_text(find(s, "ta", "late"), text_of(&a, 1), "until it is on again");
    test_close(s);
    test_clean(&conf);
}

static void test_crash(void)
{
    struct store_conf conf = index_conf(5, 12);
    struct store *s = test_open(&conf);
    char before[64][600], after[64][600], key[64], zeros[5 * 4] = {0};
    int64_t at[40];
    int n, kept = 0;

    for (int i = 0; i < 40; i++) {
        snprintf(key, sizeof key, "KEYS=all k%d", i);
        at[i] = add(s, "ta", key);
    }
    find(s, "ta", "all");
    test_close(s);
    n = names(&conf, before);
    patch(before[n - 1], HEAD, zeros, sizeof zeros);     /* as a power loss may leave the file in use */
    crash_mark(&conf);
    s = test_open(&conf);
    is_text(find(s, "ta", "all"), text_of(at, 40), "after a crash all is found, each once");
    test_close(s);
    names(&conf, after);
    while (kept < n && strcmp(before[kept], after[kept]) == 0)
        kept++;
    ok(kept >= n - 1, "the full files are kept");
    for (int i = 0; i < n; i++)
        unlink(after[i]);
    s = test_open(&conf);
    is_text(find(s, "ta", "all"), text_of(at, 40), "a missing index is made from the log");
    test_close(s);
    names(&conf, after);
    unlink(after[n / 2]);
    conf.index_slots = 9;
    s = test_open(&conf);
    is_text(find(s, "ta", "all"), text_of(at, 40), "one of another layout too");
    test_close(s);
    test_clean(&conf);
}

/* Every file of this store: cut at every length, then with every byte of its head and each of many others changed. */
static void test_damage(void)
{
    struct store_conf conf = index_conf(5, 40);
    struct store *s = test_open(&conf);
    unsigned seed = (unsigned)getpid();
    int64_t at[10];
    char path[64][600], key[64];
    struct buf good = {0};
    int cut_bad = 0, head_bad = 0, wrong = 0;

    for (int i = 0; i < 10; i++) {
        snprintf(key, sizeof key, "KEYS=all k%d", i);
        at[i] = add(s, "ta", key);
    }
    test_close(s);
    names(&conf, path);
    file_read(path[0], 1 << 20, &good);
    for (size_t n = 0; n < good.n; n += 41) {
        names(&conf, path);
        if (truncate(path[0], (off_t)n))
            cut_bad++;
        s = test_open(&conf);
        cut_bad += strcmp(find(s, "ta", "all"), text_of(at, 10)) != 0;
        test_close(s);
    }
    ok(cut_bad == 0, "a file that was cut is made again (%d wrong)", cut_bad);
    for (int i = 16; i < 36; i += 8) {
        names(&conf, path);
        patch(path[0], i, "\x7F\xFF\xFF\xFF", 4);
        s = test_open(&conf);
        head_bad += strcmp(find(s, "ta", "all"), text_of(at, 10)) != 0;
        test_close(s);
    }
    ok(head_bad == 0, "so is one whose offsets or numbers cannot be (%d wrong)", head_bad);
    printf("# seed %u\n", seed);
    for (int i = 0; i < 300; i++) {
        char junk[8];
        const char *got;
        for (int k = 0; k < 8; k++)
            junk[k] = (char)rand_r(&seed);
        names(&conf, path);
        patch(path[0], HEAD + rand_r(&seed) % (int)(good.n - HEAD - 8), junk, 8);
        if (i % 10)
            continue;
        s = test_open(&conf);
        for (int k = 0; k < 10; k++) {
            snprintf(key, sizeof key, "k%d", k);
            got = find(s, "ta", key);
            wrong += *got && strcmp(got, text_of(&at[k], 1)) != 0;
        }
        test_close(s);
    }
    ok(wrong == 0, "junk in slots and entries hides messages, but never gives a wrong one (%d wrong)", wrong);
    buf_free(&good);
    test_clean(&conf);
}

/* ---- behind the appends ---- */

struct race {
    struct store *s;
    atomic_bool stop;
    int bad;
    _Atomic int asked;
};

static void *ask(void *arg)
{
    struct race *r = arg;

    while (!atomic_load(&r->stop)) {
        const char *got = find_in(r->s, "tq", "k0", false, 3, 0, INT64_MAX);
        int64_t last = -1, v;
        int used;
        for (const char *p = got; sscanf(p, "%" SCNd64 "%n", &v, &used) == 1; p += used) {
            r->bad += v <= last;
            last = v;
        }
        atomic_fetch_add(&r->asked, 1);
    }
    return NULL;
}

static void test_follow(void)
{
    struct store_conf conf = index_conf(50, 300);
    struct store *s = test_open(&conf);
    struct race race = {.s = s};
    struct store_stats st;
    int missed = 0, ms = 0;
    char key[64];
    pthread_t t;

    for (int i = 0; i < 200; i++) {
        int64_t at;
        snprintf(key, sizeof key, "UNIQ_KEY=V%d", i);
        at = add(s, "ta", key);
        missed += strcmp(find(s, "ta", key + 9), text_of(&at, 1)) != 0;
    }
    ok(missed == 0, "what was just appended is found (%d missed)", missed);
    pthread_create(&t, NULL, ask, &race);
    for (int i = 0; i < 3000; i++) {
        snprintf(key, sizeof key, "UNIQ_KEY=W%d;KEYS=k%d", i, i % 7);
        add(s, "tq", key);
    }
    while (!atomic_load(&race.asked))    /* a busy machine may not have let it run yet */
        usleep(100);
    atomic_store(&race.stop, true);
    pthread_join(t, NULL);
    ok(race.bad == 0, "questions while sends go on and files fill (%d asked)", race.asked);
    while (!atomic_load(&s->index.idle) && ms++ < 5000)
        usleep(1000);
    store_stats(s, &st);
    ok(atomic_load(&s->index.idle) && st.index_behind == 0, "then the indexer sleeps, and nothing is behind");
    is_text(find(s, "tq", "W2999"), find_in(s, "tq", "W2999", false, 1, 0, INT64_MAX), "and the last one is there");
    ok(*find(s, "tq", "W2999"), "it is");
    test_close(s);
    test_clean(&conf);
}

/* The disk does not give a page: here, because the file was cut under the mapping. */
static void test_bad_disk(void)
{
    struct store_conf conf = index_conf(5, 3000);
    struct store *s = test_open(&conf);
    struct store_query q = {.topic = str_of("ta"), .key = str_of("k"), .end = INT64_MAX, .max_messages = 9,
                            .max_bytes = 1 << 20, .wait_ms = 10};
    struct store_result *r;
    int64_t at[2];
    char path[64][600];

    at[0] = add(s, "ta", "KEYS=k");
    find(s, "ta", "k");
    names(&conf, path);
    ok(truncate(path[0], 0) == 0, "an index file loses its pages");
    ok(store_query(s, &q, NULL, &r) == -EIO && !r, "a query says that it failed");
    at[1] = add(s, "ta", "KEYS=k");
    index_wait(&s->index, commit_log_max(&s->log), 50);
    index_expire(&s->index, INT64_MAX);
    ok(add(s, "ta", "KEYS=x") > at[1], "sends go on");
    store_close(s);
    s = test_open(&conf);
    is_text(find(s, "ta", "k"), text_of(at, 2), "with the next start the index is whole");
    test_close(s);
    test_clean(&conf);
}

static void test_conf_limits(void)
{
    struct store_conf conf = index_conf(5, 1);
    struct store *s;
    struct fault f;

    ok(store_open(&conf, &s, &f) == -EINVAL, "a file without room for an entry is refused");
    conf.index_entries = 110000000;
    ok(store_open(&conf, &s, &f) == -EINVAL, "and one of more than 2 GiB");
    test_clean(&conf);
}

int main(void)
{
    test_bytes();
    test_hash();
    test_find();
    test_roll();
    test_go_on();
    test_crash();
    test_damage();
    test_follow();
    test_bad_disk();
    test_conf_limits();
    return tap_done();
}
