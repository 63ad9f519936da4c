/*
** The job: one generation under way, whose events are taken by whoever waits for them.
** lua/moonseek/session.lua makes generate and stream out of it.
*/
#include "event.h"
#include "generation.h"
#include "session.h"

/* {== Starting =================================================================================== */

/* Arguments: session, options. Leaves the job on the stack and returns the index of its options; 0: *err is filled. */
static int start_job (lua_State *L, const call *from, size_t options, ms_error *err) {
  ms_generate_options wanted;
  ms_job *job = NULL;
  lua_settop(L, 2);
  check_open_from(L, 1, SESSION, from);
  int first = generation_read(L, 2, from, options, err);
  if (first == 0) return 0;
  handle *box = push_closed(L, JOB);
  lua_createtable(L, 1, 0);                             /* the session's handle lives as long as the job's: */
  lua_pushvalue(L, 1);                                  /*   its collection would cancel the job */
  lua_rawseti(L, -2, 1);
  set_companion(L, -2);
  ms_session *session = free_session(L, 1, from);
  ms_generate_options_default(session, &wanted);
  generation_apply(L, first, &wanted);
  if (ms_job_start(session, &wanted, &job, err) != MS_OK) return 0;
  box->object = job;
  return first;
}

/* session:start(options) -> job | nil, message, code */
static int session_start (lua_State *L) {
  static const call from = { "session:start", 1 };
  ms_error err;
  return start_job(L, &from, GENERATION_OPTIONS, &err) ? 1 : push_failure(L, &err);
}

/* core.begin_generate(session, options) -> job, on_event | nil, message, code */
static int begin_generate (lua_State *L) {
  static const call from = { "session:generate", 2 };
  ms_error err;
  int first = start_job(L, &from, GENERATION_OPTIONS_WITH_HOOK, &err);
  if (first == 0) return push_failure(L, &err);
  lua_pushvalue(L, first + GENERATION_ON_EVENT);
  return 2;
}

/* core.begin_stream(session, options) -> job | nil, message, code */
static int begin_stream (lua_State *L) {
  static const call from = { "session:stream", 2 };
  ms_error err;
  if (!start_job(L, &from, GENERATION_OPTIONS, &err)) return push_failure(L, &err);
  set_stream(L, 1, -1);
  return 1;
}

/* core.begin_read(session) -> job that only reads | nil, message, code */
static int begin_read (lua_State *L) {
  static const call from = { "session:logits", 2 };
  ms_error err;
  lua_settop(L, 1);
  lua_createtable(L, 0, 1);
  lua_pushinteger(L, 0);
  lua_setfield(L, -2, "max_tokens");
  return start_job(L, &from, GENERATION_OPTIONS, &err) ? 1 : push_failure(L, &err);
}

/* {== Methods ==================================================================================== */

/* job:poll() -> event, or nil while none waits. Allocates only when one waits. */
static int job_poll (lua_State *L) {
  if (!ms_job_wait(check_open(L, 1, JOB), 0)) return 0;
  holder *held = push_holder(L);
  if (!take_event(check_open(L, 1, JOB), held)) return 0;
  push_event(L, held);
  holder_release(held);
  return 1;
}

/* job:wait(ms) -> whether an event waits or the job has finished */
static int job_wait (lua_State *L) {
  ms_job *job = check_open(L, 1, JOB);
  int64_t ms = check_integer(L, 2, 0, INT32_MAX, "ms");
  lua_pushboolean(L, ms_job_wait(job, ms));
  return 1;
}

static int job_cancel (lua_State *L) {
  ms_job_cancel(check_open(L, 1, JOB));
  return 0;
}

static int job_finished (lua_State *L) {
  lua_pushboolean(L, ms_job_finished(check_open(L, 1, JOB)));
  return 1;
}

/* job:result() -> result | nil, message, code ("EBUSY" while it runs) */
static int job_result (lua_State *L) {
  ms_error err;
  check_open(L, 1, JOB);
  holder *held = push_holder(L);
  if (ms_job_result(check_open(L, 1, JOB), &held->result, &err) != MS_OK) return push_failure(L, &err);
  push_result(L, held);
  holder_release(held);
  return 1;
}

/* job:pollfd(), job:getfd() -> a descriptor that is readable exactly while an event waits */
static int job_descriptor (lua_State *L) {
  ms_error err;
  int descriptor = ms_job_descriptor(check_open(L, 1, JOB), &err);
  if (descriptor < 0) return push_failure(L, &err);
  lua_pushinteger(L, descriptor);
  return 1;
}

static int job_events (lua_State *L) {
  check_open(L, 1, JOB);
  lua_pushliteral(L, "r");
  return 1;
}

/* Nothing is due at a time: nil. */
static int job_timeout (lua_State *L) {
  check_open(L, 1, JOB);
  lua_pushnil(L);
  return 1;
}

static int job_dirty (lua_State *L) {
  ms_job *job = check_open(L, 1, JOB);
  lua_pushboolean(L, ms_job_wait(job, 0) && !ms_job_finished(job));
  return 1;
}

static int job_close (lua_State *L) {
  handle *box = check_handle(L, 1, JOB);
  ms_job *job = box->object;
  box->object = NULL;
  ms_job_release(job);
  return 0;
}

/* core.is_open(job): whether nobody has closed it. */
static int job_is_open (lua_State *L) {
  lua_pushboolean(L, check_handle(L, 1, JOB)->object != NULL);
  return 1;
}

static const luaL_Reg methods[] = {
  { "cancel", job_cancel },
  { "dirty", job_dirty },
  { "events", job_events },
  { "finished", job_finished },
  { "getfd", job_descriptor },
  { "poll", job_poll },
  { "pollfd", job_descriptor },
  { "result", job_result },
  { "timeout", job_timeout },
  { "wait", job_wait },
  { NULL, NULL }
};

static const luaL_Reg functions[] = {
  { "begin_generate", begin_generate },
  { "begin_read", begin_read },
  { "begin_stream", begin_stream },
  { "is_open", job_is_open },
  { NULL, NULL }
};

/* session:start belongs to the session's methods, which the module table holds. */
void register_job (lua_State *L) {
  register_event(L);
  new_handle_type(L, JOB, methods, NULL, job_close);
  lua_pop(L, 1);
  luaL_setfuncs(L, functions, 0);
  lua_getfield(L, -1, "session_methods");
  lua_pushcfunction(L, session_start);
  lua_setfield(L, -2, "start");
  lua_pop(L, 1);
}
