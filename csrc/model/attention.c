/*
** The attention sublayer of one layer, for all rows of a step (specs/architecture.md 2.4). Row-wise stages
** see all rows at once, those that read or write a session's memory take the segments: prefill, decode and
** several sessions are one path. New rows are written behind what a session holds and count only once the
** step is committed, so a failed step changes nothing.
*/
#include "step.h"

ms_status model_attention (model_step *step, const model_layer *layer, const tensor *u, tensor *out,
                           ms_error *err) {
  backend *be = step->be;
  const model_config *c = &step->m->config;
  const segment_list *segments = &step->segments;
  model_scratch *s = step->scratch;
  const tensor *angles = layer->ratio == RATIO_WINDOW ? &s->window_angles : &s->compress_angles;
  const id_tensor *chosen = NULL;                                          /* every visible row */
  float eps = (float)c->rms_eps;

  TRY(be->linear(be, &layer->wq_a, u, &s->latent, err));
  TRY(be->rms_norm(be, &layer->q_norm, eps, &s->latent, &s->latent, err));
  TRY(be->linear(be, &layer->wq_b, &s->latent, &s->q, err));
  TRY(be->head_norm(be, c->head_dim, eps, &s->q, err));
  TRY(be->rope(be, angles, c->head_dim, &s->q, err));

  TRY(be->linear(be, &layer->wkv, u, &s->kv, err));                        /* both key and value */
  TRY(be->rms_norm(be, &layer->kv_norm, eps, &s->kv, &s->kv, err));
  TRY(be->rope(be, angles, c->head_dim, &s->kv, err));
  TRY(be->store_window(be, segments, c->rope_dim, &s->kv, err));

  if (layer->ratio != RATIO_WINDOW) TRY(be->compress(be, &layer->compressor, segments, u, err));
  if (layer->has_indexer) {
    TRY(be->select(be, &layer->indexer, segments, u, &s->latent, angles, &s->chosen_rows, err));
    chosen = &s->chosen_rows;
  }

  TRY(be->sparse_attention(be, &layer->attention, segments, c->rope_dim, &s->q, chosen, &s->heads, err));
  TRY(be->rope_inverse(be, angles, c->head_dim, &s->heads, err));
  TRY(be->grouped_linear(be, &layer->wo_a, c->o_groups, &s->heads, &s->groups, err));
  return be->linear(be, &layer->wo_b, &s->groups, out, err);
}
