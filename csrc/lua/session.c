/* The session: which tokens it holds. Reading them is a job's work (job.c). */
#include "session.h"

/*
** The companion of a session: a list with these places. The tokenizer is taken when the session is made,
** because the session may outlive the engine's handle; if there is none, why is kept for the first text.
*/
enum { HELD_TOKENIZER = 1, HELD_MESSAGE, HELD_CODE, HELD_VOCABULARY, HELD_STREAM, HELD_STEPPING };

/* {== The stream that may be left open =========================================================== */

/*
** A set of one job, in the companion on top of the stack. A key, not a value: the collector takes a weak value away
** before it runs the finaliser, a key after it, and in between the job still keeps its session busy.
*/
static void new_stream_set (lua_State *L) {
  lua_newtable(L);
  luaL_getmetatable(L, "moonseek.weak");
  lua_setmetatable(L, -2);
  lua_rawseti(L, -2, HELD_STREAM);
}

void set_stream (lua_State *L, int session, int job) {
  job = lua_absindex(L, job);
  push_companion(L, session);
  new_stream_set(L);
  lua_rawgeti(L, -1, HELD_STREAM);
  lua_pushvalue(L, job);
  lua_pushboolean(L, 1);
  lua_rawset(L, -3);
  lua_pop(L, 2);
}

void set_stepping (lua_State *L, int session, int job) {
  job = lua_absindex(L, job);
  set_stream(L, session, job);
  push_companion(L, session);
  lua_pushvalue(L, job);
  lua_rawseti(L, -2, HELD_STEPPING);
  lua_pop(L, 1);
}

int push_stepping (lua_State *L, int session) {
  push_companion(L, session);
  lua_rawgeti(L, -1, HELD_STEPPING);
  lua_remove(L, -2);
  const handle *job = lua_touserdata(L, -1);
  if (job != NULL && job->object != NULL) return 1;
  lua_pop(L, 1);
  lua_pushnil(L);
  return 1;
}

static void end_stream (lua_State *L, int session) {
  handle *job = NULL;
  if (!find_companion(L, session)) return;
  lua_rawgeti(L, -1, HELD_STREAM);
  lua_pushnil(L);
  if (lua_next(L, -2)) {
    job = lua_touserdata(L, -2);
    lua_pop(L, 2);
  }
  lua_pop(L, 2);
  if (job == NULL || job->object == NULL) return;
  ms_job_release(job->object);
  job->object = NULL;
}

ms_session *free_session (lua_State *L, int index, const call *from) {
  ms_session *session = check_open_from(L, index, SESSION, from);
  end_stream(L, index);
  return session;
}

size_t session_vocabulary (lua_State *L, int index) {
  push_companion(L, index);
  lua_rawgeti(L, -1, HELD_VOCABULARY);
  size_t count = (size_t)lua_tonumber(L, -1);
  lua_pop(L, 2);
  return count;
}

/* {== Opening and closing ======================================================================== */

static const call open_call = { "engine:session", 1 };
static const option open_rows[] = { { "context", OPTION_INTEGER, 0, 1, INTEGER_LIMIT } };

/* Pushes a companion for a session of the engine that is argument 1. */
static void new_companion (lua_State *L) {
  ms_engine_info info;
  ms_tokenizer *tokenizer = NULL;
  ms_error err;
  lua_createtable(L, HELD_STREAM, 0);
  handle *box = push_closed(L, TOKENIZER);
  if (ms_engine_tokenizer(check_open(L, 1, ENGINE), &tokenizer, &err) == MS_OK) box->object = tokenizer;
  lua_rawseti(L, -2, HELD_TOKENIZER);
  lua_pushstring(L, box->object == NULL ? err.message : "");
  lua_rawseti(L, -2, HELD_MESSAGE);
  lua_pushstring(L, box->object == NULL ? ms_status_name(err.status) : "");
  lua_rawseti(L, -2, HELD_CODE);
  new_stream_set(L);
  ms_engine_get_info(check_open(L, 1, ENGINE), &info);
  push_count(L, info.model.vocabulary);
  lua_rawseti(L, -2, HELD_VOCABULARY);
}

