/* Options tables: declared rows, raw access, one place where a wrong option is named. */
#include "options.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct { int type; const char *name; } kinds[] = {
  [OPTION_BOOLEAN] = { LUA_TBOOLEAN, "boolean" },
  [OPTION_INTEGER] = { LUA_TNUMBER, "integer" },
  [OPTION_NUMBER] = { LUA_TNUMBER, "number" },
  [OPTION_STRING] = { LUA_TSTRING, "string" },
  [OPTION_TABLE] = { LUA_TTABLE, "table" },
  [OPTION_FUNCTION] = { LUA_TFUNCTION, "function" },
  [OPTION_CACHE] = { LUA_TUSERDATA, CACHE },
  [OPTION_SEED] = { LUA_TNONE, "integer or string of digits" },   /* no type of Lua is the right one alone */
};

int raise_from (lua_State *L, const call *from, const char *format, ...) {
  va_list arguments;
  luaL_where(L, from->level);
  lua_pushfstring(L, "%s: ", from->name);
  va_start(arguments, format);
  lua_pushvfstring(L, format, arguments);
  va_end(arguments);
  lua_concat(L, 3);
  return lua_error(L);
}

int refuse (ms_error *err, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(err->message, sizeof err->message, format, arguments);
  va_end(arguments);
  err->status = MS_EINVAL;
  return 0;
}

static handle *test_handle (lua_State *L, int index, const char *type) {
  handle *box = lua_type(L, index) == LUA_TUSERDATA ? lua_touserdata(L, index) : NULL;
  if (box == NULL || !lua_getmetatable(L, index)) return NULL;
  luaL_getmetatable(L, type);
  if (!lua_rawequal(L, -1, -2)) box = NULL;
  lua_pop(L, 2);
  return box;
}

void *check_open_from (lua_State *L, int index, const char *type, const call *from) {
  handle *box = test_handle(L, index, type);
  if (box == NULL) raise_from(L, from, "%s expected, got %s", type, luaL_typename(L, index));
  if (box->object == NULL) raise_from(L, from, "%s is closed", type + sizeof "moonseek." - 1);
  return box->object;
}

/* Digits alone: no sign, no space, no exponent; what exceeds 64 bits is no seed. */
static int seed_digits (const char *text, size_t length, uint64_t *seed) {
  uint64_t value = 0;
  if (length == 0 || length > 20) return 0;
  for (size_t i = 0; i < length; i++) {
    uint64_t digit = (uint64_t)(unsigned char)text[i] - '0';
    if (digit > 9 || value > (UINT64_MAX - digit) / 10) return 0;
    value = value * 10 + digit;
  }
  *seed = value;
  return 1;
}

int seed_at (lua_State *L, int index, uint64_t *seed) {
  if (lua_type(L, index) == LUA_TSTRING) {
    size_t length;
    const char *text = lua_tolstring(L, index, &length);
    return seed_digits(text, length, seed);
  }
#if LUA_VERSION_NUM >= 503
  if (lua_isinteger(L, index)) {
    *seed = (uint64_t)lua_tointeger(L, index);
    return lua_tointeger(L, index) >= 0;
  }
#endif
  lua_Number number = lua_tonumber(L, index);
  if (!(number >= 0 && number <= INTEGER_LIMIT)) return 0;
  *seed = (uint64_t)number;
  return 1;
}

int read_id (lua_State *L, int index, const call *from, const char *name, const char *kind, int32_t *id,
             ms_error *err) {
  if (lua_type(L, index) != LUA_TNUMBER)
    raise_from(L, from, "option '%s': %s id expected, got %s", name, kind, luaL_typename(L, index));
  lua_Number number = lua_tonumber(L, index);
  if (number != floor(number)) raise_from(L, from, "option '%s': %s id expected, got %f", name, kind, number);
  if (!(number >= 0 && number <= INT32_MAX))
    return refuse(err, "%s: option '%s': %s id %.17g is not within 0 to %d", from->name, name, kind, number,
                  INT32_MAX);
  *id = (int32_t)number;
  return 1;
}

/* Doubles from 2^53 on have no fraction; infinity counts as whole, and is outside of every limit. */
static int whole (lua_Number number) {
  if (number < -INTEGER_LIMIT || number > INTEGER_LIMIT) return 1;
  return !((lua_Number)(int64_t)number < number || (lua_Number)(int64_t)number > number);
}

