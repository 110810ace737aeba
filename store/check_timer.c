/* check_store: the timer's log, wheel and checkpoint: their sizes and structure. They are another's to mend. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/be.h"
#include "common/file.h"
#include "common/message.h"
#include "store/check_priv.h"
#include "store/foreign.h"

#define READ_SLOTS 512

struct timer {
    struct check *c;
    int64_t begin, end;                  /* of the timer log: first byte of its files; behind its last unit */
};

/* ---- the log ---- */

/* 1: the file is over. */
static int check_unit(struct timer *t, const struct check_file *x, int fd, int64_t at)
{
    char p[52];
    int64_t left = x->size - at, size, magic, before;
    int rc = left < TIMER_BLANK_SIZE ? 1 : file_read_at(fd, p, left < 52 ? (size_t)left : 52, at);

    if (rc)
        return rc;
    size = fixed_get(&timer_unit, p, TIMER_SIZE);
    magic = fixed_get(&timer_unit, p, TIMER_MAGIC);
    before = fixed_get(&timer_unit, p, TIMER_BEFORE);
    if (size == 0 && magic == 0 && (rc = check_is_zero(fd, at, x->size)))
        return rc;
    if ((uint32_t)magic == BLANK_MAGIC && size == left)
        return 1;
    if (left < timer_unit.size || size != timer_unit.size || !(magic & 1) || magic & ~(int64_t)TIMER_MAGIC_BITS) {
        check_find(t->c, x->path, at, "no timer unit: %" PRId64 " bytes, magic %08" PRIx32, size, (uint32_t)magic);
        return 1;
    }
    if (before < -1 || before >= x->base + at)
        check_find(t->c, x->path, at, "a timer unit names the one before it at %" PRId64 ", and is itself at %" PRId64,
                   before, x->base + at);
    t->end = x->base + at + timer_unit.size;
    return 0;
}

static int check_timer_log(struct timer *t, const char *dir)
{
    struct check_files l = {0};
    int rc = check_list(&l, dir);
    int64_t findings = t->c->r->findings;

    check_chain(t->c, &l);
    t->begin = t->end = l.n ? l.v[0].base : 0;
    for (int i = 0; !rc && i < l.n; i++) {
        int fd = open(l.v[i].path, O_RDONLY | O_CLOEXEC);
        int over = fd < 0 ? -errno : 0;
        for (int64_t at = 0; !over; at += timer_unit.size)
            over = check_unit(t, &l.v[i], fd, at);
        rc = over < 0 ? over : 0;
        if (fd >= 0)
            close(fd);
    }
    check_files_free(&l);
    if (t->c->r->findings > findings)
        check_bad(t->c, CHECK_TIMER, dir);
    return rc;
}

/* ---- the wheel ---- */

static void check_slot(struct timer *t, const char *path, int64_t at, const char *p)
{
    int64_t first = fixed_get(&timer_slot, p, SLOT_FIRST), last = fixed_get(&timer_slot, p, SLOT_LAST);
    int64_t time = fixed_get(&timer_slot, p, SLOT_TIME), count = fixed_get(&timer_slot, p, SLOT_COUNT);

    if (time < 0 || first < -1 || last < -1 || first > last || count < 0)
        check_find(t->c, path, at, "no slot: time %" PRId64 ", units %" PRId64 " to %" PRId64 ", %" PRId64 " messages", time,
                   first, last, count);
    else if (time && last >= t->end && !t->c->r->not_clean)
        check_find(t->c, path, at, "a slot names the timer unit at %" PRId64 ", and the timer log ends at %" PRId64, last,
                   t->end);
}

static int check_wheel(struct timer *t, const char *path)
{
    char raw[READ_SLOTS * 32];
    int64_t findings = t->c->r->findings, step = (int64_t)sizeof raw;
    int fd = open(path, O_RDONLY | O_CLOEXEC), rc = 0;
    struct stat st = {0};

    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    if (fstat(fd, &st) < 0)
        rc = -errno;
    if (!rc && st.st_size % (2 * timer_slot.size))
        check_find(t->c, path, st.st_size, "%" PRId64 " bytes are no whole wheel", (int64_t)st.st_size);
    for (int64_t from = 0; !rc && from < st.st_size; from += step) {
        int64_t n = st.st_size - from < step ? st.st_size - from : step;
        rc = file_read_at(fd, raw, (size_t)n, from);
        for (int64_t i = 0; !rc && i + timer_slot.size <= n; i += timer_slot.size)
            check_slot(t, path, from + i, raw + i);
    }
    close(fd);
    if (t->c->r->findings > findings)
        check_bad(t->c, CHECK_TIMER, path);
    return rc;
}

/* ---- the checkpoint ---- */

static int check_timer_checkpoint(struct timer *t, const char *path)
{
    int64_t findings = t->c->r->findings, flushed;
    struct buf b = {0};
    int rc = file_read(path, 1 << 20, &b);

    if (rc)
        return rc == -ENOENT ? 0 : rc;
    if (b.n < timer_checkpoint.size) {
        check_find(t->c, path, (int64_t)b.n, "the file is cut: %zu bytes", b.n);
    } else {
        flushed = fixed_get(&timer_checkpoint, b.p, TIMERCHECK_FLUSHED);
        if (flushed < 0 || flushed > t->end)
            check_find(t->c, path, 8, "lastTimerLogFlushPos %" PRId64 " is ahead of the timer log, which ends at %" PRId64,
                       flushed, t->end);
    }
    buf_free(&b);
    if (t->c->r->findings > findings)
        check_bad(t->c, CHECK_TIMER, path);
    return 0;
}

int check_timer(struct check *c, struct fault *f)
{
    static const struct {
        const char *name;
        int (*check)(struct timer *t, const char *path);
    } parts[] = {{"timerlog", check_timer_log}, {"timerwheel", check_wheel}, {"config/timercheck", check_timer_checkpoint}};
    struct timer t = {.c = c};

    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        char path[4096];
        int rc = (size_t)snprintf(path, sizeof path, "%s/%s", c->o->root, parts[i].name) >= sizeof path ? -ENAMETOOLONG
               : parts[i].check(&t, path);
        if (rc)
            return fault_errno(f, -rc, "check %.300s", path);
    }
    return 0;
}
