/* moonseek.open, moonseek.probe and the engine: what a model is, what it costs, what has been done with it. */
#include "options.h"
#include "progress.h"
#include "session.h"

#include <string.h>

/* {== Tables of figures ========================================================================== */

static void set_milliseconds (lua_State *L, const char *field, double seconds) {
  lua_pushnumber(L, seconds * 1e3);
  lua_setfield(L, -2, field);
}

static void push_model (lua_State *L, const ms_model_info *model) {
  lua_createtable(L, 0, 18);
  set_string(L, "architecture", model->architecture);
  set_count(L, "layers", model->layers);
  set_count(L, "width", model->width);
  set_count(L, "heads", model->heads);
  set_count(L, "vocabulary", model->vocabulary);
  set_count(L, "context", model->context);
  set_count(L, "experts", model->experts);
  set_count(L, "experts_per_token", model->experts_per_token);
  set_count(L, "tensors", model->tensors);
  set_count(L, "ignored_tensors", model->ignored_tensors);
  set_count(L, "parameters", model->parameters);
  set_count(L, "bytes", model->bytes);
  lua_createtable(L, 0, (int)model->type_count);
  for (size_t i = 0; i < model->type_count; i++) {
    lua_createtable(L, 0, 2);
    set_count(L, "tensors", model->types[i].tensors);
    set_count(L, "bytes", model->types[i].bytes);
    lua_setfield(L, -2, model->types[i].name);
  }
  lua_setfield(L, -2, "types");
}

/* {== Opening ==================================================================================== */

/* moonseek.probe(path) -> { architecture =, layers =, ..., types = { NAME = { tensors =, bytes = } } } */
static int module_probe (lua_State *L) {
  ms_model_info model;
  ms_error err;
  const char *path = check_path(L, 1, "moonseek.probe", &err);
  if (path == NULL || ms_probe(path, &model, &err) != MS_OK) return push_failure(L, &err);
  push_model(L, &model);
  return 1;
}

static void progress (void *user, const char *phase, uint64_t done, uint64_t total) {
  (void)tell_progress(user, phase, done, total);
}

enum { PATH, BACKEND, KERNELS, THREADS, NUMERICS, MMAP, CHECK, ON_PROGRESS, CACHE_HANDLE, OPEN_OPTIONS };

static const option open_rows[] = {
  [PATH] = { "path", OPTION_STRING, 1, 0, 0 },
  [BACKEND] = { "backend", OPTION_STRING, 0, 0, 0 },
  [KERNELS] = { "kernels", OPTION_STRING, 0, 0, 0 },
  [THREADS] = { "threads", OPTION_INTEGER, 0, 0, INT32_MAX },
  [NUMERICS] = { "numerics", OPTION_STRING, 0, 0, 0 },
  [MMAP] = { "mmap", OPTION_BOOLEAN, 0, 0, 0 },
  [CHECK] = { "check", OPTION_BOOLEAN, 0, 0, 0 },
  [ON_PROGRESS] = { "on_progress", OPTION_FUNCTION, 0, 0, 0 },
  [CACHE_HANDLE] = { "cache", OPTION_CACHE, 0, 0, 0 }
};

static const call open_call = { "moonseek.open", 1 };
static const char *const numerics_names[] = { [MS_FAST] = "fast", [MS_REFERENCE] = "reference", [MS_EXACT] = "exact" };

static int read_numerics (const char *name, ms_numerics *numerics, ms_error *err) {
  for (int i = MS_FAST; i <= MS_EXACT; i++)
    if (strcmp(name, numerics_names[i]) == 0) {
      *numerics = (ms_numerics)i;
      return 1;
    }
  return refuse(err, "moonseek.open: option 'numerics': '%.40s' is not \"fast\", \"reference\" or \"exact\"", name);
}

/* The values that options_read left from `first` on. */
static int apply_open_options (lua_State *L, int first, ms_engine_options *options, ms_error *err) {
  ms_engine_options_default(options);
  options->path = lua_tostring(L, first + PATH);
  if (!lua_isnil(L, first + BACKEND)) options->backend = lua_tostring(L, first + BACKEND);
  if (!lua_isnil(L, first + KERNELS)) options->kernels = lua_tostring(L, first + KERNELS);
  if (!lua_isnil(L, first + THREADS)) options->threads = (size_t)lua_tonumber(L, first + THREADS);
  if (!lua_isnil(L, first + MMAP)) options->access = lua_toboolean(L, first + MMAP) ? MS_MAP : MS_READ;
  if (!lua_isnil(L, first + CACHE_HANDLE))
    options->cache = check_open_from(L, first + CACHE_HANDLE, CACHE, &open_call);
  if (!lua_isnil(L, first + CHECK))
    options->check = lua_toboolean(L, first + CHECK) ? MS_CHECK_WEIGHTS : MS_CHECK_HEADER;
  return lua_isnil(L, first + NUMERICS) || read_numerics(lua_tostring(L, first + NUMERICS), &options->numerics, err);
}

