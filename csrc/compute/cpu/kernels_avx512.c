/*
** Level "avx512": sixteen lanes are one register. Needs F, BW, VL, DQ and VNNI, and what AVX2 needs. Each
** operation is explained at its scalar definition (kernels_scalar.c).
*/
#if defined(__x86_64__)
#include "kernels_x86.h"

#ifndef LEVEL                /* kernels_avx512vbmi.c or kernels_avx512bf16.c has set them */
#define LEVEL cpu_kernels_avx512
#define LEVEL_NAME "avx512"
#endif

enum { OUTPUTS_ONE = 4, OUTPUTS_MANY = 4, ROWS_MANY = 4, ROWS_INT8 = 4, ROWS_MULTIPLIED = 8,
       TILES_AT_ONCE = 2, TILE_ROWS_LEAST = 2, SUMS_AT_ONCE = 8,
       QUERIES_AT_ONCE = 8, SUMS_HELD = 16, VECTORS_HELD = 4 };

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

#if defined(__AVX512BF16__)
ALWAYS_INLINE lanes lanes_fma_pairs (lanes a, lanes b, lanes c) {
  return _mm512_dpbf16_ps(c, (__m512bh)a, (__m512bh)b);
}
#else
ALWAYS_INLINE lanes pair_first (lanes a) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(a), 16)); }
ALWAYS_INLINE lanes pair_second (lanes a) {
  return _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(a), _mm512_set1_epi32((int)0xFFFF0000)));
}

ALWAYS_INLINE lanes lanes_fma_pairs (lanes a, lanes b, lanes c) {
  return lanes_fma(pair_first(a), pair_first(b), lanes_fma(pair_second(a), pair_second(b), c));
}
#endif

/* {== Codes ====================================================================================== */

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
typedef __m512i fp4_pair, four_sums;

ALWAYS_INLINE __m512i fp4_shifted (__m512i codes) {
  return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_setr_epi8(FP4_SHIFTED)), codes);
}

ALWAYS_INLINE int8_quad int8_load_quad (const int8_t *codes) {
  const __m512i apart = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15));
  const __m512i a = _mm512_shuffle_epi8(_mm512_loadu_si512(codes), apart);
  const __m512i b = _mm512_shuffle_epi8(_mm512_loadu_si512(codes + 2 * CPU_BLOCK), apart);
  return (int8_quad){ _mm512_permutex2var_epi64(a, _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14), b),
                      _mm512_permutex2var_epi64(a, _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15), b) };
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

/* {== Integer products of GGML's blocks (kernels_int8.h) ========================================== */

typedef __m512i byte_lanes, int_lanes;

ALWAYS_INLINE byte_lanes codes_load (const int8_t *x) { return _mm512_loadu_si512(x); }

ALWAYS_INLINE byte_lanes codes_two (const int8_t *first, const int8_t *second) {
  return _mm512_inserti64x4(_mm512_castsi256_si512(load_32(first)), load_32(second), 1);
}

ALWAYS_INLINE byte_lanes codes_lookup (const int8_t *table, const uint8_t *first, const uint8_t *second) {
  const __m512i both = _mm512_mask_broadcast_i32x4(_mm512_broadcast_i32x4(load_16(first)), 0xFF00, load_16(second));
  const __m512i shift = _mm512_setr_epi64(0, 0, 4, 4, 0, 0, 4, 4);
  const __m512i q = _mm512_and_si512(_mm512_srlv_epi64(both, shift), _mm512_set1_epi8(15));
  return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(load_16(table)), q);
}

ALWAYS_INLINE byte_lanes codes_nibbles (const uint8_t *q) {
  const __m512i shift = _mm512_setr_epi64(0, 0, 0, 0, 4, 4, 4, 4), both = _mm512_broadcast_i64x4(load_32(q));
  return _mm512_and_si512(_mm512_srlv_epi64(both, shift), _mm512_set1_epi8(15));
}

ALWAYS_INLINE byte_lanes codes_two_bits (const uint8_t *q, size_t shift) {
  const __m512i low = _mm512_set1_epi64((int64_t)shift), two = _mm512_setr_epi64(0, 0, 0, 0, 2, 2, 2, 2);
  const __m512i both = _mm512_broadcast_i64x4(load_32(q));
  return _mm512_and_si512(_mm512_srlv_epi64(both, _mm512_add_epi64(low, two)), _mm512_set1_epi8(3));
}

