/* check_store: queues that the log names and that have no directory. Of a deleted topic that is as it should be; of one
 * that the topic table has, somebody removed it. config/topics.json says which topics there are, and our audit.log when
 * they were made: what was stored before is of an earlier topic of that name. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <uthash.h>

#include "common/file.h"
#include "common/json.h"
#include "store/check_priv.h"

#define TABLE_MAX ((size_t)256 << 20)
#define QUEUES_MAX 65536

struct born {                            /* when a topic was made, by its name; ms */
    UT_hash_handle hh;
    int64_t at;
    char topic[];
};

static void forget(struct born *all)
{
    struct born *b, *next;

    HASH_ITER(hh, all, b, next) {
        HASH_DEL(all, b);
        free(b);
    }
}

/* Of "2026-11-21T09:04:34.317Z", in ms; -1. */
static int64_t time_of(struct str text)
{
    struct tm tm = {0};
    const char *ms;
    char z[32];

    if (!str_copy(z, sizeof z, text) || !(ms = strptime(z, "%Y-%m-%dT%H:%M:%S", &tm)))
        return -1;
    return (int64_t)timegm(&tm) * 1000 + (*ms == '.' ? strtol(ms + 1, NULL, 10) : 0);
}

/* A line of the audit. 0 or -ENOMEM. */
static int note_line(struct born **all, const struct json *line)
{
    struct str path = json_str(line, "path"), topic;
    int64_t at = time_of(json_str(line, "time"));
    struct born *b;

    if (!str_is(json_str(line, "what"), "topic.create") || path.n < 2 || at < 0)
        return 0;
    topic = str_n(path.p + 1, path.n - 1);
    HASH_FIND(hh, *all, topic.p, topic.n, b);
    if (!b) {
        if (!(b = calloc(1, sizeof *b + topic.n + 1)))
            return -ENOMEM;
        memcpy(b->topic, topic.p, topic.n);
        HASH_ADD_KEYPTR(hh, *all, b->topic, topic.n, b);
    }
    b->at = at > b->at ? at : b->at;
    return 0;
}

/* 0 or -errno; without an audit nobody was born. */
static int read_audit(const struct check *c, struct born **all)
{
    struct buf text = {0};
    struct str left;
    char path[4096];
    int rc = (size_t)snprintf(path, sizeof path, "%s/audit.log", c->o->root) >= sizeof path ? -ENAMETOOLONG
           : file_read(path, TABLE_MAX, &text);

    for (left = buf_str(&text); !rc && left.n;) {
        const char *end = memchr(left.p, '\n', left.n);
        struct str line = str_n(left.p, end ? (size_t)(end - left.p) : left.n);
        struct json *v;
        struct arena a;
        left = end ? str_n(end + 1, left.n - line.n - 1) : str_n(left.p, 0);
        if (!memmem(line.p, line.n, "\"topic.create\"", 14))
            continue;
        arena_init(&a, 1 << 20);
        if (json_parse(&a, line, &v) == 0)
            rc = note_line(all, v);
        arena_free(&a);
    }
    buf_free(&text);
    return rc == -ENOENT || rc == -EFBIG ? 0 : rc;
}

static void tell_lost(struct check *c, struct check_queue *q, bool batch)
{
    char dir[4096];

    q->seen = true;
    if ((size_t)snprintf(dir, sizeof dir, "%s/%s/%.*s/%" PRId32, c->o->root, batch ? "batchconsumequeue" : "consumequeue",
                         q->topic_n, q->topic, q->id) >= sizeof dir)
        return;
    check_find(c, dir, 0, "the queue is missing: the log has %" PRId64 " records of it, the last is number %" PRId64, q->records,
               q->end - 1);
    check_bad(c, batch ? CHECK_BATCH_QUEUE : CHECK_QUEUE, dir);
}

static void look_at_topic(struct check *c, const struct json *topic, const struct born *born)
{
    int64_t r = json_int(topic, "readQueueNums", 0), w = json_int(topic, "writeQueueNums", 0), n = r > w ? r : w;
    struct str name = json_str(topic, "topicName");
    const struct born *b;

    if (!name.n)
        return;
    HASH_FIND(hh, born, name.p, name.n, b);
    for (int64_t id = 0; id < n && id < QUEUES_MAX; id++) {
        struct check_queue *q = check_queue_get(c, name, (int32_t)id, false);
        if (q && !q->seen && (!b || q->last_time >= b->at))
            tell_lost(c, q, str_is(json_str(json_member(topic, "attributes"), "queue.type"), "BatchCQ"));
    }
}

static int look_at_table(struct check *c, struct str text)
{
    struct born *born = NULL;
    struct json *table;
    struct arena a;
    int rc = 0;

    arena_init(&a, TABLE_MAX * 4);
    if (json_parse(&a, text, &table) == 0 && !(rc = read_audit(c, &born)))
        json_each(topic, json_member(table, "topicConfigTable"))
            look_at_topic(c, topic, born);
    forget(born);
    arena_free(&a);
    return rc;
}

/* After a crash and without a checkpoint the broker reads its whole log when it starts, and makes what is missing. */
static bool will_be_made(const struct check *c)
{
    char path[4096];

    return c->r->not_clean && (size_t)snprintf(path, sizeof path, "%s/checkpoint", c->o->root) < sizeof path &&
           access(path, F_OK) < 0;
}

int check_lost(struct check *c)
{
    struct buf text = {0};
    char path[4096];
    int rc;

    if (will_be_made(c))
        return 0;
    rc = (size_t)snprintf(path, sizeof path, "%s/config/topics.json", c->o->root) >= sizeof path ? -ENAMETOOLONG
       : file_read(path, TABLE_MAX, &text);
    if (!rc)
        rc = look_at_table(c, buf_str(&text));
    buf_free(&text);
    return rc == -ENOENT || rc == -EFBIG ? 0 : rc;
}
