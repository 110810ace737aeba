/* The remoting frame and both header serializations, with good and bad bytes.
 * Frames of real clients are written out as those clients send them. */
#include "common/remoting/command.h"

#include <errno.h>
#include <time.h>

#include "common/be.h"
#include "tests/unit/tap.h"

#define FUZZ_MS 700

/* A frame of the given header and body, in memory of exactly its length so that
 * a sanitizer sees each byte read beside it. */
static char *frame_of(int type, struct str header, struct str body, size_t *len)
{
    char *f = malloc(8 + header.n + body.n);

    if (!f)
        abort();
    *len = 8 + header.n + body.n;
    be32_put(f, (uint32_t)(*len - 4));
    be32_put(f + 4, (uint32_t)header.n | (uint32_t)type << 24);
    if (header.n)
        memcpy(f + 8, header.p, header.n);
    if (body.n)
        memcpy(f + 8 + header.n, body.p, body.n);
    return f;
}

/* Decodes JSON header text; *frame is to be freed. */
static int decode_json(const char *header, struct command *cmd, char **frame)
{
    size_t len;

    *frame = frame_of(SERIALIZE_JSON, str_of(header), (struct str){0}, &len);
    return command_decode(*frame, len, cmd);
}

static bool ext_is(const struct command *cmd, const char *name, const char *want)
{
    struct str v = command_ext(cmd, name);
    return want ? v.p && str_is(v, want) : !v.p;
}

