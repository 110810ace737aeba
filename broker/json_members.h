/* Structs as JSON objects, by rows: one table reads and writes an object's
 * members, and members that no row has are kept as text, so that rewriting a
 * file of a newer Apache loses nothing. Private to broker/. */
#ifndef BROKER_JSON_MEMBERS_H
#define BROKER_JSON_MEMBERS_H

#include <stddef.h>
#include "common/json.h"

enum member_type {
    MEMBER_BOOL,         /* bool */
    MEMBER_I32,          /* int32_t; kept within min..max when read */
    MEMBER_I64,          /* int64_t, the same */
    MEMBER_TEXT,         /* char array, NUL-terminated; written only: names are checked by who reads */
    MEMBER_OWN,          /* write() does it; read by its own code */
};

struct member {
    const char *name;
    enum member_type type;
    size_t at;           /* offsetof in the object */
    int64_t min, max;
    /* MEMBER_OWN: writes key and value, or nothing. other: what is kept of the object, parsed; NULL: nothing. */
    void (*write)(struct json_writer *w, const void *obj, const struct json *other);
    bool keep;           /* MEMBER_OWN: members_other keeps it although it has a row, for its write() */
};

/* Rows are ascending by name, as Fastjson writes. members_write puts those of other_json (NULL: none) in their places. */
void members_write(struct json_writer *w, const struct member *rows, size_t n, const void *obj, const char *other_json);
/* Reads what is there; a member that is absent or null leaves the object's value. */
void members_read(const struct member *rows, size_t n, void *obj, const struct json *j);
/* The members of j that no row has, as the text of an object; NULL in *out when there is none. 0 or -ENOMEM. */
int members_other(const struct member *rows, size_t n, const struct json *j, char **out);

#endif
