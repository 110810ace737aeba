/* Making, changing and deleting topics. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/attributes.h"
#include "broker/clients.h"
#include "broker/hold.h"
#include "broker/offsets.h"
#include "broker/registrar.h"
#include "broker/verbs.h"
#include "common/clock.h"
#include "common/codes.h"
#include "common/log.h"

/* One topic on its way: what it will be, then (after the swap) what it was. */
struct staged {
    struct topic *now;               /* in the table; NULL while it is only to be made */
    struct topic *next;
    bool create;
};

/* ---- building what a topic will be ---- */

static int check_number(const char *what, struct str topic, int32_t v, int32_t min, int32_t max,
                        struct fault *f)
{
    if (v >= min && v <= max)
        return 0;
    return fault_set(f, RC_INVALID_PARAMETER, EINVAL, "topic %.*s: %s is a number from %d to %d, not %d",
                     STR_ARG(topic), what, min, max, v);
}

static int change_numbers(struct topic_info *t, struct str name, const struct topic_change *ch,
                          struct fault *f)
{
    int rc = 0;

    if (ch->read_queues != -1 && !(rc = check_number("read_queues", name, ch->read_queues, 1, QUEUES_MAX,
                                                     f)))
        t->read_queues = ch->read_queues;
    if (!rc && ch->write_queues != -1 && !(rc = check_number("write_queues", name, ch->write_queues, 1,
                                                             QUEUES_MAX, f)))
        t->write_queues = ch->write_queues;
    if (!rc && ch->perm != -1 && !(rc = check_number("perm", name, ch->perm, 0, 7, f)))
        t->perm = ch->perm;
    if (rc)
        return rc;
    if (ch->sys_flag != -1)
        t->sys_flag = ch->sys_flag;
    if (ch->order != -1)
        t->order = ch->order;
    if (ch->multi_tag != -1)
        t->multi_tag = ch->multi_tag;
    return 0;
}

/* What a change starts from. */
static int copy_state(const struct topic *from, struct topic *to)
{
    to->info = from->info;
    if (attributes_copy(from->attributes, &to->attributes))
        return -ENOMEM;
    if (!from->n_queues)
        return 0;
    to->queues = malloc((size_t)from->n_queues * sizeof(struct store_queue *));
    if (!to->queues)
        return -ENOMEM;
    memcpy(to->queues, from->queues, (size_t)from->n_queues * sizeof(struct store_queue *));
    to->n_queues = from->n_queues;
    return 0;
}

/* The state of `now` (or a new topic's) with the change in it; in no table. */
static int build(struct broker *b, const struct topic *now, const struct topic_put *p, struct topic **out,
                 struct fault *f)
{
    const struct broker_config *conf = broker_conf(b);
    struct topic *t = topic_new(p->name);
    int rc = 0;

    if (!t)
        return fault_errno(f, ENOMEM, "changing topic %.*s", STR_ARG(p->name));
    t->info.read_queues = t->info.write_queues = conf->default_topic_queue_nums;
    t->info.created = wall_ms();
    if (now && copy_state(now, t))
        rc = fault_errno(f, ENOMEM, "changing topic %s", t->info.name);
    t->info.system |= p->system;
    if (!rc)
        rc = change_numbers(&t->info, p->name, &p->change, f);
    if (!rc && p->change.attributes)
        rc = attributes_change(&t->attributes, ATTRIBUTES_OF_TOPIC, !now, str_of(p->change.attributes),
                               conf, f);
    if (!rc && p->change.owner)
        rc = owner_change(&t->attributes, p->change.owner, f);
    if (!rc && topic_make_queues(b->meta, t))
        rc = fault_errno(f, ENOMEM, "making the queues of topic %s", t->info.name);
    if (rc) {
        topic_free(t);
        return rc;
    }
    topic_read_attributes(t);
    *out = t;
    return 0;
}

