/* Lists that are answered in pages (codes 21 and 201), told by what differs
 * between them. Private to broker/. */
#ifndef BROKER_ADMIN_PAGE_H
#define BROKER_ADMIN_PAGE_H

#include <stddef.h>

struct data_version;
struct json_writer;
struct meta;
struct request;

struct named {
    const char *name;
    const void *item;
};

/* All functions are called under meta_read. */
struct paged {
    const char *from, *most;     /* header fields of the request: the first one, and how many at most */
    const char *total;           /* header field of the answer */
    const char *table;           /* key of the body's object that has the items by their names */
    const struct data_version *(*version)(const struct meta *m);
    size_t (*count)(const struct meta *m);
    void (*list)(const struct meta *m, struct named *out);               /* all of them, in any order */
    void (*before)(struct json_writer *w, const struct meta *m);         /* members between dataVersion and table */
    void (*item)(struct json_writer *w, const void *item);
    void (*after)(struct json_writer *w);                                /* members past the table; NULL: none */
};

/* Answers the part that the request asks for, or all. Its header fields dataVersion, `from` and `most` say which. */
void admin_reply_page(struct request *r, const struct paged *k);

#endif
