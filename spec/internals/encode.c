/* csrc/convert/encode.h, one call at a time; weights as kernels.c takes them. */
#include <stdlib.h>
#include <string.h>

#include "../../csrc/convert/encode.h"
#include "internals.h"
#include "weights.h"

/* Room for `size`, each part alone in a block that is as large and starts at an odd address. */
typedef struct room { uint8_t *data, *scales; } room;

static uint8_t *odd_room (size_t bytes) {
  uint8_t *block = malloc(bytes + 1);
  if (block == NULL) return NULL;
  memset(block, 0xA5, bytes + 1);
  return block + 1;
}

static void free_room (const room *r) {
  free(r->data - 1);
  free(r->scales - 1);
}

/* Pushes data and, where there are some, scales; or the failure. */
static int push_room (lua_State *L, const room *r, const encoded_size *size, ms_status status, const ms_error *err) {
  if (status != MS_OK) {
    free_room(r);
    return push_failure(L, err);
  }
  lua_pushlstring(L, (const char *)r->data, size->data);
  if (size->scales != 0) lua_pushlstring(L, (const char *)r->scales, size->scales);
  else lua_pushnil(L);
  free_room(r);
  return 2;
}

/* encode_size(type, rows, columns) -> bytes of data, bytes of scales | nil, message, code */
static int window_encode_size (lua_State *L) {
  encoded_size size;
  ms_error err;
  const weight_encoding encoding = check_encoding(L, 1);
  const size_t rows = (size_t)luaL_checkinteger(L, 2), columns = (size_t)luaL_checkinteger(L, 3);
  if (encode_size(encoding, "w", rows, columns, &size, &err) != MS_OK) return push_failure(L, &err);
  lua_pushinteger(L, (lua_Integer)size.data);
  lua_pushinteger(L, (lua_Integer)size.scales);
  return 2;
}

/* encode(type, floats, columns, [first row]) -> data, scales or nil | nil, message, code */
static int window_encode (lua_State *L) {
  size_t count;
  const float *values = check_floats(L, 2, &count);
  const size_t columns = (size_t)luaL_checkinteger(L, 3);
  encoded_band band = { .encoding = check_encoding(L, 1), .name = "w", .first_row = (size_t)luaL_optinteger(L, 4, 0),
                        .rows = count / columns, .columns = columns };
  encoded_size size;
  ms_error err;
  if (encode_size(band.encoding, band.name, band.rows, columns, &size, &err) != MS_OK) return push_failure(L, &err);
  const room r = { odd_room(size.data), odd_room(size.scales) };
  band.data = r.data;
  band.scales = r.scales;
  return push_room(L, &r, &size, encode_values(&band, values, &err), &err);
}

/* repack(weight, type, [first row]) -> data, scales or nil | nil, message, code */
static int window_repack (lua_State *L) {
  const weight from = check_weight(L, 1);
  encoded_band band = { .encoding = check_encoding(L, 2), .name = "w", .first_row = (size_t)luaL_optinteger(L, 3, 0),
                        .rows = from.rows, .columns = from.columns };
  encoded_size size;
  ms_error err;
  if (encode_size(band.encoding, band.name, band.rows, band.columns, &size, &err) != MS_OK)
    return push_failure(L, &err);
  const room r = { odd_room(size.data), odd_room(size.scales) };
  band.data = r.data;
  band.scales = r.scales;
  return push_room(L, &r, &size, encode_repack(&band, &from, &err), &err);
}

static const luaL_Reg functions[] = {
  { "encode_size", window_encode_size }, { "encode", window_encode }, { "repack", window_repack }, { NULL, NULL }
};

void register_encode_internals (lua_State *L) {
  luaL_setfuncs(L, functions, 0);
}
