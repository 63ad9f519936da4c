/*
** Key/values are read once, from front to back: every length is compared with the bytes that are left before it is
** used, and nothing but the table of keys is allocated. G05 to G10 of specs/reliability.md.
*/
#include "metadata.h"

#include <inttypes.h>
#include <string.h>

#include "../base/memory.h"
#include "../base/number.h"

typedef enum number_kind { NO_NUMBER, UNSIGNED, SIGNED, FLOAT } number_kind;

typedef struct type_info {
  const char *name;
  size_t bytes;                  /* 0: of no fixed size */
  number_kind kind;
} type_info;

static const type_info types[METADATA_TYPES] = {
  [METADATA_U8] = { "u8", 1, UNSIGNED },   [METADATA_I8] = { "i8", 1, SIGNED },
  [METADATA_U16] = { "u16", 2, UNSIGNED }, [METADATA_I16] = { "i16", 2, SIGNED },
  [METADATA_U32] = { "u32", 4, UNSIGNED }, [METADATA_I32] = { "i32", 4, SIGNED },
  [METADATA_F32] = { "f32", 4, FLOAT },    [METADATA_BOOL] = { "bool", 1, NO_NUMBER },
  [METADATA_STRING] = { "string", 0, NO_NUMBER }, [METADATA_ARRAY] = { "array", 0, NO_NUMBER },
  [METADATA_U64] = { "u64", 8, UNSIGNED }, [METADATA_I64] = { "i64", 8, SIGNED },
  [METADATA_F64] = { "f64", 8, FLOAT },
};

enum { STRING_BYTES = 8 };       /* of an empty string: its length */

/* {== Reading ==================================================================================== */

static ms_status fail_cut (const metadata *m, const char *key, ms_error *err) {
  return fail(err, MS_EFORMAT, "%s: %s: its value ends behind the end of the file: the file is cut", m->path, key);
}

/* The key, terminated, into out. The format allows ASCII; a control byte in a name could only deceive. */
static ms_status read_key (const metadata *m, reader *r, uint64_t index, char out[NAME_LIMIT], ms_error *err) {
  uint64_t length;
  const uint8_t *bytes;
  if (!reader_u64(r, &length))
    return fail(err, MS_EFORMAT, "%s: ends before key %" PRIu64 ": the file is cut", m->path, index);
  if (length == 0) return fail(err, MS_EFORMAT, "%s: key %" PRIu64 " is empty", m->path, index);
  if (length > reader_left(r))
    return fail(err, MS_EFORMAT, "%s: key %" PRIu64 " has %" PRIu64 " bytes, but only %zu follow: the file is cut",
                m->path, index, length, reader_left(r));
  if (length >= NAME_LIMIT)
    return fail(err, MS_EUNSUPPORTED, "%s: key %" PRIu64 " has %" PRIu64 " bytes, at most %d are allowed", m->path,
                index, length, NAME_LIMIT - 1);
  if (!reader_bytes(r, (size_t)length, &bytes)) return fail_cut(m, "a key", err);
  for (size_t i = 0; i < length; i++)
    if (bytes[i] < 0x20 || bytes[i] > 0x7E)
      return fail(err, MS_EFORMAT, "%s: key %" PRIu64 " holds the byte 0x%02X, only printable ASCII is allowed",
                  m->path, index, bytes[i]);
  memcpy(out, bytes, (size_t)length);
  out[length] = '\0';
  return MS_OK;
}

static ms_status read_type (const metadata *m, const char *key, reader *r, metadata_type *out, ms_error *err) {
  uint64_t type;
  if (!reader_unsigned(r, 4, &type)) return fail_cut(m, key, err);
  if (type >= METADATA_TYPES)
    return fail(err, MS_EFORMAT, "%s: %s: has the type %" PRIu64 ", known are 0 to %d", m->path, key, type,
                METADATA_TYPES - 1);
  *out = (metadata_type)type;
  return MS_OK;
}

static ms_status skip_strings (const metadata *m, const char *key, reader *r, size_t count, ms_error *err) {
  metadata_string string;
  for (size_t i = 0; i < count; i++)
    if (!metadata_next_string(r, &string)) return fail_cut(m, key, err);
  return MS_OK;
}

