/* A send whose body holds many messages of one queue: each becomes a record of
 * its own, all appended at once or none.
 * Source: Apache SendMessageProcessor.sendBatchMessage, MessageExtEncoder,
 * CommitLog.asyncPutMessages (5.5.0). */
#include "broker/send.h"

#include <errno.h>
#include <stdlib.h>

#include "broker/schedule.h"

#define BATCH_MAX 32768              /* messages in one batch */

static int illegal(struct fault *f, const char *why)
{
    return fault_set(f, RC_MESSAGE_ILLEGAL, EINVAL, "%s", why);
}

/* The number of messages in the body, which they must fill exactly; or -EBADMSG with f. */
static int count_items(struct str body, struct fault *f)
{
    struct batch_item item;
    size_t pos = 0;
    int n = 0, rc;

    while ((rc = batch_next(body, &pos, &item)) > 0) {
        if (++n > BATCH_MAX)
            return fault_set(f, RC_MESSAGE_ILLEGAL, EBADMSG,
                             "a batch may hold %d messages, this one holds more", BATCH_MAX);
        if (!item.body.n)
            return fault_set(f, RC_MESSAGE_ILLEGAL, EBADMSG, "message %d of the batch has no body", n);
    }
    if (rc || !n)
        return fault_set(f, RC_MESSAGE_ILLEGAL, EBADMSG,
                         "the batch is broken after %d messages, at byte %zu of %zu", n,
                         pos, body.n);
    return n;
}

/* What the batch as a whole may not be. */
static int check_batch(const struct send *s, struct fault *f)
{
    struct str properties = s->h.properties, body = request_cmd(s->r)->body;

    if (topic_is_retry(s->h.topic))
        return illegal(f, "retry topics take no batches");
    if (s->h.topic.n > TOPIC_NAME_MAX)
        return illegal(f, "the topic's name is too long for a batch");
    if (body.n > (size_t)s->conf->max_message_size)
        return fault_set(f, RC_MESSAGE_ILLEGAL, EMSGSIZE, "the batch has %zu bytes, maxMessageSize=%d", body.n,
                         s->conf->max_message_size);
    if (s->h.sys_flag & (SYSFLAG_TRANS_MASK | SYSFLAG_INNER_BATCH))
        return illegal(f, "a batch can be no transaction and no batch inside a message");
    if (schedule_level(s->b->schedule, prop_get(properties, "DELAY")))
        return illegal(f, "a batch cannot be delayed");
    return 0;
}

/* One allocation for all that n messages need. */
struct batch {
    struct message *m;
    int64_t *tags_codes;
    struct store_put *puts;
};

static void *batch_alloc(struct batch *a, int n)
{
    size_t count = (size_t)n;
    char *p = malloc(count * (sizeof(*a->m) + sizeof(*a->puts) + sizeof(*a->tags_codes)));

    if (!p)
        return NULL;
    a->m = (struct message *)p;
    a->puts = (struct store_put *)(p + count * sizeof(*a->m));
    a->tags_codes = (int64_t *)(p + count * (sizeof(*a->m) + sizeof(*a->puts)));
    return p;
}

static void read_items(const struct send *s, struct batch *a)
{
    struct batch_item item;
    struct message common;
    size_t pos = 0;

    send_message_of(s, &common);
    for (int i = 0; batch_next(request_cmd(s->r)->body, &pos, &item) > 0; i++) {
        a->m[i] = common;
        a->m[i].flag = item.flag;
        a->m[i].body = item.body;
        a->m[i].properties = item.properties;
        a->tags_codes[i] = message_tags_code(item.properties);
    }
}

static void put_ids(const struct send *s, const struct batch *a, int n, struct buf *ids)
{
    char id[64];

    for (int i = 0; i < n; i++) {
        offset_id_text(&s->b->store_host, a->puts[i].physical_offset, id);
        if (i)
            buf_putc(ids, ',');
        buf_puts(ids, id);
    }
}

static int append_batch(struct send *s, int n, struct buf *ids, struct fault *f)
{
    struct batch a;
    void *memory = batch_alloc(&a, n);
    int rc;

    if (send_needs_worker(s, n)) {
        free(memory);
        return -EINPROGRESS;
    }
    /* Room for the ids is made first: what is appended must be answered. */
    if (!memory || !buf_room(ids, (size_t)n * 57)) {
        free(memory);
        return fault_set(f, RC_SYSTEM_BUSY, ENOMEM, "no memory for a batch of %d messages", n);
    }
    read_items(s, &a);
    rc = put_append(s->b, s->t, a.m, a.tags_codes, n, a.puts, f);
    if (!rc) {
        put_ids(s, &a, n, ids);
        s->msg_id = buf_str(ids);
        s->queue_offset = a.puts[0].queue_offset;
        s->end = a.puts[n - 1].end;
        s->uniq_key = prop_get(s->h.properties, "UNIQ_KEY");
        s->wait = send_waits(prop_get(s->h.properties, "WAIT"));
    }
    free(memory);
    return rc;
}

int send_batch(struct send *s, struct buf *ids, struct fault *f)
{
    int rc = count_items(request_cmd(s->r)->body, f), n = rc;

    if (rc < 0)
        return rc;
    meta_read(s->b->meta);
    rc = send_admit(s, f);
    if (rc == 0 || rc == -ENXIO) {
        int checked = check_batch(s, f);
        rc = checked ? checked : rc;
    }
    if (!rc)
        rc = append_batch(s, n, ids, f);
    meta_done(s->b->meta);
    return rc;
}
