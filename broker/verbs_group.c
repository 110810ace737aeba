/* Making, changing and deleting consumer groups and producer groups. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/attributes.h"
#include "broker/clients.h"
#include "broker/hold.h"
#include "broker/meta_json.h"
#include "broker/offsets.h"
#include "broker/verbs.h"
#include "common/clock.h"
#include "common/codes.h"

static const char *word(enum group_kind kind) { return kind == CONSUMER_GROUP ? "group" : "producer group"; }

/* ---- building what a group will be ---- */

static int copy_bindings(const struct group *from, struct group *to)
{
    for (const struct binding *b = from->bindings; b; b = b->hh.next) {
        struct binding *copy = group_add_binding(to, str_of(b->info.topic), str_of(b->info.filter),
                                                 b->info.version);
        if (!copy)
            return -ENOMEM;
        copy->info.id = b->info.id;
    }
    to->next_binding_id = from->next_binding_id;
    return 0;
}

/* A copy that is in no table, with the same id. */
static struct group *group_copy(const struct group *from)
{
    struct group *g = group_new(from->kind, str_of(from->info.name));

    if (!g)
        return NULL;
    g->info = from->info;
    if (from->other_json)
        g->other_json = str_dup(str_of(from->other_json));
    if ((from->other_json && !g->other_json) || attributes_copy(from->attributes, &g->attributes) ||
        copy_bindings(from, g)) {
        group_free(g);
        return NULL;
    }
    return g;
}

struct setting {
    const char *name;                /* as the tree's file */
    size_t from, to;                 /* in group_change; in group_info */
    bool number;                     /* int32_t; else bool */
    int32_t min, max;
};
#define FLAG(name, change, info_field) \
    {name, offsetof(struct group_change, change), offsetof(struct group_info, info_field), false, 0, 1}
#define NUMBER(name, change, info_field, min, max) \
    {name, offsetof(struct group_change, change), offsetof(struct group_info, info_field), true, min, max}

static const struct setting settings[] = {
    FLAG("enabled", consume_enable, consume_enable),
    FLAG("consume_from_min", consume_from_min_enable, consume_from_min_enable),
    FLAG("broadcast", consume_broadcast_enable, consume_broadcast_enable),
    FLAG("order", consume_orderly, consume_orderly),
    FLAG("notify_ids_changed", notify_ids_changed, notify_ids_changed),
    NUMBER("retry_queues", retry_queues, retry_queues, 0, QUEUES_MAX),
    NUMBER("retry_max", retry_max, retry_max, 0, INT32_MAX),
    NUMBER("consume_timeout_minute", consume_timeout_minute, consume_timeout_minute, 1, INT32_MAX),
};
#define N_SETTINGS (sizeof(settings) / sizeof(settings[0]))

static int32_t setting_get(const struct setting *s, const struct group_info *g)
{
    const char *at = (const char *)g + s->to;
    int32_t v = 0;
    bool flag;

    if (s->number)
        memcpy(&v, at, sizeof(v));
    else
        memcpy(&flag, at, sizeof(flag)), v = flag;
    return v;
}

static int setting_change(const struct setting *s, const struct group_change *ch, struct group_info *g,
                          struct fault *f)
{
    char *at = (char *)g + s->to;
    int32_t v;
    bool flag;

    memcpy(&v, (const char *)ch + s->from, sizeof(v));
    if (v == -1)
        return 0;
    if (v < s->min || v > s->max)
        return fault_set(f, RC_INVALID_PARAMETER, EINVAL, "group %s: %s is a number from %d to %d, not %d",
                         g->name, s->name, s->min, s->max, v);
    flag = v;
    if (s->number)
        memcpy(at, &v, sizeof(v));
    else
        memcpy(at, &flag, sizeof(flag));
    return 0;
}

static int apply_change(struct group *g, const struct group_change *ch, struct fault *f)
{
    int rc = 0;

    for (size_t i = 0; i < N_SETTINGS && !rc; i++)
        rc = setting_change(&settings[i], ch, &g->info, f);
    if (!rc && ch->owner)
        rc = owner_change(&g->attributes, ch->owner, f);
    group_read_attributes(g);
    return rc;
}

/* ---- putting ---- */

struct staged {
    struct group *now;               /* in the table; NULL while it is only to be made */
    struct group *next;
    bool create;
};

#define SWAP(a, b) do { __typeof__(a) swap_ = (a); (a) = (b); (b) = swap_; } while (0)

