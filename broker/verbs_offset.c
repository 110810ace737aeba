/* Looking at committed offsets, and resetting them. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "broker/clients.h"
#include "broker/hold.h"
#include "broker/offsets.h"
#include "broker/offset_reset.h"
#include "broker/verbs.h"
#include "common/remoting/codes.h"

#define MEMBERS_MAX 4096             /* members of a group that are told of a reset */

int broker_offset_get(struct broker *b, struct str group, struct str topic, int32_t queue, int64_t *out)
{
    *out = offsets_get(b->offsets, group, topic, queue);
    return *out < 0 ? -ENOENT : 0;
}

int broker_offset_topic(struct broker *b, struct str group, uint32_t n, char topic[TOPIC_NAME_MAX_LONG + 1])
{
    return offsets_topic_at(b->offsets, group, n, topic);
}

/* ---- what a reset goes to ---- */

/* "2026-11-20T10:00", "2026-11-20 10:00:00", local time. */
static bool parse_time(struct str spec, int64_t *ms)
{
    static const char *const formats[] = {"%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M",
                                          "%Y-%m-%d %H:%M", "%Y-%m-%d"};
    char text[40];

    if (!str_copy(text, sizeof(text), spec))
        return false;
    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
        struct tm tm = {.tm_isdst = -1};
        const char *end = strptime(text, formats[i], &tm);
        time_t t;

        if (!end || *end)
            continue;
        t = mktime(&tm);
        if (t == (time_t)-1)
            return false;
        *ms = (int64_t)t * 1000;
        return true;
    }
    return false;
}

int reset_target_parse(struct str spec, struct reset_target *out, struct fault *f)
{
    spec = str_trim(spec);
    *out = (struct reset_target){0};
    if (str_is(spec, "min"))
        out->to = RESET_MIN;
    else if (str_is(spec, "max"))
        out->to = RESET_MAX;
    else if (spec.n && spec.p[0] == '@' && !str_i64(str_n(spec.p + 1, spec.n - 1), &out->value) &&
             out->value >= 0)
        out->to = RESET_TIME;
    else if (parse_time(spec, &out->value))
        out->to = RESET_TIME;
    else if (!str_i64(spec, &out->value))
        out->to = RESET_OFFSET;
    else
        return fault_set(f, RC_INVALID_PARAMETER, EINVAL,
                         "an offset is a number, min, max, or a time as in 2026-11-20T10:00 or @1795168800000, not \"%.*s\"",
                         spec.n > 60 ? 60 : (int)spec.n, spec.n ? spec.p : "");
    return 0;
}

/* ---- where that is ---- */

static int find_topic(struct broker *b, struct str group, struct str topic, int32_t queue,
                      struct topic **out, struct fault *f)
{
    struct topic *t = meta_topic(b->meta, topic);

    if (!t)
        return fault_set(f, RC_TOPIC_NOT_EXIST, ENOENT, "there is no topic %.*s",
                         topic.n > 255 ? 255 : (int)topic.n, topic.p);
    if (!meta_group(b->meta, CONSUMER_GROUP, group))
        return fault_set(f, RC_SUBSCRIPTION_GROUP_NOT_EXIST, ENOENT, "there is no group %.*s",
                         group.n > 255 ? 255 : (int)group.n, group.p);
    if (queue < -1)
        return fault_set(f, RC_INVALID_PARAMETER, EINVAL, "there is no queue %d", queue);
    if (queue >= t->info.read_queues)
        return fault_set(f, RC_INVALID_PARAMETER, ENOENT,
                         "topic %s has no queue %d: its queues are 0 to %d", t->info.name, queue,
                         t->info.read_queues - 1);
    *out = t;
    return 0;
}

static int disk_failed(int32_t queue, const struct topic *t, int rc, struct fault *f)
{
    return fault_set(f, RC_SYSTEM_ERROR, -rc, "queue %d of topic %s cannot be read from the disk: %s; the broker's log says "
                     "more", queue, t->info.name, strerror(-rc));
}

static int locate(struct broker *b, const struct topic *t, const struct reset_target *to,
                  struct reset_queue *r, struct fault *f)
{
    struct store_queue *q = t->queues[r->queue];
    int rc = store_queue_load(b->store, q);
    int64_t min = store_queue_min(b->store, q), max = store_queue_max(b->store, q);

