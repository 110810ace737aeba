/* What a read gives: its making, and having it where it can be sent or read without a wait. */
#include "store/result.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/be.h"
#include "common/bus_guard.h"
#include "common/log.h"
#include "store/store_impl.h"

#define SPREAD_MAX 16                /* messages that lie further apart, in their own lengths, are read in the mapping */

struct result *result_new(void)
{
    struct result *r = malloc(sizeof *r);

    if (!r)
        return NULL;
    memset(&r->pub, 0, sizeof r->pub);
    r->pub.iov = r->few_iov;
    r->files = r->few_files;
    r->n_files = 0;
    r->cap_files = FEW_FILES;
    r->cap_iov = FEW_IOV;
    r->own = NULL;
    return r;
}

void store_release(void *result)
{
    struct result *r = result;

    if (!r)
        return;
    for (int i = 0; i < r->n_files; i++)
        mapped_file_unref(r->files[i]);
    if (r->files != r->few_files)
        free(r->files);
    if (r->pub.iov != r->few_iov)
        free(r->pub.iov);
    free(r->own);
    free(r);
}

/* An array of twice its size, moved off the struct's own place the first time. NULL without memory. */
static void *twice(void *p, const void *own, int cap, size_t each)
{
    void *q = realloc(p == own ? NULL : p, 2 * (size_t)cap * each);

    if (q && p == own)
        memcpy(q, own, (size_t)cap * each);
    return q;
}

static int hold_file(struct result *r, struct mapped_file *m)
{
    if (r->n_files && r->files[r->n_files - 1] == m)
        return 0;
    if (r->n_files == r->cap_files) {
        struct mapped_file **files = twice(r->files, r->few_files, r->cap_files, sizeof *files);
        if (!files)
            return -ENOMEM;
        r->files = files;
        r->cap_files *= 2;
    }
    r->files[r->n_files++] = mapped_file_ref(m);
    return 0;
}

static int add_extent(struct result *r, char *p, size_t n)
{
    struct iovec *last = r->pub.n_iov ? &r->pub.iov[r->pub.n_iov - 1] : NULL;

    if (last && (char *)last->iov_base + last->iov_len == p) {
        last->iov_len += n;
        return 0;
    }
    if (r->pub.n_iov == r->cap_iov) {
        struct iovec *iov = twice(r->pub.iov, r->few_iov, r->cap_iov, sizeof *iov);
        if (!iov)
            return -ENOMEM;
        r->pub.iov = iov;
        r->cap_iov *= 2;
    }
    r->pub.iov[r->pub.n_iov++] = (struct iovec){p, n};
    return 0;
}

int result_extend(struct result *r, struct mapped_file *file, char *p, size_t n)
{
    int rc = hold_file(r, file);

    return rc ? rc : add_extent(r, p, n);
}

int result_add(struct store_result **out, struct mapped_file *file, char *p, uint32_t size)
{
    struct result *r = *out ? (struct result *)*out : result_new();
    int rc;

    if (!r)
        return -ENOMEM;
    *out = &r->pub;
    if (file && (rc = result_extend(r, file, p, size)))
        return rc;
    r->pub.n_messages += file != NULL;
    r->pub.bytes += size;
    return 0;
}

/* ---- in memory ---- */

int result_eio(const char *doing)
{
    char why[BUS_WHY_SIZE];

    log_error("%s: %s", doing, bus_why(why, sizeof why));
    return -EIO;
}

int store_touch(const struct store_result *r)
{
    for (int i = 0; i < r->n_iov; i++)
        if (mapped_touch(r->iov[i].iov_base, r->iov[i].iov_len))
            return result_eio("read messages");
    return 0;
}

bool record_looks_right(const char *p, int64_t at, uint32_t size)
{
    bool right;

    bus_noted();
    right = message_record_fits(p, size) && (int64_t)be64_get(p + RECORD_AT_PHYSICAL_OFFSET) == at &&
            is_indexed((int32_t)be32_get(p + RECORD_AT_SYS_FLAG));
    bus_noted();
    return right;
}

