/* The store: commit log, consume queues, checkpoint, recovery, in Apache
 * RocketMQ's own files. It knows nothing of the network, of topics' settings or
 * of groups; a queue is a topic name and a number.
 *
 * Ways to get hurt:
 * - One process per directory: the file "lock" is held; a second open fails.
 * - What store_get and store_read give points into mapped files; it stays valid
 *   until store_release, whatever is deleted meanwhile.
 * - store_append and store_get may be called from any thread. Appends take one
 *   short lock; nothing in it waits for a disk, except the rare roll to a new
 *   file that could not be allocated ahead.
 * - Reads of pages that are not in memory would make a network loop wait:
 *   ask result.far, and then do them on a worker (store_bring). */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include <sys/uio.h>
#include "common/message.h"

struct store;
struct store_queue;

#define STORE_DELAY_LEVELS_MAX 64

/* When files of the log expire; as the keys of these names, percentages as they are, not clamped. */
struct store_retention {
    const char *delete_when;             /* hours of the day (local time), separated by ';'; valid until the next round */
    int32_t file_reserved_time;          /* hours */
    int32_t clean_resource_interval;     /* ms from one round to the next */
    int32_t disk_max_used_space_ratio;   /* above it what is expired goes at any hour */
    int32_t disk_space_clean_forcibly_ratio;     /* above it the oldest goes, expired or not (cleanFileForciblyEnable) */
    int32_t disk_space_warning_level_ratio;      /* above it writes are refused too */
    bool clean_file_forcibly_enable;
    int32_t delete_file_batch_max;       /* log files of one round */
    int32_t delete_commit_log_files_interval, delete_consume_queue_files_interval;   /* ms between two files */
};

/* Numbers that are 0 mean Apache's default; least pages below 0: whatever changed is flushed. */
struct store_conf {
    const char *root;                    /* storePathRootDir */
    const char *commit_log;              /* storePathCommitLog, one or several separated by ','; NULL or "": root/commitlog */
    const char *commit_log_read_only;    /* readOnlyCommitLogStorePaths: files are read there, and expire, but none is made */
    int64_t commit_log_file_size;        /* mappedFileSizeCommitLog, 1 GiB */
    int64_t consume_queue_file_size;     /* mappedFileSizeConsumeQueue, rounded up to a multiple of 20 here */
    bool queue_ext;                      /* enableConsumeQueueExt: queues get an extension (queue_ext.h); one that is there is read anyhow */
    int64_t queue_ext_file_size;         /* mappedFileSizeConsumeQueueExt, 48 MiB */
    int32_t max_message_size;            /* body, maxMessageSize */
    bool sync_flush;                     /* flushDiskType=SYNC_FLUSH: what nobody waits for is synced every 10 ms too */
    int32_t flush_interval_ms;           /* flushIntervalCommitLog */
    int32_t flush_least_pages;           /* flushCommitLogLeastPages */
    int32_t flush_thorough_ms;           /* flushCommitLogThoroughInterval */
    int32_t flush_queue_interval_ms;     /* flushIntervalConsumeQueue */
    int32_t flush_queue_least_pages;     /* flushConsumeQueueLeastPages */
    int32_t flush_queue_thorough_ms;     /* flushConsumeQueueThoroughInterval */
    bool check_crc_on_recover;           /* checkCRCOnRecover */
    bool index_enable;                   /* messageIndexEnable: index what is appended */
    int32_t index_slots, index_entries;  /* maxHashSlotNum, maxIndexNum; of another layout are made again from the log */
    int64_t hot_bytes;                   /* what lies further from the log's end counts as cold */
    /* Delay of each level in ms (messageDelayLevel), [1..n]: recovery needs it to rebuild the deliver
     * times that the schedule topic's queues keep instead of tag codes. */
    int64_t delay_ms[STORE_DELAY_LEVELS_MAX + 1];
    int n_delay;
    int32_t max_queue_maps;              /* queue files mapped at a time; 0: a quarter of vm.max_map_count */
    /* Says what retention is to do now; asked for at each round, by its thread. NULL: nothing ever expires. */
    void (*retention)(void *ctx, struct store_retention *out);
    void *retention_ctx;
};

