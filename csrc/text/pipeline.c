/*
** A tokenizer.json is a program: normalizer, pre-tokenizer, model. We run one, that of the V3 and V4
** vocabularies (specs/conversation.md 1.1, 1.4), and refuse every other by the name of the field.
** Nothing is asked of the post-processor and the decoder: ids are never added, and bytes are the token's own.
*/
#include "pipeline.h"

#include <stdbool.h>
#include <string.h>

/* What split.c implements, in order; CR and LF stand in the classes as themselves. */
static const char *const expressions[] = {
  "\\p{N}{1,3}",
  "[\xE4\xB8\x80-\xE9\xBE\xA5\xE3\x81\x80-\xE3\x82\x9F\xE3\x82\xA0-\xE3\x83\xBF]+",   /* CJK and kana */
  ("[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"
   " ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+")
};

enum { EXPRESSIONS = sizeof expressions / sizeof *expressions };

static bool is_text (const json_t *value, const char *text) {
  return json_is_string(value) && strcmp(json_string_value(value), text) == 0;
}

/* Absent, null, false, 0, "" and an empty list all mean: not used. */
static bool is_unused (const json_t *value) {
  return value == NULL || json_is_null(value) || json_is_false(value) || is_text(value, "") ||
         (json_is_number(value) && !(json_number_value(value) < 0 || json_number_value(value) > 0)) ||
         (json_is_array(value) && json_array_size(value) == 0);
}

static ms_status check_normalizer (const char *path, const json_t *file, ms_error *err) {
  const json_t *normalizer = json_object_get(file, "normalizer");
  if (is_unused(normalizer)) return MS_OK;
  if (is_text(json_object_get(normalizer, "type"), "Sequence") &&
      is_unused(json_object_get(normalizer, "normalizers")))
    return MS_OK;
  return fail(err, MS_EUNSUPPORTED, "%s: normalizer: text is taken as it is, no normalizer is supported", path);
}

static ms_status check_model (const char *path, const json_t *file, ms_error *err) {
  static const char *const unused[] = {
    "dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "ignore_merges"
  };
  const json_t *model = json_object_get(file, "model");
  if (!json_is_object(model)) return fail(err, MS_EFORMAT, "%s: model is not an object", path);
  const json_t *type = json_object_get(model, "type");
  if (!is_text(type, "BPE"))
    return fail(err, MS_EUNSUPPORTED, "%s: model.type is %.40s, supported is BPE", path,
                json_is_string(type) ? json_string_value(type) : "not a string");
  for (size_t i = 0; i < sizeof unused / sizeof *unused; i++)
    if (!is_unused(json_object_get(model, unused[i])))
      return fail(err, MS_EUNSUPPORTED, "%s: model.%s is set, which is not supported", path, unused[i]);
  return MS_OK;
}

static ms_status check_split (const char *path, size_t index, const json_t *split, ms_error *err) {
  if (!is_text(json_object_get(split, "type"), "Split"))
    return fail(err, MS_EUNSUPPORTED, "%s: pre_tokenizer.pretokenizers[%zu].type: supported is Split", path, index);
  if (!is_text(json_object_get(json_object_get(split, "pattern"), "Regex"), expressions[index]))
    return fail(err, MS_EUNSUPPORTED, "%s: pre_tokenizer.pretokenizers[%zu].pattern: supported is the Regex %s", path,
                index, expressions[index]);
  if (!is_text(json_object_get(split, "behavior"), "Isolated"))
    return fail(err, MS_EUNSUPPORTED, "%s: pre_tokenizer.pretokenizers[%zu].behavior: supported is Isolated", path,
                index);
  if (!is_unused(json_object_get(split, "invert")))
    return fail(err, MS_EUNSUPPORTED, "%s: pre_tokenizer.pretokenizers[%zu].invert is set, which is not supported",
                path, index);
  return MS_OK;
}

