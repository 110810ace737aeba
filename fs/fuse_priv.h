/* What the FUSE door's files share. Private to fs/. */
#ifndef FS_FUSE_PRIV_H
#define FS_FUSE_PRIV_H

#include <fuse_lowlevel.h>
#include <pthread.h>
#include "fs/fuse.h"
#include "fs/tree.h"

#define FUSE_THREADS_MAX 64
#define FUSE_MAX_WRITE (128 << 10)   /* also the size of each thread's buffer */

struct fuse_notify;

struct fuse_door {
    struct broker *b;
    struct tree *tree;
    struct fuse_session *se;
    struct fuse_notify *notify;
    char *dir;
    int n_threads, n_running;
    pthread_t threads[FUSE_THREADS_MAX];
};

extern const struct fuse_lowlevel_ops fuse_door_ops;     /* fuse_ops.c; userdata is the door */

/* A node's number for the kernel is its address; the root's is fixed. */
static inline struct tree_node *fuse_node(struct fuse_door *d, fuse_ino_t ino)
{
    return ino == FUSE_ROOT_ID ? tree_root(d->tree) : (struct tree_node *)(uintptr_t)ino;
}
static inline fuse_ino_t fuse_number(struct fuse_door *d, const struct tree_node *n)
{
    return n == tree_root(d->tree) ? FUSE_ROOT_ID : (fuse_ino_t)(uintptr_t)n;
}

/* Tells the kernel which cached names and attributes are no longer true: a bounded queue that the broker's
 * events fill, and a thread that holds no lock when it speaks to the kernel. */
int fuse_notify_start(struct fuse_door *d, struct fuse_notify **out);
/* From now on it hears of changes, until the broker is closed: a broker cannot be left while it may be calling. */
void fuse_notify_listen(struct fuse_notify *n);
void fuse_notify_stop(struct fuse_notify *n);            /* ends the thread; events are dropped from now on */
void fuse_notify_free(struct fuse_notify *n);

/* Makes dir ready to be mounted on. fuse_dir.c */
int fuse_dir_prepare(const char *dir, struct fault *f);
bool fuse_others_allowed(void);      /* may this user let others see the mount */

#endif
