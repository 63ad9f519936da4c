/* The folder of a plan: shards of a few gigabytes, as published checkpoints have them (specs/formats.md 1.1, 2). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/checked.h"
#include "../base/file.h"
#include "../base/memory.h"
#include "gguf_tokenizer.h"
#include "layout.h"

enum { SIDE_LIMIT = 256 * 1024 * 1024 };             /* bytes of a file that is copied as it is */

/* Files beside the weights that say the same of a model however its weights are stored. */
static const char *const copied[] = {
  "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
  "chat_template.jinja"
};

/* {== Shards ===================================================================================== */

/* Number of the shard of every output; codes and their scales stay together. */
static size_t divide (plan *p, uint64_t shard_bytes) {
  size_t file = 0;
  uint64_t used = 0;
  for (size_t i = 0; i < p->count; i++) {
    const bool follows = i > 0 && p->outputs[i].type == TENSOR_F8_E8M0;
    if (used > 0 && used >= shard_bytes && !follows) {
      file++;
      used = 0;
    }
    p->outputs[i].file = file;
    used += p->outputs[i].bytes;
  }
  return file + 1;
}

/* Within a shard by the size of elements, so that every tensor is aligned. */
static int compare_places (const void *left, const void *right) {
  const output *a = left, *b = right;
  const size_t before = tensor_types[a->type].alignment, behind = tensor_types[b->type].alignment;
  if (a->file != b->file) return a->file < b->file ? -1 : 1;
  if (before != behind) return before > behind ? -1 : 1;
  return (a->order > b->order) - (a->order < b->order);
}

static ms_status name_shard (plan *p, size_t number, ms_error *err) {
  char name[64];
  if (p->file_count == 1) snprintf(name, sizeof name, "model.safetensors");
  else snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", number + 1, p->file_count);
  p->files[number].name = memory_string(name, strlen(name));
  return p->files[number].name == NULL ? fail_memory(err, strlen(name), "a name") : MS_OK;
}

static ms_status add_entry (const output *o, uint64_t at, byte_list *header, ms_error *err) {
  TRY(bytes_add_text(header, err, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", o->name, tensor_types[o->type].name));
  for (size_t i = 0; i < o->rank; i++) TRY(bytes_add_text(header, err, i == 0 ? "%zu" : ",%zu", o->shape[i]));
  return bytes_add_text(header, err, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)at,
                        (unsigned long long)(at + o->bytes));
}

/* Official names have no character that JSON escapes: the model found them by its own spelling. */
static ms_status write_header (const plan *p, planned_file *file, byte_list *header, ms_error *err) {
  uint64_t at = 0;
  TRY(bytes_add_zeros(header, 8, err));
  TRY(bytes_add_text(header, err, "{\"__metadata__\":{\"format\":\"pt\"}"));
  for (size_t i = 0; i < file->count; i++) {
    TRY(add_entry(&p->outputs[file->first + i], at, header, err));
    at += p->outputs[file->first + i].bytes;
  }
  TRY(bytes_add_text(header, err, "}"));
  while (header->count % 8 != 0) TRY(bytes_add(header, " ", 1, err));
  bytes_put_unsigned(header->data, header->count - 8, 8);
  file->bytes = header->count + at;
  return MS_OK;
}

static ms_status make_shard (plan *p, size_t number, size_t *next, ms_error *err) {
  planned_file *file = &p->files[number];
  byte_list header = { 0 };
  file->first = *next;
  while (*next < p->count && p->outputs[*next].file == number) (*next)++;
  file->count = *next - file->first;
  TRY(name_shard(p, number, err));
  ms_status status = write_header(p, file, &header, err);
  file->header = header.data;
  file->header_bytes = header.count;
  uint64_t at = header.count;
  for (size_t i = file->first; i < *next; i++) {
    p->outputs[i].offset = at;
    at += p->outputs[i].bytes;
  }
  return status;
}

/* {== Files beside them ========================================================================== */

/* Takes *content over. */
static ms_status add_side (plan *p, const char *name, byte_list *content, ms_error *err) {
  char *copy = memory_string(name, strlen(name));
  if (copy == NULL) {
    bytes_clear(content);
    return fail_memory(err, strlen(name), "a name");
  }
  p->sides[p->side_count++] = (side_file){ copy, content->data, content->count };
  *content = (byte_list){ 0 };
  return MS_OK;
}

static ms_status add_index (plan *p, ms_error *err) {
  byte_list text = { 0 };
  if (p->file_count == 1) return MS_OK;
  ms_status status = bytes_add_text(&text, err, "{\n  \"metadata\": { \"total_size\": %llu },\n  \"weight_map\": {",
                                    (unsigned long long)p->bytes);
  for (size_t i = 0; i < p->count && status == MS_OK; i++)
    status = bytes_add_text(&text, err, "%s\n    \"%s\": \"%s\"", i == 0 ? "" : ",", p->outputs[i].name,
                            p->files[p->outputs[i].file].name);
  if (status == MS_OK) status = bytes_add_text(&text, err, "\n  }\n}\n");
  if (status == MS_OK) return add_side(p, "model.safetensors.index.json", &text, err);
  bytes_clear(&text);
  return status;
}

static ms_status copy_side (const char *folder, const char *name, plan *p, ms_error *err) {
  file_view view;
  byte_list content = { 0 };
  char *path = file_path_join(folder, name);
  if (path == NULL) return fail_memory(err, strlen(folder), "a path");
  ms_status status = file_text_open(path, SIDE_LIMIT, &view, err);
  memory_free(path);
  if (status == MS_ENOENT) return MS_OK;
  TRY(status);
  status = bytes_add(&content, view.data, view.bytes, err);
  file_view_close(&view);
  return status == MS_OK ? add_side(p, name, &content, err) : status;
}

/* What the key/values of a GGUF file say, as files. Its sampling is greedy: it states none. */
static ms_status add_from_keys (const metadata *keys, plan *p, ms_error *err) {
  static const char key[] = "tokenizer.chat_template";
  byte_list text = { 0 };
  metadata_string template;
  TRY(gguf_tokenizer_json(keys, &text, err));
  if (text.count > 0) TRY(add_side(p, "tokenizer.json", &text, err));
  if (metadata_find(keys, key) == NULL) return MS_OK;
  TRY(metadata_get_string(keys, key, &template, err));
  TRY(bytes_add(&text, template.text, template.bytes, err));
  return add_side(p, "chat_template.jinja", &text, err);
}

static ms_status add_sides (const model *m, plan *p, ms_error *err) {
  byte_list config = { 0 };
  const metadata *keys = checkpoint_metadata(m->files);
  TRY(add_index(p, err));
  ms_status status = config_json_make(m, &p->form, &config, err);
  if (status != MS_OK) {
    bytes_clear(&config);
    return status;
  }
  TRY(add_side(p, "config.json", &config, err));
  if (keys != NULL) return add_from_keys(keys, p, err);
  for (size_t i = 0; i < sizeof copied / sizeof *copied; i++)
    TRY(copy_side(checkpoint_origin(m->files), copied[i], p, err));
  return MS_OK;
}

ms_status layout_safetensors (const model *m, uint64_t shard_bytes, plan *p, ms_error *err) {
  const size_t count = divide(p, shard_bytes);
  size_t next = 0;
  qsort(p->outputs, p->count, sizeof *p->outputs, compare_places);
  p->files = memory_new(count, sizeof *p->files);
  if (p->files == NULL) return fail_memory(err, count * sizeof *p->files, "headers");
  p->file_count = count;
  for (size_t i = 0; i < count; i++) TRY(make_shard(p, i, &next, err));
  return add_sides(m, p, err);
}