/* How many right records n bytes at a place of the log are made of; -1: they are something else. */
static int records_in(const char *p, size_t n, int64_t at)
{
    const char *end = p + n;
    uint32_t size;
    int count = 0;

    for (; p < end; p += size, at += size, count++) {
        size = (size_t)(end - p) < MESSAGE_MIN_SIZE ? 0 : be32_get(p);
        if (size < MESSAGE_MIN_SIZE || size > (size_t)(end - p) || !record_looks_right(p, at, size))
            return -1;
    }
    return count;
}

/* Where in the log an extent begins, and in which of the result's files. */
static int64_t log_place(const struct result *r, int extent, struct mapped_file **file)
{
    const char *p = r->pub.iov[extent].iov_base;

    for (int i = 0; i < r->n_files; i++) {
        *file = r->files[i];
        if (p >= (*file)->map && p < (*file)->map + (*file)->size)
            return (*file)->base + (p - (*file)->map);
    }
    *file = NULL;
    return -1;
}

static int count_records(void *arg)
{
    const struct result *r = arg;
    int sum = 0;

    for (int i = 0; i < r->pub.n_iov; i++) {
        struct mapped_file *file;
        int n = records_in(r->pub.iov[i].iov_base, r->pub.iov[i].iov_len, log_place(r, i, &file));
        if (n < 0)
            return -EBADMSG;
        sum += n;
    }
    return sum == r->pub.n_messages ? 0 : -EBADMSG;
}

/* ---- in memory of its own ---- */

/* bytes: malloc'd; its extents, one after the other. */
static void own(struct result *r, char *bytes)
{
    r->own = bytes;
    r->pub.n_iov = 1;
    r->pub.iov[0] = (struct iovec){bytes, (size_t)r->pub.bytes};
}

struct copying {
    const struct store_result *from;
    char *to;
};

static int copy_all(void *arg)
{
    struct copying *c = arg;
    char *to = c->to;

    for (int i = 0; i < c->from->n_iov; to += c->from->iov[i++].iov_len)
        memcpy(to, c->from->iov[i].iov_base, c->from->iov[i].iov_len);
    return 0;
}

int store_own(struct store_result *result)
{
    struct result *r = (struct result *)result;
    struct copying c = {result, NULL};

    if (r->own || !result->n_iov)
        return 0;
    if (!(c.to = malloc((size_t)result->bytes)))
        return -ENOMEM;
    if (bus_guarded(copy_all, &c)) {
        free(c.to);
        return result_eio("read messages");
    }
    own(r, c.to);
    return 0;
}

/* ---- brought ---- */

static bool is_dense(const struct result *r)
{
    struct mapped_file *file;
    int last = r->pub.n_iov - 1;
    int64_t from = log_place(r, 0, &file), end = log_place(r, last, &file) + (int64_t)r->pub.iov[last].iov_len;

    return end - from <= SPREAD_MAX * r->pub.bytes;
}

/* Each extent is looked at where nobody else can change it. 0, -EBADMSG, or -errno as cold_read_copy has it. */
static int copy_apart(struct store *s, const struct result *r, char *to)
{
    int64_t end = commit_log_max(&s->log);
    int sum = 0, rc = 0;

    for (int i = 0; !rc && i < r->pub.n_iov; i++) {
        struct mapped_file *file;
        size_t n = r->pub.iov[i].iov_len;
        int64_t at = log_place(r, i, &file);
        int count = 0;
        if (!(rc = cold_read_copy(&s->cold, file, s->log.dir, at, to, n, end)) && (count = records_in(to, n, at)) < 0)
            rc = -EBADMSG;
        to += n;
        sum += count;
    }
    return rc ? rc : sum == r->pub.n_messages ? 0 : -EBADMSG;
}

static int read_apart(struct store *s, struct result *r)
{
    char *bytes;
    int rc;

    if (r->own || !r->pub.n_iov || !is_dense(r))
        return -ENOTSUP;
    if (!(bytes = malloc((size_t)r->pub.bytes)))
        return -ENOMEM;
    if ((rc = copy_apart(s, r, bytes)))
        free(bytes);
    else
        own(r, bytes);
    return rc;
}

int store_bring(struct store *s, struct store_result *result, bool apart)
{
    int rc;

    /* What goes wrong there goes wrong again in the mapping, which is what tells. */
    if (apart && read_apart(s, (struct result *)result) == 0)
        return 0;
    if ((rc = store_touch(result)))
        return rc;
    return bus_guarded(count_records, result) == 0 ? 0 : -EBADMSG;
}