int open_session (lua_State *L) {
  ms_session *session = NULL;
  ms_error err;
  check_open(L, 1, ENGINE);
  int first = options_read(L, 2, &open_call, open_rows, 1, &err);
  if (first == 0) return push_failure(L, &err);
  size_t context = (size_t)lua_tonumber(L, first);     /* 0, from nil: the model's own */
  handle *box = push_closed(L, SESSION);
  new_companion(L);
  set_companion(L, -2);
  if (ms_session_open(check_open(L, 1, ENGINE), context, &session, &err) != MS_OK) return push_failure(L, &err);
  box->object = session;
  return 1;
}

int load_session (lua_State *L) {
  static const call from = { "engine:load_session", 1 };
  ms_session *session = NULL;
  ms_error err;
  check_open(L, 1, ENGINE);
  const char *path = check_path(L, 2, from.name, &err);
  int first = path == NULL ? 0 : options_read(L, 3, &from, open_rows, 1, &err);
  if (first == 0) return push_failure(L, &err);
  size_t context = (size_t)lua_tonumber(L, first);     /* 0, from nil: the saved one */
  handle *box = push_closed(L, SESSION);
  new_companion(L);
  set_companion(L, -2);
  if (ms_session_load(check_open(L, 1, ENGINE), path, context, &session, &err) != MS_OK) return push_failure(L, &err);
  box->object = session;
  return 1;
}

/* core.check_save(session, path) -> true | nil, message, code: whether both are what they should be */
static int check_save (lua_State *L) {
  static const call from = { "session:save", 2 };
  ms_error err;
  check_open_from(L, 1, SESSION, &from);
  if (lua_type(L, 2) != LUA_TSTRING) raise_from(L, &from, "path: string expected, got %s", luaL_typename(L, 2));
  if (check_path(L, 2, from.name, &err) == NULL) return push_failure(L, &err);
  lua_pushboolean(L, 1);
  return 1;
}

/* core.save(session, path) -> true | nil, message, code */
static int save_session (lua_State *L) {
  static const call from = { "session:save", 2 };
  ms_error err;
  const char *path = check_path(L, 2, from.name, &err);
  if (path == NULL || ms_session_save(free_session(L, 1, &from), path, &err) != MS_OK) return push_failure(L, &err);
  lua_pushboolean(L, 1);
  return 1;
}

/* session:fork() -> session | nil, message, code. It shares the tokenizer's handle, but no stream. */
static int session_fork (lua_State *L) {
  static const call from = { "session:fork", 1 };
  ms_session *fork = NULL;
  ms_error err;
  check_open(L, 1, SESSION);
  handle *box = push_closed(L, SESSION);
  lua_createtable(L, HELD_STREAM, 0);
  push_companion(L, 1);
  for (int i = HELD_TOKENIZER; i <= HELD_VOCABULARY; i++) {
    lua_rawgeti(L, -1, i);
    lua_rawseti(L, -3, i);
  }
  lua_pop(L, 1);
  new_stream_set(L);
  set_companion(L, -2);
  if (ms_session_fork(free_session(L, 1, &from), &fork, &err) != MS_OK) return push_failure(L, &err);
  box->object = fork;
  return 1;
}

static int session_close (lua_State *L) {
  handle *box = check_handle(L, 1, SESSION);
  ms_session *session = box->object;
  if (session == NULL) return 0;                        /* also without a companion yet */
  box->object = NULL;
  end_stream(L, 1);
  ms_session_release(session);
  return 0;
}

/* {== Tokens ===================================================================================== */

/* Text needs a tokenizer, and so does a list of pieces; ids do not. */
static int holds_text (lua_State *L, int index) {
  int type = lua_type(L, index);
  if (type != LUA_TTABLE) return type == LUA_TSTRING;
  lua_rawgeti(L, index, 1);
  type = lua_type(L, -1);
  lua_pop(L, 1);
  return type == LUA_TSTRING || type == LUA_TTABLE;
}

typedef ms_status change_function (ms_session *session, const int32_t *tokens, size_t count, ms_error *err);

