/* Looks over a store that no broker uses: store/check.h as a program. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/bus_guard.h"
#include "store/check.h"

enum { CLEAN = 0, FOUND = 1, COULD_NOT_LOOK = 2 };

struct run {
    struct check_options o;
    struct check_result r;
    struct fault f;
    bool quiet, repair, force;
};

static const char usage[] =
    "usage: mqfsck [-q] [--repair [--force]] [--commit-log DIR,DIR] [--index-slots N] DIR\n"
    "  DIR                      the store's directory (storePathRootDir), which no broker may be using\n"
    "      --commit-log LIST    the commit log's directories (storePathCommitLog), when not DIR/commitlog\n"
    "      --index-slots N      maxHashSlotNum, when it is not a quarter of maxIndexNum\n"
    "      --repair             make again what can be made again; nothing else is removed\n"
    "      --force              with --repair: what cannot be made again may go too\n"
    "  -q, --quiet              findings only\n"
    "  -h, --help               this\n"
    "status: 0 nothing is wrong, 1 something is, 2 it could not look\n";

static void print_finding(void *ctx, const char *path, int64_t offset, const char *what)
{
    (void)ctx;
    printf("%s: offset %" PRId64 ": %s\n", path, offset, what);
}

static void print_note(void *ctx, const char *what)
{
    const struct run *run = ctx;

    if (!run->quiet)
        printf("note: %s\n", what);
}

static int parse(int argc, char **argv, struct run *run)
{
    static const struct option longs[] = {
        {"commit-log", required_argument, NULL, 'l'}, {"index-slots", required_argument, NULL, 's'},
        {"repair", no_argument, NULL, 'r'}, {"force", no_argument, NULL, 'f'},
        {"quiet", no_argument, NULL, 'q'}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0},
    };
    int k;

    while ((k = getopt_long(argc, argv, "qh", longs, NULL)) != -1) {
        switch (k) {
        case 'l': run->o.commit_log = optarg; break;
        case 's':
            if (str_i32(str_of(optarg), &run->o.index_slots) || run->o.index_slots <= 0) {
                fprintf(stderr, "mqfsck: \"%s\" is no number of slots\n", optarg);
                return -EINVAL;
            }
            break;
        case 'r': run->repair = true; break;
        case 'f': run->force = true; break;
        case 'q': run->quiet = true; break;
        case 'h': fputs(usage, stdout); return 1;
        default: fputs(usage, stderr); return -EINVAL;
        }
    }
    if (argc - optind != 1 || (run->force && !run->repair)) {
        fputs(usage, stderr);
        return -EINVAL;
    }
    run->o.root = argv[optind];
    return 0;
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
           run->o.root, r->records, r->log_files, r->units, r->queues, r->entries, r->index_files, r->configs, r->findings);
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

int main(int argc, char **argv)
{
    struct run run = {.o = {.finding = print_finding, .note = print_note}};
    int rc = parse(argc, argv, &run);

    if (rc)
        return rc > 0 ? CLEAN : COULD_NOT_LOOK;
    run.o.ctx = &run;
    if ((rc = bus_guard_install()))
        fault_errno(&run.f, -rc, "guard against failing disks");
    else if ((rc = bus_guarded(look, &run)) && !run.f.text[0])
        fault_errno(&run.f, -rc, "read %.300s", run.o.root);
    if (!rc)
        rc = repair(&run);
    if (rc) {
        fflush(stdout);
        fprintf(stderr, "mqfsck: %s\n", run.f.text);
    } else if (!run.quiet) {
        print_summary(&run);
    }
    rc = rc ? COULD_NOT_LOOK : run.r.findings ? FOUND : CLEAN;
    check_result_free(&run.r);
    if (fflush(stdout) || ferror(stdout))
        return COULD_NOT_LOOK;
    return rc;
}
