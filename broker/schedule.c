#include "broker/schedule.h"

#include <errno.h>
#include <stdlib.h>

#include "broker/put.h"
#include "common/arena.h"
#include "common/clock.h"
#include "common/json.h"
#include "common/log.h"
#include "common/thread.h"

#define ROUND_MAX 256               /* messages of one level before the next has its turn */
#define RETRY_MS 1000               /* after a delivery that the store refused */
#define SLEEP_MAX_MS 10000          /* the wall clock may be set while we sleep */
#define FLUSH_WAIT_MS 5000          /* for the log, before progress is written */
#define NEVER INT64_MAX

struct schedule {
    struct broker *b;
    int n_levels;
    int64_t delay_ms[STORE_DELAY_LEVELS_MAX + 1];    /* by level, from 1 */
    pthread_t thread;
    bool running;
    pthread_mutex_t lock;            /* guards all below; nothing else is taken under it */
    pthread_cond_t wake;
    bool stop;
    int64_t earliest;                /* wall ms: the first that was put aside since the thread looked; NEVER */
    int64_t offset[STORE_DELAY_LEVELS_MAX + 1];      /* next queue offset to deliver */
    bool known[STORE_DELAY_LEVELS_MAX + 1];          /* the level has been used, so the file names it */
    struct data_version version;
    int64_t changes;
    int64_t end;                     /* log offset after the last message delivered */
};

/* ---- levels ---- */

int schedule_level(const struct schedule *s, struct str delay)
{
    int64_t level;

    if (!delay.n)
        return 0;
    if (str_i64(delay, &level) || level > INT32_MAX || level < INT32_MIN)
        return -EINVAL;
    if (level <= 0)
        return 0;
    return level < s->n_levels ? (int)level : s->n_levels;
}

/* ---- putting aside ---- */

static const char *const replaced[] = {
    "DELAY", "REAL_TOPIC", "REAL_QID", "TIMER_DELIVER_MS", "TIMER_DELAY_SEC", "TIMER_DELAY_MS", NULL,
};

/* The properties of m in its form for the schedule topic. */
static int aside_properties(const struct message *m, int level, struct buf *out, struct fault *f)
{
    prop_copy_without(out, m->properties, replaced);
    prop_put_i64(out, "DELAY", level);
    prop_put(out, "REAL_TOPIC", m->topic);
    prop_put_i64(out, "REAL_QID", m->queue_id);
    if (buf_failed(out))
        return fault_set(f, RC_SYSTEM_BUSY, ENOMEM, "no memory to delay the message");
    if (out->n > PROPERTIES_MAX)
        return fault_set(f, RC_MESSAGE_ILLEGAL, EMSGSIZE,
                         "the message's properties, with those that delay it, have more than %d bytes",
                         PROPERTIES_MAX);
    return 0;
}

/* A message is due at that time: the thread may have to get up earlier than it meant to. */
static void schedule_due(struct schedule *s, int64_t due)
{
    pthread_mutex_lock(&s->lock);
    if (due < s->earliest) {
        s->earliest = due;
        pthread_cond_signal(&s->wake);
    }
    pthread_mutex_unlock(&s->lock);
}

int schedule_append(struct schedule *s, const struct message *m, int level, struct store_put *out, struct fault *f)
{
    struct topic *t = meta_topic(s->b->meta, str_of(TOPIC_SCHEDULE));
    struct buf properties = {0};
    struct message aside = *m;
    /* The queue keeps the time of delivery where others keep the tag's code. */
    int64_t due = wall_ms() + s->delay_ms[level];
    int rc;

    if (!t)
        return fault_set(f, RC_SYSTEM_ERROR, ENOENT,
                         "the topic of delayed messages, %s, is missing", TOPIC_SCHEDULE);
    rc = aside_properties(m, level, &properties, f);
    aside.topic = str_of(t->info.name);
    aside.queue_id = level - 1;
    aside.properties = buf_str(&properties);
    if (!rc)
        rc = put_append(s->b, t, &aside, &due, 1, out, f);
    buf_free(&properties);
    if (!rc)
        schedule_due(s, due);
    return rc;
}

