/* Deleting a topic. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/clients.h"
#include "broker/hold.h"
#include "broker/offsets.h"
#include "broker/registrar.h"
#include "broker/verbs.h"
#include "common/codes.h"
#include "common/log.h"

/* ---- what stands against it ---- */

struct first_group {
    char name[GROUP_NAME_MAX_LONG + 1];
    int more;
};

static void note_group(void *arg, struct str group)
{
    struct first_group *g = arg;

    if (g->name[0])
        g->more++;
    else if (!str_copy(g->name, sizeof(g->name), group))
        g->more++;
}

/* The tree's rmdir does not take away what somebody uses; broker.h says what that is. */
static int check_unused(struct broker *b, const struct topic *t, struct fault *f)
{
    struct first_group online = {"", 0};
    enum group_kind kind;
    const char *bound;
    int64_t n;

    clients_each_group_of(b->clients, str_of(t->info.name), note_group, &online);
    if (online.name[0])
        return fault_set(f, RC_SYSTEM_ERROR, EBUSY,
                         "topic %s is being consumed by group %s%s: stop its clients first",
                         t->info.name, online.name, online.more ? " and others" : "");
    if (bindings_any(b, str_of(t->info.name), &kind, &bound))
        return fault_set(f, RC_SYSTEM_ERROR, EBUSY,
                         "%s %s is bound to topic %s: rm /%s/%s/bindings/%s first",
                         kind == CONSUMER_GROUP ? "group" : "producer group", bound, t->info.name,
                         groups_dir(kind), bound, t->info.name);
    n = t->info.perm & 6 ? store_topic_messages(b->store, str_of(t->info.name)) : 0;
    if (n < 0)
        return fault_errno(f, (int)-n, "looking for messages of topic %s", t->info.name);
    if (n)
        return fault_set(f, RC_SYSTEM_ERROR, EBUSY,
                         "topic %s holds %lld messages: to delete them with it, first echo 0 > /%s/perm",
                         t->info.name, (long long)n, t->info.name);
    return 0;
}

static int find(struct broker *b, struct str name, bool force, struct topic **out, struct fault *f)
{
    struct topic *t = meta_topic(b->meta, name);

    if (topic_is_system(name) || (t && t->info.system))
        if (broker_conf(b)->validate_system_topic_when_update_topic)
            return fault_set(f, RC_INVALID_PARAMETER, EPERM,
                             "topic %.*s belongs to the system and is not to be deleted", STR_ARG(name));
    if (!t)
        return fault_set(f, RC_TOPIC_NOT_EXIST, ENOENT, "there is no topic %.*s",
                         name.n > 255 ? 255 : (int)name.n, name.p);
    *out = t;
    return force ? 0 : check_unused(b, t, f);
}

/* ---- its POP retry topics ---- */

struct gone {
    struct gone *next;
    struct topic *t;
    struct buf unbound;              /* events of bindings_drop_topic */
};

static int add_gone(struct gone **list, struct topic *t)
{
    struct gone *g = calloc(1, sizeof(*g));

    if (!g)
        return -ENOMEM;
    g->t = t;
    g->next = *list;
    *list = g;
    return 0;
}

struct retry_search {
    struct broker *b;
    struct str topic;
    struct gone **list;
    int rc;
};

/* Apache's POP keeps a retry topic for each group and topic: %RETRY%GROUP_TOPIC, and %RETRY%GROUP+TOPIC since 5.2. */
static void find_retry(void *arg, struct str group)
{
    struct retry_search *s = arg;
    char name[2 * TOPIC_NAME_MAX_LONG + 16];

    for (const char *sep = "_+"; *sep && !s->rc; sep++) {
        struct topic *t;
        snprintf(name, sizeof(name), "%s%.*s%c%.*s", RETRY_PREFIX, STR_ARG(group), *sep, STR_ARG(s->topic));
        t = meta_topic(s->b->meta, str_of(name));
        if (t)
            s->rc = add_gone(s->list, t);
    }
}

