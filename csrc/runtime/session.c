/*
** Sessions: which tokens one holds, how many of them are read, and how it goes back. Everything here runs
** under the engine's lock. A step computes from a session's cache without it: the session may then replace
** the cache (the step closes the old one), but nothing writes to it.
*/
#include <string.h>

#include "../base/memory.h"
#include "runtime.h"

/* {== Marks ====================================================================================== */

static void mark_clear (mark *m) {
  model_cache_close(m->cache);
  memory_free(m->logits);
  *m = (mark){ 0 };
}

static void drop_marks_after (ms_session *session, size_t position) {
  while (session->mark_count != 0 && session->marks[session->mark_count - 1].position > position)
    mark_clear(&session->marks[--session->mark_count]);
}

/* NULL: only position 0 is left to go back to. */
static const mark *newest_mark (const ms_session *session, size_t limit) {
  for (size_t i = session->mark_count; i-- > 0; )
    if (session->marks[i].position <= limit) return &session->marks[i];
  return NULL;
}

static void keep_logits (const ms_session *session, mark *m) {
  if (m->logits != NULL || session->logits_at != m->position) return;
  size_t vocabulary = session->engine->info.model.vocabulary;
  m->logits = memory_new(vocabulary, sizeof *m->logits);
  if (m->logits != NULL) memcpy(m->logits, session->logits, vocabulary * sizeof *m->logits);
}

void session_mark (ms_session *session) {
  size_t position = session_read(session), last = session->mark_count;
  if (position == 0) return;
  if (last == 0 || session->marks[last - 1].position != position) {
    mark fresh = { .position = position };
    if (model_cache_fork(session->cache, &fresh.cache, NULL) != MS_OK) return;
    if (last == MARK_LIMIT) {
      mark_clear(&session->marks[0]);
      memmove(&session->marks[0], &session->marks[1], (MARK_LIMIT - 1) * sizeof fresh);
      last--;
    }
    session->marks[last] = fresh;
    session->mark_count = last + 1;
  }
  keep_logits(session, &session->marks[session->mark_count - 1]);
}

/* {== Going back ================================================================================= */

static void replace_cache (ms_session *session, model_cache *cache) {
  if (session->cache != session->pinned) model_cache_close(session->cache);
  session->cache = cache;
}

void session_unpin (ms_session *session) {
  if (session->pinned != session->cache) model_cache_close(session->pinned);
  session->pinned = NULL;
}

/* The newest position at or before `limit` is what is read; on failure nothing has changed. */
static ms_status go_back (ms_session *session, size_t limit, ms_error *err) {
  const ms_engine *engine = session->engine;
  const mark *m = newest_mark(session, limit);
  size_t read = session_read(session);
  model_cache *cache;
  if (m != NULL) TRY(model_cache_fork(m->cache, &cache, err));
  else TRY(model_cache_open(engine->model, engine->backend, &cache, err));
  replace_cache(session, cache);
  session->logits_at = 0;
  if (m != NULL && m->logits != NULL) {
    memcpy(session->logits, m->logits, engine->info.model.vocabulary * sizeof *m->logits);
    session->logits_at = m->position;
  }
  if (session->reread_end < read) session->reread_end = read;
  return MS_OK;
}

ms_status session_prepare (ms_session *session, ms_error *err) {
  size_t held = session->tokens.count;
  if (held == 0 || session_read(session) < held || session->logits_at == held) return MS_OK;
  return go_back(session, held - 1, err);
}

size_t session_commit (ms_session *session, size_t count, const float *logits) {
  size_t from = session_read(session);
  model_cache_commit(session->cache, count);
  if (logits != NULL) {
    memcpy(session->logits, logits, session->engine->info.model.vocabulary * sizeof *logits);
    session->logits_at = from + count;
  }
  size_t known = session->reread_end > from ? session->reread_end - from : 0;
  return known < count ? known : count;
}

/* {== Tokens ===================================================================================== */

