/* Opening and closing, the queues' handles, and the store's state. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/bus_guard.h"
#include "common/clock.h"
#include "common/codes.h"
#include "common/file.h"
#include "common/log.h"
#include "store/queue_count.h"
#include "store/store_impl.h"

#define SYNC_FLUSH_MS 10

/* ---- configuration ---- */

static void or_default(int32_t *v, int32_t def)
{
    if (*v <= 0)
        *v = def;
}

/* Pages that must have changed: below 0 none must. */
static void pages_or_default(int32_t *v, int32_t def) { *v = *v < 0 ? 0 : *v ? *v : def; }

static char *path_of(const char *root, const char *name)
{
    char *p = NULL;

    return asprintf(&p, "%s/%s", root, name) < 0 ? NULL : p;
}

static int take_conf(struct store *s, const struct store_conf *conf, struct fault *f)
{
    struct store_conf *c = &s->conf;
    bool own_log_dir = conf->commit_log && *conf->commit_log;

    *c = *conf;
    if (c->commit_log_file_size <= 0)
        c->commit_log_file_size = (int64_t)1 << 30;
    if (c->consume_queue_file_size <= 0)
        c->consume_queue_file_size = 300000 * UNIT_SIZE;
    c->consume_queue_file_size = (c->consume_queue_file_size + UNIT_SIZE - 1) / UNIT_SIZE * UNIT_SIZE;
    if (c->queue_ext_file_size <= 0)
        c->queue_ext_file_size = 48 << 20;
    or_default(&c->max_message_size, 4 * 1024 * 1024);
    or_default(&c->flush_interval_ms, 500);
    pages_or_default(&c->flush_least_pages, 4);
    if (c->sync_flush) {
        c->flush_interval_ms = SYNC_FLUSH_MS;
        c->flush_least_pages = 0;
    }
    or_default(&c->flush_thorough_ms, 10000);
    or_default(&c->flush_queue_interval_ms, 1000);
    pages_or_default(&c->flush_queue_least_pages, 2);
    or_default(&c->flush_queue_thorough_ms, 60000);
    or_default(&c->index_slots, 5000000);
    or_default(&c->index_entries, 20000000);
    if (c->index_entries < 2 || index_file_size((struct index_layout){c->index_slots, c->index_entries}) > INT32_MAX)
        return fault_set(f, RC_INVALID_PARAMETER, EINVAL,
                         "store: an index file must hold one entry (maxIndexNum 2) and be below 2 GiB");
    if (c->queue_ext_file_size < EXT_UNIT_MIN + EXT_BLANK)
        return fault_set(f, RC_INVALID_PARAMETER, EINVAL,
                         "store: a file of the queues' extension must hold one entry (mappedFileSizeConsumeQueueExt %d)",
                         EXT_UNIT_MIN + EXT_BLANK);
    if (c->commit_log_file_size > INT32_MAX || c->consume_queue_file_size > INT32_MAX ||
        c->queue_ext_file_size > INT32_MAX || c->n_delay < 0 ||
        c->n_delay > STORE_DELAY_LEVELS_MAX || !c->root || !*c->root)
        return fault_set(f, RC_INVALID_PARAMETER, EINVAL,
                         "store: files must be below 2 GiB, delay levels at most %d, and a root directory given",
                         STORE_DELAY_LEVELS_MAX);
    s->root = strdup(c->root);
    s->log_paths = own_log_dir ? strdup(conf->commit_log) : path_of(c->root, "commitlog");
    s->queue_dir = path_of(c->root, "consumequeue");
    s->ext_dir = path_of(c->root, "consumequeue_ext");
    s->checkpoint_path = path_of(c->root, "checkpoint");
    s->abort_path = path_of(c->root, "abort");
    c->root = s->root;
    c->commit_log = s->log_paths;
    if (!s->root || !s->log_paths || !s->queue_dir || !s->ext_dir || !s->checkpoint_path || !s->abort_path)
        return fault_errno(f, ENOMEM, "open the store");
    queue_maps_init(&s->maps, c->max_queue_maps);
    s->env = (struct queue_env){.root = s->queue_dir, .file_size = c->consume_queue_file_size, .log = &s->log, .conf = c,
                                .home = {.maps = &s->maps.count}, .maps = &s->maps,
                                .ext_file_size = c->queue_ext_file_size, .ext_write = c->queue_ext};
    pthread_mutex_init(&s->env.grow_lock, NULL);
    return pthread_mutex_init(&s->env.load_lock, NULL);
}

