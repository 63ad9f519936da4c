/*
** Level "avx2": sixteen lanes are two registers. Needs FMA and F16C besides. Each operation is explained
** at its scalar definition (kernels_scalar.c).
*/
#if defined(__x86_64__)
#include "kernels_x86.h"

#ifndef LEVEL                /* kernels_avxvnni.c has set them */
#define LEVEL cpu_kernels_avx2
#define LEVEL_NAME "avx2"
#define LEVEL_TILE_ROWS 4
#endif

enum { OUTPUTS_ONE = 4, OUTPUTS_MANY = 2, ROWS_MANY = 2, ROWS_INT8 = 1, ROWS_MULTIPLIED = 4,
       TILES_AT_ONCE = 1, TILE_ROWS_LEAST = LEVEL_TILE_ROWS, SUMS_AT_ONCE = 4,
       QUERIES_AT_ONCE = 4, SUMS_HELD = 4, VECTORS_HELD = 2 };

typedef struct lanes { __m256 a, b; } lanes;   /* 0 .. 7, 8 .. 15 */

#define BOTH(function, x, y) ((lanes){ function((x).a, (y).a), function((x).b, (y).b) })

ALWAYS_INLINE lanes lanes_set (float value) { return (lanes){ _mm256_set1_ps(value), _mm256_set1_ps(value) }; }
ALWAYS_INLINE lanes lanes_load (const float *x) { return (lanes){ _mm256_loadu_ps(x), _mm256_loadu_ps(x + 8) }; }
ALWAYS_INLINE lanes lanes_add (lanes x, lanes y) { return BOTH(_mm256_add_ps, x, y); }
ALWAYS_INLINE lanes lanes_sub (lanes x, lanes y) { return BOTH(_mm256_sub_ps, x, y); }
ALWAYS_INLINE lanes lanes_mul (lanes x, lanes y) { return BOTH(_mm256_mul_ps, x, y); }
ALWAYS_INLINE lanes lanes_div (lanes x, lanes y) { return BOTH(_mm256_div_ps, x, y); }
ALWAYS_INLINE lanes lanes_min (lanes x, lanes y) { return BOTH(_mm256_min_ps, x, y); }
ALWAYS_INLINE lanes lanes_max (lanes x, lanes y) { return BOTH(_mm256_max_ps, x, y); }
ALWAYS_INLINE lanes lanes_sqrt (lanes x) { return (lanes){ _mm256_sqrt_ps(x.a), _mm256_sqrt_ps(x.b) }; }

ALWAYS_INLINE void lanes_store (float *out, lanes x) {
  _mm256_storeu_ps(out, x.a);
  _mm256_storeu_ps(out + 8, x.b);
}

ALWAYS_INLINE lanes lanes_fma (lanes x, lanes y, lanes z) {
  return (lanes){ _mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b) };
}

ALWAYS_INLINE lanes lanes_round (lanes x) {
  return (lanes){ _mm256_round_ps(x.a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
                  _mm256_round_ps(x.b, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC) };
}

ALWAYS_INLINE lanes lanes_less (lanes x, lanes y, lanes yes, lanes no) {
  return (lanes){ _mm256_blendv_ps(no.a, yes.a, _mm256_cmp_ps(x.a, y.a, _CMP_LT_OQ)),
                  _mm256_blendv_ps(no.b, yes.b, _mm256_cmp_ps(x.b, y.b, _CMP_LT_OQ)) };
}

ALWAYS_INLINE __m256 pow2_of_8 (__m256 n) {
  const __m256i bits = _mm256_castps_si256(_mm256_add_ps(n, _mm256_set1_ps(12582912.0f)));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(127)), 23));
}

ALWAYS_INLINE lanes lanes_pow2 (lanes n) { return (lanes){ pow2_of_8(n.a), pow2_of_8(n.b) }; }

