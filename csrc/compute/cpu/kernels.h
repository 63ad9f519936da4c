/*
** Inner loops of the CPU backend, one table an instruction set. kernels_scalar.c is the definition; the
** others give the same bits (spec/compute/cpu/kernels_spec.lua compares all that the machine can run).
**
** Order of a sum, the same at every level: value i belongs to lane i mod 16, a lane adds its values in
** ascending order by fused multiply-add, and the lanes are joined by the tree
**   (l + l+8) for l < 8, then (l + l+4) for l < 4, (l + l+2) for l < 2, (0 + 1).
** Values past the end count as zero. Pointers need no alignment; arrays do not overlap unless said.
*/
#ifndef compute_cpu_kernels_h
#define compute_cpu_kernels_h

#include <stdint.h>

#include "../backend.h"

enum { CPU_LANES = 16, CPU_BLOCK = 32, CPU_HALF_BLOCK = 16 };   /* CPU_BLOCK: values that share an int8 or FP4 scale */

/*
** Activations as int8 in blocks of 32: value = code * scale of its block. For integer-coded weights, some of which
** take the sums of codes, one a half block, besides. `columns` lie between two rows: whole blocks, and at least as many
** as the weight has.
*/
typedef struct cpu_int8_rows {
  const int8_t *codes; const float *scales; const int16_t *sums; size_t columns;
} cpu_int8_rows;

/*
** Query heads of the indexer, `width` values each: doubled E2M1 codes, and for every block of 32 half its
** scale and the sum of its codes.
*/
typedef struct cpu_index_queries {
  const int8_t *codes; const float *scales; const int32_t *sums; size_t width;
} cpu_index_queries;

/* Units of attention's products: a float32, or two bf16 of which the first lies in the low half. */
typedef enum unit_kind { UNIT_FLOAT, UNIT_PAIR, UNIT_KINDS } unit_kind;

/* Units r * row + s * step of `data`. */
typedef struct cpu_units { const uint32_t *data; size_t row, step; } cpu_units;

/* For every head: the largest score so far, the sum of exp(score - largest), and what a step scales older sums by. */
typedef struct cpu_softmax { float *largest, *sum, *rescale; } cpu_softmax;

enum { CPU_TILE_OUTPUTS = 32 };      /* outputs that a product with several int8 rows unpacks at once, at most */
enum { CPU_INT8_BLOCK_BYTES = CPU_BLOCK + sizeof(float) + 2 * sizeof(int16_t) };   /* of a block's codes, scale, sums */

