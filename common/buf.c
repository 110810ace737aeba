#include "common/buf.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "common/be.h"

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

struct str str_trim(struct str s)
{
    while (s.n && is_blank(s.p[0]))
        s.p++, s.n--;
    while (s.n && is_blank(s.p[s.n - 1]))
        s.n--;
    return s;
}

char *str_dup(struct str s)
{
    char *z = malloc(s.n + 1);
    if (!z)
        return NULL;
    if (s.n)
        memcpy(z, s.p, s.n);
    z[s.n] = 0;
    return z;
}

bool str_copy(char *dst, size_t cap, struct str s)
{
    if (s.n >= cap || (s.n && memchr(s.p, 0, s.n))) {
        if (cap)
            dst[0] = 0;
        return false;
    }
    if (s.n)
        memcpy(dst, s.p, s.n);
    dst[s.n] = 0;
    return true;
}

#define SAFE_DIGITS 18      /* so many cannot overflow */

/* Digits past those: each may be one too many. */
static int more_digits(struct str s, uint64_t *v)
{
    for (; s.n; s.p++, s.n--) {
        if (!is_digit(*s.p))
            return -EINVAL;
        if (__builtin_mul_overflow(*v, 10u, v) || __builtin_add_overflow(*v, (unsigned)(*s.p - '0'), v))
            return -ERANGE;
    }
    return 0;
}

/* The value of eight digits at p, all at once: their bytes, then their pairs, then their fours. False: some is none. */
static bool eight_digits(const char *p, uint64_t *v)
{
    uint64_t w;

    memcpy(&w, p, 8);
    w = le64toh(w);
    if (((w & 0xF0F0F0F0F0F0F0F0ULL) | ((w + 0x0606060606060606ULL) & 0xF0F0F0F0F0F0F0F0ULL) >> 4) !=
        0x3333333333333333ULL)
        return false;
    w = (w & 0x0F0F0F0F0F0F0F0FULL) * (1 + (10 << 8)) >> 8;
    w = (w & 0x00FF00FF00FF00FFULL) * (1 + (100 << 16)) >> 16;
    *v = (w & 0x0000FFFF0000FFFFULL) * (1 + (10000ULL << 32)) >> 32;
    return true;
}

int str_i64_strict(struct str s, int64_t *out)
{
    bool negative = s.n && s.p[0] == '-';
    const char *p, *safe;
    uint64_t v = 0;
    int rc;

    if (s.n == 1 && is_digit(s.p[0])) {        /* most numbers of a request */
        *out = s.p[0] - '0';
        return 0;
    }
    if (negative || (s.n && s.p[0] == '+'))
        s.p++, s.n--;
    if (!s.n)
        return -EINVAL;
    safe = s.p + (s.n > SAFE_DIGITS ? SAFE_DIGITS : s.n);
    p = s.n >= 8 && eight_digits(s.p, &v) ? s.p + 8 : s.p;
    for (; p < safe && is_digit(*p); p++)
        v = v * 10 + (unsigned)(*p - '0');
    if (p < s.p + s.n && (rc = more_digits(str_n(p, s.n - (size_t)(p - s.p)), &v)))
        return rc;
    if (v > (uint64_t)INT64_MAX + negative)
        return -ERANGE;
    *out = negative ? (int64_t)(0 - v) : (int64_t)v;
    return 0;
}

int str_i64(struct str s, int64_t *out) { return str_i64_strict(str_trim(s), out); }

int str_i32(struct str s, int32_t *out)
{
    int64_t v;
    int rc = str_i64(s, &v);
    if (rc)
        return rc;
    if (v < INT32_MIN || v > INT32_MAX)
        return -ERANGE;
    *out = (int32_t)v;
    return 0;
}

int str_bool(struct str s, bool *out)
{
    s = str_trim(s);
    if (s.n == 4 && strncasecmp(s.p, "true", 4) == 0)
        *out = true;
    else if (s.n == 5 && strncasecmp(s.p, "false", 5) == 0)
        *out = false;
    else
        return -EINVAL;
    return 0;
}

#ifdef __SSE2__
#define POWER4 (31u * 31 * 31 * 31)
#define POWER8 (POWER4 * POWER4)
#define POWER12 (POWER8 * POWER4)
#define POWER16 (POWER8 * POWER8)

/* h * 31^16 and the hash of 16 characters of ASCII: pairs (a * 31 + b), pairs of pairs, and those by their powers. */
static inline uint32_t hash_16(uint32_t h, __m128i text)
{
    const __m128i zero = _mm_setzero_si128();
    __m128i low = _mm_madd_epi16(_mm_unpacklo_epi8(text, zero), _mm_set1_epi32(31 | 1 << 16));
    __m128i high = _mm_madd_epi16(_mm_unpackhi_epi8(text, zero), _mm_set1_epi32(31 | 1 << 16));
    __m128i fours = _mm_madd_epi16(_mm_packs_epi32(low, high), _mm_set1_epi32(31 * 31 | 1 << 16));
    __m128i even = _mm_mul_epu32(fours, _mm_set_epi32(0, (int)POWER4, 0, (int)POWER12));
    __m128i odd = _mm_mul_epu32(_mm_srli_epi64(fours, 32), _mm_set_epi32(0, 1, 0, (int)POWER8));
    __m128i sum = _mm_add_epi32(even, odd);

    sum = _mm_add_epi32(sum, _mm_srli_si128(sum, 8));
    return h * POWER16 + (uint32_t)_mm_cvtsi128_si32(sum);
}
#endif

