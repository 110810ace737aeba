#include "namesrv/members.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "common/json.h"
#include "common/json_text.h"

static const char *skip_blanks(const char *p, const char *end)
{
    while (p < end && json_is_blank(*p))
        p++;
    return p;
}

/* Past the text that starts with the quote at p; NULL when it does not end. */
static const char *skip_text(const char *p, const char *end)
{
    char quote = *p++;

    for (; p < end; p++) {
        if (*p == quote)
            return p + 1;
        if (*p == '\\' && ++p == end)
            return NULL;
    }
    return NULL;
}

/* Past a number, true, false or null. */
static const char *skip_word(const char *p, const char *end)
{
    const char *start = p;

    while (p < end && ((*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
                       *p == '-' || *p == '+' || *p == '.'))
        p++;
    return p > start ? p : NULL;
}

/* Past the object or array at p. Brackets are counted, and each must be closed by its own kind: the kinds of the open
 * ones are kept as bits, so the depth is bounded. */
static const char *skip_nest(const char *p, const char *end)
{
    uint64_t square = 0;
    int depth = 0;

    while (p < end) {
        char c = *p;
        if (c == '"' || c == '\'') {
            p = skip_text(p, end);
            if (!p)
                return NULL;
            continue;
        }
        p++;
        if (c == '{' || c == '[') {
            if (depth++ == JSON_DEPTH_MAX)
                return NULL;
            square = square << 1 | (c == '[');
        } else if (c == '}' || c == ']') {
            if ((square & 1) != (c == ']'))
                return NULL;
            square >>= 1;
            if (--depth == 0)
                return p;
        }
    }
    return NULL;
}

static const char *skip_value(const char *p, const char *end)
{
    if (p == end)
        return NULL;
    if (*p == '"' || *p == '\'')
        return skip_text(p, end);
    if (*p == '{' || *p == '[')
        return skip_nest(p, end);
    return skip_word(p, end);
}

struct members {
    const char *p, *end;
    char close;              /* '}' or ']' */
    bool first;
};

/* text must be one object or array. 0 or -EBADMSG. */
static int members_open(struct members *m, struct str text, char open)
{
    if (!text.n)
        return -EBADMSG;
    m->end = text.p + text.n;
    m->p = skip_blanks(text.p, m->end);
    m->close = open == '{' ? '}' : ']';
    m->first = true;
    if (m->p == m->end || *m->p != open)
        return -EBADMSG;
    m->p++;
    return 0;
}

/* After a member: its comma or the end follows. */
static int at_separator(struct members *m)
{
    m->p = skip_blanks(m->p, m->end);
    if (m->p == m->end)
        return -EBADMSG;
    if (*m->p == ',') {
        if (m->first)
            return -EBADMSG;
        m->p = skip_blanks(m->p + 1, m->end);
        if (m->p == m->end)
            return -EBADMSG;
    } else if (!m->first && *m->p != m->close) {
        return -EBADMSG;
    }
    m->first = false;
    if (*m->p != m->close)          /* a comma before the end is allowed, as Fastjson allows it */
        return 1;
    return skip_blanks(m->p + 1, m->end) == m->end ? 0 : -EBADMSG;
}

static int take(struct members *m, struct str *token)
{
    const char *past = skip_value(m->p, m->end);

    if (!past)
        return -EBADMSG;
    *token = str_n(m->p, (size_t)(past - m->p));
    m->p = past;
    return 0;
}

/* 1: the next one; 0: the end, with only blanks after it; -EBADMSG. */
static int members_next(struct members *m, struct str *key, struct str *value)
{
    int rc = at_separator(m);

    if (rc <= 0)
        return rc;
    *key = (struct str){0};
    if (m->close == '}') {
        if (take(m, key))
            return -EBADMSG;
        m->p = skip_blanks(m->p, m->end);
        if (m->p == m->end || *m->p != ':')
            return -EBADMSG;
        m->p = skip_blanks(m->p + 1, m->end);
    }
    return take(m, value) ? -EBADMSG : 1;
}

int members_each(struct str text, char open, int (*each)(void *arg, struct str key, struct str value), void *arg)
{
    struct members m;
    struct str key, value;
    int rc = members_open(&m, text, open);

    while (!rc && (rc = members_next(&m, &key, &value)) > 0)
        rc = each(arg, key, value);
    return rc;
}

static bool quoted(struct str t)
{
    return t.n >= 2 && (t.p[0] == '"' || t.p[0] == '\'') && t.p[t.n - 1] == t.p[0];
}

bool token_is(struct str key, const char *name)
{
    return quoted(key) && str_is(str_n(key.p + 1, key.n - 2), name);
}

int token_str(struct arena *a, struct str token, struct str *out)
{
    struct json *v;
    int rc;

    *out = (struct str){0};
    if (token_null(token))
        return 0;
    if (quoted(token) && !memchr(token.p, '\\', token.n)) {
        *out = str_n(token.p + 1, token.n - 2);
        return 0;
    }
    rc = json_parse(a, token, &v);
    if (rc)
        return rc;
    if (v->type != JSON_TEXT && v->type != JSON_INT)
        return -EBADMSG;
    *out = v->type == JSON_TEXT ? v->s : token;      /* a number where a text is due: its digits */
    return 0;
}

/* 6.0 for 6. */
static int from_double(struct str text, int64_t *out)
{
    char z[64], *end;
    double d;

    if (!str_copy(z, sizeof(z), text) || !z[0])
        return -EBADMSG;
    d = strtod(z, &end);
    if (*end || !isfinite(d) || d < -9.2e18 || d > 9.2e18)
        return -EBADMSG;
    *out = (int64_t)d;
    return 0;
}

/* Numbers as Fastjson reads them: 6, "6", 6.0. null leaves *out as it is. 0 or -EBADMSG. */
static int token_i64(struct str token, int64_t *out)
{
    struct str digits = quoted(token) ? str_n(token.p + 1, token.n - 2) : token;

    if (token_null(token))
        return 0;
    return str_i64(digits, out) ? from_double(digits, out) : 0;
}

static int token_i32(struct str token, int32_t *out)
{
    int64_t v = *out;

    if (token_i64(token, &v) || v < INT32_MIN || v > INT32_MAX)
        return -EBADMSG;
    *out = (int32_t)v;
    return 0;
}

static int read_token(struct arena *a, struct str token, enum token_type type, void *to)
{
    switch (type) {
    case TOKEN_STR:
        return token_str(a, token, to);
    case TOKEN_I32:
        return token_i32(token, to);
    case TOKEN_I64:
        return token_i64(token, to);
    case TOKEN_BOOL:
        *(bool *)to = str_is(token, "true");
        return 0;
    case TOKEN_RAW:
        if (!token_null(token))
            *(struct str *)to = token;
        return 0;
    }
    return -EBADMSG;
}

int members_decode(struct arena *a, struct str object, const struct member_row *rows, size_t n, void *to)
{
    struct members m;
    struct str key, value;
    int rc = members_open(&m, object, '{');

    while (!rc && (rc = members_next(&m, &key, &value)) > 0) {
        rc = 0;
        for (size_t i = 0; i < n && !rc; i++)
            if (token_is(key, rows[i].name))
                rc = read_token(a, value, rows[i].type, (char *)to + rows[i].at);
    }
    return rc;
}
