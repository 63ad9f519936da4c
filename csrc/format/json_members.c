/* Finds where members begin and end; strings are decoded, and their UTF-8 checked, by jansson. */
#include "json_members.h"

#include <stdlib.h>
#include <string.h>

#include "../base/json.h"

void json_members_begin (json_members *walk, const char *path, const char *text, size_t size) {
  memset(walk, 0, sizeof *walk);
  walk->path = path;
  walk->text = text;
  walk->size = size;
}

static ms_status fail_at (const json_members *walk, const char *wanted, ms_error *err) {
  return fail(err, MS_EFORMAT, "%s: byte %zu of the JSON text: %s expected", walk->path, walk->position, wanted);
}

static void skip_space (json_members *walk) {
  while (walk->position < walk->size && memchr(" \t\r\n", walk->text[walk->position], 4) != NULL)
    walk->position++;
}

static bool next_is (const json_members *walk, char wanted) {
  return walk->position < walk->size && walk->text[walk->position] == wanted;
}

/* From the opening quote to behind the closing one. */
static bool skip_string (json_members *walk) {
  for (walk->position++; walk->position < walk->size; walk->position++) {
    if (walk->text[walk->position] == '\\') walk->position++;
    else if (walk->text[walk->position] == '"') {
      walk->position++;
      return true;
    }
  }
  walk->position = walk->size;   /* an escape may have led past the end */
  return false;
}

/* An object or array up to the bracket that brings the depth back to 0; jansson checks that brackets pair. */
static bool skip_nested (json_members *walk) {
  size_t depth = 0;
  while (walk->position < walk->size) {
    char c = walk->text[walk->position];
    if (c == '"') {
      if (!skip_string(walk)) return false;
      continue;
    }
    walk->position++;
    if (c == '{' || c == '[') depth++;
    else if ((c == '}' || c == ']') && --depth == 0) return true;
  }
  return false;
}

static bool skip_value (json_members *walk) {
  if (next_is(walk, '"')) return skip_string(walk);
  if (next_is(walk, '{') || next_is(walk, '[')) return skip_nested(walk);
  size_t start = walk->position;
  while (walk->position < walk->size && memchr(",}] \t\r\n", walk->text[walk->position], 7) == NULL)
    walk->position++;
  return walk->position > start;
}

static unsigned code_unit (const char *digits) {
  char text[5] = { digits[0], digits[1], digits[2], digits[3], '\0' };
  return (unsigned)strtoul(text, NULL, 16);
}

/* Bytes of a sound string once its escapes are resolved; `text` includes the quotes. */
static size_t decoded_length (const char *text, size_t bytes) {
  size_t length = 0;
  for (size_t i = 1; i + 1 < bytes; i++) {
    unsigned unit = 0;                                /* any one byte */
    if (text[i] == '\\' && text[++i] == 'u') {
      unit = code_unit(text + i + 1);
      i += 4;
    }
    length += unit < 0x80 ? 1 : unit < 0x800 || (unit >= 0xD800 && unit < 0xE000) ? 2 : 3;
  }
  return length;
}

static ms_status decode (const json_members *walk, const char *text, size_t bytes, char *out, size_t limit,
                         ms_error *err) {
  json_error_t trouble;
  json_t *string = json_loadb(text, bytes, JSON_DECODE_ANY, &trouble);
  if (string == NULL && trouble.text[0] == '\0')   /* all that jansson says when memory runs out */
    return fail_memory(err, bytes, walk->path);
  ms_status status = MS_OK;
  size_t length = json_string_length(string);   /* 0 of NULL */
  if (json_is_string(string) && length != decoded_length(text, bytes)) {
    json_decref(string);          /* without memory jansson drops the end of a token and says nothing */
    return fail_memory(err, bytes, walk->path);
  }
  if (!json_is_string(string))
    status = fail(err, MS_EFORMAT, "%s: byte %zu of the JSON text: no string: %s", walk->path,
                  (size_t)(text - walk->text), string == NULL ? trouble.text : "another kind of value");
  else if (length == 0 || length >= limit)
    status = fail(err, MS_EFORMAT, "%s: byte %zu of the JSON text: a name of %zu bytes, allowed are 1 to %zu",
                  walk->path, (size_t)(text - walk->text), length, limit - 1);
  else
    memcpy(out, json_string_value(string), length + 1);
  json_decref(string);
  return status;
}

ms_status json_members_next (json_members *walk, bool *found, ms_error *err) {
  *found = false;
  if (!walk->started) {
    skip_space(walk);
    if (!next_is(walk, '{')) return fail_at(walk, "'{'", err);
    walk->position++;
  }
  skip_space(walk);
  if (next_is(walk, '}')) {
    walk->position++;
    return MS_OK;
  }
  if (walk->started) {
    if (!next_is(walk, ',')) return fail_at(walk, "',' or '}'", err);
    walk->position++;
    skip_space(walk);
  }
  walk->started = true;
  if (!next_is(walk, '"')) return fail_at(walk, "a name", err);
  size_t start = walk->position;
  if (!skip_string(walk)) return fail_at(walk, "the end of a string", err);
  TRY(decode(walk, walk->text + start, walk->position - start, walk->name, sizeof walk->name, err));
  skip_space(walk);
  if (!next_is(walk, ':')) return fail_at(walk, "':'", err);
  walk->position++;
  skip_space(walk);
  start = walk->position;
  if (!skip_value(walk)) return fail_at(walk, "a whole value", err);
  walk->value = walk->text + start;
  walk->bytes = walk->position - start;
  *found = true;
  return MS_OK;
}

ms_status json_members_string (const json_members *walk, char *out, size_t limit, ms_error *err) {
  return decode(walk, walk->value, walk->bytes, out, limit, err);
}
