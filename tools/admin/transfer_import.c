/* Reads the file twice: first to check it and the broker, and to work out what
 * would be done; then to do it. */
#include "tools/admin/transfer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/message.h"
#include "tools/admin/wire.h"

#define WRITER "mqadmin-import"      /* the producer group: where bindings are enforced it needs one */
#define JSON_MAX (256u << 20)
#define PROGRESS_MS 500
#define COMPRESSION 0x700            /* MessageSysFlag: the kind of compression */

/* Messages [old, old + n) of a queue became [now, now + n). */
struct range {
    int64_t old, now, n;
};

struct queue {
    struct topic *topic;
    int32_t id;
    int64_t base;                    /* the broker's next offset when it was first looked at */
    int64_t messages;
    struct range *ranges;
    size_t n, cap;
};

struct topic {
    struct topic *next;
    char *name;
    bool exists;
    int64_t write_queues;
    struct queue *queues;            /* write_queues of them */
};

struct group {
    struct group *next;
    char *name;
    bool exists;
};

struct job {
    const struct transfer *t;
    struct wire w;
    struct topic *topics;
    struct group *groups;
    bool doing;                      /* the second time */
    bool began, ended, told_queues;
    int64_t line, messages;
    int64_t total, told_at;
    struct buf properties, body;
    struct fault *f;
};

static int bad(struct job *j, const char *what)
{
    return fault_set(j->f, RC_INVALID_PARAMETER, EBADMSG, "line %" PRId64 ": %s", j->line, what);
}

/* ---- what the file and the broker have ---- */

static struct topic *find_topic(struct job *j, struct str name)
{
    struct topic *t = j->topics;

    while (t && !str_is(name, t->name))
        t = t->next;
    return t;
}

static struct group *find_group(struct job *j, struct str name)
{
    struct group *g = j->groups;

    while (g && !str_is(name, g->name))
        g = g->next;
    return g;
}

static int look_for(struct job *j, int code, const char *field, struct str name, int missing)
{
    struct command cmd = {.code = code};

    command_add(&cmd, field, name);
    return wire_call(&j->w, &cmd, missing, j->f);
}

static int64_t queues_told(struct job *j)
{
    struct json *body;
    struct arena a;
    int64_t n = 0;

    arena_init(&a, JSON_MAX);
    if (json_parse(&a, j->w.reply.body, &body) == 0)
        n = json_int(body, "writeQueueNums", 0);
    arena_free(&a);
    return n;
}

static int note_topic(struct job *j, const struct json *config)
{
    struct str name = json_str(config, "topicName");
    struct topic *t;
    int rc;

    if (!name.n || find_topic(j, name))
        return bad(j, "a topic without a name, or twice");
    if ((rc = look_for(j, 351, "topic", name, RC_TOPIC_NOT_EXIST)))
        return rc;
    if (!(t = calloc(1, sizeof *t)))
        return fault_errno(j->f, ENOMEM, "import");
    t->next = j->topics;
    j->topics = t;
    t->exists = j->w.reply.code == RC_SUCCESS;
    t->write_queues = t->exists ? queues_told(j) : json_int(config, "writeQueueNums", 0);
    if (t->write_queues < 0 || t->write_queues > 65536)
        return bad(j, "a topic with an impossible number of queues");
    t->name = str_dup(name);
    t->queues = calloc((size_t)t->write_queues + 1, sizeof *t->queues);
    if (!t->name || !t->queues)
        return fault_errno(j->f, ENOMEM, "import");
    for (int64_t i = 0; i < t->write_queues; i++)
        t->queues[i] = (struct queue){.topic = t, .id = (int32_t)i, .base = t->exists ? -1 : 0};
    return 0;
}

static int note_group(struct job *j, const struct json *config)
{
    struct str name = json_str(config, "groupName");
    struct group *g;
    int rc;

    if (!name.n || find_group(j, name))
        return bad(j, "a group without a name, or twice");
    if ((rc = look_for(j, 352, "group", name, RC_SUBSCRIPTION_GROUP_NOT_EXIST)))
        return rc;
    if (!(g = calloc(1, sizeof *g)) || !(g->name = str_dup(name))) {
        free(g);
        return fault_errno(j->f, ENOMEM, "import");
    }
    g->exists = j->w.reply.code == RC_SUCCESS;
    g->next = j->groups;
    j->groups = g;
    return 0;
}

