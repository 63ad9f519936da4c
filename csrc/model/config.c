/*
** config.json as a model_config. Sizes, numbers and required settings are rows of tables; what involves two
** keys follows as checks.
*/
#include "config_source.h"

#include <string.h>

#include "../base/file.h"
#include "../base/json.h"
#include "../base/memory.h"
#include "../format/wrong_file.h"

enum { CONFIG_BYTES = 4194304 };

/* {== Tables ===================================================================================== */

static const size_row sizes[] = {
  SIZE("vocab_size", vocabulary, 1, VOCABULARY_LIMIT),
  SIZE("hidden_size", width, 1, WIDTH_LIMIT),
  SIZE("num_hidden_layers", layers, 1, LAYER_LIMIT),
  SIZE("max_position_embeddings", context, 1, CONTEXT_LIMIT),
  SIZE("num_attention_heads", heads, 1, COUNT_LIMIT),
  SIZE("head_dim", head_dim, 2, COUNT_LIMIT),
  SIZE("qk_rope_head_dim", rope_dim, 2, COUNT_LIMIT),
  SIZE("q_lora_rank", q_lora, 1, WIDTH_LIMIT),
  SIZE("o_groups", o_groups, 1, COUNT_LIMIT),
  SIZE("o_lora_rank", o_lora, 1, WIDTH_LIMIT),
  SIZE("sliding_window", window, 1, CONTEXT_LIMIT),
  SIZE("n_routed_experts", experts, 1, COUNT_LIMIT),
  SIZE("num_experts_per_tok", top_k, 1, COUNT_LIMIT),
  SIZE("moe_intermediate_size", expert_width, 1, WIDTH_LIMIT),
  SIZE("n_shared_experts", shared_experts, 0, COUNT_LIMIT),
  SIZE("num_hash_layers", hash_layers, 0, LAYER_LIMIT),
  SIZE("hc_mult", streams, 1, STREAM_LIMIT),
  SIZE("hc_sinkhorn_iters", sinkhorn_rounds, 1, 1000),
};

static const size_row index_sizes[] = {
  SIZE("index_n_heads", index_heads, 1, COUNT_LIMIT),
  SIZE("index_head_dim", index_dim, 2, COUNT_LIMIT),
  SIZE("index_topk", index_top_k, 1, CONTEXT_LIMIT),
};

static const number_row numbers[] = {
  NUMBER("routed_scaling_factor", route_scale, 1e-6, 1e6),
  NUMBER("hc_eps", hc_eps, 0, 1),
  NUMBER("rms_norm_eps", rms_eps, 1e-30, 1),
  NUMBER("rope_theta", rope_theta, 2, 1e12),
};

static const number_row compress_numbers[] = {
  NUMBER("compress_rope_theta", compress_rope_theta, 2, 1e12),
};

static const number_row yarn_numbers[] = {
  NUMBER("factor", yarn.factor, 1, 1e6),
  NUMBER("original_max_position_embeddings", yarn.original_context, 1, CONTEXT_LIMIT),
  NUMBER("beta_fast", yarn.beta_fast, 1e-6, 1e6),
  NUMBER("beta_slow", yarn.beta_slow, 1e-6, 1e6),
};

/* All of these may be left out. */
static const fixed_text texts[] = {
  { "scoring_func", "sqrtsoftplus" },
  { "topk_method", "noaux_tc" },
  { "hidden_act", "silu" },
};

static const fixed_switch switches[] = {
  { "norm_topk_prob", true },
  { "attention_bias", false },
};

static const fixed_size fixed_sizes[] = {
  { "num_key_value_heads", 1 },
};

const config_source config_in_json = {
  .keys = {
    .layers = "num_hidden_layers", .heads = "num_attention_heads", .head_dim = "head_dim",
    .rope_dim = "qk_rope_head_dim", .o_groups = "o_groups", .index_dim = "index_head_dim",
    .experts = "n_routed_experts", .top_k = "num_experts_per_tok", .shared_experts = "n_shared_experts",
    .hash_layers = "num_hash_layers"
  },
  .sizes = TABLE(sizes), .index_sizes = TABLE(index_sizes),
  .numbers = TABLE(numbers), .compress_numbers = TABLE(compress_numbers), .yarn = TABLE(yarn_numbers),
  .fixed_sizes = TABLE(fixed_sizes), .fixed_switches = TABLE(switches), .fixed_texts = TABLE(texts)
};

