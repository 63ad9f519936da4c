/*
** What a level computes value by value: sums of rows, conversions, exp and the functions built on it.
** Included by kernels_<level>.c behind its sixteen lanes. The polynomials are ours and the same at every
** level, so that no result depends on a library or an instruction set.
*/
#ifndef compute_cpu_kernels_elements_h
#define compute_cpu_kernels_elements_h

/* The lanes of up to sixteen values, zeros behind the last. */
static inline lanes lanes_load_some (const float *x, size_t count) {
  float some[CPU_LANES] = { 0 };
  memcpy(some, x, count * sizeof(float));
  return lanes_load(some);
}

static inline void lanes_store_some (float *out, lanes value, size_t count) {
  float some[CPU_LANES];
  lanes_store(some, value);
  memcpy(out, some, count * sizeof(float));
}

/* {== Rows ======================================================================================= */

static float dot (const float *a, const float *b, size_t count) {
  lanes sum = lanes_set(0.0f);
  size_t i = 0;
  for (; i + CPU_LANES <= count; i += CPU_LANES) sum = lanes_fma(lanes_load(a + i), lanes_load(b + i), sum);
  if (i < count)
    sum = lanes_fma(lanes_load_some(a + i, count - i), lanes_load_some(b + i, count - i), sum);
  return lanes_join(sum);
}

static float sum_squares (const float *x, size_t count) {
  return dot(x, x, count);
}

/* m lane sets of the sums stay in registers while the rows pass; each waits for its own last addition only. */
ALWAYS_INLINE void add_rows_lanes (float *out, const float *x, size_t x_stride, const float *factors,
                                   size_t factor_stride, size_t rows, const int m) {
  lanes sums[SUMS_AT_ONCE];
  UNROLL for (int i = 0; i < m; i++) sums[i] = lanes_load(out + (size_t)i * CPU_LANES);
  for (size_t r = 0; r < rows; r++, x += x_stride) {
    const lanes factor = lanes_set(factors[r * factor_stride]);
    UNROLL for (int i = 0; i < m; i++) sums[i] = lanes_fma(lanes_load(x + (size_t)i * CPU_LANES), factor, sums[i]);
  }
  UNROLL for (int i = 0; i < m; i++) lanes_store(out + (size_t)i * CPU_LANES, sums[i]);
}

static void add_rows (float *out, const float *x, size_t x_stride, const float *factors, size_t factor_stride,
                      size_t rows, size_t count) {
  size_t c = 0;
  for (; c + SUMS_AT_ONCE * CPU_LANES <= count; c += SUMS_AT_ONCE * CPU_LANES)
    add_rows_lanes(out + c, x + c, x_stride, factors, factor_stride, rows, SUMS_AT_ONCE);
  for (; c + CPU_LANES <= count; c += CPU_LANES)
    add_rows_lanes(out + c, x + c, x_stride, factors, factor_stride, rows, 1);
  if (c == count) return;
  lanes sum = lanes_load_some(out + c, count - c);
  for (size_t r = 0; r < rows; r++)
    sum = lanes_fma(lanes_load_some(x + r * x_stride + c, count - c), lanes_set(factors[r * factor_stride]), sum);
  lanes_store_some(out + c, sum, count - c);
}

static void scale (float *x, float factor, size_t count) {
  const lanes by = lanes_set(factor);
  size_t i = 0;
  for (; i + CPU_LANES <= count; i += CPU_LANES) lanes_store(x + i, lanes_mul(lanes_load(x + i), by));
  if (i < count) lanes_store_some(x + i, lanes_mul(lanes_load_some(x + i, count - i), by), count - i);
}

/* {== Conversions ================================================================================ */

static void decode_e4m3 (const uint8_t *codes, float factor, float *out, size_t count) {
  const lanes by = lanes_set(256.0f * factor);   /* lanes_e4m3 gives value / 256 */
  size_t i = 0;
  for (; i + CPU_LANES <= count; i += CPU_LANES)
    lanes_store(out + i, lanes_keep_nan(codes + i, lanes_mul(lanes_e4m3(codes + i), by)));
  if (i < count) {
    uint8_t last[CPU_LANES] = { 0 };
    memcpy(last, codes + i, count - i);
    lanes_store_some(out + i, lanes_keep_nan(last, lanes_mul(lanes_e4m3(last), by)), count - i);
  }
}

