/*
** What a conversion writes, decided before the first byte: the tensors of the target under its names, their types and
** places, and which tensors of the source each is made of. The same source and options give the same plan.
*/
#ifndef convert_plan_h
#define convert_plan_h

#include "../model/weights.h"
#include "config_json.h"

typedef enum container { CONTAINER_GGUF, CONTAINER_SAFETENSORS } container;

/* Tensors that a caller chooses a type for together. What no class is keeps its type (docs/convert.md). */
typedef enum tensor_class {
  CLASS_EXPERTS, CLASS_ATTENTION, CLASS_COMPRESSORS, CLASS_SHARED, CLASS_HEAD, CLASS_EMBEDDING, CLASS_REST
} tensor_class;

typedef enum work {
  WORK_COPY,                     /* the bytes of the sources, one after the other */
  WORK_IDS,                      /* integers of another width */
  WORK_VALUES,                   /* another encoding */
  WORK_SCALES                    /* written with the tensor before it, whose scales these are */
} work;

/* A tensor of the target. */
typedef struct output {
  const char *name;
  const stored_tensor **sources; /* [count] a matrix each: the experts of a layer, else one */
  size_t count, order;           /* order: of its making */
  work work;
  tensor_type type;
  size_t rank, shape[3];
  size_t file;                   /* number of the file it lies in */
  uint64_t offset, bytes;        /* in that file, from its first byte */
} output;

typedef struct planned_file {
  char *name;                    /* within the target's folder; NULL: the target itself */
  uint8_t *header; size_t header_bytes;
  uint64_t bytes;                /* of the whole file */
  size_t first, count;           /* its outputs */
} planned_file;

typedef struct side_file { char *name; uint8_t *data; size_t bytes; } side_file;

typedef struct plan {
  container container;
  tensor_table names;            /* owns the outputs' names */
  output *outputs;               /* [count] in the order of their places */
  size_t count, capacity;
  planned_file *files; size_t file_count;
  side_file sides[16]; size_t side_count;            /* files beside the weights */
  stored_form form;
  uint64_t bytes;                /* of all outputs */
  uint64_t hash;                 /* of everything above, of the source's files and of our version */
} plan;

/*
** MS_EINVAL: a type that does not exist, that the container has no name for, or whose blocks do not fit a tensor; the
** message says which would. *out is to be cleared, after a failure too.
*/
ms_status plan_make (model *m, container target, const ms_convert_options *options, plan *out, ms_error *err);
void plan_clear (plan *p);

/* Are the scales of its codes a tensor of their own? */
static inline bool type_has_scales (tensor_type type) {
  return type == TENSOR_F8_E4M3 || type == TENSOR_I8;
}

/* How a type that is written stores values. */
weight_encoding plan_encoding (tensor_type type);

#endif
