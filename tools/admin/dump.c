/* Which file is it? The path says it, as in a store; of files that were copied elsewhere, the first bytes. */
#include "tools/admin/dump.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/bus_guard.h"
#include "common/codes.h"
#include "common/json_text.h"
#include "tools/admin/dump_priv.h"

/* ---- lines ---- */

static void column(struct dump *d, const char *name)
{
    if (d->line.n && d->line.p[d->line.n - 1] != '\t')
        buf_putc(&d->line, '\t');
    buf_puts(&d->line, name);
    buf_putc(&d->line, '=');
}

void line_start(struct dump *d)
{
    buf_reset(&d->line);
    if (d->o->n_files > 1) {
        line_escaped(d, str_of(d->path), 0);
        buf_puts(&d->line, ":\t");
    }
}

void line_word(struct dump *d, const char *word)
{
    if (d->line.n && d->line.p[d->line.n - 1] != '\t')
        buf_putc(&d->line, '\t');
    buf_puts(&d->line, word);
}

void line_int(struct dump *d, const char *name, int64_t v)
{
    column(d, name);
    buf_i64(&d->line, v);
}

void line_hex(struct dump *d, const char *name, uint32_t v)
{
    column(d, name);
    buf_printf(&d->line, "%08" PRIx32, v);
}

void line_time(struct dump *d, const char *name, int64_t ms)
{
    column(d, name);
    buf_time(&d->line, ms);
}

void line_escaped(struct dump *d, struct str s, char also)
{
    const unsigned char *p = (const unsigned char *)s.p;

    for (size_t i = 0, n; i < s.n; i += n) {
        unsigned char c = p[i];
        n = c < 0x80 ? 1 : utf8_length(p + i, s.n - i);
        if (c == '\n' || c == '\t' || c == '\\')
            buf_printf(&d->line, "\\%c", c == '\n' ? 'n' : c == '\t' ? 't' : '\\');
        else if (n == 0 || c < ' ' || c == 0x7F || (also && c == (unsigned char)also))
            buf_printf(&d->line, "\\x%02x", c);
        else
            buf_put(&d->line, p + i, n);
        n = n ? n : 1;
    }
}

void line_text(struct dump *d, const char *name, struct str s)
{
    column(d, name);
    line_escaped(d, s, 0);
}

static int put_line(struct dump *d)
{
    buf_putc(&d->line, '\n');
    if (buf_failed(&d->line))
        return fault_errno(&d->f, ENOMEM, "show %.300s", d->path);
    return fwrite(d->line.p, 1, d->line.n, stdout) == d->line.n ? 0 : fault_errno(&d->f, EPIPE, "write the text");
}

int line_end(struct dump *d)
{
    int rc = put_line(d);

    d->printed++;
    if (!rc && d->left > 0 && --d->left == 0)
        return -ECANCELED;
    return rc;
}

void line_remark(struct dump *d, const char *fmt, ...)
{
    va_list ap;

    if (d->o->quiet)
        return;
    line_start(d);
    buf_puts(&d->line, "# ");
    va_start(ap, fmt);
    buf_vprintf(&d->line, fmt, ap);
    va_end(ap);
    put_line(d);
}

/* ---- kinds ---- */

static int dump_rocksdb(struct dump *d)
{
    return fault_set(&d->f, RC_SYSTEM_ERROR, ENOTSUP, "%.300s is a RocksDB file, which is not read here", d->path);
}

#define DIGITS5 "[0-9][0-9][0-9][0-9][0-9]"
#define DIGITS17 DIGITS5 DIGITS5 DIGITS5 "[0-9][0-9]"
#define DIGITS20 DIGITS5 DIGITS5 DIGITS5 DIGITS5

