/* A JSON object by the tables of model/config.c, written. */
#include "config_json.h"

#include <stdlib.h>
#include <string.h>

#include "../base/file.h"
#include "../base/json.h"
#include "../base/memory.h"
#include "../model/config_source.h"

enum { CONFIG_BYTES = 4194304 };

/* {== Filling an object: 0, or another number when memory ran out ================================ */

static int set_sizes (json_t *object, const model_config *c, size_table table) {
  int failed = 0;
  for (size_t i = 0; i < table.count; i++)
    failed |= json_object_set_new(object, table.rows[i].key,
                                  json_integer((json_int_t)model_config_size(c, &table.rows[i])));
  return failed;
}

/* Whole numbers as such: both forms are read, and people expect them. */
static json_t *number_of (double value) {
  const json_int_t whole = value >= 0 && value < 1e15 ? (json_int_t)value : -1;
  return whole >= 0 && !((double)whole < value) ? json_integer(whole) : json_real(value);
}

static int set_numbers (json_t *object, const model_config *c, number_table table) {
  int failed = 0;
  for (size_t i = 0; i < table.count; i++)
    failed |= json_object_set_new(object, table.rows[i].key, number_of(model_config_number(c, &table.rows[i])));
  return failed;
}

static int set_fixed (json_t *object, const config_source *source) {
  int failed = 0;
  for (size_t i = 0; i < source->fixed_texts.count; i++)
    failed |= json_object_set_new(object, source->fixed_texts.rows[i].key,
                                  json_string(source->fixed_texts.rows[i].only));
  for (size_t i = 0; i < source->fixed_sizes.count; i++)
    failed |= json_object_set_new(object, source->fixed_sizes.rows[i].key,
                                  json_integer((json_int_t)source->fixed_sizes.rows[i].only));
  for (size_t i = 0; i < source->fixed_switches.count; i++)
    failed |= json_object_set_new(object, source->fixed_switches.rows[i].key,
                                  json_boolean(source->fixed_switches.rows[i].only));
  return failed;
}

static json_t *make_scaling (const model_config *c) {
  json_t *scaling = json_pack("{s:s}", "type", "yarn");
  if (set_numbers(scaling, c, config_in_json.yarn) == 0) return scaling;
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
  const config_source *source = &config_in_json;
  int failed = json_object_set_new(root, "architectures", json_pack("[s]", "DeepseekV4ForCausalLM"));
  failed |= json_object_set_new(root, "model_type", json_string(c->architecture));
  failed |= json_object_set_new(root, "torch_dtype", json_string("bfloat16"));
  failed |= set_sizes(root, c, source->sizes);
  if (c->indexes) failed |= set_sizes(root, c, source->index_sizes);
  failed |= set_numbers(root, c, source->numbers);
  failed |= json_object_set_new(root, "swiglu_limit", number_of(c->swiglu_limit));
  if (c->compresses) {
    failed |= set_numbers(root, c, source->compress_numbers);
    failed |= json_object_set_new(root, "rope_scaling", make_scaling(c));
  }
  failed |= json_object_set_new(root, "compress_ratios", make_ratios(c));
  failed |= set_fixed(root, source);
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
