/* topics.json, and what topics and groups have in common as JSON.
 * Source of the forms: Apache TopicConfigSerializeWrapper, TopicConfig, DataVersion (5.5.0). */
#include "broker/meta.h"

#include <errno.h>
#include <stdlib.h>

#include "broker/json_members.h"
#include "broker/meta_json.h"
#include "common/log.h"

/* ---- shared ---- */

void data_version_json(struct json_writer *w, const struct data_version *v)
{
    jw_object(w);
    jw_kint(w, "counter", v->counter);
    jw_kint(w, "stateVersion", v->state_version);
    jw_kint(w, "timestamp", v->timestamp);
    jw_object_end(w);
}

void data_version_read(const struct json *j, struct data_version *v)
{
    v->counter = json_int(j, "counter", v->counter);
    v->state_version = json_int(j, "stateVersion", v->state_version);
    v->timestamp = json_int(j, "timestamp", v->timestamp);
}

void attributes_json(struct json_writer *w, const struct attribute *list)
{
    jw_kobject(w, "attributes");
    for (; list; list = list->next)
        jw_ktext(w, list->key, list->value);
    jw_object_end(w);
}

int attributes_read(const struct json *j, struct attribute **list)
{
    const struct json *map = json_member(j, "attributes");

    json_each(it, map && map->type == JSON_OBJECT ? map : NULL) {
        struct str key = json_as_str(it->key), value = json_as_str(it);
        char *z;
        int rc;

        if (!key.n || !value.p)
            continue;
        z = str_dup(value);
        rc = z ? attribute_set(list, key, z) : -ENOMEM;
        free(z);
        if (rc)
            return rc;
    }
    return 0;
}

int table_parse(struct arena *a, struct str text, const char *table, const struct json **out,
                const struct json **top)
{
    struct json *root;
    int rc = json_parse(a, text, &root);

    if (rc)
        return rc;
    *out = root->type == JSON_OBJECT ? json_member(root, table) : NULL;
    /* something else is there, but no table: the file is damaged, and not an empty one */
    if (root->type != JSON_OBJECT || (!*out && root->child))
        return -EBADMSG;
    if (*out && (*out)->type == JSON_NULL)
        *out = NULL;
    if (*out && (*out)->type != JSON_OBJECT)
        return -EBADMSG;
    *top = root;
    return 0;
}

/* ---- topics ---- */

static void write_topic_attributes(struct json_writer *w, const void *obj, const struct json *other)
{
    attributes_json(w, ((const struct topic *)obj)->attributes);
}

static void write_filter_type(struct json_writer *w, const void *obj, const struct json *other)
{
    jw_ktext(w, "topicFilterType",
             ((const struct topic *)obj)->info.multi_tag ? "MULTI_TAG" : "SINGLE_TAG");
}

#define AT(f) offsetof(struct topic, f)
/* Owners stand among the attributes as "mqfs.owner": Apache's broker checks only the attributes that a request
 * changes (AttributeUtil.alterCurrentAttributes) and carries all others along, from the file and back into it. */
static const struct member topic_rows[] = {
    {"attributes", MEMBER_OWN, 0, 0, 0, write_topic_attributes, false},
    {"order", MEMBER_BOOL, AT(info.order), 0, 0, NULL, false},
    {"perm", MEMBER_I32, AT(info.perm), 0, 15, NULL, false},
    {"readQueueNums", MEMBER_I32, AT(info.read_queues), 0, 65536, NULL, false},
    {"topicFilterType", MEMBER_OWN, 0, 0, 0, write_filter_type, false},
    {"topicName", MEMBER_TEXT, AT(info.name), 0, 0, NULL, false},
    {"topicSysFlag", MEMBER_I32, AT(info.sys_flag), INT32_MIN, INT32_MAX, NULL, false},
    {"writeQueueNums", MEMBER_I32, AT(info.write_queues), 0, 65536, NULL, false},
};
#define N_TOPIC_ROWS (sizeof(topic_rows) / sizeof(topic_rows[0]))

void topic_json(struct json_writer *w, const struct topic *t)
{
    members_write(w, topic_rows, N_TOPIC_ROWS, t, t->other_json);
}

void meta_encode_topics(struct meta *m, struct buf *out)
{
    struct json_writer w;

    jw_init(&w, out, true);
    meta_read(m);
    jw_object(&w);
    jw_key(&w, "dataVersion");
    data_version_json(&w, &m->topic_version);
    jw_kobject(&w, "topicConfigTable");
    for (struct topic *t = m->topics; t; t = t->hh.next) {
        jw_key(&w, t->info.name);
        topic_json(&w, t);
    }
    jw_object_end(&w);
    jw_object_end(&w);
    meta_done(m);
}

static int read_topic(struct meta *m, struct str name, const struct json *j)
{
    struct topic *t = topic_new(name);
    int rc;

    if (!t)
        return -ENOMEM;
    members_read(topic_rows, N_TOPIC_ROWS, t, j);
    t->info.multi_tag = str_is(json_str(j, "topicFilterType"), "MULTI_TAG");
    if ((rc = attributes_read(j, &t->attributes)) || (rc = members_other(topic_rows, N_TOPIC_ROWS, j, &t->other_json)) ||
        (rc = topic_make_queues(m, t)) || (rc = meta_add_topic(m, t))) {
        topic_free(t);
        return rc;
    }
    topic_read_attributes(t);
    return 0;
}

static void clear_topics(struct meta *m)
{
    struct topic *t, *next;

    HASH_ITER(hh, m->topics, t, next) {
        meta_remove_topic(m, t);
        topic_free(t);
    }
}

int meta_decode_topics(struct meta *m, struct str text)
{
    const struct json *table = NULL, *top = NULL;
    struct arena a;
    int rc;

    arena_init(&a, 0);
    rc = table_parse(&a, text, "topicConfigTable", &table, &top);
    clear_topics(m);
    if (!rc)
        data_version_read(json_member(top, "dataVersion"), &m->topic_version);
    for (const struct json *it = rc || !table ? NULL : table->child; it && !rc; it = it->next) {
        struct str name = json_as_str(it->key);
        struct fault f;

        if (it->type != JSON_OBJECT)
            rc = -EBADMSG;
        else if (topic_name_check_stored(name, &f))
            log_error("topics.json: topic \"%.*s\" is left out: %s", name.n > 100 ? 100 : (int)name.n,
                      name.p, f.text);
        else if (!meta_topic(m, name))
            rc = read_topic(m, name, it);
    }
    arena_free(&a);
    return rc;
}
