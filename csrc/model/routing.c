/* Expert policies: a sparse list of biases becomes a row of biases a layer (specs/architecture.md 2.7). */
#include "routing.h"

#include <math.h>
#include <string.h>

#include "../base/memory.h"
#include "../base/reader.h"

static const float bias_limit = 1000;    /* far above any score, and fine steps of a score still tell beside it */

/* {== Limits ===================================================================================== */

static ms_status check_bias (const model *m, const ms_expert_bias *b, ms_error *err) {
  const model_config *c = &m->config;
  if (b->expert < 0 || (size_t)b->expert >= c->experts)
    return fail(err, MS_EINVAL, "expert %d does not exist: a layer has %zu, from 0", (int)b->expert, c->experts);
  if (b->layer != MS_EVERY_LAYER && (b->layer < 0 || (size_t)b->layer >= c->layers))
    return fail(err, MS_EINVAL, "layer %d does not exist: the model has %zu, from 0", (int)b->layer, c->layers);
  if (b->layer != MS_EVERY_LAYER && m->layers[b->layer].router.table.ids != NULL)
    return fail(err, MS_EINVAL, "layer %d takes its experts from a table by token, so nothing can be preferred or "
                "disabled there; the first that chooses by score is layer %zu", (int)b->layer, c->hash_layers);
  if (b->value <= bias_limit && (b->value >= -bias_limit || b->value == -INFINITY)) return MS_OK;
  return fail(err, MS_EINVAL, "the bias of expert %d is %g, not within %g to %g", (int)b->expert, (double)b->value,
              (double)-bias_limit, (double)bias_limit);
}

static ms_status check (const model *m, const ms_routing *given, ms_error *err) {
  if (given->top_k > m->config.top_k)
    return fail(err, MS_EINVAL, "top_k is %zu: the model allows from 1 to %zu experts a token", given->top_k,
                m->config.top_k);
  for (size_t i = 0; i < given->count; i++) TRY(check_bias(m, &given->bias[i], err));
  return MS_OK;
}

/* Every layer that chooses by score keeps at least top_k experts. */
static ms_status check_enabled (const model *m, const model_routing *r, ms_error *err) {
  for (size_t l = 0; l < m->config.layers; l++) {
    size_t enabled = m->config.experts;
    if (r->layers[l].bias == NULL || m->layers[l].router.table.ids != NULL) continue;
    for (size_t e = 0; e < m->config.experts; e++) enabled -= r->layers[l].bias[e] == -INFINITY;
    if (enabled < r->top_k)
      return fail(err, MS_EINVAL, "layer %zu would keep %zu of %zu experts enabled, fewer than top_k, %zu", l, enabled,
                  m->config.experts, r->top_k);
  }
  return MS_OK;
}

/* {== Layers ===================================================================================== */

/* Rows of biases: one a layer when some entry names a layer, one for all otherwise. */
static size_t bias_rows (const model *m, const model_routing *r) {
  for (size_t i = 0; i < r->count; i++)
    if (r->given[i].layer != MS_EVERY_LAYER) return m->config.layers;
  return r->count != 0;
}

static void add_up (model_routing *r, size_t rows, size_t experts) {
  for (size_t i = 0; i < r->count; i++) {
    const ms_expert_bias *b = &r->given[i];
    size_t first = b->layer == MS_EVERY_LAYER ? 0 : (size_t)b->layer;
    size_t end = b->layer == MS_EVERY_LAYER ? rows : first + 1;
    for (size_t row = first; row < end; row++) r->bias[row * experts + (size_t)b->expert] += b->value;
  }
}

static ms_status lay_out (const model *m, model_routing *r, ms_error *err) {
  size_t layers = m->config.layers, experts = m->config.experts, rows = bias_rows(m, r);
  r->layers = memory_new(layers, sizeof *r->layers);
  if (r->layers == NULL) return fail_memory(err, layers * sizeof *r->layers, "an expert policy");
  if (rows != 0) {
    r->bias = memory_new(rows, experts * sizeof *r->bias);
    if (r->bias == NULL) return fail_memory(err, rows * experts * sizeof *r->bias, "an expert policy");
    add_up(r, rows, experts);
  }
  for (size_t l = 0; l < layers; l++) {
    float *bias = rows == 0 ? NULL : r->bias + (rows == 1 ? 0 : l * experts);
    r->layers[l] = (route_policy){ .top_k = r->top_k, .bias = bias };
  }
  return check_enabled(m, r, err);
}

/* {== Life ======================================================================================= */

