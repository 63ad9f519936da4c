/*
** Products of integer-coded blocks with int8 activations, for one level: included by kernels_body.h. The order of
** a sum is that of kernels.h: lane 4 k + j holds output j of four at once and the blocks k, k + 4, k + 8 ..
** A level supplies byte_lanes (64 consecutive values, two blocks), int_lanes (sixteen int32) and the steps between:
**   dot      16 sums of four products: of half block h of the two those at 4 h ..
**   reduce   the dots of four outputs -> one sum a half block h and output j, at 4 h + j
**   fold     two of these -> one sum a block k and output j, at 4 k + j
*/
#ifndef compute_cpu_kernels_int8_h
#define compute_cpu_kernels_int8_h

enum { SUPERBLOCK_BLOCKS = SUPERBLOCK / CPU_BLOCK, OUTPUTS_INT8 = 4 };

/* What is made once of a superblock of four outputs; each type uses what it needs. Tables as turn_bytes gives them. */
typedef struct int8_prepared {
  lanes d, minus_m;                              /* of output j at 4 k + j */
  uint8_t scales[SUPERBLOCK_BLOCKS / 4 * 32];    /* sixteen a quad of blocks, or of half blocks */
  uint8_t mins[SUPERBLOCK_BLOCKS / 4 * 32];
  uint8_t values[OUTPUTS_INT8][SUPERBLOCK];      /* signed codes */
} int8_prepared;

typedef void prepare_superblock (const uint8_t *const *block, int8_prepared *out);
/* Values 64 p .. of output j, whose superblock begins at `block`; signed or not as the type says. */
typedef byte_lanes unpack_pair (const uint8_t *block, const int8_prepared *prepared, int j, size_t p);
/* Scale of block 4 quad + k of output j, at 4 k + j. */
typedef lanes quad_scales (const uint8_t *const *block, const int8_prepared *prepared, size_t quad);

/* What a type subtracts: nothing, a min a block, or a min a half block; these halves have scales of their own, too. */
typedef enum min_kind { MIN_NONE, MIN_BLOCK, MIN_HALF } min_kind;

/* m rows of a superblock of activations. */
typedef struct int8_superblock {
  const int8_t *codes[ROWS_INT8];
  const float *scales[ROWS_INT8];        /* a block */
  const int16_t *sums[ROWS_INT8];        /* a half block */
} int8_superblock;

/* {== The types =================================================================================== */

ALWAYS_INLINE void prepare_nothing (const uint8_t *const *block, int8_prepared *out) {
  (void)block;
  (void)out;
}

ALWAYS_INLINE byte_lanes unpack_q8_0 (const uint8_t *block, const int8_prepared *prepared, int j, size_t p) {
  const q8_0_block *b = (const void *)block;
  (void)prepared;
  (void)j;
  return codes_signed(codes_two(b[2 * p].q, b[2 * p + 1].q));
}

/* The halves that begin the blocks of a quad, `bytes` long each. */
ALWAYS_INLINE lanes first_halves (const uint8_t *const *block, size_t quad, const size_t bytes) {
  uint8_t halves[2 * CPU_LANES];
  UNROLL for (int j = 0; j < OUTPUTS_INT8; j++)
    UNROLL for (size_t k = 0; k < 4; k++)
      memcpy(halves + 2 * (4 * k + (size_t)j), block[j] + (4 * quad + k) * bytes, 2);
  return lanes_f16(halves);
}

ALWAYS_INLINE lanes scales_q8_0 (const uint8_t *const *block, const int8_prepared *prepared, size_t quad) {
  (void)prepared;
  return first_halves(block, quad, sizeof(q8_0_block));
}

ALWAYS_INLINE byte_lanes unpack_q4_0 (const uint8_t *block, const int8_prepared *prepared, int j, size_t p) {
  static const int8_t values[16] = { -8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7 };
  const q4_0_block *b = (const void *)block;
  (void)prepared;
  (void)j;
  return codes_signed(codes_lookup(values, b[2 * p].q, b[2 * p + 1].q));
}

ALWAYS_INLINE lanes scales_q4_0 (const uint8_t *const *block, const int8_prepared *prepared, size_t quad) {
  (void)prepared;
  return first_halves(block, quad, sizeof(q4_0_block));
}

ALWAYS_INLINE byte_lanes unpack_iq4_nl (const uint8_t *block, const int8_prepared *prepared, int j, size_t p) {
  static const int8_t values[16] = { IQ4_VALUES };
  const iq4_nl_block *b = (const void *)block;
  (void)prepared;
  (void)j;
  return codes_signed(codes_lookup(values, b[2 * p].q, b[2 * p + 1].q));
}

