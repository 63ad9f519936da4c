/*
** Jobs: what a caller asked for, the events that tell of it, and the result. The engine thread computes
** (scheduler.c); here is what one job knows. Events come in a fixed order, which is why no queue of mixed
** kinds is needed: prefill (coalesced into one), tokens, the end.
*/
#include <string.h>

#include "../base/clock.h"
#include "../base/memory.h"
#include "runtime.h"

/* {== Events ===================================================================================== */

static bool event_waits (const ms_job *job) {
  return job->prefill_waiting || job->first != NULL || (job->ended && !job->end_taken);
}

/* After every change of what waits. */
static void tell (ms_job *job) {
  bool waits = event_waits(job);
  notifier_set(&job->notifier, waits);
  if (waits) uv_cond_broadcast(&job->session->engine->events);
}

void job_queue_prefill (ms_job *job) {
  job->prefill_waiting = true;
  job->prefill_done = job->read;
  tell(job);
}

void job_queue_token (ms_job *job, event_node *node) {
  if (job->first == NULL) job->first = node;
  else job->last->next = node;
  job->last = node;
  job->event_count++;
  tell(job);
}

static void finish_session (ms_job *job) {
  if (job_is_attached(job)) job->session->job = NULL;
  job->ended = true;
  tell(job);
}

void job_fail (ms_job *job, const ms_error *error) {
  job->error = *error;
  finish_session(job);
}

/* Text that still waited for its rest, or for a stop string's, comes with the last event. */
void job_end (ms_job *job, ms_finish finish) {
  size_t shown = job->text.released;
  ms_error err;
  text_finish(&job->text);
  job->finish = finish;
  if (text_copy(&job->text, shown, &job->tail, &job->tail_bytes, &err) == MS_OK) finish_session(job);
  else job_fail(job, &err);
}

static void take_token (ms_job *job, ms_event *event) {
  event_node *node = job->first;
  *event = node->event;
  job->first = node->next;
  memory_free(node);
  if (job->event_count-- == EVENT_LIMIT) engine_wake(job->session->engine);
}

static void take_end (ms_job *job, ms_event *event) {
  job->end_taken = true;
  if (job->error.status != MS_OK) {
    event->kind = MS_EVENT_ERROR;
    event->error = job->error;
    return;
  }
  event->kind = MS_EVENT_DONE;
  event->text = job->tail;
  event->bytes = job->tail_bytes;
  job->tail = NULL;
}

int ms_job_poll (ms_job *job, ms_event *event) {
  engine_lock(job->session->engine);
  int waits = event_waits(job);
  if (waits) {
    memset(event, 0, sizeof *event);
    if (job->prefill_waiting) {
      job->prefill_waiting = false;
      event->kind = MS_EVENT_PREFILL;
      event->done = job->prefill_done;
      event->total = job->prefill_total;
    } else if (job->first != NULL) {
      take_token(job, event);
    } else {
      take_end(job, event);
    }
    tell(job);
  }
  engine_unlock(job->session->engine);
  return waits;
}

void ms_event_clear (ms_event *event) {
  memory_free(event->text);
  event->text = NULL;
  event->bytes = 0;
}

/* Nobody but a waiter looks at the deadlines of an engine without a thread. */
static void wait_for_event (ms_job *job, uint64_t span) {
  ms_engine *engine = job->session->engine;
  uint64_t now = clock_now();
  if (engine->hosted && !engine->in_flight && job->deadline != UINT64_MAX) {
    uint64_t left = job->deadline > now ? job->deadline - now : 1;
    if (left < span) span = left;
  }
  if (span == UINT64_MAX) uv_cond_wait(&engine->events, &engine->lock);
  else uv_cond_timedwait(&engine->events, &engine->lock, span);
}