/* Opens or creates the store in conf->root: takes the lock, loads, recovers (to the
 * first broken record after a crash, logging what it dropped), starts the flush and allocation threads. The texts
 * of conf are copied. 0 or -errno with a sentence in f (-EBUSY: another process has it). */
int store_open(const struct store_conf *conf, struct store **out, struct fault *f);
/* Flushes everything, writes the checkpoint, removes "abort", gives back the lock. All appends must have ended. */
int store_close(struct store *s);

/* The queue, made in memory when new (its files come with the first append). The handle is
 * stable until store_close; after store_delete_topic of its topic it takes and gives nothing more. NULL without
 * memory, for a number below 0, and for a topic that cannot be a directory's name. Any thread. What a queue's files
 * hold is looked up when it is first used: that call reads a few blocks of the disk. */
struct store_queue *store_queue(struct store *s, struct str topic, int32_t queue_id);
/* The same, but NULL when it neither exists in memory nor on disk. May look at a directory's name on disk. */
struct store_queue *store_queue_find(struct store *s, struct str topic, int32_t queue_id);
/* How many messages the topic's queues hold, those included that only the disk knows of. 0 or more, or -errno (logged). */
int64_t store_topic_messages(struct store *s, struct str topic);
/* Removes the topic's consume queues: files now, the handles' memory (some 250 bytes a queue) with store_close, so
 * that a thread still reading with one is safe. The messages stay in the log until they expire. 0 or -errno;
 * -EINVAL for what cannot be a topic's name. Waits for the disk. */
int store_delete_topic(struct store *s, struct str topic);

/* ---- append ---- */
struct store_put {
    int64_t physical_offset;
    int64_t queue_offset;
    int64_t store_timestamp;     /* ms */
    int64_t end;                 /* log offset after the record: what to wait for with store_when_flushed */
    uint32_t size;
};
/* Appends m to queue q. Set by the store: topic and queue_id (the queue's), queue_offset, physical_offset,
 * store_timestamp (of the record; m itself is not changed), body_crc. tags_code goes into the consume queue; in
 * SCHEDULE_TOPIC_XXXX, for a message with the DELAY property, the time of delivery does. Prepared and rolled back
 * messages (sys_flag) get no place in the queue. After it returns the message is readable. 0; -EMSGSIZE (body over
 * max_message_size, properties over PROPERTIES_MAX, or larger than a log file); -ENOENT (the topic was deleted);
 * -ENOSPC and others (no room, read-only: writes are off, and are tried again once a second when asked); -EIO (a
 * sync failed: writes are off until a restart). f has the sentence. */
int store_append(struct store *s, struct store_queue *q, const struct message *m, int64_t tags_code,
                 struct store_put *out, struct fault *f);
/* n messages of one queue, consecutive in log and queue, all or none. out[n]. */
int store_append_batch(struct store *s, struct store_queue *q, const struct message *m, const int64_t *tags_codes,
                       int n, struct store_put *out, struct fault *f);
/* True when n messages can be appended to q without making or extending a file of the queue, which may wait for the
 * disk. A hint: another append may come between. Any thread. */
bool store_queue_ready(struct store_queue *q, int n);
/* Calls cb(arg, ok) once the log is on disk up to offset end; at once (before it returns, true) when it already is.
 * ok false: the disk failed or timeout_ms passed (FLUSH_DISK_TIMEOUT). Once each, on a thread of the store, with no
 * lock held; it must not wait. One sync serves all that wait. True when cb was called before the return. */
bool store_when_flushed(struct store *s, int64_t end, int timeout_ms, void (*cb)(void *arg, bool ok), void *arg);

