/*
** Saving and loading sessions. What is saved is shared under the engine's lock, which costs nothing, and written
** without it: jobs of the session go on meanwhile, on pages of their own.
*/
#include "../base/memory.h"
#include "runtime.h"
#include "snapshot.h"

/* Two threads may make it at once: both find the same. */
ms_status engine_owner (ms_engine *engine, snapshot_owner *owner, ms_error *err) {
  *owner = (snapshot_owner){ .m = engine->model, .heap = &engine->heap };
  engine_lock(engine);
  bool known = engine->has_fingerprint;
  owner->fingerprint = engine->fingerprint;
  engine_unlock(engine);
  if (known) return MS_OK;
  TRY(model_fingerprint_make(engine->model, engine->origin, &owner->fingerprint, err));
  engine_lock(engine);
  engine->fingerprint = owner->fingerprint;
  engine->has_fingerprint = true;
  engine_unlock(engine);
  return MS_OK;
}

void session_snapshot (ms_session *session, snapshot *s) {
  *s = (snapshot){ .tokens = session->tokens, .context = session->context, .reread_end = session->reread_end,
                     .steered = session->steered };
  s->tokens.ids = memory_share(session->tokens.ids);
  s->cache = model_cache_share(session->cache);
  s->routing = model_routing_retain(session->routing);
  if (session->logits_at != 0 && session->logits_at == session_read(session)) s->logits = memory_share(session->logits);
}

/* {== Saving ===================================================================================== */

static bool step_writes (const ms_engine *engine, const model_cache *cache) {
  for (size_t i = 0; engine->in_flight && i < engine->step.count; i++)
    if (engine->step.items[i].cache == cache) return true;
  return false;
}

/*
** A step may still compute for a job that was released, into pages of this session: rows that will never count,
** but they lie beside those to be saved.
*/
static ms_status share_at_rest (ms_session *session, snapshot *s, ms_error *err) {
  ms_engine *engine = session->engine;
  while (session->job == NULL && step_writes(engine, session->cache)) uv_cond_wait(&engine->events, &engine->lock);
  if (session->job != NULL) return fail(err, MS_EBUSY, "a job runs on the session");
  session_snapshot(session, s);
  return MS_OK;
}

ms_status ms_session_save (ms_session *session, const char *path, ms_error *err) {
  ms_engine *engine = session->engine;
  snapshot_owner owner;
  snapshot s = { 0 };
  TRY(engine_owner(engine, &owner, err));
  engine_lock(engine);
  ms_status status = share_at_rest(session, &s, err);
  engine_unlock(engine);
  if (status == MS_OK) status = snapshot_write(&owner, &s, path, FILE_LASTING, err);
  snapshot_clear(&s);
  return status;
}

/* {== Loading ==================================================================================== */

static ms_status check_context (const ms_engine *engine, const char *path, const snapshot *s, size_t context,
                                ms_error *err) {
  size_t limit = engine->info.model.context;
  if (context > limit)
    return fail(err, MS_EINVAL, "context is %zu: the model allows from 1 to %zu", context, limit);
  if (s->tokens.count <= context) return MS_OK;
  return fail(err, MS_ECTXFULL, "%s: holds %zu tokens: the session's context is %zu", path, s->tokens.count, context);
}

/* Everything in *s goes over to the session. */
static ms_status session_of (ms_engine *engine, snapshot *s, size_t context, ms_session **out, ms_error *err) {
  size_t vocabulary = engine->info.model.vocabulary;
  bool has_logits = s->logits != NULL;
  if (!has_logits) s->logits = memory_new(vocabulary, sizeof *s->logits);
  if (s->logits == NULL) return fail_memory(err, vocabulary * sizeof *s->logits, "a session's logits");
  TRY(session_new(engine, context, out, err));
  (*out)->tokens = s->tokens;
  (*out)->cache = s->cache;
  (*out)->logits = s->logits;
  (*out)->logits_at = has_logits ? model_cache_position(s->cache) : 0;
  (*out)->reread_end = s->reread_end;
  (*out)->routing = s->routing;
  (*out)->steered = s->steered;
  *s = (snapshot){ 0 };
  return MS_OK;
}

ms_status ms_session_load (ms_engine *engine, const char *path, size_t context, ms_session **session, ms_error *err) {
  snapshot_owner owner;
  snapshot s;
  ms_session *made = NULL;
  *session = NULL;
  TRY(checkpoint_check_unchanged(engine->model->files, err));
  TRY(engine_owner(engine, &owner, err));
  TRY(snapshot_read(&owner, path, engine->access, &s, err));
  if (context == 0) context = s.context;
  ms_status status = check_context(engine, path, &s, context, err);
  if (status == MS_OK) status = session_of(engine, &s, context, &made, err);
  snapshot_clear(&s);
  if (status != MS_OK) return status;
  engine_lock(engine);
  session_list(made);
  engine_unlock(engine);
  *session = made;
  return MS_OK;
}
