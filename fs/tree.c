/* Nodes and attributes: what is there. Files are opened and changed in
 * handle.c and change.c. */
#include "fs/tree_priv.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "common/clock.h"

static const struct row root_row = {.name = "/", .kind = ROW_DIR, .mode = 0775, .rows = tree_rows};

int tree_open(struct broker *b, struct tree **out, struct fault *f)
{
    struct tree *t = calloc(1, sizeof *t);
    int rc = t ? 0 : -ENOMEM;

    if (t) {
        pthread_mutex_init(&t->handles_lock, NULL);
        scratches_open(&t->scratches);
    }
    if (!rc)
        rc = users_open(&t->users);
    if (!rc)
        rc = last_errors_open(&t->errors);
    if (!rc)
        rc = node_table_open(&t->nodes, &root_row);
    if (!rc)
        rc = dir_streams_open(&t->streams);
    if (!rc)
        rc = key_lists_open(&t->key_lists);
    if (rc) {
        tree_close(t);
        return fault_errno(f, -rc, "opening the tree");
    }
    t->b = b;
    t->opened_ms = wall_ms();
    t->uid = geteuid();
    t->gid = getegid();
    *out = t;
    return 0;
}

void tree_close(struct tree *t)
{
    if (!t)
        return;
    while (t->handles) {
        atomic_store(&t->handles->keepers, 1);
        tree_file_close(t->handles);
    }
    pthread_mutex_destroy(&t->handles_lock);
    scratches_close(&t->scratches, &t->nodes);
    node_table_close(&t->nodes);
    last_errors_close(t->errors);
    dir_streams_close(t->streams);
    key_lists_close(t->key_lists);
    users_close(t->users);
    free(t);
}

struct tree_node *tree_root(struct tree *t) { return t->nodes.root; }
void tree_hold(struct tree *t, struct tree_node *n) { node_hold(&t->nodes, n); }
uint64_t tree_generation(const struct tree_node *n) { return n->generation; }
struct tree_node *tree_parent(const struct tree_node *n) { return n->parent; }
struct str tree_name(const struct tree_node *n) { return str_n(n->name, n->length); }
void tree_drop(struct tree *t, struct tree_node *n) { node_drop(&t->nodes, n); }

void tree_forget(struct tree *t, struct tree_node *n, uint64_t references)
{
    if (references)
        node_forget(&t->nodes, n, references);
}

/* ---- where an operation happens ---- */

void at_done(struct at *a)
{
    store_release(a->hold);
    a->hold = NULL;
}

static int load_row(struct at *a, const struct row *row, struct str name)
{
    a->mode = 0;
    return row->load ? row->load(a, name) : 0;
}

int at_load(struct at *a, struct tree *t, const struct tree_node *n, const struct tree_who *who)
{
    const struct tree_node *path[TREE_DEPTH_MAX];
    int depth = 0, rc = 0;

    memset(a, 0, sizeof *a);
    a->t = t;
    a->b = t->b;
    a->who = who;
    for (; n->parent; n = n->parent) {
        assert(depth < TREE_DEPTH_MAX);
        path[depth++] = n;
    }
    while (!rc && depth--) {
        rc = load_row(a, path[depth]->row, tree_name(path[depth]));
        a->depth++;
    }
    return rc == -ENOENT ? -ESTALE : rc;
}

const struct row *at_step(struct at *a, const struct row *dir, struct str name, int *err)
{
    *err = -ENOENT;
    if (dir->kind != ROW_DIR) {
        *err = -ENOTDIR;
        return NULL;
    }
    if (name.n > TREE_NAME_MAX) {
        *err = -ENAMETOOLONG;
        return NULL;
    }
    if (!name.n || memchr(name.p, '/', name.n) || memchr(name.p, 0, name.n) || str_is(name, ".") || str_is(name, ".."))
        return NULL;
    for (const struct row *row = dir->rows; row->name; row++) {
        if (!row_is_pattern(row) && !str_is(name, row->name))
            continue;
        *err = load_row(a, row, name);
        if (!*err) {
            a->depth++;
            return row;
        }
        at_done(a);
        if (*err != -ENOENT || !row_is_pattern(row))
            return NULL;
    }
    return NULL;
}

