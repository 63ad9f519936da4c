/*
** The key/values of a GGUF file as a model_config (specs/formats.md 3.1). What converters are known to leave out or to
** spell in two ways is taken as listed there; any other missing key is refused, for a default would be a wrong model.
*/
#include "config_source.h"

#include <stdio.h>
#include <string.h>

#include "../base/memory.h"
#include "../text/unicode.h"

/* {== Tables ===================================================================================== */

static const size_row sizes[] = {
  SIZE(GGUF_KEY("block_count"), layers, 1, LAYER_LIMIT),
  SIZE(GGUF_KEY("embedding_length"), width, 1, WIDTH_LIMIT),
  SIZE(GGUF_KEY("context_length"), context, 1, CONTEXT_LIMIT),
  SIZE(GGUF_KEY("attention.head_count"), heads, 1, COUNT_LIMIT),
  SIZE(GGUF_KEY("attention.key_length"), head_dim, 2, COUNT_LIMIT),
  SIZE(GGUF_KEY("rope.dimension_count"), rope_dim, 2, COUNT_LIMIT),
  SIZE(GGUF_KEY("attention.q_lora_rank"), q_lora, 1, WIDTH_LIMIT),
  SIZE(GGUF_KEY("attention.output_group_count"), o_groups, 1, COUNT_LIMIT),
  SIZE(GGUF_KEY("attention.output_lora_rank"), o_lora, 1, WIDTH_LIMIT),
  SIZE(GGUF_KEY("attention.sliding_window"), window, 1, CONTEXT_LIMIT),
  SIZE(GGUF_KEY("expert_count"), experts, 1, COUNT_LIMIT),
  SIZE(GGUF_KEY("expert_used_count"), top_k, 1, COUNT_LIMIT),
  SIZE(GGUF_KEY("expert_feed_forward_length"), expert_width, 1, WIDTH_LIMIT),
  SIZE(GGUF_KEY("expert_shared_count"), shared_experts, 0, COUNT_LIMIT),
  SIZE(GGUF_KEY("hash_layer_count"), hash_layers, 0, LAYER_LIMIT),
  SIZE(GGUF_KEY("hyper_connection.count"), streams, 1, STREAM_LIMIT),
  SIZE(GGUF_KEY("hyper_connection.sinkhorn_iterations"), sinkhorn_rounds, 1, 1000),
};

static const size_row index_sizes[] = {
  SIZE(GGUF_KEY("attention.indexer.head_count"), index_heads, 1, COUNT_LIMIT),
  SIZE(GGUF_KEY("attention.indexer.key_length"), index_dim, 2, COUNT_LIMIT),
  SIZE(GGUF_KEY("attention.indexer.top_k"), index_top_k, 1, CONTEXT_LIMIT),
};

static const number_row numbers[] = {
  NUMBER(GGUF_KEY("expert_weights_scale"), route_scale, 1e-6, 1e6),
  NUMBER(GGUF_KEY("hyper_connection.epsilon"), hc_eps, 0, 1),
  NUMBER(GGUF_KEY("attention.layer_norm_rms_epsilon"), rms_eps, 1e-30, 1),
  NUMBER(GGUF_KEY("rope.freq_base"), rope_theta, 2, 1e12),
};

static const number_row compress_numbers[] = {
  NUMBER(GGUF_KEY("attention.compress_rope_freq_base"), compress_rope_theta, 2, 1e12),
};

static const char scaling_type[] = GGUF_KEY("rope.scaling.type");

static const number_row yarn_numbers[] = {
  NUMBER(GGUF_KEY("rope.scaling.factor"), yarn.factor, 1, 1e6),
  NUMBER(GGUF_KEY("rope.scaling.original_context_length"), yarn.original_context, 1, CONTEXT_LIMIT),
  NUMBER(GGUF_KEY("rope.scaling.yarn_beta_fast"), yarn.beta_fast, 1e-6, 1e6),
  NUMBER(GGUF_KEY("rope.scaling.yarn_beta_slow"), yarn.beta_slow, 1e-6, 1e6),
};

enum { SQRT_SOFTPLUS = 4 };

static const fixed_size fixed_sizes[] = {
  { GGUF_KEY("attention.head_count_kv"), 1 },
  { GGUF_KEY("expert_gating_func"), SQRT_SOFTPLUS },
};

static const fixed_switch switches[] = {
  { GGUF_KEY("expert_weights_norm"), true },
};

