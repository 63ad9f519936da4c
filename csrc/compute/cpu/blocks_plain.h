/*
** Decoders of the blocks of 32 values: out[i] for `count` blocks that lie one behind the other. Included by
** kernels_blocks.h for every level, so that the compiler may use its registers; the roundings are the same.
*/
#ifndef compute_cpu_blocks_plain_h
#define compute_cpu_blocks_plain_h

#include "blocks.h"

static inline uint32_t load_u16 (const uint8_t *bytes) { return bytes[0] | (uint32_t)bytes[1] << 8; }

static inline uint32_t load_u32 (const uint8_t *bytes) { return load_u16(bytes) | load_u16(bytes + 2) << 16; }

static inline float load_half (const uint8_t *bytes) { return f16_decode((uint16_t)load_u16(bytes)); }

/* Half of 2^(code - 127): GGML counts E2M1 doubled, and has no NaN among these scales. */
static inline float e8m0_half (uint8_t code) {
  return float_of_bits(code < 2 ? 0x00200000u << code : (uint32_t)(code - 1) << 23);
}

static void decode_q4_0 (const uint8_t *from, size_t count, float *out) {
  const q4_0_block *b = (const void *)from;
  for (; count > 0; count--, b++, out += 32) {
    const float d = load_half(b->d);
    for (int i = 0; i < 16; i++) {
      out[i] = d * (float)((b->q[i] & 15) - 8);
      out[i + 16] = d * (float)((b->q[i] >> 4) - 8);
    }
  }
}

static void decode_q4_1 (const uint8_t *from, size_t count, float *out) {
  const q4_1_block *b = (const void *)from;
  for (; count > 0; count--, b++, out += 32) {
    const float d = load_half(b->d), m = load_half(b->m);
    for (int i = 0; i < 16; i++) {
      out[i] = d * (float)(b->q[i] & 15) + m;
      out[i + 16] = d * (float)(b->q[i] >> 4) + m;
    }
  }
}

static void decode_q5_0 (const uint8_t *from, size_t count, float *out) {
  const q5_0_block *b = (const void *)from;
  for (; count > 0; count--, b++, out += 32) {
    const float d = load_half(b->d);
    const uint32_t high = load_u32(b->high);
    for (int i = 0; i < 16; i++) {
      out[i] = d * (float)((int)((b->q[i] & 15) | (high >> i & 1) << 4) - 16);
      out[i + 16] = d * (float)((int)(b->q[i] >> 4 | (high >> (i + 16) & 1) << 4) - 16);
    }
  }
}

static void decode_q5_1 (const uint8_t *from, size_t count, float *out) {
  const q5_1_block *b = (const void *)from;
  for (; count > 0; count--, b++, out += 32) {
    const float d = load_half(b->d), m = load_half(b->m);
    const uint32_t high = load_u32(b->high);
    for (int i = 0; i < 16; i++) {
      out[i] = d * (float)(int)((b->q[i] & 15) | (high >> i & 1) << 4) + m;
      out[i + 16] = d * (float)(int)(b->q[i] >> 4 | (high >> (i + 16) & 1) << 4) + m;
    }
  }
}

static void decode_q8_0 (const uint8_t *from, size_t count, float *out) {
  const q8_0_block *b = (const void *)from;
  for (; count > 0; count--, b++, out += 32) {
    const float d = load_half(b->d);
    for (int i = 0; i < 32; i++) out[i] = d * (float)b->q[i];
  }
}

static void decode_iq4_nl (const uint8_t *from, size_t count, float *out) {
  static const int8_t values[16] = { IQ4_VALUES };
  const iq4_nl_block *b = (const void *)from;
  for (; count > 0; count--, b++, out += 32) {
    const float d = load_half(b->d);
    for (int i = 0; i < 16; i++) {
      out[i] = d * (float)values[b->q[i] & 15];
      out[i + 16] = d * (float)values[b->q[i] >> 4];
    }
  }
}

static void decode_mxfp4 (const uint8_t *from, size_t count, float *out) {
  static const int8_t doubled[16] = { FP4_DOUBLED };
  const mxfp4_block *b = (const void *)from;
  for (; count > 0; count--, b++, out += 32) {
    const float d = e8m0_half(b->scale);
    for (int i = 0; i < 16; i++) {
      out[i] = d * (float)doubled[b->q[i] & 15];
      out[i + 16] = d * (float)doubled[b->q[i] >> 4];
    }
  }
}

#endif
