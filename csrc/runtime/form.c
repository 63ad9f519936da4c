/*
** Forming a step from the jobs that can run, in the order of their priority and, among equals, in turn:
**
**   decodes   one row of every job that has one token to read
**   prefills  rows shared by the jobs with more to read, as many as the answers under way can wait for
**   draws     jobs that have read everything and draw from the logits at hand
**
** Everything here runs under the engine's lock.
*/
#include <string.h>

#include "../base/memory.h"
#include "runtime.h"

enum {
  PREFILL_ROWS = 16,          /* kept for reading and first tokens when answers would fill the step */
  SCORE_BYTES = 32 << 20      /* logits of the rows that are scored in one step */
};

/* {== What a job wants =========================================================================== */

/* The last token of a text that is scored need not be read. */
static size_t unread_of (const ms_job *job) {
  size_t held = job->session->tokens.count;
  return held - (job->scored != 0) - session_read(job->session);
}

static bool draws (const ms_job *job) {
  return job->options.max_tokens != 0;
}

static bool can_run (const ms_job *job) {
  return !job->ended && !job->paused && job->event_count < EVENT_LIMIT;
}

/* {== Adding to the step ========================================================================= */

/* Of the next `count` rows of a text that is scored, those whose logits are wanted, all at its end. */
static size_t rows_to_score (const ms_job *job, size_t count) {
  size_t end = session_read(job->session) + count, before = job->score_from - 1;
  if (end <= before) return 0;
  return end - before < count ? end - before : count;
}

static size_t limit_scored (const ms_engine *engine, const ms_job *job, size_t count) {
  size_t most = SCORE_BYTES / (engine->info.model.vocabulary * sizeof(float)), taken = engine->step.logit_rows;
  size_t room = most > taken ? most - taken : 1, wanted = rows_to_score(job, count);
  return wanted > room ? count - (wanted - room) : count;
}

static size_t logit_rows_of (const ms_job *job, size_t count) {
  if (job->scored != 0) return rows_to_score(job, count);
  return session_read(job->session) + count == job->session->tokens.count;
}

/* Takes `count` of the job's unread tokens into the step; a job that cannot have its memory fails alone. */
static void add_item (ms_engine *engine, ms_job *job, size_t count) {
  step *s = &engine->step;
  ms_session *session = job->session;
  ms_error err;
  if (session_reserve(session, count, draws(job), &err) != MS_OK) {
    job_fail(job, &err);
    return;
  }
  size_t read = session_read(session);
  step_item *item = &s->items[s->count++];
  *item = (step_item){
    .job = job, .count = count, .position = read + count, .logit_row = s->logit_rows,
    .logit_rows = logit_rows_of(job, count), .routing = model_routing_retain(session->routing)
  };
  s->logit_rows += item->logit_rows;
  job->references++;
  if (count == 0) return;
  memcpy(s->tokens + s->rows, session->tokens.ids + read, count * sizeof *s->tokens);
  if (job->scored != 0) item->next = session->tokens.ids[read + count];
  s->segments[s->segment_count++] = (model_segment){
    .cache = session->cache, .tokens = s->tokens + s->rows, .count = count, .logit_rows = item->logit_rows
  };
  s->rows += count;
  item->cache = model_cache_share(session->cache);
}

/* {== Order ====================================================================================== */

/* engine->jobs stands by priority; equals take turns at being first. */
static void order_jobs (ms_engine *engine) {
  for (size_t from = 0, end; from < engine->job_count; from = end) {
    for (end = from + 1; end < engine->job_count; end++)
      if (engine->jobs[end]->options.priority != engine->jobs[from]->options.priority) break;
    for (size_t i = from; i < end; i++)
      engine->order[i] = engine->jobs[from + (engine->turn + i) % (end - from)];
  }
  engine->turn++;
}

typedef bool job_test (const ms_job *job);

static bool wants_first_token (const ms_job *job) {
  return unread_of(job) == 0 && draws(job);
}

static bool wants_prefill (const ms_job *job) {
  return unread_of(job) > 1;
}

static bool any_job (const ms_engine *engine, job_test *test) {
  for (size_t i = 0; i < engine->job_count; i++)
    if (can_run(engine->order[i]) && test(engine->order[i])) return true;
  return false;
}

/* Returns how many jobs are under way with an answer: they wait for what else is in the step. */
static size_t add_decodes (ms_engine *engine, size_t rows) {
  size_t answers = 0;
  for (size_t i = 0; i < engine->job_count; i++) {
    ms_job *job = engine->order[i];
    if (!can_run(job)) continue;
    size_t unread = unread_of(job);
    answers += unread <= 1 && draws(job);
    if (unread == 1 && engine->step.rows < rows) add_item(engine, job, 1);
  }
  return answers;
}

