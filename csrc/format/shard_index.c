/* The JSON text of an index, its shards and its entries. */
#include "shard_index.h"

#include <string.h>

#include "../base/json.h"
#include "../base/memory.h"
#include "wrong_file.h"

enum {
  INDEX_LIMIT = 100000000,       /* bytes of the index; as many as a header may have */
  METADATA_LIMIT = 1048576
};

static ms_status check_metadata (const json_members *walk, const char *path, ms_error *err) {
  json_t *values;
  size_t total;
  if (walk->bytes > METADATA_LIMIT)
    return fail(err, MS_EFORMAT, "%s: metadata has %zu bytes, at most %d are allowed", path, walk->bytes,
                METADATA_LIMIT);
  TRY(json_text_parse(path, walk->value, walk->bytes, &values, err));
  ms_status status = MS_OK;
  /*
  ** Only its kind is checked: indexes of published FP8 checkpoints state the size of another precision,
  ** and what was cut off is noticed by the shards' own headers.
  */
  if (json_object_get(values, "total_size") != NULL)
    status = json_get_size(path, values, "total_size", 0, SIZE_MAX, &total, err);
  json_decref(values);
  return status;
}

static ms_status find_weight_map (shard_index *index, ms_error *err) {
  json_members walk;
  bool found;
  json_members_begin(&walk, index->path, (const char *)index->text.data, index->text.bytes);
  for (;;) {
    TRY(json_members_next(&walk, &found, err));
    if (!found) break;
    if (strcmp(walk.name, "metadata") == 0) TRY(check_metadata(&walk, index->path, err));
    if (strcmp(walk.name, "weight_map") != 0) continue;
    if (index->weight_map != NULL) return fail(err, MS_EFORMAT, "%s: weight_map appears twice", index->path);
    index->weight_map = walk.value;
    index->bytes = walk.bytes;
  }
  if (index->weight_map == NULL) return fail(err, MS_EFORMAT, "%s: weight_map is missing", index->path);
  for (size_t i = walk.position; i < index->text.bytes; i++)
    if (memchr(" \t\r\n", index->text.data[i], 4) == NULL)
      return fail(err, MS_EFORMAT, "%s: byte %zu follows the end of the JSON text", index->path, i);
  return MS_OK;
}

/* A file beside the index, whatever a foreign index asks for. */
static bool is_plain_name (const char *name) {
  if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) return false;
  for (const char *c = name; *c != '\0'; c++)
    if (*c == '/' || *c == '\\' || (unsigned char)*c < 0x20 || *c == 0x7F) return false;
  return true;
}

static ms_status collect_shards (shard_index *index, ms_error *err) {
  json_members walk;
  char shard[NAME_LIMIT];
  bool found, added;
  size_t number;
  shard_index_begin(index, &walk);
  for (;;) {
    TRY(json_members_next(&walk, &found, err));
    if (!found) break;
    TRY(json_members_string(&walk, shard, sizeof shard, err));
    if (!is_plain_name(shard))
      return fail(err, MS_EFORMAT, "%s: '%.100s' is mapped to '%.200s', which is no plain file name", index->path,
                  walk.name, shard);
    TRY(name_index_add(&index->shards, shard, &number, &added, err));
    if (number == SHARD_LIMIT)
      return fail(err, MS_EUNSUPPORTED, "%s: lists more than %d shards", index->path, SHARD_LIMIT);
  }
  if (index->shards.count == 0) return fail(err, MS_EFORMAT, "%s: weight_map is empty", index->path);
  return MS_OK;
}

static ms_status read_text (shard_index *index, ms_error *err) {
  TRY(file_text_open(index->path, INDEX_LIMIT, &index->text, err));
  if (index->text.bytes == 0 || index->text.data[0] != '{')
    TRY(wrong_file(index->path, index->text.data, index->text.bytes, err));
  TRY(find_weight_map(index, err));
  return collect_shards(index, err);
}

ms_status shard_index_open (const char *path, shard_index *index, ms_error *err) {
  *index = (shard_index){ .path = path };
  ms_status status = read_text(index, err);
  if (status != MS_OK) shard_index_close(index);
  return status;
}

void shard_index_close (shard_index *index) {
  name_index_clear(&index->shards);
  file_view_close(&index->text);
}

void shard_index_begin (const shard_index *index, json_members *walk) {
  json_members_begin(walk, index->path, index->weight_map, index->bytes);
}

ms_status shard_index_next (const shard_index *index, json_members *walk, bool *found, size_t *shard, ms_error *err) {
  char name[NAME_LIMIT];
  TRY(json_members_next(walk, found, err));
  if (!*found) return MS_OK;
  TRY(json_members_string(walk, name, sizeof name, err));
  name_index_find(&index->shards, name, shard);      /* collected from the same text */
  return MS_OK;
}
