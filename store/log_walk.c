#include "store/log_walk.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/be.h"
#include "store/check_priv.h"

#define SENTENCE 300

/* The next whole record behind damage: its magic, its own offset, its CRC. -1: none in the file. */
static int64_t record_behind(const struct log_walk *w, int64_t at)
{
    const char *end = w->map + w->n, *p = w->map + at + 1 + RECORD_AT_MAGIC;
    struct message m;

    for (; p < end && (p = memchr(p, MESSAGE_MAGIC_V1 >> 24, (size_t)(end - p))); p++) {
        const char *r = p - RECORD_AT_MAGIC;
        if (end - r >= MESSAGE_MIN_SIZE &&
            (int64_t)be64_get(r + RECORD_AT_PHYSICAL_OFFSET) == w->base + (r - w->map) &&
            message_record_get(r, (size_t)(end - r), true, &m) == 0)
            return r - w->map;
    }
    return -1;
}

/* What is not a record at that place, in words. */
static void name_damage(const struct log_walk *w, int64_t at, int64_t next, char out[SENTENCE])
{
    const char *p = w->map + at;
    int64_t left = (int64_t)w->n - at;
    uint32_t size = be32_get(p), magic = be32_get(p + 4);
    struct message m;
    char behind[64];

    if (next < 0)
        snprintf(behind, sizeof behind, "no record follows in this file");
    else
        snprintf(behind, sizeof behind, "the next record is %" PRId64 " bytes on", next - at);
    if (magic != MESSAGE_MAGIC_V1 && magic != MESSAGE_MAGIC_V2 && magic != BLANK_MAGIC)
        snprintf(out, SENTENCE, "no record: magic %08" PRIx32 "; %s", magic, behind);
    else if (size > left)
        snprintf(out, SENTENCE, "a record of %" PRIu32 " bytes does not fit into the %" PRId64 " that are left; %s",
                 size, left, behind);
    else if (message_record_get(p, (size_t)left, false, &m) == 0)
        snprintf(out, SENTENCE, "the record says it is at log offset %" PRId64 ", and is at %" PRId64 "; %s",
                 m.physical_offset, w->base + at, behind);
    else
        snprintf(out, SENTENCE, "the sizes of the record's parts do not add up to its %" PRIu32 "; %s", size, behind);
}

/* Zeros to the file's end, or a blank that fills it. 1: so it is; *end: where the records end. */
static int is_over(const struct log_walk *w, int64_t at, int64_t *end)
{
    int64_t left = (int64_t)w->n - at;
    uint32_t size = be32_get(w->map + at), magic = be32_get(w->map + at + 4);
    char text[SENTENCE];
    int rc = 0;

    if (size == 0 && magic == 0)
        return check_is_zero(w->fd, at, (int64_t)w->n);
    if (magic != BLANK_MAGIC)
        return 0;
    if (size != left) {
        snprintf(text, sizeof text, "the blank that closes the file says %" PRIu32 " bytes, and %" PRId64 " are left",
                 size, left);
        rc = w->damage(w->ctx, at, -1, text);
    }
    *end = (int64_t)w->n;
    return rc ? rc : 1;
}

/* Goes on behind damage: the place, -1 when there is nothing; or *rc. */
static int64_t pass_damage(const struct log_walk *w, int64_t at, int *rc)
{
    int64_t left = (int64_t)w->n - at, next = -1;
    char text[SENTENCE];

    if (left >= RECORD_BLANK_MIN) {
        next = record_behind(w, at);
        name_damage(w, at, next, text);
    } else {
        snprintf(text, sizeof text, "%" PRId64 " bytes behind the last record, too few for a blank", left);
    }
    *rc = w->damage(w->ctx, at, next, text);
    return *rc ? -1 : next;
}

int log_walk(const struct log_walk *w, int64_t from, int64_t *end)
{
    int64_t at = from;
    int rc = 0;

    *end = at;
    while (at >= 0 && at < (int64_t)w->n) {
        int64_t left = (int64_t)w->n - at;
        struct message m;
        *end = at;
        if (left >= RECORD_BLANK_MIN && (rc = is_over(w, at, end)))
            return rc == 1 ? 0 : rc;
        if (left < RECORD_BLANK_MIN || message_record_get(w->map + at, (size_t)left, false, &m) ||
            m.physical_offset != w->base + at) {
            at = pass_damage(w, at, &rc);
        } else if (!(rc = w->record(w->ctx, at, &m))) {
            at += m.size;
            *end = at;
        }
        if (rc)
            return rc;
    }
    return 0;
}
