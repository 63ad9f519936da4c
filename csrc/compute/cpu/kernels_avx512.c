/*
** Level "avx512": sixteen lanes are one register. Needs F, BW, VL, DQ and VNNI, and what AVX2 needs. Each
** operation is explained at its scalar definition (kernels_scalar.c).
*/
#if defined(__x86_64__)
#include <immintrin.h>

#include "kernels_lanes.h"

#define LEVEL cpu_kernels_avx512
#define LEVEL_NAME "avx512"

enum { OUTPUTS_ONE = 4, OUTPUTS_MANY = 4, ROWS_MANY = 4, ROWS_INT8 = 4 };

typedef __m512 lanes;

ALWAYS_INLINE lanes lanes_set (float value) { return _mm512_set1_ps(value); }
ALWAYS_INLINE lanes lanes_load (const float *x) { return _mm512_loadu_ps(x); }
ALWAYS_INLINE void lanes_store (float *out, lanes a) { _mm512_storeu_ps(out, a); }
ALWAYS_INLINE lanes lanes_fma (lanes a, lanes b, lanes c) { return _mm512_fmadd_ps(a, b, c); }
ALWAYS_INLINE lanes lanes_add (lanes a, lanes b) { return _mm512_add_ps(a, b); }
ALWAYS_INLINE lanes lanes_sub (lanes a, lanes b) { return _mm512_sub_ps(a, b); }
ALWAYS_INLINE lanes lanes_mul (lanes a, lanes b) { return _mm512_mul_ps(a, b); }
ALWAYS_INLINE lanes lanes_div (lanes a, lanes b) { return _mm512_div_ps(a, b); }
ALWAYS_INLINE lanes lanes_sqrt (lanes a) { return _mm512_sqrt_ps(a); }
ALWAYS_INLINE lanes lanes_min (lanes a, lanes b) { return _mm512_min_ps(a, b); }
ALWAYS_INLINE lanes lanes_max (lanes a, lanes b) { return _mm512_max_ps(a, b); }

ALWAYS_INLINE lanes lanes_round (lanes a) {
  return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

ALWAYS_INLINE lanes lanes_less (lanes a, lanes b, lanes yes, lanes no) {
  return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), no, yes);
}

ALWAYS_INLINE lanes lanes_pow2 (lanes n) {
  const __m512i bits = _mm512_castps_si512(_mm512_add_ps(n, _mm512_set1_ps(12582912.0f)));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(127)), 23));
}

ALWAYS_INLINE float lanes_join (lanes a) {
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

ALWAYS_INLINE uint32_t lanes_largest_bits (lanes a, lanes b) {
  const __m512i magnitude = _mm512_set1_epi32(0x7FFFFFFF);
  const __m512i x = _mm512_and_si512(_mm512_castps_si512(a), magnitude);
  const __m512i y = _mm512_and_si512(_mm512_castps_si512(b), magnitude);
  return (uint32_t)_mm512_reduce_max_epi32(_mm512_max_epi32(x, y));
}

ALWAYS_INLINE void lanes_to_int8 (lanes a, int8_t *out) {
  _mm_storeu_si128((__m128i *)(void *)out, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(a)));
}

/* {== Codes ====================================================================================== */

ALWAYS_INLINE __m128i load_16 (const void *p) { return _mm_loadu_si128((const __m128i *)p); }
ALWAYS_INLINE __m256i load_32 (const void *p) { return _mm256_loadu_si256((const __m256i *)p); }

ALWAYS_INLINE lanes lanes_f32 (const uint8_t *codes) { return _mm512_loadu_ps((const void *)codes); }

ALWAYS_INLINE lanes lanes_bf16 (const uint8_t *codes) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(load_32(codes)), 16));
}

ALWAYS_INLINE lanes lanes_f16 (const uint8_t *codes) { return _mm512_cvtph_ps(load_32(codes)); }

/* The sign, widened, fills bits 15 and 14 after the shift; 14 is not part of the half. */
ALWAYS_INLINE lanes lanes_e4m3 (const uint8_t *codes) {
  const __m256i wide = _mm256_slli_epi16(_mm256_cvtepi8_epi16(load_16(codes)), 7);
  return _mm512_cvtph_ps(_mm256_and_si256(wide, _mm256_set1_epi16((short)0xBFFF)));
}

ALWAYS_INLINE int any_e4m3_nan (const uint8_t *codes) {
  const __m512i nan = _mm512_set1_epi8(0x7F);
  const __m512i a = _mm512_and_si512(_mm512_loadu_si512(codes), nan);
  const __m512i b = _mm512_and_si512(_mm512_loadu_si512(codes + 64), nan);
  return _mm512_cmpeq_epi8_mask(_mm512_max_epu8(a, b), nan) != 0;
}

