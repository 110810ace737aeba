/* The outgoing side: a broker registers with name servers and later talks to its
 * master and controller. One libuv loop on its own thread, one connection per
 * address, made when first needed and again after a failure. */
#ifndef COMMON_REMOTING_CLIENT_H
#define COMMON_REMOTING_CLIENT_H

#include "common/remoting/command.h"

struct client;

int client_open(struct client **out, struct fault *f);      /* starts the thread */
/* Outstanding asks get their NULL first. Not from a callback; no other thread may be inside a call. */
void client_close(struct client *c);

/* Sends cmd to "host:port" ("[v6]:port") and calls cb(arg, reply, why) exactly once on the client's
 * thread (without memory at once, here). reply is NULL when it could not be sent or was not answered
 * in time, and why then says so in a sentence; reply's texts live during cb. The texts of cmd are copied
 * at once; its opaque, flag, version and language are set here. cb NULL: one-way, best effort. Any thread.
 * Names are resolved off the thread; connecting takes at most CLIENT_CONNECT_MS, then all that wait fail. */
#define CLIENT_CONNECT_MS 3000
void client_ask(struct client *c, const char *addr, struct command *cmd, int timeout_ms,
                void (*cb)(void *arg, const struct command *reply, const char *why), void *arg);
/* The same and waits. 0 with *reply in frame (owned by the caller, free with buf_free), or -errno with f:
 * ETIMEDOUT, EHOSTUNREACH, ECONNREFUSED, ECONNRESET, EINVAL (the address), ENOMEM, ECANCELED (client_close),
 * EDEADLK (on the client's own thread). A reply's code is the caller's concern. Not from a network loop. */
int client_call(struct client *c, const char *addr, struct command *cmd, int timeout_ms,
                struct command *reply, struct buf *frame, struct fault *f);

#endif
