/* A consume queue: one 20-byte unit a message (commit log offset 8, size 4, tag
 * code 8), in files of its own directory. The unit's number is the message's
 * queue offset. A queue at rest is this struct and its name; what its files hold
 * is looked up when it is first used. */
#ifndef STORE_CONSUME_QUEUE_H
#define STORE_CONSUME_QUEUE_H

#include "store/commit_log.h"
#include "store/file_list.h"
#include "store/queue_ext.h"
#include "store/store.h"

#define UNIT_SIZE 20
/* Filler before the first unit of a queue that starts in the middle of a file: offset 0, this size, tags 0. */
#define UNIT_BLANK_SIZE 0x7FFFFFFFu

struct store_queue {
    struct store_queue *next;            /* hash chain or list of retired queues; the table's lock */
    struct store_queue *dirty_next;      /* append lock */
    uint32_t hash;
    int32_t id;
    bool is_dirty;                       /* on the dirty list; append lock */
    bool is_schedule;                    /* SCHEDULE_TOPIC_XXXX: units hold deliver times */
    bool checked;                        /* recovery only: its last unit names a record */
    bool rebuild;                        /* recovery only: to be filled again from the start of the log */
    bool new_files;                      /* files came or went: directories to be synced with the next flush; append lock */
    _Atomic bool dead;                   /* its topic was deleted */
    _Atomic bool loaded;                 /* min, max and files are known */
    _Atomic bool in_ring;                /* noted as having mapped files; written under queue_maps.lock */
    _Atomic bool used;                   /* since the hand of queue_maps last passed */
    _Atomic int64_t min, max;            /* queue offsets: first, and next to be written */
    _Atomic int64_t last_time;           /* store time of the last message, ms; 0: none */
    int64_t flushed;                     /* units on disk up to here; the flusher */
    _Atomic int64_t reserved;            /* bytes with disk space up to here; written under the append lock */
    struct mapped_file *tail;            /* where the next unit goes, owned by files; append lock */
    struct file_list files;
    struct queue_ext *ext;               /* queue_ext.h; NULL: it has none; set by the load */
    _Atomic uint64_t seen;               /* which of its pages were in memory, and when: queue_near.c */
    _Atomic(void *) data;                /* the owner's */
    uint16_t topic_n;
    char topic[];
};

static inline struct str queue_topic(const struct store_queue *q) { return str_n(q->topic, q->topic_n); }

/* What queues need of the store around them. */
struct queue_env {
    const char *root;                    /* the consumequeue directory */
    const char *ext_root;                /* the consumequeue_ext directory; NULL: there is none, and none is to be made */
    int64_t ext_file_size;
    bool ext_write;                      /* new units get one in the extension */
    struct file_home home;               /* of all queue files */
    struct queue_maps *maps;             /* which queues have files mapped: queue_maps.h */
    int64_t file_size;                   /* a multiple of UNIT_SIZE */
    struct commit_log *log;
    const struct store_conf *conf;       /* the delay levels */
    bool after_crash;                    /* the last stop was not clean: units are looked at one by one */
    int64_t log_end;                     /* units at or past it are dropped when a queue is loaded */
    pthread_mutex_t load_lock;           /* one load at a time; held over disk reads; grow_lock, the append lock and leaves may be taken under it */
    pthread_mutex_t grow_lock;           /* one queue grows at a time; held while files are made; the append lock and leaves may be taken under it */
};

struct store_queue *queue_new(const struct queue_env *env, struct str topic, int32_t id, uint32_t hash);
void queue_free(struct store_queue *q);
/* Whether a topic's name can be a directory's. */
bool queue_can_be_named(struct str topic);
/* ROOT/TOPIC/ID. 0; -EINVAL: it cannot; -ENAMETOOLONG. */
int queue_dir_of(const struct queue_env *env, struct str topic, int32_t id, char *out, size_t cap);
int queue_dir(const struct queue_env *env, const struct store_queue *q, char *out, size_t cap);

/* Reads min, max and last time from the files, once, and repairs what a crash left: a torn end, units
 * that point past the log's end. 0 or -errno (logged). Any thread. */
int queue_load_slow(struct queue_env *env, struct store_queue *q);
static inline int queue_load(struct queue_env *env, struct store_queue *q)
{
    if (!atomic_load_explicit(&q->used, memory_order_relaxed))
        atomic_store_explicit(&q->used, true, memory_order_relaxed);
    return atomic_load_explicit(&q->loaded, memory_order_acquire) ? 0 : queue_load_slow(env, q);
}
/* The same for n queues of one topic, if that has no directory, so none of them has one: asked once for all. Else nothing. */
void queue_load_unused(struct queue_env *env, struct store_queue *const q[], int n);
/* Recovery knows the log's end now (env->log_end): looks again at a queue that was loaded before that. */
int queue_settle(struct queue_env *env, struct store_queue *q);

static inline int64_t queue_min(const struct store_queue *q) { return atomic_load_explicit(&q->min, memory_order_acquire); }
static inline int64_t queue_max(const struct store_queue *q) { return atomic_load_explicit(&q->max, memory_order_acquire); }

