/* The GGUF file of a plan: version 3, little-endian, the default alignment (specs/formats.md 1.2). */
#include <string.h>

#include "../base/checked.h"
#include "../base/memory.h"
#include "gguf_keys.h"
#include "layout.h"

enum { VERSION = 3, ALIGNMENT = 32 };

/* general.file_type as llama.cpp numbers files by the type of most of their weights. */
typedef struct file_type { tensor_type type; uint32_t number; } file_type;

static const file_type file_types[] = {
  { TENSOR_F32, 0 },    { TENSOR_F16, 1 },    { TENSOR_Q4_0, 2 },   { TENSOR_Q4_1, 3 },     { TENSOR_Q8_0, 7 },
  { TENSOR_Q5_0, 8 },   { TENSOR_Q5_1, 9 },   { TENSOR_Q2_K, 10 },  { TENSOR_Q3_K, 12 },    { TENSOR_Q4_K, 15 },
  { TENSOR_Q5_K, 17 },  { TENSOR_Q6_K, 18 },  { TENSOR_IQ2_XXS, 19 }, { TENSOR_IQ2_XS, 20 }, { TENSOR_IQ3_XXS, 23 },
  { TENSOR_IQ1_S, 24 }, { TENSOR_IQ4_NL, 25 }, { TENSOR_IQ3_S, 26 }, { TENSOR_IQ2_S, 28 },  { TENSOR_IQ4_XS, 30 },
  { TENSOR_IQ1_M, 31 }, { TENSOR_BF16, 32 },  { TENSOR_MXFP4, 38 },
};

/* That of the type which takes the most bytes. */
static uint32_t file_type_of (const plan *p) {
  uint64_t bytes[TENSOR_TYPE_COUNT] = { 0 };
  const file_type *most = &file_types[0];
  for (size_t i = 0; i < p->count; i++) bytes[p->outputs[i].type] += p->outputs[i].bytes;
  for (size_t i = 1; i < sizeof file_types / sizeof *file_types; i++)
    if (bytes[file_types[i].type] > bytes[most->type]) most = &file_types[i];
  return most->number;
}

/* The fastest dimension first. Offsets count from the start of the data as yet. */
static ms_status add_info (const output *o, byte_list *header, ms_error *err) {
  const size_t length = strlen(o->name);
  if (length > 63) return fail(err, MS_EUNSUPPORTED, "tensor %s: GGUF files have names of at most 63 bytes", o->name);
  TRY(bytes_add_unsigned(header, length, 8, err));
  TRY(bytes_add(header, o->name, length, err));
  TRY(bytes_add_unsigned(header, o->rank, 4, err));
  for (size_t i = o->rank; i-- > 0;) TRY(bytes_add_unsigned(header, o->shape[i], 8, err));
  TRY(bytes_add_unsigned(header, (uint64_t)tensor_types[o->type].ggml_id, 4, err));
  return bytes_add_unsigned(header, o->offset, 8, err);
}

static ms_status write_header (const plan *p, const key_list *keys, byte_list *header, ms_error *err) {
  TRY(bytes_add(header, "GGUF", 4, err));
  TRY(bytes_add_unsigned(header, VERSION, 4, err));
  TRY(bytes_add_unsigned(header, p->count, 8, err));
  TRY(bytes_add_unsigned(header, keys->count, 8, err));
  TRY(bytes_add(header, keys->bytes.data, keys->bytes.count, err));
  for (size_t i = 0; i < p->count; i++) TRY(add_info(&p->outputs[i], header, err));
  return bytes_add_zeros(header, (ALIGNMENT - header->count % ALIGNMENT) % ALIGNMENT, err);
}

static ms_status place (plan *p, uint64_t *data, ms_error *err) {
  size_t at = 0;
  for (size_t i = 0; i < p->count; i++) {
    p->outputs[i].offset = at;
    if (!checked_add(at, p->outputs[i].bytes, &at) || !checked_align(at, ALIGNMENT, &at))
      return fail(err, MS_EUNSUPPORTED, "the converted model has more bytes than a file can have");
  }
  *data = at;
  return MS_OK;
}

ms_status layout_gguf (const model *m, plan *p, ms_error *err) {
  key_list keys = { 0 };
  byte_list header = { 0 };
  uint64_t data = 0;
  p->files = memory_new(1, sizeof *p->files);
  if (p->files == NULL) return fail_memory(err, sizeof *p->files, "a header");
  p->file_count = 1;
  TRY(place(p, &data, err));
  ms_status status = gguf_keys_make(m, file_type_of(p), &keys, err);
  if (status == MS_OK) status = write_header(p, &keys, &header, err);
  gguf_keys_clear(&keys);
  p->files[0] = (planned_file){ .header = header.data, .header_bytes = header.count, .count = p->count,
                                .bytes = header.count + data };
  for (size_t i = 0; i < p->count; i++) p->outputs[i].offset += header.count;
  return status;
}
