#include "store/foreign.h"

#include "common/be.h"

#define ROWS(list) .n = (int)(sizeof(list) / sizeof(list)[0]), .fields = list

static const struct field batch_fields[] = {
    [BATCH_OFFSET] = {"offset", FIELD_I64, 0},   [BATCH_SIZE] = {"size", FIELD_I32, 8},
    [BATCH_TAGS] = {"tags", FIELD_I64, 12},      [BATCH_TIME] = {"stored", FIELD_TIME, 20},
    [BATCH_BASE] = {"base", FIELD_I64, 28},      [BATCH_COUNT] = {"messages", FIELD_I16, 36},
    [BATCH_COMPACTED] = {"compacted", FIELD_I32, 38}, [BATCH_RESERVED] = {"reserved", FIELD_I32, 42},
};
const struct fixed_format batch_unit = {.size = 46, ROWS(batch_fields)};

static const struct field timer_fields[] = {
    [TIMER_SIZE] = {"size", FIELD_I32, 0},        [TIMER_BEFORE] = {"before", FIELD_I64, 4},
    [TIMER_MAGIC] = {"magic", FIELD_I32, 12},     [TIMER_WRITTEN] = {"written", FIELD_TIME, 16},
    [TIMER_DELAY] = {"delay_ms", FIELD_I32, 24},  [TIMER_OFFSET] = {"log_offset", FIELD_I64, 28},
    [TIMER_RECORD_SIZE] = {"record_size", FIELD_I32, 36}, [TIMER_TOPIC_HASH] = {"topic_hash", FIELD_I32, 40},
    [TIMER_RESERVED] = {"reserved", FIELD_I64, 44},
};
const struct fixed_format timer_unit = {.size = 52, ROWS(timer_fields)};

/* The time counts units of the wheel's precision, timerPrecisionMs. */
static const struct field slot_fields[] = {
    [SLOT_TIME] = {"time", FIELD_I64, 0},  [SLOT_FIRST] = {"first", FIELD_I64, 8},
    [SLOT_LAST] = {"last", FIELD_I64, 16}, [SLOT_COUNT] = {"messages", FIELD_I32, 24},
    [SLOT_MAGIC] = {"magic", FIELD_I32, 28},
};
const struct fixed_format timer_slot = {.size = 32, ROWS(slot_fields)};

static const struct field timercheck_fields[] = {
    [TIMERCHECK_READ_TIME] = {"lastReadTimeMs", FIELD_TIME, 0},
    [TIMERCHECK_FLUSHED] = {"lastTimerLogFlushPos", FIELD_I64, 8},
    [TIMERCHECK_QUEUE_OFFSET] = {"lastTimerQueueOffset", FIELD_I64, 16},
    [TIMERCHECK_MASTER_OFFSET] = {"masterTimerQueueOffset", FIELD_I64, 24},
    [TIMERCHECK_STATE_VERSION] = {"stateVersion", FIELD_I64, 32},
    [TIMERCHECK_TIME] = {"timestamp", FIELD_TIME, 40},
    [TIMERCHECK_COUNTER] = {"counter", FIELD_I64, 48},
};
const struct fixed_format timer_checkpoint = {.size = 56, ROWS(timercheck_fields)};

int64_t fixed_get(const struct fixed_format *f, const char *p, int i)
{
    p += f->fields[i].at;
    switch (f->fields[i].type) {
    case FIELD_I16: return (int16_t)be16_get(p);
    case FIELD_I32: return (int32_t)be32_get(p);
    case FIELD_I64: case FIELD_TIME: break;
    }
    return (int64_t)be64_get(p);
}
