/*
** Key/values from a configuration: rows of tables, like those that config_metadata.c reads. Names are llama.cpp's.
*/
#include "gguf_keys.h"

#include <stdio.h>
#include <string.h>

#include "../base/file.h"
#include "../base/memory.h"
#include "../base/number.h"
#include "gguf_tokenizer.h"

#define OWN(name) "deepseek4." name
#define ROWS(table) (sizeof (table) / sizeof *(table))

typedef struct size_row { const char *key; size_t offset; } size_row;
typedef struct number_row { const char *key; size_t offset; } number_row;
typedef struct fixed_row { const char *key; uint32_t value; } fixed_row;

#define FIELD(key, field) { OWN(key), offsetof(model_config, field) }

static const size_row sizes[] = {
  FIELD("block_count", layers),
  FIELD("context_length", context),
  FIELD("embedding_length", width),
  FIELD("vocab_size", vocabulary),
  FIELD("feed_forward_length", expert_width),
  FIELD("attention.head_count", heads),
  FIELD("attention.key_length", head_dim),
  FIELD("attention.value_length", head_dim),
  FIELD("attention.q_lora_rank", q_lora),
  FIELD("attention.output_group_count", o_groups),
  FIELD("attention.output_lora_rank", o_lora),
  FIELD("attention.sliding_window", window),
  FIELD("rope.dimension_count", rope_dim),
  FIELD("expert_count", experts),
  FIELD("expert_used_count", top_k),
  FIELD("expert_shared_count", shared_experts),
  FIELD("expert_feed_forward_length", expert_width),
  FIELD("hash_layer_count", hash_layers),
  FIELD("hyper_connection.count", streams),
  FIELD("hyper_connection.sinkhorn_iterations", sinkhorn_rounds),
};

/* llama.cpp asks for them whatever the layers are; without an indexer they are 0. */
static const size_row index_sizes[] = {
  FIELD("attention.indexer.head_count", index_heads),
  FIELD("attention.indexer.key_length", index_dim),
  FIELD("attention.indexer.top_k", index_top_k),
};

static const number_row numbers[] = {
  FIELD("attention.layer_norm_rms_epsilon", rms_eps),
  FIELD("rope.freq_base", rope_theta),
  FIELD("expert_weights_scale", route_scale),
  FIELD("hyper_connection.epsilon", hc_eps),
};

static const number_row compress_numbers[] = {
  FIELD("attention.compress_rope_freq_base", compress_rope_theta),
  FIELD("rope.scaling.factor", yarn.factor),
  FIELD("rope.scaling.yarn_beta_fast", yarn.beta_fast),
  FIELD("rope.scaling.yarn_beta_slow", yarn.beta_slow),
};

/* What the forward pass computes one variant of; 4: the square root of softplus. */
static const fixed_row fixed[] = {
  { OWN("attention.head_count_kv"), 1 },
  { OWN("expert_gating_func"), 4 },
  { OWN("nextn_predict_layers"), 0 },
};

/* {== Pairs ====================================================================================== */

static ms_status key_begin (key_list *keys, const char *key, metadata_type type, ms_error *err) {
  keys->count++;
  TRY(bytes_add_unsigned(&keys->bytes, strlen(key), 8, err));
  TRY(bytes_add(&keys->bytes, key, strlen(key), err));
  return bytes_add_unsigned(&keys->bytes, type, 4, err);
}

ms_status key_begin_array (key_list *keys, const char *key, metadata_type type, size_t count, ms_error *err) {
  TRY(key_begin(keys, key, METADATA_ARRAY, err));
  TRY(bytes_add_unsigned(&keys->bytes, type, 4, err));
  return bytes_add_unsigned(&keys->bytes, count, 8, err);
}

ms_status key_add_string (key_list *keys, const char *text, size_t bytes, ms_error *err) {
  TRY(bytes_add_unsigned(&keys->bytes, bytes, 8, err));
  return bytes_add(&keys->bytes, text, bytes, err);
}