ALWAYS_INLINE float lanes_join (lanes x) {
  const __m256 eight = _mm256_add_ps(x.a, x.b);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

ALWAYS_INLINE uint32_t lanes_largest_bits (lanes x, lanes y) {
  const __m256i magnitude = _mm256_set1_epi32(0x7FFFFFFF);
  const __m256i x8 = _mm256_max_epi32(_mm256_and_si256(_mm256_castps_si256(x.a), magnitude),
                                      _mm256_and_si256(_mm256_castps_si256(x.b), magnitude));
  const __m256i y8 = _mm256_max_epi32(_mm256_and_si256(_mm256_castps_si256(y.a), magnitude),
                                      _mm256_and_si256(_mm256_castps_si256(y.b), magnitude));
  const __m256i eight = _mm256_max_epi32(x8, y8);
  __m128i most = _mm_max_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  most = _mm_max_epi32(most, _mm_shuffle_epi32(most, 0x4E));
  return (uint32_t)_mm_cvtsi128_si32(_mm_max_epi32(most, _mm_shuffle_epi32(most, 0xB1)));
}

ALWAYS_INLINE void lanes_to_int8 (lanes x, int8_t *out) {
  const __m256i a = _mm256_cvtps_epi32(x.a), b = _mm256_cvtps_epi32(x.b);
  const __m128i low = _mm_packs_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
  const __m128i high = _mm_packs_epi32(_mm256_castsi256_si128(b), _mm256_extracti128_si256(b, 1));
  _mm_storeu_si128((__m128i *)(void *)out, _mm_packs_epi16(low, high));
}

ALWAYS_INLINE __m256 first_of_8 (__m256 a) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(a), 16));
}

ALWAYS_INLINE __m256 second_of_8 (__m256 a) {
  return _mm256_and_ps(a, _mm256_castsi256_ps(_mm256_set1_epi32((int)0xFFFF0000)));
}

ALWAYS_INLINE lanes lanes_fma_pairs (lanes x, lanes y, lanes z) {
  const lanes second = { second_of_8(x.a), second_of_8(x.b) }, first = { first_of_8(x.a), first_of_8(x.b) };
  z = lanes_fma(second, (lanes){ second_of_8(y.a), second_of_8(y.b) }, z);
  return lanes_fma(first, (lanes){ first_of_8(y.a), first_of_8(y.b) }, z);
}

/* {== Codes ====================================================================================== */

ALWAYS_INLINE lanes lanes_f32 (const uint8_t *codes) { return lanes_load((const void *)codes); }

ALWAYS_INLINE __m256 bf16_of_8 (__m128i codes) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(codes), 16));
}

ALWAYS_INLINE lanes lanes_bf16 (const uint8_t *codes) {
  return (lanes){ bf16_of_8(load_16(codes)), bf16_of_8(load_16(codes + 16)) };
}

ALWAYS_INLINE lanes lanes_f16 (const uint8_t *codes) {
  return (lanes){ _mm256_cvtph_ps(load_16(codes)), _mm256_cvtph_ps(load_16(codes + 16)) };
}

/* The sign, widened, fills bits 15 and 14 after the shift; 14 is not part of the half. */
ALWAYS_INLINE lanes lanes_e4m3 (const uint8_t *codes) {
  const __m256i wide = _mm256_slli_epi16(_mm256_cvtepi8_epi16(load_16(codes)), 7);
  const __m256i half = _mm256_and_si256(wide, _mm256_set1_epi16((short)0xBFFF));
  return (lanes){ _mm256_cvtph_ps(_mm256_castsi256_si128(half)), _mm256_cvtph_ps(_mm256_extracti128_si256(half, 1)) };
}

ALWAYS_INLINE int any_e4m3_nan (const uint8_t *codes) {
  const __m256i nan = _mm256_set1_epi8(0x7F);
  __m256i most = _mm256_setzero_si256();
  UNROLL for (int i = 0; i < 4; i++) most = _mm256_max_epu8(most, _mm256_and_si256(load_32(codes + 32 * i), nan));
  return _mm256_movemask_epi8(_mm256_cmpeq_epi8(most, nan)) != 0;
}

