/*
** The forward pass of one step: embedding, every layer's two sublayers between hyper-connections, head
** (specs/architecture.md 2.1 to 2.8, 2.10). Each line is one stage of the architecture.
*/
#include "forward.h"

#include <math.h>
#include <string.h>

#include "../base/checked.h"
#include "../base/memory.h"
#include "scratch.h"

struct model_runner {
  const model *m;
  backend *be;
  model_scratch scratch;
  int32_t *tokens, *positions;         /* [row_capacity] */
  const route_policy **policies;       /* [row_capacity] */
  size_t row_capacity;
  int32_t *experts;                    /* [experts_capacity]: those chosen, on the host */
  size_t experts_capacity;
  segment *segments;                   /* [segment_capacity] */
  size_t segment_capacity;
};

ms_status model_runner_open (const model *m, backend *be, model_runner **out, ms_error *err) {
  *out = memory_new(1, sizeof **out);
  if (*out == NULL) return fail_memory(err, sizeof **out, "a runner");
  (*out)->m = m;
  (*out)->be = be;
  return MS_OK;
}

void model_runner_close (model_runner *runner) {
  if (runner == NULL) return;
  model_scratch_free(&runner->scratch, runner->be);
  memory_free(runner->tokens);
  memory_free(runner->positions);
  memory_free(runner->policies);
  memory_free(runner->experts);
  memory_free(runner->segments);
  memory_free(runner);
}

size_t model_runner_bytes (const model_runner *runner) {
  return runner->scratch.bytes;
}

uint64_t model_runner_plan (const model *m, size_t rows) {
  return model_scratch_plan(m, rows, 1);
}

/* {== Preparing a step =========================================================================== */

static ms_status grow_rows (model_runner *r, size_t rows, ms_error *err) {
  if (rows <= r->row_capacity) return MS_OK;
  int32_t *tokens = memory_resize(r->tokens, rows, sizeof *tokens);
  if (tokens == NULL) return fail_memory(err, rows * sizeof *tokens, "a step's tokens");
  r->tokens = tokens;
  int32_t *positions = memory_resize(r->positions, rows, sizeof *positions);
  if (positions == NULL) return fail_memory(err, rows * sizeof *positions, "a step's positions");
  r->positions = positions;
  const route_policy **policies = memory_resize(r->policies, rows, sizeof *policies);
  if (policies == NULL) return fail_memory(err, rows * sizeof *policies, "a step's policies");
  r->policies = policies;
  r->row_capacity = rows;
  return MS_OK;
}

static ms_status grow_segments (model_runner *r, size_t count, ms_error *err) {
  if (count <= r->segment_capacity) return MS_OK;
  segment *segments = memory_resize(r->segments, count, sizeof *segments);
  if (segments == NULL) return fail_memory(err, count * sizeof *segments, "a step's segments");
  r->segments = segments;
  r->segment_capacity = count;
  return MS_OK;
}

/* Tokens and positions of all rows side by side, and every page that the step will write. */
static ms_status prepare (model_runner *r, const model_segment *segments, size_t count, size_t rows,
                          size_t logit_rows, ms_error *err) {
  TRY(grow_rows(r, rows, err));
  TRY(grow_segments(r, count, err));
  TRY(model_scratch_shape(&r->scratch, r->m, r->be, rows, logit_rows, err));
  size_t row = 0;
  for (size_t i = 0; i < count; i++) {
    size_t position = model_cache_position(segments[i].cache);
    TRY(model_cache_reserve(segments[i].cache, segments[i].count, err));
    for (size_t j = 0; j < segments[i].count; j++, row++) {
      r->tokens[row] = segments[i].tokens[j];
      r->positions[row] = (int32_t)(position + j);
    }
  }
  return MS_OK;
}

/* The step's segments as layer `layer` sees them. */
static segment_list segments_of (model_runner *r, const model_segment *segments, size_t count, size_t layer) {
  size_t row = 0;
  for (size_t i = 0; i < count; i++) {
    r->segments[i] = model_cache_segment(segments[i].cache, layer, row, segments[i].count);
    row += segments[i].count;
  }
  return (segment_list){ .items = r->segments, .count = count };
}

/* {== Experts ===================================================================================== */

/* The policies of all rows in layer `layer`; NULL when no session has one. */
static const route_policy *const *policies_of (model_runner *r, const model_segment *segments, size_t count,
                                               size_t layer) {
  size_t row = 0, with_policy = 0;
  for (size_t i = 0; i < count; i++) {
    const route_policy *policy = segments[i].routing == NULL ? NULL : &segments[i].routing->layers[layer];
    with_policy += policy != NULL;
    for (size_t j = 0; j < segments[i].count; j++) r->policies[row++] = policy;
  }
  return with_policy == 0 ? NULL : r->policies;
}

