/* The tree without a kernel: names that come from outside, what a node is, cookies
 * while names come and go, handles, last_error, many threads at once.
 * (R-GOV-01, R-GOV-02, R-GOV-03, R-GOV-15) */
#include "fs/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "tests/unit/tap.h"
#include "tests/unit/peer.h"
#include "tests/unit/broker_help.h"

#define S(z) str_of(z)

static struct tree *tree;
static const struct tree_who root_user = {0, 0, 1}, other_user = {54321, 54321, 2};

/* ---- short ways ---- */

/* The node at a path of names, with a reference; NULL with *err. */
static struct tree_node *walk_to(const char *path, struct tree_attr *attr, int *err)
{
    struct tree_node *n = tree_root(tree), *child;

    *err = 0;
    tree_hold(tree, n);
    while (*path && !*err) {
        size_t len = strcspn(path, "/");

        *err = tree_lookup(tree, n, str_n(path, len), &root_user, &child, attr);
        tree_forget(tree, n, 1);
        n = *err ? NULL : child;
        path += len + (path[len] == '/');
    }
    return n;
}

static int look(const char *dir, struct str name)
{
    struct tree_attr a;
    int err;
    struct tree_node *d = walk_to(dir, &a, &err), *n;

    if (!d)
        return err;
    err = tree_lookup(tree, d, name, &root_user, &n, &a);
    if (!err)
        tree_forget(tree, n, 1);
    tree_forget(tree, d, 1);
    return err;
}

/* What a read of the whole file gives; "" when it cannot be opened. */
static const char *text_of(const char *path, const struct tree_who *who)
{
    static char text[4096];
    struct tree_handle *h;
    struct tree_attr a;
    const char *p = "";
    ssize_t n = 0;
    int err;
    struct tree_node *node = walk_to(path, &a, &err);

    text[0] = 0;
    if (!node)
        return text;
    if (tree_file_open(tree, node, O_RDONLY, who, &h) == 0) {
        n = tree_file_read(h, text, sizeof(text) - 1, 0, &p);
        if (n > 0)
            memmove(text, p, (size_t)n);
        text[n > 0 ? n : 0] = 0;
        tree_file_close(h);
    }
    tree_forget(tree, node, 1);
    return text;
}

static int write_to(const char *path, const char *text, int flags, int64_t at, const struct tree_who *who)
{
    struct tree_handle *h;
    struct tree_attr a;
    int err;
    struct tree_node *node = walk_to(path, &a, &err);
    ssize_t n;

    if (!node)
        return err;
    err = tree_file_open(tree, node, flags, who, &h);
    if (!err) {
        n = tree_file_write(h, text, strlen(text), at, who);
        err = n < 0 ? (int)n : (size_t)n == strlen(text) ? 0 : -EIO;
        tree_file_close(h);
    }
    tree_forget(tree, node, 1);
    return err;
}

static int make_dir(const char *dir, const char *name, const struct tree_who *who)
{
    struct tree_attr a;
    int err;
    struct tree_node *d = walk_to(dir, &a, &err), *n;

    if (!d)
        return err;
    err = tree_mkdir(tree, d, S(name), who, &n, &a);
    if (!err)
        tree_forget(tree, n, 1);
    tree_forget(tree, d, 1);
    return err;
}

static int remove_name(const char *dir, const char *name, bool is_dir)
{
    struct tree_attr a;
    int err;
    struct tree_node *d = walk_to(dir, &a, &err);

    if (!d)
        return err;
    err = tree_remove(tree, d, S(name), is_dir, &root_user);
    tree_forget(tree, d, 1);
    return err;
}

static size_t held(void)
{
    struct tree_node **list;
    size_t n = 0;

    tree_known_below(tree, tree_root(tree), true, &list, &n);
    for (size_t i = 0; i < n; i++)
        tree_forget(tree, list[i], 1);
    free(list);
    return n;
}

/* ---- names from outside ---- */

