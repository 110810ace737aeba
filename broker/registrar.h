/* Registration with every name server, each on its own: at start, every
 * registerNameServerPeriod (10 to 60 s), at once when topics change, and the
 * goodbye at the end. A dead name server delays neither the others nor a verb
 * (R-NS-06). Source: Apache BrokerController, BrokerOuterAPI (5.5.0).
 *
 * What is sent:
 *  - REGISTER_BROKER (103) with all topics; compressed when compressedRegister
 *    is set or the JSON would not fit a frame (compressed, the form of Apache's
 *    loses topicSysFlag).
 *  - For a topic that changed, REGISTER_TOPIC_IN_NAMESRV (217) with it alone, as
 *    Apache's enableSingleTopicRegister does: a full registration of 100,000
 *    topics is 14 MB. Name servers before 5.1 do not know it (answer 3) and get a
 *    103 with that topic alone, Apache's default.
 *  - For a topic that was deleted the same with no queues and no permission: no
 *    client uses it there any more, and other brokers' share of the topic is
 *    untouched; our name server then drops the share. Apache's broker tells
 *    nothing, and 216 would delete other brokers' queues too. Where the route then
 *    names no other broker, 216 follows, so that Apache's name server does not
 *    list the topic for ever; a broker that makes the topic in that very moment
 *    is known again with its next registration.
 *  - With forceRegister=false, QUERY_DATA_VERSION (322) each period instead of 103
 *    while nothing changed. */
#ifndef BROKER_REGISTRAR_H
#define BROKER_REGISTRAR_H

#include "broker/state.h"

int registrar_open(struct broker *b, struct registrar **out, struct fault *f);
int registrar_run(struct registrar *r);                  /* first registration starts now; needs the broker's port */
/* Unregisters (at most about a second). All else may still be called, and does nothing. */
void registrar_stop(struct registrar *r);
void registrar_close(struct registrar *r);               /* after the broker's client was closed; NULL is allowed */

/* A topic was made, changed or deleted: told to all name servers as soon as it can be; returns at once. Any thread. */
void registrar_note(struct registrar *r, struct str topic);
/* Waits until all that was noted was answered, at most timeout_ms: a verb that made a topic answers after clients can
 * see it. Name servers that did not answer last time are not waited for. Not from a network loop. */
void registrar_sync(struct registrar *r, int timeout_ms);
/* Registers everything anew, because more than single topics changed: the broker's permission. Returns at once. */
void registrar_kick(struct registrar *r);
void registrar_set_namesrv(struct registrar *r, struct str addresses);     /* "host:port;host:port" */
/* Each name server: its address, when a registration last succeeded (wall_ms, 0: never), and what is wrong now (NULL: nothing).
 * Under the registrar's lock: each must not call back. */
void registrar_each(struct registrar *r, void (*each)(void *arg, const char *addr, int64_t last_ok_ms, const char *error), void *arg);

#endif
