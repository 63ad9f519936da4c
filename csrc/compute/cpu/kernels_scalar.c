/*
** Level "scalar": the definition. Sixteen lanes are an array and every operation is a loop over them;
** fmaf rounds once on every machine. specs/formats.md 2.1 for the codes.
*/
#include "kernels_lanes.h"
#include "blocks_plain.h"

#define LEVEL cpu_kernels_scalar
#define LEVEL_NAME "scalar"

enum { OUTPUTS_ONE = 1, OUTPUTS_MANY = 2, ROWS_MANY = 2, ROWS_INT8 = 1, ROWS_MULTIPLIED = 1,
       TILES_AT_ONCE = 1, TILE_ROWS_LEAST = 2, SUMS_AT_ONCE = 4,
       QUERIES_AT_ONCE = 4, SUMS_HELD = 4, VECTORS_HELD = 1 };

typedef struct lanes { float at[CPU_LANES]; } lanes;

#define EACH(l) for (int l = 0; l < CPU_LANES; l++)

ALWAYS_INLINE lanes lanes_set (float value) {
  lanes out;
  EACH(l) out.at[l] = value;
  return out;
}

ALWAYS_INLINE lanes lanes_load (const float *x) {
  lanes out;
  memcpy(out.at, x, sizeof out.at);
  return out;
}

ALWAYS_INLINE void lanes_store (float *out, lanes a) {
  memcpy(out, a.at, sizeof a.at);
}

ALWAYS_INLINE lanes lanes_fma (lanes a, lanes b, lanes c) {
  EACH(l) c.at[l] = fmaf(a.at[l], b.at[l], c.at[l]);
  return c;
}

ALWAYS_INLINE lanes lanes_add (lanes a, lanes b) {
  EACH(l) a.at[l] += b.at[l];
  return a;
}

ALWAYS_INLINE lanes lanes_sub (lanes a, lanes b) {
  EACH(l) a.at[l] -= b.at[l];
  return a;
}

ALWAYS_INLINE lanes lanes_mul (lanes a, lanes b) {
  EACH(l) a.at[l] *= b.at[l];
  return a;
}

ALWAYS_INLINE lanes lanes_div (lanes a, lanes b) {
  EACH(l) a.at[l] /= b.at[l];
  return a;
}

ALWAYS_INLINE lanes lanes_sqrt (lanes a) {
  EACH(l) a.at[l] = sqrtf(a.at[l]);
  return a;
}

/* Ties to even. */
ALWAYS_INLINE lanes lanes_round (lanes a) {
  EACH(l) a.at[l] = rintf(a.at[l]);
  return a;
}

/* a < b ? yes : no; with a NaN no. */
ALWAYS_INLINE lanes lanes_less (lanes a, lanes b, lanes yes, lanes no) {
  EACH(l) a.at[l] = a.at[l] < b.at[l] ? yes.at[l] : no.at[l];
  return a;
}

/* The second operand where one is a NaN. */
ALWAYS_INLINE lanes lanes_min (lanes a, lanes b) {
  return lanes_less(a, b, a, b);
}

ALWAYS_INLINE lanes lanes_max (lanes a, lanes b) {
  return lanes_less(b, a, a, b);
}

/* 2^n of integers -126 .. 127: adding 1.5 * 2^23 leaves n in the low bits. */
ALWAYS_INLINE lanes lanes_pow2 (lanes n) {
  EACH(l) n.at[l] = float_of_bits((bits_of_float(n.at[l] + 12582912.0f) + 127) << 23);
  return n;
}

ALWAYS_INLINE float lanes_join (lanes a) {
  for (int half = CPU_LANES / 2; half > 0; half /= 2)
    for (int l = 0; l < half; l++) a.at[l] += a.at[l + half];
  return a.at[0];
}

/* The bits of the largest magnitude. */
ALWAYS_INLINE uint32_t lanes_largest_bits (lanes a, lanes b) {
  uint32_t largest = 0;
  EACH(l) {
    const uint32_t x = bits_of_float(a.at[l]) & 0x7FFFFFFF, y = bits_of_float(b.at[l]) & 0x7FFFFFFF;
    if (x > largest) largest = x;
    if (y > largest) largest = y;
  }
  return largest;
}

/* Of integers -127 .. 127. */
ALWAYS_INLINE void lanes_to_int8 (lanes a, int8_t *out) {
  EACH(l) out[l] = (int8_t)a.at[l];
}

