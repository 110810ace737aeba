/* What the name server's files share. Private to namesrv/. */
#ifndef NAMESRV_STATE_H
#define NAMESRV_STATE_H

#include <pthread.h>
#include <stdatomic.h>
#include "common/remoting/server.h"
#include "namesrv/namesrv.h"

struct routes;      /* topics and brokers: routes.h */
struct kv;          /* kv.h */
struct keeper;      /* departures and expiry: keeper.h */
struct settings;    /* the configuration and its changes: settings.c */

struct namesrv {
    struct settings *settings;
    struct routes *routes;
    struct kv *kv;
    struct keeper *keeper;
    struct server *server;
    int64_t started;             /* mono_ms */
};

static inline struct namesrv *namesrv_of(struct request *r) { return request_ctx(r); }

/* The configuration now. Replaced as a whole by a change; older ones live until namesrv_close, so a reader needs no lock. */
const struct namesrv_config *namesrv_conf(struct namesrv *ns);

int settings_open(struct namesrv_config *first, struct settings **out);      /* takes over *first */
void settings_close(struct settings *s);
int settings_change(struct settings *s, struct str properties, struct fault *f);

/* The table of request codes: ops.c. */
extern const struct op namesrv_ops[];
extern const size_t namesrv_n_ops;

#endif
