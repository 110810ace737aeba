import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Scenarios of the two pull consumers, and of refusals. */
@SuppressWarnings("deprecation") // DefaultMQPullConsumer; users still have it
class Pull {
    private static DefaultMQPullConsumer puller(Kit kit) throws Exception {
        DefaultMQPullConsumer c = kit.configured(new DefaultMQPullConsumer(kit.group()));
        c.start();
        kit.atEnd(c::shutdown);
        return c;
    }

    static void pull(Kit kit) throws Exception {
        DefaultMQProducer p = kit.producer();
        MessageQueue mq = kit.queues(p).get(1);
        List<SendResult> sent = new ArrayList<>();
        for (int i = 0; i < 10; i++) {
            sent.add(Kit.sent(p.send(kit.message("Tag" + i % 2, "p" + i), mq)));
        }
        DefaultMQPullConsumer c = puller(kit);
        Kit.same("queues", Kit.QUEUES, c.fetchSubscribeMessageQueues(kit.topic()).size());

        PullResult r = c.pull(mq, "*", 4, 32);
        Kit.same("status", PullStatus.FOUND, r.getPullStatus());
        Kit.same("messages", 6, r.getMsgFoundList().size());
        Kit.same("first body", "p4", Kit.body(r.getMsgFoundList().get(0)));
        Kit.same("next", 10L, r.getNextBeginOffset());
        Kit.same("min", 0L, r.getMinOffset());
        Kit.same("max", 10L, r.getMaxOffset());

        r = c.pull(mq, "*", 0, 3);
        Kit.same("limited", 3, r.getMsgFoundList().size());
        Kit.same("next", 3L, r.getNextBeginOffset());
        r = c.pull(mq, "Tag1", 0, 32);
        Kit.same("filtered", 5, r.getMsgFoundList().size());
        r = c.pull(mq, "TagX", 0, 32);
        Kit.same("no match", PullStatus.NO_MATCHED_MSG, r.getPullStatus());
        Kit.same("next after no match", 10L, r.getNextBeginOffset());
        r = c.pull(mq, "*", 10, 32);
        Kit.same("at the end", PullStatus.NO_NEW_MSG, r.getPullStatus());
        r = c.pull(mq, "*", 1000, 32);
        Kit.same("beyond the end", PullStatus.OFFSET_ILLEGAL, r.getPullStatus());
        Kit.same("corrected", 10L, r.getNextBeginOffset());

        Kit.same("min", 0L, c.minOffset(mq));
        Kit.same("max", 10L, c.maxOffset(mq));
        long born = c.pull(mq, "*", 0, 1).getMsgFoundList().get(0).getStoreTimestamp();
        Kit.same("by an early time", 0L, c.searchOffset(mq, born - 60_000));
        Kit.same("by a late time", 10L, c.searchOffset(mq, born + 60_000));
        Kit.same("first time", born, c.earliestMsgStoreTime(mq));

        // not -1, as long as the queue has its first message and that is not
        // on disk only
        Kit.same("offset of a new group", 0L, c.fetchConsumeOffset(mq, true));
        c.getOffsetStore().updateConsumeOffsetToBroker(mq, 7, false);
        Kit.same("offset", 7L, c.fetchConsumeOffset(mq, true));

        // a held pull ends with the message that arrives
        CompletableFuture<PullResult> held = CompletableFuture.supplyAsync(() -> {
            try {
                return c.pullBlockIfNotFound(mq, "*", 10, 32);
            } catch (Exception e) {
                throw new AssertionError(e);
            }
        });
        try {
            held.get(300, TimeUnit.MILLISECONDS); // gives the request time to be held
            throw new AssertionError("a pull at the end of a queue did not wait");
        } catch (java.util.concurrent.TimeoutException e) {
            long start = System.nanoTime();
            Kit.sent(p.send(kit.message("Tag0", "late"), mq));
            r = held.get(Kit.PATIENCE_MS, TimeUnit.MILLISECONDS);
            long ms = (System.nanoTime() - start) / 1_000_000;
            Kit.same("held pull", PullStatus.FOUND, r.getPullStatus());
            Kit.same("body", "late", Kit.body(r.getMsgFoundList().get(0)));
            Kit.check("woken by the message, not by a timer: " + ms + " ms", ms < 4_000);
        }
    }

    private static DefaultLitePullConsumer litePuller(Kit kit) {
        DefaultLitePullConsumer c = kit.configured(new DefaultLitePullConsumer(kit.group()));
        c.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        c.setAutoCommit(false);
        return c;
    }

