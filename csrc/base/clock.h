/* Time, behind one function so that a spec can move it. */
#ifndef base_clock_h
#define base_clock_h

#include <stdint.h>

typedef struct clock_system { uint64_t (*now) (void); } clock_system;   /* monotonic nanoseconds */

extern clock_system clock_table;

static inline uint64_t clock_now (void) {
  return clock_table.now();
}

#endif
