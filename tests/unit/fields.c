/* Typed header fields: every type, defaults, what is required, bad values. */
#include "common/remoting/command.h"

#include <errno.h>
#include <time.h>

#include "tests/unit/tap.h"

struct header {
    struct str topic, group;
    int32_t queue, level;
    int64_t offset, timeout;
    bool oneway, batch;
    char guard;
};

static const struct field rows[] = {
    {"topic", FIELD_STR, offsetof(struct header, topic), true, NULL},
    {"group", FIELD_STR, offsetof(struct header, group), false, "DEFAULT"},
    {"queueId", FIELD_I32, offsetof(struct header, queue), true, NULL},
    {"level", FIELD_I32, offsetof(struct header, level), false, NULL},
    {"offset", FIELD_I64, offsetof(struct header, offset), false, NULL},
    {"timeout", FIELD_I64, offsetof(struct header, timeout), false, "15000"},
    {"oneway", FIELD_BOOL, offsetof(struct header, oneway), false, NULL},
    {"batch", FIELD_BOOL, offsetof(struct header, batch), false, "true"},
};

static struct command command_of(size_t n, const struct ext *ext)
{
    struct command cmd = {0};

    for (size_t i = 0; i < n; i++)
        cmd.ext[cmd.n_ext++] = ext[i];
    return cmd;
}

#define S(z) {(z), sizeof(z) - 1}
#define COMMAND(...) command_of(sizeof((struct ext[]){__VA_ARGS__}) / sizeof(struct ext), (struct ext[]){__VA_ARGS__})

static void test_all(void)
{
    struct command cmd = COMMAND({S("topic"), S("T")}, {S("group"), S("")}, {S("queueId"), S("-3")},
                                 {S("level"), S("+7")}, {S("offset"), S("9223372036854775807")},
                                 {S("timeout"), S("-9223372036854775808")}, {S("oneway"), S("TrUe")}, {S("batch"), S("1")});
    struct header h;
    struct fault f;

    memset(&h, 0x55, sizeof(h));
    is_int(FIELDS_DECODE(rows, &cmd, &h, &f), 0, "a header with every field");
    ok(str_is(h.topic, "T"), "text");
    ok(h.group.p && !h.group.n, "an empty text is there, not absent");
    ok(h.queue == -3 && h.level == 7, "numbers of 32 bits");
    ok(h.offset == INT64_MAX && h.timeout == INT64_MIN, "numbers of 64 bits");
    ok(h.oneway && !h.batch, "booleans: true in any case, all else is false");
    is_int(h.guard, 0, "the rest of the struct is zeroed");
}

static void test_defaults(void)
{
    struct command cmd = COMMAND({S("queueId"), S("1")}, {S("topic"), S("T")});
    struct header h;
    struct fault f;

    is_int(FIELDS_DECODE(rows, &cmd, &h, &f), 0, "only what is required, in another order");
    ok(str_is(h.group, "DEFAULT") && h.timeout == 15000 && h.batch, "defaults are set");
    ok(h.level == 0 && h.offset == 0 && !h.oneway, "fields without one are zero");
    cmd = COMMAND({S("a"), S("x")}, {S("queueId"), S("1")}, {S("TOPIC"), S("no")}, {S("topic"), S("T")},
                  {S("topi"), S("no")}, {S("topics"), S("no")}, {S(""), S("no")}, {S("topic\0x"), S("no")},
                  {S("queueId"), S("2")}, {S("\xC3\xA9"), S("\xFF")});
    is_int(FIELDS_DECODE(rows, &cmd, &h, &f), 0, "unknown names are ignored, near ones too");
    ok(str_is(h.topic, "T") && h.queue == 2, "the last of two with one name counts");
}

static void test_required(void)
{
    struct command cmd = COMMAND({S("topic"), S("T")});
    struct header h;
    struct fault f = {0};

    is_int(FIELDS_DECODE(rows, &cmd, &h, &f), -EINVAL, "a required field is absent");
    is_int(f.rc, RC_INVALID_PARAMETER, "that is an invalid parameter");
    ok(strstr(f.text, "queueId") && strstr(f.text, "missing"), "the sentence names it: %s", f.text);
    cmd.n_ext = 0;
    is_int(FIELDS_DECODE(rows, &cmd, &h, NULL), -EINVAL, "no ext fields at all, and nobody who wants to know why");
}

