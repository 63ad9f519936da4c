/*
** The runtime's parts alone: the sampler fed with logits of a spec's own, text assembly fed with any bytes;
** and what a Lua program cannot do: poll, fork, call from many threads.
*/
#include "internals.h"

#include <pthread.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xxhash.h>

#include "../../csrc/runtime/runtime.h"

/* {== Arguments ================================================================================== */

static double field_number (lua_State *L, int table, const char *name, double otherwise) {
  lua_getfield(L, table, name);
  double value = luaL_optnumber(L, -1, otherwise);
  lua_pop(L, 1);
  return value;
}

/* A seed is a number, or a string of hexadecimal digits. */
static uint64_t seed_field (lua_State *L, int index) {
  if (lua_type(L, index) == LUA_TSTRING) return strtoull(lua_tostring(L, index), NULL, 16);
  return (uint64_t)luaL_optnumber(L, index, 0);
}

/* Field `name` of the options as an array of int32 in a userdata left on the stack. */
static int32_t *id_list (lua_State *L, int table, const char *name, size_t *count) {
  lua_getfield(L, table, name);
  *count = lua_istable(L, -1) ? lua_rawlen(L, -1) : 0;
  int32_t *ids = lua_newuserdata(L, (*count + 1) * sizeof *ids);
  for (size_t i = 0; i < *count; i++) {
    lua_rawgeti(L, -2, (int)i + 1);
    ids[i] = (int32_t)lua_tointeger(L, -1);
    lua_pop(L, 1);
  }
  return ids;
}

/* logits: a table of numbers, copied to a userdata left on the stack. */
static float *logit_list (lua_State *L, int index, size_t *count) {
  luaL_checktype(L, index, LUA_TTABLE);
  *count = lua_rawlen(L, index);
  float *logits = lua_newuserdata(L, (*count + 1) * sizeof *logits);
  for (size_t i = 0; i < *count; i++) {
    lua_rawgeti(L, index, (int)i + 1);
    logits[i] = (float)lua_tonumber(L, -1);
    lua_pop(L, 1);
  }
  return logits;
}

static ms_generate_options read_options (lua_State *L, int table) {
  luaL_checktype(L, table, LUA_TTABLE);
  ms_generate_options o = {
    .temperature = field_number(L, table, "temperature", 1), .top_p = field_number(L, table, "top_p", 1),
    .min_p = field_number(L, table, "min_p", 0), .top_k = (size_t)field_number(L, table, "top_k", 0),
    .repetition_penalty = field_number(L, table, "repetition_penalty", 1),
    .frequency_penalty = field_number(L, table, "frequency_penalty", 0),
    .presence_penalty = field_number(L, table, "presence_penalty", 0),
    .logprobs = (size_t)field_number(L, table, "logprobs", 0), .has_seed = 1
  };
  lua_getfield(L, table, "seed");
  o.seed = seed_field(L, -1);
  lua_getfield(L, table, "bias");                   /* { { id, value }, ... } */
  o.bias_count = lua_istable(L, -1) ? lua_rawlen(L, -1) : 0;
  ms_bias *bias = lua_newuserdata(L, (o.bias_count + 1) * sizeof *bias);
  for (size_t i = 0; i < o.bias_count; i++) {
    lua_rawgeti(L, -2, (int)i + 1);
    lua_rawgeti(L, -1, 1);
    lua_rawgeti(L, -2, 2);
    bias[i] = (ms_bias){ .id = (int32_t)lua_tointeger(L, -2), .value = (float)lua_tonumber(L, -1) };
    lua_pop(L, 3);
  }
  o.bias = bias;
  return o;
}

/* {== Sampler ==================================================================================== */

