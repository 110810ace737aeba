#include "store/check.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/be.h"
#include "common/codes.h"
#include "common/file.h"
#include "common/json.h"
#include "store/check_priv.h"
#include "store/checkpoint.h"

#define CONFIG_MAX ((size_t)256 << 20)
#define CLOCK_SLACK 1000             /* ms that a time of the checkpoint may be ahead */

/* ---- telling ---- */

static void tell_rest(struct check *c)
{
    char text[64];

    if (c->told > CHECK_LINES_PER_FILE) {
        snprintf(text, sizeof text, "%" PRId64 " more findings in that file", c->told - CHECK_LINES_PER_FILE);
        c->o->note(c->o->ctx, text);
    }
    c->told = 0;
}

void check_find(struct check *c, const char *path, int64_t offset, const char *fmt, ...)
{
    char text[400];
    va_list ap;

    if (strcmp(path, c->told_path) != 0) {
        tell_rest(c);
        snprintf(c->told_path, sizeof c->told_path, "%s", path);
    }
    c->r->findings++;
    if (++c->told > CHECK_LINES_PER_FILE)
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    c->o->finding(c->o->ctx, path, offset, text);
}

void check_progress(struct check *c, const char *part, int64_t done, int64_t total)
{
    if (c->o->progress)
        c->o->progress(c->o->ctx, part, done, total);
}

void check_bad(struct check *c, enum check_kind kind, const char *path)
{
    struct check_result *r = c->r;
    struct check_bad *more;

    if (r->n_bad && r->bad[r->n_bad - 1].kind == kind && strcmp(r->bad[r->n_bad - 1].path, path) == 0)
        return;
    more = realloc(r->bad, ((size_t)r->n_bad + 1) * sizeof *more);
    if (!more) {
        c->failed = true;
        return;
    }
    r->bad = more;
    if ((more[r->n_bad].path = strdup(path)))
        more[r->n_bad++].kind = kind;
    else
        c->failed = true;
}

void check_result_free(struct check_result *r)
{
    for (int i = 0; i < r->n_bad; i++)
        free(r->bad[i].path);
    free(r->bad);
    r->bad = NULL;
    r->n_bad = 0;
}

/* ---- files named by offset ---- */

static bool base_of(const char *name, int64_t *out)
{
    return strlen(name) == 20 && strspn(name, "0123456789") == 20 && str_i64(str_of(name), out) == 0;
}

static int add_file(struct check_files *l, const char *dir, const char *name, int64_t base)
{
    struct check_file *more;
    struct stat st;
    char *path;

    if (asprintf(&path, "%s/%s", dir, name) < 0)
        return -ENOMEM;
    more = stat(path, &st) < 0 ? NULL : realloc(l->v, ((size_t)l->n + 1) * sizeof *more);
    if (!more) {
        free(path);
        return errno ? -errno : -ENOMEM;
    }
    l->v = more;
    l->v[l->n++] = (struct check_file){base, st.st_size, path};
    return 0;
}

int check_list(struct check_files *l, const char *dir)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    int64_t base;
    int rc = 0;

    if (!d)
        return errno == ENOENT ? 0 : -errno;
    while (!rc && (errno = 0, e = readdir(d)))
        if (base_of(e->d_name, &base))
            rc = add_file(l, dir, e->d_name, base);
    if (!rc && errno)
        rc = -errno;
    closedir(d);
    return rc;
}

static int by_base(const void *a, const void *b)
{
    const struct check_file *x = a, *y = b;

    return x->base < y->base ? -1 : x->base > y->base;
}

void check_chain(struct check *c, struct check_files *l)
{
    if (l->n)
        qsort(l->v, (size_t)l->n, sizeof *l->v, by_base);
    for (int i = 0; i < l->n; i++)
        if (l->v[i].size > l->file_size)
            l->file_size = l->v[i].size;
    for (int i = 0; i < l->n; i++) {
        const struct check_file *x = &l->v[i];
        int64_t before = i ? x[-1].base : x->base;
        if (x->size != l->file_size)
            check_find(c, x->path, x->size, "the file is cut: %" PRId64 " bytes, others have %" PRId64, x->size,
                       l->file_size);
        if (i && x->base - before != l->file_size)
            check_find(c, x->path, 0, x->base - before > l->file_size
                       ? "files are missing before it: the one before it begins at offset %" PRId64
                       : "it overlaps the file before it, which begins at offset %" PRId64, before);
    }
}

