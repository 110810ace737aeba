#include "store/file_list.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file.h"
#include "common/log.h"

#define STEP_MIN 4096
#define STEP_MAX (256 * 1024)

void file_list_init(struct file_list *l, int64_t file_size, const struct file_home *home)
{
    memset(l, 0, sizeof *l);
    pthread_mutex_init(&l->lock, NULL);
    l->file_size = file_size;
    l->home = home;
}

void file_list_free(struct file_list *l)
{
    for (int i = 0; i < l->n; i++)
        mapped_file_unref(l->files[i]);
    free(l->files);
    l->files = NULL;
    l->n = l->cap = 0;
    pthread_mutex_destroy(&l->lock);
}

/* 20 digits that fit int64, else -1. */
static int64_t base_of_name(const char *name)
{
    int64_t v = 0;

    for (int i = 0; i < 20; i++) {
        int digit = name[i] - '0';
        if (digit < 0 || digit > 9 || v > (INT64_MAX - digit) / 10)
            return -1;
        v = v * 10 + digit;
    }
    return name[20] ? -1 : v;
}

static int push(struct file_list *l, struct mapped_file *m)
{
    if (l->n == l->cap) {
        int cap = l->cap ? l->cap * 2 : 1;
        struct mapped_file **files = realloc(l->files, (size_t)cap * sizeof *files);
        if (!files)
            return -ENOMEM;
        l->files = files;
        l->cap = cap;
    }
    l->files[l->n++] = m;
    return 0;
}

int file_list_add(struct file_list *l, struct mapped_file *m)
{
    int rc;

    pthread_mutex_lock(&l->lock);
    rc = push(l, m);
    pthread_mutex_unlock(&l->lock);
    return rc;
}

/* ---- growing ---- */

/* The file at base, with a reference; made when it is not there. */
static int file_at(struct file_list *l, const char *dir, int64_t base, struct file_growth *g, struct fault *f)
{
    struct mapped_file *m;
    int rc = file_list_find(l, dir, base, &g->file);

    if (rc != -ENOENT)
        return rc ? fault_errno(f, -rc, "map %s/%020" PRId64, dir, base) : 0;
    if ((rc = dir_make(dir)))
        return fault_errno(f, -rc, "make directory %s", dir);
    if (!(m = mapped_file_new(base, l->file_size, l->home)))
        return fault_errno(f, ENOMEM, "make %s/%020" PRId64, dir, base);
    if ((rc = mapped_file_create(m, dir, 0, f))) {
        mapped_file_unref(m);
        return rc;
    }
    if (file_list_add(l, mapped_file_ref(m))) {
        mapped_file_unlink(m, dir);
        mapped_file_unref(m);
        mapped_file_unref(m);
        return fault_errno(f, ENOMEM, "make %s/%020" PRId64, dir, base);
    }
    g->file = m;
    g->made = true;
    return 0;
}

static int64_t step(int64_t in_file, int64_t file_size)
{
    int64_t n = in_file < STEP_MIN ? STEP_MIN : in_file;

    if (n > STEP_MAX)
        n = STEP_MAX;
    return n > file_size - in_file ? file_size - in_file : n;
}

int file_list_grow(struct file_list *l, const char *dir, struct file_growth *g, struct fault *f)
{
    int64_t from = g->from, base = from - from % l->file_size, n = step(from - base, l->file_size);
    int rc;

    *g = (struct file_growth){.from = from, .to = from};
    if ((rc = file_at(l, dir, base, g, f)))
        return rc;
    if ((rc = mapped_file_reserve(g->file, dir, from - base, n)))
        return fault_errno(f, -rc, "reserve %" PRId64 " bytes for %s/%020" PRId64, n, dir, base);
    g->to = from + n;
    return 0;
}

/* ---- loading ---- */

