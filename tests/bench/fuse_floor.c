/* The floor under the mount's speed: a FUSE file system that answers constants.
 * DIR/offset is a volatile value exactly as the tree's (no cached attributes, direct
 * I/O, no flush); DIR/big has ENTRIES directories, listed with readdirplus,
 * names and attributes cached for as long as the tree lets topics be.
 *
 *     fuse_floor DIR [ENTRIES]       until it is unmounted */
#include <errno.h>
#include <fuse_lowlevel.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OFFSET_INO 2
#define BIG_INO 3
#define FIRST_INO 16
#define NAME_TTL 60.0
#define DIR_TTL 1.0
#define TEXT "1234567\n"

static unsigned long entries = 100000;

static void stat_of(fuse_ino_t ino, struct stat *st)
{
    memset(st, 0, sizeof *st);
    st->st_ino = ino;
    st->st_nlink = 1;
    st->st_mode = ino == OFFSET_INO ? S_IFREG | 0444 : S_IFDIR | 0755;
    st->st_size = ino == OFFSET_INO ? (off_t)strlen(TEXT) : 0;
    st->st_blocks = ino == OFFSET_INO;
    st->st_mtime = 1700000000;
}

static void entry_of(fuse_ino_t ino, struct fuse_entry_param *e)
{
    memset(e, 0, sizeof *e);
    e->ino = ino;
    stat_of(ino, &e->attr);
    e->entry_timeout = NAME_TTL;
    e->attr_timeout = ino == OFFSET_INO ? 0 : DIR_TTL;
}

static void init(void *userdata, struct fuse_conn_info *c)
{
    c->want |= c->capable & (FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_PARALLEL_DIROPS);
    c->max_write = 128 << 10;
}

static void lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct fuse_entry_param e;
    unsigned long n;

    if (parent == FUSE_ROOT_ID && strcmp(name, "offset") == 0)
        entry_of(OFFSET_INO, &e);
    else if (parent == FUSE_ROOT_ID && strcmp(name, "big") == 0)
        entry_of(BIG_INO, &e);
    else if (parent == BIG_INO && sscanf(name, "topic-%lu", &n) == 1 && n < entries)
        entry_of(FIRST_INO + n, &e);
    else {
        fuse_reply_err(req, ENOENT);
        return;
    }
    fuse_reply_entry(req, &e);
}

static void getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct stat st;

    stat_of(ino, &st);
    fuse_reply_attr(req, &st, ino == OFFSET_INO ? 0 : DIR_TTL);
}

static void open_file(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    fi->direct_io = 1;
    fi->noflush = 1;
    fuse_reply_open(req, fi);
}

static void read_file(fuse_req_t req, fuse_ino_t ino, size_t size, off_t at, struct fuse_file_info *fi)
{
    size_t n = strlen(TEXT);

    if (at >= (off_t)n)
        fuse_reply_buf(req, NULL, 0);
    else
        fuse_reply_buf(req, TEXT + at, size < n - (size_t)at ? size : n - (size_t)at);
}

static void list(fuse_req_t req, fuse_ino_t ino, size_t size, off_t at, int plus)
{
    unsigned long n = ino == BIG_INO ? entries : 0;
    char *p = malloc(size), name[32];
    size_t used = 0, need;

    if (!p) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    for (unsigned long i = (unsigned long)at; i < n; i++) {
        struct fuse_entry_param e;

        entry_of(FIRST_INO + i, &e);
        snprintf(name, sizeof name, "topic-%06lu", i);
        need = plus ? fuse_add_direntry_plus(req, p + used, size - used, name, &e, (off_t)i + 1)
                    : fuse_add_direntry(req, p + used, size - used, name, &e.attr, (off_t)i + 1);
        if (need > size - used)
            break;
        used += need;
    }
    fuse_reply_buf(req, p, used);
    free(p);
}

static void read_dir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t at, struct fuse_file_info *fi) { list(req, ino, size, at, 0); }
static void read_dir_plus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t at, struct fuse_file_info *fi) { list(req, ino, size, at, 1); }

static const struct fuse_lowlevel_ops ops = {
    .init = init, .lookup = lookup, .getattr = getattr, .open = open_file, .read = read_file,
    .readdir = read_dir, .readdirplus = read_dir_plus,
};

int main(int argc, char **argv)
{
    struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
    struct fuse_loop_config *config;
    struct fuse_session *se;
    int rc;

    if (argc < 2 || argc > 3) {
        fputs("usage: fuse_floor DIR [ENTRIES]\n", stderr);
        return 2;
    }
    if (argc == 3)
        entries = strtoul(argv[2], NULL, 10);
    if (fuse_opt_add_arg(&args, "fuse_floor") || fuse_opt_add_arg(&args, "-o") ||
        fuse_opt_add_arg(&args, "default_permissions,fsname=fuse_floor"))
        return 1;
    se = fuse_session_new(&args, &ops, sizeof ops, NULL);
    config = fuse_loop_cfg_create();
    if (!se || !config || fuse_set_signal_handlers(se) || fuse_session_mount(se, argv[1]))
        return 1;
    rc = fuse_session_loop_mt(se, config);
    fuse_session_unmount(se);
    fuse_remove_signal_handlers(se);
    fuse_session_destroy(se);
    fuse_loop_cfg_destroy(config);
    fuse_opt_free_args(&args);
    return rc != 0;
}
