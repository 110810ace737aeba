/* The tree: a broker's state as directories, files and links, independent of
 * who looks at it. The FUSE door (fs/fuse.h) is one reader; doors that need no
 * kernel (HTTP, tar) call the same functions.
 *
 * What exists is said by tables of rows (fs/row.h); every write ends in a verb
 * of broker/broker.h. docs/tree.md is printed from the same rows.
 *
 * A node stands for one name in one directory and lives as long as somebody
 * holds it: tree_lookup and tree_entry_take give one reference, tree_forget
 * takes references back. The same name in the same directory is the same node,
 * and so the same inode number, while it is held.
 *
 * Everything may be called from any thread that may wait for a disk. Functions
 * return 0 or -errno. A refused change leaves its sentence in the caller's
 * last_error. -ESTALE says that a held node has no topic, group, queue ... behind it any more. */
#ifndef FS_TREE_H
#define FS_TREE_H

#include <sys/stat.h>
#include "broker/broker.h"

struct tree;
struct tree_node;
struct tree_handle;
struct tree_entry;

#define TREE_NAME_MAX 255
#define TREE_VALUE_MAX 65536          /* bytes of one write to a value */

struct tree_who {
    uid_t uid;
    gid_t gid;
    pid_t pid;                        /* 0: not known */
};

struct tree_attr {
    uint64_t ino;                     /* made from the path: the same for the same path, always */
    mode_t mode;                      /* type and rights */
    uid_t uid;
    gid_t gid;
    int64_t size;                     /* what a read gives */
    int64_t mtime_ms;
    int name_ttl_ms, attr_ttl_ms;     /* how long a cache may believe name and attributes; 0: not at all */
};

int tree_open(struct broker *b, struct tree **out, struct fault *f);
void tree_close(struct tree *t);      /* nodes and handles that were not given back end with it; nobody may use them */
struct tree_node *tree_root(struct tree *t);        /* held by the tree */

/* The node called name in dir, with its attributes. -ENOENT, -ENAMETOOLONG, -ENOTDIR, -ESTALE. */
int tree_lookup(struct tree *t, struct tree_node *dir, struct str name, const struct tree_who *who,
                struct tree_node **out, struct tree_attr *attr);
void tree_hold(struct tree *t, struct tree_node *n);
void tree_forget(struct tree *t, struct tree_node *n, uint64_t references);
int tree_attr(struct tree *t, struct tree_node *n, const struct tree_who *who, struct tree_attr *attr);
/* Differs for two nodes that had the same address, one after the other. */
uint64_t tree_generation(const struct tree_node *n);

/* Lists dir from a cookie on (0: the start); each() returns false to stop, and then the entry it was
 * shown was not taken. Cookies stay good while names come and go. "." and ".." are included. */
struct tree_listed {
    struct str name;
    uint64_t ino;
    mode_t type;                      /* S_IFDIR, S_IFREG, S_IFLNK */
    uint64_t next;                    /* the cookie to go on with after this entry */
    struct tree_entry *entry;         /* for tree_entry_take; valid in each() only */
};
int tree_list(struct tree *t, struct tree_node *dir, const struct tree_who *who, uint64_t cookie,
              bool (*each)(void *arg, const struct tree_listed *e), void *arg);
/* The listed entry's node, with a reference, and its attributes. -ENOENT: gone meanwhile (or "." or ".."). */
int tree_entry_take(struct tree_entry *e, struct tree_node **out, struct tree_attr *attr);

int tree_link(struct tree *t, struct tree_node *n, const struct tree_who *who, struct buf *out);

/* Opens a file with open(2)'s flags. O_TRUNC alone changes nothing: a value is set by the write that carries it.
 * What a read gives is taken now: a handle is a snapshot. */
int tree_file_open(struct tree *t, struct tree_node *n, int flags, const struct tree_who *who, struct tree_handle **out);
/* Makes a file and opens it (bindings: "*" at once; a first write that is refused takes it back). With a reference. */
int tree_file_make(struct tree *t, struct tree_node *dir, struct str name, int flags, const struct tree_who *who,
                   struct tree_node **out, struct tree_attr *attr, struct tree_handle **handle);
/* At most n bytes at `at`: points *p into the handle; or, when tree_file_needs_room, fills buf (n bytes, else it may be
 * NULL) and points *p there. Bytes given, 0 at the end, or -errno. */
bool tree_file_needs_room(const struct tree_handle *h);
ssize_t tree_file_read(struct tree_handle *h, char *buf, size_t n, int64_t at, const char **p);
/* Sets the value. The whole text in one call: a write at an offset other than 0 is -EINVAL (unless opened
 * with O_APPEND, where a value is just set), one over TREE_VALUE_MAX -EFBIG. n, or -errno. */
ssize_t tree_file_write(struct tree_handle *h, const char *p, size_t n, int64_t at, const struct tree_who *who);
/* Keeps the handle, and what a read pointed to, until one more tree_file_close. */
void tree_file_keep(struct tree_handle *h);
void tree_file_close(struct tree_handle *h);

int tree_mkdir(struct tree *t, struct tree_node *dir, struct str name, const struct tree_who *who,
               struct tree_node **out, struct tree_attr *attr);
/* rmdir (dir true) or unlink. */
int tree_remove(struct tree *t, struct tree_node *dir, struct str name, bool is_dir, const struct tree_who *who);
int tree_rename(struct tree *t, struct tree_node *dir, struct str name, struct tree_node *to, struct str to_name,
                unsigned flags, const struct tree_who *who);
/* Owner: a uid hands the topic or group over. (uid_t)-1 / (gid_t)-1: leave. */
int tree_chown(struct tree *t, struct tree_node *n, uid_t uid, gid_t gid, const struct tree_who *who);
/* chmod to what it is already, and truncation to nothing, succeed and change nothing; the rest is refused. */
int tree_chmod(struct tree *t, struct tree_node *n, mode_t mode, const struct tree_who *who);
int tree_truncate(struct tree *t, struct tree_node *n, int64_t size, const struct tree_who *who);
/* Refuses an operation that the tree does not have, with a sentence: -EPERM. */
int tree_refuse(struct tree *t, struct tree_node *dir, struct str name, const struct tree_who *who, const char *sentence);

/* ---- for caches above: what a change of the broker's touches ----
 * The held node at a path of n names below the root, with a reference, or NULL. Asks the broker nothing. */
struct tree_node *tree_known(struct tree *t, const struct str *path, int n);
/* All held nodes right below n (depth 1) or anywhere below it, each with a reference; *out malloc'd. -ENOMEM. */
int tree_known_below(struct tree *t, struct tree_node *n, bool deep, struct tree_node ***out, size_t *count);
struct tree_node *tree_parent(const struct tree_node *n);
struct str tree_name(const struct tree_node *n);
/* From now on the name means another node: what stood there was removed. */
void tree_drop(struct tree *t, struct tree_node *n);
/* How the topic is called at the root ("topic:groups" for one called "groups"). False when it does not fit. */
bool tree_topic_name(struct str topic, char out[TREE_NAME_MAX + 1]);

/* The table of docs/tree.md. */
void tree_print_doc(struct buf *out);

#endif
