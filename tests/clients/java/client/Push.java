import java.lang.reflect.Method;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.consumer.store.ReadOffsetType;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Scenarios of the push consumer. */
class Push {
    private static MessageListenerConcurrently into(Kit.Inbox inbox) {
        return (messages, context) -> {
            inbox.addAll(messages);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        };
    }

    private static List<String> numbered(String word, int from, int to) {
        return IntStream.range(from, to).mapToObj(i -> word + String.format("%03d", i))
            .collect(Collectors.toList());
    }

    static void tags(Kit kit) throws Exception {
        Kit.Inbox[] inbox = {new Kit.Inbox(), new Kit.Inbox()};
        DefaultMQPushConsumer[] c = new DefaultMQPushConsumer[2];
        for (int i = 0; i < 2; i++) {
            c[i] = kit.consumer("TagA || TagB");
            c[i].registerMessageListener(into(inbox[i]));
            kit.started(c[i]);
        }
        kit.await(() -> "two queues each, are " + kit.held(c[0]) + " and " + kit.held(c[1]),
            () -> kit.held(c[0]) == 2 && kit.held(c[1]) == 2);

        DefaultMQProducer p = kit.producer();
        Map<String, SendResult> sent = new HashMap<>();
        for (int i = 0; i < 48; i++) {
            String tag = "Tag" + "ABC".charAt(i % 3);
            Message m = kit.message(tag, "body \u00fc\u4e2d " + i);
            m.setKeys(List.of("key" + i, "shared"));
            m.putUserProperty("number", "" + i);
            m.putUserProperty("text", "a=b; \u00e9\u6587 {\"x\":1}");
            m.setFlag(i);
            SendResult r = Kit.sent(p.send(m));
            if (!tag.equals("TagC")) {
                sent.put("body \u00fc\u4e2d " + i, r);
            }
        }
        kit.fence(p, "TagB");
        kit.await(() -> "4 fences, 32 messages; have " + inbox[0].size() + " and " + inbox[1].size(),
            () -> inbox[0].fences() + inbox[1].fences() == 4
                && inbox[0].size() + inbox[1].size() >= 32);

        Kit.check("both consumers got some", inbox[0].size() > 0 && inbox[1].size() > 0);
        List<MessageExt> all = inbox[0].messages();
        all.addAll(inbox[1].messages());
        Kit.same("messages", 32, all.size());
        for (MessageExt m : all) {
            SendResult r = sent.remove(Kit.body(m));
            Kit.check("sent and seen once: " + Kit.body(m), r != null);
            int i = m.getFlag();
            Kit.same("body", "body \u00fc\u4e2d " + i, Kit.body(m));
            Kit.same("tag", "Tag" + "ABC".charAt(i % 3), m.getTags());
            Kit.same("keys", "key" + i + " shared", m.getKeys());
            Kit.same("number", "" + i, m.getUserProperty("number"));
            Kit.same("text", "a=b; \u00e9\u6587 {\"x\":1}", m.getUserProperty("text"));
            Kit.same("message id", r.getMsgId(), m.getMsgId());
            Kit.same("queue offset", r.getQueueOffset(), m.getQueueOffset());
            Kit.same("queue", r.getMessageQueue().getQueueId(), m.getQueueId());
            Kit.same("topic", kit.topic(), m.getTopic());
            Kit.same("reconsume times", 0, m.getReconsumeTimes());
        }
    }

    static void broadcast(Kit kit) throws Exception {
        Kit.Inbox[] inbox = {new Kit.Inbox(), new Kit.Inbox()};
        DefaultMQPushConsumer[] c = new DefaultMQPushConsumer[2];
        for (int i = 0; i < 2; i++) {
            c[i] = kit.consumer("*");
            setBroadcasting(c[i]);
            c[i].registerMessageListener(into(inbox[i]));
            kit.started(c[i]);
        }
        kit.await("both hold all queues", () -> kit.held(c[0]) == 4 && kit.held(c[1]) == 4);
        DefaultMQProducer p = kit.producer();
        List<String> bodies = numbered("b", 0, 20);
        for (String body : bodies) {
            Kit.sent(p.send(kit.message(null, body)));
        }
        kit.fence(p, null);
        for (Kit.Inbox in : inbox) {
            kit.await(() -> "4 fences, 20 messages; have " + in.size(),
                () -> in.fences() == 4 && in.size() >= 20);
            Kit.same("bodies", bodies, in.sortedBodies());
        }
    }

