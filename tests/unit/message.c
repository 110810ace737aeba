/* Records, property texts, batch bodies and ids, against bytes written by hand from
 * the format's description, and against every cut and many lies. */
#include <arpa/inet.h>
#include <errno.h>
#include <unistd.h>

#include "common/be.h"
#include "common/message.h"
#include "tests/unit/tap.h"

static struct message sample(bool born_v6, bool store_v6, struct str topic)
{
    struct message m = {
        .queue_id = 3, .flag = -2, .queue_offset = 0x0102030405060708, .physical_offset = 0x1112131415161718,
        .sys_flag = SYSFLAG_COMPRESSED, .born_timestamp = 1700000000123, .store_timestamp = 1700000000456,
        .reconsume_times = 5, .prepared_transaction_offset = -7,
        .body = str_of("123456789"), .topic = topic, .properties = str_of("TAGS\001a\002"),
    };

    m.born_host = (struct host){.ip = {10, 1, 2, 3}, .v6 = born_v6, .port = 40000};
    m.store_host = (struct host){.ip = {10, 9, 8, 7}, .v6 = store_v6, .port = 10911};
    if (born_v6)
        memset(m.born_host.ip, 0xAB, 16);
    if (store_v6)
        memset(m.store_host.ip, 0xCD, 16);
    return m;
}

static bool same(const struct message *a, const struct message *b)
{
    return a->queue_id == b->queue_id && a->flag == b->flag && a->queue_offset == b->queue_offset &&
           a->physical_offset == b->physical_offset && a->born_timestamp == b->born_timestamp &&
           a->store_timestamp == b->store_timestamp && a->reconsume_times == b->reconsume_times &&
           a->prepared_transaction_offset == b->prepared_transaction_offset && str_eq(a->body, b->body) &&
           str_eq(a->topic, b->topic) && str_eq(a->properties, b->properties) &&
           memcmp(&a->born_host, &b->born_host, sizeof a->born_host) == 0 &&
           memcmp(&a->store_host, &b->store_host, sizeof a->store_host) == 0;
}

static void test_bytes(void)
{
    /* Written down field by field; CRC-32 of "123456789" is the well-known 0xCBF43926, top bit off. */
    static const unsigned char want[] = {
        0, 0, 0, 0x6A, 0xDA, 0xA3, 0x20, 0xA7, 0x4B, 0xF4, 0x39, 0x26, 0, 0, 0, 3, 0xFF, 0xFF, 0xFF, 0xFE,
        1, 2, 3, 4, 5, 6, 7, 8, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0, 0, 0, 1,
        0, 0, 1, 0x8B, 0xCF, 0xE5, 0x68, 0x7B, 10, 1, 2, 3, 0, 0, 0x9C, 0x40,
        0, 0, 1, 0x8B, 0xCF, 0xE5, 0x69, 0xC8, 10, 9, 8, 7, 0, 0, 0x2A, 0x9F,
        0, 0, 0, 5, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xF9,
        0, 0, 0, 9, '1', '2', '3', '4', '5', '6', '7', '8', '9', 1, 'T', 0, 0,
    };
    unsigned char got[sizeof want + 8];
    struct message m = sample(false, false, str_of("T"));

    m.properties = str_n(NULL, 0);
    is_int(message_record_size(&m), 91 + 9 + 1, "size: 91 fixed, body, topic");
    memset(got, 0xEE, sizeof got);
    message_record_put((char *)got, &m, false);
    is_int(got[3], 101, "totalSize");
    memcpy(got + 3, want + 3, 1);
    ok(memcmp(got, want, message_record_size(&m)) == 0, "every byte of a version 1 record");
    ok(got[101] == 0xEE, "and none behind it");
    is_int(be64_get(got + RECORD_AT_QUEUE_OFFSET), m.queue_offset, "queue offset's place");
    is_int(be64_get(got + RECORD_AT_PHYSICAL_OFFSET), m.physical_offset, "physical offset's place");
    is_int(be64_get(got + RECORD_AT_STORE_TIMESTAMP(false)), m.store_timestamp, "store time's place");
}

