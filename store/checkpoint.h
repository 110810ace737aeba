/* The file "checkpoint": up to where log, queues and index are on disk. 4096 bytes
 * of which six int64 are used (the sixth since 5.5.0). Source: Apache StoreCheckpoint. */
#ifndef STORE_CHECKPOINT_H
#define STORE_CHECKPOINT_H

#include <stdbool.h>
#include <stdint.h>
#include "common/fault.h"

#define CHECKPOINT_FIELDS 6
#define CHECKPOINT_FILE_SIZE 4096

struct checkpoint {
    int64_t log_time;            /* physicMsgTimestamp: store time of the last synced message, ms */
    int64_t queue_time;          /* logicsMsgTimestamp: the same for the queues */
    int64_t index_time;          /* indexMsgTimestamp */
    int64_t master_flushed;      /* masterFlushedOffset */
    int64_t confirm_offset;      /* confirmPhyOffset */
    int64_t queue_offset;        /* logicsPhysicalOffset: all queues hold what the log has before it, on disk; 0: not known */
};

/* Their names, as Apache has them, in the order of the struct. */
struct checkpoint_field {
    const char *name;
    bool is_time;                /* ms; else a log offset */
};
extern const struct checkpoint_field checkpoint_fields[CHECKPOINT_FIELDS];

/* Missing or short files give zeros for what is missing. 0, or -errno with f filled. */
int checkpoint_read(const char *path, struct checkpoint *out, struct fault *f);
/* Writes and syncs the file in place, as Apache does (48 bytes of one sector). 0 or -errno. */
int checkpoint_write(const char *path, const struct checkpoint *c);

#endif
