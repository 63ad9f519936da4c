/* The module table of moonseek.core, put together from its objects. */
#include "binding.h"
#include "host.h"
#include "options.h"
#include "host.h"

static int module_memory_live (lua_State *L) {
  push_count(L, ms_memory_live());
  return 1;
}

/* version() -> { module =, abi =, backends = {...}, cpu = "scalar avx2" } */
static int module_version (lua_State *L) {
  char levels[MS_CPU_FEATURES_BYTES];
  lua_newtable(L);
  lua_pushstring(L, ms_version());
  lua_setfield(L, -2, "module");
  lua_pushfstring(L, "%d.%d", LUA_VERSION_NUM / 100, LUA_VERSION_NUM % 100);
  lua_setfield(L, -2, "abi");
  lua_newtable(L);
  for (int i = 0; ms_backends()[i] != NULL; i++) {
    lua_pushstring(L, ms_backends()[i]);
    lua_rawseti(L, -2, i + 1);
  }
  lua_setfield(L, -2, "backends");
  lua_pushstring(L, ms_cpu_features(levels));
  lua_setfield(L, -2, "cpu");
  return 1;
}

/* replace_file(path, bytes) -> true | nil, message, code */
static int module_replace_file (lua_State *L) {
  size_t count;
  ms_error err;
  const char *bytes = luaL_checklstring(L, 2, &count), *path = check_path(L, 1, "replace_file", &err);
  if (path == NULL || ms_file_replace(path, bytes, count, &err) != MS_OK) return push_failure(L, &err);
  lua_pushboolean(L, 1);
  return 1;
}

static const luaL_Reg functions[] = {
  { "memory_live", module_memory_live },
  { "replace_file", module_replace_file },
  { "version", module_version },
  { NULL, NULL }
};

__attribute__((visibility("default")))
int luaopen_moonseek_core (lua_State *L);

/*
** Another copy of this library in the same state, from another path, shares the names of types with this one and
** nothing else: each would take the other's objects for its own.
*/
static void refuse_second_copy (lua_State *L) {
  static const char self;
  static const char key[] = "moonseek.copy";
  lua_getfield(L, LUA_REGISTRYINDEX, key);
  if (!lua_isnil(L, -1) && lua_touserdata(L, -1) != &self)
    luaL_error(L, "another copy of moonseek.core is loaded already, from another file: package.cpath finds two");
  lua_pop(L, 1);
  lua_pushlightuserdata(L, (void *)(uintptr_t)&self);
  lua_setfield(L, LUA_REGISTRYINDEX, key);
}

int luaopen_moonseek_core (lua_State *L) {
  refuse_second_copy(L);
  luaL_newlib(L, functions);
  register_tokens(L);
  register_tokenizer(L);
  register_cache(L);
  register_engine(L);
  register_session(L);
  register_logits(L);
  register_job(L);
  register_convert(L);
  register_host(L);
  return 1;
}
