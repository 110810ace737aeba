/* Looks over a store that no broker uses: store/check.h as a program. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/broker.h"
#include "broker/config.h"
#include "common/buf.h"
#include "common/bus_guard.h"
#include "common/clock.h"
#include "store/check.h"

enum { CLEAN = 0, FOUND = 1, COULD_NOT_LOOK = 2 };

struct run {
    struct check_options o;
    struct check_result r;
    struct fault f;
    bool quiet, repair, force;
    const char *conf_path;
    struct broker_config conf;
    char *log_list;                      /* made of the configuration's */
    bool progress, progress_lines;       /* shown; each on a line of its own */
    int64_t began, told;                 /* mono_ms; of the last progress */
    const char *part;                    /* of the last progress */
};

#define PROGRESS_MS 200

static const char usage[] =
    "usage: mqfsck [-q] [-c FILE] [--repair [--force]] [--commit-log DIR,DIR] [--index-slots N] [DIR]\n"
    "  DIR                      the store's directory (storePathRootDir), which no broker may be using\n"
    "  -c, --configFile FILE    the broker's broker.conf: DIR, the two below and maxIndexNum are taken from it\n"
    "      --commit-log LIST    the commit log's directories (storePathCommitLog), when not DIR/commitlog\n"
    "      --index-slots N      maxHashSlotNum, when the index files do not show it\n"
    "      --repair             make again what can be made again; nothing else is removed\n"
    "      --force              with --repair: what cannot be made again may go too\n"
    "      --progress           say how far it is, a line each time, also when standard error is no terminal\n"
    "  -q, --quiet              findings only\n"
    "  -h, --help               this\n"
    "status: 0 nothing is wrong, 1 something is, 2 it could not look\n";

/* ---- telling ---- */

static void clear_progress(const struct run *run)
{
    if (run->told && !run->progress_lines)
        fputs("\r\033[K", stderr);
}

static void print_progress(void *ctx, const char *part, int64_t done, int64_t total)
{
    struct run *run = ctx;
    int64_t now = mono_ms();
    bool new_part = !run->part || strcmp(run->part, part) != 0;

    if (!run->progress || (!new_part && now - run->told < PROGRESS_MS))
        return;
    run->told = now;
    run->part = part;
    clear_progress(run);
    if (total)
        fprintf(stderr, "%s: %d%% of %" PRId64, part, (int)(done * 100 / total), total);
    else
        fprintf(stderr, "%s: %" PRId64, part, done);
    fprintf(stderr, ", %.1f s%s", (double)(now - run->began) / 1000, run->progress_lines ? "\n" : "");
}

static void print_finding(void *ctx, const char *path, int64_t offset, const char *what)
{
    clear_progress(ctx);
    printf("%s: offset %" PRId64 ": %s\n", path, offset, what);
}

static void print_note(void *ctx, const char *what)
{
    const struct run *run = ctx;

    clear_progress(run);
    if (!run->quiet)
        printf("note: %s\n", what);
}

/* ---- what is to be done ---- */

static int parse_slots(const char *text, int32_t *out)
{
    if (str_i32(str_of(text), out) == 0 && *out > 0)
        return 0;
    fprintf(stderr, "mqfsck: \"%s\" is no number of slots\n", text);
    return -EINVAL;
}

/* What the command line does not say is taken from the broker's configuration. */
static int read_conf(struct run *run)
{
    struct broker_config *c = &run->conf;
    int rc = conf_defaults(broker_config_table(), c);

    if (!rc)
        rc = conf_read_file(broker_config_table(), c, run->conf_path, NULL, NULL, &run->f);
    if (rc) {
        fprintf(stderr, "mqfsck: %s\n", run->f.text[0] ? run->f.text : strerror(-rc));
        return rc;
    }
    if (!run->o.root && c->store_path_root_dir[0])
        run->o.root = c->store_path_root_dir;
    if (!run->o.commit_log && c->store_path_commit_log[0]) {
        if (asprintf(&run->log_list, "%s,%s", c->store_path_commit_log, c->read_only_commit_log_store_paths) < 0)
            run->log_list = NULL;
        run->o.commit_log = run->log_list;
        rc = run->log_list ? 0 : -ENOMEM;
    }
    if (!run->o.index_slots) {
        run->o.index_slots = c->max_hash_slot_num;
        run->o.index_entries = c->max_index_num;
    }
    return rc;
}

