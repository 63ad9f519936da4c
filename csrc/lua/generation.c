/*
** The options of a generation. Lists (logit_bias, stop) become blocks of the engine's structs inside a
** userdata on the stack: nothing needs freeing, and strings stay alive with it.
*/
#include "generation.h"

enum {
  MAX_TOKENS, TEMPERATURE, TOP_K, TOP_P, MIN_P, SEED, REPETITION_PENALTY, FREQUENCY_PENALTY, PRESENCE_PENALTY,
  LOGIT_BIAS, STOP, IGNORE_EOS, LOGPROBS, RAW, DEADLINE_MS, PRIORITY, ON_EVENT
};

static const option rows[] = {
  [MAX_TOKENS] = { "max_tokens", OPTION_INTEGER, 0, 0, INTEGER_LIMIT },
  [TEMPERATURE] = { "temperature", OPTION_NUMBER, 0, 0, 0 },
  [TOP_K] = { "top_k", OPTION_INTEGER, 0, 0, INTEGER_LIMIT },
  [TOP_P] = { "top_p", OPTION_NUMBER, 0, 0, 0 },
  [MIN_P] = { "min_p", OPTION_NUMBER, 0, 0, 0 },
  [SEED] = { "seed", OPTION_SEED, 0, 0, 0 },
  [REPETITION_PENALTY] = { "repetition_penalty", OPTION_NUMBER, 0, 0, 0 },
  [FREQUENCY_PENALTY] = { "frequency_penalty", OPTION_NUMBER, 0, 0, 0 },
  [PRESENCE_PENALTY] = { "presence_penalty", OPTION_NUMBER, 0, 0, 0 },
  [LOGIT_BIAS] = { "logit_bias", OPTION_TABLE, 0, 0, 0 },
  [STOP] = { "stop", OPTION_TABLE, 0, 0, 0 },
  [IGNORE_EOS] = { "ignore_eos", OPTION_BOOLEAN, 0, 0, 0 },
  [LOGPROBS] = { "logprobs", OPTION_INTEGER, 0, 0, MS_LOGPROBS_LIMIT },
  [RAW] = { "raw", OPTION_BOOLEAN, 0, 0, 0 },
  [DEADLINE_MS] = { "deadline_ms", OPTION_INTEGER, 0, 0, INTEGER_LIMIT },
  [PRIORITY] = { "priority", OPTION_INTEGER, 0, -INT32_MAX, INT32_MAX },
  [ON_EVENT] = { "on_event", OPTION_FUNCTION, 0, 0, 0 }
};

/* A list as the engine takes it; `items` has room for as many as were counted. */
typedef struct bias_list { size_t count; ms_bias items[]; } bias_list;
typedef struct stop_list { size_t count; ms_stop items[]; } stop_list;

static size_t count_entries (lua_State *L, int table) {
  size_t count = 0;
  lua_pushnil(L);
  while (lua_next(L, table)) {
    lua_pop(L, 1);
    count++;
  }
  return count;
}

/* Replaces the table at `slot`, id -> number, by a bias_list. */
static int read_bias (lua_State *L, int slot, const call *from, ms_error *err) {
  const char *name = rows[LOGIT_BIAS].name;
  size_t room = count_entries(L, slot);
  bias_list *list = lua_newuserdata(L, sizeof *list + room * sizeof *list->items);
  int top = lua_gettop(L);
  list->count = 0;
  lua_pushnil(L);
  while (list->count < room && lua_next(L, slot)) {
    ms_bias *item = &list->items[list->count++];
    lua_Number value = lua_tonumber(L, -1);
    if (!read_id(L, -2, from, name, "token", &item->id, err)) return 0;
    if (lua_type(L, -1) != LUA_TNUMBER)
      raise_from(L, from, "option '%s': token %d: number expected, got %s", name, (int)item->id, luaL_typename(L, -1));
    if (value != value) raise_from(L, from, "option '%s': token %d: number expected, got nan", name, (int)item->id);
    item->value = (float)value;
    lua_pop(L, 1);
  }
  lua_settop(L, top);
  lua_replace(L, slot);
  return 1;
}

