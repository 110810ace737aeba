/* TAP for C unit tests: each test is a program whose exit status and lines tell
 * prove what passed. Include in one .c file only. */
#ifndef TESTS_UNIT_TAP_H
#define TESTS_UNIT_TAP_H

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int tap_run, tap_failed;

__attribute__((format(printf, 4, 5)))
static inline bool tap_ok(bool good, const char *file, int line, const char *fmt, ...)
{
    va_list ap;
    tap_run++;
    tap_failed += !good;
    printf("%sok %d - ", good ? "" : "not ", tap_run);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
    if (!good)
        fprintf(stderr, "# %d failed at %s:%d\n", tap_run, file, line);
    fflush(stdout);
    return good;
}

/* ok(condition, "what is shown", ...) */
#define ok(cond, ...) tap_ok((cond), __FILE__, __LINE__, __VA_ARGS__)

#define is_int(got, want, ...) do { \
        int64_t got_ = (int64_t)(got), want_ = (int64_t)(want); \
        if (!tap_ok(got_ == want_, __FILE__, __LINE__, __VA_ARGS__)) \
            fprintf(stderr, "#   got %" PRId64 ", want %" PRId64 "\n", got_, want_); \
    } while (0)

#define is_text(got, want, ...) do { \
        const char *got_ = (got), *want_ = (want); \
        if (!tap_ok(got_ && want_ && strcmp(got_, want_) == 0, __FILE__, __LINE__, __VA_ARGS__)) \
            fprintf(stderr, "#   got  %s\n#   want %s\n", got_ ? got_ : "(null)", want_ ? want_ : "(null)"); \
    } while (0)

static inline int tap_done(void)
{
    printf("1..%d\n", tap_run);
    return tap_failed || !tap_run ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
