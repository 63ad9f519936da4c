/*
** Weights by name and shape: what each stage takes is looked up under its official name, its stored type
** and shape are compared with what the configuration demands, and the rest of the file is counted.
*/
#include "weights.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "../base/checked.h"
#include "../base/memory.h"
#include "rope.h"

/* {== Encodings ================================================================================== */

/*
** How a stored type becomes a weight. FP4 lies in I8 tensors, two codes a byte. A scale tensor belongs to
** the weight of the same name with ".scale" for ".weight" (specs/formats.md 2.1).
*/
typedef struct encoding_rule {
  tensor_type type;
  weight_encoding encoding;
  size_t values_a_element;           /* 2: the last dimension of the file counts pairs */
  int scaled;
} encoding_rule;

static const encoding_rule encodings[] = {
  { TENSOR_F32, WEIGHT_F32, 1, 0 },
  { TENSOR_BF16, WEIGHT_BF16, 1, 0 },
  { TENSOR_F16, WEIGHT_F16, 1, 0 },
  { TENSOR_F8_E4M3, WEIGHT_FP8, 1, 1 },
  { TENSOR_I8, WEIGHT_FP4, 2, 1 },
  { TENSOR_Q4_0, WEIGHT_Q4_0, 1, 0 },
  { TENSOR_Q4_1, WEIGHT_Q4_1, 1, 0 },
  { TENSOR_Q5_0, WEIGHT_Q5_0, 1, 0 },
  { TENSOR_Q5_1, WEIGHT_Q5_1, 1, 0 },
  { TENSOR_Q8_0, WEIGHT_Q8_0, 1, 0 },
  { TENSOR_Q2_K, WEIGHT_Q2_K, 1, 0 },
  { TENSOR_Q3_K, WEIGHT_Q3_K, 1, 0 },
  { TENSOR_Q4_K, WEIGHT_Q4_K, 1, 0 },
  { TENSOR_Q5_K, WEIGHT_Q5_K, 1, 0 },
  { TENSOR_Q6_K, WEIGHT_Q6_K, 1, 0 },
  { TENSOR_IQ1_S, WEIGHT_IQ1_S, 1, 0 },
  { TENSOR_IQ1_M, WEIGHT_IQ1_M, 1, 0 },
  { TENSOR_IQ2_XXS, WEIGHT_IQ2_XXS, 1, 0 },
  { TENSOR_IQ2_XS, WEIGHT_IQ2_XS, 1, 0 },
  { TENSOR_IQ2_S, WEIGHT_IQ2_S, 1, 0 },
  { TENSOR_IQ3_XXS, WEIGHT_IQ3_XXS, 1, 0 },
  { TENSOR_IQ3_S, WEIGHT_IQ3_S, 1, 0 },
  { TENSOR_IQ4_NL, WEIGHT_IQ4_NL, 1, 0 },
  { TENSOR_IQ4_XS, WEIGHT_IQ4_XS, 1, 0 },
  { TENSOR_MXFP4, WEIGHT_MXFP4, 1, 0 },
};

enum { FP4_SCALE_COLUMNS = 32 };     /* by definition of the format; FP8 tiles are stated in config.json */

/* {== Finding one weight ========================================================================= */

/* Where a lookup stands: the model, a prefix of names, and the error to fill. */
typedef struct finder {
  model *m;
  char prefix[64];
  ms_error *err;
} finder;

typedef struct name_buffer { char text[192]; } name_buffer;

static name_buffer name_of (const finder *f, const char *suffix) {
  name_buffer name;
  snprintf(name.text, sizeof name.text, "%s%s", f->prefix, suffix);
  return name;
}

static const char *path_of (const finder *f) {
  return checkpoint_origin(f->m->files);
}

/* Tensors of a checkpoint lie side by side. */
static void mark_used (finder *f, const stored_tensor *t) {
  f->m->used[t - checkpoint_at(f->m->files, 0)] = 1;
}

/* NULL: a type that no weight is stored in. Vectors are stored as plain numbers. */
static const encoding_rule *rule_of (tensor_type type, bool is_vector) {
  for (size_t i = 0; i < sizeof encodings / sizeof encodings[0]; i++)
    if (encodings[i].type == type)
      return is_vector && (encodings[i].scaled || tensor_types[type].block_values > 1) ? NULL : &encodings[i];
  return NULL;
}

typedef struct tensor_label { char text[256]; } tensor_label;

