#include "store/queue_table.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file.h"
#include "common/log.h"

int queue_table_init(struct queue_table *t)
{
    memset(t, 0, sizeof *t);
    t->n_buckets = 64;
    t->buckets = calloc(t->n_buckets, sizeof *t->buckets);
    pthread_rwlock_init(&t->lock, NULL);
    pthread_mutex_init(&t->walk_lock, NULL);
    return t->buckets ? 0 : -ENOMEM;
}

static void free_chain(struct store_queue *q)
{
    while (q) {
        struct store_queue *next = q->next;
        queue_free(q);
        q = next;
    }
}

void queue_table_free(struct queue_table *t)
{
    if (!t->n_buckets)
        return;
    for (size_t i = 0; t->buckets && i < t->n_buckets; i++)
        free_chain(t->buckets[i]);
    free_chain(t->retired);
    free(t->buckets);
    pthread_rwlock_destroy(&t->lock);
    pthread_mutex_destroy(&t->walk_lock);
    memset(t, 0, sizeof *t);
}

static uint32_t hash_of(struct str topic, int32_t id)
{
    uint32_t h = 2166136261u ^ (uint32_t)id * 2654435761u;

    for (size_t i = 0; i < topic.n; i++)
        h = (h ^ (unsigned char)topic.p[i]) * 16777619u;
    return h ^ h >> 15;
}

static struct store_queue *lookup(const struct queue_table *t, struct str topic, int32_t id, uint32_t hash)
{
    struct store_queue *q = t->buckets[hash & (t->n_buckets - 1)];

    while (q && (q->hash != hash || q->id != id || !str_eq(queue_topic(q), topic)))
        q = q->next;
    return q;
}

/* Without memory the chains only get longer. */
static void grow(struct queue_table *t)
{
    size_t n = t->n_buckets * 2;
    struct store_queue **buckets = calloc(n, sizeof *buckets);

    if (!buckets)
        return;
    for (size_t i = 0; i < t->n_buckets; i++) {
        for (struct store_queue *q = t->buckets[i], *next; q; q = next) {
            next = q->next;
            q->next = buckets[q->hash & (n - 1)];
            buckets[q->hash & (n - 1)] = q;
        }
    }
    free(t->buckets);
    t->buckets = buckets;
    t->n_buckets = n;
}

static struct store_queue *insert(struct queue_table *t, const struct queue_env *env, struct str topic, int32_t id,
                                  uint32_t hash)
{
    struct store_queue *q = queue_new(env, topic, id, hash), **bucket;

    if (!q)
        return NULL;
    if (t->n >= t->n_buckets)
        grow(t);
    bucket = &t->buckets[hash & (t->n_buckets - 1)];
    q->next = *bucket;
    *bucket = q;
    t->n++;
    return q;
}

/* Under the lock (exclusive): finds or makes. */
static struct store_queue *lookup_or_insert(struct queue_table *t, const struct queue_env *env, struct str topic,
                                            int32_t id)
{
    uint32_t hash = hash_of(topic, id);
    struct store_queue *q = lookup(t, topic, id, hash);

    return q ? q : insert(t, env, topic, id, hash);
}

struct store_queue *queue_table_get(struct queue_table *t, const struct queue_env *env, struct str topic, int32_t id)
{
    struct store_queue *q;

    pthread_rwlock_rdlock(&t->lock);
    q = lookup(t, topic, id, hash_of(topic, id));
    pthread_rwlock_unlock(&t->lock);
    if (q || !queue_can_be_named(topic) || id < 0)
        return q;
    pthread_rwlock_wrlock(&t->lock);
    q = lookup_or_insert(t, env, topic, id);
    pthread_rwlock_unlock(&t->lock);
    return q;
}

static bool is_on_disk(const struct queue_env *env, struct str topic, int32_t id)
{
    char dir[4096];
    struct stat st;

    return !queue_dir_of(env, topic, id, dir, sizeof dir) && stat(dir, &st) == 0 && S_ISDIR(st.st_mode);
}

struct store_queue *queue_table_find(struct queue_table *t, const struct queue_env *env, struct str topic, int32_t id)
{
    struct store_queue *q;

    pthread_rwlock_rdlock(&t->lock);
    q = lookup(t, topic, id, hash_of(topic, id));
    pthread_rwlock_unlock(&t->lock);
    if (q || atomic_load(&t->complete) || !queue_can_be_named(topic) || id < 0)
        return q;
    pthread_rwlock_wrlock(&t->lock);         /* the look at the disk too: its topic may be on its way out */
    if (is_on_disk(env, topic, id))
        q = lookup_or_insert(t, env, topic, id);
    pthread_rwlock_unlock(&t->lock);
    return q;
}

