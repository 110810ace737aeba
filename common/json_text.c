#include "common/json_text.h"

static char *skip_comment(char *p, const char *end)
{
    if (end - p < 2)
        return NULL;
    if (p[1] == '/') {
        char *nl = memchr(p, '\n', (size_t)(end - p));
        return nl ? nl + 1 : p + (end - p);
    }
    if (p[1] != '*')
        return NULL;
    for (p += 2; end - p >= 2; p++) {
        if (p[0] == '*' && p[1] == '/')
            return p + 2;
    }
    return NULL;
}

char *json_skip_blanks(char *p, const char *end)
{
    while (p && p < end) {
        if (*p == '/')
            p = skip_comment(p, end);
        else if (json_is_blank(*p))
            p++;
        else
            break;
    }
    return p;
}

/* ---- reading ---- */

/* A hexadecimal digit's value plus one; 0: it is none. */
static const unsigned char hex_digit[256] = {
    ['0'] = 1, ['1'] = 2, ['2'] = 3, ['3'] = 4, ['4'] = 5, ['5'] = 6, ['6'] = 7, ['7'] = 8, ['8'] = 9, ['9'] = 10,
    ['a'] = 11, ['b'] = 12, ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16,
    ['A'] = 11, ['B'] = 12, ['C'] = 13, ['D'] = 14, ['E'] = 15, ['F'] = 16,
};

static int hex4(const char *p, const char *end, unsigned *out)
{
    unsigned v = 0;

    if (end - p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        unsigned digit = hex_digit[(unsigned char)p[i]];
        if (!digit)
            return -1;
        v = v << 4 | (digit - 1);
    }
    *out = v;
    return 0;
}

static char *put_utf8(char *w, unsigned c)
{
    if (c < 0x80) {
        *w++ = (char)c;
    } else if (c < 0x800) {
        *w++ = (char)(0xC0 | c >> 6);
        *w++ = (char)(0x80 | (c & 0x3F));
    } else if (c < 0x10000) {
        *w++ = (char)(0xE0 | c >> 12);
        *w++ = (char)(0x80 | (c >> 6 & 0x3F));
        *w++ = (char)(0x80 | (c & 0x3F));
    } else {
        *w++ = (char)(0xF0 | c >> 18);
        *w++ = (char)(0x80 | (c >> 12 & 0x3F));
        *w++ = (char)(0x80 | (c >> 6 & 0x3F));
        *w++ = (char)(0x80 | (c & 0x3F));
    }
    return w;
}

/* p is past \u. A high surrogate takes the low one that follows with it. */
static char *unescape_u(char *p, const char *end, char **w)
{
    unsigned c, low;

    /* The marks of a property text, 1 and 2, of which each send has some. */
    if (end - p >= 4 && memcmp(p, "000", 3) == 0 && (p[3] == '1' || p[3] == '2')) {
        *(*w)++ = (char)(p[3] - '0');
        return p + 4;
    }
    if (hex4(p, end, &c))
        return NULL;
    p += 4;
    if (c >= 0xD800 && c < 0xDC00 && end - p >= 6 && p[0] == '\\' && p[1] == 'u' &&
        !hex4(p + 2, end, &low) && low >= 0xDC00 && low < 0xE000) {
        c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
        p += 6;
    } else if (c >= 0xD800 && c < 0xE000) {
        c = 0xFFFD;
    }
    *w = put_utf8(*w, c);
    return p;
}

/* What stands for c after a backslash; 0 for what may not follow one. */
static const char unescaped[256] = {
    ['"'] = '"', ['\''] = '\'', ['\\'] = '\\', ['/'] = '/',
    ['b'] = '\b', ['f'] = '\f', ['n'] = '\n', ['r'] = '\r', ['t'] = '\t', ['v'] = '\v',
};

/* p is past a backslash. */
static char *unescape(char *p, const char *end, char **w)
{
    char c;

    if (p == end)
        return NULL;
    if (*p == 'u')
        return unescape_u(p + 1, end, w);
    c = unescaped[(unsigned char)*p];
    if (!c)
        return NULL;
    *(*w)++ = c;
    return p + 1;
}

/* Moves what stands before the next quote or backslash (or end) from *p down to *w, both then behind it. Runs are
 * short between the escapes of a property text: a call of memmove for each would cost more than they do. */
static inline void move_plain(char **p, char *end, char quote, char **w)
{
    char *from = *p, *to = *w;
    uint64_t word;

    for (; end - from >= 8; from += 8, to += 8) {
        uint64_t hit;

        memcpy(&word, from, 8);
        hit = scan_has_either(le64toh(word), quote, '\\');
        if (hit && from - to < 8)       /* a whole word would reach what was not read yet */
            break;
        memcpy(to, &word, 8);
        if (hit) {
            *p = from + (unsigned)__builtin_ctzll(hit) / 8;
            *w = to + (*p - from);
            return;
        }
    }
    while (from < end && *from != quote && *from != '\\')
        *to++ = *from++;
    *p = from;
    *w = to;
}