const config_source config_in_gguf = {
  .keys = {
    .layers = GGUF_KEY("block_count"), .heads = GGUF_KEY("attention.head_count"),
    .head_dim = GGUF_KEY("attention.key_length"), .rope_dim = GGUF_KEY("rope.dimension_count"),
    .o_groups = GGUF_KEY("attention.output_group_count"), .index_dim = GGUF_KEY("attention.indexer.key_length"),
    .experts = GGUF_KEY("expert_count"), .top_k = GGUF_KEY("expert_used_count"),
    .shared_experts = GGUF_KEY("expert_shared_count"), .hash_layers = GGUF_KEY("hash_layer_count")
  },
  .sizes = TABLE(sizes), .index_sizes = TABLE(index_sizes),
  .numbers = TABLE(numbers), .compress_numbers = TABLE(compress_numbers), .yarn = TABLE(yarn_numbers),
  .fixed_sizes = TABLE(fixed_sizes), .fixed_switches = TABLE(switches)
};

static const config_keys *const keys = &config_in_gguf.keys;

/* Groups of experts: 0 and 1 both say that there are none. */
static const char *const groups[] = { GGUF_KEY("expert_group_count"), GGUF_KEY("expert_group_used_count") };

/* {== Reading by table =========================================================================== */

static ms_status read_sizes (const metadata *m, size_table table, model_config *config, ms_error *err) {
  for (const size_row *row = table.rows; row < table.rows + table.count; row++)
    TRY(metadata_get_size(m, row->key, row->low, row->high, (size_t *)(void *)((char *)config + row->offset), err));
  return MS_OK;
}

static ms_status read_numbers (const metadata *m, number_table table, model_config *config, ms_error *err) {
  for (const number_row *row = table.rows; row < table.rows + table.count; row++)
    TRY(metadata_get_number(m, row->key, row->low, row->high, (double *)(void *)((char *)config + row->offset), err));
  return MS_OK;
}

static ms_status check_fixed (const metadata *m, ms_error *err) {
  size_t value;
  bool is_on;
  for (size_t i = 0; i < ROWS(fixed_sizes); i++) {
    TRY(metadata_get_size(m, fixed_sizes[i].key, 0, SIZE_MAX, &value, err));
    if (value != fixed_sizes[i].only)
      return fail(err, MS_EUNSUPPORTED, "%s: %s is %zu, only %zu is computed", m->path, fixed_sizes[i].key, value,
                  fixed_sizes[i].only);
  }
  for (size_t i = 0; i < ROWS(switches); i++) {
    TRY(metadata_get_bool(m, switches[i].key, &is_on, err));
    if (is_on != switches[i].only)
      return fail(err, MS_EUNSUPPORTED, "%s: %s is %s, only %s is computed", m->path, switches[i].key,
                  is_on ? "true" : "false", switches[i].only ? "true" : "false");
  }
  for (size_t i = 0; i < ROWS(groups); i++) {
    if (metadata_find(m, groups[i]) == NULL) continue;
    TRY(metadata_get_size(m, groups[i], 0, SIZE_MAX, &value, err));
    if (value > 1) return fail(err, MS_EUNSUPPORTED, "%s: %s is %zu, only 0 is computed", m->path, groups[i], value);
  }
  return MS_OK;
}

/* {== Parts ====================================================================================== */

static ms_status check_architecture (const metadata *m, model_config *config, ms_error *err) {
  static const char ours[] = "deepseek4", key[] = "general.architecture";
  metadata_string name;
  TRY(metadata_get_string(m, key, &name, err));
  if (!metadata_string_is(name, ours))
    return fail(err, MS_EUNSUPPORTED, "%s: %s is '%s', only '%s' is computed", m->path, key,
                unicode_excerpt(name.text, name.bytes).text, ours);
  memcpy(config->architecture, "deepseek_v4", sizeof "deepseek_v4");
  return MS_OK;
}

static bool has_block (const checkpoint *files, size_t index, const char *rest) {
  char name[64];
  snprintf(name, sizeof name, "layers.%zu.%s", index, rest);
  return checkpoint_find(files, name) != NULL;
}