/* ---- progress ---- */

static int64_t progress(struct schedule *s, int level)
{
    int64_t offset;

    pthread_mutex_lock(&s->lock);
    offset = s->offset[level];
    pthread_mutex_unlock(&s->lock);
    return offset;
}

/* end: of the last message delivered, 0 when none was. */
static void progress_to(struct schedule *s, int level, int64_t offset, int64_t end)
{
    pthread_mutex_lock(&s->lock);
    if (end > s->end)
        s->end = end;
    if (s->offset[level] != offset || !s->known[level]) {
        s->offset[level] = offset;
        s->known[level] = true;
        data_version_bump(&s->version);
        s->changes++;
    }
    pthread_mutex_unlock(&s->lock);
}

static struct store_queue *level_queue(struct schedule *s, int level)
{
    return store_queue_find(s->b->store, str_of(TOPIC_SCHEDULE), level - 1);
}

bool schedule_progress(struct schedule *s, int level, int64_t *offset, int64_t *max)
{
    struct store_queue *q;

    bool used;

    if (level < 1 || level > s->n_levels)
        return false;
    pthread_mutex_lock(&s->lock);
    used = s->known[level];
    *offset = s->offset[level];
    pthread_mutex_unlock(&s->lock);
    if (!used)
        return false;
    q = level_queue(s, level);
    *max = q ? store_queue_max(s->b->store, q) : 0;
    return true;
}

/* ---- delivering ---- */

/* What a record of the schedule topic was before it was put aside. Its properties stay as they are: consumers of
 * Apache's broker also see DELAY, REAL_TOPIC and REAL_QID. false: it does not say where it belongs. */
static bool restore(struct message *m)
{
    struct str topic = prop_get(m->properties, "REAL_TOPIC");

    if (!topic.n || topic.n > TOPIC_NAME_MAX_LONG || str_is(topic, TOPIC_TRANS_HALF) ||
        str_i32(prop_get(m->properties, "REAL_QID"), &m->queue_id))
        return false;
    m->topic = topic;
    m->prepared_transaction_offset = 0;
    return true;
}

/* Refusals that another try will not change. */
static bool is_final(int rc) { return rc == -ENOENT || rc == -EMSGSIZE || rc == -EINVAL; }

/* Delivers one entry; *end is the log's offset after it. 0 also when it can never be delivered, which is logged; else
 * try again later. */
static int deliver(struct schedule *s, int level, int64_t offset, const struct store_entry *e, int64_t *end)
{
    struct store_put put = {0};
    struct store_result *res = NULL;
    struct message m;
    struct fault f;
    int rc = store_load(s->b->store, e->physical_offset, e->size, &m, &res);

    if (rc == -ENOENT) {
        log_warn("delayed message %lld of level %d is no longer in the log", (long long)offset, level);
        return 0;
    }
    if (rc)
        return rc;
    if (!restore(&m)) {
        log_error("delayed message %lld of level %d does not say where it belongs: it is left out", (long long)offset, level);
        store_release(res);
        return 0;
    }
    rc = put_due(s->b, &m, &put, &f);
    if (rc)
        log_warn("delayed message %lld of level %d for topic %.*s %s: %s", (long long)offset, level, STR_ARG(m.topic),
                 is_final(rc) ? "is left out" : "has to wait", f.text);
    store_release(res);
    *end = put.end;
    return is_final(rc) ? 0 : rc;
}

static bool stopping(struct schedule *s)
{
    bool stop;

    pthread_mutex_lock(&s->lock);
    stop = s->stop;
    pthread_mutex_unlock(&s->lock);
    return stop;
}