static void round_trip(bool born_v6, bool store_v6, size_t topic_n)
{
    char *topic = malloc(topic_n), *rec;
    struct message m, got;
    size_t n;

    memset(topic, 't', topic_n);
    m = sample(born_v6, store_v6, str_n(topic, topic_n));
    n = message_record_size(&m);
    rec = malloc(n);
    message_record_put(rec, &m, false);
    is_int(be32_get(rec), n, "totalSize is message_record_size (v6 %d %d, topic %zu)", born_v6, store_v6, topic_n);
    is_int(be32_get(rec + 4), topic_n > 127 ? MESSAGE_MAGIC_V2 : MESSAGE_MAGIC_V1, "the version follows the topic");
    ok(message_record_get(rec, n, true, &got) == 0 && same(&m, &got) && got.size == n, "comes back as it was");
    is_int(be64_get(rec + RECORD_AT_STORE_TIMESTAMP(born_v6)), m.store_timestamp, "store time's place");
    is_int(!!(got.sys_flag & SYSFLAG_BORNHOST_V6) * 2 + !!(got.sys_flag & SYSFLAG_STOREHOST_V6), born_v6 * 2 + store_v6,
           "the flags say which hosts are IPv6");
    free(rec);
    free(topic);
}

static void test_cuts_and_lies(void)
{
    struct message m = sample(true, false, str_of("TopicA")), got;
    size_t n = message_record_size(&m);
    char *rec = malloc(n);
    int cut_ok = 0, missed = 0;

    message_record_put(rec, &m, false);
    for (size_t cut = 0; cut < n; cut++) {
        char *part = malloc(cut ? cut : 1);      /* its own block: ASan sees a read past it */
        memcpy(part, rec, cut);
        cut_ok += message_record_get(part, cut, true, &got) == -EBADMSG;
        free(part);
    }
    is_int(cut_ok, n, "cut at every byte: refused");
    /* Sizes that do not add up: whatever a length field says, the parts must fill the record. */
    static const struct { size_t at; int width; } lengths[] = {{0, 4}, {96, 4}, {109, 1}, {116, 2}};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        for (int delta = -3; delta <= 3; delta++) {
            char *lie = malloc(n);
            memcpy(lie, rec, n);
            lie[lengths[i].at + (size_t)lengths[i].width - 1] += (char)delta;
            missed += delta != 0 && message_record_get(lie, n, false, &got) != -EBADMSG;
            free(lie);
        }
    }
    is_int(missed, 0, "a length that lies by 1 to 3: refused");
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        static const uint32_t huge[] = {0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFF00};
        for (size_t k = 0; k < 4; k++) {
            char *lie = malloc(n), raw[4];
            memcpy(lie, rec, n);
            be32_put(raw, huge[k]);
            memcpy(lie + lengths[i].at, raw, (size_t)lengths[i].width);
            missed += message_record_get(lie, n, false, &got) != -EBADMSG;
            free(lie);
        }
    }
    is_int(missed, 0, "huge and negative lengths: refused");
    rec[101] ^= 1;
    is_int(message_record_get(rec, n, true, &got), -EBADMSG, "a flipped body bit is seen by the CRC");
    is_int(message_record_get(rec, n, false, &got), 0, "and only by it");
    free(rec);
}

