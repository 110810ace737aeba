#include "namesrv/kv.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "common/codes.h"
#include "common/file.h"
#include "common/json.h"
#include "common/log.h"

#define FILE_MAX ((size_t)64 << 20)

struct entry {
    char *space, *key, *value;               /* one allocation with the struct */
};

/* Sorted by namespace and key. A namespace whose last key was deleted stays as an empty one, as with Apache: it is an
 * entry with an empty key, which no caller can make. */
struct kv {
    pthread_mutex_t writing;
    pthread_rwlock_t lock;
    char *path;
    struct entry **entries;
    size_t n, room;
};

static struct entry *entry_make(struct str space, struct str key, struct str value)
{
    struct entry *e = malloc(sizeof(*e) + space.n + key.n + value.n + 3);
    struct str texts[3] = {space, key, value};
    char *at = (char *)(e + 1), *places[3];

    if (!e)
        return NULL;
    for (int i = 0; i < 3; i++) {
        places[i] = at;
        if (texts[i].n)
            memcpy(at, texts[i].p, texts[i].n);
        at[texts[i].n] = 0;
        at += texts[i].n + 1;
    }
    *e = (struct entry){places[0], places[1], places[2]};
    return e;
}

static int text_cmp(struct str a, const char *z)
{
    size_t n = strlen(z);
    int c = a.n ? memcmp(a.p, z, a.n < n ? a.n : n) : 0;

    return c ? c : (a.n > n) - (a.n < n);
}

/* Where the pair is, or where it would stand. */
static size_t find(const struct kv *kv, struct str space, struct str key, bool *there)
{
    size_t from = 0, to = kv->n;

    *there = false;
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        int c = text_cmp(space, kv->entries[mid]->space);
        if (!c)
            c = text_cmp(key, kv->entries[mid]->key);
        if (!c) {
            *there = true;
            return mid;
        }
        if (c < 0)
            to = mid;
        else
            from = mid + 1;
    }
    return from;
}

static const struct str nothing = {"", 0};

/* The first entry of a namespace, its empty mark included; n when it is not there. */
static size_t space_start(const struct kv *kv, struct str space)
{
    bool there;
    size_t i = find(kv, space, nothing, &there);

    return i < kv->n && str_is(space, kv->entries[i]->space) ? i : kv->n;
}

/* Makes e part of the table; e replaces what has its names. false without memory. */
static bool insert(struct kv *kv, struct entry *e)
{
    bool there;
    size_t i = find(kv, str_of(e->space), str_of(e->key), &there);

    if (there) {
        free(kv->entries[i]);
        kv->entries[i] = e;
        return true;
    }
    if (kv->n == kv->room) {
        size_t room = kv->room ? kv->room * 2 : 16;
        struct entry **more = reallocarray(kv->entries, room, sizeof(*more));
        if (!more)
            return false;
        kv->entries = more;
        kv->room = room;
    }
    memmove(kv->entries + i + 1, kv->entries + i, (kv->n - i) * sizeof(*kv->entries));
    kv->entries[i] = e;
    kv->n++;
    return true;
}

/* ---- the file ---- */

/* All entries as the file has them. */
static void encode(const struct kv *kv, struct buf *out)
{
    struct json_writer w;
    const char *space = NULL;

    jw_init(&w, out, false);
    jw_object(&w);
    jw_kobject(&w, "configTable");
    for (size_t i = 0; i < kv->n; i++) {
        const struct entry *e = kv->entries[i];
        if (!space || strcmp(space, e->space)) {
            if (space)
                jw_object_end(&w);
            jw_key_str(&w, str_of(e->space));
            jw_object(&w);
            space = e->space;
        }
        if (e->key[0]) {
            jw_key_str(&w, str_of(e->key));
            jw_text(&w, e->value);
        }
    }
    if (space)
        jw_object_end(&w);
    jw_object_end(&w);
    jw_object_end(&w);
}

static int add(struct kv *kv, struct str space, struct str key, struct str value)
{
    struct entry *e;

    if (!space.n || memchr(space.p, 0, space.n) || (key.n && memchr(key.p, 0, key.n)) ||
        (value.n && memchr(value.p, 0, value.n)))
        return -EBADMSG;
    e = entry_make(space, key, value);
    if (e && insert(kv, e))
        return 0;
    free(e);
    return -ENOMEM;
}

