/* Quoted JSON texts: what the header codec, the JSON reader and the JSON writer
 * share. Nothing here allocates except json_quote, through its buf. */
#ifndef COMMON_JSON_TEXT_H
#define COMMON_JSON_TEXT_H

#include "common/buf.h"
#include "common/scan.h"

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

/* The same for where most texts have double quotes and no escapes. */
static inline char *json_unquote_plain(char *p, char *end, struct str *out)
{
    char *special = *p == '"' ? p + 1 + (scan_either(p + 1, end, '"', '\\') - (p + 1)) : end;

    if (special == end || *special != '"')
        return json_unquote(p, end, out);
    *out = str_n(p + 1, (size_t)(special - p - 1));
    return special + 1;
}

/* Writes s escaped, without quotes, to dst, which has JSON_ESCAPED_MAX(s.n)
 * bytes; the end of what was written. Control characters, quote and backslash
 * are escaped, non-ASCII is left raw, each byte of invalid UTF-8 becomes U+FFFD. */
char *json_escape_to(char *dst, struct str s);

/* Bytes of the well-formed UTF-8 sequence at p (first byte not ASCII), or 0. */
size_t utf8_length(const unsigned char *p, size_t left);

/* Appends s with quotes around. */
void json_quote(struct buf *out, struct str s);

#endif
