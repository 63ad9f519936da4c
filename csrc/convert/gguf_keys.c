/*
** Key/values from a configuration, by the tables of model/config_metadata.c, written. Names are llama.cpp's.
*/
#include "gguf_keys.h"

#include <stdio.h>
#include <string.h>

#include "../base/file.h"
#include "../base/memory.h"
#include "../base/number.h"
#include "../model/config_source.h"
#include "gguf_tokenizer.h"

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

/* The readers' limits keep every size below 2^32. */
static ms_status add_sizes (const model_config *c, size_table table, key_list *keys, ms_error *err) {
  for (size_t i = 0; i < table.count; i++)
    TRY(key_u32(keys, table.rows[i].key, (uint32_t)model_config_size(c, &table.rows[i]), err));
  return MS_OK;
}

/* llama.cpp wants this one as an integer. */
static bool is_whole (const number_row *row) {
  return row->offset == offsetof(model_config, yarn.original_context);
}

static ms_status add_numbers (const model_config *c, number_table table, key_list *keys, ms_error *err) {
  for (const number_row *row = table.rows; row < table.rows + table.count; row++) {
    const double value = model_config_number(c, row);
    TRY(is_whole(row) ? key_u32(keys, row->key, (uint32_t)value, err) : key_f32(keys, row->key, value, err));
  }
  return MS_OK;
}

static ms_status add_fixed (const config_source *source, key_list *keys, ms_error *err) {
  for (size_t i = 0; i < source->fixed_sizes.count; i++)
    TRY(key_u32(keys, source->fixed_sizes.rows[i].key, (uint32_t)source->fixed_sizes.rows[i].only, err));
  for (size_t i = 0; i < source->fixed_switches.count; i++)
    TRY(key_bool(keys, source->fixed_switches.rows[i].key, source->fixed_switches.rows[i].only, err));
  return MS_OK;
}

static ms_status add_limits (const model_config *c, const char *key, key_list *keys, ms_error *err) {
  TRY(key_begin_array(keys, key, METADATA_F32, c->layers, err));
  for (size_t i = 0; i < c->layers; i++)
    TRY(bytes_add_unsigned(&keys->bytes, bits_of_float((float)c->swiglu_limit), 4, err));
  return MS_OK;
}

static ms_status add_ratios (const model_config *c, key_list *keys, ms_error *err) {
  TRY(key_begin_array(keys, GGUF_KEY("attention.compress_ratios"), METADATA_I32, c->layers, err));
  for (size_t i = 0; i < c->layers; i++) TRY(bytes_add_unsigned(&keys->bytes, c->ratios[i], 4, err));
  return MS_OK;
}

static ms_status add_rope (const model_config *c, key_list *keys, ms_error *err) {
  if (!c->compresses) return MS_OK;
  TRY(key_string(keys, GGUF_KEY("rope.scaling.type"), "yarn", err));
  TRY(add_numbers(c, config_in_gguf.compress_numbers, keys, err));
  return add_numbers(c, config_in_gguf.yarn, keys, err);
}

/* llama.cpp asks for the sizes of an indexer whatever the layers are; without one they are 0. */
static ms_status add_config (const model_config *c, key_list *keys, ms_error *err) {
  const config_source *source = &config_in_gguf;
  TRY(add_sizes(c, source->sizes, keys, err));
  TRY(key_u32(keys, GGUF_KEY("vocab_size"), (uint32_t)c->vocabulary, err));
  TRY(key_u32(keys, GGUF_KEY("feed_forward_length"), (uint32_t)c->expert_width, err));
  TRY(key_u32(keys, GGUF_KEY("attention.value_length"), (uint32_t)c->head_dim, err));
  TRY(add_sizes(c, source->index_sizes, keys, err));
  TRY(add_numbers(c, source->numbers, keys, err));
  TRY(add_fixed(source, keys, err));
  TRY(key_u32(keys, GGUF_KEY("nextn_predict_layers"), 0, err));
  TRY(add_limits(c, GGUF_KEY("swiglu_clamp_exp"), keys, err));
  TRY(add_limits(c, GGUF_KEY("swiglu_clamp_shexp"), keys, err));
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
  return strncmp(key, GGUF_KEY(""), strlen(GGUF_KEY(""))) == 0 && value->is_array && value->type != METADATA_STRING &&
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
static ms_status copy_keys (const metadata *m, const fixed_size *own, size_t count, size_t layers, key_list *keys,
                            ms_error *err) {
  block_count blocks = { .written = layers };
  TRY(metadata_get_size(m, GGUF_KEY("block_count"), 0, SIZE_MAX, &blocks.there, err));
  for (size_t i = 0; i < count; i++)
    if (metadata_find(m, own[i].key) == NULL) TRY(key_u32(keys, own[i].key, (uint32_t)own[i].only, err));
  for (size_t i = 0; i < m->keys.count; i++) {
    const fixed_size *said = NULL;
    for (size_t k = 0; k < count; k++)
      if (strcmp(own[k].key, m->keys.names[i]) == 0) said = &own[k];
    if (said != NULL) TRY(key_u32(keys, said->key, (uint32_t)said->only, err));
    else if (!is_dropped(m->keys.names[i])) TRY(copy_key(m, i, blocks, keys, err));
  }
  return MS_OK;
}

/* {== The whole ================================================================================== */

ms_status gguf_keys_make (const model *m, uint32_t file_type, key_list *keys, ms_error *err) {
  const metadata *source = checkpoint_metadata(m->files);
  const char *origin = checkpoint_origin(m->files);
  const fixed_size general[] = { { "general.file_type", file_type }, { "general.quantization_version", 2 },
                                 { GGUF_KEY("block_count"), m->config.layers },
                                 { GGUF_KEY("nextn_predict_layers"), 0 } };
  if (source != NULL) return copy_keys(source, general, ROWS(general), m->config.layers, keys, err);
  TRY(key_string(keys, "general.architecture", "deepseek4", err));
  for (size_t i = 0; i < 2; i++) TRY(key_u32(keys, general[i].key, (uint32_t)general[i].only, err));
  TRY(key_string(keys, "general.type", "model", err));
  TRY(add_name(origin, keys, err));
  TRY(add_config(&m->config, keys, err));
  return gguf_tokenizer_make(origin, &m->config, keys, err);
}

void gguf_keys_clear (key_list *keys) {
  bytes_clear(&keys->bytes);
  keys->count = 0;
}
