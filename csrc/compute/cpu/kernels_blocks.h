/*
** Products of weights in GGML's blocks with float32 rows, for one level: a tile of a few outputs is decoded and
** multiplied with all rows, in the order of kernels.h for matrices without scales. Included by kernels_body.h.
*/
#ifndef compute_cpu_kernels_blocks_h
#define compute_cpu_kernels_blocks_h

#include "blocks_iq.h"
#include "blocks_k.h"
#include "blocks_plain.h"

/* `count` blocks as float32. */
typedef void decode_blocks (const uint8_t *blocks, size_t count, float *out);

static decode_blocks *const block_decoders[WEIGHT_ENCODINGS] = {
  [WEIGHT_Q4_0] = decode_q4_0, [WEIGHT_Q4_1] = decode_q4_1, [WEIGHT_Q5_0] = decode_q5_0, [WEIGHT_Q5_1] = decode_q5_1,
  [WEIGHT_Q8_0] = decode_q8_0, [WEIGHT_Q2_K] = decode_q2_k, [WEIGHT_Q3_K] = decode_q3_k, [WEIGHT_Q4_K] = decode_q4_k,
  [WEIGHT_Q5_K] = decode_q5_k, [WEIGHT_Q6_K] = decode_q6_k, [WEIGHT_IQ1_S] = decode_iq1_s,
  [WEIGHT_IQ1_M] = decode_iq1_m, [WEIGHT_IQ2_XXS] = decode_iq2_xxs, [WEIGHT_IQ2_XS] = decode_iq2_xs,
  [WEIGHT_IQ2_S] = decode_iq2_s, [WEIGHT_IQ3_XXS] = decode_iq3_xxs, [WEIGHT_IQ3_S] = decode_iq3_s,
  [WEIGHT_IQ4_NL] = decode_iq4_nl, [WEIGHT_IQ4_XS] = decode_iq4_xs, [WEIGHT_MXFP4] = decode_mxfp4,
};

static void decode_blocked_row (const weight *w, size_t row, float *out) {
  const tensor_type_info *type = cpu_block_type(w->encoding);
  const size_t blocks = w->columns / type->block_values;
  block_decoders[w->encoding](w->data + row * blocks * type->block_bytes, blocks, out);
}

/* Outputs row .. row + n (n <= OUTPUTS_MANY) of up to ROWS_AT_ONCE rows; columns are whole blocks, so whole lanes. */
static void blocked_rows (const weight *w, const tensor_type_info *type, size_t row, size_t n, const float *x,
                          size_t x_stride, size_t rows, float *out, size_t out_stride) {
  const size_t row_bytes = w->columns / type->block_values * type->block_bytes;
  decode_blocks *decode = block_decoders[w->encoding];
  decoded_tile tile;
  row_sums sums[ROWS_AT_ONCE];
  for (size_t r = 0; r < rows; r++)
    for (size_t j = 0; j < OUTPUTS_MANY; j++) sums[r][j] = lanes_set(0.0f);

  for (size_t from = 0; from < w->columns; from += SUPERBLOCK) {
    tile.columns = w->columns - from < SUPERBLOCK ? w->columns - from : SUPERBLOCK;
    for (size_t j = 0; j < OUTPUTS_MANY; j++)          /* outputs that are missing repeat the last */
      decode(w->data + (row + (j < n ? j : n - 1)) * row_bytes + from / type->block_values * type->block_bytes,
             tile.columns / type->block_values, tile.values[j]);
    size_t r = 0;
    for (; r + ROWS_MANY <= rows; r += ROWS_MANY)
      multiply_tile(&tile, x + r * x_stride + from, x_stride, sums + r, ROWS_MANY, 0);
    for (; r < rows; r++) multiply_tile(&tile, x + r * x_stride + from, x_stride, sums + r, 1, 0);
  }
  for (size_t r = 0; r < rows; r++)
    for (size_t j = 0; j < n; j++) out[r * out_stride + j] = lanes_join(sums[r][j]);
}

static void product_blocked (const weight *w, size_t row, size_t outputs, const float *x, size_t x_stride,
                             size_t rows, float *out, size_t out_stride) {
  const tensor_type_info *type = cpu_block_type(w->encoding);
  for (size_t r = 0; r < rows; r += ROWS_AT_ONCE)
    for (size_t j = 0; j < outputs; j += OUTPUTS_MANY)
      blocked_rows(w, type, row + j, outputs - j < OUTPUTS_MANY ? outputs - j : OUTPUTS_MANY, x + r * x_stride,
                   x_stride, rows - r < ROWS_AT_ONCE ? rows - r : ROWS_AT_ONCE, out + r * out_stride + j, out_stride);
}

#endif
