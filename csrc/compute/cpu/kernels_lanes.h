/* What the levels share before their lanes: includes, and the words for code that must become registers. */
#ifndef compute_cpu_kernels_lanes_h
#define compute_cpu_kernels_lanes_h

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "../../base/checked.h"
#include "../../base/number.h"
#include "blocks.h"
#include "kernels.h"

/*
** Sums live in registers only when every loop over them is unrolled and every decoder is inlined. Sanitizers
** would check every copy and compile for minutes: for them each operation stays a function.
*/
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ALWAYS_INLINE static __attribute__((noinline, unused))
#define UNROLL
#else
#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 8")
#endif

/* E2M1 doubled, and 12 more: the operand of the integer products. */
#define FP4_DOUBLED 0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12
#define FP4_SHIFTED 12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0

#endif
