/* The name server as a program of its own. Options as Apache's mqnamesrv has them. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/program.h"
#include "namesrv/namesrv.h"

static const char usage[] =
    "usage: mqnamesrv [-c FILE] [-p] [--log-dir DIR]\n"
    "  -c, --configFile FILE      namesrv.conf: key=value lines, RocketMQ's key names\n"
    "  -p, --printConfigItem      print every key and its value, and stop\n"
    "      --log-dir DIR          write DIR/namesrv.log instead of standard error\n"
    "  -h, --help                 print this\n";

struct options {
    const char *file, *log_dir;
    bool print;
};

/* 0: go on; else the exit status + 1. */
static int parse(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {
        {"configFile", required_argument, NULL, 'c'}, {"printConfigItem", no_argument, NULL, 'p'},
        {"log-dir", required_argument, NULL, 'l'},    {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int c;

    while ((c = getopt_long(argc, argv, "c:ph", longs, NULL)) != -1) {
        switch (c) {
        case 'c':
            o->file = optarg;
            break;
        case 'p':
            o->print = true;
            break;
        case 'l':
            o->log_dir = optarg;
            break;
        case 'h':
            fputs(usage, stdout);
            return EXIT_SUCCESS + 1;
        default:
            fputs(usage, stderr);
            return EXIT_FAILURE + 1;
        }
    }
    if (optind == argc)
        return 0;
    fputs(usage, stderr);
    return EXIT_FAILURE + 1;
}

static int fail(const struct fault *f)
{
    fprintf(stderr, "mqnamesrv: %s\n", f->text);
    return EXIT_FAILURE;
}

static int print_config(struct namesrv_config *conf)
{
    struct buf text = {0};
    bool done;

    conf_print(&namesrv_config_rows, conf, &text);
    namesrv_config_free(conf);
    done = !buf_failed(&text) && fwrite(text.p, 1, text.n, stdout) == text.n && fflush(stdout) == 0;
    buf_free(&text);
    return done ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int open_log(const char *dir, struct fault *f)
{
    char path[4096];
    int rc;

    if (snprintf(path, sizeof(path), "%s/namesrv.log", dir) >= (int)sizeof(path))
        return fault_errno(f, ENAMETOOLONG, "--log-dir");
    rc = log_open(path, LOG_INFO);
    return rc ? fault_errno(f, -rc, "cannot write %s", path) : 0;
}

/* Serves until a signal says to stop. */
static int serve(struct namesrv_config *conf)
{
    struct namesrv *ns = NULL;
    struct fault f = {0};

    program_start();
    if (namesrv_open(conf, &ns, &f) || namesrv_run(ns, &f)) {
        namesrv_close(ns);
        return fail(&f);
    }
    printf("The Name Server boot success. port %d\n", namesrv_port(ns));
    fflush(stdout);
    log_info("namesrv: stopping on %s", strsignal(program_wait()));
    namesrv_close(ns);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    struct namesrv_config conf = {0};
    struct options o = {0};
    struct fault f = {0};
    int end = parse(argc, argv, &o);

    if (end)
        return end - 1;
    if (namesrv_config_load(&conf, o.file, &f)) {
        namesrv_config_free(&conf);
        return fail(&f);
    }
    if (o.print)
        return print_config(&conf);
    if (o.log_dir && open_log(o.log_dir, &f)) {
        namesrv_config_free(&conf);
        return fail(&f);
    }
    return serve(&conf);
}
