/*
** What all x86 levels do in registers of 128 bits: loads, and the few numbers beside the codes of four rows.
*/
#ifndef compute_cpu_kernels_x86_h
#define compute_cpu_kernels_x86_h

#include <immintrin.h>

#include "kernels_lanes.h"
#include "blocks_plain.h"

ALWAYS_INLINE __m128i load_16 (const void *p) { return _mm_loadu_si128((const __m128i *)p); }
ALWAYS_INLINE __m256i load_32 (const void *p) { return _mm256_loadu_si256((const __m256i *)p); }

/* Between the two, what is below 2^-126 counts as zero. The product of bf16 pairs does so whatever the mode is. */
typedef unsigned float_mode;

#if defined(__AVX512BF16__)
ALWAYS_INLINE float_mode float_mode_flush (void) { return 0; }
ALWAYS_INLINE void float_mode_restore (float_mode before) { (void)before; }
#else
ALWAYS_INLINE float_mode float_mode_flush (void) {
  const float_mode before = _mm_getcsr();
  _mm_setcsr(before | 0x8040);                 /* results and operands */
  return before;
}

ALWAYS_INLINE void float_mode_restore (float_mode before) { _mm_setcsr(before); }
#endif

/* Sums of half blocks: four of them as they are, or eight joined to those of four blocks. */
ALWAYS_INLINE __m128i wide_halves (const int16_t *four) {
  return _mm_cvtepi16_epi32(_mm_loadl_epi64((const void *)four));
}

ALWAYS_INLINE __m128i joined_halves (const int16_t *eight) {
  return _mm_madd_epi16(load_16(eight), _mm_set1_epi16(1));
}

/* The half at `at` of each of four rows. */
ALWAYS_INLINE __m128 four_halves (const uint8_t *const *rows, size_t at) {
  const uint64_t four = load_u16(rows[0] + at) | (uint64_t)load_u16(rows[1] + at) << 16 |
                        (uint64_t)load_u16(rows[2] + at) << 32 | (uint64_t)load_u16(rows[3] + at) << 48;
  return _mm_cvtph_ps(_mm_cvtsi64_si128((int64_t)four));
}

/* The byte at `first` + k * stride of row j, at 4 k + j. */
ALWAYS_INLINE __m128i gather_quads (const uint8_t *const *rows, size_t first, size_t stride) {
  __m128i out = _mm_setzero_si128();
#define GATHER(k, j) out = _mm_insert_epi8(out, rows[j][first + k * stride], 4 * k + j);
  GATHER(0, 0) GATHER(0, 1) GATHER(0, 2) GATHER(0, 3) GATHER(1, 0) GATHER(1, 1) GATHER(1, 2) GATHER(1, 3)
  GATHER(2, 0) GATHER(2, 1) GATHER(2, 2) GATHER(2, 3) GATHER(3, 0) GATHER(3, 1) GATHER(3, 2) GATHER(3, 3)
#undef GATHER
  return out;
}

#endif
