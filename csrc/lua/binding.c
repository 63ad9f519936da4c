/* Handles, failures and arguments: what every object of the binding does alike. */
#include "binding.h"

#include <math.h>
#include <stdio.h>

#if LUA_VERSION_NUM < 502
int lua_absindex (lua_State *L, int index) {
  return index > 0 || index <= LUA_REGISTRYINDEX ? index : lua_gettop(L) + index + 1;
}
#endif

void push_count (lua_State *L, uint64_t count) {
#if LUA_VERSION_NUM >= 503
  lua_pushinteger(L, (lua_Integer)count);
#else
  lua_pushnumber(L, (lua_Number)count);
#endif
}

/* Place 0 says whose it is: the debug library may have put another table there. */
void set_companion (lua_State *L, int userdata) {
  void *owner = lua_touserdata(L, userdata);
  userdata = lua_absindex(L, userdata);
  lua_pushlightuserdata(L, owner);
  lua_rawseti(L, -2, 0);
#if LUA_VERSION_NUM >= 504
  lua_setiuservalue(L, userdata, 1);
#elif LUA_VERSION_NUM >= 502
  lua_setuservalue(L, userdata);
#else
  lua_setfenv(L, userdata);
#endif
}

int find_companion (lua_State *L, int userdata) {
  const void *owner = lua_touserdata(L, userdata);
#if LUA_VERSION_NUM >= 504
  lua_getiuservalue(L, userdata, 1);
#elif LUA_VERSION_NUM >= 502
  lua_getuservalue(L, userdata);
#else
  lua_getfenv(L, userdata);
#endif
  if (lua_istable(L, -1)) {
    lua_rawgeti(L, -1, 0);
    int own = lua_touserdata(L, -1) == owner;
    lua_pop(L, 1);
    if (own) return 1;
  }
  lua_pop(L, 1);
  return 0;
}

void push_companion (lua_State *L, int userdata) {
  if (!find_companion(L, userdata)) luaL_error(L, "an object's user value was changed: it cannot be used");
}

int push_failure (lua_State *L, const ms_error *err) {
  lua_pushnil(L);
  lua_pushstring(L, err->message);
  lua_pushstring(L, ms_status_name(err->status));
  return 3;
}

handle *push_closed (lua_State *L, const char *type) {
  handle *box = lua_newuserdata(L, sizeof *box);
  box->object = NULL;
  luaL_getmetatable(L, type);
  lua_setmetatable(L, -2);
  return box;
}

handle *check_handle (lua_State *L, int index, const char *type) {
  return luaL_checkudata(L, index, type);
}

void *check_open (lua_State *L, int index, const char *type) {
  handle *box = check_handle(L, index, type);
  if (box->object == NULL) luaL_argerror(L, index, lua_pushfstring(L, "%s is closed", type + sizeof "moonseek." - 1));
  return box->object;
}

static int handle_tostring (lua_State *L) {
  const char *type = lua_tostring(L, lua_upvalueindex(1));
  const handle *box = check_handle(L, 1, type);
  if (box->object == NULL) lua_pushfstring(L, "%s (closed)", type);
  else lua_pushfstring(L, "%s (%p)", type, box->object);
  return 1;
}

void new_handle_type (lua_State *L, const char *type, const luaL_Reg *methods, const luaL_Reg *meta,
                      lua_CFunction close) {
  luaL_newmetatable(L, type);
  lua_getfield(L, -1, "methods");
  if (!lua_isnil(L, -1)) {                     /* loaded before in this state: one type has one set of methods */
    lua_remove(L, -2);
    return;
  }
  lua_pop(L, 1);
  lua_pushstring(L, type);
  lua_setfield(L, -2, "__name");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_pushcfunction(L, close);
  lua_pushvalue(L, -1);
  lua_setfield(L, -3, "__gc");
  lua_setfield(L, -2, "__close");
  lua_pushstring(L, type);
  lua_pushcclosure(L, handle_tostring, 1);
  lua_setfield(L, -2, "__tostring");
  if (meta != NULL) luaL_setfuncs(L, meta, 0);
  lua_newtable(L);
  luaL_setfuncs(L, methods, 0);
  lua_pushcfunction(L, close);
  lua_setfield(L, -2, "close");
  lua_pushvalue(L, -1);
  lua_setfield(L, -3, "methods");
  lua_getfield(L, -2, "__index");              /* a type with its own __index finds its methods itself */
  if (lua_isnil(L, -1)) {
    lua_pushvalue(L, -2);
    lua_setfield(L, -4, "__index");
  }
  lua_pop(L, 1);
  lua_remove(L, -2);
}

int64_t check_integer (lua_State *L, int index, int64_t low, int64_t high, const char *what) {
  lua_Number number = luaL_checknumber(L, index);
  if (lua_type(L, index) != LUA_TNUMBER || !(floor(number) == number))
    luaL_argerror(L, index, lua_pushfstring(L, "%s: an integer is needed", what));
  if (number < (lua_Number)low || number > (lua_Number)high) {
    char text[160];                            /* lua_pushfstring of 5.1 shows no large integer whole */
    snprintf(text, sizeof text, "%s: %.0f is not within %lld to %lld", what, (double)number, (long long)low,
             (long long)high);
    luaL_argerror(L, index, text);
  }
  return (int64_t)number;
}

void set_string (lua_State *L, const char *field, const char *value) {
  lua_pushstring(L, value);
  lua_setfield(L, -2, field);
}

void set_count (lua_State *L, const char *field, uint64_t value) {
  push_count(L, value);
  lua_setfield(L, -2, field);
}
