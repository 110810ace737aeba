/* Registration with every name server, each on its own: at start, every
 * registerNameServerPeriod, at once when topics change, and the goodbye at the end. */
#ifndef BROKER_REGISTRAR_H
#define BROKER_REGISTRAR_H

#include "broker/state.h"

int registrar_open(struct broker *b, struct registrar **out, struct fault *f);
int registrar_run(struct registrar *r);                  /* first registration starts now */
void registrar_close(struct registrar *r);               /* unregisters (bounded time) */
/* Topics changed: registers with all name servers as soon as it can; returns at once. Changes in quick succession share one registration. */
void registrar_kick(struct registrar *r);
/* The same and waits for each name server's answer, at most timeout_ms: a verb that made a topic answers after clients can see it. */
void registrar_sync(struct registrar *r, int timeout_ms);
void registrar_set_namesrv(struct registrar *r, struct str addresses);     /* namesrvAddr changed */
/* name server address and state of the last registration, one call each. */
void registrar_each(struct registrar *r, void (*each)(void *arg, const char *addr, int64_t last_ok_ms, const char *error), void *arg);

#endif
