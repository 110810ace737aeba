/* VIEW_MESSAGE_BY_ID: the message at a commit log offset.
 * Source: Apache QueryMessageProcessor.viewMessageById (5.5.0). */
#include "broker/datapath.h"

#include <errno.h>

struct view_header {
    int64_t offset;
};

static const struct field fields[] = {
    {"offset", FIELD_I64, offsetof(struct view_header, offset), true, NULL},
};

/* On a worker: the record may have to come from the disk. */
void op_view_message_by_id(struct request *r)
{
    struct view_header h;
    struct store_result *res;
    struct command out;
    int rc;

    if (!REQUEST_FIELDS(r, fields, &h))
        return;
    rc = h.offset < 0 ? -ENOENT : store_read(broker_of(r)->store, h.offset, 0, &res);
    if (!rc && (rc = store_touch(res)))
        store_release(res);
    if (rc == -ENOENT)
        reply(r, RC_SYSTEM_ERROR, "no message starts at the commit log offset %lld", (long long)h.offset);
    else if (rc)
        reply(r, RC_SYSTEM_ERROR, "the message at the commit log offset %lld cannot be read: %s", (long long)h.offset,
              strerror(-rc));
    if (rc)
        return;
    reply_start(r, &out, RC_SUCCESS);
    reply_extents(r, &out, res->iov, res->n_iov, store_release, res);
}
