/* moonseek.tokenizer: text to tokens and back. How Lua values become tokens stands in tokens.c. */
#include "binding.h"

#include <stdio.h>
#include <string.h>

/*
** Argument 1, held by a handle of our own that is left on the stack: a finaliser that runs while we allocate
** may close the caller's.
*/
static ms_tokenizer *hold_tokenizer (lua_State *L) {
  handle *own = push_closed(L, TOKENIZER);
  own->object = ms_tokenizer_retain(check_open(L, 1, TOKENIZER));
  return own->object;
}

/* moonseek.tokenizer(path) -> tokenizer | nil, message, code. A tokenizer.json or a folder that holds one. */
static int tokenizer_new (lua_State *L) {
  size_t length;
  const char *path = luaL_checklstring(L, 1, &length);
  luaL_argcheck(L, strlen(path) == length, 1, "path holds a zero byte");
  handle *box = push_closed(L, TOKENIZER);
  ms_tokenizer *opened;
  ms_error err;
  if (ms_tokenizer_open(path, &opened, &err) != MS_OK) return push_failure(L, &err);
  box->object = opened;
  return 1;
}

/*
** Pushes a table of the byte at which each id's text starts, counted from 0. What ids decode to is what
** they were made from, so these are places in the text that was given.
*/
static void push_offsets (lua_State *L, const ms_tokenizer *tokenizer, const ms_tokens *tokens) {
  int count = (int)tokens->count;                    /* at most INT32_MAX: see ms_tokens_append */
  lua_Integer at = 0;
  lua_createtable(L, count, 0);
  for (int i = 0; i < count && (size_t)i < tokens->count; i++) {
    size_t bytes = 0;
    int control;
    ms_tokenizer_text(tokenizer, tokens->ids[i], &bytes, &control);
    lua_pushinteger(L, at);
    lua_rawseti(L, -2, i + 1);
    at += (lua_Integer)bytes;
  }
}

/* The bytes of tokens first .. last (counted from 1) together, or 0 with *err filled. */
static int measure (const ms_tokenizer *tokenizer, const ms_tokens *tokens, int64_t first, int64_t last,
                    size_t *total, ms_error *err) {
  *total = 0;
  for (int64_t i = first; i <= last; i++) {
    size_t bytes;
    int control;
    if (ms_tokenizer_text(tokenizer, tokens->ids[i - 1], &bytes, &control) == NULL) {
      err->status = MS_EINVAL;
      snprintf(err->message, sizeof err->message, "token %lld is %d, allowed are 0 to %zu", (long long)i,
               (int)tokens->ids[i - 1], ms_tokenizer_size(tokenizer) - 1);
      return 0;
    }
    *total += bytes;                                 /* at most 2^31 tokens of 2^16 bytes */
  }
  return 1;
}

/* tokenizer:encode(text) -> tokens;  tokenizer:encode(pieces) -> tokens, offsets */
static int tokenizer_encode (lua_State *L) {
  ms_tokens *tokens;
  ms_error err;
  lua_settop(L, 2);
  ms_tokenizer *tokenizer = hold_tokenizer(L);
  if (!take_tokens(L, 2, tokenizer, &tokens, &err)) return push_failure(L, &err);
  size_t bytes;
  if (lua_type(L, 2) == LUA_TSTRING) return 1;
  if (!measure(tokenizer, tokens, 1, (int64_t)tokens->count, &bytes, &err)) return push_failure(L, &err);
  push_offsets(L, tokenizer, tokens);
  return 2;
}

/* tokenizer:count(text or pieces) -> number of tokens */
static int tokenizer_count (lua_State *L) {
  ms_tokens *tokens;
  ms_error err;
  lua_settop(L, 2);
  ms_tokenizer *tokenizer = hold_tokenizer(L);
  size_t bytes;
  if (!take_tokens(L, 2, tokenizer, &tokens, &err)) return push_failure(L, &err);
  if (!measure(tokenizer, tokens, 1, (int64_t)tokens->count, &bytes, &err)) return push_failure(L, &err);
  lua_pushinteger(L, (lua_Integer)tokens->count);
  return 1;
}

/* A place in a list of `count`, 1-based, negative from the end. */
static int64_t check_place (lua_State *L, int index, int64_t count, int64_t absent) {
  const int64_t far = INT64_C(1) << 53;
  if (lua_isnoneornil(L, index)) return absent;
  int64_t place = check_integer(L, index, -far, far, "place");
  return place < 0 ? place + count + 1 : place;
}

/* tokenizer:decode(tokens [, i [, j]]) -> bytes; of control tokens the name */
static int tokenizer_decode (lua_State *L) {
  ms_tokens *tokens;
  ms_error err;
  lua_settop(L, 4);
  const ms_tokenizer *tokenizer = hold_tokenizer(L);
  if (!take_tokens(L, 2, NULL, &tokens, &err)) return push_failure(L, &err);
  int64_t count = (int64_t)tokens->count;
  int64_t first = check_place(L, 3, count, 1), last = check_place(L, 4, count, count);
  if (first < 1) first = 1;
  if (last > count) last = count;
  size_t total;
  if (!measure(tokenizer, tokens, first, last, &total, &err)) return push_failure(L, &err);
  char *text = lua_newuserdata(L, total + 1), *out = text;
  for (int64_t i = first; i <= last && i <= (int64_t)tokens->count; i++) {
    size_t bytes = 0;
    int control;
    const char *of_id = ms_tokenizer_text(tokenizer, tokens->ids[i - 1], &bytes, &control);
    memcpy(out, of_id, bytes);
    out += bytes;
  }
  lua_pushlstring(L, text, (size_t)(out - text));
  return 1;
}

/* tokenizer:token(name) -> id of the control token, or nil */
static int tokenizer_token (lua_State *L) {
  const ms_tokenizer *tokenizer = check_open(L, 1, TOKENIZER);
  size_t bytes;
  const char *name = luaL_checklstring(L, 2, &bytes);
  int32_t id = ms_tokenizer_control(tokenizer, name, bytes);
  if (id < 0) lua_pushnil(L);
  else lua_pushinteger(L, id);
  return 1;
}

static int tokenizer_len (lua_State *L) {
  lua_pushinteger(L, (lua_Integer)ms_tokenizer_size(check_open(L, 1, TOKENIZER)));
  return 1;
}

static int tokenizer_close (lua_State *L) {
  handle *box = check_handle(L, 1, TOKENIZER);
  ms_tokenizer_release(box->object);
  box->object = NULL;
  return 0;
}

static const luaL_Reg methods[] = {
  { "encode", tokenizer_encode },
  { "decode", tokenizer_decode },
  { "count", tokenizer_count },
  { "token", tokenizer_token },
  { NULL, NULL }
};

static const luaL_Reg meta[] = {
  { "__len", tokenizer_len },
  { NULL, NULL }
};

void register_tokenizer (lua_State *L) {
  new_handle_type(L, TOKENIZER, methods, meta, tokenizer_close);
  lua_pop(L, 1);
  lua_pushcfunction(L, tokenizer_new);
  lua_setfield(L, -2, "tokenizer");
}
