/* JSON in Fastjson's dialect, both ways, with broken texts of many kinds.
 * R-STORE-24: consumerOffset.json has bare queue numbers as keys. The texts of
 * pretty[] were written by Fastjson 2.0.59 from Apache's own classes. */
#include "common/json.h"

#include <errno.h>
#include <math.h>
#include <time.h>

#include "common/json_text.h"
#include "tests/unit/tap.h"

#define FUZZ_MS 1000
#define S(z) ((struct str){(z), sizeof(z) - 1})

static struct arena arena;
static struct buf out;

/* The text in memory of exactly its length, so that a sanitizer sees each byte
 * read beside it; every text starts with an empty arena. */
static int parse(struct str text, struct json **v)
{
    char *p = malloc(text.n ? text.n : 1);
    int rc;

    if (!p)
        abort();
    if (text.n)
        memcpy(p, text.p, text.n);
    arena_free(&arena);
    *v = NULL;
    rc = json_parse(&arena, str_n(p, text.n), v);
    free(p);
    return rc;
}

/* The value written again, NUL-terminated, valid until the next call. */
static const char *rewrite(const struct json *v, bool pretty)
{
    struct json_writer w;

    buf_reset(&out);
    jw_init(&w, &out, pretty);
    jw_value(&w, v);
    buf_putc(&out, 0);
    return buf_failed(&out) ? "(failed)" : out.p;
}

static const char topics_json[] =
    "{\n\t\"dataVersion\":{\n\t\t\"counter\":2,\n\t\t\"stateVersion\":0,\n\t\t\"timestamp\":1700000000000\n\t},\n"
    "\t\"topicConfigTable\":{\n\t\t\"TopicA\":{\n\t\t\t\"attributes\":{\n\t\t\t\t\"message.type\":\"FIFO\"\n\t\t\t},\n"
    "\t\t\t\"order\":false,\n\t\t\t\"perm\":6,\n\t\t\t\"readQueueNums\":4,\n\t\t\t\"topicFilterType\":\"SINGLE_TAG\",\n"
    "\t\t\t\"topicName\":\"TopicA\",\n\t\t\t\"topicSysFlag\":0,\n\t\t\t\"writeQueueNums\":4\n\t\t},\n"
    "\t\t\"TBW102\":{\n\t\t\t\"attributes\":{},\n\t\t\t\"order\":false,\n\t\t\t\"perm\":7,\n\t\t\t\"readQueueNums\":8,\n"
    "\t\t\t\"topicFilterType\":\"SINGLE_TAG\",\n\t\t\t\"topicName\":\"TBW102\",\n\t\t\t\"topicSysFlag\":0,\n"
    "\t\t\t\"writeQueueNums\":8\n\t\t}\n\t}\n}";
static const char consumer_offset_json[] =
    "{\n\t\"dataVersion\":{\n\t\t\"counter\":2,\n\t\t\"stateVersion\":0,\n\t\t\"timestamp\":1700000000000\n\t},\n"
    "\t\"offsetTable\":{\n\t\t\"none@g1\":{},\n\t\t\"TopicA@g1\":{\n\t\t\t0:2073,\n\t\t\t1:2074\n\t\t}\n\t}\n}";
static const char consume_stats[] =
    "{\n\t\"consumeTps\":0.5,\n\t\"offsetTable\":{\n\t\t{\n\t\t\t\"brokerName\":\"b\",\n\t\t\t\"queueId\":0,\n"
    "\t\t\t\"topic\":\"T\"\n\t\t}:{\n\t\t\t\"brokerOffset\":90,\n\t\t\t\"consumerOffset\":0,\n"
    "\t\t\t\"lastTimestamp\":0,\n\t\t\t\"pullOffset\":0\n\t\t}\n\t}\n}";
static const char lists[] =
    "{\n\t\"empty\":[],\n\t\"l\":[\n\t\t1,\n\t\t2\n\t],\n\t\"ll\":[\n\t\t[\n\t\t\t1\n\t\t],\n\t\t[],\n\t\t[\n\t\t\t2,\n\t\t\t3\n"
    "\t\t]\n\t],\n\t\"lo\":[\n\t\t{\n\t\t\t0:2073,\n\t\t\t1:2074\n\t\t},\n\t\t{}\n\t],\n\t\"ls\":[\n\t\t\"a\",\n\t\t\"b\"\n\t]\n}";

