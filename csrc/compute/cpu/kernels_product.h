/*
** Products of a stored matrix with rows of activations, for one level: included by kernels_<level>.c behind
** its sixteen lanes. The order of every sum is that of kernels.h, whichever path computes it:
** one row decodes weights straight into the multiply-add (memory bound); several rows decode a tile of
** a few outputs once and multiply it with all of them.
*/
#ifndef compute_cpu_kernels_product_h
#define compute_cpu_kernels_product_h

enum {
  TILE = 128,           /* columns decoded at a time; the FP8 tile */
  ROWS_AT_ONCE = 32     /* rows whose activations stay in the second-level cache beside the weights */
};

/* Sixteen weights from sixteen codes, and what a tile of them is multiplied with. */
typedef lanes decode_lanes (const uint8_t *codes);
typedef float tile_factor (const weight *w, size_t row, size_t tile, const uint8_t *codes);

/* FP8 lanes hold value / 256, as a half of the same bits has it. A NaN code makes its whole tile NaN. */
static inline float fp8_factor (const weight *w, size_t row, size_t tile, const uint8_t *codes) {
  if (any_e4m3_nan(codes)) return float_of_bits(0x7FC00000);
  return 256.0f * e8m0_decode(w->scales[row / w->scale_rows * blocks_of(w->columns, TILE) + tile]);
}

/* FP4 lanes hold doubled values. */
static inline float fp4_factor (const weight *w, size_t row, size_t tile, const uint8_t *codes) {
  (void)codes;
  return 0.5f * e8m0_decode(w->scales[row * (w->columns / CPU_BLOCK) + tile]);
}

/*
** A row is too short for the machine to guess what comes after it: codes are asked for one group of outputs
** ahead. Asking past the end of a mapping does nothing.
*/
static inline void prefetch (const uint8_t *codes) {
  __builtin_prefetch(codes, 0, 3);
}

/* {== One row ==================================================================================== */

/* Outputs row .. row + n of a matrix without scales; `bytes` hold sixteen values. */
ALWAYS_INLINE void one_row_flat (const weight *w, size_t row, const float *x, float *out, const int n,
                                 decode_lanes *decode, const size_t bytes) {
  const size_t whole = w->columns / CPU_LANES, rest = w->columns % CPU_LANES;
  const size_t row_bytes = w->columns * bytes / CPU_LANES;
  const uint8_t *codes = w->data + row * row_bytes;
  lanes sum[OUTPUTS_ONE];

  UNROLL for (int j = 0; j < n; j++) sum[j] = lanes_set(0.0f);
  for (size_t i = 0; i < whole; i++) {
    const lanes xi = lanes_load(x + i * CPU_LANES);
    UNROLL for (int j = 0; j < n; j++) {
      const uint8_t *here = codes + (size_t)j * row_bytes + i * bytes;
      prefetch(here + (size_t)n * row_bytes);
      sum[j] = lanes_fma(decode(here), xi, sum[j]);
    }
  }
  if (rest != 0) {
    float x_rest[CPU_LANES] = { 0 };
    memcpy(x_rest, x + whole * CPU_LANES, rest * sizeof(float));
    UNROLL for (int j = 0; j < n; j++) {
      uint8_t last[CPU_LANES * sizeof(float)] = { 0 };
      memcpy(last, codes + (size_t)j * row_bytes + whole * bytes, rest * bytes / CPU_LANES);
      sum[j] = lanes_fma(decode(last), lanes_load(x_rest), sum[j]);
    }
  }
  UNROLL for (int j = 0; j < n; j++) out[j] = lanes_join(sum[j]);
}

