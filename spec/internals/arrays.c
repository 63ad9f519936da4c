/* Arithmetic on packed float32 arrays that Lua would be slow at: comparisons with the oracle. */
#include "internals.h"

#include <math.h>
#include <string.h>

#include "../../csrc/base/number.h"

static float float_at (const char *bytes, size_t i) {
  float value;
  memcpy(&value, bytes + i * sizeof value, sizeof value);
  return value;
}

/* floats(bytes) -> list of numbers */
static int array_floats (lua_State *L) {
  size_t bytes;
  const char *data = luaL_checklstring(L, 1, &bytes);
  lua_createtable(L, (int)(bytes / 4), 0);
  for (size_t i = 0; i < bytes / 4; i++) {
    lua_pushnumber(L, (lua_Number)float_at(data, i));
    lua_rawseti(L, -2, (int)i + 1);
  }
  return 1;
}

/* widen(packed bfloat16) -> packed float32 */
static int array_widen (lua_State *L) {
  size_t bytes;
  const char *data = luaL_checklstring(L, 1, &bytes);
  luaL_Buffer out;
  luaL_buffinit(L, &out);
  for (size_t i = 0; i < bytes / 2; i++) {
    uint16_t code;
    memcpy(&code, data + 2 * i, sizeof code);
    float value = bf16_decode(code);
    char packed[4];
    memcpy(packed, &value, sizeof packed);
    luaL_addlstring(&out, packed, sizeof packed);
  }
  luaL_pushresult(&out);
  return 1;
}

/* The arrays at 1 and 2, of equal size, and the columns of a row at 3. */
static size_t check_pair (lua_State *L, const char **a, const char **b, size_t *columns) {
  size_t bytes, other;
  *a = luaL_checklstring(L, 1, &bytes);
  *b = luaL_checklstring(L, 2, &other);
  *columns = (size_t)luaL_checkinteger(L, 3);
  luaL_argcheck(L, bytes == other && bytes % (4 * *columns) == 0, 2, "arrays of different size");
  return bytes / (4 * *columns);
}

static size_t argmax (const char *data, size_t columns) {
  size_t best = 0;
  for (size_t i = 1; i < columns; i++)
    if (float_at(data, i) > float_at(data, best)) best = i;
  return best;
}

/* argmax(bytes, columns) -> list of the lowest index of the largest value of every row, from 0 */
static int array_argmax (lua_State *L) {
  size_t bytes;
  const char *data = luaL_checklstring(L, 1, &bytes);
  size_t columns = (size_t)luaL_checkinteger(L, 2), rows = bytes / (4 * columns);
  lua_createtable(L, (int)rows, 0);
  for (size_t i = 0; i < rows; i++) {
    lua_pushnumber(L, (lua_Number)argmax(data + 4 * i * columns, columns));
    lua_rawseti(L, -2, (int)i + 1);
  }
  return 1;
}

static double log_sum (const char *row, size_t columns) {
  double largest = float_at(row, argmax(row, columns)), sum = 0;
  for (size_t i = 0; i < columns; i++) sum += exp(float_at(row, i) - largest);
  return largest + log(sum);
}

static double divergence (const char *a, const char *b, size_t columns) {
  double total_a = log_sum(a, columns), total_b = log_sum(b, columns), sum = 0;
  for (size_t i = 0; i < columns; i++) {
    double log_a = float_at(a, i) - total_a, log_b = float_at(b, i) - total_b;
    sum += exp(log_a) * (log_a - log_b);
  }
  return sum;
}

/* compare(expected, got, columns) -> { max =, kl_mean =, kl_max =, top1 = } over rows of logits */
static int array_compare (lua_State *L) {
  const char *a, *b;
  size_t columns, rows = check_pair(L, &a, &b, &columns), equal = 0;
  double largest = 0, kl_sum = 0, kl_max = 0;
  for (size_t i = 0; i < rows; i++, a += 4 * columns, b += 4 * columns) {
    for (size_t j = 0; j < columns; j++) largest = fmax(largest, fabs((double)float_at(a, j) - float_at(b, j)));
    double kl = divergence(a, b, columns);
    kl_sum += kl;
    kl_max = fmax(kl_max, kl);
    equal += argmax(a, columns) == argmax(b, columns);
  }
  lua_newtable(L);
  lua_pushnumber(L, largest);
  lua_setfield(L, -2, "max");
  lua_pushnumber(L, kl_sum / (double)rows);
  lua_setfield(L, -2, "kl_mean");
  lua_pushnumber(L, kl_max);
  lua_setfield(L, -2, "kl_max");
  lua_pushnumber(L, (double)equal / (double)rows);
  lua_setfield(L, -2, "top1");
  return 1;
}

/*
** deviation(expected, got, columns, input) -> list of |got - expected| / |expected - input| of every row: how
** far a layer's update is off (oracle/README.md).
*/
static int array_deviation (lua_State *L) {
  const char *a, *b;
  size_t columns, rows = check_pair(L, &a, &b, &columns), bytes;
  const char *input = luaL_checklstring(L, 4, &bytes);
  luaL_argcheck(L, bytes == rows * columns * 4, 4, "array of different size");
  lua_createtable(L, (int)rows, 0);
  for (size_t i = 0; i < rows; i++) {
    double off = 0, update = 0;
    for (size_t j = i * columns; j < (i + 1) * columns; j++) {
      off += pow((double)float_at(b, j) - float_at(a, j), 2);
      update += pow((double)float_at(a, j) - float_at(input, j), 2);
    }
    lua_pushnumber(L, sqrt(off / update));
    lua_rawseti(L, -2, (int)i + 1);
  }
  return 1;
}

static const luaL_Reg functions[] = {
  { "floats", array_floats },
  { "widen", array_widen },
  { "argmax", array_argmax },
  { "compare", array_compare },
  { "deviation", array_deviation },
  { NULL, NULL }
};

void register_arrays_internals (lua_State *L) {
  luaL_setfuncs(L, functions, 0);
}
