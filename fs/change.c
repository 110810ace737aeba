/* What is done to names and owners. */
#include "fs/tree_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include "common/codes.h"

int tree_refuse(struct tree *t, struct tree_node *dir, struct str name, const struct tree_who *who, const char *sentence)
{
    struct fault f = {0};

    return tree_refused(t, dir, name, who, &f, fault_set(&f, RC_NO_PERMISSION, EPERM, "%s", sentence));
}

static int remove_row(struct at *a, const struct row *row, bool is_dir, struct fault *f)
{
    if (is_dir && row->kind != ROW_DIR)
        return -ENOTDIR;
    if (!is_dir && row->kind == ROW_DIR)
        return -EISDIR;
    if (!row->remove)
        return fault_set(f, RC_NO_PERMISSION, EPERM, "this cannot be removed");
    return row->remove(a, f);
}

static int remove_scratch(struct tree *t, struct tree_node *dir, struct str name)
{
    struct scratch *f = scratch_allowed(dir->row, name) ? scratch_find(&t->scratches, dir, name) : NULL;

    if (!f)
        return -ENOENT;
    scratch_remove(&t->scratches, f);
    scratch_done(&t->scratches, &t->nodes, f);
    return 0;
}

int tree_remove(struct tree *t, struct tree_node *dir, struct str name, bool is_dir, const struct tree_who *who)
{
    struct fault f = {0};
    struct at a;
    const struct row *row;
    struct tree_node *n;
    int rc = at_load(&a, t, dir, who);

    if (!rc && (row = at_step(&a, dir->row, name, &rc)) != NULL)
        rc = remove_row(&a, row, is_dir, &f);
    else if (rc == -ENOENT && !is_dir)
        rc = remove_scratch(t, dir, name);
    at_done(&a);
    if (rc)
        return tree_refused(t, dir, name, who, &f, rc);
    n = node_find(&t->nodes, dir, name);
    if (n) {
        tree_drop(t, n);
        tree_forget(t, n, 1);
    }
    return 0;
}

/* ---- renaming: what an editor wrote beside a value becomes the value ---- */

/* The scratch file's text; it must be one value's. -EFBIG */
static int scratch_text(struct tree *t, const struct scratch *from, struct buf *out, struct fault *f)
{
    char *room = buf_room(out, TREE_VALUE_MAX + 1);
    ssize_t n = room ? scratch_read(&t->scratches, from, room, TREE_VALUE_MAX + 1, 0) : -ENOMEM;

    if (n < 0)
        return (int)n;
    if (n > TREE_VALUE_MAX)
        return fault_set(f, RC_INVALID_PARAMETER, EFBIG, "a value has at most %d bytes", TREE_VALUE_MAX);
    out->n += (size_t)n;
    return 0;
}

/* Opens the value, making it where that can be. */
static int open_value(struct tree *t, struct tree_node *dir, struct str name, const struct tree_who *who, struct tree_handle **out)
{
    struct tree_attr attr;
    struct tree_node *n;
    int rc = tree_lookup(t, dir, name, who, &n, &attr);

    if (rc == -ENOENT) {
        rc = tree_file_make(t, dir, name, O_WRONLY, who, &n, &attr, out);
        if (rc)
            return rc;
    } else if (rc) {
        return rc;
    } else {
        rc = tree_file_open(t, n, O_WRONLY, who, out);
    }
    tree_drop(t, n);                 /* the kernel takes what stood there for removed */
    tree_forget(t, n, 1);
    return rc;
}

static int becomes_value(struct tree *t, struct scratch *from, struct tree_node *dir, struct str name,
                         const struct tree_who *who, struct fault *f)
{
    struct tree_handle *h = NULL;
    struct buf text = {0};
    ssize_t n;
    int rc = scratch_text(t, from, &text, f);

    if (!rc)
        rc = open_value(t, dir, name, who, &h);
    if (!rc) {
        n = tree_file_write(h, text.p, text.n, 0, who);
        rc = n < 0 ? (int)n : 0;
        tree_file_close(h);
    }
    buf_free(&text);
    return rc;
}

int tree_rename(struct tree *t, struct tree_node *dir, struct str name, struct tree_node *to, struct str to_name,
                unsigned flags, const struct tree_who *who)
{
    struct scratch *from = scratch_allowed(dir->row, name) ? scratch_find(&t->scratches, dir, name) : NULL;
    struct fault f = {0};
    int rc;

    if (!from || (flags & ~RENAME_NOREPLACE)) {
        scratch_done(&t->scratches, &t->nodes, from);
        return tree_refuse(t, dir, name, who, "names cannot be changed: make the new one and remove the old one");
    }
    if (scratch_allowed(to->row, to_name)) {
        rc = scratch_rename(&t->scratches, &t->nodes, from, to, to_name);
    } else {
        rc = becomes_value(t, from, to, to_name, who, &f);
        if (rc && f.text[0])         /* else who refused it has said why */
            tree_refused(t, to, to_name, who, &f, rc);
        if (!rc)
            scratch_remove(&t->scratches, from);
    }
    scratch_done(&t->scratches, &t->nodes, from);
    return rc;
}

/* ---- owners, modes, sizes ---- */

static int chown_row(struct at *a, const struct row *row, const struct tree_attr *now, uid_t uid, gid_t gid, struct fault *f)
{
    char owner[USER_NAME_MAX];

    if (gid != (gid_t)-1 && gid != now->gid)
        return fault_set(f, RC_NO_PERMISSION, EPERM,
                         "the group is the broker's adminGroup and changes with /broker/config/adminGroup");
    if (uid == (uid_t)-1 || uid == now->uid)
        return 0;
    if (!row->chown)
        return fault_set(f, RC_NO_PERMISSION, EPERM,
                         "the owner is that of the topic or group: chown its directory");
    users_name(a->t->users, uid, owner);
    return row->chown(a, owner, f);
}

int tree_chown(struct tree *t, struct tree_node *n, uid_t uid, gid_t gid, const struct tree_who *who)
{
    struct fault f = {0};
    struct tree_attr now;
    struct at a;
    int rc;

    if (n->row == &scratch_row)      /* whose it is matters to nobody */
        return 0;
    rc = at_load(&a, t, n, who);

    if (!rc)
        rc = at_attr(&a, n->row, n->ino, &now);
    if (!rc)
        rc = chown_row(&a, n->row, &now, uid, gid, &f);
    at_done(&a);
    return rc ? tree_refused(t, n, str_of(""), who, &f, rc) : 0;
}

int tree_chmod(struct tree *t, struct tree_node *n, mode_t mode, const struct tree_who *who)
{
    struct tree_attr now;
    int rc = tree_attr(t, n, who, &now);

    if (rc || n->row == &scratch_row || (now.mode & 07777) == (mode & 07777))
        return rc;
    return tree_refuse(t, n, str_of(""), who, "modes are fixed: owners and the adminGroup say who may do what");
}

int tree_truncate(struct tree *t, struct tree_node *n, int64_t size, const struct tree_who *who)
{
    struct scratch *scratch = tree_scratch(t, n);
    struct fault f = {0};
    int rc;

    if (scratch) {
        rc = scratch_resize(&t->scratches, scratch, size);
        scratch_done(&t->scratches, &t->nodes, scratch);
        return rc;
    }
    if (!n->row->set)
        return tree_refuse(t, n, str_of(""), who, "this file can only be read");
    if (size == 0)
        return 0;
    fault_set(&f, RC_INVALID_PARAMETER, EINVAL, "a value is set by writing it, not by cutting it to a size");
    return tree_refused(t, n, str_of(""), who, &f, -EINVAL);
}
