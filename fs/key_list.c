#include "fs/key_list.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include "fs/escape.h"

#define LISTS_MAX 16                 /* listings under way; one more, and the oldest has to begin anew */
#define INDEX_BITS 16                /* of a cookie; its list's number stands above */

struct entry {
    int64_t time_ms;
    size_t name_at;                  /* in names */
};

struct list {
    uint64_t number;                 /* 0: none */
    struct entry *entries;
    size_t n;
    struct buf names;                /* a NUL after each */
};

struct key_lists {
    pthread_mutex_t lock;            /* guards what follows; a leaf */
    struct list list[LISTS_MAX];
    unsigned next;                   /* to be replaced */
    uint32_t number;                 /* of the last one */
};

int key_lists_open(struct key_lists **out)
{
    struct key_lists *l = calloc(1, sizeof *l);

    if (!l)
        return -ENOMEM;
    pthread_mutex_init(&l->lock, NULL);
    *out = l;
    return 0;
}

static void list_free(struct list *list)
{
    free(list->entries);
    buf_free(&list->names);
    *list = (struct list){0};
}

void key_lists_close(struct key_lists *l)
{
    if (!l)
        return;
    for (unsigned i = 0; i < LISTS_MAX; i++)
        list_free(&l->list[i]);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

uint32_t key_sum(struct str key)
{
    uint32_t h = 0x811C9DC5u;

    for (size_t i = 0; i < key.n; i++)
        h = (h ^ (unsigned char)key.p[i]) * 0x01000193u;
    return h;
}

/* ---- taking the keys ---- */

struct taking {
    struct str topic;
    struct list *list;
};

static bool take(void *arg, struct str key, int64_t time_ms)
{
    struct taking *t = arg;
    struct list *list = t->list;
    char name[TREE_NAME_MAX + 1];
    int32_t hash = key.n > TREE_NAME_MAX / 3 ? broker_key_hash(t->topic, key) : 0;     /* shorter ones are not cut */

    if (hash < 0)
        list->names.failed = true;
    name_escape(key, (uint64_t)(uint32_t)hash << 32 | key_sum(key), name);
    list->entries[list->n++] = (struct entry){time_ms, list->names.n};
    buf_put(&list->names, name, strlen(name) + 1);
    return list->n < KEY_LIST_MAX;
}

static int list_take(struct broker *b, struct str topic, struct list *out)
{
    struct taking t = {topic, out};
    int rc;

    *out = (struct list){.entries = malloc(KEY_LIST_MAX * sizeof *out->entries)};
    rc = out->entries ? broker_keys(b, topic, take, &t) : -ENOMEM;
    if (!rc && buf_failed(&out->names))
        rc = -ENOMEM;
    if (rc)
        list_free(out);
    return rc;
}

/* ---- going through them ---- */

/* l->lock held. 1 when there is no such list; the list ends with its last entry. */
static int entry_get(struct key_lists *l, uint64_t number, size_t index, char name[TREE_NAME_MAX + 1], int64_t *time_ms)
{
    for (unsigned i = 0; i < LISTS_MAX; i++) {
        struct list *list = &l->list[i];

        if (!number || list->number != number)
            continue;
        if (index >= list->n) {
            list_free(list);
            return -ENOENT;
        }
        *time_ms = list->entries[index].time_ms;
        str_copy(name, TREE_NAME_MAX + 1, str_of(list->names.p + list->entries[index].name_at));
        return 0;
    }
    return 1;
}

/* l->lock held. */
static uint64_t list_keep(struct key_lists *l, struct list *list)
{
    struct list *place = &l->list[l->next];

    l->next = (l->next + 1) % LISTS_MAX;
    l->number += l->number == UINT32_MAX ? 2 : 1;
    list_free(place);
    *place = *list;
    place->number = l->number;
    return place->number;
}

int key_list_next(struct key_lists *l, struct broker *b, struct str topic, uint64_t after, uint64_t *cookie,
                  char name[TREE_NAME_MAX + 1], int64_t *time_ms)
{
    uint64_t number = after >> INDEX_BITS;
    size_t index = after & ((1u << INDEX_BITS) - 1);
    struct list list;
    int rc;

    pthread_mutex_lock(&l->lock);
    rc = entry_get(l, number, index, name, time_ms);
    pthread_mutex_unlock(&l->lock);
    if (rc > 0) {
        rc = list_take(b, topic, &list);
        if (rc)
            return rc;
        pthread_mutex_lock(&l->lock);
        number = list_keep(l, &list);
        rc = entry_get(l, number, index, name, time_ms);
        pthread_mutex_unlock(&l->lock);
    }
    *cookie = number << INDEX_BITS | (index + 1);
    return rc;
}