    if (rc)
        return disk_failed(r->queue, t, rc, f);
    switch (to->to) {
    case RESET_MIN:
        r->offset = min;
        break;
    case RESET_MAX:
        r->offset = max;
        break;
    case RESET_TIME:
        r->offset = store_offset_at_time(b->store, q, to->value, false);
        if (r->offset < 0)
            return disk_failed(r->queue, t, (int)r->offset, f);
        if (r->offset < min)    /* the search answers with the queue file's beginning for times before it */
            r->offset = min;
        if (!broker_conf(b)->use_server_side_reset_offset && !to->force && r->old >= min &&
            r->old < r->offset)
            r->offset = r->old;
        break;
    case RESET_OFFSET:
        r->offset = to->value;
        break;
    }
    if (r->offset >= min && r->offset <= max)
        return 0;
    return fault_set(f, RC_SYSTEM_ERROR, ERANGE,
                     "queue %d of topic %s has offsets %lld to %lld, so not %lld", r->queue,
                     t->info.name, (long long)min, (long long)max, (long long)r->offset);
}

/* Within verb_begin: the queue handles are good, since deleting a topic is a verb, too. */
static int locate_all(struct broker *b, struct str group, struct str topic, int32_t queue,
                      const struct reset_target *to, struct reset_queue **out, int *n, struct fault *f)
{
    struct topic *t = NULL;
    struct reset_queue *all;
    int rc = find_topic(b, group, topic, queue, &t, f);

    if (rc)
        return rc;
    *n = queue < 0 ? t->info.read_queues : 1;
    all = calloc((size_t)*n + 1, sizeof(*all));
    if (!all)
        return fault_errno(f, ENOMEM, "resetting offsets");
    for (int i = 0; i < *n && !rc; i++) {
        all[i].queue = queue < 0 ? i : queue;
        all[i].old = offsets_get(b->offsets, group, topic, all[i].queue);
        rc = locate(b, t, to, &all[i], f);
    }
    if (rc)
        free(all);
    else
        *out = all;
    return rc;
}

/* ---- telling clients that do not learn it from their next pull ---- */

void reset_body(struct buf *out, const char *broker, struct str topic, const struct reset_queue *queues,
                int n, bool list)
{
    struct json_writer w;

    jw_init(&w, out, false);
    jw_object(&w);
    jw_key(&w, "offsetTable");
    list ? jw_array(&w) : jw_object(&w);
    for (int i = 0; i < n; i++) {
        if (!list)
            jw_key_object(&w);
        jw_object(&w);
        jw_ktext(&w, "brokerName", broker);
        if (list)
            jw_kint(&w, "offset", queues[i].offset);
        jw_kint(&w, "queueId", queues[i].queue);
        jw_kstr(&w, "topic", topic);
        jw_object_end(&w);
        if (!list) {
            jw_key_object_end(&w);
            jw_int(&w, queues[i].offset);
        }
    }
    list ? jw_array_end(&w) : jw_object_end(&w);
    jw_object_end(&w);
}

static void tell_member(struct conn *conn, struct str group, struct str topic, struct str body)
{
    struct command cmd = {.code = 220, .version = VERSION_V5_5_0, .language = LANG_OTHER};

    cmd.body = body;
    command_add(&cmd, "group", group);
    command_add(&cmd, "topic", topic);
    command_add(&cmd, "timestamp", str_of("-1"));       /* the body says it all */
    command_add(&cmd, "isForce", str_of("true"));
    conn_ask(conn, &cmd, 0, NULL, NULL);
}

/* Sends RESET_CONSUMER_CLIENT_OFFSET to every member, each in the form of its language. How many. */
static int tell_members(struct broker *b, struct str group, struct str topic,
                        const struct reset_queue *queues, int n)
{
    struct client_scope members = {.kind = CONSUMER_GROUP, .group = group};
    struct client_info who = {0};
    struct buf body = {0};
    int told = 0;

    for (int i = 0; i < MEMBERS_MAX && broker_client_next(b, &members, who.number, &who) == 0; i++) {
        struct conn *conn = clients_member(b->clients, CONSUMER_GROUP, group, str_of(who.id));

        if (!conn)
            continue;
        buf_reset(&body);
        reset_body(&body, broker_conf(b)->broker_name, topic, queues, n, strcmp(who.language, "CPP") == 0);
        if (!buf_failed(&body)) {
            tell_member(conn, group, topic, buf_str(&body));
            told++;
        }
        conn_drop(conn);
    }
    buf_free(&body);
    return told;
}