ALWAYS_INLINE byte_lanes unpack_mxfp4 (const uint8_t *block, const int8_prepared *prepared, int j, size_t p) {
  static const int8_t values[16] = { FP4_DOUBLED };
  const mxfp4_block *b = (const void *)block;
  (void)prepared;
  (void)j;
  return codes_signed(codes_lookup(values, b[2 * p].q, b[2 * p + 1].q));
}

ALWAYS_INLINE lanes scales_mxfp4 (const uint8_t *const *block, const int8_prepared *prepared, size_t quad) {
  (void)prepared;
  return lanes_e8m0_half(block, 4 * quad * sizeof(mxfp4_block), sizeof(mxfp4_block));
}

/* Bytes d, m, then scales (specs/formats.md 5): the four bytes of a quad are turned before they are unpacked. */
ALWAYS_INLINE void prepare_q4_k (const uint8_t *const *block, int8_prepared *out) {
  uint8_t turned[4 * CPU_LANES];
  const uint8_t *a = turned + 16, *b = turned + 32, *c = turned + 48;
  turn_bytes(block, turned);
  for (int i = 0; i < 16; i++) {
    out->scales[i] = a[i] & 63;
    out->scales[16 + i] = (uint8_t)((c[i] & 15) | (a[i] >> 2 & 48));
    out->mins[i] = b[i] & 63;
    out->mins[16 + i] = (uint8_t)(c[i] >> 4 | (b[i] >> 2 & 48));
  }
  out->d = lanes_halves(block, offsetof(q4_k_block, d));
  out->minus_m = lanes_sub(lanes_set(0.0f), lanes_halves(block, offsetof(q4_k_block, m)));
}

ALWAYS_INLINE byte_lanes unpack_q4_k (const uint8_t *block, const int8_prepared *prepared, int j, size_t p) {
  (void)prepared;
  (void)j;
  return codes_nibbles(block + offsetof(q4_k_block, q) + 32 * p);
}

ALWAYS_INLINE lanes scales_q4_k (const uint8_t *const *block, const int8_prepared *prepared, size_t quad) {
  (void)block;
  return lanes_mul(sums_lanes(sums_bytes(prepared->scales + 16 * quad)), prepared->d);
}

ALWAYS_INLINE void prepare_q2_k (const uint8_t *const *block, int8_prepared *out) {
  uint8_t turned[4 * CPU_LANES];
  turn_bytes(block, turned);
  for (int i = 0; i < 4 * CPU_LANES; i++) {
    out->scales[i] = turned[i] & 15;
    out->mins[i] = turned[i] >> 4;
  }
  out->d = lanes_halves(block, offsetof(q2_k_block, d));
  out->minus_m = lanes_sub(lanes_set(0.0f), lanes_halves(block, offsetof(q2_k_block, m)));
}

ALWAYS_INLINE byte_lanes unpack_q2_k (const uint8_t *block, const int8_prepared *prepared, int j, size_t p) {
  (void)prepared;
  (void)j;
  return codes_two_bits(block + offsetof(q2_k_block, q) + 32 * (p / 2), p % 2 * 4);
}

ALWAYS_INLINE lanes scales_q2_k (const uint8_t *const *block, const int8_prepared *prepared, size_t quad) {
  (void)block;
  (void)quad;
  return prepared->d;
}

ALWAYS_INLINE void prepare_iq2_xxs (const uint8_t *const *block, int8_prepared *out) {
  uint8_t four_bits[OUTPUTS_INT8][CPU_LANES], turned[4 * CPU_LANES];
  const uint8_t *rows[OUTPUTS_INT8];
  UNROLL for (int j = 0; j < OUTPUTS_INT8; j++) {
    expand_iq2_xxs((const void *)block[j], out->values[j], four_bits[j]);
    rows[j] = four_bits[j];
  }
  turn_bytes(rows, turned);
  memcpy(out->scales, turned, 2 * CPU_LANES);
  out->d = lanes_halves(block, offsetof(iq2_xxs_block, d));
}

ALWAYS_INLINE byte_lanes unpack_iq2_xxs (const uint8_t *block, const int8_prepared *prepared, int j, size_t p) {
  (void)block;
  return codes_signed(codes_load((const int8_t *)prepared->values[j] + 64 * p));
}

ALWAYS_INLINE lanes scales_iq2_xxs (const uint8_t *const *block, const int8_prepared *prepared, size_t quad) {
  const lanes four_bits = sums_lanes(sums_bytes(prepared->scales + 16 * quad));
  (void)block;
  return lanes_mul(lanes_mul(lanes_add(four_bits, lanes_set(0.5f)), lanes_set(0.25f)), prepared->d);
}

