/* check_store: the extension of a consume queue, whose units the queue's units name in the place of a tag code. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "common/be.h"
#include "common/file.h"
#include "store/check_priv.h"
#include "store/queue_ext.h"

/* The unit at a place of the file: 0, -ENOENT, -EBADMSG as ext_unit_get, or other -errno. */
static int unit_at(const struct check_file *x, int fd, int64_t at, struct ext_unit *u)
{
    int64_t left = x->size - at - EXT_BLANK;
    char raw[EXT_UNIT_MIN];
    int rc;

    if (left < EXT_UNIT_MIN)
        return -ENOENT;
    rc = file_read_at(fd, raw, sizeof raw, at);
    return rc ? rc : ext_unit_get(raw, (size_t)left, u);
}

/* Behind the last unit: -1 in the place of a size, or zeros. */
static int check_end(struct check *c, const struct check_file *x, int fd, int64_t at)
{
    char raw[2];
    int rc;

    if (x->size - at < 2)
        return 0;
    if ((rc = file_read_at(fd, raw, sizeof raw, at)))
        return rc;
    if (be16_get(raw) == UINT16_MAX || (rc = check_is_zero(fd, at, x->size)) == 1)
        return 0;
    if (!rc)
        check_find(c, x->path, at, "no unit of an extension");
    return rc;
}

/* From unit to unit up to one that closes the file, or to zeros. */
static int walk_file(struct check *c, const struct check_file *x, int fd)
{
    struct ext_unit u;
    int64_t at = 0;
    int rc;

    for (; !(rc = unit_at(x, fd, at, &u)); at += u.size)
        ;
    if (rc == -EBADMSG) {
        check_find(c, x->path, at, "no unit of an extension");
        return 0;
    }
    return rc == -ENOENT ? check_end(c, x, fd, at) : rc;
}

static int open_file(struct check_ext *x, int i)
{
    if (x->open == i)
        return 0;
    if (x->fd >= 0)
        close(x->fd);
    x->open = -1;
    if ((x->fd = open(x->files.v[i].path, O_RDONLY | O_CLOEXEC)) < 0)
        return -errno;
    x->open = i;
    return 0;
}

int check_ext_open(struct check_ext *x, struct check *c, struct str topic, int32_t id)
{
    int rc;

    *x = (struct check_ext){.open = -1, .fd = -1};
    if ((size_t)snprintf(x->dir, sizeof x->dir, "%s/consumequeue_ext/%.*s/%" PRId32, c->o->root, STR_ARG(topic), id) >=
        sizeof x->dir)
        return -ENAMETOOLONG;
    if ((rc = check_list(&x->files, x->dir)))
        return rc;
    check_chain(c, &x->files);
    for (int i = 0; !rc && i < x->files.n; i++)
        if (!(rc = open_file(x, i)))
            rc = walk_file(c, &x->files.v[i], x->fd);
    return rc;
}

void check_ext_close(struct check_ext *x)
{
    if (x->fd >= 0)
        close(x->fd);
    check_files_free(&x->files);
}

int check_ext_get(struct check_ext *x, int64_t address, int64_t *tags_code, int64_t *store_time)
{
    int64_t offset = ext_offset(address);
    struct ext_unit u;

    for (int i = 0; i < x->files.n; i++) {
        const struct check_file *file = &x->files.v[i];
        if (offset < file->base || offset - file->base >= file->size)
            continue;
        if (open_file(x, i) || unit_at(file, x->fd, offset - file->base, &u))
            return -ENOENT;
        *tags_code = u.tags_code;
        *store_time = u.store_time;
        return 0;
    }
    return -ENOENT;
}