static void test_pretty(void)
{
    static const struct { const char *name, *text; } pretty[] = {
        {"topics.json", topics_json}, {"consumerOffset.json", consumer_offset_json},
        {"ConsumeStats, with objects as keys", consume_stats}, {"lists", lists},
    };
    struct json *v;

    for (size_t i = 0; i < sizeof(pretty) / sizeof(pretty[0]); i++) {
        is_int(parse(str_of(pretty[i].text), &v), 0, "%s is read", pretty[i].name);
        is_text(rewrite(v, true), pretty[i].text, "and written as Fastjson wrote it");
    }
    parse(S(consumer_offset_json), &v);
    is_int(json_int(json_member(json_member(v, "offsetTable"), "TopicA@g1"), "1", -1), 2074, "an offset by its queue");
    is_text(rewrite(v, false), "{\"dataVersion\":{\"counter\":2,\"stateVersion\":0,\"timestamp\":1700000000000},"
            "\"offsetTable\":{\"none@g1\":{},\"TopicA@g1\":{0:2073,1:2074}}}", "compact: no blanks");
}

/* What is read, and what it is in standard form. */
static void test_read(void)
{
    static const struct { struct str text; const char *want; } rows[] = {
        {S("{}"), "{}"}, {S("[]"), "[]"}, {S(" 1 "), "1"}, {S("null"), "null"}, {S("true"), "true"}, {S("\"\""), "\"\""},
        {S("\t\r\n\f{ \"a\" : [ 1 , 2 ] } "), "{\"a\":[1,2]}"},
        {S("{0:\"a\",-1:\"b\",9223372036854775807:1}"), "{0:\"a\",-1:\"b\",9223372036854775807:1}"},
        {S("{9223372036854775808:1}"), "{\"9223372036854775808\":1}"},
        {S("{1.5:2}"), "{\"1.5\":2}"}, {S("{abc:1,$x_:2,a.b-c:3,\xC3\xA9:4}"), "{\"abc\":1,\"$x_\":2,\"a.b-c\":3,\"\xC3\xA9\":4}"},
        {S("{null:1,true:2}"), "{\"null\":1,\"true\":2}"},
        {S("{{\"q\":0}:5,{\"q\":{}}:{}}"), "{{\"q\":0}:5,{\"q\":{}}:{}}"},
        {S("{'a':'it\\'s \"x\"'}"), "{\"a\":\"it's \\\"x\\\"\"}"},
        {S("{\"a\":1,}"), "{\"a\":1}"}, {S("[1,2,]"), "[1,2]"},
        {S("/* c */[1,//x\n2/**/]//end"), "[1,2]"}, {S("//x\n//y\n3"), "3"}, {S("1/***/"), "1"},
        {S("{\"a\":Set[1,2],\"b\":TreeSet[\"x\"]}"), "{\"a\":[1,2],\"b\":[\"x\"]}"},
        {S("[-0,007,+5,-012,1L,2B,3S]"), "[0,7,5,-12,1,2,3]"},
        {S("[1.50,6.0,1e3,-1.5E-7,00.5,+2.5,1.0D,2.5F]"), "[1.50,6.0,1e3,-1.5E-7,0.5,2.5,1.0,2.5]"},
        {S("[9223372036854775807,-9223372036854775808,9223372036854775808,-9223372036854775809]"),
         "[9223372036854775807,-9223372036854775808,9223372036854775808,-9223372036854775809]"},
        {S("\"\\u00e9\\u4E2D\\ud83d\\ude00\\/\""), "\"\xC3\xA9\xE4\xB8\xAD\xF0\x9F\x98\x80/\""},
        {S("\"\\ud83d\\ud83d\\ude00\""), "\"\xEF\xBF\xBD\xF0\x9F\x98\x80\""},
        {S("\"\\b\\f\\n\\r\\t\\u0000\\u001f\\\\\\\"\""), "\"\\b\\f\\n\\r\\t\\u0000\\u001f\\\\\\\"\""},
        {S("\"\n\t\0\1\x7F\""), "\"\\n\\t\\u0000\\u0001\x7F\""},
        {S("\"\xFF\xC0\x80ok\xE4\xB8\""), "\"\uFFFD\uFFFD\uFFFDok\uFFFD\uFFFD\""},
        {S("{\"@type\":\"x\",\"$ref\":\"$\"}"), "{\"@type\":\"x\",\"$ref\":\"$\"}"},
        {S("{\"\":{\"\":0}}"), "{\"\":{\"\":0}}"},
    };
    struct json *v;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (ok(parse(rows[i].text, &v) == 0, "read: row %zu", i))
            is_text(rewrite(v, false), rows[i].want, "and written: %s", rows[i].want);
    }
}

