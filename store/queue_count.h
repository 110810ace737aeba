/* How many queues a clean stop left. A start reads no queue, so without it one whose directory was lost meanwhile would
 * silently begin anew. Kept in the file "checkpoint", behind what Apache's broker has there; it leaves that as it is. */
#ifndef STORE_QUEUE_COUNT_H
#define STORE_QUEUE_COUNT_H

#include <stdbool.h>
#include <stdint.h>

/* Notes the directories of queue_dir for a log that ends there, and syncs the file, which is there. 0 or -errno. */
int queue_count_note(const char *checkpoint, const char *queue_dir, int64_t log_end);
/* Whether there are fewer now than were noted for a log that ends there (logged). Reads the names of up to 10,000 topics, and
 * looks into the directories of up to 1,000; with more topics nothing is noted. */
bool queue_count_fell(const char *checkpoint, const char *queue_dir, int64_t log_end);

struct queue_count {
    int64_t log_end, topics, queues;     /* queues -1: not counted */
};
/* What was noted; false: nothing. */
bool queue_count_get(const char *checkpoint, struct queue_count *out);

#endif
