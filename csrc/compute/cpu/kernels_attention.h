/*
** What attention computes, for one level: included by kernels_<level>.c behind its lanes. Scores and values are one
** kind of product: one operand is repeated through the lanes, the lanes of the other are heads (for scores) or columns
** (for values), so nothing is joined at the end, and a softmax goes down the lanes of its heads.
*/
#ifndef compute_cpu_kernels_attention_h
#define compute_cpu_kernels_attention_h

/* {== Products =================================================================================== */

typedef lanes multiply_lanes (lanes a, lanes b, lanes sum);

enum { MOST_ROWS = 8, MOST_VECTORS = 4 };      /* of a block of sums, whatever a level's registers hold */

ALWAYS_INLINE lanes lanes_unit (const uint32_t *unit) {
  float value;
  memcpy(&value, unit, sizeof value);
  return lanes_set(value);
}

/* The sums of m rows and n lane sets stay in registers while the steps pass. */
ALWAYS_INLINE void multiply_some (cpu_units a, size_t row, const uint32_t *b, size_t b_step, size_t steps, float *out,
                                  size_t out_stride, const int m, const int n, multiply_lanes *multiply) {
  lanes sums[MOST_ROWS][MOST_VECTORS];
  UNROLL for (int r = 0; r < m; r++)
    UNROLL for (int i = 0; i < n; i++)
      sums[r][i] = lanes_load(out + (size_t)r * out_stride + (size_t)i * CPU_LANES);
  const uint32_t *unit = a.data + row * a.row;
  for (size_t s = 0; s < steps; s++, unit += a.step, b += b_step) {
    lanes bi[MOST_VECTORS];
    UNROLL for (int i = 0; i < n; i++) bi[i] = lanes_f32((const uint8_t *)(b + (size_t)i * CPU_LANES));
    UNROLL for (int r = 0; r < m; r++) {
      const lanes ar = lanes_unit(unit + (size_t)r * a.row);
      UNROLL for (int i = 0; i < n; i++) sums[r][i] = multiply(ar, bi[i], sums[r][i]);
    }
  }
  UNROLL for (int r = 0; r < m; r++)
    UNROLL for (int i = 0; i < n; i++)
      lanes_store(out + (size_t)r * out_stride + (size_t)i * CPU_LANES, sums[r][i]);
}

/* All rows of n lane sets of columns: these units of b lie in the first cache while the rows pass. */
ALWAYS_INLINE void multiply_columns (cpu_units a, size_t rows, const uint32_t *b, size_t b_step, size_t steps,
                                     float *out, size_t out_stride, const int n, multiply_lanes *multiply) {
  const int m = SUMS_HELD / n < MOST_ROWS ? SUMS_HELD / n : MOST_ROWS;
  size_t r = 0;
  for (; r + (size_t)m <= rows; r += (size_t)m)
    multiply_some(a, r, b, b_step, steps, out + r * out_stride, out_stride, m, n, multiply);
  for (; r < rows; r++) multiply_some(a, r, b, b_step, steps, out + r * out_stride, out_stride, 1, n, multiply);
}

ALWAYS_INLINE void multiply_units (cpu_units a, size_t rows, const uint32_t *b, size_t b_step, size_t steps,
                                   size_t columns, float *out, size_t out_stride, multiply_lanes *multiply) {
  size_t c = 0;
#define COLUMNS(n) \
  for (; n <= VECTORS_HELD && c + n * CPU_LANES <= columns; c += n * CPU_LANES) \
    multiply_columns(a, rows, b + c, b_step, steps, out + c, out_stride, n, multiply);
  COLUMNS(4)
  COLUMNS(2)
  COLUMNS(1)
#undef COLUMNS
  for (size_t r = 0; c < columns && r < rows; r++) {
    float last[CPU_LANES] = { 0 };
    memcpy(last, out + r * out_stride + c, (columns - c) * sizeof *out);
    multiply_some(a, r, b + c, b_step, steps, last, CPU_LANES, 1, 1, multiply);
    memcpy(out + r * out_stride + c, last, (columns - c) * sizeof *out);
  }
}

static void multiply_floats (cpu_units a, size_t rows, const uint32_t *b, size_t b_step, size_t steps, size_t columns,
                             float *out, size_t out_stride) {
  multiply_units(a, rows, b, b_step, steps, columns, out, out_stride, lanes_fma);
}

/* A function of its own: its arithmetic must stay between the two changes of the float mode around it. */
static __attribute__((noinline)) void multiply_flushed (cpu_units a, size_t rows, const uint32_t *b, size_t b_step,
                                                        size_t steps, size_t columns, float *out,
                                                        size_t out_stride) {
  multiply_units(a, rows, b, b_step, steps, columns, out, out_stride, lanes_fma_pairs);
}

static void multiply_pairs (cpu_units a, size_t rows, const uint32_t *b, size_t b_step, size_t steps, size_t columns,
                            float *out, size_t out_stride) {
  const float_mode before = float_mode_flush();
  multiply_flushed(a, rows, b, b_step, steps, columns, out, out_stride);
  float_mode_restore(before);
}

/* {== Softmax ==================================================================================== */

/* The scores of CPU_LANES heads. */
static void softmax_lanes (float *p, size_t stride, size_t rows, float factor, cpu_softmax *state, size_t head) {
  const lanes by = lanes_set(factor), before = lanes_load(state->largest + head);
  lanes largest = before, sum = lanes_set(0.0f);
  for (size_t i = 0; i < rows; i++) {
    const lanes score = lanes_mul(lanes_load(p + i * stride), by);
    lanes_store(p + i * stride, score);
    largest = lanes_max(score, largest);
  }
  for (size_t i = 0; i < rows; i++) {
    const lanes share = lanes_exp(lanes_sub(lanes_load(p + i * stride), largest));
    lanes_store(p + i * stride, share);
    sum = lanes_add(sum, share);
  }
  const lanes rescale = lanes_exp(lanes_sub(before, largest));
  lanes_store(state->largest + head, largest);
  lanes_store(state->rescale + head, rescale);
  lanes_store(state->sum + head, lanes_add(lanes_mul(lanes_load(state->sum + head), rescale), sum));
}

static void softmax (float *p, size_t rows, size_t heads, float factor, cpu_softmax *state) {
  for (size_t h = 0; h < heads; h += CPU_LANES) softmax_lanes(p + h, heads, rows, factor, state, h);
}

/* {== Pairs ====================================================================================== */

static void e4m3_to_bf16 (const uint8_t *codes, const uint8_t *scales, uint16_t *out, size_t blocks) {
  enum { BLOCK = 64 };
  for (; blocks > 0; blocks--, codes += BLOCK, out += BLOCK) {
    const lanes by = lanes_set(256.0f * e8m0_decode(*scales++));     /* lanes_e4m3 gives value / 256 */
    float values[BLOCK];
    for (size_t i = 0; i < BLOCK; i += CPU_LANES)
      lanes_store(values + i, lanes_keep_nan(codes + i, lanes_mul(lanes_e4m3(codes + i), by)));
    for (size_t i = 0; i < BLOCK; i++) out[i] = (uint16_t)(bits_of_float(values[i]) >> 16);
  }
}

static void to_bf16 (const float *x, uint16_t *out, size_t count) {
  for (size_t i = 0; i < count; i++) out[i] = bf16_encode(x[i]);
}

static void pair_rows (const uint16_t *first, const uint16_t *second, uint32_t *out, size_t count) {
  for (size_t i = 0; i < count; i++) out[i] = first[i] | (uint32_t)second[i] << 16;
}

#endif
