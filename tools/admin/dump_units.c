/* mqadmin dump of files of short records: queues, the index, the timer's. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "common/be.h"
#include "common/message.h"
#include "store/consume_queue.h"
#include "store/foreign.h"
#include "store/index_file.h"
#include "store/queue_ext.h"
#include "tools/admin/dump_priv.h"

static int64_t base_of(const struct dump *d) { return d->base < 0 ? 0 : d->base; }

static bool is_zero(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i])
            return false;
    return true;
}

static void put_fields(struct dump *d, const struct fixed_format *f, const char *p)
{
    for (int i = 0; i < f->n; i++) {
        if (f->fields[i].type == FIELD_TIME)
            line_time(d, f->fields[i].name, fixed_get(f, p, i));
        else
            line_int(d, f->fields[i].name, fixed_get(f, p, i));
    }
}

static int one_record(struct dump *d, const struct fixed_format *f)
{
    if (d->size < f->size)
        return fault_set(&d->f, 1, EBADMSG, "%.300s is cut: %" PRId64 " bytes, not %" PRIu32, d->path, d->size, f->size);
    line_start(d);
    put_fields(d, f, d->map);
    return line_end(d);
}

/* Each record of a file in which they stand one behind the other, those aside that were never written. */
struct row {
    uint32_t size;
    int64_t first;                       /* number of the file's first record */
    int64_t step;                        /* from one number to the next */
    void (*put)(struct dump *d, int64_t number, const char *p);
};

static int each_record(struct dump *d, const struct row *r)
{
    int64_t n = d->size / r->size, skip = d->o->from > r->first ? (d->o->from - r->first + r->step - 1) / r->step : 0;
    int64_t hole = -1;
    int rc = 0;

    for (int64_t i = skip; !rc && i < n; i++) {
        const char *p = d->map + i * r->size;
        if (is_zero(p, r->size)) {
            hole = hole < 0 ? i : hole;
            continue;
        }
        if (hole >= 0)
            line_remark(d, "%" PRId64 " to %" PRId64 " were not written", r->first + hole * r->step,
                        r->first + (i - 1) * r->step);
        hole = -1;
        line_start(d);
        r->put(d, r->first + i * r->step, p);
        rc = line_end(d);
    }
    if (rc)
        return rc;
    if (hole >= 0)
        line_remark(d, "from %" PRId64 " on not written", r->first + hole * r->step);
    if (d->size % r->size)
        line_remark(d, "%" PRId64 " bytes at the end are no whole record", d->size % r->size);
    return 0;
}

/* ---- consume queue ---- */

static void put_unit(struct dump *d, int64_t number, const char *p)
{
    struct store_entry e;

    unit_get(p, &e);
    line_int(d, "unit", number);
    line_int(d, "offset", e.physical_offset);
    line_int(d, "size", e.size);
    if (ext_is_address(e.tags_code))
        line_int(d, "extension", ext_offset(e.tags_code));
    else
        line_int(d, "tags", e.tags_code);
    if (unit_is_blank(&e))
        line_word(d, "filler");
    else if (!unit_written(&e))
        line_word(d, "NO UNIT");
}

int dump_queue(struct dump *d)
{
    return each_record(d, &(struct row){UNIT_SIZE, base_of(d) / UNIT_SIZE, 1, put_unit});
}

/* Two units that follow each other. */
bool looks_like_queue(const struct dump *d)
{
    struct store_entry e, next;

    if (d->size % UNIT_SIZE || d->size < 2 * UNIT_SIZE)
        return false;
    unit_get(d->map, &e);
    unit_get(d->map + UNIT_SIZE, &next);
    return unit_written(&e) && (unit_is_blank(&e) || e.size >= MESSAGE_MIN_SIZE) && e.size <= INT32_MAX &&
           (is_zero(d->map + UNIT_SIZE, UNIT_SIZE) ||
            (unit_written(&next) && (unit_is_blank(&next) || next.size >= MESSAGE_MIN_SIZE) &&
             (unit_is_blank(&e) || next.physical_offset - e.physical_offset >= e.size)));
}

/* ---- batch consume queue ---- */

static void put_batch(struct dump *d, int64_t number, const char *p)
{
    line_int(d, "unit", number);
    put_fields(d, &batch_unit, p);
}

int dump_batch_queue(struct dump *d)
{
    return each_record(d, &(struct row){batch_unit.size, base_of(d) / batch_unit.size, 1, put_batch});
}

bool looks_like_batch_queue(const struct dump *d)
{
    return d->size >= batch_unit.size && d->size % batch_unit.size == 0 &&
           fixed_get(&batch_unit, d->map, BATCH_OFFSET) >= 0 &&
           fixed_get(&batch_unit, d->map, BATCH_SIZE) >= MESSAGE_MIN_SIZE &&
           fixed_get(&batch_unit, d->map, BATCH_TIME) > 0 && fixed_get(&batch_unit, d->map, BATCH_BASE) >= 0 &&
           fixed_get(&batch_unit, d->map, BATCH_COUNT) > 0 && fixed_get(&batch_unit, d->map, BATCH_RESERVED) == 0;
}

/* ---- consume queue extension ---- */

static void put_bits(struct dump *d, const char *p, int64_t n)
{
    line_text(d, "bits", str_of(n ? "" : "-"));
    for (int64_t i = 0; i < n; i++)
        buf_printf(&d->line, "%02x", (unsigned char)p[i]);
}

