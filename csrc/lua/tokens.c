/*
** moonseek.tokens: packed token ids, and the one place where Lua values become tokens: packed ids, tables
** of ids, text, lists of pieces. Packed ids never change once made, so whoever takes tokens reads them in
** place. Tables are read raw: no metamethod of a caller runs. A finaliser may run at every allocation and
** close what it can reach, so pointers into a caller's values are taken after the last one.
*/
#include "binding.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct token_box { ms_tokens tokens; int is_closed; } token_box;

static int is_tokens (lua_State *L, int index) {
  if (lua_type(L, index) != LUA_TUSERDATA || !lua_getmetatable(L, index)) return 0;
  luaL_getmetatable(L, TOKENS);
  int same = lua_rawequal(L, -1, -2);
  lua_pop(L, 2);
  return same;
}

static ms_tokens *check_tokens (lua_State *L, int index) {
  token_box *box = luaL_checkudata(L, index, TOKENS);
  luaL_argcheck(L, !box->is_closed, index, "tokens is closed");
  return &box->tokens;
}

ms_tokens *push_tokens (lua_State *L) {
  token_box *box = lua_newuserdata(L, sizeof *box);
  memset(box, 0, sizeof *box);
  luaL_getmetatable(L, TOKENS);
  lua_setmetatable(L, -2);
  return &box->tokens;
}

/* {== Ids ======================================================================================== */

static int length_of (lua_State *L, int argument, int table, const char *what) {
  size_t length = lua_rawlen(L, table);
  if (length >= INT_MAX) luaL_argerror(L, argument, lua_pushfstring(L, "too many %s", what));
  return (int)length;
}

static int refuse_id (ms_error *err, size_t place, lua_Number id, size_t limit) {
  err->status = MS_EINVAL;
  snprintf(err->message, sizeof err->message, "token %zu is %.0f, allowed are 0 to %zu", place, id, limit - 1);
  return 0;
}

/* Appends the table's ids to `out`. What is no integer raises; an id that cannot be one gives 0. */
static int read_ids (lua_State *L, int argument, int table, ms_tokens *out, ms_error *err) {
  enum { CHUNK = 256 };
  int32_t ids[CHUNK];
  int count = length_of(L, argument, table, "ids"), held = 0;
  for (int i = 1; i <= count; i++) {
    lua_rawgeti(L, table, i);
    if (lua_type(L, -1) != LUA_TNUMBER)
      luaL_argerror(L, argument, lua_pushfstring(L, "token %d: integer expected, got %s", i, luaL_typename(L, -1)));
    lua_Number id = lua_tonumber(L, -1);
    if (!isfinite(id) || floor(id) < id)
      luaL_argerror(L, argument, lua_pushfstring(L, "token %d: %f has no integer representation", i, id));
    if (id < 0 || id > INT32_MAX) return refuse_id(err, (size_t)i, id, (size_t)INT32_MAX + 1);
    lua_pop(L, 1);
    ids[held++] = (int32_t)id;
    if ((held == CHUNK || i == count) && ms_tokens_append(out, ids, (size_t)held, err) != MS_OK) return 0;
    if (held == CHUNK) held = 0;
  }
  return 1;
}

/* {== Pieces ===================================================================================== */

static const char *const piece_keys[] = {
  [MS_PIECE_TEXT] = "text", [MS_PIECE_CONTROL] = "control", [MS_PIECE_IDS] = "ids"
};

/* The kind of the table at the top of the stack: it has one key, and a known one. */
static int piece_kind (lua_State *L, int argument, int place) {
  int piece = lua_gettop(L), kind = -1;
  lua_pushnil(L);
  while (lua_next(L, piece)) {
    const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : luaL_typename(L, -2);
    int match = MS_PIECE_IDS;
    while (match >= 0 && strcmp(key, piece_keys[match]) != 0) match--;
    if (match < 0) return luaL_argerror(L, argument, lua_pushfstring(L, "piece %d: unknown key '%s'", place, key));
    if (kind >= 0)
      return luaL_argerror(L, argument,
                           lua_pushfstring(L, "piece %d: only one of text, control, ids is allowed", place));
    kind = match;
    lua_pop(L, 1);
  }
  if (kind < 0)
    return luaL_argerror(L, argument, lua_pushfstring(L, "piece %d: text, control or ids is needed", place));
  return kind;
}