/* The queue that an object with "topic" and "queue" names. */
static int queue_of(struct job *j, const struct json *o, struct queue **out)
{
    struct topic *t = find_topic(j, json_str(o, "topic"));
    int64_t id = json_int(o, "queue", -1);
    struct command cmd = {.code = 30};
    char n[21];
    int rc;

    if (!t)
        return bad(j, "of a topic that the file does not have");
    if (id < 0 || id >= t->write_queues)
        return fault_set(j->f, RC_INVALID_PARAMETER, ERANGE, "topic %s has %" PRId64 " queues there: none of number %" PRId64
                         "; give it more first", t->name, t->write_queues, id);
    *out = &t->queues[id];
    if ((*out)->base >= 0)
        return 0;
    command_add(&cmd, "topic", str_of(t->name));
    command_add_i64(&cmd, "queueId", id, n);
    return (rc = wire_call(&j->w, &cmd, -1, j->f)) ? rc : wire_number(&j->w, "offset", &(*out)->base, j->f);
}

/* ---- where a message went ---- */

static int add_range(struct job *j, struct queue *q, int64_t old, int64_t now)
{
    struct range *last = q->n ? &q->ranges[q->n - 1] : NULL;

    if (last && old < last->old + last->n)
        return bad(j, "messages of a queue are not in order");
    q->messages++;
    if (last && old == last->old + last->n && now == last->now + last->n) {
        last->n++;
        return 0;
    }
    if (q->n == q->cap) {
        size_t cap = q->cap ? q->cap * 2 : 4;
        struct range *r = realloc(q->ranges, cap * sizeof *r);
        if (!r)
            return fault_errno(j->f, ENOMEM, "import");
        q->ranges = r;
        q->cap = cap;
    }
    q->ranges[q->n++] = (struct range){old, now, 1};
    return 0;
}

/* Where a reader at `old` goes on: at the first message from there on, or behind the last. */
static int64_t offset_now(const struct queue *q, int64_t old)
{
    for (size_t i = 0; i < q->n; i++) {
        const struct range *r = &q->ranges[i];
        if (old < r->old + r->n)
            return old > r->old ? r->now + (old - r->old) : r->now;
    }
    return q->n ? q->ranges[q->n - 1].now + q->ranges[q->n - 1].n : q->base;
}

/* ---- doing it ---- */

static void attributes_text(const struct json *config, struct buf *out)
{
    json_each(a, json_member(config, "attributes")) {
        struct str name = json_as_str(a->key), value = json_as_str(a);
        buf_printf(out, "%s+%.*s=%.*s", out->n ? "," : "", STR_ARG(name), STR_ARG(value));
    }
}

static int make_topic(struct job *j, struct topic *t, const struct json *config)
{
    struct command cmd = {.code = 17};
    struct buf attributes = {0};
    struct str filter = json_str(config, "topicFilterType");
    char n1[21], n2[21], n3[21], n4[21];
    int rc;

    attributes_text(config, &attributes);
    command_add(&cmd, "topic", str_of(t->name));
    command_add(&cmd, "defaultTopic", str_of("TBW102"));
    command_add_i64(&cmd, "readQueueNums", json_int(config, "readQueueNums", t->write_queues), n1);
    command_add_i64(&cmd, "writeQueueNums", t->write_queues, n2);
    command_add_i64(&cmd, "perm", json_int(config, "perm", 6), n3);
    command_add(&cmd, "topicFilterType", filter.n ? filter : str_of("SINGLE_TAG"));
    command_add_i64(&cmd, "topicSysFlag", json_int(config, "topicSysFlag", 0), n4);
    command_add(&cmd, "order", str_of(json_bool(config, "order", false) ? "true" : "false"));
    if (attributes.n)
        command_add(&cmd, "attributes", buf_str(&attributes));
    rc = buf_failed(&attributes) ? fault_errno(j->f, ENOMEM, "make a topic") : wire_call(&j->w, &cmd, -1, j->f);
    buf_free(&attributes);
    return rc;
}

/* The object as it is, but for the attributes: a request says what becomes of each. */
static int make_group(struct job *j, const struct json *config)
{
    struct command cmd = {.code = 200};
    struct json_writer w;
    struct buf body = {0};
    int rc;

    jw_init(&w, &body, false);
    jw_object(&w);
    json_each(m, config) {
        struct str name = json_as_str(m->key);
        jw_key_str(&w, name);
        if (!str_is(name, "attributes")) {
            jw_value(&w, m);
            continue;
        }
        jw_object(&w);
        json_each(a, m) {
            char key[256];
            snprintf(key, sizeof key, "+%.*s", STR_ARG(json_as_str(a->key)));
            jw_kstr(&w, key, json_as_str(a));
        }
        jw_object_end(&w);
    }
    jw_object_end(&w);
    cmd.body = buf_str(&body);
    rc = buf_failed(&body) ? fault_errno(j->f, ENOMEM, "make a group") : wire_call(&j->w, &cmd, -1, j->f);
    buf_free(&body);
    return rc;
}

