/*
** The ARM levels: sixteen lanes are four registers. kernels_<level>.c defines dot_of_4 before it includes this: it adds
** to sum l of four the products of the signed values 4 l .. 4 l + 3. Each operation is explained at its scalar
** definition (kernels_scalar.c). Min and max are made of comparisons: ARM's own give the NaN of either side.
*/
#ifndef compute_cpu_kernels_arm_h
#define compute_cpu_kernels_arm_h

#include "blocks_plain.h"

/* What 32 registers hold; the least rows of a tile as at "avx2", not measured. */
enum { OUTPUTS_ONE = 4, OUTPUTS_MANY = 2, ROWS_MANY = 2, ROWS_INT8 = 1, ROWS_MULTIPLIED = 5,
       TILES_AT_ONCE = 1, TILE_ROWS_LEAST = 4, SUMS_AT_ONCE = 4,
       QUERIES_AT_ONCE = 4, SUMS_HELD = 4, VECTORS_HELD = 1 };

typedef struct lanes { float32x4_t a, b, c, d; } lanes;   /* 0 .. 3, 4 .. 7, 8 .. 11, 12 .. 15 */

/* function(operands) of each register, of one, two or three sets. */
#define EACH(type, function, x) ((type){ function((x).a), function((x).b), function((x).c), function((x).d) })
#define EACH_2(type, function, x, y) \
  ((type){ function((x).a, (y).a), function((x).b, (y).b), function((x).c, (y).c), function((x).d, (y).d) })
#define EACH_3(type, function, x, y, z) \
  ((type){ function((x).a, (y).a, (z).a), function((x).b, (y).b, (z).b), function((x).c, (y).c, (z).c), \
           function((x).d, (y).d, (z).d) })
#define SAME(type, value) ((type){ value, value, value, value })

ALWAYS_INLINE lanes lanes_set (float value) { return SAME(lanes, vdupq_n_f32(value)); }
ALWAYS_INLINE lanes lanes_add (lanes x, lanes y) { return EACH_2(lanes, vaddq_f32, x, y); }
ALWAYS_INLINE lanes lanes_sub (lanes x, lanes y) { return EACH_2(lanes, vsubq_f32, x, y); }
ALWAYS_INLINE lanes lanes_mul (lanes x, lanes y) { return EACH_2(lanes, vmulq_f32, x, y); }
ALWAYS_INLINE lanes lanes_div (lanes x, lanes y) { return EACH_2(lanes, vdivq_f32, x, y); }
ALWAYS_INLINE lanes lanes_sqrt (lanes x) { return EACH(lanes, vsqrtq_f32, x); }
ALWAYS_INLINE lanes lanes_round (lanes x) { return EACH(lanes, vrndnq_f32, x); }
ALWAYS_INLINE lanes lanes_fma (lanes x, lanes y, lanes z) { return EACH_3(lanes, vfmaq_f32, z, x, y); }

ALWAYS_INLINE lanes lanes_load (const float *x) {
  return (lanes){ vld1q_f32(x), vld1q_f32(x + 4), vld1q_f32(x + 8), vld1q_f32(x + 12) };
}

ALWAYS_INLINE void lanes_store (float *out, lanes x) {
  vst1q_f32(out, x.a);
  vst1q_f32(out + 4, x.b);
  vst1q_f32(out + 8, x.c);
  vst1q_f32(out + 12, x.d);
}

typedef struct masks { uint32x4_t a, b, c, d; } masks;

ALWAYS_INLINE lanes lanes_less (lanes x, lanes y, lanes yes, lanes no) {
  const masks less = EACH_2(masks, vcltq_f32, x, y);
  return EACH_3(lanes, vbslq_f32, less, yes, no);
}

ALWAYS_INLINE lanes lanes_min (lanes x, lanes y) { return lanes_less(x, y, x, y); }
ALWAYS_INLINE lanes lanes_max (lanes x, lanes y) { return lanes_less(y, x, x, y); }

ALWAYS_INLINE float32x4_t pow2_of_4 (float32x4_t n) {
  const int32x4_t bits = vreinterpretq_s32_f32(vaddq_f32(n, vdupq_n_f32(12582912.0f)));
  return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(bits, vdupq_n_s32(127)), 23));
}