/* Gives every segment that asks for them the experts of its rows. */
static ms_status take_experts (model_runner *r, const model_segment *segments, size_t count, ms_error *err) {
  const id_tensor *chosen = &r->scratch.chosen_experts;
  size_t wanted = 0, first = 0, top_k = r->m->config.top_k, values = chosen->rows * chosen->columns;
  for (size_t i = 0; i < count; i++) wanted += segments[i].experts != NULL;
  if (wanted == 0) return MS_OK;
  if (values > r->experts_capacity) {
    int32_t *experts = memory_resize(r->experts, values, sizeof *experts);
    if (experts == NULL) return fail_memory(err, values * sizeof *experts, "a step's experts");
    r->experts = experts;
    r->experts_capacity = values;
  }
  TRY(r->be->download(r->be, r->experts, chosen->data, values * sizeof *r->experts, err));
  for (size_t i = 0; i < count; first += segments[i++].count)
    for (size_t l = 0; l < r->m->config.layers && segments[i].experts != NULL; l++)
      memcpy(segments[i].experts + l * segments[i].count * top_k, r->experts + (l * chosen->rows + first) * top_k,
             segments[i].count * top_k * sizeof *r->experts);
  return MS_OK;
}

/* {== The layers ================================================================================= */

/* Logits of the last logit_rows rows of every segment (2.8). The head sees no other row. */
static ms_status run_head (model_step *step, const model_segment *segments, size_t count, ms_error *err) {
  backend *be = step->be;
  const model *m = step->m;
  model_scratch *s = step->scratch;
  size_t end = 0, out = 0, stream_columns = s->streams.columns;
  tensor wanted = { .data = s->streams.data, .rows = s->last.rows, .columns = stream_columns };
  for (size_t i = 0; i < count; i++) {
    end += segments[i].count;
    for (size_t row = end - segments[i].logit_rows; row < end; row++, out++)   /* rows only move forward */
      if (row != out)
        TRY(be->copy(be, wanted.data + out * stream_columns, s->streams.data + row * stream_columns,
                     stream_columns * sizeof(float), err));
  }
  TRY(be->hc_head(be, &m->head_hc, &wanted, &s->last, err));
  TRY(be->rms_norm(be, &m->norm, (float)m->config.rms_eps, &s->last, &s->last, err));
  return be->head(be, &m->head, &s->last, &s->logits, err);
}

/* R08: a NaN anywhere in the pass ends up here; no token is drawn from such logits. */
static ms_status check_finite (const model_segment *segments, size_t count, size_t vocabulary, const float *logits,
                               ms_error *err) {
  for (size_t i = 0; i < count; i++) {
    size_t position = model_cache_position(segments[i].cache) + segments[i].count - segments[i].logit_rows;
    for (size_t row = 0; row < segments[i].logit_rows; row++, position++, logits += vocabulary)
      for (size_t id = 0; id < vocabulary; id++)
        if (!isfinite(logits[id]))
          return fail(err, MS_EFORMAT, "the logit of token %zu at position %zu is not finite: the weights hold NaN or "
                      "Inf (open with check = true to name the tensor)", id, position);
  }
  return MS_OK;
}

static ms_status run_step (model_runner *r, const model_segment *segments, size_t count, model_abandoned *abandoned,
                           void *user, ms_error *err) {
  const model *m = r->m;
  backend *be = r->be;
  model_scratch *s = &r->scratch;
  model_step step = { .m = m, .be = be, .tokens = r->tokens, .positions = r->positions, .scratch = s };

  TRY(be->rope_angles(be, &m->window_rope, r->positions, &s->window_angles, err));
  if (m->config.compresses) TRY(be->rope_angles(be, &m->compress_rope, r->positions, &s->compress_angles, err));
  TRY(be->embed(be, &m->embedding, r->tokens, m->config.streams, &s->streams, err));
  for (size_t i = 0; i < m->config.layers; i++) {
    if (abandoned != NULL && abandoned(user))
      return fail(err, MS_ECANCELED, "cancelled before layer %zu of %zu", i, m->config.layers);
    step.segments = segments_of(r, segments, count, i);
    step.policies = policies_of(r, segments, count, i);
    TRY(model_run_layer(&step, &m->layers[i], err));
  }
  TRY(take_experts(r, segments, count, err));
  return s->last.rows == 0 ? MS_OK : run_head(&step, segments, count, err);
}

ms_status model_forward (model_runner *runner, const model_segment *segments, size_t count,
                         model_abandoned *abandoned, void *user, float *logits, ms_error *err) {
  size_t rows = 0, logit_rows = 0, vocabulary = runner->m->config.vocabulary;
  for (size_t i = 0; i < count; i++) {
    rows += segments[i].count;
    logit_rows += segments[i].logit_rows;
  }
  TRY(runner->be->start(runner->be, err));
  TRY(prepare(runner, segments, count, rows, logit_rows, err));
  TRY(run_step(runner, segments, count, abandoned, user, err));
  if (logit_rows == 0) return MS_OK;
  TRY(runner->be->download(runner->be, logits, runner->scratch.logits.data,
                           logit_rows * vocabulary * sizeof *logits, err));
  return check_finite(segments, count, vocabulary, logits, err);
}