/* ---- read ---- */
enum store_status {            /* Apache's GetMessageStatus, by the same names */
    STORE_FOUND,
    STORE_NO_MATCHED_MESSAGE,
    STORE_NO_MESSAGE_IN_QUEUE,
    STORE_NO_MATCHED_LOGIC_QUEUE,
    STORE_OFFSET_TOO_SMALL,
    STORE_OFFSET_OVERFLOW_ONE,
    STORE_OFFSET_OVERFLOW_BADLY,
    STORE_MESSAGE_WAS_REMOVING,
    STORE_OFFSET_FOUND_NULL,
    STORE_READ_FAILED,         /* not one of Apache's: the disk did not give it (logged). No offset may follow from that */
};

struct store_filter {          /* both may be NULL */
    /* By what the queue entry holds; false: not wanted. */
    bool (*by_tags_code)(void *arg, int64_t tags_code);
    /* By the record itself; called only for entries that passed the first. It reads the record, cold or not:
     * store_get with it belongs on a worker when the offset may be cold. */
    bool (*by_record)(void *arg, const char *record, uint32_t size);
    void *arg;
};

struct store_limits {
    int32_t max_messages;
    int32_t max_bytes;             /* at least one message is given, whatever its size */
    int32_t max_messages_cold, max_bytes_cold;   /* once the first message is cold */
    int32_t max_scan;              /* queue entries looked at */
    bool touched;                  /* what is far was touched a moment ago: it is looked at too */
};

struct store_result {              /* malloc'd by store_get, given back by store_release */
    enum store_status status;
    int64_t next_begin, min, max;
    int n_messages;
    int64_t bytes;
    bool far;                      /* some of it is far from the log's end, or of an earlier run: touch it on a worker before
                                    * sending. Even what the kernel calls resident may still be on its way from the disk.
                                    * Nothing of that was looked at: store_bring does both */
    bool cold;                     /* some of it is far from the log's end, and not in memory */
    int n_iov;                     /* adjacent records are one extent */
    struct iovec *iov;             /* into the mapped log */
    int64_t last_store_timestamp;  /* of the last message given; 0 when far */
};

/* Messages of q from queue offset `offset` on. Status and next_begin as Apache's getMessage has them; with
 * STORE_READ_FAILED next_begin is `offset`. NULL only without memory. Any thread. */
struct store_result *store_get(struct store *s, struct store_queue *q, int64_t offset,
                               const struct store_limits *limits, const struct store_filter *filter);
/* The record at a commit log offset (size 0: read it from the record), as one extent: for a socket. Who reads it itself
 * takes store_load. Result in *out, to be released. 0; -ENOENT: no whole record starts there any more or yet; -ENOMEM;
 * another -errno, mostly -EIO: the disk does not give it (logged). Reads the record: may wait for the disk. */
int store_read(struct store *s, int64_t physical_offset, uint32_t size, struct store_result **out);
/* The same, with the record in the result's own memory, and parsed: m's texts are there until *out is released. */
int store_load(struct store *s, int64_t physical_offset, uint32_t size, struct message *m, struct store_result **out);
/* The same record's numbers, and the lengths of its texts, but none of the texts (NULL). Errors as store_read. */
int store_look(struct store *s, int64_t physical_offset, uint32_t size, struct message *m);
/* Brings its pages into memory; may wait for the disk. 0, or -EIO: the disk does not give them (logged). */
int store_touch(const struct store_result *r);
/* The same for what is far, and looks at it. apart: where it lies close together it is read past the page cache into memory
 * of the result's own, which costs those who do something else meanwhile less, and is of no use to who reads it next.
 * 0; -EIO; -EBADMSG: it is not made of the records that the queue names, and a store_get with limits.touched gives what is. */
int store_bring(struct store *s, struct store_result *r, bool apart);
/* Copies its extents into memory of its own, as one, so that they can be read like any other memory: a mapped page
 * that the disk does not give would end the process. 0, -ENOMEM or -EIO (logged); the result is then as it was. */
int store_own(struct store_result *r);
void store_release(void *result);                  /* a struct store_result; NULL is allowed. Any thread. */

