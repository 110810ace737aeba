/* The kernel's requests, each handed to the tree. */
#include "fs/fuse_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#define OWNER_FIELDS (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)
#define READ_MAX (1 << 20)

static struct fuse_door *door_of(fuse_req_t req) { return fuse_req_userdata(req); }

static struct tree_who who_of(fuse_req_t req)
{
    const struct fuse_ctx *c = fuse_req_ctx(req);

    return (struct tree_who){c->uid, c->gid, c->pid};
}

static void stat_of(const struct tree_attr *a, struct stat *st)
{
    memset(st, 0, sizeof *st);
    st->st_ino = a->ino;
    st->st_mode = a->mode;
    st->st_nlink = 1;            /* also for directories: says that their number is not kept */
    st->st_uid = a->uid;
    st->st_gid = a->gid;
    st->st_size = a->size;
    st->st_blocks = (a->size + 511) / 512;
    st->st_blksize = 4096;
    st->st_mtim.tv_sec = a->mtime_ms / 1000;
    st->st_mtim.tv_nsec = a->mtime_ms % 1000 * 1000000;
    st->st_atim = st->st_ctim = st->st_mtim;
}

static void entry_of(struct fuse_door *d, const struct tree_node *n, const struct tree_attr *a, struct fuse_entry_param *e)
{
    memset(e, 0, sizeof *e);
    e->ino = fuse_number(d, n);
    e->generation = tree_generation(n);
    stat_of(a, &e->attr);
    e->attr_timeout = a->attr_ttl_ms / 1000.0;
    e->entry_timeout = a->name_ttl_ms / 1000.0;
}

/* The node's reference becomes the kernel's, unless the answer did not reach it. */
static void reply_entry(fuse_req_t req, struct tree_node *n, const struct tree_attr *a)
{
    struct fuse_door *d = door_of(req);
    struct fuse_entry_param e;

    entry_of(d, n, a, &e);
    if (fuse_reply_entry(req, &e) != 0)
        tree_forget(d->tree, n, 1);
}

static void init(void *userdata, struct fuse_conn_info *c)
{
    static const unsigned wanted = FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_PARALLEL_DIROPS |
                                   FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_ASYNC_DIO | FUSE_CAP_DONT_MASK;

    c->want |= c->capable & wanted;
    c->max_write = FUSE_MAX_WRITE;
}

/* ---- names ---- */

static void lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct fuse_door *d = door_of(req);
    struct tree_who who = who_of(req);
    struct tree_node *n;
    struct tree_attr a;
    int rc = tree_lookup(d->tree, fuse_node(d, parent), str_of(name), &who, &n, &a);

    if (rc)
        fuse_reply_err(req, -rc);
    else
        reply_entry(req, n, &a);
}

static void forget_one(struct fuse_door *d, fuse_ino_t ino, uint64_t references)
{
    if (ino != FUSE_ROOT_ID)
        tree_forget(d->tree, fuse_node(d, ino), references);
}

static void forget(fuse_req_t req, fuse_ino_t ino, uint64_t references)
{
    forget_one(door_of(req), ino, references);
    fuse_reply_none(req);
}

static void forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *list)
{
    for (size_t i = 0; i < count; i++)
        forget_one(door_of(req), list[i].ino, list[i].nlookup);
    fuse_reply_none(req);
}

static void make_dir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    struct fuse_door *d = door_of(req);
    struct tree_who who = who_of(req);
    struct tree_node *n;
    struct tree_attr a;
    int rc = tree_mkdir(d->tree, fuse_node(d, parent), str_of(name), &who, &n, &a);

    if (rc)
        fuse_reply_err(req, -rc);
    else
        reply_entry(req, n, &a);
}

static void remove_name(fuse_req_t req, fuse_ino_t parent, const char *name, bool is_dir)
{
    struct fuse_door *d = door_of(req);
    struct tree_who who = who_of(req);

    fuse_reply_err(req, -tree_remove(d->tree, fuse_node(d, parent), str_of(name), is_dir, &who));
}

static void remove_dir(fuse_req_t req, fuse_ino_t parent, const char *name) { remove_name(req, parent, name, true); }
static void remove_file(fuse_req_t req, fuse_ino_t parent, const char *name) { remove_name(req, parent, name, false); }

static void rename_to(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t to, const char *to_name, unsigned flags)
{
    struct fuse_door *d = door_of(req);
    struct tree_who who = who_of(req);

    fuse_reply_err(req, -tree_rename(d->tree, fuse_node(d, parent), str_of(name), fuse_node(d, to), str_of(to_name), flags, &who));
}

static void refuse(fuse_req_t req, fuse_ino_t parent, const char *name, const char *sentence)
{
    struct fuse_door *d = door_of(req);
    struct tree_who who = who_of(req);

    fuse_reply_err(req, -tree_refuse(d->tree, fuse_node(d, parent), str_of(name), &who, sentence));
}

