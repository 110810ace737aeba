/* Our own administrator's program: what needs the broker's files and not its
 * wire alone. (Topics, groups and offsets: the tree, or Apache's mqadmin.) One
 * row of `commands` for each sub-command. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/json.h"
#include "common/remoting/client.h"
#include "store/export.h"
#include "tools/admin/dump.h"
#include "tools/admin/transfer.h"

#define DEFAULT_BROKER "127.0.0.1:10911"
#define ASK_MS 600000                /* a snapshot on another file system is a full copy */
#define ANSWER_MAX (4u << 20)
#define DEFAULT_LEVEL 1

enum { CREATE_SNAPSHOT = 30001, DELETE_SNAPSHOT = 30002, LIST_SNAPSHOTS = 30003 };

struct options {
    const char *broker, *snapshot, *store, *topics, *groups;
    bool dry_run;
    int level, threads;
    bool quiet;
    int64_t from, count;             /* of dump */
    int32_t index_slots;
    bool body;
    int n_words;
    char **words;                    /* behind the options */
};

static volatile sig_atomic_t stopped;

static void on_signal(int number)
{
    (void)number;
    stopped = 1;
}

static int complain(const struct fault *f)
{
    fprintf(stderr, "mqadmin: %s\n", f->text);
    return EXIT_FAILURE;
}

/* ---- asking the broker ---- */

struct answer {
    struct command reply;
    struct buf frame;
    struct arena arena;
    struct json *body;               /* NULL: none */
};

static void answer_free(struct answer *a)
{
    buf_free(&a->frame);
    arena_free(&a->arena);
}

/* One request of a name or none. 0, or -errno with f; the answer is to be freed in both cases. */
static int ask(const char *broker, int code, const char *name, struct answer *a, struct fault *f)
{
    struct command cmd = {.code = code};
    struct client *client;
    int rc = client_open(&client, f);

    memset(a, 0, sizeof *a);
    arena_init(&a->arena, ANSWER_MAX);
    if (rc)
        return rc;
    if (name)
        command_add(&cmd, "name", str_of(name));
    rc = client_call(client, broker, &cmd, ASK_MS, &a->reply, &a->frame, f);
    client_close(client);
    if (rc)
        return rc;
    if (a->reply.code == RC_REQUEST_CODE_NOT_SUPPORTED)
        return fault_set(f, a->reply.code, ENOTSUP, "the broker at %s is not one of ours: it takes no snapshots", broker);
    if (a->reply.code != RC_SUCCESS)
        return fault_set(f, a->reply.code, EREMOTEIO, "%.*s", (int)(a->reply.remark.n < 350 ? a->reply.remark.n : 350),
                         a->reply.remark.n ? a->reply.remark.p : "refused");
    if (a->reply.body.n && json_parse(&a->arena, a->reply.body, &a->body))
        return fault_set(f, RC_SYSTEM_ERROR, EBADMSG, "the broker at %s answered what is no JSON", broker);
    return 0;
}

/* ---- snapshot ---- */

static void print_snapshot(const struct json *s)
{
    struct str name = json_str(s, "name"), path = json_str(s, "path");
    int64_t ms = json_int(s, "time", 0);
    time_t t = (time_t)(ms / 1000);
    struct tm tm;
    char text[32] = "-";

    if (localtime_r(&t, &tm))
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    printf("%.*s\t%s\t%lld\t%.*s\n", STR_ARG(name), text, (long long)json_int(s, "logEnd", 0), STR_ARG(path));
}

static int snapshot_one(const struct options *o, int code)
{
    struct answer a;
    struct fault f = {0};
    int rc;

    if (o->n_words != 2) {
        fprintf(stderr, "mqadmin: snapshot create NAME, snapshot delete NAME, snapshot list\n");
        return EXIT_FAILURE;
    }
    rc = ask(o->broker, code, o->words[1], &a, &f);
    if (!rc && code == CREATE_SNAPSHOT && !o->quiet)
        print_snapshot(a.body);
    answer_free(&a);
    return rc ? complain(&f) : EXIT_SUCCESS;
}

