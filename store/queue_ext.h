/* The extension of a consume queue (consumequeue_ext/TOPIC/QUEUE, Apache's
 * ConsumeQueueExt): what does not fit into the queue's units. With
 * enableConsumeQueueExt each message gets a unit there (size 2, tag code 8, store
 * time 8, length of the bit map 2, bit map), and in the place of the tag code the
 * queue's unit holds its address: the byte offset - 2^63, a number that no tag
 * code and no time of delivery can be. A unit does not span files: -1 in the
 * place of a size says that the rest of the file is left, and 4 bytes are always
 * kept for that.
 *
 * What stands in a bit map is somebody else's (SQL filters); ours are empty. An
 * address that leads nowhere costs nothing but a filter's answer: as in Apache
 * the extension may lag behind a power loss, and the queue is not less for it. */
#ifndef STORE_QUEUE_EXT_H
#define STORE_QUEUE_EXT_H

#include "store/file_list.h"

struct queue_env;
struct store_queue;
struct queue_ext;
struct unit_cursor;

#define EXT_UNIT_MIN 20
#define EXT_UNIT_MAX 32767
#define EXT_BLANK 4                  /* kept free at a file's end */

struct ext_unit {
    int64_t tags_code;
    int64_t store_time;              /* ms */
    int32_t size;                    /* with the bit map, which follows the first EXT_UNIT_MIN bytes */
};
/* The unit at p, of which n bytes can be read: 0; -ENOENT: none was written there; -EBADMSG: it is none. */
int ext_unit_get(const void *p, size_t n, struct ext_unit *u);
void ext_unit_put(void *p, int64_t tags_code, int64_t store_time);

static inline bool ext_is_address(int64_t code) { return code < INT32_MIN; }
static inline int64_t ext_offset(int64_t address) { return (int64_t)((uint64_t)address ^ 1ull << 63); }
static inline int64_t ext_address(int64_t offset) { return (int64_t)((uint64_t)offset ^ 1ull << 63); }

/* With the load of its queue, when min, max and files are known: finds the files, and where the next unit goes. Files
 * of another size are left alone (logged): then addresses lead nowhere and units hold tag codes. 0 or -errno. */
int queue_ext_open(const struct queue_env *env, struct store_queue *q);
void queue_ext_close(struct store_queue *q);
/* The queue's units end at its max now: drops what the extension has behind the last one that they name. With nothing
 * to be written it is left alone, but for a queue that has no units any more. 0 or -errno. */
int queue_ext_settle(const struct queue_env *env, struct store_queue *q);

/* Append lock held: must it grow before n more units can be written? Sets growth->from. */
bool queue_ext_lacks(const struct queue_ext *x, int n, struct file_growth *growth);
void queue_ext_grown(struct queue_ext *x, const struct file_growth *growth);
/* Writes a unit; what the queue's unit is to hold: its address, or the tag code itself where that cannot be. Append
 * lock held, room made. */
int64_t queue_ext_put(const struct queue_env *env, struct store_queue *q, int64_t tags_code, int64_t store_time);

/* ---- any thread ---- */
/* A hint, as store_queue_ready. */
bool queue_ext_ready(const struct queue_ext *x, int n);
/* The unit at that address; c as for queue_unit, but of the extension's files. 0; -ENOENT: it leads nowhere;
 * another -errno: a file cannot be mapped (logged). To be called under a bus_guard. */
int queue_ext_unit(const struct queue_env *env, struct store_queue *q, struct unit_cursor *c, int64_t address,
                   struct ext_unit *u);
/* One, guarded. As queue_ext_unit; -EIO (logged) also when the page of it could not be had. */
int queue_ext_unit_at(const struct queue_env *env, struct store_queue *q, int64_t address, struct ext_unit *u);
/* Puts on disk what was written since the last time, so that no unit on disk names one that is not. 0 or -errno.
 * The flusher. */
int queue_ext_sync(const struct queue_env *env, struct store_queue *q);
/* Recovery: what the extension has from that address on, and its files' names, may not be on the disk: the next sync sees
 * to it. */
void queue_ext_doubt(struct store_queue *q, int64_t address);
/* Takes away the mappings that nobody uses; append lock held. How many are left. */
int queue_ext_unmap(struct queue_ext *x);
struct file_list *queue_ext_files(struct queue_ext *x);
/* The tail is not used from now on: its file may go. Append lock held. */
void queue_ext_leave(struct queue_ext *x);
/* EXT_ROOT/TOPIC/ID; -ENAMETOOLONG; -ENOENT: there is no such root. */
int queue_ext_dir(const struct queue_env *env, const struct store_queue *q, char *out, size_t cap);

#endif
