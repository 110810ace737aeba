import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Objects;
import java.util.Set;
import java.util.function.BooleanSupplier;
import java.util.function.Supplier;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.ClientConfig;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.impl.factory.MQClientInstance;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** What a scenario works with. Whatever it makes is shut down at its end. */
class Kit {
    interface Shutdown {
        void run() throws Exception;
    }

    static final int QUEUES = 4;
    /** How long an expected thing may take on a slow machine. */
    static final int PATIENCE_MS = 45_000;

    final String scenario;
    private final String namesrv;
    private final String prefix;
    private final List<Shutdown> shutdowns = new ArrayList<>();
    private int clients;

    Kit(String namesrv, String prefix, String scenario) {
        this.namesrv = namesrv;
        this.prefix = prefix;
        this.scenario = scenario;
    }

    String topic() {
        return prefix + "-" + scenario;
    }

    String group() {
        return topic() + "-g";
    }

    /** Clients of one instance name share connections and a client id; two
     *  consumers of a group in one JVM must not. */
    <T extends ClientConfig> T configured(T client) {
        client.setNamesrvAddr(namesrv);
        client.setInstanceName(scenario + ++clients);
        client.setMqClientApiTimeout(15_000); // 3 s is short on a busy machine
        return client;
    }

    void atEnd(Shutdown shutdown) {
        shutdowns.add(0, shutdown);
    }

    void close() {
        for (Shutdown s : shutdowns) {
            try {
                s.run();
            } catch (Exception e) {
                System.out.println("# shutdown: " + e);
            }
        }
    }

    DefaultMQProducer producer() throws Exception {
        return producer(topic() + "-p");
    }

    DefaultMQProducer producer(String group) throws Exception {
        DefaultMQProducer p = configured(new DefaultMQProducer(group));
        p.setSendMsgTimeout(10_000);
        p.start();
        atEnd(p::shutdown);
        return p;
    }

    /** Not yet started: the caller sets a listener first. */
    DefaultMQPushConsumer consumer(String expression) throws Exception {
        DefaultMQPushConsumer c = configured(new DefaultMQPushConsumer(group()));
        c.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        c.setConsumeThreadMin(2);
        c.setConsumeThreadMax(2);
        c.subscribe(topic(), expression);
        return c;
    }

    DefaultMQPushConsumer started(DefaultMQPushConsumer c) throws Exception {
        c.start();
        atEnd(c::shutdown);
        await("a queue for a new consumer", () -> {
            rebalance(c);
            return held(c) > 0;
        });
        return c;
    }

    /** By itself a consumer does this every 20 s, which is what it takes when
     *  the first time came a moment too early. */
    static void rebalance(DefaultMQPushConsumer c) {
        c.getDefaultMQPushConsumerImpl().getmQClientFactory().doRebalance();
    }

    Message message(String tag, String body) {
        return new Message(topic(), tag, body.getBytes(StandardCharsets.UTF_8));
    }

    static String body(MessageExt m) {
        return new String(m.getBody(), StandardCharsets.UTF_8);
    }

    static SendResult sent(SendResult r) {
        same("send status", SendStatus.SEND_OK, r.getSendStatus());
        return r;
    }

    /** One message at the end of each queue: when these have come, all before
     *  them would have, and a message too many shows. */
    void fence(DefaultMQProducer p, String tag) throws Exception {
        for (MessageQueue mq : queues(p)) {
            sent(p.send(message(tag, "fence"), mq));
        }
    }

    List<MessageQueue> queues(DefaultMQProducer p) throws Exception {
        List<MessageQueue> queues = p.fetchPublishMessageQueues(topic()).stream().sorted()
            .collect(Collectors.toList());
        same("queues of " + topic(), QUEUES, queues.size());
        return queues;
    }

    /** The queues of the topic that a running consumer holds. */
    long held(DefaultMQPushConsumer c) {
        Set<MessageQueue> all = c.getDefaultMQPushConsumerImpl().getRebalanceImpl()
            .getProcessQueueTable().keySet();
        return all.stream().filter(mq -> mq.getTopic().equals(topic())).count();
    }

    /** The broker makes a group's retry topic at the first heartbeat. A client
     *  that asked for its route before that asks again after 30 s only, and
     *  looks at its queues again 20 s later: this spares the waiting. */
    void holdRetry(DefaultMQPushConsumer c) throws Exception {
        MQClientInstance client = c.getDefaultMQPushConsumerImpl().getmQClientFactory();
        String retry = "%RETRY%" + group();
        await("a queue of " + retry, () -> {
            client.updateTopicRouteInfoFromNameServer(retry);
            rebalance(c);
            return c.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable()
                .keySet().stream().anyMatch(mq -> mq.getTopic().equals(retry));
        });
    }

    void await(String what, BooleanSupplier condition) throws Exception {
        await(() -> what, condition);
    }

    void await(Supplier<String> what, BooleanSupplier condition) throws Exception {
        long end = System.nanoTime() + PATIENCE_MS * 1_000_000L;
        while (!condition.getAsBoolean()) {
            if (System.nanoTime() > end) {
                throw new AssertionError("waited in vain for: " + what.get());
            }
            Thread.sleep(20);
        }
    }

    static void same(String what, Object expected, Object got) {
        if (!Objects.equals(expected, got)) {
            throw new AssertionError(what + ": expected " + expected + ", got " + got);
        }
    }

    static void check(String what, boolean holds) {
        if (!holds) {
            throw new AssertionError("does not hold: " + what);
        }
    }

    /** What one or more consumers got, fences kept apart. */
    static class Inbox {
        private final List<MessageExt> messages = new ArrayList<>();
        private int fences;

        synchronized void add(MessageExt m) {
            if (body(m).equals("fence")) {
                fences++;
            } else {
                messages.add(m);
            }
        }

        void addAll(Collection<MessageExt> all) {
            all.forEach(this::add);
        }

        synchronized int size() {
            return messages.size();
        }

        synchronized int fences() {
            return fences;
        }

        synchronized List<MessageExt> messages() {
            return new ArrayList<>(messages);
        }

        List<String> bodies() {
            return messages().stream().map(Kit::body).collect(Collectors.toList());
        }

        List<String> sortedBodies() {
            return messages().stream().map(Kit::body).sorted().collect(Collectors.toList());
        }
    }
}
