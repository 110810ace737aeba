/* Names and numbers of users and groups, remembered for a minute, because the
 * system's lookups may ask a server. Thread-safe; may wait. */
#ifndef FS_USERS_H
#define FS_USERS_H

#include <stdbool.h>
#include <sys/types.h>

#define USER_NAME_MAX 64

struct users;

int users_open(struct users **out);
void users_close(struct users *u);
/* The user's name, or its number in decimal when it has none. */
void users_name(struct users *u, uid_t uid, char out[USER_NAME_MAX]);
/* The number of a user or group; decimal text stands for itself. `none` when there is none such, or the name is empty or NULL. */
uid_t users_uid(struct users *u, const char *name, uid_t none);
gid_t users_gid(struct users *u, const char *name, gid_t none);

#endif