ALWAYS_INLINE lanes lanes_pow2 (lanes n) { return EACH(lanes, pow2_of_4, n); }

ALWAYS_INLINE float lanes_join (lanes x) {
  const float32x4_t four = vaddq_f32(vaddq_f32(x.a, x.c), vaddq_f32(x.b, x.d));
  const float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
  return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}

ALWAYS_INLINE uint32x4_t magnitude_bits (float32x4_t x) { return vreinterpretq_u32_f32(vabsq_f32(x)); }

ALWAYS_INLINE uint32_t lanes_largest_bits (lanes x, lanes y) {
  const masks xs = EACH(masks, magnitude_bits, x), ys = EACH(masks, magnitude_bits, y);
  const masks most = EACH_2(masks, vmaxq_u32, xs, ys);
  return vmaxvq_u32(vmaxq_u32(vmaxq_u32(most.a, most.b), vmaxq_u32(most.c, most.d)));
}

ALWAYS_INLINE void lanes_to_int8 (lanes x, int8_t *out) {
  const int16x8_t low = vcombine_s16(vmovn_s32(vcvtq_s32_f32(x.a)), vmovn_s32(vcvtq_s32_f32(x.b)));
  const int16x8_t high = vcombine_s16(vmovn_s32(vcvtq_s32_f32(x.c)), vmovn_s32(vcvtq_s32_f32(x.d)));
  vst1q_s8(out, vcombine_s8(vmovn_s16(low), vmovn_s16(high)));
}

ALWAYS_INLINE float32x4_t first_of_4 (float32x4_t x) {
  return vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_f32(x), 16));
}

ALWAYS_INLINE float32x4_t second_of_4 (float32x4_t x) {
  return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(x), vdupq_n_u32(0xFFFF0000)));
}

ALWAYS_INLINE lanes lanes_fma_pairs (lanes x, lanes y, lanes z) {
  z = lanes_fma(EACH(lanes, second_of_4, x), EACH(lanes, second_of_4, y), z);
  return lanes_fma(EACH(lanes, first_of_4, x), EACH(lanes, first_of_4, y), z);
}

/* Between the two, what is below 2^-126 counts as zero. */
typedef uint64_t float_mode;

ALWAYS_INLINE float_mode float_mode_flush (void) {
  float_mode before;
  __asm__ volatile ("mrs %0, fpcr" : "=r" (before));
  __asm__ volatile ("msr fpcr, %0" : : "r" (before | 1u << 24));
  return before;
}

ALWAYS_INLINE void float_mode_restore (float_mode before) { __asm__ volatile ("msr fpcr, %0" : : "r" (before)); }

/* {== Codes ====================================================================================== */

ALWAYS_INLINE lanes lanes_f32 (const uint8_t *codes) { return lanes_load((const void *)codes); }

ALWAYS_INLINE uint16x8_t load_8_halves (const uint8_t *codes) { return vreinterpretq_u16_u8(vld1q_u8(codes)); }

ALWAYS_INLINE lanes lanes_bf16 (const uint8_t *codes) {
  const uint16x8_t low = load_8_halves(codes), high = load_8_halves(codes + 16);
  const masks bits = { vshll_n_u16(vget_low_u16(low), 16), vshll_high_n_u16(low, 16),
                       vshll_n_u16(vget_low_u16(high), 16), vshll_high_n_u16(high, 16) };
  return EACH(lanes, vreinterpretq_f32_u32, bits);
}

ALWAYS_INLINE lanes lanes_of_halves (uint16x8_t low, uint16x8_t high) {
  const float16x8_t a = vreinterpretq_f16_u16(low), b = vreinterpretq_f16_u16(high);
  return (lanes){ vcvt_f32_f16(vget_low_f16(a)), vcvt_high_f32_f16(a),
                  vcvt_f32_f16(vget_low_f16(b)), vcvt_high_f32_f16(b) };
}

ALWAYS_INLINE lanes lanes_f16 (const uint8_t *codes) {
  return lanes_of_halves(load_8_halves(codes), load_8_halves(codes + 16));
}

