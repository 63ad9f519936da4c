/*
** Kernels and number formats, one call at a time. Float arrays are strings of packed
** float32; a weight is { type =, shape = { rows, columns }, bytes =, scales = }, as support.oracle gives it.
*/
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../../csrc/base/number.h"
#include "../../csrc/compute/cpu/cpu.h"
#include "internals.h"
#include "weights.h"

/* {== Weights and arrays ========================================================================= */

static const struct { const char *type; weight_encoding encoding; size_t values_a_code; } encodings[] = {
  { "F32", WEIGHT_F32, 1 }, { "BF16", WEIGHT_BF16, 1 }, { "F16", WEIGHT_F16, 1 },
  { "F8_E4M3", WEIGHT_FP8, 1 }, { "I8", WEIGHT_FP4, 2 },
  { "Q4_0", WEIGHT_Q4_0, 1 }, { "Q4_1", WEIGHT_Q4_1, 1 }, { "Q5_0", WEIGHT_Q5_0, 1 }, { "Q5_1", WEIGHT_Q5_1, 1 },
  { "Q8_0", WEIGHT_Q8_0, 1 }, { "Q2_K", WEIGHT_Q2_K, 1 }, { "Q3_K", WEIGHT_Q3_K, 1 }, { "Q4_K", WEIGHT_Q4_K, 1 },
  { "Q5_K", WEIGHT_Q5_K, 1 }, { "Q6_K", WEIGHT_Q6_K, 1 }, { "IQ1_S", WEIGHT_IQ1_S, 1 },
  { "IQ1_M", WEIGHT_IQ1_M, 1 }, { "IQ2_XXS", WEIGHT_IQ2_XXS, 1 }, { "IQ2_XS", WEIGHT_IQ2_XS, 1 },
  { "IQ2_S", WEIGHT_IQ2_S, 1 }, { "IQ3_XXS", WEIGHT_IQ3_XXS, 1 }, { "IQ3_S", WEIGHT_IQ3_S, 1 },
  { "IQ4_NL", WEIGHT_IQ4_NL, 1 }, { "IQ4_XS", WEIGHT_IQ4_XS, 1 }, { "MXFP4", WEIGHT_MXFP4, 1 },
};

static size_t size_at (lua_State *L, int table, int i) {
  lua_rawgeti(L, table, i);
  const size_t size = (size_t)lua_tointeger(L, -1);
  lua_pop(L, 1);
  return size;
}

/* The row of `encodings` that the name at `index` has. */
static size_t check_row (lua_State *L, int index) {
  const char *type = luaL_checkstring(L, index);
  size_t i = 0;
  while (i < sizeof encodings / sizeof encodings[0] && strcmp(encodings[i].type, type) != 0) i++;
  if (i == sizeof encodings / sizeof encodings[0]) luaL_error(L, "no such encoding");
  return i;
}

weight_encoding check_encoding (lua_State *L, int index) {
  return encodings[check_row(L, index)].encoding;
}

weight check_weight (lua_State *L, int index) {
  const int table = lua_absindex(L, index);
  weight w = { .rows = 1, .scale_rows = 1, .name = "weight" };
  luaL_checktype(L, table, LUA_TTABLE);
  lua_getfield(L, table, "type");
  const size_t i = check_row(L, -1);
  w.encoding = encodings[i].encoding;
  lua_getfield(L, table, "shape");
  const int two = lua_rawlen(L, -1) == 2;
  if (two) w.rows = size_at(L, lua_gettop(L), 1);
  w.columns = size_at(L, lua_gettop(L), two ? 2 : 1) * encodings[i].values_a_code;
  lua_getfield(L, table, "bytes");
  w.data = (const uint8_t *)luaL_checkstring(L, -1);
  lua_getfield(L, table, "scales");
  w.scales = (const uint8_t *)lua_tostring(L, -1);
  if (w.encoding == WEIGHT_FP8) w.scale_rows = w.scale_columns = 128;
  if (w.encoding == WEIGHT_FP4) w.scale_columns = CPU_BLOCK;
  lua_pop(L, 4);                   /* the table keeps the strings */
  return w;
}

