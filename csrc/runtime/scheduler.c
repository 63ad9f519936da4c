/*
** The engine thread. It forms a step from the jobs that can run, computes it without the lock, and commits
** what is still wanted:
**
**   form     one row of every job that has one token to read, then the rest of STEP_ROWS shared by those
**            with more; jobs that have read everything only draw
**   compute  model_forward over all rows at once, one draw a job
**   commit   caches, tokens, events
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

/* Ends jobs that are cancelled or late and strikes ended ones off the list. */
static void sweep (ms_engine *engine) {
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
  sweep(engine);
  for (size_t i = 0; i < engine->step.count; i++) live += !engine->step.items[i].job->ended;
  engine_unlock(engine);
  return live == 0;
}

/* {== Forming a step ============================================================================= */

static size_t unread_of (const ms_job *job) {
  return job->session->tokens.count - session_read(job->session);
}

static bool has_room (const ms_job *job) {
  return job->event_count < EVENT_LIMIT;
}

/* Takes up to `count` of the job's unread tokens into the step; a job that cannot have its memory fails alone. */
static void add_item (ms_engine *engine, ms_job *job, size_t count) {
  step *s = &engine->step;
  ms_session *session = job->session;
  ms_error err;
  if (session_reserve(session, count, job->options.max_tokens != 0, &err) != MS_OK) {
    job_fail(job, &err);
    return;
  }
  size_t read = session_read(session);
  step_item *item = &s->items[s->count++];
  *item = (step_item){ .job = job, .count = count, .logit_row = NO_LOGITS, .position = read + count };
  if (item->position == session->tokens.count) item->logit_row = s->logit_rows++;
  item->routing = model_routing_retain(session->routing);
  job->references++;
  if (count == 0) return;
  memcpy(s->tokens + s->rows, session->tokens.ids + read, count * sizeof *s->tokens);
  s->segments[s->segment_count++] = (model_segment){
    .cache = session->cache, .tokens = s->tokens + s->rows, .count = count,
    .logit_rows = item->logit_row != NO_LOGITS
  };
  s->rows += count;
  item->cache = model_cache_share(session->cache);
}

/* The i-th job in this step's order. */
static ms_job *job_in_turn (const ms_engine *engine, size_t i) {
  return engine->jobs[(engine->turn + i) % engine->job_count];
}

/* Jobs with one token to read; counts those with more. */
static size_t add_decodes (ms_engine *engine) {
  size_t longer = 0;
  for (size_t i = 0; i < engine->job_count; i++) {
    ms_job *job = job_in_turn(engine, i);
    if (job->ended || !has_room(job)) continue;
    size_t unread = unread_of(job);
    longer += unread > 1;
    if (unread == 1 && engine->step.rows < STEP_ROWS) add_item(engine, job, 1);
  }
  return longer;
}

/* Every one gets an equal share of the rows that are left; what one does not need goes to those behind it. */
static void add_prefills (ms_engine *engine, size_t longer) {
  for (size_t i = 0; i < engine->job_count && longer != 0; i++) {
    ms_job *job = job_in_turn(engine, i);
    size_t left = STEP_ROWS - engine->step.rows;
    if (left == 0) return;
    if (job->ended || !has_room(job) || unread_of(job) < 2) continue;
    size_t share = (left + longer - 1) / longer, unread = unread_of(job);
    add_item(engine, job, unread < share ? unread : share);
    longer--;
  }
}

/* Jobs that have read everything: those that only read are done, the others draw from the logits at hand. */
static void add_draws (ms_engine *engine) {
  for (size_t i = 0; i < engine->job_count && engine->step.count < STEP_ROWS; i++) {
    ms_job *job = job_in_turn(engine, i);
    if (job->ended || !has_room(job) || unread_of(job) != 0) continue;
    if (job->options.max_tokens == 0) job_end(job, MS_FINISH_LENGTH);
    else add_item(engine, job, 0);
  }
}

static void begin_jobs (ms_engine *engine) {
  for (size_t i = 0; i < engine->job_count; i++) {
    ms_job *job = engine->jobs[i];
    if (!job->begun && !job->ended) session_mark(job->session);
    job->begun = true;
  }
}

static ms_status grow_logits (step *s, size_t vocabulary, ms_error *err) {
  if (s->logit_rows <= s->logit_capacity) return MS_OK;
  memory_free(s->logits);
  s->logit_capacity = 0;
  s->logits = memory_new(s->logit_rows, vocabulary * sizeof *s->logits);
  if (s->logits == NULL) return fail_memory(err, s->logit_rows * vocabulary * sizeof *s->logits, "logits");
  s->logit_capacity = s->logit_rows;
  return MS_OK;
}

/* Logits at hand are copied: a job that is released gives its session back at once. */
static void copy_logits (ms_engine *engine) {
  size_t vocabulary = engine->info.model.vocabulary;
  for (size_t i = engine->step.segment_count; i < engine->step.count; i++) {
    const step_item *item = &engine->step.items[i];
    memcpy(engine->step.logits + item->logit_row * vocabulary, item->job->session->logits,
           vocabulary * sizeof *engine->step.logits);
  }
}