    /** The class of the parameter moved between 4.9 and 5. */
    @SuppressWarnings({"unchecked", "rawtypes"})
    private static void setBroadcasting(DefaultMQPushConsumer c) throws Exception {
        for (Method m : DefaultMQPushConsumer.class.getMethods()) {
            if (m.getName().equals("setMessageModel")) {
                m.invoke(c, Enum.valueOf((Class<Enum>) m.getParameterTypes()[0], "BROADCASTING"));
            }
        }
    }

    static void orderly(Kit kit) throws Exception {
        Kit.Inbox inbox = new Kit.Inbox();
        Set<String> suspended = ConcurrentHashMap.newKeySet();
        MessageListenerOrderly listener = (messages, context) -> {
            // once for each key: the messages behind must wait for this one
            for (MessageExt m : messages) {
                if (Kit.body(m).endsWith("003") && suspended.add(Kit.body(m))) {
                    return ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT;
                }
            }
            inbox.addAll(messages);
            return ConsumeOrderlyStatus.SUCCESS;
        };
        DefaultMQPushConsumer[] c = new DefaultMQPushConsumer[2];
        for (int i = 0; i < 2; i++) {
            c[i] = kit.consumer("*");
            c[i].setSuspendCurrentQueueTimeMillis(100);
            c[i].setConsumeMessageBatchMaxSize(1);
            c[i].registerMessageListener(listener);
            kit.started(c[i]);
        }
        kit.await(() -> "two queues each, are " + kit.held(c[0]) + " and " + kit.held(c[1]),
            () -> {
                // the second locks a queue only after the first has let it go
                Kit.rebalance(c[1]);
                return kit.held(c[0]) == 2 && kit.held(c[1]) == 2;
            });

        DefaultMQProducer p = kit.producer();
        for (int i = 0; i < 10; i++) {
            for (int key = 0; key < 6; key++) {
                Kit.sent(p.send(kit.message(null, String.format("key%d-%03d", key, i)),
                    (queues, m, k) -> queues.get((Integer) k % queues.size()), key));
            }
        }
        kit.fence(p, null);
        kit.await(() -> "4 fences, 60 messages; have " + inbox.size(),
            () -> inbox.fences() == 4 && inbox.size() >= 60);
        Kit.same("messages", 60, inbox.size());
        Kit.same("suspended", 6, suspended.size());
        for (int key = 0; key < 6; key++) {
            String word = "key" + key + "-";
            List<String> got = inbox.bodies().stream().filter(b -> b.startsWith(word))
                .collect(Collectors.toList());
            Kit.same("order of " + word, numbered(word, 0, 10), got);
        }
    }

