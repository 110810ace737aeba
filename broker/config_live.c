#include "broker/config_live.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/audit.h"
#include "broker/hold.h"
#include "broker/registrar.h"
#include "broker/topics_auto.h"
#include "common/clock.h"
#include "common/codes.h"
#include "common/file.h"
#include "common/log.h"

#define CONF_FILE_MAX ((size_t)1 << 20)

struct old_config {
    struct old_config *next;
    struct broker_config conf;
};

struct config_history {
    pthread_mutex_t lock;            /* one change at a time, its file write included; outermost, taken here only */
    struct old_config *all;          /* the newest, which is in use, first */
    char *path;                      /* where live changes are kept */
    struct data_version version;     /* guarded by lock */
};

/* ---- opening ---- */

static bool has_default(const struct conf_row *row, const struct broker_config *conf)
{
    struct buf now = {0};
    bool same;

    conf_get(row, conf, &now);
    same = !buf_failed(&now) && str_is(buf_str(&now), row->def);
    buf_free(&now);
    return same;
}

struct kept {
    struct broker_config *conf;
    const char *path;
};

static void take_kept(void *arg, struct str key, struct str value)
{
    struct kept *k = arg;
    const struct conf_row *row = conf_find(&broker_config_rows, key);
    struct fault f;

    if (!row || !row->live || !has_default(row, k->conf))
        return;
    if (conf_set(row, k->conf, value, &f))
        log_error("%s: %s", k->path, f.text);
}

static int read_kept(struct broker_config *conf, const char *path, struct fault *f)
{
    static const struct conf_table none = {NULL, 0};
    struct kept k = {conf, path};
    struct buf text = {0};
    int rc = file_read(path, CONF_FILE_MAX, &text);

    buf_free(&text);
    if (rc == -ENOENT)
        return 0;
    if (rc)
        return fault_errno(f, -rc, "cannot read %s", path);
    return conf_read_file(&none, conf, path, take_kept, &k, f);
}

static int name_file(struct config_history *h, const struct broker_config *conf, const char *conf_path,
                     struct fault *f)
{
    char path[4200];

    if (!conf_path && (size_t)snprintf(path, sizeof(path), "%s/config/broker.properties",
                                       conf->store_path_root_dir) >= sizeof(path))
        return fault_errno(f, ENAMETOOLONG, "storePathRootDir");
    h->path = str_dup(str_of(conf_path ? conf_path : path));
    return h->path ? 0 : fault_errno(f, ENOMEM, "reading the configuration");
}

int config_live_open(struct broker *b, struct broker_config *conf, const char *conf_path, struct fault *f)
{
    struct config_history *h = calloc(1, sizeof(*h));
    struct old_config *first = calloc(1, sizeof(*first));
    int rc;

    if (!h || !first) {
        free(h);
        free(first);
        broker_config_free(conf);
        return fault_errno(f, ENOMEM, "reading the configuration");
    }
    first->conf = *conf;
    memset(conf, 0, sizeof(*conf));
    h->all = first;
    h->version.timestamp = wall_ms();
    pthread_mutex_init(&h->lock, NULL);
    b->history = h;
    rc = name_file(h, &first->conf, conf_path, f);
    if (!rc && !conf_path)
        rc = read_kept(&first->conf, h->path, f);
    atomic_store_explicit(&b->conf, &first->conf, memory_order_release);
    return rc;
}

void config_live_close(struct broker *b)
{
    struct config_history *h = b->history;

    if (!h)
        return;
    while (h->all) {
        struct old_config *next = h->all->next;
        broker_config_free(&h->all->conf);
        free(h->all);
        h->all = next;
    }
    pthread_mutex_destroy(&h->lock);
    free(h->path);
    free(h);
    b->history = NULL;
}

/* ---- the file ---- */

/* Is this line a setting of key? */
static bool line_sets(struct str line, const char *key)
{
    const char *eq;

    line = str_trim(line);
    if (!line.n || line.p[0] == '#' || line.p[0] == ';' || !(eq = memchr(line.p, '=', line.n)))
        return false;
    return str_is(str_trim(str_n(line.p, (size_t)(eq - line.p))), key);
}

/* The text with key set to value: its line replaced where it stands (the last of several counts, so all of them), else added. */
static void set_line(struct str text, const struct conf_row *row, const struct broker_config *conf,
                     struct buf *out)
{
    bool found = false;

