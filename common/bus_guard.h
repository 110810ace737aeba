/* Mapped files whose disk fails: touching such a page raises SIGBUS instead of
 * giving an errno. What runs under a guard is left there and then, and the caller
 * gets -EIO; outside of one the process ends, as it would without. */
#ifndef COMMON_BUS_GUARD_H
#define COMMON_BUS_GUARD_H

#include <stddef.h>

#define BUS_WHY_SIZE 300

/* Once, before threads run; a second call does nothing. 0 or -errno. */
int bus_guard_install(void);
/* fn(arg), or -EIO when a mapped page could not be had. fn is then not gone on with: it must hold no lock that its
 * caller does not give back, and what it alone knows is lost. May be nested. Some 10 ns. Any thread. */
int bus_guarded(int (*fn)(void *arg), void *arg);
/* Behind a guard's -EIO, before this thread begins another: which page of which file it was, as a sentence; in out. Reads
 * /proc/self/maps. */
const char *bus_why(char *out, size_t cap);
/* Before and after the access: what fn noted in its arg for the caller to give back is there when the page is not. */
static inline void bus_noted(void) { __asm__ volatile("" ::: "memory"); }

#endif
