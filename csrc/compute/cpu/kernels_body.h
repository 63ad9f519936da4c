/*
** The kernels of one level. kernels_<level>.c defines `lanes` and the operations on them, the block
** sizes and LEVEL (the table) and LEVEL_NAME, then includes this: every level has the same code and
** differs in how sixteen lanes are held and how codes become lanes.
*/
#ifndef compute_cpu_kernels_body_h
#define compute_cpu_kernels_body_h

#include "kernels_product.h"
#include "kernels_blocks.h"
#include "kernels_int8.h"
#include "kernels_tile.h"
#include "kernels_elements.h"
#include "kernels_index.h"
#include "kernels_attention.h"

const cpu_kernels LEVEL = {
  .name = LEVEL_NAME,
  .product = {
    [WEIGHT_F32] = product_f32, [WEIGHT_BF16] = product_bf16, [WEIGHT_F16] = product_f16,
    [WEIGHT_FP8] = product_fp8, [WEIGHT_FP4] = product_fp4,
    [WEIGHT_Q4_0 ... WEIGHT_MXFP4] = product_blocked,
  },
  .decode_blocks = decode_blocked_row,
  .product_int8 = {
    [WEIGHT_FP4] = product_fp4_int8, [WEIGHT_Q8_0] = product_q8_0, [WEIGHT_MXFP4] = product_mxfp4,
    [WEIGHT_Q4_0] = product_q4_0, [WEIGHT_IQ4_NL] = product_iq4_nl,
    [WEIGHT_Q2_K] = product_q2_k, [WEIGHT_Q3_K] = product_q3_k, [WEIGHT_Q4_K] = product_q4_k,
    [WEIGHT_Q5_K] = product_q5_k, [WEIGHT_Q6_K] = product_q6_k, [WEIGHT_IQ1_S] = product_iq1_s,
    [WEIGHT_IQ1_M] = product_iq1_m, [WEIGHT_IQ2_XXS] = product_iq2_xxs, [WEIGHT_IQ2_XS] = product_iq2_xs,
    [WEIGHT_IQ2_S] = product_iq2_s, [WEIGHT_IQ3_XXS] = product_iq3_xxs, [WEIGHT_IQ3_S] = product_iq3_s,
    [WEIGHT_IQ4_XS] = product_iq4_xs,
  },
  .index_products = index_products,
  .sum_relu = sum_relu,
  .to_int8 = to_int8,
  .multiply_add = { [UNIT_FLOAT] = multiply_floats, [UNIT_PAIR] = multiply_pairs },
  .softmax = softmax,
  .e4m3_to_bf16 = e4m3_to_bf16,
  .to_bf16 = to_bf16,
  .pair_rows = pair_rows,
  .dot = dot,
  .sum_squares = sum_squares,
  .add_rows = add_rows,
  .scale = scale,
  .decode_e4m3 = decode_e4m3,
  .decode_bf16 = decode_bf16,
  .exp = exp_all,
  .sqrt_softplus = sqrt_softplus,
  .swiglu = swiglu,
};

#endif