static const fixed_text quantization_texts[] = {
  { "quant_method", "fp8" },
  { "fmt", "e4m3" },
  { "scale_fmt", "ue8m0" },
};

static const number_row sampling_numbers[] = {
  NUMBER("temperature", sampling.temperature, 0, 1000),
  NUMBER("top_p", sampling.top_p, 0, 1),
  NUMBER("min_p", sampling.min_p, 0, 1),
  NUMBER("repetition_penalty", sampling.repetition_penalty, 1e-6, 1e6),
};

/* transformers' words for the kinds of layers, and where it states their ratios. */
typedef struct layer_type { const char *name; size_t ratio; } layer_type;

static const layer_type layer_types[] = {
  { "sliding_attention", RATIO_WINDOW },
  { "compressed_sparse_attention", RATIO_OVERLAP },
  { "heavily_compressed_attention", 128 },
};

/* {== Reading by table =========================================================================== */

/* The value of `key`, NULL when it is missing or null: both mean "not stated". */
static const json_t *stated (const json_t *object, const char *key) {
  const json_t *value = json_object_get(object, key);
  return json_is_null(value) ? NULL : value;
}

static ms_status read_sizes (const char *path, const json_t *object, size_table table, model_config *config,
                             ms_error *err) {
  for (const size_row *row = table.rows; row < table.rows + table.count; row++)
    TRY(json_get_size(path, object, row->key, row->low, row->high,
                      (size_t *)(void *)((char *)config + row->offset), err));
  return MS_OK;
}

static ms_status read_numbers (const char *path, const json_t *object, number_table table, model_config *config,
                               ms_error *err) {
  for (const number_row *row = table.rows; row < table.rows + table.count; row++)
    TRY(json_get_number(path, object, row->key, row->low, row->high,
                        (double *)(void *)((char *)config + row->offset), err));
  return MS_OK;
}

static ms_status check_texts (const char *path, const json_t *object, const fixed_text *rows, size_t count,
                              ms_error *err) {
  const char *value;
  for (size_t i = 0; i < count; i++) {
    if (stated(object, rows[i].key) == NULL) continue;
    TRY(json_get_string(path, object, rows[i].key, &value, err));
    if (strcmp(value, rows[i].only) != 0)
      return fail(err, MS_EUNSUPPORTED, "%s: %s is '%.64s', only '%s' is computed", path, rows[i].key, value,
                  rows[i].only);
  }
  return MS_OK;
}

/* *out keeps its value when the key is not stated. */
static ms_status read_switch (const char *path, const json_t *object, const char *key, bool *out, ms_error *err) {
  const json_t *value = stated(object, key);
  if (value == NULL) return MS_OK;
  if (!json_is_boolean(value)) return fail(err, MS_EFORMAT, "%s: %s is neither true nor false", path, key);
  *out = json_is_true(value);
  return MS_OK;
}

static ms_status check_switches (const char *path, const json_t *object, ms_error *err) {
  for (size_t i = 0; i < ROWS(switches); i++) {
    bool value = switches[i].only;
    TRY(read_switch(path, object, switches[i].key, &value, err));
    if (value != switches[i].only)
      return fail(err, MS_EUNSUPPORTED, "%s: %s is %s, only %s is computed", path, switches[i].key,
                  value ? "true" : "false", switches[i].only ? "true" : "false");
  }
  return MS_OK;
}

static ms_status check_sizes (const char *path, const json_t *object, ms_error *err) {
  size_t value;
  for (size_t i = 0; i < ROWS(fixed_sizes); i++) {
    TRY(json_get_size(path, object, fixed_sizes[i].key, 1, COUNT_LIMIT, &value, err));
    if (value != fixed_sizes[i].only)
      return fail(err, MS_EUNSUPPORTED, "%s: %s is %zu, only %zu is computed", path, fixed_sizes[i].key, value,
                  fixed_sizes[i].only);
  }
  return MS_OK;
}

