/* The FUSE door: the tree (fs/tree.h) mounted at a directory.
 *
 * The life of a door, beside that of its broker:
 *     broker_open  fuse_door_open  broker_run  fuse_door_run ...
 *     fuse_door_stop  broker_close  fuse_door_free
 * It calls the broker's verbs from threads of its own, so it stops before the
 * broker closes; the broker may tell it of changes until it is closed, so it is
 * freed after that. */
#ifndef FS_FUSE_H
#define FS_FUSE_H

#include "broker/broker.h"

struct fuse_door;

struct fuse_door_options {
    int threads;                 /* that serve requests; 0: 8. Each may wait for a disk. */
    const char *fsname;          /* the device column of mount(8); NULL: "mqfs" */
};

/* Mounts at dir: it is made when missing, freed of the stale mount of a killed run, and must be empty.
 * Requests wait in the kernel until fuse_door_run. 0, or -errno with a sentence in f: -ENODEV when the system has no
 * usable /dev/fuse, and then the broker can well go on without. o may be NULL. */
int fuse_door_open(struct broker *b, const char *dir, const struct fuse_door_options *o, struct fuse_door **out,
                   struct fault *f);
/* Starts the threads and returns. 0 or -errno with f. */
int fuse_door_run(struct fuse_door *d, struct fault *f);
/* Unmounts and ends the threads; operations under way are finished, those that wait get an error. NULL is allowed. */
void fuse_door_stop(struct fuse_door *d);
void fuse_door_free(struct fuse_door *d);            /* after fuse_door_stop and broker_close */

#endif
