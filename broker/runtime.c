#include "broker/runtime.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <time.h>

#include "broker/hold.h"
#include "broker/schedule.h"
#include "common/clock.h"

#define SAMPLES 601                  /* ten minutes of seconds, and the one before them */

struct sample {
    int64_t at;                      /* mono ms */
    int64_t put, found, missed, got; /* store counters: messages put, pulls that found, pulls that did not, messages got */
};

struct runtime {
    pthread_mutex_t lock;            /* guards all of it; a leaf */
    struct sample ring[SAMPLES];
    unsigned n;                      /* samples taken; the last is ring[(n - 1) % SAMPLES] */
    int day;                         /* tm_yday of the last sample */
    int64_t put_yesterday, put_today, got_yesterday, got_today;      /* totals at those midnights */
};

int runtime_open(struct runtime **out)
{
    struct runtime *rt = calloc(1, sizeof(*rt));

    if (!rt)
        return -ENOMEM;
    pthread_mutex_init(&rt->lock, NULL);
    rt->day = -1;
    *out = rt;
    return 0;
}

void runtime_close(struct runtime *rt)
{
    pthread_mutex_destroy(&rt->lock);
    free(rt);
}

static void midnight(struct runtime *rt, const struct sample *s)
{
    time_t now = time(NULL);
    struct tm tm;

    localtime_r(&now, &tm);
    if (rt->day >= 0 && tm.tm_yday != rt->day) {
        rt->put_yesterday = rt->put_today;
        rt->got_yesterday = rt->got_today;
        rt->put_today = s->put;
        rt->got_today = s->got;
    }
    rt->day = tm.tm_yday;
}

void runtime_sample(struct broker *b)
{
    struct runtime *rt = b->runtime;
    struct store_stats st;
    struct sample s;

    store_stats(b->store, &st);
    s = (struct sample){mono_ms(), st.appended_messages, st.get_found, st.get_missed, st.got_messages};
    pthread_mutex_lock(&rt->lock);
    midnight(rt, &s);
    rt->ring[rt->n++ % SAMPLES] = s;
    pthread_mutex_unlock(&rt->lock);
}

/* ---- the values ---- */

struct snapshot {
    struct broker *b;
    struct runtime rt;               /* a copy */
    struct store_stats st;
    int level;                       /* of scheduleMessageOffset_N */
};

/* Per second over the last 10, 60 and 600 seconds, as far as there are samples. */
static void put_rates(const struct snapshot *s, int64_t (*of)(const struct sample *), struct buf *out)
{
    static const unsigned spans[] = {10, 60, 600};
    const struct runtime *rt = &s->rt;

    for (int i = 0; i < 3; i++) {
        unsigned back = spans[i] < rt->n ? spans[i] : rt->n ? rt->n - 1 : 0;
        const struct sample *last = rt->n ? &rt->ring[(rt->n - 1) % SAMPLES] : NULL;
        const struct sample *first = rt->n ? &rt->ring[(rt->n - 1 - back) % SAMPLES] : NULL;
        double seconds = last ? (double)(last->at - first->at) / 1000 : 0;
        buf_printf(out, "%s%.2f", i ? " " : "", seconds > 0 ? (double)(of(last) - of(first)) / seconds : 0.0);
    }
}

static int64_t of_put(const struct sample *s) { return s->put; }
static int64_t of_found(const struct sample *s) { return s->found; }
static int64_t of_missed(const struct sample *s) { return s->missed; }
static int64_t of_total(const struct sample *s) { return s->found + s->missed; }
static int64_t of_got(const struct sample *s) { return s->got; }

static void bytes_text(struct buf *out, int64_t v)
{
    static const char units[] = "KMGTPE";
    double d = (double)v / 1024;
    int i = 0;

    if (v < 1024) {
        buf_printf(out, "%lld B", (long long)v);
        return;
    }
    for (; d >= 1024 && units[i + 1]; i++)
        d /= 1024;
    buf_printf(out, "%.1f %ciB", d, units[i]);
}