/* Moves *r behind the elements, none of which is an array. */
static ms_status skip_elements (const metadata *m, const char *key, const metadata_value *value, reader *r,
                                ms_error *err) {
  const type_info *type = &types[value->type];
  const uint8_t *bytes;
  size_t each = type->bytes == 0 ? STRING_BYTES : type->bytes;
  if (value->count > reader_left(r) / each)
    return fail(err, MS_EFORMAT, "%s: %s: %zu values of type %s take at least %zu bytes each, but only %zu follow: "
                "the file is cut", m->path, key, value->count, type->name, each, reader_left(r));
  if (value->type == METADATA_STRING) return skip_strings(m, key, r, value->count, err);
  if (!reader_bytes(r, value->count * each, &bytes)) return fail_cut(m, key, err);
  for (size_t i = 0; value->type == METADATA_BOOL && i < value->count; i++)
    if (bytes[i] > 1)
      return fail(err, MS_EFORMAT, "%s: %s: is the bool %u, allowed are 0 and 1", m->path, key, (unsigned)bytes[i]);
  return MS_OK;
}

static ms_status read_value (const metadata *m, const char *key, reader *r, metadata_value *out, ms_error *err) {
  uint64_t count = 1;
  TRY(read_type(m, key, r, &out->type, err));
  out->is_array = out->type == METADATA_ARRAY;
  if (out->is_array) {
    TRY(read_type(m, key, r, &out->type, err));
    if (out->type == METADATA_ARRAY)
      return fail(err, MS_EUNSUPPORTED, "%s: %s: is an array of arrays, which no key of a model needs", m->path, key);
    if (!reader_u64(r, &count)) return fail_cut(m, key, err);
    if (count > SIZE_MAX)
      return fail(err, MS_EFORMAT, "%s: %s: has %" PRIu64 " values, more than memory can number", m->path, key, count);
  }
  out->count = (size_t)count;
  size_t start = r->position;
  TRY(skip_elements(m, key, out, r, err));
  out->bytes = r->base + start;
  out->size = r->position - start;
  return MS_OK;
}

/* Room for one more; there are at most NAME_COUNT_LIMIT, so doubling cannot wrap. */
static ms_status make_room (metadata *m, ms_error *err) {
  if (m->keys.count < m->capacity) return MS_OK;
  size_t capacity = m->capacity == 0 ? 64 : m->capacity * 2;
  metadata_value *values = memory_resize(m->values, capacity, sizeof *values);
  if (values == NULL) return fail_memory(err, capacity * sizeof *values, "a table of keys");
  m->values = values;
  m->capacity = capacity;
  return MS_OK;
}

static ms_status read_pair (metadata *m, reader *r, uint64_t index, ms_error *err) {
  char key[NAME_LIMIT];
  metadata_value value;
  size_t number;
  bool added;
  TRY(read_key(m, r, index, key, err));
  TRY(read_value(m, key, r, &value, err));
  TRY(make_room(m, err));
  TRY(name_index_add(&m->keys, key, &number, &added, err));
  if (!added) return fail(err, MS_EFORMAT, "%s: %s: the key appears twice", m->path, key);
  m->values[number] = value;
  return MS_OK;
}

ms_status metadata_read (metadata *m, const char *path, reader *r, uint64_t count, ms_error *err) {
  memset(m, 0, sizeof *m);
  m->path = path;
  for (uint64_t i = 0; i < count; i++) TRY(read_pair(m, r, i, err));
  return MS_OK;
}

void metadata_clear (metadata *m) {
  name_index_clear(&m->keys);
  memory_free(m->values);
  memset(m, 0, sizeof *m);
}

/* {== Single values ============================================================================== */

const metadata_value *metadata_find (const metadata *m, const char *key) {
  size_t number;
  return name_index_find(&m->keys, key, &number) ? &m->values[number] : NULL;
}

static ms_status fail_kind (const metadata *m, const char *key, const metadata_value *value, const char *wanted,
                            ms_error *err) {
  return fail(err, MS_EFORMAT, "%s: %s: is %s%s, %s is needed", m->path, key,
              value->is_array ? "an array of " : "of type ", types[value->type].name, wanted);
}

static ms_status find_stated (const metadata *m, const char *key, const metadata_value **out, ms_error *err) {
  *out = metadata_find(m, key);
  return *out == NULL ? fail(err, MS_EFORMAT, "%s: %s is missing", m->path, key) : MS_OK;
}

static uint64_t bits_at (const metadata_value *value, size_t index) {
  size_t width = types[value->type].bytes;
  reader r = { value->bytes, value->size, index * width };
  uint64_t bits = 0;
  reader_unsigned(&r, width, &bits);
  return bits;
}

/* Sign-extends the `width` bytes of a signed type. */
static int64_t signed_at (const metadata_value *value, size_t index) {
  unsigned unused = 64 - 8 * (unsigned)types[value->type].bytes;
  return (int64_t)(bits_at(value, index) << unused) >> unused;
}