const struct caller *at_caller(struct at *a)
{
    users_name(a->t->users, a->who->uid, a->caller.user);
    if (a->who->pid)
        snprintf(a->caller.from, sizeof a->caller.from, "fuse:pid %d", (int)a->who->pid);
    else
        snprintf(a->caller.from, sizeof a->caller.from, "tree");
    return &a->caller;
}

static gid_t admin_gid(struct tree *t)
{
    int64_t now = mono_ms();
    const struct conf_row *key;
    struct buf name = {0};

    if (atomic_load(&t->admin_gid_until) > now)
        return atomic_load(&t->admin_gid);
    key = conf_find(broker_config_table(), str_of("adminGroup"));
    if (key)
        broker_config_get(t->b, key, &name);
    buf_putc(&name, 0);
    atomic_store(&t->admin_gid, buf_failed(&name) ? t->gid : users_gid(t->users, name.p, t->gid));
    atomic_store(&t->admin_gid_until, now + FLEETING_TTL_MS);
    buf_free(&name);
    return atomic_load(&t->admin_gid);
}

int at_text(struct at *a, const struct row *row, struct buf *out)
{
    int rc = row->text(a, out);

    if (!rc && !(row->flags & ROW_RAW) && row->kind == ROW_FILE && (!out->n || out->p[out->n - 1] != '\n'))
        buf_putc(out, '\n');
    return rc ? rc : buf_failed(out) ? -ENOMEM : 0;
}

static int at_size(struct at *a, const struct row *row, int64_t *out)
{
    struct buf text = {0};
    struct stat st;
    int rc;

    *out = 0;
    if (row->kind == ROW_DIR || (!row->text && !row->path && !row->size))
        return 0;
    if (row->size)
        return row->size(a, out);
    if (row->path) {
        if (stat(row->path(a), &st) == 0)
            *out = st.st_size;
        return 0;
    }
    rc = at_text(a, row, &text);
    *out = (int64_t)text.n;
    buf_free(&text);
    return rc;
}

int at_attr(struct at *a, const struct row *row, uint64_t ino, struct tree_attr *out)
{
    static const mode_t types[] = {[ROW_DIR] = S_IFDIR, [ROW_FILE] = S_IFREG, [ROW_LINK] = S_IFLNK};
    bool stable = !(row->flags & (ROW_VOLATILE | ROW_FLEETING));
    bool own_time = row->load || (row->flags & ROW_VOLATILE);

    out->ino = ino;
    out->mode = types[row->kind] | (a->mode ? a->mode : row->mode);
    out->uid = users_uid(a->t->users, a->owner, a->t->uid);
    out->gid = admin_gid(a->t);
    out->name_ttl_ms = row->flags & ROW_FLEETING ? FLEETING_TTL_MS : NAME_TTL_MS;
    out->attr_ttl_ms = row->flags & ROW_VOLATILE ? 0 : stable ? NAME_TTL_MS : FLEETING_TTL_MS;
    if (row->kind == ROW_DIR && row->load && stable)     /* its mtime follows its messages */
        out->attr_ttl_ms = FLEETING_TTL_MS;
    int rc = at_size(a, row, &out->size);
    out->mtime_ms = own_time && a->mtime_ms ? a->mtime_ms : a->t->opened_ms;
    return rc;
}

/* ---- names ---- */