/* moonseek.open{ path =, ... } -> engine */
static int module_open (lua_State *L) {
  ms_engine_options options;
  ms_engine *engine = NULL;
  ms_error err;
  lua_settop(L, 1);
  int first = options_read(L, 1, &open_call, open_rows, OPEN_OPTIONS, &err);
  if (first == 0 || !apply_open_options(L, first, &options, &err)) return push_failure(L, &err);
  announcement news = begin_progress(L, first + ON_PROGRESS);
  if (!lua_isnil(L, news.function)) {
    options.progress = progress;
    options.progress_user = &news;
  }
  handle *box = push_closed(L, ENGINE);
  luaL_checkstack(L, 8, "moonseek.open");
  ms_status status = ms_engine_open(&options, &engine, &err);
  box->object = status == MS_OK ? engine : NULL;
  if (news.failed) {
    ms_engine_release(box->object);
    box->object = NULL;
    lua_pushvalue(L, news.error);
    return lua_error(L);
  }
  return status == MS_OK ? 1 : push_failure(L, &err);
}

/* moonseek.attach(id) -> engine | nil, message, code: another handle of an open engine of this process */
static int module_attach (lua_State *L) {
  ms_engine *engine = NULL;
  ms_error err;
  int64_t id = check_integer(L, 1, 0, (int64_t)INTEGER_LIMIT, "id");
  handle *box = push_closed(L, ENGINE);
  if (ms_engine_attach((uint64_t)id, &engine, &err) != MS_OK) return push_failure(L, &err);
  box->object = engine;
  return 1;
}

/* {== Methods ==================================================================================== */

static int engine_info (lua_State *L) {
  ms_engine_info info;
  ms_engine_get_info(check_open(L, 1, ENGINE), &info);
  push_model(L, &info.model);
  set_string(L, "backend", info.backend);
  set_string(L, "kernels", info.kernels);
  set_string(L, "numerics", info.numerics);
  set_count(L, "threads", info.threads);
  return 1;
}

static int engine_id (lua_State *L) {
  push_count(L, ms_engine_id(check_open(L, 1, ENGINE)));
  return 1;
}

/* Pushes a list of { name =, calls =, ms = }; whoever asks first starts the clocks. */
static void push_stages (lua_State *L, ms_engine *engine) {
  size_t count = ms_engine_get_stages(engine, NULL, 0);
  ms_stage_stats *stages = lua_newuserdata(L, count * sizeof *stages);
  ms_engine_get_stages(engine, stages, count);
  lua_createtable(L, (int)count, 0);
  for (size_t i = 0; i < count; i++) {
    lua_createtable(L, 0, 3);
    set_string(L, "name", stages[i].name);
    set_count(L, "calls", stages[i].calls);
    set_milliseconds(L, "ms", stages[i].seconds);
    lua_rawseti(L, -2, (int)i + 1);
  }
  lua_remove(L, -2);                         /* the buffer */
}

static const call stats_call = { "engine:stats", 1 };
static const option stats_rows[] = { { "stages", OPTION_BOOLEAN, 0, 0, 0 } };

/* engine:stats{ stages = boolean } -> counts, times and bytes of the engine; with `stages` those of each stage, too */
static int engine_stats (lua_State *L) {
  ms_engine_stats stats;
  ms_error err;
  check_open(L, 1, ENGINE);
  int first = options_read(L, 2, &stats_call, stats_rows, 1, &err);
  if (first == 0) return push_failure(L, &err);
  int stages = lua_toboolean(L, first);
  ms_engine *engine = check_open(L, 1, ENGINE);
  ms_engine_get_stats(engine, &stats);
  lua_createtable(L, 0, 11);
  set_count(L, "prefill_tokens", stats.prefill_tokens);
  set_count(L, "decode_tokens", stats.decode_tokens);
  set_count(L, "steps", stats.steps);
  set_milliseconds(L, "prefill_ms", stats.prefill_seconds);
  set_milliseconds(L, "decode_ms", stats.decode_seconds);
  set_count(L, "sessions", stats.sessions);
  set_count(L, "jobs", stats.jobs);
  set_count(L, "session_bytes", stats.session_bytes);
  set_count(L, "scratch_bytes", stats.scratch_bytes);
  set_count(L, "answer_threads", stats.answer_threads);
  if (stages) {
    push_stages(L, engine);
    lua_setfield(L, -2, "stages");
  }
  return 1;
}

