/*
** The key/values of a GGUF file (specs/formats.md 1.2), as views of its bytes. Reading checks that every value lies
** inside the file; afterwards a value is taken by the type its user needs, and no other is converted into it.
*/
#ifndef format_metadata_h
#define format_metadata_h

#include <stdbool.h>

#include "../base/reader.h"
#include "name_index.h"

/* The numbers are the file's. */
typedef enum metadata_type {
  METADATA_U8, METADATA_I8, METADATA_U16, METADATA_I16, METADATA_U32, METADATA_I32, METADATA_F32, METADATA_BOOL,
  METADATA_STRING, METADATA_ARRAY, METADATA_U64, METADATA_I64, METADATA_F64,
  METADATA_TYPES
} metadata_type;

typedef struct metadata_value {
  metadata_type type;            /* of the elements of an array; never METADATA_ARRAY */
  bool is_array;
  size_t count;                  /* elements; 1 of a value that is no array */
  const uint8_t *bytes;          /* [size] as in the file: a string with its length before it */
  size_t size;
} metadata_value;

typedef struct metadata {
  const char *path;              /* of the file, for messages; NULL: nothing was read */
  name_index keys;
  metadata_value *values;        /* [keys.count] */
  size_t capacity;
} metadata;

/* Bytes of a string in the file: any bytes, not terminated. */
typedef struct metadata_string { const char *text; size_t bytes; } metadata_string;

bool metadata_string_is (metadata_string string, const char *text);

/*
** Reads `count` pairs. `path` must outlive *m. MS_EFORMAT names the key; MS_EUNSUPPORTED: an array of arrays, or a
** key longer than we take. After a failure *m is to be cleared all the same.
*/
ms_status metadata_read (metadata *m, const char *path, reader *r, uint64_t count, ms_error *err);
void metadata_clear (metadata *m);                   /* leaves it empty; {0} is allowed */

const metadata_value *metadata_find (const metadata *m, const char *key);       /* NULL: there is no such key */

/*
** Single values. A missing key, another kind of value, or one outside of [low, high] is MS_EFORMAT with key, value
** and limit. A size may be any integer type, a number any integer or float type.
*/
ms_status metadata_get_size (const metadata *m, const char *key, size_t low, size_t high, size_t *out, ms_error *err);
ms_status metadata_get_number (const metadata *m, const char *key, double low, double high, double *out,
                               ms_error *err);
ms_status metadata_get_bool (const metadata *m, const char *key, bool *out, ms_error *err);
ms_status metadata_get_string (const metadata *m, const char *key, metadata_string *out, ms_error *err);

/* Arrays: of i32 or u32; of f32; of strings. MS_EFORMAT when the key is missing or holds something else. */
ms_status metadata_get_integers (const metadata *m, const char *key, const metadata_value **out, ms_error *err);
ms_status metadata_get_floats (const metadata *m, const char *key, const metadata_value **out, ms_error *err);
ms_status metadata_get_strings (const metadata *m, const char *key, const metadata_value **out, ms_error *err);

int64_t metadata_integer (const metadata_value *integers, size_t index);        /* index < count */
float metadata_float (const metadata_value *floats, size_t index);

/* A walk over the strings of an array, in order; false at the end. */
static inline reader metadata_walk (const metadata_value *strings) {
  return (reader){ strings->bytes, strings->size, 0 };
}
bool metadata_next_string (reader *walk, metadata_string *out);

#endif
