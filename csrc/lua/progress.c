/* Calls of a progress callback. */
#include "progress.h"

static int announce (lua_State *L) {
  const announcement *a = lua_touserdata(L, 2);
  lua_settop(L, 1);
  lua_pushstring(L, a->phase);
  push_count(L, a->done);
  push_count(L, a->total);
  lua_call(L, 3, 1);
  return 1;
}

/* Slot `function` - 1 holds announce itself: pushing a C function allocates in 5.1. */
announcement begin_progress (lua_State *L, int index) {
  lua_pushnil(L);
  lua_pushcfunction(L, announce);
  lua_pushvalue(L, index);
  return (announcement){ .L = L, .function = lua_gettop(L), .error = lua_gettop(L) - 2 };
}

int tell_progress (void *user, const char *phase, uint64_t done, uint64_t total) {
  announcement *a = user;
  if (a->failed) return 1;
  a->phase = phase;
  a->done = done;
  a->total = total;
  lua_pushvalue(a->L, a->function - 1);
  lua_pushvalue(a->L, a->function);
  lua_pushlightuserdata(a->L, a);
  if (lua_pcall(a->L, 2, 1, 0) == 0) {
    const int stops = lua_isboolean(a->L, -1) && !lua_toboolean(a->L, -1);
    lua_pop(a->L, 1);
    return stops;
  }
  a->failed = 1;
  lua_replace(a->L, a->error);
  return 1;
}