/* {== A superblock ================================================================================ */

ALWAYS_INLINE void int8_add_superblock (const uint8_t *const *block, const int8_superblock *x, lanes *acc, const int m,
                                        prepare_superblock *prepare, unpack_pair *unpack, quad_scales *scales,
                                        const int is_signed, const min_kind mins) {
  int8_prepared prepared;
  prepare(block, &prepared);
  UNROLL for (size_t quad = 0; quad < SUPERBLOCK_BLOCKS / 4; quad++) {
    int_lanes products[ROWS_INT8][2], excess[ROWS_INT8][2];
    UNROLL for (size_t pair = 0; pair < 2; pair++) {
      const size_t p = 2 * quad + pair;
      byte_lanes w[OUTPUTS_INT8];
      UNROLL for (int j = 0; j < OUTPUTS_INT8; j++) w[j] = unpack(block[j], &prepared, j, p);
      UNROLL for (int r = 0; r < m; r++) {
        const byte_lanes xi = codes_load(x->codes[r] + 64 * p);
        const int_lanes start = is_signed ? dot_start(xi) : sums_zero();
        products[r][pair] = is_signed ? sums_reduce(dot_signed(start, w[0], xi), dot_signed(start, w[1], xi),
                                                    dot_signed(start, w[2], xi), dot_signed(start, w[3], xi))
                                      : sums_reduce(dot_plain(start, w[0], xi), dot_plain(start, w[1], xi),
                                                    dot_plain(start, w[2], xi), dot_plain(start, w[3], xi));
        if (mins == MIN_HALF) {
          products[r][pair] = sums_mul(products[r][pair], sums_bytes(prepared.scales + 16 * p));
          excess[r][pair] = sums_mul(sums_bytes(prepared.mins + 16 * p), sums_of_halves(x->sums[r] + 4 * p));
        }
      }
    }
    const lanes by = scales(block, &prepared, quad);
    UNROLL for (int r = 0; r < m; r++) {
      const lanes x_scale = lanes_quads(x->scales[r] + 4 * quad);
      acc[r] = lanes_fma(sums_lanes(sums_fold(products[r][0], products[r][1])), lanes_mul(by, x_scale), acc[r]);
      if (mins == MIN_NONE) continue;
      const int_lanes least = mins == MIN_HALF ? sums_fold(excess[r][0], excess[r][1])
                                          : sums_mul(sums_bytes(prepared.mins + 16 * quad),
                                                     sums_of_blocks(x->sums[r] + 8 * quad));
      acc[r] = lanes_fma(sums_lanes(least), lanes_mul(prepared.minus_m, x_scale), acc[r]);
    }
  }
}

/* {== Rows ======================================================================================== */

enum { LARGEST_SUPERBLOCK = SUPERBLOCK_BLOCKS * sizeof(q8_0_block) };

/* The last blocks of a row as a superblock that ends in zeros. */
typedef struct int8_last {
  uint8_t blocks[OUTPUTS_INT8][LARGEST_SUPERBLOCK];
  int8_t codes[ROWS_INT8][SUPERBLOCK];
  float scales[ROWS_INT8][SUPERBLOCK_BLOCKS];
  int16_t sums[ROWS_INT8][2 * SUPERBLOCK_BLOCKS];
} int8_last;