/* Raises when the value on top is of the wrong type for `row`. NaN is no number here, 1.5 no integer. */
static void check_type (lua_State *L, const call *from, const option *row) {
  int type = lua_type(L, -1);
  lua_Number number = type == LUA_TNUMBER ? lua_tonumber(L, -1) : 0;
  const char *expected = kinds[row->kind].name;
  int right = row->kind == OPTION_SEED ? type == LUA_TNUMBER || type == LUA_TSTRING : type == kinds[row->kind].type;
  if (row->kind == OPTION_CACHE) right = test_handle(L, -1, CACHE) != NULL;
  if (!right)
    raise_from(L, from, "option '%s': %s expected, got %s", row->name, expected, luaL_typename(L, -1));
  if (number != number) raise_from(L, from, "option '%s': %s expected, got nan", row->name, expected);
  int integer = row->kind == OPTION_INTEGER || row->kind == OPTION_SEED;
  if (integer && !whole(number)) raise_from(L, from, "option '%s': %s expected, got %f", row->name, expected, number);
}

/* Whether the value on top, of the right type, is one that the option can have. */
static int check_value (lua_State *L, const call *from, const option *row, ms_error *err) {
  uint64_t seed;
  size_t length;
  lua_Number number = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : 0;
  switch (row->kind) {
    case OPTION_INTEGER:
      if (number >= row->low && number <= row->high) return 1;
      return refuse(err, "%s: option '%s': %.17g is not within %.17g to %.17g", from->name, row->name, number,
                    row->low, row->high);
    case OPTION_SEED:
      if (seed_at(L, -1, &seed)) return 1;
      return refuse(err, "%s: option '%s': '%.40s' is not within 0 to 18446744073709551615 (from 2^53 on as a string "
                    "of digits)", from->name, row->name, lua_tostring(L, -1));
    case OPTION_STRING:
      lua_tolstring(L, -1, &length);
      if (strlen(lua_tostring(L, -1)) == length) return 1;
      return refuse(err, "%s: option '%s': a zero byte at %zu of %zu", from->name, row->name,
                    strlen(lua_tostring(L, -1)), length);
    default:
      return 1;
  }
}

static int declared (lua_State *L, int key, const option *rows, size_t count) {
  if (lua_type(L, key) != LUA_TSTRING) return 0;
  for (size_t i = 0; i < count; i++) {
    lua_pushstring(L, rows[i].name);
    int same = lua_rawequal(L, -1, key < 0 ? key - 1 : key);
    lua_pop(L, 1);
    if (same) return 1;
  }
  return 0;
}

/* An unknown name is printed; a key of another type is told by its type. */
static void check_names (lua_State *L, int index, const call *from, const option *rows, size_t count) {
  lua_pushnil(L);
  while (lua_next(L, index)) {
    lua_pop(L, 1);
    if (declared(L, -1, rows, count)) continue;
    if (lua_type(L, -1) == LUA_TSTRING) raise_from(L, from, "unknown option '%s'", lua_tostring(L, -1));
    raise_from(L, from, "an option has a name, got a key of type %s", luaL_typename(L, -1));
  }
}

int options_read (lua_State *L, int index, const call *from, const option *rows, size_t count, ms_error *err) {
  int given = !lua_isnoneornil(L, index), first = lua_gettop(L) + 1;
  if (given && lua_type(L, index) != LUA_TTABLE)
    raise_from(L, from, "options table expected, got %s", luaL_typename(L, index));
  luaL_checkstack(L, (int)count + 8, from->name);
  if (given) check_names(L, index, from, rows, count);
  for (size_t i = 0; i < count; i++) {
    lua_pushnil(L);
    if (given) {
      lua_pushstring(L, rows[i].name);
      lua_rawget(L, index);
      lua_replace(L, -2);
    }
    if (!lua_isnil(L, -1)) check_type(L, from, &rows[i]);
    else if (rows[i].required) raise_from(L, from, "option '%s' is missing", rows[i].name);
  }
  for (size_t i = 0; i < count; i++) {
    lua_pushvalue(L, first + (int)i);
    if (!lua_isnil(L, -1) && !check_value(L, from, &rows[i], err)) {
      lua_settop(L, first - 1);
      return 0;
    }
    lua_pop(L, 1);
  }
  return first;
}

const char *check_path (lua_State *L, int index, const char *function, ms_error *err) {
  size_t length;
  luaL_checktype(L, index, LUA_TSTRING);
  const char *path = lua_tolstring(L, index, &length);
  if (strlen(path) == length) return path;
  refuse(err, "%s: path: a zero byte at %zu of %zu", function, strlen(path), length);
  return NULL;
}
