/* The monotonic clock. */
#include "clock.h"

#include <uv.h>

clock_system clock_table = { uv_hrtime };
