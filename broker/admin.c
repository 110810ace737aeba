/* What the admin handlers share. */
#include "broker/admin.h"

#include <errno.h>

#include "broker/meta.h"

void admin_caller(struct request *r, struct caller *who)
{
    *who = (struct caller){.user = ""};
    str_copy(who->from, sizeof(who->from), str_of(conn_peer(request_conn(r))));
}

void admin_reply_json(struct request *r, struct buf *body)
{
    if (buf_failed(body))
        reply(r, RC_SYSTEM_BUSY, "no memory for the answer: try again");
    else
        reply_body(r, buf_str(body));
    buf_free(body);
}

static bool same_version(struct str text, const struct data_version *v)
{
    struct data_version theirs = {-1, -1, -1};
    struct json *root;
    struct arena a;
    bool same;

    arena_init(&a, 65536);
    same = text.n && json_parse(&a, text, &root) == 0;
    if (same) {
        data_version_read(root, &theirs);
        same = theirs.counter == v->counter && theirs.timestamp == v->timestamp &&
            theirs.state_version == v->state_version;
    }
    arena_free(&a);
    return same;
}

/* Source: Apache SubscriptionGroupManager.subGroupTable, TopicConfigManager.subTopicConfigTable (5.5.0). */
int admin_page(struct request *r, const char *seq, const char *max, const struct data_version *v,
               size_t total, size_t *first, size_t *n, struct fault *f)
{
    const struct broker_config *conf = broker_conf(broker_of(r));
    const struct command *cmd = request_cmd(r);
    struct str version = command_ext(cmd, "dataVersion"), from = command_ext(cmd, seq),
        most = command_ext(cmd, max);
    int32_t first_asked = 0, max_asked = INT32_MAX;

    *first = 0;
    *n = total;
    if (!conf->enable_split_metadata || (!version.p && !from.p && !most.p))
        return 0;
    if ((from.p && str_i32(from, &first_asked)) || (most.p && str_i32(most, &max_asked)))
        return fault_set(f, RC_INVALID_PARAMETER, EINVAL, "%s and %s are numbers", seq, max);
    if (max_asked > conf->split_metadata_size)
        max_asked = conf->split_metadata_size;
    if (first_asked > 0 && same_version(version, v))
        *first = (size_t)first_asked < total ? (size_t)first_asked : total;
    if (max_asked < 0)
        max_asked = 0;
    if (*n - *first > (size_t)max_asked)
        *n = (size_t)max_asked;
    else
        *n -= *first;
    return 0;
}
