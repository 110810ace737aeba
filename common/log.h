/* The program's log: one line a message, with time, level and what was being
 * done. One sink for the process, because its lines must not mix; opened once
 * by main. Thread-safe. A line goes out in one write(2). */
#ifndef COMMON_LOG_H
#define COMMON_LOG_H

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

/* Appends to PATH from now on (its directory is made), or to stderr when PATH is
 * NULL. 0 or -errno, and then the old sink stays. */
int log_open(const char *path, enum log_level least);
void log_write(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_debug(...) log_write(LOG_DEBUG, __VA_ARGS__)
#define log_info(...) log_write(LOG_INFO, __VA_ARGS__)
#define log_warn(...) log_write(LOG_WARN, __VA_ARGS__)
#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)

#endif
