#include "fs/fuse_priv.h"

#include <errno.h>
#include <stdlib.h>
#include "common/log.h"
#include "common/thread.h"

#define QUEUE_MAX 512
#define NAME_ROOM 256

struct event {
    enum broker_event kind;
    enum event_what what;
    char name[NAME_ROOM], sub[NAME_ROOM];
};

struct fuse_notify {
    struct fuse_door *d;
    pthread_t thread;
    pthread_mutex_t lock;        /* guards what follows; nothing is taken or waited for inside but `more` */
    pthread_cond_t more;
    bool stopped;
    bool lost;                   /* the queue was full: everything may have changed */
    size_t first, n;
    struct event queue[QUEUE_MAX];
};

/* ---- from the broker, on any thread of its ---- */

static void on_event(void *ctx, enum broker_event kind, enum event_what what, struct str name, struct str sub)
{
    struct fuse_notify *n = ctx;
    struct event *e;

    if (what == EVENT_CREATED && kind != EVENT_GROUP_BINDING && kind != EVENT_PRODUCER_BINDING)
        return;                  /* absence is not cached */
    pthread_mutex_lock(&n->lock);
    e = &n->queue[(n->first + n->n) % QUEUE_MAX];
    if (n->stopped)
        ;
    else if (n->n < QUEUE_MAX && str_copy(e->name, NAME_ROOM, name) && str_copy(e->sub, NAME_ROOM, sub)) {
        e->kind = kind;
        e->what = what;
        n->n++;
    } else {
        n->lost = true;
    }
    pthread_cond_signal(&n->more);
    pthread_mutex_unlock(&n->lock);
}

/* ---- to the kernel ---- */

static void forget_attributes(struct fuse_notify *n, struct tree_node *node)
{
    fuse_lowlevel_notify_inval_inode(n->d->se, fuse_number(n->d, node), -1, 0);
}

/* node's attributes and those of all that is known below it. */
static void changed_below(struct fuse_notify *n, struct tree_node *node)
{
    struct tree_node **list;
    size_t count;

    forget_attributes(n, node);
    if (tree_known_below(n->d->tree, node, true, &list, &count))
        log_warn("mount: no memory to refresh the kernel's cache: it may be wrong for a minute");
    for (size_t i = 0; i < count; i++) {
        forget_attributes(n, list[i]);
        tree_forget(n->d->tree, list[i], 1);
    }
    free(list);
}

static void gone(struct fuse_notify *n, struct tree_node *node)
{
    struct str name = tree_name(node);

    tree_drop(n->d->tree, node);
    fuse_lowlevel_notify_inval_entry(n->d->se, fuse_number(n->d, tree_parent(node)), name.p, name.n);
    forget_attributes(n, node);
}

static void at_path(struct fuse_notify *n, enum event_what what, const struct str *path, int depth)
{
    struct tree_node *node = tree_known(n->d->tree, path, depth);

    if (!node)
        return;
    if (what == EVENT_DELETED)
        gone(n, node);
    else
        changed_below(n, node);
    tree_forget(n->d->tree, node, 1);
}

static void topic_event(struct fuse_notify *n, const struct event *e)
{
    struct str topic = str_of(e->name), group = topic_group_of(topic);
    char name[TREE_NAME_MAX + 1];

    if (tree_topic_name(topic, name))
        at_path(n, e->what, (struct str[]){str_of(name)}, 1);
    at_path(n, e->what, (struct str[]){str_of("broker"), str_of("system"), topic}, 3);
    if (group.n)
        at_path(n, e->what, (struct str[]){str_of("groups"), group, str_of(topic_is_dlq(topic) ? "dlq" : "retry")}, 3);
}

/* Where the thing stands that an event is about: two names (or one), its name, and for bindings two more. */
static const struct place {
    const char *first, *second, *after;
} places[] = {
    [EVENT_GROUP] = {"groups", NULL, NULL},
    [EVENT_PRODUCER] = {"producers", NULL, NULL},
    [EVENT_GROUP_BINDING] = {"groups", NULL, "bindings"},
    [EVENT_PRODUCER_BINDING] = {"producers", NULL, "bindings"},
    [EVENT_CONFIG] = {"broker", "config", NULL},
};

static void tell(struct fuse_notify *n, const struct event *e)
{
    const struct place *p = &places[e->kind];
    struct str path[4];
    int depth = 0;

    if (e->kind == EVENT_TOPIC) {        /* stands in several places */
        topic_event(n, e);
        return;
    }
    path[depth++] = str_of(p->first);
    if (p->second)
        path[depth++] = str_of(p->second);
    path[depth++] = str_of(e->name);
    if (p->after) {
        path[depth++] = str_of(p->after);
        path[depth++] = str_of(e->sub);
    }
    at_path(n, e->what, path, depth);
    if (e->kind == EVENT_CONFIG && strcmp(e->name, "adminGroup") == 0)
        changed_below(n, tree_root(n->d->tree));
}

static void *run(void *arg)
{
    struct fuse_notify *n = arg;
    struct event e = {0};
    bool lost;

    pthread_mutex_lock(&n->lock);
    while (!n->stopped) {
        if (!n->n && !n->lost) {
            pthread_cond_wait(&n->more, &n->lock);
            continue;
        }
        lost = n->lost;
        if (lost) {
            n->lost = false;
            n->n = 0;
        } else {
            e = n->queue[n->first];
            n->first = (n->first + 1) % QUEUE_MAX;
            n->n--;
        }
        pthread_mutex_unlock(&n->lock);
        if (lost)
            changed_below(n, tree_root(n->d->tree));     /* names that are gone answer ESTALE and are asked for again */
        else
            tell(n, &e);
        pthread_mutex_lock(&n->lock);
    }
    pthread_mutex_unlock(&n->lock);
    return NULL;
}

/* ---- life ---- */

int fuse_notify_start(struct fuse_door *d, struct fuse_notify **out)
{
    struct fuse_notify *n = calloc(1, sizeof *n);
    int rc;

    if (!n)
        return -ENOMEM;
    n->d = d;
    pthread_mutex_init(&n->lock, NULL);
    pthread_cond_init(&n->more, NULL);
    if ((rc = thread_start(&n->thread, "mount-notify", run, n))) {
        n->stopped = true;
        fuse_notify_free(n);
        return rc;
    }
    *out = n;
    return 0;
}

void fuse_notify_listen(struct fuse_notify *n) { broker_on_event(n->d->b, on_event, n); }

void fuse_notify_stop(struct fuse_notify *n)
{
    bool was;

    pthread_mutex_lock(&n->lock);
    was = n->stopped;
    n->stopped = true;
    pthread_cond_signal(&n->more);
    pthread_mutex_unlock(&n->lock);
    if (!was)
        pthread_join(n->thread, NULL);
}

void fuse_notify_free(struct fuse_notify *n)
{
    if (!n)
        return;
    pthread_mutex_destroy(&n->lock);
    pthread_cond_destroy(&n->more);
    free(n);
}