static int lookup_scratch(struct tree *t, struct tree_node *dir, struct str name, struct tree_node **out, struct tree_attr *attr)
{
    struct scratch *f = scratch_allowed(dir->row, name) ? scratch_find(&t->scratches, dir, name) : NULL;

    if (!f)
        return -ENOENT;
    scratch_attr(&t->scratches, f, node_ino(dir->ino, name), attr);
    scratch_done(&t->scratches, &t->nodes, f);
    *out = node_take(&t->nodes, dir, &scratch_row, name);
    return *out ? 0 : -ENOMEM;
}

static int scratch_node_attr(struct tree *t, const struct tree_node *n, struct tree_attr *attr)
{
    struct scratch *f = tree_scratch(t, n);

    if (!f)
        return -ESTALE;
    scratch_attr(&t->scratches, f, n->ino, attr);
    scratch_done(&t->scratches, &t->nodes, f);
    return 0;
}

int tree_lookup(struct tree *t, struct tree_node *dir, struct str name, const struct tree_who *who,
                struct tree_node **out, struct tree_attr *attr)
{
    struct at a;
    const struct row *row;
    int rc = at_load(&a, t, dir, who);

    if (!rc && (row = at_step(&a, dir->row, name, &rc)) != NULL) {
        rc = at_attr(&a, row, node_ino(dir->ino, name), attr);
        if (!rc && (*out = node_take(&t->nodes, dir, row, name)) == NULL)
            rc = -ENOMEM;
    } else if (rc == -ENOENT) {
        rc = lookup_scratch(t, dir, name, out, attr);
    }
    at_done(&a);
    return rc;
}

int tree_attr(struct tree *t, struct tree_node *n, const struct tree_who *who, struct tree_attr *attr)
{
    struct at a;
    int rc;

    if (n->row == &scratch_row)
        return scratch_node_attr(t, n, attr);
    rc = at_load(&a, t, n, who);
    if (!rc)
        rc = at_attr(&a, n->row, n->ino, attr);
    at_done(&a);
    return rc == -ENOENT ? -ESTALE : rc;
}

int tree_link(struct tree *t, struct tree_node *n, const struct tree_who *who, struct buf *out)
{
    struct at a;
    int rc = n->row->kind == ROW_LINK ? at_load(&a, t, n, who) : -EINVAL;

    if (rc)
        return rc;
    rc = at_text(&a, n->row, out);
    at_done(&a);
    return rc;
}

/* ---- listing ----
 * A cookie is the number of the row (0: the dots) in its top byte, and in the rest how far that row has got. */

#define COOKIE_SHIFT 56
#define COOKIE_REST ((UINT64_C(1) << COOKIE_SHIFT) - 1)

struct tree_entry {
    struct at *at;               /* the entry's own parameters */
    const struct row *row;
    struct tree_node *dir;
    struct str name;
    uint64_t ino;
};

int tree_entry_take(struct tree_entry *e, struct tree_node **out, struct tree_attr *attr)
{
    int rc;

    if (!e->row)
        return -ENOENT;
    rc = at_attr(e->at, e->row, e->ino, attr);
    if (rc)
        return rc;
    *out = node_take(&e->at->t->nodes, e->dir, e->row, e->name);
    return *out ? 0 : -ENOMEM;
}

struct listing {
    struct tree_node *dir;
    bool (*each)(void *arg, const struct tree_listed *e);
    void *arg;
};

static bool show(const struct listing *l, struct at *a, const struct row *row, struct str name, uint64_t next)
{
    static const mode_t types[] = {[ROW_DIR] = S_IFDIR, [ROW_FILE] = S_IFREG, [ROW_LINK] = S_IFLNK};
    struct tree_entry entry = {a, row, l->dir, name, node_ino(l->dir->ino, name)};
    struct tree_listed e = {name, entry.ino, row ? types[row->kind] : S_IFDIR, next, &entry};
    bool more = l->each(l->arg, &e);

    if (a)
        at_done(a);
    return more;
}

static bool show_dots(const struct listing *l, uint64_t cookie)
{
    return (cookie > 0 || show(l, NULL, NULL, str_of("."), 1)) &&
           (cookie > 1 || show(l, NULL, NULL, str_of(".."), UINT64_C(1) << COOKIE_SHIFT));
}

