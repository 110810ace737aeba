/* The nodes that somebody holds: private to fs/. A node's fields are set when it
 * is made and never change, but for what the table's lock guards. */
#ifndef FS_NODE_H
#define FS_NODE_H

#include <pthread.h>
#include "fs/row.h"

struct tree_node {
    const struct row *row;
    struct tree_node *parent;            /* held by this node; NULL: the root */
    uint64_t ino, generation;
    /* under the table's lock: */
    uint64_t references;                 /* of holders, and one for each child */
    bool found;                          /* in the table: lookups of its name give it */
    struct tree_node *chain;             /* next in its bucket */
    struct tree_node *first_child, *next_child, **this_child;
    uint8_t length;
    char name[];                         /* NUL-terminated */
};

struct node_table {
    pthread_mutex_t lock;                /* guards the nodes; held for pointer work only */
    struct tree_node **buckets;
    size_t n_buckets, n;
    uint64_t made;
    struct tree_node *root;
};

int node_table_open(struct node_table *t, const struct row *root);
void node_table_close(struct node_table *t);
/* The inode number of a name in a directory, from its path: nobody has to keep it. */
uint64_t node_ino(uint64_t dir_ino, struct str name);
/* The node of that name, made when new; with a reference. NULL without memory. name.n <= TREE_NAME_MAX. */
struct tree_node *node_take(struct node_table *t, struct tree_node *dir, const struct row *row, struct str name);
/* The same, when it is there already. */
struct tree_node *node_find(struct node_table *t, struct tree_node *dir, struct str name);
void node_hold(struct node_table *t, struct tree_node *n);
void node_forget(struct node_table *t, struct tree_node *n, uint64_t references);
void node_drop(struct node_table *t, struct tree_node *n);
int node_below(struct node_table *t, struct tree_node *n, bool deep, struct tree_node ***out, size_t *count);

#endif