static void test_frame_length(void)
{
    static const struct { const char *bytes; size_t n, max; int64_t want; } rows[] = {
        {"", 0, FRAME_MAX, 0},
        {"\0\0\0", 3, FRAME_MAX, 0},
        {"\0\0\0\4", 4, FRAME_MAX, 8},
        {"\0\0\0\3", 4, FRAME_MAX, -EBADMSG},
        {"\0\0\0\0", 4, FRAME_MAX, -EBADMSG},
        {"\377\377\377\377", 4, FRAME_MAX, -EBADMSG},
        {"\200\0\0\0", 4, FRAME_MAX, -EBADMSG},
        {"\177\377\377\377", 4, FRAME_MAX, -EBADMSG},
        {"\0\377\377\374", 4, FRAME_MAX, FRAME_MAX},
        {"\0\377\377\375", 4, FRAME_MAX, -EBADMSG},
        {"\0\0\0\x10", 4, 20, 20},
        {"\0\0\0\x11", 4, 20, -EBADMSG},
        {"\0\0\0\4", 4, 3, -EBADMSG},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        is_int(frame_length(rows[i].bytes, rows[i].n, rows[i].max), rows[i].want, "frame length, row %zu", i);
}

static void test_java_send(void)
{
    static const char header[] =
        "{\"code\":310,\"extFields\":{\"a\":\"pg\",\"b\":\"T\",\"c\":\"TBW102\",\"d\":\"4\",\"e\":\"2\","
        "\"f\":\"0\",\"g\":\"1700000000000\",\"h\":\"0\",\"i\":\"KEYS\\u0001k1\\u0002WAIT\\u0001true\\u0002\","
        "\"j\":\"0\",\"k\":\"false\",\"m\":\"false\"},\"flag\":0,\"language\":\"JAVA\",\"opaque\":7,"
        "\"serializeTypeCurrentRPC\":\"JSON\",\"version\":513}";
    size_t len;
    struct command cmd;
    char *f = frame_of(SERIALIZE_JSON, str_of(header), str_of("hello"), &len);

    is_int(frame_length(f, len, FRAME_MAX), len, "the frame is as long as it says");
    is_int(command_decode(f, len, &cmd), 0, "a Java client's send is decoded");
    is_int(cmd.code, 310, "code");
    is_int(cmd.flag, 0, "flag");
    is_int(cmd.opaque, 7, "opaque");
    is_int(cmd.version, 513, "version");
    is_int(cmd.language, LANG_JAVA, "language");
    is_int(cmd.serialize, SERIALIZE_JSON, "serialization");
    is_int(cmd.n_ext, 12, "all ext fields");
    ok(!cmd.remark.p, "no remark");
    ok(ext_is(&cmd, "a", "pg") && ext_is(&cmd, "m", "false"), "first and last ext field");
    ok(ext_is(&cmd, "i", "KEYS\1k1\2WAIT\1true\2"), "properties are unescaped");
    ok(ext_is(&cmd, "z", NULL), "an absent ext field has no value");
    ok(str_is(cmd.body, "hello"), "body");
    free(f);
}

/* Headers that are unusual and right. */
static void test_json_shapes(void)
{
    static const struct { const char *header; int32_t code, opaque; int16_t version; int language; const char *a; } rows[] = {
        {"{}", 0, 0, 0, LANG_OTHER, NULL},
        {" \t\r\n{ \"version\" : 5 , \"opaque\":-2147483648,\"extFields\" : { \"a\" : \"x\" } ,\"code\": 10 } \n",
         10, INT32_MIN, 5, LANG_OTHER, "x"},
        {"{\"opaque\":-1,\"extFields\":null,\"remark\":null,\"code\":1}", 1, -1, 0, LANG_OTHER, NULL},
        {"{\"code\":34,\"language\":\"NODE_JS\"}", 34, 0, 0, LANG_NODE_JS, NULL},
        {"{\"language\":9}", 0, 0, 0, LANG_GO, NULL},
        {"{\"language\":77}", 0, 0, 0, LANG_OTHER, NULL},
        {"{\"language\":\"COBOL\"}", 0, 0, 0, LANG_OTHER, NULL},
        {"{\"language\":null}", 0, 0, 0, LANG_OTHER, NULL},
        {"{'code':'11','extFields':{'a':'it\\'s \"x\"'}}", 11, 0, 0, LANG_OTHER, "it's \"x\""},
        {"{code:12,extFields:{a:\"y\"}}", 12, 0, 0, LANG_OTHER, "y"},
        {"{\"extFields\":{\"a\":12.50,\"b\":1}}", 0, 0, 0, LANG_OTHER, "12.50"},
        {"{\"extFields\":{\"a\":-9007199254740993}}", 0, 0, 0, LANG_OTHER, "-9007199254740993"},
        {"{\"extFields\":{\"a\":true}}", 0, 0, 0, LANG_OTHER, "true"},
        {"{\"extFields\":{\"a\":false}}", 0, 0, 0, LANG_OTHER, "false"},
        {"{\"extFields\":{\"a\":null}}", 0, 0, 0, LANG_OTHER, NULL},
        {"{\"extFields\":{\"a\":\"\"}}", 0, 0, 0, LANG_OTHER, ""},
        {"{\"extFields\":{\"a\":{\"q\":[1,\"]}\\\"\"]}}}", 0, 0, 0, LANG_OTHER, "{\"q\":[1,\"]}\\\"\"]}"},
        {"{\"extFields\":{\"a\":\"1\",\"a\":\"2\"}}", 0, 0, 0, LANG_OTHER, "2"},
        {"{\"extFields\":{\"a\":\"1\"},\"extFields\":{\"b\":\"2\"}}", 0, 0, 0, LANG_OTHER, NULL},
        {"{\"x\":[[{}],{\"y\":[\"}\",'\\'']}],\"code\":3,\"z\":{},}", 3, 0, 0, LANG_OTHER, NULL},
        {"{\"code\":6.0,\"opaque\":\" 8 \",\"flag\":null}", 6, 8, 0, LANG_OTHER, NULL},
        {"{\"version\":99999}", 0, 0, INT16_MAX, LANG_OTHER, NULL},
        {"{\"version\":-99999}", 0, 0, INT16_MIN, LANG_OTHER, NULL},
        {"/* c */{\"code\"/**/:// x\n5}", 5, 0, 0, LANG_OTHER, NULL},
        {"{\"extFields\":{\"a\":\"\\u00e9\\u4e2d\\ud83d\\ude00\\/\\b\\f\\n\\r\\t\\\\\"}}", 0, 0, 0, LANG_OTHER,
         "\xC3\xA9\xE4\xB8\xAD\xF0\x9F\x98\x80/\b\f\n\r\t\\"},
        {"{\"extFields\":{\"a\":\"\\ud83d!\\ude00\\ud83d\\u0041\"}}", 0, 0, 0, LANG_OTHER,
         "\xEF\xBF\xBD!\xEF\xBF\xBD\xEF\xBF\xBD" "A"},
        {"{\"extFields\":{\"\":\"k\",\"a\":\"1\"}}", 0, 0, 0, LANG_OTHER, "1"},
        {"{\"extFields\":{\"\\\":\":\"k\",\"a\":\"2\"}}", 0, 0, 0, LANG_OTHER, "2"},
        {"{\"extFields\":{\"\\u0061\":\"k\"}}", 0, 0, 0, LANG_OTHER, "k"},
        {"{\"extFields\":{\"a\":\"0123456789abcde\\\"0123456789\"}}", 0, 0, 0, LANG_OTHER, "0123456789abcde\"0123456789"},
    };
    struct command cmd;
    char *f;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        is_int(decode_json(rows[i].header, &cmd, &f), 0, "decoded: row %zu", i);
        ok(cmd.code == rows[i].code && cmd.opaque == rows[i].opaque && cmd.version == rows[i].version &&
           cmd.language == rows[i].language && ext_is(&cmd, "a", rows[i].a), "with the right values: row %zu", i);
        free(f);
    }
}

