/* Mapped files whose disk fails: touching such a page raises SIGBUS instead of
 * giving an errno. What runs under a guard is left there and then, and the caller
 * gets -EIO; outside of one the process ends, as it would without. */
#ifndef COMMON_BUS_GUARD_H
#define COMMON_BUS_GUARD_H

/* Once, before threads run; a second call does nothing. 0 or -errno. */
int bus_guard_install(void);
/* fn(arg), or -EIO when a mapped page could not be had. fn is then not gone on with: it must hold no lock that its
 * caller does not give back, and what it alone knows is lost. May be nested. Some 10 ns. Any thread. */
int bus_guarded(int (*fn)(void *arg), void *arg);
/* Before and after the access: what fn noted in its arg for the caller to give back is there when the page is not. */
static inline void bus_noted(void) { __asm__ volatile("" ::: "memory"); }

#endif
