/* The way back of export.h: an archive into an empty directory. */
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
#include "common/file.h"
#include "store/snapshot.h"

#define BLOCK (1 << 18)

struct job {
    struct archive *in, *disk;
    const char *dir;
    const struct export_options *o;
    struct export_result *out;
    struct fault *f;
    int64_t total;
    bool has_checkpoint, has_log;
};

static int broken(struct job *j, struct archive *a, int fallback, const char *what)
{
    const char *why = archive_error_string(a);
    int err = archive_errno(a);

    return fault_set(j->f, RC_SYSTEM_ERROR, err > 0 && err < 4096 ? err : fallback, "%.200s: %.150s", what, why ? why : "it failed");
}

/* A relative path that stays where it is put; without the leading "./" that tar writes. NULL: not one. */
static const char *clean_path(const char *path)
{
    const char *p;

    if (!path)
        return NULL;
    while (path[0] == '.' && path[1] == '/')
        path += 2;
    if (path[0] == '/')
        return NULL;
    for (p = path; *p; p += strspn(p, "/")) {
        size_t n = strcspn(p, "/");
        if (n == 2 && p[0] == '.' && p[1] == '.')
            return NULL;
        p += n;
    }
    return path;
}

static int tell(struct job *j)
{
    int64_t done = archive_filter_bytes(j->in, -1);

    if (j->o->progress && j->o->progress(j->o->arg, done, j->total))
        return fault_set(j->f, RC_SYSTEM_ERROR, ECANCELED, "stopped");
    return 0;
}

static int copy_data(struct job *j, const char *path)
{
    const void *p;
    size_t n;
    la_int64_t at;
    int rc;

    while ((rc = archive_read_data_block(j->in, &p, &n, &at)) == ARCHIVE_OK) {
        if (archive_write_data_block(j->disk, p, n, at) < ARCHIVE_OK)
            return broken(j, j->disk, EIO, path);
        j->out->bytes += (int64_t)n;
        if ((rc = tell(j)))
            return rc;
    }
    return rc == ARCHIVE_EOF ? 0 : broken(j, j->in, EBADMSG, path);
}

/* Modes of the archive, but always so that a broker of the same user can work with it. */
static void set_mode(struct archive_entry *e, bool is_dir)
{
    mode_t mode = archive_entry_perm(e) & 0755;

    archive_entry_set_perm(e, mode | (is_dir ? 0700 : 0600));
}

static int take_entry(struct job *j, struct archive_entry *e)
{
    const char *name = archive_entry_pathname(e), *path = clean_path(name);
    bool is_dir = archive_entry_filetype(e) == AE_IFDIR;
    char full[4096];
    int rc, n;

    if (!path)
        return fault_set(j->f, RC_SYSTEM_ERROR, EBADMSG, "entry \"%.200s\" would lie outside of the directory", name ? name : "");
    if ((!is_dir && archive_entry_filetype(e) != AE_IFREG) || archive_entry_hardlink(e))
        return fault_set(j->f, RC_SYSTEM_ERROR, EBADMSG, "entry \"%.200s\" is neither a file nor a directory", name);
    if (!*path || strcmp(path, ".") == 0)
        return 0;
    n = snprintf(full, sizeof full, "%s/%s", j->dir, path);
    if (n < 0 || (size_t)n >= sizeof full)
        return fault_errno(j->f, ENAMETOOLONG, "%.200s", path);
    j->has_checkpoint |= strcmp(path, "checkpoint") == 0;
    j->has_log |= strncmp(path, "commitlog", 9) == 0;
    archive_entry_set_pathname(e, full);
    set_mode(e, is_dir);
    if (archive_write_header(j->disk, e) < ARCHIVE_WARN)
        return broken(j, j->disk, EIO, full);
    if (!is_dir && (rc = copy_data(j, full)))
        return rc;
    if (archive_write_finish_entry(j->disk) < ARCHIVE_WARN)
        return broken(j, j->disk, EIO, full);
    j->out->files += !is_dir;
    return 0;
}

static int take_all(struct job *j)
{
    struct archive_entry *e;
    int rc, found;

    while ((found = archive_read_next_header(j->in, &e)) == ARCHIVE_OK || found == ARCHIVE_WARN)
        if ((rc = take_entry(j, e)))
            return rc;
    if (found != ARCHIVE_EOF)
        return broken(j, j->in, EBADMSG, "the archive");
    if (archive_write_close(j->disk) != ARCHIVE_OK)
        return broken(j, j->disk, EIO, j->dir);
    if (!j->has_checkpoint || !j->has_log)
        return fault_set(j->f, RC_SYSTEM_ERROR, EBADMSG, "it is no export of a store: it has no %s",
                         j->has_log ? "checkpoint" : "commitlog");
    return 0;
}

static int sync_all(struct job *j)
{
    int fd = open(j->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc;

    if (fd < 0)
        return fault_errno(j->f, errno, "open %s", j->dir);
    if ((rc = snapshot_sync(fd)))
        fault_errno(j->f, -rc, "sync %s", j->dir);
    close(fd);
    return rc;
}

static int open_both(struct job *j, int fd)
{
    struct stat st;

    j->in = archive_read_new();
    j->disk = archive_write_disk_new();
    if (!j->in || !j->disk)
        return fault_errno(j->f, ENOMEM, "import");
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        j->total = st.st_size;
    archive_read_support_filter_all(j->in);
    archive_read_support_format_tar(j->in);
    archive_write_disk_set_options(j->disk, ARCHIVE_EXTRACT_TIME | ARCHIVE_EXTRACT_PERM | ARCHIVE_EXTRACT_NO_OVERWRITE |
                                   ARCHIVE_EXTRACT_SPARSE);
    return archive_read_open_fd(j->in, fd, BLOCK) == ARCHIVE_OK ? 0 : broken(j, j->in, EBADMSG, "the archive");
}

/* 0: empty, made where it was missing. */
static int prepare_dir(const char *dir, struct fault *f)
{
    struct dirent *e;
    bool empty = true;
    DIR *d;
    int rc = dir_make_durable(dir);

    if (rc || !(d = opendir(dir)))
        return fault_errno(f, rc ? -rc : errno, "%s", dir);
    while ((e = readdir(d)) && empty)
        empty = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
    closedir(d);
    return empty ? 0 : fault_set(f, RC_SYSTEM_ERROR, ENOTEMPTY, "%s is not empty: give an empty directory", dir);
}

static void empty_dir(const char *dir)
{
    struct dirent *e;
    char path[4096];
    DIR *d = opendir(dir);

    while (d && (e = readdir(d))) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if ((size_t)snprintf(path, sizeof path, "%s/%s", dir, e->d_name) < sizeof path)
            snapshot_remove(path);
    }
    if (d)
        closedir(d);
}

int import_dir(int fd, const char *dir, const struct export_options *o, struct export_result *out, struct fault *f)
{
    struct job j = {.dir = dir, .o = o, .out = out, .f = f};
    int rc = prepare_dir(dir, f);

    memset(out, 0, sizeof *out);
    if (rc)
        return rc;
    if (!(rc = open_both(&j, fd)) && !(rc = take_all(&j)))
        rc = sync_all(&j);
    archive_read_free(j.in);
    archive_write_free(j.disk);
    if (rc)
        empty_dir(dir);
    return rc;
}