const float *check_floats (lua_State *L, int index, size_t *count) {
  size_t bytes;
  const char *data = luaL_checklstring(L, index, &bytes);
  *count = bytes / sizeof(float);
  return (const float *)(const void *)data;
}

float *push_array (lua_State *L, size_t count) {
  float *out = lua_newuserdata(L, (count + 1) * sizeof *out);
  memset(out, 0, (count + 1) * sizeof *out);
  return out;
}

static const cpu_kernels *check_level (lua_State *L, int index) {
  const cpu_kernels *kernels = cpu_kernels_find(luaL_checkstring(L, index));
  if (kernels == NULL) luaL_error(L, "this machine cannot run kernels '%s'", lua_tostring(L, index));
  return kernels;
}

/* A copy at an odd address, with nothing behind it: what a mapped file may look like to a kernel. */
static uint8_t *odd_copy (const void *data, size_t bytes) {
  uint8_t *block = malloc(bytes + 1);
  return block == NULL ? NULL : (uint8_t *)memcpy(block + 1, data, bytes);
}

static void free_odd (uint8_t *copy) {
  if (copy != NULL) free(copy - 1);
}

/* {== Kernels ==================================================================================== */

/* kernel_levels() -> names of those this machine can run */
static int kernel_levels (lua_State *L) {
  lua_newtable(L);
  for (size_t i = 0; cpu_kernels_at(i) != NULL; i++) {
    lua_pushstring(L, cpu_kernels_at(i)->name);
    lua_rawseti(L, -2, (int)i + 1);
  }
  return 1;
}

static void product_int8 (const cpu_kernels *kernels, const weight *w, const float *x, size_t rows, float *out) {
  const size_t blocks = w->columns / CPU_BLOCK;
  int8_t *codes = malloc(rows * w->columns);
  float *scales = malloc(rows * blocks * sizeof *scales);
  int16_t *sums = malloc(2 * rows * blocks * sizeof *sums);
  for (size_t r = 0; r < rows; r++)
    kernels->to_int8(x + r * w->columns, w->columns, codes + r * w->columns, scales + r * blocks,
                     sums + 2 * r * blocks);
  const cpu_int8_rows q = { codes, scales, sums, w->columns };
  kernels->product_int8[w->encoding](w, 0, w->rows, &q, rows, out, w->rows);
  free(codes);
  free(scales);
  free(sums);
}

/* kernel_product(level, weight, x, ["int8"]) -> out [rows of x, rows of the weight] */
static int kernel_product (lua_State *L) {
  const cpu_kernels *kernels = check_level(L, 1);
  weight w = check_weight(L, 2);
  size_t count, bytes;
  const float *given = check_floats(L, 3, &count);
  const int int8 = lua_toboolean(L, 4);
  const size_t rows = count / w.columns;
  float *out = push_array(L, rows * w.rows);
  lua_getfield(L, 2, "bytes");
  lua_tolstring(L, -1, &bytes);
  uint8_t *data = odd_copy(w.data, bytes), *scales = NULL;
  float *x = malloc(count * sizeof *x);
  memcpy(x, given, count * sizeof *x);
  w.data = data;
  if (w.scales != NULL) {
    lua_getfield(L, 2, "scales");
    lua_tolstring(L, -1, &bytes);
    w.scales = scales = odd_copy(w.scales, bytes);
  }
  if (int8) product_int8(kernels, &w, x, rows, out);
  else kernels->product[w.encoding](&w, 0, w.rows, x, w.columns, rows, out, w.rows);
  free(x);
  free_odd(data);
  free_odd(scales);
  lua_pushlstring(L, (const char *)out, rows * w.rows * sizeof *out);
  return 1;
}

