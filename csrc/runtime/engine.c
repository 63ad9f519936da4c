/*
** Engines: a model, a backend, and the handles that keep them. Opening starts nothing; the last handle given
** up (the engine's own, a session's or a job's) ends it all and waits for the stage in flight at most.
*/
#include <string.h>

#include "../base/file.h"
#include "../base/memory.h"
#include "../compute/profile.h"
#include "runtime.h"

/* Limits until the caller says otherwise; a slice longer than a minute holds answers up for good. */
enum { JOB_LIMIT = 4096, SLICE_MS = 50, SLICE_MS_LIMIT = 60000 };

static const char *const numerics_names[] = {
  [MS_FAST] = "fast", [MS_REFERENCE] = "reference", [MS_EXACT] = "exact"
};

/* {== The lock =================================================================================== */

void engine_lock (ms_engine *engine) {
  uv_mutex_lock(&engine->lock);
  if (engine->forked) engine_adopt(engine);
}

static void free_garbage (ms_job *jobs, ms_session *sessions) {
  for (ms_job *job = jobs, *next; job != NULL; job = next) {
    next = job->next_garbage;
    job_free(job);
  }
  for (ms_session *session = sessions, *next; session != NULL; session = next) {
    next = session->next;
    session_free(session);
  }
}

/* What nobody refers to any more is freed outside: a session may have gigabytes to give back. */
void engine_unlock (ms_engine *engine) {
  ms_job *jobs = engine->garbage_jobs;
  ms_session *sessions = engine->garbage_sessions;
  engine->garbage_jobs = NULL;
  engine->garbage_sessions = NULL;
  uv_mutex_unlock(&engine->lock);
  free_garbage(jobs, sessions);
}

/* {== Opening ==================================================================================== */

void ms_engine_options_default (ms_engine_options *options) {
  *options = (ms_engine_options){
    .backend = "auto", .kernels = "auto", .numerics = MS_FAST, .access = MS_MAP, .check = MS_CHECK_HEADER,
    .threads = MS_ALL_CORES
  };
}

static ms_status check_options (const ms_engine_options *o, ms_error *err) {
  if (o->path == NULL) return fail(err, MS_EINVAL, "no path is given");
  if ((unsigned)o->numerics > MS_EXACT)
    return fail(err, MS_EINVAL, "numerics is %d: it must be fast (0), reference (1) or exact (2)", (int)o->numerics);
  if ((unsigned)o->access > MS_READ)
    return fail(err, MS_EINVAL, "access is %d: it must be map (0) or read (1)", (int)o->access);
  if ((unsigned)o->check > MS_CHECK_WEIGHTS)
    return fail(err, MS_EINVAL, "check is %d: it must be header (0) or weights (1)", (int)o->check);
  return MS_OK;
}

static ms_status make_locks (ms_engine *engine, ms_error *err) {
  if (uv_mutex_init(&engine->tokenizer_lock) != 0) goto no_tokenizer_lock;
  if (uv_mutex_init(&engine->lock) != 0) goto no_lock;
  if (uv_cond_init(&engine->work) != 0) goto no_work;
  if (uv_cond_init(&engine->events) == 0) return MS_OK;
  uv_cond_destroy(&engine->work);
no_work:
  uv_mutex_destroy(&engine->lock);
no_lock:
  uv_mutex_destroy(&engine->tokenizer_lock);
no_tokenizer_lock:
  return fail(err, MS_ENOMEM, "out of memory (locks of an engine)");
}

static void free_engine (ms_engine *engine) {
  ms_cache_release(engine->cache);
  model_runner_close(engine->runner);
  if (engine->backend != NULL) engine->backend->close(engine->backend);
  model_close(engine->model);
  memory_free(engine->origin);
  ms_tokenizer_release(engine->tokenizer);
  sampler_scratch_free(&engine->scratch);
  memory_free(engine->step.logits);
  memory_free(engine->step.experts);
  memory_free(engine->jobs);
  memory_free(engine->order);
  memory_free(engine);
}

static void report (const ms_engine_options *o, const char *phase, uint64_t done) {
  if (o->progress != NULL) o->progress(o->progress_user, phase, done, 1);
}

