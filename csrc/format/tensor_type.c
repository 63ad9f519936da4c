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
};

bool tensor_type_find (const char *name, size_t bytes, tensor_type *type) {
  for (size_t i = 0; i < TENSOR_TYPE_COUNT; i++)
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