/* Where the commit log ends: grows with all that is appended. Any thread. */
int64_t store_log_end(struct store *s);
/* Is that commit log offset further from the log's end than hot_bytes, so that its pages may not be in memory? Any thread. */
bool store_far(struct store *s, int64_t physical_offset);

/* One entry of a queue: 0, -ENOENT outside min..max, another -errno when the disk does not give it (logged). */
struct store_entry {
    int64_t physical_offset;
    uint32_t size;
    int64_t tags_code;                   /* of the message, wherever the store keeps it */
};
int store_entry(struct store *s, struct store_queue *q, int64_t offset, struct store_entry *out);

/* Makes sure that what the queue's files hold is known: it is looked up when the queue is first used. 0, or -errno: the
 * disk does not give it (logged; tried again the next time). Until then min, max and last time are 0. */
int store_queue_load(struct store *s, struct store_queue *q);
/* Whether it is known: then none of these reads the disk for it. What may not wait asks this first. */
bool store_queue_loaded(const struct store_queue *q);
/* Whether, besides, a store_get or store_entry that looks at up to n entries from `offset` on waits for no file of the
 * queue. What may not wait asks this, and else has them brought on another thread. */
bool store_queue_near(struct store_queue *q, int64_t offset, int n);
/* Loads the queue, and brings the entries from `offset` on into memory, and some more for those who go on reading.
 * 0 or -errno (logged). */
int store_queue_bring(struct store *s, struct store_queue *q, int64_t offset);
int64_t store_queue_min(struct store *s, struct store_queue *q);
int64_t store_queue_max(struct store *s, struct store_queue *q);         /* next to be written */
/* Store time of the message at offset; -1 when there is none; below that an -errno: the disk does not give it (logged).
 * Reads the log: may be cold. */
int64_t store_time_at(struct store *s, struct store_queue *q, int64_t offset);
int64_t store_queue_last_time(struct store *s, struct store_queue *q);   /* of the last message, 0 when none; never cold */
/* The latest of those of all queues of a topic; the first call after a start is quicker than asking each. */
int64_t store_topic_last_time(struct store *s, struct store_queue *const q[], int n);
/* Queue offset for a time as SEARCH_OFFSET_BY_TIMESTAMP defines it (ConsumeQueue.binarySearchInQueueByTime). -errno when
 * the disk does not give what has to be looked at (logged). Reads the log. */
int64_t store_offset_at_time(struct store *s, struct store_queue *q, int64_t timestamp_ms, bool upper);

/* ---- by key ---- */
struct store_query {
    struct str topic, key;
    bool tag;                      /* key is the text of TAGS; else a word of KEYS, or the unique id */
    /* Not NULL: key is not known, but its store_key_hash, and that is_key says yes to it. Called under a bus guard: it
     * must take no lock and no memory. */
    bool (*is_key)(void *arg, struct str key);
    void *is_key_arg;
    int32_t key_hash;
    int64_t begin, end;            /* store times, ms, both included */
    int32_t max_messages;          /* the newest ones */
    int64_t before;                /* only records that begin before this log offset; 0: all */
    int64_t max_bytes;             /* at least one message is given, whatever its size */
    int wait_ms;                   /* for the indexer, when it is behind what was appended before this call */
};
struct store_index_end {           /* the last message that is in the index; 0: none is */
    int64_t time, offset;
};
/* The messages with that key, oldest first, in *out (n_messages 0: there are none), to be released; end may be NULL.
 * Their records are read: may wait for the disk. 0, -ENOMEM, or -EIO when the disk does not give it. Source: DefaultMessageStore.queryMessage. */
int store_query(struct store *s, const struct store_query *q, struct store_index_end *end, struct store_result **out);

/* What the index keeps for a key of a topic's message; never negative. */
int32_t store_key_hash(struct str topic, struct str key);
/* Messages at log offsets from *begin to before *end are in the index, as far as they are in the log. Waits as
 * store_query does. 0 or -EIO. */
