/* The property text of a message: name 0x01 value 0x02, repeated.
 * What counts as an entry is what Apache's MessageDecoder takes as one. */
#include "common/message.h"
#include "common/scan.h"

#define NAME_END 1
#define VALUE_END 2

bool prop_next(struct str properties, size_t *pos, struct str *name, struct str *value)
{
    const char *p = properties.p + *pos, *end = properties.p + properties.n;

    while (p < end) {
        const char *entry = p, *mid = scan_either(p, end, NAME_END, VALUE_END), *stop = mid;

        if (mid < end && *mid == NAME_END)
            stop = scan_either(mid + 1, end, VALUE_END, VALUE_END);
        p = stop < end ? stop + 1 : end;
        if (mid == stop || mid == entry || mid + 1 == stop)
            continue;
        *name = str_n(entry, (size_t)(mid - entry));
        *value = str_n(mid + 1, (size_t)(stop - mid - 1));
        *pos = (size_t)(p - properties.p);
        return true;
    }
    *pos = properties.n;
    return false;
}

struct str prop_get(struct str properties, const char *name)
{
    struct str key, value, found = {0};
    size_t pos = 0;

    /* The last one wins, as in the map that Apache builds. */
    while (prop_next(properties, &pos, &key, &value))
        if (str_is(key, name))
            found = value;
    return found;
}

static void entry_put(struct buf *out, struct str name, struct str value)
{
    /* A text that had no end mark gets it when something is added behind it. */
    if (out->n && out->p[out->n - 1] != VALUE_END)
        buf_putc(out, VALUE_END);
    buf_put_str(out, name);
    buf_putc(out, NAME_END);
    buf_put_str(out, value);
    buf_putc(out, VALUE_END);
}

void prop_put(struct buf *out, const char *name, struct str value)
{
    entry_put(out, str_of(name), value);
}

void prop_put_i64(struct buf *out, const char *name, int64_t value)
{
    char text[21];

    prop_put(out, name, str_n(text, fmt_i64(text, value)));
}

static bool listed(const char *const *names, struct str name)
{
    for (; *names; names++)
        if (str_is(name, *names))
            return true;
    return false;
}

void prop_copy_without(struct buf *out, struct str properties, const char *const *names)
{
    struct str name, value;
    size_t pos = 0;

    while (prop_next(properties, &pos, &name, &value))
        if (!listed(names, name))
            entry_put(out, name, value);
}

int64_t message_tags_code(struct str properties)
{
    struct str tags = prop_get(properties, "TAGS");

    return tags.n ? str_java_hash(tags) : 0;
}

struct str message_next_key(struct str *keys)
{
    const char *blank = memchr(keys->p, ' ', keys->n);
    struct str key = str_n(keys->p, blank ? (size_t)(blank - keys->p) : keys->n);
    size_t used = key.n + (blank != NULL);

    *keys = str_n(keys->p + used, keys->n - used);
    return key;
}

bool message_any_key(const struct message *m, bool (*is)(void *arg, struct str key), void *arg)
{
    struct str keys = prop_get(m->properties, "KEYS");

    if (is(arg, prop_get(m->properties, "UNIQ_KEY")))
        return true;
    while (keys.n)
        if (is(arg, message_next_key(&keys)))
            return true;
    return false;
}

static bool is_same(void *arg, struct str key) { return str_eq(*(const struct str *)arg, key); }

bool message_has_key(const struct message *m, struct str key) { return message_any_key(m, is_same, &key); }