static void test_broken(void)
{
    static const struct str rows[] = {
        S(""), S(" "), S("{"), S("}"), S("["), S("]"), S("[}"), S("{]"), S(","), S(":"), S("[,]"), S("{,}"), S("[1,,2]"),
        S("{\"a\":1,,}"), S("[1 2]"), S("{\"a\" 1}"), S("{\"a\":}"), S("{\"a\"}"), S("{:1}"), S("{\"a\":1 \"b\":2}"),
        S("{[1]:2}"), S("{{\"a\":1}}"), S("{{\"a\":1:2}"), S("1 2"), S("{}x"), S("{}{}"), S("\"a\"\"b\""),
        S("\""), S("'"), S("\"a'"), S("\"\\"), S("\"\\\""), S("\"\\x41\""), S("\"\\u\""), S("\"\\u12\""), S("\"\\u12G4\""),
        S("\"\\ud83d\\u12\""), S("\"\\0\""), S("tru"), S("TRUE"), S("nul"), S("nullx"), S("undefined"), S("NaN"), S("-NaN"),
        S("Infinity"), S("-Infinity"), S("-"), S("+"), S("--1"), S("."), S(".5"), S("5."), S("1e"), S("1e+"), S("0x10"),
        S("1_000"), S("1e999"), S("-1e999"), S("1LL"), S("Set"), S("Set{}"), S("Bag[1]"), S("/"), S("/*"), S("/* *"), S("1/"),
        S("[1/]"), S("\xEF\xBB\xBF{}"), S("\0"), S("{}\0"), S("[\0]"), S("1\0"), S("{\0:1}"), S("\xFF"),
    };
    struct json *v;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        is_int(parse(rows[i], &v), -EBADMSG, "refused: row %zu: %.*s", i, STR_ARG(rows[i]));
}

static char *nested(const char *open, const char *shut, size_t n, size_t *len)
{
    struct buf b = {0};

    for (size_t i = 0; i < n; i++)
        buf_puts(&b, open);
    buf_puts(&b, "1");
    for (size_t i = 0; i < n; i++)
        buf_puts(&b, shut);
    *len = b.n;
    return buf_take(&b);
}

static void test_depth(void)
{
    static const struct { const char *open, *shut, *what; } kinds[] = {
        {"[", "]", "arrays"}, {"{\"a\":", "}", "objects"}, {"{{", "}:1}", "keys"}, {"Set[", "]", "sets"}, {"[", "", "brackets never closed"},
    };
    struct json *v;
    size_t len;

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        char *z = nested(kinds[i].open, kinds[i].shut, 10000, &len);
        is_int(parse(str_n(z, len), &v), -EBADMSG, "%s nested 10,000 deep", kinds[i].what);
        free(z);
    }
    for (size_t depth = JSON_DEPTH_MAX; depth <= JSON_DEPTH_MAX + 1; depth++) {
        char *z = nested("[", "]", depth, &len);
        is_int(parse(str_n(z, len), &v), depth == JSON_DEPTH_MAX ? 0 : -EBADMSG, "arrays nested %zu deep", depth);
        if (v)
            is_text(rewrite(v, false), z, "and written");
        free(z);
    }
}