/* What messages call a tensor: its official name, and that of the file where it differs. */
static tensor_label label_of (const stored_tensor *t) {
  tensor_label label;
  if (strcmp(t->name, t->stored_as) == 0) snprintf(label.text, sizeof label.text, "%.120s", t->name);
  else snprintf(label.text, sizeof label.text, "%.120s (%.120s)", t->name, t->stored_as);
  return label;
}

/* "[4, 128]" into out. */
static const char *shape_text (const stored_tensor *t, char *out, size_t room) {
  size_t used = (size_t)snprintf(out, room, "[");
  for (size_t i = 0; i < t->rank && used < room; i++)
    used += (size_t)snprintf(out + used, room - used, i == 0 ? "%zu" : ", %zu", t->shape[i]);
  if (used < room) snprintf(out + used, room - used, "]");
  return out;
}

static ms_status find_scales (finder *f, const stored_tensor *stored, weight *w) {
  name_buffer name = name_of(f, "");
  static const char ending[] = ".weight";
  size_t length = strlen(stored->name), stem = length - strlen("weight");
  if (length < strlen(ending) || strcmp(stored->name + length - strlen(ending), ending) != 0)
    return fail(f->err, MS_EUNSUPPORTED, "%s: tensor %s has type %s, which goes with scales; supported are F32, BF16, "
                "F16", stored->file, stored->name, tensor_types[stored->type].name);
  snprintf(name.text, sizeof name.text, "%.*sscale", (int)stem, stored->name);
  const stored_tensor *scales = checkpoint_find(f->m->files, name.text);
  if (scales == NULL)
    return fail(f->err, MS_EFORMAT, "%s: tensor %s has no scales: %s is missing", stored->file, stored->name,
                name.text);
  size_t rows = blocks_of(w->rows, w->scale_rows), columns = blocks_of(w->columns, w->scale_columns);
  if (scales->type != TENSOR_F8_E8M0)
    return fail(f->err, MS_EUNSUPPORTED, "%s: tensor %s has type %s, F8_E8M0 is needed", scales->file, scales->name,
                tensor_types[scales->type].name);
  if (scales->rank != 2 || scales->shape[0] != rows || scales->shape[1] != columns) {
    char shape[128];
    return fail(f->err, MS_EFORMAT, "%s: tensor %s has shape %s, [%zu, %zu] is needed", scales->file, scales->name,
                shape_text(scales, shape, sizeof shape), rows, columns);
  }
  w->scales = scales->data;
  mark_used(f, scales);
  return MS_OK;
}

static ms_status set_tiles (finder *f, const stored_tensor *stored, weight *w) {
  if (w->encoding == WEIGHT_FP4) {
    w->scale_rows = 1;
    w->scale_columns = FP4_SCALE_COLUMNS;
    if (w->columns % FP4_SCALE_COLUMNS != 0)
      return fail(f->err, MS_EUNSUPPORTED, "%s: tensor %s has %zu FP4 columns, a multiple of %d is needed",
                  stored->file, stored->name, w->columns, FP4_SCALE_COLUMNS);
    return MS_OK;
  }
  w->scale_rows = f->m->config.weight_block[0];
  w->scale_columns = f->m->config.weight_block[1];
  if (w->scale_rows == 0 || w->scale_columns == 0)
    return fail(f->err, MS_EFORMAT, "%s/config.json: quantization_config.weight_block_size is missing, "
                "tensor %s is FP8", path_of(f), stored->name);
  return MS_OK;
}

/* Rows of a matrix; some files divide those of wo_a into groups, [groups, rows, columns]: the same bytes. */
static size_t rows_of (const stored_tensor *t) {
  size_t rows = 1;
  for (size_t i = 0; i + 1 < t->rank; i++)
    if (!checked_mul(rows, t->shape[i], &rows)) return 0;
  return rows;
}

/*
** The matrix prefix+suffix with shape [rows, columns]; rows 0: a vector [columns]. `optional`: a missing
** tensor leaves w->data NULL.
*/
typedef enum presence { REQUIRED, OPTIONAL } presence;

