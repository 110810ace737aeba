#include "broker/filter.h"

#include <errno.h>
#include <stdlib.h>

#include "common/codes.h"

/* String.trim: everything up to the blank goes, control characters too. */
static struct str trim(struct str s)
{
    while (s.n && (unsigned char)s.p[0] <= ' ')
        s.p++, s.n--;
    while (s.n && (unsigned char)s.p[s.n - 1] <= ' ')
        s.n--;
    return s;
}

/* Takes the text up to the next "||", or all of it, off rest. */
static struct str next_piece(struct str *rest)
{
    struct str piece = *rest;

    for (size_t i = 0; i + 1 < rest->n; i++) {
        if (rest->p[i] == '|' && rest->p[i + 1] == '|') {
            piece.n = i;
            rest->p += i + 2;
            rest->n -= i + 2;
            return piece;
        }
    }
    rest->n = 0;
    return piece;
}

static int by_value(const void *a, const void *b)
{
    int32_t x, y;

    memcpy(&x, a, sizeof(x));
    memcpy(&y, b, sizeof(y));
    return (x > y) - (x < y);
}

static void sort_codes(struct tag_filter *filter)
{
    int kept = 0;

    qsort(filter->codes, (size_t)filter->n, sizeof(filter->codes[0]), by_value);
    for (int i = 0; i < filter->n; i++)
        if (kept == 0 || filter->codes[kept - 1] != filter->codes[i])
            filter->codes[kept++] = filter->codes[i];
    filter->n = kept;
}

int tag_filter_parse(struct tag_filter *filter, struct str expression, struct fault *fault)
{
    struct str rest = expression;
    bool text = false;                   /* anything between the bars */

    filter->n = 0;
    filter->all = expression.n == 0 || str_is(expression, "*");
    if (filter->all)
        return 0;
    while (rest.n) {
        struct str piece = next_piece(&rest), tag = trim(piece);

        text |= piece.n > 0;
        if (!tag.n)
            continue;
        if (filter->n == FILTER_TAGS_MAX)
            return fault_set(fault, RC_SUBSCRIPTION_PARSE_FAILED, EINVAL,
                             "a subscription may name %d tags, this one names more", FILTER_TAGS_MAX);
        filter->codes[filter->n++] = str_java_hash(tag);
    }
    if (!text)
        return fault_set(fault, RC_SUBSCRIPTION_PARSE_FAILED, EINVAL,
                         "the subscription has no tag: write * or TagA || TagB");
    sort_codes(filter);
    return 0;
}

#define LINEAR_MAX 8                     /* up to here looking at all is quicker than bisecting */

bool tag_codes_hold(const int32_t *codes, int n, int64_t tags_code)
{
    int32_t code = (int32_t)tags_code;

    if (n > LINEAR_MAX)
        return bsearch(&code, codes, (size_t)n, sizeof(code), by_value) != NULL;
    for (int i = 0; i < n; i++)
        if (codes[i] == code)
            return true;
    return false;
}

void tag_filter_narrow(struct tag_filter *filter, const struct tag_filter *by)
{
    int kept = 0;

    if (by->all)
        return;
    if (filter->all) {
        filter->all = false;
        filter->n = by->n;
        memcpy(filter->codes, by->codes, (size_t)by->n * sizeof(by->codes[0]));
        return;
    }
    for (int i = 0; i < filter->n; i++)
        if (tag_codes_hold(by->codes, by->n, filter->codes[i]))
            filter->codes[kept++] = filter->codes[i];
    filter->n = kept;
}

bool tag_filter_wants(void *filter, int64_t tags_code)
{
    const struct tag_filter *f = filter;

    return f->all || tag_codes_hold(f->codes, f->n, tags_code);
}

bool expression_is_tag(struct str type) { return type.n == 0 || str_is(type, "TAG"); }