/* Pushes the value of the piece at the top, a string or packed ids; returns its kind, or -1 with *err filled. */
static int read_piece (lua_State *L, int argument, int place, ms_error *err) {
  int type = lua_type(L, -1);
  if (type == LUA_TSTRING) {
    lua_pushvalue(L, -1);
    return MS_PIECE_TEXT;
  }
  if (type != LUA_TTABLE)
    return luaL_argerror(L, argument, lua_pushfstring(L, "piece %d: string or table expected, got %s", place,
                                                      lua_typename(L, type)));
  int kind = piece_kind(L, argument, place);
  lua_pushstring(L, piece_keys[kind]);
  lua_rawget(L, -2);
  if (kind == MS_PIECE_IDS && lua_type(L, -1) == LUA_TTABLE) {
    int table = lua_gettop(L);
    return read_ids(L, argument, table, push_tokens(L), err) ? kind : -1;
  }
  if (kind == MS_PIECE_IDS ? !is_tokens(L, -1) : lua_type(L, -1) != LUA_TSTRING)
    return luaL_argerror(L, argument, lua_pushfstring(L, "piece %d: %s expected for %s, got %s", place,
                                                      kind == MS_PIECE_IDS ? "tokens" : "string", piece_keys[kind],
                                                      luaL_typename(L, -1)));
  return kind;
}

/* Points each piece at its value in the table `values`. Nothing is allocated. */
static void aim_pieces (lua_State *L, int argument, int values, ms_piece *pieces, int count) {
  for (int i = 0; i < count; i++) {
    lua_rawgeti(L, values, i + 1);
    if (pieces[i].kind == MS_PIECE_IDS) {
      const token_box *box = lua_touserdata(L, -1);
      luaL_argcheck(L, !box->is_closed, argument, "tokens is closed");
      pieces[i].ids = box->tokens.ids;
      pieces[i].count = box->tokens.count;
    } else {
      pieces[i].text = lua_tolstring(L, -1, &pieces[i].bytes);
    }
    lua_pop(L, 1);
  }
}

static int read_pieces (lua_State *L, int argument, int table, const ms_tokenizer *tokenizer, ms_tokens *out,
                        ms_error *err) {
  int count = length_of(L, argument, table, "pieces");
  ms_piece *pieces = lua_newuserdata(L, ((size_t)count + 1) * sizeof *pieces);
  memset(pieces, 0, ((size_t)count + 1) * sizeof *pieces);
  lua_createtable(L, count, 0);                      /* holds the values whatever happens to the caller's */
  int values = lua_gettop(L);
  for (int i = 0; i < count; i++) {
    lua_rawgeti(L, table, i + 1);
    int kind = read_piece(L, argument, i + 1, err);
    if (kind < 0) return 0;
    pieces[i].kind = (ms_piece_kind)kind;
    lua_rawseti(L, values, i + 1);
    lua_settop(L, values);
  }
  aim_pieces(L, argument, values, pieces, count);
  return ms_tokenizer_encode(tokenizer, pieces, (size_t)count, out, NULL, err) == MS_OK;
}

/* {== Taking tokens ============================================================================== */

static int read_text (lua_State *L, int index, const ms_tokenizer *tokenizer, ms_tokens *out, ms_error *err) {
  ms_piece piece = { .kind = MS_PIECE_TEXT };
  piece.text = lua_tolstring(L, index, &piece.bytes);
  return ms_tokenizer_encode(tokenizer, &piece, 1, out, NULL, err) == MS_OK;
}

/* A list is of ids when it is empty or starts with a number, else of pieces. */
static int holds_ids (lua_State *L, int table) {
  lua_rawgeti(L, table, 1);
  int type = lua_type(L, -1);
  lua_pop(L, 1);
  return type == LUA_TNUMBER || type == LUA_TNIL;
}

int take_tokens (lua_State *L, int index, ms_tokenizer *tokenizer, ms_tokens **tokens, ms_error *err) {
  int type = lua_type(L, index), ok;
  index = lua_absindex(L, index);
  luaL_checkstack(L, 12, "tokens");
  if (is_tokens(L, index)) {
    *tokens = check_tokens(L, index);
    lua_pushvalue(L, index);
    return 1;
  }
  if (type != LUA_TTABLE && (type != LUA_TSTRING || tokenizer == NULL))
    luaL_argerror(L, index, lua_pushfstring(L, "%s expected, got %s", tokenizer == NULL ? "tokens or a table of ids"
                                            : "tokens, a table of ids, text or pieces", luaL_typename(L, index)));
  *tokens = push_tokens(L);
  int taken = lua_gettop(L);
  if (type == LUA_TSTRING)
    ok = read_text(L, index, tokenizer, *tokens, err);
  else if (tokenizer == NULL || holds_ids(L, index))
    ok = read_ids(L, index, index, *tokens, err);
  else
    ok = read_pieces(L, index, index, tokenizer, *tokens, err);
  lua_settop(L, taken);
  return ok;
}

/* {== The type =================================================================================== */

/* moonseek.tokens(ids) -> tokens | nil, message, code. Packed tokens are returned as they are. */
static int tokens_new (lua_State *L) {
  ms_tokens *tokens;
  ms_error err;
  luaL_checkany(L, 1);
  if (!take_tokens(L, 1, NULL, &tokens, &err)) return push_failure(L, &err);
  return 1;
}

