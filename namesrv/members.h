/* Walks the members of a JSON object, or the elements of an array, in place:
 * no tree, no allocation, any size. For registrations of 100,000 topics, whose
 * tree would be some 100 MB. Values are slices of the text, checked only as far
 * as quotes and brackets go; whoever uses one parses it (json_parse) or reads it
 * with token_*. Private to namesrv/. */
#ifndef NAMESRV_MEMBERS_H
#define NAMESRV_MEMBERS_H

#include "common/arena.h"

/* Calls each for all members of one object ('{') or array ('['), until one call gives -errno; key is empty in arrays, a
 * raw token in objects. 0, that -errno, or -EBADMSG. */
int members_each(struct str text, char open, int (*each)(void *arg, struct str key, struct str value), void *arg);

/* What a raw token says. Texts without escapes point into the token, others are made in a. 0, -EBADMSG or -ENOMEM;
 * null gives an empty slice with p NULL. */
int token_str(struct arena *a, struct str token, struct str *out);
static inline bool token_null(struct str t) { return t.n == 4 && memcmp(t.p, "null", 4) == 0; }
/* Whether a key token is this name. Names with escapes match nothing: Apache writes none. */
bool token_is(struct str key, const char *name);

/* A member that is wanted, and where in a struct it goes. */
enum token_type {
    TOKEN_STR,               /* struct str, as token_str */
    TOKEN_I32,               /* int32_t */
    TOKEN_I64,               /* int64_t */
    TOKEN_BOOL,              /* bool */
    TOKEN_RAW,               /* struct str: the value as it stands; null leaves it as it is */
};
struct member_row {
    const char *name;
    enum token_type type;
    size_t at;
};
/* Reads an object's members into *to by rows; what no row names is passed over, what is absent stays as it is.
 * Texts are in a or point into the object. 0, -EBADMSG or -ENOMEM. */
int members_decode(struct arena *a, struct str object, const struct member_row *rows, size_t n, void *to);
#define MEMBERS_DECODE(a, object, rows, to) members_decode(a, object, rows, sizeof(rows) / sizeof((rows)[0]), to)

#endif