static void swap_state(struct group *a, struct group *b)
{
    SWAP(a->info, b->info);
    SWAP(a->attributes, b->attributes);
    SWAP(a->bindings, b->bindings);
    SWAP(a->next_binding_id, b->next_binding_id);
    SWAP(a->other_json, b->other_json);
}

static int apply(struct meta *m, struct staged *s)
{
    if (!s->create) {
        swap_state(s->now, s->next);
        return 0;
    }
    if (meta_add_group(m, s->next))
        return -ENOMEM;
    s->now = s->next;
    s->next = NULL;
    return 0;
}

static void undo(struct meta *m, struct staged *s)
{
    if (!s->create) {
        swap_state(s->now, s->next);
        return;
    }
    meta_remove_group(m, s->now);
    s->next = s->now;
    s->now = NULL;
}

/* Within verb_begin: into the table and onto the disk, or all as it was. */
static int commit(struct broker *b, enum group_kind kind, struct staged *all, size_t n, struct fault *f)
{
    size_t done = 0;
    int rc = 0;

    meta_write(b->meta);
    while (done < n && !(rc = apply(b->meta, &all[done])))
        done++;
    meta_groups_changed(b->meta, kind);
    meta_done(b->meta);
    if (rc)
        fault_errno(f, -rc, "changing groups");
    else
        rc = saver_save(b->saver, groups_file(kind), f);
    if (!rc)
        return 0;
    meta_write(b->meta);
    while (done)
        undo(b->meta, &all[--done]);
    meta_groups_changed(b->meta, kind);
    meta_done(b->meta);
    return rc;
}

/* ---- audit ---- */

static void audit_setting(struct buf *lines, const struct caller *c, const struct group *g,
                          const char *name, const char *old, const char *now)
{
    char path[GROUP_NAME_MAX_LONG + 64];

    snprintf(path, sizeof(path), "/%s/%s/%s", groups_dir(g->kind), g->info.name, name);
    audit_add(lines, c, "group.change", path, old, now);
}

/* Settings that only Apache's objects carry: as one text each. */
static void put_brokers(const struct group *g, struct buf *out)
{
    buf_printf(out, "%lld %lld", (long long)g->info.broker_id, (long long)g->info.which_broker_when_slow);
}
static void put_sys_flag(const struct group *g, struct buf *out) { buf_i64(out, g->info.sys_flag); }
static void put_other(const struct group *g, struct buf *out) { buf_puts(out, g->other_json ? g->other_json : ""); }
static void put_owner(const struct group *g, struct buf *out) { buf_puts(out, g->info.owner); }

static const struct {
    const char *name;
    void (*put)(const struct group *g, struct buf *out);
} texts[] = {{"owner", put_owner}, {"brokers", put_brokers}, {"sys_flag", put_sys_flag},
             {"other", put_other}};

/* Adds a line where the text differs (lines NULL: only looks). */
static bool audit_text(struct buf *lines, const struct caller *c, const struct group *was,
                       const struct group *is, size_t i)
{
    struct buf old = {0}, now = {0};
    bool differs;

    texts[i].put(was, &old);
    texts[i].put(is, &now);
    buf_putc(&old, 0);
    buf_putc(&now, 0);
    differs = !buf_failed(&old) && !buf_failed(&now) && strcmp(old.p, now.p);
    if (differs && lines)
        audit_setting(lines, c, is, texts[i].name, old.p, now.p);
    buf_free(&old);
    buf_free(&now);
    return differs;
}

/* Lines for the differences (lines NULL: only looks); whether there are any. */
static bool audit_differences(struct buf *lines, const struct caller *c, const struct group *was,
                              const struct group *is)
{
    bool any = false;

    for (size_t i = 0; i < N_SETTINGS; i++) {
        char old[16], now[16];
        int32_t a = setting_get(&settings[i], &was->info), b = setting_get(&settings[i], &is->info);

        if (a == b)
            continue;
        any = true;
        snprintf(old, sizeof(old), "%d", a);
        snprintf(now, sizeof(now), "%d", b);
        if (lines)
            audit_setting(lines, c, is, settings[i].name, old, now);
    }
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        any |= audit_text(lines, c, was, is, i);
    return any;
}

static void audit_created(struct buf *lines, const struct caller *c, const struct group *g)
{
    char path[GROUP_NAME_MAX_LONG + 32], owner[OWNER_MAX + 8];

    snprintf(path, sizeof(path), "/%s/%s", groups_dir(g->kind), g->info.name);
    snprintf(owner, sizeof(owner), "owner=%s", g->info.owner);
    audit_add(lines, c, "group.create", path, NULL, g->info.owner[0] ? owner : NULL);
}

