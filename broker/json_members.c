#include "broker/json_members.h"

#include <errno.h>
#include <stdlib.h>

#define OTHER_ARENA_MAX ((size_t)64 << 20)

#define AT(type, r, obj) ((type *)(void *)((char *)(obj) + (r)->at))
#define AT_CONST(type, r, obj) ((type const *)(const void *)((const char *)(obj) + (r)->at))

static void write_row(struct json_writer *w, const struct member *r, const void *obj,
                      const struct json *other)
{
    switch (r->type) {
    case MEMBER_BOOL:
        jw_kbool(w, r->name, *AT_CONST(bool, r, obj));
        break;
    case MEMBER_I32:
        jw_kint(w, r->name, *AT_CONST(int32_t, r, obj));
        break;
    case MEMBER_I64:
        jw_kint(w, r->name, *AT_CONST(int64_t, r, obj));
        break;
    case MEMBER_TEXT:
        jw_ktext(w, r->name, (const char *)obj + r->at);
        break;
    case MEMBER_OWN:
        r->write(w, obj, other);
        break;
    }
}

static const struct member *row_of(const struct member *rows, size_t n, struct str name)
{
    for (size_t i = 0; i < n; i++)
        if (str_is(name, rows[i].name))
            return &rows[i];
    return NULL;
}

static int compare(struct str a, const char *z)
{
    size_t n = strlen(z);
    int c = memcmp(a.p, z, a.n < n ? a.n : n);
    return c ? c : (a.n > n) - (a.n < n);
}

/* Writes the kept members that come before `before` (NULL: all that are left). */
static const struct json *write_others(struct json_writer *w, const struct member *rows, size_t n,
                                       const struct json *it, const char *before)
{
    for (; it; it = it->next) {
        struct str name = json_as_str(it->key);

        if (before && compare(name, before) >= 0)
            break;
        if (row_of(rows, n, name))
            continue;       /* its own row writes it */
        jw_key_str(w, name);
        jw_value(w, it);
    }
    return it;
}

void members_write(struct json_writer *w, const struct member *rows, size_t n, const void *obj,
                   const char *other_json)
{
    struct arena a;
    struct json *other = NULL;
    const struct json *it;

    arena_init(&a, OTHER_ARENA_MAX);
    if (other_json && json_parse(&a, str_of(other_json), &other))
        other = NULL;       /* it was written by members_other: only memory can fail */
    if (other_json && !other)
        w->out->failed = true;
    it = other ? other->child : NULL;
    jw_object(w);
    for (size_t i = 0; i < n; i++) {
        it = write_others(w, rows, n, it, rows[i].name);
        write_row(w, &rows[i], obj, other);
    }
    write_others(w, rows, n, it, NULL);
    jw_object_end(w);
    arena_free(&a);
}

static int64_t within(int64_t v, const struct member *r)
{
    return v < r->min ? r->min : v > r->max ? r->max : v;
}

void members_read(const struct member *rows, size_t n, void *obj, const struct json *j)
{
    for (const struct member *r = rows; r < rows + n; r++) {
        if (r->type == MEMBER_BOOL)
            *AT(bool, r, obj) = json_bool(j, r->name, *AT(bool, r, obj));
        else if (r->type == MEMBER_I32)
            *AT(int32_t, r, obj) = (int32_t)within(json_int(j, r->name, *AT(int32_t, r, obj)), r);
        else if (r->type == MEMBER_I64)
            *AT(int64_t, r, obj) = within(json_int(j, r->name, *AT(int64_t, r, obj)), r);
    }
}

int members_other(const struct member *rows, size_t n, const struct json *j, char **out)
{
    struct buf text = {0};
    struct json_writer w;
    bool any = false;

    *out = NULL;
    jw_init(&w, &text, false);
    jw_object(&w);
    json_each(it, j) {
        struct str name = json_as_str(it->key);
        const struct member *row = row_of(rows, n, name);

        if (!name.p || (row && !row->keep))
            continue;
        jw_key_str(&w, name);
        jw_value(&w, it);
        any = true;
    }
    jw_object_end(&w);
    if (any)
        *out = buf_take(&text);
    buf_free(&text);
    return any && !*out ? -ENOMEM : 0;
}
