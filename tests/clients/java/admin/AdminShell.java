import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.HashSet;
import java.util.Set;
import org.apache.rocketmq.common.MixAll;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.remoting.protocol.subscription.SimpleSubscriptionData;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;
import org.apache.rocketmq.tools.command.MQAdminStartup;

/** Many mqadmin commands in one JVM: a command is one line with tabs between
 *  its words, the answer is what it printed and then a line of END. */
public class AdminShell {
    static final String END = "--end-of-answer--";

    public static void main(String[] args) throws Exception {
        System.setProperty(MixAll.NAMESRV_ADDR_PROPERTY, args[0]);
        PrintStream out = System.out;
        BufferedReader in = new BufferedReader(
            new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line; (line = in.readLine()) != null; ) {
            out.println(answer(args[0], line.split("\t")));
            out.println(END);
            out.flush();
        }
        System.exit(0);
    }

    private static String answer(String namesrv, String[] words) {
        ByteArrayOutputStream text = new ByteArrayOutputStream();
        PrintStream out = System.out;
        PrintStream err = System.err;
        PrintStream capture = new PrintStream(text, true, StandardCharsets.UTF_8);
        System.setOut(capture);
        System.setErr(capture);
        try {
            if (words[0].equals("bind")) {
                with(namesrv, admin -> bind(admin, words));
            } else if (words[0].equals("prepare")) {
                with(namesrv, admin -> prepare(admin, words));
            } else {
                MQAdminStartup.main0(words, null);
            }
        } catch (Throwable t) {
            t.printStackTrace(capture);
        } finally {
            System.setOut(out);
            System.setErr(err);
        }
        return text.toString(StandardCharsets.UTF_8);
    }

    interface Action {
        void run(DefaultMQAdminExt admin) throws Exception;
    }

    private static void with(String namesrv, Action action) throws Exception {
        DefaultMQAdminExt admin = new DefaultMQAdminExt();
        admin.setNamesrvAddr(namesrv);
        admin.setInstanceName("shell-" + System.nanoTime());
        admin.start();
        try {
            action.run(admin);
        } finally {
            admin.shutdown();
        }
        System.out.println("success");
    }

    /** bind BROKER GROUP [TOPIC EXPRESSION]...: these are all the bindings of
     *  the group. mqadmin has no command that sets subscriptionDataSet. */
    private static void bind(DefaultMQAdminExt admin, String[] words) throws Exception {
        SubscriptionGroupConfig group = new SubscriptionGroupConfig();
        group.setGroupName(words[2]);
        Set<SimpleSubscriptionData> bindings = new HashSet<>();
        for (int i = 3; i + 1 < words.length; i += 2) {
            bindings.add(new SimpleSubscriptionData(words[i], "TAG", words[i + 1], 1));
        }
        group.setSubscriptionDataSet(bindings);
        admin.createAndUpdateSubscriptionGroupConfig(words[1], group);
    }

    /** prepare BROKER PREFIX SCENARIO...: a topic and a group for each. One
     *  mqadmin command each would take most of a test's time. */
    private static void prepare(DefaultMQAdminExt admin, String[] words) throws Exception {
        for (int i = 3; i < words.length; i++) {
            String topic = words[2] + "-" + words[i];
            admin.createAndUpdateTopicConfig(words[1], new TopicConfig(topic, 4, 4));
            SubscriptionGroupConfig group = new SubscriptionGroupConfig();
            group.setGroupName(topic + "-g");
            admin.createAndUpdateSubscriptionGroupConfig(words[1], group);
        }
    }
}