/* One element of `stop`, on top of the stack. */
static int read_stop_item (lua_State *L, const call *from, ms_stop *item, ms_error *err) {
  const char *name = rows[STOP].name;
  *item = (ms_stop){ NULL, 0, -1 };
  if (lua_type(L, -1) != LUA_TSTRING) return read_id(L, -1, from, name, "token", &item->id, err);
  item->text = lua_tolstring(L, -1, &item->bytes);
  return item->bytes > 0 || refuse(err, "%s: option '%s': an empty string stops nothing", from->name, name);
}

/* Replaces the list at `slot` by a stop_list, whose companion is a copy of the list: it holds the strings. */
static int read_stop (lua_State *L, int slot, const call *from, ms_error *err) {
  size_t room = lua_rawlen(L, slot);
  if (count_entries(L, slot) != room)
    raise_from(L, from, "option '%s': a list without holes is expected", rows[STOP].name);
  if (room > INT32_MAX / sizeof(ms_stop))
    return refuse(err, "%s: option '%s': %zu entries", from->name, rows[STOP].name, room);
  stop_list *list = lua_newuserdata(L, sizeof *list + room * sizeof *list->items);
  list->count = 0;
  lua_createtable(L, (int)room, 0);
  for (; list->count < room; list->count++) {
    lua_rawgeti(L, slot, (int)list->count + 1);
    if (!read_stop_item(L, from, &list->items[list->count], err)) return 0;
    lua_rawseti(L, -2, (int)list->count + 1);
  }
  set_companion(L, -2);
  lua_replace(L, slot);
  return 1;
}

int generation_read (lua_State *L, int index, const call *from, size_t count, ms_error *err) {
  int first = options_read(L, index, from, rows, count, err);
  if (first == 0) return 0;
  int bias = first + LOGIT_BIAS, stop = first + STOP;
  if (!lua_isnil(L, bias) && !read_bias(L, bias, from, err)) return 0;
  if (!lua_isnil(L, stop) && !read_stop(L, stop, from, err)) return 0;
  return first;
}

static void apply_size (lua_State *L, int index, size_t *field) {
  if (!lua_isnil(L, index)) *field = (size_t)lua_tonumber(L, index);
}

static void apply_number (lua_State *L, int index, double *field) {
  if (!lua_isnil(L, index)) *field = lua_tonumber(L, index);
}

void generation_apply (lua_State *L, int first, ms_generate_options *options) {
  apply_size(L, first + MAX_TOKENS, &options->max_tokens);
  apply_number(L, first + TEMPERATURE, &options->temperature);
  apply_size(L, first + TOP_K, &options->top_k);
  apply_number(L, first + TOP_P, &options->top_p);
  apply_number(L, first + MIN_P, &options->min_p);
  apply_number(L, first + REPETITION_PENALTY, &options->repetition_penalty);
  apply_number(L, first + FREQUENCY_PENALTY, &options->frequency_penalty);
  apply_number(L, first + PRESENCE_PENALTY, &options->presence_penalty);
  apply_size(L, first + LOGPROBS, &options->logprobs);
  if (!lua_isnil(L, first + SEED)) options->has_seed = seed_at(L, first + SEED, &options->seed);
  if (!lua_isnil(L, first + IGNORE_EOS)) options->ignore_eos = lua_toboolean(L, first + IGNORE_EOS);
  if (!lua_isnil(L, first + RAW)) options->raw = lua_toboolean(L, first + RAW);
  if (!lua_isnil(L, first + DEADLINE_MS)) options->deadline_ms = (int64_t)lua_tonumber(L, first + DEADLINE_MS);
  if (!lua_isnil(L, first + PRIORITY)) options->priority = (int)lua_tonumber(L, first + PRIORITY);
  if (!lua_isnil(L, first + LOGIT_BIAS)) {
    const bias_list *list = lua_touserdata(L, first + LOGIT_BIAS);
    options->bias = list->items;
    options->bias_count = list->count;
  }
  if (!lua_isnil(L, first + STOP)) {
    const stop_list *list = lua_touserdata(L, first + STOP);
    options->stop = list->items;
    options->stop_count = list->count;
  }
}
