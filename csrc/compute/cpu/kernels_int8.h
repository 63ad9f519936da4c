/*
** Products of integer-coded blocks with a row of int8 activations, for one level: included by kernels_body.h (several
** rows are kernels_tile.h's). The order of a sum is that of kernels.h: lane 4 k + j holds output j of four at once and
** the blocks k, k + 4, k + 8 ..
** A level supplies byte_lanes (64 consecutive values, two blocks), int_lanes (sixteen int32) and the steps between:
**   dot      16 sums of four products: of half block h of the two those at 4 h ..
**   reduce   the dots of four outputs -> one sum a half block h and output j, at 4 h + j
**   fold     two of these -> one sum a block k and output j, at 4 k + j
*/
#ifndef compute_cpu_kernels_int8_h
#define compute_cpu_kernels_int8_h

#include "kernels_expand.h"

enum { OUTPUTS_INT8 = 4 };

/* What is made once of a superblock of four outputs; each type uses what it needs. Tables as turn_bytes gives them. */
typedef struct int8_prepared {
  lanes d, minus_m;                              /* of output j at 4 k + j */
  uint8_t scales[SUPERBLOCK_BLOCKS / 4 * 32];    /* sixteen a quad of blocks, or of half blocks */
  uint8_t mins[SUPERBLOCK_BLOCKS / 4 * 32];
  uint8_t values[OUTPUTS_INT8][SUPERBLOCK];      /* codes, signed or not */
  iq2_xxs_parts parts[OUTPUTS_INT8];
} int8_prepared;

typedef void prepare_superblock (const uint8_t *const *block, int8_prepared *out);
/* Values 64 p .. of output j, whose superblock begins at `block`; signed or not as the type says. */
typedef byte_lanes unpack_pair (const uint8_t *block, const int8_prepared *prepared, int j, size_t p);
/* Scale of block 4 quad + k of output j, at 4 k + j. */
typedef lanes quad_scales (const uint8_t *const *block, const int8_prepared *prepared, size_t quad);

/*
** Signed codes with a scale a block; unsigned codes with a min besides; the same with a scale and a min a half block;
** or signed codes with a scale a half block, which is signed.
*/
typedef enum int8_kind { KIND_SIGNED, KIND_MINS, KIND_HALF_MINS, KIND_HALVES } int8_kind;

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
  const q4_0_block *b = (const void *)block;
  (void)prepared;
  (void)j;
  return codes_signed(codes_lookup(q4_0_values, b[2 * p].q, b[2 * p + 1].q));
}

ALWAYS_INLINE lanes scales_q4_0 (const uint8_t *const *block, const int8_prepared *prepared, size_t quad) {
  (void)prepared;
  return first_halves(block, quad, sizeof(q4_0_block));
}

ALWAYS_INLINE byte_lanes unpack_iq4_nl (const uint8_t *block, const int8_prepared *prepared, int j, size_t p) {
  const iq4_nl_block *b = (const void *)block;
  (void)prepared;
  (void)j;
  return codes_signed(codes_lookup(iq4_nl_values, b[2 * p].q, b[2 * p + 1].q));
}

ALWAYS_INLINE byte_lanes unpack_mxfp4 (const uint8_t *block, const int8_prepared *prepared, int j, size_t p) {
  const mxfp4_block *b = (const void *)block;
  (void)prepared;
  (void)j;
  return codes_signed(codes_lookup(mxfp4_values, b[2 * p].q, b[2 * p + 1].q));
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
    iq2_xxs_begin((const void *)block[j], &out->parts[j], four_bits[j]);
    rows[j] = four_bits[j];
  }
  turn_bytes(rows, turned);
  memcpy(out->scales, turned, 2 * CPU_LANES);
  out->d = lanes_halves(block, offsetof(iq2_xxs_block, d));
}

ALWAYS_INLINE byte_lanes unpack_iq2_xxs (const uint8_t *block, const int8_prepared *prepared, int j, size_t p) {
  (void)block;
  return iq2_xxs_pair(&prepared->parts[j], p);
}

#ifndef LEVEL_DOTS_IQ2_XXS         /* a level may know a shorter way than by signed codes */
ALWAYS_INLINE int_lanes iq2_xxs_dot (const iq2_xxs_parts *parts, size_t p, byte_lanes x) {
  return dot_signed(dot_start(x), iq2_xxs_pair(parts, p), x);
}
#endif

ALWAYS_INLINE lanes scales_iq2_xxs (const uint8_t *const *block, const int8_prepared *prepared, size_t quad) {
  const lanes four_bits = sums_lanes(sums_bytes(prepared->scales + 16 * quad));
  (void)block;
  return lanes_mul(lanes_mul(lanes_add(four_bits, lanes_set(0.5f)), lanes_set(0.25f)), prepared->d);
}

static inline int8_t iq4_xs_scale (const iq4_xs_block *b, size_t s) {
  const uint32_t low = b->scales[s / 2] >> s % 2 * 4 & 15, high = load_u16(b->scales_high) >> 2 * s & 3;
  return (int8_t)((int)(low | high << 4) - 32);
}

