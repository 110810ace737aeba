/* Binding groups to topics. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/hold.h"
#include "broker/verbs.h"
#include "common/clock.h"
#include "common/codes.h"

#define FILTER_CAP sizeof(((struct binding_info *)0)->filter)

/* ---- filters ---- */

static int check_characters(struct str filter, struct fault *f)
{
    for (size_t i = 0; i < filter.n; i++)
        if ((unsigned char)filter.p[i] < ' ' || filter.p[i] == 127)
            return fault_set(f, RC_INVALID_PARAMETER, EINVAL,
                             "a filter is one line: byte %zu is a control character", i + 1);
    return 0;
}

/* "A||B" as "A || B"; without any tag "*". */
static int normal_tags(struct str filter, struct buf *out, struct fault *f)
{
    if (!filter.n || str_is(filter, "*")) {
        buf_putc(out, '*');
        return 0;
    }
    for (;;) {
        const char *bar = memmem(filter.p, filter.n, "||", 2);
        struct str tag = str_trim(str_n(filter.p, bar ? (size_t)(bar - filter.p) : filter.n));

        if (!tag.n || str_is(tag, "*") || memchr(tag.p, '|', tag.n))
            return fault_set(f, RC_INVALID_PARAMETER, EINVAL,
                             "a filter is *, or tags as in TagA || TagB, not \"%.*s\"",
                             filter.n > 100 ? 100 : (int)filter.n, filter.p);
        buf_puts(out, out->n ? " || " : "");
        buf_put_str(out, tag);
        if (!bar)
            return 0;
        filter = str_n(bar + 2, filter.n - (size_t)(bar + 2 - filter.p));
    }
}

/* The filter as it is kept; checks it. */
static int normal_filter(struct broker *b, enum group_kind kind, struct str filter, struct buf *out,
                         struct fault *f)
{
    int rc;

    filter = str_trim(filter);
    if ((rc = check_characters(filter, f)))
        return rc;
    if (str_starts(filter, "sql:") && !broker_conf(b)->enable_property_filter)
        return fault_set(f, RC_INVALID_PARAMETER, EINVAL,
                         "there are no SQL filters yet: write *, or tags as in TagA || TagB");
    if (str_starts(filter, "sql:")) {
        filter = str_trim(str_n(filter.p + 4, filter.n - 4));
        if (!filter.n)
            return fault_set(f, RC_INVALID_PARAMETER, EINVAL, "sql: without an expression");
        buf_puts(out, "sql: ");
        buf_put_str(out, filter);
    } else if ((rc = normal_tags(filter, out, f))) {
        return rc;
    }
    if (kind == PRODUCER_GROUP && !str_is(buf_str(out), "*"))
        return fault_set(f, RC_INVALID_PARAMETER, EINVAL,
                         "a producer group's binding has no filter: write *");
    if (buf_failed(out))
        return fault_errno(f, ENOMEM, "reading the filter");
    if (out->n >= FILTER_CAP)
        return fault_set(f, RC_INVALID_PARAMETER, EINVAL, "a filter has at most %zu bytes", FILTER_CAP - 1);
    return 0;
}

/* ---- changing ---- */

static int find_group(struct broker *b, enum group_kind kind, struct str group, struct group **out,
                      struct fault *f)
{
    *out = meta_group(b->meta, kind, group);
    return *out ? 0 : fault_set(f, RC_SUBSCRIPTION_GROUP_NOT_EXIST, ENOENT,
                                "there is no %s %.*s: mkdir /%s/%.*s first",
                                kind == CONSUMER_GROUP ? "group" : "producer group",
                                group.n > 120 ? 120 : (int)group.n,
                                group.p, groups_dir(kind), group.n > 120 ? 120 : (int)group.n, group.p);
}

static int save(struct broker *b, enum group_kind kind, struct fault *f) { return saver_save(b->saver, groups_file(kind), f); }

