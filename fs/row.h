/* The rows of the tree: private to fs/. One row is one kind of node; a directory
 * has an array of rows, ended by one without a name.
 *
 * struct at is where an operation happens: the parameters that the names on the
 * way down stand for (topic, queue, group ...), with what the broker says of
 * them now. It is filled from the root down by the rows' load functions, so a
 * node needs to keep nothing but its name. */
#ifndef FS_ROW_H
#define FS_ROW_H

#include "fs/tree.h"

enum row_kind { ROW_DIR, ROW_FILE, ROW_LINK };

enum {
    ROW_VOLATILE = 1,        /* changes without an event: attributes are never cached */
    ROW_FLEETING = 2,        /* the name comes and goes without an event: cached for a second */
    ROW_RAW = 4,             /* bytes as they are: no newline is added */
    ROW_UNLISTED = 8,        /* can be looked up only */
    ROW_LINES = 16,          /* a write may have several lines */
};

struct at {
    struct tree *t;
    struct broker *b;
    const struct tree_who *who;
    struct caller caller;            /* for verbs: filled by at_caller */
    int depth;                       /* names below the root */
    char name[TREE_NAME_MAX + 1];    /* of the entry that next() found */
    /* parameters */
    enum group_kind kind;
    struct topic_info topic;
    struct group_info group;
    struct binding_info binding;
    struct client_scope clients;     /* its texts are other parameters' */
    struct client_info client;
    int32_t queue;
    struct queue_info q;
    int64_t offset;
    char word[TREE_NAME_MAX + 1];    /* the name of a message's key */
    const struct conf_row *key;
    /* what attributes follow from them */
    const char *owner;               /* "" or NULL: who runs the broker */
    int64_t mtime_ms;                /* 0: when the tree was opened */
    mode_t mode;                     /* 0: the row's */
    /* a message, held until at_done */
    struct store_result *hold;
    struct message m;
    char value[1024];                /* of a broker/stats row */
    char path[2048];                 /* of a snapshot's file */
    size_t path_dir;                 /* what next() found is appended to the first so many bytes of it; 0: nothing is */
};

struct row {
    const char *name;                /* as it stands, or {what} for a pattern */
    enum row_kind kind;
    mode_t mode;
    unsigned flags;
    const struct row *rows;          /* of a directory */
    /* Takes the name's parameters into *a; -ENOENT when there is no such thing. NULL: always there. */
    int (*load)(struct at *a, struct str name);
    /* Patterns: finds the first entry behind `after` (0: the start), fills a->name and parameters as load does,
     * and the cookie to go on with (at most 2^56). -ENOENT at the end. */
    int (*next)(struct at *a, uint64_t after, uint64_t *cookie);
    int (*text)(struct at *a, struct buf *out);          /* what a read gives; a link's target */
    int (*size)(struct at *a, int64_t *out);             /* when that is cheaper to tell than the text */
    const char *(*path)(struct at *a);                   /* or: a file of the system to be read instead */
    int (*set)(struct at *a, struct str value, struct fault *f);
    int (*make)(struct at *a, struct str name, struct fault *f);     /* a new entry of this row, in the directory at */
    int (*remove)(struct at *a, struct fault *f);
    int (*chown)(struct at *a, const char *owner, struct fault *f);
    const char *read_help, *write_help;
};

extern const struct row tree_rows[];         /* the root's: rows.c */
extern const struct row topic_rows[];        /* rows_topic.c */
extern const struct row groups_rows[];       /* rows_group.c */
extern const struct row producers_rows[];
extern const struct row members_rows[];      /* rows_client.c: a group's */
extern const struct row clients_rows[];      /* a topic's or the broker's */
extern const struct row broker_rows[];       /* rows_broker.c */
extern const struct row index_rows[];        /* rows_index.c */
extern const struct row at_rows[];
extern const struct row snapshots_rows[];    /* rows_snapshot.c */

/* Loads of directories of clients: they say whose (rows_client.c). */
int members_load(struct at *a, struct str name);
int topic_clients_load(struct at *a, struct str name);
int all_clients_load(struct at *a, struct str name);

static inline bool row_is_pattern(const struct row *r) { return r->name[0] == '{'; }

void at_done(struct at *a);
/* Fills a->caller from a->who. */
const struct caller *at_caller(struct at *a);

/* Shared loads of parameters: 0 or -errno. */
int at_topic(struct at *a, struct str topic);        /* and its owner and mtime */
int at_queue_number(struct str name, int32_t *out);  /* plain decimal, no sign, no leading zeros */
int at_name(struct at *a, struct str name);          /* a->name; -ENOENT when no file can be called so */

/* A value's text as a number from 0 on, or as true or false: 0, or -errno with f. */
int value_number(struct str value, int32_t *out, struct fault *f);
int value_truth(struct str value, int32_t *out, struct fault *f);

void put_yes(struct buf *out, bool yes);             /* "true" or "false" */

/* Aligned columns with a header line. Cells are copied; a blank or empty cell is shown as "-". */
struct table {
    struct buf cells;        /* NUL after each */
    int columns;
    size_t width[8];
    int n;                   /* cells so far */
};
void table_start(struct table *t, int columns, const char *const *heads);
void table_put(struct table *t, struct str cell);
void table_int(struct table *t, int64_t v);
void table_time(struct table *t, int64_t ms);
int table_end(struct table *t, struct buf *out);     /* prints and frees; -ENOMEM */

#endif