/* The file's defaults for absent fields are true: both must be said. */
static ms_status check_byte_level (const char *path, const json_t *step, ms_error *err) {
  static const char *const must_be_false[] = { "add_prefix_space", "use_regex" };
  if (!is_text(json_object_get(step, "type"), "ByteLevel"))
    return fail(err, MS_EUNSUPPORTED, "%s: pre_tokenizer.pretokenizers[%d].type: supported is ByteLevel", path,
                EXPRESSIONS);
  for (size_t i = 0; i < 2; i++)
    if (!json_is_false(json_object_get(step, must_be_false[i])))
      return fail(err, MS_EUNSUPPORTED, "%s: pre_tokenizer.pretokenizers[%d].%s: supported is false", path, EXPRESSIONS,
                  must_be_false[i]);
  return MS_OK;
}

static ms_status check_pre_tokenizer (const char *path, const json_t *file, ms_error *err) {
  const json_t *sequence = json_object_get(file, "pre_tokenizer");
  const json_t *steps = json_object_get(sequence, "pretokenizers");
  if (!is_text(json_object_get(sequence, "type"), "Sequence") || json_array_size(steps) != EXPRESSIONS + 1)
    return fail(err, MS_EUNSUPPORTED, "%s: pre_tokenizer: supported is the Sequence of three Splits and a ByteLevel of "
                "the DeepSeek-V4 tokenizer", path);
  for (size_t i = 0; i < EXPRESSIONS; i++) TRY(check_split(path, i, json_array_get(steps, i), err));
  return check_byte_level(path, json_array_get(steps, EXPRESSIONS), err);
}

ms_status pipeline_check (const char *path, const json_t *file, ms_error *err) {
  if (!json_is_object(file)) return fail(err, MS_EFORMAT, "%s: is not a JSON object", path);
  TRY(check_model(path, file, err));
  TRY(check_normalizer(path, file, err));
  return check_pre_tokenizer(path, file, err);
}

vocabulary_parts pipeline_parts (const json_t *file) {
  const json_t *model = json_object_get(file, "model");
  return (vocabulary_parts){ .vocab = json_object_get(model, "vocab"), .merges = json_object_get(model, "merges"),
                             .added = json_object_get(file, "added_tokens"), .vocab_name = "model.vocab",
                             .merges_name = "model.merges", .added_name = "added_tokens" };
}

/* {== Writing ==================================================================================== */

/* Isolated pieces of the expression; NULL when memory runs out, as below. */
static json_t *make_split (const char *expression) {
  return json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern", "Regex", expression, "behavior", "Isolated",
                   "invert", 0);
}

static json_t *make_byte_level (void) {
  return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1, "use_regex",
                   0);
}

static json_t *make_pre_tokenizer (void) {
  json_t *steps = json_array();
  int failed = steps == NULL;
  for (size_t i = 0; i < EXPRESSIONS; i++) failed |= json_array_append_new(steps, make_split(expressions[i]));
  failed |= json_array_append_new(steps, make_byte_level());
  json_t *sequence = failed ? NULL : json_pack("{s:s, s:O}", "type", "Sequence", "pretokenizers", steps);
  json_decref(steps);
  return sequence;
}

static json_t *make_model (const vocabulary_parts *parts) {
  return json_pack("{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:O, s:O}", "type", "BPE", "dropout", "unk_token",
                   "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0, "byte_fallback", 0, "vocab",
                   parts->vocab, "merges", parts->merges);
}

json_t *pipeline_file (const vocabulary_parts *parts) {
  /* `o` takes its value over, also on failure; a NULL makes json_pack fail. */
  return json_pack("{s:s, s:n, s:n, s:O, s:n, s:o, s:n, s:{s:s, s:b, s:b, s:b}, s:o}", "version", "1.0", "truncation",
                   "padding", "added_tokens", parts->added, "normalizer", "pre_tokenizer", make_pre_tokenizer(),
                   "post_processor", "decoder", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1,
                   "use_regex", 0, "model", make_model(parts));
}