static double double_of_bits (uint64_t bits) {
  double value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

ms_status metadata_get_size (const metadata *m, const char *key, size_t low, size_t high, size_t *out, ms_error *err) {
  const metadata_value *value;
  TRY(find_stated(m, key, &value, err));
  number_kind kind = types[value->type].kind;
  if (value->is_array || (kind != UNSIGNED && kind != SIGNED)) return fail_kind(m, key, value, "an integer", err);
  bool negative = kind == SIGNED && signed_at(value, 0) < 0;
  uint64_t size = bits_at(value, 0);
  if (negative)
    return fail(err, MS_EFORMAT, "%s: %s is %" PRId64 ", allowed are %zu to %zu", m->path, key, signed_at(value, 0),
                low, high);
  if (size < low || size > high)
    return fail(err, MS_EFORMAT, "%s: %s is %" PRIu64 ", allowed are %zu to %zu", m->path, key, size, low, high);
  *out = (size_t)size;
  return MS_OK;
}

static double number_at (const metadata_value *value) {
  switch (types[value->type].kind) {
    case UNSIGNED: return (double)bits_at(value, 0);
    case SIGNED: return (double)signed_at(value, 0);
    default: return value->type == METADATA_F32 ? (double)metadata_float(value, 0) : double_of_bits(bits_at(value, 0));
  }
}

ms_status metadata_get_number (const metadata *m, const char *key, double low, double high, double *out,
                               ms_error *err) {
  const metadata_value *value;
  TRY(find_stated(m, key, &value, err));
  if (value->is_array || types[value->type].kind == NO_NUMBER) return fail_kind(m, key, value, "a number", err);
  double number = number_at(value);
  if (!(number >= low && number <= high))            /* a NaN too */
    return fail(err, MS_EFORMAT, "%s: %s is %g, allowed are %g to %g", m->path, key, number, low, high);
  *out = number;
  return MS_OK;
}

ms_status metadata_get_bool (const metadata *m, const char *key, bool *out, ms_error *err) {
  const metadata_value *value;
  TRY(find_stated(m, key, &value, err));
  if (value->is_array || value->type != METADATA_BOOL) return fail_kind(m, key, value, "a bool", err);
  *out = value->bytes[0] != 0;
  return MS_OK;
}

ms_status metadata_get_string (const metadata *m, const char *key, metadata_string *out, ms_error *err) {
  const metadata_value *value;
  TRY(find_stated(m, key, &value, err));
  if (value->is_array || value->type != METADATA_STRING) return fail_kind(m, key, value, "a string", err);
  reader walk = metadata_walk(value);
  metadata_next_string(&walk, out);
  return MS_OK;
}

/* {== Arrays ===================================================================================== */

ms_status metadata_get_integers (const metadata *m, const char *key, const metadata_value **out, ms_error *err) {
  TRY(find_stated(m, key, out, err));
  if ((*out)->is_array && ((*out)->type == METADATA_I32 || (*out)->type == METADATA_U32)) return MS_OK;
  return fail_kind(m, key, *out, "an array of i32 or u32", err);
}

static ms_status get_array (const metadata *m, const char *key, metadata_type type, const char *wanted,
                            const metadata_value **out, ms_error *err) {
  TRY(find_stated(m, key, out, err));
  return (*out)->is_array && (*out)->type == type ? MS_OK : fail_kind(m, key, *out, wanted, err);
}

ms_status metadata_get_floats (const metadata *m, const char *key, const metadata_value **out, ms_error *err) {
  return get_array(m, key, METADATA_F32, "an array of f32", out, err);
}

ms_status metadata_get_strings (const metadata *m, const char *key, const metadata_value **out, ms_error *err) {
  return get_array(m, key, METADATA_STRING, "an array of strings", out, err);
}

bool metadata_string_is (metadata_string string, const char *text) {
  return string.bytes == strlen(text) && memcmp(string.text, text, string.bytes) == 0;
}

int64_t metadata_integer (const metadata_value *integers, size_t index) {
  return integers->type == METADATA_I32 ? signed_at(integers, index) : (int64_t)bits_at(integers, index);
}

float metadata_float (const metadata_value *floats, size_t index) {
  return float_of_bits((uint32_t)bits_at(floats, index));
}

bool metadata_next_string (reader *walk, metadata_string *out) {
  uint64_t length;
  const uint8_t *bytes;
  reader at = *walk;
  if (!reader_u64(&at, &length) || length > reader_left(&at) || !reader_bytes(&at, (size_t)length, &bytes))
    return false;
  *walk = at;
  *out = (metadata_string){ (const char *)bytes, (size_t)length };
  return true;
}