static void test_limit(void)
{
    struct arena small;
    struct json *v = NULL;
    char text[4096];

    memset(text, '0', sizeof(text));
    for (size_t i = 2; i < sizeof(text); i += 2)
        text[i] = ',';
    text[0] = '[';
    text[sizeof(text) - 1] = ']';
    arena_init(&small, 16384);
    is_int(json_parse(&small, str_n(text, sizeof(text)), &v), -ENOMEM, "more values than the arena may hold");
    ok(small.used <= 16384 && !v, "it did not take more");
    arena_free(&small);
    arena_init(&small, 100);
    is_int(json_parse(&small, str_n(text, sizeof(text)), &v), -ENOMEM, "more bytes than it may hold");
    arena_free(&small);
    arena_init(&small, 0);
    is_int(json_parse(&small, str_n(text, sizeof(text)), &v), 0, "without a limit it is read");
    arena_free(&small);
}

static void test_loose(void)
{
    struct json *v;
    struct str s;

    is_int(parse(S("{\"i\":6,\"t\":\"6\",\"d\":6.9,\"td\":\"-6.9\",\"b\":true,\"tb\":\"TRUE\",\"n\":null,\"x\":\"six\",\"e\":\"\","
                   "\"big\":1e30,\"nbig\":-99999999999999999999,\"hex\":\"0x10\",\"inf\":\"-inf\",\"a\":[1],\"o\":{\"i\":1},\"z\":0,"
                   "\"nul\":\"1\\u0000\",\"sp\":\" 8 \",\"huge\":\"1e999\",3:\"three\",\"i2\":1,\"i2\":2}"), &v), 0, "loose values are read");
    is_int(json_int(v, "i", -1), 6, "a number");
    is_int(json_int(v, "t", -1), 6, "a number as text");
    is_int(json_int(v, "d", -1), 6, "a fraction is cut off");
    is_int(json_int(v, "td", -1), -6, "in a text, too");
    is_int(json_int(v, "b", -1), 1, "true is 1");
    is_int(json_int(v, "sp", -1), 8, "blanks around");
    is_int(json_int(v, "big", -1), INT64_MAX, "too large is the largest");
    is_int(json_int(v, "nbig", -1), INT64_MIN, "too small is the smallest");
    for (const char *const *name = (const char *const[]){"n", "x", "e", "hex", "inf", "huge", "a", "o", "nul", "absent", NULL}; *name; name++)
        is_int(json_int(v, *name, -7), -7, "%s is no number: the default", *name);
    ok(json_bool(v, "b", false) && json_bool(v, "tb", false) && json_bool(v, "i", false) && json_bool(v, "t", false), "what is true");
    ok(!json_bool(v, "z", true), "what is false");
    ok(json_bool(v, "x", true) && json_bool(v, "n", true) && json_bool(v, "a", true), "what is neither: the default");
    ok(str_is(json_str(v, "t"), "6") && str_is(json_str(v, "i"), "6") && str_is(json_str(v, "d"), "6.9") &&
       str_is(json_str(v, "b"), "true"), "text, and numbers as text");
    ok(!json_str(v, "n").p && !json_str(v, "a").p && !json_str(v, "o").p && !json_str(v, "absent").p, "what has no text");
    ok(json_str(v, "e").p && !json_str(v, "e").n, "an empty text is one");
    s = json_str(v, "x");
    ok(s.p[s.n] == 0, "texts end with a NUL");
    ok(str_is(json_str(v, "3"), "three"), "an integer key by its digits");
    is_int(json_int(v, "i2", -1), 2, "of two members with one name the last counts");
    ok(!json_member(NULL, "i") && !json_member(json_member(v, "a"), "i") && json_int(NULL, "i", 5) == 5, "no object has no members");
    is_int(json_int(json_member(v, "o"), "i", 0), 1, "a member of a member");
}