/* The sign, widened, fills bits 15 and 14 after the shift; 14 is not part of the half. */
ALWAYS_INLINE uint16x8_t half_of_e4m3 (int8x8_t codes) {
  return vandq_u16(vreinterpretq_u16_s16(vshll_n_s8(codes, 7)), vdupq_n_u16(0xBFFF));
}

ALWAYS_INLINE lanes lanes_e4m3 (const uint8_t *codes) {
  const int8x16_t sixteen = vreinterpretq_s8_u8(vld1q_u8(codes));
  return lanes_of_halves(half_of_e4m3(vget_low_s8(sixteen)), half_of_e4m3(vget_high_s8(sixteen)));
}

ALWAYS_INLINE int any_e4m3_nan (const uint8_t *codes) {
  const uint8x16_t nan = vdupq_n_u8(0x7F);
  uint8x16_t most = vdupq_n_u8(0);
  UNROLL for (int i = 0; i < 8; i++) most = vmaxq_u8(most, vandq_u8(vld1q_u8(codes + 16 * i), nan));
  return vmaxvq_u8(most) == 0x7F;
}

/* Sixteen signed values, and sixteen unsigned ones. */
typedef struct int_lanes { int32x4_t a, b, c, d; } int_lanes;

ALWAYS_INLINE int_lanes wide_signed (int8x16_t x) {
  const int16x8_t low = vmovl_s8(vget_low_s8(x)), high = vmovl_high_s8(x);
  return (int_lanes){ vmovl_s16(vget_low_s16(low)), vmovl_high_s16(low),
                      vmovl_s16(vget_low_s16(high)), vmovl_high_s16(high) };
}

ALWAYS_INLINE masks wide_unsigned (uint8x16_t x) {
  const uint16x8_t low = vmovl_u8(vget_low_u8(x)), high = vmovl_high_u8(x);
  return (masks){ vmovl_u16(vget_low_u16(low)), vmovl_high_u16(low),
                  vmovl_u16(vget_low_u16(high)), vmovl_high_u16(high) };
}

ALWAYS_INLINE lanes sums_lanes (int_lanes x) { return EACH(lanes, vcvtq_f32_s32, x); }

ALWAYS_INLINE lanes lanes_keep_nan (const uint8_t *codes, lanes x) {
  const uint8x16_t nan = vdupq_n_u8(0x7F), found = vceqq_u8(vandq_u8(vld1q_u8(codes), nan), nan);
  const int_lanes wide = wide_signed(vreinterpretq_s8_u8(found));
  const masks where = EACH(masks, vreinterpretq_u32_s32, wide);
  const lanes value = lanes_set(float_of_bits(0x7FC00000));
  return EACH_3(lanes, vbslq_f32, where, value, x);
}

ALWAYS_INLINE uint8x16_t low_nibbles (uint8x16_t q) { return vandq_u8(q, vdupq_n_u8(15)); }
ALWAYS_INLINE uint8x16_t high_nibbles (uint8x16_t q) { return vshrq_n_u8(q, 4); }

ALWAYS_INLINE int8x16_t fp4_doubled (uint8x16_t codes) {
  static const int8_t doubled[16] = { FP4_DOUBLED };
  return vqtbl1q_s8(vld1q_s8(doubled), codes);
}

ALWAYS_INLINE lanes lanes_e2m1 (const uint8_t *codes) {
  const uint8x8_t q = vld1_u8(codes), low = vand_u8(q, vdup_n_u8(15)), high = vshr_n_u8(q, 4);
  return sums_lanes(wide_signed(fp4_doubled(vcombine_u8(vzip1_u8(low, high), vzip2_u8(low, high)))));
}

ALWAYS_INLINE float32x4_t e8m0_of_4 (uint32x4_t code) {
  uint32x4_t bits = vshlq_n_u32(code, 23);
  bits = vbslq_u32(vceqzq_u32(code), vdupq_n_u32(0x00400000), bits);
  return vreinterpretq_f32_u32(vbslq_u32(vceqq_u32(code, vdupq_n_u32(255)), vdupq_n_u32(0x7FC00000), bits));
}

ALWAYS_INLINE lanes lanes_e8m0 (const uint8_t *codes) {
  const masks wide = wide_unsigned(vld1q_u8(codes));
  return EACH(lanes, e8m0_of_4, wide);
}

