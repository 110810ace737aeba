/* Requests about offsets: of queues, of groups, and their resets. */
#include "broker/admin.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "broker/clients.h"
#include "broker/meta.h"
#include "broker/offset_reset.h"
#include "broker/offsets.h"
#include "broker/schedule.h"
#include "common/json.h"

/* One header struct for all of them: each row table names the fields it has. */
struct offset_header {
    struct str group, topic, boundary, filter_groups;
    int32_t queue_id;
    int64_t offset, timestamp;
    bool set_zero, offline, force;
};

#define FIELD(key, kind, member, must, value) {key, kind, offsetof(struct offset_header, member), must, value}
#define TOPIC_FIELD FIELD("topic", FIELD_STR, topic, true, NULL)
#define QUEUE_FIELD FIELD("queueId", FIELD_I32, queue_id, true, NULL)

static const struct field query_fields[] = {
    FIELD("consumerGroup", FIELD_STR, group, true, NULL), TOPIC_FIELD, QUEUE_FIELD,
    FIELD("setZeroIfNotFound", FIELD_BOOL, set_zero, false, "true"),
};
static const struct field update_fields[] = {
    FIELD("consumerGroup", FIELD_STR, group, true, NULL), TOPIC_FIELD, QUEUE_FIELD,
    FIELD("commitOffset", FIELD_I64, offset, true, NULL),
};
static const struct field search_fields[] = {
    TOPIC_FIELD, QUEUE_FIELD, FIELD("timestamp", FIELD_I64, timestamp, true, NULL),
    FIELD("boundaryType", FIELD_STR, boundary, false, "lower"),
};
static const struct field queue_fields[] = {TOPIC_FIELD, QUEUE_FIELD};
static const struct field reset_fields[] = {
    FIELD("group", FIELD_STR, group, true, NULL), TOPIC_FIELD, FIELD("queueId", FIELD_I32, queue_id, false, "-1"),
    FIELD("offset", FIELD_I64, offset, false, "-1"), FIELD("timestamp", FIELD_I64, timestamp, false, "-1"),
    FIELD("isForce", FIELD_BOOL, force, false, "false"),
};
static const struct field clone_fields[] = {
    FIELD("srcGroup", FIELD_STR, group, true, NULL), FIELD("destGroup", FIELD_STR, filter_groups, true, NULL),
    FIELD("topic", FIELD_STR, topic, false, NULL), FIELD("offline", FIELD_BOOL, offline, false, "false"),
};
static const struct field span_fields[] = {TOPIC_FIELD, FIELD("group", FIELD_STR, group, true, NULL)};
static const struct field correction_fields[] = {
    TOPIC_FIELD, FIELD("compareGroup", FIELD_STR, group, true, NULL),
    FIELD("filterGroups", FIELD_STR, filter_groups, false, NULL),
};

static int disk_failed(struct fault *f, int rc, struct str topic, int32_t id)
{
    return fault_set(f, RC_SYSTEM_ERROR, -rc, "queue %d of topic %.*s cannot be read from the disk: %s; the broker's log "
                     "says more", id, STR_ARG(topic), strerror(-rc));
}

/* The handle of one of the topic's queues. It outlives the topic (store.h). NULL: there is no such topic, or it has no
 * queue of that number, and *n_queues says how many; then a topic that once had more may have it on disk. */
static struct store_queue *queue_of_topic(struct broker *b, struct str topic, int32_t id, int32_t *n_queues)
{
    struct store_queue *q = NULL;
    struct topic *t;

    meta_read(b->meta);
    t = meta_topic(b->meta, topic);
    *n_queues = t ? t->n_queues : -1;
    if (t && id >= 0 && id < t->n_queues)
        q = t->queues[id];
    meta_done(b->meta);
    return q;
}

/* The queue, wherever it is, when it can be read, else NULL with the reason in f. Waits for the disk. */
static struct store_queue *find_queue(struct broker *b, struct str topic, int32_t id, struct fault *f)
{
    int32_t n;
    struct store_queue *q = queue_of_topic(b, topic, id, &n);
    int rc;

    if (!q && n >= 0)
        q = store_queue_find(b->store, topic, id);
    if (!q && n < 0)
        fault_set(f, RC_TOPIC_NOT_EXIST, ENOENT, "topic %.*s does not exist", STR_ARG(topic));
    else if (!q)
        fault_set(f, RC_INVALID_PARAMETER, ERANGE, "topic %.*s has queues 0 to %d, not %d", STR_ARG(topic), n - 1, id);
    if (q && (rc = store_queue_load(b->store, q))) {
        disk_failed(f, rc, topic, id);
        return NULL;
    }
    return q;
}

