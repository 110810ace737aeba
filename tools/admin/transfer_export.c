#include "tools/admin/transfer.h"

#include <errno.h>
#include <inttypes.h>

#include "common/message.h"
#include "tools/admin/wire.h"

#define READER "TOOLS_CONSUMER"      /* the group as which Apache's tools read: it may read every topic */
#define JSON_MAX (16u << 20)

struct job {
    const struct transfer *t;
    struct wire w;
    FILE *out;
    struct buf line, offsets;        /* offsets: their lines, for the end */
    int64_t messages;
    struct fault *f;
};

static int put_line(struct job *j)
{
    bool good = !buf_failed(&j->line) && fwrite(j->line.p, 1, j->line.n, j->out) == j->line.n && putc('\n', j->out) != EOF;

    buf_reset(&j->line);
    return good ? 0 : fault_errno(j->f, errno ? errno : EIO, "write the export");
}

/* A topic's or group's object as the broker gives it; its queues into *queues (groups: NULL). */
static int put_config(struct job *j, int code, const char *field, const char *kind, struct str name, int *queues)
{
    struct command cmd = {.code = code};
    struct json_writer w;
    struct json *body;
    struct arena a;
    int rc;

    command_add(&cmd, field, name);
    if ((rc = wire_call(&j->w, &cmd, -1, j->f)))
        return rc;
    arena_init(&a, JSON_MAX);
    if (json_parse(&a, j->w.reply.body, &body) || body->type != JSON_OBJECT) {
        rc = fault_set(j->f, RC_SYSTEM_ERROR, EBADMSG, "%s told the %s %.*s in no JSON", j->w.addr, kind, STR_ARG(name));
    } else {
        if (queues) {
            int64_t r = json_int(body, "readQueueNums", 0), n = json_int(body, "writeQueueNums", 0);
            *queues = (int)(r > n ? r : n);
        }
        jw_init(&w, &j->line, false);
        jw_object(&w);
        jw_key(&w, kind);
        jw_value(&w, body);
        jw_object_end(&w);
        rc = put_line(j);
    }
    arena_free(&a);
    return rc;
}

static int offset_of(struct job *j, int code, struct str topic, int queue, int64_t *out)
{
    struct command cmd = {.code = code};
    char n[21];
    int rc;

    command_add(&cmd, "topic", topic);
    command_add_i64(&cmd, "queueId", queue, n);
    return (rc = wire_call(&j->w, &cmd, -1, j->f)) ? rc : wire_number(&j->w, "offset", out, j->f);
}

/* The group's committed offset, when there is one, as a line for the end. */
static int note_offset(struct job *j, struct str group, struct str topic, int queue)
{
    struct command cmd = {.code = 14};
    struct json_writer w;
    int64_t offset;
    char n[21];
    int rc;

    command_add(&cmd, "consumerGroup", group);
    command_add(&cmd, "topic", topic);
    command_add_i64(&cmd, "queueId", queue, n);
    command_add(&cmd, "setZeroIfNotFound", str_of("false"));
    if ((rc = wire_call(&j->w, &cmd, RC_QUERY_NOT_FOUND, j->f)) || j->w.reply.code == RC_QUERY_NOT_FOUND)
        return rc;
    if ((rc = wire_number(&j->w, "offset", &offset, j->f)))
        return rc;
    jw_init(&w, &j->offsets, false);
    jw_object(&w);
    jw_kobject(&w, "offset");
    jw_kstr(&w, "group", group);
    jw_kint(&w, "offset", offset);
    jw_kint(&w, "queue", queue);
    jw_kstr(&w, "topic", topic);
    jw_object_end(&w);
    jw_object_end(&w);
    buf_putc(&j->offsets, '\n');
    return 0;
}

static int put_message(struct job *j, const struct message *m)
{
    struct json_writer w;
    struct buf body = {0}, properties = {0};
    int rc;

    base64_put(&body, m->body);
    base64_put(&properties, m->properties);
    jw_init(&w, &j->line, false);
    jw_object(&w);
    jw_kobject(&w, "message");
    jw_kstr(&w, "body", buf_str(&body));
    jw_kint(&w, "born", m->born_timestamp);
    jw_kint(&w, "flag", m->flag);
    jw_kint(&w, "offset", m->queue_offset);
    jw_kstr(&w, "properties", buf_str(&properties));
    jw_kint(&w, "queue", m->queue_id);
    jw_kint(&w, "reconsume", m->reconsume_times);
    jw_kint(&w, "sysFlag", m->sys_flag);
    jw_kstr(&w, "topic", m->topic);
    jw_object_end(&w);
    jw_object_end(&w);
    rc = buf_failed(&body) || buf_failed(&properties) ? fault_errno(j->f, ENOMEM, "export a message") : put_line(j);
    buf_free(&body);
    buf_free(&properties);
    j->messages++;
    return rc;
}

