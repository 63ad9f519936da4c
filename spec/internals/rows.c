/*
** What stages are made of, one array at a time: block formats, the Hadamard transform, rotations; and the
** comparison of arrays by which a stage is accepted. Arrays are strings of packed 4-byte values.
*/
#include "internals.h"

#include <math.h>
#include <string.h>

#include "kv_row.h"

/* {== Primitives ================================================================================= */

static const char *const modes[] = { "fast", "reference", "exact", NULL };

enum { ARGUMENTS = 7 };    /* of any function here: those left out are nil */

/* A backend of one thread, by the numerics and the level at the given indices. */
static ms_status open_backend (lua_State *L, int numerics, int kernels, backend **be, ms_error *err) {
  backend_options options = { .kernels = luaL_optstring(L, kernels, "scalar"), .threads = 1,
                              .numerics = (ms_numerics)luaL_checkoption(L, numerics, "fast", modes) };
  return backend_open("cpu", &options, be, err);
}

/* row_bytes("kv", numerics, head, rotated) | row_bytes("index", numerics, width) -> bytes */
static int row_bytes (lua_State *L) {
  lua_settop(L, ARGUMENTS);
  static const char *const kinds[] = { "kv", "index", NULL };
  int kind = luaL_checkoption(L, 1, NULL, kinds);
  size_t width = (size_t)luaL_checkinteger(L, 3), rotated = (size_t)luaL_optinteger(L, 4, 0);
  backend *be;
  ms_error err;
  if (open_backend(L, 2, 5, &be, &err) != MS_OK) return push_failure(L, &err);
  size_t bytes = kind == 0 ? be->kv_row_bytes(be, width, rotated) : be->index_row_bytes(be, width);
  be->close(be);
  lua_pushinteger(L, (lua_Integer)bytes);
  return 1;
}

/* rotate_rows(x, positions, frequencies, head, "forward" | "inverse", numerics) -> x */
static int rotate_rows (lua_State *L) {
  lua_settop(L, ARGUMENTS);
  static const char *const directions[] = { "forward", "inverse", NULL };
  size_t bytes, rows, pairs, head = (size_t)luaL_checkinteger(L, 4);
  const char *x = luaL_checklstring(L, 1, &bytes);
  const int32_t *positions = (const void *)luaL_checklstring(L, 2, &rows);
  rope_table rope = { (const void *)luaL_checklstring(L, 3, &pairs), 0 };
  int inverse = luaL_checkoption(L, 5, "forward", directions);
  rope.pairs = pairs / sizeof(float);
  rows /= sizeof(int32_t);
  tensor data = { lua_newuserdata(L, bytes), rows, bytes / sizeof(float) / rows };
  tensor angles = { lua_newuserdata(L, rows * 2 * rope.pairs * sizeof(float)), rows, 2 * rope.pairs };
  memcpy(data.data, x, bytes);
  backend *be;
  ms_error err;
  if (open_backend(L, 6, 7, &be, &err) != MS_OK) return push_failure(L, &err);
  ms_status status = be->rope_angles(be, &rope, positions, &angles, &err);
  if (status == MS_OK) status = (inverse ? be->rope_inverse : be->rope)(be, &angles, head, &data, &err);
  be->close(be);
  if (status != MS_OK) return push_failure(L, &err);
  lua_pushlstring(L, (const char *)data.data, bytes);
  return 1;
}

/* The string at index 1 as floats to be changed, in a userdata on the stack. */
static float *copy_floats (lua_State *L, size_t *count) {
  size_t bytes;
  const char *data = luaL_checklstring(L, 1, &bytes);
  float *x = lua_newuserdata(L, bytes + sizeof(float));
  memcpy(x, data, bytes);
  *count = bytes / sizeof(float);
  return x;
}