static inline float flushed (float value) {
  return fabsf(value) < 0x1p-126f ? copysignf(0.0f, value) : value;
}

static inline float fma_flushed (uint16_t a, uint16_t b, float c) {
  return flushed(fmaf(flushed(bf16_decode(a)), flushed(bf16_decode(b)), flushed(c)));
}

/* A lane of a and b is two bf16, the first in the low half. */
ALWAYS_INLINE lanes lanes_fma_pairs (lanes a, lanes b, lanes c) {
  EACH(l) {
    const uint32_t x = bits_of_float(a.at[l]), y = bits_of_float(b.at[l]);
    c.at[l] = fma_flushed((uint16_t)(x >> 16), (uint16_t)(y >> 16), c.at[l]);
    c.at[l] = fma_flushed((uint16_t)x, (uint16_t)y, c.at[l]);
  }
  return c;
}

/* What flushes by itself needs no mode. */
typedef int float_mode;
ALWAYS_INLINE float_mode float_mode_flush (void) { return 0; }
ALWAYS_INLINE void float_mode_restore (float_mode before) { (void)before; }

/* {== Codes ====================================================================================== */

ALWAYS_INLINE lanes lanes_f32 (const uint8_t *codes) {
  lanes out;
  memcpy(out.at, codes, sizeof out.at);
  return out;
}

ALWAYS_INLINE lanes lanes_bf16 (const uint8_t *codes) {
  lanes out;
  EACH(l) {
    uint16_t code;
    memcpy(&code, codes + 2 * l, sizeof code);
    out.at[l] = bf16_decode(code);
  }
  return out;
}

ALWAYS_INLINE lanes lanes_f16 (const uint8_t *codes) {
  lanes out;
  EACH(l) {
    uint16_t code;
    memcpy(&code, codes + 2 * l, sizeof code);
    out.at[l] = f16_decode(code);
  }
  return out;
}

/*
** Value / 256, which is what a half of the same exponent and mantissa bits holds; here as a float32 with
** 112 less in the exponent. NaN codes count as +-480 / 256 and are looked for by themselves.
*/
ALWAYS_INLINE lanes lanes_e4m3 (const uint8_t *codes) {
  lanes out;
  EACH(l) {
    const uint32_t sign = (uint32_t)(codes[l] & 0x80) << 24, magnitude = (uint32_t)(codes[l] & 0x7F) << 20;
    out.at[l] = 0x1p112f * float_of_bits(sign | magnitude);
  }
  return out;
}

/* Is a NaN among TILE codes? */
ALWAYS_INLINE int any_e4m3_nan (const uint8_t *codes) {
  int found = 0;
  for (int i = 0; i < 128; i++) found |= (codes[i] & 0x7F) == 0x7F;
  return found;
}

/* NaN where the code is, else a. */
ALWAYS_INLINE lanes lanes_keep_nan (const uint8_t *codes, lanes a) {
  EACH(l) if ((codes[l] & 0x7F) == 0x7F) a.at[l] = float_of_bits(0x7FC00000);
  return a;
}

/* Doubled values. */
ALWAYS_INLINE lanes lanes_e2m1 (const uint8_t *codes) {
  static const int8_t doubled[16] = { FP4_DOUBLED };
  lanes out;
  EACH(l) out.at[l] = doubled[codes[l / 2] >> 4 * (l % 2) & 15];
  return out;
}

ALWAYS_INLINE lanes lanes_e8m0 (const uint8_t *codes) {
  lanes out;
  EACH(l) out.at[l] = e8m0_decode(codes[l]);
  return out;
}

/* {== Integer products =========================================================================== */

/* Four blocks: lane l takes even and odd values 4 l .. 4 l + 3, eight neighbours of block l / 4. */
typedef struct int8_quad { int8_t even[4 * CPU_LANES], odd[4 * CPU_LANES]; } int8_quad;
typedef struct fp4_quad { uint8_t even[4 * CPU_LANES], odd[4 * CPU_LANES]; } fp4_quad;   /* weight + 12 */
typedef struct four_sums { int32_t at[CPU_LANES]; } four_sums;

static const uint8_t fp4_shifted[16] = { FP4_SHIFTED };

