/* A topic's keys, for listings. The parts of one listing come as calls of their own, while messages with new and old
 * keys arrive; so the keys are taken once, when a listing begins, and kept until its end. Any thread. */
#ifndef FS_KEY_LIST_H
#define FS_KEY_LIST_H

#include "fs/tree.h"

#define KEY_LIST_MAX 1000            /* keys of one listing */

struct key_lists;

int key_lists_open(struct key_lists **out);          /* 0 or -ENOMEM */
void key_lists_close(struct key_lists *l);           /* NULL is allowed */

/* The mark of a cut name of a key (fs/escape.h) is the index's hash, so that it can be looked up, above this one. */
uint32_t key_sum(struct str key);

/* The name of the entry behind `after` (0: of a new listing's first), the store time of its newest message, and the cookie
 * to go on with, below 2^48. -ENOENT at the end, -ENOMEM. A listing that was left for long begins anew where it was. */
int key_list_next(struct key_lists *l, struct broker *b, struct str topic, uint64_t after, uint64_t *cookie,
                  char name[TREE_NAME_MAX + 1], int64_t *time_ms);

#endif
