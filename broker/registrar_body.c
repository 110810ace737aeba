#include "broker/registrar_body.h"

#include <errno.h>
#include <zlib.h>

#include "broker/meta_json.h"

#define PIECE 1000                   /* topic ids that are read under one hold of the lock */
#define COMPRESS_LEVEL 6
#define PERM_RW 6

/* What routes may show: the topic's permission within the broker's. */
static int32_t shown_perm(const struct topic *t, int permission)
{
    return (permission & PERM_RW) == PERM_RW ? t->info.perm : t->info.perm & permission;
}

static void write_version(struct json_writer *w, const char *key, const struct data_version *v)
{
    jw_kobject(w, key);
    jw_kint(w, "counter", v->counter);
    jw_kint(w, "stateVersion", v->state_version);
    jw_kint(w, "timestamp", v->timestamp);
    jw_object_end(w);
}

static void write_topic(struct json_writer *w, const struct topic *t, int permission)
{
    jw_key_str(w, str_of(t->info.name));
    jw_object(w);
    attributes_json(w, t->attributes);
    jw_kbool(w, "order", t->info.order);
    jw_kint(w, "perm", shown_perm(t, permission));
    jw_kint(w, "readQueueNums", t->info.read_queues);
    jw_ktext(w, "topicFilterType", t->info.multi_tag ? "MULTI_TAG" : "SINGLE_TAG");
    jw_ktext(w, "topicName", t->info.name);
    jw_kint(w, "topicSysFlag", t->info.sys_flag);
    jw_kint(w, "writeQueueNums", t->info.write_queues);
    jw_object_end(w);
}

static void write_no_topic(struct json_writer *w, struct str name)
{
    jw_key_str(w, name);
    jw_object(w);
    jw_kint(w, "perm", 0);
    jw_kint(w, "readQueueNums", 0);
    jw_kstr(w, "topicName", name);
    jw_kint(w, "writeQueueNums", 0);
    jw_object_end(w);
}

/* Everything before the topics, and after them. */
static void body_open(struct json_writer *w, const struct data_version *v)
{
    static const struct data_version no_mappings;

    jw_object(w);
    jw_karray(w, "filterServerList");
    jw_array_end(w);
    jw_kobject(w, "topicConfigSerializeWrapper");
    write_version(w, "dataVersion", v);
    write_version(w, "mappingDataVersion", &no_mappings);
    jw_kobject(w, "topicConfigTable");
}

static void body_end(struct json_writer *w)
{
    static const char *const empty[] = {"topicQueueMappingDetailMap", "topicQueueMappingInfoMap"};

    jw_object_end(w);
    for (size_t i = 0; i < sizeof(empty) / sizeof(empty[0]); i++) {
        jw_kobject(w, empty[i]);
        jw_object_end(w);
    }
    jw_object_end(w);
    jw_object_end(w);
}

static struct data_version version_now(struct meta *m)
{
    struct data_version v;

    meta_read(m);
    v = m->topic_version;
    meta_done(m);
    return v;
}

/* Calls each topic under the lock, which is given up between pieces. */
static void each_topic(struct meta *m, void (*each)(void *arg, const struct topic *t), void *arg)
{
    uint32_t id = 1, end;

    do {
        meta_read(m);
        end = m->n_ids;
        for (uint32_t stop = end - id > PIECE && end > id ? id + PIECE : end; id < stop; id++)
            if (m->topic_by_id[id])
                each(arg, m->topic_by_id[id]);
        meta_done(m);
    } while (id < end);
}

struct json_body {
    struct json_writer w;
    int permission;
};

static void add_json(void *arg, const struct topic *t)
{
    struct json_body *b = arg;
    write_topic(&b->w, t, b->permission);
}

int body_full(struct meta *m, int permission, struct buf *out)
{
    struct data_version v = version_now(m);      /* of the start: what changes meanwhile makes it differ again */
    struct json_body b = {.permission = permission};

    jw_init(&b.w, out, false);
    body_open(&b.w, &v);
    each_topic(m, add_json, &b);
    body_end(&b.w);
    return buf_failed(out) ? -ENOMEM : 0;
}