static ms_status find (finder *f, const char *suffix, size_t rows, size_t columns, presence need, weight *w) {
  name_buffer name = name_of(f, suffix);
  memset(w, 0, sizeof *w);
  const stored_tensor *t = checkpoint_find(f->m->files, name.text);
  if (t == NULL) {
    if (need == OPTIONAL) return MS_OK;
    return fail(f->err, MS_EFORMAT, "%s: tensor %s is missing", path_of(f), name.text);
  }
  const encoding_rule *rule = rule_of(t->type, rows == 0);
  if (rule == NULL)
    return fail(f->err, MS_EUNSUPPORTED, "%s: tensor %s has type %s; supported are F32, BF16, F16%s", t->file,
                label_of(t).text, tensor_types[t->type].name,
                rows == 0 ? "" : ", F8_E4M3, I8 (FP4) and the block types of GGML");
  size_t rank = rows == 0 ? 1 : 2, stored_columns = columns / rule->values_a_element;
  int fits = t->rank >= rank && t->shape[t->rank - 1] == stored_columns && rows_of(t) == (rows == 0 ? 1 : rows)
          && (rows != 0 || t->rank == 1) && columns % rule->values_a_element == 0;
  if (!fits) {
    char shape[128], wanted[64];
    if (rows == 0) snprintf(wanted, sizeof wanted, "[%zu]", columns);
    else snprintf(wanted, sizeof wanted, "[%zu, %zu]", rows, stored_columns);
    return fail(f->err, MS_EFORMAT, "%s: tensor %s has shape %s, the configuration makes it %s", t->file,
                label_of(t).text, shape_text(t, shape, sizeof shape), wanted);
  }
  w->encoding = rule->encoding;
  w->data = t->data;
  w->rows = rows == 0 ? 1 : rows;
  w->columns = columns;
  w->name = t->name;
  mark_used(f, t);
  if (!rule->scaled) return MS_OK;
  TRY(set_tiles(f, t, w));
  return find_scales(f, t, w);
}

static ms_status vector (finder *f, const char *suffix, size_t columns, weight *w) {
  return find(f, suffix, 0, columns, REQUIRED, w);
}

static ms_status matrix (finder *f, const char *suffix, size_t rows, size_t columns, weight *w) {
  return find(f, suffix, rows, columns, REQUIRED, w);
}

ms_status model_weight (model *m, const stored_tensor *stored, weight *out, ms_error *err) {
  finder f = { .m = m, .err = err };
  const encoding_rule *rule = rule_of(stored->type, stored->rank == 1);
  const size_t last = stored->rank == 0 ? 1 : stored->shape[stored->rank - 1];
  return find(&f, stored->name, stored->rank <= 1 ? 0 : rows_of(stored),
              rule == NULL ? last : last * rule->values_a_element, REQUIRED, out);
}

/* {== Stages ===================================================================================== */

/* 2.3: `which` is "hc_attn", "hc_ffn" or "hc_head"; the head has only the mix, no post and comb. */
static ms_status find_hyper_connection (finder *f, const char *which, size_t mixes, size_t scales,
                                        hyper_connection *hc) {
  const model_config *c = &f->m->config;
  name_buffer suffix;
  hc->streams = c->streams;
  hc->rounds = c->sinkhorn_rounds;
  hc->eps = (float)c->hc_eps;
  hc->norm_eps = (float)c->rms_eps;
  snprintf(suffix.text, sizeof suffix.text, "%s_fn", which);
  TRY(matrix(f, suffix.text, mixes, c->streams * c->width, &hc->fn));
  snprintf(suffix.text, sizeof suffix.text, "%s_base", which);
  TRY(vector(f, suffix.text, mixes, &hc->base));
  snprintf(suffix.text, sizeof suffix.text, "%s_scale", which);
  return vector(f, suffix.text, scales, &hc->scale);
}

static ms_status find_compressor (finder *f, const char *where, size_t ratio, size_t width, compressor *k) {
  const model_config *c = &f->m->config;
  finder inner = *f;
  snprintf(inner.prefix, sizeof inner.prefix, "%s%s", f->prefix, where);
  k->ratio = ratio;
  k->width = width;
  k->lanes = ratio == RATIO_OVERLAP ? 2 : 1;
  k->norm_eps = (float)c->rms_eps;
  k->rope = f->m->compress_rope;
  TRY(matrix(&inner, "wkv.weight", k->lanes * width, c->width, &k->wkv));
  TRY(matrix(&inner, "wgate.weight", k->lanes * width, c->width, &k->wgate));
  TRY(matrix(&inner, "ape", ratio, k->lanes * width, &k->ape));
  return vector(&inner, "norm.weight", width, &k->norm);
}

static ms_status find_indexer (finder *f, indexer *ix) {
  const model_config *c = &f->m->config;
  ix->heads = c->index_heads;
  ix->width = c->index_dim;
  ix->top_k = c->index_top_k;
  TRY(matrix(f, "attn.indexer.wq_b.weight", c->index_heads * c->index_dim, c->q_lora, &ix->wq_b));
  TRY(matrix(f, "attn.indexer.weights_proj.weight", c->index_heads, c->width, &ix->weights_proj));
  return find_compressor(f, "attn.indexer.compressor.", RATIO_OVERLAP, c->index_dim, &ix->keys);
}