    while (text.n) {
        const char *nl = memchr(text.p, '\n', text.n);
        struct str line = str_n(text.p, nl ? (size_t)(nl - text.p) : text.n);

        text = str_n(text.p + line.n + (nl != NULL), text.n - line.n - (nl != NULL));
        if (!line_sets(line, row->name)) {
            buf_put_str(out, line);
            buf_putc(out, '\n');
            continue;
        }
        if (!found) {
            buf_printf(out, "%s=", row->name);
            conf_get(row, conf, out);
            buf_putc(out, '\n');
        }
        found = true;
    }
    if (!found) {
        buf_printf(out, "%s=", row->name);
        conf_get(row, conf, out);
        buf_putc(out, '\n');
    }
}

static int write_file(const char *path, const struct conf_row **rows, size_t n,
                      const struct broker_config *conf, struct fault *f)
{
    struct buf text = {0}, next = {0};
    int rc = file_read(path, CONF_FILE_MAX, &text);

    if (rc == -ENOENT)
        rc = 0;
    for (size_t i = 0; i < n && !rc; i++) {
        struct buf swap = text;

        buf_reset(&next);
        set_line(buf_str(&text), rows[i], conf, &next);
        if (buf_failed(&next))
            rc = -ENOMEM;
        text = next;
        next = swap;
    }
    if (!rc)
        rc = file_replace(path, buf_str(&text));
    buf_free(&text);
    buf_free(&next);
    return rc ? fault_errno(f, -rc, "nothing was changed: cannot write %s", path) : 0;
}

/* ---- what else a change does ---- */

static void namesrv_changed(struct broker *b) { registrar_set_namesrv(b->registrar,
                                                                      str_of(broker_conf(b)->namesrv_addr)); }

static void wake_all(struct broker *b)
{
    struct topic_info t;

    for (uint32_t id = 0; broker_topic_next(b, id, &t) == 0; id = t.id)
        hold_wake_topic(b->hold, str_of(t.name));
}

/* The permission is part of what name servers know of every topic. */
static void permission_changed(struct broker *b)
{
    meta_write(b->meta);
    meta_topics_changed(b->meta, NULL);
    meta_done(b->meta);
    registrar_kick(b->registrar);
    wake_all(b);
}

static void auto_create_changed(struct broker *b)
{
    struct fault f;

    if (broker_make_system_topics(b, &f))
        log_error("making the template topic: %s", f.text);
    registrar_kick(b->registrar);
}

static const struct {
    const char *key;
    void (*apply)(struct broker *b);
} effects[] = {
    {"namesrvAddr", namesrv_changed},
    {"brokerPermission", permission_changed},
    {"autoCreateTopicEnable", auto_create_changed},
    {"enforceBindings", wake_all},
};

static void apply_effects(struct broker *b, const char *key)
{
    for (size_t i = 0; i < sizeof(effects) / sizeof(effects[0]); i++)
        if (strcmp(effects[i].key, key) == 0)
            effects[i].apply(b);
}

/* ---- changing ---- */

static int copy_config(const struct broker_config *from, struct old_config **out)
{
    struct old_config *c = calloc(1, sizeof(*c));

    if (!c)
        return -ENOMEM;
    c->conf = *from;
    for (size_t i = 0; i < broker_config_rows.n; i++)   /* first none of the texts is ours, so that a failure can free what is */
        if (broker_config_rows.rows[i].type == CONF_TEXT)
            *(char **)(void *)((char *)&c->conf + broker_config_rows.rows[i].at) = NULL;
    for (size_t i = 0; i < broker_config_rows.n; i++) {
        const struct conf_row *r = &broker_config_rows.rows[i];
        struct buf value = {0};
        int rc;

        if (r->type != CONF_TEXT)
            continue;
        conf_get(r, from, &value);
        rc = buf_failed(&value) ? -ENOMEM : conf_set(r, &c->conf, buf_str(&value), NULL);
        buf_free(&value);
        if (rc) {
            broker_config_free(&c->conf);
            free(c);
            return -ENOMEM;
        }
    }
    *out = c;
    return 0;
}

/* What the file's own syntax would not give back. */
static int check_text(const struct conf_row *row, struct str value, struct fault *f)
{
    if (value.n > CONF_VALUE_MAX)
        return fault_set(f, RC_INVALID_PARAMETER, EINVAL, "%s: a value has at most %d bytes", row->name, CONF_VALUE_MAX);
    for (size_t i = 0; i < value.n; i++)
        if ((unsigned char)value.p[i] < ' ' || value.p[i] == 127 ||
            (i && value.p[i] == ';' && value.p[i - 1] == ' '))
            return fault_set(f, RC_INVALID_PARAMETER, EINVAL,
                             "%s: a value is one line without control characters and without \" ;\"",
                             row->name);
    return 0;
}

