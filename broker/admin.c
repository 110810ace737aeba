/* What the admin handlers share. */
#include "broker/admin.h"

#include "common/json.h"

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

void admin_queue_json(struct json_writer *w, struct broker *b, struct str topic, int32_t queue)
{
    jw_object(w);
    jw_ktext(w, "brokerName", broker_conf(b)->broker_name);
    jw_kint(w, "queueId", queue);
    jw_kstr(w, "topic", topic);
    jw_object_end(w);
}