/* One tile of n outputs: `stride` bytes from one output's codes to the next, `tile` columns of x. */
ALWAYS_INLINE void one_row_tile (const uint8_t *codes, size_t stride, const float *factor, const float *x,
                                 lanes *sum, const int n, decode_lanes *decode, const size_t bytes,
                                 const size_t tile) {
  lanes part[OUTPUTS_ONE];
  UNROLL for (int j = 0; j < n; j++) part[j] = lanes_set(0.0f);
  UNROLL for (size_t i = 0; i < tile / CPU_LANES; i++) {
    const lanes xi = lanes_load(x + i * CPU_LANES);
    UNROLL for (int j = 0; j < n; j++)
      part[j] = lanes_fma(decode(codes + (size_t)j * stride + i * bytes), xi, part[j]);
  }
  UNROLL for (int j = 0; j < n; j++) sum[j] = lanes_fma(part[j], lanes_set(factor[j]), sum[j]);
}

ALWAYS_INLINE void one_row_tiled (const weight *w, size_t row, const float *x, float *out, const int n,
                                  decode_lanes *decode, const size_t bytes, const size_t tile,
                                  tile_factor *factor_of) {
  const size_t whole = w->columns / tile, rest = w->columns % tile;
  const size_t row_bytes = w->columns * bytes / CPU_LANES, tile_bytes = tile * bytes / CPU_LANES;
  const uint8_t *codes = w->data + row * row_bytes;
  lanes sum[OUTPUTS_ONE];
  float factor[OUTPUTS_ONE];

  UNROLL for (int j = 0; j < n; j++) sum[j] = lanes_set(0.0f);
  for (size_t t = 0; t < whole; t++) {
    const uint8_t *here = codes + t * tile_bytes;
    UNROLL for (int j = 0; j < n; j++) {
      for (size_t line = 0; line < tile_bytes; line += 64) prefetch(here + (size_t)(n + j) * row_bytes + line);
      factor[j] = factor_of(w, row + (size_t)j, t, here + (size_t)j * row_bytes);
    }
    one_row_tile(here, row_bytes, factor, x + t * tile, sum, n, decode, bytes, tile);
  }
  if (rest != 0) {      /* a partial tile is a whole one that ends in zeros */
    float x_rest[TILE] = { 0 };
    uint8_t last[OUTPUTS_ONE * TILE] = { 0 };
    memcpy(x_rest, x + whole * tile, rest * sizeof(float));
    UNROLL for (int j = 0; j < n; j++) {
      memcpy(last + (size_t)j * tile_bytes, codes + (size_t)j * row_bytes + whole * tile_bytes,
             rest * bytes / CPU_LANES);
      factor[j] = factor_of(w, row + (size_t)j, whole, last + (size_t)j * tile_bytes);
    }
    one_row_tile(last, tile_bytes, factor, x_rest, sum, n, decode, bytes, tile);
  }
  UNROLL for (int j = 0; j < n; j++) out[j] = lanes_join(sum[j]);
}

/* {== Several rows =============================================================================== */

/* Up to SUPERBLOCK columns of OUTPUTS_MANY outputs as float32, and the factors of the (smaller) tiles among them. */
typedef struct decoded_tile {
  float values[OUTPUTS_MANY][SUPERBLOCK];
  float factors[TILE / CPU_BLOCK][OUTPUTS_MANY];
  size_t columns;                              /* rounded up to what the sums take: zeros behind the last */
} decoded_tile;

/* The same number of rows' lanes as they stand between two tiles. */
typedef lanes row_sums[OUTPUTS_MANY];

/* Columns `from` .. from + TILE of outputs row .. row + n; those missing repeat the last. tile 0: no scales. */
ALWAYS_INLINE void decode_tile (const weight *w, size_t row, size_t n, size_t from, decoded_tile *out,
                                decode_lanes *decode, const size_t bytes, const size_t tile,
                                tile_factor *factor_of) {
  const size_t row_bytes = w->columns * bytes / CPU_LANES, step = tile == 0 ? CPU_LANES : tile;
  const size_t count = w->columns - from < TILE ? w->columns - from : TILE;
  out->columns = blocks_of(count, step) * step;
  for (size_t j = 0; j < OUTPUTS_MANY; j++) {
    const size_t from_row = row + (j < n ? j : n - 1);
    const uint8_t *codes = w->data + from_row * row_bytes + from * bytes / CPU_LANES;
    uint8_t last[TILE * sizeof(float)] = { 0 };
    if (count < TILE) codes = memcpy(last, codes, count * bytes / CPU_LANES);
    for (size_t i = 0; i < out->columns; i += CPU_LANES)
      lanes_store(&out->values[j][i], decode(codes + i / CPU_LANES * bytes));
    if (tile != 0)
      for (size_t i = 0; i < out->columns; i += tile)
        out->factors[i / tile][j] = factor_of(w, from_row, (from + i) / tile, codes + i / CPU_LANES * bytes);
  }
}

