/*
** Element types: rows of one table. A type that a file may hold but the model has no use for is still a
** row, so that files are listed and counted; what a weight may be stored in is model/weights.c's business.
*/
#ifndef format_tensor_type_h
#define format_tensor_type_h

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum tensor_type {
  TENSOR_F32, TENSOR_F16, TENSOR_BF16, TENSOR_F64,
  TENSOR_F8_E4M3, TENSOR_F8_E5M2, TENSOR_F8_E8M0,
  TENSOR_F4, TENSOR_F6_E2M3, TENSOR_F6_E3M2,
  TENSOR_I8, TENSOR_U8, TENSOR_I16, TENSOR_U16, TENSOR_I32, TENSOR_U32, TENSOR_I64, TENSOR_U64,
  TENSOR_BOOL, TENSOR_C64,
  /* In GGUF files only (specs/formats.md 5). */
  TENSOR_Q4_0, TENSOR_Q4_1, TENSOR_Q5_0, TENSOR_Q5_1, TENSOR_Q8_0,
  TENSOR_Q2_K, TENSOR_Q3_K, TENSOR_Q4_K, TENSOR_Q5_K, TENSOR_Q6_K,
  TENSOR_IQ1_S, TENSOR_IQ1_M, TENSOR_IQ2_XXS, TENSOR_IQ2_XS, TENSOR_IQ2_S, TENSOR_IQ3_XXS, TENSOR_IQ3_S,
  TENSOR_IQ4_NL, TENSOR_IQ4_XS, TENSOR_MXFP4,
  TENSOR_TYPE_COUNT
} tensor_type;

enum { TENSOR_SAFETENSORS_COUNT = TENSOR_Q4_0 };   /* types below it are safetensors' */

/* `block_values` consecutive values of the last dimension take `block_bytes` bytes. */
typedef struct tensor_type_info {
  const char *name;              /* as safetensors writes it, or as GGML calls it */
  size_t block_values, block_bytes;
  size_t alignment;              /* of its first byte in memory; a power of two */
  int ggml_id;                   /* as GGUF writes it; TENSOR_NO_GGML_ID: no such type there */
} tensor_type_info;

enum { TENSOR_NO_GGML_ID = -1 };

extern const tensor_type_info tensor_types[TENSOR_TYPE_COUNT];

/* The type that safetensors calls name[0 .. bytes-1]; false when there is none. */
bool tensor_type_find (const char *name, size_t bytes, tensor_type *type);
/* The type that GGUF files call `id`; false when it is none of ours. */
bool tensor_type_of_ggml (uint32_t id, tensor_type *type);

/*
** Bytes of a tensor. False when a product wraps, or when the values are no whole number of blocks (for
** types of more than one value a block: the last dimension). Rank 0 is one value; a dimension 0 gives 0.
*/
bool tensor_type_bytes (tensor_type type, size_t rank, const size_t *shape, size_t *bytes);

#endif