/* The first row that fits counts: by its path, and when there is none, by its bytes. */
static const struct kind {
    const char *what;
    const char *path;                    /* pattern for the path's end; NULL: the path never says it */
    bool (*looks)(const struct dump *d); /* NULL: its bytes never say it */
    int (*dump)(struct dump *d);
} kinds[] = {
    {"consume queue", "*/consumequeue/*/*/" DIGITS20, NULL, dump_queue},
    {"consume queue extension", "*/consumequeue_ext/*/*/" DIGITS20, NULL, dump_extension},
    {"batch consume queue", "*/batchconsumequeue/*/*/" DIGITS20, NULL, dump_batch_queue},
    {"log of a compacted topic", "*/compactionLog/*/*/" DIGITS20, NULL, dump_log},
    {"queue of a compacted topic", "*/compactionCq/*/*/" DIGITS20, NULL, dump_batch_queue},
    {"commit log", "*/commitlog*/" DIGITS20, NULL, dump_log},
    {"timer log", "*/timerlog/" DIGITS20, NULL, dump_timer_log},
    {"index file", "*/index/" DIGITS17, NULL, dump_index},
    {"timer wheel", "*/timerwheel", NULL, dump_timer_wheel},
    {"snapshot of a timer wheel", "*/timerwheel.[0-9]*", NULL, dump_timer_wheel},
    {"timer checkpoint", "*/timercheck", NULL, dump_timer_checkpoint},
    {"checkpoint", "*/checkpoint", NULL, dump_checkpoint},
    {"lock", "*/lock", NULL, dump_lock},
    {"abort: a broker runs, or the last one did not end by itself", "*/abort", NULL, dump_text},
    {"abort of the run before", "*/abort.bak", NULL, dump_text},
    {"configuration", "*.json", NULL, dump_json},
    {"copy of a configuration", "*.json.bak", NULL, dump_json},
    {"broken configuration", "*.json.broken", NULL, dump_json},
    {"timer metrics", "*/timermetrics*", NULL, dump_json},
    {"transaction metrics", "*/transactionMetrics*", NULL, dump_json},
    {"progress of compaction", "*/position-checkpoint*", NULL, dump_json},
    {"epochs", "*/epochFileCheckpoint*", NULL, dump_text},
    {"broker's identity", "*/brokerIdentity*", NULL, dump_text},
    {"audit", "*/audit.log", NULL, dump_text},
    {"RocksDB", "*/rocksdbstore/*", NULL, dump_rocksdb},
    {"RocksDB", "*/consumequeue_r*/*", NULL, dump_rocksdb},
    {"RocksDB", "*/kvStore/*", NULL, dump_rocksdb},
    {"RocksDB", "*.sst", NULL, dump_rocksdb},
    {"commit log, by its content", NULL, looks_like_log, dump_log},
    {"timer log, by its content", NULL, looks_like_timer_log, dump_timer_log},
    {"index file, by its content", NULL, looks_like_index, dump_index},
    {"configuration, by its content", NULL, looks_like_json, dump_json},
    {"batch consume queue, by its content", NULL, looks_like_batch_queue, dump_batch_queue},
    {"consume queue extension, by its content", NULL, looks_like_extension, dump_extension},
    {"consume queue, by its content", NULL, looks_like_queue, dump_queue},
};

static const struct kind *kind_of(const struct dump *d, const char *full_path)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (kinds[i].path ? fnmatch(kinds[i].path, full_path, 0) == 0 : d->map && kinds[i].looks(d))
            return &kinds[i];
    return NULL;
}

/* ---- a file ---- */

static int show(void *arg)
{
    struct dump *d = arg;
    char *full = realpath(d->path, NULL);
    const struct kind *k = full ? kind_of(d, full) : NULL;
    int rc;

    if (!full)
        return fault_errno(&d->f, errno, "find %.300s", d->path);
    free(full);
    if (!k)
        return fault_set(&d->f, RC_SYSTEM_ERROR, ENOTSUP, "%.300s: neither its path nor its bytes are those of a file "
                         "of a store", d->path);
    line_remark(d, "%s, %" PRId64 " bytes", k->what, d->size);
    rc = k->dump(d);
    return rc;
}

static void find_base(struct dump *d)
{
    const char *name = strrchr(d->path, '/');

    name = name ? name + 1 : d->path;
    d->base = -1;
    if (strlen(name) == 20 && strspn(name, "0123456789") == 20 && str_i64(str_of(name), &d->base))
        d->base = -1;
}

static int open_file(struct dump *d)
{
    struct stat st;
    void *p;

    if ((d->fd = open(d->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)) < 0 || fstat(d->fd, &st) < 0)
        return fault_errno(&d->f, errno, "open %.300s", d->path);
    if (!S_ISREG(st.st_mode))
        return fault_set(&d->f, RC_SYSTEM_ERROR, EINVAL, "%.300s is no file", d->path);
    d->size = st.st_size;
    if (!d->size)
        return 0;
    p = mmap(NULL, (size_t)d->size, PROT_READ, MAP_SHARED, d->fd, 0);
    if (p == MAP_FAILED)
        return fault_errno(&d->f, errno, "map %.300s", d->path);
    d->map = p;
    return 0;
}

/* A file that a broker cuts while it is read is an error here, and no signal. */
static int dump_file(struct dump *d)
{
    int rc;

    d->fd = -1;
    d->map = NULL;
    d->printed = d->size = 0;
    d->f = (struct fault){0};
    find_base(d);
    rc = open_file(d);
    if (!rc && (rc = bus_guarded(show, d)) == -EIO && !d->f.text[0])
        fault_errno(&d->f, EIO, "read %.300s: it was cut meanwhile, or its disk fails", d->path);
    if (d->map)
        munmap((void *)(uintptr_t)d->map, (size_t)d->size);
    if (d->fd >= 0)
        close(d->fd);
    return rc;
}

int dump_files(const struct dump_options *o)
{
    struct dump d = {.o = o, .left = o->count};
    int status = 0, rc = bus_guard_install();

    if (rc) {
        fprintf(stderr, "mqadmin: guard against failing disks: %s\n", strerror(-rc));
        return 1;
    }
    for (int i = 0; i < o->n_files && d.left && !ferror(stdout); i++) {
        d.path = o->files[i];
        rc = dump_file(&d);
        if (rc && rc != -ECANCELED) {
            fflush(stdout);
            fprintf(stderr, "mqadmin: %s\n", d.f.text);
            status = 1;
        }
    }
    buf_free(&d.line);
    if (fflush(stdout))
        status = 1;
    return status;
}
