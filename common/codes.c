#include "common/codes.h"

#include <stddef.h>

const char *response_code_name(int code)
{
    static const struct { int code; const char *name; } rows[] = {
#define X(c, n) {c, #n},
        RESPONSE_CODES(X)
#undef X
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (rows[i].code == code)
            return rows[i].name;
    }
    return "UNKNOWN";
}
