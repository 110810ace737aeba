/* Going on behind damage in the commit log. Apache ends the log at the first broken
 * record and forgets what follows; here whole records behind it are kept: the
 * damaged bytes become one record that no queue names (type "rolled back", topic
 * MQFS_DAMAGED), so that the log is again a chain of records for every reader. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/be.h"
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

static int fill(struct mapped_file *file, int64_t at, int64_t next, int64_t time)
{
    struct message m = {.topic = str_of(FILLER_TOPIC), .sys_flag = SYSFLAG_TRANS_ROLLBACK, .physical_offset = at,
                        .born_timestamp = time, .store_timestamp = time};
    size_t n = (size_t)(next - at), bare = message_record_size(&m);
    char *p = file->map + (at - file->base), *damaged;

    if (n < bare)
        return -EINVAL;
    if (!(damaged = malloc(n)))
        return -ENOMEM;
    memcpy(damaged, p, n);
    m.body = str_n(damaged + bare, n - bare);
    message_record_put(p, &m, false);
    free(damaged);
    return 0;
}

/* The file's rest holds no record; does the log go on in the next file? */
static bool next_file_goes_on(struct store *s, const struct mapped_file *file, int64_t not_before)
{
    struct commit_log *l = &s->log;
    struct mapped_file *next = file_list_get(&l->files, l->dir, file->base + file->size);
    struct message m;
    bool goes_on = next && whole_record(next, next->base, not_before, &m);

    mapped_file_unref(next);
    return goes_on;
}

int64_t resync(struct store *s, struct mapped_file *file, int64_t at, int64_t not_before)
{
    int64_t end = file->base + mapped_file_data_end(file, s->log.dir), file_end = file->base + file->size, next;

    next = end > at ? record_after(file, at, end, not_before) : -1;
    if (next > 0 && fill(file, at, next, not_before) == 0) {
        log_error("commit log %s/%020" PRId64 ": %" PRId64 " bytes at %" PRId64
                  " are damaged: their messages are lost, the log goes on behind them",
                  s->log.dir, file->base, next - at, at - file->base);
        return next;
    }
    if (next < 0 && file_end - at >= RECORD_BLANK_MIN && next_file_goes_on(s, file, not_before)) {
        log_error("commit log %s/%020" PRId64 ": from %" PRId64
                  " on it is damaged: those messages are lost, the log goes on in the next file",
                  s->log.dir, file->base, at - file->base);
        be32_put(file->map + (at - file->base), (uint32_t)(file_end - at));
        be32_put(file->map + (at - file->base) + 4, BLANK_MAGIC);
        return file_end;
    }
    return -1;
}