/* sample(options, logits, position, count) -> { id, ... } of `count` positions | nil, message, code */
static int window_sample (lua_State *L) {
  size_t vocabulary, held_count, drawn_count;
  size_t position = (size_t)luaL_optnumber(L, 3, 0), count = (size_t)luaL_optnumber(L, 4, 1);
  lua_settop(L, 4);
  ms_generate_options options = read_options(L, 1);
  const int32_t *held = id_list(L, 1, "held", &held_count), *drawn = id_list(L, 1, "generated", &drawn_count);
  const float *logits = logit_list(L, 2, &vocabulary);
  lua_newtable(L);
  sampler s = { 0 };
  sampler_scratch scratch = { 0 };
  ms_error err;
  ms_status status = options_check(&options, vocabulary, &err);
  if (status == MS_OK) status = sampler_open(&s, &options, vocabulary, held, held_count, &err);
  for (size_t i = 0; status == MS_OK && i < drawn_count; i++) sampler_count(&s, drawn[i]);
  for (size_t i = 0; status == MS_OK && i < count; i++) {
    int32_t id;
    status = sampler_choose(&s, &scratch, logits, position + i, &id, &err);
    lua_pushinteger(L, id);
    lua_rawseti(L, -2, (int)i + 1);
  }
  sampler_close(&s);
  sampler_scratch_free(&scratch);
  return status == MS_OK ? 1 : push_failure(L, &err);
}

/* logprobs(logits, id, count) -> log-probability, { { id, logprob }, ... } */
static int window_logprobs (lua_State *L) {
  size_t vocabulary, count = (size_t)luaL_checkinteger(L, 3);
  ms_logprob top[MS_LOGPROBS_LIMIT];
  const float *logits = logit_list(L, 1, &vocabulary);
  lua_pushnumber(L, (lua_Number)sampler_logprobs(logits, vocabulary, (int32_t)luaL_checkinteger(L, 2), top, count));
  lua_newtable(L);
  for (size_t i = 0; i < count; i++) {
    lua_newtable(L);
    lua_pushinteger(L, top[i].id);
    lua_rawseti(L, -2, 1);
    lua_pushnumber(L, (lua_Number)top[i].logprob);
    lua_rawseti(L, -2, 2);
    lua_rawseti(L, -2, (int)i + 1);
  }
  return 2;
}

/* random(seed, position) -> 16 hexadecimal digits, the number in [0, 1) made of them */
static int window_random (lua_State *L) {
  uint64_t seed = seed_field(L, 1);
  size_t position = (size_t)luaL_checknumber(L, 2);
  char digits[20];
  snprintf(digits, sizeof digits, "%016llx", (unsigned long long)sampler_random(seed, position));
  lua_pushstring(L, digits);
  lua_pushnumber(L, sampler_uniform(seed, position));
  return 2;
}

/* {== Text ======================================================================================= */

/* text(pieces, stops, raw) -> what each piece and then the end released, whether a stop string was found */
static int window_text (lua_State *L) {
  lua_settop(L, 3);
  size_t count = lua_rawlen(L, 1), stop_count = lua_istable(L, 2) ? lua_rawlen(L, 2) : 0, shown = 0;
  ms_stop *stops = lua_newuserdata(L, (stop_count + 1) * sizeof *stops);
  for (size_t i = 0; i < stop_count; i++) {
    lua_rawgeti(L, 2, (int)i + 1);                  /* the table keeps the string */
    stops[i].text = lua_tolstring(L, -1, &stops[i].bytes);
    lua_pop(L, 1);
  }
  lua_newtable(L);
  text_stream t;
  ms_error err;
  ms_status status = text_open(&t, stops, stop_count, lua_toboolean(L, 3), &err);
  for (size_t i = 0; status == MS_OK && i <= count; i++) {
    lua_rawgeti(L, 1, (int)i + 1);
    size_t bytes;
    const char *piece = lua_tolstring(L, -1, &bytes);
    if (i < count) status = text_push(&t, piece, bytes, &err);
    else text_finish(&t);
    lua_pushlstring(L, t.data == NULL ? "" : t.data + shown, t.released - shown);
    shown = t.released;
    lua_rawseti(L, -3, (int)i + 1);
    lua_pop(L, 1);
  }
  lua_pushboolean(L, t.stopped);
  text_close(&t);
  return status == MS_OK ? 2 : push_failure(L, &err);
}

static int window_is_utf8 (lua_State *L) {
  size_t bytes;
  const char *text = luaL_checklstring(L, 1, &bytes);
  lua_pushboolean(L, text_is_utf8(text, bytes));
  return 1;
}

/* {== Pace ======================================================================================= */