int ms_job_wait (ms_job *job, int64_t timeout_ms) {
  const int64_t limit_ms = INT64_MAX / 1000000;
  ms_engine *engine = job->session->engine;
  uint64_t start = uv_hrtime(), limit = 0, spent = 0;
  if (timeout_ms >= 0) limit = (uint64_t)(timeout_ms < limit_ms ? timeout_ms : limit_ms) * 1000000;
  engine_lock(engine);
  while (!event_waits(job) && !job->end_taken && (timeout_ms < 0 || spent < limit)) {
    bool stepped = engine->hosted && engine_step(engine);
    stepped = stepped || event_waits(job);               /* a job may end without a step */
    if (!stepped) wait_for_event(job, timeout_ms < 0 ? UINT64_MAX : limit - spent);
    spent = uv_hrtime() - start;
  }
  int ready = event_waits(job) || job->end_taken;
  engine_unlock(engine);
  return ready;
}

ms_status ms_job_step (ms_job *job, ms_error *err) {
  ms_engine *engine = job->session->engine;
  if (!engine->hosted)
    return fail(err, MS_EINVAL, "the engine computes on threads of its own: open it with threads = 0");
  engine_lock(engine);
  engine_step(engine);
  engine_unlock(engine);
  return MS_OK;
}

int ms_job_finished (ms_job *job) {
  engine_lock(job->session->engine);
  int finished = job->end_taken;
  engine_unlock(job->session->engine);
  return finished;
}

int ms_job_descriptor (ms_job *job, ms_error *err) {
  engine_lock(job->session->engine);
  int descriptor = notifier_descriptor(&job->notifier, err);
  engine_unlock(job->session->engine);
  return descriptor;
}

/* {== A token ==================================================================================== */

static bool contains (const int32_t *ids, size_t count, int32_t id) {
  for (size_t i = 0; i < count; i++)
    if (ids[i] == id) return true;
  return false;
}

/* The text of EOS and BOS belongs to no answer, that of a stop id to none either: it only ends one. */
static ms_status add_text (ms_job *job, int32_t id, bool ends, ms_error *err) {
  const model_config *c = &job->session->engine->model->config;
  size_t bytes;
  int control;
  if (job->tokenizer == NULL || ends || id == c->bos || contains(c->eos, c->eos_count, id)) return MS_OK;
  const char *text = ms_tokenizer_text(job->tokenizer, id, &bytes, &control);
  return text == NULL ? MS_OK : text_push(&job->text, text, bytes, err);
}

static ms_status fill_token (ms_job *job, const float *logits, size_t position, drawn_token *drawn, ms_error *err) {
  const model_config *c = &job->session->engine->model->config;
  size_t vocabulary = job->sampler.vocabulary, shown = job->text.released;
  ms_event *event = &drawn->node->event;
  int32_t id = event->token;
  event->kind = MS_EVENT_TOKEN;
  event->position = position;
  event->logprob_count = job->options.logprobs < vocabulary ? job->options.logprobs : vocabulary;
  event->logprob = sampler_logprobs(logits, vocabulary, id, event->logprobs, event->logprob_count);
  sampler_count(&job->sampler, id);
  TRY(ms_tokens_append(&job->tokens, &id, 1, err));

  bool stops = contains(job->stop_ids, job->stop_id_count, id)
            || (!job->options.ignore_eos && contains(c->eos, c->eos_count, id));
  TRY(add_text(job, id, stops, err));
  drawn->finish = stops || job->text.stopped ? MS_FINISH_STOP : MS_FINISH_LENGTH;
  drawn->last = drawn->finish == MS_FINISH_STOP || job->tokens.count == job->options.max_tokens
             || position + 1 == job->session->context;
  if (drawn->last) text_finish(&job->text);
  return text_copy(&job->text, shown, &event->text, &event->bytes, err);
}

ms_status job_draw (ms_job *job, sampler_scratch *scratch, const float *logits, size_t position,
                    drawn_token *drawn, ms_error *err) {
  int32_t id;
  TRY(sampler_choose(&job->sampler, scratch, logits, position, &id, err));
  drawn->node = memory_new(1, sizeof *drawn->node);
  if (drawn->node == NULL) return fail_memory(err, sizeof *drawn->node, "an event");
  drawn->node->event.token = id;
  ms_status status = fill_token(job, logits, position, drawn, err);
  if (status != MS_OK) job_discard(drawn);
  return status;
}