static int set_one(struct broker_config *conf, const struct config_change *ch, const struct conf_row **out,
                   const char *file, struct fault *f)
{
    const struct conf_row *row = conf_find(&broker_config_rows, ch->key);
    int rc;

    if (!row)
        return fault_set(f, RC_INVALID_PARAMETER, EINVAL, "there is no configuration key %.*s",
                         ch->key.n > 100 ? 100 : (int)ch->key.n, ch->key.p ? ch->key.p : "");
    if (!row->live)
        return fault_set(f, RC_NO_PERMISSION, EPERM,
                         "%s is read at start only: write it to %s and start the broker again",
                         row->name, file);
    *out = row;
    if ((rc = check_text(row, str_trim(ch->value), f)))
        return rc;
    return conf_set(row, conf, ch->value, f);
}

static void text_of(const struct conf_row *row, const struct broker_config *conf, struct buf *out)
{
    buf_reset(out);
    conf_get(row, conf, out);
    buf_putc(out, 0);
}

/* Tells audit file, listener and parts of what is different now. */
static int tell(struct broker *b, const struct caller *c, const struct conf_row **rows, size_t n,
                const struct broker_config *old, const struct broker_config *now, struct fault *f)
{
    struct buf was = {0}, is = {0};
    char path[200];
    int rc = 0;

    for (size_t i = 0; i < n; i++) {
        text_of(rows[i], old, &was);
        text_of(rows[i], now, &is);
        if (buf_failed(&was) || buf_failed(&is) || strcmp(was.p, is.p) == 0)
            continue;
        snprintf(path, sizeof(path), "/broker/config/%s", rows[i]->name);
        if (!rc)
            rc = audit_write(b->audit, c, "config.set", path, was.p, is.p, f);
        apply_effects(b, rows[i]->name);
        broker_event(b, EVENT_CONFIG, EVENT_CHANGED, str_of(rows[i]->name), (struct str){0});
    }
    buf_free(&was);
    buf_free(&is);
    return rc;
}

static int set_all(struct broker *b, const struct caller *c, const struct config_change *changes, size_t n,
                   const struct conf_row **rows, struct fault *f)
{
    struct config_history *h = b->history;
    const struct broker_config *old;
    struct old_config *next;
    int rc;

    pthread_mutex_lock(&h->lock);
    old = broker_conf(b);
    rc = copy_config(old, &next);
    if (rc) {
        pthread_mutex_unlock(&h->lock);
        return fault_errno(f, -rc, "changing the configuration");
    }
    for (size_t i = 0; i < n && !rc; i++)
        rc = set_one(&next->conf, &changes[i], &rows[i], h->path, f);
    if (!rc)
        rc = broker_config_check(&next->conf, f);
    if (!rc)
        rc = write_file(h->path, rows, n, &next->conf, f);
    if (rc) {
        pthread_mutex_unlock(&h->lock);
        broker_config_free(&next->conf);
        free(next);
        return rc;
    }
    next->next = h->all;
    h->all = next;
    data_version_bump(&h->version);
    atomic_store_explicit(&b->conf, &next->conf, memory_order_release);
    pthread_mutex_unlock(&h->lock);
    return tell(b, c, rows, n, old, &next->conf, f);
}

int config_live_set(struct broker *b, const struct caller *c, const struct config_change *changes, size_t n,
                    struct fault *f)
{
    const struct conf_row **rows;
    int rc;

    if (!n)
        return 0;
    rows = calloc(n, sizeof(*rows));
    if (!rows)
        return fault_errno(f, ENOMEM, "changing the configuration");
    rc = set_all(b, c, changes, n, rows, f);
    free(rows);
    return rc;
}

struct data_version config_live_version(struct broker *b)
{
    struct data_version v;

    pthread_mutex_lock(&b->history->lock);
    v = b->history->version;
    pthread_mutex_unlock(&b->history->lock);
    return v;
}

/* ---- the door ---- */

const struct conf_table *broker_config_table(void) { return &broker_config_rows; }

void broker_config_get(struct broker *b, const struct conf_row *row,
                       struct buf *out) { conf_get(row, broker_conf(b), out); }

int broker_config_set(struct broker *b, const struct caller *c, struct str key, struct str value,
                      struct fault *f)
{
    struct config_change ch = {key, value};
    return config_live_set(b, c, &ch, 1, f);
}
