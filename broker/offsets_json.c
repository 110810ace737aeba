/* consumerOffset.json, and the answer to GET_ALL_CONSUMER_OFFSET.
 * Source of the form: Apache ConsumerOffsetManager (5.5.0):
 * {"dataVersion":{..},"groupTopicMap":{"G":["T"]},"offsetTable":{"T@G":{0:123,1:45}}} */
#include <errno.h>

#include "broker/meta.h"
#include "broker/offsets_priv.h"
#include "common/log.h"

static void put_version(struct json_writer *w, struct offsets *o)
{
    struct data_version v = {
        .state_version = atomic_load(&o->version_state),
        .timestamp = atomic_load(&o->version_timestamp),
        .counter = atomic_load(&o->version_counter),
    };

    jw_key(w, "dataVersion");
    data_version_json(w, &v);
}

/* Derived from the rest and ignored when read; Apache writes it, so its readers may look for it. */
static void put_group_topics(struct json_writer *w, struct offsets *o)
{
    jw_kobject(w, "groupTopicMap");
    for (struct group_offsets *g = o->groups; g; g = g->hh.next) {
        jw_karray(w, g->group);
        for (struct topic_offsets *t = g->topics; t; t = t->hh.next)
            jw_text(w, t->topic);
        jw_array_end(w);
    }
    jw_object_end(w);
}

static void put_topic(struct json_writer *w, const char *group, const struct topic_offsets *t,
                      struct buf *key)
{
    buf_reset(key);
    buf_printf(key, "%s@%s", t->topic, group);
    jw_key_str(w, buf_str(key));
    jw_object(w);
    for (int32_t i = 0; i < t->n; i++) {
        int64_t offset = atomic_load_explicit(&t->at[i], memory_order_relaxed);
        if (offset < 0)
            continue;
        jw_key_int(w, i);
        jw_int(w, offset);
    }
    jw_object_end(w);
}

void offsets_encode(struct offsets *o, struct buf *out, bool pretty)
{
    struct json_writer w;
    struct buf key = {0};

    jw_init(&w, out, pretty);
    pthread_rwlock_rdlock(&o->lock);
    jw_object(&w);
    put_version(&w, o);
    put_group_topics(&w, o);
    jw_kobject(&w, "offsetTable");
    for (struct group_offsets *g = o->groups; g; g = g->hh.next)
        for (struct topic_offsets *t = g->topics; t; t = t->hh.next)
            put_topic(&w, g->group, t, &key);
    jw_object_end(&w);
    jw_object_end(&w);
    pthread_rwlock_unlock(&o->lock);
    if (buf_failed(&key))
        out->failed = true;
    buf_free(&key);
}

static int read_topic(struct offsets *o, struct str topic, struct str group, const struct json *queues)
{
    json_each(it, queues) {
        int64_t queue = json_as_int(it->key, -1), offset = json_as_int(it, -1);
        _Atomic int64_t *slot;

        if (queue < 0 || queue > OFFSET_QUEUE_MAX) {
            log_warn("consumerOffset.json: an offset of queue %lld of %.*s is left out", (long long)queue,
                     STR_ARG(topic));
            continue;
        }
        if (offset < 0)
            continue;
        slot = offsets_slot(o, group, topic, (int32_t)queue);
        if (!slot)
            return -ENOMEM;
        atomic_store(slot, offset);
    }
    return 0;
}

static int read_table(struct offsets *o, const struct json *table)
{
    json_each(it, table) {
        struct str name = json_as_str(it->key), topic, group;
        const char *at = name.n ? memchr(name.p, '@', name.n) : NULL;
        struct fault f;
        int rc;

        if (it->type != JSON_OBJECT)
            return -EBADMSG;
        topic = str_n(name.p, at ? (size_t)(at - name.p) : 0);
        group = at ? str_n(at + 1, name.n - topic.n - 1) : topic;
        if (topic_name_check_stored(topic, &f) || group_name_check(group, &f)) {
            log_warn("consumerOffset.json: \"%.*s\" is left out: %s", name.n > 300 ? 300 : (int)name.n,
                     name.p, f.text);
            continue;
        }
        rc = read_topic(o, topic, group, it);
        if (rc)
            return rc;
    }
    return 0;
}

int offsets_decode(struct offsets *o, struct str text)
{
    const struct json *table;
    struct data_version v = {0};
    struct json *root;
    struct arena a;
    int rc;

    arena_init(&a, 0);
    rc = json_parse(&a, text, &root);
    table = rc ? NULL : json_member(root, "offsetTable");
    /* something else without a table is a damaged file, not an empty one */
    if (!rc && (root->type != JSON_OBJECT || (!table && root->child) ||
                (table && table->type != JSON_OBJECT && table->type != JSON_NULL)))
        rc = -EBADMSG;
    pthread_rwlock_wrlock(&o->lock);
    offsets_clear(o);
    if (!rc) {
        data_version_read(json_member(root, "dataVersion"), &v);
        atomic_store(&o->version_state, v.state_version);
        atomic_store(&o->version_timestamp, v.timestamp);
        atomic_store(&o->version_counter, v.counter);
        rc = read_table(o, table);
    }
    pthread_rwlock_unlock(&o->lock);
    arena_free(&a);
    return rc;
}