/* tokens:sub(i [, j]): as string.sub, negative places count from the end. */
static int tokens_sub (lua_State *L) {
  const ms_tokens *tokens = check_tokens(L, 1);
  const int64_t far = INT64_C(1) << 53;
  int64_t count = (int64_t)tokens->count;
  int64_t first = check_integer(L, 2, -far, far, "first");
  int64_t last = lua_isnoneornil(L, 3) ? -1 : check_integer(L, 3, -far, far, "last");
  ms_tokens *part = push_tokens(L);
  ms_error err;
  if (first < 0) first += count + 1;
  if (last < 0) last += count + 1;
  if (first < 1) first = 1;
  if (last > count) last = count;
  tokens = check_tokens(L, 1);                       /* a finaliser may have closed it meanwhile */
  if (first <= last &&
      ms_tokens_append(part, tokens->ids + first - 1, (size_t)(last - first + 1), &err) != MS_OK)
    return push_failure(L, &err);
  return 1;
}

static int tokens_totable (lua_State *L) {
  int count = (int)check_tokens(L, 1)->count;        /* at most INT32_MAX: see ms_tokens_append */
  lua_createtable(L, count, 0);
  const ms_tokens *tokens = check_tokens(L, 1);
  for (int i = 0; i < count; i++) {
    lua_pushinteger(L, tokens->ids[i]);
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

/* t[i] is an id, or nil when there is none; t.name a method. Upvalue 1: the methods. */
static int tokens_index (lua_State *L) {
  if (lua_type(L, 2) != LUA_TNUMBER) {
    luaL_checkudata(L, 1, TOKENS);
    lua_settop(L, 2);
    lua_rawget(L, lua_upvalueindex(1));
    return 1;
  }
  const ms_tokens *tokens = check_tokens(L, 1);
  lua_Number place = lua_tonumber(L, 2);
  if (!(place >= 1 && place <= (lua_Number)tokens->count)) return 0;
  size_t i = (size_t)place;
  if ((lua_Number)i < place || (lua_Number)i > place) return 0;      /* 1.5 */
  lua_pushinteger(L, tokens->ids[i - 1]);
  return 1;
}

static int tokens_len (lua_State *L) {
  lua_pushinteger(L, (lua_Integer)check_tokens(L, 1)->count);
  return 1;
}

/* Lua calls it with two userdata, of which one may be something else. */
static int tokens_eq (lua_State *L) {
  int same = is_tokens(L, 1) && is_tokens(L, 2);
  if (same) {
    const ms_tokens *a = check_tokens(L, 1), *b = check_tokens(L, 2);
    same = a->count == b->count && (a->count == 0 || memcmp(a->ids, b->ids, a->count * sizeof *a->ids) == 0);
  }
  lua_pushboolean(L, same);
  return 1;
}

/* "moonseek.tokens (10): 671 6102 294 8760 344 3 4 5 ..." */
static int tokens_tostring (lua_State *L) {
  enum { SHOWN = 8 };
  const token_box *box = luaL_checkudata(L, 1, TOKENS);
  if (box->is_closed) {
    lua_pushliteral(L, TOKENS " (closed)");
    return 1;
  }
  int count = (int)box->tokens.count, pushed = 1;
  int32_t ids[SHOWN];
  for (int i = 0; i < count && i < SHOWN; i++) ids[i] = box->tokens.ids[i];
  lua_pushfstring(L, TOKENS " (%d):", count);
  for (int i = 0; i < count && i < SHOWN; i++, pushed++) lua_pushfstring(L, " %d", (int)ids[i]);
  if (count > SHOWN) {
    lua_pushliteral(L, " ...");
    pushed++;
  }
  lua_concat(L, pushed);
  return 1;
}

static int tokens_close (lua_State *L) {
  token_box *box = luaL_checkudata(L, 1, TOKENS);
  ms_tokens_free(&box->tokens);
  box->is_closed = 1;
  return 0;
}

static const luaL_Reg methods[] = {
  { "sub", tokens_sub },
  { "totable", tokens_totable },
  { NULL, NULL }
};

static const luaL_Reg meta[] = {
  { "__len", tokens_len },
  { "__eq", tokens_eq },
  { "__tostring", tokens_tostring },
  { NULL, NULL }
};

void register_tokens (lua_State *L) {
  new_handle_type(L, TOKENS, methods, meta, tokens_close);
  luaL_getmetatable(L, TOKENS);
  lua_insert(L, -2);
  lua_pushcclosure(L, tokens_index, 1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  lua_pushcfunction(L, tokens_new);
  lua_setfield(L, -2, "tokens");
}