static int decode(struct kv *kv, const struct json *root)
{
    const struct json *table = json_member(root, "configTable");
    int rc = 0;

    if (!root || root->type != JSON_OBJECT || (table && table->type != JSON_OBJECT))
        return -EBADMSG;
    json_each(space, table) {
        if (space->type != JSON_OBJECT)
            return -EBADMSG;
        if (!space->child)
            rc = add(kv, json_as_str(space->key), nothing, nothing);
        json_each(item, space)
            if (!rc && json_as_str(item->key).n)
                rc = add(kv, json_as_str(space->key), json_as_str(item->key), json_as_str(item));
        if (rc)
            return rc;
    }
    return 0;
}

static void clear(struct kv *kv)
{
    for (size_t i = 0; i < kv->n; i++)
        free(kv->entries[i]);
    kv->n = 0;
}

static int parse(void *arg, struct str text)
{
    struct kv *kv = arg;
    struct arena a;
    struct json *root;
    int rc;

    clear(kv);
    arena_init(&a, 0);
    rc = json_parse(&a, text, &root);
    if (!rc)
        rc = decode(kv, root);
    arena_free(&a);
    return rc;
}

int kv_open(const char *path, struct kv **out, struct fault *f)
{
    struct kv *kv = calloc(1, sizeof(*kv));
    int rc;

    if (!kv)
        return fault_errno(f, ENOMEM, "opening the kv store");
    pthread_mutex_init(&kv->writing, NULL);
    pthread_rwlock_init(&kv->lock, NULL);
    kv->path = strdup(path);
    rc = kv->path ? file_load_or_bak(path, FILE_MAX, parse, kv, f) : fault_errno(f, ENOMEM, "opening the kv store");
    if (rc < 0) {
        kv_close(kv);
        return rc;
    }
    *out = kv;
    return 0;
}

void kv_close(struct kv *kv)
{
    if (!kv)
        return;
    clear(kv);
    free(kv->entries);
    free(kv->path);
    pthread_rwlock_destroy(&kv->lock);
    pthread_mutex_destroy(&kv->writing);
    free(kv);
}

/* ---- changes ---- */

static void make_dir(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *dir = slash && slash > path ? str_dup(str_n(path, (size_t)(slash - path))) : NULL;

    if (dir && dir_make(dir))
        log_warn("namesrv: cannot make %s", dir);    /* writing the file gives the error to the caller */
    free(dir);
}

/* Writes what the table would be in `next`, and then lets it be so. */
static int replace_with(struct kv *kv, struct kv *next, struct fault *f)
{
    struct buf text = {0};
    int rc;

    encode(next, &text);
    make_dir(kv->path);
    rc = buf_failed(&text) ? -ENOMEM : file_replace(kv->path, buf_str(&text));
    buf_free(&text);
    if (rc)
        return fault_errno(f, -rc, "writing %s", kv->path);
    pthread_rwlock_wrlock(&kv->lock);
    struct entry **old = kv->entries;
    kv->entries = next->entries;
    kv->n = next->n;
    kv->room = next->room;
    pthread_rwlock_unlock(&kv->lock);
    free(old);
    return 0;
}

/* A table of the same entries (shared until one of both is dropped), with room for two more. */
static int share(const struct kv *kv, struct kv *next)
{
    *next = (struct kv){.n = kv->n, .room = kv->n + 2};
    next->entries = calloc(next->room, sizeof(*next->entries));
    if (!next->entries)
        return -ENOMEM;
    if (kv->n)
        memcpy(next->entries, kv->entries, kv->n * sizeof(*kv->entries));
    return 0;
}

static int check(struct str space, struct str key, struct str value, struct fault *f)
{
    if (!space.n || !key.n)
        return fault_set(f, RC_SYSTEM_ERROR, EINVAL, "namespace and key of a kv config must not be empty");
    if (space.n > KV_NAME_MAX || key.n > KV_NAME_MAX || value.n > KV_VALUE_MAX)
        return fault_set(f, RC_SYSTEM_ERROR, EINVAL, "a kv config has at most %d bytes of namespace and key, and %d of value",
                         KV_NAME_MAX, KV_VALUE_MAX);
    if (memchr(space.p, 0, space.n) || memchr(key.p, 0, key.n) || (value.n && memchr(value.p, 0, value.n)))
        return fault_set(f, RC_SYSTEM_ERROR, EINVAL, "a kv config holds no NUL bytes");
    return 0;
}

