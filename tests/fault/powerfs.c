/* A file system in memory whose power can be cut: what no fsync, fdatasync or msync had confirmed is then
 * forgotten, or half forgotten, as disks may do it. For tests of what a power loss leaves behind.
 *
 *     powerfs MOUNTPOINT          obeys lines on standard input, answers each with a line:
 *         mount                   mounts it ("mounted")
 *         cut SEED                the power goes: from here on nothing is confirmed any more; unmounts ("cut", and
 *                                 how many unconfirmed changes there were, and how many of them were lost)
 *         forget                  the same, and all of them are lost
 *         fail WHAT [DIR]         from here on reads, writes (every change), or syncs answer EIO, where WHAT is read,
 *                                 write or sync; none: nothing does any more. DIR: only in files and directories that
 *                                 were made in a directory of that name ("fail")
 *         drop                    the kernel forgets what it has of all files, mapped pages too: nothing dirty should be
 *                                 there ("dropped")
 *     Unmounted by somebody else, it keeps everything. End of input ends it, and what it held is gone.
 *
 * The model. A file's bytes and length are safe up to its last sync. Later writes come to the disk or not, each on its
 * own, torn at any 512-byte sector; the same goes for changes of length. A directory's entries are safe up to the
 * directory's own last fsync; later makes, removals, links and renames come to the disk or not, each on its own (one
 * rename is atomic). That is harsher than ext4 and xfs, which keep the order of such changes.
 * Not modelled: attributes beyond size and mode; syncfs, which FUSE does not pass on. */
#include <errno.h>
#include <fuse_lowlevel.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SECTOR 512
#define FOREVER 1e6
#define FILE_MAX ((off_t)1 << 30)

struct data {
    char *p;
    size_t n, cap;
};

struct entry {
    char name[256];
    struct inode *to;
};

struct entries {
    struct entry *e;
    size_t n, cap;
};

/* A change that no sync has confirmed. File: bytes at a place, or (p NULL) a new length. Directory: `name` goes
 * away, and/or `to` comes under `name2`. */
struct change {
    struct change *next;
    off_t at;
    size_t n;
    char *p;
    char *name, *name2;
    struct inode *to;
};

struct inode {
    fuse_ino_t ino;
    mode_t mode;
    struct timespec mtime;
    struct data now, safe;               /* file */
    struct entries names, safe_names;    /* directory */
    struct change *changes, **last;      /* oldest first */
    size_t n_changes;
    bool reached;
    char made_as[256], made_in[256];     /* its first name, and its directory's */
};

static struct inode **inodes;            /* by number; never freed: a test's life is short */
static size_t n_inodes;
static const char *mountpoint;
static long unconfirmed, lost;
static char failing[8] = "none", failing_in[32];

