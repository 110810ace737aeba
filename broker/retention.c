/* What the broker has to say about retention: its keys, and administrators' requests. */
#include "broker/retention.h"

#include <string.h>

#include "broker/admin.h"
#include "broker/meta.h"
#include "broker/verbs.h"
#include "common/codes.h"
#include "common/log.h"
#include "common/names.h"

#define LMQ_PREFIX "%LMQ%"           /* MixAll.LMQ_PREFIX: queues that no topic table names */

void broker_retention(void *ctx, struct store_retention *out)
{
    const struct broker_config *c = broker_conf(ctx);

    *out = (struct store_retention){
        .delete_when = c->delete_when,
        .file_reserved_time = c->file_reserved_time,
        .clean_resource_interval = c->clean_resource_interval,
        .disk_max_used_space_ratio = c->disk_max_used_space_ratio,
        .disk_space_clean_forcibly_ratio = c->disk_space_clean_forcibly_ratio,
        .disk_space_warning_level_ratio = c->disk_space_warning_level_ratio,
        .clean_file_forcibly_enable = c->clean_file_forcibly_enable,
        .delete_file_batch_max = c->delete_file_batch_max,
        .delete_commit_log_files_interval = c->delete_commit_log_files_interval,
        .delete_consume_queue_files_interval = c->delete_consume_queue_files_interval,
    };
}

/* ---- 329 ---- */

void op_delete_expired_commitlog(struct request *r)
{
    store_expire_now(broker_of(r)->store);
    reply(r, RC_SUCCESS, NULL);
}

/* ---- 306, 316 ---- */

static bool is_of_the_system(struct str topic)
{
    return topic_is_system(topic) || str_starts(topic, LMQ_PREFIX);
}

/* A queue that its topic still has keeps its number: consumers' offsets would else be ahead of it. */
static bool keep_queue(void *arg, struct str topic, int32_t queue_id)
{
    const struct topic *t = meta_topic(((struct broker *)arg)->meta, topic);

    return is_of_the_system(topic) || (t && queue_id < t->n_queues);
}

static bool keep_topic(void *arg, struct str topic)
{
    return is_of_the_system(topic) || meta_topic(((struct broker *)arg)->meta, topic);
}

static void reply_cleaned(struct request *r, int rc, const char *what)
{
    if (rc)
        reply(r, RC_SYSTEM_ERROR, "not all %s could be removed: %s; the log says which", what, strerror(-rc));
    else
        reply(r, RC_SUCCESS, NULL);
}

void op_clean_expired_consumequeue(struct request *r)
{
    struct broker *b = broker_of(r);
    int files, queues, rc = store_expire_queues(b->store, &files), rc2;

    verb_begin(b);                   /* so that no queue comes into use between the look and the removal */
    rc2 = store_clean_queues(b->store, keep_queue, b, &queues);
    verb_end(b);
    log_info("consume queues cleaned: %d files, %d queues that no topic has", files, queues);
    reply_cleaned(r, rc ? rc : rc2, "consume queues");
}

void op_clean_unused_topic(struct request *r)
{
    struct broker *b = broker_of(r);
    int topics, rc;

    verb_begin(b);
    rc = store_clean_unused(b->store, keep_topic, b, &topics);
    verb_end(b);
    log_info("consume queues of %d unknown topics removed", topics);
    reply_cleaned(r, rc, "queues of unknown topics");
}