/* ---- growing: making and extending files waits for the disk, so it is done before the append lock is taken ---- */
struct queue_growth {
    struct file_growth of;               /* file: a reference, until queue_grown */
    bool ext;                            /* of the extension's files */
};
/* Must the queue grow before n more units can be written? Sets *g to the first thing that is missing. Append lock held. */
bool queue_lacks(struct store_queue *q, int n, struct queue_growth *g);
/* Does a step of it. grow_lock held, the append lock not; the queue is loaded and not dead. 0, or -errno with
 * f filled; queue_grown must follow either way. */
int queue_grow(const struct queue_env *env, struct store_queue *q, struct queue_growth *g, struct fault *f);
/* The queue may use it from now on; append lock and grow_lock held. */
void queue_grown(struct store_queue *q, struct queue_growth *g);
/* Recovery only, where nothing else runs: grows until n more units can be written. 0, or -errno with f filled. */
int queue_make_room(const struct queue_env *env, struct store_queue *q, int n, struct fault *f);

/* ---- under the append lock ---- */
/* 0: n more units can be written; 1: the queue must grow first; -errno with f filled: a file cannot be mapped. */
int queue_room(const struct queue_env *env, struct store_queue *q, int n, struct fault *f);
/* Writes the unit at an offset at or past max, for which there is room, where nobody reads it yet. 0 or -errno: its file
 * cannot be mapped. */
int queue_write(const struct queue_env *env, struct store_queue *q, int64_t offset, const struct store_entry *e);
/* What the next such unit is to hold for a tag code: that, or the address of a unit of the extension that was written for
 * it. In the order of the units. */
static inline int64_t queue_code(const struct queue_env *env, struct store_queue *q, int64_t tags_code, int64_t store_time)
{
    return q->ext ? queue_ext_put(env, q, tags_code, store_time) : tags_code;
}
/* Moves max past n units that were written: the messages are readable. */
void queue_advance(struct store_queue *q, int n, int64_t store_time);
/* For an empty queue: its first unit will be at `offset`; the file's part before it is filled. */
int queue_start_at(const struct queue_env *env, struct store_queue *q, int64_t offset, struct fault *f);
/* Drops the units at and past `offset`: files, and zeros in the file that stays; durable with the queue's next sync.
 * 0 or -errno. */
int queue_cut(const struct queue_env *env, struct store_queue *q, int64_t offset);
/* Writes over the unit at an offset below max (recovery). 0 or -errno: its file cannot be mapped. */
int queue_overwrite(const struct queue_env *env, struct store_queue *q, int64_t offset, const struct store_entry *e);

/* ---- any thread ---- */
/* Reads units one after the other, holding the file it reads from. Start with {0}. */
struct unit_cursor {
    struct mapped_file *file;
};
/* The mapped file of the unit at offset, with a reference. 0; -ENOENT; another -errno: it cannot be mapped. */
int queue_file_at(const struct queue_env *env, struct store_queue *q, int64_t offset, struct mapped_file **out);
/* The unit at offset, which must be loaded and below max. 0; -ENOENT: its file is gone; another -errno: it cannot be
 * mapped (logged). To be called under a bus_guard. */
int queue_unit(const struct queue_env *env, struct store_queue *q, struct unit_cursor *c, int64_t offset,
               struct store_entry *out);
void unit_cursor_end(struct unit_cursor *c);
/* One unit, guarded. As queue_unit; -EIO (logged) also when the page of it could not be had. */
int queue_unit_at(const struct queue_env *env, struct store_queue *q, int64_t offset, struct store_entry *out);
/* Begins to put units [from, to) on disk; queue_sync waits for them, and tells what went wrong. */
void queue_sync_begin(const struct queue_env *env, struct store_queue *q, int64_t from, int64_t to);
/* Puts units [from, to) on disk, and the directories of files made since. 0 or -errno. */
int queue_sync(const struct queue_env *env, struct store_queue *q, int64_t from, int64_t to, bool new_files);

void unit_put(void *p, const struct store_entry *e);
void unit_get(const void *p, struct store_entry *e);
static inline bool unit_written(const struct store_entry *e) { return e->physical_offset >= 0 && (int32_t)e->size > 0; }
/* What the unit of a stored message holds in the place of its tag code: the code, or for SCHEDULE_TOPIC_XXXX
 * the time of delivery. */
int64_t queue_tags_code(const struct queue_env *env, const struct store_queue *q, const struct message *m);
/* ms until delivery by the DELAY property; -1 when there is none. */
int64_t schedule_delay(const struct store_conf *conf, struct str properties);
/* Whether a record of this sysFlag gets a unit: prepared and rolled back ones do not. */
static inline bool is_indexed(int32_t sys_flag)
{
    int32_t type = sys_flag & SYSFLAG_TRANS_MASK;
    return type != SYSFLAG_TRANS_PREPARED && type != SYSFLAG_TRANS_ROLLBACK;
}
static inline bool unit_is_blank(const struct store_entry *e) { return e->size == UNIT_BLANK_SIZE; }

#endif