/* Adds a tile's products to the sums of n rows of x. */
ALWAYS_INLINE void multiply_tile (const decoded_tile *w, const float *x, size_t x_stride, row_sums *sums,
                                  const int n, const size_t tile) {
  const size_t step = tile == 0 ? w->columns : tile;
  for (size_t from = 0; from < w->columns; from += step) {
    lanes part[ROWS_MANY][OUTPUTS_MANY];
    UNROLL for (int r = 0; r < n; r++)
      UNROLL for (int j = 0; j < OUTPUTS_MANY; j++) part[r][j] = tile == 0 ? sums[r][j] : lanes_set(0.0f);
    for (size_t i = from; i < from + step; i += CPU_LANES) {
      lanes wi[OUTPUTS_MANY];
      UNROLL for (int j = 0; j < OUTPUTS_MANY; j++) wi[j] = lanes_load(&w->values[j][i]);
      UNROLL for (int r = 0; r < n; r++) {
        const lanes xi = lanes_load(x + (size_t)r * x_stride + i);
        UNROLL for (int j = 0; j < OUTPUTS_MANY; j++) part[r][j] = lanes_fma(wi[j], xi, part[r][j]);
      }
    }
    UNROLL for (int r = 0; r < n; r++)
      UNROLL for (int j = 0; j < OUTPUTS_MANY; j++)
        sums[r][j] = tile == 0 ? part[r][j]
                               : lanes_fma(part[r][j], lanes_set(w->factors[from / step][j]), sums[r][j]);
  }
}

/* Outputs row .. row + n (n <= OUTPUTS_MANY) of up to ROWS_AT_ONCE rows. */
ALWAYS_INLINE void several_rows (const weight *w, size_t row, size_t n, const float *x, size_t x_stride,
                                 size_t rows, float *out, size_t out_stride, decode_lanes *decode,
                                 const size_t bytes, const size_t tile, tile_factor *factor_of) {
  decoded_tile decoded;
  row_sums sums[ROWS_AT_ONCE];
  for (size_t r = 0; r < rows; r++)
    for (size_t j = 0; j < OUTPUTS_MANY; j++) sums[r][j] = lanes_set(0.0f);

  for (size_t from = 0; from < w->columns; from += TILE) {
    decode_tile(w, row, n, from, &decoded, decode, bytes, tile, factor_of);
    const float *x_tile = x + from;
    size_t stride = x_stride;
    float last[ROWS_AT_ONCE * TILE];
    if (w->columns - from < decoded.columns) {
      const size_t count = w->columns - from;
      for (size_t r = 0; r < rows; r++) {
        memcpy(last + r * TILE, x + r * x_stride + from, count * sizeof(float));
        memset(last + r * TILE + count, 0, (TILE - count) * sizeof(float));
      }
      x_tile = last;
      stride = TILE;
    }
    size_t r = 0;
    for (; r + ROWS_MANY <= rows; r += ROWS_MANY)
      multiply_tile(&decoded, x_tile + r * stride, stride, sums + r, ROWS_MANY, tile);
    for (; r < rows; r++) multiply_tile(&decoded, x_tile + r * stride, stride, sums + r, 1, tile);
  }
  for (size_t r = 0; r < rows; r++)
    for (size_t j = 0; j < n; j++) out[r * out_stride + j] = lanes_join(sums[r][j]);
}

/* {== One entry an encoding ====================================================================== */