static ms_status reserve_tokens (ms_session *session, size_t count, ms_error *err) {
  ms_tokens *t = &session->tokens;
  if (count <= t->capacity) return MS_OK;
  size_t wanted = t->capacity * 2 > count ? t->capacity * 2 : count;
  if (wanted > session->context) wanted = session->context;
  int32_t *ids = memory_resize(t->ids, wanted, sizeof *ids);
  if (ids == NULL) return fail_memory(err, wanted * sizeof *ids, "a session's tokens");
  t->ids = ids;
  t->capacity = wanted;
  return MS_OK;
}

ms_status session_reserve_token (ms_session *session, ms_error *err) {
  return reserve_tokens(session, session->tokens.count + 1, err);
}

static ms_status check_ids (const ms_session *session, const int32_t *tokens, size_t count, ms_error *err) {
  size_t vocabulary = session->engine->info.model.vocabulary;
  for (size_t i = 0; i < count; i++)
    if (tokens[i] < 0 || (size_t)tokens[i] >= vocabulary)
      return fail(err, MS_EINVAL, "token %d at index %zu does not exist: the vocabulary has %zu", (int)tokens[i], i,
                  vocabulary);
  return MS_OK;
}

static ms_status check_free (const ms_session *session, ms_error *err) {
  return session->job == NULL ? MS_OK : fail(err, MS_EBUSY, "a job runs on the session");
}

static ms_status check_room (const ms_session *session, size_t held, size_t count, ms_error *err) {
  if (count <= session->context - held) return MS_OK;
  if (held == 0)
    return fail(err, MS_ECTXFULL, "%zu tokens: the session's context is %zu", count, session->context);
  return fail(err, MS_ECTXFULL, "%zu tokens and %zu more: the session's context is %zu", held, count,
              session->context);
}

static ms_status sync_locked (ms_session *session, const int32_t *tokens, size_t count, ms_error *err) {
  ms_tokens *held = &session->tokens;
  size_t common = 0, least = held->count < count ? held->count : count;
  TRY(check_free(session, err));
  TRY(check_room(session, 0, count, err));
  while (common < least && held->ids[common] == tokens[common]) common++;
  TRY(reserve_tokens(session, count, err));
  if (session_read(session) > common) TRY(go_back(session, common, err));
  drop_marks_after(session, common);
  if (session->reread_end > common) session->reread_end = common;
  if (count > common) memcpy(held->ids + common, tokens + common, (count - common) * sizeof *tokens);
  held->count = count;
  return MS_OK;
}

ms_status ms_session_sync (ms_session *session, const int32_t *tokens, size_t count, ms_error *err) {
  TRY(check_ids(session, tokens, count, err));
  engine_lock(session->engine);
  ms_status status = sync_locked(session, tokens, count, err);
  engine_unlock(session->engine);
  return status;
}

static ms_status append_locked (ms_session *session, const int32_t *tokens, size_t count, ms_error *err) {
  ms_tokens *held = &session->tokens;
  TRY(check_free(session, err));
  TRY(check_room(session, held->count, count, err));
  TRY(reserve_tokens(session, held->count + count, err));
  if (count != 0) memcpy(held->ids + held->count, tokens, count * sizeof *tokens);
  held->count += count;
  return MS_OK;
}

ms_status ms_session_append (ms_session *session, const int32_t *tokens, size_t count, ms_error *err) {
  TRY(check_ids(session, tokens, count, err));
  engine_lock(session->engine);
  ms_status status = append_locked(session, tokens, count, err);
  engine_unlock(session->engine);
  return status;
}

/* {== Looking ==================================================================================== */

size_t session_read (const ms_session *session) {
  return model_cache_position(session->cache);
}

const float *session_current_logits (const ms_session *session) {
  size_t held = session->tokens.count;
  return held != 0 && session_read(session) == held && session->logits_at == held ? session->logits : NULL;
}

size_t ms_session_position (ms_session *session) {
  engine_lock(session->engine);
  size_t position = session->tokens.count;
  engine_unlock(session->engine);
  return position;
}