    /** "once" is refused once and comes back; "never" is refused always and
     *  ends in the group's dead-letter topic. */
    static void retry(Kit kit) throws Exception {
        List<MessageExt> seen = Collections.synchronizedList(new ArrayList<>());
        DefaultMQPushConsumer c = kit.consumer("*");
        c.setMaxReconsumeTimes(1);
        c.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            context.setDelayLevelWhenNextConsume(1);
            MessageExt m = messages.get(0);
            seen.add(m);
            return Kit.body(m).equals("once") && m.getReconsumeTimes() == 1
                ? ConsumeConcurrentlyStatus.CONSUME_SUCCESS
                : ConsumeConcurrentlyStatus.RECONSUME_LATER;
        });
        kit.started(c);
        kit.holdRetry(c);
        DefaultMQProducer p = kit.producer();
        Message once = kit.message("TagA", "once");
        once.setKeys("key-of-once");
        once.putUserProperty("mine", "kept");
        SendResult sent = Kit.sent(p.send(once));
        Kit.sent(p.send(kit.message("TagB", "never")));

        kit.await(() -> "each message twice, have " + seen.size(), () -> seen.size() >= 4);
        for (String body : new String[] {"once", "never"}) {
            List<MessageExt> both = seen.stream().filter(m -> Kit.body(m).equals(body))
                .collect(Collectors.toList());
            Kit.same("deliveries of " + body, 2, both.size());
            Kit.same("first " + body, 0, both.get(0).getReconsumeTimes());
            Kit.same("second " + body, 1, both.get(1).getReconsumeTimes());
            Kit.same("topic of second " + body, kit.topic(), both.get(1).getTopic());
            Kit.same("message id", both.get(0).getMsgId(), both.get(1).getMsgId());
            if (body.equals("once")) {
                Kit.same("message id as sent", sent.getMsgId(), both.get(1).getMsgId());
                Kit.same("tag", "TagA", both.get(1).getTags());
                Kit.same("keys", "key-of-once", both.get(1).getKeys());
                Kit.same("property", "kept", both.get(1).getUserProperty("mine"));
            }
        }
        MessageQueue dead = new MessageQueue("%DLQ%" + kit.group(),
            sent.getMessageQueue().getBrokerName(), 0);
        kit.await("a message in " + dead.getTopic(), () -> maxOffset(p, dead) == 1);
        Kit.same("deliveries after all", 4, seen.size());
    }

    /** 0 while the topic is not there. */
    private static long maxOffset(DefaultMQProducer p, MessageQueue mq) {
        try {
            return p.maxOffset(mq);
        } catch (Exception e) {
            return 0;
        }
    }

    /** A group goes on where it stopped. */
    static void resume(Kit kit) throws Exception {
        DefaultMQProducer p = kit.producer();
        for (int round = 0; round < 3; round++) {
            List<String> bodies = numbered("m", round * 10, round * 10 + 10);
            for (String body : bodies) {
                Kit.sent(p.send(kit.message(null, body)));
            }
            kit.fence(p, null);
            Kit.Inbox inbox = new Kit.Inbox();
            DefaultMQPushConsumer c = kit.consumer("*");
            c.setAwaitTerminationMillisWhenShutdown(5_000);
            c.registerMessageListener(into(inbox));
            kit.started(c);
            try {
                kit.await(() -> "4 fences, 10 messages; have " + inbox.bodies(),
                    () -> inbox.fences() >= 4 && inbox.size() >= 10);
                commit(kit, c, kit.queues(p));
            } finally {
                c.shutdown();
            }
            Kit.same("round " + round, bodies, inbox.sortedBodies());
            Kit.same("fences", 4, inbox.fences());
        }
    }

    /** Offsets go to the broker one way, so a shutdown alone does not say that
     *  they are there. */
    private static void commit(Kit kit, DefaultMQPushConsumer c, List<MessageQueue> queues)
            throws Exception {
        for (MessageQueue mq : queues) {
            long max = c.maxOffset(mq);
            kit.await("a commit of " + max + " in " + mq, () -> {
                c.getDefaultMQPushConsumerImpl().persistConsumerOffset();
                return max == c.getOffsetStore().readOffset(mq, ReadOffsetType.READ_FROM_STORE);
            });
        }
    }

    /** A consumer that is there until standard input ends. */
    static void stay(Kit kit) throws Exception {
        DefaultMQPushConsumer c = kit.consumer("TagA || TagB");
        c.registerMessageListener(into(new Kit.Inbox()));
        kit.started(c);
        System.out.println("# staying");
        while (System.in.read() >= 0) {
            continue;
        }
    }

    static void delay(Kit kit) throws Exception {
        Kit.Inbox inbox = new Kit.Inbox();
        DefaultMQPushConsumer c = kit.consumer("TagA");
        c.registerMessageListener(into(inbox));
        kit.started(c);
        DefaultMQProducer p = kit.producer();
        Message m = kit.message("TagA", "later");
        m.setDelayTimeLevel(1);
        m.setKeys("k");
        Kit.sent(p.send(m));
        kit.await("the delayed message", () -> inbox.size() >= 1);
        MessageExt got = inbox.messages().get(0);
        long late = got.getStoreTimestamp() - got.getBornTimestamp();
        Kit.check("stored again after 1 s, was " + late + " ms", late >= 900);
        Kit.same("topic", kit.topic(), got.getTopic());
        Kit.same("keys", "k", got.getKeys());
        kit.fence(p, "TagA");
        kit.await("the fences", () -> inbox.fences() == 4);
        Kit.same("messages", 1, inbox.size());
    }
}