static size_t element (lua_State *L, int i) {
  lua_rawgeti(L, -1, i);
  size_t value = (size_t)lua_tonumber(L, -1);
  lua_pop(L, 1);
  return value;
}

/* pace({ { reading, answering, ms }, ... }, answering, slice_ms, most) -> rows of reading in the next step */
static int window_pace (lua_State *L) {
  pace p = { 0 };
  luaL_checktype(L, 1, LUA_TTABLE);
  for (size_t i = 1; i <= lua_rawlen(L, 1); i++) {
    lua_rawgeti(L, 1, (int)i);
    lua_rawgeti(L, -1, 3);
    uint64_t duration = (uint64_t)(lua_tonumber(L, -1) * 1e6);
    lua_pop(L, 1);
    pace_measure(&p, element(L, 1), element(L, 2), duration);
    lua_pop(L, 1);
  }
  lua_pushinteger(L, (lua_Integer)pace_rows(&p, (size_t)luaL_checkinteger(L, 2),
                                            (uint64_t)(luaL_checknumber(L, 3) * 1e6), (size_t)luaL_checkinteger(L, 4)));
  return 1;
}

/*
** saturation(all, steps, function(threads, step) -> ms, waited) -> threads of the next step, those found (0: not yet),
** and the threads of each step, a list
*/
static int window_saturation (lua_State *L) {
  saturation s = { 0 };
  const size_t all = (size_t)luaL_checkinteger(L, 1);
  const int steps = (int)luaL_checkinteger(L, 2);
  lua_settop(L, 3);
  lua_createtable(L, steps, 0);
  for (int i = 1; i <= steps; i++) {
    const lua_Integer threads = (lua_Integer)saturation_threads(&s, all);
    lua_pushvalue(L, 3);
    lua_pushinteger(L, threads);
    lua_pushinteger(L, i);
    lua_call(L, 2, 2);
    saturation_measure(&s, (uint64_t)(lua_tonumber(L, -2) * 1e6), lua_toboolean(L, -1));
    lua_pop(L, 2);
    lua_pushinteger(L, threads);
    lua_rawseti(L, 4, i);
  }
  lua_pushinteger(L, (lua_Integer)saturation_threads(&s, all));
  lua_pushinteger(L, (lua_Integer)saturation_found(&s));
  lua_pushvalue(L, 4);
  return 3;
}

static int window_pace_next (lua_State *L) {
  lua_pushinteger(L, (lua_Integer)pace_next((size_t)luaL_checkinteger(L, 1), (size_t)luaL_checkinteger(L, 2)));
  return 1;
}

/* {== Descriptors and children ==================================================================== */

/* readable(descriptor) -> whether poll(2) finds something to read */
static int window_readable (lua_State *L) {
  struct pollfd wanted = { .fd = (int)luaL_checkinteger(L, 1), .events = POLLIN };
  lua_pushboolean(L, poll(&wanted, 1, 0) == 1);
  return 1;
}

enum { POLL_LIMIT = 64 };

/* poll({ descriptor, ... }, ms) -> those that have something to read, when poll(2) returns */
static int window_poll (lua_State *L) {
  struct pollfd wanted[POLL_LIMIT];
  luaL_checktype(L, 1, LUA_TTABLE);
  size_t count = lua_rawlen(L, 1);
  luaL_argcheck(L, count <= POLL_LIMIT, 1, "too many");
  for (size_t i = 0; i < count; i++) {
    lua_rawgeti(L, 1, (int)i + 1);
    wanted[i] = (struct pollfd){ .fd = (int)luaL_checkinteger(L, -1), .events = POLLIN };
    lua_pop(L, 1);
  }
  int found = 0;
  if (poll(wanted, count, (int)luaL_checkinteger(L, 2)) < 0) return luaL_error(L, "poll failed");
  lua_newtable(L);
  for (size_t i = 0; i < count; i++) {
    if (!(wanted[i].revents & POLLIN)) continue;
    lua_pushinteger(L, wanted[i].fd);
    lua_rawseti(L, -2, ++found);
  }
  return 1;
}

enum { CHILD_SECONDS = 60 };