/* ---- lock and abort ---- */

/* Apache locks byte 0 with fcntl; a lock of the open file is in its way too, and keeps a second open in
 * this process out as well. */
static int take_lock(struct store *s, struct fault *f)
{
    struct flock range = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
    char *path = path_of(s->root, "lock");
    int rc = 0;

    if (!path)
        return fault_errno(f, ENOMEM, "open the store");
    s->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (s->lock_fd < 0)
        rc = fault_errno(f, errno, "open %s", path);
    else if (fcntl(s->lock_fd, F_OFD_SETLK, &range) < 0)
        rc = fault_set(f, RC_SYSTEM_ERROR, EBUSY, "%s is held: another broker uses this store", path);
    else if (pwrite(s->lock_fd, "lock", 4, 0) != 4 || ftruncate(s->lock_fd, 4) < 0)
        rc = fault_errno(f, errno, "write %s", path);
    free(path);
    return rc;
}

static int write_abort(struct store *s, struct fault *f)
{
    int fd = open(s->abort_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644), rc = 0;

    if (fd < 0)
        return fault_errno(f, errno, "make %s", s->abort_path);
    if (dprintf(fd, "%d", (int)getpid()) < 0 || fsync(fd) < 0)
        rc = fault_errno(f, errno, "write %s", s->abort_path);
    close(fd);
    if (!rc && (rc = dir_sync(s->root)))
        rc = fault_errno(f, -rc, "sync directory %s", s->root);
    return rc;
}

/* ---- life ---- */

static void free_store(struct store *s)
{
    queue_table_free(&s->queues);
    queue_maps_free(&s->maps);
    retention_free(s);
    index_free(&s->index);
    commit_log_free(&s->log);
    flush_free(s);
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    pthread_mutex_destroy(&s->append_lock);
    pthread_mutex_destroy(&s->env.load_lock);
    pthread_mutex_destroy(&s->env.grow_lock);
    free(s->root);
    free(s->log_paths);
    cold_read_free(&s->cold);
    free(s->queue_dir);
    free(s->ext_dir);
    free(s->checkpoint_path);
    free(s->abort_path);
    free(s);
}

static int make_dirs(struct store *s, struct fault *f)
{
    const char *const dirs[] = {s->root, s->queue_dir, s->env.ext_write ? s->ext_dir : s->root};

    for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++) {
        int rc = dir_make_durable(dirs[i]);
        if (rc)
            return fault_errno(f, -rc, "make directory %s", dirs[i]);
    }
    s->env.ext_root = access(s->ext_dir, F_OK) == 0 ? s->ext_dir : NULL;
    return 0;
}

static bool has_log_files(const char *dir)
{
    struct dirent *e;
    bool has = false;
    DIR *d = opendir(dir);

    while (d && !has && (e = readdir(d)))
        has = strlen(e->d_name) == 20 && strspn(e->d_name, "0123456789") == 20;
    if (d)
        closedir(d);
    return has;
}

/* A restored snapshot has its log in one directory. When the configuration still names others, all queues would be
 * dropped as being of a log that is gone. */
static int check_log_place(struct store *s, struct fault *f)
{
    char *usual;
    int rc = 0;

    if (file_list_count(&s->log.files) > 0)
        return 0;
    if (!(usual = path_of(s->root, "commitlog")))
        return fault_errno(f, ENOMEM, "open the store");
    if (has_log_files(usual))
        rc = fault_set(f, RC_INVALID_PARAMETER, EINVAL, "storePathCommitLog (%.200s) has no log files, but %.200s has: add it to "
                       "storePathCommitLog", s->log_paths, usual);
    free(usual);
    return rc;
}

