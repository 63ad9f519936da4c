/*
** Products of the indexer's query heads with its keys, and their sums over the heads, for one level: included by
** kernels_<level>.c behind its lanes. A lane is a key, so nothing is joined at the end, which short rows would
** spend most time on.
*/
#ifndef compute_cpu_kernels_index_h
#define compute_cpu_kernels_index_h

enum { STEP = 4, STEPS = CPU_BLOCK / STEP };

/* One block of a group of keys times the same block of m query heads, added to their sums. */
ALWAYS_INLINE void index_block (const uint8_t *codes, const uint8_t *scales, const cpu_index_queries *q,
                                size_t query, size_t block, const int m, lanes sums[]) {
  const size_t blocks = q->width / CPU_BLOCK;
  four_sums products[QUERIES_AT_ONCE];
  UNROLL for (int r = 0; r < m; r++)
    products[r] = four_sums_start(-12 * q->sums[(query + (size_t)r) * blocks + block]);
  UNROLL for (size_t step = 0; step < STEPS; step++) {
    const fp4_pair keys = fp4_load_pair(codes + step * CPU_LANES * STEP / 2);
    UNROLL for (int r = 0; r < m; r++) {
      const int8_t *values = q->codes + (query + (size_t)r) * q->width + block * CPU_BLOCK + step * STEP;
      products[r] = four_sums_add(products[r], keys, codes_repeat(values));
    }
  }
  const lanes scale = lanes_mul(lanes_e8m0(scales), lanes_set(0.5f));
  UNROLL for (int r = 0; r < m; r++) {
    const lanes factor = lanes_mul(scale, lanes_set(q->scales[(query + (size_t)r) * blocks + block]));
    sums[r] = lanes_fma(four_sums_lanes(products[r]), factor, sums[r]);
  }
}

ALWAYS_INLINE void index_group (const uint8_t *group, const cpu_index_queries *q, size_t query, const int m,
                                float *out, size_t out_stride) {
  const size_t code_bytes = CPU_LANES * CPU_BLOCK / 2;
  const uint8_t *scales = group + q->width / CPU_BLOCK * code_bytes;
  lanes sums[QUERIES_AT_ONCE];
  UNROLL for (int r = 0; r < m; r++) sums[r] = lanes_set(0.0f);
  for (size_t block = 0; block < q->width / CPU_BLOCK; block++)
    index_block(group + block * code_bytes, scales + block * CPU_LANES, q, query, block, m, sums);
  UNROLL for (int r = 0; r < m; r++) lanes_store(out + (query + (size_t)r) * out_stride, sums[r]);
}

static void index_products (const uint8_t *keys, size_t groups, const cpu_index_queries *q, size_t rows,
                            float *out, size_t out_stride) {
  const size_t group_bytes = CPU_LANES * (q->width / 2 + q->width / CPU_BLOCK);
  for (size_t g = 0; g < groups; g++, keys += group_bytes, out += CPU_LANES) {
    size_t query = 0;
    for (; query + QUERIES_AT_ONCE <= rows; query += QUERIES_AT_ONCE)
      index_group(keys, q, query, QUERIES_AT_ONCE, out, out_stride);
    for (; query < rows; query++) index_group(keys, q, query, 1, out, out_stride);
  }
}

/* The sums of m lane sets of keys. */
ALWAYS_INLINE void sum_relu_lanes (const float *x, size_t stride, const float *factors, size_t rows, float *out,
                                   const int m) {
  lanes sums[SUMS_AT_ONCE];
  UNROLL for (int i = 0; i < m; i++) sums[i] = lanes_set(0.0f);
  for (size_t r = 0; r < rows; r++, x += stride) {
    const lanes factor = lanes_set(factors[r]);
    UNROLL for (int i = 0; i < m; i++) {
      const lanes positive = lanes_max(lanes_set(0.0f), lanes_load(x + (size_t)i * CPU_LANES));
      sums[i] = lanes_add(sums[i], lanes_mul(positive, factor));
    }
  }
  UNROLL for (int i = 0; i < m; i++) lanes_store(out + (size_t)i * CPU_LANES, sums[i]);
}

static void sum_relu (const float *x, size_t stride, const float *factors, size_t rows, float *out, size_t count) {
  size_t k = 0;
  for (; k + SUMS_AT_ONCE * CPU_LANES <= count; k += SUMS_AT_ONCE * CPU_LANES)
    sum_relu_lanes(x + k, stride, factors, rows, out + k, SUMS_AT_ONCE);
  for (; k < count; k += CPU_LANES) sum_relu_lanes(x + k, stride, factors, rows, out + k, 1);
}

#endif