static void make_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
    refuse(req, parent, name, "links are made by the broker only");
}

static void make_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
    refuse(req, parent, name, "a file here has one name only");
}

static void read_link(fuse_req_t req, fuse_ino_t ino)
{
    struct fuse_door *d = door_of(req);
    struct tree_who who = who_of(req);
    struct buf target = {0};
    int rc = tree_link(d->tree, fuse_node(d, ino), &who, &target);
    char *text = buf_take(&target);

    if (!rc && !text)
        rc = -ENOMEM;
    if (rc)
        fuse_reply_err(req, -rc);
    else
        fuse_reply_readlink(req, text);
    free(text);
}

/* ---- attributes ---- */

static void reply_attr(fuse_req_t req, fuse_ino_t ino)
{
    struct fuse_door *d = door_of(req);
    struct tree_who who = who_of(req);
    struct tree_attr a;
    struct stat st;
    int rc = tree_attr(d->tree, fuse_node(d, ino), &who, &a);

    if (rc) {
        fuse_reply_err(req, -rc);
        return;
    }
    stat_of(&a, &st);
    fuse_reply_attr(req, &st, a.attr_ttl_ms / 1000.0);
}

static void getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) { reply_attr(req, ino); }

/* Times are the broker's: setting them succeeds, as touch must, and changes nothing. */
static void setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int which, struct fuse_file_info *fi)
{
    struct fuse_door *d = door_of(req);
    struct tree_who who = who_of(req);
    struct tree_node *n = fuse_node(d, ino);
    int rc = 0;

    if (which & OWNER_FIELDS)
        rc = tree_chown(d->tree, n, which & FUSE_SET_ATTR_UID ? st->st_uid : (uid_t)-1,
                        which & FUSE_SET_ATTR_GID ? st->st_gid : (gid_t)-1, &who);
    if (!rc && (which & FUSE_SET_ATTR_MODE))
        rc = tree_chmod(d->tree, n, st->st_mode, &who);
    if (!rc && (which & FUSE_SET_ATTR_SIZE))
        rc = tree_truncate(d->tree, n, st->st_size, &who);
    if (rc)
        fuse_reply_err(req, -rc);
    else
        reply_attr(req, ino);
}

/* ---- files ---- */

static void set_handle(struct fuse_file_info *fi, struct tree_handle *h)
{
    fi->fh = (uintptr_t)h;
    fi->direct_io = 1;           /* each read(2) and write(2) comes to us, whatever st_size was */
    fi->noflush = 1;             /* nothing is left to say at close */
}

static struct tree_handle *handle_of(const struct fuse_file_info *fi) { return (struct tree_handle *)(uintptr_t)fi->fh; }

static void open_file(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct fuse_door *d = door_of(req);
    struct tree_who who = who_of(req);
    struct tree_handle *h;
    int rc = tree_file_open(d->tree, fuse_node(d, ino), fi->flags, &who, &h);

    if (rc) {
        fuse_reply_err(req, -rc);
        return;
    }
    set_handle(fi, h);
    if (fuse_reply_open(req, fi) != 0)
        tree_file_close(h);
}

static void create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
    struct fuse_door *d = door_of(req);
    struct tree_who who = who_of(req);
    struct fuse_entry_param e;
    struct tree_handle *h;
    struct tree_node *n;
    struct tree_attr a;
    int rc = tree_file_make(d->tree, fuse_node(d, parent), str_of(name), fi->flags, &who, &n, &a, &h);

    if (rc) {
        fuse_reply_err(req, -rc);
        return;
    }
    set_handle(fi, h);
    entry_of(d, n, &a, &e);
    if (fuse_reply_create(req, &e, fi) != 0) {
        tree_file_close(h);
        tree_forget(d->tree, n, 1);
    }
}

/* mknod(2) of a plain file makes it too; there are no devices here. */
static void make_node(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t dev)
{
    struct fuse_door *d = door_of(req);
    struct tree_who who = who_of(req);
    struct tree_handle *h;
    struct tree_node *n;
    struct tree_attr a;
    int rc;

    if (!S_ISREG(mode)) {
        refuse(req, parent, name, "there are no devices, pipes or sockets here");
        return;
    }
    rc = tree_file_make(d->tree, fuse_node(d, parent), str_of(name), O_WRONLY, &who, &n, &a, &h);
    if (rc) {
        fuse_reply_err(req, -rc);
        return;
    }
    tree_file_close(h);
    reply_entry(req, n, &a);
}

static void read_file(fuse_req_t req, fuse_ino_t ino, size_t size, off_t at, struct fuse_file_info *fi)
{
    struct tree_handle *h = handle_of(fi);
    const char *p = NULL;
    char *room = NULL;
    ssize_t n = 0;

    tree_file_keep(h);           /* the reader may close it as soon as it has the answer */
    if (size > READ_MAX)
        size = READ_MAX;
    if (tree_file_needs_room(h) && (room = malloc(size)) == NULL)
        n = -ENOMEM;
    else
        n = tree_file_read(h, room, size, at, &p);
    if (n < 0)
        fuse_reply_err(req, (int)-n);
    else
        fuse_reply_buf(req, p, (size_t)n);
    tree_file_close(h);
    free(room);
}

