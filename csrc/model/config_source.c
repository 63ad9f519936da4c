/* Configurations whatever they are read from. */
#include "config_source.h"

#include <string.h>

#include "../base/memory.h"

size_t model_config_size (const model_config *config, const size_row *row) {
  size_t value;
  memcpy(&value, (const char *)config + row->offset, sizeof value);
  return value;
}

double model_config_number (const model_config *config, const number_row *row) {
  double value;
  memcpy(&value, (const char *)config + row->offset, sizeof value);
  return value;
}

void model_config_begin (model_config *config, const config_keys *keys) {
  memset(config, 0, sizeof *config);
  config->keys = keys;
  config->bos = -1;
  config->sampling = (sampling_config){ .temperature = 1, .top_p = 1, .repetition_penalty = 1 };
}

void model_config_count_ratios (model_config *config) {
  for (size_t i = 0; i < config->layers; i++) {
    config->compresses = config->compresses || config->ratios[i] != RATIO_WINDOW;
    config->indexes = config->indexes || config->ratios[i] == RATIO_OVERLAP;
  }
}

static ms_status check_limit (const char *path, const char *key, size_t value, const char *limit_key, size_t limit,
                              ms_error *err) {
  if (value <= limit) return MS_OK;
  return fail(err, MS_EFORMAT, "%s: %s is %zu, at most %s, %zu, is allowed", path, key, value, limit_key, limit);
}

ms_status model_config_check (const char *path, const model_config *c, ms_error *err) {
  const config_keys *k = c->keys;
  TRY(check_limit(path, k->rope_dim, c->rope_dim, k->head_dim, c->head_dim, err));
  TRY(check_limit(path, k->top_k, c->top_k, k->experts, c->experts, err));
  TRY(check_limit(path, k->hash_layers, c->hash_layers, k->layers, c->layers, err));
  if (c->indexes) TRY(check_limit(path, k->rope_dim, c->rope_dim, k->index_dim, c->index_dim, err));
  if (c->rope_dim % 2 != 0)
    return fail(err, MS_EFORMAT, "%s: %s is %zu, it must be even", path, k->rope_dim, c->rope_dim);
  if (c->heads % c->o_groups != 0)
    return fail(err, MS_EFORMAT, "%s: %s is %zu, no multiple of %s, %zu", path, k->heads, c->heads, k->o_groups,
                c->o_groups);
  if (c->shared_experts != 1)
    return fail(err, MS_EUNSUPPORTED, "%s: %s is %zu, only 1 is computed", path, k->shared_experts, c->shared_experts);
  return MS_OK;
}

ms_status model_config_read (const checkpoint *files, model_config *config, ms_error *err) {
  if (checkpoint_metadata(files) != NULL) return model_config_read_metadata(files, config, err);
  return model_config_read_folder(checkpoint_origin(files), config, err);
}

void model_config_clear (model_config *config) {
  memory_free(config->ratios);
  memset(config, 0, sizeof *config);
}
