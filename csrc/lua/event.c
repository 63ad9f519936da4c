/* What a job tells: events and results as Lua tables. */
#include "event.h"

#include <stdio.h>

/* {== Holder ===================================================================================== */

#define HOLDER "moonseek.holder"

holder *push_holder (lua_State *L) {
  holder *held = lua_newuserdata(L, sizeof *held);
  *held = (holder){ 0 };
  luaL_getmetatable(L, HOLDER);
  lua_setmetatable(L, -2);
  return held;
}

void holder_release (holder *held) {
  ms_event_clear(&held->event);
  ms_result_clear(&held->result);
}

static int holder_gc (lua_State *L) {
  holder_release(luaL_checkudata(L, 1, HOLDER));
  return 0;
}

/* {== Results ==================================================================================== */

static void set_number (lua_State *L, const char *field, double value) {
  lua_pushnumber(L, value);
  lua_setfield(L, -2, field);
}

static void set_bytes (lua_State *L, const char *field, const char *value, size_t bytes) {
  lua_pushlstring(L, value == NULL ? "" : value, bytes);
  lua_setfield(L, -2, field);
}

/* Every number of Lua holds a seed below 2^53; from there on it is a string of digits, which `seed` takes too. */
static void set_seed (lua_State *L, uint64_t seed) {
  char digits[24];
  snprintf(digits, sizeof digits, "%llu", (unsigned long long)seed);
  if (seed <= (uint64_t)INTEGER_LIMIT) push_count(L, seed);
  else lua_pushstring(L, digits);
  lua_setfield(L, -2, "seed");
}

static const char *const finish_reasons[] = {
  [MS_FINISH_STOP] = "stop", [MS_FINISH_LENGTH] = "length", [MS_FINISH_CANCEL] = "cancel",
  [MS_FINISH_DEADLINE] = "deadline"
};

static int result_tostring (lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_pushliteral(L, "text");
  lua_rawget(L, 1);
  if (lua_type(L, -1) != LUA_TSTRING) lua_pushliteral(L, RESULT);
  return 1;
}

void push_result (lua_State *L, holder *held) {
  ms_result *result = &held->result;
  lua_createtable(L, 0, 7);
  set_bytes(L, "text", result->text, result->bytes);
  ms_tokens *tokens = push_tokens(L);
  *tokens = result->tokens;
  result->tokens = (ms_tokens){ 0 };
  lua_setfield(L, -2, "tokens");
  set_string(L, "finish_reason", finish_reasons[result->finish]);
  set_seed(L, result->seed);
  lua_createtable(L, 0, 5);
  set_count(L, "prompt", result->cached + result->read);
  set_count(L, "cached", result->cached);
  set_count(L, "read", result->read);
  set_count(L, "reread", result->reread);
  set_count(L, "completion", result->generated);
  lua_setfield(L, -2, "usage");
  lua_createtable(L, 0, 2);
  set_number(L, "prefill_ms", result->prefill_seconds * 1e3);
  set_number(L, "decode_ms", result->decode_seconds * 1e3);
  lua_setfield(L, -2, "timing");
  luaL_getmetatable(L, RESULT);
  lua_setmetatable(L, -2);
}

/* {== Events ===================================================================================== */

static void push_prefill (lua_State *L, holder *held) {
  lua_createtable(L, 0, 3);
  set_count(L, "done", held->event.done);
  set_count(L, "total", held->event.total);
}

static void push_token (lua_State *L, holder *held) {
  const ms_event *event = &held->event;
  lua_createtable(L, 0, 6);
  lua_pushinteger(L, event->token);
  lua_setfield(L, -2, "token");
  set_count(L, "position", event->position);
  set_bytes(L, "text", event->text, event->bytes);
  set_number(L, "logprob", (double)event->logprob);
  if (event->logprob_count == 0) return;
  lua_createtable(L, (int)event->logprob_count, 0);
  for (size_t i = 0; i < event->logprob_count; i++) {
    lua_createtable(L, 0, 2);
    lua_pushinteger(L, event->logprobs[i].id);
    lua_setfield(L, -2, "id");
    set_number(L, "logprob", (double)event->logprobs[i].logprob);
    lua_rawseti(L, -2, (int)i + 1);
  }
  lua_setfield(L, -2, "logprobs");
}

/* The result, and the text that the end set free: no token event has shown it. */
static void push_done (lua_State *L, holder *held) {
  push_result(L, held);
  set_bytes(L, "tail", held->event.text, held->event.bytes);
}

static void push_error (lua_State *L, holder *held) {
  lua_createtable(L, 0, 3);
  set_string(L, "message", held->event.error.message);
  set_string(L, "code", ms_status_name(held->event.error.status));
}

static const struct { const char *name; void (*push) (lua_State *L, holder *held); } events[] = {
  [MS_EVENT_PREFILL] = { "prefill", push_prefill },
  [MS_EVENT_TOKEN] = { "token", push_token },
  [MS_EVENT_DONE] = { "done", push_done },
  [MS_EVENT_ERROR] = { "error", push_error }
};

int take_event (ms_job *job, holder *held) {
  ms_event *event = &held->event;
  if (!ms_job_poll(job, event)) return 0;
  if (event->kind == MS_EVENT_DONE && ms_job_result(job, &held->result, &event->error) != MS_OK)
    event->kind = MS_EVENT_ERROR;
  return 1;
}

void push_event (lua_State *L, holder *held) {
  events[held->event.kind].push(L, held);
  set_string(L, "type", events[held->event.kind].name);
}

void register_event (lua_State *L) {
  luaL_newmetatable(L, HOLDER);
  lua_pushcfunction(L, holder_gc);
  lua_setfield(L, -2, "__gc");
  luaL_newmetatable(L, RESULT);
  lua_pushcfunction(L, result_tostring);
  lua_setfield(L, -2, "__tostring");
  lua_pushliteral(L, RESULT);
  lua_setfield(L, -2, "__name");
  lua_pop(L, 2);
}
