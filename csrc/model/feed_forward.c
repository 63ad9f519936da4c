/* The mixture of experts of one layer, for all rows of a step (specs/architecture.md 2.7). */
#include "step.h"

ms_status model_feed_forward (model_step *step, const model_layer *layer, const tensor *u, tensor *out,
                              ms_error *err) {
  backend *be = step->be;
  model_scratch *s = step->scratch;
  TRY(be->route(be, &layer->router, step->tokens, u, &s->chosen_experts, &s->expert_weights, err));
  return be->experts(be, &layer->experts, u, &s->chosen_experts, &s->expert_weights, out, err);
}
