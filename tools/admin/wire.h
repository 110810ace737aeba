/* One request and its answer, and base64. Private to tools/admin. */
#ifndef TOOLS_ADMIN_WIRE_H
#define TOOLS_ADMIN_WIRE_H

#include "common/json.h"
#include "common/remoting/client.h"

struct wire {
    const char *addr;
    struct client *client;
    struct command reply;            /* of the last call; lives until the next */
    struct buf frame;
};

int wire_open(struct wire *w, const char *addr, struct fault *f);
void wire_close(struct wire *w);
/* 0 with w->reply when the answer is SUCCESS or code `also` (-1: none); else -errno with f. */
int wire_call(struct wire *w, struct command *cmd, int also, struct fault *f);
/* A number of the answer's ext fields. */
int wire_number(const struct wire *w, const char *name, int64_t *out, struct fault *f);

void base64_put(struct buf *out, struct str s);
int base64_get(struct buf *out, struct str text);            /* 0 or -EINVAL */
/* The next name of a list "a,b"; an empty one at its end. */
struct str next_name(struct str *list);

#endif