/* fq8(x): what a block of 64 keeps as E4M3. */
static int round_trip_fp8 (lua_State *L) {
  size_t count;
  float *x = copy_floats(L, &count);
  for (size_t at = 0; at + FP8_BLOCK <= count; at += FP8_BLOCK) {
    uint8_t codes[FP8_BLOCK];
    float scale = e8m0_decode(cpu_encode_fp8(x + at, codes));
    for (size_t i = 0; i < FP8_BLOCK; i++) x[at + i] = e4m3_decode(codes[i]) * scale;
  }
  lua_pushlstring(L, (const char *)x, count * sizeof *x);
  return 1;
}

/* fq4(x): what a block of 32 keeps as E2M1. */
static int round_trip_fp4 (lua_State *L) {
  size_t count;
  float *x = copy_floats(L, &count);
  for (size_t at = 0; at + FP4_BLOCK <= count; at += FP4_BLOCK) {
    uint8_t codes[FP4_BLOCK];
    float scale = e8m0_decode(cpu_encode_fp4(x + at, codes));
    for (size_t i = 0; i < FP4_BLOCK; i++) x[at + i] = e2m1_decode(codes[i]) * scale;
  }
  lua_pushlstring(L, (const char *)x, count * sizeof *x);
  return 1;
}

/* kv_round_trip(x, head, rotated, numerics) -> rows as they come back from a page */
static int kv_round_trip (lua_State *L) {
  lua_settop(L, ARGUMENTS);
  size_t count, head = (size_t)luaL_checkinteger(L, 2), rotated = (size_t)luaL_checkinteger(L, 3);
  float *x = copy_floats(L, &count);
  backend *be;
  ms_error err;
  if (open_backend(L, 4, 5, &be, &err) != MS_OK) return push_failure(L, &err);
  size_t bytes = be->kv_row_bytes(be, head, rotated), rows = count / head;
  uint8_t *page = be->allocate(be, rows * bytes);
  row_view view = { &page, 0, rows, bytes };
  for (size_t row = 0; row < rows && page != NULL; row++) {
    cpu_kv_store(cpu_of(be), &view, row, (kv_layout){ head - rotated, rotated }, x + row * head);
    kv_row_floats(be, &view, row, head, rotated, x + row * head);
  }
  be->release(be, page);
  be->close(be);
  lua_pushlstring(L, (const char *)x, count * sizeof *x);
  return 1;
}

/* Products of query heads with keys in whole groups, both [.., width] and lost, by a backend's kernels. */
static ms_status index_scores (backend *be, float *keys, size_t count, float *queries, size_t rows,
                               size_t width, float *out, ms_error *err) {
  size_t bytes = be->index_row_bytes(be, width), blocks = width / FP4_BLOCK;
  uint8_t *space = be->allocate(be, count * bytes + rows * (width + 8 * blocks));
  if (space == NULL) return fail_memory(err, count * bytes, "keys");
  row_view view = { &space, 0, count, bytes };
  float *scales = (float *)(void *)(space + count * bytes);
  int32_t *sums = (int32_t *)(void *)(scales + rows * blocks);
  int8_t *codes = (int8_t *)(sums + rows * blocks);
  for (size_t k = 0; k < count; k++) cpu_index_store(cpu_of(be), &view, k, width, keys + k * width);
  for (size_t r = 0; r < rows; r++)
    cpu_index_query(queries + r * width, width, codes + r * width, scales + r * blocks, sums + r * blocks);
  cpu_index_queries q = { codes, scales, sums, width };
  cpu_of(be)->kernels->index_products(space, count / INDEX_GROUP, &q, rows, out, count);
  be->release(be, space);
  return MS_OK;
}

