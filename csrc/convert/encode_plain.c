/*
** Forms whose encoding is arithmetic, not a search (specs/formats.md 2.1, 5): floats, FP8 and FP4 with scales that
** are powers of two, Q8_0 as GGML's reference has it. What came from such a form is held exactly by it again.
*/
#include <float.h>
#include <math.h>
#include <string.h>

#include "../base/number.h"
#include "../compute/cpu/blocks.h"
#include "encode_forms.h"

enum { TILE = 128, FP4_BLOCK = 32 };

/* {== Floats ====================================================================================== */

void encode_f32 (const encoded_band *band, const float *values) {
  memcpy(band->data, values, band->rows * band->columns * sizeof *values);
}

void encode_bf16 (const encoded_band *band, const float *values) {
  for (size_t i = 0; i < band->rows * band->columns; i++) {
    const uint16_t code = bf16_encode(values[i]);
    memcpy(band->data + 2 * i, &code, sizeof code);
  }
}

void encode_f16 (const encoded_band *band, const float *values) {
  for (size_t i = 0; i < band->rows * band->columns; i++) {
    const uint16_t code = f16_encode(values[i]);
    memcpy(band->data + 2 * i, &code, sizeof code);
  }
}

static float largest_magnitude (const float *x, size_t count) {
  float largest = 0;
  for (size_t i = 0; i < count; i++) largest = fabsf(x[i]) > largest ? fabsf(x[i]) : largest;
  return largest;
}

/* {== FP8 ========================================================================================= */

/* 2^exponent; a power of two from 2^-127 to 2^127 is a float32, and so is what it divides by. */
static float power (int exponent) { return ldexpf(1.0f, exponent); }

static int clamp_exponent (int exponent) {
  return exponent < -127 ? -127 : exponent > 127 ? 127 : exponent;
}

/* The smallest exponent of a scale under which E4M3 reaches `largest`: 448 is 0.875 * 2^9. */
static int fp8_exponent (float largest) {
  int exponent;
  const float fraction = frexpf(largest, &exponent);
  return clamp_exponent(largest == 0 ? 0 : exponent - (fraction <= 0.875f ? 9 : 8));
}

/* One tile of rows x columns values, `stride` apart; returns the code of its scale. */
static uint8_t encode_tile (const float *x, size_t stride, size_t rows, size_t columns, uint8_t *codes) {
  float largest = 0;
  for (size_t r = 0; r < rows; r++) largest = fmaxf(largest, largest_magnitude(x + r * stride, columns));
  const int exponent = fp8_exponent(largest);
  const float factor = power(-exponent);
  for (size_t r = 0; r < rows; r++)
    for (size_t c = 0; c < columns; c++) codes[r * stride + c] = e4m3_encode(x[r * stride + c] * factor);
  return (uint8_t)(exponent + 127);
}

void encode_fp8 (const encoded_band *band, const float *values) {
  const size_t rows = band->rows, columns = band->columns;
  uint8_t *scale = band->scales;
  for (size_t r = 0; r < rows; r += TILE)
    for (size_t c = 0; c < columns; c += TILE)
      *scale++ = encode_tile(values + r * columns + c, columns, rows - r < TILE ? rows - r : TILE,
                             columns - c < TILE ? columns - c : TILE, band->data + r * columns + c);
}

/* {== FP4 and MXFP4 =============================================================================== */

/* Codes of a block under the scale 2^exponent, and their squared error in units of the scale. */
static double encode_block (const float *x, int exponent, uint8_t *codes) {
  const float factor = power(-exponent);
  double error = 0;
  for (int i = 0; i < FP4_BLOCK; i++) {
    const float scaled = x[i] * factor;
    codes[i] = e2m1_encode(scaled);
    const double off = (double)scaled - (double)e2m1_decode(codes[i]);
    error += off * off;
  }
  return error;
}

/*
** The scale is the power of two under which the largest magnitude lies in [4, 8), or its double where the squared
** error is then smaller: the largest is cut to 6 by the first. Blocks that came from E2M1 are exact under the first.
** Returns the code of the scale.
*/
static uint8_t encode_e2m1 (const float *x, uint8_t *codes) {
  uint8_t coarse[FP4_BLOCK];
  int exponent;
  const float largest = largest_magnitude(x, FP4_BLOCK);
  frexpf(largest, &exponent);
  exponent = clamp_exponent(largest == 0 ? 0 : exponent - 3);
  const double fine_error = encode_block(x, exponent, codes);
  if (fine_error > 4 * encode_block(x, exponent + 1, coarse)) {
    memcpy(codes, coarse, sizeof coarse);
    exponent++;
  }
  return (uint8_t)(exponent + 127);
}