static void test_json_broken(void)
{
    static const char *const rows[] = {
        "", " ", "null", "1", "[]", "\"x\"", "{", "}", "{\"code\"}", "{\"code\":}", "{\"code\":1", "{\"code\":1,",
        "{\"code\":1}x", "{\"code\":1}{}", "{\"code\":1 \"flag\":2}", "{,}", "{\"code\":1,,}", "{\"code\" 1}",
        "{\"code\":\"x\"}", "{\"code\":\"\"}", "{\"code\":1x}", "{\"code\":99999999999}", "{\"code\":1e3}",
        "{\"code\":-}", "{\"code\":NaN}", "{\"code\":true}", "{\"code\":[1]}", "{\"code\":1-2}", "{\"x\":tru}",
        "{\"opaque\":2147483648}", "{\"extFields\":{\"a\":\"x\"}", "{\"extFields\":{\"a\"}}",
        "{\"extFields\":{\"a\":x}}", "{\"extFields\":{\"a\":1.}}", "{\"extFields\":{\"a\":1e}}",
        "{\"extFields\":{\"a\":\"\\x\"}}", "{\"extFields\":{\"a\":\"\\u12\"}}", "{\"extFields\":{\"a\":\"\\u12g4\"}}",
        "{\"extFields\":{\"a\":\"\\\"}}", "{\"extFields\":{\"a\":\"\\", "{\"x\":[}", "{\"x\":[{]}", "{\"x\":{\"a\":1]}",
        "{\"extFields\":{\"\"\":\"x\"}}", "{\"x\":\"", "{\"x\":[\"}", "{\"x\":/", "{/*", "{\"x\":[/*]}", "\xEF\xBB\xBF{}",
    };
    struct command cmd;
    char *f;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        is_int(decode_json(rows[i], &cmd, &f), -EBADMSG, "refused: %s", i ? rows[i] : "empty header");
        free(f);
    }
    is_int(decode_json("{\"opaque\":9,\"flag\":2,\"code\":1,\"extFields\":{", &cmd, &f), -EBADMSG, "a header cut short");
    ok(cmd.opaque == 9 && cmd.flag == 2, "still tells opaque and flag");
    free(f);
}

/* {"x": then n times open, closed again */
static char *nested(size_t n, char open, char shut)
{
    char *z = malloc(2 * n + 8);

    if (!z)
        abort();
    memcpy(z, "{\"x\":", 5);
    memset(z + 5, open, n);
    memset(z + 5 + n, shut, n);
    memcpy(z + 5 + 2 * n, "}", 2);
    return z;
}