__attribute__((noreturn)) static void die(const char *what)
{
    fprintf(stderr, "powerfs: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void *check(void *p)
{
    if (!p) {
        errno = ENOMEM;
        die("memory");
    }
    return p;
}

/* ---- bytes, names, changes ---- */

static void data_resize(struct data *d, size_t n)
{
    if (n > d->cap) {
        d->cap = n < 4096 ? 4096 : n;
        d->p = check(realloc(d->p, d->cap));
    }
    if (n > d->n)
        memset(d->p + d->n, 0, n - d->n);
    d->n = n;
}

static void data_put(struct data *d, size_t at, const char *p, size_t n)
{
    if (at + n > d->n)
        data_resize(d, at + n);
    if (n)
        memcpy(d->p + at, p, n);
}

static struct entry *find(struct entries *d, const char *name)
{
    for (size_t i = 0; i < d->n; i++)
        if (strcmp(d->e[i].name, name) == 0)
            return &d->e[i];
    return NULL;
}

static void entry_remove(struct entries *d, const char *name)
{
    struct entry *e = find(d, name);

    if (e) {
        d->n--;
        memmove(e, e + 1, (size_t)((char *)(d->e + d->n) - (char *)e));
    }
}

static void entry_set(struct entries *d, const char *name, struct inode *to)
{
    struct entry *e = find(d, name);

    if (!e) {
        if (d->n == d->cap) {
            d->cap = d->cap ? d->cap * 2 : 16;
            d->e = check(realloc(d->e, d->cap * sizeof *d->e));
        }
        e = &d->e[d->n++];
        snprintf(e->name, sizeof e->name, "%s", name);
    }
    e->to = to;
}

static void entries_copy(struct entries *to, const struct entries *from)
{
    to->n = 0;
    for (size_t i = 0; i < from->n; i++)
        entry_set(to, from->e[i].name, from->e[i].to);
}

static void touch(struct inode *i) { clock_gettime(CLOCK_REALTIME, &i->mtime); }

static struct change *change_add(struct inode *i)
{
    struct change *c = check(calloc(1, sizeof *c));

    *i->last = c;
    i->last = &c->next;
    i->n_changes++;
    touch(i);
    return c;
}

static void changes_forget(struct inode *i)
{
    struct change *c, *next;

    for (c = i->changes; c; c = next) {
        next = c->next;
        free(c->p);
        free(c->name);
        free(c->name2);
        free(c);
    }
    i->changes = NULL;
    i->last = &i->changes;
    i->n_changes = 0;
}

static void change_dir(struct inode *dir, const char *gone, const char *name, struct inode *to)
{
    struct change *c = change_add(dir);

    if (gone) {
        c->name = check(strdup(gone));
        entry_remove(&dir->names, gone);
    }
    if (name) {
        c->name2 = check(strdup(name));
        c->to = to;
        entry_set(&dir->names, name, to);
    }
}

static void change_bytes(struct inode *i, off_t at, const char *p, size_t n)
{
    struct change *c = change_add(i);

    c->at = at;
    c->n = n;
    c->p = check(malloc(n + 1));
    memcpy(c->p, p, n);
    data_put(&i->now, (size_t)at, p, n);
}

static void change_size(struct inode *i, off_t n)
{
    struct change *c = change_add(i);

    c->at = n;
    data_resize(&i->now, (size_t)n);
}

/* ---- what comes to the disk ---- */

static bool coin(void) { return random() & 1; }

/* The sectors of a write: all of them, or (torn) each or not. */
static bool write_apply(struct inode *i, const struct change *c, bool torn)
{
    size_t at = (size_t)c->at, end = at + c->n;
    bool whole = true;

    while (at < end) {
        size_t to = (at / SECTOR + 1) * SECTOR;
        if (to > end)
            to = end;
        if (!torn || coin())
            data_put(&i->safe, at, c->p + (at - (size_t)c->at), to - at);
        else
            whole = false;
        at = to;
    }
    return whole;
}

static bool change_apply(struct inode *i, const struct change *c, bool torn)
{
    if (S_ISDIR(i->mode)) {
        if (c->name)
            entry_remove(&i->safe_names, c->name);
        if (c->name2)
            entry_set(&i->safe_names, c->name2, c->to);
        return true;
    }
    if (c->p)
        return write_apply(i, c, torn);
    data_resize(&i->safe, (size_t)c->at);
    return true;
}

static void inode_sync(struct inode *i)
{
    for (struct change *c = i->changes; c; c = c->next)
        change_apply(i, c, false);
    changes_forget(i);
}

enum fate { ALL_LOST, ALL_KEPT, FIRST_KEPT, SOME_KEPT, TORN, FATES = 8 };    /* the rest is torn too */

static void inode_cut(struct inode *i, bool all)
{
    enum fate fate = all ? ALL_LOST : (enum fate)(random() % FATES);
    size_t first = i->n_changes ? (size_t)random() % (i->n_changes + 1) : 0, k = 0;

    for (struct change *c = i->changes; c; c = c->next, k++) {
        bool comes = fate == ALL_KEPT || (fate == FIRST_KEPT && k < first) || (fate >= SOME_KEPT && coin());
        unconfirmed++;
        if (!comes || !change_apply(i, c, fate >= TORN))
            lost++;
    }
    changes_forget(i);
    if (S_ISDIR(i->mode)) {
        entries_copy(&i->names, &i->safe_names);
        return;
    }
    i->now.n = 0;
    data_put(&i->now, 0, i->safe.p ? i->safe.p : "", i->safe.n);
}

static void reach(struct inode *i)
{
    if (i->reached)
        return;
    i->reached = true;
    for (size_t k = 0; k < i->names.n; k++)
        reach(i->names.e[k].to);
}

static void forget_unreached(void)
{
    for (size_t k = 1; k < n_inodes; k++)
        if (inodes[k])
            inodes[k]->reached = false;
    reach(inodes[FUSE_ROOT_ID]);
    for (size_t k = 1; k < n_inodes; k++) {
        struct inode *i = inodes[k];
        if (!i || i->reached)
            continue;
        changes_forget(i);
        free(i->now.p);
        free(i->safe.p);
        free(i->names.e);
        free(i->safe_names.e);
        free(i);
        inodes[k] = NULL;
    }
}

/* all: nothing that was not confirmed comes to the disk. */
static void power_cut(unsigned seed, bool all)
{
    srandom(seed);
    unconfirmed = lost = 0;
    for (size_t k = 1; k < n_inodes; k++)
        if (inodes[k])
            inode_cut(inodes[k], all);
    forget_unreached();
}

static void sync_all(void)
{
    for (size_t k = 1; k < n_inodes; k++)
        if (inodes[k])
            inode_sync(inodes[k]);
    forget_unreached();
}

static struct inode *inode_new(mode_t mode)
{
    struct inode *i = check(calloc(1, sizeof *i));

    if (!n_inodes)
        n_inodes = FUSE_ROOT_ID;
    inodes = check(realloc(inodes, (n_inodes + 1) * sizeof *inodes));
    inodes[n_inodes] = i;
    i->ino = n_inodes++;
    i->mode = mode;
    i->last = &i->changes;
    touch(i);
    return i;
}

/* ---- requests ---- */

/* Nobody but the kernel changes anything, so what its page cache holds is never out of date. */
static void op_init(void *arg, struct fuse_conn_info *conn)
{
    (void)arg;
    conn->want &= ~(unsigned)FUSE_CAP_AUTO_INVAL_DATA;
}

static struct inode *at(fuse_ino_t ino) { return inodes[ino]; }

/* Answers the request when that fails now. */
static bool fails(fuse_req_t req, fuse_ino_t ino, const char *what)
{
    if (strcmp(failing, what) != 0 || (failing_in[0] && strcmp(failing_in, at(ino)->made_in) != 0))
        return false;
    fuse_reply_err(req, EIO);
    return true;
}

/* As many names as the file has; a test's tree is small. */
static nlink_t links_of(const struct inode *i)
{
    nlink_t n = 0;

    if (S_ISDIR(i->mode))
        return 1;
    for (size_t k = 1; k < n_inodes; k++)
        for (size_t e = 0; inodes[k] && e < inodes[k]->names.n; e++)
            n += inodes[k]->names.e[e].to == i;
    return n;
}

static struct stat stat_of(const struct inode *i)
{
    return (struct stat){.st_ino = i->ino, .st_mode = i->mode, .st_nlink = links_of(i), .st_size = (off_t)i->now.n,
                         .st_blocks = (blkcnt_t)(i->now.n + 511) / 512, .st_blksize = 4096, .st_mtim = i->mtime,
                         .st_ctim = i->mtime, .st_atim = i->mtime};
}

static struct fuse_entry_param entry_of(const struct inode *i)
{
    return (struct fuse_entry_param){.ino = i->ino, .generation = 1, .attr = stat_of(i), .attr_timeout = FOREVER,
                                     .entry_timeout = FOREVER};
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct entry *e = find(&at(parent)->names, name);
    struct fuse_entry_param p;

    if (!e) {
        fuse_reply_err(req, ENOENT);
        return;
    }
    p = entry_of(e->to);
    fuse_reply_entry(req, &p);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct stat st = stat_of(at(ino));

    (void)fi;
    fuse_reply_attr(req, &st, FOREVER);
}

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int set, struct fuse_file_info *fi)
{
    struct inode *i = at(ino);
    struct stat st;

    (void)fi;
    if (fails(req, ino, "write"))
        return;
    if (set & FUSE_SET_ATTR_SIZE && attr->st_size > FILE_MAX) {
        fuse_reply_err(req, EFBIG);
        return;
    }
    if (set & FUSE_SET_ATTR_SIZE)
        change_size(i, attr->st_size);
    if (set & FUSE_SET_ATTR_MODE)
        i->mode = (i->mode & S_IFMT) | (attr->st_mode & ~(mode_t)S_IFMT);
    st = stat_of(i);
    fuse_reply_attr(req, &st, FOREVER);
}

static struct inode *make(fuse_ino_t parent, const char *name, mode_t mode)
{
    struct inode *i;

    if (find(&at(parent)->names, name) || strlen(name) > 255)
        return NULL;
    i = inode_new(mode);
    snprintf(i->made_as, sizeof i->made_as, "%s", name);
    snprintf(i->made_in, sizeof i->made_in, "%s", at(parent)->made_as);
    change_dir(at(parent), NULL, name, i);
    return i;
}

static void reply_made(fuse_req_t req, struct inode *i)
{
    struct fuse_entry_param p;

    if (!i) {
        fuse_reply_err(req, EEXIST);
        return;
    }
    p = entry_of(i);
    fuse_reply_entry(req, &p);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    if (!fails(req, parent, "write"))
        reply_made(req, make(parent, name, S_IFDIR | mode));
}

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t dev)
{
    (void)dev;
    if (fails(req, parent, "write"))
        return;
    if (!S_ISREG(mode))
        fuse_reply_err(req, EPERM);
    else
        reply_made(req, make(parent, name, mode));
}

