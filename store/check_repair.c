/* Acting on what check_store found. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/file.h"
#include "store/check_priv.h"

#define CONFIG_MAX ((size_t)256 << 20)

struct repair {
    const struct repair_options *o;
    struct fault *f;
    bool recover;                        /* the broker has been told to */
    bool log_damaged;
};

static void tell(struct repair *p, const char *path, const char *what) { p->o->done(p->o->ctx, path, false, what); }

static int leave(struct repair *p, const char *path, const char *why)
{
    p->o->done(p->o->ctx, path, true, why);
    return 0;
}

/* ---- the broker recovers ---- */

static int path_in(struct repair *p, const char *name, char path[4096])
{
    return (size_t)snprintf(path, 4096, "%s/%s", p->o->root, name) < 4096 ? 0
         : fault_errno(p->f, ENAMETOOLONG, "%.300s", p->o->root);
}

/* "abort" is there and no checkpoint: the whole log is read with the next start. Before anything is removed. */
static int ask_recovery(struct repair *p)
{
    char abort_path[4096], checkpoint[4096];
    int fd, rc;

    if (p->recover)
        return 0;
    if ((rc = path_in(p, "abort", abort_path)) || (rc = path_in(p, "checkpoint", checkpoint)))
        return rc;
    fd = open(abort_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return fault_errno(p->f, errno, "make %.300s", abort_path);
    close(fd);
    if ((rc = dir_sync(p->o->root)))
        return fault_errno(p->f, -rc, "sync %.300s", p->o->root);
    if (unlink(checkpoint) < 0 && errno != ENOENT)
        return fault_errno(p->f, errno, "remove %.300s", checkpoint);
    if ((rc = dir_sync(p->o->root)))     /* it must not come back with a power loss that the removed queues do not survive */
        return fault_errno(p->f, -rc, "sync %.300s", p->o->root);
    tell(p, checkpoint, "removed: the broker reads its whole log when it starts");
    p->recover = true;
    return 0;
}

static int remove_queue(struct repair *p, const char *dir)
{
    struct check_files l = {0};
    int rc = check_list(&l, dir);

    if (rc)
        rc = fault_errno(p->f, -rc, "read %.300s", dir);
    for (int i = 0; !rc && i < l.n; i++)
        if (unlink(l.v[i].path) < 0)
            rc = fault_errno(p->f, errno, "remove %.300s", l.v[i].path);
    check_files_free(&l);
    if (!rc && rmdir(dir) < 0 && errno != ENOTEMPTY && errno != EEXIST && errno != ENOENT)
        rc = fault_errno(p->f, errno, "remove %.300s", dir);
    return rc;
}

/* ---- a row for each kind ---- */

static int repair_log(struct repair *p, const char *path)
{
    int rc;

    if (!p->o->force)
        return leave(p, path, "a damaged log cannot be made again; with --force the broker recovers what is whole");
    if (!(rc = ask_recovery(p)))
        tell(p, path, "the broker recovers what is whole when it starts");
    return rc;
}

static int repair_queue(struct repair *p, const char *path)
{
    bool there;
    int rc;

    if (p->log_damaged && !p->o->force)
        return leave(p, path, "the log is damaged: making it again would overwrite that");
    there = access(path, F_OK) == 0;
    if (!(rc = ask_recovery(p)) && !(rc = remove_queue(p, path)))
        tell(p, path, there ? "removed: the broker makes it again from the log" : "the broker makes it again from the log");
    return rc;
}

static int repair_queue_alone(struct repair *p, const char *path)
{
    int rc;

    if (!p->o->force)
        return leave(p, path, "the log has no message of it from which it could be made again");
    if (!(rc = remove_queue(p, path)))
        tell(p, path, "removed");
    return rc;
}

static int repair_batch_queue(struct repair *p, const char *path)
{
    int rc;

    if (!p->o->force)
        return leave(p, path, "of our brokers none makes it again from the log; with --force it goes, for Apache's to do so");
    if (!(rc = ask_recovery(p)) && !(rc = remove_queue(p, path)))
        tell(p, path, "removed: Apache's broker makes it again from the log");
    return rc;
}

static int repair_timer(struct repair *p, const char *path)
{
    return leave(p, path, "files of the timer are never touched here");
}

static int repair_index(struct repair *p, const char *path)
{
    if (unlink(path) < 0)
        return fault_errno(p->f, errno, "remove %.300s", path);
    tell(p, path, "removed: the broker makes it again from the log");
    return 0;
}

static int repair_checkpoint(struct repair *p, const char *path)
{
    return p->log_damaged && !p->o->force
         ? leave(p, path, "the log is damaged: without it the broker would overwrite that") : ask_recovery(p);
}

/* A new file beside it, renamed over it; what it was stays as FILE.broken when `keep`. */
static int copy_over(struct repair *p, const char *from, const char *to, bool keep)
{
    char part[4096], broken[4096];
    struct buf b = {0};
    int fd, rc = file_read(from, CONFIG_MAX, &b);

    if (!rc && ((size_t)snprintf(part, sizeof part, "%s.part", to) >= sizeof part ||
                (size_t)snprintf(broken, sizeof broken, "%s.broken", to) >= sizeof broken))
        rc = -ENAMETOOLONG;
    if (!rc && keep && rename(to, broken) < 0 && errno != ENOENT)
        rc = -errno;
    fd = rc ? -1 : open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (!rc && fd < 0)
        rc = -errno;
    for (size_t at = 0; !rc && at < b.n;) {
        ssize_t n = write(fd, b.p + at, b.n - at);
        rc = n < 0 && errno != EINTR ? -errno : 0;
        at += n > 0 ? (size_t)n : 0;
    }
    if (!rc && (fsync(fd) < 0 || rename(part, to) < 0))
        rc = -errno;
    if (fd >= 0)
        close(fd);
    buf_free(&b);
    if (!rc)
        rc = dir_sync_of(to);
    return rc ? fault_errno(p->f, -rc, "make %.300s from %.50s", to, strrchr(from, '/') + 1) : 0;
}

static int repair_config(struct repair *p, const char *path)
{
    char other[4096];
    size_t n = strlen(path), length;
    bool is_bak = n > 4 && strcmp(path + n - 4, ".bak") == 0;
    int64_t nul;
    int rc;

    if (is_bak ? !str_copy(other, sizeof other, str_n(path, n - 4))
               : (size_t)snprintf(other, sizeof other, "%s.bak", path) >= sizeof other)
        return fault_errno(p->f, ENAMETOOLONG, "%.300s", path);
    if (check_is_json(other, &length, &nul) == 1) {
        if (!(rc = copy_over(p, other, path, !is_bak)))
            tell(p, path, is_bak ? "made again from its file" : "made again from its .bak");
        return rc;
    }
    if (!p->o->force)
        return leave(p, path, is_bak ? "its file is no better" : "there is no good .bak");
    if (unlink(path) < 0 && errno != ENOENT)
        return fault_errno(p->f, errno, "remove %.300s", path);
    tell(p, path, "removed");
    return 0;
}

int check_repair(const struct check_result *r, const struct repair_options *o, struct fault *f)
{
    static int (*const by_kind[CHECK_KINDS])(struct repair *p, const char *path) = {
        [CHECK_LOG] = repair_log,
        [CHECK_QUEUE] = repair_queue,
        [CHECK_QUEUE_ALONE] = repair_queue_alone,
        [CHECK_BATCH_QUEUE] = repair_batch_queue,
        [CHECK_TIMER] = repair_timer,
        [CHECK_INDEX] = repair_index,
        [CHECK_CHECKPOINT] = repair_checkpoint,
        [CHECK_CONFIG] = repair_config,
    };
    struct repair p = {.o = o, .f = f};
    int lock, rc = check_lock(o->root, &lock, f);

    for (int i = 0; i < r->n_bad; i++)
        p.log_damaged |= r->bad[i].kind == CHECK_LOG;
    for (int i = 0; !rc && i < r->n_bad; i++)
        rc = by_kind[r->bad[i].kind](&p, r->bad[i].path);
    if (lock >= 0)
        close(lock);
    return rc;
}
