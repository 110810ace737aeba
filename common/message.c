/* Records, batch bodies and ids; the property text is in properties.c. */
#include "common/message.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libdeflate.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/random.h>
#include <unistd.h>

#include "common/be.h"
#include "common/clock.h"

/* ---- hosts ---- */

struct host host_of(const struct sockaddr_storage *sa)
{
    struct host h = {0};

    if (sa->ss_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, sa, sizeof in);
        memcpy(h.ip, &in.sin_addr, 4);
        h.port = ntohs(in.sin_port);
    } else if (sa->ss_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, sa, sizeof in6);
        h.v6 = !IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr);
        if (h.v6)
            memcpy(h.ip, &in6.sin6_addr, 16);
        else
            memcpy(h.ip, in6.sin6_addr.s6_addr + 12, 4);
        h.port = ntohs(in6.sin6_port);
    }
    return h;
}

void host_text(const struct host *h, char out[64])
{
    char ip[INET6_ADDRSTRLEN] = "?";

    inet_ntop(h->v6 ? AF_INET6 : AF_INET, h->ip, ip, sizeof ip);
    snprintf(out, 64, h->v6 ? "[%s]:%d" : "%s:%d", ip, h->port);
}

static size_t host_size(bool v6)
{
    return v6 ? 20 : 8;
}

static char *host_put(char *p, const struct host *h)
{
    size_t n = h->v6 ? 16 : 4;

    memcpy(p, h->ip, n);
    be32_put(p + n, (uint32_t)h->port);
    return p + n + 4;
}

static int host_get(struct cursor *c, bool v6, struct host *out)
{
    const unsigned char *ip;
    uint32_t port;
    size_t n = v6 ? 16 : 4;

    if (cursor_bytes(c, n, &ip) || cursor_u32(c, &port))
        return -1;
    *out = (struct host){.v6 = v6, .port = (int32_t)port};
    memcpy(out->ip, ip, n);
    return 0;
}

/* ---- records ---- */

/* Everything but hosts, texts and the length of the topic's length: 4 totalSize, 4 magic, 4 crc,
 * 4 queue id, 4 flag, 8 queue offset, 8 physical offset, 4 sysFlag, 8 born, 8 store time,
 * 4 reconsume times, 8 prepared transaction offset, 4 body length, 2 properties length. */
#define RECORD_FIXED 74

static bool topic_is_long(size_t n)
{
    return n > INT8_MAX;
}

size_t message_record_size(const struct message *m)
{
    return RECORD_FIXED + host_size(m->born_host.v6) + host_size(m->store_host.v6) + m->body.n +
           (topic_is_long(m->topic.n) ? 2 : 1) + m->topic.n + m->properties.n;
}

uint32_t message_body_crc(struct str body)
{
    if (body.n == 0)
        return 0;
    return libdeflate_crc32(0, body.p, body.n) & 0x7FFFFFFFu;
}

static char *bytes_put(char *p, struct str s)
{
    if (s.n)
        memcpy(p, s.p, s.n);
    return p + s.n;
}

void message_record_put(char *p, const struct message *m, bool crc_known)
{
    int32_t sys_flag = m->sys_flag & ~(SYSFLAG_BORNHOST_V6 | SYSFLAG_STOREHOST_V6);

    sys_flag |= m->born_host.v6 ? SYSFLAG_BORNHOST_V6 : 0;
    sys_flag |= m->store_host.v6 ? SYSFLAG_STOREHOST_V6 : 0;
    be32_put(p, (uint32_t)message_record_size(m));
    be32_put(p + 4, topic_is_long(m->topic.n) ? MESSAGE_MAGIC_V2 : MESSAGE_MAGIC_V1);
    be32_put(p + 8, crc_known ? m->body_crc : message_body_crc(m->body));
    be32_put(p + 12, (uint32_t)m->queue_id);
    be32_put(p + 16, (uint32_t)m->flag);
    be64_put(p + RECORD_AT_QUEUE_OFFSET, (uint64_t)m->queue_offset);
    be64_put(p + RECORD_AT_PHYSICAL_OFFSET, (uint64_t)m->physical_offset);
    be32_put(p + 36, (uint32_t)sys_flag);
    be64_put(p + 40, (uint64_t)m->born_timestamp);
    p = host_put(p + 48, &m->born_host);
    be64_put(p, (uint64_t)m->store_timestamp);
    p = host_put(p + 8, &m->store_host);
    be32_put(p, (uint32_t)m->reconsume_times);
    be64_put(p + 4, (uint64_t)m->prepared_transaction_offset);
    be32_put(p + 12, (uint32_t)m->body.n);
    p = bytes_put(p + 16, m->body);
    if (topic_is_long(m->topic.n)) {
        be16_put(p, (uint16_t)m->topic.n);
        p += 2;
    } else {
        *p++ = (char)m->topic.n;
    }
    p = bytes_put(p, m->topic);
    be16_put(p, (uint16_t)m->properties.n);
    bytes_put(p + 2, m->properties);
}