static void test_json_depth_and_count(void)
{
    static const struct { size_t depth; int want; } rows[] = {{64, 0}, {65, -EBADMSG}, {10000, -EBADMSG}};
    struct command cmd;
    struct buf b = {0};
    char *f, *z;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        z = nested(rows[i].depth, '[', ']');
        is_int(decode_json(z, &cmd, &f), rows[i].want, "an unknown member nested %zu deep", rows[i].depth);
        free(z);
        free(f);
    }
    z = nested(10000, '{', '}');
    is_int(decode_json(z, &cmd, &f), -EBADMSG, "objects nested 10,000 deep");
    free(z);
    free(f);
    for (int n = COMMAND_EXT_MAX; n <= COMMAND_EXT_MAX + 1; n++) {
        buf_reset(&b);
        buf_puts(&b, "{\"extFields\":{");
        for (int i = 0; i < n; i++)
            buf_printf(&b, "%s\"k%d\":\"%d\"", i ? "," : "", i, i);
        buf_put(&b, "}}", 3);
        is_int(decode_json(b.p, &cmd, &f), n == COMMAND_EXT_MAX ? 0 : -EBADMSG, "%d ext fields", n);
        if (n == COMMAND_EXT_MAX)
            ok(ext_is(&cmd, "k63", "63"), "the last of them is there");
        free(f);
    }
    buf_free(&b);
}

static void sample(struct command *cmd, int serialize)
{
    memset(cmd, 0, sizeof(*cmd));
    cmd->code = 11;
    cmd->opaque = -5;
    cmd->flag = FLAG_RESPONSE;
    cmd->version = VERSION_V5_5_0;
    cmd->language = LANG_CPP;
    cmd->serialize = (uint8_t)serialize;
    cmd->remark = str_of("bad \"x\"\n");
    command_add(cmd, "topic", str_of("T\xE4\xB8\xAD"));
    command_add(cmd, "props", str_of("A\1b\2"));
    cmd->body = str_n("body\0with NUL", 13);
}

static void test_json_encode(void)
{
    static const char want[] =
        "{\"code\":11,\"extFields\":{\"topic\":\"T\xE4\xB8\xAD\",\"props\":\"A\\u0001b\\u0002\",\"n\":\"-42\"},\"flag\":1,"
        "\"language\":\"CPP\",\"opaque\":-5,\"remark\":\"bad \\\"x\\\"\\n\",\"serializeTypeCurrentRPC\":\"JSON\","
        "\"version\":513}";
    char scratch[21], *text;
    struct command cmd;
    struct buf out = {0};

    sample(&cmd, SERIALIZE_JSON);
    ok(command_add_i64(&cmd, "n", -42, scratch), "a number is added");
    ok(command_add(&cmd, "absent", (struct str){0}), "a field without a value is added");
    buf_puts(&out, "before");
    ok(command_encode(&out, &cmd, 100), "encoded");
    is_int(be32_get(out.p + 6), out.n - 10 + 100, "the length counts the bytes to come");
    is_int(be32_get(out.p + 10), sizeof(want) - 1, "JSON, and the header's length");
    text = str_dup(str_n(out.p + 14, sizeof(want) - 1));
    is_text(text, want, "members sorted by name, absent ones left out, texts escaped");
    ok(out.n == 14 + sizeof(want) - 1 + 13 && !memcmp(out.p + out.n - 13, cmd.body.p, 13), "then the body");
    free(text);

    memset(&cmd, 0, sizeof(cmd));
    buf_reset(&out);
    ok(command_encode(&out, &cmd, 0), "an empty command");
    buf_putc(&out, 0);
    is_text(out.p + 8, "{\"code\":0,\"flag\":0,\"language\":\"JAVA\",\"opaque\":0,"
            "\"serializeTypeCurrentRPC\":\"JSON\",\"version\":0}", "has neither remark nor extFields");

    buf_reset(&out);
    cmd.remark = str_of("\xFFok\xC3(\xED\xA0\x80\xF0\x9F\x98");
    ok(command_encode(&out, &cmd, 0), "a remark of broken UTF-8");
    buf_putc(&out, 0);
    ok(strstr(out.p + 8, "\"remark\":\"\uFFFDok\uFFFD(\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\""),
       "becomes replacement characters");
    buf_free(&out);
}

