/* Which of the encodings come in GGML's blocks; sizes are the format's (format/tensor_type.c). */
#include "blocks.h"

static const struct block_row { int in_blocks; tensor_type type; } rows[WEIGHT_ENCODINGS] = {
  [WEIGHT_Q4_0] = { 1, TENSOR_Q4_0 },       [WEIGHT_Q4_1] = { 1, TENSOR_Q4_1 },
  [WEIGHT_Q5_0] = { 1, TENSOR_Q5_0 },       [WEIGHT_Q5_1] = { 1, TENSOR_Q5_1 },
  [WEIGHT_Q8_0] = { 1, TENSOR_Q8_0 },       [WEIGHT_Q2_K] = { 1, TENSOR_Q2_K },
  [WEIGHT_Q3_K] = { 1, TENSOR_Q3_K },       [WEIGHT_Q4_K] = { 1, TENSOR_Q4_K },
  [WEIGHT_Q5_K] = { 1, TENSOR_Q5_K },       [WEIGHT_Q6_K] = { 1, TENSOR_Q6_K },
  [WEIGHT_IQ1_S] = { 1, TENSOR_IQ1_S },     [WEIGHT_IQ1_M] = { 1, TENSOR_IQ1_M },
  [WEIGHT_IQ2_XXS] = { 1, TENSOR_IQ2_XXS }, [WEIGHT_IQ2_XS] = { 1, TENSOR_IQ2_XS },
  [WEIGHT_IQ2_S] = { 1, TENSOR_IQ2_S },     [WEIGHT_IQ3_XXS] = { 1, TENSOR_IQ3_XXS },
  [WEIGHT_IQ3_S] = { 1, TENSOR_IQ3_S },     [WEIGHT_IQ4_NL] = { 1, TENSOR_IQ4_NL },
  [WEIGHT_IQ4_XS] = { 1, TENSOR_IQ4_XS },   [WEIGHT_MXFP4] = { 1, TENSOR_MXFP4 },
};

const tensor_type_info *cpu_block_type (weight_encoding encoding) {
  return rows[encoding].in_blocks ? &tensor_types[rows[encoding].type] : NULL;
}
