/* check_store: the extension of a consume queue, whose units the queue's units name in the place of a tag code. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "common/file.h"
#include "store/check_priv.h"
#include "store/foreign.h"

static bool unit_is_whole(const char *raw, int64_t left)
{
    int64_t size = fixed_get(&ext_unit, raw, EXT_SIZE), bits = fixed_get(&ext_unit, raw, EXT_BITS_SIZE);

    return size >= ext_unit.size && size <= left - EXT_END_BYTES && bits == size - ext_unit.size;
}

/* From unit to unit up to one that closes the file, or to zeros. */
static int walk_file(struct check *c, const struct check_file *x, int fd)
{
    char raw[20];
    int64_t at = 0;
    int rc = 0;

    while (!rc && x->size - at >= ext_unit.size) {
        int64_t size;
        if ((rc = file_read_at(fd, raw, ext_unit.size, at)))
            return rc;
        size = fixed_get(&ext_unit, raw, EXT_SIZE);
        if (size == -1)
            return 0;
        if (size == 0 && (rc = check_is_zero(fd, at, x->size)))
            return rc < 0 ? rc : 0;
        if (!unit_is_whole(raw, x->size - at)) {
            check_find(c, x->path, at, "no unit: %" PRId64 " bytes with a bit map of %" PRId64, size,
                       fixed_get(&ext_unit, raw, EXT_BITS_SIZE));
            return 0;
        }
        at += size;
    }
    return rc;
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
    int64_t offset = address - INT64_MIN;
    char raw[20];

    for (int i = 0; i < x->files.n; i++) {
        const struct check_file *file = &x->files.v[i];
        int64_t at = offset - file->base;
        if (at < 0 || at >= file->size)
            continue;
        if (file->size - at < ext_unit.size || open_file(x, i) || file_read_at(x->fd, raw, ext_unit.size, at) ||
            !unit_is_whole(raw, file->size - at))
            return -ENOENT;
        *tags_code = fixed_get(&ext_unit, raw, EXT_TAGS);
        *store_time = fixed_get(&ext_unit, raw, EXT_TIME);
        return 0;
    }
    return -ENOENT;
}
