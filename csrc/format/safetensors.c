/*
** A safetensors header becomes tensors: u64 length, JSON, data buffer (specs/formats.md 1.1). Every number
** is checked against the bytes that are there before it is used; S01 to S07 of specs/reliability.md.
*/
#include "safetensors.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/checked.h"
#include "../base/json.h"
#include "../base/memory.h"
#include "../base/reader.h"
#include "json_members.h"
#include "wrong_file.h"

enum {
  HEADER_LIMIT = 100000000,      /* bytes; the format's own limit */
  ENTRY_LIMIT = 4096,            /* bytes of one tensor's JSON; jansson takes twenty times that */
  METADATA_LIMIT = 65536
};

/* One file while it is parsed. */
typedef struct parse {
  const char *path;
  const char *header;            /* [header_bytes] */
  size_t header_bytes;
  const uint8_t *buffer;         /* [buffer_bytes] the data that offsets count in */
  size_t buffer_bytes;
  tensor_table *table;
} parse;

/* The complaint about a broken start, unless the file is plainly something else. */
static ms_status find_header (parse *p, const uint8_t *bytes, size_t size, ms_error *err) {
  reader r = { bytes, size, 0 };
  uint64_t length;
  const uint8_t *header;
  ms_status cause = MS_OK;
  bool sound = reader_u64(&r, &length) && length >= 2 && length <= HEADER_LIMIT &&
               length <= reader_left(&r) && bytes[r.position] == '{';
  if (!sound) cause = wrong_file(p->path, bytes, size, err);
  if (cause != MS_OK) return cause;
  if (size < 8) return fail(err, MS_EFORMAT, "%s: has %zu bytes, a header takes at least 10", p->path, size);
  if (length < 2 || length > HEADER_LIMIT)
    return fail(err, MS_EFORMAT, "%s: is no safetensors file: header length is %" PRIu64
                ", allowed are 2 to %d", p->path, length, HEADER_LIMIT);
  if (!reader_bytes(&r, (size_t)length, &header))
    return fail(err, MS_EFORMAT, "%s: header length is %" PRIu64 ", but only %zu bytes follow: the file is cut",
                p->path, length, reader_left(&r));
  if (header[0] != '{')
    return fail(err, MS_EFORMAT, "%s: header starts with byte 0x%02X, not with '{'", p->path, header[0]);
  p->header = (const char *)header;
  p->header_bytes = (size_t)length;
  p->buffer = bytes + r.position;
  p->buffer_bytes = reader_left(&r);
  return MS_OK;
}

/* A list of integers >= 0, at most `limit`; *count receives how many. `label` names file and tensor. */
static ms_status read_sizes (const char *label, const json_t *entry, const char *key, size_t limit, size_t *out,
                             size_t *count, ms_error *err) {
  const json_t *list = json_object_get(entry, key);
  if (!json_is_array(list)) return fail(err, MS_EFORMAT, "%s: %s is missing or no list", label, key);
  *count = json_array_size(list);
  if (*count > limit)
    return fail(err, MS_EFORMAT, "%s: %s has %zu entries, at most %zu are allowed", label, key, *count, limit);
  for (size_t i = 0; i < *count; i++) {
    const json_t *item = json_array_get(list, i);
    json_int_t value = json_integer_value(item);
    if (!json_is_integer(item) || value < 0)
      return fail(err, MS_EFORMAT, "%s: %s[%zu] is no integer from 0 on", label, key, i);
    out[i] = (size_t)value;
  }
  return MS_OK;
}

/* shape x dtype is what the offsets enclose, inside the buffer. */
static ms_status place (const parse *p, const char *label, const size_t offsets[2], stored_tensor *tensor,
                        ms_error *err) {
  const tensor_type_info *type = &tensor_types[tensor->type];
  size_t begin = offsets[0], end = offsets[1];
  if (begin > end || end > p->buffer_bytes)
    return fail(err, MS_EFORMAT, "%s: data_offsets are [%zu, %zu], but the data has %zu bytes: is the file cut?", label,
                begin, end, p->buffer_bytes);
  if (!tensor_type_bytes(tensor->type, tensor->rank, tensor->shape, &tensor->bytes))
    return fail(err, MS_EFORMAT, "%s: the shape has too many values, or no whole number of %s blocks of %zu",
                label, type->name, type->block_values);
  if (tensor->bytes != end - begin)
    return fail(err, MS_EFORMAT, "%s: shape and dtype %s take %zu bytes, data_offsets give %zu", label,
                type->name, tensor->bytes, end - begin);
  tensor->data = p->buffer + begin;
  return MS_OK;
}

static ms_status read_entry (const parse *p, const char *label, const json_t *entry, stored_tensor *tensor,
                             ms_error *err) {
  const char *type;
  size_t offsets[2], count;
  if (json_object_size(entry) != 3)
    return fail(err, MS_EFORMAT, "%s: has %zu keys, not just dtype, shape and data_offsets", label,
                json_object_size(entry));
  TRY(json_get_string(label, entry, "dtype", &type, err));
  if (!tensor_type_find(type, strlen(type), &tensor->type))
    return fail(err, MS_EUNSUPPORTED, "%s: dtype '%.32s' is unknown", label, type);
  TRY(read_sizes(label, entry, "shape", TENSOR_RANK_LIMIT, tensor->shape, &tensor->rank, err));
  TRY(read_sizes(label, entry, "data_offsets", 2, offsets, &count, err));
  if (count != 2) return fail(err, MS_EFORMAT, "%s: data_offsets has %zu entries, not 2", label, count);
  return place(p, label, offsets, tensor, err);
}

