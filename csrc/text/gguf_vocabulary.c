/*
** Tokens, their types and the merges of a GGUF file are turned into what tokenizer.json holds, so that one loader
** checks and builds both. The file names its pre-tokenizer by a word; the words here all mean that of split.c.
*/
#include "gguf_vocabulary.h"

#include <stdbool.h>
#include <string.h>

#include "unicode.h"

static const char model_key[] = "tokenizer.ggml.model", pre_key[] = "tokenizer.ggml.pre",
                  tokens_key[] = "tokenizer.ggml.tokens", types_key[] = "tokenizer.ggml.token_type",
                  merges_key[] = "tokenizer.ggml.merges";

static const char *const pre_tokenizers[] = { "joyai-llm", "deepseek-v3", "hunyuan-dense" };

/* What a token's type says: whether it is asked for by name only. 0: no token of such a vocabulary. */
enum { SPECIAL = 3, TYPES = 7 };
typedef enum token_role { NO_TOKEN, TEXT, CONTROL } token_role;

static const token_role roles[TYPES] = {
  [1] = TEXT,                    /* normal */
  [2] = TEXT,                    /* unknown */
  [SPECIAL] = CONTROL,           /* control */
  [4] = CONTROL,                 /* user-defined: the others of added_tokens */
  [5] = TEXT,                    /* unused: fills the vocabulary up, no merge leads there */
};                               /* 6: a byte, of another kind of vocabulary */

static excerpt shorten (metadata_string string) {
  return unicode_excerpt(string.text, string.bytes);
}

static ms_status check_pipeline (const metadata *keys, ms_error *err) {
  metadata_string model, pre;
  TRY(metadata_get_string(keys, model_key, &model, err));
  if (!metadata_string_is(model, "gpt2"))
    return fail(err, MS_EUNSUPPORTED, "%s: %s is '%s', supported is 'gpt2', byte-level BPE", keys->path, model_key,
                shorten(model).text);
  TRY(metadata_get_string(keys, pre_key, &pre, err));
  for (size_t i = 0; i < sizeof pre_tokenizers / sizeof *pre_tokenizers; i++)
    if (metadata_string_is(pre, pre_tokenizers[i])) return MS_OK;
  return fail(err, MS_EUNSUPPORTED, "%s: %s is '%s', supported are '%s', '%s' and '%s'", keys->path, pre_key,
              shorten(pre).text, pre_tokenizers[0], pre_tokenizers[1], pre_tokenizers[2]);
}

/* As a JSON string. Those hold UTF-8, and the loader takes them as terminated. */
static ms_status make_string (const metadata *keys, const char *key, size_t index, metadata_string string,
                              json_t **out, ms_error *err) {
  for (size_t at = 0; at < string.bytes;) {
    character c = unicode_read((const uint8_t *)string.text + at, string.bytes - at);
    if (c.code == 0 || c.code == UNICODE_NONE)
      return fail(err, MS_EFORMAT, "%s: %s[%zu]: \"%s\" holds %s at byte %zu", keys->path, key, index,
                  shorten(string).text, c.code == 0 ? "a NUL" : "no UTF-8", at);
    at += c.bytes;
  }
  *out = json_stringn_nocheck(string.text, string.bytes);
  return *out == NULL ? fail_memory(err, string.bytes, key) : MS_OK;
}

static ms_status add_control (size_t id, int64_t type, json_t *text, vocabulary_parts *parts, ms_error *err) {
  json_t *token = json_pack("{s:I, s:O, s:b, s:b, s:b, s:b, s:b}", "id", (json_int_t)id, "content", text, "single_word",
                            0, "lstrip", 0, "rstrip", 0, "normalized", type != SPECIAL, "special", type == SPECIAL);
  bool made = token != NULL && json_array_append(parts->added, token) == 0;
  json_decref(token);
  return made ? MS_OK : fail_memory(err, sizeof(json_t *), types_key);
}

static ms_status add_token (const metadata *keys, size_t id, json_t *text, vocabulary_parts *parts, ms_error *err) {
  const char *spelling = json_string_value(text);
  const json_t *other = json_object_get(parts->vocab, spelling);
  if (other != NULL)
    return fail(err, MS_EFORMAT, "%s: %s[%zu] repeats %s[%" JSON_INTEGER_FORMAT "]: \"%s\"", keys->path, tokens_key, id,
                tokens_key, json_integer_value(other), unicode_excerpt(spelling, strlen(spelling)).text);
  json_t *number = json_integer((json_int_t)id);
  if (number == NULL || json_object_set_new_nocheck(parts->vocab, spelling, number) != 0)
    return fail_memory(err, strlen(spelling), tokens_key);
  return MS_OK;
}

static ms_status read_tokens (const metadata *keys, vocabulary_parts *parts, ms_error *err) {
  const metadata_value *tokens, *types;
  metadata_string string;
  json_t *text;
  TRY(metadata_get_strings(keys, tokens_key, &tokens, err));
  TRY(metadata_get_integers(keys, types_key, &types, err));
  if (tokens->count != types->count)
    return fail(err, MS_EFORMAT, "%s: %s has %zu entries, %s has %zu", keys->path, tokens_key, tokens->count, types_key,
                types->count);
  reader walk = metadata_walk(tokens);
  for (size_t id = 0; metadata_next_string(&walk, &string); id++) {
    int64_t type = metadata_integer(types, id);
    token_role role = type >= 0 && type < TYPES ? roles[type] : NO_TOKEN;
    if (role == NO_TOKEN)
      return fail(err, MS_EFORMAT, "%s: %s[%zu] is %lld, which no token of such a vocabulary is", keys->path, types_key,
                  id, (long long)type);
    TRY(make_string(keys, tokens_key, id, string, &text, err));
    ms_status status = add_token(keys, id, text, parts, err);
    if (status == MS_OK && role == CONTROL) status = add_control(id, type, text, parts, err);
    json_decref(text);
    TRY(status);
  }
  return MS_OK;
}

static ms_status read_merges (const metadata *keys, vocabulary_parts *parts, ms_error *err) {
  const metadata_value *merges;
  metadata_string string;
  json_t *text;
  TRY(metadata_get_strings(keys, merges_key, &merges, err));
  reader walk = metadata_walk(merges);
  for (size_t rank = 0; metadata_next_string(&walk, &string); rank++) {
    TRY(make_string(keys, merges_key, rank, string, &text, err));
    if (json_array_append_new(parts->merges, text) != 0) return fail_memory(err, string.bytes, merges_key);
  }
  return MS_OK;
}

ms_status gguf_vocabulary_read (const metadata *keys, vocabulary_parts *parts, ms_error *err) {
  *parts = (vocabulary_parts){ .vocab = json_object(), .added = json_array(), .merges = json_array(),
                               .vocab_name = tokens_key, .added_name = types_key, .merges_name = merges_key };
  if (parts->vocab == NULL || parts->added == NULL || parts->merges == NULL)
    return fail_memory(err, sizeof(json_t *), "a vocabulary");
  TRY(check_pipeline(keys, err));
  TRY(read_tokens(keys, parts, err));
  return read_merges(keys, parts, err);
}

void gguf_vocabulary_free (vocabulary_parts *parts) {
  json_decref(parts->vocab);
  json_decref(parts->added);
  json_decref(parts->merges);
}