static int by_base(const void *a, const void *b)
{
    const struct mapped_file *const *x = a, *const *y = b;

    return ((*x)->base > (*y)->base) - ((*x)->base < (*y)->base);
}

static int load_names(struct file_list *l, DIR *d)
{
    struct dirent *e;

    while ((errno = 0, e = readdir(d))) {
        int64_t base = base_of_name(e->d_name);
        struct mapped_file *m;
        if (base < 0)
            continue;
        if (!(m = mapped_file_new(base, l->file_size, l->home)) || push(l, m)) {
            mapped_file_unref(m);
            return -ENOMEM;
        }
    }
    return -errno;
}

/* The names are right; now the lengths. */
static int check_file(struct file_list *l, const char *dir, int i, struct fault *f)
{
    struct mapped_file *m = l->files[i];
    char path[4096];
    struct stat st;
    int rc = mapped_file_path(mapped_file_dir(m, dir), m->base, path, sizeof path);

    if (rc || stat(path, &st) < 0)
        return fault_errno(f, rc ? -rc : errno, "stat %s/%020" PRId64, dir, m->base);
    if (st.st_size > l->file_size || m->base % l->file_size != 0)
        return fault_set(f, 1, EINVAL, "%s has %" PRId64 " bytes at offset %" PRId64 ", but files of %" PRId64
                         " bytes are configured: give the size it was written with",
                         path, (int64_t)st.st_size, m->base, l->file_size);
    if (st.st_size == l->file_size)
        return 0;
    log_warn("%s has %" PRId64 " bytes instead of %" PRId64 ": it was cut; what it holds is kept, the rest is zeros",
             path, (int64_t)st.st_size, l->file_size);
    l->was_cut = true;
    if (truncate(path, l->file_size) < 0)
        return fault_errno(f, errno, "extend %s", path);
    return 0;
}

int file_list_load(struct file_list *l, const char *dir, struct fault *f)
{
    DIR *d = opendir(dir);
    int rc;

    if (!d)
        return errno == ENOENT ? 0 : fault_errno(f, errno, "open directory %s", dir);
    rc = load_names(l, d);
    closedir(d);
    if (rc)
        return fault_errno(f, -rc, "read directory %s", dir);
    if (l->n)
        qsort(l->files, (size_t)l->n, sizeof *l->files, by_base);
    for (int i = 0; i < l->n; i++) {
        if (i > 0 && l->files[i]->base == l->files[i - 1]->base)
            return fault_set(f, 1, EEXIST, "file %020" PRId64 " is in %s and in another directory too: keep one",
                             l->files[i]->base, dir);
        if ((rc = check_file(l, dir, i, f)))
            return rc;
    }
    return 0;
}

/* Index of the file that holds offset, or -1. Without holes it is a division; a directory with a file
 * missing in the middle is searched. */
static int find(const struct file_list *l, int64_t offset)
{
    int lo = 0, hi = l->n;
    int64_t guess;

    if (l->n == 0 || offset < l->files[0]->base)
        return -1;
    guess = (offset - l->files[0]->base) / l->file_size;
    if (guess < l->n && l->files[guess]->base <= offset && offset - l->files[guess]->base < l->file_size)
        return (int)guess;
    while (hi - lo > 1) {
        int mid = lo + (hi - lo) / 2;
        if (l->files[mid]->base <= offset)
            lo = mid;
        else
            hi = mid;
    }
    return offset - l->files[lo]->base < l->file_size ? lo : -1;
}

int file_list_find(struct file_list *l, const char *dir, int64_t offset, struct mapped_file **out)
{
    struct fault f;
    int i, rc;

    *out = NULL;
    pthread_mutex_lock(&l->lock);
    i = find(l, offset);
    rc = i < 0 ? -ENOENT : l->files[i]->map ? 0 : mapped_file_map(l->files[i], dir, &f);
    if (i >= 0 && rc)
        log_error("%s", f.text);
    if (!rc)
        *out = mapped_file_ref(l->files[i]);
    pthread_mutex_unlock(&l->lock);
    return rc;
}

