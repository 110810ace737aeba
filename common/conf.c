#include "common/conf.h"

#include <errno.h>
#include <ini.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <strings.h>

#include "common/codes.h"

#define AT(type, r, obj) ((type *)(void *)((char *)(obj) + (r)->at))
#define AT_CONST(type, r, obj) ((type const *)(const void *)((const char *)(obj) + (r)->at))

/* The i-th word of "A|B|C"; p NULL past the end. */
static struct str word_at(const char *words, int i)
{
    for (;; i--) {
        size_t n = strcspn(words, "|");
        if (i == 0)
            return str_n(words, n);
        if (!words[n])
            return str_n(NULL, 0);
        words += n + 1;
    }
}

static int word_find(const char *words, struct str value)
{
    for (int i = 0;; i++) {
        struct str w = word_at(words, i);
        if (!w.p)
            return -1;
        if (w.n == value.n && strncasecmp(w.p, value.p, w.n) == 0)
            return i;
    }
}

static int refuse(const struct conf_row *r, struct str value, int err, struct fault *f)
{
    static const char *const wants[] = {"a whole number", "a whole number", "true or false", "a number", "text", "one of "};
    char range[96] = "";

    if ((r->type == CONF_INT || r->type == CONF_LONG) && (r->min || r->max))
        snprintf(range, sizeof(range), " from %lld to %lld", (long long)r->min, (long long)r->max);
    return fault_set(f, RC_INVALID_PARAMETER, err, "%s wants %s%s%s, not \"%.*s\"", r->name, wants[r->type],
                     r->type == CONF_ENUM ? r->words : "", range, value.n > 80 ? 80 : (int)value.n, value.p ? value.p : "");
}

static int set_number(const struct conf_row *r, void *obj, struct str value, struct fault *f)
{
    int64_t v;
    int rc = str_i64(value, &v);

    if (!rc && r->type == CONF_INT && (v < INT32_MIN || v > INT32_MAX))
        rc = -ERANGE;
    if (!rc && (r->min || r->max) && (v < r->min || v > r->max))
        rc = -ERANGE;
    if (rc)
        return refuse(r, value, -rc, f);
    if (r->type == CONF_INT)
        *AT(int32_t, r, obj) = (int32_t)v;
    else
        *AT(int64_t, r, obj) = v;
    return 0;
}

static int set_double(const struct conf_row *r, void *obj, struct str value, struct fault *f)
{
    char text[64], *end;
    double v;

    if (!str_copy(text, sizeof(text), str_trim(value)) || !text[0])
        return refuse(r, value, EINVAL, f);
    v = strtod(text, &end);
    if (*end || !isfinite(v))
        return refuse(r, value, EINVAL, f);
    *AT(double, r, obj) = v;
    return 0;
}

static int set_text(const struct conf_row *r, void *obj, struct str value, struct fault *f)
{
    char *z;

    if (value.n && memchr(value.p, 0, value.n))
        return refuse(r, value, EINVAL, f);
    z = str_dup(str_trim(value));
    if (!z)
        return fault_errno(f, ENOMEM, "%s", r->name);
    free(*AT(char *, r, obj));
    *AT(char *, r, obj) = z;
    return 0;
}

int conf_set(const struct conf_row *r, void *obj, struct str value, struct fault *f)
{
    bool b;
    int word;

    switch (r->type) {
    case CONF_INT:
    case CONF_LONG:
        return set_number(r, obj, value, f);
    case CONF_DOUBLE:
        return set_double(r, obj, value, f);
    case CONF_TEXT:
        return set_text(r, obj, value, f);
    case CONF_BOOL:
        if (str_bool(value, &b))
            return refuse(r, value, EINVAL, f);
        *AT(bool, r, obj) = b;
        return 0;
    case CONF_ENUM:
        word = word_find(r->words, str_trim(value));
        if (word < 0)
            return refuse(r, value, EINVAL, f);
        *AT(int32_t, r, obj) = word;
        return 0;
    }
    return refuse(r, value, EINVAL, f);
}

void conf_get(const struct conf_row *r, const void *obj, struct buf *out)
{
    switch (r->type) {
    case CONF_INT:
        buf_i64(out, *AT_CONST(int32_t, r, obj));
        break;
    case CONF_LONG:
        buf_i64(out, *AT_CONST(int64_t, r, obj));
        break;
    case CONF_BOOL:
        buf_puts(out, *AT_CONST(bool, r, obj) ? "true" : "false");
        break;
    case CONF_DOUBLE:
        buf_printf(out, "%.15g", *AT_CONST(double, r, obj));
        break;
    case CONF_TEXT:
        buf_puts(out, *AT_CONST(char *, r, obj) ? *AT_CONST(char *, r, obj) : "");
        break;
    case CONF_ENUM:
        buf_put_str(out, word_at(r->words, *AT_CONST(int32_t, r, obj)));
        break;
    }
}

