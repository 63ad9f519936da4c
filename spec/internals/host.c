/* What only a host in C can do: Lua states of its own, on threads of their own; a look at the processor's modes. */
#include "internals.h"

#include <fenv.h>
#include <lualib.h>
#include <pthread.h>
#include <stdio.h>
#if defined(__SSE__)
#include <xmmintrin.h>
#endif

enum { STATE_LIMIT = 16 };

typedef struct guest {
  pthread_t thread;
  int started;
  const char *script;
  char result[512];
} guest;

/* Opens a state, runs the script, keeps what it returns as text, and closes the state. */
static void *run_guest (void *argument) {
  guest *g = argument;
  lua_State *L = luaL_newstate();
  if (L == NULL) {
    snprintf(g->result, sizeof g->result, "no state");
    return NULL;
  }
  luaL_openlibs(L);
  if (luaL_loadstring(L, g->script) == 0) lua_pcall(L, 0, 1, 0);
  const char *text = lua_tostring(L, -1);
  snprintf(g->result, sizeof g->result, "%s", text == NULL ? luaL_typename(L, -1) : text);
  lua_close(L);
  return NULL;
}

/* in_states(script, count) -> what the script returned (or its error) in each of `count` states at once */
static int in_states (lua_State *L) {
  const char *script = luaL_checkstring(L, 1);
  int count = (int)check_integer(L, 2, 1, STATE_LIMIT, "count");
  guest *guests = lua_newuserdata(L, STATE_LIMIT * sizeof *guests);
  lua_createtable(L, count, 0);
  for (int i = 0; i < count; i++) {
    guests[i].script = script;
    guests[i].started = pthread_create(&guests[i].thread, NULL, run_guest, &guests[i]) == 0;
  }
  for (int i = 0; i < count; i++)
    if (guests[i].started) pthread_join(guests[i].thread, NULL);
  for (int i = 0; i < count; i++) {
    lua_pushstring(L, guests[i].started ? guests[i].result : "no thread");
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

/* floating_point() -> rounding mode, and on x86 the control bits of MXCSR (without the sticky exceptions) */
static int floating_point (lua_State *L) {
  lua_pushinteger(L, fegetround());
#if defined(__SSE__)
  lua_pushinteger(L, (lua_Integer)(_mm_getcsr() & ~0x3fu));
  return 2;
#else
  return 1;
#endif
}

static const luaL_Reg functions[] = {
  { "floating_point", floating_point },
  { "in_states", in_states },
  { NULL, NULL }
};

void register_host_internals (lua_State *L) {
  luaL_setfuncs(L, functions, 0);
}