static int stage(struct broker *b, const struct topic_put *p, enum put_mode mode, struct staged *s,
                 struct fault *f)
{
    int rc = topic_name_check(p->name, f);

    if (rc)
        return rc;
    s->now = meta_topic(b->meta, p->name);
    s->create = !s->now;
    if (s->now && !(mode & PUT_UPDATE))
        return fault_set(f, RC_TOPIC_EXIST_ALREADY, EEXIST, "topic %.*s is there already",
                         STR_ARG(p->name));
    if (!s->now && !(mode & PUT_CREATE))
        return fault_set(f, RC_TOPIC_NOT_EXIST, ENOENT,
                         "there is no topic %.*s: make it with mkdir or updateTopic", STR_ARG(p->name));
    if (!p->internal && broker_conf(b)->validate_system_topic_when_update_topic &&
        (topic_is_system(p->name) || (s->now && s->now->info.system)))
        return fault_set(f, RC_INVALID_PARAMETER, EPERM,
                         "topic %.*s belongs to the system and is not to be changed", STR_ARG(p->name));
    return build(b, s->now, p, &s->next, f);
}

/* ---- what is different, as texts ---- */

static void attributes_line(const struct topic *t, struct buf *out)
{
    for (const struct attribute *a = t->attributes; a; a = a->next)
        if (strcmp(a->key, OWNER_ATTRIBUTE) && strcmp(a->key, TYPE_ATTRIBUTE))
            buf_printf(out, "%s%s=%s", out->n ? "," : "", a->key, a->value);
}

static void put_owner(const struct topic *t, struct buf *out) { buf_puts(out, t->info.owner); }
static void put_type(const struct topic *t, struct buf *out) { buf_puts(out, t->info.type); }
static void put_read(const struct topic *t, struct buf *out) { buf_i64(out, t->info.read_queues); }
static void put_write(const struct topic *t, struct buf *out) { buf_i64(out, t->info.write_queues); }
static void put_perm(const struct topic *t, struct buf *out) { buf_i64(out, t->info.perm); }
static void put_order(const struct topic *t, struct buf *out) { buf_puts(out, t->info.order ? "true" : "false"); }
static void put_filter(const struct topic *t, struct buf *out) { buf_puts(out, t->info.multi_tag ? "MULTI_TAG" : "SINGLE_TAG"); }
static void put_flag(const struct topic *t, struct buf *out) { buf_i64(out, t->info.sys_flag); }

/* Named as the tree's files. */
static const struct {
    const char *name;
    void (*put)(const struct topic *t, struct buf *out);
} fields[] = {
    {"attributes", attributes_line}, {"filter", put_filter},     {"order", put_order}, {"owner", put_owner},
    {"perm", put_perm},              {"read_queues", put_read},  {"sys_flag", put_flag}, {"type", put_type},
    {"write_queues", put_write},
};
#define N_FIELDS (sizeof(fields) / sizeof(fields[0]))

static void audit_created(struct buf *lines, const struct caller *c, const struct topic *t)
{
    char path[TOPIC_NAME_MAX_LONG + 2];
    struct buf text = {0};

    for (size_t i = 0; i < N_FIELDS; i++) {
        struct buf value = {0};
        fields[i].put(t, &value);
        if (value.n)
            buf_printf(&text, "%s%s=%.*s", text.n ? " " : "", fields[i].name, STR_ARG(buf_str(&value)));
        buf_free(&value);
    }
    buf_putc(&text, 0);
    snprintf(path, sizeof(path), "/%s", t->info.name);
    audit_add(lines, c, "topic.create", path, NULL, buf_failed(&text) ? "" : text.p);
    buf_free(&text);
}