ms_status key_u32 (key_list *keys, const char *key, uint32_t value, ms_error *err) {
  TRY(key_begin(keys, key, METADATA_U32, err));
  return bytes_add_unsigned(&keys->bytes, value, 4, err);
}

ms_status key_bool (key_list *keys, const char *key, bool value, ms_error *err) {
  TRY(key_begin(keys, key, METADATA_BOOL, err));
  return bytes_add_unsigned(&keys->bytes, value, 1, err);
}

ms_status key_string (key_list *keys, const char *key, const char *text, ms_error *err) {
  TRY(key_begin(keys, key, METADATA_STRING, err));
  return key_add_string(keys, text, strlen(text), err);
}

static ms_status key_f32 (key_list *keys, const char *key, double value, ms_error *err) {
  TRY(key_begin(keys, key, METADATA_F32, err));
  return bytes_add_unsigned(&keys->bytes, bits_of_float((float)value), 4, err);
}

/* {== Of a configuration ========================================================================= */

/* Limits of config_metadata.c keep every size below 2^32. */
static ms_status add_sizes (const model_config *c, const size_row *rows, size_t count, key_list *keys, ms_error *err) {
  for (size_t i = 0; i < count; i++) {
    size_t value;
    memcpy(&value, (const char *)c + rows[i].offset, sizeof value);
    TRY(key_u32(keys, rows[i].key, (uint32_t)value, err));
  }
  return MS_OK;
}

static ms_status add_numbers (const model_config *c, const number_row *rows, size_t count, key_list *keys,
                              ms_error *err) {
  for (size_t i = 0; i < count; i++) {
    double value;
    memcpy(&value, (const char *)c + rows[i].offset, sizeof value);
    TRY(key_f32(keys, rows[i].key, value, err));
  }
  return MS_OK;
}

static ms_status add_limits (const model_config *c, const char *key, key_list *keys, ms_error *err) {
  TRY(key_begin_array(keys, key, METADATA_F32, c->layers, err));
  for (size_t i = 0; i < c->layers; i++)
    TRY(bytes_add_unsigned(&keys->bytes, bits_of_float((float)c->swiglu_limit), 4, err));
  return MS_OK;
}

static ms_status add_ratios (const model_config *c, key_list *keys, ms_error *err) {
  TRY(key_begin_array(keys, OWN("attention.compress_ratios"), METADATA_I32, c->layers, err));
  for (size_t i = 0; i < c->layers; i++) TRY(bytes_add_unsigned(&keys->bytes, c->ratios[i], 4, err));
  return MS_OK;
}

static ms_status add_rope (const model_config *c, key_list *keys, ms_error *err) {
  if (!c->compresses) return MS_OK;
  TRY(key_string(keys, OWN("rope.scaling.type"), "yarn", err));
  TRY(key_u32(keys, OWN("rope.scaling.original_context_length"), (uint32_t)c->yarn.original_context, err));
  return add_numbers(c, compress_numbers, ROWS(compress_numbers), keys, err);
}

static ms_status add_config (const model_config *c, key_list *keys, ms_error *err) {
  TRY(add_sizes(c, sizes, ROWS(sizes), keys, err));
  TRY(add_sizes(c, index_sizes, ROWS(index_sizes), keys, err));
  TRY(add_numbers(c, numbers, ROWS(numbers), keys, err));
  for (size_t i = 0; i < ROWS(fixed); i++) TRY(key_u32(keys, fixed[i].key, fixed[i].value, err));
  TRY(key_bool(keys, OWN("expert_weights_norm"), true, err));
  TRY(add_limits(c, OWN("swiglu_clamp_exp"), keys, err));
  TRY(add_limits(c, OWN("swiglu_clamp_shexp"), keys, err));
  TRY(add_ratios(c, keys, err));
  return add_rope(c, keys, err);
}