/* in_child(f) -> what f() returns in a forked process, as a string; "hung" when it takes too long */
static int window_in_child (lua_State *L) {
  int ends[2];
  char text[1024] = "";
  if (pipe(ends) != 0) return luaL_error(L, "no pipe");
  pid_t child = fork();
  if (child < 0) return luaL_error(L, "no child");
  if (child == 0) {
    lua_pushvalue(L, 1);
    lua_pcall(L, 0, 1, 0);
    const char *result = lua_tostring(L, -1);
    if (result == NULL) result = luaL_typename(L, -1);
    if (write(ends[1], result, strlen(result)) < 0) _exit(1);
    _exit(0);
  }
  close(ends[1]);
  struct pollfd wanted = { .fd = ends[0], .events = POLLIN };
  if (poll(&wanted, 1, CHILD_SECONDS * 1000) <= 0) {
    kill(child, SIGKILL);
    snprintf(text, sizeof text, "hung");
  } else if (read(ends[0], text, sizeof text - 1) <= 0) {
    snprintf(text, sizeof text, "died");
  }
  close(ends[0]);
  waitpid(child, NULL, 0);
  lua_pushstring(L, text);
  return 1;
}

/* killed_after(ms, f): runs f() again and again in a forked process, which is killed after so many milliseconds */
static int window_killed_after (lua_State *L) {
  double ms = luaL_checknumber(L, 1);
  pid_t child = fork();
  if (child < 0) return luaL_error(L, "no child");
  if (child == 0) {
    for (;;) {
      lua_pushvalue(L, 2);
      if (lua_pcall(L, 0, 0, 0) != 0) _exit(1);
    }
  }
  usleep((useconds_t)(ms * 1000));
  kill(child, SIGKILL);
  int status;
  waitpid(child, &status, 0);
  lua_pushboolean(L, WIFSIGNALED(status));
  return 1;
}

/* xxh3(bytes) -> the 8 bytes of its hash, little-endian */
static int window_xxh3 (lua_State *L) {
  size_t bytes;
  const char *text = luaL_checklstring(L, 1, &bytes);
  uint64_t hash = XXH3_64bits(text, bytes);
  char out[8];
  for (size_t i = 0; i < sizeof out; i++, hash >>= 8) out[i] = (char)(hash & 0xff);
  lua_pushlstring(L, out, sizeof out);
  return 1;
}

/* umask(mask) -> the one before */
static int window_umask (lua_State *L) {
  lua_pushinteger(L, (lua_Integer)umask((mode_t)luaL_checkinteger(L, 1)));
  return 1;
}

/* {== Many threads =============================================================================== */

enum { CROWD = 6, ROUNDS = 12 };

typedef struct member {
  pthread_t thread;
  ms_engine *engine;
  const char *file;                      /* that all save to and load from; NULL: they do not */
  unsigned state;                        /* of a small generator: what this one does next */
  int seen;                              /* jobs that ended */
  char trouble[512];
} member;

static unsigned next_number (member *m, unsigned limit) {
  m->state = m->state * 1664525u + 1013904223u;
  return (m->state >> 8) % limit;
}

static int complain (member *m, ms_status status, const ms_error *err, ms_status allowed) {
  if (status == MS_OK || status == allowed) return 0;
  snprintf(m->trouble, sizeof m->trouble, "%s", err->message);
  return 1;
}

/* Takes some events, perhaps cancels, perhaps lets go before the end. */
static void follow (member *m, ms_job *job) {
  unsigned patience = next_number(m, 12), cancel_at = next_number(m, 8);
  ms_event event;
  while (!ms_job_finished(job) && patience-- != 0) {
    if (patience == cancel_at) ms_job_cancel(job);
    ms_job_wait(job, 20);
    if (ms_job_poll(job, &event)) ms_event_clear(&event);
  }
  m->seen += ms_job_finished(job);
}

/* Whoever saves, the file is always one of them whole. */
static void save_and_load (member *m, ms_session *session) {
  ms_session *loaded;
  ms_error err;
  if (complain(m, ms_session_save(session, m->file, &err), &err, MS_EBUSY)) return;
  if (complain(m, ms_session_load(m->engine, m->file, 0, &loaded, &err), &err, MS_ENOENT)) return;
  ms_session_release(loaded);
}