static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
    struct fuse_entry_param p;
    struct inode *i;

    if (fails(req, parent, "write"))
        return;
    if (!(i = make(parent, name, S_IFREG | mode))) {
        fuse_reply_err(req, EEXIST);
        return;
    }
    p = entry_of(i);
    fi->keep_cache = 1;
    fuse_reply_create(req, &p, fi);
}

static void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
    struct fuse_entry_param p;

    if (fails(req, parent, "write"))
        return;
    if (find(&at(parent)->names, name)) {
        fuse_reply_err(req, EEXIST);
        return;
    }
    change_dir(at(parent), NULL, name, at(ino));
    p = entry_of(at(ino));
    fuse_reply_entry(req, &p);
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct entry *e = find(&at(parent)->names, name);

    if (fails(req, parent, "write"))
        return;
    if (e && e->to->names.n) {
        fuse_reply_err(req, ENOTEMPTY);
        return;
    }
    if (e)
        change_dir(at(parent), name, NULL, NULL);
    fuse_reply_err(req, e ? 0 : ENOENT);
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent, const char *newname,
                      unsigned flags)
{
    struct entry *e = find(&at(parent)->names, name);

    if (fails(req, parent, "write"))
        return;
    if (parent != newparent || flags & ~RENAME_NOREPLACE || !e)      /* between directories a rename would not be one change here */
        fuse_reply_err(req, !e ? ENOENT : parent != newparent ? EXDEV : EINVAL);
    else if (flags && find(&at(parent)->names, newname))
        fuse_reply_err(req, EEXIST);
    else {
        change_dir(at(parent), name, newname, e->to);
        fuse_reply_err(req, 0);
    }
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    fi->keep_cache = 1;
    fuse_reply_open(req, fi);
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t n, off_t from, struct fuse_file_info *fi)
{
    const struct data *d = &at(ino)->now;
    size_t begin = (size_t)from < d->n ? (size_t)from : d->n;

    (void)fi;
    if (!fails(req, ino, "read"))
        fuse_reply_buf(req, d->p ? d->p + begin : NULL, n < d->n - begin ? n : d->n - begin);
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *p, size_t n, off_t to, struct fuse_file_info *fi)
{
    (void)fi;
    if (fails(req, ino, "write"))
        return;
    if (to > FILE_MAX) {
        fuse_reply_err(req, EFBIG);
        return;
    }
    change_bytes(at(ino), to, p, n);
    fuse_reply_write(req, n);
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    (void)datasync;
    (void)fi;
    if (fails(req, ino, "sync"))
        return;
    inode_sync(at(ino));
    fuse_reply_err(req, 0);
}