/* Sixteen, then four characters of ASCII at a time: their products do not wait for one another. */
static size_t hash_ascii(struct str s, uint32_t *h)
{
    const unsigned char *p = (const unsigned char *)s.p;
    size_t i = 0;

#ifdef __SSE2__
    for (; s.n - i >= 16; i += 16) {
        __m128i text = _mm_loadu_si128((const __m128i *)(p + i));
        if (_mm_movemask_epi8(text))
            break;
        *h = hash_16(*h, text);
    }
#endif
    for (; s.n - i >= 4; i += 4) {
        if ((p[i] | p[i + 1] | p[i + 2] | p[i + 3]) & 0x80)
            break;
        *h = *h * (31u * 31 * 31 * 31) + p[i] * (31u * 31 * 31) + p[i + 1] * (31u * 31) + p[i + 2] * 31u + p[i + 3];
    }
    return i;
}

int32_t str_java_hash(struct str s) { return str_java_hash_on(0, s); }

int32_t str_java_hash_on(int32_t before, struct str s)
{
    uint32_t h = (uint32_t)before;
    size_t i = hash_ascii(s, &h);

    while (i < s.n) {
        unsigned char c = (unsigned char)s.p[i];
        uint32_t cp = c;
        size_t more = c < 0x80 ? 0 : c < 0xE0 ? 1 : c < 0xF0 ? 2 : 3;

        if (more) {
            if (more > s.n - i - 1)
                more = s.n - i - 1;     /* cut text: what is there counts */
            cp = c & (0x3Fu >> more);
            for (size_t k = 1; k <= more; k++)
                cp = cp << 6 | ((unsigned char)s.p[i + k] & 0x3F);
        }
        i += 1 + more;
        if (cp >= 0x10000) {            /* a surrogate pair is two code units */
            cp -= 0x10000;
            h = h * 31 + (0xD800 + (cp >> 10));
            cp = 0xDC00 + (cp & 0x3FF);
        }
        h = h * 31 + cp;
    }
    return (int32_t)h;
}

void buf_free(struct buf *b)
{
    free(b->p);
    *b = (struct buf){0};
}

char *buf_grow(struct buf *b, size_t n)
{
    if (b->failed)
        return NULL;
    if (n > b->cap - b->n || !b->p) {
        size_t cap = b->cap ? b->cap : 256;
        char *p;

        if (n > SIZE_MAX / 4 - b->n) {
            b->failed = true;
            return NULL;
        }
        while (cap - b->n < n)
            cap *= 2;
        p = realloc(b->p, cap);
        if (!p) {
            b->failed = true;
            return NULL;
        }
        b->p = p;
        b->cap = cap;
    }
    return b->p + b->n;
}

/* Two digits at a time, from the end. */
size_t fmt_i64(char out[21], int64_t v)
{
    static const char pairs[] =
        "00010203040506070809101112131415161718192021222324252627282930313233343536373839"
        "40414243444546474849505152535455565758596061626364656667686970717273747576777879"
        "8081828384858687888990919293949596979899";
    char tmp[40];                       /* digits before 20; behind them is room for a copy of one length */
    uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    size_t at = 20, sign = v < 0;

    if (v >= 0 && v < 10) {
        out[0] = (char)('0' + v);
        return 1;
    }
    while (u >= 10) {
        at -= 2;
        memcpy(tmp + at, pairs + u % 100 * 2, 2);
        u /= 100;
    }
    if (u || at == 20)
        tmp[--at] = (char)('0' + u);
    out[0] = '-';
    memcpy(out + sign, tmp + at, 20);   /* the length is constant: no call */
    return sign + 20 - at;
}

void buf_i64(struct buf *b, int64_t v)
{
    char tmp[21];
    buf_put(b, tmp, fmt_i64(tmp, v));
}

void buf_time(struct buf *b, int64_t ms)
{
    time_t s = (time_t)(ms / 1000);
    struct tm tm;
    char text[32];

    if (ms <= 0 || !localtime_r(&s, &tm) || !strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm))
        buf_putc(b, '-');
    else
        buf_printf(b, "%s.%03d", text, (int)(ms % 1000));
}

void buf_be16(struct buf *b, uint16_t v)
{
    char t[2];
    be16_put(t, v);
    buf_put(b, t, 2);
}

void buf_be32(struct buf *b, uint32_t v)
{
    char t[4];
    be32_put(t, v);
    buf_put(b, t, 4);
}

void buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
    va_list again;
    char *to = buf_room(b, 128);
    int n;

    if (!to)
        return;
    va_copy(again, ap);
    n = vsnprintf(to, 128, fmt, ap);
    if (n >= 128) {
        to = buf_room(b, (size_t)n + 1);
        if (to)
            n = vsnprintf(to, (size_t)n + 1, fmt, again);
    }
    va_end(again);
    if (n < 0 || !to)
        b->failed = true;
    else
        b->n += (size_t)n;
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(b, fmt, ap);
    va_end(ap);
}

char *buf_take(struct buf *b)
{
    char *p;

    buf_put(b, "", 1);
    p = b->failed ? NULL : b->p;
    if (!p)
        free(b->p);
    *b = (struct buf){0};
    return p;
}
