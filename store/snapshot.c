#include "store/snapshot.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/be.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "common/remoting/codes.h"
#include "store/snapshot_priv.h"
#include "store/store_impl.h"

#define SEAL_TRIES 3
#define SYNC_EACH_MAX 512            /* files */

struct job {
    struct store *s;
    int root, to;                    /* the store's directory and the snapshot's */
    struct place {
        dev_t dev;
        ino_t ino;
    } left_out[LOG_DIRS_MAX + 1];    /* where snapshots are kept, and the commit log's directories */
    int n_left_out;
    struct snapshot_point at;
    int64_t copy_max;
    int64_t tail_base;               /* of the file being written at the point; -1: none */
    bool units;                      /* the queue file just copied has some */
    const char *doing;               /* what failed, for the sentence */
};

/* ---- copying a file ---- */

/* [at, at+n) of one descriptor to the same place of the other. */
static int copy_part(int in, int out, int64_t at, int64_t n)
{
    off_t from = at, to = at;
    int64_t end = at + n;

    while (from < end) {
        ssize_t done = copy_file_range(in, &from, out, &to, (size_t)(end - from), 0);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return -errno;
        if (done == 0)               /* the file got shorter */
            return 0;
    }
    return 0;
}

/* What copy_part does, where the file systems cannot do it between them. */
static int copy_by_hand(int in, int out, int64_t at, int64_t n)
{
    char chunk[32768];

    while (n > 0) {
        ssize_t got = pread(in, chunk, n < (int64_t)sizeof chunk ? (size_t)n : sizeof chunk, at), put;
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? -errno : 0;
        if ((put = pwrite(out, chunk, (size_t)got, at)) < 0)
            return -errno;
        if (put == 0)
            return -EIO;
        at += put;
        n -= put;
    }
    return 0;
}

/* The first n bytes, leaving out what was never written; the copy gets the length `size`. */
static int copy_bytes(struct job *j, int in, int out, int64_t n, int64_t size)
{
    int64_t at = 0;
    int rc = 0;

    if (ioctl(out, FICLONE, in) == 0)
        return ftruncate(out, n) < 0 || ftruncate(out, size) < 0 ? -errno : 0;
    while (!rc && at < n) {
        int64_t data = lseek(in, at, SEEK_DATA), hole = data < 0 ? -1 : lseek(in, data, SEEK_HOLE);
        if (data < 0 && errno == ENXIO)
            break;
        if (data < 0 || hole < 0) {
            data = at;
            hole = n;
        }
        if (data >= n)
            break;
        at = hole < n ? hole : n;
        rc = copy_part(in, out, data, at - data);
        if (rc == -EXDEV || rc == -EINVAL || rc == -ENOSYS || rc == -EOPNOTSUPP)
            rc = copy_by_hand(in, out, data, at - data);
        j->at.copied_bytes += at - data;
    }
    return rc ? rc : ftruncate(out, size) < 0 ? -errno : 0;
}

#define CHUNK_UNITS 3200

/* Whether a unit is left. */
static bool drop_units_past(unsigned char *p, ssize_t n, int64_t end)
{
    bool some = false;

    for (; n >= UNIT_SIZE; n -= UNIT_SIZE, p += UNIT_SIZE) {
        struct store_entry e;
        unit_get(p, &e);
        if (!unit_is_blank(&e) && e.physical_offset >= end)
            memset(p, 0, UNIT_SIZE);
        else if (unit_written(&e))
            some = true;
    }
    return some;
}