/* session:sync(tokens), session:append(tokens) -> tokens that the session now holds | nil, message, code */
static int change_tokens (lua_State *L, change_function *change, const call *from) {
  ms_tokens *tokens;
  ms_error err;
  check_open(L, 1, SESSION);
  luaL_checkany(L, 2);
  lua_settop(L, 2);
  push_companion(L, 1);
  lua_rawgeti(L, -1, HELD_TOKENIZER);
  const handle *tokenizer = lua_touserdata(L, -1);
  if (tokenizer->object == NULL && holds_text(L, 2)) {
    lua_pushnil(L);
    lua_rawgeti(L, 3, HELD_MESSAGE);
    lua_rawgeti(L, 3, HELD_CODE);
    return 3;
  }
  if (!take_tokens(L, 2, tokenizer->object, &tokens, &err)) return push_failure(L, &err);
  ms_session *session = free_session(L, 1, from);
  if (change(session, tokens->ids, tokens->count, &err) != MS_OK) return push_failure(L, &err);
  push_count(L, ms_session_position(session));
  return 1;
}

static int session_sync (lua_State *L) {
  static const call from = { "session:sync", 1 };
  return change_tokens(L, ms_session_sync, &from);
}

static int session_append (lua_State *L) {
  static const call from = { "session:append", 1 };
  return change_tokens(L, ms_session_append, &from);
}

/* session:rewind(position) -> tokens that the session now holds | nil, message, code */
static int session_rewind (lua_State *L) {
  static const call from = { "session:rewind", 1 };
  ms_error err;
  check_open(L, 1, SESSION);
  int64_t position = check_integer(L, 2, -(int64_t)INTEGER_LIMIT, (int64_t)INTEGER_LIMIT, "position");
  ms_session *session = free_session(L, 1, &from);
  if (position < 0) refuse(&err, "position is %lld: it must be from 0 on", (long long)position);
  if (position < 0 || ms_session_rewind(session, (size_t)position, &err) != MS_OK) return push_failure(L, &err);
  push_count(L, (uint64_t)position);
  return 1;
}

static int session_position (lua_State *L) {
  push_count(L, ms_session_position(check_open(L, 1, SESSION)));
  return 1;
}

/* How many more tokens fit. */
static int session_room (lua_State *L) {
  ms_session *session = check_open(L, 1, SESSION);
  size_t context = ms_session_context(session), position = ms_session_position(session);
  push_count(L, position < context ? context - position : 0);
  return 1;
}

static int session_tokens (lua_State *L) {
  ms_error err;
  check_open(L, 1, SESSION);
  ms_tokens *tokens = push_tokens(L);
  if (ms_session_tokens(check_open(L, 1, SESSION), tokens, &err) != MS_OK) return push_failure(L, &err);
  return 1;
}

/* session:tokenizer() -> the engine's tokenizer | nil, message, code */
static int session_tokenizer (lua_State *L) {
  check_open(L, 1, SESSION);
  push_companion(L, 1);
  lua_rawgeti(L, -1, HELD_TOKENIZER);
  const handle *tokenizer = lua_touserdata(L, -1);
  if (tokenizer->object != NULL) return 1;
  lua_pushnil(L);
  lua_rawgeti(L, -3, HELD_MESSAGE);
  lua_rawgeti(L, -4, HELD_CODE);
  return 3;
}

static const luaL_Reg methods[] = {
  { "append", session_append },
  { "fork", session_fork },
  { "position", session_position },
  { "rewind", session_rewind },
  { "room", session_room },
  { "routing", session_routing },
  { "routing_stats", session_routing_stats },
  { "sync", session_sync },
  { "tokenizer", session_tokenizer },
  { "tokens", session_tokens },
  { NULL, NULL }
};

/* The methods stay in the module table: lua/moonseek/session.lua adds those written in Lua. */
void register_session (lua_State *L) {
  luaL_newmetatable(L, "moonseek.weak");
  lua_pushliteral(L, "k");
  lua_setfield(L, -2, "__mode");
  lua_pop(L, 1);
  new_handle_type(L, SESSION, methods, NULL, session_close);
  lua_setfield(L, -2, "session_methods");
  lua_pushcfunction(L, check_save);
  lua_setfield(L, -2, "check_save");
  lua_pushcfunction(L, save_session);
  lua_setfield(L, -2, "save");
}
