/*
** One layer of a step: attention, then the mixture of experts, each between the mix of the residual streams
** and their update (specs/architecture.md 2.2, 2.3). There is no other residual addition.
*/
#include "step.h"

ms_status model_run_layer (model_step *step, const model_layer *layer, ms_error *err) {
  backend *be = step->be;
  model_scratch *s = step->scratch;
  float eps = (float)step->m->config.rms_eps;

  TRY(be->hc_pre(be, &layer->attention_hc, &s->streams, &s->mixed, &s->post, &s->comb, err));
  TRY(be->rms_norm(be, &layer->attention_norm, eps, &s->mixed, &s->normed, err));
  TRY(model_attention(step, layer, &s->normed, &s->result, err));
  TRY(be->hc_post(be, &s->result, &s->post, &s->comb, &s->streams, err));

  TRY(be->hc_pre(be, &layer->feed_forward_hc, &s->streams, &s->mixed, &s->post, &s->comb, err));
  TRY(be->rms_norm(be, &layer->feed_forward_norm, eps, &s->mixed, &s->normed, err));
  TRY(model_feed_forward(step, layer, &s->normed, &s->result, err));
  return be->hc_post(be, &s->result, &s->post, &s->comb, &s->streams, err);
}