void check_files_free(struct check_files *l)
{
    for (int i = 0; i < l->n; i++)
        free(l->v[i].path);
    free(l->v);
    *l = (struct check_files){0};
}

int check_is_zero(int fd, int64_t at, int64_t size)
{
    static const char zero[4096];
    char buf[4096];

    while (at < size) {
        int64_t data = lseek(fd, at, SEEK_DATA);
        size_t n;
        int rc;
        if (data < 0 && errno == ENXIO)
            return 1;
        at = data > at ? data : at;
        n = size - at < (int64_t)sizeof buf ? (size_t)(size - at) : sizeof buf;
        if (at < size && (rc = file_read_at(fd, buf, n, at)))
            return rc;
        if (at < size && memcmp(buf, zero, n) != 0)
            return 0;
        at += (int64_t)n;
    }
    return 1;
}

/* ---- checkpoint ---- */

static int check_checkpoint(struct check *c, const char *path, struct fault *f)
{
    const struct checkpoint_field *fields = checkpoint_fields;
    int64_t findings = c->r->findings;
    struct buf b = {0};
    int rc = file_read(path, 1 << 20, &b);

    if (rc == -ENOENT)
        return 0;
    if (rc)
        return fault_errno(f, -rc, "read %.300s", path);
    if (b.n < CHECKPOINT_FIELDS * 8)
        check_find(c, path, (int64_t)b.n, "the file is cut: %zu bytes, not %d", b.n, CHECKPOINT_FILE_SIZE);
    for (size_t i = 0; i < CHECKPOINT_FIELDS && b.n >= (i + 1) * 8; i++) {
        int64_t v = (int64_t)be64_get(b.p + i * 8), most = fields[i].is_time ? c->last_time + CLOCK_SLACK : c->r->log_end;
        if (v > most && (c->r->records || !fields[i].is_time))
            check_find(c, path, (int64_t)i * 8, "%s %" PRId64 " is ahead of the log, which ends with %" PRId64,
                       fields[i].name, v, fields[i].is_time ? c->last_time : c->r->log_end);
    }
    buf_free(&b);
    if (c->r->findings > findings)
        check_bad(c, CHECK_CHECKPOINT, path);
    return 0;
}

/* ---- config/ ---- */

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);

    return n > m && strcmp(name + n - m, end) == 0;
}

int check_is_json(const char *path, size_t *n, int64_t *nul)
{
    struct arena a;
    struct json *v;
    struct buf b = {0};
    const char *zero;
    int rc = file_read(path, CONFIG_MAX, &b);

    if (rc)
        return rc;
    arena_init(&a, CONFIG_MAX * 4);
    rc = json_parse(&a, buf_str(&b), &v);
    zero = b.n ? memchr(b.p, 0, b.n) : NULL;
    *n = b.n;
    *nul = zero ? zero - b.p : 0;
    rc = rc == -EBADMSG ? 0 : rc ? rc : v->type == JSON_OBJECT;
    arena_free(&a);
    buf_free(&b);
    return rc;
}

static int check_json(struct check *c, const char *path, struct fault *f)
{
    size_t n;
    int64_t nul;
    int rc = check_is_json(path, &n, &nul);

    if (rc < 0)
        return fault_errno(f, -rc, "read %.300s", path);
    c->r->configs++;
    if (rc)
        return 0;
    check_find(c, path, nul, n ? "no JSON object: %zu bytes" : "the file is empty: %zu bytes", n);
    check_bad(c, CHECK_CONFIG, path);
    return 0;
}

/* A .bak whose file is gone. */
static void check_orphan(struct check *c, char *path)
{
    size_t n = strlen(path) - strlen(".bak");

    path[n] = 0;
    if (access(path, F_OK) < 0 && errno == ENOENT) {
        check_find(c, path, 0, "the file is missing, and its .bak is there");
        check_bad(c, CHECK_CONFIG, path);
    }
}

static bool is_config(const char *name)
{
    static const char *const bare[] = {"timermetrics", "transactionMetrics"};
    size_t n = strlen(name) - (ends_with(name, ".bak") ? strlen(".bak") : 0);

    for (size_t i = 0; i < sizeof bare / sizeof bare[0]; i++)
        if (str_is(str_n(name, n), bare[i]))
            return true;
    return ends_with(name, ".json") || ends_with(name, ".json.bak");
}