static void test_garbage(void)
{
    unsigned seed = (unsigned)getpid();
    struct message m = sample(false, true, str_of("TopicA")), got;
    size_t n = message_record_size(&m);
    int done = 0, fits_differ = 0;

    printf("# seed %u\n", seed);
    srand(seed);
    for (; done < 20000; done++) {
        char *rec = malloc(n);
        message_record_put(rec, &m, false);
        for (int k = rand() % 4; k >= 0; k--)
            rec[(size_t)rand() % n] = (char)rand();
        fits_differ += message_record_fits(rec, n) != (message_record_get(rec, n, false, &got) == 0 && got.size == n);
        if (message_record_get(rec, n, false, &got) == 0) {
            const char *end = rec + n;
            if (got.body.p < rec || got.body.p + got.body.n > end || got.topic.p + got.topic.n > end ||
                got.properties.p + got.properties.n > end || got.size > n)
                break;
        }
        free(rec);
    }
    is_int(done, 20000, "garbage never points outside");
    is_int(fits_differ, 0, "message_record_fits says the same as message_record_get");
}

static void test_blank(void)
{
    char p[64] = {0};
    struct message m;

    be32_put(p, 64);
    be32_put(p + 4, BLANK_MAGIC);
    ok(message_record_get(p, 64, true, &m) == 1 && m.size == 64, "a blank record");
    is_int(message_record_get(p, 63, true, &m), -EBADMSG, "longer than what is left");
    be32_put(p, 7);
    is_int(message_record_get(p, 64, true, &m), -EBADMSG, "too short to be one");
    memset(p, 0, sizeof p);
    is_int(message_record_get(p, 64, true, &m), -EBADMSG, "zeros are no record");
}

static void test_properties(void)
{
    struct str all = str_of("a\001b\002\002\001x\002n\001\002KEYS\001k1 k2\002TAGS\001first\002TAGS\001last\002end\0011");
    struct str name, value;
    size_t pos = 0;
    int n = 0;
    struct buf b = {0};

    while (prop_next(all, &pos, &name, &value))
        n++;
    is_int(n, 5, "entries without a name or value are skipped");
    ok(str_is(prop_get(all, "end"), "1"), "the last mark may be missing");
    ok(str_is(prop_get(all, "TAGS"), "last"), "the last of a name counts");
    ok(!prop_get(all, "n").p && !prop_get(all, "").p && !prop_get(all, "nothing").p, "absent ones are NULL");
    is_int(message_tags_code(all), str_java_hash(str_of("last")), "tag code");
    is_int(message_tags_code(str_of("x\001y\002")), 0, "without tags");
    is_int(message_tags_code(str_of("TAGS\001TagA\002")), 2598919, "TagA's hash as Java has it");
    is_int(message_tags_code(str_of("TAGS\001polygenelubricants\002")), INT32_MIN, "negative hashes stay negative");
    prop_copy_without(&b, all, (const char *const[]){"a", "TAGS", NULL});
    prop_put_i64(&b, "DELAY", -3);
    ok(str_is(buf_str(&b), "KEYS\001k1 k2\002end\0011\002DELAY\001-3\002"), "copied without two, one added");
    buf_reset(&b);
    buf_puts(&b, "open\001end");
    prop_put(&b, "x", str_of("y"));
    ok(str_is(buf_str(&b), "open\001end\002x\001y\002"), "a text without its last mark gets it first");
    buf_free(&b);
}

static size_t item_put(char *p, const char *body, const char *props)
{
    size_t nb = strlen(body), np = strlen(props), n = 22 + nb + np;

    memset(p, 0, n);
    be32_put(p, (uint32_t)n);
    be32_put(p + 12, 9);
    be32_put(p + 16, (uint32_t)nb);
    memcpy(p + 20, body, nb);
    be16_put(p + 20 + nb, (uint16_t)np);
    memcpy(p + 22 + nb, props, np);
    return n;
}

static int count_items(struct str body)
{
    struct batch_item item;
    size_t pos = 0;
    int n = 0, rc;

    while ((rc = batch_next(body, &pos, &item)) == 1)
        n++;
    return rc ? rc : n;
}

