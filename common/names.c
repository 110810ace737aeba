#include "common/names.h"

#include <errno.h>

#include "common/codes.h"

/* TopicValidator.isTopicOrGroupIllegal: these and nothing else. */
static bool is_name_char(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' || c == '-' ||
           c == '%' || c == '|';
}

static int name_check(struct str name, const char *what, size_t max, struct fault *f)
{
    if (!name.n)
        return fault_set(f, RC_INVALID_PARAMETER, EINVAL, "the %s name is empty", what);
    if (name.n > max)
        return fault_set(f, RC_INVALID_PARAMETER, EINVAL, "the %s name has %zu bytes, %zu are allowed", what, name.n, max);
    for (size_t i = 0; i < name.n; i++)
        if (!is_name_char(name.p[i]))
            return fault_set(f, RC_INVALID_PARAMETER, EINVAL,
                             "a %s name may hold letters, digits, '_', '-', '%%' and '|'; byte %zu is 0x%02x", what,
                             i + 1, (unsigned char)name.p[i]);
    return 0;
}

int topic_name_check(struct str name, struct fault *f)
{
    bool derived = topic_is_retry(name) || topic_is_dlq(name);
    return name_check(name, "topic", derived ? TOPIC_NAME_MAX_LONG : TOPIC_NAME_MAX, f);
}

int group_name_check(struct str name, struct fault *f) { return name_check(name, "group", GROUP_NAME_MAX_LONG, f); }

struct name_row {
    const char *name;
    bool prefix, unsendable;
    bool others;                 /* messages of other topics wait in it */
};

static const struct name_row system_topics[] = {
    {TOPIC_DEFAULT, false, false},
    {TOPIC_SCHEDULE, false, true, .others = true},
    {TOPIC_BENCHMARK, false, false},
    {TOPIC_TRANS_HALF, false, true, .others = true},
    {TOPIC_TRACE, false, false},
    {TOPIC_TRANS_OP_HALF, false, true},
    {"TRANS_CHECK_MAX_TIME_TOPIC", false, true},
    {"RMQ_SYS_ROCKSDB_TRANS_HALF_TOPIC", false, true, .others = true},
    {"RMQ_SYS_ROCKSDB_TRANS_OP_HALF_TOPIC", false, true},
    {TOPIC_SELF_TEST, false, true},
    {TOPIC_OFFSET_MOVED, false, true},
    {"CHECKPOINT_TOPIC", false, false},
    {"rmq_sys_wheel_timer", false, false, .others = true},
    {"rmq_sys_", true, false},
};

static const struct name_row system_groups[] = {
    {"DEFAULT_CONSUMER", false, false},    {"DEFAULT_PRODUCER", false, false},
    {"TOOLS_CONSUMER", false, false},      {"SCHEDULE_CONSUMER", false, false},
    {"FILTERSRV_CONSUMER", false, false},  {"__MONITOR_CONSUMER", false, false},
    {"CLIENT_INNER_PRODUCER", false, false}, {"SELF_TEST_P_GROUP", false, false},
    {"SELF_TEST_C_GROUP", false, false},   {"CID_ONS-HTTP-PROXY", false, false},
    {"CID_ONSAPI_PERMISSION", false, false}, {"CID_ONSAPI_OWNER", false, false},
    {"CID_ONSAPI_PULL", false, false},     {"CID_RMQ_SYS_", true, false},
};

static const struct name_row *name_find(const struct name_row *rows, size_t n, struct str name)
{
    for (size_t i = 0; i < n; i++)
        if (rows[i].prefix ? str_starts(name, rows[i].name) : str_is(name, rows[i].name))
            return &rows[i];
    return NULL;
}

#define FIND(rows, name) name_find(rows, sizeof(rows) / sizeof((rows)[0]), name)

bool topic_is_system(struct str name) { return FIND(system_topics, name) != NULL; }

bool topic_is_unsendable(struct str name)
{
    const struct name_row *r = FIND(system_topics, name);
    return r && r->unsendable;
}

bool topic_holds_others(struct str name)
{
    const struct name_row *r = FIND(system_topics, name);
    return r && r->others;
}

bool topic_is_retry(struct str name) { return str_starts(name, RETRY_PREFIX); }
bool topic_is_dlq(struct str name) { return str_starts(name, DLQ_PREFIX); }
bool group_is_system(struct str name) { return FIND(system_groups, name) != NULL; }

struct str topic_group_of(struct str topic)
{
    size_t n = topic_is_retry(topic) ? sizeof(RETRY_PREFIX) - 1 : topic_is_dlq(topic) ? sizeof(DLQ_PREFIX) - 1 : 0;
    return n ? str_n(topic.p + n, topic.n - n) : str_n(NULL, 0);
}