size_t ms_session_read (ms_session *session) {
  engine_lock(session->engine);
  size_t read = session_read(session);
  engine_unlock(session->engine);
  return read;
}

size_t ms_session_context (ms_session *session) {
  return session->context;
}

ms_status ms_session_tokens (ms_session *session, ms_tokens *tokens, ms_error *err) {
  engine_lock(session->engine);
  ms_status status = ms_tokens_append(tokens, session->tokens.ids, session->tokens.count, err);
  engine_unlock(session->engine);
  return status;
}

static ms_status logits_locked (ms_session *session, float *logits, ms_error *err) {
  size_t held = session->tokens.count, read = session_read(session);
  const float *current = session_current_logits(session);
  TRY(check_free(session, err));
  if (held == 0) return fail(err, MS_EINVAL, "the session holds no token, so there are no logits");
  if (read < held)
    return fail(err, MS_EINVAL, "%zu of %zu tokens are read: logits come after the last", read, held);
  if (current == NULL)
    return fail(err, MS_EINVAL, "the logits after token %zu are not at hand: a job with max_tokens = 0 makes them",
                held - 1);
  memcpy(logits, current, session->engine->info.model.vocabulary * sizeof *logits);
  return MS_OK;
}

ms_status ms_session_logits (ms_session *session, float *logits, ms_error *err) {
  engine_lock(session->engine);
  ms_status status = logits_locked(session, logits, err);
  engine_unlock(session->engine);
  return status;
}

/* {== Life ======================================================================================= */

void session_free (ms_session *session) {
  if (session == NULL) return;
  drop_marks_after(session, 0);
  model_cache_close(session->cache);
  memory_free(session->logits);
  model_routing_release(session->routing);
  memory_free(session->expert_counts);
  ms_tokens_free(&session->tokens);
  memory_free(session);
}

static ms_status session_new (ms_engine *engine, size_t context, ms_session **out, ms_error *err) {
  ms_session *session = memory_new(1, sizeof *session);
  if (session == NULL) return fail_memory(err, sizeof *session, "a session");
  size_t vocabulary = engine->info.model.vocabulary;
  session->engine = engine;
  session->context = context;
  session->references = 1;
  session->logits = memory_new(vocabulary, sizeof *session->logits);
  ms_status status = session->logits == NULL ? fail_memory(err, vocabulary * sizeof(float), "a session's logits")
                   : model_cache_open(engine->model, engine->backend, &session->cache, err);
  if (status == MS_OK) *out = session;
  else session_free(session);
  return status;
}

ms_status ms_session_open (ms_engine *engine, size_t context, ms_session **session, ms_error *err) {
  size_t limit = engine->info.model.context;
  *session = NULL;
  if (context == 0) context = limit;
  if (context > limit)
    return fail(err, MS_EINVAL, "context is %zu: the model allows from 1 to %zu", context, limit);
  TRY(checkpoint_check_unchanged(engine->model->files, err));
  TRY(session_new(engine, context, session, err));
  engine_lock(engine);
  (*session)->next = engine->sessions;
  engine->sessions = *session;
  engine->handles++;
  engine_unlock(engine);
  return MS_OK;
}

/* The last reference moves it to the garbage: a step in flight holds one through its job. */
void session_unreference (ms_session *session) {
  if (--session->references != 0) return;
  ms_engine *engine = session->engine;
  ms_session **link = &engine->sessions;
  while (*link != session) link = &(*link)->next;
  *link = session->next;
  session->next = engine->garbage_sessions;
  engine->garbage_sessions = session;
}

void ms_session_release (ms_session *session) {
  if (session == NULL) return;
  ms_engine *engine = session->engine;
  engine_lock(engine);
  if (session->job != NULL) {
    session->job->cancelled = true;
    uv_cond_signal(&engine->work);
  }
  session_unreference(session);
  engine_unlock_drop(engine);
}