static void test_encode_limits(void)
{
    struct command cmd;
    struct buf out = {0};
    size_t big = 17 << 20;
    char *z = malloc(big);

    if (!z)
        abort();
    memset(z, 1, big);
    for (int serialize = 0; serialize < 2; serialize++) {
        sample(&cmd, serialize);
        buf_reset(&out);
        buf_puts(&out, "before");
        command_add(&cmd, "big", str_n(z, big));
        ok(!command_encode(&out, &cmd, 0) && out.n == 6 && !buf_failed(&out), "a header past 24 bits of length is refused");
        cmd.n_ext = 0;
        cmd.body = str_n(z, 10);
        ok(!command_encode(&out, &cmd, INT32_MAX - 20) && out.n == 6, "so is a frame past 31 bits");
        ok(!command_encode(&out, &cmd, SIZE_MAX) && out.n == 6, "also when its length would wrap");
        ok(command_encode(&out, &cmd, 1 << 30), "a smaller one is not");
    }
    /* escaping makes this one too long, not its own length */
    sample(&cmd, SERIALIZE_JSON);
    command_add(&cmd, "big", str_n(z, 4 << 20));
    buf_reset(&out);
    ok(!command_encode(&out, &cmd, 0) && out.n == 0, "a header that is too long once escaped is refused");
    sample(&cmd, SERIALIZE_JSON);
    while (cmd.n_ext < COMMAND_EXT_MAX)
        command_add(&cmd, "k", str_of("v"));
    ok(!command_add(&cmd, "k", str_of("v")), "one ext field more than fits is refused");
    buf_free(&out);
    out.failed = true;
    ok(!command_encode(&out, &cmd, 0), "a failed buffer stays failed");
    free(z);
}

static bool same(const struct command *a, const struct command *b)
{
    if (a->code != b->code || a->opaque != b->opaque || a->flag != b->flag || a->version != b->version ||
        a->language != b->language || a->n_ext != b->n_ext || !str_eq(a->remark, b->remark) || !str_eq(a->body, b->body))
        return false;
    for (unsigned i = 0; i < a->n_ext; i++) {
        if (!str_eq(a->ext[i].k, b->ext[i].k) || !str_eq(a->ext[i].v, b->ext[i].v))
            return false;
    }
    return true;
}

static void test_round_trip(void)
{
    static const struct { int serialize; int32_t code; int comes_as; } rows[] = {
        {SERIALIZE_JSON, 11, SERIALIZE_JSON},           {SERIALIZE_ROCKETMQ, 11, SERIALIZE_ROCKETMQ},
        {SERIALIZE_ROCKETMQ, 32767, SERIALIZE_ROCKETMQ}, {SERIALIZE_ROCKETMQ, -1000, SERIALIZE_ROCKETMQ},
        {SERIALIZE_ROCKETMQ, 32768, SERIALIZE_JSON},    {SERIALIZE_ROCKETMQ, 200050, SERIALIZE_JSON},
        {SERIALIZE_JSON, INT32_MIN, SERIALIZE_JSON},
    };
    struct command in, back;
    struct buf out = {0};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        sample(&in, rows[i].serialize);
        in.code = rows[i].code;
        buf_reset(&out);
        ok(command_encode(&out, &in, 0) && frame_length(out.p, out.n, FRAME_MAX) == (int64_t)out.n,
           "code %d, form %d is encoded", (int)in.code, in.serialize);
        is_int(command_decode(out.p, out.n, &back), 0, "and decoded");
        ok(same(&in, &back), "to the same");
        is_int(back.serialize, rows[i].comes_as, "in the form that can say it");
    }
    buf_free(&out);
}

