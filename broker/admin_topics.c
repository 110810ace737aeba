/* Requests about topics: each decodes, calls a verb, encodes. */
#include "broker/admin.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "broker/admin_page.h"
#include "broker/attributes.h"
#include "broker/meta.h"
#include "broker/verbs.h"
#include "common/json.h"

#define LIST_BODY_MAX ((size_t)256 << 20)    /* arena for a body of many topics */

struct topic_header {
    struct str topic, attributes, filter_type;
    int32_t read_queues, write_queues, perm, sys_flag;
    bool order, mapped;
};

#define FIELD(key, kind, member, must, value) {key, kind, offsetof(struct topic_header, member), must, value}

static const struct field put_fields[] = {
    FIELD("topic", FIELD_STR, topic, true, NULL),
    FIELD("readQueueNums", FIELD_I32, read_queues, true, NULL),
    FIELD("writeQueueNums", FIELD_I32, write_queues, true, NULL),
    FIELD("perm", FIELD_I32, perm, true, NULL),
    FIELD("topicFilterType", FIELD_STR, filter_type, false, "SINGLE_TAG"),
    FIELD("topicSysFlag", FIELD_I32, sys_flag, false, "0"),
    FIELD("order", FIELD_BOOL, order, false, "false"),
    FIELD("attributes", FIELD_STR, attributes, false, NULL),
};
static const struct field topic_fields[] = {
    FIELD("topic", FIELD_STR, topic, true, NULL),
    FIELD("lo", FIELD_BOOL, mapped, false, "false"),
};

static void reply_no_topic(struct request *r, struct str topic)
{
    reply(r, RC_TOPIC_NOT_EXIST, "topic %.*s does not exist: make it with mkdir or updateTopic",
          STR_ARG(topic));
}

/* ---- making and changing: 17, 18 ---- */

/* The wire says all of a topic's settings at once: -1 is a bad value there, not "leave". */
static int no_minus_one(const struct topic_change *ch, struct fault *f)
{
    if (ch->read_queues == -1 || ch->write_queues == -1 || ch->perm == -1)
        return fault_set(f, RC_INVALID_PARAMETER, EINVAL,
                         "readQueueNums, writeQueueNums and perm cannot be -1");
    return 0;
}

void op_update_and_create_topic(struct request *r)
{
    struct topic_change ch = TOPIC_CHANGE_NONE;
    struct topic_header h;
    struct caller who;
    struct fault f;
    char *attributes = NULL;
    int rc = FIELDS_DECODE(put_fields, request_cmd(r), &h, &f);

    admin_caller(r, &who);
    if (!rc) {
        ch.read_queues = h.read_queues;
        ch.write_queues = h.write_queues;
        ch.perm = h.perm;
        ch.sys_flag = h.sys_flag;
        ch.order = h.order;
        ch.multi_tag = str_is(h.filter_type, "MULTI_TAG");
        ch.attributes = attributes = h.attributes.n ? str_dup(h.attributes) : NULL;
        rc = h.attributes.n && !attributes ? fault_errno(&f, ENOMEM,
                                                         "reading attributes") : no_minus_one(&ch, &f);
    }
    if (!rc)
        rc = broker_topic_put(broker_of(r), &who, h.topic, &ch, &f);
    if (rc)
        reply_fault(r, &f);
    else
        reply(r, RC_SUCCESS, NULL);
    free(attributes);
}

/* One TopicConfig of code 18's body; its attributes text lives in a. */
static int read_config(const struct json *j, struct arena *a, struct topic_put *p, struct fault *f)
{
    const struct json *attributes = json_member(j, "attributes");
    struct buf text = {0};
    int rc = 0;

    *p = (struct topic_put){.name = json_str(j, "topicName"), .change = TOPIC_CHANGE_NONE};
    p->change.read_queues = (int32_t)json_int(j, "readQueueNums", 16);
    p->change.write_queues = (int32_t)json_int(j, "writeQueueNums", 16);
    p->change.perm = (int32_t)json_int(j, "perm", 6);
    p->change.sys_flag = (int32_t)json_int(j, "topicSysFlag", 0);
    p->change.order = json_bool(j, "order", false);
    p->change.multi_tag = str_is(json_str(j, "topicFilterType"), "MULTI_TAG");
    rc = no_minus_one(&p->change, f);
    if (!rc && attributes && attributes->type == JSON_OBJECT && attributes->child) {
        rc = attributes_text(attributes, &text, f);
        if (!rc && !(p->change.attributes = arena_dup(a, text.p, text.n)))
            rc = fault_errno(f, ENOMEM, "reading attributes");
        buf_free(&text);
    }
    return rc;
}

static int put_list(struct request *r, struct arena *a, const struct json *list, struct fault *f)
{
    struct topic_put *puts;
    struct caller who;
    size_t n = 0, i = 0, created;
    int rc = 0;

    json_each(j, list)
        n++;
    if (!n)
        return fault_set(f, RC_INVALID_PARAMETER, EINVAL, "the body has no topicConfigList");
    puts = arena_get(a, n * sizeof(*puts));
    if (!puts)
        return fault_errno(f, ENOMEM, "reading %zu topics", n);
    json_each(j, list)
        if ((rc = read_config(j, a, &puts[i++], f)))
            return rc;
    admin_caller(r, &who);
    return topics_put(broker_of(r), &who, puts, n, PUT_BOTH, &created, f);
}

