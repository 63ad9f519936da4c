/*
** The job: one generation under way, whose events are taken by whoever waits for them.
** lua/moonseek/session.lua makes generate and stream out of it.
*/
#include "event.h"
#include "generation.h"
#include "session.h"

/* {== Starting =================================================================================== */

/* A closed job of the session that is argument 1, whose handle lives as long: its collection would cancel the job. */
static handle *push_job (lua_State *L) {
  handle *box = push_closed(L, JOB);
  lua_createtable(L, 1, 0);
  lua_pushvalue(L, 1);
  lua_rawseti(L, -2, 1);
  set_companion(L, -2);
  return box;
}

/* Arguments: session, options. Leaves the job on the stack and returns the index of its options; 0: *err is filled. */
static int start_job (lua_State *L, const call *from, size_t options, ms_error *err) {
  ms_generate_options wanted;
  ms_job *job = NULL;
  lua_settop(L, 2);
  check_open_from(L, 1, SESSION, from);
  int first = generation_read(L, 2, from, options, err);
  if (first == 0) return 0;
  handle *box = push_job(L);
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

/* core.begin_step(session, options) -> job, the session's stream, one step on | nil, message, code */
static int begin_step (lua_State *L) {
  static const call from = { "session:step", 2 };
  ms_error err;
  if (!start_job(L, &from, GENERATION_OPTIONS, &err)) return push_failure(L, &err);
  handle *box = lua_touserdata(L, -1);
  if (ms_job_step(box->object, &err) != MS_OK) {
    ms_job_release(box->object);
    box->object = NULL;
    return push_failure(L, &err);
  }
  set_stepping(L, 1, -1);
  return 1;
}

/* core.stepping(session) -> the job of its steps, or nil when none is open */
static int session_stepping (lua_State *L) {
  static const call from = { "session:step", 2 };
  check_open_from(L, 1, SESSION, &from);
  return push_stepping(L, 1);
}

/* Arguments: session, and the number of its last tokens to score. Leaves the job on the stack; 0: *err is filled. */
static int start_reading (lua_State *L, const call *from, size_t score, ms_error *err) {
  ms_generate_options wanted;
  ms_job *job = NULL;
  check_open_from(L, 1, SESSION, from);
  handle *box = push_job(L);
  ms_session *session = free_session(L, 1, from);
  ms_generate_options_default(session, &wanted);
  wanted.max_tokens = 0;
  wanted.score = score;
  wanted.paused = score != 0;
  if (ms_job_start(session, &wanted, &job, err) != MS_OK) return 0;
  box->object = job;
  return 1;
}

/* core.begin_read(session, name of the caller) -> job that only reads | nil, message, code */
static int begin_read (lua_State *L) {
  const call from = { luaL_checkstring(L, 2), 2 };
  ms_error err;
  return start_reading(L, &from, 0, &err) ? 1 : push_failure(L, &err);
}

/* core.begin_score(session, count) -> job, paused, that scores its last tokens | nil, message, code */
static int begin_score (lua_State *L) {
  static const call from = { "session:score", 2 };
  size_t count = (size_t)luaL_checknumber(L, 2);
  ms_error err;
  return start_reading(L, &from, count, &err) ? 1 : push_failure(L, &err);
}

/* core.check_session(session, name of the caller): raises unless it is one and open. */
static int check_session (lua_State *L) {
  const call from = { luaL_checkstring(L, 2), 2 };
  check_open_from(L, 1, SESSION, &from);
  return 0;
}

/* core.resume(list of jobs): all of them are in the next step. */
static int resume_jobs (lua_State *L) {
  size_t count = lua_rawlen(L, 1);
  ms_job **jobs = lua_newuserdata(L, (count + 1) * sizeof *jobs);
  for (size_t i = 0; i < count; i++) {
    lua_rawgeti(L, 1, (int)i + 1);
    jobs[i] = check_open(L, -1, JOB);
    lua_pop(L, 1);
  }
  ms_job_resume(jobs, count);
  return 0;
}

/* core.scores(job) -> list of log-probabilities | nil, message, code */
static int job_scores (lua_State *L) {
  ms_error err;
  holder *held = push_holder(L);
  if (ms_job_result(check_open(L, 1, JOB), &held->result, &err) != MS_OK) return push_failure(L, &err);
  lua_createtable(L, (int)held->result.logprob_count, 0);
  for (size_t i = 0; i < held->result.logprob_count; i++) {
    lua_pushnumber(L, (lua_Number)held->result.logprobs[i]);
    lua_rawseti(L, -2, (int)i + 1);
  }
  holder_release(held);
  return 1;
}

/* core.step(job) -> true | nil, message, code */
static int step_job (lua_State *L) {
  ms_error err;
  if (ms_job_step(check_open(L, 1, JOB), &err) != MS_OK) return push_failure(L, &err);
  lua_pushboolean(L, 1);
  return 1;
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

static int job_pause (lua_State *L) {
  ms_job_pause(check_open(L, 1, JOB));
  return 0;
}

static int job_resume (lua_State *L) {
  ms_job *job = check_open(L, 1, JOB);
  ms_job_resume(&job, 1);
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
  { "pause", job_pause },
  { "poll", job_poll },
  { "pollfd", job_descriptor },
  { "result", job_result },
  { "resume", job_resume },
  { "timeout", job_timeout },
  { "wait", job_wait },
  { NULL, NULL }
};

static const luaL_Reg functions[] = {
  { "begin_generate", begin_generate },
  { "begin_read", begin_read },
  { "begin_score", begin_score },
  { "begin_step", begin_step },
  { "begin_stream", begin_stream },
  { "check_session", check_session },
  { "is_open", job_is_open },
  { "resume", resume_jobs },
  { "scores", job_scores },
  { "step", step_job },
  { "stepping", session_stepping },
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