static void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t from, off_t n, struct fuse_file_info *fi)
{
    struct inode *i = at(ino);
    off_t end = from + n, size = (off_t)i->now.n;

    (void)fi;
    if (fails(req, ino, "write"))
        return;
    if (end > FILE_MAX) {
        fuse_reply_err(req, ENOSPC);
        return;
    }
    if (!(mode & FALLOC_FL_KEEP_SIZE) && end > size)
        change_size(i, end);
    if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE) && from < size) {
        size_t zeros = (size_t)((end < size ? end : size) - from);
        char *p = check(calloc(1, zeros));
        change_bytes(i, from, p, zeros);
        free(p);
    }
    fuse_reply_err(req, 0);
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t cap, off_t from, struct fuse_file_info *fi)
{
    const struct entries *d = &at(ino)->names;
    char *out = check(malloc(cap));
    size_t n = 0;

    (void)fi;
    for (size_t k = (size_t)from; k < d->n + 2; k++) {
        struct stat st = k < 2 ? stat_of(at(ino)) : stat_of(d->e[k - 2].to);
        const char *name = k == 0 ? "." : k == 1 ? ".." : d->e[k - 2].name;
        size_t one = fuse_add_direntry(req, out + n, cap - n, name, &st, (off_t)k + 1);
        if (one > cap - n)
            break;
        n += one;
    }
    fuse_reply_buf(req, out, n);
    free(out);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
    struct statvfs st = {.f_bsize = 4096, .f_frsize = 4096, .f_blocks = 1 << 20, .f_bfree = 1 << 19,
                         .f_bavail = 1 << 19, .f_files = 1 << 20, .f_ffree = 1 << 20, .f_namemax = 255};

    (void)ino;
    fuse_reply_statfs(req, &st);
}