void op_update_and_create_topic_list(struct request *r)
{
    struct arena a;
    struct json *root;
    struct fault f;
    int rc;

    arena_init(&a, LIST_BODY_MAX);
    rc = json_parse(&a, request_cmd(r)->body, &root);
    if (rc)
        rc = fault_set(&f, RC_INVALID_PARAMETER, EBADMSG, "the body is not a CreateTopicListRequestBody");
    else
        rc = put_list(r, &a, json_member(root, "topicConfigList"), &f);
    if (rc)
        reply_fault(r, &f);
    else
        reply(r, RC_SUCCESS, NULL);
    arena_free(&a);
}

void op_delete_topic(struct request *r)
{
    struct topic_header h;
    struct caller who;
    struct fault f;

    if (!REQUEST_FIELDS(r, topic_fields, &h))
        return;
    admin_caller(r, &who);
    if (broker_topic_delete(broker_of(r), &who, h.topic, &f) == 0)
        reply(r, RC_SUCCESS, NULL);
    else if (f.err == ENOENT)
        reply(r, RC_SUCCESS, NULL);      /* as Apache: deleting what is not there has nothing left to do */
    else
        reply_fault(r, &f);
}

/* ---- asking: 21, 351, 202, 305 ---- */

static void jw_empty(struct json_writer *w, const char *key)
{
    jw_kobject(w, key);
    jw_object_end(w);
}

static const struct data_version *topics_version(const struct meta *m) { return &m->topic_version; }
static size_t topics_count(const struct meta *m) { return HASH_COUNT(m->topics); }

static void topics_list(const struct meta *m, struct named *out)
{
    for (struct topic *t = m->topics; t; t = t->hh.next)
        *out++ = (struct named){t->info.name, t};
}

static void topics_before(struct json_writer *w, const struct meta *m)
{
    static const struct data_version never = {0};

    jw_key(w, "mappingDataVersion");
    data_version_json(w, &never);
}

static void topics_item(struct json_writer *w, const void *topic) { topic_json(w, topic); }

/* There are no static topics here. */
static void topics_after(struct json_writer *w)
{
    jw_empty(w, "topicQueueMappingDetailMap");
    jw_empty(w, "topicQueueMappingInfoMap");
}

void op_get_all_topic_config(struct request *r)
{
    static const struct paged topics = {        /* TopicConfigAndMappingSerializeWrapper */
        .from = "topicSeq", .most = "maxTopicNum", .total = "totalTopicNum", .table = "topicConfigTable",
        .version = topics_version, .count = topics_count, .list = topics_list,
        .before = topics_before, .item = topics_item, .after = topics_after,
    };

    admin_reply_page(r, &topics);
}

void op_get_topic_config(struct request *r)
{
    struct meta *m = broker_of(r)->meta;
    struct topic_header h;
    struct json_writer w;
    struct buf body = {0};
    struct topic *t;

    if (!REQUEST_FIELDS(r, topic_fields, &h))
        return;
    jw_init(&w, &body, false);
    meta_read(m);
    t = meta_topic(m, h.topic);
    if (t)
        topic_json(&w, t);
    meta_done(m);
    if (t) {
        admin_reply_json(r, &body);
    } else {
        buf_free(&body);
        reply_no_topic(r, h.topic);
    }
}

static void jw_topic_offset(struct json_writer *w, struct broker *b, struct str topic, int32_t id,
                            const struct queue_info *q)
{
    jw_key_object(w);
    admin_queue_json(w, b, topic, id);
    jw_key_object_end(w);
    jw_object(w);
    jw_kint(w, "lastUpdateTimestamp", q->last_time);
    jw_kint(w, "maxOffset", q->max);
    jw_kint(w, "minOffset", q->min);
    jw_object_end(w);
}

/* TopicStatsTable. Apache's topicPutTps is left out: rates are not kept by topic. */
void op_get_topic_stats_info(struct request *r)
{
    struct broker *b = broker_of(r);
    struct topic_header h;
    struct topic_info info;
    struct queue_info q;
    struct json_writer w;
    struct buf body = {0};

    if (!REQUEST_FIELDS(r, topic_fields, &h))
        return;
    if (broker_topic_get(b, h.topic, &info)) {
        reply_no_topic(r, h.topic);
        return;
    }
    jw_init(&w, &body, false);
    jw_object(&w);
    jw_kobject(&w, "offsetTable");
    for (int32_t i = 0; broker_queue_get(b, h.topic, i, &q) == 0; i++)
        jw_topic_offset(&w, b, h.topic, i, &q);
    jw_object_end(&w);
    jw_object_end(&w);
    admin_reply_json(r, &body);
}

void op_get_system_topic_list(struct request *r)
{
    struct meta *m = broker_of(r)->meta;
    struct json_writer w;
    struct buf body = {0};
    struct topic *t, *next;

    jw_init(&w, &body, false);
    jw_object(&w);
    jw_karray(&w, "topicList");
    meta_read(m);
    HASH_ITER(hh, m->topics, t, next)
        if (t->info.system)
            jw_text(&w, t->info.name);
    meta_done(m);
    jw_array_end(&w);
    jw_object_end(&w);
    admin_reply_json(r, &body);
}