static void test_write(void)
{
    struct json_writer w;

    buf_reset(&out);
    jw_init(&w, &out, false);
    w.quote_int_keys = true;
    jw_object(&w);
    jw_kbool(&w, "b", true);
    jw_kint(&w, "i", INT64_MIN);
    jw_ktext(&w, "nothing", NULL);
    jw_kstr(&w, "s", S("\x1b\"\\/\x7F\xE4\xB8\xAD\xFF"));
    jw_key_int(&w, -3);
    jw_array(&w);
    jw_null(&w);
    jw_object(&w);
    jw_object_end(&w);
    jw_array(&w);
    jw_array_end(&w);
    jw_array_end(&w);
    jw_key_object(&w);
    jw_object(&w);
    jw_kint(&w, "q", 0);
    jw_object_end(&w);
    jw_key_object_end(&w);
    jw_int(&w, 5);
    jw_object_end(&w);
    buf_putc(&out, 0);
    is_text(out.p, "{\"b\":true,\"i\":-9223372036854775808,\"nothing\":null,\"s\":\"\\u001b\\\"\\\\/\x7F\xE4\xB8\xAD\uFFFD\","
            "\"-3\":[null,{},[]],{\"q\":0}:5}", "every kind of value, integer keys quoted");
}

static void test_doubles(void)
{
    static const struct { double d; const char *want; } rows[] = {
        {0, "0.0"}, {-0.0, "-0.0"}, {1, "1.0"}, {12.5, "12.5"}, {-12.5, "-12.5"}, {100, "100.0"}, {0.1, "0.1"}, {1.0 / 3, "0.3333333333333333"},
        {0.001, "0.001"}, {0.00123, "0.00123"}, {1e-4, "1.0E-4"}, {9999999.5, "9999999.5"}, {1e7, "1.0E7"}, {123456789.125, "1.23456789125E8"},
        {3e10, "3.0E10"}, {1e21, "1.0E21"}, {1e300, "1.0E300"}, {9007199254740992.0, "9.007199254740992E15"}, {1.7976931348623157e308, "1.7976931348623157E308"},
        {NAN, "null"}, {INFINITY, "null"}, {-INFINITY, "null"},
    };
    struct json_writer w;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        buf_reset(&out);
        jw_init(&w, &out, false);
        jw_double(&w, rows[i].d);
        buf_putc(&out, 0);
        is_text(out.p, rows[i].want, "a double: %s", rows[i].want);
    }
}

/* As json_quote writes p[n], a byte at a time; only for what this test uses. */
static void quote_slowly(struct buf *b, const char *p, size_t n)
{
    buf_putc(b, '"');
    for (size_t i = 0; i < n; i++) {
        if (p[i] == '"' || p[i] == '\\')
            buf_putc(b, '\\');
        if (p[i] == 1)
            buf_puts(b, "\\u0001");
        else
            buf_putc(b, p[i]);
    }
    buf_putc(b, '"');
}

/* Short texts go by words and halves of words: each length, with each mark at each place. */
static void test_short_texts(void)
{
    static const char marks[] = {'"', '\\', 1, ' ', '~'};
    struct buf want = {0};
    struct json *v;
    int wrong = 0;

    for (size_t n = 0; n <= 40; n++)
        for (size_t at = 0; at < n || at == 0; at++)
            for (size_t second = at; second < n || second == at; second += 3)
                for (size_t m = 0; m < sizeof(marks); m++) {
                    char *text = malloc(n + 1);         /* of its length, for the sanitizer */
                    memset(text, 'x', n + 1);
                    if (n)
                        text[at] = text[second < n ? second : at] = marks[m];
                    buf_reset(&want);
                    buf_reset(&out);
                    quote_slowly(&want, text, n);
                    json_quote(&out, str_n(text, n));
                    wrong += !str_eq(buf_str(&out), buf_str(&want)) || parse(buf_str(&out), &v) ||
                             !str_eq(v->s, str_n(text, n));
                    free(text);
                }
    is_int(wrong, 0, "texts of 0 to 40 bytes are escaped as they should be, and read back");
    buf_free(&want);
}

/* Long texts are escaped in pieces, and no character may be cut by that. */
static void test_long_texts(void)
{
    static const struct str units[] = {S("a"), S("\xC3\xA9"), S("\xE4\xB8\xAD"), S("\xF0\x9F\x98\x80"), S("\1"), S("a\xF0\x9F\x98\x80")};
    struct buf text = {0};
    struct json *v;
    int wrong = 0;

    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        for (size_t lead = 0; lead < 5; lead++) {
            buf_reset(&text);
            buf_put(&text, "xxxxx", lead);
            while (text.n < 10000)
                buf_put_str(&text, units[i]);
            buf_reset(&out);
            json_quote(&out, buf_str(&text));
            wrong += parse(buf_str(&out), &v) != 0 || !str_eq(v->s, buf_str(&text));
        }
    }
    is_int(wrong, 0, "long texts come back as they were, wherever they are cut in between");
    buf_free(&text);
}