/* Where a level goes on: its progress, or the nearest that the queue still has. */
static int64_t level_start(struct schedule *s, struct store_queue *q, int level)
{
    int64_t offset = progress(s, level), min = store_queue_min(s->b->store, q), max = store_queue_max(s->b->store, q);
    int64_t right = offset < min ? min : offset > max ? max : offset;

    if (right != offset) {
        log_warn("the progress of delay level %d was %lld, its queue has %lld to %lld: going on at %lld", level,
                 (long long)offset, (long long)min, (long long)max, (long long)right);
        progress_to(s, level, right, 0);
    }
    return right;
}

/* Delivers what is due of a level. When (wall ms) to look again; NEVER: when something is put aside. */
static int64_t deliver_level(struct schedule *s, int level)
{
    struct store_queue *q = level_queue(s, level);
    struct store_entry e;
    int64_t offset;

    if (!q)
        return NEVER;
    offset = level_start(s, q, level);
    for (int n = 0; n < ROUND_MAX && !stopping(s); n++) {
        int64_t now = wall_ms(), end = 0;

        if (offset >= store_queue_max(s->b->store, q))
            return NEVER;
        if (store_entry(s->b->store, q, offset, &e))
            return now + RETRY_MS;          /* deleted just now: level_start finds the next */
        /* A time that no message of this level can have (the clock was set back): deliver it now. */
        if (e.tags_code > now && e.tags_code <= now + s->delay_ms[level])
            return e.tags_code;
        if (deliver(s, level, offset, &e, &end))
            return now + RETRY_MS;
        progress_to(s, level, ++offset, end);
    }
    return 0;
}

static int64_t deliver_all(struct schedule *s)
{
    int64_t next = NEVER;

    for (int level = 1; level <= s->n_levels; level++) {
        int64_t at = deliver_level(s, level);
        next = at < next ? at : next;
    }
    return next;
}

/* Sleeps until then, or until something is put aside that is due earlier, or until the end. */
static void sleep_until(struct schedule *s, int64_t then)
{
    int64_t end = mono_ms() + SLEEP_MAX_MS;

    pthread_mutex_lock(&s->lock);
    for (;;) {
        int64_t due = s->earliest < then ? s->earliest : then, wait = due == NEVER ? SLEEP_MAX_MS : due - wall_ms();
        int64_t until = mono_ms() + wait;
        struct timespec ts;

        if (s->stop || wait <= 0 || mono_ms() >= end)
            break;
        until = until < end ? until : end;
        ts = (struct timespec){until / 1000, until % 1000 * 1000000};
        pthread_cond_timedwait(&s->wake, &s->lock, &ts);
    }
    s->earliest = NEVER;             /* what was put aside until now is in the queues that are looked at next */
    pthread_mutex_unlock(&s->lock);
}

static void *run(void *arg)
{
    struct schedule *s = arg;

    while (!stopping(s))
        sleep_until(s, deliver_all(s));
    return NULL;
}

/* ---- life ---- */

int schedule_open(struct broker *b, struct schedule **out, struct fault *f)
{
    struct schedule *s = calloc(1, sizeof(*s));

    if (!s)
        return fault_errno(f, ENOMEM, "making the table of delay levels");
    s->b = b;
    s->earliest = NEVER;
    s->n_levels = store_delay_levels(b->store);
    for (int level = 1; level <= s->n_levels; level++)
        s->delay_ms[level] = store_delay_ms(b->store, level);
    pthread_mutex_init(&s->lock, NULL);
    cond_init(&s->wake);
    *out = s;
    return 0;
}

int schedule_run(struct schedule *s)
{
    int rc = thread_start(&s->thread, "schedule", run, s);

    s->running = rc == 0;
    return rc;
}

void schedule_close(struct schedule *s)
{
    pthread_mutex_lock(&s->lock);
    s->stop = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
    if (s->running)
        pthread_join(s->thread, NULL);
    s->running = false;
}

