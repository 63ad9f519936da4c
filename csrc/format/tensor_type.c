/* The table of element types. */
#include "tensor_type.h"

#include <string.h>

#include "../base/checked.h"

const tensor_type_info tensor_types[TENSOR_TYPE_COUNT] = {
  /*                    name   values bytes align ggml */
  [TENSOR_F32]     = { "F32",      1, 4, 4, 0 },
  [TENSOR_F16]     = { "F16",      1, 2, 2, 1 },
  [TENSOR_BF16]    = { "BF16",     1, 2, 2, 30 },
  [TENSOR_F64]     = { "F64",      1, 8, 8, 28 },
  [TENSOR_F8_E4M3] = { "F8_E4M3",  1, 1, 1, TENSOR_NO_GGML_ID },
  [TENSOR_F8_E5M2] = { "F8_E5M2",  1, 1, 1, TENSOR_NO_GGML_ID },
  [TENSOR_F8_E8M0] = { "F8_E8M0",  1, 1, 1, TENSOR_NO_GGML_ID },
  [TENSOR_F4]      = { "F4",       2, 1, 1, TENSOR_NO_GGML_ID },
  [TENSOR_F6_E2M3] = { "F6_E2M3",  4, 3, 1, TENSOR_NO_GGML_ID },
  [TENSOR_F6_E3M2] = { "F6_E3M2",  4, 3, 1, TENSOR_NO_GGML_ID },
  [TENSOR_I8]      = { "I8",       1, 1, 1, 24 },
  [TENSOR_U8]      = { "U8",       1, 1, 1, TENSOR_NO_GGML_ID },
  [TENSOR_I16]     = { "I16",      1, 2, 2, 25 },
  [TENSOR_U16]     = { "U16",      1, 2, 2, TENSOR_NO_GGML_ID },
  [TENSOR_I32]     = { "I32",      1, 4, 4, 26 },
  [TENSOR_U32]     = { "U32",      1, 4, 4, TENSOR_NO_GGML_ID },
  [TENSOR_I64]     = { "I64",      1, 8, 8, 27 },
  [TENSOR_U64]     = { "U64",      1, 8, 8, TENSOR_NO_GGML_ID },
  [TENSOR_BOOL]    = { "BOOL",     1, 1, 1, TENSOR_NO_GGML_ID },
  [TENSOR_C64]     = { "C64",      1, 8, 4, TENSOR_NO_GGML_ID },
  /* GGML's blocks, as compute/cpu/blocks.h draws them; their scales need no alignment. */
  [TENSOR_Q4_0]    = { "Q4_0",     32,  18, 1, 2 },
  [TENSOR_Q4_1]    = { "Q4_1",     32,  20, 1, 3 },
  [TENSOR_Q5_0]    = { "Q5_0",     32,  22, 1, 6 },
  [TENSOR_Q5_1]    = { "Q5_1",     32,  24, 1, 7 },
  [TENSOR_Q8_0]    = { "Q8_0",     32,  34, 1, 8 },
  [TENSOR_Q2_K]    = { "Q2_K",    256,  84, 1, 10 },
  [TENSOR_Q3_K]    = { "Q3_K",    256, 110, 1, 11 },
  [TENSOR_Q4_K]    = { "Q4_K",    256, 144, 1, 12 },
  [TENSOR_Q5_K]    = { "Q5_K",    256, 176, 1, 13 },
  [TENSOR_Q6_K]    = { "Q6_K",    256, 210, 1, 14 },
  [TENSOR_IQ1_S]   = { "IQ1_S",   256,  50, 1, 19 },
  [TENSOR_IQ1_M]   = { "IQ1_M",   256,  56, 1, 29 },
  [TENSOR_IQ2_XXS] = { "IQ2_XXS", 256,  66, 1, 16 },
  [TENSOR_IQ2_XS]  = { "IQ2_XS",  256,  74, 1, 17 },
  [TENSOR_IQ2_S]   = { "IQ2_S",   256,  82, 1, 22 },
  [TENSOR_IQ3_XXS] = { "IQ3_XXS", 256,  98, 1, 18 },
  [TENSOR_IQ3_S]   = { "IQ3_S",   256, 110, 1, 21 },
  [TENSOR_IQ4_NL]  = { "IQ4_NL",   32,  18, 1, 20 },
  [TENSOR_IQ4_XS]  = { "IQ4_XS",  256, 136, 1, 23 },
  [TENSOR_MXFP4]   = { "MXFP4",    32,  17, 1, 39 },
};

bool tensor_type_find (const char *name, size_t bytes, tensor_type *type) {
  for (size_t i = 0; i < TENSOR_SAFETENSORS_COUNT; i++)
    if (strlen(tensor_types[i].name) == bytes && memcmp(tensor_types[i].name, name, bytes) == 0) {
      *type = (tensor_type)i;
      return true;
    }
  return false;
}

bool tensor_type_of_ggml (uint32_t id, tensor_type *type) {
  for (size_t i = 0; i < TENSOR_TYPE_COUNT; i++)
    if (tensor_types[i].ggml_id >= 0 && (uint32_t)tensor_types[i].ggml_id == id) {
      *type = (tensor_type)i;
      return true;
    }
  return false;
}

bool tensor_type_bytes (tensor_type type, size_t rank, const size_t *shape, size_t *bytes) {
  const tensor_type_info *info = &tensor_types[type];
  size_t last = rank == 0 ? 1 : shape[rank - 1], product = 1;
  if (last % info->block_values != 0) return false;
  for (size_t i = 0; i + 1 < rank; i++)
    if (!checked_mul(product, shape[i], &product)) return false;
  return checked_mul(product, last / info->block_values, &product) &&
         checked_mul(product, info->block_bytes, bytes);
}