int dump_extension(struct dump *d)
{
    int64_t at = 0, left, base = base_of(d);
    struct ext_unit u;
    int rc = 0;

    for (; !rc && at < d->size && ext_unit_get(d->map + at, (size_t)(d->size - at), &u) == 0; at += u.size) {
        if (base + at < d->o->from)
            continue;
        line_start(d);
        line_int(d, "offset", base + at);
        line_int(d, "size", u.size);
        line_int(d, "tags", u.tags_code);
        line_time(d, "stored", u.store_time);
        put_bits(d, d->map + at + EXT_UNIT_MIN, u.size - EXT_UNIT_MIN);
        rc = line_end(d);
    }
    if (rc)
        return rc;
    left = d->size - at;
    line_remark(d, "the units end at offset %" PRId64 "%s", base + at,
                left >= 2 && be16_get(d->map + at) == UINT16_MAX ? ": the file is closed"
                : left <= 0 || is_zero(d->map + at, (size_t)left) ? "" : ": what follows is no unit");
    return 0;
}

bool looks_like_extension(const struct dump *d)
{
    struct ext_unit u;

    return ext_unit_get(d->map, (size_t)d->size, &u) == 0 && u.store_time > 0;
}

/* ---- index ---- */

static void put_header(struct dump *d, const struct index_file *x, const struct index_file_info *info, bool sure)
{
    line_start(d);
    line_word(d, "header");
    line_int(d, "slots", x->layout.slots);
    line_int(d, "slots_used", info->slots_used);
    line_int(d, "entries", x->layout.entries);
    line_int(d, "next", info->next);
    line_time(d, "begin", info->begin_time);
    line_time(d, "end", info->end_time);
    line_int(d, "begin_offset", info->begin_offset);
    line_int(d, "end_offset", info->end_offset);
    if (!sure)
        line_word(d, "LAYOUT GUESSED");
}

int dump_index(struct dump *d)
{
    struct index_file x = {.map = (char *)(uintptr_t)d->map, .fd = -1};
    struct index_file_info info;
    int rc = d->size > INDEX_HEADER ? index_layout_find(d->map, d->size, d->o->index_slots, &x.layout) : -EINVAL;

    if (rc < 0)
        return fault_set(&d->f, 1, EBADMSG, "%.300s: %" PRId64 " bytes are no whole index file, or its number of slots "
                         "(maxHashSlotNum) cannot be seen: try --index-slots", d->path, d->size);
    index_file_info(&x, &info);
    put_header(d, &x, &info, rc == 1);
    rc = line_end(d);
    for (int64_t n = d->o->from > 1 ? d->o->from : 1; !rc && n < info.next && n < x.layout.entries; n++) {
        struct index_entry e = index_file_entry(&x, (int32_t)n);
        line_start(d);
        line_int(d, "entry", n);
        line_int(d, "hash", e.hash);
        line_int(d, "offset", e.offset);
        line_int(d, "seconds", e.seconds);
        line_int(d, "before", e.before);
        line_int(d, "slot", e.hash < 0 ? -1 : e.hash % x.layout.slots);
        rc = line_end(d);
    }
    return rc;
}

bool looks_like_index(const struct dump *d)
{
    struct index_layout layout;

    return d->size > INDEX_HEADER && be64_get(d->map + 16) <= be64_get(d->map + 24) && be32_get(d->map + 36) > 1 &&
           be32_get(d->map + 36) <= d->size / INDEX_ENTRY && index_layout_find(d->map, d->size, 0, &layout) == 1;
}

/* ---- timer ---- */

static bool timer_unit_fits(const char *p)
{
    int64_t magic = fixed_get(&timer_unit, p, TIMER_MAGIC);

    return fixed_get(&timer_unit, p, TIMER_SIZE) == timer_unit.size && magic & 1 && magic <= TIMER_MAGIC_BITS && magic > 0;
}

/* Units up to the first that is none: the blank, zeros, or a torn one. */
int dump_timer_log(struct dump *d)
{
    int64_t at = 0, base = base_of(d), left;
    int rc = 0;

    for (; !rc && (left = d->size - at) >= timer_unit.size && timer_unit_fits(d->map + at); at += timer_unit.size) {
        if (base + at < d->o->from)
            continue;
        line_start(d);
        line_int(d, "offset", base + at);
        put_fields(d, &timer_unit, d->map + at);
        rc = line_end(d);
    }
    if (rc)
        return rc;
    left = d->size - at;
    if (left >= TIMER_BLANK_SIZE && be32_get(d->map + at + TIMER_BLANK_AT_MAGIC) == BLANK_MAGIC)
        line_remark(d, "the units end at offset %" PRId64 ": the file is closed", base + at);
    else
        line_remark(d, "the units end at offset %" PRId64 "%s", base + at, left <= 0 || is_zero(d->map + at, (size_t)left)
                    ? "" : ": what follows is no unit");
    return 0;
}

bool looks_like_timer_log(const struct dump *d) { return d->size >= timer_unit.size && timer_unit_fits(d->map); }

static void put_slot(struct dump *d, int64_t number, const char *p)
{
    line_int(d, "slot", number);
    put_fields(d, &timer_slot, p);
}

int dump_timer_wheel(struct dump *d)
{
    return each_record(d, &(struct row){timer_slot.size, 0, 1, put_slot});
}

int dump_timer_checkpoint(struct dump *d) { return one_record(d, &timer_checkpoint); }