/*
** Each qword holds four numbers of grid entries, and signs. An entry is looked up as eight codes of two bits, 64
** entries a permutation.
*/
ALWAYS_INLINE __m512i iq2_xxs_words (__m512i all) {
  const uint16_t *table = iq2_xxs_codes;
  const __m512i entry = _mm512_cvtepu8_epi16(_mm512_cvtepi64_epi32(all));
  __m512i found[4];
  UNROLL for (int i = 0; i < 4; i++)
    found[i] = _mm512_permutex2var_epi16(_mm512_loadu_si512(table + 64 * i), entry,
                                         _mm512_loadu_si512(table + 64 * i + 32));
  const __mmask32 bit6 = _mm512_test_epi16_mask(entry, _mm512_set1_epi16(64));
  const __mmask32 bit7 = _mm512_test_epi16_mask(entry, _mm512_set1_epi16(128));
  return _mm512_mask_blend_epi16(bit7, _mm512_mask_blend_epi16(bit6, found[0], found[1]),
                                 _mm512_mask_blend_epi16(bit6, found[2], found[3]));
}

#if defined(__AVX512VBMI__)
/* Four bytes of signs a qword: fields of seven bits are cut out, and the eighth sign is in the table. */
ALWAYS_INLINE __m256i iq2_xxs_signs (__m512i all) {
  const __m512i fields = _mm512_multishift_epi64_epi8(_mm512_set1_epi64(0x352E2720), all);
  return _mm512_cvtepi64_epi32(_mm512_permutex2var_epi8(_mm512_loadu_si512(iq_signs), fields,
                                                        _mm512_loadu_si512(iq_signs + 64)));
}

/*
** The values of eight words, and 128 more: a word is copied to four, each byte gets its two bits at the bottom, and the
** rest of it does not count.
*/
ALWAYS_INLINE __m512i iq2_xxs_magnitudes (__m512i words, __m512i place) {
  const __m512i two = _mm512_multishift_epi64_epi8(_mm512_set1_epi64(0x0E0C0A0806040200),
                                                   _mm512_permutexvar_epi16(place, words));
  return _mm512_permutexvar_epi8(two, _mm512_set1_epi32(0x00AB9988));
}
#else
ALWAYS_INLINE __m256i iq2_xxs_signs (__m512i all) {
  const __m512i w = _mm512_srli_epi64(all, 32);
  __m512i signs = _mm512_and_si512(w, _mm512_set1_epi64(0x7F));     /* seven bits to a byte, then the eighth */
  signs = _mm512_or_si512(signs, _mm512_and_si512(_mm512_slli_epi64(w, 1), _mm512_set1_epi64(0x7F00)));
  signs = _mm512_or_si512(signs, _mm512_and_si512(_mm512_slli_epi64(w, 2), _mm512_set1_epi64(0x7F0000)));
  signs = _mm512_or_si512(signs, _mm512_and_si512(_mm512_slli_epi64(w, 3), _mm512_set1_epi64(0x7F000000)));
  __m512i odd = _mm512_xor_si512(signs, _mm512_srli_epi64(signs, 4));
  odd = _mm512_xor_si512(odd, _mm512_srli_epi64(odd, 2));
  odd = _mm512_and_si512(_mm512_xor_si512(odd, _mm512_srli_epi64(odd, 1)), _mm512_set1_epi8(1));
  return _mm512_cvtepi64_epi32(_mm512_or_si512(signs, _mm512_slli_epi64(odd, 7)));
}

/* The values of eight words, and 128 more: a word is copied to four, which are shifted as each of their bytes needs. */
ALWAYS_INLINE __m512i iq2_xxs_magnitudes (__m512i words, __m512i place) {
  const __m512i shift = _mm512_set1_epi64(0x000C000800040000);      /* 0, 4, 8, 12 */
  const __m512i magnitudes = _mm512_broadcast_i32x4(_mm_cvtsi32_si128(0x00AB9988));
  const __m512i two = _mm512_srlv_epi16(_mm512_permutexvar_epi16(place, words), shift);
  const __m512i codes = _mm512_or_si512(_mm512_and_si512(two, _mm512_set1_epi16(3)),
                                        _mm512_and_si512(_mm512_slli_epi16(two, 6), _mm512_set1_epi16(0x300)));
  return _mm512_shuffle_epi8(magnitudes, codes);
}
#endif

/* Eight codes of each group, a word, and signs; values are made of them pair by pair, in registers. */
typedef struct iq2_xxs_parts { __m512i words; uint64_t minus[4]; } iq2_xxs_parts;

