/*
** A GGUF header becomes key/values and tensors. Every number is checked against the bytes that are there before it is
** used; G02 to G17 of specs/reliability.md.
*/
#include "gguf.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/checked.h"
#include "../base/file.h"
#include "../base/memory.h"
#include "wrong_file.h"

enum {
  HEADER_BYTES = 24,             /* magic, version, two counts */
  PAIR_BYTES = 8 + 1 + 4 + 1,    /* of the smallest key/value: a key of one byte, a u8 */
  INFO_BYTES = 8 + 1 + 4 + 8 + 4 + 8,   /* of the smallest tensor info: a name of one byte, one dimension */
  NAME_BYTES = 63,               /* of a tensor's name, by definition of the format */
  DIMENSIONS = 4,
  ALIGNMENT = 32, ALIGNMENT_LIMIT = 1 << 20
};

static const char magic[] = "GGUF";

/* One file while it is parsed. */
typedef struct parse {
  const char *path;
  reader r;
  uint64_t tensors, pairs;       /* counts, as stated */
  size_t alignment;
  const uint8_t *data;           /* [data_bytes] what offsets count in */
  size_t data_bytes;
  tensor_table *table;
} parse;

/* {== The header ================================================================================= */

bool gguf_starts (const uint8_t *bytes, size_t size) {
  return size >= 4 && memcmp(bytes, magic, 4) == 0;
}

ms_status gguf_is_file (const char *path, bool *is_gguf, ms_error *err) {
  static const char ending[] = ".gguf";
  file_view view;
  size_t length = strlen(path), tail = sizeof ending - 1;
  *is_gguf = length > tail && strcmp(path + length - tail, ending) == 0;
  if (*is_gguf) return MS_OK;
  TRY(file_view_open(path, MS_MAP, &view, err));
  *is_gguf = gguf_starts(view.data, view.bytes);
  file_view_close(&view);
  return MS_OK;
}

static ms_status check_version (const char *path, uint64_t version, ms_error *err) {
  if (version == 2 || version == 3) return MS_OK;
  if (version == 0x02000000 || version == 0x03000000)
    return fail(err, MS_EUNSUPPORTED, "%s: is a big-endian GGUF file: only little-endian ones are read", path);
  return fail(err, MS_EUNSUPPORTED, "%s: is GGUF version %" PRIu64 ", read are 2 and 3", path, version);
}

/* `least`: bytes that one of them takes at least. */
static ms_status check_count (const parse *p, const char *what, uint64_t count, size_t least, ms_error *err) {
  if (count > reader_left(&p->r) / least)
    return fail(err, MS_EFORMAT, "%s: states %" PRIu64 " %s, but only %zu bytes follow", p->path, count, what,
                reader_left(&p->r));
  if (count > NAME_COUNT_LIMIT)
    return fail(err, MS_EUNSUPPORTED, "%s: states %" PRIu64 " %s, at most %d are allowed", p->path, count, what,
                NAME_COUNT_LIMIT);
  return MS_OK;
}

static ms_status read_header (parse *p, ms_error *err) {
  uint64_t version;
  const uint8_t *start;
  if (!gguf_starts(p->r.base, p->r.size)) {
    TRY(wrong_file(p->path, p->r.base, p->r.size, err));
    return fail(err, MS_EFORMAT, "%s: is no GGUF file: it does not start with \"GGUF\"", p->path);
  }
  if (!reader_bytes(&p->r, 4, &start) || !reader_unsigned(&p->r, 4, &version) || !reader_u64(&p->r, &p->tensors) ||
      !reader_u64(&p->r, &p->pairs))
    return fail(err, MS_EFORMAT, "%s: has %zu bytes, a header takes at least %d", p->path, p->r.size, HEADER_BYTES);
  TRY(check_version(p->path, version, err));
  TRY(check_count(p, "key/values", p->pairs, PAIR_BYTES, err));
  return check_count(p, "tensors", p->tensors, INFO_BYTES, err);
}

/* The one key that the container itself needs; the format allows no other type for it. */
static ms_status read_alignment (parse *p, const metadata *keys, ms_error *err) {
  static const char key[] = "general.alignment";
  const metadata_value *value = metadata_find(keys, key);
  p->alignment = ALIGNMENT;
  if (value == NULL) return MS_OK;
  if (value->is_array || value->type != METADATA_U32)
    return fail(err, MS_EFORMAT, "%s: %s: is not of type u32", p->path, key);
  TRY(metadata_get_size(keys, key, 1, ALIGNMENT_LIMIT, &p->alignment, err));
  if ((p->alignment & (p->alignment - 1)) != 0)
    return fail(err, MS_EFORMAT, "%s: %s is %zu, which is no power of two", p->path, key, p->alignment);
  return MS_OK;
}

/* {== Tensors ==================================================================================== */

