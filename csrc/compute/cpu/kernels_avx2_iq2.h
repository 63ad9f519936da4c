/*
** IQ2_XXS in registers of 256 bits: included by kernels_avx2.c behind its dots. Magnitudes are loaded from the grid,
** eight at a time, and signs are made for a superblock at once. Of one row of activations, x takes the signs.
*/
#ifndef compute_cpu_kernels_avx2_iq2_h
#define compute_cpu_kernels_avx2_iq2_h

/* Four bytes of signs a block: bytes 2 s and 2 s + 1 of each half of `signs`. */
typedef struct iq2_xxs_parts { const iq2_xxs_block *block; __m256i signs; } iq2_xxs_parts;

/* Fields of seven bits to bytes of eight, whose last bit makes the number of ones even. */
ALWAYS_INLINE __m256i iq2_xxs_signs (__m256i words) {
  const __m256i two = _mm256_or_si256(_mm256_and_si256(words, _mm256_set1_epi32(0x3FFF)),
                                      _mm256_and_si256(_mm256_slli_epi32(words, 2), _mm256_set1_epi32(0x3FFF0000)));
  const __m256i seven = _mm256_or_si256(_mm256_and_si256(two, _mm256_set1_epi16(0x7F)),
                                        _mm256_and_si256(_mm256_slli_epi16(two, 1), _mm256_set1_epi16(0x7F00)));
  const __m256i folded = _mm256_and_si256(_mm256_xor_si256(seven, _mm256_srli_epi16(seven, 4)), _mm256_set1_epi8(15));
  const __m128i odd = _mm_setr_epi8(0, -128, -128, 0, -128, 0, 0, -128, -128, 0, 0, -128, 0, -128, -128, 0);
  return _mm256_or_si256(seven, _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(odd), folded));
}

ALWAYS_INLINE void iq2_xxs_begin (const iq2_xxs_block *b, iq2_xxs_parts *out, uint8_t *scales) {
  const __m256 first = _mm256_castsi256_ps(load_32(b->sub)), last = _mm256_castsi256_ps(load_32(b->sub + 4));
  const __m256i words = _mm256_permute4x64_epi64(_mm256_castps_si256(_mm256_shuffle_ps(first, last, 0xDD)), 0xD8);
  const __m256i four_bits = _mm256_srli_epi32(words, 28);
  const __m128i eight = _mm_packs_epi32(_mm256_castsi256_si128(four_bits), _mm256_extracti128_si256(four_bits, 1));
  const __m128i apart = _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
  const __m256i pairs = _mm256_shuffle_epi8(iq2_xxs_signs(words), _mm256_broadcastsi128_si256(apart));
  out->block = b;
  out->signs = _mm256_permute4x64_epi64(pairs, 0xD8);
  _mm_storeu_si128((__m128i *)(void *)scales, _mm_packus_epi16(eight, eight));
}

ALWAYS_INLINE __m256i iq2_xxs_magnitudes (const iq2_xxs_parts *parts, size_t s) {
  const uint8_t *q = parts->block->sub[s].grid;
  const uint64_t *grid = iq2_xxs_grid;
  return _mm256_setr_epi64x((int64_t)grid[q[0]], (int64_t)grid[q[1]], (int64_t)grid[q[2]], (int64_t)grid[q[3]]);
}

/* Where a value of block s is negative. */
ALWAYS_INLINE __m256i iq2_xxs_minus (const iq2_xxs_parts *parts, size_t s) {
  const __m256i byte = _mm256_add_epi8(_mm256_set1_epi8((char)(2 * s)),
                                       _mm256_setr_epi64x(0, 0x0101010101010101, 0, 0x0101010101010101));
  const __m256i bit = _mm256_set1_epi64x((int64_t)0x8040201008040201);
  return _mm256_cmpeq_epi8(_mm256_and_si256(_mm256_shuffle_epi8(parts->signs, byte), bit), bit);
}

ALWAYS_INLINE __m256i iq2_xxs_values (const iq2_xxs_parts *parts, size_t s) {
  const __m256i minus = iq2_xxs_minus(parts, s);
  return _mm256_sub_epi8(_mm256_xor_si256(iq2_xxs_magnitudes(parts, s), minus), minus);
}

ALWAYS_INLINE byte_lanes iq2_xxs_pair (const iq2_xxs_parts *parts, size_t p) {
  return codes_signed((byte_lanes){ iq2_xxs_values(parts, 2 * p), iq2_xxs_values(parts, 2 * p + 1) });
}

ALWAYS_INLINE __m256i iq2_xxs_dot_block (const iq2_xxs_parts *parts, size_t s, __m256i x) {
  const __m256i sign = _mm256_or_si256(iq2_xxs_minus(parts, s), _mm256_set1_epi8(1));
  return dot_of_fours(_mm256_setzero_si256(), iq2_xxs_magnitudes(parts, s), _mm256_sign_epi8(x, sign));
}

#define LEVEL_DOTS_IQ2_XXS
ALWAYS_INLINE int_lanes iq2_xxs_dot (const iq2_xxs_parts *parts, size_t p, byte_lanes x) {
  return (int_lanes){ iq2_xxs_dot_block(parts, 2 * p, x.a), iq2_xxs_dot_block(parts, 2 * p + 1, x.b) };
}

#endif
