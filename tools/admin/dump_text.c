/* mqadmin dump of the small files: checkpoint, lock, JSON, and what is text already. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/be.h"
#include "common/codes.h"
#include "common/json.h"
#include "store/checkpoint.h"
#include "store/export.h"
#include "store/queue_count.h"
#include "tools/admin/dump_priv.h"

#define JSON_MEMORY ((size_t)1 << 30)
#define SNIFF_MAX (64 << 20)

int dump_checkpoint(struct dump *d)
{
    struct queue_count count;
    struct checkpoint c;
    int rc = checkpoint_read(d->path, &c, &d->f);
    const int64_t v[CHECKPOINT_FIELDS] = {c.log_time,       c.queue_time,     c.index_time,
                                          c.master_flushed, c.confirm_offset, c.queue_offset};

    if (rc)
        return rc;
    line_start(d);
    for (int i = 0; i < CHECKPOINT_FIELDS; i++) {
        if (checkpoint_fields[i].is_time)
            line_time(d, checkpoint_fields[i].name, v[i]);
        else
            line_int(d, checkpoint_fields[i].name, v[i]);
    }
    rc = line_end(d);
    if (d->size < CHECKPOINT_FIELDS * 8)
        line_remark(d, "the file is cut: %" PRId64 " bytes", d->size);
    if (queue_count_get(d->path, &count) && count.log_end >= 0)
        line_remark(d, "ours: at the stop the log ended at %" PRId64 ", and there were %" PRId64 " topics with %" PRId64
                    " queues (-1: not counted)", count.log_end, count.topics, count.queues);
    return rc;
}

static struct str bytes(const struct dump *d)
{
    size_t n = (size_t)d->size;

    while (n && !d->map[n - 1])
        n--;
    return str_n(d->map, n);
}

int dump_lock(struct dump *d)
{
    char *dir = strdup(d->path), *slash = dir ? strrchr(dir, '/') : NULL;

    if (!dir)
        return fault_errno(&d->f, ENOMEM, "read %.300s", d->path);
    if (slash)
        *slash = 0;
    line_start(d);
    line_text(d, "text", str_trim(bytes(d)));
    line_text(d, "held", str_of(store_dir_in_use(slash ? (slash == dir ? "/" : dir) : ".") ? "yes" : "no"));
    free(dir);
    return line_end(d);
}

/* A line each, as it is but for what would spoil a terminal. */
int dump_text(struct dump *d)
{
    struct str rest = bytes(d);
    int64_t number = 0;
    int rc = 0;

    while (!rc && rest.n) {
        const char *end = memchr(rest.p, '\n', rest.n);
        size_t n = end ? (size_t)(end - rest.p) : rest.n;
        if (number++ >= d->o->from) {
            line_start(d);
            line_escaped(d, str_n(rest.p, n), 0);
            rc = line_end(d);
        }
        n += end != NULL;
        rest = str_n(rest.p + n, rest.n - n);
    }
    return rc;
}

int dump_json(struct dump *d)
{
    struct json_writer w;
    struct arena a;
    struct json *v;
    struct buf out = {0};
    int rc;

    arena_init(&a, JSON_MEMORY);
    rc = json_parse(&a, str_n(d->map, (size_t)d->size), &v);
    if (rc == -EBADMSG)
        rc = fault_set(&d->f, RC_SYSTEM_ERROR, EBADMSG, "%.300s: %" PRId64 " bytes, and no JSON", d->path, d->size);
    else if (rc)
        rc = fault_errno(&d->f, -rc, "read %.300s", d->path);
    if (!rc) {
        jw_init(&w, &out, true);
        jw_value(&w, v);
        buf_putc(&out, '\n');
        if (buf_failed(&out))
            rc = fault_errno(&d->f, ENOMEM, "show %.300s", d->path);
        else if (fwrite(out.p, 1, out.n, stdout) != out.n)
            rc = fault_errno(&d->f, EPIPE, "write the text");
    }
    buf_free(&out);
    arena_free(&a);
    return rc;
}

bool looks_like_json(const struct dump *d)
{
    struct str s = d->size <= SNIFF_MAX ? str_trim(bytes(d)) : str_of("");
    struct arena a;
    struct json *v;
    bool yes;

    if (!s.n || s.p[0] != '{')
        return false;
    arena_init(&a, JSON_MEMORY);
    yes = json_parse(&a, s, &v) == 0;
    arena_free(&a);
    return yes;
}
