/* The audit file: lines that are JSON whatever stands in them, a line that a
 * crash tore, a file that cannot be written. (R-GOV-01, R-GOV-03) */
#include "broker/audit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <signal.h>
#include <unistd.h>

#include "common/file.h"
#include "common/json.h"
#include "common/log.h"
#include "tests/unit/tap.h"

static char path[] = "/tmp/mqfs-audit-XXXXXX";
static struct fault f;
static const struct caller who = {"alice", "fuse:pid 1"};

static char *content(void)
{
    static struct buf b;

    if (file_read(path, 1 << 20, &b))
        exit(2);
    buf_putc(&b, 0);
    return b.p;
}

/* The n-th line as JSON; NULL when it is none. */
static const struct json *line_at(struct arena *a, int n)
{
    char *p = content(), *end;
    struct json *j;

    while (n-- && p)
        p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL;
    if (!p || !(end = strchr(p, '\n')))
        return NULL;
    return json_parse(a, str_n(p, (size_t)(end - p)), &j) ? NULL : j;
}

static struct audit *open_audit(void)
{
    struct audit *a;

    if (audit_open(path, &a, &f)) {
        printf("Bail out! %s\n", f.text);
        exit(2);
    }
    return a;
}

static void test_lines(struct arena *arena)
{
    struct audit *a = open_audit();
    struct buf lines = {0};
    const struct json *j;

    is_int(audit_write(a, &who, "topic.change", "/T/perm", "6", "4", &f), 0, "a line");
    j = line_at(arena, 0);
    ok(j && str_is(json_str(j, "user"), "alice") && str_is(json_str(j, "from"), "fuse:pid 1") &&
       str_is(json_str(j, "what"), "topic.change") &&
       str_is(json_str(j, "path"), "/T/perm") && str_is(json_str(j, "old"), "6") &&
       str_is(json_str(j, "new"), "4"), "says who, from where, what, old and new");
    ok(json_str(j, "time").n == strlen("2026-11-20T10:00:00.000Z"), "and when");
    audit_write(a, &who, "x", "/a\n\"b\\\001\xff", NULL, "two\nlines", &f);
    j = line_at(arena, 1);
    ok(j && str_is(json_str(j, "new"), "two\nlines") && !json_member(j, "old"),
       "whatever stands in it, it is one line of JSON");
    audit_add(&lines, &who, "a", "/1", NULL, NULL);
    audit_add(&lines, &who, "b", "/2", NULL, NULL);
    is_int(audit_put(a, &lines, &f), 0, "two at once");
    ok(str_is(json_str(line_at(arena, 2), "what"), "a") && str_is(json_str(line_at(arena, 3), "what"), "b"),
       "are two lines");
    lines.n = 0;
    is_int(audit_put(a, &lines, &f), 0, "none at all");
    buf_free(&lines);
    audit_close(a);
}

static void test_torn(struct arena *arena)
{
    FILE *file = fopen(path, "a");
    struct audit *a;

    if (!file || fputs("{\"time\":\"2026", file) < 0 || fclose(file))
        exit(2);
    a = open_audit();
    audit_write(a, &who, "after", "/3", NULL, NULL, &f);
    audit_close(a);
    ok(!line_at(arena, 4), "a line that a crash tore is none");
    ok(str_is(json_str(line_at(arena, 5), "what"), "after"), "the next is a line of its own");
}

/* A limit on the file's size stands for a full disk. */
static void test_full(struct arena *arena)
{
    struct audit *a = open_audit();
    size_t before = strlen(content());
    struct rlimit old, now;

    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    now = old;
    now.rlim_cur = before + 20;
    setrlimit(RLIMIT_FSIZE, &now);
    ok(audit_write(a, &who, "lost", "/4", NULL, NULL, &f) < 0, "a line that has no room: %s", f.text);
    setrlimit(RLIMIT_FSIZE, &old);
    is_int(strlen(content()), before, "leaves no half line behind");
    is_int(audit_write(a, &who, "found", "/5", NULL, NULL, &f), 0, "afterwards there is room");
    ok(str_is(json_str(line_at(arena, 6), "what"), "found"), "for a whole one");
    audit_close(a);
    is_int(audit_open("/nonexistent/audit.log", &a, &f), -ENOENT, "a place that is none: %s", f.text);
}

int main(void)
{
    struct arena arena;
    int fd = mkstemp(path);

    log_open("/dev/null", LOG_ERROR);
    if (fd < 0) {
        perror("# mkstemp");
        return 2;
    }
    close(fd);
    arena_init(&arena, 1 << 20);
    test_lines(&arena);
    test_torn(&arena);
    test_full(&arena);
    arena_free(&arena);
    unlink(path);
    return tap_done();
}
