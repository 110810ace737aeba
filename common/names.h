/* What a topic or group may be called, and which names belong to the system.
 * Rules from Apache's TopicValidator, MixAll and KeyBuilder (5.5.0). */
#ifndef COMMON_NAMES_H
#define COMMON_NAMES_H

#include "common/buf.h"
#include "common/fault.h"

#define TOPIC_NAME_MAX 127      /* plain topics; %RETRY% and %DLQ% ones may have 255 */
#define TOPIC_NAME_MAX_LONG 255
#define GROUP_NAME_MAX 120      /* what a 5.x client allows; Apache's broker says 255 */
#define GROUP_NAME_MAX_LONG 255

#define RETRY_PREFIX "%RETRY%"
#define DLQ_PREFIX "%DLQ%"
#define TOPIC_SCHEDULE "SCHEDULE_TOPIC_XXXX"
#define TOPIC_DEFAULT "TBW102"
#define TOPIC_SELF_TEST "SELF_TEST_TOPIC"
#define TOPIC_BENCHMARK "BenchmarkTest"
#define TOPIC_OFFSET_MOVED "OFFSET_MOVED_EVENT"
#define TOPIC_TRANS_HALF "RMQ_SYS_TRANS_HALF_TOPIC"
#define TOPIC_TRANS_OP_HALF "RMQ_SYS_TRANS_OP_HALF_TOPIC"
#define TOPIC_TRACE "RMQ_SYS_TRACE_TOPIC"

/* 0, or -EINVAL with the sentence and RC_INVALID_PARAMETER in f. The tree asks
 * the same functions, so a name that the wire refuses cannot be made by mkdir. */
int topic_name_check(struct str name, struct fault *f);
int group_name_check(struct str name, struct fault *f);

bool topic_is_system(struct str name);        /* TopicValidator.isSystemTopic */
bool topic_is_unsendable(struct str name);    /* TopicValidator.NOT_ALLOWED_SEND_TOPIC_SET */
bool topic_holds_others(struct str name);     /* a system topic in which messages of other topics wait: to read it is to read them */
bool topic_is_retry(struct str name);
bool topic_is_dlq(struct str name);
bool group_is_system(struct str name);        /* MixAll.isSysConsumerGroup and the predefined groups */

/* The group of a %RETRY% or %DLQ% topic, else an empty slice. */
struct str topic_group_of(struct str topic);

#endif
