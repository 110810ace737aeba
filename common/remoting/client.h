/* The outgoing side: a broker registers with name servers and later talks to its
 * master and controller. One libuv loop on its own thread, one connection per
 * address, made when first needed and again after a failure. */
#ifndef COMMON_REMOTING_CLIENT_H
#define COMMON_REMOTING_CLIENT_H

#include "common/remoting/command.h"

struct client;

int client_open(struct client **out, struct fault *f);      /* starts the thread */
void client_close(struct client *c);                        /* outstanding asks get their NULL first */

/* Sends cmd to "host:port" and calls cb(arg, reply) exactly once on the client's
 * thread; reply is NULL when it could not be sent or was not answered in time
 * (and why says so in a sentence). Any thread. Texts of cmd are copied at once. */
void client_ask(struct client *c, const char *addr, struct command *cmd, int timeout_ms,
                void (*cb)(void *arg, const struct command *reply, const char *why), void *arg);
/* The same and waits. 0 with *reply in frame (owned by the caller, free with buf_free), or -errno with f.
 * Not from a network loop. */
int client_call(struct client *c, const char *addr, struct command *cmd, int timeout_ms,
                struct command *reply, struct buf *frame, struct fault *f);

#endif