/* {== Integer products =========================================================================== */

/* Signed bytes are multiplied as they are: FP4 needs no 12 more, and nothing is taken off. */
typedef struct byte_lanes { int8x16_t a, b, c, d; } byte_lanes;
typedef struct quad { byte_lanes even, odd; } int8_quad, fp4_quad;
typedef byte_lanes fp4_pair;
typedef int_lanes four_sums;

ALWAYS_INLINE int8_quad int8_load_quad (const int8_t *codes) {
  const int8x16x2_t a = vld2q_s8(codes), b = vld2q_s8(codes + 32), c = vld2q_s8(codes + 64), d = vld2q_s8(codes + 96);
  return (int8_quad){ { a.val[0], b.val[0], c.val[0], d.val[0] }, { a.val[1], b.val[1], c.val[1], d.val[1] } };
}

ALWAYS_INLINE fp4_quad fp4_load_quad (const uint8_t *codes) {
  const uint8x16_t a = vld1q_u8(codes), b = vld1q_u8(codes + 16), c = vld1q_u8(codes + 32), d = vld1q_u8(codes + 48);
  return (fp4_quad){ { fp4_doubled(low_nibbles(a)), fp4_doubled(low_nibbles(b)),
                       fp4_doubled(low_nibbles(c)), fp4_doubled(low_nibbles(d)) },
                     { fp4_doubled(high_nibbles(a)), fp4_doubled(high_nibbles(b)),
                       fp4_doubled(high_nibbles(c)), fp4_doubled(high_nibbles(d)) } };
}

ALWAYS_INLINE int_lanes sums_zero (void) { return SAME(int_lanes, vdupq_n_s32(0)); }

ALWAYS_INLINE four_sums int8_excess (int8_quad x) {
  (void)x;
  return sums_zero();
}

ALWAYS_INLINE int_lanes dot_plain (int_lanes start, byte_lanes w, byte_lanes x) {
  return EACH_3(int_lanes, dot_of_4, start, w, x);
}

ALWAYS_INLINE lanes int8_dot (fp4_quad w, int8_quad x, four_sums excess) {
  return sums_lanes(dot_plain(dot_plain(excess, w.even, x.even), w.odd, x.odd));
}

ALWAYS_INLINE lanes lanes_quads (const float *factors) {
  return (lanes){ vld1q_dup_f32(factors), vld1q_dup_f32(factors + 1), vld1q_dup_f32(factors + 2),
                  vld1q_dup_f32(factors + 3) };
}

/* {== Integer products of GGML's blocks (kernels_int8.h) ========================================== */

ALWAYS_INLINE byte_lanes codes_two (const int8_t *first, const int8_t *second) {
  return (byte_lanes){ vld1q_s8(first), vld1q_s8(first + 16), vld1q_s8(second), vld1q_s8(second + 16) };
}

ALWAYS_INLINE byte_lanes codes_load (const int8_t *x) { return codes_two(x, x + CPU_BLOCK); }

ALWAYS_INLINE byte_lanes codes_lookup (const int8_t *table, const uint8_t *first, const uint8_t *second) {
  const int8x16_t values = vld1q_s8(table);
  const uint8x16_t p = vld1q_u8(first), q = vld1q_u8(second);
  return (byte_lanes){ vqtbl1q_s8(values, low_nibbles(p)), vqtbl1q_s8(values, high_nibbles(p)),
                       vqtbl1q_s8(values, low_nibbles(q)), vqtbl1q_s8(values, high_nibbles(q)) };
}

ALWAYS_INLINE byte_lanes codes_nibbles (const uint8_t *codes) {
  const uint8x16_t p = vld1q_u8(codes), q = vld1q_u8(codes + 16);
  return (byte_lanes){ vreinterpretq_s8_u8(low_nibbles(p)), vreinterpretq_s8_u8(low_nibbles(q)),
                       vreinterpretq_s8_u8(high_nibbles(p)), vreinterpretq_s8_u8(high_nibbles(q)) };
}

ALWAYS_INLINE int8x16_t two_bits (uint8x16_t q, size_t shift) {
  return vreinterpretq_s8_u8(vandq_u8(vshlq_u8(q, vdupq_n_s8((int8_t)-(int)shift)), vdupq_n_u8(3)));
}

