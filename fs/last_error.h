/* Why each user's last refused change was refused. The users that were refused
 * last are remembered, so that this stays small. Thread-safe. */
#ifndef FS_LAST_ERROR_H
#define FS_LAST_ERROR_H

#include <sys/types.h>
#include "common/buf.h"

#define LAST_ERROR_USERS 128
#define LAST_ERROR_MAX 1024

struct last_errors;

int last_errors_open(struct last_errors **out);
void last_errors_close(struct last_errors *e);
void last_errors_set(struct last_errors *e, uid_t uid, struct str sentence);     /* cut at LAST_ERROR_MAX */
void last_errors_get(struct last_errors *e, uid_t uid, struct buf *out);         /* nothing when there is none */

#endif