static void write_file(fuse_req_t req, fuse_ino_t ino, const char *p, size_t n, off_t at, struct fuse_file_info *fi)
{
    struct tree_who who = who_of(req);
    ssize_t rc = tree_file_write(handle_of(fi), p, n, at, &who);

    if (rc < 0)
        fuse_reply_err(req, (int)-rc);
    else
        fuse_reply_write(req, (size_t)rc);
}

static void release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    tree_file_close(handle_of(fi));
    fuse_reply_err(req, 0);
}

/* ---- directories ---- */

#define PLUS_MIN 128             /* no entry of a readdirplus answer is smaller */

struct page {
    fuse_req_t req;
    struct fuse_door *d;
    char *p;
    size_t size, n;
    bool plus;
    struct tree_node **taken;    /* of a readdirplus, in case the answer does not arrive */
    size_t n_taken, max_taken;
};

static bool put_plain(struct page *g, const struct tree_listed *l, const char *name)
{
    struct stat st = {.st_ino = l->ino, .st_mode = l->type};
    size_t need = fuse_add_direntry(g->req, g->p + g->n, g->size - g->n, name, &st, (off_t)l->next);

    if (need > g->size - g->n)
        return false;
    g->n += need;
    return true;
}

static bool put_plus(struct page *g, const struct tree_listed *l, const char *name)
{
    struct fuse_entry_param e = {.attr = {.st_ino = l->ino, .st_mode = l->type}};
    struct tree_node *n;
    struct tree_attr a;

    if (fuse_add_direntry_plus(g->req, NULL, 0, name, NULL, 0) > g->size - g->n || g->n_taken == g->max_taken)
        return false;
    if (tree_entry_take(l->entry, &n, &a) == 0) {        /* else a name without attributes, looked up when asked for */
        entry_of(g->d, n, &a, &e);
        g->taken[g->n_taken++] = n;
    }
    g->n += fuse_add_direntry_plus(g->req, g->p + g->n, g->size - g->n, name, &e, (off_t)l->next);
    return true;
}

static bool put_entry(void *arg, const struct tree_listed *l)
{
    struct page *g = arg;
    char name[TREE_NAME_MAX + 1];

    if (!str_copy(name, sizeof name, l->name))
        return true;
    return g->plus ? put_plus(g, l, name) : put_plain(g, l, name);
}

static int fill(struct page *g, fuse_ino_t ino, size_t size, off_t cookie)
{
    struct tree_who who = who_of(g->req);

    g->size = size;
    g->p = malloc(size);
    g->max_taken = size / PLUS_MIN + 1;
    g->taken = g->plus ? malloc(g->max_taken * sizeof *g->taken) : NULL;
    if (!g->p || (g->plus && !g->taken))
        return -ENOMEM;
    return tree_list(g->d->tree, fuse_node(g->d, ino), &who, (uint64_t)cookie, put_entry, g);
}

static void list(fuse_req_t req, fuse_ino_t ino, size_t size, off_t cookie, bool plus)
{
    struct page g = {.req = req, .d = door_of(req), .plus = plus};
    int rc = cookie < 0 ? -EINVAL : fill(&g, ino, size < FUSE_MAX_WRITE ? size : FUSE_MAX_WRITE, cookie);

    if (!rc || g.n)
        rc = fuse_reply_buf(req, g.p, g.n);
    else
        fuse_reply_err(req, -rc);
    for (size_t i = 0; rc && i < g.n_taken; i++)
        tree_forget(g.d->tree, g.taken[i], 1);
    free(g.taken);
    free(g.p);
}

static void read_dir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t cookie, struct fuse_file_info *fi)
{
    list(req, ino, size, cookie, false);
}

static void read_dir_plus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t cookie, struct fuse_file_info *fi)
{
    list(req, ino, size, cookie, true);
}

/* What is not here (extended attributes, locks, flush ...) is answered ENOSYS once, and the kernel stops asking. */
const struct fuse_lowlevel_ops fuse_door_ops = {
    .init = init,
    .lookup = lookup,
    .forget = forget,
    .forget_multi = forget_multi,
    .getattr = getattr,
    .setattr = setattr,
    .readlink = read_link,
    .mknod = make_node,
    .mkdir = make_dir,
    .unlink = remove_file,
    .rmdir = remove_dir,
    .symlink = make_symlink,
    .rename = rename_to,
    .link = make_link,
    .open = open_file,
    .create = create,
    .read = read_file,
    .write = write_file,
    .release = release,
    .readdir = read_dir,
    .readdirplus = read_dir_plus,
};