/* index_products(keys, queries, width, kernels) -> products [queries, keys] | nil, message, code */
static int index_products (lua_State *L) {
  lua_settop(L, ARGUMENTS);
  size_t count, rows, width = (size_t)luaL_checkinteger(L, 3);
  const char *given = luaL_checklstring(L, 2, &rows);
  float *keys = copy_floats(L, &count), *queries = lua_newuserdata(L, rows + 4);
  memcpy(queries, given, rows);
  count /= width;
  rows /= width * sizeof(float);
  luaL_argcheck(L, count % INDEX_GROUP == 0, 1, "keys come in groups");
  float *out = lua_newuserdata(L, (count * rows + 1) * sizeof *out);
  backend *be;
  ms_error err;
  if (open_backend(L, 5, 4, &be, &err) != MS_OK) return push_failure(L, &err);
  ms_status status = index_scores(be, keys, count, queries, rows, width, out, &err);
  be->close(be);
  if (status != MS_OK) return push_failure(L, &err);
  lua_pushlstring(L, (const char *)out, count * rows * sizeof *out);
  return 1;
}

/* hadamard(x, width) */
static int hadamard (lua_State *L) {
  size_t count, width = (size_t)luaL_checkinteger(L, 2);
  float *x = copy_floats(L, &count);
  for (size_t at = 0; at + width <= count; at += width) cpu_hadamard(x + at, width);
  lua_pushlstring(L, (const char *)x, count * sizeof *x);
  return 1;
}

/* {== Arrays ===================================================================================== */

/* agreement(expected, got) -> largest difference / rms of the expected, share of values with other bits */
static int agreement (lua_State *L) {
  size_t bytes, other, differ = 0;
  const float *want = (const void *)luaL_checklstring(L, 1, &bytes);
  const float *got = (const void *)luaL_checklstring(L, 2, &other);
  luaL_argcheck(L, bytes == other && bytes > 0, 2, "arrays of different size");
  double largest = 0, squares = 0;
  for (size_t i = 0; i < bytes / sizeof *want; i++) {
    double off = fabs((double)want[i] - got[i]);
    differ += want[i] != got[i];
    largest = off <= largest ? largest : off;            /* a NaN comes through */
    squares += (double)want[i] * want[i];
  }
  double count = (double)(bytes / sizeof *want);
  lua_pushnumber(L, largest / sqrt(squares / count));
  lua_pushnumber(L, (double)differ / count);
  return 2;
}

static int pack_floats (lua_State *L) {
  size_t count = lua_rawlen(L, 1);
  float *out = lua_newuserdata(L, (count + 1) * sizeof *out);
  for (size_t i = 0; i < count; i++) {
    lua_rawgeti(L, 1, (int)i + 1);
    out[i] = (float)lua_tonumber(L, -1);
    lua_pop(L, 1);
  }
  lua_pushlstring(L, (const char *)out, count * sizeof *out);
  return 1;
}

static int pack_ids (lua_State *L) {
  size_t count = lua_rawlen(L, 1);
  int32_t *out = lua_newuserdata(L, (count + 1) * sizeof *out);
  for (size_t i = 0; i < count; i++) {
    lua_rawgeti(L, 1, (int)i + 1);
    out[i] = (int32_t)lua_tointeger(L, -1);
    lua_pop(L, 1);
  }
  lua_pushlstring(L, (const char *)out, count * sizeof *out);
  return 1;
}

static int unpack_ids (lua_State *L) {
  size_t bytes;
  const int32_t *ids = (const void *)luaL_checklstring(L, 1, &bytes);
  lua_createtable(L, (int)(bytes / sizeof *ids), 0);
  for (size_t i = 0; i < bytes / sizeof *ids; i++) {
    lua_pushinteger(L, ids[i]);
    lua_rawseti(L, -2, (int)i + 1);
  }
  return 1;
}

void register_rows_internals (lua_State *L) {
  static const luaL_Reg functions[] = {
    { "rotate_rows", rotate_rows }, { "row_bytes", row_bytes }, { "kv_round_trip", kv_round_trip },
    { "index_products", index_products }, { "round_trip_fp8", round_trip_fp8 },
    { "round_trip_fp4", round_trip_fp4 }, { "hadamard", hadamard }, { "agreement", agreement },
    { "pack_floats", pack_floats }, { "pack_ids", pack_ids }, { "ids", unpack_ids }, { NULL, NULL }
  };
  luaL_setfuncs(L, functions, 0);
}
