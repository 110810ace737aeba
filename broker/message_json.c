/* One stored message: found by its place in a queue, and shown as JSON. */
#include <errno.h>
#include <zlib.h>

#include "broker/meta.h"
#include "broker/state.h"
#include "common/json_text.h"

#define BODY_MAX ((size_t)64 << 20)      /* an unpacked body; Apache's own limit for bodies */
#define COMPRESSION_MASK 0x700           /* MessageSysFlag: the kind of compression; 0 (old clients) and 3 are zlib */
#define COMPRESSION_ZLIB 0x300

static int find_entry(struct broker *b, struct str topic, int32_t queue, int64_t offset, struct store_entry *out)
{
    struct topic *t;
    int rc = -ENOENT;

    meta_read(b->meta);
    t = meta_topic(b->meta, topic);
    if (t && queue >= 0 && queue < t->n_queues)
        rc = store_entry(b->store, t->queues[queue], offset, out);
    meta_done(b->meta);
    return rc;
}

int broker_message_get(struct broker *b, struct str topic, int32_t queue, int64_t offset,
                       struct message *out, struct store_result **hold)
{
    struct store_entry e;
    int rc = find_entry(b, topic, queue, offset, &e);

    *hold = NULL;
    return rc ? rc : store_load(b->store, e.physical_offset, e.size, out, hold);
}

int broker_message_look(struct broker *b, struct str topic, int32_t queue, int64_t offset, struct message *out)
{
    struct store_entry e;
    int rc = find_entry(b, topic, queue, offset, &e);

    return rc ? rc : store_look(b->store, e.physical_offset, e.size, out);
}

/* ---- bodies ---- */

static bool inflate_all(struct str body, struct buf *out)
{
    z_stream z = {0};
    int rc = inflateInit(&z);

    if (rc != Z_OK)
        return false;
    z.next_in = (Bytef *)(uintptr_t)body.p;
    z.avail_in = (uInt)body.n;
    while (rc == Z_OK && out->n < BODY_MAX) {
        size_t step = body.n * 2 + 4096;
        char *room = buf_room(out, step);

        if (!room)
            break;
        z.next_out = (Bytef *)room;
        z.avail_out = (uInt)step;
        rc = inflate(&z, Z_NO_FLUSH);
        out->n += step - z.avail_out;
    }
    inflateEnd(&z);
    return rc == Z_STREAM_END;
}

bool broker_message_unpack(const struct message *m, struct buf *out)
{
    int kind = m->sys_flag & COMPRESSION_MASK;
    size_t before = out->n;

    if (!(m->sys_flag & SYSFLAG_COMPRESSED) || (kind && kind != COMPRESSION_ZLIB))
        return false;
    if (inflate_all(m->body, out))
        return true;
    out->n = before;
    return false;
}

static bool is_utf8(struct str s)
{
    while (s.n) {
        size_t n = (unsigned char)*s.p < 0x80 ? 1 : utf8_length((const unsigned char *)s.p, s.n);
        if (!n)
            return false;
        s.p += n;
        s.n -= n;
    }
    return true;
}

static void base64(struct str s, struct buf *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *p = (const unsigned char *)s.p;

    for (size_t i = 0; i < s.n; i += 3) {
        size_t left = s.n - i;
        uint32_t v = (uint32_t)p[i] << 16 | (left > 1 ? (uint32_t)p[i + 1] << 8 : 0) | (left > 2 ? p[i + 2] : 0);
        char four[4] = {digits[v >> 18], digits[v >> 12 & 63], left > 1 ? digits[v >> 6 & 63] : '=',
                        left > 2 ? digits[v & 63] : '='};
        buf_put(out, four, 4);
    }
}

/* ---- JSON ---- */

static void put_body(struct json_writer *w, struct str body)
{
    struct buf text = {0};

    if (is_utf8(body)) {
        jw_kstr(w, "body", body);
        return;
    }
    base64(body, &text);
    jw_kstr(w, "bodyBase64", buf_str(&text));
    if (buf_failed(&text))
        w->out->failed = true;
    buf_free(&text);
}

static void put_properties(struct json_writer *w, struct str properties)
{
    struct str name, value;
    size_t pos = 0;

    jw_kobject(w, "properties");
    while (prop_next(properties, &pos, &name, &value)) {
        jw_key_str(w, name);
        jw_str(w, value);
    }
    jw_object_end(w);
}

static void put_property(struct json_writer *w, const char *key, struct str value)
{
    if (value.p)
        jw_kstr(w, key, value);
}

static void put_host(struct json_writer *w, const char *key, const struct host *h)
{
    char text[64];

    host_text(h, text);
    jw_ktext(w, key, text);
}

void broker_message_json(const struct message *m, struct buf *out)
{
    struct json_writer w;
    struct buf plain = {0};
    char id[64];

    offset_id_text(&m->store_host, m->physical_offset, id);
    jw_init(&w, out, false);
    jw_object(&w);
    jw_kstr(&w, "topic", m->topic);
    jw_kint(&w, "queue", m->queue_id);
    jw_kint(&w, "offset", m->queue_offset);
    put_property(&w, "id", prop_get(m->properties, "UNIQ_KEY"));
    jw_ktext(&w, "offsetId", id);
    put_property(&w, "keys", prop_get(m->properties, "KEYS"));
    put_property(&w, "tags", prop_get(m->properties, "TAGS"));
    jw_kint(&w, "bornTime", m->born_timestamp);
    put_host(&w, "bornHost", &m->born_host);
    jw_kint(&w, "storeTime", m->store_timestamp);
    put_host(&w, "storeHost", &m->store_host);
    jw_kint(&w, "flag", m->flag);
    jw_kint(&w, "sysFlag", m->sys_flag);
    jw_kint(&w, "reconsumeTimes", m->reconsume_times);
    put_properties(&w, m->properties);
    put_body(&w, broker_message_unpack(m, &plain) ? buf_str(&plain) : m->body);
    jw_object_end(&w);
    buf_putc(out, '\n');
    buf_free(&plain);
}
