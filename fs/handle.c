/* Open files: a snapshot to read, a value to set. */
#include "fs/tree_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include "common/codes.h"

static bool wants_read(int flags) { return (flags & O_ACCMODE) != O_WRONLY; }
static bool wants_write(int flags) { return (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC); }

static int take_snapshot(struct at *a, const struct row *row, struct tree_handle *h)
{
    struct stat st;

    if (row->text)
        return at_text(a, row, &h->text);
    if (!row->path)
        return 0;
    h->fd = open(row->path(a), O_RDONLY | O_CLOEXEC);
    if (h->fd < 0)
        return errno == ENOENT ? 0 : -errno;     /* nothing was written to it yet */
    if (fstat(h->fd, &st))
        return -errno;
    h->fd_size = st.st_size;
    return 0;
}

static struct tree_handle *handle_alloc(struct tree *t, struct tree_node *n, int flags)
{
    struct tree_handle *h = calloc(1, sizeof *h);

    if (!h)
        return NULL;
    h->t = t;
    h->keepers = 1;
    h->n = n;
    h->flags = flags;
    h->fd = -1;
    tree_hold(t, n);
    pthread_mutex_lock(&t->handles_lock);
    h->next = t->handles;
    h->here = &t->handles;
    if (h->next)
        h->next->here = &h->next;
    t->handles = h;
    pthread_mutex_unlock(&t->handles_lock);
    return h;
}

/* A handle on a node whose parameters are loaded. */
static int handle_new(struct tree *t, struct at *a, struct tree_node *n, int flags, struct tree_handle **out)
{
    struct tree_handle *h = handle_alloc(t, n, flags);
    int rc;

    if (!h)
        return -ENOMEM;
    rc = wants_read(flags) ? take_snapshot(a, n->row, h) : 0;
    if (rc) {
        tree_file_close(h);
        return rc;
    }
    *out = h;
    return 0;
}

static int scratch_open(struct tree *t, struct tree_node *n, int flags, struct tree_handle **out)
{
    struct scratch *f = tree_scratch(t, n);
    struct tree_handle *h = f ? handle_alloc(t, n, flags) : NULL;

    if (!h) {
        scratch_done(&t->scratches, &t->nodes, f);
        return f ? -ENOMEM : -ESTALE;
    }
    h->scratch = f;
    if (flags & O_TRUNC)
        scratch_resize(&t->scratches, f, 0);
    *out = h;
    return 0;
}

int tree_file_open(struct tree *t, struct tree_node *n, int flags, const struct tree_who *who, struct tree_handle **out)
{
    struct fault f = {0};
    struct at a;
    int rc;

    if (n->row->kind != ROW_FILE)
        return n->row->kind == ROW_DIR ? -EISDIR : -ELOOP;
    if (n->row == &scratch_row)
        return scratch_open(t, n, flags, out);
    if (wants_write(flags) && !n->row->set) {
        fault_set(&f, RC_NO_PERMISSION, EPERM, "this file can only be read");
        return tree_refused(t, n, str_of(""), who, &f, -EPERM);
    }
    rc = at_load(&a, t, n, who);
    if (!rc)
        rc = handle_new(t, &a, n, flags, out);
    at_done(&a);
    return rc == -ENOENT ? -ESTALE : rc;
}

void tree_file_keep(struct tree_handle *h) { atomic_fetch_add(&h->keepers, 1); }

void tree_file_close(struct tree_handle *h)
{
    if (!h || atomic_fetch_sub(&h->keepers, 1) > 1)
        return;
    pthread_mutex_lock(&h->t->handles_lock);
    *h->here = h->next;
    if (h->next)
        h->next->here = h->here;
    pthread_mutex_unlock(&h->t->handles_lock);
    if (h->fd >= 0)
        close(h->fd);
    buf_free(&h->text);
    scratch_done(&h->t->scratches, &h->t->nodes, h->scratch);
    tree_forget(h->t, h->n, 1);
    free(h);
}

bool tree_file_needs_room(const struct tree_handle *h) { return h->fd >= 0 || h->scratch; }

ssize_t tree_file_read(struct tree_handle *h, char *buf, size_t n, int64_t at, const char **p)
{
    int64_t size = h->fd >= 0 ? h->fd_size : (int64_t)h->text.n;
    ssize_t got;

    if (at < 0)
        return -EINVAL;
    if (h->scratch) {
        *p = buf;
        return scratch_read(&h->t->scratches, h->scratch, buf, n, at);
    }
    if (at >= size)
        return 0;
    if ((int64_t)n > size - at)
        n = (size_t)(size - at);
    if (h->fd < 0) {
        *p = h->text.p + at;
        return (ssize_t)n;
    }
    got = pread(h->fd, buf, n, at);
    *p = buf;
    return got < 0 ? -errno : got;
}

/* Text, one line but for ROW_LINES: no NUL or other control character, but for the newline at its end. */
static int check_value(const struct row *row, struct str v, struct fault *f)
{
    bool lines = row->flags & ROW_LINES;

    for (size_t i = 0; i < v.n; i++)
        if (((unsigned char)v.p[i] < ' ' && v.p[i] != '\t' && !(lines && v.p[i] == '\n')) || v.p[i] == 0x7f)
            return fault_set(f, RC_INVALID_PARAMETER, EINVAL, "a value is %s of text: byte 0x%02x at %zu does not belong there",
                             lines ? "lines" : "one line", (unsigned char)v.p[i], i);
    return 0;
}

