/* Memory that is given back all at once: what one request, one JSON document or
 * one listing needs. Bounded by a limit given at the start. Not thread-safe. */
#ifndef COMMON_ARENA_H
#define COMMON_ARENA_H

#include <stddef.h>
#include "common/buf.h"

struct arena_chunk;
struct arena {
    struct arena_chunk *chunks;
    char *next, *end;
    size_t used, limit;      /* bytes handed out; the most that may be (0: no limit) */
};

void arena_init(struct arena *a, size_t limit);
void *arena_get(struct arena *a, size_t n);          /* zeroed, aligned to 8; NULL past the limit or without memory */
char *arena_dup(struct arena *a, const char *p, size_t n);  /* with a NUL added; NULL as above */
void arena_free(struct arena *a);

#endif
