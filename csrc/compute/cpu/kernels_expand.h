/*
** Superblocks as integers, of the types whose codes no register unpacks at once: value i is factor * scales[i / 16] *
** values[i], with the numbers that blocks_k.h and blocks_iq.h give. Included by kernels_int8.h for every level: eight
** values are a word here, so that the compiler may use its registers.
*/
#ifndef compute_cpu_kernels_expand_h
#define compute_cpu_kernels_expand_h

#include "blocks_k.h"

enum { SUPERBLOCK_BLOCKS = SUPERBLOCK / CPU_BLOCK };

/* Returns the factor. */
typedef float expand_superblock (const uint8_t *restrict block, int8_t *restrict values, int8_t *restrict scales);

/* {== Codes of a table of sixteen ================================================================== */

static const int8_t q4_0_values[16] = { -8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7 };
static const int8_t mxfp4_values[16] = { FP4_DOUBLED };
static const int8_t iq4_nl_values[16] = { IQ4_VALUES };
/* Magnitudes by codes of two or three bits, then their negatives. */
static const int8_t iq2_values[16] = { 8, 25, 43, 0, -8, -25, -43, 0 };
static const int8_t iq3_xxs_values[16] = { 4, 12, 20, 28, 36, 44, 52, 62, -4, -12, -20, -28, -36, -44, -52, -62 };
static const int8_t iq3_s_values[16] = { 1, 3, 5, 7, 9, 11, 13, 15, -1, -3, -5, -7, -9, -11, -13, -15 };
/* Eight times -1, 0, 1, moved up or down by an eighth. */
static const int8_t iq1_values[16] = { -7, 1, 9, 0, -9, -1, 7, 0 };

/* Eight codes of two bits, of four bits, or eight bits, a byte each. */
ALWAYS_INLINE uint64_t spread_pairs (uint64_t codes) {
  codes = (codes | codes << 24) & 0x000000FF000000FF;
  codes = (codes | codes << 12) & 0x000F000F000F000F;
  return (codes | codes << 6) & 0x0303030303030303;
}

ALWAYS_INLINE uint64_t spread_nibbles (uint64_t codes) {
  codes = (codes | codes << 16) & 0x0000FFFF0000FFFF;
  codes = (codes | codes << 8) & 0x00FF00FF00FF00FF;
  return (codes | codes << 4) & 0x0F0F0F0F0F0F0F0F;
}

ALWAYS_INLINE uint64_t spread_bits (uint64_t bits) {
  const uint64_t found = bits * 0x0101010101010101 & 0x8040201008040201;     /* bit i of byte i */
  return (found + 0x7F7F7F7F7F7F7F7F) >> 7 & 0x0101010101010101;
}

/* Seven signs and the eighth, which makes their number even. */
ALWAYS_INLINE uint64_t even_signs (uint64_t seven) {
  uint64_t odd = seven ^ seven >> 4;
  odd ^= odd >> 2;
  odd ^= odd >> 1;
  return seven | (odd & 1) << 7;
}

/* Values by their codes, eight a word. */
ALWAYS_INLINE void choose_values (const int8_t *table, const uint64_t *codes, int8_t *values) {
  const byte_lanes sixteen = codes_table(table);
  for (size_t p = 0; p < SUPERBLOCK / 64; p++) {
    const byte_lanes chosen = codes_chosen(sixteen, codes_load((const int8_t *)(codes + 8 * p)));
    memcpy(values + 64 * p, &chosen, 64);
  }
}

/* The scale 2 s + 1 for s in nibbles; `halves` half blocks share one. */
ALWAYS_INLINE void odd_scales (const uint8_t *nibbles, size_t halves, int8_t *scales) {
  for (size_t h = 0; h < 2 * SUPERBLOCK_BLOCKS; h++) {
    const size_t s = h / halves;
    scales[h] = (int8_t)(2 * (nibbles[s / 2] >> s % 2 * 4 & 15) + 1);
  }
}

/* {== The IQ types ================================================================================= */

static float expand_iq2_xs (const uint8_t *restrict block, int8_t *restrict values, int8_t *restrict scales) {
  const iq2_xs_block *b = (const void *)block;
  uint64_t codes[SUPERBLOCK / 8];
  uint16_t q[SUPERBLOCK / 8];
  memcpy(q, b->q, sizeof q);
  for (size_t g = 0; g < 32; g++) codes[g] = iq2_xs_grid[q[g] & 511];
  for (size_t g = 0; g < 32; g++) codes[g] = spread_pairs(codes[g]) | spread_bits(even_signs(q[g] >> 9)) << 2;
  choose_values(iq2_values, codes, values);
  odd_scales(b->scales, 1, scales);
  return 0.125f * load_half(b->d);
}

static float expand_iq2_s (const uint8_t *restrict block, int8_t *restrict values, int8_t *restrict scales) {
  const iq2_s_block *b = (const void *)block;
  uint64_t codes[SUPERBLOCK / 8];
  for (size_t g = 0; g < 32; g++) codes[g] = iq2_s_grid[b->q[g] | (uint32_t)(b->high[g / 4] >> g % 4 * 2 & 3) << 8];
  for (size_t g = 0; g < 32; g++) codes[g] = spread_pairs(codes[g]) | spread_bits(b->signs[g]) << 2;
  choose_values(iq2_values, codes, values);
  odd_scales(b->scales, 1, scales);
  return 0.125f * load_half(b->d);
}

