/*
** Named, typed, bounds-checked tensors: what every container (safetensors, GGUF) turns into. Names
** and records belong to the table; the bytes to the file views behind it.
*/
#ifndef format_tensor_table_h
#define format_tensor_table_h

#include "name_index.h"
#include "tensor_type.h"

enum { TENSOR_RANK_LIMIT = 8 };

typedef struct stored_tensor {
  const char *name;              /* the official name (specs/formats.md 2.2) */
  const char *stored_as;         /* its spelling in the file; for a part of a fused tensor, the whole's */
  const char *file;              /* path of the file that holds it */
  tensor_type type;
  size_t rank, shape[TENSOR_RANK_LIMIT];   /* row-major: the last index is the fastest */
  const uint8_t *data;           /* [bytes]; out of a checkpoint it is aligned for the type */
  size_t bytes;
} stored_tensor;

/* Grows by tensor_table_add only; {0} is an empty table. */
typedef struct tensor_table {
  name_index names;
  stored_tensor *tensors;        /* [names.count], in the order in which they were added */
  size_t capacity;
} tensor_table;

/*
** Adds a copy of *tensor under a copy of its name; `stored_as` is copied too (NULL: same as the name).
** *present is NULL then. When the name is taken nothing is added and *present is the tensor that has it:
** MS_OK all the same, for only the caller knows what to say.
*/
ms_status tensor_table_add (tensor_table *table, const stored_tensor *tensor, const stored_tensor **present,
                            ms_error *err);
const stored_tensor *tensor_table_find (const tensor_table *table, const char *name);   /* NULL: no such name */
void tensor_table_clear (tensor_table *table);      /* leaves it empty; {0} is allowed */

#endif
