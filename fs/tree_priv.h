/* What the tree's files share. Private to fs/. */
#ifndef FS_TREE_PRIV_H
#define FS_TREE_PRIV_H

#include <stdatomic.h>
#include "fs/key_list.h"
#include "fs/last_error.h"
#include "fs/node.h"
#include "fs/scratch.h"
#include "fs/users.h"

#define TREE_DEPTH_MAX 16
#define NAME_TTL_MS 60000            /* stable names and attributes: events correct them sooner */
#define FLEETING_TTL_MS 1000

struct tree {
    struct broker *b;
    struct users *users;
    struct last_errors *errors;
    struct node_table nodes;
    pthread_mutex_t handles_lock;    /* guards the list of open handles; nothing is taken inside */
    struct tree_handle *handles;
    struct scratches scratches;
    struct dir_streams *streams;
    struct key_lists *key_lists;
    int64_t opened_ms;
    uid_t uid;                       /* who runs the broker: owner of what has no other */
    gid_t gid;
    _Atomic gid_t admin_gid;         /* of the configuration's adminGroup */
    _Atomic int64_t admin_gid_until; /* mono_ms */
};

struct tree_handle {
    struct tree_handle *next, **here;    /* in the tree's list */
    struct tree *t;
    atomic_int keepers;
    struct tree_node *n;             /* held */
    int flags;                       /* of open(2) */
    struct buf text;                 /* what a read gives */
    int fd;                          /* or the file behind it; -1 */
    int64_t fd_size;
    struct scratch *scratch;         /* or the scratch file it is open on */
    bool fresh;                      /* made by this open, and nothing was written yet */
};

/* Fills *a for the node: every parameter on its path, as the broker knows it now. -ESTALE when something on
 * the path is gone. at_done(a) in any case. */
int at_load(struct at *a, struct tree *t, const struct tree_node *n, const struct tree_who *who);
/* One step down from a loaded directory, for a name that need not have a node: its row, or NULL with *err -ENOENT... */
const struct row *at_step(struct at *a, const struct row *dir, struct str name, int *err);
int at_attr(struct at *a, const struct row *row, uint64_t ino, struct tree_attr *out);
int at_text(struct at *a, const struct row *row, struct buf *out);

/* Directories of the system that are being listed (rows_snapshot.c). 0 or -ENOMEM. */
struct dir_streams;
int dir_streams_open(struct dir_streams **out);
void dir_streams_close(struct dir_streams *s);      /* NULL is allowed */

/* The scratch file that a node stands for, with a reference; NULL: it stands for none, or that is gone. */
static inline struct scratch *tree_scratch(struct tree *t, const struct tree_node *n)
{
    return n->row == &scratch_row ? scratch_find(&t->scratches, n->parent, str_n(n->name, n->length)) : NULL;
}

/* Keeps the sentence for the user and returns -f->err (or err, when f says nothing). name may be empty: n itself. */
int tree_refused(struct tree *t, const struct tree_node *n, struct str name, const struct tree_who *who,
                 const struct fault *f, int err);

#endif
