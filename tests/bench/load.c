/* Load on a broker (or on echo_floor), and what it costs the process that serves
 * it. Frames are as a Java client makes them: JSON headers, UNIQ_KEY, WAIT and TAGS.
 *
 *     load send HOST:PORT      SEND_MESSAGE_V2 over -c connections, -m in flight on each
 *     load pull HOST:PORT      PULL_MESSAGE in batches of -n from queues 0..-q, over and over
 *     load rtt HOST:PORT       bare round trips (to -f, else to HOST:PORT with a code nobody
 *                              serves), then from a send to its arrival at a held pull, -r a second
 *     load paced HOST:PORT     sends over -c connections, -r a second whether answers come or not: from a send to its answer
 *
 *     -t TOPIC -g GROUP -c CONNECTIONS -m IN_FLIGHT -d SECONDS -w WARM_UP_SECONDS -b BODY_BYTES
 *     -q QUEUES -n BATCH -r RATE -f FLOOR_HOST:PORT -p PID (whose CPU time is told)
 *     pull: -r is how many messages a second at most
 *     -M MESSAGES: send: stop after so many instead of after -d
 *     -s: never sleep, so that the serving process has nobody to wake
 *
 * The result is one line of key=value. */
#include <sys/timerfd.h>
#include "tests/bench/net.h"

#define SEND_V2 310
#define PULL 11
#define NOBODY 31337                /* a code that nobody serves */
#define OPAQUE_FIRST 10000000       /* opaques have 8 digits, so that they are patched in place */
#define IN_STEP 1048576
#define STAMPS 65536                /* bare or paced requests under way, on each connection */

struct options {
    const char *mode, *addr, *topic, *group, *floor;
    int conns, in_flight, body, queues, batch, rate, pid;
    double seconds, warm_up;
    long messages;
    bool spin;
};

struct link {
    int fd, index;
    struct bytes in, out;
    bool waits_out;
    int32_t opaque;
    int queue;                      /* pull: which, and from where */
    long long offset;
    long long *offsets;             /* of all queues */
    int64_t *stamps;                /* rtt, paced: when the requests left; a ring */
    unsigned asked, answered;
};

struct totals {
    long good, bad;                 /* send: answers; pull: messages, and answers that are neither found nor none */
    long batches;
    long long bytes;
};

static struct options opt = {.topic = "BenchTopic", .group = "bench", .conns = 4, .in_flight = 16, .body = 128,
                             .queues = 4, .batch = 32, .seconds = 5, .warm_up = 1};
static struct totals total;

/* ---- frames ---- */

/* A frame with a header text and a body. */
static void frame_put(struct bytes *out, const char *header, const char *body, size_t body_n)
{
    size_t n = strlen(header);
    char *p = bytes_room(out, 8 + n + body_n);

    put32(p, (uint32_t)(4 + n + body_n));
    put32(p + 4, (uint32_t)n);
    memcpy(p + 8, header, n);
    if (body_n)
        memcpy(p + 8 + n, body, body_n);
    out->n += 8 + n + body_n;
}

/* A send frame made once; what differs from message to message has a fixed width and place. */
struct template {
    struct bytes frame;
    size_t opaque, queue, born, key, body;
};

static size_t place_of(const struct bytes *b, const char *text)
{
    const char *p = memmem(b->p, b->n, text, strlen(text));

    if (!p)
        die("template without %s", text);
    return (size_t)(p - b->p);
}