static int check_config(struct check *c, const char *dir, struct fault *f)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    int rc = 0;

    if (!d)
        return errno == ENOENT ? 0 : fault_errno(f, errno, "open %.300s", dir);
    while (!rc && (e = readdir(d))) {
        bool bak = ends_with(e->d_name, ".bak");
        char *path;
        if (!is_config(e->d_name))
            continue;
        if (asprintf(&path, "%s/%s", dir, e->d_name) < 0) {
            rc = fault_errno(f, ENOMEM, "check %.300s", dir);
            break;
        }
        rc = check_json(c, path, f);
        if (!rc && bak)
            check_orphan(c, path);
        free(path);
    }
    closedir(d);
    return rc;
}

/* ---- the whole ---- */

/* The broker's own lock (byte 0), held while we look. A directory that cannot be written is only asked. */
int check_lock(const char *root, int *fd, struct fault *f)
{
    struct flock range = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
    char path[4096];
    int rc;

    *fd = -1;
    if ((size_t)snprintf(path, sizeof path, "%s/lock", root) >= sizeof path)
        return fault_errno(f, ENAMETOOLONG, "%.300s", root);
    *fd = open(path, O_RDWR | O_CLOEXEC);
    if (*fd >= 0) {
        rc = fcntl(*fd, F_OFD_SETLK, &range);
        if (rc < 0 && (errno == EAGAIN || errno == EACCES))
            return fault_set(f, RC_SYSTEM_ERROR, EBUSY, "%.300s is held: a broker uses this store", path);
        return rc < 0 ? fault_errno(f, errno, "lock %.300s", path) : 0;
    }
    if (errno == ENOENT)
        return 0;
    if ((errno != EACCES && errno != EROFS) || (*fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
        return fault_errno(f, errno, "open %.300s", path);
    if (fcntl(*fd, F_OFD_GETLK, &range) < 0)
        return fault_errno(f, errno, "look at the lock %.300s", path);
    return range.l_type == F_UNLCK ? 0
         : fault_set(f, RC_SYSTEM_ERROR, EBUSY, "%.300s is held: a broker uses this store", path);
}

static int list_log(struct check *c, const char *list, struct fault *f)
{
    int rc = 0;

    while (!rc && *list) {
        size_t n = strcspn(list, ",");
        struct str s = str_trim(str_n(list, n));
        char *dir = s.n ? str_dup(s) : NULL;
        if (s.n && !dir)
            return fault_errno(f, ENOMEM, "list the commit log");
        if (dir && access(dir, R_OK | X_OK) < 0)
            rc = fault_errno(f, errno, "open the commit log's directory %.300s", dir);
        else if (dir && (rc = check_list(&c->log, dir)))
            rc = fault_errno(f, -rc, "read %.300s", dir);
        free(dir);
        list += n + (list[n] == ',');
    }
    return rc;
}

static int check_parts(struct check *c, struct fault *f)
{
    char paths[4][4096];
    static const char *const names[4] = {"commitlog", "checkpoint", "config", "abort"};
    int rc;

    for (int i = 0; i < 4; i++)
        if ((size_t)snprintf(paths[i], sizeof paths[i], "%s/%s", c->o->root, names[i]) >= sizeof paths[i])
            return fault_errno(f, ENAMETOOLONG, "%.300s", c->o->root);
    c->r->not_clean = access(paths[3], F_OK) == 0;
    if ((rc = list_log(c, c->o->commit_log ? c->o->commit_log : paths[0], f)) || (rc = check_log(c, f)) ||
        (rc = check_queues(c, f)) || (rc = check_index(c, f)) || (rc = check_checkpoint(c, paths[1], f)) ||
        (rc = check_config(c, paths[2], f)) || (rc = check_timer(c, f)))
        return rc;
    tell_rest(c);
    return c->failed ? fault_errno(f, ENOMEM, "check %.300s", c->o->root) : 0;
}

int check_store(const struct check_options *o, struct check_result *out, struct fault *f)
{
    struct check *c = calloc(1, sizeof *c);
    int lock = -1, rc;

    *out = (struct check_result){0};
    if (!c)
        return fault_errno(f, ENOMEM, "check %.300s", o->root);
    *c = (struct check){.o = o, .r = out, .mapped = -1, .map_fd = -1};
    if (!(rc = check_lock(o->root, &lock, f)))
        rc = check_parts(c, f);
    check_log_end(c);
    check_files_free(&c->log);
    if (lock >= 0)
        close(lock);
    free(c);
    return rc;
}
