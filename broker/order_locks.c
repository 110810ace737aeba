#include "broker/order_locks.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <uthash.h>

#include "common/clock.h"
#include "common/json.h"
#include "common/log.h"

#define LOCKS_MAX 1000000            /* of all groups; some 700 bytes each */
#define LOCK_BODY_MAX ((size_t)32 << 20)
#define LOCK_KEY_MAX (GROUP_NAME_MAX_LONG + TOPIC_NAME_MAX_LONG + 24)

struct order_lock {
    UT_hash_handle hh;
    int64_t renewed;                 /* mono ms */
    char client[256];
    size_t group_len;
    char key[];                      /* GROUP NUL TOPIC NUL QUEUE */
};

struct order_locks {
    pthread_mutex_t mutex;           /* guards the table; a leaf */
    struct order_lock *table;
    int64_t full_told;               /* mono ms: when the log was told that there are too many; under mutex */
};

/* 0 when it does not fit: no such queue can be locked. */
static size_t make_key(char key[LOCK_KEY_MAX], struct str group, struct str topic, int32_t queue)
{
    size_t n;

    if (group.n > GROUP_NAME_MAX_LONG || topic.n > TOPIC_NAME_MAX_LONG)
        return 0;
    memcpy(key, group.p, group.n);
    n = group.n;
    key[n++] = 0;
    memcpy(key + n, topic.p, topic.n);
    n += topic.n;
    key[n++] = 0;
    return n + fmt_i64(key + n, queue);
}

static bool alive(const struct order_lock *l, int64_t now) { return now - l->renewed < ORDER_LOCK_MS; }

static struct order_lock *find(struct order_locks *l, const char *key, size_t n)
{
    struct order_lock *o;
    HASH_FIND(hh, l->table, key, n, o);
    return o;
}

static void tell_full(struct order_locks *l, int64_t now)
{
    if (now - l->full_told < 10000)
        return;
    l->full_told = now;
    log_warn("all %d order locks are held: more queues cannot be consumed in order until some are given back", LOCKS_MAX);
}

/* Takes or renews; true when the client holds the queue now. */
static bool take(struct order_locks *l, struct str group, struct str topic, int32_t queue, struct str client)
{
    char key[LOCK_KEY_MAX];
    size_t n = make_key(key, group, topic, queue);
    struct order_lock *o = n ? find(l, key, n) : NULL;
    int64_t now = mono_ms();

    if (!n)
        return false;
    if (o && alive(o, now) && !str_is(client, o->client))
        return false;
    if (!o) {
        if (HASH_COUNT(l->table) >= LOCKS_MAX) {
            tell_full(l, now);
            return false;
        }
        o = calloc(1, sizeof(*o) + n);
        if (!o)
            return false;
        memcpy(o->key, key, n);
        o->group_len = group.n;
        HASH_ADD_KEYPTR(hh, l->table, o->key, n, o);
    } else if (!str_is(client, o->client)) {
        log_info("order lock of %.*s queue %d of group %.*s passes from %s to %.*s: it was not renewed", STR_ARG(topic),
                 queue, STR_ARG(group), o->client, STR_ARG(client));
    }
    str_copy(o->client, sizeof(o->client), client);
    o->renewed = now;
    return true;
}

static void give(struct order_locks *l, struct str group, struct str topic, int32_t queue, struct str client)
{
    char key[LOCK_KEY_MAX];
    size_t n = make_key(key, group, topic, queue);
    struct order_lock *o = n ? find(l, key, n) : NULL;

    if (o && str_is(client, o->client)) {
        HASH_DEL(l->table, o);
        free(o);
    }
}

bool order_lock_holder(struct order_locks *l, struct str group, struct str topic, int32_t queue, char out[256])
{
    char key[LOCK_KEY_MAX];
    size_t n = make_key(key, group, topic, queue);
    struct order_lock *o;
    bool held;

    pthread_mutex_lock(&l->mutex);
    o = n ? find(l, key, n) : NULL;
    held = o && alive(o, mono_ms());
    if (held)
        memcpy(out, o->client, sizeof(o->client));
    pthread_mutex_unlock(&l->mutex);
    return held;
}

