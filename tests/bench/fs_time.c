/* What reading a small file costs a program, as cat does it: open, fstat, read,
 * read (the end), close.
 *
 *     fs_time FILE TIMES       prints the wall time of one such reading, us */
#include "tests/bench/net.h"
#include <sys/stat.h>

static void read_once(const char *path)
{
    static char text[131072];
    struct stat st;
    ssize_t n;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fstat(fd, &st))
        die("%s: %s", path, strerror(errno));
    n = read(fd, text, sizeof(text));
    if (n < 2 || text[n - 1] != '\n')
        die("%s: %s", path, n < 0 ? strerror(errno) : "not a line");
    if (read(fd, text, sizeof(text)) != 0)
        die("%s: more than one read", path);
    close(fd);
}

int main(int argc, char **argv)
{
    long times = argc == 3 ? atol(argv[2]) : 0;
    int64_t t0;

    if (times < 1)
        die("usage: fs_time FILE TIMES");
    read_once(argv[1]);
    t0 = now_ns();
    for (long i = 0; i < times; i++)
        read_once(argv[1]);
    printf("%.2f\n", (double)(now_ns() - t0) / 1000 / (double)times);
    return 0;
}