static void decode_bf16 (const uint8_t *codes, float *out, size_t count) {
  size_t i = 0;
  for (; i + CPU_LANES <= count; i += CPU_LANES) lanes_store(out + i, lanes_bf16(codes + 2 * i));
  if (i < count) {
    uint8_t last[2 * CPU_LANES] = { 0 };
    memcpy(last, codes + 2 * i, 2 * (count - i));
    lanes_store_some(out + i, lanes_bf16(last), count - i);
  }
}

/*
** One block. The largest magnitude is found on the bits, where a NaN is larger than everything: a block
** with a NaN or an infinity gets the scale NaN, so that it stays visible in every product.
*/
static void block_to_int8 (const float *x, int8_t *codes, float *block_scale, int16_t *sums) {
  const uint32_t largest = lanes_largest_bits(lanes_load(x), lanes_load(x + CPU_LANES));
  const float by = float_of_bits(largest) / 127.0f;
  *block_scale = largest >= 0x7F800000 ? float_of_bits(0x7FC00000) : by;
  if (largest >= 0x7F800000 || by == 0.0f) {
    memset(codes, 0, CPU_BLOCK);
    sums[0] = sums[1] = 0;
    return;
  }
  const lanes divisor = lanes_set(by), limit = lanes_set(127.0f), lower = lanes_set(-127.0f);
  for (size_t i = 0; i < CPU_BLOCK; i += CPU_LANES) {
    const lanes value = lanes_div(lanes_load(x + i), divisor);   /* a denormal scale is coarse: clamp */
    lanes_to_int8(lanes_min(limit, lanes_max(lower, lanes_round(value))), codes + i);
    int sum = 0;
    for (size_t k = i; k < i + CPU_LANES; k++) sum += codes[k];
    sums[i / CPU_HALF_BLOCK] = (int16_t)sum;
  }
}

static void to_int8 (const float *x, size_t columns, int8_t *codes, float *scales, int16_t *sums) {
  size_t i = 0;
  for (; i + CPU_BLOCK <= columns; i += CPU_BLOCK)
    block_to_int8(x + i, codes + i, scales + i / CPU_BLOCK, sums + i / CPU_HALF_BLOCK);
  if (i < columns) {
    float last[CPU_BLOCK] = { 0 };
    memcpy(last, x + i, (columns - i) * sizeof(float));
    block_to_int8(last, codes + i, scales + i / CPU_BLOCK, sums + i / CPU_HALF_BLOCK);
  }
}

/* {== Functions ================================================================================== */

/*
** exp(x) = 2^n exp(r), n = rint(x / ln 2), |r| <= ln 2 / 2: Taylor's series to r^7 (the next term is below
** 2^-27). 2^n is applied in two halves, so that denormal results round once and large ones become infinite.
** Bounds are written so that a NaN passes.
*/
static inline lanes lanes_exp (lanes x) {
  x = lanes_min(lanes_set(89.0f), lanes_max(lanes_set(-104.0f), x));
  const lanes n = lanes_round(lanes_mul(x, lanes_set(0x1.715476p+0f)));
  lanes r = lanes_fma(n, lanes_set(-0x1.62e4p-1f), x);               /* ln 2 in two parts: the first has 15 bits, */
  r = lanes_fma(n, lanes_set(-0x1.7f7d1cp-20f), r);                  /* n times it is exact */
  lanes p = lanes_set(1.0f / 5040);
  p = lanes_fma(p, r, lanes_set(1.0f / 720));
  p = lanes_fma(p, r, lanes_set(1.0f / 120));
  p = lanes_fma(p, r, lanes_set(1.0f / 24));
  p = lanes_fma(p, r, lanes_set(1.0f / 6));
  p = lanes_fma(p, r, lanes_set(0.5f));
  p = lanes_fma(p, r, lanes_set(1.0f));
  p = lanes_fma(p, r, lanes_set(1.0f));
  const lanes half = lanes_round(lanes_mul(n, lanes_set(0.5f)));
  return lanes_mul(lanes_mul(p, lanes_pow2(half)), lanes_pow2(lanes_sub(n, half)));
}

