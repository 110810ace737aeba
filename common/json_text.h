/* Quoted JSON texts: what the header codec, the JSON reader and the JSON writer
 * share. Nothing here allocates except json_quote, through its buf. */
#ifndef COMMON_JSON_TEXT_H
#define COMMON_JSON_TEXT_H

#include "common/buf.h"

/* The most bytes json_escape_to makes of n bytes: \u001f for one. */
#define JSON_ESCAPED_MAX(n) (6 * (n))

static inline bool json_is_blank(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t' || c == '\f' || c == '\b';
}

/* Past blanks and comments (double slash to the end of the line, slash-star);
 * NULL when a comment does not end or a slash stands alone. */
char *json_skip_blanks(char *p, const char *end);

/* p is at an opening quote, double or single. Unescapes in place; *out are the
 * bytes between the quotes, the result is just past the closing one. NULL when
 * the text does not end or has a bad escape. A lone surrogate becomes U+FFFD;
 * raw control characters are taken as they are, as Fastjson takes them. */
char *json_unquote(char *p, char *end, struct str *out);

/* Writes s escaped, without quotes, to dst, which has JSON_ESCAPED_MAX(s.n)
 * bytes; the end of what was written. Control characters, quote and backslash
 * are escaped, non-ASCII is left raw, each byte of invalid UTF-8 becomes U+FFFD. */
char *json_escape_to(char *dst, struct str s);

/* Appends s with quotes around. */
void json_quote(struct buf *out, struct str s);

#endif