ALWAYS_INLINE void prepare_iq4_xs (const uint8_t *const *block, int8_prepared *out) {
  for (size_t s = 0; s < SUPERBLOCK_BLOCKS; s++)
    for (size_t j = 0; j < OUTPUTS_INT8; j++)
      out->scales[OUTPUTS_INT8 * s + j] = (uint8_t)iq4_xs_scale((const void *)block[j], s);
  out->d = lanes_halves(block, offsetof(iq4_xs_block, d));
}

ALWAYS_INLINE byte_lanes unpack_iq4_xs (const uint8_t *block, const int8_prepared *prepared, int j, size_t p) {
  const uint8_t *q = block + offsetof(iq4_xs_block, q) + 32 * p;
  (void)prepared;
  (void)j;
  return codes_signed(codes_lookup(iq4_nl_values, q, q + 16));
}

ALWAYS_INLINE lanes scales_iq4_xs (const uint8_t *const *block, const int8_prepared *prepared, size_t quad) {
  (void)block;
  return lanes_mul(sums_lanes(sums_signed_bytes(prepared->scales + 16 * quad)), prepared->d);
}

ALWAYS_INLINE void prepare_q5_k (const uint8_t *const *block, int8_prepared *out) {
  prepare_q4_k(block, out);
  for (int j = 0; j < OUTPUTS_INT8; j++) expand_q5_k(block[j], out->values[j]);
}

ALWAYS_INLINE byte_lanes unpack_values (const uint8_t *block, const int8_prepared *prepared, int j, size_t p) {
  (void)block;
  return codes_load((const int8_t *)prepared->values[j] + 64 * p);
}

ALWAYS_INLINE byte_lanes unpack_signed_values (const uint8_t *block, const int8_prepared *prepared, int j, size_t p) {
  return codes_signed(unpack_values(block, prepared, j, p));
}

ALWAYS_INLINE void prepare_expanded (const uint8_t *const *block, int8_prepared *out, expand_superblock *expand) {
  int8_t scales[OUTPUTS_INT8][CPU_LANES];
  uint8_t turned[4 * CPU_LANES];
  const uint8_t *rows[OUTPUTS_INT8];
  float d[CPU_LANES];
  for (int j = 0; j < OUTPUTS_INT8; j++) {
    d[j] = d[4 + j] = d[8 + j] = d[12 + j] = expand(block[j], (int8_t *)out->values[j], scales[j]);
    rows[j] = (const uint8_t *)scales[j];
  }
  turn_bytes(rows, turned);
  memcpy(out->scales, turned, sizeof turned);
  out->d = lanes_load(d);
}

ALWAYS_INLINE lanes scales_expanded (const uint8_t *const *block, const int8_prepared *prepared, size_t quad) {
  (void)block;
  (void)quad;
  return prepared->d;
}

/* {== A superblock ================================================================================ */

/* Adds the superblock of four outputs, times the one that begins at x, to their sums. */
ALWAYS_INLINE lanes int8_add_superblock (const uint8_t *const *block, const cpu_int8_rows *x, lanes sum,
                                         prepare_superblock *prepare, unpack_pair *unpack, quad_scales *scales,
                                         const int8_kind kind) {
  const int is_signed = kind == KIND_SIGNED || kind == KIND_HALVES;
  int8_prepared prepared;
  prepare(block, &prepared);
  UNROLL for (size_t quad = 0; quad < SUPERBLOCK_BLOCKS / 4; quad++) {
    int_lanes products[2], excess[2];
    UNROLL for (size_t pair = 0; pair < 2; pair++) {
      const size_t p = 2 * quad + pair;
      const byte_lanes xi = codes_load(x->codes + 64 * p);
      const int_lanes start = is_signed ? dot_start(xi) : sums_zero();
      int_lanes dots[OUTPUTS_INT8];
      UNROLL for (int j = 0; j < OUTPUTS_INT8; j++) {
        const byte_lanes w = unpack(block[j], &prepared, j, p);
        if (unpack == unpack_iq2_xxs) dots[j] = iq2_xxs_dot(&prepared.parts[j], p, xi);
        else dots[j] = is_signed ? dot_signed(start, w, xi) : dot_plain(start, w, xi);
      }
      products[pair] = sums_reduce(dots[0], dots[1], dots[2], dots[3]);
      if (kind == KIND_HALVES) products[pair] = sums_mul(products[pair], sums_signed_bytes(prepared.scales + 16 * p));
      if (kind == KIND_HALF_MINS) {
        products[pair] = sums_mul(products[pair], sums_bytes(prepared.scales + 16 * p));
        excess[pair] = sums_mul(sums_bytes(prepared.mins + 16 * p), sums_of_halves(x->sums + 4 * p));
      }
    }
    const lanes by = scales(block, &prepared, quad), x_scale = lanes_quads(x->scales + 4 * quad);
    sum = lanes_fma(sums_lanes(sums_fold(products[0], products[1])), lanes_mul(by, x_scale), sum);
    if (is_signed) continue;
    const int_lanes least = kind == KIND_HALF_MINS ? sums_fold(excess[0], excess[1])
                                                   : sums_mul(sums_bytes(prepared.mins + 16 * quad),
                                                              sums_of_blocks(x->sums + 8 * quad));
    sum = lanes_fma(sums_lanes(least), lanes_mul(prepared.minus_m, x_scale), sum);
  }
  return sum;
}