/*
** log(1 + e) for 0 <= e <= 1. u = 1 + e loses low bits of e, which (e - (u - 1)) / u gives back. With
** f = u - 1, or u / 2 - 1 above sqrt 2: log(1 + f) = 2 atanh(s), s = f / (2 + f), |s| < 0.172, where the
** series' term s^11 / 11 is below 2^-28 of the first.
*/
static inline lanes lanes_log1p (lanes e) {
  const lanes one = lanes_set(1.0f), u = lanes_add(one, e);
  const lanes lost = lanes_div(lanes_sub(e, lanes_sub(u, one)), u), sqrt2 = lanes_set(0x1.6a09e6p+0f);
  const lanes f = lanes_sub(lanes_less(sqrt2, u, lanes_mul(u, lanes_set(0.5f)), u), one);
  const lanes s = lanes_div(f, lanes_add(lanes_set(2.0f), f)), z = lanes_mul(s, s);
  lanes p = lanes_set(2.0f / 9);
  p = lanes_fma(p, z, lanes_set(2.0f / 7));
  p = lanes_fma(p, z, lanes_set(2.0f / 5));
  p = lanes_fma(p, z, lanes_set(2.0f / 3));
  p = lanes_fma(lanes_mul(p, z), s, lanes_add(s, s));
  const lanes k = lanes_less(sqrt2, u, lanes_set(0x1.62e43p-1f), lanes_set(0.0f));
  return lanes_add(k, lanes_add(p, lost));
}

static void exp_all (float *x, size_t count) {
  size_t i = 0;
  for (; i + CPU_LANES <= count; i += CPU_LANES) lanes_store(x + i, lanes_exp(lanes_load(x + i)));
  if (i < count) lanes_store_some(x + i, lanes_exp(lanes_load_some(x + i, count - i)), count - i);
}

/* sqrt(softplus(x)), softplus(x) = max(x, 0) + log(1 + exp(-|x|)): x itself, rounded, far above 0. */
static inline lanes lanes_sqrt_softplus (lanes x) {
  const lanes zero = lanes_set(0.0f);
  const lanes log1p = lanes_log1p(lanes_exp(lanes_less(zero, x, lanes_sub(zero, x), x)));
  return lanes_sqrt(lanes_add(lanes_max(x, zero), log1p));
}

static void sqrt_softplus (float *x, size_t count) {
  size_t i = 0;
  for (; i + CPU_LANES <= count; i += CPU_LANES) lanes_store(x + i, lanes_sqrt_softplus(lanes_load(x + i)));
  if (i < count) lanes_store_some(x + i, lanes_sqrt_softplus(lanes_load_some(x + i, count - i)), count - i);
}

/* Bounds with the value last: a NaN passes. An infinite limit bounds nothing. */
static inline lanes lanes_swiglu (lanes gate, lanes up, lanes limit) {
  const lanes g = lanes_min(limit, gate);
  const lanes u = lanes_min(limit, lanes_max(lanes_sub(lanes_set(0.0f), limit), up));
  const lanes e = lanes_exp(lanes_sub(lanes_set(0.0f), g));
  return lanes_mul(lanes_div(g, lanes_add(lanes_set(1.0f), e)), u);
}

static void swiglu (const float *gate, const float *up, float limit, float *out, size_t count) {
  const lanes bound = lanes_set(limit > 0.0f ? limit : float_of_bits(0x7F800000));
  size_t i = 0;
  for (; i + CPU_LANES <= count; i += CPU_LANES)
    lanes_store(out + i, lanes_swiglu(lanes_load(gate + i), lanes_load(up + i), bound));
  if (i < count)
    lanes_store_some(out + i, lanes_swiglu(lanes_load_some(gate + i, count - i),
                                           lanes_load_some(up + i, count - i), bound), count - i);
}

#endif
