/* Two clocks. Deadlines use mono_ms, which never jumps; what is stored or shown
 * uses wall_ms, milliseconds since 1970 as RocketMQ's timestamps are. */
#ifndef COMMON_CLOCK_H
#define COMMON_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline int64_t clock_ms(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}
static inline int64_t wall_ms(void) { return clock_ms(CLOCK_REALTIME); }
static inline int64_t mono_ms(void) { return clock_ms(CLOCK_MONOTONIC); }
static inline int64_t mono_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

#endif