/* The entries of one row behind `after`. False when the reader has enough; *err is 0 or -errno. */
static bool show_row(const struct listing *l, const struct at *dir, const struct row *row, uint64_t number,
                     uint64_t after, int *err)
{
    uint64_t base = number << COOKIE_SHIFT;
    struct at a = *dir;

    a.depth++;
    if (!row_is_pattern(row)) {
        if (after || load_row(&a, row, str_of(row->name)))
            return true;
        return show(l, &a, row, str_of(row->name), (number + 1) << COOKIE_SHIFT);
    }
    while (row->next) {
        a.mode = 0;
        *err = row->next(&a, after, &after);
        if (*err)
            break;
        assert(after <= COOKIE_REST);
        if (!show(l, &a, row, str_of(a.name), base | after))
            return false;
    }
    at_done(&a);
    *err = *err == -ENOENT ? 0 : *err;
    return !*err;
}

int tree_list(struct tree *t, struct tree_node *dir, const struct tree_who *who, uint64_t cookie,
              bool (*each)(void *arg, const struct tree_listed *e), void *arg)
{
    struct listing l = {dir, each, arg};
    uint64_t number = cookie >> COOKIE_SHIFT, rest = cookie & COOKIE_REST, i = 1;
    struct at a;
    int rc = dir->row->kind == ROW_DIR ? at_load(&a, t, dir, who) : -ENOTDIR;

    if (rc)
        return rc;
    if (!number && !show_dots(&l, rest))
        return 0;
    if (!number)
        rest = 0;
    for (const struct row *row = dir->row->rows; row->name; row++, i++) {
        if (i < number || (row->flags & ROW_UNLISTED))
            continue;
        if (!show_row(&l, &a, row, i, i == number ? rest : 0, &rc))
            break;
    }
    at_done(&a);
    return rc;
}

/* ---- refusals ---- */

static void put_path(struct buf *out, const struct tree_node *n)
{
    const struct tree_node *path[TREE_DEPTH_MAX];
    int depth = 0;

    for (; n->parent && depth < TREE_DEPTH_MAX; n = n->parent)
        path[depth++] = n;
    while (depth--) {
        buf_putc(out, '/');
        buf_put_str(out, tree_name(path[depth]));
    }
}

/* Sentences hold names from outside: no line of last_error may be broken by one. */
static void without_controls(struct buf *b)
{
    for (size_t i = 0; i < b->n; i++)
        if ((unsigned char)b->p[i] < ' ' || b->p[i] == 0x7f)
            b->p[i] = '?';
}

int tree_refused(struct tree *t, const struct tree_node *n, struct str name, const struct tree_who *who,
                 const struct fault *f, int err)
{
    struct buf b = {0};

    put_path(&b, n);
    if (name.n) {
        buf_putc(&b, '/');
        buf_put_str(&b, name);
    }
    buf_puts(&b, b.n ? ": " : "/: ");
    buf_puts(&b, f && f->text[0] ? f->text : strerror(-err));
    if (!buf_failed(&b)) {
        without_controls(&b);
        last_errors_set(t->errors, who->uid, buf_str(&b));
    }
    buf_free(&b);
    return err;
}

/* ---- what caches know ---- */

struct tree_node *tree_known(struct tree *t, const struct str *path, int n)
{
    struct tree_node *node = t->nodes.root, *child;

    tree_hold(t, node);
    for (int i = 0; i < n && node; i++) {
        child = path[i].n <= TREE_NAME_MAX ? node_find(&t->nodes, node, path[i]) : NULL;
        tree_forget(t, node, 1);
        node = child;
    }
    return node;
}

int tree_known_below(struct tree *t, struct tree_node *n, bool deep, struct tree_node ***out, size_t *count)
{
    return node_below(&t->nodes, n, deep, out, count);
}
