/* Level "neon": what every ARMv8 has in 64 bits. */
#if defined(__aarch64__)
#include "kernels_lanes.h"

#include <arm_neon.h>

#define LEVEL cpu_kernels_neon
#define LEVEL_NAME "neon"

/* sum[l] + four products; 2 * 128 * 127 fits the sixteen bits between the steps. */
ALWAYS_INLINE int32x4_t dot_of_4 (int32x4_t sum, int8x16_t w, int8x16_t x) {
  const int16x8_t low = vmull_s8(vget_low_s8(w), vget_low_s8(x));
  return vpadalq_s16(sum, vpaddq_s16(low, vmull_high_s8(w, x)));
}

#include "kernels_arm.h"
#endif