ALWAYS_INLINE int8_quad int8_load_quad (const int8_t *codes) {
  int8_quad out;
  for (int i = 0; i < 4 * CPU_LANES; i++) {
    out.even[i] = codes[2 * i];
    out.odd[i] = codes[2 * i + 1];
  }
  return out;
}

ALWAYS_INLINE fp4_quad fp4_load_quad (const uint8_t *codes) {
  fp4_quad out;
  for (int i = 0; i < 4 * CPU_LANES; i++) {
    out.even[i] = fp4_shifted[codes[i] & 15];
    out.odd[i] = fp4_shifted[codes[i] >> 4];
  }
  return out;
}

/* What the twelve adds to the products of x. */
ALWAYS_INLINE four_sums int8_excess (int8_quad x) {
  four_sums out = { { 0 } };
  EACH(l) for (int i = 4 * l; i < 4 * l + 4; i++) out.at[l] += 12 * (x.even[i] + x.odd[i]);
  return out;
}

ALWAYS_INLINE lanes int8_dot (fp4_quad w, int8_quad x, four_sums excess) {
  lanes out;
  EACH(l) {
    int32_t sum = -excess.at[l];
    for (int i = 4 * l; i < 4 * l + 4; i++) sum += w.even[i] * x.even[i] + w.odd[i] * x.odd[i];
    out.at[l] = (float)sum;
  }
  return out;
}

/* factors[b] for the lanes of block b. */
ALWAYS_INLINE lanes lanes_quads (const float *factors) {
  lanes out;
  EACH(l) out.at[l] = factors[l / 4];
  return out;
}

/* {== Integer products of GGML's blocks (kernels_int8.h) ========================================== */

typedef struct byte_lanes { int8_t at[4 * CPU_LANES]; } byte_lanes;
typedef struct int_lanes { int32_t at[CPU_LANES]; } int_lanes;

ALWAYS_INLINE byte_lanes codes_load (const int8_t *x) {
  byte_lanes out;
  memcpy(out.at, x, sizeof out.at);
  return out;
}

ALWAYS_INLINE byte_lanes codes_two (const int8_t *first, const int8_t *second) {
  byte_lanes out;
  memcpy(out.at, first, CPU_BLOCK);
  memcpy(out.at + CPU_BLOCK, second, CPU_BLOCK);
  return out;
}

/* Two blocks of nibbles, 16 low ones, 16 high ones: the sixteen values of a table by their number. */
ALWAYS_INLINE byte_lanes codes_lookup (const int8_t *table, const uint8_t *first, const uint8_t *second) {
  byte_lanes out;
  for (int i = 0; i < CPU_BLOCK; i++) {
    out.at[i] = table[first[i % 16] >> i / 16 * 4 & 15];
    out.at[CPU_BLOCK + i] = table[second[i % 16] >> i / 16 * 4 & 15];
  }
  return out;
}

/* 32 low nibbles, then the 32 high ones. */
ALWAYS_INLINE byte_lanes codes_nibbles (const uint8_t *q) {
  byte_lanes out;
  for (int i = 0; i < 2 * CPU_BLOCK; i++) out.at[i] = (int8_t)(q[i % CPU_BLOCK] >> i / CPU_BLOCK * 4 & 15);
  return out;
}

/* Two bits of 32 bytes at `shift`, then the two above them. */
ALWAYS_INLINE byte_lanes codes_two_bits (const uint8_t *q, size_t shift) {
  byte_lanes out;
  for (int i = 0; i < 2 * CPU_BLOCK; i++)
    out.at[i] = (int8_t)(q[i % CPU_BLOCK] >> (shift + (size_t)(i / CPU_BLOCK) * 2) & 3);
  return out;
}

/*
** A superblock before its values are made, 64 of them a pair, signed as by codes_signed; its eight scales of four bits,
** zeros behind them.
*/
typedef struct iq2_xxs_parts { uint8_t values[SUPERBLOCK]; } iq2_xxs_parts;

ALWAYS_INLINE void iq2_xxs_begin (const iq2_xxs_block *b, iq2_xxs_parts *out, uint8_t *scales) {
  memset(scales, 0, CPU_LANES);
  for (int s = 0; s < 8; s++) {
    const uint32_t word = load_u32(b->sub[s].signs);
    scales[s] = (uint8_t)(word >> 28);
    for (int i = 0; i < CPU_BLOCK; i++) {
      const int magnitude = (int)(iq2_xxs_grid[b->sub[s].grid[i / 8]] >> i % 8 * 8 & 255);
      const int minus = iq_signs[word >> i / 8 * 7 & 127] >> i % 8 & 1;
      out->values[CPU_BLOCK * s + i] = (uint8_t)(minus ? -magnitude : magnitude);
    }
  }
}