static void v_active(const struct snapshot *s, struct buf *out) { (void)s; buf_puts(out, "true"); }
static void v_version(const struct snapshot *s, struct buf *out) { char v[24]; (void)s; buf_puts(out, version_name(VERSION_V5_5_0, v)); }
static void v_boot(const struct snapshot *s, struct buf *out) { buf_i64(out, s->st.boot_timestamp); }
static void v_log_min(const struct snapshot *s, struct buf *out) { buf_i64(out, s->st.log_min); }
static void v_log_max(const struct snapshot *s, struct buf *out) { buf_i64(out, s->st.log_max); }
static void v_disk(const struct snapshot *s, struct buf *out) { buf_printf(out, "%.4f", s->st.disk_used_ratio); }
static void v_earliest(const struct snapshot *s, struct buf *out) { buf_i64(out, s->st.earliest_store_timestamp); }
static void v_put_total(const struct snapshot *s, struct buf *out) { buf_i64(out, s->st.appended_messages); }
static void v_put_bytes(const struct snapshot *s, struct buf *out) { buf_i64(out, s->st.appended_bytes); }
static void v_put_failed(const struct snapshot *s, struct buf *out) { buf_i64(out, s->st.append_refused); }
static void v_got_total(const struct snapshot *s, struct buf *out) { buf_i64(out, s->st.got_messages); }
static void v_put_yesterday(const struct snapshot *s, struct buf *out) { buf_i64(out, s->rt.put_yesterday); }
static void v_put_today(const struct snapshot *s, struct buf *out) { buf_i64(out, s->rt.put_today); }
static void v_got_yesterday(const struct snapshot *s, struct buf *out) { buf_i64(out, s->rt.got_yesterday); }
static void v_got_today(const struct snapshot *s, struct buf *out) { buf_i64(out, s->rt.got_today); }
static void v_put_tps(const struct snapshot *s, struct buf *out) { put_rates(s, of_put, out); }
static void v_found_tps(const struct snapshot *s, struct buf *out) { put_rates(s, of_found, out); }
static void v_missed_tps(const struct snapshot *s, struct buf *out) { put_rates(s, of_missed, out); }
static void v_total_tps(const struct snapshot *s, struct buf *out) { put_rates(s, of_total, out); }
static void v_got_tps(const struct snapshot *s, struct buf *out) { put_rates(s, of_got, out); }
static void v_to_flush(const struct snapshot *s, struct buf *out) { bytes_text(out, s->st.log_max - s->st.flushed); }
static void v_accept(const struct snapshot *s, struct buf *out) { buf_i64(out, broker_conf(s->b)->start_accept_send_request_time_stamp); }
static void v_index_behind(const struct snapshot *s, struct buf *out) { buf_i64(out, s->st.index_behind); }
/* Queues are written in the append itself, and between a socket and the log or the mapped file stands no queue of
 * requests: these are nought because there is nothing that could wait. */
static void v_nothing_waits(const struct snapshot *s, struct buf *out) { (void)s; buf_putc(out, '0'); }

/* Apache's is how long the append under way has held the log's lock so far; ours, how long it went on doing so. */
static void v_append_wait(const struct snapshot *s, struct buf *out) { buf_i64(out, s->st.append_wait_ms); }

static void v_average(const struct snapshot *s, struct buf *out)
{
    buf_printf(out, "%.2f", s->st.appended_messages ? (double)s->st.appended_bytes / (double)s->st.appended_messages : 0.0);
}

static void v_uptime(const struct snapshot *s, struct buf *out)
{
    int64_t t = (wall_ms() - s->st.boot_timestamp) / 1000;
    buf_printf(out, "[ %lld days, %lld hours, %lld minutes, %lld seconds ]", (long long)(t / 86400), (long long)(t / 3600 % 24),
               (long long)(t / 60 % 60), (long long)(t % 60));
}

static void v_capacity(const struct snapshot *s, struct buf *out)
{
    struct statvfs fs;

    if (statvfs(store_root(s->b->store), &fs) < 0)
        return;
    buf_puts(out, "Total : ");
    bytes_text(out, (int64_t)fs.f_blocks * (int64_t)fs.f_frsize);
    buf_puts(out, ", Free : ");
    bytes_text(out, (int64_t)fs.f_bfree * (int64_t)fs.f_frsize);
    buf_putc(out, '.');
}

/* Of all operations, since the start. */
static struct op_count all_requests(const struct snapshot *s)
{
    struct op_count all = {0}, one;

    for (size_t i = 0; i < broker_n_ops; i++) {
        server_counts(s->b->server, i, &one);
        all.requests += one.requests;
        all.refused += one.refused;
    }
    return all;
}