static int load(struct store *s, struct fault *f)
{
    bool after_crash = access(s->abort_path, F_OK) == 0;
    int rc;

    if (after_crash)
        log_warn("store %s: the last run did not end cleanly: recovering", s->root);
    if ((rc = checkpoint_read(s->checkpoint_path, &s->checkpoint, f)) ||
        (rc = commit_log_open(&s->log, s->log_paths, s->conf.commit_log_read_only, s->conf.commit_log_file_size, f)) ||
        (rc = check_log_place(s, f)) ||
        (rc = recover(s, after_crash || s->log.files.was_cut, f)) ||
        (rc = index_open(s, after_crash || s->log.files.was_cut, f)))
        return rc;
    s->run_from = commit_log_max(&s->log);
    s->checkpoint.log_time = atomic_load(&s->log.last_time);
    atomic_store(&s->flush.flushed_time, s->checkpoint.log_time);
    rc = checkpoint_write(s->checkpoint_path, &s->checkpoint);
    return rc ? fault_errno(f, -rc, "write %s", s->checkpoint_path) : 0;
}

static int open_store(struct store *s, const struct store_conf *conf, struct fault *f)
{
    int rc;

    if ((rc = take_conf(s, conf, f)) || (rc = make_dirs(s, f)) || (rc = take_lock(s, f)))
        return rc;
    if ((rc = queue_table_init(&s->queues)))
        return fault_errno(f, -rc, "open the store");
    if ((rc = load(s, f)) || (rc = write_abort(s, f)) || (rc = commit_log_start(&s->log, s->conf.sync_flush, f)))
        return rc;
    if (!(rc = flush_start(s, f)) && (rc = index_start(s, f)))
        flush_stop(s);
    if (!rc && (rc = retention_start(s, f))) {
        index_stop(s);
        flush_stop(s);
    }
    if (rc)
        commit_log_stop(&s->log);
    return rc;
}

int store_open(const struct store_conf *conf, struct store **out, struct fault *f)
{
    struct store *s = calloc(1, sizeof *s);
    int rc;

    *out = NULL;
    if (!s)
        return fault_errno(f, ENOMEM, "open the store");
    s->lock_fd = -1;
    if ((rc = bus_guard_install())) {
        free(s);
        return fault_errno(f, -rc, "open the store");
    }
    s->boot_time = wall_ms();
    pthread_mutex_init(&s->append_lock, NULL);
    retention_init(s);
    cold_read_init(&s->cold);
    if ((rc = flush_init(s))) {
        free(s);
        return fault_errno(f, -rc, "open the store");
    }
    if ((rc = open_store(s, conf, f)))
        free_store(s);
    else
        *out = s;
    return rc;
}

int store_close(struct store *s)
{
    int rc, index_rc, count_rc;

    if (!s)
        return 0;
    retention_stop(s);
    index_rc = index_stop(s);
    flush_stop(s);
    commit_log_stop(&s->log);
    if (!(rc = flush_log(s)) && !(rc = flush_queues(s, true))) {
        s->checkpoint.log_time = atomic_load(&s->flush.flushed_time);
        s->checkpoint.index_time = atomic_load(&s->index.safe_time);
        rc = checkpoint_write(s->checkpoint_path, &s->checkpoint);
    }
    if (!rc && (count_rc = queue_count_note(s->checkpoint_path, s->queue_dir, s->checkpoint.queue_offset)))
        log_warn("store %s: its queues were not counted: %s", s->root, strerror(-count_rc));
    if (!rc)
        rc = index_rc;
    if (!rc && s->writes != WRITES_FAILED) {
        if (unlink(s->abort_path) < 0 && errno != ENOENT)
            rc = -errno;
        else
            rc = dir_sync(s->root);
    }
    if (rc)
        log_error("store %s: not closed cleanly: %s", s->root, strerror(-rc));
    free_store(s);
    return rc;
}

/* ---- queues ---- */

struct store_queue *store_queue(struct store *s, struct str topic, int32_t queue_id)
{
    return queue_table_get(&s->queues, &s->env, topic, queue_id);
}

struct store_queue *store_queue_find(struct store *s, struct str topic, int32_t queue_id)
{
    return queue_table_find(&s->queues, &s->env, topic, queue_id);
}