void encode_fp4 (const encoded_band *band, const float *values) {
  uint8_t codes[FP4_BLOCK];
  for (size_t b = 0; b < band->rows * (band->columns / FP4_BLOCK); b++) {
    uint8_t *data = band->data + b * FP4_BLOCK / 2;
    band->scales[b] = encode_e2m1(values + b * FP4_BLOCK, codes);
    for (int i = 0; i < FP4_BLOCK / 2; i++) data[i] = (uint8_t)(codes[2 * i] | codes[2 * i + 1] << 4);
  }
}

void encode_mxfp4 (const encoded_band *band, const float *values) {
  uint8_t codes[FP4_BLOCK];
  mxfp4_block *block = (void *)band->data;
  for (size_t b = 0; b < band->rows * (band->columns / FP4_BLOCK); b++, block++) {
    block->scale = encode_e2m1(values + b * FP4_BLOCK, codes);
    for (int i = 0; i < FP4_BLOCK / 2; i++) block->q[i] = (uint8_t)(codes[i] | codes[i + FP4_BLOCK / 2] << 4);
  }
}

/* {== FP4 <-> MXFP4 =============================================================================== */

/* Adjacent values share a byte in FP4; in MXFP4 value i and value i + 16 do. */
static void fp4_to_mxfp4 (const uint8_t *data, uint8_t *q) {
  for (int i = 0; i < FP4_BLOCK / 2; i++) {
    const int low = data[i / 2] >> i % 2 * 4 & 15, high = data[i / 2 + 8] >> i % 2 * 4 & 15;
    q[i] = (uint8_t)(low | high << 4);
  }
}

static void mxfp4_to_fp4 (const uint8_t *q, uint8_t *data) {
  for (int i = 0; i < 8; i++) {
    data[i] = (uint8_t)((q[2 * i] & 15) | (q[2 * i + 1] & 15) << 4);
    data[i + 8] = (uint8_t)(q[2 * i] >> 4 | (q[2 * i + 1] & 0xF0));
  }
}

ms_status encode_repack (const encoded_band *band, const weight *from, ms_error *err) {
  const bool to_mxfp4 = band->encoding == WEIGHT_MXFP4;
  encoded_size size;
  if (from->encoding != (to_mxfp4 ? WEIGHT_FP4 : WEIGHT_MXFP4) || (!to_mxfp4 && band->encoding != WEIGHT_FP4) ||
      from->rows != band->rows || from->columns != band->columns)
    return fail(err, MS_EUNSUPPORTED, "tensor %s: only FP4 and MXFP4 of one shape hold the same codes", band->name);
  TRY(encode_size(band->encoding, band->name, band->rows, band->columns, &size, err));
  const size_t blocks = band->columns / FP4_BLOCK;
  for (size_t b = 0; b < band->rows * blocks; b++) {
    const uint8_t *block = from->data + b * sizeof(mxfp4_block);
    const uint8_t scale = to_mxfp4 ? from->scales[b] : block[0];
    if (scale == 255)
      return fail(err, MS_EUNSUPPORTED, "tensor %s has a scale code 255 at row %zu, column %zu, which is NaN in FP4 "
                  "and 2^128 in MXFP4: choose a wider type for it", band->name, band->first_row + b / blocks,
                  b % blocks * FP4_BLOCK);
    if (to_mxfp4) {
      mxfp4_block *out = (mxfp4_block *)(void *)band->data + b;
      out->scale = scale;
      fp4_to_mxfp4(from->data + b * FP4_BLOCK / 2, out->q);
    } else {
      band->scales[b] = scale;
      mxfp4_to_fp4(((const mxfp4_block *)(const void *)block)->q, band->data + b * FP4_BLOCK / 2);
    }
  }
  return MS_OK;
}

/* {== Q8_0 ======================================================================================== */

/* GGML's reference: codes by the float32 scale, which is stored as a half; halves away from zero. */
static void encode_q8_0_block (const float *x, q8_0_block *block) {
  const float scale = largest_magnitude(x, 32) / 127.0f;
  const float factor = scale < FLT_MIN ? 0 : 1.0f / scale;    /* below it is no half but 0, and 1 / scale infinite */
  const uint16_t half = f16_encode(scale);
  block->d[0] = (uint8_t)half;
  block->d[1] = (uint8_t)(half >> 8);
  for (int i = 0; i < 32; i++) block->q[i] = (int8_t)roundf(x[i] * factor);
}

void encode_q8_0 (const encoded_band *band, const float *values) {
  q8_0_block *block = (void *)band->data;
  for (size_t b = 0; b < band->rows * (band->columns / 32); b++) encode_q8_0_block(values + 32 * b, block + b);
}
