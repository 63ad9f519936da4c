/*
** Steps, on the engine thread, or on a host's (an engine opened with threads = 0):
**
**   form     from the jobs that can run (form.c)
**   compute  model_forward over all rows at once, without the lock; one draw a job, or its scores
**   commit   what is still wanted: caches, tokens, events
**
** A job leaves a step in flight between two layers when it is cancelled or late (sweep); only when nobody is
** left is the step itself given up.
**
** Lock order: registry, then an engine's tokenizer_lock, then its lock. No lock is held while model_forward,
** a draw or a tokenizer's opening runs.
*/
#include <fenv.h>
#include <string.h>

#include "../base/clock.h"
#include "../base/memory.h"
#include "../base/thread.h"
#include "runtime.h"

enum { STACK_BYTES = 4 << 20 };

/* {== Jobs that end without a step =============================================================== */

void engine_sweep (ms_engine *engine) {
  size_t kept = 0;
  uint64_t now = clock_now();
  for (size_t i = 0; i < engine->job_count; i++) {
    ms_job *job = engine->jobs[i];
    if (!job->ended && job->cancelled) job_end(job, MS_FINISH_CANCEL);
    else if (!job->ended && now >= job->deadline) job_end(job, MS_FINISH_DEADLINE);
    if (job->ended) job_unreference(job);
    else engine->jobs[kept++] = job;
  }
  engine->job_count = kept;
}

/* Asked between layers: nobody waits for the step any more. */
static int abandoned (void *user) {
  ms_engine *engine = user;
  size_t live = 0;
  engine_lock(engine);
  engine_sweep(engine);
  for (size_t i = 0; i < engine->step.count; i++) live += !engine->step.items[i].job->ended;
  engine_unlock(engine);
  return live == 0;
}

/* {== Computing it =============================================================================== */

static ms_status prepare_backend (ms_engine *engine, ms_error *err) {
  backend *be = engine->backend;
  if (engine->runner == NULL) TRY(model_runner_open(engine->model, be, &engine->runner, err));
  if (engine->step.set_threads) TRY(be->set_threads(be, engine->step.threads, err));
  be->use_threads(be, engine->step.used);
  return MS_OK;
}

/* Segments [from, from + count) of the step; their items fail together. */
static ms_status forward (ms_engine *engine, size_t from, size_t count) {
  step *s = &engine->step;
  ms_error err;
  size_t row = 0, vocabulary = engine->info.model.vocabulary;
  for (size_t i = 0; i < from; i++) row += s->segments[i].logit_rows;
  float *logits = s->logits == NULL ? NULL : s->logits + row * vocabulary;
  ms_status status = prepare_backend(engine, &err);
  if (status == MS_OK)
    status = model_forward(engine->runner, s->segments + from, count, abandoned, engine, logits, &err);
  for (size_t i = from; i < from + count; i++) {
    s->items[i].status = status;
    if (status != MS_OK) s->items[i].error = err;
  }
  return status;
}

/* A failure may be the fault of one session alone (its logits, its memory): then the others go on. */
static void forward_all (ms_engine *engine) {
  step *s = &engine->step;
  if (s->segment_count == 0) return;
  ms_status status = forward(engine, 0, s->segment_count);
  if (status == MS_OK || status == MS_ECANCELED || s->segment_count == 1) return;
  for (size_t i = 0; i < s->segment_count; i++)
    if (!s->items[i].job->ended) forward(engine, i, 1);
}

static void draw_all (ms_engine *engine) {
  step *s = &engine->step;
  for (size_t i = 0; i < s->count; i++) {
    step_item *item = &s->items[i];
    if (item->status != MS_OK || item->logit_rows == 0 || item->job->ended) continue;
    const float *logits = s->logits + item->logit_row * engine->info.model.vocabulary;
    if (item->job->scored != 0) {
      job_score(item->job, item, s->segments[i].tokens, logits);
      continue;
    }
    if (item->job->options.max_tokens == 0) continue;
    item->status = job_draw(item->job, &engine->scratch, logits, item->position, &item->drawn, &item->error);
  }
}

/* Pages that this process has waited for so far. */
static uint64_t pages_read (void) {
  uv_rusage_t usage;
  return uv_getrusage(&usage) == 0 ? usage.ru_majflt : 0;
}

static void compute (ms_engine *engine) {
  const bool tried = engine->step.tried;
  uint64_t start = clock_now(), pages = tried ? pages_read() : 0;
  forward_all(engine);
  draw_all(engine);
  engine->step.duration = clock_now() - start;
  engine->step.waited = tried && pages_read() != pages;
}

/* {== Committing it ============================================================================== */

/* Rows of tokens that the job drew itself are decoding, all others prefill. */
static void account (ms_engine *engine, const step_item *item, size_t reread) {
  ms_job *job = item->job;
  ms_engine_stats *stats = &engine->stats;
  if (item->count == 0) return;
  double share = (double)engine->step.duration * 1e-9 * (double)item->count / (double)engine->step.rows;
  size_t drawn_before = job->tokens.count - (item->drawn.node != NULL);
  job->reread += reread;
  if (drawn_before != 0) {
    job->decode_ns += engine->step.duration;
    stats->decode_tokens += item->count;
    stats->decode_seconds += share;
    return;
  }
  job->read += item->count;
  job->prefill_ns += engine->step.duration;
  stats->prefill_tokens += item->count;
  stats->prefill_seconds += share;
}

