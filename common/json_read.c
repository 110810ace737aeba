#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "common/json.h"
#include "common/json_text.h"

/* The text is copied once into the arena; quoted texts are unescaped within the
 * copy and end with a NUL in place of their quote (or before it). */
struct parser {
    struct arena *arena;
    char *p, *end;
    int depth;
    int err;                    /* why a step returned NULL or false */
};

static void *fail(struct parser *ps, int err)
{
    ps->err = err;
    return NULL;
}

static bool parse_value(struct parser *ps, struct json *v);

static bool skip_blanks(struct parser *ps)
{
    char *p = json_skip_blanks(ps->p, ps->end);

    if (!p)
        return fail(ps, -EBADMSG);
    ps->p = p;
    return true;
}

static struct json *new_node(struct parser *ps)
{
    struct json *v = arena_get(ps->arena, sizeof(*v));

    return v ? v : fail(ps, -ENOMEM);
}

static bool next_is(const struct parser *ps, char c) { return ps->p < ps->end && *ps->p == c; }

static bool parse_text(struct parser *ps, struct json *v)
{
    char *p = json_unquote(ps->p, ps->end, &v->s);

    if (!p)
        return fail(ps, -EBADMSG);
    ps->p[1 + v->s.n] = 0;      /* the closing quote, or what unescaping left over */
    ps->p = p;
    v->type = JSON_TEXT;
    return true;
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static size_t digits(const struct parser *ps, const char *p)
{
    size_t n = 0;

    while (p + n < ps->end && is_digit(p[n]))
        n++;
    return n;
}

/* [+-]digits[.digits][e[+-]digits]: its length, 0 when it is not that. */
static size_t number_length(const struct parser *ps, bool *whole)
{
    const char *p = ps->p;
    size_t n;

    p += next_is(ps, '-') || next_is(ps, '+');
    n = digits(ps, p);
    p += n;
    *whole = true;
    if (n && p < ps->end && *p == '.') {
        *whole = false;
        n = digits(ps, ++p);
        p += n;
    }
    if (n && p < ps->end && (*p | 0x20) == 'e') {
        *whole = false;
        p++;
        p += p < ps->end && (*p == '-' || *p == '+');
        n = digits(ps, p);
        p += n;
    }
    return n ? (size_t)(p - ps->p) : 0;
}

/* The digits, so that they can be written as standard JSON: no plus, no zeros
 * in front. A minus stays. */
static char *standard_digits(struct parser *ps, const char *p, size_t n, size_t *out_n)
{
    char *z, *w;

    z = w = arena_get(ps->arena, n + 1);
    if (!z)
        return fail(ps, -ENOMEM);
    if (*p == '-')
        *w++ = '-';
    if (*p == '-' || *p == '+')
        p++, n--;
    while (n > 1 && p[0] == '0' && is_digit(p[1]))
        p++, n--;
    memcpy(w, p, n);
    *out_n = (size_t)(w - z) + n;
    return z;
}

static bool parse_number(struct parser *ps, struct json *v)
{
    bool whole;
    size_t n = number_length(ps, &whole);

    if (!n)
        return fail(ps, -EBADMSG);
    v->s.p = standard_digits(ps, ps->p, n, &v->s.n);
    if (!v->s.p)
        return false;
    ps->p += n;
    if (ps->p < ps->end && *ps->p && strchr("LSBFD", *ps->p))   /* Java's type letters */
        ps->p++;
    v->type = whole && str_i64(v->s, &v->i) == 0 ? JSON_INT : JSON_DOUBLE;
    if (v->type == JSON_DOUBLE) {
        v->d = strtod(v->s.p, NULL);
        if (!isfinite(v->d))
            return fail(ps, -EBADMSG);
    }
    return true;
}

static bool is_word(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '$' ||
           c == '-' || c == '.' || (c & 0x80);
}

static struct str scan_word(struct parser *ps)
{
    char *start = ps->p;

    while (ps->p < ps->end && is_word(*ps->p))
        ps->p++;
    return str_n(start, (size_t)(ps->p - start));
}

static bool parse_array(struct parser *ps, struct json *v);

/* true, false, null; Set[...] and TreeSet[...] of Fastjson 1. */
static bool parse_word(struct parser *ps, struct json *v)
{
    struct str word = scan_word(ps);

    if (str_is(word, "true") || str_is(word, "false")) {
        v->type = JSON_BOOL;
        v->b = word.n == 4;
        return true;
    }
    if (str_is(word, "null")) {
        v->type = JSON_NULL;
        return true;
    }
    if ((str_is(word, "Set") || str_is(word, "TreeSet")) && next_is(ps, '['))
        return parse_array(ps, v);
    return fail(ps, -EBADMSG);
}

/* An opening bracket; false when it is one too many. */
static bool enter(struct parser *ps)
{
    if (ps->depth == JSON_DEPTH_MAX)
        return fail(ps, -EBADMSG);
    ps->depth++;
    ps->p++;
    return skip_blanks(ps);
}

/* After an element: over a comma, or up to the closing bracket. */
static bool separator(struct parser *ps, char shut)
{
    if (!skip_blanks(ps))
        return false;
    if (next_is(ps, ',')) {
        ps->p++;
        return skip_blanks(ps);
    }
    return next_is(ps, shut) || fail(ps, -EBADMSG);
}

static bool leave(struct parser *ps, char shut)
{
    if (!next_is(ps, shut))
        return fail(ps, -EBADMSG);
    ps->depth--;
    ps->p++;
    return true;
}

static bool parse_array(struct parser *ps, struct json *v)
{
    struct json **link = &v->child;

    v->type = JSON_ARRAY;
    if (!enter(ps))
        return false;
    while (ps->p < ps->end && *ps->p != ']') {
        *link = new_node(ps);
        if (!*link || !parse_value(ps, *link) || !separator(ps, ']'))
            return false;
        link = &(*link)->next;
    }
    return leave(ps, ']');
}

/* A name without quotes: whole numbers are integers, the rest is text. */
static bool parse_bare_key(struct parser *ps, struct json *k)
{
    struct str word = scan_word(ps);

    if (!word.n)
        return fail(ps, -EBADMSG);
    k->s.n = word.n;
    k->s.p = arena_dup(ps->arena, word.p, word.n);
    if (!k->s.p)
        return fail(ps, -ENOMEM);
    k->type = str_i64(word, &k->i) == 0 ? JSON_INT : JSON_TEXT;
    return true;
}

static bool parse_object(struct parser *ps, struct json *v);

static bool parse_key(struct parser *ps, struct json *k)
{
    bool good;

    if (next_is(ps, '"') || next_is(ps, '\''))
        good = parse_text(ps, k);
    else if (next_is(ps, '{'))
        good = parse_object(ps, k);
    else
        good = parse_bare_key(ps, k);
    if (!good || !skip_blanks(ps))
        return false;
    if (!next_is(ps, ':'))
        return fail(ps, -EBADMSG);
    ps->p++;
    return skip_blanks(ps);
}

static bool parse_object(struct parser *ps, struct json *v)
{
    struct json **link = &v->child;

    v->type = JSON_OBJECT;
    if (!enter(ps))
        return false;
    while (ps->p < ps->end && *ps->p != '}') {
        struct json *key = new_node(ps);
        if (!key || !parse_key(ps, key))
            return false;
        *link = new_node(ps);
        if (!*link || !parse_value(ps, *link) || !separator(ps, '}'))
            return false;
        (*link)->key = key;
        link = &(*link)->next;
    }
    return leave(ps, '}');
}

/* Recursion ends at JSON_DEPTH_MAX brackets. */
static bool parse_value(struct parser *ps, struct json *v)
{
    if (ps->p == ps->end)
        return fail(ps, -EBADMSG);
    switch (*ps->p) {
    case '{':
        return parse_object(ps, v);
    case '[':
        return parse_array(ps, v);
    case '"':
    case '\'':
        return parse_text(ps, v);
    case '+':
    case '-':
        return parse_number(ps, v);
    default:
        return is_digit(*ps->p) ? parse_number(ps, v) : parse_word(ps, v);
    }
}

int json_parse(struct arena *a, struct str text, struct json **out)
{
    struct parser ps = {.arena = a};
    struct json *v;

    ps.p = arena_dup(a, text.p, text.n);
    if (!ps.p)
        return -ENOMEM;
    ps.end = ps.p + text.n;
    v = new_node(&ps);
    if (!v || !skip_blanks(&ps) || !parse_value(&ps, v) || !skip_blanks(&ps))
        return ps.err;
    if (ps.p != ps.end)
        return -EBADMSG;
    *out = v;
    return 0;
}

/* ---- loose values ---- */

const struct json *json_member(const struct json *obj, const char *name)
{
    struct str want = str_of(name);
    const struct json *found = NULL;

    if (!obj || obj->type != JSON_OBJECT)
        return NULL;
    json_each(m, obj) {
        if (m->key->type != JSON_OBJECT && str_eq(m->key->s, want))
            found = m;
    }
    return found;
}

static int64_t double_to_int(double d)
{
    if (d >= 0x1p63)
        return INT64_MAX;
    return d < -0x1p63 ? INT64_MIN : (int64_t)d;
}

/* Number or not; NUL bytes within make it none. */
static bool text_to_double(struct str s, double *out)
{
    char *end;

    s = str_trim(s);
    if (!s.n || (!is_digit(s.p[0]) && s.p[0] != '-' && s.p[0] != '+') || memchr(s.p, 'x', s.n) ||
        memchr(s.p, 'X', s.n))
        return false;
    *out = strtod(s.p, &end);       /* texts of a tree end with a NUL */
    return end == s.p + s.n && isfinite(*out);
}

int64_t json_as_int(const struct json *v, int64_t def)
{
    int64_t i;
    double d;

    if (!v)
        return def;
    if (v->type == JSON_INT)
        return v->i;
    if (v->type == JSON_BOOL)
        return v->b;
    if (v->type == JSON_DOUBLE)
        return double_to_int(v->d);
    if (v->type != JSON_TEXT)
        return def;
    if (str_i64(v->s, &i) == 0)
        return i;
    return text_to_double(v->s, &d) ? double_to_int(d) : def;
}

static bool json_as_bool(const struct json *v, bool def)
{
    bool b;
    int64_t i;

    if (!v)
        return def;
    if (v->type == JSON_BOOL)
        return v->b;
    if (v->type == JSON_INT)
        return v->i != 0;
    if (v->type != JSON_TEXT)
        return def;
    if (str_bool(v->s, &b) == 0)
        return b;
    return str_i64(v->s, &i) == 0 ? i != 0 : def;
}

struct str json_as_str(const struct json *v)
{
    if (!v || v->type == JSON_NULL || v->type == JSON_ARRAY || v->type == JSON_OBJECT)
        return (struct str){0};
    return v->type == JSON_BOOL ? str_of(v->b ? "true" : "false") : v->s;
}

int64_t json_int(const struct json *obj, const char *name, int64_t def)
{
    return json_as_int(json_member(obj, name), def);
}

bool json_bool(const struct json *obj, const char *name, bool def)
{
    return json_as_bool(json_member(obj, name), def);
}

struct str json_str(const struct json *obj, const char *name)
{
    return json_as_str(json_member(obj, name));
}