static void test_batch(void)
{
    char p[256];
    size_t n1 = item_put(p, "one", "TAGS\001a\002"), n = n1 + item_put(p + n1, "", "");
    struct batch_item item;
    size_t pos = 0;
    int whole = 0;

    is_int(batch_next(str_n(p, n), &pos, &item), 1, "first item");
    ok(str_is(item.body, "one") && str_is(item.properties, "TAGS\001a\002") && item.flag == 9, "its parts");
    is_int(count_items(str_n(p, n)), 2, "two items");
    is_int(count_items(str_n(p, 0)), 0, "no items");
    for (size_t cut = 1; cut < n; cut++) {
        char *part = malloc(cut);
        memcpy(part, p, cut);
        whole += count_items(str_n(part, cut)) != -EBADMSG && cut != n1;
        free(part);
    }
    is_int(whole, 0, "cut at every byte: refused");
    p[3]++;
    is_int(count_items(str_n(p, n)), -EBADMSG, "a total that does not add up");
    p[3]--;
    be32_put(p + 16, 0xFFFFFFFF);
    is_int(count_items(str_n(p, n)), -EBADMSG, "a body length of -1");
    pos = n + 1;
    is_int(batch_next(str_n(p, n), &pos, &item), -EBADMSG, "a position behind the end");
}

static void test_ids(void)
{
    struct host h = {.ip = {192, 168, 0, 1}, .port = 10911}, back;
    char id[64], other[40], text[64];
    int64_t offset;

    offset_id_text(&h, 0x123456789ABCDEF0, id);
    is_text(id, "C0A8000100002A9F123456789ABCDEF0", "offset id");
    ok(offset_id_parse(str_of(id), &back, &offset) == 0 && offset == 0x123456789ABCDEF0 && back.port == 10911 &&
       memcmp(back.ip, h.ip, 4) == 0, "and back");
    ok(offset_id_parse(str_of("c0a8000100002a9f123456789abcdef0"), &back, &offset) == 0, "small letters too");
    h.v6 = true;
    offset_id_text(&h, 1, id);
    is_int(strlen(id), 56, "IPv6: 56 characters");
    ok(offset_id_parse(str_of(id), &back, &offset) == 0 && back.v6 && offset == 1, "and back");
    static const char *const bad[] = {"", "C0", "C0A8000100002A9F123456789ABCDEFG", "C0A8000100002A9F123456789ABCDEF",
                                      "C0A8000100002A9F123456789ABCDEF012"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        is_int(offset_id_parse(str_of(bad[i]), &back, &offset), -EINVAL, "no id: \"%s\"", bad[i]);
    unique_id_text(&h, id);
    unique_id_text(&h, other);
    ok(strlen(id) == 32 && strspn(id, "0123456789ABCDEF") == 32 && strcmp(id, other) != 0, "unique ids differ");
    host_text(&(struct host){.ip = {192, 0, 2, 7}, .port = 5000}, text);
    is_text(text, "192.0.2.7:5000", "host text");
    host_text(&(struct host){.ip = {0x20, 1, 0xd, 0xb8, [15] = 1}, .v6 = true, .port = 5000}, text);
    is_text(text, "[2001:db8::1]:5000", "IPv6 host text");
    struct sockaddr_storage ss = {0};
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&ss;
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(80);
    inet_pton(AF_INET6, "::ffff:1.2.3.4", &in6->sin6_addr);
    back = host_of(&ss);
    host_text(&back, text);
    is_text(text, "1.2.3.4:80", "an IPv4-mapped address is IPv4");
}

int main(void)
{
    static const size_t topics[] = {1, 127, 128, 255, 300};

    test_bytes();
    for (int v6 = 0; v6 < 4; v6++)
        for (size_t i = 0; i < sizeof topics / sizeof *topics; i++)
            round_trip(v6 & 2, v6 & 1, topics[i]);
    test_cuts_and_lies();
    test_garbage();
    test_blank();
    test_properties();
    test_batch();
    test_ids();
    return tap_done();
}