ALWAYS_INLINE byte_lanes iq2_xxs_pair (const iq2_xxs_parts *parts, size_t p) {
  return codes_load((const int8_t *)parts->values + 64 * p);
}

/* Signed codes as dot_signed takes them, with what dot_start makes of the activations. */
ALWAYS_INLINE byte_lanes codes_signed (byte_lanes w) { return w; }

ALWAYS_INLINE int_lanes sums_zero (void) { return (int_lanes){ { 0 } }; }

ALWAYS_INLINE int_lanes dot_start (byte_lanes x) {
  (void)x;
  return sums_zero();
}

/* The same given the sums of the activations' half blocks. */
ALWAYS_INLINE int_lanes dot_start_of (const int16_t *two) {
  (void)two;
  return sums_zero();
}

/* Codes 0 .. 45. */
ALWAYS_INLINE int_lanes dot_plain (int_lanes start, byte_lanes w, byte_lanes x) {
  EACH(l) for (int i = 4 * l; i < 4 * l + 4; i++) start.at[l] += w.at[i] * x.at[i];
  return start;
}

ALWAYS_INLINE int_lanes dot_signed (int_lanes start, byte_lanes w, byte_lanes x) { return dot_plain(start, w, x); }

/* Four values of a row for every lane. */
ALWAYS_INLINE byte_lanes codes_repeat (const int8_t *four) {
  byte_lanes out;
  EACH(l) memcpy(out.at + 4 * l, four, 4);
  return out;
}

/* Bytes at .. at + 15 of sixteen rows: words[i] has bytes 4 i .. 4 i + 3 of row l at 4 l. */
ALWAYS_INLINE void codes_turn (const uint8_t *const *rows, size_t at, byte_lanes *words) {
  for (int i = 0; i < 4; i++) EACH(l) memcpy(words[i].at + 4 * l, rows[l] + at + 4 * i, 4);
}

ALWAYS_INLINE byte_lanes codes_bits (byte_lanes w, int shift, int mask) {
  for (int i = 0; i < 4 * CPU_LANES; i++) w.at[i] = (int8_t)((uint8_t)w.at[i] >> shift & mask);
  return w;
}

/* A table of sixteen values, as codes_chosen takes it. */
ALWAYS_INLINE byte_lanes codes_table (const int8_t *sixteen) {
  byte_lanes out;
  for (int i = 0; i < 4 * CPU_LANES; i++) out.at[i] = sixteen[i % 16];
  return out;
}

ALWAYS_INLINE byte_lanes codes_chosen (byte_lanes table, byte_lanes i) {
  for (int k = 0; k < 4 * CPU_LANES; k++) i.at[k] = table.at[i.at[k]];
  return i;
}

/* Two numbers of sixteen bits in each lane times the same two, added. */
ALWAYS_INLINE int_lanes sums_of_pairs (const uint32_t *w, const int16_t *two) {
  int_lanes out;
  EACH(l) out.at[l] = (int)(w[l] & 0xFFFF) * two[0] + (int)(w[l] >> 16) * two[1];
  return out;
}

ALWAYS_INLINE int_lanes sums_reduce (int_lanes a, int_lanes b, int_lanes c, int_lanes d) {
  int_lanes out;
  for (int h = 0; h < CPU_LANES; h += 4) {
    out.at[h] = a.at[h] + a.at[h + 1] + a.at[h + 2] + a.at[h + 3];
    out.at[h + 1] = b.at[h] + b.at[h + 1] + b.at[h + 2] + b.at[h + 3];
    out.at[h + 2] = c.at[h] + c.at[h + 1] + c.at[h + 2] + c.at[h + 3];
    out.at[h + 3] = d.at[h] + d.at[h + 1] + d.at[h + 2] + d.at[h + 3];
  }
  return out;
}

ALWAYS_INLINE int_lanes sums_fold (int_lanes first, int_lanes second) {
  int_lanes out;
  EACH(l) {
    const int_lanes *from = l < 8 ? &first : &second;
    out.at[l] = from->at[l / 4 % 2 * 8 + l % 4] + from->at[l / 4 % 2 * 8 + 4 + l % 4];
  }
  return out;
}