typedef struct cpu_kernels {
  const char *name;                        /* "scalar", "avx2", "avxvnni", "avx512", "avx512vbmi", "neon", .. */

  /*
  ** out[r * out_stride + j] = sum over i of w[row + j, i] * x[r * x_stride + i], for r < rows and
  ** j < outputs. FP8 and FP4 scales are powers of two: lanes restart at every tile of 128 (FP8) or 32 (FP4)
  ** columns and are added, times the tile's scale, to the row's lanes by fused multiply-add. A partial tile
  ** ends in zeros. An FP8 NaN code makes its tile NaN; FP8 scales from 2^120 on overflow (values are held
  ** as 1/256, which takes one shift to decode). cpu_check_weight names the tiles that are supported.
  */
  void (*product[WEIGHT_ENCODINGS]) (const weight *w, size_t row, size_t outputs, const float *x,
                                     size_t x_stride, size_t rows, float *out, size_t out_stride);
  /* Row `row` of a weight in GGML's blocks as float32. */
  void (*decode_blocks) (const weight *w, size_t row, float *out);

  /*
  ** The same for integer-coded weights; NULL for others, and for Q4_1, Q5_0 and Q5_1.
  ** FP4, as doubled integers: block b, value i of it: lane 4 * (b mod 4) + i / 8 receives float(sum of its
  ** eight integer products) * (weight scale * x scale / 2) by fused multiply-add, blocks ascending.
  ** GGML's blocks: sum b mod 4 of an output's four receives, blocks of 32 ascending, by fused multiply-add
  ** float(sum of the integer products) * (weight scale * x scale), then, where the type has mins, float(integer
  ** min times the sum of x) * (-m * x scale). Half blocks with scales of their own are joined as integers. The
  ** result is (0 + 2) + (1 + 3). A partial superblock ends in zeros.
  */
  void (*product_int8[WEIGHT_ENCODINGS]) (const weight *w, size_t row, size_t outputs, const cpu_int8_rows *x,
                                          size_t rows, float *out, size_t out_stride);
  /*
  ** out[r * out_stride + k] = query head r times key k of groups x 16 keys (layout: rows.h). Over the blocks
  ** of 32, ascending, from 0: float(sum of the integer products) * (key scale / 2 * query scale), fused.
  */
  void (*index_products) (const uint8_t *keys, size_t groups, const cpu_index_queries *q, size_t rows,
                          float *out, size_t out_stride);
  /*
  ** out[k] = over the rows, ascending, max(x[r * stride + k], 0) * factors[r], for k < count, a multiple of 16;
  ** not fused. A NaN stays one.
  */
  void (*sum_relu) (const float *x, size_t stride, const float *factors, size_t rows, float *out, size_t count);
  /*
  ** x [columns] to int8 codes, a scale a block: max|x| / 127, code = rint(x / scale), and sums of the codes of half
  ** blocks. A partial last block is filled with zeros. A block with a NaN or an infinity gets the scale NaN.
  */
  void (*to_int8) (const float *x, size_t columns, int8_t *codes, float *scales, int16_t *sums);

  /*
  ** out[r * out_stride + c] += sum over the steps of a(r, s) times b[s * b_step + c], for r < rows and c < columns:
  ** no lanes, steps ascending, by fused multiply-add; of a pair the second product, then the first. With pairs, every
  ** operand and result below 2^-126 counts as zero, as the instruction VDPBF16PS has it. Of b, whole lanes are read.
  */
  void (*multiply_add[UNIT_KINDS]) (cpu_units a, size_t rows, const uint32_t *b, size_t b_step, size_t steps,
                                    size_t columns, float *out, size_t out_stride);
  /*
  ** A step of an online softmax down the columns: scores p [rows, heads], times `factor`, become exp(p - largest), and
  ** the state follows: sum * rescale + the weights' sum, rows ascending. `heads` is a multiple of CPU_LANES.
  */
  void (*softmax) (float *p, size_t rows, size_t heads, float factor, cpu_softmax *state);
  void (*to_bf16) (const float *x, uint16_t *out, size_t count);                /* nearest, ties to even */
  /* Blocks of 64 codes and an E8M0 scale each. Nothing is rounded but what a float32 has no normal number for. */
  void (*e4m3_to_bf16) (const uint8_t *codes, const uint8_t *scales, uint16_t *out, size_t blocks);
  void (*pair_rows) (const uint16_t *first, const uint16_t *second, uint32_t *out, size_t count);

  float (*dot) (const float *a, const float *b, size_t count);
  float (*sum_squares) (const float *x, size_t count);
  /* out[c] = fma(x[r * x_stride + c], factors[r * factor_stride], out[c]) over the rows, ascending, for c < count. */
  void (*add_rows) (float *out, const float *x, size_t x_stride, const float *factors, size_t factor_stride,
                    size_t rows, size_t count);
  void (*scale) (float *x, float factor, size_t count);

  /* A stored row as float32 (rows.h gives the layouts); FP8 times a power of two. */
  void (*decode_e4m3) (const uint8_t *codes, float scale, float *out, size_t count);
  void (*decode_bf16) (const uint8_t *codes, float *out, size_t count);

  /* x = exp(x), own polynomial (relative error < 2^-22), 0 below -104 and for -inf. */
  void (*exp) (float *x, size_t count);
  void (*sqrt_softplus) (float *x, size_t count);   /* x = sqrt(log(1 + exp(x))), alike */
  /* out = silu(min(gate, limit)) * clamp(up, -limit, limit); limit 0: neither is bounded. out may be gate. */
  void (*swiglu) (const float *gate, const float *up, float limit, float *out, size_t count);
} cpu_kernels;

extern const cpu_kernels cpu_kernels_scalar;
extern const cpu_kernels cpu_kernels_avx2, cpu_kernels_avxvnni;                      /* x86-64 */
extern const cpu_kernels cpu_kernels_avx512, cpu_kernels_avx512vbmi, cpu_kernels_avx512bf16;
extern const cpu_kernels cpu_kernels_neon, cpu_kernels_dotprod;                      /* ARM, 64 bits */

/* The best level this machine can run, or the one called `name`; NULL when it cannot run or does not exist. */
const cpu_kernels *cpu_kernels_find (const char *name);
/* Level i of those this machine can run, scalar first; NULL past the last. */
const cpu_kernels *cpu_kernels_at (size_t i);

#endif
