/* A JSON object by tables; keys are those that model/config.c reads. */
#include "config_json.h"

#include <stdlib.h>
#include <string.h>

#include "../base/file.h"
#include "../base/json.h"
#include "../base/memory.h"

enum { CONFIG_BYTES = 4194304 };

#define ROWS(table) (sizeof (table) / sizeof *(table))
#define FIELD(key, field) { key, offsetof(model_config, field) }

typedef struct field_row { const char *key; size_t offset; } field_row;
typedef struct text_row { const char *key, *value; } text_row;

static const field_row sizes[] = {
  FIELD("vocab_size", vocabulary),
  FIELD("hidden_size", width),
  FIELD("num_hidden_layers", layers),
  FIELD("max_position_embeddings", context),
  FIELD("num_attention_heads", heads),
  FIELD("head_dim", head_dim),
  FIELD("qk_rope_head_dim", rope_dim),
  FIELD("q_lora_rank", q_lora),
  FIELD("o_groups", o_groups),
  FIELD("o_lora_rank", o_lora),
  FIELD("sliding_window", window),
  FIELD("n_routed_experts", experts),
  FIELD("num_experts_per_tok", top_k),
  FIELD("moe_intermediate_size", expert_width),
  FIELD("n_shared_experts", shared_experts),
  FIELD("num_hash_layers", hash_layers),
  FIELD("hc_mult", streams),
  FIELD("hc_sinkhorn_iters", sinkhorn_rounds),
};

static const field_row index_sizes[] = {
  FIELD("index_n_heads", index_heads),
  FIELD("index_head_dim", index_dim),
  FIELD("index_topk", index_top_k),
};

static const field_row numbers[] = {
  FIELD("routed_scaling_factor", route_scale),
  FIELD("hc_eps", hc_eps),
  FIELD("rms_norm_eps", rms_eps),
  FIELD("rope_theta", rope_theta),
  FIELD("swiglu_limit", swiglu_limit),
};

static const field_row compress_numbers[] = {
  FIELD("compress_rope_theta", compress_rope_theta),
};

static const field_row yarn_numbers[] = {
  FIELD("factor", yarn.factor),
  FIELD("original_max_position_embeddings", yarn.original_context),
  FIELD("beta_fast", yarn.beta_fast),
  FIELD("beta_slow", yarn.beta_slow),
};

static const text_row texts[] = {
  { "model_type", "deepseek_v4" },
  { "scoring_func", "sqrtsoftplus" },
  { "topk_method", "noaux_tc" },
  { "hidden_act", "silu" },
  { "torch_dtype", "bfloat16" },
};

/* {== Filling an object: 0, or another number when memory ran out ================================ */

static int set_sizes (json_t *object, const model_config *c, const field_row *rows, size_t count) {
  int failed = 0;
  for (size_t i = 0; i < count; i++) {
    size_t value;
    memcpy(&value, (const char *)c + rows[i].offset, sizeof value);
    failed |= json_object_set_new(object, rows[i].key, json_integer((json_int_t)value));
  }
  return failed;
}

/* Whole numbers as such: both forms are read, and people expect them. */
static json_t *number_of (double value) {
  const json_int_t whole = value >= 0 && value < 1e15 ? (json_int_t)value : -1;
  return whole >= 0 && !((double)whole < value) ? json_integer(whole) : json_real(value);
}

static int set_numbers (json_t *object, const model_config *c, const field_row *rows, size_t count) {
  int failed = 0;
  for (size_t i = 0; i < count; i++) {
    double value;
    memcpy(&value, (const char *)c + rows[i].offset, sizeof value);
    failed |= json_object_set_new(object, rows[i].key, number_of(value));
  }
  return failed;
}

static json_t *make_scaling (const model_config *c) {
  json_t *scaling = json_pack("{s:s}", "type", "yarn");
  if (set_numbers(scaling, c, yarn_numbers, ROWS(yarn_numbers)) == 0) return scaling;
  json_decref(scaling);
  return NULL;
}

