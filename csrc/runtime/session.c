/*
** Sessions: which tokens one holds, how many of them are read, how it goes back and forks. Everything here runs
** under the engine's lock. Tokens, logits and rows are shared by forks and marks, and made a session's own
** before a step or a call writes to them. A step computes from a session's cache without the lock and is one of
** its owners meanwhile.
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

void session_mark (ms_session *session) {
  size_t position = session_read(session), last = session->mark_count;
  if (position == 0) return;
  if (last == 0 || session->marks[last - 1].position != position) {
    if (last == MARK_LIMIT) {
      mark_clear(&session->marks[0]);
      memmove(&session->marks[0], &session->marks[1], (MARK_LIMIT - 1) * sizeof *session->marks);
      last--;
    }
    session->marks[last] = (mark){ .position = position, .cache = model_cache_share(session->cache) };
    session->mark_count = ++last;
  }
  mark *m = &session->marks[last - 1];
  if (m->logits == NULL && session->logits_at == position) m->logits = memory_share(session->logits);
}

/* {== Going back ================================================================================= */

ms_status session_go_back (ms_session *session, size_t limit, ms_error *err) {
  ms_engine *engine = session->engine;
  const mark *m = newest_mark(session, limit);
  size_t read = session_read(session);
  model_cache *cache;
  if (m != NULL) cache = model_cache_share(m->cache);
  else TRY(model_cache_open(engine->model, &engine->heap, &cache, err));
  drop_marks_after(session, limit);      /* what is read again may be read under another expert policy */
  model_cache_close(session->cache);
  session->cache = cache;
  session->steered = session->steered && m != NULL;
  session->logits_at = 0;
  if (m != NULL && m->logits != NULL) {
    memory_free(session->logits);
    session->logits = memory_share(m->logits);
    session->logits_at = m->position;
  }
  if (session->reread_end < read) session->reread_end = read;
  return MS_OK;
}

ms_status session_prepare (ms_session *session, ms_error *err) {
  size_t held = session->tokens.count;
  if (held == 0 || session_read(session) < held || session->logits_at == held) return MS_OK;
  return session_go_back(session, held - 1, err);
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

/* Room for `count` tokens, which are the session's own. */
static ms_status reserve_tokens (ms_session *session, size_t count, ms_error *err) {
  ms_tokens *t = &session->tokens;
  size_t wanted = t->capacity;
  if (count > wanted) wanted = wanted * 2 > count ? wanted * 2 : count;
  if (wanted > session->context) wanted = session->context;
  if (wanted == 0) return MS_OK;
  int32_t *ids = wanted == t->capacity ? memory_own(t->ids) : memory_resize(t->ids, wanted, sizeof *ids);
  if (ids == NULL) return fail_memory(err, wanted * sizeof *ids, "a session's tokens");
  t->ids = ids;
  t->capacity = wanted;
  return MS_OK;
}

ms_status session_reserve (ms_session *session, size_t count, bool draws, ms_error *err) {
  TRY(model_cache_own(&session->cache, err));
  TRY(model_cache_reserve(session->cache, count, err));
  TRY(routing_reserve_counts(session, err));
  if (draws) TRY(reserve_tokens(session, session->tokens.count + 1, err));
  float *logits = memory_own(session->logits);
  if (logits == NULL) return fail_memory(err, session->engine->info.model.vocabulary * sizeof *logits, "logits");
  session->logits = logits;
  return MS_OK;
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
  if (count > common) TRY(reserve_tokens(session, count, err));
  if (session_read(session) > common) TRY(session_go_back(session, common, err));
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

ms_status ms_session_rewind (ms_session *session, size_t position, ms_error *err) {
  engine_lock(session->engine);
  size_t held = session->tokens.count;
  ms_status status = position <= held ? sync_locked(session, session->tokens.ids, position, err)
                   : fail(err, MS_EINVAL, "position is %zu: the session holds %zu tokens", position, held);
  engine_unlock(session->engine);
  return status;
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

ms_status session_new (ms_engine *engine, size_t context, ms_session **out, ms_error *err) {
  ms_session *session = memory_new(1, sizeof *session);
  if (session == NULL) return fail_memory(err, sizeof *session, "a session");
  session->engine = engine;
  session->context = context;
  session->references = 1;
  *out = session;
  return MS_OK;
}

void session_list (ms_session *session) {
  ms_engine *engine = session->engine;
  session->next = engine->sessions;
  engine->sessions = session;
  engine->handles++;
}

static ms_status session_fill (ms_session *session, ms_error *err) {
  ms_engine *engine = session->engine;
  size_t vocabulary = engine->info.model.vocabulary;
  session->logits = memory_new(vocabulary, sizeof *session->logits);
  if (session->logits == NULL) return fail_memory(err, vocabulary * sizeof(float), "a session's logits");
  return model_cache_open(engine->model, &engine->heap, &session->cache, err);
}

ms_status ms_session_open (ms_engine *engine, size_t context, ms_session **session, ms_error *err) {
  ms_session *made = NULL;
  size_t limit = engine->info.model.context;
  *session = NULL;
  if (context == 0) context = limit;
  if (context > limit)
    return fail(err, MS_EINVAL, "context is %zu: the model allows from 1 to %zu", context, limit);
  TRY(checkpoint_check_unchanged(engine->model->files, err));
  TRY(session_new(engine, context, &made, err));
  ms_status status = session_fill(made, err);
  if (status != MS_OK) {
    session_free(made);
    return status;
  }
  engine_lock(engine);
  session_list(made);
  engine_unlock(engine);
  *session = made;
  return MS_OK;
}

static void share (const ms_session *from, ms_session *to) {
  to->tokens = from->tokens;
  memory_share(to->tokens.ids);
  to->cache = model_cache_share(from->cache);
  to->reread_end = from->reread_end;
  to->routing = model_routing_retain(from->routing);
  to->steered = from->steered;
  to->logits = memory_share(from->logits);
  to->logits_at = from->logits_at;
  for (size_t i = 0; i < from->mark_count; i++) {
    const mark *m = &from->marks[i];
    to->marks[i] = (mark){ .position = m->position, .cache = model_cache_share(m->cache),
                           .logits = memory_share(m->logits) };
  }
  to->mark_count = from->mark_count;
}

ms_status ms_session_fork (ms_session *session, ms_session **fork, ms_error *err) {
  ms_engine *engine = session->engine;
  ms_session *made = NULL;
  *fork = NULL;
  TRY(session_new(engine, session->context, &made, err));
  engine_lock(engine);
  ms_status status = check_free(session, err);
  if (status == MS_OK) {
    share(session, made);
    session_list(made);
  }
  engine_unlock(engine);
  if (status == MS_OK) *fork = made;
  else session_free(made);
  return status;
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
    engine_wake(engine);
  }
  session_unreference(session);
  engine_unlock_drop(engine);
}
