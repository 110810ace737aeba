/* The tables of topics, groups and bindings, and the question they exist for:
 * may this group do this? */
#include "broker/meta.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/codes.h"
#include "common/log.h"

int meta_open(struct store *store, struct meta **out)
{
    struct meta *m = calloc(1, sizeof(*m));
    pthread_rwlockattr_t attr;

    if (!m)
        return -ENOMEM;
    m->store = store;
    m->n_ids = 1;
    m->n_group_ids[0] = m->n_group_ids[1] = 1;
    pthread_mutex_init(&m->change, NULL);
    pthread_rwlockattr_init(&attr);     /* writers first: the readers of a busy broker never leave a gap */
    pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&m->lock, &attr);
    pthread_rwlockattr_destroy(&attr);
    *out = m;
    return 0;
}

void meta_close(struct meta *m)
{
    struct topic *t, *next_topic;
    struct group *g, *next_group;

    if (!m)
        return;
    HASH_ITER(hh, m->topics, t, next_topic) {
        meta_remove_topic(m, t);
        topic_free(t);
    }
    for (int kind = 0; kind < 2; kind++) {
        HASH_ITER(hh, m->groups[kind], g, next_group) {
            meta_remove_group(m, g);
            group_free(g);
        }
        free(m->group_by_id[kind]);
    }
    free(m->topic_by_id);
    free(m->forbidden_json);
    pthread_rwlock_destroy(&m->lock);
    pthread_mutex_destroy(&m->change);
    free(m);
}

/* ---- looking up ---- */

struct topic *meta_topic(struct meta *m, struct str name)
{
    struct topic *t = NULL;
    HASH_FIND(hh, m->topics, name.p, name.n, t);
    return t;
}

struct group *meta_group(struct meta *m, enum group_kind kind, struct str name)
{
    struct group *g = NULL;
    HASH_FIND(hh, m->groups[kind], name.p, name.n, g);
    return g;
}

struct binding *group_binding(struct group *g, struct str topic)
{
    struct binding *b = NULL;
    HASH_FIND(hh, g->bindings, topic.p, topic.n, b);
    return b;
}

/* ---- attributes ---- */

const char *attribute_get(const struct attribute *list, const char *key)
{
    for (; list; list = list->next)
        if (strcmp(list->key, key) == 0)
            return list->value;
    return NULL;
}

static void attribute_free(struct attribute *a)
{
    free(a->key);
    free(a->value);
    free(a);
}

static int key_compare(const char *z, struct str key)
{
    size_t n = strlen(z);
    int c = memcmp(z, key.p, n < key.n ? n : key.n);
    return c ? c : (n > key.n) - (n < key.n);
}

int attribute_set(struct attribute **list, struct str key, const char *value)
{
    struct attribute *a, **at = list;

    while (*at && key_compare((*at)->key, key) < 0)
        at = &(*at)->next;
    a = *at;
    if (a && str_is(key, a->key)) {
        char *copy = value ? str_dup(str_of(value)) : NULL;
        if (value && !copy)
            return -ENOMEM;
        if (value) {
            free(a->value);
            a->value = copy;
            return 0;
        }
        *at = a->next;
        attribute_free(a);
        return 0;
    }
    if (!value)
        return 0;
    a = calloc(1, sizeof(*a));
    if (!a)
        return -ENOMEM;
    a->key = str_dup(key);
    a->value = str_dup(str_of(value));
    if (!a->key || !a->value) {
        attribute_free(a);
        return -ENOMEM;
    }
    a->next = *at;
    *at = a;
    return 0;
}

void attributes_free(struct attribute **list)
{
    while (*list) {
        struct attribute *next = (*list)->next;
        attribute_free(*list);
        *list = next;
    }
}

int attributes_copy(const struct attribute *from, struct attribute **to)
{
    for (*to = NULL; from; from = from->next)
        if (attribute_set(to, str_of(from->key), from->value)) {
            attributes_free(to);
            return -ENOMEM;
        }
    return 0;
}

static void show_attribute(const struct attribute *list, const char *key, char *out, size_t cap)
{
    const char *value = attribute_get(list, key);
    if (!str_copy(out, cap, str_of(value ? value : "")))
        log_warn("attribute %s=%.100s is longer than %zu bytes: not shown", key, value, cap - 1);
}