static int set_value(struct tree_handle *h, struct str value, const struct tree_who *who, struct fault *f)
{
    const struct row *row = h->n->row;
    struct at a;
    int rc = check_value(row, value, f);

    if (rc)
        return rc;
    rc = at_load(&a, h->t, h->n, who);
    if (!rc) {
        rc = row->set(&a, value, f);
        if (rc && h->fresh && row->remove)      /* its making was part of what is refused */
            row->remove(&a, NULL);
    }
    at_done(&a);
    return rc;
}

ssize_t tree_file_write(struct tree_handle *h, const char *p, size_t n, int64_t at, const struct tree_who *who)
{
    struct fault f = {0};
    int rc;

    if (!wants_write(h->flags))
        return -EBADF;
    if (h->scratch)
        return scratch_write(&h->t->scratches, h->scratch, p, n, at, h->flags & O_APPEND);
    if (n > TREE_VALUE_MAX)
        rc = fault_set(&f, RC_INVALID_PARAMETER, EFBIG, "a value has at most %d bytes", TREE_VALUE_MAX);
    else if (at != 0 && !(h->flags & O_APPEND))
        rc = fault_set(&f, RC_INVALID_PARAMETER, EINVAL,
                       "a value is written whole, in one write from its beginning; this one starts at byte %lld",
                       (long long)at);
    else
        rc = set_value(h, str_trim(str_n(p, n)), who, &f);
    h->fresh = false;
    return rc ? tree_refused(h->t, h->n, str_of(""), who, &f, rc) : (ssize_t)n;
}

/* The row by which a new file or directory can be made in dir. */
static const struct row *maker(const struct row *dir, enum row_kind kind)
{
    for (const struct row *row = dir->rows; row && row->name; row++)
        if (row->kind == kind && row->make)
            return row;
    return NULL;
}

/* Makes name in dir by a row of that kind, and loads its parameters into *a. Returns its row, or NULL with *err. */
static const struct row *make(struct at *a, struct tree_node *dir, enum row_kind kind, struct str name,
                              struct fault *f, int *err)
{
    const struct row *row = maker(dir->row, kind);
    struct at there = *a;
    int looked;

    if (name.n > TREE_NAME_MAX) {
        *err = fault_set(f, RC_INVALID_PARAMETER, ENAMETOOLONG, "a name has at most %d bytes", TREE_NAME_MAX);
        return NULL;
    }
    if (at_step(&there, dir->row, name, &looked)) {
        at_done(&there);
        *err = fault_set(f, RC_INVALID_PARAMETER, EEXIST, "it is there already");
        return NULL;
    }
    if (!row) {
        *err = fault_set(f, RC_NO_PERMISSION, EPERM, "no %s can be made here", kind == ROW_DIR ? "directory" : "file");
        return NULL;
    }
    there = *a;
    *err = row->make(&there, name, f);
    at_done(&there);
    return *err ? NULL : at_step(a, dir->row, name, err);
}

/* The node and attributes of what make made. */
static int made(struct tree *t, struct at *a, const struct row *row, struct tree_node *dir, struct str name,
                struct tree_node **out, struct tree_attr *attr)
{
    int rc = at_attr(a, row, node_ino(dir->ino, name), attr);

    if (rc)
        return rc;
    *out = node_take(&t->nodes, dir, row, name);
    return *out ? 0 : -ENOMEM;
}

int tree_mkdir(struct tree *t, struct tree_node *dir, struct str name, const struct tree_who *who,
               struct tree_node **out, struct tree_attr *attr)
{
    struct fault f = {0};
    struct at a;
    const struct row *row;
    int rc = at_load(&a, t, dir, who);

    if (!rc && (row = make(&a, dir, ROW_DIR, name, &f, &rc)) != NULL)
        rc = made(t, &a, row, dir, name, out, attr);
    at_done(&a);
    return rc ? tree_refused(t, dir, name, who, &f, rc) : 0;
}

/* An editor's file, where it may have one. */
static int make_scratch(struct tree *t, struct tree_node *dir, struct str name, int flags, const struct tree_who *who,
                        struct tree_node **out, struct tree_attr *attr, struct tree_handle **handle)
{
    struct scratch *f;
    int rc = scratch_make(&t->scratches, &t->nodes, dir, name, who->uid, who->gid, &f);

    if (rc)
        return rc;
    scratch_attr(&t->scratches, f, node_ino(dir->ino, name), attr);
    *out = node_take(&t->nodes, dir, &scratch_row, name);
    rc = *out ? scratch_open(t, *out, flags, handle) : -ENOMEM;
    if (rc) {
        scratch_remove(&t->scratches, f);
        if (*out)
            tree_forget(t, *out, 1);
    }
    scratch_done(&t->scratches, &t->nodes, f);
    return rc;
}

int tree_file_make(struct tree *t, struct tree_node *dir, struct str name, int flags, const struct tree_who *who,
                   struct tree_node **out, struct tree_attr *attr, struct tree_handle **handle)
{
    struct fault f = {0};
    struct at a;
    const struct row *row;
    int rc = at_load(&a, t, dir, who);

    if (!rc && (row = make(&a, dir, ROW_FILE, name, &f, &rc)) != NULL) {
        rc = made(t, &a, row, dir, name, out, attr);
        if (!rc)
            rc = handle_new(t, &a, *out, flags, handle);
        else
            *out = NULL;
        if (!rc)
            (*handle)->fresh = true;
        else if (*out)
            tree_forget(t, *out, 1);
    } else if ((rc == -ENOENT || rc == -EPERM || rc == -EINVAL) && scratch_allowed(dir->row, name)) {
        rc = make_scratch(t, dir, name, flags, who, out, attr, handle);
        f = (struct fault){0};
    }
    at_done(&a);
    return rc ? tree_refused(t, dir, name, who, &f, rc) : 0;
}