static const call memory_call = { "engine:memory", 1 };
static const option memory_rows[] = { { "context", OPTION_INTEGER, 0, 1, INTEGER_LIMIT } };

/* engine:memory{ context = n } -> { weights =, session =, per_token =, scratch =, saved = }, in bytes */
static int engine_memory (lua_State *L) {
  ms_memory_plan plan;
  ms_error err;
  check_open(L, 1, ENGINE);
  int first = options_read(L, 2, &memory_call, memory_rows, 1, &err);
  if (first == 0) return push_failure(L, &err);
  size_t context = (size_t)lua_tonumber(L, first);     /* 0, from nil: the model's own */
  if (ms_engine_plan_memory(check_open(L, 1, ENGINE), context, &plan, &err) != MS_OK) return push_failure(L, &err);
  lua_createtable(L, 0, 5);
  set_count(L, "weights", plan.weights);
  set_count(L, "session", plan.session);
  set_count(L, "per_token", plan.per_token);
  set_count(L, "scratch", plan.scratch);
  set_count(L, "saved", plan.saved);
  return 1;
}

enum { SET_THREADS, SET_MAX_JOBS, SET_SLICE_MS, SET_OPTIONS };

static const call set_call = { "engine:set", 1 };
static const option set_rows[] = {
  [SET_THREADS] = { "threads", OPTION_INTEGER, 0, 1, INT32_MAX },
  [SET_MAX_JOBS] = { "max_jobs", OPTION_INTEGER, 0, 1, INTEGER_LIMIT },
  [SET_SLICE_MS] = { "slice_ms", OPTION_NUMBER, 0, 0, 0 }
};

/* engine:set{ threads =, max_jobs =, slice_ms = } -> true; from the next step on */
static int engine_set (lua_State *L) {
  ms_engine_limits limits;
  ms_error err;
  check_open(L, 1, ENGINE);
  int first = options_read(L, 2, &set_call, set_rows, SET_OPTIONS, &err);
  if (first == 0) return push_failure(L, &err);
  ms_engine *engine = check_open(L, 1, ENGINE);
  ms_engine_get_limits(engine, &limits);
  if (!lua_isnil(L, first + SET_MAX_JOBS)) limits.jobs = (size_t)lua_tonumber(L, first + SET_MAX_JOBS);
  if (!lua_isnil(L, first + SET_SLICE_MS)) limits.slice_ms = lua_tonumber(L, first + SET_SLICE_MS);
  if (ms_engine_set_limits(engine, &limits, &err) != MS_OK) return push_failure(L, &err);
  if (!lua_isnil(L, first + SET_THREADS)) {
    size_t threads = (size_t)lua_tonumber(L, first + SET_THREADS);
    if (ms_engine_set_threads(engine, threads, &err) != MS_OK) return push_failure(L, &err);
  }
  lua_pushboolean(L, 1);
  return 1;
}

static int engine_tokenizer (lua_State *L) {
  ms_tokenizer *tokenizer = NULL;
  ms_error err;
  check_open(L, 1, ENGINE);
  handle *box = push_closed(L, TOKENIZER);
  if (ms_engine_tokenizer(check_open(L, 1, ENGINE), &tokenizer, &err) != MS_OK) return push_failure(L, &err);
  box->object = tokenizer;
  return 1;
}

/* Ends this handle; sessions keep the engine until the last of them is closed. */
static int engine_close (lua_State *L) {
  handle *box = check_handle(L, 1, ENGINE);
  ms_engine *engine = box->object;
  box->object = NULL;
  ms_engine_release(engine);
  return 0;
}

static const luaL_Reg methods[] = {
  { "id", engine_id },
  { "info", engine_info },
  { "load_session", load_session },
  { "memory", engine_memory },
  { "session", open_session },
  { "set", engine_set },
  { "stats", engine_stats },
  { "tokenizer", engine_tokenizer },
  { NULL, NULL }
};

void register_engine (lua_State *L) {
  new_handle_type(L, ENGINE, methods, NULL, engine_close);
  lua_pop(L, 1);
  lua_pushcfunction(L, module_attach);
  lua_setfield(L, -2, "attach");
  lua_pushcfunction(L, module_open);
  lua_setfield(L, -2, "open");
  lua_pushcfunction(L, module_probe);
  lua_setfield(L, -2, "probe");
}
