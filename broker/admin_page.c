/* Lists that slaves ask for in pages: all topics, all groups. */
#include "broker/admin_page.h"

#include <errno.h>
#include <stdlib.h>

#include "broker/admin.h"
#include "broker/meta.h"
#include "common/json.h"

static bool same_version(struct str text, const struct data_version *v)
{
    struct data_version theirs = {-1, -1, -1};
    struct json *root;
    struct arena a;
    bool same;

    arena_init(&a, 65536);
    same = text.n && json_parse(&a, text, &root) == 0;
    if (same) {
        data_version_read(root, &theirs);
        same = theirs.counter == v->counter && theirs.timestamp == v->timestamp &&
            theirs.state_version == v->state_version;
    }
    arena_free(&a);
    return same;
}

/* Which part of a list of `total` is asked for: only while the asker's version is ours does it go on where it was, else
 * it starts anew. All when no field asks for a part or enableSplitMetadata is off.
 * Source: Apache SubscriptionGroupManager.subGroupTable, TopicConfigManager.subTopicConfigTable (5.5.0). */
static int part_of(struct request *r, const struct paged *k, const struct data_version *v, size_t total,
                   size_t *first, size_t *n, struct fault *f)
{
    const struct broker_config *conf = broker_conf(broker_of(r));
    const struct command *cmd = request_cmd(r);
    struct str version = command_ext(cmd, "dataVersion"), from = command_ext(cmd, k->from),
        most = command_ext(cmd, k->most);
    int32_t first_asked = 0, max_asked = INT32_MAX;

    *first = 0;
    *n = total;
    if (!conf->enable_split_metadata || (!version.p && !from.p && !most.p))
        return 0;
    if ((from.p && str_i32(from, &first_asked)) || (most.p && str_i32(most, &max_asked)))
        return fault_set(f, RC_INVALID_PARAMETER, EINVAL, "%s and %s are numbers", k->from, k->most);
    if (max_asked > conf->split_metadata_size)
        max_asked = conf->split_metadata_size;
    if (first_asked > 0 && same_version(version, v))
        *first = (size_t)first_asked < total ? (size_t)first_asked : total;
    if (max_asked < 0)
        max_asked = 0;
    if (*n - *first > (size_t)max_asked)
        *n = (size_t)max_asked;
    else
        *n -= *first;
    return 0;
}

static int name_order(const void *a, const void *b)
{
    return strcmp(((const struct named *)a)->name, ((const struct named *)b)->name);
}

/* Under meta_read. In the order of their names, so that pages fit together. */
static int write_page(struct request *r, const struct paged *k, struct json_writer *w, size_t *total, struct fault *f)
{
    struct meta *m = broker_of(r)->meta;
    struct named *all;
    size_t first, n;
    int rc;

    *total = k->count(m);
    all = malloc((*total + 1) * sizeof(*all));
    if (!all)
        return fault_errno(f, ENOMEM, "listing %zu names", *total);
    k->list(m, all);
    qsort(all, *total, sizeof(*all), name_order);
    rc = part_of(r, k, k->version(m), *total, &first, &n, f);
    if (!rc) {
        jw_object(w);
        jw_key(w, "dataVersion");
        data_version_json(w, k->version(m));
        k->before(w, m);
        jw_kobject(w, k->table);
        for (size_t i = first; i < first + n; i++) {
            jw_key(w, all[i].name);
            k->item(w, all[i].item);
        }
        jw_object_end(w);
        if (k->after)
            k->after(w);
        jw_object_end(w);
    }
    free(all);
    return rc;
}

void admin_reply_page(struct request *r, const struct paged *k)
{
    struct meta *m = broker_of(r)->meta;
    struct command out;
    struct json_writer w;
    struct buf body = {0};
    struct fault f;
    size_t total = 0;
    char digits[21];
    int rc;

    jw_init(&w, &body, false);
    meta_read(m);
    rc = write_page(r, k, &w, &total, &f);
    meta_done(m);
    if (rc) {
        reply_fault(r, &f);
    } else if (buf_failed(&body)) {
        reply(r, RC_SYSTEM_BUSY, "no memory for the answer: try again");
    } else {
        reply_start(r, &out, RC_SUCCESS);
        command_add_i64(&out, k->total, (int64_t)total, digits);
        out.body = buf_str(&body);
        reply_send(r, &out);
    }
    buf_free(&body);
}