static void test_names(void)
{
    char longest[TREE_NAME_MAX + 2];
    static const char *const wrong[] = {"", ".", "..", "a/b", "/", "../groups", "groups/", "topic:", "topic:TopicA", "cluster"};
    unsigned seed = (unsigned)wall_ms();
    int bad = 0;

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        is_int(look("", S(wrong[i])), -ENOENT, "no '%s' at the root", wrong[i]);
    is_int(look("", str_n("Top\0icA", 7)), -ENOENT, "a name with a NUL");
    is_int(look("", str_n("TopicA\0", 7)), -ENOENT, "a name with a NUL at its end");
    memset(longest, 'x', sizeof(longest));
    is_int(look("", str_n(longest, TREE_NAME_MAX)), -ENOENT, "a name of 255 bytes is looked for");
    is_int(look("", str_n(longest, TREE_NAME_MAX + 1)), -ENAMETOOLONG, "one of 256 is too long");
    is_int(look("TopicA/perm", S("x")), -ENOTDIR, "nothing is below a file");
    for (size_t i = 0; i < 5; i++)
        is_int(look("TopicA", S(((const char *const[]){"-1", "+1", "01", "4294967296", "99999999999999999999"})[i])), -ENOENT,
               "a queue number is plain decimal");
    is_int(look("TopicA", S("1")), 0, "... like 1");
    is_int(look("TopicA", S("2")), -ENOENT, "... below the number of queues");

    printf("# seed %u\n", seed);
    for (int i = 0; i < 20000; i++) {
        static const char *const dirs[] = {"", "TopicA", "TopicA/0", "TopicA/0/messages", "groups", "groups/g1", "groups/g1/bindings",
                                           "groups/g1/offsets", "groups/g1/clients", "broker/clients", "TopicA/clients", "broker/config", "broker/stats", "broker/system", "index/key/TopicA", "index/id"};
        char name[40];
        size_t n = 3 + (size_t)rand_r(&seed) % (sizeof(name) - 3);      /* shorter ones may well be there */

        for (size_t j = 0; j < n; j++)
            name[j] = (char)rand_r(&seed);
        bad += look(dirs[i % 16], str_n(name, n)) != -ENOENT;
    }
    is_int(bad, 0, "20,000 random names: there is none such");
}

/* ---- nodes ---- */

static void test_nodes(void)
{
    struct tree_attr a, b;
    int err;
    struct tree_node *x = walk_to("TopicA/0/offset", &a, &err), *y = walk_to("TopicA/0/offset", &b, &err);
    size_t before;
    uint64_t ino = a.ino;

    ok(x == y && a.ino == b.ino, "the same name is the same node and inode");
    tree_forget(tree, x, 1);
    tree_forget(tree, y, 1);
    is_int(held(), 0, "forgotten nodes are gone");
    x = walk_to("TopicA/0/offset", &a, &err);
    ok(a.ino == ino, "the inode number comes back with the name");
    tree_forget(tree, x, 1);

    x = walk_to("TopicB", &a, &err);
    is_int(remove_name("", "TopicB", true), 0, "a topic removed while held");
    is_int(tree_attr(tree, x, &root_user, &b), -ESTALE, "... is stale");
    is_int(make_dir("", "TopicB", &root_user), 0, "... made again");
    y = walk_to("TopicB", &b, &err);
    ok(x != y && tree_generation(x) != tree_generation(y), "... it is another node");
    before = held();
    tree_forget(tree, x, 1);
    is_int(before - held(), 1, "... and the old one goes by itself");
    tree_forget(tree, y, 1);
    is_int(held(), 0, "nothing is left");
}

/* ---- listing ---- */

struct seen {
    int n, max, wanted;
    uint64_t cookie;
    char names[64][TREE_NAME_MAX + 1];
    const char *want;
};

static bool see(void *arg, const struct tree_listed *e)
{
    struct seen *s = arg;

    if (s->n == s->max)
        return false;
    str_copy(s->names[s->n++], sizeof(s->names[0]), e->name);
    s->wanted += s->want && str_is(e->name, s->want);
    s->cookie = e->next;
    return true;
}