ALWAYS_INLINE void product (const weight *w, size_t row, size_t outputs, const float *x, size_t x_stride,
                            size_t rows, float *out, size_t out_stride, decode_lanes *decode,
                            const size_t bytes, const size_t tile, tile_factor *factor_of) {
  size_t j = 0;
  if (rows == 1) {
    if (tile == 0) {
      for (; j + OUTPUTS_ONE <= outputs; j += OUTPUTS_ONE)
        one_row_flat(w, row + j, x, out + j, OUTPUTS_ONE, decode, bytes);
      for (; j < outputs; j++) one_row_flat(w, row + j, x, out + j, 1, decode, bytes);
    } else {
      for (; j + OUTPUTS_ONE <= outputs; j += OUTPUTS_ONE)
        one_row_tiled(w, row + j, x, out + j, OUTPUTS_ONE, decode, bytes, tile, factor_of);
      for (; j < outputs; j++) one_row_tiled(w, row + j, x, out + j, 1, decode, bytes, tile, factor_of);
    }
    return;
  }
  for (size_t r = 0; r < rows; r += ROWS_AT_ONCE) {
    const size_t some = rows - r < ROWS_AT_ONCE ? rows - r : ROWS_AT_ONCE;
    for (j = 0; j < outputs; j += OUTPUTS_MANY)
      several_rows(w, row + j, outputs - j < OUTPUTS_MANY ? outputs - j : OUTPUTS_MANY, x + r * x_stride,
                   x_stride, some, out + r * out_stride + j, out_stride, decode, bytes, tile, factor_of);
  }
}

static void product_f32 (const weight *w, size_t row, size_t outputs, const float *x, size_t x_stride,
                         size_t rows, float *out, size_t out_stride) {
  product(w, row, outputs, x, x_stride, rows, out, out_stride, lanes_f32, 64, 0, NULL);
}

static void product_bf16 (const weight *w, size_t row, size_t outputs, const float *x, size_t x_stride,
                          size_t rows, float *out, size_t out_stride) {
  product(w, row, outputs, x, x_stride, rows, out, out_stride, lanes_bf16, 32, 0, NULL);
}

static void product_f16 (const weight *w, size_t row, size_t outputs, const float *x, size_t x_stride,
                         size_t rows, float *out, size_t out_stride) {
  product(w, row, outputs, x, x_stride, rows, out, out_stride, lanes_f16, 32, 0, NULL);
}

static void product_fp8 (const weight *w, size_t row, size_t outputs, const float *x, size_t x_stride,
                         size_t rows, float *out, size_t out_stride) {
  product(w, row, outputs, x, x_stride, rows, out, out_stride, lanes_e4m3, 16, TILE, fp8_factor);
}

static void product_fp4 (const weight *w, size_t row, size_t outputs, const float *x, size_t x_stride,
                         size_t rows, float *out, size_t out_stride) {
  product(w, row, outputs, x, x_stride, rows, out, out_stride, lanes_e2m1, 8, CPU_BLOCK, fp4_factor);
}

/* {== FP4 times int8 ============================================================================= */

enum { BLOCKS_AT_ONCE = 16, QUAD = 4 };   /* blocks whose scales are made together; that fill the lanes */