static int audit(struct broker *b, const struct caller *c, const struct group *g, const char *what,
                 const char *topic, const char *old, const char *now, struct fault *f)
{
    char path[GROUP_NAME_MAX_LONG + TOPIC_NAME_MAX_LONG + 64];

    snprintf(path, sizeof(path), "/%s/%s/bindings/%s", groups_dir(g->kind), g->info.name, topic);
    return audit_write(b->audit, c, what, path, old, now, f);
}

/* Adds or changes a binding and saves; was is the old filter, "" for none. */
static int put_binding(struct broker *b, struct group *g, struct str topic, const char *filter,
                       char was[FILTER_CAP], struct fault *f)
{
    struct binding *bind = group_binding(g, topic);
    int64_t old_version = bind ? bind->info.version : 0;
    bool fresh = !bind;
    int rc;

    was[0] = 0;
    meta_write(b->meta);
    if (bind) {
        memcpy(was, bind->info.filter, FILTER_CAP);
        snprintf(bind->info.filter, FILTER_CAP, "%s", filter);
        bind->info.version = wall_ms();
        bind->sql = strncmp(filter, "sql: ", 5) == 0;
    } else {
        bind = group_add_binding(g, topic, str_of(filter), wall_ms());
    }
    if (bind)
        meta_groups_changed(b->meta, g->kind);
    meta_done(b->meta);
    if (!bind)
        return fault_errno(f, ENOMEM, "binding %s", g->info.name);
    rc = save(b, g->kind, f);
    if (!rc)
        return 0;
    meta_write(b->meta);
    if (fresh) {
        HASH_DEL(g->bindings, bind);
        free(bind);
    } else {
        memcpy(bind->info.filter, was, FILTER_CAP);
        bind->info.version = old_version;
        bind->sql = strncmp(was, "sql: ", 5) == 0;
    }
    meta_groups_changed(b->meta, g->kind);
    meta_done(b->meta);
    return rc;
}

/* Within verb_begin. *changed: 1 made, 2 another filter, 0 nothing new. */
static int bind_within(struct broker *b, const struct caller *c, enum group_kind kind, struct str group,
                       struct str topic, const char *filter, int *changed, struct fault *f)
{
    char was[FILTER_CAP];
    struct binding *bind;
    struct group *g;
    struct topic *t;
    int rc = find_group(b, kind, group, &g, f);

    *changed = 0;
    if (rc)
        return rc;
    t = meta_topic(b->meta, topic);
    if (!t)
        return fault_set(f, RC_TOPIC_NOT_EXIST, ENOENT,
                         "there is no topic %.*s: make it with mkdir or updateTopic",
                         topic.n > 255 ? 255 : (int)topic.n, topic.p);
    bind = group_binding(g, topic);
    if (bind && strcmp(bind->info.filter, filter) == 0)
        return 0;
    if ((rc = put_binding(b, g, topic, filter, was, f)))
        return rc;
    *changed = was[0] ? 2 : 1;
    return audit(b, c, g, "group.bind", t->info.name, was[0] ? was : NULL, filter, f);
}

int broker_bind(struct broker *b, const struct caller *c, enum group_kind kind, struct str group,
                struct str topic, struct str filter, struct fault *f)
{
    struct buf text = {0};
    int changed = 0, rc = normal_filter(b, kind, filter, &text, f);

    if (!rc) {
        buf_putc(&text, 0);
        if (buf_failed(&text))
            rc = fault_errno(f, ENOMEM, "reading the filter");
    }
    if (!rc) {
        verb_begin(b);
        rc = bind_within(b, c, kind, group, topic, text.p, &changed, f);
        verb_end(b);
    }
    buf_free(&text);
    if (changed && kind == CONSUMER_GROUP)
        hold_wake_group(b->hold, group, topic);
    if (changed)
        broker_event(b, binding_event(kind), changed == 1 ? EVENT_CREATED : EVENT_CHANGED, group, topic);
    return rc;
}

static void put_back(struct group *g, struct binding *bind)
{
    HASH_ADD_KEYPTR(hh, g->bindings, bind->info.topic, strlen(bind->info.topic), bind);
}