static int topic_length_get(struct cursor *c, bool v2, uint16_t *out)
{
    uint8_t n;

    if (v2)
        return cursor_u16(c, out);
    if (cursor_u8(c, &n))
        return -1;
    *out = n > INT8_MAX ? UINT16_MAX : n;    /* Java reads a signed byte: over 127 is broken */
    return 0;
}

static int record_texts_get(struct cursor *c, bool v2, struct message *m)
{
    const unsigned char *body, *topic, *properties;
    uint32_t body_n;
    uint16_t topic_n, properties_n;

    if (cursor_u32(c, &body_n) || cursor_bytes(c, body_n, &body) || topic_length_get(c, v2, &topic_n) ||
        topic_n == 0 || topic_n > INT16_MAX || cursor_bytes(c, topic_n, &topic) ||
        cursor_u16(c, &properties_n) || properties_n > PROPERTIES_MAX ||
        cursor_bytes(c, properties_n, &properties))
        return -1;
    m->body = str_n((const char *)body, body_n);
    m->topic = str_n((const char *)topic, topic_n);
    m->properties = str_n((const char *)properties, properties_n);
    return 0;
}

static int record_fields_get(struct cursor *c, bool v2, struct message *m)
{
    uint32_t queue_id, flag, sys_flag, times;
    uint64_t queue_offset, physical_offset, born, stored, prepared;

    if (cursor_u32(c, &m->body_crc) || cursor_u32(c, &queue_id) || cursor_u32(c, &flag) ||
        cursor_u64(c, &queue_offset) || cursor_u64(c, &physical_offset) || cursor_u32(c, &sys_flag) ||
        cursor_u64(c, &born) || host_get(c, sys_flag & SYSFLAG_BORNHOST_V6, &m->born_host) ||
        cursor_u64(c, &stored) || host_get(c, sys_flag & SYSFLAG_STOREHOST_V6, &m->store_host) ||
        cursor_u32(c, &times) || cursor_u64(c, &prepared) || record_texts_get(c, v2, m))
        return -1;
    m->queue_id = (int32_t)queue_id;
    m->flag = (int32_t)flag;
    m->queue_offset = (int64_t)queue_offset;
    m->physical_offset = (int64_t)physical_offset;
    m->sys_flag = (int32_t)sys_flag;
    m->born_timestamp = (int64_t)born;
    m->store_timestamp = (int64_t)stored;
    m->reconsume_times = (int32_t)times;
    m->prepared_transaction_offset = (int64_t)prepared;
    return 0;
}

int message_record_get(const char *p, size_t n, bool check_crc, struct message *m)
{
    struct cursor c = {(const unsigned char *)p, (const unsigned char *)p + n};
    uint32_t size, magic;

    memset(m, 0, sizeof *m);
    if (cursor_u32(&c, &size) || cursor_u32(&c, &magic) || size > n || size > INT32_MAX)
        return -EBADMSG;
    m->size = size;
    if (magic == BLANK_MAGIC)
        return size >= RECORD_BLANK_MIN ? 1 : -EBADMSG;
    if (size < MESSAGE_MIN_SIZE || (magic != MESSAGE_MAGIC_V1 && magic != MESSAGE_MAGIC_V2))
        return -EBADMSG;
    c.end = (const unsigned char *)p + size;
    if (record_fields_get(&c, magic == MESSAGE_MAGIC_V2, m) || cursor_left(&c) != 0)
        return -EBADMSG;
    if (check_crc && m->body.n && message_body_crc(m->body) != m->body_crc)
        return -EBADMSG;
    return 0;
}

bool message_record_fits(const char *p, size_t n)
{
    uint32_t magic = be32_get(p + 4), sys_flag, body;
    bool v2 = magic == MESSAGE_MAGIC_V2;
    size_t at, topic;

    if (n < MESSAGE_MIN_SIZE || be32_get(p) != n || (magic != MESSAGE_MAGIC_V1 && !v2))
        return false;
    sys_flag = be32_get(p + RECORD_AT_SYS_FLAG);
    at = RECORD_FIXED - 6 + host_size(sys_flag & SYSFLAG_BORNHOST_V6) + host_size(sys_flag & SYSFLAG_STOREHOST_V6);
    if (n - at < 4 || (body = be32_get(p + at)) > n - at - 4)
        return false;
    at += 4 + body;
    if (n - at < (v2 ? 2 : 1))
        return false;
    topic = v2 ? be16_get(p + at) : (unsigned char)p[at];
    at += v2 ? 2 : 1;
    if (topic == 0 || topic > (v2 ? INT16_MAX : INT8_MAX) || topic > n - at || n - at - topic < 2)
        return false;
    at += topic;
    return be16_get(p + at) == n - at - 2 && n - at - 2 <= PROPERTIES_MAX;
}

/* ---- batch bodies ---- */