void job_discard (drawn_token *drawn) {
  if (drawn->node != NULL) ms_event_clear(&drawn->node->event);
  memory_free(drawn->node);
  drawn->node = NULL;
}

void job_score (ms_job *job, const step_item *item, const int32_t *tokens, const float *logits) {
  size_t vocabulary = job->session->engine->info.model.vocabulary;
  for (size_t i = item->count - item->logit_rows; i < item->count; i++, logits += vocabulary) {
    size_t position = item->position - item->count + i + 1;
    int32_t id = i + 1 < item->count ? tokens[i + 1] : item->next;
    job->logprobs[position - job->score_from] = sampler_logprobs(logits, vocabulary, id, NULL, 0);
  }
}

/* {== Starting =================================================================================== */

static ms_status copy_stop_ids (ms_job *job, const ms_generate_options *options, ms_error *err) {
  if (options->stop_count == 0) return MS_OK;
  job->stop_ids = memory_new(options->stop_count, sizeof *job->stop_ids);
  if (job->stop_ids == NULL) return fail_memory(err, options->stop_count * sizeof *job->stop_ids, "stop ids");
  for (size_t i = 0; i < options->stop_count; i++)
    if (options->stop[i].text == NULL) job->stop_ids[job->stop_id_count++] = options->stop[i].id;
  return MS_OK;
}

/* A model without a tokenizer generates ids; only what needs text is refused. */
static ms_status find_tokenizer (ms_job *job, ms_error *err) {
  ms_error missing;
  ms_status status = ms_engine_tokenizer(job->session->engine, &job->tokenizer, &missing);
  if (status == MS_ENOENT && job->text.stop_count == 0) return MS_OK;
  if (status != MS_OK && err != NULL) *err = missing;
  return status;
}

/* A drawn seed has 53 bits, so that a Lua whose numbers are doubles can give it back. */
static ms_status draw_seed (ms_generate_options *options, ms_error *err) {
  if (options->has_seed) return MS_OK;
  int code = uv_random(NULL, NULL, &options->seed, sizeof options->seed, 0, NULL);
  if (code != 0) return fail(err, MS_EIO, "cannot draw a seed: %s", uv_strerror(code));
  options->seed >>= 18;          /* 46 bits: Lua prints and reads back numbers of 14 digits */
  return MS_OK;
}

static uint64_t deadline_of (int64_t deadline_ms) {
  uint64_t now = clock_now(), span;
  if (deadline_ms < 0 || __builtin_mul_overflow((uint64_t)deadline_ms, UINT64_C(1000000), &span)) return UINT64_MAX;
  return span < UINT64_MAX - now ? now + span : UINT64_MAX;
}

static ms_status job_new (ms_session *session, const ms_generate_options *options, ms_job **out, ms_error *err) {
  ms_job *job = memory_new(1, sizeof *job);
  if (job == NULL) return fail_memory(err, sizeof *job, "a job");
  *out = job;
  job->session = session;
  job->references = 2;
  job->options = *options;
  job->paused = options->paused != 0;
  job->scored = options->score;
  job->deadline = deadline_of(options->deadline_ms);
  TRY(draw_seed(&job->options, err));
  TRY(copy_stop_ids(job, options, err));
  if (job->scored != 0) {
    job->logprobs = memory_new(job->scored, sizeof *job->logprobs);
    if (job->logprobs == NULL) return fail_memory(err, job->scored * sizeof *job->logprobs, "log-probabilities");
  }
  TRY(text_open(&job->text, options->stop, options->stop_count, options->raw != 0, err));
  return find_tokenizer(job, err);
}

