/* The JSON header: one flat object, read in one pass without a tree, because
 * every request of a Java client starts with it. Written as Apache writes it:
 * members sorted by name, none that are null. */
#include "common/remoting/header.h"

#include <errno.h>

#include "common/json.h"
#include "common/json_text.h"

/* ---- reading: each step returns where the next begins, NULL when broken ---- */

struct token {
    struct str text;
    enum { TOKEN_TEXT, TOKEN_NUMBER, TOKEN_BOOL, TOKEN_NULL, TOKEN_NESTED } type;
    bool is_small;                      /* a number of few digits, whose value is known already */
    int32_t small;
};

/* The usual header has no blanks. */
static inline char *skip_blanks(char *p, char *end)
{
    return p < end && (unsigned char)*p > ' ' && *p != '/' ? p : json_skip_blanks(p, end);
}

static const bool is_bare[256] = {
    ['0' ... '9'] = true, ['a' ... 'z'] = true, ['A' ... 'Z'] = true,
    ['-'] = true, ['+'] = true, ['.'] = true, ['_'] = true, ['$'] = true,
};

static char *scan_bare(char *p, const char *end, struct str *out)
{
    char *start = p;

    while (p < end && is_bare[(unsigned char)*p])
        p++;
    *out = str_n(start, (size_t)(p - start));
    return out->n ? p : NULL;
}

static size_t digits(struct str s, size_t from)
{
    size_t i = from;

    while (i < s.n && s.p[i] >= '0' && s.p[i] <= '9')
        i++;
    return i - from;
}

static bool is_number(struct str s)
{
    size_t i = s.n && s.p[0] == '-', n = digits(s, i);

    if (!n)
        return false;
    i += n;
    if (i < s.n && s.p[i] == '.') {
        n = digits(s, ++i);
        i += n;
    }
    if (n && i < s.n && (s.p[i] | 0x20) == 'e') {
        i++;
        i += i < s.n && (s.p[i] == '+' || s.p[i] == '-');
        n = digits(s, i);
        i += n;
    }
    return n && i == s.n;
}

static bool classify(struct token *t)
{
    if (is_number(t->text))
        t->type = TOKEN_NUMBER;
    else if (str_is(t->text, "true") || str_is(t->text, "false"))
        t->type = TOKEN_BOOL;
    else if (str_is(t->text, "null"))
        t->type = TOKEN_NULL;
    else
        return false;
    return true;
}

/* Past an array or object of any shape: brackets must pair, texts must end. A
 * bit for each open bracket remembers its kind. */
static char *skip_nested(char *p, char *end, struct str *out)
{
    char *start = p;
    uint64_t objects = 0;
    int depth = 0;
    _Static_assert(JSON_DEPTH_MAX <= 64, "a bit for each level");

    do {
        p = json_skip_blanks(p, end);
        if (!p || p == end)
            return NULL;
        if (*p == '{' || *p == '[') {
            if (depth++ == JSON_DEPTH_MAX)
                return NULL;
            objects = objects << 1 | (*p == '{');
        } else if (*p == '}' || *p == ']') {
            if ((objects & 1) != (*p == '}'))
                return NULL;
            objects >>= 1;
            depth--;
        } else if (*p == '"' || *p == '\'') {
            char quote = *p;
            for (p++; p < end && *p != quote; p++)
                p += *p == '\\' && end - p > 1;
            if (p == end)
                return NULL;
        }
        p++;
    } while (depth);
    *out = str_n(start, (size_t)(p - start));
    return p;
}

static char *scan_other(char *p, char *end, struct token *t)
{
    if (p == end)
        return NULL;
    if (*p == '{' || *p == '[') {
        t->type = TOKEN_NESTED;
        return skip_nested(p, end, &t->text);
    }
    p = scan_bare(p, end, &t->text);
    return p && classify(t) ? p : NULL;
}

#define SMALL_DIGITS 9      /* so many are an int32 */

/* Digits and nothing else, which is how codes, opaques and flags come; NULL when it is not that. */
static inline char *scan_small(char *p, char *end, struct token *t)
{
    char *start = p, *most = end - p > SMALL_DIGITS ? p + SMALL_DIGITS : end;
    int32_t v = 0;

    for (; p < most && *p >= '0' && *p <= '9'; p++)
        v = v * 10 + (*p - '0');
    if (p == start || p == end || (*p != ',' && *p != '}'))
        return NULL;
    *t = (struct token){str_n(start, (size_t)(p - start)), TOKEN_NUMBER, true, v};
    return p;
}