/* Lists dir in pages of `page` names, calling between() after each; how often `want` was seen. */
static int list_in_pages(const char *dir, int page, const char *want, void (*between)(int round), int *total)
{
    struct seen s = {.max = page, .want = want};
    struct tree_attr a;
    int err, round = 0;
    struct tree_node *d = walk_to(dir, &a, &err);

    *total = 0;
    do {
        s.n = 0;
        err = tree_list(tree, d, &root_user, s.cookie, see, &s);
        *total += s.n;
        if (between)
            between(round++);
    } while (!err && s.n == page);
    tree_forget(tree, d, 1);
    return s.wanted;
}

static void come_and_go(int round)
{
    char name[32];

    snprintf(name, sizeof(name), "t%d", round * 2);
    remove_name("", name, true);
    snprintf(name, sizeof(name), "new%d", round);
    make_dir("", name, &root_user);
}

static void test_listing(void)
{
    char name[32];
    int total, all;

    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof(name), "t%d", i);
        make_dir("", name, &root_user);
    }
    for (int page = 1; page < 8; page++) {
        list_in_pages("", page, NULL, NULL, &total);
        is_int(total, 2 + 5 + 2 + 20, "everything is listed once in pages of %d", page);
    }
    is_int(list_in_pages("", 3, "t19", come_and_go, &all), 1, "a name that stays is seen once while others come and go");
    list_in_pages("TopicA", 3, NULL, NULL, &total);
    is_int(total, 2 + 10 + 2, "a topic: dots, ten names, two queues");
    is_int(list_in_pages("TopicA/0/messages", 7, "00000000000000000009", NULL, &total), 1, "messages in pages");
    is_int(total, 2 + 10, "... each once");
}

/* ---- keys: a listing's parts come as calls of their own ---- */

static void send_with_keys(const char *topic, const char *keys)
{
    char properties[64];
    struct command answer;
    struct ask a;

    snprintf(properties, sizeof(properties), "KEYS\1%s\2", keys);
    ask_send(&a, topic, 0, "x", properties);
    is_int(answer_to(&a, &answer), 0, "a message with keys %s", keys);
}

static void one_more_key(int round)
{
    if (round == 1)
        send_with_keys("TopicA", "k5 new");
}

/* More listings are begun than are kept. */
static void others_begin(int round)
{
    struct tree_attr a;
    int err;
    struct tree_node *d = round == 1 ? walk_to("index/key/TopicA", &a, &err) : NULL;

    for (int i = 0; d && i < 40; i++) {
        struct seen s = {.max = 4};
        tree_list(tree, d, &root_user, 0, see, &s);
    }
    if (d)
        tree_forget(tree, d, 1);
}

static void test_keys(void)
{
    char keys[32];
    int total;

    for (int i = 0; i < 10; i++) {
        snprintf(keys, sizeof(keys), "k%d  all", i);
        send_with_keys("TopicA", keys);
    }
    for (int page = 1; page < 8; page++) {
        is_int(list_in_pages("index/key/TopicA", page, "all", NULL, &total), 1, "keys in pages of %d: one of many messages once", page);
        is_int(total, 2 + 11, "... all of them");
    }
    is_int(list_in_pages("index/key/TopicA", 3, "k5", one_more_key, &total), 1, "a key that gets a message meanwhile is listed once");
    is_int(total, 2 + 11, "... a new one not yet");
    is_int(list_in_pages("index/key/TopicA", 3, "k0", others_begin, &total), 1, "with many listings under way");
    is_int(total, 2 + 12, "... it goes on where it was");
    list_in_pages("index/key/TopicB", 3, NULL, NULL, &total);
    is_int(total, 2, "a topic without messages has no keys");
}

/* ---- clients come and go while they are listed ---- */

