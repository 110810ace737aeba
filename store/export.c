#include "store/export.h"

#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/codes.h"

#define CHUNK (1 << 20)
#define BLOCK (1 << 18)              /* bytes of one write to the archive */
#define EXTENTS_MAX 4096             /* of one file; what lies behind the last is written as it is */
#define DEPTH_MAX 32

struct extent {
    int64_t at, n;
};

struct job {
    struct archive *a;
    const struct export_options *o;
    struct export_result *out;
    struct fault *f;
    char *chunk;                     /* CHUNK bytes */
    struct extent *extents;          /* EXTENTS_MAX */
    const char *zeros;               /* CHUNK bytes */
    int64_t total;
};

static int broken(struct fault *f, struct archive *a, const char *doing)
{
    const char *why = archive_error_string(a);
    int err = archive_errno(a);

    /* libarchive's own numbers are below 0 or mean a file's form. */
    return fault_set(f, RC_SYSTEM_ERROR, err > 0 && err < 4096 ? err : EBADMSG, "%s: %s", doing, why ? why : "it failed");
}

static int tell(struct job *j)
{
    if (j->o->progress && j->o->progress(j->o->arg, j->out->bytes, j->total))
        return fault_set(j->f, RC_SYSTEM_ERROR, ECANCELED, "stopped");
    return 0;
}

/* ---- walking a directory ---- */

static int is_entry(const struct dirent *e) { return strcmp(e->d_name, ".") && strcmp(e->d_name, ".."); }

static bool is_left_out(const char *path)
{
    return strcmp(path, "lock") == 0 || strcmp(path, "snapshots") == 0 || strcmp(path, "checkpoint") == 0;
}

typedef int visit_fn(struct job *j, int fd, const char *path, const struct stat *st);

static int walk(struct job *j, int dir, const char *path, int depth, visit_fn *visit);

static int walk_entry(struct job *j, int dir, const char *above, const char *name, int depth, visit_fn *visit)
{
    struct stat st;
    char path[4096];
    int fd, rc, n = snprintf(path, sizeof path, "%s%s%s", above, *above ? "/" : "", name);

    if (n < 0 || (size_t)n >= sizeof path)
        return fault_errno(j->f, ENAMETOOLONG, "%s", above);
    if (is_left_out(path))
        return 0;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return fault_errno(j->f, errno, "%s", path);
    if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
        return 0;
    if ((fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC)) < 0)
        return fault_errno(j->f, errno, "open %s", path);
    if (!(rc = visit(j, fd, path, &st)) && S_ISDIR(st.st_mode))
        rc = walk(j, fd, path, depth + 1, visit);
    close(fd);
    return rc;
}

static int walk(struct job *j, int dir, const char *path, int depth, visit_fn *visit)
{
    struct dirent **names;
    int n, rc = 0;

    if (depth > DEPTH_MAX)
        return fault_errno(j->f, ELOOP, "%s", path);
    if ((n = scandirat(dir, ".", &names, is_entry, alphasort)) < 0)
        return fault_errno(j->f, errno, "read directory %s", path);
    for (int i = 0; i < n; i++) {
        if (!rc)
            rc = walk_entry(j, dir, path, names[i]->d_name, depth, visit);
        free(names[i]);
    }
    free(names);
    return rc;
}

/* ---- export ---- */

/* Where the file has data; how many parts. */
static int find_extents(struct job *j, int fd, int64_t size)
{
    int64_t at = 0;
    int n = 0;

    while (at < size) {
        int64_t data = lseek(fd, at, SEEK_DATA), hole;
        if (data < 0 && errno == ENXIO)
            break;
        if (data < 0)                    /* it cannot be told: all is data */
            data = at;
        if (data >= size)
            break;
        hole = n == EXTENTS_MAX - 1 ? size : lseek(fd, data, SEEK_HOLE);
        if (hole < 0 || hole > size)
            hole = size;
        j->extents[n++] = (struct extent){data, hole - data};
        at = hole;
    }
    return n;
}

static int64_t data_in(const struct job *j, int n)
{
    int64_t sum = 0;

    for (int i = 0; i < n; i++)
        sum += j->extents[i].n;
    return sum;
}

static int add_up(struct job *j, int fd, const char *path, const struct stat *st)
{
    if (S_ISREG(st->st_mode))
        j->total += data_in(j, find_extents(j, fd, st->st_size));
    return 0;
}

static int put(struct job *j, const char *p, int64_t n, const char *path)
{
    while (n > 0) {
        la_ssize_t done = archive_write_data(j->a, p, n < CHUNK ? (size_t)n : CHUNK);
        if (done <= 0)
            return broken(j->f, j->a, path);
        n -= done;
    }
    return 0;
}

static int put_extent(struct job *j, int fd, const struct extent *e, const char *path)
{
    for (int64_t at = e->at, end = e->at + e->n; at < end;) {
        ssize_t n = pread(fd, j->chunk, end - at < CHUNK ? (size_t)(end - at) : CHUNK, at);
        int rc;
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return fault_errno(j->f, n < 0 ? errno : EIO, "read %s at %lld", path, (long long)at);
        j->out->bytes += n;
        if ((rc = put(j, j->chunk, n, path)) || (rc = tell(j)))
            return rc;
        at += n;
    }
    return 0;
}

/* libarchive passes over what is given for a hole. */
static int put_file(struct job *j, int fd, int n, int64_t size, const char *path)
{
    int64_t at = 0;
    int rc = 0;

    for (int i = 0; !rc && i < n; i++) {
        const struct extent *e = &j->extents[i];
        if (!(rc = put(j, j->zeros, e->at - at, path)))
            rc = put_extent(j, fd, e, path);
        at = e->at + e->n;
    }
    return rc ? rc : put(j, j->zeros, size - at, path);
}