ALWAYS_INLINE lanes lanes_keep_nan (const uint8_t *codes, lanes x) {
  const __m128i nan = _mm_set1_epi8(0x7F), found = _mm_cmpeq_epi8(_mm_and_si128(load_16(codes), nan), nan);
  const __m256 value = _mm256_castsi256_ps(_mm256_set1_epi32(0x7FC00000));
  const __m256i a = _mm256_cvtepi8_epi32(found), b = _mm256_cvtepi8_epi32(_mm_srli_si128(found, 8));
  return (lanes){ _mm256_blendv_ps(x.a, value, _mm256_castsi256_ps(a)),
                  _mm256_blendv_ps(x.b, value, _mm256_castsi256_ps(b)) };
}

/* Sixteen codes of four bits, one a byte. */
ALWAYS_INLINE __m128i nibbles (const uint8_t *codes) {
  const __m128i wide = _mm_cvtepu8_epi16(_mm_loadl_epi64((const void *)codes));
  return _mm_and_si128(_mm_or_si128(wide, _mm_slli_epi16(wide, 4)), _mm_set1_epi8(15));
}

ALWAYS_INLINE lanes lanes_e2m1 (const uint8_t *codes) {
  const __m128i doubled = _mm_shuffle_epi8(_mm_setr_epi8(FP4_DOUBLED), nibbles(codes));
  return (lanes){ _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(doubled)),
                  _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(doubled, 8))) };
}

ALWAYS_INLINE __m256 e8m0_of_8 (__m128i codes) {
  const __m256i wide = _mm256_cvtepu8_epi32(codes);
  const __m256i zero = _mm256_cmpeq_epi32(wide, _mm256_setzero_si256());
  const __m256i nan = _mm256_cmpeq_epi32(wide, _mm256_set1_epi32(255));
  __m256i bits = _mm256_slli_epi32(wide, 23);
  bits = _mm256_blendv_epi8(bits, _mm256_set1_epi32(0x00400000), zero);
  return _mm256_castsi256_ps(_mm256_blendv_epi8(bits, _mm256_set1_epi32(0x7FC00000), nan));
}

ALWAYS_INLINE lanes lanes_e8m0 (const uint8_t *codes) {
  const __m128i sixteen = load_16(codes);
  return (lanes){ e8m0_of_8(sixteen), e8m0_of_8(_mm_srli_si128(sixteen, 8)) };
}

/* {== Integer products =========================================================================== */

/* Two blocks a register. */
typedef struct quad { __m256i even_a, odd_a, even_b, odd_b; } int8_quad, fp4_quad;
typedef struct two_halves { __m256i a, b; } fp4_pair, four_sums;

ALWAYS_INLINE __m256i fp4_shifted (__m256i codes) {
  return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_setr_epi8(FP4_SHIFTED)), codes);
}

/* The even values of a block, then the odd ones. */
ALWAYS_INLINE __m256i apart (__m256i block) {
  const __m128i order = _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
  return _mm256_permute4x64_epi64(_mm256_shuffle_epi8(block, _mm256_broadcastsi128_si256(order)), 0xD8);
}

ALWAYS_INLINE int8_quad int8_load_quad (const int8_t *codes) {
  const __m256i a = apart(load_32(codes)), b = apart(load_32(codes + 32));
  const __m256i c = apart(load_32(codes + 64)), d = apart(load_32(codes + 96));
  return (int8_quad){ _mm256_permute2x128_si256(a, b, 0x20), _mm256_permute2x128_si256(a, b, 0x31),
                      _mm256_permute2x128_si256(c, d, 0x20), _mm256_permute2x128_si256(c, d, 0x31) };
}

ALWAYS_INLINE fp4_quad fp4_load_quad (const uint8_t *codes) {
  const __m256i a = load_32(codes), b = load_32(codes + 32), low = _mm256_set1_epi8(15);
  return (fp4_quad){ fp4_shifted(_mm256_and_si256(a, low)),
                     fp4_shifted(_mm256_and_si256(_mm256_srli_epi16(a, 4), low)),
                     fp4_shifted(_mm256_and_si256(b, low)),
                     fp4_shifted(_mm256_and_si256(_mm256_srli_epi16(b, 4), low)) };
}

