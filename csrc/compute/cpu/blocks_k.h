/*
** Decoders of the K types: blocks of 256 values in sub-blocks of 16 or 32 with scales of their own. Included as
** blocks_plain.h is. In each half of 128 values the codes of one byte are 32 values apart.
*/
#ifndef compute_cpu_blocks_k_h
#define compute_cpu_blocks_k_h

#include "blocks_plain.h"

static void decode_q2_k (const uint8_t *from, size_t count, float *out) {
  const q2_k_block *b = (const void *)from;
  for (; count > 0; count--, b++) {
    const float d = load_half(b->d), m = load_half(b->m);
    for (int s = 0; s < 16; s++, out += 16) {       /* half s / 8, bit pair s / 2 % 4, half of the bytes s % 2 */
      const uint8_t *q = b->q + s / 8 * 32 + s % 2 * 16;
      const float scale = d * (float)(b->scales[s] & 15), least = m * (float)(b->scales[s] >> 4);
      for (int i = 0; i < 16; i++) out[i] = scale * (float)(q[i] >> s / 2 % 4 * 2 & 3) - least;
    }
  }
}

/* Scale s of sixteen, six bits: four of bytes 0 .. 7, two of bytes 8 .. 11; 32 more than it means. */
static inline int q3_k_scale (const uint8_t *scales, int s) {
  return ((scales[s % 8] >> s / 8 * 4 & 15) | (scales[8 + s % 4] >> s / 4 * 2 & 3) << 4) - 32;
}

static void decode_q3_k (const uint8_t *from, size_t count, float *out) {
  const q3_k_block *b = (const void *)from;
  for (; count > 0; count--, b++) {
    const float d = load_half(b->d);
    for (int s = 0; s < 16; s++, out += 16) {
      const uint8_t *q = b->q + s / 8 * 32 + s % 2 * 16, *high = b->high + s % 2 * 16;
      const float scale = d * (float)q3_k_scale(b->scales, s);
      for (int i = 0; i < 16; i++)                  /* a clear bit takes four off */
        out[i] = scale * (float)((q[i] >> s / 2 % 4 * 2 & 3) + (high[i] >> s / 2 & 1) * 4 - 4);
    }
  }
}

/* Scale and min s of eight, six bits each: s < 4 in bytes s and s + 4, the others in three pieces. */
static inline int q4_k_scale (const uint8_t *scales, int s) {
  return s < 4 ? scales[s] & 63 : (scales[s + 4] & 15) | scales[s - 4] >> 6 << 4;
}

static inline int q4_k_min (const uint8_t *scales, int s) {
  return s < 4 ? scales[s + 4] & 63 : scales[s + 4] >> 4 | scales[s] >> 6 << 4;
}

static void decode_q4_k (const uint8_t *from, size_t count, float *out) {
  const q4_k_block *b = (const void *)from;
  for (; count > 0; count--, b++) {
    const float d = load_half(b->d), m = load_half(b->m);
    for (int s = 0; s < 8; s++, out += 32) {
      const uint8_t *q = b->q + s / 2 * 32;
      const float scale = d * (float)q4_k_scale(b->scales, s), least = m * (float)q4_k_min(b->scales, s);
      for (int i = 0; i < 32; i++) out[i] = scale * (float)(q[i] >> s % 2 * 4 & 15) - least;
    }
  }
}

static void decode_q5_k (const uint8_t *from, size_t count, float *out) {
  const q5_k_block *b = (const void *)from;
  for (; count > 0; count--, b++) {
    const float d = load_half(b->d), m = load_half(b->m);
    for (int s = 0; s < 8; s++, out += 32) {
      const uint8_t *q = b->q + s / 2 * 32;
      const float scale = d * (float)q4_k_scale(b->scales, s), least = m * (float)q4_k_min(b->scales, s);
      for (int i = 0; i < 32; i++)
        out[i] = scale * (float)((q[i] >> s % 2 * 4 & 15) | (b->high[i] >> s & 1) << 4) - least;
    }
  }
}

static void decode_q6_k (const uint8_t *from, size_t count, float *out) {
  const q6_k_block *b = (const void *)from;
  for (; count > 0; count--, b++) {
    const float d = load_half(b->d);
    for (int s = 0; s < 16; s++, out += 16) {       /* nibbles are 64 values apart, bit pairs 32 */
      const uint8_t *q = b->q + s / 8 * 64 + s % 4 * 16, *high = b->high + s / 8 * 32 + s % 2 * 16;
      const float scale = d * (float)b->scales[s];
      for (int i = 0; i < 16; i++)
        out[i] = scale * (float)(((q[i] >> s / 4 % 2 * 4 & 15) | (high[i] >> s / 2 % 4 * 2 & 3) << 4) - 32);
    }
  }
}

#endif