#define BEAT "{\"clientID\":\"%s\",\"producerDataSet\":[{\"groupName\":\"p1\"}],\"consumerDataSet\":[{\"groupName\":\"g1\"," \
             "\"consumeType\":\"CONSUME_PASSIVELY\",\"messageModel\":\"CLUSTERING\",\"subscriptionDataSet\":[{" \
             "\"topic\":\"TopicA\",\"subString\":\"*\",\"expressionType\":\"TAG\",\"subVersion\":1}]}]}"

static void client_comes(const char *id)
{
    struct command answer;
    struct buf body = {0};
    struct ask a;

    buf_printf(&body, BEAT, id);
    ask_begin(&a, 34);
    a.c.body = buf_str(&body);
    is_int(answer_to(&a, &answer), 0, "a client, %.20s", id);
    buf_free(&body);
}

static void client_goes(const char *id)
{
    struct command answer;
    struct ask a;

    ask_begin(&a, 35);
    ask_text(&a, "clientID", id);
    ask_text(&a, "consumerGroup", "g1");
    ask_text(&a, "producerGroup", "p1");
    is_int(answer_to(&a, &answer), 0, "it goes, %.20s", id);
}

static void clients_change(int round)
{
    char id[16];

    snprintf(id, sizeof(id), "c%d", round);
    client_goes(id);
    snprintf(id, sizeof(id), "new%d", round);
    if (round < 3)
        client_comes(id);
}

static void test_clients(void)
{
    static const char *const dirs[] = {"groups/g1/clients", "TopicA/clients", "broker/clients", "producers/p1/clients"};
    struct tree_attr a;
    struct tree_node *n;
    char id[256], name[300];
    int total, err;

    make_group(PRODUCER_GROUP, "p1");
    memset(id, 'L', sizeof(id) - 1);
    id[sizeof(id) - 1] = 0;
    id[7] = '/';
    for (size_t i = 0; i < 4; i++) {
        for (int c = 0; c < 9; c++) {
            char short_id[8];
            snprintf(short_id, sizeof(short_id), "c%d", c);
            client_comes(short_id);
        }
        client_comes(id);
        list_in_pages(dirs[i], 3, NULL, NULL, &total);
        is_int(total, 2 + 10, "%s: each client once", dirs[i]);
        is_int(list_in_pages(dirs[i], 2, "c8", clients_change, &total), 1, "... one that stays is seen once while others come and go");
        for (int c = 0; c < 3; c++) {
            snprintf(name, sizeof(name), "new%d", c);
            client_goes(name);
        }
    }
    n = walk_to("broker/clients", &a, &err);
    struct seen s = {.max = 60};
    is_int(tree_list(tree, n, &root_user, 0, see, &s), 0, "a listing");
    tree_forget(tree, n, 1);
    while (s.n && s.names[s.n - 1][0] != 'L')
        s.n--;
    snprintf(name, sizeof(name), "broker/clients/%s", s.n ? s.names[s.n - 1] : "");
    ok(strstr(name, "%~") && strstr(text_of(name, &root_user), "\nconsumer       g1\nproducer       p1\n"),
       "a client whose name was cut is found by it");
    ok(!text_of("TopicB/clients/c8", &root_user)[0], "no client of another topic");
}

/* ---- handles ---- */

