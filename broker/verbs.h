/* What the verbs share. A verb: checks, changes memory under meta_write, saves,
 * undoes it when that failed, and only then tells: audit file, name servers,
 * held pulls, listener. Private to verbs_*.c. */
#ifndef BROKER_VERBS_H
#define BROKER_VERBS_H

#include "broker/audit.h"
#include "broker/meta.h"
#include "broker/saver.h"
#include "broker/state.h"

#define TOPICS_FILE "topics.json"
#define OFFSETS_FILE "consumerOffset.json"
#define REGISTER_WAIT_MS 1000        /* how long making a topic waits for the name servers' answers */

/* Between these two the tables change by this thread's hand only, so that it may look without meta_read. */
static inline void verb_begin(struct broker *b) { pthread_mutex_lock(&b->meta->change); }
static inline void verb_end(struct broker *b) { pthread_mutex_unlock(&b->meta->change); }

static inline bool from_wire(const struct caller *c) { return !c->user[0]; }
static inline const char *groups_file(enum group_kind kind)
{
    return kind == CONSUMER_GROUP ? "subscriptionGroup.json" : "producerGroup.json";
}
static inline const char *groups_dir(enum group_kind kind) { return kind == CONSUMER_GROUP ? "groups" : "producers"; }
static inline enum broker_event group_event(enum group_kind kind) { return kind == CONSUMER_GROUP ? EVENT_GROUP : EVENT_PRODUCER; }
static inline enum broker_event binding_event(enum group_kind kind)
{
    return kind == CONSUMER_GROUP ? EVENT_GROUP_BINDING : EVENT_PRODUCER_BINDING;
}

/* ---- topics (verbs_topic.c) ---- */
enum put_mode { PUT_CREATE = 1, PUT_UPDATE = 2, PUT_BOTH = 3 };

struct topic_put {
    struct str name;
    struct topic_change change;
    bool internal;                   /* the broker makes it: also when its name is a system topic's */
    bool system;                     /* and marks it as one; all of one call or none: such are neither audited nor waited for */
};
/* Makes and changes topics, all or none, with one save. -EEXIST, -ENOENT by mode. *created: how many are new. */
int topics_put(struct broker *b, const struct caller *c, const struct topic_put *puts, size_t n, enum put_mode mode,
               size_t *created, struct fault *f);
/* broker_topic_delete; force: whoever uses it (verbs_topic_delete.c). */
int topic_delete(struct broker *b, const struct caller *c, struct str topic, bool force, struct fault *f);

/* ---- groups (verbs_group.c) ---- */
/* Makes or changes consumer groups by Apache's SubscriptionGroupConfig objects, all or none, with one save. Bindings
 * change only where an object has a subscriptionDataSet. */
int groups_put_json(struct broker *b, const struct caller *c, const struct json *const *configs, size_t n, struct fault *f);
/* Makes those of the system's consumer groups that are missing; neither audited nor waited for. */
int groups_make_missing(struct broker *b, const char *const *names, size_t n, struct fault *f);

/* ---- bindings (verbs_binding.c) ---- */
/* Takes the bindings of all groups to a topic away, because the topic went. Within verb_begin; bindings_dropped then
 * tells the listener of those in events, after verb_end. */
int bindings_drop_topic(struct broker *b, const struct caller *c, struct str topic, struct buf *events, struct fault *f);
void bindings_dropped(struct broker *b, struct str topic, const struct buf *events);
/* Is any group bound to the topic? Its name into group. Within verb_begin. */
bool bindings_any(struct broker *b, struct str topic, enum group_kind *kind, const char **group);

#endif