static void play (member *m, ms_session *session) {
  int32_t tokens[96];
  ms_error err;
  ms_generate_options options;
  ms_engine_stats stats;
  for (size_t i = 0; i < 96; i++) tokens[i] = (int32_t)(2 + i % (3 + m->state % 7));
  for (int round = 0; round < ROUNDS && m->trouble[0] == '\0'; round++) {
    ms_job *job;
    if (complain(m, ms_session_sync(session, tokens, 1 + next_number(m, 95), &err), &err, MS_EBUSY)) return;
    ms_generate_options_default(session, &options);
    options.max_tokens = next_number(m, 6);
    options.deadline_ms = next_number(m, 4) == 0 ? 5 : -1;
    if (complain(m, ms_job_start(session, &options, &job, &err), &err, MS_EBUSY)) return;
    if (job == NULL) continue;
    if (next_number(m, 2)) ms_job_descriptor(job, &err);
    size_t read = ms_session_read(session), position = ms_session_position(session);
    if (read > position) snprintf(m->trouble, sizeof m->trouble, "%zu of %zu tokens are read", read, position);
    if (m->file != NULL && next_number(m, 3) == 0) save_and_load(m, session);
    follow(m, job);
    ms_engine_get_stats(m->engine, &stats);
    if (next_number(m, 3) == 0) ms_engine_set_threads(m->engine, 1 + next_number(m, 3), &err);
    ms_job_release(job);
    if (m->file != NULL && next_number(m, 3) == 0) save_and_load(m, session);   /* the step may still be in flight */
  }
}

static void *take_part (void *argument) {
  member *m = argument;
  ms_session *session;
  ms_error err;
  if (complain(m, ms_session_open(m->engine, 128, &session, &err), &err, MS_OK)) return NULL;
  play(m, session);
  ms_session_release(session);
  return NULL;
}

/* crowd(path, seed [, file]) -> jobs seen to their end by threads that share one engine | nil, message */
static int window_crowd (lua_State *L) {
  member members[CROWD] = { 0 };
  ms_engine_options options;
  ms_engine *engine;
  ms_error err;
  int seen = 0;
  ms_engine_options_default(&options);
  options.path = luaL_checkstring(L, 1);
  options.threads = 2;
  if (ms_engine_open(&options, &engine, &err) != MS_OK) return push_failure(L, &err);
  for (unsigned i = 0; i < CROWD; i++) {
    members[i].engine = engine;
    members[i].file = luaL_optstring(L, 3, NULL);
    members[i].state = (unsigned)luaL_checkinteger(L, 2) * CROWD + i;
    if (pthread_create(&members[i].thread, NULL, take_part, &members[i]) != 0) return luaL_error(L, "no thread");
  }
  for (size_t i = 0; i < CROWD; i++) pthread_join(members[i].thread, NULL);
  ms_engine_release(engine);
  for (size_t i = 0; i < CROWD; i++) {
    seen += members[i].seen;
    if (members[i].trouble[0] == '\0') continue;
    lua_pushnil(L);
    lua_pushstring(L, members[i].trouble);
    return 2;
  }
  lua_pushinteger(L, seen);
  return 1;
}

static const luaL_Reg functions[] = {
  { "sample", window_sample },
  { "logprobs", window_logprobs },
  { "random", window_random },
  { "text", window_text },
  { "is_utf8", window_is_utf8 },
  { "pace", window_pace },
  { "pace_next", window_pace_next }, { "saturation", window_saturation },
  { "readable", window_readable },
  { "poll", window_poll },
  { "in_child", window_in_child },
  { "killed_after", window_killed_after },
  { "umask", window_umask },
  { "xxh3", window_xxh3 },
  { "crowd", window_crowd },
  { NULL, NULL }
};

static void set_constant (lua_State *L, const char *name, int value) {
  lua_pushinteger(L, value);
  lua_setfield(L, -2, name);
}

void register_runtime_internals (lua_State *L) {
  luaL_setfuncs(L, functions, 0);
  set_constant(L, "STEP_ROWS", STEP_ROWS);
  set_constant(L, "SHARED_ROWS", SHARED_ROWS);
  set_constant(L, "EVENT_LIMIT", EVENT_LIMIT);
  set_constant(L, "MARK_LIMIT", MARK_LIMIT);
}
