/*
** A session's expert policy as a table, and the counts of the experts it chose. Experts and layers are named by
** their numbers in the checkpoint, from 0. Entries lie in a userdata on the stack: nothing needs freeing.
*/
#include "session.h"

#include <math.h>

enum { TOP_K, BIAS, DISABLE, LAYERS, OPTIONS };

static const option rows[] = {
  [TOP_K] = { "top_k", OPTION_INTEGER, 0, 1, INTEGER_LIMIT },
  [BIAS] = { "bias", OPTION_TABLE, 0, 0, 0 },
  [DISABLE] = { "disable", OPTION_TABLE, 0, 0, 0 },
  [LAYERS] = { "layers", OPTION_TABLE, 0, 0, 0 }
};

/* Entries of a policy: counted while `items` is NULL, and kept as far as there is `room`. */
typedef struct entry_list { ms_expert_bias *items; size_t count, room; } entry_list;

static void add_entry (entry_list *list, ms_expert_bias entry) {
  if (list->count < list->room) list->items[list->count] = entry;
  list->count++;
}

/* {== Reading ==================================================================================== */

/* bias = { [expert] = number } at `table` */
static int read_bias (lua_State *L, int table, const call *from, int32_t layer, entry_list *list, ms_error *err) {
  ms_expert_bias entry = { .layer = layer };
  lua_pushnil(L);
  while (lua_next(L, table)) {
    lua_Number value = lua_tonumber(L, -1);
    if (!read_id(L, -2, from, rows[BIAS].name, "expert", &entry.expert, err)) return 0;
    if (lua_type(L, -1) != LUA_TNUMBER || value != value)
      raise_from(L, from, "option '%s': expert %d: number expected, got %s", rows[BIAS].name, (int)entry.expert,
                 value != value ? "nan" : luaL_typename(L, -1));
    entry.value = (float)value;
    if (isinf(entry.value))
      return refuse(err, "%s: option '%s': expert %d: %g (name it in '%s' to have it never chosen)", from->name,
                    rows[BIAS].name, (int)entry.expert, value, rows[DISABLE].name);
    add_entry(list, entry);
    lua_pop(L, 1);
  }
  return 1;
}

/* disable = { expert, ... } at `table` */
static int read_disable (lua_State *L, int table, const call *from, int32_t layer, entry_list *list, ms_error *err) {
  ms_expert_bias entry = { .layer = layer, .value = -INFINITY };
  size_t count = lua_rawlen(L, table), seen = 0;
  for (size_t i = 1; i <= count; i++) {
    lua_rawgeti(L, table, (int)i);
    if (!read_id(L, -1, from, rows[DISABLE].name, "expert", &entry.expert, err)) return 0;
    add_entry(list, entry);
    lua_pop(L, 1);
  }
  lua_pushnil(L);
  for (; lua_next(L, table); seen++) lua_pop(L, 1);
  if (seen != count) raise_from(L, from, "option '%s': a list without holes is expected", rows[DISABLE].name);
  return 1;
}

/* The options from stack index `first` on. */
static int read_parts (lua_State *L, int first, const call *from, int32_t layer, entry_list *list, ms_error *err) {
  int bias = first + BIAS, disable = first + DISABLE;
  if (!lua_isnil(L, bias) && !read_bias(L, bias, from, layer, list, err)) return 0;
  return lua_isnil(L, disable) || read_disable(L, disable, from, layer, list, err);
}

/* layers = { [layer] = { bias =, disable = } } at `table` */
static int read_layers (lua_State *L, int table, const call *from, entry_list *list, ms_error *err) {
  int32_t layer;
  lua_pushnil(L);
  while (lua_next(L, table)) {
    int options = lua_gettop(L), right;
    if (!read_id(L, -2, from, rows[LAYERS].name, "layer", &layer, err)) return 0;
    const call inner = { lua_pushfstring(L, "%s: layer %d", from->name, (int)layer), from->level };
    if (lua_type(L, options) != LUA_TTABLE)
      raise_from(L, &inner, "options table expected, got %s", luaL_typename(L, options));
    int first = options_read(L, options, &inner, rows + BIAS, LAYERS - BIAS, err);
    right = first != 0 && read_parts(L, first - BIAS, &inner, layer, list, err);
    lua_settop(L, options - 1);
    if (!right) return 0;
  }
  return 1;
}

static int read_entries (lua_State *L, int first, const call *from, entry_list *list, ms_error *err) {
  int top = lua_gettop(L), layers = first + LAYERS;
  list->count = 0;
  int right = read_parts(L, first, from, MS_EVERY_LAYER, list, err)
           && (lua_isnil(L, layers) || read_layers(L, layers, from, list, err));
  lua_settop(L, top);
  return right;
}