int batch_next(struct str body, size_t *pos, struct batch_item *out)
{
    struct cursor c;
    const unsigned char *data, *properties;
    uint32_t size, skipped, flag, data_n;
    uint16_t properties_n;

    if (*pos > body.n)
        return -EBADMSG;
    if (*pos == body.n)
        return 0;
    c = (struct cursor){(const unsigned char *)body.p + *pos, (const unsigned char *)body.p + body.n};
    /* Magic and CRC are zeros that clients write and Apache's broker never looks at. */
    if (cursor_u32(&c, &size) || cursor_u32(&c, &skipped) || cursor_u32(&c, &skipped) ||
        cursor_u32(&c, &flag) || cursor_u32(&c, &data_n) || cursor_bytes(&c, data_n, &data) ||
        cursor_u16(&c, &properties_n) || properties_n > PROPERTIES_MAX ||
        cursor_bytes(&c, properties_n, &properties))
        return -EBADMSG;
    if (size != 22 + (size_t)data_n + properties_n)
        return -EBADMSG;
    *pos += size;
    out->flag = (int32_t)flag;
    out->body = str_n((const char *)data, data_n);
    out->properties = str_n((const char *)properties, properties_n);
    return 1;
}

/* ---- ids ---- */

/* The digits of n bytes, n a multiple of 4: eight at a time, for each answer to a send has 32. */
static void hex_put(char *out, const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i += 4) {
        uint64_t x = be32_get(p + i), letters;

        x = (x | x << 16) & 0x0000FFFF0000FFFFULL;
        x = (x | x << 8) & 0x00FF00FF00FF00FFULL;
        x = (x | x << 4) & 0x0F0F0F0F0F0F0F0FULL;       /* a nibble in each byte */
        letters = (x + 0x0606060606060606ULL) >> 4 & 0x0101010101010101ULL;
        be64_put(out + 2 * i, x + 0x3030303030303030ULL + letters * ('A' - '9' - 1));
    }
    out[2 * n] = 0;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

void offset_id_text(const struct host *store_host, int64_t physical_offset, char out[64])
{
    char raw[28];
    char *p = host_put(raw, store_host);

    be64_put(p, (uint64_t)physical_offset);
    hex_put(out, (const unsigned char *)raw, (size_t)(p + 8 - raw));
}

int offset_id_parse(struct str id, struct host *store_host, int64_t *physical_offset)
{
    unsigned char raw[28];
    struct cursor c = {raw, raw + id.n / 2};
    struct host h;
    uint64_t offset;

    if (id.n != 32 && id.n != 56)
        return -EINVAL;
    for (size_t i = 0; i < id.n / 2; i++) {
        int hi = hex_digit(id.p[2 * i]), lo = hex_digit(id.p[2 * i + 1]);
        if (hi < 0 || lo < 0)
            return -EINVAL;
        raw[i] = (unsigned char)(hi << 4 | lo);
    }
    if (host_get(&c, id.n == 56, &h) || cursor_u64(&c, &offset))
        return -EINVAL;
    *store_host = h;
    *physical_offset = (int64_t)offset;
    return 0;
}

/* Clients write the time into a unique id as milliseconds since the first of the month, local time. */
static int64_t month_start_ms(int64_t now)
{
    static _Thread_local int64_t start, next;
    struct tm tm;
    time_t t = (time_t)(now / 1000);

    if (start <= now && now < next)
        return start;
    if (!localtime_r(&t, &tm))
        return now;
    tm.tm_mday = 1;
    tm.tm_hour = tm.tm_min = tm.tm_sec = 0;
    tm.tm_isdst = -1;
    start = (int64_t)mktime(&tm) * 1000;
    tm.tm_mon++;
    tm.tm_isdst = -1;
    next = (int64_t)mktime(&tm) * 1000;
    return start;
}

/* The four bytes that a Java client takes from its class loader's hash: anything that differs
 * between processes. */
static uint32_t process_mark(void)
{
    static _Atomic uint32_t mark;
    uint32_t seen = atomic_load(&mark), fresh;

    if (seen)
        return seen;
    if (getrandom(&fresh, sizeof fresh, 0) != sizeof fresh || fresh == 0)
        fresh = (uint32_t)mono_ms() | 1;
    return atomic_compare_exchange_strong(&mark, &seen, fresh) ? fresh : seen;
}

void unique_id_text(const struct host *host, char out[40])
{
    static _Atomic uint32_t counter;
    unsigned char raw[16];
    int64_t now = wall_ms();

    memcpy(raw, host->v6 ? host->ip + 12 : host->ip, 4);
    be16_put(raw + 4, (uint16_t)getpid());
    be32_put(raw + 6, process_mark());
    be32_put(raw + 10, (uint32_t)(now - month_start_ms(now)));
    be16_put(raw + 14, (uint16_t)atomic_fetch_add(&counter, 1));
    hex_put(out, raw, sizeof raw);
}