int store_index_range(struct store *s, int wait_ms, int64_t *begin, int64_t *end);

struct store_index_file {
    char name[24];                 /* yyyyMMddHHmmssSSS */
    int64_t first_time, last_time; /* ms; 0: empty */
    int64_t first_offset, last_offset;
    int32_t slots, slots_used, entries, entries_used;
};
/* Index file number i from the oldest (0) on: 0; -ENOENT: there are not so many; -EIO: the disk does not give its header. Any thread. */
int store_index_file(struct store *s, int i, struct store_index_file *out);

/* Called after an append made messages up to queue offset max-1 readable, outside the append lock, on
 * the appending thread: two threads' calls for one queue may come in either order. One listener; set before
 * the first append. */
void store_on_arrival(struct store *s, void (*fn)(void *ctx, struct store_queue *q, int64_t max), void *ctx);
/* The owner's own word on a queue (its hold list). */
void store_queue_set_data(struct store_queue *q, void *data);
void *store_queue_data(const struct store_queue *q);

/* ---- retention ---- */
/* The next twenty rounds delete what is expired, whatever the hour (DELETE_EXPIRED_COMMITLOG). Does not wait. */
void store_expire_now(struct store *s);
/* fn(ctx, log_min) is called after files of the log were deleted: what lies before log_min is gone, so what only points
 * there can go too. On retention's thread, which may wait for a disk, with no lock held. At most 8; set before the first
 * append. 0 or -ENOSPC. */
int store_on_expired(struct store *s, void (*fn)(void *ctx, int64_t log_min), void *ctx);
/* Between the two no file of log or queues is deleted by retention, which waits: for who makes links to them. Must not be held
 * long. Nothing of the store may be called that deletes (store_clean_queues, store_delete_topic). */
void store_hold_files(struct store *s);
void store_let_files(struct store *s);
/* Deletes the queue files (but each queue's last) of which the log has no message any more. Waits for the disk; the
 * whole table is gone through. 0 or the first -errno. */
int store_expire_queues(struct store *s, int *files);
/* Removes the queues of which the log has no message any more, but those that keep(arg, topic, queue_id). Waits for
 * the disk. 0 or the first -errno. Both together: CLEAN_EXPIRED_CONSUMEQUEUE. */
int store_clean_queues(struct store *s, bool (*keep)(void *arg, struct str topic, int32_t queue_id), void *arg,
                       int *queues);
/* Removes the queues of all topics but those that keep(arg, topic). Waits for the disk. 0 or the first -errno. Source:
 * CLEAN_UNUSED_TOPIC. */
int store_clean_unused(struct store *s, bool (*keep)(void *arg, struct str topic), void *arg, int *topics);

/* ---- state ---- */
struct store_stats {
    int64_t log_min, log_max;          /* commit log offsets */
    int64_t flushed;                   /* on disk up to here */
    int64_t log_syncs;                 /* times that the log was put on disk since open */
    int64_t appended_messages, appended_bytes;   /* since open */
    int64_t append_refused;
    int64_t got_messages, got_bytes, get_found, get_missed;
    int64_t earliest_store_timestamp;  /* of the first message in the log; -1: none */
    int64_t last_store_timestamp;
    bool writable;
    char why_not[200];                 /* when not writable */
    int64_t index_behind;              /* bytes of the log that the indexer has yet to read; 0 without indexing */
    double disk_used_ratio;            /* of the log's file system (of several, the emptiest), 0..1, in whole percent */
    int64_t queue_maps;                /* queue files mapped now */
    int64_t expired_files;             /* log files deleted since open */
    int64_t boot_timestamp;
    int64_t append_wait_ms;            /* what an append just now would have waited for the one before it: store_stats did */
};
void store_stats(struct store *s, struct store_stats *out);
const char *store_root(const struct store *s);
int32_t store_delay_levels(const struct store *s);
int64_t store_delay_ms(const struct store *s, int level);          /* level clamped to 1..n */

#endif