/*
** Blocks behind the layers predict further tokens (MTP). block_count includes them where they are in the file;
** nextn_predict_layers is stated even where they are not (specs/formats.md 3.3), so the tensors decide.
*/
static ms_status read_layers (const checkpoint *files, const metadata *m, model_config *config, ms_error *err) {
  static const char next[] = GGUF_KEY("nextn_predict_layers");
  const size_t blocks = config->layers;
  if (metadata_find(m, next) != NULL) TRY(metadata_get_size(m, next, 0, LAYER_LIMIT, &config->mtp_layers, err));
  if (config->mtp_layers < blocks && has_block(files, blocks - config->mtp_layers, "nextn.eh_proj.weight"))
    config->layers -= config->mtp_layers;
  if (has_block(files, blocks, "attn_norm.weight") && !has_block(files, blocks, "nextn.eh_proj.weight"))
    return fail(err, MS_EFORMAT, "%s: %s is %zu, but there is a tensor blk.%zu.attn_norm.weight", m->path, keys->layers,
                blocks, blocks);
  return MS_OK;
}

static ms_status check_length (const metadata *m, const char *key, const metadata_value *list,
                               const model_config *config, ms_error *err) {
  if (list->count >= config->layers) return MS_OK;
  return fail(err, MS_EFORMAT, "%s: %s has %zu entries, %s is %zu", m->path, key, list->count, keys->layers,
              config->layers);
}

/* Entries behind the layers belong to MTP or DSpark blocks. */
static ms_status read_ratios (const metadata *m, model_config *config, ms_error *err) {
  static const char key[] = GGUF_KEY("attention.compress_ratios");
  const metadata_value *list;
  TRY(metadata_get_integers(m, key, &list, err));
  TRY(check_length(m, key, list, config, err));
  config->ratios = memory_new(config->layers, sizeof *config->ratios);
  if (config->ratios == NULL) return fail_memory(err, config->layers * sizeof *config->ratios, "ratios");
  for (size_t i = 0; i < config->layers; i++) {
    int64_t value = metadata_integer(list, i);
    if (value < 0 || value > COUNT_LIMIT)
      return fail(err, MS_EFORMAT, "%s: %s[%zu] is %lld, allowed are 0 to %d", m->path, key, i, (long long)value,
                  COUNT_LIMIT);
    config->ratios[i] = (size_t)value;
  }
  model_config_count_ratios(config);
  return MS_OK;
}

/* One limit for all layers and experts; a file that states others is of another model. */
static ms_status check_limits (const metadata *m, const char *key, model_config *config, ms_error *err) {
  const metadata_value *list;
  TRY(metadata_get_floats(m, key, &list, err));
  TRY(check_length(m, key, list, config, err));
  for (size_t i = 0; i < config->layers; i++) {
    double value = (double)metadata_float(list, i);
    if (!(value >= 0 && value <= 1e6))
      return fail(err, MS_EFORMAT, "%s: %s[%zu] is %g, allowed are 0 to 1e6", m->path, key, i, value);
    if (config->swiglu_limit < 0) config->swiglu_limit = value;
    if (value < config->swiglu_limit || value > config->swiglu_limit)
      return fail(err, MS_EUNSUPPORTED, "%s: %s[%zu] is %g, another is %g: only one for all is computed", m->path, key,
                  i, value, config->swiglu_limit);
  }
  return MS_OK;
}

/* Some files state the limit of the routed experts only: the shared one has the same. */
static ms_status read_limits (const metadata *m, model_config *config, ms_error *err) {
  config->swiglu_limit = -1;
  TRY(check_limits(m, GGUF_KEY("swiglu_clamp_exp"), config, err));
  if (metadata_find(m, GGUF_KEY("swiglu_clamp_shexp")) == NULL) return MS_OK;
  return check_limits(m, GGUF_KEY("swiglu_clamp_shexp"), config, err);
}

/*
** A converter is known to lose these keys (specs/formats.md 6). Such a file would run, and answer worse and worse with
** every token: it is refused with the list of what it lacks.
*/
static ms_status check_scaling_keys (const metadata *m, ms_error *err) {
  char missing[320] = "";
  size_t used = 0;
  for (size_t i = 0; i <= ROWS(yarn_numbers); i++) {
    const char *key = i == 0 ? scaling_type : yarn_numbers[i - 1].key;
    if (metadata_find(m, key) == NULL && used < sizeof missing)
      used += (size_t)snprintf(missing + used, sizeof missing - used, "%s%s", used == 0 ? "" : ", ", key);
  }
  if (used == 0) return MS_OK;
  return fail(err, MS_EFORMAT, "%s: the layers with compress_ratios need %s, missing here: convert the model "
              "again, with a converter that writes them", m->path, missing);
}

