/* Going on behind damage in the commit log. Apache ends the log at the first broken
 * record and forgets what follows; here whole records behind it are kept: the
 * damaged bytes become one record that no queue names (type "rolled back", topic
 * MQFS_DAMAGED), so that the log is again a chain of records for every reader. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/be.h"
#include "common/bus_guard.h"
#include "common/log.h"
#include "store/store_impl.h"

#define FILLER_TOPIC "MQFS_DAMAGED"

static bool whole_record(const struct mapped_file *file, int64_t at, int64_t not_before, struct message *m)
{
    const char *p = file->map + (at - file->base);

    /* Its own offset first: what a body imitates costs no CRC then. Bytes that were never cleared may hold records
     * of an earlier end of the log: those are older. */
    return (int64_t)be64_get(p + RECORD_AT_PHYSICAL_OFFSET) == at &&
           message_record_get(p, (size_t)(file->size - (at - file->base)), true, m) == 0 &&
           m->store_timestamp >= not_before;
}

/* Looked for by the first byte of its magic. */
int64_t record_after(const struct mapped_file *file, int64_t at, int64_t end, int64_t not_before)
{
    const char *p = file->map + (at - file->base) + 1 + RECORD_AT_MAGIC, *last = file->map + (end - file->base);
    struct message m;

    for (; p < last && (p = memchr(p, MESSAGE_MAGIC_V1 >> 24, (size_t)(last - p))); p++) {
        int64_t next = file->base + (p - file->map) - RECORD_AT_MAGIC;
        if (next + MESSAGE_MIN_SIZE <= end && whole_record(file, next, not_before, &m))
            return next;
    }
    return -1;
}

/* What is held while mapped pages are touched, given back when one could not be had. */
struct resync {
    struct store *s;
    struct mapped_file *file;
    int64_t at, not_before;
    char *damaged;
    struct mapped_file *next_file;
    int64_t goes_on;                     /* the answer */
};

static int fill(struct resync *r, int64_t next)
{
    struct message m = {.topic = str_of(FILLER_TOPIC), .sys_flag = SYSFLAG_TRANS_ROLLBACK, .physical_offset = r->at,
                        .born_timestamp = r->not_before, .store_timestamp = r->not_before};
    size_t n = (size_t)(next - r->at), bare = message_record_size(&m);
    char *p = r->file->map + (r->at - r->file->base);

    if (n < bare)
        return -EINVAL;
    if (!(r->damaged = malloc(n)))
        return -ENOMEM;
    memcpy(r->damaged, p, n);
    m.body = str_n(r->damaged + bare, n - bare);
    message_record_put(p, &m, false);
    return 0;
}

/* The file's rest holds no record; does the log go on in the next file? Perhaps not with its first byte: files behind the
 * log's end are deleted, so damage in two places must not take what lies between for the end. 1, 0 or -errno. */
static int next_file_goes_on(struct resync *r)
{
    struct commit_log *l = &r->s->log;
    int64_t base = r->file->base + r->file->size, end;
    int rc = file_list_find(&l->files, l->dir, base, &r->next_file);
    struct message m;

    if (rc)
        return rc == -ENOENT ? 0 : rc;
    if (whole_record(r->next_file, base, r->not_before, &m))
        return 1;
    end = base + mapped_file_data_end(r->next_file, l->dir);
    return end > base && record_after(r->next_file, base, end, r->not_before) >= 0;
}

static int look(void *arg)
{
    struct resync *r = arg;
    struct mapped_file *file = r->file;
    const char *dir = r->s->log.dir;
    int64_t end = file->base + mapped_file_data_end(file, dir), file_end = file->base + file->size, next;
    int rc;

    next = end > r->at ? record_after(file, r->at, end, r->not_before) : -1;
    if (next >= 0) {
        if ((rc = mapped_file_to_write(file, dir)) || (rc = fill(r, next)))
            return rc == -EINVAL ? 0 : rc;
        log_error("commit log %s/%020" PRId64 ": %" PRId64 " bytes at %" PRId64
                  " are damaged: their messages are lost, the log goes on behind them",
                  dir, file->base, next - r->at, r->at - file->base);
        r->goes_on = next;
        return 0;
    }
    if (file_end - r->at < RECORD_BLANK_MIN)
        return 0;
    if ((rc = next_file_goes_on(r)) <= 0 || (rc = mapped_file_to_write(file, dir)))
        return rc;
    log_error("commit log %s/%020" PRId64 ": from %" PRId64
              " on it is damaged: those messages are lost, the log goes on in the next file",
              dir, file->base, r->at - file->base);
    be32_put(file->map + (r->at - file->base), (uint32_t)(file_end - r->at));
    be32_put(file->map + (r->at - file->base) + 4, BLANK_MAGIC);
    r->goes_on = file_end;
    return 0;
}

int64_t resync(struct store *s, struct mapped_file *file, int64_t at, int64_t not_before)
{
    struct resync r = {.s = s, .file = file, .at = at, .not_before = not_before, .goes_on = -ENOENT};
    int rc = bus_guarded(look, &r);

    free(r.damaged);
    mapped_file_unref(r.next_file);
    return rc ? rc : r.goes_on;
}
