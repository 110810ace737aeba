#include "fs/scratch.h"

#include <errno.h>
#include <stdlib.h>
#include "common/clock.h"

#define GIVE_WAY_MS (60 * 60 * 1000)

struct scratch {
    struct scratch *next;
    struct tree_node *dir;           /* held; NULL once the name is taken away */
    char name[TREE_NAME_MAX + 1];
    int references;                  /* of users, and one of the name */
    uid_t uid;
    gid_t gid;
    int64_t mtime_ms;
    char *p;
    size_t n;
};

const struct row scratch_row = {.name = "{scratch}", .kind = ROW_FILE, .mode = SCRATCH_MODE};

void scratches_open(struct scratches *s)
{
    memset(s, 0, sizeof *s);
    pthread_mutex_init(&s->lock, NULL);
}

/* Ends f, which is in no list and has no user. */
static void end(struct scratches *s, struct node_table *nodes, struct scratch *f)
{
    if (f->dir)
        node_forget(nodes, f->dir, 1);
    s->bytes -= f->n;
    s->n--;
    free(f->p);
    free(f);
}

void scratches_close(struct scratches *s, struct node_table *nodes)
{
    while (s->list) {
        struct scratch *f = s->list;

        s->list = f->next;
        end(s, nodes, f);
    }
    pthread_mutex_destroy(&s->lock);
}

static bool all_alnum(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!((p[i] >= '0' && p[i] <= '9') || (p[i] >= 'a' && p[i] <= 'z') || (p[i] >= 'A' && p[i] <= 'Z')))
            return false;
    return true;
}

bool scratch_allowed(const struct row *dir, struct str name)
{
    bool values = false;

    for (const struct row *r = dir->rows; r && r->name; r++)
        values |= r->kind == ROW_FILE && r->set;
    return values && name.n > 1 && name.n <= TREE_NAME_MAX && !memchr(name.p, '/', name.n) && !memchr(name.p, 0, name.n) &&
           (name.p[0] == '.' || name.p[name.n - 1] == '~' || str_is(name, "4913") ||
            (name.n == 9 && memcmp(name.p, "sed", 3) == 0 && all_alnum(name.p + 3, 6)));
}

static struct scratch *find(struct scratches *s, const struct tree_node *dir, struct str name)
{
    struct scratch *f = s->list;

    while (f && !(f->dir == dir && str_is(name, f->name)))
        f = f->next;
    return f;
}

static void unlist(struct scratches *s, struct scratch *f)
{
    struct scratch **at = &s->list;

    while (*at && *at != f)
        at = &(*at)->next;
    if (*at)
        *at = f->next;
}

/* Takes one user, or the name, away. */
static void release(struct scratches *s, struct node_table *nodes, struct scratch *f)
{
    if (--f->references)
        return;
    unlist(s, f);
    end(s, nodes, f);
}

struct scratch *scratch_find(struct scratches *s, const struct tree_node *dir, struct str name)
{
    struct scratch *f;

    pthread_mutex_lock(&s->lock);
    f = find(s, dir, name);
    if (f)
        f->references++;
    pthread_mutex_unlock(&s->lock);
    return f;
}

/* Room for one more, if need be by what an editor that died left an hour ago. */
static bool make_room(struct scratches *s, struct node_table *nodes)
{
    int64_t before = wall_ms() - GIVE_WAY_MS;

    for (struct scratch *f = s->list, *next; f && s->n >= SCRATCH_FILES_MAX; f = next) {
        next = f->next;
        if (f->name[0] && f->references == 1 && f->mtime_ms < before)
            release(s, nodes, f);
    }
    return s->n < SCRATCH_FILES_MAX;
}

int scratch_make(struct scratches *s, struct node_table *nodes, struct tree_node *dir, struct str name, uid_t uid, gid_t gid,
                 struct scratch **out)
{
    struct scratch *f = calloc(1, sizeof *f);
    int rc = !f || !str_copy(f->name, sizeof f->name, name) ? -ENOMEM : 0;