/* ---- doing it ---- */

static int set_all(struct broker *b, struct str group, struct str topic, const struct reset_queue *q, int n,
                   struct fault *f)
{
    bool mark = broker_conf(b)->use_server_side_reset_offset;
    int rc = 0, i = 0;

    while (i < n && !rc) {
        rc = mark ? offsets_reset(b->offsets, group, topic, q[i].queue, q[i].offset) :
                    offsets_put(b->offsets, group, topic, q[i].queue, q[i].offset);
        i++;
    }
    if (rc)
        fault_errno(f, -rc, "resetting offsets");
    else
        rc = saver_save(b->saver, OFFSETS_FILE, f);
    while (rc && i > 0) {
        i--;
        offsets_put(b->offsets, group, topic, q[i].queue, q[i].old);
    }
    return rc;
}

static int audit_all(struct broker *b, const struct caller *c, struct str group, struct str topic,
                     const struct reset_queue *q, int n, struct fault *f)
{
    struct buf lines = {0};
    int rc;

    for (int i = 0; i < n; i++) {
        char path[GROUP_NAME_MAX_LONG + TOPIC_NAME_MAX_LONG + 64], old[24], now[24];

        snprintf(path, sizeof(path), "/groups/%.*s/offsets/%.*s/%d", STR_ARG(group), STR_ARG(topic),
                 q[i].queue);
        snprintf(old, sizeof(old), "%lld", (long long)q[i].old);
        snprintf(now, sizeof(now), "%lld", (long long)q[i].offset);
        audit_add(&lines, c, "offset.reset", path, q[i].old < 0 ? NULL : old, now);
    }
    rc = audit_put(b->audit, &lines, f);
    buf_free(&lines);
    return rc;
}

int offset_reset(struct broker *b, const struct caller *c, struct str group, struct str topic,
                 int32_t queue,
                 const struct reset_target *to, struct reset_queue **out, int *n, struct fault *f)
{
    bool by_pull = broker_conf(b)->use_server_side_reset_offset, done = false;
    int rc;

    *out = NULL;
    *n = 0;
    verb_begin(b);
    rc = locate_all(b, group, topic, queue, to, out, n, f);
    if (!rc && !(rc = set_all(b, group, topic, *out, *n, f))) {
        done = true;
        rc = audit_all(b, c, group, topic, *out, *n, f);
    }
    verb_end(b);
    if (done && by_pull)
        hold_wake_group(b->hold, group, topic);
    else if (done)
        tell_members(b, group, topic, *out, *n);
    if (rc) {
        free(*out);
        *out = NULL;
    }
    return rc;
}

int broker_offset_reset(struct broker *b, const struct caller *c, struct str group, struct str topic,
                        int32_t queue, struct str spec, struct fault *f)
{
    struct reset_queue *queues;
    struct reset_target to;
    int n, rc = reset_target_parse(spec, &to, f);

    if (rc)
        return rc;
    to.force = true;
    rc = offset_reset(b, c, group, topic, queue, &to, &queues, &n, f);
    free(queues);
    return rc;
}

int offset_clone(struct broker *b, const struct caller *c, struct str from, struct str to, struct str topic,
                 struct fault *f)
{
    char path[GROUP_NAME_MAX_LONG + TOPIC_NAME_MAX_LONG + 64], source[GROUP_NAME_MAX_LONG + 16];
    int rc = group_name_check(to, f);

    if (rc)
        return rc;
    verb_begin(b);
    rc = offsets_copy_group(b->offsets, from, to, topic);
    if (rc)
        fault_errno(f, -rc, "copying offsets");
    else if ((rc = saver_save(b->saver, OFFSETS_FILE, NULL)))
        fault_errno(f, -rc, "the offsets are copied, but " OFFSETS_FILE " cannot be written");
    if (!rc) {
        snprintf(path, sizeof(path), "/groups/%.*s/offsets%s%.*s", STR_ARG(to), topic.n ? "/" : "",
                 STR_ARG(topic));
        snprintf(source, sizeof(source), "as %.*s", from.n > 255 ? 255 : (int)from.n, from.p);
        rc = audit_write(b->audit, c, "offset.copy", path, NULL, source, f);
    }
    verb_end(b);
    return rc;
}