static ms_status get_object (const char *path, const json_t *object, const char *key, const json_t **out,
                             ms_error *err) {
  *out = stated(object, key);
  if (*out != NULL && !json_is_object(*out)) return fail(err, MS_EFORMAT, "%s: %s is no object", path, key);
  return MS_OK;
}

/* {== Parts of config.json ======================================================================= */

static ms_status check_architecture (const char *path, const json_t *root, model_config *config, ms_error *err) {
  const char *type;
  TRY(json_get_string(path, root, "model_type", &type, err));
  if (strcmp(type, "deepseek_v4") != 0)
    return fail(err, MS_EUNSUPPORTED, "%s: model_type is '%.64s', only 'deepseek_v4' is computed", path, type);
  memcpy(config->architecture, "deepseek_v4", sizeof "deepseek_v4");
  const json_t *names = stated(root, "architectures");
  if (names == NULL) return MS_OK;
  const char *name = json_string_value(json_array_get(names, 0));
  if (name == NULL) return fail(err, MS_EFORMAT, "%s: architectures is no list of names", path);
  if (strcmp(name, "DeepseekV4ForCausalLM") != 0)
    return fail(err, MS_EUNSUPPORTED, "%s: architectures names '%.64s', only 'DeepseekV4ForCausalLM' is computed",
                path, name);
  return MS_OK;
}

static ms_status fail_short (const char *path, const char *key, size_t entries, const model_config *config,
                             ms_error *err) {
  return fail(err, MS_EFORMAT, "%s: %s has %zu entries, num_hidden_layers is %zu", path, key, entries,
              config->layers);
}

/* Entries behind the layers belong to MTP or DSpark blocks (specs/architecture.md 1). */
static ms_status read_ratios (const char *path, const json_t *list, model_config *config, ms_error *err) {
  if (!json_is_array(list)) return fail(err, MS_EFORMAT, "%s: compress_ratios is no list", path);
  if (json_array_size(list) < config->layers)
    return fail_short(path, "compress_ratios", json_array_size(list), config, err);
  for (size_t i = 0; i < config->layers; i++) {
    const json_t *item = json_array_get(list, i);
    json_int_t value = json_integer_value(item);
    if (!json_is_integer(item) || value < 0 || value > COUNT_LIMIT)
      return fail(err, MS_EFORMAT, "%s: compress_ratios[%zu] is no integer from 0 to %d", path, i, COUNT_LIMIT);
    config->ratios[i] = (size_t)value;
  }
  return MS_OK;
}

/* The ratio of a kind of layer: transformers states them in compress_rates. */
static ms_status ratio_of (const char *path, const json_t *rates, const json_t *name, size_t *ratio,
                           ms_error *err) {
  for (size_t i = 0; json_is_string(name) && i < ROWS(layer_types); i++)
    if (strcmp(json_string_value(name), layer_types[i].name) == 0) {
      *ratio = layer_types[i].ratio;
      if (*ratio == RATIO_WINDOW || stated(rates, layer_types[i].name) == NULL) return MS_OK;
      TRY(json_get_size(path, rates, layer_types[i].name, 1, COUNT_LIMIT, ratio, err));
      if (layer_types[i].ratio == RATIO_OVERLAP && *ratio != RATIO_OVERLAP)
        return fail(err, MS_EUNSUPPORTED, "%s: %s has ratio %zu, only %d is computed", path, layer_types[i].name,
                    *ratio, RATIO_OVERLAP);
      return MS_OK;
    }
  return fail(err, MS_EUNSUPPORTED, "%s: layer_types names '%.64s', which is not computed", path,
              json_is_string(name) ? json_string_value(name) : "something that is no name");
}

static ms_status read_layer_types (const char *path, const json_t *root, const json_t *list, model_config *config,
                                   ms_error *err) {
  const json_t *rates;
  if (!json_is_array(list)) return fail(err, MS_EFORMAT, "%s: layer_types is no list", path);
  if (json_array_size(list) < config->layers)
    return fail_short(path, "layer_types", json_array_size(list), config, err);
  TRY(get_object(path, root, "compress_rates", &rates, err));
  for (size_t i = 0; i < config->layers; i++)
    TRY(ratio_of(path, rates, json_array_get(list, i), &config->ratios[i], err));
  return MS_OK;
}

