import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Scenarios of the producer. */
class Sending {
    private static Kit.Inbox consume(Kit kit) throws Exception {
        Kit.Inbox inbox = new Kit.Inbox();
        DefaultMQPushConsumer c = kit.consumer("*");
        c.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            inbox.addAll(messages);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        kit.started(c);
        return inbox;
    }

    /** One way, with a callback, as a batch: all arrive once. */
    static void ways(Kit kit) throws Exception {
        DefaultMQProducer p = kit.producer();
        List<String> bodies = new ArrayList<>();
        for (int i = 0; i < 10; i++) {
            p.sendOneway(kit.message("One", "oneway" + i));
            bodies.add("oneway" + i);
        }

        List<String> results = Collections.synchronizedList(new ArrayList<>());
        Set<String> ids = ConcurrentHashMap.newKeySet();
        for (int i = 0; i < 10; i++) {
            p.send(kit.message("Async", "async" + i), new SendCallback() {
                @Override
                public void onSuccess(SendResult r) {
                    ids.add(r.getMsgId());
                    results.add(r.getSendStatus().name());
                }

                @Override
                public void onException(Throwable t) {
                    results.add(t.toString());
                }
            });
            bodies.add("async" + i);
        }
        kit.await(() -> "10 callbacks: " + results, () -> results.size() == 10);
        Kit.same("results", Collections.nCopies(10, "SEND_OK"), results);
        Kit.same("ids", 10, ids.size());

        List<Message> batch = new ArrayList<>();
        for (int i = 0; i < 10; i++) {
            Message m = kit.message("Batch", "batch" + i);
            m.setKeys("bk" + i);
            m.putUserProperty("i", "" + i);
            batch.add(m);
            bodies.add("batch" + i);
        }
        SendResult r = Kit.sent(p.send(batch));
        Kit.same("ids of a batch", 10, new HashSet<>(Arrays.asList(r.getMsgId().split(","))).size());

        Kit.Inbox inbox = consume(kit);
        kit.await(() -> "30 messages; have " + inbox.bodies(), () -> inbox.size() >= 30);
        kit.fence(p, null);
        kit.await("the fences", () -> inbox.fences() == 4);
        Collections.sort(bodies);
        Kit.same("bodies", bodies, inbox.sortedBodies());
        for (MessageExt m : inbox.messages()) {
            if (!"Batch".equals(m.getTags())) {
                continue;
            }
            int i = Integer.parseInt(m.getUserProperty("i"));
            Kit.same("body", "batch" + i, Kit.body(m));
            Kit.same("keys", "bk" + i, m.getKeys());
            Kit.same("queue", r.getMessageQueue().getQueueId(), m.getQueueId());
            Kit.same("queue offset", r.getQueueOffset() + i, m.getQueueOffset());
            Kit.check("id of " + i + " is in the batch's", r.getMsgId().contains(m.getMsgId()));
        }
    }

    /** Over 4 KiB the client compresses; noise stays large on the wire. */
    static void large(Kit kit) throws Exception {
        Map<String, byte[]> sent = new ConcurrentHashMap<>();
        byte[] noise = new byte[300_000];
        new Random(7).nextBytes(noise);
        byte[] text = new byte[200_000];
        Arrays.fill(text, (byte) 'x');
        sent.put("noise", noise);
        sent.put("text", text);
        sent.put("small", new byte[] {0, 1, 2, (byte) 0xff});

        DefaultMQProducer p = kit.producer();
        for (Map.Entry<String, byte[]> e : sent.entrySet()) {
            Kit.sent(p.send(new Message(kit.topic(), null, e.getKey(), e.getValue())));
        }
        Kit.Inbox inbox = consume(kit);
        kit.await("three messages", () -> inbox.size() >= 3);
        for (MessageExt m : inbox.messages()) {
            byte[] body = sent.remove(m.getKeys());
            Kit.check("body of " + m.getKeys(), body != null && Arrays.equals(body, m.getBody()));
            // 5.5.0 takes the flag of compression away when it unpacks
            if (m.getKeys().equals("text")) {
                Kit.check("stored small: " + m.getStoreSize(), m.getStoreSize() < 10_000);
            }
        }
    }