/* Whether the disk must be asked about it. */
static bool is_at_rest(struct broker *b, struct str topic, int32_t id)
{
    int32_t n;
    struct store_queue *q = queue_of_topic(b, topic, id, &n);

    return q ? !store_queue_loaded(q) : n >= 0;
}

/* The same about its entry at an offset. */
static bool is_distant(struct broker *b, struct str topic, int32_t id, int64_t offset)
{
    int32_t n;
    struct store_queue *q = queue_of_topic(b, topic, id, &n);

    return q ? !store_queue_near(q, offset, 1) : n >= 0;
}

/* The queue of h. NULL: it was answered, or fn, the handler, comes to it again on a worker. */
static struct store_queue *take_queue(struct request *r, const struct offset_header *h, void (*fn)(struct request *r))
{
    struct broker *b = broker_of(r);
    struct store_queue *q;
    struct fault f;

    if (request_on_loop(r) && is_at_rest(b, h->topic, h->queue_id)) {
        request_to_worker(r, fn);
        return NULL;
    }
    q = find_queue(b, h->topic, h->queue_id, &f);
    if (!q)
        reply_fault(r, &f);
    return q;
}

#define QUEUE_OF(rows, r, h, fn) (REQUEST_FIELDS(r, rows, h) ? take_queue(r, h, fn) : NULL)

static void reply_number(struct request *r, const char *name, int64_t v)
{
    struct command out;
    char digits[21];

    reply_start(r, &out, RC_SUCCESS);
    command_add_i64(&out, name, v, digits);
    reply_send(r, &out);
}

/* A number that the disk had to give: below -1 it did not. */
static void reply_read(struct request *r, const struct offset_header *h, const char *name, int64_t v)
{
    struct fault f;

    if (v >= -1) {
        reply_number(r, name, v);
        return;
    }
    disk_failed(&f, (int)v, h->topic, h->queue_id);
    reply_fault(r, &f);
}

/* ---- queues ---- */

void op_get_max_offset(struct request *r)
{
    struct offset_header h;
    struct store_queue *q = QUEUE_OF(queue_fields, r, &h, op_get_max_offset);
    if (q)
        reply_number(r, "offset", store_queue_max(broker_of(r)->store, q));
}

void op_get_min_offset(struct request *r)
{
    struct offset_header h;
    struct store_queue *q = QUEUE_OF(queue_fields, r, &h, op_get_min_offset);
    if (q)
        reply_number(r, "offset", store_queue_min(broker_of(r)->store, q));
}

void op_get_earliest_msg_storetime(struct request *r)
{
    struct store *s = broker_of(r)->store;
    struct offset_header h;
    struct store_queue *q = QUEUE_OF(queue_fields, r, &h, op_get_earliest_msg_storetime);
    if (q)
        reply_read(r, &h, "timestamp", store_time_at(s, q, store_queue_min(s, q)));
}

void op_search_offset_by_timestamp(struct request *r)
{
    struct offset_header h;
    struct store_queue *q = QUEUE_OF(search_fields, r, &h, op_search_offset_by_timestamp);
    if (q)
        reply_read(r, &h, "offset",
                   store_offset_at_time(broker_of(r)->store, q, h.timestamp,
                                        str_is(h.boundary, "upper") || str_is(h.boundary, "UPPER")));
}

/* ---- committed offsets ---- */

/* A new group starts at 0 where the queue is whole and its first message is still near, so that queues added later are
 * read from their beginning; else the client's own rule applies (R-OFF-05, R-OFF-06). */
static bool starts_at_zero(struct store *s, struct store_queue *q)
{
    struct store_entry first;

    return store_queue_min(s, q) <= 0 && store_entry(s, q, 0, &first) == 0 &&
        !store_far(s, first.physical_offset);
}

void op_query_consumer_offset(struct request *r)
{
    struct broker *b = broker_of(r);
    struct offset_header h;
    struct store_queue *q;
    int64_t committed;
    struct fault f;

    if (!REQUEST_FIELDS(r, query_fields, &h))
        return;
    committed = offsets_get(b->offsets, h.group, h.topic, h.queue_id);
    if (committed >= 0) {
        reply_number(r, "offset", committed);
        return;
    }
    if (request_on_loop(r) && is_distant(b, h.topic, h.queue_id, 0)) {
        request_to_worker(r, op_query_consumer_offset);
        return;
    }
    q = find_queue(b, h.topic, h.queue_id, &f);
    if (q && h.set_zero && starts_at_zero(b->store, q))
        reply_number(r, "offset", 0);
    else
        reply(r, RC_QUERY_NOT_FOUND, "group %.*s has no offset yet in topic %.*s queue %d",
              STR_ARG(h.group), STR_ARG(h.topic),
              h.queue_id);
}

