/*
** What a model's files say about it, checked (specs/architecture.md 1): config.json and generation_config.json, or
** the key/values of a GGUF file. Every size the forward pass needs, none of them written in code. What the weights'
** shapes must then be is weights.c's business; what a numerics mode demands beyond it (packed rows, Hadamard) is the
** backend's.
*/
#ifndef model_config_h
#define model_config_h

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../format/checkpoint.h"

enum { MODEL_EOS_LIMIT = 16 };

/* Ratios with a meaning of their own; every other one is the plain compressor of that many tokens. */
enum { RATIO_WINDOW = 0, RATIO_OVERLAP = 4 };

/* A YaRN scaling of the frequencies of compressing layers; factor 0: none was stated. */
typedef struct yarn_config {
  double factor, original_context;       /* original_max_position_embeddings */
  double beta_fast, beta_slow;
} yarn_config;

/* generation_config.json; what it does not state is the neutral value. */
typedef struct sampling_config {
  bool sample;                           /* false: greedy */
  double temperature, top_p, min_p, repetition_penalty;   /* 1, 1, 0, 1 */
  size_t top_k;                          /* 0: all */
} sampling_config;

/* How the source spells what messages have to name. */
typedef struct config_keys {
  const char *layers, *heads, *head_dim, *rope_dim, *o_groups, *index_dim, *experts, *top_k, *shared_experts,
             *hash_layers;
} config_keys;

typedef struct model_config {
  const config_keys *keys;
  char architecture[32];                 /* model_type, "deepseek_v4" */
  size_t vocabulary, width, layers;      /* vocab_size, hidden_size, num_hidden_layers */
  size_t context;                        /* max_position_embeddings */

  size_t heads, head_dim, rope_dim;      /* the last rope_dim of head_dim are rotated */
  size_t q_lora, o_groups, o_lora;       /* heads is a multiple of o_groups */
  size_t window;                         /* sliding_window, in tokens */
  size_t *ratios;                        /* [layers] tokens a pooled row; see RATIO_ */
  bool compresses, indexes;              /* some layer has a ratio other than 0; the ratio 4 */
  size_t index_heads, index_dim, index_top_k;   /* 0 unless `indexes` */

  size_t experts, top_k, expert_width;   /* n_routed_experts, num_experts_per_tok, moe_intermediate_size */
  size_t shared_experts;                 /* always 1 */
  size_t hash_layers;                    /* the first of the layers route by token id */
  double route_scale;
  double swiglu_limit;                   /* 0: no clamp */

  size_t streams, sinkhorn_rounds;       /* hc_mult, hc_sinkhorn_iters */
  double hc_eps, rms_eps;
  double rope_theta;                     /* of layers of ratio 0 */
  double compress_rope_theta;            /* of all others; 0 unless `compresses` */
  yarn_config yarn;

  size_t weight_block[2];                /* rows, columns a scale of FP8 weights; 0, 0: none was stated */
  bool tied_head;                        /* the head is embed.weight */
  size_t mtp_layers;                     /* as stated; nothing depends on it */

  int32_t bos;                           /* -1: none was stated */
  int32_t eos[MODEL_EOS_LIMIT];
  size_t eos_count;                      /* at least 1 */
  sampling_config sampling;
} model_config;

/*
** Reads the configuration that belongs to a checkpoint: config.json and, if there is one, generation_config.json in
** its folder; or its GGUF file's key/values, which say nothing about sampling.
**   MS_ENOENT        config.json is missing
**   MS_EFORMAT       a key is missing, of the wrong type, or out of its range
**   MS_EUNSUPPORTED  another architecture, or a variant that we do not compute
** On failure *config is empty. Sizes are bounded so that the product of any two fits 64 bits with room to spare.
*/
ms_status model_config_read (const checkpoint *files, model_config *config, ms_error *err);
/* The first of the two ways alone. */
ms_status model_config_read_folder (const char *folder, model_config *config, ms_error *err);
void model_config_clear (model_config *config);      /* {0} is allowed; leaves it empty */

#endif