static int snapshot_create(const struct options *o) { return snapshot_one(o, CREATE_SNAPSHOT); }
static int snapshot_delete(const struct options *o) { return snapshot_one(o, DELETE_SNAPSHOT); }

static int snapshot_list(const struct options *o)
{
    struct answer a;
    struct fault f = {0};
    int rc = ask(o->broker, LIST_SNAPSHOTS, NULL, &a, &f);

    if (!rc)
        json_each(s, json_member(a.body, "snapshots"))
            print_snapshot(s);
    answer_free(&a);
    return rc ? complain(&f) : EXIT_SUCCESS;
}

static int run_snapshot(const struct options *o)
{
    static const struct {
        const char *name;
        int (*run)(const struct options *o);
    } verbs[] = {{"create", snapshot_create}, {"delete", snapshot_delete}, {"list", snapshot_list}};

    for (size_t i = 0; o->n_words && i < sizeof verbs / sizeof verbs[0]; i++)
        if (strcmp(verbs[i].name, o->words[0]) == 0)
            return verbs[i].run(o);
    fprintf(stderr, "mqadmin: snapshot create NAME, snapshot delete NAME, snapshot list\n");
    return EXIT_FAILURE;
}

/* ---- progress ---- */

struct progress {
    bool shown;                      /* standard error is a terminal */
    int64_t began, told;             /* mono_ms */
};

static int show_progress(void *arg, int64_t done, int64_t total)
{
    struct progress *p = arg;
    int64_t now = mono_ms(), ms = now - p->began;

    if (p->shown && now - p->told >= 200) {
        p->told = now;
        fputc('\r', stderr);
        if (total > 0)                   /* of a pipe it is not known */
            fprintf(stderr, "%3d%%  ", (int)(done * 100 / total));
        fprintf(stderr, "%.2f GiB  %.0f MiB/s ", (double)done / (1 << 30),
                ms > 0 ? (double)done / (1 << 20) * 1000 / (double)ms : 0.0);
    }
    return stopped;
}

static struct progress progress_start(const struct options *o)
{
    return (struct progress){!o->quiet && isatty(STDERR_FILENO), mono_ms(), mono_ms()};
}

static void progress_end(const struct options *o, const struct progress *p, const char *what, const struct export_result *r)
{
    int64_t ms = mono_ms() - p->began;

    if (p->shown)
        fputs("\r\033[K", stderr);
    if (!o->quiet)
        fprintf(stderr, "%s: %lld files, %lld bytes in %.1f s\n", what, (long long)r->files, (long long)r->bytes,
                (double)ms / 1000);
}

/* ---- export ---- */

#define PART_SIZE 4096

/* Opens FILE.part, which becomes FILE when it is whole and on disk: part_end. The descriptor or -errno. */
static int part_open(const char *file, char part[PART_SIZE], struct fault *f)
{
    int fd;

    if (snprintf(part, PART_SIZE, "%s.part", file) >= PART_SIZE)
        return fault_errno(f, ENAMETOOLONG, "%.200s", file);
    if (access(file, F_OK) == 0)
        return fault_set(f, RC_SYSTEM_ERROR, EEXIST, "%.300s is there already", file);
    fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    return fd < 0 ? fault_errno(f, errno, "make %.300s", part) : fd;
}

/* rc: how the writing of it ended. The descriptor stays open. */
static int part_end(int fd, const char *part, const char *file, int rc, struct fault *f)
{
    if (!rc && fsync(fd) < 0)
        rc = fault_errno(f, errno, "sync %.300s", part);
    if (!rc && rename(part, file) < 0)
        rc = fault_errno(f, errno, "rename %.300s", part);
    if (rc)
        unlink(part);
    else if ((rc = dir_sync_of(file)))
        fault_errno(f, -rc, "sync the directory of %.300s", file);
    return rc;
}

static int export_to_file(const char *dir, const char *file, const struct export_options *e, struct export_result *r,
                          struct fault *f)
{
    char part[PART_SIZE];
    int fd = part_open(file, part, f), rc;