/* All but locks and registry. */
static ms_status open_parts (ms_engine *engine, const ms_engine_options *o, ms_error *err) {
  const backend_options wanted = {
    .kernels = o->kernels == NULL ? "auto" : o->kernels, .numerics = o->numerics,
    .threads = o->threads == 0 ? 1 : o->threads == MS_ALL_CORES ? 0 : o->threads
  };
  report(o, "open", 0);
  TRY(model_open(o->path, o->access, &engine->model, err));
  TRY(file_path_absolute(checkpoint_origin(engine->model->files), &engine->origin, err));
  report(o, "open", 1);
  TRY(backend_open(o->backend == NULL ? "auto" : o->backend, &wanted, &engine->backend, err));
  if (o->check == MS_CHECK_WEIGHTS) TRY(model_check_weights(engine->model, o->progress, o->progress_user, err));

  const backend *be = engine->backend;
  model_describe(engine->model, &engine->info.model);
  engine->heap.be = engine->backend;
  engine->access = o->access;
  engine->cache = ms_cache_retain(o->cache);
  engine->info.backend = be->name;
  engine->info.kernels = be->kernels;
  engine->info.numerics = numerics_names[be->numerics];
  engine->info.threads = be->threads(be);
  engine->stats.scratch_bytes = be->scratch_bytes(be);
  engine->hosted = o->threads == 0;
  engine->all_cores = o->threads == MS_ALL_CORES;
  engine->job_limit = JOB_LIMIT;
  engine->slice_ns = SLICE_MS * UINT64_C(1000000);
  engine->handles = 1;
  return MS_OK;
}

ms_status ms_engine_open (const ms_engine_options *options, ms_engine **out, ms_error *err) {
  *out = NULL;
  TRY(check_options(options, err));
  ms_engine *engine = memory_new(1, sizeof *engine);
  if (engine == NULL) return fail_memory(err, sizeof *engine, "an engine");
  ms_status status = open_parts(engine, options, err);
  if (status == MS_OK) status = make_locks(engine, err);
  if (status == MS_OK) {
    status = registry_add(engine, err);
    if (status == MS_OK) *out = engine;
    else {
      uv_cond_destroy(&engine->events);
      uv_cond_destroy(&engine->work);
      uv_mutex_destroy(&engine->lock);
      uv_mutex_destroy(&engine->tokenizer_lock);
    }
  }
  if (status != MS_OK) free_engine(engine);
  return status;
}

/* {== Ending ===================================================================================== */

/* Without handles every job is cancelled: the thread ends after the stage in flight. */
static void end_engine (ms_engine *engine) {
  registry_remove(engine);
  engine_lock(engine);
  bool runs = engine->thread_runs;
  engine->quit = true;
  engine_wake(engine);
  engine_unlock(engine);
  if (runs) uv_thread_join(&engine->thread);
  prefix_end(engine);
  uv_cond_destroy(&engine->events);
  uv_cond_destroy(&engine->work);
  uv_mutex_destroy(&engine->lock);
  uv_mutex_destroy(&engine->tokenizer_lock);
  free_engine(engine);
}

void engine_unlock_drop (ms_engine *engine) {
  bool last = --engine->handles == 0;
  engine_unlock(engine);
  if (last) end_engine(engine);
}

void ms_engine_release (ms_engine *engine) {
  if (engine == NULL) return;
  engine_lock(engine);
  engine_unlock_drop(engine);
}

/* {== Looking ==================================================================================== */

void ms_engine_get_info (ms_engine *engine, ms_engine_info *info) {
  engine_lock(engine);
  *info = engine->info;
  engine_unlock(engine);
}

void ms_engine_get_stats (ms_engine *engine, ms_engine_stats *stats) {
  engine_lock(engine);
  *stats = engine->stats;
  stats->answer_threads = engine->all_cores ? saturation_found(&engine->saturation) : engine->info.threads;
  stats->session_bytes = atomic_load(&engine->heap.bytes);
  for (const ms_session *session = engine->sessions; session != NULL; session = session->next) stats->sessions++;
  for (size_t i = 0; i < engine->job_count; i++) stats->jobs += !engine->jobs[i]->ended;
  engine_unlock(engine);
}