void queue_table_known(struct queue_table *t, void (*each)(void *arg, struct store_queue *q), void *arg)
{
    pthread_rwlock_rdlock(&t->lock);
    for (size_t i = 0; i < t->n_buckets; i++)
        for (struct store_queue *q = t->buckets[i]; q; q = q->next)
            each(arg, q);
    pthread_rwlock_unlock(&t->lock);
}

int queue_table_each(struct queue_table *t, const struct queue_env *env,
                     void (*each)(void *arg, struct store_queue *q), void *arg)
{
    int rc = queue_table_complete(t, env);

    queue_table_known(t, each, arg);
    return rc;
}

/* ---- names on disk ---- */

static int queue_id_of(const char *name, int32_t *id)
{
    int rc = str_i32(str_of(name), id);

    return rc || *id < 0 || name[0] < '0' || name[0] > '9' ? -EINVAL : 0;
}

/* The names that one getdents64 gave. */
static int take_names(struct queue_table *t, const struct queue_env *env, struct str topic, const char *p, ssize_t n)
{
    while (n > 0) {
        const struct dirent64 *e = (const void *)p;
        int32_t id;

        if (queue_id_of(e->d_name, &id) == 0 && !lookup_or_insert(t, env, topic, id))
            return -ENOMEM;
        p += e->d_reclen;
        n -= e->d_reclen;
    }
    return 0;
}

/* Takes up the queues of one topic, under the lock (exclusive): a topic that is removed does not come back. By the system
 * calls themselves: a hundred thousand opendir take longer than the rest of the walk. */
static int take_topic(struct queue_table *t, const struct queue_env *env, int root, const char *path, struct str topic)
{
    _Alignas(struct dirent64) char names[8192];
    int fd = openat(root, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;
    ssize_t n = 0;

    if (fd < 0)
        return errno == ENOTDIR || errno == ENOENT ? 0 : -errno;
    while (!rc && (n = getdents64(fd, names, sizeof names)) > 0)
        rc = take_names(t, env, topic, names, n);
    if (!rc && n < 0)
        rc = -errno;
    close(fd);
    return rc;
}

/* Goes through the topics on disk until all are taken up, or one queue is when that is enough. */
static int walk(struct queue_table *t, const struct queue_env *env, bool one_is_enough)
{
    DIR *d = opendir(env->root);
    struct dirent *e;
    int rc = 0;

    if (!d)
        return -errno;
    while (!rc && !(one_is_enough && t->n) && (errno = 0, e = readdir(d))) {
        struct str topic = str_of(e->d_name);
        if (queue_can_be_named(topic)) {
            pthread_rwlock_wrlock(&t->lock);
            rc = take_topic(t, env, dirfd(d), e->d_name, topic);
            pthread_rwlock_unlock(&t->lock);
        }
        errno = 0;
    }
    if (!rc)
        rc = -errno;
    closedir(d);
    return rc;
}

int queue_table_complete(struct queue_table *t, const struct queue_env *env)
{
    int rc = 0;

    if (atomic_load(&t->complete))
        return 0;
    pthread_mutex_lock(&t->walk_lock);
    if (!atomic_load(&t->complete)) {
        rc = walk(t, env, false);
        if (rc)
            log_error("read the consume queues of %s: %s", env->root, strerror(-rc));
        else
            atomic_store(&t->complete, true);
    }
    pthread_mutex_unlock(&t->walk_lock);
    return rc;
}

int queue_table_any(struct queue_table *t, const struct queue_env *env)
{
    int rc;

    pthread_mutex_lock(&t->walk_lock);
    rc = walk(t, env, true);
    pthread_mutex_unlock(&t->walk_lock);
    return rc ? rc : t->n > 0;
}

/* ---- removal ---- */

/* Removes the files of one directory and the directory; directories inside are the caller's. */
static int remove_flat(const char *dir)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    int rc = 0;

    if (!d)
        return errno == ENOENT ? 0 : -errno;
    while ((e = readdir(d))) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (unlinkat(dirfd(d), e->d_name, 0) < 0 && errno != EISDIR && errno != EPERM && errno != ENOENT && !rc)
            rc = -errno;
    }
    closedir(d);
    return rmdir(dir) < 0 && !rc ? -errno : rc;
}

static int remove_files(const struct queue_env *env, struct store_queue *q)
{
    char dir[4096];
    int rc = queue_dir(env, q, dir, sizeof dir), err;

    if (rc)
        return rc;
    file_list_cut(&q->files, dir, 0);
    rc = remove_flat(dir);
    if (!env->ext_root || (err = queue_ext_dir(env, q, dir, sizeof dir)))
        return rc;
    if (q->ext)
        file_list_cut(queue_ext_files(q->ext), dir, 0);
    err = remove_flat(dir);
    return rc ? rc : err;
}