    /** Polls until that many messages have come. */
    private static Kit.Inbox poll(Kit kit, DefaultLitePullConsumer c, int n) throws Exception {
        Kit.Inbox inbox = new Kit.Inbox();
        kit.await(() -> n + " messages; have " + inbox.bodies(), () -> {
            inbox.addAll(c.poll(100));
            return inbox.size() >= n;
        });
        Kit.same("messages", n, inbox.size());
        return inbox;
    }

    static void lite(Kit kit) throws Exception {
        DefaultMQProducer p = kit.producer();
        List<MessageQueue> queues = kit.queues(p);
        for (int i = 0; i < 10; i++) {
            for (MessageQueue mq : queues) {
                Kit.sent(p.send(kit.message("TagA", "q" + mq.getQueueId() + "-" + i), mq));
            }
        }

        // queues chosen by hand, from a place of one's own
        DefaultLitePullConsumer c = litePuller(kit);
        c.start();
        try {
            Collection<MessageQueue> all = c.fetchMessageQueues(kit.topic());
            Kit.same("queues", Kit.QUEUES, all.size());
            MessageQueue one = all.stream().filter(q -> q.getQueueId() == 2).findFirst().get();
            c.assign(List.of(one));
            // read all first: messages that this client is just taking in at
            // a seek are delivered all the same
            Kit.same("from the start", "q2-0", poll(kit, c, 10).bodies().get(0));
            c.seek(one, 6);
            Kit.same("after a seek", List.of("q2-6", "q2-7", "q2-8", "q2-9"), poll(kit, c, 4).bodies());
            c.seekToBegin(one);
            Kit.same("from the start again", "q2-0", poll(kit, c, 10).bodies().get(0));
            Kit.same("by time", 0L, c.offsetForTimestamp(one, 1000L));
        } finally {
            c.shutdown();
        }

        // queues given by the group; the second consumer goes on where the
        // first has committed
        for (int round = 0; round < 2; round++) {
            c = litePuller(kit);
            c.subscribe(kit.topic(), "TagA || TagB");
            c.start();
            try {
                Kit.Inbox got = poll(kit, c, round == 0 ? 40 : 4);
                if (round == 1) {
                    for (MessageExt m : got.messages()) {
                        Kit.same("body", "second", Kit.body(m));
                    }
                }
                c.commitSync();
            } finally {
                c.shutdown();
            }
            for (MessageQueue mq : queues) {
                Kit.sent(p.send(kit.message("TagB", "second"), mq));
            }
        }
        DefaultMQPullConsumer reader = puller(kit);
        for (MessageQueue mq : queues) {
            Kit.same("committed in " + mq, 11L, reader.fetchConsumeOffset(mq, true));
        }
    }

    static final int NO_PERMISSION = 16;

    /** With enforceBindings, neither group is bound to the topic. */
    static void unbound(Kit kit) throws Exception {
        DefaultMQProducer p = kit.producer();
        MessageQueue mq = kit.queues(p).get(0);
        try {
            p.send(kit.message(null, "refused"));
            throw new AssertionError("a send of an unbound producer group passed");
        } catch (MQClientException e) {
            // the client tries this code again, then wraps the refusal
            Kit.same("send", NO_PERMISSION, e.getResponseCode());
            Kit.check("is the broker's: " + e.getCause(), e.getCause() instanceof MQBrokerException);
        }
        try {
            p.send(kit.message(null, "refused"), mq);
            throw new AssertionError("a send of an unbound producer group to a queue passed");
        } catch (MQBrokerException e) {
            Kit.same("send to a queue", NO_PERMISSION, e.getResponseCode());
            Kit.check("names the group: " + e.getErrorMessage(),
                e.getErrorMessage().contains(kit.topic() + "-p"));
        }
        try {
            puller(kit).pull(mq, "*", 0, 32);
            throw new AssertionError("a pull of an unbound group passed");
        } catch (MQBrokerException e) {
            Kit.same("pull", NO_PERMISSION, e.getResponseCode());
            Kit.check("names the group: " + e.getErrorMessage(),
                e.getErrorMessage().contains(kit.group()));
        }
    }

    /** With enforceBindings, the consumer group is bound to the topic. */
    static void bound(Kit kit) throws Exception {
        DefaultMQPullConsumer c = puller(kit);
        for (MessageQueue mq : c.fetchSubscribeMessageQueues(kit.topic())) {
            Kit.check("the pull is answered", c.pull(mq, "*", 0, 32).getPullStatus() != null);
        }
    }
}