#if defined(__AVXVNNI__)
/* Sums of four products, and of eight, added to `start`. */
ALWAYS_INLINE __m256i dot_of_fours (__m256i start, __m256i w, __m256i x) {
  return _mm256_dpbusd_avx_epi32(start, w, x);
}

ALWAYS_INLINE __m256i dot_of_eights (__m256i start, __m256i even_w, __m256i odd_w, __m256i even_x, __m256i odd_x) {
  return dot_of_fours(dot_of_fours(start, even_w, even_x), odd_w, odd_x);
}
#else
/* Sums of four products, added to `start`: 2 * 128 * 127 fits the sixteen bits between the steps. */
ALWAYS_INLINE __m256i dot_of_fours (__m256i start, __m256i w, __m256i x) {
  return _mm256_add_epi32(start, _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), _mm256_set1_epi16(1)));
}

/* Of eight, of codes up to 24: so does 4 * 24 * 127. */
ALWAYS_INLINE __m256i dot_of_eights (__m256i start, __m256i even_w, __m256i odd_w, __m256i even_x, __m256i odd_x) {
  const __m256i fours = _mm256_add_epi16(_mm256_maddubs_epi16(even_w, even_x), _mm256_maddubs_epi16(odd_w, odd_x));
  return _mm256_add_epi32(start, _mm256_madd_epi16(fours, _mm256_set1_epi16(1)));
}
#endif

/* Kept negative: it is what a dot starts from. */
ALWAYS_INLINE four_sums int8_excess (int8_quad x) {
  const __m256i zero = _mm256_setzero_si256(), twelve = _mm256_set1_epi8(12);
  return (four_sums){ _mm256_sub_epi32(zero, dot_of_eights(zero, twelve, twelve, x.even_a, x.odd_a)),
                      _mm256_sub_epi32(zero, dot_of_eights(zero, twelve, twelve, x.even_b, x.odd_b)) };
}

ALWAYS_INLINE lanes int8_dot (fp4_quad w, int8_quad x, four_sums excess) {
  return (lanes){ _mm256_cvtepi32_ps(dot_of_eights(excess.a, w.even_a, w.odd_a, x.even_a, x.odd_a)),
                  _mm256_cvtepi32_ps(dot_of_eights(excess.b, w.even_b, w.odd_b, x.even_b, x.odd_b)) };
}

ALWAYS_INLINE lanes lanes_quads (const float *factors) {
  const __m256 four = _mm256_broadcast_ps((const __m128 *)(const void *)factors);
  return (lanes){ _mm256_permutevar_ps(four, _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1)),
                  _mm256_permutevar_ps(four, _mm256_setr_epi32(2, 2, 2, 2, 3, 3, 3, 3)) };
}

ALWAYS_INLINE __m256i fp4_load_block (const uint8_t *codes) {
  const __m256i wide = _mm256_cvtepu8_epi16(load_16(codes)), low = _mm256_set1_epi8(15);
  return fp4_shifted(_mm256_and_si256(_mm256_or_si256(wide, _mm256_slli_epi16(wide, 4)), low));
}

ALWAYS_INLINE fp4_pair fp4_load_pair (const uint8_t *codes) {
  return (fp4_pair){ fp4_load_block(codes), fp4_load_block(codes + CPU_BLOCK / 2) };
}

/* {== Integer products of GGML's blocks (kernels_int8.h) ========================================== */

typedef struct two_halves byte_lanes, int_lanes;

ALWAYS_INLINE byte_lanes codes_two (const int8_t *first, const int8_t *second) {
  return (byte_lanes){ load_32(first), load_32(second) };
}

ALWAYS_INLINE byte_lanes codes_load (const int8_t *x) { return codes_two(x, x + CPU_BLOCK); }

ALWAYS_INLINE __m256i lookup_block (const int8_t *table, const uint8_t *q) {
  const __m256i both = _mm256_broadcastsi128_si256(load_16(q)), shift = _mm256_setr_epi64x(0, 0, 4, 4);
  const __m256i nibble = _mm256_and_si256(_mm256_srlv_epi64(both, shift), _mm256_set1_epi8(15));
  return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(load_16(table)), nibble);
}

