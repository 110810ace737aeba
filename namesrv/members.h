/* Walks the members of a JSON object, or the elements of an array, in place:
 * no tree, no allocation, any size. For registrations of 100,000 topics, whose
 * tree would be some 100 MB. Values are slices of the text, checked only as far
 * as quotes and brackets go; whoever uses one parses it (json_parse) or reads it
 * with token_*. Private to namesrv/. */
#ifndef NAMESRV_MEMBERS_H
#define NAMESRV_MEMBERS_H

#include "common/arena.h"

struct members {
    const char *p, *end;
    char close;              /* '}' or ']' */
    bool first;
};

/* text must be one object ('{') or array ('['). 0 or -EBADMSG. */
int members_open(struct members *m, struct str text, char open);
/* 1: the next one (key is empty in arrays, a raw token in objects); 0: the end, with only blanks after it; -EBADMSG. */
int members_next(struct members *m, struct str *key, struct str *value);

/* What a raw token says. Texts without escapes point into the token, others are made in a. 0, -EBADMSG or -ENOMEM;
 * null gives an empty slice with p NULL. */
int token_str(struct arena *a, struct str token, struct str *out);
/* Numbers as Fastjson reads them: 6, "6", 6.0. null leaves *out as it is. 0 or -EBADMSG. */
int token_i64(struct str token, int64_t *out);
int token_i32(struct str token, int32_t *out);
static inline bool token_null(struct str t) { return t.n == 4 && memcmp(t.p, "null", 4) == 0; }
/* Whether a key token is this name. Names with escapes match nothing: Apache writes none. */
bool token_is(struct str key, const char *name);

#endif
