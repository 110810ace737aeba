import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;

/** Consumes a topic from its first message on until nothing more comes: Drain NAMESRV TOPIC GROUP EXPECTED.
 *  Waits 3 s longer than the expected number needs, so that what comes twice is seen. */
public class Drain {
    public static void main(String[] args) throws Exception {
        int expected = Integer.parseInt(args[3]);
        AtomicInteger got = new AtomicInteger();
        Set<String> places = ConcurrentHashMap.newKeySet();
        DefaultMQPushConsumer c = new DefaultMQPushConsumer(args[2]);
        c.setNamesrvAddr(args[0]);
        c.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        c.setConsumeMessageBatchMaxSize(32);
        c.subscribe(args[1], "*");
        c.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            messages.forEach(m -> places.add(m.getQueueId() + "/" + m.getQueueOffset()));
            got.addAndGet(messages.size());
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        c.start();
        for (int i = 0; i < 900 && places.size() < expected; i++) {
            Thread.sleep(100);
        }
        Thread.sleep(3000);
        System.out.println("got " + got + ", distinct " + places.size());
        Runtime.getRuntime().halt(0);
    }
}