struct mapped_file *file_list_peek(struct file_list *l, int64_t offset)
{
    struct mapped_file *m = NULL;
    int i;

    pthread_mutex_lock(&l->lock);
    if ((i = find(l, offset)) >= 0 && l->files[i]->map)
        m = mapped_file_ref(l->files[i]);
    pthread_mutex_unlock(&l->lock);
    return m;
}

int file_list_cut(struct file_list *l, const char *dir, int64_t offset)
{
    int rc = 0;

    pthread_mutex_lock(&l->lock);
    while (l->n && l->files[l->n - 1]->base >= offset) {
        struct mapped_file *m = l->files[--l->n];
        int err = mapped_file_unlink(m, dir);
        if (err && err != -ENOENT && !rc)
            rc = err;
        mapped_file_unref(m);
    }
    pthread_mutex_unlock(&l->lock);
    return rc;
}

/* There is room: it was the first one a moment ago, and cap never shrinks; but another file may have come since. */
static void put_back(struct file_list *l, struct mapped_file *m)
{
    pthread_mutex_lock(&l->lock);
    if (push(l, m) == 0) {
        memmove(l->files + 1, l->files, (size_t)(l->n - 1) * sizeof *l->files);
        l->files[0] = m;
        m = NULL;
    }
    pthread_mutex_unlock(&l->lock);
    mapped_file_unref(m);                /* without memory it is found again at the next start */
}

int file_list_shift(struct file_list *l, const char *dir, int64_t end, struct mapped_file **gone)
{
    struct mapped_file *m = NULL;
    int rc;

    pthread_mutex_lock(&l->lock);
    if (l->n > 1 && l->files[0]->base + l->file_size <= end) {
        m = l->files[0];
        memmove(l->files, l->files + 1, (size_t)--l->n * sizeof *l->files);
    }
    pthread_mutex_unlock(&l->lock);
    *gone = m;
    if (!m)
        return 0;
    rc = mapped_file_unlink(m, dir);     /* outside the lock: it may take the file system a while */
    if (rc == 0 || rc == -ENOENT)
        return 1;
    *gone = NULL;
    put_back(l, m);
    return rc;
}

int file_list_unmap(struct file_list *l)
{
    int left = 0;

    pthread_mutex_lock(&l->lock);
    for (int i = 0; i < l->n; i++) {
        /* References are only given out under this lock, or by who holds one. */
        if (atomic_load_explicit(&l->files[i]->refs, memory_order_acquire) == 1)
            mapped_file_unmap(l->files[i]);
        left += l->files[i]->map != NULL;
    }
    pthread_mutex_unlock(&l->lock);
    return left;
}

int file_list_count(struct file_list *l)
{
    int n;

    pthread_mutex_lock(&l->lock);
    n = l->n;
    pthread_mutex_unlock(&l->lock);
    return n;
}

int64_t file_list_base(struct file_list *l, int i)
{
    int64_t base;

    pthread_mutex_lock(&l->lock);
    base = i >= 0 && i < l->n ? l->files[i]->base : -1;
    pthread_mutex_unlock(&l->lock);
    return base;
}

int64_t file_list_next(struct file_list *l, int64_t offset)
{
    int64_t base = -1;

    pthread_mutex_lock(&l->lock);
    for (int i = l->n - 1; i >= 0 && l->files[i]->base + l->file_size > offset; i--)
        base = l->files[i]->base;
    pthread_mutex_unlock(&l->lock);
    return base;
}

void file_list_range(struct file_list *l, int64_t *first, int64_t *end)
{
    pthread_mutex_lock(&l->lock);
    *first = l->n ? l->files[0]->base : 0;
    *end = l->n ? l->files[l->n - 1]->base + l->file_size : 0;
    pthread_mutex_unlock(&l->lock);
}
