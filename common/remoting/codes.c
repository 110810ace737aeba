#include "common/remoting/codes.h"

#include <stdio.h>

static const char *const language_names[] = {
#define X(c, n) [c] = #n,
    LANGUAGES(X)
#undef X
};

const char *language_name(int language)
{
    if (language < 0 || language >= (int)(sizeof(language_names) / sizeof(language_names[0])))
        language = LANG_OTHER;
    return language_names[language];
}

int language_of(struct str name)
{
    for (int i = 0; i < (int)(sizeof(language_names) / sizeof(language_names[0])); i++) {
        if (str_is(name, language_names[i]))
            return i;
    }
    return LANG_OTHER;
}

/* Apache's enum lists, from ordinal 16 on, each release after its SNAPSHOT, so
 * releases have odd ordinals. A run of the list counts in one of three ways. */
struct run {
    int first;               /* ordinal of its first release */
    int major, minor, patch; /* which that is */
    int per_minor;           /* releases a minor version has; 9 when there is no x.y.0 */
};

static const struct run runs[] = {
    {17, 3, 0, 1, 15},
    {47, 3, 1, 0, 10},
    {87, 3, 3, 1, 9},
    {213, 4, 0, 0, 10},
};

#define FIRST_DERIVED 16
#define HIGHER_VERSION 612   /* Apache's name for all that is newer than it knows */

const char *version_name(int ordinal, char out[24])
{
    size_t i = sizeof(runs) / sizeof(runs[0]);
    int nth, minor;

    if (ordinal >= HIGHER_VERSION) {
        snprintf(out, 24, "HIGHER_VERSION");
        return out;
    }
    if (ordinal < FIRST_DERIVED) {
        snprintf(out, 24, "V?%d", ordinal);
        return out;
    }
    do
        i--;
    while ((ordinal | 1) < runs[i].first);
    nth = ((ordinal | 1) - runs[i].first) / 2;
    minor = runs[i].minor + nth / runs[i].per_minor;
    snprintf(out, 24, "V%d_%d_%d%s", runs[i].major + minor / 10, minor % 10,
             runs[i].patch + nth % runs[i].per_minor, ordinal % 2 ? "" : "_SNAPSHOT");
    return out;
}
