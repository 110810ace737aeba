/* Files of a store with one byte flipped, or cut, one at a time; each time a whole broker is started on it, which must
 * keep what is intact and say what it dropped (R-STORE-29, -30; apache/rocketmq issue 9705: configuration torn by a
 * power cut stops the start). tests/unit/store_recover.c does the same to the store alone.
 *
 *     damage [EVERY [FILE...]]   EVERY: each so-manieth byte of the last 4 KiB of a file, beginning anywhere (default 61)
 *                                FILE: these rows only, as they are told ("config/topics.json"); TMPDIR: where the store is
 *
 * A broker runs in a child, so that one that dies is seen. */
#include "tests/unit/tap.h"
#include "tests/unit/peer.h"
#include "tests/unit/broker_help.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "common/file.h"
#include "common/log.h"

#define MANY 24                      /* topics, groups, committed offsets, messages */
#define TAIL 4096
#define MOST_FILES 64

struct file {
    char path[200];
    struct buf bytes;
};

static struct file files[MOST_FILES];
static int n_files;
static size_t stride = 61;
static char **only;                  /* ends with NULL; empty: all rows */
static pid_t parent;
static char log_path[80];

/* What a broker on the damaged store does not have. */
struct lack { int topics, groups, offsets, messages; };

static void clean_up(void)
{
    if (getpid() != parent)
        return;
    house_remove();
    unlink(log_path);
}

static const char *const keys[] = {"maxHashSlotNum", "1000", "maxIndexNum", "4000",
                                   "flushConsumerOffsetInterval", "50", NULL};

static void stop(int sig)
{
    clean_up();
    _exit(128 + sig);
}

/* ---- what there is ---- */

static const char *name_of(const char *kind, int i)
{
    static char name[40];

    snprintf(name, sizeof name, "%s-%02d", kind, i);
    return name;
}

static void commit(int i, int64_t offset)
{
    struct command c;
    struct ask a;

    ask_begin(&a, 15);
    ask_text(&a, "consumerGroup", "Group-00");
    ask_set(&a, "topic", str_of(name_of("Topic", i)));
    ask_i64(&a, "queueId", 0);
    ask_i64(&a, "commitOffset", offset);
    if (answer_to(&a, &c))
        exit(3);
}

static void send_to(const char *topic, int i, const char *properties)
{
    struct command c;
    struct ask a;
    char body[100];

    snprintf(body, sizeof body, "message %d", i);
    ask_send(&a, topic, 0, body, properties);
    if (answer_to(&a, &c))
        exit(3);
}

static void send_one(int i) { send_to("Topic-00", i, "TAGS\001a\002KEYS\001k\002"); }

/* One is delivered late, so that there is a delayOffset.json. */
static void send_late(void)
{
    send_to("Topic-01", 0, "DELAY\0011\002");
    wait_until(queue_end("Topic-01", 0) == 1);
}

static void run_child(void (*fn)(void *arg), void *arg, int *status)
{
    pid_t pid;

    fflush(stdout);
    if ((pid = fork()) == 0) {
        alarm(60);
        log_open(log_path, LOG_INFO);
        fn(arg);
        _exit(0);
    }
    if (pid < 0 || waitpid(pid, status, 0) != pid)
        house_bail("fork", &(struct fault){0});
}

/* Two lives, so that each file has its .bak, one change older. killed: the second does not end cleanly. */
static void make_store(void *killed)
{
    for (int life = 0; life < 2; life++) {
        house_open(keys);
        for (int i = life ? MANY - 1 : 0; i < MANY - !life; i++) {
            make_topic(name_of("Topic", i), 1);
            make_group(CONSUMER_GROUP, name_of("Group", i));
            make_group(PRODUCER_GROUP, name_of("Group", i));
        }
        for (int i = life ? MANY - 1 : 0; i < MANY - !life; i++) {
            commit(i, 100 + i);
            send_one(i);
        }
        if (!life)
            send_late();
        if (life && *(bool *)killed) {
            usleep(200000);              /* the offsets' period: they are written */
            _exit(0);
        }
        house_close();
    }
}

static int missing_messages(void)
{
    int64_t end = queue_end("Topic-00", 0);
    int missing = MANY;

    for (int64_t i = 0; i < end; i++) {
        struct store_result *hold;
        struct message m;
        char want[100];
        if (broker_message_get(house, str_of("Topic-00"), 0, i, &m, &hold))
            continue;
        snprintf(want, sizeof want, "message %" PRId64, i);
        missing -= str_is(m.body, want);
        store_release(hold);
    }
    return missing;
}

