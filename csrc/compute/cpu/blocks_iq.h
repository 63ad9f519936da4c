/*
** Decoders of the IQ types: blocks of 256 values in groups that are entries of a codebook, with signs and scales
** of their own. Included as blocks_plain.h is.
*/
#ifndef compute_cpu_blocks_iq_h
#define compute_cpu_blocks_iq_h

#include "blocks_plain.h"

/* {== Magnitudes and signs ======================================================================== */

static inline float signed_value (float value, unsigned signs, int i) { return signs >> i & 1 ? -value : value; }

/* Eight values by codes of two bits. */
static inline void decode_eight (float scale, unsigned codes, unsigned signs, float *out) {
  static const float magnitudes[4] = { 8, 25, 43, 0 };
  for (int i = 0; i < 8; i++) out[i] = signed_value(scale * magnitudes[codes >> 2 * i & 3], signs, i);
}

/* Four values by codes of four bits; `signs` begins with theirs. */
static inline void decode_four (float scale, unsigned codes, unsigned signs, const float *magnitudes, float *out) {
  for (int i = 0; i < 4; i++) out[i] = signed_value(scale * magnitudes[codes >> 4 * i & 7], signs, i);
}

static void decode_iq2_xxs (const uint8_t *from, size_t count, float *out) {
  const iq2_xxs_block *b = (const void *)from;
  for (; count > 0; count--, b++) {
    const float d = load_half(b->d);
    for (int s = 0; s < 8; s++) {
      const uint32_t signs = load_u32(b->sub[s].signs);           /* four of seven bits, and the scale */
      const float scale = d * (0.5f + (float)(signs >> 28)) * 0.25f;
      for (int g = 0; g < 4; g++, out += 8) {
        const uint64_t magnitudes = iq2_xxs_grid[b->sub[s].grid[g]];
        for (int i = 0; i < 8; i++)
          out[i] = signed_value(scale * (float)(int)(magnitudes >> 8 * i & 255), iq_signs[signs >> 7 * g & 127], i);
      }
    }
  }
}

static void decode_iq2_xs (const uint8_t *from, size_t count, float *out) {
  const iq2_xs_block *b = (const void *)from;
  for (; count > 0; count--, b++) {
    const float d = load_half(b->d);
    for (int g = 0; g < 32; g++, out += 8) {
      const uint32_t q = load_u16(b->q + 2 * g);
      const float scale = d * (0.5f + (float)(b->scales[g / 4] >> g / 2 % 2 * 4 & 15)) * 0.25f;
      decode_eight(scale, iq2_xs_grid[q & 511], iq_signs[q >> 9], out);
    }
  }
}

static void decode_iq2_s (const uint8_t *from, size_t count, float *out) {
  const iq2_s_block *b = (const void *)from;
  for (; count > 0; count--, b++) {
    const float d = load_half(b->d);
    for (int g = 0; g < 32; g++, out += 8) {
      const uint32_t q = b->q[g] | (uint32_t)(b->high[g / 4] >> g % 4 * 2 & 3) << 8;
      const float scale = d * (0.5f + (float)(b->scales[g / 4] >> g / 2 % 2 * 4 & 15)) * 0.25f;
      decode_eight(scale, iq2_s_grid[q], b->signs[g], out);
    }
  }
}

static void decode_iq3_xxs (const uint8_t *from, size_t count, float *out) {
  static const float magnitudes[8] = { 4, 12, 20, 28, 36, 44, 52, 62 };
  const iq3_xxs_block *b = (const void *)from;
  for (; count > 0; count--, b++) {
    const float d = load_half(b->d);
    for (int g = 0; g < 64; g++, out += 4) {
      const uint32_t word = load_u32(b->signs[g / 8]);            /* as in IQ2_XXS */
      const float scale = d * (0.5f + (float)(word >> 28)) * 0.5f;
      const unsigned signs = iq_signs[word >> g / 2 % 4 * 7 & 127];
      decode_four(scale, iq3_xxs_grid[b->q[g]], signs >> g % 2 * 4, magnitudes, out);
    }
  }
}

static void decode_iq3_s (const uint8_t *from, size_t count, float *out) {
  static const float magnitudes[8] = { 1, 3, 5, 7, 9, 11, 13, 15 };
  const iq3_s_block *b = (const void *)from;
  for (; count > 0; count--, b++) {
    const float d = load_half(b->d);
    for (int g = 0; g < 64; g++, out += 4) {
      const uint32_t q = b->q[g] | (uint32_t)(b->high[g / 8] >> g % 8 & 1) << 8;
      const float scale = d * (float)(1 + 2 * (b->scales[g / 16] >> g / 8 % 2 * 4 & 15));
      decode_four(scale, iq3_s_grid[q], (unsigned)b->signs[g / 2] >> g % 2 * 4, magnitudes, out);
    }
  }
}

/* {== -1, 0, 1, all moved by an eighth ============================================================ */

static inline void decode_moved (float scale, float by, unsigned codes, float *out) {
  for (int i = 0; i < 8; i++) out[i] = scale * ((float)((int)(codes >> 2 * i & 3) - 1) + by);
}

static void decode_iq1_s (const uint8_t *from, size_t count, float *out) {
  const iq1_s_block *b = (const void *)from;
  for (; count > 0; count--, b++) {
    const float d = load_half(b->d);
    for (int g = 0; g < 32; g++, out += 8) {
      const uint32_t high = load_u16(b->high + g / 4 * 2);        /* 4 x 3 bits of numbers, scale, sign of the move */
      const uint32_t q = b->q[g] | (high >> g % 4 * 3 & 7) << 8;
      decode_moved(d * (float)(int)(2 * (high >> 12 & 7) + 1), high & 0x8000 ? -0.125f : 0.125f, iq1_grid[q], out);
    }
  }
}

static void decode_iq1_m (const uint8_t *from, size_t count, float *out) {
  const iq1_m_block *b = (const void *)from;
  for (; count > 0; count--, b++) {
    uint32_t d_bits = 0;                                          /* four bits on top of each word of scales */
    for (int i = 0; i < 4; i++) d_bits |= (load_u16(b->scales + 2 * i) >> 12) << 4 * i;
    const float d = f16_decode((uint16_t)d_bits);
    for (int g = 0; g < 32; g++, out += 8) {
      const uint32_t high = (uint32_t)b->high[g / 2] >> g % 2 * 4, q = b->q[g] | (high & 7) << 8;
      const uint32_t scale = load_u16(b->scales + g / 8 * 2) >> g / 2 % 4 * 3 & 7;
      decode_moved(d * (float)(int)(2 * scale + 1), high & 8 ? -0.125f : 0.125f, iq1_grid[q], out);
    }
  }
}

/* {== Sixteen values ============================================================================== */

static void decode_iq4_xs (const uint8_t *from, size_t count, float *out) {
  static const int8_t values[16] = { IQ4_VALUES };
  const iq4_xs_block *b = (const void *)from;
  for (; count > 0; count--, b++) {
    const float d = load_half(b->d);
    for (int s = 0; s < 8; s++, out += 32) {
      const uint32_t high = load_u16(b->scales_high) >> 2 * s & 3;
      const float scale = d * (float)((int)((uint32_t)(b->scales[s / 2] >> s % 2 * 4 & 15) | high << 4) - 32);
      for (int i = 0; i < 16; i++) {
        out[i] = scale * (float)values[b->q[16 * s + i] & 15];
        out[i + 16] = scale * (float)values[b->q[16 * s + i] >> 4];
      }
    }
  }
}

#endif