/* What would have the broker do with the message anew what was done with it before. */
static const char *const spent[] = {"DELAY", "TIMER_DELIVER_MS", "TIMER_DELAY_SEC", "TIMER_DELAY_MS", "TIMER_OUT_MS",
                                    "TIMER_ENQUEUE_MS", "TIMER_DEQUEUE_MS", "TIMER_ROLL_TIMES", "TIMER_DEL_UNIQKEY", "TRAN_MSG",
                                    "MSG_REGION", "TRACE_ON", "CLUSTER", NULL};

static int send_message(struct job *j, struct queue *q, const struct json *m, int64_t *now)
{
    struct command cmd = {.code = 310};
    struct buf properties = {0};
    char n1[21], n2[21], n3[21], n4[21], n5[21];
    int rc;

    prop_copy_without(&properties, buf_str(&j->properties), spent);
    command_add(&cmd, "a", str_of(WRITER));
    command_add(&cmd, "b", str_of(q->topic->name));
    command_add(&cmd, "c", str_of("TBW102"));
    command_add(&cmd, "d", str_of("4"));
    command_add_i64(&cmd, "e", q->id, n1);
    command_add_i64(&cmd, "f", json_int(m, "sysFlag", 0) & (SYSFLAG_MULTI_TAGS | SYSFLAG_COMPRESSED | COMPRESSION), n2);
    command_add_i64(&cmd, "g", json_int(m, "born", 0), n3);
    command_add_i64(&cmd, "h", json_int(m, "flag", 0), n4);
    command_add(&cmd, "i", buf_str(&properties));
    command_add_i64(&cmd, "j", json_int(m, "reconsume", 0), n5);
    command_add(&cmd, "k", str_of("false"));
    command_add(&cmd, "m", str_of("false"));
    cmd.body = buf_str(&j->body);
    rc = buf_failed(&properties) ? fault_errno(j->f, ENOMEM, "send a message") : wire_call(&j->w, &cmd, -1, j->f);
    buf_free(&properties);
    return rc ? rc : wire_number(&j->w, "queueOffset", now, j->f);
}

static int set_offset(struct job *j, const struct queue *q, struct str group, int64_t offset)
{
    struct command cmd = {.code = 15};
    char n1[21], n2[21];

    command_add(&cmd, "consumerGroup", group);
    command_add(&cmd, "topic", str_of(q->topic->name));
    command_add_i64(&cmd, "queueId", q->id, n1);
    command_add_i64(&cmd, "commitOffset", offset, n2);
    return wire_call(&j->w, &cmd, -1, j->f);
}

/* ---- the lines ---- */

static int line_export(struct job *j, const struct json *v)
{
    if (j->began || !str_is(json_as_str(v), "topics"))
        return bad(j, "it is no export of topics");
    j->began = true;
    return 0;
}

static int line_topic(struct job *j, const struct json *v)
{
    struct topic *t;
    int rc = 0;

    if (!j->doing)
        return note_topic(j, v);
    t = find_topic(j, json_str(v, "topicName"));
    if (!t)
        return bad(j, "the file changed");
    if (!t->exists && !j->t->dry_run)
        rc = make_topic(j, t, v);
    if (!rc)
        printf("topic %s: %s, %" PRId64 " queues\n", t->name, t->exists ? "is there, kept as it is" : "made", t->write_queues);
    return rc;
}

static int line_group(struct job *j, const struct json *v)
{
    struct group *g;
    int rc = 0;

    if (!j->doing)
        return note_group(j, v);
    g = find_group(j, json_str(v, "groupName"));
    if (!g)
        return bad(j, "the file changed");
    if (!g->exists && !j->t->dry_run)
        rc = make_group(j, v);
    if (!rc)
        printf("group %s: %s\n", g->name, g->exists ? "is there, kept as it is" : "made");
    return rc;
}

static void show_progress(struct job *j)
{
    int64_t now = mono_ms();

    if (j->t->quiet || now - j->told_at < PROGRESS_MS)
        return;
    j->told_at = now;
    fprintf(stderr, "\r%" PRId64 " of %" PRId64 " messages ", j->messages, j->total);
}

