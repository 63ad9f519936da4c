/* The mixture of experts of one layer, for all rows of a step (specs/architecture.md 2.7). */
#include "step.h"

ms_status model_feed_forward (model_step *step, const model_layer *layer, const tensor *u, tensor *out,
                              ms_error *err) {
  backend *be = step->be;
  model_scratch *s = step->scratch;
  size_t index = (size_t)(layer - step->m->layers), rows = u->rows, columns = s->expert_weights.columns;
  id_tensor chosen = { .data = s->chosen_experts.data + index * rows * columns, .rows = rows, .columns = columns };
  TRY(be->route(be, &layer->router, step->tokens, step->policies, u, &chosen, &s->expert_weights, err));
  return be->experts(be, &layer->experts, u, &chosen, &s->expert_weights, out, err);
}
