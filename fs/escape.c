#include "fs/escape.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#define MARK_BYTES 18                /* "%~" and the digits */

static bool is_hex(char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F'); }
static unsigned hex(char c) { return (unsigned)(c <= '9' ? c - '0' : c - 'A' + 10); }

/* Does "%.." at s say something to us? */
static bool speaks(const char *s, size_t n)
{
    return (n >= 3 && is_hex(s[1]) && is_hex(s[2])) || (n >= 2 && s[1] == '~');
}

static bool needs_escape(struct str text, size_t i)
{
    unsigned char c = (unsigned char)text.p[i];

    return c < ' ' || c == 0x7f || c == '/' || (c == '%' && speaks(text.p + i, text.n - i)) ||
           (i == 0 && (str_is(text, ".") || str_is(text, "..")));
}

/* Not in the midst of a character. */
static bool may_cut_before(char c) { return ((unsigned char)c & 0xC0) != 0x80; }

void name_escape(struct str text, uint64_t mark, char out[TREE_NAME_MAX + 1])
{
    static const char digits[] = "0123456789ABCDEF";
    size_t n = 0, cut = 0;

    for (size_t i = 0; i < text.n; i++) {
        bool escape = needs_escape(text, i);

        if (n <= TREE_NAME_MAX - MARK_BYTES && may_cut_before(text.p[i]))
            cut = n;
        if (n + (escape ? 3 : 1) > TREE_NAME_MAX) {
            snprintf(out + cut, MARK_BYTES + 1, "%%~%016" PRIX64, mark);
            return;
        }
        if (escape) {
            out[n++] = '%';
            out[n++] = digits[(unsigned char)text.p[i] >> 4];
            out[n++] = digits[(unsigned char)text.p[i] & 15];
        } else {
            out[n++] = text.p[i];
        }
    }
    out[n] = 0;
}

bool name_is_cut(struct str name, uint64_t *mark)
{
    const char *p = name.p + name.n - MARK_BYTES;

    *mark = 0;
    if (name.n < MARK_BYTES || p[0] != '%' || p[1] != '~')
        return false;
    for (int i = 2; i < MARK_BYTES; i++) {
        if (!is_hex(p[i]))
            return false;
        *mark = *mark << 4 | hex(p[i]);
    }
    return true;
}

bool name_is_of(struct str name, struct str text, uint64_t mark)
{
    char own[TREE_NAME_MAX + 1];

    if (!text.n)
        return false;
    name_escape(text, mark, own);
    return str_is(name, own);
}

int name_unescape(struct str name, struct buf *out)
{
    size_t from = out->n;
    uint64_t mark;

    if (!name.n || name_is_cut(name, &mark))
        return -ENOENT;
    for (size_t i = 0; i < name.n; i++) {
        if (name.p[i] == '%' && name.n - i >= 3 && is_hex(name.p[i + 1]) && is_hex(name.p[i + 2])) {
            buf_putc(out, (char)(hex(name.p[i + 1]) << 4 | hex(name.p[i + 2])));
            i += 2;
        } else {
            buf_putc(out, name.p[i]);
        }
    }
    if (buf_failed(out))
        return -ENOMEM;
    /* Something else may have been escaped that need not be: then the text has another name. */
    return name_is_of(name, str_n(out->p + from, out->n - from), 0) ? 0 : -ENOENT;
}