static void test_binary(void)
{
    /* code 17, GO, version 317, opaque 1, flag 0, remark "r", ext {a: "b", c: "", "": "x", d: "e"} */
    static const char header[] =
        "\0\x11" "\x09" "\x01\x3D" "\0\0\0\1" "\0\0\0\0" "\0\0\0\1r"
        "\0\0\0\x1E" "\0\1a\0\0\0\1b" "\0\1c\0\0\0\0" "\0\0\0\0\0\1x" "\0\1d\0\0\0\1e";
    static const struct { size_t at; uint32_t word; const char *what; } lies[] = {
        {13, 0xFFFFFFFF, "a negative remark length"},  {13, 0x7FFFFFFF, "a huge remark length"},
        {13, 100, "a remark longer than the header"},  {18, 0xFFFFFFFF, "a negative map length"},
        {18, 31, "a map longer than the header"},      {18, 29, "a map that ends in a value"},
        {18, 0, "bytes after the map"},                {25, 0x7FFFFFFF, "a huge value length"},
        {25, 0xFFFFFFFF, "a negative value length"},   {22, 0xFFFF6100, "a key length of -1"},
        {22, 0x7FFF6100, "a huge key length"},
    };
    char bytes[sizeof(header)], *f;
    struct command cmd;
    size_t len, n = sizeof(header) - 1;

    f = frame_of(SERIALIZE_ROCKETMQ, str_n(header, n), str_of("B"), &len);
    is_int(command_decode(f, len, &cmd), 0, "a binary header is decoded");
    ok(cmd.code == 17 && cmd.language == LANG_GO && cmd.version == 317 && cmd.opaque == 1 && cmd.flag == 0 &&
       str_is(cmd.remark, "r") && str_is(cmd.body, "B"), "with all its parts");
    is_int(cmd.n_ext, 2, "empty keys and values are absent");
    ok(ext_is(&cmd, "a", "b") && ext_is(&cmd, "d", "e") && ext_is(&cmd, "c", NULL), "the others are there");
    free(f);
    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        memcpy(bytes, header, sizeof(header));
        be32_put(bytes + lies[i].at, lies[i].word);
        f = frame_of(SERIALIZE_ROCKETMQ, str_n(bytes, n), (struct str){0}, &len);
        is_int(command_decode(f, len, &cmd), -EBADMSG, "refused: %s", lies[i].what);
        ok(cmd.opaque == 1, "its opaque is still known");
        free(f);
    }
    memcpy(bytes, header, sizeof(header));
    bytes[2] = 99;
    f = frame_of(SERIALIZE_ROCKETMQ, str_n(bytes, n), (struct str){0}, &len);
    ok(command_decode(f, len, &cmd) == 0 && cmd.language == LANG_OTHER, "an unknown language is OTHER");
    free(f);
}

/* Every prefix of a good frame, with the outer lengths made to agree: the header must notice. */
static void test_truncated(void)
{
    struct command cmd;
    struct buf out = {0};
    int bad = 0, good = 0;

    for (int serialize = 0; serialize < 2; serialize++) {
        sample(&cmd, serialize);
        cmd.body = (struct str){0};
        buf_reset(&out);
        command_encode(&out, &cmd, 0);
        for (size_t n = 0; n < out.n - 8; n++) {
            size_t len;
            char *f = frame_of(serialize, str_n(out.p + 8, n), (struct str){0}, &len);
            if (command_decode(f, len, &cmd) == -EBADMSG)
                bad++;
            else
                good++;
            free(f);
        }
    }
    ok(bad > 100 && good == 0, "a header cut at any of its %d bytes is refused", bad);
    buf_free(&out);
}

static void test_lying_frame(void)
{
    static const struct { uint32_t total, head; size_t len; const char *what; } rows[] = {
        {4, 0, 7, "less than a frame"},             {5, 0, 8, "total past the bytes"},
        {3, 0, 8, "total below the bytes"},         {4, 1, 8, "header past the frame"},
        {4, 0xFFFFFF, 8, "a header of 16 MiB"},     {6, 0x02000002, 10, "serialization 2"},
        {6, 0xFF000002, 10, "serialization 255"},   {4, 0x01000000, 8, "an empty binary header"},
        {6, 1, 10, "a header cut by its length"},
    };
    struct command cmd;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char *f = malloc(rows[i].len), whole[10];
        if (!f)
            abort();
        be32_put(whole, rows[i].total);
        be32_put(whole + 4, rows[i].head);
        memcpy(whole + 8, "{}", 2);
        memcpy(f, whole, rows[i].len);
        is_int(command_decode(f, rows[i].len, &cmd), -EBADMSG, "refused: %s", rows[i].what);
        free(f);
    }
}

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Binary has no empty texts: they are absent there. */
static bool has_empty(const struct command *cmd)
{
    bool empty = cmd->remark.p && !cmd->remark.n;

    for (unsigned i = 0; i < cmd->n_ext; i++)
        empty |= !cmd->ext[i].k.n || !cmd->ext[i].v.n;
    return empty;
}

/* Good frames with some bytes changed: whatever is decoded lies within the
 * frame, and decodes again to the same after an encode. */
