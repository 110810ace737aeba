#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/json.h"
#include "common/json_text.h"

void jw_init(struct json_writer *w, struct buf *out, bool pretty)
{
    *w = (struct json_writer){.out = out, .pretty = pretty};
}

static void new_line(struct json_writer *w)
{
    static const char tabs[JSON_DEPTH_MAX + 1] =
        "\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t"
        "\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t";

    if (!w->pretty)
        return;
    buf_putc(w->out, '\n');
    buf_put(w->out, tabs, w->depth);
}

/* What stands before a value or key: nothing right after a key and at the top. */
static void begin(struct json_writer *w)
{
    if (w->after_key) {
        w->after_key = false;
        return;
    }
    if (!w->depth || w->depth > JSON_DEPTH_MAX)
        return;
    if (w->comma[w->depth])
        buf_putc(w->out, ',');
    w->comma[w->depth] = true;
    new_line(w);
}

static void open_bracket(struct json_writer *w, char c)
{
    begin(w);
    buf_putc(w->out, c);
    if (++w->depth > JSON_DEPTH_MAX)
        w->out->failed = true;
    else
        w->comma[w->depth] = false;
}

static void close_bracket(struct json_writer *w, char c)
{
    bool empty;

    if (!w->depth || w->after_key) {
        w->out->failed = true;
        return;
    }
    empty = w->depth > JSON_DEPTH_MAX || !w->comma[w->depth];
    w->depth--;
    if (!empty)
        new_line(w);
    buf_putc(w->out, c);
}

static void end_key(struct json_writer *w)
{
    buf_putc(w->out, ':');
    w->after_key = true;
}

void jw_object(struct json_writer *w) { open_bracket(w, '{'); }
void jw_object_end(struct json_writer *w) { close_bracket(w, '}'); }
void jw_array(struct json_writer *w) { open_bracket(w, '['); }
void jw_array_end(struct json_writer *w) { close_bracket(w, ']'); }
void jw_key(struct json_writer *w, const char *name) { jw_key_str(w, str_of(name)); }

void jw_key_str(struct json_writer *w, struct str name)
{
    begin(w);
    json_quote(w->out, name);
    end_key(w);
}

void jw_key_int(struct json_writer *w, int64_t key)
{
    begin(w);
    if (w->quote_int_keys)
        buf_putc(w->out, '"');
    buf_i64(w->out, key);
    if (w->quote_int_keys)
        buf_putc(w->out, '"');
    end_key(w);
}

void jw_key_object(struct json_writer *w)
{
    begin(w);
    w->after_key = true;        /* the object that follows needs no comma of its own */
}

void jw_key_object_end(struct json_writer *w) { end_key(w); }

static void put_literal(struct json_writer *w, const char *z)
{
    begin(w);
    buf_puts(w->out, z);
}

void jw_str(struct json_writer *w, struct str s)
{
    begin(w);
    json_quote(w->out, s);
}

void jw_text(struct json_writer *w, const char *z)
{
    if (z)
        jw_str(w, str_of(z));
    else
        jw_null(w);
}

void jw_int(struct json_writer *w, int64_t v)
{
    begin(w);
    buf_i64(w->out, v);
}

void jw_bool(struct json_writer *w, bool v) { put_literal(w, v ? "true" : "false"); }
void jw_null(struct json_writer *w) { put_literal(w, "null"); }

/* Java writes plain digits from 10^-3 up to 10^7, and d.dddE±n beyond. */
static void put_java_double(struct buf *out, const char *digits, int n, int exponent)
{
    bool plain = exponent >= -3 && exponent < 7;
    int whole = plain ? exponent + 1 : 1;       /* digits before the point; none: leading zeros */

    if (whole <= 0)
        buf_putc(out, '0');
    for (int i = 0; i < whole; i++)
        buf_putc(out, i < n ? digits[i] : '0');
    buf_putc(out, '.');
    for (int i = whole; i < 0; i++)
        buf_putc(out, '0');
    if (whole < n)
        buf_put(out, digits + (whole > 0 ? whole : 0), (size_t)(n - (whole > 0 ? whole : 0)));
    else
        buf_putc(out, '0');
    if (!plain)
        buf_printf(out, "E%d", exponent);
}

void jw_double(struct json_writer *w, double v)
{
    char text[32], digits[20];
    int n = 0, precision = 0;
    const char *e;

    if (!isfinite(v)) {
        jw_null(w);
        return;
    }
    begin(w);
    if (signbit(v))
        buf_putc(w->out, '-');
    v = fabs(v);
    do      /* the fewest digits that read back as v */
        snprintf(text, sizeof(text), "%.*e", precision, v);
    while (strtod(text, NULL) != v && ++precision < 17);
    for (e = text; *e != 'e'; e++) {
        if (*e >= '0' && *e <= '9')
            digits[n++] = *e;
    }
    put_java_double(w->out, digits, n, v > 0 ? atoi(e + 1) : 0);
}

static void put_member_key(struct json_writer *w, const struct json *key)
{
    if (key->type == JSON_OBJECT) {
        jw_key_object(w);
        jw_value(w, key);
        jw_key_object_end(w);
    } else if (key->type == JSON_INT) {
        jw_key_int(w, key->i);
    } else {
        jw_key_str(w, key->s);
    }
}

/* Recursion is as deep as the tree, which json_parse bounds. */
void jw_value(struct json_writer *w, const struct json *v)
{
    switch (v->type) {
    case JSON_NULL:
        jw_null(w);
        break;
    case JSON_BOOL:
        jw_bool(w, v->b);
        break;
    case JSON_INT:
        jw_int(w, v->i);
        break;
    case JSON_DOUBLE:
        begin(w);
        buf_put_str(w->out, v->s);
        break;
    case JSON_TEXT:
        jw_str(w, v->s);
        break;
    case JSON_ARRAY:
        jw_array(w);
        json_each(e, v)
            jw_value(w, e);
        jw_array_end(w);
        break;
    case JSON_OBJECT:
        jw_object(w);
        json_each(m, v) {
            put_member_key(w, m->key);
            jw_value(w, m);
        }
        jw_object_end(w);
        break;
    }
}