ALWAYS_INLINE byte_lanes codes_lookup (const int8_t *table, const uint8_t *first, const uint8_t *second) {
  return (byte_lanes){ lookup_block(table, first), lookup_block(table, second) };
}

ALWAYS_INLINE byte_lanes codes_nibbles (const uint8_t *q) {
  const __m256i both = load_32(q), low = _mm256_set1_epi8(15);
  return (byte_lanes){ _mm256_and_si256(both, low), _mm256_and_si256(_mm256_srli_epi16(both, 4), low) };
}

ALWAYS_INLINE byte_lanes codes_two_bits (const uint8_t *q, size_t shift) {
  const __m256i low = _mm256_set1_epi8(3), a = _mm256_srl_epi16(load_32(q), _mm_cvtsi64_si128((int64_t)shift));
  return (byte_lanes){ _mm256_and_si256(a, low), _mm256_and_si256(_mm256_srli_epi16(a, 2), low) };
}

ALWAYS_INLINE int_lanes sums_zero (void) { return (int_lanes){ _mm256_setzero_si256(), _mm256_setzero_si256() }; }

ALWAYS_INLINE int_lanes dot_plain (int_lanes start, byte_lanes w, byte_lanes x) {
  return (int_lanes){ dot_of_fours(start.a, w.a, x.a), dot_of_fours(start.b, w.b, x.b) };
}

#if defined(__AVXVNNI__)
/* The unsigned operand is the code and 128 more. */
ALWAYS_INLINE byte_lanes codes_signed (byte_lanes w) {
  const __m256i more = _mm256_set1_epi8((char)0x80);
  return (byte_lanes){ _mm256_xor_si256(w.a, more), _mm256_xor_si256(w.b, more) };
}

ALWAYS_INLINE int_lanes dot_start (byte_lanes x) {
  const __m256i zero = _mm256_setzero_si256(), more = _mm256_set1_epi8((char)0x80);
  return (int_lanes){ _mm256_sub_epi32(zero, dot_of_fours(zero, more, x.a)),
                      _mm256_sub_epi32(zero, dot_of_fours(zero, more, x.b)) };
}

ALWAYS_INLINE int_lanes dot_signed (int_lanes start, byte_lanes w, byte_lanes x) { return dot_plain(start, w, x); }

ALWAYS_INLINE int_lanes dot_start_of (const int16_t *two) {
  const __m256i both = _mm256_set1_epi32((int)load_u32((const void *)two));
  const __m256i start = _mm256_madd_epi16(both, _mm256_set1_epi16(-128));
  return (int_lanes){ start, start };
}
#else
ALWAYS_INLINE byte_lanes codes_signed (byte_lanes w) { return w; }

ALWAYS_INLINE int_lanes dot_start (byte_lanes x) {
  (void)x;
  return sums_zero();
}

/* The sign goes to x, for one operand is unsigned. */
ALWAYS_INLINE int_lanes dot_signed (int_lanes start, byte_lanes w, byte_lanes x) {
  return dot_plain(start, (byte_lanes){ _mm256_abs_epi8(w.a), _mm256_abs_epi8(w.b) },
                   (byte_lanes){ _mm256_sign_epi8(x.a, w.a), _mm256_sign_epi8(x.b, w.b) });
}

ALWAYS_INLINE int_lanes dot_start_of (const int16_t *two) {
  (void)two;
  return sums_zero();
}
#endif

#include "kernels_avx2_iq2.h"

ALWAYS_INLINE byte_lanes codes_repeat (const int8_t *four) {
  const __m256i all = _mm256_set1_epi32((int)load_u32((const void *)four));
  return (byte_lanes){ all, all };
}

ALWAYS_INLINE int_lanes sums_of_pairs (const uint32_t *w, const int16_t *two) {
  const __m256i all = _mm256_set1_epi32((int)load_u32((const void *)two));
  return (int_lanes){ _mm256_madd_epi16(load_32(w), all), _mm256_madd_epi16(load_32(w + 8), all) };
}

ALWAYS_INLINE __m256i load_two (const uint8_t *low, const uint8_t *high) {
  return _mm256_inserti128_si256(_mm256_castsi128_si256(load_16(low)), load_16(high), 1);
}

