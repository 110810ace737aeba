/* What the broker tells its store: keys of the flush; and topics whose queues are not the store's to fill. */
#include "tests/unit/tap.h"

#include "tests/unit/peer.h"
#include "tests/unit/broker_help.h"

#include "common/file.h"
#include "store/checkpoint.h"

static struct ask a;
static struct command r;

static char *path_in(const char *name)
{
    static char path[200];

    snprintf(path, sizeof path, "%s/%s", house_dir, name);
    return path;
}

/* flushConsumeQueueThoroughInterval: the checkpoint follows the queues, once a minute by default. */
static void test_checkpoint(void)
{
    static const char *const keys[] = {"flushIntervalConsumeQueue", "5", "flushConsumeQueueThoroughInterval", "10", NULL};
    struct checkpoint c = {0};
    struct fault f;

    house_open(keys);
    make_topic("T", 1);
    ask_send(&a, "T", 0, "x", "");
    is_int(answer_to(&a, &r), RC_SUCCESS, "a message");
    wait_until(checkpoint_read(path_in("checkpoint"), &c, &f) == 0 && c.queue_offset > 0);
    ok(c.queue_offset > 0 && c.queue_time > 0, "the checkpoint follows it at the interval of its key: %lld", (long long)c.queue_offset);
    house_close();
    house_remove();
}

/* As Apache's broker has it with the attribute +queue.type=BatchCQ. */
static const char table[] = "{\"dataVersion\":{\"counter\":1,\"stateVersion\":0,\"timestamp\":1},\"topicConfigTable\":{"
    "\"B\":{\"attributes\":{\"queue.type\":\"BatchCQ\"},\"order\":false,\"perm\":6,\"readQueueNums\":1,"
    "\"topicFilterType\":\"SINGLE_TAG\",\"topicName\":\"B\",\"topicSysFlag\":0,\"writeQueueNums\":1},"
    "\"S\":{\"attributes\":{\"queue.type\":\"SimpleCQ\"},\"order\":false,\"perm\":6,\"readQueueNums\":1,"
    "\"topicFilterType\":\"SINGLE_TAG\",\"topicName\":\"S\",\"topicSysFlag\":0,\"writeQueueNums\":1}}}";

static void test_batch_topic(void)
{
    static const char *const keys[] = {"messageDelayLevel", "1s", NULL};

    dir_make(path_in("config"));
    is_int(file_replace(path_in("config/topics.json"), str_of(table)), 0, "a topic of Apache's with batch consume queues");
    house_open(keys);
    make_group(CONSUMER_GROUP, "g1");
    ask_send(&a, "B", 0, "x", "");
    ok(answer_to(&a, &r) == RC_MESSAGE_ILLEGAL && strstr(remark(&r), "BatchCQ"), "a send to it is refused: %s", remark(&r));
    ask_send(&a, "B", 0, "x", "DELAY\0011\002");
    is_int(answer_to(&a, &r), RC_MESSAGE_ILLEGAL, "so is a delayed one, which could not be delivered");
    ask_pull(&a, "g1", "B", 0, 77);
    ok(answer_to(&a, &r) == RC_SYSTEM_ERROR && strstr(remark(&r), "BatchCQ"), "so is a pull, which moves no offset: %s", remark(&r));
    is_int(field_i64(&r, "nextBeginOffset"), -12345, "... it is told none");
    ask_send(&a, "S", 0, "x", "");
    is_int(answer_to(&a, &r), RC_SUCCESS, "another topic takes messages");
    ask_pull(&a, "g1", "S", 0, 0);
    is_int(answer_to(&a, &r), RC_SUCCESS, "and gives them");
    house_close();
    ok(access(path_in("consumequeue/S/0"), F_OK) == 0 && access(path_in("consumequeue/B"), F_OK) < 0,
       "the topic has no simple consume queue, with which Apache's broker would not start");
}

int main(void)
{
    test_checkpoint();
    test_batch_topic();
    return tap_done();
}
