/* Why something was refused, in all the forms its doors need: RocketMQ's
 * response code for the wire, an errno for the mount, and one sentence for the
 * person, which says what to do. Verbs fill it and return -errno:
 *
 *     return fault_set(f, RC_TOPIC_NOT_EXIST, ENOENT,
 *                      "no topic %s: make it with mkdir or updateTopic", name);
 */
#ifndef COMMON_FAULT_H
#define COMMON_FAULT_H

struct fault {
    int rc;              /* RocketMQ response code (common/codes.h) */
    int err;             /* errno, positive */
    char text[400];      /* one sentence, no newline */
};

/* Fills f (which may be NULL) and returns -err. */
int fault_set(struct fault *f, int rc, int err, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* For a failed system call or allocation: "DOING: strerror". rc is 1, SYSTEM_ERROR. */
int fault_errno(struct fault *f, int err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