    if (fd < 0)
        return fd;
    rc = part_end(fd, part, file, export_dir(dir, fd, e, r, f), f);
    close(fd);
    return rc;
}

static int export_from(const struct options *o, const char *dir, struct fault *f)
{
    const char *file = o->words[0];
    struct progress p = progress_start(o);
    struct export_options e = {.level = o->level, .threads = o->threads, .progress = show_progress, .arg = &p};
    struct export_result r;
    int rc = strcmp(file, "-") == 0 ? export_dir(dir, STDOUT_FILENO, &e, &r, f) : export_to_file(dir, file, &e, &r, f);

    if (!rc)
        progress_end(o, &p, file, &r);
    else if (p.shown)
        fputs("\r\033[K", stderr);
    return rc;
}

/* The path of the snapshot called name in the broker's list. */
static int find_snapshot(const struct options *o, char *path, size_t cap, struct fault *f)
{
    struct answer a;
    int rc = ask(o->broker, LIST_SNAPSHOTS, NULL, &a, f);

    if (!rc) {
        rc = fault_set(f, RC_INVALID_PARAMETER, ENOENT, "there is no snapshot %.200s", o->snapshot);
        json_each(s, json_member(a.body, "snapshots"))
            if (str_is(json_str(s, "name"), o->snapshot) && str_copy(path, cap, json_str(s, "path")))
                rc = 0;
    }
    answer_free(&a);
    return rc;
}

static int export_snapshot(const struct options *o, struct fault *f)
{
    char path[4096];
    int rc = find_snapshot(o, path, sizeof path, f);

    return rc ? rc : export_from(o, path, f);
}

/* Of a running broker: a snapshot of its own, dropped afterwards. */
static int export_running(const struct options *o, struct fault *f)
{
    char name[64], path[4096];
    struct answer made, dropped;
    struct fault drop = {0};
    int rc;

    snprintf(name, sizeof name, "export-%d-%lld", (int)getpid(), (long long)wall_ms());
    rc = ask(o->broker, CREATE_SNAPSHOT, name, &made, f);
    if (!rc && !str_copy(path, sizeof path, json_str(made.body, "path")))
        rc = fault_set(f, RC_SYSTEM_ERROR, EBADMSG, "the broker at %s does not say where the snapshot is", o->broker);
    answer_free(&made);
    if (rc)
        return rc;
    rc = export_from(o, path, f);
    if (ask(o->broker, DELETE_SNAPSHOT, name, &dropped, &drop))
        fprintf(stderr, "mqadmin: the snapshot %s was not dropped: %s\n", name, drop.text);
    answer_free(&dropped);
    return rc;
}

static struct transfer transfer_of(const struct options *o)
{
    return (struct transfer){o->broker, o->topics, o->groups, o->dry_run, o->quiet};
}

static int export_lines(const struct options *o, FILE *out, struct fault *f)
{
    struct transfer t = transfer_of(o);
    int rc = transfer_export(&t, out, f);

    return !rc && fflush(out) ? fault_errno(f, errno, "write %.300s", o->words[0]) : rc;
}

static int export_lines_to_file(const struct options *o, const char *file, struct fault *f)
{
    char part[PART_SIZE];
    int fd = part_open(file, part, f), rc;
    FILE *out;

    if (fd < 0)
        return fd;
    if (!(out = fdopen(fd, "w"))) {
        rc = part_end(fd, part, file, fault_errno(f, errno, "open %.300s", part), f);
        close(fd);
        return rc;
    }
    rc = part_end(fd, part, file, export_lines(o, out, f), f);
    fclose(out);
    return rc;
}

/* Chosen topics and groups, as lines. */
static int export_topics(const struct options *o)
{
    const char *file = o->words[0];
    struct fault f = {0};
    int rc = strcmp(file, "-") == 0 ? export_lines(o, stdout, &f) : export_lines_to_file(o, file, &f);

    return rc ? complain(&f) : EXIT_SUCCESS;
}

