#include "fs/node.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define FIRST_BUCKETS 256
#define ROOT_INO 1

int node_table_open(struct node_table *t, const struct row *root)
{
    memset(t, 0, sizeof *t);
    t->buckets = calloc(FIRST_BUCKETS, sizeof *t->buckets);
    t->root = calloc(1, sizeof *t->root + 1);
    if (!t->buckets || !t->root) {
        free(t->buckets);
        free(t->root);
        return -ENOMEM;
    }
    t->n_buckets = FIRST_BUCKETS;
    t->root->row = root;
    t->root->ino = ROOT_INO;
    t->root->references = 1;
    pthread_mutex_init(&t->lock, NULL);
    return 0;
}

/* A kernel that went away without forgetting leaves nodes behind: they end with the table. */
void node_table_close(struct node_table *t)
{
    struct tree_node *n, *parent;

    if (!t->root)
        return;
    for (n = t->root; n; ) {
        if (n->first_child) {
            n = n->first_child;
            continue;
        }
        parent = n->parent;
        if (parent) {
            *n->this_child = n->next_child;
            if (n->next_child)
                n->next_child->this_child = n->this_child;
        }
        free(n);
        n = parent;
    }
    free(t->buckets);
    pthread_mutex_destroy(&t->lock);
    memset(t, 0, sizeof *t);
}

uint64_t node_ino(uint64_t dir_ino, struct str name)
{
    uint64_t h = dir_ino * 0x9E3779B97F4A7C15u + 0xCBF29CE484222325u;

    for (size_t i = 0; i < name.n; i++)
        h = (h ^ (unsigned char)name.p[i]) * 0x100000001B3u;
    h ^= h >> 32;
    h *= 0xD6E8FEB86659FD93u;
    h ^= h >> 32;
    return h > ROOT_INO ? h : h + 2;
}

static struct tree_node **bucket(const struct node_table *t, uint64_t ino)
{
    return &t->buckets[ino & (t->n_buckets - 1)];
}

static struct tree_node *look(const struct node_table *t, const struct tree_node *dir, struct str name, uint64_t ino)
{
    for (struct tree_node *n = *bucket(t, ino); n; n = n->chain)
        if (n->ino == ino && n->parent == dir && str_eq(str_n(n->name, n->length), name))
            return n;
    return NULL;
}

/* A table that cannot grow still works, only slower. */
static void grow(struct node_table *t)
{
    struct tree_node **old = t->buckets;
    size_t n_old = t->n_buckets;
    struct tree_node **wider = calloc(n_old * 2, sizeof *wider);

    if (!wider)
        return;
    t->buckets = wider;
    t->n_buckets = n_old * 2;
    for (size_t i = 0; i < n_old; i++)
        for (struct tree_node *n = old[i], *next; n; n = next) {
            struct tree_node **b = bucket(t, n->ino);

            next = n->chain;
            n->chain = *b;
            *b = n;
        }
    free(old);
}

static struct tree_node *insert(struct node_table *t, struct tree_node *dir, const struct row *row, struct str name, uint64_t ino)
{
    struct tree_node *n, **b;

    assert(name.n <= TREE_NAME_MAX);
    n = calloc(1, sizeof *n + name.n + 1);
    if (!n)
        return NULL;
    if (t->n >= t->n_buckets)
        grow(t);
    memcpy(n->name, name.p, name.n);
    n->length = (uint8_t)name.n;
    n->row = row;
    n->parent = dir;
    n->ino = ino;
    n->generation = ++t->made;
    n->found = true;
    dir->references++;
    b = bucket(t, ino);
    n->chain = *b;
    *b = n;
    n->next_child = dir->first_child;
    n->this_child = &dir->first_child;
    if (n->next_child)
        n->next_child->this_child = &n->next_child;
    dir->first_child = n;
    t->n++;
    return n;
}

static void remove_from_table(struct node_table *t, struct tree_node *n)
{
    struct tree_node **at = bucket(t, n->ino);

    if (!n->found)
        return;
    while (*at != n)
        at = &(*at)->chain;
    *at = n->chain;
    n->found = false;
    t->n--;
}

struct tree_node *node_take(struct node_table *t, struct tree_node *dir, const struct row *row, struct str name)
{
    uint64_t ino = node_ino(dir->ino, name);
    struct tree_node *n;

    pthread_mutex_lock(&t->lock);
    n = look(t, dir, name, ino);
    if (n && n->row != row) {           /* the name means something else now */
        remove_from_table(t, n);
        n = NULL;
    }
    if (!n)
        n = insert(t, dir, row, name, ino);
    if (n)
        n->references++;
    pthread_mutex_unlock(&t->lock);
    return n;
}

struct tree_node *node_find(struct node_table *t, struct tree_node *dir, struct str name)
{
    struct tree_node *n;

    pthread_mutex_lock(&t->lock);
    n = look(t, dir, name, node_ino(dir->ino, name));
    if (n)
        n->references++;
    pthread_mutex_unlock(&t->lock);
    return n;
}

void node_hold(struct node_table *t, struct tree_node *n)
{
    pthread_mutex_lock(&t->lock);
    n->references++;
    pthread_mutex_unlock(&t->lock);
}

void node_forget(struct node_table *t, struct tree_node *n, uint64_t references)
{
    struct tree_node *parent;

    pthread_mutex_lock(&t->lock);
    for (; n; n = parent, references = 1) {
        assert(n->references >= references);
        n->references -= references;
        if (n->references)
            break;
        parent = n->parent;
        remove_from_table(t, n);
        *n->this_child = n->next_child;
        if (n->next_child)
            n->next_child->this_child = n->this_child;
        free(n);
    }
    pthread_mutex_unlock(&t->lock);
}

void node_drop(struct node_table *t, struct tree_node *n)
{
    pthread_mutex_lock(&t->lock);
    remove_from_table(t, n);
    pthread_mutex_unlock(&t->lock);
}

/* The next node of a walk over what is below top, parents first. */
static struct tree_node *walk(const struct tree_node *top, struct tree_node *n, bool deep)
{
    if ((deep || n == top) && n->first_child)
        return n->first_child;
    while (n != top && !n->next_child)
        n = n->parent;
    return n == top ? NULL : n->next_child;
}

int node_below(struct node_table *t, struct tree_node *top, bool deep, struct tree_node ***out, size_t *count)
{
    struct tree_node **list = NULL;
    size_t n = 0;

    *out = NULL;
    *count = 0;
    pthread_mutex_lock(&t->lock);
    for (struct tree_node *i = walk(top, top, deep); i; i = walk(top, i, deep))
        n++;
    list = n ? malloc(n * sizeof *list) : NULL;
    if (list)
        for (struct tree_node *i = walk(top, top, deep); i; i = walk(top, i, deep)) {
            i->references++;
            list[(*count)++] = i;
        }
    pthread_mutex_unlock(&t->lock);
    *out = list;
    return n && !list ? -ENOMEM : 0;
}
