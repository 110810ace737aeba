/* A snapshot as a whole: the point, what has to be on disk before it is there, and
 * its name. What is taken of the store: snapshot_parts.c. */
#include "store/snapshot.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "common/codes.h"
#include "common/file.h"
#include "common/log.h"
#include "store/snapshot_priv.h"

#define SEAL_TRIES 3
#define SYNC_EACH_MAX 512            /* files */

static int write_checkpoint(struct snap_job *j)
{
    struct checkpoint c;
    struct fault f;
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/checkpoint", j->part);

    if (n < 0 || (size_t)n >= sizeof path)
        return -ENAMETOOLONG;
    if (checkpoint_read(j->s->checkpoint_path, &c, &f))
        memset(&c, 0, sizeof c);
    c.log_time = c.queue_time = j->at.last_time;
    c.queue_offset = j->at.log_end;
    if (c.confirm_offset > j->at.log_end)
        c.confirm_offset = j->at.log_end;
    if (c.master_flushed > j->at.log_end)
        c.master_flushed = j->at.log_end;
    return checkpoint_write(path, &c);
}

/* ---- the point ---- */

static int64_t mono_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* Base of the log file being written now when it can be cloned into the snapshot, else -1. */
static int64_t find_clonable(struct snap_job *j)
{
    struct commit_log *l = &j->s->log;
    struct mapped_file *m = NULL;
    struct file_clone_range first_page = {.src_length = 4096};
    int64_t base = -1;
    char path[4096];
    int from = -1, to;

    if (commit_log_find(l, commit_log_max(l), 0, &m) == 0 &&
        mapped_file_path(mapped_file_dir(m, l->dir), m->base, path, sizeof path) == 0)
        from = open(path, O_RDONLY | O_CLOEXEC);
    if (from >= 0)                   /* the disk can begin: all of it is waited for in the end */
        sync_file_range(from, 0, 0, SYNC_FILE_RANGE_WRITE);
    to = from < 0 ? -1 : openat(j->to, "probe", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    first_page.src_fd = from;
    if (to >= 0 && ioctl(to, FICLONERANGE, &first_page) == 0)
        base = m->base;
    if (to >= 0) {
        unlinkat(j->to, "probe", 0);
        close(to);
    }
    if (from >= 0)
        close(from);
    mapped_file_unref(m);
    return base;
}

/* More to copy than is good, and no way to clone it. */
static bool is_much(struct snap_job *j, int64_t clonable)
{
    struct commit_log *l = &j->s->log;

    return l->tail && l->tail->base != clonable && commit_log_max(l) - l->tail->base > j->copy_max;
}

struct seal {
    bool wanted;                     /* when there is much to copy */
    int64_t clonable;
    int64_t base, end;               /* of the file that was closed, and of its records; -1: none was */
};

/* Under the append lock: from here on, what is stored is not in the snapshot. -EAGAIN: not yet, the next log file
 * has been asked for. */
static int set_point(struct snap_job *j, struct seal *seal)
{
    struct commit_log *l = &j->s->log;

    seal->base = -1;
    if (seal->wanted && is_much(j, seal->clonable)) {
        int64_t end = commit_log_max(l), base = l->tail->base;
        if (commit_log_seal(l, NULL)) {
            commit_log_want_next(l);
            return -EAGAIN;
        }
        seal->base = base;
        seal->end = end;
        j->at.sealed = true;
    }
    j->at.log_end = commit_log_max(l);
    j->at.last_time = atomic_load(&l->last_time);
    j->tail_base = l->tail && l->tail->base < j->at.log_end ? l->tail->base : -1;
    return 0;
}

static void take_point(struct snap_job *j)
{
    struct seal seal = {.wanted = true, .clonable = find_clonable(j)};
    struct store *s = j->s;
    int rc, tries = 0;

    do {
        int64_t began;
        pthread_mutex_lock(&s->append_lock);
        began = mono_us();
        rc = set_point(j, &seal);
        j->at.locked_us = mono_us() - began;
        pthread_mutex_unlock(&s->append_lock);
        /* Without room for another file, what there is of this one is copied. */
        if (rc && (++tries == SEAL_TRIES || commit_log_wait_next(&s->log, NULL)))
            seal.wanted = false;
    } while (rc);
    if (seal.base >= 0)
        commit_log_trim(&s->log, seal.base, seal.end);
}

/* ---- onto the disk ---- */

/* Linked files are not opened when `linked` says so: what they hold is on disk. */
static int sync_tree(int at, const char *name, bool linked, int depth)
{
    int fd = openat(at, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC), rc = 0;
    struct dirent *e;
    struct stat st;
    DIR *d;

    if (fd < 0)
        return -errno;
    if (fstat(fd, &st) < 0 || ((S_ISDIR(st.st_mode) || !linked || st.st_nlink == 1) && fsync(fd) < 0))
        rc = -errno;
    if (rc || !S_ISDIR(st.st_mode) || depth > DEPTH_MAX || !(d = fdopendir(fd))) {
        close(fd);
        return rc;
    }
    while (!rc && (e = readdir(d)))
        if (!is_dots(e->d_name))
            rc = sync_tree(fd, e->d_name, linked, depth + 1);
    closedir(d);
    return rc;
}

/* What of the linked log files nobody has synced yet. Not flush_log: what is appended meanwhile is not waited for. */
static int sync_log(struct snap_job *j)
{
    int64_t size = j->s->log.file_size, flushed = atomic_load(&j->s->flush.flushed);
    int rc = atomic_load(&j->s->flush.sync_error);

    for (int64_t base = flushed - flushed % size; !rc && base < j->at.log_end; base += size) {
        char path[64];
        int fd;
        snprintf(path, sizeof path, "commitlog/%020" PRId64, base);
        if ((fd = openat(j->to, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC)) < 0) {
            rc = errno == ENOENT ? 0 : -errno;       /* expired before the point */
            continue;
        }
        rc = fdatasync(fd) < 0 ? -errno : 0;
        close(fd);
    }
    return rc;
}

int snapshot_sync(int dir)
{
    if (fs_syncs_as_one(dir))
        return syncfs(dir) < 0 ? -errno : 0;
    return sync_tree(dir, ".", false, 0);
}

/* A few files one by one, so that nobody waits for what else is being written to the file system; many at once. */
static int put_on_disk(struct snap_job *j)
{
    int rc = sync_log(j);

    if (rc)
        return rc;
    if (j->at.copied <= SYNC_EACH_MAX || !fs_syncs_as_one(j->to))
        return sync_tree(j->to, ".", true, 0);
    return syncfs(j->to) < 0 ? -errno : 0;
}

static int take_files(struct snap_job *j)
{
    int rc;

    store_hold_files(j->s);          /* a log without a gap: retention deletes nothing while links are made */
    take_point(j);
    rc = snapshot_take_files(j);
    store_let_files(j->s);
    return rc;
}

static const struct step {
    const char *what;
    int (*run)(struct snap_job *j);
} steps[SNAPSHOT_STEPS] = {
    {"copy the offsets", snapshot_take_offsets},
    {"take the store's files", take_files},
    {"write the checkpoint", write_checkpoint},
    {"put the snapshot on disk", put_on_disk},
};

static int fill(struct snap_job *j)
{
    int rc = 0;

    for (int i = 0; !rc && i < SNAPSHOT_STEPS; i++) {
        int64_t began = mono_us();
        j->doing = steps[i].what;
        rc = steps[i].run(j);
        j->at.step_us[i] = mono_us() - began;
    }
    return rc;
}

/* File systems that know no flags: the name was free a moment ago, and only an empty directory would be replaced. */
static int give_name(struct snap_job *j, const char *dir)
{
    if (renameat2(AT_FDCWD, j->part, AT_FDCWD, dir, RENAME_NOREPLACE) == 0)
        return 0;
    return errno != EINVAL || rename(j->part, dir) < 0 ? -errno : 0;
}

static int make(struct snap_job *j, const char *dir)
{
    int rc;

    j->doing = "make the directory";
    if (mkdir(j->part, 0755) < 0)
        return -errno;
    j->to = open(j->part, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    rc = j->to < 0 ? -errno : fill(j);
    if (!rc)
        rc = give_name(j, dir);
    if (rc)
        snapshot_remove(j->part);
    return rc ? rc : dir_sync_of(dir);
}

static int leave_out(struct snap_job *j, const char *dir)
{
    struct stat st;

    if (stat(dir, &st) < 0)
        return -errno;
    j->left_out[j->n_left_out++] = (struct snap_place){st.st_dev, st.st_ino};
    return 0;
}

static int open_places(struct snap_job *j)
{
    char *parent = strdup(j->part), *slash = parent ? strrchr(parent, '/') : NULL;
    int rc = parent ? 0 : -ENOMEM;

    if (slash)
        *slash = 0;
    if (!rc)
        rc = leave_out(j, slash ? slash == parent ? "/" : parent : ".");
    for (int i = 0; !rc && i < j->s->log.dirs.n; i++)
        rc = leave_out(j, j->s->log.dirs.home[i].dir);
    if (!rc && (j->root = open(j->s->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        rc = -errno;
    free(parent);
    return rc;
}

int store_snapshot(struct store *s, const char *dir, int64_t copy_max, struct snapshot_point *out, struct fault *f)
{
    struct snap_job j = {.s = s, .root = -1, .to = -1, .copy_max = copy_max > 0 ? copy_max : SNAPSHOT_COPY_MAX,
                         .doing = "find the store"};
    int rc = snapshot_hidden_name(dir, PART_PREFIX, j.part, sizeof j.part);

    if (!rc && access(dir, F_OK) == 0)
        return fault_set(f, RC_INVALID_PARAMETER, EEXIST, "snapshot %s is there already", dir);
    if (!rc && !(rc = open_places(&j)))
        rc = make(&j, dir);
    if (j.root >= 0)
        close(j.root);
    if (j.to >= 0)
        close(j.to);
    if (rc)
        return fault_errno(f, -rc, "snapshot %s: %s", dir, j.doing);
    *out = j.at;
    return 0;
}