static ms_status read_layers (const char *path, const json_t *root, model_config *config, ms_error *err) {
  const json_t *ratios = stated(root, "compress_ratios"), *types = stated(root, "layer_types");
  config->ratios = memory_new(config->layers, sizeof *config->ratios);
  if (config->ratios == NULL) return fail_memory(err, config->layers * sizeof *config->ratios, "ratios");
  if (ratios == NULL && types == NULL) return fail(err, MS_EFORMAT, "%s: compress_ratios is missing", path);
  return ratios != NULL ? read_ratios(path, ratios, config, err) : read_layer_types(path, root, types, config, err);
}

/*
** Compressing layers rotate by other frequencies. A file without them is refused rather than run with the
** wrong ones: converters have lost these keys (specs/formats.md 6).
*/
static ms_status read_rope (const char *path, const json_t *root, model_config *config, ms_error *err) {
  const json_t *scaling;
  const char *type;
  TRY(get_object(path, root, "rope_scaling", &scaling, err));
  if (config->compresses) {
    TRY(read_numbers(path, root, config_in_json.compress_numbers, config, err));
    if (scaling == NULL)
      return fail(err, MS_EFORMAT, "%s: rope_scaling is missing, which layers with compress_ratios need", path);
  }
  if (scaling == NULL) return MS_OK;
  TRY(json_get_string(path, scaling, stated(scaling, "type") == NULL ? "rope_type" : "type", &type, err));
  if (strcmp(type, "yarn") != 0)
    return fail(err, MS_EUNSUPPORTED, "%s: rope_scaling type is '%.64s', only 'yarn' is computed", path, type);
  TRY(read_numbers(path, scaling, config_in_json.yarn, config, err));
  if (config->yarn.beta_fast <= config->yarn.beta_slow)
    return fail(err, MS_EFORMAT, "%s: rope_scaling beta_fast is %g, it must be above beta_slow, %g", path,
                config->yarn.beta_fast, config->yarn.beta_slow);
  return MS_OK;
}

static ms_status read_quantization (const char *path, const json_t *root, model_config *config, ms_error *err) {
  const json_t *quantization;
  TRY(get_object(path, root, "quantization_config", &quantization, err));
  if (quantization == NULL) return MS_OK;
  TRY(check_texts(path, quantization, quantization_texts, ROWS(quantization_texts), err));
  const json_t *block = stated(quantization, "weight_block_size");
  if (block == NULL) return MS_OK;
  for (size_t i = 0; i < 2; i++) {
    const json_t *item = json_array_get(block, i);
    json_int_t value = json_integer_value(item);
    if (json_array_size(block) != 2 || !json_is_integer(item) || value < 1 || value > WIDTH_LIMIT)
      return fail(err, MS_EFORMAT, "%s: weight_block_size is no pair of integers from 1 to %d", path, WIDTH_LIMIT);
    config->weight_block[i] = (size_t)value;
  }
  return MS_OK;
}

static ms_status read_token (const char *path, const json_t *value, const char *key, size_t vocabulary,
                             int32_t *out, ms_error *err) {
  json_int_t id = json_integer_value(value);
  if (!json_is_integer(value) || id < 0 || (uint64_t)id >= vocabulary)
    return fail(err, MS_EFORMAT, "%s: %s is no token id from 0 to %zu", path, key, vocabulary - 1);
  *out = (int32_t)id;
  return MS_OK;
}

/* eos_token_id is an id or a list of ids. What a second file states replaces what the first did. */
static ms_status read_ends (const char *path, const json_t *root, model_config *config, ms_error *err) {
  const json_t *bos = stated(root, "bos_token_id"), *eos = stated(root, "eos_token_id");
  if (bos != NULL) TRY(read_token(path, bos, "bos_token_id", config->vocabulary, &config->bos, err));
  if (eos == NULL) return MS_OK;
  size_t count = json_is_array(eos) ? json_array_size(eos) : 1;
  if (count < 1 || count > MODEL_EOS_LIMIT)
    return fail(err, MS_EFORMAT, "%s: eos_token_id has %zu ids, allowed are 1 to %d", path, count,
                MODEL_EOS_LIMIT);
  for (size_t i = 0; i < count; i++)
    TRY(read_token(path, json_is_array(eos) ? json_array_get(eos, i) : eos, "eos_token_id", config->vocabulary,
                   &config->eos[i], err));
  config->eos_count = count;
  return MS_OK;
}

