#include <assert.h>
#include <errno.h>
#include <strings.h>

#include "common/remoting/command.h"

static bool name_is(const char *name, struct str k)
{
    size_t i = 0;

    while (i < k.n && name[i] == k.p[i] && name[i])
        i++;
    return i == k.n && !name[i];
}

/* The row named k, among those from..to; to when there is none. */
static inline size_t find_among(const struct field *rows, size_t from, size_t to, struct str k)
{
    char first = k.n ? k.p[0] : 0;

    for (; from < to; from++) {
        if (rows[from].name[0] == first && (k.n == 1 ? !rows[from].name[1] : name_is(rows[from].name, k)))
            return from;
    }
    return to;
}

/* The row named k. Senders keep one order, so the search starts at the row after
 * the last one found; n when there is none. */
static size_t find_row(const struct field *rows, size_t n, size_t from, struct str k)
{
    size_t at = find_among(rows, from, n, k);

    if (at == n && (at = find_among(rows, 0, from, k)) == from)
        at = n;
    return at;
}

static int parse_number(struct str s, int64_t least, int64_t most, int64_t *out)
{
    return str_i64_strict(s, out) || *out < least || *out > most ? -EINVAL : 0;
}

static int set_str(void *at, struct str v)
{
    memcpy(at, &v, sizeof(v));
    return 0;
}

static int set_i32(void *at, struct str v)
{
    int64_t i;
    int32_t i32;

    if (parse_number(v, INT32_MIN, INT32_MAX, &i))
        return -EINVAL;
    i32 = (int32_t)i;
    memcpy(at, &i32, sizeof(i32));
    return 0;
}

static int set_i64(void *at, struct str v)
{
    int64_t i;

    if (parse_number(v, INT64_MIN, INT64_MAX, &i))
        return -EINVAL;
    memcpy(at, &i, sizeof(i));
    return 0;
}

static int set_bool(void *at, struct str v)
{
    bool b = v.n == 4 && strncasecmp(v.p, "true", 4) == 0;

    memcpy(at, &b, sizeof(b));
    return 0;
}

static const struct {
    int (*set)(void *at, struct str v);
    size_t size;
    const char *what;
} types[] = {
    [FIELD_STR] = {set_str, sizeof(struct str), "a text"},
    [FIELD_I32] = {set_i32, sizeof(int32_t), "a whole number of 32 bits"},
    [FIELD_I64] = {set_i64, sizeof(int64_t), "a whole number of 64 bits"},
    [FIELD_BOOL] = {set_bool, sizeof(bool), "true or false"},
};

static int set_defaults(const struct field *rows, uint64_t missing, char *hdr, struct fault *f)
{
    for (; missing; missing &= missing - 1) {
        const struct field *r = &rows[__builtin_ctzll(missing)];
        if (r->required)
            return fault_set(f, RC_INVALID_PARAMETER, EINVAL, "the header field %s is missing",
                             r->name);
        if (r->def && types[r->type].set(hdr + r->at, str_of(r->def)))
            assert(!"a row's default is not of its type");
    }
    return 0;
}

/* A wrong row is a defect: its members are looked at where that costs nothing, so under the sanitizers. */
static bool rows_fit(const struct field *rows, size_t n, size_t size)
{
#ifdef __SANITIZE_ADDRESS__
    for (size_t i = 0; i < n; i++)
        if (size < types[rows[i].type].size || rows[i].at > size - types[rows[i].type].size)
            return false;
#endif
    return true;
}

int fields_decode(const struct field *rows, size_t n, const struct command *cmd, void *hdr,
                  size_t size, struct fault *f)
{
    uint64_t missing = n ? UINT64_MAX >> (64 - n) : 0;
    size_t next = 0;

    assert(n <= FIELDS_MAX && rows_fit(rows, n, size));
    memset(hdr, 0, size);
    for (unsigned i = 0; i < cmd->n_ext; i++) {
        struct str v = cmd->ext[i].v;
        size_t at = find_row(rows, n, next, cmd->ext[i].k);
        const struct field *r = &rows[at];

        if (at == n)
            continue;
        next = at + 1;
        missing &= ~((uint64_t)1 << at);
        if (r->type == FIELD_STR)       /* nearly all: without a call */
            memcpy((char *)hdr + r->at, &v, sizeof(v));
        else if (types[r->type].set((char *)hdr + r->at, v))
            return fault_set(f, RC_INVALID_PARAMETER, EINVAL,
                             "the header field %s must be %s, not %.*s", r->name, types[r->type].what, (int)(v.n < 100 ? v.n : 100), v.p);
    }
    return set_defaults(rows, missing, hdr, f);
}
