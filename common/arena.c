#include "common/arena.h"

#include <stdlib.h>

#define CHUNK 4096

struct arena_chunk {
    struct arena_chunk *next;
    _Alignas(16) char bytes[];
};

void arena_init(struct arena *a, size_t limit) { *a = (struct arena){.limit = limit}; }

void *arena_get(struct arena *a, size_t n)
{
    void *p;

    if (n > SIZE_MAX / 2)
        return NULL;
    n = (n + 7) & ~(size_t)7;
    if (a->limit && n > a->limit - a->used)
        return NULL;
    if ((size_t)(a->end - a->next) < n || !a->next) {
        size_t size = n > CHUNK ? n : CHUNK;
        struct arena_chunk *c = calloc(1, sizeof(*c) + size);
        if (!c)
            return NULL;
        c->next = a->chunks;
        a->chunks = c;
        a->next = c->bytes;
        a->end = c->bytes + size;
    }
    p = a->next;
    a->next += n;
    a->used += n;
    return p;
}

char *arena_dup(struct arena *a, const char *p, size_t n)
{
    char *to = arena_get(a, n + 1);
    if (to && n)
        memcpy(to, p, n);
    return to;
}

void arena_free(struct arena *a)
{
    while (a->chunks) {
        struct arena_chunk *c = a->chunks;
        a->chunks = c->next;
        free(c);
    }
    arena_init(a, a->limit);
}