/* kernel_to_int8(level, x) -> codes, scales, packed int16 sums of half blocks */
static int kernel_to_int8 (lua_State *L) {
  const cpu_kernels *kernels = check_level(L, 1);
  size_t count;
  const float *x = check_floats(L, 2, &count);
  const size_t blocks = (count + CPU_BLOCK - 1) / CPU_BLOCK;
  int8_t *codes = lua_newuserdata(L, blocks * CPU_BLOCK);
  float *scales = push_array(L, blocks);
  int16_t *sums = lua_newuserdata(L, 2 * blocks * sizeof *sums);
  kernels->to_int8(x, count, codes, scales, sums);
  lua_pushlstring(L, (const char *)codes, blocks * CPU_BLOCK);
  lua_pushlstring(L, (const char *)scales, blocks * sizeof *scales);
  lua_pushlstring(L, (const char *)sums, 2 * blocks * sizeof *sums);
  return 3;
}

/* kernel_decode(level, "e4m3" | "bf16", codes, scale) -> values */
static int kernel_decode (lua_State *L) {
  const cpu_kernels *kernels = check_level(L, 1);
  const int bf16 = strcmp(luaL_checkstring(L, 2), "bf16") == 0;
  size_t bytes;
  const char *given = luaL_checklstring(L, 3, &bytes);
  const size_t count = bf16 ? bytes / 2 : bytes;
  float *out = push_array(L, count);
  uint8_t *codes = odd_copy(given, bytes);
  if (bf16) kernels->decode_bf16(codes, out, count);
  else kernels->decode_e4m3(codes, (float)luaL_optnumber(L, 4, 1), out, count);
  free_odd(codes);
  lua_pushlstring(L, (const char *)out, count * sizeof *out);
  return 1;
}

/* kernel_sum(level, "dot" | "sum_squares", a, b) -> number */
static int kernel_sum (lua_State *L) {
  const cpu_kernels *kernels = check_level(L, 1);
  const int squares = strcmp(luaL_checkstring(L, 2), "sum_squares") == 0;
  size_t count;
  const float *a = check_floats(L, 3, &count);
  lua_pushnumber(L, squares ? kernels->sum_squares(a, count)
                            : kernels->dot(a, check_floats(L, 4, &count), count));
  return 1;
}

/* kernel_elements(level, name, x, number, y) -> what becomes of x */
static int kernel_elements (lua_State *L) {
  static const char *const names[] = { "exp", "sqrt_softplus", "scale", "swiglu", NULL };
  const cpu_kernels *kernels = check_level(L, 1);
  const int which = luaL_checkoption(L, 2, NULL, names);
  size_t count, other;
  const float *given = check_floats(L, 3, &count);
  const float number = (float)luaL_optnumber(L, 4, 0), *y = which < 3 ? NULL : check_floats(L, 5, &other);
  float *x = push_array(L, count);
  memcpy(x, given, count * sizeof *x);
  switch (which) {
    case 0: kernels->exp(x, count); break;
    case 1: kernels->sqrt_softplus(x, count); break;
    case 2: kernels->scale(x, number, count); break;
    default: kernels->swiglu(x, y, number, x, count); break;
  }
  lua_pushlstring(L, (const char *)x, count * sizeof *x);
  return 1;
}

/* kernel_rows(level, "add_rows" | "sum_relu", x, factors, out) -> what becomes of out; x [factors, out] */
static int kernel_rows (lua_State *L) {
  const cpu_kernels *kernels = check_level(L, 1);
  const int relu = strcmp(luaL_checkstring(L, 2), "sum_relu") == 0;
  size_t all, rows, count;
  const float *x = check_floats(L, 3, &all), *factors = check_floats(L, 4, &rows), *given = check_floats(L, 5, &count);
  float *out = push_array(L, count);
  memcpy(out, given, count * sizeof *out);
  luaL_argcheck(L, all == rows * count, 3, "not [factors, out]");
  if (relu) kernels->sum_relu(x, count, factors, rows, out, count);
  else kernels->add_rows(out, x, count, factors, 1, rows, count);
  lua_pushlstring(L, (const char *)out, count * sizeof *out);
  return 1;
}

/* {== Attention ================================================================================== */