ALWAYS_INLINE void iq2_xxs_begin (const iq2_xxs_block *b, iq2_xxs_parts *out, uint8_t *scales) {
  const __m512i all = _mm512_loadu_si512(b->sub);
  out->words = iq2_xxs_words(all);
  _mm256_storeu_si256((__m256i *)(void *)out->minus, iq2_xxs_signs(all));
  _mm_storeu_si128((__m128i *)(void *)scales, _mm512_cvtepi64_epi8(_mm512_srli_epi64(all, 60)));
}

ALWAYS_INLINE byte_lanes iq2_xxs_pair (const iq2_xxs_parts *parts, size_t p) {
  const __m512i place = _mm512_add_epi16(_mm512_set1_epi16((short)(8 * p)), _mm512_setr_epi64(0,
    0x0001000100010001, 0x0002000200020002, 0x0003000300030003, 0x0004000400040004, 0x0005000500050005,
    0x0006000600060006, 0x0007000700070007));
  const __m512i value = iq2_xxs_magnitudes(parts->words, place);      /* 128 more: its negative is 128 less, then */
  return _mm512_mask_sub_epi8(value, (__mmask64)parts->minus[p], _mm512_setzero_si512(), value);
}

/* The unsigned operand is the code and 128 more. */
ALWAYS_INLINE byte_lanes codes_signed (byte_lanes w) { return _mm512_xor_si512(w, _mm512_set1_epi8((char)0x80)); }

ALWAYS_INLINE int_lanes sums_zero (void) { return _mm512_setzero_si512(); }

ALWAYS_INLINE int_lanes dot_start (byte_lanes x) {
  return _mm512_sub_epi32(sums_zero(), _mm512_dpbusd_epi32(sums_zero(), _mm512_set1_epi8((char)0x80), x));
}

ALWAYS_INLINE int_lanes dot_plain (int_lanes start, byte_lanes w, byte_lanes x) {
  return _mm512_dpbusd_epi32(start, w, x);
}

ALWAYS_INLINE int_lanes dot_signed (int_lanes start, byte_lanes w, byte_lanes x) { return dot_plain(start, w, x); }

ALWAYS_INLINE __m512i repeat_word (const void *word) { return _mm512_set1_epi32((int)load_u32(word)); }

ALWAYS_INLINE int_lanes dot_start_of (const int16_t *two) {
  return _mm512_madd_epi16(repeat_word(two), _mm512_set1_epi16(-128));
}

ALWAYS_INLINE byte_lanes codes_repeat (const int8_t *four) { return repeat_word(four); }

ALWAYS_INLINE int_lanes sums_of_pairs (const uint32_t *w, const int16_t *two) {
  return _mm512_madd_epi16(_mm512_loadu_si512(w), repeat_word(two));
}

ALWAYS_INLINE void codes_turn (const uint8_t *const *rows, size_t at, byte_lanes *words) {
  __m512i four[4];                           /* rows j, 4 + j, 8 + j, 12 + j */
  UNROLL for (int j = 0; j < 4; j++) {
    four[j] = _mm512_castsi128_si512(load_16(rows[j] + at));
    four[j] = _mm512_inserti32x4(four[j], load_16(rows[4 + j] + at), 1);
    four[j] = _mm512_inserti32x4(four[j], load_16(rows[8 + j] + at), 2);
    four[j] = _mm512_inserti32x4(four[j], load_16(rows[12 + j] + at), 3);
  }
  const __m512i a = _mm512_unpacklo_epi32(four[0], four[1]), b = _mm512_unpacklo_epi32(four[2], four[3]);
  const __m512i c = _mm512_unpackhi_epi32(four[0], four[1]), d = _mm512_unpackhi_epi32(four[2], four[3]);
  words[0] = _mm512_unpacklo_epi64(a, b);
  words[1] = _mm512_unpackhi_epi64(a, b);
  words[2] = _mm512_unpacklo_epi64(c, d);
  words[3] = _mm512_unpackhi_epi64(c, d);
}

ALWAYS_INLINE byte_lanes codes_bits (byte_lanes w, int shift, int mask) {
  return _mm512_and_si512(_mm512_srl_epi16(w, _mm_cvtsi32_si128(shift)), _mm512_set1_epi8((char)mask));
}

ALWAYS_INLINE byte_lanes codes_table (const int8_t *sixteen) { return _mm512_broadcast_i32x4(load_16(sixteen)); }