/* Adds a line for each difference (lines may be NULL); whether there is any. */
static bool audit_changed(struct buf *lines, const struct caller *c, const struct topic *was,
                          const struct topic *is)
{
    bool any = false;

    for (size_t i = 0; i < N_FIELDS; i++) {
        struct buf old = {0}, now = {0};
        char path[TOPIC_NAME_MAX_LONG + 32];

        fields[i].put(was, &old);
        fields[i].put(is, &now);
        buf_putc(&old, 0);
        buf_putc(&now, 0);
        if (!buf_failed(&old) && !buf_failed(&now) && strcmp(old.p, now.p)) {
            any = true;
            snprintf(path, sizeof(path), "/%s/%s", is->info.name, fields[i].name);
            if (lines)
                audit_add(lines, c, "topic.change", path, old.p, now.p);
        }
        buf_free(&old);
        buf_free(&now);
    }
    return any;
}

/* ---- putting ---- */

#define SWAP(a, b) do { __typeof__(a) swap_ = (a); (a) = (b); (b) = swap_; } while (0)

/* What a change touches changes places; id, counters and the rest of the JSON stay with the topic. */
static void swap_state(struct topic *a, struct topic *b)
{
    SWAP(a->info, b->info);
    SWAP(a->attributes, b->attributes);
    SWAP(a->queues, b->queues);
    SWAP(a->n_queues, b->n_queues);
}

static int apply(struct meta *m, struct staged *s)
{
    if (!s->create) {
        swap_state(s->now, s->next);
        meta_topics_changed(m, s->now);
        return 0;
    }
    if (meta_add_topic(m, s->next))
        return -ENOMEM;
    s->now = s->next;
    s->next = NULL;
    meta_topics_changed(m, s->now);
    return 0;
}

static void undo(struct meta *m, struct staged *s)
{
    if (!s->create) {
        swap_state(s->now, s->next);
        meta_topics_changed(m, s->now);
    } else if (s->now) {
        meta_remove_topic(m, s->now);
        meta_topics_changed(m, NULL);
        s->next = s->now;
        s->now = NULL;
    }
}

/* The system's own topics are made anew at every start when they are missing: nobody waits for their save. */
static int save(struct broker *b, bool system, struct fault *f)
{
    if (!system)
        return saver_save(b->saver, TOPICS_FILE, f);
    saver_soon(b->saver, TOPICS_FILE);
    return 0;
}

static int apply_all(struct broker *b, struct staged *all, size_t n, bool system, struct fault *f)
{
    size_t done = 0;
    int rc = 0;

    meta_write(b->meta);
    while (done < n && !(rc = apply(b->meta, &all[done])))
        done++;
    meta_done(b->meta);
    if (rc)
        fault_errno(f, -rc, "changing topics");
    else
        rc = save(b, system, f);
    if (!rc)
        return 0;
    meta_write(b->meta);
    while (done)
        undo(b->meta, &all[--done]);
    meta_done(b->meta);
    return rc;
}

/* Builds all; those that change nothing are dropped, so *n may become smaller. A name may stand there once. */
static int stage_all(struct broker *b, const struct topic_put *puts, size_t *n, enum put_mode mode,
                     struct staged *all, struct fault *f)
{
    struct topic *seen = NULL, *twice;
    size_t kept = 0;
    int rc = 0;

    for (size_t i = 0; i < *n && !rc; i++) {
        struct staged *s = &all[kept];

        *s = (struct staged){0};
        rc = stage(b, &puts[i], mode, s, f);
        if (rc)
            break;
        HASH_FIND(hh, seen, s->next->info.name, strlen(s->next->info.name), twice);
        if (twice)
            rc = fault_set(f, RC_INVALID_PARAMETER, EINVAL, "topic %s stands there twice",
                           s->next->info.name);
        if (rc || (!s->create && !audit_changed(NULL, NULL, s->now, s->next))) {
            topic_free(s->next);
            continue;
        }
        HASH_ADD_KEYPTR(hh, seen, s->next->info.name, strlen(s->next->info.name), s->next);
        kept++;
    }
    HASH_CLEAR(hh, seen);
    *n = kept;
    return rc;
}