void topic_read_attributes(struct topic *t)
{
    const char *queues = attribute_get(t->attributes, "queue.type");

    t->batch_queues = queues && strcmp(queues, "BatchCQ") == 0;
    show_attribute(t->attributes, OWNER_ATTRIBUTE, t->info.owner, sizeof(t->info.owner));
    show_attribute(t->attributes, TYPE_ATTRIBUTE, t->info.type, sizeof(t->info.type));
}

void group_read_attributes(struct group *g)
{
    show_attribute(g->attributes, OWNER_ATTRIBUTE, g->info.owner, sizeof(g->info.owner));
}

/* ---- making and unmaking ---- */

int topic_name_check_stored(struct str name, struct fault *f)
{
    char plain[TOPIC_NAME_MAX_LONG + 1];

    if (!topic_is_retry(name) || !str_copy(plain, sizeof(plain), name))
        return topic_name_check(name, f);
    for (size_t i = 0; i < name.n; i++)
        if (plain[i] == '+')
            plain[i] = '_';
    return topic_name_check(str_n(plain, name.n), f);
}

struct topic *topic_new(struct str name)
{
    struct topic *t = calloc(1, sizeof(*t));

    if (!t || !str_copy(t->info.name, sizeof(t->info.name), name)) {
        free(t);
        return NULL;
    }
    t->info.read_queues = t->info.write_queues = 16;
    t->info.perm = 6;
    t->info.system = topic_is_system(name);
    return t;
}

void topic_free(struct topic *t)
{
    if (!t)
        return;
    attributes_free(&t->attributes);
    free(t->queues);
    free(t->other_json);
    flow_end(&t->puts);
    free(t);
}

struct group *group_new(enum group_kind kind, struct str name)
{
    struct group *g = calloc(1, sizeof(*g));

    if (!g || !str_copy(g->info.name, sizeof(g->info.name), name)) {
        free(g);
        return NULL;
    }
    g->kind = kind;
    g->next_binding_id = 1;
    g->info.system = group_is_system(name);
    g->info.consume_enable = g->info.consume_from_min_enable = g->info.consume_broadcast_enable = true;
    g->info.notify_ids_changed = true;
    g->info.retry_queues = 1;
    g->info.retry_max = 16;
    g->info.consume_timeout_minute = 15;
    g->info.which_broker_when_slow = 1;
    return g;
}

void group_free(struct group *g)
{
    struct binding *b, *next;

    if (!g)
        return;
    HASH_ITER(hh, g->bindings, b, next) {
        HASH_DEL(g->bindings, b);
        free(b);
    }
    attributes_free(&g->attributes);
    free(g->other_json);
    free(g);
}

struct binding *group_add_binding(struct group *g, struct str topic, struct str filter, int64_t version)
{
    struct binding *b = calloc(1, sizeof(*b));

    if (!b || !str_copy(b->info.topic, sizeof(b->info.topic), topic) ||
        !str_copy(b->info.filter, sizeof(b->info.filter), filter)) {
        free(b);
        return NULL;
    }
    b->info.id = g->next_binding_id++;
    b->info.version = version;
    b->sql = str_starts(filter, "sql: ");
    HASH_ADD_KEYPTR(hh, g->bindings, b->info.topic, strlen(b->info.topic), b);
    return b;
}

int topic_make_queues(struct meta *m, struct topic *t)
{
    int32_t want = t->info.read_queues > t->info.write_queues ? t->info.read_queues : t->info.write_queues;
    struct store_queue **all;

    if (!m->store || want <= t->n_queues)
        return 0;
    all = realloc(t->queues, (size_t)want * sizeof(struct store_queue *));
    if (!all)
        return -ENOMEM;
    t->queues = all;
    while (t->n_queues < want) {
        struct store_queue *q = store_queue(m->store, str_of(t->info.name), t->n_queues);
        if (!q)
            return -ENOMEM;
        t->queues[t->n_queues++] = q;
    }
    return 0;
}

/* The array of n pointers with room for one more, by doubling; NULL without memory, and then the old one stays. */
static void *room_for_one(void *array, uint32_t n)
{
    bool full = !(n & (n - 1));     /* its capacity is the next power of two */
    return full ? realloc(array, (size_t)n * 2 * sizeof(void *)) : array;
}