int body_increment(struct meta *m, int permission, struct str topic, bool *exists, struct buf *out)
{
    struct json_writer w;
    const struct topic *t;

    jw_init(&w, out, false);
    meta_read(m);
    body_open(&w, &m->topic_version);
    t = meta_topic(m, topic);
    *exists = t != NULL;
    if (t)
        write_topic(&w, t, permission);
    else
        write_no_topic(&w, topic);
    meta_done(m);
    body_end(&w);
    return buf_failed(out) ? -ENOMEM : 0;
}

int body_single(struct meta *m, int permission, const char *broker_name, struct str topic, bool *exists, struct buf *out)
{
    struct json_writer w;
    const struct topic *t;

    jw_init(&w, out, false);
    jw_object(&w);
    jw_karray(&w, "queueDatas");
    jw_object(&w);
    jw_ktext(&w, "brokerName", broker_name);
    meta_read(m);
    t = meta_topic(m, topic);
    *exists = t != NULL;
    jw_kint(&w, "perm", t ? shown_perm(t, permission) : 0);
    jw_kint(&w, "readQueueNums", t ? t->info.read_queues : 0);
    jw_kint(&w, "topicSysFlag", t ? t->info.sys_flag : 0);
    jw_kint(&w, "writeQueueNums", t ? t->info.write_queues : 0);
    meta_done(m);
    jw_object_end(&w);
    jw_array_end(&w);
    jw_object_end(&w);
    return buf_failed(out) ? -ENOMEM : 0;
}

int body_version(struct meta *m, struct buf *out)
{
    struct data_version v = version_now(m);
    struct json_writer w;

    jw_init(&w, out, false);
    data_version_json(&w, &v);
    return buf_failed(out) ? -ENOMEM : 0;
}

/* ---- the compressed form: length-prefixed parts ---- */

struct parts {
    struct buf text;             /* the topics' parts */
    uint32_t n;
    int permission;
};

/* Begins a part; its length is written by part_end. */
static size_t part_start(struct buf *b)
{
    size_t at = b->n;
    buf_be32(b, 0);
    return at;
}

static void part_end(struct buf *b, size_t at)
{
    uint32_t n = (uint32_t)(b->n - at - 4);

    if (!buf_failed(b)) {
        unsigned char be[4] = {(unsigned char)(n >> 24), (unsigned char)(n >> 16), (unsigned char)(n >> 8), (unsigned char)n};
        memcpy(b->p + at, be, sizeof(be));
    }
}

static void add_part(void *arg, const struct topic *t)
{
    struct parts *p = arg;
    size_t at = part_start(&p->text);
    struct json_writer w;

    buf_printf(&p->text, "%s %d %d %d %s ", t->info.name, t->info.read_queues, t->info.write_queues,
               shown_perm(t, p->permission), t->info.multi_tag ? "MULTI_TAG" : "SINGLE_TAG");
    jw_init(&w, &p->text, false);
    jw_object(&w);
    for (const struct attribute *a = t->attributes; a; a = a->next)
        if (!strchr(a->key, ' ') && !strchr(a->value, ' '))      /* the form has no way to say a space */
            jw_ktext(&w, a->key, a->value);
    jw_object_end(&w);
    part_end(&p->text, at);
    p->n++;
}

static int deflate_all(struct str in, struct buf *out)
{
    uLongf n = compressBound(in.n);
    char *to = buf_room(out, n);

    if (!to || compress2((unsigned char *)to, &n, (const unsigned char *)in.p, in.n, COMPRESS_LEVEL) != Z_OK)
        return -ENOMEM;
    out->n += n;
    return 0;
}

int body_full_compressed(struct meta *m, int permission, struct buf *out)
{
    struct parts p = {.permission = permission};
    struct buf plain = {0};
    size_t at = part_start(&plain);
    int rc = body_version(m, &plain);

    part_end(&plain, at);
    each_topic(m, add_part, &p);
    buf_be32(&plain, p.n);
    buf_put_str(&plain, buf_str(&p.text));
    at = part_start(&plain);
    buf_puts(&plain, "[]");          /* no filter servers */
    part_end(&plain, at);
    buf_be32(&plain, 0);             /* no static topics */
    if (!rc)
        rc = buf_failed(&plain) || buf_failed(&p.text) ? -ENOMEM : deflate_all(buf_str(&plain), out);
    buf_free(&plain);
    buf_free(&p.text);
    return rc;
}