static void mutate(unsigned *seed, int serialize, int *decoded, bool *inside, bool *stable)
{
    static const char alphabet[] = "{}[]\",:'\\/*u0e-. \0\1\377\200nt";
    struct command cmd, back;
    struct buf good = {0}, again = {0};
    char *f;

    sample(&cmd, serialize);
    command_encode(&good, &cmd, 0);
    f = malloc(good.n);
    if (!f)
        abort();
    memcpy(f, good.p, good.n);
    for (int n = 1 + rand_r(seed) % 4; n > 0; n--)
        f[4 + (size_t)rand_r(seed) % (good.n - 4)] = alphabet[(size_t)rand_r(seed) % (sizeof(alphabet) - 1)];
    if (command_decode(f, good.n, &cmd) == 0) {
        ++*decoded;
        for (unsigned i = 0; i < cmd.n_ext; i++)
            *inside &= cmd.ext[i].k.p >= f && cmd.ext[i].v.p + cmd.ext[i].v.n <= f + good.n &&
                       cmd.ext[i].k.p + cmd.ext[i].k.n <= f + good.n;
        cmd.serialize = SERIALIZE_ROCKETMQ;     /* says invalid UTF-8 as it is */
        if (has_empty(&cmd) || !command_encode(&again, &cmd, 0))
            goto out;
        *stable &= again.p[4] == SERIALIZE_JSON ||
                   (command_decode(again.p, again.n, &back) == 0 && same(&cmd, &back));
    }
out:
    free(f);
    buf_free(&good);
    buf_free(&again);
}

static void test_fuzz(void)
{
    unsigned seed = (unsigned)time(NULL);
    int64_t end = now_ms() + FUZZ_MS;
    bool inside = true, stable = true;
    int rounds = 0, decoded = 0;

    printf("# seed %u\n", seed);
    for (; rounds < 200000 && now_ms() < end; rounds++)
        mutate(&seed, rounds % 2, &decoded, &inside, &stable);
    ok(decoded > 0 && decoded < rounds, "%d changed frames: %d decoded", rounds, decoded);
    ok(inside, "what they say lies within them");
    ok(stable, "and is the same after another round");
}

static void test_names(void)
{
    static const struct { int ordinal; const char *name; } rows[] = {
        {513, "V5_5_0"}, {512, "V5_5_0_SNAPSHOT"}, {479, "V5_3_3"}, {413, "V5_0_0"}, {409, "V4_9_8"},
        {401, "V4_9_4"}, {393, "V4_9_0"}, {273, "V4_3_0"}, {213, "V4_0_0"}, {212, "V4_0_0_SNAPSHOT"},
        {211, "V3_9_9"}, {105, "V3_4_1"}, {87, "V3_3_1"}, {85, "V3_2_9"}, {79, "V3_2_6"}, {63, "V3_1_8"},
        {47, "V3_1_0"}, {45, "V3_0_15"}, {37, "V3_0_11"}, {17, "V3_0_1"}, {16, "V3_0_1_SNAPSHOT"},
        {15, "V?15"}, {0, "V?0"}, {-1, "V?-1"}, {611, "V5_9_9"}, {612, "HIGHER_VERSION"}, {INT16_MAX, "HIGHER_VERSION"},
        {INT32_MIN, "V?-2147483648"},
    };
    char out[24];

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        is_text(version_name(rows[i].ordinal, out), rows[i].name, "version %d", rows[i].ordinal);
    is_text(response_code_name(RC_NO_PERMISSION), "NO_PERMISSION", "a response code has its name");
    is_text(response_code_name(12345), "UNKNOWN", "an unknown one has none");
    is_text(language_name(LANG_NODE_JS), "NODE_JS", "a language has its name");
    is_text(language_name(14), "OTHER", "an unknown one is OTHER");
    is_text(language_name(-1), "OTHER", "so is a negative one");
}

int main(void)
{
    test_frame_length();
    test_java_send();
    test_json_shapes();
    test_json_broken();
    test_json_depth_and_count();
    test_json_encode();
    test_encode_limits();
    test_round_trip();
    test_binary();
    test_truncated();
    test_lying_frame();
    test_names();
    test_fuzz();
    return tap_done();
}