void schedule_free(struct schedule *s)
{
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* ---- delayOffset.json ---- */

int64_t schedule_changes(struct schedule *s)
{
    int64_t n;

    pthread_mutex_lock(&s->lock);
    n = s->changes;
    pthread_mutex_unlock(&s->lock);
    return n;
}

/* A wait for the log to be on disk. */
struct flush_wait {
    pthread_mutex_t lock;            /* guards the two below; a leaf */
    pthread_cond_t done;
    bool over, ok;
};

static void on_flushed(void *arg, bool ok)
{
    struct flush_wait *w = arg;

    pthread_mutex_lock(&w->lock);
    w->over = true;
    w->ok = ok;
    pthread_cond_signal(&w->done);
    pthread_mutex_unlock(&w->lock);
}

static bool wait_flushed(struct store *store, int64_t end)
{
    struct flush_wait w = {.lock = PTHREAD_MUTEX_INITIALIZER, .done = PTHREAD_COND_INITIALIZER};

    store_when_flushed(store, end, FLUSH_WAIT_MS, on_flushed, &w);
    pthread_mutex_lock(&w.lock);
    while (!w.over)
        pthread_cond_wait(&w.done, &w.lock);
    pthread_mutex_unlock(&w.lock);
    pthread_cond_destroy(&w.done);
    pthread_mutex_destroy(&w.lock);
    return w.ok;
}

/* Under the lock. */
static void encode_table(const struct schedule *s, struct buf *out, bool pretty)
{
    struct json_writer w;

    jw_init(&w, out, pretty);
    jw_object(&w);
    jw_key(&w, "dataVersion");
    data_version_json(&w, &s->version);
    jw_kobject(&w, "offsetTable");
    for (int level = 1; level <= STORE_DELAY_LEVELS_MAX; level++) {
        if (!s->known[level])
            continue;
        jw_key_int(&w, level);
        jw_int(&w, s->offset[level]);
    }
    jw_object_end(&w);
    jw_object_end(&w);
}

void schedule_encode(struct schedule *s, struct buf *out, bool pretty)
{
    int64_t end;

    pthread_mutex_lock(&s->lock);
    encode_table(s, out, pretty);
    end = s->end;
    pthread_mutex_unlock(&s->lock);
    /* Progress on disk while the messages it counts are not would lose them with the power. */
    if (end > 0 && !wait_flushed(s->b->store, end))
        out->failed = true;
}

#define TABLE_TEXT_MAX 65536         /* memory that 64 levels can need, many times over */

/* Fastjson quotes integer keys or not, as its version likes. */
static bool level_of_key(const struct json *key, int64_t *level)
{
    return key->type == JSON_INT ? (*level = key->i, true) : key->type == JSON_TEXT && str_i64(key->s, level) == 0;
}

int schedule_decode(struct schedule *s, struct str text)
{
    struct arena a;
    struct json *root;
    const struct json *table;
    int rc;

    arena_init(&a, TABLE_TEXT_MAX);
    rc = json_parse(&a, text, &root);
    table = rc ? NULL : json_member(root, "offsetTable");
    /* something else without a table is a damaged file, not an empty one */
    if (rc || root->type != JSON_OBJECT || (!table && root->child) ||
        (table && table->type != JSON_OBJECT && table->type != JSON_NULL)) {
        arena_free(&a);
        return -EBADMSG;
    }
    if (table && table->type == JSON_NULL)
        table = NULL;
    pthread_mutex_lock(&s->lock);
    data_version_read(json_member(root, "dataVersion"), &s->version);
    json_each(it, table) {
        int64_t level, offset = json_as_int(it, -1);

        if (!level_of_key(it->key, &level) || level < 1 || level > STORE_DELAY_LEVELS_MAX || offset < 0)
            continue;
        s->offset[level] = offset;
        s->known[level] = true;
    }
    pthread_mutex_unlock(&s->lock);
    arena_free(&a);
    return 0;
}
