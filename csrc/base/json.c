/* JSON files through jansson, with the checks it leaves to its caller. */
#include "json.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "file.h"

enum { DEPTH_LIMIT = 64 };

/*
** jansson recurses to a depth of 2048 and takes a byte order mark's error as a stray token: nesting is
** counted here, before it starts, outside of strings.
*/
static ms_status check_depth (const char *path, const char *text, size_t bytes, ms_error *err) {
  int depth = 0, in_string = 0;
  for (size_t i = 0; i < bytes; i++) {
    char c = text[i];
    if (in_string) {
      if (c == '\\') i++;
      else if (c == '"') in_string = 0;
    } else if (c == '"') {
      in_string = 1;
    } else if (c == '{' || c == '[') {
      if (++depth > DEPTH_LIMIT)
        return fail(err, MS_EFORMAT, "%s: nested deeper than %d at byte %zu", path, DEPTH_LIMIT, i);
    } else if (c == '}' || c == ']') {
      depth--;
    }
  }
  return MS_OK;
}

ms_status json_text_parse (const char *path, const char *text, size_t bytes, json_t **out, ms_error *err) {
  *out = NULL;
  TRY(check_depth(path, text, bytes, err));
  json_error_t trouble;
  json_t *parsed = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &trouble);
  if (parsed == NULL) {
    /* jansson says nothing at all when some of its allocations fail */
    if (json_error_code(&trouble) == json_error_out_of_memory || trouble.text[0] == '\0')
      return fail_memory(err, bytes, path);
    return fail(err, MS_EFORMAT, "%s: line %d, column %d: %s", path, trouble.line, trouble.column, trouble.text);
  }
  *out = parsed;
  return MS_OK;
}

ms_status json_file_parse (const char *path, size_t limit, json_t **out, ms_error *err) {
  file_view view;
  *out = NULL;
  TRY(file_text_open(path, limit, &view, err));
  ms_status status = json_text_parse(path, (const char *)view.data, view.bytes, out, err);
  file_view_close(&view);
  return status;
}

static ms_status member (const char *path, const json_t *object, const char *key, const json_t **out,
                         ms_error *err) {
  *out = json_object_get(object, key);
  if (*out == NULL) return fail(err, MS_EFORMAT, "%s: %s is missing", path, key);
  return MS_OK;
}

ms_status json_get_size (const char *path, const json_t *object, const char *key, size_t low, size_t high,
                         size_t *out, ms_error *err) {
  const json_t *value;
  TRY(member(path, object, key, &value, err));
  if (!json_is_integer(value)) return fail(err, MS_EFORMAT, "%s: %s is not an integer", path, key);
  json_int_t number = json_integer_value(value);
  if (number < 0 || (uint64_t)number < low || (uint64_t)number > high)
    return fail(err, MS_EFORMAT, "%s: %s is %" JSON_INTEGER_FORMAT ", allowed are %zu to %zu", path, key, number,
                low, high);
  *out = (size_t)number;
  return MS_OK;
}

ms_status json_get_number (const char *path, const json_t *object, const char *key, double low, double high,
                           double *out, ms_error *err) {
  const json_t *value;
  TRY(member(path, object, key, &value, err));
  if (!json_is_number(value)) return fail(err, MS_EFORMAT, "%s: %s is not a number", path, key);
  double number = json_number_value(value);
  if (!(number >= low && number <= high))
    return fail(err, MS_EFORMAT, "%s: %s is %g, allowed are %g to %g", path, key, number, low, high);
  *out = number;
  return MS_OK;
}

ms_status json_get_string (const char *path, const json_t *object, const char *key, const char **out,
                           ms_error *err) {
  const json_t *value;
  TRY(member(path, object, key, &value, err));
  if (!json_is_string(value)) return fail(err, MS_EFORMAT, "%s: %s is not a string", path, key);
  *out = json_string_value(value);
  return MS_OK;
}