ALWAYS_INLINE byte_lanes codes_chosen (byte_lanes table, byte_lanes i) { return _mm512_shuffle_epi8(table, i); }

ALWAYS_INLINE int_lanes sums_reduce (int_lanes a, int_lanes b, int_lanes c, int_lanes d) {
  const __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
  const __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
  return _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
}

ALWAYS_INLINE int_lanes sums_fold (int_lanes first, int_lanes second) {
  return _mm512_add_epi32(_mm512_shuffle_i32x4(first, second, 0x88), _mm512_shuffle_i32x4(first, second, 0xDD));
}

ALWAYS_INLINE int_lanes sums_mul (int_lanes a, int_lanes b) { return _mm512_mullo_epi32(a, b); }

ALWAYS_INLINE int_lanes sums_add (int_lanes a, int_lanes b) { return _mm512_add_epi32(a, b); }

ALWAYS_INLINE lanes sums_lanes (int_lanes a) { return _mm512_cvtepi32_ps(a); }

ALWAYS_INLINE int_lanes sums_bytes (const uint8_t *sixteen) { return _mm512_cvtepu8_epi32(load_16(sixteen)); }

ALWAYS_INLINE int_lanes sums_signed_bytes (const uint8_t *sixteen) { return _mm512_cvtepi8_epi32(load_16(sixteen)); }

ALWAYS_INLINE int_lanes sums_load (const int32_t *sixteen) { return _mm512_loadu_si512(sixteen); }

ALWAYS_INLINE void turn_bytes (const uint8_t *const *rows, uint8_t *out) {
  const __m512i words = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const __m128i bytes = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  __m512i all = _mm512_castsi128_si512(load_16(rows[0]));
  all = _mm512_inserti32x4(all, load_16(rows[1]), 1);
  all = _mm512_inserti32x4(all, load_16(rows[2]), 2);
  all = _mm512_inserti32x4(all, load_16(rows[3]), 3);
  all = _mm512_shuffle_epi8(_mm512_permutexvar_epi32(words, all), _mm512_broadcast_i32x4(bytes));
  _mm512_storeu_si512(out, all);
}

ALWAYS_INLINE int_lanes sums_quads (__m128i four) {
  const __m512i place = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
  return _mm512_permutexvar_epi32(place, _mm512_castsi128_si512(four));
}

ALWAYS_INLINE int_lanes sums_of_halves (const int16_t *four) {
  return sums_quads(wide_halves(four));
}

ALWAYS_INLINE int_lanes sums_of_blocks (const int16_t *eight) {
  return sums_quads(joined_halves(eight));
}

ALWAYS_INLINE lanes lanes_halves (const uint8_t *const *rows, size_t at) {
  return _mm512_broadcast_f32x4(four_halves(rows, at));
}

ALWAYS_INLINE lanes e8m0_halves (__m128i codes) {
  const __m512i wide = _mm512_cvtepu8_epi32(codes);
  const __m512i denormal = _mm512_sllv_epi32(_mm512_set1_epi32(0x00200000), wide);
  const __m512i normal = _mm512_slli_epi32(_mm512_sub_epi32(wide, _mm512_set1_epi32(1)), 23);
  const __mmask16 small = _mm512_cmplt_epi32_mask(wide, _mm512_set1_epi32(2));
  return _mm512_castsi512_ps(_mm512_mask_mov_epi32(normal, small, denormal));
}

ALWAYS_INLINE lanes lanes_e8m0_half (const uint8_t *const *rows, size_t first, size_t stride) {
  return e8m0_halves(gather_quads(rows, first, stride));
}

ALWAYS_INLINE lanes lanes_e8m0_halves (const uint8_t *sixteen) { return e8m0_halves(load_16(sixteen)); }

ALWAYS_INLINE void lanes_join_quads (lanes a, float *out) {
  const __m256 two = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
  _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(two), _mm256_extractf128_ps(two, 1)));
}

/* {== Keys of the indexer: a lane is a key, four of its values a step ============================= */

ALWAYS_INLINE four_sums four_sums_start (int32_t value) { return _mm512_set1_epi32(value); }

ALWAYS_INLINE four_sums four_sums_add (four_sums sums, fp4_pair w, byte_lanes x) {
  return _mm512_dpbusd_epi32(sums, w, x);
}

ALWAYS_INLINE lanes four_sums_lanes (four_sums sums) { return _mm512_cvtepi32_ps(sums); }

#include "kernels_body.h"
#endif
