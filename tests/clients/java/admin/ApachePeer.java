import org.apache.rocketmq.broker.BrokerStartup;
import org.apache.rocketmq.namesrv.NamesrvStartup;

/** The reference name server and broker in one JVM, which is half the start
 *  time and memory of two. */
public class ApachePeer {
    public static void main(String[] args) {
        NamesrvStartup.main(new String[] {"-c", args[0]});
        BrokerStartup.main(new String[] {"-c", args[1]});
    }
}
