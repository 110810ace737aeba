/* Looking for marks in text, many bytes at a time: what a header, a property text and a JSON text spend most of
 * their time with. */
#ifndef COMMON_SCAN_H
#define COMMON_SCAN_H

#include <endian.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define SCAN_EACH(b) (0x0101010101010101ULL * (unsigned char)(b))

/* The high bit of each of the 8 bytes of w that is the ASCII character a or b. Above the lowest of them others may
 * be set too. */
static inline uint64_t scan_has_either(uint64_t w, char a, char b)
{
    return (((w ^ SCAN_EACH(a)) - SCAN_EACH(1)) | ((w ^ SCAN_EACH(b)) - SCAN_EACH(1))) & ~w & SCAN_EACH(0x80);
}

/* The first a or b (both ASCII) at or after p, or end. */
static inline const char *scan_either(const char *p, const char *end, char a, char b)
{
    uint64_t word, hit;

#ifdef __SSE2__
    for (; end - p >= 16; p += 16) {
        __m128i x = _mm_loadu_si128((const __m128i *)p);
        unsigned at = (unsigned)_mm_movemask_epi8(_mm_or_si128(_mm_cmpeq_epi8(x, _mm_set1_epi8(a)),
                                                               _mm_cmpeq_epi8(x, _mm_set1_epi8(b))));
        if (at)
            return p + __builtin_ctz(at);
    }
#endif
    for (; end - p >= 8; p += 8) {
        memcpy(&word, p, 8);
        hit = scan_has_either(le64toh(word), a, b);
        if (hit)
            return p + (unsigned)__builtin_ctzll(hit) / 8;
    }
    while (p < end && *p != a && *p != b)
        p++;
    return p;
}

/* Non-zero when one of the 8 bytes is what a JSON text may not hold as it is (a control character, quote, backslash)
 * or not ASCII. */
static inline uint64_t scan_has_odd(uint64_t w)
{
    uint64_t below = w - SCAN_EACH(' '), quote = (w ^ SCAN_EACH('"')) - SCAN_EACH(1),
             backslash = (w ^ SCAN_EACH('\\')) - SCAN_EACH(1);

    return (w | below | quote | backslash) & SCAN_EACH(0x80);
}

/* Copies whole words from *p to w as long as they have nothing odd; both then behind what was copied. Fewer than 8
 * bytes are left, or one of the next 16 is odd. */
static inline char *scan_copy_plain(char *w, const char **p, const char *end)
{
    const char *from = *p;
    uint64_t word;

#ifdef __SSE2__
    for (; end - from >= 16; from += 16, w += 16) {
        __m128i x = _mm_loadu_si128((const __m128i *)from);
        /* As a signed number what is not ASCII is below the blank too. */
        __m128i odd = _mm_or_si128(_mm_cmplt_epi8(x, _mm_set1_epi8(' ')),
                                   _mm_or_si128(_mm_cmpeq_epi8(x, _mm_set1_epi8('"')),
                                                _mm_cmpeq_epi8(x, _mm_set1_epi8('\\'))));
        if (_mm_movemask_epi8(odd))
            break;
        _mm_storeu_si128((__m128i *)w, x);
    }
#endif
    for (; end - from >= 8; from += 8, w += 8) {
        memcpy(&word, from, 8);
        if (scan_has_odd(word))
            break;
        memcpy(w, &word, 8);
    }
    *p = from;
    return w;
}

#endif
