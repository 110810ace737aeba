#include "namesrv/registration.h"

#include <errno.h>
#include <stdlib.h>
#include <zlib.h>

#include "common/be.h"
#include "common/json.h"
#include "common/remoting/codes.h"
#include "namesrv/members.h"
#include "namesrv/namesrv.h"

#define INFLATED_MAX ((size_t)256 << 20)     /* of one body; 100,000 topics with attributes make some 12 MB */
#define ITEM_MAX ((size_t)1 << 20)           /* of one part of a compressed body */
#define TOPICS_MAX ((size_t)2000000)
#define MAPPINGS_MAX ((size_t)100000)
#define FILTERS_MAX ((size_t)1000)
#define ARENA_MAX ((size_t)256 << 20)
#define ROUTE_ARENA_MAX ((size_t)16 << 20)
#define VERSION_V3_0_11 37
#define QUEUES_DEFAULT 16                    /* TopicConfig's defaults */
#define PERM_DEFAULT 6

/* One more place in a malloc'd array of n elements; NULL past most or without memory. Grows in powers of two. */
static void *grow(void **array, size_t *n, size_t size, size_t most)
{
    char *p = *array;

    if (*n >= most)
        return NULL;
    if ((*n & (*n - 1)) == 0) {
        p = reallocarray(*array, *n ? *n * 2 : 1, size);
        if (!p)
            return NULL;
        *array = p;
    }
    memset(p + *n * size, 0, size);
    return p + (*n)++ * size;
}

static struct topic_row *add_topic(struct registration *r)
{
    void *array = r->topics;
    struct topic_row *t = grow(&array, &r->n_topics, sizeof(*t), TOPICS_MAX);

    r->topics = array;
    if (t)
        *t = (struct topic_row){{0}, QUEUES_DEFAULT, QUEUES_DEFAULT, PERM_DEFAULT, 0};
    return t;
}

static struct mapping_row *add_mapping(struct registration *r)
{
    void *array = r->mappings;
    struct mapping_row *m = grow(&array, &r->n_mappings, sizeof(*m), MAPPINGS_MAX);

    r->mappings = array;
    return m;
}

static struct str *add_filter(struct registration *r)
{
    void *array = r->filters;
    struct str *f = grow(&array, &r->n_filters, sizeof(*f), FILTERS_MAX);

    r->filters = array;
    return f;
}

void registration_free(struct registration *r)
{
    free(r->topics);
    free(r->mappings);
    free(r->filters);
    arena_free(&r->arena);
    *r = (struct registration){0};
}

/* ---- JSON parts ---- */

int version_decode(struct str json, struct version *out)
{
    static const struct member_row rows[] = {
        {"stateVersion", TOKEN_I64, offsetof(struct version, state)},
        {"timestamp", TOKEN_I64, offsetof(struct version, timestamp)},
        {"counter", TOKEN_I64, offsetof(struct version, counter)},
    };

    *out = (struct version){0};
    return token_null(str_trim(json)) ? 0 : MEMBERS_DECODE(NULL, json, rows, out);
}

void version_encode(const struct version *v, struct buf *out)
{
    struct json_writer w;

    jw_init(&w, out, false);
    jw_object(&w);
    jw_kint(&w, "counter", v->counter);
    jw_kint(&w, "stateVersion", v->state);
    jw_kint(&w, "timestamp", v->timestamp);
    jw_object_end(&w);
}

/* The members of TopicConfig and of QueueData that a route needs. */
#define ROW(name, type, member) {name, type, offsetof(struct topic_row, member)}
#define QUEUE_ROWS \
    ROW("readQueueNums", TOKEN_I32, read_queues), ROW("writeQueueNums", TOKEN_I32, write_queues), \
    ROW("perm", TOKEN_I32, perm), ROW("topicSysFlag", TOKEN_I32, sys_flag), ROW("topicSynFlag", TOKEN_I32, sys_flag)