static ms_status fail_cut (const parse *p, uint64_t index, ms_error *err) {
  return fail(err, MS_EFORMAT, "%s: ends inside of tensor info %" PRIu64 " of %" PRIu64 ": the file is cut", p->path,
              index, p->tensors);
}

static ms_status read_name (parse *p, uint64_t index, char out[NAME_BYTES + 1], ms_error *err) {
  uint64_t length;
  const uint8_t *bytes;
  if (!reader_u64(&p->r, &length)) return fail_cut(p, index, err);
  if (length < 1 || length > NAME_BYTES)
    return fail(err, MS_EFORMAT, "%s: tensor info %" PRIu64 " has a name of %" PRIu64 " bytes, allowed are 1 to %d",
                p->path, index, length, NAME_BYTES);
  if (!reader_bytes(&p->r, (size_t)length, &bytes)) return fail_cut(p, index, err);
  for (size_t i = 0; i < length; i++)
    if (bytes[i] < 0x20 || bytes[i] > 0x7E)
      return fail(err, MS_EFORMAT, "%s: the name of tensor info %" PRIu64 " holds the byte 0x%02X, only printable "
                  "ASCII is allowed", p->path, index, bytes[i]);
  memcpy(out, bytes, (size_t)length);
  out[length] = '\0';
  return MS_OK;
}

/* The file lists the fastest dimension first. */
static ms_status read_shape (parse *p, uint64_t index, const char *name, stored_tensor *tensor, ms_error *err) {
  uint64_t rank, size;
  if (!reader_unsigned(&p->r, 4, &rank)) return fail_cut(p, index, err);
  if (rank < 1 || rank > DIMENSIONS)
    return fail(err, MS_EFORMAT, "%s: '%s' has %" PRIu64 " dimensions, allowed are 1 to %d", p->path, name, rank,
                DIMENSIONS);
  tensor->rank = (size_t)rank;
  for (size_t i = 0; i < rank; i++) {
    if (!reader_u64(&p->r, &size)) return fail_cut(p, index, err);
    if (size == 0 || size > INT64_MAX || size > SIZE_MAX)
      return fail(err, MS_EFORMAT, "%s: '%s': dimension %zu is %" PRIu64 ", allowed are 1 to 2^63-1", p->path, name, i,
                  size);
    tensor->shape[rank - 1 - i] = (size_t)size;
  }
  return MS_OK;
}

static ms_status fail_type (const parse *p, const char *name, uint64_t id, ms_error *err) {
  char known[256];
  size_t used = 0;
  for (size_t i = 0; i < TENSOR_TYPE_COUNT && used < sizeof known; i++)
    if (tensor_types[i].ggml_id != TENSOR_NO_GGML_ID)
      used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", used == 0 ? "" : ", ", tensor_types[i].name);
  return fail(err, MS_EUNSUPPORTED, "%s: '%s' has the type %" PRIu64 ", read are %s", p->path, name, id,
              used == 0 ? "none" : known);
}

static ms_status read_type (parse *p, uint64_t index, const char *name, stored_tensor *tensor, ms_error *err) {
  uint64_t id;
  if (!reader_unsigned(&p->r, 4, &id)) return fail_cut(p, index, err);
  if (!tensor_type_of_ggml((uint32_t)id, &tensor->type)) return fail_type(p, name, id, err);
  const tensor_type_info *type = &tensor_types[tensor->type];
  size_t row = tensor->shape[tensor->rank - 1];
  if (row % type->block_values != 0)
    return fail(err, MS_EFORMAT, "%s: '%s' has rows of %zu values, no whole number of blocks of %zu as %s needs",
                p->path, name, row, type->block_values, type->name);
  if (!tensor_type_bytes(tensor->type, tensor->rank, tensor->shape, &tensor->bytes))
    return fail(err, MS_EFORMAT, "%s: '%s' has more values than memory can number", p->path, name);
  return MS_OK;
}

static ms_status read_info (parse *p, uint64_t index, size_t *offset, ms_error *err) {
  char name[NAME_BYTES + 1];
  stored_tensor tensor = { .name = name, .file = p->path };
  const stored_tensor *present;
  uint64_t stated;
  TRY(read_name(p, index, name, err));
  TRY(read_shape(p, index, name, &tensor, err));
  TRY(read_type(p, index, name, &tensor, err));
  if (!reader_u64(&p->r, &stated)) return fail_cut(p, index, err);
  if (stated > SIZE_MAX || stated % p->alignment != 0)
    return fail(err, MS_EFORMAT, "%s: '%s' starts at byte %" PRIu64 " of the data, no multiple of the alignment, %zu",
                p->path, name, stated, p->alignment);
  *offset = (size_t)stated;
  TRY(tensor_table_add(p->table, &tensor, &present, err));
  return present == NULL ? MS_OK : fail(err, MS_EFORMAT, "%s: '%s' appears twice", p->path, name);
}

