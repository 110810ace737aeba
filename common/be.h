/* Big-endian integers, as RocketMQ writes them on the wire and on disk
 * (java.nio.ByteBuffer's default order), at any alignment. */
#ifndef COMMON_BE_H
#define COMMON_BE_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t be16_get(const void *p) { uint16_t v; memcpy(&v, p, 2); return be16toh(v); }
static inline uint32_t be32_get(const void *p) { uint32_t v; memcpy(&v, p, 4); return be32toh(v); }
static inline uint64_t be64_get(const void *p) { uint64_t v; memcpy(&v, p, 8); return be64toh(v); }
static inline void be16_put(void *p, uint16_t v) { v = htobe16(v); memcpy(p, &v, 2); }
static inline void be32_put(void *p, uint32_t v) { v = htobe32(v); memcpy(p, &v, 4); }
static inline void be64_put(void *p, uint64_t v) { v = htobe64(v); memcpy(p, &v, 8); }

/* A read cursor over bytes that came from outside. Every getter compares with
 * what is left and never adds first; on a short buffer it returns -1, leaves
 * the cursor where it is and *out untouched. */
struct cursor {
    const unsigned char *p, *end;
};

static inline size_t cursor_left(const struct cursor *c) { return (size_t)(c->end - c->p); }

static inline int cursor_u8(struct cursor *c, uint8_t *out)
{
    if (cursor_left(c) < 1)
        return -1;
    *out = *c->p++;
    return 0;
}

static inline int cursor_u16(struct cursor *c, uint16_t *out)
{
    if (cursor_left(c) < 2)
        return -1;
    *out = be16_get(c->p);
    c->p += 2;
    return 0;
}

static inline int cursor_u32(struct cursor *c, uint32_t *out)
{
    if (cursor_left(c) < 4)
        return -1;
    *out = be32_get(c->p);
    c->p += 4;
    return 0;
}

static inline int cursor_u64(struct cursor *c, uint64_t *out)
{
    if (cursor_left(c) < 8)
        return -1;
    *out = be64_get(c->p);
    c->p += 8;
    return 0;
}

/* Points *out at the next n bytes, which stay owned by the buffer. */
static inline int cursor_bytes(struct cursor *c, size_t n, const unsigned char **out)
{
    if (cursor_left(c) < n)
        return -1;
    *out = c->p;
    c->p += n;
    return 0;
}

#endif