static void template_make(struct template *t)
{
    char header[2048], *body = malloc((size_t)opt.body + 8);

    memset(body, 'x', (size_t)opt.body);
    snprintf(header, sizeof(header),
             "{\"code\":%d,\"extFields\":{\"a\":\"%s\",\"b\":\"%s\",\"c\":\"TBW102\",\"d\":\"%d\",\"e\":\"@\","
             "\"f\":\"0\",\"g\":\"#############\",\"h\":\"0\","
             "\"i\":\"UNIQ_KEY\\u0001$$$$$$$$$$$$$$$$$$$$$$$$$$$$$$$$\\u0002WAIT\\u0001true\\u0002TAGS\\u0001TagA\\u0002\","
             "\"j\":\"0\",\"k\":\"false\",\"m\":\"false\",\"n\":\"broker-a\"},\"flag\":0,\"language\":\"JAVA\","
             "\"opaque\":%d,\"serializeTypeCurrentRPC\":\"JSON\",\"version\":513}",
             SEND_V2, opt.group, opt.topic, opt.queues, OPAQUE_FIRST);
    frame_put(&t->frame, header, body, (size_t)opt.body);
    free(body);
    t->opaque = place_of(&t->frame, "\"opaque\":") + 9;
    t->queue = place_of(&t->frame, "@");
    t->born = place_of(&t->frame, "####");
    t->key = place_of(&t->frame, "$$$$");
    t->body = t->frame.n - (size_t)opt.body;
}

static void digits(char *p, int n, unsigned long long v)
{
    while (n--) {
        p[n] = (char)('0' + v % 10);
        v /= 10;
    }
}

static void send_put(struct link *l, struct template *t, int queue)
{
    static unsigned long long n;
    static const char hex[] = "0123456789ABCDEF";
    char *p = t->frame.p;
    struct timespec wall;

    clock_gettime(CLOCK_REALTIME_COARSE, &wall);
    l->opaque = l->opaque >= 99999999 ? OPAQUE_FIRST : l->opaque + 1;
    digits(p + t->opaque, 8, (unsigned)l->opaque);
    digits(p + t->born, 13, (unsigned long long)wall.tv_sec * 1000 + (unsigned)wall.tv_nsec / 1000000);
    p[t->queue] = (char)('0' + queue % 10);
    n++;
    for (int i = 0; i < 32; i++)
        p[t->key + (size_t)i] = i < 16 ? '7' : hex[n >> (4 * (31 - i)) & 15];
    bytes_put(&l->out, p, t->frame.n);
}

static void pull_put(struct link *l, int queue, long long offset, int suspend_ms)
{
    char header[1024];

    l->opaque++;
    l->queue = queue;
    l->offset = offset;
    snprintf(header, sizeof(header),
             "{\"code\":%d,\"extFields\":{\"consumerGroup\":\"%s\",\"topic\":\"%s\",\"queueId\":\"%d\","
             "\"queueOffset\":\"%lld\",\"maxMsgNums\":\"%d\",\"sysFlag\":\"%d\",\"commitOffset\":\"0\","
             "\"suspendTimeoutMillis\":\"%d\",\"subscription\":\"*\",\"subVersion\":\"0\",\"expressionType\":\"TAG\"},"
             "\"flag\":0,\"language\":\"JAVA\",\"opaque\":%d,\"serializeTypeCurrentRPC\":\"JSON\",\"version\":513}",
             PULL, opt.group, opt.topic, queue, offset, opt.batch, suspend_ms ? 6 : 4, suspend_ms, l->opaque);
    frame_put(&l->out, header, NULL, 0);
}

/* A number in a header text ("key":12 or "key":"12"); def when absent. */
static long long number_in(const char *header, size_t n, const char *key, long long def)
{
    const char *p = memmem(header, n, key, strlen(key));

    if (!p)
        return def;
    p += strlen(key);
    if (*p == '"')
        p++;
    return strtoll(p, NULL, 10);
}

/* ---- links ---- */

static void link_flush(int ep, struct link *l)
{
    ssize_t k = l->out.n ? send(l->fd, l->out.p, l->out.n, MSG_NOSIGNAL) : 0;

    if (k < 0 && errno != EAGAIN)
        die("sending: %s", strerror(errno));
    if (k > 0)
        bytes_take(&l->out, (size_t)k);
    if ((l->out.n > 0) != l->waits_out) {
        struct epoll_event e = {.events = EPOLLIN | (l->out.n ? EPOLLOUT : 0), .data.ptr = l};
        l->waits_out = l->out.n > 0;
        epoll_ctl(ep, EPOLL_CTL_MOD, l->fd, &e);
    }
}

static void link_open(int ep, struct link *l, const char *addr, int index)
{
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = l};

    *l = (struct link){.fd = dial(addr), .index = index, .opaque = OPAQUE_FIRST};
    epoll_ctl(ep, EPOLL_CTL_ADD, l->fd, &e);
}

