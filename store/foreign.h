/* Records of fixed length in files of Apache's store that no part of ours writes: the batch consume queue,
 * the timer's log, wheel and checkpoint. Rows, so that what checks them and what prints them say the same.
 * Source: Apache BatchConsumeQueue, TimerLog, Slot, TimerCheckpoint (5.5.0). */
#ifndef STORE_FOREIGN_H
#define STORE_FOREIGN_H

#include <stddef.h>
#include <stdint.h>

enum field_type { FIELD_I16, FIELD_I32, FIELD_I64, FIELD_TIME /* int64, ms */ };

struct field {
    const char *name;
    enum field_type type;
    uint16_t at;
};

struct fixed_format {
    uint32_t size;
    int n;
    const struct field *fields;
};

extern const struct fixed_format batch_unit, timer_unit, timer_slot, timer_checkpoint;

enum { BATCH_OFFSET, BATCH_SIZE, BATCH_TAGS, BATCH_TIME, BATCH_BASE, BATCH_COUNT, BATCH_COMPACTED, BATCH_RESERVED };
enum { TIMER_SIZE, TIMER_BEFORE, TIMER_MAGIC, TIMER_WRITTEN, TIMER_DELAY, TIMER_OFFSET, TIMER_RECORD_SIZE,
       TIMER_TOPIC_HASH, TIMER_RESERVED };
enum { SLOT_TIME, SLOT_FIRST, SLOT_LAST, SLOT_COUNT, SLOT_MAGIC };
enum { TIMERCHECK_READ_TIME, TIMERCHECK_FLUSHED, TIMERCHECK_QUEUE_OFFSET, TIMERCHECK_MASTER_OFFSET,
       TIMERCHECK_STATE_VERSION, TIMERCHECK_TIME, TIMERCHECK_COUNTER };

#define TIMER_BLANK_SIZE 16              /* closes a timer log file: bytes left int32, 0 int64, BLANK_MAGIC int32 */
#define TIMER_BLANK_AT_MAGIC 12
#define TIMER_MAGIC_BITS 7               /* 1 always, 2 goes round again, 4 deletes */

/* Field number i of the record at p. */
int64_t fixed_get(const struct fixed_format *f, const char *p, int i);

#endif