static int add_entry(struct job *j, int fd, const char *path, const struct stat *st)
{
    struct archive_entry *e = archive_entry_new();
    int n = S_ISREG(st->st_mode) ? find_extents(j, fd, st->st_size) : 0, rc = 0;

    if (!e)
        return fault_errno(j->f, ENOMEM, "export %s", path);
    archive_entry_set_pathname(e, path);
    archive_entry_copy_stat(e, st);
    archive_entry_set_nlink(e, 1);       /* a file of a snapshot has another name in the store */
    if (S_ISREG(st->st_mode) && data_in(j, n) < st->st_size) {
        for (int i = 0; i < n; i++)
            archive_entry_sparse_add_entry(e, j->extents[i].at, j->extents[i].n);
        if (!n)
            archive_entry_sparse_add_entry(e, 0, 0);
    }
    if (archive_write_header(j->a, e) < ARCHIVE_WARN)
        rc = broken(j->f, j->a, path);
    if (!rc && S_ISREG(st->st_mode))
        rc = put_file(j, fd, n, st->st_size, path);
    j->out->files += S_ISREG(st->st_mode);
    archive_entry_free(e);
    return rc;
}

static int add_checkpoint(struct job *j, int dir)
{
    int fd = openat(dir, "checkpoint", O_RDONLY | O_NOFOLLOW | O_CLOEXEC), rc;
    struct stat st;

    if (fd < 0)
        return fault_set(j->f, RC_SYSTEM_ERROR, errno, "it has no file checkpoint: it is no store's directory");
    rc = fstat(fd, &st) < 0 ? fault_errno(j->f, errno, "checkpoint") : add_entry(j, fd, "checkpoint", &st);
    close(fd);
    return rc;
}

static int open_writer(struct job *j, int fd)
{
    const struct export_options *o = j->o;
    char number[16];

    if (!(j->a = archive_write_new()))
        return fault_errno(j->f, ENOMEM, "export");
    if (archive_write_set_format_pax_restricted(j->a) != ARCHIVE_OK)
        return broken(j->f, j->a, "export");
    if (o->level > 0) {
        if (archive_write_add_filter_zstd(j->a) != ARCHIVE_OK)
            return broken(j->f, j->a, "zstd");
        snprintf(number, sizeof number, "%d", o->level);
        if (archive_write_set_filter_option(j->a, "zstd", "compression-level", number) != ARCHIVE_OK)
            return broken(j->f, j->a, "zstd's level");
        snprintf(number, sizeof number, "%d", o->threads > 0 ? o->threads : (int)sysconf(_SC_NPROCESSORS_ONLN));
        /* Older libraries know one thread only. */
        archive_write_set_filter_option(j->a, "zstd", "threads", number);
    }
    archive_write_set_bytes_per_block(j->a, BLOCK);
    archive_write_set_bytes_in_last_block(j->a, 1);
    return archive_write_open_fd(j->a, fd) == ARCHIVE_OK ? 0 : broken(j->f, j->a, "open the archive");
}

/* A log that lies elsewhere would be missing without a word. */
static int check_log(struct job *j, const char *dir)
{
    char path[4096];

    if ((size_t)snprintf(path, sizeof path, "%s/commitlog", dir) >= sizeof path)
        return fault_errno(j->f, ENAMETOOLONG, "%.200s", dir);
    if (access(path, F_OK) == 0)
        return 0;
    return fault_set(j->f, RC_SYSTEM_ERROR, ENOENT, "%.300s is not there: where storePathCommitLog names other directories, "
                     "export a snapshot, which brings them together", path);
}

static int export_all(struct job *j, const char *path, int dir, int fd)
{
    int rc;

    if ((rc = check_log(j, path)) || (rc = walk(j, dir, "", 0, add_up)) || (rc = open_writer(j, fd)) || (rc = walk(j, dir, "", 0, add_entry)) ||
        (rc = add_checkpoint(j, dir)))
        return rc;
    return archive_write_close(j->a) == ARCHIVE_OK ? 0 : broken(j->f, j->a, "end the archive");
}

static void job_free(struct job *j, char *zeros)
{
    free(j->chunk);
    free(j->extents);
    free(zeros);
}

int export_dir(const char *dir, int fd, const struct export_options *o, struct export_result *out, struct fault *f)
{
    struct job j = {.o = o, .out = out, .f = f, .chunk = malloc(CHUNK), .extents = calloc(EXTENTS_MAX, sizeof *j.extents)};
    char *zeros = calloc(1, CHUNK);
    int at, rc;

    memset(out, 0, sizeof *out);
    j.zeros = zeros;
    if (!j.chunk || !j.extents || !zeros) {
        job_free(&j, zeros);
        return fault_errno(f, ENOMEM, "export");
    }
    at = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    rc = at < 0 ? fault_errno(f, errno, "open %s", dir) : export_all(&j, dir, at, fd);
    if (j.a)
        archive_write_free(j.a);
    if (at >= 0)
        close(at);
    job_free(&j, zeros);
    return rc;
}

bool store_dir_in_use(const char *dir)
{
    struct flock range = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
    char path[4096];
    int fd, n = snprintf(path, sizeof path, "%s/lock", dir);
    bool held;

    if (n < 0 || (size_t)n >= sizeof path || (fd = open(path, O_RDWR | O_CLOEXEC)) < 0)
        return false;
    held = fcntl(fd, F_OFD_GETLK, &range) == 0 && range.l_type != F_UNLCK;
    close(fd);
    return held;
}