static int remove_queue(struct queue_table *t, const struct queue_env *env, struct store_queue **at)
{
    struct store_queue *q = *at;

    *at = q->next;
    q->next = t->retired;
    t->retired = q;
    t->n--;
    return remove_files(env, q);
}

/* Under the lock: those of the topic (all, when it is empty). */
static int list(const struct queue_table *t, struct str topic, struct store_queue ***all, size_t *n)
{
    *n = 0;
    *all = malloc((t->n + 1) * sizeof **all);
    for (size_t i = 0; *all && i < t->n_buckets; i++)
        for (struct store_queue *q = t->buckets[i]; q; q = q->next)
            if (!topic.n || str_eq(queue_topic(q), topic))
                (*all)[(*n)++] = q;
    return *all ? 0 : -ENOMEM;
}

int queue_table_list(struct queue_table *t, const struct queue_env *env, struct store_queue ***all, size_t *n)
{
    int rc = queue_table_complete(t, env);

    if (rc)
        return rc;
    pthread_rwlock_rdlock(&t->lock);
    rc = list(t, str_of(""), all, n);
    pthread_rwlock_unlock(&t->lock);
    return rc;
}

int queue_table_remove_one(struct queue_table *t, const struct queue_env *env, struct store_queue *q,
                           void (*before)(void *arg, struct store_queue *q), void *arg)
{
    struct store_queue **at;
    int rc = -ENOENT;

    pthread_rwlock_wrlock(&t->lock);
    at = &t->buckets[q->hash & (t->n_buckets - 1)];
    while (*at && *at != q)
        at = &(*at)->next;
    if (*at) {
        before(arg, q);
        rc = remove_queue(t, env, at);
        if (rc == -ENOENT)
            rc = 0;
    }
    pthread_rwlock_unlock(&t->lock);
    return rc;
}

/* ROOT/TOPIC, which is empty now. */
static int remove_topic_dir(const char *root, struct str topic)
{
    char dir[4096];
    int n = snprintf(dir, sizeof dir, "%s/%.*s", root, STR_ARG(topic));

    if (n < 0 || (size_t)n >= sizeof dir)
        return -EINVAL;
    return rmdir(dir) < 0 && errno != ENOENT ? -errno : 0;
}

/* The queues of a topic that nobody named, under the lock (exclusive). */
static int take_names_of(struct queue_table *t, const struct queue_env *env, struct str topic)
{
    char dir[4096];
    int n = snprintf(dir, sizeof dir, "%s/%.*s", env->root, STR_ARG(topic));

    return n < 0 || (size_t)n >= sizeof dir ? -EINVAL : take_topic(t, env, AT_FDCWD, dir, topic);
}

int queue_table_list_topic(struct queue_table *t, const struct queue_env *env, struct str topic, struct store_queue ***all,
                           size_t *n)
{
    int rc = 0;

    if (!queue_can_be_named(topic))
        return -EINVAL;
    pthread_rwlock_wrlock(&t->lock);
    if (!atomic_load(&t->complete))
        rc = take_names_of(t, env, topic);
    if (!rc)
        rc = list(t, topic, all, n);
    pthread_rwlock_unlock(&t->lock);
    return rc;
}

int queue_table_remove(struct queue_table *t, const struct queue_env *env, struct str topic,
                       void (*before)(void *arg, struct store_queue *q), void *arg)
{
    int rc = 0, err;

    if (!queue_can_be_named(topic))
        return -EINVAL;
    pthread_rwlock_wrlock(&t->lock);
    if (!atomic_load(&t->complete))
        rc = take_names_of(t, env, topic);
    for (size_t i = 0; i < t->n_buckets; i++) {
        struct store_queue **at = &t->buckets[i];
        while (*at) {
            if (!str_eq(queue_topic(*at), topic)) {
                at = &(*at)->next;
                continue;
            }
            before(arg, *at);
            err = remove_queue(t, env, at);
            if (!rc)
                rc = err;
        }
    }
    err = remove_topic_dir(env->root, topic);
    if (env->ext_root && !err && (err = remove_topic_dir(env->ext_root, topic)) == -ENOTEMPTY)
        err = 0;                     /* of queues that were never here */
    pthread_rwlock_unlock(&t->lock);
    rc = rc ? rc : err;
    if (!rc && env->ext_root)
        rc = dir_sync(env->ext_root);
    return rc ? rc : dir_sync(env->root);
}
