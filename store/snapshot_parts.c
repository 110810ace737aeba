/* What stands in a store's directory, and how each of it comes into a snapshot:
 * linked where nobody writes any more, else copied up to the point. */
#include "store/snapshot_priv.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/be.h"
#include "store/file_copy.h"
#include "store/unit_reader.h"

/* ---- a file ---- */

/* The first n bytes of it. One that is gone meanwhile, is no file, or was copied before the point, is passed over. */
static int take_copy(struct snap_job *j, int from, int to, const char *name, int64_t n)
{
    int in = openat(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC), out, rc;
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
        rc = file_copy(in, out, n < st.st_size ? n : st.st_size, st.st_size, &j->at.copied_bytes);
        futimens(out, (struct timespec[]){st.st_atim, st.st_mtim});
        if (close(out) < 0 && !rc)
            rc = -errno;
        j->at.copied++;
    }
    close(in);
    return rc;
}

static int take_whole(struct snap_job *j, int from, int to, const char *name) { return take_copy(j, from, to, name, INT64_MAX); }

/* A file that nobody writes to any more. */
static int take_link(struct snap_job *j, int from, int to, const char *name)
{
    if (linkat(from, name, to, name, 0) == 0) {
        j->at.linked++;
        return 0;
    }
    if (errno == ENOENT)
        return 0;
    return errno == EXDEV || errno == EPERM || errno == EMLINK ? take_whole(j, from, to, name) : -errno;
}

/* ---- directories ---- */

typedef int take_fn(struct snap_job *j, int from, int to, const char *name, void *arg);

