/* Language codes and versions of the remoting protocol.
 * Source: Apache LanguageCode.java, MQVersion.java (5.5.0).
 * Request codes are rows of the tables of those who handle them (broker/ops.c, namesrv/ops.c). */
#ifndef COMMON_REMOTING_CODES_H
#define COMMON_REMOTING_CODES_H

#include "common/buf.h"
#include "common/codes.h"

#define LANGUAGES(X) \
    X(0, JAVA) X(1, CPP) X(2, DOTNET) X(3, PYTHON) X(4, DELPHI) X(5, ERLANG) X(6, RUBY) X(7, OTHER) \
    X(8, HTTP) X(9, GO) X(10, PHP) X(11, OMS) X(12, RUST) X(13, NODE_JS)
enum language {
#define X(code, name) LANG_##name = code,
    LANGUAGES(X)
#undef X
};
const char *language_name(int language);        /* "OTHER" for unknown ones */
int language_of(struct str name);               /* LANG_OTHER for unknown ones */

/* Versions are ordinals of Apache's MQVersion enum. */
#define VERSION_V4_9_4 401
#define VERSION_V5_0_0 413
#define VERSION_V5_5_0 513                      /* what we say we are */
/* "V5_5_0", "V5_5_0_SNAPSHOT"; from 612 on "HIGHER_VERSION", as Apache says; "V?9" for the
 * alphas and betas. */
const char *version_name(int ordinal, char out[24]);

#endif
