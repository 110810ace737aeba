#include "broker/topics_auto.h"

#include <errno.h>
#include <stdio.h>

#include "broker/verbs.h"
#include "common/codes.h"
#include "common/log.h"

static const struct caller us = {.from = "broker"};

/* Another thread may have made it first. */
static int make(struct broker *b, const struct caller *c, struct str name, int32_t queues, int32_t perm,
                int32_t sys_flag, bool multi_tag, struct fault *f)
{
    struct topic_put p = {name, TOPIC_CHANGE_NONE, true, false};
    int rc;

    p.change.read_queues = p.change.write_queues = queues;
    p.change.perm = perm;
    p.change.sys_flag = sys_flag;
    p.change.multi_tag = multi_tag;
    rc = topics_put(b, c, &p, 1, PUT_CREATE, NULL, f);
    return rc == -EEXIST ? 0 : rc;
}

/* ---- of a send ---- */

int broker_topic_auto_create(struct broker *b, const struct caller *c, struct str topic,
                             struct str template_topic, int32_t queues, int32_t sys_flag, struct fault *f)
{
    struct topic_info t = {0};
    struct topic *found;

    if (topic_name_check(topic, f))
        return -EINVAL;
    meta_read(b->meta);
    found = meta_topic(b->meta, template_topic);
    if (found)
        t = found->info;
    meta_done(b->meta);
    if (!found || !(t.perm & 1) || (str_is(template_topic, TOPIC_DEFAULT) &&
                                    !broker_conf(b)->auto_create_topic_enable))
        return fault_set(f, RC_TOPIC_NOT_EXIST, ENOENT,
                         "there is no topic %.*s, and topics are not made by sending (autoCreateTopicEnable=%s): make it "
                         "with mkdir or updateTopic", STR_ARG(topic),
                         broker_conf(b)->auto_create_topic_enable ? "true" : "false");
    if (queues > t.write_queues)
        queues = t.write_queues;
    if (queues < 1)
        return fault_set(f, RC_INVALID_PARAMETER, EINVAL, "topic %.*s would have %d queues", STR_ARG(topic),
                         queues);
    return make(b, c, topic, queues, t.perm & ~1, sys_flag, t.multi_tag, f);
}

/* ---- of a group ---- */

int broker_retry_topic_make(struct broker *b, struct str group, struct fault *f)
{
    char name[TOPIC_NAME_MAX_LONG + 1];
    int32_t queues = -1;
    struct group *g;

    if ((size_t)snprintf(name, sizeof(name), "%s%.*s", RETRY_PREFIX, STR_ARG(group)) >= sizeof(name))
        return fault_set(f, RC_INVALID_PARAMETER, EINVAL,
                         "the group's name is too long for a retry topic: %.*s", STR_ARG(group));
    meta_read(b->meta);
    g = meta_group(b->meta, CONSUMER_GROUP, group);
    if (g)
        queues = meta_topic(b->meta, str_of(name)) ? 0 : g->info.retry_queues;
    meta_done(b->meta);
    if (queues < 0)
        return fault_set(f, RC_SUBSCRIPTION_GROUP_NOT_EXIST, ENOENT, "there is no group %.*s",
                         STR_ARG(group));
    return queues ? make(b, &us, str_of(name), queues, 6, 0, false, f) : 0;
}

/* ---- of the system ---- */

/* Topics whose features are here; Apache's others (transactions, POP, timers, replies) come with theirs, and are kept
 * when a store brings them along. */
struct system_topic {
    const char *name;
    int32_t queues, perm;
    bool wanted;
};
#define SYSTEM_TOPICS 8

static void list_topics(const struct broker_config *conf, struct system_topic out[SYSTEM_TOPICS])
{
    int64_t ms[STORE_DELAY_LEVELS_MAX + 1];
    int levels = delay_levels_parse(str_of(conf->message_delay_level), ms, STORE_DELAY_LEVELS_MAX);
    const struct system_topic all[SYSTEM_TOPICS] = {
        {TOPIC_SELF_TEST, 1, 6, true},
        {TOPIC_DEFAULT, conf->default_topic_queue_nums, 7, conf->auto_create_topic_enable},
        {TOPIC_BENCHMARK, 1024, 6, true},
        {conf->broker_cluster_name, 16, conf->cluster_topic_enable ? 7 : 1, true},
        {conf->broker_name, 1, conf->broker_topic_enable ? 7 : 1, true},
        {TOPIC_OFFSET_MOVED, 1, 6, true},
        {TOPIC_SCHEDULE, levels > 18 ? levels : 18, 6, true},      /* a queue a level; Apache: always 18 */
        {conf->msg_trace_topic_name, 1, 6, conf->trace_topic_enable},
    };

    memcpy(out, all, sizeof(all));
}

/* What is there stays as it is, but is the system's from now on. */
static bool claim(struct broker *b, struct str name)
{
    struct topic *t;

    meta_write(b->meta);
    t = meta_topic(b->meta, name);
    if (t)
        t->info.system = true;
    meta_done(b->meta);
    return t != NULL;
}

static int make_topics(struct broker *b, struct fault *f)
{
    struct system_topic all[SYSTEM_TOPICS];
    struct topic_put puts[SYSTEM_TOPICS];
    char reply_topic[TOPIC_NAME_MAX_LONG + 1];
    size_t n = 0;

    /* Of request-reply, which is not here: never made, but an Apache store brings it. */
    if ((size_t)snprintf(reply_topic, sizeof(reply_topic), "%s_REPLY_TOPIC", broker_conf(b)->broker_cluster_name) <
        sizeof(reply_topic))
        claim(b, str_of(reply_topic));
    list_topics(broker_conf(b), all);
    for (size_t i = 0; i < SYSTEM_TOPICS; i++) {
        struct topic_put *p = &puts[n];
        bool twice = false;

        for (size_t k = 0; k < n; k++)      /* the cluster may be named as the broker */
            twice |= str_is(puts[k].name, all[i].name);
        if (!all[i].wanted || twice)
            continue;
        if (topic_name_check(str_of(all[i].name), NULL)) {
            log_warn("\"%s\" is no topic's name: the topic named so is not made", all[i].name);
            continue;
        }
        *p = (struct topic_put){str_of(all[i].name), TOPIC_CHANGE_NONE, true, true};
        p->change.read_queues = p->change.write_queues = all[i].queues;
        p->change.perm = all[i].perm;
        n += !claim(b, p->name);
    }
    return topics_put(b, &us, puts, n, PUT_BOTH, NULL, f);
}

int broker_make_system_topics(struct broker *b, struct fault *f)
{
    static const char *const groups[] = {"TOOLS_CONSUMER", "FILTERSRV_CONSUMER", "SELF_TEST_C_GROUP",
                                         "CID_ONS-HTTP-PROXY",
                                         "CID_ONSAPI_PULL", "CID_ONSAPI_PERMISSION", "CID_ONSAPI_OWNER",
                                         "CID_RMQ_SYS_TRANS"};
    int rc = make_topics(b, f);

    return rc ? rc : groups_make_missing(b, groups, sizeof(groups) / sizeof(groups[0]), f);
}