/* kernel_multiply(level, "float" | "pair", a, b, rows, steps, out) -> out [rows, columns] + a [rows, steps] x b */
static int kernel_multiply (lua_State *L) {
  static const char *const names[] = { "float", "pair", NULL };
  const cpu_kernels *kernels = check_level(L, 1);
  const unit_kind unit = luaL_checkoption(L, 2, NULL, names) == 0 ? UNIT_FLOAT : UNIT_PAIR;
  const size_t rows = (size_t)luaL_checkinteger(L, 5), steps = (size_t)luaL_checkinteger(L, 6);
  size_t a_count, b_count, count;
  const float *a = check_floats(L, 3, &a_count), *b = check_floats(L, 4, &b_count), *given = check_floats(L, 7, &count);
  const size_t columns = count / rows, whole = (columns + CPU_LANES - 1) / CPU_LANES * CPU_LANES;
  luaL_argcheck(L, a_count == rows * steps && b_count == steps * columns, 3, "not [rows, steps] and [steps, columns]");
  float *padded = push_array(L, steps * whole), *out = push_array(L, count);
  memset(padded, 0, steps * whole * sizeof *padded);
  for (size_t s = 0; s < steps; s++) memcpy(padded + s * whole, b + s * columns, columns * sizeof *b);
  memcpy(out, given, count * sizeof *out);
  const cpu_units units = { (const uint32_t *)(const void *)a, steps, 1 };
  kernels->multiply_add[unit](units, rows, (const uint32_t *)(const void *)padded, whole, steps, columns, out, columns);
  lua_pushlstring(L, (const char *)out, count * sizeof *out);
  return 1;
}

/* kernel_softmax(level, scores, heads, factor, largest, sum) -> weights, largest, sum, rescale */
static int kernel_softmax (lua_State *L) {
  const cpu_kernels *kernels = check_level(L, 1);
  const size_t heads = (size_t)luaL_checkinteger(L, 3);
  size_t count, some;
  const float *scores = check_floats(L, 2, &count);
  float *p = push_array(L, count), *state = push_array(L, 3 * heads);
  memcpy(p, scores, count * sizeof *p);
  memcpy(state, check_floats(L, 5, &some), heads * sizeof *state);
  memcpy(state + heads, check_floats(L, 6, &some), heads * sizeof *state);
  cpu_softmax s = { state, state + heads, state + 2 * heads };
  kernels->softmax(p, count / heads, heads, (float)luaL_checknumber(L, 4), &s);
  lua_pushlstring(L, (const char *)p, count * sizeof *p);
  for (size_t i = 0; i < 3; i++) lua_pushlstring(L, (const char *)(state + i * heads), heads * sizeof *state);
  return 4;
}

/* kernel_to_bf16(level, x) -> codes; kernel_e4m3_to_bf16(level, codes, scales) -> codes of bf16 */
static int kernel_to_bf16 (lua_State *L) {
  size_t count;
  const cpu_kernels *kernels = check_level(L, 1);
  const float *x = check_floats(L, 2, &count);
  uint16_t *out = lua_newuserdata(L, 2 * count + 1);
  kernels->to_bf16(x, out, count);
  lua_pushlstring(L, (const char *)out, 2 * count);
  return 1;
}

static int kernel_e4m3_to_bf16 (lua_State *L) {
  size_t count, blocks;
  const cpu_kernels *kernels = check_level(L, 1);
  const char *codes = luaL_checklstring(L, 2, &count), *scales = luaL_checklstring(L, 3, &blocks);
  luaL_argcheck(L, count == 64 * blocks, 2, "not 64 codes a scale");
  uint16_t *out = lua_newuserdata(L, 2 * count + 1);
  kernels->e4m3_to_bf16((const uint8_t *)codes, (const uint8_t *)scales, out, blocks);
  lua_pushlstring(L, (const char *)out, 2 * count);
  return 1;
}