/* After the save. s->next is what the topic was, NULL for a new one. */
static void audit_all(struct buf *lines, const struct caller *c, const struct staged *all, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (all[i].create)
            audit_created(lines, c, all[i].now);
        else
            audit_changed(lines, c, all[i].next, all[i].now);
    }
}

struct told {
    char name[TOPIC_NAME_MAX_LONG + 1];
    bool created, wake;              /* wake: pulls that are held may have to be answered otherwise now */
};

/* Outside of verb_begin: name servers may take their time. told is copied, the topics may be gone again. */
static void tell_all(struct broker *b, const struct told *told, size_t n, size_t created, bool internal)
{
    for (size_t i = 0; i < n; i++) {
        registrar_note(b->registrar, str_of(told[i].name));
        if (told[i].wake)
            hold_wake_topic(b->hold, str_of(told[i].name));
        broker_event(b, EVENT_TOPIC, told[i].created ? EVENT_CREATED : EVENT_CHANGED, str_of(told[i].name),
                     (struct str){0});
    }
    if (created && !internal)
        registrar_sync(b->registrar, REGISTER_WAIT_MS);
}

/* Within verb_begin. */
static int put_staged(struct broker *b, const struct caller *c, struct staged *all, size_t n, bool system,
                      struct told *told, size_t *created, struct fault *f)
{
    struct buf lines = {0};
    int rc = apply_all(b, all, n, system, f);

    *created = 0;
    if (!rc) {
        if (!system)        /* nobody's act */
            audit_all(&lines, c, all, n);
        rc = audit_put(b->audit, &lines, f);
        for (size_t i = 0; i < n; i++) {
            snprintf(told[i].name, sizeof(told[i].name), "%s", all[i].now->info.name);
            told[i].created = all[i].create;
            told[i].wake = !all[i].create && (all[i].next->info.perm != all[i].now->info.perm ||
                                              all[i].next->info.read_queues > all[i].now->info.read_queues);
            *created += all[i].create;
        }
    }
    buf_free(&lines);
    return rc;
}

int topics_put(struct broker *b, const struct caller *c, const struct topic_put *puts, size_t n,
               enum put_mode mode, size_t *created, struct fault *f)
{
    struct staged *all = calloc(n + 1, sizeof(*all));
    struct told *told = calloc(n + 1, sizeof(*told));
    size_t kept = n, made = 0;
    int rc;

    if (!all || !told) {
        free(all);
        free(told);
        return fault_errno(f, ENOMEM, "changing topics");
    }
    verb_begin(b);
    rc = stage_all(b, puts, &kept, mode, all, f);
    if (!rc && kept)
        rc = put_staged(b, c, all, kept, puts[0].system, told, &made, f);
    for (size_t i = 0; i < kept; i++)
        topic_free(all[i].next);
    verb_end(b);
    if (told[0].name[0])
        tell_all(b, told, kept, made, puts[0].internal);
    if (created)
        *created = made;
    free(all);
    free(told);
    return rc;
}

static int put_one(struct broker *b, const struct caller *c, struct str topic,
                   const struct topic_change *ch, enum put_mode mode, struct fault *f)
{
    struct topic_put p = {topic, *ch, false, false};
    return topics_put(b, c, &p, 1, mode, NULL, f);
}

int broker_topic_create(struct broker *b, const struct caller *c, struct str topic,
                        const struct topic_change *ch, struct fault *f)
{
    return put_one(b, c, topic, ch, PUT_CREATE, f);
}

int broker_topic_update(struct broker *b, const struct caller *c, struct str topic,
                        const struct topic_change *ch, struct fault *f)
{
    return put_one(b, c, topic, ch, PUT_UPDATE, f);
}

int broker_topic_put(struct broker *b, const struct caller *c, struct str topic,
                     const struct topic_change *ch, struct fault *f)
{
    return put_one(b, c, topic, ch, PUT_BOTH, f);
}