ALWAYS_INLINE byte_lanes codes_two_bits (const uint8_t *codes, size_t shift) {
  const uint8x16_t p = vld1q_u8(codes), q = vld1q_u8(codes + 16);
  return (byte_lanes){ two_bits(p, shift), two_bits(q, shift), two_bits(p, shift + 2), two_bits(q, shift + 2) };
}

/* Two entries of the grid with their signs: bit i of a byte of eight is that of value i. */
ALWAYS_INLINE int8x16_t grid_of_two (const uint8_t *q, uint32_t word) {
  const uint8x16_t bits = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201));
  const uint8x16_t entries = vcombine_u8(vcreate_u8(iq2_xxs_grid[q[0]]), vcreate_u8(iq2_xxs_grid[q[1]]));
  const uint8x16_t signs = vcombine_u8(vdup_n_u8(iq_signs[word & 127]), vdup_n_u8(iq_signs[word >> 7 & 127]));
  const uint8x16_t minus = vtstq_u8(signs, bits);
  return vreinterpretq_s8_u8(vsubq_u8(veorq_u8(entries, minus), minus));
}

typedef struct iq2_xxs_parts { uint8_t values[SUPERBLOCK]; } iq2_xxs_parts;

ALWAYS_INLINE void iq2_xxs_begin (const iq2_xxs_block *b, iq2_xxs_parts *out, uint8_t *scales) {
  uint64_t four_bits = 0;
  UNROLL for (int s = 0; s < 8; s++) {
    const uint32_t word = load_u32(b->sub[s].signs);
    four_bits |= (uint64_t)(word >> 28) << 8 * s;
    vst1q_s8((int8_t *)out->values + CPU_BLOCK * s, grid_of_two(b->sub[s].grid, word));
    vst1q_s8((int8_t *)out->values + CPU_BLOCK * s + 16, grid_of_two(b->sub[s].grid + 2, word >> 14));
  }
  vst1q_u8(scales, vcombine_u8(vcreate_u8(four_bits), vcreate_u8(0)));
}

ALWAYS_INLINE byte_lanes iq2_xxs_pair (const iq2_xxs_parts *parts, size_t p) {
  return codes_load((const int8_t *)parts->values + 64 * p);
}

ALWAYS_INLINE byte_lanes codes_signed (byte_lanes w) { return w; }

ALWAYS_INLINE int_lanes dot_start (byte_lanes x) {
  (void)x;
  return sums_zero();
}

ALWAYS_INLINE int_lanes dot_start_of (const int16_t *two) {
  (void)two;
  return sums_zero();
}

ALWAYS_INLINE int_lanes dot_signed (int_lanes start, byte_lanes w, byte_lanes x) { return dot_plain(start, w, x); }

ALWAYS_INLINE int32x4_t repeat_word (const void *word) { return vdupq_n_s32((int)load_u32(word)); }

ALWAYS_INLINE byte_lanes codes_repeat (const int8_t *four) {
  return SAME(byte_lanes, vreinterpretq_s8_s32(repeat_word(four)));
}

ALWAYS_INLINE int32x4_t pairs_of_4 (const uint32_t *w, int16x8_t two) {
  const int16x8_t pairs = vreinterpretq_s16_u32(vld1q_u32(w));
  return vpaddq_s32(vmull_s16(vget_low_s16(pairs), vget_low_s16(two)), vmull_high_s16(pairs, two));
}

ALWAYS_INLINE int_lanes sums_of_pairs (const uint32_t *w, const int16_t *two) {
  const int16x8_t all = vreinterpretq_s16_s32(repeat_word(two));
  return (int_lanes){ pairs_of_4(w, all), pairs_of_4(w + 4, all), pairs_of_4(w + 8, all), pairs_of_4(w + 12, all) };
}