/* One pull's records up to offset `end`. */
static int put_records(struct job *j, struct str topic, int64_t end)
{
    struct str left = j->w.reply.body;
    struct message m;
    int rc = 0;

    while (!rc && left.n) {
        if (message_record_get(left.p, left.n, true, &m) || m.size == 0 || m.size > left.n)
            return fault_set(j->f, RC_SYSTEM_ERROR, EBADMSG, "%s gave a broken message of topic %.*s", j->w.addr, STR_ARG(topic));
        if (m.queue_offset < end)
            rc = put_message(j, &m);
        left = str_n(left.p + m.size, left.n - m.size);
    }
    return rc;
}

static int pull(struct job *j, struct str topic, int queue, int64_t at)
{
    struct command cmd = {.code = 11};
    char n1[21], n2[21];

    command_add(&cmd, "consumerGroup", str_of(READER));
    command_add(&cmd, "topic", topic);
    command_add_i64(&cmd, "queueId", queue, n1);
    command_add_i64(&cmd, "queueOffset", at, n2);
    command_add(&cmd, "maxMsgNums", str_of("32"));
    command_add(&cmd, "sysFlag", str_of("4"));           /* the subscription is in the request */
    command_add(&cmd, "commitOffset", str_of("0"));
    command_add(&cmd, "suspendTimeoutMillis", str_of("0"));
    command_add(&cmd, "subscription", str_of("*"));
    command_add(&cmd, "subVersion", str_of("0"));
    command_add(&cmd, "expressionType", str_of("TAG"));
    return wire_call(&j->w, &cmd, RC_PULL_OFFSET_MOVED, j->f);
}

static int put_queue(struct job *j, struct str topic, int queue)
{
    int64_t at, end, next;
    int rc;

    if ((rc = offset_of(j, 31, topic, queue, &at)) || (rc = offset_of(j, 30, topic, queue, &end)))
        return rc;
    while (at < end) {
        if ((rc = pull(j, topic, queue, at)) || (rc = wire_number(&j->w, "nextBeginOffset", &next, j->f)))
            return rc;
        if (next <= at)
            return fault_set(j->f, RC_SYSTEM_ERROR, EBADMSG, "%s does not get past offset %" PRId64 " of %.*s/%d", j->w.addr, at,
                             STR_ARG(topic), queue);
        if (j->w.reply.code == RC_SUCCESS && (rc = put_records(j, topic, end)))
            return rc;
        at = next;
    }
    return 0;
}

static int put_all(struct job *j)
{
    struct str topics = str_of(j->t->topics), groups, topic, group;
    int queues[1024], n = 0, rc = 0;

    buf_puts(&j->line, "{\"export\":\"topics\",\"version\":1}");
    rc = put_line(j);
    for (; !rc && (topic = next_name(&topics)).n; n++)
        rc = n == 1024 ? fault_set(j->f, RC_INVALID_PARAMETER, E2BIG, "at most 1024 topics at a time") :
                         put_config(j, 351, "topic", "topic", topic, &queues[n]);
    for (groups = str_of(j->t->groups); !rc && (group = next_name(&groups)).n;) {
        rc = put_config(j, 352, "group", "group", group, NULL);
        topics = str_of(j->t->topics);
        for (int i = 0; !rc && (topic = next_name(&topics)).n; i++)
            for (int q = 0; !rc && q < queues[i]; q++)
                rc = note_offset(j, group, topic, q);
    }
    topics = str_of(j->t->topics);
    for (int i = 0; !rc && (topic = next_name(&topics)).n; i++)
        for (int q = 0; !rc && q < queues[i]; q++)
            rc = put_queue(j, topic, q);
    return rc;
}

int transfer_export(const struct transfer *t, FILE *out, struct fault *f)
{
    struct job j = {.t = t, .out = out, .f = f};
    int rc = wire_open(&j.w, t->broker, f);

    if (rc)
        return rc;
    rc = put_all(&j);
    if (!rc && (buf_failed(&j.offsets) || (j.offsets.n && fwrite(j.offsets.p, 1, j.offsets.n, out) != j.offsets.n)))
        rc = fault_errno(f, errno ? errno : ENOMEM, "write the export");
    if (!rc) {
        buf_printf(&j.line, "{\"end\":{\"messages\":%" PRId64 "}}", j.messages);
        rc = put_line(&j);
    }
    if (!rc && !t->quiet)
        fprintf(stderr, "%" PRId64 " messages\n", j.messages);
    buf_free(&j.line);
    buf_free(&j.offsets);
    wire_close(&j.w);
    return rc;
}