/* Four outputs of m rows of x from x_row on, `bytes` a superblock; block[j] begins output j, n of them are wanted. */
ALWAYS_INLINE void int8_four_outputs (const weight *w, size_t row, size_t n, const cpu_int8_rows *x, size_t x_row,
                                      const int m, float *out, size_t out_stride, const size_t bytes,
                                      prepare_superblock *prepare, unpack_pair *unpack, quad_scales *scales,
                                      const int is_signed, const min_kind mins) {
  const size_t columns = w->columns, whole = columns / SUPERBLOCK, rest = columns % SUPERBLOCK;
  const size_t rest_bytes = bytes / SUPERBLOCK_BLOCKS * (rest / CPU_BLOCK), row_bytes = whole * bytes + rest_bytes;
  const uint8_t *block[OUTPUTS_INT8];
  int8_superblock xs;
  lanes acc[ROWS_INT8];
  UNROLL for (size_t j = 0; j < OUTPUTS_INT8; j++) block[j] = w->data + (row + (j < n ? j : n - 1)) * row_bytes;
  UNROLL for (int r = 0; r < m; r++) {
    const size_t at = x_row + (size_t)r;
    xs.codes[r] = x->codes + at * x->columns;
    xs.scales[r] = x->scales + at * (x->columns / CPU_BLOCK);
    xs.sums[r] = x->sums + at * (x->columns / CPU_HALF_BLOCK);
    acc[r] = lanes_set(0.0f);
  }
  for (size_t s = 0; s < whole; s++) {
    UNROLL for (int j = 0; j < OUTPUTS_INT8; j++)
      for (size_t line = 0; line < bytes; line += 64) prefetch(block[j] + OUTPUTS_INT8 * row_bytes + line);
    int8_add_superblock(block, &xs, acc, m, prepare, unpack, scales, is_signed, mins);
    UNROLL for (int j = 0; j < OUTPUTS_INT8; j++) block[j] += bytes;
    UNROLL for (int r = 0; r < m; r++) {
      xs.codes[r] += SUPERBLOCK;
      xs.scales[r] += SUPERBLOCK_BLOCKS;
      xs.sums[r] += 2 * SUPERBLOCK_BLOCKS;
    }
  }
  if (rest != 0) {
    int8_last last;
    memset(&last, 0, sizeof last);
    UNROLL for (int j = 0; j < OUTPUTS_INT8; j++) block[j] = memcpy(last.blocks[j], block[j], rest_bytes);
    UNROLL for (int r = 0; r < m; r++) {
      xs.codes[r] = memcpy(last.codes[r], xs.codes[r], rest);
      xs.scales[r] = memcpy(last.scales[r], xs.scales[r], rest / CPU_BLOCK * sizeof(float));
      xs.sums[r] = memcpy(last.sums[r], xs.sums[r], rest / CPU_HALF_BLOCK * sizeof(int16_t));
    }
    int8_add_superblock(block, &xs, acc, m, prepare, unpack, scales, is_signed, mins);
  }
  UNROLL for (int r = 0; r < m; r++) {
    float four[OUTPUTS_INT8];
    lanes_join_quads(acc[r], four);
    memcpy(out + (size_t)r * out_stride, four, n * sizeof(float));
  }
}

/* One function a type: the template above with its pieces. */
#define PRODUCT_INT8(name, bytes, prepare, unpack, scales, is_signed, mins) \
  static void name (const weight *w, size_t row, size_t outputs, const cpu_int8_rows *x, size_t rows, float *out, \
                    size_t out_stride) { \
    for (size_t j = 0; j < outputs; j += OUTPUTS_INT8) { \
      const size_t n = outputs - j < OUTPUTS_INT8 ? outputs - j : OUTPUTS_INT8; \
      size_t r = 0; \
      for (; r + ROWS_INT8 <= rows; r += ROWS_INT8) \
        int8_four_outputs(w, row + j, n, x, r, ROWS_INT8, out + r * out_stride + j, out_stride, bytes, prepare, \
                          unpack, scales, is_signed, mins); \
      for (; r < rows; r++) \
        int8_four_outputs(w, row + j, n, x, r, 1, out + r * out_stride + j, out_stride, bytes, prepare, unpack, \
                          scales, is_signed, mins); \
    } \
  }

PRODUCT_INT8(product_q8_0, SUPERBLOCK_BLOCKS * sizeof(q8_0_block), prepare_nothing, unpack_q8_0, scales_q8_0, 1,
             MIN_NONE)
PRODUCT_INT8(product_mxfp4, SUPERBLOCK_BLOCKS * sizeof(mxfp4_block), prepare_nothing, unpack_mxfp4, scales_mxfp4, 1,
             MIN_NONE)
PRODUCT_INT8(product_q4_0, SUPERBLOCK_BLOCKS * sizeof(q4_0_block), prepare_nothing, unpack_q4_0, scales_q4_0, 1,
             MIN_NONE)
PRODUCT_INT8(product_iq4_nl, SUPERBLOCK_BLOCKS * sizeof(iq4_nl_block), prepare_nothing, unpack_iq4_nl, scales_q4_0, 1,
             MIN_NONE)
PRODUCT_INT8(product_q4_k, sizeof(q4_k_block), prepare_q4_k, unpack_q4_k, scales_q4_k, 0, MIN_BLOCK)
PRODUCT_INT8(product_q2_k, sizeof(q2_k_block), prepare_q2_k, unpack_q2_k, scales_q2_k, 0, MIN_HALF)
PRODUCT_INT8(product_iq2_xxs, sizeof(iq2_xxs_block), prepare_iq2_xxs, unpack_iq2_xxs, scales_iq2_xxs, 1, MIN_NONE)

#endif