/* Parses the current member's text as an object of at most `limit` bytes. */
static ms_status parse_member (const json_members *walk, const char *label, size_t limit, json_t **out,
                               ms_error *err) {
  if (walk->bytes > limit)
    return fail(err, MS_EUNSUPPORTED, "%s: takes %zu bytes of header, at most %zu are allowed", label,
                walk->bytes, limit);
  if (walk->value[0] != '{') return fail(err, MS_EFORMAT, "%s: is no object", label);
  return json_text_parse(label, walk->value, walk->bytes, out, err);
}

static ms_status check_metadata (const json_members *walk, const char *label, ms_error *err) {
  json_t *metadata;
  const char *key;
  json_t *value;
  ms_status status = MS_OK;
  TRY(parse_member(walk, label, METADATA_LIMIT, &metadata, err));
  json_object_foreach (metadata, key, value)
    if (!json_is_string(value) && status == MS_OK)
      status = fail(err, MS_EFORMAT, "%s: '%s' is no string", label, key);
  json_decref(metadata);
  return status;
}

static ms_status add_tensor (const parse *p, const json_members *walk, const char *label, ms_error *err) {
  stored_tensor tensor = { .name = walk->name, .file = p->path };
  const stored_tensor *present = NULL;
  json_t *entry;
  TRY(parse_member(walk, label, ENTRY_LIMIT, &entry, err));
  ms_status status = read_entry(p, label, entry, &tensor, err);
  json_decref(entry);
  if (status == MS_OK) status = tensor_table_add(p->table, &tensor, &present, err);
  if (status == MS_OK && present != NULL) status = fail(err, MS_EFORMAT, "%s: appears twice", label);
  return status;
}

static ms_status read_members (const parse *p, ms_error *err) {
  json_members walk;
  char label[512];
  bool found, metadata = false;
  json_members_begin(&walk, p->path, p->header, p->header_bytes);
  for (;;) {
    TRY(json_members_next(&walk, &found, err));
    if (!found) break;
    snprintf(label, sizeof label, "%.300s: '%.180s'", p->path, walk.name);
    if (strcmp(walk.name, "__metadata__") != 0) {
      TRY(add_tensor(p, &walk, label, err));
    } else {
      if (metadata) return fail(err, MS_EFORMAT, "%s: appears twice", label);
      TRY(check_metadata(&walk, label, err));
      metadata = true;
    }
  }
  for (size_t i = walk.position; i < p->header_bytes; i++)
    if (p->header[i] != ' ')
      return fail(err, MS_EFORMAT, "%s: byte 0x%02X after the header's JSON, only spaces may follow", p->path,
                  (unsigned char)p->header[i]);
  return MS_OK;
}

/* By position in the file; a tensor without bytes goes before the one that starts where it does. */
static int compare_places (const void *left, const void *right) {
  const stored_tensor *a = *(const stored_tensor *const *)left, *b = *(const stored_tensor *const *)right;
  if (a->data != b->data) return a->data < b->data ? -1 : 1;
  return (a->bytes > b->bytes) - (a->bytes < b->bytes);
}

/* No holes, no overlap, nothing behind the last: so no second format can hide in the file. */
static ms_status check_coverage (const parse *p, const stored_tensor *tensors, size_t count, ms_error *err) {
  const stored_tensor **order = memory_new(count, sizeof *order);
  ms_status status = MS_OK;
  size_t covered = 0;
  if (order == NULL) return fail_memory(err, count * sizeof *order, "the order of tensors");
  for (size_t i = 0; i < count; i++) order[i] = &tensors[i];
  qsort(order, count, sizeof *order, compare_places);
  for (size_t i = 0; i < count && status == MS_OK; i++) {
    size_t begin = (size_t)(order[i]->data - p->buffer);
    if (begin != covered)
      status = fail(err, MS_EFORMAT, "%s: '%s' starts at byte %zu of the data, the one before it ends at %zu",
                    p->path, order[i]->name, begin, covered);
    covered = begin + order[i]->bytes;
  }
  memory_free(order);
  if (status == MS_OK && covered != p->buffer_bytes)
    status = fail(err, MS_EFORMAT, "%s: tensors take %zu bytes of data, the file holds %zu", p->path, covered,
                  p->buffer_bytes);
  return status;
}

ms_status safetensors_parse (const char *path, const uint8_t *bytes, size_t size, tensor_table *table,
                             ms_error *err) {
  parse p = { .path = path, .table = table };
  size_t first = table->names.count;
  TRY(find_header(&p, bytes, size, err));
  TRY(read_members(&p, err));
  return check_coverage(&p, table->tensors + first, table->names.count - first, err);
}
