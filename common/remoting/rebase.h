/* A decoded command points into its frame. Whoever keeps one copies the frame
 * and moves the pointers. Private to the server and the client. */
#ifndef COMMON_REMOTING_REBASE_H
#define COMMON_REMOTING_REBASE_H

#include <stddef.h>
#include "common/remoting/command.h"

static inline void str_rebase(struct str *s, const char *from, size_t len, const char *to)
{
    uintptr_t p = (uintptr_t)s->p, start = (uintptr_t)from;

    if (s->p && p >= start && p - start <= len)
        s->p = to + (p - start);
}

/* Makes dst the command src, whose texts lie in from[len], with its texts in to[len]. */
static inline void command_rebase(struct command *dst, const struct command *src,
                                  const char *from, size_t len, const char *to)
{
    dst->code = src->code;
    dst->opaque = src->opaque;
    dst->flag = src->flag;
    dst->version = src->version;
    dst->language = src->language;
    dst->serialize = src->serialize;
    dst->remark = src->remark;
    dst->n_ext = src->n_ext;
    memcpy(dst->ext, src->ext, src->n_ext * sizeof(src->ext[0]));
    dst->body = src->body;

    str_rebase(&dst->remark, from, len, to);
    str_rebase(&dst->body, from, len, to);
    for (unsigned i = 0; i < dst->n_ext; i++) {
        str_rebase(&dst->ext[i].k, from, len, to);
        str_rebase(&dst->ext[i].v, from, len, to);
    }
}

#endif