/* Sixteen bytes of four rows. */
ALWAYS_INLINE void turn_four (const uint8_t *const *rows, size_t at, int8x16_t *words) {
  uint32x4_t row[4];
  UNROLL for (int j = 0; j < 4; j++) row[j] = vreinterpretq_u32_u8(vld1q_u8(rows[j] + at));
  const uint64x2_t a = vreinterpretq_u64_u32(vtrn1q_u32(row[0], row[1]));      /* words 0 and 2 of two rows */
  const uint64x2_t b = vreinterpretq_u64_u32(vtrn1q_u32(row[2], row[3]));
  const uint64x2_t c = vreinterpretq_u64_u32(vtrn2q_u32(row[0], row[1]));      /* 1 and 3 */
  const uint64x2_t d = vreinterpretq_u64_u32(vtrn2q_u32(row[2], row[3]));
  words[0] = vreinterpretq_s8_u64(vtrn1q_u64(a, b));
  words[1] = vreinterpretq_s8_u64(vtrn1q_u64(c, d));
  words[2] = vreinterpretq_s8_u64(vtrn2q_u64(a, b));
  words[3] = vreinterpretq_s8_u64(vtrn2q_u64(c, d));
}

ALWAYS_INLINE void codes_turn (const uint8_t *const *rows, size_t at, byte_lanes *words) {
  int8x16_t four[4][4];
  UNROLL for (int q = 0; q < 4; q++) turn_four(rows + 4 * q, at, four[q]);
  UNROLL for (int i = 0; i < 4; i++) words[i] = (byte_lanes){ four[0][i], four[1][i], four[2][i], four[3][i] };
}

ALWAYS_INLINE byte_lanes codes_bits (byte_lanes w, int shift, int mask) {
  const int8x16_t right = vdupq_n_s8((int8_t)-shift);
  const uint8x16_t bits = vdupq_n_u8((uint8_t)mask);
#define BITS(x) vreinterpretq_s8_u8(vandq_u8(vshlq_u8(vreinterpretq_u8_s8(x), right), bits))
  return EACH(byte_lanes, BITS, w);
#undef BITS
}

ALWAYS_INLINE byte_lanes codes_table (const int8_t *sixteen) { return SAME(byte_lanes, vld1q_s8(sixteen)); }

ALWAYS_INLINE byte_lanes codes_chosen (byte_lanes table, byte_lanes i) {
  const uint8x16_t a = vreinterpretq_u8_s8(i.a), b = vreinterpretq_u8_s8(i.b);
  const uint8x16_t c = vreinterpretq_u8_s8(i.c), d = vreinterpretq_u8_s8(i.d);
  return (byte_lanes){ vqtbl1q_s8(table.a, a), vqtbl1q_s8(table.b, b), vqtbl1q_s8(table.c, c), vqtbl1q_s8(table.d, d) };
}

ALWAYS_INLINE int_lanes sums_reduce (int_lanes a, int_lanes b, int_lanes c, int_lanes d) {
  const int_lanes ab = EACH_2(int_lanes, vpaddq_s32, a, b), cd = EACH_2(int_lanes, vpaddq_s32, c, d);
  return EACH_2(int_lanes, vpaddq_s32, ab, cd);
}

ALWAYS_INLINE int_lanes sums_fold (int_lanes first, int_lanes second) {
  return (int_lanes){ vaddq_s32(first.a, first.b), vaddq_s32(first.c, first.d),
                      vaddq_s32(second.a, second.b), vaddq_s32(second.c, second.d) };
}

ALWAYS_INLINE int_lanes sums_mul (int_lanes x, int_lanes y) { return EACH_2(int_lanes, vmulq_s32, x, y); }

ALWAYS_INLINE int_lanes sums_bytes (const uint8_t *sixteen) {
  const masks wide = wide_unsigned(vld1q_u8(sixteen));
  return EACH(int_lanes, vreinterpretq_s32_u32, wide);
}

ALWAYS_INLINE int_lanes sums_signed_bytes (const uint8_t *sixteen) {
  return wide_signed(vreinterpretq_s8_u8(vld1q_u8(sixteen)));
}

ALWAYS_INLINE int_lanes sums_load (const int32_t *sixteen) {
  return (int_lanes){ vld1q_s32(sixteen), vld1q_s32(sixteen + 4), vld1q_s32(sixteen + 8), vld1q_s32(sixteen + 12) };
}

ALWAYS_INLINE int_lanes sums_add (int_lanes x, int_lanes y) { return EACH_2(int_lanes, vaddq_s32, x, y); }

