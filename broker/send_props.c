#include "broker/send_props.h"

#include <errno.h>

#include "common/codes.h"

#define NO_MEMBER UINT16_MAX

/* Names the broker knows: where their value goes, and whether the entry is left out of what is stored. */
static const struct known {
    const char *name;
    uint8_t n;
    bool left_out;
    uint16_t at;
} known[] = {
#define KEPT(name, member) {name, sizeof(name) - 1, false, offsetof(struct send_props, member)}
#define SET_BY_BROKER(name) {name, sizeof(name) - 1, true, NO_MEMBER}
    KEPT("UNIQ_KEY", uniq_key),
    KEPT("TAGS", tags),
    KEPT("KEYS", keys),
    KEPT("WAIT", wait),
    SET_BY_BROKER("CLUSTER"),
    SET_BY_BROKER("TRACE_ON"),
    SET_BY_BROKER("MSG_REGION"),
    SET_BY_BROKER("POP_CK"),
    KEPT("DELAY", delay),
    KEPT("TRAN_MSG", tran_msg),
    KEPT("INNER_NUM", inner_num),
    KEPT("TIMER_OUT_MS", timer_out_ms),
    KEPT("TIMER_DELAY_MS", timer_delay_ms),
    KEPT("TIMER_DELAY_SEC", timer_delay_sec),
    KEPT("TIMER_DELIVER_MS", timer_deliver_ms),
    KEPT("TIMER_DEL_UNIQKEY", timer_del_uniqkey),
};

static const struct known *known_find(struct str name)
{
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (known[i].n == name.n && known[i].name[0] == name.p[0] && memcmp(known[i].name, name.p, name.n) == 0)
            return &known[i];
    return NULL;
}

static int too_long(struct fault *f)
{
    return fault_set(f, RC_MESSAGE_ILLEGAL, EMSGSIZE,
                     "the message's properties, with those the broker adds, have more than %d bytes",
                     PROPERTIES_MAX);
}

/* name 1 value 2 */
static bool entry_put(struct send_props *p, struct str name, struct str value)
{
    char *to = p->text + p->n;

    if (name.n + value.n + 2 > sizeof(p->text) - p->n)
        return false;
    memcpy(to, name.p, name.n);
    to[name.n] = 1;
    memcpy(to + name.n + 1, value.p, value.n);
    to[name.n + 1 + value.n] = 2;
    p->n += name.n + value.n + 2;
    return true;
}

/* Appends entries as they stand in the properties; the last one's end mark may be missing there. */
static bool entries_put(struct send_props *p, struct str entries, const char *end)
{
    if (entries.n > sizeof(p->text) - p->n)
        return false;
    if (!entries.n)
        return true;
    memcpy(p->text + p->n, entries.p, entries.p + entries.n > end ? entries.n - 1 : entries.n);
    p->n += entries.n;
    p->text[p->n - 1] = 2;
    return true;
}

int send_props_read(struct send_props *p, struct str properties, bool dead, struct fault *f)
{
    struct str name, value, run = {0};      /* run: kept entries that stand together */
    const char *end = properties.p + properties.n;
    size_t pos = 0;

    memset(p, 0, offsetof(struct send_props, text));
    if (properties.n > PROPERTIES_MAX)
        return too_long(f);
    while (prop_next(properties, &pos, &name, &value)) {
        const struct known *k = known_find(name);

        if (k && k->at != NO_MEMBER)
            memcpy((char *)p + k->at, &value, sizeof(value));
        if (k && (k->left_out || (dead && k->at == offsetof(struct send_props, delay))))
            continue;
        if (name.p != run.p + run.n) {
            if (!entries_put(p, run, end))
                return too_long(f);
            run = str_n(name.p, 0);
        }
        run.n = (size_t)(value.p + value.n + 1 - run.p);
    }
    if (!entries_put(p, run, end))
        return too_long(f);
    p->has_uniq_key = p->uniq_key.n > 0;
    return 0;
}

#define PUT(p, name, value) entry_put(p, str_n(name, sizeof(name) - 1), value)

int send_props_finish(struct send_props *p, const struct broker_config *conf, struct str uniq_key, bool dead,
                      struct fault *f)
{
    bool ok = PUT(p, "MSG_REGION", str_of(conf->region_id)) &&
              PUT(p, "TRACE_ON", conf->trace_on ? str_n("true", 4) : str_n("false", 5)) &&
              PUT(p, "CLUSTER", str_of(conf->broker_cluster_name));

    if (ok && !p->has_uniq_key)
        ok = PUT(p, "UNIQ_KEY", uniq_key);
    if (ok && dead)
        ok = PUT(p, "DELAY", str_n("-1", 2));
    return ok ? 0 : too_long(f);
}
