/* JSON in the dialect that RocketMQ speaks: Fastjson's. Map keys may be bare
 * integers ({0:"a"}) or whole objects ({{"topic":"t"}:5}); readers must also
 * take what Fastjson 1 took (single quotes, bare names as keys, trailing commas,
 * comments), because old clients and old files write it. See docs/protocol.md.
 *
 * Reading builds a tree in an arena. Depth, nodes and bytes are bounded; broken
 * text gives -EBADMSG and never more. Writing goes straight to a buf. */
#ifndef COMMON_JSON_H
#define COMMON_JSON_H

#include "common/arena.h"
#include "common/buf.h"

#define JSON_DEPTH_MAX 64

enum json_type { JSON_NULL, JSON_BOOL, JSON_INT, JSON_DOUBLE, JSON_TEXT, JSON_ARRAY, JSON_OBJECT };

struct json {
    enum json_type type;
    union {
        bool b;
        int64_t i;
        double d;
        struct json *child;      /* first element or member */
    };
    struct str s;                /* TEXT: unescaped UTF-8; INT, DOUBLE: its digits. Also NUL-terminated */
    struct json *next;           /* next sibling */
    struct json *key;            /* of a member: TEXT (quoted, bare names), INT (integer keys), OBJECT */
};

/* Parses one value with nothing but blanks and comments after it. 0; -EBADMSG
 * (an empty text, too); or -ENOMEM, also past the arena's limit. The tree and its
 * texts live in a; text need not outlive the call. Whole numbers that no int64
 * holds are DOUBLE; NaN and numbers that no double holds are broken text. Invalid
 * UTF-8 and NUL bytes within quotes are kept; a lone \ud83d becomes U+FFFD. */
int json_parse(struct arena *a, struct str text, struct json **out);

/* Members and their loose values, as Fastjson converts: text "6", 6.0 and true
 * for numbers, 1/"true" for booleans, numbers and booleans for text. A missing or
 * null member (or obj NULL, or not an object) gives the default, and so does a
 * value that cannot be converted. Fractions are cut off, numbers past int64 are
 * its nearest. Of two members with one name the last counts; an integer key has
 * its digits as its name. */
const struct json *json_member(const struct json *obj, const char *name);
int64_t json_int(const struct json *obj, const char *name, int64_t def);
bool json_bool(const struct json *obj, const char *name, bool def);
struct str json_str(const struct json *obj, const char *name);     /* p NULL: absent, null, nested */

/* One value on its own, same conversions. */
int64_t json_as_int(const struct json *v, int64_t def);
struct str json_as_str(const struct json *v);

/* Elements of an array, members of an object; none of anything else. */
static inline const struct json *json_first(const struct json *v)
{
    return v && (v->type == JSON_ARRAY || v->type == JSON_OBJECT) ? v->child : NULL;
}
#define json_each(it, parent) \
    for (const struct json *it = json_first(parent); it; it = it->next)

/* The writer: commas, escapes and nesting are its business. Member order is the
 * caller's (Fastjson sorts by name: write them so). Non-ASCII goes out raw,
 * control characters escaped, each byte of invalid UTF-8 as U+FFFD. Nesting past
 * JSON_DEPTH_MAX, or an end without its beginning, fails the buf. */
struct json_writer {
    struct buf *out;
    unsigned depth;
    bool pretty;                 /* tabs and newlines, as Apache's config files have */
    bool quote_int_keys;         /* standard JSON: {"0":..}; for routes asked by clients >= 4.9.4 */
    bool comma[JSON_DEPTH_MAX + 1]; /* by depth: something was written there already */
    bool after_key;              /* the next value belongs to the key just written */
};

void jw_init(struct json_writer *w, struct buf *out, bool pretty);
void jw_object(struct json_writer *w);
void jw_object_end(struct json_writer *w);
void jw_array(struct json_writer *w);
void jw_array_end(struct json_writer *w);
void jw_key(struct json_writer *w, const char *name);
void jw_key_str(struct json_writer *w, struct str name);
void jw_key_int(struct json_writer *w, int64_t key);
/* An object as a key: jw_key_object(w); jw_object(w); ...; jw_object_end(w); jw_key_object_end(w); value */
void jw_key_object(struct json_writer *w);
void jw_key_object_end(struct json_writer *w);
void jw_str(struct json_writer *w, struct str s);
void jw_text(struct json_writer *w, const char *z);
void jw_int(struct json_writer *w, int64_t v);
void jw_bool(struct json_writer *w, bool v);
void jw_double(struct json_writer *w, double v);      /* as Double.toString: 0.0, 12.5, 1.0E7; NaN and infinite: null */
void jw_null(struct json_writer *w);
/* Writes a parsed value again, as it was (unknown members kept across a rewrite). */
void jw_value(struct json_writer *w, const struct json *v);

/* key and value, or key and the value's beginning, in one line. */
static inline void jw_kobject(struct json_writer *w, const char *k) { jw_key(w, k); jw_object(w); }
static inline void jw_karray(struct json_writer *w, const char *k) { jw_key(w, k); jw_array(w); }
static inline void jw_kstr(struct json_writer *w, const char *k, struct str v) { jw_key(w, k); jw_str(w, v); }
static inline void jw_ktext(struct json_writer *w, const char *k, const char *v) { jw_key(w, k); jw_text(w, v); }
static inline void jw_kint(struct json_writer *w, const char *k, int64_t v) { jw_key(w, k); jw_int(w, v); }
static inline void jw_kbool(struct json_writer *w, const char *k, bool v) { jw_key(w, k); jw_bool(w, v); }

#endif