static void v_requests(const struct snapshot *s, struct buf *out) { buf_i64(out, (int64_t)all_requests(s).requests); }
static void v_refused(const struct snapshot *s, struct buf *out) { buf_i64(out, (int64_t)all_requests(s).refused); }
static void v_held(const struct snapshot *s, struct buf *out) { buf_i64(out, hold_count(s->b->hold)); }
static void v_conns(const struct snapshot *s, struct buf *out) { buf_i64(out, server_conns(s->b->server)); }
static void v_log_syncs(const struct snapshot *s, struct buf *out) { buf_i64(out, s->st.log_syncs); }
static void v_level(const struct snapshot *s, struct buf *out)
{
    int64_t offset, max;

    if (schedule_progress(s->b->schedule, s->level, &offset, &max))
        buf_printf(out, "%" PRId64 ",%" PRId64, offset, max);
}
static void v_writable(const struct snapshot *s, struct buf *out) { buf_puts(out, s->st.writable ? "true" : s->st.why_not); }

/* Sorted by name. Rows from "mqfs." are ours. A row of levels is one for each delay level that was used. */
static const struct value_row {
    const char *name;
    void (*put)(const struct snapshot *s, struct buf *out);
    bool levels;
} rows[] = {
    {"bootTimestamp", v_boot},
    {"brokerActive", v_active},
    {"brokerVersionDesc", v_version},
    {"commitLogDirCapacity", v_capacity},
    {"commitLogDiskRatio", v_disk},
    {"commitLogMaxOffset", v_log_max},
    {"commitLogMinOffset", v_log_min},
    {"dispatchBehindBytes", v_index_behind},
    {"earliestMessageTimeStamp", v_earliest},
    {"getFoundTps", v_found_tps},
    {"getMissTps", v_missed_tps},
    {"getTotalTps", v_total_tps},
    {"getTransferredTps", v_got_tps},
    {"mqfs.connections", v_conns},
    {"mqfs.heldPulls", v_held},
    {"mqfs.logSyncs", v_log_syncs},
    {"mqfs.refusedRequests", v_refused},
    {"mqfs.requests", v_requests},
    {"mqfs.writable", v_writable},
    {"msgGetTotalTodayMorning", v_got_today},
    {"msgGetTotalTodayNow", v_got_total},
    {"msgGetTotalYesterdayMorning", v_got_yesterday},
    {"msgPutTotalTodayMorning", v_put_today},
    {"msgPutTotalTodayNow", v_put_total},
    {"msgPutTotalYesterdayMorning", v_put_yesterday},
    {"pageCacheLockTimeMills", v_append_wait},
    {"pullThreadPoolQueueHeadWaitTimeMills", v_nothing_waits},
    {"pullThreadPoolQueueSize", v_nothing_waits},
    {"putMessageAverageSize", v_average},
    {"putMessageFailedTimes", v_put_failed},
    {"putMessageSizeTotal", v_put_bytes},
    {"putMessageTimesTotal", v_put_total},
    {"putTps", v_put_tps},
    {"remainHowManyDataToFlush", v_to_flush},
    {"runtime", v_uptime},
    {"scheduleMessageOffset_", v_level, .levels = true},
    {"sendThreadPoolQueueHeadWaitTimeMills", v_nothing_waits},
    {"sendThreadPoolQueueSize", v_nothing_waits},
    {"startAcceptSendRequestTimeStamp", v_accept},
};

struct receiver {
    void (*each)(void *arg, const char *name, const char *value);
    void *arg;
};

static void show(const struct snapshot *s, const struct value_row *row, const char *name, const struct receiver *to)
{
    struct buf text = {0};

    row->put(s, &text);
    if (!row->levels || text.n) {
        buf_putc(&text, 0);
        if (!buf_failed(&text))
            to->each(to->arg, name, text.p);
    }
    buf_free(&text);
}

static void show_levels(struct snapshot *s, const struct value_row *row, const struct receiver *to)
{
    char name[64];

    for (s->level = 1; s->level <= store_delay_levels(s->b->store); s->level++) {
        snprintf(name, sizeof(name), "%s%d", row->name, s->level);
        show(s, row, name, to);
    }
}

void broker_runtime(struct broker *b, void (*each)(void *arg, const char *name, const char *value), void *arg)
{
    const struct receiver to = {each, arg};
    struct snapshot *s = malloc(sizeof(*s));

    if (!s)
        return;
    s->b = b;
    store_stats(b->store, &s->st);
    pthread_mutex_lock(&b->runtime->lock);
    s->rt = *b->runtime;
    pthread_mutex_unlock(&b->runtime->lock);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (rows[i].levels)
            show_levels(s, &rows[i], &to);
        else
            show(s, &rows[i], rows[i].name, &to);
    free(s);
}