static const struct member_row topic_config_rows[] = {ROW("topicName", TOKEN_STR, name), QUEUE_ROWS};
static const struct member_row queue_data_rows[] = {ROW("brokerName", TOKEN_STR, name), QUEUE_ROWS};

static int each_topic(void *arg, struct str key, struct str value)
{
    struct registration *r = arg;
    struct topic_row *t;
    int rc;

    if (token_null(value))
        return 0;
    t = add_topic(r);
    if (!t)
        return -ENOMEM;
    rc = MEMBERS_DECODE(&r->arena, value, topic_config_rows, t);
    return rc || t->name.p ? rc : token_str(&r->arena, key, &t->name);
}

/* TopicQueueMappingInfo; what a broker leaves out has the class's default. */
struct mapping_info {
    struct str topic, broker, scope, ids;
    int32_t queues;
    int64_t epoch;
    bool dirty;
};

static int decode_mapping_info(struct arena *a, struct str json, struct mapping_info *i)
{
    static const struct member_row rows[] = {
        {"topic", TOKEN_STR, offsetof(struct mapping_info, topic)},
        {"bname", TOKEN_STR, offsetof(struct mapping_info, broker)},
        {"scope", TOKEN_STR, offsetof(struct mapping_info, scope)},
        {"totalQueues", TOKEN_I32, offsetof(struct mapping_info, queues)},
        {"epoch", TOKEN_I64, offsetof(struct mapping_info, epoch)},
        {"dirty", TOKEN_BOOL, offsetof(struct mapping_info, dirty)},
        {"currIdMap", TOKEN_RAW, offsetof(struct mapping_info, ids)},
    };

    return MEMBERS_DECODE(a, json, rows, i);
}

/* In the order and fullness in which Apache would write it. */
static void write_mapping_info(struct arena *a, const struct mapping_info *i, struct buf *out)
{
    struct json *ids;
    struct json_writer w;

    jw_init(&w, out, false);
    jw_object(&w);
    jw_kstr(&w, "bname", i->broker);
    jw_key(&w, "currIdMap");
    if (json_parse(a, i->ids, &ids) == 0 && ids->type == JSON_OBJECT)
        jw_value(&w, ids);
    else
        out->failed = true;
    jw_kbool(&w, "dirty", i->dirty);
    jw_kint(&w, "epoch", i->epoch);
    jw_kstr(&w, "scope", i->scope);
    jw_kstr(&w, "topic", i->topic);
    jw_kint(&w, "totalQueues", i->queues);
    jw_object_end(&w);
}

static int decode_mapping(struct registration *r, struct str json)
{
    struct mapping_info i = {.scope = {"__global__", 10}, .ids = {"{}", 2}};
    struct mapping_row *row = add_mapping(r);
    struct buf text = {0};
    int rc;

    if (!row)
        return -ENOMEM;
    rc = decode_mapping_info(&r->arena, json, &i);
    if (rc || !i.topic.n || !i.broker.n)
        return rc ? rc : -EBADMSG;
    write_mapping_info(&r->arena, &i, &text);
    if (!buf_failed(&text)) {
        row->topic = i.topic;
        row->broker = i.broker;
        row->json = str_n(arena_dup(&r->arena, text.p, text.n), text.n);
    }
    buf_free(&text);
    return row->json.p ? 0 : -EBADMSG;
}

static int each_mapping(void *arg, struct str key, struct str value)
{
    return token_null(value) ? 0 : decode_mapping(arg, value);
}

static int each_filter(void *arg, struct str key, struct str value)
{
    struct registration *r = arg;
    struct str *f = add_filter(r);

    return f ? token_str(&r->arena, value, f) : -ENOMEM;
}

static int decode_filters(struct registration *r, struct str json)
{
    r->has_filters = !token_null(json);
    return r->has_filters ? members_each(json, '[', each_filter, r) : 0;
}

static int each_of_wrapper(void *arg, struct str key, struct str value)
{
    struct registration *r = arg;

    if (token_null(value))
        return 0;
    if (token_is(key, "dataVersion"))
        return version_decode(value, &r->version);
    if (token_is(key, "topicConfigTable"))
        return members_each(value, '{', each_topic, r);
    if (token_is(key, "topicQueueMappingInfoMap"))
        return members_each(value, '{', each_mapping, r);
    return 0;
}

