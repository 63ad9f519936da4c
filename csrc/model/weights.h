/*
** A model: its configuration and its weights, by layer and stage, as the stages of compute/backend.h take
** them. Nothing is read or copied but the hash-routing tables, whose range is checked.
*/
#ifndef model_weights_h
#define model_weights_h

#include "../compute/backend.h"
#include "../format/checkpoint.h"
#include "config.h"

typedef struct model_layer {
  size_t ratio;                        /* 0: window only; 4: overlapping compressor and indexer; else plain */
  hyper_connection attention_hc, feed_forward_hc;
  weight attention_norm, feed_forward_norm;                            /* [width] */

  weight wq_a, q_norm, wq_b;           /* [q_lora, width], [q_lora], [heads * head, q_lora] */
  weight wkv, kv_norm;                 /* [head, width], [head] */
  weight wo_a, wo_b;                   /* [groups * o_lora, heads * head / groups], [width, groups * o_lora] */
  attention_shape attention;
  compressor compressor;               /* ratio != 0 */
  indexer indexer;                     /* has_indexer */
  int has_indexer;

  router router;
  expert_set experts;
} model_layer;

typedef struct model {
  model_config config;
  checkpoint *files;
  weight embedding, head, norm;        /* [vocabulary, width] twice, [width] */
  hyper_connection head_hc;
  rope_table window_rope, compress_rope;   /* of ratio 0; of all other layers (2.0: with YaRN) */
  model_layer *layers;                 /* [config.layers] */
  uint8_t *used;                       /* [checkpoint_count(files)] 1: a weight, or its scales; 0: left aside (MTP) */
} model;

/* Opens a checkpoint folder. Errors name the tensor, what it is and what it should be. */
ms_status model_open (const char *path, ms_access access, model **out, ms_error *err);
/* A tensor in use, other than scales and hash tables, as a stage takes it. */
ms_status model_weight (model *m, const stored_tensor *stored, weight *out, ms_error *err);
void model_close (model *m);           /* NULL and half-built ones are allowed */

/* Reads every weight in use and refuses NaN, Inf and undefined codes by tensor and index. */
ms_status model_check_weights (const model *m, ms_progress *progress, void *user, ms_error *err);

/* What ms_probe reports. */
void model_describe (const model *m, ms_model_info *info);

#endif