static ms_status find_attention (finder *f, model_layer *layer) {
  const model_config *c = &f->m->config;
  TRY(matrix(f, "attn.wq_a.weight", c->q_lora, c->width, &layer->wq_a));
  TRY(vector(f, "attn.q_norm.weight", c->q_lora, &layer->q_norm));
  TRY(matrix(f, "attn.wq_b.weight", c->heads * c->head_dim, c->q_lora, &layer->wq_b));
  TRY(matrix(f, "attn.wkv.weight", c->head_dim, c->width, &layer->wkv));
  TRY(vector(f, "attn.kv_norm.weight", c->head_dim, &layer->kv_norm));
  TRY(matrix(f, "attn.wo_a.weight", c->o_groups * c->o_lora, c->heads * c->head_dim / c->o_groups, &layer->wo_a));
  TRY(matrix(f, "attn.wo_b.weight", c->width, c->o_groups * c->o_lora, &layer->wo_b));
  layer->attention = (attention_shape){ .heads = c->heads, .head = c->head_dim, .window = c->window,
                                        .ratio = layer->ratio };
  TRY(vector(f, "attn.attn_sink", c->heads, &layer->attention.sink));
  if (layer->ratio == RATIO_WINDOW) return MS_OK;
  TRY(find_compressor(f, "attn.compressor.", layer->ratio, c->head_dim, &layer->compressor));
  layer->has_indexer = layer->ratio == RATIO_OVERLAP;
  return layer->has_indexer ? find_indexer(f, &layer->indexer) : MS_OK;
}

static ms_status find_expert (finder *f, const char *where, expert *e) {
  const model_config *c = &f->m->config;
  finder inner = *f;
  snprintf(inner.prefix, sizeof inner.prefix, "%s%s", f->prefix, where);
  TRY(matrix(&inner, "w1.weight", c->expert_width, c->width, &e->w1));
  TRY(matrix(&inner, "w2.weight", c->width, c->expert_width, &e->w2));
  return matrix(&inner, "w3.weight", c->expert_width, c->width, &e->w3);
}


/* The hash table [vocabulary, top_k] of expert ids: the one tensor whose contents are checked at open. */
static ms_status find_hash_table (finder *f, router *r) {
  const model_config *c = &f->m->config;
  name_buffer name = name_of(f, "ffn.gate.tid2eid");
  const stored_tensor *t = checkpoint_find(f->m->files, name.text);
  if (t == NULL)
    return fail(f->err, MS_EFORMAT, "%s: tensor %s is missing (%s is %zu)", path_of(f), name.text, c->keys->hash_layers,
                c->hash_layers);
  if ((t->type != TENSOR_I64 && t->type != TENSOR_I32) || t->rank != 2 || t->shape[0] != c->vocabulary ||
      t->shape[1] != c->top_k)
    return fail(f->err, MS_EFORMAT, "%s: tensor %s is no I64 or I32 [%zu, %zu]", t->file, label_of(t).text,
                c->vocabulary, c->top_k);
  const expert_table table = { .ids = t->data, .id_bytes = tensor_types[t->type].block_bytes };
  for (size_t i = 0; i < c->vocabulary * c->top_k; i++) {
    int64_t id = expert_table_id(&table, i);
    if (id < 0 || (uint64_t)id >= c->experts)
      return fail(f->err, MS_EFORMAT, "%s: tensor %s sends token %zu to expert %lld, there are %zu", t->file,
                  label_of(t).text, i / c->top_k, (long long)id, c->experts);
    for (size_t j = i / c->top_k * c->top_k; j < i; j++)
      if (expert_table_id(&table, j) == id)
        return fail(f->err, MS_EFORMAT, "%s: tensor %s sends token %zu to expert %lld twice", t->file, label_of(t).text,
                    i / c->top_k, (long long)id);
  }
  r->table = table;
  mark_used(f, t);
  return MS_OK;
}

/* Files exist whose layers were left with experts of their own number each: they are other models. */
static ms_status check_expert_count (finder *f) {
  const model_config *c = &f->m->config;
  char suffix[64];
  snprintf(suffix, sizeof suffix, "ffn.experts.%zu.w1.weight", c->experts);
  name_buffer name = name_of(f, suffix);
  const stored_tensor *t = checkpoint_find(f->m->files, name.text);
  if (t == NULL) return MS_OK;
  return fail(f->err, MS_EFORMAT, "%s: there is a tensor %s, but %s is %zu", t->file, label_of(t).text,
              c->keys->experts, c->experts);
}