/* {== Files ====================================================================================== */

static ms_status read_config (const char *path, const json_t *root, model_config *config, ms_error *err) {
  TRY(check_architecture(path, root, config, err));
  TRY(check_texts(path, root, texts, ROWS(texts), err));
  TRY(check_switches(path, root, err));
  TRY(read_sizes(path, root, config_in_json.sizes, config, err));
  TRY(check_sizes(path, root, err));
  TRY(read_numbers(path, root, config_in_json.numbers, config, err));
  if (stated(root, "swiglu_limit") != NULL)
    TRY(json_get_number(path, root, "swiglu_limit", 0, 1e6, &config->swiglu_limit, err));
  if (stated(root, "num_nextn_predict_layers") != NULL)
    TRY(json_get_size(path, root, "num_nextn_predict_layers", 0, LAYER_LIMIT, &config->mtp_layers, err));
  TRY(read_switch(path, root, "tie_word_embeddings", &config->tied_head, err));
  TRY(read_layers(path, root, config, err));
  model_config_count_ratios(config);
  if (config->indexes) TRY(read_sizes(path, root, config_in_json.index_sizes, config, err));
  TRY(read_rope(path, root, config, err));
  TRY(read_quantization(path, root, config, err));
  TRY(read_ends(path, root, config, err));
  return model_config_check(path, config, err);
}

/* Every key may be left out. */
static ms_status read_generation (const char *path, const json_t *root, model_config *config, ms_error *err) {
  sampling_config *sampling = &config->sampling;
  TRY(read_switch(path, root, "do_sample", &sampling->sample, err));
  for (size_t i = 0; i < ROWS(sampling_numbers); i++)
    if (stated(root, sampling_numbers[i].key) != NULL)
      TRY(read_numbers(path, root, (number_table){ &sampling_numbers[i], 1 }, config, err));
  if (stated(root, "top_k") != NULL)
    TRY(json_get_size(path, root, "top_k", 0, VOCABULARY_LIMIT, &sampling->top_k, err));
  return read_ends(path, root, config, err);
}

typedef ms_status read_root (const char *path, const json_t *root, model_config *config, ms_error *err);

/* MS_ENOENT when there is no such file. */
static ms_status read_file (const char *folder, const char *name, read_root *read, model_config *config,
                            ms_error *err) {
  char *path = file_path_join(folder, name);
  file_view view = { 0 };
  json_t *root = NULL;
  if (path == NULL) return fail_memory(err, strlen(folder), "a path");
  ms_status status = file_text_open(path, CONFIG_BYTES, &view, err);
  if (status == MS_OK && (view.bytes == 0 || view.data[0] != '{'))
    status = wrong_file(path, view.data, view.bytes, err);
  if (status == MS_OK) status = json_text_parse(path, (const char *)view.data, view.bytes, &root, err);
  if (status == MS_OK && !json_is_object(root)) status = fail(err, MS_EFORMAT, "%s: is no JSON object", path);
  if (status == MS_OK) status = read(path, root, config, err);
  json_decref(root);
  file_view_close(&view);
  memory_free(path);
  return status;
}

ms_status model_config_read_folder (const char *folder, model_config *config, ms_error *err) {
  model_config_begin(config, &config_in_json.keys);
  ms_status status = read_file(folder, "config.json", read_config, config, err);
  if (status == MS_OK) {
    status = read_file(folder, "generation_config.json", read_generation, config, err);
    if (status == MS_ENOENT) status = MS_OK;
  }
  if (status == MS_OK && config->eos_count == 0)
    status = fail(err, MS_EFORMAT, "%s: neither config.json nor generation_config.json states eos_token_id", folder);
  if (status != MS_OK) model_config_clear(config);
  return status;
}