static void test_bad_numbers(void)
{
    static const struct str bad[] = {
        S(""), S(" 1"), S("1 "), S("\t1"), S("1\n"), S("x"), S("1x"), S("1.0"), S("1e3"), S("0x10"), S("-"), S("+"), S("--1"),
        S("+-1"), S("1\0"), S("\0" "1"), S("NaN"), S("null"), S("true"), S("99999999999999999999"), S("\xEF\xBC\x91"),
    };
    static const struct str only64[] = {S("2147483648"), S("-2147483649"), S("9223372036854775807")};
    static const struct str neither[] = {S("9223372036854775808"), S("-9223372036854775809")};
    struct header h;
    struct fault f;
    struct command cmd;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cmd = COMMAND({S("topic"), S("T")}, {S("queueId"), bad[i]});
        is_int(FIELDS_DECODE(rows, &cmd, &h, &f), -EINVAL, "not a number, row %zu", i);
        ok(strstr(f.text, "queueId") && f.rc == RC_INVALID_PARAMETER, "the sentence names the field");
        cmd = COMMAND({S("topic"), S("T")}, {S("queueId"), S("0")}, {S("offset"), bad[i]});
        is_int(FIELDS_DECODE(rows, &cmd, &h, &f), -EINVAL, "nor one of 64 bits");
    }
    for (size_t i = 0; i < sizeof(only64) / sizeof(only64[0]); i++) {
        cmd = COMMAND({S("topic"), S("T")}, {S("queueId"), only64[i]});
        is_int(FIELDS_DECODE(rows, &cmd, &h, &f), -EINVAL, "past 32 bits, row %zu", i);
        cmd = COMMAND({S("topic"), S("T")}, {S("queueId"), S("0")}, {S("offset"), only64[i]});
        is_int(FIELDS_DECODE(rows, &cmd, &h, &f), 0, "but not past 64");
    }
    for (size_t i = 0; i < sizeof(neither) / sizeof(neither[0]); i++) {
        cmd = COMMAND({S("topic"), S("T")}, {S("queueId"), S("0")}, {S("offset"), neither[i]});
        is_int(FIELDS_DECODE(rows, &cmd, &h, &f), -EINVAL, "past 64 bits, row %zu", i);
    }
    cmd = COMMAND({S("topic"), S("T")}, {S("queueId"), {NULL, 0}});
    is_int(FIELDS_DECODE(rows, &cmd, &h, &f), -EINVAL, "a NULL value is not a number");
    cmd = COMMAND({S("topic"), S("T")}, {S("queueId"), S("0")}, {S("oneway"), {NULL, 0}});
    ok(FIELDS_DECODE(rows, &cmd, &h, &f) == 0 && !h.oneway, "and not true");
}

/* Digits are read eight at a time: each length, and something else at each place. */
static void test_long_numbers(void)
{
    static const char others[] = "/:-+ a\0\xB1";
    int wrong = 0;

    for (int n = 1; n <= 19; n++) {
        char text[24];
        int64_t v, want = 0;

        for (int i = 0; i < n; i++) {
            text[i] = (char)('1' + (i * 7 + n) % 9);
            if (n < 19)
                want = want * 10 + (text[i] - '0');
        }
        if (n == 19)
            memcpy(text, "9223372036854775807", 19), want = INT64_MAX;
        wrong += str_i64_strict(str_n(text, (size_t)n), &v) != 0 || v != want;
        for (int i = 0; i < n; i++)
            for (size_t k = 0; k < sizeof(others); k++) {
                char was = text[i];
                text[i] = others[k];
                if (i || n == 1 || (others[k] != '-' && others[k] != '+'))
                    wrong += str_i64_strict(str_n(text, (size_t)n), &v) == 0;
                text[i] = was;
            }
    }
    is_int(wrong, 0, "numbers of 1 to 19 digits are read, and those with anything else among them are not");
}

/* Names and values of random bytes and lengths: never a crash, and the answer
 * agrees with what was given. */
static void test_fuzz(void)
{
    static const char bytes[] = "topicgrueIdlvfsmnwyb0123456789-+ \0\377";
    unsigned seed = (unsigned)time(NULL);
    int good = 0, wrong = 0;

    printf("# seed %u\n", seed);
    for (int round = 0; round < 50000; round++) {
        struct command cmd = COMMAND({S("topic"), S("T")}, {S("queueId"), S("5")});
        char text[8][12];
        struct header h;
        struct fault f;

        for (unsigned i = 0; i < 4; i++) {
            struct ext e = {{text[2 * i], (size_t)rand_r(&seed) % 10}, {text[2 * i + 1], (size_t)rand_r(&seed) % 12}};
            for (size_t k = 0; k < sizeof(text[0]); k++) {
                text[2 * i][k] = bytes[(size_t)rand_r(&seed) % (sizeof(bytes) - 1)];
                text[2 * i + 1][k] = bytes[(size_t)rand_r(&seed) % (sizeof(bytes) - 1)];
            }
            if (rand_r(&seed) % 4 == 0)
                e.k = str_of(rows[rand_r(&seed) % 8].name);
            cmd.ext[cmd.n_ext++] = e;
        }
        if (FIELDS_DECODE(rows, &cmd, &h, &f) == 0) {
            good++;
            wrong += !str_eq(h.topic, command_ext(&cmd, "topic"));
        } else {
            wrong += f.rc != RC_INVALID_PARAMETER || !f.text[0];
        }
    }
    ok(good > 0 && good < 50000, "of 50,000 random headers %d are right", good);
    is_int(wrong, 0, "and each answer agrees with what was given");
}

int main(void)
{
    test_all();
    test_defaults();
    test_required();
    test_bad_numbers();
    test_long_numbers();
    test_fuzz();
    return tap_done();
}