static int unbind_within(struct broker *b, const struct caller *c, enum group_kind kind, struct str group,
                         struct str topic, bool *gone, struct fault *f)
{
    struct binding *bind;
    struct group *g;
    int rc = find_group(b, kind, group, &g, f);

    if (rc)
        return rc;
    bind = group_binding(g, topic);
    if (!bind)
        return fault_set(f, RC_SUBSCRIPTION_NOT_EXIST, ENOENT, "%s is not bound to %.*s", g->info.name,
                         topic.n > 255 ? 255 : (int)topic.n, topic.p);
    meta_write(b->meta);
    HASH_DEL(g->bindings, bind);
    meta_groups_changed(b->meta, kind);
    meta_done(b->meta);
    rc = save(b, kind, f);
    if (rc) {
        meta_write(b->meta);
        put_back(g, bind);
        meta_groups_changed(b->meta, kind);
        meta_done(b->meta);
        return rc;
    }
    *gone = true;
    rc = audit(b, c, g, "group.unbind", bind->info.topic, bind->info.filter, NULL, f);
    free(bind);
    return rc;
}

int broker_unbind(struct broker *b, const struct caller *c, enum group_kind kind, struct str group,
                  struct str topic, struct fault *f)
{
    bool gone = false;
    int rc;

    verb_begin(b);
    rc = unbind_within(b, c, kind, group, topic, &gone, f);
    verb_end(b);
    if (gone && kind == CONSUMER_GROUP)
        hold_wake_group(b->hold, group, topic);     /* held pulls feel it too */
    if (gone)
        broker_event(b, binding_event(kind), EVENT_DELETED, group, topic);
    return rc;
}

/* ---- when a topic goes ---- */

bool bindings_any(struct broker *b, struct str topic, enum group_kind *kind, const char **group)
{
    for (int k = 0; k < 2; k++)
        for (struct group *g = b->meta->groups[k]; g; g = g->hh.next)
            if (group_binding(g, topic)) {
                *kind = (enum group_kind)k;
                *group = g->info.name;
                return true;
            }
    return false;
}

static int drop_of_kind(struct broker *b, const struct caller *c, enum group_kind kind, struct str topic,
                        struct buf *events, struct fault *f)
{
    struct buf lines = {0};
    bool any = false;
    int rc, rc2;

    meta_write(b->meta);
    for (struct group *g = b->meta->groups[kind]; g; g = g->hh.next) {
        struct binding *bind = group_binding(g, topic);
        char path[GROUP_NAME_MAX_LONG + TOPIC_NAME_MAX_LONG + 64];

        if (!bind)
            continue;
        snprintf(path, sizeof(path), "/%s/%s/bindings/%s", groups_dir(kind), g->info.name,
                 bind->info.topic);
        audit_add(&lines, c, "group.unbind", path, bind->info.filter, NULL);
        buf_putc(events, (char)kind);
        buf_put(events, g->info.name, strlen(g->info.name) + 1);
        HASH_DEL(g->bindings, bind);
        free(bind);
        any = true;
    }
    if (any)
        meta_groups_changed(b->meta, kind);
    meta_done(b->meta);
    rc = any ? save(b, kind, f) : 0;        /* when this fails they are gone all the same: their topic is */
    rc2 = audit_put(b->audit, &lines, rc ? NULL : f);
    buf_free(&lines);
    return rc ? rc : rc2;
}

int bindings_drop_topic(struct broker *b, const struct caller *c, struct str topic, struct buf *events,
                        struct fault *f)
{
    int rc = drop_of_kind(b, c, CONSUMER_GROUP, topic, events, f);
    int rc2 = drop_of_kind(b, c, PRODUCER_GROUP, topic, events, rc ? NULL : f);
    return rc ? rc : rc2;
}

void bindings_dropped(struct broker *b, struct str topic, const struct buf *events)
{
    const char *p = events->p, *end = p + events->n;

    while (p && !buf_failed(events) && p < end) {
        enum group_kind kind = (enum group_kind)*p;
        struct str group = str_of(p + 1);

        broker_event(b, binding_event(kind), EVENT_DELETED, group, topic);
        p = group.p + group.n + 1;
    }
}