/* A queue's file without the units of messages at or past the point. */
static int copy_units(struct job *j, int in, int out, int64_t size)
{
    unsigned char chunk[CHUNK_UNITS * UNIT_SIZE];
    int64_t at = 0;

    while (at < size) {
        int64_t data = lseek(in, at, SEEK_DATA);
        ssize_t n;
        if (data < 0 && errno == ENXIO)
            break;
        if (data > at)
            at = data - data % UNIT_SIZE;
        n = pread(in, chunk, size - at < (int64_t)sizeof chunk ? (size_t)(size - at) : sizeof chunk, at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : 0;
        j->units |= drop_units_past(chunk, n, j->at.log_end);
        if (pwrite(out, chunk, (size_t)n, at) != n)
            return errno ? -errno : -EIO;
        at += n;
        j->at.copied_bytes += n;
    }
    return ftruncate(out, size) < 0 ? -errno : 0;
}

typedef int copy_fn(struct job *j, int in, int out, int64_t size);

static int copy_whole(struct job *j, int in, int out, int64_t size) { return copy_bytes(j, in, out, size, size); }

static int copy_log_tail(struct job *j, int in, int out, int64_t size)
{
    return copy_bytes(j, in, out, j->at.log_end - j->tail_base, size);
}

/* A file that is gone meanwhile, or was copied before the point, is passed over. */
static int take_copy(struct job *j, int from, int to, const char *name, copy_fn *copy)
{
    int in = openat(from, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC), out, rc;
    struct stat st;

    if (in < 0)
        return errno == ENOENT || errno == ELOOP || errno == ENXIO ? 0 : -errno;
    if (fstat(in, &st) < 0 || !S_ISREG(st.st_mode)) {
        close(in);
        return 0;
    }
    out = openat(to, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, st.st_mode & 0777);
    if (out < 0) {
        rc = errno == EEXIST ? 0 : -errno;
    } else {
        rc = copy(j, in, out, st.st_size);
        futimens(out, (struct timespec[]){st.st_atim, st.st_mtim});
        if (close(out) < 0 && !rc)
            rc = -errno;
        j->at.copied++;
    }
    close(in);
    return rc;
}

static int take_whole(struct job *j, int from, int to, const char *name) { return take_copy(j, from, to, name, copy_whole); }

/* A file that nobody writes to any more. */
static int take_link(struct job *j, int from, int to, const char *name, copy_fn *copy)
{
    if (linkat(from, name, to, name, 0) == 0) {
        j->at.linked++;
        return 0;
    }
    if (errno == ENOENT)
        return 0;
    return errno == EXDEV || errno == EPERM || errno == EMLINK ? take_copy(j, from, to, name, copy) : -errno;
}

/* ---- directories ---- */

typedef int take_fn(struct job *j, int from, int to, const char *name);

/* Calls take for each name of the directory, after making the directory of the same name. Takes over `from`. */
static int take_dir(struct job *j, int from, int to_parent, const char *name, take_fn *take)
{
    struct dirent *e;
    DIR *d = NULL;
    int to = -1, rc = 0;

    if ((mkdirat(to_parent, name, 0755) < 0 && errno != EEXIST) || (to = open_dir(to_parent, name)) < 0 ||
        !(d = fdopendir(from)))
        rc = -errno;
    while (!rc && (errno = 0, e = readdir(d))) {
        if (!is_dots(e->d_name))
            rc = take(j, from, to, e->d_name);
        errno = 0;
    }
    rc = rc ? rc : -errno;
    if (d)
        closedir(d);
    else
        close(from);
    if (to >= 0)
        close(to);
    return rc;
}

static bool is_left_out(const struct job *j, const struct stat *st)
{
    for (int i = 0; i < j->n_left_out; i++)
        if (j->left_out[i].dev == st->st_dev && j->left_out[i].ino == st->st_ino)
            return true;
    return false;
}

/* A file, or a directory with everything below it, as it is. */
static int take_all(struct job *j, int from, int to, const char *name)
{
    struct stat st;
    int fd;

    if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (S_ISREG(st.st_mode))
        return take_whole(j, from, to, name);
    if (!S_ISDIR(st.st_mode) || is_left_out(j, &st))
        return 0;
    fd = open_dir(from, name);
    return fd < 0 ? errno == ENOENT ? 0 : -errno : take_dir(j, fd, to, name, take_all);
}

static int is_store_file(const struct dirent *e)
{
    return strlen(e->d_name) == 20 && strspn(e->d_name, "0123456789") == 20;
}

/* ---- consume queues ---- */

/* Whether the last unit of a file that is not its queue's last is of before the point: then all are. */
static bool is_before(struct job *j, int from, const char *name)
{
    unsigned char last[UNIT_SIZE];
    struct store_entry e = {0};
    int fd = openat(from, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    bool is = fd >= 0 && fstat(fd, &st) == 0 && st.st_size >= UNIT_SIZE &&
              pread(fd, last, UNIT_SIZE, st.st_size - UNIT_SIZE) == UNIT_SIZE;

    if (is)
        unit_get(last, &e);
    if (fd >= 0)
        close(fd);
    return is && unit_written(&e) && e.physical_offset < j->at.log_end;
}

/* A file that has no units at the point is left out: a queue ends in its last file. Not the first one: it says where an
 * empty queue is. */
static int take_queue_file(struct job *j, int from, int to, const char *name, bool first, bool last)
{
    int rc;

    if (!last && is_before(j, from, name))
        return take_link(j, from, to, name, copy_units);
    j->units = false;
    rc = take_copy(j, from, to, name, copy_units);
    return !rc && !j->units && !first && unlinkat(to, name, 0) < 0 && errno != ENOENT ? -errno : rc;
}

static int take_queue_files(struct job *j, int from, int to)
{
    struct dirent **names;
    int n = scandirat(from, ".", &names, is_store_file, alphasort), rc = 0;

    if (n < 0)
        return errno == ENOENT ? 0 : -errno;
    for (int i = 0; i < n; i++) {
        if (!rc)
            rc = take_queue_file(j, from, to, names[i]->d_name, i == 0, i == n - 1);
        free(names[i]);
    }
    free(names);
    return rc;
}

static int take_queue(struct job *j, int from, int to, const char *name)
{
    int in = open_dir(from, name), out, rc;

    if (in < 0)
        return errno == ENOENT ? 0 : errno == ENOTDIR || errno == ELOOP ? take_whole(j, from, to, name) : -errno;
    out = mkdirat(to, name, 0755) < 0 ? -1 : open_dir(to, name);
    rc = out < 0 ? -errno : take_queue_files(j, in, out);
    if (out >= 0)
        close(out);
    close(in);
    return rc;
}

static int take_topic(struct job *j, int from, int to, const char *name)
{
    int in = open_dir(from, name);

    if (in < 0)
        return errno == ENOENT ? 0 : errno == ENOTDIR || errno == ELOOP ? take_whole(j, from, to, name) : -errno;
    return take_dir(j, in, to, name, take_queue);
}

static int take_queues(struct job *j, const char *name)
{
    int from = open_dir(j->root, name);

    return from < 0 ? -errno : take_dir(j, from, j->to, name, take_topic);
}

/* ---- index files ---- */

static int is_index_file(const struct dirent *e)
{
    return strlen(e->d_name) == 17 && strspn(e->d_name, "0123456789") == 17;
}

/* Whether all entries are of messages before the point. */
static bool index_is_before(struct job *j, int from, const char *name)
{
    unsigned char header[INDEX_HEADER];
    int fd = openat(from, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    bool is = fd >= 0 && pread(fd, header, sizeof header, 0) == sizeof header &&
              (int64_t)be64_get(header + 24) < j->at.log_end;

    if (fd >= 0)
        close(fd);
    return is;
}

/* Full files are linked. The one that is being filled is left out: a broker on the snapshot fills it again from the
 * log, behind its other work. With the index off nobody writes to any. */
static int take_index_files(struct job *j, int from, int to)
{
    struct dirent **names;
    int n = scandirat(from, ".", &names, is_index_file, alphasort), rc = 0;
    bool more = true;

    if (n < 0)
        return -errno;
    for (int i = 0; i < n; i++) {
        more = more && (i < n - 1 || !j->s->index.on) && index_is_before(j, from, names[i]->d_name);
        if (more && !rc)
            rc = take_link(j, from, to, names[i]->d_name, copy_whole);
        free(names[i]);
    }
    free(names);
    return rc;
}

static int take_index(struct job *j, const char *name)
{
    int from = open_dir(j->root, name), to = -1, rc;

    if (from < 0)
        return -errno;
    if (mkdirat(j->to, name, 0755) < 0 || (to = open_dir(j->to, name)) < 0)
        rc = -errno;
    else
        rc = take_index_files(j, from, to);
    if (to >= 0)
        close(to);
    close(from);
    return rc;
}

/* ---- the commit log ---- */

static int take_log_file(struct job *j, int to, int64_t base)
{
    const struct log_dirs *dirs = &j->s->log.dirs;
    int rc = 0;
    char name[24];

    snprintf(name, sizeof name, "%020" PRId64, base);
    for (int i = 0; i < dirs->n; i++) {
        int from = open(dirs->home[i].dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        bool here = from >= 0 && faccessat(from, name, F_OK, 0) == 0;
        if (here)
            rc = base == j->tail_base ? take_copy(j, from, to, name, copy_log_tail) : take_link(j, from, to, name, copy_whole);
        if (from >= 0)
            close(from);
        if (here)
            return rc;
    }
    return 0;                        /* expired meanwhile */
}

/* From whatever directories into one. */
static int take_log(struct job *j, const char *name)
{
    struct file_list *l = &j->s->log.files;
    int to = -1, rc = 0, n = file_list_count(l);
    int64_t after = -1;

    if (mkdirat(j->to, name, 0755) < 0 || (to = open_dir(j->to, name)) < 0)
        return -errno;
    /* By base and not by number: retention may take the first ones away meanwhile. */
    for (int i = 0; !rc && i < n; i++) {
        int64_t base = file_list_next(l, after + 1);
        if (base < 0 || base >= j->at.log_end)
            break;
        rc = take_log_file(j, to, base);
        after = base + l->file_size - 1;
    }
    close(to);
    return rc;
}

/* ---- what stands in a store's directory ---- */

/* Files of config that must not be newer than the queues. */
static const char *const before_the_point[] = {"consumerOffset.json", "consumerOffset.json.bak", "delayOffset.json",
                                               "delayOffset.json.bak"};

static int take_offsets(struct job *j)
{
    int from = open_dir(j->root, "config"), to = -1, rc = 0;

    if (from < 0)
        return errno == ENOENT ? 0 : -errno;
    if (mkdirat(j->to, "config", 0755) < 0 || (to = open_dir(j->to, "config")) < 0)
        rc = -errno;
    for (size_t i = 0; !rc && i < sizeof before_the_point / sizeof before_the_point[0]; i++)
        rc = take_whole(j, from, to, before_the_point[i]);
    if (to >= 0)
        close(to);
    close(from);
    return rc;
}

static int nothing(struct job *j, const char *name)
{
    (void)j;
    (void)name;
    return 0;
}
static int take_other(struct job *j, const char *name) { return take_all(j, j->root, j->to, name); }

static const struct part {
    const char *name;
    int (*take)(struct job *j, const char *name);
} parts[] = {
    {"commitlog", nothing},          /* first of all: see take_parts */
    {"consumequeue", take_queues},
    {"index", take_index},
    {"checkpoint", nothing},         /* made for the point */
    {"abort", nothing},              /* a snapshot was stopped cleanly */
    {"lock", nothing},
};

static int take_part(struct job *j, int from, int to, const char *name)
{
    (void)from;
    (void)to;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (strcmp(parts[i].name, name) == 0)
            return parts[i].take(j, name);
    return take_other(j, name);
}

static int take_parts(struct job *j)
{
    int fd, rc = take_log(j, "commitlog");

    if (rc || (fd = open_dir(j->root, ".")) < 0)
        return rc ? rc : -errno;
    return take_dir(j, fd, j->to, ".", take_part);
}

static int write_checkpoint(struct job *j, const char *dir)
{
    struct checkpoint c;
    struct fault f;
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/checkpoint", dir);

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

/* Whether files can be cloned from the log's directory into the snapshot. */
static bool can_clone(struct job *j)
{
    int from = open(j->s->checkpoint_path, O_RDONLY | O_CLOEXEC);
    int to = openat(j->to, "checkpoint", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    bool can = from >= 0 && to >= 0 && ioctl(to, FICLONE, from) == 0;

    if (from >= 0)
        close(from);
    if (to >= 0)
        close(to);
    return can;
}

static bool is_much(struct job *j)
{
    struct commit_log *l = &j->s->log;

    return l->tail && commit_log_max(l) - l->tail->base > j->copy_max;
}

/* Under the append lock: from here on, what is stored is not in the snapshot. -EAGAIN: not yet, the next log file
 * has been asked for. */
static int set_point(struct job *j, bool may_seal, int64_t *sealed_base, int64_t *sealed_end)
{
    struct commit_log *l = &j->s->log;
    int rc;

    *sealed_base = -1;
    if (may_seal && is_much(j)) {
        *sealed_end = commit_log_max(l);
        *sealed_base = l->tail->base;
        if ((rc = commit_log_seal(l, NULL))) {
            *sealed_base = -1;
            commit_log_want_next(l);
            return -EAGAIN;
        }
        j->at.sealed = true;
    }
    j->at.log_end = commit_log_max(l);
    j->at.last_time = atomic_load(&l->last_time);
    j->tail_base = l->tail && l->tail->base < j->at.log_end ? l->tail->base : -1;
    return 0;
}

static void take_point(struct job *j)
{
    struct store *s = j->s;
    bool may_seal = !can_clone(j);
    int64_t began, sealed_base, sealed_end = 0;
    int rc, tries = 0;

    do {
        pthread_mutex_lock(&s->append_lock);
        began = mono_us();
        rc = set_point(j, may_seal, &sealed_base, &sealed_end);
        j->at.locked_us = mono_us() - began;
        pthread_mutex_unlock(&s->append_lock);
        /* Without room for another file, what there is of this one is copied. */
        if (rc && (++tries == SEAL_TRIES || commit_log_wait_next(&s->log, NULL)))
            may_seal = false;
    } while (rc);
    if (sealed_base >= 0)
        commit_log_trim(&s->log, sealed_base, sealed_end);
}

/* ---- onto the disk ---- */

static int sync_tree(int at, const char *name, int depth)
{
    int fd = openat(at, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC), rc = 0;
    struct dirent *e;
    struct stat st;
    DIR *d;

    if (fd < 0)
        return -errno;
    if (fsync(fd) < 0 || fstat(fd, &st) < 0)
        rc = -errno;
    if (rc || !S_ISDIR(st.st_mode) || depth > DEPTH_MAX || !(d = fdopendir(fd))) {
        close(fd);
        return rc;
    }
    while (!rc && (e = readdir(d)))
        if (!is_dots(e->d_name))
            rc = sync_tree(fd, e->d_name, depth + 1);
    closedir(d);
    return rc;
}

/* A few files one by one, so that nobody waits for what else is being written to the file system; many at once. What
 * was linked may be dirty, too. */
static int sync_snapshot(struct job *j)
{
    if (j->at.linked + j->at.copied <= SYNC_EACH_MAX)
        return sync_tree(j->to, ".", 0);
    return syncfs(j->to) < 0 ? -errno : 0;
}

/* ---- the whole ---- */

static int fill(struct job *j, const char *dir)
{
    int rc;

    j->doing = "copy the offsets";
    if ((rc = take_offsets(j)))
        return rc;
    take_point(j);
    j->doing = "copy the store's files";
    if ((rc = take_parts(j)))
        return rc;
    j->doing = "write the checkpoint";
    if ((rc = write_checkpoint(j, dir)))
        return rc;
    j->doing = "put the snapshot on disk";
    return sync_snapshot(j);
}

static int make(struct job *j, const char *part, const char *dir)
{
    int rc;

    j->doing = "make the directory";
    if (mkdir(part, 0755) < 0)
        return -errno;
    j->to = open(part, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    rc = j->to < 0 ? -errno : fill(j, part);
    if (!rc && renameat2(AT_FDCWD, part, AT_FDCWD, dir, RENAME_NOREPLACE) < 0)
        rc = -errno;
    if (rc)
        snapshot_remove(part);
    return rc ? rc : dir_sync_of(dir);
}

static int leave_out(struct job *j, const char *dir)
{
    struct stat st;

    if (stat(dir, &st) < 0)
        return -errno;
    j->left_out[j->n_left_out++] = (struct place){st.st_dev, st.st_ino};
    return 0;
}

static int open_places(struct job *j, const char *part)
{
    char *parent = strdup(part), *slash = parent ? strrchr(parent, '/') : NULL;
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
    struct job j = {.s = s, .root = -1, .to = -1, .copy_max = copy_max > 0 ? copy_max : SNAPSHOT_COPY_MAX,
                    .doing = "find the store"};
    char part[4096];
    int rc = snapshot_hidden_name(dir, PART_PREFIX, part, sizeof part);

    if (!rc && access(dir, F_OK) == 0)
        return fault_set(f, RC_INVALID_PARAMETER, EEXIST, "snapshot %s is there already", dir);
    if (!rc && !(rc = open_places(&j, part)))
        rc = make(&j, part, dir);
    if (j.root >= 0)
        close(j.root);
    if (j.to >= 0)
        close(j.to);
    if (rc)
        return fault_errno(f, -rc, "snapshot %s: %s", dir, j.doing);
    *out = j.at;
    return 0;
}