/* TopicConfigSerializeWrapper, with or without mappings. */
static int decode_wrapper(struct registration *r, struct str json)
{
    return token_null(json) ? 0 : members_each(json, '{', each_of_wrapper, r);
}

static int each_of_body(void *arg, struct str key, struct str value)
{
    if (token_is(key, "topicConfigSerializeWrapper"))
        return decode_wrapper(arg, value);
    return token_is(key, "filterServerList") ? decode_filters(arg, value) : 0;
}

static int decode_body(struct registration *r, struct str json)
{
    r->has_filters = true;                    /* Apache: an empty list unless it is null */
    return members_each(json, '{', each_of_body, r);
}

/* ---- one topic's route, as a broker tells it ---- */

static int each_queue_data(void *arg, struct str key, struct str value)
{
    struct registration *r = arg;
    struct topic_row *t = add_topic(r);

    if (!t)
        return -ENOMEM;
    *t = (struct topic_row){0};
    return MEMBERS_DECODE(&r->arena, value, queue_data_rows, t);
}

static int each_of_route(void *arg, struct str key, struct str value)
{
    return !token_is(key, "queueDatas") || token_null(value) ? 0 : members_each(value, '[', each_queue_data, arg);
}

int route_body_decode(struct str json, struct registration *out)
{
    *out = (struct registration){0};
    arena_init(&out->arena, ROUTE_ARENA_MAX);
    return members_each(json, '{', each_of_route, out);
}

/* ---- the compressed form ---- */

struct inflater {
    z_stream z;
    size_t left;                 /* bytes that may still come out */
    struct buf item;             /* the part that was read last */
};

/* Exactly n bytes. */
static int inflate_bytes(struct inflater *in, char *to, size_t n)
{
    if (n > in->left)
        return -EBADMSG;
    in->left -= n;
    in->z.next_out = (unsigned char *)to;
    in->z.avail_out = (unsigned)n;
    while (in->z.avail_out) {
        int rc = inflate(&in->z, Z_NO_FLUSH);
        if (rc == Z_MEM_ERROR)
            return -ENOMEM;
        if (rc != Z_OK && !(rc == Z_STREAM_END && !in->z.avail_out))
            return -EBADMSG;
    }
    return 0;
}

static int inflate_count(struct inflater *in, size_t most, uint32_t *out)
{
    char word[4];
    int rc = inflate_bytes(in, word, sizeof(word));

    if (rc)
        return rc;
    *out = be32_get(word);
    return *out <= most ? 0 : -EBADMSG;
}

/* A length and so many bytes, into in->item. */
static int inflate_item(struct inflater *in)
{
    uint32_t n;
    int rc = inflate_count(in, ITEM_MAX, &n);

    if (rc)
        return rc;
    buf_reset(&in->item);
    if (!buf_room(&in->item, n ? n : 1))
        return -ENOMEM;
    rc = inflate_bytes(in, in->item.p, n);
    if (!rc)
        in->item.n = n;
    return rc;
}

/* The text up to the next space, which is taken away; the last one may end with the text. */
static struct str next_word(struct str *text)
{
    const char *space = text->n ? memchr(text->p, ' ', text->n) : NULL;
    struct str word = str_n(text->p, space ? (size_t)(space - text->p) : text->n);
    size_t used = word.n + (space != NULL);

    *text = str_n(text->p + used, text->n - used);
    return word;
}

/* NAME READ WRITE PERM FILTERTYPE ATTRIBUTES */
static int decode_topic_text(struct registration *r, struct str text)
{
    struct topic_row *t = add_topic(r);
    struct str name = next_word(&text);

    if (!t)
        return -ENOMEM;
    if (str_i32(next_word(&text), &t->read_queues) || str_i32(next_word(&text), &t->write_queues) ||
        str_i32(next_word(&text), &t->perm) || !next_word(&text).n)
        return -EBADMSG;
    t->name.p = arena_dup(&r->arena, name.p, name.n);
    t->name.n = name.n;
    return t->name.p ? 0 : -ENOMEM;
}

