#include "broker/put.h"

#include <errno.h>

#include "broker/datapath.h"
#include "broker/schedule.h"
#include "broker/topics_auto.h"

int put_check_queues(const struct topic *t, struct fault *f)
{
    return !t->batch_queues ? 0 : fault_set(f, RC_MESSAGE_ILLEGAL, EINVAL, "topic %s has batch consume queues "
                                            "(queue.type=BatchCQ), which are not served yet", t->info.name);
}

int put_append(struct broker *b, struct topic *t, const struct message *m, const int64_t *tags_codes, int n,
               struct store_put *out, struct fault *f)
{
    struct store_queue *q = topic_queue(t, m->queue_id);
    int64_t bytes = 0;
    int rc;

    if ((rc = put_check_queues(t, f)))
        return rc;
    if (!q)
        return fault_set(f, RC_INVALID_PARAMETER, EINVAL,
                         "topic %s has %d queues, so no queue %d", t->info.name,
                         t->n_queues, m->queue_id);
    rc = n == 1 ? store_append(b->store, q, m, *tags_codes, out, f) :
                  store_append_batch(b->store, q, m, tags_codes, n, out, f);
    for (int i = 0; i < n && !rc; i++)
        bytes += out[i].size;
    if (!rc)
        flow_count(&t->puts, n, bytes);
    return rc;
}

/* ---- topics that are made on the way ---- */

bool missing_derived(struct missing_topic *m, const char *prefix, struct str group, int32_t queues)
{
    size_t n = strlen(prefix);

    if (!group.n || group.n >= sizeof(m->name) - n)
        return false;
    memcpy(m->name, prefix, n);
    memcpy(m->name + n, group.p, group.n);
    m->name[n + group.n] = 0;
    m->kind = MISSING_DERIVED;
    m->template[0] = 0;
    m->queues = queues;
    m->sys_flag = 0;
    return true;
}

int put_make_topic(struct broker *b, const struct missing_topic *m, const char *from, struct fault *f)
{
    struct topic_change ch = TOPIC_CHANGE_NONE;
    struct caller c = {""};
    int rc;

    str_copy(c.from, sizeof(c.from), str_of(from));
    if (m->kind == MISSING_PLAIN)
        return broker_topic_auto_create(b, &c, str_of(m->name), str_of(m->template), m->queues, m->sys_flag, f);
    ch.read_queues = ch.write_queues = m->queues;
    ch.perm = 6;
    ch.sys_flag = m->sys_flag;
    rc = broker_topic_create(b, &c, str_of(m->name), &ch, f);
    return rc == -EEXIST ? 0 : rc;
}

/* ---- what the broker itself stores ---- */

/* Under meta_read. -ENOENT without a fault: the topic is missing. */
static int put_here(struct broker *b, const struct message *m, bool delay, struct store_put *out, struct fault *f)
{
    struct topic *t = meta_topic(b->meta, m->topic);
    int level = delay ? schedule_level(b->schedule, prop_get(m->properties, "DELAY")) : 0;
    int64_t tags_code = message_tags_code(m->properties);
    struct message here;

    if (!t)
        return -ENOENT;
    if (level > 0)
        return schedule_append(b->schedule, m, level, out, f);
    if (m->queue_id < t->info.read_queues || t->info.read_queues <= 0)
        return put_append(b, t, m, &tags_code, 1, out, f);
    /* The topic has fewer queues than when the message was put aside: where nobody reads it would be lost. */
    here = *m;
    here.queue_id = (int32_t)((uint32_t)m->queue_id % (uint32_t)t->info.read_queues);
    return put_append(b, t, &here, &tags_code, 1, out, f);
}

static int put_internal(struct broker *b, const struct message *m, bool delay, struct store_put *out, struct fault *f)
{
    struct store_put put;
    struct missing_topic missing;
    struct fault local;
    int rc = 0;

    if (!f)
        f = &local;
    for (int tries = 0; tries < 2; tries++) {
        meta_read(b->meta);
        rc = put_here(b, m, delay, out ? out : &put, f);
        meta_done(b->meta);
        if (rc != -ENOENT)
            return rc;
        fault_set(f, RC_TOPIC_NOT_EXIST, ENOENT, "there is no topic %.*s", STR_ARG(m->topic));
        if (tries || !(topic_is_retry(m->topic) || topic_is_dlq(m->topic)) ||
            !missing_derived(&missing, "", m->topic, 1))
            break;
        if ((rc = put_make_topic(b, &missing, "broker", f)))
            return rc;
    }
    return -ENOENT;
}

int broker_put_internal(struct broker *b, const struct message *m, struct store_put *out, struct fault *f)
{
    return put_internal(b, m, true, out, f);
}

int put_due(struct broker *b, const struct message *m, struct store_put *out, struct fault *f)
{
    return put_internal(b, m, false, out, f);
}