char *json_unquote(char *p, char *end, struct str *out)
{
    char quote = *p++;
    char *start = p, *w;

    p = w = p + (scan_either(p, end, quote, '\\') - p);
    while (p < end && *p == '\\') {
        p = unescape(p + 1, end, &w);
        if (!p)
            return NULL;
        move_plain(&p, end, quote, &w);
    }
    if (p == end)
        return NULL;
    *out = str_n(start, (size_t)(w - start));
    return p + 1;
}

/* ---- writing ---- */

#define RAW 1           /* not ASCII: UTF-8 is to be looked at */

/* How a byte is written: 0 as it is, RAW, else the letter after the backslash; 'u' for the long form. */
static const char escapes[256] = {
    'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'b', 't', 'n', 'u', 'f', 'r', 'u', 'u',
    'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u',
    ['"'] = '"', ['\\'] = '\\', [0x80 ... 0xFF] = RAW,
};

static char *put_escape(char *w, unsigned char c, char letter)
{
    static const char digits[] = "0123456789abcdef";

    *w++ = '\\';
    *w++ = letter;
    if (letter == 'u') {
        *w++ = '0';
        *w++ = '0';
        *w++ = digits[c >> 4];
        *w++ = digits[c & 15];
    }
    return w;
}

size_t utf8_length(const unsigned char *p, size_t left)
{
    unsigned char c = p[0], least = 0x80, most = 0xBF;
    size_t n = c >= 0xC2 && c <= 0xDF ? 2 : c >= 0xE0 && c <= 0xEF ? 3 : c >= 0xF0 && c <= 0xF4 ? 4 : 0;

    if (!n || n > left)
        return 0;
    if (c == 0xE0)          /* longer than needed */
        least = 0xA0;
    else if (c == 0xED)     /* surrogates */
        most = 0x9F;
    else if (c == 0xF0)
        least = 0x90;
    else if (c == 0xF4)     /* past U+10FFFF */
        most = 0x8F;
    if (p[1] < least || p[1] > most)
        return 0;
    for (size_t i = 2; i < n; i++) {
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    }
    return n;
}

static inline uint64_t word_at(const char *p)
{
    uint64_t word;

    memcpy(&word, p, 8);
    return word;
}

/* Copies p[n], 1 to 15 bytes: the first and the last half of them, which overlap. False, and w is of no use, when one
 * is not plain. */
static inline bool copy_short(char *w, const char *p, size_t n)
{
    uint32_t low, high;

    if (n >= 8) {
        uint64_t first = word_at(p), last = word_at(p + n - 8);
        memcpy(w, &first, 8);
        memcpy(w + n - 8, &last, 8);
        return !(scan_has_odd(first) | scan_has_odd(last));
    }
    if (n >= 4) {
        memcpy(&low, p, 4);
        memcpy(&high, p + n - 4, 4);
        memcpy(w, &low, 4);
        memcpy(w + n - 4, &high, 4);
        return !scan_has_odd((uint64_t)high << 32 | low);
    }
    w[0] = p[0];
    w[n / 2] = p[n / 2];
    w[n - 1] = p[n - 1];
    return !(escapes[(unsigned char)p[0]] | escapes[(unsigned char)p[n / 2]] | escapes[(unsigned char)p[n - 1]]);
}

static inline char *copy_plain(char *w, const unsigned char **p, const unsigned char *end)
{
    const char *from = (const char *)*p;

    w = scan_copy_plain(w, &from, (const char *)end);
    *p = (const unsigned char *)from;
    while (*p < end && !escapes[**p])
        *w++ = (char)*(*p)++;
    return w;
}

/* p is at a byte that is not plain. */
static __attribute__((noinline)) char *escape_from(char *w, const unsigned char *p, const unsigned char *end)
{
    do {
        if (escapes[*p] == RAW) {
            size_t n = utf8_length(p, (size_t)(end - p));
            memcpy(w, n ? (const char *)p : "\xEF\xBF\xBD", n ? n : 3);
            w += n ? n : 3;
            p += n ? n : 1;
        } else {
            w = put_escape(w, *p, escapes[*p]);
            p++;
        }
        w = copy_plain(w, &p, end);
    } while (p < end);
    return w;
}

/* Most texts are short and plain: for them the first lines are all. */
char *json_escape_to(char *w, struct str s)
{
    const unsigned char *p = (const unsigned char *)s.p, *end = p + s.n;

    if (s.n == 0)
        return w;
    if (s.n < 16 && copy_short(w, s.p, s.n))
        return w + s.n;
    w = copy_plain(w, &p, end);
    return p == end ? w : escape_from(w, p, end);
}

/* How much of s to escape at once, so that the room asked for stays small; never
 * in the middle of a character. */
static size_t piece(struct str s)
{
    size_t n = 2048;

    if (s.n <= n)
        return s.n;
    for (int i = 0; i < 3 && ((unsigned char)s.p[n] & 0xC0) == 0x80; i++)
        n--;
    return n;
}

void json_quote(struct buf *out, struct str s)
{
    buf_putc(out, '"');
    while (s.n) {
        size_t n = piece(s);
        char *w = buf_room(out, JSON_ESCAPED_MAX(n));
        if (!w)
            return;
        out->n += (size_t)(json_escape_to(w, str_n(s.p, n)) - w);
        s = str_n(s.p + n, s.n - n);
    }
    buf_putc(out, '"');
}