static void test_overflow(void)
{
    struct json_writer w;

    for (int pretty = 0; pretty < 2; pretty++) {
        buf_reset(&out);
        jw_init(&w, &out, pretty);
        for (int i = 0; i < JSON_DEPTH_MAX; i++)
            jw_array(&w);
        ok(!buf_failed(&out), "as deep as may be");
        for (int i = 0; i < 1000; i++) {
            jw_object(&w);
            jw_kint(&w, "a", 1);
            jw_key(&w, "b");
        }
        ok(buf_failed(&out), "deeper fails the buffer");
        for (int i = 0; i < 2000; i++)
            jw_array_end(&w);
        ok(buf_failed(&out), "and it stays failed");
    }
    buf_reset(&out);
    jw_init(&w, &out, false);
    jw_object_end(&w);
    ok(buf_failed(&out), "an end without a beginning fails it, too");
    buf_reset(&out);
    jw_init(&w, &out, false);
    jw_object(&w);
    jw_key(&w, "a");
    jw_object_end(&w);
    ok(buf_failed(&out), "so does a key without a value");
}

static void test_truncated(void)
{
    static const char text[] = "{\"a\":[1,-2.5e3,\"x\\u00e9\\n\"],0:{\"b\":true,'c':null},{\"q\":7}:Set[1]/* c */}";
    struct json *v;
    int refused = 0;

    is_int(parse(S(text), &v), 0, "a text of many kinds");
    for (size_t n = 0; n < sizeof(text) - 1; n++)
        refused += parse(str_n(text, n), &v) == -EBADMSG;
    is_int(refused, sizeof(text) - 1, "cut at any byte it is refused");
}

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Good texts with some bytes changed. What is still read must be written as a
 * text that reads and writes the same again. */
static void test_fuzz(void)
{
    static const char alphabet[] = "{}[]\",:'\\/*u0e-+. \n\0\1\377\200\303ntSetLD";
    static const char mixed[] = "{\"a\":[1,-2.5e3,\"x\\u00e9\\n\\ud83d\\ude00\"],0:{\"b\":true,'c':null},{\"q\":7}:Set[1]/* c */,d:9999999999999999999}";
    const struct str texts[] = {S(topics_json), S(consume_stats), S(lists), S(mixed)};
    unsigned seed = (unsigned)time(NULL);
    int64_t end = now_ms() + FUZZ_MS;
    int rounds = 0, good = 0, wrong = 0, other = 0;
    struct json *v;

    printf("# seed %u\n", seed);
    for (; rounds < 100000 && now_ms() < end; rounds++) {
        struct str t = texts[rounds % 4];
        char *p = malloc(t.n), *first;
        int rc;

        if (!p)
            abort();
        memcpy(p, t.p, t.n);
        for (int n = 1 + rand_r(&seed) % 4; n > 0; n--)
            p[(size_t)rand_r(&seed) % t.n] = alphabet[(size_t)rand_r(&seed) % (sizeof(alphabet) - 1)];
        rc = parse(str_n(p, t.n), &v);
        free(p);
        other += rc != 0 && rc != -EBADMSG;
        if (rc)
            continue;
        good++;
        rewrite(v, rounds & 4);
        first = str_dup(str_n(out.p, out.n - 1));
        wrong += !first || parse(str_of(first), &v) != 0 || strcmp(rewrite(v, rounds & 4), first) != 0;
        free(first);
    }
    ok(good > 0 && good < rounds, "%d changed texts: %d read", rounds, good);
    is_int(other, 0, "the others are broken text, nothing else");
    is_int(wrong, 0, "what was read is written so that it reads the same");
}

int main(void)
{
    test_pretty();
    test_read();
    test_broken();
    test_depth();
    test_limit();
    test_loose();
    test_write();
    test_doubles();
    test_short_texts();
    test_long_texts();
    test_overflow();
    test_truncated();
    test_fuzz();
    arena_free(&arena);
    buf_free(&out);
    return tap_done();
}
