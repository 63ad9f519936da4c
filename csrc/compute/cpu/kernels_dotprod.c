/* Level "dotprod": NEON with sums of four products in one instruction (FEAT_DotProd, from ARMv8.2 on). */
#if defined(__aarch64__)
#include "kernels_lanes.h"

#include <arm_neon.h>

#define LEVEL cpu_kernels_dotprod
#define LEVEL_NAME "dotprod"

ALWAYS_INLINE int32x4_t dot_of_4 (int32x4_t sum, int8x16_t w, int8x16_t x) { return vdotq_s32(sum, w, x); }

#include "kernels_arm.h"
#endif
