#include "fs/last_error.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

struct last_error {
    uid_t uid;
    uint64_t turn;               /* 0: free */
    size_t n;
    char text[LAST_ERROR_MAX];
};

struct last_errors {
    pthread_mutex_t lock;        /* guards all; nothing else is taken inside */
    uint64_t turn;
    struct last_error rows[LAST_ERROR_USERS];
};

int last_errors_open(struct last_errors **out)
{
    struct last_errors *e = calloc(1, sizeof *e);

    if (!e)
        return -ENOMEM;
    pthread_mutex_init(&e->lock, NULL);
    *out = e;
    return 0;
}

void last_errors_close(struct last_errors *e)
{
    if (!e)
        return;
    pthread_mutex_destroy(&e->lock);
    free(e);
}

/* The user's row, or NULL. */
static struct last_error *find(struct last_errors *e, uid_t uid)
{
    for (size_t i = 0; i < LAST_ERROR_USERS; i++)
        if (e->rows[i].turn && e->rows[i].uid == uid)
            return &e->rows[i];
    return NULL;
}

static struct last_error *oldest(struct last_errors *e)
{
    struct last_error *best = &e->rows[0];

    for (size_t i = 1; i < LAST_ERROR_USERS; i++)
        if (e->rows[i].turn < best->turn)
            best = &e->rows[i];
    return best;
}

void last_errors_set(struct last_errors *e, uid_t uid, struct str sentence)
{
    struct last_error *row;

    pthread_mutex_lock(&e->lock);
    row = find(e, uid);
    if (!row)
        row = oldest(e);
    row->uid = uid;
    row->turn = ++e->turn;
    row->n = sentence.n < LAST_ERROR_MAX ? sentence.n : LAST_ERROR_MAX;
    memcpy(row->text, sentence.p, row->n);
    pthread_mutex_unlock(&e->lock);
}

void last_errors_get(struct last_errors *e, uid_t uid, struct buf *out)
{
    const struct last_error *row;

    pthread_mutex_lock(&e->lock);
    row = find(e, uid);
    if (row)
        buf_put(out, row->text, row->n);
    pthread_mutex_unlock(&e->lock);
}
