/* Scratch files: what editors put beside a file while they change it (sed -i's
 * sedXXXXXX, vim's .x.swp and 4913, rsync's .x.XXXXXX). They are held in
 * memory, are not listed, and take effect when they are renamed onto a value.
 * Bounded in size and number; the oldest that nobody has open give way after
 * an hour. Thread-safe. Private to fs/. */
#ifndef FS_SCRATCH_H
#define FS_SCRATCH_H

#include "fs/node.h"

#define SCRATCH_FILE_MAX (1 << 20)
#define SCRATCH_FILES_MAX 256
#define SCRATCH_BYTES_MAX (16 << 20)
#define SCRATCH_MODE 0600            /* always: so that vim sees that it cannot replace the file, and writes into it */

struct scratch;
struct scratches {
    pthread_mutex_t lock;            /* guards the list and all in it; the node table's lock is taken inside */
    struct scratch *list;
    size_t n, bytes;
};

/* The row of their nodes: in no directory's rows. */
extern const struct row scratch_row;

void scratches_open(struct scratches *s);
void scratches_close(struct scratches *s, struct node_table *nodes);
/* Is this a name that an editor makes, and dir a directory of values? */
bool scratch_allowed(const struct row *dir, struct str name);
/* With a reference, to be given back by scratch_done. NULL: there is none. */
struct scratch *scratch_find(struct scratches *s, const struct tree_node *dir, struct str name);
/* -EEXIST, -ENOSPC, -ENOMEM. dir is held as long as the file is there. */
int scratch_make(struct scratches *s, struct node_table *nodes, struct tree_node *dir, struct str name, uid_t uid, gid_t gid,
                 struct scratch **out);
void scratch_done(struct scratches *s, struct node_table *nodes, struct scratch *f);
/* Takes its name away; it ends with the last reference. */
void scratch_remove(struct scratches *s, struct scratch *f);
int scratch_rename(struct scratches *s, struct node_table *nodes, struct scratch *f, struct tree_node *dir, struct str name);
ssize_t scratch_read(struct scratches *s, const struct scratch *f, char *p, size_t n, int64_t at);
ssize_t scratch_write(struct scratches *s, struct scratch *f, const char *p, size_t n, int64_t at, bool append);
int scratch_resize(struct scratches *s, struct scratch *f, int64_t size);
void scratch_attr(struct scratches *s, const struct scratch *f, uint64_t ino, struct tree_attr *out);

#endif