static void end_step (ms_engine *engine) {
  for (size_t i = 0; i < engine->step.count; i++) {
    step_item *item = &engine->step.items[i];
    job_discard(&item->drawn);
    model_routing_release(item->routing);
    model_cache_close(item->cache);
    job_unreference(item->job);
  }
  engine->step.count = 0;
  engine->in_flight = false;
}

/* False when there is nothing to do now. */
static bool form (ms_engine *engine) {
  step *s = &engine->step;
  ms_error err;
  s->count = s->segment_count = s->rows = s->logit_rows = 0;
  begin_jobs(engine);
  add_prefills(engine, add_decodes(engine));
  add_draws(engine);
  engine->turn = engine->job_count == 0 ? 0 : (engine->turn + 1) % engine->job_count;
  if (s->count == 0) return false;
  if (grow_logits(s, engine->info.model.vocabulary, &err) != MS_OK || routing_place(engine, &err) != MS_OK) {
    for (size_t i = 0; i < s->count; i++) job_fail(s->items[i].job, &err);
    end_step(engine);
    return false;
  }
  copy_logits(engine);
  s->set_threads = engine->set_threads && s->segment_count != 0;
  s->threads = engine->threads;
  if (s->set_threads) engine->set_threads = false;
  engine->in_flight = true;
  return true;
}

/* {== Computing it =============================================================================== */

static ms_status prepare_backend (ms_engine *engine, ms_error *err) {
  backend *be = engine->backend;
  if (engine->runner == NULL) TRY(model_runner_open(engine->model, be, &engine->runner, err));
  if (engine->step.set_threads) TRY(be->set_threads(be, engine->step.threads, err));
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
  for (size_t i = 0; i < engine->step.count; i++) {
    step_item *item = &engine->step.items[i];
    if (item->status != MS_OK || item->logit_row == NO_LOGITS) continue;
    if (item->job->ended || item->job->options.max_tokens == 0) continue;
    const float *logits = engine->step.logits + item->logit_row * engine->info.model.vocabulary;
    item->status = job_draw(item->job, &engine->scratch, logits, item->position, &item->drawn, &item->error);
  }
}

static void compute (ms_engine *engine) {
  uint64_t start = clock_now();
  forward_all(engine);
  draw_all(engine);
  engine->step.duration = clock_now() - start;
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
  if (item->count != 0 && item->logit_row != NO_LOGITS)
    logits = engine->step.logits + item->logit_row * engine->info.model.vocabulary;
  account(engine, item, session_commit(session, item->count, logits));
  if (item->count != 0) routing_count(session, engine->step.segments[item - engine->step.items].experts, item->count);
  bool reading = job->read != job->prefill_done;
  if (reading) job_queue_prefill(job);
  if (reading && logits != NULL) session_mark(session);

  event_node *node = item->drawn.node;
  if (node == NULL) {
    if (logits != NULL && job->options.max_tokens == 0) job_end(job, MS_FINISH_LENGTH);
    return;
  }
  session->tokens.ids[session->tokens.count++] = node->event.token;
  item->drawn.node = NULL;
  job_queue_token(job, node);
  if (item->drawn.last) job_end(job, item->drawn.finish);
}

static void commit (ms_engine *engine) {
  backend *be = engine->backend;
  for (size_t i = 0; i < engine->step.count; i++) commit_item(engine, &engine->step.items[i]);
  engine->stats.steps += engine->step.segment_count != 0;
  engine->stats.scratch_bytes = be->scratch_bytes(be);
  if (engine->runner != NULL) engine->stats.scratch_bytes += model_runner_bytes(engine->runner);
  if (!engine->set_threads) engine->info.threads = be->threads(be);
  end_step(engine);
  sweep(engine);                         /* whoever sees a job's end finds nothing of it left here */
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

static void run (void *argument) {
  ms_engine *engine = argument;
  bool quit = false;
  fesetenv(FE_DFL_ENV);                  /* whatever mode the thread that made this one was in */
  while (!quit) {
    engine_lock(engine);
    sweep(engine);
    quit = engine->quit && engine->job_count == 0;
    bool formed = !quit && form(engine);
    sweep(engine);                       /* some may have ended without a step */
    if (!formed && !engine->quit && engine->garbage_jobs == NULL) wait_for_work(engine);
    engine_unlock(engine);
    if (!formed) continue;
    compute(engine);
    engine_lock(engine);
    commit(engine);
    engine_unlock(engine);
  }
}

ms_status engine_start (ms_engine *engine, ms_error *err) {
  if (engine->thread_runs) return MS_OK;
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
  if (in_flight) {
    engine->runner = NULL;
    engine->scratch = (sampler_scratch){ 0 };
    for (size_t i = 0; i < engine->step.count; i++) engine->step.items[i].drawn.node = NULL;
    engine->set_threads = engine->set_threads || engine->step.set_threads;
    end_step(engine);
  }
  for (size_t i = 0; i < engine->job_count; i++)
    if (!engine->jobs[i]->ended) job_after_fork(engine->jobs[i], in_flight);
  sweep(engine);
}