static int import_topics(const struct options *o)
{
    struct transfer t = transfer_of(o);
    FILE *in = fopen(o->words[0], "re");
    struct fault f = {0};
    int rc;

    if (!in) {
        fault_errno(&f, errno, "open %.300s", o->words[0]);
        return complain(&f);
    }
    rc = transfer_import(&t, in, &f);
    fclose(in);
    fflush(stdout);
    return rc ? complain(&f) : EXIT_SUCCESS;
}

static int run_export(const struct options *o)
{
    struct fault f = {0};
    int rc;

    if (o->n_words == 1 && (o->topics || o->groups))
        return export_topics(o);
    if (o->n_words != 1 || (o->snapshot && o->store)) {
        fprintf(stderr, "mqadmin: export FILE [--snapshot NAME | --store DIR]; - is standard output\n");
        return EXIT_FAILURE;
    }
    if (strcmp(o->words[0], "-") == 0 && isatty(STDOUT_FILENO)) {
        fprintf(stderr, "mqadmin: an archive is nothing for a terminal\n");
        return EXIT_FAILURE;
    }
    if (o->store && store_dir_in_use(o->store))
        rc = fault_set(&f, RC_SYSTEM_ERROR, EBUSY, "a broker runs on %.200s: leave --store away, and it gives a snapshot", o->store);
    else
        rc = o->store ? export_from(o, o->store, &f) : o->snapshot ? export_snapshot(o, &f) : export_running(o, &f);
    return rc ? complain(&f) : EXIT_SUCCESS;
}

/* ---- import ---- */

static int run_import(const struct options *o)
{
    struct progress p = progress_start(o);
    struct export_options e = {.progress = show_progress, .arg = &p};
    struct export_result r;
    struct fault f = {0};
    int fd, rc;

    if (o->n_words == 1)
        return import_topics(o);
    if (o->n_words != 2 || o->dry_run) {
        fprintf(stderr, "mqadmin: import FILE DIR (- is standard input), or import FILE -b HOST:PORT [--dry-run]\n");
        return EXIT_FAILURE;
    }
    fd = strcmp(o->words[0], "-") == 0 ? STDIN_FILENO : open(o->words[0], O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        fault_errno(&f, errno, "open %.300s", o->words[0]);
        return complain(&f);
    }
    rc = import_dir(fd, o->words[1], &e, &r, &f);
    if (!rc)
        progress_end(o, &p, o->words[1], &r);
    else if (p.shown)
        fputs("\r\033[K", stderr);
    close(fd);
    return rc ? complain(&f) : EXIT_SUCCESS;
}

/* ---- dump ---- */