static int line_message(struct job *j, const struct json *m)
{
    int64_t old = json_int(m, "offset", -1), now;
    struct queue *q;
    int rc = queue_of(j, m, &q);

    if (rc)
        return rc;
    buf_reset(&j->body);
    buf_reset(&j->properties);
    if (old < 0 || base64_get(&j->body, json_str(m, "body")) || base64_get(&j->properties, json_str(m, "properties")))
        return bad(j, "a message that is broken");
    now = q->base + q->messages;
    if (j->doing && !j->t->dry_run) {
        if ((rc = send_message(j, q, m, &now)))
            return rc;
        show_progress(j);
    }
    j->messages++;
    return add_range(j, q, old, now);
}

static void tell_queues(struct job *j)
{
    if (j->told_queues)
        return;
    j->told_queues = true;
    for (const struct topic *t = j->topics; t; t = t->next)
        for (int64_t i = 0; i < t->write_queues; i++)
            if (t->queues[i].messages)
                printf("queue %s/%" PRId64 ": %" PRId64 " messages sent, the first is number %" PRId64 "\n", t->name, i,
                       t->queues[i].messages, t->queues[i].ranges[0].now);
}

static int line_offset(struct job *j, const struct json *v)
{
    struct str group = json_str(v, "group");
    int64_t old = json_int(v, "offset", -1), now;
    struct queue *q;
    int rc = queue_of(j, v, &q);

    if (rc || old < 0 || !find_group(j, group))
        return rc ? rc : bad(j, "an offset of a group that the file does not have");
    if (!j->doing)
        return 0;
    tell_queues(j);
    now = offset_now(q, old);
    if (!j->t->dry_run && (rc = set_offset(j, q, group, now)))
        return rc;
    printf("group %.*s in %s/%" PRId32 ": offset %" PRId64 ", was %" PRId64 "\n", STR_ARG(group), q->topic->name, q->id, now, old);
    return 0;
}

static int line_end(struct job *j, const struct json *v)
{
    if (json_int(v, "messages", -1) != j->messages)
        return bad(j, "the file does not have as many messages as it says");
    if (j->doing)
        tell_queues(j);
    j->ended = true;
    return 0;
}

static int take_line(struct job *j, const struct json *o)
{
    static const struct {
        const char *name;
        int (*take)(struct job *j, const struct json *v);
    } lines[] = {{"export", line_export}, {"topic", line_topic}, {"group", line_group}, {"message", line_message},
                 {"offset", line_offset}, {"end", line_end}};

    if (j->ended)
        return bad(j, "something follows the end");
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        const struct json *v = json_member(o, lines[i].name);
        if (v)
            return i && !j->began ? bad(j, "it is no export of topics") : lines[i].take(j, v);
    }
    return bad(j, "it is none of an export's lines");
}

static int read_lines(struct job *j, FILE *in)
{
    char *text = NULL;
    size_t cap = 0;
    ssize_t n;
    int rc = 0;

    j->began = j->ended = false;
    j->line = j->messages = 0;
    while (!rc && (n = getline(&text, &cap, in)) > 0) {
        struct json *o;
        struct arena a;
        j->line++;
        arena_init(&a, JSON_MAX);
        rc = json_parse(&a, str_n(text, (size_t)n), &o) ? bad(j, "it is no JSON") : take_line(j, o);
        arena_free(&a);
    }
    free(text);
    if (!rc && ferror(in))
        rc = fault_errno(j->f, EIO, "read the file");
    return rc || j->ended ? rc : bad(j, "the file ends too early");
}

static void begin_doing(struct job *j)
{
    j->doing = true;
    j->total = j->messages;
    for (struct topic *t = j->topics; t; t = t->next)
        for (int64_t i = 0; i < t->write_queues; i++)
            t->queues[i].n = 0, t->queues[i].messages = 0;
}

static void job_free(struct job *j)
{
    while (j->topics) {
        struct topic *t = j->topics;
        j->topics = t->next;
        for (int64_t i = 0; t->queues && i < t->write_queues; i++)
            free(t->queues[i].ranges);
        free(t->queues);
        free(t->name);
        free(t);
    }
    while (j->groups) {
        struct group *g = j->groups;
        j->groups = g->next;
        free(g->name);
        free(g);
    }
    buf_free(&j->properties);
    buf_free(&j->body);
    wire_close(&j->w);
}

int transfer_import(const struct transfer *t, FILE *in, struct fault *f)
{
    struct job j = {.t = t, .f = f, .told_at = mono_ms()};
    int rc = wire_open(&j.w, t->broker, f);

    if (!rc && !(rc = read_lines(&j, in))) {
        begin_doing(&j);
        if (fseek(in, 0, SEEK_SET) < 0)
            rc = fault_errno(f, errno, "read the file again");
        else
            rc = read_lines(&j, in);
    }
    if (!rc && t->dry_run)
        puts("nothing of this was done: --dry-run");
    job_free(&j);
    return rc;
}