static ms_status fill (const model *m, const ms_routing *given, model_routing *r, ms_error *err) {
  atomic_init(&r->references, 1);
  r->top_k = given->top_k == 0 ? m->config.top_k : given->top_k;
  r->given = memory_new(given->count, sizeof *r->given);
  if (r->given == NULL) return fail_memory(err, given->count * sizeof *r->given, "an expert policy");
  if (given->count != 0) memcpy(r->given, given->bias, given->count * sizeof *r->given);
  r->count = given->count;
  return lay_out(m, r, err);
}

ms_status model_routing_open (const model *m, const ms_routing *given, model_routing **out, ms_error *err) {
  *out = NULL;
  TRY(check(m, given, err));
  if (given->count == 0 && (given->top_k == 0 || given->top_k == m->config.top_k)) return MS_OK;
  model_routing *r = memory_new(1, sizeof *r);
  if (r == NULL) return fail_memory(err, sizeof *r, "an expert policy");
  ms_status status = fill(m, given, r, err);
  if (status == MS_OK) *out = r;
  else model_routing_release(r);
  return status;
}

model_routing *model_routing_retain (model_routing *routing) {
  if (routing != NULL) atomic_fetch_add(&routing->references, 1);
  return routing;
}

void model_routing_release (model_routing *routing) {
  if (routing == NULL || atomic_fetch_sub(&routing->references, 1) != 1) return;
  memory_free(routing->given);
  memory_free(routing->bias);
  memory_free(routing->layers);
  memory_free(routing);
}

/* {== In a file ================================================================================== */

enum { TOP_K_BYTES = 8, BIAS_BYTES = 16 };

size_t model_routing_image_bytes (const model_routing *routing) {
  return routing == NULL ? 0 : TOP_K_BYTES + routing->count * BIAS_BYTES;
}

static uint8_t *put_u64 (uint8_t *out, uint64_t value) {
  for (int i = 0; i < 8; i++, value >>= 8) *out++ = (uint8_t)value;
  return out;
}

void model_routing_write_image (const model_routing *routing, uint8_t *out) {
  if (routing == NULL) return;
  out = put_u64(out, routing->top_k);
  for (size_t i = 0; i < routing->count; i++) {
    const ms_expert_bias *b = &routing->given[i];
    uint32_t bits;
    memcpy(&bits, &b->value, sizeof bits);
    out = put_u64(out, (uint64_t)(uint32_t)b->expert << 32 | (uint32_t)b->layer);
    out = put_u64(out, bits);
  }
}

static bool read_bias (reader *r, ms_expert_bias *b) {
  uint64_t place, value;
  if (!reader_u64(r, &place) || !reader_u64(r, &value) || value > UINT32_MAX) return false;
  const uint32_t bits = (uint32_t)value;
  b->layer = (int32_t)(uint32_t)place;
  b->expert = (int32_t)(uint32_t)(place >> 32);
  memcpy(&b->value, &bits, sizeof bits);
  return true;
}

static ms_status read_image (const model *m, reader *r, ms_expert_bias *bias, size_t count, model_routing **out,
                             ms_error *err) {
  ms_error why;
  uint64_t top_k = 0;
  bool right = reader_u64(r, &top_k);
  for (size_t i = 0; i < count && right; i++) right = read_bias(r, &bias[i]);
  if (!right || reader_left(r) != 0 || top_k == 0)
    return fail(err, MS_EFORMAT, "the saved expert policy is damaged (%zu bytes)", r->size);
  const ms_routing given = { .top_k = top_k, .bias = bias, .count = count };
  ms_status status = model_routing_open(m, &given, out, &why);
  if (status == MS_EINVAL) return fail(err, MS_EFORMAT, "the saved expert policy: %s", why.message);
  return status == MS_OK ? MS_OK : fail(err, status, "%s", why.message);
}

ms_status model_routing_read_image (const model *m, const uint8_t *bytes, size_t count, model_routing **out,
                                    ms_error *err) {
  reader r = { .base = bytes, .size = count };
  *out = NULL;
  if (count == 0) return MS_OK;
  size_t entries = count < TOP_K_BYTES ? 0 : (count - TOP_K_BYTES) / BIAS_BYTES;
  ms_expert_bias *bias = memory_new(entries, sizeof *bias);
  if (bias == NULL) return fail_memory(err, entries * sizeof *bias, "an expert policy");
  ms_status status = read_image(m, &r, bias, entries, out, err);
  memory_free(bias);
  return status;
}
