/* Writes what the tables say into the pages of docs/: each page holds the lines
 *
 *     <!-- table NAME -->
 *     <!-- end -->
 *
 * and what stands between them is replaced. With --check nothing is written, and
 * the exit status says whether a page differs from its tables. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/broker.h"
#include "broker/state.h"
#include "common/file.h"
#include "fs/tree.h"
#include "namesrv/namesrv.h"
#include "namesrv/state.h"

#define PAGE_MAX ((size_t)4 << 20)

static const char *type_name(const struct conf_row *r)
{
    static const char *const names[] = {"int", "long", "boolean", "number", "text", ""};
    return r->type == CONF_ENUM ? r->words : names[r->type];
}

static void put_cell(struct buf *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '|')
            buf_putc(out, '\\');
        buf_putc(out, *text);
    }
}

static void put_config(struct buf *out, const struct conf_table *t)
{
    buf_puts(out, "| key | type | default | changes while running | |\n|---|---|---|---|---|\n");
    for (size_t i = 0; i < t->n; i++) {
        const struct conf_row *r = &t->rows[i];
        buf_printf(out, "| `%s` | ", r->name);
        put_cell(out, type_name(r));
        buf_puts(out, r->def[0] ? " | `" : " | ");
        buf_puts(out, r->def);
        buf_printf(out, "%s | %s | ", r->def[0] ? "`" : "", r->live ? "yes" : "");
        put_cell(out, r->help);
        buf_puts(out, " |\n");
    }
}

static void put_ops(struct buf *out, const struct op *ops, size_t n)
{
    buf_puts(out, "| code | name | what it does | runs on | |\n|---|---|---|---|---|\n");
    for (size_t i = 0; i < n; i++)
        buf_printf(out, "| %d | %s | %s | %s | %s%s |\n", ops[i].code, ops[i].name, ops[i].help,
                   ops[i].flags & OP_WORKER ? "worker" : "network loop", ops[i].flags & OP_ADMIN ? "admin " : "",
                   ops[i].flags & OP_MAIN_PORT ? "main port only" : "");
}

static void put_responses(struct buf *out)
{
    buf_puts(out, "| code | name |\n|---|---|\n");
#define X(code, name) buf_printf(out, "| %d | %s |\n", code, #name);
    RESPONSE_CODES(X)
#undef X
}

static void put_broker_config(struct buf *out) { put_config(out, &broker_config_rows); }
static void put_namesrv_config(struct buf *out) { put_config(out, &namesrv_config_rows); }
static void put_broker_ops(struct buf *out) { put_ops(out, broker_ops, broker_n_ops); }
static void put_namesrv_ops(struct buf *out) { put_ops(out, namesrv_ops, namesrv_n_ops); }

static const struct page_table {
    const char *page, *name;
    void (*put)(struct buf *out);
} tables[] = {
    {"configuration.md", "broker", put_broker_config},
    {"configuration.md", "namesrv", put_namesrv_config},
    {"protocol.md", "broker", put_broker_ops},
    {"protocol.md", "namesrv", put_namesrv_ops},
    {"protocol.md", "responses", put_responses},
    {"tree.md", "tree", tree_print_doc},
};

static struct str find(struct str text, const char *what)
{
    const char *at = text.n ? memmem(text.p, text.n, what, strlen(what)) : NULL;
    return at ? str_n(at, text.n - (size_t)(at - text.p)) : str_n(NULL, 0);
}

/* The page with one table renewed; 0 or -errno. */
static int renew(const struct page_table *t, struct str page, struct buf *out)
{
    char mark[64];
    struct str begin, end;

    snprintf(mark, sizeof(mark), "<!-- table %s -->\n", t->name);
    begin = find(page, mark);
    end = find(begin, "<!-- end -->");
    if (!begin.p || !end.p)
        return -EBADMSG;
    buf_put(out, page.p, (size_t)(begin.p - page.p));
    buf_puts(out, mark);
    t->put(out);
    buf_put_str(out, end);
    return buf_failed(out) ? -ENOMEM : 0;
}

static int one(const char *dir, const struct page_table *t, bool check)
{
    char path[4096];
    struct buf page = {0}, now = {0};
    int rc;

    snprintf(path, sizeof(path), "%s/%s", dir, t->page);
    rc = file_read(path, PAGE_MAX, &page);
    if (!rc)
        rc = renew(t, buf_str(&page), &now);
    if (rc) {
        fprintf(stderr, "mqdocs: %s, table %s: %s\n", path, t->name, strerror(-rc));
    } else if (!str_eq(buf_str(&page), buf_str(&now))) {
        FILE *f = check ? NULL : fopen(path, "w");
        rc = -1;
        if (check)
            fprintf(stderr, "mqdocs: %s differs from table %s: run make docs\n", path, t->name);
        else if (f && fwrite(now.p, 1, now.n, f) == now.n && fflush(f) == 0)
            rc = 0;
        if (f)
            fclose(f);
    }
    buf_free(&page);
    buf_free(&now);
    return rc;
}

int main(int argc, char **argv)
{
    bool check = argc == 3 && strcmp(argv[1], "--check") == 0;
    int failed = 0;

    if (argc != 2 + check) {
        fputs("usage: mqdocs [--check] DIR\n", stderr);
        return EXIT_FAILURE;
    }
    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
        failed |= one(argv[argc - 1], &tables[i], check) != 0;
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
