import java.io.PrintStream;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/** Runs scenarios one after the other against the broker that the name server
 *  knows, and prints a line of TAP for each:
 *    Clients NAMESRV PREFIX SCENARIO...
 *  A scenario S uses topic PREFIX-S with 4 queues and groups PREFIX-S-g...,
 *  which must be there. */
public class Clients {
    interface Scenario {
        void run(Kit kit) throws Exception;
    }

    static final int SECONDS = 100;
    static final Map<String, Scenario> SCENARIOS = new LinkedHashMap<>();

    static {
        SCENARIOS.put("tags", Push::tags);
        SCENARIOS.put("broadcast", Push::broadcast);
        SCENARIOS.put("orderly", Push::orderly);
        SCENARIOS.put("retry", Push::retry);
        SCENARIOS.put("resume", Push::resume);
        SCENARIOS.put("delay", Push::delay);
        SCENARIOS.put("stay", Push::stay);
        SCENARIOS.put("ways", Sending::ways);
        SCENARIOS.put("large", Sending::large);
        SCENARIOS.put("find", Sending::find);
        SCENARIOS.put("transaction", Sending::transaction);
        SCENARIOS.put("missing", Sending::missing);
        SCENARIOS.put("pull", Pull::pull);
        SCENARIOS.put("lite", Pull::lite);
        SCENARIOS.put("unbound", Pull::unbound);
        SCENARIOS.put("bound", Pull::bound);
    }

    public static void main(String[] args) {
        PrintStream out = System.out;
        int failed = 0;
        for (int i = 2; i < args.length; i++) {
            long start = System.nanoTime();
            String why = run(new Kit(args[0], args[1], args[i]));
            long ms = TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - start);
            if (why == null) {
                out.println("ok - " + args[i] + " (" + ms + " ms)");
            } else {
                failed++;
                out.println("not ok - " + args[i]);
                out.println("# " + why.replace("\n", "\n# "));
            }
            out.flush();
        }
        // the clients leave threads behind that are no daemons
        Runtime.getRuntime().halt(failed == 0 ? 0 : 1);
    }

    /** Returns null, or why the scenario failed. */
    private static String run(Kit kit) {
        Scenario scenario = SCENARIOS.get(kit.scenario);
        if (scenario == null) {
            return "there is no scenario of that name";
        }
        Throwable[] thrown = new Throwable[1];
        Thread worker = new Thread(() -> {
            try {
                scenario.run(kit);
            } catch (Throwable t) {
                thrown[0] = t;
            }
            kit.close();
        }, kit.scenario);
        worker.setDaemon(true);
        worker.start();
        try {
            worker.join(SECONDS * 1000L);
        } catch (InterruptedException e) {
            return "interrupted";
        }
        if (thrown[0] != null) {
            return text(thrown[0], thrown[0].getStackTrace());
        }
        if (worker.isAlive()) {
            return text("not done after " + SECONDS + " s, is in", worker.getStackTrace());
        }
        return null;
    }

    private static String text(Object what, StackTraceElement[] stack) {
        StringBuilder b = new StringBuilder().append(what);
        for (int i = 0; i < stack.length && i < 12; i++) {
            b.append("\n  at ").append(stack[i]);
        }
        return b.toString();
    }
}
