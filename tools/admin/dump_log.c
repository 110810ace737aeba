/* mqadmin dump of the commit log: a message a line. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "common/be.h"
#include "common/message.h"
#include "store/log_walk.h"
#include "tools/admin/dump_priv.h"

#define SETTLE_NS 2000000            /* what a broker is just writing is whole then */

static void put_flags(struct dump *d, int32_t sys)
{
    static const struct {
        int32_t mask, value;
        const char *name;
    } rows[] = {
        {SYSFLAG_COMPRESSED, SYSFLAG_COMPRESSED, "compressed"},
        {SYSFLAG_MULTI_TAGS, SYSFLAG_MULTI_TAGS, "multi-tags"},
        {SYSFLAG_TRANS_MASK, SYSFLAG_TRANS_PREPARED, "prepared"},
        {SYSFLAG_TRANS_MASK, SYSFLAG_TRANS_COMMIT, "committed"},
        {SYSFLAG_TRANS_MASK, SYSFLAG_TRANS_ROLLBACK, "rolled-back"},
        {SYSFLAG_BORNHOST_V6, SYSFLAG_BORNHOST_V6, "born-v6"},
        {SYSFLAG_STOREHOST_V6, SYSFLAG_STOREHOST_V6, "store-v6"},
        {SYSFLAG_NEED_UNWRAP, SYSFLAG_NEED_UNWRAP, "unwrap"},
        {SYSFLAG_INNER_BATCH, SYSFLAG_INNER_BATCH, "batch"},
        {0x700, 0x100, "lz4"},
        {0x700, 0x200, "zstd"},
        {0x700, 0x300, "zlib"},
    };
    struct buf names = {0};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if ((sys & rows[i].mask) == rows[i].value)
            buf_printf(&names, "%s%s", names.n ? "," : "", rows[i].name);
    line_hex(d, "sys", (uint32_t)sys);
    line_text(d, "flags", names.n ? buf_str(&names) : str_of("-"));
    buf_free(&names);
}

static void put_host(struct dump *d, const char *name, const struct host *h)
{
    char text[64];

    host_text(h, text);
    line_text(d, name, str_of(text));
}

/* NAME=VALUE;NAME=VALUE, the semicolons within escaped. */
static void put_properties(struct dump *d, struct str properties)
{
    struct str name, value;
    size_t at = 0;
    bool more = false;

    line_text(d, "properties", str_of(""));
    while (prop_next(properties, &at, &name, &value)) {
        if (more)
            buf_putc(&d->line, ';');
        line_escaped(d, name, ';');
        buf_putc(&d->line, '=');
        line_escaped(d, value, ';');
        more = true;
    }
}

struct walk {
    struct dump *d;
    int64_t retried;                     /* place of a damage that was looked at again; -1: none */
};

/* The end of a log that is being written may not be whole yet: a moment later it is. */
static void settle(void) { nanosleep(&(struct timespec){.tv_nsec = SETTLE_NS}, NULL); }

static bool crc_is_right(const struct message *m) { return !m->body.n || message_body_crc(m->body) == m->body_crc; }

static void read_again(const struct dump *d, int64_t at, struct message *m)
{
    struct message again;

    settle();
    if (message_record_get(d->map + at, (size_t)(d->size - at), false, &again) == 0 && again.size == m->size)
        *m = again;
}

static int on_record(void *ctx, int64_t at, const struct message *found)
{
    struct dump *d = ((struct walk *)ctx)->d;
    struct message m = *found;

    if (d->base + at < d->o->from)
        return 0;
    if (!crc_is_right(&m))
        read_again(d, at, &m);
    line_start(d);
    line_int(d, "offset", d->base + at);
    line_int(d, "size", m.size);
    line_text(d, "topic", m.topic);
    line_int(d, "queue", m.queue_id);
    line_int(d, "queue_offset", m.queue_offset);
    line_int(d, "physical_offset", m.physical_offset);
    line_time(d, "born", m.born_timestamp);
    put_host(d, "born_host", &m.born_host);
    line_time(d, "stored", m.store_timestamp);
    put_host(d, "store_host", &m.store_host);
    line_int(d, "flag", m.flag);
    put_flags(d, m.sys_flag);
    line_int(d, "reconsumed", m.reconsume_times);
    line_int(d, "prepared", m.prepared_transaction_offset);
    line_int(d, "body_size", (int64_t)m.body.n);
    line_text(d, "crc", str_of(crc_is_right(&m) ? "ok" : "WRONG"));
    put_properties(d, m.properties);
    if (d->o->body)
        line_text(d, "body", m.body);
    return line_end(d);
}

static int on_damage(void *ctx, int64_t at, int64_t next, const char *what)
{
    struct walk *walk = ctx;
    struct dump *d = walk->d;

    if (next < 0 && walk->retried != at) {
        walk->retried = at;
        settle();
        return -EAGAIN;
    }
    if (d->base + at >= d->o->from)
        line_remark(d, "offset %" PRId64 ": %s", d->base + at, what);
    return 0;
}

/* A file that was renamed: its first record says where it belongs. */
static void find_base(struct dump *d)
{
    struct message m;

    if (d->base < 0)
        d->base = d->map && message_record_get(d->map, (size_t)d->size, false, &m) == 0 ? m.physical_offset : 0;
}

int dump_log(struct dump *d)
{
    struct walk walk = {d, -1};
    struct log_walk w = {.map = d->map, .n = (size_t)d->size, .fd = d->fd, .record = on_record, .damage = on_damage,
                         .ctx = &walk};
    int64_t end = 0;
    int rc = 0;

    find_base(d);
    w.base = d->base;
    if (d->o->from >= d->base && d->o->from - d->base >= d->size)
        return 0;
    if (d->map)
        rc = log_walk(&w, 0, &end);
    while (rc == -EAGAIN)
        rc = log_walk(&w, walk.retried, &end);
    if (rc == -ECANCELED)
        return rc;
    if (rc)
        return d->f.text[0] ? rc : fault_errno(&d->f, -rc, "read %.300s", d->path);
    line_remark(d, "%" PRId64 " records; they end at offset %" PRId64 "%s", d->printed, d->base + end,
                end == d->size && end ? ", the end of the file" : "");
    return 0;
}

bool looks_like_log(const struct dump *d)
{
    struct message m;
    int rc = message_record_get(d->map, (size_t)d->size, false, &m);

    return rc == 0 ? d->base < 0 || m.physical_offset == d->base : rc == 1 && m.size == d->size;
}
