/* Files that are replaced whole: the old one stays beside the new one, on file systems without hard links too. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/file.h"
#include "common/log.h"
#include "tests/unit/tap.h"

static int link_error, rename_error;
static char dir[64], path[80], bak[90], tmp[90];

int link(const char *from, const char *to)
{
    if (link_error) {
        errno = link_error;
        return -1;
    }
    return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

/* Only that of the new file fails. */
int rename(const char *from, const char *to)
{
    if (rename_error && strcmp(from, tmp) == 0) {
        errno = rename_error;
        return -1;
    }
    return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

static bool holds(const char *name, const char *text)
{
    struct buf b = {0};
    bool is = file_read(name, 1000, &b) == 0 && str_is(buf_str(&b), text);

    buf_free(&b);
    return is;
}

static void test_replace(const char *what)
{
    unlink(path);
    unlink(bak);
    ok(file_replace(path, str_of("one")) == 0 && holds(path, "one") && holds(bak, "one"), "%s: the first, and its copy", what);
    ok(file_replace(path, str_of("two")) == 0 && holds(path, "two") && holds(bak, "one"), "%s: the second, and the first", what);
    ok(file_replace(path, str_of("three")) == 0 && holds(path, "three") && holds(bak, "two"), "%s: the third, and the second", what);
    rename_error = EIO;
    ok(file_replace(path, str_of("four")) == -EIO && holds(path, "three"), "%s: one that cannot be named changes nothing", what);
    rename_error = 0;
    ok(access(tmp, F_OK) < 0, "%s: and leaves nothing", what);
}

int main(void)
{
    snprintf(dir, sizeof dir, "/tmp/mqfs-file-XXXXXX");
    if (!mkdtemp(dir))
        return 2;
    snprintf(path, sizeof path, "%s/table.json", dir);
    snprintf(bak, sizeof bak, "%s.bak", path);
    snprintf(tmp, sizeof tmp, "%s.tmp", path);
    test_replace("hard links");
    link_error = EPERM;
    test_replace("none");
    link_error = EIO;
    ok(file_replace(path, str_of("five")) == -EIO && holds(path, "three"), "a disk that fails is told");
    unlink(path);
    unlink(bak);
    rmdir(dir);
    return tap_done();
}
