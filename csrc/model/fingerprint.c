/*
** The fingerprint of a model. Small tensors (norms, biases, scales) are hashed whole, of large ones three stretches:
** fine-tuning changes nearly every number of what it touches, so two models of one shape differ.
*/
#include "fingerprint.h"

#include <string.h>
#define XXH_STATIC_LINKING_ONLY          /* the size of a hash's state */
#include <xxhash.h>

#include "../base/file.h"
#include "../base/memory.h"

enum { WHOLE_BYTES = 4096, SAMPLE_BYTES = 256, SAMPLES = 3 };

static void add_number (XXH3_state_t *state, uint64_t number) {
  XXH3_128bits_update(state, &number, sizeof number);
}

static void add_double (XXH3_state_t *state, double number) {
  XXH3_128bits_update(state, &number, sizeof number);
}

/* What the forward pass computes with. Sampling defaults and the stated context change no row. */
static void add_config (XXH3_state_t *state, const model_config *c) {
  const size_t sizes[] = {
    c->vocabulary, c->width, c->layers, c->heads, c->head_dim, c->rope_dim, c->q_lora, c->o_groups, c->o_lora,
    c->window, c->index_heads, c->index_dim, c->index_top_k, c->experts, c->top_k, c->expert_width,
    c->shared_experts, c->hash_layers, c->streams, c->sinkhorn_rounds, c->weight_block[0], c->weight_block[1],
    c->tied_head
  };
  const double factors[] = {
    c->route_scale, c->swiglu_limit, c->hc_eps, c->rms_eps, c->rope_theta, c->compress_rope_theta, c->yarn.factor,
    c->yarn.original_context, c->yarn.beta_fast, c->yarn.beta_slow
  };
  XXH3_128bits_update(state, c->architecture, strlen(c->architecture) + 1);
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) add_number(state, sizes[i]);
  for (size_t i = 0; i < c->layers; i++) add_number(state, c->ratios[i]);
  for (size_t i = 0; i < sizeof factors / sizeof *factors; i++) add_double(state, factors[i]);
}

static void add_sample (XXH3_state_t *state, const stored_tensor *t) {
  if (t->bytes <= WHOLE_BYTES) {
    if (t->bytes != 0) XXH3_128bits_update(state, t->data, t->bytes);
    return;
  }
  for (size_t i = 0; i < SAMPLES; i++)           /* first, middle, last */
    XXH3_128bits_update(state, t->data + (t->bytes - SAMPLE_BYTES) / (SAMPLES - 1) * i, SAMPLE_BYTES);
}

static XXH128_hash_t hash_tensor (XXH3_state_t *state, const stored_tensor *t) {
  XXH3_128bits_reset(state);
  XXH3_128bits_update(state, t->name, strlen(t->name) + 1);
  XXH3_128bits_update(state, tensor_types[t->type].name, strlen(tensor_types[t->type].name) + 1);
  for (size_t i = 0; i < t->rank; i++) add_number(state, t->shape[i]);
  add_sample(state, t);
  return XXH3_128bits_digest(state);
}

/* The sum of the tensors' hashes knows no order: the same tensors may lie in other files. */
static XXH128_hash_t hash_tensors (XXH3_state_t *state, const model *m) {
  XXH128_hash_t sum = { 0, 0 };
  for (size_t i = 0; i < checkpoint_count(m->files); i++) {
    if (!m->used[i]) continue;
    XXH128_hash_t hash = hash_tensor(state, checkpoint_at(m->files, i));
    sum.low64 += hash.low64;
    sum.high64 += hash.high64;
  }
  return sum;
}

static ms_status hash_file (const char *folder, XXH128_hash_t *hash, ms_error *err) {
  file_view view;
  char *path = file_path_join(folder, "tokenizer.json");
  if (path == NULL) return fail_memory(err, strlen(folder), "a path");
  ms_status status = file_view_open(path, MS_READ, &view, err);
  memory_free(path);
  if (status == MS_OK) *hash = XXH3_128bits(view.data == NULL ? (const uint8_t *)"" : view.data, view.bytes);
  file_view_close(&view);
  return status == MS_ENOENT ? MS_OK : status;
}

/* What a GGUF file says of its tokenizer: a sum, for keys have no order either. */
static XXH128_hash_t hash_keys (XXH3_state_t *state, const metadata *keys) {
  static const char of_tokenizer[] = "tokenizer.";
  XXH128_hash_t sum = { 0, 0 };
  for (size_t i = 0; i < keys->keys.count; i++) {
    const char *key = keys->keys.names[i];
    if (strncmp(key, of_tokenizer, strlen(of_tokenizer)) != 0) continue;
    XXH3_128bits_reset(state);
    XXH3_128bits_update(state, key, strlen(key) + 1);
    add_number(state, keys->values[i].type);
    if (keys->values[i].size != 0) XXH3_128bits_update(state, keys->values[i].bytes, keys->values[i].size);
    XXH128_hash_t hash = XXH3_128bits_digest(state);
    sum.low64 += hash.low64;
    sum.high64 += hash.high64;
  }
  return sum;
}

ms_status model_fingerprint_make (const model *m, const char *origin, model_fingerprint *out, ms_error *err) {
  XXH128_hash_t tokenizer = { 0, 0 };
  const metadata *keys = checkpoint_metadata(m->files);
  if (keys == NULL) TRY(hash_file(origin, &tokenizer, err));
  XXH3_state_t *state = memory_new(1, sizeof *state);
  if (state == NULL) return fail_memory(err, sizeof *state, "a hash");
  if (keys != NULL) tokenizer = hash_keys(state, keys);
  XXH128_hash_t tensors = hash_tensors(state, m);
  XXH3_128bits_reset(state);
  add_config(state, &m->config);
  add_number(state, tensors.low64);
  add_number(state, tensors.high64);
  add_number(state, tokenizer.low64);
  add_number(state, tokenizer.high64);
  XXH128_hash_t whole = XXH3_128bits_digest(state);
  memory_free(state);
  *out = (model_fingerprint){ whole.low64, whole.high64 };
  return MS_OK;
}
