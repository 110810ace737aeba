/* Snapshots: directories of the broker's host, shown as they are, to be read. */
#include "fs/tree_priv.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define DEEPEST (TREE_DEPTH_MAX - 2)     /* no store has directories that lie deeper */
#define STREAMS_MAX 16

/* ---- listing a directory of the system by the number of its entries ----
 * A number is a place that outlives the listing's parts, which come as calls of their own; so that going on does not
 * begin anew, directories that are being listed are kept open for a while. */

struct stream {
    DIR *d;
    uint64_t at;                     /* entries read */
    char *path;
};

struct dir_streams {
    pthread_mutex_t lock;            /* guards what follows; a leaf; who reads one has taken it out */
    struct stream list[STREAMS_MAX];
    unsigned next;                   /* to be replaced */
};

int dir_streams_open(struct dir_streams **out)
{
    struct dir_streams *s = calloc(1, sizeof *s);

    if (!s)
        return -ENOMEM;
    pthread_mutex_init(&s->lock, NULL);
    *out = s;
    return 0;
}

static void stream_end(struct stream *s)
{
    if (s->d)
        closedir(s->d);
    free(s->path);
    *s = (struct stream){0};
}

void dir_streams_close(struct dir_streams *s)
{
    if (!s)
        return;
    for (unsigned i = 0; i < STREAMS_MAX; i++)
        stream_end(&s->list[i]);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* A stream of that directory that has given `at` entries. */
static int stream_take(struct dir_streams *s, const char *path, uint64_t at, struct stream *out)
{
    *out = (struct stream){0};
    pthread_mutex_lock(&s->lock);
    for (unsigned i = 0; at && i < STREAMS_MAX && !out->d; i++)
        if (s->list[i].d && s->list[i].at == at && strcmp(s->list[i].path, path) == 0) {
            *out = s->list[i];
            s->list[i] = (struct stream){0};
        }
    pthread_mutex_unlock(&s->lock);
    if (out->d)
        return 0;
    if (!(out->path = strdup(path)))
        return -ENOMEM;
    if (!(out->d = opendir(path)))
        return -errno;
    while (out->at < at && readdir(out->d))
        out->at++;
    return out->at == at ? 0 : -ENOENT;
}

static void stream_keep(struct dir_streams *s, const struct stream *kept)
{
    struct stream old;

    pthread_mutex_lock(&s->lock);
    old = s->list[s->next];
    s->list[s->next] = *kept;
    s->next = (s->next + 1) % STREAMS_MAX;
    pthread_mutex_unlock(&s->lock);
    stream_end(&old);
}

/* ---- the files ---- */

/* One name further down; it must be of that type. */
static int file_step(struct at *a, struct str name, mode_t type)
{
    size_t n = strlen(a->path);
    struct stat st;
    int put;

    if (a->depth >= DEEPEST)
        return -ENOENT;
    put = snprintf(a->path + n, sizeof a->path - n, "/%.*s", STR_ARG(name));
    if (put > 0 && (size_t)put < sizeof a->path - n && lstat(a->path, &st) == 0 && (st.st_mode & S_IFMT) == type) {
        a->mtime_ms = (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
        return 0;
    }
    a->path[n] = 0;
    return -ENOENT;
}

static int file_next(struct at *a, uint64_t after, uint64_t *cookie, mode_t type)
{
    const struct dirent *e;
    struct stream s;
    int rc;

    if (a->path_dir)
        a->path[a->path_dir] = 0;
    a->path_dir = strlen(a->path);
    rc = stream_take(a->t->streams, a->path, after, &s);
    while (!rc) {
        if (!(e = readdir(s.d))) {
            rc = -ENOENT;
            break;
        }
        s.at++;
        if (e->d_name[0] == '.' || at_name(a, str_of(e->d_name)) || file_step(a, str_of(a->name), type))
            continue;
        *cookie = s.at;
        stream_keep(a->t->streams, &s);
        return 0;
    }
    stream_end(&s);
    return rc == -ENOMEM ? rc : -ENOENT;
}

static int dir_load(struct at *a, struct str name) { return file_step(a, name, S_IFDIR); }
static int reg_load(struct at *a, struct str name) { return file_step(a, name, S_IFREG); }
static int dir_next(struct at *a, uint64_t after, uint64_t *cookie) { return file_next(a, after, cookie, S_IFDIR); }
static int reg_next(struct at *a, uint64_t after, uint64_t *cookie) { return file_next(a, after, cookie, S_IFREG); }
static const char *reg_path(struct at *a) { return a->path; }

static const struct row file_rows[] = {
    {.name = "{dir}", .kind = ROW_DIR, .mode = 0550, .flags = ROW_FLEETING, .rows = file_rows, .load = dir_load,
     .next = dir_next, .read_help = "a directory of the store, down to any depth"},
    {.name = "{file}", .kind = ROW_FILE, .mode = 0440, .flags = ROW_FLEETING | ROW_RAW, .load = reg_load, .next = reg_next,
     .path = reg_path, .read_help = "a file of the store, as it was"},
    {0},
};

/* ---- snapshots ---- */

static int snapshot_found(struct at *a, const struct snapshot_info *info)
{
    a->mtime_ms = info->time;
    return broker_snapshot_path(a->b, str_of(info->name), a->path, sizeof a->path) ? -ENOENT : 0;
}

static int snapshot_load(struct at *a, struct str name)
{
    struct snapshot_info info;

    return broker_snapshot_get(a->b, name, &info) ? -ENOENT : snapshot_found(a, &info);
}

static int snapshot_next(struct at *a, uint64_t after, uint64_t *cookie)
{
    struct snapshot_info info;
    int rc = broker_snapshot_at(a->b, (uint32_t)after, &info);

    *cookie = after + 1;
    return rc || (rc = at_name(a, str_of(info.name))) ? rc : snapshot_found(a, &info);
}

static int snapshot_make(struct at *a, struct str name, struct fault *f)
{
    return broker_snapshot_create(a->b, at_caller(a), name, f);
}

static int snapshot_remove_row(struct at *a, struct fault *f)
{
    const char *name = strrchr(a->path, '/') + 1;

    return broker_snapshot_delete(a->b, at_caller(a), str_of(name), f);
}

const struct row snapshots_rows[] = {
    {.name = "{snapshot}", .kind = ROW_DIR, .mode = 0550, .flags = ROW_FLEETING, .rows = file_rows, .load = snapshot_load,
     .next = snapshot_next, .make = snapshot_make, .remove = snapshot_remove_row,
     .read_help = "a consistent copy of the store as files, of the moment its time says: `tar` it, `cp -a` it; a broker starts on "
                  "the copy",
     .write_help = "`mkdir` takes it, `rmdir` drops it with all its files"},
    {0},
};
