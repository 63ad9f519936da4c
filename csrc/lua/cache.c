/* moonseek.cache: a folder of prefixes that engines opened with it share. */
#include "options.h"

enum { DIR, BUDGET, MINIMUM, CACHE_OPTIONS };

static const option rows[] = {
  [DIR] = { "dir", OPTION_STRING, 1, 0, 0 },
  [BUDGET] = { "budget", OPTION_INTEGER, 1, 1, INTEGER_LIMIT },
  [MINIMUM] = { "minimum", OPTION_INTEGER, 0, 1, INTEGER_LIMIT }
};

enum { DEFAULT_MINIMUM = 512 };              /* tokens: fewer are read as fast as most disks answer */

/* moonseek.cache{ dir =, budget =, minimum = } -> cache */
static int module_cache (lua_State *L) {
  static const call from = { "moonseek.cache", 1 };
  ms_cache *cache = NULL;
  ms_error err;
  lua_settop(L, 1);
  int first = options_read(L, 1, &from, rows, CACHE_OPTIONS, &err);
  if (first == 0) return push_failure(L, &err);
  size_t minimum = lua_isnil(L, first + MINIMUM) ? DEFAULT_MINIMUM : (size_t)lua_tonumber(L, first + MINIMUM);
  handle *box = push_closed(L, CACHE);
  if (ms_cache_open(lua_tostring(L, first + DIR), (uint64_t)lua_tonumber(L, first + BUDGET), minimum, &cache, &err)
      != MS_OK) return push_failure(L, &err);
  box->object = cache;
  return 1;
}

static int cache_stats (lua_State *L) {
  ms_cache_stats stats;
  ms_cache_get_stats(check_open(L, 1, CACHE), &stats);
  lua_createtable(L, 0, 4);
  set_count(L, "found", stats.found);
  set_count(L, "stored", stats.stored);
  set_count(L, "removed", stats.removed);
  set_count(L, "failed", stats.failed);
  return 1;
}

static int cache_close (lua_State *L) {
  handle *box = check_handle(L, 1, CACHE);
  ms_cache *cache = box->object;
  box->object = NULL;
  ms_cache_release(cache);
  return 0;
}

static const luaL_Reg methods[] = {
  { "stats", cache_stats },
  { NULL, NULL }
};

void register_cache (lua_State *L) {
  new_handle_type(L, CACHE, methods, NULL, cache_close);
  lua_pop(L, 1);
  lua_pushcfunction(L, module_cache);
  lua_setfield(L, -2, "cache");
}