    /** By key and by both kinds of id. */
    static void find(Kit kit) throws Exception {
        DefaultMQProducer p = kit.producer();
        long before = System.currentTimeMillis() - 1_000;
        SendResult first = null;
        for (int i = 0; i < 5; i++) {
            Message m = kit.message("TagA", "find" + i);
            m.setKeys(List.of("number" + i, "all"));
            SendResult r = Kit.sent(p.send(m));
            first = first == null ? r : first;
        }
        String unique = first.getMsgId();
        String offset = first.getOffsetMsgId();
        kit.await("5 messages of one key", () -> byKey(kit, p, "all", before).size() == 5);
        List<MessageExt> one = byKey(kit, p, "number0", before);
        Kit.same("messages of number0", 1, one.size());
        Kit.same("body of number0", "find0", Kit.body(one.get(0)));
        Kit.same("messages of no key", 0, byKey(kit, p, "none", before).size());
        Kit.same("body by offset id", "find0", Kit.body(p.viewMessage(kit.topic(), offset)));
        Kit.same("body by unique id", "find0", Kit.body(p.viewMessage(kit.topic(), unique)));
    }

    /** The client throws where there is none. */
    private static List<MessageExt> byKey(Kit kit, DefaultMQProducer p, String key, long from) {
        try {
            return p.queryMessage(kit.topic(), key, 32, from, System.currentTimeMillis() + 1_000)
                .getMessageList();
        } catch (MQClientException e) {
            return List.of();
        } catch (InterruptedException e) {
            throw new AssertionError(e);
        }
    }

    /** Committed ones arrive, rolled back ones do not. */
    static void transaction(Kit kit) throws Exception {
        TransactionMQProducer p = kit.configured(new TransactionMQProducer(kit.topic() + "-p"));
        p.setTransactionListener(new TransactionListener() {
            @Override
            public LocalTransactionState executeLocalTransaction(Message m, Object arg) {
                return (LocalTransactionState) arg;
            }

            @Override
            public LocalTransactionState checkLocalTransaction(MessageExt m) {
                return LocalTransactionState.COMMIT_MESSAGE;
            }
        });
        p.start();
        kit.atEnd(p::shutdown);
        Kit.Inbox inbox = consume(kit);
        for (int i = 0; i < 6; i++) {
            boolean commit = i % 2 == 0;
            Message m = kit.message("Tx", (commit ? "commit" : "rollback") + i);
            m.setKeys("tx" + i);
            Kit.sent(p.sendMessageInTransaction(m, commit
                ? LocalTransactionState.COMMIT_MESSAGE : LocalTransactionState.ROLLBACK_MESSAGE));
        }
        kit.await(() -> "the committed: " + inbox.bodies(), () -> inbox.size() >= 3);
        DefaultMQProducer plain = kit.producer(kit.topic() + "-q");
        kit.fence(plain, null);
        kit.await("the fences", () -> inbox.fences() == 4);
        Kit.same("bodies", List.of("commit0", "commit2", "commit4"), inbox.sortedBodies());
        for (MessageExt m : inbox.messages()) {
            Kit.same("topic", kit.topic(), m.getTopic());
            Kit.same("tag", "Tx", m.getTags());
        }
    }

    /** Without automatic creation a topic that is not there is an error, from
     *  the name server's answer and from the broker's. */
    static void missing(Kit kit) throws Exception {
        DefaultMQProducer p = kit.producer();
        // after a send the client knows the broker's address
        MessageQueue there = Kit.sent(p.send(kit.message(null, "there"))).getMessageQueue();
        String topic = kit.topic() + "-not";
        try {
            p.send(new Message(topic, new byte[1]));
            throw new AssertionError("a send to " + topic + " passed");
        } catch (MQClientException e) {
            Kit.check("names the topic: " + e.getMessage(),
                e.getMessage().contains("No route info of this topic") && e.getMessage().contains(topic));
        }
        try {
            p.send(new Message(topic, new byte[1]), new MessageQueue(topic, there.getBrokerName(), 0));
            throw new AssertionError("a send to a queue of " + topic + " passed");
        } catch (MQBrokerException e) {
            Kit.same("TOPIC_NOT_EXIST", 17, e.getResponseCode());
        }
    }
}