static void count_lack(void *out)
{
    struct lack *l = out;

    house_open(keys);
    *l = (struct lack){0};
    for (int i = 0; i < MANY; i++) {
        struct topic_info t;
        struct group_info g;
        int64_t at;
        l->topics += broker_topic_get(house, str_of(name_of("Topic", i)), &t) != 0 || t.write_queues != 1;
        l->groups += broker_group_get(house, CONSUMER_GROUP, str_of(name_of("Group", i)), &g) != 0;
        l->groups += broker_group_get(house, PRODUCER_GROUP, str_of(name_of("Group", i)), &g) != 0;
        l->offsets += broker_offset_get(house, str_of("Group-00"), str_of(name_of("Topic", i)), 0, &at) != 0 || at != 100 + i;
    }
    l->messages = missing_messages();
    /* it takes what comes next, too */
    if (!l->topics)
        send_one(MANY);
    house_close();
}

/* ---- damage ---- */

static int take_file(const char *path, const struct stat *st, int flag, struct FTW *w)
{
    struct file *f = &files[n_files];

    if (flag != FTW_F)
        return 0;
    if (n_files == MOST_FILES)
        return -1;
    snprintf(f->path, sizeof f->path, "%s", path);
    n_files++;
    return file_read(path, 16 << 20, &f->bytes) ? -1 : 0;
}

struct row {
    const char *file;                /* end of its path, or its directory */
    struct lack may;                 /* what may be gone at most */
    bool silent;                     /* what is lost need not be told: a file that says nothing of its own */
    bool only_killed;                /* after a clean stop there is none */
    bool begin;                      /* its first bytes instead of its last ones, and flipped only; a recovery tells each loss */
};

static const struct fault *fault_of_errno(void)
{
    static struct fault f;

    fault_errno(&f, errno, "write");
    return &f;
}

static bool is_wanted(const struct row *r)
{
    for (char **p = only; *p; p++)
        if (strcmp(*p, r->file) == 0)
            return true;
    return !*only;
}

static void put_file(const struct file *f, const char *p, size_t n)
{
    char dir[200];
    int fd;

    snprintf(dir, sizeof dir, "%s", f->path);
    *strrchr(dir, '/') = 0;
    dir_make(dir);
    fd = open(f->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, p, n) != (ssize_t)n)
        house_bail(f->path, fault_of_errno());
    close(fd);
}

static void put_all(void)
{
    house_remove();
    for (int i = 0; i < n_files; i++)
        put_file(&files[i], files[i].bytes.p, files[i].bytes.n);
}

static struct lack *shared;
static bool recovers;                /* the store was not stopped cleanly */

/* Starts a broker on what lies there. false: it does not start, or dies. */
static bool try_start(const char *what, size_t at)
{
    int status;

    *shared = (struct lack){99, 99, 99, 99};
    unlink(log_path);
    run_child(count_lack, shared, &status);
    if (status)
        printf("# %s at %zu: the broker %s (%d)\n", what, at, WIFSIGNALED(status) ? "dies" : "does not start", status);
    return status == 0;
}

static bool log_says(const char *text)
{
    struct buf b = {0};
    bool says = file_read(log_path, 1 << 24, &b) == 0 && b.n && memmem(b.p, b.n, text, strlen(text));

    buf_free(&b);
    return says;
}

static bool is_too_much(const struct lack *l, const struct lack *may)
{
    return l->topics > may->topics || l->groups > may->groups || l->offsets > may->offsets || l->messages > may->messages;
}

static void tell(const char *how, const struct row *r, const struct file *f, size_t at)
{
    printf("# %s %s at %zu: without %d topics, %d groups, %d offsets, %d messages\n", r->file, how, at, shared->topics,
           shared->groups, shared->offsets, shared->messages);
    if (strstr(r->file, "config/"))
        printf("#   at: %.*s\n", f->bytes.n - at < 60 ? (int)(f->bytes.n - at) : 60, f->bytes.p + at);
}

/* One byte of a file flipped (cut: the file cut there). Whether it is borne. */
static bool one(const struct row *r, struct file *f, size_t at, bool cut)
{
    unsigned char mask = at % 3 == 0 ? 0xFF : at % 3 == 1 ? 0x80 : 0x01;
    char *p = f->bytes.p;
    const char *name = strrchr(f->path, '/') + 1;
    bool good;

    put_all();
    p[at] ^= (char)mask;
    put_file(f, p, cut ? at : f->bytes.n);
    p[at] ^= (char)mask;
    if (!try_start(f->path, at))
        return false;
    good = !is_too_much(shared, &r->may);
    /* a cut file is not whole: what it lost is told */
    if (good && cut && !r->silent && shared->topics + shared->groups + shared->offsets + shared->messages > 0)
        good = log_says(name);
    if (good && r->begin && recovers && shared->messages > 0)
        good = log_says(name) && log_says("damaged");
    if (!good)
        tell(cut ? "cut" : "flipped", r, f, at);
    return good;
}