static ms_status check_startable (const ms_job *job, ms_error *err) {
  const ms_session *session = job->session;
  size_t held = session->tokens.count;
  if (session->job != NULL) return fail(err, MS_EBUSY, "a job runs on the session");
  if (job->scored >= held && job->scored != 0)
    return fail(err, MS_EINVAL, "%zu tokens are to be scored: the session holds %zu, and its first follows none",
                job->scored, held);
  if (job->options.max_tokens == 0) return MS_OK;
  if (held == 0)
    return fail(err, MS_EINVAL,
                "the session holds no token: append at least one, such as the beginning-of-text token");
  if (held >= session->context)
    return fail(err, MS_ECTXFULL,
                "the session holds %zu tokens, all that its context has: none can be generated", held);
  return MS_OK;
}

/* The logits before the first token scored are at hand, or come from rows that are read once more. */
static ms_status job_prepare_score (ms_job *job, ms_error *err) {
  ms_session *session = job->session;
  size_t from = session->tokens.count - job->scored;
  job->score_from = from;
  if (session_read(session) == from && session->logits_at == from) {
    job->logprobs[0] = sampler_logprobs(session->logits, session->engine->info.model.vocabulary,
                                        session->tokens.ids[from], NULL, 0);
    return MS_OK;
  }
  return session_read(session) < from ? MS_OK : session_go_back(session, from - 1, err);
}

/* Jobs that were cancelled leave the list at the next sweep; they count no more. */
static size_t count_live (const ms_engine *engine) {
  size_t live = 0;
  for (size_t i = 0; i < engine->job_count; i++) live += !engine->jobs[i]->ended && !engine->jobs[i]->cancelled;
  return live;
}

static ms_status reserve_job (ms_engine *engine, ms_error *err) {
  if (engine->job_count >= engine->job_limit && count_live(engine) >= engine->job_limit)
    return fail(err, MS_EBUSY, "%zu jobs run or wait, which is the engine's limit (engine:set{ max_jobs = n })",
                count_live(engine));
  if (engine->job_count < engine->job_capacity) return MS_OK;
  size_t capacity = engine->job_capacity * 2 + 8;
  ms_job **jobs = memory_resize(engine->jobs, capacity, sizeof *jobs);
  if (jobs != NULL) engine->jobs = jobs;
  ms_job **order = jobs == NULL ? NULL : memory_resize(engine->order, capacity, sizeof *order);
  if (order == NULL) return fail_memory(err, capacity * sizeof *order, "jobs");
  engine->order = order;
  engine->job_capacity = capacity;
  return MS_OK;
}

/* The list stays sorted by priority; equals as they came. */
static void insert_job (ms_engine *engine, ms_job *job) {
  size_t place = engine->job_count++;
  for (; place > 0 && engine->jobs[place - 1]->options.priority < job->options.priority; place--)
    engine->jobs[place] = engine->jobs[place - 1];
  engine->jobs[place] = job;
}

static ms_status start_locked (ms_job *job, ms_error *err) {
  ms_session *session = job->session;
  ms_engine *engine = session->engine;
  TRY(check_startable(job, err));
  TRY(sampler_open(&job->sampler, &job->options, engine->info.model.vocabulary, session->tokens.ids,
                   session->tokens.count, err));
  TRY(reserve_job(engine, err));
  TRY(engine_start(engine, err));
  if (job->scored == 0) TRY(session_prepare(session, err));
  else TRY(job_prepare_score(job, err));

  job->cached = session_read(session);
  job->prefill_total = session->tokens.count - (job->scored != 0) - job->cached;
  session->job = job;
  session->references++;
  insert_job(engine, job);
  engine->handles++;
  engine_wake(engine);
  return MS_OK;
}

ms_status ms_job_start (ms_session *session, const ms_generate_options *options, ms_job **job, ms_error *err) {
  ms_job *made = NULL;
  *job = NULL;
  TRY(options_check(options, session->engine->info.model.vocabulary, err));
  if (options->score == 0) prefix_find(session);   /* what is to be scored has to be read */
  ms_status status = job_new(session, options, &made, err);
  if (status == MS_OK) {
    engine_lock(session->engine);
    status = start_locked(made, err);
    engine_unlock(session->engine);
  }
  if (status == MS_OK) *job = made;
  else job_free(made);
  return status;
}