/* The data starts at the next multiple of the alignment; a file without tensors may end before it. */
static ms_status find_data (parse *p, ms_error *err) {
  size_t start;
  if (!checked_align(p->r.position, p->alignment, &start) || (start > p->r.size && p->tensors != 0))
    return fail(err, MS_EFORMAT, "%s: ends before its data: the file is cut", p->path);
  if (start > p->r.size) start = p->r.size;
  p->data = p->r.base + start;
  p->data_bytes = p->r.size - start;
  return MS_OK;
}

static ms_status place (const parse *p, stored_tensor *tensor, size_t offset, ms_error *err) {
  if (offset > p->data_bytes || tensor->bytes > p->data_bytes - offset)
    return fail(err, MS_EFORMAT, "%s: '%s' takes %zu bytes from byte %zu of the data, but the data has %zu bytes: "
                "is the file cut?", p->path, tensor->name, tensor->bytes, offset, p->data_bytes);
  tensor->data = p->data + offset;
  return MS_OK;
}

/* {== Coverage =================================================================================== */

static int compare_places (const void *left, const void *right) {
  const stored_tensor *a = *(const stored_tensor *const *)left, *b = *(const stored_tensor *const *)right;
  if (a->data != b->data) return a->data < b->data ? -1 : 1;
  return (a->bytes > b->bytes) - (a->bytes < b->bytes);
}

/* `begin`: of the next tensor, or the end of the data; `covered`: the end of the one before it. */
static ms_status check_gap (const parse *p, const char *name, size_t covered, size_t begin, ms_error *err) {
  if (begin < covered)
    return fail(err, MS_EFORMAT, "%s: %s starts at byte %zu of the data, inside of a tensor that ends at %zu", p->path,
                name, begin, covered);
  if (begin - covered >= p->alignment)
    return fail(err, MS_EFORMAT, "%s: %zu bytes lie unused before %s, padding to %zu takes fewer", p->path,
                begin - covered, name, p->alignment);
  return MS_OK;
}

/* Tensors may be one and the same bytes, but overlap in no other way; and nothing lies unused. */
static ms_status check_order (const parse *p, const stored_tensor *const *order, size_t count, ms_error *err) {
  size_t covered = 0;
  char label[NAME_BYTES + 3];
  for (size_t i = 0; i < count; i++) {
    size_t begin = (size_t)(order[i]->data - p->data);
    bool alias = i > 0 && order[i]->data == order[i - 1]->data && order[i]->bytes == order[i - 1]->bytes;
    if (alias) continue;
    snprintf(label, sizeof label, "'%s'", order[i]->name);
    TRY(check_gap(p, label, covered, begin, err));
    covered = begin + order[i]->bytes;
  }
  return check_gap(p, "the end of the file", covered, p->data_bytes, err);
}

static ms_status check_coverage (const parse *p, size_t first, ms_error *err) {
  size_t count = p->table->names.count - first;
  const stored_tensor **order = memory_new(count + 1, sizeof *order);
  if (order == NULL) return fail_memory(err, count * sizeof *order, "the order of tensors");
  for (size_t i = 0; i < count; i++) order[i] = &p->table->tensors[first + i];
  qsort(order, count, sizeof *order, compare_places);
  ms_status status = check_order(p, order, count, err);
  memory_free(order);
  return status;
}

/* {== The whole ================================================================================== */

static ms_status read_infos (parse *p, size_t *offsets, size_t first, ms_error *err) {
  for (uint64_t i = 0; i < p->tensors; i++) TRY(read_info(p, i, &offsets[i], err));
  TRY(find_data(p, err));
  for (size_t i = 0; i < p->tensors; i++) TRY(place(p, &p->table->tensors[first + i], offsets[i], err));
  return check_coverage(p, first, err);
}

ms_status gguf_read_keys (const char *path, const uint8_t *bytes, size_t size, metadata *keys, ms_error *err) {
  parse p = { .path = path, .r = { bytes, size, 0 } };
  memset(keys, 0, sizeof *keys);
  TRY(read_header(&p, err));
  return metadata_read(keys, path, &p.r, p.pairs, err);
}

ms_status gguf_parse (const char *path, const uint8_t *bytes, size_t size, metadata *keys, tensor_table *table,
                      ms_error *err) {
  parse p = { .path = path, .r = { bytes, size, 0 }, .table = table };
  memset(keys, 0, sizeof *keys);
  TRY(read_header(&p, err));
  TRY(metadata_read(keys, path, &p.r, p.pairs, err));
  TRY(read_alignment(&p, keys, err));
  TRY(check_count(&p, "tensors", p.tensors, INFO_BYTES, err));
  size_t *offsets = memory_new((size_t)p.tensors + 1, sizeof *offsets);
  if (offsets == NULL) return fail_memory(err, (size_t)p.tensors * sizeof *offsets, "the offsets of tensors");
  ms_status status = read_infos(&p, offsets, table->names.count, err);
  memory_free(offsets);
  return status;
}
