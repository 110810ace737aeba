/* The broker as a program; with --with-namesrv a name server in the same
 * process, with --mount the tree. Options -c -n -p -h as RocketMQ's mqbroker. */
#include <errno.h>
#include <getopt.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/broker.h"
#include "common/log.h"
#include "common/program.h"
#include "fs/fuse.h"
#include "namesrv/namesrv.h"

#define NAMESRV_PORT 9876

struct options {
    const char *conf, *namesrv, *mount, *log;
    bool print, with_namesrv;
};

struct parts {
    struct namesrv *namesrv;
    struct broker *broker;
    struct fuse_door *door;
};

static const char usage[] =
    "usage: mqbroker [-c FILE] [-n ADDR;ADDR] [--with-namesrv] [--mount DIR] [--log FILE] [-p] [-h]\n"
    "  -c, --configFile FILE    RocketMQ's broker.conf: key=value lines\n"
    "  -n, --namesrvAddr LIST   name servers, host:port, separated by ;\n"
    "      --with-namesrv       run a name server too, on the port of the first address of the list (9876)\n"
    "      --mount DIR          show the broker as a tree of files at DIR\n"
    "      --log FILE           write the log there, not to standard error\n"
    "  -p, --printConfigItem    print all configuration keys and their values, and stop\n"
    "  -h, --help               this\n";

static int parse_options(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {
        {"configFile", required_argument, NULL, 'c'}, {"namesrvAddr", required_argument, NULL, 'n'},
        {"printConfigItem", no_argument, NULL, 'p'},  {"help", no_argument, NULL, 'h'},
        {"with-namesrv", no_argument, NULL, 'w'},     {"mount", required_argument, NULL, 'd'},
        {"log", required_argument, NULL, 'l'},        {NULL, 0, NULL, 0},
    };
    int k;

    while ((k = getopt_long(argc, argv, "c:n:ph", longs, NULL)) != -1) {
        switch (k) {
        case 'c': o->conf = optarg; break;
        case 'n': o->namesrv = optarg; break;
        case 'p': o->print = true; break;
        case 'w': o->with_namesrv = true; break;
        case 'd': o->mount = optarg; break;
        case 'l': o->log = optarg; break;
        case 'h': fputs(usage, stdout); exit(EXIT_SUCCESS);
        default: fputs(usage, stderr); return -EINVAL;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "mqbroker: what is \"%s\"?\n%s", argv[optind], usage);
        return -EINVAL;
    }
    return 0;
}

static int fail(const struct fault *f)
{
    fprintf(stderr, "mqbroker: %s\n", f->text);
    log_error("%s", f->text);
    return EXIT_FAILURE;
}

/* Port of the first address of "host:9876;host2:9876". */
static int first_port(const char *list)
{
    const char *end = list + strcspn(list, ";"), *colon = memrchr(list, ':', (size_t)(end - list));
    int32_t port;

    if (colon && str_i32(str_n(colon + 1, (size_t)(end - colon - 1)), &port) == 0 && port > 0 && port < 65536)
        return port;
    return NAMESRV_PORT;
}

/* A name server beside the broker: its files lie in the broker's store directory. */
static int start_namesrv(struct parts *p, struct broker_config *bc, struct fault *f)
{
    struct namesrv_config nc = {0};
    char text[4200];
    int rc;

    if (!bc->namesrv_addr[0] && (rc = broker_config_override(bc, "namesrvAddr", "127.0.0.1:9876", f)))
        return rc;
    if ((rc = namesrv_config_load(&nc, NULL, f)))
        goto failed;
    snprintf(text, sizeof(text), "%d", first_port(bc->namesrv_addr));
    if ((rc = namesrv_config_override(&nc, "listenPort", text, f)) ||
        (rc = namesrv_config_override(&nc, "bindAddress", bc->bind_address, f)))
        goto failed;
    snprintf(text, sizeof(text), "%s/namesrv/kvConfig.json", bc->store_path_root_dir);
    if ((rc = namesrv_config_override(&nc, "kvConfigPath", text, f)))
        goto failed;
    snprintf(text, sizeof(text), "%s/namesrv/namesrv.properties", bc->store_path_root_dir);
    if ((rc = namesrv_config_override(&nc, "configStorePath", text, f)))
        goto failed;
    if ((rc = namesrv_open(&nc, &p->namesrv, f)))
        return rc;
    return namesrv_run(p->namesrv, f);
failed:
    namesrv_config_free(&nc);
    return rc;
}

/* Without a mount the broker goes on: what it must do, it can do. */
static void start_mount(struct parts *p, const char *dir)
{
    struct fuse_door_options options = {0};
    struct fault f;

    if (fuse_door_open(p->broker, dir, &options, &p->door, &f) || fuse_door_run(p->door, &f)) {
        fprintf(stderr, "mqbroker: no tree at %s: %s\n", dir, f.text);
        log_error("no tree at %s: %s", dir, f.text);
        fuse_door_free(p->door);
        p->door = NULL;
    }
}

static int start(struct parts *p, const struct options *o, struct broker_config *conf, struct fault *f)
{
    int rc;

    if (o->with_namesrv && (rc = start_namesrv(p, conf, f))) {
        broker_config_free(conf);
        return rc;
    }
    if ((rc = broker_open(conf, o->conf, &p->broker, f)) || (rc = broker_run(p->broker, f)))
        return rc;
    if (o->mount)
        start_mount(p, o->mount);
    return 0;
}

static void stop(struct parts *p)
{
    fuse_door_stop(p->door);
    broker_close(p->broker);
    fuse_door_free(p->door);
    namesrv_close(p->namesrv);
}

int main(int argc, char **argv)
{
    struct options o = {0};
    struct broker_config conf = {0};
    struct parts p = {0};
    struct fault f = {0};
    int rc;

    if (parse_options(argc, argv, &o))
        return EXIT_FAILURE;
    if (o.log && (rc = log_open(o.log, LOG_INFO))) {
        fprintf(stderr, "mqbroker: cannot write the log %s: %s\n", o.log, strerror(-rc));
        return EXIT_FAILURE;
    }
    if (broker_config_load(&conf, o.conf, &f) ||
        (o.namesrv && broker_config_override(&conf, "namesrvAddr", o.namesrv, &f))) {
        broker_config_free(&conf);
        return fail(&f);
    }
    if (o.print) {
        struct buf out = {0};
        conf_print(broker_config_table(), &conf, &out);
        fwrite(out.p, 1, out.n, stdout);
        buf_free(&out);
        broker_config_free(&conf);
        return EXIT_SUCCESS;
    }
    program_start();
    mallopt(M_MMAP_THRESHOLD, 1 << 20);      /* else one whole table as text raises it, and the next stays in the heap */
    rc = start(&p, &o, &conf, &f);
    if (rc) {
        stop(&p);
        return fail(&f);
    }
    malloc_trim(0);                          /* what reading the tables took: 90 MiB with 100,000 topics */
    log_info("ready");
    log_info("stopping: %s", strsignal(program_wait()));
    stop(&p);
    log_info("stopped");
    return EXIT_SUCCESS;
}