static float expand_iq3_xxs (const uint8_t *restrict block, int8_t *restrict values, int8_t *restrict scales) {
  const iq3_xxs_block *b = (const void *)block;
  uint64_t codes[SUPERBLOCK / 8], signs[SUPERBLOCK / 8];
  for (size_t g = 0; g < 32; g++)
    codes[g] = iq3_xxs_grid[b->q[2 * g]] | (uint64_t)iq3_xxs_grid[b->q[2 * g + 1]] << 16;
  for (size_t s = 0; s < 8; s++) {
    const uint32_t word = load_u32(b->signs[s]);
    for (size_t g = 0; g < 4; g++) signs[4 * s + g] = word >> 7 * g & 127;
    scales[2 * s] = scales[2 * s + 1] = (int8_t)(2 * (word >> 28) + 1);
  }
  for (size_t g = 0; g < 32; g++) codes[g] = spread_nibbles(codes[g]) | spread_bits(even_signs(signs[g])) << 3;
  choose_values(iq3_xxs_values, codes, values);
  return 0.25f * load_half(b->d);
}

static float expand_iq3_s (const uint8_t *restrict block, int8_t *restrict values, int8_t *restrict scales) {
  const iq3_s_block *b = (const void *)block;
  uint64_t codes[SUPERBLOCK / 8];
  for (size_t g = 0; g < 32; g++) {
    const uint32_t high = (uint32_t)b->high[g / 4] >> g % 4 * 2;
    const uint64_t second = iq3_s_grid[b->q[2 * g + 1] | (high & 2) << 7];
    codes[g] = iq3_s_grid[b->q[2 * g] | (high & 1) << 8] | second << 16;
  }
  for (size_t g = 0; g < 32; g++) codes[g] = spread_nibbles(codes[g]) | spread_bits(b->signs[g]) << 3;
  choose_values(iq3_s_values, codes, values);
  odd_scales(b->scales, 2, scales);
  return load_half(b->d);
}

static float expand_iq1_s (const uint8_t *restrict block, int8_t *restrict values, int8_t *restrict scales) {
  const iq1_s_block *b = (const void *)block;
  uint64_t codes[SUPERBLOCK / 8], down[SUPERBLOCK / 8];
  for (size_t s = 0; s < 8; s++) {
    const uint32_t high = load_u16(b->high + 2 * s);
    for (size_t g = 4 * s; g < 4 * s + 4; g++) {
      codes[g] = iq1_grid[b->q[g] | (high >> g % 4 * 3 & 7) << 8];
      down[g] = high >> 15;
    }
    scales[2 * s] = scales[2 * s + 1] = (int8_t)(2 * (high >> 12 & 7) + 1);
  }
  for (size_t g = 0; g < 32; g++) codes[g] = spread_pairs(codes[g]) | down[g] * 0x0404040404040404;
  choose_values(iq1_values, codes, values);
  return 0.125f * load_half(b->d);
}

static float expand_iq1_m (const uint8_t *restrict block, int8_t *restrict values, int8_t *restrict scales) {
  const iq1_m_block *b = (const void *)block;
  uint64_t codes[SUPERBLOCK / 8], down[SUPERBLOCK / 8];
  uint32_t d = 0;
  for (size_t i = 0; i < 4; i++) d |= (load_u16(b->scales + 2 * i) >> 12) << 4 * i;
  for (size_t g = 0; g < 32; g++) {
    const uint32_t high = (uint32_t)b->high[g / 2] >> g % 2 * 4;
    codes[g] = iq1_grid[b->q[g] | (high & 7) << 8];
    down[g] = high >> 3 & 1;
    scales[g / 2] = (int8_t)(2 * (load_u16(b->scales + g / 8 * 2) >> g / 2 % 4 * 3 & 7) + 1);
  }
  for (size_t g = 0; g < 32; g++) codes[g] = spread_pairs(codes[g]) | down[g] * 0x0404040404040404;
  choose_values(iq1_values, codes, values);
  return 0.125f * f16_decode((uint16_t)d);
}

/* {== The K types ================================================================================== */

static float expand_q3_k (const uint8_t *restrict block, int8_t *restrict values, int8_t *restrict scales) {
  const q3_k_block *b = (const void *)block;
  for (int s = 0; s < 8; s++)
    for (int i = 0; i < 32; i++)
      values[32 * s + i] = (int8_t)((b->q[s / 4 * 32 + i] >> s % 4 * 2 & 3) + (b->high[i] >> s & 1) * 4 - 4);
  for (int s = 0; s < 16; s++) scales[s] = (int8_t)q3_k_scale(b->scales, s);
  return load_half(b->d);
}

static float expand_q6_k (const uint8_t *restrict block, int8_t *restrict values, int8_t *restrict scales) {
  const q6_k_block *b = (const void *)block;
  for (int s = 0; s < 8; s++)                      /* nibbles are 64 values apart, bit pairs 32 */
    for (int i = 0; i < 32; i++)
      values[32 * s + i] = (int8_t)(((b->q[s / 4 * 64 + s % 2 * 32 + i] >> s / 2 % 2 * 4 & 15) |
                                     (b->high[s / 4 * 32 + i] >> s % 4 * 2 & 3) << 4) - 32);
  memcpy(scales, b->scales, sizeof b->scales);
  return load_half(b->d);
}

/* Codes alone, which are not signed: scales and mins are those of Q4_K. */
static void expand_q5_k (const uint8_t *block, uint8_t *values) {
  const q5_k_block *b = (const void *)block;
  for (int s = 0; s < 8; s++)
    for (int i = 0; i < 32; i++)
      values[32 * s + i] = (uint8_t)((b->q[s / 2 * 32 + i] >> s % 2 * 4 & 15) | (b->high[i] >> s & 1) << 4);
}

#endif