static const struct fuse_lowlevel_ops ops = {
    .init = op_init, .lookup = op_lookup, .getattr = op_getattr, .setattr = op_setattr, .mkdir = op_mkdir, .mknod = op_mknod,
    .create = op_create, .link = op_link, .unlink = op_unlink, .rmdir = op_unlink, .rename = op_rename,
    .open = op_open, .read = op_read, .write = op_write, .fsync = op_fsync, .fsyncdir = op_fsync,
    .fallocate = op_fallocate, .readdir = op_readdir, .statfs = op_statfs,
};

/* ---- life ---- */

static struct fuse_session *session_open(void)
{
    char name[] = "powerfs", option[] = "-odefault_permissions,fsname=powerfs,allow_other";
    char *argv[] = {name, option, NULL};
    struct fuse_args args = FUSE_ARGS_INIT(2, argv);
    struct fuse_session *se = fuse_session_new(&args, &ops, sizeof ops, NULL);

    fuse_opt_free_args(&args);
    if (!se || fuse_session_mount(se, mountpoint))
        die("mount");
    return se;
}

/* libfuse closes the device first, so that the kernel does not wait here for this thread's answers. */
static void session_close(struct fuse_session *se)
{
    fuse_session_unmount(se);
    fuse_session_destroy(se);
}

static void say(const char *text)
{
    puts(text);
    fflush(stdout);
}

/* In a thread: the kernel may have pages to write first, which the main one has to take. */
static void *drop_main(void *arg)
{
    for (size_t ino = FUSE_ROOT_ID + 1, n = n_inodes; ino < n; ino++)
        fuse_lowlevel_notify_inval_inode(arg, ino, 0, 0);
    say("dropped");
    return NULL;
}

static void drop(struct fuse_session *se)
{
    pthread_t t;

    if (pthread_create(&t, NULL, drop_main, se))
        die("thread");
    pthread_detach(t);
}

static struct fuse_session *obey(const char *line, struct fuse_session *se)
{
    bool forget = strcmp(line, "forget\n") == 0;
    unsigned seed = 0;

    if (sscanf(line, "fail %7s", failing) == 1) {
        failing_in[0] = 0;
        sscanf(line, "fail %*s %31s", failing_in);
        say("fail");
    } else if (strcmp(line, "drop\n") == 0 && se) {
        drop(se);
    } else if (strcmp(line, "mount\n") == 0 && !se) {
        se = session_open();
        say("mounted");
    } else if (se && (forget || sscanf(line, "cut %u", &seed) == 1)) {
        session_close(se);
        se = NULL;
        power_cut(seed, forget);
        printf("cut %ld %ld\n", unconfirmed, lost);
        fflush(stdout);
    } else {
        say("what?");
    }
    return se;
}

/* One line of standard input, unbuffered so that poll tells the truth. False at its end. */
static bool read_line(char *line, size_t cap)
{
    size_t n = 0;

    while (n + 1 < cap && read(0, line + n, 1) == 1)
        if (line[n++] == '\n') {
            line[n] = 0;
            return true;
        }
    return false;
}

int main(int argc, char **argv)
{
    struct fuse_session *se = NULL;
    struct fuse_buf in = {0};
    char line[64];

    if (argc != 2) {
        fprintf(stderr, "usage: powerfs MOUNTPOINT\n");
        return 2;
    }
    mountpoint = argv[1];
    signal(SIGPIPE, SIG_IGN);
    inode_new(S_IFDIR | 0755);
    for (;;) {
        struct pollfd fds[2] = {{.fd = 0, .events = POLLIN}, {.fd = se ? fuse_session_fd(se) : -1, .events = POLLIN}};
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            die("poll");
        if (fds[0].revents) {
            if (!read_line(line, sizeof line))
                break;
            se = obey(line, se);
            continue;
        }
        if (se && fds[1].revents) {
            int n = fuse_session_receive_buf(se, &in);
            if (n > 0)
                fuse_session_process_buf(se, &in);
            if (n <= 0 && n != -EINTR && n != -EAGAIN) {     /* unmounted by somebody */
                sync_all();
                session_close(se);
                se = NULL;
            }
        }
    }
    if (se)
        session_close(se);
    free(in.mem);
    return 0;
}
