#include "common/fault.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/codes.h"

int fault_set(struct fault *f, int rc, int err, const char *fmt, ...)
{
    va_list ap;

    if (f) {
        f->rc = rc;
        f->err = err;
        va_start(ap, fmt);
        vsnprintf(f->text, sizeof(f->text), fmt, ap);
        va_end(ap);
    }
    return -err;
}

int fault_errno(struct fault *f, int err, const char *fmt, ...)
{
    va_list ap;
    int n;

    if (f) {
        f->rc = RC_SYSTEM_ERROR;
        f->err = err;
        va_start(ap, fmt);
        n = vsnprintf(f->text, sizeof(f->text), fmt, ap);
        va_end(ap);
        if (n >= 0 && (size_t)n < sizeof(f->text))
            snprintf(f->text + n, sizeof(f->text) - (size_t)n, ": %s", strerror(err));
    }
    return -err;
}