/* Reads what there is; calls each(l, header, header_n, body, body_n) per frame. */
static void link_read(struct link *l, void (*each)(struct link *l, const char *h, size_t hn, const char *b, size_t bn))
{
    char *p = bytes_room(&l->in, IN_STEP);
    ssize_t k = read(l->fd, p, IN_STEP);
    size_t used = 0;

    if (k < 0 && errno == EAGAIN)
        return;
    if (k <= 0)
        die("%s closed a connection", opt.addr);
    l->in.n += (size_t)k;
    while (l->in.n - used >= 8) {
        const char *f = l->in.p + used;
        size_t len = (size_t)get32(f) + 4, hn = get32(f + 4) & 0xFFFFFF;
        if (l->in.n - used < len)
            break;
        each(l, f + 8, hn, f + 8 + hn, len - 8 - hn);
        used += len;
    }
    bytes_take(&l->in, used);
}

static void tell_once(const char *h, size_t hn)
{
    static bool told;

    if (!told)
        fprintf(stderr, "refused: %.*s\n", (int)hn, h);
    told = true;
}

/* ---- send ---- */

static struct template send_template;
static bool stopping;

static void on_sent(struct link *l, const char *h, size_t hn, const char *b, size_t bn)
{
    if (number_in(h, hn, "\"code\":", -1) == 0) {
        total.good++;
    } else {
        total.bad++;
        tell_once(h, hn);
    }
    if (!stopping)
        send_put(l, &send_template, l->queue++ % opt.queues);
}

/* ---- pull ---- */

/* Where -r says so, until as many messages as came may have come. */
static void keep_rate(void)
{
    static int64_t began;
    static long before;
    int64_t now = now_ns(), due;

    if (!began) {
        began = now;
        before = total.good;
    }
    due = opt.rate ? began + (int64_t)(1e9 * (double)(total.good - before) / opt.rate) : now;
    if (due > now)
        usleep((useconds_t)((due - now) / 1000));
}

static void pull_next(struct link *l)
{
    keep_rate();
    l->offsets[l->queue] = l->offset;
    l->queue = (l->queue + 1) % opt.queues;
    if (!stopping)
        pull_put(l, l->queue, l->offsets[l->queue], 0);
}

static void on_pulled(struct link *l, const char *h, size_t hn, const char *b, size_t bn)
{
    long long code = number_in(h, hn, "\"code\":", -1);

    total.bytes += (long long)bn;
    for (size_t at = 0; at + 4 <= bn;) {
        size_t size = get32(b + at);
        if (size < 4 || size > bn - at)
            die("a pull's body does not add up");
        at += size;
        total.good++;
    }
    if (code == 0) {
        total.batches++;
        l->offset = number_in(h, hn, "\"nextBeginOffset\":", 0);
    } else if (code >= 19 && code <= 21) {
        l->offset = number_in(h, hn, "\"minOffset\":", 0);      /* the end: once more from the beginning */
    } else {
        die("refused: %.*s", (int)hn, h);
    }
    pull_next(l);
}

/* ---- rtt ---- */

static int64_t *samples;
static long n_samples, cap_samples;

static void sample(int64_t ns)
{
    if (n_samples == cap_samples) {
        cap_samples = cap_samples ? cap_samples * 2 : 4096;
        samples = realloc(samples, (size_t)cap_samples * sizeof(*samples));
        if (!samples)
            die("no memory");
    }
    samples[n_samples++] = ns;
}