static bool group_exists(struct broker *b, struct str group)
{
    bool yes;
    meta_read(b->meta);
    yes = meta_group(b->meta, CONSUMER_GROUP, group) != NULL;
    meta_done(b->meta);
    return yes;
}

void op_update_consumer_offset(struct request *r)
{
    struct broker *b = broker_of(r);
    struct offset_header h;

    if (!QUEUE_OF(update_fields, r, &h, op_update_consumer_offset))
        return;
    if (!group_exists(b, h.group))
        reply(r, RC_SUBSCRIPTION_GROUP_NOT_EXIST, "group %.*s does not exist", STR_ARG(h.group));
    else if (h.offset < 0)
        reply(r, RC_INVALID_PARAMETER, "an offset is 0 or more, not %lld", (long long)h.offset);
    else if (offsets_commit(b->offsets, h.group, h.topic, h.queue_id, h.offset))
        reply(r, RC_SYSTEM_BUSY, "no memory to keep the offset: try again");
    else
        reply(r, RC_SUCCESS, NULL);
}

void op_get_all_consumer_offset(struct request *r)
{
    struct buf body = {0};
    offsets_encode(broker_of(r)->offsets, &body, false);
    admin_reply_json(r, &body);
}

void op_get_all_delay_offset(struct request *r)
{
    struct buf body = {0};
    schedule_encode(broker_of(r)->schedule, &body, false);
    admin_reply_json(r, &body);
}

/* ---- resets ---- */

static int32_t read_queues(struct broker *b, struct str topic)
{
    struct topic *t;
    int32_t n;

    meta_read(b->meta);
    t = meta_topic(b->meta, topic);
    n = t ? t->info.read_queues : 0;
    meta_done(b->meta);
    return n;
}

/* timestamp and isForce are of the ways without useServerSideResetOffset, too: see offset_reset. */
static struct reset_target reset_target_of(const struct offset_header *h)
{
    if (h->queue_id >= 0 && h->offset >= 0)
        return (struct reset_target){RESET_OFFSET, h->offset, h->force};
    if (h->timestamp < 0)
        return (struct reset_target){RESET_MAX, 0, h->force};
    return (struct reset_target){RESET_TIME, h->timestamp, h->force};
}

void op_reset_offset(struct request *r)
{
    struct broker *b = broker_of(r);
    struct reset_queue *queues;
    struct reset_target to;
    struct offset_header h;
    struct caller who;
    struct buf body = {0};
    struct fault f;
    int n;

    if (!REQUEST_FIELDS(r, reset_fields, &h))
        return;
    if (!broker_conf(b)->use_server_side_reset_offset && !clients_consumer_online(b->clients, h.group)) {
        reply(r, RC_CONSUMER_NOT_ONLINE, "group %.*s has no client that could be told to reset its offsets",
              STR_ARG(h.group));
        return;
    }
    admin_caller(r, &who);
    to = reset_target_of(&h);
    if (offset_reset(b, &who, h.group, h.topic, h.queue_id < 0 ? -1 : h.queue_id, &to, &queues, &n, &f)) {
        reply_fault(r, &f);
        return;
    }
    reset_body(&body, broker_conf(b)->broker_name, h.topic, queues, n, false);
    free(queues);
    admin_reply_json(r, &body);
}

void op_clone_group_offset(struct request *r)
{
    struct broker *b = broker_of(r);
    struct offset_header h;
    struct subscription sub;
    struct caller who;
    struct fault f;

    if (!REQUEST_FIELDS(r, clone_fields, &h))
        return;
    if (!h.offline && h.topic.n && clients_consumer_online(b->clients, h.group)) {
        clients_subscription(b->clients, h.group, h.topic, &sub);
        if (!sub.found) {       /* passed over, as Apache does */
            reply(r, RC_SUCCESS, "group %.*s does not subscribe %.*s: nothing was copied", STR_ARG(h.group),
                  STR_ARG(h.topic));
            return;
        }
    }
    admin_caller(r, &who);
    if (offset_clone(b, &who, h.group, h.filter_groups, h.topic, &f))
        reply_fault(r, &f);
    else
        reply(r, RC_SUCCESS, NULL);
}

/* ---- progress as times, and groups compared ---- */