/* ---- doing it ---- */

static int remove_all(struct broker *b, struct gone *list, struct fault *f)
{
    int rc;

    meta_write(b->meta);
    for (struct gone *g = list; g; g = g->next)
        meta_remove_topic(b->meta, g->t);
    meta_topics_changed(b->meta, NULL);
    meta_done(b->meta);
    rc = saver_save(b->saver, TOPICS_FILE, f);
    if (!rc)
        return 0;
    meta_write(b->meta);
    for (struct gone *g = list; g; g = g->next)
        meta_add_topic(b->meta, g->t);      /* cannot fail: it has its id */
    meta_topics_changed(b->meta, NULL);
    meta_done(b->meta);
    return rc;
}

/* The topic is out of the table and nobody who found it there is still at it (they held meta_read): the rest follows. */
static int clean_up(struct broker *b, const struct caller *c, struct gone *g, struct fault *f)
{
    struct topic *t = g->t;
    struct str name = str_of(t->info.name);
    char path[TOPIC_NAME_MAX_LONG + 2];
    int rc, rc2;

    rc = bindings_drop_topic(b, c, name, &g->unbound, f);
    offsets_drop_topic(b->offsets, name);
    hold_wake_topic(b->hold, name);
    rc2 = store_delete_topic(b->store, name);
    if (rc2)
        log_error("deleting the queues of topic %s: %s", t->info.name, strerror(-rc2));
    if (rc2 && !rc)
        rc = fault_errno(f, -rc2, "topic %s is gone, but not all its queue files", t->info.name);
    snprintf(path, sizeof(path), "/%s", t->info.name);
    rc2 = audit_write(b->audit, c, "topic.delete", path, NULL, NULL, rc ? NULL : f);
    return rc ? rc : rc2;
}

static int delete(struct broker *b, const struct caller *c, struct str name, bool force, struct gone **list,
                  struct fault *f)
{
    struct retry_search search = {b, name, list, 0};
    struct topic *t = NULL;
    int rc = find(b, name, force, &t, f), rc2;

    if (rc)
        return rc;
    if (broker_conf(b)->clear_retry_topic_when_delete_topic)
        offsets_each_group(b->offsets, name, find_retry, &search);
    if (search.rc || add_gone(list, t))
        rc = fault_errno(f, ENOMEM, "deleting topic %.*s", STR_ARG(name));
    if (!rc)
        rc = remove_all(b, *list, f);
    if (rc) {
        while (*list) {         /* they are still in the table */
            struct gone *next = (*list)->next;
            free(*list);
            *list = next;
        }
        return rc;
    }
    for (struct gone *g = *list; g; g = g->next) {
        rc2 = clean_up(b, c, g, rc ? NULL : f);
        rc = rc ? rc : rc2;
    }
    rc2 = saver_save(b->saver, OFFSETS_FILE, rc ? NULL : f);
    return rc ? rc : rc2;
}

int topic_delete(struct broker *b, const struct caller *c, struct str topic, bool force, struct fault *f)
{
    struct gone *list = NULL;
    int rc;

    verb_begin(b);
    rc = delete(b, c, topic, force, &list, f);
    verb_end(b);
    while (list) {
        struct gone *next = list->next;
        registrar_note(b->registrar, str_of(list->t->info.name));
        bindings_dropped(b, str_of(list->t->info.name), &list->unbound);
        broker_event(b, EVENT_TOPIC, EVENT_DELETED, str_of(list->t->info.name), (struct str){0});
        buf_free(&list->unbound);
        topic_free(list->t);
        free(list);
        list = next;
    }
    return rc;
}

int broker_topic_delete(struct broker *b, const struct caller *c, struct str topic, struct fault *f)
{
    return topic_delete(b, c, topic, from_wire(c), f);
}