/* The folder's name, which people give to tell models apart. */
static ms_status add_name (const char *folder, key_list *keys, ms_error *err) {
  char *path;
  TRY(file_path_absolute(folder, &path, err));
  const char *slash = strrchr(path, '/');
  ms_status status = key_string(keys, "general.name", slash == NULL ? path : slash + 1, err);
  memory_free(path);
  return status;
}

/* {== Of another GGUF file ======================================================================= */

/* True of the other file alone. */
static const char *const dropped[] = { "general.alignment", "split.no", "split.count", "split.tensors.count" };

static bool is_dropped (const char *key) {
  for (size_t i = 0; i < ROWS(dropped); i++)
    if (strcmp(key, dropped[i]) == 0) return true;
  return false;
}

/* Blocks of the other file, and those of them that are written: less the ones for drafting. */
typedef struct block_count { size_t there, written; } block_count;

/* llama.cpp wants a list with a number a block to be as long as block_count says. */
static bool has_too_many (const char *key, const metadata_value *value, block_count blocks) {
  return strncmp(key, OWN(""), strlen(OWN(""))) == 0 && value->is_array && value->type != METADATA_STRING &&
         blocks.written < blocks.there && value->count == blocks.there;
}

static ms_status copy_key (const metadata *m, size_t index, block_count blocks, key_list *keys, ms_error *err) {
  const metadata_value *value = &m->values[index];
  const char *key = m->keys.names[index];
  size_t count = value->count, size = value->size;
  if (has_too_many(key, value, blocks)) {
    size = size / count * blocks.written;
    count = blocks.written;
  }
  if (value->is_array) TRY(key_begin_array(keys, key, value->type, count, err));
  else TRY(key_begin(keys, key, value->type, err));
  return bytes_add(&keys->bytes, value->bytes, size, err);
}

/* In the order of the other file; `own` are said anew, in the places that they have there. */
static ms_status copy_keys (const metadata *m, const fixed_row *own, size_t count, size_t layers, key_list *keys,
                            ms_error *err) {
  block_count blocks = { .written = layers };
  TRY(metadata_get_size(m, OWN("block_count"), 0, SIZE_MAX, &blocks.there, err));
  for (size_t i = 0; i < count; i++)
    if (metadata_find(m, own[i].key) == NULL) TRY(key_u32(keys, own[i].key, own[i].value, err));
  for (size_t i = 0; i < m->keys.count; i++) {
    const fixed_row *said = NULL;
    for (size_t k = 0; k < count; k++)
      if (strcmp(own[k].key, m->keys.names[i]) == 0) said = &own[k];
    if (said != NULL) TRY(key_u32(keys, said->key, said->value, err));
    else if (!is_dropped(m->keys.names[i])) TRY(copy_key(m, i, blocks, keys, err));
  }
  return MS_OK;
}

/* {== The whole ================================================================================== */

ms_status gguf_keys_make (const model *m, uint32_t file_type, key_list *keys, ms_error *err) {
  const metadata *source = checkpoint_metadata(m->files);
  const char *origin = checkpoint_origin(m->files);
  const fixed_row general[] = { { "general.file_type", file_type }, { "general.quantization_version", 2 },
                                { OWN("block_count"), (uint32_t)m->config.layers },
                                { OWN("nextn_predict_layers"), 0 } };
  if (source != NULL) return copy_keys(source, general, ROWS(general), m->config.layers, keys, err);
  TRY(key_string(keys, "general.architecture", "deepseek4", err));
  for (size_t i = 0; i < 2; i++) TRY(key_u32(keys, general[i].key, general[i].value, err));
  TRY(key_string(keys, "general.type", "model", err));
  TRY(add_name(origin, keys, err));
  TRY(add_config(&m->config, keys, err));
  return gguf_tokenizer_make(origin, &m->config, keys, err);
}

void gguf_keys_clear (key_list *keys) {
  bytes_clear(&keys->bytes);
  keys->count = 0;
}