static void test_handles(void)
{
    struct tree_handle *h;
    struct tree_attr a;
    const char *p;
    char small[4];
    int err;
    struct tree_node *n = walk_to("TopicA/0/messages/00000000000000000003", &a, &err);

    is_int(a.size, 9, "a message's size");
    is_int(tree_file_open(tree, n, O_RDONLY, &root_user, &h), 0, "opened");
    is_int(tree_file_read(h, small, 4, 5, &p), 4, "read from the middle");
    ok(memcmp(p, "no.3", 4) == 0, "... the right bytes");
    is_int(tree_file_read(h, small, 4, 9, &p), 0, "at the end");
    is_int(tree_file_read(h, small, 4, INT64_MAX, &p), 0, "far past it");
    is_int(tree_file_read(h, small, 4, -1, &p), -EINVAL, "before the beginning");
    is_int(tree_file_write(h, "x", 1, 0, &root_user), -EBADF, "a handle that reads does not write");
    tree_file_close(h);
    is_int(tree_file_open(tree, n, O_WRONLY, &root_user, &h), -EPERM, "messages are not written");
    tree_forget(tree, n, 1);

    is_int(write_to("TopicA/perm", "4\n", O_WRONLY | O_TRUNC, 0, &root_user), 0, "a value is set");
    is_text(text_of("TopicA/perm", &root_user), "4\n", "... and read");
    is_int(write_to("TopicA/perm", "6\n", O_WRONLY | O_APPEND, 2, &root_user), 0, "appending sets it too");
    is_text(text_of("TopicA/perm", &root_user), "6\n", "... whole");
    is_int(write_to("TopicA/perm", "4\n", O_WRONLY, 2, &root_user), -EINVAL, "a write in the middle is refused");
    is_int(write_to("TopicA/perm", " 6 \n", O_RDWR, 0, &root_user), 0, "blanks around do not matter");

    n = walk_to("TopicB", &a, &err);
    is_int(tree_file_open(tree, n, O_RDONLY, &root_user, &h), -EISDIR, "a directory is no file");
    tree_forget(tree, n, 1);
    n = walk_to("TopicB/perm", &a, &err);
    is_int(tree_file_open(tree, n, O_RDWR, &root_user, &h), 0, "held open");
    is_int(remove_name("", "TopicB", true), 0, "... the topic removed");
    is_int(tree_file_read(h, small, 4, 0, &p), 2, "... what was open can be read");
    is_int(tree_file_write(h, "4\n", 2, 0, &root_user), -ESTALE, "... but not set");
    tree_file_close(h);
    tree_forget(tree, n, 1);
    make_dir("", "TopicB", &root_user);
}

static int bind_new(const char *text, struct tree_attr *a)
{
    struct tree_handle *h;
    struct tree_node *n;
    int err;
    struct tree_node *d = walk_to("groups/g1/bindings", a, &err);
    ssize_t rc;

    err = tree_file_make(tree, d, S("TopicB"), O_WRONLY | O_CREAT, &root_user, &n, a, &h);
    tree_forget(tree, d, 1);
    if (err)
        return err;
    rc = text ? tree_file_write(h, text, strlen(text), 0, &root_user) : 0;
    tree_file_close(h);
    tree_forget(tree, n, 1);
    return rc < 0 ? (int)rc : 0;
}

static void test_bindings(void)
{
    struct tree_attr a;

    is_int(bind_new(NULL, &a), 0, "made and closed");
    is_text(text_of("groups/g1/bindings/TopicB", &root_user), "*\n", "... binds to *");
    is_int(bind_new(NULL, &a), -EEXIST, "... once");
    is_int(remove_name("groups/g1/bindings", "TopicB", true), -ENOTDIR, "rmdir is not for it");
    is_int(remove_name("groups/g1/bindings", "TopicB", false), 0, "removed");
    is_int(look("groups/g1/bindings", S("TopicB")), -ENOENT, "... gone");
    is_int(bind_new("sql: a >>> (\n", &a), -EINVAL, "made with a filter that is refused");
    is_int(look("groups/g1/bindings", S("TopicB")), -ENOENT, "... the making is taken back");
    is_int(bind_new("TagA || TagB\n", &a), 0, "made with a filter");
    is_text(text_of("groups/g1/bindings/TopicB", &root_user), "TagA || TagB\n", "... which is it");
}

static void test_last_error(void)
{
    struct tree_who who = {1000, 1000, 1};

    is_text(text_of("broker/last_error", &other_user), "\n", "no error yet: an empty line");
    is_int(write_to("TopicA/perm", "x", O_WRONLY, 0, &other_user), -EINVAL, "refused");
    is_text(text_of("broker/last_error", &other_user), "/TopicA/perm: 'x' is not a number\n", "the sentence");
    ok(strstr(text_of("broker/last_error", &root_user), "'x'") == NULL, "... is that user's only");
    for (; who.uid < 2000; who.uid++)
        write_to("TopicA/perm", "many", O_WRONLY, 0, &who);
    who.uid--;
    is_text(text_of("broker/last_error", &who), "/TopicA/perm: 'many' is not a number\n", "of a thousand users the last has his");
    is_text(text_of("broker/last_error", &other_user), "\n", "... and the first is forgotten");
}

