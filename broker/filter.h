/* Tag filters: which messages a subscription expression wants, by the tag codes
 * that consume queues keep. The client compares the tags' texts again.
 * Source: Apache FilterAPI, ExpressionType, ExpressionMessageFilter (5.5.0). */
#ifndef BROKER_FILTER_H
#define BROKER_FILTER_H

#include "common/buf.h"
#include "common/fault.h"

#define FILTER_TAGS_MAX 512         /* tags that one expression may name */

struct tag_filter {
    bool all;                       /* "*" or empty: every message */
    int n;
    int32_t codes[FILTER_TAGS_MAX]; /* ascending, each once */
};

/* "*", "" or "A || B". 0, or -EINVAL with SUBSCRIPTION_PARSE_FAILED in fault. An expression of blanks
 * between bars is a filter that nothing passes, as in Apache. */
int tag_filter_parse(struct tag_filter *filter, struct str expression, struct fault *fault);

/* Is a queue entry's tag code among codes[n]? Only the low 32 bits count. */
bool tag_codes_hold(const int32_t *codes, int n, int64_t tags_code);

/* Keeps of filter what `by` lets through, too: what both name, by code (two tags with one code are one here). */
void tag_filter_narrow(struct tag_filter *filter, const struct tag_filter *by);

/* The same for a whole filter, in the form store_get takes (struct store_filter.by_tags_code). */
bool tag_filter_wants(void *filter, int64_t tags_code);

/* Is an expression type that of tag filters? Absent and empty are. */
bool expression_is_tag(struct str type);

#endif
