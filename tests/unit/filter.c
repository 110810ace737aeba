/* Tag filters from subscription expressions: R-FILT-01, R-FILT-02. */
#include "broker/filter.h"

#include "common/codes.h"
#include "tests/unit/tap.h"

static bool passes(const char *expression, const char *tag)
{
    struct tag_filter f;
    struct fault fault;

    if (tag_filter_parse(&f, str_of(expression), &fault))
        return false;
    return tag_filter_wants(&f, tag ? str_java_hash(str_of(tag)) : 0);
}

static int refused(struct str expression)
{
    struct tag_filter f;
    struct fault fault = {0};

    return tag_filter_parse(&f, expression, &fault) ? fault.rc : 0;
}

static const struct {
    const char *expression, *tag;
    bool want;
} rows[] = {
    {"*", "A", true},
    {"*", NULL, true},
    {"", "A", true},
    {"A", "A", true},
    {"A", "B", false},
    {"A", NULL, false},
    {"A||B", "B", true},
    {"A || B", "A", true},
    {"A || B", "B", true},
    {" A \t||\t B ", "A", true},
    {"A || B", "C", false},
    {"A || B", "A ", false},
    {"A|B", "A|B", true},               /* one bar does not part */
    {"A|B", "A", false},
    {"|||", "|", true},                 /* "" and "|" */
    {"A||", "A", true},
    {"||A", "A", true},
    {"||||A||||", "A", true},
    {" || ", "A", false},               /* wants nothing */
    {" || ", NULL, false},
    {"* || A", "B", false},             /* a star among tags is a tag */
    {"\xc3\xa4 || \xe6\xa0\x87", "\xe6\xa0\x87", true},
};

static void many_tags(void)
{
    struct buf b = {0};
    struct tag_filter f;
    char tag[16];
    int found = 0;

    for (int i = 0; i < FILTER_TAGS_MAX; i++) {
        buf_printf(&b, "%stag%d", i ? "||" : "", i);
    }
    is_int(tag_filter_parse(&f, buf_str(&b), NULL), 0, "%d tags are taken", FILTER_TAGS_MAX);
    for (int i = 0; i < FILTER_TAGS_MAX; i++) {
        snprintf(tag, sizeof(tag), "tag%d", i);
        found += tag_filter_wants(&f, str_java_hash(str_of(tag)));
    }
    is_int(found, FILTER_TAGS_MAX, "each of them passes");
    ok(!tag_filter_wants(&f, str_java_hash(str_of("tag"))), "another does not");
    buf_puts(&b, "||one more");
    is_int(refused(buf_str(&b)), RC_SUBSCRIPTION_PARSE_FAILED, "one more is refused");
    buf_free(&b);
}

/* What a subscription leaves of tags when a binding comes on top. */
static void narrowed(const char *by, const char *expression, const char *yes, const char *no)
{
    struct tag_filter f, over;

    tag_filter_parse(&f, str_of(expression), NULL);
    tag_filter_parse(&over, str_of(by), NULL);
    tag_filter_narrow(&f, &over);
    ok((!yes || tag_filter_wants(&f, str_java_hash(str_of(yes)))) && !tag_filter_wants(&f, str_java_hash(str_of(no))) &&
       (f.all || !tag_filter_wants(&f, 0)), "\"%s\" under \"%s\" takes %s, not %s", expression, by, yes ? yes : "nothing", no);
}

int main(void)
{
    struct tag_filter f;

    narrowed("A || B", "*", "B", "C");
    narrowed("A || B", "A || C", "A", "C");
    narrowed("A || B", "A || C", "A", "B");
    narrowed("A || B", "C || D", NULL, "C");
    narrowed("A", " || ", NULL, "A");
    narrowed("*", "A || C", "C", "B");
    tag_filter_parse(&f, str_of("*"), NULL);
    tag_filter_narrow(&f, &f);
    ok(f.all, "all under all is all");

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        ok(passes(rows[i].expression, rows[i].tag) == rows[i].want, "\"%s\" %s tag %s", rows[i].expression,
           rows[i].want ? "takes" : "leaves", rows[i].tag ? rows[i].tag : "(none)");
    is_int(refused(str_of("||")), RC_SUBSCRIPTION_PARSE_FAILED, "bars alone are refused");
    is_int(refused(str_of("||||")), RC_SUBSCRIPTION_PARSE_FAILED, "more bars alone too");
    is_int(refused(str_n("A\0B", 3)), 0, "a NUL is a character like others");
    many_tags();

    tag_filter_parse(&f, str_of("B||A||B||A"), NULL);
    is_int(f.n, 2, "a tag that is named twice counts once");
    ok(tag_filter_wants(&f, (int64_t)0x7700000000 | 'A'), "only the low 32 bits of a code count");
    ok(!tag_filter_wants(&f, 0x7700000000), "... all of them");
    ok(expression_is_tag(str_of("TAG")) && expression_is_tag(str_of("")) && expression_is_tag((struct str){0}),
       "TAG, empty and absent are tag expressions");
    ok(!expression_is_tag(str_of("SQL92")) && !expression_is_tag(str_of("tag")), "SQL92 and others are not");
    return tap_done();
}