    pthread_mutex_lock(&s->lock);
    if (!rc)
        rc = find(s, dir, name) ? -EEXIST : make_room(s, nodes) ? 0 : -ENOSPC;
    if (!rc) {
        node_hold(nodes, dir);
        f->dir = dir;
        f->references = 2;
        f->uid = uid;
        f->gid = gid;
        f->mtime_ms = wall_ms();
        f->next = s->list;
        s->list = f;
        s->n++;
        *out = f;
    }
    pthread_mutex_unlock(&s->lock);
    if (rc)
        free(f);
    return rc;
}

void scratch_done(struct scratches *s, struct node_table *nodes, struct scratch *f)
{
    if (!f)
        return;
    pthread_mutex_lock(&s->lock);
    release(s, nodes, f);
    pthread_mutex_unlock(&s->lock);
}

/* The caller's own reference keeps f; its directory stays held until the end. */
void scratch_remove(struct scratches *s, struct scratch *f)
{
    pthread_mutex_lock(&s->lock);
    if (f->name[0]) {
        f->name[0] = 0;              /* no lookup finds an empty name */
        f->references--;
    }
    pthread_mutex_unlock(&s->lock);
}

int scratch_rename(struct scratches *s, struct node_table *nodes, struct scratch *f, struct tree_node *dir, struct str name)
{
    struct scratch *old;
    int rc = 0;

    pthread_mutex_lock(&s->lock);
    old = find(s, dir, name);
    if (!f->name[0])
        rc = -ENOENT;
    else if (old != f) {
        if (old) {
            old->name[0] = 0;
            release(s, nodes, old);
        }
        node_hold(nodes, dir);
        node_forget(nodes, f->dir, 1);
        f->dir = dir;
        str_copy(f->name, sizeof f->name, name);
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

ssize_t scratch_read(struct scratches *s, const struct scratch *f, char *p, size_t n, int64_t at)
{
    pthread_mutex_lock(&s->lock);
    if (at < 0 || (uint64_t)at >= f->n)
        n = 0;
    else if (n > f->n - (size_t)at)
        n = f->n - (size_t)at;
    if (n)
        memcpy(p, f->p + at, n);
    pthread_mutex_unlock(&s->lock);
    return (ssize_t)n;
}

static int resize(struct scratches *s, struct scratch *f, size_t size)
{
    char *p;

    if (size > SCRATCH_FILE_MAX)
        return -EFBIG;
    if (size > f->n && size - f->n > SCRATCH_BYTES_MAX - s->bytes)
        return -ENOSPC;
    p = realloc(f->p, size ? size : 1);
    if (!p)
        return -ENOMEM;
    if (size > f->n)
        memset(p + f->n, 0, size - f->n);
    s->bytes = s->bytes - f->n + size;
    f->p = p;
    f->n = size;
    f->mtime_ms = wall_ms();
    return 0;
}

ssize_t scratch_write(struct scratches *s, struct scratch *f, const char *p, size_t n, int64_t at, bool append)
{
    int rc = 0;

    pthread_mutex_lock(&s->lock);
    if (append)
        at = (int64_t)f->n;
    if (at < 0 || at > SCRATCH_FILE_MAX || n > SCRATCH_FILE_MAX - (size_t)at)
        rc = -EFBIG;
    else if ((size_t)at + n > f->n)
        rc = resize(s, f, (size_t)at + n);
    if (!rc && n)
        memcpy(f->p + at, p, n);
    pthread_mutex_unlock(&s->lock);
    return rc ? rc : (ssize_t)n;
}

int scratch_resize(struct scratches *s, struct scratch *f, int64_t size)
{
    int rc;

    if (size < 0 || size > SCRATCH_FILE_MAX)
        return -EFBIG;
    pthread_mutex_lock(&s->lock);
    rc = resize(s, f, (size_t)size);
    pthread_mutex_unlock(&s->lock);
    return rc;
}

void scratch_attr(struct scratches *s, const struct scratch *f, uint64_t ino, struct tree_attr *out)
{
    pthread_mutex_lock(&s->lock);
    *out = (struct tree_attr){.ino = ino, .mode = S_IFREG | SCRATCH_MODE, .uid = f->uid, .gid = f->gid,
                              .size = (int64_t)f->n, .mtime_ms = f->mtime_ms};
    pthread_mutex_unlock(&s->lock);
}
