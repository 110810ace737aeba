/* The audit file, STORE/audit.log: one JSON line for each change of governance or
 * configuration: time (UTC), user ("" on the wire), from, what, path, old, new. Append-only,
 * synced. Its own lock, a leaf. It stands beside Apache's files and not in
 * STORE/config, whose files an Apache broker and its tools copy and replace. */
#ifndef BROKER_AUDIT_H
#define BROKER_AUDIT_H

#include "broker/broker.h"

struct audit;

int audit_open(const char *path, struct audit **out, struct fault *f);
void audit_close(struct audit *a);
const char *audit_path(const struct audit *a);
/* path is the tree's: "/groups/g1/bindings/TopicA". old or now may be NULL. Waits for the disk. 0 or -errno: the verb then
 * answers with the failure although the change stands. */
int audit_write(struct audit *a, const struct caller *c, const char *what, const char *path, const char *old,
                const char *now, struct fault *f);

/* The same for changes that came together: audit_add appends one line to a buf, audit_put writes them all with one sync. */
void audit_add(struct buf *lines, const struct caller *c, const char *what, const char *path, const char *old, const char *now);
int audit_put(struct audit *a, const struct buf *lines, struct fault *f);

#endif
