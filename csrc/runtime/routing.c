/*
** A session's expert policy and the counts of the experts it chose. A step in flight keeps the policies it was
** formed with, whatever its sessions do meanwhile.
*/
#include <string.h>

#include "../base/memory.h"
#include "runtime.h"

/* {== Policies =================================================================================== */

ms_status ms_session_set_routing (ms_session *session, const ms_routing *routing, ms_error *err) {
  ms_status status = MS_OK;
  model_routing *made, *unused;
  TRY(model_routing_open(session->engine->model, routing, &made, err));
  engine_lock(session->engine);
  unused = made;
  if (session->job != NULL) {
    status = fail(err, MS_EBUSY, "a job runs on the session");
  } else {
    unused = session->routing;
    session->routing = made;
  }
  engine_unlock(session->engine);
  model_routing_release(unused);
  return status;
}

size_t ms_session_routing (ms_session *session, size_t *top_k, ms_expert_bias *bias, size_t room) {
  engine_lock(session->engine);
  const model_routing *routing = session->routing;
  size_t count = routing == NULL ? 0 : routing->count;
  *top_k = routing == NULL ? 0 : routing->top_k;
  if (count != 0 && room != 0) memcpy(bias, routing->given, (count < room ? count : room) * sizeof *bias);
  engine_unlock(session->engine);
  return count;
}

/* {== Counts ===================================================================================== */

/* Counts of a session: [layers, experts]. */
static size_t count_size (const ms_engine *engine) {
  return engine->info.model.layers * engine->info.model.experts;
}

size_t routing_count_bytes (const ms_engine *engine) {
  return count_size(engine) * sizeof(uint64_t);
}

ms_status routing_reserve_counts (ms_session *session, ms_error *err) {
  if (session->expert_counts != NULL) return MS_OK;
  session->expert_counts = memory_new(count_size(session->engine), sizeof *session->expert_counts);
  if (session->expert_counts != NULL) return MS_OK;
  return fail_memory(err, routing_count_bytes(session->engine), "a session's expert counts");
}

ms_status routing_place (ms_engine *engine, ms_error *err) {
  step *s = &engine->step;
  const size_t a_row = engine->info.model.layers * engine->info.model.experts_per_token;
  int32_t *next = s->experts;
  if (next == NULL) next = s->experts = memory_new(STEP_ROWS, a_row * sizeof *next);
  if (next == NULL) return fail_memory(err, STEP_ROWS * a_row * sizeof *next, "a step's experts");
  for (size_t i = 0; i < s->segment_count; i++) {
    s->segments[i].routing = s->items[i].routing;
    s->segments[i].experts = next;
    next += s->segments[i].count * a_row;
  }
  return MS_OK;
}

void routing_count (ms_session *session, const int32_t *experts, size_t rows) {
  const ms_model_info *info = &session->engine->info.model;
  uint64_t *counts = session->expert_counts;
  for (size_t l = 0; l < info->layers; l++, counts += info->experts)
    for (size_t i = 0; i < rows * info->experts_per_token; i++, experts++)
      if (*experts >= 0) counts[*experts]++;
  session->counted += rows;
}

void ms_session_routing_stats (ms_session *session, ms_routing_stats *stats, uint64_t *counts, int reset) {
  const ms_model_info *info = &session->engine->info.model;
  size_t bytes = routing_count_bytes(session->engine);
  engine_lock(session->engine);
  *stats = (ms_routing_stats){ .layers = info->layers, .experts = info->experts, .tokens = session->counted };
  if (counts != NULL && session->expert_counts != NULL) memcpy(counts, session->expert_counts, bytes);
  else if (counts != NULL) memset(counts, 0, bytes);
  if (reset && session->expert_counts != NULL) {
    session->counted = 0;
    memset(session->expert_counts, 0, bytes);
  }
  engine_unlock(session->engine);
}