/* Sixteen bytes of eight rows. */
ALWAYS_INLINE void turn_eight (const uint8_t *const *rows, size_t at, __m256i *words) {
  __m256i two[4];                            /* rows j, 4 + j */
  UNROLL for (int j = 0; j < 4; j++) two[j] = load_two(rows[j] + at, rows[4 + j] + at);
  const __m256i a = _mm256_unpacklo_epi32(two[0], two[1]), b = _mm256_unpacklo_epi32(two[2], two[3]);
  const __m256i c = _mm256_unpackhi_epi32(two[0], two[1]), d = _mm256_unpackhi_epi32(two[2], two[3]);
  words[0] = _mm256_unpacklo_epi64(a, b);
  words[1] = _mm256_unpackhi_epi64(a, b);
  words[2] = _mm256_unpacklo_epi64(c, d);
  words[3] = _mm256_unpackhi_epi64(c, d);
}

ALWAYS_INLINE void codes_turn (const uint8_t *const *rows, size_t at, byte_lanes *words) {
  __m256i low[4], high[4];
  turn_eight(rows, at, low);
  turn_eight(rows + 8, at, high);
  UNROLL for (int i = 0; i < 4; i++) words[i] = (byte_lanes){ low[i], high[i] };
}

ALWAYS_INLINE byte_lanes codes_bits (byte_lanes w, int shift, int mask) {
  const __m256i bits = _mm256_set1_epi8((char)mask);
  return (byte_lanes){ _mm256_and_si256(_mm256_srli_epi16(w.a, shift), bits),
                       _mm256_and_si256(_mm256_srli_epi16(w.b, shift), bits) };
}

ALWAYS_INLINE byte_lanes codes_table (const int8_t *sixteen) {
  const __m256i all = _mm256_broadcastsi128_si256(load_16(sixteen));
  return (byte_lanes){ all, all };
}

ALWAYS_INLINE byte_lanes codes_chosen (byte_lanes table, byte_lanes i) {
  return (byte_lanes){ _mm256_shuffle_epi8(table.a, i.a), _mm256_shuffle_epi8(table.b, i.b) };
}

ALWAYS_INLINE __m256i reduce_8 (__m256i a, __m256i b, __m256i c, __m256i d) {
  const __m256i ab = _mm256_add_epi32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
  const __m256i cd = _mm256_add_epi32(_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
  return _mm256_add_epi32(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd));
}

ALWAYS_INLINE int_lanes sums_reduce (int_lanes a, int_lanes b, int_lanes c, int_lanes d) {
  return (int_lanes){ reduce_8(a.a, b.a, c.a, d.a), reduce_8(a.b, b.b, c.b, d.b) };
}

ALWAYS_INLINE __m256i fold_8 (int_lanes x) {
  return _mm256_add_epi32(_mm256_permute2x128_si256(x.a, x.b, 0x20), _mm256_permute2x128_si256(x.a, x.b, 0x31));
}

ALWAYS_INLINE int_lanes sums_fold (int_lanes first, int_lanes second) {
  return (int_lanes){ fold_8(first), fold_8(second) };
}

ALWAYS_INLINE int_lanes sums_mul (int_lanes x, int_lanes y) { return (int_lanes){ _mm256_mullo_epi32(x.a, y.a),
                                                                                  _mm256_mullo_epi32(x.b, y.b) }; }

ALWAYS_INLINE int_lanes sums_add (int_lanes x, int_lanes y) {
  return (int_lanes){ _mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b) };
}

ALWAYS_INLINE lanes sums_lanes (int_lanes x) {
  return (lanes){ _mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b) };
}

ALWAYS_INLINE int_lanes sums_bytes (const uint8_t *sixteen) {
  return (int_lanes){ _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)sixteen)),
                      _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)(sixteen + 8))) };
}

ALWAYS_INLINE int_lanes sums_signed_bytes (const uint8_t *sixteen) {
  return (int_lanes){ _mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)sixteen)),
                      _mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)(sixteen + 8))) };
}

