/* The store while it runs: append, get, read, time search, group commit, deletion,
 * limits, many threads. Rows: R-STORE-10, -13, -14, -18..-20 (of what exists here),
 * -21, -22, -25, -26, -31, -37; R-CONS-04, -05, -06.
 * What happens at the next start is in store_recover.c. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/be.h"
#include "store/store.h"
#include "tests/unit/store_help.h"
#include "tests/unit/tap.h"

static void test_append_and_get(void)
{
    struct store_conf conf = test_conf();
    struct store *s = test_open(&conf);
    struct store_queue *q = store_queue(s, str_of("TopicA"), 0);
    struct store_put put;
    struct store_result *r;
    struct message got;

    r = store_get(s, q, 0, &test_limits, NULL);
    is_int(r->status, STORE_NO_MESSAGE_IN_QUEUE, "an empty queue says so");
    store_release(r);
    r = store_get(s, NULL, 5, &test_limits, NULL);
    ok(r->status == STORE_NO_MATCHED_LOGIC_QUEUE && r->next_begin == 0, "no queue");
    store_release(r);
    for (int i = 0; i < 100; i++)
        if (test_append(s, q, i, &put) || put.queue_offset != i)
            break;
    is_int(put.queue_offset, 99, "100 messages get 100 offsets");
    is_int(store_queue_max(s, q), 100, "max");
    is_int(store_queue_min(s, q), 0, "min");
    r = store_get(s, q, 10, &test_limits, NULL);
    ok(r->status == STORE_FOUND && r->n_messages == 32 && r->next_begin == 42, "32 of them from 10 on");
    is_int(r->n_iov, 1, "neighbours in the log are one extent");
    is_int(message_record_get(r->iov[0].iov_base, r->iov[0].iov_len, true, &got), 0, "the first is a whole record");
    ok(got.queue_offset == 10 && test_body_is(&got, 10), "it is number 10");
    is_int(r->last_store_timestamp, store_queue_last_time(s, q), "time of the last one");
    store_release(r);
    struct { int64_t at; enum store_status status; int64_t next; } outside[] = {
        {-1, STORE_OFFSET_TOO_SMALL, 0}, {100, STORE_OFFSET_OVERFLOW_ONE, 100}, {101, STORE_OFFSET_OVERFLOW_BADLY, 100},
        {INT64_MAX, STORE_OFFSET_OVERFLOW_BADLY, 100}, {INT64_MIN, STORE_OFFSET_TOO_SMALL, 0},
    };
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) {
        r = store_get(s, q, outside[i].at, &test_limits, NULL);
        ok(r->status == outside[i].status && r->next_begin == outside[i].next, "get at %" PRId64, outside[i].at);
        store_release(r);
    }
    test_close(s);
    test_clean(&conf);
}

int main(void)
{
    test_append_and_get();
    return tap_done();
}
