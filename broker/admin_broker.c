/* Requests about the broker itself: its configuration and its runtime values. */
#include "broker/admin.h"

#include <errno.h>

#include "broker/config_live.h"
#include "broker/stats.h"
#include "common/json.h"

#define CHANGES_MAX 256              /* keys one request may change */

/* ---- 25 ---- */

struct changes {
    struct config_change list[CHANGES_MAX];
    size_t n;
};

static int collect(void *arg, struct str key, struct str value)
{
    struct changes *c = arg;

    if (c->n == CHANGES_MAX)
        return -E2BIG;
    c->list[c->n++] = (struct config_change){key, value};
    return 0;
}

/* configBlackList: keys that the wire may not change, whatever they are. */
static const struct config_change *black_listed(const struct changes *c, struct str list)
{
    while (list.n) {
        const char *semi = memchr(list.p, ';', list.n);
        struct str key = str_n(list.p, semi ? (size_t)(semi - list.p) : list.n);

        for (size_t i = 0; i < c->n; i++)
            if (str_eq(c->list[i].key, str_trim(key)))
                return &c->list[i];
        list = str_n(list.p + key.n + (semi != NULL), list.n - key.n - (semi != NULL));
    }
    return NULL;
}

void op_update_broker_config(struct request *r)
{
    const struct config_change *black;
    struct changes c = {.n = 0};
    struct caller who;
    struct fault f = {0};

    admin_caller(r, &who);
    if (conf_each(request_cmd(r)->body, collect, &c))
        reply(r, RC_INVALID_PARAMETER, "at most %d keys can be changed at once", CHANGES_MAX);
    else if (!c.n)
        reply(r, RC_INVALID_PARAMETER, "the body has no key=value line");
    else if ((black = black_listed(&c, str_of(broker_conf(broker_of(r))->config_black_list))))
        reply(r, RC_NO_PERMISSION, "key %.*s is on the configBlackList", STR_ARG(black->key));
    else if (config_live_set(broker_of(r), &who, c.list, c.n, &f))
        reply_fault(r, &f);
    else
        reply(r, RC_SUCCESS, NULL);
}

/* ---- 26 ---- */

void op_get_broker_config(struct request *r)
{
    struct broker *b = broker_of(r);
    struct data_version v = config_live_version(b);
    struct buf body = {0}, version = {0};
    struct json_writer w;
    struct command out;

    conf_print(&broker_config_rows, broker_conf(b), &body);
    jw_init(&w, &version, false);
    data_version_json(&w, &v);
    if (buf_failed(&body) || buf_failed(&version)) {
        reply(r, RC_SYSTEM_BUSY, "no memory for the answer: try again");
    } else {
        reply_start(r, &out, RC_SUCCESS);
        command_add(&out, "version", buf_str(&version));
        out.body = buf_str(&body);
        reply_send(r, &out);
    }
    buf_free(&body);
    buf_free(&version);
}

/* ---- 28 ---- */

static void put_value(void *arg, const char *name, const char *value) { jw_ktext(arg, name, value); }

void op_get_broker_runtime_info(struct request *r)
{
    struct buf body = {0};
    struct json_writer w;

    jw_init(&w, &body, false);
    jw_object(&w);
    jw_kobject(&w, "table");
    broker_runtime(broker_of(r), put_value, &w);
    jw_object_end(&w);
    jw_object_end(&w);
    admin_reply_json(r, &body);
}

/* ---- 315 ---- */

struct stats_header {
    struct str name, key;
};
static const struct field stats_fields[] = {
    {"statsName", FIELD_STR, offsetof(struct stats_header, name), true, NULL},
    {"statsKey", FIELD_STR, offsetof(struct stats_header, key), true, NULL},
};

/* Apache's BrokerStatsItem. */
static void put_window(struct json_writer *w, const char *name, const struct stats_window *s)
{
    jw_kobject(w, name);
    jw_key(w, "avgpt");
    jw_double(w, s->per_call);
    jw_kint(w, "sum", s->sum);
    jw_key(w, "tps");
    jw_double(w, s->per_second);
    jw_object_end(w);
}

void op_view_broker_stats_data(struct request *r)
{
    struct buf body = {0};
    struct stats_header h;
    struct json_writer w;
    struct stats_data d;
    struct fault f;

    if (FIELDS_DECODE(stats_fields, request_cmd(r), &h, &f) || stats_get(broker_of(r), h.name, h.key, &d, &f)) {
        reply_fault(r, &f);
        return;
    }
    jw_init(&w, &body, false);
    jw_object(&w);
    put_window(&w, "statsDay", &d.day);
    put_window(&w, "statsHour", &d.hour);
    put_window(&w, "statsMinute", &d.minute);
    jw_object_end(&w);
    admin_reply_json(r, &body);
}