ALWAYS_INLINE int_lanes sums_load (const int32_t *sixteen) {
  return (int_lanes){ load_32(sixteen), load_32(sixteen + 8) };
}

ALWAYS_INLINE void turn_bytes (const uint8_t *const *rows, uint8_t *out) {
  const __m128i a = load_16(rows[0]), b = load_16(rows[1]), c = load_16(rows[2]), d = load_16(rows[3]);
  const __m128i ab = _mm_unpacklo_epi8(a, b), cd = _mm_unpacklo_epi8(c, d);
  const __m128i ab_high = _mm_unpackhi_epi8(a, b), cd_high = _mm_unpackhi_epi8(c, d);
  _mm_storeu_si128((__m128i *)(void *)out, _mm_unpacklo_epi16(ab, cd));
  _mm_storeu_si128((__m128i *)(void *)(out + 16), _mm_unpackhi_epi16(ab, cd));
  _mm_storeu_si128((__m128i *)(void *)(out + 32), _mm_unpacklo_epi16(ab_high, cd_high));
  _mm_storeu_si128((__m128i *)(void *)(out + 48), _mm_unpackhi_epi16(ab_high, cd_high));
}

ALWAYS_INLINE int_lanes sums_quads (__m128i four) {
  const __m256i both = _mm256_castsi128_si256(four);
  return (int_lanes){ _mm256_permutevar8x32_epi32(both, _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1)),
                      _mm256_permutevar8x32_epi32(both, _mm256_setr_epi32(2, 2, 2, 2, 3, 3, 3, 3)) };
}

ALWAYS_INLINE int_lanes sums_of_halves (const int16_t *four) {
  return sums_quads(wide_halves(four));
}

ALWAYS_INLINE int_lanes sums_of_blocks (const int16_t *eight) {
  return sums_quads(joined_halves(eight));
}

ALWAYS_INLINE lanes lanes_halves (const uint8_t *const *rows, size_t at) {
  const __m128 four = four_halves(rows, at);
  const __m256 twice = _mm256_insertf128_ps(_mm256_castps128_ps256(four), four, 1);
  return (lanes){ twice, twice };
}

ALWAYS_INLINE __m256 e8m0_half_of_8 (__m128i codes) {
  const __m256i wide = _mm256_cvtepu8_epi32(codes);
  const __m256i denormal = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), wide);
  const __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(wide, _mm256_set1_epi32(1)), 23);
  const __m256i large = _mm256_cmpgt_epi32(wide, _mm256_set1_epi32(1));
  return _mm256_castsi256_ps(_mm256_blendv_epi8(denormal, normal, large));
}

ALWAYS_INLINE lanes e8m0_halves (__m128i sixteen) {
  return (lanes){ e8m0_half_of_8(sixteen), e8m0_half_of_8(_mm_srli_si128(sixteen, 8)) };
}

ALWAYS_INLINE lanes lanes_e8m0_half (const uint8_t *const *rows, size_t first, size_t stride) {
  return e8m0_halves(gather_quads(rows, first, stride));
}

ALWAYS_INLINE lanes lanes_e8m0_halves (const uint8_t *sixteen) { return e8m0_halves(load_16(sixteen)); }

ALWAYS_INLINE void lanes_join_quads (lanes x, float *out) {
  const __m256 two = _mm256_add_ps(x.a, x.b);
  _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(two), _mm256_extractf128_ps(two, 1)));
}

/* {== Keys of the indexer: a lane is a key, four of its values a step ============================= */

ALWAYS_INLINE four_sums four_sums_start (int32_t value) {
  return (four_sums){ _mm256_set1_epi32(value), _mm256_set1_epi32(value) };
}

ALWAYS_INLINE four_sums four_sums_add (four_sums sums, fp4_pair w, byte_lanes x) {
  return (four_sums){ dot_of_fours(sums.a, w.a, x.a), dot_of_fours(sums.b, w.b, x.b) };
}

ALWAYS_INLINE lanes four_sums_lanes (four_sums sums) {
  return (lanes){ _mm256_cvtepi32_ps(sums.a), _mm256_cvtepi32_ps(sums.b) };
}

#include "kernels_body.h"
#endif