/* kernel_pair_rows(level, first, second) -> pairs, of two strings of codes */
static int kernel_pair_rows (lua_State *L) {
  size_t bytes, same;
  const cpu_kernels *kernels = check_level(L, 1);
  const char *first = luaL_checklstring(L, 2, &bytes), *second = luaL_checklstring(L, 3, &same);
  luaL_argcheck(L, bytes == same, 3, "not as long as the first");
  uint32_t *out = lua_newuserdata(L, 2 * bytes + 1);
  kernels->pair_rows((const uint16_t *)(const void *)first, (const uint16_t *)(const void *)second, out, bytes / 2);
  lua_pushlstring(L, (const char *)out, 2 * bytes);
  return 1;
}

/* {== Number formats ============================================================================= */

static float decode_e8m0 (uint8_t code) { return e8m0_decode(code); }

/* decode_codes("e4m3" | "e2m1" | "e8m0", codes) -> values */
static int decode_codes (lua_State *L) {
  static const char *const names[] = { "e4m3", "e2m1", "e8m0", NULL };
  static float (*const decoders[]) (uint8_t code) = { e4m3_decode, e2m1_decode, decode_e8m0 };
  const int which = luaL_checkoption(L, 1, NULL, names);
  size_t count;
  const char *codes = luaL_checklstring(L, 2, &count);
  float *out = push_array(L, count);
  for (size_t i = 0; i < count; i++) out[i] = decoders[which]((uint8_t)codes[i]);
  lua_pushlstring(L, (const char *)out, count * sizeof *out);
  return 1;
}

static float round_e4m3 (float value) { return e4m3_decode(e4m3_encode(value)); }
static float round_e2m1 (float value) { return e2m1_decode(e2m1_encode(value)); }
static float scale_448 (float value) { return e8m0_decode(power_scale(value, 448.0f)); }
static float scale_6 (float value) { return e8m0_decode(power_scale(value, 6.0f)); }

/* round_to(format, x) -> values that the format holds, or scales of these magnitudes */
static int round_to (lua_State *L) {
  static const char *const names[] = { "e4m3", "e2m1", "bf16", "scale448", "scale6", NULL };
  static float (*const rounders[]) (float value) = { round_e4m3, round_e2m1, bf16_round, scale_448, scale_6 };
  const int which = luaL_checkoption(L, 1, NULL, names);
  size_t count;
  const float *x = check_floats(L, 2, &count);
  float *out = push_array(L, count);
  for (size_t i = 0; i < count; i++) out[i] = rounders[which](x[i]);
  lua_pushlstring(L, (const char *)out, count * sizeof *out);
  return 1;
}

/* round_fp8(x, columns) -> x as the products of `reference` take it */
static int round_fp8 (lua_State *L) {
  static const cpu_backend reference = { .base = { .numerics = MS_REFERENCE } };
  size_t count, columns = (size_t)luaL_checkinteger(L, 2);
  const float *given = check_floats(L, 1, &count);
  float *x = push_array(L, count);
  memcpy(x, given, count * sizeof *x);
  for (size_t i = 0; i < count; i += columns) cpu_round_fp8(&reference, x + i, columns);
  lua_pushlstring(L, (const char *)x, count * sizeof *x);
  return 1;
}

/* weight_values(weight) -> float32 */
static int weight_values (lua_State *L) {
  const weight w = check_weight(L, 1);
  float *out = push_array(L, w.rows * w.columns);
  for (size_t r = 0; r < w.rows; r++) cpu_weight_row(&w, r, out + r * w.columns);
  lua_pushlstring(L, (const char *)out, w.rows * w.columns * sizeof *out);
  return 1;
}

/* kernel_blocks(level, weight in blocks) -> float32 */
static int kernel_blocks (lua_State *L) {
  const cpu_kernels *kernels = check_level(L, 1);
  weight w = check_weight(L, 2);
  float *out = push_array(L, w.rows * w.columns);
  size_t bytes;
  lua_getfield(L, 2, "bytes");
  lua_tolstring(L, -1, &bytes);
  uint8_t *data = odd_copy(w.data, bytes);
  w.data = data;
  for (size_t r = 0; r < w.rows; r++) kernels->decode_blocks(&w, r, out + r * w.columns);
  free_odd(data);
  lua_pushlstring(L, (const char *)out, w.rows * w.columns * sizeof *out);
  return 1;
}

