/* Lists by id from objects by text, and back. What the text of a token means is left to text/. */
#include "gguf_tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/file.h"
#include "../base/json.h"
#include "../base/memory.h"
#include "../text/gguf_vocabulary.h"
#include "../text/pipeline.h"

enum { FILE_LIMIT = 256 * 1024 * 1024, TEMPLATE_LIMIT = 4 << 20 };

static const char template_key[] = "tokenizer.chat_template";

/* Token types of GGUF files. */
enum { NORMAL = 1, CONTROL = 3, USER_DEFINED = 4, UNUSED = 5 };

typedef struct token { const char *text; uint32_t type; } token;

/* The tokens of a vocabulary, in order. Texts are the JSON file's. */
typedef struct token_list {
  const char *path;
  token *tokens;                 /* [count] text NULL: no token has this id */
  size_t count;
} token_list;

static ms_status place (token_list *list, const char *text, const json_t *id, uint32_t type, ms_error *err) {
  json_int_t number = json_integer_value(id);
  if (text == NULL || !json_is_integer(id) || number < 0 || (uint64_t)number >= list->count)
    return fail(err, MS_EFORMAT, "%s: the token \"%.40s\" has the id %lld, the model has rows for 0 to %zu", list->path,
                text == NULL ? "" : text, (long long)number, list->count - 1);
  list->tokens[number] = (token){ text, type };
  return MS_OK;
}

/* An added token is a control token whatever the vocabulary says of its id. */
static ms_status place_all (token_list *list, const vocabulary_parts *parts, ms_error *err) {
  const char *text;
  json_t *id;
  size_t i;
  const json_t *added;
  json_object_foreach (parts->vocab, text, id) TRY(place(list, text, id, NORMAL, err));
  json_array_foreach (parts->added, i, added)
    TRY(place(list, json_string_value(json_object_get(added, "content")), json_object_get(added, "id"),
              json_is_false(json_object_get(added, "special")) ? USER_DEFINED : CONTROL, err));
  return MS_OK;
}

static ms_status add_tokens (const token_list *list, key_list *keys, ms_error *err) {
  char unused[32];
  TRY(key_begin_array(keys, "tokenizer.ggml.tokens", METADATA_STRING, list->count, err));
  for (size_t i = 0; i < list->count; i++) {
    const char *text = list->tokens[i].text;
    snprintf(unused, sizeof unused, "[PAD%zu]", i);
    if (text == NULL) text = unused;
    TRY(key_add_string(keys, text, strlen(text), err));
  }
  TRY(key_begin_array(keys, "tokenizer.ggml.token_type", METADATA_I32, list->count, err));
  for (size_t i = 0; i < list->count; i++)
    TRY(bytes_add_unsigned(&keys->bytes, list->tokens[i].text == NULL ? UNUSED : list->tokens[i].type, 4, err));
  return MS_OK;
}

/* "left right", or a pair of both: text/vocabulary.c has checked it. */
static ms_status add_merges (const json_t *merges, key_list *keys, ms_error *err) {
  size_t i;
  const json_t *item;
  TRY(key_begin_array(keys, "tokenizer.ggml.merges", METADATA_STRING, json_array_size(merges), err));
  json_array_foreach (merges, i, item) {
    if (json_is_string(item)) {
      TRY(key_add_string(keys, json_string_value(item), json_string_length(item), err));
      continue;
    }
    const json_t *left = json_array_get(item, 0), *right = json_array_get(item, 1);
    size_t before = json_string_length(left), after = json_string_length(right);
    TRY(bytes_add_unsigned(&keys->bytes, before + 1 + after, 8, err));
    TRY(bytes_add(&keys->bytes, json_string_value(left), before, err));
    TRY(bytes_add(&keys->bytes, " ", 1, err));
    TRY(bytes_add(&keys->bytes, json_string_value(right), after, err));
  }
  return MS_OK;
}

static ms_status add_vocabulary (const char *path, const json_t *file, const model_config *config, key_list *keys,
                                 ms_error *err) {
  const vocabulary_parts parts = pipeline_parts(file);
  token_list list = { .path = path, .count = config->vocabulary };
  list.tokens = memory_new(list.count, sizeof *list.tokens);
  if (list.tokens == NULL) return fail_memory(err, list.count * sizeof *list.tokens, "tokens");
  ms_status status = place_all(&list, &parts, err);
  if (status == MS_OK) status = key_string(keys, "tokenizer.ggml.model", "gpt2", err);
  if (status == MS_OK) status = key_string(keys, "tokenizer.ggml.pre", "joyai-llm", err);
  if (status == MS_OK) status = add_tokens(&list, keys, err);
  if (status == MS_OK) status = add_merges(parts.merges, keys, err);
  if (status == MS_OK) status = key_u32(keys, "tokenizer.ggml.padding_token_id", (uint32_t)config->eos[0], err);
  if (status == MS_OK) status = key_bool(keys, "tokenizer.ggml.add_bos_token", false, err);
  if (status == MS_OK) status = key_bool(keys, "tokenizer.ggml.add_eos_token", false, err);
  memory_free(list.tokens);
  return status;
}

