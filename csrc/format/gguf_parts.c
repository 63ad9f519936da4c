/* Names of parts, and the keys that must agree with them; G23 of specs/reliability.md. */
#include "gguf_parts.h"

#include <stdio.h>
#include <string.h>

#include "../base/memory.h"

enum { DIGITS = 5, TENSOR_LIMIT = NAME_COUNT_LIMIT };

static const char pattern[] = "-#####-of-#####.gguf";      /* what a name ends with; # is a digit */
enum { PATTERN = sizeof pattern - 1, NUMBER_AT = 1, COUNT_AT = 10 };

static bool matches (const char *text) {
  for (size_t i = 0; i < PATTERN; i++)
    if (pattern[i] == '#' ? text[i] < '0' || text[i] > '9' : text[i] != pattern[i]) return false;
  return true;
}

static size_t digits (const char *text) {
  size_t value = 0;
  for (size_t i = 0; i < DIGITS; i++) value = value * 10 + (size_t)(text[i] - '0');
  return value;
}

ms_status gguf_part_of (const char *path, gguf_part *out, ms_error *err) {
  size_t length = strlen(path);
  *out = (gguf_part){ 0, 1 };
  if (length < PATTERN || !matches(path + length - PATTERN)) return MS_OK;
  size_t number = digits(path + length - PATTERN + NUMBER_AT), count = digits(path + length - PATTERN + COUNT_AT);
  if (number < 1 || number > count)
    return fail(err, MS_EFORMAT, "%s: is part %zu of %zu by its name", path, number, count);
  *out = (gguf_part){ number - 1, count };
  return MS_OK;
}

char *gguf_part_path (const char *path, gguf_part part) {
  size_t length = strlen(path);
  char *other = memory_string(path, length);
  if (other != NULL && part.count > 1)
    snprintf(other + length - PATTERN, PATTERN + 1, "-%05zu-of-%05zu.gguf", (part.number + 1) % 100000,
             part.count % 100000);
  return other;
}

ms_status gguf_first_part (const char *path, char **first, ms_error *err) {
  gguf_part part;
  *first = NULL;
  TRY(gguf_part_of(path, &part, err));
  part.number = 0;
  *first = gguf_part_path(path, part);
  return *first == NULL ? fail_memory(err, strlen(path), "a path") : MS_OK;
}

/* One file alone says nothing of parts, or that there is one. */
static ms_status check_alone (const metadata *keys, ms_error *err) {
  size_t count;
  if (metadata_find(keys, "split.count") == NULL) return MS_OK;
  TRY(metadata_get_size(keys, "split.count", 0, SIZE_MAX, &count, err));
  if (count <= 1) return MS_OK;
  return fail(err, MS_EFORMAT, "%s: split.count is %zu, but the file's name does not end with -00001-of-%05zu.gguf: "
              "give all parts the names they came with", keys->path, count, count);
}

static ms_status check_key (const metadata *keys, const char *key, size_t wanted, ms_error *err) {
  size_t value;
  TRY(metadata_get_size(keys, key, 0, SIZE_MAX, &value, err));
  if (value == wanted) return MS_OK;
  return fail(err, MS_EFORMAT, "%s: %s is %zu, but by the file's name it must be %zu", keys->path, key, value, wanted);
}

ms_status gguf_part_check (const metadata *keys, gguf_part part, size_t *tensors, ms_error *err) {
  *tensors = 0;
  if (part.count == 1) return check_alone(keys, err);
  TRY(check_key(keys, "split.no", part.number, err));
  TRY(check_key(keys, "split.count", part.count, err));
  return metadata_get_size(keys, "split.tensors.count", 1, TENSOR_LIMIT, tensors, err);
}