/* Calls take for each name of the directory, after making the directory of the same name. Takes over `from`. */
static int take_dir(struct snap_job *j, int from, int to_parent, const char *name, take_fn *take, void *arg)
{
    struct dirent *e;
    DIR *d = NULL;
    int to = -1, rc = 0;

    if ((mkdirat(to_parent, name, 0755) < 0 && errno != EEXIST) || (to = open_dir(to_parent, name)) < 0 ||
        !(d = fdopendir(from)))
        rc = -errno;
    while (!rc && (errno = 0, e = readdir(d))) {
        if (!is_dots(e->d_name))
            rc = take(j, from, to, e->d_name, arg);
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

static bool is_left_out(const struct snap_job *j, const struct stat *st)
{
    for (int i = 0; i < j->n_left_out; i++)
        if (j->left_out[i].dev == st->st_dev && j->left_out[i].ino == st->st_ino)
            return true;
    return false;
}

/* A file, or a directory with everything below it, as it is. */
static int take_all(struct snap_job *j, int from, int to, const char *name, void *arg)
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
    return fd < 0 ? errno == ENOENT ? 0 : -errno : take_dir(j, fd, to, name, take_all, arg);
}

/* Goes through the names that `pick` accepts, in their order. */
static int take_sorted(struct snap_job *j, int from, int to, int (*pick)(const struct dirent *e), take_fn *take, void *arg)
{
    struct dirent **names;
    int n = scandirat(from, ".", &names, pick, alphasort), rc = 0;

    if (n < 0)
        return errno == ENOENT ? 0 : -errno;
    for (int i = 0; i < n; i++) {
        if (!rc)
            rc = take(j, from, to, names[i]->d_name, arg);
        free(names[i]);
    }
    free(names);
    return rc;
}

static int is_store_file(const struct dirent *e)
{
    return strlen(e->d_name) == 20 && strspn(e->d_name, "0123456789") == 20;
}

/* ---- consume queues ---- */

struct queue_end {
    struct store_queue *q;           /* NULL: a directory that is no queue's */
    int64_t file_size;
    int64_t end;                     /* bytes of units of messages before the point */
    bool others;                     /* files were taken already */
};

static bool is_written(const struct store_entry *e, int64_t unused)
{
    (void)unused;
    return unit_written(e);
}

static bool is_before(const struct store_entry *e, int64_t log_end)
{
    return unit_is_blank(e) || e->physical_offset < log_end;
}

static bool in_use(const struct queue_end *e)
{
    return e->q && atomic_load_explicit(&e->q->loaded, memory_order_acquire);
}

/* A unit may be half written while it is looked at, but not one below the max of a queue that is in use. One that is
 * not in use is not written to; when that changed meanwhile, its max is known. */
static int64_t units_now(const struct queue_end *e, struct unit_reader *r, int64_t last)
{
    int64_t n = in_use(e) ? 0 : reader_first_not(r, last, last + e->file_size / UNIT_SIZE, is_written, 0);

    return in_use(e) ? queue_max(e->q) : n;
}

/* Where the queue ends at the point; first, last: of its files, as queue offsets. Units come in the order of their
 * records. */
static int find_end(struct snap_job *j, struct queue_end *e, struct unit_reader *r, int64_t first, int64_t last)
{
    int64_t n = units_now(e, r, last);

    if (n >= first)
        n = reader_first_not(r, first, n, is_before, j->at.log_end);
    e->end = n * UNIT_SIZE;
    return n < 0 ? (int)n : 0;
}

/* What of a linked file is not on disk yet the snapshot cannot leave to the flush thread. */
static int sync_linked(struct snap_job *j, const struct queue_end *e, int to, const char *name, int64_t end)
{
    bool on_disk;
    int fd, rc;

    pthread_mutex_lock(&j->s->append_lock);
    on_disk = e->q && (!atomic_load(&e->q->loaded) || e->q->flushed * UNIT_SIZE >= end);
    pthread_mutex_unlock(&j->s->append_lock);
    if (on_disk)
        return 0;
    if ((fd = openat(to, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC)) < 0)
        return errno == ENOENT ? 0 : -errno;
    rc = fdatasync(fd) < 0 ? -errno : 0;
    close(fd);
    return rc;
}

/* A file that has no units at the point is left out: a queue ends in its last file. Not the first one: it says where an
 * empty queue is. */
static int take_queue_file(struct snap_job *j, int from, int to, const char *name, void *arg)
{
    struct queue_end *e = arg;
    int64_t base = strtoll(name, NULL, 10);
    int rc;

    if (base >= e->end && e->others)
        return 0;
    e->others = true;
    if (e->end - base < e->file_size)
        return take_copy(j, from, to, name, e->end > base ? e->end - base : 0);
    rc = take_link(j, from, to, name);
    return rc ? rc : sync_linked(j, e, to, name, base + e->file_size);
}

/* The queue offsets at which its first and last file begin. 0 or -errno; -ENOENT: there is none. Whether their lengths
 * are right is for recovery to judge. */
static int file_range(int dir, int64_t *first, int64_t *last)
{
    struct dirent **names;
    int n = scandirat(dir, ".", &names, is_store_file, alphasort);

    if (n < 0)
        return -errno;
    if (n > 0) {
        *first = strtoll(names[0]->d_name, NULL, 10) / UNIT_SIZE;
        *last = strtoll(names[n - 1]->d_name, NULL, 10) / UNIT_SIZE;
    }
    for (int i = 0; i < n; i++)
        free(names[i]);
    free(names);
    return n ? 0 : -ENOENT;
}

static struct store_queue *find_queue(struct snap_job *j, const char *topic, const char *id)
{
    char *end;
    long n = strtol(id, &end, 10);

    return *end || n < 0 || n > INT32_MAX ? NULL : store_queue_find(j->s, str_of(topic), (int32_t)n);
}

static int take_queue_files(struct snap_job *j, int from, int to, const char *topic, const char *id)
{
    char dir[4096];
    struct unit_reader r = {.dir = dir, .file_size = j->s->env.file_size, .fd = -1};
    struct queue_end e = {.q = find_queue(j, topic, id), .file_size = r.file_size};
    int64_t first = 0, last = 0;
    int rc = file_range(from, &first, &last);

    if (rc)
        return rc == -ENOENT ? 0 : rc;
    if ((size_t)snprintf(dir, sizeof dir, "%s/%s/%s", j->s->queue_dir, topic, id) >= sizeof dir)
        return -ENAMETOOLONG;
    rc = find_end(j, &e, &r, first, last);
    reader_close(&r);
    return rc ? rc : take_sorted(j, from, to, is_store_file, take_queue_file, &e);
}

static int take_queue(struct snap_job *j, int from, int to, const char *name, void *topic)
{
    int in = open_dir(from, name), out, rc;

    if (in < 0)
        return errno == ENOENT ? 0 : errno == ENOTDIR || errno == ELOOP ? take_whole(j, from, to, name) : -errno;
    out = mkdirat(to, name, 0755) < 0 ? -1 : open_dir(to, name);
    rc = out < 0 ? -errno : take_queue_files(j, in, out, topic, name);
    if (out >= 0)
        close(out);
    close(in);
    return rc;
}

static int take_topic(struct snap_job *j, int from, int to, const char *name, void *arg)
{
    int in = open_dir(from, name);
    char topic[NAME_MAX + 1];

    (void)arg;
    if (in < 0)
        return errno == ENOENT ? 0 : errno == ENOTDIR || errno == ELOOP ? take_whole(j, from, to, name) : -errno;
    snprintf(topic, sizeof topic, "%s", name);
    return take_dir(j, in, to, name, take_queue, topic);
}

static int take_queues(struct snap_job *j, const char *name)
{
    int from = open_dir(j->root, name);

    return from < 0 ? -errno : take_dir(j, from, j->to, name, take_topic, NULL);
}

/* ---- index files ---- */

static int is_index_file(const struct dirent *e)
{
    return strlen(e->d_name) == 17 && strspn(e->d_name, "0123456789") == 17;
}

/* Whether all entries are of messages before the point. */
static bool index_is_before(struct snap_job *j, int from, const char *name)
{
    unsigned char header[INDEX_HEADER];
    int fd = openat(from, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    bool is = fd >= 0 && pread(fd, header, sizeof header, 0) == sizeof header &&
              (int64_t)be64_get(header + 24) < j->at.log_end;

    if (fd >= 0)
        close(fd);
    return is;
}

struct index_row {
    int n;                           /* files that follow, this one included */
    bool more;                       /* all before it were taken */
};

/* Full files are linked. The one that is being filled is left out: a broker on the snapshot fills it again from the
 * log, behind its other work. With the index off nobody writes to any. */
static int take_index_file(struct snap_job *j, int from, int to, const char *name, void *arg)
{
    struct index_row *row = arg;
    bool is_last = --row->n == 0;

    row->more = row->more && (!is_last || !j->s->index.on) && index_is_before(j, from, name);
    return row->more ? take_link(j, from, to, name) : 0;
}

static int count_files(int from, int (*pick)(const struct dirent *e))
{
    struct dirent **names;
    int n = scandirat(from, ".", &names, pick, NULL);

    for (int i = 0; i < n; i++)
        free(names[i]);
    if (n >= 0)
        free(names);
    return n < 0 ? -errno : n;
}

static int take_index(struct snap_job *j, const char *name)
{
    struct index_row row = {.more = true};
    int from = open_dir(j->root, name), to = -1, rc;

    if (from < 0)
        return -errno;
    rc = mkdirat(j->to, name, 0755) < 0 || (to = open_dir(j->to, name)) < 0 ? -errno : count_files(from, is_index_file);
    if (rc >= 0) {
        row.n = rc;
        rc = take_sorted(j, from, to, is_index_file, take_index_file, &row);
    }
    if (to >= 0)
        close(to);
    close(from);
    return rc;
}

/* ---- the commit log ---- */

static int take_log_file(struct snap_job *j, int to, int64_t base)
{
    const struct log_dirs *dirs = &j->s->log.dirs;
    int rc = 0;
    char name[24];

    snprintf(name, sizeof name, "%020" PRId64, base);
    for (int i = 0; i < dirs->n; i++) {
        int from = open(dirs->home[i].dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        bool here = from >= 0 && faccessat(from, name, F_OK, 0) == 0;
        if (here)
            rc = base == j->tail_base ? take_copy(j, from, to, name, j->at.log_end - base) : take_link(j, from, to, name);
        if (from >= 0)
            close(from);
        if (here)
            return rc;
    }
    return -ENOENT;
}

/* From whatever directories into one. The first ones may have been taken away under our feet; a gap is no log. */
static int take_log(struct snap_job *j, const char *name)
{
    struct file_list *l = &j->s->log.files;
    int to = -1, rc = 0, n = file_list_count(l);
    bool first = true;

    if (mkdirat(j->to, name, 0755) < 0 || (to = open_dir(j->to, name)) < 0)
        return -errno;
    for (int i = 0; !rc && i < n; i++) {
        int64_t base = file_list_base(l, i);
        if (base >= j->at.log_end)
            break;
        rc = take_log_file(j, to, base);
        if (rc == -ENOENT && first)
            rc = 0;
        else
            first = false;
    }
    close(to);
    return rc;
}

/* ---- what stands in a store's directory ---- */

int snapshot_take_offsets(struct snap_job *j)
{
    static const char *const names[] = {"consumerOffset.json", "consumerOffset.json.bak", "delayOffset.json",
                                        "delayOffset.json.bak"};
    int from = open_dir(j->root, "config"), to = -1, rc = 0;

    if (from < 0)
        return errno == ENOENT ? 0 : -errno;
    if (mkdirat(j->to, "config", 0755) < 0 || (to = open_dir(j->to, "config")) < 0)
        rc = -errno;
    for (size_t i = 0; !rc && i < sizeof names / sizeof names[0]; i++)
        rc = take_whole(j, from, to, names[i]);
    if (to >= 0)
        close(to);
    close(from);
    return rc;
}

static int nothing(struct snap_job *j, const char *name)
{
    (void)j;
    (void)name;
    return 0;
}

static const struct part {
    const char *name;
    int (*take)(struct snap_job *j, const char *name);
} parts[] = {
    {"commitlog", nothing},          /* first of all: see snapshot_take_files */
    {"consumequeue", take_queues},
    {"index", take_index},
    {"checkpoint", nothing},         /* made for the point */
    {"abort", nothing},              /* a snapshot was stopped cleanly */
    {"lock", nothing},
};

static int take_part(struct snap_job *j, int from, int to, const char *name, void *arg)
{
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (strcmp(parts[i].name, name) == 0)
            return parts[i].take(j, name);
    return take_all(j, from, to, name, arg);
}

int snapshot_take_files(struct snap_job *j)
{
    int fd, rc = take_log(j, "commitlog");

    if (rc || (fd = open_dir(j->root, ".")) < 0)
        return rc ? rc : -errno;
    return take_dir(j, fd, j->to, ".", take_part, NULL);
}