static int run_dump(const struct options *o)
{
    struct dump_options d = {.files = o->words, .n_files = o->n_words, .from = o->from, .count = o->count,
                             .index_slots = o->index_slots, .body = o->body, .quiet = o->quiet};

    if (!o->n_words) {
        fprintf(stderr, "mqadmin: dump FILE... [--from N] [--count N] [--body]\n");
        return EXIT_FAILURE;
    }
    return dump_files(&d) ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* ---- the program ---- */

static const struct command_row {
    const char *name;
    int (*run)(const struct options *o);
    const char *usage;
} commands[] = {
    {"snapshot", run_snapshot, "snapshot create NAME | delete NAME | list      consistent copies of a running store"},
    {"export", run_export, "export FILE [--snapshot NAME | --store DIR]     a store as one tar.zst file"},
    {"import", run_import, "import FILE DIR                                 such a file into an empty directory"},
    {"export", run_export, "export FILE --topics A,B [--groups g1,g2]       chosen topics and groups, as JSON lines"},
    {"import", run_import, "import FILE [--dry-run]                         such a file into a running broker"},
    {"dump", run_dump, "dump FILE... [--from N] [--count N] [--body]    any file of a store as text, a record a line"},
};

static void print_usage(FILE *out)
{
    fputs("usage: mqadmin COMMAND ...\n", out);
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        fprintf(out, "  %s\n", commands[i].usage);
    fputs("options:\n"
          "  -b, --broker HOST:PORT   the broker (" DEFAULT_BROKER "); for snapshots and whole stores on this host\n"
          "      --level N            zstd's level, 1 to 19 (1); 0: a plain tar\n"
          "      --threads N          threads that compress (one per core)\n"
          "      --from N             dump: begin with that offset, unit or entry\n"
          "      --count N            dump: at most so many lines\n"
          "      --body               dump: messages with their bodies\n"
          "      --index-slots N      dump: maxHashSlotNum, when an index file does not show it\n"
          "  -q, --quiet              say nothing but errors\n"
          "  -h, --help               this\n",
          out);
}

static int number_in(const char *text, int lo, int hi, int *out)
{
    int32_t v;

    if (str_i32(str_of(text), &v) || v < lo || v > hi) {
        fprintf(stderr, "mqadmin: \"%s\" is no number from %d to %d\n", text, lo, hi);
        return -EINVAL;
    }
    *out = v;
    return 0;
}

static int amount(const char *text, int64_t least, int64_t *out)
{
    if (str_i64(str_of(text), out) == 0 && *out >= least)
        return 0;
    fprintf(stderr, "mqadmin: \"%s\" is no number from %lld on\n", text, (long long)least);
    return -EINVAL;
}

/* 0; 1: all is said and done; -EINVAL. */
static int parse(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {
        {"broker", required_argument, NULL, 'b'}, {"snapshot", required_argument, NULL, 's'},
        {"store", required_argument, NULL, 'd'},  {"level", required_argument, NULL, 'l'},
        {"threads", required_argument, NULL, 't'}, {"quiet", no_argument, NULL, 'q'},
        {"topics", required_argument, NULL, 'T'}, {"groups", required_argument, NULL, 'G'},
        {"dry-run", no_argument, NULL, 'n'},      {"help", no_argument, NULL, 'h'},
        {"from", required_argument, NULL, 'f'}, {"count", required_argument, NULL, 'c'},
        {"body", no_argument, NULL, 'B'},       {"index-slots", required_argument, NULL, 'S'},
        {NULL, 0, NULL, 0},
    };
    int k, rc = 0;

    while (!rc && (k = getopt_long(argc, argv, "b:qh", longs, NULL)) != -1) {
        switch (k) {
        case 'b': o->broker = optarg; break;
        case 's': o->snapshot = optarg; break;
        case 'd': o->store = optarg; break;
        case 'l': rc = number_in(optarg, 0, 19, &o->level); break;
        case 't': rc = number_in(optarg, 1, 256, &o->threads); break;
        case 'q': o->quiet = true; break;
        case 'T': o->topics = optarg; break;
        case 'G': o->groups = optarg; break;
        case 'n': o->dry_run = true; break;
        case 'f': rc = amount(optarg, 0, &o->from); break;
        case 'c': rc = amount(optarg, 1, &o->count); break;
        case 'B': o->body = true; break;
        case 'S': rc = number_in(optarg, 1, INT32_MAX, &o->index_slots); break;
        case 'h': print_usage(stdout); return 1;
        default: print_usage(stderr); return -EINVAL;
        }
    }
    o->words = argv + optind;
    o->n_words = argc - optind;
    return rc;
}

int main(int argc, char **argv)
{
    struct options o = {.broker = DEFAULT_BROKER, .level = DEFAULT_LEVEL, .count = -1};
    int rc = parse(argc, argv, &o);

    if (rc)
        return rc > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
    signal(SIGPIPE, SIG_IGN);
    sigaction(SIGINT, &(struct sigaction){.sa_handler = on_signal}, NULL);
    sigaction(SIGTERM, &(struct sigaction){.sa_handler = on_signal}, NULL);
    for (size_t i = 0; o.n_words && i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(commands[i].name, o.words[0]) != 0)
            continue;
        o.words++;
        o.n_words--;
        return commands[i].run(&o);
    }
    print_usage(stderr);
    return EXIT_FAILURE;
}
