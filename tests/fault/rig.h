/* A broker as a process in a directory of its own, which is killed or loses its power; for the fault programs.
 * With power, its directory is a powerfs (tests/fault/powerfs.c). Include in one .c file only, after tap.h and
 * peer.h. The programs are looked for in MQ_BUILD (default build). */
#ifndef TESTS_FAULT_RIG_H
#define TESTS_FAULT_RIG_H

#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define RIG_WAIT_MS 60000

static struct rig {
    bool power;
    char top[64], dir[80], log[80];      /* dir: what the broker sees; top: what is removed in the end */
    int port;
    pid_t broker, powerfs;
    int to_power, from_power;
    long unconfirmed, lost;              /* of the last cut */
} rig;

static int rig_remove_one(const char *path, const struct stat *st, int flag, struct FTW *w) { return remove(path); }

static void rig_end(pid_t *pid, int how)
{
    if (*pid <= 0)
        return;
    kill(*pid, how);
    waitpid(*pid, NULL, 0);
    *pid = 0;
}

static void rig_close(void)
{
    /* the power first: a broker that waits for its disk cannot be killed */
    if (rig.to_power > 0)
        close(rig.to_power);
    if (rig.powerfs > 0)
        rig_end(&rig.powerfs, SIGTERM);
    rig_end(&rig.broker, SIGKILL);
    if (rig.power)
        umount2(rig.dir, MNT_DETACH);
    if (rig.top[0] && !getenv("MQ_KEEP"))
        nftw(rig.top, rig_remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
    rig.top[0] = 0;
}

static void rig_signal(int sig)
{
    rig_close();
    _exit(128 + sig);
}

__attribute__((format(printf, 1, 2), noreturn)) static void rig_bail(const char *fmt, ...)
{
    va_list ap;
    char cmd[200];

    va_start(ap, fmt);
    printf("Bail out! ");
    vprintf(fmt, ap);
    printf("\n");
    va_end(ap);
    fflush(stdout);
    snprintf(cmd, sizeof cmd, "tail -20 %s | sed 's/^/# /'", rig.log);
    if (rig.top[0] && system(cmd) != 0)
        printf("# no log\n");
    rig_close();
    exit(2);
}

/* A port that is free, with the broker's second one, two below it. */
static int rig_free_port(void)
{
    for (int k = 0; k < 1000; k++) {
        int port = 12000 + 10 * (int)((random() ^ getpid()) % 2000), free = 0, on = 1;
        for (int i = 0; i <= 2; i += 2) {
            struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)(port - i)),
                                    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
            int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
            setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
            free += bind(fd, (struct sockaddr *)&a, sizeof a) == 0;
            close(fd);
        }
        if (free == 2)
            return port;
    }
    rig_bail("no free port");
}

static void rig_program(const char *name, char path[200])
{
    const char *build = getenv("MQ_BUILD");

    snprintf(path, 200, "%s/%s", build ? build : "build", name);
}

/* Forks and runs; the child dies with this process. */
static pid_t rig_spawn(const char *program, char *const argv[], int in, int out)
{
    pid_t pid = fork();

    if (pid)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(in, 0);
    dup2(out, 1);
    if (out != rig.from_power)
        dup2(out, 2);
    execv(program, argv);
    perror(program);
    _exit(127);
}

/* One line to powerfs, one back, which must begin with `want`. */
static void rig_power(const char *line, const char *want)
{
    char answer[100];
    size_t n = 0;

    if (write(rig.to_power, line, strlen(line)) < 0)
        rig_bail("powerfs is gone");
    while (n + 1 < sizeof answer && read(rig.from_power, answer + n, 1) == 1 && answer[n] != '\n')
        n++;
    answer[n] = 0;
    if (strncmp(answer, want, strlen(want)) != 0)
        rig_bail("powerfs said \"%s\" to %s", answer, line);
    sscanf(answer, "cut %ld %ld", &rig.unconfirmed, &rig.lost);
}

