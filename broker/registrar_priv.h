/* The registrar's parts: registrar.c (threads, targets, notes) and
 * registrar_talk.c (requests and what their answers mean). */
#ifndef BROKER_REGISTRAR_PRIV_H
#define BROKER_REGISTRAR_PRIV_H

#include <pthread.h>
#include "broker/registrar.h"

#define NOTES_MAX 8192               /* changed topics that may wait for a slow name server; then it gets everything anew */
#define SINGLES_MAX 64               /* more waiting than this: everything at once is cheaper */
#define RETRY_MIN_MS 500
#define RETRY_MAX_MS 10000
#define GOODBYE_MS 1000

/* What is asked of a name server. */
enum talk { TALK_NONE, TALK_FULL, TALK_VERSION, TALK_SINGLE, TALK_INCREMENT, TALK_CHECK, TALK_PURGE, TALK_GOODBYE };

struct note {                        /* a topic that changed */
    struct note *next;
    char name[];
};

struct target {                      /* one name server */
    struct target *next;
    struct registrar *r;
    char *addr;
    bool removed;                    /* no longer in namesrvAddr: freed when idle */
    enum talk talk;                  /* what is asked, or is to be asked next; TALK_NONE: nothing */
    bool sent;                       /* and it is under way */
    bool registered;                 /* it knows us, as far as we know */
    bool full_due;
    bool knows_singles;              /* answers 217; until it says otherwise */
    bool failing;                    /* did not answer last time */
    uint64_t noted;                  /* the first note that it has not heard of */
    uint64_t covered;                /* notes before this one were in its last full registration */
    uint64_t full_covers;            /* covered, once the full registration under way succeeds */
    bool only_if_gone;               /* the last full registration had the topic, unless it was deleted */
    bool tells_nothing;              /* the topic being told of does not exist */
    char topic[TOPIC_NAME_MAX_LONG + 1];     /* being told of */
    int64_t due_ms, retry_ms;        /* mono: next periodic registration; not before, after a failure */
    int backoff_ms;
    int64_t last_ok_ms;              /* wall */
    char error[200];                 /* "": none */
    char *order_topics;              /* KVTable JSON of its last answer, for the registrar's thread; NULL: none */
};

struct registrar {
    struct broker *b;
    pthread_t thread;
    bool running;
    pthread_mutex_t lock;            /* guards all below; a leaf: no other lock is taken under it */
    pthread_cond_t wake;             /* of the thread */
    pthread_cond_t answered;         /* of those who wait in registrar_sync and registrar_stop */
    bool stop;
    bool woken;                      /* something has changed since the thread looked: it may not sleep before it has again */
    struct target *targets;
    struct note *notes, **notes_end;
    uint64_t first_note, next_note;  /* numbers of the first kept one, and of the next to come */
    char addr[128], ha_addr[128];    /* ours */
    char *zone, *zone_mode;          /* environment ROCKETMQ_ZONE, ROCKETMQ_ZONE_MODE */
};

/* One full registration's body, shared by all that are due in the same turn of the thread. */
struct shared_body {
    struct buf bytes;
    bool made, compressed;
};

/* There may be something to do. Under the lock. */
static inline void registrar_wake(struct registrar *r)
{
    r->woken = true;
    pthread_cond_signal(&r->wake);
}

/* Sends what t->talk says. Without the lock (t does not go while t->sent). */
void talk_start(struct registrar *r, struct target *t, struct shared_body *full);
/* Sets "order" on topics that the name server's ORDER_TOPIC_CONFIG names. Without the lock. */
void talk_order_topics(struct registrar *r, const char *kv_table);

#endif
