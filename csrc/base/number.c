/* Scalar encoding and decoding of the small formats. */
#include "number.h"

#include <math.h>

float e4m3_decode (uint8_t code) {
  int exponent = code >> 3 & 15, mantissa = code & 7;
  if (exponent == 15 && mantissa == 7) return float_of_bits(0x7FC00000 | (uint32_t)(code >> 7) << 31);
  float magnitude = exponent == 0 ? ldexpf((float)mantissa, -9) : ldexpf((float)(8 + mantissa), exponent - 10);
  return code & 0x80 ? -magnitude : magnitude;
}

/*
** Rounds |value| to a format with `mantissa` stored bits, smallest normal exponent `lowest`, and returns its
** code without the sign. rintf rounds ties to even, and a tie between codes is a tie between steps.
*/
static uint8_t encode_magnitude (float magnitude, int lowest, int mantissa) {
  int exponent;
  if (magnitude == 0) return 0;          /* frexpf gives it exponent 0 */
  frexpf(magnitude, &exponent);
  exponent = exponent - 1 < lowest ? lowest : exponent - 1;
  int steps = (int)rintf(ldexpf(magnitude, mantissa - exponent));
  return (uint8_t)(((exponent - lowest) << mantissa) + steps);   /* a carry moves into the exponent field */
}

uint8_t e4m3_encode (float value) {
  float magnitude = fminf(fabsf(value), 448.0f);
  return (uint8_t)(encode_magnitude(magnitude, -6, 3) | (signbit(value) ? 0x80 : 0));
}

float e2m1_decode (uint8_t code) {
  static const float values[8] = { 0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f };
  return code & 8 ? -values[code & 7] : values[code & 7];
}

uint8_t e2m1_encode (float value) {
  float magnitude = fminf(fabsf(value), 6.0f);
  return (uint8_t)(encode_magnitude(magnitude, 0, 1) | (signbit(value) ? 8 : 0));
}

uint8_t power_scale (float largest, float limit) {
  uint32_t bits = bits_of_float(largest * (1.0f / limit));
  return (uint8_t)((bits >> 23 & 255) + ((bits & 0x7FFFFF) != 0));
}