bool order_lock_any(struct order_locks *l, struct str group)
{
    struct order_lock *o, *next;
    int64_t now = mono_ms();
    bool any = false;

    pthread_mutex_lock(&l->mutex);
    HASH_ITER(hh, l->table, o, next)
        if (o->group_len == group.n && memcmp(o->key, group.p, group.n) == 0 && alive(o, now)) {
            any = true;
            break;
        }
    pthread_mutex_unlock(&l->mutex);
    return any;
}

void order_locks_sweep(struct order_locks *l)
{
    struct order_lock *o, *next;
    int64_t now = mono_ms();

    pthread_mutex_lock(&l->mutex);
    HASH_ITER(hh, l->table, o, next)
        if (!alive(o, now)) {
            HASH_DEL(l->table, o);
            free(o);
        }
    pthread_mutex_unlock(&l->mutex);
}

int order_locks_open(struct order_locks **out)
{
    struct order_locks *l = calloc(1, sizeof(*l));

    if (!l)
        return -ENOMEM;
    pthread_mutex_init(&l->mutex, NULL);
    *out = l;
    return 0;
}

void order_locks_close(struct order_locks *l)
{
    struct order_lock *o, *next;

    HASH_ITER(hh, l->table, o, next) {
        HASH_DEL(l->table, o);
        free(o);
    }
    pthread_mutex_destroy(&l->mutex);
    free(l);
}

/* ---- the two requests ---- */

static bool valid(struct str group, struct str client)
{
    return group_name_check(group, NULL) == 0 && client.n && client.n < 256;
}

static void lock_all(struct request *r, const struct json *root, struct str group, struct str client)
{
    struct order_locks *l = broker_of(r)->order_locks;
    struct buf body = {0};
    struct json_writer w;

    jw_init(&w, &body, false);
    jw_object(&w);
    jw_karray(&w, "lockOKMQSet");
    pthread_mutex_lock(&l->mutex);
    json_each(q, json_member(root, "mqSet")) {
        struct str topic = json_str(q, "topic");
        int64_t queue = json_int(q, "queueId", -1);
        if (queue < 0 || queue > INT32_MAX || topic_name_check(topic, NULL) ||
            !take(l, group, topic, (int32_t)queue, client))
            continue;
        jw_object(&w);
        jw_kstr(&w, "brokerName", json_str(q, "brokerName"));
        jw_kint(&w, "queueId", queue);
        jw_kstr(&w, "topic", topic);
        jw_object_end(&w);
    }
    pthread_mutex_unlock(&l->mutex);
    jw_array_end(&w);
    jw_object_end(&w);
    if (buf_failed(&body))
        reply(r, RC_SYSTEM_BUSY, "no memory for the answer: try again");
    else
        reply_body(r, buf_str(&body));
    buf_free(&body);
}

static void unlock_all(struct request *r, const struct json *root, struct str group, struct str client)
{
    struct order_locks *l = broker_of(r)->order_locks;

    pthread_mutex_lock(&l->mutex);
    json_each(q, json_member(root, "mqSet"))
        give(l, group, json_str(q, "topic"), (int32_t)json_int(q, "queueId", -1), client);
    pthread_mutex_unlock(&l->mutex);
    reply(r, RC_SUCCESS, NULL);
}

static void with_body(struct request *r,
                      void (*act)(struct request *r, const struct json *root, struct str group, struct str client))
{
    struct arena a;
    struct json *root;

    arena_init(&a, LOCK_BODY_MAX);
    if (json_parse(&a, request_cmd(r)->body, &root))
        reply(r, RC_SYSTEM_ERROR, "the body is not a LockBatchRequestBody");
    else if (!valid(json_str(root, "consumerGroup"), json_str(root, "clientId")))
        reply(r, RC_INVALID_PARAMETER, "consumerGroup and clientId are needed to lock or unlock queues");
    else
        act(r, root, json_str(root, "consumerGroup"), json_str(root, "clientId"));
    arena_free(&a);
}

void op_lock_batch_mq(struct request *r) { with_body(r, lock_all); }
void op_unlock_batch_mq(struct request *r) { with_body(r, unlock_all); }