/* Jobs from order[from] on that have more than one token to read and the same priority. */
static size_t count_equals (const ms_engine *engine, size_t from) {
  int priority = engine->order[from]->options.priority;
  size_t equals = 0;
  for (size_t i = from; i < engine->job_count && engine->order[i]->options.priority == priority; i++)
    equals += can_run(engine->order[i]) && wants_prefill(engine->order[i]);
  return equals;
}

static bool is_alone (const ms_engine *engine) {
  size_t running = 0;
  for (size_t i = 0; i < engine->job_count; i++) running += can_run(engine->order[i]);
  return running == 1 && !engine->hosted;
}

/*
** The rows go to the highest priority; equals have equal shares, and what one does not need goes to those
** behind it. With `answers` waiting, as many as fit the slice.
*/
static void add_prefills (ms_engine *engine, size_t answers) {
  const size_t most = is_alone(engine) ? STEP_ROWS : SHARED_ROWS;
  size_t equals = 0, rows = most;
  if (answers != 0) rows = pace_rows(&engine->pace, engine->step.decodes, engine->slice_ns, most);
  for (size_t i = 0; i < engine->job_count; i++) {
    ms_job *job = engine->order[i];
    size_t left = rows < most - engine->step.rows ? rows : most - engine->step.rows;
    if (left == 0) return;
    if (i == 0 || job->options.priority != engine->order[i - 1]->options.priority) equals = count_equals(engine, i);
    if (!can_run(job) || !wants_prefill(job)) continue;
    size_t share = (left + equals - 1) / equals, unread = unread_of(job), before = engine->step.rows;
    size_t count = unread < share ? unread : share;
    if (answers != 0) count = pace_next(job->slice, count);
    job->slice = count;
    add_item(engine, job, job->scored == 0 ? count : limit_scored(engine, job, count));
    rows -= engine->step.rows - before;
    equals--;
  }
}

/* Jobs that have read everything: those that only read are done, the others draw from the logits at hand. */
static void add_draws (ms_engine *engine) {
  for (size_t i = 0; i < engine->job_count; i++) {
    ms_job *job = engine->order[i];
    if (!can_run(job) || unread_of(job) != 0) continue;
    if (!draws(job)) job_end(job, MS_FINISH_LENGTH);
    else if (engine->step.count < STEP_ROWS) add_item(engine, job, 0);
  }
}

/* {== The step =================================================================================== */

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

static ms_status place (ms_engine *engine, ms_error *err) {
  TRY(grow_logits(&engine->step, engine->info.model.vocabulary, err));
  TRY(routing_place(engine, err));
  copy_logits(engine);
  return MS_OK;
}

bool step_form (ms_engine *engine) {
  step *s = &engine->step;
  ms_error err;
  s->count = s->segment_count = s->rows = s->logit_rows = 0;
  begin_jobs(engine);
  order_jobs(engine);
  bool kept = any_job(engine, wants_prefill) || any_job(engine, wants_first_token);
  size_t answers = add_decodes(engine, SHARED_ROWS - (kept ? PREFILL_ROWS : 0));
  s->decodes = s->rows;
  add_prefills(engine, answers);
  add_draws(engine);
  if (s->count == 0) return false;
  if (place(engine, &err) != MS_OK) {
    for (size_t i = 0; i < s->count; i++) job_fail(s->items[i].job, &err);
    step_end(engine);
    s->segment_count = s->rows = s->decodes = 0;   /* an empty step: others may be able to run after it */
  }
  s->set_threads = engine->set_threads && s->segment_count != 0;
  s->threads = engine->threads;
  if (s->set_threads) engine->set_threads = false;
  s->used = s->set_threads ? SIZE_MAX : engine->backend->threads(engine->backend);   /* all there will be */
  s->tried = false;
  if (engine->all_cores && s->rows == 1 && !s->set_threads) {
    s->used = saturation_threads(&engine->saturation, s->used);
    s->tried = saturation_found(&engine->saturation) == 0;
  }
  engine->in_flight = true;
  return true;
}

void step_end (ms_engine *engine) {
  for (size_t i = 0; i < engine->step.count; i++) {
    step_item *item = &engine->step.items[i];
    job_discard(&item->drawn);
    model_routing_release(item->routing);
    model_cache_close(item->cache);
    job_unreference(item->job);
  }
  engine->step.count = 0;
  engine->in_flight = false;
  uv_cond_broadcast(&engine->events);    /* a save may wait for it */
}