static ms_status find_feed_forward (finder *f, size_t index, model_layer *layer) {
  const model_config *c = &f->m->config;
  router *r = &layer->router;
  r->experts = c->experts;
  r->top_k = c->top_k;
  r->route_scale = (float)c->route_scale;
  TRY(matrix(f, "ffn.gate.weight", c->experts, c->width, &r->gate));
  if (index < c->hash_layers) TRY(find_hash_table(f, r));
  else TRY(vector(f, "ffn.gate.bias", c->experts, &r->bias));

  expert *routed = memory_new(c->experts, sizeof *routed);
  if (routed == NULL) return fail_memory(f->err, c->experts * sizeof *routed, "a layer's experts");
  layer->experts = (expert_set){ .routed = routed, .count = c->experts, .limit = (float)c->swiglu_limit };
  for (size_t e = 0; e < c->experts; e++) {
    name_buffer where;
    snprintf(where.text, sizeof where.text, "ffn.experts.%zu.", e);
    TRY(find_expert(f, where.text, &routed[e]));
  }
  TRY(check_expert_count(f));
  return find_expert(f, "ffn.shared_experts.", &layer->experts.shared);
}

static ms_status find_layer (model *m, size_t index, ms_error *err) {
  const model_config *c = &m->config;
  model_layer *layer = &m->layers[index];
  finder f = { .m = m, .err = err };
  size_t mixes = (2 + c->streams) * c->streams;
  snprintf(f.prefix, sizeof f.prefix, "layers.%zu.", index);
  layer->ratio = c->ratios[index];
  TRY(find_hyper_connection(&f, "hc_attn", mixes, 3, &layer->attention_hc));
  TRY(find_hyper_connection(&f, "hc_ffn", mixes, 3, &layer->feed_forward_hc));
  TRY(vector(&f, "attn_norm.weight", c->width, &layer->attention_norm));
  TRY(vector(&f, "ffn_norm.weight", c->width, &layer->feed_forward_norm));
  TRY(find_attention(&f, layer));
  return find_feed_forward(&f, index, layer);
}

/* {== The model ================================================================================== */

static ms_status find_all (model *m, ms_error *err) {
  const model_config *c = &m->config;
  finder f = { .m = m, .err = err };
  TRY(matrix(&f, "embed.weight", c->vocabulary, c->width, &m->embedding));
  if (c->tied_head) m->head = m->embedding;
  else TRY(matrix(&f, "head.weight", c->vocabulary, c->width, &m->head));
  TRY(vector(&f, "norm.weight", c->width, &m->norm));
  TRY(find_hyper_connection(&f, "hc_head", c->streams, 1, &m->head_hc));
  for (size_t i = 0; i < c->layers; i++) TRY(find_layer(m, i, err));
  return MS_OK;
}

static ms_status open_parts (const char *path, ms_access access, model *m, ms_error *err) {
  TRY(checkpoint_open(path, access, &m->files, err));
  TRY(model_config_read(m->files, &m->config, err));
  m->used = memory_new(checkpoint_count(m->files), 1);
  if (m->used == NULL) return fail_memory(err, checkpoint_count(m->files), "the list of tensors");
  m->layers = memory_new(m->config.layers, sizeof *m->layers);
  if (m->layers == NULL) return fail_memory(err, m->config.layers * sizeof *m->layers, "the layers");
  TRY(rope_table_make(&m->config, ROPE_WINDOW, &m->window_rope, err));
  if (m->config.compresses) TRY(rope_table_make(&m->config, ROPE_COMPRESS, &m->compress_rope, err));
  return find_all(m, err);
}

ms_status model_open (const char *path, ms_access access, model **out, ms_error *err) {
  *out = NULL;
  model *m = memory_new(1, sizeof *m);
  if (m == NULL) return fail_memory(err, sizeof *m, "a model");
  ms_status status = open_parts(path, access, m, err);
  if (status != MS_OK) model_close(m);
  else *out = m;
  return status;
}

void model_close (model *m) {
  if (m == NULL) return;
  for (size_t i = 0; m->layers != NULL && i < m->config.layers; i++)
    memory_free((void *)(uintptr_t)m->layers[i].experts.routed);
  memory_free(m->layers);
  memory_free(m->used);
  rope_table_free(&m->window_rope);
  rope_table_free(&m->compress_rope);
  model_config_clear(&m->config);
  checkpoint_close(m->files);
  memory_free(m);
}