/* {== A row ======================================================================================= */

enum { LARGEST_SUPERBLOCK = SUPERBLOCK_BLOCKS * sizeof(q8_0_block) };

/* Of a stored row, `bytes` a superblock; only types whose blocks are of 32 values end in a partial one. */
static inline size_t int8_row_bytes (size_t columns, size_t bytes) {
  return columns / SUPERBLOCK * bytes + columns % SUPERBLOCK / CPU_BLOCK * (bytes / SUPERBLOCK_BLOCKS);
}

/* Row `row` of x from `column` on. */
static inline cpu_int8_rows int8_rows_at (const cpu_int8_rows *x, size_t row, size_t column) {
  const size_t at = row * x->columns + column;
  return (cpu_int8_rows){ x->codes + at, x->scales + at / CPU_BLOCK, x->sums + at / CPU_HALF_BLOCK, x->columns };
}

enum { ROWS_TILE = 64 };               /* rows whose sums and activations stay in the caches beside a tile */

/* The last columns of up to ROWS_TILE rows as superblocks that end in zeros. */
typedef struct int8_last_rows {
  int8_t codes[ROWS_TILE][SUPERBLOCK];
  float scales[ROWS_TILE][SUPERBLOCK_BLOCKS];
  int16_t sums[ROWS_TILE][2 * SUPERBLOCK_BLOCKS];
} int8_last_rows;

static cpu_int8_rows pad_rows (const cpu_int8_rows *x, size_t rows, size_t columns, int8_last_rows *last) {
  for (size_t r = 0; r < rows; r++) {
    const cpu_int8_rows from = int8_rows_at(x, r, 0);
    memset(last->codes[r], 0, sizeof last->codes[r]);
    memset(last->scales[r], 0, sizeof last->scales[r]);
    memset(last->sums[r], 0, sizeof last->sums[r]);
    memcpy(last->codes[r], from.codes, columns);
    memcpy(last->scales[r], from.scales, columns / CPU_BLOCK * sizeof(float));
    memcpy(last->sums[r], from.sums, columns / CPU_HALF_BLOCK * sizeof(int16_t));
  }
  return (cpu_int8_rows){ last->codes[0], last->scales[0], last->sums[0], SUPERBLOCK };
}

/* Outputs row .. row + n (n <= 4) of one row of x; `bytes` a superblock of the weight. */
ALWAYS_INLINE void int8_four_outputs (const weight *w, size_t row, size_t n, const cpu_int8_rows *x, float *out,
                                      const size_t bytes, prepare_superblock *prepare, unpack_pair *unpack,
                                      quad_scales *scales, const int8_kind kind) {
  const size_t whole = w->columns / SUPERBLOCK, rest = w->columns % SUPERBLOCK;
  const size_t row_bytes = int8_row_bytes(w->columns, bytes);
  const uint8_t *block[OUTPUTS_INT8];
  float four[OUTPUTS_INT8];
  lanes sum = lanes_set(0.0f);
  UNROLL for (size_t j = 0; j < OUTPUTS_INT8; j++) block[j] = w->data + (row + (j < n ? j : n - 1)) * row_bytes;
  for (size_t s = 0; s < whole; s++) {
    const cpu_int8_rows xs = int8_rows_at(x, 0, s * SUPERBLOCK);
    UNROLL for (int j = 0; j < OUTPUTS_INT8; j++)
      for (size_t line = 0; line < bytes; line += 64) prefetch(block[j] + OUTPUTS_INT8 * row_bytes + line);
    sum = int8_add_superblock(block, &xs, sum, prepare, unpack, scales, kind);
    UNROLL for (int j = 0; j < OUTPUTS_INT8; j++) block[j] += bytes;
  }
  if (rest != 0) {
    uint8_t last[OUTPUTS_INT8][LARGEST_SUPERBLOCK] = { { 0 } };
    int8_last_rows last_rows;
    cpu_int8_rows xs = int8_rows_at(x, 0, whole * SUPERBLOCK);
    xs = pad_rows(&xs, 1, rest, &last_rows);
    UNROLL for (int j = 0; j < OUTPUTS_INT8; j++)
      block[j] = memcpy(last[j], block[j], int8_row_bytes(rest, bytes));
    sum = int8_add_superblock(block, &xs, sum, prepare, unpack, scales, kind);
  }
  lanes_join_quads(sum, four);
  memcpy(out, four, n * sizeof *four);
}

#endif