/* session:routing(policy) -> true | nil, message, code */
static int set_routing (lua_State *L) {
  static const call from = { "session:routing", 1 };
  entry_list list = { NULL, 0, 0 };
  ms_error err;
  lua_settop(L, 2);
  int first = options_read(L, 2, &from, rows, OPTIONS, &err);
  if (first == 0 || !read_entries(L, first, &from, &list, &err)) return push_failure(L, &err);
  list.room = list.count;
  list.items = lua_newuserdata(L, (list.room + 1) * sizeof *list.items);
  if (!read_entries(L, first, &from, &list, &err)) return push_failure(L, &err);
  if (list.count > list.room) list.count = list.room;  /* a finaliser has changed the tables meanwhile */
  const ms_routing wanted = { (size_t)lua_tonumber(L, first + TOP_K), list.items, list.count };
  if (ms_session_set_routing(free_session(L, 1, &from), &wanted, &err) != MS_OK) return push_failure(L, &err);
  lua_pushboolean(L, 1);
  return 1;
}

/* {== Giving ===================================================================================== */

/* Pushes field `key` of the table at `table`, an empty one if there was none. */
static void push_list (lua_State *L, int table, const char *key) {
  lua_getfield(L, table, key);
  if (!lua_isnil(L, -1)) return;
  lua_pop(L, 1);
  lua_newtable(L);
  lua_pushvalue(L, -1);
  lua_setfield(L, table, key);
}

/* The table for `layer` within the policy on top of the stack: itself, or its layers[layer]; pushed. */
static void push_part (lua_State *L, int32_t layer) {
  if (layer == MS_EVERY_LAYER) {
    lua_pushvalue(L, -1);
    return;
  }
  push_list(L, lua_gettop(L), rows[LAYERS].name);
  lua_rawgeti(L, -1, layer);
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_rawseti(L, -3, layer);
  }
  lua_remove(L, -2);
}

/* Adds an entry to the policy on top of the stack. */
static void give_entry (lua_State *L, const ms_expert_bias *entry) {
  int policy = lua_gettop(L);
  push_part(L, entry->layer);
  if (isinf(entry->value)) {
    push_list(L, policy + 1, rows[DISABLE].name);
    lua_pushinteger(L, entry->expert);
    lua_rawseti(L, -2, (int)lua_rawlen(L, -2) + 1);
  } else {
    push_list(L, policy + 1, rows[BIAS].name);
    lua_pushnumber(L, (lua_Number)entry->value);
    lua_rawseti(L, -2, entry->expert);
  }
  lua_settop(L, policy);
}

/* session:routing() -> policy, as it is given; nil when there is none */
static int get_routing (lua_State *L) {
  size_t top_k, count, room;
  ms_expert_bias *entries;
  do {                                                  /* another thread may set it between the two looks */
    room = ms_session_routing(check_open(L, 1, SESSION), &top_k, NULL, 0);
    lua_settop(L, 1);
    entries = lua_newuserdata(L, (room + 1) * sizeof *entries);
    count = ms_session_routing(check_open(L, 1, SESSION), &top_k, entries, room);
  } while (count > room);
  if (top_k == 0) {
    lua_pushnil(L);
    return 1;
  }
  lua_newtable(L);
  set_count(L, rows[TOP_K].name, top_k);
  for (size_t i = 0; i < count; i++) give_entry(L, &entries[i]);
  return 1;
}

int session_routing (lua_State *L) {
  check_open(L, 1, SESSION);
  return lua_gettop(L) == 1 ? get_routing(L) : set_routing(L);
}

/* session:routing_stats{ reset = } -> { tokens =, layers = { [layer] = { [expert] = times } } } */
int session_routing_stats (lua_State *L) {
  static const call from = { "session:routing_stats", 1 };
  static const option stats_rows[] = { { "reset", OPTION_BOOLEAN, 0, 0, 0 } };
  ms_routing_stats stats;
  ms_error err;
  ms_session_routing_stats(check_open(L, 1, SESSION), &stats, NULL, 0);
  lua_settop(L, 2);
  int reset = lua_toboolean(L, options_read(L, 2, &from, stats_rows, 1, &err));
  uint64_t *counts = lua_newuserdata(L, stats.layers * stats.experts * sizeof *counts);
  lua_createtable(L, 0, 2);
  lua_createtable(L, (int)stats.layers, 1);
  for (size_t l = 0; l < stats.layers; l++) {           /* every table is there before anything is reset */
    lua_createtable(L, (int)stats.experts, 1);
    lua_rawseti(L, -2, (int)l);
  }
  ms_session_routing_stats(check_open(L, 1, SESSION), &stats, counts, reset);
  for (size_t l = 0; l < stats.layers; l++) {
    lua_rawgeti(L, -1, (int)l);
    for (size_t e = 0; e < stats.experts; e++) {
      push_count(L, *counts++);
      lua_rawseti(L, -2, (int)e);
    }
    lua_pop(L, 1);
  }
  lua_setfield(L, -2, "layers");
  set_count(L, "tokens", stats.tokens);
  return 1;
}
