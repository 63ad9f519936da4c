/*
** Number formats, one value at a time: bfloat16, FP8 E4M3FN, FP4 E2M1 and power-of-two scales E8M0
** (specs/formats.md 2.1), and the rounding rules of the published numerics (specs/architecture.md 2.0).
** This is the definition; kernels that decode many values at once are compared with it.
*/
#ifndef base_number_h
#define base_number_h

#include <stdint.h>
#include <string.h>

static inline float float_of_bits (uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static inline uint32_t bits_of_float (float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

static inline float bf16_decode (uint16_t code) {
  return float_of_bits((uint32_t)code << 16);
}

/* Nearest, ties to even. NaN stays NaN. */
static inline uint16_t bf16_encode (float value) {
  uint32_t bits = bits_of_float(value);
  if ((bits & 0x7FFFFFFF) > 0x7F800000) return (uint16_t)(bits >> 16 | 0x40);
  return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

static inline float bf16_round (float value) {
  return bf16_decode(bf16_encode(value));
}

/* 2^(code - 127); code 255 is NaN. Code 0 is a float32 denormal. */
static inline float e8m0_decode (uint8_t code) {
  if (code == 255) return float_of_bits(0x7FC00000);
  return code == 0 ? float_of_bits(0x00400000) : float_of_bits((uint32_t)code << 23);
}

/* IEEE half: as a float32 its bits stand for 2^-112 of the value, denormals included. */
static inline float f16_decode (uint16_t code) {
  const uint32_t sign = (code & 0x8000u) << 16, magnitude = (code & 0x7FFFu) << 13;
  if (magnitude >= 0x7C00u << 13) return float_of_bits(sign | 0x7F800000 | magnitude);
  return float_of_bits(sign | bits_of_float(0x1p112f * float_of_bits(magnitude)));
}

/* Nearest, ties to even; what rounds beyond 65504 is infinite. NaN stays NaN. */
static inline uint16_t f16_encode (float value) {
  const uint32_t bits = bits_of_float(value), magnitude = bits & 0x7FFFFFFF, sign = bits >> 16 & 0x8000;
  if (magnitude > 0x7F800000) return (uint16_t)(sign | 0x7E00);
  if (magnitude >= 0x477FF000) return (uint16_t)(sign | 0x7C00);
  if (magnitude < 0x38800000)                /* below 2^-14: steps of 2^-24, rounded where a step is a bit */
    return (uint16_t)(sign | (bits_of_float(0x1p24f * float_of_bits(magnitude) + 0x1p23f) & 0x7FF));
  return (uint16_t)(sign | (magnitude - 0x38000000 + 0xFFF + (magnitude >> 13 & 1)) >> 13);
}

float e4m3_decode (uint8_t code);      /* codes 0x7F and 0xFF are NaN */
uint8_t e4m3_encode (float value);     /* clamped to +-448, nearest, ties to even */
float e2m1_decode (uint8_t code);      /* the low four bits */
uint8_t e2m1_encode (float value);     /* clamped to +-6, nearest, ties to even code */

/*
** The scale of a block whose largest magnitude is `largest`, for a format whose largest value is `limit`:
** 2^ceil(log2(largest * (1 / limit))), read from the bits of the float32 product as the published kernel
** does. Returned as an E8M0 code.
*/
uint8_t power_scale (float largest, float limit);

#endif
