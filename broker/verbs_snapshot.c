/* Snapshots of the store: taken, dropped, listed. They are directories below
 * snapshotPath, and what is there is the truth: nothing else is kept of them. */
#include "broker/verbs.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "store/checkpoint.h"
#include "store/snapshot.h"

#define DELAY_FILE "delayOffset.json"

/* A name that is a plain word for shells, too; a hidden one is a snapshot being made or removed. */
static bool name_is_good(struct str name)
{
    if (!name.n || name.n > SNAPSHOT_NAME_MAX || name.p[0] == '.' || name.p[0] == '-')
        return false;
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || strchr("._-:+@", c)))
            return false;
    }
    return !memchr(name.p, 0, name.n);
}

static int check_name(struct str name, struct fault *f)
{
    if (name_is_good(name))
        return 0;
    return fault_set(f, RC_INVALID_PARAMETER, EINVAL,
                     "a snapshot's name has 1 to %d letters, digits and ._-:+@, and begins with neither . nor -",
                     SNAPSHOT_NAME_MAX);
}

static int snapshots_dir(struct broker *b, char *out, size_t cap)
{
    const struct broker_config *conf = broker_conf(b);
    int n = conf->snapshot_path[0] ? snprintf(out, cap, "%s", conf->snapshot_path) :
                                     snprintf(out, cap, "%s/snapshots", conf->store_path_root_dir);

    return n < 0 || (size_t)n >= cap ? -ENAMETOOLONG : 0;
}

int broker_snapshot_path(struct broker *b, struct str name, char *out, size_t cap)
{
    size_t n;

    if (!name_is_good(name))
        return -ENOENT;
    if (snapshots_dir(b, out, cap))
        return -ENAMETOOLONG;
    n = strlen(out);
    return (size_t)snprintf(out + n, cap - n, "/%.*s", STR_ARG(name)) >= cap - n ? -ENAMETOOLONG : 0;
}

/* ---- what is there ---- */

int broker_snapshot_get(struct broker *b, struct str name, struct snapshot_info *out)
{
    char path[4096];
    struct checkpoint c;
    struct fault f;
    struct stat st;
    size_t n;

    if (broker_snapshot_path(b, name, path, sizeof(path) - sizeof("/checkpoint")) || lstat(path, &st) < 0 ||
        !S_ISDIR(st.st_mode))
        return -ENOENT;
    n = strlen(path);
    memcpy(path + n, "/checkpoint", sizeof("/checkpoint"));
    if (checkpoint_read(path, &c, &f))
        memset(&c, 0, sizeof(c));
    str_copy(out->name, sizeof(out->name), name);
    out->time = (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
    out->log_end = c.queue_offset;
    return 0;
}

static int is_snapshot(const struct dirent *e) { return name_is_good(str_of(e->d_name)); }

int broker_snapshot_at(struct broker *b, uint32_t n, struct snapshot_info *out)
{
    struct dirent **names;
    char dir[4096];
    int count, rc = -ENOENT;

    if (snapshots_dir(b, dir, sizeof(dir)) || (count = scandir(dir, &names, is_snapshot, alphasort)) < 0)
        return -ENOENT;
    for (int i = 0; i < count; i++) {
        /* What is no directory, or was removed meanwhile, does not count. */
        if (rc && broker_snapshot_get(b, str_of(names[i]->d_name), out) == 0 && n-- == 0)
            rc = 0;
        free(names[i]);
    }
    free(names);
    return rc;
}

/* ---- making ---- */

static int audit(struct broker *b, const struct caller *c, const char *what, struct str name, const char *now, struct fault *f)
{
    char path[SNAPSHOT_NAME_MAX + 16];

    snprintf(path, sizeof(path), "/snapshots/%.*s", STR_ARG(name));
    return audit_write(b->audit, c, what, path, NULL, now, f);
}

/* Within verb_begin: topics and groups stay as they are until the files are copied. */
static int create(struct broker *b, const struct caller *c, struct str name, const char *path, struct fault *f)
{
    struct snapshot_point at;
    int64_t began = mono_ms();
    char dir[4096], end[24];
    int rc;

    if ((rc = snapshots_dir(b, dir, sizeof(dir))) || (rc = dir_make_durable(dir)))
        return fault_errno(f, -rc, "making the snapshots' directory");
    snapshot_sweep(dir);
    /* Their newest words, so that a restored group reads little twice. */
    if ((rc = saver_save(b->saver, OFFSETS_FILE, f)) || (rc = saver_save(b->saver, DELAY_FILE, f)))
        return rc;
    if ((rc = store_snapshot(b->store, path, 0, &at, f)))
        return rc;
    log_info("snapshot %.*s: commit log up to %lld, %lld files linked, %lld copied with %lld bytes, in %lld ms (offsets %lld, "
             "files %lld, checkpoint %lld, disk %lld us), appends waited %lld us%s", STR_ARG(name), (long long)at.log_end, (long long)at.linked, (long long)at.copied,
             (long long)at.copied_bytes, (long long)(mono_ms() - began), (long long)at.step_us[0],
             (long long)at.step_us[1], (long long)at.step_us[2], (long long)at.step_us[3], (long long)at.locked_us,
             at.sealed ? "; the commit log goes on in a new file" : "");
    snprintf(end, sizeof(end), "%lld", (long long)at.log_end);
    return audit(b, c, "snapshot.create", name, end, f);
}

int broker_snapshot_create(struct broker *b, const struct caller *c, struct str name, struct fault *f)
{
    char path[4096];
    int rc = check_name(name, f);

    if (rc)
        return rc;
    if ((rc = broker_snapshot_path(b, name, path, sizeof(path))))
        return fault_errno(f, -rc, "making snapshot %.*s", STR_ARG(name));
    verb_begin(b);
    rc = create(b, c, name, path, f);
    verb_end(b);
    return rc;
}

int broker_snapshot_delete(struct broker *b, const struct caller *c, struct str name, struct fault *f)
{
    struct snapshot_info info;
    char path[4096];
    int rc;

    verb_begin(b);
    if (broker_snapshot_get(b, name, &info) || broker_snapshot_path(b, name, path, sizeof(path)))
        rc = fault_set(f, RC_INVALID_PARAMETER, ENOENT, "there is no snapshot %.*s", (int)(name.n > 200 ? 200 : name.n), name.p);
    else if ((rc = snapshot_remove(path)))
        fault_errno(f, -rc, "removing snapshot %s", info.name);
    else
        rc = audit(b, c, "snapshot.delete", name, NULL, f);
    verb_end(b);
    return rc;
}