/* 0; 1: all is said and done; -errno. */
static int parse(int argc, char **argv, struct run *run)
{
    static const struct option longs[] = {
        {"commit-log", required_argument, NULL, 'l'}, {"index-slots", required_argument, NULL, 's'},
        {"configFile", required_argument, NULL, 'c'}, {"progress", no_argument, NULL, 'p'},
        {"repair", no_argument, NULL, 'r'}, {"force", no_argument, NULL, 'f'},
        {"quiet", no_argument, NULL, 'q'}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0},
    };
    int k, rc = 0;

    while (!rc && (k = getopt_long(argc, argv, "c:qh", longs, NULL)) != -1) {
        switch (k) {
        case 'l': run->o.commit_log = optarg; break;
        case 's': rc = parse_slots(optarg, &run->o.index_slots); break;
        case 'c': run->conf_path = optarg; break;
        case 'p': run->progress = run->progress_lines = true; break;
        case 'r': run->repair = true; break;
        case 'f': run->force = true; break;
        case 'q': run->quiet = true; break;
        case 'h': fputs(usage, stdout); return 1;
        default: fputs(usage, stderr); return -EINVAL;
        }
    }
    run->o.root = argc - optind == 1 ? argv[optind] : NULL;
    if (!rc && run->conf_path && argc - optind <= 1)
        rc = read_conf(run);
    if (!rc && (!run->o.root || (run->force && !run->repair))) {
        fputs(usage, stderr);
        return -EINVAL;
    }
    return rc;
}

static int look(void *arg)
{
    struct run *run = arg;

    return check_store(&run->o, &run->r, &run->f);
}

static void print_summary(const struct run *run)
{
    const struct check_result *r = &run->r;

    if (r->not_clean)
        print_note((void *)(uintptr_t)run, "the last run did not end cleanly: the broker will recover when it starts");
    printf("%s: %" PRId64 " records in %" PRId64 " log files, %" PRId64 " units of %" PRId64 " queues, %" PRId64
           " entries of %" PRId64 " index files, %" PRId64 " config files: %" PRId64 " findings\n",
           run->o.root, r->records, r->log_files, r->units, r->queues, r->entries, r->index_files, r->configs,
           r->findings);
}

static void print_done(void *ctx, const char *path, bool left, const char *what)
{
    (void)ctx;
    printf("%s: %s: %s\n", left ? "left" : "repaired", path, what);
}

static int repair(struct run *run)
{
    struct repair_options o = {.root = run->o.root, .force = run->force, .done = print_done};

    return run->repair && run->r.n_bad ? check_repair(&run->r, &o, &run->f) : 0;
}

static void free_run(struct run *run)
{
    check_result_free(&run->r);
    broker_config_free(&run->conf);
    free(run->log_list);
}

int main(int argc, char **argv)
{
    struct run run = {.o = {.finding = print_finding, .note = print_note, .progress = print_progress},
                      .progress = isatty(STDERR_FILENO), .began = mono_ms()};
    int rc = parse(argc, argv, &run);

    if (rc) {
        free_run(&run);
        return rc > 0 ? CLEAN : COULD_NOT_LOOK;
    }
    run.o.ctx = &run;
    if ((rc = bus_guard_install()))
        fault_errno(&run.f, -rc, "guard against failing disks");
    else if ((rc = bus_guarded(look, &run)) && !run.f.text[0])
        fault_errno(&run.f, -rc, "read %.300s", run.o.root);
    clear_progress(&run);
    if (!rc)
        rc = repair(&run);
    if (rc) {
        fflush(stdout);
        fprintf(stderr, "mqfsck: %s\n", run.f.text);
    } else if (!run.quiet) {
        print_summary(&run);
    }
    rc = rc ? COULD_NOT_LOOK : run.r.findings ? FOUND : CLEAN;
    free_run(&run);
    if (fflush(stdout) || ferror(stdout))
        return COULD_NOT_LOOK;
    return rc;
}
