/* Topics that nobody asked an administrator for: the system's own, those that a
 * send or a group brings along. They are saved before they are used, so all of
 * this waits for the disk: workers only, under no lock. verbs_topic_auto.c */
#ifndef BROKER_TOPICS_AUTO_H
#define BROKER_TOPICS_AUTO_H

#include "broker/state.h"

/* Makes the system topics of the features that are here and the predefined consumer groups, as Apache's
 * TopicConfigManager.init and SubscriptionGroupManager.init (5.5.0); what is there stays as it is. At start, and
 * when autoCreateTopicEnable changes. 0 or -errno. */
int broker_make_system_topics(struct broker *b, struct fault *f);

/* An unknown topic of a send, by the rules of the template topic (TBW102, or a topic with the inherit permission):
 * min(queues, the template's write queues) queues, the template's permission without inherit. 0, also when it is
 * there by now; -ENOENT with TOPIC_NOT_EXIST when the template does not allow it. */
int broker_topic_auto_create(struct broker *b, const struct caller *c, struct str topic, struct str template_topic,
                             int32_t queues, int32_t sys_flag, struct fault *f);

/* The %RETRY% topic of a consumer group that exists, with its retryQueueNums queues. 0, also when it is there or the
 * group wants none; -ENOENT with SUBSCRIPTION_GROUP_NOT_EXIST without the group. */
int broker_retry_topic_make(struct broker *b, struct str group, struct fault *f);

#endif
