/*
** Spellings of tensor names: official, V3-style, transformers and GGUF (specs/formats.md 2.2, 2.3, 3.2), all turned
** into the official one by tables. A fused tensor, which holds all experts of a layer, is described by its parts.
*/
#ifndef format_names_h
#define format_names_h

#include "name_index.h"

/*
** A tensor that holds all experts of a layer, [experts, parts * rows, columns]: the parts lie one after the
** other in every expert.
*/
typedef struct fused_tensor {
  const char *stored;            /* below its block: "ffn.experts.gate_up_proj", "ffn_up_exps" */
  const char *leaf;              /* "weight" or "scale" */
  size_t count;
  const char *parts[2];          /* [count] "w1", "w3" */
} fused_tensor;

typedef struct tensor_name {
  char official[NAME_LIMIT];   /* of a fused tensor: its block, "layers.3." */
  const fused_tensor *fused;          /* NULL: a tensor of its own */
} tensor_name;

/* A name that no table knows stays as it is. MS_EFORMAT when the official one is too long. */
ms_status name_translate (const char *stored, tensor_name *out, ms_error *err);
/* The official name of one part of one expert. */
ms_status name_of_part (const tensor_name *fused, size_t part, size_t expert, char out[NAME_LIMIT],
                        ms_error *err);

/*
** The name that GGUF files give to an official one; the experts of a layer have one together, and so has each of their
** parts. False: such files have no name for it.
*/
bool name_for_gguf (const char *official, char out[NAME_LIMIT]);

#endif
