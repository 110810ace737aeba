/* What the parts of mqadmin dump share: a file, and lines made of columns. */
#ifndef TOOLS_ADMIN_DUMP_PRIV_H
#define TOOLS_ADMIN_DUMP_PRIV_H

#include "common/buf.h"
#include "common/fault.h"
#include "tools/admin/dump.h"

struct dump {
    const struct dump_options *o;
    int64_t left;                    /* lines of records that may still be printed; below 0: any number */
    int64_t printed;                 /* of the current file */
    struct buf line;
    struct fault f;                  /* why the current file cannot be shown */

    const char *path;                /* the current file: */
    int fd;
    int64_t size;
    int64_t base;                    /* offset of its first byte, by its name of 20 digits; -1: another name */
    const char *map;                 /* NULL when it is empty */
};

/* A line: columns NAME=VALUE with tabs between; the file's path in front when there are several files. */
void line_start(struct dump *d);
void line_word(struct dump *d, const char *word);
void line_int(struct dump *d, const char *name, int64_t v);
void line_hex(struct dump *d, const char *name, uint32_t v);
void line_time(struct dump *d, const char *name, int64_t ms);
/* In one word of any bytes: control characters, backslash and broken UTF-8 as \t, \n, \\, \x1f. */
void line_text(struct dump *d, const char *name, struct str s);
void line_escaped(struct dump *d, struct str s, char also);     /* without a column; also: one more character */
/* 0; -ECANCELED: that was the last that is wanted; other -errno: standard output is lost. */
int line_end(struct dump *d);
/* A line that is no record. */
void line_remark(struct dump *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The file as one kind. 0, -ECANCELED as above, or other -errno with d->f. */
int dump_log(struct dump *d);
int dump_queue(struct dump *d);
int dump_batch_queue(struct dump *d);
int dump_extension(struct dump *d);
int dump_index(struct dump *d);
int dump_timer_log(struct dump *d);
int dump_timer_wheel(struct dump *d);
int dump_timer_checkpoint(struct dump *d);
int dump_checkpoint(struct dump *d);
int dump_lock(struct dump *d);
int dump_text(struct dump *d);
int dump_json(struct dump *d);

/* Whether the bytes are of that kind, for files whose path does not say it. */
bool looks_like_log(const struct dump *d);
bool looks_like_queue(const struct dump *d);
bool looks_like_batch_queue(const struct dump *d);
bool looks_like_extension(const struct dump *d);
bool looks_like_index(const struct dump *d);
bool looks_like_timer_log(const struct dump *d);
bool looks_like_json(const struct dump *d);

#endif