/* Nearly all values are texts, most others whole numbers. */
static inline char *scan_value(char *p, char *end, struct token *t)
{
    char *next = scan_small(p, end, t);

    if (next)
        return next;
    t->is_small = false;
    if (p == end || (*p != '"' && *p != '\''))
        return scan_other(p, end, t);
    t->type = TOKEN_TEXT;
    return json_unquote_plain(p, end, &t->text);
}

/* "x":" with any x that ends no text: so begin all fields of a send, whose names have one letter. */
static inline bool is_one_letter(const char *p, const char *end)
{
    static const char mask[8] = {-1, 0, -1, -1, -1, 0, 0, 0}, form[8] = {'"', 0, '"', ':', '"', 0, 0, 0};
    uint64_t word, of_mask, of_form;

    if (end - p < 8)
        return false;
    memcpy(&word, p, 8);
    memcpy(&of_mask, mask, 8);
    memcpy(&of_form, form, 8);
    return (word & of_mask) == of_form && p[1] != '"' && p[1] != '\\';
}

/* Name and colon of a member. */
static inline __attribute__((always_inline)) char *scan_name(char *p, char *end, struct str *name)
{
    if (is_one_letter(p, end)) {
        *name = str_n(p + 1, 1);
        return p + 4;
    }
    if (p == end)
        return NULL;
    p = *p == '"' || *p == '\'' ? json_unquote_plain(p, end, name) : scan_bare(p, end, name);
    if (!p)
        return NULL;
    if (end - p >= 2 && p[0] == ':' && p[1] == '"')     /* the usual one */
        return p + 1;
    p = skip_blanks(p, end);
    if (!p || p == end || *p != ':')
        return NULL;
    return skip_blanks(p + 1, end);
}

/* Calls member for each member of the object at p; the result is past its brace. Always inlined, so that
 * member is too: a header has some twenty of them. */
static inline __attribute__((always_inline)) char *
scan_object(char *p, char *end, struct command *cmd,
            char *(*member)(char *p, char *end, struct str name, struct command *cmd))
{
    struct str name;

    if (p == end || *p != '{')
        return NULL;
    p = skip_blanks(p + 1, end);
    while (p && p < end && *p != '}') {
        for (;; p++) {
            p = scan_name(p, end, &name);
            if (!p || !(p = member(p, end, name, cmd)))
                return NULL;
            if (end - p < 2 || p[0] != ',' || p[1] != '"')      /* not the usual one */
                break;
        }
        p = skip_blanks(p, end);
        if (!p || p == end || (*p != ',' && *p != '}'))
            return NULL;
        if (*p == ',')
            p = skip_blanks(p + 1, end);
    }
    return p && p < end ? p + 1 : NULL;
}

static char *ext_member(char *p, char *end, struct str name, struct command *cmd)
{
    struct token t;

    /* The usual one goes to its place at once: a copy of what was just written would have to wait for it. */
    if (p < end && *p == '"' && cmd->n_ext < COMMAND_EXT_MAX) {
        struct ext *e = &cmd->ext[cmd->n_ext++];
        e->k = name;
        return json_unquote_plain(p, end, &e->v);
    }
    p = scan_value(p, end, &t);
    if (!p || t.type == TOKEN_NULL)
        return p;
    if (cmd->n_ext == COMMAND_EXT_MAX)
        return NULL;
    cmd->ext[cmd->n_ext++] = (struct ext){name, t.text};
    return p;
}

/* An int32 as Fastjson converts to one: its text too, null is 0, a fraction is cut off. */
static int token_int(const struct token *t, int32_t *out)
{
    const char *dot;
    struct str s = t->text;

    *out = t->is_small ? t->small : 0;
    if (t->is_small || t->type == TOKEN_NULL)
        return 0;
    if (t->type != TOKEN_TEXT && t->type != TOKEN_NUMBER)
        return -EBADMSG;
    dot = s.n ? memchr(s.p, '.', s.n) : NULL;
    if (dot && is_number(s))
        s.n = (size_t)(dot - s.p);
    return str_i32(s, out) ? -EBADMSG : 0;
}

static int take_code(const struct token *t, struct command *cmd) { return token_int(t, &cmd->code); }
static int take_flag(const struct token *t, struct command *cmd) { return token_int(t, &cmd->flag); }
static int take_opaque(const struct token *t, struct command *cmd) { return token_int(t, &cmd->opaque); }