ALWAYS_INLINE void turn_bytes (const uint8_t *const *rows, uint8_t *out) {
  vst4q_u8(out, ((uint8x16x4_t){ { vld1q_u8(rows[0]), vld1q_u8(rows[1]), vld1q_u8(rows[2]), vld1q_u8(rows[3]) } }));
}

ALWAYS_INLINE int_lanes sums_quads (int32x4_t four) {
  return (int_lanes){ vdupq_laneq_s32(four, 0), vdupq_laneq_s32(four, 1), vdupq_laneq_s32(four, 2),
                      vdupq_laneq_s32(four, 3) };
}

ALWAYS_INLINE int_lanes sums_of_halves (const int16_t *four) { return sums_quads(vmovl_s16(vld1_s16(four))); }

ALWAYS_INLINE int_lanes sums_of_blocks (const int16_t *eight) { return sums_quads(vpaddlq_s16(vld1q_s16(eight))); }

ALWAYS_INLINE lanes lanes_halves (const uint8_t *const *rows, size_t at) {
  const uint64_t four = load_u16(rows[0] + at) | (uint64_t)load_u16(rows[1] + at) << 16 |
                        (uint64_t)load_u16(rows[2] + at) << 32 | (uint64_t)load_u16(rows[3] + at) << 48;
  return SAME(lanes, vcvt_f32_f16(vcreate_f16(four)));
}

/* A shift counts with the sign of its byte: what it makes of a normal is not used. */
ALWAYS_INLINE float32x4_t e8m0_half_of_4 (uint32x4_t code) {
  const uint32x4_t denormal = vshlq_u32(vdupq_n_u32(0x00200000), vreinterpretq_s32_u32(code));
  const uint32x4_t normal = vshlq_n_u32(vsubq_u32(code, vdupq_n_u32(1)), 23);
  return vreinterpretq_f32_u32(vbslq_u32(vcltq_u32(code, vdupq_n_u32(2)), denormal, normal));
}

ALWAYS_INLINE lanes lanes_e8m0_halves (const uint8_t *sixteen) {
  const masks wide = wide_unsigned(vld1q_u8(sixteen));
  return EACH(lanes, e8m0_half_of_4, wide);
}

ALWAYS_INLINE lanes lanes_e8m0_half (const uint8_t *const *rows, size_t first, size_t stride) {
  uint8_t codes[CPU_LANES];
  UNROLL for (size_t k = 0; k < 4; k++)
    UNROLL for (size_t j = 0; j < 4; j++) codes[4 * k + j] = rows[j][first + k * stride];
  return lanes_e8m0_halves(codes);
}

ALWAYS_INLINE void lanes_join_quads (lanes x, float *out) {
  vst1q_f32(out, vaddq_f32(vaddq_f32(x.a, x.c), vaddq_f32(x.b, x.d)));
}

/* {== Keys of the indexer: a lane is a key, four of its values a step ============================= */

/* Two blocks of nibbles, the value of each byte's low one first. */
ALWAYS_INLINE fp4_pair fp4_load_pair (const uint8_t *codes) {
  const uint8x16_t p = vld1q_u8(codes), q = vld1q_u8(codes + 16);
  const uint8x16_t p_low = low_nibbles(p), p_high = high_nibbles(p), q_low = low_nibbles(q), q_high = high_nibbles(q);
  return (fp4_pair){ fp4_doubled(vzip1q_u8(p_low, p_high)), fp4_doubled(vzip2q_u8(p_low, p_high)),
                     fp4_doubled(vzip1q_u8(q_low, q_high)), fp4_doubled(vzip2q_u8(q_low, q_high)) };
}

/* The value takes off what 12 more in every key would add: here nothing is. */
ALWAYS_INLINE four_sums four_sums_start (int32_t value) {
  (void)value;
  return sums_zero();
}

ALWAYS_INLINE four_sums four_sums_add (four_sums sums, fp4_pair w, byte_lanes x) { return dot_plain(sums, w, x); }

ALWAYS_INLINE lanes four_sums_lanes (four_sums sums) { return sums_lanes(sums); }

#include "kernels_body.h"

#endif