ALWAYS_INLINE lanes lanes_keep_nan (const uint8_t *codes, lanes a) {
  const __m128i nan = _mm_set1_epi8(0x7F);
  const __mmask16 found = _mm_cmpeq_epi8_mask(_mm_and_si128(load_16(codes), nan), nan);
  return _mm512_mask_mov_ps(a, found, _mm512_castsi512_ps(_mm512_set1_epi32(0x7FC00000)));
}

/* Sixteen codes of four bits, one a byte. */
ALWAYS_INLINE __m128i nibbles (const uint8_t *codes) {
  const __m128i wide = _mm_cvtepu8_epi16(_mm_loadl_epi64((const void *)codes));
  return _mm_and_si128(_mm_or_si128(wide, _mm_slli_epi16(wide, 4)), _mm_set1_epi8(15));
}

ALWAYS_INLINE lanes lanes_e2m1 (const uint8_t *codes) {
  const __m128i doubled = _mm_setr_epi8(FP4_DOUBLED);
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_shuffle_epi8(doubled, nibbles(codes))));
}

ALWAYS_INLINE lanes lanes_e8m0 (const uint8_t *codes) {
  const __m512i wide = _mm512_cvtepu8_epi32(load_16(codes));
  __m512i bits = _mm512_slli_epi32(wide, 23);
  bits = _mm512_mask_mov_epi32(bits, _mm512_testn_epi32_mask(wide, wide), _mm512_set1_epi32(0x00400000));
  bits = _mm512_mask_mov_epi32(bits, _mm512_cmpeq_epi32_mask(wide, _mm512_set1_epi32(255)),
                               _mm512_set1_epi32(0x7FC00000));
  return _mm512_castsi512_ps(bits);
}

/* {== Integer products =========================================================================== */

typedef struct quad { __m512i even, odd; } int8_quad, fp4_quad;
typedef __m512i int8_pair, fp4_pair, four_sums;

ALWAYS_INLINE __m512i fp4_shifted (__m512i codes) {
  return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_setr_epi8(FP4_SHIFTED)), codes);
}

ALWAYS_INLINE int8_quad int8_load_quad (const int8_t *codes) {
  const __m512i a = _mm512_loadu_si512(codes), b = _mm512_loadu_si512(codes + 2 * CPU_BLOCK);
  return (int8_quad){ _mm512_shuffle_i64x2(a, b, 0x88), _mm512_shuffle_i64x2(a, b, 0xDD) };
}

ALWAYS_INLINE fp4_quad fp4_load_quad (const uint8_t *codes) {
  const __m512i both = _mm512_loadu_si512(codes), low = _mm512_set1_epi8(15);
  return (fp4_quad){ fp4_shifted(_mm512_and_si512(both, low)),
                     fp4_shifted(_mm512_and_si512(_mm512_srli_epi16(both, 4), low)) };
}

/* Kept negative: it is what a dot starts from. */
ALWAYS_INLINE four_sums int8_excess (int8_quad x) {
  const __m512i zero = _mm512_setzero_si512(), twelve = _mm512_set1_epi8(12);
  return _mm512_sub_epi32(zero, _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(zero, twelve, x.even), twelve, x.odd));
}

ALWAYS_INLINE lanes int8_dot (fp4_quad w, int8_quad x, four_sums excess) {
  return _mm512_cvtepi32_ps(_mm512_dpbusd_epi32(_mm512_dpbusd_epi32(excess, w.even, x.even), w.odd, x.odd));
}

ALWAYS_INLINE lanes lanes_quads (const float *factors) {
  const __m512i block = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
  return _mm512_permutevar_ps(_mm512_broadcast_f32x4(_mm_loadu_ps(factors)), block);
}

ALWAYS_INLINE fp4_pair fp4_load_pair (const uint8_t *codes) {
  const __m512i wide = _mm512_cvtepu8_epi16(load_32(codes)), low = _mm512_set1_epi8(15);
  return fp4_shifted(_mm512_ternarylogic_epi32(wide, _mm512_slli_epi16(wide, 4), low, 0xA8));   /* (a|b)&c */
}

/* Keys of the indexer: a lane is a key, four of its values a step. */
ALWAYS_INLINE int8_pair int8_repeat (const int8_t *four) {
  int32_t bits;
  memcpy(&bits, four, sizeof bits);
  return _mm512_set1_epi32(bits);
}

ALWAYS_INLINE four_sums four_sums_start (int32_t value) { return _mm512_set1_epi32(value); }

ALWAYS_INLINE four_sums four_sums_add (four_sums sums, fp4_pair w, int8_pair x) {
  return _mm512_dpbusd_epi32(sums, w, x);
}

ALWAYS_INLINE lanes four_sums_lanes (four_sums sums) { return _mm512_cvtepi32_ps(sums); }

#include "kernels_body.h"
#endif
