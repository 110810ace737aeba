/* What the tests of the verbs share: a broker of one's own (broker_help.h), its
 * files looked into, saves that fail, and the events heard. Include in one .c file only. */
#ifndef TESTS_UNIT_VERBS_HELP_H
#define TESTS_UNIT_VERBS_HELP_H

#include "tests/unit/tap.h"

#include "tests/unit/peer.h"
#include "tests/unit/broker_help.h"

#include <pthread.h>

#include "broker/verbs.h"
#include "common/file.h"
#include "common/log.h"

#define S(z) str_of(z)
#define UNUSED __attribute__((unused))

UNUSED static const struct caller wire = {.from = "192.0.2.7:5000"};
static struct fault f;
UNUSED static struct ask a;
UNUSED static struct command r;

/* ---- looking at the disk ---- */

UNUSED static char *text_of(const char *name)
{
    static char *text;
    char path[200];
    struct buf b = {0};

    free(text);
    snprintf(path, sizeof(path), "%s/%s", house_dir, name);
    if (file_read(path, 1 << 24, &b))
        buf_puts(&b, "");
    buf_putc(&b, 0);
    text = b.p;
    return text;
}

UNUSED static bool on_disk(const char *file, const char *what) { return strstr(text_of(file), what) != NULL; }

/* While a directory stands where the new file would be written, no save of it succeeds. */
UNUSED static void break_saves(const char *file, bool broken)
{
    char path[200];

    snprintf(path, sizeof(path), "%s/config/%s.tmp", house_dir, file);
    if (broken ? mkdir(path, 0700) : rmdir(path)) {
        perror("# breaking saves");
        exit(2);
    }
}

/* ---- events ---- */

static char events[4096];
static pthread_mutex_t events_lock = PTHREAD_MUTEX_INITIALIZER;      /* guards events */

static void on_event(void *ctx, enum broker_event kind, enum event_what what, struct str name,
                     struct str sub)
{
    static const char *const kinds[] = {"topic", "group", "producer", "group_binding", "producer_binding",
                                        "config"};
    static const char signs[] = "+~-";
    size_t n;

    pthread_mutex_lock(&events_lock);
    n = strlen(events);
    if (n < sizeof(events) - 600)
        snprintf(events + n, sizeof(events) - n, "%c%s:%.*s%s%.*s ", signs[what], kinds[kind],
                 STR_ARG(name), sub.n ? "/" : "", STR_ARG(sub));
    pthread_mutex_unlock(&events_lock);
}

UNUSED static const char *take_events(void)
{
    static char taken[4096];

    pthread_mutex_lock(&events_lock);
    strcpy(taken, events);
    events[0] = 0;
    pthread_mutex_unlock(&events_lock);
    return taken;
}

/* ---- looking at the broker ---- */

UNUSED static struct topic_info topic(const char *name)
{
    struct topic_info t;

    if (broker_topic_get(house, S(name), &t))
        memset(&t, 0, sizeof(t));
    return t;
}

UNUSED static struct group_info group(enum group_kind kind, const char *name)
{
    struct group_info g;

    if (broker_group_get(house, kind, S(name), &g))
        memset(&g, 0, sizeof(g));
    return g;
}

UNUSED static int64_t committed(int32_t queue)
{
    int64_t v;
    return broker_offset_get(house, S("g1"), S("A"), queue, &v) ? -1 : v;
}

UNUSED static int send_one(const char *name, int32_t queue, const char *body)
{
    ask_send(&a, name, queue, body, "KEYS\1k1\2TAGS\1red\2UNIQ_KEY\1" "0A0B\2");
    return answer_to(&a, &r);
}

/* The broker with a topic A of so many queues. */
static void verbs_open(int queues)
{
    log_open("/dev/null", LOG_ERROR);
    house_open(NULL);
    broker_on_event(house, on_event, NULL);
    if (queues)
        make_topic("A", queues);
}

#endif