static double thread_seconds (void) {
  struct timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/*
** kernel_speed(level, weight, count, rows, passes, ["int8"]) -> CPU seconds of the quickest pass over `count` copies of
** the weight, one behind the other, with `rows` rows of activations
*/
static int kernel_speed (lua_State *L) {
  const cpu_kernels *kernels = check_level(L, 1);
  weight w = check_weight(L, 2);
  const size_t count = (size_t)luaL_checkinteger(L, 3), rows = (size_t)luaL_checkinteger(L, 4), columns = w.columns;
  const size_t passes = (size_t)luaL_checkinteger(L, 5), blocks = columns / CPU_BLOCK;
  const int int8 = lua_toboolean(L, 6);
  float *x = push_array(L, rows * columns), *out = push_array(L, rows * w.rows);
  float *x_scales = push_array(L, rows * blocks);
  int8_t *codes = lua_newuserdata(L, rows * columns);
  int16_t *sums = lua_newuserdata(L, 2 * rows * blocks * sizeof *sums);
  size_t bytes, scale_bytes = 0;
  lua_getfield(L, 2, "bytes");
  lua_tolstring(L, -1, &bytes);
  lua_getfield(L, 2, "scales");
  if (w.scales != NULL) lua_tolstring(L, -1, &scale_bytes);
  uint8_t *data = malloc(count * (bytes + scale_bytes) + 1);
  if (data == NULL) return luaL_error(L, "no memory");
  for (size_t i = 0; i < count; i++) {
    memcpy(data + i * bytes, w.data, bytes);
    if (w.scales != NULL) memcpy(data + count * bytes + i * scale_bytes, w.scales, scale_bytes);
  }
  for (size_t i = 0; i < rows * columns; i++) x[i] = (float)(i * 7919 % 2001) / 1000.0f - 1.0f;
  for (size_t r = 0; r < rows; r++)
    kernels->to_int8(x + r * columns, columns, codes + r * columns, x_scales + r * blocks, sums + 2 * r * blocks);
  const cpu_int8_rows q = { codes, x_scales, sums, columns };
  double least = 0;
  for (size_t pass = 0; pass < passes; pass++) {
    const double start = thread_seconds();
    for (size_t i = 0; i < count; i++) {
      w.data = data + i * bytes;
      if (w.scales != NULL) w.scales = data + count * bytes + i * scale_bytes;
      if (int8) kernels->product_int8[w.encoding](&w, 0, w.rows, &q, rows, out, w.rows);
      else kernels->product[w.encoding](&w, 0, w.rows, x, columns, rows, out, w.rows);
    }
    const double seconds = thread_seconds() - start;
    if (pass == 0 || seconds < least) least = seconds;
  }
  free(data);
  lua_pushnumber(L, least);
  return 1;
}

static const luaL_Reg functions[] = {
  { "kernel_levels", kernel_levels }, { "kernel_product", kernel_product },
  { "kernel_to_int8", kernel_to_int8 }, { "kernel_decode", kernel_decode }, { "kernel_sum", kernel_sum },
  { "kernel_elements", kernel_elements }, { "kernel_multiply", kernel_multiply },
  { "kernel_softmax", kernel_softmax }, { "kernel_to_bf16", kernel_to_bf16 },
  { "kernel_e4m3_to_bf16", kernel_e4m3_to_bf16 }, { "kernel_pair_rows", kernel_pair_rows },
  { "kernel_rows", kernel_rows }, { "decode_codes", decode_codes }, { "round_to", round_to },
  { "round_fp8", round_fp8 }, { "weight_values", weight_values }, { "kernel_blocks", kernel_blocks },
  { "kernel_speed", kernel_speed }, { NULL, NULL }
};

void register_kernels_internals (lua_State *L) {
  luaL_setfuncs(L, functions, 0);
  register_dense_internals(L);
}
