/* Writes the tables to STORE/config/NAME.json, whole and synced, on its own
 * thread. Changes that come while a file is being written share the next write,
 * so many changes cost few writes. Nothing is ever written under a table's lock. */
#ifndef BROKER_SAVER_H
#define BROKER_SAVER_H

#include <stdint.h>
#include "common/buf.h"
#include "common/fault.h"

struct saver;

/* One file: what to call to get its text (takes the table's lock itself), and its generation: grows with each change. */
struct saved_file {
    const char *name;                            /* "topics.json" */
    void (*encode)(void *ctx, struct buf *out);
    int64_t (*changes)(void *ctx);
    int32_t period_ms;                           /* 0: only when asked (saver_save); else also that often, when changed */
};

int saver_open(const char *config_dir, const struct saved_file *files, size_t n, void *ctx, struct saver **out,
               struct fault *f);
/* Waits until everything that had changed before the call is on disk. 0, or -errno with f: then the file is as before
 * and the change is in memory only; it is tried again with the next. Not from a network loop. */
int saver_save(struct saver *s, const char *name, struct fault *f);
/* The same without waiting: for what is made anew at the next start when it got lost. */
void saver_soon(struct saver *s, const char *name);
int saver_close(struct saver *s);                /* writes what changed, stops the thread */

#endif
