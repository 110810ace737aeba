/* Chosen topics and groups of one broker as a file of JSON lines, and that file into
 * a running broker of another cluster, over the wire and by Apache's own requests:
 * either side may be an Apache broker. The lines, in this order:
 *
 *   {"export":"topics","version":1}
 *   {"topic":TopicConfig} {"group":SubscriptionGroupConfig}      as the broker tells them
 *   {"message":{"topic","queue","offset","flag","sysFlag","born","reconsume","properties","body"}}
 *   {"offset":{"group","topic","queue","offset"}}                next to be read, as committed
 *   {"end":{"messages":N}}
 *
 * properties and body are base64 of the bytes, so nothing is changed by the way. */
#ifndef TOOLS_ADMIN_TRANSFER_H
#define TOOLS_ADMIN_TRANSFER_H

#include <stdbool.h>
#include <stdio.h>
#include "common/fault.h"

struct transfer {
    const char *broker;              /* host:port */
    const char *topics, *groups;     /* export: names separated by ','; NULL: none */
    bool dry_run;                    /* import: say what would be done, do nothing */
    bool quiet;
};

/* 0 or -errno with f. Offsets are read before messages, so that none is ahead of what is exported. */
int transfer_export(const struct transfer *t, FILE *out, struct fault *f);
/* in must be seekable: it is read as a whole before anything is done. Topics and groups that are there are kept as they
 * are (with too few queues it ends before anything is done); messages are appended, those of a queue to the queue of
 * that number, in order; offsets are set to where the same message now is. Each act is a line on standard output. */
int transfer_import(const struct transfer *t, FILE *in, struct fault *f);

#endif
