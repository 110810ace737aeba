/* Names for texts from outside: one name for each text, one text for each name. */
#include "fs/escape.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include "tests/unit/tap.h"

static char name[TREE_NAME_MAX + 1];

static const char *name_of(const char *text)
{
    name_escape(str_of(text), 0, name);
    return name;
}

/* The text of a name, or the error. */
static const char *text_of(const char *of)
{
    static char text[512];
    struct buf b = {0};
    int rc = name_unescape(str_of(of), &b);

    if (rc == -ENOENT)
        strcpy(text, "no text");
    else if (rc || b.n >= sizeof text)
        strcpy(text, "?");
    else
        str_copy(text, sizeof text, buf_str(&b));
    buf_free(&b);
    return text;
}

static void test_as_written(void)
{
    static const struct { const char *text, *name; } same[] = {
        {"ORDER-1", "ORDER-1"}, {"50%", "50%"}, {"%RETRY%g1", "%RETRY%g1"}, {"%2f", "%2f"}, {"%ZZ", "%ZZ"},
        {"a/b", "a%2Fb"}, {"/", "%2F"}, {".", "%2E"}, {"..", "%2E."}, {"...", "..."}, {".x", ".x"},
        {"%2F", "%252F"}, {"%25", "%2525"}, {"%~", "%25~"}, {"%/", "%%2F"}, {"%2/", "%2%2F"}, {"%%41", "%%2541"},
        {"a\nb", "a%0Ab"}, {"\x7f", "%7F"}, {"\x01", "%01"}, {"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"},
    };

    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        is_text(name_of(same[i].text), same[i].name, "name of number %zu", i);
        is_text(text_of(same[i].name), same[i].text, "... and its text");
    }
    is_text(text_of("%41"), "no text", "what need not be escaped has one name only");
    is_text(text_of("%2E%2E"), "no text", "... dots too");
}

static void test_long(void)
{
    char text[1001], other[TREE_NAME_MAX + 1];
    uint64_t mark;

    memset(text, 'x', 1000);
    text[255] = 0;
    is_text(name_of(text), text, "255 bytes are a name");
    text[255] = 'x';
    text[256] = 0;
    name_escape(str_of(text), UINT64_C(0x0123456789ABCDEF), name);
    ok(strlen(name) == 255 && strcmp(name + 237, "%~0123456789ABCDEF") == 0, "256 are cut, with a mark");
    ok(name_is_cut(str_of(name), &mark) && mark == UINT64_C(0x0123456789ABCDEF), "... that can be read");
    is_text(text_of(name), "no text", "... and have no text");
    ok(name_is_of(str_of(name), str_of(text), mark), "... but can be told");
    ok(!name_is_of(str_of(name), str_of(text), mark + 1), "... by the mark");
    text[300] = 'x';
    text[301] = 0;
    name_escape(str_of(text), 1, other);
    ok(strcmp(name, other) != 0, "another long one is called otherwise");
    text[1000] = 0;
    for (int i = 0; i < 1000; i++)
        text[i] = "\xe2\x82\xac"[i % 3];
    name_escape(str_of(text), 1, name);
    ok(strlen(name) == 237 + 18 && (unsigned char)name[236] == 0xac, "the cut is between characters");
    memset(text, '/', 90);
    text[90] = 0;
    is_text(name_of("x") , "x", "a short one again");
    name_escape(str_of(text), 7, name);
    ok(name_is_cut(str_of(name), &mark) && mark == 7 && strncmp(name + 231, "%2F%2F", 6) == 0, "... and not in an escape");
    ok(!name_is_cut(str_of("%~0123456789abcdef"), &mark) && !name_is_cut(str_of("~0123456789ABCDEF"), &mark) &&
       !name_is_cut(str_of(""), &mark), "what is no mark");
}

/* Texts of few different bytes, so that they hit the rules often. */
static void test_random(void)
{
    static const char bytes[] = "%%%22FF5E.~/a\n\xc3";
    unsigned seed = (unsigned)getpid(), wrong = 0;
    char text[200];

    for (int i = 0; i < 200000 && !wrong; i++) {
        size_t n = 1 + (size_t)rand_r(&seed) % 12;
        struct buf b = {0};

        for (size_t k = 0; k < n; k++)
            text[k] = bytes[(size_t)rand_r(&seed) % (sizeof bytes - 1)];
        name_escape(str_n(text, n), 0, name);
        if (name_unescape(str_of(name), &b) || !str_eq(buf_str(&b), str_n(text, n)) || strpbrk(name, "/\n"))
            wrong++;
        buf_reset(&b);
        /* Any name has one text at most, and that has this name. */
        if (name_unescape(str_n(text, n), &b) == 0 && !name_is_of(str_n(text, n), buf_str(&b), 0))
            wrong++;
        buf_free(&b);
    }
    ok(!wrong, "200,000 texts and their names (seed %u)", (unsigned)getpid());
}

int main(void)
{
    test_as_written();
    test_long();
    test_random();
    return tap_done();
}