static int take_version(const struct token *t, struct command *cmd)
{
    int32_t v;

    if (token_int(t, &v))
        return -EBADMSG;
    cmd->version = (int16_t)(v > INT16_MAX ? INT16_MAX : v < INT16_MIN ? INT16_MIN : v);
    return 0;
}

static int take_language(const struct token *t, struct command *cmd)
{
    int32_t v;

    if (t->type == TOKEN_TEXT)
        cmd->language = (uint8_t)language_of(t->text);
    else if (t->type == TOKEN_NUMBER && !token_int(t, &v) && v >= 0 && v <= LANG_NODE_JS)
        cmd->language = (uint8_t)v;
    return 0;
}

static int take_remark(const struct token *t, struct command *cmd)
{
    cmd->remark = t->type == TOKEN_NULL ? (struct str){0} : t->text;
    return 0;
}

static const struct member {
    struct str name;
    int (*take)(const struct token *t, struct command *cmd);
} members[] = {
    {{"code", 4}, take_code},       {{"flag", 4}, take_flag},       {{"language", 8}, take_language},
    {{"opaque", 6}, take_opaque},   {{"version", 7}, take_version}, {{"remark", 6}, take_remark},
};

static char *header_member(char *p, char *end, struct str name, struct command *cmd)
{
    struct token t;

    if (p && p < end && *p == '{' && str_is(name, "extFields")) {
        cmd->n_ext = 0;
        return scan_object(p, end, cmd, ext_member);
    }
    p = scan_value(p, end, &t);
    for (size_t i = 0; p && i < sizeof(members) / sizeof(members[0]); i++) {
        if (name.n == members[i].name.n && name.p[0] == members[i].name.p[0] && str_eq(name, members[i].name))
            return members[i].take(&t, cmd) ? NULL : p;
    }
    return p;
}

int header_json_decode(char *p, size_t n, struct command *cmd)
{
    char *end = p + n;

    cmd->language = LANG_OTHER;
    p = json_skip_blanks(p, end);
    p = p ? scan_object(p, end, cmd, header_member) : NULL;
    p = p ? json_skip_blanks(p, end) : NULL;
    return p == end ? 0 : -EBADMSG;
}

/* ---- writing ---- */

/* The most a header without its texts takes: names, numbers, punctuation. */
#define FIXED_MAX 256
#define EXT_FIXED 6                             /* "":"", */

#define LIT(w, literal) ((char *)memcpy(w, literal, sizeof(literal) - 1) + sizeof(literal) - 1)

static char *put_quoted(char *w, struct str s)
{
    *w++ = '"';
    w = json_escape_to(w, s);
    *w++ = '"';
    return w;
}

static char *put_ext(char *w, const struct command *cmd)
{
    bool comma = false;

    w = LIT(w, ",\"extFields\":{");
    for (unsigned i = 0; i < cmd->n_ext; i++) {
        if (!cmd->ext[i].v.p)
            continue;
        if (comma)
            *w++ = ',';
        comma = true;
        *w++ = '"';
        memcpy(w, cmd->ext[i].k.p, cmd->ext[i].k.n);
        w = LIT(w + cmd->ext[i].k.n, "\":");
        w = put_quoted(w, cmd->ext[i].v);
    }
    *w++ = '}';
    return w;
}

/* Texts are bounded: command_encode has looked at their sum. */
void header_json_encode(struct buf *out, const struct command *cmd)
{
    size_t need = FIXED_MAX + JSON_ESCAPED_MAX(cmd->remark.n);
    char *start, *w;

    for (unsigned i = 0; i < cmd->n_ext; i++)
        need += EXT_FIXED + JSON_ESCAPED_MAX(cmd->ext[i].k.n + cmd->ext[i].v.n);
    start = w = buf_room(out, need);
    if (!w)
        return;
    w = LIT(w, "{\"code\":");
    w += fmt_i64(w, cmd->code);
    if (cmd->n_ext)
        w = put_ext(w, cmd);
    w = LIT(w, ",\"flag\":");
    w += fmt_i64(w, cmd->flag);
    w = LIT(w, ",\"language\":");
    w = put_quoted(w, str_of(language_name(cmd->language)));
    w = LIT(w, ",\"opaque\":");
    w += fmt_i64(w, cmd->opaque);
    if (cmd->remark.p) {
        w = LIT(w, ",\"remark\":");
        w = put_quoted(w, cmd->remark);
    }
    w = LIT(w, ",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
    w += fmt_i64(w, cmd->version);
    *w++ = '}';
    out->n += (size_t)(w - start);
}
