/* The life of a mount. */
#include "fs/fuse_priv.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "common/codes.h"
#include "common/log.h"
#include "common/thread.h"

#define DEFAULT_THREADS 8
#define STACK_BYTES (1 << 20)

static void to_log(enum fuse_log_level level, const char *fmt, va_list ap)
{
    char line[512];

    vsnprintf(line, sizeof line, fmt, ap);
    line[strcspn(line, "\n")] = 0;
    log_write(level <= FUSE_LOG_ERR ? LOG_ERROR : level <= FUSE_LOG_WARNING ? LOG_WARN : LOG_DEBUG, "%s", line);
}

static int check_device(struct fault *f)
{
    int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

    if (fd < 0) {
        int why = errno;

        return fault_set(f, RC_SYSTEM_ERROR, ENODEV, "mount: /dev/fuse: %s: there is no tree without it (modprobe fuse; "
                         "in a container: --device /dev/fuse --cap-add SYS_ADMIN)", strerror(why));
    }
    close(fd);
    return 0;
}

static int session_new(struct fuse_door *d, const struct fuse_door_options *o, struct fault *f)
{
    struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
    char options[256];
    int rc;

    snprintf(options, sizeof options, "default_permissions,%sfsname=%s,subtype=mqfs",
             fuse_others_allowed() ? "allow_other," : "", o && o->fsname ? o->fsname : "mqfs");
    rc = fuse_opt_add_arg(&args, "mqfs") || fuse_opt_add_arg(&args, "-o") || fuse_opt_add_arg(&args, options);
    if (!rc)
        d->se = fuse_session_new(&args, &fuse_door_ops, sizeof fuse_door_ops, d);
    fuse_opt_free_args(&args);
    return d->se ? 0 : fault_errno(f, ENOMEM, "mount: the session");
}

int fuse_door_open(struct broker *b, const char *dir, const struct fuse_door_options *o, struct fuse_door **out,
                   struct fault *f)
{
    struct fuse_door *d;
    int rc = check_device(f);

    if (!rc)
        rc = fuse_dir_prepare(dir, f);
    if (rc)
        return rc;
    fuse_set_log_func(to_log);
    d = calloc(1, sizeof *d);
    if (!d)
        return fault_errno(f, ENOMEM, "mount: %s", dir);
    d->b = b;
    d->n_threads = o && o->threads > 0 ? o->threads : DEFAULT_THREADS;
    if (d->n_threads > FUSE_THREADS_MAX)
        d->n_threads = FUSE_THREADS_MAX;
    d->dir = realpath(dir, NULL);
    rc = d->dir ? tree_open(b, &d->tree, f) : fault_errno(f, errno, "mount: %s", dir);
    if (!rc)
        rc = session_new(d, o, f);
    if (!rc && fuse_session_mount(d->se, d->dir) != 0)
        rc = fault_set(f, RC_SYSTEM_ERROR, ENODEV, "mount: %s cannot be mounted on (the log says why)", d->dir);
    if (rc) {
        fuse_door_free(d);
        return rc;
    }
    *out = d;
    return 0;
}

static void free_buffer(void *buf) { free(((struct fuse_buf *)buf)->mem); }

/* Takes requests until the mount ends or fuse_door_stop cancels it, which can
 * happen only while it waits for the next one. */
static void *serve(void *arg)
{
    struct fuse_door *d = arg;
    struct fuse_buf buf = {0};
    int rc, old;

    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
    pthread_cleanup_push(free_buffer, &buf);
    while (!fuse_session_exited(d->se)) {
        pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &old);
        rc = fuse_session_receive_buf(d->se, &buf);
        pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
        if (rc == -EINTR || rc == -EAGAIN)
            continue;
        if (rc <= 0)
            break;
        fuse_session_process_buf(d->se, &buf);
    }
    pthread_cleanup_pop(1);
    return NULL;
}

static int start_threads(struct fuse_door *d)
{
    pthread_attr_t attr;
    int rc = 0;

    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    while (!rc && d->n_running < d->n_threads) {
        rc = thread_start_with(&d->threads[d->n_running], "mount", &attr, serve, d);
        d->n_running += !rc;
    }
    pthread_attr_destroy(&attr);
    return rc;
}

int fuse_door_run(struct fuse_door *d, struct fault *f)
{
    int rc = fuse_notify_start(d, &d->notify);

    if (!rc)
        rc = start_threads(d);
    if (rc) {
        fuse_door_stop(d);
        return fault_errno(f, -rc, "mount: threads");
    }
    fuse_notify_listen(d->notify);
    log_info("mounted at %s", d->dir);
    return 0;
}

void fuse_door_stop(struct fuse_door *d)
{
    if (!d || !d->se)
        return;
    /* First the notifier: it may wait for the kernel, which may wait for a thread that serves. */
    if (d->notify)
        fuse_notify_stop(d->notify);
    fuse_session_exit(d->se);
    for (int i = 0; i < d->n_running; i++)
        pthread_cancel(d->threads[i]);
    while (d->n_running)
        pthread_join(d->threads[--d->n_running], NULL);
    fuse_session_unmount(d->se);
    fuse_session_destroy(d->se);
    d->se = NULL;
    tree_close(d->tree);
    d->tree = NULL;
}

void fuse_door_free(struct fuse_door *d)
{
    if (!d)
        return;
    fuse_door_stop(d);
    tree_close(d->tree);
    fuse_notify_free(d->notify);
    free(d->dir);
    free(d);
}