/* Items outlive the inflater's buffer only as a copy. */
static int keep_item(struct registration *r, struct inflater *in, struct str *out)
{
    out->p = arena_dup(&r->arena, in->item.p, in->item.n);
    out->n = in->item.n;
    return out->p ? 0 : -ENOMEM;
}

static int decode_parts(struct registration *r, struct inflater *in, int broker_version)
{
    struct str kept;
    uint32_t n;
    int rc;

    if ((rc = inflate_item(in)) || (rc = version_decode(buf_str(&in->item), &r->version)) ||
        (rc = inflate_count(in, TOPICS_MAX, &n)))
        return rc;
    for (; n; n--) {
        if ((rc = inflate_item(in)) || (rc = decode_topic_text(r, buf_str(&in->item))))
            return rc;
    }
    if ((rc = inflate_item(in)) || (rc = keep_item(r, in, &kept)) || (rc = decode_filters(r, kept)))
        return rc;
    if (broker_version < VERSION_V5_0_0)
        return 0;
    rc = inflate_count(in, MAPPINGS_MAX, &n);
    for (; !rc && n; n--) {
        if ((rc = inflate_item(in)) || (rc = keep_item(r, in, &kept)) || (rc = decode_mapping(r, kept)))
            return rc;
    }
    return rc;
}

/* The rest of the stream, so that its checksum is compared; parts that we do not know may come. */
static int inflate_end(struct inflater *in)
{
    char rest[4096];

    for (;;) {
        int rc;
        in->z.next_out = (unsigned char *)rest;
        in->z.avail_out = sizeof(rest);
        rc = inflate(&in->z, Z_NO_FLUSH);
        if (rc == Z_STREAM_END)
            return 0;
        if (rc != Z_OK || in->left < sizeof(rest))
            return rc == Z_MEM_ERROR ? -ENOMEM : -EBADMSG;
        in->left -= sizeof(rest);
    }
}

static int decode_compressed(struct registration *r, struct str body, int broker_version)
{
    struct inflater in = {.left = INFLATED_MAX};
    int rc;

    if (inflateInit(&in.z) != Z_OK)
        return -ENOMEM;
    in.z.next_in = (unsigned char *)(uintptr_t)body.p;       /* zlib's type; it does not write there */
    in.z.avail_in = (unsigned)body.n;
    rc = decode_parts(r, &in, broker_version);
    if (!rc)
        rc = inflate_end(&in);
    inflateEnd(&in.z);
    buf_free(&in.item);
    return rc;
}

static int check_names(const struct registration *r)
{
    for (size_t i = 0; i < r->n_topics; i++)
        if (!r->topics[i].name.n || r->topics[i].name.n > NAMESRV_TOPIC_MAX)
            return -EBADMSG;
    for (size_t i = 0; i < r->n_filters; i++)
        if (r->filters[i].n > NAMESRV_NAME_MAX)
            return -EBADMSG;
    return 0;
}

int registration_decode(struct str body, bool compressed, int broker_version, struct registration *out, struct fault *f)
{
    int rc = 0;

    *out = (struct registration){0};
    arena_init(&out->arena, ARENA_MAX);
    if (!body.n)
        out->has_filters = broker_version >= VERSION_V3_0_11;
    else if (broker_version < VERSION_V3_0_11)
        rc = decode_wrapper(out, body);
    else if (compressed)
        rc = decode_compressed(out, body, broker_version);
    else
        rc = decode_body(out, body);
    if (!rc)
        rc = check_names(out);
    if (rc == -ENOMEM)
        return fault_errno(f, ENOMEM, "reading a registration of %zu topics", out->n_topics);
    if (rc)
        return fault_set(f, RC_SYSTEM_ERROR, EBADMSG, "the registration's body cannot be read (after %zu topics)",
                         out->n_topics);
    return 0;
}