static void rig_start_power(void)
{
    char program[200], name[] = "powerfs", dir[80];
    char *argv[] = {name, dir, NULL};
    int to[2], from[2];

    rig_program("tests/fault/powerfs", program);
    snprintf(dir, sizeof dir, "%s", rig.dir);
    if (pipe2(to, O_CLOEXEC) || pipe2(from, O_CLOEXEC))
        rig_bail("pipe");
    rig.to_power = to[1];
    rig.from_power = from[0];
    rig.powerfs = rig_spawn(program, argv, to[0], from[1]);
    close(to[0]);
    close(from[1]);
    rig_power("mount\n", "mounted");
}

/* conf: the lines of broker.conf, without directory and port. */
static void rig_open(bool power, const char *conf)
{
    char path[200];
    FILE *f;
    int fd;

    rig.power = power;
    strcpy(rig.top, "/tmp/mqfs-fault-XXXXXX");
    if (!mkdtemp(rig.top))
        rig_bail("mkdtemp");
    signal(SIGINT, rig_signal);
    signal(SIGTERM, rig_signal);
    signal(SIGHUP, rig_signal);
    signal(SIGPIPE, SIG_IGN);
    atexit(rig_close);
    snprintf(rig.dir, sizeof rig.dir, "%s/disk", rig.top);
    snprintf(rig.log, sizeof rig.log, "%s/log", rig.top);
    mkdir(rig.dir, 0755);
    if (power)
        rig_start_power();
    rig.port = rig_free_port();
    snprintf(path, sizeof path, "%s/broker.conf", rig.dir);
    if (!(f = fopen(path, "w")))
        rig_bail("%s: %s", path, strerror(errno));
    fprintf(f, "brokerName=b\nbrokerIP1=127.0.0.1\nbindAddress=127.0.0.1\nlistenPort=%d\nstorePathRootDir=%s/store\n%s",
            rig.port, rig.dir, conf);
    fflush(f);
    fsync(fileno(f));
    fclose(f);
    if ((fd = open(rig.dir, O_RDONLY)) >= 0) {
        fsync(fd);
        close(fd);
    }
}

static bool rig_answers(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)rig.port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool is = connect(fd, (struct sockaddr *)&a, sizeof a) == 0;

    close(fd);
    return is;
}

static void rig_start_broker(void)
{
    char program[200], path[200], name[] = "mqbroker", c[] = "-c";
    char *argv[] = {name, c, path, NULL};
    int64_t until = mono_ms() + RIG_WAIT_MS;
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC), log = open(rig.log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

    rig_program("mqbroker", program);
    snprintf(path, sizeof path, "%s/broker.conf", rig.dir);
    rig.broker = rig_spawn(program, argv, null, log);
    close(null);
    close(log);
    while (!rig_answers()) {
        if (waitpid(rig.broker, NULL, WNOHANG) == rig.broker) {
            rig.broker = 0;
            rig_bail("the broker does not start");
        }
        if (mono_ms() > until)
            rig_bail("the broker does not answer");
        usleep(2000);
    }
}

/* What the page cache holds goes to powerfs; FUSE passes no syncfs on, so nothing is confirmed by it. */
static void rig_write_back(void)
{
    int fd = open(rig.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd >= 0) {
        syncfs(fd);
        close(fd);
    }
}

/* The process is killed; or first the power goes, and then comes back. */
static void rig_crash(unsigned seed)
{
    char line[40];

    if (!rig.power) {
        rig_end(&rig.broker, SIGKILL);
        return;
    }
    /* Mostly the kernel has brought pages to the disk that nobody has synced: then some of them survive. */
    if (seed % 4)
        rig_write_back();
    snprintf(line, sizeof line, "cut %u\n", seed);
    rig_power(line, "cut");
    rig_end(&rig.broker, SIGKILL);
    rig_power("mount\n", "mounted");
}

#endif