/* One binding's event on its way: kept until no lock is held. */
static void add_event(struct buf *events, const struct group *g, const char *topic, enum event_what what)
{
    buf_putc(events, (char)what);
    buf_put(events, g->info.name, strlen(g->info.name) + 1);
    buf_put(events, topic, strlen(topic) + 1);
}

static void send_events(struct broker *b, const struct buf *events)
{
    const char *p = events->p, *end = p + events->n;

    while (p && !buf_failed(events) && p < end) {
        enum event_what what = (enum event_what)*p;
        struct str group = str_of(p + 1), topic = str_of(group.p + group.n + 1);

        broker_event(b, EVENT_GROUP_BINDING, what, group, topic);
        p = topic.p + topic.n + 1;
    }
}

static void audit_bindings(struct buf *lines, struct buf *events, const struct caller *c, struct group *was,
                           struct group *is)
{
    char path[GROUP_NAME_MAX_LONG + TOPIC_NAME_MAX_LONG + 64];

    for (struct binding *b = is->bindings; b; b = b->hh.next) {
        struct binding *old = was ? group_binding(was, str_of(b->info.topic)) : NULL;

        if (old && strcmp(old->info.filter, b->info.filter) == 0)
            continue;
        snprintf(path, sizeof(path), "/%s/%s/bindings/%s", groups_dir(is->kind), is->info.name,
                 b->info.topic);
        audit_add(lines, c, "group.bind", path, old ? old->info.filter : NULL, b->info.filter);
        add_event(events, is, b->info.topic, old ? EVENT_CHANGED : EVENT_CREATED);
    }
    for (struct binding *b = was ? was->bindings : NULL; b; b = b->hh.next) {
        if (group_binding(is, str_of(b->info.topic)))
            continue;
        snprintf(path, sizeof(path), "/%s/%s/bindings/%s", groups_dir(is->kind), is->info.name,
                 b->info.topic);
        audit_add(lines, c, "group.unbind", path, b->info.filter, NULL);
        add_event(events, is, b->info.topic, EVENT_DELETED);
    }
}

static int audit_all(struct broker *b, const struct caller *c, struct staged *all, size_t n,
                     struct buf *events, struct fault *f)
{
    struct buf lines = {0};
    int rc;

    for (size_t i = 0; i < n; i++) {
        if (all[i].create)
            audit_created(&lines, c, all[i].now);
        else
            audit_differences(&lines, c, all[i].next, all[i].now);
        audit_bindings(&lines, events, c, all[i].create ? NULL : all[i].next, all[i].now);
    }
    rc = audit_put(b->audit, &lines, f);
    buf_free(&lines);
    return rc;
}

/* ---- one group, by the tree's values ---- */

static int put_group(struct broker *b, const struct caller *c, enum group_kind kind, struct str group,
                     const struct group_change *ch, bool create, struct fault *f)
{
    struct staged s = {.create = create};
    struct buf events = {0};         /* stays empty: settings are no bindings */
    bool same = false;
    int rc = group_name_check(group, f);

    if (rc)
        return rc;
    verb_begin(b);
    s.now = meta_group(b->meta, kind, group);
    if (create && s.now)
        rc = fault_set(f, RC_INVALID_PARAMETER, EEXIST, "%s %.*s is there already", word(kind),
                       STR_ARG(group));
    else if (!create && !s.now)
        rc = fault_set(f, RC_SUBSCRIPTION_GROUP_NOT_EXIST, ENOENT,
                       "there is no %s %.*s: make it with mkdir or updateSubGroup",
                       word(kind), STR_ARG(group));
    else if (!(s.next = create ? group_new(kind, group) : group_copy(s.now)))
        rc = fault_errno(f, ENOMEM, "changing %s %.*s", word(kind), STR_ARG(group));
    if (!rc)
        rc = apply_change(s.next, ch, f);
    if (!rc && !create)
        same = !audit_differences(NULL, NULL, s.now, s.next);
    if (!rc && !same && !(rc = commit(b, kind, &s, 1, f))) {
        rc = audit_all(b, c, &s, 1, &events, f);
        same = false;
    } else {
        same = true;
    }
    group_free(s.next);
    verb_end(b);
    buf_free(&events);
    if (!same && !create && kind == CONSUMER_GROUP)
        hold_wake_group(b->hold, group, (struct str){0});      /* it may be disabled now */
    if (!same)
        broker_event(b, group_event(kind), create ? EVENT_CREATED : EVENT_CHANGED, group, (struct str){0});
    return rc;
}

int broker_group_create(struct broker *b, const struct caller *c, enum group_kind kind, struct str group,
                        const struct group_change *ch, struct fault *f)
{
    return put_group(b, c, kind, group, ch, true, f);
}