ALWAYS_INLINE int_lanes sums_mul (int_lanes a, int_lanes b) {
  EACH(l) a.at[l] *= b.at[l];
  return a;
}

ALWAYS_INLINE int_lanes sums_add (int_lanes a, int_lanes b) {
  EACH(l) a.at[l] += b.at[l];
  return a;
}

ALWAYS_INLINE lanes sums_lanes (int_lanes a) {
  lanes out;
  EACH(l) out.at[l] = (float)a.at[l];
  return out;
}

ALWAYS_INLINE int_lanes sums_bytes (const uint8_t *sixteen) {
  int_lanes out;
  EACH(l) out.at[l] = sixteen[l];
  return out;
}

ALWAYS_INLINE int_lanes sums_signed_bytes (const uint8_t *sixteen) {
  int_lanes out;
  EACH(l) out.at[l] = (int8_t)sixteen[l];
  return out;
}

ALWAYS_INLINE int_lanes sums_load (const int32_t *sixteen) {
  int_lanes out;
  EACH(l) out.at[l] = sixteen[l];
  return out;
}

/* Byte 4 q + k of row j at 16 q + 4 k + j. */
ALWAYS_INLINE void turn_bytes (const uint8_t *const *rows, uint8_t *out) {
  for (int i = 0; i < 4 * CPU_LANES; i++) out[i] = rows[i % 4][i / 16 * 4 + i / 4 % 4];
}

/* Number h at 4 h + j for every j. */
ALWAYS_INLINE int_lanes sums_of_halves (const int16_t *four) {
  int_lanes out;
  EACH(l) out.at[l] = four[l / 4];
  return out;
}

/* The same of sums of two numbers. */
ALWAYS_INLINE int_lanes sums_of_blocks (const int16_t *eight) {
  int_lanes out;
  EACH(l) out.at[l] = eight[l / 4 * 2] + eight[l / 4 * 2 + 1];
  return out;
}

/* The half at `at` of row j at 4 k + j for every k. */
ALWAYS_INLINE lanes lanes_halves (const uint8_t *const *rows, size_t at) {
  lanes out;
  EACH(l) out.at[l] = load_half(rows[l % 4] + at);
  return out;
}

/* Half of 2^(code - 127), as GGML reads it: of the code at `first` + k * stride of row j, at 4 k + j. */
ALWAYS_INLINE lanes lanes_e8m0_half (const uint8_t *const *rows, size_t first, size_t stride) {
  lanes out;
  EACH(l) out.at[l] = e8m0_half(rows[l % 4][first + (size_t)(l / 4) * stride]);
  return out;
}

ALWAYS_INLINE lanes lanes_e8m0_halves (const uint8_t *sixteen) {
  lanes out;
  EACH(l) out.at[l] = e8m0_half(sixteen[l]);
  return out;
}

/* out[j] = (lane j + lane 8 + j) + (lane 4 + j + lane 12 + j) */
ALWAYS_INLINE void lanes_join_quads (lanes a, float *out) {
  for (int j = 0; j < 4; j++) out[j] = (a.at[j] + a.at[8 + j]) + (a.at[4 + j] + a.at[12 + j]);
}

/* {== Keys of the indexer: a lane is a key, four of its values a step ============================= */

typedef struct fp4_pair { uint8_t at[2 * CPU_BLOCK]; } fp4_pair;      /* weight + 12 */

ALWAYS_INLINE fp4_pair fp4_load_pair (const uint8_t *codes) {
  fp4_pair out;
  for (int i = 0; i < 2 * CPU_BLOCK; i++) out.at[i] = fp4_shifted[codes[i / 2] >> 4 * (i % 2) & 15];
  return out;
}

ALWAYS_INLINE four_sums four_sums_start (int32_t value) {
  four_sums out;
  EACH(l) out.at[l] = value;
  return out;
}

ALWAYS_INLINE four_sums four_sums_add (four_sums sums, fp4_pair w, byte_lanes x) {
  EACH(l) for (int i = 4 * l; i < 4 * l + 4; i++) sums.at[l] += w.at[i] * x.at[i];
  return sums;
}

ALWAYS_INLINE lanes four_sums_lanes (four_sums sums) {
  lanes out;
  EACH(l) out.at[l] = (float)sums.at[l];
  return out;
}

#include "kernels_body.h"