static int by_value(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static double quantile(double q)
{
    return n_samples ? (double)samples[(long)((double)(n_samples - 1) * q)] / 1000 : 0;
}

static void on_bare(struct link *l, const char *h, size_t hn, const char *b, size_t bn)
{
    sample(now_ns() - l->stamps[l->answered++ % STAMPS]);
}

static void on_send_answer(struct link *l, const char *h, size_t hn, const char *b, size_t bn)
{
    if (number_in(h, hn, "\"code\":", -1) == 0)
        return;
    total.bad++;
    tell_once(h, hn);
}

/* The body of a record; its first 8 bytes are when it was sent. */
static const char *record_body(const char *r, size_t n)
{
    uint32_t flags = get32(r + 36);
    size_t at = 40 + 8 + (flags & 0x10 ? 20 : 8) + 8 + (flags & 0x20 ? 20 : 8) + 4 + 8;

    return at + 12 <= n && get32(r + at) >= 8 ? r + at + 4 : NULL;
}

static void on_arrived(struct link *l, const char *h, size_t hn, const char *b, size_t bn)
{
    long long code = number_in(h, hn, "\"code\":", -1);
    int64_t now = now_ns(), sent;

    for (size_t at = 0; at + 92 <= bn; at += get32(b + at)) {
        const char *body = get32(b + at) <= bn - at ? record_body(b + at, get32(b + at)) : NULL;
        if (!body)
            die("a pull's body does not add up");
        memcpy(&sent, body, 8);
        if (sent > now - 60000000000 && sent <= now)    /* not an older run's */
            sample(now - sent);
    }
    if (code != 0 && (code < 19 || code > 21))
        die("refused: %.*s", (int)hn, h);
    pull_put(l, l->queue, number_in(h, hn, "\"nextBeginOffset\":", l->offset), 15000);
}

/* ---- the runs ---- */

typedef void each_f(struct link *l, const char *h, size_t hn, const char *b, size_t bn);

static void round_of(int ep, int wait_ms, each_f *const *each)
{
    struct epoll_event events[64];
    int n = epoll_wait(ep, events, 64, opt.spin ? 0 : wait_ms);

    for (int i = 0; i < n; i++) {
        struct link *l = events[i].data.ptr;
        if (!l)
            continue;
        if (events[i].events & ~EPOLLOUT)
            link_read(l, each[l->index]);
        link_flush(ep, l);
    }
}

/* Runs until `seconds` are over, or opt.messages are done. */
static double run_for(int ep, double seconds, each_f *const *each)
{
    int64_t t0 = now_ns(), until = t0 + (int64_t)(seconds * 1e9);

    while (now_ns() < until && (!opt.messages || total.good + total.bad < opt.messages))
        round_of(ep, 100, each);
    return (double)(now_ns() - t0) / 1e9;
}

static void report(const char *what, double seconds, int64_t cpu)
{
    printf("%s messages=%ld refused=%ld seconds=%.2f per_second=%.0f", what, total.good, total.bad, seconds,
           (double)total.good / seconds);
    if (total.batches)
        printf(" per_batch=%.1f bytes=%lld", (double)total.good / (double)total.batches, total.bytes);
    if (opt.pid && total.good)
        printf(" cpu_us_per_message=%.3f cpu_share=%.2f", (double)cpu / 1000 / (double)total.good,
               (double)cpu / 1e9 / seconds);
    putchar('\n');
}

static void run_load(int ep, each_f *each_frame, void (*begin)(struct link *l))
{
    struct link *links = calloc((size_t)opt.conns, sizeof(*links));
    each_f *each[1] = {each_frame};
    int64_t cpu = 0;
    double seconds;

    if (!links)
        die("no memory");
    for (int i = 0; i < opt.conns; i++) {
        link_open(ep, &links[i], opt.addr, 0);
        links[i].queue = i % opt.queues;
        begin(&links[i]);
        link_flush(ep, &links[i]);
    }
    if (!opt.messages)
        run_for(ep, opt.warm_up, each);
    total = (struct totals){0};
    if (opt.pid && (cpu = cpu_ns(opt.pid)) < 0)
        die("no process %d to look at", opt.pid);
    seconds = run_for(ep, opt.messages ? 1e6 : opt.seconds, each);
    if (opt.pid)
        cpu = cpu_ns(opt.pid) - cpu;
    report(opt.mode, seconds, cpu);
}

static void begin_sends(struct link *l)
{
    for (int i = 0; i < opt.in_flight; i++)
        send_put(l, &send_template, l->queue++ % opt.queues);
}

static void begin_pulls(struct link *l)
{
    l->offsets = calloc((size_t)opt.queues, sizeof(*l->offsets));
    if (!l->offsets)
        die("no memory");
    pull_put(l, l->queue, 0, 0);
}

static int ticker(int ep, int rate)
{
    struct itimerspec every = {.it_interval.tv_nsec = 1000000000L / rate, .it_value.tv_nsec = 1};
    struct epoll_event e = {.events = EPOLLIN};
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);

    if (rate < 2)
        die("a rate of at least 2 a second");
    timerfd_settime(fd, 0, &every, NULL);
    epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
    return fd;
}