int meta_add_topic(struct meta *m, struct topic *t)
{
    if (!t->info.id) {
        struct topic **all = room_for_one(m->topic_by_id, m->n_ids);
        if (!all)
            return -ENOMEM;
        m->topic_by_id = all;
        t->info.id = m->n_ids++;
    }
    m->topic_by_id[t->info.id] = t;
    HASH_ADD_KEYPTR(hh, m->topics, t->info.name, strlen(t->info.name), t);
    return 0;
}

void meta_remove_topic(struct meta *m, struct topic *t)
{
    HASH_DEL(m->topics, t);
    m->topic_by_id[t->info.id] = NULL;
}

int meta_add_group(struct meta *m, struct group *g)
{
    enum group_kind k = g->kind;

    if (!g->info.id) {
        struct group **all = room_for_one(m->group_by_id[k], m->n_group_ids[k]);
        if (!all)
            return -ENOMEM;
        m->group_by_id[k] = all;
        g->info.id = m->n_group_ids[k]++;
    }
    m->group_by_id[k][g->info.id] = g;
    HASH_ADD_KEYPTR(hh, m->groups[k], g->info.name, strlen(g->info.name), g);
    return 0;
}

void meta_remove_group(struct meta *m, struct group *g)
{
    HASH_DEL(m->groups[g->kind], g);
    m->group_by_id[g->kind][g->info.id] = NULL;
}

/* ---- versions ---- */

void data_version_bump(struct data_version *v)
{
    v->counter++;
    v->timestamp = wall_ms();
    v->state_version = 0;       /* Apache: the epoch of its controller; 0 without one */
}

void meta_topics_changed(struct meta *m, struct topic *t)
{
    m->topic_changes++;
    data_version_bump(&m->topic_version);
    if (t)
        t->generation = m->topic_changes;
}

void meta_groups_changed(struct meta *m, enum group_kind kind)
{
    if (kind == CONSUMER_GROUP) {
        m->group_changes++;
        data_version_bump(&m->group_version);
    } else {
        m->producer_changes++;
        data_version_bump(&m->producer_version);
    }
}

/* ---- rights ---- */

static bool needs_no_binding(struct meta *m, const struct broker_config *conf, enum group_kind kind,
                             struct str group, struct str topic)
{
    struct topic *t;
    struct str of = topic_group_of(topic);

    if (of.n && (str_eq(of, group) || (kind == PRODUCER_GROUP && topic_is_retry(topic))))
        return true;
    if (kind == CONSUMER_GROUP && group_is_system(group))
        return true;
    if (kind == PRODUCER_GROUP && str_is(topic, conf->msg_trace_topic_name))
        return true;
    if (kind == CONSUMER_GROUP && topic_holds_others(topic))     /* else delayed messages of any topic could be read there */
        return false;
    t = meta_topic(m, topic);
    return t ? t->info.system : topic_is_system(topic);
}

int meta_bound(struct meta *m, const struct broker_config *conf, enum group_kind kind, struct str group,
               struct str topic, struct fault *f)
{
    static const char *const dirs[] = {[CONSUMER_GROUP] = "groups", [PRODUCER_GROUP] = "producers"};
    static const char *const words[] = {[CONSUMER_GROUP] = "group", [PRODUCER_GROUP] = "producer group"};
    struct group *g;
    struct topic *t;
    char first[GROUP_NAME_MAX_LONG + 32] = "", ask[OWNER_MAX + 40] = "";

    if (!conf->enforce_bindings || needs_no_binding(m, conf, kind, group, topic))
        return 0;
    g = meta_group(m, kind, group);
    if (g && group_binding(g, topic))
        return 0;
    if (!g)
        snprintf(first, sizeof(first), "/%s/%.*s and then ", dirs[kind], group.n > 200 ? 200 : (int)group.n,
                 group.p);
    t = meta_topic(m, topic);
    if (t && t->info.owner[0])
        snprintf(ask, sizeof(ask), " (or ask the topic's owner %s)", t->info.owner);
    return fault_set(f, RC_NO_PERMISSION, EACCES,
                     "%s %.*s is not bound to topic %.*s: make %s/%s/%.*s/bindings/%.*s%s",
                     words[kind], STR_ARG(group), STR_ARG(topic), first, dirs[kind], STR_ARG(group),
                     STR_ARG(topic), ask);
}
