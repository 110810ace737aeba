/* Configuration keys as rows of a table: the ini reader, the live change, the
 * printed list, the tree's files and the documentation all read the same row.
 *
 * The struct that a table describes belongs to the caller; a row says where in
 * it the value lies. Reading a value while another thread changes it is the
 * owner's concern (broker/config.c holds a lock around both). */
#ifndef COMMON_CONF_H
#define COMMON_CONF_H

#include "common/buf.h"
#include "common/fault.h"

enum conf_type {
    CONF_INT,            /* int32_t */
    CONF_LONG,           /* int64_t */
    CONF_BOOL,           /* bool */
    CONF_DOUBLE,         /* double */
    CONF_TEXT,           /* char * (malloc'd; never NULL after conf_defaults) */
    CONF_ENUM,           /* int32_t, index into words */
};

struct conf_row {
    const char *name;    /* RocketMQ's key name where it has one */
    enum conf_type type;
    size_t at;           /* offsetof in the described struct */
    const char *def;     /* default, as text */
    int64_t min, max;    /* for INT and LONG; both 0: any */
    const char *words;   /* for ENUM: "ASYNC_FLUSH|SYNC_FLUSH" */
    bool live;           /* may change while running */
    const char *help;    /* one line, with the unit */
};

struct conf_table {
    const struct conf_row *rows;
    size_t n;
};

int conf_defaults(const struct conf_table *t, void *obj);       /* 0 or -ENOMEM; obj must be zeroed */
void conf_free(const struct conf_table *t, void *obj);          /* the texts */
const struct conf_row *conf_find(const struct conf_table *t, struct str name);
/* Checks and sets one value. -EINVAL, -ERANGE (in f: what is allowed) or -ENOMEM; the old value then stays. */
int conf_set(const struct conf_row *r, void *obj, struct str value, struct fault *f);
void conf_get(const struct conf_row *r, const void *obj, struct buf *out);   /* the value as text */
/* "key=value\n" for each row, in table order: what -p prints and code 26 answers. */
void conf_print(const struct conf_table *t, const void *obj, struct buf *out);

#define CONF_VALUE_MAX 60000         /* bytes of a value that a file can hold */

/* Reads a RocketMQ properties file (key=value, # and ! comments, blanks before them) through inih. Not from
 * two threads at once. Keys that no row has go to unknown(arg, key, value) when given, else are ignored,
 * as Apache ignores them. -errno with the file and line in f. */
int conf_read_file(const struct conf_table *t, void *obj, const char *path,
                   void (*unknown)(void *arg, struct str key, struct str value), void *arg,
                   struct fault *f);
/* The same for properties text in memory: calls each(arg, key, value) per line
 * and stops at its first non-zero answer, which is returned. */
int conf_each(struct str text, int (*each)(void *arg, struct str key, struct str value), void *arg);

#endif