static void commit_item (ms_engine *engine, step_item *item) {
  ms_job *job = item->job;
  ms_session *session = job->session;
  model_cache_close(item->cache);        /* of which the session is again the only owner */
  item->cache = NULL;
  if (job->ended || !job_is_attached(job)) return;
  if (item->status != MS_OK) {
    job_fail(job, &item->error);
    return;
  }
  const float *logits = NULL;
  if (item->count != 0 && item->logit_rows != 0)
    logits = engine->step.logits + (item->logit_row + item->logit_rows - 1) * engine->info.model.vocabulary;
  session->steered = session->steered || (item->routing != NULL && item->count != 0);
  account(engine, item, session_commit(session, item->count, logits));
  if (item->count != 0) routing_count(session, engine->step.segments[item - engine->step.items].experts, item->count);
  bool reading = job->read != job->prefill_done;
  if (reading) job_queue_prefill(job);
  if (reading && logits != NULL && job->scored == 0) {
    session_mark(session);
    prefix_offer(session, job->read);
  }

  event_node *node = item->drawn.node;
  if (node == NULL) {
    if (logits != NULL && job->options.max_tokens == 0 && job->scored == 0) job_end(job, MS_FINISH_LENGTH);
    return;
  }
  session->tokens.ids[session->tokens.count++] = node->event.token;
  item->drawn.node = NULL;
  job_queue_token(job, node);
  if (item->drawn.last) job_end(job, item->drawn.finish);
}

static void commit (ms_engine *engine) {
  backend *be = engine->backend;
  const step *s = &engine->step;
  if (s->items[0].status == MS_OK) {
    pace_measure(&engine->pace, s->rows - s->decodes, s->decodes, s->duration);
    if (s->tried) saturation_measure(&engine->saturation, s->duration, s->waited);
  }
  for (size_t i = 0; i < s->count; i++) commit_item(engine, &engine->step.items[i]);
  engine->stats.steps += s->segment_count != 0;
  engine->stats.scratch_bytes = be->scratch_bytes(be);
  if (engine->runner != NULL) engine->stats.scratch_bytes += model_runner_bytes(engine->runner);
  if (!engine->set_threads) engine->info.threads = be->threads(be);
  step_end(engine);
  engine_sweep(engine);                  /* whoever sees a job's end finds nothing of it left here */
}

/* {== The thread ================================================================================= */

/* Jobs whose reader is slow may still become late. */
static void wait_for_work (ms_engine *engine) {
  uint64_t deadline = UINT64_MAX, now = clock_now();
  for (size_t i = 0; i < engine->job_count; i++)
    if (engine->jobs[i]->deadline < deadline) deadline = engine->jobs[i]->deadline;
  if (deadline == UINT64_MAX) uv_cond_wait(&engine->work, &engine->lock);
  else if (deadline > now) uv_cond_timedwait(&engine->work, &engine->lock, deadline - now);
}

/* Under the lock, given back while it computes. False when there is nothing to do now. */
static bool run_step (ms_engine *engine) {
  engine_sweep(engine);
  bool formed = step_form(engine);
  engine_sweep(engine);                  /* some may have ended without a step */
  if (!formed) return false;
  engine_unlock(engine);
  compute(engine);
  engine_lock(engine);
  commit(engine);
  return true;
}

static void run (void *argument) {
  ms_engine *engine = argument;
  fesetenv(FE_DFL_ENV);                  /* whatever mode the thread that made this one was in */
  engine_lock(engine);
  for (;;) {
    engine_sweep(engine);
    if (engine->quit && engine->job_count == 0) break;
    if (!run_step(engine) && !engine->quit && engine->garbage_jobs == NULL) wait_for_work(engine);
    engine_unlock(engine);               /* frees what nobody refers to any more */
    engine_lock(engine);
  }
  engine_unlock(engine);
}

bool engine_step (ms_engine *engine) {
  fenv_t before;
  if (engine->in_flight) return false;
  fegetenv(&before);
  fesetenv(FE_DFL_ENV);
  engine->in_flight = true;              /* also while the step is formed: other threads of the host keep out */
  bool stepped = run_step(engine);
  engine->in_flight = false;
  prefix_write(engine);
  fesetenv(&before);
  uv_cond_broadcast(&engine->events);    /* another thread that waits may step next */
  return stepped;
}

void engine_wake (ms_engine *engine) {
  if (!engine->hosted) {
    uv_cond_signal(&engine->work);
    return;
  }
  if (!engine->in_flight) engine_sweep(engine);
  uv_cond_broadcast(&engine->events);    /* a thread that waits may have something to compute now */
}

ms_status engine_start (ms_engine *engine, ms_error *err) {
  if (engine->thread_runs || engine->hosted) return MS_OK;
  int code = thread_start(&engine->thread, STACK_BYTES, run, engine);
  if (code != 0) return fail(err, MS_ENOMEM, "cannot start the engine thread: %s", uv_strerror(code));
  engine->thread_runs = true;
  return MS_OK;
}

/*
** The first call in a child process, which has no engine thread: its jobs fail, and what the thread was
** changing when the process was forked is left behind, for it may be half changed.
*/
void engine_adopt (ms_engine *engine) {
  bool in_flight = engine->in_flight;
  engine->forked = engine->thread_runs = false;
  prefix_after_fork(engine);
  if (in_flight) {
    engine->runner = NULL;
    engine->scratch = (sampler_scratch){ 0 };
    for (size_t i = 0; i < engine->step.count; i++) engine->step.items[i].drawn.node = NULL;
    engine->set_threads = engine->set_threads || engine->step.set_threads;
    step_end(engine);
  }
  for (size_t i = 0; i < engine->job_count; i++)
    if (!engine->jobs[i]->ended) job_after_fork(engine->jobs[i], in_flight);
  engine_sweep(engine);
}