static ms_status read_rope (const metadata *m, model_config *config, ms_error *err) {
  metadata_string type;
  if (!config->compresses) return MS_OK;
  TRY(read_numbers(m, config_in_gguf.compress_numbers, config, err));
  TRY(check_scaling_keys(m, err));
  TRY(metadata_get_string(m, scaling_type, &type, err));
  if (!metadata_string_is(type, "yarn"))
    return fail(err, MS_EUNSUPPORTED, "%s: %s is '%s', only 'yarn' is computed", m->path, scaling_type,
                unicode_excerpt(type.text, type.bytes).text);
  TRY(read_numbers(m, config_in_gguf.yarn, config, err));
  if (config->yarn.beta_fast <= config->yarn.beta_slow)
    return fail(err, MS_EFORMAT, "%s: %s is %g, it must be above %s, %g", m->path, yarn_numbers[2].key,
                config->yarn.beta_fast, yarn_numbers[3].key, config->yarn.beta_slow);
  return MS_OK;
}

/* Both say the same where both are there; one may be missing. */
static ms_status read_vocabulary (const metadata *m, model_config *config, ms_error *err) {
  static const char size[] = GGUF_KEY("vocab_size"), list[] = "tokenizer.ggml.tokens";
  const metadata_value *tokens = NULL;
  if (metadata_find(m, list) != NULL) TRY(metadata_get_strings(m, list, &tokens, err));
  if (metadata_find(m, size) != NULL || tokens == NULL) {
    TRY(metadata_get_size(m, size, 1, VOCABULARY_LIMIT, &config->vocabulary, err));
    if (tokens != NULL && tokens->count != config->vocabulary)
      return fail(err, MS_EFORMAT, "%s: %s is %zu, but %s has %zu tokens", m->path, size, config->vocabulary, list,
                  tokens->count);
    return MS_OK;
  }
  if (tokens->count < 1 || tokens->count > VOCABULARY_LIMIT)
    return fail(err, MS_EFORMAT, "%s: %s has %zu tokens, allowed are 1 to %d", m->path, list, tokens->count,
                VOCABULARY_LIMIT);
  config->vocabulary = tokens->count;
  return MS_OK;
}

static ms_status read_ends (const metadata *m, model_config *config, ms_error *err) {
  static const char bos[] = "tokenizer.ggml.bos_token_id", eos[] = "tokenizer.ggml.eos_token_id";
  size_t id;
  if (metadata_find(m, bos) != NULL) {
    TRY(metadata_get_size(m, bos, 0, config->vocabulary - 1, &id, err));
    config->bos = (int32_t)id;
  }
  TRY(metadata_get_size(m, eos, 0, config->vocabulary - 1, &id, err));
  config->eos[0] = (int32_t)id;
  config->eos_count = 1;
  return MS_OK;
}

static ms_status check_value_length (const metadata *m, const model_config *config, ms_error *err) {
  static const char key[] = GGUF_KEY("attention.value_length");
  size_t value;
  TRY(metadata_get_size(m, key, 1, COUNT_LIMIT, &value, err));
  if (value == config->head_dim) return MS_OK;
  return fail(err, MS_EUNSUPPORTED, "%s: %s is %zu, only that of %s, %zu, is computed", m->path, key, value,
              keys->head_dim, config->head_dim);
}

/* {== The whole ================================================================================== */

static ms_status read_all (const checkpoint *files, const metadata *m, model_config *config, ms_error *err) {
  TRY(check_architecture(m, config, err));
  TRY(read_sizes(m, config_in_gguf.sizes, config, err));
  TRY(read_layers(files, m, config, err));
  TRY(read_vocabulary(m, config, err));
  TRY(check_value_length(m, config, err));
  TRY(check_fixed(m, err));
  TRY(read_numbers(m, config_in_gguf.numbers, config, err));
  TRY(read_limits(m, config, err));
  TRY(read_ratios(m, config, err));
  if (config->indexes) TRY(read_sizes(m, config_in_gguf.index_sizes, config, err));
  TRY(read_rope(m, config, err));
  TRY(read_ends(m, config, err));
  return model_config_check(m->path, config, err);
}

ms_status model_config_read_metadata (const checkpoint *files, model_config *config, ms_error *err) {
  model_config_begin(config, keys);
  ms_status status = read_all(files, checkpoint_metadata(files), config, err);
  if (status != MS_OK) model_config_clear(config);
  return status;
}