size_t ms_engine_get_stages (ms_engine *engine, ms_stage_stats *stages, size_t limit) {
  stage_time times[STAGE_LIMIT];
  size_t count = profile_read(engine->backend, times, STAGE_LIMIT);
  for (size_t i = 0; i < count && i < limit; i++)
    stages[i] = (ms_stage_stats){ times[i].name, times[i].calls, (double)times[i].ns * 1e-9 };
  return count;
}

ms_status ms_engine_plan_memory (ms_engine *engine, size_t context, ms_memory_plan *plan, ms_error *err) {
  const ms_model_info *info = &engine->info.model;
  const size_t logits = info->vocabulary * sizeof(float), id = sizeof(int32_t);
  model_cache_sizes cache;
  if (context == 0) context = info->context;
  if (context > info->context)
    return fail(err, MS_EINVAL, "context is %zu: the model allows from 1 to %zu", context, info->context);
  TRY(model_cache_plan(engine->model, engine->backend, context, &cache, err));
  plan->weights = info->bytes;
  plan->session = cache.rows + context * id + logits + MARK_LIMIT * (cache.mark + logits);
  plan->session += routing_count_bytes(engine);
  plan->per_token = cache.per_token + id;
  TRY(snapshot_bytes(engine->model, engine->backend, context, &plan->saved, err));
  plan->scratch = model_runner_plan(engine->model, STEP_ROWS) + logits;
  return MS_OK;
}

/* {== Changing =================================================================================== */

ms_status ms_engine_set_threads (ms_engine *engine, size_t threads, ms_error *err) {
  ms_status status = MS_OK;
  if (engine->hosted || threads == 0)
    return fail(err, MS_EINVAL, "threads: an engine is opened without threads of its own, or with some, for good");
  engine_lock(engine);
  engine->all_cores = threads == MS_ALL_CORES;
  if (threads == MS_ALL_CORES) threads = 0;
  if (engine->thread_runs) {             /* stages run there: it is applied before the next step */
    engine->threads = threads;
    engine->set_threads = true;
  } else {
    status = engine->backend->set_threads(engine->backend, threads, err);
    engine->info.threads = engine->backend->threads(engine->backend);
  }
  engine_unlock(engine);
  return status;
}

ms_status ms_engine_set_limits (ms_engine *engine, const ms_engine_limits *limits, ms_error *err) {
  if (limits->jobs == 0) return fail(err, MS_EINVAL, "max_jobs is 0: at least one job must be able to run");
  if (!(limits->slice_ms >= 0 && limits->slice_ms <= SLICE_MS_LIMIT))
    return fail(err, MS_EINVAL, "slice_ms is %g: it must lie between 0 and %d", limits->slice_ms, SLICE_MS_LIMIT);
  engine_lock(engine);
  engine->job_limit = limits->jobs;
  engine->slice_ns = (uint64_t)(limits->slice_ms * 1e6);
  engine_unlock(engine);
  return MS_OK;
}

void ms_engine_get_limits (ms_engine *engine, ms_engine_limits *limits) {
  engine_lock(engine);
  *limits = (ms_engine_limits){ .jobs = engine->job_limit, .slice_ms = (double)engine->slice_ns * 1e-6 };
  engine_unlock(engine);
}

static ms_status open_tokenizer (ms_engine *engine, ms_error *err) {
  if (engine->tokenizer != NULL) return MS_OK;
  return ms_tokenizer_open(engine->origin, &engine->tokenizer, err);
}

ms_status ms_engine_tokenizer (ms_engine *engine, ms_tokenizer **tokenizer, ms_error *err) {
  *tokenizer = NULL;
  uv_mutex_lock(&engine->tokenizer_lock);
  ms_status status = open_tokenizer(engine, err);
  if (status == MS_OK) *tokenizer = ms_tokenizer_retain(engine->tokenizer);
  uv_mutex_unlock(&engine->tokenizer_lock);
  return status;
}
