/* One step on its way through the layers: what forward.c hands to the sublayers. */
#ifndef model_step_h
#define model_step_h

#include "../compute/backend.h"
#include "weights.h"

enum { SCRATCH_BUFFERS = 18 };

/* The tensors of the step at hand. Their buffers grow to the largest step and are kept (scratch.c). */
typedef struct model_scratch {
  size_t held[SCRATCH_BUFFERS], bytes; /* bytes of each buffer, and of all */
  tensor streams;                      /* [rows, streams * width] */
  tensor mixed, normed, result;        /* [rows, width]: of hc_pre, its norm, a sublayer's result */
  tensor post, comb;                   /* [rows, streams], [rows, streams * streams] */
  tensor latent;                       /* [rows, q_lora] */
  tensor q, heads;                     /* [rows, heads * head] */
  tensor kv;                           /* [rows, head] */
  tensor groups;                       /* [rows, groups * o_lora] */
  id_tensor chosen_rows;               /* [rows, index top_k] */
  id_tensor chosen_experts;            /* [layers, rows, top_k], kept until the step's end */
  tensor expert_weights;               /* [rows, top_k] */
  tensor window_angles, compress_angles;   /* [rows, rope dimensions] */
  tensor last, logits;                 /* [rows, width], [rows, vocabulary]: rows whose logits are wanted */
} model_scratch;

typedef struct model_step {
  const model *m;
  backend *be;
  const int32_t *tokens, *positions;   /* [rows] */
  const route_policy *const *policies; /* [rows], as the layer at hand sees them; or NULL */
  segment_list segments;               /* as the layer at hand sees them */
  model_scratch *scratch;
} model_step;

/* One layer: step->scratch->streams in and out (2.2). */
ms_status model_run_layer (model_step *step, const model_layer *layer, ms_error *err);
/* u -> out, the attention sublayer of one layer (2.4). */
ms_status model_attention (model_step *step, const model_layer *layer, const tensor *u, tensor *out, ms_error *err);
/* u -> out, its mixture of experts (2.7). */
ms_status model_feed_forward (model_step *step, const model_layer *layer, const tensor *u, tensor *out,
                              ms_error *err);

#endif