static void tell_quantiles(const char *what, double *p99)
{
    qsort(samples, (size_t)n_samples, sizeof(*samples), by_value);
    printf("%s samples=%ld p50_us=%.1f p90_us=%.1f p99_us=%.1f max_us=%.1f\n", what, n_samples, quantile(0.5),
           quantile(0.9), quantile(0.99), quantile(1));
    *p99 = quantile(0.99);
    n_samples = 0;
}

/* Bare requests keep the rate whether answers come or not, as sends do: what holds up the server for 10 ms
 * must count for each request of that time, here and there. */
static void bare_tick(int ep, struct link *l)
{
    char header[300];

    if (l->asked - l->answered == STAMPS)
        die("%s does not answer", opt.floor ? opt.floor : opt.addr);
    snprintf(header, sizeof(header), "{\"code\":%d,\"flag\":0,\"language\":\"JAVA\",\"opaque\":%d,"
             "\"serializeTypeCurrentRPC\":\"JSON\",\"version\":513}", NOBODY, ++l->opaque);
    frame_put(&l->out, header, NULL, 0);
    l->stamps[l->asked++ % STAMPS] = now_ns();
    link_flush(ep, l);
}

static void send_tick(int ep, struct link *l)
{
    int64_t now = now_ns();

    memcpy(send_template.frame.p + send_template.body, &now, 8);
    send_put(l, &send_template, 0);
    link_flush(ep, l);
}

static void run_ticks(int ep, double seconds, each_f *const *each, void (*tick)(int ep, struct link *l), struct link *l)
{
    int64_t until = now_ns() + (int64_t)(seconds * 1e9);
    int timer = ticker(ep, opt.rate);
    uint64_t n;

    while (now_ns() < until) {
        round_of(ep, 100, each);
        if (read(timer, &n, sizeof(n)) == sizeof(n))
            tick(ep, l);
    }
    close(timer);
}

static void run_rtt(int ep)
{
    static each_f *const each[] = {on_bare, on_send_answer, on_arrived};
    struct link bare, sender, puller;
    double floor_p99, arrival_p99;

    if (opt.body < 8)
        die("rtt needs bodies of 8 bytes or more");
    link_open(ep, &bare, opt.floor ? opt.floor : opt.addr, 0);
    if (!(bare.stamps = calloc(STAMPS, sizeof(*bare.stamps))))
        die("no memory");
    run_ticks(ep, opt.warm_up, each, bare_tick, &bare);
    n_samples = 0;
    run_ticks(ep, opt.seconds, each, bare_tick, &bare);
    tell_quantiles("bare", &floor_p99);

    link_open(ep, &sender, opt.addr, 1);
    link_open(ep, &puller, opt.addr, 2);
    send_tick(ep, &sender);     /* makes the topic */
    for (int i = 0; i < 20; i++)
        round_of(ep, 10, each);
    pull_put(&puller, 0, 0, 15000);
    link_flush(ep, &puller);
    run_ticks(ep, opt.warm_up, each, send_tick, &sender);
    n_samples = 0;
    run_ticks(ep, opt.seconds, each, send_tick, &sender);
    tell_quantiles("arrival", &arrival_p99);
    printf("rtt refused=%ld p99_ratio=%.2f\n", total.bad, floor_p99 > 0 ? arrival_p99 / floor_p99 : 0);
}

/* ---- paced ---- */

static void on_paced(struct link *l, const char *h, size_t hn, const char *b, size_t bn)
{
    long long opaque = number_in(h, hn, "\"opaque\":", -1);

    if (number_in(h, hn, "\"code\":", -1)) {
        total.bad++;
        tell_once(h, hn);
    }
    if (opaque < 0)
        die("an answer without opaque");
    total.good++;
    l->answered++;
    sample(now_ns() - l->stamps[opaque % STAMPS]);
}