static void test_owners(void)
{
    struct tree_attr a;
    int err;
    struct tree_node *n = walk_to("TopicA", &a, &err);

    is_int(tree_chown(tree, n, 54321, (gid_t)-1, &root_user), 0, "handed to a user without a name");
    tree_attr(tree, n, &root_user, &a);
    is_int(a.uid, 54321, "... who owns it");
    is_int(tree_chown(tree, n, (uid_t)-1, a.gid, &root_user), 0, "the group it has");
    is_int(tree_chown(tree, n, (uid_t)-1, a.gid + 1, &root_user), -EPERM, "another group");
    tree_forget(tree, n, 1);
    n = walk_to("TopicA/0/messages", &a, &err);
    is_int(a.uid, 54321, "what is in it has its owner");
    is_int(a.mode, S_IFDIR | 0550, "messages are not for all");
    tree_forget(tree, n, 1);
}

/* ---- many at once ---- */

struct worker {
    pthread_t thread;
    unsigned seed;
    int number, wrong;
};

static void *work(void *arg)
{
    static const char *const paths[] = {"TopicA/0/offset", "TopicA/status", "groups/g1/lag", "broker/last_error", "TopicA/0/messages/00000000000000000001"};
    struct worker *w = arg;
    char mine[32];

    snprintf(mine, sizeof(mine), "w%d", w->number);
    for (int i = 0; i < 300; i++) {
        struct tree_attr a;
        int err;
        struct tree_node *n = walk_to(paths[rand_r(&w->seed) % 5], &a, &err);
        struct tree_handle *h;
        const char *p;
        char room[4096];

        if (!n) {
            w->wrong++;
            continue;
        }
        if (tree_file_open(tree, n, O_RDONLY, &root_user, &h) == 0) {
            w->wrong += tree_file_read(h, room, sizeof(room), 0, &p) <= 0;
            tree_file_close(h);
        }
        tree_forget(tree, n, 1);
        if (i % 30 == 0)
            w->wrong += make_dir("", mine, &root_user) != 0;
        if (i % 30 == 15)
            w->wrong += remove_name("", mine, true) != 0;
    }
    return NULL;
}

static void test_threads(void)
{
    struct worker w[4] = {{.seed = 1}, {.seed = 2, .number = 1}, {.seed = 3, .number = 2}, {.seed = 4, .number = 3}};
    int wrong = 0;

    for (int i = 0; i < 4; i++)
        pthread_create(&w[i].thread, NULL, work, &w[i]);
    for (int i = 0; i < 4; i++) {
        pthread_join(w[i].thread, NULL);
        wrong += w[i].wrong;
    }
    is_int(wrong, 0, "four threads look, read, make and remove");
    is_int(held(), 0, "... and leave no node behind");
}

int main(void)
{
    struct fault f = {0};
    struct ask a;
    struct command answer;
    char body[16];

    log_open("/dev/null", LOG_WARN);
    house_open(NULL);
    if (tree_open(house, &tree, &f))
        house_bail("tree", &f);
    make_topic("TopicA", 2);
    make_topic("TopicB", 1);
    make_group(CONSUMER_GROUP, "g1");
    for (int i = 0; i < 10; i++) {
        snprintf(body, sizeof(body), "body no.%d", i);
        ask_send(&a, "TopicA", 0, body, "");
        is_int(answer_to(&a, &answer), 0, "a message");
    }
    test_names();
    test_nodes();
    test_listing();
    test_keys();
    test_clients();
    test_handles();
    test_bindings();
    test_last_error();
    test_owners();
    test_threads();
    tree_close(tree);
    house_close();
    return tap_done();
}