int broker_group_update(struct broker *b, const struct caller *c, enum group_kind kind, struct str group,
                        const struct group_change *ch, struct fault *f)
{
    return put_group(b, c, kind, group, ch, false, f);
}

int groups_make_missing(struct broker *b, const char *const *names, size_t n, struct fault *f)
{
    bool any = false;
    int rc = 0;

    verb_begin(b);
    for (size_t i = 0; i < n && !rc; i++) {
        struct group *g;

        if (meta_group(b->meta, CONSUMER_GROUP, str_of(names[i])))
            continue;
        g = group_new(CONSUMER_GROUP, str_of(names[i]));
        if (!g) {
            rc = -ENOMEM;
            break;
        }
        meta_write(b->meta);
        rc = meta_add_group(b->meta, g);
        meta_groups_changed(b->meta, CONSUMER_GROUP);
        meta_done(b->meta);
        any = true;
        if (rc)
            group_free(g);
    }
    verb_end(b);
    if (any)
        saver_soon(b->saver, groups_file(CONSUMER_GROUP));
    return rc ? fault_errno(f, -rc, "making the system's groups") : 0;
}

/* ---- many groups, by Apache's objects ---- */

static int read_attributes(struct broker *b, struct group *g, bool create, const struct json *j,
                           struct fault *f)
{
    struct buf text = {0};
    int rc = attributes_text(json_member(j, "attributes"), &text, f);

    if (!rc)
        rc = attributes_change(&g->attributes, ATTRIBUTES_OF_GROUP, create, buf_str(&text), broker_conf(b),
                               f);
    buf_free(&text);
    group_read_attributes(g);
    return rc;
}

static bool has_bindings(const struct json *j)
{
    const struct json *set = json_member(j, "subscriptionDataSet");
    return set && set->type == JSON_ARRAY;
}

/* As a new SubscriptionGroupConfig of Apache's replaces the old: what the object lacks gets its default, but attributes
 * change only as they say, and bindings stay when the object does not speak of them (mqadmin never does). */
static int build_from_json(struct broker *b, const struct json *j, struct staged *s, struct fault *f)
{
    struct str name = json_str(j, "groupName");
    struct group *g;
    int rc = group_name_check(name, f);

    if (rc)
        return rc;
    s->now = meta_group(b->meta, CONSUMER_GROUP, name);
    s->create = !s->now;
    g = s->next = group_new(CONSUMER_GROUP, name);
    if (g && s->now)
        g->info.id = s->now->info.id;
    if (!g || group_read(g, j) || (s->now && attributes_copy(s->now->attributes, &g->attributes)) ||
        (s->now && !has_bindings(j) && copy_bindings(s->now, g)))
        return fault_errno(f, ENOMEM, "changing group %.*s", STR_ARG(name));
    if (has_bindings(j)) {
        if (s->now)
            g->next_binding_id = s->now->next_binding_id;
        if (group_read_bindings(g, j))
            return fault_errno(f, ENOMEM, "changing group %.*s", STR_ARG(name));
    }
    if (g->info.retry_max < 0)
        return fault_set(f, RC_INVALID_PARAMETER, EINVAL,
                         "group %s: retryMaxTimes is a number from 0 on, not %d", g->info.name,
                         g->info.retry_max);
    return read_attributes(b, g, s->create, j, f);
}

static int build_all(struct broker *b, const struct json *const *configs, size_t n, struct staged *all,
                     struct fault *f)
{
    struct group *seen = NULL, *twice;
    int rc = 0;

    for (size_t i = 0; i < n && !rc; i++) {
        const char *name;

        if ((rc = build_from_json(b, configs[i], &all[i], f)))
            break;
        name = all[i].next->info.name;
        HASH_FIND(hh, seen, name, strlen(name), twice);
        if (twice)
            rc = fault_set(f, RC_INVALID_PARAMETER, EINVAL, "group %s stands there twice", name);
        else
            HASH_ADD_KEYPTR(hh, seen, name, strlen(name), all[i].next);
    }
    HASH_CLEAR(hh, seen);
    return rc;
}

int groups_put_json(struct broker *b, const struct caller *c, const struct json *const *configs, size_t n,
                    struct fault *f)
{
    struct staged *all = calloc(n + 1, sizeof(*all));
    struct buf events = {0};
    bool done = false;
    int rc;