static void paced_put(struct link *l)
{
    if (l->asked - l->answered == STAMPS)
        die("%s does not answer", opt.addr);
    send_put(l, &send_template, l->queue++ % opt.queues);
    l->asked++;
    l->stamps[l->opaque % STAMPS] = now_ns();
}

/* Each millisecond what is due by then, dealt to the connections in turn. */
static void paced_for(int ep, double seconds, struct link *links)
{
    static each_f *const each[] = {on_paced};
    int64_t t0 = now_ns(), until = t0 + (int64_t)(seconds * 1e9), now, done = 0;
    int timer = ticker(ep, 1000);
    uint64_t n;

    while ((now = now_ns()) < until) {
        round_of(ep, 100, each);
        if (read(timer, &n, sizeof(n)) != sizeof(n))
            continue;
        for (; done < (int64_t)((double)(now_ns() - t0) / 1e9 * opt.rate); done++)
            paced_put(&links[done % opt.conns]);
        for (int i = 0; i < opt.conns; i++)
            link_flush(ep, &links[i]);
    }
    close(timer);
}

static void run_paced(int ep)
{
    struct link *links = calloc((size_t)opt.conns, sizeof(*links));
    double p99;

    if (!links)
        die("no memory");
    for (int i = 0; i < opt.conns; i++) {
        link_open(ep, &links[i], opt.addr, 0);
        if (!(links[i].stamps = calloc(STAMPS, sizeof(*links[i].stamps))))
            die("no memory");
    }
    paced_for(ep, opt.warm_up, links);
    n_samples = 0;
    paced_for(ep, opt.seconds, links);
    tell_quantiles("paced", &p99);
}

/* ---- the command line ---- */

static void parse(int argc, char **argv)
{
    int o;

    if (argc < 3)
        die("load send|pull|rtt|paced HOST:PORT [options]: see the head of tests/bench/load.c");
    opt.mode = argv[1];
    opt.addr = argv[2];
    optind = 3;
    while ((o = getopt(argc, argv, "t:g:c:m:d:w:b:q:n:r:f:p:M:s")) != -1)
        switch (o) {
        case 't': opt.topic = optarg; break;
        case 'g': opt.group = optarg; break;
        case 'c': opt.conns = atoi(optarg); break;
        case 'm': opt.in_flight = atoi(optarg); break;
        case 'd': opt.seconds = atof(optarg); break;
        case 'w': opt.warm_up = atof(optarg); break;
        case 'b': opt.body = atoi(optarg); break;
        case 'q': opt.queues = atoi(optarg); break;
        case 'n': opt.batch = atoi(optarg); break;
        case 'r': opt.rate = atoi(optarg); break;
        case 'f': opt.floor = optarg; break;
        case 'p': opt.pid = atoi(optarg); break;
        case 'M': opt.messages = atol(optarg); break;
        case 's': opt.spin = true; break;
        default: exit(2);
        }
    if (!opt.rate && strcmp(opt.mode, "pull") != 0)
        opt.rate = 1000;
    if (opt.conns < 1 || opt.in_flight < 1 || opt.queues < 1 || opt.queues > 10 || opt.body < 0)
        die("numbers of connections, in flight and queues (1 to 10) must make sense");
}

int main(int argc, char **argv)
{
    int ep = epoll_create1(EPOLL_CLOEXEC);

    parse(argc, argv);
    template_make(&send_template);
    if (strcmp(opt.mode, "send") == 0)
        run_load(ep, on_sent, begin_sends);
    else if (strcmp(opt.mode, "pull") == 0)
        run_load(ep, on_pulled, begin_pulls);
    else if (strcmp(opt.mode, "rtt") == 0)
        run_rtt(ep);
    else if (strcmp(opt.mode, "paced") == 0)
        run_paced(ep);
    else
        die("no mode %s: send, pull, rtt or paced", opt.mode);
    return total.bad > 0;
}