/* Whatever our own tokenizer refuses is refused here. */
static ms_status check_tokenizer (const char *path, ms_error *err) {
  ms_tokenizer *tokenizer;
  TRY(ms_tokenizer_open(path, &tokenizer, err));
  ms_tokenizer_release(tokenizer);
  return MS_OK;
}

static ms_status add_file (const char *path, const model_config *config, key_list *keys, ms_error *err) {
  json_t *file;
  ms_status status = json_file_parse(path, FILE_LIMIT, &file, err);
  if (status == MS_ENOENT) return MS_OK;
  TRY(status);
  status = check_tokenizer(path, err);
  if (status == MS_OK) status = add_vocabulary(path, file, config, keys, err);
  json_decref(file);
  return status;
}

/* {== The chat template ========================================================================== */

static ms_status add_template_file (const char *path, key_list *keys, ms_error *err) {
  file_view view;
  TRY(file_text_open(path, TEMPLATE_LIMIT, &view, err));
  ms_status status = key_string(keys, template_key, (const char *)view.data, err);
  file_view_close(&view);
  return status;
}

/* Older checkpoints have it as a member; a list of several templates is left where it is. */
static ms_status add_template_member (const char *path, key_list *keys, ms_error *err) {
  json_t *file;
  TRY(json_file_parse(path, TEMPLATE_LIMIT, &file, err));
  const char *text = json_string_value(json_object_get(file, "chat_template"));
  ms_status status = text == NULL ? MS_OK : key_string(keys, template_key, text, err);
  json_decref(file);
  return status;
}

typedef ms_status add_template_from (const char *path, key_list *keys, ms_error *err);

/* MS_ENOENT: there is no such file. */
static ms_status add_template (const char *folder, const char *name, add_template_from *add, key_list *keys,
                               ms_error *err) {
  char *path = file_path_join(folder, name);
  if (path == NULL) return fail_memory(err, strlen(folder), "a path");
  ms_status status = add(path, keys, err);
  memory_free(path);
  return status;
}

static ms_status find_template (const char *folder, key_list *keys, ms_error *err) {
  ms_status status = add_template(folder, "chat_template.jinja", add_template_file, keys, err);
  if (status == MS_ENOENT) status = add_template(folder, "tokenizer_config.json", add_template_member, keys, err);
  return status == MS_ENOENT ? MS_OK : status;
}

/* {== The whole ================================================================================== */

ms_status gguf_tokenizer_make (const char *folder, const model_config *config, key_list *keys, ms_error *err) {
  char *path = file_path_join(folder, "tokenizer.json");
  if (path == NULL) return fail_memory(err, strlen(folder), "a path");
  ms_status status = add_file(path, config, keys, err);
  memory_free(path);
  TRY(status);
  TRY(find_template(folder, keys, err));
  if (config->bos >= 0) TRY(key_u32(keys, "tokenizer.ggml.bos_token_id", (uint32_t)config->bos, err));
  return key_u32(keys, "tokenizer.ggml.eos_token_id", (uint32_t)config->eos[0], err);
}

/* {== Back ======================================================================================= */

ms_status gguf_tokenizer_json (const metadata *keys, byte_list *text, ms_error *err) {
  vocabulary_parts parts = { 0 };
  json_t *file = NULL;
  char *written = NULL;
  if (metadata_find(keys, "tokenizer.ggml.model") == NULL) return MS_OK;
  ms_status status = gguf_vocabulary_read(keys, &parts, err);
  if (status == MS_OK) file = pipeline_file(&parts);
  if (file != NULL) written = json_dumps(file, JSON_INDENT(1));
  if (status == MS_OK && written == NULL) status = fail_memory(err, keys->values->size, "tokenizer.json");
  if (status == MS_OK) status = bytes_add(text, written, strlen(written), err);
  free(written);
  json_decref(file);
  gguf_vocabulary_free(&parts);
  return status;
}