    if (!all)
        return fault_errno(f, ENOMEM, "changing groups");
    verb_begin(b);
    rc = build_all(b, configs, n, all, f);
    if (!rc && n && !(rc = commit(b, CONSUMER_GROUP, all, n, f))) {
        done = true;
        rc = audit_all(b, c, all, n, &events, f);
    }
    for (size_t i = 0; i < n; i++)
        group_free(all[i].next);
    verb_end(b);
    for (size_t i = 0; i < n && done; i++) {
        struct str name = json_str(configs[i], "groupName");

        hold_wake_group(b->hold, name, (struct str){0});
        broker_event(b, EVENT_GROUP, all[i].create ? EVENT_CREATED : EVENT_CHANGED, name, (struct str){0});
    }
    send_events(b, &events);
    buf_free(&events);
    free(all);
    return rc;
}

/* ---- deleting ---- */

static bool online(struct broker *b, enum group_kind kind, struct str group)
{
    return kind == CONSUMER_GROUP ? clients_consumer_online(b->clients, group) :
                                    clients_producer_online(b->clients, group);
}

static int remove_group(struct broker *b, struct group *g, struct fault *f)
{
    int rc;

    meta_write(b->meta);
    meta_remove_group(b->meta, g);
    meta_groups_changed(b->meta, g->kind);
    meta_done(b->meta);
    rc = saver_save(b->saver, groups_file(g->kind), f);
    if (!rc)
        return 0;
    meta_write(b->meta);
    meta_add_group(b->meta, g);         /* cannot fail: it has its id */
    meta_groups_changed(b->meta, g->kind);
    meta_done(b->meta);
    return rc;
}

static int delete(struct broker *b, const struct caller *c, enum group_kind kind, struct str group,
                  bool clean_offsets, struct fault *f)
{
    struct group *g = meta_group(b->meta, kind, group);
    char path[GROUP_NAME_MAX_LONG + 32];
    int rc;

    if (!g)
        return fault_set(f, RC_SUBSCRIPTION_GROUP_NOT_EXIST, ENOENT, "there is no %s %.*s", word(kind),
                         group.n > 255 ? 255 : (int)group.n, group.p);
    if (!from_wire(c) && g->info.system)
        return fault_set(f, RC_INVALID_PARAMETER, EPERM, "%s %s belongs to the system", word(kind),
                         g->info.name);
    if (!from_wire(c) && online(b, kind, group))
        return fault_set(f, RC_SYSTEM_ERROR, EBUSY,
                         "%s %s has connected clients (see /%s/%s/clients): stop them first", word(kind),
                         g->info.name, groups_dir(kind), g->info.name);
    snprintf(path, sizeof(path), "/%s/%s", groups_dir(kind), g->info.name);
    if ((rc = remove_group(b, g, f)))
        return rc;
    group_free(g);
    if (kind == CONSUMER_GROUP && clean_offsets) {
        offsets_drop_group(b->offsets, group);
        rc = saver_save(b->saver, OFFSETS_FILE, f);
    }
    if (!rc)
        rc = audit_write(b->audit, c, "group.delete", path, NULL, NULL, f);
    else
        audit_write(b->audit, c, "group.delete", path, NULL, NULL, NULL);
    return rc;
}

/* The group's own topics go with it when the tree removes it (mqadmin asks for that itself); dead letters stay. */
static int delete_topics(struct broker *b, const struct caller *c, struct str group, struct fault *f)
{
    static const char *const prefixes[] = {RETRY_PREFIX, DLQ_PREFIX};
    int rc = 0;

    for (int i = 0; i < 2 && !rc; i++) {
        char name[TOPIC_NAME_MAX_LONG + 1];
        struct queue_info q;
        bool messages = false;

        if ((size_t)snprintf(name, sizeof(name), "%s%.*s", prefixes[i], STR_ARG(group)) >= sizeof(name))
            continue;
        for (int32_t k = 0; i == 1 && broker_queue_get(b, str_of(name), k, &q) == 0; k++)
            messages |= q.max > q.min;
        if (!messages)
            rc = topic_delete(b, c, str_of(name), true, f);
        if (rc == -ENOENT)
            rc = 0;
    }
    return rc;
}

int broker_group_delete(struct broker *b, const struct caller *c, enum group_kind kind, struct str group,
                        bool clean_offsets, struct fault *f)
{
    int rc;

    verb_begin(b);
    rc = delete(b, c, kind, group, clean_offsets, f);
    verb_end(b);
    if (rc)
        return rc;
    broker_event(b, group_event(kind), EVENT_DELETED, group, (struct str){0});
    if (kind != CONSUMER_GROUP)
        return 0;
    hold_wake_group(b->hold, group, (struct str){0});
    return from_wire(c) ? 0 : delete_topics(b, c, group, f);
}
