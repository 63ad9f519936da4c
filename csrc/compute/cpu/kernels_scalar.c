/*
** Level "scalar": the definition. Sixteen lanes are an array and every operation is a loop over them;
** fmaf rounds once on every machine. specs/formats.md 2.1 for the codes.
*/
#include "kernels_lanes.h"

#define LEVEL cpu_kernels_scalar
#define LEVEL_NAME "scalar"

enum { OUTPUTS_ONE = 1, OUTPUTS_MANY = 2, ROWS_MANY = 2, ROWS_INT8 = 1 };

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
  for (int block = 0; block < 4; block++) {
    memcpy(out.even + 16 * block, codes + CPU_BLOCK * block, 16);
    memcpy(out.odd + 16 * block, codes + CPU_BLOCK * block + 16, 16);
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

typedef struct int8_pair { int8_t at[2 * CPU_BLOCK]; } int8_pair;
typedef struct fp4_pair { uint8_t at[2 * CPU_BLOCK]; } fp4_pair;      /* weight + 12 */

ALWAYS_INLINE fp4_pair fp4_load_pair (const uint8_t *codes) {
  fp4_pair out;
  for (int i = 0; i < 2 * CPU_BLOCK; i++) out.at[i] = fp4_shifted[codes[i / 2] >> 4 * (i % 2) & 15];
  return out;
}

/* Keys of the indexer: a lane is a key, four of its values a step. */
ALWAYS_INLINE int8_pair int8_repeat (const int8_t *four) {
  int8_pair out;
  EACH(l) memcpy(out.at + 4 * l, four, 4);
  return out;
}

ALWAYS_INLINE four_sums four_sums_start (int32_t value) {
  four_sums out;
  EACH(l) out.at[l] = value;
  return out;
}

ALWAYS_INLINE four_sums four_sums_add (four_sums sums, fp4_pair w, int8_pair x) {
  EACH(l) for (int i = 4 * l; i < 4 * l + 4; i++) sums.at[l] += w.at[i] * x.at[i];
  return sums;
}

ALWAYS_INLINE lanes four_sums_lanes (four_sums sums) {
  lanes out;
  EACH(l) out.at[l] = (float)sums.at[l];
  return out;
}

#include "kernels_body.h"