int conf_defaults(const struct conf_table *t, void *obj)
{
    for (size_t i = 0; i < t->n; i++)
        if (conf_set(&t->rows[i], obj, str_of(t->rows[i].def), NULL))
            return -ENOMEM;     /* a default that its own row refuses is caught by the unit test */
    return 0;
}

void conf_free(const struct conf_table *t, void *obj)
{
    for (size_t i = 0; i < t->n; i++)
        if (t->rows[i].type == CONF_TEXT) {
            free(*AT(char *, &t->rows[i], obj));
            *AT(char *, &t->rows[i], obj) = NULL;
        }
}

const struct conf_row *conf_find(const struct conf_table *t, struct str name)
{
    for (size_t i = 0; i < t->n; i++)
        if (str_is(name, t->rows[i].name))
            return &t->rows[i];
    return NULL;
}

void conf_print(const struct conf_table *t, const void *obj, struct buf *out)
{
    for (size_t i = 0; i < t->n; i++) {
        buf_puts(out, t->rows[i].name);
        buf_putc(out, '=');
        conf_get(&t->rows[i], obj, out);
        buf_putc(out, '\n');
    }
}

#define LINE_MAX_BYTES 65536

/* Debian's inih is set up by variables, others were when they were built: hence weak. By itself it cuts a line after
 * 200 bytes, which a list of name servers or directories easily has, and takes a line that begins with blanks for more
 * of the value before it, which Java's properties do not. */
extern int ini_max_line __attribute__((weak));
extern bool ini_use_stack __attribute__((weak)), ini_allow_realloc __attribute__((weak)), ini_allow_multiline __attribute__((weak));
extern char *ini_start_comment_prefixes __attribute__((weak));

static void set_up_inih(void)
{
    static char comments[] = ";#!";

    if (&ini_max_line)
        ini_max_line = LINE_MAX_BYTES;
    if (&ini_use_stack && &ini_allow_realloc) {
        ini_use_stack = false;
        ini_allow_realloc = true;
    }
    if (&ini_allow_multiline)
        ini_allow_multiline = false;
    if (&ini_start_comment_prefixes)
        ini_start_comment_prefixes = comments;
}

struct reading {
    const struct conf_table *table;
    void *obj;
    void (*unknown)(void *arg, struct str key, struct str value);
    void *arg;
    struct fault *fault;
    int rc;
};

static int on_pair(void *user, const char *section, const char *name, const char *value)
{
    struct reading *r = user;
    const struct conf_row *row = conf_find(r->table, str_of(name));

    (void)section;
    if (r->rc)              /* the first that was refused is told; the library goes on to the end */
        return 1;
    if (!value)
        value = "";
    if (!row) {
        if (r->unknown)
            r->unknown(r->arg, str_of(name), str_of(value));
        return 1;
    }
    r->rc = conf_set(row, r->obj, str_of(value), r->fault);
    return r->rc == 0;
}

int conf_read_file(const struct conf_table *t, void *obj, const char *path,
                   void (*unknown)(void *arg, struct str key, struct str value), void *arg,
                   struct fault *f)
{
    struct fault why = {0};
    struct reading r = {t, obj, unknown, arg, &why, 0};
    int line;

    set_up_inih();
    line = ini_parse(path, on_pair, &r);
    if (line == -1)
        return fault_errno(f, errno ? errno : ENOENT, "cannot read %s", path);
    if (line < 0)
        return fault_errno(f, ENOMEM, "reading %s", path);
    if (r.rc)
        return fault_set(f, why.rc, why.err, "%s line %d: %s", path, line, why.text);
    if (line > 0)
        return fault_set(f, RC_INVALID_PARAMETER, EINVAL, "%s line %d is not key=value", path, line);
    return 0;
}

int conf_each(struct str text, int (*each)(void *arg, struct str key, struct str value), void *arg)
{
    while (text.n) {
        const char *nl = memchr(text.p, '\n', text.n);
        size_t n = nl ? (size_t)(nl - text.p) : text.n;
        struct str line = str_trim(str_n(text.p, n));
        const char *eq = line.n ? memchr(line.p, '=', line.n) : NULL;

        text.p += n + (nl != NULL);
        text.n -= n + (nl != NULL);
        if (!eq || line.p[0] == '#' || line.p[0] == '!')
            continue;
        n = (size_t)(eq - line.p);
        int rc = each(arg, str_trim(str_n(line.p, n)), str_trim(str_n(eq + 1, line.n - n - 1)));
        if (rc)
            return rc;
    }
    return 0;
}
