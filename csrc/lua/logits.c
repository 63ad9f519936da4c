/*
** moonseek.logits: the scores of every token of the vocabulary after a session's last token. A copy, inside
** the userdata: there is nothing to close. Ids count from 0, as everywhere.
*/
#include "session.h"

#include <math.h>
#include <string.h>

typedef struct logits { size_t count; float values[]; } logits;

/* core.logits(session) -> logits | nil, message, code. What the session holds must have been read. */
static int session_logits (lua_State *L) {
  static const call from = { "session:logits", 2 };
  ms_error err;
  check_open_from(L, 1, SESSION, &from);
  size_t count = session_vocabulary(L, 1);
  logits *box = lua_newuserdata(L, sizeof *box + count * sizeof *box->values);
  box->count = 0;
  luaL_getmetatable(L, LOGITS);
  lua_setmetatable(L, -2);
  ms_session *session = check_open_from(L, 1, SESSION, &from);
  if (ms_session_logits(session, box->values, &err) != MS_OK) return push_failure(L, &err);
  box->count = count;
  return 1;
}

static logits *check_logits (lua_State *L, int index) {
  return luaL_checkudata(L, index, LOGITS);
}

/* l[id] is a number, or nil when there is no such id; l.name a method. Upvalue 1: the methods. */
static int logits_index (lua_State *L) {
  const logits *box = check_logits(L, 1);
  if (lua_type(L, 2) != LUA_TNUMBER) {
    lua_settop(L, 2);
    lua_rawget(L, lua_upvalueindex(1));
    return 1;
  }
  lua_Number id = lua_tonumber(L, 2);
  if (!(id >= 0 && id < (lua_Number)box->count) || id != floor(id)) return 0;
  lua_pushnumber(L, (lua_Number)box->values[(size_t)id]);
  return 1;
}

static int logits_len (lua_State *L) {
  push_count(L, check_logits(L, 1)->count);
  return 1;
}

/* {== The best k ================================================================================= */

/* Whether id `a` comes after id `b`: the larger logit first, of equal ones the smaller id. */
static int is_after (const float *values, int32_t a, int32_t b) {
  if (values[a] < values[b]) return 1;
  return !(values[a] > values[b]) && a > b;
}

/* heap[0 .. count-1] is a heap but for its root: the id that comes last belongs there. */
static void sink (const float *values, int32_t *heap, size_t count) {
  for (size_t at = 0, child; (child = 2 * at + 1) < count; at = child) {
    if (child + 1 < count && is_after(values, heap[child + 1], heap[child])) child++;
    if (!is_after(values, heap[child], heap[at])) return;
    int32_t moved = heap[at];
    heap[at] = heap[child];
    heap[child] = moved;
  }
}

static void rise (const float *values, int32_t *heap, size_t at) {
  for (size_t parent; at > 0 && is_after(values, heap[at], heap[parent = (at - 1) / 2]); at = parent) {
    int32_t moved = heap[at];
    heap[at] = heap[parent];
    heap[parent] = moved;
  }
}

/* The best `k` ids of `count`, best first: one pass with a heap of the k best so far, then the heap sorted. */
static void select_best (const float *values, size_t count, int32_t *heap, size_t k) {
  for (size_t i = 0; i < count; i++) {
    int32_t id = (int32_t)i;
    if (i < k) {
      heap[i] = id;
      rise(values, heap, i);
    } else if (is_after(values, heap[0], id)) {
      heap[0] = id;
      sink(values, heap, k);
    }
  }
  for (size_t left = k; left-- > 1; ) {
    int32_t last = heap[0];
    heap[0] = heap[left];
    heap[left] = last;
    sink(values, heap, left);
  }
}

/* log of the sum of exp(logit), less the largest so that nothing overflows. */
static double log_sum (const logits *box) {
  double largest = -HUGE_VAL, sum = 0;
  for (size_t i = 0; i < box->count; i++)
    if (box->values[i] > largest) largest = box->values[i];
  for (size_t i = 0; i < box->count; i++) sum += exp(box->values[i] - largest);
  return largest + log(sum);
}

/* l:top(k) -> the best k (all, where there are fewer): { { id =, logit =, logprob = }, ... } */
static int logits_top (lua_State *L) {
  const logits *box = check_logits(L, 1);
  size_t k = (size_t)check_integer(L, 2, 1, INT32_MAX, "k");
  if (k > box->count) k = box->count;
  int32_t *best = lua_newuserdata(L, (k + 1) * sizeof *best);
  select_best(box->values, box->count, best, k);
  double total = log_sum(box);
  lua_createtable(L, (int)k, 0);
  for (size_t i = 0; i < k; i++) {
    lua_createtable(L, 0, 3);
    lua_pushinteger(L, best[i]);
    lua_setfield(L, -2, "id");
    lua_pushnumber(L, (lua_Number)box->values[best[i]]);
    lua_setfield(L, -2, "logit");
    lua_pushnumber(L, (lua_Number)box->values[best[i]] - total);
    lua_setfield(L, -2, "logprob");
    lua_rawseti(L, -2, (int)i + 1);
  }
  return 1;
}

/* l:bytes() -> float32, little-endian, in order of id */
static int logits_bytes (lua_State *L) {
  const logits *box = check_logits(L, 1);
  luaL_Buffer buffer;
  luaL_buffinit(L, &buffer);
  for (size_t i = 0; i < box->count; i++) {
    uint32_t bits;
    memcpy(&bits, &box->values[i], sizeof bits);
    for (int shift = 0; shift < 32; shift += 8) luaL_addchar(&buffer, (char)(bits >> shift & 0xff));
  }
  luaL_pushresult(&buffer);
  return 1;
}

static const luaL_Reg methods[] = {
  { "bytes", logits_bytes },
  { "top", logits_top },
  { NULL, NULL }
};

void register_logits (lua_State *L) {
  luaL_newmetatable(L, LOGITS);
  lua_pushliteral(L, LOGITS);
  lua_setfield(L, -2, "__name");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_pushcfunction(L, logits_len);
  lua_setfield(L, -2, "__len");
  lua_newtable(L);
  luaL_setfuncs(L, methods, 0);
  lua_pushcclosure(L, logits_index, 1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  lua_pushcfunction(L, session_logits);
  lua_setfield(L, -2, "logits");
}
