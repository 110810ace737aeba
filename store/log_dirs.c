#include "store/log_dirs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/codes.h"
#include "common/file.h"

static struct file_home *find(struct log_dirs *d, struct str path)
{
    for (int i = 0; i < d->n; i++)
        if (str_is(path, d->home[i].dir))
            return &d->home[i];
    return NULL;
}

static int add(struct log_dirs *d, struct str path, bool read_only, struct fault *f)
{
    struct file_home *h = find(d, path);
    char *dir;
    int rc;

    if (h) {
        h->read_only |= read_only;
        return 0;
    }
    if (d->n == LOG_DIRS_MAX)
        return fault_set(f, RC_INVALID_PARAMETER, E2BIG, "the commit log can have at most %d directories", LOG_DIRS_MAX);
    if (!(dir = strndup(path.p, path.n)))
        return fault_errno(f, ENOMEM, "open the commit log");
    d->home[d->n++] = (struct file_home){.dir = dir, .read_ahead = true, .read_only = read_only};
    rc = read_only ? 0 : dir_make_durable(dir);
    return rc ? fault_errno(f, -rc, "make directory %s", dir) : 0;
}

static int add_list(struct log_dirs *d, const char *list, bool read_only, struct fault *f)
{
    int rc = 0;

    while (!rc && list && *list) {
        size_t n = strcspn(list, ",");
        struct str path = str_trim(str_n(list, n));
        if (path.n)
            rc = add(d, path, read_only, f);
        list += n + (list[n] == ',');
    }
    return rc;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct file_home *)a)->dir, ((const struct file_home *)b)->dir);
}

int log_dirs_open(struct log_dirs *d, const char *paths, const char *read_only, struct fault *f)
{
    int rc;

    if ((rc = add_list(d, paths, false, f)) || (rc = add_list(d, read_only, true, f)))
        return rc;
    qsort(d->home, (size_t)d->n, sizeof *d->home, by_name);
    if (!log_dirs_choose(d, 0, 0))
        return fault_set(f, RC_INVALID_PARAMETER, EINVAL, "storePathCommitLog names no directory that may be written");
    return 0;
}

void log_dirs_free(struct log_dirs *d)
{
    for (int i = 0; i < d->n; i++)
        free((char *)(uintptr_t)d->home[i].dir);
    d->n = 0;
}

/* Those that can take a file: with room, or else all that are not read-only. */
static int candidates(const struct log_dirs *d, bool full_too, const struct file_home *out[LOG_DIRS_MAX])
{
    int n = 0;

    for (int i = 0; i < d->n; i++)
        if (!d->home[i].read_only && (full_too || !atomic_load_explicit(&d->full[i], memory_order_relaxed)))
            out[n++] = &d->home[i];
    return n;
}

const struct file_home *log_dirs_choose(const struct log_dirs *d, int64_t index, int k)
{
    const struct file_home *list[LOG_DIRS_MAX];
    int n = candidates(d, false, list);

    if (n == 0)
        n = candidates(d, true, list);
    return k < n ? list[(index + k) % n] : NULL;
}
