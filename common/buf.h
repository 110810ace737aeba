/* Byte slices and growing byte buffers.
 *
 * struct str is a view: a pointer and a length, never NUL-terminated by
 * contract, never owned. struct buf owns its bytes and grows; when memory runs
 * out it remembers that (buf_failed) and ignores further puts, so a writer
 * checks once, at the end. Neither is thread-safe. */
#ifndef COMMON_BUF_H
#define COMMON_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
    const char *p;
    size_t n;
};

/* printf("%.*s", STR_ARG(s)) */
#define STR_ARG(s) (int)(s).n, (s).p

static inline struct str str_of(const char *z) { return (struct str){z, z ? strlen(z) : 0}; }
static inline struct str str_n(const char *p, size_t n) { return (struct str){p, n}; }
static inline bool str_eq(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}
static inline bool str_is(struct str a, const char *z) { return str_eq(a, str_of(z)); }
static inline bool str_starts(struct str s, const char *prefix)
{
    size_t n = strlen(prefix);
    return s.n >= n && memcmp(s.p, prefix, n) == 0;
}
struct str str_trim(struct str s);      /* without blanks, tabs, CR and LF at both ends */
char *str_dup(struct str s);            /* malloc'd and NUL-terminated; NULL without memory */
/* Copies into dst[cap] with a NUL; false (and an empty dst) when it does not fit
 * or holds a NUL itself. */
bool str_copy(char *dst, size_t cap, struct str s);

/* Whole-text number parsing: blanks around are allowed, nothing else. 0, or
 * -EINVAL (not a number) or -ERANGE. */
int str_i64(struct str s, int64_t *out);
int str_i32(struct str s, int32_t *out);
/* The same without the blanks: a sign and digits, as Long.parseLong takes them. */
int str_i64_strict(struct str s, int64_t *out);
int str_bool(struct str s, bool *out);  /* true/false in any case, as Boolean.parseBoolean, but strict */

/* Java's String.hashCode of UTF-8 text: over its UTF-16 code units. Tag codes
 * in consume queues and key hashes in index files are made with it. */
int32_t str_java_hash(struct str s);
/* That of a text before and s behind it, from the hash of the former, which ends with a whole character. */
int32_t str_java_hash_on(int32_t before, struct str s);

struct buf {
    char *p;
    size_t n, cap;
    bool failed;
};

void buf_free(struct buf *b);                       /* frees and clears */
static inline void buf_reset(struct buf *b) { b->n = 0; b->failed = false; }
static inline bool buf_failed(const struct buf *b) { return b->failed; }
static inline struct str buf_str(const struct buf *b) { return (struct str){b->p, b->n}; }
char *buf_grow(struct buf *b, size_t n);            /* buf_room when there is none */
/* Room for n more bytes; their place (not yet counted in n), or NULL. */
static inline char *buf_room(struct buf *b, size_t n)
{
    return n <= b->cap - b->n && b->p && !b->failed ? b->p + b->n : buf_grow(b, n);
}
static inline void buf_put(struct buf *b, const void *p, size_t n)
{
    char *to = n ? buf_room(b, n) : NULL;
    if (!to)
        return;
    memcpy(to, p, n);
    b->n += n;
}
static inline void buf_puts(struct buf *b, const char *z) { buf_put(b, z, strlen(z)); }
static inline void buf_put_str(struct buf *b, struct str s) { buf_put(b, s.p, s.n); }
static inline void buf_putc(struct buf *b, char c)
{
    char *to = buf_room(b, 1);
    if (!to)
        return;
    *to = c;
    b->n++;
}
void buf_i64(struct buf *b, int64_t v);             /* decimal text */
void buf_time(struct buf *b, int64_t ms);           /* local time, 2026-11-21T11:06:00.123; "-" for 0 and before */
void buf_be16(struct buf *b, uint16_t v);
void buf_be32(struct buf *b, uint32_t v);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_vprintf(struct buf *b, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
/* Hands the bytes, NUL-terminated, to the caller and clears b; NULL when b failed. */
char *buf_take(struct buf *b);

/* Decimal text of v into out[21], without a NUL; the number of characters. */
size_t fmt_i64(char out[21], int64_t v);

#endif