static struct file *find_file(const char *end)
{
    for (int i = 0; i < n_files; i++) {
        size_t n = strlen(files[i].path), m = strlen(end);
        if ((n >= m && strcmp(files[i].path + n - m, end) == 0) || (end[m - 1] == '/' && strstr(files[i].path, end)))
            return &files[i];
    }
    return NULL;
}

static void damage(const struct row *r, const char *how)
{
    struct file *f = find_file(r->file);
    size_t from, to, tried = 0;
    int bad = 0;

    if (!ok(f && f->bytes.n, "%s: there is %s", how, r->file))
        return;
    from = f->bytes.n > TAIL && !r->begin ? f->bytes.n - TAIL : 0;
    to = r->begin && f->bytes.n > TAIL ? TAIL : f->bytes.n;
    for (size_t at = from + (size_t)random() % stride; at < to && bad < 5; at += stride) {
        bad += !one(r, f, at, false);
        if (!r->begin)
            bad += !one(r, f, at, true);
        tried += 1 + !r->begin;
    }
    if (f->bytes.n < stride)
        for (size_t at = 0; at < f->bytes.n; at += 7)
            bad += !one(r, f, at, false);
    if (strstr(r->file, "config/"))      /* an empty log has no messages */
        bad += !one(r, f, 0, true);
    is_int(bad, 0, "%s, %s: %zu damages, each borne", how, r->file, tried);
}

static void missing(const char *end, const struct lack *may, const char *how)
{
    struct file *f = find_file(end);

    put_all();
    if (f)
        unlink(f->path);
    ok(f && try_start(end, 0) && !is_too_much(shared, may), "%s, without %s", how, end);
}

static void all_damages(bool killed)
{
    static const struct row rows[] = {
        {"config/topics.json", {.topics = 2, .offsets = 2}, false},
        {"config/topics.json.bak", {0}, false},
        {"config/subscriptionGroup.json", {.groups = 2}, false},
        {"config/subscriptionGroup.json.bak", {0}, false},
        {"config/producerGroup.json", {.groups = 2}, false},
        {"config/producerGroup.json.bak", {0}, false},
        {"config/consumerOffset.json", {.offsets = 2}, false},     /* a name may become its neighbour's */
        {"config/consumerOffset.json.bak", {0}, false},
        {"config/delayOffset.json", {0}, true},
        {"config/delayOffset.json.bak", {0}, true},
        {"/audit.log", {0}, true},
        {"/checkpoint", {0}, true},
        {"/lock", {0}, true},
        {"/abort", {0}, true, .only_killed = true},
        {"commitlog/00000000000000000000", {0}, false},     /* its last 4 KiB are empty */
        {"commitlog/00000000000000000000", {.messages = 1}, false, .begin = true},
        {"Topic-00/0/00000000000000000000", {0}, false},
        {"/index/", {0}, true},
    };
    const char *how = killed ? "killed" : "stopped";
    int status;

    recovers = killed;
    house_remove();
    n_files = 0;
    run_child(make_store, &killed, &status);
    if (status || nftw(house_dir, take_file, 16, FTW_PHYS)) {
        printf("Bail out! no store to damage (%d)\n", status);
        exit(2);
    }
    put_all();
    ok(try_start("nothing", 0) && !is_too_much(shared, &(struct lack){0}), "%s, undamaged: all is there", how);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (is_wanted(&rows[i]) && (find_file(rows[i].file) || !killed) && (killed || !rows[i].only_killed))
            damage(&rows[i], how);
    missing("config/topics.json", &(struct lack){.topics = 1, .offsets = 1}, how);
    missing("config/subscriptionGroup.json", &(struct lack){.groups = 1}, how);
    missing("config/consumerOffset.json", &(struct lack){.offsets = 1}, how);
    missing("/checkpoint", &(struct lack){0}, how);
    if (killed)
        missing("/abort", &(struct lack){0}, how);
    for (int i = 0; i < n_files; i++)
        buf_free(&files[i].bytes);
}

int main(int argc, char **argv)
{
    unsigned seed = (unsigned)(wall_ms() ^ getpid());

    stride = argc > 1 ? strtoul(argv[1], NULL, 10) : stride;
    srandom(seed);
    printf("# seed %u, each %zu. byte\n", seed, stride);
    parent = getpid();
    only = argv + (argc > 1 ? 2 : 1);
    snprintf(house_dir, sizeof house_dir, "%s/mqfs-damage-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    if (!stride || !mkdtemp(house_dir))
        return 2;
    snprintf(log_path, sizeof log_path, "%s.log", house_dir);
    atexit(clean_up);
    signal(SIGINT, stop);
    signal(SIGTERM, stop);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return 2;
    all_damages(false);
    all_damages(true);
    return tap_done();
}