static int put_in_turn(struct kv *kv, struct entry *e, struct fault *f)
{
    struct kv next;
    bool there;
    size_t i = find(kv, str_of(e->space), str_of(e->key), &there);
    struct entry *old = there ? kv->entries[i] : NULL;
    int rc;

    if (!there && kv->n >= KV_ENTRIES_MAX)
        return fault_set(f, RC_SYSTEM_ERROR, ENOSPC, "the kv store holds %d entries, no more fit", KV_ENTRIES_MAX);
    if (share(kv, &next))
        return fault_errno(f, ENOMEM, "putting a kv config");
    if (!there)
        memmove(next.entries + i + 1, next.entries + i, (next.n++ - i) * sizeof(*next.entries));
    next.entries[i] = e;
    rc = replace_with(kv, &next, f);
    if (rc)
        free(next.entries);
    else
        free(old);
    return rc;
}

int kv_put(struct kv *kv, struct str space, struct str key, struct str value, struct fault *f)
{
    struct entry *e;
    int rc = check(space, key, value, f);

    if (rc)
        return rc;
    e = entry_make(space, key, value);
    if (!e)
        return fault_errno(f, ENOMEM, "putting a kv config");
    pthread_mutex_lock(&kv->writing);
    rc = put_in_turn(kv, e, f);
    pthread_mutex_unlock(&kv->writing);
    if (rc)
        free(e);
    return rc;
}

static int delete_in_turn(struct kv *kv, struct entry *mark, bool *used, struct str key, struct fault *f)
{
    struct str space = str_of(mark->space);
    struct kv next;
    bool there;
    size_t i = find(kv, space, key, &there), at;
    struct entry *old = there ? kv->entries[i] : NULL;
    int rc;

    if (!there)
        return fault_set(f, RC_QUERY_NOT_FOUND, ENOENT, "no kv config %.*s in %s", STR_ARG(key), mark->space);
    if (share(kv, &next))
        return fault_errno(f, ENOMEM, "deleting a kv config");
    memmove(next.entries + i, next.entries + i + 1, (--next.n - i) * sizeof(*next.entries));
    at = find(&next, space, nothing, &there);
    *used = !there;
    if (!there)                                  /* the namespace outlives its keys */
        memmove(next.entries + at + 1, next.entries + at, (next.n++ - at) * sizeof(*next.entries));
    next.entries[at] = there ? next.entries[at] : mark;
    rc = replace_with(kv, &next, f);
    if (rc) {
        free(next.entries);
        *used = false;
    } else {
        free(old);
    }
    return rc;
}

int kv_delete(struct kv *kv, struct str space, struct str key, struct fault *f)
{
    struct entry *mark;
    bool used = false;
    int rc = check(space, key, nothing, f);

    if (rc)
        return rc;
    mark = entry_make(space, nothing, nothing);
    if (!mark)
        return fault_errno(f, ENOMEM, "deleting a kv config");
    pthread_mutex_lock(&kv->writing);
    rc = delete_in_turn(kv, mark, &used, key, f);
    pthread_mutex_unlock(&kv->writing);
    if (!used)
        free(mark);
    return rc;
}

/* ---- questions ---- */

int kv_get(struct kv *kv, struct str space, struct str key, struct buf *value)
{
    bool there;
    size_t i;

    if (!key.n)
        return -ENOENT;
    pthread_rwlock_rdlock(&kv->lock);
    i = find(kv, space, key, &there);
    if (there)
        buf_puts(value, kv->entries[i]->value);
    pthread_rwlock_unlock(&kv->lock);
    return there ? 0 : -ENOENT;
}

int kv_space_json(struct kv *kv, struct str space, struct buf *out)
{
    struct json_writer w;
    size_t i, start;

    pthread_rwlock_rdlock(&kv->lock);
    start = space_start(kv, space);
    if (start == kv->n) {
        pthread_rwlock_unlock(&kv->lock);
        return -ENOENT;
    }
    jw_init(&w, out, false);
    jw_object(&w);
    jw_kobject(&w, "table");
    for (i = start; i < kv->n && str_is(space, kv->entries[i]->space); i++)
        if (kv->entries[i]->key[0]) {
            jw_key_str(&w, str_of(kv->entries[i]->key));
            jw_text(&w, kv->entries[i]->value);
        }
    jw_object_end(&w);
    jw_object_end(&w);
    pthread_rwlock_unlock(&kv->lock);
    return 0;
}