int64_t store_topic_messages(struct store *s, struct str topic)
{
    struct store_queue **all;
    int64_t total = 0;
    size_t n;
    int rc = queue_table_list_topic(&s->queues, &s->env, topic, &all, &n);

    if (rc)
        return rc;
    for (size_t i = 0; i < n && !rc; i++) {
        rc = queue_load(&s->env, all[i]);
        total += queue_max(all[i]) - queue_min(all[i]);
    }
    free(all);
    return rc ? rc : total;
}

/* From now on no append reaches the queue's files, and nobody makes any. */
static void kill_queue(void *arg, struct store_queue *q)
{
    struct store *s = arg;

    pthread_mutex_lock(&s->env.load_lock);
    pthread_mutex_lock(&s->env.grow_lock);
    pthread_mutex_lock(&s->append_lock);
    atomic_store(&q->dead, true);
    atomic_store(&q->loaded, true);
    atomic_store(&q->min, queue_max(q));
    q->tail = NULL;
    if (q->ext)
        queue_ext_leave(q->ext);
    pthread_mutex_unlock(&s->append_lock);
    pthread_mutex_unlock(&s->env.grow_lock);
    pthread_mutex_unlock(&s->env.load_lock);
}

int store_delete_topic(struct store *s, struct str topic)
{
    return queue_table_remove(&s->queues, &s->env, topic, kill_queue, s);
}

int store_delete_queue(struct store *s, struct store_queue *q)
{
    return queue_table_remove_one(&s->queues, &s->env, q, kill_queue, s);
}

void store_on_arrival(struct store *s, void (*fn)(void *ctx, struct store_queue *q, int64_t max), void *ctx)
{
    s->on_arrival = fn;
    s->arrival_ctx = ctx;
}

void store_queue_set_data(struct store_queue *q, void *data) { atomic_store(&q->data, data); }
void *store_queue_data(const struct store_queue *q) { return atomic_load(&q->data); }

/* ---- state ---- */

int64_t store_log_end(struct store *s) { return commit_log_max(&s->log); }

void store_stats(struct store *s, struct store_stats *out)
{
    int64_t asked;

    *out = (struct store_stats){
        .log_min = commit_log_min(&s->log),
        .log_max = commit_log_max(&s->log),
        .flushed = atomic_load(&s->flush.flushed),
        .log_syncs = atomic_load(&s->flush.syncs),
        .appended_messages = atomic_load(&s->appended_messages),
        .appended_bytes = atomic_load(&s->appended_bytes),
        .append_refused = atomic_load(&s->append_refused),
        .got_messages = atomic_load(&s->got_messages),
        .got_bytes = atomic_load(&s->got_bytes),
        .get_found = atomic_load(&s->get_found),
        .get_missed = atomic_load(&s->get_missed),
        .last_store_timestamp = atomic_load(&s->log.last_time),
        .index_behind = index_behind(s),
        .disk_used_ratio = disk_used_by_log(s),
        .queue_maps = atomic_load(&s->maps.count),
        .expired_files = atomic_load(&s->retention.expired_files),
        .boot_timestamp = s->boot_time,
        .earliest_store_timestamp = -1,
    };
    if (out->log_max - out->log_min >= MESSAGE_MIN_SIZE)
        out->earliest_store_timestamp = commit_log_time_at(&s->log, out->log_min, MESSAGE_MIN_SIZE);
    asked = mono_ms();
    pthread_mutex_lock(&s->append_lock);
    out->append_wait_ms = mono_ms() - asked;
    out->writable = s->writes == WRITES_ON && !atomic_load(&s->disk_full);
    if (!out->writable && s->writes == WRITES_ON)
        snprintf(out->why_not, sizeof out->why_not, "the disk is more than %d%% full", atomic_load(&s->disk_full));
    else if (!out->writable)
        str_copy(out->why_not, sizeof out->why_not,
                 str_n(s->writes_fault.text, strnlen(s->writes_fault.text, sizeof out->why_not - 1)));
    pthread_mutex_unlock(&s->append_lock);
}

const char *store_root(const struct store *s) { return s->root; }
int32_t store_delay_levels(const struct store *s) { return s->conf.n_delay; }

int64_t store_delay_ms(const struct store *s, int level)
{
    if (level > s->conf.n_delay)
        level = s->conf.n_delay;
    return level < 1 ? 0 : s->conf.delay_ms[level];
}
