/* What is done to names and owners. */
#include "fs/tree_priv.h"

#include <errno.h>
#include "common/remoting/codes.h"

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

int tree_remove(struct tree *t, struct tree_node *dir, struct str name, bool is_dir, const struct tree_who *who)
{
    struct fault f = {0};
    struct at a;
    const struct row *row;
    struct tree_node *n;
    int rc = at_load(&a, t, dir, who);

    if (!rc && (row = at_step(&a, dir->row, name, &rc)) != NULL)
        rc = remove_row(&a, row, is_dir, &f);
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

int tree_rename(struct tree *t, struct tree_node *dir, struct str name, struct tree_node *to, struct str to_name,
                unsigned flags, const struct tree_who *who)
{
    return tree_refuse(t, dir, name, who, "names cannot be changed: make the new one and remove the old one");
}

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
    int rc = at_load(&a, t, n, who);

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

    if (rc || (now.mode & 07777) == (mode & 07777))
        return rc;
    return tree_refuse(t, n, str_of(""), who, "modes are fixed: owners and the adminGroup say who may do what");
}

int tree_truncate(struct tree *t, struct tree_node *n, int64_t size, const struct tree_who *who)
{
    struct fault f = {0};

    if (!n->row->set)
        return tree_refuse(t, n, str_of(""), who, "this file can only be read");
    if (size == 0)
        return 0;
    fault_set(&f, RC_INVALID_PARAMETER, EINVAL, "a value is set by writing it, not by cutting it to a size");
    return tree_refused(t, n, str_of(""), who, &f, -EINVAL);
}