/* {== Ending ===================================================================================== */

void ms_job_cancel (ms_job *job) {
  engine_lock(job->session->engine);
  job->cancelled = true;
  engine_wake(job->session->engine);
  engine_unlock(job->session->engine);
}

void ms_job_pause (ms_job *job) {
  engine_lock(job->session->engine);
  job->paused = true;
  engine_unlock(job->session->engine);
}

void ms_job_resume (ms_job *const *jobs, size_t count) {
  if (count == 0) return;
  ms_engine *engine = jobs[0]->session->engine;
  engine_lock(engine);
  for (size_t i = 0; i < count; i++) jobs[i]->paused = false;
  engine_wake(engine);
  engine_unlock(engine);
}

static ms_status fill_result (ms_job *job, ms_result *result, ms_error *err) {
  if (!job->ended) return fail(err, MS_EBUSY, "the job has not ended");
  if (job->error.status != MS_OK) {
    if (err != NULL) *err = job->error;
    return job->error.status;
  }
  result->text = memory_string(job->text.data, job->text.length);
  if (result->text == NULL) return fail_memory(err, job->text.length, "text");
  TRY(ms_tokens_append(&result->tokens, job->tokens.ids, job->tokens.count, err));
  if (job->scored != 0 && job->finish == MS_FINISH_LENGTH) {
    result->logprobs = memory_share(job->logprobs);
    result->logprob_count = job->scored;
  }
  result->finish = job->finish;
  result->bytes = job->text.length;
  result->seed = job->options.seed;
  result->read = job->read;
  result->cached = job->cached;
  result->reread = job->reread;
  result->generated = job->tokens.count;
  result->prefill_seconds = (double)job->prefill_ns * 1e-9;
  result->decode_seconds = (double)job->decode_ns * 1e-9;
  return MS_OK;
}

ms_status ms_job_result (ms_job *job, ms_result *result, ms_error *err) {
  memset(result, 0, sizeof *result);
  engine_lock(job->session->engine);
  ms_status status = fill_result(job, result, err);
  engine_unlock(job->session->engine);
  if (status != MS_OK) ms_result_clear(result);
  return status;
}

void ms_result_clear (ms_result *result) {
  memory_free(result->text);
  memory_free(result->logprobs);
  ms_tokens_free(&result->tokens);
  memset(result, 0, sizeof *result);
}

/* The session is free at once: whatever a step in flight still computes for it will not be committed. */
void ms_job_release (ms_job *job) {
  if (job == NULL) return;
  ms_engine *engine = job->session->engine;
  engine_lock(engine);
  job->cancelled = true;
  if (job_is_attached(job)) job->session->job = NULL;
  engine_wake(engine);
  job_unreference(job);
  engine_unlock_drop(engine);
}

/* In the child: nobody computes for it any more, and what the thread was changing is in no known state. */
void job_after_fork (ms_job *job, bool in_flight) {
  ms_error err;
  if (in_flight) {
    job->text = (text_stream){ 0 };
    job->tokens = (ms_tokens){ 0 };
  }
  fail(&err, MS_ECANCELED, "the process was forked while the job ran: jobs go on in the parent only");
  job_fail(job, &err);
}

void job_unreference (ms_job *job) {
  if (--job->references != 0) return;
  ms_engine *engine = job->session->engine;
  session_unreference(job->session);
  job->next_garbage = engine->garbage_jobs;
  engine->garbage_jobs = job;
}

void job_free (ms_job *job) {
  if (job == NULL) return;
  for (event_node *node = job->first, *next; node != NULL; node = next) {
    next = node->next;
    ms_event_clear(&node->event);
    memory_free(node);
  }
  notifier_close(&job->notifier);
  ms_tokenizer_release(job->tokenizer);
  sampler_close(&job->sampler);
  text_close(&job->text);
  ms_tokens_free(&job->tokens);
  memory_free(job->stop_ids);
  memory_free(job->logprobs);
  memory_free(job->tail);
  memory_free(job);
}