/*
** The unsigned operand holds weight + 12 (0 .. 24), so that one kind of multiply serves all levels; what
** that adds, 12 times the activations, is taken off again and is shared by all outputs.
** Blocks from .. from + count (at most BLOCKS_AT_ONCE) of n outputs and m rows; whole blocks only.
*/
ALWAYS_INLINE void int8_blocks (const weight *w, size_t row, size_t from, size_t count,
                                const cpu_int8_rows *x, size_t x_row, const int n, const int m,
                                lanes sums[][OUTPUTS_ONE]) {
  const size_t blocks = w->columns / CPU_BLOCK;
  float factors[ROWS_INT8][OUTPUTS_ONE][BLOCKS_AT_ONCE];

  UNROLL for (int j = 0; j < n; j++) {
    uint8_t codes[BLOCKS_AT_ONCE] = { 0 };
    memcpy(codes, w->scales + (row + (size_t)j) * blocks + from, count);
    const lanes w_scale = lanes_mul(lanes_e8m0(codes), lanes_set(0.5f));
    UNROLL for (int r = 0; r < m; r++) {
      float x_scale[BLOCKS_AT_ONCE] = { 0 };
      memcpy(x_scale, x->scales + (x_row + (size_t)r) * (x->columns / CPU_BLOCK) + from, count * sizeof(float));
      lanes_store(factors[r][j], lanes_mul(w_scale, lanes_load(x_scale)));
    }
  }
  for (size_t b = 0; b < count; b += QUAD) {
    const size_t some = count - b < QUAD ? count - b : QUAD, values = (from + b) * CPU_BLOCK;
    int8_quad xi[ROWS_INT8];
    four_sums excess[ROWS_INT8];
    UNROLL for (int r = 0; r < m; r++) {
      const int8_t *codes = x->codes + (x_row + (size_t)r) * x->columns + values;
      int8_t last[QUAD * CPU_BLOCK] = { 0 };
      xi[r] = int8_load_quad(some == QUAD ? codes : memcpy(last, codes, some * CPU_BLOCK));
      excess[r] = int8_excess(xi[r]);
    }
    UNROLL for (int j = 0; j < n; j++) {
      const uint8_t *codes = w->data + ((row + (size_t)j) * w->columns + values) / 2;
      uint8_t last[QUAD * CPU_BLOCK / 2] = { 0 };
      prefetch(codes + (size_t)n * w->columns / 2);
      const fp4_quad wi = fp4_load_quad(some == QUAD ? codes : memcpy(last, codes, some * CPU_BLOCK / 2));
      UNROLL for (int r = 0; r < m; r++)
        sums[r][j] = lanes_fma(int8_dot(wi, xi[r], excess[r]), lanes_quads(&factors[r][j][b]), sums[r][j]);
    }
  }
}

ALWAYS_INLINE void int8_outputs (const weight *w, size_t row, const cpu_int8_rows *x, size_t x_row,
                                 const int n, const int m, float *out, size_t out_stride) {
  const size_t blocks = w->columns / CPU_BLOCK;
  lanes sums[ROWS_INT8][OUTPUTS_ONE];
  UNROLL for (int r = 0; r < m; r++)
    UNROLL for (int j = 0; j < n; j++) sums[r][j] = lanes_set(0.0f);
  for (size_t from = 0; from < blocks; from += BLOCKS_AT_ONCE) {
    if (blocks - from >= BLOCKS_AT_ONCE) int8_blocks(w, row, from, BLOCKS_AT_ONCE, x, x_row, n, m, sums);
    else int8_blocks(w, row, from, blocks - from, x, x_row, n, m, sums);
  }
  UNROLL for (int r = 0; r < m; r++)
    UNROLL for (int j = 0; j < n; j++) out[(size_t)r * out_stride + (size_t)j] = lanes_join(sums[r][j]);
}

static void product_fp4_int8 (const weight *w, size_t row, size_t outputs, const cpu_int8_rows *x, size_t rows,
                              float *out, size_t out_stride) {
  size_t j = 0;
  for (; j + OUTPUTS_ONE <= outputs; j += OUTPUTS_ONE) {
    size_t r = 0;
    for (; r + ROWS_INT8 <= rows; r += ROWS_INT8)
      int8_outputs(w, row + j, x, r, OUTPUTS_ONE, ROWS_INT8, out + r * out_stride + j, out_stride);
    for (; r < rows; r++)
      int8_outputs(w, row + j, x, r, OUTPUTS_ONE, 1, out + r * out_stride + j, out_stride);
  }
  for (; j < outputs; j++)
    for (size_t r = 0; r < rows; r++)
      int8_outputs(w, row + j, x, r, 1, 1, out + r * out_stride + j, out_stride);
}

#endif