static json_t *make_ratios (const model_config *c) {
  json_t *list = json_array();
  int failed = list == NULL;
  for (size_t i = 0; i < c->layers; i++) failed |= json_array_append_new(list, json_integer((json_int_t)c->ratios[i]));
  if (!failed) return list;
  json_decref(list);
  return NULL;
}

static int set_ends (json_t *object, const model_config *c) {
  int failed = c->bos >= 0 ? json_object_set_new(object, "bos_token_id", json_integer(c->bos)) : 0;
  if (c->eos_count == 1) return failed | json_object_set_new(object, "eos_token_id", json_integer(c->eos[0]));
  json_t *list = json_array();
  for (size_t i = 0; i < c->eos_count; i++) failed |= json_array_append_new(list, json_integer(c->eos[i]));
  return failed | json_object_set_new(object, "eos_token_id", list);
}

/* {== The object ================================================================================= */

static int fill (json_t *root, const model_config *c) {
  int failed = json_object_set_new(root, "architectures", json_pack("[s]", "DeepseekV4ForCausalLM"));
  for (size_t i = 0; i < ROWS(texts); i++)
    failed |= json_object_set_new(root, texts[i].key, json_string(texts[i].value));
  failed |= set_sizes(root, c, sizes, ROWS(sizes));
  if (c->indexes) failed |= set_sizes(root, c, index_sizes, ROWS(index_sizes));
  failed |= set_numbers(root, c, numbers, ROWS(numbers));
  if (c->compresses) {
    failed |= set_numbers(root, c, compress_numbers, ROWS(compress_numbers));
    failed |= json_object_set_new(root, "rope_scaling", make_scaling(c));
  }
  failed |= json_object_set_new(root, "compress_ratios", make_ratios(c));
  failed |= json_object_set_new(root, "num_key_value_heads", json_integer(1));
  failed |= json_object_set_new(root, "norm_topk_prob", json_true());
  failed |= json_object_set_new(root, "attention_bias", json_false());
  failed |= json_object_set_new(root, "tie_word_embeddings", json_boolean(c->tied_head));
  return failed | set_ends(root, c);
}

/* What a reader other than ours goes by: without FP8 there is no quantiser to be told of. */
static int set_form (json_t *root, const stored_form *form) {
  int failed = 0;
  if (form->fp8)
    failed |= json_object_set_new(root, "quantization_config",
                                  json_pack("{s:s, s:s, s:s, s:s, s:[I, I]}", "quant_method", "fp8", "fmt", "e4m3",
                                            "scale_fmt", "ue8m0", "activation_scheme", "dynamic", "weight_block_size",
                                            (json_int_t)form->block[0], (json_int_t)form->block[1]));
  else json_object_del(root, "quantization_config");
  if (form->fp4) failed |= json_object_set_new(root, "expert_dtype", json_string("fp4"));
  else json_object_del(root, "expert_dtype");
  return failed | json_object_set_new(root, "num_nextn_predict_layers", json_integer(0));
}

static ms_status load (const model *m, json_t **root, ms_error *err) {
  if (checkpoint_metadata(m->files) != NULL) {
    *root = json_object();
    if (*root != NULL && fill(*root, &m->config) == 0) return MS_OK;
    return fail_memory(err, sizeof(json_t *), "config.json");
  }
  char *path = file_path_join(checkpoint_origin(m->files), "config.json");
  if (path == NULL) return fail_memory(err, strlen(checkpoint_origin(m->files)), "a path");
  ms_status status = json_file_parse(path, CONFIG_BYTES, root, err);
  memory_free(path);
  return status;
}

ms_status config_json_make (const model *m, const stored_form *form, byte_list *text, ms_error *err) {
  json_t *root = NULL;
  char *written = NULL;
  ms_status status = load(m, &root, err);
  if (status == MS_OK && set_form(root, form) == 0) written = json_dumps(root, JSON_INDENT(2));
  if (status == MS_OK && written == NULL) status = fail_memory(err, sizeof(json_t *), "config.json");
  if (status == MS_OK) status = bytes_add(text, written, strlen(written), err);
  if (status == MS_OK) status = bytes_add(text, "\n", 1, err);
  free(written);
  json_decref(root);
  return status;
}