/* 0, or -errno: the disk did not give a time. */
static int jw_time_span(struct json_writer *w, struct broker *b, const struct offset_header *h,
                        struct store_queue *q, int32_t id)
{
    int64_t min = store_queue_min(b->store, q), max = store_queue_max(b->store, q);
    int64_t committed = offsets_get(b->offsets, h->group, h->topic, id);
    int64_t first = store_time_at(b->store, q, min), last = store_time_at(b->store, q, max - 1);
    int64_t consumed = committed > 0 ? store_time_at(b->store, q, committed - 1) : first;

    if (first < -1 || last < -1 || consumed < -1)
        return (int)(first < -1 ? first : last < -1 ? last : consumed);
    jw_object(w);
    jw_kint(w, "consumeTimeStamp", consumed);
    jw_kint(w, "delayTime", committed < max && consumed > 0 && last > consumed ? last - consumed : 0);
    jw_kint(w, "maxTimeStamp", last);
    jw_key(w, "messageQueue");
    admin_queue_json(w, b, h->topic, id);
    jw_kint(w, "minTimeStamp", first);
    jw_object_end(w);
    return 0;
}

void op_query_consume_time_span(struct request *r)
{
    struct broker *b = broker_of(r);
    struct offset_header h;
    struct json_writer w;
    struct buf body = {0};
    struct store_queue *q;
    struct fault f = {0};
    int32_t n;
    int rc = 0;

    if (!REQUEST_FIELDS(r, span_fields, &h))
        return;
    n = read_queues(b, h.topic);
    if (!n) {
        reply(r, RC_TOPIC_NOT_EXIST, "topic %.*s does not exist", STR_ARG(h.topic));
        return;
    }
    jw_init(&w, &body, false);
    jw_object(&w);
    jw_karray(&w, "consumeTimeSpanSet");
    for (int32_t i = 0; !rc && i < n && (q = find_queue(b, h.topic, i, &f)); i++)
        if ((rc = jw_time_span(&w, b, &h, q, i)))
            disk_failed(&f, rc, h.topic, i);
    jw_array_end(&w);
    jw_object_end(&w);
    if (f.rc != RC_SYSTEM_ERROR) {       /* else the topic was deleted meanwhile, or has fewer queues now */
        admin_reply_json(r, &body);
        return;
    }
    buf_free(&body);
    reply_fault(r, &f);
}

struct slowest {
    struct broker *b;
    const struct offset_header *h;
    struct arena a;
    struct name {
        struct name *next;
        struct str s;
    } *groups;
    bool failed;
};

/* "g1,g2" holds the group */
static bool in_list(struct str list, struct str group)
{
    while (list.n) {
        const char *comma = memchr(list.p, ',', list.n);
        size_t n = comma ? (size_t)(comma - list.p) : list.n;
        if (str_eq(str_n(list.p, n), group))
            return true;
        list.p += n + (comma != NULL);
        list.n -= n + (comma != NULL);
    }
    return false;
}

static void collect(void *arg, struct str group)
{
    struct slowest *s = arg;
    struct name *n;

    if (in_list(s->h->filter_groups, group))
        return;
    n = arena_get(&s->a, sizeof(*n));
    if (!n || !(n->s.p = arena_dup(&s->a, group.p, group.n))) {
        s->failed = true;
        return;
    }
    n->s.n = group.n;
    n->next = s->groups;
    s->groups = n;
}

/* For each queue the smallest committed offset of all groups but the filtered ones; where the compared group is behind
 * it, Long.MAX_VALUE, as ConsumerOffsetManager and its caller have it. */
void op_query_correction_offset(struct request *r)
{
    struct broker *b = broker_of(r);
    struct offset_header h;
    struct slowest s = {.b = b, .h = &h};
    struct json_writer w;
    struct buf body = {0};

    if (!REQUEST_FIELDS(r, correction_fields, &h))
        return;
    arena_init(&s.a, (size_t)16 << 20);
    offsets_each_group(b->offsets, h.topic, collect, &s);
    jw_init(&w, &body, false);
    jw_object(&w);
    jw_kobject(&w, "correctionOffsets");
    for (int32_t q = 0, n = read_queues(b, h.topic); q < n; q++) {
        int64_t least = INT64_MAX, mine = offsets_get(b->offsets, h.group, h.topic, q);
        for (struct name *g = s.groups; g; g = g->next) {
            int64_t at = offsets_get(b->offsets, g->s, h.topic, q);
            if (at >= 0 && at < least)
                least = at;
        }
        if (least == INT64_MAX)
            continue;
        jw_key_int(&w, q);
        jw_int(&w, mine >= 0 && least > mine ? INT64_MAX : least);
    }
    jw_object_end(&w);
    jw_object_end(&w);
    if (s.failed)
        body.failed = true;
    arena_free(&s.a);
    admin_reply_json(r, &body);
}
